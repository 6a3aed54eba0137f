"""Charts as helm packs them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path


def packed(files: dict[str, bytes]) -> bytes:
    """A .tgz of the files, by their path in it: the same bytes for the same files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)


def keep(content: bytes, file: str, folder: Path) -> Path:
    """Put a packed chart below `folder`, in a folder that is named by its digest; says where it lies then."""
    target = folder / hashlib.sha256(content).hexdigest() / file
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(f"{file}.{os.getpid()}.tmp")
    work.write_bytes(content)
    work.rename(target)
    return target


def find(file: str, folder: Path) -> Path | None:
    """What `keep` has put there, if it is whole."""
    return next((path for path in sorted(folder.glob(f"*/{file}")) if path.parent.name == digest(path)), None)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
