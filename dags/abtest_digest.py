"""One DAG for the digests, ``abtest_digest``: one message for each team and night. This text is the runbook.

The run with the data interval ending on D makes the digests *as of* D, of the same nights as the experiments' DAGs. It
runs at ABTEST_DIGEST_HOUR (UTC, 6 unless set) and waits for nothing: an experiment without a result by then is named in
the digest with the reason. When all of a night's experiments have ended before, well or badly, the one that ends last
adds an event to the asset ``abtest_night_ended``, and a run without a data interval makes the digests at once; the
run at the hour then sends only what has changed since.

``subscriptions``   reads ``subscriptions.yaml``; red when a line is wrong, and the others go on without that entry
``teams``           the teams that have an experiment on this night; the tasks of ``digest`` run once for each
``digest.write``    writes ``<results>/_digest/<date>/<team>/<revision>/``
``digest.deliver_email``, ``digest.deliver_slack``   send it to those who subscribe; skipped when there is no news
``alert``           runs last; tells the people under ``alerts:`` in ``sources.yaml`` what failed

When a night has been repaired after its digest was sent, clear ``digest.write`` of the team with *downstream*: if the
digest says something else now, it is sent once more, in the same thread and marked as corrected. By hand:
``abtest digest --as-of DATE --team TEAM --deliver``.

For a past night D backfill from D - 1 to D: its interval begins on D - 1 at this hour. A backfill writes, and sends
nothing unless ``deliver`` is ticked. Manual runs are refused: one at an odd hour would tell of another night than it
says.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

from abtest_connections import (
    experiments_folder,
    if_connected,
    results_folder,
    slack_endpoint,
    smtp_server,
    warehouse_if_connected,
)
from abtest_nights import NIGHT_ENDED, night_of
from abtest_tasks import DELIVER, EVERY_TASK, HAS_ITS_HOUR, hour, skip_unless_delivered
from abtest_timetables import DataDaysTimetable
from airflow.sdk import (
    DAG,
    AssetOrTimeSchedule,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout

# A run that the asset started has no data interval; its events name the night.
AS_OF = "{{ night_of(data_interval_end | default(none), triggering_asset_events) }}"
TEAM = "{{ task.op_kwargs['team'] or 'no team' }}"


@task
def subscriptions(as_of: str) -> int:
    from abtest_lib.subscriptions import load_subscriptions

    with _step("subscriptions", as_of):
        return len(load_subscriptions(experiments_folder()))


@task
def teams(as_of: str) -> list[str | None]:
    from abtest_lib import digest

    with _step("teams", as_of):
        return digest.teams(experiments_folder(), dt.date.fromisoformat(as_of))


@task(map_index_template=TEAM, **HAS_ITS_HOUR)
def write(team: str | None, as_of: str) -> str:
    from abtest_lib import digest

    with _step("write", as_of, team), warehouse_if_connected() as warehouse:
        folder = digest.write(
            experiments_folder(), results_folder(), dt.date.fromisoformat(as_of), team=team, warehouse=warehouse
        )
        return str(folder)


@task(map_index_template=TEAM)
def deliver_email(team: str | None, as_of: str, folder: str) -> list[str]:
    from abtest_lib import digest_delivery

    with _step("deliver_email", as_of, team):
        return digest_delivery.deliver_digest_email(_news(folder), smtp_server, experiments_folder())


@task(map_index_template=TEAM)
def deliver_slack(team: str | None, as_of: str, folder: str) -> list[str]:
    from abtest_lib import digest_delivery

    with _step("deliver_slack", as_of, team):
        return digest_delivery.deliver_digest_slack(_news(folder), slack_endpoint, experiments_folder())


@task
def alert(as_of: str) -> list[str]:
    from abtest_lib import digest, digest_delivery, failures

    context = get_current_context()
    run_id, instance = context["run_id"], context["ti"]
    states = instance.get_task_states(dag_id=instance.dag_id, run_ids=[run_id])[run_id]
    if "failed" not in states.values():
        raise AirflowSkipException("Nothing failed.")
    recorded = failures.read(results_folder(), digest.FOLDER, as_of)
    return digest_delivery.alert_of_digest(
        as_of,
        recorded or {"digest": "A task ended without a message; see its log."},
        experiments_folder=experiments_folder(),
        results_folder=results_folder(),
        server=if_connected(smtp_server),
        slack=if_connected(slack_endpoint),
    )


@task_group(group_id="digest")
def team_digest(team: str | None) -> None:
    folder = write(team=team, as_of=AS_OF)
    deliver_email(team=team, as_of=AS_OF, folder=folder)
    deliver_slack(team=team, as_of=AS_OF, folder=folder)


def _news(folder: str):
    """The digest's folder, unless it is not to be sent."""
    from pathlib import Path

    from abtest_lib import results

    skip_unless_delivered()
    quiet = results.read_json(Path(folder) / "delivery.json")["quiet"]
    if quiet:
        raise AirflowSkipException(f"Nothing is sent: {quiet}.")
    return Path(folder)


@contextmanager
def _step(task_id: str, as_of: str, team: str | None = "") -> Iterator[None]:
    """Keep the reason of a failure where `alert` finds it; a new try starts without one."""
    from abtest_lib import digest, failures

    name = task_id if team == "" else f"{task_id} {digest.slug(team)}"
    failures.clear(results_folder(), digest.FOLDER, as_of, name)
    try:
        yield
    except AirflowSkipException:
        raise
    except (Exception, AirflowTaskTimeout) as error:
        failures.record(results_folder(), digest.FOLDER, as_of, name, error)
        raise


with DAG(
    dag_id="abtest_digest",
    description="One message for each team and night: every experiment in a line, the most urgent first.",
    doc_md=__doc__,
    # Before any experiment; only the latest night is run, because catchup is off.
    start_date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    default_args=EVERY_TASK,
    tags=["abtest", "digest"],
    params={"deliver": DELIVER},
    user_defined_macros={"night_of": night_of},
    schedule=AssetOrTimeSchedule(
        timetable=DataDaysTimetable(f"0 {hour('ABTEST_DIGEST_HOUR', 6)} * * *"), assets=NIGHT_ENDED
    ),
    catchup=False,
    # One at a time, in order: what is news depends on what was sent for the nights before.
    max_active_runs=1,
    # Manual ones are refused by the timetable; refused here, the UI would take the form of the backfill away too.
    allowed_run_types=["scheduled", "asset_triggered", "backfill", "manual"],
    dagrun_timeout=dt.timedelta(hours=12),
    is_paused_upon_creation=False,
):
    # A teardown, because it runs whatever became of the others, and because the state of the run is then theirs.
    [subscriptions(AS_OF), team_digest.expand(team=teams(AS_OF))] >> alert(AS_OF).as_teardown()
