"""
The kinds that nights know, a row each: how an object of it is put to sleep, or why it is left. Pure.

From a pod we go up its controlling owners, and the topmost object whose row says so, or that has a `scale`
subresource, is what sleeps or is left: the controller above reverts what is changed below. What each row
costs, and which releases it was run on, is the table of docs/off-hours.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from slicewise import rights
from slicewise.kube.kinds import JAX_JOB, PADDLE_JOB, PYTORCH_JOB, TRAINING_JOBS, ApiKind
from slicewise.kube.labels import KEEP_AWAKE
from slicewise.kube.objects import annotations_of, condition, labels, spec, status
from slicewise.kube.ref import Object, Ref
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.sleep_fields import (
    DEACTIVATED,
    HELD,
    KSERVE_STOP,
    NO_NODES,
    NO_SCALE_UP,
    NOT_ACTIVE,
    ONLY_EMPTY_NODES_GO,
    PAUSED,
    PAUSED_REPLICAS,
    REPLICAS,
    RETAIN,
    STOPPED,
    SUSPEND,
    SUSPENDED_JOB,
    SUSPENDED_PODS,
    SUSPENDED_RUN,
    Setting,
)
from slicewise.policy.switches import Switch

Why = tuple[str, str]
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


class NightBehaviour(StrEnum):
    """
    What becomes of pods at night. SLEEPS: their number is set to 0. JOB: they run to their end. LEFT: they
    run on, for a reason that the row has. All others run on as well, for want of a row.
    """

    SLEEPS = "sleeps"
    JOB = "job"
    LEFT = "left"
    BARE = "bare"
    DAEMON = "daemon"
    UNKNOWN = "unknown"
    UNREAD = "unread"


@dataclass(frozen=True)
class Kind:
    """
    Attributes:
        version: Of the API, as objects are listed.
        behaviour: What becomes of the pods below such an object; None where it is never above pods.
        settings: What is changed for the night, in that order.
        is_read: Objects are read whole; of others at most the `scale` subresource is.
        if_served: The right to change it is granted where the cluster has its definition.
        makes_jobs: It starts Jobs by a clock or a queue.
        lets_start: Not a workload: it decides which may start, and is of no stage of the morning.
        left: Why an object is left unchanged, and what a person can do; None where it is not.
        has_switch: Whether an object's controller obeys its settings. Where it does not, what is below it
            decides.
        former: What was changed for a night by a switch that the policy has dropped since; to be restored.
        own: It is the policy's, not ours.
        has_scale: Of a kind that is a job: the number of its workers, which releases before scaled to 0.
        unsuspendable: Why a job is not suspended, though the policy has jobs suspended; None where it is.
        ends_later: Why pods are there, rightly, though their object sleeps; None where they should have
            ended.
    """

    group: str
    version: str
    kind: str
    behaviour: NightBehaviour | None = None
    settings: tuple[Setting, ...] = ()
    is_read: bool = True
    if_served: bool = False
    makes_jobs: bool = False
    lets_start: bool = False
    left: Callable[[Object], Why | None] = lambda item: None
    has_switch: Callable[[Object], bool] = lambda item: True
    former: tuple[Setting, ...] = ()
    own: bool = False
    has_scale: bool = False
    unsuspendable: Callable[[Object], Why | None] = lambda item: None
    ends_later: Callable[[Sequence[Object]], Why | None] = lambda pods: None

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def is_job(self) -> bool:
        """Whether it is work that runs to completion and that can be suspended."""
        return self.behaviour is NightBehaviour.JOB and bool(self.settings)

    def behaviour_of(self, item: Object) -> NightBehaviour | None:
        if self.behaviour and self.left(item):
            return NightBehaviour.LEFT
        return self.behaviour if self.has_switch(item) else None


def _queued(item: Object) -> Why | None:
    """What Kueue has admitted it starts again when it is suspended (0.17, seen of a Job)."""
    if QUEUE_LABEL not in labels(item):
        return None
    return (
        "Kueue admits it, and would restart it as soon as it is suspended",
        "Stop its queue for the night (stopPolicy: HoldAndDrain), or take it out of the queue.",
    )


def _ray_service(item: Object) -> Why:
    return (
        "whether one that serves comes back after its cluster was suspended was never shown",
        f"Delete it for the night, or mark it {KEEP_AWAKE}. A RayCluster of its own sleeps.",
    )


def _rollout(item: Object) -> Why | None:
    """
    Argo Rollouts 1.10 scales nothing that is paused. Timed pauses go on by the clock: at 0 replicas a canary
    takes all steps that are left, and its new version becomes the stable one with no pod and no traffic. An
    analysis goes on as well, at any step: it finds no pods, and aborts what a person was to promote.
    """
    if spec(item).get("paused"):
        return "a Rollout that is paused does not scale", "Resume it (spec.paused)."
    if _promotes_itself(item):
        return (
            "it is between two versions, and at 0 replicas its steps would go on by the clock, untested",
            "Promote or abort it. At a step `pause: {}` it sleeps, and wakes at that step.",
        )
    if _is_measured(item):
        return (
            "an analysis of its new version runs, and would find no pods and abort it",
            "Promote or abort it, or let the analysis end.",
        )
    return None


def _is_between_versions(now: Object) -> bool:
    new, stable = now.get("currentPodHash"), now.get("stableRS")
    return bool(not now.get("abort") and new and stable and new != stable)


def _is_measured(item: Object) -> bool:
    now = status(item)
    said = [entry for part in ("canary", "blueGreen") for entry in (now.get(part) or {}).items()]
    runs = [run for key, run in said if key.endswith("AnalysisRunStatus")]
    return _is_between_versions(now) and any(run.get("status") in ("Pending", "Running") for run in runs)


_KSERVE_MODE, _KSERVE_LEAVES = "serving.kserve.io/deploymentMode", "serving.kserve.io/disable-auto-update"
_KSERVE_DEPLOYS = ("Standard", "RawDeployment")


def _inference_service(item: Object) -> Why | None:
    """
    What has its mode in the status keeps it, no matter what its annotation says (KServe 0.16, by its source).
    """
    mode = status(item).get("deploymentMode") or annotations_of(item).get(_KSERVE_MODE) or _KSERVE_DEPLOYS[0]
    if mode in _KSERVE_DEPLOYS:
        return None
    return (
        f"whether one in KServe's mode {mode} comes back after a stop was never shown",
        f"Stop it by hand for the night, or mark it {KEEP_AWAKE}. In mode Standard it sleeps.",
    )


def _follows_a_stop(inference_service: Object) -> bool:
    """
    KServe has a condition Stopped on each that it can stop: 0.16 on all, 0.15.2 on none that is a Deployment.
    One whose updates a person has disabled it leaves unchanged. It keeps no replicas of either's Deployments.
    """
    is_left = annotations_of(inference_service).get(_KSERVE_LEAVES) == "true"
    return condition(inference_service, "Stopped") is not None and not is_left


def _revision(item: Object) -> Why:
    return (
        "Knative scales it by requests, and would revert what is set below it",
        "With autoscaling.knative.dev/min-scale 0 Knative scales it to 0 while it gets no request.",
    )


def _promotes_itself(item: Object) -> bool:
    now, strategy = status(item), spec(item).get("strategy") or {}
    if not _is_between_versions(now):
        return False
    if "blueGreen" in strategy:
        own = strategy["blueGreen"] or {}
        return own.get("autoPromotionEnabled") is not False or bool(own.get("autoPromotionSeconds"))
    steps, at = (strategy.get("canary") or {}).get("steps") or (), now.get("currentStepIndex")
    if not isinstance(at, int) or at >= len(steps):
        return False
    return bool(steps[at].get("pause") != {})


_SHUTS_DOWN = "Set shutdownAfterJobFinishes: true."
# Of all other states, KubeRay 1.5 ignores the field until one of these is reached.
_SUSPENDABLE_STATES = ("", "Initializing", "Running", "Retrying")


def _ray_job(item: Object) -> Why | None:
    """What KubeRay 1.5 takes for invalid it abandons for good, also once it is no longer suspended."""
    if spec(item).get("clusterSelector"):
        return "KubeRay suspends none that uses a cluster of others", "Let it have a cluster of its own."
    if not spec(item).get("shutdownAfterJobFinishes"):
        return (
            "without shutdownAfterJobFinishes KubeRay never resumes what is suspended",
            _SHUTS_DOWN,
        )
    state = status(item).get("jobDeploymentStatus") or ""
    if state not in _SUSPENDABLE_STATES:
        return f"KubeRay suspends none that is {state}", "No action needed, if it ends soon; else delete it."
    return None


_SLURM_BUSY = tuple(f"SlurmNodeState{state}" for state in ("Allocated", "Mixed", "Completing"))


def _slurm_drains(pods: Sequence[Object]) -> Why | None:
    """The Slurm operator 1.0 drains each pod's Slurm node, and deletes the pod once no job runs there."""
    if not any((condition(pod, busy) or {}).get("status") == "True" for pod in pods for busy in _SLURM_BUSY):
        return None
    return (
        "Slurm jobs run there, and Slurm drains its nodes: each pod ends with its last job",
        "No action needed: their nodes go with them. To end them now, cancel the jobs (scancel).",
    )


def _training(of: ApiKind) -> Kind:
    """Of Kubeflow's training operator; of some, `scale` is the number of workers."""
    group, _, version = of.api_version.partition("/")
    return Kind(
        *(group, version, of.kind, NightBehaviour.JOB, (SUSPENDED_RUN,)),
        is_read=False,
        if_served=True,
        has_scale=of in (PYTORCH_JOB, PADDLE_JOB, JAX_JOB),
    )


KINDS = (
    Kind("apps", "v1", "Deployment", NightBehaviour.SLEEPS, (REPLICAS,)),
    Kind("apps", "v1", "ReplicaSet", NightBehaviour.SLEEPS, (REPLICAS,)),
    Kind("apps", "v1", "StatefulSet", NightBehaviour.SLEEPS, (RETAIN, REPLICAS)),
    Kind("apps", "v1", "DaemonSet", NightBehaviour.DAEMON, is_read=False),
    Kind("argoproj.io", "v1alpha1", "Rollout", NightBehaviour.SLEEPS, (REPLICAS,), left=_rollout),
    Kind("leaderworkerset.x-k8s.io", "v1", "LeaderWorkerSet", NightBehaviour.SLEEPS, (REPLICAS,)),
    Kind(
        *("slinky.slurm.net", "v1beta1", "NodeSet", NightBehaviour.SLEEPS, (REPLICAS,)),
        if_served=True,
        ends_later=_slurm_drains,
    ),
    Kind("batch", "v1", "Job", NightBehaviour.JOB, (SUSPENDED_JOB,)),
    Kind("batch", "v1", "CronJob", settings=(SUSPEND,), makes_jobs=True),
    Kind("keda.sh", "v1alpha1", "ScaledObject", settings=(PAUSED_REPLICAS,)),
    Kind("keda.sh", "v1alpha1", "ScaledJob", settings=(PAUSED,), makes_jobs=True),
    Kind("autoscaling", "v2", "HorizontalPodAutoscaler", settings=(NO_SCALE_UP,), is_read=False),
    Kind(
        "ray.io", "v1", "RayCluster", NightBehaviour.SLEEPS, (SUSPENDED_PODS,), if_served=True, left=_queued
    ),
    Kind("ray.io", "v1", "RayService", NightBehaviour.LEFT, is_read=False, left=_ray_service),
    Kind(
        *("ray.io", "v1", "RayJob", NightBehaviour.JOB, (SUSPENDED_JOB,)),
        is_read=False,
        if_served=True,
        unsuspendable=_ray_job,
    ),
    Kind("ray.io", "v1", "RayCronJob", NightBehaviour.JOB, is_read=False),
    # Read at any time, for what is above it.
    Kind("jobset.x-k8s.io", "v1alpha2", "JobSet", NightBehaviour.JOB, (SUSPENDED_JOB,), if_served=True),
    Kind(
        *("trainer.kubeflow.org", "v1alpha1", "TrainJob", NightBehaviour.JOB, (SUSPENDED_JOB,)),
        is_read=False,
        if_served=True,
    ),
    *map(_training, TRAINING_JOBS),
    Kind("kubeflow.org", "v1", "Notebook", NightBehaviour.SLEEPS, (STOPPED,), if_served=True),
    Kind(
        *("serving.kserve.io", "v1beta1", "InferenceService"),
        *(NightBehaviour.SLEEPS, (KSERVE_STOP,)),
        if_served=True,
        left=_inference_service,
        has_switch=_follows_a_stop,
    ),
    Kind("serving.knative.dev", "v1", "Revision", NightBehaviour.LEFT, is_read=False, left=_revision),
    Kind(
        *("karpenter.sh", "v1", "NodePool"),
        settings=(NO_NODES, ONLY_EMPTY_NODES_GO),
        is_read=False,
        lets_start=True,
    ),
    Kind(*(rights.KUEUE, "v1beta2", "ClusterQueue"), settings=(HELD,), if_served=True, lets_start=True),
    Kind(*(rights.KUEUE, "v1beta2", "Workload"), settings=(NOT_ACTIVE,), if_served=True, lets_start=True),
)
AUTOSCALER = ("autoscaling/v2", "HorizontalPodAutoscaler")


@dataclass(frozen=True)
class Registry:
    """
    The rows that a reconcile knows: ours, and those of a policy's own switches (`with_switches`).

    A kind is known by its group and name, in whichever version an object of it is named.
    """

    rows: tuple[Kind, ...] = KINDS

    @cached_property
    def _by_name(self) -> Mapping[tuple[str, str], Kind]:
        return {(row.group, row.kind): row for row in self.rows}

    def row_of(self, api_version: str, kind: str) -> Kind | None:
        return self._by_name.get((api_version.rpartition("/")[0], kind))

    def row_of_object(self, item: Object) -> Kind | None:
        return self.row_of(item["apiVersion"], item["kind"])

    def known_version(self, api_version: str, kind: str) -> str:
        """
        Under which version objects of a kind are read, named and stored: an owner reference may name another
        one of those that the API server serves it in (Kubeflow's notebook controller writes v1beta1).
        """
        row = self.row_of(api_version, kind)
        return row.api_version if row else api_version

    def why_left(self, item: Object) -> Why | None:
        row = self.row_of_object(item)
        return row.left(item) if row else None

    def is_read(self, api_version: str, kind: str, suspending: bool = False) -> bool:
        """
        Args:
            suspending: Whether jobs are suspended, or some may be still: then they are read as well.
        """
        row = self.row_of(api_version, kind)
        return row is not None and (row.is_read or (suspending and row.is_job))

    def is_read_through_scale(self, api_version: str, kind: str) -> bool:
        """Whether of its objects the `scale` subresource is read, where there is one and nothing else is."""
        row = self.row_of(api_version, kind)
        return kind not in ("Node", "Pod") and (row is None or row.has_scale)

    def comes_with_its_kind(self, ref: Ref) -> bool:
        """Whether the right to such objects is granted by what the cluster has, at the next onboarding."""
        row = self.row_of(ref.api_version, ref.kind)
        return ref[:2] == AUTOSCALER or (row is not None and row.if_served)

    def settings_of(self, api_version: str, kind: str) -> tuple[Setting, ...]:
        """All that is not known otherwise is scaled."""
        row = self.row_of(api_version, kind)
        return row.settings if row else (REPLICAS,)

    def settings_of_object(self, item: Object, was_scaled: bool = False) -> tuple[Setting, ...]:
        """
        Args:
            was_scaled: There is a snapshot of its replicas: a job that was scaled to 0 may be read whole now.
        """
        if item.get("readThroughScale"):
            return (REPLICAS,)
        found, row = self.settings_of(item["apiVersion"], item["kind"]), self.row_of_object(item)
        return (*found, REPLICAS) if row and row.has_scale and was_scaled else found

    def noted_fields(self, ref: Ref) -> frozenset[str]:
        """What is recorded on such an object itself: nothing that goes through `scale`: replicas."""
        found = self._restored_settings(ref)
        return frozenset(setting.field for setting in found if not setting.scaled)

    def setting_of(self, snapshot: Snapshot) -> Setting | None:
        """None for a field that only another release puts to sleep."""
        if ran(snapshot):
            return DEACTIVATED
        found = self._restored_settings(snapshot.ref)
        return next((setting for setting in found if setting.field == snapshot.field), None)

    def _restored_settings(self, ref: Ref) -> tuple[Setting, ...]:
        row = self.row_of(ref.api_version, ref.kind)
        if row is None:
            return (REPLICAS,)
        return (*row.settings, *row.former, *((REPLICAS,) if row.has_scale else ()))


BUILT_IN = Registry()
JOBS = tuple((row.api_version, row.kind) for row in KINDS if row.is_job)


def with_switches(
    asked: Iterable[Switch], marked: Iterable[Switch], version_of: Callable[[str, str], str | None]
) -> Registry:
    """
    Args:
        asked: What the policy names.
        marked: What sleeps, or is about to, no matter what the policy now says: it is restored.
        version_of: Of group and kind, the version under which objects are read; None where there is none.
    """
    by_kind: dict[tuple[str, str], tuple[list[Switch], list[Switch]]] = {}
    for number, given in enumerate((asked, marked)):
        for switch in given:
            by_kind.setdefault((switch.group, switch.kind), ([], []))[number].append(switch)
    rows = (
        _own_row(group, kind, version, *found)
        for (group, kind), found in by_kind.items()
        if (version := version_of(group, kind)) is not None
    )
    return Registry((*KINDS, *rows))


def _own_row(group: str, kind: str, version: str, asked: Sequence[Switch], marked: Sequence[Switch]) -> Kind:
    settings = tuple(_own(switch) for switch in asked)
    former = tuple(one for one in map(_own, marked) if all(one.field != own.field for own in settings))
    return Kind(
        *(group, version, kind),
        behaviour=NightBehaviour.SLEEPS if settings else None,
        settings=settings,
        former=former,
        if_served=True,
        own=True,
        left=_queued if any(one.path == rights.SUSPEND for one in asked) else lambda item: None,
    )


def _own(switch: Switch) -> Setting:
    return Setting(switch.path, switch.asleep, ends_pods=True, controller=f"the operator of {switch.kind}")


def switch_of(row: Kind, setting: Setting) -> Switch:
    """Of a row of a policy's own."""
    return Switch(row.group, row.kind, setting.path, setting.asleep)


def is_suspended(ray_cluster: Object) -> bool:
    """
    Whether KubeRay has it suspended, or is about to, no matter what its field now says. The conditions say
    so: `state` stays "suspended" until all pods run again (KubeRay 1.5). It counts in releases without them.
    """
    kinds = ("RayClusterSuspended", "RayClusterSuspending")
    conditions = [found for kind in kinds if (found := condition(ray_cluster, kind))]
    if conditions:
        return any(one.get("status") == "True" for one in conditions)
    return status(ray_cluster).get("state") == "suspended"


def makes_jobs(owner: Object) -> bool:
    """Whether an owner makes Jobs by a clock or a queue, and leaves them alone then."""
    row = BUILT_IN.row_of(owner["apiVersion"], owner["kind"])
    return row is not None and row.makes_jobs


def is_job(ref: Ref) -> bool:
    """A policy's own kinds are none."""
    row = BUILT_IN.row_of(ref.api_version, ref.kind)
    return row is not None and row.is_job


def waits_for_others(ref: Ref) -> bool:
    """
    Whether it is woken with the last: of what makes jobs it is not known ahead how important those will be,
    and a job that was suspended all night has less haste than what people wait for.
    """
    row = BUILT_IN.row_of(ref.api_version, ref.kind)
    return row is not None and (row.makes_jobs or row.is_job)


def lets_start(ref: Ref) -> bool:
    row = BUILT_IN.row_of(ref.api_version, ref.kind)
    return row is not None and row.lets_start


def ran(snapshot: Snapshot) -> bool:
    """Whether it is of a Workload of Kueue's that ran: what waits has no slices."""
    return snapshot.field == DEACTIVATED.field and snapshot.slices > 0
