import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicewise.kube import quantities


@pytest.mark.parametrize(
    "one, other",
    [
        ("3000", "3k"),
        ("1Gi", "1073741824"),
        ("500m", "0.5"),
        (4, "4"),
        ("2e3", "2k"),
        ("0", "0m"),
        ("1M", "1000k"),
    ],
)
def test_spellings_of_one_quantity_are_the_same(one, other):
    assert quantities.same(one, other)


@pytest.mark.parametrize("one, other", [("3k", "3Ki"), ("1", "2"), ("a", "b"), ("1", "a"), ("100m", "100M")])
def test_different_quantities_are_not(one, other):
    assert not quantities.same(one, other)


@pytest.mark.parametrize("text", ["", "4 GPUs", "ki", "1.2.3", "0x10", "٣", None])
def test_what_is_not_a_quantity_is_an_error(text):
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        quantities.number(text)


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_every_whole_number_is_itself(value):
    assert quantities.number(str(value)) == value
    assert quantities.whole(f"{value}000m") == value


def test_an_absent_count_is_zero():
    assert quantities.whole(None) == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("10m", 600), ("1h1h", 7200), ("0s", 0)]
)
def test_a_span_is_read_as_go_writes_it(text, seconds):
    assert quantities.duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "Never", "10", "10 m", "1d", "-1h"])
def test_what_is_not_a_span_is_an_error(text):
    with pytest.raises(ValueError, match="not a duration"):
        quantities.duration(text)
