"""A whole cluster: its parts add up, and what is not known is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from slicewise.costs.prices import Prices

from cli import prices
from cli.assessment import report
from cli.assessment.assessment import (
    COULD_SHARE,
    UNALLOCATED,
    UNCOUNTED,
    ClusterListing,
    assess,
    contents_of,
    groups_of,
)
from cli.assessment.evidence import Evidence, evidence
from cli.assessment.rules import CLASSES, ONE_N, TWO, WHOLE
from cli.prices import given
from tests.support.assessed_cluster import by_day, node, of_a_pod, pod, series_of_a_week, three_teams
from tests.support.builders import NOW
from tests.support.tuning.dcgm_samples import one_gpu

GPU = "nvidia.com/gpu"
UTC = ZoneInfo("UTC")
# The price list that ships.
SMALL, QUAD, P4D = 0.8048, 4.6016, 21.957642


@pytest.fixture(scope="module")
def measured():
    found = three_teams()
    series = series_of_a_week()
    return assess(found, NOW, UTC, evidence(series, "prometheus", contents_of(found), groups_of(found), NOW))


@pytest.fixture(scope="module")
def asked():
    """Without metrics."""
    return assess(three_teams(), NOW, UTC)


def model(found, name="l4"):
    return next(one for one in found.models if one.name == name)


def parts(of_model):
    return {part.what: (part.pods, part.gpus, pytest.approx(part.usd_per_hour)) for part in of_model.parts}


def test_parts_are_who_holds_what_at_the_price_of_their_own_nodes(asked):
    assert parts(model(asked)) == {
        COULD_SHARE: (7, 7, 7 * SMALL),
        "more-than-one-gpu": (1, 2, QUAD / 2),
        UNALLOCATED: (0, 2, QUAD / 2),
    }
    assert parts(model(asked, "a100-40gb")) == {
        "mig": (2, Fraction(2, 7), P4D / 28),
        UNALLOCATED: (0, 8 - Fraction(2, 7), P4D * 27 / 28),
    }


def test_parts_add_up_to_models_and_models_to_the_cluster(asked):
    for one in asked.models:
        assert sum(part.gpus for part in one.parts) == one.gpus
        assert sum(part.usd_per_hour for part in one.parts) == pytest.approx(one.usd_per_hour)
        assert sum(workload.gpus for workload in one.workloads) == one.gpus - parts(one)[UNALLOCATED][1]
    assert asked.gpus == 19
    assert asked.usd_per_hour == pytest.approx(7 * SMALL + QUAD + P4D)


def test_rules_keep_the_machines_of_pods_that_must_not_share(measured):
    """Seven pods on machines of one GPU, and two GPUs of one machine of four, which comes whole."""
    l4 = model(measured)

    assert {rule: l4.gpus_under(rule) for rule in (WHOLE, TWO, ONE_N, CLASSES)} == {
        WHOLE: 7 + 4,
        TWO: 4 + 4,
        ONE_N: 7 + 4,  # the greedy pod and any other do not fit
        CLASSES: 1 + 2 + 4,
    }
    assert l4.saved_per_hour(CLASSES) == pytest.approx(4 * SMALL)
    assert l4.saved_per_hour(WHOLE) == pytest.approx(0, abs=1e-9)


def test_pods_come_on_the_smallest_machine_on_which_such_pods_run_today():
    """Five pods, one on a machine of one GPU: so five of those, as the suggested policy says."""
    quad = node("q", "g6.12xlarge", {GPU: 4})
    pods = (pod("b-0", "s"), *(pod(f"a-{i}", "q") for i in range(4)))

    found = model(assess(ClusterListing("c", "c", nodes=(node("s"), quad), pods=pods), NOW, UTC))

    assert found.usd_under(WHOLE) == pytest.approx(5 * SMALL)


def test_greedy_allocators_are_named(measured):
    greedy = [one.workload.name for one in model(measured).workloads if one.is_greedy]

    assert greedy == ["vllm"]
    assert "--gpu-memory-utilization" in model(measured).rules.choice.advice


def test_what_workloads_use_is_what_was_measured_of_them(measured):
    chat = next(one for one in model(measured).workloads if one.workload.name == "chat")

    assert (chat.pods, chat.gpus, chat.peak_mib) == (6, 6, 6000)
    # 14 hours of a day, of five days in seven.
    assert chat.busy == pytest.approx(0.1 * 14 / 24 * 5 / 7, rel=0.02)


def test_unused_hours_cost_what_the_nodes_that_were_measured_cost(measured):
    assert measured.unused.gpus == 7
    assert measured.unused_usd_per_hour == pytest.approx(
        7 * SMALL * measured.unused.unused / measured.unused.measured
    )


def test_without_metrics_it_says_what_can_be_said(asked):
    reported = report.text([asked])

    assert model(asked).gpus_under(TWO) == 4 + 4
    assert model(asked).gpus_under(ONE_N) is None
    assert "Metrics: none were named" in reported
    assert "Unused hours: not known without measurements" in reported


def test_metrics_that_cannot_be_read_are_reported_and_the_rest_is_said():
    found = assess(three_teams(), NOW, UTC, Evidence("prometheus", trouble="503 of http://x"))

    assert "503 of http://x" in report.text([found])
    assert model(found).gpus_under(WHOLE) == 11
    assert model(found).gpus_under(CLASSES) is None


def test_a_machine_without_a_price_leaves_dollars_unsaid_but_not_gpus():
    found = assess(ClusterListing("c", "c", nodes=(node("n", "p5e.48xlarge", {GPU: 8}),)), NOW, UTC)

    assert (found.gpus, model(found, "h200").saved_per_hour(WHOLE)) == (8, None)
    assert "no price is known of p5e.48xlarge" in report.text([found])
    assert "at least 0.00 $" in report.text([found])


def test_a_price_that_is_given_counts():
    plain = ClusterListing("c", "c", nodes=(node("n", "p5e.48xlarge", {GPU: 8}),))

    found = assess(plain, NOW, UTC, prices=Prices(given=given(["p5e.48xlarge=40"])))

    assert found.usd_per_hour == 40
    assert not any("price" in one for one in found.unknown)


def test_live_prices_stand_in_place_of_the_table_that_ships():
    live = Prices({"g6.xlarge": 1.5}, "live", is_live=True)

    found = assess(three_teams(), NOW, UTC, prices=live)

    assert found.usd_per_hour == 7 * 1.5
    assert model(found).unpriced == ("g6.12xlarge",), "a price of another day is none"


def test_spot_is_counted_on_demand_unless_its_price_is_given():
    spot = ClusterListing("c", "c", nodes=(node("n", labels={"karpenter.sh/capacity-type": "spot"}),))

    plain, reported = (
        assess(spot, NOW, UTC),
        assess(spot, NOW, UTC, prices=Prices(given={"g6.xlarge:spot": 0.3})),
    )

    assert (plain.usd_per_hour, reported.usd_per_hour) == (SMALL, 0.3)
    assert any("1 Spot node" in one for one in plain.unknown)
    assert not any("Spot" in one for one in reported.unknown)


@pytest.mark.parametrize(
    "text", ["g6.xlarge", "g6.xlarge=", "g6.xlarge=-1", "=3", "g6.xlarge=nan", "xlarge=1"]
)
def test_a_price_that_is_none_is_refused_with_what_to_write(text):
    with pytest.raises(ValueError, match=r"such as g6\.xlarge=0\.62"):
        given([text])


def test_nodes_that_do_not_say_how_many_gpus_they_have_are_a_part_of_their_own():
    found = assess(ClusterListing("c", "c", nodes=(node("a"), node("b", "g6.12xlarge", {}))), NOW, UTC)

    assert parts(model(found)) == {UNCOUNTED: (0, 0, QUAD), UNALLOCATED: (0, 1, SMALL)}
    assert any("nothing says how many GPUs" in one for one in found.unknown)


def test_what_claims_hold_counts_as_theirs():
    claims = pod("dra-0", "n", asks={}, resourceClaims=[{"name": "gpu"}])
    quad = node("n", "g6.12xlarge", {GPU: 4})

    found = model(assess(ClusterListing("c", "c", nodes=(quad,), pods=(claims, pod("a-0", "n"))), NOW, UTC))

    assert parts(found) == {
        COULD_SHARE: (1, 1, QUAD / 4),
        "dra-claim": (1, 3, QUAD * 3 / 4),
        UNALLOCATED: (0, 0, 0),
    }


def test_slices_that_are_there_already_hold_parts_of_a_gpu():
    sliced = node("n", offers={GPU: 4}, labels={"nvidia.com/gpu.count": "1"})
    pods = tuple(pod(f"a-{i}", "n") for i in range(3))

    found = model(assess(ClusterListing("c", "c", nodes=(sliced,), pods=pods), NOW, UTC))

    assert parts(found) == {
        COULD_SHARE: (3, Fraction(3, 4), SMALL * 3 / 4),
        UNALLOCATED: (0, Fraction(1, 4), SMALL / 4),
    }
    assert found.saved_per_hour(WHOLE) == pytest.approx(-2 * SMALL), "whole GPUs would cost more than today"


def test_pods_that_wait_and_what_could_not_be_read_are_reported():
    found = ClusterListing(
        "c", "c", nodes=(node("a"),), pods=(pod("w-0", ""),), unread=("Context c may not list x.",)
    )

    assessed = assess(found, NOW, UTC)

    assert [one.key for one in assessed.waiting] == ["serving/w-0"]
    assert "Waiting for a node: 1 pod " in report.text([assessed])
    assert "Context c may not list x." in report.text([assessed])


def test_container_insights_reports_pods_that_are_alone_on_their_machine():
    found = ClusterListing(
        "c",
        "gpu-1",
        nodes=tuple(node(f"n-{i}") for i in range(6)),
        pods=tuple(pod(f"a-{i}", f"n-{i}") for i in range(6)),
    )
    series = [
        one for i in range(6) for one in one_gpu(busy=5, memory_mib=6000, slots=1, node=f"n-{i}", days=7)
    ]

    known = evidence(series, "container-insights", contents_of(found), groups_of(found), NOW)
    (l4,) = assess(found, NOW, UTC, known).models

    assert (l4.gpus_under(ONE_N), l4.estimated_pods) == (2, 0)


def test_pods_of_one_machine_that_container_insights_cannot_distinguish_are_reported():
    quad = node("q", "g6.12xlarge", {GPU: 4})
    found = ClusterListing("c", "gpu-1", nodes=(quad,), pods=tuple(pod(f"a-{i}", "q") for i in range(4)))
    series = [
        one
        for gpu in range(4)
        for one in one_gpu(memory_mib=6000, slots=None if gpu else 4, node="q", gpu=gpu, days=7)
    ]

    known = evidence(series, "container-insights", contents_of(found), groups_of(found), NOW)

    assert any("what each of 4 pods needs alone" in one for one in assess(found, NOW, UTC, known).unknown)


def test_several_clusters_are_summed_up(asked):
    assert report.text([asked, asked]).endswith("2 clusters: 38 GPUs, 64.39 $ an hour, 47,002 $ a month")
    assert "2 clusters" not in report.text([asked])


def test_a_cluster_without_gpus_says_so():
    assert "nothing to save" in report.text([assess(ClusterListing("c", "c"), NOW, UTC)])


def test_karpenter_that_is_missing_is_reported_and_one_that_is_unread_is_not():
    plain = replace(three_teams(), node_pools=())

    assert "Slicewise needs Karpenter" in report.text([assess(plain, NOW, UTC)])
    assert "Slicewise needs Karpenter" not in report.text([assess(three_teams(), NOW, UTC)])


def test_json_has_every_digit_and_adds_up(measured):
    reported = report.as_json(measured)

    assert sum(one["usd_per_hour"] for one in reported["models"]) == reported["usd_per_hour"]
    for one in reported["models"]:
        assert sum(part["usd_per_hour"] for part in one["parts"]) == pytest.approx(one["usd_per_hour"])
        assert sum(part["gpus"] for part in one["parts"]) == pytest.approx(one["gpus"])
    rule = {one["rule"]: one["gpus"] for one in reported["models"][1]["rules"]}
    assert rule[CLASSES] == 7


@pytest.mark.parametrize(
    ("machine", "offers", "spec"),
    [
        ("g6.xlarge", {}, {"asks": {}, "resourceClaims": [{"name": "gpu"}]}),
        ("p5.48xlarge", {"nvidia.com/mig-1g.10gb": 56}, {"asks": {"nvidia.com/mig-1g.10gb": 1}}),
    ],
)
def test_pods_on_a_node_that_gives_no_count_are_reported_like_others(machine, offers, spec):
    listing = ClusterListing("c", "c", nodes=(node("n", machine, offers),), pods=(pod("a-0", "n", **spec),))

    assert "nothing says how many GPUs 1 node of it have" in report.text([assess(listing, NOW, UTC)])


def test_nodes_that_worked_at_night_and_are_deleted_make_the_night_used():
    """As Karpenter has it: each night's node is another, and none of them is there by day."""
    found = ClusterListing("c", "c", nodes=(node("day"),), pods=(pod("chat-0", "day"),))

    def night(at):
        return 0.9 - by_day(0.9)(at)

    yesterday = NOW - timedelta(days=1)
    series = [
        *of_a_pod("chat-0", "day", by_day(0.4), 5000.0),
        *of_a_pod("batch-x7-abc12", "gone", night, 15_000.0, namespace="train", now=yesterday, days=6),
    ]

    known = evidence(series, "prometheus", contents_of(found), groups_of(found), NOW)
    assessed = assess(found, NOW, UTC, known)

    last_night = 10
    assert (assessed.unused.gpus, assessed.unused.unused, assessed.unused.asleep) == (2, last_night, ())
    assert assessed.unused_usd_per_hour == pytest.approx(last_night / 168 * SMALL)
    assert [one.name for one in assessed.unused.nodes] == ["day", "gone"]
    assert model(assessed).gpus == 1


def assessed_model(nodes, pods, series=(), name="l4"):
    found = ClusterListing("c", "gpu-1", nodes=tuple(nodes), pods=tuple(pods))
    known = evidence(series, "prometheus", contents_of(found), groups_of(found), NOW)
    return model(assess(found, NOW, UTC, known) if series else assess(found, NOW, UTC), name)


@pytest.mark.parametrize(
    ("machine", "offers", "asks", "pods", "gpus"),
    [
        # Four pods of three GPUs on four machines of four: no three machines have twelve for them.
        ("g6.12xlarge", {GPU: 4}, {GPU: 3}, 1, 4 * 4),
        # Seven pods on each of two machines, with an instance of which a GPU has one.
        (
            "p4d.24xlarge",
            {"nvidia.com/mig-4g.20gb": 8, "nvidia.com/mig-3g.20gb": 8},
            {"nvidia.com/mig-4g.20gb": 1},
            7,
            2 * 8,
        ),
    ],
)
def test_pods_that_must_not_share_keep_their_nodes(machine, offers, asks, pods, gpus):
    count = gpus // (4 if machine.startswith("g6") else 8)
    nodes = [node(f"n-{i}", machine, offers) for i in range(count)]
    on = [pod(f"t-{i}-{k}", f"n-{i}", ("Job", "t"), asks=asks) for i in range(count) for k in range(pods)]
    name = "l4" if machine.startswith("g6") else "a100-40gb"

    kept = assessed_model(nodes, on, name=name)
    assert (kept.gpus_under(WHOLE), kept.saved_per_hour(WHOLE)) == (gpus, 0)

    idle = assessed_model([*nodes, node("idle", machine, offers)], on, name=name)
    assert idle.gpus_under(WHOLE) == gpus, "what holds no pod is removed"


def test_a_pod_that_could_share_a_kept_machine_stays_on_it_under_whole_gpus():
    quad = node("q", "g6.12xlarge", {GPU: 4})
    pods = [pod("t-0", "q", ("Job", "t"), asks={GPU: 2}), pod("a-0", "q"), pod("a-1", "q")]

    found = assessed_model([quad], pods)

    assert (found.gpus_under(WHOLE), found.saved_per_hour(WHOLE)) == (4, 0)
    assert found.gpus_under(TWO) == 4 + 4, "a pool that shares has machines of its own"


def test_each_class_comes_in_machines_of_its_own():
    """Seven pods at three a GPU, one alone: three GPUs and one, each class in machines of four."""
    nodes = [node(f"q-{i}", "g6.12xlarge", {GPU: 4}) for i in range(2)]
    names = ["vllm-0", *(f"chat-{i}" for i in range(1, 8))]
    pods = [pod(name, f"q-{i // 4}") for i, name in enumerate(names)]
    series = [
        replace(one, labels={**one.labels, "gpu": str(i % 4), "UUID": f"GPU-{i}"})
        for i, name in enumerate(names)
        for one in of_a_pod(name, f"q-{i // 4}", 0.1, 5500.0 if i else 20_500.0)
    ]

    found = assessed_model(nodes, pods, series)

    assert found.rules.sizes == {3: 7, 1: 1}
    assert (found.rules.gpus(CLASSES), found.gpus_under(CLASSES)) == (4, 8)
    assert found.saved_per_hour(CLASSES) == 0


def test_gpus_for_which_pods_wait_are_not_saved():
    nodes = [node(f"n-{i}") for i in range(6)]
    pods = [pod("a-0", "n-0"), pod("a-1", "n-1")]

    assert assessed_model(nodes, pods).gpus_under(WHOLE) == 2
    assert assessed_model(nodes, [*pods, pod("w-0", "")]).gpus_under(WHOLE) == 3
    waiting = [pod(f"w-{i}", "") for i in range(9)]
    assert assessed_model(nodes, [*pods, *waiting]).gpus_under(WHOLE) == 6, "no more than there are"


@pytest.mark.parametrize(
    ("label", "value"),
    [("karpenter.sh/capacity-type", "reserved"), ("eks.amazonaws.com/capacityType", "CAPACITY_BLOCK")],
)
def test_reserved_nodes_are_counted_on_demand_unless_their_price_is_given(label, value):
    bought = ClusterListing("c", "c", nodes=(node("n", labels={label: value}),))

    plain = assess(bought, NOW, UTC)
    reported = assess(bought, NOW, UTC, prices=Prices(given=given(["g6.xlarge:reserved=0.2"])))

    assert (plain.usd_per_hour, reported.usd_per_hour) == (SMALL, 0.2)
    assert any("1 reserved node at the price on demand" in one for one in plain.unknown)
    assert not any("reserved" in one for one in reported.unknown)


def test_pods_that_are_being_deleted_are_no_demand():
    """Two hang on nodes that are away, beside their replacements."""
    nodes, pods = [node(f"n-{i}") for i in range(4)], [pod(f"a-{i}", f"n-{i}") for i in range(4)]
    for one in pods[:2]:
        one["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    found = assess(ClusterListing("c", "c", nodes=tuple(nodes), pods=tuple(pods)), NOW, UTC)

    assert (model(found).gpus_under(WHOLE), model(found).shareable_pods) == (2, 2)
    assert "Being deleted: 2 pods" in report.text([found])


def test_the_total_of_clusters_is_a_least_where_a_part_has_no_price(asked):
    unpriced = ClusterListing("c", "c", nodes=(node("n", "p5e.48xlarge", {GPU: 8}),))

    reported = report.text([asked, assess(unpriced, NOW, UTC)])

    assert reported.endswith("2 clusters: 27 GPUs, at least 32.19 $ an hour, at least 23,501 $ a month")


def test_a_type_that_the_table_lacks_can_have_a_price_where_a_node_is_of_it():
    assert prices.unknown({"p5e.48xlarge": 40, "g6.xlarge:spot": 1}, {"p5e.48xlarge"}) == []
    assert prices.unknown({"p5e.48xlarge": 40, "g6.xlrge:spot": 1}, set()) == ["g6.xlrge", "p5e.48xlarge"]


def test_a_node_that_gives_no_count_of_gpus_is_no_saving():
    found = assessed_model([node("a"), node("b", "g6.12xlarge", {})], [pod("a-0", "a")])

    assert (found.usd_under(WHOLE), found.saved_per_hour(WHOLE)) == (pytest.approx(SMALL + QUAD), 0)
