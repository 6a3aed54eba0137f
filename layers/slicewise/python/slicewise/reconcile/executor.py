"""Tries the actions of a plan, each as one call of a port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from slicewise.errors import Conflict, LeaseHeld, Refused, Unauthorized, Unavailable
from slicewise.model.cluster import EksCluster
from slicewise.planning import retries
from slicewise.planning.actions import Action, DeleteSnapshot, SaveSnapshot, part_of
from slicewise.planning.eks_actions import (
    ApplyChartCrds,
    RollbackRelease,
    TryUpgrade,
    UninstallRelease,
    UpgradeRelease,
)
from slicewise.planning.outcome import Left
from slicewise.planning.retries import Retry
from slicewise.ports import Ports
from slicewise.reconcile import eks_handlers, handlers
from slicewise.reconcile.connection import Connection, Handler
from slicewise.trigger import Trigger

# Each call is abandoned after 35 seconds (gateways/kubernetes.py), and an action makes a few.
ONE_WRITE = timedelta(minutes=2)
# Each may take half a minute to get no answer, of the five minutes that a function has. Those that are left
# are tried by the next reconcile, which leaves these out until their time has come.
_MOST_UNANSWERED = 4
# Longer than the sweep's period: a part that no plan mentions for so long no longer counts as failed.
_REMEMBERED = timedelta(hours=2)
# Of what is refused each night, the operators are notified once: what lies between two nights may be a week.
_REFUSALS_REMEMBERED = timedelta(days=8)
_NOTES = (SaveSnapshot, DeleteSnapshot)
_RUNS_HELM = (ApplyChartCrds, TryUpgrade, UpgradeRelease, RollbackRelease, UninstallRelease)
# Each action that a plan may ask for, and what does it.
HANDLERS: Mapping[type[Action], Handler] = {**handlers.HANDLERS, **eks_handlers.HANDLERS}


def time_for(action: Action) -> timedelta:
    """The longest that one action may take: what the lease must cover before it begins."""
    return timedelta(minutes=7) if isinstance(action, _RUNS_HELM) else ONE_WRITE


class Attempt:
    """
    One try at a plan, in which a part that fails ends alone.

    Args:
        before: What failed in the previous reconciles.
        longest: The longest that a failed part waits for its next try.
        left: Parts that wait longer where they are refused for good.
    """

    def __init__(
        self,
        before: Iterable[Retry],
        clock: Callable[[], datetime],
        longest: timedelta,
        left: Mapping[str, Left] | None = None,
    ):
        self._before = {retry.part: retry for retry in before}
        self._clock, self._longest, self._left = clock, longest, left or {}
        self._failed: dict[str, Retry] = {}
        self._done: set[str] = set()
        self._written: set[str] = set()
        self._unanswered: list[str] = []
        self._has_ended = False

    @property
    def failed(self) -> tuple[Retry, ...]:
        """What is to be tried again, also what this reconcile left out because its time had not come."""
        return tuple(self._failed.values())

    @property
    def untried(self) -> tuple[Retry, ...]:
        """
        What failed before and did not have its turn: this reconcile was abandoned, ended before, or read
        nothing. Without it the operators would be notified of it again.
        """
        now = self._clock()
        untried = (retry for retry in self._before.values() if not self._was_tried(retry))
        return tuple(retry for retry in untried if now < retry.at + _remembered(retry))

    def _was_tried(self, retry: Retry) -> bool:
        """What is noted of a refused object is no news of it: only a write shows that it is not refused."""
        done = self._written if retry.refused_by else self._done
        return retry.part in self._failed or retry.part in done

    def in_order(self, actions: Iterable[Action]) -> list[Action]:
        """Parts that failed before come last: one that gets no answer takes half a minute, and all wait."""
        return sorted(actions, key=lambda action: part_of(action) in self._before)

    @property
    def is_given_up(self) -> bool:
        """Whether so many parts got no answer that the others are left for the next reconcile."""
        return len(self._unanswered) >= _MOST_UNANSWERED

    def leaves_out(self, action: Action) -> bool:
        if self._has_ended:
            return True
        part = part_of(action)
        if not part:
            return False
        if part in self._failed or (self.is_given_up and part not in self._done):
            return True
        before, left = self._before.get(part), self._left.get(part)
        if before is None or before.is_due(str(action), left.version if left else "", self._clock()):
            return False
        self._failed[part] = before
        return True

    @contextmanager
    def ends_where_this_fails(self) -> Iterator[None]:
        """Also for those that are tried side by side: what is raised concerns them all."""
        try:
            yield
        except BaseException:
            self._has_ended = True
            raise

    @contextmanager
    def at(self, action: Action) -> Iterator[None]:
        """
        Keeps an error of a part. Raised are errors about all that follows: of an action without a part, of
        our identity, and of the lease.
        """
        part = part_of(action)
        try:
            yield
            self._done.add(part)
            if not isinstance(action, _NOTES):
                self._written.add(part)
        except (Unauthorized, LeaseHeld):
            raise
        except (Conflict, Refused, Unavailable) as error:
            if not part:
                raise
            if retries.is_unanswered(error):
                self._unanswered.append(part)
            before, now = self._before.get(part), self._clock()
            left = self._left.get(part)
            self._failed[part] = retries.failed(part, str(action), error, before, now, self._longest, left)


def _remembered(retry: Retry) -> timedelta:
    return _REFUSALS_REMEMBERED if retry.refused_by else _REMEMBERED


class ActionExecutor:
    """
    Does actions on one cluster; connects to it when the first one needs that.

    Args:
        still_ours: Raises LeaseHeld where the cluster has become another reconcile's. Called before each
            further write of an action that has several.
    """

    def __init__(
        self,
        trigger: Trigger,
        cluster: EksCluster | None,
        ports: Ports,
        still_ours: Callable[[], None] = lambda: None,
    ):
        self._connection = Connection(trigger, cluster, ports, still_ours)

    def do(self, action: Action) -> None:
        handler = HANDLERS.get(type(action))
        if handler is None:
            raise TypeError(f"no port call is known for {type(action).__name__}")
        handler(self._connection, action)
