"""Adjustment for several covariates, against statsmodels on the units themselves."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from abtest_lib.statistics.covariates import (
    compare_means_with_covariates,
    compare_ratios_with_covariates,
    covariate_adjusted_estimates,
)
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.inference import compare_adjusted_means, compare_means
from abtest_lib.statistics.joint_moments import JointMoments, merge_joint_moments
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.ratios import (
    adjusted_ratio_estimates,
    compare_adjusted_ratios,
    compare_ratios,
    linearised,
    linearised_columns,
)
from abtest_lib.statistics.slopes import Slopes, residual_moments, with_slope_error, within_slopes

ORACLES = Path(__file__).resolve().parents[2].parent / "shared" / "oracles"
COMPARED = ("effect", "standard_error", "statistic", "df", "pvalue", "relative_effect")


def sample(seed, n=120, share=0.4, covariates=3):
    """Units with correlated covariates of very different scale, and an effect that depends on the first."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, covariates)) @ rng.normal(size=(covariates, covariates))
    x = x * 10.0 ** np.arange(-3, covariates - 3) + 7
    treated = rng.random(n) < share
    y = 20 + x @ (10.0 ** -np.arange(-3, covariates - 3)) + treated * (0.5 + 100 * (x[:, 0] - 7)) + rng.gamma(1, 2, n)
    return y, treated, x


def arms_of(treated, *columns):
    return [JointMoments.from_values(*[column[treated == arm] for column in columns]) for arm in (False, True)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("covariates", [1, 2, 4])
def test_effect_and_slopes_are_least_squares_and_test_is_welch_on_its_residuals(seed, covariates):
    y, treated, x = sample(seed, covariates=covariates)
    fit = OLS(y, np.column_stack([np.ones(y.size), treated, x])).fit()
    got = compare_means_with_covariates(*arms_of(treated, y, *x.T))
    # The same normal equations from sums of products: what squaring the condition number costs.
    assert got.comparison.effect == pytest.approx(fit.params[1], rel=1e-7)
    assert got.slopes.values == pytest.approx(fit.params[2:], rel=1e-6)
    assert got.slopes.dropped == ()
    rest = y - x @ fit.params[2:]
    welch = stats.ttest_ind(rest[treated], rest[~treated], equal_var=False)
    if covariates == 1:
        assert (got.comparison.statistic, got.comparison.pvalue) == pytest.approx(
            (welch.statistic, welch.pvalue), rel=1e-6
        )
        assert got.comparison.effect_interval == pytest.approx(tuple(welch.confidence_interval()), rel=1e-6)
        return
    # Two slopes or more: what they cost comes on top, as in the classical variance of least squares.
    within = sum(np.cov(x[treated == arm].T) * ((treated == arm).sum() - 1) for arm in (False, True))
    gap = x[treated].mean(axis=0) - x[~treated].mean(axis=0)
    factor = (y.size - 2) / fit.df_resid
    squared_error = (fit.params[1] / welch.statistic) ** 2 * factor + gap @ np.linalg.solve(within, gap) * fit.mse_resid
    assert got.comparison.standard_error**2 == pytest.approx(squared_error, rel=1e-6)


@pytest.mark.parametrize("covariates", [2, 5])
def test_with_as_many_units_in_both_variants_the_error_is_that_of_least_squares(covariates):
    # Then a common residual variance or one for each variant give the same sum, and ours is lm's, slopes and all.
    y, _, x = sample(21, n=60, covariates=covariates)
    treated = np.arange(60) % 2 == 1
    fit = OLS(y, np.column_stack([np.ones(60), treated, x])).fit()
    got = compare_means_with_covariates(*arms_of(treated, y, *x.T)).comparison
    assert (got.effect, got.standard_error) == pytest.approx((fit.params[1], fit.bse[1]), rel=1e-6)


def test_slopes_within_variants_and_strata_are_least_squares_with_an_intercept_each():
    rng = np.random.default_rng(3)
    cell = np.repeat(np.arange(6), [5, 9, 30, 2, 12, 40])
    x = rng.normal(size=(cell.size, 2)) + cell[:, None]
    y = x @ [2.0, -0.5] + 10 * cell + rng.normal(size=cell.size)
    dummies = (cell[:, None] == np.arange(6)).astype(float)
    want = OLS(y, np.column_stack([dummies, x])).fit().params[6:]
    cells = [JointMoments.from_values(y[cell == c], *x[cell == c].T) for c in range(6)]
    assert within_slopes(cells).values == pytest.approx(want, rel=1e-9)


def test_lin_regression_agrees_where_slopes_do_not_differ_by_variant():
    # With one slope for both variants in truth, and as many units in both, Lin's interactions change little: his
    # effect and HC2 error differ from ours by terms of order 1 / n, which 20,000 units make smaller than 1e-3.
    rng = np.random.default_rng(8)
    x = rng.exponential(1, (20_000, 2))
    treated = np.arange(20_000) % 2 == 1
    y = x @ [1.0, 0.5] + 0.1 * treated + rng.exponential(1, 20_000)
    centred = x - x.mean(axis=0)
    design = np.column_stack([np.ones(y.size), treated, centred, centred * treated[:, None]])
    lin = OLS(y, design).fit()
    got = compare_means_with_covariates(*arms_of(treated, y, *x.T)).comparison
    assert got.standard_error == pytest.approx(lin.HC2_se[1], rel=1e-3)
    assert got.effect == pytest.approx(lin.params[1], abs=0.02 * lin.HC2_se[1])


def test_relative_effect_is_over_what_the_control_would_show_with_the_covariates_of_all():
    y, treated, x = sample(4)
    fit = OLS(y, np.column_stack([np.ones(y.size), treated, x])).fit()
    base = float(fit.predict(np.array([1.0, 0.0, *x.mean(axis=0)]))[0])
    got = compare_means_with_covariates(*arms_of(treated, y, *x.T)).comparison
    assert got.relative_effect == pytest.approx(fit.params[1] / base, rel=1e-6)


columns = st.integers(3, 30).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-50, 50), min_size=n, max_size=n) for _ in range(2)])
)


@given(columns, columns, st.sampled_from(["two-sided", "greater", "less"]))
def test_one_covariate_gives_the_answer_of_the_function_for_one(control, treatment, alternative):
    ours = compare_means_with_covariates(
        *(JointMoments.from_values(*arm) for arm in (control, treatment)), alternative=alternative
    )
    one = compare_adjusted_means(
        *(CoMoments.from_values(*arm) for arm in (control, treatment)), alternative=alternative
    )
    if isinstance(one, NotComputed) or isinstance(ours, NotComputed):
        assert ours == one
        return
    for name in (*COMPARED, "effect_interval", "relative_interval"):
        want = getattr(one, name)
        got = getattr(ours.comparison, name)
        assert got == (want if isinstance(want, NotComputed) else pytest.approx(want, rel=1e-9, abs=1e-12))
    assert ours.slopes.values[0] == pytest.approx(one.adjustment.theta, rel=1e-14)
    assert ours.variance_removed == pytest.approx(one.adjustment.variance_removed, abs=1e-9)
    assert ours.unadjusted.effect == pytest.approx(one.adjustment.unadjusted_effect)
    assert ours.unadjusted.effect_interval == pytest.approx(one.adjustment.unadjusted_interval)


def test_proportion_is_the_mean_of_zeros_and_ones():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, 2))
    treated = np.arange(400) % 2 == 1
    y = (x @ [1.0, 0.5] + rng.normal(size=400) > 1).astype(float)
    got = compare_means_with_covariates(*arms_of(treated, y, *x.T))
    fit = OLS(y, np.column_stack([np.ones(400), treated, x])).fit()
    assert got.comparison.effect == pytest.approx(fit.params[1], rel=1e-9)
    plain = compare_means(*(Moments.from_values(y[treated == arm]) for arm in (False, True)))
    assert (got.unadjusted.effect, got.unadjusted.pvalue) == pytest.approx((plain.effect, plain.pvalue), rel=1e-12)


def test_constant_and_repeated_covariates_are_left_out_and_named():
    y, treated, x = sample(6)
    alone = compare_means_with_covariates(*arms_of(treated, y, *x.T))
    more = np.column_stack([np.full(y.size, 3.1), x, 5 * x[:, 1] - 2, x @ [3.0, 2.0, 1.0]])
    got = compare_means_with_covariates(*arms_of(treated, y, *more.T))
    assert got.slopes.dropped == (0, 4, 5)
    assert [got.slopes.values[at] for at in got.slopes.dropped] == [0.0, 0.0, 0.0]
    for name in COMPARED:
        assert getattr(got.comparison, name) == pytest.approx(getattr(alone.comparison, name), rel=1e-7)


def test_a_covariate_that_is_constant_within_variants_only_is_left_out():
    # Within variants nothing can be learned from it; over all units it is the treatment itself.
    y, treated, x = sample(7)
    got = compare_means_with_covariates(*arms_of(treated, y, x[:, 0], treated.astype(float)))
    alone = compare_means_with_covariates(*arms_of(treated, y, x[:, 0]))
    assert got.slopes.dropped == (1,)
    assert got.comparison.effect == pytest.approx(alone.comparison.effect, rel=1e-12)


@given(st.integers(0, 40), st.integers(-6, 6), st.integers(-6, 6), st.integers(-1000, 1000))
def test_units_and_origins_of_covariates_change_nothing(seed, first, second, origin):
    y, treated, x = sample(seed, n=40, covariates=2)
    plain = compare_means_with_covariates(*arms_of(treated, y, *x.T)).comparison
    moved = x * [10.0**first, -(10.0**second)] + origin * np.array([10.0**first, 10.0**second])
    other = compare_means_with_covariates(*arms_of(treated, y, *moved.T)).comparison
    assert (other.effect, other.standard_error) == pytest.approx((plain.effect, plain.standard_error), rel=1e-6)


@given(st.integers(0, 40))
def test_swapping_variants_flips_the_sign_and_order_of_covariates_does_not_matter(seed):
    y, treated, x = sample(seed, n=50, covariates=2)
    control, treatment = arms_of(treated, y, *x.T)
    got = compare_means_with_covariates(control, treatment)
    back = compare_means_with_covariates(treatment, control)
    turned = compare_means_with_covariates(*arms_of(treated, y, *x.T[::-1]))
    assert back.comparison.effect == pytest.approx(-got.comparison.effect)
    assert back.comparison.pvalue == pytest.approx(got.comparison.pvalue)
    assert turned.comparison.effect == pytest.approx(got.comparison.effect)
    assert turned.slopes.values[::-1] == pytest.approx(got.slopes.values)


def test_merged_days_give_the_answer_of_all_units():
    y, treated, x = sample(9, n=200)
    day = np.arange(200) % 7
    arms = [
        merge_joint_moments(
            JointMoments.from_values(*(c[(treated == arm) & (day == d)] for c in (y, *x.T))) for d in range(7)
        )
        for arm in (False, True)
    ]
    whole = compare_means_with_covariates(*arms_of(treated, y, *x.T)).comparison
    got = compare_means_with_covariates(*arms).comparison
    assert (got.effect, got.standard_error, got.df) == pytest.approx(
        (whole.effect, whole.standard_error, whole.df), rel=1e-8
    )


def test_a_mean_of_a_hundred_million_keeps_its_digits():
    rng = np.random.default_rng(10)
    x = rng.normal(size=(500, 2))
    treated = np.arange(500) % 2 == 1
    y = x @ [1.0, 2.0] + 0.2 * treated + rng.normal(size=500)
    small = compare_means_with_covariates(*arms_of(treated, y, *x.T)).comparison
    large = compare_means_with_covariates(*arms_of(treated, y + 1e8, *(x + 1e8).T)).comparison
    # Adding 1e8 rounds each value at 1.5e-8 of its spread.
    assert (large.effect, large.pvalue) == pytest.approx((small.effect, small.pvalue), rel=1e-6)


def ratio_sample(seed, n=300):
    rng = np.random.default_rng(seed)
    level = rng.gamma(2, 0.5, n)
    d0, d = rng.poisson(3, n) + 1, rng.poisson(3, n) + 1
    return (
        rng.poisson(level * d).astype(float),
        d.astype(float),
        rng.poisson(level * d0).astype(float),
        d0.astype(float),
    )


def test_ratio_is_welch_on_what_units_add_less_what_least_squares_explain():
    m, d, m0, d0 = ratio_sample(1)
    treated = np.arange(m.size) % 3 == 0
    ratio = {arm: m[treated == arm].sum() / d[treated == arm].sum() for arm in (False, True)}
    adds = np.empty(m.size)
    for arm, r in ratio.items():
        own = treated == arm
        adds[own] = r + (m[own] - r * d[own]) / d[own].mean()
    fit = OLS(adds, np.column_stack([np.ones(m.size), treated, m0, d0])).fit()
    got = compare_ratios_with_covariates(*arms_of(treated, m, d, m0, d0))
    assert got.comparison.effect == pytest.approx(fit.params[1], rel=1e-9)
    # HC2 lets variants differ too; it and ours differ by terms of order 1 / n.
    assert got.comparison.standard_error == pytest.approx(fit.HC2_se[1], rel=0.02)
    same = compare_means_with_covariates(*arms_of(treated, adds, m0, d0)).comparison
    assert got.comparison.pvalue == pytest.approx(same.pvalue, rel=1e-8)
    plain = compare_ratios(*(CoMoments.from_values(m[treated == arm], d[treated == arm]) for arm in (False, True)))
    assert got.unadjusted.effect == pytest.approx(plain.effect)
    assert got.unadjusted.standard_error == pytest.approx(plain.standard_error)


@pytest.mark.parametrize("seed", range(5))
def test_two_columns_before_the_exposure_leave_no_more_than_their_ratio(seed):
    m, d, m0, d0 = ratio_sample(seed)
    arms = arms_of(np.arange(m.size) % 2 == 1, m, d, m0, d0)
    theta = compare_adjusted_ratios(*arms).adjustment.theta
    one = adjusted_ratio_estimates(*arms, theta=theta)
    linear = [linearised_columns(arm) for arm in arms]
    two = covariate_adjusted_estimates(*linear, slopes=within_slopes(linear).values)
    # Least squares: with as many units in both variants, no common slopes leave a smaller sum of both variances. The
    # earlier ratio is made linear in each variant by itself, so that it has very slightly different slopes in each.
    assert sum(arm.squared_error for arm in two) <= sum(arm.squared_error for arm in one) * 1.01


def test_ratio_whose_denominator_is_one_is_the_mean():
    y, treated, x = sample(11)
    ratio = compare_ratios_with_covariates(*arms_of(treated, y, np.ones(y.size), *x.T)).comparison
    mean = compare_means_with_covariates(*arms_of(treated, y, *x.T)).comparison
    assert (ratio.effect, ratio.pvalue) == pytest.approx((mean.effect, mean.pvalue), rel=1e-8)


def test_table_of_units_gives_what_statsmodels_makes_of_its_covariates():
    if not ORACLES.is_dir():
        pytest.skip(f"reference cases are not at {ORACLES}")
    with (ORACLES / "unit_level_main.csv").open() as file:
        rows = list(csv.DictReader(file))
    want = json.loads((ORACLES / "unit_level.json").read_text())["cases"]["cuped_mean/revenue~pre_revenue"]["reference"]
    y, one, *more = (
        np.array([float(row[c]) for row in rows]) for c in ("revenue", "pre_revenue", "pre_orders", "pre_sessions")
    )
    treated = np.array([row["variant"] == "treatment" for row in rows])
    single = compare_means_with_covariates(*arms_of(treated, y, one)).comparison
    assert single.effect == pytest.approx(want["ols_ancova_nonrobust"]["effect"], rel=1e-8)
    got = compare_means_with_covariates(*arms_of(treated, y, one, *more)).comparison
    fit = OLS(y, np.column_stack([np.ones(y.size), treated, one, *more])).fit(cov_type="HC2")
    assert got.effect == pytest.approx(fit.params[1], rel=1e-8)
    # The sandwich also counts the error of the slopes, a term of order 1 / n.
    assert got.standard_error == pytest.approx(fit.bse[1], rel=5e-3)


@pytest.mark.parametrize("powers", [(0, 40, 0), (300, -300, 1), (-250, 0, 300)])
def test_other_units_of_covariates_change_no_digit_of_what_they_explain(powers):
    # A change of unit by a power of two rounds nothing, and what is solved for is scaled by powers of two.
    y, treated, x = sample(30, n=60)
    # The first is constant and left out; the scale of those after it is their own.
    x, factors = np.column_stack([np.full(60, 3.0), x]), 2.0 ** np.array([0, *powers])
    plain, moved = arms_of(treated, y, *x.T), arms_of(treated, y, *(x * factors).T)
    slopes, other = within_slopes(plain), within_slopes(moved)
    assert other.values == tuple(slopes.values / factors)
    arms = MeanEstimate(1.0, 0.1, 20), MeanEstimate(1.2, 0.1, 30)
    apart = np.array([0.0, 0.1, -0.2, 0.3])
    want = with_slope_error(arms, plain, slopes, apart, 0.4)
    got = with_slope_error(arms, moved, other, apart * factors, 0.4)
    assert [arm.squared_error for arm in got] == pytest.approx([arm.squared_error for arm in want], rel=1e-12)


@pytest.mark.parametrize("spread", [0.55, 1.0, 1.9, 1e6])
@pytest.mark.parametrize(("left", "dropped"), [(0.6e-8, (1,)), (1.6e-8, ())])
def test_a_covariate_goes_where_the_others_leave_a_hundred_millionth_of_it(spread, left, dropped):
    shared = float(np.sqrt(spread * (1 - left)))
    cell = JointMoments(9, (0.0, 0.0, 0.0), ((4.0, 1.0, shared), (1.0, 1.0, shared), (shared, shared, spread)))
    assert within_slopes([cell]).dropped == dropped


def test_units_that_slopes_need_are_ten_for_each_that_was_kept():
    assert Slopes((0.4, 0.1)).too_many(20) is None
    assert Slopes((0.4, 0.1, 0.0), dropped=(2,)).too_many(20) is None
    assert "2 covariates have 19 units" in Slopes((0.4, 0.1, 0.0), dropped=(2,)).too_many(19).reason
    assert Slopes((0.4, 0.0), dropped=(1,)).too_many(4) is None


def test_slopes_that_use_up_all_freedom_leave_the_error_as_it_is():
    # Two units in each variant and two slopes: every unit lies on the fit, and least squares has no residual variance.
    cells = [JointMoments.from_values([1, 3], [1, 2], [1, 0]), JointMoments.from_values([2, 4], [1, 3], [0, 1])]
    slopes = within_slopes(cells)
    assert slopes.dropped == ()
    arms = MeanEstimate(2.0, 1.0, 1), MeanEstimate(3.0, 1.0, 1)
    assert with_slope_error(arms, cells, slopes, [0.5, 0.0], 0.5) == arms


@pytest.mark.parametrize(("alpha", "alternative"), [(0.2, "greater"), (0.01, "less"), (0.1, "two-sided")])
def test_options_reach_the_test_and_the_interval_of_ratios(alpha, alternative):
    m, d, m0, _ = ratio_sample(3)
    treated = np.arange(m.size) % 3 == 0
    adds = np.empty(m.size)
    for own in (treated, ~treated):
        ratio = m[own].sum() / d[own].sum()
        adds[own] = ratio + (m[own] - ratio * d[own]) / d[own].mean()
    rest = adds - m0 * OLS(adds, np.column_stack([np.ones(m.size), treated, m0])).fit().params[2]
    want = stats.ttest_ind(rest[treated], rest[~treated], equal_var=False, alternative=alternative)
    got = compare_ratios_with_covariates(*arms_of(treated, m, d, m0), alpha=alpha, alternative=alternative).comparison
    assert got.pvalue == pytest.approx(want.pvalue, rel=1e-6)
    assert got.effect_interval == pytest.approx(tuple(want.confidence_interval(1 - alpha)), rel=1e-6)
    assert "delta method" in got.method and "covariate-adjusted" in got.method
    assert "CUPED" in compare_means_with_covariates(*arms_of(treated, m, m0)).comparison.method


@pytest.mark.parametrize("flat", [0, 1])
def test_one_variant_without_any_spread_leaves_the_error_of_the_other(flat):
    y, x = np.array([1.0, 3.0, 2.0, 6.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    arms = [JointMoments.from_values(y, x), JointMoments.from_values([2.0] * 4, [3.0] * 4)]
    got = compare_means_with_covariates(*(arms if flat else arms[::-1])).comparison
    # Least squares on the five units that vary: their residual variance about the line, divisor 4, over 5 units.
    left = stats.linregress(x, y)
    assert got.standard_error**2 == pytest.approx(((y - left.slope * x).var(ddof=1)) / 5)
    assert abs(got.effect) == pytest.approx(abs(2.0 - (left.intercept + left.slope * 3.0)))


def test_ratios_name_the_variant_that_cannot_be_computed():
    some = JointMoments.from_values([1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 3.0, 5.0], [1.0, 0.0, 0.0, 1.0])
    none = JointMoments.from_values([], [], [])
    assert compare_ratios_with_covariates(none, some).reason == "control has 0 units; a mean needs at least 2"
    empty = JointMoments.from_values([1.0, 2.0], [0.0, 0.0], [1.0, 2.0])
    assert compare_ratios_with_covariates(some, empty).reason == "of treatment: the denominator is zero in total"


def test_what_cannot_be_computed_says_why():
    some = JointMoments.from_values([1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 3.0, 5.0])
    one = JointMoments.from_values([1.0], [2.0])
    assert compare_means_with_covariates(one, some).reason == "control has 1 unit; a mean needs at least 2"
    bad = JointMoments(4, (1.0, float("nan")), ((1.0, 0.0), (0.0, 1.0)))
    assert compare_means_with_covariates(some, bad).reason == "a value of treatment is not a finite number"
    exact = JointMoments.from_values([2.0, 4.0, 6.0, 10.0], [1.0, 2.0, 3.0, 5.0])
    assert compare_means_with_covariates(exact, exact).reason == (
        "the covariate leaves no variance in control or treatment"
    )
    flat = JointMoments.from_values([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    assert compare_means_with_covariates(flat, flat).reason == "no value varies in control or treatment"
    few = JointMoments.from_values([1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 3.0, 5.0], [1.0, 0.0, 0.0, 1.0])
    assert compare_means_with_covariates(few, few).reason == (
        "2 covariates have 8 units between them; two or more need at least 10 units each"
    )
    empty = JointMoments.from_values([1.0, 2.0], [0.0, 0.0], [1.0, 2.0])
    assert compare_ratios_with_covariates(empty, empty).reason == "of control: the denominator is zero in total"


def test_a_slip_of_the_caller_names_the_argument():
    two, three = JointMoments.from_values([1, 2], [3, 5]), JointMoments.from_values([1, 2], [3, 5], [4, 5])
    with pytest.raises(ValueError, match=r"cells have \[2, 3\] columns"):
        compare_means_with_covariates(two, three)
    with pytest.raises(ValueError, match="alpha is 2"):
        compare_means_with_covariates(two, two, alpha=2)
    with pytest.raises(ValueError, match="arm has 1 column"):
        compare_ratios_with_covariates(*[JointMoments.from_values([1, 2])] * 2)
    with pytest.raises(ValueError, match="slopes has 2 and at 1 entries"):
        residual_moments(two, [1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="not a finite number"):
        within_slopes([JointMoments(3, (1.0, 1.0), ((1.0, float("inf")), (float("inf"), 1.0)))])


def test_without_covariates_it_is_the_plain_comparison():
    y, treated, _ = sample(12)
    arms = arms_of(treated, y)
    assert within_slopes(arms) == Slopes(())
    plain = compare_means(*(Moments.from_values(y[treated == arm]) for arm in (False, True)))
    assert compare_means_with_covariates(*arms).comparison.pvalue == pytest.approx(plain.pvalue, rel=1e-12)
    assert covariate_adjusted_estimates(*arms, slopes=[])[0].mean == pytest.approx(y[~treated].mean())


def test_linear_columns_without_covariates_are_the_linear_ratio():
    m, d, *_ = ratio_sample(2)
    want = linearised(CoMoments.from_values(m, d))
    got = linearised_columns(JointMoments.from_values(m, d))
    assert (got.n, got.means[0], got.scatter[0][0]) == (want.n, pytest.approx(want.mean), pytest.approx(want.m2))
