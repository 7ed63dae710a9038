"""Nights under a real scheduler, triggerer, dag-processor and API, with a real mail server and a local Slack."""

import datetime as dt
import subprocess
import sys
import time
import urllib.parse

import duckdb
import pytest

from abtest_lib import results
from abtest_lib.report.text import short_day
from demo.airflow_local import FINISHED, LocalAirflow, LocalAirflowError, connections
from demo.receivers import MailReceiver, SlackReceiver
from tests.browser.fixtures import assert_pictures_are_seen

TODAY = dt.datetime.now(dt.UTC).date()
LAST_DAY = TODAY - dt.timedelta(days=1)
# The digest's hour is still to come (but late in the evening), so that only the end of the night can start it.
DIGEST_HOUR = (dt.datetime.now(dt.UTC).hour + 2) % 24
DIGEST_BY_ASSET = dt.datetime.now(dt.UTC).hour < DIGEST_HOUR
# The night as of 5 March decides (tests/dags/conftest.py); its data is that of the 4th.
DATA_ON = dt.date(2026, 3, 4)
REASON = "purchases were repaired"


class Nights:
    """What happened: the end of each run, its tasks, and the messages."""

    def __init__(self, airflow, mail, slack, results, asked):
        self.airflow, self.mail, self.slack, self.results, self.asked = airflow, mail, slack, results, asked

    def run(self, key):
        return self.airflow.runs(f"abtest__{key}")[str(DATA_ON)]

    def tasks(self, key):
        return self.airflow.task_states(f"abtest__{key}", self.run(key)["dag_run_id"])

    def log(self, key, task_id):
        return self.airflow.task_log(f"abtest__{key}", self.run(key)["dag_run_id"], task_id)

    def mails_to(self, recipient):
        return [mail.message for mail in self.mail.messages if recipient in mail.recipients]


@pytest.fixture(scope="module")
def nights(tmp_path_factory, definitions_folder, module_warehouse):
    folder = tmp_path_factory.mktemp("night")
    change(module_warehouse, "DELETE FROM todays_purchases WHERE unit_id = 'visitor'")
    with MailReceiver(folder / "mail") as mail, SlackReceiver(folder / "slack") as slack:
        env = {
            "ABTEST_EXPERIMENTS": str(definitions_folder),
            "ABTEST_WAREHOUSE": str(module_warehouse),
            "ABTEST_RESULTS": str(folder / "results"),
            "ABTEST_POLL_SECONDS": "1",
            "ABTEST_RETRY_SECONDS": "1",
            "ABTEST_DIGEST_HOUR": str(DIGEST_HOUR),
            "ABTEST_DEADLINE_HOUR": "0",
            "ABTEST_WAREHOUSE_SLOTS": "3",
            **connections(mail, slack),
        }
        with LocalAirflow(folder / "airflow", env) as airflow:
            asked = {"checkout": {"deliver": True, "reason": REASON}, "banner": {}, "refund_flow": {}, "typo": {}}
            ours = ("abtest__tonight", "abtest_adhoc", "abtest_digest", "abtest_deadline")
            airflow.wait_for_dags(*(f"abtest__{key}" for key in asked), *ours)
            for key, conf in asked.items():
                airflow.backfill(f"abtest__{key}", DATA_ON, conf)
            # At the hour of the deadline a source of tonight is not loaded yet.
            airflow.wait("abtest_deadline", LAST_DAY)
            change(module_warehouse, "INSERT INTO todays_purchases VALUES ('visitor', $1)", f"{LAST_DAY} 12:00:00")
            for key in asked:
                airflow.wait(f"abtest__{key}", DATA_ON)
            airflow.backfill("abtest_digest", DATA_ON, until=DATA_ON + dt.timedelta(days=1))
            request = approve(airflow, "abtest__tonight", mail)
            airflow.wait("abtest__tonight", LAST_DAY)
            airflow.wait("abtest_digest", DATA_ON)
            wait_for_digest_of_tonight(airflow)
            yield Nights(airflow, mail, slack, folder / "results", request)


def change(warehouse, statement, *values):
    """Write while others read now and then: DuckDB lets one process in at a time."""
    while True:
        try:
            with duckdb.connect(str(warehouse)) as opened:
                opened.execute(statement, values)
            return
        except duckdb.IOException:
            time.sleep(0.05)


def approve(airflow, dag_id, mail):
    """Answer as somebody does who finds the run under Required Actions; what was asked, and who had mail by then."""
    run_id = airflow.runs(dag_id)[str(LAST_DAY)]["dag_run_id"]
    airflow.wait_until(
        "the question to be asked",
        lambda: airflow.task_states(dag_id, run_id)["sign_off"] in ("awaiting_input", "failed"),
    )
    run = urllib.parse.quote(run_id)
    (asked,) = airflow.request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run}/hitlDetails")["hitl_details"]
    asked["told"] = [recipient for message in mail.messages for recipient in message.recipients]
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/sign_off/-1/hitlDetails"
    airflow.request("PATCH", path, {"chosen_options": ["Approve"], "params_input": {}})
    return asked


def wait_for_digest_of_tonight(airflow):
    if not DIGEST_BY_ASSET:
        airflow.wait("abtest_digest", LAST_DAY)
        return
    airflow.wait_until(
        "the digest of tonight", lambda: any(run["state"] in FINISHED for run in airflow.asset_runs("abtest_digest"))
    )


def test_a_good_night_is_green_to_the_last_task(nights):
    states = nights.tasks("checkout")
    assert states.pop("alert_owner") == "skipped"
    assert set(states.values()) == {"success"}, states
    assert nights.run("checkout")["state"] == "success"


def test_a_good_night_sends_one_mail_and_one_reply_below_the_experiments_message(nights):
    assert len(nights.mails_to("checkout@example.com")) == 1
    first, reply = (message for message in nights.slack.messages if message["channel"] == "#checkout")
    assert "thread_ts" not in first
    assert reply["thread_ts"] == first["ts"]


def test_a_night_that_the_scheduler_starts_by_itself_is_delivered(nights):
    (run,) = nights.airflow.runs("abtest__tonight").values()
    assert (run["run_type"], run["state"]) == ("scheduled", "success")
    (mail,) = nights.mails_to("tonight@example.com")
    assert "SHIP" in mail["Subject"]
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "multipart/related"]


def test_the_same_night_by_hand_gives_the_same_bytes(nights, tmp_path, definitions_folder, module_warehouse):
    command = [sys.executable, "-m", "abtest_lib.cli", "run", "checkout", "--as-of", "2026-03-05"]
    places = {"--experiments": definitions_folder, "--warehouse": module_warehouse, "--results": tmp_path}
    options = [str(part) for pair in places.items() for part in pair]
    subprocess.run([*command, *options], check=True, capture_output=True)  # noqa: S603
    by_airflow = results.night_folder(nights.results, "checkout", dt.date(2026, 3, 5))
    by_hand = results.night_folder(tmp_path, "checkout", dt.date(2026, 3, 5))
    assert by_hand.name == by_airflow.name
    names = sorted(path.name for path in by_hand.iterdir())
    assert {"results.json", "report.html", "moments.parquet"} <= set(names)
    assert names == sorted(path.name for path in by_airflow.iterdir())
    for name in names:
        assert (by_hand / name).read_bytes() == (by_airflow / name).read_bytes(), name


def test_the_report_of_a_good_night_is_in_the_results(nights):
    night = nights.results / "checkout" / "2026-03-05"
    assert (night / (night / "current").read_text().strip() / "report.html").is_file()


def test_the_reason_of_a_backfill_is_kept_with_the_revision(nights):
    (line,) = results.publications(nights.results / "checkout" / "2026-03-05")
    assert (line["replaces"], line["reason"]) == (None, REASON)
    (line,) = results.publications(nights.results / "banner" / "2026-03-05")
    assert line["reason"] is None


def test_a_failed_sample_ratio_skips_the_effects_and_still_reports(nights):
    states = nights.tasks("banner")
    assert {states[step] for step in ("significance", "segments", "guardrails")} == {"skipped"}
    assert {states[step] for step in ("sample_ratio", "decide", "report")} == {"success"}
    assert "did not fall into the variants as designed" in nights.log("banner", "significance")


def test_a_backfill_is_not_delivered_unless_asked(nights):
    states = nights.tasks("banner")
    assert states["report"] == "success"
    assert (states["deliver_email"], states["deliver_slack"]) == ("skipped", "skipped")
    assert nights.run("banner")["state"] == "success"
    assert "delivers only when 'deliver' is ticked" in nights.log("banner", "deliver_email")


def test_a_night_without_its_table_is_red_and_names_the_table(nights):
    assert nights.run("refund_flow")["state"] == "failed"
    assert nights.tasks("refund_flow")["outcomes_ready"] == "failed"
    assert "refunds" in nights.log("refund_flow", "outcomes_ready")


def test_the_owner_of_a_failed_night_is_told_what_failed_and_why(nights):
    assert nights.tasks("refund_flow")["alert_owner"] == "success"
    (alert,) = nights.mails_to("ben@example.com")
    text = alert.get_body(("plain",)).get_content()
    assert "outcomes_ready" in text
    assert "refunds" in text
    assert any(message["channel"] == "#alerts" and "refunds" in message["text"] for message in nights.slack.messages)


def test_the_alert_leads_to_the_log_of_the_task(nights):
    (alert,) = nights.mails_to("ben@example.com")
    run = urllib.parse.quote(nights.run("refund_flow")["dag_run_id"], safe="")
    page = f"{nights.airflow.url}/dags/abtest__refund_flow/runs/{run}/tasks/outcomes_ready"
    assert f"Log of outcomes_ready: {page}\n" in alert.get_body(("plain",)).get_content().replace("\r\n", "\n")


def test_who_waits_at_the_deadline_is_told_once(nights):
    run = nights.airflow.runs("abtest_deadline")[str(LAST_DAY)]
    assert (run["run_type"], run["state"]) == ("scheduled", "success")
    for recipient in ("tom@example.com", "oncall@example.com"):
        (late,) = (mail for mail in nights.mails_to(recipient) if mail["Subject"].startswith("LATE: "))
        assert late["Subject"] == f"LATE: 1 experiment without a report, night as of {TODAY}"
        text = late.get_body(("plain",)).get_content()
        assert "Tonight (tonight)" in text
        assert "todays: has no row of" in text
        assert f"{nights.airflow.url}/dags/abtest__tonight" in text
    assert sum(message["text"].startswith("LATE: ") for message in nights.slack.messages) == 1


def test_a_final_verdict_waits_for_a_signature_before_it_is_sent(nights):
    assert nights.asked["subject"].endswith("✔ SHIP")
    assert "Conversion is better" in nights.asked["body"]
    assert nights.asked["assigned_users"] == [{"id": "admin", "name": "admin"}]
    assert "tonight@example.com" not in nights.asked["told"]
    (request,) = (mail for mail in nights.mails_to("tom@example.com") if mail["Subject"].startswith("Please sign: "))
    text = request.get_body(("plain",)).get_content()
    assert "/tasks/sign_off/required_actions" in text
    assert f"{nights.airflow.url}/abtest/dags/abtest__tonight/runs/" in text
    night = results.night_folder(nights.results, "tonight", TODAY)
    assert results.read_json(night / "sign_off.json")["by"] == "admin"
    (report,) = nights.mails_to("tonight@example.com")
    assert "SHIP" in report["Subject"]


def test_the_owner_of_a_good_night_gets_no_alert(nights):
    assert nights.mails_to("ana@example.com") == []


def test_a_broken_definition_fails_its_own_night_only(nights):
    assert nights.run("typo")["state"] == "failed"
    assert nights.tasks("typo") == {"definition": "failed", "alert_owner": "success"}
    assert "typo.yaml:" in nights.log("typo", "definition")
    assert nights.airflow.import_errors() == []
    assert any("typo.yaml:" in mail.get_body(("plain",)).get_content() for mail in nights.mails_to("cleo@example.com"))


def test_errors_that_would_come_again_are_not_tried_again(nights):
    run = nights.run("typo")["dag_run_id"]
    found = nights.airflow.request("GET", f"/api/v2/dags/abtest__typo/dagRuns/{run}/taskInstances/definition")
    assert found["try_number"] == 1


def test_the_warehouse_has_its_pool_from_the_first_start(nights):
    found = nights.airflow.request("GET", "/api/v2/pools/abtest_warehouse")
    assert (found["slots"], found["include_deferred"]) == (3, False)
    run = nights.run("checkout")["dag_run_id"]
    state = nights.airflow.request("GET", f"/api/v2/dags/abtest__checkout/dagRuns/{run}/taskInstances/collect")
    assert (state["pool"], state["state"]) == ("abtest_warehouse", "success")


@pytest.mark.skipif(not DIGEST_BY_ASSET, reason="late in the evening the hour of the digest has come before")
def test_the_experiment_that_ends_last_starts_the_digest(nights):
    (run,) = nights.airflow.asset_runs("abtest_digest")
    assert (run["state"], run["data_interval_end"]) == ("success", None)
    ends = []
    for key in ("tonight", "typo"):
        scheduled = nights.airflow.runs(f"abtest__{key}")[str(LAST_DAY)]
        path = f"/api/v2/dags/abtest__{key}/dagRuns/{scheduled['dag_run_id']}/taskInstances/alert_owner"
        ends.append(nights.airflow.request("GET", path))
    last = max(ends, key=lambda one: one["end_date"])
    # The other one did not start it: it has ended skipped, or with its alert.
    assert last["state"] == "success"
    (event,) = nights.airflow.request("GET", "/api/v2/assets/events")["asset_events"]
    assert (event["source_dag_id"], event["extra"]["as_of"]) == (last["dag_id"], str(TODAY))


def test_the_digest_of_the_night_is_sent_once_with_what_broke(nights):
    said = [mail for mail in nights.mails_to("digest@example.com") if f"of {short_day(str(TODAY))}" in mail["Subject"]]
    (digest,) = said
    assert digest["Subject"].startswith("Experiments of team payments: digest of ")
    text = digest.get_body(("plain",)).get_content()
    assert "BROKEN DEFINITION: typo.yaml:" in text
    assert "Tonight" in text
    assert "Checkout" not in text  # its nights ended in March 2026


def test_a_past_digest_is_written_by_a_backfill_and_not_sent(nights):
    run = nights.airflow.runs("abtest_digest")[str(DATA_ON)]
    assert (run["run_type"], run["state"]) == ("backfill", "success")
    folder = nights.results / "_digest" / "2026-03-05" / "payments"
    assert "Checkout" in (folder / (folder / "current").read_text().strip() / "digest.txt").read_text()
    assert all("5 Mar 2026" not in mail["Subject"] for mail in nights.mails_to("digest@example.com"))


def test_the_mail_of_a_night_shows_verdict_and_pictures_in_a_mailbox(nights, mailbox, chromium):
    (received,) = (mail for mail in nights.mail.messages if "checkout@example.com" in mail.recipients)
    # Byte for byte what the task sent, by SMTP again, into a receiver with a web page.
    mail = mailbox.hand_on(received.path.read_bytes(), "checkout@example.com")
    page, frame = mailbox.open(chromium, mail)
    assert "✔ SHIP" in frame.locator("body").inner_text()
    assert_pictures_are_seen(page, frame)
    page.close()


def test_the_report_is_a_page_in_airflow_for_whoever_is_signed_in(nights, chromium):
    airflow, run = nights.airflow, nights.run("checkout")["dag_run_id"]
    run_page = f"{airflow.url}/dags/abtest__checkout/runs/{urllib.parse.quote(run, safe='')}"
    page = chromium.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{airflow.url}/abtest/dags/abtest__checkout/runs/{urllib.parse.quote(run, safe='')}")
    assert "SHIP" not in page.inner_text("body")
    page.get_by_text("Sign in to Airflow").click()
    page.fill("input[name=username]", airflow.username)
    page.fill("input[name=password]", airflow.password)
    page.click("button[type=submit]")
    page.get_by_text("✔ SHIP").first.wait_for()  # back on the page that was asked for
    page.goto(run_page)
    page.click("a[href$='plugin/experiment-report']")
    page.frame_locator("iframe").get_by_text("✔ SHIP").first.wait_for()
    page.click("a[href$='plugin/experiments']")
    listed = page.frame_locator("iframe[title=Experiments]")
    listed.get_by_role("link", name="Checkout").click()
    listed.get_by_text("5 Mar 2026").first.wait_for()
    page.close()


def test_tasks_that_make_and_send_the_report_link_to_its_pages(nights):
    run = nights.run("checkout")["dag_run_id"]
    place = f"/abtest/dags/abtest__checkout/runs/{urllib.parse.quote(run, safe='')}"
    tasks = f"/api/v2/dags/abtest__checkout/dagRuns/{urllib.parse.quote(run, safe='')}/taskInstances"
    for task in ("decide", "report", "deliver_email"):
        assert nights.airflow.request("GET", f"{tasks}/{task}/links")["extra_links"] == {
            "Report": place,
            "Results": f"{place}/results.json",
        }
    assert nights.airflow.request("GET", f"{tasks}/collect/links")["extra_links"] == {}


def test_a_manual_run_is_refused(nights):
    with pytest.raises(LocalAirflowError, match="manual run is refused"):
        nights.airflow.request(
            "POST", "/api/v2/dags/abtest__checkout/dagRuns", {"logical_date": "2026-03-03T12:00:00Z"}
        )


def test_a_dry_run_by_hand_goes_through_the_scheduler_and_publishes_nothing(nights):
    night = nights.results / "checkout" / "2026-03-05"
    before = (night / "current").read_bytes(), (night / "published.jsonl").read_bytes()
    form = {"experiment": "checkout", "as_of": "2026-03-05", "recipients": ["boss@example.com"]}
    run = trigger_by_hand(nights, form)
    assert (run["state"], run["run_type"], run["data_interval_end"]) == ("success", "manual", None)
    states = nights.airflow.task_states("abtest_adhoc", run["dag_run_id"])
    assert states == {"check": "success", "dry_run": "success", "publish": "skipped", "deliver": "success"}
    assert "0 of 1 verdict would change" in nights.airflow.task_log("abtest_adhoc", run["dag_run_id"], "dry_run")
    (mail,) = nights.mails_to("boss@example.com")
    assert mail["Subject"] == "PREVIEW, by hand: checkout: 0 of 1 verdict would change"
    assert ((night / "current").read_bytes(), (night / "published.jsonl").read_bytes()) == before


def test_a_wrong_form_is_refused_when_it_is_sent(nights):
    for form in ({"as_of": "2026-03-05"}, {"experiment": "checkout", "as_of": "soon"}):
        with pytest.raises(LocalAirflowError) as refused:
            trigger_by_hand(nights, form)
        assert refused.value.status == 400


def trigger_by_hand(nights, form):
    """Send the form of abtest_adhoc as the page does, without a logical date, and wait for the end of the run."""
    runs = "/api/v2/dags/abtest_adhoc/dagRuns"
    run = nights.airflow.request("POST", runs, {"logical_date": None, "conf": form})
    deadline = time.monotonic() + 180
    while run["state"] not in ("success", "failed") and time.monotonic() < deadline:
        time.sleep(0.5)
        run = nights.airflow.request("GET", f"{runs}/{run['dag_run_id']}")
    return run
