"""Answers that arrive piece by piece."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicewise.gateways.prometheus_answers import Answer

SERIES = [
    {"metric": {"gpu": str(n), "pod": 'a "[{,é'}, "values": [[600 * n, "1.5"], [600, "NaN"]]}
    for n in range(9)
]
WHOLE = {
    "status": "success",
    "data": {"resultType": "matrix", "result": SERIES},
    "warnings": ["partial data"],
    "stats": {"n": 12},
}
# As other servers of this API order and space it.
TEXTS = [
    json.dumps(WHOLE),
    json.dumps(WHOLE, separators=(",", ":"), ensure_ascii=False),
    json.dumps(dict(reversed(WHOLE.items())), indent=2),
]


@given(st.sampled_from(TEXTS), st.lists(st.integers(0, 900), max_size=40))
def test_wherever_it_is_cut_it_is_the_same(text, cuts):
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    answer = Answer(text[first:last] for first, last in pairwise(places))

    assert list(answer) == SERIES and answer.warnings == ["partial data"]


def test_a_series_is_there_before_the_next_one_has_come():
    text, taken = TEXTS[0], 0

    def arriving():
        nonlocal taken
        for at in range(0, len(text), 16):
            taken = at
            yield text[at : at + 16]

    first = next(iter(Answer(arriving())))

    assert first == SERIES[0] and taken < len(text) / 2


@pytest.mark.parametrize("text", TEXTS)
def test_one_that_ends_early_is_none(text):
    for end in range(0, len(text) - 1, 7):
        with pytest.raises(ValueError):
            list(Answer([text[:end]]))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"data": {}}', '{"data": {"result": 7}}', "<html>", '{"data"}']
)
def test_something_else_is_none(text):
    with pytest.raises(ValueError):
        list(Answer([text]))
