"""Each number and time of a policy has a least and a most, declared beside its field and in the docs."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from slicewise.policy import model
from slicewise.policy.bounds import all_bounds, bounds_of, spelt, text_of
from slicewise.policy.model import Classes, Consolidation, Pool, Replicas, Tuning

from tests.unit.policy.texts import pool, problems, problems_of_any

DOCS = Path(__file__).parents[3] / "docs" / "policies.md"
SECTIONS = {
    "pools.*": Pool,
    "pools.*.replicas": Replicas,
    "pools.*.": Classes,
    "consolidation": Consolidation,
    "tuning": Tuning,
}
# By path: how a value is written into an otherwise sound policy.
WRITTEN = {
    "pools.*.maxGpus": lambda value: pool(maxGpus=value),
    "pools.*.replicas.start": lambda value: pool(replicas={"start": value, "max": 16}),
    "pools.*.replicas.max": lambda value: pool(replicas={"start": 2, "max": value}),
    "pools.*.movesADay": lambda value: pool(classes=[1, 2], replicas=..., movesADay=value),
    "pools.*.classes": lambda value: pool(classes=sorted({1, 2, value}), replicas=...),
    "pools.*.slowdownBudget": lambda value: pool(slowdownBudget=value),
    "consolidation.after": lambda value: pool() + f"consolidation: {{after: {value}}}\n",
    "consolidation.idleAfter": lambda value: pool() + f"consolidation: {{after: 720h, idleAfter: {value}}}\n",
    **{
        f"tuning.{field}": lambda value, field=field: pool() + f"tuning: {{{field}: {value}}}\n"
        for field in ("raiseAfter", "lowerAfter", "canary", "minimumHistory")
    },
    # Alone these would be shorter than others' defaults, which has a refusal of its own.
    "tuning.dwell": lambda value: pool() + f"tuning: {{lowerAfter: 10m, dwell: {value}}}\n",
    "tuning.lock": lambda value: (
        pool() + f"tuning: {{raiseAfter: 1h, dwell: 10m, lowerAfter: 10m, lock: {value}}}\n"
    ),
}
PATHS = {
    "sizes": "pools.*.classes",
    **{
        name: re.sub(r"\.+", ".", f"{place}.{spelt(name)}")
        for place, section in SECTIONS.items()
        for name in all_bounds(section)
        if name != "sizes"
    },
}
BOUNDS = {
    PATHS[name]: bounds for section in SECTIONS.values() for name, bounds in all_bounds(section).items()
}


def written(value) -> object:
    return text_of(value) if isinstance(value, timedelta) else value


def just_outside(path: str) -> list[object]:
    bounds = BOUNDS[path]
    step = (
        timedelta(seconds=1)
        if isinstance(bounds.least, timedelta)
        else 0.01
        if path.endswith("Budget")
        else 1
    )
    below = [] if bounds.least == timedelta(0) else [bounds.least - step]
    return [*below, bounds.most + step]


@pytest.mark.parametrize("path", sorted(BOUNDS))
def test_the_least_and_the_most_are_allowed(path):
    for value in (BOUNDS[path].least, BOUNDS[path].most):
        assert problems_of_any(WRITTEN[path](written(value))) == []


@pytest.mark.parametrize("path", sorted(BOUNDS))
def test_what_is_less_or_more_is_refused_with_both_and_why(path):
    for value in just_outside(path):
        ((found, shown, remedy),) = problems(WRITTEN[path](written(value)))

        assert found.startswith(path.replace("*", "shared")) and shown == written(value)
        assert str(BOUNDS[path]) in remedy and BOUNDS[path].why in remedy


@pytest.mark.parametrize("path", [path for path in sorted(BOUNDS) if path.startswith("tuning.")])
def test_a_trial_lifts_the_least_of_times_and_nothing_else(path):
    bounds = BOUNDS[path]
    for value in just_outside(path):
        found = problems_of_any(WRITTEN[path](written(value)).replace("tuning: {", "tuning: {trial: true, "))
        lifted = bounds.in_trial is not None and bounds.in_trial <= value < bounds.least
        # Not that it is void beside another time, which is told in other words.
        assert any("write a duration from" in remedy for _, _, remedy in found) != lifted
    assert bounds.in_trial in (None, timedelta(0), timedelta(seconds=1))


@pytest.mark.parametrize("hours", ["9" * 5, "9" * 12, "9" * 5000])
@pytest.mark.parametrize("path", ["tuning.canary", "consolidation.after"])
def test_a_time_beyond_all_calendars_is_one_problem(path, hours):
    ((found, _, _),) = problems(WRITTEN[path](f"{hours}h"))

    assert found == path


def test_every_number_and_time_of_a_policy_has_bounds():
    sections = [
        one for one in vars(model).values() if isinstance(one, type) and hasattr(one, "__dataclass_fields__")
    ]
    free = {
        f"{section.__name__}.{one.name}"
        for section in sections
        for one in fields(section)
        if re.search(r"\b(int|float|timedelta)\b", str(one.type)) and one.name not in all_bounds(section)
    }

    # Some of a few numbers that EC2 sells; and one of `sizes`.
    assert free - {one for one in free if one.startswith(("GpuModel", "Bounds"))} == {
        "Pool.gpu_counts",
        "Pool.size",
    }


def test_the_docs_list_the_bounds_as_they_are():
    rows = re.findall(
        r"^\| `([a-zA-Z.*]+)`(?:, each)? \| (\S+) \| ?(.*?) ?\| (\S+) \|$", DOCS.read_text(), re.M
    )
    reported = {path: (least, default, most) for path, least, default, most in rows}
    defaults = {
        PATHS[name]: getattr(section, name, "")
        for section in SECTIONS.values()
        for name in all_bounds(section)
    }

    assert reported == {
        path: (str(written(bounds.least)), shown(defaults[path]), str(written(bounds.most)))
        for path, bounds in BOUNDS.items()
    }


def shown(default: object) -> str:
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return text_of(default) if isinstance(default, int | float | timedelta) else str(default)


def test_bounds_are_those_of_their_field():
    assert bounds_of(Tuning, "canary") is all_bounds(Tuning)["canary"]
    assert str(bounds_of(Tuning, "canary")) == "from 1m to 24h"
