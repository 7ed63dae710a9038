"""A/A nights replayed on unit data, with retries, skipped nights and backfills; metrics that must not be read nightly.

    python benchmarks/error_rates_replay.py [--repetitions 100000] [--seed 20260301] [--markdown]

Lines and table as ``error_rates.py`` prints them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from error_rates import ALPHA, Rate, main
from error_rates_sequential import match, tutorial_bounds
from scipy.special import ndtr

from abtest_lib.statistics.estimates import MeanEstimate, welch_df
from abtest_lib.statistics.looks import difference_information, look_levels
from abtest_lib.statistics.proportions import pooled_z
from abtest_lib.statistics.sequential import spending_bounds
from abtest_lib.statistics.spending import pocock_spending
from abtest_lib.statistics.tails import tail_pvalue


def open_ended(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Type I error of metrics whose units are read before their window is over, and of completed windows."""
    yield from (
        match(f"type I, 14 nights: open-ended {kind}, units all persistent, {shape}", value, want, 0.0015 + noise)
        for kind, shape, want in (
            ("mean", "O'Brien–Fleming", 0.050045),
            ("mean", "Pocock", 0.0500375),
            ("sum", "O'Brien–Fleming", 0.036277500000000004),
            ("sum", "Pocock", 0.027110625),
        )
        for noise in [4 * math.sqrt(want / repetitions)]
        for value in [open_ended_error(rng, repetitions, np.ones(14), kind, (1.0, 0.0), shape)]
    )
    for case, arrivals, spreads in (
        ("14 nights, as many units a night, daily noise twice the spread of units", np.ones(14), (0.5, 1.0)),
        ("14 nights, as many units a night, daily noise alone", np.ones(14), (0.0, 1.0)),
        ("28 nights, as many units a night, daily noise alone", np.ones(28), (0.0, 1.0)),
        ("28 nights, most units early, daily noise alone", 1 / np.arange(1, 29), (0.0, 1.0)),
    ):
        found = open_ended_error(rng, repetitions, arrivals, "mean", spreads, "O'Brien–Fleming")
        yield Rate(f"type I, {case}: open-ended mean", found, ALPHA, repetitions, used=False)


def open_ended_error(
    rng: np.random.Generator,
    repetitions: int,
    arrivals: np.ndarray,
    kind: str,
    spreads: tuple[float, float],
    shape: str,
) -> float:
    """Return how often bounds over the share of units err where each unit is read with all of its days so far."""
    nights = len(arrivals)
    between, within = spreads[0] ** 2, spreads[1] ** 2
    covariance = np.empty((nights, nights))
    for now in range(nights):
        for later in range(now, nights):
            days, later_days = now - np.arange(now + 1) + 1, later - np.arange(now + 1) + 1
            each = between + within / later_days if kind == "mean" else (between * later_days + within) * days
            covariance[now, later] = covariance[later, now] = float((arrivals[: now + 1] * each).sum())
    scale = np.sqrt(np.diag(covariance))
    root = np.linalg.cholesky(covariance / np.outer(scale, scale) + 1e-12 * np.eye(nights))
    options = {"spending": pocock_spending} if shape == "Pocock" else {}
    upper = spending_bounds(np.cumsum(arrivals) / arrivals.sum(), **options).upper
    crossed = np.any(np.abs(rng.standard_normal((repetitions, nights)) @ root.T) >= np.array(upper), axis=1)
    return float(crossed.mean())


@dataclass(frozen=True)
class Replay:
    """One A/A experiment as its nights read it: units with a complete window, per read and variant."""

    night: np.ndarray
    n: np.ndarray
    converted: np.ndarray
    mean: np.ndarray
    squared_error: np.ndarray


def replay(rng: np.random.Generator, nights: int, *, nightly: int = 160, window: int = 3) -> Replay | None:
    """Return what the reads of one A/A experiment see, or None where no night had units to read.

    Arrivals vary by day and between experiments, as does the share of the treatment; one night in six is skipped, and
    one in four is read again, as retry or backfill of the same cut.
    """
    expected = nightly * rng.gamma(3.0, 1 / 3, nights)
    day = np.repeat(np.arange(nights), rng.poisson(expected))
    treated = rng.random(len(day)) < rng.choice([0.5, 0.35])
    converted, value = rng.random(len(day)) < 0.2, rng.gamma(2.0, 1.0, len(day))
    # A unit of day d has its window complete from night d + window on; nights are counted from the first such night.
    complete_on = day + window
    taken = np.flatnonzero(rng.random(nights) > 1 / 6) + window
    if not len(taken):
        return None
    again = taken[rng.random(len(taken)) < 0.25]
    reads = np.sort(np.concatenate([taken, again]))
    cell = np.where(treated, nights, 0) + complete_on - window

    def upto(weights: np.ndarray | None = None) -> np.ndarray:
        daily = np.bincount(cell, weights, minlength=2 * nights).reshape(2, nights)
        return np.cumsum(daily, axis=1)[:, reads - window]

    n = upto()
    kept = n.min(axis=0) >= 10
    if not kept.any():
        return None
    n, reads = n[:, kept], reads[kept]
    mean = upto(value) / n
    squared_error = (upto(value * value) / n - mean * mean) / (n - 1)
    return Replay(reads - window + 1, n, upto(converted.astype(float)), mean, squared_error)


def mean_pvalues(reads: Replay) -> np.ndarray:
    """Return Welch's p-value of each read."""
    control, treatment = (MeanEstimate(reads.mean[k], reads.squared_error[k], reads.n[k] - 1) for k in (0, 1))
    t = (treatment.mean - control.mean) / np.sqrt(control.squared_error + treatment.squared_error)
    return tail_pvalue(t, "two-sided", welch_df(control, treatment))


def called_different(reads: Replay, nights: int) -> dict[str, bool]:
    """Return for share and mean whether any read calls a difference: by our levels, and by the tutorial's bounds."""
    n, night = reads.n, reads.night
    z = pooled_z(reads.converted[0], n[0], reads.converted[1], n[1])
    looks = np.unique(night, return_inverse=True)[1]
    tutorial = np.array(tutorial_bounds(len(night)))[looks]
    called, levels = {}, None
    for metric, pvalue in (("share", tail_pvalue(z, "two-sided")), ("mean", mean_pvalues(reads))):
        # No look has a level above alpha: bounds are asked for only where a night could have stopped.
        if np.any(pvalue < ALPHA) and levels is None:
            levels = np.array(look_levels(difference_information(n[0], n[1]).tolist(), (night / nights).tolist()))
        called[metric] = bool(levels is not None and np.any(pvalue < levels))
        called[f"{metric}, 1.96/√t of 5 looks"] = bool(np.any(pvalue < 2 * ndtr(-tutorial)))
    return called


def called_anew(reads: Replay, nights: int) -> dict[str, bool]:
    """Return whether any night calls a difference of means, if each works out all looks so far: by units, by variances.

    By units a later night gives earlier looks the levels that they had, as in a run; that night's variances move them.
    """
    pvalue = mean_pvalues(reads)
    called = {"units alone": False, "the variances of that night": False}
    if not np.any(pvalue < ALPHA):
        return called
    for tonight in range(1, len(reads.night) + 1):
        n, spread = reads.n[:, :tonight], reads.squared_error[:, tonight - 1] * reads.n[:, tonight - 1]
        shares = (reads.night[:tonight] / nights).tolist()
        for name, variances in zip(called, ((1.0, 1.0), spread), strict=True):
            if not called[name]:
                information = difference_information(
                    n[0], n[1], variance_control=variances[0], variance_treatment=variances[1]
                )
                called[name] = bool(np.any(pvalue[:tonight] < look_levels(information.tolist(), shares)))
    return called


def replayed_nights(
    rng: np.random.Generator, repetitions: int, horizons: Sequence[int] = range(1, 31)
) -> Iterator[Rate]:
    """A/A experiments replayed night by night on unit data, for every number of nights."""
    repetitions = max(repetitions // 50, 1)
    counts: dict[str, list[int]] = {}
    for nights in horizons:
        tally: dict[str, int] = {}
        for _ in range(repetitions):
            reads = replay(rng, nights)
            for name, called in (called_different(reads, nights) if reads else {}).items():
                tally[name] = tally.get(name, 0) + called
        for name, count in tally.items():
            counts.setdefault(name, []).append(count)
    span = f"{min(horizons)} to {max(horizons)} nights"
    for name, found in counts.items():
        used = "√t" not in name
        everything = sum(found) / repetitions / len(found)
        yield Rate(f"A/A called different, {span} replayed: {name}", everything, ALPHA, repetitions * len(found), used)
        yield Rate(f"A/A called different, worst of {span}: {name}", max(found) / repetitions, ALPHA, repetitions, used)


def nights_worked_out_anew(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """A/A experiments of which every night works out all looks so far anew; a word said on any night counts."""
    repetitions = max(repetitions // 50, 1)
    for nights in (7, 14, 28):
        experiments = (replay(rng, nights) for _ in range(repetitions))
        called = [called_anew(reads, nights) for reads in experiments if reads]
        for name in ("units alone", "the variances of that night"):
            share = sum(each[name] for each in called) / repetitions
            yield Rate(
                f"A/A called different on any of {nights} nights, looks by {name}: mean", share, ALPHA, repetitions
            )


SIMULATIONS = (open_ended, replayed_nights, nights_worked_out_anew)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS))
