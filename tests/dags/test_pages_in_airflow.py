"""The pages in Airflow's own API application, signed in as several people and not at all."""

import datetime as dt
import html
import json
import os
import re
import subprocess
import sys
import warnings

import pytest

from abtest_lib import failures, results
from tests.small_shop import AS_OF, KEY, Shop

DAG = f"abtest__{KEY}"
OTHER = "abtest__other"
RUN = "scheduled__2026-02-07T00:00:00+00:00"
TITLE = '<script>alert("1")</script> & "Checkout"'
# Users: role of Airflow's own simple auth manager; "owner" may, as with other auth managers, read one DAG only.
ROLES = {"vic": "viewer", "ana": "user", "root": "admin", "nobody": None, "owner": "viewer"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two nights of a shop whose experiment has a hostile title, and another experiment that has only a folder."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.redefine(KEY, re.search("title: .*", (shop.definitions / f"{KEY}.yaml").read_text())[0], f"title: '{TITLE}'")
    for night in (AS_OF - dt.timedelta(days=1), AS_OF):
        shop.run(night)
    other = (shop.definitions / f"{KEY}.yaml").read_text()
    (shop.definitions / "other.yaml").write_text(other)
    return shop


@pytest.fixture(scope="module")
def application(shop):
    """Airflow's API application with a fresh database: the plugin is found and mounted by Airflow itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABTEST_EXPERIMENTS", str(shop.definitions))
        patch.setenv("ABTEST_RESULTS", str(shop.results))
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "a secret of the tests, " * 4)
        users = ",".join(f"{name}:{role}" for name, role in ROLES.items() if role)
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", users)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of Airflow and FastAPI, about each other
            from airflow.api_fastapi import app
            from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
            from airflow.utils.db import initdb

            class OneDagForTheOwner(SimpleAuthManager):
                def is_authorized_dag(self, *, method, user, access_entity=None, details=None):
                    allowed = super().is_authorized_dag(
                        method=method, user=user, access_entity=access_entity, details=details
                    )
                    return allowed and (user.username != "owner" or (details and details.id) == DAG)

            initdb()
            _remember_dags()
            patch.setattr(app._AuthManagerState, "instance", OneDagForTheOwner())
            yield app.create_app(apps="core")


def _remember_dags():
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    end = dt.datetime.combine(AS_OF, dt.time(), tzinfo=dt.UTC)
    with create_session() as session:
        session.merge(DagBundleModel(name="pages"))
        session.flush()
        for dag_id in (DAG, OTHER, "abtest__typo", "somebody_elses"):
            session.merge(DagModel(dag_id=dag_id, bundle_name="pages", max_active_tasks=1))
        session.flush()
        for dag_id in (DAG, "somebody_elses"):
            session.add(
                DagRun(
                    dag_id=dag_id,
                    run_id=RUN,
                    run_type=DagRunType.SCHEDULED,
                    state=DagRunState.SUCCESS,
                    triggered_by=DagRunTriggeredByType.TIMETABLE,
                    logical_date=end - dt.timedelta(days=1),
                    data_interval=(end - dt.timedelta(days=1), end),
                    run_after=end,
                )
            )


@pytest.fixture
def sign_in(application):
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from starlette.testclient import TestClient

    def sign_in(name):
        client = TestClient(application, base_url="http://airflow.example.com", raise_server_exceptions=False)
        if name:
            user = SimpleAuthManagerUser(username=name, role=(ROLES[name] or "").upper() or None)
            client.cookies.set("_token", get_auth_manager().generate_jwt(user))
        return client

    return sign_in


@pytest.fixture
def revision(shop):
    return results.night_folder(shop.results, KEY, AS_OF).name


def addresses(revision, dag_id=DAG):
    """One working address for each route that the plugin has: a route that is added must be added here."""
    from abtest_page_routes import application

    parts = {"dag_id": dag_id, "as_of": AS_OF, "revision": revision, "file": "results.json", "run_id": RUN}
    eve = AS_OF - dt.timedelta(days=1)
    found = {route.path: route.path.format(**parts) for route in application.app.routes}
    compare = "/dags/{dag_id}/compare"
    found[compare] += f"?before={eve}&after={AS_OF}"
    return {route: f"/abtest{path}" for route, path in found.items()}


def test_every_address_answers_somebody_who_may_read_the_dag(sign_in, revision):
    for name in ("vic", "ana", "root", "owner"):
        client = sign_in(name)
        for route, address in addresses(revision).items():
            answer = client.get(address)
            assert answer.status_code == 200, (name, route, answer.text)


def test_nobody_who_is_not_signed_in_gets_a_byte_of_results(sign_in, revision):
    client = sign_in(None)
    for route, address in addresses(revision).items():
        for bad in ({}, {"Authorization": "Bearer nonsense"}, {"Cookie": "_token=nonsense"}):
            answer = client.get(address, headers=bad)
            assert answer.status_code in (401, 403), route
            assert "Checkout" not in answer.text, route
            assert "SHIP" not in answer.text, route
            assert revision not in re.sub('href="[^"]*login[^"]*"', "", answer.text), route


def test_signing_in_leads_back_to_the_page(sign_in):
    answer = sign_in(None).get(f"/abtest/dags/{DAG}")
    (link,) = re.findall('href="([^"]*login[^"]*)"', answer.text)
    assert link == f"/api/v2/auth/login?next=http%3A%2F%2Fairflow.example.com%2Fabtest%2Fdags%2F{DAG}"
    login = sign_in(None).get(html.unescape(link), follow_redirects=False)
    assert login.status_code == 307
    assert login.headers["location"].startswith("/auth/login?next=")


def test_a_user_without_a_role_reads_nothing(sign_in, revision):
    client = sign_in("nobody")
    for route, address in addresses(revision).items():
        answer = client.get(address)
        if route == "/experiments":
            assert "No experiment to show" in answer.text
        else:
            assert answer.status_code == 403, route
        assert revision not in answer.text


def test_other_dags_are_closed_to_whoever_may_read_one(sign_in, revision):
    client = sign_in("owner")
    for route, address in addresses(revision, OTHER).items():
        if route != "/experiments":
            assert client.get(address).status_code == 403, route
    # The permission is that of the DAG in the path, whatever a query says.
    assert client.get(f"/abtest/dags/{OTHER}?dag_id={DAG}").status_code == 403
    for dag_id in ("~", "*", "%7E", "somebody_elses"):
        assert client.get(f"/abtest/dags/{dag_id}").status_code == 403, dag_id


def test_the_list_has_only_the_experiments_whose_dag_may_be_read(sign_in):
    assert f"/abtest/dags/{OTHER}" in sign_in("vic").get("/abtest/experiments").text
    mine = sign_in("owner").get("/abtest/experiments").text
    assert f"/abtest/dags/{DAG}" in mine
    assert "other" not in re.sub(r"<style>.*?</style>", "", mine, flags=re.S)


@pytest.mark.parametrize(
    "path",
    [
        "nights/..%2f..%2f..%2fetc%2fpasswd",
        "nights/%2e%2e%2f%2e%2e%2fsecret",
        "nights/%2fetc%2fpasswd",
        "nights/2026-02-08/..%2f2026-02-07",
        "nights/2026-02-08/%2e%2e",
        "nights/2026-02-08/current",
        "nights/2026-02-08/collected",
        "nights/2026-02-08/{revision}/definition.json",
        "nights/2026-02-08/{revision}/moments.parquet",
        "nights/2026-02-08/{revision}/..%2fcurrent",
        "nights/2026-02-08/{revision}/results.json%00.html",
        "nights/2026-02-08%00/{revision}",
        "nights/2026-02-08/linkedlinked",
        "nights/2026-02-06/aaaaaaaaaaaa/results.json",
        "nights/2026-02-08/bbbbbbbbbbbb/results.json",
        "nights/2026-02-08/cccccccccccc/results.json",
        "nights/2026-2-8",
        "nights/２０２６-02-08",
        "nights/20260208",
        "nights/9999-99-99",
        "nights/2026-02-08/{revision}/",
        "runs/nonsense",
        "runs/..%2f..",
        "compare?before=2026-02-07&after=../../etc",
        "compare?before=2026-02-07.%00&after=2026-02-08",
        "nowhere",
    ],
)
def test_an_address_that_leads_elsewhere_gives_a_page_and_nothing_else(sign_in, shop, revision, path, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "results.json").write_text('{"secret": "of another"}')
    night = shop.results / KEY / str(AS_OF)
    links = {
        night / "bbbbbbbbbbbb": outside,
        night.parent / "2026-02-06": outside,
        night / "cccccccccccc" / "results.json": outside / "results.json",
    }
    (night / "cccccccccccc").mkdir()
    (outside / "aaaaaaaaaaaa").mkdir()
    (outside / "aaaaaaaaaaaa" / "results.json").write_text('{"secret": "of another"}')
    for link, target in links.items():
        link.symlink_to(target)
    try:
        answer = sign_in("root").get(f"/abtest/dags/{DAG}/{path.format(revision=revision)}")
    finally:
        for link in links:
            link.unlink()
        (night / "cccccccccccc").rmdir()
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"].startswith("text/html")
    assert "secret" not in answer.text.replace("%2fsecret", "")
    assert "root:" not in answer.text
    assert str(shop.results) not in answer.text


@pytest.mark.parametrize(
    "dag_id", ["abtest__..", "abtest__%2e%2e%2f", "abtest__a%2fb", "abtest__A", "abtest__%00", "abtest__"]
)
def test_a_name_that_is_no_key_gives_a_page_and_nothing_else(sign_in, dag_id):
    answer = sign_in("root").get(f"/abtest/dags/{dag_id}")
    assert answer.status_code == 404


def test_a_night_that_is_not_there_names_those_that_are(sign_in):
    text = sign_in("vic").get(f"/abtest/dags/{DAG}/nights/2026-02-20").text
    assert "has no night of 2026-02-20. Its nearest published nights: 2026-02-07 and 2026-02-08." in text


def test_a_revision_that_is_not_there_names_those_that_are(sign_in, revision):
    text = sign_in("vic").get(f"/abtest/dags/{DAG}/nights/{AS_OF}/000000000000").text
    assert f"There are: {revision}" in text


def test_a_night_without_a_report_says_what_failed(sign_in, shop):
    folder = failures.record(shop.results, KEY, "2026-02-09", "collect", "no table 'purchases' <b>").parent
    try:
        text = sign_in("vic").get(f"/abtest/dags/{DAG}/nights/2026-02-09").text
    finally:
        (folder / "collect.json").unlink()
        folder.rmdir()
        folder.parent.rmdir()
    assert "What failed: collect: no table &#39;purchases&#39; &lt;b&gt;" in text


def test_dags_of_others_say_kindly_that_they_have_no_pages(sign_in):
    for address in ("/abtest/dags/somebody_elses", f"/abtest/dags/somebody_elses/runs/{RUN}"):
        answer = sign_in("vic").get(address)
        assert answer.status_code == 404
        assert "does not belong to an experiment" in answer.text


def test_the_report_of_a_run_is_that_of_the_end_of_its_interval(sign_in, shop, revision):
    answer = sign_in("vic").get(f"/abtest/dags/{DAG}/runs/{RUN}")
    assert answer.content == (shop.results / KEY / str(AS_OF) / revision / "report.html").read_bytes()


def test_files_have_their_type_and_come_as_they_are(sign_in, shop, revision):
    address = f"/abtest/dags/{DAG}/nights/{AS_OF}/{revision}"
    for name, kind in (("results.json", "application/json"), ("report.md", "text/plain"), ("numbers.csv", "text/csv")):
        answer = sign_in("vic").get(f"{address}/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert answer.content == (shop.results / KEY / str(AS_OF) / revision / name).read_bytes()
    assert json.loads(sign_in("vic").get(f"{address}/results.json").text)["revision"] == revision


def test_every_answer_has_the_headers(sign_in, revision):
    strange = ["/abtest/", "/abtest/nowhere", "/abtest/docs", "/abtest/openapi.json", "/abtest/dags/~"]
    for name in ("vic", None):
        client = sign_in(name)
        for address in [*addresses(revision).values(), *strange]:
            for method in ("GET", "POST", "OPTIONS"):
                answer = client.request(method, address, follow_redirects=False)
                policy = answer.headers["content-security-policy"]
                assert policy.startswith("default-src 'none';"), address
                assert "frame-ancestors 'self'" in policy
                assert "allow-scripts" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["cache-control"] == "no-store"
                assert method == "GET" or answer.status_code in (401, 404, 405), (method, address)


def test_no_list_of_routes_is_served(sign_in):
    for path in ("docs", "redoc", "openapi.json"):
        assert sign_in("root").get(f"/abtest/{path}").status_code == 404


def test_titles_are_text_on_every_page(sign_in, revision):
    client = sign_in("vic")
    for route, address in addresses(revision).items():
        answer = client.get(address)
        if answer.headers["content-type"].startswith("text/html"):
            assert "<script" not in answer.text, route
    assert html.escape(TITLE, quote=False)[:20] in client.get("/abtest/experiments").text


def test_links_know_whether_they_are_in_airflows_frame(sign_in):
    whole, framed = (sign_in("vic").get("/abtest/experiments", headers=sent).text
                     for sent in ({}, {"Sec-Fetch-Dest": "iframe"}))  # fmt: skip
    assert f'<a href="/dags/{DAG}" target="_top">' in whole
    assert f'<a href="/dags/{DAG}" target="_self">' in framed


def test_links_lead_below_the_path_that_airflow_is_served_at(application, sign_in):
    from starlette.testclient import TestClient

    below = TestClient(application, base_url="http://airflow.example.com", root_path="/air")
    below.cookies.update(sign_in("vic").cookies)
    text = below.get("/air/abtest/experiments").text
    links = set(re.findall(' (?:href|action)="(/[^"]*)"', text))
    assert f"/air/abtest/dags/{DAG}" in links
    assert f"/air/dags/{DAG}" in links
    assert {link for link in links if not link.startswith("/air/")} == set()


def test_airflow_shows_the_pages_where_they_belong(sign_in):
    answer = sign_in("vic").get("/api/v2/plugins").json()
    (plugin,) = (one for one in answer["plugins"] if one["name"] == "abtest_pages")
    assert {view["destination"] for view in plugin["external_views"]} == {"nav", "dag", "dag_run"}
    assert not [one for one in answer["plugins"] if "routes" in one["name"]]


def test_the_plugin_itself_imports_nothing_that_serves_pages():
    code = """
import sys, airflow.plugins_manager
before = set(sys.modules)
import abtest_pages
print(sorted(set(sys.modules) - before))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.splitlines()[-1] == "['abtest_pages']"
