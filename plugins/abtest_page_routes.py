"""The addresses of the pages about experiments, behind Airflow's login and its permission to read each DAG.

Airflow serves what a plugin mounts to anybody. Here every route hangs on its login: the list shows what belongs to DAGs
that the user may read, every other page is that of one DAG, which the user must be allowed to read. The pages
themselves are made by ``abtest_lib.pages``. Results are looked up by names that are checked there.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any
from urllib.parse import quote

from abtest_connections import experiments_folder, results_folder
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy import select
from starlette.exceptions import HTTPException

from abtest_lib.errors import DefinitionError
from abtest_lib.pages import comparison, fleet, nights, places, previews, store
from abtest_lib.report.formats import print_html

HEADERS = {
    # No scripts, nothing remote. Without allow-same-origin the browser would leave the login's cookie out when a link
    # is followed inside Airflow's frame; without scripts that origin can do nothing.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data: 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'self'; sandbox allow-same-origin allow-forms allow-downloads "
        "allow-top-navigation-by-user-activation"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HTML = "text/html; charset=utf-8"
_TITLES = {401: "Not signed in", 403: "Not allowed", 404: "Nothing here", 422: "This address is not understood"}
_TEXTS = {
    401: "These pages are for people who are signed in to Airflow.",
    403: "You may not read this DAG, so its results are not shown. Ask whoever administers Airflow, or sign in again.",
    404: "There is no page with this address. The list of experiments leads to all of them.",
    405: "These pages can only be read.",
    422: "A part of the address is not what it must be. The list of experiments leads to every page.",
}

Text = Annotated[str, Query(max_length=200)]
everyone = APIRouter(dependencies=[Depends(get_user)])
of_dag = APIRouter(prefix="/dags/{dag_id}", dependencies=[Depends(requires_access_dag("GET"))])


class WithHeaders:
    """Give every answer the same headers, whatever it is: a page, a file, an error."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        ours = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        await self.app(scope, receive, with_headers)


@everyone.get("/experiments")
def list_experiments(request: Request, user: GetUserDep, team: Text = "*", as_of: Text = "") -> Response:
    """List the experiments whose DAG the user may read."""
    said = fleet.view(
        experiments_folder(),
        results_folder(),
        allowed=get_auth_manager().get_authorized_dag_ids(user=user, method="GET"),
        team=None if team == "*" else team,
        as_of=store.read_day(as_of) if as_of else None,
    )
    return _page(request, "fleet", said)


@of_dag.get("")
def list_nights(request: Request, dag_id: str) -> Response:
    """Show the nights of an experiment."""
    return _page(request, "nights", nights.view(experiments_folder(), results_folder(), _key(dag_id)))


@of_dag.get("/compare")
def compare(request: Request, dag_id: str, before: Text, after: Text) -> Response:
    """Show what differs between two nights."""
    picked = comparison.read_choice(before), comparison.read_choice(after)
    return _page(request, "comparison", comparison.view(results_folder(), _key(dag_id), *picked))


@of_dag.get("/preview")
def preview(request: Request, dag_id: str) -> Response:
    """Show which verdicts would change."""
    return _page(request, "previews", previews.view(results_folder(), _key(dag_id)))


@of_dag.get("/runs/{run_id}", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])
def report_of_run(dag_id: str, run_id: str) -> Response:
    """Show the published report of a run's night."""
    return _file(dag_id, _night_of_run(dag_id, run_id), None, "report.html")


@of_dag.get("/runs/{run_id}/{file}", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])
def file_of_run(dag_id: str, run_id: str, file: str) -> Response:
    """Hand out a file of the published revision of a run's night."""
    return _file(dag_id, _night_of_run(dag_id, run_id), None, file)


@of_dag.get("/nights/{as_of}")
def report_of_night(dag_id: str, as_of: str) -> Response:
    """Show the published report of a night."""
    return _file(dag_id, store.read_day(as_of), None, "report.html")


@of_dag.get("/nights/{as_of}/{revision}")
def report_of_revision(dag_id: str, as_of: str, revision: str) -> Response:
    """Show the report of a revision."""
    return _file(dag_id, store.read_day(as_of), revision, "report.html")


@of_dag.get("/nights/{as_of}/{revision}/{file}")
def file_of_revision(dag_id: str, as_of: str, revision: str, file: str) -> Response:
    """Hand out a file of a revision."""
    return _file(dag_id, store.read_day(as_of), revision, file)


def _key(dag_id: str) -> str:
    key = places.key_of(dag_id)
    if key is None:
        raise store.NotThere(
            "This DAG does not belong to an experiment, so it has no nights and no reports. "
            "The DAG of an experiment is named abtest__ and its key."
        )
    return key


def _file(dag_id: str, as_of: dt.date, revision: str | None, name: str) -> Response:
    content = store.read_file(results_folder(), _key(dag_id), as_of, revision, name)
    return Response(content, media_type=store.FILES[name])


def _night_of_run(dag_id: str, run_id: str) -> dt.date:
    key = _key(dag_id)
    with create_session() as session:
        found = session.scalar(select(DagRun.data_interval_end).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    if found is None:
        raise store.NotThere(f"{key} has no run of this name with a night; its nights are listed under its name.")
    return found.astimezone(dt.UTC).date()


def _page(request: Request, template: str, said: dict[str, Any], status: int = 200) -> Response:
    where = {"base": _base(request), "target": "_self" if _in_a_frame(request) else "_top"}
    return Response(print_html(f"pages/{template}.html.j2", said | where), status, media_type=HTML)


def _base(request: Request) -> str:
    """Below which path of the server Airflow is served."""
    return request.scope.get("root_path", "").removesuffix(places.ROOT)


def _in_a_frame(request: Request) -> bool:
    """Airflow's frame lets no link out of it: one that named the whole window would do nothing."""
    return request.headers.get("sec-fetch-dest") == "iframe"


async def refused(request: Request, problem: Exception) -> Response:
    """Show a plain page that says what there is instead, or where to sign in."""
    status = getattr(problem, "status_code", 422 if isinstance(problem, RequestValidationError) else 404)
    told = isinstance(problem, store.NotThere | DefinitionError)
    key = places.key_of(request.path_params.get("dag_id", "")) if told else None
    said = {
        "title": _TITLES.get(status, "Not possible"),
        "text": str(problem) if told else _TEXTS.get(status, "Airflow refused this request."),
        "sign_in": f"{_base(request)}/api/v2/auth/login?next={quote(str(request.url), safe='')}"
        if status == 401
        else "",
        "key": key or "",
        "links": {"fleet": places.fleet(), "nights": places.page(key) if key else ""} if status != 401 else {},
    }
    return _page(request, "message", said, status)


def _make() -> FastAPI:
    # No list of the routes for anybody, and no redirects that add a slash.
    made = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for problem in (HTTPException, RequestValidationError, store.NotThere, DefinitionError):
        made.add_exception_handler(problem, refused)
    made.include_router(everyone)
    made.include_router(of_dag)
    return made


application = WithHeaders(_make())
