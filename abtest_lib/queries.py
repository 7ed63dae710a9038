"""Turns the templates of ``sql/`` into statements: identifiers are checked and quoted, values are bound."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Mapping
from functools import lru_cache

import jinja2

from abtest_lib import resources
from abtest_lib.definitions import AttributeSource, Experiment, ExposureSource, LoadLog, Metric, OutcomeSource
from abtest_lib.errors import DataError
from abtest_lib.warehouse import StatementError, Warehouse

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARAMETER = re.compile(r"\$([a-z_]+[0-9]*)")


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


class NightQueries:
    """The questions that one night of one experiment asks; errors name experiment, night and source."""

    def __init__(self, experiment: Experiment, as_of: dt.date, warehouse: Warehouse):
        self._experiment, self._as_of, self._warehouse = experiment, as_of, warehouse
        self._where = f"{experiment.key}, {as_of}"
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
        used = {name: given[name] for name in _PARAMETER.findall(sql)}
        try:
            return self._warehouse.query(sql, used)
        except StatementError as error:
            raise DataError(
                f"{self._where}: source {origin}: the warehouse refused {template}.sql: {_first_line(error)} "
                f"Check the table's columns and types against sources.yaml and metrics.yaml."
            ) from error

    def _sources(self) -> list[tuple[str, str, list[str]]]:
        """Name, table and columns of every source that the night reads."""
        experiment, exposures = self._experiment, self._experiment.exposures
        wanted = [(exposures.name, exposures.table,
                   [exposures.experiment, exposures.unit, exposures.variant, exposures.exposed_at,
                    exposures.loaded_at])]  # fmt: skip
        for source in experiment.outcomes.values():
            parts = [part for metric in experiment.metrics.values() for part in metric.parts]
            metrics = [part for part in parts if part.source == source.name]
            columns = [source.unit, source.occurred_at, source.loaded_at]
            columns += [metric.value for metric in metrics] + [c for metric in metrics for c, _ in metric.where]
            wanted.append((source.name, source.table, columns))
        for source in experiment.attributes.values():
            columns = [segment.column for segment in experiment.segments if segment.source == source.name]
            wanted.append((source.name, source.table, [source.unit, *columns, *self._covariates(source)]))
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

    def delays(self, source: OutcomeSource, lag_days: int, longer: list[int], known_by: dt.datetime) -> dict:
        """Rows of a source by how late they came: those of four weeks that ended a week before the lag."""
        before = _midnight(self._as_of) - dt.timedelta(days=lag_days + 7)
        values = {"known_by": known_by, "from_at": before - dt.timedelta(days=28), "before_at": before}
        return self._ask(source.name, "delays", values, source=source, lag_days=lag_days, longer=longer)[0]

    def attribute_checks(self, attribute: AttributeSource) -> dict:
        """Units with more than one row in an attribute table, one of them, and covariates that are no finite number."""
        covariates = self._covariates(attribute)
        counts = self._ask(attribute.name, "attribute_checks", {}, attribute=attribute, covariates=covariates)[0]
        return {**counts, "not_finite": {name: counts[f"not_finite_{i}"] for i, name in enumerate(covariates)}}

    def units(self, known_by: dt.datetime) -> list[dict]:
        """Exposed units by variant, crossover, whether within the dates, day and segment values."""
        experiment = self._experiment
        return self._ask(
            experiment.exposures.name,
            "units",
            {"known_by": known_by},
            exposures=experiment.exposures,
            segments=experiment.segments,
            attributes=self._attributes({segment.source for segment in experiment.segments}),
        )

    def moments(self, metric: Metric, known_by: dt.datetime) -> list[dict]:
        """Moments of a metric over matured units by variant, crossover, day of exposure and segment values."""
        experiment = self._experiment
        mature = _midnight(self._as_of) - dt.timedelta(days=metric.maturity_days)
        values = {
            f"{prefix}where_{i}": value
            for prefix, part in zip(("", "denominator_"), metric.parts, strict=False)
            for i, (_, value) in enumerate(part.where)
        }
        read = {s.source for s in (*experiment.segments, metric.covariate) if s}
        # A unit exposed exactly maturity_days before as_of is mature: exposed_at + maturity <= as_of.
        values["matured_before"] = min(mature + dt.timedelta(microseconds=1), _midnight(experiment.ends_on))
        return self._ask(
            metric.source,
            "moments",
            {**values, "known_by": known_by},
            exposures=experiment.exposures,
            sources=experiment.outcomes,
            metric=metric,
            segments=experiment.segments,
            attributes=self._attributes(read),
        )

    def _attributes(self, names: set[str]) -> dict[str, AttributeSource]:
        return {name: source for name, source in self._experiment.attributes.items() if name in names}


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day)  # UTC without a zone, as the statements compare


def _first_line(error: Exception) -> str:
    return f"{str(error).strip().splitlines()[0].rstrip('.!')}."


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean '{near[0]}'?" if near else "."
