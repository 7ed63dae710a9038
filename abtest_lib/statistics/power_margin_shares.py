"""Planning a proof that a share of units is not worse than the control's by more than a margin, by the score test."""

from __future__ import annotations

import math
from typing import Literal

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import Better
from abtest_lib.statistics.planning import RequiredUnits
from abtest_lib.statistics.planning_checks import (
    Family,
    check_better,
    check_inflation,
    check_target,
    comparison_alpha,
    distance_from_margin,
    smallest_reaching,
)
from abtest_lib.statistics.power_proportions import Spread, check_shares, power_of_spread, units_for_power
from abtest_lib.statistics.tails import check_positive, critical_value

Scale = Literal["difference", "ratio"]


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
    family: Family = "bonferroni",
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
    power
        See ``power.required_units_means``.
    alpha : float, in (0, 1)
        One-sided.
    allocation, treatments, family, inflation
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
    check_positive(allocation, "allocation")
    spread = _margin_spread(margin, share_control, share_treatment, 1.0, allocation, better, scale)
    alpha = comparison_alpha(alpha, treatments, family=family, alternative="greater", allocation=allocation)
    exact = units_for_power(spread, power, alpha, "greater")
    check_inflation(inflation)
    return RequiredUnits(exact * inflation, allocation, treatments)


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
    family: Family = "bonferroni",
) -> float:
    """Return how probable it is that a share is proved not worse by a margin, by the score test.

    Parameters
    ----------
    margin, share_control
        See ``required_units_non_inferior_proportions``.
    n_control, n_treatment
        See ``power_proportions.power_proportions``.
    better, scale, share_treatment, alpha
        See ``required_units_non_inferior_proportions``.
    treatments, family
        See ``power.power_means``.

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
    ratio = n_treatment / n_control
    level = comparison_alpha(alpha, treatments, family=family, alternative="greater", allocation=ratio)
    return float(power_of_spread(spread, critical_value(level, "greater"), "greater"))


def smallest_margin_proportions(
    *,
    share_control: float,
    n_control: float,
    n_treatment: float,
    better: Better,
    scale: Scale = "difference",
    share_treatment: float | None = None,
    power: float = 0.8,
    alpha: float = 0.025,
    treatments: int = 1,
    family: Family = "bonferroni",
) -> float | NotComputed:
    """Return the smallest margin within which so many units prove a share with the given power, by the score test.

    Parameters
    ----------
    share_control, n_control, n_treatment, better, scale, share_treatment
        See ``power_non_inferior_proportions``.
    power : float, in (alpha, 1)
    alpha, treatments, family
        See ``power_non_inferior_proportions``.

    Returns
    -------
    float or NotComputed
        NotComputed when no margin that a share leaves room for is proved.

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
    >>> round(smallest_margin_proportions(share_control=0.05, better="lower", **sample), 4)
    0.005
    """
    check_better(better)
    check_target(power, alpha, "greater")
    treatment = share_control if share_treatment is None else share_treatment
    check_shares(share_control, treatment, n_control, n_treatment)
    plan = {"share_control": share_control, "n_control": n_control, "n_treatment": n_treatment, "better": better}
    plan |= {"scale": scale, "share_treatment": treatment, "alpha": alpha, "treatments": treatments, "family": family}
    room = share_control if better == "higher" else 1 - share_control
    worse = share_control - treatment if better == "higher" else treatment - share_control
    if scale == "ratio":
        room, worse = room / share_control, worse / share_control

    def power_at(margin: float) -> float:
        return power_non_inferior_proportions(margin, **plan)

    margin = smallest_reaching(power_at, power, max(0.0, worse), room * (1 - 1e-9))
    return NotComputed("so few units prove no margin that the share leaves room for") if margin is None else margin


def _margin_spread(
    margin: float,
    control: float,
    treatment: float | None,
    n_control: float,
    n_treatment: float,
    better: Better,
    scale: Scale,
) -> Spread:
    """As ``_spread`` for the score test at a margin, the distance being that on the safe side."""
    treatment = control if treatment is None else treatment
    check_shares(control, treatment, n_control, n_treatment)
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
