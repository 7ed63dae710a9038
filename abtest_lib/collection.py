"""Reads a night from the warehouse and refuses data that broke a promise, all problems at once."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from abtest_lib.caps import FixedCap, described, fixed_caps, with_caps
from abtest_lib.cohorts import whole
from abtest_lib.day_counts import delay_findings
from abtest_lib.definitions import Experiment, Metric, OutcomeSource, without
from abtest_lib.errors import DataError
from abtest_lib.queries import NightQueries
from abtest_lib.warehouse import Warehouse

if TYPE_CHECKING:
    from abtest_lib.state import night as state
    from abtest_lib.state.store import Reading

LATE_SHARE = 0.05  # of a source's rows may come after a lag that is long enough
LEAST_ROWS = 100  # from which such a share is worth a word
DAYS = "day of first exposure"
TRIED_LAGS = (*range(15), 21, 28)
PERCENTILES = (50, 95, 99)  # of the delay


@dataclass(frozen=True)
class NightData:
    """What the warehouse said: counts of exposures and of maturity, moments by cell, and what was read for them."""

    exposure: dict
    moments: list[dict]
    readings: list[Reading]


def read_night(
    experiment: Experiment,
    as_of: dt.date,
    warehouse: Warehouse,
    results_folder: Path | str,
    catalogue: Iterable[Metric] = (),
) -> NightData:
    """Read exposures and the moments of every metric, as they were known on that night.

    What earlier nights read is kept below the results, so that a night reads what is new (``abtest_lib.state``).

    Parameters
    ----------
    experiment : Experiment
        What to read.
    as_of : date
        Data before 00:00 UTC of this date.
    warehouse : Warehouse
        Open for reading; its sources are complete for the last day.
    results_folder : path
        The state lies below it.
    catalogue : iterable of Metric, optional
        All metrics of the catalogue: what they need of a source is read along, so that other experiments find it.

    Returns
    -------
    NightData
        ``moments`` are rows of ``moments.parquet``.

    Raises
    ------
    DataError
        With every broken promise that was found.

    Examples
    --------
    >>> night = read_night(experiment, dt.date(2026, 3, 3), warehouse, results_folder)
    >>> sum(night.exposure["units"].values()) == sum(row["units"] for row in whole(night.moments)
    ...                                              if row["metric"] == "conversion")
    True
    """
    if experiment.units:
        return _unit_table_night(experiment, as_of, warehouse)
    from abtest_lib.state import night as state
    from abtest_lib.state.store import Store

    queries = NightQueries(experiment, as_of, warehouse)
    known_by = _known_by(experiment, as_of, queries)
    store = Store(results_folder, warehouse.name)
    try:
        caps, asked = fixed_caps(experiment, queries, store)
        experiment = with_caps(experiment, caps)
        arguments = (store, experiment, as_of, queries, known_by, maturing_together(experiment), list(catalogue))
        try:
            found = state.read(*arguments)
        except state.Suspicious:
            _refuse(experiment, as_of, _raw_problems(experiment, queries, known_by))
            state.absolve(store, experiment, queries)  # the raw tables are in order now
            found = state.read(*arguments)
        experiment = without(experiment, {one["metric"] for one in found.left_out})
        delays = _delays(experiment, as_of, found.delays)
        late = delay_findings(experiment, as_of, found, delays, store)
    finally:
        store.close()
    counts = [_source_counts(experiment, source, found) for source in experiment.outcomes.values()]
    exposure = _checked_exposure(experiment, as_of, found.units, found.assigned, found.moments, counts, known_by)
    _say_how(exposure, experiment, as_of, caps)
    exposure |= _otherwise(experiment, found.otherwise)
    said = {"delays": delays, "joins": late, "left_out": found.left_out}
    exposure |= {name: rows for name, rows in said.items() if rows or name == "delays"}
    return NightData(exposure, found.moments, [*asked, *found.readings])


def forget_sources(experiment: Experiment, warehouse: Warehouse, results_folder: Path | str) -> None:
    """Forget what nights have kept of an experiment's sources, so that the next one reads them anew.

    Parameters
    ----------
    experiment : Experiment
        Its rows were changed in place, without a new load time or a word in the load log.
    warehouse : Warehouse
        Whose sources.
    results_folder : path
        The state lies below it.

    Examples
    --------
    >>> forget_sources(experiment, warehouse, results_folder)
    """
    from abtest_lib.state.store import Store

    store = Store(results_folder, warehouse.name)
    if not experiment.units:  # such a table is never kept
        store.forget(source.name for source in (experiment.exposures, *experiment.outcomes.values()))


def recompute_night(experiment: Experiment, as_of: dt.date, warehouse: Warehouse) -> NightData:
    """Read a night from the raw tables alone: the same as ``read_night``, without what earlier nights kept.

    Parameters
    ----------
    experiment : Experiment
        What to read.
    as_of : date
        Data before 00:00 UTC of this date.
    warehouse : Warehouse
        Open for reading.

    Returns
    -------
    NightData
        Its sources count all rows of their tables, not those of the days that the night needs.

    Raises
    ------
    DataError
        With every broken promise that was found.

    Examples
    --------
    >>> whole_history = recompute_night(experiment, dt.date(2026, 3, 3), warehouse)
    >>> night = read_night(experiment, dt.date(2026, 3, 3), warehouse, results_folder)
    >>> whole_history.exposure["cells"] == night.exposure["cells"]
    True
    """
    if experiment.units:
        return _unit_table_night(experiment, as_of, warehouse)
    queries = NightQueries(experiment, as_of, warehouse)
    known_by = _known_by(experiment, as_of, queries)
    _refuse(experiment, as_of, _raw_problems(experiment, queries, known_by))
    caps, _ = fixed_caps(experiment, queries)
    experiment = with_caps(experiment, caps)
    counts = []
    for source in experiment.outcomes.values():
        rows = queries.outcome_checks(source, [], known_by[source.name])
        counts.append({"source": source.name, "rows": rows["outcomes"], "rows_without_unit": rows["null_units"]})
    moments = _raw_moments(experiment, queries, known_by)
    assigned = () if experiment.counts_everyone else queries.assigned_units(known_by)
    exposure = _checked_exposure(experiment, as_of, queries.units(known_by), assigned, moments, counts, known_by)
    _say_how(exposure, experiment, as_of, caps)
    if experiment.assignment:
        exposure |= _otherwise(experiment, queries.assigned_otherwise(experiment.assignment, known_by))

    def counted(source: OutcomeSource, lags: list[int], start: dt.date, end: dt.date) -> list[dict]:
        return queries.delays(source, lags, start, end, known_by[source.name])

    return NightData(exposure | {"delays": _delays(experiment, as_of, counted)}, moments, [])


def read_past(experiment: Experiment, as_of: dt.date, warehouse: Warehouse) -> tuple[list[dict], list[dict]]:
    """Read units and moments of past days that are no night, from the raw tables; nothing is kept.

    Parameters
    ----------
    experiment : Experiment
        Its exposures may be events of anybody (``ExposureSource`` without an experiment).
    as_of : date
        Data before 00:00 UTC of this date is read.
    warehouse : Warehouse
        Open for reading.

    Returns
    -------
    tuple of two lists of dict
        Rows of ``units.sql`` and of ``moments.parquet``.

    Raises
    ------
    DataError
        With every broken promise that was found.

    Examples
    --------
    >>> units, moments = read_past(experiment, dt.date(2026, 3, 3), warehouse)
    >>> sum(row["units"] for row in whole(units) if row["in_dates"])
    42000
    """
    queries = NightQueries(experiment, as_of, warehouse)
    known_by = _known_by(experiment, as_of, queries)
    problems = [*_outcome_problems(experiment, queries, known_by), *_attribute_problems(experiment, queries)]
    _refuse(experiment, as_of, problems)
    experiment = with_caps(experiment, fixed_caps(experiment, queries)[0])
    moments = _raw_moments(experiment, queries, known_by)
    _refuse(experiment, as_of, [p for metric in experiment.metrics.values() for p in _null_problems(metric, moments)])
    return queries.units(known_by), moments


def _raw_moments(experiment: Experiment, queries: NightQueries, known_by: Mapping[str, dt.datetime]) -> list[dict]:
    return [row for group in maturing_together(experiment) for row in queries.moments(group, known_by)]


def _unit_table_night(experiment: Experiment, as_of: dt.date, warehouse: Warehouse) -> NightData:
    """A night whose units and outcomes stand in one table, which is read anew each night."""
    from abtest_lib.unit_tables import UnitTable

    units, moments = UnitTable(experiment, as_of, warehouse).read()
    rows = sum(row["units"] for row in whole(units))
    counts = [{"source": experiment.units.name, "rows": rows, "rows_without_unit": 0}]
    read_at = dt.datetime(as_of.year, as_of.month, as_of.day) + dt.timedelta(hours=experiment.loaded_within_hours)
    exposure = _checked_exposure(experiment, as_of, units, (), moments, counts, {experiment.units.name: read_at})
    return NightData(exposure | {"delays": []}, moments, [])


def _refuse(experiment: Experiment, as_of: dt.date, problems: list[str]) -> None:
    if problems:
        raise DataError("\n".join(f"{experiment.key}, {as_of}: {problem}" for problem in problems))


def _raw_problems(experiment: Experiment, queries: NightQueries, known_by: Mapping[str, dt.datetime]) -> list[str]:
    """Every promise that the raw tables break."""
    return [
        *_exposure_problems(experiment, queries, known_by),
        *_outcome_problems(experiment, queries, known_by),
        *_attribute_problems(experiment, queries),
    ]


def _checked_exposure(
    experiment: Experiment,
    as_of: dt.date,
    units: list[dict],
    assigned: Sequence[dict],
    moments: list[dict],
    counts: list[dict],
    known_by: Mapping[str, dt.datetime],
) -> dict:
    _refuse(experiment, as_of, _variant_problems(experiment, units, assigned))
    nulls = [problem for metric in experiment.metrics.values() for problem in _null_problems(metric, moments)]
    _refuse(experiment, as_of, nulls)
    counted = _exposure(experiment, units, moments, counts, known_by)
    return counted | _population(experiment, assigned)


def _say_how(exposure: dict, experiment: Experiment, as_of: dt.date, caps: Mapping[str, FixedCap]) -> None:
    """Add to each metric its caps, and until when an open one counts."""
    for row in exposure["maturity"]:
        metric = experiment.metrics[row["metric"]]
        if metric.is_capped:
            row["caps"] = described(experiment, metric, caps)
        if metric.is_open:
            row["counted_before"] = str(experiment.open_until(metric.lag_days, as_of))


def _population(experiment: Experiment, assigned: Sequence[dict]) -> dict:
    """Units that are not counted: excluded ones by list, those that were not activated, and those out of the dates."""
    if not assigned:
        return {}
    inside = [row for row in assigned if row["in_dates"]]
    kept = [row for row in inside if row["exclusion"] < 0]
    found = {"outside_dates": sum(row["units"] for row in assigned if not row["in_dates"] and row["exclusion"] < 0)}
    if experiment.exclusions:
        found["excluded"] = [
            {"source": name, "units": _by_variant(experiment, [r for r in inside if r["exclusion"] == number], "units")}
            for number, name in enumerate(experiment.exclusions)
        ]
    if activation := experiment.activation:
        found["activation"] = {"metric": activation.name, "title": activation.title, "days": activation.window_days,
                               "assigned": _by_variant(experiment, kept, "units")}  # fmt: skip
    return found


def _otherwise(experiment: Experiment, rows: Sequence[dict]) -> dict:
    """Enrolled units whose variant is not the one that the assignment gives."""
    if experiment.assignment is None:
        return {}
    found: dict[str, Counter] = {name: Counter() for name in experiment.weights}
    for row in rows:
        found[row["found"]][row["assigned"]] += row["units"]
    order = [*experiment.weights, None]
    return {
        "assignment": {
            "checked": {name: counts.total() for name, counts in found.items()},
            "otherwise": [
                {"found": name, "assigned": assigned, "units": counts[assigned]}
                for name, counts in found.items()
                for assigned in order
                if assigned != name and counts[assigned]
            ],
        }
    }


def _source_counts(experiment: Experiment, source: OutcomeSource, found: state.Found) -> dict:
    """Rows of a source on the days that the night needs."""
    days = found.counts[source.name].values()
    return {"source": source.name, **{name: sum(day[name] for day in days) for name in ("rows", "rows_without_unit")}}


def maturing_together(experiment: Experiment) -> list[list[Metric]]:
    """Which metrics count the same units on every night, so that one statement can read them?

    Parameters
    ----------
    experiment : Experiment
        Its metrics are grouped by the days until a unit is mature.

    Returns
    -------
    list of list of Metric
        Fastest first.

    Examples
    --------
    >>> [[metric.name for metric in group] for group in maturing_together(experiment)]
    [['conversion', 'revenue_per_user', 'order_value', 'page_latency_ms', 'support_contact_rate']]
    """
    groups: dict[tuple[int, bool], list[Metric]] = {}
    for metric in experiment.metrics.values():
        groups.setdefault((metric.maturity_days, metric.is_open), []).append(metric)
    return [groups[days] for days in sorted(groups)]


def _known_by(experiment: Experiment, as_of: dt.date, queries: NightQueries) -> dict[str, dt.datetime]:
    """By source, the moment whose knowledge the night has: rows loaded later belong to a later night.

    It depends on the source and the night alone, so all experiments know the same rows.
    """
    sources = [experiment.exposures.name, *experiment.outcomes]
    if experiment.load_log:
        return {name: queries.complete_at(name, experiment.load_log) for name in sources}
    midnight = dt.datetime(as_of.year, as_of.month, as_of.day)
    return dict.fromkeys(sources, midnight + dt.timedelta(hours=experiment.loaded_within_hours))


def _counted(counts: dict, words: dict[str, str], source: str, table: str) -> list[str]:
    return [
        f"source {source}: {counts[name]:,} rows of '{table}' {text}"
        if counts[name] > 1
        else f"source {source}: 1 row of '{table}' {text.replace('have', 'has', 1)}"
        for name, text in words.items()
        if counts[name]
    ]


def _exposure_problems(experiment: Experiment, queries: NightQueries, known_by: Mapping[str, dt.datetime]) -> list[str]:
    source = experiment.exposures
    counts = queries.exposure_checks(known_by[source.name])
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


def _outcome_problems(experiment: Experiment, queries: NightQueries, known_by: Mapping[str, dt.datetime]) -> list[str]:
    problems = []
    for source in experiment.outcomes.values():
        values = sorted({part.value for part in experiment.parts if part.source == source.name and part.value})
        counts = queries.outcome_checks(source, values, known_by[source.name])
        words = {"null_times": f"have no {source.occurred_at}; every outcome must have a time.",
                 **_time_words(source.occurred_at), **_load_words(source.loaded_at)}  # fmt: skip
        for number, value in enumerate(values):
            words[f"not_finite_{number}"] = f"have a value of {value} that is NaN or infinite; correct the load."
        problems += _counted(counts, words, source.name, source.table)
    return problems


def _attribute_problems(experiment: Experiment, queries: NightQueries) -> list[str]:
    problems = []
    for source in experiment.attributes.values():
        counts = queries.attribute_checks(source)
        if counts["repeated_units"]:
            one = f"one row a unit and {source.known_from}" if source.known_from else "one row a unit"
            again = f" from the same {source.known_from}" if source.known_from else ""
            problems.append(
                f"source {source.name}: {counts['repeated_units']:,} units have more than one row{again} in "
                f"'{source.table}' ({counts['example']}, ...); it must hold {one}."
            )
        if counts.get("null_times"):
            problems.append(
                f"source {source.name}: {counts['null_times']:,} rows of '{source.table}' have no {source.known_from}, "
                f"so nobody knows from when they hold. Correct the load."
            )
        problems += [
            f"source {source.name}: {count:,} rows of '{source.table}' have a {column} that is NaN or infinite; "
            f"it is a covariate and must be a number or null. Correct the load."
            for column, count in counts["not_finite"].items()
            if count
        ]
    return problems


def _variant_problems(experiment: Experiment, units: list[dict], assigned: Sequence[dict]) -> list[str]:
    seen = {row["variant"] for row in units if row["in_dates"]}
    inside = sum(row["units"] for row in assigned if row["in_dates"])
    if not seen and inside:
        excluded = sum(row["units"] for row in assigned if row["in_dates"] and row["exclusion"] >= 0)
        left = f"; of the others none did what activation asks for ({experiment.activation.name})"
        return [f"of {inside:,} exposed units none is counted: {excluded:,} are excluded"
                f"{left if experiment.activation else ''}. Check exclude and activation."]  # fmt: skip
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
    rows = [row for row in whole(moments) if row["metric"] == metric.name]
    columns = ("null_rows", "denominator_null_rows")
    problems = []
    for column, part in zip(columns, metric.parts, strict=False):
        null_rows = sum(row[column] for row in rows)
        if part.nulls == "refuse" and null_rows:
            problems.append(
                f"metric {part.name}: {null_rows:,} rows have no {part.value}; set nulls to drop or zero, or load it."
            )
    without = sum(row["units"] - row["n"] for row in rows)
    if problems or metric.nulls != "refuse" or metric.kind == "ratio" or metric.is_of_events:
        return problems
    if without:
        return [f"metric {metric.name}: {without:,} units have no row to average; set nulls to drop or zero."]
    return []


def _exposure(
    experiment: Experiment,
    units: list[dict],
    moments: list[dict],
    sources: list[dict],
    known_by: Mapping[str, dt.datetime],
) -> dict:
    cells = [row for row in units if row["in_dates"]]
    inside = whole(cells)
    days = [row["exposed_on"] for row in inside]
    exposed = _by_variant(experiment, inside, "units")
    return {
        "units": exposed,
        "crossovers": _by_variant(experiment, [row for row in inside if row["crossover"]], "units"),
        "cells": _cells(experiment, cells),
        "outside_dates": sum(row["units"] for row in whole(units) if not row["in_dates"]),
        "first_on": str(min(days)),
        "last_on": str(max(days)),
        "known_by": max(known_by.values()).isoformat(),
        "sources": sources,
        "maturity": [_maturity(experiment, metric, exposed, moments) for metric in experiment.metrics.values()],
    }


def _cells(experiment: Experiment, units: list[dict]) -> dict[str, dict[str, dict[str, int]]]:
    """Units by segment attribute or day of exposure, cell and variant: where to look when the sample ratio fails."""
    everyone = [{**row, "segment": DAYS, "value": str(row["exposed_on"])} for row in whole(units)]
    dimensions = [segment.attribute for segment in experiment.segments]
    return {
        dimension: {
            value: _by_variant(experiment, [row for row in rows if row["value"] == value], "units")
            for value in sorted({row["value"] for row in rows})
        }
        for dimension in [*dimensions, DAYS]
        if (rows := [row for row in (*units, *everyone) if row["segment"] == dimension])
    }


def _maturity(experiment: Experiment, metric: Metric, exposed: dict[str, int], moments: list[dict]) -> dict:
    rows = [row for row in whole(moments) if row["metric"] == metric.name]
    matured, valued = _by_variant(experiment, rows, "units"), _by_variant(experiment, rows, "n")
    dropped = {name: matured[name] - valued[name] for name in exposed}
    if metric.is_of_events:  # a unit without an event has nothing to drop
        nulls = _by_variant(experiment, rows, "null_rows")
        dropped = nulls if metric.nulls == "drop" else dict.fromkeys(exposed, 0)
    above = {"capped": _by_variant(experiment, rows, "capped")} if metric.is_capped else {}
    return {
        "metric": metric.name,
        "title": metric.title,
        **above,
        "delay_days": metric.delay_days,
        "window_days": metric.window_days,
        "lag_days": metric.lag_days,
        "matured": matured,
        "waiting": {name: exposed[name] - matured[name] for name in exposed},
        "dropped_nulls": dropped,
        "complete_on": str(experiment.decides_on if metric.is_open
                           else experiment.counts_until + dt.timedelta(days=metric.maturity_days)),
    }  # fmt: skip


def _delays(experiment: Experiment, as_of: dt.date, counted: Callable) -> list[dict]:
    """How late rows come, how many after the lag of each metric that reads them, and which lag would do.

    Those of four weeks that ended a week before the lag; a row that has not come yet is not seen, so the share is at
    least what is said here.
    """
    pairs = dict.fromkeys((part.source, part.lag_days) for part in experiment.parts)
    found = []
    for name, lag_days in pairs:
        source = experiment.outcomes[name]
        if not source.loaded_at:
            continue
        end = as_of - dt.timedelta(days=lag_days + 7)
        lags = sorted({lag_days, *TRIED_LAGS})
        days = counted(source, lags, end - dt.timedelta(days=28), end)
        rows = sum(day["rows"] for day in days)
        if rows < LEAST_ROWS:
            continue
        late = {lag: sum(day["late"][lag] for day in days) for lag in lags}
        enough = next((lag for lag in lags if lag >= lag_days and late[lag] <= LATE_SHARE * rows), None)
        within = {f"p{one}_days": next((lag for lag in lags if 100 * late[lag] <= (100 - one) * rows), None)
                  for one in PERCENTILES}  # fmt: skip
        found.append({"source": name, "lag_days": lag_days, "rows": rows, "late_share": late[lag_days] / rows,
                      "enough_days": enough, **within})  # fmt: skip
    return found


def _by_variant(experiment: Experiment, rows: list[dict], column: str) -> dict[str, int]:
    counts = Counter()
    for row in rows:
        counts[row["variant"]] += row[column]
    return {name: counts[name] for name in experiment.weights}
