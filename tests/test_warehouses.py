"""A night on a PostgreSQL server, and the statements in the words of engines that cannot be started here."""

import datetime as dt
import math

import pytest
import sqlglot
from small_shop import AS_OF, KEY, Shop

from abtest_lib import pipeline, results
from abtest_lib.collection import maturing_together
from abtest_lib.definitions import load_catalogue
from abtest_lib.dialects import numbered, translate
from abtest_lib.errors import DataError
from abtest_lib.queries import NightQueries
from abtest_lib.state.store import readings
from abtest_lib.warehouse import StatementError, connect
from tests.engines import copy_tables, postgresql_database, postgresql_url, run_in_postgresql  # noqa: F401

DIALECTS = ("postgres", "spark", "databricks", "bigquery", "snowflake", "redshift", "trino")


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def server(shop, request):
    """The shop's tables in PostgreSQL, copied as Arrow."""
    url = postgresql_database(request)
    copy_tables(shop.warehouse, url)
    return url


def test_a_night_on_postgresql_is_that_of_duckdb(shop, server, tmp_path):
    with connect(server) as warehouse:
        found = pipeline.run(shop.experiment, AS_OF, warehouse, tmp_path / "postgresql")
    expected = results.read_json(shop.run() / "results.json")
    got = results.read_json(found / "results.json")
    assert differences(got | {"revision": expected["revision"]}, expected) == []


def differences(got, expected, path=""):
    """Where two documents differ; numbers may differ in their last digits, for engines add in different orders."""
    if isinstance(expected, dict) and isinstance(got, dict) and set(got) == set(expected):
        return [d for key in expected for d in differences(got[key], expected[key], f"{path}/{key}")]
    if isinstance(expected, list) and isinstance(got, list) and len(got) == len(expected):
        return [d for i, (g, e) in enumerate(zip(got, expected, strict=True)) for d in differences(g, e, f"{path}/{i}")]
    if isinstance(expected, float) and isinstance(got, float):
        return [] if math.isclose(got, expected, rel_tol=1e-10, abs_tol=1e-12) else [(path, got, expected)]
    return [] if got == expected and type(got) is type(expected) else [(path, got, expected)]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DROP TABLE purchases", "source purchases: table 'purchases' does not exist."),
        ("ALTER TABLE purchases RENAME TO purchase", "table 'purchases' does not exist; did you mean 'purchase'?"),
        ("ALTER TABLE page_loads RENAME latency_ms TO latency", "has no column 'latency_ms'; did you mean 'latency'?"),
        (
            "ALTER TABLE purchases ALTER occurred_at TYPE text USING 'noon'",
            'invalid input syntax for type timestamp: "noon"',
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said_as_for_duckdb(statement, says, shop, server):
    run_in_postgresql(server, [statement])
    with connect(server) as warehouse, pytest.raises(DataError) as problem:
        pipeline.collect(shop.experiment, AS_OF, warehouse, shop.results)
    assert says in str(problem.value)
    assert "checkout, 2026-02-08" in str(problem.value)


def test_tables_of_other_schemas_are_named_with_their_schema(shop, server):
    statements = ["DROP SCHEMA IF EXISTS shop CASCADE", "CREATE SCHEMA shop", "ALTER TABLE purchases SET SCHEMA shop"]
    run_in_postgresql(server, statements)
    with connect(server) as warehouse:
        assert warehouse.columns("shop.purchases") == ["unit_id", "occurred_at", "loaded_at", "amount_usd"]
        assert {"customers", "shop.purchases"} <= set(warehouse.tables())
    shop.redefine("sources", "{table: purchases,", "{table: shop.purchases,")
    with connect(server) as warehouse:
        assert pipeline.collect(shop.experiment, AS_OF, warehouse, shop.results).is_dir()


def test_a_session_reads_one_moment_and_writes_nothing(server):
    with connect(server) as warehouse:
        before = warehouse.query("SELECT COUNT(*) AS n FROM purchases")
        run_in_postgresql(server, ["DELETE FROM purchases"])
        assert warehouse.query("SELECT COUNT(*) AS n FROM purchases") == before
        with pytest.raises(StatementError, match="read-only transaction"):
            warehouse.query("DELETE FROM customers")


def test_attributes_that_stay_the_same_are_read_once(shop, server):
    with connect(server) as warehouse:
        for night in (AS_OF - dt.timedelta(days=1), AS_OF):
            pipeline.collect(shop.experiment, night, warehouse, shop.results)
        run_in_postgresql(server, ["DELETE FROM customers WHERE unit_id = (SELECT MIN(unit_id) FROM customers)"])
    assert [line["as_of"] for line in customers(shop)] == [str(AS_OF - dt.timedelta(days=1))]
    with connect(server) as warehouse:
        pipeline.collect(shop.experiment, AS_OF, warehouse, shop.results)
    first, second = customers(shop)
    assert first["rows"] == second["rows"] + 1


def customers(shop):
    return [line for line in readings(shop.results) if line["source"] == "customers"]


def test_a_value_is_bound_and_never_part_of_the_statement(server):
    hostile = "'; DROP TABLE purchases; --"
    with connect(server) as warehouse:
        assert warehouse.query("SELECT $name AS name", {"name": hostile}) == [{"name": hostile}]
        assert warehouse.columns("purchases")


def test_a_digest_changes_with_the_rows_and_not_with_their_order(server):
    with connect(server) as warehouse:
        rows = "SELECT unit_id, platform FROM customers"
        before = warehouse.digest(rows)
        assert warehouse.digest(f"{rows} ORDER BY platform, unit_id DESC") == before
        assert warehouse.digest(f"{rows} WHERE unit_id <> $unit", {"unit": "u2"}) != before
    run_in_postgresql(server, ["UPDATE customers SET platform = NULL WHERE unit_id = 'u2'"])
    with connect(server) as warehouse:
        assert warehouse.digest(rows) != before
        assert warehouse.digest("SELECT unit_id FROM customers WHERE FALSE") == "0 None"


def test_a_server_that_ends_the_session_is_worth_another_try(server):
    with connect(server) as warehouse:
        (row,) = warehouse.query("SELECT pg_backend_pid() AS pid")
        run_in_postgresql(server, [f"SELECT pg_terminate_backend({row['pid']})"])
        with pytest.raises(ConnectionError, match="warehouse postgresql://"):
            warehouse.query("SELECT 1 AS one")


def test_a_server_that_cannot_be_reached_is_named_without_its_password():
    with pytest.raises(ConnectionError) as problem:
        connect("postgresql://ana:secret@127.0.0.1:1/shop")
    assert "warehouse postgresql://127.0.0.1/shop: cannot be opened" in str(problem.value)
    assert "secret" not in str(problem.value)


class Recorder:
    """An engine that keeps each statement with its values and knows no rows."""

    name = "recorder"

    def __init__(self):
        self.asked = []

    def query(self, sql, parameters=None):
        self.asked.append((sql, parameters))
        if "AS repeated_units" not in sql and "AS units" in sql:
            return []
        return [{"repeated_units": 0, "example": None, "complete_at": None, "rows_found": 0, "not_finite_0": 0}]


def all_statements(shop):
    """Every statement that a night can ask, with covariates, segments, filters and checks."""
    shop.redefine("metrics", "latency_ms:\n  {", "latency_ms:\n  {where: {unit_id: u1}, covariate: customers.age, ")
    experiment, recorder = shop.experiment, Recorder()
    ask, moment = NightQueries(experiment, AS_OF, recorder), pipeline.dt.datetime(2026, 2, 8, 4)
    known_by = dict.fromkeys([experiment.exposures.name, *experiment.outcomes], moment)
    ask.complete_at("purchases", experiment.load_log)
    ask.rows_since_last_day(experiment.exposures)
    ask.exposure_checks(moment)
    for source in experiment.outcomes.values():
        ask.outcome_checks(source, ["amount_usd"], moment)
    ask.attribute_checks(experiment.attributes["customers"])
    ask.units(known_by)
    for group in maturing_together(experiment):
        ask.moments(group, known_by)
    return recorder.asked


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_statement_can_be_said_and_is_read_back(dialect, shop):
    for sql, values in all_statements(shop):
        said = translate(sql, dialect)
        tree = sqlglot.parse_one(said, read=dialect)
        assert set(names(tree)) == set(values)
        assert translate(sql, dialect) == said


def names(tree):
    return [found.name for found in tree.find_all(sqlglot.exp.Parameter, sqlglot.exp.Placeholder)]


def test_a_parameter_that_is_used_twice_is_one_number(shop):
    sql, values = next(asked for asked in all_statements(shop) if "$variant_0" in asked[0])
    text, ordered = numbered(sql, "postgres", values)
    assert len(ordered) == len(values)
    assert text.count(f"${ordered.index('control') + 1}") == sql.count("$variant_0")


def test_a_statement_that_is_none_is_refused():
    with pytest.raises(ValueError, match="sql cannot be parsed"):
        translate("SELECT FROM WHERE (", "postgres")


def test_the_embedded_warehouse_takes_no_more_memory_than_it_is_given(shop):
    with connect(shop.warehouse) as warehouse:
        (row,) = warehouse.query("SELECT current_setting('memory_limit') AS most")
    assert row["most"] == "1.3 GiB"  # 1,500 million bytes


def test_a_column_that_another_experiment_spells_otherwise_holds_no_night_on_postgresql(shop, server):
    # Quoted names have their case here, so a column "Amount_USD" is none of the table's.
    shop.redefine("metrics", "latency_ms:", "tips:\n  {title: Tips, kind: mean, source: purchases, value: Amount_USD, "
                  "window_days: 2, better: higher}\nlatency_ms:")  # fmt: skip
    shop.redefine(KEY, "ends_on: 2026-02-05", "ends_on: 2026-02-06")  # the last window ends with the last day
    catalogue = load_catalogue(shop.definitions).metrics.values()
    with connect(server) as warehouse:
        assert pipeline.outcomes_ready(shop.experiment, AS_OF, warehouse, None, catalogue) == []
