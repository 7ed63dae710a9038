"""Which tasks start the digest, which night it is about, and which errors are worth another try."""

import datetime as dt
from types import SimpleNamespace

import abtest_connections
import pytest
from abtest_nights import LAST_OF_NIGHT, NIGHT_ENDED, end_night, night_of
from abtest_tasks import EVERY_TASK, delivers, made_up
from airflow.sdk import RetryAction
from airflow.sdk.definitions.asset import AssetUniqueKey
from airflow.sdk.execution_time.context import OutletEventAccessors

from abtest_lib import nights, outbox
from abtest_lib.errors import DataError, DefinitionError

AS_OF = "2026-03-05"


@pytest.fixture
def store(monkeypatch, definitions_folder, tmp_path):
    """A store in which everything expected but checkout has ended on the night."""
    monkeypatch.setenv("ABTEST_EXPERIMENTS", str(definitions_folder))
    monkeypatch.setenv("ABTEST_RESULTS", str(tmp_path / "results"))
    for key in nights.expected(definitions_folder, tmp_path / "results", dt.date.fromisoformat(AS_OF)):
        if key != "checkout":
            assert not nights.end(definitions_folder, tmp_path / "results", key, dt.date.fromisoformat(AS_OF))
    return tmp_path / "results"


def context(run_type="scheduled", clear_number=0, *, began_after=dt.timedelta(minutes=1)):
    midnight = dt.datetime(2026, 3, 5, tzinfo=dt.UTC)
    run = SimpleNamespace(run_type=run_type, clear_number=clear_number, start_date=midnight + began_after)
    return {"dag_run": run, "data_interval_end": midnight, "outlet_events": OutletEventAccessors()}


def events(of):
    return [(event.dest_asset_key, event.extra) for event in of["outlet_events"][LAST_OF_NIGHT].asset_alias_events]


def test_last_scheduled_night_adds_the_event(store):
    last = context()
    assert end_night(last, "checkout", AS_OF)
    assert events(last) == [(AssetUniqueKey.from_asset(NIGHT_ENDED), {"as_of": AS_OF})]


@pytest.mark.parametrize(
    "other",
    [
        context("backfill"),
        context("manual"),
        context(clear_number=1),
        context(began_after=dt.timedelta(days=1)),
    ],
)
def test_backfills_made_up_nights_and_runs_that_were_cleared_start_no_digest(store, other):
    assert not end_night(other, "checkout", AS_OF)
    assert events(other) == []


def test_night_that_is_not_the_last_starts_no_digest(store, definitions_folder):
    (store / nights.FOLDER / AS_OF / "banner.ended").unlink()
    early = context()
    assert not end_night(early, "checkout", AS_OF)
    assert events(early) == []


def test_store_that_cannot_be_written_keeps_no_alert_back(store):
    for path in (store / nights.FOLDER / AS_OF).iterdir():
        path.unlink()
    (store / nights.FOLDER / AS_OF).rmdir()
    (store / nights.FOLDER / AS_OF).write_text("a file in the place of the folder")
    assert not end_night(context(), "checkout", AS_OF)


def event(**extra):
    return SimpleNamespace(extra=extra)


def test_run_at_the_hour_is_about_the_night_of_its_interval():
    assert night_of(dt.datetime(2026, 3, 5, 6, tzinfo=dt.UTC), {}) == AS_OF


def test_run_that_the_asset_started_is_about_the_latest_night_of_its_events():
    named = {NIGHT_ENDED: [event(as_of="2026-03-04"), event(as_of=AS_OF)]}
    assert night_of(None, named) == AS_OF


@pytest.mark.parametrize("named", [{}, {NIGHT_ENDED: [event()]}, {NIGHT_ENDED: [event(as_of="../../etc")]}])
def test_event_that_names_no_night_is_refused(named):
    with pytest.raises(ValueError, match="must hold the night"):
        night_of(None, named)


@pytest.mark.parametrize("error", [
    ConnectionError("mail server smtp.example.com:587: timed out"),
    RuntimeError("smtp.example.com refused 1 of the recipients"),
    OSError("the warehouse cannot be opened"),
    outbox.NotSent("451 try again"),
])  # fmt: skip
def test_mail_and_warehouse_that_may_come_back_are_tried_again(error):
    assert EVERY_TASK["retry_policy"].evaluate(error, 1, 2).action is RetryAction.DEFAULT
    assert (EVERY_TASK["retries"], EVERY_TASK["retry_exponential_backoff"]) == (2, 2.0)


@pytest.mark.parametrize("error", [DefinitionError("checkout.yaml:3: …"), DataError("checkout: no rows")])
def test_wrong_definitions_and_data_are_not_tried_again(error):
    assert EVERY_TASK["retry_policy"].evaluate(error, 1, 2).action is RetryAction.FAIL


@pytest.mark.parametrize(("server", "name"), [("smtp_server", "abtest_smtp"), ("slack_endpoint", "abtest_slack")])
def test_missing_connection_says_how_to_create_it(server, name, monkeypatch):
    monkeypatch.setattr(abtest_connections.Connection, "get", _not_found)
    with pytest.raises(abtest_connections.MissingConnection, match=f"airflow connections add {name} --conn-type "):
        getattr(abtest_connections, server)()


def _not_found(connection_id):
    raise abtest_connections.AirflowNotFoundException(connection_id)


@pytest.mark.parametrize(("hours", "clear_number", "wait_hours", "expected"), [
    (0.1, 0, "", False),
    (23.9, 0, "", False),
    (24, 0, "", True),
    (80, 0, "", True),
    (80, 1, "", False),
    (26, 0, "30", False),
    (31, 0, "30", True),
    (25, 0, "6", True),
])  # fmt: skip
def test_night_that_began_when_the_next_was_over_is_made_up(monkeypatch, hours, clear_number, wait_hours, expected):
    monkeypatch.setenv("ABTEST_WAIT_HOURS", wait_hours)
    run = context(clear_number=clear_number, began_after=dt.timedelta(hours=hours))
    assert made_up(run) is expected
    assert delivers(run) is not expected


@pytest.mark.parametrize("run_type", ["backfill", "manual"])
def test_what_somebody_asks_for_is_sent_only_when_that_is_ticked(run_type):
    late = context(run_type, began_after=dt.timedelta(days=300))
    assert not delivers(late | {"params": {"deliver": False}})
    assert delivers(late | {"params": {"deliver": True}})
