"""Quantiles against R's tables, brute force, and the coverage they promise."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from benchmark_rates import broken_rates
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

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
    for n, ranks, coverage in ((6, (1, 6), 62 / 64), (10, (2, 9), 0.978515625), (20, (6, 15), 0.958610534667969)):
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


def test_decimals_and_values_that_come_one_by_one_are_numbers_too():
    values = [Decimal(at) / 4 for at in range(40)]
    floats = np.array(values, dtype=float)
    assert quantile_estimate(iter(values), 0.5) == quantile_estimate(floats, 0.5)
    assert order_statistic_interval(iter(values), 0.5) == order_statistic_interval(floats, 0.5)
    assert quantile_estimate(values, 0.5) == quantile_estimate(floats, 0.5)


def test_interval_may_reach_from_the_least_value_to_the_greatest():
    # Half of eight values: 1/2 -+ 2.365 * sqrt(1/4 / 7) is 0.053 to 0.947, of eight 0.42 to 7.6.
    assert quantile_estimate(range(1, 9), 0.5).interval == (1, 8)


def test_comparison_is_welch_t_of_the_quantiles_at_its_level_and_side():
    control, treatment = (quantile_estimate(range(start, start + 100), 0.5) for start in (1, 21))
    result = compare_quantiles(control, treatment, alpha=0.2, alternative="greater")
    # Both errors and degrees of freedom are equal, so that Welch's are 99 + 99.
    error = math.hypot(control.standard_error, treatment.standard_error)
    assert result.pvalue == pytest.approx(stats.t.sf(20 / error, 198))
    assert result.effect_interval == pytest.approx((20 - stats.t.isf(0.2, 198) * error, math.inf))
    assert result.method == "quantiles with outer intervals, Welch t; Fieller relative interval"


@pytest.mark.parametrize(("n", "bracket_n", "width"), [(21, 21, 3.0), (99, 80, 0.001), (500, 400, 0.5)])
def test_squared_error_of_a_bracket_is_that_of_its_half_length_over_the_normal_quantile(n, bracket_n, width):
    got = bracketed_quantile_estimate(7.0, (6.0, 6.0 + width), p=0.5, n=n, bracket_n=bracket_n)
    at_bracket = (width / (2 * stats.norm.isf(0.025))) ** 2
    assert got.squared_error == pytest.approx(at_bracket * bracket_n / n * (n - 1) / n)
    assert (got.mean, got.df) == (7.0, n - 1)


@pytest.mark.parametrize(("n", "width"), [(100, 0.001), (500, 0.001), (1_000, 0.0)])
def test_values_that_hardly_vary_have_the_smallest_variance(n, width):
    got = bracketed_quantile_estimate(7.0, (7.0, 7.0 + width), p=0.5, n=n, bracket_n=n // 4)
    assert got.squared_error == pytest.approx(1e-5 / n)


@pytest.mark.parametrize("p", [0.01, 0.99])
def test_fewest_values_are_those_whose_bracket_is_within_all_values(p):
    # 0.99 + 1.96 sqrt(0.99 * 0.01 / n) < 1 from 1.96² * 99 = 380.3 values on.
    few = bracketed_quantile_estimate(1.0, (0.5, 2.0), p=p, n=380, bracket_n=200)
    assert few == NotComputed(f"380 values are too few to bracket the quantile at {p}")
    assert bracketed_quantile_estimate(1.0, (0.5, 2.0), p=p, n=381, bracket_n=200).df == 380


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
    assert quantile_estimate([], 0.5).reason == "0 values; a quantile needs at least 2"
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
    one = bracketed_quantile_estimate(1.0, (1.0, 1.0), p=0.5, n=1, bracket_n=1)
    assert one.reason == "1 values are too few to bracket the quantile at 0.5"
    flat = bracketed_quantile_estimate(1.0, (1.0, 1.0), p=0.5, n=999, bracket_n=200)
    same = bracketed_quantile_estimate(1.0, (0.0, 1.0), p=0.5, n=300, bracket_n=200, share_squared_error=0.0)
    assert flat.reason == same.reason == "the values around the quantile do not vary"
    endless = bracketed_quantile_estimate(math.nan, (0.0, 1.0), p=0.5, n=300, bracket_n=200)
    assert endless.reason == "a quantile is not a finite number"
    heaped = QuantileEstimate(2.0, (2.0, 2.0), share_standard_error=0.05, standard_error=0.0, df=99)
    assert compare_quantiles(heaped, heaped).reason == "the interval of neither quantile has any width"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: quantile_estimate([1.0, 2.0], 1.0), "p is 1.0"),
        (lambda: order_statistic_interval([1.0, 2.0], 0.0), "p is 0.0"),
        (lambda: bracketed_quantile_estimate(1.0, (0.5, 2.0), p=0.5, n=1.5, bracket_n=9), "^n is 1.5"),
        (
            lambda: bracketed_quantile_estimate(
                1.0, (0.5, 2.0), p=0.5, n=300, bracket_n=200, share_squared_error=math.inf
            ),
            "share_squared_error is inf",
        ),
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
@pytest.mark.parametrize(
    "simulation",
    [
        "quantiles_of_units",
        "quantiles_of_events",
        "quantile_comparisons",
        "quantiles_by_bin",
        "quantile_guardrails",
    ],
)
def test_promised_error_rates_are_held(simulation):
    assert broken_rates("error_rates_quantiles", simulation, seed=31, repetitions=600) == []
