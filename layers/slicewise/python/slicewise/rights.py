"""
What each identity may write in a cluster: kind by kind, field by field. Pure.

RBAC grants these writes and knows no fields; an admission policy limits each identity to the fields. Both are
made of this table (onboarding/rbac.py, onboarding/admission.py), and so is the table in docs/deploying.md. A
field that is not here cannot be written in any cluster: what writes a new one adds it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from slicewise.kube import kinds
from slicewise.kube.json_patch import annotation_path, label_path
from slicewise.kube.labels import (
    APPLIED,
    ASLEEP,
    ASLEEP_WAS,
    CHANGED_ANNOTATION,
    CLASS_LABEL,
    CORDONED_ANNOTATION,
    GIVEN_UP_ANNOTATION,
    MOVED_ANNOTATION,
    OPENED,
    ORIGINAL_ANNOTATION,
    POOL_LABEL,
    PUBLISHES,
    RETAINS,
    ROLLOUT_ANNOTATION,
    SHARING_LABEL,
    SLICES_ANNOTATION,
    STARTUP_ANNOTATION,
    SUSPENDS,
    SWITCHES,
    TUNING_ANNOTATION,
    WAITED_ANNOTATION,
)
from slicewise.kube.objects import MANAGED_BY
from slicewise.policy.switches import Switch
from slicewise.pools import layout

Path = tuple[str, ...]

# Off-hours' switches (offhours/sleep_fields.py).
SUSPEND: Path = ("spec", "suspend")
RUN_SUSPEND: Path = ("spec", "runPolicy", "suspend")
LIMIT_OF_NODES: Path = ("spec", "limits", "nodes")
DISRUPTION: Path = ("spec", "disruption")
RETENTION: Path = ("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")
REPLICAS: Path = ("spec", "replicas")
PAUSED_REPLICAS: Path = ("metadata", "annotations", "autoscaling.keda.sh/paused-replicas")
PAUSED: Path = ("metadata", "annotations", "autoscaling.keda.sh/paused")
STOPPED: Path = ("metadata", "annotations", "kubeflow-resource-stopped")
KSERVE_STOP: Path = ("metadata", "annotations", "serving.kserve.io/stop")
BEHAVIOR: Path = ("spec", "behavior")
STOP_POLICY: Path = ("spec", "stopPolicy")
ACTIVE: Path = ("spec", "active")
LAST_SCHEDULED: Path = ("status", "lastScheduleTime")


# From this Kubernetes on an autoscaler may bring back what is at 0 (HPAScaleToZero is on by default).
SCALES_FROM_ZERO = (1, 37)
KUEUE = "kueue.x-k8s.io"


class Only(StrEnum):
    """Which objects of a kind may be written; the text is for people."""

    ALL = ""
    OPTED_IN = f"labelled {CLASS_LABEL}: {layout.AUTO}"
    BARE = "that nothing controls"


@dataclass(frozen=True)
class Entries:
    """Entries of the list at `path` whose field `key` is one of `keys`; the others keep their order."""

    path: Path
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Write:
    """
    One right to write.

    Attributes:
        group, resource: As RBAC names them: "" is the core group, a subresource follows a slash, and
            ("*", "*/scale") is the scale of all that have one.
        fields: Each with all that is below it. Nothing else of the object may differ.
        deletes: The right is to delete, and to change nothing.
        if_served: Granted, and listing it as well, where the cluster has this kind, or a Kubernetes in which
            it matters.
        of_jobs: Granted where the policy suspends jobs, or some are suspended still.
        published: Granted where the policy has N published on workloads, or some still have it.

    Of several rights to one resource, a write needs one that allows all of it.
    """

    group: str
    resource: str
    fields: tuple[Path, ...] = ()
    entries: tuple[Entries, ...] = ()
    only: Only = Only.ALL
    deletes: bool = False
    if_served: bool = False
    of_jobs: bool = False
    published: bool = False

    @property
    def crd(self) -> str:
        return f"{self.resource}.{self.group}"

    @property
    def verb(self) -> str:
        return "delete" if self.deletes else "patch"


@dataclass(frozen=True)
class Identity:
    """
    Attributes:
        name: Of its roles, bindings and policies in a cluster.
        group: Kubernetes' group, which its access entry gives it.
    """

    name: str
    group: str
    writes: tuple[Write, ...]


def _annotations(*keys: str) -> Iterator[Path]:
    return map(annotation_path, keys)


def _labels(*keys: str) -> Iterator[Path]:
    return map(label_path, keys)


_MARKS = (
    CHANGED_ANNOTATION,
    CORDONED_ANNOTATION,
    WAITED_ANNOTATION,
    GIVEN_UP_ANNOTATION,
)
_NODE_LABELS = (POOL_LABEL, layout.CONFIG_LABEL)
_POD_SPEC: Path = ("spec", "template", "spec")


def _moved(resource: str) -> Write:
    """A workload that opted in is moved to another class: one label of its selector, one toleration."""
    return Write(
        *("apps", resource),
        fields=(*_annotations(MOVED_ANNOTATION), (*_POD_SPEC, "nodeSelector", CLASS_LABEL)),
        entries=(Entries((*_POD_SPEC, "tolerations"), (CLASS_LABEL,)),),
        only=Only.OPTED_IN,
    )


def _published(resource: str) -> Write:
    """N for what scales a workload: one annotation of its own metadata, so that no pod is replaced."""
    return Write("apps", resource, fields=tuple(_annotations(SLICES_ANNOTATION)), published=True)


TUNER = Identity(
    "slicewise-tuner",
    "slicewise:tuner",
    (
        Write(
            *("karpenter.sh", "nodepools"),
            fields=(
                *_labels(MANAGED_BY, POOL_LABEL, SHARING_LABEL),
                *_annotations(
                    ROLLOUT_ANNOTATION,
                    TUNING_ANNOTATION,
                    STARTUP_ANNOTATION,
                    ORIGINAL_ANNOTATION,
                    # While it is offboarded: that it is closed, and since when it requires no label of ours.
                    APPLIED,
                    CHANGED_ANNOTATION,
                    PUBLISHES,
                ),
                ("spec", "limits"),
                DISRUPTION,
            ),
            entries=(Entries((*_POD_SPEC, "requirements"), _NODE_LABELS),),
        ),
        Write(
            *("karpenter.sh", "nodeoverlays"),
            fields=(*_annotations(*_MARKS), ("spec", "capacity")),
        ),
        Write(
            *("karpenter.sh", "nodeclaims"),
            fields=(*_labels(*_NODE_LABELS), *_annotations(*_MARKS)),
        ),
        Write(
            *("", "nodes"),
            fields=(*_labels(*_NODE_LABELS), *_annotations(*_MARKS), ("spec", "unschedulable")),
        ),
        _moved("deployments"),
        _moved("statefulsets"),
        _published("deployments"),
        _published("statefulsets"),
    ),
)


def _suspended(group: str, resource: str, field: Path = SUSPEND, if_served: bool = True) -> Write:
    """Work that runs to completion, suspended for the night by its own field."""
    fields = (*_annotations(ASLEEP_WAS), field)
    return Write(group, resource, fields, if_served=if_served, of_jobs=True)


def _suspended_training(kind: kinds.ApiKind) -> Write:
    plural, _ = kinds.RESOURCES[kind.in_group]
    return _suspended(kind.in_group[0], plural, RUN_SUSPEND)


SLEEPER = Identity(
    "slicewise-sleeper",
    "slicewise:sleeper",
    (
        Write("*", "*/scale", fields=(REPLICAS,)),
        Write(
            *("karpenter.sh", "nodepools"),
            fields=(
                *_annotations(ASLEEP, ASLEEP_WAS, RETAINS, SUSPENDS),
                *_annotations(SWITCHES, OPENED),
                LIMIT_OF_NODES,
                DISRUPTION,
            ),
        ),
        Write("batch", "cronjobs", fields=(*_annotations(ASLEEP_WAS), SUSPEND)),
        Write("batch", "cronjobs/status", fields=(LAST_SCHEDULED,)),
        Write("keda.sh", "scaledobjects", fields=(*_annotations(ASLEEP_WAS), PAUSED_REPLICAS)),
        Write("keda.sh", "scaledjobs", fields=(*_annotations(ASLEEP_WAS), PAUSED)),
        Write("apps", "statefulsets", fields=(*_annotations(ASLEEP_WAS), RETENTION)),
        Write("ray.io", "rayclusters", fields=(*_annotations(ASLEEP_WAS), SUSPEND), if_served=True),
        Write("kubeflow.org", "notebooks", fields=(*_annotations(ASLEEP_WAS), STOPPED), if_served=True),
        Write(
            *("serving.kserve.io", "inferenceservices"),
            fields=(*_annotations(ASLEEP_WAS), KSERVE_STOP),
            if_served=True,
        ),
        Write(
            *("autoscaling", "horizontalpodautoscalers"),
            fields=(*_annotations(ASLEEP_WAS), BEHAVIOR),
            if_served=True,
        ),
        Write(
            *(KUEUE, "clusterqueues"),
            fields=(*_annotations(ASLEEP_WAS), STOP_POLICY),
            if_served=True,
        ),
        Write(*(KUEUE, "workloads"), fields=(*_annotations(ASLEEP_WAS), ACTIVE), if_served=True),
        _suspended("batch", "jobs", if_served=False),
        _suspended("jobset.x-k8s.io", "jobsets"),
        _suspended("trainer.kubeflow.org", "trainjobs"),
        _suspended("ray.io", "rayjobs"),
        *map(_suspended_training, kinds.TRAINING_JOBS),
        Write("", "pods", only=Only.BARE, deletes=True),
    ),
)


def of_switches(found: Iterable[tuple[str, Switch]]) -> tuple[Write, ...]:
    """
    The sleeper's writes by a policy's own switches.

    Args:
        found: Each switch, after the plural of its kind.
    """
    paths: dict[tuple[str, str], dict[Path, None]] = {}
    for resource, switch in found:
        paths.setdefault((switch.group, resource), {})[switch.path] = None
    return tuple(
        Write(group, resource, (*_annotations(ASLEEP_WAS), *fields), if_served=True)
        for (group, resource), fields in sorted(paths.items())
    )


def sleeper(own: Iterable[Write] = ()) -> Identity:
    """With what a policy's own switches let it write."""
    return replace(SLEEPER, writes=(*SLEEPER.writes, *own))
