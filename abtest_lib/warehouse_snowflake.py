"""Snowflake as the warehouse, through its own connector: the rows travel as Arrow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow

from abtest_lib.dialects import folded
from abtest_lib.warehouse import StatementError

_SESSION = {
    "TIMEZONE": "UTC",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "CLIENT_TELEMETRY_ENABLED": False,
    "QUERY_TAG": "abtest",
}
_NO_TABLE = 2003  # the object does not exist, or this role may not see it


class SnowflakeWarehouse:
    """A Snowflake database opened for reading.

    Its names are written in capitals, as Snowflake keeps those that were created without quotes; give a table that was
    created with quoted small letters a view. The session cannot be made read-only: give it a role that may only read.

    Parameters
    ----------
    url : str
        ``snowflake://USER:PASSWORD@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&role=NAME``; more options of the connector
        may follow, such as ``private_key_file``. Without a password the environment's ``SNOWFLAKE_PASSWORD`` is taken.

    Raises
    ------
    ConnectionError
        If the account does not answer; worth another try later.
    ValueError
        If the connector is not installed.
    """

    days_at_once = 31

    def __init__(self, url: str):
        try:
            import snowflake.connector as connector
        except ImportError:
            raise ValueError(
                "location is Snowflake, and its connector is not installed; "
                "install abtest[snowflake] (snowflake-connector-python and sqlglot)."
            ) from None
        parts = urlsplit(url)
        places = [unquote(place) for place in parts.path.strip("/").split("/")]
        self.name = f"snowflake://{parts.hostname}{parts.path}"
        self._errors, self._schema = connector.errors, (places[1:] or ["PUBLIC"])[0]
        given = {
            "account": parts.hostname,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or os.environ.get("SNOWFLAKE_PASSWORD", "")),
            "database": places[0],
            "schema": self._schema,
            "login_timeout": 60,
            **{name: int(value) if value.isdigit() else value for name, value in parse_qsl(parts.query)},
        }
        try:
            self._connection = connector.connect(
                **{name: value for name, value in given.items() if value},
                paramstyle="qmark",  # values are bound by the server
                session_parameters=_SESSION,
                application="abtest",
            )
        except connector.errors.Error as error:
            raise ConnectionError(
                f"warehouse {self.name}: cannot be opened ({_reason(error)}); check the connection abtest_warehouse "
                "(by hand: ABTEST_WAREHOUSE and SNOWFLAKE_PASSWORD)."
            ) from error

    def __enter__(self) -> SnowflakeWarehouse:
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
        return self.read(sql, parameters).read_all().to_pylist()

    def read(self, sql: str, parameters: Mapping | None = None) -> pyarrow.RecordBatchReader:
        """Run one statement and hand its rows on in pieces; parameters and errors as of ``query``."""
        text, values, names = folded(sql, "snowflake", parameters or {})
        try:
            cursor = self._connection.cursor()
            cursor.execute(text, values or None)
            pieces = cursor.fetch_arrow_batches()
            first = next(pieces, None)
            if first is None:
                first = cursor.fetch_arrow_all(force_return_table=True)
        except self._errors.Error as error:
            raise self._refusal(error) from error
        schema = _plain_schema(first.schema, names)
        return pyarrow.RecordBatchReader.from_batches(schema, self._batches(first, pieces, schema))

    def _batches(self, first, pieces, schema: pyarrow.Schema) -> Iterator[pyarrow.RecordBatch]:
        """Of one schema: the server sends each piece with the narrowest whole numbers that it needs."""
        try:
            for piece in (first, *pieces):
                yield from piece.rename_columns(schema.names).cast(schema).to_batches()
        except self._errors.Error as error:
            raise self._refusal(error) from error

    def version(self, table: str) -> str | None:
        """None: a table's last change is not told for views, and not at once."""
        return None

    def digest(self, sql: str, parameters: Mapping | None = None) -> str | None:
        """None: rows are read to see whether they changed."""
        return None

    def columns(self, table: str) -> list[str] | None:
        """Name the columns of a table or view; None when there is no such table, or this role may not see it."""
        quoted = ".".join(f'"{part.upper()}"' for part in table.split("."))
        try:
            cursor = self._connection.cursor()
            cursor.execute(f"SELECT * FROM {quoted} LIMIT 0")  # noqa: S608 (the definition checks identifiers)
            return [column.name.lower() for column in cursor.description]
        except self._errors.ProgrammingError as error:
            if error.errno == _NO_TABLE:
                return None
            raise self._refusal(error) from error
        except self._errors.Error as error:
            raise self._refusal(error) from error

    def tables(self) -> list[str]:
        """Name the tables and views that may be read in small letters, those of the session's schema without it."""
        rows = self.query(
            "SELECT table_schema AS place, table_name AS name FROM information_schema.tables "
            "WHERE table_schema <> 'INFORMATION_SCHEMA' ORDER BY 1, 2"
        )
        return [
            row["name"].lower() if row["place"] == self._schema.upper() else f"{row['place']}.{row['name']}".lower()
            for row in rows
        ]

    def _refusal(self, error) -> ConnectionError | StatementError:
        if isinstance(error, (self._errors.ProgrammingError, self._errors.DataError)):
            return StatementError(_reason(error))
        return ConnectionError(f"warehouse {self.name}: {_reason(error)}")


def _plain_schema(schema: pyarrow.Schema, names: list[str]) -> pyarrow.Schema:
    """The statement's own names, and the types that other engines return."""
    return pyarrow.schema([(name, _plain_type(kind)) for name, kind in zip(names, schema.types, strict=True)])


def _plain_type(kind: pyarrow.DataType) -> pyarrow.DataType:
    if pyarrow.types.is_integer(kind) or (pyarrow.types.is_decimal(kind) and not kind.scale):
        return pyarrow.int64()
    if pyarrow.types.is_decimal(kind):
        return pyarrow.float64()
    if pyarrow.types.is_timestamp(kind):
        return pyarrow.timestamp("us")
    return kind


def _reason(error: Exception) -> str:
    """The server's own words, without number and state before them."""
    text = str(getattr(error, "msg", None) or error).strip()
    said = text.split("\n")[-1] if text.startswith("00") and "\n" in text else text.split("\n")[0]
    return said.partition("): ")[2] or said
