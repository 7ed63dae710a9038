"""What takes both variants to have the same variance: standardised effects, and Student's t test.

For matching programs and papers that report them. Where variances differ and units are unequal Student's test errs far
more often than promised (docs/statistics.md); our own reports use Welch's, ``inference.compare_means``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from scipy.special import gammaln

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.inference import Comparison, compare_estimates
from abtest_lib.statistics.intervals import log_ratio_interval
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.tails import Alternative, Interval, check_choices, check_counts

Deviation = Literal["pooled", "average", "control"]


def pooled_estimates(control: Moments, treatment: Moments) -> tuple[MeanEstimate, MeanEstimate] | NotComputed:
    """Return both means with errors from one variance, that of both variants' units around their own means.

    Parameters
    ----------
    control, treatment : Moments

    Returns
    -------
    tuple of MeanEstimate, or NotComputed
        Each with ``n_control + n_treatment - 2`` degrees of freedom. NotComputed when a variant has no units, both
        have one, a value is not finite, or nothing varies.

    References
    ----------
    .. [1] Student (1908), Biometrika 6(1). doi:10.1093/biomet/6.1.1

    Examples
    --------
    >>> control, treatment = pooled_estimates(Moments(3, 2.0, 2.0), Moments(5, 4.0, 10.0))
    >>> treatment
    MeanEstimate(mean=4.0, squared_error=0.4, df=6)
    """
    for name, moments in (("control", control), ("treatment", treatment)):
        if moments.n < 1:
            return NotComputed(f"{name} has no units")
        if not (math.isfinite(moments.mean) and math.isfinite(moments.m2)):
            return NotComputed(f"a value of {name} is not a finite number")
    df = control.n + treatment.n - 2
    if df < 1:
        return NotComputed("control and treatment have 1 unit each; a variance needs at least 2 in one of them")
    variance = (control.m2 + treatment.m2) / df
    if variance == 0:
        return NotComputed("no value varies in control or treatment")
    return (
        MeanEstimate(control.mean, variance / control.n, df),
        MeanEstimate(treatment.mean, variance / treatment.n, df),
    )


def student_test(
    control: Moments, treatment: Moments, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> Comparison | NotComputed:
    """Compare two means by Student's t test, which takes their variances to be equal.

    Parameters
    ----------
    control, treatment : Moments
        Of one value a unit.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    Comparison or NotComputed
        As ``pooled_estimates``.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Student (1908), Biometrika 6(1). doi:10.1093/biomet/6.1.1

    Examples
    --------
    >>> result = student_test(Moments(3, 2.0, 2.0), Moments(5, 4.0, 10.0))
    >>> round(result.statistic, 4), result.df, round(result.pvalue, 4)
    (1.9365, 6, 0.1009)
    """
    check_choices(alpha, alternative)
    estimates = pooled_estimates(control, treatment)
    if isinstance(estimates, NotComputed):
        return estimates
    result = compare_estimates(*estimates, alpha=alpha, alternative=alternative, df=control.n + treatment.n - 2)
    if isinstance(result, NotComputed):
        return result
    return replace(result, method="Student t test and interval; Fieller relative interval")


def student_log_ratio_interval(
    control: Moments, treatment: Moments, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> Interval | NotComputed:
    """Return the relative effect's interval on the log scale, with one coefficient of variation for both variants.

    Parameters
    ----------
    control, treatment : Moments
        Of one value a unit; means above zero.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    tuple of float, or NotComputed
        Ends of the relative effect. NotComputed as ``pooled_estimates``, and when a mean is not above zero.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    Pools each variant's variance over its squared mean; the t quantile has n_c + n_t - 2 degrees of freedom.

    References
    ----------
    .. [1] Katz, Baptista, Azen, Pike (1978), Biometrics 34(3). doi:10.2307/2530610

    Examples
    --------
    >>> low, high = student_log_ratio_interval(Moments(30, 2.0, 20.0), Moments(50, 3.0, 100.0))
    >>> round(low, 4), round(high, 4)
    (0.2171, 0.8486)
    """
    check_choices(alpha, alternative)
    if not (control.mean > 0 and treatment.mean > 0):
        return NotComputed("a logarithm needs means above zero")
    estimates = pooled_estimates(*(Moments(arm.n, 1.0, arm.m2 / arm.mean**2) for arm in (control, treatment)))
    if isinstance(estimates, NotComputed):
        return estimates
    scaled = [
        MeanEstimate(arm.mean, one.squared_error * arm.mean**2, one.df)
        for arm, one in zip((control, treatment), estimates, strict=True)
    ]
    return log_ratio_interval(*scaled, alpha=alpha, alternative=alternative, df=estimates[0].df)


def cohens_d(control: Moments, treatment: Moments, *, deviation: Deviation = "pooled") -> float | NotComputed:
    """Return the effect in standard deviations of a unit.

    Parameters
    ----------
    control, treatment : Moments
        Of one value a unit; ``Moments.from_counts`` where values are 0 or 1.
    deviation : {"pooled", "average", "control"}
        Which standard deviation: that of all units around their variant's mean (Cohen's d), which needs equal
        variances; the root of both variances' mean (Bonett), which does not, nor does it depend on the allocation; or
        the control's alone (Glass's delta), where the treatment may change the spread.

    Returns
    -------
    float or NotComputed
        Treatment minus control over the standard deviation. NotComputed as ``pooled_estimates``; with "average" and
        "control" also when a variant whose variance is needed has fewer than two units or none.

    Raises
    ------
    ValueError
        If ``deviation`` is not known.

    References
    ----------
    .. [1] Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, 2nd ed. doi:10.4324/9780203771587
    .. [2] Bonett (2008), Psychological Methods 13(2), 99-109. doi:10.1037/1082-989X.13.2.99

    Examples
    --------
    >>> control, treatment = Moments(3, 2.0, 2.0), Moments(5, 4.0, 10.0)
    >>> [round(cohens_d(control, treatment, deviation=each), 4) for each in ("pooled", "average", "control")]
    [1.4142, 1.5119, 2.0]
    """
    if deviation not in ("pooled", "average", "control"):
        raise ValueError(f"deviation is {deviation!r}; it must be 'pooled', 'average' or 'control'.")
    return _standardised(control, treatment, deviation)


def cohens_h(successes_control: int, n_control: int, successes_treatment: int, n_treatment: int) -> float | NotComputed:
    """Return the effect on a share on the arcsine scale, on which its variance does not depend on the share.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int
        Units with the outcome, and all units, of each variant.

    Returns
    -------
    float or NotComputed
        2 arcsin √p_t - 2 arcsin √p_c, between -π and π. NotComputed when a variant has no units.

    Raises
    ------
    ValueError
        If counts are not those of units and of successes among them.

    References
    ----------
    .. [1] Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, 2nd ed. doi:10.4324/9780203771587

    Examples
    --------
    >>> round(cohens_h(155, 5_000, 190, 5_000), 4)
    0.0384
    """
    check_counts(successes_control, n_control, "successes_control", "n_control")
    check_counts(successes_treatment, n_treatment, "successes_treatment", "n_treatment")
    if n_control == 0 or n_treatment == 0:
        return NotComputed(f"{'control' if n_control == 0 else 'treatment'} has no units")
    control, treatment = successes_control / n_control, successes_treatment / n_treatment
    return 2 * math.asin(math.sqrt(treatment)) - 2 * math.asin(math.sqrt(control))


def hedges_g(control: Moments, treatment: Moments) -> float | NotComputed:
    """Return the effect in standard deviations of a unit, without Cohen's bias on few units.

    Parameters
    ----------
    control, treatment : Moments
        Of one value a unit.

    Returns
    -------
    float or NotComputed
        NotComputed as ``pooled_estimates``, and with fewer than four units in all.

    Notes
    -----
    Cohen's d times Γ(m/2) / (√(m/2) Γ((m - 1)/2)) with m = n_c + n_t - 2.

    References
    ----------
    .. [1] Hedges (1981), Journal of Educational Statistics 6(2). doi:10.3102/10769986006002107

    Examples
    --------
    >>> round(hedges_g(Moments(3, 2.0, 2.0), Moments(5, 4.0, 10.0)), 4)
    1.2284
    """
    d = _standardised(control, treatment, "pooled")
    if isinstance(d, NotComputed):
        return d
    df = control.n + treatment.n - 2
    if df < 2:
        return NotComputed("control and treatment have 3 units in all; the correction needs at least 4")
    return d * math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2)


def _standardised(control: Moments, treatment: Moments, deviation: Deviation) -> float | NotComputed:
    estimates = pooled_estimates(control, treatment)
    if isinstance(estimates, NotComputed):
        return estimates
    effect = treatment.mean - control.mean
    if deviation == "pooled":
        return effect / math.sqrt(estimates[0].squared_error * control.n)
    needed = {"control": control, "treatment": treatment} if deviation == "average" else {"control": control}
    for name, arm in needed.items():
        if arm.n < 2:
            return NotComputed(f"{name} has 1 unit; a variance needs at least 2")
    variance = sum(arm.variance for arm in needed.values()) / len(needed)
    return effect / math.sqrt(variance) if variance > 0 else NotComputed("no value varies in control")
