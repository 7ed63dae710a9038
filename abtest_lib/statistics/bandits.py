"""Bandits: tomorrow's split from today's posteriors, what it saved, and an interval that survives such a split.

Arms are numbered from 0 and higher rewards are better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr

from abtest_lib.statistics.bayesian import (
    BetaPosterior,
    NormalPosterior,
    cumulative_log_odds,
    log_odds_density,
    log_odds_mean,
    log_odds_sd,
    quadrature,
)
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import Interval, critical_value

Weighting = Literal["uniform", "constant", "two-point"]


@dataclass(frozen=True)
class Regret:
    """Say what an allocation lost against always playing the best arm.

    Parameters
    ----------
    regret : float
        Rewards lost, at least 0.
    even_split_regret : float
        What an even split of the same units would have lost.
    saved : float
        ``even_split_regret - regret``; negative where the bandit did harm.
    """

    regret: float
    even_split_regret: float
    saved: float


@dataclass(frozen=True)
class AdaptiveEstimate:
    """Hold the means of arms whose allocation followed the rewards.

    Parameters
    ----------
    means, standard_errors : tuple of float, k entries
    intervals : tuple of tuple of float, k entries
        At ``confidence_level``.
    differences, difference_errors : tuple of float, k - 1 entries
        The last arm minus each other arm, and the standard errors.
    difference_intervals : tuple of tuple of float, k - 1 entries
    confidence_level : float
    weighting : {"uniform", "constant", "two-point"}
    """

    means: tuple[float, ...]
    standard_errors: tuple[float, ...]
    intervals: tuple[Interval, ...]
    differences: tuple[float, ...]
    difference_errors: tuple[float, ...]
    difference_intervals: tuple[Interval, ...]
    confidence_level: float
    weighting: Weighting


def best_share_probabilities(posteriors: Sequence[BetaPosterior]) -> list[float]:
    """Return for each arm the probability that its share is the highest.

    Parameters
    ----------
    posteriors : sequence of BetaPosterior, at least 2

    Returns
    -------
    list of float
        They sum to 1.

    Raises
    ------
    ValueError
        If there are fewer than two arms.

    Notes
    -----
    Thompson's probability of arm k is the integral of its density times all other arms' distribution functions.

    References
    ----------
    .. [1] Thompson (1933), Biometrika 25(3/4). doi:10.1093/biomet/25.3-4.285

    Examples
    --------
    >>> [round(p, 4) for p in best_share_probabilities([BetaPosterior(16, 86), BetaPosterior(23, 79)])]
    [0.1036, 0.8964]
    """
    _check_arms(posteriors, "posteriors")
    nodes, weights = quadrature([log_odds_mean(arm) for arm in posteriors], [log_odds_sd(arm) for arm in posteriors])
    densities = np.array([log_odds_density(arm, nodes) for arm in posteriors])
    return _best_probabilities(weights, densities, np.array([cumulative_log_odds(arm, nodes) for arm in posteriors]))


def best_mean_probabilities(posteriors: Sequence[NormalPosterior]) -> list[float]:
    """Return for each arm the probability that its mean is the highest.

    Parameters
    ----------
    posteriors : sequence of NormalPosterior, at least 2
        One per arm, independent.

    Returns
    -------
    list of float
        They sum to 1.

    Raises
    ------
    ValueError
        If there are fewer than two arms.

    References
    ----------
    .. [1] Thompson (1933), Biometrika 25(3/4). doi:10.1093/biomet/25.3-4.285

    Examples
    --------
    >>> [round(p, 4) for p in best_mean_probabilities([NormalPosterior(1.0, 0.3), NormalPosterior(1.0, 0.4)])]
    [0.5, 0.5]
    """
    _check_arms(posteriors, "posteriors")
    mean, sd = (np.array([getattr(arm, name) for arm in posteriors])[:, None] for name in ("mean", "sd"))
    nodes, weights = quadrature(mean[:, 0], sd[:, 0])
    scores = (nodes - mean) / sd
    return _best_probabilities(weights, np.exp(-scores * scores / 2) / (sd * math.sqrt(2 * math.pi)), ndtr(scores))


def thompson_allocation(probabilities: Sequence[float], *, floor: float) -> list[float]:
    """Return tomorrow's split: each arm by its probability to be best, and none below a floor.

    Parameters
    ----------
    probabilities : sequence of float, k entries
        From ``best_share_probabilities`` or ``best_mean_probabilities``.
    floor : float, in (0, 1 / k]
        Share that each arm keeps, so that no arm is lost for good and the later estimate has a finite error.

    Returns
    -------
    list of float
        ``floor + (1 - k * floor) * probability``; sums to 1. No chance is involved.

    Raises
    ------
    ValueError
        If the probabilities do not sum to 1 or ``floor`` is not what it must be.

    References
    ----------
    .. [1] Thompson (1933), Biometrika 25(3/4). doi:10.1093/biomet/25.3-4.285

    Examples
    --------
    >>> [round(share, 2) for share in thompson_allocation([0.1, 0.9], floor=0.05)]
    [0.14, 0.86]
    """
    chances = _checked_shares(probabilities, "probabilities")
    _check_floor(floor, chances.size)
    return _with_floor(chances, floor)


def epsilon_greedy_allocation(means: Sequence[float], *, epsilon: float, floor: float, seed: int) -> list[float]:
    """Return tomorrow's split: ``epsilon`` spread evenly, the rest to the arm with the highest mean.

    Parameters
    ----------
    means : sequence of float, k entries
        Of the rewards so far.
    epsilon : float, in [0, 1]
    floor : float, in (0, 1 / k]
        Share that each arm keeps whatever ``epsilon``.
    seed : int
        Decides between arms of exactly equal means, and nothing else; the same seed gives the same split.

    Returns
    -------
    list of float
        Sums to 1.

    Raises
    ------
    ValueError
        If there are fewer than two arms, a mean is not finite, or ``epsilon`` or ``floor`` is not what it must be.

    References
    ----------
    .. [1] Sutton, Barto (2018), Reinforcement Learning: An Introduction, 2nd ed., section 2.2. ISBN 978-0-262-03924-6

    Examples
    --------
    >>> [round(share, 3) for share in epsilon_greedy_allocation([0.1, 0.3, 0.2], epsilon=0.3, floor=0.05, seed=1)]
    [0.1, 0.8, 0.1]
    """
    _check_arms(means, "means")
    values = np.asarray(means, dtype=float)
    if not np.all(np.isfinite(values)):
        raise ValueError(f"means is {means!r}; each must be finite.")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon is {epsilon}; it must be between 0 and 1.")
    _check_floor(floor, values.size)
    ahead = np.flatnonzero(values == values.max())
    greedy = np.zeros(values.size)
    greedy[np.random.default_rng(seed).choice(ahead)] = 1.0
    # The even share already serves the floor; only what it lacks is added.
    return _with_floor(greedy, max(floor, epsilon / values.size))


def draw_arms(allocation: Sequence[float], units: int, *, seed: int) -> np.ndarray:
    """Return an arm for each of ``units`` units, drawn from an allocation.

    Parameters
    ----------
    allocation : sequence of float
        Shares that sum to 1.
    units : int
        At least 0.
    seed : int
        The same seed gives the same arms.

    Returns
    -------
    array of int
        Number of each unit's arm.

    Raises
    ------
    ValueError
        If the allocation does not sum to 1 or ``units`` is not a whole number, at least 0.

    Examples
    --------
    >>> draw_arms([0.0, 1.0], 3, seed=1).tolist()
    [1, 1, 1]
    """
    shares = _checked_shares(allocation, "allocation")
    if not (units >= 0 and units % 1 == 0):
        raise ValueError(f"units is {units}; it must be a whole number, at least 0.")
    return np.random.default_rng(seed).choice(shares.size, size=int(units), p=shares / shares.sum())


def regret_against_even_split(units: Sequence[int], means: Sequence[float]) -> Regret:
    """Return the rewards that an allocation lost, and what an even split would have lost.

    Parameters
    ----------
    units : sequence of int, k entries
        Units that each arm received.
    means : sequence of float, k entries
        True means where known; estimated ones make both regrets too large, since the best of them is flattered.

    Returns
    -------
    Regret

    Raises
    ------
    ValueError
        If lengths differ, there are fewer than two arms, or a value is not what it must be.

    References
    ----------
    .. [1] Lai, Robbins (1985), Advances in Applied Mathematics 6(1). doi:10.1016/0196-8858(85)90002-8

    Examples
    --------
    >>> regret_against_even_split([100, 300], [1.0, 1.5])
    Regret(regret=50.0, even_split_regret=100.0, saved=50.0)
    """
    _check_arms(means, "means")
    counts, values = np.asarray(units, dtype=float), np.asarray(means, dtype=float)
    if counts.shape != values.shape:
        raise ValueError(f"units is {units!r}; it must have one count for each of {values.size} means.")
    if not np.all(np.isfinite(counts) & (counts >= 0)):
        raise ValueError(f"units is {units!r}; each must be at least 0.")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"means is {means!r}; each must be finite.")
    losses = values.max() - values
    regret, even = float(counts @ losses), float(counts.sum() * losses.mean())
    return Regret(regret, even, even - regret)


def past_means(rewards: Sequence[float], arms: Sequence[int], nights: Sequence[int], *, arm_count: int) -> np.ndarray:
    """Return each arm's mean reward over all earlier nights, for each unit: 0 before an arm's first reward.

    Parameters
    ----------
    rewards, arms, nights : sequence, T entries
        In order of time, ``nights`` never falling.
    arm_count : int
        At least 1.

    Returns
    -------
    array, shape (T, arm_count)
        What ``adaptive_estimate`` takes as ``predictions``.

    Raises
    ------
    ValueError
        If lengths differ, a reward is not finite, an arm is not one of ``arm_count``, or nights fall.

    References
    ----------
    .. [1] Hadad, Hirshberg, Zhan, Wager, Athey (2021), PNAS 118(15). doi:10.1073/pnas.2014602118

    Examples
    --------
    >>> past_means([1.0, 0.0, 1.0], [0, 0, 1], [1, 2, 3], arm_count=2).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]]
    """
    values, nights = np.asarray(rewards, dtype=float), np.asarray(nights)
    if not (arm_count >= 1 and arm_count % 1 == 0):
        raise ValueError(f"arm_count is {arm_count}; it must be a whole number, at least 1.")
    if values.ndim != 1 or not np.all(np.isfinite(values)):
        raise ValueError("rewards must be a flat list of finite numbers.")
    played = _played(arms, values.size, arm_count)
    if nights.shape != values.shape or not np.all(np.diff(nights) >= 0):
        raise ValueError(f"nights is {nights.tolist()}; it must have one entry for each reward and never fall.")
    before = np.searchsorted(nights, nights, side="left")
    counts = np.vstack([np.zeros(arm_count), np.cumsum(played, axis=0)])[before]
    sums = np.vstack([np.zeros(arm_count), np.cumsum(played * values[:, None], axis=0)])[before]
    return np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)


def adaptive_estimate(
    rewards: Sequence[float],
    arms: Sequence[int],
    probabilities: Any,
    predictions: Any,
    *,
    weighting: Weighting = "constant",
    decay: float = 0.7,
    alpha: float = 0.05,
) -> AdaptiveEstimate | NotComputed:
    """Estimate each arm's mean where the allocation followed earlier rewards.

    Parameters
    ----------
    rewards, arms : sequence, T entries
        In order of time.
    probabilities : array, shape (T, k)
        Allocation in force for each unit; rows sum to 1, every entry above 0.
    predictions : array, shape (T, k)
        Guess of each arm's mean from earlier nights alone, as from ``past_means``. A bad guess costs width, not
        validity.
    weighting : {"uniform", "constant", "two-point"}
        "constant" gives each unit the square root of its arm's probability. "two-point" is the paper's, which expects
        an arm's probability to stay or to fall as ``t ** -decay``. "uniform" is plain AIPW, whose interval is not
        valid under adaptive allocation; it is here for comparison.
    decay : float, in (0, 1)
        Used by "two-point" only.
    alpha : float, in (0, 1)

    Returns
    -------
    AdaptiveEstimate or NotComputed
        NotComputed when an arm was never played or its rewards leave no error to measure.

    Raises
    ------
    ValueError
        If shapes differ or an argument is not what it must be.

    Notes
    -----
    Scores are ``prediction + 1{arm played} / probability * (reward - prediction)``; their weighted mean is
    asymptotically normal where the sample mean of the rewards is not, and is biased.

    References
    ----------
    .. [1] Hadad, Hirshberg, Zhan, Wager, Athey (2021), PNAS 118(15). doi:10.1073/pnas.2014602118

    Examples
    --------
    >>> result = adaptive_estimate([1.0, 0.0, 1.0, 0.0], [0, 1, 0, 1], [[0.5, 0.5]] * 4, [[0.5, 0.5]] * 4)
    >>> [round(mean, 6) for mean in result.means], round(result.standard_errors[0], 6)
    ([1.0, 0.0], 0.25)
    """
    values, chances, guesses = (np.asarray(each, dtype=float) for each in (rewards, probabilities, predictions))
    _check_history(values, chances, guesses)
    if not 0 < decay < 1:
        raise ValueError(f"decay is {decay}; it must be between 0 and 1.")
    critical = critical_value(alpha)
    played = _played(arms, values.size, chances.shape[1])
    if not played.any(axis=0).all():
        return NotComputed(f"arm {int(np.argmin(played.any(axis=0)))} was never played")
    scores = guesses + played / chances * (values[:, None] - guesses)
    weights = _weights(chances, weighting, decay)
    totals = weights.sum(axis=0)
    means = (weights * scores).sum(axis=0) / totals
    influences = weights * (scores - means) / totals
    errors = np.sqrt(np.square(influences).sum(axis=0))
    if np.any(errors == 0):
        return NotComputed(f"the rewards of arm {int(np.argmin(errors))} do not vary")
    differences = means[-1] - means[:-1]
    difference_errors = np.sqrt(np.square(influences[:, -1:] - influences[:, :-1]).sum(axis=0))
    return AdaptiveEstimate(
        means=tuple(means.tolist()),
        standard_errors=tuple(errors.tolist()),
        intervals=_intervals(means, errors, critical),
        differences=tuple(differences.tolist()),
        difference_errors=tuple(difference_errors.tolist()),
        difference_intervals=_intervals(differences, difference_errors, critical),
        confidence_level=1 - alpha,
        weighting=weighting,
    )


def _weights(probabilities: np.ndarray, weighting: str, decay: float) -> np.ndarray:
    if weighting == "uniform":
        return np.ones_like(probabilities)
    if weighting == "constant":
        return np.sqrt(probabilities)
    if weighting != "two-point":
        raise ValueError(f"weighting is {weighting!r}; it must be 'uniform', 'constant' or 'two-point'.")
    horizon = len(probabilities)
    time = np.arange(1, horizon + 1)[:, None]
    stays = 1 / (1 + horizon - time)
    falls = time**-decay / (time**-decay + (horizon ** (1 - decay) - time ** (1 - decay)) / (1 - decay))
    rates = probabilities * stays + (1 - probabilities) * falls
    left = np.cumprod(np.vstack([np.ones_like(rates[:1]), 1 - rates[:-1]]), axis=0)
    return np.sqrt(left * rates * probabilities)


def _best_probabilities(weights: np.ndarray, densities: np.ndarray, below: np.ndarray) -> list[float]:
    arms = range(len(below))
    wins = [float((weights * densities[arm]) @ np.prod(np.delete(below, arm, axis=0), axis=0)) for arm in arms]
    return (np.array(wins) / math.fsum(wins)).tolist()


def _intervals(centres: np.ndarray, errors: np.ndarray, critical: float) -> tuple[Interval, ...]:
    ends = zip((centres - critical * errors).tolist(), (centres + critical * errors).tolist(), strict=True)
    return tuple(ends)


def _with_floor(shares: np.ndarray, floor: float) -> list[float]:
    return (floor + max(0.0, 1 - shares.size * floor) * shares).tolist()


def _played(arms: Any, units: int, arm_count: int) -> np.ndarray:
    chosen = np.asarray(arms)
    if chosen.shape != (units,):
        raise ValueError(f"arms has {chosen.size} entries; it must have one for each of {units} rewards.")
    if not np.all(np.isin(chosen, np.arange(arm_count))):
        raise ValueError(f"arms must be whole numbers from 0 to {arm_count - 1}.")
    return chosen[:, None] == np.arange(arm_count)


def _check_arms(arms: Sequence[Any], name: str) -> None:
    if len(arms) < 2:
        raise ValueError(f"{name} has {len(arms)} arm{'' if len(arms) == 1 else 's'}; it must have at least 2.")


def _checked_shares(shares: Sequence[float], name: str) -> np.ndarray:
    values = np.asarray(shares, dtype=float)
    if (
        values.ndim != 1
        or values.size < 2
        or not np.all(values >= 0)
        or not math.isclose(values.sum(), 1, abs_tol=1e-6)
    ):
        raise ValueError(f"{name} is {shares!r}; it must be at least two shares that sum to 1.")
    return values


def _check_floor(floor: float, arm_count: int) -> None:
    # 0.2 times 5 is 1 in words, and a hair more than 1 for other counts in floating point.
    if not (floor > 0 and floor * arm_count <= 1 + 1e-12):
        raise ValueError(f"floor is {floor}; it must be above 0 and at most one over the number of arms ({arm_count}).")


def _check_history(rewards: np.ndarray, probabilities: np.ndarray, predictions: np.ndarray) -> None:
    if rewards.ndim != 1 or rewards.size < 2 or not np.all(np.isfinite(rewards)):
        raise ValueError("rewards must be a flat list of at least two finite numbers.")
    if probabilities.ndim != 2 or len(probabilities) != rewards.size or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities has shape {probabilities.shape}; it must be ({rewards.size}, arms).")
    if predictions.shape != probabilities.shape or not np.all(np.isfinite(predictions)):
        raise ValueError(f"predictions must be finite, with the shape of probabilities, {probabilities.shape}.")
    if not np.all(probabilities > 0) or not np.allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-6):
        raise ValueError("probabilities must be above 0 and each row must sum to 1.")
