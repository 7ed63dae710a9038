"""Quantiles from counts by bin, which add up over days as moments do, with the clustered error of the share.

A bin is 0.5 % wide, so a quantile is known to that, and to the digit where a bin holds one value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.quantiles import QuantileEstimate
from abtest_lib.statistics.tails import check_choices, critical_value
from abtest_lib.statistics.value_bins import bin_numbers

QUANTILE_METHOD = "quantiles with outer intervals clustered on the unit, Welch t; Fieller relative interval"
COLUMNS = ("bins", "events", "ranks", "sizes", "lowest", "highest")
OUTER_ALPHA = 0.05  # of the interval that the standard error is taken from, whatever the level of the test


@dataclass(frozen=True, eq=False)
class QuantileHistogram:
    """Hold the values of one variant by bin.

    Parameters
    ----------
    bins : array of int, increasing
        See ``value_bins.bin_numbers``.
    events : array of int
        Values in the bin.
    ranks : array of int
        Sum of 2 r - 1, r the place of a value among those of its own unit in ascending order. Added up over the bins to
        an edge it is the sum over units of the squared number of a unit's values to that edge.
    sizes : array of int
        Sum of the number of values that the value's unit has in all.
    lowest, highest : array of float
    """

    bins: np.ndarray
    events: np.ndarray
    ranks: np.ndarray
    sizes: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray

    @classmethod
    def from_values(cls, values: Iterable[float], units: Iterable[Any] | None = None) -> QuantileHistogram:
        """Count values.

        Parameters
        ----------
        values : iterable of float
            Finite.
        units : iterable, as many as ``values``, optional
            To whom each belongs; default each is a unit of its own.

        Examples
        --------
        >>> histogram = QuantileHistogram.from_values([3.0, 1.0, 3.0, 0.0], ["a", "a", "b", "b"])
        >>> histogram.events.tolist(), histogram.ranks.tolist(), histogram.sizes.tolist()
        ([1, 1, 2], [1, 1, 6], [2, 2, 4])
        """
        array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=float)
        owners = np.arange(array.size) if units is None else np.unique(np.asarray(units), return_inverse=True)[1]
        order = np.lexsort([array, owners])
        array, owners = array[order], owners[order]
        counts = np.bincount(owners)
        places = np.arange(array.size) - (np.cumsum(counts) - counts)[owners] + 1
        ones = np.ones(array.size, np.int64)
        return cls(*_added_up(bin_numbers(array), ones, 2 * places - 1, counts[owners], array, array))


def merge_histograms(parts: Sequence[QuantileHistogram]) -> QuantileHistogram:
    """Add up the values of units that are apart, such as those of several days.

    Parameters
    ----------
    parts : sequence of QuantileHistogram
        No unit is in two of them.

    Returns
    -------
    QuantileHistogram
        The same in any order; empty for none.

    Examples
    --------
    >>> parts = [QuantileHistogram.from_values([1.0, 2.0]), QuantileHistogram.from_values([2.0])]
    >>> merge_histograms(parts).events.tolist()
    [1, 2]
    """
    if not parts:
        return QuantileHistogram.from_values([])
    return QuantileHistogram(*_added_up(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS)))


def histogram_quantile(
    histogram: QuantileHistogram, p: float, *, units: int, alpha: float = OUTER_ALPHA
) -> QuantileEstimate | NotComputed:
    """Return a quantile of a variant with its interval, clustered on the unit, from counts by bin.

    Parameters
    ----------
    histogram : QuantileHistogram
        Of one variant.
    p : float, in (0, 1)
        Share of values at or below the quantile.
    units : int
        With a value at least.
    alpha : float, in (0, 1)

    Returns
    -------
    QuantileEstimate or NotComputed
        As ``quantiles.quantile_estimate`` on the values themselves: the same where each bin holds one value, else both
        ends and the quantile are within their bin, less than 0.51 % away, and as a rule far less: values are taken to
        lie evenly between the lowest and the highest of a bin.

    Raises
    ------
    ValueError
        If ``p`` or ``alpha`` is not in (0, 1).

    Notes
    -----
    With c the number of a unit's values at or below the quantile, n of all its values and F = sum c / sum n, the
    squared error of F is G / (G - 1) sum (c - F n)² / (sum n)² over G units: sums of c², c n and n², which are
    ``ranks`` and ``sizes`` added up to the quantile, and ``sizes`` of all.

    References
    ----------
    .. [1] Woodruff (1952), JASA 47(260). doi:10.1080/01621459.1952.10483443
    .. [2] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919
    .. [3] Masson, Rim, Lee (2019), PVLDB 12(12), of bins of a relative width. doi:10.14778/3352063.3352135

    Examples
    --------
    >>> estimate = histogram_quantile(QuantileHistogram.from_values(range(1, 101)), 0.5, units=100)
    >>> estimate.quantile, estimate.interval, round(estimate.share_standard_error, 4)
    (50.0, (41.0, 60.0), 0.0503)
    """
    check_choices(alpha, "two-sided")
    if not 0 < p < 1:
        raise ValueError(f"p is {p}; it must be between 0 and 1.")
    total = int(histogram.events.sum())
    if total < 2:
        return NotComputed(f"{total} value{'' if total == 1 else 's'}; a quantile needs at least 2")
    if units < 2:
        return NotComputed(f"{units} unit with a value; a quantile needs at least 2")
    share, error = _share(histogram, p, units)
    t = critical_value(alpha, df=units - 1)
    low, high = share - t * error, share + t * error
    if share == 1:
        return NotComputed("every value is at or below the quantile, which leaves its interval without an upper end")
    if low <= 0 or high > 1:
        return NotComputed(f"{units} units are too few to bracket the quantile at {p:g}")
    if error == 0:
        return NotComputed("every unit has the same share of its values at or below the quantile")
    interval = (_inverse(histogram, low), _inverse(histogram, high))
    width = interval[1] - interval[0]
    return QuantileEstimate(_inverse(histogram, p), interval, error, width / (2 * t), units - 1)


def quantile_arm(histogram: QuantileHistogram, p: float, *, units: int) -> Moments | NotComputed:
    """Return a quantile as the mean of as many units would be known that is as uncertain: what comparisons take.

    Parameters
    ----------
    histogram : QuantileHistogram
        Of one variant.
    p : float, in (0, 1)
    units : int
        With a value at least.

    Returns
    -------
    Moments or NotComputed
        ``mean`` is the quantile and the error of the mean is that of the quantile. NotComputed as of
        ``histogram_quantile``.

    Raises
    ------
    ValueError
        If ``p`` is not in (0, 1).

    Notes
    -----
    Where values repeat so often that one of them within four standard errors of the share ``p`` makes up more than one
    of them, such as a latency in whole milliseconds on millions of rows or a count of few events, the quantile leaps
    from value to value, by more than its interval is wide. Then half the widest such leap is added to the error, as the
    square root of the sum of squares: two quantiles one leap apart by chance are at most 1.4 standard errors apart.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> arm = quantile_arm(QuantileHistogram.from_values(range(1, 101)), 0.5, units=100)
    >>> arm.n, arm.mean, round((arm.variance / arm.n) ** 0.5, 2)
    (100, 50.0, 4.79)
    >>> whole_seconds = QuantileHistogram.from_values([1.0] * 490 + [2.0] * 490 + [3.0] * 20)
    >>> arm = quantile_arm(whole_seconds, 0.5, units=1000)
    >>> arm.mean, round((arm.variance / arm.n) ** 0.5, 2)
    (2.0, 0.56)
    """
    if not histogram.events.size:
        return Moments(0, 0.0, 0.0)
    found = histogram_quantile(histogram, p, units=units)
    if isinstance(found, NotComputed):
        return found
    half = found.share_standard_error * critical_value(OUTER_ALPHA, df=units - 1)
    squared_error = found.standard_error**2 + (_leap(histogram, p, half) / 2) ** 2
    return Moments(units, found.quantile, squared_error * units * (units - 1))


def _leap(histogram: QuantileHistogram, p: float, half: float) -> float:
    """The widest step of the quantile to or from a value that more events share than its share is uncertain by."""
    masses = histogram.events / histogram.events.sum()
    ends = np.cumsum(masses)
    within = (ends > p - 2 * half) & (ends - masses < p + 2 * half)
    repeated = within & (histogram.lowest == histogram.highest) & (histogram.events > 1) & (masses > half / 2)
    steps = histogram.lowest[1:] - histogram.highest[:-1]
    leaps = (repeated[1:] | repeated[:-1]) & within[1:] & within[:-1]
    return float(steps[leaps].max()) if leaps.any() else 0.0


def _share(histogram: QuantileHistogram, p: float, units: int) -> tuple[float, float]:
    """The share of values at or below the quantile, all of its equals counted, and its standard error."""
    place, inside = _place(histogram, p)
    part = 1.0 if histogram.lowest[place] == histogram.highest[place] else inside / int(histogram.events[place])
    events, ranks, sizes = (
        float(column[:place].sum()) + part * float(column[place])
        for column in (histogram.events, histogram.ranks, histogram.sizes)
    )
    total = float(histogram.events.sum())
    share = events / total
    spread = ranks - 2 * share * sizes + share**2 * float(histogram.sizes.sum())
    # Of a spread that is 0 the rounding of sums as large as these is left.
    spread = spread if spread > 1e-12 * float(histogram.sizes.sum()) else 0.0
    return share, math.sqrt(spread * units / (units - 1)) / total


def _place(histogram: QuantileHistogram, share: float) -> tuple[int, int]:
    """The bin in which the values reach a share, and the place in it of the one that does, from 1."""
    ends = np.cumsum(histogram.events)
    total = int(ends[-1])
    # A share that is k / n but for rounding belongs to the k-th value.
    rank = min(max(math.ceil(share * total - 1e-9), 1), total)
    place = int(np.searchsorted(ends, rank))
    return place, rank - (int(ends[place - 1]) if place else 0)


def _inverse(histogram: QuantileHistogram, share: float) -> float:
    place, inside = _place(histogram, share)
    lowest, highest, events = (
        float(histogram.lowest[place]),
        float(histogram.highest[place]),
        int(histogram.events[place]),
    )
    if inside == events:
        return highest
    # The difference of two values of a bin cannot overflow, for both have the sign of the bin.
    return lowest + (highest - lowest) * ((inside - 1) / (events - 1))


def _added_up(
    bins: np.ndarray,
    events: np.ndarray,
    ranks: np.ndarray,
    sizes: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """The columns of a histogram out of rows of which several may be of one bin."""
    order = np.argsort(bins, kind="stable")
    numbers = bins[order]
    if not numbers.size:
        return tuple(np.zeros(0, kind) for kind in (*[np.int64] * 4, float, float))
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    sums = (np.add.reduceat(column[order], starts) for column in (events, ranks, sizes))
    return (
        numbers[starts],
        *sums,
        np.minimum.reduceat(lowest[order], starts),
        np.maximum.reduceat(highest[order], starts),
    )
