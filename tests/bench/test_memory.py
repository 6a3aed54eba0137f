"""The memory track: its pods grow as it says, rules see the past only, and ours put nobody at risk."""

import json
from dataclasses import replace

import numpy as np
import pytest
from slicewise.tuning.packing import rule as packing

from bench.__main__ import main
from bench.contestants import PackingDaily
from bench.memory_trace import CARDS, growing
from bench.tracks import memory
from bench.tracks.memory import VARIANTS, Variant, play, table
from bench.usage_files import Row, to_trace
from traces.serving import SAMPLES_A_DAY


def small(seed=0, pods=40):
    trace = growing(seed)
    return replace(
        trace,
        names=trace.names[:pods],
        memory_mib=trace.memory_mib[:pods],
        busy=trace.busy[:pods],
        alive=trace.alive[:pods],
        workloads=trace.workloads[:pods],
        memory_steps=trace.memory_steps[:pods],
    )


def until(run, days):
    return run.gpus[:days], run.moves[:days], run.contended[:days]


def test_the_same_seed_gives_the_same_pods_and_another_one_others():
    assert np.array_equal(growing(3).memory_steps, growing(3).memory_steps)
    assert not np.array_equal(growing(3).memory_mib, growing(4).memory_mib)


@pytest.mark.parametrize("card", CARDS.values())
@pytest.mark.parametrize("exchanged", [False, True])
def test_a_few_dozen_services_share_cards_that_no_pod_fills_alone(card, exchanged):
    trace = growing(1, card, exchanged=exchanged)

    assert 100 <= len(trace.names) <= 150 and 24 <= len(set(trace.workloads)) <= 48
    assert trace.memory_steps.max() <= 0.95 * card
    assert np.array_equal(np.nan_to_num(trace.memory_mib).max(axis=1), trace.memory_steps.max(axis=1))


def test_the_busy_week_needs_more_memory_than_the_quiet_one():
    quiet, busy = (growing(1, exchanged=exchanged).memory_mib[:, :7] for exchanged in (False, True))

    assert np.nanmedian(busy.max(axis=1) / quiet.max(axis=1)) > 1.05


@pytest.mark.parametrize("name", ["classes-daily", "packing-daily", "packing-daily, h alone"])
def test_memory_that_comes_later_changes_no_day_before_it(name):
    trace, today = small(), 9
    steps, by_day = trace.memory_steps.copy(), trace.memory_mib.copy()
    steps[:, today * SAMPLES_A_DAY :], by_day[:, today:] = 0.9 * trace.card_mib, 0.9 * trace.card_mib
    days = today - trace.decide_day

    changed = replace(trace, memory_steps=steps, memory_mib=by_day)
    assert until(play(trace, VARIANTS[name], 0), days) == until(play(changed, VARIANTS[name], 0), days)


def test_a_rule_that_foresees_would_be_caught():
    trace = small()
    by_day = trace.memory_mib.copy()
    by_day[:, 7:] = 0.6 * trace.card_mib
    foreseen = VARIANTS["packing-daily, foreseen"]

    changed = replace(trace, memory_mib=by_day)
    assert until(play(trace, foreseen, 0), 1) != until(play(changed, foreseen, 0), 1)


def test_a_look_sees_the_day_until_then_and_not_a_sample_more(monkeypatch):
    trace, seen = small(), []
    rule = PackingDaily.look

    def spy(self, look):
        seen.append((look.morning.day, [pod.memory_mib for pod in look.pods]))
        return rule(self, look)

    monkeypatch.setattr(PackingDaily, "look", spy)
    play(trace, VARIANTS["packing-daily"], 0)

    (day, first), *_ = seen
    known = np.fmax.reduce(trace.memory_mib[:, :day], axis=1)
    start = day * SAMPLES_A_DAY
    hour = trace.memory_steps[:, start : start + memory.LOOK].max(axis=1)
    assert np.allclose(first, np.fmax(known, np.where(hour > 0, hour, np.nan)), equal_nan=True)
    assert len(seen) == 7 * 23


def test_headroom_alone_puts_pods_at_risk_and_what_was_learnt_does_not():
    trace = growing(2)

    assert play(trace, VARIANTS["packing-daily, h alone"], 0).at_risk
    assert not play(trace, VARIANTS["packing-daily"], 0).at_risk


@pytest.mark.parametrize("remembered", [7, 14])
def test_a_release_by_a_third_fills_no_card_with_one_week_of_history_or_two(remembered):
    """In seed 107 a service of which each pod holds 0.6 of a card needs 1.4 times as much from one day on."""
    trace = replace(growing(107), remembered=remembered)

    assert not play(trace, VARIANTS["packing-daily"], 0).at_risk


def test_where_pods_have_landed_in_the_morning_each_card_has_room_for_a_surge(monkeypatch):
    left, decide = [], PackingDaily.__call__

    def spy(self, morning):
        placed, known = decide(self, morning), {pod.name: pod for pod in morning.pods}
        names = list(known)
        nodes = [[names[pod] for pod in group] for group in placed.groups]
        asks = dict(zip(names, self._fleet.requests, strict=True))
        policy = self._policy
        left.append(len(packing.part(known, nodes, asks, 1.0, morning.card_mib, policy, morning.growth)))
        return placed

    monkeypatch.setattr(PackingDaily, "__call__", spy)
    play(small(), VARIANTS["packing-daily"], 0)

    assert left == [0] * 7


def test_a_pod_whose_card_is_full_for_ten_minutes_is_at_risk_and_so_are_those_beside_it():
    trace = small()
    steps = trace.memory_steps.copy()
    steps[:, 7 * SAMPLES_A_DAY + 5] = 0.6 * trace.card_mib

    run = play(replace(trace, memory_steps=steps), Variant("packing-daily", learns=False, guarded=False), 0)

    assert len(run.at_risk) > 1


def test_the_figures_are_written_by_rule_and_by_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "SETTINGS", {name: memory.SETTINGS[name] for name in ("24gib",)})
    few = {name: VARIANTS[name] for name in ("packing-daily", "packing-daily, foreseen")}
    trace = small()

    rows = table([{name: [play(trace, variant, 0)] for name, variant in few.items()}])

    assert rows["packing-daily, foreseen"]["of_foreseen"] == 1
    assert {"gpus", "oom_pods", "moves_per_day", "guard_moves_per_day"} <= set(rows["packing-daily"])
    monkeypatch.setattr(memory, "run", lambda *_, **__: {"policies": rows})
    assert main(["memory", "--json", str(tmp_path / "memory.json")]) == 0
    assert set(json.loads((tmp_path / "memory.json").read_text())["policies"]) == set(few)


def test_pods_of_a_recording_are_siblings_where_their_names_say_so():
    names = (
        "web-6d4b75cb6d-hx5bk",
        "web-6d4b75cb6d-zq8zq",
        "team/api-7f9c6b8d5-2xkzp",
        "db-0",
        "web-prod-cache",
    )
    rows = [Row(hour * 3600, name, 0.1, 1000.0) for name in names for hour in range(72)]

    trace = to_trace(rows, 22_888)

    known = dict(zip(trace.names, trace.workloads, strict=True))
    assert [known[name] for name in names] == ["web", "web", "team/api", "", ""]
    assert trace.history(2)[0].day_peaks_mib == (1000.0, 1000.0)
