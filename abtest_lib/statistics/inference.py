"""Effect of a treatment on a proportion or a mean: estimate, interval, p-value, and the relative effect.

Everywhere an effect is treatment minus control and a relative effect is that over the control's mean (its absolute
value, so that the signs agree). A comparison is put together here; its parts are in ``proportions`` for counts, in
``estimates`` and ``intervals`` for means, and in ``tails`` for both.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from abtest_lib.statistics.comparison import Adjustment, Comparison, RelativeComparison
from abtest_lib.statistics.estimates import (
    MeanEstimate,
    NotComputed,
    adjusted_estimates,
    relative_standard_error,
    welch_df,
    within_arm_theta,
)
from abtest_lib.statistics.intervals import (
    NO_RATIO,
    NOTHING_VARIES,
    UNBOUNDED,
    RelativeMethod,
    delta_interval,
    relative_interval,
    wald_interval,
)
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.proportions import newcombe_interval, pooled_z, score_ratio_interval, unpooled_z
from abtest_lib.statistics.score_intervals import miettinen_nurminen_interval
from abtest_lib.statistics.tails import Alternative, Interval, check_choices, check_counts, tail_pvalue

ShareTest = Literal["pooled", "unpooled"]
ShareInterval = Literal["newcombe", "miettinen-nurminen", "wald"]
ShareRelativeMethod = Literal["koopman", "fieller", "delta"]

TOO_LARGE = "the numbers are too large to compute with"
TESTS = {"pooled": pooled_z, "unpooled": unpooled_z}
NAMES = {"newcombe": "Newcombe", "miettinen-nurminen": "Miettinen-Nurminen", "wald": "Wald", "koopman": "Koopman",
         "fieller": "Fieller", "delta": "delta"}  # fmt: skip


def compare_proportions(
    successes_control: int,
    n_control: int,
    successes_treatment: int,
    n_treatment: int,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    test: ShareTest = "pooled",
    interval: ShareInterval = "newcombe",
    relative: ShareRelativeMethod = "koopman",
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
    test : {"pooled", "unpooled"}
        Variance of the z test: of one common share, or of each variant's own.
    interval : {"newcombe", "miettinen-nurminen", "wald"}
        Of the effect. Wald's is for programs that must be matched; it fails on rare events.
    relative : {"koopman", "fieller", "delta"}
        Method of the interval of the relative effect. Fieller's and the delta method's rest on the normal distribution
        of both shares and are for programs that must be matched.

    Returns
    -------
    Comparison or NotComputed
        NotComputed when a variant has no units. When nobody or everybody succeeded in both, the variance is zero:
        ``statistic`` and ``pvalue`` are NotComputed, the interval of the effect still holds (but for Wald's). Without
        a success in the control there is neither a relative effect nor an upper end to its interval: both are
        NotComputed.

    Raises
    ------
    ValueError
        If successes are not between 0 and n, or another argument is not what it must be.

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
    check_methods(test, interval, relative)
    check_counts(successes_control, n_control, "successes_control", "n_control")
    check_counts(successes_treatment, n_treatment, "successes_treatment", "n_treatment")
    if n_control == 0 or n_treatment == 0:
        return NotComputed(f"{'control' if n_control == 0 else 'treatment'} has no units")
    counts = (successes_control, n_control, successes_treatment, n_treatment)
    control = MeanEstimate.of_proportion(successes_control, n_control)
    treatment = MeanEstimate.of_proportion(successes_treatment, n_treatment)
    statistic: float | NotComputed = TESTS[test](*counts)
    pvalue: float | NotComputed
    if math.isnan(statistic):
        statistic = pvalue = NotComputed(without_variation(*counts))
    else:
        pvalue = tail_pvalue(statistic, alternative)
    options = {"alpha": alpha, "alternative": alternative}
    return Comparison(
        effect=treatment.mean - control.mean,
        effect_interval=_share_interval(interval, counts, (control, treatment), options),
        relative_effect=_relative_effect(control.mean, treatment.mean),
        relative_interval=_share_relative_interval(relative, counts, (control, treatment), options),
        statistic=statistic,
        df=None,
        pvalue=pvalue,
        confidence_level=1 - alpha,
        alternative=alternative,
        method=share_method(test, interval, relative),
        standard_error=math.sqrt(control.squared_error + treatment.squared_error),
    )


def compare_means(
    control: Moments,
    treatment: Moments,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    relative: RelativeMethod = "fieller",
) -> Comparison | NotComputed:
    """Compare the mean of a metric in treatment and control without assuming equal variances.

    Parameters
    ----------
    control, treatment : Moments
        Of the metric's values, one a unit.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's mean is higher.
    relative : {"fieller", "delta"}
        Method of the interval of the relative effect.

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
            return NotComputed(too_few(name, moments.n))
    estimates = MeanEstimate.of_mean(control), MeanEstimate.of_mean(treatment)
    return compare_estimates(*estimates, alpha=alpha, alternative=alternative, relative=relative)


def compare_adjusted_means(
    control: CoMoments,
    treatment: CoMoments,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    theta: float | None = None,
    relative: RelativeMethod = "fieller",
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
    relative : {"fieller", "delta"}
        Method of the interval of the relative effect.

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
    adjusted = compare_estimates(*arms, alpha=alpha, alternative=alternative, relative=relative)
    if isinstance(adjusted, NotComputed):
        return adjusted
    return replace(
        adjusted,
        method=f"covariate-adjusted (CUPED) {adjusted.method}",
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
    relative: RelativeMethod = "fieller",
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
    relative : {"fieller", "delta"}
        Method of the interval of the relative effect.

    Returns
    -------
    Comparison or NotComputed
        NotComputed when neither estimate has any error, or one is not finite.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Welch (1947), Biometrika 34(1-2). doi:10.1093/biomet/34.1-2.28
    .. [2] Fieller (1954), JRSS B 16(2). doi:10.1111/j.2517-6161.1954.tb00159.x

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
        relative_interval=relative_interval(
            control, treatment, method=relative, alpha=alpha, alternative=alternative, df=df
        ),
        statistic=statistic,
        df=df,
        pvalue=tail_pvalue(statistic, alternative, df),
        confidence_level=1 - alpha,
        alternative=alternative,
        method=f"Welch t test and interval; {NAMES[relative]} relative interval",
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

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

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


def too_few(name: str, n: int) -> str:
    """Return the reason why a variant with ``n`` units has no mean to compare.

    Parameters
    ----------
    name : {"control", "treatment"}
    n : int

    Returns
    -------
    str

    Examples
    --------
    >>> too_few("control", 1)
    'control has 1 unit; a mean needs at least 2'
    """
    return f"{name} has {n} unit{'' if n == 1 else 's'}; a mean needs at least 2"


def without_variation(successes_control: int, n_control: int, successes_treatment: int, n_treatment: int) -> str:
    """Return the reason why shares of which neither varies have no z test.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int
        Of which, in each variant, nobody or everybody succeeded.

    Returns
    -------
    str

    Examples
    --------
    >>> without_variation(0, 50, 0, 60)
    'no unit of control and treatment has the outcome, so nothing varies'
    """
    if (successes_control == 0) != (successes_treatment == 0):
        return "in each variant nobody or everybody has the outcome, so nothing varies"
    word = "no" if successes_control == 0 else "every"
    return f"{word} unit of control and treatment has the outcome, so nothing varies"


def share_method(test: ShareTest, interval: ShareInterval, relative: ShareRelativeMethod) -> str:
    """Return the name of a way to compare proportions, for the report.

    Parameters
    ----------
    test, interval, relative : str
        As for ``compare_proportions``.

    Returns
    -------
    str

    Examples
    --------
    >>> share_method("pooled", "newcombe", "koopman")
    'two-proportion z test (pooled); Newcombe interval; Koopman relative interval'
    """
    return f"two-proportion z test ({test}); {NAMES[interval]} interval; {NAMES[relative]} relative interval"


def check_methods(test: str, interval: str, relative: str) -> None:
    """Raise where a way to compare proportions is not known.

    Parameters
    ----------
    test, interval, relative : str
        As for ``compare_proportions``.

    Raises
    ------
    ValueError
        If one is not known.

    Examples
    --------
    >>> check_methods("pooled", "newcombe", "katz")
    Traceback (most recent call last):
        ...
    ValueError: relative is 'katz'; it must be one of 'koopman', 'fieller', 'delta'.
    """
    for name, value, known in (
        ("test", test, ("pooled", "unpooled")),
        ("interval", interval, ("newcombe", "miettinen-nurminen", "wald")),
        ("relative", relative, ("koopman", "fieller", "delta")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, known))}.")


def _share_interval(method: str, counts: tuple, estimates: tuple, options: dict) -> Interval | NotComputed:
    if method == "wald":
        return wald_interval(*estimates, **options)
    return (newcombe_interval if method == "newcombe" else miettinen_nurminen_interval)(*counts, **options)


def _share_relative_interval(method: str, counts: tuple, estimates: tuple, options: dict) -> Interval | NotComputed:
    if counts[0] == 0:
        return NotComputed(NO_RATIO)
    if method == "koopman":
        return score_ratio_interval(*counts, **options)
    return relative_interval(*estimates, method=method, **options)


def _relative_effect(mean_control: float, mean_treatment: float) -> float | NotComputed:
    if mean_control == 0:
        return NotComputed(NO_RATIO)
    relative_effect = (mean_treatment - mean_control) / abs(mean_control)
    return relative_effect if math.isfinite(relative_effect) else NotComputed(UNBOUNDED)


def _refusal(control: MeanEstimate, treatment: MeanEstimate) -> NotComputed | None:
    for name, estimate in (("control", control), ("treatment", treatment)):
        if not (math.isfinite(estimate.mean) and math.isfinite(estimate.squared_error)):
            return NotComputed(f"a value of {name} is not a finite number")
    if control.squared_error + treatment.squared_error == 0:
        return NotComputed(NOTHING_VARIES)
    if not math.isfinite(control.squared_error + treatment.squared_error + abs(treatment.mean - control.mean)):
        return NotComputed(TOO_LARGE)
    return None
