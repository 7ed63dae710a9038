"""Waiting nights under a real scheduler and triggerer: a restart in mid-wait, data that comes late, and never."""

import datetime as dt
import json
import time

import duckdb
import pytest

from abtest_lib import failures, results
from demo.airflow_local import LocalAirflow, connections
from demo.receivers import MailReceiver, SlackReceiver

# The night as of 5 March decides (tests/dags/conftest.py); its data is that of the 4th.
DATA_ON = dt.date(2026, 3, 4)
AS_OF = dt.date(2026, 3, 5)
KEYS = ("checkout", "patient", "strict")


class Waits:
    """What happened, and the lines of the log and the file while the first night waited."""

    def __init__(self, airflow, mail, results):
        self.airflow, self.mail, self.results = airflow, mail, results
        self.before, self.after, self.log = None, None, ""

    def run(self, key):
        return self.airflow.runs(f"abtest__{key}")[str(DATA_ON)]

    def tasks(self, key):
        return self.airflow.task_states(f"abtest__{key}", self.run(key)["dag_run_id"])

    def waiting_log(self, key):
        return self.airflow.task_log(f"abtest__{key}", self.run(key)["dag_run_id"], "outcomes_ready")

    def waiting_file(self, key):
        path = self.results / key / str(AS_OF) / "waiting.json"
        return json.loads(path.read_text()) if path.exists() else None


def until(ready, airflow, seconds=180):
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        airflow.check()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


def change(path, statement):
    while True:  # a look at this very moment holds the file
        try:
            with duckdb.connect(str(path)) as warehouse:
                warehouse.execute(statement)
            return
        except duckdb.IOException:
            time.sleep(0.1)


@pytest.fixture(scope="module")
def definitions(definitions_folder):
    """Three experiments whose purchases are late; two also have visits, which never come, as a secondary metric."""
    for path in definitions_folder.glob("*.yaml"):
        if path.stem not in ("sources", "metrics", "checkout"):
            path.unlink()
    sources, metrics = definitions_folder / "sources.yaml", definitions_folder / "metrics.yaml"
    sources.write_text(
        sources.read_text().replace(
            "outcomes:\n", "outcomes:\n  visits: {table: visits, unit: unit_id, occurred_at: occurred_at}\n"
        )
    )
    metrics.write_text(
        metrics.read_text()
        + "visited: {title: Visits, kind: proportion, source: visits, window_days: 1, better: higher}\n"
    )
    text = (definitions_folder / "checkout.yaml").read_text().replace("secondary: []", "secondary: [visited]")
    (definitions_folder / "patient.yaml").write_text(f"{text}when_late: leave_out\n")
    (definitions_folder / "strict.yaml").write_text(text)
    return definitions_folder


@pytest.fixture(scope="module")
def warehouse(module_warehouse):
    change(module_warehouse, "DELETE FROM purchases WHERE occurred_at >= TIMESTAMP '2026-03-04'")
    change(module_warehouse, "CREATE TABLE visits AS FROM purchases")
    change(
        module_warehouse,
        "INSERT INTO exposures SELECT key, unit_id, variant, exposed_at "
        "FROM exposures, (VALUES ('patient'), ('strict')) AS keys(key) WHERE experiment_id = 'checkout'",
    )
    return module_warehouse


@pytest.fixture(scope="module")
def waits(tmp_path_factory, definitions, warehouse):
    folder = tmp_path_factory.mktemp("waits")
    with MailReceiver(folder / "mail") as mail, SlackReceiver(folder / "slack") as slack:
        env = {
            "ABTEST_EXPERIMENTS": str(definitions),
            "ABTEST_WAREHOUSE": str(warehouse),
            "ABTEST_RESULTS": str(folder / "results"),
            "ABTEST_POLL_SECONDS": "1",
            "ABTEST_RETRY_SECONDS": "1",
            **connections(mail, slack),
        }
        with LocalAirflow(folder / "airflow", env) as airflow:
            airflow.wait_for_dags(*(f"abtest__{key}" for key in KEYS))
            found = Waits(airflow, mail, folder / "results")
            _late(found, warehouse)
            _never(found)
            yield found


def _late(waits, warehouse):
    """A night waits, its triggerer is restarted, its data comes."""
    airflow = waits.airflow
    airflow.backfill("abtest__checkout", DATA_ON)
    waits.before = until(lambda: waits.waiting_file("checkout"), airflow)
    airflow.restart("triggerer")
    until(lambda: waits.waiting_log("checkout").count("waiting since") == 2, airflow)
    waits.after, waits.states = waits.waiting_file("checkout"), waits.tasks("checkout")
    change(warehouse, "INSERT INTO purchases VALUES ('visitor', TIMESTAMP '2026-03-04 12:00')")
    airflow.wait("abtest__checkout", DATA_ON)
    waits.log = waits.waiting_log("checkout")


def _never(waits):
    """Two nights wait a second for visits that never come."""
    airflow = waits.airflow

    parsed = airflow.request("GET", "/api/v2/dags/abtest__strict")["last_parsed_time"]
    airflow.restart("dag-processor", {"ABTEST_WAIT_HOURS": "0.0003"})
    until(lambda: airflow.request("GET", "/api/v2/dags/abtest__strict")["last_parsed_time"] > parsed, airflow)
    for key in ("patient", "strict"):
        airflow.backfill(f"abtest__{key}", DATA_ON, {"deliver": True})
    for key in ("patient", "strict"):
        airflow.wait(f"abtest__{key}", DATA_ON)


def test_a_night_ends_its_wait_when_the_data_comes(waits):
    assert waits.states["outcomes_ready"] == "deferred"
    assert waits.tasks("checkout")["report"] == "success"
    assert waits.run("checkout")["state"] == "success"
    assert "every source is loaded" in waits.log
    assert waits.waiting_file("checkout") is None


def test_a_restart_of_the_triggerer_does_not_begin_the_wait_anew(waits):
    assert waits.before["since"] == waits.after["since"]
    assert waits.before["until"] == waits.after["until"]
    (source,) = waits.after["sources"]
    assert source == {"source": "purchases", "reason": "has no row of 2026-03-04 or later"}


def test_a_night_without_its_data_is_held_and_the_owner_is_told_so(waits):
    assert waits.tasks("strict")["outcomes_ready"] == "failed"
    assert failures.is_held(waits.results, "strict", AS_OF)
    mails = [mail.message for mail in waits.mail.messages if "HELD" in mail.message["Subject"]]
    assert [mail["Subject"] for mail in mails] == ["HELD: Checkout, night as of 2026-03-05"] * len(mails)
    text = mails[0].get_body(("plain",)).get_content()
    assert "still lacks visits (has no row of 2026-03-04 or later)" in " ".join(text.split())


def test_a_night_that_may_leave_out_what_is_late_is_reported_without_it(waits):
    assert waits.tasks("patient")["report"] == "success"
    night = results.night_folder(waits.results, "patient", AS_OF)
    document = results.read_json(night / "results.json")
    assert [one["metric"] for one in document["exposure"]["left_out"]] == ["visited"]
    assert [one["metric"] for one in document["metrics"]] == ["conversion"]
