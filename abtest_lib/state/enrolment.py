"""Enrolment: the units of an experiment by day of first exposure, with segments, covariates and crossovers.

Each day's units follow from the exposures of that day and of those before. A file is named by what it was made of, so
a day is worked out once, and again only when exposures that came late change it. Where units must be activated to be
counted, cohorts are by the day of that, and made of the units of the days of exposure before it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow

from abtest_lib.assignment import sql_names
from abtest_lib.definitions import AttributeSource, ExclusionSource, Experiment
from abtest_lib.queries import NightQueries
from abtest_lib.state.partitions import DAY, Counted, Suspicious, identity, known
from abtest_lib.state.store import Reading, Store, key


@dataclass(frozen=True)
class Cohort:
    """The units whose windows begin on a day: a file of ``units_in_cells`` rows, a digest and counts of them."""

    day: dt.date
    file: str
    digest: str
    counts: tuple[dict, ...]

    @property
    def units(self) -> int:
        """How many there are."""
        return sum(row["units"] for row in self.counts if row["segment"] < 0)


@dataclass(frozen=True)
class Enrolment:
    """The cohorts of an experiment by day, and the files of the units that were seen in another variant.

    ``assigned`` are rows of ``sql/assigned_units.sql``, none where all exposed units are counted; ``otherwise`` those
    of ``sql/assigned_otherwise.sql``, none where no assignment is known.
    """

    cohorts: tuple[Cohort, ...]
    crossed: tuple[str, ...]
    assigned: tuple[dict, ...]
    otherwise: tuple[dict, ...]


@dataclass(frozen=True)
class Activations:
    """The events that activate units: entries of their source's record by day, and the night's knowledge of it."""

    days: Mapping[str, dict]
    known_by: dt.datetime


def enrolment(
    store: Store,
    experiment: Experiment,
    exposures: Mapping[str, dict],
    known_by: dt.datetime,
    attributes: Mapping[str, dict],
    activations: Activations | None,
) -> Enrolment:
    """Who was enrolled on each day, as far as a night knows?

    Parameters
    ----------
    store : Store
        Keeps what is worked out.
    experiment : Experiment
        Whose units.
    exposures : mapping
        Entries of the exposure source's record by day, of the days before the night.
    known_by : datetime
        The night's knowledge of exposures.
    attributes : mapping
        By attribute and exclusion source, ``file`` and ``digest`` of its rows (see ``read_attributes``).
    activations : Activations or None
        Where units must be activated.

    Returns
    -------
    Enrolment
        Days without new units have no cohort.

    Raises
    ------
    duckdb.Error
        If a file of the state is damaged.
    """
    chain = _chain(experiment, exposures, known_by)
    days = _enrolled(store, experiment, exposures, chain, known_by)
    crossed = tuple(file for entry in days.values() if (file := entry["crossed"]))
    units = {day: entry["file"] for day, entry in days.items() if entry["file"]}
    assigned = _assigned(store, experiment, units, attributes)
    made_of = {day: {day: file} for day, file in units.items()}
    if activations:
        made_of = _activated(store, experiment, units, activations)
    in_cells = _in_cells(store, experiment, made_of, attributes)
    crossings = _crossings(store, made_of, crossed)
    cohorts = tuple(_counted(store, experiment, in_cells, crossings, crossed))
    return Enrolment(cohorts, crossed, assigned, _otherwise(store, experiment, units))


def _chain(experiment: Experiment, exposures: Mapping[str, dict], known_by: dt.datetime) -> dict[str, str]:
    """By day, a name for all exposures up to it that the night knows."""
    chain, name = {}, key("enrolment", experiment.key, experiment.exposures.name)
    for day in sorted(exposures):
        own = exposures[day]["experiments"].get(experiment.key)
        if own:
            name = key(name, day, own["digest"], "all" if known(own, known_by) else known_by)
            chain[day] = name
    return chain


def _enrolled(
    store: Store, experiment: Experiment, exposures: Mapping, chain: Mapping[str, str], known_by: dt.datetime
) -> dict[str, dict]:
    """By day of exposures, the file of the units enrolled on it and that of the crossings on it."""
    found: dict[str, dict] = {}
    days = sorted(chain)
    for day in days:
        entry = store.read(f"enrolled/{experiment.key}/{chain[day]}")
        if entry is None:
            break
        found[day] = entry
    todo = days[len(found) :]
    if not todo:
        return found
    values = {
        "experiment": experiment.key,
        "known_by": known_by,
        "exposures": store.paths(file for day in todo for file in exposures[day]["exposures"]),
        "cohorts": store.paths(entry["file"] for entry in found.values() if entry["file"]),
    }
    seen = store.arrow("seen_before", values) if values["cohorts"] else _nobody()
    store.connection.register("seen_before", seen)
    enrolled = store.keep("enrolled", values, split_by="day")
    values["enrolled"] = [str(path) for path in enrolled.values()]
    crossed = store.keep("crossed", values, split_by="day", any_enrolled=bool(enrolled))
    store.connection.unregister("seen_before")
    for day in todo:
        place = f"enrolled/{experiment.key}/{chain[day]}"
        found[day] = {"file": enrolled.get(day) and store.move(enrolled[day], place),
                      "crossed": crossed.get(day) and store.move(crossed[day], f"{place}-crossed")}  # fmt: skip
        store.write(place, found[day])
    store.discard(enrolled, crossed)
    return found


def _assigned(store: Store, experiment: Experiment, units: Mapping[str, str], attributes: Mapping) -> tuple[dict, ...]:
    """Units as they were assigned, where not all of them are counted."""
    if not units or experiment.counts_everyone:
        return ()
    values = {"units": store.paths(units.values()), **_excluded(store, experiment, attributes)}
    rows = store.query("assigned", values, exclusions=list(experiment.exclusions))
    return tuple({**row, "in_dates": experiment.starts_on <= row["day"] < experiment.ends_on} for row in rows)


def _otherwise(store: Store, experiment: Experiment, units: Mapping[str, str]) -> tuple[dict, ...]:
    """Units enrolled by the variant that the assignment gives and the one found, a day worked out once."""
    if experiment.assignment is None:
        return ()
    counts: Counter[tuple[str | None, str]] = Counter()
    for day, file in units.items():
        if not str(experiment.starts_on) <= day < str(experiment.ends_on):
            continue
        place = f"assigned/{experiment.key}/{key(file, experiment.assignment)}"
        if (rows := store.read(place)) is None:
            names = sql_names(experiment.assignment)
            rows = store.query("assigned_otherwise", {"units": store.paths([file])}, assignment=names)
            store.write(place, rows)
        counts.update({(row["assigned"], row["found"]): row["units"] for row in rows})
    return tuple({"assigned": assigned, "found": found, "units": count} for (assigned, found), count in counts.items())


def _excluded(store: Store, experiment: Experiment, attributes: Mapping) -> dict[str, list[str]]:
    """The files of the exclusions by the name of their parameter."""
    return {f"exclusion_{name}": store.paths([attributes[name]["file"]]) for name in experiment.exclusions}


def _activated(
    store: Store, experiment: Experiment, units: Mapping[str, str], activations: Activations
) -> dict[str, dict[str, str]]:
    """By day of activation, the files that its units are in by their day of first exposure, one within the dates."""
    metric = experiment.activation
    inside = {day: file for day, file in units.items() if str(experiment.starts_on) <= day < str(experiment.ends_on)}
    days = {day: [str(dt.date.fromisoformat(day) + DAY * number) for number in range(metric.window_days + 1)]
            for day in inside}  # fmt: skip
    places = {day: f"activated/{experiment.key}/" + key(
        file, metric.where, metric.window_days,
        [identity(one, activations.days.get(one), activations.known_by) for one in days[day]])
        for day, file in inside.items()}  # fmt: skip
    entries = {day: store.read(place) for day, place in places.items()}
    todo = [day for day, entry in entries.items() if entry is None]
    events = {file for day in todo for one in days[day] for file in activations.days.get(one, {}).get("events", ())}
    new = {}
    if events:
        values = {
            "units": store.paths(inside[day] for day in todo),
            "events": store.paths(sorted(events)),
            "known_by": activations.known_by,
            **{f"activated_{number}": value for number, (_, value) in enumerate(metric.where)},
        }
        new = store.keep("activated", values, split_by="day", activation=metric)
    for day in todo:
        entries[day] = {"file": store.move(new[day], places[day]) if day in new else None}
        store.write(places[day], entries[day])
    store.discard(new)
    made_of: dict[str, dict[str, str]] = {}
    for day, entry in sorted(entries.items()):
        if file := entry["file"]:
            for one in days[day]:
                made_of.setdefault(one, {})[day] = file
    return made_of


def _in_cells(
    store: Store, experiment: Experiment, made_of: Mapping[str, Mapping[str, str]], attributes: Mapping
) -> dict[str, dict[str, str]]:
    """By day, file and digest of its units with segments and covariates; a day without units has none."""
    covariates = covariates_of(experiment)
    read = [[one.source, one.column] for one in (*experiment.segments, *covariates)]
    places = {day: f"cohorts/{experiment.key}/{key(day, files, read, attributes)}" for day, files in made_of.items()}
    entries = {day: store.read(place) for day, place in places.items()}
    todo = [day for day, entry in entries.items() if entry is None]
    if todo:
        sources = {name: experiment.attributes[name] for name, _ in read}
        values = {
            "cohorts": store.paths(sorted({file for day in todo for file in made_of[day].values()})),
            "days": [dt.date.fromisoformat(day) for day in todo],
            **{f"attribute_{name}": store.paths([attributes[name]["file"]]) for name in sources},
            **_excluded(store, experiment, attributes),
        }
        new = store.keep("units_in_cells", values, split_by="day", segments=experiment.segments,
                         covariates=covariates, attributes=sources, exclusions=list(experiment.exclusions),
                         activated=experiment.activation is not None)  # fmt: skip
        for day in todo:
            entries[day] = {"file": None}
            if day in new:
                digest = key(store.query("digest", {"files": [str(new[day])]}), read)
                file = store.move(new[day], f"cohorts/{experiment.key}/{day}-{digest}")
                entries[day] = {"file": file, "digest": digest}
            store.write(places[day], entries[day])
        store.discard(new)
    return {day: entry for day, entry in entries.items() if entry["file"]}


def _crossings(store: Store, made_of: Mapping[str, Mapping[str, str]], crossed: Sequence[str]) -> dict[str, list[str]]:
    """By day, digests of the units that were seen in another variant; a day without such units has none."""
    if not crossed:
        return {}
    rows = store.query("crossings", {"crossed": store.paths(crossed)})
    by_exposure = {str(row["enrolled_on"]): row["digest"] for row in rows}
    found = {day: [by_exposure[one] for one in sorted(files) if one in by_exposure] for day, files in made_of.items()}
    return {day: digests for day, digests in found.items() if digests}


def _counted(
    store: Store,
    experiment: Experiment,
    units: Mapping[str, dict[str, str]],
    crossings: Mapping[str, Sequence[str]],
    crossed: Sequence[str],
) -> list[Cohort]:
    """The cohorts with their units by cell; a unit that was seen in another variant is counted apart."""
    found = []
    for day, entry in sorted(units.items()):
        digest = key(entry["digest"], crossings.get(day))
        place = f"cohorts/{experiment.key}/counts-{digest}"
        if (counts := store.read(place)) is None:
            values = {"file": str(store.folder / entry["file"]), "crossed": store.paths(crossed)}
            counts = store.query("cohort_counts", values, segments=experiment.segments,
                                 any_crossed=day in crossings)  # fmt: skip
            store.write(place, counts)
        found.append(Cohort(dt.date.fromisoformat(day), entry["file"], digest, tuple(counts)))
    return found


def read_attributes(
    store: Store, experiment: Experiment, queries: NightQueries
) -> tuple[dict[str, dict], list[Reading]]:
    """Read the attribute and exclusion sources of an experiment, if they may have changed since a night last did.

    Parameters
    ----------
    store : Store
        Keeps a copy of the columns that are needed.
    experiment : Experiment
        Its segments, covariates and exclusions.
    queries : NightQueries
        To the warehouse.

    Returns
    -------
    dict and list of Reading
        By source, ``file`` and ``digest`` of the copy; and what was read.

    Raises
    ------
    Suspicious
        If a unit has two rows, or a covariate is no finite number.
    """
    found, readings = {}, []
    for source in (*experiment.attributes.values(), *experiment.exclusions.values()):
        own = {
            "segments": {one.column for one in experiment.segments if one.source == source.name},
            "covariates": {one.column for one in covariates_of(experiment) if one.source == source.name},
        }
        name = f"attributes/{source.name}-{key(source)[:12]}"
        with store.lock(name):
            record = store.read(name) or {"version": None, "raw": None, "segments": [], "covariates": []}
            record = _attributes(store, experiment, source, queries, record, own, readings)
            store.write(name, record)
        found[source.name] = {"file": record["file"], "digest": record["digest"]}
    return found, readings


def _attributes(
    store: Store,
    experiment: Experiment,
    source: AttributeSource,
    queries: NightQueries,
    record: dict,
    own: Mapping[str, set[str]],
    readings: list[Reading],
) -> dict:
    """The record of a source whose copy has the columns of an experiment and is as the table is now."""
    version = queries.version(source.table)
    if version and version == record["version"] and all(own[kind] <= set(record[kind]) for kind in own):
        return record
    there = set(queries.columns(source.table))
    # What other experiments read is read along, unless it is gone.
    columns = {kind: sorted(names | (set(record[kind]) & there)) for kind, names in own.items()}
    raw = queries.attribute_digest(source, **columns)
    if raw is not None and raw == record["raw"] and all(columns[kind] == record[kind] for kind in columns):
        return record | {"version": version}
    reading = Reading(source.name)
    began = time.monotonic()
    copy = _attribute_copy(store, source, queries, **columns, reading=reading)
    reading.seconds = time.monotonic() - began
    readings.append(reading)
    store.note(reading, experiment.key, queries.as_of)
    return copy | {"version": version, "raw": raw}


def _attribute_copy(
    store: Store,
    source: AttributeSource,
    queries: NightQueries,
    segments: Sequence[str],
    covariates: Sequence[str],
    reading: Reading,
) -> dict:
    incoming = Counted(queries.attribute_rows(source, segments, covariates), reading)
    store.connection.register("incoming", incoming.reader)
    try:
        new = store.keep("attributes", split_by="all_rows")
    except Exception as error:
        raise incoming.error or error from error
    finally:
        store.connection.unregister("incoming")
    columns = {"segments": segments, "covariates": covariates}
    if not new:
        return {**columns, **_no_attributes(store, source, segments, covariates)}
    (path,) = new.values()
    (counts,) = store.query("attribute_counts", {"file": str(path)}, covariates=covariates,
                            history=source.known_from is not None)  # fmt: skip
    digest = key(counts.pop("digest"), columns)
    repeated = counts["units_found"] < counts["rows_found"] and not isinstance(source, ExclusionSource)
    if repeated or counts["null_times"] or counts["not_finite"]:
        store.discard(new)
        raise Suspicious
    file = store.move(path, f"attributes/{source.name}-{digest}")
    store.discard(new)
    return {**columns, "file": file, "digest": digest}


def _no_attributes(store: Store, source: AttributeSource, segments: Sequence[str], covariates: Sequence[str]) -> dict:
    """A file without rows, which a table that is empty is joined as."""
    import pyarrow.parquet

    kinds = [("unit_id", pyarrow.string()), *((f"segment_{name}", pyarrow.string()) for name in segments),
             *((f"covariate_{name}", pyarrow.float64()) for name in covariates),
             *([("known_from", pyarrow.timestamp("us"))] if source.known_from else [])]  # fmt: skip
    path = store.folder / f"empty-{key(kinds)}.parquet"
    pyarrow.parquet.write_table(pyarrow.schema(kinds).empty_table(), path)
    return {"file": path.name, "digest": "empty"}


def covariates_of(experiment: Experiment) -> list:
    """The covariates of an experiment's metrics, each once, in the order of the metrics."""
    return list(dict.fromkeys(metric.covariate for metric in experiment.metrics.values() if metric.covariate))


def _nobody() -> pyarrow.Table:
    texts = [("unit_id", pyarrow.string()), ("variant", pyarrow.string())]
    return pyarrow.schema([*texts, ("enrolled_on", pyarrow.date32())]).empty_table()
