"""How the rates of two Poisson counts compare: rare incidents per hour, session or machine, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, gammaln

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.exact import clopper_pearson_interval, no_more_likely
from abtest_lib.statistics.tails import Alternative, Interval, check_choices

LARGEST_ENUMERATION = 10_000_000


@dataclass(frozen=True)
class RateComparison:
    """Say how the treatment's rate of incidents compares with the control's.

    Parameters
    ----------
    rate_ratio : float or NotComputed
        Treatment's over control's; NotComputed when the control has no events.
    interval : tuple of float
        Of the ratio; its upper end is infinite when the control has no events.
    pvalue : float
        Of "both rates are the same".
    """

    rate_ratio: float | NotComputed
    interval: Interval
    pvalue: float


def compare_rates(
    events_control: int,
    exposure_control: float,
    events_treatment: int,
    exposure_treatment: float,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> RateComparison | NotComputed:
    """Compare two rates of independent incidents, exactly.

    Parameters
    ----------
    events_control : int
        Incidents, at least 0.
    exposure_control : float, > 0
        Hours, sessions or machines in which they were counted.
    events_treatment : int
    exposure_treatment : float, > 0
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's rate is higher.

    Returns
    -------
    RateComparison or NotComputed
        NotComputed when there are no events at all, or more than ten million.

    Raises
    ------
    ValueError
        If a count, an exposure, ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    Given the total of events, the treatment's are binomial with share r e_t / (r e_t + e_c). The p-value sums all
    outcomes that are no more likely than the one observed; the interval is Clopper and Pearson's, put on the ratio.
    As in R's ``poisson.test`` the two may disagree at the very edge of alpha when two-sided; one-sided they never do.

    Incidents must be independent, as crashes of machines may be. Clicks of a user are not: the user who clicks once
    clicks again, and this test then finds differences that are not there. Those are for ``compare_ratios``.

    References
    ----------
    .. [1] Przyborowski, Wilenski (1940), Biometrika 31(3/4). doi:10.1093/biomet/31.3-4.313
    .. [2] Clopper, Pearson (1934), Biometrika 26(4). doi:10.1093/biomet/26.4.404

    Examples
    --------
    >>> found = compare_rates(112, 5_100, 137, 5_200)
    >>> round(found.rate_ratio, 4), [round(end, 4) for end in found.interval], round(found.pvalue, 4)
    (1.1997, [0.9278, 1.554], 0.1633)
    """
    check_choices(alpha, alternative)
    for name, events, exposure in (
        ("control", events_control, exposure_control),
        ("treatment", events_treatment, exposure_treatment),
    ):
        if not (events >= 0 and math.isfinite(events) and events == math.floor(events)):
            raise ValueError(f"events_{name} is {events}; it must be a whole number, at least 0.")
        if not (exposure > 0 and math.isfinite(exposure)):
            raise ValueError(f"exposure_{name} is {exposure}; it must be a positive number.")
    total = int(events_control + events_treatment)
    if total == 0:
        return NotComputed("there are no events")
    if total > LARGEST_ENUMERATION:
        return NotComputed(f"there are {total:,} events, more than an exact test should list")
    share = exposure_treatment / (exposure_control + exposure_treatment)
    ends = clopper_pearson_interval(events_treatment, total, alpha=alpha, alternative=alternative)
    low, high = (max(0.0, end) for end in ends)
    scale = exposure_control / exposure_treatment
    return RateComparison(
        rate_ratio=(
            events_treatment / events_control * scale if events_control else NotComputed("control has no events")
        ),
        interval=(
            low / (1 - low) * scale if low < 1 else math.inf,
            high / (1 - high) * scale if high < 1 else math.inf,
        ),
        pvalue=_binomial_pvalue(int(events_treatment), total, share, alternative),
    )


def _binomial_pvalue(successes: int, n: int, share: float, alternative: Alternative) -> float:
    if alternative == "greater":
        return float(betainc(successes, n - successes + 1, share)) if successes else 1.0
    if alternative == "less":
        return float(betainc(n - successes, successes + 1, 1 - share)) if successes < n else 1.0
    outcomes = np.arange(n + 1)
    log_choose = gammaln(n + 1) - gammaln(outcomes + 1) - gammaln(n - outcomes + 1)
    log_probability = log_choose + outcomes * math.log(share) + (n - outcomes) * math.log1p(-share)
    return no_more_likely(log_probability, float(log_probability[successes]))
