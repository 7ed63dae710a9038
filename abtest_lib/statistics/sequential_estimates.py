"""P-values, intervals and estimates that stay true when a test is read at several looks or was stopped by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate
from math import inf, isinf, sqrt

from scipy.special import ndtr, ndtri

from abtest_lib.statistics.sequential import (
    SequentialBounds,
    checked_bounds,
    checked_information,
    crossing_from,
    mirrored,
    one_sided_alpha,
    spending_bounds,
)
from abtest_lib.statistics.sequential_paths import Paths, find_root
from abtest_lib.statistics.spending import Spending, obrien_fleming_spending

_LARGEST_ALPHA = 0.9999
_SMALLEST_ALPHA = 1e-12


@dataclass(frozen=True)
class StagewiseInference:
    """Hold what is known of an effect after a test has ended at some look.

    Parameters
    ----------
    pvalue : float
        Two-sided.
    pvalue_greater : float
        One-sided: probability without an effect of an outcome at least as far up.
    median_unbiased : float
        Estimate that is as often too high as too low; on the scale of z at the look that ended the test.
    interval : tuple of float
        On the same scale.

    Notes
    -----
    Times the standard error at that look these are on the scale of the effect.

    Examples
    --------
    >>> StagewiseInference(0.0097, 0.00485, 2.595, (0.63, 4.557)).interval
    (0.63, 4.557)
    """

    pvalue: float
    pvalue_greater: float
    median_unbiased: float
    interval: tuple[float, float]


def repeated_pvalue(
    information: Sequence[float], z: float, *, spending: Spending = obrien_fleming_spending, sides: int = 1
) -> float | None:
    """Return the smallest alpha at which bounds of the same kind would stop at the last of the looks so far.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing from above 0.
    z : float
        Statistic at the last look.
    spending : callable
        See ``abtest_lib.statistics.spending``.
    sides : {1, 2}
        1 tests for a gain; 2 for any effect, and the alpha is that of both sides.

    Returns
    -------
    float or None
        None where no alpha up to 0.9999 stops at this look. Valid on every night it is read, whether or not the test
        goes on; never below 1e-12.

    Raises
    ------
    ValueError
        If information does not increase from above 0, ``z`` is not finite or ``sides`` is neither 1 nor 2.

    References
    ----------
    .. [1] Jennison, Turnbull (1999), Group Sequential Methods, chapter 9. doi:10.1201/9780367805326

    Examples
    --------
    >>> round(repeated_pvalue([0.5, 1.0], 2.2), 4)
    0.0141
    """
    looks = checked_information(information)
    value = _checked_z(z)
    one_sided_alpha(0.05, sides)
    passed = abs(value) if sides == 2 else value

    @cache
    def missing(quantile: float) -> float:
        bounds = spending_bounds(looks, alpha=float(ndtr(quantile)), sides=sides, spending=spending)
        return max(min(bounds.upper[-1], 10.0), -10.0) - passed

    # No bound lets pass what one look at the same alpha would not, so p is at least that of one look.
    low = float(ndtri(min(max(sides * float(ndtr(-passed)), _SMALLEST_ALPHA), _LARGEST_ALPHA))) - 1e-6
    if missing(low) <= 0:
        return _SMALLEST_ALPHA
    step, most = 0.2, float(ndtri(_LARGEST_ALPHA))
    while missing(high := min(low + step, most)) > 0:
        if high == most:
            return None
        low, step = high, 2 * step
    return float(ndtr(find_root(missing, low, high, tolerance=1e-9)))


def repeated_pvalues(
    information: Sequence[float],
    statistics: Sequence[float],
    *,
    spending: Spending = obrien_fleming_spending,
    sides: int = 1,
) -> tuple[float | None, ...]:
    """Return for each of the looks so far the smallest alpha at which bounds of the same kind would stop there.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing from above 0.
    statistics : sequence of float, k looks
        z at each look.
    spending : callable
        See ``abtest_lib.statistics.spending``.
    sides : {1, 2}
        1 tests for a gain; 2 for any effect, and the alpha is that of both sides.

    Returns
    -------
    tuple of float or None
        As ``repeated_pvalue`` of each look.

    Raises
    ------
    ValueError
        If lengths differ, a statistic is not finite or ``sides`` is neither 1 nor 2.

    References
    ----------
    .. [1] Jennison, Turnbull (1999), Group Sequential Methods, chapter 9. doi:10.1201/9780367805326

    Examples
    --------
    >>> p = repeated_pvalues([0.5, 1.0], [1.0, 2.2])
    >>> [round(value, 4) for value in p]
    [0.3189, 0.0141]
    """
    looks = checked_information(information)
    values = _checked_statistics(statistics, looks)
    return tuple(repeated_pvalue(looks[: k + 1], z, spending=spending, sides=sides) for k, z in enumerate(values))


def running_minimum(pvalues: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return sequential p-values: the smallest repeated p-value seen so far.

    Parameters
    ----------
    pvalues : sequence of float or None
        Of ``repeated_pvalues``.

    Returns
    -------
    tuple of float or None
        One a look; None as long as there was none.

    Raises
    ------
    ValueError
        If a p-value is not in [0, 1].

    References
    ----------
    .. [1] Liu, Anderson (2008), JASA 103(484), 1621-1630. doi:10.1198/016214508000000986

    Examples
    --------
    >>> running_minimum([None, 0.04, 0.2])
    (None, 0.04, 0.04)
    """
    if not all(pvalue is None or 0 <= pvalue <= 1 for pvalue in pvalues):
        raise ValueError(f"pvalues is {list(pvalues)}; each must be in [0, 1], or None.")
    smallest = accumulate((inf if pvalue is None else pvalue for pvalue in pvalues), min)
    return tuple(None if isinf(value) else value for value in smallest)


def repeated_intervals(bounds: SequentialBounds, statistics: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Return intervals that all hold at once, on the scale of z at each look.

    Parameters
    ----------
    bounds : SequentialBounds
        Its upper bounds; alpha per side makes confidence 1 - 2 alpha.
    statistics : sequence of float, at most k looks
        z at each look so far.

    Returns
    -------
    tuple of tuple of float
        Times the standard error of the look: an interval of the effect. Infinite where the look could not stop.

    Raises
    ------
    ValueError
        If there are more statistics than looks or one is not finite.

    References
    ----------
    .. [1] Jennison, Turnbull (1999), Group Sequential Methods, chapter 9. doi:10.1201/9780367805326

    Examples
    --------
    >>> bounds = spending_bounds([0.5, 1.0])
    >>> [(round(low, 3), round(high, 3)) for low, high in repeated_intervals(bounds, [1.0, 2.2])]
    [(-1.963, 3.963), (0.231, 4.169)]
    """
    values = _checked_statistics(statistics, bounds.information[: len(statistics)])
    return tuple((z - bound, z + bound) for z, bound in zip(values, bounds.upper, strict=False))


def stagewise_inference(
    information: Sequence[float],
    upper: Sequence[float],
    z: float,
    *,
    lower: Sequence[float] | None = None,
    alpha: float = 0.05,
) -> StagewiseInference:
    """Return p-value, interval and median-unbiased estimate of a test that has ended, corrected for the looks.

    Parameters
    ----------
    information : sequence of float, k looks
        Of the looks taken, in any unit, the last one being that which ended the test.
    upper : sequence of float, k - 1 looks
        Bounds of the looks before, none of which stopped the test.
    z : float
        Statistic at the last look.
    lower : sequence of float, k - 1 looks, optional
        Default the mirror image of ``upper``.
    alpha : float, in (0, 1)
        Of the interval.

    Returns
    -------
    StagewiseInference

    Raises
    ------
    ValueError
        If information does not increase from above 0, bounds are of another length, ``z`` is not finite or ``alpha``
        not in (0, 1).

    Notes
    -----
    Outcomes are ordered by stages: a stop above at an earlier look counts as further up than any at a later one.
    Neither the bound of the last look nor the looks that would have followed enter, so a test that ended early or late
    for other reasons is treated the same way.
    Where data still came in after a stop, leave out the look that stopped the test and give information and statistic
    of the end [2]_: this errs to the side of caution. The stop itself stays.

    References
    ----------
    .. [1] Tsiatis, Rosner, Mehta (1984), Biometrics 40(3). doi:10.2307/2530924
    .. [2] Whitehead (1992), Controlled Clinical Trials 13(2). doi:10.1016/0197-2456(92)90017-t

    Examples
    --------
    >>> result = stagewise_inference([0.25, 0.4, 0.75], [4.3326, 3.3587], 2.6)
    >>> round(result.pvalue, 4), round(result.median_unbiased, 3)
    (0.0097, 2.595)
    """
    looks = checked_information(information)
    side_alpha = one_sided_alpha(alpha, 2)
    value = _checked_z(z)
    lows, highs = checked_bounds(mirrored(upper, 2) if lower is None else lower, upper, len(looks) - 1)
    further = partial(_further, looks, [*lows, value], [*highs, value])
    down, up = further(0.0)
    low, middle, high = (_effect_at(further, value, chance) for chance in (side_alpha, 0.5, 1 - side_alpha))
    return StagewiseInference(min(1.0, 2 * min(down, up)), up, middle, (low, high))


def _further(looks: tuple[float, ...], lower: list[float], upper: list[float], mean: float) -> tuple[float, float]:
    """Probability of an outcome further down and further up, where the statistic at the last look has this mean."""
    crossing = crossing_from(Paths.start(theta=mean / sqrt(looks[-1])), looks, lower, upper)
    return sum(crossing.lower), sum(crossing.upper)


def _effect_at(further: Callable[[float], tuple[float, float]], z: float, chance: float) -> float:
    """Effect with which an outcome as far up has this chance."""

    def excess(mean: float) -> float:
        down, up = further(mean)
        return up - chance if chance < 0.5 else 1 - chance - down

    centre = z + float(ndtri(chance))
    low, high = centre - 1.0, centre + 1.0
    while excess(low) > 0:
        low -= 2.0
    while excess(high) < 0:
        high += 2.0
    return find_root(excess, low, high)


def _checked_z(z: float) -> float:
    if not abs(z) < inf:
        raise ValueError(f"z is {z}; it must be a finite number.")
    return float(z)


def _checked_statistics(statistics: Sequence[float], looks: Sequence[float]) -> list[float]:
    values = [float(z) for z in statistics]
    if len(values) != len(looks):
        raise ValueError(
            f"statistics has {len(values)} entries; it must have one for each of the looks ({len(looks)})."
        )
    if not all(abs(z) < inf for z in values):
        raise ValueError(f"statistics is {values}; they must be finite.")
    return values
