"""Simulated misses of ratio metrics, regressions and stratified shares.

python benchmarks/error_rates_ratios.py [--repetitions 10000] [--seed 20260301] [--markdown]

Lines and table as ``error_rates.py`` prints them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from error_rates import ALPHA, Rate, main, miss, missed_tails

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.inference import compare_means
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.ratios import compare_ratios
from abtest_lib.statistics.regression import (
    compare_by_ancova,
    compare_by_clustered_regression,
    compare_by_lin_regression,
)
from abtest_lib.statistics.stratified import cochran_mantel_haenszel_test, mantel_haenszel_difference

# Clicks of a user's sessions: beta(2, 4) shares, so that sessions of a user are alike.
CLICKS = 2.0 / 6.0


def users(rng: np.random.Generator, n: int, *, heavy: bool, change: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return clicks and sessions of each user; with ``heavy`` a few users have many sessions."""
    sessions = np.ceil(np.exp(rng.standard_normal(n))) if heavy else 1.0 + rng.poisson(4, n)
    clicks = rng.binomial(sessions.astype(int), np.minimum(rng.beta(2, 4, n) * (1 + change), 1.0))
    return clicks.astype(float), sessions


def ratio_intervals(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Clicks per session, users assigned: the delta method clustered on the user."""
    for n_control, n_treatment, heavy, change in (
        (500, 500, False, 0.0),
        (500, 500, True, -0.2),
        (20, 20, False, 0.0),
        (100, 100, True, 0.0),
        (900, 100, True, 0.0),
    ):
        absolute, relative, naive = [], [], []
        # A share above 1 is cut, which an effect that makes it smaller never needs.
        truth = CLICKS * change
        for _ in range(repetitions):
            arms = [users(rng, n_control, heavy=heavy), users(rng, n_treatment, heavy=heavy, change=change)]
            found = compare_ratios(*(CoMoments.from_values(*arm) for arm in arms))
            absolute.append(found.effect_interval)
            if not isinstance(found.relative_interval, NotComputed):
                relative.append(found.relative_interval)
            sums = [(clicks.sum(), sessions.sum()) for clicks, sessions in arms]
            error = np.sqrt(sum(x / n * (1 - x / n) / n for x, n in sums))
            naive.append((found.effect - 1.96 * error, found.effect + 1.96 * error))
        effect = f", effect {change:+.0%}" if change else ""
        spread = "skewed sessions" if heavy else "4 sessions or so"
        case = f"{spread}, {n_control}/{n_treatment} users{effect}"
        few = 0.2 if min(n_control, n_treatment) <= 100 else 0.0
        for name, intervals, at in (("difference", absolute, truth), ("relative, Fieller", relative, change)):
            tails = missed_tails(tuple(np.transpose(intervals)), at)
            yield miss(f"{name}, {case}", tails, len(intervals), discreteness=few)
        tails = missed_tails(tuple(np.transpose(naive)), truth)
        yield miss(f"as if sessions were assigned, {case}", tails, repetitions, used=False)


def clustered_regressions(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Regression of sessions on the variant, robust to users."""
    for n_control, n_treatment, heavy in ((12, 12, False), (40, 10, True), (100, 100, True), (500, 500, True)):
        found: dict[str, list] = {"CR0": [], "CR1": [], "CR2": []}
        for _ in range(repetitions):
            arms = [users(rng, n, heavy=heavy) for n in (n_control, n_treatment)]
            for name, intervals in found.items():
                result = compare_by_clustered_regression(*arms, variance=name)
                if not isinstance(result, NotComputed):
                    intervals.append(result.effect_interval)
        spread = "skewed sessions" if heavy else "4 sessions or so"
        for name, intervals in found.items():
            tails = missed_tails(tuple(np.transpose(intervals)), 0.0)
            case = f"{name}, {spread}, {n_control}/{n_treatment} users"
            yield miss(case, tails, len(intervals), used=name == "CR2", discreteness=0.1)


def regressions(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Regression on variant and covariate, where spread and slope differ between variants."""
    for n_control, n_treatment in ((30, 30), (270, 30), (500, 500)):
        treated = np.repeat([0.0, 1.0], [n_control, n_treatment])
        found: dict[str, list] = {"Lin, HC0": [], "Lin, HC2": [], "Lin, HC3": [], "analysis of covariance": []}
        for _ in range(repetitions):
            x = rng.standard_normal(treated.size)
            y = x * (1 + 0.5 * treated) + rng.standard_normal(treated.size) * (1 + treated)
            # In the population x has mean 0, which the regression takes from the units at hand.
            for name in ("HC0", "HC2", "HC3"):
                found[f"Lin, {name}"].append(compare_by_lin_regression(y, treated, x, variance=name).effect_interval)
            arms = [CoMoments.from_values(y[treated == arm], x[treated == arm]) for arm in (0, 1)]
            found["analysis of covariance"].append(compare_by_ancova(*arms).effect_interval)
        for name, intervals in found.items():
            tails = missed_tails(tuple(np.transpose(intervals)), 0.0)
            case = f"{name}, sd 1:2, {n_control}/{n_treatment} units"
            ours, few = name in ("Lin, HC2", "Lin, HC3"), n_treatment * 5 < n_control
            # Degrees of freedom count the units of both variants, though the small one has nearly all of the error.
            remark = "known limit" if ours and few else "for comparison"
            yield miss(case, tails, repetitions, used=ours and not few, discreteness=0.2, remark=remark)


def stratified_shares(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Differences and odds ratios of a share over strata."""
    for strata, units, low, high in ((5, 2_000, 0.02, 0.2), (200, 8, 0.1, 0.5), (5, 200, 0.01, 0.05)):
        shares = np.linspace(low, high, strata)
        n_control = np.maximum(1, np.round(units * np.linspace(0.3, 0.7, strata)).astype(int))
        n_treatment = units - n_control
        difference, odds, rejected, pooled = [], [], [], []
        for _ in range(repetitions):
            xc, xt = rng.binomial(n_control, shares), rng.binomial(n_treatment, shares)
            tables = list(zip(*(each.tolist() for each in (xc, n_control, xt, n_treatment)), strict=True))
            difference.append(mantel_haenszel_difference(tables).interval)
            test = cochran_mantel_haenszel_test(tables)
            odds.append(test.interval)
            rejected.append(test.pvalue < ALPHA)
            sums = [Moments.from_counts(int(x.sum()), int(n.sum())) for x, n in ((xc, n_control), (xt, n_treatment))]
            pooled.append(compare_means(*sums).pvalue < ALPHA)
        case = f"{strata} strata of {units:,} units, shares {low}–{high}"
        rare = 0.1 if units * strata * low < 100 else 0.0
        tails = missed_tails(tuple(np.transpose(difference)), 0.0)
        yield miss(f"Mantel–Haenszel difference, {case}", tails, repetitions, discreteness=rare)
        computed = [interval for interval in odds if not isinstance(interval, NotComputed)]
        tails = missed_tails(tuple(np.transpose(computed)), 1.0)
        yield miss(f"Mantel–Haenszel odds ratio, {case}", tails, len(computed), discreteness=rare)
        name = f"type I: Cochran–Mantel–Haenszel, {case}"
        yield Rate(name, float(np.mean(rejected)), ALPHA, repetitions, discreteness=rare)
        yield Rate(f"type I: strata ignored, {case}", float(np.mean(pooled)), ALPHA, repetitions, used=False)


SIMULATIONS = (ratio_intervals, clustered_regressions, regressions, stratified_shares)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS, repetitions=10_000))
