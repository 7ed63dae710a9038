"""For what a night waits, since when and until when: a file beside its results, there as long as it waits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from abtest_lib import results

if TYPE_CHECKING:
    from abtest_lib.pipeline import Waiting

FILE = "waiting.json"


def note(
    results_folder: Path | str,
    experiment_key: str,
    as_of: dt.date | str,
    since: dt.datetime,
    until: dt.datetime,
    waiting: Iterable[Waiting],
) -> Path:
    """Say for what a night waits.

    Parameters
    ----------
    results_folder : path
        The folder of all results.
    experiment_key : str
        The experiment.
    as_of : date or str
        The night.
    since, until : datetime
        When the wait began, and when the night is held.
    waiting : iterable of Waiting
        The sources that are not complete.

    Returns
    -------
    Path
        The file, whole at any time.

    Raises
    ------
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from abtest_lib.pipeline import Waiting
    >>> at = dt.datetime(2026, 3, 9, tzinfo=dt.UTC)
    >>> path = note(tempfile.mkdtemp(), "checkout", "2026-03-09", at, at + dt.timedelta(days=1),
    ...             [Waiting("purchases", "2026-03-08 is not in the load log")])
    >>> results.read_json(path)["sources"]
    [{'source': 'purchases', 'reason': '2026-03-08 is not in the load log'}]
    """
    sources = [{"source": one.source, "reason": one.reason} for one in waiting]
    document = {"since": since.isoformat(), "until": until.isoformat(), "sources": sources}
    return results.write_json(_path(results_folder, experiment_key, as_of), document)


def forget(results_folder: Path | str, experiment_key: str, as_of: dt.date | str) -> None:
    """Say that a night waits no more.

    Parameters
    ----------
    results_folder, experiment_key, as_of
        As for `note`; a night that does not wait is left alone.

    Raises
    ------
    OSError
        If the file cannot be removed.

    Examples
    --------
    >>> forget("no results yet", "checkout", "2026-03-09")
    """
    _path(results_folder, experiment_key, as_of).unlink(missing_ok=True)


def _path(results_folder: Path | str, experiment_key: str, as_of: dt.date | str) -> Path:
    return Path(results_folder) / experiment_key / str(as_of) / FILE
