"""Quantiles against R's tables, brute force, and the coverage they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmark_rates import broken_rates
from hypothesis import given
from hypothesis import strategies as st

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.quantiles import (
    QuantileEstimate,
    bracketed_quantile_estimate,
    compare_quantiles,
    order_statistic_interval,
    quantile_estimate,
)

VALUES = st.lists(st.integers(-50, 50), min_size=20, max_size=60)


def test_ranks_of_the_median_are_those_of_the_binomial_table():
    # R: qbinom(.025, n, .5), qbinom(.975, n, .5) + 1, and the sum of dbinom between them.
    for n, ranks, coverage in ((10, (2, 9), 0.978515625), (20, (6, 15), 0.958610534667969)):
        got = order_statistic_interval(range(1, n + 1), 0.5)
        assert (got.lower_rank, got.upper_rank) == ranks
        assert got.coverage == pytest.approx(coverage, rel=1e-12)


@given(st.integers(12, 80), st.sampled_from([0.3, 0.5, 0.7]))
def test_order_statistics_cover_as_the_binomial_counts_say(n, p):
    got = order_statistic_interval(range(1, n + 1), p)
    if isinstance(got, NotComputed):
        return
    counts = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    assert got.coverage == pytest.approx(sum(counts[got.lower_rank : got.upper_rank]))
    assert got.coverage >= 0.95 - 1e-9
    assert got.interval == (got.lower_rank, got.upper_rank)


@given(VALUES, st.sampled_from([0.25, 0.5, 0.6]))
def test_quantile_is_the_smallest_value_with_the_share_at_or_below(values, p):
    got = quantile_estimate(values, p)
    if isinstance(got, NotComputed):
        return
    n = len(values)
    want = min(v for v in values if sum(each <= v for each in values) >= p * n - 1e-9)
    assert got.quantile == want
    assert got.interval[0] <= got.quantile <= got.interval[1]
    share = sum(each <= want for each in values) / n
    # Of independent values the clustered error is that of a share, with divisor n - 1.
    assert got.share_standard_error == pytest.approx((share * (1 - share) / (n - 1)) ** 0.5)


@given(VALUES)
def test_events_that_are_copies_within_a_unit_tell_no_more_than_one(values):
    plain = quantile_estimate(values, 0.5)
    copied = quantile_estimate(np.repeat(values, 3), 0.5, units=np.repeat(np.arange(len(values)), 3))
    if isinstance(plain, NotComputed):
        assert isinstance(copied, NotComputed)
        return
    assert (copied.quantile, copied.interval) == (plain.quantile, plain.interval)
    assert copied.share_standard_error == pytest.approx(plain.share_standard_error)


def test_swapping_variants_flips_the_sign():
    rng = np.random.default_rng(5)
    arms = [quantile_estimate(rng.exponential(scale, 200), 0.5) for scale in (1.0, 1.3)]
    forward, back = compare_quantiles(*arms), compare_quantiles(*arms[::-1])
    assert (forward.effect, forward.pvalue) == pytest.approx((-back.effect, back.pvalue))
    assert forward.relative_effect == pytest.approx(forward.effect / arms[0].quantile)


def test_bracket_of_independent_events_needs_no_clusters():
    options = {"p": 0.9, "n": 5_000, "bracket_n": 3_200}
    plain = bracketed_quantile_estimate(55.5, (54.7, 56.5), **options)
    independent = bracketed_quantile_estimate(55.5, (54.7, 56.5), share_squared_error=0.09 / 5_000, **options)
    twice = bracketed_quantile_estimate(55.5, (54.7, 56.5), share_squared_error=0.18 / 5_000, **options)
    assert independent.squared_error == pytest.approx(plain.squared_error)
    assert twice.squared_error == pytest.approx(2 * plain.squared_error)


def test_what_cannot_be_computed_says_why():
    assert quantile_estimate([1.0], 0.5).reason == "1 value; a quantile needs at least 2"
    assert quantile_estimate([1.0, math.inf], 0.5).reason == "a value is not a finite number"
    assert quantile_estimate(range(200), 0.99).reason == "200 units are too few to bracket the quantile at 0.99"
    assert quantile_estimate([1.0] * 50, 0.5).reason == (
        "every value is at or below the quantile, which leaves its interval without an upper end"
    )
    assert order_statistic_interval(range(20), 0.99).reason == "20 values are too few to bracket the quantile at 0.99"
    assert order_statistic_interval([], 0.5).reason == "there are no values"
    assert order_statistic_interval([1.0, math.nan], 0.5).reason == "a value is not a finite number"
    few = bracketed_quantile_estimate(1.0, (0.5, 2.0), p=0.99, n=300, bracket_n=200)
    assert few.reason == "300 values are too few to bracket the quantile at 0.99"
    flat = bracketed_quantile_estimate(1.0, (1.0, 1.0), p=0.5, n=300, bracket_n=200)
    assert flat.reason == "the values around the quantile do not vary"
    assert isinstance(bracketed_quantile_estimate(math.nan, (0.0, 1.0), p=0.5, n=300, bracket_n=200), NotComputed)
    heaped = QuantileEstimate(2.0, (2.0, 2.0), share_standard_error=0.05, standard_error=0.0, df=99)
    assert compare_quantiles(heaped, heaped).reason == "the interval of neither quantile has any width"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: quantile_estimate([1.0, 2.0], 1.0), "p is 1.0"),
        (lambda: quantile_estimate([1.0, 2.0], 0.5, units=["u"]), "units has 1"),
        (lambda: order_statistic_interval([1.0], 0.5, alpha=2), "alpha is 2"),
        (lambda: bracketed_quantile_estimate(1.0, (2.0, 0.5), p=0.5, n=300, bracket_n=200), "bracket is"),
        (lambda: bracketed_quantile_estimate(1.0, (0.5, 2.0), p=0.5, n=300, bracket_n=0), "bracket_n is 0"),
    ],
)
def test_a_slip_of_the_caller_names_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.slow
def test_clustered_interval_covers_the_median_and_the_unclustered_one_does_not():
    rng, held, naive, repetitions, n = np.random.default_rng(20260301), 0, 0, 2_000, 150
    for _ in range(repetitions):
        sizes = 1 + rng.poisson(4, n)
        units = np.repeat(np.arange(n), sizes)
        values = rng.normal(0, 1, n)[units] + rng.normal(0, 0.7, units.size)
        low, high = quantile_estimate(values, 0.5, units=units).interval
        held += low <= 0 <= high
        low, high = quantile_estimate(values, 0.5).interval
        naive += low <= 0 <= high
    # Four standard errors of the simulation around 0.95.
    assert held / repetitions == pytest.approx(0.95, abs=4 * (0.05 * 0.95 / repetitions) ** 0.5)
    assert naive / repetitions < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("simulation", ["quantiles_of_units", "quantiles_of_events", "quantile_comparisons"])
def test_promised_error_rates_are_held(simulation):
    assert broken_rates("error_rates_quantiles", simulation, seed=31, repetitions=600) == []
