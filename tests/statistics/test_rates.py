from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.rates import compare_rates

counts = st.tuples(st.integers(0, 200), st.floats(1, 500), st.integers(0, 200), st.floats(1, 500)).filter(
    lambda case: case[0] + case[2] > 0
)
sides = st.sampled_from(["two-sided", "greater", "less"])


def test_comparison_matches_r():
    # R 4.2.2: poisson.test(c(137, 112), c(5200, 5100)).
    found = compare_rates(112, 5_100, 137, 5_200)
    assert found.rate_ratio == pytest.approx(1.19969093406593, rel=1e-12)
    assert found.pvalue == pytest.approx(0.163256571767052, rel=1e-10)
    assert found.interval == pytest.approx((0.927784243031766, 1.55399773470922), rel=1e-10)


@given(counts, sides)
def test_pvalue_and_interval_are_those_of_scipys_binomial(case, alternative):
    events_control, exposure_control, events_treatment, exposure_treatment = case
    found = compare_rates(*case, alternative=alternative)
    total, share = events_control + events_treatment, exposure_treatment / (exposure_treatment + exposure_control)
    reference = stats.binomtest(events_treatment, total, share, alternative=alternative)
    assert found.pvalue == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-300)
    interval = reference.proportion_ci(method="exact")
    with np.errstate(divide="ignore"):
        ends = np.array([interval.low, interval.high])
        expected = ends / (1 - ends) * exposure_control / exposure_treatment
    assert found.interval == pytest.approx(tuple(expected), rel=1e-6, abs=1e-12)


@given(counts)
def test_swapping_variants_inverts_the_ratio(case):
    one, other = compare_rates(*case), compare_rates(*case[2:], *case[:2])
    assert other.pvalue == pytest.approx(one.pvalue, rel=1e-6, abs=1e-300)
    if case[0] and case[2]:
        assert other.rate_ratio == pytest.approx(1 / one.rate_ratio)
        assert other.interval == pytest.approx((1 / one.interval[1], 1 / one.interval[0]), rel=1e-6)


@given(counts, st.sampled_from(["greater", "less"]), st.sampled_from([0.05, 0.01]))
def test_one_sided_interval_leaves_out_one_exactly_when_the_pvalue_is_small(case, alternative, alpha):
    found = compare_rates(*case, alternative=alternative, alpha=alpha)
    if abs(found.pvalue - alpha) > 1e-9:
        assert (found.pvalue < alpha) == (not found.interval[0] <= 1 <= found.interval[1])


def test_small_counts_worked_out_by_hand():
    # Five events, all of the treatment, equal exposure: 2 / 2^5 of the outcomes are no more likely.
    found = compare_rates(0, 10, 5, 10)
    assert found.pvalue == pytest.approx(1 / 16)
    assert found.rate_ratio == NotComputed("control has no events") and found.interval[1] == math.inf
    assert compare_rates(0, 10, 5, 10, alternative="greater").pvalue == pytest.approx(1 / 32)
    assert compare_rates(5, 10, 0, 10).interval[0] == 0 and compare_rates(5, 10, 0, 10).rate_ratio == 0
    # As few events as there can be are no sign of more, nor are as many of fewer.
    assert compare_rates(5, 10, 0, 10, alternative="greater").pvalue == 1
    assert compare_rates(0, 10, 5, 10, alternative="less").pvalue == 1
    # The lower end of a share is 1 - 1e-19, which floating point holds for 1: the ratio is beyond bounds.
    assert compare_rates(0, 1, 10**7, 1, alpha=1 - 1e-12, alternative="greater").interval[0] > 1e15
    # 600 events on one side: 2 / 2^600.
    assert compare_rates(0, 1, 600, 1).pvalue == pytest.approx(2.0**-599, rel=1e-9, abs=0)


def test_what_cannot_be_computed_says_why():
    assert compare_rates(0, 1, 0, 1) == NotComputed("there are no events")
    assert "20,000,000 events" in compare_rates(10**7, 1, 10**7, 1).reason
    # Ten million are as many as it lists; half of them in each of two equal exposures is the middle of the binomial.
    half = 5 * 10**6
    most = compare_rates(half, 1, half, 1, alternative="greater")
    assert most.pvalue == pytest.approx(stats.binom.sf(half - 1, 2 * half, 0.5), rel=1e-6)
    assert "10,000,001 events" in compare_rates(half + 1, 1, half, 1, alternative="greater").reason


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_confidence_level_is_that_of_scipys_binomial(alternative):
    reference = stats.binomtest(9, 13, 0.4, alternative=alternative).proportion_ci(confidence_level=0.8, method="exact")
    found = compare_rates(4, 0.6, 9, 0.4, alpha=0.2, alternative=alternative)
    with np.errstate(divide="ignore"):
        ends = np.array([reference.low, reference.high])
        assert found.interval == pytest.approx(tuple(ends / (1 - ends) * 1.5), rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 1, 1, 1), "events_control is -1"),
        ((1, 1, 1.5, 1), "events_treatment is 1.5"),
        ((float("inf"), 1, 1, 1), "events_control is inf"),
        ((1, 0, 1, 1), "exposure_control is 0"),
        ((1, 1, 1, float("inf")), "exposure_treatment is inf"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare_rates(*arguments)


@pytest.mark.slow
def test_equal_rates_are_called_different_and_missed_at_most_as_often_as_promised():
    rng = np.random.default_rng(45)
    events = zip(rng.poisson(20, 4_000).tolist(), rng.poisson(10, 4_000).tolist(), strict=True)
    found = [compare_rates(control, 2, treatment, 1) for control, treatment in events]
    noise = 4 * np.sqrt(0.05 * 0.95 / 4_000)
    assert np.mean([one.pvalue < 0.05 for one in found]) <= 0.05 + noise
    assert np.mean([not one.interval[0] <= 1 <= one.interval[1] for one in found]) <= 0.05 + noise
