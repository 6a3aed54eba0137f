"""
How the replicas of a GPU share its time: the law that the queue's model and the served requests have in
common.

A GPU works on all requests of its replicas in turn. Where k of them are on it, each has a k-th of its time,
of which η = 0.9 is left once there are several: the law by which the tuning rule predicts slowdown
(docs/tuning.md). So a request that takes a second alone takes about 1/(1 − ρ) seconds on average where the
GPU is busy for a part ρ of its time. What a server does of a request without the GPU, it does for each at the
same time.

Pure: it has no clock of its own, and is exact between two times that it is given.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

ETA = 0.9


@dataclass(frozen=True)
class Cost:
    """
    Of a request that has a server and its GPU to itself, in seconds.

    Attributes:
        besides: Before its GPU time: what its server does for it without the GPU.
        gpu: Of the GPU's time, part after part, such as prefill and decode.
    """

    gpu: Sequence[float]
    besides: float = 0.0

    @property
    def alone(self) -> float:
        return self.besides + sum(self.gpu)


@dataclass
class Request:
    """
    Attributes:
        came: To its server, second of any clock.
        server: That serves it, whatever it is called.
        done: When each part of its GPU time ended.
    """

    came: float
    cost: Cost
    server: str = ""
    done: list[float] = field(default_factory=list)

    @property
    def slowdown(self) -> float:
        """Of one that has ended: by how much longer it took than alone."""
        return (self.done[-1] - self.came) / self.cost.alone


class SharedGpu:
    """
    One GPU, with all requests of the servers on it.

    Attributes:
        now: Until when it has worked.
    """

    def __init__(self, now: float = 0.0):
        self.now = now
        # What each request that is on it has had of its time since the beginning.
        self._had = 0.0
        self._numbers = count()
        # Each by its next event: when it comes to the GPU, and at which `_had` its part ends.
        self._besides: list[tuple[float, int, Request]] = []
        self._sharing: list[tuple[float, int, Request]] = []

    def __len__(self) -> int:
        """Requests in flight."""
        return len(self._besides) + len(self._sharing)

    @property
    def requests(self) -> list[Request]:
        """In flight, in any order."""
        return [request for _, _, request in (*self._besides, *self._sharing)]

    def add(self, request: Request) -> None:
        """From `now` on; it begins from its beginning."""
        request.done.clear()
        at = self.now + request.cost.besides
        heapq.heappush(self._besides, (at, next(self._numbers), request))

    def remove(self, server: str) -> list[Request]:
        """Requests that a server leaves behind when it ends, in the order in which they came."""
        left = [request for request in self.requests if request.server == server]
        for name in ("_besides", "_sharing"):
            kept = [entry for entry in getattr(self, name) if entry[2].server != server]
            heapq.heapify(kept)
            setattr(self, name, kept)
        return sorted(left, key=lambda request: request.came)

    def work(self, until: float) -> list[Request]:
        """
        Those that end by then, in their order.

        Raises:
            ValueError: It has worked until a later time already.
        """
        if until < self.now:
            raise ValueError(f"a GPU that has worked until {self.now} cannot work until {until}")
        ended: list[Request] = []
        while True:
            comes = self._besides[0][0] if self._besides else math.inf
            ends = self._next_end()
            if min(comes, ends) > until:
                break
            self._pass(min(comes, ends))
            if ends <= comes:
                request = heapq.heappop(self._sharing)[2]
                request.done.append(self.now)
            else:
                request = heapq.heappop(self._besides)[2]
            self._share(request, ended)
        self._pass(until)
        return ended

    def _share(self, request: Request, ended: list[Request]) -> None:
        """Begin its next part, where it has one."""
        if len(request.done) == len(request.cost.gpu):
            return ended.append(request)
        part = request.cost.gpu[len(request.done)]
        heapq.heappush(self._sharing, (self._had + part, next(self._numbers), request))

    def _next_end(self) -> float:
        if not self._sharing:
            return math.inf
        return self.now + max(0.0, self._sharing[0][0] - self._had) / self._speed()

    def _pass(self, until: float) -> None:
        self._had += (until - self.now) * self._speed()
        self.now = until

    def _speed(self) -> float:
        """Of each request on it, against alone; 0 where there is none."""
        on_it = len(self._sharing)
        return (ETA if on_it > 1 else 1.0) / on_it if on_it else 0.0
