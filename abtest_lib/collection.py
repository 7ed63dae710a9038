"""Reads a night from the warehouse and refuses data that broke a promise, all problems at once."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass

from abtest_lib.definitions import Experiment, Metric
from abtest_lib.errors import DataError
from abtest_lib.queries import NightQueries
from abtest_lib.warehouse import Warehouse

LATE_SHARE = 0.05  # of a source's rows may come after a lag that is long enough
LEAST_ROWS = 100  # from which such a share is worth a word
LONGER_LAGS = (1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 28)


@dataclass(frozen=True)
class NightData:
    """What the warehouse said: counts of exposures and of maturity, and moments by cell."""

    exposure: dict
    moments: list[dict]


def read_night(experiment: Experiment, as_of: dt.date, warehouse: Warehouse) -> NightData:
    """Read exposures and the moments of every metric, as they were known on that night.

    Parameters
    ----------
    experiment : Experiment
        What to read.
    as_of : date
        Data before 00:00 UTC of this date.
    warehouse : Warehouse
        Open for reading; its sources are complete for the last day.

    Returns
    -------
    NightData
        ``moments`` are the rows of ``sql/moments.sql`` with the metric's name.

    Raises
    ------
    DataError
        With every broken promise that was found.

    Examples
    --------
    >>> night = read_night(experiment, dt.date(2026, 3, 3), warehouse)
    >>> sum(night.exposure["units"].values()) == sum(row["units"] for row in night.moments
    ...                                              if row["metric"] == "conversion")
    True
    """
    queries = NightQueries(experiment, as_of, warehouse)
    where = f"{experiment.key}, {as_of}"
    known_by = _known_by(experiment, as_of, queries)
    problems = _exposure_problems(experiment, queries, known_by)
    sources, found = _outcome_sources(experiment, queries, known_by)
    problems += found + _attribute_problems(experiment, queries)
    units = queries.units(known_by)
    problems = problems or _variant_problems(experiment, units)
    if problems:
        raise DataError("\n".join(f"{where}: {problem}" for problem in problems))
    moments = [
        {"metric": metric.name, **row}
        for metric in experiment.metrics.values()
        for row in queries.moments(metric, known_by)
    ]
    problems = [problem for metric in experiment.metrics.values() for problem in _null_problems(metric, moments)]
    if problems:
        raise DataError("\n".join(f"{where}: {problem}" for problem in problems))
    exposure = _exposure(experiment, units, moments, sources, known_by)
    return NightData(exposure | {"delays": _delays(experiment, queries, known_by)}, moments)


def _known_by(experiment: Experiment, as_of: dt.date, queries: NightQueries) -> dt.datetime:
    """The moment whose knowledge the night has: rows loaded later belong to a later night, also in a backfill."""
    if experiment.load_log:
        sources = [experiment.exposures.name, *experiment.outcomes]
        return max(queries.complete_at(name, experiment.load_log) for name in sources)
    return dt.datetime(as_of.year, as_of.month, as_of.day) + dt.timedelta(hours=experiment.loaded_within_hours)


def _counted(counts: dict, words: dict[str, str], source: str, table: str) -> list[str]:
    return [
        f"source {source}: {counts[name]:,} rows of '{table}' {text}"
        if counts[name] > 1
        else f"source {source}: 1 row of '{table}' {text.replace('have', 'has', 1)}"
        for name, text in words.items()
        if counts[name]
    ]


def _exposure_problems(experiment: Experiment, queries: NightQueries, known_by: dt.datetime) -> list[str]:
    source, counts = experiment.exposures, queries.exposure_checks(known_by)
    if not counts["exposures"]:
        return [
            f"source {source.name}: '{source.table}' has no exposures of '{experiment.key}' before this night; "
            f"check that the experiment is on and that {source.experiment} is '{experiment.key}'."
        ]
    unknown = {
        "unknown_rows": f"have a variant that {experiment.key}.yaml does not name ({counts['unknown_variants']}); "
        "name it under variants, or correct the assignment.",
    }
    return _counted(
        counts,
        {
            "null_units": "have no unit; every exposure must name one. Correct the logging, or filter them in a view.",
            "null_variants": "have no variant; every exposure must name one.",
            "null_times": f"have no {source.exposed_at}; every exposure must have a time.",
            **_time_words(source.exposed_at),
            **_load_words(source.loaded_at),
            **unknown,
        },
        source.name,
        source.table,
    )


def _time_words(column: str) -> dict[str, str]:
    return {
        "negative_times": f"have {column} before 1970; a time must be a UTC timestamp. Correct the load.",
        "future_times": f"have {column} in the future (after the row was loaded); correct the clock or the time zone.",
    }


def _load_words(column: str | None) -> dict[str, str]:
    return {"null_loads": f"have no {column}, so no night knows them; load it, or leave loaded_at out of sources.yaml."}


def _outcome_sources(
    experiment: Experiment, queries: NightQueries, known_by: dt.datetime
) -> tuple[list[dict], list[str]]:
    """Rows and rows without unit of each outcome source, and the problems."""
    sources, problems = [], []
    for source in experiment.outcomes.values():
        parts = [part for metric in experiment.metrics.values() for part in metric.parts]
        values = sorted({part.value for part in parts if part.source == source.name and part.value})
        counts = queries.outcome_checks(source, values, known_by)
        words = {"null_times": f"have no {source.occurred_at}; every outcome must have a time.",
                 **_time_words(source.occurred_at), **_load_words(source.loaded_at)}  # fmt: skip
        for number, value in enumerate(values):
            words[f"not_finite_{number}"] = f"have a value of {value} that is NaN or infinite; correct the load."
        problems += _counted(counts, words, source.name, source.table)
        sources.append({"source": source.name, "rows": counts["outcomes"], "rows_without_unit": counts["null_units"]})
    return sources, problems


def _attribute_problems(experiment: Experiment, queries: NightQueries) -> list[str]:
    problems = []
    for source in experiment.attributes.values():
        counts = queries.attribute_checks(source)
        if counts["repeated_units"]:
            problems.append(
                f"source {source.name}: {counts['repeated_units']:,} units have more than one row in '{source.table}' "
                f"({counts['example']}, ...); it must hold one row a unit."
            )
        problems += [
            f"source {source.name}: {count:,} rows of '{source.table}' have a {column} that is NaN or infinite; "
            f"it is a covariate and must be a number or null. Correct the load."
            for column, count in counts["not_finite"].items()
            if count
        ]
    return problems


def _variant_problems(experiment: Experiment, units: list[dict]) -> list[str]:
    seen = {row["variant"] for row in units if row["in_dates"]}
    if not seen:
        return [
            f"no unit was first exposed between starts_on {experiment.starts_on} and ends_on {experiment.ends_on} "
            f"(exclusive); correct the dates or the assignment."
        ]
    if len(seen) == 1:
        return [
            f"all units have the one variant '{seen.pop()}'; a comparison needs at least two. Check the assignment."
        ]
    return []


def _null_problems(metric: Metric, moments: list[dict]) -> list[str]:
    rows = [row for row in moments if row["metric"] == metric.name]
    columns = ("null_rows", "denominator_null_rows")
    problems = []
    for column, part in zip(columns, metric.parts, strict=False):
        null_rows = sum(row[column] for row in rows)
        if part.nulls == "refuse" and null_rows:
            problems.append(
                f"metric {part.name}: {null_rows:,} rows have no {part.value}; set nulls to drop or zero, or load it."
            )
    without = sum(row["units"] - row["n"] for row in rows)
    if problems or metric.nulls != "refuse" or metric.kind == "ratio":
        return problems
    if without:
        return [f"metric {metric.name}: {without:,} units have no row to average; set nulls to drop or zero."]
    return []


def _exposure(
    experiment: Experiment, units: list[dict], moments: list[dict], sources: list[dict], known_by: dt.datetime
) -> dict:
    inside = [row for row in units if row["in_dates"]]
    days = [row["exposed_on"] for row in inside]
    exposed = _by_variant(experiment, inside, "units")
    return {
        "units": exposed,
        "crossovers": _by_variant(experiment, [row for row in inside if row["crossover"]], "units"),
        "cells": _cells(experiment, inside),
        "outside_dates": sum(row["units"] for row in units if not row["in_dates"]),
        "first_on": str(min(days)),
        "last_on": str(max(days)),
        "known_by": known_by.isoformat(),
        "sources": sources,
        "maturity": [_maturity(experiment, metric, exposed, moments) for metric in experiment.metrics.values()],
    }


def _cells(experiment: Experiment, units: list[dict]) -> dict[str, dict[str, dict[str, int]]]:
    """Units by segment attribute or day of exposure, cell and variant: where to look when the sample ratio fails."""
    columns = {segment.attribute: f"segment_{number}" for number, segment in enumerate(experiment.segments)}
    columns["day of first exposure"] = "exposed_on"
    return {
        dimension: {
            str(cell): _by_variant(experiment, [row for row in units if row[column] == cell], "units")
            for cell in sorted({row[column] for row in units})
        }
        for dimension, column in columns.items()
    }


def _maturity(experiment: Experiment, metric: Metric, exposed: dict[str, int], moments: list[dict]) -> dict:
    rows = [row for row in moments if row["metric"] == metric.name]
    matured, valued = _by_variant(experiment, rows, "units"), _by_variant(experiment, rows, "n")
    return {
        "metric": metric.name,
        "title": metric.title,
        "delay_days": metric.delay_days,
        "window_days": metric.window_days,
        "lag_days": metric.lag_days,
        "matured": matured,
        "waiting": {name: exposed[name] - matured[name] for name in exposed},
        "dropped_nulls": {name: matured[name] - valued[name] for name in exposed},
        "complete_on": str(experiment.ends_on + dt.timedelta(days=metric.maturity_days)),
    }


def _delays(experiment: Experiment, queries: NightQueries, known_by: dt.datetime) -> list[dict]:
    """How many rows come after the lag of each metric that reads them, and which lag would do.

    A row that has not come yet is not seen, so the share is at least what is said here.
    """
    pairs = dict.fromkeys((part.source, part.lag_days) for m in experiment.metrics.values() for part in m.parts)
    found = []
    for name, lag_days in pairs:
        source = experiment.outcomes[name]
        if not source.loaded_at:
            continue
        longer = [days for days in LONGER_LAGS if days > lag_days]
        counts = queries.delays(source, lag_days, longer, known_by)
        rows = counts["known_rows"]
        if rows < LEAST_ROWS:
            continue
        late = dict(zip(longer, (counts[f"late_{i}"] for i in range(len(longer))), strict=True))
        enough = next((days for days, count in late.items() if count <= LATE_SHARE * rows), None)
        found.append({"source": name, "lag_days": lag_days, "rows": rows, "late_share": counts["late_rows"] / rows,
                      "enough_days": lag_days if counts["late_rows"] <= LATE_SHARE * rows else enough})  # fmt: skip
    return found


def _by_variant(experiment: Experiment, rows: list[dict], column: str) -> dict[str, int]:
    counts = Counter()
    for row in rows:
        counts[row["variant"]] += row[column]
    return {name: counts[name] for name in experiment.weights}
