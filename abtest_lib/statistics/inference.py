"""Effect of a treatment on a proportion or a mean: estimate, interval, p-value, and the relative effect.

Everywhere an effect is treatment minus control and a relative effect is that over the control's mean (its absolute
value, so that the signs agree). A comparison is put together here; its parts are in ``proportions`` for counts, in
``estimates`` and ``intervals`` for means, and in ``tails`` for both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from abtest_lib.statistics.estimates import (
    MeanEstimate,
    NotComputed,
    adjusted_estimates,
    relative_standard_error,
    welch_df,
    within_arm_theta,
)
from abtest_lib.statistics.intervals import delta_interval, fieller_interval, wald_interval
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.proportions import newcombe_interval, pooled_z, score_ratio_interval
from abtest_lib.statistics.tails import Alternative, Interval, check_choices, check_counts, tail_pvalue


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
    effect_interval : tuple of float
        At ``confidence_level``; one end is infinite under a one-sided alternative.
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
    effect_interval: Interval
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


def compare_proportions(
    successes_control: int,
    n_control: int,
    successes_treatment: int,
    n_treatment: int,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> Comparison | NotComputed:
    """Compare the share of units that succeed in treatment and control.

    Parameters
    ----------
    successes_control, successes_treatment : int
        Units with the outcome, between 0 and n.
    n_control, n_treatment : int
        Units, at least 0.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's share is higher.

    Returns
    -------
    Comparison or NotComputed
        NotComputed when a variant has no units. When nobody or everybody succeeded in both, the pooled variance is
        zero: ``statistic`` and ``pvalue`` are NotComputed, the interval of the effect still holds. Without a success
        in the control there is neither a relative effect nor an upper end to its interval: both are NotComputed.

    Raises
    ------
    ValueError
        If successes are not between 0 and n, or ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    Test: z with the pooled variance (Pearson's chi-squared without continuity correction). Effect interval:
    Newcombe's hybrid score (method 10). Relative interval: Koopman's, the ratios that the score test does not reject;
    at a ratio of 1 that is the z test, so it excludes zero exactly when the p-value is below alpha. Newcombe's agrees
    with both but for tables at the very edge of alpha.

    References
    ----------
    .. [1] Newcombe (1998), Statistics in Medicine 17, 873-890.
       doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I
    .. [2] Koopman (1984), Biometrics 40(2). doi:10.2307/2531405

    Examples
    --------
    >>> result = compare_proportions(155, 5_000, 190, 5_000)
    >>> round(result.effect, 4), round(result.pvalue, 4)
    (0.007, 0.0551)
    >>> [round(end, 4) for end in result.effect_interval]
    [-0.0002, 0.0142]
    >>> [round(end, 4) for end in result.relative_interval]
    [-0.0045, 0.5095]
    """
    check_choices(alpha, alternative)
    check_counts(successes_control, n_control, "successes_control", "n_control")
    check_counts(successes_treatment, n_treatment, "successes_treatment", "n_treatment")
    if n_control == 0 or n_treatment == 0:
        return NotComputed(f"{'control' if n_control == 0 else 'treatment'} has no units")
    control = MeanEstimate.of_proportion(successes_control, n_control)
    treatment = MeanEstimate.of_proportion(successes_treatment, n_treatment)
    effect = treatment.mean - control.mean
    statistic: float | NotComputed = pooled_z(successes_control, n_control, successes_treatment, n_treatment)
    pvalue: float | NotComputed
    if math.isnan(statistic):
        word = "no" if successes_control == 0 else "every"
        statistic = pvalue = NotComputed(f"{word} unit of control and treatment has the outcome, so nothing varies")
    else:
        pvalue = tail_pvalue(statistic, alternative)
    counts = (successes_control, n_control, successes_treatment, n_treatment)
    relative_effect = _relative_effect(control.mean, treatment.mean)
    relative_interval = (
        relative_effect
        if isinstance(relative_effect, NotComputed)
        else score_ratio_interval(*counts, alpha=alpha, alternative=alternative)
    )
    return Comparison(
        effect=effect,
        effect_interval=newcombe_interval(*counts, alpha=alpha, alternative=alternative),
        relative_effect=relative_effect,
        relative_interval=relative_interval,
        statistic=statistic,
        df=None,
        pvalue=pvalue,
        confidence_level=1 - alpha,
        alternative=alternative,
        method="two-proportion z test (pooled); Newcombe interval; Koopman relative interval",
        standard_error=math.sqrt(control.squared_error + treatment.squared_error),
    )


def compare_means(
    control: Moments,
    treatment: Moments,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> Comparison | NotComputed:
    """Compare the mean of a metric in treatment and control without assuming equal variances.

    Parameters
    ----------
    control, treatment : Moments
        Of the metric's values, one a unit.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's mean is higher.

    Returns
    -------
    Comparison or NotComputed
        NotComputed when a variant has fewer than two units, when neither varies, or when a value was not finite.
        The relative parts are NotComputed when the control's mean is not clearly different from zero.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    Welch's t with Welch-Satterthwaite degrees of freedom. The relative interval is Fieller's with the same degrees
    of freedom, so that it excludes zero exactly when the p-value is below alpha.

    References
    ----------
    .. [1] Welch (1947), Biometrika 34(1/2). doi:10.1093/biomet/34.1-2.28
    .. [2] Fieller (1954), JRSS B 16(2). doi:10.1111/j.2517-6161.1954.tb00159.x

    Examples
    --------
    >>> control = Moments.from_values([9.0, 11.0, 10.0, 12.0, 8.0])
    >>> treatment = Moments.from_values([12.0, 14.0, 13.0, 11.0, 15.0])
    >>> result = compare_means(control, treatment)
    >>> result.effect, round(result.df, 1), round(result.pvalue, 4)
    (3.0, 8.0, 0.0171)
    """
    check_choices(alpha, alternative)
    for name, moments in (("control", control), ("treatment", treatment)):
        if moments.n < 2:
            return NotComputed(f"{name} has {moments.n} unit{'' if moments.n == 1 else 's'}; a mean needs at least 2")
    return compare_estimates(
        MeanEstimate.of_mean(control), MeanEstimate.of_mean(treatment), alpha=alpha, alternative=alternative
    )


def compare_adjusted_means(
    control: CoMoments,
    treatment: CoMoments,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    theta: float | None = None,
) -> Comparison | NotComputed:
    """Compare the mean of a metric in treatment and control, less what a pre-exposure covariate explains (CUPED).

    Parameters
    ----------
    control, treatment : CoMoments
        Of the metric and of a covariate that was fixed before the unit's exposure.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's mean is higher.
    theta : float, optional
        Outcome per unit of the covariate; default ``within_arm_theta``. With 0 this is ``compare_means``.

    Returns
    -------
    Comparison or NotComputed
        With an ``adjustment``. NotComputed as in ``compare_means``, and when the covariate leaves no variance.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    Effect: (m_t - m_c) - theta (x_t - x_c). Test and interval: Welch on y - theta x. The relative interval is
    Fieller's; its reference is the control's *adjusted* mean, m_c - theta (x_c - x) with x the covariate's mean over
    both variants: what the control would show with the covariate of all units.

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413
    .. [2] Lin (2013), Annals of Applied Statistics 7(1). doi:10.1214/12-AOAS583

    Examples
    --------
    >>> control = CoMoments.from_values([9.0, 11.0, 10.0, 12.0, 8.0], [4.0, 6.0, 4.5, 7.0, 3.5])
    >>> treatment = CoMoments.from_values([12.0, 14.0, 13.0, 11.0, 15.0], [5.0, 6.5, 6.0, 3.5, 7.5])
    >>> result = compare_adjusted_means(control, treatment)
    >>> round(result.effect, 3), round(result.adjustment.theta, 3), round(result.adjustment.variance_removed, 3)
    (2.272, 1.039, 0.961)
    """
    unadjusted = compare_means(control.outcome, treatment.outcome, alpha=alpha, alternative=alternative)
    if isinstance(unadjusted, NotComputed):
        return unadjusted
    if theta is None:
        theta = within_arm_theta(control, treatment)
    arms = adjusted_estimates(control, treatment, theta=theta)
    if arms[0].squared_error + arms[1].squared_error == 0:
        return NotComputed("the covariate leaves no variance in control or treatment")
    adjusted = compare_estimates(*arms, alpha=alpha, alternative=alternative)
    if isinstance(adjusted, NotComputed):
        return adjusted
    return replace(
        adjusted,
        method="covariate-adjusted (CUPED) Welch t test and interval; Fieller relative interval",
        adjustment=Adjustment(
            theta=theta,
            variance_removed=1 - (adjusted.standard_error / unadjusted.standard_error) ** 2,
            unadjusted_effect=unadjusted.effect,
            unadjusted_interval=unadjusted.effect_interval,
        ),
    )


def compare_estimates(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    df: float | None = None,
) -> Comparison | NotComputed:
    """Compare two independent estimates of a mean by Welch's t.

    Parameters
    ----------
    control, treatment : MeanEstimate
        Of one number each.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
    df : float, optional
        Degrees of freedom of test and intervals; default Welch-Satterthwaite's.

    Returns
    -------
    Comparison or NotComputed
        NotComputed when neither estimate has any error, or one is not finite.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Examples
    --------
    >>> result = compare_estimates(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480))
    >>> round(result.statistic, 6), [round(end, 3) for end in result.effect_interval]
    (2.0, [0.011, 1.189])
    """
    check_choices(alpha, alternative)
    refusal = _refusal(control, treatment)
    if refusal:
        return refusal
    if df is None:
        df = welch_df(control, treatment)
    effect = treatment.mean - control.mean
    standard_error = math.sqrt(control.squared_error + treatment.squared_error)
    statistic = effect / standard_error
    return Comparison(
        effect=effect,
        effect_interval=wald_interval(control, treatment, alpha=alpha, alternative=alternative, df=df),
        relative_effect=_relative_effect(control.mean, treatment.mean),
        relative_interval=fieller_interval(control, treatment, alpha=alpha, alternative=alternative, df=df),
        statistic=statistic,
        df=df,
        pvalue=tail_pvalue(statistic, alternative, df),
        confidence_level=1 - alpha,
        alternative=alternative,
        method="Welch t test and interval; Fieller relative interval",
        standard_error=standard_error,
    )


def compare_relative_by_delta(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    df: float | None = None,
) -> RelativeComparison | NotComputed:
    """Compare two estimates on the relative scale by the plain delta method.

    For those who must match a program that works so; on rare or skewed metrics its interval covers too little, and
    its p-value is another than that of the effect. Our own reports use ``compare_means``.

    Parameters
    ----------
    control, treatment : MeanEstimate
        Of one number each.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
    df : float, optional
        Default Welch-Satterthwaite's on the absolute scale.

    Returns
    -------
    RelativeComparison or NotComputed
        NotComputed when the control's mean is zero, neither estimate has any error, or one is not finite.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Examples
    --------
    >>> result = compare_relative_by_delta(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480))
    >>> round(result.relative_effect, 3), round(result.standard_error, 4)
    (0.06, 0.0308)
    """
    check_choices(alpha, alternative)
    refusal = _refusal(control, treatment)
    if refusal:
        return refusal
    relative_effect = _relative_effect(control.mean, treatment.mean)
    if isinstance(relative_effect, NotComputed):
        return relative_effect
    if df is None:
        df = welch_df(control, treatment)
    standard_error = float(relative_standard_error(control, treatment))
    if standard_error == 0:
        return NotComputed("the relative effect has no error left to measure it against")
    statistic = relative_effect / standard_error
    return RelativeComparison(
        relative_effect=relative_effect,
        relative_interval=delta_interval(control, treatment, alpha=alpha, alternative=alternative, df=df),
        standard_error=standard_error,
        statistic=statistic,
        df=df,
        pvalue=tail_pvalue(statistic, alternative, df),
        confidence_level=1 - alpha,
        alternative=alternative,
        method="delta method on the relative effect",
    )


def _relative_effect(mean_control: float, mean_treatment: float) -> float | NotComputed:
    if mean_control == 0:
        return NotComputed("the mean of the control is zero")
    return (mean_treatment - mean_control) / abs(mean_control)


def _refusal(control: MeanEstimate, treatment: MeanEstimate) -> NotComputed | None:
    for name, estimate in (("control", control), ("treatment", treatment)):
        if not (math.isfinite(estimate.mean) and math.isfinite(estimate.squared_error)):
            return NotComputed(f"a value of {name} is not a finite number")
    if control.squared_error + treatment.squared_error == 0:
        return NotComputed("no value varies in control or treatment")
    return None
