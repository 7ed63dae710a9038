"""A night of one experiment out of the state, which is brought up to date first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from abtest_lib.definitions import Experiment, Metric, NightLimit, OutcomeSource, without
from abtest_lib.queries import NightQueries
from abtest_lib.state.enrolment import Activations, Cohort, enrolment, read_attributes
from abtest_lib.state.limits import left_out
from abtest_lib.state.partitions import ExposurePartitions, OutcomePartitions, Partitions, Suspicious
from abtest_lib.state.store import Reading, Store, readings
from abtest_lib.state.totals import days_needed, moments


@dataclass
class Found:
    """What a night found: rows of ``units.sql``, ``assigned_units.sql`` and ``moments.parquet``, and their sources."""

    units: list[dict] = field(default_factory=list)
    assigned: Sequence[dict] = ()
    otherwise: Sequence[dict] = ()
    moments: list[dict] = field(default_factory=list)
    events: dict[str, dict[str, dict]] = field(default_factory=dict)
    counts: dict[str, dict[str, dict]] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    partitions: dict[str, Partitions] = field(default_factory=dict)
    known_by: Mapping[str, dt.datetime] = field(default_factory=dict)
    cohorts: Sequence[Cohort] = ()
    left_out: list[dict] = field(default_factory=list)

    def delays(self, source: OutcomeSource, lags: Sequence[int], start: dt.date, end: dt.date) -> list[dict]:
        """By day, rows of a source and how many came later than each lag; see ``NightQueries.delays``."""
        return self.partitions[source.name].delays(lags, start, end, self.known_by[source.name])


def read(
    store: Store,
    experiment: Experiment,
    as_of: dt.date,
    queries: NightQueries,
    known_by: Mapping[str, dt.datetime],
    groups: Iterable[list[Metric]],
    metrics: Iterable[Metric],
) -> Found:
    """Bring the state up to date for a night, and read the night from it.

    Parameters
    ----------
    store : Store
        Of the warehouse.
    experiment : Experiment
        What to read.
    as_of : date
        The night.
    queries : NightQueries
        To the warehouse.
    known_by : mapping
        By source, the moment whose knowledge the night has.
    groups : iterable of list of Metric
        The experiment's metrics that mature together.
    metrics : iterable of Metric
        All metrics of the catalogue: what they need of a partition is read along with it.

    Returns
    -------
    Found
        Of the night.

    Raises
    ------
    Suspicious
        If a row breaks a promise.
    DataError
        If the warehouse refuses a statement.
    """
    found = Found(known_by=known_by)
    exposures = _exposures(store, experiment, as_of, queries, found)
    attributes, attribute_readings = read_attributes(store, experiment, queries)
    found.readings += attribute_readings
    if experiment.night_limit != NightLimit():
        experiment = _limited(store, experiment, as_of, queries, found)
    everyone = [*experiment.parts, *metrics]
    own = experiment.parts
    for source in experiment.outcomes.values():
        partitions = found.partitions[source.name] = Partitions(OutcomePartitions(store, source, everyone), queries)
        needed = days_needed(experiment, list(experiment.metrics.values()), as_of, source.name)
        values = {part.value for part in own if part.source == source.name and part.value}

        def finite(days: Mapping[str, dict], values: set[str] = values) -> None:
            if any(entry["not_finite"][value] for entry in days.values() for value in values):
                raise Suspicious

        found.events[source.name] = partitions.up_to_date(
            as_of, known_by[source.name], lambda record, days=needed: days, finite
        )
        found.readings += partitions.readings
        found.counts[source.name] = partitions.of.as_known(found.events[source.name], known_by[source.name])
    activations = None
    if activation := experiment.activation:
        activations = Activations(found.events[activation.source], known_by[activation.source])
    enrolled = enrolment(store, experiment, exposures, known_by[experiment.exposures.name], attributes, activations)
    found.cohorts, found.assigned, found.otherwise = enrolled.cohorts, enrolled.assigned, enrolled.otherwise
    found.units = [{**row, "segment": _attribute(experiment, row["segment"]), "exposed_on": cohort.day,
                    "in_dates": experiment.starts_on <= cohort.day < experiment.counts_until}
                   for cohort in enrolled.cohorts for row in cohort.counts]  # fmt: skip
    of = {name: partitions.of for name, partitions in found.partitions.items()}
    groups = [one for group in groups if (one := [m for m in group if m.name in experiment.metrics])]
    found.moments = moments(store, experiment, groups, as_of, enrolled, of, found.events, known_by)
    return found


def _limited(store: Store, experiment: Experiment, as_of: dt.date, queries: NightQueries, found: Found) -> Experiment:
    """The experiment without the metrics that the night may not read."""
    rows = {}
    for source in experiment.outcomes.values():
        partitions = Partitions(OutcomePartitions(store, source, experiment.parts), queries)
        needed = days_needed(experiment, list(experiment.metrics.values()), as_of, source.name)
        rows[source.name] = partitions.rows_to_read(found.known_by[source.name], needed)
    found.left_out = left_out(experiment, as_of, rows, readings(store.results))
    return without(experiment, {one["metric"] for one in found.left_out})


def absolve(store: Store, experiment: Experiment, queries: NightQueries) -> None:
    """Forget that exposures of an experiment broke a promise, and the days that they may be of.

    Parameters
    ----------
    store : Store
        Of the warehouse.
    experiment : Experiment
        Whose raw table was found to be in order.
    queries : NightQueries
        To the warehouse.
    """
    Partitions(ExposurePartitions(store, experiment.exposures), queries).absolve(experiment.key)


def _exposures(
    store: Store, experiment: Experiment, as_of: dt.date, queries: NightQueries, found: Found
) -> dict[str, dict]:
    """The entries of the exposure source's record by day, brought up to date."""
    source, name = experiment.exposures, experiment.key
    partitions = Partitions(ExposurePartitions(store, source), queries)

    def days(record: dict) -> list[dt.date]:
        if name in record["suspects"]:
            raise Suspicious
        # Days that were put right may have exposures of experiments that had none there before.
        listed = {*record["exposed_on"].get(name, ()), *record["unlisted"]}
        return [dt.date.fromisoformat(day) for day in listed if day < str(as_of)]

    def promised(entries: Mapping[str, dict]) -> None:
        own = [one for entry in entries.values() if (one := entry["experiments"].get(name))]
        seen = {variant for one in own for variant in one["variants"]}
        if not own or any(one["without_unit"] for one in own) or not seen <= set(experiment.weights):
            raise Suspicious

    exposures = partitions.up_to_date(as_of, found.known_by[source.name], days, promised)
    found.readings += partitions.readings
    return exposures


def _attribute(experiment: Experiment, number: int) -> str | None:
    return None if number < 0 else experiment.segments[number].attribute
