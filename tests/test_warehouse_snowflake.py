"""Snowflake's own connector against an emulator: a night, names, bound values, and what is wrong."""

import socket

import pytest
from small_shop import AS_OF, Shop

from abtest_lib import pipeline
from abtest_lib.errors import DataError
from abtest_lib.warehouse import StatementError, connect
from tests.engines import copy_tables, run_in_snowflake, snowflake, snowflake_database  # noqa: F401


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def account(shop, request):
    """The shop's tables in Snowflake."""
    url = snowflake_database(request)
    copy_tables(shop.warehouse, url)
    return url


def test_names_are_in_capitals_there_and_small_here(account):
    with connect(account) as warehouse:
        assert warehouse.columns("purchases") == ["unit_id", "occurred_at", "loaded_at", "amount_usd"]
        assert warehouse.columns("nothing") is None
        assert warehouse.tables() == ["customers", "exposures", "load_log", "page_loads", "purchases"]
        asked = 'SELECT COUNT(*) AS rows_found, MAX("amount_usd") AS "value_amount_USD" FROM purchases'
        (row,) = warehouse.query(asked)
    assert list(row) == ["rows_found", "value_amount_USD"]


def test_a_value_is_bound_and_never_part_of_the_statement(account):
    hostile = "'; DROP TABLE purchases; --"
    with connect(account) as warehouse:
        rows = warehouse.query("SELECT COUNT(*) AS n FROM purchases WHERE unit_id = $name", {"name": hostile})
        assert rows == [{"n": 0}]
        assert warehouse.columns("purchases")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DROP TABLE purchases", "source purchases: table 'purchases' does not exist."),
        ("ALTER TABLE page_loads RENAME COLUMN latency_ms TO latency", "has no column 'latency_ms'; did you mean 'lat"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_as_for_duckdb(statement, says, shop, account):
    run_in_snowflake(account, [statement])
    with connect(account) as warehouse, pytest.raises(DataError) as problem:
        pipeline.collect(shop.experiment, AS_OF, warehouse, shop.results)
    assert says in str(problem.value)


def test_a_refused_statement_is_said_in_the_servers_words(account):
    with connect(account) as warehouse, pytest.raises(StatementError, match="Could not convert string 'u1"):
        warehouse.query("SELECT CAST(unit_id AS DOUBLE) AS number FROM purchases WHERE unit_id >= 'u1'")


def test_an_account_that_cannot_be_reached_is_named_without_its_password():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = f"emulator/SHOP?host=127.0.0.1&port={port}&protocol=http&login_timeout=1"
    with pytest.raises(ConnectionError) as problem:
        connect(f"snowflake://ana:secret@{place}")
    assert "warehouse snowflake://emulator/SHOP: cannot be opened" in str(problem.value)
    assert "secret" not in str(problem.value)
