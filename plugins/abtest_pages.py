"""Puts the pages about experiments into Airflow: below ``/abtest``, in the navigation, on each DAG and on each run.

Every process of Airflow imports this file, each task's too. So it imports nothing that serves pages: the routes
(``abtest_page_routes``) and the library come with the first request.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

PREFIX = "/abtest"
# The browser needs the whole path where Airflow itself is served below one.
SEEN_AT = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/") + PREFIX
_LOCK = threading.Lock()


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request for a page."""
    with _LOCK:
        application = _application()
    await application(scope, receive, send)


@cache
def _application() -> Any:
    from abtest_page_routes import application

    return application


class AbtestPages(AirflowPlugin):
    """The pages, and where Airflow shows them; ``url_route`` puts one into a frame."""

    name = "abtest_pages"
    fastapi_apps = [{"app": pages, "url_prefix": PREFIX, "name": "abtest pages"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Experiments",
            "href": f"{SEEN_AT}/experiments",
            "destination": "nav",
            "url_route": "experiments",
        },
        {
            "name": "Experiment",
            "href": f"{SEEN_AT}/dags/{{DAG_ID}}",
            "destination": "dag",
            "url_route": "experiment",
        },
        {
            "name": "Report",
            "href": f"{SEEN_AT}/dags/{{DAG_ID}}/runs/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "experiment-report",
        },
    ]
