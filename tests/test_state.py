"""What nights keep is always equal to a computation from the raw tables, whatever happens to data and nights."""

import datetime as dt
import json
import multiprocessing
import os
import random

import duckdb
import pytest
from small_shop import AS_OF, KEY, Shop, run_together

from abtest_lib import definitions, results
from abtest_lib.collection import forget_sources, read_night
from abtest_lib.errors import DataError
from abtest_lib.state import store, totals
from abtest_lib.state.store import FOLDER
from abtest_lib.verify import verify
from abtest_lib.warehouse import connect
from tests.engines import ENGINES, copy_tables, postgresql_url, snowflake, spark  # noqa: F401

NIGHTS = [dt.date(2026, 2, day) for day in range(3, 9)]
SIDES = """
waited_ms:
  {title: Waited, kind: mean, source: page_loads, value: latency_ms, window_days: 2, lag_days: 1, better: lower,
   nulls: zero}
slow_loads:
  {title: Slow, kind: count, source: page_loads, where: {slow: true}, window_days: 1, lag_days: 0, better: lower}
ms_per_order: {title: Wait for an order, kind: ratio, numerator: waited_ms, denominator: orders, better: lower}
orders: {title: Orders, kind: count, source: purchases, window_days: 3, lag_days: 0, better: higher}
came_back:
  {title: Came back, kind: retention, source: page_loads, delay_days: 1, window_days: 2, lag_days: 1, better: higher}
capped_spend:
  {title: Capped, kind: mean, source: purchases, value: amount_usd, cap: 22.5, window_days: 2, lag_days: 0,
   better: higher, nulls: drop, covariate: customers.age}
usual_spend:
  {title: Usual, kind: mean, source: purchases, value: amount_usd, cap: {quantile: 0.8}, window_days: 2, lag_days: 1,
   better: higher, nulls: drop}
spend_so_far:
  {title: Spend so far, kind: mean, source: purchases, value: amount_usd, window_days: open, lag_days: 1,
   better: higher, nulls: drop, covariate: customers.age}
loads_so_far:
  {title: Loads so far, kind: count, source: page_loads, where: {slow: true}, delay_days: 1, window_days: open,
   lag_days: 1, better: lower}
slow_so_far: {title: Slow so far, kind: ratio, numerator: loads_so_far, denominator: orders_so_far, better: lower}
orders_so_far: {title: Orders so far, kind: count, source: purchases, window_days: open, lag_days: 2, better: higher}
per_order: {title: Spend an order, kind: ratio, numerator: capped_spend, denominator: orders, better: higher}
load_p90:
  {title: 90th percentile of a load, kind: quantile, quantile: 0.9, of: event, source: page_loads, value: latency_ms,
   where: {slow: true}, window_days: 2, lag_days: 1, better: lower, nulls: drop}
load_p50:
  {title: Median load, kind: quantile, quantile: 0.5, of: event, source: page_loads, value: latency_ms, window_days: 1,
   lag_days: 0, better: lower, nulls: zero}
spend_p75:
  {title: Upper quartile of spend, kind: quantile, quantile: 0.75, of: unit, source: purchases, value: amount_usd,
   window_days: 2, lag_days: 0, better: higher, nulls: drop}
usual_load:
  {title: Median of mean loads, kind: quantile, quantile: 0.5, of: unit, aggregate: mean, source: page_loads,
   value: latency_ms, window_days: 3, lag_days: 0, better: lower, nulls: drop}
spent:
  {title: Spent, kind: mean, source: purchases, value: amount_usd, window_days: 1, lag_days: 1, better: higher,
   covariate: customers.age, nulls: drop}
"""


@pytest.fixture
def shop(tmp_path):
    """The shop with a metric of every kind."""
    shop = Shop(tmp_path)
    shop.change(
        "ALTER TABLE page_loads ADD COLUMN slow BOOLEAN",
        "UPDATE page_loads SET slow = latency_ms > 115",
        "ALTER TABLE customers ADD COLUMN age INTEGER",
        "UPDATE customers SET age = 20 + substr(unit_id, 2)::INTEGER % 37 WHERE unit_id <> 'u3'",
        """INSERT INTO purchases SELECT 'u' || 100 + i % 31, TIMESTAMP '2026-01-31 07:00' + to_hours(i::INTEGER),
            TIMESTAMP '2026-02-02 01:00', 9 + i * 7 % 32 / 3 FROM range(40) AS r (i)""",
    )
    path = shop.definitions / "metrics.yaml"
    path.write_text(path.read_text() + SIDES)
    names = "waited_ms, slow_loads, ms_per_order, came_back, spent, capped_spend, usual_spend, per_order, "
    names += "spend_so_far, slow_so_far, load_p90, load_p50, spend_p75, usual_load"
    shop.redefine(KEY, "secondary: [revenue_per_user]", f"secondary: [revenue_per_user, {names}]")
    shop.redefine("metrics", "value: amount_usd, window_days: 2", "value: amount_usd, nulls: drop, window_days: 2")
    return shop


def checked(shop, as_of=AS_OF, location=None):
    """Verify a night; how many rows of moments there were."""
    metrics = definitions.load_catalogue(shop.definitions).metrics.values()
    with connect(location or shop.warehouse) as warehouse:
        found = verify(shop.experiment, as_of, warehouse, shop.results, metrics)
    assert found.problems == (), as_of
    return found.rows


def a_time(rng):
    return f"TIMESTAMP '2026-02-0{rng.randrange(2, 9)} {rng.randrange(24):02}:{rng.randrange(60):02}:00'"


def late_purchase(rng):
    unit, hours = f"u{rng.randrange(410)}", rng.choice((1, 3, 20, 30, 60, 100))
    return [f"INSERT INTO purchases SELECT '{unit}', moment, moment + INTERVAL {hours} HOUR, {rng.random() * 100} "
            f"FROM (SELECT {a_time(rng)} AS moment)"]  # fmt: skip


def late_exposure(rng):
    unit, variant = f"u{rng.randrange(420)}", rng.choice(("control", "treatment"))
    return [f"INSERT INTO exposures SELECT 'checkout', '{unit}', '{variant}', moment, "
            f"moment + INTERVAL {rng.choice((1, 3, 20, 50))} HOUR FROM (SELECT {a_time(rng)} AS moment)"]  # fmt: skip


def duplicates(rng):
    return [f"INSERT INTO purchases SELECT * FROM purchases WHERE unit_id = 'u{rng.randrange(400)}'"]


def exposed_earlier(rng):
    return [f"UPDATE exposures SET exposed_at = exposed_at - INTERVAL 9 HOUR WHERE unit_id = 'u{rng.randrange(400)}'"]


def row_without_value(rng):
    return [f"INSERT INTO page_loads SELECT 'u{rng.randrange(400)}', moment, moment + INTERVAL 2 HOUR, NULL, NULL "
            f"FROM (SELECT {a_time(rng)} AS moment)"]  # fmt: skip


def moved_segment(rng):
    return [f"UPDATE customers SET platform = 'web', age = NULL WHERE unit_id = 'u{rng.randrange(400)}'"]


def deleted(rng):
    return [f"DELETE FROM page_loads WHERE unit_id = 'u{rng.randrange(400)}'"]


def restated(rng):
    return [f"UPDATE purchases SET amount_usd = amount_usd * 3, occurred_at = occurred_at - INTERVAL 1 HOUR "
            f"WHERE unit_id = 'u{rng.randrange(400)}'"]  # fmt: skip


# What the loader puts right it declares again, some time later.
DECLARED = """INSERT INTO load_log
    SELECT source, day::DATE, TIMESTAMP '2026-03-01' + to_minutes((SELECT COUNT(*) FROM load_log)::INTEGER)
    FROM unnest(['assignments', 'purchases', 'page_loads']) AS s (source),
        range(TIMESTAMP '2026-02-01', TIMESTAMP '2026-02-09', INTERVAL 1 DAY) AS d (day)"""
CHANGES = (
    late_purchase,
    late_exposure,
    duplicates,
    exposed_earlier,
    row_without_value,
    moved_segment,
    deleted,
    restated,
)


@pytest.mark.parametrize("seed", range(12))
def test_random_changes_and_nights_in_any_order_are_equal_to_recomputation(shop, seed):
    rng, rows = random.Random(seed), 0
    for _ in range(5):
        changes = [rng.choice(CHANGES)(rng) for _ in range(rng.randrange(4))]
        shop.change(*(statement for change in changes for statement in change), DECLARED)
        rows += checked(shop, rng.choice(NIGHTS))
    assert rows + checked(shop) > 100


@pytest.mark.parametrize("seed", range(4))
def test_late_rows_alone_need_no_word_from_the_loader(shop, seed):
    """Night after night; each row that comes late has a load time after the night that missed it."""
    rng = random.Random(seed)
    for as_of in NIGHTS:
        checked(shop, as_of)
        loaded_at = f"TIMESTAMP '{as_of} 05:00:00'"
        for _ in range(5):
            occurred_at = f"TIMESTAMP '{as_of}' - INTERVAL {rng.randrange(1, 48)} HOUR"
            unit = f"u{rng.randrange(400)}"
            shop.change(f"INSERT INTO purchases VALUES ('{unit}', {occurred_at}, {loaded_at}, {rng.random()})")
            shop.change(f"INSERT INTO exposures VALUES ('checkout', '{unit}', 'control', {occurred_at}, {loaded_at})")
    for as_of in rng.sample(NIGHTS, len(NIGHTS)):
        checked(shop, as_of)


def test_the_digits_do_not_depend_on_which_nights_ran_before(shop, tmp_path):
    rng = random.Random(5)
    shop.change(
        "UPDATE purchases SET amount_usd = amount_usd / 7 + 0.1", "UPDATE page_loads SET latency_ms = latency_ms / 3"
    )
    metrics = definitions.load_catalogue(shop.definitions).metrics.values()
    for as_of in NIGHTS:
        checked(shop, as_of)
        late = f"TIMESTAMP '{as_of}' - INTERVAL {rng.randrange(1, 40)} HOUR, TIMESTAMP '{as_of} 05:00:00'"
        shop.change(f"INSERT INTO purchases SELECT unit_id, {late}, amount_usd / 3 FROM purchases WHERE unit_id < 'u2'")
    with connect(shop.warehouse) as warehouse:
        grown = read_night(shop.experiment, AS_OF, warehouse, shop.results, metrics)
        at_once = read_night(shop.experiment, AS_OF, warehouse, tmp_path / "elsewhere", metrics)
    assert grown.moments == at_once.moments
    assert grown.exposure == at_once.exposure


def test_a_row_restated_in_place_with_a_new_load_time_counts_once(shop):
    checked(shop, NIGHTS[-2])
    shop.change("UPDATE purchases SET amount_usd = 1000, loaded_at = TIMESTAMP '2026-02-07 12:00' WHERE unit_id = 'u0'")
    checked(shop)


def test_a_unit_that_was_exposed_before_a_late_row_says_moves_to_its_earlier_day(shop):
    checked(shop, NIGHTS[-2])
    shop.change("INSERT INTO exposures VALUES ('checkout', 'u4', 'treatment', TIMESTAMP '2026-02-02 01:00', "
                "TIMESTAMP '2026-02-07 12:00')")  # fmt: skip
    checked(shop)
    checked(shop, NIGHTS[-2])


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "duckdb"])
def test_other_engines_are_read_to_the_same_moments(shop, engine, request):
    location = ENGINES[engine](request)
    rng = random.Random(engine)
    for as_of in (AS_OF - dt.timedelta(days=1), AS_OF):
        copy_tables(shop.warehouse, location)
        assert checked(shop, as_of, location) > 0
        shop.change(*late_purchase(rng), *restated(rng), *late_exposure(rng), *moved_segment(rng), DECLARED)
    copy_tables(shop.warehouse, location)
    with connect(location) as there, connect(shop.warehouse) as here:
        one, other = (read_night(shop.experiment, AS_OF, source, shop.results) for source in (there, here))
    assert one.exposure == other.exposure


def killed_at(shop, number):
    """Collect in a process that dies, as by a kill, when it is about to put its file of this number in place."""
    process = multiprocessing.get_context("spawn").Process(target=collect_and_die, args=(shop.warehouse.parent, number))
    process.start()
    process.join(120)
    return process.exitcode


def collect_and_die(folder, number):
    shop = Shop.at(folder)
    replace, left = os.replace, [number]

    def dying(*paths):
        left[0] -= 1
        if not left[0]:
            os._exit(9)
        replace(*paths)

    os.replace = dying
    shop.collect()


@pytest.mark.parametrize("number", [1, 2, 5, 12, 20, 30])
def test_a_night_that_was_killed_leaves_a_state_that_the_next_one_completes(shop, number):
    checked(shop, NIGHTS[2])
    shop.change(*late_purchase(random.Random(number)), DECLARED)
    assert killed_at(shop, number) == 9
    checked(shop)
    checked(shop, NIGHTS[2])


def test_two_nights_at_once_share_a_state(shop):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    both = [context.Process(target=run_together, args=(shop.warehouse.parent, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(180)
    assert [process.exitcode for process in both] == [0, 0]
    checked(shop)
    reads = [line for path in (shop.results / FOLDER).glob("*/reads.jsonl") for line in path.read_text().splitlines()]
    days = [(row["source"], day) for row in map(json.loads, reads) for day in row["days"] if not row["late"]]
    assert len(days) == len(set(days)), "a day of a source was read twice"


def test_a_night_reads_what_is_new_and_the_next_experiment_nothing(shop):
    (shop.definitions / "other.yaml").write_text((shop.definitions / f"{KEY}.yaml").read_text())
    shop.change("INSERT INTO exposures SELECT 'other', * EXCLUDE (experiment_id) FROM exposures")
    metrics = list(definitions.load_catalogue(shop.definitions).metrics.values())
    read = {}
    with connect(shop.warehouse) as warehouse:
        for key in (KEY, "other"):
            for as_of in (AS_OF - dt.timedelta(days=1), AS_OF):
                experiment = definitions.load_experiment(shop.definitions, key)
                night = read_night(experiment, as_of, warehouse, shop.results, metrics)
                read[key, as_of] = [(one.source, one.days) for one in night.readings if one.days]
    # The last windows of mature units end on 7 February, of page loads the open one.
    assert read[KEY, AS_OF] == [("assignments", ["2026-02-07"]), ("purchases", ["2026-02-07"]),
                                ("page_loads", ["2026-02-07"])]  # fmt: skip
    assert read["other", AS_OF] == read["other", AS_OF - dt.timedelta(days=1)] == []


def test_a_source_without_load_times_is_read_again_as_far_as_its_look_back(shop):
    path = shop.definitions / "sources.yaml"
    path.write_text(path.read_text().replace("loaded_at: loaded_at}", "look_back_days: 3}"))
    for name in ("purchases", "page_loads", "exposures"):
        shop.change(f"ALTER TABLE {name} DROP COLUMN loaded_at")
    checked(shop, dt.date(2026, 2, 6))
    shop.change("DELETE FROM purchases WHERE occurred_at::DATE = '2026-02-04' AND unit_id < 'u3'")
    checked(shop, dt.date(2026, 2, 6))
    checked(shop)


def test_what_the_look_back_does_not_reach_is_found_by_verify_and_mended_by_reading_again(shop):
    checked(shop)
    shop.change("UPDATE purchases SET amount_usd = 5000 WHERE unit_id = 'u0'")
    metrics = definitions.load_catalogue(shop.definitions).metrics.values()
    with connect(shop.warehouse) as warehouse:
        found = verify(shop.experiment, AS_OF, warehouse, shop.results, metrics)
        assert any("revenue_per_user" in problem for problem in found.problems)
        forget_sources(shop.experiment, warehouse, shop.results)
    checked(shop)


def test_a_changed_metric_is_computed_anew_beside_the_old_one(shop):
    first = shop.run()
    shop.redefine(
        "metrics", "aggregate: mean, nulls: drop, window_days: 2", "aggregate: mean, nulls: drop, window_days: 1"
    )
    second = shop.run()
    assert second != first and first.is_dir()
    checked(shop)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "ALTER TABLE purchases ALTER amount_usd TYPE VARCHAR; INSERT INTO purchases VALUES ('u1', "
            "TIMESTAMP '2026-02-06 10:00', TIMESTAMP '2026-02-07 12:00', 'much')",
            "Could not convert string 'much' to DOUBLE",
        ),
        ("DROP TABLE purchases", "table 'purchases' does not exist"),
        ("ALTER TABLE page_loads RENAME latency_ms TO latency", "has no column 'latency_ms'; did you mean 'latency'?"),
    ],
)
def test_a_table_that_changed_under_the_state_is_named_and_the_state_stays_good(shop, statement, says):
    checked(shop, NIGHTS[-2])
    before = shop.warehouse.read_bytes()
    shop.change(statement)
    with pytest.raises(DataError, match=says.replace("?", r"\?")):
        shop.collect()
    shop.warehouse.write_bytes(before)
    checked(shop)


def test_a_column_that_becomes_a_text_of_numbers_is_read_as_before(shop):
    checked(shop, NIGHTS[-2])
    shop.change("ALTER TABLE purchases ALTER amount_usd TYPE VARCHAR")
    checked(shop)


def test_unit_ids_that_are_numbers_in_one_table_are_the_texts_of_another(shop):
    for table in ("exposures", "purchases", "page_loads", "customers"):
        shop.change(f"UPDATE {table} SET unit_id = substr(unit_id, 2)")
    shop.change("ALTER TABLE purchases ALTER unit_id TYPE INTEGER")
    assert checked(shop) > 0


def test_times_with_and_without_a_zone_may_be_mixed(shop):
    shop.change("ALTER TABLE purchases ALTER occurred_at TYPE TIMESTAMPTZ USING occurred_at AT TIME ZONE 'UTC'")
    assert checked(shop) > 0


def test_bad_rows_of_another_experiment_stop_that_one_alone(shop):
    (shop.definitions / "other.yaml").write_text((shop.definitions / f"{KEY}.yaml").read_text())
    shop.change("INSERT INTO exposures SELECT 'other', * EXCLUDE (experiment_id) FROM exposures",
                "UPDATE exposures SET exposed_at = NULL WHERE experiment_id = 'other' AND unit_id = 'u7'")  # fmt: skip
    checked(shop)
    other = definitions.load_experiment(shop.definitions, "other")
    with connect(shop.warehouse) as warehouse, pytest.raises(DataError, match="1 row of 'exposures' has no exposed_at"):
        read_night(other, AS_OF, warehouse, shop.results)
    shop.change("UPDATE exposures SET exposed_at = TIMESTAMP '2026-02-02 10:00:07' WHERE exposed_at IS NULL")
    with connect(shop.warehouse) as warehouse:
        assert verify(other, AS_OF, warehouse, shop.results).problems == ()


def test_rows_that_were_mended_after_a_refusal_are_read(shop):
    shop.change(
        "INSERT INTO purchases VALUES ('u0', TIMESTAMP '2026-02-02 15:00', TIMESTAMP '2026-02-02 16:00', 'nan')"
    )
    with pytest.raises(DataError, match="NaN or infinite"):
        shop.collect()
    shop.change("UPDATE purchases SET amount_usd = 20 WHERE isnan(amount_usd)")
    checked(shop)


def test_files_that_no_record_uses_are_removed_a_day_later(shop, monkeypatch):
    checked(shop)
    (folder,) = (shop.results / FOLDER).iterdir()
    before = set(folder.glob("sources/purchases-*/*.parquet"))
    (folder / "new" / "half").mkdir(parents=True)
    os.utime(folder / "new" / "half", (0, 0))
    shop.change("UPDATE purchases SET amount_usd = amount_usd + 1", DECLARED)
    checked(shop)
    assert before < set(folder.glob("sources/purchases-*/*.parquet")), "another night may be reading them"
    assert not (folder / "new" / "half").exists()
    monkeypatch.setattr(store, "RETIRED_SECONDS", -1.0)
    shop.change("UPDATE purchases SET amount_usd = amount_usd + 1", DECLARED)
    checked(shop)
    left = set(folder.glob("sources/purchases-*/*.parquet"))
    assert left and not before & left


def test_units_above_the_cap_are_counted_and_the_report_says_so(shop):
    shop.change("UPDATE purchases SET amount_usd = 9000 WHERE unit_id IN ('u0', 'u2', 'u1')")
    night = shop.run()
    maturity = results.read_json(night / "exposure.json")["maturity"]
    (entry,) = [row for row in maturity if row["metric"] == "capped_spend"]
    with duckdb.connect(str(shop.warehouse), read_only=True) as source:
        above = dict(source.execute("""
            SELECT variant, COUNT(*) FROM (
                SELECT variant, SUM(amount_usd) AS spent FROM purchases JOIN exposures USING (unit_id)
                WHERE occurred_at >= exposed_at AND occurred_at < exposed_at + INTERVAL 2 DAY GROUP BY variant, unit_id
            ) WHERE spent > 22.5 GROUP BY variant""").fetchall())  # fmt: skip
    assert entry["capped"] == above and above["control"] > 2
    said = " ".join((night / "report.txt").read_text().split())
    units = f"{sum(above.values())} units above the cap of its definition count as the cap (control {above['control']}"
    assert f"Capped: {units}, treatment {above['treatment']})." in said


def test_cohorts_too_large_for_memory_are_added_up_in_parts_to_the_same_digits(shop, tmp_path, monkeypatch):
    metrics = definitions.load_catalogue(shop.definitions).metrics.values()
    with connect(shop.warehouse) as warehouse:
        at_once = read_night(shop.experiment, AS_OF, warehouse, shop.results, metrics)
        parts, compute = [], totals._compute
        monkeypatch.setattr(totals, "UNITS_AT_ONCE", 150)  # each of three days has some 133
        monkeypatch.setattr(totals, "_compute", lambda *given: parts.append(compute(*given)))
        in_parts = read_night(shop.experiment, AS_OF, warehouse, tmp_path / "elsewhere", metrics)
    assert in_parts.moments == at_once.moments
    assert len(parts) == 3
