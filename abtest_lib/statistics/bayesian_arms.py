"""The Bayesian reading of several arms, and of the size of an effect on a share: what is best, and by how much.

Arms are independent posteriors; each arm counts, the control among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import betainc, betaincc, expit, log_expit, logit, ndtr

from abtest_lib.statistics.bandits import best_mean_probabilities, best_share_probabilities
from abtest_lib.statistics.bayesian import (
    BetaPosterior,
    NormalPosterior,
    cumulative_log_odds,
    log_odds_density,
    log_odds_mean,
    log_odds_sd,
    quadrature,
)
from abtest_lib.statistics.guardrails import Better
from abtest_lib.statistics.planning_checks import check_better
from abtest_lib.statistics.sequential_paths import find_root
from abtest_lib.statistics.tails import check_choices

EffectScale = Literal["difference", "ratio"]


@dataclass(frozen=True)
class ArmsReading:
    """Say of each arm how probable it is that it is the best, and what choosing it is expected to lose.

    Parameters
    ----------
    best_probabilities : tuple of float, k entries
        They sum to 1.
    expected_losses : tuple of float, k entries
        Against the best of all, in the unit of the metric; the arm to choose has the smallest.

    Examples
    --------
    >>> ArmsReading((0.25, 0.75), (0.02, 0.005)).choice
    1
    """

    best_probabilities: tuple[float, ...]
    expected_losses: tuple[float, ...]

    @property
    def choice(self) -> int:
        """Number of the arm whose expected loss is smallest."""
        return int(np.argmin(self.expected_losses))


@dataclass(frozen=True)
class ShareEffect:
    """Hold what is known of the effect on a share of units.

    Parameters
    ----------
    median : float
    interval : tuple of float
        Leaves ``alpha / 2`` at each side.
    scale : {"difference", "ratio"}
        A difference of shares, or the treatment's over the control's less 1.
    """

    median: float
    interval: tuple[float, float]
    scale: EffectScale


def read_shares(posteriors: Sequence[BetaPosterior], *, better: Better = "higher") -> ArmsReading:
    """Read from the posteriors of several shares which arm is best and what each choice is expected to lose.

    Parameters
    ----------
    posteriors : sequence of BetaPosterior, at least 2
    better : {"higher", "lower"}
        Which way of the share is good.

    Returns
    -------
    ArmsReading

    Raises
    ------
    ValueError
        If there are fewer than two arms or ``better`` is not known.

    Notes
    -----
    With F the distribution functions, the expected loss of arm k, E max(x_j) - E x_k, is the integral of
    ``F_k (1 - product of the other F)``, which keeps its digits where the loss is tiny.

    References
    ----------
    .. [1] Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 2.4. doi:10.1201/b16018

    Examples
    --------
    >>> arms = [BetaPosterior.of_counts(successes, 1_000) for successes in (100, 112, 108)]
    >>> reading = read_shares(arms)
    >>> [round(chance, 3) for chance in reading.best_probabilities], round(reading.expected_losses[1], 5)
    ([0.107, 0.55, 0.342], 0.00448)
    """
    check_better(better)
    arms = list(posteriors) if better == "higher" else [BetaPosterior(arm.beta, arm.alpha) for arm in posteriors]
    best = best_share_probabilities(arms)
    nodes, weights = quadrature([log_odds_mean(arm) for arm in arms], [log_odds_sd(arm) for arm in arms])
    below = np.array([cumulative_log_odds(arm, nodes) for arm in arms])
    above = np.array([cumulative_log_odds(BetaPosterior(arm.beta, arm.alpha), -nodes) for arm in arms])
    return ArmsReading(tuple(best), _losses(weights * np.exp(log_expit(nodes) + log_expit(-nodes)), below, above))


def read_means(posteriors: Sequence[NormalPosterior], *, better: Better = "higher") -> ArmsReading:
    """Read from the posteriors of several means which arm is best and what each choice is expected to lose.

    Parameters
    ----------
    posteriors : sequence of NormalPosterior, at least 2
        Of the arms themselves, not of their differences from a control.
    better : {"higher", "lower"}
        Which way of the mean is good.

    Returns
    -------
    ArmsReading

    Raises
    ------
    ValueError
        If there are fewer than two arms or ``better`` is not known.

    References
    ----------
    .. [1] Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 2.5. doi:10.1201/b16018

    Examples
    --------
    >>> reading = read_means([NormalPosterior(10.0, 0.2), NormalPosterior(10.3, 0.2), NormalPosterior(10.1, 0.2)])
    >>> [round(chance, 3) for chance in reading.best_probabilities], round(reading.expected_losses[1], 4)
    ([0.099, 0.693, 0.208], 0.052)
    """
    check_better(better)
    sign = 1.0 if better == "higher" else -1.0
    arms = [NormalPosterior(sign * arm.mean, arm.sd) for arm in posteriors]
    best = best_mean_probabilities(arms)
    mean, sd = (np.array([getattr(arm, name) for arm in arms])[:, None] for name in ("mean", "sd"))
    nodes, weights = quadrature(mean[:, 0], sd[:, 0])
    scores = (nodes - mean) / sd
    return ArmsReading(tuple(best), _losses(weights, ndtr(scores), ndtr(-scores)))


def share_effect_probability(
    control: BetaPosterior, treatment: BetaPosterior, *, above: float, scale: EffectScale = "difference"
) -> float:
    """Return how probable it is that the effect on a share is above a given size.

    Parameters
    ----------
    control, treatment : BetaPosterior
    above : float
        In (-1, 1) for a difference, above -1 for a ratio; 0 asks for any gain.
    scale : {"difference", "ratio"}
        A difference of shares, or the treatment's over the control's less 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 2.4. doi:10.1201/b16018

    Examples
    --------
    >>> arms = BetaPosterior.of_counts(155, 5_000), BetaPosterior.of_counts(190, 5_000)
    >>> round(share_effect_probability(*arms, above=0.0), 4)
    0.9723
    >>> round(share_effect_probability(*arms, above=0.1, scale="ratio"), 4)
    0.8448
    """
    _check_scale(scale)
    if not (above > -1 and above < (1 if scale == "difference" else math.inf)):
        raise ValueError(f"above is {above}; it must be above -1, and below 1 for a difference.")
    return _chance(control, treatment, above, scale, betaincc)


def share_effect(
    control: BetaPosterior, treatment: BetaPosterior, *, scale: EffectScale = "difference", alpha: float = 0.05
) -> ShareEffect:
    """Return median and credible interval of the effect on a share, from both posteriors exactly.

    Parameters
    ----------
    control, treatment : BetaPosterior
    scale : {"difference", "ratio"}
        A difference of shares, or the treatment's over the control's less 1.
    alpha : float, in (0, 1)
        The interval leaves ``alpha / 2`` at each side.

    Returns
    -------
    ShareEffect

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 2.4. doi:10.1201/b16018

    Examples
    --------
    >>> arms = BetaPosterior.of_counts(155, 5_000), BetaPosterior.of_counts(190, 5_000)
    >>> effect = share_effect(*arms, scale="ratio")
    >>> round(effect.median, 3), [round(end, 3) for end in effect.interval]
    (0.225, [-0.005, 0.51])
    """
    _check_scale(scale)
    check_choices(alpha, "two-sided")

    def quantile(chance: float) -> float:
        def excess(position: float) -> float:
            effect = math.tanh(position) if scale == "difference" else math.expm1(position)
            if chance <= 0.5:
                return _chance(control, treatment, effect, scale, betainc, least_mass=1e-25) - chance
            return (1 - chance) - _chance(control, treatment, effect, scale, betaincc, least_mass=1e-25)

        reach = 1.0
        while excess(-reach) > 0 or excess(reach) < 0:
            reach *= 2
        position = find_root(excess, -reach, reach, tolerance=1e-12)
        return math.tanh(position) if scale == "difference" else math.expm1(position)

    low, median, high = (quantile(chance) for chance in (alpha / 2, 0.5, 1 - alpha / 2))
    return ShareEffect(median, (low, high), scale)


def _chance(
    control: BetaPosterior, treatment: BetaPosterior, effect: float, scale: str, tail: Any, least_mass: float = 0.0
) -> float:
    """Probability of an effect below (betainc) or above (betaincc) a size, integrated over the control's share."""
    meets = treatment.mean - effect if scale == "difference" else treatment.mean / (1 + effect)
    centres, spreads = [log_odds_mean(control)], [log_odds_sd(control)]
    if 0 < meets < 1:
        # Where the treatment's distribution rises, seen from the control's share.
        sd = math.sqrt(treatment.mean * (1 - treatment.mean) / (treatment.alpha + treatment.beta + 1))
        width = sd if scale == "difference" else sd / (1 + effect)
        centres.append(float(logit(meets)))
        spreads.append(min(width / (meets * (1 - meets)), 10.0))
    edge = (1 - effect if effect > 0 else -effect) if scale == "difference" else 1 / (1 + effect)
    if 0 < edge < 1 and log_odds_density(control, logit(edge)) > 1e-20:
        # Where the treatment's share would leave 0 to 1, its distribution has a corner, or rises like a root.
        centres += [float(logit(edge))] * 3
        spreads += [1.0, 1e-3, 1e-6]
    nodes, weights = quadrature(centres, spreads)
    mass = weights * log_odds_density(control, nodes)
    nodes, mass = nodes[mass > least_mass], mass[mass > least_mass]
    share = expit(nodes) + effect if scale == "difference" else expit(nodes) * (1 + effect)
    return float(mass @ tail(treatment.alpha, treatment.beta, np.clip(share, 0.0, 1.0)) / mass.sum())


def _losses(lengths: np.ndarray, below: np.ndarray, above: np.ndarray) -> tuple[float, ...]:
    with np.errstate(divide="ignore"):
        # log F from the nearer tail, so that 1 - F keeps its digits.
        logs = np.where(above < 0.5, np.log1p(-above), np.log(below))
    return tuple(
        float(lengths @ (below[arm] * -np.expm1(np.delete(logs, arm, axis=0).sum(axis=0)))) for arm in range(len(below))
    )


def _check_scale(scale: str) -> None:
    if scale not in ("difference", "ratio"):
        raise ValueError(f"scale is {scale!r}; it must be 'difference' or 'ratio'.")
