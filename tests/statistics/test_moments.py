from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abtest_lib.statistics.moments import CoMoments, Moments, merge, merge_co_moments

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


PAIRS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20)


def paired(rows):
    return CoMoments.from_values(*zip(*rows, strict=True))


def test_co_moments_of_values_match_the_standard_library():
    outcomes, covariates = [4.09, 7.59, 1.62, 1.89, 24.01, 2.9, 27.76], [3.0, 8.5, 1.0, 2.5, 20.0, 4.0, 31.0]
    found = CoMoments.from_values(outcomes, covariates)
    assert math.isclose(found.comoment / 6, statistics.covariance(outcomes, covariates), rel_tol=1e-14)
    assert math.isclose(found.slope, statistics.linear_regression(covariates, outcomes).slope, rel_tol=1e-14)


@given(st.lists(PAIRS, min_size=1, max_size=6))
def test_merge_equals_the_co_moments_of_all_units(groups):
    merged, whole = merge_co_moments(map(paired, groups)), paired([pair for group in groups for pair in group])
    assert close(merged.outcome, whole.outcome)
    assert close(merged.covariate, whole.covariate)
    assert math.isclose(merged.comoment, whole.comoment, rel_tol=1e-9, abs_tol=1e-2)


@given(st.lists(PAIRS, min_size=2, max_size=6), st.randoms())
def test_order_of_cells_changes_no_bit_of_co_moments(groups, random):
    cells = [paired(group) for group in groups]
    assert merge_co_moments(random.sample(cells, len(cells))) == merge_co_moments(cells)


def test_comoment_survives_means_of_a_billion():
    # Deviations are -6, -3, 3, 6 and -3, -1, 1, 3: products add up to 42.
    outcomes, covariates = [1e9 + offset for offset in (4, 7, 13, 16)], [1e9 + offset for offset in (2, 4, 6, 8)]
    cells = [CoMoments.from_values([y], [x]) for y, x in zip(outcomes, covariates, strict=True)]
    assert CoMoments.from_values(outcomes, covariates).comoment == merge_co_moments(cells).comoment == 42


def test_units_with_one_constant_covariate_add_to_the_outcome_alone():
    cells = [paired([(1.0, 2.0), (2.0, 4.0)]), CoMoments.of_constant(Moments.from_values([5.0, 9.0]), 3.0)]
    merged = merge_co_moments(cells)
    assert merged == paired([(1.0, 2.0), (2.0, 4.0), (5.0, 3.0), (9.0, 3.0)])


def test_merge_of_no_co_moments_is_empty():
    assert merge_co_moments([]).n == 0
    assert CoMoments.from_values([], []).slope == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Moments(2, 0.0, 1.0), Moments(3, 0.0, 1.0), 0.0), "covariate.n is 3"),
        ((Moments(2, 0.0, 1.0), Moments(2, 0.0, 1.0), 1.5), "comoment is 1.5"),
    ],
)
def test_impossible_co_moments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CoMoments(*arguments)


def test_outcomes_and_covariates_must_be_as_many():
    with pytest.raises(ValueError, match="covariates has 1 values"):
        CoMoments.from_values([1.0, 2.0], [1.0])


def test_rounding_of_a_mean_leaves_no_trace_in_the_spread():
    # 2**53 + 4/3, the exact mean, is no float; in fractions the squared deviations add up to 8/3.
    values = [2.0**53, 2.0**53 + 2, 2.0**53 + 2]
    assert math.isclose(Moments.from_values(values).m2, 8 / 3, rel_tol=1e-15)
    assert math.isclose(CoMoments.from_values(values, values).comoment, 8 / 3, rel_tol=1e-15)


def test_merge_of_co_moments_survives_means_of_a_million_million():
    cells = [(1, 1e12 + 0.25, 1e12 + 0.5), (2, 1e12 + 0.5, 1e12 - 0.25), (4, 1e12 + 1.25, 1e12 + 1.0)]
    outcome, covariate = (sum(n * Fraction(mean) for n, *means in cells for mean in [means[k]]) / 7 for k in (0, 1))
    exact = sum(n * (Fraction(y) - outcome) * (Fraction(x) - covariate) for n, y, x in cells)
    merged = merge_co_moments(CoMoments(Moments(n, y, 0.0), Moments(n, x, 0.0), 0.0) for n, y, x in cells)
    assert math.isclose(merged.comoment, exact, rel_tol=1e-3)


def test_values_may_come_one_by_one_or_in_single_precision():
    values = np.array([16_777_216.0, 3.0, 5.5], dtype=np.float32)
    assert Moments.from_values(value for value in (1.0, 2.0, 6.0)) == Moments.from_values([1.0, 2.0, 6.0])
    assert Moments.from_values(values) == Moments.from_values(values.astype(float))
    assert CoMoments.from_values(values, iter(values)) == CoMoments.from_values(*[values.astype(float)] * 2)


def test_every_way_to_have_no_units_gives_the_same():
    nothing = Moments(0, 0.0, 0.0)
    assert Moments.from_counts(0, 0) == Moments.from_sums(0, 0.0, 0.0) == nothing
    empty = CoMoments(nothing, nothing, 0.0)
    assert CoMoments.from_values([], []) == CoMoments.of_constant(nothing, 5.0) == merge_co_moments([]) == empty


def test_sums_may_contradict_each_other_by_a_billionth_only():
    # The least sum of squares is total**2 / n = 10**9 + 1: a billionth above the first, a thousandth above the second.
    assert Moments.from_sums(10**9 + 1, 1e9 + 1, 1e9).m2 == 0
    with pytest.raises(ValueError, match="sum_of_squares is 999000000"):
        Moments.from_sums(10**9 + 1, 1e9 + 1, 999e6)


def test_sums_of_products_give_the_exact_comoment():
    outcomes, covariates = [4, -3, 12, 7], [2, 5, -1, 9]
    one, other = (Moments.from_sums(4, sum(values), sum(v * v for v in values)) for values in (outcomes, covariates))
    products = sum(y * x for y, x in zip(outcomes, covariates, strict=True))
    exact = Fraction(products) - Fraction(sum(outcomes) * sum(covariates), 4)
    assert (one.mean, other.mean) == (5.0, 3.75)
    assert CoMoments.from_sums(one, other, products) == CoMoments(one, other, float(exact))


def test_large_means_excuse_no_impossible_comoment():
    with pytest.raises(ValueError, match=r"comoment is 1\.5"):
        CoMoments(Moments(2, 1000.0, 1.0), Moments(2, 1000.0, 1.0), 1.5)


def test_one_cell_that_is_not_finite_leaves_no_number():
    good, bad = Moments(3, 1.0, 2.0), Moments(2, 1.0, math.inf)
    for cells in ([good, bad], [Moments(2, math.nan, 1.0), good]):
        merged = merge(cells)
        assert merged.n == 5
        assert math.isnan(merged.mean)
        assert math.isnan(merged.m2)
    merged = merge_co_moments([CoMoments(good, good, 1.0), CoMoments(bad, Moments(2, 1.0, 1.0), 0.0)])
    assert (merged.outcome.n, merged.covariate.n, merged.covariate.mean) == (5, 5, 1.0)
    assert math.isnan(merged.outcome.mean)
    assert math.isnan(merged.comoment)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_or_sums_that_are_not_finite_leave_the_count_alone(bad):
    made = [Moments.from_values([1.0, bad, 2.0]), Moments.from_sums(3, bad, 5.0), Moments.from_sums(3, 3.0, bad)]
    for moments in made:
        assert type(moments.n) is int
        assert (moments.n, math.isnan(moments.mean), math.isnan(moments.m2)) == (3, True, True)
    good = Moments.from_values([1.0, 2.0, 6.0])
    for broken in (
        CoMoments.from_values([1.0, 2.0, 6.0], [1.0, bad, 2.0]),
        CoMoments.from_sums(good, Moments.from_values([1.0, bad, 2.0]), 5.0),
        CoMoments.from_sums(good, good, bad),
    ):
        assert broken.outcome == good
        assert broken.covariate.n == 3
        assert math.isnan(broken.comoment)
    assert CoMoments.from_values([bad, 2.0, 6.0], [1.0, 2.0, 6.0]).covariate == good
    assert math.isnan(CoMoments.from_values([bad, 2.0, 6.0], [1.0, 2.0, 6.0]).comoment)
    assert CoMoments.from_sums(good, good, bad).covariate == good
