"""Print, as one line of JSON, the repository's DAGs as they come back from Airflow's serialised form."""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

DAGS = Path(__file__).resolve().parents[2] / "dags"


def describe_dag(parsed):
    dag = DagSerialization.from_dict(DagSerialization.to_dict(parsed))
    return {
        "start": str(dag.start_date),
        "end": str(dag.end_date),
        "timetable": type(dag.timetable).__name__,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "allowed_run_types": sorted(dag.allowed_run_types),
        "dagrun_hours": dag.dagrun_timeout.total_seconds() / 3600,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        # Not dump(), which refuses a field of a form that has no default.
        "params": {name: dag.params.get_param(name).value for name in dag.params},
        "tasks": {task.task_id: describe_task(task, parsed.get_task(task.task_id)) for task in dag.tasks},
    }


def describe_task(task, parsed):
    return {
        "rule": str(task.trigger_rule),
        "upstream": sorted(task.upstream_task_ids),
        "retries": task.retries,
        "retry_seconds": task.retry_delay.total_seconds(),
        "minutes": task.execution_timeout and task.execution_timeout.total_seconds() / 60,
        "owner": task.owner,
        "teardown": task.is_teardown,
        "fails_at_once": [rule.exception_path for rule in parsed.retry_policy.rules],
        "from_trigger": task.start_from_trigger,
        "pool": task.pool,
        "priority": task.weight_rule.get_weight(SimpleNamespace(task=task)),
        "params": sorted(task.params),
    }


def count_definitions_read(opened):
    """From now on, count how often each file of definitions is opened."""
    folder = os.environ["ABTEST_EXPERIMENTS"]

    def hear(event, arguments):
        if event == "open" and os.path.dirname(str(arguments[0])) == folder:
            opened[os.path.basename(arguments[0])] += 1

    sys.addaudithook(hear)


if __name__ == "__main__":
    read = Counter()
    count_definitions_read(read)
    bag = DagBag(str(DAGS))
    answer = {
        "errors": bag.import_errors,
        "dags": {dag_id: describe_dag(dag) for dag_id, dag in bag.dags.items()},
        "read": read,
        "imported": sorted(
            {name.split(".")[0] for name in sys.modules} & {"pandas", "scipy", "numpy", "duckdb", "pyarrow"}
        ),
    }
    print(json.dumps(answer))
