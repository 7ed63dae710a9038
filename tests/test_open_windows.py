"""Open windows: all outcomes up to one midnight count, the same for all units; read once, at the horizon."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import duckdb
import jsonschema
import numpy as np
import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib import results
from abtest_lib.collection import read_night
from abtest_lib.completeness import join_findings
from abtest_lib.definitions import experiment_from_json
from abtest_lib.errors import DefinitionError
from abtest_lib.pipeline import outcomes_ready
from abtest_lib.verify import verify
from abtest_lib.warehouse import connect

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "results.schema.json").read_text())
METRIC = """
spend_so_far:
  {title: Spend so far, kind: mean, source: purchases, value: amount_usd, window_days: open, lag_days: 1,
   better: higher}
orders_so_far:
  {title: Orders so far, kind: count, source: purchases, window_days: open, delay_days: 1, lag_days: 2, better: higher}
loads: {title: Loads, kind: count, source: page_loads, window_days: 2, better: lower}
"""
# Later purchases, of a third of the units more often than of the others, up to the last day before the night.
LATER = """INSERT INTO purchases
    SELECT unit_id, exposed_at + to_hours((7 + i * 31)::INTEGER) AS occurred_at, occurred_at + INTERVAL 1 HOUR, 11 + i
    FROM exposures CROSS JOIN range(5) AS r (i)
    WHERE substr(unit_id, 2)::INTEGER % 3 = 0 AND occurred_at < DATE '2026-02-08'"""


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.change(LATER)
    path = shop.definitions / "metrics.yaml"
    path.write_text(path.read_text() + METRIC)
    shop.redefine(KEY, "secondary: [revenue_per_user]", "secondary: [revenue_per_user, spend_so_far]")
    return shop


def night_of(shop, as_of=AS_OF):
    with connect(shop.warehouse) as warehouse:
        return read_night(shop.experiment, as_of, warehouse, shop.results)


def spent(shop, until):
    """By variant, what each unit had spent before a day since its exposure, by the raw tables."""
    with duckdb.connect(str(shop.warehouse), read_only=True) as source:
        rows = source.execute("""SELECT variant, COALESCE(SUM(amount_usd), 0) AS spent
            FROM exposures LEFT JOIN purchases ON purchases.unit_id = exposures.unit_id
                AND occurred_at >= exposed_at AND occurred_at < $until
            WHERE exposed_at < $until
            GROUP BY variant, exposures.unit_id""", {"until": until}).fetchnumpy()  # fmt: skip
    return {name: rows["spent"][rows["variant"] == name] for name in ("control", "treatment")}


def comparison_of(night, name="spend_so_far"):
    document = results.read_json(night / "results.json")
    (metric,) = [metric for metric in document["metrics"] if metric["metric"] == name]
    return metric["comparisons"][0]


@pytest.mark.parametrize("day", [4, 5, 6, 8])
def test_everything_since_the_exposure_counts_until_the_lag_before_the_night(shop, day):
    as_of, until = dt.date(2026, 2, day), dt.date(2026, 2, day - 1)
    night, wanted = night_of(shop, as_of), spent(shop, until)
    for variant, units in wanted.items():
        rows = [row for row in night.moments if row["metric"] == "spend_so_far" and row["segment"] is None
                and row["variant"] == variant]  # fmt: skip
        assert sum(row["n"] for row in rows) == len(units)
        assert sum(row["n"] * row["mean"] for row in rows) == pytest.approx(units.sum(), rel=1e-12)
    (entry,) = [row for row in night.exposure["maturity"] if row["metric"] == "spend_so_far"]
    assert (entry["window_days"], entry["counted_before"]) == (None, str(until))
    assert entry["matured"] == {variant: len(units) for variant, units in wanted.items()}
    assert entry["complete_on"] == "2026-02-08"
    with connect(shop.warehouse) as warehouse:
        assert verify(shop.experiment, as_of, warehouse, shop.results).problems == ()


def test_a_night_before_the_first_day_is_counted_has_no_units(shop):
    (entry,) = [
        row for row in night_of(shop, dt.date(2026, 2, 3)).exposure["maturity"] if row["metric"] == "spend_so_far"
    ]
    assert entry["matured"] == {"control": 0, "treatment": 0}
    assert "0 mature units" in comparison_of(shop.run(dt.date(2026, 2, 3)))["not_computed"]


def test_a_unit_exposed_as_the_open_window_ends_does_not_count_beside_one_that_is_mature_to_the_second(shop):
    # Both need three days; conversion has seen two whole ones, the open window of orders ends as the delay does.
    shop.redefine(KEY, "revenue_per_user, spend_so_far]", "revenue_per_user, orders_so_far]")
    shop.change("UPDATE exposures SET exposed_at = TIMESTAMP '2026-02-04 00:00' WHERE unit_id = 'u4'")
    rows = night_of(shop, dt.date(2026, 2, 7)).exposure["maturity"]
    matured = {row["metric"]: sum(row["matured"].values()) for row in rows}
    assert matured["conversion"] == matured["orders_so_far"] + 1
    with connect(shop.warehouse) as warehouse:
        assert verify(shop.experiment, dt.date(2026, 2, 7), warehouse, shop.results).problems == ()


def test_the_reading_at_the_horizon_is_the_test_of_the_totals(shop):
    night = shop.run()
    found, units = comparison_of(night), spent(shop, dt.date(2026, 2, 7))
    assert found["effect"] == pytest.approx(units["treatment"].mean() - units["control"].mean(), rel=1e-12)
    error = np.sqrt(sum(one.var(ddof=1) / len(one) for one in units.values()))
    assert found["standard_error"] == pytest.approx(error, rel=1e-9)
    assert found["reading"] in ("better", "worse", "not_shown") and found["pvalue"] is not None
    document = results.read_json(night / "results.json")
    assert not list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(document))


def test_after_the_horizon_nothing_is_added(shop):
    before = shop.run()
    shop.change(
        """INSERT INTO load_log SELECT source, day::DATE, day + INTERVAL 27 HOUR
        FROM unnest(['assignments', 'purchases', 'page_loads']) AS s (source),
            range(TIMESTAMP '2026-02-08', TIMESTAMP '2026-02-10', INTERVAL 1 DAY) AS d (day)""",
        """INSERT INTO purchases SELECT unit_id, TIMESTAMP '2026-02-08 10:00', TIMESTAMP '2026-02-08 11:00', 500
        FROM exposures""",
    )
    after = shop.run(dt.date(2026, 2, 10))
    assert comparison_of(after) == comparison_of(before)
    with connect(shop.warehouse) as warehouse:
        assert verify(shop.experiment, dt.date(2026, 2, 10), warehouse, shop.results).problems == ()


@pytest.mark.parametrize("as_of", [dt.date(2026, 2, 5), dt.date(2026, 2, 6), dt.date(2026, 2, 7)])
def test_nothing_is_claimed_on_interim_nights(shop, as_of):
    # So far apart that any test would tell.
    shop.change("UPDATE purchases SET amount_usd = 500 + amount_usd WHERE unit_id IN "
                "(SELECT unit_id FROM exposures WHERE variant = 'treatment')")  # fmt: skip
    night = shop.run(as_of)
    found = comparison_of(night)
    assert (found["reading"], found["pvalue"], found["pvalue_adjusted"]) == ("interim", None, None)
    said = " ".join((night / "report.txt").read_text().split())
    assert "Spend so far better" not in said and "Spend so far: better" not in said


def test_looks_before_the_horizon_do_not_read_it(shop):
    shop.redefine(KEY, "primary: [conversion]", "primary: [conversion]\nlooks: pocock\nminimum_days: 1")
    shop.change("UPDATE purchases SET amount_usd = 500 + amount_usd WHERE unit_id IN "
                "(SELECT unit_id FROM exposures WHERE variant = 'treatment')")  # fmt: skip
    for day in (6, 7):
        night = shop.run(dt.date(2026, 2, day))
        assert results.read_json(night / "results.json")["stage"] == "look"
        assert comparison_of(night, "revenue_per_user")["reading"] == "better"
        found = comparison_of(night)
        assert (found["reading"], found["pvalue"], found["pvalue_adjusted"]) == ("interim", None, None)
        said = " ".join((night / "report.txt").read_text().split())
        assert "Spend so far" in said and "Spend so far better" not in said
    final = comparison_of(shop.run())
    assert final["reading"] == "better"
    assert "looks" not in final, "one look, at the whole of alpha"


def test_the_report_says_that_units_are_followed_for_different_times(shop):
    said = " ".join((shop.run() / "report.txt").read_text().split())
    assert ("⚠ Spend so far counts everything until 6 February 2026, so units are followed for different times; "
            "compare it with completed windows before you decide.") in said  # fmt: skip
    assert "all until 6 February 2026" in said


def test_a_secondary_one_does_not_move_the_horizon_and_a_primary_one_waits_for_a_day_of_the_last_unit(shop):
    assert shop.experiment.decides_on == dt.date(2026, 2, 8)
    shop.redefine(KEY, "primary: [conversion]", "primary: [orders_so_far]")
    shop.redefine(KEY, "guardrails:\n  - {metric: latency_ms, margin: 0.1}\n", "")
    # Until 5 February, a day of delay, two of lag, and one in which the last unit can order.
    assert shop.experiment.decides_on == dt.date(2026, 2, 9)
    assert shop.experiment.metrics["orders_so_far"].maturity_days == 3


def test_a_primary_one_decides_once(shop):
    shop.redefine(KEY, "primary: [conversion]", "primary: [spend_so_far]")
    shop.redefine(KEY, "secondary: [revenue_per_user, spend_so_far]", "secondary: [conversion]")
    shop.change("UPDATE purchases SET amount_usd = 500 + amount_usd WHERE unit_id IN "
                "(SELECT unit_id FROM exposures WHERE variant = 'treatment')")  # fmt: skip
    early = results.read_json(shop.run(dt.date(2026, 2, 7)) / "results.json")
    assert early["verdicts"][0]["verdict"] == "keep_running" and early["outlook"] == []
    final = results.read_json(shop.run() / "results.json")
    assert final["metrics"][0]["comparisons"][0]["reading"] == "better"
    by_platform = {row["value"]: row["comparisons"][0]["reading"] for row in final["segments"]}
    assert by_platform["android"] == by_platform["ios"] == "better"


def test_units_that_had_less_time_are_not_told_to_lack_rows(shop):
    metric = shop.experiment.metrics["conversion"]
    day = {"metric": "conversion", "segment": None, "variant": "control"}
    moments = [{**day, "exposed_on": dt.date(2026, 2, n), "units": 1000, "n": 1000, "mean": 0.02 if n == 9 else 0.3}
               for n in range(2, 10)]  # fmt: skip
    (found,) = join_findings(replace(shop.experiment, metrics={"conversion": metric}), moments)
    assert found["exposed_on"] == "2026-02-09"
    open_one = replace(metric, window_days=None)
    assert join_findings(replace(shop.experiment, metrics={"conversion": open_one}), moments) == []


def test_a_night_waits_for_days_that_an_open_window_still_counts(shop):
    shop.change("DELETE FROM load_log WHERE source = 'purchases' AND data_on = DATE '2026-02-07'")
    with connect(shop.warehouse) as warehouse:
        (waiting,) = outcomes_ready(shop.experiment, AS_OF, warehouse)
    assert waiting.source == "purchases"


def test_a_definition_that_a_night_keeps_is_the_same(shop):
    kept = experiment_from_json(json.loads(json.dumps(shop.experiment.as_json())))
    assert kept == shop.experiment and kept.metrics["spend_so_far"].is_open


def test_both_sides_of_a_ratio_count_up_to_one_day(shop):
    path = shop.definitions / "metrics.yaml"
    path.write_text(path.read_text() + "each: {title: Each, kind: ratio, numerator: spend_so_far, "
                    "denominator: orders_so_far, better: higher}\n")  # fmt: skip
    shop.redefine(KEY, "revenue_per_user, spend_so_far]", "revenue_per_user, spend_so_far, each]")
    each = shop.experiment.metrics["each"]
    assert [part.lag_days for part in each.parts] == [2, 2] and each.maturity_days == 3
    (entry,) = [row for row in night_of(shop).exposure["maturity"] if row["metric"] == "each"]
    assert entry["counted_before"] == "2026-02-06"
    with connect(shop.warehouse) as warehouse:
        assert verify(shop.experiment, AS_OF, warehouse, shop.results).problems == ()


WRONG = {
    "guardrail": (
        (KEY, "{metric: latency_ms, margin: 0.1}", "{metric: orders_so_far, margin: 0.1}"),
        "checkout.yaml:12: guardrails[0].metric is 'orders_so_far', whose window_days is open, but harm is read on "
        "every night; take a metric with a window.",
    ),
    "primary with looks": (
        (KEY, "primary: [conversion]", "primary: [orders_so_far]\nlooks: obrien_fleming\nminimum_days: 1"),
        "checkout.yaml:8: primary has 'orders_so_far', whose window_days is open, so that its units are followed for "
        "different times; leave looks out, or take one with a window.",
    ),
    "activation": (
        (KEY, "primary: [conversion]", "primary: [conversion]\nactivation: loads"),
        "checkout.yaml:9: activation is 'loads', which is not a metric of metrics.yaml of kind proportion",
    ),
    "one side of a ratio": (
        ("metrics", "loads: {", "each: {title: E, kind: ratio, numerator: loads, denominator: orders_so_far, "
         "better: lower}\nloads: {"),
        "metrics.yaml:15: each.denominator is 'orders_so_far', whose window_days is open, and the other side has a "
        "window; take two that are open, or none.",
    ),
    "cap by a quantile": (
        ("metrics", "delay_days: 1, lag_days: 2, ", "cap: {quantile: 0.99}, "),
        "metrics.yaml:14: orders_so_far.cap is a quantile, but window_days is open, so that no time before the "
        "experiment is as long; give cap as a number.",
    ),
    "retention": (
        ("metrics", "kind: count, source: purchases, window_days: open", "kind: retention, source: purchases, "
         "window_days: open"),
        "metrics.yaml:14: orders_so_far.window_days is open, but a retention asks who came back within some days; give "
        "their number.",
    ),
    "another word": (
        ("metrics", "window_days: open, delay_days", "window_days: opened, delay_days"),
        "metrics.yaml:14: orders_so_far.window_days is 'opened'; it must be a whole number, or open.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_an_open_window_where_it_must_not_be_is_refused_at_its_line(shop, change, says):
    shop.redefine(*change)
    with pytest.raises(DefinitionError) as caught:
        shop.experiment  # noqa: B018
    lines = str(caught.value).replace(f"{shop.definitions}/", "").split("\n")
    assert any(line.startswith(says) for line in lines), lines
