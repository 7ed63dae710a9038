"""Partitions: the rows of a source by UTC day, read from the warehouse once, and again when late rows touch them.

A record for each source says which days are kept, and up to which load time the source has been looked at. Only the
record is ever replaced, at once and under a lock; the files that it names are never changed.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pyarrow

from abtest_lib.definitions import ExposureSource, Metric, OutcomeSource
from abtest_lib.measures import Measure
from abtest_lib.queries import Days, NightQueries
from abtest_lib.state.store import Reading, Store, key

DAY = dt.timedelta(days=1)
BEGINNING = dt.datetime(1, 1, 1)
MOST_UNITS = 0.6  # a row, from which sums by unit and day are not worth their place
MOST_FILES = 16  # of a day; then it is read anew as one


class Suspicious(Exception):
    """Rows of a source break a promise; the raw table has the last word."""


class OutcomePartitions:
    """The events of an outcome source by day, and their sums by unit and day.

    Parameters
    ----------
    store : Store
        Where they are kept.
    source : OutcomeSource
        What they are read from.
    metrics : iterable of Metric
        All that read the source, also those of other experiments: their columns are read along.
    """

    def __init__(self, store: Store, source: OutcomeSource, metrics: Iterable[Metric]):
        self.store, self.source, self.time = store, source, source.occurred_at
        parts = [part for metric in metrics for part in metric.parts if part.source == source.name]
        self.values = sorted({part.value for part in parts if part.value})
        self.filters = sorted({column for part in parts for column, _ in part.where})
        self.measures = {measure_key(measure): measure for measure in map(_measure, parts)}
        self.name = f"sources/{source.name}-{key(source)[:12]}"

    @property
    def columns(self) -> dict[str, list[str]]:
        """What is read of the source."""
        return {"values": self.values, "filters": self.filters}

    def lacks(self, day: Mapping) -> bool:
        """Whether a partition was read without a column that is needed now."""
        return not (set(self.values) <= set(day["values"]) and set(self.filters) <= set(day["filters"]))

    def rows(self, queries: NightQueries, days: Days):
        """The rows of some days in the warehouse, as Arrow in pieces."""
        return queries.outcome_rows(self.source, self.values, self.filters, days)

    def count(self, entry: Mapping) -> int:
        """How many rows of the warehouse a partition is made of."""
        return entry["rows"]

    def merged(self, old: Mapping, late: Mapping) -> dict:
        """A partition and rows that came later."""
        both = {name: old[name] + late[name] for name in ("rows", "rows_without_unit", "events", "unit_days")}
        for name in ("nulls", "not_finite", "delays"):
            both[name] = {key: old[name].get(key, 0) + late[name].get(key, 0) for key in {**old[name], **late[name]}}
        last = max(filter(None, (old["last_known"], late["last_known"])), default=None)
        measures = sorted({*old["measures"]} & {*late["measures"]})
        return {**old, **both, "digest": key(old["digest"], late["digest"]), "last_known": last, "measures": measures}

    def keep(
        self, first_known: Mapping[dt.date, dt.datetime], known_by: dt.datetime, before: Mapping[str, dict]
    ) -> dict[str, dict]:
        """Write the relation ``incoming`` as partitions, and return their entries of the record by day.

        With the entries ``before`` of its days it is rows that came late, and summed up where those are.
        """
        new = self.store.keep("events", {"days": list(first_known)}, split_by="day")
        entries = {}
        for day, path in new.items():
            on_time_by = first_known[dt.date.fromisoformat(day)]
            counts, late = self._counts([str(path)], known_by, on_time_by)[day], self._delays([str(path)], known_by)
            events = self.store.move(path, f"{self.name}/{day}-{key(counts['digest'], self.columns)[:16]}")
            entries[day] = {**counts, **self.columns, "delays": late.get(day, {}), "events": [events],
                            "unit_days": [], "measures": []}  # fmt: skip
        self.store.discard(new)
        # Late rows do not count here: what is summed, and so the last digits, must not depend on when a day was read.
        few = {day: entry for day, entry in entries.items()
               if (before[day]["unit_days"] if before else entry["units_on_time"] < MOST_UNITS * entry["rows_on_time"])
        }  # fmt: skip
        for day, path in self._unit_days(few, first_known).items():
            entries[day]["unit_days"] = [path]
        return entries

    def _counts(self, files: Sequence[str], known_by: dt.datetime, on_time_by: dt.datetime) -> dict[str, dict]:
        """By day, what the events are that were known at a time."""
        values = {"files": files, "known_by": known_by, "on_time_by": on_time_by}
        rows = self.store.query("event_counts", values, values=self.values)
        return {
            str(row["day"]): {
                "digest": row["digest"],
                "rows": row["rows_read"],
                "rows_without_unit": row["rows_without_unit"],
                "last_known": _text(row["last_loaded_at"]),
                "rows_on_time": row["rows_on_time"],
                "units_on_time": row["units_on_time"],
                "nulls": {value: row[f"nulls_{value}"] for value in self.values},
                "not_finite": {value: row[f"not_finite_{value}"] for value in self.values},
            }
            for row in rows
        }

    @staticmethod
    def filter_values(measures: Mapping[str, Measure]) -> dict[str, str | int | float | bool]:
        """The values of the filters of measures by the name of their parameter."""
        return {f"filter_{name}_{number}": value for name, measure in measures.items()
                for number, (_, value) in enumerate(measure.where)}  # fmt: skip

    def as_known(self, entries: Mapping[str, dict], known_by: dt.datetime) -> dict[str, dict]:
        """By day, the counts and delays of the rows that were known at a time, other than those of today."""
        later = {day: entry for day, entry in entries.items() if not known(entry, known_by)}
        if not later:
            return dict(entries)
        files = self.store.paths(file for entry in later.values() for file in entry["events"])
        counts, late = self._counts(files, known_by, known_by), self._delays(files, known_by)
        none = {"rows": 0, "rows_without_unit": 0}
        return {**entries, **{day: counts.get(day, none) | {"delays": late.get(day, {})} for day in later}}

    def _delays(self, files: Sequence[str], known_by: dt.datetime) -> dict[str, dict[str, int]]:
        """By day, how many rows came how many begun days late."""
        found: dict[str, dict[str, int]] = {}
        for row in self.store.query("delays", {"files": files, "known_by": known_by}):
            found.setdefault(str(row["day"]), {})[str(row["days_late"])] = row["rows_found"]
        return found

    def _unit_days(self, entries: Mapping[str, dict], first_known: Mapping[dt.date, dt.datetime]) -> dict[str, str]:
        if not entries:
            return {}
        days = [dt.date.fromisoformat(day) for day in entries]
        values = {
            "files": self.store.paths(file for entry in entries.values() for file in entry["events"]),
            "days": days,
            "first_known": [first_known[day] for day in days],
            **self.filter_values(self.measures),
        }
        new = self.store.keep("unit_days", values, split_by="day", measures=self.measures, values=self.values)
        sums = key(sorted(self.measures))[:8]
        kept = {}
        for day, path in new.items():
            known = key(first_known[dt.date.fromisoformat(day)])[:8]
            stem = entries[day]["events"][0].removesuffix(".parquet")
            kept[day] = self.store.move(path, f"{stem}-{known}-{sums}")
            entries[day]["measures"] = sorted(self.measures)
        self.store.discard(new)
        return kept


class ExposurePartitions:
    """The exposures of all experiments by day: the first of each unit in each variant.

    Parameters
    ----------
    store : Store
        Where they are kept.
    source : ExposureSource
        What they are read from.
    """

    def __init__(self, store: Store, source: ExposureSource):
        self.store, self.source, self.time = store, source, source.exposed_at
        self.name = f"sources/{source.name}-{key(source)[:12]}"
        self.columns: dict[str, list[str]] = {}

    def lacks(self, day: Mapping) -> bool:
        """Exposures have the same columns for every experiment."""
        return False

    def rows(self, queries: NightQueries, days: Days):
        """The rows of some days in the warehouse, as Arrow in pieces."""
        return queries.exposure_rows(self.source, days)

    def count(self, entry: Mapping) -> int:
        """How many rows of the warehouse a partition is made of."""
        return sum(sum(one["variants"].values()) for one in entry["experiments"].values())

    def merged(self, old: Mapping, late: Mapping) -> dict:
        """A partition and rows that came later."""
        experiments = dict(old["experiments"])
        for name, new in late["experiments"].items():
            before = experiments.get(name, {"variants": {}, "without_unit": 0, "last_known": None, "digest": ""})
            variants = {one: before["variants"].get(one, 0) + new["variants"].get(one, 0)
                        for one in {**before["variants"], **new["variants"]}}  # fmt: skip
            experiments[name] = {
                "variants": variants,
                "without_unit": before["without_unit"] + new["without_unit"],
                "last_known": max(filter(None, (before["last_known"], new["last_known"])), default=None),
                "digest": key(before["digest"], new["digest"]),
            }
        return {**old, "exposures": old["exposures"] + late["exposures"], "experiments": experiments}

    def keep(
        self, first_known: Mapping[dt.date, dt.datetime], known_by: dt.datetime, before: Mapping[str, dict]
    ) -> dict[str, dict]:
        """Write the relation ``incoming`` as partitions, and return their entries of the record by day."""
        lists = {"days": list(first_known), "first_known": list(first_known.values())}
        new = self.store.keep("exposures", lists, split_by="day")
        entries = {}
        for day, path in new.items():
            by_experiment: dict[str, dict] = {}
            for row in self.store.query("exposure_counts", {"files": [str(path)]}):
                entry = by_experiment.setdefault(row["experiment"], {"variants": {}, "without_unit": 0, "digests": []})
                entry["variants"][str(row["variant"])] = row["exposures"]
                entry["without_unit"] += row["without_unit"]
                entry["digests"].append([row["variant"], row["units"], row["digest"]])
                entry["last_known"] = max(filter(None, (entry.get("last_known"), _text(row["last_known_at"]))),
                                          default=None)  # fmt: skip
            for entry in by_experiment.values():
                entry["digest"] = key(entry.pop("digests"))
            name = key({name: entry["digest"] for name, entry in by_experiment.items()})[:16]
            file = self.store.move(path, f"{self.name}/{day}-{name}")
            entries[day] = {"exposures": [file], "experiments": by_experiment}
        self.store.discard(new)
        return entries


class Partitions:
    """The kept partitions of one source, and how they are brought up to date.

    Parameters
    ----------
    of : OutcomePartitions or ExposurePartitions
        What is read and how it is kept.
    queries : NightQueries
        To the warehouse.
    """

    def __init__(self, of: OutcomePartitions | ExposurePartitions, queries: NightQueries):
        self.of, self.store, self.queries = of, of.store, queries
        self.readings: list[Reading] = []

    def up_to_date(
        self,
        as_of: dt.date,
        known_by: dt.datetime,
        needed: Callable[[dict], Iterable[dt.date]],
        check: Callable[[dict], None] = lambda record: None,
    ) -> dict[str, dict]:
        """Read what is missing or may have changed, and return the entries of the days that a night needs.

        Parameters
        ----------
        as_of : date
            The night.
        known_by : datetime
            Rows loaded later are not known to it; other nights may have read them.
        needed : callable
            Names the days, given the record of the source.
        check : callable
            Raises when the entries break a promise; then their days are forgotten, so that the next try reads them.

        Returns
        -------
        dict
            Entries by day as text; a day without rows has none.

        Raises
        ------
        Suspicious
            If new rows break a promise.
        DataError
            If the warehouse refuses a statement.
        """
        with self.store.lock(self.of.name):
            record = self.store.read(self.of.name) or {"seen_by": None, "version": None, "as_of": None, "days": {},
                                                       "exposed_on": {}, "unlisted": [], "suspects": []}  # fmt: skip
            self._look(record, as_of, known_by)
            days = sorted({str(day) for day in needed(record)})
            stale = [day for day in days if day not in record["days"] or self.of.lacks(record["days"][day])]
            if stale:
                self._read(record, [dt.date.fromisoformat(day) for day in stale], as_of, known_by)
            found = {day: entry for day in days if not (entry := record["days"][day]).get("empty")}
            try:
                check(found)
            except Suspicious:
                for day in days:
                    record["days"].pop(day, None)
                self.store.write(self.of.name, record)
                raise
            if self.readings:
                kept = record["days"].values()
                used = [file for day in kept for file in (*self._files(day), *day.get("unit_days", ()))]
                record["retired"] = self.store.tidy(self.of.name, used, record.get("retired", {}))
            self.store.write(self.of.name, record)
            return found

    def rows_to_read(self, known_by: dt.datetime, needed: Iterable[dt.date]) -> int:
        """How many rows of the days that a night needs are not kept yet; late ones not counted."""
        record = self.store.read(self.of.name) or {"days": {}}
        entries = {day: record["days"].get(str(day)) for day in needed}
        days = sorted(day for day, entry in entries.items() if entry is None or self.of.lacks(entry))
        return sum(
            sum(self.queries.day_rows(self.of.source, self.of.time, Days(start, end, known_by)).values())
            for start, end in _ranges(days)
        )

    def delays(self, lags: Sequence[int], start: dt.date, end: dt.date, known_by: dt.datetime) -> list[dict]:
        """By day, rows of an outcome source and how many came later than each lag.

        Of days that no night has read the warehouse counts them, once; a night that knows less than the count asks
        for itself.
        """
        wanted = [str(start + DAY * number) for number in range((end - start).days)]
        with self.store.lock(self.of.name):
            record = self.store.read(self.of.name)
            counted = record.setdefault("delays", {})
            missing = [day for day in wanted if day not in record["days"]
                       and not {str(lag) for lag in lags} <= set(counted.get(day, {}).get("late", ()))]  # fmt: skip
            if missing:
                for day in missing:
                    counted[day] = {"rows": 0, "late": dict.fromkeys(map(str, lags), 0), "last_known": None}
                seen = max(known_by, dt.datetime.fromisoformat(record["seen_by"]))
                first, last = (dt.date.fromisoformat(day) for day in (missing[0], missing[-1]))
                for row in self.queries.delays(self.of.source, lags, first, last + DAY, seen):
                    late = {str(lag): rows for lag, rows in row["late"].items()}
                    counted[str(row["day"])] = {
                        **row,
                        "day": None,
                        "late": late,
                        "last_known": _text(row["last_known"]),
                    }
                self.store.write(self.of.name, record)
        kept = self.of.as_known({day: record["days"][day] for day in wanted
                                 if not record["days"].get(day, {"empty": True}).get("empty")}, known_by)  # fmt: skip
        found = [{"rows": sum(entry["delays"].values()),
                  "late": {lag: sum(rows for late, rows in entry["delays"].items() if int(late) > lag) for lag in lags}}
                 for entry in kept.values()]  # fmt: skip
        for day in wanted:
            if day in record["days"] or day not in counted:
                continue
            if known(counted[day], known_by):
                found.append({**counted[day], "late": {lag: counted[day]["late"][str(lag)] for lag in lags}})
            else:
                date = dt.date.fromisoformat(day)
                found += self.queries.delays(self.of.source, lags, date, date + DAY, known_by)
        return found

    def absolve(self, experiment: str) -> None:
        """Forget a suspicion against the exposures of an experiment, and the days that they may be of."""
        with self.store.lock(self.of.name):
            record = self.store.read(self.of.name)
            if record and experiment in record["suspects"]:
                record["suspects"].remove(experiment)
                for day in record["exposed_on"].get(experiment, ()):
                    record["days"].pop(day, None)
                self.store.write(self.of.name, record)

    def _look(self, record: dict, as_of: dt.date, known_by: dt.datetime) -> None:
        """Find the days that rows have come for since the last look, and drop what is kept of them."""
        source = self.of.source
        look_back = dt.timedelta(days=source.look_back_days)
        newest = max(as_of, dt.date.fromisoformat(record["as_of"])) if record["as_of"] else as_of
        touched = self._declared_again(record)
        if isinstance(self.of, ExposurePartitions):
            record["unlisted"] = sorted({*record["unlisted"], *touched})
        if source.loaded_at:
            seen = dt.datetime.fromisoformat(record["seen_by"]) if record["seen_by"] else BEGINNING
            changed = known_by > seen
            values = {"seen_by": seen, "known_by": known_by}
        else:
            version = self.queries.version(source.table)
            changed = version is None or version != record["version"]
            begin = newest - look_back if record["as_of"] else dt.date(1970, 1, 1)
            values, record["version"] = {"from_at": dt.datetime.combine(begin, dt.time())}, version
        if changed:
            rows = self.queries.changed_days(source, self.of.time, values)
            self._mark(record, rows)
            late = Counter()
            for row in rows:
                late[str(row["day"])] += row["rows_found"]
            if source.loaded_at:
                self._append(record, {day: late[day] for day in late if day not in touched}, seen, known_by, as_of)
            touched |= {day for day in late if record["days"].get(day, {}).get("seen_by") != _text(known_by)}
            if source.look_back_days:
                touched |= {day for day in record["days"] if day >= str(newest - look_back)}
            record["seen_by"] = max(_text(known_by), record["seen_by"] or "")
        record["as_of"] = str(newest)
        for day in touched:
            record["days"].pop(day, None)
            record.get("delays", {}).pop(day, None)

    def _append(
        self, record: dict, late: Mapping[str, int], seen: dt.datetime, known_by: dt.datetime, as_of: dt.date
    ) -> None:
        """Add rows that came late to their days, where the rows that were there are there still.

        Where they are not, rows were restated or deleted, and the day is read anew with all the other stale ones.
        """
        kept = [day for day in late if not record["days"].get(day, {"empty": True}).get("empty")
                and not self.of.lacks(record["days"][day])
                and len(self._files(record["days"][day])) < MOST_FILES]  # fmt: skip
        if not kept:
            return
        first, last = (dt.date.fromisoformat(day) for day in (min(kept), max(kept)))
        counts = self.queries.day_rows(self.of.source, self.of.time, Days(first, last + DAY, known_by))
        before = {day: self.of.count(record["days"][day]) + late[day] for day in kept}
        whole = [day for day in kept if counts.get(dt.date.fromisoformat(day)) == before[day]]
        if not whole:
            return
        first, last = (dt.date.fromisoformat(day) for day in (min(whole), max(whole)))
        first_known = {dt.date.fromisoformat(day): dt.datetime.fromisoformat(record["days"][day]["first_known"])
                       for day in whole}  # fmt: skip
        before = {day: record["days"][day] for day in whole}
        entries = self._kept(Days(first, last + DAY, known_by, seen), first_known, as_of, before)
        for day in whole:
            record["days"][day] = self.of.merged(record["days"][day], entries[day]) | {"seen_by": _text(known_by)}

    @staticmethod
    def _files(entry: Mapping) -> list[str]:
        return entry.get("events") or entry.get("exposures") or []

    def _declared_again(self, record: dict) -> set[str]:
        """Days that the loader has declared complete since the last look; those read before it has put right."""
        log = [(str(row["data_on"]), _text(row["declared_at"])) for row in self.queries.declared(self.of.source.name)]
        seen, record["log_seen"] = record.get("log_seen", ""), max((at for _, at in log), default="")
        return {day for day, at in log if at > seen}

    def _first_known(self, days: Sequence[dt.date], known_by: dt.datetime) -> dict[dt.date, dt.datetime]:
        """For each day, a moment whose knowledge every night has that reads the day."""
        if self.queries.log:
            log = [(row["data_on"], row["complete_at"]) for row in self.queries.declared(self.of.source.name)]
            return {day: min([known_by, *(at for data_on, at in log if data_on >= day)]) for day in days}
        return {
            day: min(known_by, dt.datetime.combine(day + DAY, dt.time()) + self.queries.loaded_within) for day in days
        }

    def _mark(self, record: dict, rows: Sequence[dict]) -> None:
        """Remember on which days each experiment has exposures, and which have rows that break a promise."""
        wrong = ("null_times", "negative_times", "future_times", "null_loads")
        if isinstance(self.of, OutcomePartitions):
            if any(row[name] for row in rows for name in wrong):
                raise Suspicious
            return
        for row in rows:
            if row["experiment"] is None:
                continue
            if any(row[name] for name in wrong) and row["experiment"] not in record["suspects"]:
                record["suspects"].append(row["experiment"])
            if row["day"] and row["rows_found"]:
                record["exposed_on"].setdefault(row["experiment"], []).append(str(row["day"]))

    def _read(self, record: dict, days: Sequence[dt.date], as_of: dt.date, known_by: dt.datetime) -> None:
        known_by = max(known_by, dt.datetime.fromisoformat(record["seen_by"])) if record["seen_by"] else known_by
        first_known = self._first_known(days, known_by)
        for start, end in _ranges(days, most=self.queries.days_at_once):
            wanted = {day: first_known[day] for day in days if start <= day < end}
            entries = self._kept(Days(start, end, known_by), wanted, as_of, {})
            for day, moment in wanted.items():
                entry = entries.get(str(day)) or {"empty": True, "experiments": {}, **self.of.columns}
                for experiment in entry.get("experiments", ()):
                    record["exposed_on"].setdefault(experiment, []).append(str(day))
                record["days"][str(day)] = entry | {"first_known": _text(moment)}
        record["unlisted"] = [day for day in record["unlisted"] if dt.date.fromisoformat(day) not in first_known]
        record["exposed_on"] = {name: sorted(set(days)) for name, days in record["exposed_on"].items()}

    def _kept(
        self, days: Days, first_known: Mapping[dt.date, dt.datetime], as_of: dt.date, before: Mapping[str, dict]
    ) -> dict[str, dict]:
        """Read rows from the warehouse, keep them, and note what that cost."""
        reading = Reading(self.of.source.name, [str(day) for day in first_known], late=days.seen_by is not None)
        began = time.monotonic()
        incoming = Counted(self.of.rows(self.queries, days), reading)
        self.store.connection.register("incoming", incoming.reader)
        try:
            entries = self.of.keep(first_known, days.known_by, before)
        except Exception as error:
            raise incoming.error or error from error
        finally:
            self.store.connection.unregister("incoming")
        reading.seconds = time.monotonic() - began
        self.readings.append(reading)
        self.store.note(reading, self.queries.experiment, as_of)
        return entries


class Counted:
    """Batches on their way from the warehouse, counted; ``error`` is what the warehouse said when it stopped."""

    def __init__(self, source: pyarrow.RecordBatchReader, reading: Reading):
        self.error: Exception | None = None
        self.reader = pyarrow.RecordBatchReader.from_batches(source.schema, self._counted(source, reading))

    def _counted(self, source: pyarrow.RecordBatchReader, reading: Reading) -> Iterator[pyarrow.RecordBatch]:
        try:
            for batch in source:
                reading.rows += batch.num_rows
                reading.bytes += batch.nbytes
                yield batch
        except Exception as error:
            self.error = error
            raise


def known(entry: Mapping, known_by: dt.datetime) -> bool:
    """Whether a night knows all rows of a partition.

    Parameters
    ----------
    entry : mapping
        ``last_known`` is when the last row was loaded; None when every night knows all.
    known_by : datetime
        The night's knowledge.

    Returns
    -------
    bool
        False when rows were read that a later night was the first to know.

    Examples
    --------
    >>> known({"last_known": "2026-02-05T04:00:00"}, dt.datetime(2026, 2, 5, 3))
    False
    """
    return entry["last_known"] is None or entry["last_known"] <= known_by.isoformat()


def identity(day: str, entry: Mapping | None, known_by: dt.datetime) -> list:
    """What tells the rows of a day that a night knows from any others.

    Parameters
    ----------
    day : str
        The date.
    entry : mapping or None
        Of the source's record; None for a day without rows.
    known_by : datetime
        The night's knowledge of the source.

    Returns
    -------
    list
        Plain values.

    Examples
    --------
    >>> identity("2026-02-05", None, dt.datetime(2026, 2, 6, 3))
    ['2026-02-05']
    """
    if entry is None:
        return [day]
    return [day, entry["digest"], "all" if known(entry, known_by) else known_by.isoformat()]


def measure_key(measure: Measure) -> str:
    """Name a measure by what it adds up, the same in every experiment.

    Parameters
    ----------
    measure : Measure
        A value column, or none, and a filter.

    Returns
    -------
    str
        Eight hexadecimal digits.

    Examples
    --------
    >>> measure_key(Measure(0, "amount_usd", ())) == measure_key(Measure(3, "amount_usd", ()))
    True
    """
    return key(measure.value, measure.where)[:8]


def _measure(part: Metric) -> Measure:
    return Measure(0, None if part.is_share or part.kind == "count" else part.value, part.where)


def _ranges(days: Sequence[dt.date], most: int = 366) -> list[tuple[dt.date, dt.date]]:
    """Runs of at most so many days without a gap, the end exclusive."""
    runs: list[list[dt.date]] = []
    for day in sorted(days):
        if runs and runs[-1][1] == day and (day - runs[-1][0]).days < most:
            runs[-1][1] = day + DAY
        else:
            runs.append([day, day + DAY])
    return [(start, end) for start, end in runs]


def _text(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None
