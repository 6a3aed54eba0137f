"""Drives a change of N as a pass does: look, decide, act. On the fakes and on the real cluster alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace

from slicewise.errors import Conflict
from slicewise.model.cluster import ClusterContents
from slicewise.planning.actions import Patch
from slicewise.policy.model import Policy
from slicewise.ports import Kubernetes
from slicewise.reconcile.executor import ActionExecutor
from slicewise.trigger import Trigger
from slicewise.tuning.observe import read_contents
from slicewise.tuning.rollout.blockers import blocking
from slicewise.tuning.rollout.stages import Advance, RolloutSettings, advance, begin
from slicewise.tuning.state.pool_state import PoolState, pool_states

from tests.support import builders


@dataclass
class Retuning:
    """
    Attributes:
        said: What each pass said, without repetitions.
        done: The actions of all passes, in words.
        conflicts: What was found changed in between.
    """

    kubernetes: Kubernetes
    policy: Policy
    clock: Callable[[], datetime]
    settings: RolloutSettings
    said: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def contents(self) -> ClusterContents:
        budgets = self.kubernetes.list("policy/v1", "PodDisruptionBudget")
        return replace(read_contents(self.kubernetes), disruption_budgets=budgets)

    def states(self) -> tuple[PoolState, ...]:
        return pool_states(self.contents(), self.policy)

    def state(self, gpu: str = "l4") -> PoolState:
        return next(state for state in self.states() if state.gpu.name == gpu)

    def begin(self, target: int, gpu: str = "l4", reason: str = "the rule says so") -> Advance:
        return self._act(begin(self.state(gpu), target, reason, self.clock()))

    def step(self, broken: Sequence[str] = (), gpu: str = "l4") -> Advance | None:
        """One pass; None where no change is under way."""
        contents = self.contents()
        state = next(s for s in pool_states(contents, self.policy) if s.gpu.name == gpu)
        if state.rollout is None:
            return None
        return self._act(
            advance(
                state,
                state.rollout,
                broken,
                blocking(contents, state, self.clock()),
                self.settings,
                self.clock(),
            )
        )

    def _act(self, found: Advance) -> Advance:
        if found.message not in self.said[-1:]:
            self.said.append(found.message)
        self.findings += [str(f) for f in found.findings if str(f) not in self.findings]
        ports = SimpleNamespace(kubernetes=lambda cluster: self.kubernetes, eks=None)
        executor = ActionExecutor(Trigger(builders.cluster().arn, "a test"), builders.cluster(), ports)
        try:
            for action in found.actions:
                assert isinstance(action, Patch)
                executor.do(action)
                self.done.append(str(action))
        except Conflict as conflict:
            self.conflicts.append(str(conflict))
        return found


FAST = RolloutSettings(
    canary=timedelta(seconds=2),
    settle=timedelta(seconds=1),
    allocatable_timeout=timedelta(seconds=20),
)
