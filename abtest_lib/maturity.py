"""How many units does each metric of a night count, and when do the next ones count?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from abtest_lib.collection import DAYS
from abtest_lib.definitions import Experiment, Metric

DAY = dt.timedelta(days=1)


def next_mature_on(experiment: Experiment, metric: Metric, as_of: dt.date, exposure: Mapping) -> dt.date | None:
    """Which is the next night on which more units are mature for a metric?

    Parameters
    ----------
    experiment : Experiment
        Its horizon ends what an open metric counts.
    metric : Metric
        Gives delay, window and lag.
    as_of : date
        The night.
    exposure : mapping
        ``exposure.json``.

    Returns
    -------
    date or None
        None when every unit is mature, or no other will be. Units that come later are not known yet.

    Notes
    -----
    The units of a day of first exposure are all mature when the day after it, the window and the lag have passed.

    Examples
    --------
    >>> day = {"2026-02-24": {"control": 900, "treatment": 880}, "2026-02-25": {"control": 5, "treatment": 7}}
    >>> next_mature_on(experiment, experiment.metrics["conversion"], dt.date(2026, 3, 3), {"cells": {DAYS: day}})
    datetime.date(2026, 3, 5)
    """
    whole = (dt.date.fromisoformat(day) + DAY for day in exposure["cells"].get(DAYS, ()))
    nights = (day + metric.maturity_days * DAY for day in whole)
    night = min((one for one in nights if one > as_of), default=None)
    if metric.is_open and night and night > experiment.decides_on:
        return None
    return night


def maturity_table(experiment: Experiment, as_of: dt.date, exposure: Mapping) -> str:
    """Say for each metric how many units are mature, how many wait, and when the next ones are mature.

    Parameters
    ----------
    experiment, as_of, exposure
        As for `next_mature_on`.

    Returns
    -------
    str
        A line for each metric that was read, under a heading; mature units by variant.

    Examples
    --------
    >>> row = {"metric": "conversion", "matured": {"control": 900, "treatment": 880}, "waiting": {"control": 1200}}
    >>> exposure = {"maturity": [row], "cells": {DAYS: {"2026-02-24": {"control": 1200}}}}
    >>> print(maturity_table(experiment, dt.date(2026, 3, 3), exposure))
    metric      control mature  treatment mature  waiting  next mature on
    conversion             900               880    1,200  2026-03-05
    """
    rows = exposure["maturity"]
    variants = list(rows[0]["matured"]) if rows else []
    table = [["metric", *(f"{name} mature" for name in variants), "waiting", "next mature on"]]
    for row in rows:
        night = next_mature_on(experiment, experiment.metrics[row["metric"]], as_of, exposure)
        counts = [*(row["matured"][name] for name in variants), sum(row["waiting"].values())]
        table.append([row["metric"], *(f"{count:,}" for count in counts), str(night or "-")])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, counts, widths[1:-1]), night])
        for first, *counts, night in table
    )
