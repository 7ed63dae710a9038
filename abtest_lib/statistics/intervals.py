"""Intervals of an effect and of a relative effect, from two estimates of a mean.

Those that use more of a proportion than its estimate (Newcombe, Koopman) are in ``proportions``. All broadcast over
arrays; plain numbers in give plain floats out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, log_ratio_standard_error, relative_standard_error
from abtest_lib.statistics.tails import Alternative, critical_value, floats, interval_ends


def wald_interval(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    df: Any = None,
) -> tuple[Any, Any]:
    """Return the interval effect ± quantile × standard error.

    Parameters
    ----------
    control, treatment : MeanEstimate
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
    df : float or array, optional
        Degrees of freedom of the t quantile; default the normal quantile.

    Returns
    -------
    tuple of float or array
        Lower and upper end, in the metric's unit.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Examples
    --------
    >>> low, high = wald_interval(MeanEstimate.of_proportion(155, 5_000), MeanEstimate.of_proportion(190, 5_000))
    >>> round(low, 5), round(high, 5)
    (-0.00015, 0.01415)
    """
    quantile = critical_value(alpha, alternative, df)
    effect = treatment.mean - control.mean
    half = quantile * np.sqrt(control.squared_error + treatment.squared_error)
    return interval_ends(effect - half, effect + half, alternative)


def fieller_interval(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    df: Any = None,
) -> Any:
    """Return Fieller's interval of the relative effect: all ratios that a test of the contrast does not reject.

    Parameters
    ----------
    control, treatment : MeanEstimate
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
    df : float or array, optional
        Degrees of freedom of the t quantile (``welch_df`` for the interval dual to Welch's test); default the normal
        quantile.

    Returns
    -------
    tuple of float or array, or NotComputed
        Lower and upper end as fractions of the control's mean. NotComputed where the set is unbounded, because the
        control's mean is not clearly different from zero, or where it would have no width, because nothing varies.
        Arrays hold nan in such cells.

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    With g = q² v_c / m_c² and relative effect d, the ends are (d + g ± (q / m_c) √(v_t (1 - g) + (1 + d)² v_c)) /
    (1 - g); the set is bounded when g < 1.

    References
    ----------
    .. [1] Fieller (1954), JRSS B 16(2). doi:10.1111/j.2517-6161.1954.tb00159.x

    Examples
    --------
    >>> low, high = fieller_interval(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480))
    >>> round(low, 4), round(high, 4)
    (0.0012, 0.1221)
    >>> fieller_interval(MeanEstimate(0.1, 0.04, 500), MeanEstimate(0.6, 0.05, 480)).reason
    'the mean of the control is not clearly different from zero'
    """
    quantile = critical_value(alpha, alternative, df)
    mc, vc, mt, vt = floats(control.mean, control.squared_error, treatment.mean, treatment.squared_error)
    size = np.abs(mc)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        g = np.square(quantile / size) * vc
        effect = (mt - mc) / size
        half = (quantile / size) * np.sqrt(vt * (1 - g) + np.square(mt / mc) * vc)
        shift = np.sign(mc) * g
        low, high = (effect + shift - half) / (1 - g), (effect + shift + half) / (1 - g)
        bounded = (g < 1) & (size > 0)
        good = bounded & (half > 0) & np.isfinite(low) & np.isfinite(high)
    if good.ndim == 0 and not good:
        if not np.all(np.isfinite([mc, vc, mt, vt])):
            return NotComputed("a mean or its error is not finite")
        if size == 0:
            return NotComputed("the mean of the control is zero")
        if not bounded:
            return NotComputed("the mean of the control is not clearly different from zero")
        return NotComputed("the relative interval would have no width, because the treatment has no variance")
    return interval_ends(np.where(good, low, np.nan), np.where(good, high, np.nan), alternative)


def delta_interval(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    df: Any = None,
) -> Any:
    """Return the delta-method interval of the relative effect.

    Covers too little on rare or skewed metrics (see docs/statistics.md); reports use ``fieller_interval``.

    Parameters
    ----------
    control, treatment : MeanEstimate
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
    df : float or array, optional
        Degrees of freedom of the t quantile; default the normal quantile.

    Returns
    -------
    tuple of float or array, or NotComputed
        NotComputed when the control's mean is zero (nan in arrays).

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    Examples
    --------
    >>> low, high = delta_interval(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480))
    >>> round(low, 4), round(high, 4)
    (-0.0004, 0.1204)
    """
    quantile = critical_value(alpha, alternative, df)
    if np.ndim(control.mean) == 0 and control.mean == 0:
        return NotComputed("the mean of the control is zero")
    mean = np.where(np.asarray(control.mean) == 0, np.nan, control.mean)
    effect = (treatment.mean - mean) / np.abs(mean)
    half = quantile * relative_standard_error(MeanEstimate(mean, control.squared_error, control.df), treatment)
    return interval_ends(effect - half, effect + half, alternative)


def log_ratio_interval(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    df: Any = None,
) -> Any:
    """Return the interval of the relative effect by the delta method on the log ratio.

    Parameters
    ----------
    control, treatment : MeanEstimate
        Means of the same sign.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
    df : float or array, optional
        Degrees of freedom of the t quantile; default the normal quantile.

    Returns
    -------
    tuple of float or array, or NotComputed
        NotComputed when a mean is zero or negative (nan in arrays).

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Katz, Baptista, Azen, Pike (1978), Biometrics 34(3). doi:10.2307/2530610

    Examples
    --------
    >>> low, high = log_ratio_interval(MeanEstimate.of_proportion(155, 5_000), MeanEstimate.of_proportion(190, 5_000))
    >>> round(low, 4), round(high, 4)
    (-0.0049, 0.51)
    """
    quantile = critical_value(alpha, alternative, df)
    mc, mt = floats(control.mean, treatment.mean)
    positive = (mc > 0) & (mt > 0)
    if positive.ndim == 0 and not positive:
        return NotComputed("a logarithm needs means above zero")
    mc, mt = np.where(positive, mc, np.nan), np.where(positive, mt, np.nan)
    half = quantile * log_ratio_standard_error(
        MeanEstimate(mc, control.squared_error, control.df), MeanEstimate(mt, treatment.squared_error, treatment.df)
    )
    centre = np.log(mt / mc)
    return interval_ends(np.expm1(centre - half), np.expm1(centre + half), alternative)


def as_ratio(relative: Any) -> Any:
    """Return a relative effect, or the ends of its interval, as a ratio of means.

    Parameters
    ----------
    relative : float, array, or tuple of these, or NotComputed
        Fractions of a positive control mean. NotComputed stays what it is.

    Examples
    --------
    >>> as_ratio(0.25), as_ratio((-0.5, 0.25))
    (1.25, (0.5, 1.25))
    """
    if isinstance(relative, NotComputed):
        return relative
    return tuple(1 + end for end in relative) if isinstance(relative, tuple) else 1 + relative
