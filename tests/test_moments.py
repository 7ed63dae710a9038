from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abtest_lib.moments import Moments, merge

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def close(one: Moments, other: Moments) -> bool:
    size = max(abs(one.mean), 1.0)
    return (
        one.n == other.n
        and math.isclose(one.mean, other.mean, rel_tol=1e-12, abs_tol=1e-9 * size)
        and math.isclose(one.m2, other.m2, rel_tol=1e-9, abs_tol=1e-9 * size**2 * one.n)
    )


def test_moments_of_values_match_the_standard_library():
    # statistics.variance works in exact fractions.
    values = [4.09, 7.59, 1.62, 1.89, 24.01, 2.9, 27.76]
    moments = Moments.from_values(values)
    assert math.isclose(moments.mean, statistics.mean(values), rel_tol=1e-15)
    assert math.isclose(moments.variance, statistics.variance(values), rel_tol=1e-14)


def test_spread_survives_a_mean_of_a_billion():
    # NIST's Norris-style trap: the exact variance of 1e9 + (4, 7, 13, 16) is 30.
    assert Moments.from_values([1e9 + offset for offset in (4, 7, 13, 16)]).variance == 30
    cells = [Moments.from_values([1e9 + offset]) for offset in (4, 7, 13, 16)]
    assert merge(cells).variance == 30


def test_merge_of_nothing_is_empty():
    assert merge([]) == Moments(0, 0.0, 0.0)
    assert merge([Moments(0, 0.0, 0.0)] * 3) == Moments(0, 0.0, 0.0)
    assert Moments.from_values([]) == Moments(0, 0.0, 0.0)


def test_variance_of_one_value_is_refused():
    with pytest.raises(ValueError, match="n is 1; a variance needs at least 2 values"):
        _ = Moments(1, 3.0, 0.0).variance


@pytest.mark.parametrize(("n", "m2", "message"), [(-1, 0.0, "n is -1"), (2, -0.5, "m2 is -0.5")])
def test_impossible_moments_are_refused(n, m2, message):
    with pytest.raises(ValueError, match=message):
        Moments(n, 0.0, m2)


def test_value_that_is_not_finite_is_kept_and_spreads():
    merged = merge([Moments(3, 1.0, 2.0), Moments(2, math.nan, math.nan)])
    assert merged.n == 5
    assert math.isnan(merged.mean)


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_merge_equals_the_moments_of_all_values(groups):
    whole = Moments.from_values([value for group in groups for value in group])
    assert close(merge(Moments.from_values(group) for group in groups), whole)


@given(st.lists(VALUES, min_size=2, max_size=6), st.integers(1, 5))
def test_merge_gives_the_same_in_any_grouping(groups, cut):
    cells = [Moments.from_values(group) for group in groups]
    nested = merge([merge(cells[:cut]), merge(cells[cut:])])
    assert close(nested, merge(cells))


@given(st.lists(VALUES, min_size=2, max_size=6), st.randoms())
def test_order_of_cells_changes_no_bit(groups, random):
    cells = [Moments.from_values(group) for group in groups]
    shuffled = random.sample(cells, len(cells))
    assert merge(shuffled) == merge(cells)


@given(st.integers(0, 50), st.integers(0, 10**7))
def test_counts_come_back_from_their_moments(successes, extra):
    n = successes + extra
    assert Moments.from_counts(successes, n).successes == successes


def test_counts_come_back_after_a_merge_of_many_days():
    days = [Moments.from_counts(int(x), 1_000_003) for x in np.random.default_rng(3).integers(0, 1_000_003, 60)]
    assert merge(days).successes == sum(day.successes for day in days)


def test_values_that_are_not_all_zero_or_one_have_no_successes():
    with pytest.raises(ValueError, match="0 or 1"):
        _ = Moments.from_values([0.0, 2.0]).successes
    with pytest.raises(ValueError, match="0 or 1"):
        _ = Moments.from_values([0.5, 0.25]).successes
    with pytest.raises(ValueError, match="successes is 5"):
        Moments.from_counts(5, 4)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=30))
def test_plain_sums_give_the_exact_moments(values):
    exact = sum(Fraction(value) ** 2 for value in values) - Fraction(sum(values)) ** 2 / len(values)
    assert Moments.from_sums(len(values), sum(values), sum(v * v for v in values)).m2 == float(exact)


def test_sums_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="sum_of_squares is 1"):
        Moments.from_sums(2, 10.0, 1.0)
    assert Moments.from_sums(0, 0.0, 0.0) == Moments(0, 0.0, 0.0)
