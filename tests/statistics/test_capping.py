"""Capped means: the cap, what it takes away, and the Welch test of what is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.capping import compare_capped_means, pooled_cap
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.inference import compare_means
from abtest_lib.statistics.moments import Moments

VALUES = st.lists(st.integers(0, 100), min_size=5, max_size=40)


def heavy(seed, n=300):
    return np.random.default_rng(seed).lognormal(1, 1.5, (2, n))


def test_comparison_is_scipy_welch_of_the_clipped_values():
    control, treatment = heavy(1)
    got = compare_capped_means(control, treatment, quantile=0.95)
    cap = stats.mstats.mquantiles(np.concatenate([control, treatment]), [0.95], alphap=1, betap=1)[0]
    want = stats.ttest_ind(np.minimum(treatment, cap), np.minimum(control, cap), equal_var=False)
    assert got.cap == pytest.approx(cap, rel=1e-12)
    assert (got.comparison.statistic, got.comparison.pvalue) == pytest.approx((want.statistic, want.pvalue), rel=1e-9)


def test_removed_share_and_capped_units_are_those_above_the_cap():
    control, treatment = heavy(2)
    got = compare_capped_means(control, treatment, quantile=0.99)
    over = np.maximum(control - got.cap, 0)
    assert got.removed_control == pytest.approx(over.sum() / control.sum())
    assert got.capped_units == (np.concatenate([control, treatment]) > got.cap).sum() == 6


@given(VALUES, VALUES, st.sampled_from([0.5, 0.9, 0.99]))
def test_swapping_variants_flips_the_sign_and_keeps_the_cap(control, treatment, quantile):
    got = compare_capped_means(control, treatment, quantile=quantile)
    back = compare_capped_means(treatment, control, quantile=quantile)
    if isinstance(got, NotComputed):
        assert back == got
        return
    assert back.cap == got.cap
    assert back.comparison.effect == pytest.approx(-got.comparison.effect)
    assert back.removed_control == got.removed_treatment


def test_where_nothing_is_above_the_cap_it_is_the_plain_comparison():
    control, treatment = [1.0, 2.0, 5.0, 5.0, 5.0], [2.0, 3.0, 5.0, 5.0, 5.0]
    got = compare_capped_means(control, treatment, quantile=0.9)
    assert got.comparison == compare_means(Moments.from_values(control), Moments.from_values(treatment))
    assert (got.removed_control, got.removed_treatment, got.capped_units) == (0.0, 0.0, 0)


def test_what_cannot_be_computed_says_why():
    assert pooled_cap([], [], quantile=0.9).reason == "control and treatment have no units"
    assert compare_capped_means([1.0, np.inf], [1.0, 2.0], quantile=0.9).reason == (
        "a value of control or treatment is not a finite number"
    )
    assert compare_capped_means([1.0], [1.0, 2.0], quantile=0.9).reason == "control has 1 unit; a mean needs at least 2"
    negative = compare_capped_means([-1.0, -2.0, -3.0], [1.0, 2.0, 4.0], quantile=0.9)
    assert negative.removed_control.reason == "the mean is not above zero"


def test_a_slip_of_the_caller_names_the_argument():
    with pytest.raises(ValueError, match="quantile is 1"):
        pooled_cap([1.0], [2.0], quantile=1)
    with pytest.raises(ValueError, match="alternative is 'more'"):
        compare_capped_means([1.0], [2.0], quantile=0.5, alternative="more")


@pytest.mark.slow
def test_capped_mean_errs_as_often_as_promised_on_a_heavy_tail():
    rng, wrong, repetitions = np.random.default_rng(20260301), 0, 4_000
    for _ in range(repetitions):
        wrong += compare_capped_means(*rng.lognormal(0, 2, (2, 200)), quantile=0.95).comparison.pvalue < 0.05
    # Four standard errors of the simulation around 0.05.
    assert wrong / repetitions == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / repetitions) ** 0.5)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_capped_comparison_is_read_at_the_alpha_and_on_the_side_asked_for(alternative):
    control, treatment = heavy(3)
    got = compare_capped_means(control, treatment, quantile=0.9, alpha=0.2, alternative=alternative)
    capped = [Moments.from_values(np.minimum(values, got.cap)) for values in (control, treatment)]
    assert got.comparison == compare_means(*capped, alpha=0.2, alternative=alternative)
    assert compare_capped_means(control, treatment, quantile=0.9) == compare_capped_means(
        control, treatment, quantile=0.9, alpha=0.05, alternative="two-sided"
    )


def test_values_may_come_one_by_one_or_in_single_precision():
    control, treatment = [1.0, 2.0, 0.25, 9.0], [0.5, 0.25, 3.0]
    want = compare_capped_means(control, treatment, quantile=0.7)
    assert compare_capped_means(iter(control), iter(treatment), quantile=0.7) == want
    single = [np.array(values, dtype=np.float32) for values in (control, treatment)]
    assert compare_capped_means(*single, quantile=0.7) == want
    for values in ([0.1, 0.2, 0.3], [1.1, 2.3, 0.7]):
        rounded = np.array(values, dtype=np.float32)
        assert pooled_cap(rounded, [], quantile=0.4) == pooled_cap(rounded.astype(float), [], quantile=0.4)


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_share_removed_needs_a_mean_above_zero(scale):
    small = compare_capped_means([0.0, scale, 9 * scale], [scale, 0.0, 2 * scale], quantile=0.5)
    assert small.removed_control == pytest.approx((10 / 3 - 2 / 3) / (10 / 3))
    below = compare_capped_means([-scale, scale, 0.0], [scale, 0.0, 2 * scale], quantile=0.5)
    assert below.removed_control == NotComputed("the mean is not above zero")


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, float("nan")])
def test_quantile_that_cannot_be_is_named(bad):
    with pytest.raises(ValueError, match=rf"^quantile is {bad}; it must be between 0 and 1\.$"):
        pooled_cap([1.0], [2.0], quantile=bad)
