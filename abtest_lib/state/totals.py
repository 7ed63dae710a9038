"""Totals: the moments of each cohort for metrics that mature together, kept until what they are made of changes."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet

from abtest_lib import arrow_tables, results
from abtest_lib.definitions import Experiment, Metric
from abtest_lib.measures import Part, Plan, Window, plan
from abtest_lib.quantile_bins import with_bins
from abtest_lib.queries import matured_before, metric_rows
from abtest_lib.state.enrolment import Cohort, Enrolment, covariates_of
from abtest_lib.state.partitions import DAY, OutcomePartitions, identity, measure_key
from abtest_lib.state.store import Store, key
from abtest_lib.statistics.value_bins import BIN_OFFSET, BIN_WIDTH

Days = Mapping[str, dict]
UNITS_AT_ONCE = 5_000_000  # whose sums are in memory together


@dataclass(frozen=True)
class Due:
    """A cohort that is mature for metrics on a night; ``partly`` only in its units exposed at midnight."""

    cohort: Cohort
    partly: bool


def due(cohorts: Iterable[Cohort], before: dt.datetime) -> list[Due]:
    """Which cohorts have units exposed before a moment?

    Parameters
    ----------
    cohorts : iterable of Cohort
        By day.
    before : datetime
        See ``queries.matured_before``.

    Returns
    -------
    list of Due
        In the same order.

    Examples
    --------
    >>> one = Cohort(dt.date(2026, 2, 2), "", "", ())
    >>> [found.partly for found in due([one], dt.datetime(2026, 2, 3, 0, 0, 0, 1))]
    [False]
    """
    found = []
    for cohort in cohorts:
        start = dt.datetime.combine(cohort.day, dt.time())
        if start < before:
            found.append(Due(cohort, before < start + DAY))
    return found


def days_needed(experiment: Experiment, metrics: Sequence[Metric], as_of: dt.date, source: str) -> set[dt.date]:
    """Which days of a source may the windows of metrics touch, for the units that are mature on a night?

    Parameters
    ----------
    experiment : Experiment
        Its enrolment.
    metrics : sequence of Metric
        Each with its own maturity.
    as_of : date
        The night.
    source : str
        Name of an outcome source.

    Returns
    -------
    set of date
        From the first day of enrolment on.

    Examples
    --------
    >>> metrics = list(experiment.metrics.values())
    >>> len(days_needed(experiment, metrics, experiment.starts_on + dt.timedelta(days=9), "purchases"))
    8
    """
    days: set[dt.date] = set()
    for metric in metrics:
        last = matured_before(experiment, metric, as_of) - dt.timedelta(microseconds=1)
        for part in metric.parts:
            if part.source != source or last < dt.datetime.combine(experiment.starts_on, dt.time()):
                continue
            first = experiment.starts_on + dt.timedelta(days=part.delay_days)
            end = _last_day(experiment, part, last, as_of)
            days |= {first + dt.timedelta(days=n) for n in range((end - first).days + 1)}
    if experiment.activation and experiment.activation.source == source:
        days |= {experiment.starts_on + DAY * number for number in range(experiment.enrolment_days)}
    return {day for day in days if day < as_of}


def _last_day(experiment: Experiment, part: Metric, last: dt.datetime, as_of: dt.date) -> dt.date:
    """The last day that the window of a unit exposed at a moment touches."""
    if part.is_open:
        return experiment.open_until(part.lag_days, as_of) - DAY
    end = (last + dt.timedelta(days=part.delay_days + part.window_days)).date()
    # A window that ends at midnight does not touch the day.
    return end - DAY if last.time() == dt.time() else end


@dataclass(frozen=True)
class Todo:
    """Metrics that mature together, and the cohorts whose moments are still to be computed."""

    wanted: Plan
    before: dt.datetime
    due: tuple[Due, ...]


def moments(
    store: Store,
    experiment: Experiment,
    groups: Iterable[Sequence[Metric]],
    as_of: dt.date,
    enrolled: Enrolment,
    events: Mapping[str, OutcomePartitions],
    days: Mapping[str, Days],
    known_by: Mapping[str, dt.datetime],
) -> list[dict]:
    """The moments of all metrics over the units that are mature for them.

    Parameters
    ----------
    store : Store
        Keeps them by cohort.
    experiment : Experiment
        Its dates and segments.
    groups : iterable of sequence of Metric
        Those that mature together.
    as_of : date
        The night.
    enrolled : Enrolment
        All cohorts of the experiment.
    events : mapping
        By outcome source, its partitions.
    days : mapping
        By outcome source, the entries of its record by day.
    known_by : mapping
        The night's knowledge of each source.

    Returns
    -------
    list of dict
        Rows of ``moments.parquet``.

    Raises
    ------
    duckdb.Error
        If a file of the state is damaged.
    """
    cohorts = [one for one in enrolled.cohorts if experiment.starts_on <= one.day < experiment.counts_until]
    places: dict[tuple[int, dt.date], Path] = {}
    todo = []
    for number, metrics in enumerate(groups):
        wanted = plan(metrics, lambda lag_days: experiment.open_until(lag_days, as_of))
        before = matured_before(experiment, metrics[0], as_of)
        mature = due(cohorts, before)
        names = _names(wanted, experiment)
        own = {one.cohort.day: store.folder / _place(one, wanted, names, experiment, days, known_by) for one in mature}
        places |= {(number, day): path for day, path in own.items()}
        todo.append(Todo(wanted, before, tuple(one for one in mature if not own[one.cohort.day].exists())))
    for part in _parts(todo):
        _compute(store, experiment, part, places, enrolled.crossed, events, days, known_by)
    return [row for path in places.values() for row in _rows(path)]


def _parts(todo: Sequence[Todo]) -> list[list[Todo]]:
    """Days of cohorts that are computed together: one part on most nights, several where all do not fit in memory."""
    units: dict[dt.date, int] = {}
    for group in todo:
        units |= {one.cohort.day: one.cohort.units for one in group.due}
    parts: list[set[dt.date]] = []
    held = UNITS_AT_ONCE
    for day in sorted(units):
        if held + units[day] > UNITS_AT_ONCE:
            parts.append(set())
            held = 0
        parts[-1].add(day)
        held += units[day]
    return [[replace(group, due=tuple(one for one in group.due if one.cohort.day in part)) for group in todo]
            for part in parts]  # fmt: skip


def _compute(
    store: Store,
    experiment: Experiment,
    todo: Sequence[Todo],
    places: Mapping[tuple[int, dt.date], Path],
    crossed: Sequence[str],
    events: Mapping[str, OutcomePartitions],
    days: Mapping[str, Days],
    known_by: Mapping[str, dt.datetime],
) -> None:
    """Compute the moments that are missing; each source's events are read once for all windows."""
    numbers: dict[tuple[int, str], tuple[int, int]] = {}
    for source_number, source in enumerate(events):
        windows = [(group, window) for group in range(len(todo)) if todo[group].due
                   for window in todo[group].wanted.windows if window.source == source]  # fmt: skip
        if windows:
            asked = [(todo[group], window) for group, window in windows]
            _sum_up(store, f"unit_sums_{source_number}", asked, events[source], days[source], known_by[source])
        for number, (group, window) in enumerate(windows):
            numbers[group, window.name] = (source_number, number)
    for number, group in enumerate(todo):
        if not group.due:
            continue
        rows = store.query(
            "moments",
            {**group.wanted.values, "units": store.paths(one.cohort.file for one in group.due), "before": group.before,
             "crossed": store.paths(crossed)},
            windows=group.wanted.windows,
            columns=group.wanted.columns,
            segments=experiment.segments,
            covariates=covariates_of(experiment),
            keys={window.name: [measure_key(measure) for measure in window.measures]
                  for window in group.wanted.windows},
            places={window.name: numbers[number, window.name] for window in group.wanted.windows},
            any_crossed=bool(crossed),
            ordered=True,
        )  # fmt: skip
        named = [{**row, "segment": None if row["segment"] < 0 else experiment.segments[row["segment"]].attribute}
                 for row in rows]  # fmt: skip
        found: dict[dt.date, list[dict]] = {one.cohort.day: [] for one in group.due}
        for row in named:
            found[row["exposed_on"]] += metric_rows(group.wanted, row)
        for column in group.wanted.columns:
            if column.metric.kind == "quantile":
                (part,) = column.parts
                bins = _bins(store, group, part, crossed, events, days, known_by, numbers[number, part.window.name])
                by_day: dict[dt.date, list[dict]] = {}
                for one in bins:
                    by_day.setdefault(one["exposed_on"], []).append(one)
                found = {day: with_bins(column.metric, own, by_day.get(day, ())) for day, own in found.items()}
        for day, own in found.items():
            results.write_bytes(places[number, day], _parquet(own))


def _sum_up(
    store: Store,
    name: str,
    windows: Sequence[tuple[Todo, Window]],
    of: OutcomePartitions,
    days: Days,
    known_by: dt.datetime,
) -> None:
    """Make a table of the sums of one source for each unit that is due, by window."""
    measures = {measure_key(measure): measure for _, window in windows for measure in window.measures}
    all_days = {str(day) for group, window in windows for one in group.due for day in _days(one, window)} & set(days)
    inner = {str(day) for group, window in windows for one in group.due
             for day in _days(one, window)[1 : window.window_days]}  # fmt: skip
    edges = {str(one.cohort.day + DAY * (window.delay_days + number)) for group, window in windows
             for one in group.due for number in (0, window.window_days or 0)}  # fmt: skip
    summed = {day for day in all_days & inner if _has_sums(days[day], measures, known_by)}
    events = [file for day in sorted(all_days & edges | (all_days - summed)) for file in days[day]["events"]]
    sums = [file for day in sorted(summed) for file in days[day]["unit_days"]]
    values = {
        "events": store.paths(events),
        "sums": store.paths(sums),
        "summed": [dt.date.fromisoformat(day) for day in sorted(summed)],
        "known_by": known_by,
        **of.filter_values(measures),
    }
    for number, (group, window) in enumerate(windows):
        values |= {
            f"units_{number}": store.paths(one.cohort.file for one in group.due),
            f"before_{number}": group.before,
            f"until_{number}": window.until,
        }
    store.table(name, "unit_sums", values, due=[window for _, window in windows], measures=measures,
                any_events=bool(events), any_sums=bool(sums))  # fmt: skip


def _bins(
    store: Store,
    group: Todo,
    part: Part,
    crossed: Sequence[str],
    events: Mapping[str, OutcomePartitions],
    days: Mapping[str, Days],
    known_by: Mapping[str, dt.datetime],
    place: tuple[int, int],
) -> list[dict]:
    """The values of a quantile metric by bin, over the units of cohorts that are due."""
    window, name = part.window, measure_key(part.measure)
    of, entries = events[window.source], days[window.source]
    touched = sorted({str(day) for one in group.due for day in _days(one, window)} & set(entries))
    files = [file for day in touched for file in entries[day]["events"]]
    return store.query(
        "quantile_bins",
        {"units": store.paths(one.cohort.file for one in group.due), "before": group.before,
         "crossed": store.paths(crossed), "events": store.paths(files), "known_by": known_by[window.source],
         **of.filter_values({name: part.measure})},
        metric=part.metric,
        window=window,
        measure=part.measure,
        key=name,
        place=place,
        any_crossed=bool(crossed),
        any_events=bool(files),
        width=BIN_WIDTH,
        offset=BIN_OFFSET,
    )  # fmt: skip


def _has_sums(day: Mapping, measures: Iterable[str], known_by: dt.datetime) -> bool:
    """Whether a day's sums hold these measures, and are by load time for all that a night may not know."""
    return (
        bool(day["unit_days"]) and set(measures) <= set(day["measures"]) and day["first_known"] <= known_by.isoformat()
    )


def _names(wanted: Plan, experiment: Experiment) -> list:
    """All of a plan that moments depend on."""
    metrics = [(column.metric.name, column.metric.kind, column.metric.covariate,
                [(part.window.name, part.measure, part.metric.kind, part.metric.aggregate, part.metric.nulls,
                  part.metric.cap) for part in column.parts]) for column in wanted.columns]  # fmt: skip
    windows = [(window.source, window.delay_days, window.until or window.window_days) for window in wanted.windows]
    # The bins serve every quantile, so that only what is counted is part of the name.
    of = [[column.metric.name, column.metric.of] for column in wanted.columns if column.metric.of]
    return [[segment.attribute for segment in experiment.segments], repr(metrics), windows, *([of] if of else [])]


def _place(
    one: Due, wanted: Plan, names: list, experiment: Experiment, days: Mapping[str, Days], known_by: Mapping
) -> str:
    """A name made of all that a cohort's moments depend on."""
    used = {
        window.name: [identity(str(day), days[window.source].get(str(day)), known_by[window.source])
                      for day in _days(one, window)]
        for window in wanted.windows
    }  # fmt: skip
    return f"moments/{experiment.key}/{one.cohort.day}-{key(one.cohort.digest, one.partly, names, used)}.parquet"


def _days(one: Due, window: Window) -> list[dt.date]:
    first = one.cohort.day + DAY * window.delay_days
    if window.until:
        return [first + DAY * number for number in range((window.until - first).days)]
    return [first + DAY * number for number in range(window.window_days + (0 if one.partly else 1))]


def _rows(path: Path) -> list[dict]:
    return pyarrow.parquet.ParquetFile(path).read(use_threads=False).to_pylist()


def _parquet(rows: Sequence[dict]) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(arrow_tables.table(rows), buffer)
    return buffer.getvalue()
