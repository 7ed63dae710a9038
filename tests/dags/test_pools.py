import sys

import pytest
from abtest_pools import Pools, warehouse_slots
from abtest_tasks import WAREHOUSE_POOL
from airflow import settings
from airflow.jobs.job import Job
from airflow.models.pool import Pool
from airflow.models.team import Team
from airflow.sdk.execution_time.task_runner import TaskRunnerMarker
from airflow.utils.session import create_session
from sqlalchemy import delete


@pytest.fixture
def tables():
    """Airflow's database, with what the listener needs of it; other tests may have made it before."""
    for table in (Team.__table__, Pool.__table__):
        table.create(settings.engine, checkfirst=True)
    _forget()
    yield
    _forget()


def _forget():
    with create_session() as session:
        session.execute(delete(Pool).where(Pool.pool == WAREHOUSE_POOL))


def pools():
    with create_session() as session:
        return {pool.pool: pool.slots for pool in Pool.get_pools(session=session) if pool.pool == WAREHOUSE_POOL}


def start(component, monkeypatch, command="scheduler"):
    monkeypatch.setattr(sys, "argv", ["airflow", command])
    Pools().on_starting(component)


@pytest.fixture
def job(tables):
    return Job.__new__(Job)  # its own start would call every listener


def test_scheduler_creates_the_pool_that_is_missing(job, monkeypatch):
    monkeypatch.setenv("ABTEST_WAREHOUSE_SLOTS", "7")
    start(job, monkeypatch)
    assert pools() == {"abtest_warehouse": 7}


def test_pool_stays_as_somebody_has_set_it(job, monkeypatch):
    start(job, monkeypatch)
    with create_session() as session:
        Pool.get_pool("abtest_warehouse", session=session).slots = 2
    monkeypatch.setenv("ABTEST_WAREHOUSE_SLOTS", "9")
    start(job, monkeypatch)
    assert pools() == {"abtest_warehouse": 2}


def test_neither_a_task_nor_another_component_creates_it(job, monkeypatch):
    start(TaskRunnerMarker(), monkeypatch)
    start(job, monkeypatch, "triggerer")
    assert pools() == {}


@pytest.mark.parametrize("text", ["0", "-1", "four", "1.5", "10000", "²"])
def test_wrong_number_of_slots_is_told_and_four_are_taken(monkeypatch, caplog, text):
    monkeypatch.setenv("ABTEST_WAREHOUSE_SLOTS", text)
    with caplog.at_level("ERROR"):
        assert warehouse_slots() == 4
    assert f"ABTEST_WAREHOUSE_SLOTS is '{text}'; it must be a whole number from 1 to 9999." in caplog.text


@pytest.mark.parametrize(("text", "slots"), [("", 4), ("1", 1), ("64", 64)])
def test_slots_come_from_the_environment(monkeypatch, text, slots):
    monkeypatch.setenv("ABTEST_WAREHOUSE_SLOTS", text)
    assert warehouse_slots() == slots
