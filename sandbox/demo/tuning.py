"""
The demo's chapter on tuning: in one cluster N grows, in the other its canary fails; then idle nodes go, N
shrinks, and somebody's edit is put back.

Everything is done by the deployed functions on the real control planes. Simulated are what CloudWatch
measured (public traces), when an alarm goes off (nothing evaluates alarms here), and what people do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import follow, wait
from sandbox.demo.tuned_cluster import TunedCluster, most_that_fit
from sandbox.demo.witness import Witness
from sandbox.system import System

PROMISED = (
    "thin-evidence-keeps-n",
    "grow-replaces-no-node",
    "canary-reverts",
    "new-slices-are-used",
    "alarm-wakes-tuner",
    "idle-alarm-consolidates",
    "shrink-kills-no-pod",
    "foreign-edit-told",
)
L4_MIB, FULL_MIB = 23_034, 21_000
EDITOR = "kubectl-edit"
# Looks of a witness, fewer than which would say little.
OFTEN = 20
# Kubernetes tells when a container ended to the second: later than the beginning of the canary's second.
_A_SECOND_LATER = 1.1


def show(story: Narrator, system: System) -> None:
    one, two = TunedCluster(system, "gpu-1"), TunedCluster(system, "gpu-2")
    _nothing_is_measured(story, system, one, two)
    _a_week_is_measured(story, system, one, two)
    _n_grows_or_not(story, one, two)
    _idle_nodes_go(story, system, one)
    _n_shrinks(story, one)
    _a_user_edits(story, one)


def _nothing_is_measured(story: Narrator, system: System, one: TunedCluster, two: TunedCluster) -> None:
    story.show(
        """N is how many pods share a GPU. It began at 4, a guess. What is right depends on what the pods do:
        too low wastes GPUs, too high makes pods slow, or kills them for want of memory. Both clusters now
        have the policy `day`, in which hours are seconds, and a team deploys five small models to each. What
        Slicewise records about a cluster is printed as "Slicewise:", with nodes called 1, 2 and so on."""
    )
    for cluster in (one, two):
        cluster.scale(5)
    wait(
        story, lambda: one.runs(5) and two.runs(5), "in gpu-1 and gpu-2 five pods run: 4 and 1, on two nodes"
    )
    wait(story, system.is_quiet, "every message before has been handled")
    story.saw("an engineer runs: slicewise tune gpu-1")
    one.ask_for_a_pass()
    for line in _news(one):
        story.saw(line)
    detail = one.detail()
    story.claim(
        "thin-evidence-keeps-n",
        "without a day of measurements N does not rise, however idle the pods look",
        expected={"decided": 4, "N": 4},
        observed={"decided": detail.get("after"), "N": one.n()},
    )


def _a_week_is_measured(story: Narrator, system: System, one: TunedCluster, two: TunedCluster) -> None:
    points = one.a_week_is_measured() + two.a_week_is_measured()
    story.saw(
        f"a week passes; CloudWatch now has {points:,} points of what the GPUs did (from public traces)"
    )
    wait(story, system.is_quiet, "no message is on its way, so no reconcile is due")
    before = one.looked_at(), two.looked_at()
    story.saw("the hourly sweep comes")
    system.sweep()
    wait(
        story,
        lambda: one.looked_at() > before[0] and two.looked_at() > before[1],
        "Slicewise reconciles both clusters",
        within_seconds=60,
    )
    story.aside("To see why, an engineer runs `slicewise explain gpu-1`:")
    for line in one.explain():
        story.quote(line)


def _n_grows_or_not(story: Narrator, one: TunedCluster, two: TunedCluster) -> None:
    story.aside(
        """N is changed on the nodes that run. First one node alone gets the new N: the canary. If it does
        well, the others follow, then the slices that Karpenter expects. In gpu-1 all goes well. In gpu-2 a
        pod on the canary will run out of memory."""
    )
    killed: list[str] = []

    def memory_runs_out() -> None:
        if not killed and (canary := two.first_node_with("ts-5")):
            time.sleep(_A_SECOND_LATER)
            killed.append(two.kill_for_memory(canary))
            story.saw(f"gpu-2: on the canary, pod {killed[0]} is killed: out of memory")

    with Witness(one) as good, Witness(two) as bad:
        _follow(
            story,
            {one: lambda: one.is_at(5), two: lambda: two.locked() == ["5"] and two.is_at(4)},
            meanwhile=memory_runs_out,
        )
    _one_grew(story, one, good)
    _two_reverted(story, two, bad)
    one.scale(10)
    wait(story, lambda: one.runs(10), "gpu-1: five more pods come, and run")
    story.claim(
        "new-slices-are-used",
        "10 pods at 5 a GPU need 10 / 5 = 2 nodes: those that were there",
        expected=2,
        observed=one.nodes(),
    )


def _one_grew(story: Narrator, one: TunedCluster, good: Witness) -> None:
    story.claim(
        "grow-replaces-no-node",
        "N became 5 on nodes that ran: Karpenter replaced none, and no pod was moved or restarted",
        expected={
            "N": 5,
            "nodes replaced": [],
            "ever to be replaced": [],
            "pods gone": {},
            "short of slices": {},
            "watched": True,
        },
        observed={
            "N": one.n(),
            "nodes replaced": good.deleted_nodes,
            "ever to be replaced": sorted(good.drifted),
            "pods gone": good.deleted_pods,
            "short of slices": good.short,
            "watched": good.looks > OFTEN,
        },
    )


def _two_reverted(story: Narrator, two: TunedCluster, bad: Witness) -> None:
    story.claim(
        "canary-reverts",
        "one node tried 5 and broke a promise: it has its 4 back, no other saw 5, which is locked for a day",
        expected={"nodes that tried": 1, "N": 4, "locked": ["5"], "nodes replaced": [], "pods gone": {}},
        observed={
            "nodes that tried": len(bad.carriers.get("ts-5", ())),
            "N": two.n(),
            "locked": two.locked(),
            "nodes replaced": bad.deleted_nodes,
            "pods gone": bad.deleted_pods,
        },
    )


def _idle_nodes_go(story: Narrator, system: System, one: TunedCluster) -> None:
    story.aside(
        """Evening. Karpenter would leave half-empty nodes alone for the policy's 30 minutes, so that nothing
        flaps. When GPUs do nothing, that is too long."""
    )
    one.scale(5)
    wait(story, lambda: one.runs(5), "gpu-1: five pods are left, on two nodes")
    wait(story, system.is_quiet, "no message is on its way, so no reconcile is due")
    before, looked_at = one.nodes(), one.looked_at()
    time.sleep(2)
    looked_by_itself = one.looked_at() != looked_at
    one.alarm("idle", "ALARM", "GPUs did nothing for half an hour")
    story.saw("gpu-1: the alarm `idle` goes off")
    wait(story, lambda: one.looked_at() > looked_at, "its event wakes Slicewise", within_seconds=60)
    story.claim(
        "alarm-wakes-tuner",
        "no user asked and no timer ran: the alarm, which Slicewise had made, caused the reconcile",
        expected={"alarms": ["full", "idle"], "before it": False, "after it": True},
        observed={
            "alarms": one.alarms(),
            "before it": looked_by_itself,
            "after it": one.looked_at() > looked_at,
        },
    )
    _nodes_consolidate(story, one, before)


def _nodes_consolidate(story: Narrator, one: TunedCluster, before: int) -> None:
    wait(
        story,
        lambda: one.idle_nodes_go_after() == "5s",
        "gpu-1: Karpenter may now take nodes after 5 s, as the policy says for idle hours",
    )
    wait(story, lambda: one.nodes() == 1 and one.runs(5), "gpu-1: the five pods share one node")
    after = one.nodes()
    one.alarm("idle", "OK", "GPUs are used again")
    wait(
        story, lambda: one.idle_nodes_go_after() == "30m", "gpu-1: the alarm is over, and 30 minutes are back"
    )
    story.claim(
        "idle-alarm-consolidates",
        "an idle alarm let the superfluous node go within the policy's bound, and the setting came back",
        expected={"nodes before": 2, "nodes after": 1, "then": "30m"},
        observed={"nodes before": before, "nodes after": after, "then": one.idle_nodes_go_after()},
    )


def _n_shrinks(story: Narrator, one: TunedCluster) -> None:
    story.aside("The next morning more pods come, and the models on one GPU have grown.")
    one.a_night_passes()
    one.scale(8)
    wait(story, lambda: one.runs(8), "gpu-1: eight pods run: 5 and 3, on two nodes")
    one.a_week_is_measured()
    with Witness(one) as witness:
        on, was = one.pods_by_node(), one.where_pods_run()
        full, pods = max(on.items(), key=lambda found: found[1])
        fits = most_that_fit(L4_MIB, FULL_MIB, pods)
        unmanaged = {pod for pod, node in was.items() if on[node] <= fits}
        one.fill_memory(full, FULL_MIB)
        one.news()
        story.saw(
            f"gpu-1: {pods} pods use {FULL_MIB:,} MiB of a GPU's {L4_MIB:,}: with a tenth kept free, {fits} "
            "such pods fit"
        )
        one.alarm("full", "ALARM", "memory is nearly full")
        story.saw("gpu-1: the alarm `full` goes off")
        _follow(story, {one: lambda: one.is_at(fits)})
        there = one.where_pods_run()
    moved = sorted(pod for pod in unmanaged if there.get(pod) != was[pod])
    _nothing_was_killed(story, one, witness, fits, {"pods that fit": len(unmanaged), "of them moved": moved})


def _nothing_was_killed(
    story: Narrator, one: TunedCluster, witness: Witness, fits: int, where_they_fit: dict[str, object]
) -> None:
    story.claim(
        "shrink-kills-no-pod",
        f"N became {fits}: pods stay on a node where they fit, the others are moved under the pool's budget, "
        "and no node ever had fewer slices than pods",
        expected={
            "N": fits,
            "pods that fit": 3,
            "of them moved": [],
            "short of slices": {},
            "watched": True,
            "failed": [],
            "run": 8,
        },
        observed={
            "N": one.n(),
            **where_they_fit,
            "short of slices": witness.short,
            "watched": witness.looks > OFTEN,
            "failed": one.failed_pods(),
            "run": len(one.where_pods_run()),
        },
    )


def _a_user_edits(story: Narrator, one: TunedCluster) -> None:
    n = one.n()
    one.edit_overlay(64, EDITOR)
    story.saw("gpu-1: a user edits the NodeOverlay: Karpenter would believe that a GPU has 64 slices")
    findings = one.ask_for_a_pass().get("findings", [])
    reported = [finding["says"] for finding in findings if finding["code"] == "foreign-edit"]
    for says in reported:
        story.saw(f"gpu-1: Slicewise: {says}")
    story.claim(
        "foreign-edit-told",
        "the edit is reported with who made it, and reverted",
        expected={"edits told": 1, "of whom": True, "slices of a GPU": n},
        observed={
            "edits told": len(reported),
            "of whom": any(EDITOR in says for says in reported),
            "slices of a GPU": one.slices_known_to_karpenter(),
        },
    )


def _follow(
    story: Narrator,
    until: dict[TunedCluster, Callable[[], bool]],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Tell what the reconciles of these clusters say, until each is where it should come to."""

    def news() -> Iterator[str]:
        meanwhile()
        for cluster in until:
            yield from _news(cluster)

    follow(story, lambda: all(done() for done in until.values()), news, within_seconds=240)


def _news(cluster: TunedCluster) -> list[str]:
    news = cluster.news()
    return [f"{cluster.name}: Slicewise: {news}"] if news else []
