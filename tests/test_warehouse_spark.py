"""A night on Spark, in this process and through Spark Connect."""

import datetime as dt
import math
import os
import random
import re
import socket
import time
from pathlib import Path

import duckdb
import pyarrow
import pyarrow.parquet
import pytest
from small_shop import AS_OF, Shop
from test_warehouses import differences

from abtest_lib import pipeline, results
from abtest_lib.errors import DataError
from abtest_lib.warehouse import StatementError, connect
from abtest_lib.warehouse_spark import _spark_errors
from tests.engines import create_table, spark, spark_folder  # noqa: F401

HOSTILE = ["'; DROP TABLE purchases; --", "\\", "\\'", "${env:HOME}", "${system:user.home}", ":name", "$name ? %s {x}",
           'a\nb\t"c"`d`', "\\u0041 é 𝄞 \x00"]  # fmt: skip


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def exported(shop, request):
    """The shop's tables, each as a Parquet file of one folder."""
    location = spark_folder(request)
    with duckdb.connect(str(shop.warehouse)) as source:
        for (table,) in source.execute("SHOW TABLES").fetchall():
            source.table(table).write_parquet(f"{location.removeprefix('spark://')}/{table}.parquet")
    return location


@pytest.fixture
def connect_url(spark):  # noqa: F811
    """The server of Spark Connect within the Spark of this session."""
    return f"sc://127.0.0.1:{spark.connect_port}"


@pytest.fixture
def catalogued(spark, tmp_path):  # noqa: F811
    """A table in a schema of Spark's catalog, with one row, which lies elsewhere."""
    columns = {"unit_id": "VARCHAR", "occurred_at": "TIMESTAMPTZ", "amount_usd": "DOUBLE"}
    create_table(f"spark://{tmp_path}", "catalogued", columns, [["u1", "2026-03-08 04:30:00.000001+02", "12.5"]])
    sql = spark.warehouse._session.sql
    sql("CREATE DATABASE shop")
    sql(f"CREATE TABLE shop.purchases USING parquet LOCATION '{tmp_path / 'catalogued.parquet'}'")
    yield "shop.purchases"
    sql("DROP DATABASE shop CASCADE")


def test_a_night_on_spark_is_that_of_duckdb(shop, request, tmp_path):
    with connect(exported(shop, request)) as warehouse:
        found = pipeline.run(shop.experiment, AS_OF, warehouse, tmp_path / "spark")
    expected = results.read_json(shop.run() / "results.json")
    got = results.read_json(found / "results.json")
    assert differences(got | {"revision": expected["revision"]}, expected) == []


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DROP TABLE purchases", "source purchases: table 'purchases' does not exist."),
        ("ALTER TABLE purchases RENAME TO purchase", "table 'purchases' does not exist; did you mean 'purchase'?"),
        ("ALTER TABLE page_loads RENAME latency_ms TO latency", "has no column 'latency_ms'; did you mean 'latency'?"),
        (
            "ALTER TABLE purchases ALTER occurred_at TYPE VARCHAR USING 'noon'",
            'The value \'noon\' of the type "STRING" cannot be cast to "TIMESTAMP_NTZ"',
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said_as_for_duckdb(statement, says, shop, request):
    shop.change(statement)
    with connect(exported(shop, request)) as warehouse, pytest.raises(DataError) as problem:
        pipeline.collect(shop.experiment, AS_OF, warehouse, shop.results)
    assert says in str(problem.value)
    assert "checkout, 2026-02-08" in str(problem.value)


def test_a_table_is_a_file_or_a_folder_in_any_case_of_letters(request):
    location = spark_folder(request)
    folder = Path(location.removeprefix("spark://"))
    for name in ("Orders/part-0", "Orders/part-1", "returns", "_unfinished/part-0", ".hidden/part-0"):
        (folder / name).parent.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table({"Amount": [1.5]}), folder / f"{name}.parquet")
    (folder / "readme.txt").write_text("no table")
    with connect(location) as warehouse:
        assert warehouse.tables() == ["Orders", "returns"]
        assert warehouse.columns("orders") == ["Amount"]
        assert warehouse.columns("readme") is None
        assert warehouse.query('SELECT SUM("amount") AS amount FROM "ORDERS"') == [{"amount": 3.0}]


def test_the_version_of_a_table_changes_with_its_files(catalogued, request):
    location = spark_folder(request)
    folder = Path(location.removeprefix("spark://"), "orders")
    folder.mkdir()
    for name in ("part-0", "part-1"):
        pyarrow.parquet.write_table(pyarrow.table({"amount": [1.5]}), folder / f"{name}.parquet")
    with connect(location) as warehouse:
        versions = [warehouse.version("orders"), warehouse.version("Orders")]
        os.utime(folder / "part-1.parquet", (1_800_000_000, 1_800_000_000))
        versions.append(warehouse.version("orders"))
        (folder / "part-0.parquet").unlink()
        versions.append(warehouse.version("orders"))
        assert versions[0] == versions[1]
        assert len(set(versions)) == 3
        assert warehouse.version(catalogued) is None


def test_a_table_of_the_catalog_is_named_with_its_schema(catalogued, request):
    with connect(spark_folder(request)) as warehouse:
        assert warehouse.columns(catalogued) == ["unit_id", "occurred_at", "amount_usd"]
        assert warehouse.tables() == [catalogued]
        assert warehouse.columns("shop.purchase") is warehouse.columns("a.b.c") is None
        assert warehouse.query("SELECT COUNT(*) AS n FROM shop.purchases") == [{"n": 1}]


def test_values_are_bound_and_never_part_of_the_statement(request):
    with connect(spark_folder(request)) as warehouse:
        for text in HOSTILE:
            assert warehouse.query("SELECT $name AS name, 'k' AS k WHERE $name = $name", {"name": text}) == [
                {"name": text, "k": "k"}
            ]
        numbers = {"yes": True, "count": 2**40, "share": 0.1, "none": None, "day": dt.date(2026, 2, 8)}
        assert warehouse.query(f"SELECT {', '.join(f'${name} AS {name}' for name in numbers)}", numbers) == [numbers]


@pytest.fixture
def new_york(monkeypatch):
    """The time zone of this process; 02:30 on the 8th of March does not exist there."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_times_are_utc_whatever_the_zone_of_the_process(catalogued, connect_url, request):
    moment = dt.datetime(2026, 3, 8, 2, 30, 0, 1)
    statement = """SELECT occurred_at AS zoned, CAST(occurred_at AS TIMESTAMP) AS plain, $moment AS bound,
        CAST(occurred_at AS DATE) AS day FROM shop.purchases WHERE CAST(occurred_at AS TIMESTAMP) = $moment"""
    elsewhere = dt.datetime.fromisoformat("2026-03-07T21:30:00.000001-05:00")
    for location in (spark_folder(request), connect_url):
        for bound in (moment, moment.replace(tzinfo=dt.UTC), elsewhere):
            with connect(location) as warehouse:
                assert warehouse.query(statement, {"moment": bound}) == [
                    {"zoned": moment, "plain": moment, "bound": moment, "day": dt.date(2026, 3, 8)}
                ]


def test_rows_are_read_as_arrow_without_zones(catalogued, connect_url, request):
    for location in (spark_folder(request), connect_url):
        with connect(location) as warehouse:
            for least, units in ((10, ["u1"]), (20, [])):
                statement = "SELECT unit_id, occurred_at FROM shop.purchases WHERE amount_usd > $least"
                reader = warehouse.read(statement, {"least": least})
                assert isinstance(reader, pyarrow.RecordBatchReader)
                assert [str(field.type) for field in reader.schema] == ["string", "timestamp[us]"]
                assert reader.read_all()["unit_id"].to_pylist() == units


def test_a_server_of_spark_connect_is_a_warehouse(catalogued, connect_url):
    with connect(f"{connect_url}/;user_id=ana") as warehouse:
        assert warehouse.name == connect_url
        assert warehouse.columns(catalogued) == ["unit_id", "occurred_at", "amount_usd"]
        assert warehouse.columns("shop.purchase") is warehouse.columns("nowhere.purchases") is None
        assert warehouse.tables() == [catalogued]
        for text in HOSTILE:
            assert warehouse.query("SELECT $name AS name", {"name": text}) == [{"name": text}]
        with pytest.raises(StatementError, match="cannot be cast"):
            warehouse.query("SELECT CAST(unit_id AS DOUBLE) AS amount FROM shop.purchases")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("SELECT nothing FROM purchases", r"table or view `purchases` cannot be found"),
        ("SELECT CAST('u1' AS DOUBLE) AS amount", 'The value \'u1\' of the type "STRING" cannot be cast to "DOUBLE"'),
        ("SELECT $missing AS amount", "unbound parameter: missing"),
        ("DELETE FROM purchases", "the warehouse is only read"),
        ("CREATE TABLE copies AS SELECT 1 AS one", "the warehouse is only read"),
    ],
)
def test_a_refused_statement_is_said_in_one_line_and_printed_nowhere(statement, says, request, capfd):
    with connect(spark_folder(request)) as warehouse, pytest.raises(StatementError, match=says) as problem:
        warehouse.query(statement)
    assert "\n" not in str(problem.value)
    assert "SQLSTATE" not in str(problem.value)
    assert capfd.readouterr() == ("", "")


def test_equal_tables_give_equal_digits(request):
    location, generator = spark_folder(request), random.Random(7)  # noqa: S311
    folder = Path(location.removeprefix("spark://"), "orders")
    folder.mkdir()
    amounts = [generator.lognormvariate(0, 3) for _ in range(40_000)]
    for part in range(8):
        table = pyarrow.table({"unit": [i % 97 for i in range(5_000)], "amount": amounts[part::8]})
        pyarrow.parquet.write_table(table, folder / f"part-{part}.parquet")
    statement = """SELECT AVG(amount) AS mean, VAR_POP(amount) AS variance
        FROM (SELECT unit, SUM(amount) AS amount FROM orders GROUP BY unit) AS units"""
    found = []
    for _ in range(5):
        with connect(location) as warehouse:
            found += warehouse.query(statement)
    assert found == [found[0]] * 5
    assert math.isclose(found[0]["mean"], math.fsum(amounts) / 97, rel_tol=1e-12)


def test_what_cannot_be_reached_is_named_without_its_secrets(tmp_path):
    for location, name in (
        ("spark://ana:secret@127.0.0.1:1/tables", "spark://127.0.0.1:1/tables"),
        ("sc://127.0.0.1:1/;token=secret;user_id=ana", "sc://127.0.0.1:1"),
    ):
        with pytest.raises(ConnectionError) as problem:
            connect(location)
        assert f"warehouse {name}: cannot be opened (Connection refused)" in str(problem.value)
        assert "secret" not in str(problem.value)


def test_a_folder_that_is_not_there_is_worth_another_try(spark, tmp_path):  # noqa: F811
    with pytest.raises(ConnectionError, match="/nowhere: cannot be opened"):
        connect(f"spark://{tmp_path}/nowhere")


@pytest.mark.usefixtures("spark")
def test_a_process_runs_one_spark():
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        master = f"spark://127.0.0.1:{cluster.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"location is {master}, and this process runs Spark on local"):
            connect(f"{master}/tables")


def test_without_java_it_is_said_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ValueError, match=r"Java, which is not in the PATH; install Java 17 or later \(Debian"):
        connect(f"spark://{tmp_path}")
    monkeypatch.setenv("JAVA_HOME", "/opt/java")
    with pytest.raises(ValueError, match="Java, which is not in /opt/java;"):
        connect(f"spark://{tmp_path}")


def test_spark_leaves_nothing_where_the_program_stands_and_listens_to_this_machine_alone(spark):  # noqa: F811
    assert not [name for name in ("spark-warehouse", "metastore_db", "derby.log", "artifacts") if Path(name).exists()]
    addresses = listening(spark.process)
    assert addresses
    assert {address for address in addresses if not address.endswith("0100007F")} == set()


def listening(process):
    """The addresses, as the kernel writes them, that a process listens on."""
    sockets = {os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir() if path.is_symlink()}
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{process}/net/{name}").read_text().splitlines()[1:]
    ]
    return [row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


@pytest.mark.parametrize(
    ("cause", "kind", "says"),
    [
        ("Job 23 cancelled because SparkContext was shut down", ConnectionError, "SparkContext was shut down"),
        ("[UNABLE_TO_ACQUIRE_MEMORY] Unable to acquire 64 bytes. SQLSTATE: 53200", ConnectionError, "64 bytes."),
        ("the column is of another kind", StatementError, "^the column is of another kind$"),
    ],
)
def test_what_failed_within_java_is_said_by_its_first_cause(cause, kind, says, spark):  # noqa: F811
    jvm = spark.warehouse._session._jvm
    failed = jvm.java.util.concurrent.CompletableFuture.failedFuture(jvm.java.lang.IllegalStateException(cause))
    try:
        failed.get()
    except _spark_errors() as error:
        refusal = spark.warehouse._refusal(error)
    assert type(refusal) is kind
    assert re.search(says, str(refusal))
