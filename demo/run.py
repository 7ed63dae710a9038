"""A complete night on this machine: ``make demo``, or ``python -m demo.run``.

Builds the sample warehouse, analyses the nights before the last one with the library alone, starts Airflow, runs the
last night of every experiment and then the digest through its scheduler, with delivery to a local mailbox and a local
Slack, and stops all.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor

from abtest_lib import definitions, pipeline, results
from abtest_lib.digest import FOLDER
from abtest_lib.warehouse import connect
from demo import warehouse
from demo.airflow_local import DEMO, FINISHED, REPOSITORY, LocalAirflow, LocalAirflowError, connections
from demo.receivers import MailReceiver, SlackReceiver

EXPERIMENTS = REPOSITORY / "experiments"
RESULTS, WAREHOUSE, HISTORY = DEMO / "results", DEMO / "warehouse.duckdb", DEMO / "history"
Say = Callable[[str], None]
WORDS = {"ship": "SHIP", "do_not_ship": "DO NOT SHIP", "keep_running": "KEEP RUNNING", "invalid": "INVALID"}


def main() -> int:
    """Run the demo and print its table; 0 when every verdict is the one that the data was made for."""
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)

    DEMO.mkdir(exist_ok=True)
    if not warehouse.is_current(WAREHOUSE):
        say("building the sample warehouse …")
        warehouse.build(WAREHOUSE)
    say(f"sample warehouse: {WAREHOUSE.relative_to(REPOSITORY)}, {WAREHOUSE.stat().st_size / 1e6:.0f} MB")
    nights = {key: _last_night(key) for key in definitions.experiment_keys(EXPERIMENTS)}
    _empty_mailboxes(nights)
    with MailReceiver(DEMO / "mail") as mail, SlackReceiver(DEMO / "slack") as slack, _workers() as workers:
        waiting = _start_history(workers, nights, say)
        say("starting Airflow (API server, scheduler, DAG processor, triggerer) …")
        environment = {
            "ABTEST_EXPERIMENTS": str(EXPERIMENTS),
            "ABTEST_RESULTS": str(RESULTS),
            "ABTEST_WAREHOUSE": str(WAREHOUSE),
            **connections(mail, slack),
        }
        with LocalAirflow(DEMO / "airflow", environment) as airflow:
            say(f"Airflow is up at {airflow.url}")
            for future in waiting:
                future.result()
            HISTORY.write_text(_state())
            states = _run_last_nights(airflow, nights, say)
            digest = _run_digest(airflow, say)
            say("stopping Airflow …")
        say(f"stopped; {len(mail.messages)} mails and {len(slack.messages)} Slack messages were delivered")
    return _print_table(nights, states, digest)


def _last_night(key: str) -> dt.date:
    return min(definitions.load_experiment(EXPERIMENTS, key).decides_on, warehouse.AS_OF)


def _workers() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=max(1, (os.cpu_count() or 2) - 1))


def _start_history(workers: ProcessPoolExecutor, nights: dict[str, dt.date], say: Say) -> list[Future]:
    """Analyse the nights before the last one beside the start of Airflow, unless an earlier demo has done so."""
    if HISTORY.exists() and HISTORY.read_text() == _state():
        say("the nights before the last one are there from an earlier run")
        return []
    say("analysing the nights before the last one, without Airflow …")
    started = []
    for key, last in nights.items():
        future = workers.submit(_run_history, key, last)
        future.add_done_callback(lambda done, key=key: say(f"  {key}: {done.result()} nights"))
        started.append(future)
    return started


def _run_history(key: str, last: dt.date) -> int:
    experiment = definitions.load_experiment(EXPERIMENTS, key)
    first = experiment.starts_on + dt.timedelta(days=1)
    nights = [first + dt.timedelta(days=number) for number in range((last - first).days)]
    with connect(WAREHOUSE) as source:
        for as_of in nights:
            pipeline.run(experiment, as_of, source, RESULTS)
    return len(nights)


def _state() -> str:
    """Fingerprint of all that the earlier nights depend on: data, definitions and code."""
    digest = hashlib.sha256(warehouse.fingerprint().encode())
    for folder in ("abtest_lib", "sql", "templates", "experiments"):
        for path in sorted(p for p in (REPOSITORY / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"):
            digest.update(str(path.relative_to(REPOSITORY)).encode() + path.read_bytes())
    return digest.hexdigest()


def _empty_mailboxes(nights: dict[str, dt.date]) -> None:
    """Forget what an earlier demo delivered: nobody read it, and this one is to deliver again."""
    for folder in (
        DEMO / "mail",
        DEMO / "slack",
        RESULTS / FOLDER,
        *(RESULTS / key / "outbox" for key in nights),
        *(RESULTS / key / str(night) / "outbox" for key, night in nights.items()),
    ):
        shutil.rmtree(folder, ignore_errors=True)


def _run_last_nights(airflow: LocalAirflow, nights: dict[str, dt.date], say: Say) -> dict[str, str]:
    """Run the last night of each experiment through the scheduler; its state by experiment."""
    days = {f"abtest__{key}": night - dt.timedelta(days=1) for key, night in nights.items()}
    airflow.wait_for_dags(*days)
    for dag_id, data_on in days.items():
        airflow.backfill(dag_id, data_on, {"deliver": True})
    say(f"running the last night of {len(nights)} experiments through the scheduler …")
    states: dict[str, str] = {}
    deadline, told = time.monotonic() + 240, time.monotonic()
    while len(states) < len(days) and time.monotonic() < deadline:
        time.sleep(1)
        airflow.check()
        runs = {dag_id: airflow.runs(dag_id).get(str(data_on), {}) for dag_id, data_on in days.items()}
        for dag_id, run in runs.items():
            if run.get("state") in FINISHED and dag_id not in states:
                states[dag_id] = run["state"]
                say(f"  {dag_id}: {run['state']} ({len(states)} of {len(days)})")
                told = time.monotonic()
        if time.monotonic() - told > 5:
            say(f"  {_tasks_ended(airflow, runs)} tasks have ended")
            told = time.monotonic()
    return {key: states.get(f"abtest__{key}", "not finished") for key in nights}


def _run_digest(airflow: LocalAirflow, say: Say) -> str:
    """Run the digest of the last night through the scheduler; its state."""
    airflow.wait_for_dags("abtest_digest")
    data_on = warehouse.AS_OF - dt.timedelta(days=1)
    say("running the digest of the teams …")
    # Its interval begins at the digest's hour of that day, so the range ends with the next one.
    airflow.backfill("abtest_digest", data_on, {"deliver": True}, until=warehouse.AS_OF)
    state = airflow.wait("abtest_digest", data_on)["state"]
    say(f"  abtest_digest: {state}")
    return state


def _tasks_ended(airflow: LocalAirflow, runs: dict[str, dict]) -> int:
    found = (airflow.task_states(dag_id, run["dag_run_id"]) for dag_id, run in runs.items() if run)
    return sum(
        state in ("success", "skipped", "failed", "upstream_failed") for states in found for state in states.values()
    )


def _print_table(nights: dict[str, dt.date], states: dict[str, str], digest: str) -> int:
    rows, right = [("experiment", "as of", "variant", "verdict", "report")], digest == "success"
    for key, night in nights.items():
        folder = results.night_folder(RESULTS, key, night)
        if states[key] != "success" or folder is None:
            rows.append((key, str(night), "", f"night {states[key]}", "see .demo/airflow/logs"))
            right = False
            continue
        verdicts = results.read_json(folder / "results.json")["verdicts"]
        for one in verdicts:
            until = f" until {one['until']}" if one["until"] else ""
            path = str((folder / "report.html").relative_to(REPOSITORY))
            rows.append((key, str(night), one["variant"], WORDS[one["verdict"]] + until, path))
        right = right and {one["variant"]: (one["verdict"], one["reasons"][0]["code"]) for one in verdicts} == dict(
            warehouse.TRUTH[key]
        )
    _print_rows(rows)
    if right:
        print("\nEvery verdict is the one that the sample data was made for. Next: make airflow")
        return 0
    problem = f"The digest ended as {digest}"
    if digest == "success":
        problem = "Not every verdict is the one that the sample data was made for"
    print(f"\n{problem}; see above.", file=sys.stderr)
    return 1


def _print_rows(rows: Iterable[tuple[str, ...]]) -> None:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LocalAirflowError as problem:
        sys.exit(f"The demo stopped: {problem}\nLogs are in .demo/airflow/logs. Try again, or 'make clean' first.")
    except KeyboardInterrupt:
        sys.exit("Stopped.")
