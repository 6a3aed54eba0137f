"""
The demo's night in a cluster: GPU workloads sleep, a person changes one, and all others wake as they were.

Everything is done by the deployed functions on the real control plane; a person speaks through the command.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.kube.labels import ASLEEP, POLICY_TAG, POOL_LABEL, ROLLOUT_ANNOTATION

from sandbox.artifacts import program
from sandbox.cluster.client import KubeClient, KubeError
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import catalog, samples
from sandbox.controllers.process import Controllers
from sandbox.controllers.stand_ins import PAUSED_REPLICAS, Keda, NotebookController, notebook
from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import GPU_NODES, PODS, Reasons, follow, slice_pods, wait
from sandbox.system import Cluster, System

PROMISED = (
    "one-refusal-stops-nobody",
    "job-finishes",
    "asleep-no-gpu-nodes",
    "asleep-rest-untouched",
    "woken-while-paused",
    "awake-on-time",
    "ray-sleeps",
    "keda-resumes",
    "awake-exactly",
    "person-wins",
)
SLEEPER = "/apis/rbac.authorization.k8s.io/v1/clusterroles/slicewise-sleeper"
WORKLOADS = ("/apis/apps/v1/deployments", "/apis/apps/v1/statefulsets", "/apis/apps/v1/daemonsets")
CRON_JOB = "/apis/batch/v1/namespaces/default/cronjobs/report"
NOTEBOOK = "/apis/apps/v1/namespaces/default/deployments/notebook"
LEDGER = "/apis/apps/v1/namespaces/default/deployments/ledger"
CHAT = "/apis/apps/v1/namespaces/default/deployments/chat"
SCALER = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/chat"
RAY = "/apis/ray.io/v1/namespaces/default/rayclusters/ray"
ADA = "/apis/kubeflow.org/v1/namespaces/default/notebooks/ada"
JOB = "/apis/batch/v1/namespaces/default/jobs/training"
# What sleeps by a switch of its own, so that annotations say as much as the spec.
OF_OTHER_CONTROLLERS = (SCALER, RAY, ADA)
POOL = "/apis/karpenter.sh/v1/nodepools/slicewise-shared-l4"
OVERLAYS = "/apis/karpenter.sh/v1alpha1/nodeoverlays"
RAY_WORKERS = 2
# Longer than Karpenter collects pods before it starts nodes for them.
KARPENTER_ACTS_WITHIN_SECONDS = 4.0
# Between what a person says and the waking that follows from it.
BEFORE_WAKING = timedelta(seconds=10)


def show(story: Narrator, system: System) -> None:
    story.show(
        """Most GPUs are not used at night, and an idle GPU costs what a busy one does. A policy can say when
        GPU workloads sleep. Each object is recorded before it is changed, and restored in the morning, except
        for what users have changed meanwhile. In AWS an EventBridge schedule starts the next change of a
        cluster; here an engineer says when, with the command that the demo runs."""
    )
    cluster = system.clusters["gpu-1"]
    with ExitStack() as ending:
        for says, part in _controllers(cluster.plane):
            ending.enter_context(part)
            story.saw(says)
        night = _Night(story, system, cluster)
        night.evening()
        night.asleep()
        night.a_team_works_late()
        night.morning()


def _controllers(plane: ControlPlane) -> Iterator[tuple[str, AbstractContextManager[Any]]]:
    """What acts on the objects of the night beside Kubernetes, and what of it is real."""
    real = "{} runs in the cluster, the real one, built from its release"
    yield real.format("KubeRay's operator"), Controllers.start(plane, "kuberay")
    if program.is_built(catalog.KEDA.program):
        yield real.format("KEDA's operator"), Controllers.start(plane, "keda")
    else:
        says = "KEDA is stood in for, by what it does with a pause (python -m sandbox build --with keda)"
        yield says, Keda(plane)
    yield (
        "Kubeflow's notebook controller is stood in for, by what it does with a stop",
        NotebookController(plane),
    )


class _Night:
    """
    Attributes:
        until: When the sleep ends, as a person said last.
        specs: Of all that sleeps, as they were in the evening.
        rest: Of all else, what a write to it would have changed.
        late: What was seen of the notebook at night.
        ray: What was seen of the RayCluster at night.
        counts: Of KEDA's target on its way back, as often as it was looked at.
    """

    def __init__(self, story: Narrator, system: System, cluster: Cluster):
        self.story, self.system, self.cluster = story, system, cluster
        self.kube: KubeClient = cluster.kube
        self.until = datetime.now(UTC)
        self.specs: dict[str, Any] = {}
        self.rest: dict[str, str] = {}
        self.late: dict[str, Any] = {}
        self.ray: dict[str, Any] = {}
        self.counts: list[int] = []

    # The chapters of the night

    def evening(self) -> None:
        """Teams have workloads of several kinds on GPUs, and a website that needs none."""
        story, eks = self.story, self.system.aws.client("eks")
        self.system.aws.clock.follow_real_time()
        for item in _workloads():
            self.kube.apply(item)
        arn = self.system.arn(self.cluster.name)
        eks.tag_resource(resourceArn=arn, tags={POLICY_TAG: "night"})
        story.saw("the cluster is tagged with the policy `night`, which lets GPU workloads sleep")
        wait(story, self.all_run, "Deployments, StatefulSets, a RayCluster and a Notebook run on GPUs")
        wait(story, lambda: self.running("website") == 2, "a website runs without")
        wait(story, lambda: self.kube.find(SLEEPER) is not None, "onboarding gave the sleeper its few rights")
        wait(story, lambda: self.stage() == "awake", "off-hours looked: it is day")
        wait(story, self.is_tuned, "the NodePool is as the policy says, and tuning changes nothing in it")
        self.specs = self.sleeping()
        self.kube.apply(_training())
        wait(story, lambda: self.job_phases() == ["Running"], "a Job has begun to train, and takes hours")
        self.rest = self.others()

    def asleep(self) -> None:
        story, nodes, pods = self.story, len(self.gpu_nodes()), len(self.gpu_pods())
        self.deny_scaling_the_ledger()
        self.sleep_until(datetime.now(UTC) + timedelta(hours=10), "night")
        self.follow(lambda: bool(self.refusals()) and not self.awake_but_the_ledger())
        for says in self.refusals():
            story.aside(says)
        story.claim(
            "one-refusal-stops-nobody",
            "the ledger is named with the API server's words; all others sleep, the morning is scheduled",
            expected={"reported": 1, "others awake": [], "ledger's replicas": 1, "scheduled in time": True},
            observed={
                "reported": len(self.refusals()),
                "others awake": self.awake_but_the_ledger(),
                "ledger's replicas": self.replicas(LEDGER),
                "scheduled in time": self.scheduled() <= self.until,
            },
        )
        self.allow_scaling_the_ledger()
        self.follow(lambda: self.stage() == "asleep" and len(self.gpu_nodes()) == 1)
        self.let_the_job_finish()
        self.ray = {"suspended": self.kube.get(RAY)["spec"].get("suspend"), "pods at night": self.ray_pods()}
        story.claim(
            "asleep-no-gpu-nodes",
            f"{pods} pods on {nodes} GPU nodes: workloads went to 0, the CronJob is suspended, nodes went",
            expected={"GPU nodes": 0, "pods on GPUs": 0, "replicas": 0, "CronJob suspended": True},
            observed={
                "GPU nodes": len(self.gpu_nodes()),
                "pods on GPUs": len(self.gpu_pods()),
                "replicas": sum(spec.get("replicas", 0) for spec in self.sleeping().values()),
                "CronJob suspended": self.kube.get(CRON_JOB)["spec"].get("suspend"),
            },
        )
        now = self.others()
        story.claim(
            "asleep-rest-untouched",
            f"of {len(self.rest)} other objects, pods and nodes none was written, moved or ended",
            expected=[],
            observed=sorted(name for name in self.rest | now if self.rest.get(name) != now.get(name)),
        )

    def let_the_job_finish(self) -> None:
        """It is work, not a service: it runs to completion, and its node goes with it."""
        reported = [one for one in self.record().get("findings", []) if one["code"] == "job-runs"]
        for one in reported:
            self.story.aside(f"{one['says']} {one['remedy']}")
        seen = {"told": len(reported), "runs": self.job_phases(), "on nodes": len(self.gpu_nodes())}
        [pod] = self.kube.list(PODS, labelSelector="job-name=training")
        done = {"status": {"phase": "Succeeded"}}
        self.kube.merge(f"{PODS}/{pod['metadata']['name']}/status", done)
        wait(self.story, lambda: not self.gpu_nodes(), "the Job has ended, and its node is removed")
        self.reconcile()
        wait(self.story, self.is_closed, "the next reconcile has closed the NodePool that was open for it")
        status = self.kube.get(JOB).get("status", {})
        self.story.claim(
            "job-finishes",
            "at night the Job ran on, on its own node; it ended by itself, once, and the node went",
            expected={"told": 1, "runs": ["Running"], "on nodes": 1, "succeeded": 1, "failed": 0, "nodes": 0},
            observed={
                **seen,
                "succeeded": status.get("succeeded", 0),
                "failed": status.get("failed", 0),
                "nodes": len(self.gpu_nodes()),
            },
        )

    def a_team_works_late(self) -> None:
        story = self.story
        self.kube.merge(f"{NOTEBOOK}?fieldManager=kubectl-scale", {"spec": {"replicas": 2}})
        story.saw("in the middle of the night a user scales the notebook from 0 to 2")
        time.sleep(KARPENTER_ACTS_WITHIN_SECONDS)
        found = self.reconcile().get("findings", [])
        reported = [one for one in found if one["code"] == "woken-by-somebody"]
        for one in reported:
            story.aside(f"{one['says']} {one['remedy']}")
        self.late = {
            "told": bool(reported),
            "left at": self.replicas(NOTEBOOK),
            "nodes": len(self.gpu_nodes()),
        }

    def morning(self) -> None:
        story, lead = self.story, self.until - self.scheduled()
        minutes = round(lead / timedelta(minutes=1))
        story.saw(f"by what its nodes took to start, waking begins {minutes} min before people come")
        opening = datetime.now(UTC) + lead + BEFORE_WAKING
        self.sleep_until(opening, "early")
        self.slicewise("pause", self.cluster.name, "--reason", "the network is being moved")
        self.follow(self.all_run_again)
        all_run = self.all_run()
        self.report_how_soon(opening, lead, minutes, all_run)
        for one in self.system.details(self.cluster.name, "off-hours"):
            if one.get("told"):
                story.saw(f"the record has what the sleep has saved: {one['told']}")
        # At the opening, and not before, the CronJob may start what it missed.
        self.follow(lambda: self.stage() == "awake")
        story.claim(
            "woken-while-paused",
            "the cluster is paused since before the waking began, and nothing in it still sleeps",
            expected={"paused": True, "pods run": True, "still asleep": []},
            observed={
                "paused": str(self.record().get("reason")).startswith("paused: "),
                "pods run": all_run,
                "still asleep": self.still_asleep(),
            },
        )
        self.slicewise("resume", self.cluster.name)
        self.report_what_other_controllers_did()
        self.report_what_came_back()

    def report_how_soon(self, opening: datetime, lead: timedelta, minutes: int, all_run: bool) -> None:
        ran, first = datetime.now(UTC), self.first_gpu_node()
        self.story.claim(
            "awake-on-time",
            f"all pods ran {(opening - ran).total_seconds():.0f} s before the opening time; no node came "
            f"sooner than {minutes} min before it",
            expected={"all run": True, "in time": True, "not too soon": True},
            observed={
                "all run": all_run,
                "in time": ran <= opening,
                # Kubernetes keeps whole seconds.
                "not too soon": first is not None and first >= opening - lead - timedelta(seconds=1),
            },
        )

    def report_what_came_back(self) -> None:
        story = self.story
        now, marks = self.sleeping(), self.kube.get(POOL)["metadata"].get("annotations", {})
        story.claim(
            "awake-exactly",
            f"the specs of {len(self.specs)} workloads, of CronJob and NodePool too, are what they were",
            expected={"differ": [], "marked as asleep": False},
            observed={
                "differ": _differing_fields(self.specs, now),
                "marked as asleep": ASLEEP in marks,
            },
        )
        story.claim(
            "person-wins",
            "the notebook stayed as the person had left it, started no GPU at night, and runs so now",
            expected={"told": True, "left at": 2, "nodes": 0, "in the morning": 2, "pods": 2},
            observed={
                **self.late,
                "in the morning": self.replicas(NOTEBOOK),
                "pods": self.running("notebook"),
            },
        )

    def report_what_other_controllers_did(self) -> None:
        ray, scaler = self.kube.get(RAY), self.kube.get(SCALER)
        self.story.claim(
            "ray-sleeps",
            "the RayCluster was suspended by its own field, and came back with head and workers",
            expected={
                "suspended": True,
                "pods at night": 0,
                "pods": 3,
                "state": "ready",
                "field": self.specs[RAY].get("suspend", "none"),
            },
            observed={
                **self.ray,
                "pods": self.ray_pods(),
                "state": ray.get("status", {}).get("state"),
                "field": ray["spec"].get("suspend", "none"),
            },
        )
        self.story.claim(
            "keda-resumes",
            "what KEDA scales came back at the count that it had, not at KEDA's minimum of 1, and unpaused",
            expected={"counts on the way back": [0, 3], "paused": "no"},
            observed={
                "counts on the way back": list(dict.fromkeys(self.counts)),
                "paused": scaler["metadata"].get("annotations", {}).get(PAUSED_REPLICAS, "no"),
            },
        )

    # What people say and ask for

    def sleep_until(self, until: datetime, reason: str) -> None:
        self.until = until.replace(microsecond=0)
        self.slicewise("sleep", self.cluster.name, "--until", self.until.isoformat(), "--reason", reason)

    def deny_scaling_the_ledger(self) -> None:
        """A policy of the cluster that somebody wrote for the day, and forgot."""
        for item in _denial():
            self.kube.apply(item)
        self.story.saw("an admission policy of the cluster says: the ledger has one replica at least")
        wait(self.story, self.is_denied, "the API server enforces it")

    def allow_scaling_the_ledger(self) -> None:
        for item in _denial():
            self.kube.delete(self.kube.path(item))
        wait(self.story, lambda: not self.is_denied(), "the policy is deleted, and Ada asks again")
        self.sleep_until(self.until, "night")

    def slicewise(self, *arguments: str) -> None:
        """The command, as an operator runs it."""
        done = self.system.slicewise(*arguments, user="ada")
        self.story.saw(f"Ada says: slicewise {' '.join(arguments)}")
        for line in (done.stdout or done.stderr).splitlines():
            self.story.quote(line)

    def reconcile(self) -> Mapping[str, Any]:
        """Ask for a pass by hand; its record."""
        before = self.record().get("at")
        body = {"slicewise": 1, "cluster": self.cluster.name, "reason": "the demo"}
        self.system.send_message("OffHoursQueueUrl", body)
        deadline = time.monotonic() + 60
        while self.record().get("at") == before and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.record()

    def follow(self, done: Callable[[], bool]) -> None:
        """Each reconcile in its words, until `done`."""
        follow(self.story, done, Reasons(self.record).news)

    # What is seen

    def record(self) -> dict[str, Any]:
        return self.system.record(self.cluster.name, "off-hours") or {}

    def stage(self) -> str:
        return str(self.record().get("stage", ""))

    def scheduled(self) -> datetime:
        """When EventBridge Scheduler will have the cluster looked at."""
        scheduler = self.system.aws.client("scheduler")
        group = self.system.outputs["ScheduleGroup"]
        [found] = scheduler.list_schedules(GroupName=group)["Schedules"]
        at = scheduler.get_schedule(GroupName=group, Name=found["Name"])["ScheduleExpression"]
        return datetime.strptime(at, "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC)

    def is_denied(self) -> bool:
        try:
            self.kube.merge(f"{LEDGER}/scale?dryRun=All", {"spec": {"replicas": 0}})
        except KubeError as error:
            return error.status == 422
        return False

    def refusals(self) -> list[str]:
        """What the newest record says is refused."""
        found = self.record().get("findings", [])
        return [f"{one['says']} {one['remedy']}" for one in found if one["code"] == "change-refused"]

    def awake(self) -> list[str]:
        """Workloads that have replicas, without the notebook."""
        return sorted(name for name, spec in self.sleeping().items() if spec.get("replicas", 0) > 0)

    def awake_but_the_ledger(self) -> list[str]:
        return [name for name in self.awake() if name != "deployments/ledger"]

    def still_asleep(self) -> list[str]:
        had_replicas = {name for name, spec in self.specs.items() if spec.get("replicas", 0) > 0}
        return sorted(had_replicas - set(self.awake()))

    def sleeping(self) -> dict[str, Any]:
        """The specs of all that sleeps, by name; without the notebook, which a person changes."""
        found = {
            f"{kind.rsplit('/', 1)[-1]}/{item['metadata']['name']}": item["spec"]
            for kind in WORKLOADS
            for item in self.kube.list(kind)
            if _on_gpus(item["spec"]["template"]["spec"]) and item["metadata"]["name"] != "notebook"
        }
        found |= {path: self.kube.get(path)["spec"] for path in (CRON_JOB, POOL)}
        others = {path: self.kube.get(path) for path in OF_OTHER_CONTROLLERS}
        marks = {path: item["metadata"].get("annotations", {}) for path, item in others.items()}
        return found | {path: item["spec"] | {"annotations": marks[path]} for path, item in others.items()}

    def others(self) -> dict[str, str]:
        """Of all that has no business with sleep, what changes when somebody writes or ends it."""
        found = {}
        for kind in (*WORKLOADS, OVERLAYS):
            for item in self.kube.list(kind):
                if kind == OVERLAYS or not _on_gpus(item["spec"]["template"]["spec"]):
                    metadata = item["metadata"]
                    name = f"{kind.rsplit('/', 1)[-1]}/{metadata['name']}"
                    found[name] = f"{metadata['uid']} {metadata['generation']}"
        gpu_nodes = set(self.gpu_nodes())
        for node in self.kube.list("/api/v1/nodes"):
            if node["metadata"]["name"] not in gpu_nodes:
                found[f"nodes/{node['metadata']['name']}"] = node["metadata"]["uid"]
        for pod in self.kube.list("/api/v1/pods"):
            # Pods of DaemonSets come and go with their nodes.
            of_ray = "ray.io/cluster" in pod["metadata"].get("labels", {})  # its head
            if not (of_ray or _on_gpus(pod["spec"]) or pod["spec"].get("nodeName") in gpu_nodes):
                metadata = pod["metadata"]
                found[f"pods/{metadata['name']}"] = f"{metadata['uid']} {pod['status'].get('phase')}"
        return found

    def is_closed(self) -> bool:
        return self.kube.get(POOL)["spec"].get("limits", {}).get("nodes") == "0"

    def is_tuned(self) -> bool:
        pool = self.kube.get(POOL)
        changing = ROLLOUT_ANNOTATION in pool["metadata"].get("annotations", {})
        return not changing and pool["spec"]["disruption"]["consolidateAfter"] == "30m"

    def all_run(self) -> bool:
        """As many as in the evening, and what the person asks for."""
        specs = self.specs or self.sleeping()
        wanted = (
            sum(spec.get("replicas", 0) for spec in specs.values()) + self.replicas(NOTEBOOK) + RAY_WORKERS
        )
        phases = [pod["status"].get("phase") for pod in self.gpu_pods()]
        return phases == ["Running"] * wanted

    def all_run_again(self) -> bool:
        self.counts.append(self.replicas(CHAT))
        return self.all_run()

    def gpu_pods(self) -> list[dict[str, Any]]:
        """Of services, not of the Job."""
        pods = self.kube.list(PODS, labelSelector="!job-name")
        return [pod for pod in pods if _on_gpus(pod["spec"])]

    def job_phases(self) -> list[str]:
        return [
            pod["status"].get("phase", "") for pod in self.kube.list(PODS, labelSelector="job-name=training")
        ]

    def ray_pods(self) -> int:
        return len(self.kube.list(PODS, labelSelector="ray.io/cluster=ray"))

    def running(self, app: str) -> int:
        pods = self.kube.list(PODS, labelSelector=f"app={app}")
        return sum(pod["status"].get("phase") == "Running" for pod in pods)

    def replicas(self, path: str) -> int:
        return int(self.kube.get(path)["spec"]["replicas"])

    def gpu_nodes(self) -> list[str]:
        return [node["metadata"]["name"] for node in self.kube.list("/api/v1/nodes", **GPU_NODES)]

    def first_gpu_node(self) -> datetime | None:
        created = [
            node["metadata"]["creationTimestamp"] for node in self.kube.list("/api/v1/nodes", **GPU_NODES)
        ]
        return min(map(datetime.fromisoformat, created), default=None)


def _differing_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Of specs by name."""
    return [
        f"{path.rsplit('/', 1)[-1]}: {field}"
        for path, spec in before.items()
        for now in (after.get(path, {}),)
        for field in sorted(spec.keys() | now.keys())
        if spec.get(field) != now.get(field)
    ]


def _on_gpus(pod_spec: Mapping[str, Any]) -> bool:
    return POOL_LABEL in (pod_spec.get("nodeSelector") or {})


def _denial() -> tuple[dict[str, Any], ...]:
    """A ValidatingAdmissionPolicy and its binding."""
    group, name = "admissionregistration.k8s.io/v1", {"name": "ledger-has-a-replica"}
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["deployments/scale"],
    }
    validation = {
        "expression": "object.metadata.name != 'ledger' || (has(object.spec.replicas) && "
        "object.spec.replicas > 0)",
        "message": "the ledger has one replica at least",
    }
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}
    bound = {"policyName": name["name"], "validationActions": ["Deny"]}
    return (
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": name, "spec": spec},
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": name, "spec": bound},
    )


def _workloads() -> tuple[dict[str, Any], ...]:
    index = slice_pods("index", 2)
    index |= {"kind": "StatefulSet"}
    index["spec"]["serviceName"] = "index"
    website = slice_pods("website", 2)
    pod = website["spec"]["template"]["spec"]
    website["spec"]["template"]["spec"] = {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "server", "image": pod["containers"][0]["image"]}],
    }
    template = copy.deepcopy(slice_pods("report", 1)["spec"]["template"])
    template["spec"]["restartPolicy"] = "Never"
    report = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report", "namespace": "default"},
        "spec": {"schedule": "0 4 1 1 *", "jobTemplate": {"spec": {"template": template}}},
    }
    services = (("search", 4), ("notebook", 1), ("ledger", 1), ("chat", 3))
    return (
        *(slice_pods(name, pods) for name, pods in services),
        index,
        website,
        report,
        _scaler(),
        samples.ray_cluster("ray", RAY_WORKERS, worker=slice_pods("any", 1)["spec"]["template"]["spec"]),
        notebook("ada", slice_pods("any", 1)["spec"]["template"]["spec"]),
    )


def _scaler() -> dict[str, Any]:
    """Its minimum is 1, and load has made it 3: a CPU trigger starts nothing from 0 by itself."""
    trigger = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}
    spec = {
        "scaleTargetRef": {"name": "chat"},
        "minReplicaCount": 1,
        "maxReplicaCount": 9,
        "triggers": [trigger],
    }
    metadata = {"name": "chat", "namespace": "default"}
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": spec}


def _training() -> dict[str, Any]:
    template = copy.deepcopy(slice_pods("training", 1)["spec"]["template"])
    template["spec"]["restartPolicy"] = "Never"
    metadata = {"name": "training", "namespace": "default"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
