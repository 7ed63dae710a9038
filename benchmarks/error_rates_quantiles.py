"""Simulated misses of the intervals of quantiles and of their differences, of units and of events in units.

python benchmarks/error_rates_quantiles.py [--repetitions 10000] [--seed 20260301] [--markdown]

Lines and table as ``error_rates.py`` prints them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
from error_rates import ALPHA, Rate, main, miss, missed_tails
from scipy.special import ndtri

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import non_inferiority
from abtest_lib.statistics.harm import harm_holds
from abtest_lib.statistics.inference import compare_means
from abtest_lib.statistics.quantile_histograms import QuantileHistogram, quantile_arm
from abtest_lib.statistics.quantiles import compare_quantiles, order_statistic_interval, quantile_estimate

HARM_ALPHA = 0.002  # of one guardrail, read on 25 nights


def tails_of(intervals: list, truth: float) -> tuple[tuple[float, float], int]:
    """Return the tails of the intervals that could be computed, and how many could."""
    computed = [interval for interval in intervals if not isinstance(interval, NotComputed)]
    return missed_tails(tuple(np.transpose(computed)), truth), len(computed)


def quantiles_of_units(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Intervals of a quantile, one value a unit."""
    for p, n in ((0.5, 50), (0.5, 500), (0.95, 500), (0.99, 2_000)):
        ordered, woodruff, promised = [], [], ALPHA
        for _ in range(repetitions):
            values = np.exp(rng.standard_normal(n))
            exact = order_statistic_interval(values, p)
            if not isinstance(exact, NotComputed):
                promised = 1 - exact.coverage
                ordered.append(exact.interval)
            estimate = quantile_estimate(values, p)
            woodruff.append(estimate if isinstance(estimate, NotComputed) else estimate.interval)
        case = f"p{100 * p:g}, log-normal, n {n}"
        truth = float(np.exp(ndtri(p)))
        tails, computed = tails_of(ordered, truth)
        yield miss(f"ordered values, {case}", tails, computed, promised)
        tails, computed = tails_of(woodruff, truth)
        yield miss(f"Woodruff, {case}", tails, computed, discreteness=0.2 if n < 100 or p > 0.9 else 0.05)


def events_of(rng: np.random.Generator, units: int, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return latencies of a few page loads a unit, alike within it, and whose they are."""
    owners = np.repeat(np.arange(units), 1 + rng.poisson(4, units))
    logs = 0.8 * rng.standard_normal(units)[owners] + 0.6 * rng.standard_normal(owners.size)
    return factor * np.exp(logs), owners


def quantiles_of_events(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Intervals of a quantile of events that cluster in units."""
    for p, units in ((0.5, 200), (0.95, 200), (0.95, 1_000)):
        clustered, plain = [], []
        for _ in range(repetitions):
            values, owners = events_of(rng, units)
            for found, estimate in (
                (clustered, quantile_estimate(values, p, units=owners)),
                (plain, quantile_estimate(values, p)),
            ):
                found.append(estimate if isinstance(estimate, NotComputed) else estimate.interval)
        case = f"p{100 * p:g} of events, {units} units"
        truth = float(np.exp(ndtri(p)))
        tails, computed = tails_of(clustered, truth)
        yield miss(f"clustered, {case}", tails, computed, discreteness=0.2 if p > 0.9 else 0.05)
        tails, computed = tails_of(plain, truth)
        yield miss(f"as if events were units, {case}", tails, computed, used=False)


def quantile_comparisons(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Difference and relative effect of a quantile."""

    def of_units(n: int, factor: float) -> tuple[np.ndarray, None]:
        return factor * np.exp(rng.standard_normal(n)), None

    def of_events(n: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
        return events_of(rng, n, factor)

    cases: tuple[tuple[str, Callable, float, float, tuple[int, int]], ...] = (
        ("units", of_units, 0.5, 0.1, (300, 300)),
        ("units", of_units, 0.95, 0.0, (1_000, 1_000)),
        ("events", of_events, 0.5, 0.1, (200, 200)),
        ("events", of_events, 0.95, 0.0, (1_000, 1_000)),
        ("events", of_events, 0.95, 0.1, (1_800, 200)),
    )
    for what, draw, p, change, (n_control, n_treatment) in cases:
        absolute, relative = [], []
        for _ in range(repetitions):
            arms = []
            for n, factor in ((n_control, 1.0), (n_treatment, 1.0 + change)):
                values, owners = draw(n, factor)
                arms.append(quantile_estimate(values, p, units=owners))
            if any(isinstance(arm, NotComputed) for arm in arms):
                continue
            found = compare_quantiles(*arms)
            absolute.append(found.effect_interval)
            relative.append(found.relative_interval)
        effect = f", effect {change:+.0%}" if change else ""
        case = f"p{100 * p:g} of {what}, {n_control:,}/{n_treatment:,} units{effect}"
        for name, intervals, truth in (
            ("difference", absolute, change * float(np.exp(ndtri(p)))),
            ("relative, Fieller", relative, change),
        ):
            tails, computed = tails_of(intervals, truth)
            yield miss(f"{name}, {case}", tails, computed, discreteness=0.2 if p > 0.9 else 0.05)


def quantiles_by_bin(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """What a night makes of events that it counted by bin, also of values that repeat because they are rounded."""
    cases = (
        (0.5, 0.1, (200, 200), 0.0),
        (0.95, 0.0, (200, 200), 0.0),
        (0.95, 0.0, (1_000, 1_000), 0.0),
        (0.95, 0.1, (1_800, 200), 0.0),
        (0.95, 0.0, (1_000, 1_000), 0.2),
        (0.5, 0.0, (1_000, 1_000), 0.02),
        (0.5, 0.0, (300, 300), 0.2),
    )
    for p, change, (n_control, n_treatment), step in cases:
        absolute, relative = [], []
        for _ in range(repetitions):
            offset = rng.random()
            arms = [
                arm_of(rng, p, n, factor, step, offset) for n, factor in ((n_control, 1.0), (n_treatment, 1.0 + change))
            ]
            if any(isinstance(arm, NotComputed) for arm in arms):
                continue
            found = compare_means(*arms)
            absolute.append(found.effect_interval)
            relative.append(found.relative_interval)
        effect = (f", effect {change:+.0%}" if change else "") + (f", rounded to {step}" if step else "")
        case = f"p{100 * p:g} of events by bin, {n_control:,}/{n_treatment:,} units{effect}"
        for name, intervals, truth in (
            ("difference", absolute, change * float(np.exp(ndtri(p)))),
            ("relative, Fieller", relative, change),
        ):
            tails, computed = tails_of(intervals, truth)
            yield miss(f"{name}, {case}", tails, computed, discreteness=0.2 if p > 0.9 else 0.05)


def arm_of(rng: np.random.Generator, p: float, units: int, factor: float, step: float, offset: float):
    """Return a quantile of events that were counted by bin; with a step they are rounded down to a grid before."""
    values, owners = events_of(rng, units, factor)
    if step:
        values = np.floor(values / step + offset) * step
    return quantile_arm(QuantileHistogram.from_values(values, owners), p, units=units)


def quantile_guardrails(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Wrong words on the 95th percentile of a latency that is exactly at its margin of 10 %."""
    options = {"margin": 0.1, "better": "lower"}
    for units in (200, 1_000):
        safe, harmful, computed = 0, 0, 0
        for _ in range(repetitions):
            arms = [arm_of(rng, 0.95, units, factor, 0.0, 0.0) for factor in (1.0, 1.1)]
            if any(isinstance(arm, NotComputed) for arm in arms):
                continue
            computed += 1
            reading = non_inferiority(*arms, kind="mean", alpha=ALPHA / 2, alpha_harm=HARM_ALPHA, **options)
            safe += reading.pvalue_safe < ALPHA / 2
            harmful += reading.harmful and harm_holds(*arms, kind="mean", alpha_harm=HARM_ALPHA, **options)
        case = f"p95 of events by bin, {units:,}/{units:,} units"
        yield Rate(f"called safe: {case}", safe / computed, ALPHA / 2, computed, discreteness=0.2)
        yield Rate(f"called harmful on one night: {case}", harmful / computed, HARM_ALPHA, computed, discreteness=0.2)


SIMULATIONS = (quantiles_of_units, quantiles_of_events, quantile_comparisons, quantiles_by_bin, quantile_guardrails)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS, repetitions=10_000))
