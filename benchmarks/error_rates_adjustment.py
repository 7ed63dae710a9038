"""Simulated errors of variance reduction: several covariates, for means, shares and ratios, and post-stratification.

python benchmarks/error_rates_adjustment.py [--repetitions 10000] [--seed 20260301] [--markdown]

Lines and table as ``error_rates.py`` prints them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator

import numpy as np
from error_rates import Rate, main, miss, missed_tails

from abtest_lib.statistics.covariates import compare_means_with_covariates, compare_ratios_with_covariates
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.inference import compare_means
from abtest_lib.statistics.joint_moments import JointMoments
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.post_stratification import (
    PostStratifiedComparison,
    compare_post_stratified_means,
    compare_post_stratified_ratios,
)
from abtest_lib.statistics.sampled_strata import compare_means_over_sampled_strata

STRATA = 20
RARE = 0.004
E = math.e


def tails_of(intervals: list, truths: float | list[float]) -> tuple[tuple[float, float], int]:
    """Return the tails of the intervals that could be computed, and how many could."""
    truth = np.broadcast_to(truths, len(intervals))
    computed = [(*each, at) for each, at in zip(intervals, truth, strict=True) if not isinstance(each, NotComputed)]
    low, high, at = np.transpose(computed)
    return missed_tails((low, high), at), len(computed)


def units(
    rng: np.random.Generator, n: int, covariates: int, *, explained: float, change: float = 0.0, heavy: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return outcome and correlated covariates of n units, squared normal or log-normal, and what they leave."""
    shared = rng.standard_normal(n)
    logs = math.sqrt(0.5) * (shared + rng.standard_normal((covariates, n)))
    noise = rng.standard_normal(n)
    if heavy:
        x, rest = np.exp(logs), np.exp(noise)
    else:
        x, rest = logs**2, rng.exponential(1, n)
    # Variances of one covariate and of two together, and of the rest, give the share that is explained.
    own, shared_part, spread = (E * (E - 1), E * (math.sqrt(E) - 1), E * (E - 1)) if heavy else (2.0, 0.5, 1.0)
    signal = own / covariates + shared_part * (1 - 1 / covariates)
    weight = math.sqrt(explained / (1 - explained) * spread / signal)
    return np.vstack([(4 + weight * x.mean(axis=0) + rest) * (1 + change), x]), rest


def several_covariates(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Means adjusted for several skewed covariates (CUPED)."""
    repetitions = min(repetitions, 20_000)
    for n_control, n_treatment, covariates, explained, heavy in (
        (500, 500, 3, 0.5, False),
        (900, 100, 3, 0.5, False),
        (500, 500, 3, 0.5, True),
        (900, 100, 3, 0.5, True),
        (500, 500, 8, 0.0, False),
        (100, 100, 5, 0.5, False),
        (40, 40, 8, 0.5, False),
    ):
        found, known = [], []
        for _ in range(repetitions):
            drawn = [units(rng, n, covariates, explained=explained, heavy=heavy) for n in (n_control, n_treatment)]
            found.append(compare_means_with_covariates(*(JointMoments.from_values(*arm) for arm, _ in drawn)))
            known.append(compare_means(*(Moments.from_values(rest) for _, rest in drawn)).effect_interval)
        removed = np.mean([each.variance_removed for each in found])
        shape = "log-normal" if heavy else "squared normal"
        case = f"{covariates} covariates, {shape}, n {n_control}/{n_treatment}"
        tails, computed = tails_of([each.comparison.effect_interval for each in found], 0.0)
        # A hundred log-normal values are too few for any t test; the next row says so.
        limit = {"used": False, "remark": "known limit"} if n_treatment < 500 and heavy else {}
        yield miss(f"CUPED, {case}, {removed:.0%} removed", tails, computed, **limit)
        if n_treatment < n_control:
            tails, computed = tails_of(known, 0.0)
            yield miss(f"Welch on what is left, were the slopes known, {case}", tails, computed, used=False)


def shares_with_covariates(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Shares adjusted for two covariates, as means of zeros and ones."""
    repetitions = min(repetitions, 20_000)
    for share, n_control, n_treatment in ((0.1, 500, 500), (0.1, 900, 100), (0.02, 2_000, 2_000)):
        found = []
        for _ in range(repetitions):
            arms = []
            for n in (n_control, n_treatment):
                x = rng.exponential(1, (2, n))
                arms.append(JointMoments.from_values(rng.random(n) < share * x.mean(axis=0), *x))
            found.append(compare_means_with_covariates(*arms))
        case = f"share {share}, n {n_control}/{n_treatment}"
        tails, computed = tails_of([each.comparison.effect_interval for each in found], 0.0)
        # Ten events are too few for any t test of a share; the next row says so.
        limit = {"used": False, "remark": "known limit"} if n_treatment < n_control else {"discreteness": 0.1}
        yield miss(f"CUPED, {case}", tails, computed, **limit)
        tails, computed = tails_of([each.unadjusted.effect_interval for each in found], 0.0)
        yield miss(f"Welch without covariates, {case}", tails, computed, used=False)


def relative_effects(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Effects of +20 %, with several covariates."""
    repetitions, change = min(repetitions, 20_000), 0.2
    for n_control, n_treatment in ((500, 500), (900, 100)):
        relative = []
        for _ in range(repetitions):
            control, _ = units(rng, n_control, 3, explained=0.5)
            treatment, _ = units(rng, n_treatment, 3, explained=0.5, change=change)
            result = compare_means_with_covariates(
                JointMoments.from_values(*control), JointMoments.from_values(*treatment)
            ).comparison
            relative.append(result.relative_interval)
        case = f"3 covariates, effect {change:+.0%}, n {n_control}/{n_treatment}"
        tails, computed = tails_of(relative, change)
        yield miss(f"CUPED, Fieller, {case}", tails, computed)


def sessions(rng: np.random.Generator, n: int, *, change: float = 0.0, level: np.ndarray | float = 1.0) -> np.ndarray:
    """Return revenue and sessions of a period, and of the one before, of n users who keep their ways."""
    habit = rng.gamma(2, 0.5, n) * level
    frequency = rng.lognormal(0, 0.7, n)
    before, now = (rng.poisson(3 * frequency) + 1.0 for _ in range(2))
    spent = [rng.gamma(each, habit) for each in (before, now)]
    return np.vstack([spent[1] * (1 + change), now, spent[0], before])


def ratios_with_covariates(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Revenue per session, adjusted for revenue and sessions of the period before."""
    repetitions = min(repetitions, 20_000)
    for n_control, n_treatment, change in ((500, 500, 0.0), (900, 100, 0.0), (500, 500, 0.1), (4_500, 500, 0.0)):
        adjusted, unadjusted, relative, removed = [], [], [], []
        for _ in range(repetitions):
            arms = (sessions(rng, n_control), sessions(rng, n_treatment, change=change))
            result = compare_ratios_with_covariates(*(JointMoments.from_values(*arm) for arm in arms))
            adjusted.append(result.comparison.effect_interval)
            unadjusted.append(result.unadjusted.effect_interval)
            relative.append(result.comparison.relative_interval)
            removed.append(result.variance_removed)
        effect = f", effect {change:+.0%}" if change else ""
        case = f"n {n_control}/{n_treatment}{effect}, {np.mean(removed):.0%} removed"
        tails, computed = tails_of(adjusted, change)
        # A hundred skewed users are too few for the ratio itself; the next row says so.
        limit = {"used": False, "remark": "known limit"} if n_treatment < 500 else {}
        yield miss(f"ratio CUPED, {case}", tails, computed, **limit)
        if limit:
            tails, computed = tails_of(unadjusted, change)
            name = f"ratio without covariates, n {n_control}/{n_treatment}{effect}"
            yield miss(name, tails, computed, used=False)
        if change:
            tails, computed = tails_of(relative, change)
            yield miss(f"ratio CUPED, Fieller, {case}", tails, computed)


def stratified(
    rng: np.random.Generator, n_control: int, n_treatment: int, draw: Callable[[np.ndarray, bool], np.ndarray]
) -> tuple[dict, np.ndarray]:
    """Return cells of moments by stratum, one of them rare, and all units' strata; ``draw`` makes columns of strata."""
    shares = np.r_[RARE, np.full(STRATA - 1, (1 - RARE) / (STRATA - 1))]
    placed = [rng.choice(STRATA, n, p=shares) for n in (n_control, n_treatment)]
    columns = [draw(stratum, treated) for stratum, treated in zip(placed, (False, True), strict=True)]
    cells = {
        k: tuple(
            JointMoments.from_values(*values[:, stratum == k]) for values, stratum in zip(columns, placed, strict=True)
        )
        for k in range(STRATA)
    }
    return cells, np.concatenate(placed)


def post_stratified_means(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Means compared within 20 strata, one of them with four units in a thousand."""
    repetitions, level = min(repetitions, 10_000), np.linspace(4, 0, STRATA)
    for n_control, n_treatment, kind in (
        (500, 500, "exponential"),
        (900, 100, "exponential"),
        (500, 500, "exponential with a covariate"),
        (900, 100, "exponential with a covariate"),
        (500, 500, "share of 0.02-0.18"),
        (2_000, 2_000, "log-normal"),
    ):

        def draw(stratum: np.ndarray, treated: bool, kind: str = kind) -> np.ndarray:
            if kind.startswith("share"):
                return (rng.random(stratum.size) < 0.02 + 0.04 * level[stratum])[None, :].astype(float)
            if kind == "log-normal":
                return (level[stratum] + rng.lognormal(0, 1, stratum.size))[None, :]
            x = rng.exponential(1, (1 if "covariate" in kind else 0, stratum.size))
            return np.vstack([level[stratum] + x.sum(axis=0) + rng.exponential(1, stratum.size), x])

        found: list[PostStratifiedComparison] = []
        for _ in range(repetitions):
            found.append(compare_post_stratified_means(stratified(rng, n_control, n_treatment, draw)[0]))
        removed = np.mean([each.variance_removed for each in found])
        merged = np.mean([len(each.merged) for each in found])
        tails, computed = tails_of([each.comparison.effect_interval for each in found], 0.0)
        size = f"{kind}, n {n_control}/{n_treatment}"
        case = f"{size}, {removed:.0%} removed, {merged:.1f} strata merged"
        yield miss(f"post-stratified, {case}", tails, computed, discreteness=0.1 if kind.startswith("share") else 0.0)
        if n_treatment < 500:
            tails, computed = tails_of([each.unadjusted.effect_interval for each in found], 0.0)
            yield miss(f"Welch without strata, {size}", tails, computed, used=False)


def effects_that_differ(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Effects that differ between 20 strata: on the units at hand, and in the population they are a sample of."""
    repetitions, level = min(repetitions, 10_000), np.linspace(4, 0, STRATA)
    shares = np.r_[RARE, np.full(STRATA - 1, (1 - RARE) / (STRATA - 1))]
    effect = 0.25 * level**2
    own, relative, sampled, own_truth, base_truth = [], [], [], [], []
    for _ in range(repetitions):

        def draw(stratum: np.ndarray, treated: bool) -> np.ndarray:
            moved = effect[stratum] if treated else 0.0
            return (level[stratum] + moved + rng.exponential(1, stratum.size))[None, :]

        cells, stratum = stratified(rng, 500, 500, draw)
        result = compare_post_stratified_means(cells).comparison
        own.append(result.effect_interval)
        relative.append(result.relative_interval)
        own_truth.append(effect[stratum].mean())
        base_truth.append(effect[stratum].mean() / (level[stratum].mean() + 1))
        sampled.append(compare_means_over_sampled_strata(cells).interval)
    population = float(shares @ effect)
    for name, intervals, truth, used in (
        ("shares as they are, effect on the units at hand", own, own_truth, True),
        ("the same, Fieller of the relative effect", relative, base_truth, True),
        ("shares as they are, effect in the population", own, population, False),
        ("shares as a sample, effect in the population", sampled, population, True),
    ):
        tails, computed = tails_of(intervals, truth)
        yield miss(f"{name}, n 500/500", tails, computed, used=used)


def post_stratified_ratios(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Revenue per session within 20 strata, with and without the period before."""
    repetitions, level = min(repetitions, 10_000), np.linspace(0.5, 2, STRATA)
    for n_control, n_treatment, columns in ((500, 500, 2), (500, 500, 4), (900, 100, 4)):

        def draw(stratum: np.ndarray, treated: bool, columns: int = columns) -> np.ndarray:
            return sessions(rng, stratum.size, level=level[stratum])[:columns]

        found = [
            compare_post_stratified_ratios(stratified(rng, n_control, n_treatment, draw)[0]) for _ in range(repetitions)
        ]
        removed = np.mean([each.variance_removed for each in found])
        tails, computed = tails_of([each.comparison.effect_interval for each in found], 0.0)
        words = "with the period before" if columns == 4 else "without covariates"
        case = f"{words}, n {n_control}/{n_treatment}, {removed:.0%} removed"
        yield miss(f"post-stratified ratio, {case}", tails, computed)


SIMULATIONS = (
    several_covariates,
    shares_with_covariates,
    relative_effects,
    ratios_with_covariates,
    post_stratified_means,
    effects_that_differ,
    post_stratified_ratios,
)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS, repetitions=10_000))
