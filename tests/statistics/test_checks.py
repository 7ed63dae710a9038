from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.checks import (
    assignment_independence_test,
    daily_trend,
    interaction_test,
    share_interaction_test,
)
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed

DAYS = list(range(1, 15))
EFFECTS = [0.031, 0.027, 0.029, 0.022, 0.02, 0.021, 0.017, 0.018, 0.012, 0.014, 0.011, 0.012, 0.009, 0.01]
ERRORS = [0.006, 0.006, 0.006, 0.0055, 0.0055, 0.006, 0.006, 0.0055, 0.005, 0.005, 0.005, 0.0055, 0.006, 0.006]


def test_independence_matches_r():
    # R 4.2.2: chisq.test(rbind(c(25110, 24875), c(24930, 25085)), correct = FALSE).
    result = assignment_independence_test([[25_110, 24_875], [24_930, 25_085]])
    assert (result.statistic, result.df) == (pytest.approx(1.52118831622742, rel=1e-10), 1)
    assert result.pvalue == pytest.approx(0.217439754118117, rel=1e-10)


@pytest.mark.parametrize("table", [[[1, 0], [3, 5]], [[1, 3], [0, 5]], [[0, 4, 0], [1, 2, 1]]])
def test_independence_of_a_variant_with_one_unit_matches_scipy(table):
    result, reference = assignment_independence_test(table), stats.chi2_contingency(table, correction=False)
    assert (result.statistic, result.pvalue) == pytest.approx((reference.statistic, reference.pvalue))


def test_decimals_of_a_warehouse_are_numbers():
    table = [[9, 4], [5, 8]]
    decimals = [[Decimal(count) for count in row] for row in table]
    assert assignment_independence_test(decimals) == assignment_independence_test(table)
    columns = ([1, 2, 3], [0.5, 0.25, 0.5], [0.125, 0.25, 0.125])
    assert daily_trend(*([Decimal(value) for value in column] for column in columns)) == daily_trend(*columns)


@given(st.lists(st.lists(st.integers(1, 9_000), min_size=3, max_size=3), min_size=2, max_size=4))
def test_independence_matches_scipy(table):
    result, reference = assignment_independence_test(table), stats.chi2_contingency(table, correction=False)
    assert result.statistic == pytest.approx(reference.statistic, rel=1e-7, abs=1e-9)
    assert result.df == reference.dof
    assert result.pvalue == pytest.approx(reference.pvalue, rel=1e-5, abs=1e-300)


def test_interaction_matches_metafor():
    # metafor 3.8.1: rma(yi, vi, mods = ~ a * b, method = "FE"), line a:b.
    means, variances = [0.05, 0.053, 0.0525, 0.0518], [0.0475, 0.0502, 0.0497, 0.0491]
    sizes = [25_000, 25_100, 24_900, 25_000]
    cells = [MeanEstimate(m, v / n, n - 1) for m, v, n in zip(means, variances, sizes, strict=True)]
    result = interaction_test(*cells)
    assert (result.effect, result.standard_error) == pytest.approx((-0.0037, 0.00280356628880841), rel=1e-9)
    assert result.statistic == pytest.approx(-0.0037 / 0.00280356628880841, rel=1e-9)
    assert result.pvalue == pytest.approx(0.186919287679377, rel=1e-7)


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_either_experiment_may_come_first(means):
    neither, second, first, both = (MeanEstimate(mean, 0.1, 50) for mean in means)
    result, swapped = interaction_test(neither, second, first, both), interaction_test(neither, first, second, both)
    assert swapped.effect == pytest.approx(result.effect, abs=1e-9)
    assert interaction_test(second, neither, both, first).effect == pytest.approx(-result.effect, abs=1e-9)


shares = st.tuples(st.integers(150, 400), st.integers(150, 400)).map(lambda pair: (pair[0], sum(pair)))


@settings(max_examples=60)
@given(st.lists(shares, min_size=4, max_size=4))
def test_interaction_of_shares_matches_a_saturated_regression(groups):
    # Linear probability model with White's (HC0) errors, in statsmodels on one row for each outcome of each group.
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    x, n = np.array(groups).T
    design = np.column_stack([np.ones(4), a, b, a * b])
    design, y = np.vstack([design, design]), np.repeat([1.0, 0.0], 4)
    weights = np.concatenate([x, n - x])
    fit = sm.WLS(y, design, weights=weights).fit()
    bread = np.linalg.inv(design.T @ (weights[:, None] * design))
    error = np.sqrt((bread @ (design.T @ ((weights * fit.resid**2)[:, None] * design)) @ bread)[3, 3])
    result = share_interaction_test(*groups)
    assert result.effect == pytest.approx(fit.params[3], rel=1e-6, abs=1e-9)
    assert result.standard_error == pytest.approx(error, rel=1e-6)
    assert result.pvalue == pytest.approx(2 * stats.norm.sf(abs(fit.params[3] / error)), rel=1e-4, abs=1e-9)


def test_interaction_of_shares_worked_out_by_hand():
    # 10, 15, 20 and 40 of 100: (0.40 - 0.20) - (0.15 - 0.10) = 0.15, variance (0.09 + 0.1275 + 0.16 + 0.24) / 100.
    result = share_interaction_test((10, 100), (15, 100), (20, 100), (40, 100))
    assert result.effect == pytest.approx(0.15)
    assert result.standard_error**2 == pytest.approx(0.006175)


def test_shares_are_compared_from_five_expected_outcomes_on():
    # 20 of 200 units have the outcome: 5 of the 50 of each group.
    assert not isinstance(share_interaction_test(*[(5, 50)] * 4), NotComputed)
    assert isinstance(share_interaction_test(*[(5, 50)] * 3, (4, 50)), NotComputed)


def test_two_effects_a_day_have_the_slope_between_the_days_means():
    # Day 0 has 1 and 3, day 1 has 4 and 8, all with an error of 2: the slope is 6 - 2, its error that of a difference
    # of two means of two.
    result = daily_trend([0, 0, 1, 1], [1, 3, 4, 8], [2, 2, 2, 2])
    assert (result.slope, result.intercept, result.slope_standard_error) == pytest.approx((4.0, 2.0, 2.0))
    assert result.statistic == pytest.approx(2.0)


def test_trend_matches_metafor():
    # metafor 3.8.1: rma(yi, sei = sei, mods = ~ day, method = "FE").
    result = daily_trend(DAYS, EFFECTS, ERRORS)
    assert result.slope == pytest.approx(-0.00166417858067124, rel=1e-10)
    assert result.slope_standard_error == pytest.approx(0.000384550785701191, rel=1e-10)
    assert result.pvalue == pytest.approx(1.50748959574684e-05, rel=1e-8)
    assert result.intercept == pytest.approx(0.0304002127797339, rel=1e-10)
    assert result.statistic == pytest.approx(-0.00166417858067124 / 0.000384550785701191, rel=1e-9)


@given(st.integers(-100, 100), st.floats(-1, 1), st.floats(-1, 1))
def test_counting_days_from_elsewhere_moves_only_the_intercept(shift, slope, level):
    # A line added to the effects adds its slope.
    plain = daily_trend(DAYS, EFFECTS, ERRORS)
    effects = [effect + slope * day + level for day, effect in zip(DAYS, EFFECTS, strict=True)]
    other = daily_trend([day + shift for day in DAYS], effects, ERRORS)
    assert other.slope == pytest.approx(plain.slope + slope, abs=1e-10)
    assert other.slope_standard_error == pytest.approx(plain.slope_standard_error, rel=1e-9)


def test_what_cannot_be_computed_says_why():
    empty = NotComputed("a variant of one of the experiments has no units")
    assert assignment_independence_test([[5, 0], [6, 0]]) == empty
    assert assignment_independence_test([[0, 0], [6, 5]]) == empty
    flat, broken = MeanEstimate(1.0, 0.0, 5), MeanEstimate(float("nan"), 1.0, 5)
    assert interaction_test(*[flat] * 4) == NotComputed("no value varies in any of the four groups")
    assert interaction_test(*[broken] * 4) == NotComputed("a mean or its error is not finite")
    # 36 of 300 units have the outcome, so that 30 units would have 3.6.
    rare = NotComputed(
        "with the common share the smallest of the four groups would have 3.6 units with the outcome, or without it; "
        "it takes 5"
    )
    assert share_interaction_test((9, 90), (9, 90), (9, 90), (9, 30)) == rare
    assert share_interaction_test((81, 90), (81, 90), (81, 90), (21, 30)) == rare
    assert share_interaction_test((9, 90), (0, 0), (9, 90), (9, 90)) == NotComputed(
        "one of the four groups has no units"
    )
    assert daily_trend([1, 2], [1, 2], [1, 1]) == NotComputed("there are effects of 2 days; a trend needs at least 3")
    same_day = NotComputed("all effects are of the same day")
    assert daily_trend([2, 2, 2], [1, 2, 3], [1, 1, 1]) == same_day
    # Their weighted mean is not 0.1 to the last digit, and a day beside which the others weigh nothing is alone.
    assert daily_trend([0.1, 0.1, 0.1], [1, 2, 3], [1, 0.7, 0.9]) == same_day
    assert daily_trend([1, 2, 3], [1, 2, 3], [1e-100, 1e100, 1e100]) == same_day
    assert daily_trend([1, 2, 3], [1, np.nan, 3], [1, 1, 1]) == NotComputed(
        "the effect of a day or its error is not finite"
    )
    assert daily_trend([1, 2, 3], [1, 2, 3], [1, 0, 1]) == NotComputed("the standard error of a day is zero")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: assignment_independence_test([[1, 2]]), "at least 2 rows"),
        (lambda: assignment_independence_test([[1, 2], [1]]), "as many columns"),
        (lambda: assignment_independence_test([[1, 2], [1, -1]]), "whole numbers"),
        (
            lambda: interaction_test(*[MeanEstimate(1.0, 1.0, 5)] * 3, MeanEstimate(1.0, -1.0, 5)),
            "squared_error is -1.0",
        ),
        (lambda: share_interaction_test((9, 8), (9, 90), (9, 90), (9, 90)), r"^neither\[0\] is 9"),
        (lambda: share_interaction_test((9, 90), (9, 8), (9, 90), (9, 90)), r"^only_second\[0\] is 9"),
        (lambda: share_interaction_test((9, 90), (9, 90), (9, 8), (9, 90)), r"^only_first\[0\] is 9"),
        (lambda: share_interaction_test((9, 90), (9, 90), (9, 90), (9, 8)), r"^both\[0\] is 9"),
        (lambda: share_interaction_test((9, 90), (9, 90), (9, 90), (0, -1)), r"both\[1\] is -1"),
        (lambda: daily_trend([1, 2, 3], [1, 2], [1, 1, 1]), "the same number"),
        (lambda: daily_trend([1, 2, 3], [1, 2, 3], [1, -1, 1]), "at least 0"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_a_steady_effect_is_called_a_trend_as_often_as_promised():
    rng = np.random.default_rng(16)
    called = [
        daily_trend(DAYS, 0.02 + np.array(ERRORS) * rng.normal(size=14), ERRORS).pvalue < 0.05 for _ in range(8_000)
    ]
    assert np.mean(called) == pytest.approx(0.05, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "sizes"), [(0.005, (2_000, 2_000, 2_000, 2_000)), (0.005, (9_000, 9_000, 1_000, 1_000))]
)
def test_shares_without_an_interaction_are_called_as_often_as_promised(share, sizes):
    rng = np.random.default_rng(18)
    called = []
    for counts in rng.binomial(sizes, share, (8_000, 4)):
        result = share_interaction_test(*zip(counts.tolist(), sizes, strict=True))
        called.append(not isinstance(result, NotComputed) and result.pvalue < 0.05)
    assert np.mean(called) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 8_000)
