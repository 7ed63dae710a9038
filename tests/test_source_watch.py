"""Questions of many nights are put to the warehouse once a period, and one night's trouble is not another's."""

import asyncio
from contextlib import contextmanager

import pytest
from small_shop import Shop

from abtest_lib.source_watch import SourceWatch
from abtest_lib.warehouse import StatementError, connect

COUNT = "SELECT COUNT(*) AS n FROM purchases"


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def opened():
    return []


@pytest.fixture
def watch(shop, opened):
    @contextmanager
    def counted():
        with connect(shop.warehouse) as warehouse:
            opened.append(warehouse)
            yield warehouse

    return SourceWatch(counted, seconds=3600)


def ask(watch, *questions):
    async def together():
        return await asyncio.gather(*(watch.ask(one) for one in questions), return_exceptions=True)

    return asyncio.run(asyncio.wait_for(together(), 60))


def bought(warehouse):
    return warehouse.query(COUNT)[0]["n"]


def test_an_answer_holds_for_its_period_and_not_longer(watch, shop):
    (before,) = ask(watch, bought)
    shop.change("INSERT INTO purchases SELECT * REPLACE ('new' AS unit_id) FROM purchases LIMIT 1")
    assert ask(watch, bought) == [before]
    watch._until = float("-inf")  # the hour is over
    assert ask(watch, bought) == [before + 1]


def test_the_questions_of_a_round_share_one_connection_and_none_is_opened_for_what_is_known(watch, opened):
    ask(watch, bought)
    ask(watch, bought, lambda warehouse: warehouse.tables(), lambda warehouse: warehouse.columns("purchases"), bought)
    assert len(opened) == 2
    ask(watch, *[bought] * 50)
    assert len(opened) == 2


def test_a_refusal_is_an_answer_and_troubles_nobody_else(watch, opened):
    def wrong(warehouse):
        return warehouse.query("SELECT nothing FROM purchases")

    first, number, again = ask(watch, wrong, bought, wrong)
    assert isinstance(first, StatementError) and str(first) == str(again)
    assert first is not again, "each night may add to its error what it is about"
    assert isinstance(number, int)


def test_equal_statements_with_other_values_are_other_questions(watch):
    def unit(name):
        return lambda warehouse: warehouse.query("SELECT $unit AS unit", {"unit": name})[0]["unit"]

    assert ask(watch, unit("u1"), unit("u2"), unit("u1")) == ["u1", "u2", "u1"]


def test_a_night_that_is_cancelled_leaves_the_others_their_answers(watch):
    async def one_leaves():
        leaving, staying = (asyncio.create_task(watch.ask(bought)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert asyncio.run(asyncio.wait_for(one_leaves(), 60)) > 0
