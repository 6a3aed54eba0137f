"""Each action that a plan may ask for, as one call of a port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property

from slicewise.errors import Conflict, LeaseHeld, Refused, Unauthorized, Unavailable
from slicewise.kube.objects import UNFINISHED, asked, being_deleted, labels, name
from slicewise.model.cluster import EksCluster
from slicewise.planning import retries
from slicewise.planning.actions import (
    Action,
    Apply,
    ClaimsCarry,
    Delete,
    DeleteAlarm,
    DeleteOpening,
    DeleteSchedule,
    Forget,
    ForgetSnapshot,
    KeepSnapshot,
    Notify,
    Patch,
    PutAlarm,
    PutOpening,
    PutSchedule,
    Scale,
    SetClass,
    SlotsFit,
    Wake,
    part_of,
)
from slicewise.planning.eks_actions import (
    AllowAccessEntries,
    ApplyChartCrds,
    DeleteAccessEntry,
    GrantAdmin,
    PutAccessEntry,
    PutAddon,
    PutPodIdentity,
    RevokeAdmin,
    RollbackRelease,
    TryUpgrade,
    UninstallRelease,
    UpgradeRelease,
)
from slicewise.planning.retries import Retry
from slicewise.pools import layout
from slicewise.ports import Helm, Kubernetes, Ports
from slicewise.trigger import Hint

# Each call is given up after 35 seconds (gateways/kubernetes.py), and an action makes a few.
ONE_WRITE = timedelta(minutes=2)
# Each may take half a minute to get no answer, of the five minutes that a function has. Those that are left
# are tried by the next pass, which leaves these out until their time has come.
_MOST_UNANSWERED = 4
# Longer than the sweep takes to come round: a part that no plan mentions for so long fails no more.
_REMEMBERED = timedelta(hours=2)
_RUNS_HELM = (ApplyChartCrds, TryUpgrade, UpgradeRelease, RollbackRelease, UninstallRelease)


def time_for(action: Action) -> timedelta:
    """The longest that one action may take: what the lease must cover before it begins."""
    return timedelta(minutes=7) if isinstance(action, _RUNS_HELM) else ONE_WRITE


class Attempt:
    """
    One try at a plan, in which a part that fails ends alone.

    Args:
        before: What failed in the passes before.
        longest: The longest that a failed part waits for its next try.
    """

    def __init__(self, before: Iterable[Retry], clock: Callable[[], datetime], longest: timedelta):
        self._before = {retry.part: retry for retry in before}
        self._clock, self._longest = clock, longest
        self._failed: dict[str, Retry] = {}
        self._done: set[str] = set()
        self._unanswered: list[str] = []
        self._has_ended = False

    @property
    def failed(self) -> tuple[Retry, ...]:
        """What is to be tried again, also what this pass left out because its time had not come."""
        return tuple(self._failed.values())

    @property
    def untried(self) -> tuple[Retry, ...]:
        """
        What failed before and did not have its turn: this pass was given up, ended before, or looked at
        nothing. Without it the operators would be notified of it again.
        """
        since = self._clock() - _REMEMBERED
        tried = self._failed.keys() | self._done
        return tuple(retry for part, retry in self._before.items() if part not in tried and retry.at > since)

    def in_order(self, actions: Iterable[Action]) -> list[Action]:
        """Parts that failed before come last: one that gets no answer takes half a minute, and all wait."""
        return sorted(actions, key=lambda action: part_of(action) in self._before)

    @property
    def is_given_up(self) -> bool:
        """Whether so many parts got no answer that the others are left for the next pass."""
        return len(self._unanswered) >= _MOST_UNANSWERED

    def leaves_out(self, action: Action) -> bool:
        if self._has_ended:
            return True
        part = part_of(action)
        if not part:
            return False
        if part in self._failed or (self.is_given_up and part not in self._done):
            return True
        before = self._before.get(part)
        if before is None or before.action != str(action) or before.at <= self._clock():
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
        except (Unauthorized, LeaseHeld):
            raise
        except (Conflict, Refused, Unavailable) as error:
            if not part:
                raise
            if retries.is_unanswered(error):
                self._unanswered.append(part)
            before, now = self._before.get(part), self._clock()
            self._failed[part] = retries.failed(part, str(action), error, before, now, self._longest)


class Hands:
    """
    Does actions on one cluster; connects to it when the first one needs that.

    Args:
        still_ours: Raises LeaseHeld where the cluster has become another pass's. Called before each further
            write of an action that has several.
    """

    def __init__(
        self,
        hint: Hint,
        cluster: EksCluster | None,
        ports: Ports,
        still_ours: Callable[[], None] = lambda: None,
    ):
        self._hint, self._cluster, self._ports = hint, cluster, ports
        self._still_ours = still_ours

    @cached_property
    def _kubernetes(self) -> Kubernetes:
        return self._ports.kubernetes(self._live_cluster)

    @cached_property
    def _helm(self) -> Helm:
        return self._ports.helm(self._live_cluster)

    @property
    def _live_cluster(self) -> EksCluster:
        if self._cluster is None:
            raise Conflict(f"{self._hint.name} is gone; nothing can be done in it")
        return self._cluster

    def do(self, action: Action) -> None:
        eks, cluster = self._ports.eks, self._hint.name
        match action:
            case Apply() | SetClass():
                self._kubernetes.apply(action.object)
            case Patch():
                self._check(action.guard)
                self._kubernetes.patch(action.ref, action.operations, action.subresource)
            case Scale():
                self._kubernetes.scale(action.ref, action.seen, action.replicas)
            case PutSchedule():
                message = Hint(self._hint.cluster, action.why).message()
                self._ports.schedules.put(cluster, action.at, message)
            case Notify():
                self._ports.notices.publish(action.subject, action.text)
            case DeleteSchedule():
                self._ports.schedules.delete(cluster)
            case PutOpening():
                self._ports.sleep.put_opening(self._hint.cluster, action.opening)
            case DeleteOpening():
                self._ports.sleep.delete_opening(self._hint.cluster)
            case KeepSnapshot():
                self._ports.sleep.keep(self._hint.cluster, action.snapshot)
            case ForgetSnapshot():
                self._ports.sleep.forget_snapshot(self._hint.cluster, action.snapshot)
            case Delete():
                self._kubernetes.delete(action.ref)
            case ApplyChartCrds():
                for crd in self._helm.chart_crds(action.chart, action.version):
                    self._still_ours()
                    self._kubernetes.apply(crd)
            case TryUpgrade():
                self._helm.try_upgrade(
                    action.name, action.namespace, action.chart, action.version, action.values
                )
            case UpgradeRelease():
                self._helm.upgrade(
                    action.name,
                    action.namespace,
                    action.chart,
                    action.version,
                    action.values,
                    take_ownership=action.take_ownership,
                )
            case RollbackRelease():
                self._roll_back(action)
            case UninstallRelease():
                self._helm.uninstall(action.name, action.namespace)
            case AllowAccessEntries():
                eks.allow_access_entries(cluster)
            case PutAccessEntry():
                eks.put_access_entry(cluster, action.principal, action.groups, action.type)
            case DeleteAccessEntry():
                eks.delete_access_entry(cluster, action.principal)
            case GrantAdmin():
                eks.grant_admin(cluster, action.principal)
            case RevokeAdmin():
                eks.revoke_admin(cluster, action.principal)
            case PutAddon():
                eks.put_addon(cluster, action.name)
            case PutPodIdentity():
                eks.put_pod_identity(cluster, action.namespace, action.service_account, action.role_arn)
            case PutAlarm():
                self._ports.alarms.put(action.alarm)
            case DeleteAlarm():
                self._ports.alarms.delete(action.name)
            case Forget():
                self._ports.store.forget(self._hint.cluster)
            case Wake():
                hint = Hint(self._hint.cluster, action.why)
                self._ports.queues.send(action.capability, hint.message(), action.after)
            case _:
                raise TypeError(f"no port call is known for {type(action).__name__}")

    def _check(self, guard: SlotsFit | ClaimsCarry | None) -> None:
        """What a disruptive write rests on, read again now."""
        match guard:
            case SlotsFit(node, resource, most):
                pods = self._kubernetes.list("v1", "Pod", fields=f"spec.nodeName={node},{UNFINISHED}")
                used = sum(asked(pod, resource) for pod in pods)
                if used > most:
                    raise Conflict(f"{used} slices of node {node} are in use by now, more than {most}")
            case ClaimsCarry(node_pool, key):
                claims = self._kubernetes.list(
                    "karpenter.sh/v1", "NodeClaim", labels=f"{layout.NODE_POOL_LABEL}={node_pool}"
                )
                others = [name(claim) for claim in claims if not being_deleted(claim)
                          and labels(claim).get(layout.CONFIG_LABEL) != key]  # fmt: skip
                if others:
                    raise Conflict(f"NodeClaim {others[0]} of {node_pool} does not carry {key} yet")

    def _roll_back(self, action: RollbackRelease) -> None:
        """
        To the newest revision that was ever deployed; a release that never was is uninstalled, and so is one
        of which a killed helm has taken a part away already.
        """
        if action.revision:
            self._helm.rollback(action.name, action.namespace, action.revision)
            return
        revisions = self._helm.revisions(action.name, action.namespace)
        if not revisions or not revisions[0].pending:
            return
        sound = [release.revision for release in revisions if release.status in ("deployed", "superseded")]
        if sound and revisions[0].status != "uninstalling":
            self._helm.rollback(action.name, action.namespace, sound[0])
        else:
            self._helm.uninstall(action.name, action.namespace)
