"""Fields that are each fine, and together can never do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from slicewise.policy.model import parse

from tests.unit.policy.texts import pool, problems, problems_of_any

DOCS = Path(__file__).parents[3] / "docs" / "policies.md"
PROMETHEUS = "metrics: {source: prometheus, endpoint: 'https://prometheus.example'}\n"
OTEL = "metrics: {source: container-insights-otel}\n"
NONE = "metrics: {source: none}\n"
CLASSES = {"classes": [1, 2]}


def business(hours: str, nodes: str) -> str:
    return (
        pool() + f"consolidation: {{businessHours: {{timeZone: UTC, hours: [{hours}], nodes: '{nodes}'}}}}\n"
    )


def nights(asleep: str, awake: str = "", more: str = "") -> str:
    return (
        pool()
        + f"offHours: {{timeZone: UTC, asleep: [{asleep}], {f'awake: [{awake}],' if awake else ''} {more}}}\n"
    )


def consolidation(text: str, more: str = "") -> str:
    return pool() + f"consolidation: {{{text}}}\n" + more


def tuning(text: str, more: str = "", **fields) -> str:
    return pool(**fields) + f"tuning: {{{text}}}\n" + more


# By name: what is refused, its path, words of the remedy; and what is nearly the same and fine.
VOID = {
    "machines above the limit": (
        pool(gpuCounts=[1, 8]),
        "pools.shared.gpuCounts[1]",
        "exceeds maxGpus (4)",
        pool(gpuCounts=[1, 8], maxGpus=8),
    ),
    "dwell below both": (
        tuning("dwell: 1h"),
        "tuning.dwell",
        "raiseAfter (24h) or lowerAfter (2h)",
        tuning("dwell: 2h"),
    ),
    "lock below raiseAfter": (
        tuning("lock: 23h"),
        "tuning.lock",
        "sooner than after 24h",
        tuning("lock: 24h"),
    ),
    "lock below dwell": (
        tuning("lock: 24h, dwell: 48h"),
        "tuning.lock",
        "sooner than after 48h",
        tuning("lock: 48h, dwell: 48h"),
    ),
    "tuning of whole GPUs": (
        tuning("canary: 1h", sharing="none"),
        "tuning",
        "no pool here has an N",
        tuning("canary: 1h", sharing="mps"),
    ),
    "tuning of classes": (
        tuning("canary: 1h", **CLASSES),
        "tuning",
        "no pool here has an N",
        pool(**CLASSES),
    ),
    "idle by Prometheus": (
        consolidation("idleAfter: 2m", PROMETHEUS),
        "consolidation.idleAfter",
        "only `source: container-insights` has an alarm",
        consolidation("after: 5m", PROMETHEUS),
    ),
    "idle by OpenTelemetry": (
        consolidation("idleAfter: 2m", OTEL),
        "consolidation.idleAfter",
        "only `source: container-insights` has an alarm",
        consolidation("after: 5m", OTEL),
    ),
    "idle and never": (
        consolidation("idleAfter: 2m, after: Never"),
        "consolidation.idleAfter",
        "`after: Never`",
        consolidation("idleAfter: 2m, after: learned"),
    ),
    "idle later than busy": (
        consolidation("idleAfter: 10m, after: 600s"),
        "consolidation.idleAfter",
        "after 600s already",
        consolidation("idleAfter: 599s, after: 600s"),
    ),
    "a share that is no limit": (
        business("Mon-Fri 08:00-18:00", "10%"),
        "consolidation.businessHours.nodes",
        "10% of the nodes",
        business("Mon-Fri 08:00-18:00", "9%"),
    ),
    "business at all hours": (
        business("Mon-Fri 00:00-24:00, Sat-Sun", "0"),
        "consolidation.businessHours.hours",
        "cover the whole week",
        business("Mon-Fri 00:00-24:00, Sat-Sun", "1"),
    ),
    "business at all hours but one": (
        business("Mon-Sun 06:00-06:00", "0%"),
        "consolidation.businessHours.hours",
        "cover the whole week",
        business("Mon-Sat 06:00-06:00, Sun 06:00-05:59", "0%"),
    ),
    "never asleep": (
        nights("Mon-Fri 20:00-07:00", "Mon-Sun"),
        "offHours.awake",
        "nothing would ever sleep",
        nights("Mon-Fri 20:00-07:00", "Mon-Thu"),
    ),
    "never asleep, but on holidays": (
        nights("Mon-Fri 20:00-07:00", "Mon-Sun 00:00-24:00"),
        "offHours.awake",
        "nothing would ever sleep",
        nights("Mon-Fri 20:00-07:00", "Mon-Sun 00:00-24:00", "holidays: de"),
    ),
    "never awake": (nights("Mon-Sun"), "offHours.asleep", "nothing would ever wake", nights("Mon-Sat")),
    "never awake, but on a day": (
        nights("Mon-Sun 05:00-05:00"),
        "offHours.asleep",
        "nothing would ever wake",
        nights("Mon-Sun 05:00-05:00", "2026-12-24"),
    ),
}


@pytest.mark.parametrize("text, path, words, fine", VOID.values(), ids=VOID.keys())
def test_what_can_never_do_what_it_says_is_refused_and_what_nearly_does_is_not(text, path, words, fine):
    ((found, _, remedy),) = problems(text)

    assert found == path and words in remedy
    assert re.search(r"remove|leave hours out|write", remedy), "it says what to do"
    assert problems_of_any(fine) == []


def test_of_defaults_nothing_is_said():
    short = "tuning: {raiseAfter: 48h, dwell: 48h}\nconsolidation: {after: 30s}\n"

    assert problems_of_any(pool() + short) == []


def test_fields_that_are_wrong_by_themselves_are_reported_first():
    text = tuning("dwell: 1h, lock: 2h, canary: 0s")
    assert [path for path, _, _ in problems(text)] == ["tuning.canary"]
    assert [path for path, _, _ in problems(text.replace("0s", "30m"))] == ["tuning.dwell", "tuning.lock"]


def test_a_source_of_none_freezes_n_and_takes_no_other_field_with_it():
    text = tuning("canary: 1h", NONE, slowdownBudget=2) + "consolidation: {idleAfter: 2m}\n"

    assert problems_of_any(text) == []


def test_the_docs_name_each_field_that_is_refused_for_another():
    reported = DOCS.read_text().partition("What is refused together")[2]

    for _, path, _, _ in VOID.values():
        field = path.rpartition(".")[2].partition("[")[0]
        assert field in reported


@pytest.mark.parametrize(
    "path", sorted((DOCS.parents[1] / "policies").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_policies_that_we_ship_have_no_void_field(path):
    parse(path.read_text(), path.stem)
