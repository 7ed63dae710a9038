from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abtest_lib.statistics.quantile_sequences import distribution_band, quantile_deviation, quantile_sequence

SHARES = st.floats(0.01, 0.99)


# --- references


def test_deviation_matches_the_authors_package():
    # confseq 0.0.11, double_stitching_bound(0.9, 500, 0.05, 500, 0.5, 1.4, 2).
    assert quantile_deviation(0.9, 500, planned_n=500) == pytest.approx(25.58207923377054, rel=1e-9)


@pytest.mark.parametrize(
    ("share", "n", "alpha", "planned_n", "deviation"),
    [
        (0.9, 300, 0.05, 500, 25.58207923377054),
        (0.5, 1_000, 0.05, 1_000, 59.53068025564682),
        (0.3, 1_000, 0.01, 500, 75.68447617566416),
        (0.02, 40_000, 0.1, 500, 168.0494765800713),
        (0.45, 2_000, 0.05, 1_000, 92.2824311597537),
        (0.999, 1_000_000, 0.05, 100, 195.745533233359),
    ],
)
def test_deviation_of_other_shares_and_times_matches_the_authors_header(share, n, alpha, planned_n, deviation):
    # confseq 0.0.11, uniform_boundaries.h: double_stitching_bound(share, n, alpha, planned_n, 0.5, 1.4, 2).
    assert quantile_deviation(share, n, planned_n=planned_n, alpha=alpha) == pytest.approx(deviation, rel=1e-12)


@pytest.mark.parametrize(
    ("share", "n", "alpha", "planned_n", "ends"),
    [(0.3, 1_000, 0.01, 500, (234.0, 376.0)), (0.1, 3_000, 0.1, 1_000, (230.0, 402.0))],
)
def test_interval_counts_as_far_as_the_authors_deviations(share, n, alpha, planned_n, ends):
    # The same function of share and of 1 - share: 75.68 and 66.14 around the 300th of 1,000, 101.41 and 70.54 around
    # the 300th of 3,000. Values of a warehouse may be Decimals.
    values = [Decimal(value) for value in range(n, 0, -1)]
    assert quantile_sequence(values, share, planned_n=planned_n, alpha=alpha) == ends


@pytest.mark.parametrize(
    ("n", "alpha", "from_n", "band"),
    [
        (100, 0.05, 100, 0.24225327092462232),
        (100, 0.01, 100, 0.2589857153065457),
        (5_000, 0.1, 200, 0.03618753215491469),
        (700, 0.2, 1, 0.09715592541541991),
        (50, 0.001, 10, 0.4147130091687071),
    ],
)
def test_band_matches_the_authors_package(n, alpha, from_n, band):
    # confseq 0.0.11, empirical_process_lil_bound(n, alpha, from_n, 0.85); its own search is good to about 1e-6.
    assert distribution_band(n, from_n=from_n, alpha=alpha) == pytest.approx(band, rel=2e-6)


def test_band_is_close_to_the_constant_that_the_paper_prints():
    # Howard, Ramdas (2022), corollary of theorem 2: 0.85 sqrt((log log(e n / m) + 0.8 log(1612 / alpha)) / n), rounded
    # upwards.
    for n, alpha in ((100, 0.05), (5_000, 0.05), (1_000_000, 0.01), (1_000, 1e-9)):
        printed = 0.85 * math.sqrt((math.log1p(math.log(n / 100)) + 0.8 * math.log(1_612 / alpha)) / n)
        assert 0.96 * printed < distribution_band(n, from_n=100, alpha=alpha) <= printed


# --- properties


@given(SHARES, st.floats(1, 1e6), st.floats(1, 1e4), st.floats(0.001, 0.2))
def test_a_stricter_level_is_wider_and_more_values_are_narrower(share, n, planned_n, alpha):
    deviation = quantile_deviation(share, n, planned_n=planned_n, alpha=alpha)
    assert deviation <= quantile_deviation(share, n, planned_n=planned_n, alpha=alpha / 2)
    more = quantile_deviation(share, 4 * n, planned_n=planned_n, alpha=alpha)
    assert more / (4 * n) < deviation / n
    # One value of a rare kind may be short of its standard deviation.
    spread = math.sqrt(share * (1 - share) * n)
    assert spread < 1 or deviation > 1.5 * spread


@given(st.integers(500, 3_000), st.floats(0.2, 0.8))
def test_interval_is_of_values_around_the_sample_quantile_and_follows_any_rising_scale(n, share):
    values = np.random.default_rng(n).normal(size=n)
    low, high = quantile_sequence(values, share, planned_n=n)
    assert low < np.quantile(values, share) < high
    assert quantile_sequence(np.exp(values), share, planned_n=n) == pytest.approx((math.exp(low), math.exp(high)))
    mirrored = quantile_sequence(-values, 1 - share, planned_n=n)
    assert mirrored[0] <= -np.quantile(values, share) <= mirrored[1]


def test_too_few_values_have_no_end():
    low, high = quantile_sequence(range(50), 0.95, planned_n=50)
    assert low < 47
    assert high == math.inf
    assert quantile_sequence([1.0], 0.5, planned_n=1) == (-math.inf, math.inf)


def test_first_ends_are_the_smallest_and_the_largest_value():
    # Each more value moves the ends by less than one place, so that none is skipped.
    for share, place in ((0.5, 0), (0.5, -1), (0.4, 0), (0.6, -1)):
        sizes = range(1, 200)
        ends = [quantile_sequence(range(n), share, planned_n=50)[place] for n in sizes]
        n, end = next((n, end) for n, end in zip(sizes, ends, strict=True) if math.isfinite(end))
        assert end == range(n)[place]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantile_deviation(1.0, 100, planned_n=100), "share is 1.0"),
        (lambda: quantile_deviation(0.0, 100, planned_n=100), "share is 0.0"),
        (lambda: quantile_deviation(0.5, 0, planned_n=100), "n is 0"),
        (lambda: quantile_deviation(0.5, 100, planned_n=0), "planned_n is 0"),
        (lambda: quantile_sequence([1.0, math.nan], 0.5, planned_n=2), "values must be finite"),
        (lambda: quantile_sequence([], 0.5, planned_n=2), "n is 0"),
        (lambda: distribution_band(99, from_n=100), "n is 99"),
        (lambda: distribution_band(99, from_n=0), "from_n is 0; it must be at least 1 unit"),
        (lambda: distribution_band(100, from_n=100, alpha=1.0), "alpha is 1.0"),
    ],
)
def test_a_slip_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- simulations


@pytest.mark.slow
def test_intervals_and_band_hold_at_all_looks():
    # 200 experiments of 3,000 uniform values, read at ten looks; both are meant for all times, so they miss less.
    rng = np.random.default_rng(20260305)
    missed = {0.5: 0, 0.95: 0, "band": 0}
    looks = range(300, 3_001, 300)
    grid = np.linspace(0.01, 0.99, 99)
    for _ in range(200):
        values = rng.random(3_000)
        for share in (0.5, 0.95):
            ends = [quantile_sequence(values[:n], share, planned_n=600) for n in looks]
            missed[share] += any(not low <= share <= high for low, high in ends)
        gaps = [np.abs(np.searchsorted(np.sort(values[:n]), grid) / n - grid).max() for n in looks]
        missed["band"] += bool(np.any(gaps > distribution_band(np.array(looks), from_n=300)))
    assert max(missed.values()) <= 200 * 0.05
