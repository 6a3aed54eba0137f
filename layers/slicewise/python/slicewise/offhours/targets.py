"""
From pods to what makes them: the objects that are put to sleep, and those that are left and reported. Pure.

Each pod is followed up its controlling owners. A LeaderWorkerSet shows why through any kind: a worker pod is
made by a StatefulSet, that by the leader's pod, that by another StatefulSet, and that by the set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slicewise.kube.labels import KEEP_AWAKE, POOL_LABEL, SLEEPS
from slicewise.kube.objects import annotations_of, asked, controller_of, labels, spec
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.offhours.kinds import BUILT_IN, NightBehaviour, Registry
from slicewise.offhours.sleep_fields import REPLICAS

# KEDA's, of no name: as the kind that could not be read.
SCALED_OBJECT = Ref("keda.sh/v1alpha1", "ScaledObject", "")
_DEEPEST = 10
# Both say it by the same fields.
_WITH_VOLUMES = ("StatefulSet", "NodeSet")
_GPU_PREFIX = "nvidia.com/"


@dataclass(frozen=True)
class Workload:
    """
    What makes some pods.

    Attributes:
        top: The object that decides how many there are; a pod without a controller is its own. Of a kind that
            is not read it has a name alone.
        keeps_awake: A person marked a pod, or something that makes it.
        losing: What is above its pods and deletes their volumes when it is scaled down.
    """

    top: Object
    behaviour: NightBehaviour
    pods: tuple[Object, ...]
    keeps_awake: bool = False
    losing: tuple[Ref, ...] = ()

    @property
    def ref(self) -> Ref:
        return ref_of(self.top)

    @property
    def may_retain(self) -> bool:
        """Whether what loses volumes is what is scaled, and of a kind that we may set to retain them."""
        return self.losing == (self.ref,) and self.top["kind"] == "StatefulSet"

    @property
    def priority(self) -> int:
        return max((spec(pod).get("priority") or 0 for pod in self.pods), default=0)

    @property
    def slices(self) -> int:
        return sum(slices(pod) for pod in self.pods)

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(sorted({spec(pod)["nodeName"] for pod in self.pods if spec(pod).get("nodeName")}))


def workloads(
    pods: Iterable[Object],
    owners: Mapping[str, Object],
    unread: Mapping[Ref, str] | None = None,
    kinds: Registry = BUILT_IN,
) -> tuple[Workload, ...]:
    """
    Args:
        owners: By uid, every object above the pods that could be read; of kinds that could not, what their
            `scale` subresource says.
        unread: What an error kept from being read, as in Found: nothing below it is scaled, since what is
            above would undo that. Nor is anything where KEDA's ScaledObjects are among it: any of them may
            scale what we would.
    """
    unread = unread or {}
    scalers_unread = bool(unread_of(SCALED_OBJECT, unread))
    tops: dict[Ref, tuple[Object, NightBehaviour, list[Object], bool]] = {}
    losing: dict[Ref, set[Ref]] = {}
    for pod in pods:
        chain = _chain(pod, owners)
        above = _owner(chain[-1], kinds)
        if above and unread_of(ref_of(above), unread):
            top, behaviour = above, NightBehaviour.UNREAD
        else:
            top, behaviour = _top(chain, above, kinds)
            hidden = scalers_unread and behaviour is NightBehaviour.SLEEPS and scales(top)
            behaviour = NightBehaviour.UNREAD if hidden else behaviour
        awake = any(marked(item) for item in (*chain, *templates(top)))
        losing.setdefault(ref_of(top), set()).update(ref_of(item) for item in chain if loses_volumes(item))
        _, _, members, kept = tops.get(ref_of(top), (top, behaviour, [], False))
        tops[ref_of(top)] = top, behaviour, [*members, pod], kept or awake
    return tuple(
        Workload(top, behaviour, tuple(members), awake, tuple(sorted(losing[ref])))
        for ref, (top, behaviour, members, awake) in sorted(tops.items())
    )


def unread_of(ref: Ref, unread: Mapping[Ref, str]) -> str:
    """Why an object, or its whole kind, could not be read; empty where it could."""
    return unread.get(ref) or unread.get(Ref(ref.api_version, ref.kind, "")) or ""


def _owner(item: Object, kinds: Registry) -> Object | None:
    """What is above, as far as the reference to it shows."""
    owner = controller_of(item)
    if owner is None:
        return None
    version, kind = kinds.known_version(owner["apiVersion"], owner["kind"]), owner["kind"]
    metadata = {"name": owner["name"], "namespace": item["metadata"].get("namespace", "")}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def slices(pod: Object) -> int:
    """GPUs, or parts of one, that a pod requests."""
    containers = (*(spec(pod).get("containers") or ()), *(spec(pod).get("initContainers") or ()))
    resources = {
        resource
        for container in containers
        for part in ("requests", "limits")
        for resource in (container.get("resources") or {}).get(part) or ()
        if resource.startswith(_GPU_PREFIX)
    }
    return sum(asked(pod, resource) for resource in resources)


def scaled_by(scaled_object: Object) -> Ref:
    """What a ScaledObject of KEDA, or a HorizontalPodAutoscaler, scales."""
    target = spec(scaled_object).get("scaleTargetRef") or {}
    kind, version = target.get("kind") or "Deployment", target.get("apiVersion") or "apps/v1"
    return Ref(version, kind, target.get("name", ""), scaled_object["metadata"].get("namespace", ""))


def scaled_by_keda(objects: Iterable[Object]) -> dict[Ref, Ref]:
    """What KEDA scales, by name, and the ScaledObject that says so."""
    return {scaled_by(item): ref_of(item) for item in objects if item["kind"] == SCALED_OBJECT.kind}


def goes_with_its_node(pod: Object) -> bool:
    """Whether Karpenter takes a node for empty on which only such pods run."""
    return (controller_of(pod) or {}).get("kind") in ("DaemonSet", "Node")


def _chain(pod: Object, owners: Mapping[str, Object]) -> list[Object]:
    """From the pod upwards, as far as objects could be read."""
    chain = [pod]
    while (owner := controller_of(chain[-1])) and len(chain) < _DEEPEST:
        found = owners.get(owner["uid"])
        if found is None:
            break
        chain.append(found)
    return chain


def _top(chain: list[Object], above: Object | None, kinds: Registry) -> tuple[Object, NightBehaviour]:
    """
    The topmost object that decides, and what becomes of its pods: what is below it would be put back.

    Args:
        above: The controlling owner of the last of the chain, of which nothing is known but its name.
    """
    for item in (*((above,) if above else ()), *reversed(chain)):
        row = kinds.row_of_object(item)
        behaviour = row.behaviour_of(item) if row else None
        if behaviour is NightBehaviour.JOB and item is not above and scales(item):
            behaviour = None  # its pods say whether it is scaled
        # One that is deleted, or not served in our version, cannot be put to sleep.
        if behaviour and (item is not above or behaviour is not NightBehaviour.SLEEPS):
            return item, behaviour
        if item is not above and scales(item):
            may_sleep = any(labels(one).get(SLEEPS) == "true" for one in chain) and not is_done_at_zero(item)
            ends = ends_at_zero(item) and not may_sleep
            return item, NightBehaviour.JOB if ends else NightBehaviour.SLEEPS
        if row is None and ends_at_zero(item):
            return item, NightBehaviour.JOB
    if above is None:
        return chain[-1], NightBehaviour.BARE
    # A static pod is owned by its Node: only the kubelet makes or ends it.
    is_named = above["kind"] != "Node" and kinds.row_of_object(above) is None
    return above if is_named else chain[-1], NightBehaviour.UNKNOWN


def scales(item: Object) -> bool:
    row = BUILT_IN.row_of_object(item)
    return bool(row and REPLICAS in row.settings) or bool(item.get("readThroughScale"))


def ends_at_zero(item: Object) -> bool:
    """
    Whether 0 replicas would mean the end of what runs, not a pause: of training jobs, such as Kubeflow's
    PyTorchJob, `scale` is the number of workers, and a job that loses them fails or begins again. Others,
    such as Volcano's Job, have no `scale`.
    """
    return str(item["kind"]).endswith("Job")


def is_done_at_zero(item: Object) -> bool:
    """
    Whether nothing brings it back from 0: Kubeflow's training operator 1.9 says of a job without a worker or
    a master that it has succeeded, and starts it no more; a master, where there is one, runs on at 0 workers.
    """
    return str(item["apiVersion"]).startswith("kubeflow.org/") and ends_at_zero(item)


def loses_volumes(item: Object) -> bool:
    """
    Whether its controller deletes the volumes of each pod that a smaller number of replicas ends. What a pod
    controls is deleted with it: the workers' set of a LeaderWorkerSet goes with the leader.
    """
    if item["kind"] not in _WITH_VOLUMES or not spec(item).get("volumeClaimTemplates"):
        return False
    policy = spec(item).get("persistentVolumeClaimRetentionPolicy") or {}
    is_deleted = (controller_of(item) or {}).get("kind") == "Pod"
    return policy.get("whenScaled") == "Delete" or (is_deleted and policy.get("whenDeleted") == "Delete")


def marked(item: Object) -> bool:
    found = {**labels(item), **annotations_of(item)}.get(KEEP_AWAKE)
    return found is not None and found != "false"


def templates(item: Object) -> tuple[Object, ...]:
    """What an object's pods are made of; of a RayCluster, also the head's, which may run anywhere."""
    made = spec(item)
    groups = (made, made.get("headGroupSpec") or {}, *(made.get("workerGroupSpecs") or ()))
    found = (group.get("template") for group in groups if isinstance(group, Mapping))
    return tuple({"metadata": one.get("metadata") or {}} for one in found if isinstance(one, Mapping))


def chooses(pod_spec: Object, pool: str) -> bool:
    """Whether a pod may run on the nodes of this pool, and requests a pool at all."""
    chosen = (pod_spec.get("nodeSelector") or {}).get(POOL_LABEL)
    if chosen is not None:
        return bool(chosen == pool)
    return any(
        _names_a_pool(one) and (one["operator"] == "Exists" or pool in (one.get("values") or ()))
        for term in _alternatives(pod_spec)
        for one in term
    )


def on_our_pools(pod_spec: Object, nodes: frozenset[str] = frozenset()) -> bool:
    """
    Whether a pod can only run on pools of ours, or runs on a node of one.

    Args:
        pod_spec: Of a pod, or of the template of something that makes pods.
    """
    if POOL_LABEL in (pod_spec.get("nodeSelector") or {}) or pod_spec.get("nodeName") in nodes:
        return True
    terms = _alternatives(pod_spec)
    return bool(terms) and all(any(map(_names_a_pool, term)) for term in terms)


def _names_a_pool(expression: Object) -> bool:
    return expression.get("key") == POOL_LABEL and expression.get("operator") in ("In", "Exists")


def _alternatives(pod_spec: Object) -> list[list[Object]]:
    """Of its required node affinity: a node has to meet all expressions of one term, whichever that is."""
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return [list(term.get("matchExpressions") or ()) for term in required.get("nodeSelectorTerms") or ()]
