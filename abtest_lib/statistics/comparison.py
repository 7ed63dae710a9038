"""What a comparison of a treatment with the control says: effect, interval, relative effect and p-value."""

from __future__ import annotations

from dataclasses import dataclass

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import Alternative, Interval


@dataclass(frozen=True)
class Adjustment:
    """Say what a covariate did to a comparison.

    Parameters
    ----------
    theta : float
        Outcome per unit of the covariate, the slope within variants.
    variance_removed : float
        Share of the squared standard error of the unadjusted effect that the adjustment took away; slightly below 0
        where it did harm.
    unadjusted_effect : float
    unadjusted_interval : tuple of float
        Of that effect, at the same confidence level.
    """

    theta: float
    variance_removed: float
    unadjusted_effect: float
    unadjusted_interval: Interval


@dataclass(frozen=True)
class Comparison:
    """Say how much a treatment moved one metric and how sure that is.

    Parameters
    ----------
    effect : float
        Mean of the treatment minus mean of the control, in the metric's unit.
    effect_interval : tuple of float or NotComputed
        At ``confidence_level``; one end is infinite under a one-sided alternative. NotComputed only where a Wald
        interval of proportions would have no width.
    relative_effect : float or NotComputed
        ``effect`` over the absolute mean of the control, a fraction.
    relative_interval : tuple of float or NotComputed
    statistic : float or NotComputed
        z or t; positive when the treatment's mean is higher.
    df : float or None
        Degrees of freedom; None for the normal distribution.
    pvalue : float or NotComputed
    confidence_level : float
        ``1 - alpha``.
    alternative : {"two-sided", "greater", "less"}
    method : str
        For the report: names test, interval and relative interval.
    standard_error : float
        Of the effect, not pooled.
    adjustment : Adjustment or None
        None where no covariate was used.
    """

    effect: float
    effect_interval: Interval | NotComputed
    relative_effect: float | NotComputed
    relative_interval: Interval | NotComputed
    statistic: float | NotComputed
    df: float | None
    pvalue: float | NotComputed
    confidence_level: float
    alternative: Alternative
    method: str
    standard_error: float
    adjustment: Adjustment | None = None


@dataclass(frozen=True)
class RelativeComparison:
    """Say how much a treatment moved one metric relative to the control, tested on that scale.

    Parameters
    ----------
    relative_effect : float
    relative_interval : tuple of float
    standard_error : float
        Of the relative effect.
    statistic, df, pvalue : float
    confidence_level : float
    alternative : {"two-sided", "greater", "less"}
    method : str
    """

    relative_effect: float
    relative_interval: Interval
    standard_error: float
    statistic: float
    df: float | None
    pvalue: float
    confidence_level: float
    alternative: Alternative
    method: str
