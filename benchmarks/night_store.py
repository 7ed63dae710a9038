"""Ninety nights of one experiment as ``collect`` leaves them, for the benchmark of replaying them; seeded.

Eight metrics, two of them primary and one with a covariate, three segments of ten values, and 14 to 90 days of units.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from abtest_lib import definitions, pipeline, results
from abtest_lib.definitions import Experiment, Metric

KEY, NIGHTS, FIRST_NIGHT, ENROLMENT_DAYS = "typical", 90, 22, 90
STARTS_ON = dt.date(2026, 1, 5)
MATURE_DAYS, VALUES = 8, 10
UNITS_A_DAY = {False: 2_000, True: 8}  # of each variant, by whether they are crossovers
SOURCES = """\
exposures:
  assignments: {table: exposures, experiment: experiment_id, unit: unit_id, variant: variant, exposed_at: exposed_at}
outcomes:
  events: {table: events, unit: unit_id, occurred_at: occurred_at}
attributes:
  customers: {table: customers, unit: unit_id}
alerts: {email: [oncall@example.com]}
"""
METRICS = {
    "conversion": "kind: proportion, better: higher",
    "revenue": "kind: mean, value: amount, covariate: customers.spent_before, better: higher",
    "orders": "kind: count, better: higher",
    "visits": "kind: count, better: higher",
    "order_value": "kind: ratio, numerator: spend, denominator: orders, better: higher",
    "returns": "kind: proportion, better: lower",
    "latency": "kind: mean, value: latency_ms, aggregate: mean, nulls: drop, better: lower",
    "complaints": "kind: proportion, better: lower",
    "spend": "kind: mean, value: amount, better: higher",
}
EXPERIMENT = f"""\
title: Typical
hypothesis: It changes nothing.
owner: ana@example.com
starts_on: {STARTS_ON}
ends_on: {STARTS_ON + dt.timedelta(days=ENROLMENT_DAYS)}
variants: {{control: 1, treatment: 1}}
control: control
primary: [conversion, revenue]
smallest_effect: 0.02
secondary: [orders, visits, order_value]
guardrails:
  - {{metric: returns, margin: 0.05}}
  - {{metric: latency, margin: 0.05}}
  - {{metric: complaints, margin: 0.1}}
segments:
  - {{attribute: customers.platform}}
  - {{attribute: customers.country}}
  - {{attribute: customers.tier, protected: true}}
"""


def lay_down(folder: Path, looks: str = "horizon") -> None:
    """Write the definitions and the nights; ``folder / "results"`` is the store."""
    experiment = _experiment(folder / "definitions", looks)
    rng = np.random.default_rng(20260105)
    rows = [
        row
        for number in range(ENROLMENT_DAYS)
        for variant in experiment.weights
        for crossover, units in UNITS_A_DAY.items()
        for row in _cell(experiment, STARTS_ON + dt.timedelta(days=number), variant, crossover, units, rng)
    ]
    for age in range(FIRST_NIGHT, FIRST_NIGHT + NIGHTS):
        night = _collected(experiment, STARTS_ON + dt.timedelta(days=age), rows, folder / "results")
        for step in pipeline.STEPS[1:-1]:
            getattr(pipeline, step)(night)
        results.point(night, results.CURRENT)


def _experiment(folder: Path, looks: str) -> Experiment:
    folder.mkdir(parents=True)
    window = ", source: events, window_days: 7, lag_days: 1"
    metrics = [
        f"{name}: {{title: {name}, {text}{'' if 'ratio' in text else window}, owner: ana@example.com}}"
        for name, text in METRICS.items()
    ]
    for name, text in (("sources", SOURCES), ("metrics", "\n".join(metrics)), (KEY, f"{EXPERIMENT}looks: {looks}\n")):
        (folder / f"{name}.yaml").write_text(text)
    return definitions.load_experiment(folder, KEY)


def _cell(
    experiment: Experiment, day: dt.date, variant: str, crossover: bool, units: int, rng: np.random.Generator
) -> Iterator[dict]:
    """Yield the rows of a day, of all units and of each segment value."""
    exposed = int(rng.poisson(units))
    for segment in (None, *(segment.attribute for segment in experiment.segments)):
        split = [exposed] if segment is None else rng.multinomial(exposed, np.full(VALUES, 1 / VALUES)).tolist()
        for number, count in enumerate(split):
            where = {"variant": variant, "crossover": crossover, "exposed_on": day, "segment": segment,
                     "value": None if segment is None else f"value {number}"}  # fmt: skip
            for metric in experiment.metrics.values():
                yield from (({"metric": metric.name} | where | row) for row in _metric(metric, count, rng) if count)


def _metric(metric: Metric, units: int, rng: np.random.Generator) -> Iterator[dict]:
    """Yield the moments of a metric: with a covariate, one unit in fifty has none."""
    with_covariate = round(0.98 * units) if metric.covariate else 0
    for known, n in ((True, with_covariate), (False, units - with_covariate)):
        if not n:
            continue
        mean, m2 = _moments(n, rng, share=metric.is_share)
        row = {"units": n, "null_rows": 0, "n": n, "mean": mean, "m2": m2}
        row |= {"covariate_known": known} if metric.covariate else {}
        if known or metric.kind == "ratio":
            other = "covariate" if known else "denominator"
            second, spread = _moments(n, rng, share=False)
            row |= {f"{other}_mean": second, f"{other}_m2": spread, "comoment": 0.6 * (m2 * spread) ** 0.5}
        yield row | ({"denominator_null_rows": 0} if metric.kind == "ratio" else {})


def _moments(n: int, rng: np.random.Generator, *, share: bool) -> tuple[float, float]:
    if share:
        ones = int(rng.binomial(n, 0.12))
        return ones / n, ones * (n - ones) / n
    return float(rng.normal(20, 35 / n**0.5)), float(35**2 * rng.chisquare(n - 1)) if n > 1 else 0.0


def _collected(experiment: Experiment, as_of: dt.date, rows: list[dict], store: Path) -> Path:
    mature = [row for row in rows if row["exposed_on"] < as_of - dt.timedelta(days=MATURE_DAYS)]
    everyone = [row for row in rows if row["segment"] is None and row["metric"] == "conversion"]
    exposure = _exposure(experiment, as_of, [row for row in everyone if row["exposed_on"] < as_of], mature)
    definition, moments = json.dumps(experiment.as_json(), sort_keys=True).encode(), pipeline._parquet(mature)
    counted = json.dumps(exposure, sort_keys=True).encode()
    night = store / KEY / str(as_of) / results.revision_name(str(as_of).encode(), definition, counted, moments)
    for name, content in (("definition.json", definition), ("exposure.json", counted), ("moments.parquet", moments)):
        results.write_bytes(night / name, content)
    return results.point(night, results.COLLECTED)


def _exposure(experiment: Experiment, as_of: dt.date, exposed: list[dict], mature: list[dict]) -> dict:
    units, days = _by_variant(experiment, exposed), sorted({row["exposed_on"] for row in exposed})
    by_day = {str(day): _by_variant(experiment, [row for row in exposed if row["exposed_on"] == day]) for day in days}
    maturity = []
    for metric in experiment.metrics.values():
        own = [row for row in mature if row["segment"] is None and row["metric"] == metric.name]
        matured = _by_variant(experiment, own)
        maturity.append(
            {"metric": metric.name, "title": metric.title, "delay_days": 0, "window_days": 7, "lag_days": 1,
             "matured": matured, "waiting": {name: units[name] - matured[name] for name in units},
             "dropped_nulls": dict.fromkeys(units, 0),
             "complete_on": str(experiment.ends_on + dt.timedelta(days=MATURE_DAYS))}
        )  # fmt: skip
    return {
        "units": units,
        "crossovers": _by_variant(experiment, [row for row in exposed if row["crossover"]]),
        "cells": {"day of first exposure": by_day},
        "outside_dates": 0,
        "first_on": str(days[0]),
        "last_on": str(days[-1]),
        "known_by": f"{as_of}T03:00:00",
        "sources": [{"source": "events", "rows": 1_000_000, "rows_without_unit": 0}],
        "delays": [],
        "maturity": maturity,
    }


def _by_variant(experiment: Experiment, rows: list[dict]) -> dict[str, int]:
    return {name: sum(row["units"] for row in rows if row["variant"] == name) for name in experiment.weights}
