"""The steps of a night, in order: each is a task in Airflow and a verb of the command line.

``outcomes_ready`` and ``collect`` ask the warehouse; every later step knows only the night's folder, reads what the
steps before it wrote there, and adds one file. ``report`` makes the night the current one when it is whole.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from abtest_lib import __version__, failures, results, waits
from abtest_lib.definitions import Experiment, Metric, experiment_from_json, without
from abtest_lib.errors import DataError
from abtest_lib.warehouse import Warehouse

if TYPE_CHECKING:
    from abtest_lib.cells import Cells
    from abtest_lib.state.store import Reading

log = logging.getLogger(__name__)  # Airflow shows it in the log of the task

STEPS = ("collect", "sample_ratio", "significance", "segments", "guardrails", "decide", "report")


class Withheld(Exception):
    """A step that reads effects was asked for, but the sample ratio failed: there is nothing it may say."""


@dataclass(frozen=True)
class Waiting:
    """A source that is not complete for the last day of data, and how that shows.

    ``incomplete``: its day is there, but unlike those before it; only this can be accepted.
    """

    source: str
    reason: str
    incomplete: bool = field(default=False, repr=False)


def outcomes_ready(
    experiment: Experiment,
    as_of: dt.date,
    warehouse: Warehouse,
    results_folder: Path | str | None = None,
    catalogue: Iterable[Metric] = (),
) -> list[Waiting]:
    """Which sources are not yet complete for the last day of data?

    Parameters
    ----------
    experiment : Experiment
        Its exposures and every outcome source of its metrics are looked at.
    as_of : date
        The night reads data before 00:00 UTC of this date.
    warehouse : Warehouse
        Open for reading.
    results_folder : path, optional
        Counts of days are kept below it; without it they are asked anew.
    catalogue : iterable of Metric, optional
        All metrics of the catalogue, so that experiments ask the same of a source; no night waits for what it does not
        read.

    Returns
    -------
    list of Waiting
        Empty when the night can be collected.

    Raises
    ------
    DataError
        If a table or column is missing, or the experiment had not started.

    Examples
    --------
    >>> outcomes_ready(experiment, dt.date(2026, 3, 3), warehouse)
    []
    >>> outcomes_ready(experiment, dt.date(2026, 3, 10), warehouse)[1].reason
    '2026-03-09 is not in the load log; expected by 2026-03-10 03:00 UTC, usual 03:00'
    """
    from abtest_lib.queries import NightQueries

    if as_of <= experiment.starts_on:
        first = experiment.starts_on + dt.timedelta(days=1)
        raise DataError(
            f"{experiment.key}, {as_of}: is before the first night. starts_on is {experiment.starts_on}, so its first "
            f"night is as of {first}, with the data of {experiment.starts_on}. Ask for later nights, or correct it."
        )
    queries = NightQueries(experiment, as_of, warehouse)
    queries.check_tables()
    if experiment.units:
        return []  # the table is complete when it is there
    from abtest_lib import day_counts
    from abtest_lib.state.store import Store

    sources = [experiment.exposures, *experiment.outcomes.values()]
    last_day = as_of - dt.timedelta(days=1)
    if experiment.load_log:
        late = [source.name for source in sources if queries.complete_at(source.name, experiment.load_log) is None]
        reason = f"{last_day} is not in the load log"
        waiting = [Waiting(name, day_counts.missing(name, last_day, reason, queries).text) for name in late]
    else:
        # Enrolment over, no exposure comes any more: only outcomes can be late.
        open_sources = sources if last_day < experiment.ends_on else sources[1:]
        late = [source.name for source in open_sources if not queries.rows_since_last_day(source)]
        waiting = [Waiting(name, f"has no row of {last_day} or later") for name in late]
    there = [source for source in experiment.outcomes.values() if source.name not in late]
    store = Store(results_folder, warehouse.name) if results_folder is not None else None
    holds = day_counts.holds(experiment, as_of, queries, store, there, catalogue)
    return [*waiting, *(Waiting(hold.source, hold.text, incomplete=True) for hold in holds)]


def blocking(experiment: Experiment, waiting: Iterable[Waiting], accepted: Collection[str]) -> list[Waiting]:
    """Which of the sources that are not complete keep the night back?

    Parameters
    ----------
    experiment : Experiment
        Its outcome sources may be accepted.
    waiting : iterable of Waiting
        What ``outcomes_ready`` returned.
    accepted : collection of str
        Sources that someone takes for this night as they are.

    Returns
    -------
    list of Waiting
        Those not accepted, and those whose day is missing altogether.

    Raises
    ------
    ValueError
        If an accepted source is none of the experiment's.

    Examples
    --------
    >>> half = Waiting("purchases", "2026-03-02 has 480 rows, 46% of the 1,040 expected", incomplete=True)
    >>> blocking(experiment, [half], ["purchases"])
    []
    """
    _check_sources(experiment, accepted, "accepted as it is")
    return [one for one in waiting if not (one.incomplete and one.source in accepted)]


def _check_sources(experiment: Experiment, names: Iterable[str], what: str) -> None:
    unknown = [name for name in names if name not in experiment.outcomes]
    if unknown:
        raise ValueError(
            f"{experiment.key}: '{unknown[0]}' is no outcome source of it, so it cannot be {what}; "
            f"there are: {', '.join(experiment.outcomes) or 'none'}."
        )


def dispensable(experiment: Experiment, waiting: Iterable[Waiting]) -> list[Waiting]:
    """Which of the sources that are not complete can a night do without?

    Parameters
    ----------
    experiment : Experiment
        What decides must be there: its exposures, and the sources of primary metrics, guardrails and activation.
    waiting : iterable of Waiting
        What ``blocking`` returned.

    Returns
    -------
    list of Waiting
        Those that only secondary metrics read.

    Examples
    --------
    >>> late = Waiting("purchases", "2026-03-02 is not in the load log")
    >>> dispensable(experiment, [late]), experiment.metrics["conversion"].source
    ([], 'purchases')
    """
    deciding = without(experiment, experiment.secondary).outcomes
    return [one for one in waiting if one.source in experiment.outcomes and one.source not in deciding]


def collect(
    experiment: Experiment,
    as_of: dt.date,
    warehouse: Warehouse,
    results_folder: Path | str,
    catalogue: Iterable[Metric] = (),
    accepted: Collection[str] = (),
    leave_out: Collection[str] = (),
) -> Path:
    """Read from the warehouse all that the night's numbers are made of, and open the night's revision.

    Parameters
    ----------
    experiment : Experiment
        What to read.
    as_of : date
        The night reads data before 00:00 UTC of this date.
    warehouse : Warehouse
        Open for reading.
    results_folder : path
        The folder of all results.
    catalogue : iterable of Metric, optional
        All metrics of the catalogue: what they need of a source is read along, so that other experiments find it.
    accepted : collection of str, optional
        Outcome sources that are taken as they are, although their last day is not whole; the report says so.
    leave_out : collection of str, optional
        Outcome sources whose secondary metrics are left out if the last day is not complete; the report says so.

    Returns
    -------
    Path
        The revision's folder with ``definition.json``, ``exposure.json`` and ``moments.parquet``.

    Raises
    ------
    DataError
        If a source is not complete, or the warehouse broke a promise; every problem is named.
    ValueError
        If a source that is accepted or left out is none of the experiment's.

    Examples
    --------
    >>> collected = collect(experiment, dt.date(2026, 3, 3), warehouse, results_folder)
    >>> sorted(path.name for path in collected.iterdir())
    ['definition.json', 'exposure.json', 'moments.parquet']
    """
    night, readings = collect_into(
        Path(results_folder), experiment, as_of, warehouse, results_folder, catalogue, accepted, leave_out
    )
    _note_cost(night, readings)
    # However the wait ended, by hand too: the digest must not say that a night is held whose data is here.
    waits.forget(results_folder, experiment.key, as_of)
    failures.clear(results_folder, experiment.key, as_of, "outcomes_ready")
    return results.point(night, results.COLLECTED)


def collect_into(
    folder: Path,
    experiment: Experiment,
    as_of: dt.date,
    warehouse: Warehouse,
    results_folder: Path | str,
    catalogue: Iterable[Metric] = (),
    accepted: Collection[str] = (),
    leave_out: Collection[str] = (),
) -> tuple[Path, Sequence[Reading]]:
    """Do as ``collect`` does, in a folder that need not be the store of results.

    Parameters
    ----------
    folder : Path
        Where the revision is laid down, as ``<folder>/<experiment>/<as_of>/<revision>``.
    experiment, as_of, warehouse, results_folder, catalogue, accepted, leave_out
        As for ``collect``; what nights keep is read and kept below ``results_folder``.

    Returns
    -------
    Path and sequence of Reading
        The revision's folder, to which no pointer leads, and what was read of the warehouse.

    Raises
    ------
    DataError, ValueError
        As ``collect``.

    Examples
    --------
    >>> aside, _ = collect_into(results_folder / "x", experiment, dt.date(2026, 3, 3), warehouse, results_folder)
    >>> aside.name == night.name
    True
    """
    from abtest_lib.collection import read_night
    from abtest_lib.completeness import join_findings
    from abtest_lib.maturity import maturity_table

    catalogue = list(catalogue)
    waiting = outcomes_ready(experiment, as_of, warehouse, results_folder, catalogue)
    keeping = blocking(experiment, waiting, accepted)
    _check_sources(experiment, leave_out, "left out")
    late = [one for one in dispensable(experiment, keeping) if one.source in leave_out]
    if keeping := [one for one in keeping if one not in late]:
        raise DataError(_not_complete(experiment, as_of, keeping))
    left_out = _left_out(experiment, late)
    read = read_night(without(experiment, {one["metric"] for one in left_out}), as_of, warehouse, results_folder,
                      catalogue)  # fmt: skip
    if left_out:
        read.exposure["left_out"] = [*left_out, *read.exposure.get("left_out", ())]
    if joins := [*join_findings(experiment, read.moments), *read.exposure.get("joins", ())]:
        read.exposure["joins"] = joins
    if taken := [one for one in waiting if one not in late]:
        read.exposure["accepted"] = [{"source": one.source, "reason": one.reason} for one in taken]
    definition = json.dumps(experiment.as_json(), sort_keys=True).encode()
    exposure = json.dumps(read.exposure, sort_keys=True).encode()
    moments = _parquet(read.moments)
    revision = results.revision_name(__version__.encode(), str(as_of).encode(), definition, exposure, moments)
    night = folder / experiment.key / as_of.isoformat() / revision
    results.write_json(night / "definition.json", experiment.as_json())
    results.write_json(night / "exposure.json", read.exposure)
    results.write_bytes(night / "moments.parquet", moments)
    log.info("%s, %s: exposed %s\n%s", experiment.key, as_of, read.exposure["units"],
             maturity_table(experiment, as_of, read.exposure))  # fmt: skip
    for one in read.exposure.get("left_out", ()):
        log.warning("%s, %s: %s is left out: %s", experiment.key, as_of, one["metric"], one["reason"])
    return night, read.readings


def sample_ratio(night: Path) -> Path:
    """Test whether units fell into the variants as designed, and write ``sample_ratio.json``.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError
        If ``collect`` has not run.

    Examples
    --------
    >>> sample_ratio(night).name
    'sample_ratio.json'
    """
    from abtest_lib import readings

    ratio = readings.sample_ratio(definition(night), _read(night, "exposure"))
    word, level = "healthy" if ratio["healthy"] else "FAILED", ratio["alarm_below"]
    log.info("sample ratio %s: p = %.2g, alarm below %.2g", word, ratio["pvalue"], level)
    return _write(night, "sample_ratio", ratio)


def significance(night: Path) -> Path:
    """Compare each treatment with control on primary and secondary metrics, and write ``significance.json``.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    Withheld
        If the sample ratio failed.
    FileNotFoundError
        If an earlier step has not run.

    Examples
    --------
    >>> significance(night).name
    'significance.json'
    """
    from abtest_lib import cells, readings

    experiment, found = as_read(night), _moments(night)
    rows = cells.whole_rows(found, experiment)
    return _write(night, "significance", readings.significance(experiment, as_of(night), rows))


def segments(night: Path) -> Path:
    """Compare within each segment and test whether they differ, corrected over all, and write ``segments.json``.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    Withheld
        If the sample ratio failed.
    FileNotFoundError
        If an earlier step has not run.

    Examples
    --------
    >>> segments(night).name
    'segments.json'
    """
    from abtest_lib import cells, readings

    experiment, day, found = definition(night), as_of(night), _moments(night)
    rows = readings.segments(experiment, day, cells.segment_rows(found, experiment))
    differences = readings.heterogeneity(experiment, day, rows)
    return _write(night, "segments", {"segments": rows, "heterogeneity": differences})


def guardrails(night: Path) -> Path:
    """Test each guardrail against its margin, and write ``guardrails.json``.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    Withheld
        If the sample ratio failed.
    FileNotFoundError
        If an earlier step has not run.

    Examples
    --------
    >>> guardrails(night).name
    'guardrails.json'
    """
    from abtest_lib import cells, readings

    experiment, found = definition(night), _moments(night)
    rows = cells.whole_rows(found, experiment)
    return _write(night, "guardrails", readings.guardrails(experiment, as_of(night), rows))


def decide(night: Path) -> Path:
    """Give each treatment its verdict, and write ``results.json`` with every number of the night.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError
        If a step before it has not run.

    Examples
    --------
    >>> decide(night).name
    'results.json'
    """
    from abtest_lib import decision

    ratio = _read(night, "sample_ratio")
    read = {name: _read(night, name) for name in ("significance", "segments", "guardrails")} if ratio["healthy"] else {}
    document = decision.results_document(definition(night), as_of(night), night.name, _read(night, "exposure"), ratio,
                                         read)  # fmt: skip
    for one in document["verdicts"]:
        log.info("%s", decision.one_line(one))
    return results.write_json(night / "results.json", document)


def report(night: Path, reason: str | None = None) -> Path:
    """Write the report in all its forms and make this revision the night's current one.

    Reports of later nights that tell of another revision of this night are written again.

    Parameters
    ----------
    night : Path
        The revision's folder.
    reason : str, optional
        Why somebody asked for this revision. It stands in ``published.jsonl`` and not in the report, whose bytes follow
        from what was read: the same night may be run for another reason.

    Returns
    -------
    Path
        ``report.html``; the files beside it are those of ``abtest_lib.report.write``.

    Raises
    ------
    FileNotFoundError
        If ``decide`` has not run.

    Examples
    --------
    >>> report(night).name
    'report.html'
    """
    from abtest_lib.publishing import publish

    return publish(night, reason)


def run(
    experiment: Experiment,
    as_of: dt.date,
    warehouse: Warehouse,
    results_folder: Path | str,
    catalogue: Iterable[Metric] = (),
    accepted: Collection[str] = (),
    reason: str | None = None,
    leave_out: Collection[str] = (),
) -> Path:
    """Run all steps of one night, the same as the DAG's tasks one after the other, without delivery.

    Parameters
    ----------
    experiment : Experiment
        What to analyse.
    as_of : date
        The night reads data before 00:00 UTC of this date.
    warehouse : Warehouse
        Open for reading.
    results_folder : path
        The folder of all results.
    catalogue, accepted, leave_out : optional
        As for ``collect``.
    reason : str, optional
        As for ``report``.

    Returns
    -------
    Path
        The revision's folder.

    Raises
    ------
    DataError
        As ``collect``.

    Examples
    --------
    >>> whole = run(experiment, dt.date(2026, 3, 3), warehouse, results_folder)
    >>> results.read_json(whole / "results.json")["verdicts"][0]["verdict"]
    'ship'
    """
    night = collect(experiment, as_of, warehouse, results_folder, catalogue, accepted, leave_out)
    analyse(night)
    report(night, reason)
    return night


def analyse(night: Path) -> Path:
    """Run the steps from the sample ratio to the verdict.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    Path
        ``results.json``.

    Raises
    ------
    FileNotFoundError
        If ``collect`` has not run.

    Examples
    --------
    >>> analyse(night).name
    'results.json'
    """
    sample_ratio(night)
    for step in (significance, segments, guardrails):
        try:
            step(night)
        except Withheld:
            continue  # decide and report say why there are no effects
    return decide(night)


def definition(night: Path) -> Experiment:
    """Read the definition that a night was collected with.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    Experiment
        Not today's YAML: the one of the collection.

    Raises
    ------
    FileNotFoundError
        If ``collect`` has not run.

    Examples
    --------
    >>> definition(night).key
    'one_page_checkout'
    """
    return experiment_from_json(_read(night, "definition"))


def as_read(night: Path) -> Experiment:
    """Read the definition of a night without the metrics that it left out.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    Experiment
        As ``definition``, within what the night was allowed to read.

    Raises
    ------
    FileNotFoundError
        If ``collect`` has not run.

    Examples
    --------
    >>> as_read(night) == definition(night)
    True
    """
    left_out = _read(night, "exposure").get("left_out", ())
    return without(definition(night), {one["metric"] for one in left_out})


def as_of(night: Path) -> dt.date:
    """The night's date, from its folder.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    date
        The night reads data before 00:00 UTC of this date.

    Raises
    ------
    ValueError
        If the folder is not one of the store.

    Examples
    --------
    >>> as_of(Path("results/one_page_checkout/2026-03-03/0c8f6e2b9d41"))
    datetime.date(2026, 3, 3)
    """
    return dt.date.fromisoformat(night.parent.name)


def _left_out(experiment: Experiment, late: Iterable[Waiting]) -> list[dict]:
    """The secondary metrics that read a late source, as ``exposure.json`` lists them."""
    reasons = {one.source: f"its source {one.source} was not complete: {one.reason}" for one in late}
    found = []
    for name in experiment.secondary:
        metric = experiment.metrics[name]
        sources = [part.source for part in metric.parts if part.source in reasons]
        found += [{"metric": name, "title": metric.title, "reason": reasons[sources[0]]}] if sources else []
    return found


def _not_complete(experiment: Experiment, as_of: dt.date, waiting: Sequence[Waiting]) -> str:
    said = "; ".join(f"{one.source}: {one.reason}" for one in waiting)
    remedy = "Run again when it has been loaded"
    if names := [one.source for one in waiting if one.incomplete]:
        again = f", correct its time in {experiment.load_log.table}" if experiment.load_log else ""
        remedy += f"{again}, or take it as it is: --accept-incomplete {names[0]}"
    if not_needed := dispensable(experiment, waiting):
        remedy += f", or leave out the secondary metrics that read it: --leave-out-late {not_needed[0].source}"
    return f"{experiment.key}, {as_of}: the data is not complete: {said}. {remedy}."


def _note_cost(night: Path, readings: Sequence[Reading]) -> None:
    """Say beside the night's revisions what was read for this one; what it cost is no part of what it found."""
    line = {"revision": night.name, "collected": [asdict(reading) for reading in readings]}
    with open(night.parent / "cost.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _read(night: Path, name: str):
    path = night / f"{name}.json"
    try:
        return results.read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: is not there; run the step that writes it first.") from None


def _write(night: Path, name: str, document) -> Path:
    return results.write_json(night / f"{name}.json", document)


def _moments(night: Path) -> Cells:
    from abtest_lib.cells import read_cells

    ratio = _read(night, "sample_ratio")
    if not ratio["healthy"]:
        raise Withheld(f"{night.parent.parent.name}, {night.parent.name}: withheld, because {ratio['reason']}")
    return read_cells(night / "moments.parquet")


def _parquet(rows: list[dict]) -> bytes:
    import pyarrow.parquet

    from abtest_lib.arrow_tables import table

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table(rows), buffer)
    return buffer.getvalue()
