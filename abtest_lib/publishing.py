"""Makes a night the current one, and keeps true what the reports of later nights say of it.

A report tells of the nights before it. When an earlier night is published after a later one, or anew with other
numbers, the later report is written again: nights in any order, or several at once, end with the same files. Each
report's folder says which revisions it tells of, so whatever a killed process left is found and written by the next.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from abtest_lib import results
from abtest_lib.failures import error_text
from abtest_lib.report import write

log = logging.getLogger(__name__)
TELLS_OF = "tells_of.json"


def publish(night: Path, reason: str | None = None) -> Path:
    """Write a night's report, make its revision the current one, and bring the reports of later nights up to date.

    Parameters
    ----------
    night : Path
        A revision's folder with ``results.json``.
    reason : str, optional
        As for `abtest_lib.results.publish`.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    FileNotFoundError
        If ``decide`` has not run.

    Examples
    --------
    >>> publish(night).name, results.read_json(night / "tells_of.json")
    ('report.html', {})
    """
    experiment = night.parents[1]
    with alone(experiment):
        path = write_report(night)
        results.publish(night, reason)
        settle(experiment)
    return path


def write_report(night: Path) -> Path:
    """Write a night's report as the nights before it stand now; whoever calls it has the experiment `alone`.

    Parameters
    ----------
    night : Path
        A revision's folder with ``results.json``.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    FileNotFoundError
        If ``decide`` has not run.

    Examples
    --------
    >>> with alone(night.parents[1]):
    ...     write_report(night).name
    'report.html'
    """
    document, history = results.read_json(night / "results.json"), results.history(night)
    # Gone while the files change: a report that is half written tells of nothing.
    (night / TELLS_OF).unlink(missing_ok=True)
    path = write(night, document, history)
    results.write_json(night / TELLS_OF, _before(night, _published(night.parents[1])))
    return path


def settle(experiment: Path) -> list[dt.date]:
    """Write again the current reports that tell of other revisions than the current ones.

    Parameters
    ----------
    experiment : Path
        Its folder in the store; whoever calls it has it `alone`.

    Returns
    -------
    list of date
        The nights whose reports were written; none when nothing earlier than a published night has changed. One that
        cannot be written keeps its old report, and the log says why.

    Raises
    ------
    OSError
        If the store cannot be read or written.

    Examples
    --------
    >>> with alone(night.parents[1]):
    ...     settle(night.parents[1])
    []
    """
    published, written = _published(experiment), []
    for day, name in published.items():
        night = experiment / day / name
        if _told(night) != _before(night, published):
            try:
                write_report(night)
            except (ValueError, KeyError, TypeError) as error:  # one old night must not keep every new one back
                log.warning("%s: its report cannot be written again: %s", night, error_text(error))
                continue
            written.append(dt.date.fromisoformat(day))
    return written


@contextlib.contextmanager
def alone(experiment: Path, *, reading: bool = False) -> Iterator[None]:
    """Wait until nobody else publishes a night of the experiment, and keep others waiting.

    Parameters
    ----------
    experiment : Path
        Its folder in the store.
    reading : bool
        Share it with others who only read reports.

    Raises
    ------
    OSError
        If the store cannot be written.

    Examples
    --------
    >>> with alone(night.parents[1]):
    ...     (night.parents[1] / ".publishing").exists()
    True
    """
    experiment.mkdir(parents=True, exist_ok=True)
    # The lock goes with the process: one that is killed keeps nobody waiting.
    with open(experiment / ".publishing", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH if reading else fcntl.LOCK_EX)
        yield


def _published(experiment: Path) -> dict[str, str]:
    """The name of the current revision of each night that has one, oldest first."""
    found = {}
    for pointer in sorted(experiment.glob(f"????-??-??/{results.CURRENT}")):
        with contextlib.suppress(ValueError):  # a folder that is no night
            found[str(dt.date.fromisoformat(pointer.parent.name))] = pointer.read_text(encoding="utf-8").strip()
    return found


def _before(night: Path, published: dict[str, str]) -> dict[str, str]:
    return {day: name for day, name in published.items() if day < night.parent.name}


def _told(night: Path) -> dict[str, str] | None:
    path = night / TELLS_OF
    return results.read_json(path) if path.is_file() else None
