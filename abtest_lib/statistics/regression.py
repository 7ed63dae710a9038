"""Effects by regression: on a covariate (ANCOVA, Lin's interactions), and with events clustered in units.

Also GrowthBook's relative effect of an adjusted mean, for those who must match it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, adjusted_estimates, welch_df, within_arm_theta
from abtest_lib.statistics.inference import RelativeComparison
from abtest_lib.statistics.moments import CoMoments
from abtest_lib.statistics.tails import Alternative, Interval, check_choices, critical_value, interval_ends, tail_pvalue

Heteroscedastic = Literal["HC0", "HC2", "HC3"]
ClusterRobust = Literal["CR0", "CR1", "CR2"]
Gradient = Literal["expected", "observed"]


@dataclass(frozen=True)
class RegressionEffect:
    """Say what a regression makes of the treatment.

    Parameters
    ----------
    effect : float
        Treatment minus control, in the metric's unit.
    effect_interval : tuple of float
    standard_error, statistic, df, pvalue : float
    confidence_level : float
    alternative : {"two-sided", "greater", "less"}
    method : str
    theta : float or None
        Slope on the covariate, where there is one for both variants.
    """

    effect: float
    effect_interval: Interval
    standard_error: float
    statistic: float
    df: float
    pvalue: float
    confidence_level: float
    alternative: Alternative
    method: str
    theta: float | None = None


def compare_by_ancova(
    control: CoMoments, treatment: CoMoments, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> RegressionEffect | NotComputed:
    """Compare means by ordinary least squares on variant and covariate, with one residual variance for both variants.

    ``inference.compare_adjusted_means`` has the same effect and lets each variant have a variance of its own; reports
    use that one. This one is for those who must match a plain analysis of covariance.

    Parameters
    ----------
    control, treatment : CoMoments
        Of the metric and of a covariate that was fixed before the unit's exposure.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    RegressionEffect or NotComputed
        NotComputed when a variant has no units, below four units in all, when the covariate is constant within both
        variants, or leaves no variance.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    s² = residual sum of squares / (n - 3); variance of the effect s² (1 / n_c + 1 / n_t + (x_t - x_c)² / X), with X the
    covariate's sum of squared deviations within variants.

    References
    ----------
    .. [1] Lin (2013), Annals of Applied Statistics 7(1). doi:10.1214/12-AOAS583

    Examples
    --------
    >>> control = CoMoments.from_values([9.0, 11.0, 10.0, 12.0, 8.0], [4.0, 6.0, 4.5, 7.0, 3.5])
    >>> treatment = CoMoments.from_values([12.0, 14.0, 13.0, 11.0, 15.0], [5.0, 6.5, 6.0, 3.5, 7.5])
    >>> result = compare_by_ancova(control, treatment)
    >>> round(result.effect, 3), round(result.theta, 3), result.df
    (2.272, 1.039, 7)
    """
    check_choices(alpha, alternative)
    arms = (control, treatment)
    if min(arm.n for arm in arms) < 1 or control.n + treatment.n < 4:
        return NotComputed(f"control has {control.n} and treatment {treatment.n} units; both are needed, 4 in all")
    if not all(math.isfinite(v) for arm in arms for v in _numbers(arm)):
        return NotComputed("a value is not a finite number")
    if not (control.covariate_varies or treatment.covariate_varies):
        return NotComputed("the covariate is constant in both variants")
    theta = within_arm_theta(control, treatment)
    shift = treatment.covariate.mean - control.covariate.mean
    effect = treatment.outcome.mean - control.outcome.mean - theta * shift
    spread = control.covariate.m2 + treatment.covariate.m2
    total = control.outcome.m2 + treatment.outcome.m2
    residual = total - theta * (control.comoment + treatment.comoment)
    if residual <= 1e-13 * total:
        return NotComputed("the covariate leaves no variance in control or treatment")
    df = control.n + treatment.n - 3
    squared_error = residual / df * (1 / control.n + 1 / treatment.n + shift**2 / spread)
    return _effect(effect, math.sqrt(squared_error), df, alpha, alternative, "analysis of covariance, t test", theta)


def compare_by_lin_regression(
    outcomes: Any,
    treated: Any,
    covariates: Any,
    *,
    variance: Heteroscedastic = "HC2",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> RegressionEffect | NotComputed:
    """Compare means by regression on variant, centred covariates and their interactions (Lin).

    Parameters
    ----------
    outcomes : array, n values
    treated : array, n values of 0 or 1
    covariates : array, n values or n rows of k
        Fixed before the unit's exposure.
    variance : {"HC0", "HC2", "HC3"}
        Robust variance: plain, with each squared residual over 1 - leverage, or over its square.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    RegressionEffect or NotComputed
        ``df`` is n less the number of coefficients. NotComputed when a value is not finite, the columns are not
        independent, or no residual is left.

    Raises
    ------
    ValueError
        If lengths differ, ``treated`` is not 0 or 1, or ``variance``, ``alpha`` or ``alternative`` is not known.

    References
    ----------
    .. [1] Lin (2013), Annals of Applied Statistics 7(1). doi:10.1214/12-AOAS583

    Examples
    --------
    >>> y, x = [9.0, 11.0, 10.0, 12.0, 12.0, 14.0, 13.0, 11.5], [4.0, 6.0, 4.5, 7.0, 5.0, 6.5, 6.0, 3.5]
    >>> result = compare_by_lin_regression(y, [0, 0, 0, 0, 1, 1, 1, 1], x)
    >>> round(result.effect, 3), round(result.standard_error, 3), result.df
    (2.232, 0.289, 4)
    """
    check_choices(alpha, alternative)
    y, arm, x = _table(outcomes, treated, covariates, variance)
    method = f"regression with interactions (Lin), {variance}, t test"
    return _robust_effect(y, arm, x, True, variance, alpha, alternative, method)


def compare_by_robust_ancova(
    outcomes: Any,
    treated: Any,
    covariates: Any,
    *,
    variance: Heteroscedastic = "HC2",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> RegressionEffect | NotComputed:
    """Compare means by regression on variant and covariates, with a variance that variants may differ in.

    The effect is that of ``covariates.compare_means_with_covariates``, which needs moments only and whose error differs
    by terms of order 1 / n. This one is for those who must match a regression, one row a unit.

    Parameters
    ----------
    outcomes : array, n values
    treated : array, n values of 0 or 1
    covariates : array, n values or n rows of k
        Fixed before the unit's exposure.
    variance : {"HC0", "HC2", "HC3"}
        As for ``compare_by_lin_regression``.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    RegressionEffect or NotComputed
        As for ``compare_by_lin_regression``.

    Raises
    ------
    ValueError
        If lengths differ, ``treated`` is not 0 or 1, or ``variance``, ``alpha`` or ``alternative`` is not known.

    References
    ----------
    .. [1] MacKinnon, White (1985), Journal of Econometrics 29(3). doi:10.1016/0304-4076(85)90158-7

    Examples
    --------
    >>> y, x = [9.0, 11.0, 10.0, 12.0, 12.0, 14.0, 13.0, 11.5], [4.0, 6.0, 4.5, 7.0, 5.0, 6.5, 6.0, 3.5]
    >>> result = compare_by_robust_ancova(y, [0, 0, 0, 0, 1, 1, 1, 1], x)
    >>> round(result.effect, 3), round(result.standard_error, 3), result.df
    (2.232, 0.259, 5)
    """
    check_choices(alpha, alternative)
    y, arm, x = _table(outcomes, treated, covariates, variance)
    method = f"analysis of covariance, {variance}, t test"
    return _robust_effect(y, arm, x, False, variance, alpha, alternative, method)


def compare_by_clustered_regression(
    control: tuple[Any, Any],
    treatment: tuple[Any, Any],
    *,
    variance: ClusterRobust = "CR2",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> RegressionEffect | NotComputed:
    """Compare the mean of events that cluster in units, by regression of events on the variant.

    Parameters
    ----------
    control, treatment : tuple of two arrays
        Each unit's sum of values and its number of events; see ``ratios.unit_totals``.
    variance : {"CR0", "CR1", "CR2"}
        Plain; times G / (G - 1) times (N - 1) / (N - 2) for G units and N events; or corrected unit by unit.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    RegressionEffect or NotComputed
        ``df`` is Satterthwaite's with CR2, else G - 1. NotComputed when a variant has fewer than two units with events,
        a value is not finite, or no unit differs from its variant's mean.

    Raises
    ------
    ValueError
        If sums and counts differ in length, or ``variance``, ``alpha`` or ``alternative`` is not known.

    Notes
    -----
    CR0 is the delta method of ``ratios.ratio_estimate`` with divisor n in place of n - 1. With one column a variant the
    correction of CR2 is a factor 1 / (1 - n_g / N) on the square of a unit's residual sum.

    References
    ----------
    .. [1] Bell, McCaffrey (2002), Survey Methodology 28(2), 169-181;
       extended by doi:10.1080/07350015.2016.1247004
       https://www150.statcan.gc.ca/n1/pub/12-001-x/2002002/article/9058-eng.pdf
    .. [2] Pustejovsky, Tipton (2018), JBES 36(4). doi:10.1080/07350015.2016.1247004

    Examples
    --------
    >>> result = compare_by_clustered_regression(([1, 0, 3, 2], [2, 1, 5, 2]), ([2, 1, 4, 2], [2, 2, 5, 3]))
    >>> round(result.effect, 3), round(result.standard_error, 3), round(result.df, 1)
    (0.15, 0.134, 4.6)
    """
    check_choices(alpha, alternative)
    if variance not in ("CR0", "CR1", "CR2"):
        raise ValueError(f"variance is {variance!r}; it must be 'CR0', 'CR1' or 'CR2'.")
    means, squared_error, traces = [], 0.0, [0.0, 0.0]
    units, events = 0, 0.0
    for name, pair in (("control", control), ("treatment", treatment)):
        if len(pair) != 2:
            raise ValueError(f"{name} has {len(pair)} entries; it must be sums and counts.")
        sums, sizes = pair
        total, count = np.asarray(sums, dtype=float), np.asarray(sizes, dtype=float)
        if total.shape != count.shape:
            raise ValueError(f"{name} has {total.size} sums and {count.size} counts; it must have as many of each.")
        if not (np.isfinite(total).all() and np.isfinite(count).all()):
            return NotComputed(f"a value of {name} is not a finite number")
        total, count = total[count > 0], count[count > 0]
        if count.size < 2:
            return NotComputed(
                f"{name} has {count.size} unit{'' if count.size == 1 else 's'} with events; at least 2 are needed"
            )
        n = count.sum()
        means.append(float(total.sum() / n))
        correction = 1 / (1 - count / n) if variance == "CR2" else 1.0
        squared_error += float((np.square(total - count * means[-1]) * correction).sum() / n**2)
        weights = np.square(count) / (1 - count / n)
        traces[0] += 1 / n
        traces[1] += np.square(count / n**2).sum() + (weights.sum() ** 2 - np.square(weights).sum()) / n**6
        units, events = units + count.size, events + n
    if squared_error <= 1e-30 * max(abs(mean) for mean in means) ** 2:
        return NotComputed("no unit differs from its variant's mean")
    df = float(traces[0] ** 2 / traces[1]) if variance == "CR2" else float(units - 1)
    if variance == "CR1":
        squared_error *= units / (units - 1) * (events - 1) / (events - 2)
    method = f"regression of events clustered on the unit, {variance}, t test"
    return _effect(means[1] - means[0], math.sqrt(squared_error), df, alpha, alternative, method)


def compare_adjusted_relative_by_delta(
    control: CoMoments,
    treatment: CoMoments,
    *,
    theta: float,
    gradient: Gradient = "expected",
    ddof: int = 1,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> RelativeComparison | NotComputed:
    """Compare adjusted means on the relative scale by the plain delta method: adjusted effect over raw control mean.

    For those who must match GrowthBook. Our own reports use ``inference.compare_adjusted_means``.

    Parameters
    ----------
    control, treatment : CoMoments
        Of the metric and of its covariate, or of linearised ratios (``ratios.linearised_with_covariate``).
    theta : float
        Outcome per unit of the covariate.
    gradient : {"expected", "observed"}
        Where the delta method is taken: at equal means of the covariate (GrowthBook for means), or at the means as they
        are (GrowthBook for ratios).
    ddof : {0, 1}
        Variances have divisor n - ddof; GrowthBook has 0 where outcome and covariate are 0 or 1.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    RelativeComparison or NotComputed
        Degrees of freedom are Welch-Satterthwaite's of the adjusted effect. NotComputed when a variant has fewer than
        two units, when the control's mean is zero, when nothing varies, or a value was not finite.

    Raises
    ------
    ValueError
        If ``theta``, ``gradient``, ``ddof``, ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    By the control's covariate the gradient is theta / m_c. By its outcome it is -m_t / m_c² ("expected") or
    -(1 + d) / m_c ("observed"), m the raw means and d the relative effect.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> control = CoMoments.from_values([9.0, 11.0, 10.0, 12.0, 8.0], [4.0, 6.0, 4.5, 7.0, 3.5])
    >>> treatment = CoMoments.from_values([12.0, 14.0, 13.0, 11.0, 15.0], [5.0, 6.5, 6.0, 3.5, 7.5])
    >>> result = compare_adjusted_relative_by_delta(control, treatment, theta=1.0)
    >>> round(result.relative_effect, 3), round(result.standard_error, 3)
    (0.23, 0.034)
    """
    check_choices(alpha, alternative)
    if gradient not in ("expected", "observed"):
        raise ValueError(f"gradient is {gradient!r}; it must be 'expected' or 'observed'.")
    if ddof not in (0, 1):
        raise ValueError(f"ddof is {ddof}; it must be 0 or 1.")
    if not math.isfinite(theta):
        raise ValueError(f"theta is {theta}; it must be a finite number.")
    for name, arm in (("control", control), ("treatment", treatment)):
        if arm.n < 2:
            return NotComputed(f"{name} has {arm.n} unit{'' if arm.n == 1 else 's'}; a mean needs at least 2")
        if not all(math.isfinite(v) for v in _numbers(arm)):
            return NotComputed(f"a value of {name} is not a finite number")
    if control.outcome.mean == 0:
        return NotComputed("the mean of the control is zero")
    arms = [with_ddof(arm, ddof) for arm in adjusted_estimates(control, treatment, theta=theta)]
    if arms[0].squared_error + arms[1].squared_error == 0:
        return NotComputed("the covariate leaves no variance in control or treatment")
    base = control.outcome.mean
    effect = (arms[1].mean - arms[0].mean) / abs(base)
    ratio = treatment.outcome.mean / base if gradient == "expected" else 1 + (arms[1].mean - arms[0].mean) / base
    scatter = ratio**2 * control.outcome.m2 - 2 * ratio * theta * control.comoment + theta**2 * control.covariate.m2
    squared_error = (arms[1].squared_error + scatter / (control.n * (control.n - ddof))) / base**2
    if squared_error <= 0:
        return NotComputed("the relative effect has no error left to measure it against")
    standard_error = math.sqrt(squared_error)
    df = welch_df(*arms)
    half = critical_value(alpha, alternative, df) * standard_error
    return RelativeComparison(
        relative_effect=effect,
        relative_interval=interval_ends(effect - half, effect + half, alternative),
        standard_error=standard_error,
        statistic=effect / standard_error,
        df=df,
        pvalue=tail_pvalue(effect / standard_error, alternative, df),
        confidence_level=1 - alpha,
        alternative=alternative,
        method="delta method on the relative effect, covariate-adjusted over the raw mean of the control",
    )


def with_ddof(estimate: MeanEstimate, ddof: int) -> MeanEstimate:
    """Return an estimate whose variance has divisor n - ddof in place of n - 1.

    Parameters
    ----------
    estimate : MeanEstimate
        With n - 1 degrees of freedom.
    ddof : {0, 1}

    Returns
    -------
    MeanEstimate
        What is nan stays so.

    Raises
    ------
    ValueError
        If ``ddof`` is neither 0 nor 1.

    Examples
    --------
    >>> with_ddof(MeanEstimate(0.5, 0.04, 4), 0).squared_error
    0.032
    """
    if ddof not in (0, 1):
        raise ValueError(f"ddof is {ddof}; it must be 0 or 1.")
    return (
        estimate if ddof else replace(estimate, squared_error=estimate.squared_error * estimate.df / (estimate.df + 1))
    )


def _table(outcomes: Any, treated: Any, covariates: Any, variance: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if variance not in ("HC0", "HC2", "HC3"):
        raise ValueError(f"variance is {variance!r}; it must be 'HC0', 'HC2' or 'HC3'.")
    y, arm = np.asarray(outcomes, dtype=float), np.asarray(treated, dtype=float)
    x = np.asarray(covariates, dtype=float)
    if y.ndim != 1 or arm.ndim != 1 or x.ndim not in (1, 2):
        raise ValueError("outcomes and treated must be flat, and covariates flat or a table of rows.")
    x = x[:, None] if x.ndim == 1 else x
    if not len(y) == len(arm) == len(x):
        raise ValueError(f"outcomes, treated and covariates have {len(y)}, {len(arm)} and {len(x)} rows; all the same.")
    if not np.isin(arm, (0.0, 1.0)).all():
        raise ValueError("treated has values other than 0 and 1; it must be 1 for treatment and 0 for control.")
    return y, arm, x


def _robust_effect(
    y: np.ndarray,
    arm: np.ndarray,
    x: np.ndarray,
    interacted: bool,
    variance: Heteroscedastic,
    alpha: float,
    alternative: Alternative,
    method: str,
) -> RegressionEffect | NotComputed:
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        return NotComputed("a value is not a finite number")
    centred = x - x.mean(axis=0)
    columns = [centred, centred * arm[:, None]] if interacted else [centred]
    design = np.column_stack([np.ones(len(y)), arm, *columns])
    df = len(y) - design.shape[1]
    if df < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return NotComputed("the covariates cannot be told from each other or from the variant with so few units")
    basis, triangle = np.linalg.qr(design)
    coefficients = np.linalg.solve(triangle, basis.T @ y)
    leverage = np.square(basis).sum(axis=1)
    residuals = y - design @ coefficients
    if variance != "HC0" and (leverage > 1 - 1e-10).any():
        return NotComputed("a unit alone decides a coefficient, so its residual says nothing")
    weights = (1 - leverage) ** -{"HC0": 0, "HC2": 1, "HC3": 2}[variance]
    influence = np.linalg.solve(triangle, basis.T)[1]
    squared_error = float((np.square(influence * residuals) * weights).sum())
    if squared_error <= 1e-26 * float(np.square(y).sum()):
        return NotComputed("the covariates leave no variance in control or treatment")
    return _effect(float(coefficients[1]), math.sqrt(squared_error), df, alpha, alternative, method)


def _numbers(arm: CoMoments) -> tuple[float, ...]:
    return arm.outcome.mean, arm.outcome.m2, arm.covariate.mean, arm.covariate.m2, arm.comoment


def _effect(
    effect: float,
    standard_error: float,
    df: float,
    alpha: float,
    alternative: Alternative,
    method: str,
    theta: float | None = None,
) -> RegressionEffect:
    half = critical_value(alpha, alternative, df) * standard_error
    return RegressionEffect(
        effect=effect,
        effect_interval=interval_ends(effect - half, effect + half, alternative),
        standard_error=standard_error,
        statistic=effect / standard_error,
        df=df,
        pvalue=tail_pvalue(effect / standard_error, alternative, df),
        confidence_level=1 - alpha,
        alternative=alternative,
        method=method,
        theta=theta,
    )
