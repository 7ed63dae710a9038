"""A PostgreSQL server as the warehouse, through ADBC: the rows travel as Arrow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import pyarrow

from abtest_lib.dialects import numbered
from abtest_lib.warehouse import StatementError

# Read only, one moment for all statements of a night, and one process: it sums in one order, so digits repeat.
_SESSION = (
    "SET TIME ZONE 'UTC'",
    "SET max_parallel_workers_per_gather = 0",
    # Its guess of how many units pass a window function is one, and then a loop over all events for each of them.
    "SET enable_nestloop = off",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
)
_NO_TABLE = ("42P01", "3F000")  # undefined_table, invalid_schema_name
_LOST = ("08", "57", "53")  # connection, operator intervention, insufficient resources: worth another try


class PostgreSQLWarehouse:
    """A PostgreSQL database opened for reading.

    Parameters
    ----------
    url : str
        ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``, or without a password where the environment has one
        (``PGPASSWORD``, ``~/.pgpass``).

    Raises
    ------
    ConnectionError
        If the server does not answer; worth another try later.
    ValueError
        If the driver is not installed.
    """

    days_at_once = 7

    def __init__(self, url: str):
        try:
            import adbc_driver_postgresql.dbapi as driver
        except ImportError:
            raise ValueError(
                "location is a PostgreSQL server, and its driver is not installed; "
                "install abtest[postgresql] (adbc-driver-postgresql and sqlglot)."
            ) from None
        parts = urlsplit(url)
        self.name = f"postgresql://{parts.hostname or 'localhost'}{parts.path}"
        self._error = driver.Error
        try:
            self._connection = driver.connect(url)
            with self._connection.cursor() as cursor:
                for statement in _SESSION:
                    cursor.execute(statement)
            self._connection.commit()
        except driver.Error as error:
            raise ConnectionError(
                f"warehouse {self.name}: cannot be opened ({_reason(error)}); check the connection abtest_warehouse "
                "(by hand: ABTEST_WAREHOUSE), and that the server is up."
            ) from error

    def __enter__(self) -> PostgreSQLWarehouse:
        return self

    def __exit__(self, *_) -> None:
        self._connection.close()

    def query(self, sql: str, parameters: Mapping | None = None) -> list[dict]:
        """Run one statement and return its rows.

        Parameters
        ----------
        sql : str
            In DuckDB's dialect, with named parameters such as ``$as_of``.
        parameters : mapping, optional
            Values by name, bound by the server.

        Returns
        -------
        list of dict
            One dict a row, columns in the statement's order.

        Raises
        ------
        StatementError
            If the server refuses the statement.
        ConnectionError
            If it cannot answer now; worth another try later.
        """
        text, values = numbered(sql, "postgres", parameters or {})
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(text, values or None)
                return cursor.fetch_arrow_table().to_pylist()
        except self._error as error:
            raise self._refusal(error) from error

    def read(self, sql: str, parameters: Mapping | None = None) -> pyarrow.RecordBatchReader:
        """Run one statement and hand its rows on in pieces; parameters and errors as of ``query``."""
        text, values = numbered(sql, "postgres", parameters or {})
        cursor = self._connection.cursor()
        try:
            cursor.execute(text, values or None)
            return pyarrow.RecordBatchReader.from_batches(*self._batches(cursor))
        except self._error as error:
            cursor.close()
            raise self._refusal(error) from error

    def _batches(self, cursor):
        """The schema and the batches of a running statement, which ends when they are used up."""
        reader = cursor.fetch_record_batch()

        def batches():
            with cursor:
                try:
                    yield from reader
                except self._error as error:
                    raise self._refusal(error) from error

        return reader.schema, batches()

    def version(self, table: str) -> str | None:
        """None: the server counts changes, but may count them a second late."""
        return None

    def _refusal(self, error) -> ConnectionError | StatementError:
        with suppress(self._error):  # a session that is gone has nothing to roll back
            self._connection.rollback()
        if (error.sqlstate or "08")[:2] in _LOST:
            return ConnectionError(f"warehouse {self.name}: {_reason(error)}")
        return StatementError(_reason(error))

    def digest(self, sql: str, parameters: Mapping | None = None) -> str | None:
        """A sum of hashes, which costs less than handing the rows over; parameters and errors as of ``query``."""
        text, values = numbered(sql, "postgres", parameters or {})
        hashes = "SUM(CAST(hashtextextended(CAST(ROW(asked.*) AS TEXT), 0) AS NUMERIC))"
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(f"SELECT COUNT(*), CAST({hashes} AS TEXT) FROM ({text}) AS asked", values or None)  # noqa: S608
                return "{} {}".format(*cursor.fetchone())
        except self._error as error:
            raise self._refusal(error) from error

    def columns(self, table: str) -> list[str] | None:
        """Name the columns of a table or view; None when there is no such table, StatementError if it is forbidden."""
        quoted = ".".join(f'"{part}"' for part in table.split("."))
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {quoted} LIMIT 0")  # noqa: S608 (the definition checks identifiers)
                return cursor.fetch_arrow_table().column_names
        except self._error as error:
            refusal = self._refusal(error)
            if error.sqlstate in _NO_TABLE:
                return None
            raise refusal from error

    def tables(self) -> list[str]:
        """Name the tables and views that may be read, those of the search path without their schema."""
        rows = self.query(
            "SELECT table_schema AS place, table_name AS name, "
            "table_schema = ANY(CURRENT_SCHEMAS(FALSE)) AS plain FROM information_schema.tables "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"
        )
        return [row["name"] if row["plain"] else f"{row['place']}.{row['name']}" for row in rows]


def _reason(error: Exception) -> str:
    """The server's own words, without what the driver puts around them."""
    found = re.search(r"(?:ERROR|FATAL): +(.*)", str(error))
    return (found.group(1) if found else str(error).strip().splitlines()[0]).strip()
