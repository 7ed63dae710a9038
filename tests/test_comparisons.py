"""What a plan of several looks says of one comparison, night by night."""

import datetime as dt
import itertools
from dataclasses import replace

import numpy as np
import pytest
from small_shop import Shop

from abtest_lib import readings
from abtest_lib.decision import results_document
from abtest_lib.statistics.sequential import spending_bounds
from abtest_lib.statistics.tails import tail_pvalue

START = dt.date(2026, 2, 2)
DAYS, MATURITY = 10, 3


@pytest.fixture(scope="module")
def nightly(tmp_path_factory):
    """Ten days of units, looks from the fourth on; every metric is mature after three days."""
    experiment = Shop(tmp_path_factory.mktemp("shop")).experiment
    return replace(experiment, ends_on=START + dt.timedelta(days=DAYS), looks="obrien_fleming", minimum_days=4,
                   secondary=(), segments=())  # fmt: skip


def cell(day, variant, successes, n=500, *, metric="conversion"):
    mean = successes / n
    return {"metric": metric, "variant": variant, "crossover": False, "segment": None, "value": None,
            "exposed_on": START + dt.timedelta(days=day), "units": n, "null_rows": 0, "n": n,
            "mean": mean, "m2": n * mean * (1 - mean)}  # fmt: skip


def latency(day, variant, mean, n=500, sd=300.0):
    return {**cell(day, variant, 0, n, metric="latency_ms"), "mean": mean, "m2": sd**2 * (n - 1)}


def rows_of(treated, control=(150,) * DAYS, *, slower=1.0):
    return [
        row
        for day, (a, b) in enumerate(zip(control, treated, strict=True))
        for row in (cell(day, "control", a), cell(day, "treatment", b),
                    latency(day, "control", 800.0), latency(day, "treatment", 800.0 * slower))
    ]  # fmt: skip


def night_of(look):
    """The night of the look that has so many days of units."""
    return START + dt.timedelta(days=look + MATURITY)


def mature(rows, look):
    """What the warehouse hands over on that night."""
    return [row for row in rows if row["exposed_on"] < START + dt.timedelta(days=look)]


def compared(experiment, rows, look):
    (metric,) = readings.significance(experiment, night_of(look), mature(rows, look))["metrics"]
    return metric["comparisons"][0]


def verdict_on(experiment, rows, look):
    night, known = night_of(look), mature(rows, look)
    read = {"significance": readings.significance(experiment, night, known),
            "segments": {"segments": [], "heterogeneity": []},
            "guardrails": readings.guardrails(experiment, night, known)}  # fmt: skip
    ratio = readings.sample_ratio(experiment, {"units": {"control": 5000, "treatment": 5000}})
    document = results_document(experiment, night, "r", {"maturity": [], "units": {}}, ratio, read)
    return document["stage"], document["verdicts"][0]["verdict"], document["verdicts"][0]["reasons"][0]["code"]


def test_level_of_a_night_is_that_of_the_bounds_for_its_share_of_the_plan(nightly):
    found = compared(nightly, rows_of((160,) * DAYS), 6)
    bounds = spending_bounds([0.4, 0.5, 0.6], alpha=0.05)
    assert found["looks"] == 3
    assert found["level_tonight"] == pytest.approx(tail_pvalue(bounds.upper[-1]), rel=1e-9)
    assert found["confidence_level"] == 0.95
    assert found["effect_interval"][0] < 0 < found["effect_interval"][1]


def test_night_before_the_first_look_tests_nothing(nightly):
    found = compared(nightly, rows_of((400,) * DAYS), 3)
    assert (found["reading"], found["pvalue"], found["pvalue_adjusted"]) == ("interim", None, None)
    assert "looks" not in found


def test_clear_effect_is_found_early_and_the_word_stays(nightly):
    rows = rows_of((220, 220, 220, 220, 220, 90, 90, 90, 90, 130))
    words = [compared(nightly, rows, look)["reading"] for look in range(3, DAYS + 1)]
    assert words[:3] == ["interim", "better", "better"]
    last = compared(nightly, rows, DAYS)
    # By the end nothing is left of it; what a look has proved at its level stays proved, and the report gives its date.
    assert last["effect_interval"][0] < 0
    assert last["reading"] == "better"
    assert last["stopped"]["on"] == str(night_of(4))


def test_same_night_is_the_same_whichever_nights_were_run_before(nightly):
    """Nothing but plan and data enters: skipped, repeated or backfilled nights cannot change a result."""
    rows = rows_of((150, 160, 170, 165, 155, 180, 150, 160, 170, 150))
    assert compared(nightly, rows, 7) == compared(nightly, list(reversed(rows)), 7)


def test_adjusted_pvalue_is_below_alpha_exactly_when_a_word_is_said(nightly):
    rng = np.random.default_rng(12)
    seen = set()
    for _ in range(12):
        rows = rows_of(tuple(rng.binomial(500, 0.3 + rng.choice([0.0, 0.03, 0.05]), DAYS)))
        for look in (4, 7, 10):
            found = compared(nightly, rows, look)
            said = found["reading"] in ("better", "worse")
            assert said == (found["pvalue_adjusted"] < 0.05)
            seen.add(said)
    assert seen == {True, False}


def test_estimate_after_an_early_stop_is_drawn_towards_zero(nightly):
    rows = rows_of((150, 150, 160, 160, 185, 185, 185, 185, 150, 150))
    found = compared(nightly, rows, DAYS)
    stop = found["stopped"]
    look = (dt.date.fromisoformat(stop["on"]) - START).days - MATURITY
    assert look > 4
    at_stop = compared(nightly, rows, look)
    assert 0 < stop["effect"] < at_stop["effect"]
    assert stop["effect_interval"][0] < stop["effect"] < stop["effect_interval"][1]
    assert at_stop["pvalue"] < stop["pvalue"] < 0.05


def test_guardrail_proved_safe_at_a_look_stays_safe_and_harm_comes_first(nightly):
    rows = rows_of((150,) * DAYS)
    outcomes = [readings.guardrails(nightly, night_of(look), mature(rows, look))[0]["comparisons"][0]["outcome"]
                for look in range(3, DAYS + 1)]  # fmt: skip
    assert outcomes == ["not_yet"] + ["safe"] * 7
    harmed = [row | ({"mean": 1200.0} if row["metric"] == "latency_ms" and row["variant"] == "treatment"
                     and row["exposed_on"] >= START + dt.timedelta(days=6) else {}) for row in rows]  # fmt: skip
    by_look = {look: readings.guardrails(nightly, night_of(look), mature(harmed, look))[0]["comparisons"][0]["outcome"]
               for look in (6, 10)}  # fmt: skip
    assert by_look == {6: "safe", 10: "harmful"}


@pytest.mark.parametrize(
    ("treated", "slower", "look", "expected"),
    [
        ((220,) * DAYS, 1.0, 3, ("interim", "keep_running", "immature")),
        ((220,) * DAYS, 1.0, 4, ("look", "ship", "primary_better")),
        ((90,) * DAYS, 1.0, 4, ("look", "do_not_ship", "primary_worse")),
        ((150,) * DAYS, 1.0, 9, ("look", "keep_running", "no_effect_shown")),
        ((150,) * DAYS, 1.0, 10, ("final", "do_not_ship", "no_effect_shown")),
        ((220,) * DAYS, 1.1, 9, ("look", "keep_running", "guardrail_not_proved_safe")),
        ((220,) * DAYS, 1.5, 4, ("look", "do_not_ship", "guardrail_harmful")),
    ],
)
def test_verdict_may_fall_on_any_look(nightly, treated, slower, look, expected):
    assert verdict_on(nightly, rows_of(treated, slower=slower), look) == expected


def test_pocock_plan_spends_more_at_first(nightly):
    rows = rows_of((160,) * DAYS)
    levels = {
        plan: compared(replace(nightly, looks=plan), rows, 4)["level_tonight"] for plan in ("obrien_fleming", "pocock")
    }
    assert levels["pocock"] > 10 * levels["obrien_fleming"]


def test_day_without_new_units_is_no_look_of_its_own(nightly):
    rows = [row for row in rows_of((170,) * DAYS) if row["exposed_on"] != START + dt.timedelta(days=5)]
    five, six = (compared(nightly, rows, look) for look in (5, 6))
    assert six["level_tonight"] == pytest.approx(five["level_tonight"], rel=1e-12)
    assert six["pvalue"] == five["pvalue"]


@pytest.mark.slow
def test_no_effect_is_called_different_in_at_most_alpha_of_all_experiments(nightly):
    """Whole A/A experiments with uneven days, read on every night: any word at any look is an error."""
    rng, errors, runs = np.random.default_rng(20260301), 0, 300
    for _ in range(runs):
        units = rng.integers(20, 800, (DAYS, 2))
        rows = [
            cell(day, variant, rng.binomial(n, 0.3), int(n))
            for day, pair in enumerate(units)
            for variant, n in zip(("control", "treatment"), pair, strict=True)
        ]
        errors += compared(nightly, rows, DAYS)["reading"] in ("better", "worse")
    assert errors / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_units_that_come_in_any_order_of_rows_give_the_same_reading(nightly):
    rows = rows_of((150, 160, 170, 165, 155, 180, 150, 160, 170, 150))
    shuffled = list(itertools.chain(rows[1::2], rows[::2]))
    assert compared(nightly, shuffled, 10) == compared(nightly, rows, 10)


def test_primary_that_is_complete_long_before_its_guardrail_is_decided_at_the_first_look(nightly):
    slow = replace(nightly.metrics["latency_ms"], lag_days=40)
    late = replace(nightly, metrics={**nightly.metrics, "latency_ms": slow})
    rows = rows_of((220,) * DAYS)
    found = {
        night: readings.significance(late, night, rows)["metrics"][0]["comparisons"][0]["reading"]
        for night in (late.first_look_on - dt.timedelta(days=1), late.first_look_on, late.decides_on)
    }
    assert list(found.values()) == ["interim", "better", "better"]
