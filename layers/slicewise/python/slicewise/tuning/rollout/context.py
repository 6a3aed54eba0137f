"""What the stages of a change of N read, and what they report. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from slicewise.kube.labels import CHANGED_ANNOTATION, CORDONED_ANNOTATION, WAITED_ANNOTATION
from slicewise.kube.objects import being_deleted, created_at, labels, name
from slicewise.kube.ref import Object
from slicewise.planning.actions import Action
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning.rollout import patches
from slicewise.tuning.state.annotations import marked_at
from slicewise.tuning.state.pool_state import NodeState, PoolState, Rollout

SOON = timedelta(seconds=2)
PLUGIN = timedelta(seconds=5)  # a device plugin that reloads takes seconds, rarely a minute
ROLL = timedelta(seconds=30)
CANARY = timedelta(minutes=2)  # between two checks of how the canary does
RAREST = timedelta(minutes=15)


@dataclass(frozen=True)
class RolloutSettings:
    """
    Attributes:
        canary: How long one node must do well with the new N before the others get it.
        batch_share: Share of a pool's nodes whose device plugin may restart at the same time.
        settle: How long others (Karpenter, the scheduler) may take to see what we wrote.
        allocatable_timeout: The longest that a relabelled node may take to offer its new slices.
        patience: How long a change waits for what may never come: a node that does not work, a roll.
        before_narrowing: How long growing may take beside its canary before it is aborted.
        late_share: Share of a pool's nodes that may be overdue before their N is taken to be at fault; one
            may always be.
    """

    canary: timedelta = timedelta(minutes=30)
    batch_share: float = 0.1
    settle: timedelta = timedelta(seconds=15)
    allocatable_timeout: timedelta = timedelta(minutes=5)
    patience: timedelta = timedelta(minutes=30)
    before_narrowing: timedelta = timedelta(hours=3)
    overdue_share: float = 0.05


@dataclass(frozen=True)
class Advance:
    """
    Attributes:
        message: How far the rollout is, in one sentence.
        requeue_after: When to reconcile again.
        failed: Why a canary was, or is being, reverted.
    """

    actions: tuple[Action, ...]
    message: str
    requeue_after: timedelta | None
    findings: tuple[Finding, ...] = ()
    finished: bool = False
    failed: str = ""


@dataclass(frozen=True)
class Change:
    """One change at one moment: what the stages read."""

    state: PoolState
    rollout: Rollout
    settings: RolloutSettings
    now: datetime
    blockers: tuple[Finding, ...] = ()

    @property
    def new(self) -> str:
        return layout.config_key(self.state.pool.sharing, self.rollout.target)

    @property
    def old(self) -> str:
        return layout.config_key(self.state.pool.sharing, self.rollout.other)

    @property
    def nodes(self) -> tuple[NodeState, ...]:
        return tuple(node for node in self.state.nodes if not node.leaving)

    @property
    def claim_keys(self) -> tuple[str | None, ...]:
        """Of all NodeClaims that stay, unregistered ones included."""
        stay = (claim for claim in self.state.claims if not being_deleted(claim))
        return tuple(labels(claim).get(layout.CONFIG_LABEL) for claim in stay)

    @property
    def batch_size(self) -> int:
        return max(1, int(len(self.nodes) * self.settings.batch_share))

    @property
    def max_unavailable(self) -> int:
        if self.rollout.defers_to:
            return len(self.nodes)  # there is no way back
        return max(1, int(len(self.nodes) * self.settings.overdue_share))

    @property
    def to_come(self) -> tuple[Object, ...]:
        """NodeClaims of another key whose node has not come yet."""
        seen = {node.claim for node in self.state.nodes}
        return tuple(claim for claim in self._others() if name(claim) not in seen)

    @property
    def to_go(self) -> tuple[Object, ...]:
        """NodeClaims of another key whose node Karpenter is about to take away: no Node to relabel."""
        leaving = {node.claim for node in self.state.nodes if node.leaving}
        return tuple(claim for claim in self._others() if name(claim) in leaving)

    def _others(self) -> Iterator[Object]:
        return (
            claim
            for claim in self.state.claims
            if not being_deleted(claim) and labels(claim).get(layout.CONFIG_LABEL) != self.new
        )

    @property
    def rolls_long(self) -> bool:
        """Karpenter's replacing of nodes takes longer than consolidation may be held."""
        narrowed = self.rollout.narrowed
        return narrowed is not None and self.now - narrowed >= self.settings.patience

    @property
    def longest(self) -> timedelta:
        """How long a change may take until the requirement allows the new key only."""
        return 2 * self.settings.canary + self.settings.before_narrowing

    @property
    def is_overdue(self) -> bool:
        """It grows, and nodes come and go faster than it gets on, or something else never comes."""
        rollout = self.rollout
        began = rollout.grows and not (rollout.narrowed or rollout.revert or rollout.defers_to)
        return began and self.now - rollout.since >= self.longest

    @property
    def holds_long(self) -> bool:
        """Consolidation should not be held any longer, no matter how far the rollout is."""
        late = self.longest + self.settings.patience
        return self.rolls_long or (self.rollout.narrowed is None and self.now - self.rollout.since >= late)

    @property
    def moved_at(self) -> datetime:
        """
        When something last happened in this change, as far as it left a mark.

        Without capacity in EC2 NodeClaims come and go every few minutes: one without a node is no news.
        """
        rollout = self.rollout
        marks = [rollout.since, rollout.narrowed, rollout.canary and rollout.canary.since]
        nodes = self.state.nodes
        for item in (*(node.node for node in nodes), *(node.claim_object or {} for node in nodes)):
            marks += [
                created_at(item) if item else None,
                marked_at(item, CHANGED_ANNOTATION),
                marked_at(item, CORDONED_ANNOTATION),
                marked_at(item, WAITED_ANNOTATION),
            ]
        return max(at for at in marks if at)

    def has_new(self, node: NodeState) -> bool:
        return node.key == self.new and node.allocatable == node.promised

    def reloads(self, node: NodeState) -> bool:
        """Relabelled by us, and its plugin has not followed yet; a blip later on is no matter."""
        return (
            node.key == self.new
            and not self.has_new(node)
            and (node.claim_key != self.new or node.cordoned_by_us)
            and self.since_relabelled(node) is not None
        )

    def has_timed_out(self, node: NodeState) -> bool:
        """
        Whether a relabelled node has had its time.

        The canary, which has offered its slices for long, may miss them for a moment when its plugin
        restarts: so it is overdue only soon after the label, or at the very last.
        """
        since, timeout = self.since_relabelled(node) or timedelta(0), self.settings.allocatable_timeout
        if self.rollout.canary and node.name == self.rollout.canary.node:
            return timeout < since <= 2 * timeout or since > self.settings.canary + 2 * timeout
        return since > timeout

    def is_node_overdue(self, node: NodeState) -> bool:
        return self.reloads(node) and self.has_timed_out(node)

    def is_skipped(self, node: NodeState) -> bool:
        """
        It does not work, and has blocked the rollout long enough, or pods have slices that it would lose: it
            stays
        unchanged, and the others go on.
        """
        since, now = patches.waited_for(node), self.now
        waited = since is not None and not node.works and now - since >= self.settings.patience
        return waited or (self.rollout.grows and self.would_lose(node) and not self.fits(node))

    def would_lose(self, node: NodeState) -> bool:
        """Slices, with the new label."""
        return (layout.slices_of_key(node.key or "") or 0) > self.rollout.target

    def fits(self, node: NodeState) -> bool:
        return node.slots_in_use <= self.most(node)

    def most(self, node: NodeState) -> int:
        """
        Slices that may be in use on a node that loses some in place.

        On several GPUs it is not known which of them has which pod, so all must fit on one. To or from N = 1
        the names of all slices change, and a pod that has an old one does not survive the node's reboot.
        """
        return 0 if 1 in (self.rollout.target, self.rollout.other) else self.rollout.target

    def was_changed(self, node: NodeState) -> bool:
        """Its label, by this change."""
        at = marked_at(node.node, CHANGED_ANNOTATION)
        return at is not None and at >= self.rollout.since

    def since_relabelled(self, node: NodeState) -> timedelta | None:
        at = marked_at(node.node, CHANGED_ANNOTATION)
        return None if at is None else self.now - at


def act(actions: Sequence[Action], message: str, requeue_after: timedelta = SOON, **more: object) -> Advance:
    return Advance(tuple(actions), message, requeue_after, **more)  # type: ignore[arg-type]


def come_or_go(change: Change, message: str) -> Advance | None:
    """A node has the labels that its NodeClaim has when it registers, so it may come with the new key."""
    if change.to_come:
        why = "its node comes with it"
        claims = [patches.relabel_claim(claim, change.new, why, change.now) for claim in change.to_come]
        return act(claims, f"{message}; {len(claims)} more start with the new key", PLUGIN)
    if not change.to_go:
        return None
    if change.now - change.moved_at < change.settings.patience:
        return act((), f"{message}; {len(change.to_go)} more are about to be removed", PLUGIN)
    # Without capacity for a replacement Karpenter takes its decision back, and comes to it again.
    why = "its node was about to be removed for long"
    claims = [patches.relabel_claim(claim, change.new, why, change.now) for claim in change.to_go]
    return act(claims, f"{message}; {len(claims)} more are not removed", PLUGIN)


def wait_for(
    change: Change, nodes: Sequence[NodeState], message: str, reported: tuple[Finding, ...]
) -> Advance | None:
    """
    Nodes that do not work, until they are skipped; each has a label with the time since when it is waited
    for.
    """
    new = [node for node in nodes if patches.waited_for(node) is None]
    why = "it is skipped if it does not work for long"
    marks = [patches.wait_for(node, why, change.now) for node in new]
    if marks or any(not change.is_skipped(node) for node in nodes):
        return act(marks, message, ROLL, findings=reported)
    return None


def not_ready(change: Change) -> tuple[Finding, ...]:
    minutes = int(change.settings.patience.total_seconds() // 60)
    return tuple(
        Finding(
            "node-holds-up-change",
            f"Node {node.name} is {'ready' if node.ready else 'not ready'} and offers {node.allocatable} of "
            f"{node.promised} slices, so it blocks the rollout on NodePool {change.state.name}, for "
            f"{minutes} minutes at most.",
            "Fix the node, or delete its NodeClaim to replace it.",
        )
        for node in change.nodes
        if node.key != change.new and not (node.works or change.is_skipped(node))
    )


# None: nothing is left to do for it.
Stage = Callable[[Change], Advance | None]
