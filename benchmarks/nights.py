"""What a night costs: by the age of an experiment, against computing it from scratch, for fifty at once, and repeated.

    python benchmarks/nights.py [NAME ...] [--folder FOLDER]

A warehouse of a million units and 0.7 million events a day is laid down in FOLDER (a temporary folder unless given; up
to 4 GB) and grows night by night, as under a nightly loader: one row in a hundred comes one to three days late. Nights
before the one that is measured are run too, and not counted. Each measurement has a process of its own; its time is
the processor time from opening the warehouse to the night's moments, with all modules imported before. From scratch
the same moments are computed in two ways: by the library's own statements over raw tables, which is what a night would
be without the state, and, for comparison, by one statement written by hand for these five metrics, which reads each
table once and checks nothing.

These are run by hand, by their names: ``exposures_100m``, which takes 40 minutes and 20 GB of disk, and
``night_28_postgresql`` and ``night_28_spark``, which copy the same rows to a server that they start, and to Parquet
files for Spark in the process. There the processor time is that of the process and of the engine's own processes, from
opening the warehouse, and so with the start of Spark's Java machine.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import json
import math
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import report
from night_data import AGED, BY_HAND_SQL, Size, as_of, load, write_definitions
from night_engines import ENGINES, peak_memory, processor_seconds, spark_process

BENCHMARKS = ("night_age_56_vs_14", "night_28_vs_scratch", "night_56_vs_scratch", "fifty_experiments_vs_scratch",
              "replay_90_nights", "exposures_100m", "night_28_postgresql", "night_28_spark")  # fmt: skip
BY_HAND = ("exposures_100m", "night_28_postgresql", "night_28_spark")
GOALS = {14: None, 28: 0.25, 56: 0.125}
WARM_UP = 3  # nights before the one that is measured
FIFTY, FIFTY_AGE, SAMPLE = 50, 28, 5


@dataclass(frozen=True)
class Cost:
    """What a measurement took: processor seconds, seconds on the wall, the most memory in MiB, and what it returned."""

    seconds: float
    wall: float
    memory: float
    found: Any = None


def alone(function: Callable[..., Any], *arguments: Any) -> Cost:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, function, *arguments).result()


class _WithoutPandas:
    """Only the development environment has pandas; where pyarrow finds it, it imports it, which takes a second."""

    def find_spec(self, name: str, *_) -> None:
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(name)


def measured(function: Callable[..., Any], *arguments: Any) -> Cost:
    """Call a function; runs in the new process."""
    sys.meta_path.insert(0, _WithoutPandas())
    from abtest_lib import collection, definitions, state  # noqa: F401
    from abtest_lib.state import night, store  # noqa: F401

    wall, seconds = time.perf_counter(), time.process_time()
    found = function(*arguments)
    seconds, wall = time.process_time() - seconds, time.perf_counter() - wall
    # Not ru_maxrss: a process begins with that of the one that started it, which generates the data.
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return Cost(seconds, wall, int(peak.split()[1]) / 1024, found)


def experiment_of(folder: Path, key: str):
    """Return an experiment and all metrics of the catalogue."""
    from abtest_lib import definitions

    definition = definitions.load_experiment(folder / "definitions", key)
    return definition, list(definitions.load_catalogue(folder / "definitions").metrics.values())


def nights(folder: Path, keys: list[str], age: int, *, profile: bool = False) -> dict:
    """Run the night of some experiments with what earlier nights kept; return the check sums of their moments."""
    from abtest_lib.collection import read_night
    from abtest_lib.warehouse import connect

    sums, statements = {}, []
    with connect(folder / "warehouse.duckdb") as warehouse:
        asked = Profiled(warehouse, folder / "profiles", statements) if profile else warehouse
        for key in keys:
            experiment, metrics = experiment_of(folder, key)
            sums[key] = check_sums(read_night(experiment, as_of(age), asked, folder / "results", metrics).moments)
    return {"sums": sums, "statements": statements}


def recomputed(folder: Path, keys: list[str], age: int) -> dict:
    """Compute the same from raw tables, by the library's own statements."""
    from abtest_lib.collection import recompute_night
    from abtest_lib.warehouse import connect

    with connect(folder / "warehouse.duckdb") as warehouse:
        return {key: check_sums(recompute_night(experiment_of(folder, key)[0], as_of(age), warehouse).moments)
                for key in keys}  # fmt: skip


def by_hand(folder: Path, age: int) -> dict:
    """Compute the moments of the aged experiment by one statement that reads each table once."""
    from abtest_lib.warehouse import connect

    experiment, _ = experiment_of(folder, AGED)
    night = dt.datetime.combine(as_of(age), dt.time())
    given = {"experiment": AGED, "as_of": night, "known_by": night + dt.timedelta(hours=3),
             "starts_at": dt.datetime.combine(experiment.starts_on, dt.time())}  # fmt: skip
    with connect(folder / "warehouse.duckdb") as warehouse:
        warehouse.query("SET enable_progress_bar = false")
        rows = warehouse.query(BY_HAND_SQL, given)
    sums = Counter()
    for row in rows:
        for metric in experiment.metrics:
            for n, mean in ((row[f"n_{metric}"], row[f"mean_{metric}"]),):
                sums[f"{metric} n"] += n
                sums[f"{metric} sum"] += n * (mean or 0.0)
    return dict(sums)


def check_sums(moments: list[dict]) -> dict[str, float]:
    """Return units and sums of values of each metric, over all rows of moments."""
    sums = Counter()
    for row in moments:
        sums[f"{row['metric']} n"] += row["n"]
        sums[f"{row['metric']} sum"] += row["n"] * (row["mean"] or 0.0)
    return dict(sums)


def same(one: dict[str, float], other: dict[str, float], where: str) -> None:
    """Stop where two computations disagree: a night that is fast and wrong is no night."""
    if one.keys() != other.keys() or not all(math.isclose(one[name], other[name], rel_tol=1e-9) for name in one):
        raise SystemExit(f"nights: {where}: the check sums differ: {one} and {other}.")


class Profiled:
    """A warehouse that notes of each statement, from DuckDB's own profile, how many rows of each table it scanned."""

    def __init__(self, warehouse, folder: Path, statements: list[dict]):
        self._warehouse, self._folder, self._statements, self.name = warehouse, folder, statements, warehouse.name
        folder.mkdir(exist_ok=True)
        self._connection = warehouse._connection
        self._connection.execute("PRAGMA enable_profiling = 'json'")

    def __getattr__(self, name: str):
        return getattr(self._warehouse, name)

    def query(self, sql: str, parameters=None) -> list[dict]:
        """Run a statement."""
        with self._profile():
            return self._warehouse.query(sql, parameters)

    def read(self, sql: str, parameters=None):
        """Run a statement; its profile is there when all rows have been handed on."""
        with self._profile():
            return self._warehouse.read(sql, parameters).read_all().to_reader()

    @contextmanager
    def _profile(self) -> Iterator[None]:
        path = self._folder / "statement.json"
        path.unlink(missing_ok=True)
        self._connection.execute(f"PRAGMA profiling_output = '{path}'")
        yield
        self._statements.append(scans(json.loads(path.read_text())))
        path.unlink()


def scans(node: dict) -> dict[str, list[int]]:
    """Return by table the rows that a statement's scans looked at and handed on."""
    found: dict[str, list[int]] = {}
    for child in (*node.get("operator", ()), *node.get("children", ())):
        for table, rows in scans(child).items():
            found[table] = [a + b for a, b in zip(found.get(table, [0, 0]), rows, strict=True)]
    table = (node.get("extra_info") or {}).get("Table")
    if table:
        name = table.rpartition(".")[2]
        rows = [node.get("rows_scanned", 0), node.get("intermediate_rows", 0)]
        found[name] = [a + b for a, b in zip(found.get(name, [0, 0]), rows, strict=True)]
    return found


@functools.cache
def aged(folder: Path, until: int) -> dict[int, dict[str, Cost]]:
    """Grow the warehouse, and measure the nights at 14, 28 and 56 days and the same from scratch."""
    place = folder / "aged"
    shutil.rmtree(place, ignore_errors=True)
    write_definitions(place / "definitions", [AGED])
    loaded, costs = None, {}
    for age in (age for age in GOALS if age <= until):
        for night in range(age - WARM_UP, age + 1):
            load(place / "warehouse.duckdb", Size(), night, after=loaded)
            loaded = night
            cost = alone(nights, place, [AGED], night)
        costs[age] = {"night": cost, "recomputed": alone(recomputed, place, [AGED], age),
                      "by hand": alone(by_hand, place, age)}  # fmt: skip
        expected = cost.found["sums"][AGED]
        same(expected, costs[age]["recomputed"].found[AGED], f"age {age}, recomputed")
        same(expected, costs[age]["by hand"].found, f"age {age}, by hand")
        for name, one in costs[age].items():
            print(f"{one.seconds:10.3g} s   {one.wall:8.3g} s on the wall, {one.memory:.0f} MiB: {name}, age {age}",
                  file=sys.stderr, flush=True)  # fmt: skip
    shutil.rmtree(place)
    return costs


def night_age_56_vs_14(folder: Path, until: int) -> None:
    """Does a night get slower as its experiment gets older?"""
    costs = aged(folder, until)
    report("night_age_56_vs_14", costs[56]["night"].seconds, "s", compared_with="the night at 14 days",
           reference=costs[14]["night"].seconds, goal=1.3)  # fmt: skip


def against_scratch(age: int, folder: Path, until: int) -> None:
    """How much of the work from scratch does a night do?"""
    costs = aged(folder, until)[age]
    report(f"night_{age}_vs_scratch", costs["night"].seconds, "s", compared_with="the same from scratch",
           reference=costs["recomputed"].seconds, goal=GOALS[age])  # fmt: skip
    report(f"night_{age}_vs_by_hand", costs["night"].seconds, "s", compared_with="one statement written by hand",
           reference=costs["by hand"].seconds, goal=None)  # fmt: skip
    report(f"night_{age}_memory", costs["night"].memory, "MiB", compared_with="the same from scratch",
           reference=costs["recomputed"].memory, goal=None)  # fmt: skip


def fifty_experiments_vs_scratch(folder: Path) -> None:
    """Fifty experiments on the same sources in one process, against fifty computations from scratch."""
    place = folder / "fifty"
    shutil.rmtree(place, ignore_errors=True)
    keys = [f"fifty_{number:02d}" for number in range(FIFTY)]
    write_definitions(place / "definitions", keys)
    loaded = None
    for age in range(FIFTY_AGE - WARM_UP, FIFTY_AGE + 1):
        load(place / "warehouse.duckdb", Size(experiments=tuple(keys)), age, after=loaded)
        loaded = age
        if age < FIFTY_AGE:
            alone(nights, place, keys, age)
    kept = shutil.copytree(place / "results", place / "kept")
    cost = alone(nights, place, keys, FIFTY_AGE)
    shutil.rmtree(place / "results")
    kept.rename(place / "results")
    profiled = alone(functools.partial(nights, profile=True), place, keys, FIFTY_AGE)
    sample = keys[:: FIFTY // SAMPLE]
    scratch = alone(recomputed, place, sample, FIFTY_AGE)
    for key in sample:
        same(cost.found["sums"][key], scratch.found[key], key)
        same(cost.found["sums"][key], profiled.found["sums"][key], f"{key}, profiled")
    for table, rows in scanned(profiled.found["statements"]).items():
        print(f"           {table}: {rows}", file=sys.stderr)
    for name, one in (("night of 50", cost), (f"{SAMPLE} from scratch", scratch)):
        print(f"{one.seconds:10.3g} s   {one.wall:8.3g} s on the wall, {one.memory:.0f} MiB: {name}", file=sys.stderr)
    report("fifty_experiments_vs_scratch", cost.seconds, "s",
           compared_with=f"50 from scratch ({FIFTY // SAMPLE} times {SAMPLE} of them)",
           reference=scratch.seconds * FIFTY / SAMPLE, goal=0.1)  # fmt: skip
    shutil.rmtree(place)


def scanned(statements: list[dict[str, list[int]]]) -> dict[str, str]:
    """Return by table what all statements of a night scanned of it."""
    found: dict[str, list[int]] = {}
    for statement in statements:
        for table, (looked_at, handed_on) in statement.items():
            count = found.setdefault(table, [0, 0, 0])
            found[table] = [count[0] + 1, count[1] + looked_at, count[2] + handed_on]
    return {table: f"{count} scans, {looked:,} rows looked at, {handed:,} handed on"
            for table, (count, looked, handed) in sorted(found.items())}  # fmt: skip


def replay_90_nights(folder: Path) -> None:
    """The results of 90 nights again from their moments; and once more with every report written anew."""
    from night_store import KEY, lay_down

    place = folder / "replay"
    shutil.rmtree(place, ignore_errors=True)
    lay_down(place)
    cost = alone(replayed, place, KEY)
    if cost.found != 90:
        raise SystemExit(f"nights: of 90 nights {cost.found} came out the same.")
    report("replay_90_nights", cost.seconds, "s", compared_with="the limit of 10 s", reference=10, goal=1.0)
    written = alone(rewritten, place, KEY)
    report("replay_90_nights_reports", written.seconds, "s", compared_with="the limit of 10 s", reference=10, goal=None)
    print(f"           {cost.wall:.3g} and {written.wall:.3g} s on the wall, {cost.memory:.0f} and "
          f"{written.memory:.0f} MiB", file=sys.stderr)  # fmt: skip
    shutil.rmtree(place)


def replayed(folder: Path, key: str) -> int:
    """Return how many nights come out the same to the digit."""
    from abtest_lib import replay

    return sum(not (one.moved or one.problem) for one in replay.replay(key, folder / "results"))


def rewritten(folder: Path, key: str) -> int:
    """Return how many nights were written anew."""
    from abtest_lib import replay

    return sum(one.written is not None for one in replay.rewrite(key, folder / "results"))


def exposures_100m(folder: Path) -> None:
    """The first night over 100 million exposures, when nothing is kept yet: its memory and its time."""
    place = folder / "hundred_million"
    shutil.rmtree(place, ignore_errors=True)
    write_definitions(place / "definitions", [AGED])
    size = Size(units=95_238_095, purchases=2_000_000, page_loads=2_000_000)  # one unit in twenty is exposed twice
    load(place / "warehouse.duckdb", size, 63)
    cost = alone(nights, place, [AGED], 63)
    again = alone(nights, place, [AGED], 63)
    for name, one in (("first night", cost), ("the same again", again)):
        print(f"{one.seconds:10.4g} s   {one.wall:8.4g} s on the wall, {one.memory:.0f} MiB: {name}", file=sys.stderr)
    print(f"           {cost.found['sums'][AGED]}", file=sys.stderr)
    report("exposures_100m", cost.memory, "MiB", compared_with="the limit of 4 GiB", reference=4096, goal=1.0)
    shutil.rmtree(place)


def night_on(engine: str, folder: Path, size: Size = Size()) -> None:  # noqa: B008
    """The same nights on another engine; its moments must be those of DuckDB."""
    place = folder / engine
    shutil.rmtree(place, ignore_errors=True)
    write_definitions(place / "definitions", [AGED])
    file = load(place / "warehouse.duckdb", size, 28)
    expected = alone(recomputed, place, [AGED], 28).found[AGED]
    costs = {}
    with ENGINES[engine](file) as (location, process):
        for step, age in (("night", 25), ("night", 26), ("night", 27), ("night", 28), ("scratch", 28), ("verify", 28)):
            cost = alone(on_engine, step, place, location, process, age)
            if step != "verify" and age == 28:
                same(expected, cost.found["sums"], f"{engine}, {step}")
            used, memory = cost.found["engine_seconds"], cost.found["engine_memory"]
            print(f"{cost.seconds + used:10.3g} s   {cost.seconds:8.3g} s of ours and {used:.3g} s of the engine, "
                  f"{cost.wall:.3g} s on the wall, {cost.memory:.0f} and {memory:.0f} MiB: {step}, age {age}, "
                  f"{cost.found['said']}", file=sys.stderr, flush=True)  # fmt: skip
            costs[step] = cost.seconds + used
    report(f"night_28_{engine}", costs["night"], "s", compared_with=f"the same from scratch on {engine}",
           reference=costs["scratch"], goal=GOALS[28])  # fmt: skip
    shutil.rmtree(place)


def on_engine(step: str, folder: Path, location: str, process: int | None, age: int) -> dict:
    """Run a night, compute it from scratch or compare both, and say what the engine's processes took for it."""
    from abtest_lib.collection import read_night, recompute_night
    from abtest_lib.verify import verify
    from abtest_lib.warehouse import connect

    experiment, metrics = experiment_of(folder, AGED)
    before, sums = processor_seconds(process), None
    with connect(location) as warehouse:
        process = process or (spark_process() if location.startswith("spark:") else None)
        if step == "verify":
            found = verify(experiment, as_of(age), warehouse, folder / "results", metrics)
            if found.problems:
                raise SystemExit(f"nights: {location}: {found.problems[0]}.")
            said = f"{found.rows} rows equal but for {found.largest_difference:.1g}"
        else:
            night = (recompute_night(experiment, as_of(age), warehouse) if step == "scratch" else
                     read_night(experiment, as_of(age), warehouse, folder / "results", metrics))  # fmt: skip
            sums, said = check_sums(night.moments), f"{sum(one.rows for one in night.readings):,} rows read"
        return {"sums": sums, "said": said, "engine_seconds": processor_seconds(process) - before,
                "engine_memory": peak_memory(process)}  # fmt: skip


def main() -> int:
    """Run the benchmarks that are named, or all but those by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *BENCHMARKS])
    parser.add_argument("--folder", type=Path, help="where the data is laid down, and removed again")
    options = parser.parse_args()
    names = options.names or [name for name in BENCHMARKS if name not in BY_HAND]
    until = 56 if any("56" in name for name in names) else 28
    functions = {
        "night_age_56_vs_14": functools.partial(night_age_56_vs_14, until=until),
        "night_28_vs_scratch": functools.partial(against_scratch, 28, until=until),
        "night_56_vs_scratch": functools.partial(against_scratch, 56, until=until),
        "fifty_experiments_vs_scratch": fifty_experiments_vs_scratch,
        "replay_90_nights": replay_90_nights,
        "exposures_100m": exposures_100m,
        "night_28_postgresql": functools.partial(night_on, "postgresql"),
        "night_28_spark": functools.partial(night_on, "spark"),
    }
    print("     value unit  ratio", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in names:
            functions[name](Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
