"""EKS in memory: clusters with access entries, and the errors that matter."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from slicewise.errors import Conflict, Refused
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry, EksCluster
from slicewise.model.fargate import FargateProfile
from slicewise.trigger import DeploymentScope

from tests.fakes.calls import Calls
from tests.fakes.clock import Clock

PROFILE_TAKES = timedelta(minutes=1)
_RESERVED = ("system:", "eks:", "aws:", "amazon:", "iam:")


class FakeEks:
    """Implements ports.Eks. `clusters` may be changed by a test at any time: it is the world."""

    def __init__(self, scope: DeploymentScope, calls: Calls, clock: Clock | None = None) -> None:
        self.scope, self._calls, self._clock = scope, calls, clock or Clock()
        self.clusters: dict[str, EksCluster] = {}
        self.entries: dict[tuple[str, str], AccessEntry] = {}
        self.addons_there: set[tuple[str, str]] = set()
        self.pod_identities: dict[tuple[str, str, str], str] = {}
        self.bottlerocket: dict[str, tuple[str, ...]] = {}
        self.profiles: dict[str, dict[str, FargateProfile]] = {}
        self.public_subnets: set[str] = set()
        self.refuses_profiles = ""  # with an error of EKS, as botocore words it
        self._changed_at: dict[tuple[str, str], datetime] = {}

    def cluster_names(self) -> tuple[str, ...]:
        with self._calls.call("eks.cluster_names"):
            return tuple(sorted(self.clusters))

    def describe(self, name: str) -> EksCluster | None:
        with self._calls.call(f"eks.describe {name}"):
            return self.clusters.get(name)

    def bottlerocket_gpu_node_groups(self, name: str) -> tuple[str, ...]:
        with self._calls.call(f"eks.bottlerocket_gpu_node_groups {name}"):
            return self.bottlerocket.get(name, ())

    def access_entry(self, name: str, principal: str) -> AccessEntry | None:
        with self._calls.call(f"eks.access_entry {name} {principal}"):
            if name in self.clusters:
                self._takes_entries(name)
            return self.entries.get((name, principal))

    def allow_access_entries(self, name: str) -> None:
        with self._calls.call(f"eks.allow_access_entries {name}"):
            cluster = self._active(name)
            if cluster.authentication_mode == "CONFIG_MAP":
                self.clusters[name] = replace(cluster, authentication_mode="API_AND_CONFIG_MAP")

    def put_access_entry(self, name: str, principal: str, groups: tuple[str, ...], type: str) -> None:
        with self._calls.call(f"eks.put_access_entry {name} {principal}"):
            self._takes_entries(name)
            if reserved := [group for group in groups if group.startswith(_RESERVED)]:
                raise Refused(f"the group names {reserved} are reserved")
            new = AccessEntry(principal, groups, type=type, created_at=self._clock.now)
            there = self.entries.get((name, principal))
            if there and there.type != "STANDARD":
                return
            self.entries[name, principal] = replace(there, groups=groups) if there else new

    def delete_access_entry(self, name: str, principal: str) -> None:
        with self._calls.call(f"eks.delete_access_entry {name} {principal}"):
            if name in self.clusters:
                self._takes_entries(name)
            self.entries.pop((name, principal), None)

    def grant_admin(self, name: str, principal: str) -> None:
        with self._calls.call(f"eks.grant_admin {name} {principal}"):
            self._takes_entries(name)
            if (name, principal) not in self.entries:
                raise Conflict(f"{principal} has no entry on {name}")
            if self.entries[name, principal].type != "STANDARD":
                raise Refused(f"the entry of {principal} takes no policies")
            self._set_policies(name, principal, (CLUSTER_ADMIN_POLICY,), self._clock.now)

    def revoke_admin(self, name: str, principal: str) -> None:
        with self._calls.call(f"eks.revoke_admin {name} {principal}"):
            if name in self.clusters:
                self._takes_entries(name)
            self._set_policies(name, principal, ())

    def addons(self, name: str) -> frozenset[str]:
        with self._calls.call(f"eks.addons {name}"):
            return frozenset(addon for cluster, addon in self.addons_there if cluster == name)

    def pod_identity(self, name: str, namespace: str, service_account: str) -> str | None:
        with self._calls.call(f"eks.pod_identity {name} {namespace}/{service_account}"):
            return self.pod_identities.get((name, namespace, service_account))

    def put_addon(self, name: str, addon: str) -> None:
        with self._calls.call(f"eks.put_addon {name} {addon}"):
            self._active(name)
            self.addons_there.add((name, addon))

    def put_pod_identity(self, name: str, namespace: str, service_account: str, role_arn: str) -> None:
        with self._calls.call(f"eks.put_pod_identity {name} {namespace}/{service_account}"):
            self._active(name)
            self.pod_identities.setdefault((name, namespace, service_account), role_arn)

    def fargate_profiles(self, name: str) -> tuple[FargateProfile, ...]:
        with self._calls.call(f"eks.fargate_profiles {name}"):
            self._settle(name)
            return tuple(self.profiles.get(name, {}).values())

    def create_fargate_profile(self, name: str, profile: FargateProfile) -> None:
        with self._calls.call(f"eks.create_fargate_profile {name} {profile.name}"):
            self._active(name)
            self._settle(name)
            there = self.profiles.setdefault(name, {})
            if profile.name in there:
                return
            if changing := [one.name for one in there.values() if one.is_changing]:
                raise Conflict(f"{changing[0]} of {name} is changing")
            if public := self.public_subnets & set(profile.subnets):
                raise _invalid(name, f"{sorted(public)} are no private subnets")
            if not profile.subnets or not profile.selectors:
                raise _invalid(name, "a profile needs subnets and selectors")
            if self.refuses_profiles:
                raise Refused(f"eks:CreateFargateProfile of {name}: {self.refuses_profiles}")
            there[profile.name] = replace(profile, status="CREATING")
            self._changed_at[name, profile.name] = self._clock.now

    def delete_fargate_profile(self, name: str, profile: str) -> None:
        with self._calls.call(f"eks.delete_fargate_profile {name} {profile}"):
            self._settle(name)
            there = self.profiles.get(name, {})
            if profile not in there:
                return
            if changing := [one.name for one in there.values() if one.is_changing]:
                raise Conflict(f"{changing[0]} of {name} is changing")
            there[profile] = replace(there[profile], status="DELETING")
            self._changed_at[name, profile] = self._clock.now

    def _settle(self, name: str) -> None:
        """What was begun a minute ago has ended."""
        there = self.profiles.get(name, {})
        for one in [one for one in there.values() if one.is_changing]:
            since = self._changed_at.get((name, one.name))
            if since is None or self._clock.now - since < PROFILE_TAKES:
                continue
            if one.status == "DELETING":
                del there[one.name]
            else:
                there[one.name] = replace(one, status="ACTIVE")

    def tag(self, name: str, key: str, value: str) -> None:
        with self._calls.call(f"eks.tag {name} {key}={value}"):
            if name not in self.clusters:
                raise Conflict(f"{name} is gone")
            found = self.clusters[name]
            self.clusters[name] = replace(found, tags={**found.tags, key: value})

    def _set_policies(
        self, name: str, principal: str, policies: tuple[str, ...], since: datetime | None = None
    ) -> None:
        if entry := self.entries.get((name, principal)):
            self.entries[name, principal] = replace(entry, policies=policies, admin_since=since)

    def _active(self, name: str) -> EksCluster:
        cluster = self.clusters.get(name)
        if cluster is None or cluster.status != "ACTIVE":
            raise Conflict(f"{name} is {cluster.status if cluster else 'gone'}")
        return cluster

    def _takes_entries(self, name: str) -> None:
        if self._active(name).authentication_mode == "CONFIG_MAP":
            raise Conflict(f"{name} knows no access entries: its mode is CONFIG_MAP")


def _invalid(cluster: str, message: str) -> Refused:
    """As the gateway words what EKS says."""
    return Refused(
        f"eks:CreateFargateProfile of {cluster}: An error occurred (InvalidParameterException) when calling "
        f"the CreateFargateProfile operation: {message}"
    )
