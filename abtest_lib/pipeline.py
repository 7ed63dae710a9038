"""The steps of a night, in order: each is a task in Airflow and a verb of the command line.

``outcomes_ready`` and ``collect`` ask the warehouse; every later step knows only the night's folder, reads what the
steps before it wrote there, and adds one file. ``report`` makes the night the current one when it is whole.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from abtest_lib import __version__, results
from abtest_lib.definitions import Experiment, experiment_from_json
from abtest_lib.errors import DataError
from abtest_lib.warehouse import Warehouse

log = logging.getLogger(__name__)  # Airflow shows it in the log of the task

STEPS = ("collect", "sample_ratio", "significance", "segments", "guardrails", "decide", "report")


class Withheld(Exception):
    """A step that reads effects was asked for, but the sample ratio failed: there is nothing it may say."""


@dataclass(frozen=True)
class Waiting:
    """A source that is not complete for the last day of data, and how that shows."""

    source: str
    reason: str


def outcomes_ready(experiment: Experiment, as_of: dt.date, warehouse: Warehouse) -> list[Waiting]:
    """Which sources are not yet complete for the last day of data?

    Parameters
    ----------
    experiment : Experiment
        Its exposures and every outcome source of its metrics are looked at.
    as_of : date
        The night reads data before 00:00 UTC of this date.
    warehouse : Warehouse
        Open for reading.

    Returns
    -------
    list of Waiting
        Empty when the night can be collected.

    Raises
    ------
    DataError
        If a table or column is missing.

    Examples
    --------
    >>> outcomes_ready(experiment, dt.date(2026, 3, 3), warehouse)
    []
    >>> outcomes_ready(experiment, dt.date(2026, 3, 10), warehouse)[1]
    Waiting(source='purchases', reason='2026-03-09 is not in the load log')
    """
    from abtest_lib.queries import NightQueries

    queries = NightQueries(experiment, as_of, warehouse)
    queries.check_tables()
    sources = [experiment.exposures, *experiment.outcomes.values()]
    last_day = as_of - dt.timedelta(days=1)
    if experiment.load_log:
        late = [s.name for s in sources if queries.complete_at(s.name, experiment.load_log) is None]
        return [Waiting(name, f"{last_day} is not in the load log") for name in late]
    # Enrolment over, no exposure comes any more: only outcomes can be late.
    open_sources = sources if last_day < experiment.ends_on else sources[1:]
    late = [source.name for source in open_sources if not queries.rows_since_last_day(source)]
    return [Waiting(name, f"has no row of {last_day} or later") for name in late]


def collect(experiment: Experiment, as_of: dt.date, warehouse: Warehouse, results_folder: Path | str) -> Path:
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

    Returns
    -------
    Path
        The revision's folder with ``definition.json``, ``exposure.json`` and ``moments.parquet``.

    Raises
    ------
    DataError
        If a source is not complete, or the warehouse broke a promise; every problem is named.

    Examples
    --------
    >>> collected = collect(experiment, dt.date(2026, 3, 3), warehouse, results_folder)
    >>> sorted(path.name for path in collected.iterdir())
    ['definition.json', 'exposure.json', 'moments.parquet']
    """
    from abtest_lib.collection import read_night

    if waiting := outcomes_ready(experiment, as_of, warehouse):
        missing = "; ".join(f"{w.source}: {w.reason}" for w in waiting)
        raise DataError(
            f"{experiment.key}, {as_of}: the data is not complete: {missing}. Run again when it has been loaded."
        )
    read = read_night(experiment, as_of, warehouse)
    definition = json.dumps(experiment.as_json(), sort_keys=True).encode()
    exposure = json.dumps(read.exposure, sort_keys=True).encode()
    moments = _parquet(read.moments)
    revision = results.revision_name(__version__.encode(), str(as_of).encode(), definition, exposure, moments)
    night = Path(results_folder) / experiment.key / as_of.isoformat() / revision
    results.write_json(night / "definition.json", experiment.as_json())
    results.write_json(night / "exposure.json", read.exposure)
    results.write_bytes(night / "moments.parquet", moments)
    log.info("%s, %s: exposed %s; mature %s", experiment.key, as_of, read.exposure["units"],
             {row["metric"]: sum(row["matured"].values()) for row in read.exposure["maturity"]})  # fmt: skip
    return results.point(night, results.COLLECTED)


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
    from abtest_lib import readings

    return _write(night, "significance", readings.significance(definition(night), as_of(night), _moments(night)))


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
    from abtest_lib import readings

    experiment, day = definition(night), as_of(night)
    rows = readings.segments(experiment, day, _moments(night))
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
    from abtest_lib import readings

    return _write(night, "guardrails", readings.guardrails(definition(night), as_of(night), _moments(night)))


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


def report(night: Path) -> Path:
    """Write the report in all its forms and make this revision the night's current one.

    Parameters
    ----------
    night : Path
        The revision's folder.

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
    from abtest_lib.report import write

    path = write(night, results.read_json(night / "results.json"), results.history(night))
    results.point(night, results.CURRENT)
    return path


def run(experiment: Experiment, as_of: dt.date, warehouse: Warehouse, results_folder: Path | str) -> Path:
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
    night = collect(experiment, as_of, warehouse, results_folder)
    sample_ratio(night)
    for step in (significance, segments, guardrails):
        try:
            step(night)
        except Withheld:
            continue  # decide and report say why there are no effects
    decide(night)
    report(night)
    return night


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


def _read(night: Path, name: str):
    path = night / f"{name}.json"
    try:
        return results.read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: is not there; run the step that writes it first.") from None


def _write(night: Path, name: str, document) -> Path:
    return results.write_json(night / f"{name}.json", document)


def _moments(night: Path) -> list[dict]:
    import pyarrow.parquet

    ratio = _read(night, "sample_ratio")
    if not ratio["healthy"]:
        raise Withheld(f"{night.parent.parent.name}, {night.parent.name}: withheld, because {ratio['reason']}")
    return pyarrow.parquet.ParquetFile(night / "moments.parquet").read().to_pylist()


def _parquet(rows: list[dict]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    # Only metrics with a covariate have its columns; from_pylist would take the first row's columns for all.
    names = dict.fromkeys(name for row in rows for name in row)
    pyarrow.parquet.write_table(pyarrow.table({name: [row.get(name) for row in rows] for name in names}), buffer)
    return buffer.getvalue()
