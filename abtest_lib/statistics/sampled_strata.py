"""Post-stratification whose strata stand for a population, by the plain delta method: GrowthBook's.

``post_stratification`` takes the strata's shares as they are; here they are a sample too, and how much the effect
differs between strata adds to its error. Covariates have slopes of their own in every stratum. For those who must match
GrowthBook, or who carry the effect over to units that are still to come; reports use ``post_stratification``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, welch_df
from abtest_lib.statistics.joint_moments import JointMoments
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.ratios import linearised_columns
from abtest_lib.statistics.slopes import within_slopes
from abtest_lib.statistics.strata import Cell, Pair, joint_cells, merged_pairs
from abtest_lib.statistics.tails import Alternative, Interval, check_choices, critical_value, interval_ends, tail_pvalue

Scale = Literal["absolute", "relative"]


@dataclass(frozen=True)
class SampledStrataEffect:
    """Say how much a treatment moved a metric in the population that the strata are a sample of.

    Parameters
    ----------
    effect : float
        Treatment minus control, on the relative scale over the control's absolute level.
    interval : tuple of float
    standard_error, statistic, df, pvalue : float
    scale : {"absolute", "relative"}
    confidence_level : float
    alternative : {"two-sided", "greater", "less"}
    strata : int
        How many were compared within.
    merged : tuple
        Strata that could not be compared within, and were merged with the largest.
    """

    effect: float
    interval: Interval
    standard_error: float
    statistic: float
    df: float
    pvalue: float
    scale: Scale
    confidence_level: float
    alternative: Alternative
    strata: int
    merged: tuple[Hashable, ...]


def compare_means_over_sampled_strata(
    strata: Mapping[Hashable, tuple[Cell, Cell]],
    *,
    scale: Scale = "absolute",
    ddof: int = 1,
    df: float | None = None,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> SampledStrataEffect | NotComputed:
    """Compare means within strata that are themselves a sample, with or without covariates.

    Parameters
    ----------
    strata : mapping of name to (control, treatment)
        Moments of the metric, or its joint moments with covariates fixed before the exposure.
    scale : {"absolute", "relative"}
    ddof : {0, 1}
        Without covariates a stratum's variance has divisor n - ddof; GrowthBook has 0 where values are 0 or 1. A
        stratum that others were merged into has n - 1, as it has there.
    df : float, optional
        Degrees of freedom; default Welch-Satterthwaite's of the variants' means without strata and covariates.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    SampledStrataEffect or NotComputed
        NotComputed when a variant has fewer than two units, a value was not finite, nothing varies, the covariates have
        as many coefficients as there are units, or on the relative scale the control's mean is zero.

    Raises
    ------
    ValueError
        If ``scale``, ``ddof``, ``df``, ``alpha`` or ``alternative`` is not what it must be, or the cells have not the
        same columns.

    Notes
    -----
    With shares w_k of N units, and m_k the means of control and treatment in stratum k with covariance V_k, the
    covariance of both variants' means is the sum of w_k² V_k plus the sum of w_k (m_k - m)(m_k - m)' over N. With
    covariates m_k and V_k are those of least squares on variant and covariates within the stratum, with one residual
    variance, at the stratum's mean of the covariates, which is a sample too. A stratum joins the largest when a variant
    has fewer than two units or no variance there, or fewer units are in it than it has coefficients.

    References
    ----------
    .. [1] Miratrix, Sekhon, Yu (2013), JRSS B 75(2), 369-396. doi:10.1111/j.1467-9868.2012.01048.x

    Examples
    --------
    >>> result = compare_means_over_sampled_strata({
    ...     "new": (Moments(700, 4.0, 2_900.0), Moments(640, 4.3, 2_700.0)),
    ...     "loyal": (Moments(300, 20.0, 6_100.0), Moments(360, 20.4, 7_900.0))}, scale="relative")
    >>> round(result.effect, 4), round(result.standard_error, 4)
    (0.0359, 0.0154)
    """
    return _compare(strata, 1, scale, ddof, df, alpha, alternative)


def compare_ratios_over_sampled_strata(
    strata: Mapping[Hashable, tuple[Cell, Cell]],
    *,
    scale: Scale = "absolute",
    ddof: int = 1,
    df: float | None = None,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> SampledStrataEffect | NotComputed:
    """Compare a ratio metric within strata that are themselves a sample, with or without covariates.

    Parameters
    ----------
    strata : mapping of name to (control, treatment)
        Co-moments of numerator and denominator, or their joint moments with covariates.
    scale : {"absolute", "relative"}
    ddof : {0, 1}
    df : float, optional
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        All as for ``compare_means_over_sampled_strata``.

    Returns
    -------
    SampledStrataEffect or NotComputed
        As for ``compare_means_over_sampled_strata``, and NotComputed when a denominator is zero in total.

    Raises
    ------
    ValueError
        As for ``compare_means_over_sampled_strata``, and if there are fewer than two columns.

    Notes
    -----
    Numerators and denominators are put together over the strata first, covariates taken out of each; the ratios, and
    the delta method, come last.

    References
    ----------
    .. [1] Miratrix, Sekhon, Yu (2013), JRSS B 75(2), 369-396. doi:10.1111/j.1467-9868.2012.01048.x
    .. [2] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> arms = [JointMoments.from_values(*each) for each in (([1, 0, 3, 2], [2, 1, 5, 2]), ([2, 1, 4, 2], [2, 2, 5, 3]),
    ...                                                      ([3, 5, 3], [4, 5, 3]), ([2, 5, 5], [3, 5, 4]))]
    >>> result = compare_ratios_over_sampled_strata({"web": (arms[0], arms[1]), "ios": (arms[2], arms[3])})
    >>> round(result.effect, 3), round(result.standard_error, 3)
    (0.102, 0.113)
    """
    return _compare(strata, 2, scale, ddof, df, alpha, alternative)


def _compare(
    strata: Mapping[Hashable, tuple[Cell, Cell]],
    outcomes: int,
    scale: Scale,
    ddof: int,
    df: float | None,
    alpha: float,
    alternative: Alternative,
) -> SampledStrataEffect | NotComputed:
    check_choices(alpha, alternative)
    if scale not in ("absolute", "relative"):
        raise ValueError(f"scale is {scale!r}; it must be 'absolute' or 'relative'.")
    if ddof not in (0, 1):
        raise ValueError(f"ddof is {ddof}; it must be 0 or 1.")
    if df is not None and not df > 0:
        raise ValueError(f"df is {df}; it must be above 0.")
    cells = joint_cells(strata)
    if isinstance(cells, NotComputed):
        return cells
    pairs, merged = _comparable(cells, outcomes)
    if len(pairs) == 1 and not _has_residuals(pairs[0], outcomes):
        units = pairs[0][0].n + pairs[0][1].n
        return NotComputed(f"{units} units are too few for the coefficients of the covariates")
    ddofs = [1 if merged else ddof, *[ddof] * (len(pairs) - 1)]
    means, covariance = _population(pairs, outcomes, ddofs)
    point = _effect(means, outcomes, scale)
    if isinstance(point, NotComputed):
        return point
    effect, gradient = point
    squared_error = float(gradient @ covariance @ gradient)
    if squared_error <= 1e-30 * effect**2:
        return NotComputed("no value varies within or between the strata")
    standard_error = math.sqrt(squared_error)
    df = _whole_df(pairs, outcomes) if df is None else df
    if isinstance(df, NotComputed):
        return df
    half = critical_value(alpha, alternative, df) * standard_error
    return SampledStrataEffect(
        effect=effect,
        interval=interval_ends(effect - half, effect + half, alternative),
        standard_error=standard_error,
        statistic=effect / standard_error,
        df=df,
        pvalue=tail_pvalue(effect / standard_error, alternative, df),
        scale=scale,
        confidence_level=1 - alpha,
        alternative=alternative,
        strata=len(pairs),
        merged=merged,
    )


def _comparable(cells: Mapping[Hashable, Pair], outcomes: int) -> tuple[list[Pair], tuple[Hashable, ...]]:
    def units(pair: Pair) -> int:
        return pair[0].n + pair[1].n

    names = sorted(cells, key=lambda name: units(cells[name]), reverse=True)
    small = [name for name in names[1:] if not _stands_alone(cells[name], outcomes)]
    rest = [cells[name] for name in names[1:] if name not in small]
    first = merged_pairs([cells[names[0]], *(cells[name] for name in small)])
    if not _stands_alone(first, outcomes):
        first, rest = merged_pairs([first, *rest]), []
    return [first, *rest], tuple(name for name in small if units(cells[name]))


def _stands_alone(pair: Pair, outcomes: int) -> bool:
    if not _has_residuals(pair, outcomes):
        return False
    for arm in pair:
        line = _line(arm, outcomes) if arm.n > 1 else None
        if line is None or isinstance(line, NotComputed) or not line.scatter[0][0] > 0:
            return False
    return True


def _has_residuals(pair: Pair, outcomes: int) -> bool:
    covariates = len(pair[0].means) - outcomes
    return covariates <= 0 or pair[0].n + pair[1].n > 2 + outcomes * covariates


def _line(arm: JointMoments, outcomes: int) -> JointMoments | NotComputed:
    return arm if outcomes == 1 else linearised_columns(arm)


def _whole_df(pairs: Sequence[Pair], outcomes: int) -> Any:
    lines = [_line(arm, outcomes) for arm in merged_pairs(pairs)]
    for line in lines:
        if isinstance(line, NotComputed):
            return line
    return welch_df(*[MeanEstimate.of_mean(Moments(line.n, line.means[0], line.scatter[0][0])) for line in lines])


def _population(pairs: Sequence[Pair], outcomes: int, ddofs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of control's and treatment's outcomes over all strata, and their covariance."""
    sizes = np.array([control.n + treatment.n for control, treatment in pairs], dtype=float)
    shares = sizes / sizes.sum()
    parts = [_stratum(pair, outcomes, ddof) for pair, ddof in zip(pairs, ddofs, strict=True)]
    levels = np.array([means for means, _ in parts])
    means = shares @ levels
    apart = levels - means
    between = (apart * shares[:, None]).T @ apart / sizes.sum()
    return means, between + sum(share**2 * covariance for share, (_, covariance) in zip(shares, parts, strict=True))


def _stratum(pair: Pair, outcomes: int, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    kept = _kept_covariates(pair, outcomes)
    means = [np.array(arm.means) for arm in pair]
    scatters = [np.array(arm.scatter) for arm in pair]
    n = [arm.n for arm in pair]
    if not kept:
        covariance = np.zeros((2 * outcomes, 2 * outcomes))
        for index in (0, 1):
            at = slice(index * outcomes, (index + 1) * outcomes)
            covariance[at, at] = scatters[index][:outcomes, :outcomes] / (n[index] - ddof) / n[index]
        return np.concatenate([mean[:outcomes] for mean in means]), covariance
    columns = np.array(kept)
    within, units = scatters[0] + scatters[1], n[0] + n[1]
    spread = within[np.ix_(columns, columns)]
    slopes = np.linalg.solve(spread, within[np.ix_(columns, range(outcomes))])
    residual = within[:outcomes, :outcomes] - within[np.ix_(range(outcomes), columns)] @ slopes
    residual = residual / (units - 2 - outcomes * len(kept))
    level = (n[0] * means[0][columns] + n[1] * means[1][columns]) / units
    apart = np.array([mean[columns] - level for mean in means])
    total = (spread + sum(size * np.outer(gap, gap) for size, gap in zip(n, apart, strict=True))) / (units - 1) / units
    # Error of the adjusted means given the covariates, then that of the covariates' own mean.
    given = np.diag([1 / n[0], 1 / n[1]]) + apart @ np.linalg.solve(spread, apart.T)
    shared = slopes.T @ total @ slopes + residual * float(np.trace(np.linalg.solve(spread, total)))
    adjusted = np.concatenate([mean[:outcomes] - gap @ slopes for mean, gap in zip(means, apart, strict=True)])
    return adjusted, np.kron(given, residual) + np.kron(np.ones((2, 2)), shared)


def _kept_covariates(pair: Pair, outcomes: int) -> list[int]:
    if len(pair[0].means) == outcomes:
        return []
    columns = [0, *range(outcomes, len(pair[0].means))]
    picked = [
        JointMoments(
            arm.n,
            tuple(arm.means[i] for i in columns),
            tuple(tuple(arm.scatter[i][j] for j in columns) for i in columns),
        )
        for arm in pair
    ]
    dropped = within_slopes(picked).dropped
    return [column for place, column in enumerate(columns[1:]) if place not in dropped]


def _effect(means: np.ndarray, outcomes: int, scale: Scale) -> tuple[float, np.ndarray] | NotComputed:
    """Return the effect and its gradient by the means of control's and treatment's outcomes."""
    if outcomes == 1:
        levels, gradients = means, [np.array([1.0]), np.array([1.0])]
    else:
        if means[1] == 0 or means[3] == 0:
            return NotComputed(f"of {'control' if means[1] == 0 else 'treatment'}: the denominator is zero in total")
        levels = np.array([means[0] / means[1], means[2] / means[3]])
        gradients = [np.array([1.0, -levels[i]]) / means[2 * i + 1] for i in (0, 1)]
    control, treatment = float(levels[0]), float(levels[1])
    if scale == "absolute":
        return treatment - control, np.concatenate([-gradients[0], gradients[1]])
    if control == 0:
        return NotComputed(f"the {'mean' if outcomes == 1 else 'ratio'} of the control is zero")
    size = abs(control)
    return (treatment - control) / size, np.concatenate([-treatment / control * gradients[0], gradients[1]]) / size
