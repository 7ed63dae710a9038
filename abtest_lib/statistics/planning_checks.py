"""What planning functions check of their arguments, and on which side of the null an effect lies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from abtest_lib.statistics.dunnett import dunnett_alpha
from abtest_lib.statistics.multiplicity import bonferroni_alpha
from abtest_lib.statistics.tails import Alternative, check_choices, check_positive

Family = Literal["bonferroni", "dunnett"]


def comparison_alpha(
    alpha: float, treatments: int, *, family: Family, alternative: Alternative, allocation: float
) -> float:
    """Return the alpha of one of several treatments that are each compared with the same control.

    Parameters
    ----------
    alpha : float, in (0, 1)
        Error rate over all comparisons.
    treatments : int
        At least 1.
    family : {"bonferroni", "dunnett"}
        "dunnett" uses that the comparisons share a control, and needs fewer units.
    alternative : {"two-sided", "greater", "less"}
    allocation : float
        Units of a treatment for each unit of the control.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Dunnett (1955), JASA 50(272). doi:10.1080/01621459.1955.10501294

    Examples
    --------
    >>> sides = {"alternative": "two-sided", "allocation": 1.0}
    >>> [round(comparison_alpha(0.05, 3, family=each, **sides), 4) for each in ("bonferroni", "dunnett")]
    [0.0167, 0.0188]
    """
    if not (treatments >= 1 and treatments % 1 == 0):
        raise ValueError(f"treatments is {treatments}; it must be at least 1, a whole number.")
    shared = bonferroni_alpha(alpha, treatments)
    if family == "bonferroni" or (family == "dunnett" and treatments == 1):
        return shared
    if family != "dunnett":
        raise ValueError(f"family is {family!r}; it must be 'bonferroni' or 'dunnett'.")
    if np.ndim(allocation) != 0:
        raise ValueError("allocation is an array; family 'dunnett' needs the same for all plans of a call.")
    sizes = {"n_control": 1.0, "n_treatments": [float(allocation)] * treatments}
    return dunnett_alpha(alpha, **sizes, alternative=alternative)


def check_share(value: Any, name: str) -> None:
    """Raise where a share of units, or one of an array, is not between 0 and 1.

    Parameters
    ----------
    value : float or array
        Must be in (0, 1).
    name : str
        What the caller calls it; for the message.

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> check_share(5, "share")
    Traceback (most recent call last):
        ...
    ValueError: share is 5; it must be between 0 and 1.
    """
    if not np.all((np.asarray(value) > 0) & (np.asarray(value) < 1)):
        raise ValueError(f"{name} is {value}; it must be between 0 and 1.")


def check_target(power: float, alpha: float, alternative: str) -> None:
    """Raise where ``power`` is no target: a test reaches its own ``alpha`` with no units at all.

    Parameters
    ----------
    power : float
        Must be in (alpha, 1).
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> check_target(80, 0.05, "two-sided")
    Traceback (most recent call last):
        ...
    ValueError: power is 80; it must be above alpha (0.05) and below 1.
    """
    check_choices(alpha, alternative)
    if not alpha < power < 1:
        raise ValueError(f"power is {power}; it must be above alpha ({alpha}) and below 1.")


def check_counted(counted: str) -> None:
    """Raise where ``counted`` does not say which significant results make the power.

    Parameters
    ----------
    counted : str
        Must be "effect side" or "either side".

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> check_counted("both")
    Traceback (most recent call last):
        ...
    ValueError: counted is 'both'; it must be 'effect side' or 'either side'.
    """
    if counted not in ("effect side", "either side"):
        raise ValueError(f"counted is {counted!r}; it must be 'effect side' or 'either side'.")


def check_inflation(inflation: float) -> None:
    """Raise where ``inflation`` is below 1: more looks never need fewer units at the last one.

    Parameters
    ----------
    inflation : float
        Must be at least 1 and finite.

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> check_inflation(0.9)
    Traceback (most recent call last):
        ...
    ValueError: inflation is 0.9; it must be at least 1.
    """
    if not 1 <= inflation < math.inf:
        raise ValueError(f"inflation is {inflation}; it must be at least 1.")


def directed(effect: Any, alternative: str) -> np.ndarray:
    """Return an effect as positive where it lies on the side that the test looks for.

    Parameters
    ----------
    effect : float or array
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    array

    Examples
    --------
    >>> float(directed(-0.5, "two-sided")), float(directed(-0.5, "less")), float(directed(-0.5, "greater"))
    (0.5, 0.5, -0.5)
    """
    effect = np.asarray(effect, dtype=float)
    return np.abs(effect) if alternative == "two-sided" else effect if alternative == "greater" else -effect


def check_effect(effect: Any, alternative: str, name: str = "effect") -> None:
    """Raise where no number of units suffices, as the effect is zero or on the side that the test does not look for.

    Parameters
    ----------
    effect : float or array
        Must be finite, and above 0 on the side that the test looks for.
    alternative : {"two-sided", "greater", "less"}
    name : str
        What the caller calls it; for the message.

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> check_effect(-0.5, "greater")
    Traceback (most recent call last):
        ...
    ValueError: effect is -0.5; with alternative 'greater' it must be above 0.
    """
    check_choices(0.5, alternative)
    distance = directed(effect, alternative)
    if not np.all((distance > 0) & np.isfinite(distance)):
        must = {"two-sided": "a number other than 0", "greater": "above 0", "less": "below 0"}[alternative]
        raise ValueError(f"{name} is {effect}; with alternative {alternative!r} it must be {must}.")


def check_relative(relative_effect: float, mean: float) -> None:
    """Raise where ``mean`` is not above 0, so that nothing is relative to it, or a mean would fall to 0 or below.

    Parameters
    ----------
    relative_effect : float
        Must be above -1.
    mean : float
        Must be above 0.

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> check_relative(-1.5, 10.0)
    Traceback (most recent call last):
        ...
    ValueError: relative_effect is -1.5; it must be above -1.
    """
    check_positive(mean, "mean")
    if not -1 < relative_effect < math.inf:
        raise ValueError(f"relative_effect is {relative_effect}; it must be above -1.")


def check_better(better: str) -> None:
    """Raise where ``better`` does not say which way of a metric is good.

    Parameters
    ----------
    better : str
        Must be "higher" or "lower".

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> check_better("bigger")
    Traceback (most recent call last):
        ...
    ValueError: better is 'bigger'; it must be 'higher' or 'lower'.
    """
    if better not in ("higher", "lower"):
        raise ValueError(f"better is {better!r}; it must be 'higher' or 'lower'.")


def distance_from_margin(effect: float, margin: float, better: str) -> float:
    """Return how far a true effect lies on the safe side of a margin.

    Parameters
    ----------
    effect : float
        True difference, treatment less control; must lie within the margin.
    margin : float
        Largest tolerable change in the bad direction, above 0.
    better : {"higher", "lower"}

    Returns
    -------
    float
        Above 0.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> distance_from_margin(0.1, 0.5, "lower"), distance_from_margin(0.1, 0.5, "higher")
    (0.4, 0.6)
    """
    check_positive(margin, "margin")
    check_better(better)
    distance = margin + effect if better == "higher" else margin - effect
    if not distance > 0:
        raise ValueError(f"effect is {effect}; it must lie within the margin, {margin}.")
    return distance


def smallest_reaching(power_at: Callable[[float], float], power: float, low: float, high: float) -> float | None:
    """Return where a power that rises reaches a target, between ``low`` and ``high``; None where it does not.

    Parameters
    ----------
    power_at : callable
        Of a number above ``low`` and at most ``high``.
    power : float
    low, high : float

    Returns
    -------
    float or None

    Examples
    --------
    >>> round(smallest_reaching(lambda x: x * x, 0.25, 0.0, 1.0), 9)
    0.5
    """
    if power_at(high) < power:
        return None
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(middle) >= power else (middle, high)
    return high
