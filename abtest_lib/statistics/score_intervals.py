"""Difference of two proportions by the score method: statistics at any difference, and the intervals dual to them.

All broadcast over arrays; plain numbers in give plain floats out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from abtest_lib.statistics.tails import Alternative, check_counts, critical_value, floats, interval_ends, plain

STEPS = 62


def farrington_manning_z(
    successes_control: Any, n_control: Any, successes_treatment: Any, n_treatment: Any, *, difference: Any = 0.0
) -> Any:
    """Return the score statistic for "the treatment's share is the control's plus ``difference``".

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int or array
        n at least 1.
    difference : float or array, in (-1, 1)
        Treatment minus control under the hypothesis; with 0 the statistic is the pooled z.

    Returns
    -------
    float or array
        Positive when the shares differ by more than ``difference``; nan where nobody or everybody succeeded and
        ``difference`` is 0.

    Raises
    ------
    ValueError
        If counts or ``difference`` are not what they must be.

    Notes
    -----
    (p_t - p_c - d) over its standard error at the maximum-likelihood shares under p_t = p_c + d, a root of a cubic.

    References
    ----------
    .. [1] Farrington, Manning (1990), Statistics in Medicine 9(12). doi:10.1002/sim.4780091208

    Examples
    --------
    >>> round(farrington_manning_z(155, 5_000, 190, 5_000, difference=-0.005), 5)
    3.26895
    """
    counts = _checked(successes_control, n_control, successes_treatment, n_treatment)
    return _statistic(counts, difference, np.asarray(1.0))


def miettinen_nurminen_z(
    successes_control: Any, n_control: Any, successes_treatment: Any, n_treatment: Any, *, difference: Any = 0.0
) -> Any:
    """Return the score statistic of ``farrington_manning_z`` with its variance larger by N / (N - 1).

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int or array
        n at least 1.
    difference : float or array, in (-1, 1)
        Treatment minus control under the hypothesis.

    Returns
    -------
    float or array
        nan where nobody or everybody succeeded and ``difference`` is 0.

    Raises
    ------
    ValueError
        If counts or ``difference`` are not what they must be.

    References
    ----------
    .. [1] Miettinen, Nurminen (1985), Statistics in Medicine 4(2). doi:10.1002/sim.4780040211

    Examples
    --------
    >>> round(miettinen_nurminen_z(155, 5_000, 190, 5_000, difference=-0.005), 5)
    3.26878
    """
    counts = _checked(successes_control, n_control, successes_treatment, n_treatment)
    return _statistic(counts, difference, _small_sample_factor(counts))


def mee_interval(
    successes_control: Any,
    n_control: Any,
    successes_treatment: Any,
    n_treatment: Any,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> tuple[Any, Any]:
    """Return Mee's score interval of a difference of proportions: what ``farrington_manning_z`` does not reject.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int or array
        n at least 1.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    tuple of float or array
        Lower and upper end of treatment minus control.

    Raises
    ------
    ValueError
        If counts, ``alpha`` or ``alternative`` are not what they must be.

    References
    ----------
    .. [1] Mee (1984), Biometrics 40(4), 1175-1176; one of the methods that Newcombe (1998) compares,
       doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I

    Examples
    --------
    >>> [round(end, 4) for end in mee_interval(48, 80, 56, 70)]
    [0.0533, 0.3377]
    """
    counts = _checked(successes_control, n_control, successes_treatment, n_treatment)
    return _interval(counts, np.asarray(1.0), alpha, alternative)


def miettinen_nurminen_interval(
    successes_control: Any,
    n_control: Any,
    successes_treatment: Any,
    n_treatment: Any,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> tuple[Any, Any]:
    """Return Miettinen and Nurminen's score interval of a difference: what ``miettinen_nurminen_z`` does not reject.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int or array
        n at least 1.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    tuple of float or array
        Lower and upper end of treatment minus control.

    Raises
    ------
    ValueError
        If counts, ``alpha`` or ``alternative`` are not what they must be.

    References
    ----------
    .. [1] Miettinen, Nurminen (1985), Statistics in Medicine 4(2). doi:10.1002/sim.4780040211

    Examples
    --------
    >>> [round(end, 4) for end in miettinen_nurminen_interval(48, 80, 56, 70)]
    [0.0528, 0.3382]
    """
    counts = _checked(successes_control, n_control, successes_treatment, n_treatment)
    return _interval(counts, _small_sample_factor(counts), alpha, alternative)


def _checked(xc: Any, nc: Any, xt: Any, nt: Any) -> list[np.ndarray]:
    for name, successes, n in (("control", xc, nc), ("treatment", xt, nt)):
        check_counts(successes, n, f"successes_{name}", f"n_{name}")
        if np.any(np.asarray(n) < 1):
            raise ValueError(f"n_{name} is {n}; a share needs at least 1 unit.")
    return floats(xc, nc, xt, nt)


def _small_sample_factor(counts: list[np.ndarray]) -> np.ndarray:
    units = counts[1] + counts[3]
    return units / (units - 1)


def _statistic(counts: list[np.ndarray], difference: Any, factor: np.ndarray) -> Any:
    difference = np.asarray(difference, dtype=float)
    if not np.all(np.abs(difference) < 1):
        raise ValueError(f"difference is {difference}; it must be between -1 and 1.")
    contrast, variance = _score_parts(counts, difference)
    with np.errstate(invalid="ignore", divide="ignore"):
        return plain(np.where(variance > 0, contrast / np.sqrt(factor * variance), np.nan))


def _score_parts(counts: list[np.ndarray], difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    xc, nc, xt, nt = counts
    share_c = _restricted_share(xc, nc, xt, nt, difference)
    share_t = np.clip(share_c + difference, 0.0, 1.0)
    variance = share_t * (1 - share_t) / nt + share_c * (1 - share_c) / nc
    return xt / nt - xc / nc - difference, variance


def _restricted_share(xc: Any, nc: Any, xt: Any, nt: Any, d: np.ndarray) -> np.ndarray:
    """Control's maximum-likelihood share when the treatment's is larger by d (Miettinen and Nurminen, appendix)."""
    a = nc + nt
    b = ((nt + 2 * nc) * d - a - (xc + xt)) / a
    c = ((nc * d - a - 2 * xc) * d + (xc + xt)) / a
    e = xc * d * (1 - d) / a
    q = b**3 / 27 - b * c / 6 + e / 2
    size = np.copysign(np.sqrt(np.maximum(b * b / 9 - c / 3, 0.0)), q)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        cosine = np.where(size == 0, 0.0, np.clip(q / size**3, -1.0, 1.0))
        share = 2 * size * np.cos((np.pi + np.arccos(cosine)) / 3) - b / 3
        # Where two roots are close, as on rare events, the cosine has lost half of its digits; Newton finds them.
        for _ in range(3):
            slope = (3 * share + 2 * b) * share + c
            step = (((share + b) * share + c) * share + e) / slope
            share = np.where(np.isfinite(step), share - step, share)
    return np.clip(share, np.maximum(0.0, -d), np.minimum(1.0, 1 - d))


def _interval(counts: list[np.ndarray], factor: np.ndarray, alpha: float, alternative: Alternative) -> tuple[Any, Any]:
    quantile = critical_value(alpha, alternative)
    counts = list(np.broadcast_arrays(*counts))
    return interval_ends(_root(counts, factor, quantile), _root(counts, factor, -quantile), alternative)


def _root(counts: list[np.ndarray], factor: np.ndarray, target: float) -> np.ndarray:
    """Difference at which the score statistic, which falls as the difference grows, equals ``target``."""
    low, high = np.full(counts[0].shape, -1.0), np.full(counts[0].shape, 1.0)
    for _ in range(STEPS):
        middle = (low + high) / 2
        contrast, variance = _score_parts(counts, middle)
        # Nothing varies only at no difference when nobody or everybody succeeded; the statistic's limit there is 0.
        above = np.where(variance > 0, contrast > target * np.sqrt(factor * variance), target < 0)
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2
