"""Whether p-values are uniform without an effect: their distribution function at five levels, and its worst error.

python benchmarks/error_rates_pvalues.py [--repetitions 100000] [--seed 20260301] [--markdown]

Lines as ``error_rates.py`` prints them. A p-value that is uniform is below 0.01 in one of a hundred A/A tests.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from error_rates import Rate, Simulation, main, normal_arms, paired_arms, print_row

from abtest_lib.statistics.estimates import MeanEstimate, welch_df
from abtest_lib.statistics.guardrails import margin_statistic
from abtest_lib.statistics.inference import compare_adjusted_means
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.proportions import pooled_z, score_ratio_z
from abtest_lib.statistics.ratios import compare_ratios
from abtest_lib.statistics.score_intervals import miettinen_nurminen_z
from abtest_lib.statistics.tails import tail_pvalue

LEVELS = (0.001, 0.01, 0.05, 0.1, 0.5)


def of_z(rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """Pooled z, share 0.05, n 20,000/20,000."""
    control, treatment = rng.binomial(20_000, 0.05, (2, repetitions))
    return tail_pvalue(pooled_z(control, 20_000, treatment, 20_000))


def of_rare_z(rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """Pooled z, share 0.01, n 5,000/5,000."""
    control, treatment = rng.binomial(5_000, 0.01, (2, repetitions))
    return tail_pvalue(pooled_z(control, 5_000, treatment, 5_000))


def of_margin(rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """Miettinen–Nurminen at a margin, shares 0.05/0.04, n 20,000/20,000."""
    control, treatment = (rng.binomial(20_000, share, repetitions) for share in (0.05, 0.04))
    return tail_pvalue(miettinen_nurminen_z(control, 20_000, treatment, 20_000, difference=-0.01))


def of_share_ratio(rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """Score test of a ratio of shares, 0.05/0.055, n 20,000/20,000."""
    control, treatment = (rng.binomial(20_000, share, repetitions) for share in (0.05, 0.055))
    return tail_pvalue(score_ratio_z(control, 20_000, treatment, 20_000, ratio=1.1))


def of_welch(rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """Welch t, normal, n 900/100, sd 1:2."""
    arms = normal_arms(rng, 900, 1.0, repetitions), normal_arms(rng, 100, 2.0, repetitions)
    error = np.sqrt(arms[0].squared_error + arms[1].squared_error)
    return tail_pvalue((arms[1].mean - arms[0].mean) / error, "two-sided", welch_df(*arms))


def of_skewed_welch(rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """Welch t, exponential, n 500/500."""
    arms = []
    for _ in range(2):
        parts = [
            rng.standard_exponential((min(2_000, repetitions), 500)) for _ in range(math.ceil(repetitions / 2_000))
        ]
        means = np.concatenate([part.mean(axis=1) for part in parts])
        variances = np.concatenate([part.var(axis=1, ddof=1) for part in parts])
        arms.append(MeanEstimate(means, variances / 500, 499))
    error = np.sqrt(arms[0].squared_error + arms[1].squared_error)
    return tail_pvalue((arms[1].mean - arms[0].mean) / error, "two-sided", welch_df(*arms))


def of_mean_margin(rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """Guardrail test of a mean at its margin of 3 %, n 2,000/500, sd 1:2."""
    control, treatment = normal_arms(rng, 2_000, 60, repetitions), normal_arms(rng, 500, 120, repetitions)
    control = MeanEstimate(control.mean + 180, control.squared_error, control.df)
    treatment = MeanEstimate(treatment.mean + 180 * 1.03, treatment.squared_error, treatment.df)
    statistic, df = margin_statistic(control, treatment, ratio=1.03)
    return tail_pvalue(statistic, "greater", df)


def of_ratio(rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """Ratio clustered on the unit, 500/500 users."""
    found = []
    for _ in range(min(repetitions, 20_000)):
        sessions = 1.0 + rng.poisson(4, (2, 500))
        clicks = rng.binomial(sessions.astype(int), rng.beta(2, 4, (2, 500)))
        found.append(compare_ratios(*(CoMoments.from_values(clicks[i], sessions[i]) for i in (0, 1))).pvalue)
    return np.array(found)


def of_cuped(rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """CUPED, skewed values, correlation 0.7, n 500/500."""
    number = min(repetitions, 20_000)
    sums = [paired_arms(rng, 500, 1.0, 0.7, number) for _ in range(2)]
    found = []
    for row in range(number):
        arms = [
            CoMoments(Moments(500, y[row], my[row]), Moments(500, x[row], mx[row]), c[row]) for y, x, my, mx, c in sums
        ]
        found.append(compare_adjusted_means(*arms).pvalue)
    return np.array(found)


TESTS: tuple[Callable[[np.random.Generator, int], np.ndarray], ...] = (
    of_z, of_rare_z, of_share_ratio, of_margin, of_welch, of_skewed_welch, of_mean_margin, of_ratio, of_cuped,
)  # fmt: skip


def pvalues(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Share of A/A tests with a p-value below each level."""
    for test in TESTS:
        found, name = test(rng, repetitions), test.__doc__.splitlines()[0].rstrip(".")
        counts = "share" in name
        for level in LEVELS:
            below = float(np.mean(found < level))
            noise = 4 * math.sqrt((1 - level) / (level * found.size))
            # Counts jump: their p-values are a staircase around the uniform distribution.
            room = 0.1 if counts else 0.0
            yield Rate(f"p < {level}: {name}", below, level, found.size, discreteness=room, floor=1 - room - noise)


def print_levels(_: Sequence[Simulation], seed: int, repetitions: int) -> None:
    """Print a row for each test."""
    print_row(["test", *(f"p < {level}" for level in LEVELS), "largest error", ""])
    print("|---" * (len(LEVELS) + 3) + "|")
    rates = list(pvalues(np.random.default_rng([seed, 0]), repetitions))
    for first in range(0, len(rates), len(LEVELS)):
        row = rates[first : first + len(LEVELS)]
        worst = max(abs(rate.value - rate.promised) for rate in row)
        kept = "kept" if all(rate.verdict == "kept" for rate in row) else "BROKEN"
        name = row[0].name.split(": ", 1)[1]
        print_row([name, *(f"{rate.value:.4f}" for rate in row), f"{worst:.4f}", kept])


SIMULATIONS = (pvalues,)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS, tables=print_levels))
