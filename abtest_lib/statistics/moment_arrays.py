"""Moments of many cells at once, and why some cells of a result are not computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.tails import check_counts, check_each

WHOLE = "a whole number of units, at least 0"


@dataclass(frozen=True, eq=False)
class MomentArrays:
    """Hold the moments of many cells of one variant: arrays of n, mean and m2 of one shape.

    Parameters
    ----------
    n : array of int
        Values (units) of each cell, at least 0. The three are broadcast to one shape.
    mean : array of float
        Their mean, in the metric's unit.
    m2 : array of float
        Sum of squared deviations from ``mean``, at least 0.

    Raises
    ------
    ValueError
        If an ``n`` is not a whole number, an ``n`` or ``m2`` is negative, or the shapes do not broadcast. The message
        names the place. A mean or ``m2`` that is not finite is kept as it came from the data; the comparisons do not
        compute that cell and say why.

    Examples
    --------
    >>> cells = MomentArrays([3, 4], [2.0, 1.0], [2.0, 9.0])
    >>> cells.shape, cells[1]
    ((2,), Moments(n=4, mean=1.0, m2=9.0))
    """

    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray

    def __post_init__(self) -> None:
        n, mean, m2 = together(n=self.n, mean=self.mean, m2=self.m2)
        check_each("n", n, lambda count: (count >= 0) & (np.floor(count) == count) & np.isfinite(count), WHOLE)
        check_each("m2", m2, lambda squares: np.logical_not(squares < 0), "at least 0, as a sum of squares is")
        for name, values in (("n", n), ("mean", mean), ("m2", m2)):
            object.__setattr__(self, name, values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the cells."""
        return self.n.shape

    def __getitem__(self, index: Any) -> Moments | MomentArrays:
        """Return the moments of one cell, or of those that a slice leaves."""
        n, mean, m2 = self.n[index], self.mean[index], self.m2[index]
        return Moments(int(n), float(mean), float(m2)) if np.ndim(n) == 0 else MomentArrays(n, mean, m2)

    def estimates(self) -> MeanEstimate:
        """Return the estimates of the means, with arrays in them; the error is nan below two values.

        Examples
        --------
        >>> MomentArrays([3, 1], [2.0, 5.0], [2.0, 0.0]).estimates().squared_error
        array([0.33333333,        nan])
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = np.where(self.n < 2, np.nan, self.m2 / (self.n - 1))
            return MeanEstimate(self.mean, variance / self.n, np.where(self.n < 2, np.nan, self.n - 1))

    @classmethod
    def of(cls, moments: Iterable[Moments], shape: tuple[int, ...] | None = None) -> MomentArrays:
        """Return the moments of cells one by one as arrays.

        Parameters
        ----------
        moments : iterable of Moments
        shape : tuple of int, optional
            Of the cells, last index fastest; default one dimension.

        Examples
        --------
        >>> MomentArrays.of([Moments(3, 2.0, 2.0), Moments(4, 1.0, 9.0)]).mean
        array([2., 1.])
        """
        rows = np.array([(cell.n, cell.mean, cell.m2) for cell in moments], dtype=float).reshape(-1, 3)
        return cls(*(column.reshape(shape or -1) for column in rows.T))

    @classmethod
    def from_variances(cls, n: Any, mean: Any, variance: Any) -> MomentArrays:
        """Return the moments of cells whose sample variance (divisor n - 1) is at hand.

        Parameters
        ----------
        n, mean, variance : array

        Raises
        ------
        ValueError
            If a variance is negative, or as for the class.

        Examples
        --------
        >>> MomentArrays.from_variances([3], [2.0], [1.0]).m2
        array([2.])
        """
        units, spread = together(n=n, variance=variance)
        check_each("variance", spread, lambda value: np.logical_not(value < 0), "at least 0")
        return cls(units, mean, spread * np.maximum(units - 1, 0))

    @classmethod
    def from_counts(cls, successes: Any, n: Any) -> MomentArrays:
        """Return the moments of cells whose values are 0 or 1.

        Parameters
        ----------
        successes, n : array of int
            ``0 <= successes <= n``.

        Raises
        ------
        ValueError
            If counts are not what they must be; the message names the place.

        Examples
        --------
        >>> MomentArrays.from_counts([3, 0], 12).m2
        array([2.25, 0.  ])
        """
        ones, units = together(successes=successes, n=n)
        check_counts(ones, units, "successes", "n")
        share = np.divide(ones, units, out=np.zeros(units.shape), where=units > 0)
        return cls(units, share, share * (units - ones))


@dataclass(frozen=True, eq=False)
class Refusals:
    """Say for each cell of an array whether it was computed, and if not, why.

    Parameters
    ----------
    codes : array of int
        0 where the cell was computed, else the place of its reason in ``reasons``.
    reasons : tuple of str
        Each completes the sentence "not computed, because ..."; the first is empty.

    Examples
    --------
    >>> refusals = Refusals.first((3,), {"control has no units": [False, True, False]})
    >>> refusals.at(1), refusals.at(0), refusals.counts()
    (NotComputed(reason='control has no units'), None, {'control has no units': 1})
    """

    codes: np.ndarray
    reasons: tuple[str, ...]

    @classmethod
    def first(cls, shape: tuple[int, ...], causes: Mapping[str, Any], after: Refusals | None = None) -> Refusals:
        """Return the first reason that holds in each cell.

        Parameters
        ----------
        shape : tuple of int
        causes : mapping of str to array of bool
            Reason and the cells where it holds, in the order in which they count.
        after : Refusals, optional
            Reasons that come before these.

        Examples
        --------
        >>> Refusals.first((2,), {"one": [True, False], "two": [True, True]}).codes.tolist()
        [1, 2]
        """
        known = after.reasons if after else ("",)
        codes = np.zeros(shape, dtype=np.int8)
        for code, holds in reversed(list(enumerate(causes.values(), start=len(known)))):
            codes[np.broadcast_to(holds, shape)] = code
        if after:
            codes = np.where(after.codes > 0, after.codes, codes)
        return cls(codes, (*known, *causes))

    @property
    def computed(self) -> np.ndarray:
        """True in the cells that were computed."""
        return self.codes == 0

    def at(self, index: Any) -> NotComputed | None:
        """Return why the cell at an index was not computed, or None where it was."""
        code = int(self.codes[index])
        return NotComputed(self.reasons[code]) if code else None

    def counts(self) -> dict[str, int]:
        """Return how many cells each reason holds for; reasons without a cell are left out."""
        found = np.bincount(self.codes.ravel(), minlength=len(self.reasons))
        return {reason: int(count) for reason, count in zip(self.reasons[1:], found[1:], strict=True) if count}


def together(**arrays: Any) -> tuple[np.ndarray, ...]:
    """Return arrays of floats in the shape they have together, or raise where there is none.

    Parameters
    ----------
    **arrays : array
        Under the names by which the caller knows them.

    Returns
    -------
    tuple of array
        Read-only views.

    Raises
    ------
    ValueError
        If one does not hold numbers, or the shapes do not broadcast.

    Examples
    --------
    >>> [array.shape for array in together(control=[[1], [2]], treatment=[1, 2, 3])]
    [(2, 3), (2, 3)]
    """
    given = []
    for name, values in arrays.items():
        try:
            given.append(np.asarray(values, dtype=float))
        except (TypeError, ValueError):
            raise ValueError(f"{name} is {values!r}; it must hold numbers, in rows of one length.") from None
    try:
        return tuple(np.broadcast_arrays(*given))
    except ValueError:
        shapes = ", ".join(f"{name} has the shape {array.shape}" for name, array in zip(arrays, given, strict=True))
        raise ValueError(f"{shapes}; they must broadcast to one shape.") from None


def pick(values: Any, index: Any) -> Any:
    """Return the plain number at an index of an array, or the same number for all indices.

    Parameters
    ----------
    values : float or array
    index : int or tuple of int

    Returns
    -------
    float

    Examples
    --------
    >>> pick(np.array([1.0, 2.0]), 1), pick(0.5, 1)
    (2.0, 0.5)
    """
    return float(values[index]) if np.ndim(values) else values
