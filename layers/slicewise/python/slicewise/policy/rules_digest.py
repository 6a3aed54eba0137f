"""
Which rules read policies here: a digest of the modules that declare fields, their bounds and defaults, and of
those that check them.

A release's number says less: two commits of one release may read the same text differently. The layer's build
keeps the digest in a file, so that no start reads these modules (cdk_app/assets/bundle.py).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
KEPT = Path(__file__).with_name("rules_digest.txt")
# What reading a policy imports outside of this folder.
_BESIDE = (
    "hardware/gpus.py",
    "kube/kinds.py",
    "kube/quantities.py",
    "schedule/entries.py",
    "schedule/weekly_hours.py",
)


@lru_cache(maxsize=1)
def rules() -> str:
    """8 hex digits: of the rules that this process reads policies by."""
    try:
        return KEPT.read_text(encoding="ascii").strip()
    except OSError:  # not built: a checkout
        return of(PACKAGE)


def of(package: Path) -> str:
    """
    Args:
        package: The folder `slicewise`.
    """
    found = hashlib.sha256()
    for name in sources(package):
        content = (package / name).read_bytes()
        found.update(b"%s %d\n" % (name.encode(), len(content)) + content)
    return found.hexdigest()[:8]


def sources(package: Path) -> tuple[str, ...]:
    """Relative to the package, in an order that is the same everywhere."""
    own = (path.relative_to(package).as_posix() for path in (package / "policy").glob("*.py"))
    return tuple(sorted((*own, *_BESIDE)))
