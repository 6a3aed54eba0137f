"""Points one a step, held to plain mappings."""

from __future__ import annotations

import math
import weakref
from array import array

from hypothesis import given
from hypothesis import strategies as st
from slicewise.model.cluster import Series
from slicewise.tuning.usage import dcgm
from slicewise.tuning.usage.points import (
    STEP_SECONDS,
    StepPoints,
    covers,
    first_at,
    highest,
    known_at,
    laid_over,
    last_at,
    points_of,
    since,
)

BEGIN = 1_795_521_000
# Values that four bytes hold exactly.
PLAIN = st.dictionaries(
    st.integers(0, 40).map(lambda step: BEGIN + step * STEP_SECONDS), st.integers(0, 4096).map(float)
)


def of(plain: dict[int, float]):
    return points_of(tuple(sorted(plain)), [plain[at] for at in sorted(plain)])


@given(PLAIN)
def test_points_are_what_they_were_made_of(plain):
    found = of(plain)

    assert dict(found.items()) == plain and len(found) == len(plain) and bool(found) == bool(plain)
    assert list(found) == sorted(plain) and list(found.values()) == [plain[at] for at in sorted(plain)]
    assert all(found[at] == found.get(at) == value for at, value in plain.items())
    assert BEGIN - STEP_SECONDS not in found and BEGIN + 1 not in found
    assert (first_at(found), last_at(found)) == (min(plain, default=None), max(plain, default=None))


@given(PLAIN, PLAIN)
def test_two_are_put_together_as_mappings_are(one, other):
    every = one.keys() | other.keys()

    assert dict(highest(of(one), of(other)).items()) == {
        at: max(one.get(at, -1.0), other.get(at, -1.0)) for at in every
    }
    assert dict(laid_over(of(one), of(other)).items()) == one | other
    assert known_at([of(one), of(other)]) == every
    if covers(of(one), of(other)):
        assert other.keys() <= one.keys()


@given(PLAIN, PLAIN, st.integers(-5, 45), st.integers(-5, 45))
def test_a_part_holds_what_lies_between(one, other, low, high):
    first, last = (BEGIN + step * STEP_SECONDS for step in (low, high))

    found = StepPoints.between(first, last, STEP_SECONDS, of(one), of(other))

    assert dict(found.items()) == {at: v for at, v in (one | other).items() if first <= at <= last}


@given(PLAIN, st.floats(BEGIN - 700, BEGIN + 41 * STEP_SECONDS))
def test_what_is_new_is_found(plain, begin):
    assert since(of(plain), begin) == [plain[at] for at in sorted(plain) if at >= begin]


def test_times_that_keep_to_no_step_stay_a_mapping():
    assert points_of((BEGIN, BEGIN + 30), [1.0, 2.0]) == {BEGIN: 1.0, BEGIN + 30: 2.0}
    assert points_of((BEGIN + 7,), [1.0]) == {BEGIN + 7: 1.0}
    assert len(StepPoints(BEGIN, STEP_SECONDS, array("f", [math.nan]))) == 0


def test_series_are_released_as_they_are_read():
    """All of a large cluster at once would not fit into a function's memory."""
    seen: list[weakref.ref[Series]] = []
    most = 0

    def arriving():
        nonlocal most
        for number in range(500):
            labels = {"Hostname": "n-1", "gpu": "0", "pod": f"a-{number}", "namespace": "team"}
            one = Series("DCGM_FI_DEV_FB_USED", labels, (BEGIN,), (100.0 * number,))
            seen.append(weakref.ref(one))
            most = max(most, sum(ref() is not None for ref in seen))
            yield one

    found = dcgm.read(arriving(), ["n-1"], {})

    assert len(found.pods) == 500
    assert most <= 3
