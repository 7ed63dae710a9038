"""Experiments whose data is one table with a row a unit: variant, segments, values and covariates side by side.

The values are read once. Units are grouped by combinations of segments that have few cells together, which costs less
than a group for each segment, and far less than one for every combination; each segment's moments are merged from them.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from abtest_lib.definitions import Experiment
from abtest_lib.errors import DataError
from abtest_lib.queries import render
from abtest_lib.unit_moments import Cells, Groups, Plan, Value, metric_rows
from abtest_lib.warehouse import DuckDBWarehouse, StatementError, Warehouse

if TYPE_CHECKING:
    import pyarrow

MOST_CELLS = 4096  # of one combination of segments: their moments fit into a processor's cache
MOST_KEYS = 50_000_000  # of 8 bytes, held in memory
WHOLE_NUMBERS = {"int64": np.int64, "uint64": np.uint64, "int32": np.int32, "uint32": np.uint32}
SAMPLE_ROWS = 2048
SHOWN = 5


class UnitTable:
    """The unit-level table of an experiment on one night.

    Parameters
    ----------
    experiment : Experiment
        With ``units``.
    as_of : date
        With ``exposed_at``, units of this date and later belong to a later night.
    warehouse : Warehouse
        Open for reading.
    """

    def __init__(self, experiment: Experiment, as_of: dt.date, warehouse: Warehouse):
        self._experiment, self._as_of, self._warehouse = experiment, as_of, warehouse
        self._units = experiment.units
        self._is_duckdb = isinstance(warehouse, DuckDBWarehouse)
        self._where = f"{experiment.key}, {as_of}: source {self._units.name}"
        self._dimensions = [segment.column for segment in experiment.segments]

    def read(self) -> tuple[list[dict], list[dict]]:
        """Read how many units there are, and the moments of every metric, by segment.

        Returns
        -------
        tuple of list of dict
            The rows that ``NightQueries.units`` and ``NightQueries.moments`` return for events: each segment's rows add
            up to those without one.

        Raises
        ------
        DataError
            With every broken promise that was found.
        """
        plan = self.plan()
        sets = self._cells(plan)
        self._check_variants(sets[0])
        self._check_shares(sets[0], plan.values)
        return self._marginal(sets, plan)

    def plan(self) -> Plan:
        """Look at the table's columns and count what is missing, to read no more than is needed.

        Returns
        -------
        Plan
            Which columns are averaged in which way, and which segments are grouped by together.

        Raises
        ------
        DataError
            If units, variants or times are missing, or units have more than one row.
        """
        kind, *kinds = map(str, self._head([self._units.unit, *self._columns], 0).schema.types)
        counts = self.ask("unit_table_counts", values=self._columns, texts="string" in kind)[0]
        self._refuse(self._count_problems(counts) or self._repeat_problems(counts["units_found"], kind))
        lacking = {name for i, name in enumerate(self._columns) if counts[f"known_{i}"] < counts["units_found"]}
        booleans = {name for name, kind in zip(self._columns, kinds, strict=True) if kind == "bool"}
        return Plan.of(self._experiment.metrics.values(), lacking, booleans, self._sets())

    def cell_rows(self, plan: Plan) -> list[dict]:
        """The rows of ``sql/unit_table_cells.sql``."""
        return self.ask("unit_table_cells", segments=self._dimensions, values=plan.values, columns=plan.columns,
                        sets=plan.sets)  # fmt: skip

    @property
    def _columns(self) -> list[str]:
        """Columns that metrics average or are adjusted for."""
        metrics = self._experiment.metrics.values()
        covariates = [metric.covariate.column for metric in metrics if metric.covariate]
        return list(dict.fromkeys([*(part.value for metric in metrics for part in metric.parts), *covariates]))

    def _read(self, template: str, **names) -> pyarrow.RecordBatchReader:
        sql = render(template, units=self._units, **names)
        values = {"as_of": dt.datetime(self._as_of.year, self._as_of.month, self._as_of.day)}
        try:
            return self._warehouse.read(sql, values if "$as_of" in sql else None)
        except StatementError as error:
            raise DataError(
                f"{self._where}: the warehouse refused {template}.sql: {str(error).splitlines()[0]} "
                f"Check the table's columns and types against sources.yaml and metrics.yaml."
            ) from error

    def ask(self, template: str, **names) -> list[dict]:
        """The rows of one statement about the table; ``names`` are what its header lists under Identifiers."""
        return self._read(template, **names).read_all().to_pylist()

    def _head(self, columns: Sequence[str], most: int) -> pyarrow.Table:
        return self._read("unit_table_rows", columns=columns, rows=most).read_all()

    def _count_problems(self, counts: Mapping[str, int]) -> list[str]:
        units = self._units
        if not counts["units_found"]:
            return [f"'{units.table}' has no units before this night; load it, or correct the dates."]
        words = {
            "null_units": f"no {units.unit}; every row must name its unit. Correct the export.",
            "null_variants": f"no {units.variant}; every unit must have a variant. Correct the export.",
            "null_times": f"no {units.exposed_at}; every unit must have a time, or leave exposed_at out of "
            "sources.yaml.",
            "negative_times": f"{units.exposed_at} before 1970; a time must be a UTC timestamp. Correct the export.",
        }
        return [f"{_rows(counts[name], units.table)} {text}" for name, text in words.items() if counts[name]]

    def _repeat_problems(self, units_found: int, kind: str) -> list[str]:
        if self._is_duckdb and units_found <= MOST_KEYS and self._surely_unique(kind):
            return []
        counts = self.ask("unit_table_repeats")[0]
        if not counts["repeated_units"]:
            return []
        return [
            f"{counts['repeated_units']:,} units have more than one row in '{self._units.table}' "
            f"({counts['example']}, ...); it must hold one row a unit."
        ]

    def _surely_unique(self, kind: str) -> bool:
        """Whether no two rows have units of one key, in a fifth of the time that the engine takes to count units."""
        whole = kind in WHOLE_NUMBERS
        columns = [batch.column(0) for batch in self._read("duckdb/unit_keys", whole=whole)]
        kind = WHOLE_NUMBERS.get(kind, np.uint64)
        width = np.dtype(kind).itemsize
        keys = [np.frombuffer(c.buffers()[1], kind, len(c), width * c.offset) for c in columns if len(c)]
        least, rows = min(int(part.min()) for part in keys), sum(map(len, keys))
        span = max(int(part.max()) for part in keys) - least + 1
        if span <= 16 * rows:
            seen = np.zeros(span, dtype=bool)
            for part in keys:
                seen[part - least] = True
            return int(seen.sum()) == rows
        ordered = np.concatenate(keys)
        ordered.sort()
        return not bool((ordered[1:] == ordered[:-1]).any())

    def _sets(self) -> list[list[int]]:
        """Which segments to group by together: as many as have few cells, guessed from some rows."""
        if not self._dimensions:
            return [[]]
        # Another engine's first rows may be others each time, and with the sets the last digits.
        if not self._is_duckdb:
            return [[number] for number in range(len(self._dimensions))]
        days = self._experiment.enrolment_days if self._units.exposed_at else 1
        room = MOST_CELLS / (len(self._experiment.weights) * days)
        sample = self._head(self._dimensions, SAMPLE_ROWS)
        sets: list[tuple[float, list[int]]] = []
        for number in range(len(self._dimensions)):
            guess = len(set(sample.column(number).to_pylist()))
            for place, (cells, numbers) in enumerate(sets):
                if cells * guess <= room:
                    sets[place] = (cells * guess, [*numbers, number])
                    break
            else:
                sets.append((guess, [number]))
        return [numbers for _, numbers in sets]

    def _cells(self, plan: Plan) -> list[Cells]:
        """The cells of each set."""
        try:
            rows = self.cell_rows(plan)
        except DataError:
            self._check_finite(plan.values)
            raise
        if not all(math.isfinite(number) for row in rows for number in row.values() if isinstance(number, float)):
            self._check_finite(plan.values)
            self._refuse([f"values of '{self._units.table}' are too large to take a variance of; correct the export."])
        sets: dict[tuple, list[dict]] = {tuple(numbers): [] for numbers in plan.sets}
        for row in rows:
            sets[tuple(n for n in range(len(self._dimensions)) if row[f"segment_{n}"] is not None)].append(row)
        return [Cells(numbers, rows) for numbers, rows in sets.items()]

    def _check_finite(self, values: Sequence[Value]) -> None:
        numbers = list(dict.fromkeys(value.column for value in values if not value.boolean))
        counts = self.ask("unit_table_faults", numbers=numbers)[0] if numbers else {}
        self._refuse(
            f"{_rows(count, self._units.table)} NaN or infinity for {column}; it must be a number or null. "
            "Correct the export."
            for column, count in zip(numbers, counts.values(), strict=True)
            if count
        )

    def _check_variants(self, cells: Cells) -> None:
        unknown = Counter()
        for row in cells.rows:
            if row["variant"] not in self._experiment.weights:
                unknown[row["variant"]] += row["units"]
        names = ", ".join(sorted(unknown)[:SHOWN])
        if unknown:
            self._refuse(
                [
                    f"{_rows(unknown.total(), self._units.table)} a variant that {self._experiment.key}.yaml does not "
                    f"name ({names}); name it under variants, or correct the export."
                ]
            )

    def _check_shares(self, cells: Cells, values: Sequence[Value]) -> None:
        others = {
            value.column: int(cells.numbers(f"others_{place}").sum())
            for place, value in enumerate(values)
            if value.share and not value.boolean
        }
        self._refuse(
            f"{_rows(count, self._units.table)} neither 0 nor 1 for {column}; a proportion needs a yes or no of "
            "each unit. Take kind mean, or correct the export."
            for column, count in others.items()
            if count
        )

    def _refuse(self, problems: Iterable[str]) -> None:
        if problems := list(problems):
            raise DataError("\n".join(f"{self._where}: {problem}" for problem in problems))

    def _marginal(self, sets: Sequence[Cells], plan: Plan) -> tuple[list[dict], list[dict]]:
        """The rows of all units, then those of each segment, merged from the cells of the set that has it."""
        units, moments = [], []
        for number in (None, *range(len(self._dimensions))):
            cells = next(cells for cells in sets if number is None or number in cells.segments)
            segment = None if number is None else self._experiment.segments[number].attribute
            groups = Groups.of(cells, number, self._experiment.starts_on)
            heads = [
                {"segment": segment, "value": value, "variant": variant, "crossover": False, "exposed_on": day}
                for value, variant, day in groups.keys
            ]
            counted = groups.total(cells.numbers("units"))
            inside = [self._experiment.starts_on <= head["exposed_on"] < self._experiment.ends_on for head in heads]
            units += [
                {**head, "in_dates": within, "units": int(count)}
                for head, within, count in zip(heads, inside, counted, strict=True)
            ]
            for column in plan.columns:
                rows = metric_rows(column, plan.values, cells, groups, counted)
                moments += [
                    {"metric": column.metric.name, **heads[place], **row} for place, row in rows if inside[place]
                ]
        return units, moments


def _rows(count: int, table: str) -> str:
    return f"{count:,} rows of '{table}' have" if count > 1 else f"1 row of '{table}' has"
