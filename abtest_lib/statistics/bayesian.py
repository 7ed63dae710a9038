"""The Bayesian reading of a comparison: how probable is it that the treatment is better, and what is at stake if not.

A posterior is a distribution of the truth given a prior and the data. It is read on one night; to look each night and
stop when it pleases costs here, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import betainc, betaincc, betaincinv, betaln, erfcx, expit, log_expit, ndtr, polygamma, psi

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import Interval, check_choices, check_counts, check_positive, critical_value

_STEPS = (0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40)
_POINTS = 16


@dataclass(frozen=True)
class BetaPosterior:
    """Hold what is known of a share: a beta distribution.

    Parameters
    ----------
    alpha, beta : float
        Above 0; successes and failures, those of the prior counted in.

    Examples
    --------
    >>> BetaPosterior.of_counts(5, 10)
    BetaPosterior(alpha=6.0, beta=6.0)
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; it must be above 0.")

    @classmethod
    def of_counts(cls, successes: int, n: int, *, prior_alpha: float = 1.0, prior_beta: float = 1.0) -> BetaPosterior:
        """Return the posterior of a share; ValueError for counts that cannot be or a prior that is not above 0."""
        check_counts(successes, n, "successes", "n")
        for name, value in (("prior_alpha", prior_alpha), ("prior_beta", prior_beta)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; it must be above 0.")
        return cls(float(prior_alpha + successes), float(prior_beta + n - successes))

    @property
    def mean(self) -> float:
        """Expected share."""
        return self.alpha / (self.alpha + self.beta)

    def quantile(self, probability: float) -> float:
        """Return the share that lies above the truth with this probability; ValueError outside [0, 1]."""
        if not 0 <= probability <= 1:
            raise ValueError(f"probability is {probability}; it must be between 0 and 1.")
        return float(betaincinv(self.alpha, self.beta, probability))

    def interval(self, alpha: float = 0.05) -> Interval:
        """Return the interval that leaves ``alpha / 2`` at each side; ValueError unless ``alpha`` is in (0, 1)."""
        check_choices(alpha, "two-sided")
        return self.quantile(alpha / 2), self.quantile(1 - alpha / 2)


@dataclass(frozen=True)
class NormalPosterior:
    """Hold what is known of an effect: a normal distribution.

    Parameters
    ----------
    mean : float
    sd : float
        Above 0.
    """

    mean: float
    sd: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean):
            raise ValueError(f"mean is {self.mean}; it must be finite.")
        if not (math.isfinite(self.sd) and self.sd > 0):
            raise ValueError(f"sd is {self.sd}; it must be above 0.")

    @classmethod
    def of_variance(cls, mean: float, variance: float) -> NormalPosterior:
        """Return the distribution of this mean and variance; ValueError unless the variance is above 0."""
        check_positive(variance, "variance")
        return cls(mean, math.sqrt(variance))

    def interval(self, alpha: float = 0.05) -> Interval:
        """Return the interval that leaves ``alpha / 2`` at each side; ValueError unless ``alpha`` is in (0, 1)."""
        margin = critical_value(alpha) * self.sd
        return self.mean - margin, self.mean + margin

    def scaled(self, factor: float) -> NormalPosterior:
        """Return the same belief on another scale: of an effect that is ``factor`` (above 0) times this one."""
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"factor is {factor}; it must be above 0.")
        return NormalPosterior(self.mean * factor, self.sd * factor)

    def of_absolute_effect(self, control_mean: float) -> NormalPosterior:
        """Return the belief about the absolute effect that one about the relative effect is, by the control's mean."""
        return self.scaled(abs(control_mean))


@dataclass(frozen=True)
class BayesianReading:
    """Say how probable it is that the treatment is better, and what either choice is expected to lose.

    Parameters
    ----------
    probability_to_beat_control : float, in [0, 1]
    expected_loss_treatment : float
        What choosing the treatment is expected to lose against the better of the two, in the unit of the effect.
    expected_loss_control : float
        The same for keeping the control.
    """

    probability_to_beat_control: float
    expected_loss_treatment: float
    expected_loss_control: float


def compare_shares(control: BetaPosterior, treatment: BetaPosterior) -> BayesianReading:
    """Compare two shares of which higher is better, by integrating over both posteriors.

    Parameters
    ----------
    control, treatment : BetaPosterior

    Returns
    -------
    BayesianReading

    Raises
    ------
    ValueError
        If a posterior is so extreme that its log odds have no finite mean.

    Notes
    -----
    With ``c`` and ``t`` the two shares, P(t > c) is the integral of ``f_t F_c``, and the loss of the treatment,
    E max(c - t, 0), that of ``F_t (1 - F_c)``. Both are taken over the log odds, where the densities are smooth
    whatever the prior.

    References
    ----------
    .. [1] Gelman et al. (2013), Bayesian Data Analysis, 3rd ed. doi:10.1201/b16018

    Examples
    --------
    >>> reading = compare_shares(BetaPosterior.of_counts(164, 5_000), BetaPosterior.of_counts(155, 5_000))
    >>> round(reading.probability_to_beat_control, 4), round(reading.expected_loss_treatment, 5)
    (0.3046, 0.00248)
    """
    arms = (control, treatment)
    nodes, weights = quadrature([log_odds_mean(arm) for arm in arms], [log_odds_sd(arm) for arm in arms])
    below = [cumulative_log_odds(arm, nodes) for arm in arms]
    above = [_tail(arm.alpha, arm.beta, nodes, betaincc, betainc) for arm in arms]
    masses = [weights * log_odds_density(arm, nodes) for arm in arms]
    beats, loses = float(masses[1] @ below[0]), float(masses[0] @ below[1])
    lengths = weights * np.exp(log_expit(nodes) + log_expit(-nodes))
    return BayesianReading(
        probability_to_beat_control=beats / (beats + loses),
        expected_loss_treatment=float(lengths @ (below[1] * above[0])),
        expected_loss_control=float(lengths @ (below[0] * above[1])),
    )


def normal_posterior(
    effect: float, standard_error: float, *, prior: NormalPosterior | None = None
) -> NormalPosterior | NotComputed:
    """Return what is known of an effect after an estimate with a normal error.

    Parameters
    ----------
    effect, standard_error : float
        Of the comparison: a difference of shares, means or ratios, or a relative effect.
    prior : NormalPosterior, optional
        What was believed before, on the same scale; default nothing, so that the posterior is the estimate.

    Returns
    -------
    NormalPosterior or NotComputed
        NotComputed when the effect has no error or is not finite.

    Notes
    -----
    Precisions (one over the variance) add up; the mean is weighted by them. In GrowthBook's convention the prior is
    one of the relative effect, and for an absolute one ``prior.of_absolute_effect(control_mean)`` is passed.

    References
    ----------
    .. [1] Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 2.5. doi:10.1201/b16018

    Examples
    --------
    >>> posterior = normal_posterior(0.1, 0.3, prior=NormalPosterior(0.0, 0.3))
    >>> round(posterior.mean, 3), round(posterior.sd, 3)
    (0.05, 0.212)
    """
    if not (math.isfinite(effect) and math.isfinite(standard_error)):
        return NotComputed("the effect or its standard error is not finite")
    if not standard_error > 0:
        return NotComputed("the effect has no error to measure it against")
    if prior is None:
        return NormalPosterior(float(effect), float(standard_error))
    share = prior.sd**2 / (prior.sd**2 + standard_error**2)
    return NormalPosterior(
        mean=float(share * effect + (1 - share) * prior.mean),
        sd=float(math.sqrt(share) * standard_error),
    )


def read_effect(posterior: NormalPosterior, *, better: Literal["higher", "lower"] = "higher") -> BayesianReading:
    """Read from the posterior of an effect how probable it is that the treatment is better.

    Parameters
    ----------
    posterior : NormalPosterior
        Of treatment minus control, absolute or relative.
    better : {"higher", "lower"}
        Which way of the metric is good.

    Returns
    -------
    BayesianReading

    Raises
    ------
    ValueError
        If ``better`` is not known.

    References
    ----------
    .. [1] Gelman et al. (2013), Bayesian Data Analysis, 3rd ed. doi:10.1201/b16018

    Examples
    --------
    >>> reading = read_effect(NormalPosterior(1.0, 2.0))
    >>> round(reading.probability_to_beat_control, 4), round(reading.expected_loss_treatment, 4)
    (0.6915, 0.3956)
    """
    if better not in ("higher", "lower"):
        raise ValueError(f"better is {better!r}; it must be 'higher' or 'lower'.")
    score = posterior.mean / posterior.sd * (1 if better == "higher" else -1)
    return BayesianReading(
        probability_to_beat_control=float(ndtr(score)),
        expected_loss_treatment=posterior.sd * _expected_excess(-score),
        expected_loss_control=posterior.sd * _expected_excess(score),
    )


def quadrature(centres: Any, spreads: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights to integrate over distributions that may differ widely in width.

    Parameters
    ----------
    centres, spreads : sequence of float, k entries
        Mean and standard deviation of each distribution; of log-concave densities the tails left out hold less than
        1e-16.

    Returns
    -------
    tuple of array
        Nodes, rising, and the weight of each.

    Raises
    ------
    ValueError
        If a centre is not finite, a spread is not above 0, or there are more of one than of the other.

    Notes
    -----
    Gauss-Legendre between marks that are dense, in its own unit, around every centre.

    Examples
    --------
    >>> nodes, weights = quadrature([0.0], [1.0])
    >>> round(float(weights @ np.exp(-nodes**2 / 2)), 6)
    2.506628
    """
    middle, spread = np.asarray(centres, dtype=float), np.asarray(spreads, dtype=float)
    if middle.ndim != 1 or middle.size == 0 or not np.all(np.isfinite(middle)):
        raise ValueError(f"centres is {centres!r}; it must be a flat list of finite numbers.")
    if spread.shape != middle.shape or not np.all(np.isfinite(spread) & (spread > 0)):
        raise ValueError(f"spreads is {spreads!r}; it must hold a number above 0 for each of {middle.size} centres.")
    steps = np.array([-step for step in reversed(_STEPS)] + list(_STEPS[1:]))
    marks = (middle[:, None] + spread[:, None] * steps).ravel()
    marks = np.unique(np.concatenate([marks, np.linspace(marks.min(), marks.max(), 65)]))
    points, weights = np.polynomial.legendre.leggauss(_POINTS)
    half = np.diff(marks) / 2
    nodes = (marks[:-1] + half)[:, None] + half[:, None] * points
    return nodes.ravel(), (half[:, None] * weights).ravel()


def log_odds_mean(posterior: BetaPosterior) -> float:
    """Return the mean of the log odds of a share.

    Parameters
    ----------
    posterior : BetaPosterior

    Returns
    -------
    float

    Examples
    --------
    >>> log_odds_mean(BetaPosterior(3, 3))
    0.0
    """
    return float(psi(posterior.alpha) - psi(posterior.beta))


def log_odds_sd(posterior: BetaPosterior) -> float:
    """Return the standard deviation of the log odds of a share.

    Parameters
    ----------
    posterior : BetaPosterior

    Returns
    -------
    float
        Above 0.

    Examples
    --------
    >>> round(log_odds_sd(BetaPosterior(1, 1)), 6) == round(math.pi / math.sqrt(3), 6)  # the logistic distribution's
    True
    """
    return float(np.sqrt(polygamma(1, posterior.alpha) + polygamma(1, posterior.beta)))


def log_odds_density(posterior: BetaPosterior, log_odds: np.ndarray) -> np.ndarray:
    """Return the density of the log odds of a share.

    Parameters
    ----------
    posterior : BetaPosterior
    log_odds : array

    Returns
    -------
    array
        At least 0.

    Examples
    --------
    >>> round(float(log_odds_density(BetaPosterior(1, 1), np.array(0.0))), 12)  # the logistic density at 0
    0.25
    """
    a, b = posterior.alpha, posterior.beta
    return np.exp(a * log_expit(log_odds) + b * log_expit(-log_odds) - betaln(a, b))


def cumulative_log_odds(posterior: BetaPosterior, log_odds: np.ndarray) -> np.ndarray:
    """Return the probability that the log odds of a share are lower.

    Parameters
    ----------
    posterior : BetaPosterior
    log_odds : array

    Returns
    -------
    float or array
        In [0, 1].

    Examples
    --------
    >>> round(float(cumulative_log_odds(BetaPosterior(1, 1), np.array(0.0))), 12)
    0.5
    """
    return _tail(posterior.alpha, posterior.beta, log_odds, betainc, betaincc)


def _tail(a: float, b: float, log_odds: np.ndarray, near: Any, far: Any) -> np.ndarray:
    # Each half from its own end: a share beyond 1 - 1e-16 is 1 in floating point, its complement is not 0.
    result, low = np.empty_like(log_odds, dtype=float), np.asarray(log_odds < 0)
    result[low] = near(a, b, expit(log_odds[low]))
    result[~low] = far(b, a, expit(-log_odds[~low]))
    return result


def _expected_excess(score: float) -> float:
    # E max(z, 0) of z ~ N(score, 1); without the difference of two tails that plain formulas take far out.
    density = math.exp(-score * score / 2) / math.sqrt(2 * math.pi)
    if score > 0:
        return score + _expected_excess(-score)
    return max(0.0, density * (1 + score * math.sqrt(math.pi / 2) * float(erfcx(-score / math.sqrt(2)))))
