"""
A gateway and the servers behind it, on the GPUs on which they really are: who serves each request, and how
long it takes.

Pure: it is given each time, and where the servers are. They share their GPUs by gpu_time.py. The gateway
sends a request to the server with the fewest in flight, and refuses it where each has as many as it may.
While there is no server it holds a few. What a server that ends leaves behind is sent again.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sandbox.examples.llm.gpu_time import Cost, Request, SharedGpu

# Upper bounds of vLLM's engine V1 (vllm/v1/metrics/loggers.py of 0.11.0), in seconds.
FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
WHOLE_REQUEST_BUCKETS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0),
    *(30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)


class Histogram:
    """
    As Prometheus has one.

    Attributes:
        buckets: Upper bounds, ascending; +Inf is not among them.
        counts: Of values up to each bound, smaller ones included.
    """

    def __init__(self, buckets: tuple[float, ...]):
        self.buckets, self.counts = buckets, [0] * len(buckets)
        self.sum, self.count = 0.0, 0

    def observe(self, value: float) -> None:
        self.sum, self.count = self.sum + value, self.count + 1
        for number, bound in enumerate(self.buckets):
            self.counts[number] += value <= bound


@dataclass
class Server:
    """
    A replica, as vLLM measures itself.

    Attributes:
        node: That has its GPU.
    """

    node: str
    in_flight: int = 0
    first_token: Histogram = field(default_factory=lambda: Histogram(FIRST_TOKEN_BUCKETS))
    whole_request: Histogram = field(default_factory=lambda: Histogram(WHOLE_REQUEST_BUCKETS))


class Gateway:
    """
    Args:
        cost: Of each request.
        each: So many a server has in flight at most; others are refused.
        holds: So many wait while there is no server; others are refused.

    Attributes:
        servers: By their pods, namespace/name.
        came: Requests until now, each once.
        refused: So many of them.
    """

    def __init__(self, cost: Cost, each: int, holds: int, seed: int = 0):
        self.cost, self.each, self.holds = cost, each, holds
        self.servers: dict[str, Server] = {}
        self.waiting: deque[Request] = deque()
        self.came = self.refused = 0
        self._random = random.Random(seed)

    def least_busy(self) -> str | None:
        """That gets the next request, by chance of those with the fewest; None where all are full."""
        fewest = min((server.in_flight for server in self.servers.values()), default=self.each)
        if fewest >= self.each:
            return None
        return self._random.choice([pod for pod, one in self.servers.items() if one.in_flight == fewest])


class Fleet:
    """
    The GPUs of a cluster, each node's one, and gateways whose servers share them.

    Args:
        now: Second of any clock.
    """

    def __init__(self, now: float, gateways: Mapping[str, Gateway]):
        self.gateways = gateways
        self._now = now
        self._gpus: dict[str, SharedGpu] = {}

    def place(self, name: str, pods: Mapping[str, str]) -> None:
        """
        These are a gateway's servers from now on.

        Args:
            pods: Node of each, by namespace/name.
        """
        gateway = self.gateways[name]
        left: list[Request] = []
        ended = [pod for pod, server in gateway.servers.items() if pods.get(pod) != server.node]
        for pod in ended:
            left += self._gpus[gateway.servers.pop(pod).node].remove(pod)
        for pod, node in pods.items():
            if pod not in gateway.servers:
                self._gpus.setdefault(node, SharedGpu(self._now))
                gateway.servers[pod] = Server(node)
        again = [*sorted(left, key=lambda request: request.came), *gateway.waiting]
        gateway.waiting.clear()
        for request in again:
            self._send(gateway, request)

    def work(self, until: float, arrivals: Iterable[tuple[float, str]] = ()) -> None:
        """
        Args:
            arrivals: Of requests since the last call, and at which gateway, in order of time.
        """
        for at, name in arrivals:
            gateway = self.gateways[name]
            self._serve(at)
            gateway.came += 1
            self._send(gateway, Request(at, gateway.cost))
        self._serve(until)

    def _serve(self, until: float) -> None:
        for gpu in self._gpus.values():
            for request in gpu.work(until):
                self._end(request)
        self._now = until

    def _send(self, gateway: Gateway, request: Request) -> None:
        if pod := gateway.least_busy():
            # The server's own measure begins where it gets the request, as vLLM's does.
            request.came, request.server = self._now, pod
            server = gateway.servers[pod]
            server.in_flight += 1
            self._gpus[server.node].add(request)
        elif not gateway.servers and len(gateway.waiting) < gateway.holds:
            gateway.waiting.append(request)
        else:
            gateway.refused += 1

    def _end(self, request: Request) -> None:
        [server] = [
            gateway.servers[request.server]
            for gateway in self.gateways.values()
            if request.server in gateway.servers
        ]
        server.in_flight -= 1
        server.first_token.observe(request.done[0] - request.came)
        server.whole_request.observe(request.done[-1] - request.came)
