"""Caps that a quantile of units' totals before the experiment fixes: the same on every night, whatever comes later."""

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
from abtest_lib.caps import fixed_caps
from abtest_lib.collection import forget_sources, read_night, recompute_night
from abtest_lib.definitions import NightLimit, experiment_from_json, load_experiment
from abtest_lib.errors import DataError
from abtest_lib.queries import NightQueries
from abtest_lib.state.limits import left_out
from abtest_lib.state.store import readings
from abtest_lib.verify import verify
from abtest_lib.warehouse import connect

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "results.schema.json").read_text())
NIGHTS = [dt.date(2026, 2, day) for day in (5, 6, 7, 8)]
RATIO = """
orders: {title: Orders, kind: count, source: purchases, window_days: 1, better: higher, cap: {quantile: 0.8}}
per_order: {title: Spend an order, kind: ratio, numerator: revenue_per_user, denominator: orders, better: higher}
"""
# 97 rows of 50 units in the two days before the experiment, one of earlier, and one without a unit.
BEFORE = """INSERT INTO purchases
    SELECT 'u' || (i * 7 % 50), TIMESTAMP '2026-01-31 00:00' + to_minutes((i * 29)::INTEGER),
        TIMESTAMP '2026-02-02 01:00', 3 + i * 37 % 41 + i % 9 / 7
    FROM range(97) AS r (i)
    UNION ALL SELECT 'u1', TIMESTAMP '2026-01-30 23:59:59', TIMESTAMP '2026-01-31 03:00', 5000
    UNION ALL SELECT NULL, TIMESTAMP '2026-02-01 10:00', TIMESTAMP '2026-02-01 11:00', 5000"""


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.change(BEFORE)
    shop.redefine("metrics", "value: amount_usd, ", "value: amount_usd, cap: {quantile: 0.9}, ")
    path = shop.definitions / "metrics.yaml"
    path.write_text(path.read_text() + RATIO)
    shop.redefine(KEY, "secondary: [revenue_per_user]", "secondary: [revenue_per_user, per_order]")
    return shop


def raw_quantile(shop, value="SUM(amount_usd)", share=0.9, days=2, known_by="2026-02-02 03:00"):
    """By numpy, from what was loaded by a time."""
    with duckdb.connect(str(shop.warehouse), read_only=True) as source:
        totals = source.execute(f"""SELECT {value} AS total FROM purchases
            WHERE occurred_at >= TIMESTAMP '2026-02-02' - INTERVAL {days} DAY AND occurred_at < TIMESTAMP '2026-02-02'
                AND loaded_at <= TIMESTAMP '{known_by}' AND unit_id IS NOT NULL
            GROUP BY unit_id""").fetchnumpy()["total"]  # noqa: S608
    return np.quantile(totals.astype(float), share, method="inverted_cdf"), len(totals)


def caps_of(shop, as_of=AS_OF, folder=None):
    """By metric, the caps of a night of the state."""
    with connect(shop.warehouse) as warehouse:
        night = read_night(shop.experiment, as_of, warehouse, folder or shop.results)
    return {cap["metric"]: cap["cap"] for row in night.exposure["maturity"] for cap in row.get("caps", ())}


def asked(shop):
    """How often the warehouse was asked for caps: readings that brought no days."""
    return sum(row["source"] == "purchases" and not row["days"] for row in readings(shop.results))


def message_of(shop):
    with pytest.raises(DataError) as caught:
        shop.collect()
    return str(caught.value)


def test_the_cap_is_the_quantile_of_totals_before_the_experiment(shop):
    night = shop.run()
    document = results.read_json(night / "results.json")
    maturity = {row["metric"]: row for row in document["maturity"]}
    (cap,) = maturity["revenue_per_user"]["caps"]
    value, units = raw_quantile(shop)
    assert cap == {"metric": "revenue_per_user", "cap": pytest.approx(value, rel=1e-11), "cap_quantile": 0.9,
                   "from_on": "2026-01-31", "before_on": "2026-02-02", "units": units}  # fmt: skip
    assert units == 50
    spend, orders = maturity["per_order"]["caps"]
    assert spend == cap
    assert (orders["cap"], orders["from_on"]) == (raw_quantile(shop, "COUNT(*)", 0.8, days=1)[0], "2026-02-01")
    assert not list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(document))
    assert "caps" not in maturity["conversion"]


def test_units_above_the_cap_count_as_it(shop):
    value, _ = raw_quantile(shop)
    shop.change("UPDATE purchases SET amount_usd = 9000 WHERE unit_id IN ('u0', 'u2', 'u1') "
                "AND occurred_at >= DATE '2026-02-02'")  # fmt: skip
    with connect(shop.warehouse) as warehouse:
        night = read_night(shop.experiment, AS_OF, warehouse, shop.results)
    with duckdb.connect(str(shop.warehouse), read_only=True) as source:
        spent = source.execute("""SELECT variant, COALESCE(SUM(amount_usd), 0) AS spent
            FROM exposures LEFT JOIN purchases USING (unit_id)
            WHERE occurred_at IS NULL OR occurred_at >= exposed_at AND occurred_at < exposed_at + INTERVAL 2 DAY
            GROUP BY variant, unit_id""").fetchnumpy()  # fmt: skip
    rows = [row for row in night.moments if row["metric"] == "revenue_per_user" and row["segment"] is None]
    total = sum(row["n"] * row["mean"] for row in rows)
    assert total == pytest.approx(np.minimum(spent["spent"], value).sum(), rel=1e-12)
    (capped,) = [row["capped"] for row in night.exposure["maturity"] if row["metric"] == "revenue_per_user"]
    assert capped == {name: int((spent["spent"][spent["variant"] == name] > value).sum()) for name in capped}
    assert sum(capped.values()) >= 3


def test_every_night_has_the_same_cap_in_any_order_and_asks_once(shop, tmp_path):
    first = caps_of(shop, NIGHTS[0])
    assert asked(shop) == 1, "one statement for both metrics"
    late = "INSERT INTO purchases VALUES ('u7', TIMESTAMP '2026-02-01 10:00', TIMESTAMP '{}', 700000)"
    for as_of in NIGHTS[1:]:
        shop.change(late.format(f"{as_of - dt.timedelta(days=1)} 05:00"), "UPDATE exposures SET variant = variant")
        assert caps_of(shop, as_of) == first
    assert asked(shop) == 1
    for as_of in reversed(NIGHTS):
        assert caps_of(shop, as_of, tmp_path / "elsewhere") == first
        with connect(shop.warehouse) as warehouse:
            (spend,) = recompute_night(shop.experiment, as_of, warehouse).exposure["maturity"][1]["caps"]
            assert spend["cap"] == first["revenue_per_user"]
            assert verify(shop.experiment, as_of, warehouse, shop.results).problems == ()


def test_what_the_question_costs_is_counted_and_says_nothing_of_the_cost_of_rows(shop):
    limited = replace(shop.experiment, night_limit=NightLimit(seconds=30))
    with connect(shop.warehouse) as warehouse:
        night = read_night(limited, AS_OF, warehouse, shop.results)
    (found,) = [row for row in readings(shop.results) if row["source"] == "purchases" and not row["days"]]
    assert (found["rows"], found["experiment"]) == (0, KEY) and found["bytes"] > 0
    assert night.readings[0].source == "purchases"
    # A source that nobody has read but for its caps: a million rows take a second, as far as anybody knows.
    slow = [{**found, "seconds": 20.0}]
    assert left_out(limited, AS_OF, {"purchases": 1_000_000, "page_loads": 0}, slow) == []


def test_rows_in_the_experiment_do_not_move_the_cap(shop):
    before = caps_of(shop)
    shop.change("UPDATE purchases SET amount_usd = amount_usd * 100, loaded_at = loaded_at + INTERVAL 1 MINUTE "
                "WHERE occurred_at >= DATE '2026-02-02'")  # fmt: skip
    assert caps_of(shop) == before


def test_the_first_declaration_of_the_last_day_before_says_which_rows_are_known(shop):
    shop.change("INSERT INTO load_log VALUES ('purchases', DATE '2026-02-01', TIMESTAMP '2026-02-02 00:30')")
    # Without the 97 rows of 01:00 there is nobody left.
    assert "no unit has a row of 'purchases' between 2026-01-31 and 2026-02-02 (exclusive)" in message_of(shop)


def test_days_that_the_loader_declares_again_are_asked_again(shop):
    before = caps_of(shop)["revenue_per_user"]
    shop.change("UPDATE purchases SET amount_usd = amount_usd * 2 WHERE occurred_at < DATE '2026-02-02'")
    assert caps_of(shop)["revenue_per_user"] == before
    shop.change("INSERT INTO load_log VALUES ('purchases', DATE '2026-02-01', TIMESTAMP '2026-03-01 00:00')")
    assert caps_of(shop)["revenue_per_user"] == pytest.approx(2 * before, rel=1e-11)
    with connect(shop.warehouse) as warehouse:
        assert verify(shop.experiment, AS_OF, warehouse, shop.results).problems == ()


def test_reading_again_forgets_the_cap(shop):
    before = caps_of(shop)["revenue_per_user"]
    shop.change("UPDATE purchases SET amount_usd = amount_usd * 2 WHERE occurred_at < DATE '2026-02-02'")
    with connect(shop.warehouse) as warehouse:
        assert any("caps" in problem for problem in verify(shop.experiment, AS_OF, warehouse, shop.results).problems)
        forget_sources(shop.experiment, warehouse, shop.results)
    assert caps_of(shop)["revenue_per_user"] == pytest.approx(2 * before, rel=1e-11)


def test_without_a_load_log_the_hours_say_which_rows_are_known(shop):
    shop.redefine("sources", "load_log: {table: load_log}", "loaded_within_hours: 5")
    shop.change("UPDATE purchases SET loaded_at = TIMESTAMP '2026-02-02 05:00:01' WHERE amount_usd > 30 "
                "AND occurred_at < DATE '2026-02-02'")  # fmt: skip
    value, units = raw_quantile(shop, known_by="2026-02-02 05:00")
    assert caps_of(shop)["revenue_per_user"] == pytest.approx(value, rel=1e-11)
    assert 10 < units < 50


def test_a_source_without_load_times_counts_as_it_stands(shop):
    path = shop.definitions / "sources.yaml"
    path.write_text(path.read_text().replace("occurred_at: occurred_at, loaded_at: loaded_at}",
                                             "occurred_at: occurred_at, look_back_days: 3}"))  # fmt: skip
    early, later = dt.date(2026, 2, 4), NIGHTS[0]  # three days back lead into the period, and do not
    value, _ = raw_quantile(shop, known_by="2026-03-01")
    assert caps_of(shop, early)["revenue_per_user"] == pytest.approx(value, rel=1e-11)
    shop.change("UPDATE purchases SET amount_usd = amount_usd * 2 WHERE occurred_at < DATE '2026-02-02'")
    assert caps_of(shop, later)["revenue_per_user"] == pytest.approx(value, rel=1e-11)
    assert caps_of(shop, early)["revenue_per_user"] == pytest.approx(2 * value, rel=1e-11)


def test_the_report_says_where_the_cap_comes_from(shop):
    said = " ".join((shop.run() / "report.txt").read_text().split())
    value, _ = raw_quantile(shop)
    assert "units above its cap count as the cap (control" in said
    assert (f"The cap is {value:,.6g}, the 0.9 quantile of 50 units with rows from 31 January 2026 to 1 February 2026, "
            "before the experiment.") in said  # fmt: skip
    assert "The cap of Revenue is" in said and "The cap of orders is" in said


PERIOD = "between 2026-01-31 and 2026-02-02 (exclusive)"
REMEDY = "these days fix its cap; give cap as a number, or start later than the source's first day."
BROKEN = {
    "no rows": (
        ["DELETE FROM purchases WHERE occurred_at < DATE '2026-02-02'"],
        [f"metric revenue_per_user: no unit has a row of 'purchases' {PERIOD}, and {REMEDY}",
         "metric orders: no unit has a row of 'purchases' between 2026-02-01 and 2026-02-02 (exclusive), and "
         f"{REMEDY}"],
    ),
    "no entry in the log": (
        ["DELETE FROM load_log WHERE data_on = DATE '2026-02-01'"],
        [f"metric {name}: the load log has no entry of 'purchases' for 2026-02-01, and {REMEDY}"
         for name in ("revenue_per_user", "orders")],
    ),
    "nulls": (
        ["UPDATE purchases SET amount_usd = NULL WHERE unit_id = 'u3' AND occurred_at < DATE '2026-02-02'"],
        [f"metric revenue_per_user: 2 rows of 'purchases' {PERIOD}, which fix its cap, have no amount_usd; set nulls "
         "to drop or zero, load it, or give cap as a number."],
    ),
    "infinite": (
        ["UPDATE purchases SET amount_usd = 'inf' WHERE unit_id = 'u3' AND occurred_at < DATE '2026-02-02'"],
        [f"metric revenue_per_user: 1 units have a value of amount_usd {PERIOD} that is NaN or infinite, and {REMEDY}"],
    ),
    "nothing above 0": (
        ["UPDATE purchases SET amount_usd = 0 WHERE occurred_at < DATE '2026-02-02'"],
        [f"metric revenue_per_user: the 0.9 quantile of 50 units {PERIOD} is 0, which is no cap; it must be above 0. "
         "Give cap as a number."],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "says"), BROKEN.values(), ids=BROKEN)
def test_a_cap_that_cannot_be_fixed_is_refused_with_what_to_do(shop, statements, says):
    shop.change(*statements)
    assert message_of(shop).split("\n") == [f"checkout, 2026-02-08: {line}" for line in says]


def test_a_definition_of_an_older_version_still_loads(shop):
    shop.redefine("metrics", "cap: {quantile: 0.9}", "cap: 250")
    document = shop.experiment.as_json()
    for metric in [*document["metrics"].values(), document["metrics"]["per_order"]["numerator"]]:
        del metric["cap_quantile"]
    found = experiment_from_json(document)
    assert found.metrics["revenue_per_user"] == shop.experiment.metrics["revenue_per_user"]
    assert (found.metrics["revenue_per_user"].cap, found.metrics["revenue_per_user"].cap_quantile) == (250, None)


def test_a_quantile_survives_the_definition_that_a_night_keeps(shop):
    night = shop.run()
    kept = experiment_from_json(results.read_json(night / "definition.json"))
    assert kept == shop.experiment == load_experiment(shop.definitions, KEY)
    assert (kept.metrics["revenue_per_user"].cap, kept.metrics["revenue_per_user"].cap_quantile) == (None, 0.9)


def test_values_of_filters_are_bound(shop):
    shop.change("ALTER TABLE purchases ADD COLUMN status VARCHAR",
                "UPDATE purchases SET status = '''; DROP TABLE purchases; --' WHERE unit_id < 'u3'")  # fmt: skip
    where = 'where: {status: "\'; DROP TABLE purchases; --"}'
    shop.redefine("metrics", "value: amount_usd, ", f"value: amount_usd, {where}, ")
    with connect(shop.warehouse) as warehouse:
        found, _ = fixed_caps(shop.experiment, NightQueries(shop.experiment, AS_OF, warehouse))
    # u0, u1, u2, u10 to u29
    assert found["revenue_per_user"].units == 23
