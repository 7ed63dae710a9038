"""How much of alpha may have been spent by a given share of the information: alpha spending functions.

Each takes the information fraction, as a number or an array, and the whole alpha of one side, and returns what may have
been spent by then. ``functools.partial`` fixes the shape of those that have one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from abtest_lib.statistics.tails import plain

Spending = Callable[[Any, float], Any]


def obrien_fleming_spending(fraction: Any, alpha: float) -> Any:
    """Return the alpha spent by Lan and DeMets' function of O'Brien-Fleming type: next to nothing at first.

    Parameters
    ----------
    fraction : float or array, at least 0
        Share of the planned information; beyond 1 all of ``alpha`` is spent.
    alpha : float, in (0, 1)
        Of one side: half of a two-sided alpha.

    Returns
    -------
    float or array
        In [0, alpha].

    Raises
    ------
    ValueError
        If a fraction is negative or ``alpha`` is not in (0, 1).

    Notes
    -----
    ``2 - 2 Phi(z / sqrt(t))`` with z the upper ``alpha / 2`` quantile, also where alpha is that of one side.

    References
    ----------
    .. [1] Lan, DeMets (1983), Biometrika 70(3). doi:10.1093/biomet/70.3.659

    Examples
    --------
    >>> f"{obrien_fleming_spending(0.5, 0.025):.5f}"
    '0.00153'
    """
    share = _checked(fraction, alpha)
    with np.errstate(divide="ignore"):
        return plain(2 * ndtr(ndtri(alpha / 2) / np.sqrt(share)))


def pocock_spending(fraction: Any, alpha: float) -> Any:
    """Return the alpha spent by Lan and DeMets' function of Pocock type: nearly evenly, somewhat more at first.

    Parameters
    ----------
    fraction : float or array, at least 0
        Share of the planned information; beyond 1 all of ``alpha`` is spent.
    alpha : float, in (0, 1)
        Of one side: half of a two-sided alpha.

    Returns
    -------
    float or array
        In [0, alpha].

    Raises
    ------
    ValueError
        If a fraction is negative or ``alpha`` is not in (0, 1).

    Notes
    -----
    ``alpha log(1 + (e - 1) t)``.

    References
    ----------
    .. [1] Lan, DeMets (1983), Biometrika 70(3). doi:10.1093/biomet/70.3.659

    Examples
    --------
    >>> f"{pocock_spending(0.5, 0.025):.5f}"
    '0.01550'
    """
    return plain(alpha * np.log1p(np.expm1(1.0) * _checked(fraction, alpha)))


def power_spending(fraction: Any, alpha: float, *, rho: float) -> Any:
    """Return the alpha spent by Kim and DeMets' power function.

    Parameters
    ----------
    fraction : float or array, at least 0
        Share of the planned information; beyond 1 all of ``alpha`` is spent.
    alpha : float, in (0, 1)
        Of one side: half of a two-sided alpha.
    rho : float, above 0
        1 spends evenly; 3 is close to O'Brien-Fleming.

    Returns
    -------
    float or array
        ``alpha t ** rho``.

    Raises
    ------
    ValueError
        If a fraction is negative, ``alpha`` is not in (0, 1) or ``rho`` is not above 0.

    References
    ----------
    .. [1] Kim, DeMets (1987), Biometrika 74(1). doi:10.1093/biomet/74.1.149

    Examples
    --------
    >>> power_spending(0.5, 0.025, rho=2)
    0.00625
    """
    if not 0 < rho < np.inf:
        raise ValueError(f"rho is {rho}; it must be above 0.")
    return plain(alpha * _checked(fraction, alpha) ** rho)


def hwang_shih_decani_spending(fraction: Any, alpha: float, *, gamma: float) -> Any:
    """Return the alpha spent by the function of Hwang, Shih and DeCani.

    Parameters
    ----------
    fraction : float or array, at least 0
        Share of the planned information; beyond 1 all of ``alpha`` is spent.
    alpha : float, in (0, 1)
        Of one side: half of a two-sided alpha.
    gamma : float
        -4 is close to O'Brien-Fleming, 0 spends evenly, 1 is close to Pocock.

    Returns
    -------
    float or array
        ``alpha (1 - exp(-gamma t)) / (1 - exp(-gamma))``.

    Raises
    ------
    ValueError
        If a fraction is negative, ``alpha`` is not in (0, 1) or ``gamma`` is not finite.

    References
    ----------
    .. [1] Hwang, Shih, De Cani (1990), Statistics in Medicine 9(12). doi:10.1002/sim.4780091207

    Examples
    --------
    >>> f"{hwang_shih_decani_spending(0.5, 0.025, gamma=-4):.5f}"
    '0.00298'
    """
    share = _checked(fraction, alpha)
    if not np.isfinite(gamma):
        raise ValueError(f"gamma is {gamma}; it must be a finite number.")
    return plain(alpha * (np.expm1(-gamma * share) / np.expm1(-gamma) if gamma else share))


def _checked(fraction: Any, alpha: float) -> np.ndarray:
    share = np.asarray(fraction, dtype=float)
    if not np.all(share >= 0):
        raise ValueError(f"fraction is {fraction}; it must be at least 0.")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    return np.minimum(share, 1.0)
