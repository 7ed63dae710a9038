"""Bounds that a sum without drift never passes, at any time, but with a stated probability; without large samples.

Sequences for the mean of values between 0 and 1 follow from such bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import gammainc, gammaln, log_ndtr

from abtest_lib.statistics.always_valid import check_units
from abtest_lib.statistics.tails import Alternative, check_choices, check_each, check_positive, floats, plain


def _is_variance(value: Any) -> Any:
    return (value >= 0) & np.isfinite(value)


def tuned_mixture_rho(planned_variance: float, *, alpha: float, alternative: Alternative = "two-sided") -> float:
    """Return the rho that keeps ``normal_mixture_bound`` near its lowest at ``planned_variance``.

    Parameters
    ----------
    planned_variance : float
        Variance of the sum, above 0.
    alpha : float, in (0, 1)
        Below 0.5 under a one-sided alternative.
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    float
        Above 0.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Howard, Ramdas, McAuliffe, Sekhon (2021), Ann. Statist. 49(2). doi:10.1214/20-AOS1991

    Examples
    --------
    >>> round(tuned_mixture_rho(100.0, alpha=0.05), 2)
    12.6
    """
    check_choices(alpha, alternative)
    check_positive(planned_variance, "planned_variance")
    level = alpha if alternative == "two-sided" else 2 * alpha
    if level >= 1:
        raise ValueError(f"alpha is {alpha}; it must be below 0.5 under a one-sided alternative.")
    return float(planned_variance / (-2 * math.log(level) + math.log1p(-2 * math.log(level))))


def mixture_log_evidence(total: Any, variance: Any, *, rho: float, alternative: Alternative = "two-sided") -> Any:
    """Return the log of the evidence against a mean of zero that a sum holds, at any time.

    Parameters
    ----------
    total : float or array
        Sum of centred values so far.
    variance : float or array
        Variance of ``total``, at least 0.
    rho : float
        Above 0, from ``tuned_mixture_rho``.
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    float or array
        Above ``-log(alpha)`` with probability at most ``alpha``, over all times together.

    Raises
    ------
    ValueError
        If ``rho`` is not above 0 or ``alternative`` is not known.

    References
    ----------
    .. [1] Howard, Ramdas, McAuliffe, Sekhon (2021), Ann. Statist. 49(2). doi:10.1214/20-AOS1991

    Examples
    --------
    >>> round(mixture_log_evidence(60.0, 1_000.0, rho=126.0), 2)
    0.5
    """
    check_choices(0.5, alternative)
    check_positive(rho, "rho")
    check_each("total", total, np.isfinite, "a finite number")
    check_each("variance", variance, _is_variance, "at least 0")
    value, spread = floats(total, variance)
    evidence = np.log(rho / (spread + rho)) / 2 + np.square(value) / (2 * (spread + rho))
    if alternative != "two-sided":
        sign = 1 if alternative == "greater" else -1
        evidence = evidence + math.log(2) + log_ndtr(sign * value / np.sqrt(spread + rho))
    return plain(evidence)


def normal_mixture_bound(
    variance: Any, *, rho: float, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> Any:
    """Return the bound that a sum without drift ever passes with probability at most ``alpha``.

    Parameters
    ----------
    variance : float or array
        Variance of the sum so far, at least 0.
    rho : float
        Above 0, from ``tuned_mixture_rho``; one value for the whole life of the sum.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        One-sided: for the sum, or its negative, alone.

    Returns
    -------
    float or array
        Above 0, on the scale of the sum.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Howard, Ramdas, McAuliffe, Sekhon (2021), Ann. Statist. 49(2). doi:10.1214/20-AOS1991

    Examples
    --------
    >>> round(normal_mixture_bound(100.0, rho=12.6), 2)
    30.35
    """
    check_choices(alpha, alternative)
    check_positive(rho, "rho")
    check_each("variance", variance, _is_variance, "at least 0")
    (spread,) = floats(variance)
    bound = np.sqrt((spread + rho) * (np.log1p(spread / rho) - 2 * math.log(alpha)))
    if alternative == "two-sided":
        return plain(bound)
    low, high = np.zeros_like(bound), bound
    for _ in range(60):
        middle = (low + high) / 2
        below = mixture_log_evidence(middle, spread, rho=rho, alternative="greater") < -math.log(alpha)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return plain(high)


def bounded_mean_sequence(mean: Any, n: Any, *, planned_n: float, alpha: float = 0.05) -> tuple[Any, Any]:
    """Return a confidence sequence for the mean of values between 0 and 1 that needs no large sample.

    Parameters
    ----------
    mean : float or array, in [0, 1]
    n : float or array
        Units so far, at least 1.
    planned_n : float
        Units at which the sequence shall be narrowest.
    alpha : float, in (0, 1)

    Returns
    -------
    tuple of float or array
        Lower and upper ends, in [0, 1].

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    Hoeffding: such values vary by at most 1/4. Wide for shares far from one half.

    References
    ----------
    .. [1] Howard, Ramdas, McAuliffe, Sekhon (2021), Ann. Statist. 49(2). doi:10.1214/20-AOS1991

    Examples
    --------
    >>> [round(end, 3) for end in bounded_mean_sequence(0.307, 60, planned_n=60)]
    [0.111, 0.503]
    """
    check_units(n, "n")
    check_units(planned_n, "planned_n")
    if not np.all((np.asarray(mean) >= 0) & (np.asarray(mean) <= 1)):
        raise ValueError(f"mean is {mean}; it must be between 0 and 1.")
    value, units = floats(mean, n)
    rho = tuned_mixture_rho(planned_n / 4, alpha=alpha)
    margin = normal_mixture_bound(units / 4, rho=rho, alpha=alpha) / units
    return plain(np.maximum(value - margin, 0.0)), plain(np.minimum(value + margin, 1.0))


def gamma_exponential_bound(variance: Any, *, rho: float, scale: float = 1.0, alpha: float = 0.05) -> Any:
    """Return the bound that a sum with a heavier upper tail than the normal one ever passes with ``alpha`` at most.

    Parameters
    ----------
    variance : float or array
        Of the sum so far, at least 0; for bounded values the sum of squared deviations from what was predicted.
    rho : float
        Above 0, from ``tuned_mixture_rho`` with ``alternative="greater"``.
    scale : float
        Above 0: of the exponential tail. Values that deviate downwards from their mean by at most 1 have 1.
    alpha : float, in (0, 1)

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Howard, Ramdas, McAuliffe, Sekhon (2021), Ann. Statist. 49(2). doi:10.1214/20-AOS1991

    Examples
    --------
    >>> rho = tuned_mixture_rho(100.0, alpha=0.05, alternative="greater")
    >>> round(gamma_exponential_bound(100.0, rho=rho), 3)
    30.238
    """
    check_choices(alpha, "greater")
    check_positive(rho, "rho")
    check_positive(scale, "scale")
    check_each("variance", variance, _is_variance, "at least 0")
    (spread,) = floats(variance)
    low, high = np.zeros_like(spread), np.ones_like(spread)
    while np.any(short := _exponential_evidence(high, spread, rho, scale) < -math.log(alpha)):
        high = np.where(short, 2 * high, high)
    for _ in range(60):
        middle = (low + high) / 2
        below = _exponential_evidence(middle, spread, rho, scale) < -math.log(alpha)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return plain(high)


def empirical_bernstein_sequence(
    values: Sequence[float], *, planned_variance: float, alpha: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Return a confidence sequence for the mean of values between 0 and 1 that is narrow where they vary little.

    Parameters
    ----------
    values : sequence of float, in [0, 1]
        In the order in which they came in.
    planned_variance : float
        Sum of squared deviations at which the sequence shall be narrowest: planned units times the expected variance.
    alpha : float, in (0, 1)
        Of both sides together.

    Returns
    -------
    tuple of array
        Lower and upper ends after each value.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    Variance is counted from the mean of the values before, so that no value judges itself; no large sample is needed.

    References
    ----------
    .. [1] Howard, Ramdas, McAuliffe, Sekhon (2021), Ann. Statist. 49(2), corollary to theorem 4.
       doi:10.1214/20-AOS1991

    Examples
    --------
    >>> low, high = empirical_bernstein_sequence([0.2, 0.3, 0.1, 0.2] * 100, planned_variance=2.0)
    >>> round(float(low[-1]), 3), round(float(high[-1]), 3)
    (0.179, 0.221)
    """
    check_choices(alpha, "two-sided")
    units, means, predicted = _bounded_means(values)
    rho = tuned_mixture_rho(planned_variance, alpha=alpha / 2, alternative="greater")
    variance = np.cumsum(np.square(values - predicted))
    margin = gamma_exponential_bound(variance, rho=rho, alpha=alpha / 2) / units
    return np.maximum(means - margin, 0.0), np.minimum(means + margin, 1.0)


def predictable_bernstein_sequence(values: Sequence[float], *, alpha: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Return a confidence sequence for the mean of values between 0 and 1 that needs nothing to be planned.

    Parameters
    ----------
    values : sequence of float, in [0, 1]
        In the order in which they came in.
    alpha : float, in (0, 1)
        Of both sides together.

    Returns
    -------
    tuple of array
        Lower and upper ends after each value.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    Each value is weighted by what the variance of those before it makes best, at most one half. The first value is
    predicted as 0 for the lower end and as 1 for the upper one, as the authors' program does.

    References
    ----------
    .. [1] Waudby-Smith, Ramdas (2024), JRSS B 86(1), theorem 2. doi:10.1093/jrsssb/qkad009

    Examples
    --------
    >>> low, high = predictable_bernstein_sequence([0.2, 0.3, 0.1, 0.2] * 100)
    >>> round(float(low[-1]), 3), round(float(high[-1]), 3)
    (0.18, 0.221)
    """
    check_choices(alpha, "two-sided")
    _, means, _ = _bounded_means(values)
    each = np.asarray(values, dtype=float)
    below = _predictable_lower(each, np.concatenate([[0.0], means[:-1]]), alpha / 2)
    above = _predictable_lower(1 - each, np.concatenate([[0.0], 1 - means[:-1]]), alpha / 2)
    return np.maximum(below, 0.0), np.minimum(1 - above, 1.0)


def _predictable_lower(values: np.ndarray, predicted: np.ndarray, alpha: float) -> np.ndarray:
    units = np.arange(1, len(values) + 1)
    means = (0.5 + np.cumsum(values)) / (units + 1)
    variances = (0.25 + np.cumsum(np.square(values - means))) / (units + 1)
    variance_before = np.concatenate([[0.25], variances[:-1]])
    evidence = -math.log(alpha)
    weights = np.minimum(np.sqrt(2 * evidence / (variance_before * units * np.log1p(units))), 0.5)
    surplus = np.square(values - predicted) * (-np.log1p(-weights) - weights)
    return (np.cumsum(weights * values) - evidence - np.cumsum(surplus)) / np.cumsum(weights)


def _exponential_evidence(total: np.ndarray, variance: np.ndarray, rho: float, scale: float) -> np.ndarray:
    """Logarithm of the mixture over rates from a gamma distribution cut off at one over the scale."""
    prior, shape = rho / scale**2, (variance + rho) / scale**2
    drift = (scale * total + variance) / scale**2
    constant = prior * math.log(prior) - gammaln(prior) - np.log(gammainc(prior, prior))
    mixed = gammaln(shape) + np.log(gammainc(shape, drift + prior)) - shape * np.log(drift + prior)
    return constant + mixed + drift


def _bounded_means(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    each = np.asarray(values, dtype=float)
    if each.ndim != 1 or not len(each) or not np.all((each >= 0) & (each <= 1)):
        raise ValueError(f"values is {values!r}; it must be a flat list of numbers between 0 and 1.")
    units = np.arange(1, len(each) + 1)
    means = np.cumsum(each) / units
    return units, means, np.concatenate([[0.5], means[:-1]])
