"""Buttons on the task ``report`` that open what it made: the report of its night, and ``results.json``."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from airflow.sdk import DAG, BaseOperatorLink
from airflow.sdk.configuration import conf

TASK = "report"


class ReportLink(BaseOperatorLink):
    """Opens the published report of the run's night."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Give the address of the page."""
        return _page(ti_key)


class ResultsLink(BaseOperatorLink):
    """Opens all numbers of that report."""

    name = "Results"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Give the address of the file."""
        return f"{_page(ti_key)}/results.json"


def _page(ti_key: Any) -> str:
    below = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return f"{below}/abtest/dags/{quote(ti_key.dag_id, safe='')}/runs/{quote(ti_key.run_id, safe='')}"


def add_links(dag: DAG) -> DAG:
    """Put the buttons on the task that writes the report, if the DAG has one.

    They are set on this task alone: links of a plugin would show an empty heading on every task of every other DAG.
    """
    if dag.has_task(TASK):
        dag.get_task(TASK).operator_extra_links = (ReportLink(), ResultsLink())
    return dag
