"""Whatever the experiment, the data and the night: the steps go through, and what is said agrees with its numbers."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abtest_lib import decision, readings
from abtest_lib.definitions import (
    AttributeSource,
    Covariate,
    Experiment,
    ExposureSource,
    Guardrail,
    Metric,
    OutcomeSource,
    Recipients,
    Segment,
)
from abtest_lib.report import render, view
from abtest_lib.statistics.moments import CoMoments

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).resolve().parents[1] / "docs" / "results.schema.json").read_text())
)
START = dt.date(2026, 2, 2)
DAY = dt.timedelta(days=1)
SOME = settings(max_examples=50, suppress_health_check=list(HealthCheck))
VALUES = ("shifted", "normal", "lost", "shifted", "constant", "zero", "lost", "huge", "tiny", "rare", "far from zero")


@st.composite
def metrics(draw, name):
    share = draw(st.booleans())
    return Metric(
        name=name,
        title=name.replace("_", " ").title(),
        description="",
        owner="",
        kind="proportion" if share else "mean",
        source="events",
        value=None if share else "amount",
        aggregate="sum",
        where=(),
        delay_days=0,
        window_days=draw(st.integers(1, 5)),
        lag_days=draw(st.integers(0, 2)),
        better=draw(st.sampled_from(("higher", "lower"))),
        nulls="drop",
        unit=draw(st.sampled_from((None, "USD"))),
        covariate=None if share or draw(st.booleans()) else Covariate("customers", "spend"),
    )


@st.composite
def experiments(draw):
    primary = tuple(f"primary_{i}" for i in range(draw(st.integers(1, 2))))
    secondary = tuple(f"secondary_{i}" for i in range(draw(st.integers(0, 1))))
    guarded = tuple(f"guarded_{i}" for i in range(draw(st.integers(0, 2))))
    days = draw(st.integers(1, 9))
    looks = draw(st.sampled_from(("horizon", "obrien_fleming", "obrien_fleming", "pocock")))
    named = ("control", "red", "green", "blue")[: draw(st.integers(2, 4))]
    segment = draw(st.sampled_from(((), (True,), (False,))))
    return Experiment(
        key="any",
        title="Any experiment",
        hypothesis="Anything may come.",
        owner="ana@example.com",
        team=None,
        starts_on=START,
        ends_on=START + days * DAY,
        control="control",
        weights={name: draw(st.sampled_from((0.5, 1.0, 3.0))) for name in named},
        primary=primary,
        smallest_effect=draw(st.sampled_from((0.001, 0.05, 2.0))),
        secondary=secondary,
        guardrails=tuple(Guardrail(name, draw(st.sampled_from((0.01, 0.2)))) for name in guarded),
        segments=tuple(Segment("customers", "platform", protected) for protected in segment),
        alpha=draw(st.sampled_from((0.05, 0.01, 0.2))),
        looks=looks,
        minimum_days=7 if looks == "horizon" else draw(st.integers(1, days)),
        notify=Recipients(),
        alerts=Recipients(),
        exposures=ExposureSource("assignments", "exposures", "experiment_id", "unit_id", "variant", "exposed_at", None),
        outcomes={"events": OutcomeSource("events", "events", "unit_id", "occurred_at", None)},
        attributes={"customers": AttributeSource("customers", "customers", "unit_id")},
        metrics={name: draw(metrics(name)) for name in (*primary, *secondary, *guarded)},
        load_log=None,
        loaded_within_hours=24,
    )


def values_of(metric, how, treated, n, rng):
    """The outcomes of ``n`` units, of one of the ways in which data can be usual or odd."""
    share = {"normal": 0.3, "constant": 1.0, "zero": 0.0, "shifted": 0.3 + 0.3 * treated, "lost": 0.4 - 0.3 * treated,
             "huge": 0.5, "tiny": 0.5, "rare": 0.01, "far from zero": 0.99}[how]  # fmt: skip
    if metric.is_share:
        return (rng.random(n) < share).astype(float)
    center, spread = {"normal": (10, 3), "constant": (7.1, 0), "zero": (0, 0), "shifted": (10 + 4 * treated, 3),
                      "lost": (10 - 4 * treated, 3), "huge": (1e150, 1e149), "tiny": (1e-160, 1e-161),
                      "rare": (0, 1), "far from zero": (1e9, 1e-3)}[how]  # fmt: skip
    return rng.normal(center, spread, n) if how != "rare" else 1e6 * (rng.random(n) < 0.02)


def unit_cells(experiment, sizes, odd, rng):
    """Cells of units: day of exposure, variant, segment value, whether seen in two variants, and how many."""
    share = {name: weight / sum(experiment.weights.values()) for name, weight in experiment.weights.items()}
    for number, size in enumerate(sizes):
        for variant in experiment.weights:
            if odd == "missing variant" and variant == list(experiment.weights)[-1]:
                continue
            expected = size * share[variant]
            total = 1 if odd == "one unit" else round(expected) if odd else rng.poisson(expected)
            split = rng.multinomial(total, (0.55, 0.35, 0.04, 0.04, 0.02)) if total > 4 else (total, 0, 0, 0, 0)
            places = (("ios", False), ("web", False), ("ios", True), ("web", True), ("(unknown)", False))
            for (segment, crossover), n in zip(places, split, strict=True):
                if n:
                    yield START + number * DAY, variant, segment, crossover, int(n)


def moment_rows(experiment, how, cells, rng):
    """Rows as of ``sql/moments.sql``, of all days; a row for units with a covariate and one for those without."""
    rows = []
    for exposed_on, variant, segment, crossover, units in cells:
        where = {"variant": variant, "crossover": crossover, "exposed_on": exposed_on, "null_rows": 0}
        places = [(None, None), *((one.attribute, segment) for one in experiment.segments)]
        for metric in experiment.metrics.values():
            known = units - units // 7 if metric.covariate else units
            for count, has in ((known, True), (units - known, False)):
                if not count:
                    continue
                y = values_of(metric, how[metric.name], variant != experiment.control, count, rng)
                x = y * rng.uniform(0.5, 1, count) if metric.covariate and has else np.zeros(count)
                both = CoMoments.from_values(y, x)
                row = {"metric": metric.name, **where, "units": count, "n": count,
                       "mean": both.outcome.mean, "m2": both.outcome.m2}  # fmt: skip
                if metric.covariate:
                    row |= {"covariate_known": has, "covariate_mean": both.covariate.mean if has else None,
                            "covariate_m2": both.covariate.m2 if has else None,
                            "comoment": both.comoment if has else None}  # fmt: skip
                rows += [{**row, "segment": attribute, "value": value} for attribute, value in places]
    return rows


def exposure_of(experiment, as_of, cells):
    seen = [cell for cell in cells if cell[0] < as_of]
    count = lambda chosen: {v: sum(c[4] for c in chosen if c[1] == v) for v in experiment.weights}  # noqa: E731
    return {
        "units": count(seen),
        "crossovers": count([cell for cell in seen if cell[3]]),
        "cells": {
            "day of first exposure": {
                str(d): count([c for c in seen if c[0] == d]) for d in sorted({c[0] for c in seen})
            },
            **{s.attribute: {v: count([c for c in seen if c[2] == v]) for v in sorted({c[2] for c in seen})}
               for s in experiment.segments},
        },
        "outside_dates": 0, "first_on": str(min(c[0] for c in seen)), "last_on": str(max(c[0] for c in seen)),
        "known_by": f"{as_of}T03:00:00", "sources": [], "delays": [],
        "maturity": [
            {"metric": m.name, "title": m.title, "delay_days": 0, "window_days": m.window_days, "lag_days": m.lag_days,
             "matured": (done := count([c for c in seen if c[0] < as_of - m.maturity_days * DAY])),
             "waiting": {v: n - done[v] for v, n in count(seen).items()}, "dropped_nulls": count([]),
             "complete_on": str(experiment.ends_on + m.maturity_days * DAY)}
            for m in experiment.metrics.values()
        ],
    }  # fmt: skip


def document_of(experiment, as_of, cells, rows):
    exposure = exposure_of(experiment, as_of, cells)
    mature = [row for row in rows if row["exposed_on"] < as_of - experiment.metrics[row["metric"]].maturity_days * DAY]
    ratio, read = readings.sample_ratio(experiment, exposure), {}
    if ratio["healthy"]:
        found = readings.segments(experiment, as_of, mature)
        read = {
            "significance": readings.significance(experiment, as_of, mature),
            "segments": {"segments": found, "heterogeneity": readings.heterogeneity(experiment, as_of, found)},
            "guardrails": readings.guardrails(experiment, as_of, mature),
        }
    return decision.results_document(experiment, as_of, "0123456789ab", exposure, ratio, read)


@dataclass(frozen=True)
class Case:
    """An experiment, its units and rows, and two nights, the earlier one first."""

    experiment: Experiment
    cells: list = field(repr=False)
    rows: list = field(repr=False)
    nights: tuple[dt.date, dt.date]


@st.composite
def cases(draw):
    experiment = draw(experiments())
    days = experiment.enrolment_days
    size = draw(st.sampled_from((300, 1000, 40, 8)))
    empty = draw(st.sets(st.integers(0, days - 1), max_size=days - 1))
    sizes = [0 if day in empty else size for day in range(days)]
    odd = draw(st.sampled_from(("", "", "", "even", "one unit", "missing variant")))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    how = {name: draw(st.sampled_from(VALUES)) for name in experiment.metrics}
    cells = [cell for cell in unit_cells(experiment, sizes, odd, rng)]
    first = min((cell[0] for cell in cells), default=None)
    last = experiment.decides_on + 10 * DAY
    offsets = st.one_of(
        st.integers(0, (last - START).days), st.integers((experiment.first_look_on - START).days, (last - START).days)
    )
    as_of = sorted(START + offset * DAY for offset in draw(st.tuples(offsets, offsets)))
    as_of = [max(day, first + DAY) if first else day for day in as_of]
    with np.errstate(all="ignore"):
        rows = moment_rows(experiment, how, cells, rng)
    return Case(experiment, cells, rows, tuple(as_of))


def comparisons(document):
    for group in ("metrics", "guardrails", "segments"):
        for row in document[group]:
            for one in row["comparisons"]:
                yield group, row, one


def check_words(experiment, document):
    for group, row, one in comparisons(document):
        if "not_computed" in one:
            continue
        word, adjusted = one["reading"], one["pvalue_adjusted"]
        if document["stage"] == "interim":
            assert (word, one["pvalue"], adjusted) == ("interim", None, None)
            assert "stopped" not in one
            continue
        said = word in ("better", "worse")
        low, high = one["effect_interval"]
        where = (group, row["metric"], one)
        if said:
            assert isinstance(adjusted, float) and adjusted < experiment.alpha, where
        if isinstance(adjusted, float) and adjusted < experiment.alpha:
            assert said, where
        if said and "looks" not in one:
            assert one["pvalue"] < experiment.alpha / one["family_size"]
            assert (low > 0) == ((word == "better") == (row["better"] == "higher"))
            assert low > 0 or high < 0
        if "looks" in one:
            assert ("stopped" in one) == said
        if "stopped" in one:
            assert one["stopped"]["on"] <= document["as_of"]
            assert one["stopped"]["on"] >= document["experiment"]["first_look_on"]


@SOME
@given(cases(), st.randoms(use_true_random=False))
def test_any_night(case, random):
    experiment, cells, rows, (earlier, later) = case.experiment, case.cells, case.rows, case.nights
    if not cells:
        return
    before, after = (document_of(experiment, night, cells, rows) for night in (earlier, later))
    for document in (before, after):
        json.dumps(document, allow_nan=False)
        assert [f"{e.json_path}: {e.message}" for e in SCHEMA.iter_errors(document)] == []
        check_words(experiment, document)
    render(view(before))
    render(view(after, [before]))
    if document["sample_ratio"]["healthy"] and before["sample_ratio"]["healthy"]:
        check_kept(before, after)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert close(document_of(experiment, later, cells, shuffled), after)


def check_kept(before, after):
    now = {(g, r["metric"], r.get("value"), o["variant"]): o for g, r, o in comparisons(after)}
    for group, row, one in comparisons(before):
        kept = now[group, row["metric"], row.get("value"), one["variant"]]
        if "stopped" in one:
            assert kept["stopped"]["on"] == one["stopped"]["on"]
            assert kept["reading"] == one["reading"]


def close(one, other):
    """Whether two documents say the same but for the last digits of their numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-9)
    return one == other
