"""The moments of a unit-level table: which columns are averaged, and how cells become the rows of segments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from abtest_lib.definitions import Metric


@dataclass(frozen=True)
class Value:
    """A column as it is averaged; ``zero`` puts 0 in place of null, ``nullable`` says that it has nulls at all."""

    column: str
    share: bool
    boolean: bool
    zero: bool
    nullable: bool

    @property
    def gaps(self) -> bool:
        """Whether units without a value stay without one."""
        return self.nullable and not self.zero


@dataclass(frozen=True)
class Column:
    """A metric of the statement: the places of its value and of the denominator or covariate beside it."""

    number: int
    metric: Metric
    amount: int
    other: int | None


@dataclass(frozen=True)
class Plan:
    """What one statement averages, each column once in each way, and which segments it groups by together."""

    values: list[Value]
    columns: list[Column]
    sets: list[list[int]]

    @classmethod
    def of(cls, metrics: Iterable[Metric], lacking: set[str], booleans: set[str], sets: list[list[int]]) -> Plan:
        """Plan for some metrics, of columns that have nulls and that are boolean."""
        values: list[Value] = []

        def place(column: str, *, share: bool = False, zero: bool = False) -> int:
            value = Value(column, share, column in booleans, zero, column in lacking)
            if value not in values:
                values.append(value)
            return values.index(value)

        columns = []
        for number, metric in enumerate(metrics):
            places = [place(part.value, share=part.is_share, zero=part.nulls == "zero") for part in metric.parts]
            if metric.covariate:
                places.append(place(metric.covariate.column))
            columns.append(Column(number, metric, places[0], places[1] if len(places) > 1 else None))
        return cls(values, columns, sets)


@dataclass(frozen=True)
class Parts:
    """Moments of some cells, arrays of one length; of two values also those of the second and of both."""

    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    other_mean: np.ndarray | None = None
    other_m2: np.ndarray | None = None
    comoment: np.ndarray | None = None

    def merged(self, places: np.ndarray, size: int) -> Parts:
        """Merge the cells that have the same place, exactly [1]_.

        Parameters
        ----------
        places : array of int
            One for each cell.
        size : int
            Number of places.

        Returns
        -------
        Parts
            One cell a place; a place without units has mean 0.

        Raises
        ------
        ValueError
            If there are not as many places as cells.

        References
        ----------
        .. [1] Chan, Golub, LeVeque (1983). doi:10.1080/00031305.1983.10483115

        Examples
        --------
        >>> cells = Parts(np.array([2, 1, 3]), np.array([1.0, 4.0, 9.0]), np.array([2.0, 0.0, 6.0]))
        >>> both = cells.merged(np.array([0, 0, 1]), 2)
        >>> both.n.tolist(), both.mean.tolist(), both.m2.tolist()
        ([3, 3], [2.0, 9.0], [8.0, 6.0])
        """
        n = _totals(self.n, places, size)
        mean, apart = _centred(self.n, self.mean, n, places)
        m2 = _totals(self.m2 + self.n * apart**2, places, size)
        if self.other_mean is None:
            return Parts(n, mean, m2)
        other_mean, other_apart = _centred(self.n, self.other_mean, n, places)
        other_m2 = _totals(self.other_m2 + self.n * other_apart**2, places, size)
        comoment = _totals(self.comoment + self.n * apart * other_apart, places, size)
        return Parts(n, mean, m2, other_mean, other_m2, comoment)


def _totals(weights: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    totals = np.bincount(places, weights, size)
    return totals.astype(np.int64) if weights.dtype.kind == "i" else totals


def _centred(n: np.ndarray, mean: np.ndarray, totals: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each place, and how far its cells are from it."""
    units = np.maximum(totals, 1)
    centre = np.bincount(places, n * mean, len(totals)) / units
    # Of what the first mean leaves over, so that a large one costs no digit.
    centre += np.bincount(places, n * (mean - centre[places]), len(totals)) / units
    return centre, mean - centre[places]


@dataclass(frozen=True)
class Cells:
    """Rows of ``sql/unit_table_cells.sql`` of one set, and the numbers of its segments."""

    segments: Sequence[int]
    rows: list[dict]

    def numbers(self, name: str) -> np.ndarray:
        """A column; whole numbers stay whole, and what no unit has is 0."""
        column = [row[name] for row in self.rows]
        if any(isinstance(value, float) for value in column):
            return np.array([value or 0.0 for value in column])
        return np.array([int(value or 0) for value in column], dtype=np.int64)

    def counts(self, name: str) -> np.ndarray:
        """A column of counts, which is not there when all of them are 0."""
        return self.numbers(name) if name in self.rows[0] else np.zeros(len(self.rows), dtype=np.int64)


@dataclass(frozen=True)
class Groups:
    """To which value, variant and day each cell of a set belongs."""

    keys: list[tuple[str | None, str, dt.date]]
    places: np.ndarray

    @classmethod
    def of(cls, cells: Cells, number: int | None, cohort: dt.date) -> Groups:
        """Group by a segment, or by none; without a day of exposure all units are of one cohort."""
        own = [
            (None if number is None else row[f"segment_{number}"], row["variant"], row.get("exposed_on", cohort))
            for row in cells.rows
        ]
        keys = sorted(set(own), key=lambda key: (key[0] or "", key[1], key[2]))
        numbered = {key: place for place, key in enumerate(keys)}
        return cls(keys, np.array([numbered[key] for key in own]))

    def total(self, weights: np.ndarray) -> np.ndarray:
        """Add up a column by group."""
        return _totals(weights, self.places, len(self.keys))

    def merged(self, parts: Parts) -> Parts:
        """Merge moments by group."""
        return parts.merged(self.places, len(self.keys))


def metric_rows(
    column: Column, values: Sequence[Value], cells: Cells, groups: Groups, units: np.ndarray
) -> Iterator[tuple[int, dict]]:
    """Place and moments of each group; a metric with a covariate has two: units with and without a value of it."""
    i, metric = column.number, column.metric
    amount = values[column.amount]
    nulls = groups.total(cells.counts(f"nulls_{i}"))
    if column.other is None:
        yield from _rows_of(groups.merged(_plain(i, amount, cells)), units=units, null_rows=nulls)
        return
    both = groups.merged(_pair(i, cells))
    other_nulls = groups.total(cells.counts(f"other_nulls_{i}"))
    if metric.kind == "ratio":
        yield from _rows_of(both, "denominator", units=units, null_rows=nulls, denominator_null_rows=other_nulls)
        return
    without_nulls = groups.total(cells.counts(f"without_nulls_{i}"))
    for place, row in _rows_of(both, "covariate", units=units - other_nulls, null_rows=nulls - without_nulls):
        if row["units"]:
            yield place, {"covariate_known": True, **row}
    if not values[column.other].gaps:
        return
    lacking = Parts(cells.numbers(f"without_n_{i}"), cells.numbers(f"without_mean_{i}"),
                    cells.numbers(f"without_variance_{i}") * cells.numbers(f"without_n_{i}"))  # fmt: skip
    empty = dict.fromkeys(("covariate_mean", "covariate_m2", "comoment"))
    for place, row in _rows_of(groups.merged(lacking), units=other_nulls, null_rows=without_nulls):
        if row["units"]:
            yield place, {"covariate_known": False, **row, **empty}


def _plain(number: int, value: Value, cells: Cells) -> Parts:
    n = cells.numbers(f"n_{number}") if value.gaps else cells.numbers("units")
    if not value.share:
        return Parts(n, cells.numbers(f"mean_{number}"), cells.numbers(f"variance_{number}") * n)
    share = cells.numbers(f"ones_{number}") / np.maximum(n, 1)
    return Parts(n, share, share * (1 - share) * n)


def _pair(number: int, cells: Cells) -> Parts:
    n = cells.numbers(f"n_{number}") if f"n_{number}" in cells.rows[0] else cells.numbers("units")
    mean, variance = cells.numbers(f"mean_{number}"), cells.numbers(f"variance_{number}")
    other_mean, other_variance = cells.numbers(f"other_mean_{number}"), cells.numbers(f"other_variance_{number}")
    return Parts(n, mean, variance * n, other_mean, other_variance * n, cells.numbers(f"covariance_{number}") * n)


def _rows_of(parts: Parts, other: str | None = None, **counts: np.ndarray) -> Iterator[tuple[int, dict]]:
    """Rows of ``moments.parquet`` without their heads; where no unit has a value, the other's moments are null."""
    columns = {**counts, "n": parts.n, "mean": parts.mean, "m2": parts.m2}
    second = {f"{other}_mean": parts.other_mean, f"{other}_m2": parts.other_m2, "comoment": parts.comoment}
    if other:
        columns |= second
    names, arrays = list(columns), [column.tolist() for column in columns.values()]
    for place, row in enumerate(zip(*arrays, strict=True)):
        found = dict(zip(names, row, strict=True))
        yield place, found if found["n"] or not other else {**found, **dict.fromkeys(second)}
