"""How often the whole nightly rule says a wrong word, with and without looks: simulated through the code of the night.

python benchmarks/whole_rule.py [--experiments 500] [--seed 20260301] [--processes 2] [--markdown]

Each experiment has 28 nights, two treatments, three primary metrics, five guardrails, a protected segment and a few
units seen in two variants; nights go through ``readings`` and ``decision.results_document``, as in a run. A plan with
looks is simulated with a third as many experiments. Lines and table as ``error_rates.py`` prints them, with the
standard error of the simulation; goals leave room for four of them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from error_rates import ALPHA, Rate

from abtest_lib import comparisons, decision, readings
from abtest_lib.cohorts import whole
from abtest_lib.definitions import Experiment, Metric, load_experiment
from abtest_lib.statistics.tails import tail_pvalue

SOURCES = """\
exposures:
  assignments: {table: exposures, experiment: experiment_id, unit: unit_id, variant: variant, exposed_at: exposed_at,
                loaded_at: loaded_at}
outcomes:
  events: {table: events, unit: unit_id, occurred_at: occurred_at, loaded_at: loaded_at}
attributes:
  customers: {table: customers, unit: unit_id}
load_log: {table: load_log}
alerts: {email: [oncall@example.com], slack: "#alerts"}
"""
MEAN = "kind: mean, source: events, value: amount, window_days: 2, lag_days: 1"
SHARE = "kind: proportion, source: events, window_days: 2, lag_days: 1"
METRICS = "\n".join(
    f"{name}: {{title: {name}, better: {better}, {text}}}"
    for name, better, text in (
        ("conversion", "higher", SHARE),
        ("revenue", "higher", MEAN),
        ("visits", "higher", MEAN),
        ("complaints", "lower", SHARE),
        ("returns", "lower", SHARE),
        ("latency_ms", "lower", MEAN),
        ("load_ms", "lower", MEAN),
        ("reading_minutes", "higher", MEAN),
    )
)
EXPERIMENT = """\
title: A simulated experiment
hypothesis: It has the effects that the simulation gave it.
owner: ana@example.com
starts_on: 2026-02-02
ends_on: 2026-02-27
variants: {control: 2, short: 1, long: 1}
control: control
primary: [conversion, revenue, visits]
smallest_effect: 0.001
guardrails:
  - {metric: complaints, margin: 0.3}
  - {metric: returns, margin: 0.3}
  - {metric: latency_ms, margin: 0.05}
  - {metric: load_ms, margin: 0.05}
  - {metric: reading_minutes, margin: 0.05}
segments:
  - {attribute: customers.platform, protected: true}
notify: {email: [team@example.com]}
"""
UNITS_A_DAY = 600
CROSSOVERS = 0.01
PLATFORMS = {"android": 0.6, "ios": 0.4}
# Share of units, or mean with a standard deviation of half of it. Revenue is exponential, the others normal.
LEVELS = {"conversion": 0.2, "revenue": 20.0, "visits": 5.0, "complaints": 0.1, "returns": 0.1, "latency_ms": 200.0,
          "load_ms": 900.0, "reading_minutes": 8.0}  # fmt: skip
PRIMARY = ("conversion", "revenue", "visits")
# Words of which each counts, over all nights of an experiment and both treatments.
WORDS = ("ship", "primary better", "primary worse", "harmful", "mismatch", "crossovers", "segment worse",
         "segments differ", "safe", "naive harm")  # fmt: skip


NOTHING: dict = {"metrics": [], "crossovers": []}


@dataclass(frozen=True)
class Scenario:
    """Relative effects of both treatments, by metric, and the words that are wrong then, with what is promised."""

    name: str
    effects: Mapping[str, float]
    promised: Mapping[str, float]


SCENARIOS = (
    Scenario(
        "no effect",
        {},
        {
            # Alpha is two-sided, shared by three metrics and two treatments.
            "ship": ALPHA / 2,
            "primary better": ALPHA / 2,
            "primary worse": ALPHA / 2,
            "harmful": ALPHA,
            "mismatch": 0.01,
            "crossovers": ALPHA,
            # The family of segments is each treatment's own; half of its alpha is on the side of harm.
            "segment worse": ALPHA,
            # So is that of the tests of whether segments differ, in either direction.
            "segments differ": 2 * ALPHA,
        },
    ),
    Scenario(
        "primary metrics better, one guardrail of each treatment at its margin",
        {"conversion": 0.4, "revenue": 0.2, "visits": 0.2, "latency_ms": 0.05},
        # Each treatment is called safe at alpha / 2.
        {"ship": ALPHA, "harmful": ALPHA},
    ),
    Scenario(
        "all guardrails at their margins",
        {"complaints": 0.3, "returns": 0.3, "latency_ms": 0.05, "load_ms": 0.05, "reading_minutes": -0.05},
        {"ship": ALPHA, "harmful": ALPHA},
    ),
)


@functools.cache
def experiment_with(looks: str) -> Experiment:
    """Return the definition, read as from its YAML files."""
    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT + (f"looks: {looks}\n" if looks != "horizon" else "")
        for name, content in (("sources", SOURCES), ("metrics", METRICS), ("simulated", text)):
            Path(folder, f"{name}.yaml").write_text(content, encoding="utf-8")
        return load_experiment(Path(folder), "simulated")


def cells(experiment: Experiment, effects: Mapping[str, float], rng: np.random.Generator) -> list[dict]:
    """Return an experiment's rows of moments, one for each day, variant, platform, crossover and metric."""
    weights = np.array(list(experiment.weights.values()))
    platforms = np.array(list(PLATFORMS.values()))
    rows = []
    for day in range((experiment.ends_on - experiment.starts_on).days):
        exposed_on = experiment.starts_on + dt.timedelta(days=day)
        units = rng.multinomial(rng.poisson(UNITS_A_DAY), np.outer(weights / weights.sum(), platforms).ravel())
        for (variant, platform), total in zip(
            ((v, p) for v in experiment.weights for p in PLATFORMS), units.tolist(), strict=True
        ):
            crossed = int(rng.binomial(total, CROSSOVERS))
            for crossover, n in ((False, total - crossed), (True, crossed)):
                if n:
                    where = {"variant": variant, "crossover": crossover, "exposed_on": exposed_on,
                             "units": n, "null_rows": 0, "n": n}  # fmt: skip
                    own = {} if variant == experiment.control else effects
                    found = [{**where, **cell(metric, n, own, rng)} for metric in experiment.metrics.values()]
                    rows += [
                        {**row, "segment": segment, "value": value}
                        for row in found
                        for segment, value in ((None, None), ("customers.platform", platform))
                    ]
    return rows


def cell(metric: Metric, n: int, effects: Mapping[str, float], rng: np.random.Generator) -> dict:
    """Return mean and m2 of a metric of ``n`` units."""
    level = LEVELS[metric.name] * (1 + effects.get(metric.name, 0.0))
    if metric.is_share:
        mean = int(rng.binomial(n, level)) / n
        return {"metric": metric.name, "mean": mean, "m2": n * mean * (1 - mean)}
    if metric.name == "revenue":
        values = rng.exponential(level, n)
        return {
            "metric": metric.name,
            "mean": float(values.mean()),
            "m2": float(np.square(values - values.mean()).sum()),
        }
    sd = LEVELS[metric.name] / 2
    m2 = sd**2 * rng.chisquare(n - 1) if n > 1 else 0.0
    return {"metric": metric.name, "mean": rng.normal(level, sd / math.sqrt(n)), "m2": m2}


def words_of(experiment: Experiment, effects: Mapping[str, float], rng: np.random.Generator) -> set[str]:
    """Run the nights of one experiment; return each word that was said on any of them."""
    rows, said = cells(experiment, effects, rng), set()
    for night in nights(experiment):
        document = document_of(experiment, experiment.starts_on + dt.timedelta(days=night), rows)
        if document is None:
            continue
        said.update(words(document))
    if naive_harm(experiment, rows):
        said.add("naive harm")
    return said


def nights(experiment: Experiment) -> range:
    """Return the nights that are run: all; of a plan with looks every third and the last.

    Such a night reads all looks before it again, and what an earlier look said stays said, so little is missed.
    """
    last = experiment.planned_nights
    return range(1, last + 1) if experiment.looks == "horizon" else range(1 + (last - 1) % 3, last + 1, 3)


def document_of(experiment: Experiment, as_of: dt.date, rows: list[dict]) -> dict | None:
    """Return ``results.json`` of a night, as its steps make it; None before there are mature units."""
    known = [row for row in whole(rows) if row["exposed_on"] < as_of and row["metric"] == PRIMARY[0]]
    units = Counter()
    for row in known:
        units[row["variant"]] += row["n"]
    exposure = {"units": {name: units[name] for name in experiment.weights}, "maturity": []}
    ratio = readings.sample_ratio(experiment, exposure)
    if not ratio["healthy"]:
        return decision.results_document(experiment, as_of, "0", exposure, ratio, {})
    moments = [
        row
        for row in rows
        if row["exposed_on"] < as_of - dt.timedelta(days=experiment.metrics[row["metric"]].maturity_days)
    ]
    if not moments:
        return None
    # Before the first look nothing is tested but harm: the other readings have no words to say.
    tested = readings.stage(experiment, as_of) != "interim"
    by_segment = readings.segments(experiment, as_of, moments) if tested else []
    differences = readings.heterogeneity(experiment, as_of, by_segment)
    read = {
        "significance": readings.significance(experiment, as_of, moments) if tested else NOTHING,
        "segments": {"segments": by_segment, "heterogeneity": differences},
        "guardrails": readings.guardrails(experiment, as_of, moments),
    }
    return decision.results_document(experiment, as_of, "0", exposure, ratio, read)


def words(document: dict) -> Iterator[str]:
    """Yield the words of a night's document."""
    for verdict in document["verdicts"]:
        codes = {reason["code"] for reason in verdict["reasons"]}
        if verdict["verdict"] == "ship":
            yield "ship"
        if "sample_ratio_mismatch" in codes:
            yield "mismatch"
        if verdict["verdict"] == "invalid" and "crossovers_change_result" in codes:
            yield "crossovers"
    for kind, part in (("primary", document["metrics"]), ("segment", document["segments"])):
        for row in part:
            for one in row["comparisons"]:
                if one.get("reading") in ("better", "worse"):
                    yield f"{kind} {one['reading']}"
    if any(row.get("differs") for row in document["heterogeneity"]):
        yield "segments differ"
    outcomes = {one.get("outcome") for row in document["guardrails"] for one in row["comparisons"]}
    yield from outcomes & {"harmful", "safe"}


def naive_harm(experiment: Experiment, rows: list[dict]) -> bool:
    """Tell whether a rule that reads each guardrail at p < 0.05 (one-sided) every night would ever call harm."""
    days = (experiment.ends_on - experiment.starts_on).days
    index = {variant: number for number, variant in enumerate(experiment.weights)}
    for guardrail in experiment.guardrails:
        sums = np.zeros((3, len(index), days))
        for row in rows:
            if row["metric"] == guardrail.metric:
                at = (slice(None), index[row["variant"]], (row["exposed_on"] - experiment.starts_on).days)
                sums[at] += row["n"], row["n"] * row["mean"], row["m2"] + row["n"] * row["mean"] ** 2
        n, total, squares = np.cumsum(sums, axis=2)
        mean = total / n
        errors = (squares / n - mean**2) / n
        worse = 1 if experiment.metrics[guardrail.metric].better == "lower" else -1
        z = worse * (mean[1:] - mean[0]) / np.sqrt(errors[1:] + errors[0])
        if np.any(tail_pvalue(z, "greater") < ALPHA):
            return True
    return False


def one_experiment(looks: str, effects: Mapping[str, float], seed: tuple[int, ...]) -> set[str]:
    """Return the words of one experiment; each has its own seed."""
    # The p-value over all looks decides no word, and takes nine tenths of a night's time.
    comparisons.sequential_pvalue = lambda *_, **__: 1.0
    return words_of(experiment_with(looks), effects, np.random.default_rng(seed))


def whole_rule(looks: str, *, seed: int, experiments: int, processes: int) -> Iterator[Rate]:
    """Yield how often each word was said, scenario by scenario."""
    plan = {"horizon": "fixed horizon"}.get(looks, f"nightly looks ({looks})")
    for number, scenario in enumerate(SCENARIOS):
        seeds = [(seed, number, one) for one in range(experiments)]
        run = functools.partial(one_experiment, looks, dict(scenario.effects))
        if processes > 1:
            with ProcessPoolExecutor(processes) as pool:
                said = list(pool.map(run, seeds, chunksize=10))
        else:
            said = [run(one) for one in seeds]
        for word in WORDS:
            share = sum(word in each for each in said) / experiments
            error = math.sqrt(share * (1 - share) / experiments)
            name = f"{plan}, {scenario.name}: {word} (± {error:.4f})"
            if word in scenario.promised:
                yield Rate(name, share, scenario.promised[word], experiments)
            elif word == "naive harm" and not scenario.effects:
                name = f"{scenario.name}: harm at p < 0.05 on any night (± {error:.4f})"
                yield Rate(name, share, ALPHA, experiments, used=False)


def main() -> int:
    """Print the table and the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=500, help="a third of them where there are looks")
    parser.add_argument("--seed", type=int, default=20260301)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--looks", nargs="+", default=["horizon", "obrien_fleming"])
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    started = time.perf_counter()
    for looks in arguments.looks:
        number = arguments.experiments if looks == "horizon" else max(arguments.experiments // 3, 1)
        for rate in whole_rule(looks, seed=arguments.seed, experiments=number, processes=arguments.processes):
            if arguments.markdown:
                print(f"| {rate.name} | {rate.value:.4f} | {rate.promised:.4g} | {rate.verdict} |")
                continue
            remark = "" if rate.verdict == "kept" else f"  ({rate.verdict})"
            print(f"{rate.value:9.4f} {rate.promised:8.4f} {rate.name}{remark}", file=sys.stderr)
            print(json.dumps(rate.line()))
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
