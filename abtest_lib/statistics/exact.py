"""Exact tests and intervals of counts, for the few units on which approximations are rough."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import betainccinv, betaincinv, gammaincc, gammaln

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import Alternative, check_choices, check_counts, floats, interval_ends

# Outcomes as likely as the one observed count as no more likely; rounding must not lose them (R uses the same).
TIE = 1e-7


def fisher_pvalue(
    successes_control: int,
    n_control: int,
    successes_treatment: int,
    n_treatment: int,
    *,
    alternative: Alternative = "two-sided",
) -> float:
    """Return the p-value of Fisher's exact test of two proportions.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int
        n at least 1.
    alternative : {"two-sided", "greater", "less"}
        "greater" speaks for a higher share in the treatment.

    Returns
    -------
    float
        1.0 where nobody or everybody succeeded: only one outcome is possible.

    Raises
    ------
    ValueError
        If counts or ``alternative`` are not what they must be.

    Notes
    -----
    Sums hypergeometric probabilities given the total of successes; two-sided, of all outcomes that are no more likely
    than the one observed. Holds always, and on few units well below alpha: it is conservative.

    References
    ----------
    .. [1] Fisher (1935), JRSS 98(1). doi:10.2307/2342435

    Examples
    --------
    >>> round(fisher_pvalue(56, 70, 48, 80), 6)
    0.012521
    """
    check_choices(0.5, alternative)
    _check_arms(successes_control, n_control, successes_treatment, n_treatment)
    total = int(successes_control + successes_treatment)
    lowest, highest = max(0, total - int(n_control)), min(total, int(n_treatment))
    in_treatment = np.arange(lowest, highest + 1)
    log_probability = _log_choose(n_treatment, in_treatment) + _log_choose(n_control, total - in_treatment)
    log_probability -= _log_choose(n_control + n_treatment, total)
    at = int(successes_treatment) - lowest
    if alternative == "greater":
        return _total(log_probability[at:])
    if alternative == "less":
        return _total(log_probability[: at + 1])
    return no_more_likely(log_probability, log_probability[at])


def continuity_corrected_test(
    successes_control: int, n_control: int, successes_treatment: int, n_treatment: int
) -> tuple[float, float] | NotComputed:
    """Return Pearson's chi-squared of two proportions with Yates' correction, and its p-value.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int
        n at least 1.

    Returns
    -------
    tuple of float, or NotComputed
        Statistic and two-sided p-value; NotComputed where nobody or everybody succeeded.

    Raises
    ------
    ValueError
        If counts are not what they must be.

    Notes
    -----
    The default of R's ``prop.test``, for those who must match it. It imitates Fisher's test and is as conservative: on
    few units it rejects far less often than alpha. Reports use the z test without it.

    References
    ----------
    .. [1] Yates (1934), Supplement to JRSS 1(2). doi:10.2307/2983604

    Examples
    --------
    >>> [round(value, 4) for value in continuity_corrected_test(155, 5_000, 190, 5_000)]
    [3.4705, 0.0625]
    """
    _check_arms(successes_control, n_control, successes_treatment, n_treatment)
    observed = np.array(
        [
            [successes_control, n_control - successes_control],
            [successes_treatment, n_treatment - successes_treatment],
        ],
        dtype=float,
    )
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / observed.sum()
    if not np.all(expected > 0):
        word = "no" if successes_control + successes_treatment == 0 else "every"
        return NotComputed(f"{word} unit of control and treatment has the outcome, so nothing varies")
    distance = np.abs(observed - expected)
    statistic = float((np.square(distance - np.minimum(0.5, distance)) / expected).sum())
    return statistic, float(gammaincc(0.5, statistic / 2))


def clopper_pearson_interval(
    successes: Any, n: Any, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> tuple[Any, Any]:
    """Return the exact interval of one proportion, which covers at least as often as promised.

    Parameters
    ----------
    successes, n : int or array
        ``0 <= successes <= n``, n at least 1.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    tuple of float or array

    Raises
    ------
    ValueError
        If counts, ``alpha`` or ``alternative`` are not what they must be.

    References
    ----------
    .. [1] Clopper, Pearson (1934), Biometrika 26(4). doi:10.1093/biomet/26.4.404

    Examples
    --------
    >>> [round(end, 4) for end in clopper_pearson_interval(0, 20)]
    [0.0, 0.1684]
    """
    check_choices(alpha, alternative)
    check_counts(successes, n, "successes", "n")
    if np.any(np.asarray(n) < 1):
        raise ValueError(f"n is {n}; a share needs at least 1 unit.")
    tail = alpha / 2 if alternative == "two-sided" else alpha
    x, units = floats(successes, n)
    low = np.where(x == 0, 0.0, betaincinv(np.maximum(x, 1), units - x + 1, tail))
    high = np.where(x == units, 1.0, betainccinv(x + 1, np.maximum(units - x, 1), tail))
    return interval_ends(low, high, alternative)


def no_more_likely(log_probabilities: np.ndarray, observed: float) -> float:
    """Return the probability of all outcomes that are no more likely than the one observed.

    Parameters
    ----------
    log_probabilities : array
        Of every possible outcome.
    observed : float
        Log probability of the outcome observed.

    Returns
    -------
    float
        In [0, 1]; an outcome as likely as the one observed counts.

    Raises
    ------
    ValueError
        If ``observed`` is not a number.

    References
    ----------
    .. [1] Gibbons, Pratt (1975), American Statistician 29(1). doi:10.1080/00031305.1975.10479106

    Examples
    --------
    >>> round(no_more_likely(np.log([0.5, 0.3, 0.2]), np.log(0.3)), 6)
    0.5
    """
    if math.isnan(observed):
        raise ValueError(f"observed is {observed}; it must be the logarithm of a probability.")
    return _total(log_probabilities[log_probabilities <= observed + TIE])


def _check_arms(successes_control: int, n_control: int, successes_treatment: int, n_treatment: int) -> None:
    for name, successes, n in (
        ("control", successes_control, n_control),
        ("treatment", successes_treatment, n_treatment),
    ):
        check_counts(successes, n, f"successes_{name}", f"n_{name}")
        if n < 1:
            raise ValueError(f"n_{name} is {n}; a share needs at least 1 unit.")


def _total(log_probabilities: np.ndarray) -> float:
    return min(1.0, float(np.exp(log_probabilities).sum()))


def _log_choose(n: Any, k: Any) -> Any:
    return gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - np.asarray(k) + 1)
