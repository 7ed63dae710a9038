"""The warehouse: read-only queries with bound values, on DuckDB (one file), PostgreSQL, Spark or Snowflake."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import duckdb

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 100_000  # of a table that is read in pieces
MEMORY = "1500MB"  # for what a statement holds and for blocks of the file; DuckDB would take four fifths of the machine


class StatementError(Exception):
    """The engine refused a statement: a missing table, a column of another type, a value that is none."""


class Warehouse(Protocol):
    """What a night asks of an engine; ``name`` is where it lies, without a password."""

    name: str
    days_at_once: int  # of a source, that one statement may bring: what does not come in pieces must fit in memory

    def query(self, sql: str, parameters: Mapping | None = None) -> list[dict]:
        """Run one statement of ``sql/``, written for DuckDB with named parameters, and return its rows."""

    def read(self, sql: str, parameters: Mapping | None = None) -> pyarrow.RecordBatchReader:
        """Run one statement and hand its rows on in pieces as Arrow, however many there are."""

    def version(self, table: str) -> str | None:
        """What changes at the latest when the table does; None where the engine cannot say."""

    def digest(self, sql: str, parameters: Mapping | None = None) -> str | None:
        """What is equal for the same rows of a statement in any order; None where the engine cannot say."""

    def columns(self, table: str) -> list[str] | None:
        """Name the columns of a table or view; None when there is no such table."""

    def tables(self) -> list[str]:
        """Name the tables and views, as a definition would."""

    def __enter__(self) -> Warehouse: ...

    def __exit__(self, *_) -> None: ...


class DuckDBWarehouse:
    """A DuckDB file opened for reading, or a Parquet file as the one table that its name says.

    One thread, so that sums are taken in one order and the same data gives the same digits
    (``docs/decisions/0002-one-thread-for-equal-digits.md``).
    """

    days_at_once = 31

    def __init__(self, path: str | Path):
        self.name = str(path)
        try:
            # By default DuckDB spills beside the file, which may lie on a read-only volume.
            spill = str(Path(tempfile.gettempdir()) / f"abtest_duckdb_{os.getuid()}")
            config = {"threads": 1, "temp_directory": spill, "memory_limit": MEMORY}
            table = Path(path).stem if Path(path).suffix == ".parquet" else None
            self._connection = duckdb.connect(":memory:" if table else self.name, read_only=not table, config=config)
            self._connection.execute("SET TimeZone = 'UTC'")
            self._connection.execute("SET enable_progress_bar = false")
            if table:
                name, file = table.replace('"', '""'), self.name.replace("'", "''")
                self._connection.execute(f"CREATE VIEW \"{name}\" AS SELECT * FROM read_parquet('{file}')")  # noqa: S608
        except duckdb.Error as error:
            raise ConnectionError(
                f"warehouse {self.name}: cannot be opened ({_first_line(error)}); check ABTEST_WAREHOUSE, "
                "and that no other program has the file open for writing."
            ) from error

    def __enter__(self) -> DuckDBWarehouse:
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
            Values by name, bound by the engine.

        Returns
        -------
        list of dict
            One dict a row, columns in the statement's order.

        Raises
        ------
        StatementError
            If the statement fails.

        Examples
        --------
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "shop.duckdb")
        >>> duckdb.connect(str(path)).execute("CREATE TABLE orders AS SELECT 12 AS amount_usd").close()
        >>> DuckDBWarehouse(path).query("SELECT amount_usd FROM orders WHERE amount_usd > $least", {"least": 10})
        [{'amount_usd': 12}]
        """
        try:
            result = self._connection.execute(sql, dict(parameters or {}))
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        except duckdb.Error as error:
            raise StatementError(_first_line(error)) from error

    def read(self, sql: str, parameters: Mapping | None = None) -> pyarrow.RecordBatchReader:
        """Run one statement and hand its rows on in pieces; parameters and errors as of ``query``."""
        try:
            reader = self._connection.sql(sql, params=dict(parameters or {})).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise StatementError(_first_line(error)) from error
        return reader

    def version(self, table: str) -> str | None:
        """The file's time and size; None for a view, which may read other files."""
        kinds = self.query("SELECT table_type AS kind, table_schema, table_name FROM information_schema.tables")
        own = [row["kind"] for row in kinds
               if table in (row["table_name"], f"{row['table_schema']}.{row['table_name']}")]  # fmt: skip
        if own != ["BASE TABLE"] or not Path(self.name).exists():
            return None
        status = Path(self.name).stat()
        return f"{status.st_mtime_ns} {status.st_size}"

    def digest(self, sql: str, parameters: Mapping | None = None) -> str | None:
        """A sum of hashes, which costs far less than reading the rows; parameters and errors as of ``query``."""
        asked = f"SELECT COUNT(*) AS n, SUM(CAST(HASH(asked) AS HUGEINT)) AS hashes FROM ({sql}) AS asked"  # noqa: S608
        (row,) = self.query(asked, parameters)
        return f"{row['n']} {row['hashes']}"

    def columns(self, table: str) -> list[str] | None:
        """Name the columns of a table or view; None when there is no such table, StatementError for a broken view."""
        quoted = ".".join(f'"{part}"' for part in table.split("."))
        try:
            return [row["column_name"] for row in self.query(f"DESCRIBE {quoted}")]
        except StatementError as error:
            if isinstance(error.__cause__, duckdb.CatalogException) and table not in self.tables():
                return None
            raise  # a view of something that is gone

    def tables(self) -> list[str]:
        """Name the tables and views of all schemas, as a definition would."""
        rows = self.query("SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL")
        return [
            r["table_name"] if r["table_schema"] == "main" else f"{r['table_schema']}.{r['table_name']}" for r in rows
        ]


def connect(location: str | Path) -> Warehouse:
    """Open the warehouse of a night.

    Parameters
    ----------
    location : str or path
        Path of a DuckDB file, with or without ``duckdb://`` before it, or of one Parquet file, which is then the table
        of its name: ``exports/ranker.parquet`` holds the table ``ranker``. Else the URL of a PostgreSQL server,
        ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``, or Spark: ``spark:///FOLDER``,
        ``spark://HOST:PORT/FOLDER`` or ``sc://HOST:PORT`` (``abtest_lib.warehouse_spark``), or Snowflake
        (``abtest_lib.warehouse_snowflake``).

    Returns
    -------
    Warehouse
        Open for reading.

    Raises
    ------
    ConnectionError
        If it cannot be opened; worth another try later.
    ValueError
        If the location names another kind of warehouse, or the driver of this kind is not installed.

    Examples
    --------
    >>> connect("mysql://warehouse/analytics")
    Traceback (most recent call last):
    ...
    ValueError: location begins with 'mysql://'; it must be a DuckDB file, or begin with postgresql://, snowflake://, \
spark:// or sc://.
    """
    kind, separator, path = str(location).partition("://")
    if not separator:
        return DuckDBWarehouse(location)
    if kind == "duckdb":
        return DuckDBWarehouse(path)
    if kind in ("postgresql", "postgres"):
        from abtest_lib.warehouse_postgresql import PostgreSQLWarehouse

        return PostgreSQLWarehouse(str(location))
    if kind == "snowflake":
        from abtest_lib.warehouse_snowflake import SnowflakeWarehouse

        return SnowflakeWarehouse(str(location))
    if kind in ("spark", "sc"):
        from abtest_lib.warehouse_spark import SparkWarehouse

        return SparkWarehouse(str(location))
    raise ValueError(
        f"location begins with '{kind}://'; it must be a DuckDB file, or begin with postgresql://, snowflake://, "
        "spark:// or sc://."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
