"""A complete night on this machine: ``make demo``, or ``python -m demo.run``.

Builds the sample warehouse, analyses the nights before the last one with the library alone, starts Airflow, runs the
last night of every experiment through its scheduler with delivery to a local mailbox and a local Slack, and stops all.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from abtest_lib import definitions, pipeline, results
from abtest_lib.warehouse import connect
from demo import warehouse
from demo.airflow_local import DEMO, REPOSITORY, LocalAirflow, connections
from demo.receivers import MailReceiver, SlackReceiver

EXPERIMENTS = REPOSITORY / "experiments"
RESULTS, WAREHOUSE, HISTORY = DEMO / "results", DEMO / "warehouse.duckdb", DEMO / "history"
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
        waiting = _start_history(workers, nights)
        say("starting Airflow (API server, scheduler, DAG processor, triggerer) …")
        environment = {
            "ABTEST_EXPERIMENTS": str(EXPERIMENTS),
            "ABTEST_RESULTS": str(RESULTS),
            "ABTEST_WAREHOUSE": str(WAREHOUSE),
            **connections(mail, slack),
        }
        with LocalAirflow(DEMO / "airflow", environment) as airflow:
            say(f"Airflow is up at {airflow.url}")
            for count, (key, future) in enumerate(waiting.items(), 1):
                say(
                    f"nights before the last one, without Airflow: {key}, {future.result()} nights ({count} of {len(waiting)})"
                )
            _keep_history()
            states = _run_last_nights(airflow, nights, say)
            say("stopping Airflow …")
        say(f"stopped; {len(mail.messages)} mails and {len(slack.messages)} Slack messages were delivered")
    return _print_table(nights, states)


def _last_night(key: str) -> dt.date:
    return min(definitions.load_experiment(EXPERIMENTS, key).decides_on, warehouse.AS_OF)


def _workers() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=max(1, (os.cpu_count() or 2) - 1))


def _start_history(workers: ProcessPoolExecutor, nights: dict[str, dt.date]) -> dict[str, Future]:
    if HISTORY.exists() and HISTORY.read_text() == _state():
        return {}
    return {key: workers.submit(_run_history, key, last) for key, last in nights.items()}


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


def _keep_history() -> None:
    HISTORY.write_text(_state())


def _empty_mailboxes(nights: dict[str, dt.date]) -> None:
    """Forget what an earlier demo delivered: nobody read it, and this one is to deliver again."""
    for folder in (
        DEMO / "mail",
        DEMO / "slack",
        *(RESULTS / key / str(night) / "outbox" for key, night in nights.items()),
    ):
        shutil.rmtree(folder, ignore_errors=True)


def _run_last_nights(airflow: LocalAirflow, nights: dict[str, dt.date], say) -> dict[str, str]:
    """Run the last night of each experiment through the scheduler; its state by experiment."""
    dag_ids = {key: f"abtest__{key}" for key in nights}
    airflow.wait_for_dags(*dag_ids.values())
    days = {key: night - dt.timedelta(days=1) for key, night in nights.items()}
    for key, dag_id in dag_ids.items():
        airflow.backfill(dag_id, days[key], {"deliver": True})
    say(f"the last night of {len(nights)} experiments is in the scheduler …")
    states = {}
    for key, dag_id in dag_ids.items():
        states[key] = airflow.wait(dag_id, days[key], timeout=240)["state"]
        say(f"{dag_id}: {states[key]}")
    return states


def _print_table(nights: dict[str, dt.date], states: dict[str, str]) -> int:
    rows, right = [("experiment", "as of", "variant", "verdict", "report")], True
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
    print("\nNot every verdict is the one that the sample data was made for; see above.", file=sys.stderr)
    return 1


def _print_rows(rows: Iterable[tuple[str, ...]]) -> None:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
