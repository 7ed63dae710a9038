"""Slopes of an outcome on covariates within cells, from moments, and what they leave of the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.joint_moments import JointMoments
from abtest_lib.statistics.moments import Moments

COLLINEAR = 1e-8
UNITS_PER_COVARIATE = 10


@dataclass(frozen=True)
class Slopes:
    """Hold how much the outcome changes with each covariate, the others held fixed.

    Parameters
    ----------
    values : tuple of float, one a covariate
        Outcome per unit of the covariate; 0.0 for one that was left out.
    dropped : tuple of int
        Covariates that were left out, by their place among the covariates (from 0).
    """

    values: tuple[float, ...]
    dropped: tuple[int, ...] = ()

    @property
    def nothing_left(self) -> NotComputed:
        """Why an outcome that its covariates explain in full cannot be compared."""
        words = "covariate leaves" if len(self.values) == 1 else "covariates leave"
        return NotComputed(f"the {words} no variance in control or treatment")

    def too_many(self, n: int) -> NotComputed | None:
        """Say why slopes cannot be trusted with ``n`` units, or None where they can.

        Examples
        --------
        >>> Slopes((0.4, 0.1)).too_many(12).reason
        '2 covariates have 12 units between them; two or more need at least 10 units each'
        """
        kept = len(self.values) - len(self.dropped)
        if kept < 2 or n >= UNITS_PER_COVARIATE * kept:
            return None
        need = f"two or more need at least {UNITS_PER_COVARIATE} units each"
        return NotComputed(f"{kept} covariates have {n} units between them; {need}")


def within_slopes(cells: Iterable[JointMoments]) -> Slopes:
    """Return the least-squares slopes of an outcome on its covariates within cells, the same for all cells.

    Parameters
    ----------
    cells : iterable of JointMoments
        A variant each, or a variant in a stratum; columns: outcome, covariates.

    Returns
    -------
    Slopes
        Of a regression with an intercept of its own for each cell: neither an effect nor a difference between strata
        touches them.

    Raises
    ------
    ValueError
        If the cells do not all have the same number of columns, at least one, or a value is not finite.

    Notes
    -----
    In the order given, a covariate is dropped when it is constant within every cell (its spread is what rounding makes
    of a constant), or when those kept before it leave less than 1e-8 of its sum of squares: R² above 0.99999999. The
    adjusted outcome is the same whichever of two such covariates is kept. Covariates are scaled by powers of two before
    they are solved for, so their units do not matter.

    References
    ----------
    .. [1] Lin (2013), Annals of Applied Statistics 7(1). doi:10.1214/12-AOAS583

    Examples
    --------
    >>> cells = [JointMoments.from_values([3.0, 5.0, 9.0], [1.0, 2.0, 4.0], [7.0, 7.0, 7.0]),
    ...          JointMoments.from_values([4.0, 8.0, 10.0], [1.0, 3.0, 4.0], [7.0, 7.0, 7.0])]
    >>> within_slopes(cells)
    Slopes(values=(2.0, 0.0), dropped=(1,))
    """
    cells = list(cells)
    count = column_count(cells)
    if not all(cell.finite for cell in cells):
        raise ValueError("cells hold a value that is not a finite number; slopes need finite moments.")
    scatter = sum(np.array(cell.scatter) for cell in cells)
    varies = [any(_varies(cell, column) for cell in cells) for column in range(1, count)]
    # Powers of two change no digit: with one covariate the slope is exactly comoment / m2.
    exponent = [-(int(np.frexp(scatter[j, j])[1]) // 2) if varies[j - 1] else 0 for j in range(1, count)]
    scale = np.ldexp(1.0, np.array(exponent, dtype=int))
    spread = scatter[1:, 1:] * np.outer(scale, scale)
    comoment = scatter[1:, 0] * scale
    kept: list[int] = []
    for j in range(count - 1):
        if not varies[j]:
            continue
        shared = spread[np.ix_(kept, [j])][:, 0]
        explained = shared @ np.linalg.solve(spread[np.ix_(kept, kept)], shared) if kept else 0.0
        if spread[j, j] - explained > COLLINEAR * spread[j, j]:
            kept.append(j)
    values = np.zeros(count - 1)
    if kept:
        values[kept] = np.linalg.solve(spread[np.ix_(kept, kept)], comoment[kept]) * scale[kept]
    dropped = tuple(j for j in range(count - 1) if j not in kept)
    return Slopes(tuple(float(value) for value in values), dropped)


def residual_moments(cell: JointMoments, slopes: Sequence[float], at: Sequence[float]) -> Moments:
    """Return the moments of what the covariates leave of an outcome: outcome - slopes · (covariates - at).

    Parameters
    ----------
    cell : JointMoments
        Columns: outcome, covariates.
    slopes, at : sequence of float, one a covariate
        See ``within_slopes``; ``at`` is the level to which every cell is brought.

    Returns
    -------
    Moments

    Raises
    ------
    ValueError
        If there are not as many slopes and levels as covariates.

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413

    Examples
    --------
    >>> cell = JointMoments.from_values([3.0, 5.0, 10.0], [1.0, 2.0, 3.0])
    >>> residual_moments(cell, [3.0], [1.0])
    Moments(n=3, mean=3.0, m2=2.0)
    """
    if not len(slopes) == len(at) == len(cell.means) - 1:
        raise ValueError(
            f"slopes has {len(slopes)} and at {len(at)} entries; they must have one for each of the "
            f"{len(cell.means) - 1} covariates."
        )
    weights = np.array([1.0, *(-slope for slope in slopes)])
    scatter = np.array(cell.scatter)
    m2 = float(weights @ scatter @ weights)
    # What rounding leaves of a residual that is zero is no variance.
    if m2 < 1e-13 * float(np.abs(weights) @ np.abs(scatter) @ np.abs(weights)):
        m2 = 0.0
    moved = sum(slope * (mean - level) for slope, mean, level in zip(slopes, cell.means[1:], at, strict=True))
    return Moments(cell.n, float(cell.means[0] - moved), m2)


def with_slope_error(
    arms: tuple[MeanEstimate, MeanEstimate],
    cells: Sequence[JointMoments],
    slopes: Slopes,
    apart: Sequence[float],
    share_treatment: float,
) -> tuple[MeanEstimate, MeanEstimate]:
    """Return adjusted estimates whose errors also count what estimating two or more slopes costs.

    Parameters
    ----------
    arms : tuple of MeanEstimate
        Control, treatment, with the errors of the residuals.
    cells : sequence of JointMoments
        From which the slopes were estimated.
    slopes : Slopes
    apart : sequence of float, one a covariate
        By how much the covariates' means differ between treatment and control.
    share_treatment : float
        Of all units.

    Returns
    -------
    tuple of MeanEstimate
        As given with fewer than two slopes, of which ``inference.compare_adjusted_means`` leaves the cost out too.

    Raises
    ------
    ValueError
        If the slopes do not fit the cells' columns.

    Notes
    -----
    As for least squares: residual variances times f / (f - k) for k slopes from f = the sum of n - 1 over cells, and
    a' S⁻¹ a s² for the slopes' own error, with a = ``apart``, S the covariates' scatter within cells and s² the pooled
    residual variance. Each is about k / n of the whole.

    References
    ----------
    .. [1] Lin (2013), Annals of Applied Statistics 7(1). doi:10.1214/12-AOAS583

    Examples
    --------
    >>> cells = [JointMoments.from_values([1, 3, 2, 5], [1, 2, 1, 4], [1, 0, 0, 1]),
    ...          JointMoments.from_values([2, 4, 4, 5], [1, 3, 2, 4], [0, 0, 1, 1])]
    >>> slopes = within_slopes(cells)
    >>> arms = (MeanEstimate(3.0, 0.1, 3), MeanEstimate(3.5, 0.1, 3))
    >>> [round(arm.squared_error, 3) for arm in with_slope_error(arms, cells, slopes, [0.5, 0.0], 0.5)]
    [0.155, 0.155]
    """
    kept = [j for j in range(len(slopes.values)) if j not in slopes.dropped]
    freedom = sum(cell.n - 1 for cell in cells if cell.n)
    if len(kept) < 2 or freedom <= len(kept):
        return arms
    left = sum(residual_moments(cell, slopes.values, [0.0] * len(slopes.values)).m2 for cell in cells)
    columns = np.array(kept) + 1
    scatter = sum(np.array(cell.scatter) for cell in cells)[np.ix_(columns, columns)]
    scale = 1 / np.sqrt(np.diag(scatter))
    gap = np.array([apart[j] for j in kept]) * scale
    slope_error = float(gap @ np.linalg.solve(scatter * np.outer(scale, scale), gap)) * left / (freedom - len(kept))
    factor = freedom / (freedom - len(kept))
    control, treatment = (
        replace(arm, squared_error=arm.squared_error * factor + part * slope_error)
        for arm, part in zip(arms, (share_treatment, 1 - share_treatment), strict=True)
    )
    return control, treatment


def _varies(cell: JointMoments, column: int) -> bool:
    return not cell.scatter[column][column] <= cell.n * (1e-12 * cell.means[column]) ** 2


def column_count(cells: Sequence[JointMoments]) -> int:
    """Return how many columns all cells have.

    Parameters
    ----------
    cells : sequence of JointMoments

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If they do not all have the same number, at least 1.

    References
    ----------
    .. [1] Chan, Golub, LeVeque (1983), The American Statistician 37(3). doi:10.1080/00031305.1983.10483115

    Examples
    --------
    >>> column_count([JointMoments.from_values([1, 2], [3, 5])])
    2
    """
    counts = {len(cell.means) for cell in cells}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"the cells have {sorted(counts)} columns; they must all have the same number, at least 1.")
    return counts.pop()
