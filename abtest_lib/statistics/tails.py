"""One or two sides: p-value of a statistic, critical value of an alpha, ends of an interval; and what functions check.

All of it broadcasts over arrays; plain numbers in give plain floats out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Alternative = Literal["two-sided", "greater", "less"]
Interval = tuple[float, float]
ALTERNATIVES = ("two-sided", "greater", "less")
_FAR = 1e100


def critical_value(alpha: Any, alternative: Alternative = "two-sided", df: Any = None) -> Any:
    """Return the quantile that a statistic must pass to be significant at ``alpha``.

    Parameters
    ----------
    alpha : float or array, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        Two-sided splits ``alpha`` over both tails.
    df : float or array, optional
        Degrees of freedom of Student's t, above 0; default the normal distribution.

    Returns
    -------
    float or array
        Above 0 where a tail holds less than a half; nan in an array where ``df`` is nan there.

    Raises
    ------
    ValueError
        If ``alpha``, ``alternative`` or ``df`` is not what it must be.

    Examples
    --------
    >>> round(critical_value(0.05), 4), round(critical_value(0.05, df=10), 3)
    (1.96, 2.228)
    """
    check_choices(alpha, alternative)
    _check_df(df)
    tail = as_number(alpha) / 2 if alternative == "two-sided" else as_number(alpha)
    return plain(-ndtri(tail) if df is None else -stdtrit(df, tail))


def tail_pvalue(statistic: Any, alternative: Alternative = "two-sided", df: Any = None) -> Any:
    """Return the p-value of a z or t statistic, down to 1e-300.

    Parameters
    ----------
    statistic : float or array
    alternative : {"two-sided", "greater", "less"}
        "greater" is the upper tail, "less" the lower.
    df : float or array, optional
        Degrees of freedom of Student's t, above 0; default the normal distribution.

    Returns
    -------
    float or array
        In [0, 1]; nan in an array where the statistic is nan there.

    Raises
    ------
    ValueError
        If ``alternative`` or ``df`` is not what it must be, or a plain ``statistic`` is not a number.

    Notes
    -----
    Taken from the tail itself; ``2 * (1 - cdf)`` would be 0 beyond 8.3.

    Examples
    --------
    >>> f"{tail_pvalue(1.96):.3f}", f"{tail_pvalue(20.0):.2e}"
    ('0.050', '5.51e-89')
    """

    check_choices(0.5, alternative)
    _check_df(df)
    if np.ndim(statistic) == 0 and statistic != statistic:
        raise ValueError(f"statistic is {statistic}; it must be a number.")
    if alternative == "two-sided":
        both = 2 * _lower_tail(-abs(as_number(statistic)), df)
        return np.minimum(both, 1.0) if np.ndim(both) else min(float(both), 1.0)
    value = as_number(statistic)
    return plain(_lower_tail(value if alternative == "less" else -value, df))


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
        The closed end stays nan in a cell of an array where it is.

    Examples
    --------
    >>> interval_ends(0.1, 0.3, "two-sided"), interval_ends(0.1, 0.3, "greater")
    ((0.1, 0.3), (0.1, inf))
    """
    if alternative == "greater":
        high = np.full_like(low, math.inf, dtype=float) if np.ndim(low) else math.inf
    elif alternative == "less":
        low = np.full_like(high, -math.inf, dtype=float) if np.ndim(high) else -math.inf
    return plain(low), plain(high)


def check_choices(alpha: Any, alternative: str) -> None:
    """Raise where ``alpha`` or ``alternative`` is not what it must be.

    Parameters
    ----------
    alpha : float or array
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
    check_each("alpha", alpha, lambda level: (level > 0) & (level < 1), "between 0 and 1")
    if alternative not in ALTERNATIVES:
        raise ValueError(f"alternative is {alternative!r}; it must be 'two-sided', 'greater' or 'less'.")


def check_positive(value: Any, name: str) -> None:
    """Raise where a number, or one of an array, is not above 0 and finite.

    Parameters
    ----------
    value : float or array
    name : str
        What the caller calls it; for the message.

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> check_positive(-1.0, "sd")
    Traceback (most recent call last):
        ...
    ValueError: sd is -1.0; it must be a number above 0.
    """
    if not np.all((np.asarray(value) > 0) & np.isfinite(value)):
        raise ValueError(f"{name} is {value}; it must be a number above 0.")


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
        If a count is not a whole number, is negative or infinite, or ``successes`` is above ``n``.

    Examples
    --------
    >>> check_counts(12, 10, "successes", "n")
    Traceback (most recent call last):
        ...
    ValueError: successes is 12; it must be a whole number between 0 and n (10).
    """
    if type(successes) is type(n) is int and 0 <= successes <= n:
        return
    check_each(n_name, n, _is_count, "a whole number of units, at least 0")
    given, units = np.broadcast_arrays(successes, n)
    bad = ~(_is_count(given) & (given <= units))
    if np.any(bad):
        at = _first(bad)
        label, value, limit = _label(successes_name, at), given[at], units[at]
        raise ValueError(f"{label} is {value}; it must be a whole number between 0 and {n_name} ({limit}).")


def check_each(name: str, values: Any, holds: Callable[[Any], Any], must: str) -> None:
    """Raise where a number, or one of an array, is not what it must be; the message names its place in the array.

    Parameters
    ----------
    name : str
        What the caller calls the argument.
    values : float or array
    holds : callable
        From an array to an array of bool, true where a value is as it must be.
    must : str
        Completes "it must be ...".

    Raises
    ------
    ValueError
        If a value is not what it must be.

    Examples
    --------
    >>> check_each("margin", [0.02, -0.1], lambda margin: margin >= 0, "at least 0")
    Traceback (most recent call last):
        ...
    ValueError: margin[1] is -0.1; it must be at least 0.
    """
    if type(values) is float and holds(values) is True:
        return
    given = np.asarray(values)
    bad = ~np.asarray(holds(given), dtype=bool)
    if bad.any():
        at = _first(bad)
        raise ValueError(f"{_label(name, at)} is {given[at]}; it must be {must}.")


def as_number(value: Any) -> Any:
    """Return a plain number as a float, on which formulas are ten times faster, and anything else as an array.

    Parameters
    ----------
    value : float or array

    Returns
    -------
    float or array

    Examples
    --------
    >>> as_number(3), as_number([3])
    (3.0, array([3.]))
    """
    if type(value) is float:
        return value
    return float(value) if np.ndim(value) == 0 else np.asarray(value, dtype=float)


def square_root(value: Any) -> Any:
    """Return the square root of a number or an array; a plain float stays one.

    Parameters
    ----------
    value : float or array, at least 0

    Returns
    -------
    float or array

    Examples
    --------
    >>> square_root(2.25), square_root(np.array([4.0, 9.0]))
    (1.5, array([2., 3.]))
    """
    return math.sqrt(value) if type(value) is float else np.sqrt(value)


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
    if type(value) is float:
        return value
    return float(value) if np.ndim(value) == 0 else value


def _check_df(df: Any) -> None:
    if df is None or (type(df) is float and df > 0):
        return
    # Arrays may hold nan in cells that have no variance; a plain number may not.
    check_each("df", df, lambda given: (given > 0) | (np.isnan(given) & (np.ndim(given) > 0)), "above 0")


def _lower_tail(value: Any, df: Any) -> Any:
    if df is None:
        return ndtr(value)
    # stdtr squares its argument, which overflows beyond 1e154; so far out the tail is a power of the statistic.
    near = np.maximum(value, -_FAR)
    return stdtr(df, near) * (near / np.minimum(value, -_FAR)) ** np.where(value < -_FAR, df, 0.0)


def _is_count(value: Any) -> Any:
    return (value >= 0) & (np.floor(value) == value) & np.isfinite(value)


def _first(bad: np.ndarray) -> tuple[int, ...]:
    return tuple(int(place) for place in np.argwhere(bad)[0])


def _label(name: str, at: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(str(place) for place in at)}]" if at else name
