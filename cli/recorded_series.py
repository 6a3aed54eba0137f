"""
Recorded DCGM metrics from a file: what Prometheus' `query_range` answered, in JSON, once or several times.

    {"data": {"result": [
        {"metric": {"__name__": "DCGM_FI_DEV_FB_USED", …}, "values": [[1764000000, "812"], …]}, …
    ]}}

Samples may be as fine as one likes: they become what a reconcile reads, a point each ten minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slicewise.errors import Refused
from slicewise.model.cluster import Series
from slicewise.tuning.usage.points import STEP_SECONDS


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


# As the gateway of Prometheus asks for them.
_POINT: Mapping[str, Callable[[list[float]], float]] = {
    "DCGM_FI_DEV_FB_USED": max,
    "DCGM_FI_DEV_GPU_UTIL": _mean,
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": _mean,
}
_EXPECTED = "record it as docs/assess.md says: the answer of Prometheus' query_range, in JSON"


def read(path: Path) -> tuple[Series, ...]:
    """
    Raises:
        Refused: The file is missing, no such answer, or has none of DCGM's metrics; the message says which.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise Refused(f"{path} is no JSON ({error}); {_EXPECTED}") from error
    series = tuple(_series(found, str(path)))
    if not series:
        raise Refused(f"{path} has no series of {', '.join(_POINT)}; {_EXPECTED}")
    return series


def newest(series: Iterable[Series]) -> int:
    """Second at which the last point ends: the recording is read as if it were then."""
    return max(one.times[-1] for one in series) + STEP_SECONDS


def _series(answer: Any, path: str) -> Iterator[Series]:
    try:
        results = answer["data"]["result"]
        for number, one in enumerate(results, 1):
            labels = {str(key): str(value) for key, value in one["metric"].items()}
            name = labels.pop("__name__", "")
            if name in _POINT:
                yield _points(name, labels, one["values"], f"{path}: series {number}")
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path} is no answer of query_range; {_EXPECTED}") from error


def _points(name: str, labels: Mapping[str, str], values: Iterable[Any], place: str) -> Series:
    steps: dict[int, list[float]] = {}
    for sample in values:
        try:
            at, value = float(sample[0]), float(sample[1])
        except (ValueError, IndexError) as error:
            raise Refused(f"{place}: {sample!r} is no sample; {_EXPECTED}") from error
        steps.setdefault(int(at) // STEP_SECONDS * STEP_SECONDS, []).append(value)
    if not steps:
        raise Refused(f"{place} has no values; {_EXPECTED}")
    times = sorted(steps)
    return Series(name, labels, tuple(times), tuple(_POINT[name](steps[at]) for at in times))
