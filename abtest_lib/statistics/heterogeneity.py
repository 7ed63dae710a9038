"""Whether an effect differs between segments, and what each segment's effect is once chance is discounted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import Interval, check_choices, critical_value

FEWEST_FOR_INTERVALS = 4


@dataclass(frozen=True)
class HeterogeneityTest:
    """Say whether effects of segments differ by more than chance.

    Parameters
    ----------
    statistic : float
        Cochran's Q.
    df : int
        Segments less one.
    pvalue : float
        Of "all segments have the same effect".
    i_squared : float
        Share of the spread between segments that is not chance, in [0, 1).
    pooled_effect, standard_error : float
        Mean of the effects, weighted by their precision.
    """

    statistic: float
    df: int
    pvalue: float
    i_squared: float
    pooled_effect: float
    standard_error: float


@dataclass(frozen=True)
class RandomEffects:
    """Describe effects that differ between segments: their centre and their spread.

    Parameters
    ----------
    pooled_effect, standard_error : float
        Centre of the segments' effects.
    tau_squared : float
        Variance of the true effects between segments, at least 0.
    """

    pooled_effect: float
    standard_error: float
    tau_squared: float


@dataclass(frozen=True)
class ShrunkenEffects:
    """Hold each segment's effect, drawn towards the centre of all as far as chance may have moved it.

    Parameters
    ----------
    effects, standard_errors : tuple of float
        In the order given; errors count the error of the centre, not that of ``tau_squared``.
    tau_squared : float
        Variance of the true effects between segments.
    intervals : tuple of tuple of float, or NotComputed
        In the order given; they count the error of ``tau_squared`` too. NotComputed below four segments.
    """

    effects: tuple[float, ...]
    standard_errors: tuple[float, ...]
    tau_squared: float
    intervals: tuple[Interval, ...] | NotComputed


def heterogeneity_test(effects: Sequence[float], standard_errors: Sequence[float]) -> HeterogeneityTest | NotComputed:
    """Test whether all segments have the same effect, by Cochran's Q.

    Parameters
    ----------
    effects, standard_errors : sequence of float, one a segment
        Of disjoint segments; errors at least 0.

    Returns
    -------
    HeterogeneityTest or NotComputed
        NotComputed with fewer than two segments, an error of 0, or a number that is not finite.

    Raises
    ------
    ValueError
        If there are more of one than of the other, or an error is negative.

    References
    ----------
    .. [1] Cochran (1954), Biometrics 10(1). doi:10.2307/3001666
    .. [2] Higgins, Thompson (2002), Statistics in Medicine 21(11). doi:10.1002/sim.1186

    Examples
    --------
    >>> test = heterogeneity_test([0.012, -0.004, 0.02, 0.001, 0.015], [0.008, 0.006, 0.01, 0.004, 0.012])
    >>> round(test.statistic, 3), round(test.pvalue, 3), round(test.i_squared, 3)
    (6.722, 0.151, 0.405)
    """
    checked = _checked(effects, standard_errors)
    if isinstance(checked, NotComputed):
        return checked
    values, variances = checked
    pooled, error, statistic = _pooled(values, variances)
    df = values.size - 1
    return HeterogeneityTest(
        statistic=statistic,
        df=df,
        pvalue=float(gammaincc(df / 2, statistic / 2)),
        i_squared=max(0.0, 1 - df / statistic) if statistic > 0 else 0.0,
        pooled_effect=pooled,
        standard_error=error,
    )


def random_effects(effects: Sequence[float], standard_errors: Sequence[float]) -> RandomEffects | NotComputed:
    """Estimate centre and spread of segments' effects by DerSimonian and Laird's moments.

    Parameters
    ----------
    effects, standard_errors : sequence of float, one a segment
        Of disjoint segments; errors at least 0.

    Returns
    -------
    RandomEffects or NotComputed
        NotComputed with fewer than two segments, an error of 0, or a number that is not finite.

    Raises
    ------
    ValueError
        If there are more of one than of the other, or an error is negative.

    References
    ----------
    .. [1] DerSimonian, Laird (1986), Controlled Clinical Trials 7(3). doi:10.1016/0197-2456(86)90046-2

    Examples
    --------
    >>> centre = random_effects([0.012, -0.004, 0.02, 0.001, 0.015], [0.008, 0.006, 0.01, 0.004, 0.012])
    >>> round(centre.pooled_effect, 5), round(centre.standard_error, 5), round(centre.tau_squared, 8)
    (0.00552, 0.00415, 3.336e-05)
    """
    checked = _checked(effects, standard_errors)
    if isinstance(checked, NotComputed):
        return checked
    values, variances = checked
    tau_squared = _tau_squared(values, variances)
    pooled, error, _ = _pooled(values, variances + tau_squared)
    return RandomEffects(pooled, error, tau_squared)


def shrunken_effects(
    effects: Sequence[float], standard_errors: Sequence[float], *, alpha: float = 0.05
) -> ShrunkenEffects | NotComputed:
    """Return each segment's effect, shrunken towards the centre of all (empirical Bayes).

    Parameters
    ----------
    effects, standard_errors : sequence of float, one a segment
        Of disjoint segments; errors at least 0.
    alpha : float, in (0, 1)
        Share of the segments, on average, whose effect lies outside its interval.

    Returns
    -------
    ShrunkenEffects or NotComputed
        NotComputed with fewer than two segments, an error of 0, or a number that is not finite.

    Raises
    ------
    ValueError
        If there are more of one than of the other, an error is negative, or ``alpha`` is not in (0, 1).

    Notes
    -----
    With spread t² between segments and variance v of one, its effect keeps the share t² / (t² + v) and takes the rest
    from the centre. The most extreme of many segments is extreme partly by luck; this takes the luck out.

    An interval of 1.96 standard errors would miss up to 17 % of the effects, because t² is itself an estimate. The
    intervals are Morris's: with k segments the share B = v / (t² + v) taken from the centre is cut to
    B (k - 3) / (k - 1), and the squared error gains 2 B² / (k - 3) · (v̄ + t²) / (v + t²) · (effect - centre)². They
    cover on average over the segments, for effects that spread like a normal distribution; of one segment that is
    unlike all others they promise nothing: there the segment's own interval is the one to read.

    References
    ----------
    .. [1] Efron, Morris (1975), JASA 70(350). doi:10.1080/01621459.1975.10479864
    .. [2] Morris (1983), JASA 78(381). doi:10.1080/01621459.1983.10477920

    Examples
    --------
    >>> shrunken = shrunken_effects([0.031, -0.028, 0.012, 0.004], [0.009, 0.008, 0.007, 0.01])
    >>> [round(effect, 4) for effect in shrunken.effects]
    [0.0276, -0.0246, 0.0114, 0.0041]
    >>> [round(end, 4) for end in shrunken.intervals[0]]
    [0.0122, 0.0475]
    """
    check_choices(alpha, "two-sided")
    checked = _checked(effects, standard_errors)
    if isinstance(checked, NotComputed):
        return checked
    values, variances = checked
    tau_squared = _tau_squared(values, variances)
    pooled, error, _ = _pooled(values, variances + tau_squared)
    kept = tau_squared / (tau_squared + variances)
    shrunken = kept * values + (1 - kept) * pooled
    errors = np.sqrt(kept * variances + np.square((1 - kept) * error))
    return ShrunkenEffects(
        effects=tuple(shrunken.tolist()),
        standard_errors=tuple(errors.tolist()),
        tau_squared=tau_squared,
        intervals=_morris_intervals(values, variances, tau_squared, alpha),
    )


def _morris_intervals(
    values: np.ndarray, variances: np.ndarray, tau_squared: float, alpha: float
) -> tuple[Interval, ...] | NotComputed:
    count = values.size
    if count < FEWEST_FOR_INTERVALS:
        return NotComputed(f"there are {count} segments; the spread between them takes at least {FEWEST_FOR_INTERVALS}")
    total = variances + tau_squared
    pooled, error, _ = _pooled(values, total)
    taken = variances / total
    cut = taken * (count - 3) / (count - 1)
    typical = float((variances / total).sum() / (1 / total).sum())
    luck = 2 / (count - 3) * np.square(cut) * (typical + tau_squared) / total * np.square(values - pooled)
    squared = variances * (1 - cut) + cut * taken * error**2 + luck
    centres = values - cut * (values - pooled)
    half = critical_value(alpha) * np.sqrt(squared)
    return tuple(zip((centres - half).tolist(), (centres + half).tolist(), strict=True))


def _pooled(values: np.ndarray, variances: np.ndarray) -> tuple[float, float, float]:
    """Mean weighted by precision, its error, and the weighted squares around it."""
    # Weights are taken relative to the largest, so that tiny errors do not overflow.
    smallest = variances.min()
    weights = smallest / variances
    pooled = float((weights * values).sum() / weights.sum())
    return pooled, math.sqrt(smallest / weights.sum()), float((np.square(values - pooled) / variances).sum())


def _tau_squared(values: np.ndarray, variances: np.ndarray) -> float:
    weights = 1 / variances
    spare = weights.sum() - np.square(weights).sum() / weights.sum()
    return max(0.0, float((_pooled(values, variances)[2] - (values.size - 1)) / spare))


def _checked(effects: Sequence[float], standard_errors: Sequence[float]) -> tuple[np.ndarray, np.ndarray] | NotComputed:
    values, errors = np.asarray(effects, dtype=float), np.asarray(standard_errors, dtype=float)
    if values.ndim != 1 or values.shape != errors.shape:
        raise ValueError(f"standard_errors has {errors.size} values; it must have as many as effects, {values.size}.")
    if np.any(errors < 0):
        raise ValueError(f"standard_errors is {errors.tolist()}; a standard error must be at least 0.")
    if values.size < 2:
        return NotComputed(f"there {'is 1 segment' if values.size == 1 else 'are no segments'}; it takes at least 2")
    if not (np.all(np.isfinite(values)) and np.all(np.isfinite(errors))):
        return NotComputed("the effect of a segment or its error is not finite")
    variances = np.square(errors)
    if np.any(variances < np.finfo(float).tiny):
        return NotComputed("the standard error of a segment is zero")
    return values, variances
