"""Versions of Kubernetes, charts and images, as far as we compare them."""

from __future__ import annotations

import re


def parse(text: str) -> tuple[int, ...] | None:
    """(1, 35, 4) of "v1.35.4-eks-1a2b"; None where there is no major and minor."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text.strip(), re.ASCII)
    return tuple(int(part) for part in match.groups() if part is not None) if match else None


def is_newer(one: str, other: str) -> bool:
    """False also where one of them cannot be read."""
    left, right = parse(one), parse(other)
    return left is not None and right is not None and left > right


def shown(parsed: tuple[int, ...]) -> str:
    """The text of a parsed version."""
    return ".".join(str(part) for part in parsed)
