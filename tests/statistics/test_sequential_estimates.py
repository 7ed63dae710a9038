from __future__ import annotations

import math

import pytest
from scipy import optimize, stats

from abtest_lib.statistics.sequential import SequentialBounds
from abtest_lib.statistics.sequential_estimates import (
    repeated_intervals,
    repeated_pvalue,
    repeated_pvalues,
    running_minimum,
    stagewise_inference,
)
from abtest_lib.statistics.spending import obrien_fleming_spending, pocock_spending


@pytest.mark.parametrize("z", [-2.5, -0.4, 0.0, 1.1, 3.3])
def test_repeated_pvalue_of_the_planned_end_alone_is_the_ordinary_one(z):
    assert repeated_pvalue([1.0], z) == pytest.approx(stats.norm.sf(z), rel=1e-6)
    if abs(z) > 0.1:
        assert repeated_pvalue([1.0], z, sides=2) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("spending", [obrien_fleming_spending, pocock_spending])
@pytest.mark.parametrize("z", [1.4, 2.2, 4.5])
def test_repeated_pvalue_of_a_first_look_is_the_alpha_that_spends_its_tail(spending, z, sides):
    want = optimize.brentq(
        lambda q: spending(0.4, stats.norm.cdf(q) / sides) - stats.norm.sf(z), -9, stats.norm.ppf(0.9999), xtol=1e-13
    )
    found = repeated_pvalue([0.4], z, spending=spending, sides=sides)
    assert found == pytest.approx(stats.norm.cdf(want), rel=1e-6)
    if sides == 2:
        assert repeated_pvalue([0.4], -z, spending=spending, sides=2) == found


def test_repeated_pvalue_has_a_least_value_and_may_not_exist():
    # Beyond a bound of 7, which belongs to 1.28e-12, nothing is told apart.
    for z in (7.5, 12.0, 1e9):
        assert 1e-12 <= repeated_pvalue([1.0], z) < 1.29e-12
    # The bound at alpha 0.9999: O'Brien and Fleming's spends 2 Phi(z / sqrt(t)), z the quantile of half of it.
    lowest = stats.norm.isf(2 * stats.norm.cdf(stats.norm.ppf(0.9999 / 2) / math.sqrt(0.1)))
    assert repeated_pvalue([0.1], lowest - 0.01) is None
    assert 0.9998 < repeated_pvalue([0.1], lowest + 0.01) < 0.9999
    assert repeated_pvalue([1.0], -3.0) == pytest.approx(stats.norm.cdf(3), abs=1e-6)


def test_repeated_pvalues_are_those_of_each_look():
    looks, z = [0.4, 0.7, 1.0], [1.0, 2.4, 2.1]
    options = {"spending": pocock_spending, "sides": 2}
    want = tuple(repeated_pvalue(looks[: k + 1], z[k], **options) for k in range(3))
    assert repeated_pvalues(looks, z, **options) == want
    one = {"spending": obrien_fleming_spending, "sides": 1}
    assert repeated_pvalues(looks, z) == repeated_pvalues(looks, z, **one)


def test_smallest_so_far_skips_the_looks_without_a_pvalue():
    assert running_minimum([None, 1.0, None, 0.2, 0.3, 0.0]) == (None, 1.0, 1.0, 0.2, 0.2, 0.0)
    for bad in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"^pvalues is \[.*\]; each must be in \[0, 1\], or None\.$"):
            running_minimum([0.5, bad])


def test_repeated_interval_is_as_wide_as_the_bound():
    bounds = SequentialBounds((0.4, 0.7, 1.0), (-math.inf, -2.5, -2.0), (math.inf, 2.5, 2.0), (0.0, 0.01, 0.03))
    assert repeated_intervals(bounds, [1.0, 2.0]) == ((-math.inf, math.inf), (-0.5, 4.5))
    with pytest.raises(ValueError, match=r"^statistics has 4 entries; it must have one for each of the looks \(3\)\.$"):
        repeated_intervals(bounds, [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match=r"^statistics is \[1\.0, inf\]; they must be finite\.$"):
        repeated_intervals(bounds, [1, math.inf])


@pytest.mark.parametrize("alpha", [0.05, 0.4])
@pytest.mark.parametrize("z", [-1.3, 0.0, 2.8])
def test_one_look_gives_the_ordinary_interval(z, alpha):
    found = stagewise_inference([0.7], [], z, alpha=alpha)
    half = stats.norm.isf(alpha / 2)
    assert found.interval == pytest.approx((z - half, z + half), abs=1e-8)
    assert found.median_unbiased == pytest.approx(z, abs=1e-8)
    assert found.pvalue == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)
    assert stagewise_inference([0.7], [], z).interval == stagewise_inference([0.7], [], z, alpha=0.05).interval


@pytest.mark.parametrize(("lower", "low"), [(None, -2.0), ([-1.0], -1.0), ([-math.inf], -math.inf)])
@pytest.mark.parametrize("z", [-0.5, 2.4])
def test_two_looks_are_ordered_by_stages(lower, low, z):
    # Scores at information 0.4 and 1 have covariance 0.4; further up is above 2 at the first look, or past it and
    # above z at the second. SciPy's bivariate normal distribution.
    correlation = math.sqrt(0.4)

    def further_up(mean):
        first, second = mean * correlation, mean
        law = stats.multivariate_normal([first, second], [[1, correlation], [correlation, 1]])
        below = law.cdf([2.0, z]) - (law.cdf([low, z]) if math.isfinite(low) else 0.0)
        inside = stats.norm.cdf(2.0 - first) - stats.norm.cdf(low - first)
        return stats.norm.sf(2.0 - first) + inside - below

    found = stagewise_inference([0.4, 1.0], [2.0], z, lower=lower, alpha=0.1)
    up = further_up(0.0)
    assert (found.pvalue, found.pvalue_greater) == pytest.approx((2 * min(up, 1 - up), up), rel=1e-6)
    for end, chance in zip(
        (found.interval[0], found.median_unbiased, found.interval[1]), (0.05, 0.5, 0.95), strict=True
    ):
        assert further_up(end) == pytest.approx(chance, abs=1e-6)


@pytest.mark.parametrize(("z", "sign"), [(5.0, 1), (-5.0, -1)])
def test_effect_far_from_the_statistic_is_found(z, sign):
    # Within half a standard error of 0 at 0.9 and five from it at the end: the first look says most of what is known.
    correlation = math.sqrt(0.9)

    def further(mean):
        law = stats.multivariate_normal([mean * correlation, mean], [[1, correlation], [correlation, 1]])
        missed = law.cdf([0.5, 5.0]) - law.cdf([-0.5, 5.0])
        inside = stats.norm.cdf(0.5 - mean * correlation) - stats.norm.cdf(-0.5 - mean * correlation)
        return stats.norm.sf(0.5 - mean * correlation) + inside - missed

    found = stagewise_inference([0.9, 1.0], [0.5], z, alpha=0.1)
    ends = sorted(sign * end for end in found.interval)
    for mean, chance in zip((ends[0], sign * found.median_unbiased, ends[1]), (0.05, 0.5, 0.95), strict=True):
        assert further(mean) == pytest.approx(chance, abs=1e-5)


def test_statistic_that_is_not_finite_is_named():
    for z in (math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"^z is {z}; it must be a finite number\.$"):
            repeated_pvalue([1.0], z)
    with pytest.raises(ValueError, match=r"^sides is 3; "):
        repeated_pvalue([1.0], 1.0, sides=3)
