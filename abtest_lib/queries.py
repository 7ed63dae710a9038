"""Turns the templates of ``sql/`` into statements: identifiers are checked and quoted, values are bound."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import jinja2

from abtest_lib import resources
from abtest_lib.assignment import Assignment, sql_names
from abtest_lib.definitions import (
    AttributeSource,
    Covariate,
    Experiment,
    ExposureSource,
    LoadLog,
    Metric,
    OutcomeSource,
    Segment,
)
from abtest_lib.errors import DataError
from abtest_lib.measures import Plan, parameter, plan
from abtest_lib.quantile_bins import with_bins
from abtest_lib.warehouse import StatementError, Warehouse

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PARAMETER = re.compile(r"\$([a-z_][a-z0-9_]*)")


def quote_identifier(name: str) -> str:
    """Quote a table or column name part by part.

    Parameters
    ----------
    name : str
        One to four parts of letters, digits and ``_``, joined by dots.

    Returns
    -------
    str
        Safe to put into a statement.

    Raises
    ------
    ValueError
        If a part is no plain identifier.

    Examples
    --------
    >>> quote_identifier("analytics.purchases")
    '"analytics"."purchases"'
    """
    parts = name.split(".")
    if not all(_IDENTIFIER.fullmatch(part) for part in parts):
        raise ValueError(f"name is {name!r}; an identifier must be letters, digits and _, parts joined by dots")
    return ".".join(f'"{part}"' for part in parts)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    # The output is SQL, not HTML; every identifier passes through quote_identifier.
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(resources.folder("sql")), undefined=jinja2.StrictUndefined
    )
    environment.filters["ident"] = quote_identifier
    return environment


def render(template: str, **names) -> str:
    """Render one statement of ``sql/``.

    Parameters
    ----------
    template : str
        The file's name without ``.sql``.
    **names
        What its header lists under Identifiers.

    Returns
    -------
    str
        A statement in DuckDB's dialect with named parameters.

    Raises
    ------
    jinja2.UndefinedError
        If a name is missing.
    ValueError
        If an identifier is not one.

    Examples
    --------
    >>> print(render("newest_day", table="purchases", time="occurred_at"))
    SELECT COUNT(*) AS rows_found
    FROM "purchases"
    WHERE CAST("occurred_at" AS TIMESTAMP) >= $day_at
    """
    return _templates().get_template(f"{template}.sql").render(**names)


@dataclass(frozen=True)
class Days:
    """Days from ``start`` to before ``end``, of them rows loaded by ``known_by`` and, if given, after ``seen_by``."""

    start: dt.date
    end: dt.date
    known_by: dt.datetime
    seen_by: dt.datetime | None = None

    @property
    def bound(self) -> dict[str, dt.datetime | None]:
        """As parameters of a statement."""
        return {"from_at": _midnight(self.start), "to_at": _midnight(self.end), "known_by": self.known_by,
                "seen_by": self.seen_by}  # fmt: skip


class NightQueries:
    """The questions that one night of one experiment asks; errors name experiment, night and source."""

    def __init__(self, experiment: Experiment, as_of: dt.date, warehouse: Warehouse):
        self._experiment, self._as_of, self._warehouse = experiment, as_of, warehouse
        self._where = f"{experiment.key}, {as_of}"
        self.experiment, self.as_of = experiment.key, as_of
        self.log, self.loaded_within = experiment.load_log, dt.timedelta(hours=experiment.loaded_within_hours)
        self._values = {
            "experiment": experiment.key,
            "as_of": _midnight(as_of),
            "day_at": _midnight(as_of - dt.timedelta(days=1)),
            "starts_at": _midnight(experiment.starts_on),
            "ends_at": _midnight(experiment.ends_on),
        }

    def _ask(self, origin: str, template: str, bound: Mapping, **names) -> list[dict]:
        sql = render(template, **names)
        given = {**self._values, **bound}
        used = {name: given[name] for name in PARAMETER.findall(sql)}
        with self._refusals(origin, template):
            return self._warehouse.query(sql, used)

    def _sources(self) -> list[tuple[str, str, list[str]]]:
        """Name, table and columns of every source that the night reads."""
        experiment, exposures = self._experiment, self._experiment.exposures
        if units := experiment.units:
            return [(units.name, units.table, unit_columns(experiment))]
        wanted = [(exposures.name, exposures.table,
                   [exposures.experiment, exposures.unit, exposures.variant, exposures.exposed_at,
                    exposures.loaded_at])]  # fmt: skip
        for source in experiment.outcomes.values():
            metrics = [part for part in experiment.parts if part.source == source.name]
            columns = [source.unit, source.occurred_at, source.loaded_at]
            columns += [metric.value for metric in metrics] + [c for metric in metrics for c, _ in metric.where]
            wanted.append((source.name, source.table, columns))
        for source in experiment.attributes.values():
            columns = [segment.column for segment in experiment.segments if segment.source == source.name]
            columns += [source.known_from, *self._covariates(source)]
            wanted.append((source.name, source.table, [source.unit, *columns]))
        wanted += [(source.name, source.table, [source.unit]) for source in experiment.exclusions.values()]
        if log := experiment.load_log:
            wanted.append(("load_log", log.table, [log.source, log.data_on, log.loaded_at]))
        return [(name, table, [column for column in columns if column]) for name, table, columns in wanted]

    def _covariates(self, source: AttributeSource) -> list[str]:
        """Columns of an attribute source that metrics are adjusted for."""
        covariates = [metric.covariate for metric in self._experiment.metrics.values() if metric.covariate]
        return sorted({covariate.column for covariate in covariates if covariate.source == source.name})

    def check_tables(self) -> None:
        """Raise a DataError with every table and column that the definitions name and the warehouse lacks."""
        problems = []
        for name, table, columns in self._sources():
            try:
                found = self._warehouse.columns(table)
            except StatementError as error:
                problems.append(f"{self._where}: source {name}: table '{table}' cannot be read: {_first_line(error)}")
                continue
            if found is None:
                hint = _near(table, self._warehouse.tables())
                problems.append(f"{self._where}: source {name}: table '{table}' does not exist{hint}")
                continue
            lower = {column.lower() for column in found}
            problems += [
                f"{self._where}: source {name}: table '{table}' has no column '{column}'{_near(column, found)}"
                for column in dict.fromkeys(columns)
                if column.lower() not in lower
            ]
        if problems:
            remedy = "Correct sources.yaml or metrics.yaml, or bring the table back."
            raise DataError("\n".join([*problems, remedy]))

    def complete_at(self, source: str, log: LoadLog) -> dt.datetime | None:
        """When the loader declared the last day of data of a source complete."""
        values = {"source": source, "data_on": self._as_of - dt.timedelta(days=1)}
        return self._ask("load_log", "load_log", values, log=log)[0]["complete_at"]

    def _read(self, origin: str, template: str, bound: Mapping, **names):
        """The rows of a statement as Arrow, in pieces."""
        sql = render(template, **names)
        with self._refusals(origin, template):
            return self._warehouse.read(sql, {name: bound[name] for name in PARAMETER.findall(sql)})

    @contextmanager
    def _refusals(self, origin: str, template: str):
        try:
            yield
        except StatementError as error:
            raise DataError(
                f"{self._where}: source {origin}: the warehouse refused {template}.sql: {_first_line(error)} "
                f"Check the table's columns and types against sources.yaml and metrics.yaml."
            ) from error

    @property
    def days_at_once(self) -> int:
        """Days of a source that one statement may bring."""
        return self._warehouse.days_at_once

    def version(self, table: str) -> str | None:
        """What changes at the latest when a table does; None where the warehouse cannot say."""
        return self._warehouse.version(table)

    def columns(self, table: str) -> list[str]:
        """Name the columns of a table; none when there is no such table."""
        return self._warehouse.columns(table) or []

    def changed_days(self, source: ExposureSource | OutcomeSource, time: str, bound: Mapping) -> list[dict]:
        """Days (and experiments) of rows that came since a look, and what is wrong with them."""
        column = source.experiment if isinstance(source, ExposureSource) else None
        return self._ask(source.name, "changed_days", bound, source=source, time=time, experiment=column)

    def declared(self, source: str) -> list[dict]:
        """When the loader declared each day of a source complete, the first time and the last; none without a log."""
        if not (log := self._experiment.load_log):
            return []
        return self._ask("load_log", "load_log_days", {"source": source}, log=log)

    def outcome_rows(self, source: OutcomeSource, values: Sequence[str], filters: Sequence[str], days: Days):
        """Rows of an outcome source of some days, as Arrow in pieces."""
        return self._read(source.name, "outcome_rows", days.bound, source=source, values=values, filters=filters,
                          late=days.seen_by is not None)  # fmt: skip

    def exposure_rows(self, source: ExposureSource, days: Days):
        """Rows of an exposure source of some days, as Arrow in pieces."""
        return self._read(source.name, "exposure_rows", days.bound, exposures=source, late=days.seen_by is not None)

    def day_rows(self, source: ExposureSource | OutcomeSource, time: str, days: Days) -> dict[dt.date, int]:
        """How many rows of a source with a load time there are by day."""
        column = source.experiment if isinstance(source, ExposureSource) else None
        rows = self._ask(source.name, "day_rows", days.bound, source=source, time=time, experiment=column)
        return {row["day"]: row["rows_found"] for row in rows}

    def attribute_rows(self, attribute: AttributeSource, segments: Sequence[str], covariates: Sequence[str]):
        """Rows of an attribute source, as Arrow in pieces."""
        return self._read(attribute.name, "attribute_rows", {}, attribute=attribute, segments=segments,
                          covariates=covariates)  # fmt: skip

    def attribute_digest(self, attribute: AttributeSource, segments: Sequence[str], covariates: Sequence[str]):
        """What is equal as long as the rows of an attribute source are; None where the warehouse cannot say."""
        sql = render("attribute_rows", attribute=attribute, segments=segments, covariates=covariates)
        with self._refusals(attribute.name, "attribute_rows"):
            return self._warehouse.digest(sql)

    def rows_since_last_day(self, source: ExposureSource | OutcomeSource) -> int:
        """Rows of a source from the last day of data on."""
        time = source.exposed_at if isinstance(source, ExposureSource) else source.occurred_at
        return self._ask(source.name, "newest_day", {}, table=source.table, time=time)[0]["rows_found"]

    def exposure_checks(self, known_by: dt.datetime) -> dict:
        """Counts of what is wrong with the exposures."""
        values = {f"variant_{i}": name for i, name in enumerate(self._experiment.weights)}
        source = self._experiment.exposures
        rows = self._ask(source.name, "exposure_checks", {**values, "known_by": known_by}, exposures=source,
                         variants=list(self._experiment.weights))  # fmt: skip
        return rows[0]

    def outcome_checks(self, source: OutcomeSource, values: list[str], known_by: dt.datetime) -> dict:
        """Counts of what is wrong with the rows of an outcome source."""
        return self._ask(source.name, "outcome_checks", {"known_by": known_by}, source=source, values=values)[0]

    def delays(self, source: OutcomeSource, lags: Sequence[int], start: dt.date, end: dt.date,
               known_by: dt.datetime) -> list[dict]:  # fmt: skip
        """By day from ``start`` to before ``end``, rows of a source and how many came later than each lag."""
        values = {"known_by": known_by, "from_at": _midnight(start), "before_at": _midnight(end)}
        rows = self._ask(source.name, "delays", values, source=source, lags=lags)
        return [{"day": row["day"], "rows": row["known_rows"], "last_known": row["last_known_at"],
                 "late": {lag: row[f"late_{number}"] for number, lag in enumerate(lags)}} for row in rows]  # fmt: skip

    def day_counts(self, source: OutcomeSource, columns: Sequence[str], start: dt.date, end: dt.date,
                   known_by: dt.datetime) -> list[dict]:  # fmt: skip
        """By day from ``start`` to before ``end``, rows of a source and nulls of columns, as known when whole."""
        bound = {"known_by": known_by, "from_at": _midnight(start), "before_at": _midnight(end),
                 "from_on": start, "before_on": end, "source_name": source.name}  # fmt: skip
        rows = self._ask(source.name, "day_counts", bound, source=source, columns=columns, log=self.log,
                         hours=self._experiment.loaded_within_hours)  # fmt: skip
        return [{"day": row["day"], "rows": row["known_rows"], "rows_without_unit": row["rows_without_unit"],
                 "nulls": {name: row[f"nulls_{number}"] for number, name in enumerate(columns)},
                 "last_loaded_at": row["last_loaded_at"]} for row in rows]  # fmt: skip

    def cap_quantiles(self, source: OutcomeSource, metrics: Sequence[Metric], known_by: dt.datetime):
        """Quantiles of units' totals in the days before the experiment, for each metric that has a row, as Arrow."""
        starts_at = self._values["starts_at"]
        begins = [starts_at - dt.timedelta(days=metric.window_days) for metric in metrics]
        bound = {"known_by": known_by, "starts_at": starts_at, "from_at": min(begins)}
        bound |= {f"from_{i}": at for i, at in enumerate(begins)}
        for i, metric in enumerate(metrics):
            bound[f"quantile_{i}"] = metric.cap_quantile
            bound |= {f"where_{i}_{number}": value for number, (_, value) in enumerate(metric.where)}
        return self._read(source.name, "cap_quantiles", bound, source=source, columns=metrics)

    def attribute_checks(self, attribute: AttributeSource) -> dict:
        """Units with more than one row in an attribute table, one of them, and covariates that are no finite number."""
        covariates = self._covariates(attribute)
        counts = self._ask(attribute.name, "attribute_checks", {}, attribute=attribute, covariates=covariates)[0]
        return {**counts, "not_finite": {name: counts[f"not_finite_{i}"] for i, name in enumerate(covariates)}}

    def units(self, known_by: Mapping) -> list[dict]:
        """Exposed units by segment value, variant, crossover, whether within the dates, and day."""
        names, bound = self._population(known_by, self._experiment.segments, ())
        rows = self._ask(self._experiment.exposures.name, "units", bound, **names, matured=False)
        return [{**row, "segment": self._segment(row)} for row in rows]

    def assigned_units(self, known_by: Mapping) -> list[dict]:
        """Exposed units by variant, number of the exclusion that names them, and whether within the dates."""
        names, bound = self._population(known_by, (), ())
        return self._ask(self._experiment.exposures.name, "assigned_units", bound, **names)

    def assigned_otherwise(self, assignment: Assignment, known_by: Mapping) -> list[dict]:
        """Enrolled units by the variant that the assignment gives and the one that was found."""
        exposures = self._experiment.exposures
        return self._ask(exposures.name, "assigned_otherwise", {"known_by": known_by[exposures.name]},
                         exposures=exposures, exclusions=[], assignment=sql_names(assignment))  # fmt: skip

    def moments(self, metrics: Sequence[Metric], known_by: Mapping) -> list[dict]:
        """Moments of metrics that mature together, over matured units; rows of ``moments.parquet``."""
        experiment = self._experiment
        wanted = plan(metrics, lambda lag_days: experiment.open_until(lag_days, self._as_of))
        covariates = list(dict.fromkeys(metric.covariate for metric in metrics if metric.covariate))
        known = {f"known_by_{window.name}": known_by[window.source] for window in wanted.windows}
        names, bound = self._population(known_by, experiment.segments, covariates)
        rows = self._ask(
            ", ".join(dict.fromkeys(window.source for window in wanted.windows)),
            "moments",
            {**wanted.values, **known, **bound, "matured_before": matured_before(experiment, metrics[0], self._as_of)},
            **names,
            sources=experiment.outcomes,
            windows=wanted.windows,
            columns=wanted.columns,
            matured=True,
            ordered=False,
            parameter=parameter,
        )
        found = [one for row in rows for one in metric_rows(wanted, {**row, "segment": self._segment(row)})]
        for metric in metrics:
            if metric.kind == "quantile":
                found = with_bins(metric, found, self.quantile_bins(metric, known_by))
        return found

    def quantile_bins(self, metric: Metric, known_by: Mapping) -> list[dict]:
        """The values of a quantile metric by bin, over matured units."""
        from abtest_lib.statistics.value_bins import BIN_OFFSET, BIN_WIDTH  # numpy, which few nights need here

        wanted = plan([metric])
        (window,) = wanted.windows
        names, bound = self._population(known_by, (), ())
        return self._ask(
            window.source,
            "quantile_bins",
            {**wanted.values, **bound, f"known_by_{window.name}": known_by[window.source],
             "matured_before": matured_before(self._experiment, metric, self._as_of)},
            **names,
            source=self._experiment.outcomes[window.source],
            window=window,
            measure=window.measures[0],
            metric=metric,
            matured=True,
            parameter=parameter,
            width=BIN_WIDTH,
            offset=BIN_OFFSET,
        )  # fmt: skip

    def _segment(self, row: Mapping) -> str | None:
        return None if row["segment"] < 0 else self._experiment.segments[row["segment"]].attribute

    def _population(
        self, known_by: Mapping, segments: Sequence[Segment], covariates: Sequence[Covariate]
    ) -> tuple[dict, dict]:
        """Identifiers and parameters of the fragments that say who is counted, and what units are grouped by."""
        experiment, activation = self._experiment, self._experiment.activation
        columns: dict[str, list[str]] = {}
        for part in dict.fromkeys((part.source, part.column) for part in (*segments, *covariates)):
            columns.setdefault(part[0], []).append(part[1])
        names = {
            "exposures": experiment.exposures,
            "exclusions": list(experiment.exclusions.values()),
            "activation": activation,
            "activation_source": experiment.outcomes[activation.source] if activation else None,
            "segments": segments,
            "covariates": covariates,
            "columns_of": columns,
            "attributes": {name: source for name, source in experiment.attributes.items() if name in columns},
        }
        bound = {"known_by": known_by[experiment.exposures.name]}
        if activation:
            bound["known_by_activation"] = known_by[activation.source]
            bound |= {f"activated_{number}": value for number, (_, value) in enumerate(activation.where)}
        return names, bound


def unit_columns(experiment: Experiment) -> list[str]:
    """Which columns does an experiment read of its unit-level table?

    Parameters
    ----------
    experiment : Experiment
        With ``units``.

    Returns
    -------
    list of str
        Unit, variant and perhaps time, segments, values and covariates, each once.

    Raises
    ------
    AttributeError
        If the experiment has no such table.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> units = SimpleNamespace(unit="customer_id", variant="arm", exposed_at=None)
    >>> unit_columns(SimpleNamespace(units=units, segments=(), metrics={}))
    ['customer_id', 'arm']
    """
    units, metrics = experiment.units, experiment.metrics.values()
    names = [units.unit, units.variant, units.exposed_at, *(segment.column for segment in experiment.segments)]
    names += [part.value for metric in metrics for part in metric.parts]
    names += [metric.covariate.column for metric in metrics if metric.covariate]
    return list(dict.fromkeys(name for name in names if name))


def matured_before(experiment: Experiment, metric: Metric, as_of: dt.date) -> dt.datetime:
    """Units exposed earlier than this are mature for a metric on a night, and came within the enrolment.

    Parameters
    ----------
    experiment : Experiment
        Its windows begin before ``counts_until``.
    metric : Metric
        Gives delay, window and lag.
    as_of : date
        The night.

    Returns
    -------
    datetime
        UTC without a zone.

    Examples
    --------
    >>> from abtest_lib.definitions import load_experiment
    >>> one = load_experiment("experiments", "one_page_checkout")
    >>> matured_before(one, one.metrics["conversion"], dt.date(2026, 2, 20)).isoformat()
    '2026-02-12T00:00:00.000001'
    """
    if metric.is_open:
        until = experiment.open_until(metric.lag_days, as_of) - dt.timedelta(days=metric.delay_days)
        return _midnight(min(until, experiment.counts_until))
    mature = _midnight(as_of) - dt.timedelta(days=metric.maturity_days)
    # A unit exposed exactly maturity_days before as_of is mature: exposed_at + maturity <= as_of.
    return min(mature + dt.timedelta(microseconds=1), _midnight(experiment.counts_until))


def metric_rows(wanted: Plan, row: Mapping) -> list[dict]:
    """Split a row of ``unit_cells.sql`` into one of ``moments.parquet`` for each metric.

    Parameters
    ----------
    wanted : Plan
        Gives the metric of each number at the end of a column's name.
    row : mapping
        With the segment's name in place of its number.

    Returns
    -------
    list of dict
        A metric with a covariate has two: units with and without a value of it.

    Raises
    ------
    KeyError
        If the row lacks a column.

    Examples
    --------
    >>> metric_rows(plan([]), {})
    []
    """
    cell = {name: row[name] for name in ("segment", "value", "variant", "crossover", "exposed_on")} if row else {}
    found = []
    for column in wanted.columns:
        names = ["null_rows", "n", "mean", "m2"]
        if column.metric.kind == "ratio":
            names[1:1] = ["denominator_null_rows"]
            names += ["denominator_mean", "denominator_m2", "comoment"]
        if column.metric.is_capped:
            names.append("capped")
        head = {"metric": column.metric.name, **cell}
        if not column.metric.covariate:
            found.append({**head, "units": row["units"], **{name: row[f"{name}_{column.number}"] for name in names}})
            continue
        for known, prefix in ((False, "unknown_"), (True, "")):
            counted = {name: row[f"{prefix}{name}_{column.number}"] for name in ("units", *names)}
            second = {name: row[f"{name}_{column.number}"] if known else None
                      for name in ("covariate_mean", "covariate_m2", "comoment")}  # fmt: skip
            if counted["units"]:
                found.append({**head, "covariate_known": known, **counted, **second})
    return found


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day)  # UTC without a zone, as the statements compare


def _first_line(error: Exception) -> str:
    return f"{str(error).strip().splitlines()[0].rstrip('.!')}."


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean '{near[0]}'?" if near else "."
