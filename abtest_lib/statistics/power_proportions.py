"""Planning a comparison of two shares of units: power, required units, minimum detectable effect.

Margins are in ``power_margin_shares``.
Power and required units broadcast over arrays; the minimum detectable effect is that of plain numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.planning import RequiredUnits
from abtest_lib.statistics.planning_checks import (
    Family,
    check_counted,
    check_effect,
    check_inflation,
    check_share,
    check_target,
    comparison_alpha,
    directed,
)
from abtest_lib.statistics.power import Counted
from abtest_lib.statistics.tails import Alternative, check_positive, critical_value, plain

ProportionsTest = Literal["pooled", "unpooled", "arcsine"]
Spread = tuple[Any, Any, Any]


@dataclass(frozen=True)
class DetectableShare:
    """Hold the share of the treatment that is nearest to the control's and still told from it.

    Parameters
    ----------
    share : float
        Of the treatment.
    effect : float
        ``share`` less the control's.
    relative_effect : float

    Examples
    --------
    >>> DetectableShare(share=0.06, effect=0.01, relative_effect=0.2).effect
    0.01
    """

    share: float
    effect: float
    relative_effect: float


def power_proportions(
    share_control: Any,
    share_treatment: Any,
    *,
    n_control: Any,
    n_treatment: Any,
    test: ProportionsTest = "pooled",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    treatments: int = 1,
    family: Family = "bonferroni",
    counted: Counted = "effect side",
) -> Any:
    """Return how probable it is that the difference of two shares is shown.

    Parameters
    ----------
    share_control, share_treatment : float or array, in (0, 1)
        True shares.
    n_control, n_treatment : float or array
        Units, above 0.
    test : {"pooled", "unpooled", "arcsine"}
        Variance of the test's statistic: of one common share (the z test of ``inference.compare_proportions``), of two
        shares (Wald), or of the arcsine of their roots.
    alpha : float, in (0, 1)
        Shared by the comparisons of all treatments.
    alternative : {"two-sided", "greater", "less"}
    treatments : int
        Treatments, each compared with the control, at least 1.
    family : {"bonferroni", "dunnett"}
        How they share ``alpha``; see ``power.power_means``.
    counted : {"effect side", "either side"}
        "effect side" does not count a significant result that points the wrong way.

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    Φ((|p_t - p_c| - q σ₀) / σ₁), with σ₀ the standard error that the statistic is divided by and σ₁ the true one.

    References
    ----------
    .. [1] Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, 3rd ed. doi:10.1002/0471445428

    Examples
    --------
    >>> round(power_proportions(0.05, 0.056, n_control=20_000, n_treatment=20_000), 4)
    0.7637
    """
    check_shares(share_control, share_treatment, n_control, n_treatment)
    ratio = np.divide(n_treatment, n_control)
    level = comparison_alpha(alpha, treatments, family=family, alternative=alternative, allocation=ratio)
    critical = critical_value(level, alternative)
    check_counted(counted)
    distance, null_error, error = _spread(share_control, share_treatment, n_control, n_treatment, test)
    power = power_of_spread((distance, null_error, error), critical, alternative)
    if counted == "either side" and alternative == "two-sided":
        power = power + ndtr((-np.abs(distance) - critical * null_error) / error)
    return plain(power)


def required_units_proportions(
    share_control: Any,
    share_treatment: Any,
    *,
    test: ProportionsTest = "pooled",
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    allocation: float = 1.0,
    treatments: int = 1,
    family: Family = "bonferroni",
    inflation: float = 1.0,
    counted: Counted = "effect side",
) -> RequiredUnits:
    """Return how many units it takes to show the difference of two shares.

    Parameters
    ----------
    share_control, share_treatment : float or array, in (0, 1)
        The control's share, and that which shall be told from it; ``planning.treated_share`` has it from an effect.
    test
        See ``power_proportions``.
    power
        See ``power.required_units_means``.
    alpha, alternative
        See ``power_proportions``.
    allocation
        See ``power.required_units_means``.
    treatments, family
        See ``power_proportions``.
    inflation
        See ``power.required_units_means``.
    counted
        See ``power_proportions``.

    Returns
    -------
    RequiredUnits

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the difference lies on the side that the test does not look for.

    References
    ----------
    .. [1] Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, 3rd ed. doi:10.1002/0471445428

    Examples
    --------
    >>> required_units_proportions(0.031, 0.033).control
    121563
    >>> required_units_proportions(0.05, [0.055, 0.06], test="unpooled").control
    array([31231,  8155])
    """
    check_positive(allocation, "allocation")
    check_shares(share_control, share_treatment, 1.0, allocation)
    spread = _spread(share_control, share_treatment, 1.0, allocation, test)
    check_effect(spread[0], alternative, "share_treatment - share_control")
    alpha = comparison_alpha(alpha, treatments, family=family, alternative=alternative, allocation=allocation)
    exact = units_for_power(spread, power, alpha, alternative, counted)
    check_inflation(inflation)
    return RequiredUnits(plain(exact * inflation), allocation, treatments)


def minimum_detectable_proportions(
    share_control: float,
    *,
    n_control: float,
    n_treatment: float,
    direction: Literal["increase", "decrease"] = "increase",
    test: ProportionsTest = "pooled",
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    treatments: int = 1,
    family: Family = "bonferroni",
    inflation: float = 1.0,
) -> DetectableShare | NotComputed:
    """Return the smallest change of a share that is shown with the given power.

    Parameters
    ----------
    share_control : float, in (0, 1)
    n_control, n_treatment : float
        Units, above 0.
    direction : {"increase", "decrease"}
        The same number of units shows a smaller change towards the nearer of 0 and 1.
    test
        See ``power_proportions``.
    power
        See ``power.required_units_means``.
    alpha, alternative, treatments, family
        See ``power_proportions``.
    inflation
        See ``power.required_units_means``.

    Returns
    -------
    DetectableShare or NotComputed
        NotComputed when these units show no change that a share can make.

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the test looks for the other direction.

    References
    ----------
    .. [1] Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, 3rd ed. doi:10.1002/0471445428

    Examples
    --------
    >>> result = minimum_detectable_proportions(0.05, n_control=20_000, n_treatment=20_000)
    >>> round(result.share, 5), round(result.relative_effect, 4)
    (0.05628, 0.1257)
    """
    if direction not in ("increase", "decrease"):
        raise ValueError(f"direction is {direction!r}; it must be 'increase' or 'decrease'.")
    check_shares(share_control, 0.5, n_control, n_treatment)
    ratio = np.divide(n_treatment, n_control)
    alpha = comparison_alpha(alpha, treatments, family=family, alternative=alternative, allocation=ratio)
    check_target(power, alpha, alternative)
    check_inflation(inflation)
    check_effect(1 if direction == "increase" else -1, alternative, "the sign of direction")
    units, critical = (n_control / inflation, n_treatment / inflation), critical_value(alpha, alternative)

    def enough(share: float) -> bool:
        return bool(power_of_spread(_spread(share_control, share, *units, test), critical, alternative) >= power)

    near, far = share_control, 1 - 1e-12 if direction == "increase" else 1e-12
    if not enough(far):
        return NotComputed(f"with so few units not even the largest {direction} of the share is shown")
    for _ in range(100):
        middle = (near + far) / 2
        near, far = (near, middle) if enough(middle) else (middle, far)
    return DetectableShare(far, far - share_control, (far - share_control) / share_control)


def units_for_power(
    spread: Spread, power: float, alpha: float, alternative: Alternative, counted: Counted = "effect side"
) -> Any:
    """Return the units of the control at which an effect is shown with the given power, before rounding up.

    Parameters
    ----------
    spread : tuple
        Distance of the effect from the null, the error that the statistic is divided by and the true error, both of
        one unit of the control.
    power, alpha, alternative, counted
        See ``required_units_proportions``; ``alpha`` is that of this comparison alone.

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If ``power``, ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, 3rd ed. doi:10.1002/0471445428

    Examples
    --------
    >>> round(float(units_for_power((0.1, 0.5, 0.5), 0.8, 0.05, "two-sided")), 1)
    196.2
    """
    check_target(power, alpha, alternative)
    distance, null_error, error = spread
    needed = critical_value(alpha, alternative) * null_error + ndtri(power) * error
    # Below 0 only for powers near alpha, which one unit then has.
    exact = np.square(np.maximum(needed, 0.0) / distance)
    check_counted(counted)
    if counted == "effect side" or alternative != "two-sided":
        return exact
    critical, low, high = critical_value(alpha, alternative), np.zeros_like(exact), exact
    for _ in range(60):
        middle = (low + high) / 2
        sides = [sign * np.abs(distance) * np.sqrt(middle) - critical * null_error for sign in (1, -1)]
        enough = ndtr(sides[0] / error) + ndtr(sides[1] / error) >= power
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def power_of_spread(spread: Spread, critical: float, alternative: Alternative) -> Any:
    """Return how probable it is that an effect passes the critical value on its own side.

    Parameters
    ----------
    spread : tuple
        See ``units_for_power``; errors at the planned units.
    critical : float
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    float or array

    References
    ----------
    .. [1] Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, 3rd ed. doi:10.1002/0471445428

    Examples
    --------
    >>> round(float(power_of_spread((2.8, 1.0, 1.0), 1.96, "two-sided")), 3)
    0.8
    """
    distance, null_error, error = spread
    return ndtr((directed(distance, alternative) - critical * null_error) / error)


def check_shares(control: Any, treatment: Any, n_control: Any, n_treatment: Any) -> None:
    """Raise where shares are not between 0 and 1 or units not above 0.

    Parameters
    ----------
    control, treatment : float or array
        Shares; must be in (0, 1).
    n_control, n_treatment : float or array
        Units; must be above 0.

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> check_shares(0.1, 1.2, 50, 50)
    Traceback (most recent call last):
        ...
    ValueError: share_treatment is 1.2; it must be between 0 and 1.
    """
    check_share(control, "share_control")
    check_share(treatment, "share_treatment")
    check_positive(n_control, "n_control")
    check_positive(n_treatment, "n_treatment")


def _spread(control: Any, treatment: Any, n_control: Any, n_treatment: Any, test: str) -> Spread:
    """Distance that the test sees, the error it divides by, and the true error."""
    pc, pt, nc, nt = (np.asarray(value, dtype=float) for value in (control, treatment, n_control, n_treatment))
    if test == "arcsine":
        error = np.sqrt(1 / nc + 1 / nt)
        return 2 * (np.arcsin(np.sqrt(pt)) - np.arcsin(np.sqrt(pc))), error, error
    error = np.sqrt(pc * (1 - pc) / nc + pt * (1 - pt) / nt)
    if test == "unpooled":
        return pt - pc, error, error
    if test == "pooled":
        share = (nc * pc + nt * pt) / (nc + nt)
        return pt - pc, np.sqrt(share * (1 - share) * (1 / nc + 1 / nt)), error
    raise ValueError(f"test is {test!r}; it must be 'pooled', 'unpooled' or 'arcsine'.")
