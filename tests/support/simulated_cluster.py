"""
A cluster in memory: enough of EKS, RBAC, Karpenter and helm to carry a plan out and see what became of it.

No HTTP, no shell: `step` plans, does the actions one by one, and records, as reconcile/reconciler.py does
with real ports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import (
    CLUSTER_ADMIN_POLICY,
    AccessEntry,
    ClusterContents,
    EksCluster,
    KarpenterInstall,
    Release,
)
from slicewise.onboarding import plan as planning
from slicewise.onboarding.observation import (
    Observation,
    ObserveError,
    ObserveFailure,
    Settings,
    eks_fingerprint,
)
from slicewise.planning.actions import Action, Apply, Delete, DeleteState, Patch, Wake
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
    UpgradeRelease,
)
from slicewise.planning.outcome import Plan
from slicewise.planning.record import Record
from slicewise.policy.model import Policy, fingerprint

from tests.fakes.kube.kubernetes import patched
from tests.support import builders

OUR_READ_ROLE = Ref("rbac.authorization.k8s.io/v1", "ClusterRole", "slicewise-installer")


class Killed(Exception):
    """The process ended between two actions."""


class Forbidden(AssertionError):
    """A plan did what its rights do not allow."""


@dataclass
class SimulatedCluster:
    """
    Attributes:
        gate: Whether Karpenter honours NodeOverlays, and so writes conditions on them.
        slow: How long access and rights take to be in effect.
        kill_after: Actions until the process ends; None lets it live.
    """

    policy: Policy = field(default_factory=builders.policy)
    settings: Settings = field(default_factory=builders.settings)
    eks: EksCluster | None = field(default_factory=builders.cluster)
    crds: set[str] = field(default_factory=lambda: set(builders.contents().crds))
    karpenter: KarpenterInstall | None = field(default_factory=builders.karpenter)
    gate: bool = True
    slow: timedelta = timedelta(0)
    now: datetime = builders.NOW
    entries: dict[str, AccessEntry] = field(default_factory=dict)
    admin_since: datetime | None = None
    objects: dict[Ref, Object] = field(default_factory=dict)
    releases: dict[tuple[str, str], Release] = field(default_factory=dict)
    claims: list[Object] = field(default_factory=list)
    addons: set[str] = field(default_factory=set)
    identities: dict[str, str] = field(default_factory=dict)
    woken: list[str] = field(default_factory=list)
    record: Record | None = None
    kill_after: int | None = None
    done: list[Action] = field(default_factory=list)

    # Looking

    def world(self, **known: Any) -> Observation:
        look = {"contents": self.contents()} if self._may_read() else {"observe_error": self._refusal()}
        return Observation(
            **{
                "cluster": self.eks,
                "policy": self.policy,
                "policy_name": self.policy.name,
                "record": self.record,
                "entries": dict(self.entries),
                "addons": frozenset(self.addons),
                "pod_identities": dict(self.identities),
                "admin_in_effect": self._admin_in_effect() if self._is_admin() else None,
                **look,
                **known,
            }
        )

    def contents(self) -> ClusterContents:
        def of(kind: str) -> tuple[Object, ...]:
            return tuple(item for ref, item in sorted(self.objects.items()) if ref.kind == kind)

        return ClusterContents(
            version="v1.35.4",
            crds=frozenset(self.crds),
            objects={r: o for r, o in self.objects.items() if r.kind not in ("NodePool", "NodeOverlay")},
            node_pools=of("NodePool"),
            node_overlays=of("NodeOverlay"),
            node_claims=tuple(self.claims),
            releases=tuple(self.releases.values()),
            karpenter=self.karpenter,
        )

    def _entry_in_effect(self) -> bool:
        entry = self.entries.get(self.settings.installer_role)
        return entry is not None and (entry.created_at or self.now) + self.slow <= self.now

    def _is_admin(self) -> bool:
        entry = self.entries.get(self.settings.installer_role)
        return entry is not None and CLUSTER_ADMIN_POLICY in entry.policies

    def _admin_in_effect(self) -> bool:
        return self._is_admin() and (self.admin_since or self.now) + self.slow <= self.now

    def _may_read(self) -> bool:
        return self._entry_in_effect() and (self._admin_in_effect() or OUR_READ_ROLE in self.objects)

    def _refusal(self) -> ObserveError:
        kind = ObserveFailure.FORBIDDEN if self._entry_in_effect() else ObserveFailure.UNAUTHORIZED
        return ObserveError(kind, str(kind))

    # Doing

    def step(self) -> Plan:
        """One pass. Raises Killed in its middle, where that was asked for."""
        world = self.world()
        plan = planning.plan(world, self.settings, self.now)
        if planning.enforced(world, self.settings):
            for action in plan.actions:
                if self.kill_after is not None and self.kill_after == len(self.done):
                    self.kill_after = None
                    raise Killed
                self.do(action)
                self.done.append(action)
        self._remember(plan, world)
        return plan

    def run(self, reconciles: int = 40) -> Plan:
        """Passes until one says that nobody needs to look again; a killed one is followed by the next."""
        for _ in range(reconciles):
            try:
                plan = self.step()
            except Killed:
                continue
            if plan.outcome.requeue_after is None:
                return plan
            self.now += plan.outcome.requeue_after
        raise AssertionError(f"no end after {reconciles} passes: {plan.outcome}")

    def _remember(self, plan: Plan, world: Observation) -> None:
        before, stage = self.record, plan.outcome.stage
        since = before.since if before and before.stage is stage else self.now
        looked = self.now if world.contents else (before.observed_at if before else None)
        self.record = Record(
            cluster="",
            capability="onboarding",
            stage=stage,
            reason=plan.outcome.reason,
            at=self.now,
            since=since,
            findings=plan.outcome.findings,
            policy=self.policy.name,
            fingerprint=fingerprint(self.policy),
            cluster_fingerprint=eks_fingerprint(self.eks) if self.eks else "",
            observed_at=looked,
        )

    def do(self, action: Action) -> None:
        handlers: dict[type, Callable[[Any], None]] = {
            AllowAccessEntries: self._allow_entries,
            PutAccessEntry: self._put_entry,
            DeleteAccessEntry: lambda a: self.entries.pop(a.principal, None),
            GrantAdmin: self._grant,
            RevokeAdmin: self._revoke,
            PutAddon: lambda a: self.addons.add(a.name),
            PutPodIdentity: self._put_identity,
            Apply: self._apply,
            Delete: self._delete,
            Patch: self._patch,
            ApplyChartCrds: self._apply_crds,
            TryUpgrade: self._write,
            UpgradeRelease: self._upgrade,
            RollbackRelease: self._roll_back,
            Wake: lambda a: self.woken.append(a.capability),
            DeleteState: lambda a: None,
        }
        handlers[type(action)](action)

    def _allow_entries(self, action: AllowAccessEntries) -> None:
        assert self.eks
        self.eks = replace(self.eks, authentication_mode="API_AND_CONFIG_MAP")

    def _put_entry(self, action: PutAccessEntry) -> None:
        old = self.entries.get(action.principal)
        new = AccessEntry(action.principal, action.groups, type=action.type, created_at=self.now)
        self.entries[action.principal] = replace(old, groups=action.groups) if old else new

    def _grant(self, action: GrantAdmin) -> None:
        entry = self.entries[action.principal]
        self.entries[action.principal] = replace(
            entry, policies=(CLUSTER_ADMIN_POLICY,), admin_since=self.now
        )
        self.admin_since = self.now

    def _revoke(self, action: RevokeAdmin) -> None:
        if action.principal in self.entries:
            self.entries[action.principal] = replace(self.entries[action.principal], policies=())

    def _put_identity(self, action: PutPodIdentity) -> None:
        self.identities[f"{action.namespace}/{action.service_account}"] = action.role_arn

    def _write(self, action: Action) -> None:
        if not self._admin_in_effect():
            raise Forbidden(str(action))

    def _apply(self, action: Apply) -> None:
        self._write(action)
        ref = ref_of(action.object)
        if ref.namespace and ref.namespace not in ("kube-system", "default"):
            assert Ref("v1", "Namespace", ref.namespace) in self.objects, f"{ref}: no such namespace"
        metadata = {**action.object["metadata"], "generation": 1, "creationTimestamp": self.now.isoformat()}
        item = {**action.object, "metadata": metadata}
        if ref.kind == "NodeOverlay" and self.gate:
            item["status"] = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]}
        self.objects[ref] = item

    def _patch(self, action: Patch) -> None:
        self._write(action)
        self.objects[action.ref] = patched(self.objects[action.ref], action.operations)

    def _delete(self, action: Delete) -> None:
        self._write(action)
        self.objects.pop(action.ref, None)

    def _apply_crds(self, action: ApplyChartCrds) -> None:
        self._write(action)
        self.crds.add("clusterpolicies.nvidia.com")

    def _upgrade(self, action: UpgradeRelease) -> None:
        self._write(action)
        place = action.name, action.namespace
        old = self.releases.get(place)
        assert old is None or not old.pending, "another operation is in progress"
        revision = old.revision + 1 if old else 1
        self.releases[place] = Release(
            *place, revision, "deployed", action.name, action.version, dict(action.values)
        )
        if action.name == "gpu-operator":
            policy = Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy")
            self.objects[policy] = {
                "apiVersion": policy.api_version,
                "kind": policy.kind,
                "metadata": {"name": policy.name},
            }
        if action.name == "karpenter-crd":
            self.crds |= set(builders.contents().crds)
        if action.name == "karpenter":
            self.karpenter, self.gate = builders.karpenter(), True

    def _roll_back(self, action: RollbackRelease) -> None:
        self._write(action)
        release = self.releases[action.name, action.namespace]
        if release.revision == 1:
            del self.releases[action.name, action.namespace]
        else:
            self.releases[action.name, action.namespace] = replace(release, status="deployed")

    # What a test asks

    def installed(self) -> dict[str, Any]:
        """What stands in the end, without what depends on when it came."""
        return {
            "objects": {
                str(ref): {k: v for k, v in item["metadata"].items() if k not in ("creationTimestamp",)}
                | {"spec": item.get("spec"), "data": item.get("data"), "rules": item.get("rules")}
                for ref, item in self.objects.items()
            },
            "releases": {place: (r.chart_version, r.status, r.values) for place, r in self.releases.items()},
            "entries": {who: (e.groups, e.policies, e.type) for who, e in self.entries.items()},
            "addons": self.addons,
            "identities": self.identities,
        }
