"""
A helm repository is asked for one chart, once: what came is kept, and so is for a while that nothing came.

The repository's index names the chart's address and digest; a chart of another digest is not taken.
"""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import yaml

from sandbox.artifacts import chart_archive
from sandbox.artifacts.cache import locked
from sandbox.libyaml import LOADER

# For everything together: names looked up, the index and the chart.
PATIENCE_SECONDS = 10.0
# So long is a repository that did not answer not asked again: a run of the tests has dozens of processes.
REST_SECONDS = 3600.0
_PIECE = 1 << 16


class NotHad(Exception):
    """The chart did not come; the message says why, in a few words."""


@dataclass(frozen=True)
class Wanted:
    """
    Attributes:
        repository: Its address, below which is `index.yaml`.
        name, version: Of the chart, as the index has them.
    """

    repository: str
    name: str
    version: str

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}.tgz"


def fetched(wanted: Wanted, folder: Path) -> Path:
    """
    The chart, in a folder below `folder` that is named by its digest.

    Raises:
        NotHad: It did not come, now or within the last hour.
    """
    if found := chart_archive.find(wanted.file, folder):
        return found
    with locked(folder / f"{wanted.file}.lock", lambda _: None):
        if found := chart_archive.find(wanted.file, folder):  # by whom we waited for
            return found
        return _asked(wanted, folder)


def _asked(wanted: Wanted, folder: Path) -> Path:
    refusal = folder / f"{wanted.file}.not-had"
    if refusal.exists() and 0 <= time.time() - refusal.stat().st_mtime < REST_SECONDS:
        raise NotHad(refusal.read_text())
    try:
        content = within(PATIENCE_SECONDS, wanted)
    except NotHad as error:
        refusal.write_text(str(error))
        raise
    return chart_archive.keep(content, wanted.file, folder)


def within(seconds: float, wanted: Wanted) -> bytes:
    """
    What `download` returns, or NotHad after so many seconds.

    In a thread, since looking up a name knows no time limit.
    """
    outcome: list[bytes | NotHad] = []
    asking = threading.Thread(target=lambda: outcome.append(_outcome(wanted, seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    if not outcome:
        raise NotHad(f"no answer within {seconds:.0f} seconds")
    if isinstance(outcome[0], NotHad):
        raise outcome[0]
    return outcome[0]


def _outcome(wanted: Wanted, seconds: float) -> bytes | NotHad:
    try:
        return download(wanted, time.monotonic() + seconds)
    except NotHad as error:
        return error
    except (OSError, ValueError, http.client.HTTPException, yaml.YAMLError) as error:
        return NotHad(str(error) or type(error).__name__)


def download(wanted: Wanted, until: float) -> bytes:
    """
    The packed chart, whose digest is the index's.

    Args:
        until: By the monotonic clock.

    Raises:
        NotHad: The index does not name it, or what came is something else.
        OSError: The repository cannot be reached.
    """
    index = f"{wanted.repository.rstrip('/')}/index.yaml"
    entry = _entry(_read(index, until), wanted)
    content = _read(urllib.parse.urljoin(index, entry["urls"][0]), until)
    if hashlib.sha256(content).hexdigest() != entry["digest"]:
        raise NotHad(f"{wanted.file} has another digest than the repository's index says")
    return content


def _entry(index: bytes, wanted: Wanted) -> dict:
    read = yaml.load(index, LOADER)
    entries = read.get("entries", {}) if isinstance(read, dict) else {}
    for entry in entries.get(wanted.name, ()):
        if entry.get("version") == wanted.version and entry.get("digest") and entry.get("urls"):
            return entry
    raise NotHad(f"the repository's index names no {wanted.name} {wanted.version}")


def _read(address: str, until: float) -> bytes:
    left = until - time.monotonic()
    if left <= 0:
        raise NotHad("no answer in time")
    content = bytearray()
    with urllib.request.urlopen(address, timeout=left) as answer:
        while piece := answer.read(_PIECE):
            content += piece
            if time.monotonic() > until:
                raise NotHad("no answer in time")
    return bytes(content)
