"""What a night leaves out when it would read more of the warehouse than it may."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from abtest_lib.definitions import Experiment
from abtest_lib.errors import DataError

BYTES_A_ROW, SECONDS_A_ROW = 48.0, 1e-6  # of a source that has not been read yet


def left_out(experiment: Experiment, as_of: dt.date, rows: Mapping[str, int], read: Sequence[Mapping]) -> list[dict]:
    """Which secondary metrics does a night leave out, so that it stays within ``night_limit``?

    The last one goes first, with what its sources alone would have cost. What decides is never left out.

    Parameters
    ----------
    experiment : Experiment
        Its ``night_limit`` holds for the night over all experiments.
    as_of : date
        The night.
    rows : mapping
        By outcome source, rows that are still to be read.
    read : sequence of mapping
        What has been read so far, as ``store.readings`` returns it.

    Returns
    -------
    list of dict
        ``metric``, ``title`` and ``reason``; empty when all can be read.

    Raises
    ------
    DataError
        If what decides is too much already.

    Examples
    --------
    >>> left_out(experiment, dt.date(2026, 3, 3), {"purchases": 1_000_000}, [])
    []
    """
    limits = {"bytes": (experiment.night_limit.megabytes or 0) * 1e6, "seconds": experiment.night_limit.seconds or 0}
    found: list[dict] = []
    for unit, most in limits.items():
        if not most:
            continue
        spent = sum(row[unit] for row in read if row["as_of"] == str(as_of))
        cost = {source: count * _each(source, unit, read) for source, count in rows.items()}
        candidates = [name for name in reversed(experiment.secondary) if name not in {one["metric"] for one in found}]
        while (needed := sum(cost[source] for source in _sources(experiment, found))) and spent + needed > most:
            if not candidates:
                raise DataError(
                    f"{experiment.key}, {as_of}: night_limit is {_words(most, unit)} and {_words(spent, unit)} have "
                    f"been read; what decides needs about {_words(needed, unit)} more. Raise it in sources.yaml."
                )
            about = _words(spent + needed, unit)
            reason = f"the night would have read about {about}, its limit is {_words(most, unit)}"
            name = candidates.pop(0)
            found.append({"metric": name, "title": experiment.metrics[name].title, "reason": reason})
    return found


def _sources(experiment: Experiment, found: Sequence[Mapping]) -> set[str]:
    """The outcome sources that are read without the metrics that are left out."""
    without = {one["metric"] for one in found}
    return {part.source for name, metric in experiment.metrics.items() if name not in without for part in metric.parts}


def _each(source: str, unit: str, read: Sequence[Mapping]) -> float:
    """What a row of a source has cost."""
    own = [row for row in read if row["source"] == source and row["rows"]]
    if not own:
        return BYTES_A_ROW if unit == "bytes" else SECONDS_A_ROW
    return sum(row[unit] for row in own) / sum(row["rows"] for row in own)


def _words(amount: float, unit: str) -> str:
    return f"{amount / 1e6:,.1f} MB" if unit == "bytes" else f"{amount:,.1f} seconds"
