"""
A stand-in for slurmrestd: what the Slurm operator 1.0.0 asks of Slurm's REST API (v0.0.44), by its source.

Each pod of a NodeSet that runs is a Slurm node, as its slurmd would register it, and is none any more once
the pod is gone. What drains takes no further job, and is drained once nothing runs there.

It is asked as an HTTP proxy, so that the operator finds it under the name of the Service that it expects.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from sandbox.cluster.client import KubeClient

Object = dict[str, Any]
API = "/slurm/v0.0.44"
_OF_NODE_SETS = "nodeset.slinky.slurm.net/pod-name"


class SlurmrestdStandIn:
    """
    Answers between `with` and its end.

    Attributes:
        busy: Names of Slurm nodes on which a job runs; the host names of pods.
    """

    def __init__(self, kube: KubeClient, port: int):
        self.busy: set[str] = set()
        self._kube = kube
        self._said: dict[str, Object] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="slurmrestd", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def nodes(self) -> list[Object]:
        pods = self._kube.list("/api/v1/pods", labelSelector=_OF_NODE_SETS)
        running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        return [self._node(pod) for pod in running]

    def update(self, name: str, wanted: Mapping[str, Any]) -> None:
        said = self._said.setdefault(name, {})
        said |= {key: wanted[key] for key in ("reason", "comment") if wanted.get(key) is not None}
        state = set(wanted.get("state") or ())
        if "DRAIN" in state:
            said["drains"] = True
        if "UNDRAIN" in state:
            said |= {"drains": False, "reason": ""}

    def jobs(self) -> list[Object]:
        return [
            {"job_id": number, "job_state": ["RUNNING"], "nodes": name}
            for number, name in enumerate(sorted(self.busy), 1)
        ]

    def _node(self, pod: Object) -> Object:
        name = pod["spec"].get("hostname") or pod["metadata"]["name"]
        said = self._said.setdefault(name, {})
        if said.get("uid") != pod["metadata"]["uid"]:  # it registers again
            said.clear()
            said["uid"] = pod["metadata"]["uid"]
        state = ["ALLOCATED" if name in self.busy else "IDLE", *(["DRAIN"] if said.get("drains") else [])]
        texts = {key: said.get(key, "") for key in ("reason", "comment")}
        return {"name": name, "state": state, **texts}


def _handler(slurm: SlurmrestdStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            collection, _, name = self._asked().partition("/")
            if collection == "jobs":
                return self._answer({"jobs": slurm.jobs()})
            nodes = [one for one in slurm.nodes() if name in ("", one["name"])]
            return self._answer({"nodes": nodes})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            slurm.update(self._asked().partition("/")[2], body)
            self._answer({})

        def _asked(self) -> str:
            """Such as "nodes" or "node/gpu-0"."""
            return unquote(urlsplit(self.path).path.removeprefix(API)).strip("/")

        def _answer(self, value: Object) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Not on the console."""

    return Handler
