from __future__ import annotations

import math

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


def test_band_matches_the_authors_package():
    # confseq 0.0.11, empirical_process_lil_bound(100, 0.05, 100, 0.85); its own search is good to about 1e-6.
    assert distribution_band(100, from_n=100) == pytest.approx(0.24225327092462232, rel=2e-6)


def test_band_is_close_to_the_constant_that_the_paper_prints():
    # Howard, Ramdas (2022), corollary of theorem 2: 0.85 sqrt((log log(e n / m) + 0.8 log(1612 / alpha)) / n), rounded
    # upwards.
    for n, alpha in ((100, 0.05), (5_000, 0.05), (1_000_000, 0.01)):
        printed = 0.85 * math.sqrt((math.log1p(math.log(n / 100)) + 0.8 * math.log(1_612 / alpha)) / n)
        assert 0.97 * printed < distribution_band(n, from_n=100, alpha=alpha) <= printed


# --- properties


@given(SHARES, st.floats(1, 1e6), st.floats(1, 1e4), st.floats(0.001, 0.2))
def test_a_stricter_level_is_wider_and_more_values_are_narrower(share, n, planned_n, alpha):
    deviation = quantile_deviation(share, n, planned_n=planned_n, alpha=alpha)
    assert deviation <= quantile_deviation(share, n, planned_n=planned_n, alpha=alpha / 2)
    more = quantile_deviation(share, 4 * n, planned_n=planned_n, alpha=alpha)
    assert more / (4 * n) < deviation / n
    assert deviation > math.sqrt(share * (1 - share) * n)


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantile_deviation(1.0, 100, planned_n=100), "share is 1.0"),
        (lambda: quantile_deviation(0.5, 0, planned_n=100), "n is 0"),
        (lambda: quantile_deviation(0.5, 100, planned_n=0), "planned_n is 0"),
        (lambda: quantile_sequence([1.0, math.nan], 0.5, planned_n=2), "values must be finite"),
        (lambda: quantile_sequence([], 0.5, planned_n=2), "n is 0"),
        (lambda: distribution_band(99, from_n=100), "n is 99"),
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
