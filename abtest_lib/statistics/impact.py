"""What an effect per unit comes to in a day, were every unit to have the treatment."""

from __future__ import annotations

import math
from dataclasses import dataclass

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import Interval


@dataclass(frozen=True)
class DailyImpact:
    """Hold an effect per unit times the units of a day.

    Parameters
    ----------
    effect : float
        Of all units of a day together, in the metric's unit.
    interval : tuple of float
    standard_error : float
    units_per_day : float
    """

    effect: float
    interval: Interval
    standard_error: float
    units_per_day: float


def daily_impact(
    effect: float,
    interval: Interval,
    standard_error: float,
    *,
    units: int,
    traffic_share: float,
    days: float,
) -> DailyImpact | NotComputed:
    """Return what an absolute effect per unit comes to in a day, were every unit to have the treatment.

    Parameters
    ----------
    effect : float
        Treatment minus control per unit.
    interval : tuple of float
        Of the effect; an end may be infinite.
    standard_error : float
        Of the effect.
    units : int
        In the experiment, all variants together.
    traffic_share : float, in (0, 1]
        Share of the units that came by which were let into the experiment.
    days : float, above 0
        Over which they came.

    Returns
    -------
    DailyImpact or NotComputed
        NotComputed when there are no units or the effect is not finite.

    Raises
    ------
    ValueError
        If ``units`` or ``standard_error`` is negative, or ``traffic_share`` or ``days`` is not what it must be.

    Notes
    -----
    Everything is multiplied by ``units / (traffic_share * days)``; that number is taken as known. For a metric with a
    window it is what a day's units bring over their whole windows.

    References
    ----------
    .. [1] GrowthBook, statistics engine (packages/stats). https://github.com/growthbook/growthbook

    Examples
    --------
    >>> impact = daily_impact(0.04, (0.01, 0.07), 0.015, units=28_000, traffic_share=0.2, days=14)
    >>> round(impact.effect), impact.units_per_day
    (400, 10000.0)
    """
    if not (units >= 0 and units % 1 == 0):
        raise ValueError(f"units is {units}; it must be a whole number, at least 0.")
    if not standard_error >= 0:
        raise ValueError(f"standard_error is {standard_error}; it must be at least 0.")
    if not 0 < traffic_share <= 1:
        raise ValueError(f"traffic_share is {traffic_share}; it must be above 0 and at most 1.")
    if not 0 < days < math.inf:
        raise ValueError(f"days is {days}; it must be above 0 and finite.")
    if units == 0:
        return NotComputed("the experiment has no units")
    low, high = interval
    if not math.isfinite(effect) or math.isnan(low) or math.isnan(high):
        return NotComputed("the effect is not a finite number")
    scale = units / traffic_share / days
    return DailyImpact(effect * scale, (low * scale, high * scale), standard_error * scale, scale)
