"""The asset that starts the digest: the last experiment of a scheduled night to end adds an event to it."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from abtest_connections import experiments_folder, results_folder
from abtest_tasks import made_up
from airflow.sdk import Asset, AssetAlias

log = logging.getLogger(__name__)

NIGHT_ENDED = Asset("abtest_night_ended")
# A task whose outlet is an alias adds an event only when it says so.
LAST_OF_NIGHT = AssetAlias("abtest_night")


def end_night(context: Mapping[str, Any], key: str, as_of: str) -> bool:
    """Note that a scheduled night has ended; the last one of its date starts the digest.

    Parameters
    ----------
    context : mapping
        Airflow's, of a task with the outlet `LAST_OF_NIGHT`. The event is added only if that task ends green.
    key, as_of : str
        The experiment and its night.

    Returns
    -------
    bool
        Whether this was the last. Never for a backfill, for a night that was made up late, or for a run that was
        cleared: what is redone later is told by whoever redoes it.
    """
    from abtest_lib import nights

    run = context["dag_run"]
    if run.run_type != "scheduled":
        return False
    try:
        last = nights.end(experiments_folder(), results_folder(), key, dt.date.fromisoformat(as_of))
    except Exception as problem:  # the digest has its hour; the alert that this task is for does not wait for it
        log.warning("It is not known whether this was the last experiment of the night: %s", problem)
        return False
    if not last or run.clear_number or made_up(context):
        return False
    log.info("Every experiment of the night as of %s has ended: the digest starts.", as_of)
    context["outlet_events"][LAST_OF_NIGHT].add(NIGHT_ENDED, extra={"as_of": as_of})
    return True


def night_of(interval_end: dt.datetime | None, events: Mapping[Any, Sequence[Any]]) -> str:
    """Say which night a run of the digest is about, as ``YYYY-MM-DD``.

    Parameters
    ----------
    interval_end : datetime or None
        The end of the run's data interval; None when events started it.
    events : mapping
        Airflow's ``triggering_asset_events``.

    Returns
    -------
    str
        The day of the interval's end, or the latest night that the events name.

    Raises
    ------
    ValueError
        If no event names a night: it was made by hand.
    """
    if interval_end is not None:
        return f"{interval_end:%Y-%m-%d}"
    named = [event.extra.get("as_of") for of_asset in events.values() for event in of_asset]
    try:
        return max(dt.date.fromisoformat(day) for day in named).isoformat()
    except (TypeError, ValueError):
        raise ValueError(
            f'An event of the asset {NIGHT_ENDED.name} must hold the night, as in {{"as_of": "2026-03-03"}}; '
            f"those of this run hold {named}. To write the digest of a past night, backfill abtest_digest."
        ) from None
