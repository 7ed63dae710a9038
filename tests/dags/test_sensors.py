import asyncio
import datetime as dt
import json
import logging
import shutil

import abtest_sensors
import duckdb
import pytest
from abtest_sensors import OutcomesReadySensor, OutcomesReadyTrigger
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.triggers.base import TaskSuccessEvent

from abtest_lib import failures, warehouse
from tests.small_shop import AS_OF, KEY, late_shop


@pytest.fixture
def settings(monkeypatch, definitions_folder, small_warehouse, tmp_path):
    monkeypatch.setenv("ABTEST_EXPERIMENTS", str(definitions_folder))
    monkeypatch.setenv("ABTEST_WAREHOUSE", str(small_warehouse))
    monkeypatch.setenv("ABTEST_RESULTS", str(tmp_path / "results"))
    abtest_sensors._watch.cache_clear()  # its answers are those of the test before
    return tmp_path


def trigger(key="checkout", as_of="2026-03-05", *, wait_hours=1.0, since=None, poll_seconds=0.2):
    since = since or dt.datetime.now(dt.UTC).isoformat()
    return OutcomesReadyTrigger(key, as_of, since, poll_seconds=poll_seconds, wait_hours=wait_hours)


def load(path):
    # A trigger that looks at this very moment finds the file locked, or locks it: both sides try again.
    while True:
        try:
            with duckdb.connect(str(path)) as connection:
                connection.execute("INSERT INTO purchases VALUES ('visitor', TIMESTAMP '2026-03-05 12:00')")
            return
        except duckdb.Error:
            continue


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

    assert isinstance(asyncio.run(asyncio.wait_for(wait_while_loading(), 30)), TaskSuccessEvent)
    assert "waiting since" in log.text


def test_a_wait_that_is_too_long_fails_and_names_source_and_remedy(settings):
    payload = wait(trigger(as_of="2026-03-06", since="2026-03-06T00:00:00+00:00", wait_hours=24)).payload
    assert payload["retry"] is False
    assert payload["held"] is True
    assert payload["error"].startswith(
        "checkout, 2026-03-06: waited since 2026-03-06 00:00 UTC, for 24 h, and still lacks "
        "purchases (has no row of 2026-03-05 or later).\nThe night is held. Load what is missing, then clear the task "
        "outcomes_ready of this run."
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


# --- nights that wait together


class Counted:
    """A real warehouse that counts what it is asked."""

    def __init__(self, opened, asked):
        self._opened, self._asked = opened, asked

    def __enter__(self):
        self._opened.__enter__()
        return self

    def __exit__(self, *_):
        self._opened.__exit__(*_)

    def __getattr__(self, name):
        found = getattr(self._opened, name)
        if not callable(found):
            return found

        def counted(*arguments):
            self._asked.append((name, *map(str, arguments)))
            return found(*arguments)

        return counted


@pytest.fixture
def asked(monkeypatch):
    """What the warehouse is asked, and ``connect`` each time that it is opened."""
    questions, connect = [], warehouse.connect

    def counted(location):
        questions.append(("connect",))
        return Counted(connect(location), questions)

    monkeypatch.setattr(warehouse, "connect", counted)
    return questions


@pytest.fixture
def fleet(settings, definitions_folder, monkeypatch):
    """Fifty experiments that read the same sources."""
    folder = settings / "fleet"
    shutil.copytree(definitions_folder, folder)
    for number in range(50):
        shutil.copy(folder / "checkout.yaml", folder / f"fleet_{number}.yaml")
    monkeypatch.setenv("ABTEST_EXPERIMENTS", str(folder))
    return folder


def looked_at_once(keys, as_of):
    """Let the triggers of a night look once, and give the events of those that have ended."""

    async def look():
        triggers = [trigger(key, as_of, poll_seconds=3600) for key in keys]
        logs = [listen(one) for one in triggers]
        tasks = [asyncio.create_task(first_event(one)) for one in triggers]
        while not all(task.done() or log.text for task, log in zip(tasks, logs, strict=True)):
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        return [task.result() for task in tasks if task.done() and not task.cancelled()]

    abtest_sensors._watch.cache_clear()
    return asyncio.run(asyncio.wait_for(look(), 120))


@pytest.mark.parametrize("as_of", ["2026-03-05", "2026-03-06"])
def test_fifty_nights_ask_the_warehouse_no_more_than_two(fleet, settings, asked, as_of, monkeypatch):
    counts = {}
    for number in (2, 50):
        monkeypatch.setenv("ABTEST_RESULTS", str(settings / f"results of {number}"))
        asked.clear()
        looked_at_once([f"fleet_{one}" for one in range(number)], as_of)
        counts[number] = [one for one in asked if one[0] != "connect"]
    assert sorted(counts[50]) == sorted(counts[2])
    assert len(counts[2]) == len(set(counts[2])), "an equal question was asked twice"


def test_a_table_that_is_missing_fails_each_night_that_needs_it_and_no_other(fleet, asked):
    shutil.copy(fleet / "refund_flow.yaml", fleet / "refunds_too.yaml")
    events = looked_at_once(["refund_flow", "checkout", "refunds_too"], "2026-03-05")
    failed = [one.payload["error"] for one in events if not isinstance(one, TaskSuccessEvent)]
    assert [text.split(",")[0] for text in failed] == ["refund_flow", "refunds_too"]
    assert all("table 'refunds' does not exist" in text for text in failed)
    assert sum(isinstance(one, TaskSuccessEvent) for one in events) == 1
    assert sum(one == ("columns", "refunds") for one in asked) == 1


def test_a_warehouse_that_cannot_be_reached_is_tried_once_for_all(fleet, settings, asked, monkeypatch):
    monkeypatch.setenv("ABTEST_WAREHOUSE", str(settings / "nowhere" / "shop.duckdb"))
    assert looked_at_once([f"fleet_{one}" for one in range(50)], "2026-03-05") == []
    # The first night asks alone, the others, which come meanwhile, together.
    assert len(asked) <= 2


# --- what is said while a night waits


def waiting_file(settings, key="checkout", as_of="2026-03-06"):
    return settings / "results" / key / as_of / "waiting.json"


def test_for_what_a_night_waits_is_said_once_and_stands_beside_its_results(settings, small_warehouse):
    since = dt.datetime.now(dt.UTC).replace(microsecond=0)
    late = trigger(as_of="2026-03-06", since=since.isoformat())
    log = listen(late)

    async def wait_and_load():
        waiting = asyncio.create_task(first_event(late))
        while not waiting_file(settings).exists():
            await asyncio.sleep(0.05)
        found = json.loads(waiting_file(settings).read_text())
        await asyncio.sleep(1)  # several looks
        load(small_warehouse)
        await waiting
        return found

    found = asyncio.run(asyncio.wait_for(wait_and_load(), 60))
    assert found == {
        "since": since.isoformat(),
        "until": (since + dt.timedelta(hours=1)).isoformat(),
        "sources": [{"source": "purchases", "reason": "has no row of 2026-03-05 or later"}],
    }
    assert not waiting_file(settings).exists()
    assert log.text.count("waiting since") == 1


def test_a_restart_of_the_triggerer_leaves_the_file_and_an_end_by_hand_removes_it(settings):
    late = trigger(as_of="2026-03-06")

    async def stop():
        waiting = asyncio.create_task(first_event(late))
        while not waiting_file(settings).exists():
            await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        await late.cleanup()
        there = waiting_file(settings).exists()
        await late.on_kill()
        return there

    assert asyncio.run(asyncio.wait_for(stop(), 60)) is True
    assert not waiting_file(settings).exists()


def test_a_triggerer_that_cannot_write_results_waits_all_the_same(settings, monkeypatch):
    (settings / "file").write_text("no folder")
    monkeypatch.setenv("ABTEST_RESULTS", str(settings / "file"))
    late = trigger(as_of="2026-03-06", wait_hours=3 / 3600)
    log = listen(late)
    assert wait(late, 60).payload["held"] is True
    assert log.text.count("The results cannot be written here") == 1


def test_what_is_waited_for_is_repeated_after_a_quarter_of_an_hour(settings, monkeypatch):
    monkeypatch.setattr(abtest_sensors, "REPEAT_SECONDS", 0.0)
    late = trigger(as_of="2026-03-06", wait_hours=3 / 3600)
    log = listen(late)
    wait(late, 60)
    assert log.text.count("waiting since") > 1


# --- a night that may go on without what is late


@pytest.fixture
def shop(monkeypatch, tmp_path):
    """A night that lacks the page loads, of which it has a secondary metric only."""
    shop = late_shop(tmp_path)
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)
    abtest_sensors._watch.cache_clear()
    return shop


def test_a_night_that_may_leave_out_what_is_late_goes_on_after_its_time(shop):
    shop.redefine(KEY, "secondary:", "when_late: leave_out\nsecondary:")
    late = trigger(KEY, str(AS_OF), since="2026-02-08T00:00:00+00:00")
    log = listen(late)
    event = wait(late)
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms == {"leave_out": "page_loads"}
    assert "goes on without the secondary metrics that read page_loads (2026-02-07 is not in the load log" in log.text


def test_a_night_that_may_leave_out_waits_until_its_time(shop):
    shop.redefine(KEY, "secondary:", "when_late: leave_out\nsecondary:")
    assert looked_at_once([KEY], str(AS_OF)) == []


@pytest.mark.parametrize("source", ["purchases", "assignments"])
def test_a_night_that_lacks_what_decides_is_held(shop, source):
    shop.redefine(KEY, "secondary:", "when_late: leave_out\nsecondary:")
    shop.change(f"DELETE FROM load_log WHERE source = '{source}' AND data_on = DATE '2026-02-07'")  # noqa: S608
    payload = wait(trigger(KEY, str(AS_OF), since="2026-02-08T00:00:00+00:00")).payload
    assert payload["held"] is True
    assert source in payload["error"]


def test_a_night_that_may_not_leave_out_is_held(shop):
    assert wait(trigger(KEY, str(AS_OF), since="2026-02-08T00:00:00+00:00")).payload["held"] is True


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("name", ["ABTEST_WAIT_HOURS", "ABTEST_POLL_SECONDS"])
def test_a_setting_that_is_no_time_is_told(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(ValueError, match=f"{name} is '{text}'; it must be a number above 0"):
        OutcomesReadySensor(task_id="outcomes_ready", experiment_key="checkout")
