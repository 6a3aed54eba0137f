"""
The openings track: 1,000 clusters that open at the same minute, on AWS's limits. Reckoned, nothing runs.

A discrete simulation of the queue of off-hours, the pollers of its event source mapping, the places of its
function, leases, EKS's throttle and the look every five minutes. When a cluster's waking begins, how long a
pass waits for the next, how often a failed message comes back, and whom the look asks for are the product's
own code and constants.

    pollers     begin with 5 messages at once, and take up to 300 more a minute (AWS Lambda developer guide,
                "Configuring scaling behavior for SQS event source mappings", read in November 2026)
    Lambda      1,000 places an account, of which the three mappings take 140. A new account may have 10: the
                cases of ten passes at once are the best that it can do
    EKS         DescribeCluster: the rate is unpublished. Of 100 calls at once about 20 are refused (kconnect
                issue 751), so 80 at once are taken; that 10 a second are refilled is assumed. Our client
                tries five times (gateways/botocore_clients.py)
    SQS         takes and gives whatever comes: a standard queue has no limit that matters here
    passes      as long as is said, each with one DescribeCluster; of a cluster that does not answer, 35 s.
                Each cluster has a CronJob, which is woken at the opening, and nodes that take the whole lead
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.fleet import openings as fleet
from slicewise.model.opening import Opening
from slicewise.offhours import plan
from slicewise.offhours.observe import NOT_LEARNED
from slicewise.offhours.wake import stages as wake_stages
from slicewise.reconcile.batch import MOST_RECEIVES, retry_delay
from slicewise.schedule.calendar import Edge

# Any morning.
OPENS = datetime(2026, 11, 26, 6, tzinfo=UTC)
EDGE = Edge(OPENS, asleep=False)
LEAD = NOT_LEARNED
FIRST_POLLERS, POLLERS_A_SECOND = 5, 300 / 60
BUSY_SECONDS = 0.3
NO_ANSWER_SECONDS = 35.0
EKS_BURST, EKS_TRIES = 80, 5
# From the end of a night to half an hour of the morning: seconds after the opening, like all times here.
BEGIN, END = -45 * 60.0, 30 * 60.0


@dataclass(frozen=True)
class Fleet:
    """
    Attributes:
        passes: How many give everything back: each does 1,000 objects, and stages may take one each.
        at_once: MaximumConcurrency of the event source mapping.
        silent: Share of clusters whose API server does not answer.
        lost: Share of clusters for which no message comes when their waking begins.
        is_spread: Whether each begins at its own moment ahead; else all at the same.
        eks_a_second: Calls that EKS takes for good.
    """

    clusters: int = 1000
    passes: int = 3
    seconds: float = 10.0
    at_once: int = fleet.PASSES_AT_ONCE
    silent: float = 0.02
    lost: float = 0.0
    is_spread: bool = True
    eks_a_second: float = 10.0
    seed: int = 1


@dataclass(order=True)
class Message:
    """
    Attributes:
        due: Of a look that a pass has asked for.
        waits: It has found another pass at work.
    """

    at: float
    number: int
    cluster: Cluster = field(compare=False)
    due: float | None = field(default=None, compare=False)
    waits: bool = field(default=False, compare=False)
    received: int = field(default=0, compare=False)


@dataclass(eq=False)
class Cluster:
    """
    Attributes:
        begins: When its waking does.
        left: Passes until everything but its CronJob is given back.
        opening: As the table has it.
        running: A pass holds its lease.
        hint_waits: A message waits for the end of that pass.
        next_look: When the look comes that the last pass has asked for.
        restored, opened: When the passes ended that woke its pods, and its CronJob.
    """

    name: str
    begins: float
    left: int
    silent: bool
    lost: bool
    opening: Opening | None
    running: bool = False
    trigger_waits: bool = False
    next_look: float | None = None
    has_a_schedule: bool = False
    restored: float | None = None
    opened: float | None = None

    @property
    def arn(self) -> str:
        return f"arn:aws:eks:eu-west-1:111122223333:cluster/{self.name}"


class Eks:
    """What DescribeCluster takes: a bucket of calls."""

    def __init__(self, a_second: float) -> None:
        self._a_second, self._left, self._filled = a_second, float(EKS_BURST), BEGIN
        self.refused = 0

    def takes(self, now: float) -> bool:
        self._left = min(EKS_BURST, self._left + (now - self._filled) * self._a_second)
        self._filled = now
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True


class Morning:
    """One run of the queue, its pollers, and the passes."""

    def __init__(self, of: Fleet):
        self._of, self._chance, self._eks = of, random.Random(of.seed), Eks(of.eks_a_second)
        self.clusters = {found.arn: found for found in map(self._cluster, range(of.clusters))}
        self._later: list[Message] = []
        self._ready: deque[Message] = deque()
        self._ends: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = self._running = 0
        self._busy_since: float | None = None
        self.most_places = self.most_waiting = 0
        self.dead, self.alarms = 0, 0

    def _cluster(self, number: int) -> Cluster:
        name, of = f"gpu-{number:04}", self._of
        share = wake_stages.share(name, of.clusters) if of.is_spread else timedelta(0)
        silent, lost = self._chance.random() < of.silent, self._chance.random() < of.lost
        begins = OPENS - LEAD - share
        return Cluster(name, _seconds(begins), of.passes, silent, lost, Opening(begins, OPENS))

    def run(self) -> dict[str, Any]:
        for cluster in self.clusters.values():
            if not cluster.lost:
                # The schedule's message, and the one that the passes of the night have sent themselves.
                self._send(cluster, cluster.begins)
                self._look_at(cluster, cluster.begins)
        look = BEGIN + self._chance.random() * fleet.EVERY.total_seconds()
        now = look
        while now < END:
            now = self._next(look, now)
            if now >= look:
                self._look(now)
                look += fleet.EVERY.total_seconds()
            self._step(now)
        return self._result()

    def _next(self, look: float, now: float) -> float:
        """While messages wait, each second may bring another poller."""
        return min(
            look,
            now + 1 if self._ready else END,
            self._ends[0][0] if self._ends else END,
            self._later[0].at if self._later else END,
        )

    def _step(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            heapq.heappop(self._ends)[2](now)
        while self._later and self._later[0].at <= now:
            self._ready.append(heapq.heappop(self._later))
        self._hand_out(now)

    def _send(self, cluster: Cluster, at: float, **more: Any) -> None:
        self._numbers += 1
        heapq.heappush(self._later, Message(at, self._numbers, cluster, **more))

    def _look_at(self, cluster: Cluster, at: float) -> None:
        cluster.next_look = at
        self._send(cluster, at, due=at)

    def _after(self, at: float, then: Callable[[float], None]) -> None:
        self._numbers += 1
        heapq.heappush(self._ends, (at, self._numbers, then))

    # The look every five minutes

    def _look(self, now: float) -> None:
        at = OPENS + timedelta(seconds=now)
        openings = {arn: one.opening for arn, one in self.clusters.items() if one.opening}
        due = {arn: opening for arn, opening in openings.items() if opening.due <= at}
        for one in fleet.triggers(due, at):
            self._send(self.clusters[one.trigger.cluster], now + one.delay.total_seconds())
        self.alarms += sum(not self.clusters[arn].silent for arn in fleet.past_their_hour(due, at))

    # Pollers and places

    def _hand_out(self, now: float) -> None:
        if self._ready and self._busy_since is None:
            self._busy_since = now
        elif not self._ready and not self._running:
            self._busy_since = None
        pollers = FIRST_POLLERS + (now - (self._busy_since or now)) * POLLERS_A_SECOND
        while self._ready and self._running < min(self._of.at_once, int(pollers)):
            self._receive(self._ready.popleft(), now)
        self.most_waiting = max(self.most_waiting, len(self._ready))
        self.most_places = max(self.most_places, self._running)

    def _receive(self, message: Message, now: float) -> None:
        self._running += 1
        message.received += 1
        if message.cluster.running:
            self._after(now + BUSY_SECONDS, lambda end: self._busy(message, end))
            return
        message.cluster.running, message.cluster.trigger_waits = True, False
        self._describe(message, now, now, 1)

    def _busy(self, message: Message, now: float) -> None:
        """As reconcile/reconciler.py: it comes back, unless another one waits already."""
        self._running -= 1
        if not message.cluster.trigger_waits or message.waits:
            message.cluster.trigger_waits = True
            self._send(message.cluster, now + 5 + 15 * self._chance.random(), waits=True)

    def _describe(self, message: Message, began: float, now: float, attempt: int) -> None:
        """As botocore: a refused call is made again, within 1, 2, 4 ... s."""
        if self._eks.takes(now):
            seconds = NO_ANSWER_SECONDS if message.cluster.silent else self._of.seconds
            self._after(now + seconds, lambda end: self._passed(message, began, end))
        elif attempt == EKS_TRIES:
            self._failed(message, now)
        else:
            again = now + self._chance.random() * 2 ** (attempt - 1)
            self._after(again, lambda end: self._describe(message, began, end, attempt + 1))

    def _failed(self, message: Message, now: float) -> None:
        self._running -= 1
        message.cluster.running = False
        if message.received >= MOST_RECEIVES:
            self.dead += 1
            return
        message.at = now + retry_delay(message.received).total_seconds()
        heapq.heappush(self._later, message)

    # Passes

    def _passed(self, message: Message, began: float, now: float) -> None:
        self._running -= 1
        cluster = message.cluster
        cluster.running = False
        if cluster.next_look is not None and (cluster.next_look <= now or message.due == cluster.next_look):
            cluster.next_look = None
        wait = self._does(cluster, began, now)
        # As reconcile/reconciler.py: one that comes early enough is enough.
        if wait is not None and (cluster.next_look is None or cluster.next_look > now + wait + 1):
            self._look_at(cluster, now + wait)

    def _does(self, cluster: Cluster, began: float, now: float) -> float | None:
        """What a pass of off-hours does, as far as its plan goes by time; how long it waits for the next."""
        if cluster.silent:
            return plan.OVERDUE_POLL.total_seconds()
        if began < cluster.begins:
            return cluster.begins - now
        cluster.left = max(cluster.left - 1, 0)
        if cluster.left:
            return plan.NEXT_BATCH.total_seconds()
        if cluster.restored is None:
            cluster.restored = now
        elif cluster.opened is None:
            cluster.opening = Opening(OPENS, OPENS)
        return self._opens(cluster, now) if began >= 0 else self._waits_for_the_opening(cluster, now)

    def _waits_for_the_opening(self, cluster: Cluster, now: float) -> float:
        """Its pods run by then, or nobody could tell why not."""
        if not cluster.has_a_schedule:
            cluster.has_a_schedule = True
            self._send(cluster, 0.0)
        at = OPENS + timedelta(seconds=now)
        return plan.next_of_waking(EDGE, plan.REPORT_BEFORE, False, at).total_seconds()

    def _opens(self, cluster: Cluster, now: float) -> None:
        """The CronJob is woken; the pass after that finds nothing asleep."""
        if cluster.opened is None:
            cluster.opened = now
        else:
            cluster.opening = None

    def _result(self) -> dict[str, Any]:
        """Of the clusters that answer, with nodes that take the whole lead."""
        found = [one for one in self.clusters.values() if not one.silent]
        awake = [one.restored + LEAD.total_seconds() for one in found if one.restored is not None]
        opened = [one.opened for one in found if one.opened is not None]
        ahead = [-one.begins - LEAD.total_seconds() for one in found]
        return {
            "clusters": len(found),
            "awake_at_the_opening": sum(at <= 0 for at in awake),
            "awake_five_minutes_later": sum(at <= 300 for at in awake),
            "last_awake_seconds_after_the_opening": round(max(awake, default=END), 1),
            "last_cron_job_seconds_after_the_opening": round(max(opened, default=END), 1),
            "begun_ahead_of_the_lead_seconds": round(sum(ahead) / len(ahead), 1),
            "most_places": self.most_places,
            "most_messages_waiting": self.most_waiting,
            "calls_refused_by_eks": self._eks.refused,
            "dead_letters": self.dead,
            "false_alarms": self.alarms,
        }


def _seconds(at: datetime) -> float:
    return (at - OPENS).total_seconds()


def run(clusters: int = 1000) -> dict[str, Any]:
    """
    `holds`: as deployed, all are awake at the opening, and those whose messages were lost five minutes later;
    nobody is called for a cluster that only waits for its turn.
    """
    deployed = Fleet(clusters)
    in_time = {
        "5 s a pass": replace(deployed, seconds=5.0),
        "10 s a pass": deployed,
        "10 s a pass, one a cluster": replace(deployed, passes=1),
        "one in twenty does not answer": replace(deployed, silent=0.05),
    }
    lost = {
        "one in a hundred gets no message": replace(deployed, lost=0.01),
        "nobody gets a message": replace(deployed, lost=1.0),
    }
    others = {
        "ten passes at once, all begin at once": replace(deployed, at_once=10, is_spread=False),
        "ten passes at once": replace(deployed, at_once=10),
        "all begin at once": replace(deployed, is_spread=False),
        "EKS takes five calls a second": replace(deployed, eks_a_second=5.0),
        "the same, one pass a cluster": replace(deployed, eks_a_second=5.0, passes=1),
        "ten passes at once, 50 clusters": replace(deployed, at_once=10, clusters=50),
    }
    found = {name: Morning(of).run() for name, of in (in_time | lost | others).items()}
    return {
        "lead_seconds": LEAD.total_seconds(),
        "passes_at_once": deployed.at_once,
        "cases": found,
        "holds": all(found[name]["awake_at_the_opening"] == found[name]["clusters"] for name in in_time)
        and all(found[name]["awake_five_minutes_later"] == found[name]["clusters"] for name in lost)
        and not any(found[name]["false_alarms"] for name in in_time | lost),
    }
