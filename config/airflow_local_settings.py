"""Import once what tasks need, in the process of which theirs are forks: Airflow reads this in every process it starts.

Without it each task of a night spends more time on imports than on its own work.
"""

import contextlib
import importlib
import pkgutil
import sys

from airflow.configuration import conf

__all__: list[str] = []  # else Airflow takes every name of this file for a setting

# What is imported late: by Airflow for a task's DAG file, by ours for one channel, by PyArrow wherever it finds pandas.
LATE = (
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.execution_time.supervisor",
    "duckdb",
    "jinja2.ext",
    "pandas",
    "PIL.PngImagePlugin",
    "pyarrow.compute",
    "pyarrow.parquet",
    "scipy.special",
    "slack_sdk",
)

# LocalExecutor's tasks are forks of the scheduler, Celery's of the worker; on Kubernetes each starts by itself.
parent_of_tasks = "scheduler" if "LocalExecutor" in conf.get("core", "executor") else "worker"

if parent_of_tasks in sys.argv:
    import abtest_lib

    ours = (module.name for module in pkgutil.walk_packages(abtest_lib.__path__, "abtest_lib."))
    for name in (*LATE, *ours):
        with contextlib.suppress(Exception):  # an engine that is not installed, or what its task says better
            importlib.import_module(name)
