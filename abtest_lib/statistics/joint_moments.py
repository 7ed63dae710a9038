"""Moments of several columns of the same units at once: what a ratio with covariates needs of the warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


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
        If ``n`` is negative or ``scatter`` is not as wide and as high as ``means`` is long.

    Examples
    --------
    >>> JointMoments.from_values([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    JointMoments(n=3, means=(2.0, 5.0), scatter=((2.0, 4.0), (4.0, 8.0)))
    """

    n: int
    means: tuple[float, ...]
    scatter: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError(f"n is {self.n}; it must be at least 0.")
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
        deviations = np.array([array - array.mean() for array in arrays])
        return cls(n, tuple(float(array.mean()) for array in arrays), _rows(deviations @ deviations.T))

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
            If ``n`` is below 1, or the sums contradict each other: no values can have a negative spread.

        Examples
        --------
        >>> JointMoments.from_sums(3, [6.0, 15.0], [[14.0, 34.0], [34.0, 83.0]]).scatter
        ((2.0, 4.0), (4.0, 8.0))
        """
        if n < 1:
            raise ValueError(f"n is {n}; it must be at least 1.")
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
    n = sum(cell.n for cell in filled)
    means = sum(cell.n * np.array(cell.means) for cell in filled) / n
    shifts = [(cell.n, np.array(cell.means) - means) for cell in filled]
    scatter = sum(np.array(cell.scatter) for cell in filled) + sum(m * np.outer(s, s) for m, s in shifts)
    return JointMoments(n, tuple(float(mean) for mean in means), _rows(scatter))


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(entry) for entry in row) for row in matrix)
