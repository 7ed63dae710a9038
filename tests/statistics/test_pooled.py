from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_effectsize

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.pooled import cohens_d, cohens_h, hedges_g, student_log_ratio_interval, student_test

samples = st.lists(st.integers(-50, 50), min_size=3, max_size=30).filter(lambda values: len(set(values)) > 1)


@given(samples, samples, st.sampled_from(["two-sided", "greater", "less"]))
def test_student_matches_scipy(control, treatment, alternative):
    result = student_test(Moments.from_values(control), Moments.from_values(treatment), alternative=alternative)
    reference = stats.ttest_ind(treatment, control, alternative=alternative)
    interval = reference.confidence_interval(0.95)
    assert (result.statistic, result.df) == pytest.approx((reference.statistic, reference.df), rel=1e-8, abs=1e-10)
    assert result.pvalue == pytest.approx(reference.pvalue, rel=1e-7)
    assert result.effect_interval == pytest.approx((interval.low, interval.high), rel=1e-7, abs=1e-9)


def test_standardised_effects_match_a_published_example():
    # Borenstein et al. (2009), Introduction to Meta-Analysis, p. 27: means 103 and 100, deviations 5.5 and 4.5,
    # 50 each: d = 0.5970; J by its approximation 0.9923, which is within 1e-5 of the exact one: g = 0.5924.
    control, treatment = Moments(50, 100.0, 49 * 4.5**2), Moments(50, 103.0, 49 * 5.5**2)
    assert cohens_d(control, treatment) == pytest.approx(0.5970, abs=6e-5)
    assert hedges_g(control, treatment) == pytest.approx(0.5924, abs=6e-5)


@given(samples, samples, st.integers(1, 20))
def test_standardised_effects_flip_with_variants_and_ignore_the_unit(control, treatment, scale):
    c, t = Moments.from_values(control), Moments.from_values(treatment)
    assert cohens_d(t, c) == pytest.approx(-cohens_d(c, t), abs=1e-12)
    scaled = hedges_g(*(Moments.from_values([scale * value for value in values]) for values in (control, treatment)))
    assert scaled == pytest.approx(hedges_g(c, t), rel=1e-9, abs=1e-12)
    assert abs(hedges_g(c, t)) <= abs(cohens_d(c, t))


@given(st.floats(0.5, 50), st.floats(0.5, 50), st.integers(2, 90), st.integers(2, 90))
def test_relative_interval_mirrors_when_variants_swap(mean_control, mean_treatment, n_control, n_treatment):
    c, t = Moments(n_control, mean_control, 9.0), Moments(n_treatment, mean_treatment, 7.0)
    low, high = student_log_ratio_interval(c, t)
    other = student_log_ratio_interval(t, c)
    assert (1 + other[0]) * (1 + high) == pytest.approx(1) and (1 + other[1]) * (1 + low) == pytest.approx(1)


def test_what_cannot_be_computed_says_why():
    some, one, none = Moments(5, 1.0, 3.0), Moments(1, 1.0, 0.0), Moments(0, 0.0, 0.0)
    for function in (student_test, cohens_d, hedges_g):
        assert function(none, some) == NotComputed("control has no units")
        assert isinstance(function(one, one), NotComputed)
        assert isinstance(function(Moments(5, 1.0, 0.0), Moments(5, 2.0, 0.0)), NotComputed)
        assert isinstance(function(some, Moments(5, float("nan"), 1.0)), NotComputed)
    assert isinstance(hedges_g(one, Moments(2, 1.0, 3.0)), NotComputed)
    assert student_log_ratio_interval(Moments(5, -1.0, 3.0), some) == NotComputed("a logarithm needs means above zero")


def test_alpha_out_of_range_is_refused():
    with pytest.raises(ValueError, match="alpha is 1"):
        student_test(Moments(5, 1.0, 3.0), Moments(5, 1.0, 3.0), alpha=1)


def test_standardised_effects_without_equal_variances_match_a_published_example():
    # Borenstein et al. (2009), p. 27: standard deviations 5.5 and 4.5, 50 units each. With as many units in both the
    # average variance is the pooled one; Glass's delta is 3 / 4.5.
    control, treatment = Moments(50, 100.0, 49 * 4.5**2), Moments(50, 103.0, 49 * 5.5**2)
    assert cohens_d(control, treatment, deviation="average") == pytest.approx(0.5970, abs=6e-5)
    assert cohens_d(control, treatment, deviation="control") == pytest.approx(3 / 4.5, rel=1e-12)


@given(samples, samples, st.integers(1, 6))
def test_average_deviation_does_not_depend_on_how_many_units_are_in_which_variant(control, treatment, times):
    # Units copied with n - 1 kept as the divisor of the same variance.
    c, t = Moments.from_values(control), Moments.from_values(treatment)
    more = Moments(times * (t.n - 1) + 1, t.mean, times * t.m2)
    assert cohens_d(c, more, deviation="average") == pytest.approx(cohens_d(c, t, deviation="average"))
    assert cohens_d(t, c, deviation="average") == pytest.approx(-cohens_d(c, t, deviation="average"), abs=1e-12)


def test_standardised_effects_of_shares():
    control, treatment = Moments.from_counts(155, 5_000), Moments.from_counts(190, 5_000)
    values = [np.repeat([1.0, 0.0], [155, 4_845]), np.repeat([1.0, 0.0], [190, 4_810])]
    deviation = np.sqrt(np.mean([each.var(ddof=1) for each in values]))
    assert cohens_d(control, treatment) == pytest.approx((0.038 - 0.031) / deviation)
    assert cohens_h(155, 5_000, 190, 5_000) == pytest.approx(proportion_effectsize(0.038, 0.031), rel=1e-12)
    assert cohens_h(0, 10, 10, 10) == pytest.approx(np.pi)
    assert cohens_h(190, 5_000, 155, 5_000) == -cohens_h(155, 5_000, 190, 5_000)


def test_standardised_effects_say_what_they_cannot_compute():
    some, one = Moments(5, 1.0, 3.0), Moments(1, 2.0, 0.0)
    assert cohens_d(one, some, deviation="control") == NotComputed("control has 1 unit; a variance needs at least 2")
    assert cohens_d(some, one, deviation="average") == NotComputed("treatment has 1 unit; a variance needs at least 2")
    assert cohens_d(some, one, deviation="control") == pytest.approx(1 / (3 / 4) ** 0.5)
    flat = Moments(5, 1.0, 0.0)
    assert cohens_d(flat, some, deviation="control") == NotComputed("no value varies in control")
    assert cohens_h(0, 0, 1, 2) == NotComputed("control has no units")
    with pytest.raises(ValueError, match="deviation is 'own'"):
        cohens_d(some, some, deviation="own")
    with pytest.raises(ValueError, match="successes_treatment is 3"):
        cohens_h(0, 1, 3, 2)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_results_are_at_the_alpha_and_on_the_side_asked_for(alternative, alpha):
    control, treatment = Moments(30, 2.0, 20.0), Moments(50, 3.0, 100.0)
    got = student_test(control, treatment, alpha=alpha, alternative=alternative)
    spread = [np.sqrt(arm.variance) for arm in (control, treatment)]
    want = stats.ttest_ind_from_stats(3.0, spread[1], 50, 2.0, spread[0], 30, alternative=alternative)
    assert (got.statistic, got.pvalue, got.df) == pytest.approx((want.statistic, want.pvalue, 78), rel=1e-9)
    quantile = stats.t.isf(alpha / 2 if alternative == "two-sided" else alpha, 78)
    half = quantile * 1 / want.statistic
    low = -np.inf if alternative == "less" else 1 - half
    assert got.effect_interval == pytest.approx((low, np.inf if alternative == "greater" else 1 + half), rel=1e-9)
    assert "Student" in got.method
    # By hand: both coefficients of variation pooled over 78 degrees of freedom.
    half = quantile * np.sqrt((20 / 2**2 + 100 / 3**2) / 78 * (1 / 30 + 1 / 50))
    low = -np.inf if alternative == "less" else 1.5 * np.exp(-half) - 1
    want = (low, np.inf if alternative == "greater" else 1.5 * np.exp(half) - 1)
    found = student_log_ratio_interval(control, treatment, alpha=alpha, alternative=alternative)
    assert found == pytest.approx(want, rel=1e-9)


def test_what_cannot_be_pooled_says_why():
    one, two, three = Moments(1, 1.0, 0.0), Moments(2, 2.0, 0.5), Moments(3, 1.5, 2.0)
    for measure in (student_test, cohens_d, hedges_g, student_log_ratio_interval):
        nan = Moments(3, 1.0, np.nan)
        assert measure(nan, three) == NotComputed("a value of control is not a finite number")
        assert measure(three, nan) == NotComputed("a value of treatment is not a finite number")
        reason = "control and treatment have 1 unit each; a variance needs at least 2 in one of them"
        assert measure(one, one) == NotComputed(reason)
        still = Moments(3, 1.0, 0.0)
        assert measure(still, still) == NotComputed("no value varies in control or treatment")
    assert student_test(one, two).df == 1
    for bad in (Moments(3, 0.0, 1.0), Moments(3, -1.0, 1.0)):
        for arms in ((bad, three), (three, bad)):
            assert student_log_ratio_interval(*arms) == NotComputed("a logarithm needs means above zero")
    assert cohens_d(one, two, deviation="average") == NotComputed("control has 1 unit; a variance needs at least 2")
    assert cohens_d(two, one, deviation="average") == NotComputed("treatment has 1 unit; a variance needs at least 2")
    assert cohens_d(one, two, deviation="control") == NotComputed("control has 1 unit; a variance needs at least 2")
    assert cohens_d(two, one, deviation="control") == pytest.approx(-1 / np.sqrt(0.5))
    assert cohens_d(two, three, deviation="average") == pytest.approx(-0.5 / np.sqrt((0.5 + 1.0) / 2))


def test_correction_needs_four_units():
    reason = "control and treatment have 3 units in all; the correction needs at least 4"
    assert hedges_g(Moments(1, 1.0, 0.0), Moments(2, 2.0, 0.5)) == NotComputed(reason)
    # With two degrees of freedom the factor is 1 over the square root of pi.
    two = Moments(2, 1.0, 0.5), Moments(2, 2.0, 0.5)
    assert hedges_g(*two) == pytest.approx(cohens_d(*two) / np.sqrt(np.pi), rel=1e-12)


def test_counts_that_cannot_be_are_named():
    for counts, name in (((5, 4, 1, 4), "control"), ((1, 4, 5, 4), "treatment")):
        with pytest.raises(ValueError, match=rf"^successes_{name} is 5; .* and n_{name} \(4\)\.$"):
            cohens_h(*counts)
    for counts, name in (((1, 2.5, 1, 4), "control"), ((1, 4, 1, 2.5), "treatment")):
        with pytest.raises(ValueError, match=rf"^n_{name} is 2\.5; "):
            cohens_h(*counts)
    assert cohens_h(0, 0, 1, 1) == NotComputed("control has no units")
    assert cohens_h(1, 1, 0, 0) == NotComputed("treatment has no units")
    assert cohens_h(0, 1, 1, 1) == pytest.approx(np.pi)
