"""An API server in memory: as much of server-side apply, versions and absence as the product rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from functools import partial
from typing import Any, Self

from slicewise.errors import Conflict, Refused, Unauthorized
from slicewise.gateways.kubernetes import KINDS
from slicewise.model import CLUSTER_ADMIN_POLICY, AccessEntry, Object, Ref, ref_of

from tests.fakes.calls import Calls
from tests.fakes.clock import Clock
from tests.fakes.managed_fields import ATOMIC, Writers
from tests.fakes.selectors import has_fields, selected

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
KARPENTER_CRDS = (
    "nodepools.karpenter.sh",
    "nodeclaims.karpenter.sh",
    "nodeoverlays.karpenter.sh",
    "ec2nodeclasses.karpenter.k8s.aws",
)
_BUILT_IN = ("", "apps", "batch", "policy", "apiextensions.k8s.io", "rbac.authorization.k8s.io")


class FakeApiServer:
    """
    What stands in one cluster, seen by nobody in particular. FakeKubernetes is a caller's view of it.

    Attributes:
        on_change: Called with each object that was created or changed: a controller's place.
    """

    def __init__(self, clock: Clock, version: str = "v1.35.4") -> None:
        self.version = version
        self.objects: dict[Ref, dict[str, Any]] = {}
        self.on_change: list[Callable[[dict[str, Any]], None]] = []
        self._clock = clock
        self._applied: dict[tuple[Ref, str], Object] = {}
        self._revision = 0
        self._writers = Writers()
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Objects are JSON, and what was applied never changes: tests copy whole worlds by the hundred."""
        twin = copy(self)
        memo[id(self)] = twin
        twin.objects = {ref: copied(item) for ref, item in self.objects.items()}
        twin._applied = dict(self._applied)
        for name in ("on_change", "_clock", "_writers"):
            setattr(twin, name, deepcopy(getattr(self, name), memo))
        return twin

    def create(self, item: Object) -> None:
        """By some other hand; replaces what is there."""
        self.apply(item, manager="somebody", operation="Update")

    def add_crds(self, *names: str) -> None:
        for name in names:
            self.create(dict(zip(("apiVersion", "kind"), CRD, strict=True), metadata={"name": name}))

    def serves(self, api_version: str, kind: str) -> bool:
        group = api_version.rpartition("/")[0]
        if group in _BUILT_IN:
            return True
        plural = KINDS.get((group, kind), (f"{kind.lower()}s", True))[0]
        return Ref(*CRD, f"{plural}.{group}") in self.objects

    def of_kind(self, api_version: str, kind: str) -> list[tuple[Ref, dict[str, Any]]]:
        return [
            (ref, item)
            for ref, item in self.objects.items()
            if ref.kind == kind and ref.api_version == api_version
        ]

    def apply(self, item: Object, manager: str, operation: str = "Apply") -> None:
        ref = ref_of(item)
        if not self.serves(ref.api_version, ref.kind):
            raise Conflict(f"{ref}: its kind is not served")
        if ref.namespace and Ref("v1", "Namespace", ref.namespace) not in self.objects:
            raise Conflict(f"{ref}: its namespace does not exist")
        before = self.objects.get(ref)
        for known in ("uid", "resourceVersion"):
            seen = item["metadata"].get(known) if operation == "Apply" else None
            if seen and (before is None or before["metadata"][known] != seen):
                raise Conflict(f"{ref}: its {known} is not {seen}")
        after = copied(before) if before else {}
        held = partial(self._writers.holds, ref, manager, operation)
        _remove(after, self._applied.get((ref, manager), {}), item, held)
        _merge(after, item)
        self._applied[ref, manager] = copied(item)
        self._writers.applied(ref, manager, before or {}, item, operation)
        self._keep(ref, before, after)

    def patch(self, ref: Ref, operations: Sequence[Object], manager: str = "slicewise") -> None:
        before = self.objects.get(ref)
        if before is None:
            raise Conflict(f"{ref} is gone")
        after = patched(before, operations)
        self._writers.updated(ref, manager, before, after)
        self._keep(ref, before, after)

    def scale(self, ref: Ref, seen: int, replicas: int, manager: str = "slicewise") -> None:
        """
        Whatever has replicas in its spec can be scaled here. A Scale leaves a 0 out, so it has no writer.
        """
        found = self.objects.get(ref)
        if found is None or "replicas" not in found.get("spec", {}):
            raise Conflict(f"{ref} is gone, or cannot be scaled")
        test = {"op": "test", "path": "/spec/replicas", "value": seen}
        self.patch(ref, (test, {"op": "replace", "path": "/spec/replicas", "value": replicas}), manager)
        if replicas == 0:
            self._writers.forget_field(ref, ("spec", "replicas"))

    def managed_fields(self, ref: Ref) -> list[Object]:
        return self._writers.managed_fields(ref)

    def set_status(self, ref: Ref, status: Object) -> None:
        before = self.objects[ref]
        if before.get("status") != status:
            self._keep(ref, before, before | {"status": status}, tell=False)

    def delete(self, ref: Ref) -> None:
        if self.objects.pop(ref, None) is None:
            return
        self._writers.forget(ref)
        for key in [key for key in self._applied if key[0] == ref]:
            del self._applied[key]

    def _keep(self, ref: Ref, before: Any, after: dict[str, Any], tell: bool = True) -> None:
        if after == before:
            return
        self._revision += 1
        metadata = after["metadata"]
        metadata.setdefault("creationTimestamp", self._clock.now.strftime("%Y-%m-%dT%H:%M:%SZ"))
        metadata.setdefault("uid", f"uid-{self._revision}")
        changed = not before or before.get("spec") != after.get("spec")
        metadata["generation"] = metadata.get("generation", 0) + (1 if changed else 0)
        metadata["resourceVersion"] = str(self._revision)
        self.objects[ref] = after
        for controller in self.on_change if tell else ():
            controller(after)


def copied(value: Any) -> Any:
    """Of JSON's values; several times as quick as copy.deepcopy, which tests by the thousand notice."""
    if isinstance(value, dict):
        return {key: copied(one) if isinstance(one, (dict, list)) else one for key, one in value.items()}
    return [copied(one) for one in value] if isinstance(value, list) else value


def patched(item: Object, operations: Sequence[Object]) -> dict[str, Any]:
    """RFC 6902's test, add, replace and remove on mappings; Conflict where one cannot be done."""
    after = copied(item)
    for operation in operations:
        *way, last = (p.replace("~1", "/").replace("~0", "~") for p in operation["path"][1:].split("/"))
        parent: Any = after
        for key in way:
            parent = parent.get(key) if isinstance(parent, dict) else None
        if not isinstance(parent, dict):
            raise Conflict(f"{operation['path']}: there is no such place")
        match operation["op"]:
            case "test":
                if parent.get(last) != operation["value"]:
                    raise Conflict(f"{operation['path']} is {parent.get(last)!r}")
            case "remove" | "replace" if last not in parent:
                raise Conflict(f"{operation['path']}: nothing is there")
            case "remove":
                del parent[last]
            case "add" | "replace":
                parent[last] = copied(operation["value"])
    return after


def _merge(live: dict[str, Any], wanted: Object) -> None:
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(live.get(key), dict) and (key,) not in ATOMIC:
            _merge(live[key], value)
        else:
            live[key] = copied(value)


def _remove(
    live: dict[str, Any],
    applied: Object,
    wanted: Object,
    held: Callable[[tuple[str, ...]], bool],
    path: tuple[str, ...] = (),
) -> None:
    """What we applied before, still hold and no longer want goes; what others wrote stays."""
    for key, value in applied.items():
        here = (*path, key)
        if key not in wanted:
            if held(here):
                live.pop(key, None)
        elif isinstance(value, dict) and isinstance(wanted[key], dict) and isinstance(live.get(key), dict):
            _remove(live[key], value, wanted[key], held, here)


class FakeKubernetes:
    """
    One caller's view. Implements ports.Kubernetes.

    Args:
        entry: The caller's access entry at this moment; None where access is not to be checked.
        group: The group that opens the door for reading, once a ClusterRoleBinding names it.
    """

    def __init__(
        self,
        server: FakeApiServer,
        calls: Calls,
        entry: Callable[[], AccessEntry | None] | None = None,
        readable_secrets: tuple[str, ...] = ("gpu-operator",),
    ) -> None:
        self._server, self._calls, self._entry = server, calls, entry
        self._readable_secrets = readable_secrets

    def version(self) -> str:
        with self._calls.call("kubernetes.version"):
            self._known()
            return self._server.version

    def get(self, ref: Ref) -> Object | None:
        with self._calls.call(f"kubernetes.get {ref}"):
            self._may_read()
            return copied(self._server.objects.get(ref))

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        only: Callable[[Object], bool] | None = None,
        trim: Callable[[Object], Object] | None = None,
        managed_fields: bool = False,
    ) -> tuple[Object, ...]:
        with self._calls.call(f"kubernetes.list {kind}"):
            self._may_read(namespace if kind == "Secret" else None)
            return tuple(
                self._told(ref, trim(item) if trim else item, managed_fields)
                for ref, item in sorted(self._server.of_kind(api_version, kind))
                if namespace in ("", ref.namespace)
                and selected(item["metadata"].get("labels") or {}, labels)
                and has_fields(item, fields)
                and (only is None or only(item))
            )

    def _told(self, ref: Ref, item: Object, managed_fields: bool) -> Object:
        told = copied(item)
        if managed_fields:
            told["metadata"]["managedFields"] = self._server.managed_fields(ref)
        return told

    def may_do_everything(self) -> bool:
        with self._calls.call("kubernetes.may_do_everything"):
            entry = self._known()
            return entry is None or CLUSTER_ADMIN_POLICY in entry.policies

    def crds(self) -> frozenset[str]:
        with self._calls.call("kubernetes.crds"):
            self._may_read()
            return frozenset(ref.name for ref in self._server.objects if ref[:2] == CRD)

    def apply(self, item: Object) -> None:
        with self._calls.call(f"kubernetes.apply {ref_of(item)}"):
            self._may_patch(ref_of(item))
            self._server.apply(item, manager="slicewise")

    def patch(self, ref: Ref, operations: Sequence[Object]) -> None:
        with self._calls.call(f"kubernetes.patch {ref}"):
            self._may_patch(ref)
            self._server.patch(ref, operations)

    def has_scale(self, api_version: str, kind: str) -> bool:
        with self._calls.call(f"kubernetes.has_scale {kind}"):
            return any(
                (ref.api_version, ref.kind) == (api_version, kind) and "replicas" in item.get("spec", {})
                for ref, item in self._server.objects.items()
            )

    def replicas(self, ref: Ref) -> Object | None:
        with self._calls.call(f"kubernetes.replicas {ref}"):
            found = self._server.objects.get(ref)
            if found is None or "replicas" not in found.get("spec", {}):
                return None
            metadata = {k: v for k, v in found["metadata"].items() if k in ("name", "namespace", "uid")}
            return {**found, "metadata": metadata, "spec": {"replicas": found["spec"]["replicas"]}}

    def scale(self, ref: Ref, seen: int, replicas: int) -> None:
        with self._calls.call(f"kubernetes.scale {ref}"):
            self._may_scale()
            self._server.scale(ref, seen, replicas)

    def delete(self, ref: Ref) -> None:
        with self._calls.call(f"kubernetes.delete {ref}"):
            self._may_write()
            self._server.delete(ref)

    def _known(self) -> AccessEntry | None:
        if self._entry is None:
            return None
        entry = self._entry()
        if entry is None:
            raise Unauthorized("no access entry")
        return entry

    def _may_read(self, secrets_of: str | None = None) -> None:
        entry = self._known()
        if entry is None or CLUSTER_ADMIN_POLICY in entry.policies:
            return
        bound = {
            subject["name"]
            for ref, item in self._server.objects.items()
            if ref.kind == "ClusterRoleBinding"
            for subject in item.get("subjects", ())
        }
        if not bound.intersection(entry.groups):
            raise Refused(f"groups {entry.groups} are bound to nothing")
        if secrets_of is not None and secrets_of not in self._readable_secrets:
            raise Refused(f"secrets of {secrets_of or 'all namespaces'}")

    def _may_patch(self, ref: Ref) -> None:
        entry = self._known()
        if entry is None or CLUSTER_ADMIN_POLICY in entry.policies:
            return
        group = ref.api_version.rpartition("/")[0]
        for rule in self._rules_of(entry.groups):
            names = rule.get("resourceNames")
            if (
                "patch" in rule["verbs"]
                and group in rule["apiGroups"]
                and KINDS[group, ref.kind][0] in rule["resources"]
                and (not names or ref.name in names)
            ):
                return
        raise Refused(f"groups {entry.groups} may not patch {ref}")

    def _rules_of(self, groups: tuple[str, ...]) -> list[Object]:
        roles = {
            item["roleRef"]["name"]
            for ref, item in self._server.objects.items()
            if ref.kind == "ClusterRoleBinding"
            and any(subject["name"] in groups for subject in item.get("subjects", ()))
        }
        return [
            rule
            for ref, item in self._server.objects.items()
            if ref.kind == "ClusterRole" and ref.name in roles
            for rule in item.get("rules", ())
        ]

    def _may_scale(self) -> None:
        entry = self._known()
        if entry is None or CLUSTER_ADMIN_POLICY in entry.policies:
            return
        if not any(
            "patch" in r["verbs"] and "*/scale" in r["resources"] for r in self._rules_of(entry.groups)
        ):
            raise Refused("scaling takes more than the group allows")

    def _may_write(self) -> None:
        entry = self._known()
        if entry is not None and CLUSTER_ADMIN_POLICY not in entry.policies:
            raise Refused("writing takes more than the group allows")
