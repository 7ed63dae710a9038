from __future__ import annotations

import numpy as np
import pytest
from benchmark_rates import broken_rates
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.intervals import wald_interval
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.non_inferiority import (
    farrington_manning_non_inferiority,
    miettinen_nurminen_non_inferiority,
    wald_non_inferiority,
    welch_equivalence,
    welch_non_inferiority,
)
from abtest_lib.statistics.score_intervals import (
    farrington_manning_z,
    mee_interval,
    miettinen_nurminen_interval,
    miettinen_nurminen_z,
)

CONTROL, TREATMENT = [4.0, 5.5, 6.1, 7.2, 3.9, 5.0], [5.1, 6.3, 7.7, 4.2, 6.6, 5.8, 6.0]
SHARE_TESTS = [wald_non_inferiority, farrington_manning_non_inferiority, miettinen_nurminen_non_inferiority]
counts = st.tuples(st.integers(20, 3_000), st.integers(20, 3_000)).flatmap(
    lambda n: st.tuples(st.integers(1, n[0] - 1), st.just(n[0]), st.integers(1, n[1] - 1), st.just(n[1]))
)


def test_share_tests_match_r_and_gsdesign():
    # gsDesign 3.11 testBinomial(delta0 = -0.005, adj = 0 / 1); the unpooled z by hand from prop.test of R 4.2.2.
    expected = [0.000504324335581766, 0.00053974423116604, 0.000540056103875971]
    for test, pvalue in zip(SHARE_TESTS, expected, strict=True):
        assert test(155, 5_000, 190, 5_000, margin=0.005, better="higher").pvalue == pytest.approx(pvalue, rel=1e-8)


@pytest.mark.parametrize(("better", "sign", "side"), [("higher", 1, "greater"), ("lower", -1, "less")])
def test_mean_test_matches_scipy(better, sign, side):
    # scipy.stats.ttest_ind(equal_var=False) of values moved by the margin.
    result = welch_non_inferiority(
        Moments.from_values(CONTROL), Moments.from_values(TREATMENT), margin=0.8, better=better, alpha=0.05
    )
    moved = stats.ttest_ind(np.add(TREATMENT, sign * 0.8), CONTROL, equal_var=False, alternative=side)
    assert (result.statistic, result.df, result.pvalue) == pytest.approx((moved.statistic, moved.df, moved.pvalue))
    assert result.bound == -sign * 0.8


def test_equivalence_matches_scipy():
    result = welch_equivalence(Moments.from_values(CONTROL), Moments.from_values(TREATMENT), low=-1.0, high=2.5)
    low = stats.ttest_ind(np.add(TREATMENT, 1.0), CONTROL, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(np.add(TREATMENT, -2.5), CONTROL, equal_var=False, alternative="less").pvalue
    assert (result.pvalue_low, result.pvalue_high) == pytest.approx((low, high))
    assert result.pvalue == max(result.pvalue_low, result.pvalue_high)


@given(counts, st.floats(0.001, 0.3), st.sampled_from(["higher", "lower"]), st.sampled_from(SHARE_TESTS))
def test_shares_are_non_inferior_when_the_interval_is_on_the_good_side_of_the_bound(four, margin, better, test):
    result = test(*four, margin=margin, better=better)
    end = result.interval[0] if better == "higher" else result.interval[1]
    if abs(end - result.bound) > 1e-9:
        assert result.non_inferior == (end > result.bound if better == "higher" else end < result.bound)


@given(st.floats(-3, 3), st.floats(0.01, 4))
def test_means_are_equivalent_when_the_interval_is_within_the_bounds(effect, margin):
    result = welch_equivalence(Moments(40, 10.0, 90.0), Moments(30, 10 + effect, 50.0), low=-margin, high=margin)
    assert result.equivalent == (-margin < result.interval[0] and result.interval[1] < margin)


@given(counts, st.floats(0.001, 0.3), st.sampled_from(SHARE_TESTS))
def test_counting_failures_instead_of_successes_changes_nothing(four, margin, test):
    xc, nc, xt, nt = four
    success = test(xc, nc, xt, nt, margin=margin, better="higher")
    failure = test(nc - xc, nc, nt - xt, nt, margin=margin, better="lower")
    assert failure.pvalue == pytest.approx(success.pvalue, rel=1e-6, abs=1e-300)


def test_what_cannot_be_computed_says_why():
    assert isinstance(welch_non_inferiority(Moments(1, 1, 0), Moments(9, 1, 3), margin=1, better="lower"), NotComputed)
    constant = welch_equivalence(Moments(9, 1, 0), Moments(9, 1, 0), low=-1, high=1)
    assert constant == NotComputed("no value varies in control or treatment")
    for test in SHARE_TESTS:
        assert test(0, 0, 1, 10, margin=0.1, better="lower") == NotComputed("control has no units")
        assert isinstance(test(0, 10, 0, 10, margin=0.0, better="lower"), NotComputed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1, "better": "higher"}, r"margin is -0\.1"),
        ({"margin": 1.0, "better": "higher"}, r"margin is 1\.0"),
        ({"margin": 0.1, "better": "up"}, "better is 'up'"),
        ({"margin": 0.1, "better": "lower", "alpha": 0}, "alpha is 0"),
    ],
)
@pytest.mark.parametrize("test", SHARE_TESTS)
def test_what_cannot_be_is_refused(test, options, message):
    with pytest.raises(ValueError, match=message):
        test(5, 10, 5, 10, **options)


def test_bounds_of_equivalence_must_be_in_order():
    with pytest.raises(ValueError, match="low must be below high"):
        welch_equivalence(Moments(9, 1, 3), Moments(9, 1, 3), low=1, high=-1)


@pytest.mark.slow
def test_share_at_the_margin_is_called_non_inferior_as_often_as_promised():
    rng = np.random.default_rng(12)
    xc, xt = rng.binomial(900, 0.10, 20_000), rng.binomial(900, 0.07, 20_000)
    # Four standard errors of 20,000 draws are 0.009.
    for statistic in (farrington_manning_z, miettinen_nurminen_z):
        called = statistic(xc, 900, xt, 900, difference=-0.03) > 1.2815515655446004
        assert np.mean(called) == pytest.approx(0.1, abs=0.01)


@pytest.mark.slow
def test_promised_error_rates_are_held():
    # Non-inferior at the margin, equivalent at a bound.
    assert broken_rates("error_rates_intervals", "margins", seed=33, repetitions=5_000) == []


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("alpha", [0.025, 0.2])
def test_result_holds_what_was_asked_for(better, alpha):
    options = {"margin": 0.01, "better": better, "alpha": alpha}
    side, bound = {"higher": ("greater", -0.01), "lower": ("less", 0.01)}[better]
    intervals = [
        lambda *counts, **named: wald_interval(
            MeanEstimate.of_proportion(*counts[:2]), MeanEstimate.of_proportion(*counts[2:]), **named
        ),
        mee_interval,
        miettinen_nurminen_interval,
    ]
    for test, interval, word in zip(SHARE_TESTS, intervals, ("z test", "Farrington", "Miettinen"), strict=True):
        got = test(155, 5_000, 190, 5_000, **options)
        assert got.effect == pytest.approx(0.007, rel=1e-12)
        assert got.interval == interval(155, 5_000, 190, 5_000, alpha=alpha, alternative=side)
        assert (got.df, got.bound, got.alpha, got.better) == (None, bound, alpha, better)
        assert word in got.method
        default = test(155, 5_000, 190, 5_000, margin=0.01, better=better)
        assert default == test(155, 5_000, 190, 5_000, margin=0.01, better=better, alpha=0.025)
    moments = Moments.from_values(CONTROL), Moments.from_values(TREATMENT)
    got = welch_non_inferiority(*moments, **options)
    assert got.effect == pytest.approx(np.mean(TREATMENT) - np.mean(CONTROL), rel=1e-12)
    arms = [MeanEstimate.of_mean(arm) for arm in moments]
    assert got.interval == wald_interval(*arms, alpha=alpha, alternative=side, df=got.df)
    assert (got.bound, got.alpha, got.better) == (bound, alpha, better)
    assert "Welch" in got.method


def test_equivalence_holds_what_was_asked_for():
    moments = Moments.from_values(CONTROL), Moments.from_values(TREATMENT)
    welch = stats.ttest_ind(TREATMENT, CONTROL, equal_var=False)
    for alpha in (0.05, 0.1):
        got = welch_equivalence(*moments, low=-1.0, high=2.5, alpha=alpha)
        interval = welch.confidence_interval(1 - 2 * alpha)
        assert got.interval == pytest.approx((interval.low, interval.high), rel=1e-9)
        assert (got.effect, got.df) == pytest.approx((np.mean(TREATMENT) - np.mean(CONTROL), welch.df), rel=1e-9)
        assert (got.low, got.high, got.alpha) == (-1.0, 2.5, alpha)
    assert welch_equivalence(*moments, low=-1.0, high=2.5) == welch_equivalence(
        *moments, low=-1.0, high=2.5, alpha=0.05
    )
    for low, high in ((1.0, 1.0), (2.0, 1.0), (-np.inf, 1.0), (0.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ValueError, match=r"low must be below high, and both finite\.$"):
            welch_equivalence(*moments, low=low, high=high)
    for alpha in (0.0, 0.5, 1.2, np.nan):
        with pytest.raises(ValueError, match=rf"^alpha is {alpha}; it must be between 0 and 0\.5\.$"):
            welch_equivalence(*moments, low=-1.0, high=2.5, alpha=alpha)


def test_means_that_cannot_be_tested_say_why():
    good, options = Moments(2, 1.0, 0.5), {"margin": 0.1, "better": "higher"}
    for arms, reason in (
        ((Moments(1, 1.0, 0.0), good), "control has 1 unit; a mean needs at least 2"),
        ((good, Moments(0, 0.0, 0.0)), "treatment has 0 units; a mean needs at least 2"),
        ((Moments(3, np.nan, 1.0), good), "a value of control is not a finite number"),
        ((good, Moments(3, 1.0, np.inf)), "a value of treatment is not a finite number"),
        ((Moments(3, 1.0, 0.0), Moments(3, 2.0, 0.0)), "no value varies in control or treatment"),
    ):
        assert welch_non_inferiority(*arms, **options) == NotComputed(reason)
        assert welch_equivalence(*arms, low=-1.0, high=1.0) == NotComputed(reason)
    assert welch_non_inferiority(good, good, **options).effect == 0
    assert welch_non_inferiority(Moments(3, 1.0, 0.0), good, **options).effect == 0


@pytest.mark.parametrize("test", SHARE_TESTS)
def test_shares_that_cannot_be_tested_say_why(test):
    options = {"margin": 0.1, "better": "higher"}
    assert test(0, 0, 1, 4, **options) == NotComputed("control has no units")
    assert test(1, 4, 0, 0, **options) == NotComputed("treatment has no units")
    if test is wald_non_inferiority:
        assert test(0, 9, 7, 7, **options) == NotComputed("in each variant nobody or everybody has the outcome")
        assert test(3, 9, 7, 7, **options).effect == pytest.approx(2 / 3)
    else:
        reason = NotComputed("nobody or everybody has the outcome and the margin is 0")
        assert test(0, 9, 0, 7, margin=0.0, better="lower") == reason
    for counts, name in (((5, 4, 1, 4), "control"), ((1, 4, 5, 4), "treatment")):
        with pytest.raises(ValueError, match=rf"^successes_{name} is 5; .* and n_{name} \(4\)\.$"):
            test(*counts, **options)
    for counts, name in (((1, 2.5, 1, 4), "control"), ((1, 4, 1, 2.5), "treatment")):
        with pytest.raises(ValueError, match=rf"^n_{name} is 2\.5; "):
            test(*counts, **options)
