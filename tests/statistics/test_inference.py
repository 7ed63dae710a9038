from __future__ import annotations

import csv
import importlib.util
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, test_proportions_2indep
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, welch_df
from abtest_lib.statistics.inference import (
    Comparison,
    compare_adjusted_means,
    compare_estimates,
    compare_means,
    compare_proportions,
    compare_relative_by_delta,
)
from abtest_lib.statistics.intervals import (
    as_ratio,
    delta_interval,
    fieller_interval,
    log_ratio_interval,
    wald_interval,
)
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.proportions import (
    newcombe_interval,
    pooled_z,
    score_ratio_interval,
    score_ratio_z,
    unpooled_z,
    wilson_interval,
)
from abtest_lib.statistics.score_intervals import miettinen_nurminen_interval
from abtest_lib.statistics.tails import critical_value, tail_pvalue

test_proportions_2indep.__test__ = False
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"

SIDES = ("two-sided", "greater", "less")
COUNTS = st.tuples(st.integers(1, 5_000), st.integers(1, 5_000), st.floats(0, 1), st.floats(0, 1)).map(
    lambda c: (round(c[0] * c[2]), c[0], round(c[1] * c[3]), c[1])
)
MEANS = st.builds(Moments, st.integers(2, 10_000), st.floats(0.1, 1_000), st.floats(1e-3, 1e8))
ESTIMATES = st.builds(MeanEstimate, st.floats(0.5, 100), st.floats(1e-4, 10), st.integers(1, 10_000))
PAIRS = st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=3, max_size=20)
VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=20)
ALPHAS = st.floats(0.001, 0.4)


def paired(rows):
    return CoMoments.from_values(*zip(*rows, strict=True))


def simulations():
    spec = importlib.util.spec_from_file_location("error_rates", ROOT / "benchmarks" / "error_rates.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["error_rates"] = module
    spec.loader.exec_module(module)
    return module


# --- proportions: references


def test_newcombe_interval_matches_the_papers_example():
    # Newcombe (1998), Table II, (a) 56/70 - 48/80, method 10: 0.0524, 0.3339 (four digits printed).
    assert newcombe_interval(48, 80, 56, 70) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe (1998), Two-sided CIs for the single proportion, Table I, method 3 (four digits printed).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_matches_the_papers_table(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(COUNTS, ALPHAS)
def test_intervals_of_proportions_match_statsmodels(counts, alpha):
    xc, nc, xt, nt = counts
    wald = wald_interval(MeanEstimate.of_proportion(xc, nc), MeanEstimate.of_proportion(xt, nt), alpha=alpha)
    for got, method in ((newcombe_interval(*counts, alpha=alpha), "newcomb"), (wald, "wald")):
        if isinstance(got, NotComputed):  # where statsmodels has an interval without width
            assert xc in (0, nc) and xt in (0, nt)
            continue
        want = confint_proportions_2indep(xt, nt, xc, nc, method=method, compare="diff", alpha=alpha)
        assert got == pytest.approx(want, abs=1e-9)
    assert wilson_interval(xc, nc, alpha=alpha) == pytest.approx(
        proportion_confint(xc, nc, alpha=alpha, method="wilson"), abs=1e-9
    )


@given(COUNTS)
def test_pooled_z_matches_pearsons_chi_squared(counts):
    xc, nc, xt, nt = counts
    assume(0 < xc + xt < nc + nt)
    reference = stats.chi2_contingency([[xc, nc - xc], [xt, nt - xt]], correction=False)
    result = compare_proportions(*counts)
    assert result.statistic**2 == pytest.approx(reference.statistic, rel=1e-8, abs=1e-12)
    assert result.pvalue == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-300)


@given(COUNTS, st.floats(0.2, 5))
def test_score_statistic_of_a_ratio_matches_statsmodels(counts, ratio):
    # statsmodels' score test is wrong for differences with a margin (its issue 10269), not for ratios.
    xc, nc, xt, nt = counts
    assume(0 < xc < nc and 0 < xt < nt)
    want = test_proportions_2indep(xt, nt, xc, nc, value=ratio, compare="ratio", method="score", correction=False)
    assert score_ratio_z(*counts, ratio=ratio) == pytest.approx(want.statistic, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    # ratesci 1.1.0: scoreci(contrast="RR", skew=FALSE, bcf=FALSE), printed to ten digits.
    [((155, 5_000, 190, 5_000), 0.9955404406, 1.5094527865), ((3, 10_000, 12, 10_000), 1.2135602629, 13.1867689662)],
)
def test_koopman_interval_matches_ratesci(counts, low, high):
    # ratesci's own root search stops at about 1e-7.
    assert as_ratio(compare_proportions(*counts).relative_interval) == pytest.approx((low, high), rel=1e-6)


# --- means: references


@given(control=VALUES, treatment=VALUES)
@pytest.mark.parametrize("alternative", SIDES)
def test_welch_matches_statsmodels(control, treatment, alternative):
    assume(np.ptp(control) > 0.1 and np.ptp(treatment) > 0.1)
    result = compare_means(
        Moments.from_values(control), Moments.from_values(treatment), alpha=0.1, alternative=alternative
    )
    reference = CompareMeans(DescrStatsW(treatment), DescrStatsW(control))
    word = {"two-sided": "two-sided", "greater": "larger", "less": "smaller"}[alternative]
    statistic, pvalue, df = reference.ttest_ind(word, "unequal")
    assert (result.statistic, result.df, result.pvalue) == pytest.approx((statistic, df, pvalue), rel=1e-7, abs=1e-12)
    want = reference.tconfint_diff(0.1, word, "unequal")
    assert result.effect_interval == pytest.approx(want, rel=1e-7, abs=1e-9)


def test_table_of_units_gives_what_other_programs_made_of_it():
    if not (SHARED / "oracles").is_dir():
        pytest.skip(f"reference cases are not at {SHARED / 'oracles'}")
    cases = json.loads((SHARED / "oracles" / "unit_level.json").read_text())["cases"]
    with (SHARED / "oracles" / "unit_level_main.csv").open() as file:
        rows = list(csv.DictReader(file))
    revenue, converted = (
        [Moments.from_values(float(r[column]) for r in rows if r["variant"] == arm) for arm in ("control", "treatment")]
        for column in ("revenue", "converted")
    )
    want = cases["mean/revenue"]["reference"]
    got = compare_means(*revenue)
    assert (got.effect, got.df, got.statistic, got.pvalue) == pytest.approx(
        (want["effect"], want["df"], want["t"], want["p_welch"]), rel=1e-9
    )
    assert got.effect_interval == pytest.approx(want["ci_welch"], rel=1e-9)
    assert got.relative_interval == pytest.approx(want["relative_t"]["fieller"], rel=1e-9)
    arms = [MeanEstimate.of_mean(moments) for moments in revenue]
    assert delta_interval(*arms, df=got.df) == pytest.approx(want["relative_t"]["delta"], rel=1e-9)
    assert log_ratio_interval(*arms, df=got.df) == pytest.approx(want["relative_t"]["log_delta"], rel=1e-9)
    assert fieller_interval(*arms) == pytest.approx(want["relative_z"]["fieller"], rel=1e-9)
    want = cases["proportion/converted"]["reference"]
    got = compare_proportions(*[count for moments in converted for count in (moments.successes, moments.n)])
    assert (got.statistic, got.pvalue) == pytest.approx((want["z_pooled"], want["p_pooled"]), rel=1e-9)
    assert got.effect_interval == pytest.approx(want["ci"]["newcomb"], rel=1e-9)
    shares = [MeanEstimate.of_proportion(moments.successes, moments.n) for moments in converted]
    assert fieller_interval(*shares) == pytest.approx(want["relative_unpooled_n_minus_0"]["fieller"], rel=1e-9)


def test_table_of_units_adjusted_for_the_year_before_gives_what_other_programs_made_of_it():
    if not (SHARED / "oracles").is_dir():
        pytest.skip(f"reference cases are not at {SHARED / 'oracles'}")
    want = json.loads((SHARED / "oracles" / "unit_level.json").read_text())["cases"]["cuped_mean/revenue~pre_revenue"]
    want = want["reference"]["within_arm_theta(ANCOVA)"]
    with (SHARED / "oracles" / "unit_level_main.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = [
        [[float(r[column]) for r in rows if r["variant"] == arm] for column in ("revenue", "pre_revenue")]
        for arm in ("control", "treatment")
    ]
    got = compare_adjusted_means(*[CoMoments.from_values(*arm) for arm in columns])
    assert (got.effect, got.standard_error, got.df, got.statistic, got.pvalue, got.adjustment.theta) == pytest.approx(
        tuple(want[key] for key in ("effect", "se", "df", "t", "p_welch", "theta")), rel=1e-9
    )
    assert got.effect_interval == pytest.approx(want["ci_welch"], rel=1e-9)
    assert got.relative_effect == pytest.approx(want["relative_t"]["rel"], rel=1e-9)
    assert got.relative_interval == pytest.approx(want["relative_t"]["fieller"], rel=1e-9)


@given(PAIRS, PAIRS)
def test_adjusted_effect_matches_statsmodels_regression(control, treatment):
    y, x = (np.array([row[i] for row in (*control, *treatment)]) for i in (0, 1))
    treated = np.repeat([0.0, 1.0], [len(control), len(treatment)])
    assume(np.ptp(x[treated == 0]) > 0.1 and np.ptp(x[treated == 1]) > 0.1)
    # OLS of the outcome on variant and covariate: its slope is theta within variants, its contrast the effect.
    fit = OLS(y, np.column_stack([np.ones(len(y)), treated, x])).fit()
    assume(fit.ssr > 1e-3)
    got = compare_adjusted_means(paired(control), paired(treatment))
    assert (got.effect, got.adjustment.theta) == pytest.approx(fit.params[1:], rel=1e-7, abs=1e-7)


def test_hillstrom_campaign_gives_the_published_numbers():
    path = SHARED / "data" / "hillstrom" / "expected.json"
    if not path.exists():
        pytest.skip(f"the data set is not at {path.parent}")
    checked = 0
    for arm in every_dict_with(json.loads(path.read_text()), "z_pooled"):
        got = compare_proportions(
            arm["successes_control"], arm["n_control"], arm["successes_treatment"], arm["n_treatment"]
        )
        # A p-value of 3e-44 given to 16 digits; z to 15.
        assert got.statistic == pytest.approx(arm["z_pooled"], rel=1e-12)
        assert got.pvalue == pytest.approx(arm["pvalue_z_pooled"], rel=1e-10, abs=0)
        assert got.effect_interval == pytest.approx(arm["ci95_newcombe"], rel=1e-9)
        welch = compare_means(
            Moments.from_counts(arm["successes_control"], arm["n_control"]),
            Moments.from_counts(arm["successes_treatment"], arm["n_treatment"]),
        )
        assert welch.pvalue == pytest.approx(arm["pvalue_welch"], rel=1e-8, abs=0)
        assert welch.effect_interval == pytest.approx(arm["ci95_welch"], rel=1e-9)
        checked += 1
    assert checked >= 2


def every_dict_with(tree, key):
    if isinstance(tree, dict):
        if key in tree:
            yield tree
        for branch in tree.values():
            yield from every_dict_with(branch, key)


@pytest.mark.parametrize("df", [3.7, 49.6, 3_712.0, 1e6])
@pytest.mark.parametrize("statistic", [0.5, 5.0, 8.7, 20.0, 36.0])
def test_pvalue_holds_far_into_the_tail(df, statistic):
    # Quadrature of the density relative to its value at the statistic, so that nothing underflows.
    def relative(x):
        return math.exp(-(df + 1) / 2 * (math.log1p(x * x / df) - math.log1p(statistic**2 / df)))

    width = statistic + 40 / max(statistic, 1)
    near, _ = integrate.quad(relative, statistic, width, epsabs=0, epsrel=1e-12, limit=400)
    far, _ = integrate.quad(relative, width, math.inf, epsabs=0, epsrel=1e-9, limit=400)
    tail = (near + far) * math.exp(stats.t.logpdf(statistic, df))
    assert tail_pvalue(statistic, "greater", df) == pytest.approx(tail, rel=1e-8, abs=0)
    assert tail_pvalue(-statistic, "less", df) == pytest.approx(tail, rel=1e-8, abs=0)


def test_normal_pvalue_is_not_lost_at_1e_minus_300():
    # Abramowitz and Stegun 26.2.12 with six terms of the asymptotic series: relative error below 1e-12 at 37.
    z = 37.0
    series = sum((-1) ** k * math.prod(range(1, 2 * k, 2)) / z ** (2 * k) for k in range(6))
    log_tail = -z * z / 2 - math.log(z * math.sqrt(2 * math.pi)) + math.log(series)
    assert tail_pvalue(z, "greater") == pytest.approx(math.exp(log_tail), rel=1e-10, abs=0)
    assert 0 < tail_pvalue(z) < 1e-298


# --- what cannot be computed


def test_variant_without_units_is_not_computed():
    assert compare_proportions(0, 0, 5, 100) == NotComputed("control has no units")
    assert compare_proportions(5, 100, 0, 0) == NotComputed("treatment has no units")
    assert compare_means(Moments(1, 2.0, 0.0), Moments(5, 2.0, 1.0)).reason.startswith("control has 1 unit;")


@pytest.mark.parametrize("successes", [0, 100])
def test_proportions_that_do_not_vary_have_an_interval_and_no_pvalue(successes):
    result = compare_proportions(successes, 100, successes, 100)
    assert isinstance(result.pvalue, NotComputed)
    assert isinstance(result.statistic, NotComputed)
    low, high = result.effect_interval
    assert low < 0 < high


def test_relative_interval_of_shares_that_are_all_one_is_wilsons():
    # The score of a ratio r <= 1 is then that of one share r of n; r and 1 / r change places.
    wilson, _ = wilson_interval(100, 100)
    got = as_ratio(compare_proportions(100, 100, 100, 100).relative_interval)
    assert got == pytest.approx((wilson, 1 / wilson), rel=1e-12)


def test_relative_interval_is_not_computed_when_nobody_succeeds():
    assert compare_proportions(0, 100, 0, 100).relative_interval == NotComputed("the mean of the control is zero")


def test_control_without_successes_has_an_effect_and_no_relative_effect():
    result = compare_proportions(0, 100, 8, 100)
    assert result.pvalue < 0.01
    assert result.relative_effect == NotComputed("the mean of the control is zero")
    assert result.relative_interval == NotComputed("the mean of the control is zero")


def test_treatment_without_successes_gets_no_interval_of_width_zero():
    low, high = compare_proportions(8, 100, 0, 100).relative_interval
    assert low == -1 < high < 0
    arms = MeanEstimate.of_proportion(8, 100), MeanEstimate.of_proportion(0, 100)
    assert isinstance(fieller_interval(*arms), NotComputed)


def test_means_that_do_not_vary_or_are_not_finite_are_not_computed():
    still = Moments(5, 1.0, 0.0)
    assert compare_means(still, still) == NotComputed("no value varies in control or treatment")
    broken = Moments(5, math.nan, math.nan)
    assert compare_means(still, broken) == NotComputed("a value of treatment is not a finite number")
    assert compare_relative_by_delta(MeanEstimate(0.0, 1.0, 9), MeanEstimate(1.0, 1.0, 9)) == NotComputed(
        "the mean of the control is zero"
    )


def test_control_mean_near_zero_has_no_bounded_relative_interval():
    result = compare_means(Moments(50, 0.1, 5_000.0), Moments(50, 3.0, 5_000.0))
    assert isinstance(result, Comparison)
    assert result.relative_interval == NotComputed("the mean of the control is not clearly different from zero")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare_proportions(5, 4, 1, 4), r"successes_control is 5; .*n_control \(4\)"),
        (lambda: compare_proportions(1, 4, -1, 4), "successes_treatment is -1"),
        (lambda: compare_proportions(1, 4, 1.5, 4), "successes_treatment is 1.5"),
        (lambda: compare_proportions(1, -4, 1, 4), "n_control is -4"),
        (lambda: compare_proportions(1, 4, 5, 4), r"successes_treatment is 5; .*n_treatment \(4\)"),
        (lambda: compare_proportions(1, 4, 1, 4, alpha=0), "alpha is 0"),
        (lambda: compare_means(Moments(2, 1, 1), Moments(2, 1, 1), alpha=1.5), "alpha is 1.5"),
        (lambda: compare_means(Moments(2, 1, 1), Moments(2, 1, 1), alternative="larger"), "alternative is 'larger'"),
        (lambda: wilson_interval(3, 2), "successes is 3"),
    ],
)
def test_callers_slip_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- properties


@given(COUNTS, ALPHAS)
def test_swapping_variants_flips_a_difference_of_proportions(counts, alpha):
    xc, nc, xt, nt = counts
    one, other = compare_proportions(*counts, alpha=alpha), compare_proportions(xt, nt, xc, nc, alpha=alpha)
    assert other.effect == -one.effect
    assert other.effect_interval == pytest.approx([-end for end in reversed(one.effect_interval)], abs=1e-15)
    if not isinstance(one.pvalue, NotComputed):
        assert other.statistic == -one.statistic
        assert other.pvalue == one.pvalue


@given(MEANS, MEANS, ALPHAS)
def test_swapping_variants_flips_a_difference_of_means(control, treatment, alpha):
    one, other = compare_means(control, treatment, alpha=alpha), compare_means(treatment, control, alpha=alpha)
    assert other.effect == -one.effect
    assert (other.pvalue, other.df) == pytest.approx((one.pvalue, one.df), rel=1e-9, abs=0)
    assert other.effect_interval == pytest.approx([-end for end in reversed(one.effect_interval)], rel=1e-9)


@given(PAIRS, PAIRS, ALPHAS)
def test_swapping_variants_flips_an_adjusted_difference(control, treatment, alpha):
    arms = [paired(control), paired(treatment)]
    one, other = (compare_adjusted_means(*order, alpha=alpha) for order in (arms, arms[::-1]))
    assume(not isinstance(one, NotComputed))
    assert other.effect == pytest.approx(-one.effect, rel=1e-9, abs=1e-12)
    assert (other.adjustment.theta, other.pvalue) == pytest.approx((one.adjustment.theta, one.pvalue), rel=1e-6)
    assert other.effect_interval == pytest.approx([-end for end in reversed(one.effect_interval)], rel=1e-6, abs=1e-9)


@given(VALUES, VALUES, st.floats(-1e6, 1e6), ALPHAS, st.sampled_from(SIDES))
def test_constant_covariate_adjusts_nothing(control, treatment, constant, alpha, alternative):
    arms = [CoMoments.from_values(values, [constant] * len(values)) for values in (control, treatment)]
    adjusted = compare_adjusted_means(*arms, alpha=alpha, alternative=alternative)
    plain = compare_means(arms[0].outcome, arms[1].outcome, alpha=alpha, alternative=alternative)
    assume(not isinstance(plain, NotComputed))
    assert (adjusted.adjustment.theta, adjusted.adjustment.variance_removed) == (0, 0)
    assert replace(adjusted, adjustment=None, method="") == replace(plain, method="")


@given(PAIRS, PAIRS, st.floats(-1e3, 1e3), st.sampled_from([-50.0, -1.0, 0.01, 3.0, 1e4]))
def test_unit_and_origin_of_the_covariate_do_not_matter(control, treatment, shift, scale):
    assume(all(np.ptp([x for _, x in arm]) > 1 for arm in (control, treatment)))
    one = compare_adjusted_means(paired(control), paired(treatment))
    assume(not isinstance(one, NotComputed) and one.standard_error > 1e-3)
    moved = [paired([(y, shift + scale * x) for y, x in arm]) for arm in (control, treatment)]
    other = compare_adjusted_means(*moved)
    assert other.adjustment.theta * scale == pytest.approx(one.adjustment.theta, rel=1e-5, abs=1e-6)
    assert (other.effect, *other.effect_interval, other.pvalue) == pytest.approx(
        (one.effect, *one.effect_interval, one.pvalue), rel=1e-5, abs=1e-5
    )


@given(PAIRS, PAIRS, ALPHAS, st.sampled_from(SIDES))
def test_adjusted_intervals_exclude_zero_exactly_when_the_pvalue_is_below_alpha(control, treatment, alpha, alternative):
    result = compare_adjusted_means(paired(control), paired(treatment), alpha=alpha, alternative=alternative)
    assume(not isinstance(result, NotComputed) and not math.isclose(result.pvalue, alpha, rel_tol=1e-6))
    for interval in (result.effect_interval, result.relative_interval):
        if not isinstance(interval, NotComputed):
            assert (interval[0] > 0 or interval[1] < 0) == (result.pvalue < alpha)


def test_covariate_that_is_the_outcome_itself_leaves_nothing_to_compare():
    arms = [CoMoments.from_values(values, values) for values in ([1.0, 2.5, 4.0], [2.0, 7.0, 3.3])]
    assert compare_adjusted_means(*arms) == NotComputed("the covariate leaves no variance in control or treatment")


def test_covariate_that_is_not_finite_is_not_computed():
    arms = [CoMoments(Moments(5, 1.0, 3.0), Moments(5, math.nan, math.nan), math.nan)] * 2
    assert compare_adjusted_means(*arms) == NotComputed("a value of control is not a finite number")


@given(ESTIMATES, ESTIMATES, ALPHAS)
def test_swapping_variants_inverts_a_fieller_interval(control, treatment, alpha):
    one, other = fieller_interval(control, treatment, alpha=alpha), fieller_interval(treatment, control, alpha=alpha)
    assume(not isinstance(one, NotComputed) and not isinstance(other, NotComputed))
    assume(critical_value(alpha) ** 2 < 0.9 * treatment.mean**2 / treatment.squared_error)
    assume(as_ratio(one)[0] > 1e-3)
    assert as_ratio(other) == pytest.approx([1 / end for end in reversed(as_ratio(one))], rel=1e-6)


@given(MEANS, MEANS, st.floats(0.01, 100), st.sampled_from(SIDES))
def test_unit_of_the_metric_does_not_matter(control, treatment, scale, alternative):
    def scaled(moments):
        return Moments(moments.n, moments.mean * scale, moments.m2 * scale**2)

    one = compare_means(control, treatment, alternative=alternative)
    other = compare_means(scaled(control), scaled(treatment), alternative=alternative)
    assert other.pvalue == pytest.approx(one.pvalue, rel=1e-6, abs=1e-300)
    if not isinstance(one.relative_interval, NotComputed):
        assert other.relative_interval == pytest.approx(one.relative_interval, rel=1e-6, abs=1e-9)


@given(MEANS, MEANS, ALPHAS, st.sampled_from(SIDES))
def test_intervals_of_means_exclude_zero_exactly_when_the_pvalue_is_below_alpha(control, treatment, alpha, alternative):
    result = compare_means(control, treatment, alpha=alpha, alternative=alternative)
    assume(not math.isclose(result.pvalue, alpha, rel_tol=1e-6))
    low, high = result.effect_interval
    assert (low > 0 or high < 0) == (result.pvalue < alpha)
    if not isinstance(result.relative_interval, NotComputed):
        low, high = result.relative_interval
        assert (low > 0 or high < 0) == (result.pvalue < alpha)


@given(COUNTS, ALPHAS, st.sampled_from(SIDES))
def test_koopman_interval_excludes_zero_exactly_when_the_pvalue_is_below_alpha(counts, alpha, alternative):
    result = compare_proportions(*counts, alpha=alpha, alternative=alternative)
    interval = result.relative_interval
    assume(not isinstance(interval, NotComputed) and not isinstance(result.pvalue, NotComputed))
    assume(not math.isclose(result.pvalue, alpha, rel_tol=1e-6))
    assert (interval[0] > 0 or interval[1] < 0) == (result.pvalue < alpha)


@given(COUNTS, ALPHAS)
def test_ends_of_a_koopman_interval_are_where_its_test_is_critical(counts, alpha):
    interval = score_ratio_interval(*counts, alpha=alpha)
    assume(counts[0] > 0 and counts[2] > 0)
    for ratio, sign in zip(as_ratio(interval), (1, -1), strict=True):
        assert score_ratio_z(*counts, ratio=ratio) == pytest.approx(sign * critical_value(alpha), rel=1e-6)


@given(COUNTS, ALPHAS)
def test_swapping_variants_inverts_a_koopman_interval(counts, alpha):
    xc, nc, xt, nt = counts
    assume(xc > 0 and xt > 0)
    one, other = score_ratio_interval(*counts, alpha=alpha), score_ratio_interval(xt, nt, xc, nc, alpha=alpha)
    assert as_ratio(other) == pytest.approx([1 / end for end in reversed(as_ratio(one))], rel=1e-9)


@given(ESTIMATES, ESTIMATES, ALPHAS)
def test_ends_of_a_fieller_interval_are_where_its_contrast_is_critical(control, treatment, alpha):
    interval = fieller_interval(control, treatment, alpha=alpha)
    assume(not isinstance(interval, NotComputed))
    for ratio in as_ratio(interval):
        contrast = treatment.mean - ratio * control.mean
        error = math.sqrt(treatment.squared_error + ratio**2 * control.squared_error)
        assume(abs(ratio) < 1e3)
        assert abs(contrast) / error == pytest.approx(critical_value(alpha), rel=1e-5)


@given(MEANS, MEANS, ALPHAS, st.sampled_from(["greater", "less"]))
def test_one_sided_interval_is_one_end_of_a_wider_two_sided_one(control, treatment, alpha, alternative):
    one = compare_means(control, treatment, alpha=alpha, alternative=alternative).effect_interval
    two = compare_means(control, treatment, alpha=2 * alpha).effect_interval
    want = (two[0], math.inf) if alternative == "greater" else (-math.inf, two[1])
    assert one == pytest.approx(want, rel=1e-9)


@given(COUNTS, ALPHAS)
def test_effect_lies_within_its_interval(counts, alpha):
    result = compare_proportions(*counts, alpha=alpha)
    low, high = result.effect_interval
    assert -1 <= low <= result.effect <= high <= 1


def test_sign_of_a_relative_effect_follows_the_effect_on_a_negative_metric():
    result = compare_means(Moments(100, -10.0, 99.0), Moments(100, -8.0, 99.0))
    assert result.relative_effect == pytest.approx(0.2)
    low, high = result.relative_interval
    assert 0 < low < 0.2 < high


@given(st.lists(COUNTS, min_size=1, max_size=5), st.sampled_from(SIDES))
def test_arrays_give_what_plain_numbers_give(tables, alternative):
    columns = [np.array(column) for column in zip(*tables, strict=True)]
    low, high = newcombe_interval(*columns, alternative=alternative)
    single = [newcombe_interval(*table, alternative=alternative) for table in tables]
    assert np.array_equal(np.column_stack([low, high]), np.array(single))
    assert np.array_equal(pooled_z(*columns), [pooled_z(*table) for table in tables], equal_nan=True)
    together = [MeanEstimate(columns[i] + 1.0, columns[i + 1] / 100.0, columns[i + 1]) for i in (0, 2)]
    low, high = fieller_interval(*together, alternative=alternative)
    for i, (xc, nc, xt, nt) in enumerate(tables):
        alone = fieller_interval(
            MeanEstimate(xc + 1.0, nc / 100.0, nc), MeanEstimate(xt + 1.0, nt / 100.0, nt), alternative=alternative
        )
        assert np.isnan(low[i]) or np.isnan(high[i]) if isinstance(alone, NotComputed) else (low[i], high[i]) == alone


def test_plain_numbers_give_plain_floats():
    for result in (compare_proportions(30, 900, 60, 900), compare_means(Moments(9, 1.0, 3.0), Moments(9, 2.0, 3.0))):
        for value in (result.effect, *result.effect_interval, *result.relative_interval, result.pvalue):
            assert type(value) is float
    assert type(welch_df(MeanEstimate(1.0, 1.0, 3), MeanEstimate(1.0, 1.0, 3))) is float


def test_estimates_with_their_own_degrees_of_freedom_are_compared_with_these():
    arms = MeanEstimate(10.0, 0.04, 5), MeanEstimate(10.6, 0.05, 5)
    result = compare_estimates(*arms, df=20)
    assert result.pvalue == pytest.approx(2 * stats.t.sf(2, 20), rel=1e-9)
    assert result.df == 20


def test_statistics_import_neither_pandas_nor_scipy_stats_nor_statsmodels():
    code = (
        "import importlib, pkgutil, sys, abtest_lib.statistics as package\n"
        "for module in pkgutil.iter_modules(package.__path__, 'abtest_lib.statistics.'):\n"
        "    importlib.import_module(module.name)\n"
        "foreign = ('pandas', 'scipy.stats', 'statsmodels', 'airflow', 'abtest_lib.errors')\n"
        "print([m for m in foreign if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert found.stdout.strip() == "[]"


# --- every answer is filled as it says


@pytest.mark.parametrize("alternative", SIDES)
@pytest.mark.parametrize("relative", ["koopman", "fieller", "delta"])
@pytest.mark.parametrize("interval", ["newcombe", "miettinen-nurminen", "wald"])
@pytest.mark.parametrize("test", ["pooled", "unpooled"])
def test_comparison_of_shares_holds_what_was_asked_for(test, interval, relative, alternative):
    counts, options = (30, 900, 60, 800), {"alpha": 0.1, "alternative": alternative}
    arms = MeanEstimate.of_proportion(30, 900), MeanEstimate.of_proportion(60, 800)
    got = compare_proportions(*counts, **options, test=test, interval=interval, relative=relative)
    z = {"pooled": pooled_z, "unpooled": unpooled_z}[test](*counts)
    tail = {"two-sided": 2 * stats.norm.sf(abs(z)), "greater": stats.norm.sf(z), "less": stats.norm.cdf(z)}
    assert (got.statistic, got.pvalue) == pytest.approx((z, tail[alternative]), rel=1e-12)
    assert got.effect == pytest.approx(60 / 800 - 30 / 900, rel=1e-14)
    assert got.relative_effect == pytest.approx((60 / 800) / (30 / 900) - 1, rel=1e-14)
    assert (
        got.effect_interval
        == {
            "newcombe": lambda: newcombe_interval(*counts, **options),
            "miettinen-nurminen": lambda: miettinen_nurminen_interval(*counts, **options),
            "wald": lambda: wald_interval(*arms, **options),
        }[interval]()
    )
    assert (
        got.relative_interval
        == {
            "koopman": lambda: score_ratio_interval(*counts, **options),
            "fieller": lambda: fieller_interval(*arms, **options),
            "delta": lambda: delta_interval(*arms, **options),
        }[relative]()
    )
    assert (got.df, got.confidence_level, got.alternative, got.adjustment) == (None, 0.9, alternative, None)
    variance = 30 * 870 / 900**3 + 60 * 740 / 800**3
    assert got.standard_error == pytest.approx(math.sqrt(variance), rel=1e-14)
    for word in (test, interval, relative):
        assert word in got.method.lower()


def test_comparison_of_shares_is_two_sided_at_five_percent_by_the_methods_of_the_reports():
    asked = {"alpha": 0.05, "alternative": "two-sided", "test": "pooled", "interval": "newcombe", "relative": "koopman"}
    assert compare_proportions(30, 900, 60, 800) == compare_proportions(30, 900, 60, 800, **asked)


@pytest.mark.parametrize("name", ["test", "interval", "relative"])
def test_method_that_is_not_known_is_named(name):
    with pytest.raises(ValueError, match=rf"^{name} is 'best'; it must be one of '"):
        compare_proportions(30, 900, 60, 800, **{name: "best"})


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((0, 30, 0, 25), "no unit of control and treatment has the outcome, so nothing varies"),
        ((30, 30, 25, 25), "every unit of control and treatment has the outcome, so nothing varies"),
    ],
)
def test_shares_that_do_not_vary_say_so(counts, reason):
    got = compare_proportions(*counts)
    assert got.statistic == got.pvalue == NotComputed(reason)
    for one, other in ((0, 25), (30, 0)):
        got = compare_proportions(one, 30, other, 25, test="unpooled")
        assert got.pvalue == NotComputed("in each variant nobody or everybody has the outcome, so nothing varies")


def test_one_unit_is_enough_for_a_share_and_two_are_for_a_mean():
    assert compare_proportions(0, 1, 1, 1).effect == 1
    assert compare_means(Moments(2, 1.0, 0.5), Moments(2, 2.0, 0.5)).effect == 1
    few = NotComputed("treatment has 0 units; a mean needs at least 2")
    assert compare_means(Moments(2, 1.0, 0.5), Moments(0, 0.0, 0.0)) == few


@pytest.mark.parametrize("alternative", SIDES)
@pytest.mark.parametrize("relative", ["fieller", "delta"])
def test_comparison_of_means_holds_what_was_asked_for(relative, alternative):
    control, treatment = Moments(40, 2.0, 90.0), Moments(30, 2.9, 60.0)
    arms, options = [MeanEstimate.of_mean(moments) for moments in (control, treatment)], {"alternative": alternative}
    got = compare_means(control, treatment, alpha=0.1, relative=relative, **options)
    assert got == compare_estimates(*arms, alpha=0.1, relative=relative, **options)
    word = {"two-sided": "two-sided", "greater": "greater", "less": "less"}[alternative]
    want = stats.ttest_ind_from_stats(
        2.9, math.sqrt(60 / 29), 30, 2.0, math.sqrt(90 / 39), 40, equal_var=False, alternative=word
    )
    assert (got.statistic, got.pvalue) == pytest.approx((want.statistic, want.pvalue), rel=1e-12)
    interval = {"fieller": fieller_interval, "delta": delta_interval}[relative]
    assert got.relative_interval == interval(*arms, alpha=0.1, df=got.df, **options)
    assert got.effect_interval == wald_interval(*arms, alpha=0.1, df=got.df, **options)
    assert got.relative_effect == pytest.approx(0.45, rel=1e-14)
    assert got.standard_error == pytest.approx(math.sqrt(90 / 39 / 40 + 60 / 29 / 30), rel=1e-14)
    assert (got.df, got.confidence_level, got.alternative) == (pytest.approx(welch_df(*arms)), 0.9, alternative)
    assert f"; {relative} relative interval" in got.method.lower()
    own = compare_estimates(*arms, alpha=0.1, df=9, relative=relative, **options)
    assert own.effect_interval == wald_interval(*arms, alpha=0.1, df=9, **options)
    assert own.relative_interval == interval(*arms, alpha=0.1, df=9, **options)
    asked = compare_means(control, treatment, alpha=0.05, alternative="two-sided", relative="fieller")
    assert compare_means(control, treatment) == compare_estimates(*arms) == asked


@pytest.mark.parametrize("alternative", SIDES)
@pytest.mark.parametrize("relative", ["fieller", "delta"])
@pytest.mark.parametrize("theta", [None, 0.4])
def test_adjusted_comparison_is_that_of_the_residuals(theta, relative, alternative):
    rng = np.random.default_rng(5)
    before = rng.normal(3, 1, 70)
    after = 5 + 0.8 * before + rng.normal(0, 1, 70) + np.repeat([0.0, 0.5], 35)
    arms = [CoMoments.from_values(after[part], before[part]) for part in (slice(35), slice(35, 70))]
    options = {"alpha": 0.1, "alternative": alternative}
    got = compare_adjusted_means(*arms, theta=theta, relative=relative, **options)
    used = got.adjustment.theta if theta is None else theta
    residuals = after - used * (before - before.mean())
    want = compare_means(*(Moments.from_values(half) for half in (residuals[:35], residuals[35:])), **options)
    assert (got.effect, got.pvalue, got.df) == pytest.approx((want.effect, want.pvalue, want.df), rel=1e-9)
    assert got.effect_interval == pytest.approx(want.effect_interval, rel=1e-9)
    assert got.relative_effect == pytest.approx(want.relative_effect, rel=1e-9)
    assert (got.confidence_level, got.alternative) == (0.9, alternative)
    assert got.method.startswith("covariate-adjusted (CUPED) Welch t test")
    assert f"{relative} relative interval" in got.method.lower()
    plain = compare_means(*(arm.outcome for arm in arms), **options)
    assert got.adjustment.theta == used
    assert (got.adjustment.unadjusted_effect, got.adjustment.unadjusted_interval) == (
        plain.effect,
        plain.effect_interval,
    )
    removed = 1 - got.standard_error**2 / plain.standard_error**2
    assert got.adjustment.variance_removed == pytest.approx(removed, rel=1e-12)
    if theta is None:
        assert compare_adjusted_means(*arms) == compare_adjusted_means(*arms, alpha=0.05, relative="fieller")
    few = CoMoments.from_values([1.0], [2.0])
    assert compare_adjusted_means(few, arms[1], theta=theta) == NotComputed(
        "control has 1 unit; a mean needs at least 2"
    )


@pytest.mark.parametrize("alternative", SIDES)
def test_relative_comparison_by_delta_is_that_of_the_formula(alternative):
    arms = MeanEstimate(-4.0, 0.09, 50), MeanEstimate(-3.0, 0.16, 60)
    got = compare_relative_by_delta(*arms, alpha=0.1, alternative=alternative)
    error = math.sqrt(0.16 / 4**2 + 0.09 * 3**2 / 4**4)
    law = stats.t(welch_df(*arms))
    tail = {"two-sided": 2 * law.sf(0.25 / error), "greater": law.sf(0.25 / error), "less": law.cdf(0.25 / error)}
    assert (got.relative_effect, got.standard_error, got.statistic, got.pvalue) == pytest.approx(
        (0.25, error, 0.25 / error, tail[alternative]), rel=1e-12
    )
    assert got.relative_interval == delta_interval(*arms, alpha=0.1, alternative=alternative, df=got.df)
    assert (got.df, got.confidence_level, got.alternative) == (welch_df(*arms), 0.9, alternative)
    assert got.method == "delta method on the relative effect"
    own = compare_relative_by_delta(*arms, alpha=0.1, alternative=alternative, df=9)
    assert own.df == 9
    assert own.relative_interval == delta_interval(*arms, alpha=0.1, alternative=alternative, df=9)
    asked = compare_relative_by_delta(*arms, alpha=0.05, alternative="two-sided")
    assert compare_relative_by_delta(*arms) == asked


def test_effects_too_large_for_a_number_say_so():
    huge, small = MeanEstimate(1e308, 0.1, 9), MeanEstimate(-1e308, 0.1, 9)
    vague, reason = MeanEstimate(1.0, 1e308, 9), "the numbers are too large to compute with"
    assert compare_estimates(small, huge) == compare_estimates(vague, vague) == NotComputed(reason)
    ratio = compare_estimates(MeanEstimate(1e-300, 0.1, 9), MeanEstimate(1e300, 0.1, 9)).relative_effect
    assert ratio == NotComputed("the mean of the control is not clearly different from zero")


def test_relative_effect_of_a_treatment_that_is_zero_throughout_has_no_error():
    # A hundred per cent less, whatever the control's mean turns out to be.
    nothing = compare_relative_by_delta(MeanEstimate(2.0, 0.1, 9), MeanEstimate(0.0, 0.0, 9))
    assert nothing == NotComputed("the relative effect has no error left to measure it against")


@pytest.mark.parametrize("compare", [compare_estimates, compare_relative_by_delta])
def test_estimates_that_cannot_be_compared_say_why(compare):
    good, still = MeanEstimate(2.0, 0.1, 9), MeanEstimate(2.0, 0.0, 9)
    for bad in (MeanEstimate(math.inf, 0.1, 9), MeanEstimate(2.0, math.nan, 9)):
        assert compare(bad, good) == NotComputed("a value of control is not a finite number")
        assert compare(good, bad) == NotComputed("a value of treatment is not a finite number")
    assert compare(still, still) == NotComputed("no value varies in control or treatment")
    assert not isinstance(compare(still, good), NotComputed)
    with pytest.raises(ValueError, match=r"^alpha is 2; "):
        compare(good, good, alpha=2)
    with pytest.raises(ValueError, match=r"^alternative is 'up'; "):
        compare(good, good, alternative="up")


# --- simulations; benchmarks/error_rates.py prints the same at full length


@pytest.mark.slow
@pytest.mark.parametrize(
    "simulation", ["z_test", "welch_test", "difference_intervals", "nightly_peeks", "adjusted_means"]
)
def test_promised_error_rates_are_held(simulation):
    module = simulations()
    rates = list(getattr(module, simulation)(np.random.default_rng([7, len(simulation)]), 20_000))
    assert any(rate.used for rate in rates)
    for rate in rates:
        assert rate.line()["met"] is not False, rate


@pytest.mark.slow
def test_fieller_is_right_in_both_tails_of_a_skewed_metric_and_delta_is_not():
    rates = {rate.name: rate.value for rate in simulations().relative_intervals(np.random.default_rng(8), 20_000)}
    skewed = {name.split(": ")[1].split(",")[0]: [] for name in rates if "log-normal" in name and "too" in name}
    for name, value in rates.items():
        if "log-normal" in name and "too" in name:
            skewed[name.split(": ")[1].split(",")[0]].append(value)
    # Four standard errors of 20,000 repetitions around 0.025 are 0.0044.
    assert max(skewed["Fieller"]) < 0.0294
    assert max(skewed["delta"]) > 0.04


@pytest.mark.slow
def test_koopman_holds_at_a_nine_to_one_split_of_a_rare_share_and_fieller_does_not():
    rates = list(simulations().share_ratio_intervals(np.random.default_rng(8), 20_000))
    assert all(rate.line()["met"] for rate in rates if rate.used)
    missed = {rate.name: rate.value for rate in rates}
    assert missed["miss: Fieller, share 0.005, n 9000/1000"] > 0.07


@pytest.mark.slow
def test_nightly_peeking_matches_the_integrated_rate():
    # Armitage, McPherson, Rowe (1969), Table 2: ten equally spaced looks at nominal 0.05 reject in 0.193.
    rng = np.random.default_rng(9)
    paths = np.cumsum(rng.standard_normal((100_000, 10)), axis=1) / np.sqrt(np.arange(1, 11))
    assert np.mean(np.any(tail_pvalue(paths) < 0.05, axis=1)) == pytest.approx(0.193, abs=0.005)
