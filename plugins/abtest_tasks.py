"""What the DAGs have in common: how a task is tried again, when a run delivers, the night that a run is about."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, Param, RetryAction, RetryRule, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from abtest_lib.errors import DataError, DefinitionError

# Tasks that ask the warehouse run in it; abtest_pools makes it.
WAREHOUSE_POOL = "abtest_warehouse"
# What has its hour does not wait in the pool behind nights that are late. A night's last task has a weight of 11 or 12.
HAS_ITS_HOUR = {"pool": WAREHOUSE_POOL, "priority_weight": 100}
AS_OF = "{{ data_interval_end.strftime('%Y-%m-%d') }}"
EVERY_TASK = {
    "retries": 2,
    "retry_delay": dt.timedelta(seconds=float(os.environ.get("ABTEST_RETRY_SECONDS") or 60)),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": dt.timedelta(minutes=10),
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=[DefinitionError, DataError],
                action=RetryAction.FAIL,
                reason="another try would read the same definition and the same data",
            )
        ]
    ),
    "execution_timeout": dt.timedelta(minutes=20),
    # Nights that are under way end before others begin: the first reports are there early, and the scheduler has fewer
    # runs to look at. Airflow's own order would collect all 500 before the first is analysed.
    "weight_rule": "upstream",
}
# Airflow's form sends the parameters of a backfill only then, even for nights that never ran.
OVERRIDE = "**Tick *Override parameters on existing runs* above, or this is ignored.**"
DELIVER = Param(
    False,
    type="boolean",
    title="Deliver",
    description_md="Backfills only: also send what each night writes by e-mail and Slack. Off: it is written and "
    "nobody gets a message. Scheduled nights always deliver. " + OVERRIDE,
)
ACCEPT_INCOMPLETE = Param(
    [],
    type="array",
    items={"type": "string"},
    title="Accept incomplete sources",
    description_md="Backfills only: outcome sources that are taken as they are, although their last day is not whole. "
    "The report says so. A day that is missing altogether is waited for all the same. " + OVERRIDE,
)
REASON = Param(
    None,
    type=["null", "string"],
    minLength=10,
    maxLength=500,
    title="Reason",
    description_md="Backfills only: why these nights are run again, in 10 letters or more. Kept in `published.jsonl` "
    "with each revision that becomes the current one. " + OVERRIDE,
)
ACCEPTED = "{{ params.accept_incomplete | join(',') }}"
# What the sensor hands on: sources that the night goes on without, separated by commas. Airflow 3.3 stores what an
# event gives as JSON within JSON, so that the text comes back in quotes.
LEAVE_OUT = "leave_out"
LEFT_OUT = f"{{{{ (ti.xcom_pull(task_ids='outcomes_ready', key='{LEAVE_OUT}') or '') | replace('\"', '') }}}}"


def hour(variable: str, default: int) -> int:
    """Read an hour of the day (UTC) from the environment.

    Raises
    ------
    ValueError
        If it is none.
    """
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) > 23:
        raise ValueError(f"{variable} is '{text}'; it must be an hour from 0 to 23 (UTC).")
    return int(text)


def delivers(context: Mapping[str, Any]) -> bool:
    """Whether what a run writes is sent: but for a backfill without ``deliver``, and a night that was made up late."""
    asked_for = context["dag_run"].run_type in ("backfill", "manual")
    return bool(context["params"]["deliver"]) if asked_for else not made_up(context)


def made_up(context: Mapping[str, Any]) -> bool:
    """Whether a scheduled run only began when the next night had ended too, so that it says old news.

    What counts is when the run began, not when its data came: a source that is always a day late makes every night
    late, and each of them is news. Whoever clears a run wants it done, so a cleared one is none.
    """
    run = context["dag_run"]
    # Nights run one at a time, and one that waits for its data may keep the next from beginning for this long.
    usual = dt.timedelta(hours=max(24.0, float(os.environ.get("ABTEST_WAIT_HOURS") or 24)))
    scheduled = run.run_type == "scheduled" and not run.clear_number
    return scheduled and run.start_date - context["data_interval_end"] >= usual


def skip_unless_delivered() -> None:
    """End a task that delivers as skipped in a backfill, unless ``deliver`` is ticked, and in a night made up late.

    Raises
    ------
    AirflowSkipException
        In such a run.
    """
    context = get_current_context()
    if made_up(context):
        raise AirflowSkipException(
            "This night was missed and made up days later: its report is written, and the newest night's is sent. To "
            "send this one all the same, clear this task."
        )
    if not delivers(context):
        raise AirflowSkipException("A backfill delivers only when 'deliver' is ticked in its form.")
