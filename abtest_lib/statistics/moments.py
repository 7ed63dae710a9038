"""Counts, means and sums of squared deviations: all that the warehouse hands to the statistics, and how they add up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Hold how many values there are, their mean, and their sum of squared deviations from it.

    Parameters
    ----------
    n : int
        Number of values (units), at least 0.
    mean : float
        Their mean, in the metric's unit; 0.0 when ``n`` is 0.
    m2 : float
        Sum of squared deviations from ``mean``, at least 0, in the metric's unit squared.

    Raises
    ------
    ValueError
        If ``n`` is not a whole number, or ``n`` or ``m2`` is negative. A mean or ``m2`` that is not finite is kept as
        it came from the data; the comparisons answer ``NotComputed`` to it.

    Examples
    --------
    >>> Moments(n=3, mean=2.0, m2=2.0).variance
    1.0
    """

    n: int
    mean: float
    m2: float

    def __post_init__(self) -> None:
        _check_n(self.n)
        if self.m2 < 0:
            raise ValueError(f"m2 is {self.m2}; a sum of squares must be at least 0.")

    @property
    def variance(self) -> float:
        """Sample variance with divisor ``n - 1``; ValueError below two values."""
        if self.n < 2:
            raise ValueError(f"n is {self.n}; a variance needs at least 2 values.")
        return self.m2 / (self.n - 1)

    @property
    def successes(self) -> int:
        """Number of ones, where every value is 0 or 1; ValueError where they cannot all be.

        Examples
        --------
        >>> Moments.from_values([0, 1, 1, 0, 0]).successes
        2
        """
        total = self.n * self.mean
        if not math.isfinite(total) or abs(total - round(total)) > 1e-6 * max(1.0, self.n * 1e-6):
            raise ValueError(f"n * mean is {total}; values that are all 0 or 1 must have a whole sum.")
        count = round(total)
        expected = count * (self.n - count) / self.n if self.n else 0.0
        if not 0 <= count <= self.n or not math.isclose(self.m2, expected, rel_tol=1e-6, abs_tol=1e-6):
            raise ValueError(
                f"n is {self.n}, mean is {self.mean} and m2 is {self.m2}; values that are all 0 or 1 "
                f"must have m2 = n * mean * (1 - mean)."
            )
        return count

    @classmethod
    def from_values(cls, values: Iterable[float]) -> Moments:
        """Return the moments of values that are at hand.

        Parameters
        ----------
        values : iterable of float
            In the metric's unit; may be empty.

        Returns
        -------
        Moments
            ``Moments(0, 0.0, 0.0)`` of no values; mean and m2 are nan where a value is not finite.

        Examples
        --------
        >>> Moments.from_values([1.0, 2.0, 3.0])
        Moments(n=3, mean=2.0, m2=2.0)
        """
        array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=float)
        if array.size == 0:
            return cls(0, 0.0, 0.0)
        if not np.isfinite(array).all():
            return cls(int(array.size), math.nan, math.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not computed later, with a reason
            mean = float(array.mean())
            deviations = array - mean
            # The second sum is zero but for rounding; it corrects a mean that is large beside the spread.
            m2 = float(np.square(deviations).sum() - deviations.sum() ** 2 / array.size)
        return cls(int(array.size), mean, max(m2, 0.0) if m2 == m2 else m2)

    @classmethod
    def from_counts(cls, successes: int, n: int) -> Moments:
        """Return the moments of ``n`` values of which ``successes`` are 1 and the rest 0.

        Parameters
        ----------
        successes : int
            Between 0 and ``n``.
        n : int
            At least 0.

        Raises
        ------
        ValueError
            If a count is not a whole number or ``successes`` is not between 0 and ``n``.

        Examples
        --------
        >>> Moments.from_counts(3, 12)
        Moments(n=12, mean=0.25, m2=2.25)
        """
        _check_n(n)
        if not (0 <= successes <= n and successes % 1 == 0):
            raise ValueError(f"successes is {successes}; it must be a whole number between 0 and n, which is {n}.")
        if n == 0:
            return cls(0, 0.0, 0.0)
        return cls(int(n), successes / n, successes * (n - successes) / n)

    @classmethod
    def from_sums(cls, n: int, total: float, sum_of_squares: float) -> Moments:
        """Return the moments of ``n`` values whose plain sums another program kept.

        Parameters
        ----------
        n : int
            At least 0.
        total, sum_of_squares : float
            Sum of the values and of their squares.

        Returns
        -------
        Moments
            Mean and m2 are nan where a sum is not finite.

        Raises
        ------
        ValueError
            If ``n`` is not a whole number, or the sums contradict each other: no values can have a negative spread.

        Notes
        -----
        The subtraction is exact, but what the sums had already lost to rounding is lost: with a mean of 1e9 and a
        standard deviation of 1 nothing is left. Our own queries centre before they square.

        Examples
        --------
        >>> Moments.from_sums(3, 6.0, 14.0)
        Moments(n=3, mean=2.0, m2=2.0)
        """
        _check_n(n)
        if n == 0:
            return cls(0, 0.0, 0.0)
        if not (math.isfinite(total) and math.isfinite(sum_of_squares)):
            return cls(int(n), math.nan, math.nan)
        m2 = Fraction(sum_of_squares) - Fraction(total) ** 2 / n
        if m2 < 0 and -m2 > Fraction(sum_of_squares) / 10**9:
            raise ValueError(
                f"sum_of_squares is {sum_of_squares}; with n = {n} and a sum of {total} "
                f"it must be at least {total**2 / n}."
            )
        return cls(int(n), float(Fraction(total) / n), max(float(m2), 0.0))


@dataclass(frozen=True)
class CoMoments:
    """Hold the moments of an outcome and of a covariate of the same units, and how they move together.

    Parameters
    ----------
    outcome, covariate : Moments
        Of the same ``n`` units.
    comoment : float
        Sum over units of the product of both deviations from their means.

    Raises
    ------
    ValueError
        If the counts differ, or ``comoment`` is larger than the two spreads allow. One that is not finite is kept as
        it came from the data; the comparisons answer ``NotComputed`` to it.

    Examples
    --------
    >>> CoMoments(Moments(3, 2.0, 2.0), Moments(3, 5.0, 8.0), 4.0).slope
    0.5
    """

    outcome: Moments
    covariate: Moments
    comoment: float

    def __post_init__(self) -> None:
        if self.outcome.n != self.covariate.n:
            raise ValueError(f"covariate.n is {self.covariate.n}; it must be that of the outcome, {self.outcome.n}.")
        largest = math.sqrt(self.outcome.m2) * math.sqrt(self.covariate.m2)
        # The last term: squares underflow to zero before products do.
        rounding = 1e-6 * largest + 1e-9 * self.n * abs(self.outcome.mean * self.covariate.mean) + 1e-100
        if abs(self.comoment) > largest + rounding:
            raise ValueError(f"comoment is {self.comoment}; with these spreads it must be at most {largest} in size.")

    @property
    def n(self) -> int:
        """Number of units."""
        return self.outcome.n

    @property
    def covariate_varies(self) -> bool:
        """Whether the covariate is spread wider than rounding alone would spread a constant."""
        return not self.covariate.m2 <= self.n * (1e-12 * self.covariate.mean) ** 2

    @property
    def slope(self) -> float:
        """Change of the outcome with one more of the covariate (least squares); 0 where the covariate is constant."""
        return self.comoment / self.covariate.m2 if self.covariate_varies else 0.0

    @classmethod
    def from_values(cls, outcomes: Iterable[float], covariates: Iterable[float]) -> CoMoments:
        """Return the co-moments of values that are at hand.

        Parameters
        ----------
        outcomes, covariates : iterable of float
            One of each a unit, in the same order.

        Returns
        -------
        CoMoments
            With nan where a value is not finite.

        Raises
        ------
        ValueError
            If there are more of one than of the other.

        Examples
        --------
        >>> CoMoments.from_values([1.0, 2.0, 3.0], [3.0, 5.0, 7.0]).comoment
        4.0
        """
        y, x = (np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=float)
                for values in (outcomes, covariates))  # fmt: skip
        if y.size != x.size:
            raise ValueError(f"covariates has {x.size} values; it must have as many as outcomes, {y.size}.")
        if y.size == 0:
            return cls(Moments(0, 0.0, 0.0), Moments(0, 0.0, 0.0), 0.0)
        if not (np.isfinite(y).all() and np.isfinite(x).all()):
            return cls(Moments.from_values(y), Moments.from_values(x), math.nan)
        with np.errstate(over="ignore", invalid="ignore"):
            dy, dx = y - y.mean(), x - x.mean()
            # The second term is zero but for rounding, as in Moments.from_values.
            comoment = float((dy * dx).sum() - dy.sum() * dx.sum() / y.size)
        return cls(Moments.from_values(y), Moments.from_values(x), comoment)

    @classmethod
    def from_sums(cls, outcome: Moments, covariate: Moments, sum_of_products: float) -> CoMoments:
        """Return the co-moments of values whose plain sum of products another program kept.

        Parameters
        ----------
        outcome, covariate : Moments
            Of the same units; see ``Moments.from_sums``.
        sum_of_products : float
            Of each unit's outcome and covariate.

        Returns
        -------
        CoMoments
            With nan where a sum is not finite.

        Raises
        ------
        ValueError
            If the sums contradict each other.

        Examples
        --------
        >>> CoMoments.from_sums(Moments(3, 2.0, 2.0), Moments(3, 5.0, 8.0), 34.0).comoment
        4.0
        """
        if not all(math.isfinite(value) for value in (outcome.mean, covariate.mean, sum_of_products)):
            return cls(outcome, covariate, math.nan)
        centre = Fraction(outcome.mean) * Fraction(covariate.mean) * outcome.n
        return cls(outcome, covariate, float(Fraction(sum_of_products) - centre))

    @classmethod
    def of_constant(cls, outcome: Moments, covariate: float) -> CoMoments:
        """Return the co-moments of units that all have the same covariate; what is not finite stays so.

        Examples
        --------
        >>> CoMoments.of_constant(Moments(3, 2.0, 2.0), 5.0).slope
        0.0
        """
        return cls(outcome, Moments(outcome.n, covariate if outcome.n else 0.0, 0.0), 0.0)


def _check_n(n: int) -> None:
    if not (n >= 0 and n % 1 == 0):
        raise ValueError(f"n is {n}; it must be a whole number, at least 0.")


def merge_co_moments(co_moments: Iterable[CoMoments]) -> CoMoments:
    """Return the co-moments of all units of several cells taken together.

    Parameters
    ----------
    co_moments : iterable of CoMoments
        Disjoint cells, in any order; may be empty.

    Returns
    -------
    CoMoments
        The order of the cells changes no bit of the result; nan where a number of a cell is not finite.

    References
    ----------
    .. [1] Chan, Golub, LeVeque (1983), The American Statistician 37(3). doi:10.1080/00031305.1983.10483115

    Examples
    --------
    >>> cells = [CoMoments.from_values([1.0, 2.0], [3.0, 5.0]), CoMoments.from_values([3.0], [7.0])]
    >>> merge_co_moments(cells) == CoMoments.from_values([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    True
    """
    cells = [cell for cell in co_moments if cell.n]
    if len(cells) == 1:
        return cells[0]
    outcome, covariate = merge(cell.outcome for cell in cells), merge(cell.covariate for cell in cells)
    if not (math.isfinite(outcome.mean) and math.isfinite(covariate.mean)):
        return CoMoments(outcome, covariate, math.nan)
    within = math.fsum(cell.comoment for cell in cells)
    between = math.fsum(
        cell.n * (cell.outcome.mean - outcome.mean) * (cell.covariate.mean - covariate.mean) for cell in cells
    )
    return CoMoments(outcome, covariate, within + between)


def merge(moments: Iterable[Moments]) -> Moments:
    """Return the moments of all values of several cells taken together.

    Parameters
    ----------
    moments : iterable of Moments
        Disjoint cells (days, segment values), in any order; may be empty.

    Returns
    -------
    Moments
        ``Moments(0, 0.0, 0.0)`` of no cells, nan where a number of a cell is not finite. The order of the cells
        changes no bit of the result.

    References
    ----------
    .. [1] Chan, Golub, LeVeque (1983), The American Statistician 37(3). doi:10.1080/00031305.1983.10483115

    Examples
    --------
    >>> merge([Moments.from_values([1.0, 2.0]), Moments.from_values([3.0])])
    Moments(n=3, mean=2.0, m2=2.0)
    """
    cells = [cell for cell in moments if cell.n]
    if not cells:
        return Moments(0, 0.0, 0.0)
    if len(cells) == 1:
        return cells[0]
    n = sum(cell.n for cell in cells)
    if not all(math.isfinite(cell.mean) and math.isfinite(cell.m2) for cell in cells):
        return Moments(n, math.nan, math.nan)
    # Means are taken from a nearby origin, else a mean of 1e12 swallows the differences between cells.
    origin = min(cell.mean for cell in cells)
    mean = origin + math.fsum(cell.n * (cell.mean - origin) for cell in cells) / n
    m2 = math.fsum(cell.m2 for cell in cells) + math.fsum(cell.n * (cell.mean - mean) ** 2 for cell in cells)
    return Moments(n, mean, m2)
