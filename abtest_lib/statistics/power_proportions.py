"""Planning a comparison of two shares of units: power, required units, minimum detectable effect.

Power and required units broadcast over arrays; the minimum detectable effect is that of plain numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import Better
from abtest_lib.statistics.multiplicity import bonferroni_alpha
from abtest_lib.statistics.planning import (
    RequiredUnits,
    check_counted,
    check_effect,
    check_inflation,
    check_positive,
    check_share,
    check_target,
    directed,
    distance_from_margin,
)
from abtest_lib.statistics.power import Counted
from abtest_lib.statistics.tails import Alternative, critical_value, plain

ProportionsTest = Literal["pooled", "unpooled", "arcsine"]
Scale = Literal["difference", "ratio"]
_Spread = tuple[Any, Any, Any]


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
        Treatments, each compared with the control at ``alpha / treatments`` (Bonferroni), at least 1.
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
    _check_shares(share_control, share_treatment, n_control, n_treatment)
    critical = critical_value(bonferroni_alpha(alpha, treatments), alternative)
    check_counted(counted)
    distance, null_error, error = _spread(share_control, share_treatment, n_control, n_treatment, test)
    power = _power((distance, null_error, error), critical, alternative)
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
    inflation: float = 1.0,
) -> RequiredUnits:
    """Return how many units it takes to show the difference of two shares.

    Parameters
    ----------
    share_control, share_treatment : float or array, in (0, 1)
        The control's share, and that which shall be told from it.
    test, alpha, alternative, treatments
        See ``power_proportions``.
    power, allocation, inflation
        See ``power.required_units_means``.

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
    check_positive("allocation", allocation)
    _check_shares(share_control, share_treatment, 1.0, allocation)
    spread = _spread(share_control, share_treatment, 1.0, allocation, test)
    check_effect(spread[0], alternative, "share_treatment - share_control")
    return _required(spread, power, alpha, alternative, allocation, treatments, inflation)


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
    inflation: float = 1.0,
) -> DetectableShare | NotComputed:
    """Return the smallest change of a share that is shown with the given power.

    Parameters
    ----------
    share_control : float, in (0, 1)
    n_control, n_treatment, test, alpha, alternative, treatments
        See ``power_proportions``.
    direction : {"increase", "decrease"}
        The same number of units shows a smaller change towards the nearer of 0 and 1.
    power, inflation
        See ``power.required_units_means``.

    Returns
    -------
    DetectableShare or NotComputed
        NotComputed when these units show no change that a share can make.

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the test looks for the other direction.

    Examples
    --------
    >>> result = minimum_detectable_proportions(0.05, n_control=20_000, n_treatment=20_000)
    >>> round(result.share, 5), round(result.relative_effect, 4)
    (0.05628, 0.1257)
    """
    if direction not in ("increase", "decrease"):
        raise ValueError(f"direction is {direction!r}; it must be 'increase' or 'decrease'.")
    _check_shares(share_control, 0.5, n_control, n_treatment)
    alpha = bonferroni_alpha(alpha, treatments)
    check_target(power, alpha, alternative)
    check_inflation(inflation)
    check_effect(1 if direction == "increase" else -1, alternative, "the sign of direction")
    units, critical = (n_control / inflation, n_treatment / inflation), critical_value(alpha, alternative)

    def enough(share: float) -> bool:
        return bool(_power(_spread(share_control, share, *units, test), critical, alternative) >= power)

    near, far = share_control, 1 - 1e-12 if direction == "increase" else 1e-12
    if not enough(far):
        return NotComputed(f"with so few units not even the largest {direction} of the share is shown")
    for _ in range(100):
        middle = (near + far) / 2
        near, far = (near, middle) if enough(middle) else (middle, far)
    return DetectableShare(far, far - share_control, (far - share_control) / share_control)


def required_units_non_inferior_proportions(
    margin: float,
    *,
    share_control: float,
    better: Better,
    scale: Scale = "difference",
    share_treatment: float | None = None,
    power: float = 0.8,
    alpha: float = 0.025,
    allocation: float = 1.0,
    treatments: int = 1,
    inflation: float = 1.0,
) -> RequiredUnits:
    """Return how many units it takes to prove that a share is not worse by a margin, by the score test.

    Parameters
    ----------
    margin : float
        Largest tolerable change in the bad direction, above 0: of the share, or relative to the control's.
    share_control : float, in (0, 1)
    better : {"higher", "lower"}
    scale : {"difference", "ratio"}
        Of ``margin``; "ratio" is the test of a guardrail (``guardrails.proportion_non_inferiority``).
    share_treatment : float, in (0, 1), optional
        True share; default the control's. Must lie within the margin.
    alpha : float, in (0, 1)
        One-sided.
    power, allocation, treatments, inflation
        See ``power.required_units_means``.

    Returns
    -------
    RequiredUnits

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the treatment's share is at or beyond the margin.

    Notes
    -----
    The statistic is divided by its standard error at the shares that maximise the likelihood at the margin; those
    for the expected counts stand for them, as in [1]_.

    References
    ----------
    .. [1] Farrington, Manning (1990), Statistics in Medicine 9(12). doi:10.1002/sim.4780091208

    Examples
    --------
    >>> required_units_non_inferior_proportions(0.005, share_control=0.05, better="lower").total
    59740
    """
    check_positive("allocation", allocation)
    spread = _margin_spread(margin, share_control, share_treatment, 1.0, allocation, better, scale)
    return _required(spread, power, alpha, "greater", allocation, treatments, inflation)


def power_non_inferior_proportions(
    margin: float,
    *,
    share_control: float,
    n_control: float,
    n_treatment: float,
    better: Better,
    scale: Scale = "difference",
    share_treatment: float | None = None,
    alpha: float = 0.025,
    treatments: int = 1,
) -> float:
    """Return how probable it is that a share is proved not worse by a margin, by the score test.

    Parameters
    ----------
    margin, share_control, better, scale, share_treatment, alpha
        See ``required_units_non_inferior_proportions``.
    n_control, n_treatment, treatments
        See ``power_proportions``.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Farrington, Manning (1990), Statistics in Medicine 9(12). doi:10.1002/sim.4780091208

    Examples
    --------
    >>> sample = {"n_control": 29_870, "n_treatment": 29_870}
    >>> round(power_non_inferior_proportions(0.005, share_control=0.05, better="lower", **sample), 4)
    0.8
    """
    spread = _margin_spread(margin, share_control, share_treatment, n_control, n_treatment, better, scale)
    critical = critical_value(bonferroni_alpha(alpha, treatments), "greater")
    return plain(_power(spread, critical, "greater"))


def _required(
    spread: _Spread,
    power: float,
    alpha: float,
    alternative: Alternative,
    allocation: float,
    treatments: int,
    inflation: float,
) -> RequiredUnits:
    alpha = bonferroni_alpha(alpha, treatments)
    check_target(power, alpha, alternative)
    check_inflation(inflation)
    distance, null_error, error = spread
    needed = critical_value(alpha, alternative) * null_error + ndtri(power) * error
    # Below 0 only for powers near alpha, which one unit then has.
    exact = np.square(np.maximum(needed, 0.0) / distance)
    return RequiredUnits(plain(exact * inflation), allocation, treatments)


def _power(spread: _Spread, critical: float, alternative: Alternative) -> Any:
    distance, null_error, error = spread
    return ndtr((directed(distance, alternative) - critical * null_error) / error)


def _spread(control: Any, treatment: Any, n_control: Any, n_treatment: Any, test: str) -> _Spread:
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


def _margin_spread(
    margin: float,
    control: float,
    treatment: float | None,
    n_control: float,
    n_treatment: float,
    better: Better,
    scale: Scale,
) -> _Spread:
    """As ``_spread`` for the score test at a margin, the distance being that on the safe side."""
    treatment = control if treatment is None else treatment
    _check_shares(control, treatment, n_control, n_treatment)
    sign = -1 if better == "higher" else 1
    if scale == "difference":
        distance, ratio = distance_from_margin(treatment - control, margin, better), 1.0
        if not 0 < control + sign * margin < 1:
            raise ValueError(f"margin is {margin}; from {control} it must not lead out of the shares between 0 and 1.")
        null_control = _null_control_by_difference(control, treatment, n_control, n_treatment, sign * margin)
        null_treatment = null_control + sign * margin
    elif scale == "ratio":
        distance, ratio = distance_from_margin(treatment / control - 1, margin, better) * control, 1 + sign * margin
        if ratio <= 0:
            raise ValueError(f"margin is {margin}; it must be below 1 where higher is better.")
        null_control = _null_control_by_ratio(control, treatment, n_control, n_treatment, ratio)
        null_treatment = ratio * null_control
    else:
        raise ValueError(f"scale is {scale!r}; it must be 'difference' or 'ratio'.")

    def error(control: float, treatment: float) -> float:
        return math.sqrt(ratio**2 * control * (1 - control) / n_control + treatment * (1 - treatment) / n_treatment)

    return distance, error(null_control, null_treatment), error(control, treatment)


def _null_control_by_difference(control: float, treatment: float, nc: float, nt: float, difference: float) -> float:
    """The control's most likely share where the treatment's is ``difference`` above it."""
    theta = nc / nt
    a = 1 + theta
    b = -(1 + theta + treatment + theta * control + difference * (theta + 2))
    c = difference**2 + difference * (2 * treatment + theta + 1) + treatment + theta * control
    d = -treatment * difference * (1 + difference)
    v = (b / (3 * a)) ** 3 - b * c / (6 * a * a) + d / (2 * a)
    u = math.copysign(math.sqrt(max((b / (3 * a)) ** 2 - c / (3 * a), 0.0)), v)
    angle = (math.pi + math.acos(max(-1.0, min(1.0, v / u**3 if u else 0.0)))) / 3
    return min(max(2 * u * math.cos(angle) - b / (3 * a) - difference, 0.0), 1.0)


def _null_control_by_ratio(control: float, treatment: float, nc: float, nt: float, ratio: float) -> float:
    """The control's most likely share where the treatment's is ``ratio`` times it."""
    theta = nc / nt
    a, c = 1 + theta, ratio * (treatment + theta * control)
    b = ratio * (1 + theta * control) + theta + treatment
    return 2 * c / (b + math.sqrt(max(b * b - 4 * a * c, 0.0))) / ratio


def _check_shares(control: Any, treatment: Any, n_control: Any, n_treatment: Any) -> None:
    check_share("share_control", control)
    check_share("share_treatment", treatment)
    check_positive("n_control", n_control)
    check_positive("n_treatment", n_treatment)
