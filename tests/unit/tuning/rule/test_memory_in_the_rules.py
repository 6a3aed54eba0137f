"""Memory that may grow lowers N, a class and what fits a request, and who grows too fast does not wait."""

import math
from dataclasses import replace

from slicewise.tuning.classes.rule import ClassPolicy, class_of, in_danger, reclassify
from slicewise.tuning.packing.placement import Request
from slicewise.tuning.packing.rule import PackingPolicy, part, repack, request_for, requests_for
from slicewise.tuning.rule.memory_growth import MemoryGrowth
from slicewise.tuning.rule.replicas import choose_replicas
from slicewise.tuning.usage.evidence import Grade, PodUse

from tests.support.tuning.memory_pods import DAY, fleet, pod

CARD = 22_888.0


def test_a_pools_n_leaves_room_for_growth_and_says_so():
    calm = [pod(f"p{i}", *[6000.0] * 7) for i in range(20)]
    grown = [pod(f"p{i}", *[6000.0] * 6, 6000.0 * (1.6 if i < 3 else 1)) for i in range(20)]
    grown = [PodUse(one.name, 6000.0, one.days, day_peaks_mib=one.day_peaks_mib) for one in grown]

    assert choose_replicas("p", calm, CARD).bounds[0].n == 3
    bound = choose_replicas("p", grown, CARD).bounds[0]
    assert bound.n == 2
    assert "may grow to" in bound.next_arithmetic
    assert "of 20 pods like it grew more in 5 days" in choose_replicas("p", grown, CARD).sentence


def test_siblings_in_a_pool_are_bounded_as_one():
    """Each pod grew by 80 % once in 60 days: two that do so apart find room, two at once do not."""

    def n(workload):
        days = [[1000.0] * (day + 3) + [1800.0] * (57 - day) for day in range(50)]
        pods = [pod(f"p{i}", *peaks, workload=workload(i), known=7000.0) for i, peaks in enumerate(days)]
        return choose_replicas("p", pods, CARD).bounds[0].n

    assert (n(lambda i: f"pair {i // 2}"), n(lambda i: f"own {i}")) == (1, 2)


def test_a_class_leaves_room_for_growth():
    calm = pod("calm", *[9000.0] * 7)

    assert class_of(calm, 0.8, CARD, ClassPolicy(), growth=MemoryGrowth([calm])) == 2
    assert class_of(calm, 0.8, CARD, ClassPolicy(), growth=MemoryGrowth([calm, *fleet(2.0, every=2)])) == 1


def test_who_may_grow_most_leaves_a_gpu_that_its_pods_may_outgrow():
    leaks = pod("leaks", *[6000.0 * 1.07**day for day in range(7)])
    calm = pod("calm", *[9000.0] * 7)
    pods = {"leaks": leaks, "calm": calm}

    (change,) = reclassify(pods, [["leaks", "calm"]], {"leaks": 2, "calm": 2}, 0.8, CARD, 0.0)

    assert (change.pod, change.after) == ("leaks", 1)
    assert change.reason.startswith("peak 8.8 GiB, may grow to ")
    assert change.reason.endswith("pods like it grew more in a day")
    apart = reclassify(pods, [["leaks"], ["calm"]], {"leaks": 1, "calm": 2}, 0.8, CARD, 0.0)
    assert [one for one in apart if one.after < one.before] == []


def test_a_request_has_room_for_growth_and_is_what_it_was_without():
    calm = pod("calm", *[6000.0] * 7)
    policy = PackingPolicy()

    assert requests_for([calm], 0.8, CARD, policy, MemoryGrowth([calm])) == [request_for(calm, 0.8, 20_599)]
    (asked,) = requests_for([calm], 0.8, CARD, policy, MemoryGrowth([calm, *fleet(2.0, every=2)]))
    assert asked.memory_mib > 6000


def test_a_pod_of_a_gpu_that_may_overflow_asks_for_more():
    leaks = pod("leaks", *[6000.0 * 1.07**day for day in range(7)])
    pods = {"leaks": leaks, "calm": pod("calm", *[9000.0] * 7)}
    asks = {"leaks": Request(9100, 100), "calm": Request(9000, 100)}

    (change,) = [c for c in repack(pods, [["leaks", "calm"]], asks, 0.8, CARD) if c.request.memory_mib > 9100]

    assert change.pod == "leaks"
    assert "may grow to" in change.reason


def landed(asks, *nodes):
    """What is changed where these pods have landed; each has 60 % of the card or 22 %, and seldom grows."""
    peaks = {"large": 13_700.0, "small": 5000.0, "other": 5000.0}
    pods = {name: pod(name, *[peak / 1.02, *[peak] * 13]) for name, peak in peaks.items()}
    policy, growth = PackingPolicy(memory_quantile=0.9), MemoryGrowth(pods.values())
    return part(pods, nodes, asks, 0.8, CARD, policy, growth)


def test_who_asks_for_too_little_for_a_surge_asks_for_more_where_another_has_landed_beside_it():
    stale = {"large": Request(14_000, 100), "small": Request(5000, 100), "other": Request(5000, 100)}

    (change,) = landed(stale, ("large", "small"), ("other",))

    assert change.pod == "large"
    assert change.request == Request(math.ceil(1.35 * 13_700 - 0.1 * CARD), 100)
    assert change.reason == "peak 13.4 GiB, its GPU must have room for 18.1 of it"
    assert landed(stale, ("large",), ("small", "other")) == []
    # Who asks for enough stays, however much it may grow.
    enough = {**stale, "large": Request(16_300, 100), "small": Request(4000, 100)}
    assert [change.pod for change in landed(enough, ("large", "small"), ("other",))] == ["small"]


def test_a_morning_parts_who_may_not_surge_on_one_gpu():
    peaks = {"large": 13_700.0, "small": 5000.0}
    pods = {name: pod(name, *[peak / 1.02, *[peak] * 13]) for name, peak in peaks.items()}
    asks = {"large": Request(14_000, 100), "small": Request(5000, 100)}

    def changed(**chosen):
        policy = PackingPolicy(memory_quantile=0.9, **chosen)
        changes = repack(pods, [["large", "small"]], asks, 0.8, CARD, policy)
        return [change.pod for change in changes if change.request.memory_mib > asks[change.pod].memory_mib]

    assert changed() == ["large"]
    assert changed(memory_surge=1.2) == []


def test_a_request_does_not_fall_where_siblings_would_meet_that_may_not_surge_together():
    pods = {name: pod(name, 8300, *[8500] * 13, workload="web") for name in ("web-1", "web-2")}
    asks = {"web-1": Request(15_000, 100), "web-2": Request(9200, 100)}

    def lowered(surge):
        policy = PackingPolicy(memory_quantile=0.9, memory_surge=surge)
        return [change.pod for change in repack(pods, [["web-1"], ["web-2"]], asks, 0.8, CARD, policy)]

    assert (lowered(1.3), lowered(1.35)) == (["web-1"], [])


def test_siblings_that_ask_for_enough_are_not_parted_before_the_next_morning():
    pods = {name: pod(name, 8300, *[8500] * 13, workload="web") for name in ("web-1", "web-2")}
    growth, policy = MemoryGrowth(pods.values()), PackingPolicy(memory_quantile=0.9)

    def parted(asked):
        asks = dict.fromkeys(pods, Request(asked, 100))
        return [change.pod for change in part(pods, [("web-1", "web-2")], asks, 0.8, CARD, policy, growth)]

    assert (parted(9200), parted(9100)) == ([], ["web-2"])


def rising(name, *peaks, grade=Grade.POD, workload=""):
    return PodUse(name, max(peaks), (DAY,) * len(peaks), grade=grade, day_peaks_mib=peaks, workload=workload)


def guarded(*pods, size=2, elsewhere=()):
    found = in_danger(
        {one.name: one for one in (*pods, *elsewhere)},
        [[one.name for one in pods]],
        {one.name: size for one in pods},
        CARD,
        ClassPolicy(),
    )
    return [(one.pod, one.after) for one in found]


def test_who_grew_leaves_before_its_card_can_be_full():
    assert guarded(rising("grown", 8000, 12_000), rising("calm", 9000, 9000)) == [("grown", 1)]


def test_nobody_leaves_a_card_whose_fastest_growth_still_finds_room_or_on_which_nobody_grew():
    assert guarded(rising("slow", 8000, 9000), rising("calm", 9000, 9000)) == []
    assert guarded(rising("a", 3000, 11_000, 11_000), rising("b", 9000, 9000)) == []


def test_who_will_grow_as_a_sibling_on_another_card_did_leaves_before_it_does():
    first, calm = rising("web-1", 8000, 14_000, workload="web"), rising("calm", 9000, 9000)
    next_one = rising("web-2", 8000, 8000, workload="web")

    assert guarded(next_one, calm) == []
    assert guarded(next_one, calm, elsewhere=[first]) == [("web-2", 1)]
    assert guarded(replace(next_one, workload="other"), calm, elsewhere=[first]) == []


def test_a_sibling_that_came_today_hides_no_growth():
    """What a pod is at first is no growth, unless its workload was smaller when it was decided on."""
    old, new = rising("web-1", 8000, 8000, workload="web"), rising("web-2", 14_000, workload="web")

    assert guarded(old, rising("calm", 9000, 9000), elsewhere=[new]) == [("web-1", 1)]
    assert guarded(rising("web-2", 14_000), rising("calm", 9000, 9000)) == []


def test_growth_that_was_only_estimated_from_a_gpu_moves_nobody():
    shared = rising("grown", 8000, 12_000, grade=Grade.DEVICE, workload="web")

    assert guarded(shared, rising("calm", 9000, 9000)) == []
    sibling = rising("web-2", 8000, 8000, workload="web")
    assert guarded(sibling, rising("calm", 9000, 9000), elsewhere=[shared]) == []


def test_a_class_is_what_its_siblings_need():
    mine, other = pod("a-1", 4000, 4000, workload="a"), pod("a-2", 9000, 9000, workload="a")

    assert class_of(mine, 0.8, CARD, ClassPolicy(), growth=MemoryGrowth([mine])) == 3
    assert class_of(mine, 0.8, CARD, ClassPolicy(), growth=MemoryGrowth([mine, other])) == 2
