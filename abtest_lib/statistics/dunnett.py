"""Several treatments against one control: p-values and intervals that hold over all of them (Dunnett).

The comparisons share their control, so they are correlated, and Dunnett's procedure asks for less than Bonferroni's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammainccinv, gammaincinv, gammaln, log_ndtr

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.tails import Alternative, Interval, check_choices, critical_value, interval_ends, tail_pvalue

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
# Beyond these tails the spread of the variance estimate adds nothing to a p-value of 1e-15.
LOWER_TAIL, UPPER_TAIL = 1e-25, 1e-18


@dataclass(frozen=True)
class DunnettComparison:
    """Say how one of several treatments compares with the control.

    Parameters
    ----------
    effect : float
        Treatment minus control, in the metric's unit.
    interval : tuple of float
        Simultaneous: all treatments' intervals hold together at ``1 - alpha``.
    statistic : float
        t with the variance pooled over all variants.
    df : int
    pvalue : float
        Adjusted; below ``alpha`` exactly when 0 is not in the interval.
    critical : float
        Size that the statistic must pass.
    """

    effect: float
    interval: Interval
    statistic: float
    df: int
    pvalue: float
    critical: float


def dunnett_pvalues(
    statistics: Sequence[float],
    *,
    n_control: float,
    n_treatments: Sequence[float],
    df: float | None = None,
    alternative: Alternative = "two-sided",
) -> list[float]:
    """Return p-values of many-to-one comparisons that hold over all of them.

    Parameters
    ----------
    statistics : sequence of float
        t (or z) of each treatment against the control, with one pooled variance.
    n_control : float, > 0
        Units of the control, or anything in proportion to the precision of its mean.
    n_treatments : sequence of float, > 0
        Of each treatment, on the same scale.
    df : float, optional
        Degrees of freedom of the pooled variance, at least 1; default a known variance.
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    list of float
        In the order given: the chance that the largest of all statistics is as large as this one.

    Raises
    ------
    ValueError
        If lengths differ, a statistic is not finite, or an argument is not what it must be.

    Notes
    -----
    Given the control's mean z and the variance's ratio s² to the truth, treatments are independent:
    P(max |T| > c) = ∫∫ 1 - ∏ [Φ((l z + c s)/√(1 - l²)) - Φ((l z - c s)/√(1 - l²))] φ(z) dz f(s) ds with
    l² = n / (n + n_control). Composite Gauss-Legendre over z and log s.

    References
    ----------
    .. [1] Dunnett (1955), JASA 50(272). doi:10.1080/01621459.1955.10501294
    .. [2] Dunnett (1964), Biometrics 20(3). doi:10.2307/2528490

    Examples
    --------
    >>> pvalues = dunnett_pvalues([-1.33019, -4.65565, -1.88372], n_control=20, n_treatments=[3, 3, 15], df=37)
    >>> [round(pvalue, 4) for pvalue in pvalues]
    [0.4559, 0.0001, 0.182]
    """
    check_choices(0.5, alternative)
    loadings = _loadings(n_control, n_treatments, df)
    values = np.asarray(statistics, dtype=float)
    if values.shape != loadings.shape:
        raise ValueError(f"statistics has {values.size} values; it must have as many as n_treatments, {loadings.size}.")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"statistics is {values.tolist()}; it must hold finite numbers.")
    signed = {"two-sided": np.abs(values), "greater": values, "less": -values}[alternative]
    two_sided = alternative == "two-sided"
    largest = [_beyond(float(value), loadings, df, two_sided) for value in signed]
    # Far out the integral loses its digits, and these limits close in on it: one comparison's tail, and Bonferroni's.
    single = [tail_pvalue(float(value), "two-sided" if two_sided else "greater", df) for value in signed]
    return [min(max(pvalue, one), loadings.size * one) for pvalue, one in zip(largest, single, strict=True)]


def dunnett_critical_value(
    alpha: float,
    *,
    n_control: float,
    n_treatments: Sequence[float],
    df: float | None = None,
    alternative: Alternative = "two-sided",
) -> float:
    """Return the size that the largest of several statistics passes with probability ``alpha`` without effects.

    Parameters
    ----------
    alpha : float, in (0, 1)
        Error rate over all comparisons.
    n_control, n_treatments, df, alternative
        See ``dunnett_pvalues``. A common correlation r of the statistics is ``n_control=1 - r`` and
        ``n_treatments=[r, r, ...]``.

    Returns
    -------
    float
        Between the value of a single comparison and Bonferroni's.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Dunnett (1964), Biometrics 20(3). doi:10.2307/2528490

    Examples
    --------
    >>> round(dunnett_critical_value(0.05, n_control=11, n_treatments=[11, 11], df=20), 2)
    2.38
    """
    check_choices(alpha, alternative)
    loadings = _loadings(n_control, n_treatments, df)
    two_sided = alternative == "two-sided"
    low = critical_value(alpha, alternative, df)
    high = critical_value(alpha / loadings.size, alternative, df)
    # Regula falsi (Illinois) on the logarithm of the probability, which is nearly straight.
    at_low, at_high = (math.log(_beyond(at, loadings, df, two_sided) / alpha) for at in (low, high))
    if at_low <= 0 or loadings.size == 1:
        return low
    if at_high >= 0:
        return high
    for _ in range(60):
        middle = high - at_high * (high - low) / (at_high - at_low)
        at_middle = math.log(_beyond(middle, loadings, df, two_sided) / alpha)
        if at_middle * at_high < 0:
            low, at_low = high, at_high
        else:
            at_low /= 2
        moved = abs(middle - high)
        high, at_high = middle, at_middle
        if moved < 1e-10 * max(1.0, abs(middle)) or at_middle == 0:
            break
    return high


def dunnett_alpha(
    alpha: float,
    *,
    n_control: float,
    n_treatments: Sequence[float],
    df: float | None = None,
    alternative: Alternative = "two-sided",
) -> float:
    """Return the alpha at which ordinary intervals of several treatments are Dunnett's and hold together.

    Parameters
    ----------
    alpha : float, in (0, 1)
        Error rate over all comparisons.
    n_control, n_treatments, df, alternative
        See ``dunnett_pvalues``; the interval must have the same ``df``.

    Returns
    -------
    float
        Between ``alpha`` over the number of treatments and ``alpha``.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Dunnett (1955), JASA 50(272). doi:10.1080/01621459.1955.10501294

    Examples
    --------
    >>> round(dunnett_alpha(0.05, n_control=100, n_treatments=[100, 100], df=297), 4)
    0.027
    """
    sizes = {"n_control": n_control, "n_treatments": n_treatments, "df": df, "alternative": alternative}
    critical = dunnett_critical_value(alpha, **sizes)
    return tail_pvalue(-critical if alternative == "less" else critical, alternative, df)


def dunnett_test(
    control: Moments,
    treatments: Mapping[str, Moments],
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> dict[str, DunnettComparison] | NotComputed:
    """Compare each of several treatments' means with the control's, with one error rate for all.

    Parameters
    ----------
    control : Moments
        Of one value a unit.
    treatments : mapping of str to Moments
        At least one.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    dict of str to DunnettComparison, or NotComputed
        NotComputed when a variant has no units, a value is not finite, nothing varies, or there are no more units
        than variants.

    Raises
    ------
    ValueError
        If there is no treatment, or ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    The variance is pooled over all variants, that is, taken to be the same in each.

    References
    ----------
    .. [1] Dunnett (1955), JASA 50(272). doi:10.1080/01621459.1955.10501294

    Examples
    --------
    >>> treatments = {"red": Moments(50, 11.2, 200.0), "blue": Moments(40, 10.1, 160.0)}
    >>> result = dunnett_test(Moments(50, 10.0, 200.0), treatments)
    >>> {name: round(one.pvalue, 4) for name, one in result.items()}
    {'red': 0.0069, 'blue': 0.9617}
    """
    check_choices(alpha, alternative)
    if not treatments:
        raise ValueError("treatments is empty; it must hold at least one treatment.")
    for name, moments in (("control", control), *treatments.items()):
        if moments.n < 1:
            return NotComputed(f"{name} has no units")
        if not (math.isfinite(moments.mean) and math.isfinite(moments.m2)):
            return NotComputed(f"a value of {name} is not a finite number")
    arms = [control, *treatments.values()]
    df = sum(arm.n for arm in arms) - len(arms)
    if df < 1:
        return NotComputed("there are no more units than variants")
    variance = math.fsum(arm.m2 for arm in arms) / df
    if variance == 0:
        return NotComputed("no value varies in any variant")
    sizes = {"n_control": control.n, "n_treatments": [arm.n for arm in treatments.values()], "df": df}
    critical = dunnett_critical_value(alpha, **sizes, alternative=alternative)
    errors = [math.sqrt(variance * (1 / control.n + 1 / arm.n)) for arm in treatments.values()]
    effects = [arm.mean - control.mean for arm in treatments.values()]
    statistics = [effect / error for effect, error in zip(effects, errors, strict=True)]
    pvalues = dunnett_pvalues(statistics, **sizes, alternative=alternative)
    return {
        name: DunnettComparison(
            effect=effect,
            interval=interval_ends(effect - critical * error, effect + critical * error, alternative),
            statistic=statistic,
            df=df,
            pvalue=pvalue,
            critical=critical,
        )
        for name, effect, error, statistic, pvalue in zip(treatments, effects, errors, statistics, pvalues, strict=True)
    }


def _loadings(n_control: float, n_treatments: Sequence[float], df: float | None) -> np.ndarray:
    sizes = np.asarray(n_treatments, dtype=float)
    if sizes.ndim != 1 or sizes.size == 0 or not np.all((sizes > 0) & np.isfinite(sizes)):
        raise ValueError(f"n_treatments is {n_treatments!r}; it must be a flat list of positive numbers.")
    if not (n_control > 0 and math.isfinite(n_control)):
        raise ValueError(f"n_control is {n_control}; it must be a positive number.")
    if df is not None and not df >= 1:
        raise ValueError(f"df is {df}; it must be at least 1.")
    return np.sqrt(sizes / (sizes + n_control))


def _beyond(size: float, loadings: np.ndarray, df: float | None, two_sided: bool) -> float:
    """Probability that the largest statistic (of both signs, if two-sided) is beyond ``size`` without effects."""
    if two_sided and size <= 0:
        return 1.0
    spreads, spread_weights = _spreads(df)
    narrowest = float(np.sqrt(1 - np.square(loadings)).min())
    reach = min(38.0, 9.0 + abs(size))
    z, z_weights = _panels(-reach, reach, max(0.05, min(0.5, 1.5 * narrowest)))
    z_weights = z_weights * np.exp(-np.square(z) / 2) / math.sqrt(2 * math.pi)
    limits = size * spreads[:, None]
    log_within = np.zeros((spreads.size, z.size))
    # Equal treatments are integrated once.
    for loading, count in zip(*np.unique(loadings, return_counts=True), strict=True):
        rest = math.sqrt(1 - loading * loading)
        above = np.exp(log_ndtr((loading * z - limits) / rest))
        if two_sided:
            above += np.exp(log_ndtr((-loading * z - limits) / rest))
        with np.errstate(divide="ignore"):
            log_within += count * np.log1p(-np.minimum(above, 1.0))
    return min(1.0, float(spread_weights @ (-np.expm1(log_within)) @ z_weights))


def _spreads(df: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Values of s = estimated over true standard deviation, and the probability that each stands for."""
    if df is None:
        return np.array([1.0]), np.array([1.0])
    half = df / 2
    low, high = (math.log(chi / half) / 2 for chi in (gammaincinv(half, LOWER_TAIL), gammainccinv(half, UPPER_TAIL)))
    log_s, weights = _panels(low, high, min(0.5, (high - low) / 8))
    # Density of log s, from that of the chi-squared df s².
    log_density = math.log(2) + half * math.log(half) - gammaln(half) + df * log_s - half * np.exp(2 * log_s)
    probability = weights * np.exp(log_density)
    return np.exp(log_s), probability / probability.sum()


def _panels(low: float, high: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre's rule on panels of about ``width``."""
    count = max(1, math.ceil((high - low) / width))
    half = (high - low) / count / 2
    middles = low + half * (2 * np.arange(count) + 1)
    return (middles[:, None] + half * NODES).ravel(), np.tile(half * WEIGHTS, count)
