"""Where a DAG, a run and its tasks are seen in Airflow's pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk.configuration import conf


def dag_url(dag_id: str) -> str | None:
    """Give the page of a DAG; None when Airflow does not know its own address (``[api] base_url``)."""
    base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return f"{base}/dags/{quote(dag_id, safe='')}" if base else None


def report_url(context: Mapping[str, Any]) -> str | None:
    """Give the page with the report of this run's night."""
    base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    dag, run = (quote(name, safe="") for name in (context["dag_run"].dag_id, context["dag_run"].run_id))
    return f"{base}/abtest/dags/{dag}/runs/{run}" if base else None


def task_url(context: Mapping[str, Any], task_id: str, page: str = "") -> str | None:
    """Give the page of a task of this run, where its log is, or one below it."""
    dag = dag_url(context["dag_run"].dag_id)
    run = quote(context["dag_run"].run_id, safe="")
    return f"{dag}/runs/{run}/tasks/{quote(task_id, safe='')}{page and f'/{page}'}" if dag else None
