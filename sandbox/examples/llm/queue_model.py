"""
Requests that replicas on slices serve, and what an autoscaler makes of their queue: a model in its own
time.

GPUs serve by the law of gpu_time.py. A request goes to any GPU with replicas, since kube-proxy picks one at
random. Replicas fill GPUs, N each: scheduler and Karpenter pack them, and a GPU that they no longer need
goes a minute later (`consolidateAfter`).

The autoscaler is Kubernetes' (1.37, pkg/controller/podautoscaler): each 15 seconds the metric by the target
per replica, rounded up; within a tenth nothing happens; down to the most that it wanted in five minutes.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass, field

from sandbox.examples.llm.gpu_time import ETA, Cost, Request, SharedGpu

SYNC_SECONDS, TOLERANCE, STABILIZATION_SECONDS = 15.0, 0.1, 300.0
# Over so long the query has the mean: of a few requests in flight, one more would move everything.
WINDOW_SECONDS = 120.0
CONSOLIDATE_SECONDS = 60.0
# Between looks at the replicas and at what is in flight; requests come and end at any time.
TICK_SECONDS = 0.25


@dataclass(frozen=True)
class Load:
    """
    Attributes:
        gpus: So many would be busy for `busy` of their time with it.
        target: Requests in flight that a whole GPU should have, on average.
        service_seconds: What a request takes alone.
    """

    gpus: int = 32
    busy: float = 0.25
    service_seconds: float = 1.0
    seed: int = 0

    @property
    def target(self) -> float:
        """By processor sharing ρ/(1 − ρ)."""
        return self.busy / (1 - self.busy)

    @property
    def cost(self) -> Cost:
        """Of a request: the GPU does all of it."""
        return Cost((self.service_seconds,))

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.gpus * self.busy * ETA / self.service_seconds


@dataclass
class Autoscaler:
    """
    Attributes:
        n: Slices a GPU that its query multiplies by: what is published, or what someone wrote once.
    """

    target: float
    n: int
    replicas: int
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)

    def sync(self, at: float, in_flight: float) -> None:
        load = in_flight * self.n / self.target
        is_close = abs(load / self.replicas - 1) <= TOLERANCE
        wanted = self.replicas if is_close else max(1, math.ceil(load))
        self._wanted.append((at, wanted))
        while self._wanted[0][0] <= at - STABILIZATION_SECONDS:
            self._wanted.popleft()
        most = max(one for _, one in self._wanted)
        self.replicas = wanted if wanted > self.replicas else min(self.replicas, most)


@dataclass
class Queue:
    """
    Attributes:
        slowdowns: When each request ended, and by how much longer it took than alone.
        replicas: What there were after each sync, by its time.
    """

    load: Load
    scaler: Autoscaler
    n: int
    now: float = 0.0
    slowdowns: list[tuple[float, float]] = field(default_factory=list)
    replicas: list[tuple[float, int]] = field(default_factory=list)
    _needed_until: float = 0.0
    _gpus: list[SharedGpu] = field(default_factory=list)
    _in_flight: deque[int] = field(default_factory=lambda: deque(maxlen=round(WINDOW_SECONDS / TICK_SECONDS)))

    def __post_init__(self) -> None:
        self._random = random.Random(self.load.seed)
        self._next, self._sync = self._random.expovariate(self.load.rate), SYNC_SECONDS

    def run(self, until: float) -> None:
        while self.now < until:
            self.now += TICK_SECONDS
            self._pack()
            self._arrive()
            for gpu in self._gpus:
                self._serve(gpu)
            self._in_flight.append(sum(map(len, self._gpus)))
            if self.now >= self._sync:
                self._sync += SYNC_SECONDS
                self.scaler.sync(self.now, sum(self._in_flight) / len(self._in_flight))
                self.replicas.append((self.now, self.scaler.replicas))

    def p95(self, since: float, until: float = math.inf) -> float:
        """Of the slowdowns of requests that ended in that time."""
        found = sorted(slowdown for at, slowdown in self.slowdowns if since <= at < until)
        return found[int(0.95 * len(found))]

    def gpus(self) -> int:
        return len(self._gpus)

    def replicas_at(self, at: float) -> int:
        return [count for time, count in self.replicas if time <= at][-1]

    def _pack(self) -> None:
        """Requests of a GPU that goes begin again elsewhere."""
        gpus = max(1, math.ceil(self.scaler.replicas / self.n))
        while len(self._gpus) < gpus:
            self._gpus.append(SharedGpu(self.now))
        if len(self._gpus) == gpus:
            self._needed_until = self.now
        while len(self._gpus) > gpus and self.now - self._needed_until >= CONSOLIDATE_SECONDS:
            for request in self._gpus.pop().requests:
                self._random.choice(self._gpus).add(request)

    def _arrive(self) -> None:
        while self._next <= self.now:
            gpu = self._random.choice(self._gpus)
            self._serve(gpu, max(gpu.now, self._next))
            gpu.add(Request(self._next, self.load.cost))
            self._next += self._random.expovariate(self.load.rate)

    def _serve(self, gpu: SharedGpu, until: float | None = None) -> None:
        ended = gpu.work(self.now if until is None else until)
        self.slowdowns += ((request.done[-1], request.slowdown) for request in ended)


def changed(load: Load, before: int, after: int, *, at: float, until: float, is_published: bool) -> Queue:
    """
    A steady load while N goes from `before` to `after`; not published, the query has the old one.
    """
    scaler = Autoscaler(load.target, before, load.gpus * before)
    queue = Queue(load, scaler, before)
    queue.run(at)
    queue.n = after
    scaler.n = after if is_published else before
    queue.run(until)
    return queue
