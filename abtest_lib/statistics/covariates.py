"""Adjustment for several covariates at once (CUPED), from moments: of means, of proportions, and of ratios made linear.

What is explained is taken out with one slope a covariate, the same in every variant (and every stratum). A covariate
that is constant, or that the covariates named before it already explain, is left out and named in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from abtest_lib.statistics.comparison import Comparison
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.inference import compare_estimates
from abtest_lib.statistics.joint_moments import JointMoments, merge_joint_moments
from abtest_lib.statistics.ratios import linearised_columns
from abtest_lib.statistics.slopes import Slopes, column_count, residual_moments, with_slope_error, within_slopes
from abtest_lib.statistics.tails import Alternative, check_choices


@dataclass(frozen=True)
class AdjustedComparison:
    """Say how much a treatment moved a metric, less what the covariates explain, and what they explain.

    Parameters
    ----------
    comparison : Comparison
        Of the adjusted means.
    unadjusted : Comparison
        Of the means as they are.
    variance_removed : float
        Share of the squared standard error of the unadjusted effect that the adjustment took away; slightly below 0
        where it did harm.
    slopes : Slopes
    """

    comparison: Comparison
    unadjusted: Comparison
    variance_removed: float
    slopes: Slopes


def covariate_adjusted_estimates(
    control: JointMoments, treatment: JointMoments, *, slopes: Sequence[float]
) -> tuple[MeanEstimate, MeanEstimate]:
    """Return what each variant's mean would be with the covariates' means over both variants.

    Parameters
    ----------
    control, treatment : JointMoments
        Columns: outcome, covariates; at least two units each.
    slopes : sequence of float, one a covariate
        See ``within_slopes``.

    Returns
    -------
    tuple of MeanEstimate
        Control, treatment; errors are those of the residuals.

    Raises
    ------
    ValueError
        If a variant has fewer than two units, or the columns and slopes do not fit together.

    References
    ----------
    .. [1] Lin (2013), Annals of Applied Statistics 7(1). doi:10.1214/12-AOAS583

    Examples
    --------
    >>> arms = [JointMoments.from_values([1, 2], [1, 3]), JointMoments.from_values([6, 9], [2, 4])]
    >>> [arm.mean for arm in covariate_adjusted_estimates(*arms, slopes=[1.0])]
    [2.0, 7.0]
    """
    column_count([control, treatment])
    at = merge_joint_moments([control, treatment]).means[1:]
    control, treatment = (MeanEstimate.of_mean(residual_moments(arm, slopes, at)) for arm in (control, treatment))
    return control, treatment


def compare_means_with_covariates(
    control: JointMoments, treatment: JointMoments, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> AdjustedComparison | NotComputed:
    """Compare the mean of a metric, less what one or several pre-exposure covariates explain (CUPED).

    Parameters
    ----------
    control, treatment : JointMoments
        Columns: the metric, and covariates that were fixed before the unit's exposure. A proportion is a metric of
        values 0 and 1.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's mean is higher.

    Returns
    -------
    AdjustedComparison or NotComputed
        NotComputed when a variant has fewer than two units, when a value was not finite, when nothing varies or the
        covariates leave nothing, and with two or more covariates when there are fewer than ten units a covariate.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be, or the variants have not the same number of columns.

    Notes
    -----
    Effect: (m_t - m_c) - slopes · (x_t - x_c), the slopes those of ``within_slopes``. Test, interval and relative
    interval are those of ``inference.compare_adjusted_means``, which this is for one covariate. With two or more the
    error also counts what estimating the slopes costs (``with_slope_error``).

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413
    .. [2] Lin (2013), Annals of Applied Statistics 7(1). doi:10.1214/12-AOAS583

    Examples
    --------
    >>> control = JointMoments.from_values([9, 11, 10, 12, 8, 13, 9, 12, 10, 11], [4, 6, 4, 7, 3, 7, 5, 6, 5, 5],
    ...                                    [1, 0, 1, 0, 0, 1, 0, 0, 1, 1])
    >>> treatment = JointMoments.from_values([12, 14, 13, 11, 15, 12, 14, 11, 13, 15], [5, 7, 6, 3, 7, 5, 6, 4, 5, 8],
    ...                                      [0, 1, 1, 0, 1, 1, 0, 0, 0, 1])
    >>> result = compare_means_with_covariates(control, treatment)
    >>> round(result.comparison.effect, 3), round(result.unadjusted.effect, 3), round(result.variance_removed, 3)
    (2.105, 2.5, 0.825)
    """
    check_choices(alpha, alternative)
    column_count([control, treatment])
    refusal = _refusal(control, treatment)
    if refusal:
        return refusal
    none = [0.0] * (len(control.means) - 1)
    options = {"alpha": alpha, "alternative": alternative}
    unadjusted = compare_estimates(*covariate_adjusted_estimates(control, treatment, slopes=none), **options)
    if isinstance(unadjusted, NotComputed):
        return unadjusted
    slopes = within_slopes([control, treatment])
    crowd = slopes.too_many(control.n + treatment.n)
    if crowd:
        return crowd
    arms = covariate_adjusted_estimates(control, treatment, slopes=slopes.values)
    if arms[0].squared_error + arms[1].squared_error == 0:
        return slopes.nothing_left
    apart = [there - here for here, there in zip(control.means[1:], treatment.means[1:], strict=True)]
    share = treatment.n / (control.n + treatment.n)
    arms = with_slope_error(arms, [control, treatment], slopes, apart, share)
    result = compare_estimates(*arms, **options)
    if isinstance(result, NotComputed):
        return result
    result = replace(result, method="covariate-adjusted (CUPED) Welch t test and interval; Fieller relative interval")
    return AdjustedComparison(result, unadjusted, variance_removed(result, unadjusted), slopes)


def compare_ratios_with_covariates(
    control: JointMoments, treatment: JointMoments, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> AdjustedComparison | NotComputed:
    """Compare a ratio metric, less what one or several pre-exposure covariates explain (CUPED).

    Parameters
    ----------
    control, treatment : JointMoments
        Columns: numerator, denominator, and covariates fixed before the exposure, such as the numerator and the
        denominator of an earlier period, each a column of its own.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's ratio is higher.

    Returns
    -------
    AdjustedComparison or NotComputed
        NotComputed as for ``compare_means_with_covariates``, and when a denominator is zero in total.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be, or the variants have not the same number of columns, at
        least two.

    Notes
    -----
    Each variant's ratio is made linear (``ratios.linearised_columns``) and what a unit adds to it is regressed on the
    covariates. ``ratios.compare_adjusted_ratios`` uses one covariate, the earlier ratio made linear in the same way;
    here the two columns of that period have a slope each, which explains as much or more.

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413
    .. [2] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> arms = [JointMoments.from_values([1, 2, 4, 2, 3], [2, 4, 6, 3, 5], [1, 1, 3, 2, 2]),
    ...         JointMoments.from_values([2, 2, 5, 3, 4], [2, 5, 6, 3, 6], [1, 2, 3, 1, 4])]
    >>> result = compare_ratios_with_covariates(*arms)
    >>> round(result.comparison.effect, 3), round(result.unadjusted.effect, 3)
    (0.131, 0.127)
    """
    check_choices(alpha, alternative)
    column_count([control, treatment])
    refusal = _refusal(control, treatment)
    if refusal:
        return refusal
    linear = [linearised_columns(arm) for arm in (control, treatment)]
    for name, arm in zip(("control", "treatment"), linear, strict=True):
        if isinstance(arm, NotComputed):
            return NotComputed(f"of {name}: {arm.reason}")
    result = compare_means_with_covariates(*linear, alpha=alpha, alternative=alternative)
    if isinstance(result, NotComputed):
        return result
    method = "delta method clustered on the unit, covariate-adjusted, Welch t; Fieller relative interval"
    return replace(result, comparison=replace(result.comparison, method=method))


def variance_removed(comparison: Comparison, unadjusted: Comparison) -> float:
    """Return the share of an effect's squared standard error that an adjustment took away.

    Parameters
    ----------
    comparison, unadjusted : Comparison
        With and without the adjustment.

    Returns
    -------
    float
        At most 1; negative where the adjustment did harm.

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413

    Examples
    --------
    >>> wide, narrow = [compare_estimates(MeanEstimate(10.0, error, 99), MeanEstimate(11.0, error, 99))
    ...                 for error in (0.04, 0.01)]
    >>> round(variance_removed(narrow, wide), 6)
    0.75
    """
    return 1 - (comparison.standard_error / unadjusted.standard_error) ** 2


def _refusal(control: JointMoments, treatment: JointMoments) -> NotComputed | None:
    for name, arm in (("control", control), ("treatment", treatment)):
        if arm.n < 2:
            return NotComputed(f"{name} has {arm.n} unit{'' if arm.n == 1 else 's'}; a mean needs at least 2")
        if not arm.finite:
            return NotComputed(f"a value of {name} is not a finite number")
    return None
