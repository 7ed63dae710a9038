"""Intervals after bandits, and what bandits lose against an even split, over 30 nights.

    python benchmarks/error_rates_bandits.py [--repetitions 1000] [--seed 20260301] [--markdown]

Lines and table as ``error_rates.py`` prints them. Regret is in lost successes a unit, as a share of what an even split
loses: rows with a promise of 1 are kept where a bandit loses no more.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from error_rates import ALPHA, Rate, main, miss, missed_tails

from abtest_lib.statistics.bandits import (
    adaptive_estimate,
    best_mean_probabilities,
    epsilon_greedy_allocation,
    past_means,
    regret_against_even_split,
    thompson_allocation,
)
from abtest_lib.statistics.bayesian import NormalPosterior
from abtest_lib.statistics.tails import critical_value

NIGHTS, FEW, MANY, FLOOR = 30, 200, 1_500, 0.05
Split = Callable[[np.ndarray, np.ndarray], Sequence[float]]


@dataclass(frozen=True)
class Regret(Rate):
    """What a bandit loses as a share of what an even split loses; kept at 1 or below."""

    def line(self) -> dict:
        """Return the line of JSON."""
        return super().line() | {"unit": "of the loss of an even split", "goal": 1.0, "met": self.value <= 1}


def thompson(successes: np.ndarray, units: np.ndarray) -> Sequence[float]:
    """Return tomorrow's split by the probability to be best, of normal posteriors of the shares."""
    shares = (successes + 1) / (units + 2)
    errors = np.sqrt(shares * (1 - shares) / (units + 2))
    arms = [NormalPosterior(*arm) for arm in zip(shares.tolist(), errors.tolist(), strict=True)]
    return thompson_allocation(best_mean_probabilities(arms), floor=FLOOR)


def epsilon_greedy(successes: np.ndarray, units: np.ndarray) -> Sequence[float]:
    """Return tomorrow's split of which a fifth is spread evenly."""
    means = (successes + 1) / (units + 2)
    return epsilon_greedy_allocation(means.tolist(), epsilon=0.2, floor=FLOOR, seed=int(units.sum()))


def even(successes: np.ndarray, units: np.ndarray) -> Sequence[float]:
    """Return the even split."""
    return [1 / len(units)] * len(units)


def one_bandit(rng: np.random.Generator, shares: np.ndarray, split: Split, nightly: int) -> tuple[np.ndarray, ...]:
    """Return rewards, arms, nights and probabilities of one experiment of 30 nights."""
    k = len(shares)
    successes, units = np.zeros(k), np.zeros(k)
    allocation, history = even(successes, units), []
    for night in range(NIGHTS):
        arms = rng.choice(k, nightly, p=np.array(allocation) / math.fsum(allocation))
        rewards = (rng.random(nightly) < shares[arms]).astype(float)
        history.append((rewards, arms, np.full(nightly, night), np.tile(allocation, (nightly, 1))))
        units += np.bincount(arms, minlength=k)
        successes += np.bincount(arms, weights=rewards, minlength=k)
        allocation = split(successes, units)
    return tuple(np.concatenate(part) for part in zip(*history, strict=True))


CASES = {
    "no difference, share 0.1, 2 arms": np.array([0.1, 0.1]),
    "0.1 and 0.12": np.array([0.1, 0.12]),
    "0.1, 0.1, 0.1 and 0.13": np.array([0.1, 0.1, 0.1, 0.13]),
}
SPLITS: dict[str, Split] = {"Thompson": thompson, "epsilon-greedy": epsilon_greedy}


def ends(means: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the intervals."""
    z = critical_value(ALPHA)
    return means - z * errors, means + z * errors


def few_units(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Misses of intervals and average of estimates after 30 nights of a bandit, 200 units a night."""
    yield from coverage(rng, min(repetitions, 1_000), CASES, FEW)


def many_units(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Misses of intervals and average of estimates after 30 nights of a bandit, 1,500 units a night."""
    cases = {name: shares for name, shares in CASES.items() if "and 0.12" not in name}
    yield from coverage(rng, min(repetitions, 400), cases, MANY)


def coverage(rng: np.random.Generator, repetitions: int, cases: dict[str, np.ndarray], nightly: int) -> Iterator[Rate]:
    """Yield the rows of both bandits for each case."""
    for split_name, split in SPLITS.items():
        for case, shares in cases.items():
            rows: dict[str, list[tuple[float, float]]] = {"constant": [], "two-point": [], "naive": [], "contrast": []}
            for _ in range(repetitions):
                rewards, arms, nights, chances = one_bandit(rng, shares, split, nightly)
                guesses = past_means(rewards, arms, nights, arm_count=len(shares))
                for weighting in ("constant", "two-point"):
                    result = adaptive_estimate(rewards, arms, chances, guesses, weighting=weighting)
                    rows[weighting].append((result.means[0], result.standard_errors[0]))
                    if weighting == "constant":
                        rows["contrast"].append((result.differences[0], result.difference_errors[0]))
                mine = rewards[arms == 0]
                rows["naive"].append((mine.mean(), mine.std(ddof=1) / math.sqrt(mine.size)))
            yield from coverage_rows(f"{split_name}, {case}", shares, rows, used=nightly == MANY)


def coverage_rows(
    case: str, shares: np.ndarray, rows: dict[str, list[tuple[float, float]]], *, used: bool
) -> Iterator[Rate]:
    """Yield the rows of one case."""
    names = {
        "constant": "adaptively weighted, √e",
        "two-point": "adaptively weighted, two-point",
        "contrast": "adaptively weighted difference, √e",
        "naive": "sample mean",
    }
    for kind, name in names.items():
        means, errors = np.array(rows[kind]).T
        truth = shares[-1] - shares[0] if kind == "contrast" else shares[0]
        tails = missed_tails(ends(means, errors), truth)
        ours = kind in ("constant", "contrast")
        remark = "known limit: few units" if ours else "for comparison"
        yield miss(f"{name}, {case}", tails, len(means), used=used and ours, remark=remark)
    for kind, name in (("naive", "sample mean"), ("constant", "adaptively weighted mean")):
        centre = float(np.array(rows[kind])[:, 0].mean() / shares[0])
        yield Rate(f"average {name} over the truth, {case}", centre, 1.0, len(rows[kind]), used=False)


def regret(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """What a bandit loses over 30 nights of 200 units, as a share of what an even split of the same units loses."""
    repetitions = min(repetitions, 500)
    for case, shares in list(CASES.items())[1:]:
        for split_name, split in SPLITS.items():
            lost = []
            for _ in range(repetitions):
                _, arms, _, _ = one_bandit(rng, shares, split, FEW)
                result = regret_against_even_split(np.bincount(arms, minlength=len(shares)).tolist(), shares.tolist())
                lost.append(result.regret / result.even_split_regret)
            yield Regret(f"regret: {split_name}, {case}", float(np.mean(lost)), 1.0, repetitions)
            worst = float(np.mean(np.array(lost) > 1))
            yield Rate(f"loses more than the even split: {split_name}, {case}", worst, 0.05, repetitions, used=False)


SIMULATIONS = (few_units, regret, many_units)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS, repetitions=1_000))
