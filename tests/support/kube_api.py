"""An API server of lists, with a kubeconfig: for what a real one cannot be made to do at will."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from slicewise.kube.ref import Object

from sandbox.aws.core.loopback import Handler, Server

NODES, PODS = "/api/v1/nodes", "/api/v1/pods"
NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"


class KubeApi:
    """
    Attributes:
        lists: Objects by the path of their list; a path that is missing is 404.
        refused: Status with which a path is refused, in place of its list.
        message: Of what is refused.
        asked: Path and query of each request, in order.
    """

    def __init__(self, lists: Mapping[str, Sequence[Object]], refused: Mapping[str, int] | None = None):
        self.lists, self.refused = dict(lists), dict(refused or {})
        self.message = "no"
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        api = self

        class Lists(Handler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = parse_qs(url.query)
                api.asked.append((url.path, query))
                status, body = api.answer(url.path, query)
                self.reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

        self._server = Server(Lists)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> KubeApi:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def answer(self, path: str, query: Mapping[str, list[str]]) -> tuple[int, dict[str, Any]]:
        if status := self.refused.get(path):
            return status, {"kind": "Status", "message": self.message}
        if path not in self.lists:
            return 404, {"kind": "Status", "message": "not found"}
        begin, limit = int(query.get("continue", ["0"])[0]), int(query["limit"][0])
        found = list(self.lists[path])
        more = {"continue": str(begin + limit)} if len(found) > begin + limit else {}
        return 200, {"kind": "List", "metadata": more, "items": found[begin : begin + limit]}


def kubeconfig(file: Path, servers: Mapping[str, str], user: Mapping[str, Any] | None = None) -> Path:
    """A file with a context for each server, by name; the first is the current one."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": next(iter(servers)),
        "clusters": [{"name": name, "cluster": {"server": url}} for name, url in servers.items()],
        "users": [{"name": "me", "user": dict(user or {})}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "me"}} for name in servers],
    }
    file.write_text(json.dumps(content))  # JSON is YAML
    return file
