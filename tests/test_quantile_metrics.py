"""A quantile's whole way: definition, warehouse, bins, reading; against the same from the rows themselves."""

import datetime as dt

import duckdb
import numpy as np
import pyarrow.parquet
import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib import results
from abtest_lib.cells import read_cells, whole_rows
from abtest_lib.definitions import load_catalogue
from abtest_lib.errors import DataError, DefinitionError
from abtest_lib.quantile_bins import histograms
from abtest_lib.replay import replay
from abtest_lib.statistics.quantile_histograms import merge_histograms
from abtest_lib.statistics.quantiles import compare_quantiles, quantile_estimate
from abtest_lib.verify import verify
from abtest_lib.warehouse import connect

METRICS = """
load_p90:
  {title: Slow page loads, kind: quantile, quantile: 0.9, of: event, source: page_loads, value: latency_ms,
   window_days: 2, lag_days: 1, better: lower, unit: ms}
waited_p50:
  {title: Median wait, kind: quantile, quantile: 0.5, of: unit, source: page_loads, value: latency_ms, window_days: 2,
   lag_days: 1, better: lower, unit: ms}
"""
# Page loads of the two days after the exposure.
EVENTS = """
    SELECT variant, unit_id, latency_ms
    FROM page_loads JOIN first_exposures USING (unit_id)
    WHERE occurred_at >= exposed_at AND occurred_at < exposed_at + INTERVAL 2 DAY"""
FIRST = """CREATE VIEW first_exposures AS
    SELECT unit_id, ARG_MIN(variant, exposed_at) AS variant, MIN(exposed_at) AS exposed_at,
        COUNT(DISTINCT variant) > 1 AS crossover
    FROM exposures GROUP BY unit_id"""


@pytest.fixture
def shop(tmp_path):
    """Up to six page loads a unit on a grid of 1 %, so that a bin holds one value; some units are crossovers."""
    shop = Shop(tmp_path)
    shop.change(
        "INSERT INTO page_loads SELECT unit_id, occurred_at + to_minutes(n), loaded_at + to_minutes(n), latency_ms "
        "FROM page_loads, range(1, 3) AS r (n)",
        "UPDATE page_loads SET latency_ms = round(100 * pow(1.01, (hash(unit_id) % 100)::INTEGER + "
        "(hash(unit_id || occurred_at::VARCHAR) % 100)::INTEGER), 6)",
        "DELETE FROM page_loads WHERE hash(occurred_at::VARCHAR || unit_id) % 3 = 0 OR unit_id IN ('u6', 'u7')",
        "INSERT INTO exposures SELECT experiment_id, unit_id, 'control', exposed_at + INTERVAL 1 HOUR, loaded_at "
        "FROM exposures WHERE hash(unit_id) % 20 = 0 AND variant = 'treatment'",
        FIRST,
    )
    path = shop.definitions / "metrics.yaml"
    path.write_text(path.read_text() + METRICS)
    shop.redefine(KEY, "primary: [conversion]", "primary: [load_p90]")
    shop.redefine(KEY, "secondary: [revenue_per_user]", "secondary: [waited_p50]")
    return shop


def rows(shop, sql):
    with duckdb.connect(str(shop.warehouse), read_only=True) as source:
        return source.execute(sql).fetchall()


def estimates(shop, p, sql=EVENTS):
    """Of control and treatment, from the rows themselves."""
    found, everything = [], rows(shop, sql)
    for variant in ("control", "treatment"):
        own = [row for row in everything if row[0] == variant]
        found.append(quantile_estimate([row[2] for row in own], p, units=[row[1] for row in own]))
    return found


def comparison(night, metric, kind="significance"):
    found = results.read_json(night / f"{kind}.json")
    metrics = found["metrics"] if kind == "significance" else found["guardrails"] if isinstance(found, dict) else found
    return next(row for row in metrics if row["metric"] == metric)["comparisons"][0]


def test_a_quantile_of_events_is_that_of_all_rows_clustered_on_the_unit(shop):
    entry, sides = comparison(shop.run(), "load_p90"), estimates(shop, 0.9)
    wanted = compare_quantiles(*sides)
    assert (entry["mean_control"], entry["mean_treatment"]) == (sides[0].quantile, sides[1].quantile)
    assert (entry["n_control"], entry["n_treatment"]) == (sides[0].df + 1, sides[1].df + 1)
    assert entry["effect_interval"] == pytest.approx(wanted.effect_interval, rel=1e-9)
    assert entry["relative_interval"] == pytest.approx(wanted.relative_interval, rel=1e-9)
    assert entry["pvalue"] == pytest.approx(wanted.pvalue, rel=1e-9)
    assert entry["method"].startswith("quantiles with outer intervals clustered on the unit")


def test_a_quantile_of_units_is_that_of_their_totals(shop):
    entry = comparison(shop.run(), "waited_p50")
    # A unit without a page load waited for nothing.
    totals = f"""
        SELECT first_exposures.variant, unit_id, COALESCE(SUM(latency_ms), 0.0)
        FROM first_exposures LEFT JOIN ({EVENTS}) AS events USING (unit_id) GROUP BY ALL"""  # noqa: S608
    sides = estimates(shop, 0.5, totals)
    assert (entry["n_control"], entry["n_treatment"]) == (200, 200) == (sides[0].df + 1, sides[1].df + 1)
    # Of two totals in one bin the quantile may be either.
    assert entry["mean_control"] == pytest.approx(sides[0].quantile, rel=0.0051)
    assert entry["mean_treatment"] == pytest.approx(sides[1].quantile, rel=0.0051)
    assert entry["standard_error"] == pytest.approx(compare_quantiles(*sides).standard_error, rel=0.05)


def test_a_guardrail_on_a_quantile_is_safe_within_its_margin_and_harmful_beyond_it(shop):
    shop.redefine(KEY, "primary: [load_p90]", "primary: [conversion]")
    shop.redefine(KEY, "{metric: latency_ms, margin: 0.1}", "{metric: load_p90, margin: 0.2}")
    control, treatment = estimates(shop, 0.9)
    entry = comparison(shop.run(), "load_p90", "guardrails")
    error = np.hypot(1.2 * control.standard_error, treatment.standard_error)
    # Far from the edge of one-sided 2.5 %, so that degrees of freedom do not matter.
    assert treatment.quantile - 1.2 * control.quantile < -3 * error
    assert entry["outcome"] == "safe"
    assert "quantiles with outer intervals" in entry["method"]
    shop.change(
        "UPDATE page_loads SET latency_ms = latency_ms * 2 WHERE unit_id IN "
        "(SELECT unit_id FROM first_exposures WHERE variant = 'treatment')",
        "INSERT INTO load_log SELECT source, data_on, TIMESTAMP '2026-03-01' FROM load_log",
    )
    assert comparison(shop.run(), "load_p90", "guardrails")["outcome"] == "harmful"


def test_units_seen_in_two_variants_are_left_out_of_the_reading_without_them(shop):
    shop.redefine("metrics", "kind: quantile, quantile: 0.9", "kind: quantile, quantile: 0.8")
    night = shop.run()
    kept = [row for row in whole_rows(read_cells(night / "moments.parquet"), shop.experiment)
            if row["metric"] == "load_p90" and row["variant"] == "treatment" and not row["crossover"]]  # fmt: skip
    loyal = EVENTS + " AND variant = 'treatment' AND NOT crossover"
    found = merge_histograms(histograms(kept))
    assert int(found.events.sum()) == len(rows(shop, loyal)) < len(rows(shop, EVENTS + " AND variant = 'treatment'"))
    assert sum(row["n"] for row in kept) == len({row[1] for row in rows(shop, loyal)})
    assert results.read_json(night / "significance.json")["crossovers"][0]["reading_without_crossovers"]


def test_looks_count_the_units_of_their_days_and_a_replay_says_the_same(shop):
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.05\nlooks: pocock\nminimum_days: 2")
    shop.change("UPDATE page_loads SET latency_ms = latency_ms * 2 WHERE unit_id IN "
                "(SELECT unit_id FROM first_exposures WHERE variant = 'treatment')")  # fmt: skip
    first = AS_OF - dt.timedelta(days=1)
    entries = {as_of: comparison(shop.run(as_of), "load_p90") for as_of in (AS_OF - dt.timedelta(days=2), first, AS_OF)}
    days = EVENTS + " AND exposed_at < TIMESTAMP '2026-02-04'"
    sides = estimates(shop, 0.9, days)
    assert (entries[first]["mean_control"], entries[first]["mean_treatment"]) == tuple(s.quantile for s in sides)
    assert entries[first]["reading"] == "worse" and entries[AS_OF]["stopped"]["on"] == str(first)
    assert entries[AS_OF]["mean_control"] == estimates(shop, 0.9)[0].quantile
    assert {one.line.partition(": ")[2] for one in replay(KEY, shop.results)} == {"the same to the digit"}


def test_segments_are_not_computed_and_the_report_says_why(shop):
    night = shop.run()
    found = results.read_json(night / "segments.json")
    assert {one["not_computed"] for row in found["segments"] for one in row["comparisons"]} == {
        "quantiles are read over all units only"
    }
    assert found["heterogeneity"] == []
    assert "not computed, because quantiles are read over all units only" in (night / "report.txt").read_text()


def test_units_without_an_event_are_not_called_nulls_and_do_not_fail_the_night(shop):
    night = shop.run()
    (entry,) = [row for row in results.read_json(night / "exposure.json")["maturity"] if row["metric"] == "load_p90"]
    assert entry["matured"] == {"control": 200, "treatment": 200}
    assert entry["dropped_nulls"] == {"control": 0, "treatment": 0}
    assert comparison(night, "load_p90")["n_control"] == len({row[1] for row in rows(shop, EVENTS)
                                                              if row[0] == "control"}) < 200  # fmt: skip


def test_a_row_without_a_value_is_refused_or_dropped_as_the_definition_says(shop):
    shop.change("UPDATE page_loads SET latency_ms = NULL WHERE unit_id = 'u2'")
    (count,) = rows(shop, "SELECT COUNT(*) FROM page_loads WHERE latency_ms IS NULL")[0]
    with pytest.raises(DataError, match=f"metric load_p90: {count} rows have no latency_ms"):
        shop.collect()
    shop.redefine("metrics", "kind: quantile,", "kind: quantile, nulls: drop,")
    night = shop.run()
    (entry,) = [row for row in results.read_json(night / "exposure.json")["maturity"] if row["metric"] == "load_p90"]
    assert entry["dropped_nulls"] == {"control": count, "treatment": 0}


def test_a_quantile_that_leaps_by_a_few_rows_is_not_called_different(shop):
    # Less than 90 % of control's rows are below the edge, and more of the treatment's, by a few.
    control, treatment = estimates(shop, 0.9)
    low, high = sorted((control.quantile, treatment.quantile))
    assert low < high
    shop.change(f"UPDATE page_loads SET latency_ms = IF(latency_ms < {high}, 300, 10 * latency_ms)")  # noqa: S608
    entry = comparison(shop.run(), "load_p90")
    assert sorted((entry["mean_control"], entry["mean_treatment"])) == [300, 10 * high]
    assert entry["reading"] == "not_shown" and entry["standard_error"] >= (10 * high - 300) / 2


def test_a_quantile_of_two_values_proves_no_guardrail(shop):
    shop.change("UPDATE page_loads SET latency_ms = CASE WHEN hash(unit_id) % 3 = 0 THEN 900 ELSE 200 END")
    shop.redefine("metrics", "quantile: 0.9", "quantile: 0.3")
    shop.redefine(KEY, "primary: [load_p90]", "primary: [conversion]")
    shop.redefine(KEY, "{metric: latency_ms, margin: 0.1}", "{metric: load_p90, margin: 0.1}")
    entry = comparison(shop.run(), "load_p90", "guardrails")
    assert entry["outcome"] == "not_yet"


def test_a_change_behind_the_nights_back_is_found_in_the_bins(shop):
    shop.collect()
    # As many rows as before, so that the moments, which count them, are equal.
    shop.change("UPDATE page_loads SET latency_ms = latency_ms * 1.5 WHERE unit_id = 'u0'")
    metrics = load_catalogue(shop.definitions).metrics.values()
    with connect(shop.warehouse) as warehouse:
        problems = verify(shop.experiment, AS_OF, warehouse, shop.results, metrics).problems
    of_events = [problem for problem in problems if problem.startswith("load_p90")]
    assert of_events and all("quantile_" in problem for problem in of_events)


def test_totals_that_only_rounding_keeps_from_zero_are_equal_for_verify(shop):
    # 0.1 + 0.2 - 0.3 is 5.6e-17 or 0 by the order in which it is added up.
    shop.change(
        "DELETE FROM page_loads WHERE unit_id = 'u4'",
        "INSERT INTO page_loads SELECT unit_id, exposed_at + to_minutes(n), loaded_at, value FROM exposures, "
        "(VALUES (3, 0.1), (2, 0.2), (1, -0.3)) AS v (n, value) WHERE unit_id = 'u4'",
    )
    with connect(shop.warehouse) as warehouse:
        assert verify(shop.experiment, AS_OF, warehouse, shop.results).problems == ()


def test_other_experiments_keep_no_bins(tmp_path):
    shop = Shop(tmp_path)
    names = pyarrow.parquet.read_schema(shop.collect() / "moments.parquet").names
    assert not [name for name in names if name.startswith("quantile")]


def test_an_interim_night_shows_the_quantile_and_tests_nothing(shop):
    night = shop.run(dt.date(2026, 2, 6))
    assert comparison(night, "load_p90")["reading"] == "interim"


def test_a_ratio_of_quantiles_is_refused(shop):
    path = shop.definitions / "metrics.yaml"
    path.write_text(path.read_text() + "both: {title: Both, kind: ratio, numerator: load_p90, "
                                       "denominator: revenue_per_user, better: lower}\n")  # fmt: skip
    with pytest.raises(DefinitionError, match=r"both\.numerator is 'load_p90', which is not a metric"):
        assert shop.experiment


def test_excluded_units_and_those_not_activated_have_no_part_in_a_quantile(shop):
    path = shop.definitions / "sources.yaml"
    path.write_text(path.read_text() + "exclusions:\n  bots: {table: bots, unit: unit_id}\n")
    shop.redefine(KEY, "notify:", "exclude: [bots]\nactivation: conversion\nnotify:")
    shop.change(
        "CREATE TABLE bots AS SELECT 'u' || 7 * range AS unit_id FROM range(50)",
        # As many buyers in either variant, within an hour of the exposure, between their page loads.
        "DELETE FROM purchases",
        "INSERT INTO purchases SELECT unit_id, exposed_at + to_minutes((hash(unit_id) % 50)::INTEGER) AS occurred_at, "
        "occurred_at, 10 FROM first_exposures WHERE substr(unit_id, 2)::INTEGER // 2 % 4 > 0",
    )
    entry = comparison(shop.run(), "load_p90")
    counted = """
        SELECT variant, unit_id, latency_ms
        FROM page_loads JOIN first_exposures USING (unit_id)
            JOIN (SELECT unit_id, MIN(occurred_at) AS bought_at FROM purchases GROUP BY ALL) AS buyers USING (unit_id)
        WHERE page_loads.occurred_at >= bought_at AND page_loads.occurred_at < bought_at + INTERVAL 2 DAY
            AND bought_at < exposed_at + INTERVAL 2 DAY AND unit_id NOT IN (FROM bots)"""
    sides = estimates(shop, 0.9, counted)
    assert (entry["n_control"], entry["n_treatment"]) == (sides[0].df + 1, sides[1].df + 1)
    assert (entry["mean_control"], entry["mean_treatment"]) == (sides[0].quantile, sides[1].quantile)
    metrics = load_catalogue(shop.definitions).metrics.values()
    with connect(shop.warehouse) as warehouse:
        assert verify(shop.experiment, AS_OF, warehouse, shop.results, metrics).problems == ()
