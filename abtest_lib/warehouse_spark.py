"""Spark as the warehouse: tables of its catalog and folders of Parquet files, through Spark SQL."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow

from abtest_lib.dialects import is_query, named, tables_in
from abtest_lib.warehouse import StatementError

_SESSION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # Spark would put its own variables, and the environment's, in place of a ${name} within a bound text.
    "spark.sql.variable.substitute": "false",
}
# One plan whatever finishes first, and one place where sums meet: on one machine they are added in one order.
_ONE_MACHINE = {"spark.sql.adaptive.enabled": "false", "spark.sql.shuffle.partitions": "1"}
_CONNECT_PORT = 15002
_NO_TABLE = ("42P01", "42704", "42K05")  # no such table, no such schema, no such catalog
_LOST = ("08", "53", "57", "58", "KD", "XX")  # connection, resources, intervention, system, files, Spark itself
# Without an SQLSTATE: a server or a Java machine that is gone.
_UNEXPLAINED = ("UnknownException", "RetriesExceeded", "SparkConnectGrpcException", "Py4JError", "Py4JNetworkError")
# What Java says of a statement that was under way: Spark was ended by a signal, or ran out of memory.
_INTERRUPTED = ("SparkContext was shut down", "stopped SparkContext", "SQLSTATE: 53")
_ANSWER_SECONDS = 10
_CHECK = "check the connection abtest_warehouse (by hand: ABTEST_WAREHOUSE)"


class SparkWarehouse:
    """Spark opened for reading, as ``location`` says:

    - ``spark:///data/tables``: Spark in this process, with the tables of a folder;
    - ``spark://HOST:PORT/data/tables``: the same on a standalone cluster, which must see the folder too;
    - ``spark://HOST:PORT``: the tables of its catalog alone (a Hive metastore, Iceberg, …), as Spark's own
      configuration (``SPARK_CONF_DIR``) names it;
    - ``sc://HOST:PORT/;token=…``: the tables of a server of Spark Connect.

    In a folder, the Parquet file ``purchases.parquet`` or the folder of such files ``purchases/`` is a table.

    Parameters
    ----------
    location : str
        As above. A folder is looked for where Spark's configuration says that files lie (``fs.defaultFS``).

    Raises
    ------
    ConnectionError
        If the cluster, the server or the folder is not there; worth another try later.
    ValueError
        If pyspark or Java is not installed, or this process runs Spark elsewhere already.

    Notes
    -----
    A night sees no single moment: a table that is loaded meanwhile may change between two statements. Load into a new
    folder and rename it.

    In this process equal tables give equal digits. On a cluster the last digits may differ from run to run, because
    partial sums arrive in any order.
    """

    days_at_once = 1

    def __init__(self, location: str):
        parts = urlsplit(location)
        # Of a server the address alone: a login may stand before it, and a token after it.
        where = parts.netloc.rpartition("@")[2].partition(";")[0]
        folder = parts.path.rstrip("/") if parts.scheme == "spark" else ""
        self.name = f"{parts.scheme}://{where}{folder}"
        self._driver, self._session, self._files, self._opened = None, None, {}, set()
        _import_spark()
        if parts.scheme == "spark":
            _require_java()
        if where:
            _await_answer(self.name, where)
        try:
            self._session = self._connected(location, f"spark://{where}" if where else None)
            for name, value in (_SESSION | ({} if where else _ONE_MACHINE)).items():
                self._session.conf.set(name, value)
            paths = _parquet_paths(self._session, folder) if folder else []
            self._files = {_table_of(path).lower(): path for path in paths}
        except _spark_errors() as error:
            self.__exit__()
            raise ConnectionError(f"warehouse {self.name}: cannot be opened ({_reason(error)}); {_CHECK}.") from error

    def _connected(self, location: str, master: str | None):
        if location.startswith("sc://"):
            return _connect_session(location)
        self._driver = _Driver.join(master)
        return self._driver.session()

    def __enter__(self) -> SparkWarehouse:
        return self

    def __exit__(self, *_) -> None:
        if self._driver:
            self._driver.leave()
        elif self._session:
            self._session.stop()

    def query(self, sql: str, parameters: Mapping | None = None) -> list[dict]:
        """Run one statement and return its rows.

        Parameters
        ----------
        sql : str
            In DuckDB's dialect, with named parameters such as ``$as_of``.
        parameters : mapping, optional
            Values by name, bound by Spark.

        Returns
        -------
        list of dict
            One dict a row, columns in the statement's order; timestamps in UTC without a zone.

        Raises
        ------
        StatementError
            If Spark refuses the statement.
        ConnectionError
            If it cannot answer now; worth another try later.
        """
        return self._table(sql, parameters).to_pylist()

    def read(self, sql: str, parameters: Mapping | None = None) -> pyarrow.RecordBatchReader:
        """Run one statement and return its rows as Arrow batches.

        Spark hands over a whole result, which must fit in memory and in ``spark.driver.maxResultSize``.

        Parameters
        ----------
        sql, parameters
            As in ``query``.

        Returns
        -------
        pyarrow.RecordBatchReader
            Timestamps are in UTC without a zone, in microseconds.

        Raises
        ------
        StatementError
            If Spark refuses the statement.
        ConnectionError
            If it cannot answer now; worth another try later.
        """
        return self._table(sql, parameters).to_reader()

    def _table(self, sql: str, parameters: Mapping | None) -> pyarrow.Table:
        if not is_query(sql):
            raise StatementError("the warehouse is only read, and Spark has no read-only transaction to see to it.")
        try:
            for table in tables_in(sql):
                self._open(table)
            text, values = named(sql, "spark", parameters or {})
            return _without_zone(self._session.sql(text, args=values).toArrow())
        except _spark_errors() as error:
            raise self._refusal(error) from error

    def _open(self, table: str) -> None:
        """Make a table known to Spark, if it is one of the folder's."""
        path = self._files.get(table.lower())
        if path and path not in self._opened:
            self._session.read.parquet(path).createOrReplaceTempView(f"`{table}`")
            self._opened.add(path)

    def _refusal(self, error: Exception) -> ConnectionError | StatementError:
        state = _state(error)
        lost = state[:2] in _LOST if state else isinstance(error, OSError) or type(error).__name__ in _UNEXPLAINED
        lost = lost or any(words in str(error) for words in _INTERRUPTED)
        reason = _reason(error)
        return ConnectionError(f"warehouse {self.name}: {reason}") if lost else StatementError(reason)

    def version(self, table: str) -> str | None:
        """Path, time and size of every file of a folder's table, as a digest; None for a table of the catalog."""
        path = self._files.get(table.lower())
        if not path:
            return None
        try:
            return hashlib.sha256("\n".join(_files_below(self._session, path)).encode()).hexdigest()
        except _spark_errors() as error:
            raise self._refusal(error) from error

    def digest(self, sql: str, parameters: Mapping | None = None) -> str | None:
        """None: rows are read to see whether they changed."""
        return None

    def columns(self, table: str) -> list[str] | None:
        """Name the columns of a table or view; None when there is no such table, StatementError if it is broken."""
        try:
            self._open(table)
            return self._session.table(".".join(f"`{part}`" for part in table.split("."))).columns
        except _spark_errors() as error:
            if _state(error) in _NO_TABLE:
                return None
            raise self._refusal(error) from error

    def tables(self) -> list[str]:
        """Name the tables of the folder and of the catalog, those of its current schema without their schema."""
        try:
            current = self._session.sql("SELECT current_schema() AS name").toArrow()["name"][0].as_py()
            found = {_table_of(path) for path in self._files.values()}
            for schema in _names(self._session, "SHOW SCHEMAS", 0):
                plain = f"`{schema.replace('`', '``')}`"
                rows = _names(self._session, f"SHOW TABLES IN {plain}", 1)
                found |= {name if schema == current else f"{schema}.{name}" for name in rows}
            return sorted(found)
        except _spark_errors() as error:
            raise self._refusal(error) from error


class _Driver:
    """The one Spark of this process: the first warehouse that needs it starts it, the last one stops it."""

    _lock = threading.Lock()
    _running: _Driver | None = None

    def __init__(self, master: str | None):
        from pyspark import SparkContext
        from pyspark.sql import SparkSession

        self._uses = 0
        running = SparkContext._active_spark_context
        self._owned = running is None
        context = running or _start_spark(master)
        self._master = context.master
        self._root = SparkSession(context)

    @classmethod
    def join(cls, master: str | None) -> _Driver:
        """Take part in the Spark of this process, started now if there is none; None is any, or this machine."""
        with cls._lock:
            cls._running = cls._running or cls(master)
            if master not in (None, cls._running._master):
                raise ValueError(
                    f"location is {master}, and this process runs Spark on {cls._running._master}; a process has one."
                )
            cls._running._uses += 1
            return cls._running

    def session(self):
        """A session with settings and temporary views of its own."""
        return self._root.newSession()

    def leave(self) -> None:
        """Stop Spark if nobody else takes part, and if it was started here."""
        with self._lock:
            self._uses -= 1
            if self._uses == 0:
                type(self)._running = None
                if self._owned:
                    self._stop()

    def _stop(self) -> None:
        from pyspark import SparkContext
        from pyspark.sql import SparkSession

        try:
            self._root.stop()
        except _spark_errors():  # the Java machine is gone, and Spark would look for it for ever
            if process := SparkContext._gateway.proc:
                process.kill()
                process.communicate()
            SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
            SparkSession._instantiatedSession = None


def _start_spark(master: str | None):
    """Start a Java machine, unless one is left of an earlier Spark, and Spark in it; what they log goes nowhere."""
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway

    settings = {
        "spark.master": master or "local[2]",
        "spark.app.name": "abtest",
        "spark.ui.enabled": "false",
        # Nothing is written there, but Spark makes the folder, by default where the program stands.
        "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir()) / f"abtest_spark_{os.getuid()}"),
    }
    if not master:
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    if SparkContext._gateway:
        return SparkContext(conf=conf)
    with tempfile.TemporaryFile() as said:
        try:
            gateway = launch_gateway(conf, popen_kwargs={"stdout": said, "stderr": said})
        except PySparkRuntimeError:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            reason = next((line for line in lines if "Error" in line), lines[-1]).strip()
            raise ValueError(f"Spark could not be started ({reason}); it needs Java 17 or later.") from None
    return SparkContext(conf=conf, gateway=gateway)


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if not shutil.which(str(Path(home, "bin", "java")) if home else "java"):
        raise ValueError(
            f"location needs Spark in this process, and Spark needs Java, which is not in {home or 'the PATH'}; "
            "install Java 17 or later (Debian: default-jre-headless) or set JAVA_HOME."
        )


def _import_spark() -> None:
    try:
        with warnings.catch_warnings():
            # Spark imports this at its first value, and it warns of pandas 3, which nothing here passes through.
            warnings.simplefilter("ignore")
            import pyspark.testing.utils  # noqa: F401
    except ImportError:
        raise ValueError(
            "location is Spark, and pyspark is not installed; install abtest[spark] (pyspark[connect] and sqlglot)."
        ) from None
    from pyspark.logger import PySparkLogger

    # It would print every refused statement with all of Java's stack; the errors raised here say what matters.
    PySparkLogger.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it tells of every connection to the Java machine


def _connect_session(url: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from pyspark.sql.connect.session import SparkSession
        except ImportError as error:
            raise ValueError(f"location is a server of Spark Connect; install pyspark[connect] ({error}).") from None
    return SparkSession.builder.remote(url).create()


def _await_answer(name: str, addresses: str) -> None:
    """Refuse a server that nobody answers at: Spark itself would go on trying for minutes."""
    for address in addresses.split(","):
        host, port = re.fullmatch(r"\[?(.*?)\]?(?::(\d+))?", address).groups()
        try:
            socket.create_connection((host, int(port or _CONNECT_PORT)), timeout=_ANSWER_SECONDS).close()
            return
        except OSError as error:
            reason = error.strerror or str(error)
    raise ConnectionError(f"warehouse {name}: cannot be opened ({reason}); {_CHECK}, and that the server is up.")


def _parquet_paths(session, folder: str) -> list[str]:
    """The files and folders that may be tables; Hadoop lists them, so that they may lie wherever Spark reads."""
    path = session._jvm.org.apache.hadoop.fs.Path(folder)
    system = path.getFileSystem(session._jsc.hadoopConfiguration())
    if not system.exists(path):
        raise FileNotFoundError("there is no such folder")
    return [
        entry.getPath().toString()
        for entry in system.listStatus(path)
        if (name := entry.getPath().getName())[0] not in "._" and (entry.isDirectory() or name.endswith(".parquet"))
    ]


def _files_below(session, path: str) -> list[str]:
    found = []
    root = session._jvm.org.apache.hadoop.fs.Path(path)
    files = root.getFileSystem(session._jsc.hadoopConfiguration()).listFiles(root, True)
    while files.hasNext():
        file = files.next()
        found.append(f"{file.getPath()} {file.getModificationTime()} {file.getLen()}")
    return sorted(found)


def _table_of(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".parquet")


def _without_zone(table: pyarrow.Table) -> pyarrow.Table:
    kind = pyarrow.timestamp("us")
    fields = [field.with_type(kind) if pyarrow.types.is_timestamp(field.type) else field for field in table.schema]
    return table.cast(pyarrow.schema(fields))


def _names(session, sql: str, column: int) -> list[str]:
    """A column of what Spark lists, without the temporary views."""
    rows = session.sql(sql).toArrow().to_pylist()
    return [list(row.values())[column] for row in rows if not row.get("isTemporary")]


def _spark_errors() -> tuple[type[Exception], ...]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return PySparkException, Py4JError, OSError  # the last when the Java machine is gone


def _state(error: Exception) -> str:
    """The SQLSTATE, empty when there is none."""
    state = getattr(error, "getSqlState", None)
    return (state and state()) or ""


def _reason(error: Exception) -> str:
    """Spark's own first sentence, without its name for the error; of a failure within Java its first cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    causes = [line for line in lines if type(error).__name__ == "Py4JJavaError" and line.startswith("Caused by: ")]
    line = re.sub(r"^Caused by: [\w.$]+: ", "", causes[-1]) if causes else lines[0]
    return re.sub(r" SQLSTATE: \w+.*", "", re.sub(r"^\[[A-Z0-9_.]+\] ", "", line))
