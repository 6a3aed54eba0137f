"""The demo's chapter on a cluster that a team runs already: what it has goes on, and stays when we leave."""

from __future__ import annotations

from slicewise.kube.labels import ORIGINAL_ANNOTATION, POLICY_TAG

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import running, wait
from sandbox.demo.team_cluster import VALUES, TeamCluster, differences
from sandbox.system import System

CLUSTER, PODS = "team-1", 2
TAGS = {POLICY_TAG: "takeover"}
PROMISED = ("adopt-keeps-theirs", "offboard-leaves-nothing")
_KINDS = (
    "/apis/karpenter.sh/v1/nodepools",
    "/apis/karpenter.sh/v1alpha1/nodeoverlays",
    "/api/v1/configmaps",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
)
_OURS = {"labelSelector": "app.kubernetes.io/managed-by=slicewise"}


def prepare(system: System) -> None:
    """What takes its time begins while other chapters are told."""
    TeamCluster(system.start_control_plane(CLUSTER)).prepare(PODS)


def show(story: Narrator, system: System) -> None:
    team = TeamCluster(system.clusters[CLUSTER])
    story.show(
        """A team runs GPU Operator under a name of its own, with a driver, slices and tolerations of its own,
        and a NodePool that keeps its nodes. The policy says to adopt both. All that is theirs is to go on as
        it is; and when the cluster is offboarded, nothing of Slicewise may remain."""
    )
    wait(story, lambda: running(team.kube) == PODS, f"{PODS} pods of the team's run, a GPU each")
    before, pods = team.everything(), team.pods()
    system.create_cluster(CLUSTER, tags=TAGS)
    _adopted(story, system, team, before, pods)
    _offboarded(story, system, team, before, pods)


def _adopted(story: Narrator, system: System, team: TeamCluster, before: dict, pods: dict[str, str]) -> None:
    system.wait_for_stage(CLUSTER, "onboarded", within_seconds=180)
    story.saw(f"{CLUSTER} is onboarded: its GPU Operator is joined")
    wait(
        story,
        lambda: ORIGINAL_ANNOTATION in team.node_pool()["metadata"].get("annotations", {}),
        "its NodePool is taken over, at one pod a GPU",
    )
    pool, was = team.node_pool()["spec"], before["NodePool"]["spec"]
    values = team.values()
    story.claim(
        "adopt-keeps-theirs",
        "disruption, budgets, limit and taints of the NodePool, driver, MIG strategy and tolerations of the "
        "operator are the team's; no pod was restarted",
        expected={
            "NodePool": was["disruption"],
            "limits": was["limits"],
            "taints": was["template"]["spec"]["taints"],
            "driver": VALUES["driver"],
            "MIG strategy": VALUES["mig"],
            "first tolerations": VALUES["daemonsets"]["tolerations"],
            "pods": pods,
            "slices a node": ["1"] * PODS,
        },
        observed={
            "NodePool": pool["disruption"],
            "limits": pool["limits"],
            "taints": pool["template"]["spec"]["taints"],
            "driver": values["driver"],
            "MIG strategy": values["mig"],
            "first tolerations": values["daemonsets"]["tolerations"][:2],
            "pods": team.pods(),
            "slices a node": team.offers(),
        },
    )


def _offboarded(
    story: Narrator, system: System, team: TeamCluster, before: dict, pods: dict[str, str]
) -> None:
    story.aside(f"The team wants to be on its own again: `slicewise offboard {CLUSTER}`.")
    for line in _command(system, "offboard", CLUSTER):
        story.quote(line)
    wait(story, lambda: not (_entries(system) or _records(system)), "Slicewise has left", within_seconds=240)
    left = [item["metadata"]["name"] for kind in _KINDS for item in team.kube.list(kind, **_OURS)]
    story.claim(
        "offboard-leaves-nothing",
        "the team's NodePool, nodes, configuration and release say what they said before, byte for byte; the "
        "pods ran on; of Slicewise no object, access entry or record is left",
        expected={"differ": [], "pods": pods, "of ours": [], "entries": [], "records": []},
        observed={
            "differ": differences(before, team.everything()),
            "pods": team.pods(),
            "of ours": left,
            "entries": _entries(system),
            "records": _records(system),
        },
    )


def _entries(system: System) -> list[str]:
    return list(system.aws.client("eks").list_access_entries(clusterName=CLUSTER)["accessEntries"])


def _records(system: System) -> list[str]:
    return [one for one in ("onboarding", "tuning", "off-hours") if system.record(CLUSTER, one)]


def _command(system: System, *arguments: str) -> list[str]:
    done = system.slicewise(*arguments)
    return (done.stdout + done.stderr).splitlines()
