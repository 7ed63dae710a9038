"""Ratio metrics against other programs, against the sums they stand for, and against a simulated error rate."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_rates import broken_rates
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.estimates import NotComputed, within_arm_theta
from abtest_lib.statistics.inference import compare_means
from abtest_lib.statistics.intervals import delta_interval, log_ratio_interval, wald_interval
from abtest_lib.statistics.joint_moments import JointMoments, merge_joint_moments
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.ratios import (
    adjusted_ratio_estimates,
    compare_adjusted_ratios,
    compare_ratios,
    equal_weight_theta,
    linearised,
    linearised_columns,
    linearised_with_covariate,
    ratio_estimate,
    unit_totals,
)
from abtest_lib.statistics.tails import tail_pvalue

ORACLES = Path(__file__).resolve().parents[2].parent / "shared" / "oracles"
UNITS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12)), min_size=3, max_size=12)
FOURS = st.lists(st.tuples(*[st.integers(1, 12)] * 4), min_size=4, max_size=12)


def paired(units):
    return CoMoments.from_values([m for m, _ in units], [d for _, d in units])


def joint(units):
    return JointMoments.from_values(*zip(*units, strict=True))


def test_table_of_units_gives_what_other_programs_made_of_it():
    if not ORACLES.is_dir():
        pytest.skip(f"reference cases are not at {ORACLES}")
    # SciPy on the linearised units and tea-tasting, which agree to rounding.
    want = json.loads((ORACLES / "unit_level.json").read_text())["cases"]["ratio/clicks/sessions"]
    with (ORACLES / "unit_level_main.csv").open() as file:
        rows = list(csv.DictReader(file))
    arms = [
        CoMoments.from_values(*[[float(r[c]) for r in rows if r["variant"] == arm] for c in ("clicks", "sessions")])
        for arm in ("control", "treatment")
    ]
    got, both = compare_ratios(*arms), [ratio_estimate(arm) for arm in arms]
    reference = want["reference"]
    assert (got.effect, got.standard_error, got.df, got.pvalue) == pytest.approx(
        tuple(reference[key] for key in ("effect", "se", "df", "p_t")), rel=1e-9
    )
    assert tail_pvalue(got.statistic) == pytest.approx(reference["p_z"], rel=1e-9)
    assert wald_interval(*both) == pytest.approx(reference["ci_z"], rel=1e-9)
    assert got.relative_interval == pytest.approx(reference["relative_t"]["fieller"], rel=1e-9)
    assert delta_interval(*both, df=got.df) == pytest.approx(reference["relative_t"]["delta"], rel=1e-9)
    assert log_ratio_interval(*both, df=got.df) == pytest.approx(reference["relative_t"]["log_delta"], rel=1e-9)
    tea = want["tea_tasting"]
    assert got.effect_interval == pytest.approx((tea["effect_size_ci_lower"], tea["effect_size_ci_upper"]), rel=1e-9)


@given(UNITS)
def test_linearised_moments_are_those_of_the_units(units):
    numerator, denominator = (np.array(column, dtype=float) for column in zip(*units, strict=True))
    ratio = numerator.sum() / denominator.sum()
    want = Moments.from_values((numerator - ratio * denominator) / denominator.mean())
    got = linearised(paired(units))
    assert got.mean == pytest.approx(ratio)
    assert got.m2 == pytest.approx(want.m2, rel=1e-9, abs=1e-9)


@given(UNITS, UNITS)
def test_swapping_variants_flips_the_sign(control, treatment):
    forward, back = (
        compare_ratios(paired(control), paired(treatment)),
        compare_ratios(paired(treatment), paired(control)),
    )
    if isinstance(forward, NotComputed):
        assert isinstance(back, NotComputed)
        return
    assert (back.effect, back.pvalue) == pytest.approx((-forward.effect, forward.pvalue))
    assert (forward.effect_interval[0] > 0 or forward.effect_interval[1] < 0) == (forward.pvalue < 0.05)


@given(st.lists(st.integers(0, 9), min_size=3, max_size=9), st.lists(st.integers(0, 9), min_size=3, max_size=9))
def test_with_one_event_a_unit_a_ratio_is_a_mean(control, treatment):
    arms = [CoMoments.from_values(values, [1] * len(values)) for values in (control, treatment)]
    mean = compare_means(arms[0].outcome, arms[1].outcome)
    ratio = compare_ratios(*arms)
    if isinstance(mean, NotComputed):
        assert ratio == mean
        return
    assert (ratio.effect, ratio.pvalue, ratio.df) == pytest.approx((mean.effect, mean.pvalue, mean.df))


@given(FOURS, FOURS)
def test_merged_joint_moments_are_those_of_all_units(first, second):
    merged, whole = merge_joint_moments([joint(first), joint(second)]), joint(first + second)
    assert merged.means == pytest.approx(whole.means)
    assert np.array(merged.scatter) == pytest.approx(np.array(whole.scatter), abs=1e-9)
    sums = np.array(first + second)
    assert np.array(JointMoments.from_sums(len(sums), sums.sum(axis=0).tolist(), (sums.T @ sums).tolist()).scatter) == (
        pytest.approx(np.array(whole.scatter), abs=1e-9)
    )


@given(FOURS)
def test_linearised_pair_has_the_moments_of_each_ratio(units):
    both = linearised_with_covariate(joint(units))
    for got, columns in ((both.outcome, (0, 1)), (both.covariate, (2, 3))):
        want = linearised(CoMoments.from_values(*[[row[c] for row in units] for c in columns]))
        assert (got.mean, got.m2) == pytest.approx((want.mean, want.m2), abs=1e-9)


def test_with_theta_zero_the_adjusted_ratio_is_the_plain_one():
    rng = np.random.default_rng(3)
    units = rng.integers(1, 9, (2, 30, 4))
    plain = compare_ratios(*[paired(arm[:, :2].tolist()) for arm in units])
    got = compare_adjusted_ratios(*[joint(arm.tolist()) for arm in units], theta=0.0)
    assert (got.effect, got.pvalue, got.adjustment.variance_removed) == pytest.approx((plain.effect, plain.pvalue, 0))


def test_default_theta_is_the_slope_within_variants_and_takes_variance_away():
    rng = np.random.default_rng(4)
    arms = []
    for _ in range(2):
        habit, sessions = rng.normal(5, 1, 200), rng.integers(3, 9, (2, 200))
        arms.append(JointMoments.from_values(habit * sessions[0], sessions[0], habit * sessions[1], sessions[1]))
    result = compare_adjusted_ratios(*arms)
    linear = [linearised_with_covariate(arm) for arm in arms]
    assert result.adjustment.theta == within_arm_theta(*linear)
    # Both variants have as many units, so that it is the same whether units or variants count alike.
    assert result.adjustment.theta == pytest.approx(equal_weight_theta(*linear))
    assert result.adjustment.variance_removed > 0.5


def adds(numerator, denominator):
    """What each unit adds to the ratio, around the ratio."""
    ratio = numerator.sum() / denominator.sum()
    return ratio + (numerator - ratio * denominator) / denominator.mean()


def welch(control, treatment, alpha, alternative):
    """SciPy's Welch test of treatment against control, with the interval of its level."""
    test = stats.ttest_ind(treatment, control, equal_var=False, alternative=alternative)
    return test.pvalue, tuple(test.confidence_interval(1 - alpha))


@pytest.mark.parametrize(("alpha", "alternative"), [(0.05, "two-sided"), (0.2, "greater"), (0.01, "less")])
def test_options_reach_the_test_and_the_interval_of_what_units_add(alpha, alternative):
    units = np.random.default_rng(12).integers(1, 9, (2, 4, 25)).astype(float)
    options = {"alpha": alpha, "alternative": alternative}
    pvalue, interval = welch(*(adds(*arm[:2]) for arm in units), **options)
    got = compare_ratios(*(CoMoments.from_values(*arm[:2]) for arm in units), **options)
    assert got.pvalue == pytest.approx(pvalue)
    assert got.effect_interval == pytest.approx(interval)
    assert "clustered on the unit" in got.method
    theta = 0.4
    left = [adds(*arm[:2]) - theta * adds(*arm[2:]) for arm in units]
    # The covariates' level is common to both variants, so that it moves no difference.
    left_pvalue, left_interval = welch(*left, **options)
    adjusted = compare_adjusted_ratios(*(JointMoments.from_values(*arm) for arm in units), theta=theta, **options)
    assert adjusted.pvalue == pytest.approx(left_pvalue)
    assert adjusted.effect_interval == pytest.approx(left_interval)
    assert adjusted.adjustment.unadjusted_interval == pytest.approx(interval)
    assert adjusted.adjustment.variance_removed == pytest.approx(
        1 - (adjusted.standard_error / got.standard_error) ** 2
    )
    assert "covariate-adjusted" in adjusted.method


def test_numerators_own_variance_may_have_divisor_n():
    numerator, denominator = np.array([1.0, 0.0, 1.0, 1.0, 0.0]), np.array([2.0, 1.0, 5.0, 2.0, 1.0])
    ratio, shared = numerator.sum() / denominator.sum(), np.cov(numerator, denominator)
    for ddof in (0, 1):
        want = np.var(numerator, ddof=ddof) - 2 * ratio * shared[0, 1] + ratio**2 * shared[1, 1]
        got = ratio_estimate(CoMoments.from_values(numerator, denominator), numerator_ddof=ddof)
        assert got.squared_error == pytest.approx(want / 5 / denominator.mean() ** 2)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_rounding_of_units_that_all_have_the_ratio_is_no_spread(factor):
    denominator = np.array([1.0, 2.0, 5.0, 7.0, 11.0, 3.0])
    for part in (3, 7, 11, 13, 17, 19):
        numerator = factor * denominator / part
        assert linearised(CoMoments.from_values(numerator, denominator)).m2 == 0.0
        # The ratio is a third, a seventh ... of what it was before the exposure, and nothing else.
        before = factor * np.array([2.0, 3.0, 1.0, 8.0, 5.0, 4.0])
        arm = JointMoments.from_values(before / part, denominator, before, denominator)
        assert [each.squared_error for each in adjusted_ratio_estimates(arm, arm, theta=1 / part)] == [0.0, 0.0]


def test_strata_around_the_ratio_of_all_are_the_parts_of_what_units_add():
    columns = np.random.default_rng(13).integers(1, 9, (3, 40)).astype(float)
    whole = JointMoments.from_values(*columns)
    stratum = np.arange(40) % 3 == 0
    ratio, denominator = columns[0].sum() / columns[1].sum(), columns[1].mean()
    for own in (stratum, ~stratum):
        got = linearised_columns(JointMoments.from_values(*columns[:, own]), ratio=ratio, denominator=denominator)
        want = JointMoments.from_values(adds(*columns[:2])[own], columns[2, own])
        assert got.means == pytest.approx(want.means)
        assert np.array(got.scatter) == pytest.approx(np.array(want.scatter))
    again = linearised_columns(whole)
    assert again.means[0] == pytest.approx(ratio)
    assert linearised_columns(JointMoments.from_values(*columns[:2])).scatter[0][0] == pytest.approx(
        again.scatter[0][0]
    )


def test_linear_columns_that_cannot_be_computed_say_why():
    fine = JointMoments.from_values([1, 2, 3], [1, 1, 1], [4, 5, 7])
    broken = JointMoments(3, (1.0, float("nan")), ((1.0, 0.0), (0.0, 1.0)))
    assert linearised_columns(broken, denominator=1.0).reason == "a value is not a finite number"
    assert linearised_columns(fine, denominator=float("inf")).reason == "a value is not a finite number"
    assert linearised_columns(fine, denominator=0.0).reason == "the denominator is zero in total"
    # A denominator of one makes the ratio the mean.
    assert linearised_columns(fine).means == (2.0, pytest.approx(16 / 3))


def test_slope_of_equal_weights_is_that_of_the_variances_added_up():
    rng = np.random.default_rng(14)
    control, treatment = rng.normal(size=(2, 9)), rng.normal(size=(2, 30)) * [[2.0], [3.0]]
    both = [np.cov(arm) for arm in (control, treatment)]
    arms = [CoMoments.from_values(*arm) for arm in (control, treatment)]
    want = (both[0][0, 1] + both[1][0, 1]) / (both[0][1, 1] + both[1][1, 1])
    assert equal_weight_theta(*arms) == pytest.approx(want)
    flat = CoMoments.from_values([1.0, 2.0], [3.0, 3.0])
    assert equal_weight_theta(flat, flat) == 0.0
    # Where one variant alone has a covariate that varies, the slope is its own.
    assert equal_weight_theta(flat, arms[1]) == pytest.approx(both[1][0, 1] / both[1][1, 1])


def test_two_units_are_enough_and_one_is_too_few():
    assert ratio_estimate(CoMoments.from_values([1, 2], [1, 1])).mean == 1.5
    assert ratio_estimate(CoMoments.from_values([], [])).reason == "0 units; a ratio needs at least 2"
    two, one = (JointMoments.from_values(*[range(1, n + 1)] * 4) for n in (2, 1))
    assert [arm.mean for arm in adjusted_ratio_estimates(two, two, theta=0.5)] == [1.0, 1.0]
    assert adjusted_ratio_estimates(two, one, theta=0.5).reason == "treatment has 1 unit; a ratio needs at least 2"
    none = JointMoments.from_values([], [], [], [])
    assert adjusted_ratio_estimates(none, two, theta=0.5).reason == "control has 0 units; a ratio needs at least 2"


def test_a_denominator_of_zero_is_named_whichever_it_is():
    after = JointMoments.from_values([1, 2], [0, 0], [1, 2], [3, 5])
    before = JointMoments.from_values([1, 2], [3, 5], [1, 2], [0, 0])
    for arm in (after, before):
        assert linearised_with_covariate(arm).reason == "the denominator is zero in total"
    fine = JointMoments.from_values([1, 2], [3, 5], [1, 2], [2, 5])
    assert adjusted_ratio_estimates(fine, after, theta=0.1).reason == "of treatment: the denominator is zero in total"


def test_totals_take_what_can_be_gone_through_once():
    sums, counts = unit_totals((value for value in [1.0, 2.0, 4.0]), (unit for unit in "bab"))
    assert (sums.tolist(), counts.tolist()) == ([2.0, 5.0], [1.0, 2.0])


def test_what_cannot_be_computed_says_why():
    nobody = CoMoments.from_values([0, 0, 0], [0, 0, 0])
    fine = CoMoments.from_values([1, 2, 3], [2, 3, 5])
    assert compare_ratios(nobody, fine).reason == "of control: the denominator is zero in total"
    assert compare_ratios(fine, CoMoments.from_values([1], [2])).reason == (
        "of treatment: 1 unit; a ratio needs at least 2"
    )
    same = CoMoments.from_values([1, 2, 3], [2, 4, 6])
    assert compare_ratios(same, same).reason == "no value varies in control or treatment"
    broken = CoMoments(Moments(3, float("nan"), 1.0), fine.covariate, 0.0)
    assert compare_ratios(broken, fine).reason == "of control: a value is not a finite number"
    empty = JointMoments.from_values([1, 2], [1, 1], [0, 0], [0, 0])
    assert adjusted_ratio_estimates(empty, empty, theta=1.0).reason == "of control: the denominator is zero in total"
    assert isinstance(compare_adjusted_ratios(empty, empty), NotComputed)
    exact = JointMoments.from_values([1, 2, 3, 1], [2, 3, 4, 3], [1, 2, 3, 1], [2, 3, 4, 3])
    assert compare_adjusted_ratios(exact, exact).reason == "the covariates leave no variance in control or treatment"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: JointMoments.from_values([1.0, 2.0], [1.0]), "columns"),
        (lambda: JointMoments.from_sums(0, [], []), "n is 0"),
        (lambda: JointMoments.from_sums(100, [510.0], [[810.0]]), "it must be at least 2601"),
        (lambda: JointMoments(-1, (), ()), "n is -1"),
        (lambda: JointMoments(1, (1.0,), ((1.0, 2.0),)), "scatter"),
        (lambda: merge_joint_moments([]), "cells"),
        (lambda: equal_weight_theta(*[CoMoments.from_values([1], [1])] * 2), "control.n is 1"),
        (lambda: unit_totals([1.0, 2.0], ["u"]), "units has 1"),
        (lambda: linearised_with_covariate(JointMoments.from_values([1.0], [1.0])), "2 columns"),
        (lambda: ratio_estimate(CoMoments.from_values([1, 2], [1, 2]), numerator_ddof=2), "numerator_ddof is 2"),
        (lambda: compare_ratios(*[CoMoments.from_values([1, 2], [1, 1])] * 2, alpha=0), "alpha is 0"),
    ],
)
def test_a_slip_of_the_caller_names_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.slow
def test_ratio_errs_as_often_as_promised_though_sessions_of_a_user_are_alike():
    rng, wrong, naive, repetitions, n = np.random.default_rng(20260301), 0, 0, 4_000, 200
    for _ in range(repetitions):
        sessions = 1 + rng.poisson(4, (2, n))
        clicks = rng.binomial(sessions, rng.beta(1, 2, (2, n)))
        arms = [CoMoments.from_values(clicks[arm], sessions[arm]) for arm in (0, 1)]
        wrong += compare_ratios(*arms).pvalue < 0.05
        share, total = clicks.sum() / sessions.sum(), sessions.sum(axis=1)
        error = np.sqrt(share * (1 - share) * (1 / total[0] + 1 / total[1]))
        naive += abs(clicks[1].sum() / total[1] - clicks[0].sum() / total[0]) / error > 1.96
    # Four standard errors of the simulation around 0.05.
    assert wrong / repetitions == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / repetitions) ** 0.5)
    assert naive / repetitions > 0.15


@pytest.mark.slow
def test_promised_error_rates_are_held():
    # Few and many users, skewed sessions, a nine to one split, an effect.
    assert broken_rates("error_rates_ratios", "ratio_intervals", seed=32, repetitions=1_000) == []
