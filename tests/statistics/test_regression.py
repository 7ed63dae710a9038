"""Regressions against statsmodels and other programs, and against the error rates they promise."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.inference import compare_adjusted_means, compare_relative_by_delta
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.ratios import compare_ratios, unit_totals
from abtest_lib.statistics.regression import (
    compare_adjusted_relative_by_delta,
    compare_by_ancova,
    compare_by_clustered_regression,
    compare_by_lin_regression,
    compare_by_robust_ancova,
    with_ddof,
)

ORACLES = Path(__file__).resolve().parents[2].parent / "shared" / "oracles"


def sample(seed, n=40):
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 1, n)
    treated = (np.arange(n) % 3 == 0).astype(float)
    return 2 + x + treated * (0.4 + 0.3 * x) + rng.normal(0, 1, n), treated, x


def arms_of(y, treated, x):
    return [CoMoments.from_values(y[treated == arm], x[treated == arm]) for arm in (0, 1)]


def clustered_sample(seed, units=24):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, units)
    unit = np.repeat(np.arange(units), sizes)
    return rng.normal(0, 1, units)[unit] + rng.normal(0, 1, unit.size), (unit % 2).astype(float), unit


@pytest.mark.parametrize("seed", range(5))
def test_ancova_is_statsmodels_least_squares(seed):
    y, treated, x = sample(seed)
    want = OLS(y, np.column_stack([np.ones(y.size), treated, x])).fit()
    got = compare_by_ancova(*arms_of(y, treated, x))
    # Two ways round the same normal equations: rounding only.
    assert (got.effect, got.theta) == pytest.approx(want.params[1:], rel=1e-9)
    assert (got.standard_error, got.pvalue) == pytest.approx((want.bse[1], want.pvalues[1]), rel=1e-9)
    assert got.effect_interval == pytest.approx(want.conf_int()[1], rel=1e-9)
    assert got.effect == pytest.approx(compare_adjusted_means(*arms_of(y, treated, x)).effect)


@pytest.mark.parametrize("variance", ["HC0", "HC2", "HC3"])
def test_lin_regression_is_statsmodels_with_interactions(variance):
    y, treated, x = sample(11)
    more = np.column_stack([x, np.random.default_rng(12).normal(0, 1, x.size)])
    centred = more - more.mean(axis=0)
    want = OLS(y, np.column_stack([np.ones(y.size), treated, centred, centred * treated[:, None]])).fit()
    got = compare_by_lin_regression(y, treated, more, variance=variance)
    error = np.sqrt(getattr(want, f"cov_{variance}")[1, 1])
    assert (got.effect, got.standard_error, got.df) == pytest.approx((want.params[1], error, want.df_resid), rel=1e-9)


@pytest.mark.parametrize("variance", ["HC0", "HC2", "HC3"])
def test_robust_ancova_is_statsmodels_without_interactions(variance):
    y, treated, x = sample(13)
    more = np.column_stack([x, np.random.default_rng(14).normal(0, 1, x.size)])
    want = OLS(y, np.column_stack([np.ones(y.size), treated, more])).fit()
    got = compare_by_robust_ancova(y, treated, more, variance=variance)
    error = np.sqrt(getattr(want, f"cov_{variance}")[1, 1])
    assert (got.effect, got.standard_error, got.df) == pytest.approx((want.params[1], error, want.df_resid), rel=1e-9)
    one = compare_by_robust_ancova(y, treated, x, variance=variance)
    assert one.effect == pytest.approx(compare_by_ancova(*arms_of(y, treated, x)).effect)
    assert compare_by_robust_ancova(y, 1 - treated, x).effect == pytest.approx(-one.effect)


def test_robust_ancova_refuses_what_has_no_answer():
    y, treated, x = sample(15)
    assert isinstance(compare_by_robust_ancova(y, treated, np.column_stack([x, 2 * x])), NotComputed)
    assert compare_by_robust_ancova(np.r_[np.nan, y[1:]], treated, x).reason == "a value is not a finite number"
    assert compare_by_robust_ancova(y, treated, np.r_[np.inf, x[1:]]).reason == "a value is not a finite number"
    with pytest.raises(ValueError, match="variance is 'HC1'"):
        compare_by_robust_ancova(y, treated, x, variance="HC1")
    with pytest.raises(ValueError, match="treated has values other than 0 and 1"):
        compare_by_robust_ancova(y, treated + 1, x)


def test_table_of_units_gives_what_statsmodels_made_of_it():
    if not ORACLES.is_dir():
        pytest.skip(f"reference cases are not at {ORACLES}")
    want = json.loads((ORACLES / "unit_level.json").read_text())["cases"]["cuped_mean/revenue~pre_revenue"]["reference"]
    with (ORACLES / "unit_level_main.csv").open() as file:
        rows = list(csv.DictReader(file))
    y, x = (np.array([float(row[column]) for row in rows]) for column in ("revenue", "pre_revenue"))
    treated = np.array([row["variant"] == "treatment" for row in rows], dtype=float)
    plain = want["ols_ancova_nonrobust"]
    got = compare_by_ancova(*arms_of(y, treated, x))
    assert (got.effect, got.standard_error, got.pvalue) == pytest.approx(
        (plain["effect"], plain["se"], plain["p"]), rel=1e-8
    )
    assert got.effect_interval == pytest.approx(plain["ci"], rel=1e-8)
    for variance in ("HC2", "HC3"):
        got, robust = compare_by_lin_regression(y, treated, x, variance=variance), want[f"ols_lin_{variance}"]
        assert (got.effect, got.standard_error) == pytest.approx((robust["effect"], robust["se"]), rel=1e-8)


def test_ancova_of_one_unit_against_three_is_statsmodels():
    y, treated, x = np.array([1.0, 2.0, 2.5, 4.0]), np.array([0.0, 1.0, 1.0, 1.0]), np.array([1.0, 1.0, 3.0, 4.0])
    want = OLS(y, np.column_stack([np.ones(4), treated, x])).fit()
    for order, sign in ((1, 1), (-1, -1)):
        got = compare_by_ancova(*arms_of(y, treated, x)[::order])
        assert (got.effect, got.standard_error, got.df) == pytest.approx((sign * want.params[1], want.bse[1], 1))


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_test_and_interval_are_statsmodels_on_each_side(alternative):
    y, treated, x = sample(16)
    want = OLS(y, np.column_stack([np.ones(y.size), treated, x])).fit(cov_type="HC2", use_t=True)
    law, t = stats.t(want.df_resid), want.tvalues[1]
    half = law.isf(0.05 if alternative == "two-sided" else 0.1) * want.bse[1]
    low, high = want.params[1] - half, want.params[1] + half
    pvalues = {"two-sided": want.pvalues[1], "greater": law.sf(t), "less": law.cdf(t)}
    got = compare_by_robust_ancova(y, treated, x, alpha=0.1, alternative=alternative)
    assert (got.statistic, got.pvalue) == pytest.approx((t, pvalues[alternative]))
    assert got.effect_interval == pytest.approx(
        (-math.inf if alternative == "less" else low, math.inf if alternative == "greater" else high)
    )
    assert (got.confidence_level, got.alternative) == (0.9, alternative)


@pytest.mark.parametrize("variance", ["HC0", "HC2", "HC3"])
def test_regression_with_one_unit_more_than_coefficients_is_statsmodels(variance):
    y, treated, x = np.array([1.0, 3.0, 2.5, 5.0]), np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 2.0, 1.0, 2.0])
    want = OLS(y, np.column_stack([np.ones(4), treated, x])).fit()
    got = compare_by_robust_ancova(y, treated, x, variance=variance)
    error = np.sqrt(getattr(want, f"cov_{variance}")[1, 1])
    assert (got.effect, got.standard_error, got.df) == pytest.approx((want.params[1], error, 1))


def test_unit_that_alone_decides_a_coefficient_leaves_only_the_plain_variance():
    y, treated, x = sample(17, 12)
    alone = np.column_stack([x, np.arange(12) == 5])
    want = OLS(y, np.column_stack([np.ones(12), treated, alone])).fit()
    got = compare_by_robust_ancova(y, treated, alone, variance="HC0")
    assert (got.effect, got.standard_error) == pytest.approx((want.params[1], np.sqrt(want.cov_HC0[1, 1])))
    for variance in ("HC2", "HC3"):
        assert compare_by_robust_ancova(y, treated, alone, variance=variance).reason == (
            "a unit alone decides a coefficient, so its residual says nothing"
        )


@pytest.mark.parametrize("seed", range(3))
def test_clustered_regression_is_statsmodels_with_clusters(seed):
    y, treated, unit = clustered_sample(seed)
    totals = [unit_totals(y[treated == arm], unit[treated == arm]) for arm in (0, 1)]
    design = np.column_stack([np.ones(y.size), treated])
    for variance, correction in (("CR0", False), ("CR1", True)):
        clusters = {"groups": unit, "use_correction": correction}
        want = OLS(y, design).fit(cov_type="cluster", cov_kwds=clusters, use_t=True)
        got = compare_by_clustered_regression(*totals, variance=variance)
        assert (got.effect, got.standard_error) == pytest.approx((want.params[1], want.bse[1]), rel=1e-9)
        # statsmodels, too, tests with one degree of freedom less than there are clusters.
        assert got.pvalue == pytest.approx(want.pvalues[1], rel=1e-9)
        assert got.effect_interval == pytest.approx(want.conf_int()[1], rel=1e-9)


@pytest.mark.parametrize("variance", ["CR0", "CR1", "CR2"])
def test_unit_without_events_changes_nothing(variance):
    arms = [([1, 0, 3, 2], [2, 1, 5, 2]), ([2, 1, 4, 2], [2, 2, 5, 3])]
    idle = [([0, *sums, 0], [0, *counts, 0]) for sums, counts in arms]
    assert compare_by_clustered_regression(*idle, variance=variance) == (
        compare_by_clustered_regression(*arms, variance=variance)
    )


def test_cr0_is_the_ratio_by_the_delta_method_but_for_its_divisor():
    y, treated, unit = clustered_sample(7)
    totals = [unit_totals(y[treated == arm], unit[treated == arm]) for arm in (0, 1)]
    ratio = compare_ratios(*[CoMoments.from_values(*arm) for arm in totals])
    units = totals[0][0].size
    assert totals[1][0].size == units
    got = compare_by_clustered_regression(*totals, variance="CR0")
    assert got.standard_error == pytest.approx(ratio.standard_error * ((units - 1) / units) ** 0.5)


def test_cr2_with_one_event_a_unit_is_welch():
    y, treated, _ = sample(5)
    totals = [(y[treated == arm], np.ones(int((treated == arm).sum()))) for arm in (0, 1)]
    got = compare_by_clustered_regression(*totals)
    welch = sum(Moments.from_values(arm).variance / arm.size for arm, _ in totals)
    # Without clusters CR2 is HC2, and for two means HC2 is Welch's variance.
    assert got.standard_error == pytest.approx(welch**0.5)


CALLS = {
    "analysis of covariance, t test": lambda y, t, x: compare_by_ancova(*arms_of(y, t, x)),
    "analysis of covariance, HC2, t test": compare_by_robust_ancova,
    "regression with interactions (Lin), HC3, t test": lambda y, t, x: compare_by_lin_regression(
        y, t, x, variance="HC3"
    ),
    "regression of events clustered on the unit, CR1, t test": lambda y, t, x: compare_by_clustered_regression(
        *[(y[t == arm], np.ceil(x[t == arm]) + 3) for arm in (0, 1)], variance="CR1"
    ),
}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("factor", [1e-40, 1e40])
def test_unit_of_the_metric_changes_neither_statistic_nor_method(method, factor):
    y, treated, x = sample(18)
    one, other = (CALLS[method](y * by, treated, x) for by in (1.0, factor))
    scaled = one.effect * factor, one.standard_error * factor
    assert (other.effect, other.standard_error) == pytest.approx(scaled, rel=1e-9, abs=0)
    assert (other.statistic, other.pvalue, other.df) == pytest.approx((one.statistic, one.pvalue, one.df))
    assert one.method == other.method == method


def test_exact_decimals_of_a_warehouse_are_read_as_numbers():
    y, treated, x = sample(19, 12)
    outcomes, arm, covariates = ([Decimal(str(float(v))) for v in values] for values in (y, treated, x))
    for compare in (compare_by_lin_regression, compare_by_robust_ancova):
        assert compare(outcomes, arm, covariates) == compare(y, treated, x)
    sums, counts = [3.5, 1.25, 2.0], [3, 1, 2]
    exact = ([Decimal(str(v)) for v in sums], [Decimal(n) for n in counts])
    other = ([1, 2, 2], [1, 1, 3])
    assert compare_by_clustered_regression(exact, other) == compare_by_clustered_regression((sums, counts), other)


def test_swapping_variants_flips_the_sign():
    y, treated, x = sample(8)
    arms = arms_of(y, treated, x)
    assert compare_by_ancova(*arms).effect == pytest.approx(-compare_by_ancova(*arms[::-1]).effect)
    got, back = (compare_by_lin_regression(y, arm, x) for arm in (treated, 1 - treated))
    assert (got.effect, got.standard_error) == pytest.approx((-back.effect, back.standard_error))


@pytest.mark.parametrize("gradient", ["expected", "observed"])
def test_without_a_covariate_the_relative_effect_is_the_plain_one(gradient):
    y, treated, x = sample(9)
    arms = [CoMoments.of_constant(arm.outcome, 1.0) for arm in arms_of(y, treated, x)]
    plain = compare_relative_by_delta(*[MeanEstimate.of_mean(arm.outcome) for arm in arms])
    got = compare_adjusted_relative_by_delta(*arms, theta=0.0, gradient=gradient)
    assert (got.relative_effect, got.standard_error, got.df) == pytest.approx(
        (plain.relative_effect, plain.standard_error, plain.df)
    )
    assert got.relative_interval == pytest.approx(plain.relative_interval)


@pytest.mark.parametrize("gradient", ["expected", "observed"])
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_relative_effect_has_the_error_of_the_delta_method_over_units(gradient, ddof, alternative):
    y, treated, x = sample(20, 30)
    values = [np.column_stack([y[treated == arm], x[treated == arm]]) for arm in (0, 1)]
    theta = 0.7
    means = [v.mean(axis=0) for v in values]
    at = np.concatenate(means)
    if gradient == "expected":
        at[[1, 3]] = at[1]

    def relative(c, cx, t, tx):
        return (t - theta * tx - c + theta * cx) / c

    # The gradient by complex steps, which lose no digits; then the variance of each variant's own mixture.
    slopes = np.array([relative(*(at + step)).imag for step in 1e-30j * np.eye(4)]) / 1e-30
    want = relative(*np.concatenate(means))
    error = math.sqrt(
        sum(np.var(v @ slopes[k : k + 2], ddof=ddof) / len(v) for v, k in zip(values, (0, 2), strict=True))
    )
    parts = [np.var(v @ [1, -theta], ddof=ddof) / len(v) for v in values]
    df = sum(parts) ** 2 / sum(part**2 / (len(v) - 1) for part, v in zip(parts, values, strict=True))
    got = compare_adjusted_relative_by_delta(
        *arms_of(y, treated, x), theta=theta, gradient=gradient, ddof=ddof, alpha=0.1, alternative=alternative
    )
    assert (got.relative_effect, got.standard_error, got.df) == pytest.approx((want, error, df))
    law = stats.t(df)
    half = law.isf(0.05 if alternative == "two-sided" else 0.1) * error
    tails = {"two-sided": 2 * law.sf(abs(want / error)), "greater": law.sf(want / error), "less": law.cdf(want / error)}
    assert (got.statistic, got.pvalue) == pytest.approx((want / error, tails[alternative]))
    assert got.relative_interval == pytest.approx(
        (
            -math.inf if alternative == "less" else want - half,
            math.inf if alternative == "greater" else want + half,
        )
    )
    assert (got.confidence_level, got.alternative) == (0.9, alternative)
    assert got.method == "delta method on the relative effect, covariate-adjusted over the raw mean of the control"


def test_two_units_a_variant_are_enough_for_a_relative_effect():
    # By hand, without the covariate: control 1, 3 (mean 2, variance 2), treatment 3, 5; each alike or not.
    control = CoMoments.from_values([1.0, 3.0], [0.0, 1.0])
    treatment = CoMoments.from_values([3.0, 5.0], [0.0, 1.0])
    got = compare_adjusted_relative_by_delta(control, treatment, theta=0.0)
    # (1 + 2² * 1) / 2²: the variance of a mean is 2 / 2, and the treatment's mean is twice the control's.
    assert (got.relative_effect, got.standard_error) == pytest.approx((1.0, math.sqrt(5 / 4)))
    still = CoMoments.from_values([4.0, 4.0], [0.0, 1.0])
    got = compare_adjusted_relative_by_delta(control, still, theta=0.0)
    assert (got.relative_effect, got.standard_error) == pytest.approx((1.0, 1.0))


def test_what_cannot_be_computed_says_why():
    y, treated, x = sample(10, 12)
    arms = arms_of(y, treated, x)
    constant = [CoMoments.of_constant(arm.outcome, 1.0) for arm in arms]
    assert compare_by_ancova(*constant).reason == "the covariate is constant in both variants"
    exact = [CoMoments.from_values([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])] * 2
    assert compare_by_ancova(*exact).reason == "the covariate leaves no variance in control or treatment"
    assert isinstance(compare_by_ancova(arms[0], CoMoments.from_values([], [])), NotComputed)
    assert isinstance(compare_by_lin_regression(y, treated, np.ones(y.size)), NotComputed)
    assert isinstance(compare_by_lin_regression(2 * x, treated, x), NotComputed)
    assert isinstance(compare_by_lin_regression(np.full(y.size, np.nan), treated, x), NotComputed)
    assert compare_by_clustered_regression(([1.0], [1.0]), ([1.0, 2.0], [1.0, 1.0])).reason == (
        "control has 1 unit with events; at least 2 are needed"
    )
    same = ([1.0, 2.0], [1.0, 2.0])
    assert compare_by_clustered_regression(same, same).reason == "no unit differs from its variant's mean"
    assert compare_adjusted_relative_by_delta(*exact, theta=0.5).reason == (
        "the covariate leaves no variance in control or treatment"
    )
    zero = replace(arms[0], outcome=replace(arms[0].outcome, mean=0.0))
    assert compare_adjusted_relative_by_delta(zero, arms[1], theta=0.5).reason == "the mean of the control is zero"
    # Twice the control's outcome less its covariate is constant, and so is the treatment's outcome less its own.
    still = CoMoments.from_values([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]), CoMoments.from_values([3.0, 5.0], [3.0, 5.0])
    assert compare_adjusted_relative_by_delta(*still, theta=1.0).reason == (
        "the relative effect has no error left to measure it against"
    )


SOME = CoMoments.from_values([1.0, 2.0, 4.0], [1.0, 0.0, 2.0])
NONE, ONE = CoMoments.from_values([], []), CoMoments.from_values([1.0], [1.0])
WRONG = replace(SOME, outcome=replace(SOME.outcome, mean=math.nan))
HALF, TREATED = np.arange(8) % 3 / 3, np.arange(8) % 2


@pytest.mark.parametrize(
    ("compare", "reason"),
    [
        (lambda: compare_by_ancova(SOME, NONE), "control has 3 and treatment 0 units; both are needed, 4 in all"),
        (lambda: compare_by_ancova(SOME, WRONG), "a value is not a finite number"),
        (
            lambda: compare_by_ancova(*[CoMoments.from_values([1.0, 1.0], [1.0, 2.0])] * 2),
            "the covariate leaves no variance in control or treatment",
        ),
        (
            lambda: compare_by_robust_ancova(np.zeros(8), TREATED, HALF),
            "the covariates leave no variance in control or treatment",
        ),
        (
            lambda: compare_by_robust_ancova(2 * HALF, TREATED, HALF),
            "the covariates leave no variance in control or treatment",
        ),
        (
            lambda: compare_by_lin_regression(HALF, TREATED, np.ones(8)),
            "the covariates cannot be told from each other or from the variant with so few units",
        ),
        (
            lambda: compare_by_robust_ancova([1.0, 2.0, 4.0], [0, 0, 1], [1.0, 2.0, 2.0]),
            "the covariates cannot be told from each other or from the variant with so few units",
        ),
        (
            lambda: compare_by_clustered_regression(([1, 2], [1, 2]), ([1, math.nan], [1, 2])),
            "a value of treatment is not a finite number",
        ),
        (
            lambda: compare_by_clustered_regression(([1, 2], [1, math.inf]), ([1, 2], [1, 2])),
            "a value of control is not a finite number",
        ),
        (
            lambda: compare_by_clustered_regression(([1, 2], [1, 2]), ([0, 0], [0, 0])),
            "treatment has 0 units with events; at least 2 are needed",
        ),
        (
            lambda: compare_by_clustered_regression(([0, 0], [1, 2]), ([0, 0], [1, 2])),
            "no unit differs from its variant's mean",
        ),
        (
            lambda: compare_adjusted_relative_by_delta(ONE, SOME, theta=0.5),
            "control has 1 unit; a mean needs at least 2",
        ),
        (
            lambda: compare_adjusted_relative_by_delta(SOME, NONE, theta=0.5),
            "treatment has 0 units; a mean needs at least 2",
        ),
        (
            lambda: compare_adjusted_relative_by_delta(WRONG, SOME, theta=0.5),
            "a value of control is not a finite number",
        ),
        (
            lambda: compare_adjusted_relative_by_delta(SOME, WRONG, theta=0.5),
            "a value of treatment is not a finite number",
        ),
    ],
)
def test_refusal_names_what_is_missing(compare, reason):
    assert compare() == NotComputed(reason)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: compare_by_lin_regression([1.0], [0], [1.0], variance="HC1"), "variance is 'HC1'"),
        (lambda: compare_by_lin_regression([1.0, 2.0], [0], [1.0]), "2, 1 and 1 rows"),
        (lambda: compare_by_lin_regression([1.0], [2], [1.0]), "treated"),
        (lambda: compare_by_lin_regression([[1.0]], [1], [1.0]), "must be flat"),
        (lambda: compare_by_lin_regression([1.0], [[1]], [1.0]), "must be flat"),
        (lambda: compare_by_lin_regression([1.0], [1], [[[1.0]]]), "must be flat"),
        (lambda: compare_by_clustered_regression(([1.0], [1.0]), ([1.0], [1.0]), variance="CR3"), "variance is 'CR3'"),
        (lambda: compare_by_clustered_regression(([1.0], [1.0, 2.0]), ([1.0], [1.0])), "control has 1 sums"),
        (lambda: with_ddof(MeanEstimate(1.0, 1.0, 3), 2), "ddof is 2"),
        (lambda: compare_by_ancova(*[CoMoments.from_values([], [])] * 2, alternative="more"), "alternative"),
    ],
)
def test_a_slip_of_the_caller_names_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.slow
def test_cr2_errs_as_often_as_promised_with_few_units_of_unequal_size():
    rng, wrong, plain, repetitions = np.random.default_rng(20260301), 0, 0, 4_000
    sizes = np.array([1, 1, 2, 2, 3, 3, 4, 6, 8, 10, 15, 20], dtype=float)
    for _ in range(repetitions):
        arms = []
        for _ in range(2):
            arms.append((sizes * rng.normal(0, 1, sizes.size) + rng.normal(0, np.sqrt(sizes)), sizes))
        wrong += compare_by_clustered_regression(*arms).pvalue < 0.05
        plain += compare_by_clustered_regression(*arms, variance="CR0").pvalue < 0.05
    # Satterthwaite's is an approximation; it is to keep within a fifth of 0.05, where CR0 is far out.
    assert wrong / repetitions == pytest.approx(0.05, abs=0.01 + 4 * (0.05 * 0.95 / repetitions) ** 0.5)
    assert plain / repetitions > 0.08
