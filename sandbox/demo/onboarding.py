"""The demo's chapters on onboarding: an event, pods on slices, events that fail, clusters to leave alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from slicewise.kube.labels import POLICY_TAG

from sandbox.cluster.client import KubeClient, condition
from sandbox.demo import takeover as demo_takeover
from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import GPU_NODES, running, slice_pods, wait
from sandbox.system import System

CLUSTER, SECOND = "gpu-1", "gpu-2"
TAGS = {POLICY_TAG: "sandbox"}
# Of the chapters after these: the same pools, with hours that are seconds.
LATER_TAGS = {POLICY_TAG: "day"}
OURS = {"labelSelector": "app.kubernetes.io/managed-by=slicewise"}
KINDS_OF_OURS = (
    "/apis/karpenter.sh/v1/nodepools",
    "/apis/karpenter.sh/v1alpha1/nodeoverlays",
    "/api/v1/configmaps",
    "/api/v1/namespaces",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
)
HELM_RELEASES = {"fieldSelector": "type=helm.sh/release.v1"}


def a_cluster_is_created(story: Narrator, system: System) -> None:
    cluster = system.start_control_plane(CLUSTER)
    story.saw("its control plane runs, with Karpenter in it; no GPU Operator, no NodePool")
    system.create_cluster(CLUSTER, tags=TAGS)
    story.saw(
        "eks:CreateCluster returned; CloudTrail sends the event to EventBridge; Slicewise gets nothing else"
    )
    story.aside(
        """From here on the lines are Slicewise's own: each reconcile leaves a record, printed as [stage] and
        reason, then what the reconcile did and why. It reads the cluster, does what is missing, and runs
        again until nothing is missing; so one that is killed costs nothing but time. Waits between
        reconciles take two fifths of their time here."""
    )
    record = _stage(story, system, CLUSTER, "onboarded", saw=lambda record: _report_record(story, record))
    overlays = cluster.kube.list("/apis/karpenter.sh/v1alpha1/nodeoverlays", **OURS)
    story.claim(
        "onboarded-by-event",
        "one event installed the operator, its slicing configuration, NodePool and NodeOverlay",
        expected={
            "stage": "onboarded",
            "operator": ["deployed"],
            "device plugin configuration": True,
            "node pools": ["slicewise-shared-l4"],
            "overlays ready": True,
        },
        observed={
            "stage": record.get("stage"),
            "operator": _operator_status(cluster.kube),
            "device plugin configuration": bool(
                cluster.kube.find("/api/v1/namespaces/gpu-operator/configmaps/slicewise-device-plugin")
            ),
            "node pools": [pool["metadata"]["name"] for pool in cluster.kube.list(KINDS_OF_OURS[0], **OURS)],
            "overlays ready": bool(overlays)
            and all(condition(overlay, "Ready") == "True" for overlay in overlays),
        },
    )


def pods_share_gpus(story: Narrator, system: System) -> None:
    story.show(
        """The policy says four pods a GPU. Without the NodeOverlay Karpenter would believe that each node
        has room for one pod, and start one node for every pod."""
    )
    kube = system.clusters[CLUSTER].kube
    for pods, expected in ((16, 4), (17, 5)):
        kube.apply(slice_pods("inference", pods))
        there = wait(story, lambda pods=pods: running(kube) == pods, f"{pods} pods run")
        story.claim(
            f"nodes-for-{pods}-pods",
            f"{pods} pods at 4 a GPU need {expected} single-GPU nodes",
            expected=expected,
            observed=len(kube.list("/api/v1/nodes", **GPU_NODES)),
        )
        if not there:
            break
    story.claim("pods-running", "every pod got its slice and runs", expected=17, observed=running(kube))
    kube.apply(slice_pods("inference", 0))
    story.saw("the pods are scaled to 0; the policy lets idle nodes go after 10 s")
    wait(story, lambda: not kube.list("/api/v1/nodes", **GPU_NODES), "no GPU node is left")
    story.claim(
        "idle-nodes-gone",
        "nodes without pods are not paid for",
        expected=0,
        observed=len(kube.list("/api/v1/nodes", **GPU_NODES)),
    )


def events_come_twice_or_never(story: Narrator, system: System) -> None:
    kube = system.clusters[CLUSTER].kube
    wait(story, system.is_quiet, "the queues are empty")
    before, observed_before = _state_of_ours(kube), _last_pass(system, CLUSTER)
    for _ in range(5):
        system.send_create_event(CLUSTER, tags=TAGS)
    story.saw("the same event was sent five times more")
    wait(story, system.is_quiet, "all were handled")
    after = _state_of_ours(kube)
    story.claim(
        "duplicate-event-changes-nothing",
        f"reconciles ran again, and of {len(before)} objects of ours none was written",
        expected={"reconciled again": True, "written": []},
        observed={
            "reconciled again": _last_pass(system, CLUSTER) > observed_before,
            "written": sorted(name for name in before | after if before.get(name) != after.get(name)),
        },
    )
    story.saw(f"the record says: {_reason(system, CLUSTER)}")

    _prepare_later_chapters(system)
    system.start_control_plane(SECOND)
    system.aws.events.lose_next = 1
    system.create_cluster(SECOND, tags=LATER_TAGS)
    story.saw("a second cluster is created, and its event is lost on the way, as CloudTrail's may be")
    time.sleep(3)
    heard = system.record(SECOND) is not None
    system.aws.clock.advance(timedelta(hours=1))
    story.saw("an hour later the scheduled sweep reconciles every cluster")
    record = _stage(story, system, SECOND, "onboarded")
    story.claim(
        "lost-event-repaired",
        "nothing was heard of the cluster until the sweep, which onboarded it",
        expected={"heard before": False, "stage": "onboarded"},
        observed={"heard before": heard, "stage": record.get("stage")},
    )


def _prepare_later_chapters(system: System) -> None:
    """
    What takes its time begins meanwhile: who is still CREATING at the first look gets the next one a minute
    later, and another policy takes some passes to be taken in.
    """
    system.aws.client("eks").tag_resource(resourceArn=system.arn(CLUSTER), tags=LATER_TAGS)
    system.create_cluster("auto-mode", tags=TAGS, computeConfig={"enabled": True})
    system.create_cluster("config-map", tags=TAGS, accessConfig={"authenticationMode": "CONFIG_MAP"})
    system.start_control_plane("gate-off", node_overlay_gate=False)
    system.create_cluster("gate-off", tags=TAGS)
    demo_takeover.prepare(system)


def clusters_that_must_stay_unchanged(story: Narrator, system: System) -> None:
    blind = system.clusters["gate-off"]
    for name, why in (
        ("auto-mode", "EKS Auto Mode brings a device plugin of its own"),
        ("config-map", "its authentication mode knows no access entries, and switching it has no way back"),
        ("gate-off", "Karpenter's NodeOverlay gate is off: it would accept our overlays and ignore them"),
    ):
        record = _stage(story, system, name, "blocked")
        story.claim(
            f"refused-{name}",
            why,
            expected={"stage": "blocked", "remedy told": True},
            observed={"stage": record.get("stage"), "remedy told": _remedies(record) != []},
        )
        for remedy in _remedies(record):
            story.aside(f"What to do: {remedy}")
    left = [item["metadata"]["name"] for kind in KINDS_OF_OURS for item in blind.kube.list(kind, **OURS)]
    story.claim("refused-untouched", "the blocked cluster has nothing of ours", expected=[], observed=left)


def _report_record(story: Narrator, record: Mapping[str, Any]) -> None:
    story.saw(f"[{record['stage']}] {record['reason']}")
    for change in record["changed"]:
        story.saw(f"    {change}")


def _reason(system: System, name: str) -> str:
    record = system.record(name)
    return str(record["reason"]) if record else "nothing"


def _last_pass(system: System, name: str) -> str:
    """When the newest pass over a cluster ended, ISO 8601."""
    return str((system.record(name) or {}).get("at", ""))


def _stage(
    story: Narrator,
    system: System,
    name: str,
    stage: str,
    saw: Callable[[dict[str, Any]], None] | None = None,
) -> Mapping[str, Any]:
    """The record once it says `stage`; else what there is, so that the claim tells it."""
    try:
        record = system.wait_for_stage(name, stage, within_seconds=180, saw=saw or (lambda record: None))
    except TimeoutError as late:
        story.saw(str(late))
        return system.record(name) or {}
    if saw is None:
        story.saw(f"{name}: [{record['stage']}] {record['reason']}")
    return record


def _remedies(record: Mapping[str, Any]) -> list[str]:
    return [str(finding["remedy"]) for finding in record.get("findings", []) if finding.get("remedy")]


def _operator_status(kube: KubeClient) -> list[str]:
    secrets = kube.list("/api/v1/namespaces/gpu-operator/secrets", **HELM_RELEASES)
    return [secret["metadata"]["labels"]["status"] for secret in secrets]


def _state_of_ours(kube: KubeClient) -> dict[str, str]:
    """What a write to an object of ours changes: its generation where it has one, else its version."""
    state = {}
    for kind in KINDS_OF_OURS:
        for item in kube.list(kind, **OURS):
            metadata = item["metadata"]
            name = f"{kind.rsplit('/', 1)[-1]}/{metadata['name']}"
            state[name] = str(metadata.get("generation") or metadata["resourceVersion"])
    for secret in kube.list("/api/v1/namespaces/gpu-operator/secrets", **HELM_RELEASES):
        state[f"release/{secret['metadata']['name']}"] = secret["metadata"]["resourceVersion"]
    return state
