"""
CloudWatch's Prometheus-compatible API, as far as Slicewise asks it.

By its user guide ("PromQL querying", "PromQL limits and restrictions", "QueryMetrics"): labels of a resource
begin with "@resource.", an answer holds 500 series and a warning where there are more, a request spans seven
days with the range that it looks back over, and its signature is for the service `monitoring`. Every query
that is not ours is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from tests.fakes.range_api import Found, RangeApi, matches

MOST_SERIES = 500
WEEK_SECONDS = 7 * 86_400
TRUNCATED = "result truncated to the maximum of 500 series; refine the query or use the limit parameter"
_QUERY = re.compile(
    r"max by \((?P<by>[^()]+)\) "
    r"\((?P<over>\w+)\((?P<name>\w+)\{(?P<matchers>[^{}]*)\}\[(?P<seconds>\d+)s\]\)\)"
)
_MATCHER = re.compile(r'"?([@\w.]+)"?(=~|!~|=)"([^"]*)"(?:,|$)')
_OVER: dict[str, Callable[[list[float]], float]] = {
    "avg_over_time": lambda values: sum(values) / len(values),
    "max_over_time": max,
}


class CloudWatchApi(RangeApi):
    """
    Attributes:
        most: Series an answer holds.
        warns: Whether an answer that lacks some says so.
    """

    service, prefixed = "monitoring", False
    unsigned = "Credential should be scoped to correct service: 'monitoring'"

    def __init__(self) -> None:
        super().__init__()
        self._series: dict[frozenset[tuple[str, str]], list[tuple[int, float]]] = {}
        self.most = MOST_SERIES
        self.warns = True

    def put(self, name: str, labels: Mapping[str, str], points: Iterable[tuple[int, float]]) -> None:
        self._series.setdefault(frozenset({**labels, "__name__": name}.items()), []).extend(points)

    def answer(self, query: str, start: int, end: int, step: int) -> tuple[list[Found], list[str]]:
        self.queries.append(query)
        asked = _QUERY.fullmatch(query)
        if not asked or asked["over"] not in _OVER or _MATCHER.sub("", asked["matchers"]):
            raise ValueError(f"not played: {query!r}")
        window = int(asked["seconds"])
        if window != step:
            raise ValueError("not played: ranges that overlap")
        if end - start + window > WEEK_SECONDS:
            raise OverflowError("the range of a request is 7 days at most")
        by = [label.strip('"') for label in asked["by"].split(",")]
        selectors = [("__name__", "=", asked["name"]), *_MATCHER.findall(asked["matchers"])]
        groups: dict[frozenset[tuple[str, str]], dict[int, float]] = {}
        for key, points in self._series.items():
            labels = dict(key)
            if not all(matches(labels.get(label, ""), how, value) for label, how, value in selectors):
                continue
            group = groups.setdefault(frozenset((name, labels[name]) for name in by if name in labels), {})
            steps: dict[int, list[float]] = {}
            for when, value in points:
                # The first step at or after it: ranges that meet hold each sample once.
                steps.setdefault(start + -((start - when) // step) * step, []).append(value)
            for at, values in steps.items():
                if start <= at <= end:
                    group[at] = max(group.get(at, float("-inf")), _OVER[asked["over"]](values))
        found = [
            {"metric": dict(key), "values": [[at, repr(value)] for at, value in sorted(group.items())]}
            for key, group in groups.items()
            if group
        ]
        warned = [TRUNCATED] if self.warns and len(found) > self.most else []
        return found[: self.most], warned
