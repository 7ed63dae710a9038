"""Enrolment: the units of an experiment by day of first exposure, with segments, covariates and crossovers.

Each day's units follow from the exposures of that day and of those before. A file is named by what it was made of, so
a day is worked out once, and again only when exposures that came late change it.
"""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow

from abtest_lib.definitions import AttributeSource, Experiment
from abtest_lib.queries import NightQueries
from abtest_lib.state.partitions import Counted, Suspicious, known
from abtest_lib.state.store import Reading, Store, key


@dataclass(frozen=True)
class Cohort:
    """The units that were first exposed on a day: a file of ``units_in_cells`` rows, a digest and counts of them."""

    day: dt.date
    file: str
    digest: str
    counts: tuple[dict, ...]


@dataclass(frozen=True)
class Enrolment:
    """The cohorts of an experiment by day, and the files of the units that were seen in another variant."""

    cohorts: tuple[Cohort, ...]
    crossed: tuple[str, ...]


def enrolment(
    store: Store,
    experiment: Experiment,
    exposures: Mapping[str, dict],
    known_by: dt.datetime,
    attributes: Mapping[str, dict],
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
        By attribute source, ``file`` and ``digest`` of its rows (see ``read_attributes``).

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
    in_cells = _in_cells(store, experiment, units, attributes)
    return Enrolment(tuple(_counted(store, experiment, in_cells, crossed)), crossed)


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
    _remove_folders(enrolled, crossed)
    return found


def _in_cells(
    store: Store, experiment: Experiment, units: Mapping[str, str], attributes: Mapping
) -> dict[str, dict[str, str]]:
    """By day, file and digest of its units with segments and covariates."""
    covariates = covariates_of(experiment)
    read = [[one.source, one.column] for one in (*experiment.segments, *covariates)]
    places = {day: f"cohorts/{experiment.key}/{key(file, read, attributes)}" for day, file in units.items()}
    todo = [day for day, place in places.items() if store.read(place) is None]
    if todo:
        names = list(dict.fromkeys(source for source, _ in read))
        values = {
            "cohorts": store.paths(units[day] for day in todo),
            **{f"attribute_{name}": store.paths([attributes[name]["file"]]) for name in names},
        }
        new = store.keep("units_in_cells", values, split_by="day", segments=experiment.segments,
                         covariates=covariates, attributes=names)  # fmt: skip
        for day in todo:
            digest = key(store.query("digest", {"files": [str(new[day])]}), read)
            file = store.move(new[day], f"cohorts/{experiment.key}/{day}-{digest}")
            store.write(places[day], {"file": file, "digest": digest})
        _remove_folders(new)
    return {day: store.read(place) for day, place in places.items()}


def _counted(
    store: Store, experiment: Experiment, units: Mapping[str, dict[str, str]], crossed: Sequence[str]
) -> list[Cohort]:
    """The cohorts with their units by cell; a unit that was seen in another variant is counted apart."""
    crossings = {}
    if crossed:
        rows = store.query("crossings", {"crossed": store.paths(crossed)})
        crossings = {str(row["enrolled_on"]): row["digest"] for row in rows}
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
    """Read the attribute sources of an experiment, if they may have changed since a night last did.

    Parameters
    ----------
    store : Store
        Keeps a copy of the columns that are needed.
    experiment : Experiment
        Its segments and covariates.
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
    for source in experiment.attributes.values():
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
        return {**columns, **_no_attributes(store, segments, covariates)}
    (path,) = new.values()
    (counts,) = store.query("attribute_counts", {"file": str(path)}, covariates=covariates)
    digest = key(counts.pop("digest"), columns)
    if counts["units_found"] < counts["rows_found"] or counts["not_finite"]:
        _remove_folders(new)
        raise Suspicious
    file = store.move(path, f"attributes/{source.name}-{digest}")
    _remove_folders(new)
    return {**columns, "file": file, "digest": digest}


def _no_attributes(store: Store, segments: Sequence[str], covariates: Sequence[str]) -> dict:
    """A file without rows, which a table that is empty is joined as."""
    import pyarrow.parquet

    kinds = [("unit_id", pyarrow.string()), *((f"segment_{name}", pyarrow.string()) for name in segments),
             *((f"covariate_{name}", pyarrow.float64()) for name in covariates)]  # fmt: skip
    path = store.folder / f"empty-{key(kinds)}.parquet"
    pyarrow.parquet.write_table(pyarrow.schema(kinds).empty_table(), path)
    return {"file": path.name, "digest": "empty"}


def covariates_of(experiment: Experiment) -> list:
    """The covariates of an experiment's metrics, each once, in the order of the metrics."""
    return list(dict.fromkeys(metric.covariate for metric in experiment.metrics.values() if metric.covariate))


def _nobody() -> pyarrow.Table:
    texts = [("unit_id", pyarrow.string()), ("variant", pyarrow.string())]
    return pyarrow.schema([*texts, ("enrolled_on", pyarrow.date32())]).empty_table()


def _remove_folders(*new: Mapping) -> None:
    for paths in new:
        for path in paths.values():
            shutil.rmtree(path.parent.parent, ignore_errors=True)
