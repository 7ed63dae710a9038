"""Quantiles from counts by bin against the same from the values themselves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.inference import compare_means
from abtest_lib.statistics.quantile_histograms import (
    QuantileHistogram,
    histogram_quantile,
    merge_histograms,
    quantile_arm,
)
from abtest_lib.statistics.quantiles import compare_quantiles, quantile_estimate
from abtest_lib.statistics.value_bins import bin_numbers

SHARES = st.sampled_from([0.05, 0.25, 0.5, 0.9, 0.95])
# More than 0.51 % apart, so that a bin holds one value.
APART = st.sampled_from([-40.0, -7.5, -1.0, -0.01, 0.0, 1e-9, 0.3, 1.0, 2.0, 3.5, 90.0, 91.0, 1e6])
CLUSTERS = st.lists(st.lists(APART, min_size=1, max_size=6), min_size=2, max_size=60)


def flat(clusters):
    """The values of clusters, and whose each is."""
    return np.array([value for one in clusters for value in one]), np.repeat(
        np.arange(len(clusters)), [len(one) for one in clusters]
    )


def log_normal(rng, units):
    """Latencies of a few page loads a unit, alike within it."""
    owners = np.repeat(np.arange(units), 1 + rng.poisson(4, units))
    return np.exp(0.8 * rng.standard_normal(units)[owners] + 0.6 * rng.standard_normal(owners.size)), owners


@given(CLUSTERS, SHARES)
def test_one_value_a_bin_gives_what_the_values_give(clusters, p):
    values, owners = flat(clusters)
    wanted = quantile_estimate(values, p, units=owners)
    found = histogram_quantile(QuantileHistogram.from_values(values, owners), p, units=len(clusters))
    if isinstance(wanted, NotComputed):
        assert isinstance(found, NotComputed)
        return
    assert (found.quantile, found.interval, found.df) == (wanted.quantile, wanted.interval, wanted.df)
    assert found.share_standard_error == pytest.approx(wanted.share_standard_error, rel=1e-9)
    assert found.standard_error == pytest.approx(wanted.standard_error, rel=1e-9)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
def test_many_values_a_bin_are_known_to_its_width(p):
    values, owners = log_normal(np.random.default_rng(3), 20_000)
    wanted = quantile_estimate(values, p, units=owners)
    found = histogram_quantile(QuantileHistogram.from_values(values, owners), p, units=20_000)
    for one, other in ((found.quantile, wanted.quantile), *zip(found.interval, wanted.interval, strict=True)):
        # Taken to be even among the 50 values or more of a bin, a fifth of its width at most.
        assert one == pytest.approx(other, rel=1e-3)
    assert found.share_standard_error == pytest.approx(wanted.share_standard_error, rel=1e-3)
    assert found.standard_error == pytest.approx(wanted.standard_error, rel=0.05)


@given(CLUSTERS, st.integers(min_value=1, max_value=5))
def test_parts_add_up_to_the_whole_in_any_order(clusters, parts):
    whole = QuantileHistogram.from_values(*flat(clusters))
    pieces = [QuantileHistogram.from_values(*flat(clusters[number::parts])) for number in range(parts)]
    for merged in (merge_histograms(pieces), merge_histograms(pieces[::-1])):
        for name in ("bins", "events", "ranks", "sizes", "lowest", "highest"):
            assert getattr(merged, name).tolist() == getattr(whole, name).tolist()


@given(CLUSTERS)
def test_sums_to_an_edge_are_squares_and_products_of_the_units_counts(clusters):
    histogram = QuantileHistogram.from_values(*flat(clusters))
    for place in range(len(histogram.bins)):
        below = [sum(value <= histogram.highest[place] for value in one) for one in clusters]
        sizes = [len(one) for one in clusters]
        assert histogram.events[: place + 1].sum() == sum(below)
        assert histogram.ranks[: place + 1].sum() == sum(count**2 for count in below)
        assert histogram.sizes[: place + 1].sum() == sum(map(math.prod, zip(below, sizes, strict=True)))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=50))
def test_bins_are_in_the_order_of_the_values(values):
    ordered = np.sort(np.array(values))
    numbers = bin_numbers(ordered)
    assert (np.diff(numbers) >= 0).all()
    assert (np.sign(numbers) == np.sign(ordered)).all()


@given(st.floats(min_value=1e-300, max_value=1e300), st.floats(min_value=1, max_value=1.02))
def test_values_of_a_bin_are_less_than_half_a_percent_apart(value, factor):
    one, other = bin_numbers(np.array([value, value * factor]))
    if one == other:
        assert value * factor <= value * 1.00502


def test_events_copied_within_their_unit_change_nothing():
    values, owners = log_normal(np.random.default_rng(4), 200)
    once = histogram_quantile(QuantileHistogram.from_values(values, owners), 0.5, units=200)
    thrice = histogram_quantile(QuantileHistogram.from_values(np.tile(values, 3), np.tile(owners, 3)), 0.5, units=200)
    assert thrice.share_standard_error == pytest.approx(once.share_standard_error, rel=1e-2)
    assert thrice.standard_error == pytest.approx(once.standard_error, rel=2e-2)


def test_an_arm_is_compared_as_the_quantiles_are():
    rng = np.random.default_rng(5)
    arms, estimates = [], []
    for _ in range(2):
        values, owners = log_normal(rng, 150)
        values = np.round(np.log(values) * 60) / 60  # one value a bin
        arms.append(quantile_arm(QuantileHistogram.from_values(values, owners), 0.9, units=150))
        estimates.append(quantile_estimate(values, 0.9, units=owners))
    one, other = compare_means(*arms), compare_quantiles(*estimates)
    for name in ("effect", "effect_interval", "relative_effect", "relative_interval", "pvalue", "standard_error"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "p", "says"),
    [
        ([1.0], 0.5, "1 value; a quantile needs at least 2"),
        (range(1, 31), 0.95, "30 units are too few to bracket the quantile at 0.95"),
        ([7.0] * 50, 0.5, "every value is at or below the quantile, which leaves its interval without an upper end"),
        ([1.0] * 60 + [5.0] * 40, 0.95, "every value is at or below the quantile"),
    ],
)
def test_what_cannot_be_compared_has_its_reason(values, p, says):
    values = [float(value) for value in values]
    found = quantile_arm(QuantileHistogram.from_values(values), p, units=len(values))
    assert isinstance(found, NotComputed) and found.reason.startswith(says)


def test_many_equal_values_away_from_the_quantile_do_not_matter():
    values = [0.0] * 300 + list(map(float, range(1, 701)))
    arm, estimate = (
        quantile_arm(QuantileHistogram.from_values(values), 0.9, units=1_000),
        quantile_estimate(values, 0.9),
    )
    assert arm.mean == estimate.quantile == 600.0
    assert (arm.variance / arm.n) ** 0.5 == pytest.approx(estimate.standard_error, rel=1e-9)


def test_half_a_leap_between_values_that_repeat_is_part_of_the_error():
    # Two units more or less move the median by 3, but the interval of the share is one around 0.98, that at or below 5.
    values = [2.0] * 499 + [5.0] * 481 + [6.0] * 20
    arm, estimate = (
        quantile_arm(QuantileHistogram.from_values(values), 0.5, units=1_000),
        quantile_estimate(values, 0.5),
    )
    assert (estimate.quantile, estimate.interval) == (5.0, (5.0, 6.0))
    assert arm.mean == 5.0
    assert arm.variance / arm.n == pytest.approx(estimate.standard_error**2 + 1.5**2, rel=1e-9)


def test_values_that_repeat_but_cannot_be_the_quantile_add_nothing():
    # 0.5 is far from 0.35 and 0.65 with 10,000 units, so that the median is 5 whatever the sample.
    values = [2.0] * 3_500 + [5.0] * 3_000 + [9.0] * 3_500
    arm, estimate = (
        quantile_arm(QuantileHistogram.from_values(values), 0.5, units=10_000),
        quantile_estimate(values, 0.5),
    )
    assert (arm.mean, arm.variance / arm.n) == (5.0, pytest.approx(estimate.standard_error**2, rel=1e-9))


def test_one_unit_with_all_values_is_too_few():
    histogram = QuantileHistogram.from_values(np.arange(1.0, 101.0), np.zeros(100, int))
    assert "1 unit" in quantile_arm(histogram, 0.5, units=1).reason


def test_no_value_is_an_arm_without_units():
    assert quantile_arm(merge_histograms([]), 0.5, units=0).n == 0


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, math.nan])
def test_a_share_outside_zero_and_one_is_refused(p):
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        histogram_quantile(QuantileHistogram.from_values([1.0, 2.0]), p, units=2)


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.02, 0.1, 0.2, 0.8])
def test_equal_arms_of_rounded_values_do_not_differ_more_often_than_promised(step):
    """Without the half leap a third of 0.2's would; 500 pairs: 0.05 with a standard error of 0.01."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(500):
        offset, pair = rng.random(), []
        for _ in range(2):
            values, owners = log_normal(rng, 300)
            rounded = np.floor(values / step + offset) * step
            pair.append(quantile_arm(QuantileHistogram.from_values(rounded, owners), 0.5, units=300))
        pvalue = compare_means(*pair).pvalue
        wrong += not isinstance(pvalue, NotComputed) and pvalue < 0.05
    assert wrong / 500 < 0.09


@pytest.mark.slow
def test_equal_arms_differ_about_as_often_as_promised():
    """1,000 pairs of 400 units: 0.05 with a standard error of 0.007."""
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(1_000):
        pair = [quantile_arm(QuantileHistogram.from_values(*log_normal(rng, 400)), 0.95, units=400) for _ in range(2)]
        wrong += compare_means(*pair).pvalue < 0.05
    assert 0.02 < wrong / 1_000 < 0.07
