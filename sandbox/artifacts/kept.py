"""What is made once and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from sandbox.artifacts.cache import cache_folder, locked
from sandbox.processes import end_recorded

Progress = Callable[[str], None]


def kept(name: str, fill: Callable[[Path], None], progress: Progress) -> Path:
    """
    The folder `name` of the cache, filled by `fill` where it is missing.

    A second caller waits for the first. Filling that fails or is killed leaves nothing but a `.tmp` folder,
    which the next call clears: so a folder that is there is whole. The name says what it was made from; that
    is what makes another one when something changes.
    """
    folder = cache_folder() / name
    if folder.exists():
        return folder
    with locked(folder.parent / f"{name}.lock", progress):
        if not folder.exists():
            _fill(folder, fill)
    return folder


def _fill(folder: Path, fill: Callable[[Path], None]) -> None:
    for leftover in folder.parent.glob(f"{folder.name}.*.tmp"):
        end_recorded(leftover)  # its Go may still be compiling, for nobody
        shutil.rmtree(leftover)
    work = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        fill(work)
        work.rename(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def key(*parts: str, files: Iterable[Path] = ()) -> str:
    """16 hexadecimal digits for a name: others when a part, or what a file holds, is another."""
    digest = hashlib.sha256("\0".join((platform.system(), platform.machine(), *parts)).encode())
    for path in files:
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
