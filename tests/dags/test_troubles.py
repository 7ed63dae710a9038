"""What goes wrong in the night, under a real Airflow with two schedulers: each night once, one mail, a clear text."""

import asyncio
import datetime as dt
import os
import signal
import time

import duckdb
import pytest

from abtest_lib import publishing, results
from conftest import EXPERIMENT, METRICS, SOURCES
from demo.airflow_local import FINISHED, LocalAirflow, LocalAirflowError, connections
from demo.receivers import MailReceiver, SlackReceiver
from tests.engines import airflow_database, postgresql_url  # noqa: F401

DAY = dt.timedelta(days=1)
# The night that every test redoes; long decided.
DATA_ON, AS_OF = dt.date(2026, 3, 4), dt.date(2026, 3, 5)
TODAY = dt.datetime.now(dt.UTC).date()
REDONE = ("busy_server", "cut_off", "killed", "no_slack", "restarted")
TONIGHT = ("tonight_one", "tonight_two")


class TroubledMail(MailReceiver):
    """Takes a first mail for some only at the second try, and lets a sender wait for its answer for ever."""

    def __init__(self, folder):
        super().__init__(folder)
        self.busy, self.took = {"busy_server@example.com"}, set()

    async def handle_DATA(self, server, session, envelope):
        """Keep a message (called by aiosmtpd)."""
        (recipient,) = envelope.rcpt_tos
        if recipient in self.busy:
            self.busy.discard(recipient)
            return "451 4.3.0 Try again later"
        answer = await super().handle_DATA(server, session, envelope)
        self.took.add(recipient)
        if recipient == "cut_off@example.com":
            await asyncio.sleep(600)
        return answer

    def to(self, recipient):
        return [mail.message for mail in list(self.messages) if recipient in mail.recipients]


class Troubles:
    """One Airflow, its mailbox and its store."""

    def __init__(self, airflow, mail, folder):
        self.airflow, self.mail, self.folder, self.results = airflow, mail, folder, folder / "results"

    def until(self, answer, timeout=400):
        """Ask again and again; a question that Airflow cannot answer now is asked again too."""
        deadline = time.monotonic() + timeout
        while True:
            self.airflow.check()
            try:
                if found := answer():
                    return found
            except (LocalAirflowError, KeyError) as error:
                found = error
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    def run(self, key, day=DATA_ON):
        return self.airflow.runs(f"abtest__{key}")[str(day)]

    def ended(self, key, day=DATA_ON):
        """Wait for the end of a night; the state of its run."""
        self.until(lambda: self.run(key, day)["state"] in FINISHED)
        return self.run(key, day)["state"]

    def task(self, key, task_id, day=DATA_ON):
        path = f"/api/v2/dags/abtest__{key}/dagRuns/{self.run(key, day)['dag_run_id']}/taskInstances/{task_id}"
        return self.airflow.request("GET", path)

    def log(self, key, task_id, day=DATA_ON, try_number=1):
        return self.airflow.task_log(f"abtest__{key}", self.run(key, day)["dag_run_id"], task_id, try_number)

    def kill(self, key, task_id):
        """End the process of a task at once."""
        os.kill(self.until(lambda: self.task(key, task_id)["pid"]), signal.SIGKILL)

    def define(self, key, starts_on=dt.date(2026, 3, 2), ends_on=dt.date(2026, 3, 4), metric="conversion", slack=False):
        """Write an experiment's file; its deciding night is a day after it ends."""
        text = EXPERIMENT.format(title=key.title(), owner=f"owner_of_{key}@example.com", primary=metric, key=key)
        text = text.replace("2026-03-02", str(starts_on)).replace("2026-03-04", str(ends_on))
        text = text if slack else text.replace(f', slack: "#{key}"', "")
        (self.folder / "experiments" / f"{key}.yaml").write_text(text)


@pytest.fixture(scope="module")
def troubles(tmp_path_factory, postgresql_url):  # noqa: F811
    folder = tmp_path_factory.mktemp("troubles")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "sources.yaml").write_text(SOURCES)
    (folder / "experiments" / "metrics.yaml").write_text(METRICS)
    write_warehouse(folder / "warehouse.duckdb")
    with TroubledMail(folder / "mail") as mail, SlackReceiver(folder / "slack") as slack:
        env = {
            "ABTEST_EXPERIMENTS": str(folder / "experiments"),
            "ABTEST_WAREHOUSE": str(folder / "warehouse.duckdb"),
            "ABTEST_RESULTS": str(folder / "results"),
            "ABTEST_POLL_SECONDS": "2",
            "ABTEST_RETRY_SECONDS": "5",  # three tries take longer than the API server is away
            "ABTEST_DIGEST_HOUR": "23",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow_database(postgresql_url, "troubles"),
            **connections(mail, slack),
        }
        del env["AIRFLOW_CONN_ABTEST_SLACK"]
        airflow = LocalAirflow(folder / "airflow", env)
        troubles = Troubles(airflow, mail, folder)
        for key in REDONE:
            troubles.define(key, slack=key == "no_slack")
        for key in TONIGHT:
            troubles.define(key, TODAY - 3 * DAY, TODAY - DAY, "bought")
        troubles.define("removed", TODAY - 3 * DAY, TODAY + 3 * DAY, "refunded")
        troubles.define("missed", TODAY - 5 * DAY, TODAY - 4 * DAY, "bought")
        troubles.define("later", TODAY + 3 * DAY, TODAY + 9 * DAY)
        with airflow:
            airflow.second_scheduler()
            keys = (*REDONE, *TONIGHT, "removed", "missed", "later")
            airflow.wait_for_dags(*(f"abtest__{key}" for key in keys), timeout=300)
            yield troubles


def write_warehouse(path):
    """Write 80 units an experiment, one every 75 minutes where nights are missed; nothing is refunded yesterday."""
    with duckdb.connect(str(path)) as warehouse:
        for key in (*REDONE, *TONIGHT, "removed", "missed"):
            minutes = 75 if key == "missed" else 15
            starts_on = dt.date(2026, 3, 2) if key in REDONE else TODAY - (5 if key == "missed" else 3) * DAY
            begun = "CREATE TABLE exposures AS" if key == REDONE[0] else "INSERT INTO exposures"
            warehouse.execute(
                f"""
                {begun} SELECT '{key}' AS experiment_id, '{key}' || i AS unit_id,
                    IF(i % 2 = 0, 'control', 'treatment') AS variant,
                    DATE '{starts_on}' + INTERVAL (i * {minutes}) MINUTE AS exposed_at, i
                FROM range(80) AS units(i)
                """  # noqa: S608
            )
        for table, last in (
            ("purchases", AS_OF),
            ("todays_purchases", TODAY - DAY),
            ("refunds", TODAY - 3 * DAY),
        ):
            warehouse.execute(
                f"""
                CREATE TABLE {table} AS
                SELECT unit_id, exposed_at + INTERVAL 3 HOUR AS occurred_at FROM exposures
                WHERE i // 2 % IF(variant = 'control', 4, 2) = 0 AND exposed_at < DATE '{TODAY - 2 * DAY}'
                UNION ALL SELECT 'visitor', DATE '{last}' + INTERVAL 12 HOUR
                """  # noqa: S608
            )
        warehouse.execute(
            "CREATE TABLE customers AS SELECT unit_id, IF(i // 2 % 2 = 0, 'ios', 'android') AS platform FROM exposures"
        )


@pytest.fixture(scope="module")
def redone(troubles):
    """Every experiment's night asked for at once, to be delivered."""
    for key in REDONE[:-1]:
        troubles.airflow.backfill(f"abtest__{key}", DATA_ON, {"deliver": True})
    return troubles


@pytest.fixture(scope="module")
def killed_while_reporting(redone):
    """A task whose process is ended when its files are written and Airflow has not been told."""
    night = redone.results / "killed"
    api = redone.airflow.process("api-server")
    with publishing.alone(night):
        redone.until(lambda: waits_for_lock(night / ".publishing"))
        pid = redone.task("killed", "report")["pid"]
        os.killpg(api.pid, signal.SIGSTOP)  # what the task tells Airflow from now on is not heard
    try:
        redone.until(lambda: results.night_folder(redone.results, "killed", AS_OF))
        current = results.night_folder(redone.results, "killed", AS_OF)
        redone.until(lambda: (current / publishing.TELLS_OF).exists())
        written = {path.name: path.read_bytes() for path in current.iterdir()}
        os.kill(pid, signal.SIGKILL)
    finally:
        os.killpg(api.pid, signal.SIGCONT)
    return written


def waits_for_lock(path):
    """Whether a process waits for the lock of a file, as the kernel knows it."""
    inode = path.stat().st_ino
    with open("/proc/locks", encoding="ascii") as locks:
        return any("->" in line and f":{inode} " in line for line in locks)


def test_a_task_killed_after_writing_writes_the_same_again_and_the_night_is_mailed_once(redone, killed_while_reporting):
    assert redone.ended("killed") == "success"
    assert redone.task("killed", "report")["try_number"] > 1
    night = results.night_folder(redone.results, "killed", AS_OF)
    assert {path.name: path.read_bytes() for path in night.iterdir()} == killed_while_reporting
    assert len(redone.mail.to("killed@example.com")) == 1


def test_a_mail_cut_off_between_sending_and_receipt_is_not_sent_twice_but_told(redone):
    redone.until(lambda: "cut_off@example.com" in redone.mail.took)
    redone.kill("cut_off", "deliver_email")
    assert redone.ended("cut_off") == "failed"
    assert len(redone.mail.to("cut_off@example.com")) == 1
    (alert,) = redone.mail.to("owner_of_cut_off@example.com")
    text = " ".join(alert.get_body(("plain",)).get_content().split())
    assert "ended without a receipt, so it may have arrived. Ask the recipient" in text


def test_a_server_that_is_busy_once_gets_the_mail_once_by_a_retry(redone):
    assert redone.ended("busy_server") == "success"
    assert redone.task("busy_server", "deliver_email")["try_number"] == 2
    assert len(redone.mail.to("busy_server@example.com")) == 1


def test_a_mail_task_that_is_cleared_after_its_success_sends_nothing_more(redone):
    redone.ended("busy_server")
    redone.airflow.request(
        "POST",
        "/api/v2/dags/abtest__busy_server/clearTaskInstances",
        {
            "dry_run": False,
            "dag_run_id": redone.run("busy_server")["dag_run_id"],
            "task_ids": ["deliver_email"],
            "only_failed": False,
        },
    )
    redone.until(lambda: redone.task("busy_server", "deliver_email")["try_number"] == 3)
    assert redone.ended("busy_server") == "success"
    assert len(redone.mail.to("busy_server@example.com")) == 1


def test_a_missing_connection_is_named_with_the_command_that_makes_it(redone):
    assert redone.ended("no_slack") == "failed"
    assert redone.task("no_slack", "report")["state"] == "success"
    assert redone.task("no_slack", "deliver_email")["state"] == "success"
    (alert,) = redone.mail.to("owner_of_no_slack@example.com")
    text = alert.get_body(("plain",)).get_content()
    assert "The Airflow connection 'abtest_slack' does not exist" in text
    assert "airflow connections add abtest_slack --conn-type slack --conn-password" in text


def test_two_schedulers_run_each_night_once_and_mail_it_once(troubles):
    for key in TONIGHT:
        assert troubles.ended(key, TODAY - DAY) == "success"
        (run,) = troubles.airflow.runs(f"abtest__{key}").values()
        assert run["run_type"] == "scheduled"
        assert len(troubles.mail.to(f"{key}@example.com")) == 1


def test_missed_nights_are_made_up_in_order_and_only_the_newest_is_mailed(troubles):
    first = TODAY - 5 * DAY
    troubles.airflow.backfill("abtest__missed", first)
    assert troubles.ended("missed", first) == "success"
    troubles.define("missed", first, TODAY - DAY, "bought")  # as after an outage: nights between then and now
    days = [first + number * DAY for number in range(1, 5)]
    troubles.until(lambda: str(days[-1]) in troubles.airflow.runs("abtest__missed"))
    assert {troubles.ended("missed", day) for day in days} == {"success"}
    runs = [troubles.run("missed", day) for day in days]
    assert {run["run_type"] for run in runs} == {"scheduled"}
    ends = [run["end_date"] for run in runs]
    assert all(end <= run["start_date"] for end, run in zip(ends, runs[1:], strict=False))
    assert [results.night_folder(troubles.results, "missed", day + DAY) is not None for day in days] == [True] * 4
    (mail,) = troubles.mail.to("missed@example.com")
    assert f"{TODAY - DAY:%-d %B %Y}" in mail.get_body(("plain",)).get_content()
    assert "This night was missed and made up" in troubles.log("missed", "deliver_email", days[0])


def test_a_removed_experiment_ends_its_runs_and_says_so(troubles):
    day = TODAY - DAY
    troubles.until(lambda: troubles.task("removed", "outcomes_ready", day)["state"] == "deferred")
    troubles.until(lambda: (troubles.results / "removed" / str(TODAY) / "waiting.json").exists())
    (troubles.folder / "experiments" / "removed.yaml").unlink()
    assert troubles.ended("removed", day) == "failed"
    told = [mail.get_body(("plain",)).get_content() for mail in troubles.mail.to("oncall@example.com")]
    text = " ".join("\n".join(told).split())
    assert "removed.yaml: is gone, so this night is given up" in text
    assert "If the file was renamed, the new name is a new experiment without history" in text


def test_a_start_in_the_future_runs_nothing_and_a_backfill_of_it_is_refused(troubles):
    assert troubles.airflow.runs("abtest__later") == {}
    with pytest.raises(LocalAirflowError, match="future dates"):
        troubles.airflow.backfill("abtest__later", TODAY + 3 * DAY)
    troubles.airflow.backfill("abtest__later", TODAY - 2 * DAY)
    assert troubles.ended("later", TODAY - 2 * DAY) == "failed"
    assert "is before the first night" in troubles.log("later", "outcomes_ready", TODAY - 2 * DAY)


def test_an_api_server_that_is_restarted_under_way_keeps_no_night_from_ending(redone):
    redone.airflow.backfill("abtest__restarted", DATA_ON, {"deliver": True})
    redone.until(lambda: redone.task("restarted", "collect")["state"] == "running")
    redone.airflow.restart("api-server")
    assert redone.ended("restarted") == "success"
    assert len(redone.mail.to("restarted@example.com")) == 1
