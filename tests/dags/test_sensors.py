import asyncio
import datetime as dt
import json
import logging

import abtest_sensors
import duckdb
import pytest
from abtest_sensors import OutcomesReadySensor, OutcomesReadyTrigger
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.triggers.base import TaskSuccessEvent

from abtest_lib import failures


@pytest.fixture
def settings(monkeypatch, definitions_folder, small_warehouse, tmp_path):
    monkeypatch.setenv("ABTEST_EXPERIMENTS", str(definitions_folder))
    monkeypatch.setenv("ABTEST_WAREHOUSE", str(small_warehouse))
    monkeypatch.setenv("ABTEST_RESULTS", str(tmp_path / "results"))
    abtest_sensors._watch.cache_clear()  # its answers are those of the test before
    return tmp_path


def trigger(key="checkout", as_of="2026-03-05", *, wait_hours=1.0, since=None):
    since = since or dt.datetime.now(dt.UTC).isoformat()
    return OutcomesReadyTrigger(key, as_of, since, poll_seconds=0.2, wait_hours=wait_hours)


class Lines(logging.Handler):
    """What a trigger says to the task's log (Airflow's own loggers do not reach pytest's caplog)."""

    def __init__(self):
        super().__init__()
        self.text = ""

    def emit(self, record):
        self.text += record.getMessage() + "\n"


def listen(waiting):
    lines, logger = Lines(), logging.Logger("trigger", logging.INFO)
    logger.addHandler(lines)
    waiting._log = logger
    return lines


async def first_event(waiting):
    async for event in waiting.run():
        return event


def wait(waiting, seconds=20):
    return asyncio.run(asyncio.wait_for(first_event(waiting), seconds))


def test_a_complete_night_ends_the_wait_in_the_triggerer(settings):
    assert isinstance(wait(trigger()), TaskSuccessEvent)


def test_the_wait_ends_when_the_missing_rows_arrive(settings, small_warehouse):
    late = trigger(as_of="2026-03-06")
    log = listen(late)

    async def wait_while_loading():
        waiting = asyncio.create_task(first_event(late))
        while "purchases" not in log.text:
            await asyncio.sleep(0.05)
        load(small_warehouse)
        return await waiting

    def load(path):
        # A trigger that looks at this very moment finds the file locked, or locks it: both sides try again.
        while True:
            try:
                with duckdb.connect(str(path)) as warehouse:
                    warehouse.execute("INSERT INTO purchases VALUES ('visitor', TIMESTAMP '2026-03-05 12:00')")
                return
            except duckdb.Error:
                continue

    assert isinstance(asyncio.run(asyncio.wait_for(wait_while_loading(), 30)), TaskSuccessEvent)
    assert "waiting since" in log.text


def test_a_wait_that_is_too_long_fails_and_names_source_and_remedy(settings):
    payload = wait(trigger(as_of="2026-03-06", since="2026-03-06T00:00:00+00:00", wait_hours=24)).payload
    assert payload["retry"] is False
    assert payload["held"] is True
    assert payload["error"].startswith(
        "checkout, 2026-03-06: waited since 2026-03-06 00:00 UTC, for 24 h, and still lacks "
        "purchases (has no row of 2026-03-05 or later).\nThe night is held. Load what is missing, then clear the task outcomes_ready"
    )


def test_a_warehouse_that_cannot_be_opened_is_reported_and_asked_again(settings, small_warehouse):
    closed = trigger()
    log = listen(closed)
    moved = small_warehouse.with_suffix(".moved")
    small_warehouse.rename(moved)

    async def wait_while_repairing():
        waiting = asyncio.create_task(first_event(closed))
        while "cannot be opened" not in log.text:
            await asyncio.sleep(0.05)
        moved.rename(small_warehouse)
        return await waiting

    assert isinstance(asyncio.run(asyncio.wait_for(wait_while_repairing(), 30)), TaskSuccessEvent)


def test_a_missing_table_fails_at_once(settings):
    payload = wait(trigger("refund_flow")).payload
    assert payload["retry"] is False
    assert "refunds" in payload["error"]


def test_a_broken_definition_fails_at_once_with_file_and_line(settings):
    payload = wait(trigger("typo")).payload
    assert payload["retry"] is False
    assert "typo.yaml:" in payload["error"]


def test_an_unforeseen_error_is_worth_another_try(settings, monkeypatch):
    monkeypatch.delenv("ABTEST_WAREHOUSE")
    payload = wait(trigger()).payload
    assert payload["retry"] is True
    assert "ABTEST_WAREHOUSE" in payload["error"]


def test_the_trigger_is_made_again_from_what_it_serialises():
    first = trigger()
    path, arguments = first.serialize()
    assert path == "abtest_sensors.OutcomesReadyTrigger"
    assert OutcomesReadyTrigger(**json.loads(json.dumps(arguments))).serialize() == first.serialize()


@pytest.mark.parametrize(("retry", "raised"), [(False, AirflowFailException), (True, AirflowException)])
def test_the_reason_ends_in_the_task_and_on_record(settings, retry, raised):
    sensor = OutcomesReadySensor(task_id="outcomes_ready", experiment_key="checkout")
    sensor.as_of = "2026-03-05"
    with pytest.raises(raised, match="no purchases") as caught:
        sensor.resume_execution("fail", {"event": {"error": "no purchases", "retry": retry}}, {})
    assert caught.type is raised
    assert failures.read(settings / "results", "checkout", "2026-03-05") == {"outcomes_ready": "no purchases"}


def test_execution_timeout_does_not_cut_the_wait():
    sensor = OutcomesReadySensor(
        task_id="outcomes_ready", experiment_key="checkout", execution_timeout=dt.timedelta(minutes=20)
    )
    assert sensor.execution_timeout is None
    assert sensor.start_trigger_args.timeout == dt.timedelta(hours=25)
