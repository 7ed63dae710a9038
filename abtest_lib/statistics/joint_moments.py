"""Moments of several columns of the same units at once: what a ratio with covariates needs of the warehouse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from abtest_lib.statistics.moments import CoMoments, Moments


@dataclass(frozen=True)
class JointMoments:
    """Hold the moments of several columns of the same units, and how each two move together.

    Parameters
    ----------
    n : int
        Number of units, at least 0.
    means : tuple of float, k entries
        Of each column.
    scatter : tuple of k tuples of k floats
        Sums over units of the products of two columns' deviations from their means; symmetric.

    Raises
    ------
    ValueError
        If ``n`` is not a whole number of at least 0, or ``scatter`` is not as wide and as high as ``means`` is long.
        What is not finite is kept as it came from the data; the comparisons answer ``NotComputed`` to it.

    Examples
    --------
    >>> JointMoments.from_values([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    JointMoments(n=3, means=(2.0, 5.0), scatter=((2.0, 4.0), (4.0, 8.0)))
    """

    n: int
    means: tuple[float, ...]
    scatter: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if not (self.n >= 0 and self.n % 1 == 0):
            raise ValueError(f"n is {self.n}; it must be a whole number, at least 0.")
        if any(len(row) != len(self.means) for row in (self.scatter, *self.scatter)):
            raise ValueError(f"scatter is {self.scatter}; it must have {len(self.means)} rows of {len(self.means)}.")

    @classmethod
    def from_values(cls, *columns: Iterable[float]) -> JointMoments:
        """Return the moments of columns that are at hand, one value a unit in each; ValueError for unequal lengths."""
        arrays = [np.asarray(c if isinstance(c, np.ndarray) else list(c), dtype=float) for c in columns]
        n = arrays[0].size
        for index, array in enumerate(arrays):
            if array.size != n:
                raise ValueError(f"columns[{index}] has {array.size} values; it must have as many as the first, {n}.")
        if n == 0:
            return cls(0, (0.0,) * len(arrays), ((0.0,) * len(arrays),) * len(arrays))
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not computed later, with a reason
            means = tuple(float(array.mean()) for array in arrays)
            deviations = np.array([array - mean for array, mean in zip(arrays, means, strict=True)])
            return cls(n, means, _rows(deviations @ deviations.T))

    @classmethod
    def of_moments(cls, moments: Moments | CoMoments) -> JointMoments:
        """Return the moments of one column, or of an outcome and its covariate, as joint moments.

        Parameters
        ----------
        moments : Moments or CoMoments

        Examples
        --------
        >>> JointMoments.of_moments(Moments(3, 2.0, 2.0))
        JointMoments(n=3, means=(2.0,), scatter=((2.0,),))
        """
        if isinstance(moments, Moments):
            return cls(moments.n, (moments.mean,), ((moments.m2,),))
        outcome, covariate = moments.outcome, moments.covariate
        scatter = ((outcome.m2, moments.comoment), (moments.comoment, covariate.m2))
        return cls(moments.n, (outcome.mean, covariate.mean), scatter)

    @property
    def finite(self) -> bool:
        """Whether every mean and every entry of the scatter is a finite number."""
        return bool(np.isfinite(self.means).all() and np.isfinite(self.scatter).all())

    @classmethod
    def from_sums(cls, n: int, sums: Sequence[float], products: Sequence[Sequence[float]]) -> JointMoments:
        """Return the moments of columns whose plain sums and sums of products another program kept.

        Parameters
        ----------
        n : int
            At least 1.
        sums : sequence of k floats
        products : k sequences of k floats
            Sum over units of the product of two columns, squares on the diagonal; symmetric.

        Raises
        ------
        ValueError
            If ``n`` is not a whole number of at least 1, lengths differ, or the sums contradict each other: no values
            can have a negative spread. Sums that are not finite give nan.

        Examples
        --------
        >>> JointMoments.from_sums(3, [6.0, 15.0], [[14.0, 34.0], [34.0, 83.0]]).scatter
        ((2.0, 4.0), (4.0, 8.0))
        """
        if not (n >= 1 and n % 1 == 0):
            raise ValueError(f"n is {n}; it must be a whole number, at least 1.")
        if len(products) != len(sums) or any(len(row) != len(sums) for row in products):
            raise ValueError(
                f"products is {products}; it must have {len(sums)} rows of {len(sums)}, as sums has entries."
            )
        if not (np.isfinite(sums).all() and np.isfinite(products).all()):
            return cls(int(n), (math.nan,) * len(sums), ((math.nan,) * len(sums),) * len(sums))
        exact = [Fraction(total) for total in sums]
        scatter = [
            [float(Fraction(product) - a * b / n) for product, b in zip(row, exact, strict=True)]
            for row, a in zip(products, exact, strict=True)
        ]
        for index, row in enumerate(scatter):
            if row[index] < -1e-9 * products[index][index]:
                raise ValueError(
                    f"products[{index}][{index}] is {products[index][index]}; with n = {n} and a sum of {sums[index]} "
                    f"it must be at least {sums[index] ** 2 / n}."
                )
            row[index] = max(row[index], 0.0)
        return cls(n, tuple(float(total / n) for total in exact), _rows(np.array(scatter)))


def merge_joint_moments(cells: Iterable[JointMoments]) -> JointMoments:
    """Return the moments of all units of several cells taken together.

    Parameters
    ----------
    cells : iterable of JointMoments
        Disjoint cells (days, strata) of the same columns, at least one of them with units.

    Returns
    -------
    JointMoments
        With nan where a number of a cell is not finite.

    Raises
    ------
    ValueError
        If no cell has units.

    References
    ----------
    .. [1] Chan, Golub, LeVeque (1983), The American Statistician 37(3). doi:10.1080/00031305.1983.10483115

    Examples
    --------
    >>> cells = [JointMoments.from_values([1.0, 2.0], [3.0, 5.0]), JointMoments.from_values([3.0], [7.0])]
    >>> merge_joint_moments(cells) == JointMoments.from_values([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    True
    """
    filled = [cell for cell in cells if cell.n]
    if not filled:
        raise ValueError("cells is without units; at least one cell must have some.")
    if len(filled) == 1:
        return filled[0]
    sizes, levels = np.array([cell.n for cell in filled]), np.array([cell.means for cell in filled])
    n = sum(cell.n for cell in filled)
    # From a nearby origin, else a mean of 1e12 swallows the differences between cells.
    means = levels[0] + sizes @ (levels - levels[0]) / n
    shifts = levels - means
    scatter = np.array([cell.scatter for cell in filled]).sum(axis=0) + (shifts * sizes[:, None]).T @ shifts
    return JointMoments(n, tuple(float(mean) for mean in means), _rows(scatter))


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(entry) for entry in row) for row in matrix)
