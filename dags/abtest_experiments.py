"""One DAG an experiment, ``abtest__<key>``, from the YAML files in ``experiments/``. This text is the runbook.

A night
-------
The run with the data interval [D, D+1) makes the report *as of* D+1: it reads what happened before 00:00 UTC of that
day. Nights run from the day after ``starts_on`` to ``decides_on``. Every task is one call into `abtest_lib`, and can be
repeated by hand with the verb of the same name, ``abtest <task> …``.

``outcomes_ready``   waits, in the triggerer, until the sources are loaded and whole; its log says for what, since when
                     and until when; after ABTEST_WAIT_HOURS (24) the night is held
``collect``          reads the warehouse once, writes the night's folder and hands on its path; its log lists how many
                     units are mature for each metric, and when the next ones are
``sample_ratio``     are the variants as large as designed? If not, the next three are skipped, the verdict is invalid
``significance``, ``segments``, ``guardrails``
``decide``           one verdict a treatment
``report``           writes the report and makes it the current one of its night
``sign_off``         only where the definition says so: waits until somebody approves or rejects a final verdict
``deliver_email``, ``deliver_slack``
``alert_owner``      runs last on every night; skipped when nothing failed, unless it is the last of all experiments and
                     starts the digest

A task is red
-------------
The owner and the people under ``alerts:`` in ``sources.yaml`` have been told which task, why, and what to do. The same
text is the last line of the task's log. Wrong definitions and broken promises of the warehouse fail at once; everything
else is tried three times.

1. ``outcomes_ready``, and the alert says HELD: the text names the source that is missing or not whole, and when it is
   expected. Load it, then clear this task. To analyse without the rest of a day, backfill the night with
   ``accept_incomplete``; with ``when_late: leave_out`` in its YAML an experiment goes on by itself without the
   secondary metrics that read the source. The report says so either way.
2. ``definition`` (the only task of a DAG tagged *broken*): the text names file, line and remedy. The DAG grows its real
   tasks again within a minute of the file's repair; then backfill the nights that were lost.
3. ``collect``: the text names table and column. Repair the data or the definition, then clear this task with
   *downstream*.
4. ``deliver_*``: clear it. A message that was taken by the server is not sent again.
5. ``sign_off``: nobody answered in time. Clear it to ask again, or ``abtest sign`` and deliver by hand. While it waits,
   the answer is given under *Required Actions* of the run.
6. ``alert_owner``: the alert itself could not be delivered. The reasons are in its log; look at the connection
   ``abtest_smtp`` or ``abtest_slack``.

Run a past night again
----------------------
Trigger, *Backfill*, pick the first and last *day of data*. A backfill writes beside what is there and sends nothing,
unless ``deliver`` is ticked in the form; its ``reason`` is kept beside each new revision. Tick *Override parameters on
existing runs* too: without it Airflow drops what the form says. Which verdicts a backfill would change, the DAG
``abtest_adhoc`` says before. Manual runs are refused: one at an odd hour would analyse another day than it says. Cancel
a backfill only to drop its nights: a run that is cleared after a cancel never starts.

Nights that were missed while Airflow was down are made up in order, at most 28, and only the newest is sent. The DAG of
a file that was removed is tagged *gone*: its runs under way fail, and it disappears three days after its last night.

Settings
--------
ABTEST_EXPERIMENTS, ABTEST_RESULTS, ABTEST_WAREHOUSE (or connection ``abtest_warehouse``); connections ``abtest_smtp``
and ``abtest_slack``; ABTEST_POLL_SECONDS (60), ABTEST_WAIT_HOURS (24), ABTEST_RETRY_SECONDS (60).
ABTEST_WAREHOUSE_SLOTS (4) is how many tasks may ask the warehouse at once: the scheduler creates the pool
``abtest_warehouse`` with it, which is changed in the UI from then on (Admin, Pools). The triggerer does not reload
code: restart it after an upgrade. A new or changed YAML needs no restart.
"""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Iterator
from contextlib import contextmanager

from abtest_connections import (
    experiments_folder,
    if_connected,
    results_folder,
    slack_endpoint,
    smtp_server,
    warehouse_url,
)
from abtest_links import report_url, task_url
from abtest_nights import LAST_OF_NIGHT, end_night
from abtest_report_links import add_links
from abtest_sensors import OutcomesReadySensor
from abtest_tasks import (
    ACCEPT_INCOMPLETE,
    ACCEPTED,
    AS_OF,
    DELIVER,
    EVERY_TASK,
    LEFT_OUT,
    REASON,
    WAREHOUSE_POOL,
    skip_unless_delivered,
)
from abtest_timetables import DataDaysTimetable, NightsTimetable
from airflow.sdk import (
    DAG,
    TriggerRule,
    get_current_context,
    get_parsing_context,
    task,
)
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout

from abtest_lib import definitions, failures, sign_off
from abtest_lib.definitions import Experiment, SignOff
from abtest_lib.errors import DefinitionError

PREFIX = "abtest__"
# A template, not the task's output object: that would draw an edge from `collect` to every later task.
NIGHT = "{{ ti.xcom_pull(task_ids='collect') }}"
# A broken file has no dates: its DAG needs some first day, and runs only the latest night because catchup is off.
BROKEN_SINCE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)

FORM = {"deliver": DELIVER, "accept_incomplete": ACCEPT_INCOMPLETE, "reason": REASON}
NIGHTLY = {
    "catchup": False,  # missed nights are made up all the same: NightsTimetable
    # One at a time, in order: the looks of an experiment follow each other.
    "max_active_runs": 1,
    # Manual ones are refused by the timetable; refused here, the UI would take the form of the backfill away too.
    "allowed_run_types": ["scheduled", "backfill", "manual"],
    "dagrun_timeout": dt.timedelta(days=2),
    # A definition that was merged is meant to run; nobody has to find the switch.
    "is_paused_upon_creation": False,
}


@task(doc_md="Reads the warehouse once; every later task works on what it wrote.", pool=WAREHOUSE_POOL)
def collect(key: str, as_of: str, accepted: str, left_out: str) -> str:
    from abtest_lib import definitions, pipeline, warehouse

    names, late = ([name for name in listed.split(",") if name] for listed in (accepted, left_out))
    with _night_step("collect", key, as_of):
        experiment = definitions.load_experiment(experiments_folder(), key)
        with warehouse.connect(warehouse_url()) as source:
            metrics = definitions.load_catalogue(experiments_folder()).metrics.values()
            night = dt.date.fromisoformat(as_of)
            return str(pipeline.collect(experiment, night, source, results_folder(), metrics, names, late))


@task(doc_md="Are the variants as large as designed? If not, the next three are skipped and the verdict is *invalid*.")
def sample_ratio(key: str, as_of: str, night: str) -> str:
    return _analyse("sample_ratio", key, as_of, night)


@task(doc_md="Compares each treatment with control on the primary and secondary metrics.")
def significance(key: str, as_of: str, night: str) -> str:
    return _analyse("significance", key, as_of, night)


@task(doc_md="Compares within each segment, and tests whether segments differ.")
def segments(key: str, as_of: str, night: str) -> str:
    return _analyse("segments", key, as_of, night)


@task(doc_md="Is each guardrail proved safe, proved harmful, or not yet either?")
def guardrails(key: str, as_of: str, night: str) -> str:
    return _analyse("guardrails", key, as_of, night)


@task(doc_md="Gives each treatment its verdict.", trigger_rule=TriggerRule.NONE_FAILED)
def decide(key: str, as_of: str, night: str) -> str:
    return _analyse("decide", key, as_of, night)


@task(doc_md="Writes the report and makes it the current one of its night.")
def report(key: str, as_of: str, night: str) -> str:
    return _analyse("report", key, as_of, night, get_current_context()["params"]["reason"])


@task(doc_md="Sends the report to its recipients, once each. Skipped in a backfill unless *Deliver* is ticked.")
def deliver_email(key: str, as_of: str, night: str) -> list[str]:
    from pathlib import Path

    from abtest_lib import delivery

    with _night_step("deliver_email", key, as_of):
        skip_unless_delivered()
        if not delivery.to_whom(Path(night), experiments_folder()).email:
            raise AirflowSkipException(f"{key}: nobody gets tonight's report by mail (notify, subscriptions.yaml).")
        return delivery.deliver_email(Path(night), smtp_server(), experiments_folder())


@task(doc_md="Posts the report, once in each channel. Skipped in a backfill unless *Deliver* is ticked.")
def deliver_slack(key: str, as_of: str, night: str) -> list[str]:
    from pathlib import Path

    from abtest_lib import delivery

    with _night_step("deliver_slack", key, as_of):
        skip_unless_delivered()
        if not delivery.to_whom(Path(night), experiments_folder()).slack:
            raise AirflowSkipException(f"{key}: no channel gets tonight's report (notify.slack, subscriptions.yaml).")
        return delivery.deliver_slack(Path(night), slack_endpoint(), experiments_folder())


@task(doc_md="The experiment's file is wrong; the log names line and remedy.")
def definition(key: str, as_of: str) -> None:
    with _night_step("definition", key, as_of):
        definitions.load_experiment(experiments_folder(), key)
        raise DefinitionError(
            f"{key}: its definition was wrong when Airflow last read it, and is right now. The DAG gets its tasks back "
            "within a minute; then backfill this night."
        )


@task(doc_md="Tells the owner what failed and what to do. Skipped when nothing failed.", outlets=[LAST_OF_NIGHT])
def alert_owner(key: str, as_of: str) -> list[str]:
    from abtest_lib import delivery

    context = get_current_context()
    last = end_night(context, key, as_of)
    run_id, instance = context["run_id"], context["ti"]
    states = instance.get_task_states(dag_id=instance.dag_id, run_ids=[run_id])[run_id]
    failed = [task_id for task_id, state in states.items() if state == "failed"]
    if not failed and last:
        return []  # green, because a skipped task starts no digest
    if not failed:
        raise AirflowSkipException("Nothing failed.")
    recorded = failures.read(results_folder(), key, as_of)
    links = {f"Log of {task_id}": task_url(context, task_id) for task_id in failed}
    if states.get("report") == "success":
        links["Report"] = report_url(context)
    told = {task_id: recorded.get(task_id, "It ended without a message; see its log.") for task_id in failed}
    return delivery.alert_owner(
        key,
        as_of,
        told,
        experiments_folder=experiments_folder(),
        results_folder=results_folder(),
        server=if_connected(smtp_server),
        slack=if_connected(slack_endpoint),
        links={name: page for name, page in links.items() if page},
    )


def _analyse(step: str, key: str, as_of: str, night: str, *given: str | None) -> str:
    from pathlib import Path

    from abtest_lib import pipeline

    with _night_step(step, key, as_of):
        try:
            return str(getattr(pipeline, step)(Path(night), *given))
        except pipeline.Withheld as reason:
            raise AirflowSkipException(str(reason)) from None


@contextmanager
def _night_step(task_id: str, key: str, as_of: str) -> Iterator[None]:
    """Keep the reason of a failure where `alert_owner` finds it; a new try starts without one."""
    failures.clear(results_folder(), key, as_of, task_id)
    try:
        definitions.check_present(experiments_folder(), key)
        yield
    except AirflowSkipException:
        raise
    except sign_off.Rejected as reason:
        raise AirflowSkipException(str(reason)) from None
    except (Exception, AirflowTaskTimeout) as error:
        failures.record(results_folder(), key, as_of, task_id, error)
        raise


def _experiment_dag(experiment: Experiment) -> DAG:
    key = experiment.key
    with DAG(
        dag_id=PREFIX + key,
        description=experiment.title,
        doc_md=_doc_md(experiment),
        # Nights as of starts_on + 1 … decides_on: the first and last interval begin a day earlier.
        start_date=_midnight(experiment.starts_on),
        end_date=_midnight(experiment.decides_on) - dt.timedelta(days=1),
        default_args={**EVERY_TASK, "owner": experiment.owner},
        tags=_tags(experiment.team, experiment.owner),
        schedule=NightsTimetable(),
        **NIGHTLY,
    ) as dag:
        _night(key, experiment.sign_off)
    # Now and not above: each task would be given copies of them, on which Airflow spends two thirds of the parsing.
    dag.params.update(FORM)
    return dag


def _night(key: str, sign_off: SignOff | None = None) -> None:
    ready = OutcomesReadySensor(
        task_id="outcomes_ready",
        experiment_key=key,
        doc_md="Waits, without using a worker, until every source has the night's last day. Its log says for which.",
    )
    analyses = [step(key, AS_OF, NIGHT) for step in (significance, segments, guardrails)]
    deliveries = [deliver_email(key, AS_OF, NIGHT), deliver_slack(key, AS_OF, NIGHT)]
    ready >> collect(key, AS_OF, ACCEPTED, LEFT_OUT) >> sample_ratio(key, AS_OF, NIGHT) >> analyses
    reported = report(key, AS_OF, NIGHT)
    analyses >> decide(key, AS_OF, NIGHT) >> reported
    if sign_off:
        from abtest_sign_off import SignOffOperator

        signed = SignOffOperator(task_id="sign_off", experiment_key=key, night=NIGHT, sign_off=sign_off)
        reported >> signed >> deliveries
    else:
        reported >> deliveries
    _alert_after([*analyses, *deliveries], key)


def _gone_dag(key: str) -> DAG:
    """The same tasks, which all fail: Airflow never ends the runs of a DAG that is no more."""
    with DAG(
        dag_id=PREFIX + key,
        description="This experiment's file is gone.",
        doc_md="**This experiment's file is gone.** No night is started; those under way fail and say so.",
        start_date=BROKEN_SINCE,
        end_date=BROKEN_SINCE,
        default_args=EVERY_TASK,
        tags=_tags("gone"),
        schedule=DataDaysTimetable(),
        **NIGHTLY,
    ) as dag:
        _night(key)
    dag.params.update(FORM)
    return dag


def _broken_dag(key: str, error: DefinitionError) -> DAG:
    with DAG(
        dag_id=PREFIX + re.sub(r"[^\w.-]", "_", key),
        description="This experiment's definition is broken.",
        doc_md=f"**This experiment's definition is broken; it is not analysed.**\n\n{_escaped(str(error), '  ')}",
        start_date=BROKEN_SINCE,
        default_args=EVERY_TASK,
        tags=_tags("broken"),
        schedule=DataDaysTimetable(),
        **NIGHTLY,
    ) as dag:
        _alert_after([definition(key, AS_OF)], key)
    dag.params.update({"deliver": DELIVER})
    return dag


def _alert_after(tasks: list, key: str) -> None:
    # A teardown, because it runs whatever became of these tasks (one alert names every failure) and because the state
    # of the run is then theirs: an ordinary last task would turn a failed night green by succeeding.
    tasks >> alert_owner(key, AS_OF).as_teardown()


def _doc_md(experiment: Experiment) -> str:
    rows = {
        "Hypothesis": experiment.hypothesis,
        "Owner": experiment.owner,
        "Team": experiment.team or "–",
        "Variants": ", ".join(f"{name} {weight:g}" for name, weight in experiment.weights.items())
        + f" (control: {experiment.control})",
        "Enrolment": f"{experiment.starts_on} up to, not including, {experiment.ends_on}",
        "Decides on": _decides_on(experiment),
        "Primary": _metrics(experiment, experiment.primary),
        "Smallest effect that matters": f"{100 * experiment.smallest_effect:g} % relative",
        "Secondary": _metrics(experiment, experiment.secondary),
        "Guardrails": ", ".join(f"{g.metric} (margin {100 * g.margin:g} %)" for g in experiment.guardrails) or "–",
        **({"Signed by": ", ".join(experiment.sign_off.by) or "anybody"} if experiment.sign_off else {}),
        "Segments": ", ".join(s.attribute + " (protected)" * s.protected for s in experiment.segments) or "–",
    }
    table = "\n".join(f"| {_escaped(name)} | {_escaped(text)} |" for name, text in rows.items())
    return f"### {_escaped(experiment.title)}\n\n| | |\n|---|---|\n{table}\n\n{_runbook()}"


def _decides_on(experiment: Experiment) -> str:
    if experiment.looks == "horizon":
        return str(experiment.decides_on)
    return f"any night from {experiment.first_look_on} ({experiment.looks}), at the latest {experiment.decides_on}"


def _runbook() -> str:
    """What to do when a task is red or a night is to be run again, in the words of the top of this file."""
    return __doc__[__doc__.index("A task is red\n") : __doc__.index("Settings\n")]


def _metrics(experiment: Experiment, names: tuple[str, ...]) -> str:
    return ", ".join(f"{experiment.metrics[name].title} ({name})" for name in names) or "–"


def _escaped(text: str, line_end: str = "") -> str:
    """Show text as it is: no HTML, no Markdown, no end of a table cell."""
    lines = [re.sub(r"([\\`*_\[\]#|~])", r"\\\1", html.escape(line, quote=False)) for line in text.splitlines()]
    return f"{line_end}\n".join(lines) if line_end else " ".join(lines)


def _tags(*names: str | None) -> list[str]:
    return ["abtest", *sorted({name[:100] for name in names if name})]


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)


def _dags() -> Iterator[DAG]:
    only = get_parsing_context().dag_id
    for key in definitions.experiment_keys(experiments_folder()):
        if only and only != PREFIX + re.sub(r"[^\w.-]", "_", key):
            continue
        try:
            yield _experiment_dag(definitions.load_experiment(experiments_folder(), key))
        except DefinitionError as error:
            yield _broken_dag(key, error)
    for key in _gone(only):
        yield _gone_dag(key)


def _gone(only: str | None) -> list[str]:
    """Experiments without a file that may have a run under way: the one of a task, or all with a night of late."""
    present = {PREFIX + re.sub(r"[^\w.-]", "_", key) for key in definitions.experiment_keys(experiments_folder())}
    if only:
        return [only.removeprefix(PREFIX)] if only.startswith(PREFIX) and only not in present else []
    since = (dt.datetime.now(dt.UTC) - NIGHTLY["dagrun_timeout"] - dt.timedelta(days=1)).timestamp()
    stores = [path for path in results_folder().glob("*") if definitions.KEY.fullmatch(path.name) and path.is_dir()]
    return sorted(path.name for path in stores if PREFIX + path.name not in present and path.stat().st_mtime > since)


for _dag in _dags():
    globals()[_dag.dag_id] = add_links(_dag)
