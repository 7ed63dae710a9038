"""Bounds with a fixed shape: O'Brien-Fleming, Pocock, Wang-Tsiatis, Haybittle-Peto, and one for any looks at all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import numpy as np
from scipy.special import ndtri

from abtest_lib.statistics.sequential import (
    SequentialBounds,
    checked_information,
    crossing_from,
    mirrored,
    one_sided_alpha,
)
from abtest_lib.statistics.sequential_paths import LARGEST_BOUND, Paths, find_root


def wang_tsiatis_bounds(
    information: Sequence[float], *, delta: float, alpha: float = 0.05, sides: int = 2
) -> SequentialBounds:
    """Return bounds ``c t ** (delta - 0.5)`` that spend ``alpha`` over all looks; the looks must be known beforehand.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing to 1.
    delta : float
        0 is O'Brien-Fleming, 0.5 Pocock.
    alpha : float, in (0, 1)
        Of all sides together.
    sides : {1, 2}

    Returns
    -------
    SequentialBounds
        Bounds above 7 are infinite; they would spend less than 1.3e-12.

    Raises
    ------
    ValueError
        If information does not increase from above 0 to 1, or ``delta``, ``alpha`` or ``sides`` is not what it must be.

    References
    ----------
    .. [1] Wang, Tsiatis (1987), Biometrics 43(1). doi:10.2307/2531959

    Examples
    --------
    >>> [round(z, 3) for z in wang_tsiatis_bounds([0.5, 1.0], delta=0.25).upper]
    [2.424, 2.038]
    """
    looks = _planned_looks(information)
    side_alpha = one_sided_alpha(alpha, sides)
    if not side_alpha < 0.5:
        raise ValueError(f"alpha is {alpha}; it must be below 0.5 per side.")
    if not abs(delta) < inf:
        raise ValueError(f"delta is {delta}; it must be a finite number.")
    shape = np.asarray(looks) ** (delta - 0.5)

    def overspent(constant: float) -> float:
        return _with_spending(looks, constant * shape, sides).spent[-1] - side_alpha

    least, most = -ndtri(side_alpha) - 0.01, 0.01 - ndtri(side_alpha / len(looks)) / shape.min()
    return _with_spending(looks, find_root(overspent, least, most) * shape, sides)


def obrien_fleming_bounds(information: Sequence[float], *, alpha: float = 0.05, sides: int = 2) -> SequentialBounds:
    """Return O'Brien and Fleming's bounds ``c / sqrt(t)``, c exact; the looks must be known beforehand.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing to 1.
    alpha : float, in (0, 1)
        Of all sides together.
    sides : {1, 2}

    Returns
    -------
    SequentialBounds

    Raises
    ------
    ValueError
        As ``wang_tsiatis_bounds``.

    Notes
    -----
    The constant for five looks at 0.05 is 2.0401; taking 1.96 for it spends 0.061.

    References
    ----------
    .. [1] O'Brien, Fleming (1979), Biometrics 35(3). doi:10.2307/2530245

    Examples
    --------
    >>> round(obrien_fleming_bounds([0.2, 0.4, 0.6, 0.8, 1.0]).upper[-1], 4)
    2.0401
    """
    return wang_tsiatis_bounds(information, delta=0.0, alpha=alpha, sides=sides)


def pocock_bounds(information: Sequence[float], *, alpha: float = 0.05, sides: int = 2) -> SequentialBounds:
    """Return Pocock's bounds, the same at every look; the looks must be known beforehand.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing to 1.
    alpha : float, in (0, 1)
        Of all sides together.
    sides : {1, 2}

    Returns
    -------
    SequentialBounds

    Raises
    ------
    ValueError
        As ``wang_tsiatis_bounds``.

    References
    ----------
    .. [1] Pocock (1977), Biometrika 64(2). doi:10.1093/biomet/64.2.191

    Examples
    --------
    >>> round(pocock_bounds([0.2, 0.4, 0.6, 0.8, 1.0]).upper[-1], 3)
    2.413
    """
    return wang_tsiatis_bounds(information, delta=0.5, alpha=alpha, sides=sides)


def haybittle_peto_bounds(
    information: Sequence[float], *, interim_z: float = 3.0, alpha: float = 0.05, sides: int = 2
) -> SequentialBounds:
    """Return one high bound for all looks but the last, whose bound is such that all together spend ``alpha``.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing to 1.
    interim_z : float, above 0
        Bound of all looks but the last.
    alpha : float, in (0, 1)
        Of all sides together.
    sides : {1, 2}

    Returns
    -------
    SequentialBounds

    Raises
    ------
    ValueError
        If ``interim_z`` alone spends ``alpha``, or as ``wang_tsiatis_bounds``.

    References
    ----------
    .. [1] Peto et al. (1976), British Journal of Cancer 34(6). doi:10.1038/bjc.1976.220

    Examples
    --------
    >>> round(haybittle_peto_bounds([0.2, 0.4, 0.6, 0.8, 1.0]).upper[-1], 4)
    1.99
    """
    looks = _planned_looks(information)
    side_alpha = one_sided_alpha(alpha, sides)
    if not 0 < interim_z < inf:
        raise ValueError(f"interim_z is {interim_z}; it must be above 0.")
    running, used = Paths.start(), 0.0
    for look, then in pairwise(looks):
        used += running.above(interim_z, look)
        running = running.within(-interim_z if sides == 2 else -inf, interim_z, look, then)
    if not used < side_alpha:
        raise ValueError(f"interim_z is {interim_z}, which spends {used:.3g} of {side_alpha:.3g} per side; raise it.")
    last = running.upper_bound(side_alpha - used, looks[-1])
    return _with_spending(looks, np.array([interim_z] * (len(looks) - 1) + [last]), sides)


def any_looks_bounds(information: Sequence[float], *, alpha: float = 0.05, sides: int = 2) -> SequentialBounds:
    """Return bounds ``c / sqrt(t)`` with a c that holds for any number and times of looks, known or not.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the largest information that there will be, increasing to at most 1.
    alpha : float, in (0, 1)
        Of all sides together.
    sides : {1, 2}

    Returns
    -------
    SequentialBounds
        ``spent`` is what these looks spend: less than alpha, and less the fewer they are.

    Raises
    ------
    ValueError
        If information does not increase from above 0 to at most 1, or ``alpha`` or ``sides`` is not what it must be.

    Notes
    -----
    By Levy's inequality the highest score so far passes a bound at most twice as often as the last one does, so c is
    the upper ``alpha / 2`` quantile of one side. ``spending_bounds`` finds more effects; these need no record of looks.

    References
    ----------
    .. [1] Kurennoy, Dodin, Gurbanov, Peleteiro Ramallo (2024), arXiv:2406.16523. doi:10.48550/arXiv.2406.16523

    Examples
    --------
    >>> bounds = any_looks_bounds([0.25, 0.5, 1.0])
    >>> [round(z, 3) for z in bounds.upper], round(2 * bounds.spent[-1], 3)
    ([4.483, 3.17, 2.241], 0.026)
    """
    looks = checked_information(information)
    if looks[-1] > 1 + 1e-9:
        raise ValueError(f"information is {list(information)}; it must increase to at most 1.")
    constant = -float(ndtri(one_sided_alpha(alpha, sides) / 2))
    return _with_spending(looks, constant / np.sqrt(looks), sides)


def _planned_looks(information: Sequence[float]) -> tuple[float, ...]:
    looks = checked_information(information)
    if abs(looks[-1] - 1) > 1e-9:
        raise ValueError(f"information is {list(information)}; it must increase to 1.")
    return looks


def _with_spending(looks: tuple[float, ...], bounds: np.ndarray, sides: int) -> SequentialBounds:
    upper = tuple(float(z) if z <= LARGEST_BOUND else inf for z in bounds)
    lower = mirrored(upper, sides)
    crossing = crossing_from(Paths.start(), looks, lower, upper)
    return SequentialBounds(looks, lower, upper, tuple(np.cumsum(crossing.upper).tolist()))
