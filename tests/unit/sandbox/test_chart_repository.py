"""A helm repository is asked once, and not for long; a server on the loopback plays it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from sandbox.artifacts import chart_repository
from sandbox.artifacts.chart_repository import NotHad, Wanted, fetched

CONTENT = b"a packed chart"


class Repository:
    """
    Attributes:
        files: What it serves, by path; what is not there is a 404.
        hangs: Paths that it never ends to answer.
        asked: The paths that were asked for.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.hangs: set[str] = set()
        self.asked: list[str] = []
        self.ending = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/nvidia"

    def offer(self, digest: str, url: str = "charts/gpu-operator-v26.7.0.tgz") -> None:
        entry = {"name": "gpu-operator", "version": "v26.7.0", "digest": digest, "urls": [url]}
        older = {**entry, "version": "v25.1.0", "urls": ["charts/gpu-operator-v25.1.0.tgz"]}
        index = {"apiVersion": "v1", "entries": {"gpu-operator": [older, entry], "other": []}}
        self.files["/nvidia/index.yaml"] = yaml.safe_dump(index).encode()
        self.files["/nvidia/charts/gpu-operator-v26.7.0.tgz"] = CONTENT

    def end(self) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.asked.append(self.path)
                content = repository.files.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                if self.path in repository.hangs:
                    repository.ending.wait(60)
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None: ...

        return Handler


@pytest.fixture
def repository() -> Iterator[Repository]:
    served = Repository()
    served.offer(hashlib.sha256(CONTENT).hexdigest())
    yield served
    served.end()


@pytest.fixture
def wanted(repository: Repository) -> Wanted:
    return Wanted(repository.address, "gpu-operator", "v26.7.0")


def test_a_chart_is_fetched_once_and_kept_by_its_digest(repository, wanted, tmp_path):
    first, second = fetched(wanted, tmp_path), fetched(wanted, tmp_path)

    assert first == second == tmp_path / hashlib.sha256(CONTENT).hexdigest() / "gpu-operator-v26.7.0.tgz"
    assert first.read_bytes() == CONTENT
    assert repository.asked == ["/nvidia/index.yaml", "/nvidia/charts/gpu-operator-v26.7.0.tgz"]


def test_a_chart_may_lie_at_an_address_of_its_own(repository, wanted, tmp_path):
    away = f"{repository.address.removesuffix('/nvidia')}/elsewhere/x.tgz"
    repository.offer(hashlib.sha256(CONTENT).hexdigest(), url=away)
    repository.files["/elsewhere/x.tgz"] = CONTENT

    assert fetched(wanted, tmp_path).read_bytes() == CONTENT
    assert repository.asked[-1] == "/elsewhere/x.tgz"


def test_a_kept_chart_that_was_damaged_is_fetched_again(repository, wanted, tmp_path):
    fetched(wanted, tmp_path).write_bytes(b"half a")

    assert fetched(wanted, tmp_path).read_bytes() == CONTENT


def test_a_chart_of_another_digest_is_not_taken(repository, wanted, tmp_path):
    repository.offer("0" * 64)

    with pytest.raises(NotHad, match="has another digest than the repository's index says"):
        fetched(wanted, tmp_path)

    assert not list(tmp_path.glob("*/*.tgz"))


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (b"entries: {}", "names no gpu-operator v26.7.0"),
        (b"<html>", "names no gpu-operator v26.7.0"),
        (b"{", "while parsing"),
        (None, "404"),
    ],
    ids=["without it", "a web page", "no YAML", "none"],
)
def test_an_index_without_the_chart_is_no_answer(repository, wanted, tmp_path, index, says):
    if index is None:
        del repository.files["/nvidia/index.yaml"]
    else:
        repository.files["/nvidia/index.yaml"] = index

    with pytest.raises(NotHad, match=says):
        fetched(wanted, tmp_path)


@pytest.mark.parametrize("which", ["index.yaml", "charts/gpu-operator-v26.7.0.tgz"])
def test_a_server_that_hangs_is_left_after_the_time_for_everything(
    repository, wanted, tmp_path, monkeypatch, which
):
    repository.hangs.add(f"/nvidia/{which}")
    monkeypatch.setattr(chart_repository, "PATIENCE_SECONDS", 0.3)

    with pytest.raises(NotHad):
        fetched(wanted, tmp_path)


def test_a_name_that_is_never_found_takes_no_longer(wanted, tmp_path, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(chart_repository, "download", lambda wanted, until: ended.wait(60))
    monkeypatch.setattr(chart_repository, "PATIENCE_SECONDS", 0.1)

    with pytest.raises(NotHad, match="no answer within 0 seconds"):
        fetched(wanted, tmp_path)
    ended.set()


def test_who_did_not_answer_is_not_asked_again_for_an_hour(repository, wanted, tmp_path):
    repository.offer("0" * 64)
    reasons = set()
    for _ in range(3):
        with pytest.raises(NotHad) as refusal:
            fetched(wanted, tmp_path)
        reasons.add(str(refusal.value))
    assert len(repository.asked) == 2
    assert len(reasons) == 1

    repository.offer(hashlib.sha256(CONTENT).hexdigest())
    an_hour_ago = time.time() - 3600
    for refusal in tmp_path.glob("*.not-had"):
        os.utime(refusal, (an_hour_ago, an_hour_ago))

    assert fetched(wanted, tmp_path).read_bytes() == CONTENT


def test_two_who_ask_at_once_ask_once(repository, wanted, tmp_path):
    found: list[Path] = []
    askers = [threading.Thread(target=lambda: found.append(fetched(wanted, tmp_path))) for _ in range(4)]

    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()

    assert len(found) == 4
    assert repository.asked == ["/nvidia/index.yaml", "/nvidia/charts/gpu-operator-v26.7.0.tgz"]
