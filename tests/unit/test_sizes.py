from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicewise.sizes import cut, first_that_fit


@given(st.text(alphabet=st.characters(), max_size=300), st.integers(40, 200))
def test_no_text_is_longer_than_it_may_be_in_bytes(text, most):
    found = cut(text, most)

    assert len(found.encode()) <= most
    assert cut(found, most) == found


@given(st.text(max_size=100))
def test_a_text_that_fits_stays_as_it_is(text):
    assert cut(text, 400) == text


def test_a_text_that_was_cut_says_how_long_it_was():
    assert cut("→" * 100, 60) == "→" * 13 + "… (cut: 300 bytes)"


def test_what_is_no_text_becomes_one():
    """As a command line's bytes that are no UTF-8 reach Python."""
    assert cut("na\udcefve", 100) == "na?ve"


@pytest.mark.parametrize(
    ("most", "kept"),
    [(0, ""), (1, ""), (2, "a"), (5, "ab"), (6, "abc"), (14, "abc"), (15, "abcd"), (99, "abcde")],
)
def test_the_first_that_fit_are_kept_and_none_after_one_that_does_not(most, kept):
    sizes = {"a": 2, "b": 3, "c": 1, "d": 9, "e": 1}

    assert "".join(first_that_fit(sizes, most, sizes.__getitem__)) == kept
