"""The level at which each look of a comparison may stop it, when it is read again as units come in.

A look is a cut of the data: the units that had come in by then. Reading the same cut again is the same look, and a cut
that adds next to nothing is the look before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from abtest_lib.statistics.sequential import LEAST_STEP, SequentialBounds, spending_bounds
from abtest_lib.statistics.sequential_estimates import StagewiseInference, stagewise_inference
from abtest_lib.statistics.sequential_paths import find_root
from abtest_lib.statistics.spending import Spending, obrien_fleming_spending
from abtest_lib.statistics.tails import plain

_SMALLEST_ALPHA = 1e-12


def difference_information(
    n_control: Any, n_treatment: Any, *, variance_control: Any = 1.0, variance_treatment: Any = 1.0
) -> Any:
    """Return the information on a difference of two means: one over its squared standard error.

    Parameters
    ----------
    n_control, n_treatment : int or array
        Units at each look, at least 1.
    variance_control, variance_treatment : float, above 0
        Of one unit; take the same for all looks, so that information never falls. Only their ratio matters where
        looks are compared with each other.

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If a count is below 1 or a variance is not above 0.

    References
    ----------
    .. [1] Jennison, Turnbull (1999), Group Sequential Methods, chapter 3. doi:10.1201/9780367805326

    Examples
    --------
    >>> difference_information(100, 100), difference_information(400, 100, variance_control=4.0)
    (50.0, 50.0)
    """
    for name, n in (("n_control", n_control), ("n_treatment", n_treatment)):
        if not np.all(np.asarray(n) >= 1):
            raise ValueError(f"{name} is {n}; it must be at least 1 at every look.")
    for name, variance in (("variance_control", variance_control), ("variance_treatment", variance_treatment)):
        if not np.all(np.asarray(variance) > 0):
            raise ValueError(f"{name} is {variance}; it must be above 0.")
    squared_error = variance_control / np.asarray(n_control, float) + variance_treatment / np.asarray(
        n_treatment, float
    )
    return plain(1 / squared_error)


def counted_looks(information: Sequence[float]) -> tuple[int, ...]:
    """Return for each look which one it counts as: itself, or an earlier one to which it adds less than a thousandth.

    Parameters
    ----------
    information : sequence of float, k looks
        In the order in which the data came in, in any unit.

    Returns
    -------
    tuple of int, k entries
        Positions in ``information``.

    Raises
    ------
    ValueError
        If there is no look, or information is not above 0 or falls.

    Examples
    --------
    >>> counted_looks([100, 100, 200, 200.1])
    (0, 0, 2, 2)
    """
    values = np.asarray(information, dtype=float)
    if values.size == 0 or not np.all((values > 0) & np.isfinite(values)) or np.any(np.diff(values) < 0):
        raise ValueError(
            f"information is {list(information)}; it must be above 0 and finite at each look, and never fall."
        )
    counted: list[int] = []
    for number, look in enumerate(information):
        before = counted[-1] if counted else None
        new = before is None or look - information[before] >= LEAST_STEP * look
        counted.append(number if new else before)
    return tuple(counted)


def look_levels(
    information: Sequence[float],
    spending_time: Sequence[float],
    *,
    alpha: float = 0.05,
    sides: int = 2,
    spending: Spending = obrien_fleming_spending,
) -> tuple[float, ...]:
    """Return the level of each look: the comparison is stopped where its p-value there is smaller.

    Parameters
    ----------
    information : sequence of float, k looks
        Of the looks so far, in any unit; see ``difference_information``.
    spending_time : sequence of float, k looks
        Share of the plan that each look has reached, such as days enrolled of the days planned; 1 at the last one
        planned, where all of ``alpha`` is spent. It must not fall.
    alpha : float, in (0, 1)
        Error rate of all looks together.
    sides : {1, 2}
        Sides of the p-values.
    spending : callable
        See ``abtest_lib.statistics.spending``.

    Returns
    -------
    tuple of float, k entries
        0 where a look cannot stop, because next to nothing may be spent by then.

    Raises
    ------
    ValueError
        If information or ``spending_time`` falls, lengths differ, or ``alpha`` or ``sides`` is not what it must be.

    Notes
    -----
    An interval at confidence 1 - level at each look holds at all looks together with confidence 1 - ``alpha``.
    What alpha is spent by depends on the plan and not on the data, so no planned number of units is needed, and more or
    fewer units than expected cost nothing; the correlation of looks comes from their information. A look that was
    skipped spends nothing, and the next one has what it would have spent.

    References
    ----------
    .. [1] Lan, DeMets (1989), Statistics in Medicine 8(10). doi:10.1002/sim.4780081003
    .. [2] Jennison, Turnbull (1999), Group Sequential Methods, chapters 7 and 9. doi:10.1201/9780367805326

    Examples
    --------
    >>> [round(level, 4) for level in look_levels([500, 1000, 1000, 2000], [0.25, 0.5, 0.5, 1.0])]
    [0.0, 0.003, 0.003, 0.049]
    """
    counted = counted_looks(information)
    bounds = _bounds(counted, information, spending_time, alpha, sides, spending)
    levels = dict(zip(sorted(set(counted)), (sides * float(ndtr(-z)) for z in bounds.upper), strict=True))
    return tuple(levels[number] for number in counted)


def sequential_pvalue(
    information: Sequence[float],
    pvalues: Sequence[float],
    spending_time: Sequence[float],
    *,
    sides: int = 2,
    spending: Spending = obrien_fleming_spending,
) -> float:
    """Return the smallest alpha at which any of the looks so far would have stopped the comparison.

    Parameters
    ----------
    information, spending_time : sequence of float, k looks
        As of ``look_levels``.
    pvalues : sequence of float, k looks
        Of each look by itself; 1 for a look without one.
    sides : {1, 2}
        Sides of the p-values.
    spending : callable
        See ``abtest_lib.statistics.spending``.

    Returns
    -------
    float
        Below alpha exactly when a look so far is below its ``look_levels``; never below 1e-12. It can be read on every
        night, whether or not the experiment goes on.

    Raises
    ------
    ValueError
        As ``look_levels``, and if a p-value is not in [0, 1].

    References
    ----------
    .. [1] Liu, Anderson (2008), JASA 103(484), 1621-1630. doi:10.1198/016214508000000986

    Examples
    --------
    >>> p = sequential_pvalue([500, 1000, 2000], [0.5, 0.0009, 0.03], [0.25, 0.5, 1.0])
    >>> round(p, 4)
    0.0262
    """
    if len(pvalues) != len(information) or not all(0 <= p <= 1 for p in pvalues):
        raise ValueError(f"pvalues is {list(pvalues)}; it must have one in [0, 1] for each look ({len(information)}).")
    counted = counted_looks(information)
    best = {number: min(p for p, at in zip(pvalues, counted, strict=True) if at == number) for number in set(counted)}
    passed = np.array([-float(ndtri(max(best[number], 1e-300) / sides)) for number in sorted(best)])

    @cache
    def missing(quantile: float) -> float:
        bounds = _bounds(counted, information, spending_time, float(ndtr(quantile)), sides, spending)
        return float(np.min(np.minimum(bounds.upper, 40.0) - passed))

    # No bound lets pass what a single look at the same alpha would not.
    low = float(ndtri(min(max(sides * float(ndtr(-passed.max())), _SMALLEST_ALPHA), 0.99))) - 1e-6
    if missing(low) <= 0:
        return _SMALLEST_ALPHA
    step, most = 0.2, float(ndtri(0.9999))
    while missing(high := min(low + step, most)) > 0:
        if high == most:
            return 1.0
        low, step = high, 2 * step
    return float(ndtr(find_root(missing, low, high, tolerance=1e-6)))


def estimate_after_stop(
    information: Sequence[float], levels: Sequence[float], z: float, *, alpha: float = 0.05
) -> StagewiseInference:
    """Return p-value, interval and median-unbiased estimate of a comparison that the last of these looks stopped.

    Parameters
    ----------
    information, levels : sequence of float, k looks
        As of ``look_levels``; two-sided.
    z : float
        Statistic at the last look, the first one below its level.
    alpha : float, in (0, 1)
        Of the interval.

    Returns
    -------
    StagewiseInference
        On the scale of z: times the standard error of that look it is on the scale of the effect. The plain estimate of
        a test that stopped early is too large.

    Raises
    ------
    ValueError
        If information falls, ``levels`` is of another length, ``z`` is not finite or ``alpha`` not in (0, 1).

    References
    ----------
    .. [1] Tsiatis, Rosner, Mehta (1984), Biometrics 40(3). doi:10.2307/2530924

    Examples
    --------
    >>> levels = look_levels([1000, 2000, 4000], [0.25, 0.5, 1.0])
    >>> stopped = estimate_after_stop([1000, 2000], levels[:2], 3.2)
    >>> round(stopped.median_unbiased, 2), [round(end, 2) for end in stopped.interval]
    (3.2, [1.24, 5.16])
    """
    counted = counted_looks(information)
    kept = sorted(set(counted))
    if len(levels) != len(information):
        raise ValueError(
            f"levels has {len(levels)} entries; it must have one for each of the looks ({len(information)})."
        )
    upper = [float("inf") if levels[number] == 0 else -float(ndtri(levels[number] / 2)) for number in kept[:-1]]
    return stagewise_inference([information[number] for number in kept], upper, z, alpha=alpha)


def _bounds(
    counted: Sequence[int],
    information: Sequence[float],
    spending_time: Sequence[float],
    alpha: float,
    sides: int,
    spending: Spending,
) -> SequentialBounds:
    if len(spending_time) != len(information):
        raise ValueError(
            f"spending_time has {len(spending_time)} entries; it must have one for each look ({len(information)})."
        )
    kept = sorted(set(counted))
    return spending_bounds(
        [information[number] for number in kept],
        alpha=alpha,
        sides=sides,
        spending=spending,
        spending_time=[spending_time[number] for number in kept],
    )
