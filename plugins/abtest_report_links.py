"""Buttons on the tasks from ``decide`` on that open what they made and sent: the report, and ``results.json``."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from airflow.sdk import DAG, BaseOperatorLink
from airflow.sdk.configuration import conf

TASKS = ("decide", "report", "deliver_email", "deliver_slack")


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
    """Put the buttons on the tasks that write or send the report, as far as the DAG has them.

    They are set on these alone: links of a plugin would show an empty heading on every task of every other DAG.
    """
    for task in TASKS:
        if dag.has_task(task):
            dag.get_task(task).operator_extra_links = (ReportLink(), ResultsLink())
    return dag
