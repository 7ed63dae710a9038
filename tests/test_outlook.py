"""Whether an experiment can show its effect by its horizon: classical power for a fixed plan, and never a direction."""

import datetime as dt
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from small_shop import Shop

from abtest_lib import readings
from abtest_lib.outlook import outlook

START, DAYS = dt.date(2026, 2, 2), 10
NORMAL = NormalDist()


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """Ten days of units, mature after three; an effect of 5 % of the control's share of 30 % matters."""
    experiment = Shop(tmp_path_factory.mktemp("shop")).experiment
    return replace(experiment, ends_on=START + dt.timedelta(days=DAYS), secondary=(), segments=())


def cell(day, variant, successes, n=500):
    share = successes / n
    return {"metric": "conversion", "variant": variant, "crossover": False, "segment": None,
            "exposed_on": START + dt.timedelta(days=day),
            "units": n, "null_rows": 0, "n": n, "mean": share, "m2": n * share * (1 - share)}  # fmt: skip


def night(experiment, days, *, treated=150, n=500, seen=None):
    """The outlook on the night when so many days of units are mature."""
    as_of = START + dt.timedelta(days=days + 3)
    rows = [cell(day, variant, successes, n) for day in range(days)
            for variant, successes in (("control", 150 * n // 500), ("treatment", treated * n // 500))]  # fmt: skip
    units = seen or [n] * min(days + 3, DAYS)
    cells = {str(START + dt.timedelta(days=day)): {"control": count, "treatment": count}
             for day, count in enumerate(units)}  # fmt: skip
    metrics = readings.significance(experiment, as_of, rows)["metrics"]
    return outlook(experiment, as_of, {"cells": {"day of first exposure": cells}}, metrics)


def test_fixed_plan_has_the_power_of_its_horizon(fixed):
    (found,) = night(fixed, 4)
    error = (2 * 0.3 * 0.7 / (500 * DAYS)) ** 0.5
    assert found["smallest"] == pytest.approx(1 - NORMAL.cdf(1.959964 - 0.05 * 0.3 / error), abs=1e-6)
    assert (found["units"], found["by"], found["predicted"]) == (10_000, str(fixed.decides_on), None)


def test_fixed_plan_tells_nothing_of_the_effect_so_far(fixed):
    """Units vary with their share, so the same spread with the opposite effect is taken."""
    up, down = (night(fixed, 4, treated=treated)[0]["smallest"] for treated in (150 + 20, 350 - 20))
    assert up == pytest.approx(down, rel=1e-9)


def test_units_to_come_are_those_seen_and_then_the_pace_of_the_last_week(fixed):
    seen = [900, 900, 100, 200, 300, 400, 300, 200, 100]
    (found,) = night(fixed, 6, seen=seen)
    week = [100, 200, 300, 400, 300, 200, 100]
    assert found["units"] == round(2 * (sum(seen) + sum(week) / 7))


def test_nothing_is_said_from_the_horizon_on_or_before_any_unit_is_mature(fixed):
    assert night(fixed, DAYS) == []
    assert night(fixed, 0, seen=[500, 500]) == []


def test_several_treatments_and_metrics_pay_for_their_family(fixed):
    three = replace(fixed, weights={"control": 1, "treatment": 1, "other": 1})
    alone, shared = night(fixed, 4)[0], night(three, 4)[0]
    assert shared["smallest"] < alone["smallest"]


def test_looks_predict_from_what_they_have_seen(fixed):
    nightly = replace(fixed, looks="obrien_fleming", minimum_days=4)
    assert night(nightly, 3)[0]["predicted"] is None
    flat, rising = (night(nightly, 6, treated=treated)[0] for treated in (151, 163))
    assert flat["predicted"] < 0.1 < 0.8 < rising["predicted"]
    assert flat["smallest"] < rising["smallest"]


def test_comparison_that_a_look_has_stopped_has_no_outlook(fixed):
    nightly = replace(fixed, looks="obrien_fleming", minimum_days=4)
    assert night(nightly, 6, treated=220) == []


def test_metric_that_is_better_lower_hopes_for_less(fixed):
    lower = replace(fixed.metrics["conversion"], better="lower")
    nightly = replace(fixed, looks="obrien_fleming", minimum_days=4, metrics={**fixed.metrics, "conversion": lower})
    up, down = night(nightly, 6, treated=163)[0], night(nightly, 6, treated=137)[0]
    assert up["predicted"] < 0.1 < down["predicted"]


def test_experiment_whose_first_units_came_late_has_an_outlook(fixed):
    nightly = replace(fixed, looks="obrien_fleming", minimum_days=2)
    as_of = START + dt.timedelta(days=8)
    rows = [cell(4, variant, successes) for variant, successes in (("control", 150), ("treatment", 155))]
    seen = {str(START + dt.timedelta(days=day)): {"control": 500, "treatment": 500} for day in range(4, 8)}
    metrics = readings.significance(nightly, as_of, rows)["metrics"]
    (found,) = outlook(nightly, as_of, {"cells": {"day of first exposure": seen}}, metrics)
    assert 0 < found["predicted"] < 1


@pytest.mark.slow
def test_predicted_chance_is_how_often_experiments_like_it_conclude(fixed):
    """Continue an experiment from six days on many times, the effect drawn from what the six days say of it."""
    nightly = replace(fixed, looks="obrien_fleming", minimum_days=4)
    (found,) = night(nightly, 6, treated=160)
    rng, shown, runs = np.random.default_rng(3), 0, 300
    error = (0.3 * 0.7 / 3000 + 0.32 * 0.68 / 3000) ** 0.5
    for _ in range(runs):
        treated = 0.31 + (rng.normal(0.02, error) - 0.02) / 2 + 0.01
        control = 2 * 0.31 - treated
        rows = [cell(day, variant, successes) for day in range(6)
                for variant, successes in (("control", 150), ("treatment", 160))]  # fmt: skip
        rows += [cell(day, variant, rng.binomial(500, share)) for day in range(6, DAYS)
                 for variant, share in (("control", control), ("treatment", treated))]  # fmt: skip
        (metric,) = readings.significance(nightly, nightly.decides_on, rows)["metrics"]
        shown += metric["comparisons"][0]["reading"] == "better"
    assert shown / runs == pytest.approx(found["predicted"], abs=3.5 * (0.25 / runs) ** 0.5)
