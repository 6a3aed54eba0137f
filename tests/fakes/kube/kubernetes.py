"""An API server in memory: as much of server-side apply, versions and absence as the product rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from datetime import datetime
from functools import partial
from typing import Any, Self

from slicewise.errors import Conflict, Refused, Unauthorized
from slicewise.kube.kinds import RESOURCES
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry
from slicewise.onboarding.admission import binding_of, policy_of
from slicewise.policy.switches import priority
from slicewise.rights import Identity

from tests.fakes.calls import Calls
from tests.fakes.clock import Clock
from tests.fakes.kube import admission, rbac
from tests.fakes.kube.json_values import copied
from tests.fakes.kube.managed_fields import ATOMIC, Writers
from tests.fakes.kube.object_limits import check, check_metadata
from tests.fakes.kube.objects_by_kind import ObjectsByKind
from tests.fakes.kube.selectors import check_fields, has_fields, selected

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
KARPENTER_CRDS = (
    "nodepools.karpenter.sh",
    "nodeclaims.karpenter.sh",
    "nodeoverlays.karpenter.sh",
    "ec2nodeclasses.karpenter.k8s.aws",
)
_BUILT_IN = (
    *("", "apps", "autoscaling", "batch", "policy"),
    *("admissionregistration.k8s.io", "apiextensions.k8s.io", "rbac.authorization.k8s.io"),
)
Admit = Callable[[Object | None, Object | None], None]


class FakeApiServer:
    """
    What stands in one cluster, seen by nobody in particular. FakeKubernetes is a caller's view of it.

    Attributes:
        on_change: Called with each object that was created or changed: a controller's place.
    """

    def __init__(self, clock: Clock, version: str = "v1.35.4") -> None:
        self.version = version
        self.objects = ObjectsByKind()
        self.on_change: list[Callable[[dict[str, Any]], None]] = []
        self._clock = clock
        self._applied: dict[tuple[Ref, str], Object] = {}
        self._revision = self._deleted = 0
        self._writers = Writers()
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Objects are JSON, and what was applied never changes: tests copy whole worlds by the hundred."""
        twin = copy(self)
        memo[id(self)] = twin
        twin.objects = ObjectsByKind({ref: copied(item) for ref, item in self.objects.items()})
        twin._applied = dict(self._applied)
        for name in ("on_change", "_clock", "_writers"):
            setattr(twin, name, deepcopy(getattr(self, name), memo))
        return twin

    @property
    def changes(self) -> tuple[int, int]:
        """Another value after each change; objects that a test edits in place are not noticed."""
        return self._revision, self._deleted

    @property
    def now(self) -> datetime:
        return self._clock.now

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
        crd = self._definition(group, kind)
        versions = (crd.get("spec") or {}).get("versions") if crd else None
        names = [f"{group}/{one['name']}" for one in versions or () if one["served"]]
        return api_version in names if versions else crd is not None

    def preferred_version(self, group: str, kind: str) -> str | None:
        """As its definition says; of one without versions, "v1"."""
        crd = self._definition(group, kind)
        if crd is None:
            return None
        served = [one["name"] for one in (crd.get("spec") or {}).get("versions") or () if one["served"]]
        return min(served, key=priority, default="v1" if "spec" not in crd else None)

    def _definition(self, group: str, kind: str) -> Object | None:
        plural = RESOURCES.get((group, kind), (f"{kind.lower()}s", True))[0]
        return self.objects.get(Ref(*CRD, f"{plural}.{group}"))

    def of_kind(self, api_version: str, kind: str) -> list[tuple[Ref, dict[str, Any]]]:
        """In the order of their names."""
        refs = self.objects.refs(kind)
        return [(ref, self.objects[ref]) for ref in refs if ref.api_version == api_version]

    def apply(self, item: Object, manager: str, operation: str = "Apply", admit: Admit | None = None) -> None:
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
        if admit:
            admit(before, after)
        self._applied[ref, manager] = copied(item)
        self._writers.applied(ref, manager, before or {}, item, operation)
        self._keep(ref, before, after)

    def patch(
        self,
        ref: Ref,
        operations: Sequence[Object],
        manager: str = "somebody",
        subresource: str = "",
        admit: Admit | None = None,
    ) -> None:
        before = self.objects.get(ref)
        if before is None:
            raise Conflict(f"{ref} is gone")
        after = patched(before, operations)
        if admit:
            admit(before, after)
        if subresource == "status":
            self.set_status(ref, after.get("status") or {})
            return
        self._writers.updated(ref, manager, before, after)
        self._keep(ref, before, after)

    def scale(self, ref: Ref, seen: int, replicas: int, manager: str = "somebody") -> None:
        """
        Whatever has replicas in its spec can be scaled here. A Scale leaves a 0 out, so it has no writer.
        """
        found = self.objects.get(ref)
        if found is None or "replicas" not in found.get("spec", {}):
            raise Conflict(f"{ref} is gone, or cannot be scaled")
        test = {"op": "test", "path": "/spec/replicas", "value": seen}
        self.patch(ref, (test, {"op": "replace", "path": "/spec/replicas", "value": replicas}), manager)
        if self.objects[ref]["spec"]["replicas"] == 0:  # and no controller has put it back at once
            self._writers.forget_field(ref, ("spec", "replicas"))

    def managed_fields(self, ref: Ref) -> list[Object]:
        return self._writers.managed_fields(ref)

    def set_status(self, ref: Ref, status: Object) -> None:
        before = self.objects[ref]
        if before.get("status") != status:
            self._keep(ref, before, before | {"status": status}, tell=False)

    def delete(self, ref: Ref) -> None:
        if ref not in self.objects:
            return
        del self.objects[ref]
        self._deleted += 1
        self._writers.forget(ref)
        for key in [key for key in self._applied if key[0] == ref]:
            del self._applied[key]

    def _keep(self, ref: Ref, before: Any, after: dict[str, Any], tell: bool = True) -> None:
        if after == before:
            return
        if before is None or _marks(before) != _marks(after):
            check_metadata(after["metadata"])
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


def _marks(item: Object) -> tuple[Any, Any]:
    return item["metadata"].get("labels"), item["metadata"].get("annotations")


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
        entry: The caller's access entry at this moment; None where access is not to be checked. What its
            groups may do is what the roles and bindings that stand in the cluster say.
    """

    def __init__(
        self, server: FakeApiServer, calls: Calls, entry: Callable[[], AccessEntry | None] | None = None
    ) -> None:
        self._server, self._calls, self._entry = server, calls, entry

    def version(self) -> str:
        with self._calls.call("kubernetes.version"):
            self._known()
            return self._server.version

    def get(self, ref: Ref) -> Object | None:
        with self._calls.call(f"kubernetes.get {ref}"):
            self._may("get", ref)
            found = self._server.objects.get(ref)
            return copied(self._reported(ref, found, False)) if found else None

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
            self._may("list", Ref(api_version, kind, "", namespace))
            check_fields(kind, fields)
            found = (
                self._reported(ref, item, managed_fields)
                for ref, item in self._server.of_kind(api_version, kind)
                if namespace in ("", ref.namespace)
                and selected(item["metadata"].get("labels") or {}, labels)
                and has_fields(item, fields)
            )
            return tuple(copied(trim(item) if trim else item) for item in found if only is None or only(item))

    def _reported(self, ref: Ref, item: Object, managed_fields: bool) -> Object:
        if not managed_fields and ref.kind not in ("NodePool", "NodeOverlay"):
            return item
        writers = item["metadata"].get("managedFields") or self._server.managed_fields(ref)
        return {**item, "metadata": {**item["metadata"], "managedFields": writers}}

    def may_do_everything(self) -> bool:
        with self._calls.call("kubernetes.may_do_everything"):
            entry = self._known()
            return entry is None or CLUSTER_ADMIN_POLICY in entry.policies

    def crds(self) -> frozenset[str]:
        with self._calls.call("kubernetes.crds"):
            self._may("list", Ref(*CRD, ""))
            return frozenset(ref.name for ref in self._server.objects if ref[:2] == CRD)

    def apply(self, item: Object) -> None:
        ref = ref_of(item)
        with self._calls.call(f"kubernetes.apply {ref}"):
            self._may("patch", ref)
            if ref not in self._server.objects:
                self._may("create", ref)
            check(item)
            self._server.apply(item, manager="slicewise", admit=self._admission(ref))

    def patch(self, ref: Ref, operations: Sequence[Object], subresource: str = "") -> None:
        with self._calls.call(f"kubernetes.patch {ref}{f'/{subresource}' if subresource else ''}"):
            self._may("patch", ref, f"/{subresource}" if subresource else "")
            admit = self._admission(ref, f"/{subresource}" if subresource else "")
            self._server.patch(ref, operations, "slicewise", subresource, admit)

    def serves(self, api_version: str, kind: str) -> bool:
        with self._calls.call(f"kubernetes.serves {kind}"):
            self._known()
            group = api_version.rpartition("/")[0]
            is_a_kind = group not in _BUILT_IN or (group, kind) in RESOURCES
            return is_a_kind and self._server.serves(api_version, kind)

    def preferred_version(self, group: str, kind: str) -> str | None:
        with self._calls.call(f"kubernetes.preferred_version {kind}"):
            self._known()
            return self._server.preferred_version(group, kind)

    def has_scale(self, api_version: str, kind: str) -> bool:
        with self._calls.call(f"kubernetes.has_scale {kind}"):
            self._known()  # who is known may ask what is served
            return any(
                (ref.api_version, ref.kind) == (api_version, kind) and "replicas" in item.get("spec", {})
                for ref, item in self._server.objects.items()
            )

    def replicas(self, ref: Ref) -> Object | None:
        with self._calls.call(f"kubernetes.replicas {ref}"):
            self._may("get", ref, "/scale")
            found = self._server.objects.get(ref)
            if found is None or "replicas" not in found.get("spec", {}):
                return None
            metadata = {k: v for k, v in found["metadata"].items() if k in ("name", "namespace", "uid")}
            return {**found, "metadata": metadata, "spec": {"replicas": found["spec"]["replicas"]}}

    def scale(self, ref: Ref, seen: int, replicas: int) -> None:
        with self._calls.call(f"kubernetes.scale {ref}"):
            self._may("patch", ref, "/scale")
            self._admission(ref, "/scale")({"spec": {"replicas": seen}}, {"spec": {"replicas": replicas}})
            self._server.scale(ref, seen, replicas, manager="slicewise")

    def delete(self, ref: Ref) -> None:
        with self._calls.call(f"kubernetes.delete {ref}"):
            self._may("delete", ref)
            if ref in self._server.objects:
                self._admission(ref)(self._server.objects[ref], None)
            self._server.delete(ref)

    @classmethod
    def held(cls, server: FakeApiServer, calls: Calls, identity: Identity) -> FakeKubernetes:
        """One that RBAC lets do everything, and the admission policy what the product's own may do."""
        for item in (policy_of(identity), binding_of(identity)):
            server.apply(item, "slicewise")
        entry = AccessEntry(identity.name, (identity.group,), policies=(CLUSTER_ADMIN_POLICY,))
        return cls(server, calls, lambda: entry)

    def may_write_anything(self) -> None:
        """What helm does in a cluster takes admin."""
        entry = self._known()
        if entry is not None and CLUSTER_ADMIN_POLICY not in entry.policies:
            raise Refused("writing takes more than the group allows")

    def may_list_secrets(self, namespace: str) -> None:
        self._may("list", Ref("v1", "Secret", "", namespace))

    def _known(self) -> AccessEntry | None:
        if self._entry is None:
            return None
        entry = self._entry()
        if entry is None:
            raise Unauthorized("no access entry")
        return entry

    def _may(self, verb: str, ref: Ref, subresource: str = "") -> None:
        """Also of what is not there or not served: an API server asks for the right first."""
        entry = self._known()
        if entry is None or CLUSTER_ADMIN_POLICY in entry.policies:
            return
        group, plural = _resource(ref)
        plural += subresource
        asked = verb, group, plural, ref.name, ref.namespace
        if not rbac.allows(self._server.objects, entry.groups, *asked):
            raise Refused(f"403: groups {entry.groups} may not {verb} {plural} {ref.name} {ref.namespace}")

    def _admission(self, ref: Ref, subresource: str = "") -> Admit:
        """Asked once the right is there, of admins as well, with the object as it stands and as it would."""
        entry = self._known()
        group, plural = _resource(ref)

        def admit(before: Object | None, after: Object | None) -> None:
            operation = "DELETE" if after is None else "UPDATE" if before else "CREATE"
            admission.check(
                *(self._server.objects, entry.groups if entry else ()),
                *(operation, group, plural + subresource, before, after),
            )

        return admit


def _resource(ref: Ref) -> tuple[str, str]:
    """API group and plural."""
    group = ref.api_version.rpartition("/")[0]
    return group, RESOURCES.get((group, ref.kind), (f"{ref.kind.lower()}s",))[0]
