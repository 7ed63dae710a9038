"""Backfills under a real Airflow: ranges, a whole month, beside runs that wait, by REST, command line and browser."""

import datetime as dt
import time

import duckdb
import pytest

from abtest_lib import definitions, pipeline, results
from abtest_lib.warehouse import connect
from conftest import EXPERIMENT, METRICS, SOURCES
from demo.airflow_local import LocalAirflow, connections
from demo.receivers import MailReceiver, SlackReceiver
from tests.engines import airflow_database, postgresql_url  # noqa: F401

TODAY = dt.datetime.now(dt.UTC).date()
FIRST, LAST = dt.date(2026, 2, 1), dt.date(2026, 2, 28)
DAYS = [FIRST + dt.timedelta(days=number) for number in range(28)]
# More than the 20 runs that Airflow's scheduler looks at by default before it comes to a backfill.
WAITING = [f"waiting_{number}" for number in range(25)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Definitions and a warehouse; ``month``, ``left`` and ``right`` ended long ago, the others wait tonight."""
    folder = tmp_path_factory.mktemp("backfills")
    experiments = folder / "experiments"
    experiments.mkdir()
    (experiments / "sources.yaml").write_text(SOURCES)
    (experiments / "metrics.yaml").write_text(METRICS)
    for key, starts_on, ends_on, metric in (
        ("month", FIRST, LAST, "conversion"),
        ("left", FIRST, FIRST + dt.timedelta(days=2), "conversion"),
        ("right", FIRST, FIRST + dt.timedelta(days=2), "conversion"),
        ("refund_flow", FIRST, FIRST + dt.timedelta(days=1), "refunded"),
        *((key, TODAY - dt.timedelta(days=3), TODAY + dt.timedelta(days=3), "bought") for key in WAITING),
    ):
        text = EXPERIMENT.format(title=key.title(), owner="ana@example.com", primary=metric, key=key)
        text = text.replace("2026-03-02", str(starts_on)).replace("2026-03-04", str(ends_on))
        (experiments / f"{key}.yaml").write_text(text)
    write_warehouse(folder / "warehouse.duckdb")
    return folder


def write_warehouse(path):
    """Write 20 units a day; the last day of ``todays_purchases`` is never loaded, the table ``refunds`` not yet."""
    with duckdb.connect(str(path)) as warehouse:
        warehouse.execute(
            """
            CREATE TABLE exposures AS
            SELECT key AS experiment_id, 'u' || i AS unit_id, IF(i % 2 = 0, 'control', 'treatment') AS variant,
                   DATE '2026-02-01' + INTERVAL (i * 72) MINUTE AS exposed_at
            FROM range(560) AS units(i), (VALUES ('month'), ('left'), ('right'), ('refund_flow')) AS experiments(key)
            """
        )
        warehouse.execute(
            """
            CREATE TABLE purchases AS
            SELECT unit_id, exposed_at + INTERVAL 3 HOUR AS occurred_at FROM exposures
            WHERE experiment_id = 'month' AND substr(unit_id, 2)::INTEGER // 2 % IF(variant = 'control', 4, 2) = 0
            UNION ALL SELECT 'visitor', TIMESTAMP '2026-03-05 12:00'
            """
        )
        warehouse.execute("CREATE TABLE todays_purchases AS SELECT * FROM purchases")
        warehouse.execute(
            "CREATE TABLE customers AS SELECT 'u' || i AS unit_id, IF(i // 2 % 2 = 0, 'ios', 'android') AS platform "
            "FROM range(560) AS units(i)"
        )


class Backfills:
    """One Airflow, and what its runs left."""

    def __init__(self, airflow, mail, slack, folder):
        self.airflow, self.mail, self.slack, self.folder = airflow, mail, slack, folder
        self.results = folder / "results"

    def states(self, key):
        return {day: run["state"] for day, run in self.airflow.runs(f"abtest__{key}").items()}

    def tries(self, key):
        """How often ``collect`` has run, by day of data."""
        runs = self.airflow.runs(f"abtest__{key}")
        return {day: self.task(key, run["dag_run_id"], "collect")["try_number"] for day, run in runs.items()}

    def task(self, key, run_id, task_id):
        return self.airflow.request("GET", f"/api/v2/dags/abtest__{key}/dagRuns/{run_id}/taskInstances/{task_id}")

    def wait(self, key, days, *, timeout=600, since=None):
        """Wait until the runs of these days have ended, those that ran before for another time."""
        deadline, runs = time.monotonic() + timeout, {}
        while time.monotonic() < deadline:
            self.airflow.check()
            runs = self.airflow.runs(f"abtest__{key}")
            if all(self._ended(runs.get(str(day)), since) for day in days):
                return {str(day): runs[str(day)]["state"] for day in days}
            time.sleep(0.5)
        raise AssertionError(f"{key}: not ended: {runs}")

    @staticmethod
    def _ended(run, since):
        return run is not None and run["state"] in ("success", "failed") and (since is None or run["end_date"] > since)

    def until(self, what, timeout=300):
        """Ask again and again until there is an answer."""
        deadline = time.monotonic() + timeout
        while not (answer := what()):
            self.airflow.check()
            assert time.monotonic() < deadline, what
            time.sleep(0.5)
        return answer

    def until_free(self, key):
        """Wait until Airflow takes another backfill: one whose runs have ended counts as running for a while."""
        path = f"/api/v2/backfills?dag_id=abtest__{key}&limit=100"
        self.until(lambda: all(one["completed_at"] for one in self.airflow.request("GET", path)["backfills"]))

    def revision(self, key, day):
        return results.night_folder(self.results, key, day + dt.timedelta(days=1))


def now():
    return dt.datetime.now(dt.UTC).isoformat()


def request(first, last, reprocess):
    return {
        "from_date": f"{first}T00:00:00Z",
        "to_date": f"{last}T00:00:00Z",
        "reprocess_behavior": reprocess,
        "max_active_runs": 4,
    }


@pytest.fixture(scope="module")
def backfills(folder, postgresql_url):  # noqa: F811
    with MailReceiver(folder / "mail") as mail, SlackReceiver(folder / "slack") as slack:
        env = {
            "ABTEST_EXPERIMENTS": str(folder / "experiments"),
            "ABTEST_WAREHOUSE": str(folder / "warehouse.duckdb"),
            "ABTEST_RESULTS": str(folder / "results"),
            "ABTEST_POLL_SECONDS": "2",
            "ABTEST_RETRY_SECONDS": "1",
            "ABTEST_DIGEST_HOUR": "23",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow_database(postgresql_url, "backfills"),
            **connections(mail, slack),
        }
        with LocalAirflow(folder / "airflow", env) as airflow:
            asked = ("month", "left", "right", "refund_flow", *WAITING)
            airflow.wait_for_dags(*(f"abtest__{key}" for key in asked), timeout=180)
            yield Backfills(airflow, mail, slack, folder)


@pytest.fixture(scope="module")
def all_done(backfills):
    """While the nights of 25 experiments wait: a month in one go and two more experiments, all asked for at once."""

    def waits(key):
        runs = backfills.airflow.runs(f"abtest__{key}").values()
        return [backfills.task(key, run["dag_run_id"], "outcomes_ready")["state"] == "deferred" for run in runs]

    backfills.until(lambda: all(waits(key) == [True] for key in WAITING))
    asked = {"month": DAYS, "left": DAYS[:3], "right": DAYS[:3]}
    ids = {
        key: backfills.airflow.backfill(f"abtest__{key}", days[0], until=days[-1], max_active_runs=4)
        for key, days in asked.items()
    }
    states = {key: backfills.wait(key, days) for key, days in asked.items()}
    yield ids, states
    assert all(waits(key) == [True] for key in WAITING)


def test_a_dry_run_first_shows_the_nights(backfills):
    body = {"dag_id": "abtest__refund_flow", **request(FIRST, FIRST + dt.timedelta(days=1), "none")}
    shown = backfills.airflow.request("POST", "/api/v2/backfills/dry_run", body)
    assert [one["logical_date"][:10] for one in shown["backfills"]] == ["2026-02-01", "2026-02-02"]
    assert backfills.states("refund_flow") == {}


def test_backfills_end_beside_more_waiting_nights_than_airflow_looks_at(all_done):
    _, states = all_done
    assert {key: set(found.values()) for key, found in states.items()} == {
        "month": {"success"},
        "left": {"success"},
        "right": {"success"},
    }


def test_a_range_of_days_makes_the_report_of_each_of_them(all_done, backfills):
    for day in DAYS[:3]:
        document = results.read_json(backfills.revision("left", day) / "results.json")
        assert document["as_of"] == str(day + dt.timedelta(days=1))


def test_a_month_four_nights_at_a_time_is_byte_for_byte_the_month_in_order(all_done, backfills, tmp_path):
    experiment = definitions.load_experiment(backfills.folder / "experiments", "month")
    metrics = definitions.load_catalogue(backfills.folder / "experiments").metrics.values()
    with connect(backfills.folder / "warehouse.duckdb") as warehouse:
        for day in DAYS:
            pipeline.run(experiment, day + dt.timedelta(days=1), warehouse, tmp_path, metrics)
    for day in DAYS:
        one, other = backfills.revision("month", day), results.night_folder(tmp_path, "month", day + dt.timedelta(1))
        assert one.name == other.name
        assert {path.name: path.read_bytes() for path in one.iterdir()} == {
            path.name: path.read_bytes() for path in other.iterdir()
        }, day


def test_nothing_is_sent_by_a_backfill(all_done, backfills):
    keys = {"month", "left", "right"}
    assert keys.isdisjoint(recipient.split("@")[0] for mail in backfills.mail.messages for recipient in mail.recipients)
    assert keys.isdisjoint(message["channel"].lstrip("#") for message in backfills.slack.messages)


def redo(backfills, key, days, reprocess):
    """Backfill days that may have run before; how often ``collect`` has run after it, by day."""
    asked = request(days[0], days[-1], reprocess)
    shown = backfills.airflow.request("POST", "/api/v2/backfills/dry_run", {"dag_id": f"abtest__{key}", **asked})
    again = [dt.date.fromisoformat(one["logical_date"][:10]) for one in shown["backfills"]]
    since = now()
    backfills.airflow.backfill(f"abtest__{key}", days[0], until=days[-1], reprocess=reprocess, max_active_runs=4)
    backfills.wait(key, again, since=since)
    return backfills.tries(key)


def test_missing_failed_and_all_run_what_they_say(all_done, backfills):
    days = DAYS[:2]
    assert set(redo(backfills, "refund_flow", days[:1], "none").values()) == {0}  # the table is not there
    assert backfills.states("refund_flow") == {"2026-02-01": "failed"}
    while True:
        try:
            with duckdb.connect(str(backfills.folder / "warehouse.duckdb")) as warehouse:
                warehouse.execute("CREATE TABLE refunds AS SELECT * FROM purchases")
            break
        except duckdb.IOException:  # a night that waits is looking at it
            time.sleep(0.1)
    assert redo(backfills, "refund_flow", days, "none") == {"2026-02-01": 0, "2026-02-02": 1}
    assert redo(backfills, "refund_flow", days, "failed") == {"2026-02-01": 1, "2026-02-02": 1}
    before = {day: backfills.revision("refund_flow", day) for day in days}
    files = {path: path.read_bytes() for night in before.values() for path in night.iterdir()}
    assert redo(backfills, "refund_flow", days, "completed") == {"2026-02-01": 2, "2026-02-02": 2}
    assert {day: backfills.revision("refund_flow", day) for day in days} == before
    assert files == {path: path.read_bytes() for night in before.values() for path in night.iterdir()}


def test_a_corrected_definition_makes_new_revisions_beside_the_old_ones(all_done, backfills):
    before = {day: backfills.revision("left", day) for day in DAYS[:3]}
    path = backfills.folder / "experiments" / "left.yaml"
    path.write_text(path.read_text().replace("smallest_effect: 0.02", "smallest_effect: 0.03"))
    redo(backfills, "left", DAYS[:3], "completed")
    for day in DAYS[:3]:
        night = backfills.revision("left", day)
        assert night != before[day]
        assert (before[day] / "report.html").is_file()
        assert f"replaces revision {before[day].name}" in (night / "report.md").read_text()


def test_the_command_line_asks_for_a_backfill_too(all_done, backfills):
    backfills.until_free("right")
    since = now()
    backfills.airflow.command(
        *("backfill", "create", "--dag-id", "abtest__right", "--from-date", str(FIRST), "--to-date", str(FIRST)),
        *("--reprocess-behavior", "completed", "--dag-run-conf", '{"deliver": true}'),
    )
    assert backfills.wait("right", DAYS[:1], since=since) == {str(FIRST): "success"}
    assert sum("right@example.com" in mail.recipients for mail in backfills.mail.messages) == 1


def test_an_analyst_redoes_two_nights_in_the_browser(all_done, backfills, chromium):
    backfills.until_free("right")
    airflow, since = backfills.airflow, now()
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    page.goto(f"{airflow.url}/auth/login")
    page.fill("input[name=username]", airflow.username)
    page.fill("input[name=password]", airflow.password)
    page.click("button[type=submit]")
    page.get_by_role("link", name="Dags").first.wait_for()
    page.goto(f"{airflow.url}/dags/abtest__right")
    page.get_by_test_id("trigger-dag-button").click()
    form = page.locator("[role=dialog][data-state=open]").first
    form.get_by_text("Backfill", exact=True).click()
    for day in DAYS[1:3]:
        form.get_by_text("Select date and time").first.click()
        picker = page.locator("[data-scope=popover][data-part=content][data-state=open]")
        picker.get_by_placeholder("YYYY/MM/DD").fill(f"{day:%Y/%m/%d}")
        picker.get_by_placeholder("HH:mm").fill("00:00")
        picker.get_by_placeholder("HH:mm").press("Enter")
        form.get_by_text("Date Range").click()
    form.get_by_text("All Runs").click()
    form.get_by_text("2 runs will be triggered.").wait_for()
    form.get_by_role("button", name="Run Backfill").click()
    assert backfills.wait("right", DAYS[1:3], since=since) == {"2026-02-02": "success", "2026-02-03": "success"}
    page.close()


def test_days_before_the_start_fail_and_name_the_first_night(all_done, backfills):
    day = FIRST - dt.timedelta(days=1)
    backfills.airflow.backfill("abtest__left", day)
    assert backfills.wait("left", [day]) == {str(day): "failed"}
    run = backfills.airflow.runs("abtest__left")[str(day)]["dag_run_id"]
    log = backfills.airflow.task_log("abtest__left", run, "outcomes_ready")
    assert "left, 2026-02-01: is before the first night. starts_on is 2026-02-01" in log
