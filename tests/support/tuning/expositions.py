"""Pages of an exporter as Prometheus keeps them: the samples, and what a scrape makes of their labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sandbox.metrics.remote_write import Samples

_SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def scraped(
    page: str, at: float, target: Mapping[str, str] | None = None, *, honor_labels: bool = False
) -> Iterator[Samples]:
    """
    What one scrape of a page at second `at` keeps, a sample a series.

    Args:
        target: Labels of the target. Without `honor_labels` they win, and what they displace is kept
            under "exported_…".
    """
    for line in page.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        sample = _SAMPLE.fullmatch(line.strip())
        assert sample, line
        own = dict(_LABEL.findall(sample["labels"] or ""))
        yield Samples(
            sample["name"], _merged(own, target or {}, honor_labels), [(at, float(sample["value"]))]
        )


def _merged(own: Mapping[str, str], target: Mapping[str, str], honor_labels: bool) -> dict[str, str]:
    """scrape/target.go, mutateSampleLabels."""
    if honor_labels:
        return {**target, **own}
    renamed = {(f"exported_{name}" if name in target else name): value for name, value in own.items()}
    return renamed | dict(target)
