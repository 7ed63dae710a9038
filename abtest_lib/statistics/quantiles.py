"""Quantiles, such as the median or the 95th percentile of a latency: of units, or of events that cluster in units.

A quantile's interval is found on the scale of shares, where the error is that of a mean, and carried back by the
observed distribution (Woodruff; with clusters, the outer interval of Deng, Knoblich and Lu).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import bdtr

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.inference import Comparison, compare_estimates
from abtest_lib.statistics.moments import CoMoments
from abtest_lib.statistics.ratios import ratio_estimate, unit_totals
from abtest_lib.statistics.tails import Alternative, Interval, check_choices, critical_value

# GrowthBook's brackets are at 95 % whatever the level of the test.
BRACKET_ALPHA = 0.05
SMALLEST_VARIANCE = 1e-5


@dataclass(frozen=True)
class QuantileEstimate:
    """Hold a quantile of one variant and how well it is known.

    Parameters
    ----------
    quantile : float
        Smallest value with at least a share ``p`` of the values at or below it.
    interval : tuple of float
        Of the quantile, at ``1 - alpha``; two values that occur.
    share_standard_error : float
        Of the share of values at or below ``quantile``.
    standard_error : float
        Of the quantile: half the interval's length over the t quantile.
    df : int
        Units less one.
    """

    quantile: float
    interval: Interval
    share_standard_error: float
    standard_error: float
    df: int

    @property
    def as_mean(self) -> MeanEstimate:
        """The same as an estimate that can be compared, with ``standard_error`` squared."""
        return MeanEstimate(self.quantile, self.standard_error**2, self.df)


@dataclass(frozen=True)
class OrderStatisticInterval:
    """Hold an interval of a quantile between two ordered values, and how often such an interval holds the truth.

    Parameters
    ----------
    interval : tuple of float
    lower_rank, upper_rank : int
        Places of the ends among the ordered values, from 1.
    coverage : float
        Exact for a continuous distribution.
    """

    interval: Interval
    lower_rank: int
    upper_rank: int
    coverage: float


def quantile_estimate(
    values: Iterable[float], p: float, *, units: Iterable[Any] | None = None, alpha: float = 0.05
) -> QuantileEstimate | NotComputed:
    """Return a quantile of a variant with Woodruff's interval, clustered on the unit where events are given.

    Parameters
    ----------
    values : iterable of float
        One a unit, or one an event.
    p : float, in (0, 1)
        Share of values at or below the quantile.
    units : iterable, as many as ``values``, optional
        To whom each event belongs; default each value is a unit of its own.
    alpha : float, in (0, 1)

    Returns
    -------
    QuantileEstimate or NotComputed
        NotComputed below two units, when a value is not finite, or when the interval reaches beyond the values at hand.

    Raises
    ------
    ValueError
        If ``p`` or ``alpha`` is not in (0, 1), or ``units`` and ``values`` differ in length.

    Notes
    -----
    With q the quantile and F the share of values at or below: [F⁻¹(F(q) - t s), F⁻¹(F(q) + t s)], s the standard error
    of F(q), clustered by the delta method of a ratio (events at or below q over events, by unit), t with units - 1
    degrees of freedom.

    References
    ----------
    .. [1] Woodruff (1952), JASA 47(260). doi:10.1080/01621459.1952.10483443
    .. [2] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> estimate = quantile_estimate(range(1, 101), 0.5)
    >>> estimate.quantile, estimate.interval, round(estimate.share_standard_error, 4)
    (50.0, (41.0, 60.0), 0.0503)
    """
    check_choices(alpha, "two-sided")
    _check_share(p)
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=float)
    owners = np.arange(array.size) if units is None else units
    if not np.isfinite(array).all():
        return NotComputed("a value is not a finite number")
    if array.size < 2:
        return NotComputed(f"{array.size} value{'' if array.size == 1 else 's'}; a quantile needs at least 2")
    ordered = np.sort(array)
    quantile = _inverse(ordered, p)
    below, events = unit_totals((array <= quantile).astype(float), owners)
    share = ratio_estimate(CoMoments.from_values(below, events))
    if isinstance(share, NotComputed):
        return share
    if share.squared_error == 0:
        return NotComputed("every value is at or below the quantile, which leaves its interval without an upper end")
    error, t = math.sqrt(share.squared_error), critical_value(alpha, df=share.df)
    low, high = share.mean - t * error, share.mean + t * error
    if low <= 0 or high > 1:
        return NotComputed(f"{share.df + 1} units are too few to bracket the quantile at {p}")
    interval = (_inverse(ordered, low), _inverse(ordered, high))
    return QuantileEstimate(quantile, interval, error, (interval[1] - interval[0]) / (2 * t), int(share.df))


def order_statistic_interval(
    values: Iterable[float], p: float, *, alpha: float = 0.05
) -> OrderStatisticInterval | NotComputed:
    """Return the interval of a quantile between two ordered values, by the binomial distribution.

    Parameters
    ----------
    values : iterable of float
        One a unit.
    p : float, in (0, 1)
    alpha : float, in (0, 1)

    Returns
    -------
    OrderStatisticInterval or NotComputed
        NotComputed when a value is not finite, or an end would lie beyond the values at hand.

    Raises
    ------
    ValueError
        If ``p`` or ``alpha`` is not in (0, 1).

    Notes
    -----
    Ranks are the alpha / 2 quantile of Binomial(n, p) and one above the 1 - alpha / 2 quantile.

    References
    ----------
    .. [1] Thompson (1936), Annals of Mathematical Statistics 7(3). doi:10.1214/aoms/1177732502

    Examples
    --------
    >>> result = order_statistic_interval(range(1, 82), 0.5)
    >>> result.lower_rank, result.upper_rank, round(result.coverage, 4)
    (32, 50, 0.9552)
    """
    check_choices(alpha, "two-sided")
    _check_share(p)
    ordered = np.sort(np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=float))
    n = ordered.size
    if not np.isfinite(ordered).all():
        return NotComputed("a value is not a finite number")
    if n == 0:
        return NotComputed("there are no values")
    cumulated = bdtr(np.arange(n + 1), n, p)
    lower = int(np.searchsorted(cumulated, alpha / 2))
    upper = int(np.searchsorted(cumulated, 1 - alpha / 2)) + 1
    if lower < 1 or upper > n:
        return NotComputed(f"{n} values are too few to bracket the quantile at {p}")
    coverage = float(cumulated[upper - 1] - cumulated[lower - 1])
    return OrderStatisticInterval((float(ordered[lower - 1]), float(ordered[upper - 1])), lower, upper, coverage)


def compare_quantiles(
    control: QuantileEstimate,
    treatment: QuantileEstimate,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> Comparison | NotComputed:
    """Compare a quantile in treatment and control.

    Parameters
    ----------
    control, treatment : QuantileEstimate
        Of the same ``p``.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's quantile is higher.

    Returns
    -------
    Comparison or NotComputed
        NotComputed when neither quantile has any error.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> arms = [quantile_estimate(range(start, start + 100), 0.5) for start in (1, 21)]
    >>> result = compare_quantiles(*arms)
    >>> result.effect, round(result.pvalue, 4)
    (20.0, 0.0035)
    """
    result = compare_estimates(control.as_mean, treatment.as_mean, alpha=alpha, alternative=alternative)
    if isinstance(result, NotComputed):
        return NotComputed("the interval of neither quantile has any width")
    return replace(result, method="quantiles with outer intervals, Welch t; Fieller relative interval")


def bracketed_quantile_estimate(
    quantile: float,
    bracket: Interval,
    *,
    p: float,
    n: int,
    bracket_n: int,
    share_squared_error: float | None = None,
) -> MeanEstimate | NotComputed:
    """Return the estimate of a quantile from three quantiles that a warehouse read, as GrowthBook keeps them.

    Parameters
    ----------
    quantile : float
        At ``p``.
    bracket : tuple of float
        Quantiles at p ∓ 1.96 √(p (1 - p) / bracket_n).
    p : float, in (0, 1)
    n : int
        Number of values: units, or events.
    bracket_n : int
        Number of values for which ``bracket`` was meant; at most about ``n``.
    share_squared_error : float, optional
        Variance of the share of events at or below ``quantile``, clustered on the unit (``ratio_estimate``); default
        p (1 - p) / n, that of independent values.

    Returns
    -------
    MeanEstimate or NotComputed
        NotComputed when ``n`` values are too few to bracket the quantile at 95 %, or fewer than 1000 do not vary.

    Raises
    ------
    ValueError
        If ``p`` is not in (0, 1), a count is not a whole number of at least 1, ``bracket`` is not two numbers or upside
        down, or ``share_squared_error`` is negative.

    Notes
    -----
    GrowthBook's conventions: factor (n - 1) / n, no variance per value below 1e-5 from 100 values on, n - 1 degrees of
    freedom even where events cluster.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> estimate = bracketed_quantile_estimate(19.67, (18.30, 20.94), p=0.5, n=1_500, bracket_n=800)
    >>> round(estimate.squared_error ** 0.5, 3), estimate.df
    (0.492, 1499)
    """
    _check_share(p)
    for name, count in (("n", n), ("bracket_n", bracket_n)):
        if not (count >= 1 and count % 1 == 0):
            raise ValueError(f"{name} is {count}; it must be a whole number, at least 1.")
    if len(bracket) != 2 or bracket[0] > bracket[1]:
        raise ValueError(f"bracket is {bracket}; it must be two quantiles, the lower not above the upper.")
    if share_squared_error is not None and not 0 <= share_squared_error < math.inf:
        raise ValueError(f"share_squared_error is {share_squared_error}; a variance must be at least 0.")
    z = critical_value(BRACKET_ALPHA)
    if n <= z * z * max(p / (1 - p), (1 - p) / p):
        return NotComputed(f"{n} values are too few to bracket the quantile at {p}")
    if not all(math.isfinite(value) for value in (quantile, *bracket)):
        return NotComputed("a quantile is not a finite number")
    variance = bracket_n / n * (n - 1) * ((bracket[1] - bracket[0]) / (2 * z)) ** 2
    if share_squared_error is not None:
        variance *= share_squared_error / (p * (1 - p) / n)
    if variance <= 0 and n < 1000:
        return NotComputed("the values around the quantile do not vary")
    return MeanEstimate(quantile, (variance if n < 100 else max(variance, SMALLEST_VARIANCE)) / n, n - 1)


def _inverse(ordered: np.ndarray, share: float) -> float:
    # A share that is k / n but for rounding belongs to the k-th value.
    rank = math.ceil(share * ordered.size - 1e-9)
    return float(ordered[min(max(rank, 1), ordered.size) - 1])


def _check_share(p: float) -> None:
    if not 0 < p < 1:
        raise ValueError(f"p is {p}; it must be between 0 and 1.")
