"""Runs by hand, with a form: ``abtest_adhoc``. This text is the runbook.

A run of this DAG is no night: it has no data interval, and nothing of it follows from when it was started. *Trigger*
it, choose the experiment and the night (*as of*: data before 00:00 UTC of that date), and

- with **Dry run** on (as it is unless you change it): see which verdicts and numbers would change if the nights from
  *since* to *as of* were run with today's definition. Nothing is published. The answer is the last lines of the log of
  ``dry_run``, its XCom, and the page of the experiment.
- with **Dry run** off: run that one night and publish it, with a reason. It becomes the current revision; what was
  published before stays beside it. Several nights: a backfill of ``abtest__<key>``, which has a reason in its form too.

Nobody gets a mail but the *recipients* that you name, each one once for the same content, and the mail says that it was
sent by hand. The recipients of the nightly reports are left alone, also by a run that publishes.

``check``     refuses what cannot be done, before any work: a date that is no night of the experiment, a missing reason
``dry_run``   computes and compares; skipped when *Dry run* is off
``publish``   the whole night, collect to report; skipped when *Dry run* is on
``deliver``   to the recipients named; skipped when there are none

A task is red
-------------
1. ``check``: the last line of its log says which field is wrong. Trigger again with another form.
2. ``dry_run``, ``publish``: the text names the definition, table or source. A source that is not complete: wait, or
   name it under *Accept incomplete sources*. Nobody is alerted: who started the run reads it here.
3. ``deliver``: clear it. A message that was taken by the server is not sent again.

Two people at once, or one beside the nightly run, wait for each other only while a source is read. When two runs
publish the same night, the later one is current; ``published.jsonl`` beside the revisions has both, with their reasons.
"""

from __future__ import annotations

import datetime as dt

from abtest_connections import experiments_folder, results_folder, smtp_server, warehouse_url
from abtest_tasks import ACCEPT_INCOMPLETE, EVERY_TASK, REASON, WAREHOUSE_POOL
from airflow.sdk import DAG, Param, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from abtest_lib import definitions
from abtest_lib.yaml_fields import EMAIL

# A long range is read night by night.
HOURS = dt.timedelta(hours=6)
# Without null the form marks a list as required.
MAY_BE_EMPTY = {"type": ["null", "array"]}
FORM = {
    "as_of": Param(
        None,
        type="string",
        format="date",
        title="Night (as of)",
        description_md="Data before 00:00 UTC of this date, so the last day of data is the day before.",
    ),
    "dry_run": Param(
        True,
        type="boolean",
        title="Dry run",
        description_md="On: say which verdicts would change, and publish nothing. Off: publish the night.",
    ),
    "since": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Dry run since",
        description_md="Dry runs only: also look at the nights from this one on, such as three weeks back.",
    ),
    "reason": Param(
        None,
        **REASON.schema
        | {"description_md": "Why, in 10 letters or more; required when the night is published. Kept with it, and "
            "put on top of the mail."},
    ),
    "recipients": Param(
        [],
        **MAY_BE_EMPTY,
        items={"type": "string", "pattern": f"^{EMAIL[0].pattern}$"},
        uniqueItems=True,
        maxItems=50,
        title="Recipients",
        description_md="E-mail addresses, one a line: they get the preview or the report, and nobody else does.",
    ),
    "accept_incomplete": Param(
        [],
        **ACCEPT_INCOMPLETE.schema
        | MAY_BE_EMPTY
        | {"description_md": "Outcome sources that are taken as they are, although their last day is not whole. The "
            "report says so."},
    ),
    "reread": Param(
        False,
        type="boolean",
        title="Read anew",
        description_md="Rows were changed in place, without a new load time or a word in the load log: read the "
        "experiment's sources once more.",
    ),
}  # fmt: skip


@task
def check() -> str:
    from abtest_lib import by_hand

    return by_hand.check(_asked(), experiments_folder()).key


@task(execution_timeout=HOURS, pool=WAREHOUSE_POOL)
def dry_run() -> list[str]:
    from abtest_lib import by_hand, warehouse

    asked = _asked()
    if not asked["dry_run"]:
        raise AirflowSkipException("The form asks to publish.")
    with warehouse.connect(warehouse_url()) as source:
        return by_hand.dry_run(asked, experiments_folder(), results_folder(), source)


@task(execution_timeout=HOURS, pool=WAREHOUSE_POOL)
def publish() -> str:
    from abtest_lib import by_hand, warehouse

    asked = _asked()
    if asked["dry_run"]:
        raise AirflowSkipException("The form asks for a dry run.")
    with warehouse.connect(warehouse_url()) as source:
        return str(by_hand.run(asked, experiments_folder(), results_folder(), source))


@task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
def deliver(key: str) -> list[str]:
    from pathlib import Path

    from abtest_lib import by_hand

    asked = _asked()
    if not asked["recipients"]:
        raise AirflowSkipException("The form names no recipients.")
    # Not the tasks' output objects: asking for that of the one that was skipped would log an error.
    found = get_current_context()["ti"].xcom_pull(task_ids="dry_run" if asked["dry_run"] else "publish")
    if asked["dry_run"]:
        return by_hand.mail_preview(key, found, smtp_server(), asked["recipients"], results_folder())
    return by_hand.mail_report(Path(found), smtp_server(), asked["recipients"], asked["reason"])


def _asked() -> dict:
    return dict(get_current_context()["params"])


def _experiment() -> Param:
    """The experiments by the names of their files alone: a thousand cost nothing at parse."""
    keys = [key for key in definitions.experiment_keys(experiments_folder()) if definitions.KEY.fullmatch(key)]
    # An empty list would be no schema: without experiments any name is refused by `check`.
    listed = {"enum": keys} if keys else {}
    return Param(None, type="string", title="Experiment", description_md="The name of its file.", **listed)


with DAG(
    dag_id="abtest_adhoc",
    description="By hand: what would change (dry run), or one night published with a reason.",
    doc_md=__doc__,
    default_args=EVERY_TASK,
    tags=["abtest", "by hand"],
    params={"experiment": _experiment(), **FORM},
    schedule=None,
    catchup=False,
    max_active_runs=4,
    allowed_run_types=["manual"],
    dagrun_timeout=dt.timedelta(hours=12),
    is_paused_upon_creation=False,
):
    checked = check()
    checked >> [dry_run(), publish()] >> deliver(checked)
