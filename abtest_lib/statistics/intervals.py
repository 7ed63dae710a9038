"""Intervals of an effect and of a relative effect, from two estimates of a mean.

Those that use more of a proportion than its estimate (Newcombe, Koopman) are in ``proportions``. All broadcast over
arrays; plain numbers in give plain floats out.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, log_ratio_standard_error
from abtest_lib.statistics.tails import Alternative, as_number, critical_value, floats, interval_ends, square_root

NO_RATIO = "the mean of the control is zero"
NOT_FINITE = "a mean or its error is not finite"
UNBOUNDED = "the mean of the control is not clearly different from zero"
NO_WIDTH = "the relative interval would have no width, because the treatment has no variance"
NOTHING_VARIES = "no value varies in control or treatment"

RelativeMethod = Literal["fieller", "delta"]


def wald_interval(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    df: Any = None,
) -> Any:
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
    tuple of float or array, or NotComputed
        Lower and upper end, in the metric's unit. NotComputed where neither estimate has an error, or a number is not
        finite (nan in arrays).

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Wald (1943), Transactions of the AMS 54(3). doi:10.1090/S0002-9947-1943-0012401-3

    Examples
    --------
    >>> low, high = wald_interval(MeanEstimate.of_proportion(155, 5_000), MeanEstimate.of_proportion(190, 5_000))
    >>> round(low, 5), round(high, 5)
    (-0.00015, 0.01415)
    """
    quantile = critical_value(alpha, alternative, df)
    effect = treatment.mean - control.mean
    half = quantile * square_root(as_number(control.squared_error + treatment.squared_error))
    if type(half) is float and not (0 < half < math.inf and math.isfinite(effect)):
        return NotComputed(NOTHING_VARIES if half == 0 else NOT_FINITE)
    half = half if type(half) is float else np.where(half == 0, np.nan, half)
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
    low, high, g = fieller_ends(control, treatment, quantile)
    if type(g) is float and math.isnan(low):
        parts = (control.mean, control.squared_error, treatment.mean, treatment.squared_error)
        if not all(map(math.isfinite, parts)):
            return NotComputed(NOT_FINITE)
        if control.mean == 0:
            return NotComputed(NO_RATIO)
        return NotComputed(NO_WIDTH if g < 1 else UNBOUNDED)
    return interval_ends(low, high, alternative)


def relative_interval(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    method: RelativeMethod = "fieller",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    df: Any = None,
) -> Any:
    """Return the interval of the relative effect by the method that is named.

    Parameters
    ----------
    control, treatment : MeanEstimate
    method : {"fieller", "delta"}
        See ``fieller_interval`` and ``delta_interval``.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
    df : float or array, optional
        Degrees of freedom of the t quantile; default the normal quantile.

    Returns
    -------
    tuple of float or array, or NotComputed

    Raises
    ------
    ValueError
        If ``method``, ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Fieller (1954), JRSS B 16(2). doi:10.1111/j.2517-6161.1954.tb00159.x
    .. [2] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> arms = MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480)
    >>> [round(end, 4) for end in relative_interval(*arms, method="delta")]
    [-0.0004, 0.1204]
    """
    if method not in ("fieller", "delta"):
        raise ValueError(f"method is {method!r}; it must be 'fieller' or 'delta'.")
    interval = fieller_interval if method == "fieller" else delta_interval
    return interval(control, treatment, alpha=alpha, alternative=alternative, df=df)


def fieller_ends(control: MeanEstimate, treatment: MeanEstimate, quantile: Any) -> tuple[Any, Any, Any]:
    """Return the ends of Fieller's set for a quantile that is at hand, and how badly the control's mean is known.

    Parameters
    ----------
    control, treatment : MeanEstimate
    quantile : float or array
        Of the contrast's distribution; see ``tails.critical_value``.

    Returns
    -------
    tuple of float or array
        Lower end, upper end, and g = q² v_c / m_c². The ends are nan where g is 1 or more (the set is unbounded, or the
        control's mean so small that the ratio is beyond all numbers), where the set has no width, and where a number
        is not finite; ``fieller_interval`` says which.

    References
    ----------
    .. [1] Fieller (1954), JRSS B 16(2). doi:10.1111/j.2517-6161.1954.tb00159.x

    Examples
    --------
    >>> low, high, g = fieller_ends(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480), 1.96)
    >>> round(low, 4), round(high, 4), round(g, 4)
    (0.0012, 0.1221, 0.0015)
    """
    parts = (control.mean, control.squared_error, treatment.mean, treatment.squared_error, quantile)
    mc, vc, mt, vt, quantile = (as_number(part) for part in parts)
    if all(type(part) is float for part in (mc, vc, mt, vt, quantile)):
        g = (quantile / mc) * (quantile / mc) * vc if mc else math.inf
        if not g < 1:
            return math.nan, math.nan, g
        low, high, half = _fieller_ends(mc, vc, mt, vt, quantile, g)
        if math.isfinite(low) and math.isfinite(high):
            return (low, high, g) if half > 0 else (math.nan, math.nan, g)
        return math.nan, math.nan, math.inf
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        g = np.where(mc == 0, np.inf, (quantile / mc) * (quantile / mc) * vc)
        low, high, half = _fieller_ends(mc, vc, mt, vt, quantile, g)
        finite = np.isfinite(low) & np.isfinite(high)
        good = (g < 1) & (half > 0) & finite
    return np.where(good, low, np.nan), np.where(good, high, np.nan), np.where((g < 1) & ~finite, np.inf, g)


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
        NotComputed when the control's mean is zero, or where the interval would have no width (nan in arrays).

    Raises
    ------
    ValueError
        If ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> low, high = delta_interval(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480))
    >>> round(low, 4), round(high, 4)
    (-0.0004, 0.1204)
    """
    low, high, wide = delta_ends(control, treatment, critical_value(alpha, alternative, df))
    if type(low) is float and not (math.isfinite(low) and math.isfinite(high)):
        parts = (control.mean, control.squared_error, treatment.mean, treatment.squared_error)
        if not all(map(math.isfinite, parts)):
            return NotComputed(NOT_FINITE)
        if control.mean == 0:
            return NotComputed(NO_RATIO)
        return NotComputed(NO_WIDTH if wide == 0 else UNBOUNDED)
    return interval_ends(low, high, alternative)


def delta_ends(control: MeanEstimate, treatment: MeanEstimate, quantile: Any) -> tuple[Any, Any, Any]:
    """Return the ends of the delta-method interval of the relative effect for a quantile that is at hand.

    Parameters
    ----------
    control, treatment : MeanEstimate
    quantile : float or array
        See ``tails.critical_value``.

    Returns
    -------
    tuple of float or array
        Lower end, upper end, and half the width. The ends are nan where the control's mean is zero, the interval has
        no width, or a number is not finite; ``delta_interval`` says which.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> low, high, _ = delta_ends(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480), 1.96)
    >>> round(low, 4), round(high, 4)
    (-0.0004, 0.1204)
    """
    mean, treated = as_number(control.mean), as_number(treatment.mean)
    if type(mean) is float and mean == 0:
        return math.nan, math.nan, math.nan
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = treated / mean
        contrast = as_number(treatment.squared_error + ratio * ratio * control.squared_error)
        half, effect = quantile * square_root(contrast) / abs(mean), (treated - mean) / abs(mean)
        low, high = effect - half, effect + half
    if type(low) is float:
        good = half > 0 and math.isfinite(low) and math.isfinite(high)
        return (low, high, half) if good else (math.nan, math.nan, half)
    good = (half > 0) & np.isfinite(low) & np.isfinite(high)
    return np.where(good, low, math.nan), np.where(good, high, math.nan), half


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
        NotComputed when a mean is zero or negative, or a number is not finite (nan in arrays).

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
    parts = (mc, mt, control.squared_error, treatment.squared_error)
    if mc.ndim == mt.ndim == 0 and not all(np.isfinite(part).all() for part in parts):
        return NotComputed(NOT_FINITE)
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

    Returns
    -------
    As given
        One more than ``relative``.

    Examples
    --------
    >>> as_ratio(0.25), as_ratio((-0.5, 0.25))
    (1.25, (0.5, 1.25))
    """
    if isinstance(relative, NotComputed):
        return relative
    return tuple(1 + end for end in relative) if isinstance(relative, tuple) else 1 + relative


def _fieller_ends(mc: Any, vc: Any, mt: Any, vt: Any, quantile: Any, g: Any) -> tuple[Any, Any, Any]:
    """Ends of the set and the half width before the division by 1 - g."""
    size, ratio, room = abs(mc), mt / mc, 1 - g
    effect, shift = (mt - mc) / size, g * (mc / size)
    half = (quantile / size) * square_root(vt * room + ratio * ratio * vc)
    return (effect + shift - half) / room, (effect + shift + half) / room, half
