"""Counts of the days of a source, read once and kept, for the rules of ``abtest_lib.completeness``."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from abtest_lib.completeness import DAY, LEVEL_DAYS, WEEKS, DayCounts, Hold, LateUnits, delay_gaps, held, late
from abtest_lib.definitions import Experiment, Metric, OutcomeSource

if TYPE_CHECKING:
    from abtest_lib.queries import NightQueries
    from abtest_lib.state.enrolment import Cohort
    from abtest_lib.state.night import Found
    from abtest_lib.state.store import Store

DAYS = 7 * WEEKS + LEVEL_DAYS  # before the newest: eight weeks, and the level of the first day of them


def missing(source: str, day: dt.date, reason: str, queries: NightQueries) -> Hold:
    """When is a day that is not in the load log expected there?

    Parameters
    ----------
    source : str
        Of exposures or outcomes.
    day : date
        That is missing.
    reason : str
        In words.
    queries : NightQueries
        To the load log.

    Returns
    -------
    Hold
        Without times when the log tells of fewer than three earlier days.

    Raises
    ------
    DataError
        If the warehouse refuses a statement.
    """
    hours = [_hours(one, at) for one, at in _declared(source, queries).items() if day - DAYS * DAY <= one < day]
    return late(source, day, [DayCounts(day, 0, 0, {}, one) for one in hours], reason)


def holds(
    experiment: Experiment,
    as_of: dt.date,
    queries: NightQueries,
    store: Store | None,
    sources: Iterable[OutcomeSource],
    catalogue: Iterable[Metric] = (),
) -> list[Hold]:
    """Which outcome sources are not whole on the last day of data, although they claim to be?

    Parameters
    ----------
    experiment : Experiment
        What it reads of a source is looked at.
    as_of : date
        The night.
    queries : NightQueries
        To the warehouse.
    store : Store or None
        Keeps the counts of days that need not be asked again; without it every day is asked.
    sources : iterable of OutcomeSource
        Which to look at; those with ``completeness: off``, and those whose last day is in no unit's window any more,
        are passed over.
    catalogue : iterable of Metric, optional
        All metrics of the catalogue: what they read of a source is counted along, so that experiments ask the same.

    Returns
    -------
    list of Hold
        In the order of the sources.

    Raises
    ------
    DataError
        If the warehouse refuses a statement.
    """
    found, others = [], [part for metric in catalogue for part in metric.parts]
    store = store if store and _writable(store) else None
    for source in sources:
        if source.completeness is None or not _in_a_window(experiment, source.name, as_of - DAY):
            continue
        own = _columns(source, experiment.parts)
        columns = _there(own, _columns(source, others), source, queries)
        kept = _Kept(experiment, source, columns, queries, store)
        with store.lock(kept.name) if store else nullcontext():
            day, history = kept.read(as_of - DAY)
            # What only others read must not hold this night, but the day is asked again for their sake.
            kept.write(day.day, whole=held(source.name, day, history, source.completeness) is None)
        hold = held(source.name, _only(day, {*own, source.unit}), history, source.completeness)
        found += [hold] if hold else []
    return found


def _columns(source: OutcomeSource, parts: Iterable[Metric]) -> set[str]:
    """The columns whose values are read of a source."""
    return {part.value for part in parts if part.source == source.name and part.value}


def _there(own: set[str], others: set[str], source: OutcomeSource, queries: NightQueries) -> list[str]:
    """The columns to count: a metric of others may name one that the table lacks, and that is their trouble."""
    # By the letter: in a statement names are quoted, and PostgreSQL knows no "Amount_USD" in place of amount_usd.
    return sorted(own | (others & set(queries.columns(source.table)) if others - own else set()))


def _only(day: DayCounts, columns: set[str]) -> DayCounts:
    return replace(day, nulls={name: count for name, count in day.nulls.items() if name in columns})


def _in_a_window(experiment: Experiment, source: str, day: dt.date) -> bool:
    """Whether rows of a day can count for a unit; those of any other day need not be whole."""
    parts = [part for part in experiment.parts if part.source == source]
    return any(day < experiment.open_until(part.lag_days, experiment.decides_on) if part.is_open
               else day < experiment.counts_until + (part.delay_days + part.window_days) * DAY
               for part in parts)  # fmt: skip


def _writable(store: Store) -> bool:
    """Whether counts can be kept: a triggerer may have no results to write to, and asks each time."""
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(store.folder, os.W_OK)


class _Kept:
    """The counts of one source by day.

    A day is asked once, as it was known when it was complete; the newest again while it is held. Rows that a loader
    deletes or changes later are not seen.
    """

    def __init__(
        self,
        experiment: Experiment,
        source: OutcomeSource,
        columns: list[str],
        queries: NightQueries,
        store: Store | None,
    ) -> None:
        from abtest_lib.state.store import key

        self.source, self.queries, self.store, self.log = source, queries, store, experiment.load_log
        self.columns = columns
        self.hours = experiment.loaded_within_hours
        self.name = f"day_counts/{source.name}-{key(source, self.columns, self.log, self.hours)[:12]}"
        self.days: dict[str, dict] = {}

    def read(self, newest: dt.date) -> tuple[DayCounts, list[DayCounts]]:
        """The counts of a day and of those before it, from the first with rows on."""
        self.days = (self.store.read(self.name) if self.store else None) or {}
        declared = _declared(self.source.name, self.queries)
        limits = {day: self._limit(day, declared) for day in (newest - n * DAY for n in range(DAYS + 1))}
        stale = [day for day, limit in limits.items() if self.days.get(str(day), {}).get("limit") != limit.isoformat()]
        if stale:
            self._ask(min(stale), max(stale), limits)
        counts = [self._counts(day, declared) for day in sorted(limits)]
        first = next((number for number, one in enumerate(counts) if one.rows), len(counts) - 1)
        return counts[-1], counts[first:-1]

    def write(self, newest: dt.date, *, whole: bool) -> None:
        """Keep the days that will be the same when they are asked again."""
        if not self.store:
            return
        # Without a load log a day may be read before its hours are over, and hold more rows later.
        over = _end(newest).isoformat()
        kept = {day: one for day, one in self.days.items()
                if one["limit"] <= over or (whole and self.log and day == str(newest))}  # fmt: skip
        self.store.write(self.name, kept)

    def _limit(self, day: dt.date, declared: Mapping[dt.date, dt.datetime]) -> dt.datetime:
        return declared.get(day) or _end(day) + dt.timedelta(hours=self.hours)

    def _ask(self, first: dt.date, last: dt.date, limits: Mapping[dt.date, dt.datetime]) -> None:
        known_by = limits[max(limits)]
        rows = self.queries.day_counts(self.source, self.columns, first, last + DAY, known_by)
        by_day = {row["day"]: row for row in rows}
        for day in (first + n * DAY for n in range((last - first).days + 1)):
            row = by_day.get(day, {"rows": 0, "rows_without_unit": 0, "nulls": {}, "last_loaded_at": None})
            at = row["last_loaded_at"]
            self.days[str(day)] = {
                "rows": row["rows"],
                "rows_without_unit": row["rows_without_unit"],
                "nulls": row["nulls"],
                "last_loaded_at": at and at.isoformat(),
                "limit": limits[day].isoformat(),
            }

    def _counts(self, day: dt.date, declared: Mapping[dt.date, dt.datetime]) -> DayCounts:
        one = self.days[str(day)]
        at = declared.get(day) or (one["last_loaded_at"] and dt.datetime.fromisoformat(one["last_loaded_at"]))
        nulls = {**one["nulls"], self.source.unit: one["rows_without_unit"]}
        return DayCounts(day, one["rows"], one["rows_without_unit"], nulls, _hours(day, at) if at else None)


def _declared(source: str, queries: NightQueries) -> dict[dt.date, dt.datetime]:
    return {row["data_on"]: row["complete_at"] for row in queries.declared(source)}


def _end(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day + DAY, dt.time())


def _hours(day: dt.date, at: dt.datetime) -> float:
    return max((at - _end(day)).total_seconds() / 3600, 0.0)


def delay_findings(
    experiment: Experiment, as_of: dt.date, found: Found, delays: Iterable[Mapping], store: Store
) -> list[dict]:
    """Of which treatments do rows come after a metric's lag more or less often than of control?

    Parameters
    ----------
    experiment : Experiment
        Its control, and the metrics that read each source.
    as_of : date
        The night.
    found : Found
        The night's cohorts and partitions.
    delays : iterable of mapping
        ``delays`` of ``exposure.json``; a source without late rows is not looked at.
    store : Store
        Holds the files.

    Returns
    -------
    list of dict
        Of ``joins`` in ``exposure.json``: the units with rows in a week, and the share of them with a late row (1 %
        over all planned nights). The week is the last one of enrolment that ended a week before the lag, and its units
        those enrolled by its end, so it is looked at once and not on every night.
    """
    rows = []
    for entry in delays:
        source, lag_days = entry["source"], entry["lag_days"]
        rules, weeks = experiment.outcomes[source].completeness, (as_of - experiment.starts_on).days - lag_days - 7
        end = experiment.starts_on + weeks // 7 * 7 * DAY
        week = [day for number in range(1, 8) if (day := str(end - number * DAY)) in found.events[source]]
        cohorts = [one for one in found.cohorts if experiment.starts_on <= one.day < min(end, experiment.counts_until)]
        if rules is None or not entry["late_share"] or not week or not cohorts:
            continue
        units = _late_units(store, experiment, found, source, lag_days, week, cohorts)
        metric = next(one for one in experiment.measured
                      if any((part.source, part.lag_days) == (source, lag_days) for part in one.parts))  # fmt: skip
        head = {"kind": "delay", "source": source, "metric": metric.name, "title": metric.title, "exposed_on": None}
        rows += [{**head, "variant": gap.variant, "share": gap.share, "usual": gap.control_share}
                 for gap in delay_gaps(units, experiment.control, 0.01 / experiment.planned_nights)]  # fmt: skip
    return rows


def _late_units(
    store: Store,
    experiment: Experiment,
    found: Found,
    source: str,
    lag_days: int,
    week: Sequence[str],
    cohorts: Sequence[Cohort],
) -> list[LateUnits]:
    """Units with rows in a week, and those with late ones; kept until rows or units of the week change."""
    from abtest_lib.state.partitions import identity
    from abtest_lib.state.store import key

    days, known_by = found.events[source], found.known_by[source]
    made_of = key(lag_days, [one.digest for one in cohorts], [identity(day, days[day], known_by) for day in week])
    place = f"late_units/{experiment.key}/{made_of}"
    rows = store.read(place)
    if rows is None:
        events = [file for day in week for file in days[day]["events"]]
        values = {"units": store.paths(one.file for one in cohorts), "events": store.paths(events),
                  "lag_days": lag_days, "known_by": known_by}  # fmt: skip
        rows = store.query("late_units", values)
        store.write(place, rows)
    return [LateUnits(row["variant"], row["units_found"], row["late_units"]) for row in rows]
