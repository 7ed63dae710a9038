"""Bounds for counts of values below a quantile that hold at every look, and the intervals that follow.

They need no large sample and no distribution; the price is width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit, zeta

from abtest_lib.statistics.always_valid import check_units
from abtest_lib.statistics.sequential_paths import find_root
from abtest_lib.statistics.tails import Interval, check_choices, floats, plain

# Steepness of the sums over time and quantiles, ratio of times and distance of quantiles, as the paper recommends.
_POWER, _SPACING, _GRID = 1.4, 2.0, 0.5
_BAND_FACTOR = 0.85


def quantile_deviation(share: Any, n: Any, *, planned_n: float, alpha: float = 0.05) -> Any:
    """Return by how much more values than expected lie below a quantile, at most, at any time and for all quantiles.

    Parameters
    ----------
    share : float or array, in (0, 1)
        Of values below the quantile.
    n : float or array
        Values so far, at least 1.
    planned_n : float
        Values from which on the bound is narrow; fixed before the first look.
    alpha : float, in (0, 1)
        Of excess and shortage together; the shortage is bounded by the excess of ``1 - share``.

    Returns
    -------
    float or array
        A number of values.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Howard, Ramdas (2022), Bernoulli 28(3), theorem 3. doi:10.3150/21-BEJ1388

    Examples
    --------
    >>> round(quantile_deviation(0.9, 500, planned_n=500), 3)
    25.582
    """
    check_choices(alpha, "two-sided")
    check_units(n, "n")
    check_units(planned_n, "planned_n")
    if not np.all((np.asarray(share) > 0) & (np.asarray(share) < 1)):
        raise ValueError(f"share is {share}; it must be between 0 and 1.")
    p, units = floats(share, n)
    grown = np.maximum(units / planned_n, 1.0)
    near = np.where(p >= 0.5, p, np.minimum(0.5, expit(logit(p) + 2 * _GRID * np.sqrt(_SPACING / grown))))
    variance = near * (1 - near)
    sums = float(zeta(_POWER))
    evidence = (
        _POWER * np.log(np.log(_SPACING * grown))
        + _POWER * np.log1p(np.sqrt(grown) * np.abs(logit(p)) / (2 * _GRID))
        + math.log(2 * sums * (2 * sums + 1) / (alpha * math.log(_SPACING) ** _POWER))
    )
    spread = (_SPACING**0.25 + _SPACING**-0.25) ** 2 / 2
    skew = (math.sqrt(_SPACING) + 1) / 2 * (1 - 2 * p) / 3 * evidence
    size = grown * planned_n
    return plain(
        _GRID * np.sqrt(_SPACING * grown * variance)
        + np.sqrt(spread * variance * size * evidence + np.square(skew))
        + skew
    )


def quantile_sequence(values: Sequence[float], share: float, *, planned_n: float, alpha: float = 0.05) -> Interval:
    """Return an interval of a quantile that holds on all nights at once, for values of any distribution.

    Parameters
    ----------
    values : sequence of float
        Of all units so far, in any order.
    share : float, in (0, 1)
        Of values below the quantile: 0.95 for the 95th percentile.
    planned_n : float
        Values from which on the interval is narrow; fixed before the first look.
    alpha : float, in (0, 1)

    Returns
    -------
    tuple of float
        Two of the values; infinite where there are too few for an end.

    Raises
    ------
    ValueError
        If an argument is not what it must be, or there are no values.

    References
    ----------
    .. [1] Howard, Ramdas (2022), Bernoulli 28(3), theorem 3. doi:10.3150/21-BEJ1388

    Examples
    --------
    >>> quantile_sequence(range(2_000), 0.5, planned_n=1_000)
    (910.0, 1089.0)
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    if not np.all(np.isfinite(ordered)):
        raise ValueError("values must be finite.")
    excess = quantile_deviation(share, n, planned_n=planned_n, alpha=alpha)
    shortage = quantile_deviation(1 - share, n, planned_n=planned_n, alpha=alpha)
    first, last = math.ceil(n * share - shortage), math.floor(n * share + excess) + 1
    return (
        float(ordered[first - 1]) if first >= 1 else -math.inf,
        float(ordered[last - 1]) if last <= n else math.inf,
    )


def distribution_band(n: Any, *, from_n: float, alpha: float = 0.05) -> Any:
    """Return how far a distribution function is from that of the values so far, at most, at any time.

    Parameters
    ----------
    n : float or array
        Values so far, at least ``from_n``.
    from_n : float
        Values at the first look, at least 1.
    alpha : float, in (0, 1)

    Returns
    -------
    float or array
        A share of the values.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Howard, Ramdas (2022), Bernoulli 28(3), theorem 2. doi:10.3150/21-BEJ1388

    Examples
    --------
    >>> round(distribution_band(100, from_n=100), 4)
    0.2423
    """
    check_choices(alpha, "two-sided")
    check_units(from_n, "from_n")
    if not np.all(np.asarray(n) >= from_n):
        raise ValueError(f"n is {n}; it must be at least from_n ({from_n}).")
    (units,) = floats(n)

    def excess(constant: float) -> float:
        eta = 1 + (2 * _BAND_FACTOR**2 - 1) * np.linspace(0, 1, 2_001)[1:]
        steep = 2 / eta * np.square(np.maximum(_BAND_FACTOR - np.sqrt(2 * (eta - 1) / constant), 0.0))
        eta, steep = eta[steep > 1], steep[steep > 1]
        errors = 4 * np.exp(-steep * constant) * (1 + 1 / ((steep - 1) * np.log(eta)))
        return math.log(errors.min(initial=1.0) / alpha)

    constant = find_root(excess, 0.5, 20 - 2 * math.log(alpha))
    return plain(_BAND_FACTOR * np.sqrt((np.log1p(np.log(units / from_n)) + constant) / units))
