"""Bounds that a sum without drift never passes, at any time, but with a stated probability; without large samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from abtest_lib.statistics.always_valid import check_positive, check_units
from abtest_lib.statistics.tails import Alternative, check_choices, floats, plain


def tuned_mixture_rho(planned_variance: float, *, alpha: float, alternative: Alternative = "two-sided") -> float:
    """Return the rho that keeps ``normal_mixture_bound`` near its lowest at ``planned_variance``.

    Parameters
    ----------
    planned_variance : float
        Variance of the sum, above 0.
    alpha : float, in (0, 1)
        Below 0.5 under a one-sided alternative.
    alternative : {"two-sided", "greater", "less"}

    Raises
    ------
    ValueError
        If an argument is not what it must be.

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

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    Hoeffding: such values vary by at most 1/4. Wide for shares far from one half.

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
