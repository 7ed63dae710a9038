"""Ratio metrics: a sum over units over another sum over the same units, such as clicks per session.

Units are assigned, sessions are not; so the error of the ratio comes from the spread between units (delta method).
A ratio is first made linear: what a unit adds to it is (numerator - ratio * denominator) / mean denominator. From there
on it is a mean, and what serves means and covariates serves ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, within_arm_theta
from abtest_lib.statistics.inference import Adjustment, Comparison, compare_estimates
from abtest_lib.statistics.joint_moments import JointMoments, merge_joint_moments
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.tails import Alternative, check_choices

COLUMNS = 4
RATIO_METHOD = "delta method clustered on the unit, Welch t; Fieller relative interval"


def unit_totals(values: Iterable[float], units: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return each unit's sum of values and its number of events.

    Parameters
    ----------
    values : iterable of float
        One an event.
    units : iterable, as many
        To whom the event belongs.

    Returns
    -------
    tuple of array
        Sums and counts, in the order of the sorted units; the sum is nan where a value is.

    Raises
    ------
    ValueError
        If there are more of one than of the other.

    Examples
    --------
    >>> unit_totals([1.0, 2.0, 4.0], ["u2", "u1", "u2"])
    (array([2., 5.]), array([1., 2.]))
    """
    array, owners = (np.asarray(each if isinstance(each, np.ndarray) else list(each)) for each in (values, units))
    if array.size != owners.size:
        raise ValueError(f"units has {owners.size} entries; it must have as many as values, {array.size}.")
    _, index = np.unique(owners, return_inverse=True)
    return np.bincount(index, weights=array), np.bincount(index).astype(float)


def linearised(arm: CoMoments) -> Moments | NotComputed:
    """Return the moments of what each unit adds to the ratio, around the ratio itself.

    Parameters
    ----------
    arm : CoMoments
        ``outcome`` is the numerator, ``covariate`` the denominator.

    Returns
    -------
    Moments or NotComputed
        ``mean`` is the ratio. NotComputed when the denominator is zero in total, or a value was not finite.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> linearised(CoMoments.from_values([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]))
    Moments(n=3, mean=0.5, m2=0.0)
    """
    means = (arm.outcome.mean, arm.covariate.mean)
    scatter = ((arm.outcome.m2, arm.comoment), (arm.comoment, arm.covariate.m2))
    refusal = _refusal(means, scatter, (1,))
    if refusal:
        return refusal
    gradient = _gradient(means[0], means[1])
    return Moments(arm.n, means[0] / means[1], _form(gradient, scatter, gradient))


def linearised_with_covariate(arm: JointMoments) -> CoMoments | NotComputed:
    """Return the co-moments of what each unit adds to the ratio and to the ratio of the covariates.

    Parameters
    ----------
    arm : JointMoments
        Columns: numerator, denominator, and the covariate of each, fixed before the exposure.

    Returns
    -------
    CoMoments or NotComputed
        Means are the two ratios. NotComputed when a denominator is zero in total, or a value was not finite.

    Raises
    ------
    ValueError
        If there are not four columns.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> arm = JointMoments.from_values([1, 2, 4], [2, 4, 6], [1, 1, 3], [2, 2, 4])
    >>> both = linearised_with_covariate(arm)
    >>> round(both.outcome.mean, 3), round(both.covariate.mean, 3)
    (0.583, 0.625)
    """
    if len(arm.means) != COLUMNS:
        raise ValueError(f"arm has {len(arm.means)} columns; it must have {COLUMNS}.")
    refusal = _refusal(arm.means, arm.scatter, (1, 3))
    if refusal:
        return refusal
    post = np.array([*_gradient(*arm.means[:2]), 0.0, 0.0])
    pre = np.array([0.0, 0.0, *_gradient(*arm.means[2:])])
    outcome = Moments(arm.n, arm.means[0] / arm.means[1], _form(post, arm.scatter, post))
    covariate = Moments(arm.n, arm.means[2] / arm.means[3], _form(pre, arm.scatter, pre))
    return CoMoments(outcome, covariate, float(post @ np.array(arm.scatter) @ pre))


def linearised_columns(
    arm: JointMoments, *, ratio: float | None = None, denominator: float | None = None
) -> JointMoments | NotComputed:
    """Return the joint moments of what each unit adds to a ratio and of the covariates beside it.

    Parameters
    ----------
    arm : JointMoments
        Columns: numerator, denominator, and any number of covariates.
    ratio, denominator : float, optional
        Ratio, and mean denominator, around which to linearise; default those of ``arm``. Strata of one variant need
        those of the whole variant.

    Returns
    -------
    JointMoments or NotComputed
        Columns: what a unit adds, ratio + (numerator - ratio * denominator) / mean denominator, then the covariates.
        NotComputed when the denominator is zero in total, or a value was not finite.

    Raises
    ------
    ValueError
        If there are fewer than two columns.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> linearised_columns(JointMoments.from_values([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [5.0, 6.0, 7.0]))
    JointMoments(n=3, means=(0.5, 6.0), scatter=((0.0, 0.0), (0.0, 2.0)))
    """
    if len(arm.means) < 2:
        raise ValueError(f"arm has {len(arm.means)} column; it must have at least 2, numerator and denominator.")
    denominator = arm.means[1] if denominator is None else denominator
    if not (arm.finite and math.isfinite(denominator)):
        return NotComputed("a value is not a finite number")
    if denominator == 0:
        return NotComputed("the denominator is zero in total")
    ratio = arm.means[0] / denominator if ratio is None else ratio
    gradient = _gradient(ratio * denominator, denominator)
    scatter = np.array(arm.scatter)
    own = _form(gradient, scatter[:2, :2], gradient)
    shared = gradient @ scatter[:2, 2:]
    mean = ratio + (arm.means[0] - ratio * arm.means[1]) / denominator
    columns = np.block([[np.array([[own]]), shared[None, :]], [shared[:, None], scatter[2:, 2:]]])
    return JointMoments(arm.n, (mean, *arm.means[2:]), tuple(tuple(float(entry) for entry in row) for row in columns))


def ratio_estimate(arm: CoMoments, *, numerator_ddof: int = 1) -> MeanEstimate | NotComputed:
    """Return the ratio of a variant with its delta-method variance.

    Parameters
    ----------
    arm : CoMoments
        ``outcome`` is the numerator, ``covariate`` the denominator.
    numerator_ddof : {0, 1}
        With 0 the numerator's own variance has divisor n, as GrowthBook has it where the numerator is 0 or 1.

    Returns
    -------
    MeanEstimate or NotComputed
        NotComputed below two units, when the denominator is zero in total, or a value was not finite.

    Raises
    ------
    ValueError
        If ``numerator_ddof`` is neither 0 nor 1.

    Notes
    -----
    (s_mm - 2 R s_md + R² s_dd) / (n d²), s with divisor n - 1, d the mean denominator. Times (n - 1) / n it is the
    cluster-robust variance CR0 of the regression of events on the variant.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> estimate = ratio_estimate(CoMoments.from_values([1, 0, 3, 2], [2, 1, 5, 2]))
    >>> estimate.mean, round(estimate.squared_error ** 0.5, 4)
    (0.6, 0.1178)
    """
    if numerator_ddof not in (0, 1):
        raise ValueError(f"numerator_ddof is {numerator_ddof}; it must be 0 or 1.")
    if arm.n < 2:
        return NotComputed(f"{arm.n} unit{'' if arm.n == 1 else 's'}; a ratio needs at least 2")
    moments = linearised(arm)
    if isinstance(moments, NotComputed):
        return moments
    excess = 0.0 if numerator_ddof else arm.outcome.m2 / arm.n / arm.covariate.mean**2
    return MeanEstimate.of_mean(replace(moments, m2=max(moments.m2 - excess, 0.0)))


def compare_ratios(
    control: CoMoments, treatment: CoMoments, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> Comparison | NotComputed:
    """Compare a ratio metric in treatment and control, clustered on the unit.

    Parameters
    ----------
    control, treatment : CoMoments
        ``outcome`` is the numerator, ``covariate`` the denominator, one of each a unit.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's ratio is higher.

    Returns
    -------
    Comparison or NotComputed
        NotComputed as for ``ratio_estimate``, and when no unit differs from its variant's ratio.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> control = CoMoments.from_values([1, 0, 3, 2, 1], [2, 1, 5, 2, 4])
    >>> treatment = CoMoments.from_values([2, 1, 4, 2, 3], [2, 2, 5, 3, 3])
    >>> result = compare_ratios(control, treatment)
    >>> round(result.effect, 3), round(result.pvalue, 3)
    (0.3, 0.084)
    """
    check_choices(alpha, alternative)
    arms = {"control": ratio_estimate(control), "treatment": ratio_estimate(treatment)}
    for name, estimate in arms.items():
        if isinstance(estimate, NotComputed):
            return NotComputed(f"of {name}: {estimate.reason}")
    result = compare_estimates(*arms.values(), alpha=alpha, alternative=alternative)
    if isinstance(result, NotComputed):
        return result
    return replace(result, method=RATIO_METHOD)


def equal_weight_theta(control: CoMoments, treatment: CoMoments) -> float:
    """Return the slope within variants when each variant counts the same, however many units it has.

    GrowthBook adjusts ratios so. ``within_arm_theta``, which is ours, counts each unit the same.

    Parameters
    ----------
    control, treatment : CoMoments
        At least two units each.

    Returns
    -------
    float
        0 where the covariate is constant in both variants, nan where a value was not finite.

    Raises
    ------
    ValueError
        If a variant has fewer than two units.

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413

    Examples
    --------
    >>> equal_weight_theta(CoMoments.from_values([1, 2], [1, 3]), CoMoments.from_values([6, 9], [2, 4]))
    1.0
    """
    if min(control.n, treatment.n) < 2:
        raise ValueError(f"control.n is {control.n} and treatment.n is {treatment.n}; both must be at least 2.")
    if not (control.covariate_varies or treatment.covariate_varies):
        return 0.0
    weights = [1 / (arm.n - 1) for arm in (control, treatment)]
    spread = weights[0] * control.covariate.m2 + weights[1] * treatment.covariate.m2
    return (weights[0] * control.comoment + weights[1] * treatment.comoment) / spread


def adjusted_ratio_estimates(
    control: JointMoments, treatment: JointMoments, *, theta: float
) -> tuple[MeanEstimate, MeanEstimate] | NotComputed:
    """Return what each variant's ratio would be with the covariates' ratio over all units.

    Parameters
    ----------
    control, treatment : JointMoments
        Columns as for ``linearised_with_covariate``.
    theta : float
        Ratio per unit of the covariates' ratio.

    Returns
    -------
    tuple of MeanEstimate, or NotComputed
        Control, treatment. NotComputed below two units or when a denominator is zero in total.

    Raises
    ------
    ValueError
        If there are not four columns.

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413

    Examples
    --------
    >>> arms = [JointMoments.from_values([1, 2, 4], [2, 4, 6], [1, 1, 3], [2, 2, 4]),
    ...         JointMoments.from_values([2, 2, 5], [2, 5, 6], [1, 2, 3], [2, 3, 4])]
    >>> [round(arm.mean, 3) for arm in adjusted_ratio_estimates(*arms, theta=0.5)]
    [0.594, 0.683]
    """
    if not math.isfinite(theta):
        raise ValueError(f"theta is {theta}; it must be a finite number.")
    linear = [linearised_with_covariate(arm) for arm in (control, treatment)]
    for name, arm, made in zip(("control", "treatment"), (control, treatment), linear, strict=True):
        if arm.n < 2:
            return NotComputed(f"{name} has {arm.n} unit{'' if arm.n == 1 else 's'}; a ratio needs at least 2")
        if isinstance(made, NotComputed):
            return NotComputed(f"of {name}: {made.reason}")
    means = merge_joint_moments([control, treatment]).means
    at = means[2] / means[3]
    estimates = []
    for arm in linear:
        residual = arm.outcome.m2 - 2 * theta * arm.comoment + theta**2 * arm.covariate.m2
        mean = arm.outcome.mean - theta * (arm.covariate.mean - at)
        kept = 0.0 if residual < 1e-13 * arm.outcome.m2 else residual
        estimates.append(MeanEstimate.of_mean(Moments(arm.n, mean, kept)))
    return estimates[0], estimates[1]


def compare_adjusted_ratios(
    control: JointMoments,
    treatment: JointMoments,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    theta: float | None = None,
) -> Comparison | NotComputed:
    """Compare a ratio metric, less what the same ratio before the exposure explains (CUPED).

    Parameters
    ----------
    control, treatment : JointMoments
        Columns: numerator, denominator, and the covariate of each, fixed before the exposure.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
    theta : float, optional
        Default ``within_arm_theta`` of the linearised ratios.

    Returns
    -------
    Comparison or NotComputed
        With an ``adjustment``. NotComputed as for ``compare_ratios``.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be, or there are not four columns.

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413

    Examples
    --------
    >>> arms = [JointMoments.from_values([1, 2, 4], [2, 4, 6], [1, 1, 3], [2, 2, 4]),
    ...         JointMoments.from_values([2, 2, 5], [2, 5, 6], [1, 2, 3], [2, 3, 4])]
    >>> result = compare_adjusted_ratios(*arms)
    >>> round(result.effect, 3), round(result.adjustment.unadjusted_effect, 3)
    (0.087, 0.109)
    """
    check_choices(alpha, alternative)
    plain = adjusted_ratio_estimates(control, treatment, theta=0.0)
    if isinstance(plain, NotComputed):
        return plain
    unadjusted = compare_estimates(*plain, alpha=alpha, alternative=alternative)
    if isinstance(unadjusted, NotComputed):
        return unadjusted
    if theta is None:
        theta = within_arm_theta(linearised_with_covariate(control), linearised_with_covariate(treatment))
    adjusted = adjusted_ratio_estimates(control, treatment, theta=theta)
    result = compare_estimates(*adjusted, alpha=alpha, alternative=alternative)
    if isinstance(result, NotComputed):
        return NotComputed("the covariates leave no variance in control or treatment")
    return replace(
        result,
        method="delta method clustered on the unit, covariate-adjusted, Welch t; Fieller relative interval",
        adjustment=Adjustment(
            theta=theta,
            variance_removed=1 - (result.standard_error / unadjusted.standard_error) ** 2,
            unadjusted_effect=unadjusted.effect,
            unadjusted_interval=unadjusted.effect_interval,
        ),
    )


def _gradient(numerator: float, denominator: float) -> np.ndarray:
    return np.array([1.0, -numerator / denominator]) / denominator


def _form(left: np.ndarray, scatter: Sequence[Sequence[float]], right: np.ndarray) -> float:
    matrix = np.array(scatter)
    value = float(left @ matrix @ right)
    # What rounding leaves of a spread that is zero is no spread.
    return value if value > 1e-14 * float(np.abs(left) @ np.abs(matrix) @ np.abs(right)) else 0.0


def _refusal(means: Sequence[float], scatter: Sequence[Sequence[float]], denominators: tuple[int, ...]) -> Any:
    if not all(math.isfinite(value) for value in (*means, *(entry for row in scatter for entry in row))):
        return NotComputed("a value is not a finite number")
    if any(means[index] == 0 for index in denominators):
        return NotComputed("the denominator is zero in total")
    return None
