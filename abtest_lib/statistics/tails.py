"""One or two sides: p-value of a statistic, critical value of an alpha, ends of an interval; and what functions check.

All of it broadcasts over arrays; plain numbers in give plain floats out.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Alternative = Literal["two-sided", "greater", "less"]
Interval = tuple[float, float]
ALTERNATIVES = ("two-sided", "greater", "less")


def critical_value(alpha: float, alternative: Alternative = "two-sided", df: Any = None) -> Any:
    """Return the quantile that a statistic must pass to be significant at ``alpha``.

    Parameters
    ----------
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        Two-sided splits ``alpha`` over both tails.
    df : float or array, optional
        Degrees of freedom of Student's t; default the normal distribution.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Examples
    --------
    >>> round(critical_value(0.05), 4), round(critical_value(0.05, df=10), 3)
    (1.96, 2.228)
    """
    check_choices(alpha, alternative)
    tail = alpha / 2 if alternative == "two-sided" else alpha
    return plain(-ndtri(tail) if df is None else -stdtrit(df, tail))


def tail_pvalue(statistic: Any, alternative: Alternative = "two-sided", df: Any = None) -> Any:
    """Return the p-value of a z or t statistic, down to 1e-300.

    Parameters
    ----------
    statistic : float or array
    alternative : {"two-sided", "greater", "less"}
        "greater" is the upper tail, "less" the lower.
    df : float or array, optional
        Degrees of freedom of Student's t; default the normal distribution.

    Notes
    -----
    Taken from the tail itself; ``2 * (1 - cdf)`` would be 0 beyond 8.3.

    Examples
    --------
    >>> f"{tail_pvalue(1.96):.3f}", f"{tail_pvalue(20.0):.2e}"
    ('0.050', '5.51e-89')
    """

    def tail(value: Any) -> Any:
        return ndtr(value) if df is None else stdtr(df, value)

    if alternative == "greater":
        return plain(tail(-np.asarray(statistic)))
    if alternative == "less":
        return plain(tail(statistic))
    return plain(np.minimum(2 * tail(-np.abs(statistic)), 1.0))


def interval_ends(low: Any, high: Any, alternative: Alternative) -> tuple[Any, Any]:
    """Return the two ends of an interval, the one that a one-sided alternative leaves open being infinite.

    Parameters
    ----------
    low, high : float or array
        Ends as computed; both at the critical value of ``alternative``.
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    tuple of float or array

    Examples
    --------
    >>> interval_ends(0.1, 0.3, "two-sided"), interval_ends(0.1, 0.3, "greater")
    ((0.1, 0.3), (0.1, inf))
    """
    if alternative == "greater":
        high = np.full_like(low, np.inf, dtype=float)
    elif alternative == "less":
        low = np.full_like(high, -np.inf, dtype=float)
    return plain(low), plain(high)


def check_choices(alpha: float, alternative: str) -> None:
    """Raise where ``alpha`` or ``alternative`` is not what it must be.

    Parameters
    ----------
    alpha : float
        Must be in (0, 1).
    alternative : str
        Must be one of ``ALTERNATIVES``.

    Raises
    ------
    ValueError
        If ``alpha`` is not in (0, 1) or ``alternative`` is not known.

    Examples
    --------
    >>> check_choices(0.05, "larger")
    Traceback (most recent call last):
        ...
    ValueError: alternative is 'larger'; it must be 'two-sided', 'greater' or 'less'.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    if alternative not in ALTERNATIVES:
        raise ValueError(f"alternative is {alternative!r}; it must be 'two-sided', 'greater' or 'less'.")


def check_counts(successes: Any, n: Any, successes_name: str, n_name: str) -> None:
    """Raise where counts cannot be those of units and of successes among them.

    Parameters
    ----------
    successes, n : int or array
        Must be whole numbers with ``0 <= successes <= n``.
    successes_name, n_name : str
        What the caller calls them; for the message.

    Raises
    ------
    ValueError
        If a count is not a whole number, is negative, or ``successes`` is above ``n``.

    Examples
    --------
    >>> check_counts(12, 10, "successes", "n")
    Traceback (most recent call last):
        ...
    ValueError: successes is 12; it must be a whole number between 0 and n (10).
    """
    if np.any(np.asarray(n) != np.floor(n)) or np.any(np.asarray(n) < 0):
        raise ValueError(f"{n_name} is {n}; it must be a whole number of units, at least 0.")
    bad = (np.asarray(successes) < 0) | (np.asarray(successes) > n) | (np.asarray(successes) != np.floor(successes))
    if np.any(bad):
        raise ValueError(f"{successes_name} is {successes}; it must be a whole number between 0 and {n_name} ({n}).")


def floats(*values: Any) -> list[np.ndarray]:
    """Return numbers and arrays as arrays of floats, for formulas that broadcast.

    Parameters
    ----------
    *values : float or array

    Returns
    -------
    list of array
        In the order given; a number becomes an array without dimensions.

    Examples
    --------
    >>> successes, n = floats(3, [10, 20])
    >>> successes / n
    array([0.3 , 0.15])
    """
    return [np.asarray(value, dtype=float) for value in values]


def plain(value: Any) -> Any:
    """Return a plain float where the value is one number, and an array as it is.

    Parameters
    ----------
    value : float or array

    Returns
    -------
    float or array

    Examples
    --------
    >>> plain(np.float64(0.5)), plain(np.array([0.5, 1.0]))
    (0.5, array([0.5, 1. ]))
    """
    return float(value) if np.ndim(value) == 0 else value
