"""Caps that are fixed by data from before the experiment: a quantile of units' totals in the days up to it.

They depend on the experiment's first day and on no outcome of it, so every night has the same ones.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from abtest_lib.definitions import Experiment, Metric, OutcomeSource
from abtest_lib.errors import DataError
from abtest_lib.queries import NightQueries

if TYPE_CHECKING:
    from abtest_lib.state.store import Reading, Store

DAY = dt.timedelta(days=1)
REMEDY = "these days fix its cap; give cap as a number, or start later than the source's first day."


@dataclass(frozen=True)
class FixedCap:
    """A cap in the metric's unit, and how many units' totals it is a quantile of."""

    cap: float
    units: int


def fixed_caps(
    experiment: Experiment, queries: NightQueries, store: Store | None = None
) -> tuple[dict[str, FixedCap], list[Reading]]:
    """Which caps do the totals of units before the experiment fix?

    Parameters
    ----------
    experiment : Experiment
        Its ``starts_on`` ends the days that are looked at, as many as a metric's window has.
    queries : NightQueries
        To the warehouse.
    store : Store, optional
        Keeps the caps, so that the warehouse is asked once; without it every cap is asked.

    Returns
    -------
    dict and list of Reading
        By the name of each metric with ``cap: {quantile: ...}``, sides of ratios among them; and what was read.

    Raises
    ------
    DataError
        If one of them cannot be fixed; all are named.

    Notes
    -----
    A cap is the smallest total that has at least the share of units at or below it, among units with a row in these
    days, as they were known when the last of them was complete: when its loader first declared it, or
    ``loaded_within_hours`` after midnight. It has twelve digits, so that the order in which an engine adds up does not
    show in it.

    Examples
    --------
    >>> fixed_caps(experiment, None)
    ({}, [])
    """
    found: dict[str, FixedCap] = {}
    problems: list[str] = []
    read: list[Reading] = []
    parts = {part.name: part for metric in experiment.metrics.values() for part in metric.parts}
    for source in experiment.outcomes.values():
        wanted = [part for part in parts.values() if part.source == source.name and part.cap_quantile is not None]
        if not wanted:
            continue
        log = {row["data_on"]: row for row in queries.declared(source.name)}
        known_by = _known_by(experiment, source, queries, log)
        if known_by is None:
            lacks = f"the load log has no entry of '{source.name}' for {experiment.starts_on - DAY}"
            problems += [f"metric {part.name}: {lacks}, and {REMEDY}" for part in wanted]
            continue
        rows = _kept(experiment, source, wanted, queries, store, known_by, log, read)
        for part in wanted:
            row = rows.get(part.name)
            if problem := _problem(experiment, source, part, row):
                problems.append(f"metric {part.name}: {problem}")
            else:
                found[part.name] = FixedCap(float(f"{row['quantile_value']:.12g}"), row["units"])
    if problems:
        raise DataError("\n".join(f"{queries.experiment}, {queries.as_of}: {problem}" for problem in problems))
    return found, read


def _known_by(
    experiment: Experiment, source: OutcomeSource, queries: NightQueries, log: Mapping[dt.date, Mapping]
) -> dt.datetime | None:
    """The moment at which the last day before the experiment was complete; None where the load log lacks it."""
    midnight = dt.datetime.combine(experiment.starts_on, dt.time())
    if not source.loaded_at or not queries.log:
        return midnight + queries.loaded_within
    row = log.get(experiment.starts_on - DAY)
    return row and row["complete_at"]


def _kept(
    experiment: Experiment,
    source: OutcomeSource,
    wanted: Sequence[Metric],
    queries: NightQueries,
    store: Store | None,
    known_by: dt.datetime,
    log: Mapping[dt.date, Mapping],
    read: list[Reading],
) -> dict[str, dict]:
    """By metric, the row of ``sql/cap_quantiles.sql``; only those that are not kept are asked."""
    if store is None:
        return _asked(source, wanted, queries, known_by)[0]
    from abtest_lib.state.store import key

    name = f"caps/{source.name}-{key(source)[:12]}"
    names = {part.name: key(_made_of(experiment, source, part, known_by, log)) for part in wanted}
    # Without a load time rows are as they stand, and those of the last days are read anew on every night.
    moving = not source.loaded_at and queries.as_of - source.look_back_days * DAY < experiment.starts_on
    with store.lock(name):
        record = store.read(name) or {}
        missing = [part for part in wanted if moving or names[part.name] not in record]
        if missing:
            rows, reading = _asked(source, missing, queries, known_by)
            read.append(reading)
            store.note(reading, queries.experiment, queries.as_of)
            store.write(name, record := record | {names[part]: row for part, row in rows.items()})
    return {part: record[place] for part, place in names.items() if place in record}


def _made_of(
    experiment: Experiment,
    source: OutcomeSource,
    part: Metric,
    known_by: dt.datetime,
    log: Mapping[dt.date, Mapping],
) -> list:
    """All that a quantile depends on; days that the loader declared again may hold other rows."""
    begins = experiment.starts_on - part.window_days * DAY
    declared = sorted((day, row["declared_at"]) for day, row in log.items() if begins <= day < experiment.starts_on)
    value = None if part.kind == "count" else [part.value, part.aggregate, part.nulls]
    knowledge = known_by if source.loaded_at else None
    return [value, part.where, part.window_days, experiment.starts_on, part.cap_quantile, knowledge, declared]


def _asked(
    source: OutcomeSource, parts: Sequence[Metric], queries: NightQueries, known_by: dt.datetime
) -> tuple[dict[str, dict], Reading]:
    """By metric, what the warehouse says of the units before the experiment; one statement for a source."""
    from abtest_lib.state.store import Reading

    began = time.monotonic()
    table = queries.cap_quantiles(source, parts, known_by).read_all()
    rows = {parts[row.pop("number")].name: row for row in table.to_pylist()}
    # What the warehouse adds up is no row of the source: a limit foresees by rows what reading them costs.
    return rows, Reading(source.name, bytes=table.nbytes, seconds=time.monotonic() - began)


def _problem(experiment: Experiment, source: OutcomeSource, part: Metric, row: Mapping | None) -> str | None:
    """Why a quantile is no cap; None when it is one."""
    begins = experiment.starts_on - part.window_days * DAY
    period = f"between {begins} and {experiment.starts_on} (exclusive)"
    if row and row["null_rows"] and part.nulls == "refuse":
        return (
            f"{row['null_rows']:,} rows of '{source.table}' {period}, which fix its cap, have no {part.value}; set "
            "nulls to drop or zero, load it, or give cap as a number."
        )
    if not row or not row["units"]:
        return f"no unit has a row of '{source.table}' {period}, and {REMEDY}"
    if row["not_finite"]:
        return (
            f"{row['not_finite']:,} units have a value of {part.value} {period} that is NaN or infinite, and {REMEDY}"
        )
    if not row["quantile_value"] > 0:
        share = f"the {part.cap_quantile:g} quantile of {row['units']:,} units {period}"
        return f"{share} is {row['quantile_value']:g}, which is no cap; it must be above 0. Give cap as a number."
    return None


def with_caps(experiment: Experiment, caps: Mapping[str, FixedCap]) -> Experiment:
    """Put the caps that were fixed into an experiment's metrics, as if its definition had given them.

    Parameters
    ----------
    experiment : Experiment
        As it was defined.
    caps : mapping
        What ``fixed_caps`` returned.

    Returns
    -------
    Experiment
        The same one where there are none.

    Raises
    ------
    AttributeError
        If a cap is none.

    Examples
    --------
    >>> with_caps(experiment, {"revenue_per_user": FixedCap(250.0, 1000)}).metrics["revenue_per_user"].cap
    250.0
    """
    metrics = {name: _capped(metric, caps) for name, metric in experiment.metrics.items()}
    return replace(experiment, metrics=metrics) if caps else experiment


def _capped(metric: Metric, caps: Mapping[str, FixedCap]) -> Metric:
    if metric.numerator and metric.denominator:
        return replace(metric, numerator=_capped(metric.numerator, caps), denominator=_capped(metric.denominator, caps))
    return replace(metric, cap=caps[metric.name].cap) if metric.name in caps else metric


def described(experiment: Experiment, metric: Metric, caps: Mapping[str, FixedCap]) -> list[dict]:
    """Say of the caps of a metric what they are and where they come from.

    Parameters
    ----------
    experiment : Experiment
        Gives the days.
    metric : Metric
        With its caps; a ratio may have one for each side.
    caps : mapping
        What ``fixed_caps`` returned.

    Returns
    -------
    list of dict
        ``metric`` (the side of a ratio), ``cap`` and, of a quantile, ``cap_quantile``, the days from ``from_on`` to
        before ``before_on`` and the ``units`` that it was taken of; these are None where the definition gives the cap.

    Raises
    ------
    KeyError
        If a cap by quantile was not fixed.

    Examples
    --------
    >>> from dataclasses import replace
    >>> capped = replace(experiment.metrics["revenue_per_user"], cap=250.0)
    >>> described(experiment, capped, {})[0]["cap"]
    250.0
    """
    rows = []
    for part in metric.parts:
        row = {"metric": part.name, "cap": part.cap, "cap_quantile": part.cap_quantile, "from_on": None,
               "before_on": None, "units": None}  # fmt: skip
        if part.cap_quantile is not None:
            row["from_on"] = str(experiment.starts_on - part.window_days * DAY)
            row |= {"before_on": str(experiment.starts_on), "units": caps[part.name].units}
        if part.cap is not None:
            rows.append(row)
    return rows
