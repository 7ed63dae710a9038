"""What a night on one table with a row a unit costs: beside the bare query of the same moments, and tea-tasting.

    python benchmarks/unit_level.py [unit_level_1m | unit_level_10m | tea_tasting_10m]

Ten metrics (shares, heavy tails, ratios, means with a covariate), two variants, four segment attributes. Everything is
processor time of processes of their own, imports included except in the bare queries, the median of three runs in
turns; Python's bytecode is there, as after an installation.

The bare query is the cheaper one of two: grouped once by the cells of all attributes, to be rolled up afterwards, or by
each attribute (GROUPING SETS). With 20 values an attribute the cells are 320,000 and the second is cheaper; with 5
values the cells are 1,250 and the first is; there imports alone take a third of its time, and the figures
``..._few_cells`` are for comparison. So they are for tea-tasting, which reads the table once for each segment value.

tea-tasting 1.14 analyses the table through Ibis on DuckDB: all units, then those of each segment value. It is measured
where it can be imported, by this Python or by one that the environment variable ``BENCH_PEERS`` names.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import report, wanted

BENCHMARKS = ("unit_level_1m", "unit_level_10m", "tea_tasting_10m")
REPETITIONS = 3
SEGMENTS = ("country", "platform", "channel", "age_band")
SHARES = ("converted", "returned", "complained")
MEANS = ("revenue", "minutes", "latency_ms")
RATIOS = {"click_rate": ("clicks", "impressions"), "revenue_per_session": ("revenue", "sessions")}
ADJUSTED = {"spend": "spend_before", "visits": "visits_before"}
METRICS = (*SHARES, *MEANS, *RATIOS, *ADJUSTED)
AS_OF = "2026-02-16"


def write_table(path: Path, units: int, values: int) -> None:
    """Write the units, ``values`` of each segment attribute; the same file each time."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(20260301)
    ids = rng.permutation(units)
    words = {name: pa.array([f"{name}_{number:02d}" for number in range(values)]) for name in SEGMENTS}
    variants = pa.array(["control", "treatment"])
    writer = None
    for start in range(0, units, 500_000):
        n = min(500_000, units - start)
        treated = rng.integers(0, 2, n)
        columns: dict[str, Any] = {"unit_id": ids[start : start + n], "variant": variants.take(pa.array(treated))}
        columns |= {name: words[name].take(pa.array(rng.integers(0, values, n))) for name in SEGMENTS}
        columns["converted"] = rng.random(n) < 0.1 + 0.002 * treated
        columns |= {"returned": rng.random(n) < 0.4, "complained": rng.random(n) < 0.02}
        columns["revenue"] = np.where(rng.random(n) < 0.1, np.round(rng.lognormal(3, 1.5, n), 2), 0)
        columns |= {"minutes": rng.lognormal(2, 1, n), "latency_ms": rng.lognormal(6, 0.5, n)}
        columns |= {"sessions": rng.poisson(3, n) + 1, "impressions": rng.geometric(0.08, n)}
        columns["clicks"] = rng.binomial(columns["impressions"], 0.1)
        columns["spend_before"] = np.round(rng.lognormal(3, 1, n), 2)
        columns["spend"] = columns["spend_before"] / 2 + np.round(rng.lognormal(2, 1, n), 2)
        columns["visits_before"] = rng.poisson(4, n)
        columns["visits"] = rng.binomial(columns["visits_before"], 0.6) + rng.poisson(1, n)
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def write_definitions(folder: Path) -> None:
    """Write the definitions of an experiment with all metrics primary, so that segments compare all of them too."""
    import yaml

    def metric(kind: str, **more: str) -> dict[str, str]:
        return {"title": "A metric", "kind": kind, "better": "higher", **more}

    metrics = {name: metric("proportion", source="export", value=name) for name in SHARES}
    sums = dict.fromkeys(name for name in (*MEANS, *(side for sides in RATIOS.values() for side in sides)))
    metrics |= {name: metric("mean", source="export", value=name) for name in sums}
    metrics |= {name: metric("ratio", numerator=a, denominator=b) for name, (a, b) in RATIOS.items()}
    metrics |= {name: metric("mean", source="export", value=name, covariate=f"export.{before}")
                for name, before in ADJUSTED.items()}  # fmt: skip
    experiment = {
        "title": "Ranker", "hypothesis": "A better order brings more orders.", "owner": "ana@example.com",
        "starts_on": "2026-02-02", "ends_on": AS_OF, "variants": {"control": 1, "treatment": 1}, "control": "control",
        "primary": list(METRICS), "smallest_effect": 0.01,
        "segments": [{"attribute": f"export.{name}"} for name in SEGMENTS],
    }  # fmt: skip
    folder.mkdir()
    sources = {"units": {"export": {"table": "units", "unit": "unit_id", "variant": "variant"}}}
    for name, content in (("sources", sources), ("metrics", metrics), ("ranker", experiment)):
        text = yaml.safe_dump(content).replace("'2026-02-02'", "2026-02-02").replace(f"'{AS_OF}'", AS_OF)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def bare_queries() -> dict[str, str]:
    """Return the statements that have the moments and nothing else, by what they group by."""
    pairs = [*RATIOS.values(), *ADJUSTED.items()]
    shares = [f"COUNT_IF({name}), COUNT({name})" for name in SHARES]
    singles = [f"AVG({name}), VAR_POP({name}), COUNT({name})" for name in dict.fromkeys([*MEANS, *sum(pairs, ())])]
    together = [f"COVAR_POP({a}, {b})" for a, b in pairs]
    moments = ", ".join(["COUNT(*)", *shares, *singles, *together])
    sets = ", ".join(f"(variant, {name})" for name in SEGMENTS)
    groups = {"cells": f"variant, {', '.join(SEGMENTS)}", "attributes": f"GROUPING SETS ({sets})"}
    return {name: f"SELECT variant, {', '.join(SEGMENTS)}, {moments} FROM units GROUP BY {group}"  # noqa: S608
            for name, group in groups.items()}  # fmt: skip


def query_alone(file: str, name: str) -> None:
    """Run a bare query in this process, on one thread as a night does, and print its seconds."""
    import time

    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    connection.execute(f"CREATE VIEW units AS SELECT * FROM read_parquet('{file}')")  # noqa: S608
    start = time.process_time()
    connection.sql(bare_queries()[name]).to_arrow_table()
    print(time.process_time() - start)


def to_results(definitions: str, file: str, folder: str) -> None:
    """Run the night's steps up to ``results.json`` in this process, and print the most memory it had, in MB."""
    import datetime as dt

    from abtest_lib import pipeline
    from abtest_lib.definitions import load_experiment
    from abtest_lib.warehouse import connect

    with connect(file) as warehouse:
        experiment = load_experiment(definitions, "ranker")
        night = pipeline.collect(experiment, dt.date.fromisoformat(AS_OF), warehouse, folder)
    for step in (pipeline.sample_ratio, pipeline.significance, pipeline.segments, pipeline.guardrails, pipeline.decide):
        step(night)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def by_tea_tasting(file: str) -> None:
    """Analyse the table in this process with tea-tasting, and print its version and the p-values of the means."""
    import importlib.metadata
    import warnings

    warnings.simplefilter("ignore")
    import ibis
    import tea_tasting

    units = ibis.duckdb.connect().read_parquet(file)
    units = units.mutate(**{name: units[name].cast("int") for name in SHARES})
    metrics = {name: tea_tasting.Mean(name) for name in (*SHARES, *MEANS)}
    metrics |= {name: tea_tasting.RatioOfMeans(*sides) for name, sides in RATIOS.items()}
    metrics |= {name: tea_tasting.Mean(name, covariate) for name, covariate in ADJUSTED.items()}
    experiment = tea_tasting.Experiment(metrics)
    found = {"all": experiment.analyze(units)}
    for name in SEGMENTS:
        for value in sorted(units.select(name).distinct().to_pandas()[name]):
            found[value] = experiment.analyze(units.filter(units[name] == value))
    pvalues = {value: {name: float(result[name].pvalue) for name in MEANS} for value, result in found.items()}
    print(json.dumps({"version": importlib.metadata.version("tea-tasting"), "pvalues": pvalues}))


def spent(folder: Path, *command: object) -> tuple[float, str]:
    """Return the processor time of a process that finishes, in seconds, and what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONPATH": str(Path(__file__).parents[1])}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{run.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, run.stdout


def prepared(folder: Path, units: int, values: int) -> tuple[Path, Callable[[], tuple[float, str]]]:
    """Write table and definitions, and return the table and the job that analyses it, run once for its bytecode."""
    place = folder / f"{units}_{values}"
    if not place.exists():
        place.mkdir()
        write_table(place / "units.parquet", units, values)
        write_definitions(place / "definitions")
    job = (sys.executable, __file__, "to_results", place / "definitions", place / "units.parquet", place / "results")
    if not (folder / "bytecode").exists():
        spent(folder, *job)
    return place / "units.parquet", lambda: spent(folder, *job)


def unit_level_1m(folder: Path) -> None:
    """Measure the whole night from the command line: report, charts and mail included."""
    place = prepared(folder, 1_000_000, 20)[0].parent
    command = (sys.executable, "-m", "abtest_lib.cli", "run", "ranker", "--as-of", AS_OF, "--experiments",
               place / "definitions", "--results", place / "all", "--warehouse", place / "units.parquet")  # fmt: skip
    spent(folder, *command)
    seconds = statistics.median(spent(folder, *command)[0] for _ in range(REPETITIONS))
    report("unit_level_1m", seconds, "s", compared_with="the limit of 2 s", reference=2.0, goal=1.0)


def unit_level_10m(folder: Path) -> None:
    """Measure the night up to its verdicts, with many and with few cells of all attributes."""
    imports = [sys.executable, "-c", "import duckdb, numpy, pyarrow.parquet, scipy.special"]
    imported = min(spent(folder, *imports)[0] for _ in range(REPETITIONS))
    for values, name, goal in ((20, "unit_level_10m", 1.5), (5, "unit_level_10m_few_cells", None)):
        file, job = prepared(folder, 10_000_000, values)
        seconds, alone, memory = [], {query: [] for query in bare_queries()}, []
        for _ in range(REPETITIONS):
            taken, printed = job()
            seconds.append(taken)
            memory.append(float(printed))
            for query in alone:
                alone[query].append(float(spent(folder, sys.executable, __file__, "query_alone", file, query)[1]))
        medians = {query: statistics.median(runs) for query, runs in alone.items()}
        query = min(medians, key=medians.__getitem__)
        other = ", ".join(f"by {slower} {medians[slower]:.3g} s" for slower in medians if slower != query)
        text = (
            f"the bare query of the same moments by {query}, {medians[query]:.3g} s ({other}; imports {imported:.2g} s)"
        )
        report(name, statistics.median(seconds), "s", compared_with=text, reference=medians[query], goal=goal)
        report(f"{name}_memory", max(memory), "MB", compared_with="the limit of 500 MB", reference=500, goal=1.0)


def tea_tasting_10m(folder: Path) -> None:
    """Measure the night up to its verdicts beside tea-tasting."""
    for values, name, goal in ((20, "tea_tasting_10m", 0.1), (5, "tea_tasting_10m_few_cells", None)):
        file, job = prepared(folder, 10_000_000, values)
        for python in os.environ.get("BENCH_PEERS", sys.executable).split(os.pathsep):
            if subprocess.run([python, "-c", "import tea_tasting, ibis"], capture_output=True, check=False).returncode:  # noqa: S603
                print(f"{name}: tea-tasting is not installed for {python}", file=sys.stderr)
                continue
            spent(folder, python, "-c", "import tea_tasting, ibis, duckdb, pandas, pyarrow")
            reference, printed = spent(folder, python, __file__, "by_tea_tasting", file)
            seconds = statistics.median(job()[0] for _ in range(REPETITIONS))
            peer = json.loads(printed)
            check_pvalues(file.parent / "results", peer["pvalues"])
            text = f"tea-tasting {peer['version']} on DuckDB in the same run, {reference:.3g} s"
            report(name, seconds, "s", compared_with=text, reference=reference, goal=goal)
            break


def check_pvalues(results: Path, theirs: dict[str, dict[str, float]]) -> None:
    """Refuse to compare the time of two programs that do not find the same."""
    (file,) = results.glob("ranker/*/*/results.json")
    document = json.loads(file.read_text())
    ours = {("all", row["metric"]): row["comparisons"][0] for row in document["metrics"]}
    ours |= {(row["value"], row["metric"]): row["comparisons"][0] for row in document["segments"]}
    apart = {(value, name): abs(ours[value, name]["pvalue"] - pvalue)
             for value, found in theirs.items() for name, pvalue in found.items()}  # fmt: skip
    worst = max(apart, key=apart.__getitem__)
    if apart[worst] > 1e-8:
        raise SystemExit(f"p-values differ from tea-tasting's by {apart[worst]:.2g} for {worst}; they must agree.")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ("query_alone", "to_results", "by_tea_tasting"):
        globals()[sys.argv[1]](*sys.argv[2:])
        raise SystemExit
    print("     value unit  ratio", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        for benchmark in wanted(BENCHMARKS):
            {"unit_level_1m": unit_level_1m, "unit_level_10m": unit_level_10m, "tea_tasting_10m": tea_tasting_10m}[
                benchmark
            ](Path(temporary))
