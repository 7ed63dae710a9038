"""One DAG for the deadline, ``abtest_deadline``: who hears of nights not done by their hour. The runbook.

At ABTEST_DEADLINE_HOUR (UTC, 8 unless set) it looks which experiments have neither a report nor a failure for the
night. It tells each owner of theirs, and the people under ``alerts:`` in ``sources.yaml`` of all of them, by mail and
Slack: one message a person and night, however many experiments wait for the same source. Nights that failed or are held
have been told already. Backfills have no deadline, and neither have manual runs.

``tell_late``   skipped when every night is done; red when nobody could be told (connections ``abtest_smtp``,
                ``abtest_slack``), then clear it: who was told is not told again

By hand: ``abtest late --as-of DATE``, with ``--deliver`` to tell.
"""

from __future__ import annotations

import datetime as dt

from abtest_connections import (
    experiments_folder,
    if_connected,
    results_folder,
    slack_endpoint,
    smtp_server,
    warehouse_if_connected,
)
from abtest_links import dag_url
from abtest_tasks import AS_OF, EVERY_TASK, HAS_ITS_HOUR, hour
from airflow.sdk import DAG, CronDataIntervalTimetable, task
from airflow.sdk.exceptions import AirflowSkipException


@task(**HAS_ITS_HOUR)
def tell_late(as_of: str) -> list[str]:
    from abtest_lib import deadlines

    night = dt.date.fromisoformat(as_of)
    with warehouse_if_connected() as warehouse:
        late = deadlines.late_nights(experiments_folder(), results_folder(), night, warehouse=warehouse)
    if not late:
        raise AirflowSkipException("Every night is done.")
    return deadlines.tell_late(
        late,
        as_of,
        experiments_folder=experiments_folder(),
        results_folder=results_folder(),
        server=if_connected(smtp_server),
        slack=if_connected(slack_endpoint),
        link=lambda key: dag_url(f"abtest__{key}"),
    )


with DAG(
    dag_id="abtest_deadline",
    description="Tells owners and the people on call which nights are not done by their hour.",
    doc_md=__doc__,
    # Before any experiment; only the latest night is run, because catchup is off.
    start_date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    default_args=EVERY_TASK,
    tags=["abtest", "deadline"],
    schedule=CronDataIntervalTimetable(f"0 {hour('ABTEST_DEADLINE_HOUR', 8)} * * *", "UTC"),
    catchup=False,
    max_active_runs=1,
    allowed_run_types=["scheduled"],
    dagrun_timeout=dt.timedelta(hours=12),
    is_paused_upon_creation=False,
):
    tell_late(AS_OF)
