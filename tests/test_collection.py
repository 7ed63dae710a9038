"""What bad data gets: one clear error that names experiment, night, place and remedy. Never a number."""

import datetime as dt

import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib.collection import read_night
from abtest_lib.errors import DataError
from abtest_lib.warehouse import connect

ROW = "'checkout', 'x', 'control', TIMESTAMP '2026-02-02 10:00', TIMESTAMP '2026-02-02 11:00'"
PURCHASE = "'u0', TIMESTAMP '2026-02-02 15:00', TIMESTAMP '2026-02-02 16:00', 20.0"


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def exposure(old, new):
    return f"INSERT INTO exposures VALUES ({ROW.replace(old, new)})"  # noqa: S608


def purchase(old, new):
    return f"INSERT INTO purchases VALUES ({PURCHASE.replace(old, new)})"  # noqa: S608


def message_of(shop, as_of=AS_OF):
    with pytest.raises(DataError) as caught:
        shop.collect(as_of)
    assert not (shop.results / KEY).exists(), "a refused night must leave nothing behind"
    return str(caught.value)


BROKEN = {
    "unit without name": (
        [exposure("'x'", "NULL"), exposure("'x'", "''")],
        "checkout, 2026-02-08: source assignments: 2 rows of 'exposures' have no unit; every exposure must name one. "
        "Correct the logging, or filter them in a view.",
    ),
    "no variant": (
        [exposure("'control'", "NULL")] * 2,
        "checkout, 2026-02-08: source assignments: 2 rows of 'exposures' have no variant; every exposure must name "
        "one.",
    ),
    "unknown variant": (
        [exposure("'control'", "'treatmnt'"), exposure("'control'", "'holdout'")],
        "checkout, 2026-02-08: source assignments: 2 rows of 'exposures' have a variant that checkout.yaml does not "
        "name "
        "(holdout, treatmnt); name it under variants, or correct the assignment.",
    ),
    "exposure without time": (
        [exposure("TIMESTAMP '2026-02-02 10:00'", "NULL")] * 2,
        "checkout, 2026-02-08: source assignments: 2 rows of 'exposures' have no exposed_at; every exposure must have "
        "a "
        "time.",
    ),
    "exposure before 1970": (
        [exposure("2026-02-02 10:00", "0001-02-02 10:00")] * 2,
        "checkout, 2026-02-08: source assignments: 2 rows of 'exposures' have exposed_at before 1970; a time must be a "
        "UTC timestamp. Correct the load.",
    ),
    "exposure in the future": (
        [exposure("2026-02-02 10:00", "2026-02-02 12:00")] * 2,
        "checkout, 2026-02-08: source assignments: 2 rows of 'exposures' have exposed_at in the future (after the row "
        "was "
        "loaded); correct the clock or the time zone.",
    ),
    "outcome without time": (
        [purchase("TIMESTAMP '2026-02-02 15:00'", "NULL")] * 2,
        "checkout, 2026-02-08: source purchases: 2 rows of 'purchases' have no occurred_at; every outcome must have a "
        "time.",
    ),
    "outcome before 1970": (
        [purchase("2026-02-02 15:00", "1969-12-31 15:00")] * 2,
        "checkout, 2026-02-08: source purchases: 2 rows of 'purchases' have occurred_at before 1970; a time must be a "
        "UTC "
        "timestamp. Correct the load.",
    ),
    "outcome in the future": (
        [purchase("2026-02-02 15:00", "2226-02-02 15:00")] * 2,
        "checkout, 2026-02-08: source purchases: 2 rows of 'purchases' have occurred_at in the future (after the row "
        "was "
        "loaded); correct the clock or the time zone.",
    ),
    "exposure without load time": (
        [exposure("TIMESTAMP '2026-02-02 11:00'", "NULL")] * 2,
        "checkout, 2026-02-08: source assignments: 2 rows of 'exposures' have no loaded_at, so no night knows them; "
        "load "
        "it, or leave loaded_at out of sources.yaml.",
    ),
    "outcome without load time": (
        ["UPDATE purchases SET loaded_at = NULL WHERE unit_id IN ('u0', 'u2')"],
        "checkout, 2026-02-08: source purchases: 2 rows of 'purchases' have no loaded_at, so no night knows them; load "
        "it, or leave loaded_at out of sources.yaml.",
    ),
    "NaN and infinity": (
        [purchase("20.0", "'NaN'::DOUBLE"), purchase("20.0", "'-inf'::DOUBLE")],
        "checkout, 2026-02-08: source purchases: 2 rows of 'purchases' have a value of amount_usd that is NaN or "
        "infinite; correct "
        "the load.",
    ),
    "attribute rows twice": (
        ["INSERT INTO customers SELECT * FROM customers WHERE unit_id IN ('u7', 'u8')"],
        "checkout, 2026-02-08: source customers: 2 units have more than one row in 'customers' (u7, ...); it must "
        "hold one "
        "row a unit.",
    ),
    "nothing of the experiment": (
        ["UPDATE exposures SET experiment_id = 'check_out'"],
        "checkout, 2026-02-08: source assignments: 'exposures' has no exposures of 'checkout' before this night; check "
        "that the experiment is on and that experiment_id is 'checkout'.",
    ),
    "one variant only": (
        ["DELETE FROM exposures WHERE variant = 'control'"],
        "checkout, 2026-02-08: all units have the one variant 'treatment'; a comparison needs at least two. Check the "
        "assignment.",
    ),
    "nobody within the dates": (
        ["UPDATE exposures SET exposed_at = exposed_at - INTERVAL 9 DAY"],
        "checkout, 2026-02-08: no unit was first exposed between starts_on 2026-02-02 and ends_on 2026-02-05 "
        "(exclusive); "
        "correct the dates or the assignment.",
    ),
    "value of a refused metric is null": (
        ["UPDATE purchases SET amount_usd = NULL WHERE unit_id IN ('u0', 'u2')"],
        "checkout, 2026-02-08: metric revenue_per_user: 2 rows have no amount_usd; set nulls to drop or zero, or load "
        "it.",
    ),
    "day is not in the load log": (
        ["DELETE FROM load_log WHERE data_on = DATE '2026-02-07' AND source <> 'assignments'"],
        "checkout, 2026-02-08: the data is not complete: purchases: 2026-02-07 is not in the load log; expected by "
        "2026-02-08 03:00 UTC, usual 03:00; page_loads: 2026-02-07 is not in the load log; expected by 2026-02-08 "
        "03:00 "
        "UTC, usual 03:00. Run again when it has been loaded.",
    ),
    "table is gone": (
        ["ALTER TABLE purchases RENAME TO purchase"],
        "checkout, 2026-02-08: source purchases: table 'purchases' does not exist; did you mean 'purchase'?\n"
        "Correct sources.yaml or metrics.yaml, or bring the table back.",
    ),
    "columns are gone": (
        [
            "ALTER TABLE exposures RENAME COLUMN exposed_at TO exposed",
            "ALTER TABLE purchases RENAME COLUMN amount_usd TO amount",
            "ALTER TABLE customers DROP COLUMN platform",
            "DROP TABLE load_log",
        ],
        "checkout, 2026-02-08: source assignments: table 'exposures' has no column 'exposed_at'; did you mean "
        "'exposed'?\n"
        "checkout, 2026-02-08: source purchases: table 'purchases' has no column 'amount_usd'; did you mean 'amount'?\n"
        "checkout, 2026-02-08: source customers: table 'customers' has no column 'platform'.\n"
        "checkout, 2026-02-08: source load_log: table 'load_log' does not exist.\n"
        "Correct sources.yaml or metrics.yaml, or bring the table back.",
    ),
    "value that is no number": (
        ["ALTER TABLE purchases ALTER amount_usd TYPE VARCHAR", "UPDATE purchases SET amount_usd = 'much'"],
        "checkout, 2026-02-08: source purchases: the warehouse refused outcome_rows.sql: Conversion Error: Could not "
        "convert string 'much' to DOUBLE when casting from source column amount_usd. Check the table's columns and "
        "types "
        "against sources.yaml and metrics.yaml.",
    ),
    "several at once": (
        [exposure("'x'", "NULL"), exposure("'control'", "'holdout'"), purchase("20.0", "'NaN'::DOUBLE"),
         "INSERT INTO customers SELECT * FROM customers WHERE unit_id = 'u7'"],
        "checkout, 2026-02-08: source assignments: 1 row of 'exposures' has no unit; every exposure must name one. "
        "Correct the logging, or filter them in a view.\n"
        "checkout, 2026-02-08: source assignments: 1 row of 'exposures' has a variant that checkout.yaml does not name "
        "(holdout); name it under variants, or correct the assignment.\n"
        "checkout, 2026-02-08: source purchases: 1 row of 'purchases' has a value of amount_usd that is NaN or "
        "infinite; correct "
        "the load.\n"
        "checkout, 2026-02-08: source customers: 1 units have more than one row in 'customers' (u7, ...); it must "
        "hold one "
        "row a unit.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_data_gets_one_clear_error_and_no_number(shop, statements, message):
    shop.change(*statements)
    assert message_of(shop) == message


def test_unit_without_a_row_to_average_is_refused_where_nulls_are(shop):
    shop.redefine("metrics", "nulls: drop", "nulls: refuse")
    shop.change("DELETE FROM page_loads WHERE unit_id IN ('u0', 'u1', 'u2')")
    assert message_of(shop) == (
        "checkout, 2026-02-08: metric latency_ms: 3 units have no row to average; set nulls to drop or zero."
    )


def test_source_without_load_log_waits_for_a_row_of_the_last_day(shop):
    shop.redefine("sources", "load_log: {table: load_log}\n", "")
    assert message_of(shop) == (
        "checkout, 2026-02-08: the data is not complete: purchases: has no row of 2026-02-07 or later; page_loads: "
        "has no "
        "row of 2026-02-07 or later. Run again when it has been loaded."
    )


def test_fault_that_was_loaded_later_does_not_stop_an_earlier_night(shop):
    shop.change(exposure("'x', 'control', TIMESTAMP '2026-02-02 10:00', TIMESTAMP '2026-02-02 11:00'",
                         "NULL, 'holdout', NULL, TIMESTAMP '2026-02-08 03:00:01'"))  # fmt: skip
    assert shop.collect()


def test_future_is_told_by_the_load_time_and_not_by_the_clock(shop):
    # Exposed after as_of but loaded before it: refused today and in a hundred years, whatever the clock says by then.
    shop.change(exposure("TIMESTAMP '2026-02-02 10:00', TIMESTAMP '2026-02-02 11:00'",
                         "TIMESTAMP '2026-02-09 10:00', TIMESTAMP '2026-02-08 01:00'"))  # fmt: skip
    assert "1 row of 'exposures' has exposed_at in the future" in message_of(shop)


def test_missing_warehouse_is_a_connection_error(tmp_path):
    path = tmp_path / "gone.duckdb"
    with pytest.raises(ConnectionError) as caught:
        connect(path)
    text = str(caught.value)
    assert text.startswith(f"warehouse {path}: cannot be opened (IO Error: Cannot open database")
    assert text.endswith("; check ABTEST_WAREHOUSE, and that no other program has the file open for writing.")


def test_file_that_is_no_warehouse_is_a_connection_error(tmp_path):
    path = tmp_path / "notes.duckdb"
    path.write_text("notes" * 5000)
    with pytest.raises(ConnectionError, match="cannot be opened"):
        connect(path)


def test_view_over_a_vanished_column_is_a_data_error(shop):
    shop.change(
        "ALTER TABLE purchases RENAME TO raw",
        "CREATE VIEW purchases AS SELECT unit_id, occurred_at, loaded_at, amount_usd FROM raw",
        "ALTER TABLE raw DROP COLUMN amount_usd",
    )
    assert message_of(shop) == (
        "checkout, 2026-02-08: source purchases: table 'purchases' cannot be read: Binder Error: Referenced column "
        '"amount_usd" not found in FROM clause.\n'
        "Correct sources.yaml or metrics.yaml, or bring the table back."
    )


def test_view_over_a_vanished_table_is_a_data_error(shop):
    shop.change(
        "ALTER TABLE purchases RENAME TO raw",
        "CREATE VIEW purchases AS SELECT * FROM raw",
        "ALTER TABLE raw RENAME TO row",
    )
    assert message_of(shop) == (
        "checkout, 2026-02-08: source purchases: table 'purchases' cannot be read: Catalog Error: Table with name raw "
        "does "
        "not exist.\n"
        "Correct sources.yaml or metrics.yaml, or bring the table back."
    )


def test_empty_outcome_source_is_no_fault(shop):
    shop.change("DELETE FROM purchases")
    with connect(shop.warehouse) as source:
        night = read_night(shop.experiment, AS_OF, source, shop.results)
    assert night.exposure["sources"][0] == {"source": "purchases", "rows": 0, "rows_without_unit": 0}
    assert sum(row["mean"] for row in night.moments if row["metric"] == "conversion") == 0


def test_outcome_rows_without_unit_are_counted_and_not_used(shop):
    shop.change(purchase("'u0'", "NULL"), purchase("'u0'", "''"))
    with connect(shop.warehouse) as source:
        night = read_night(shop.experiment, AS_OF, source, shop.results)
    assert night.exposure["sources"][0]["rows_without_unit"] == 2


@pytest.mark.parametrize(("late", "enough"), [(10, 1), (11, 3)])
def test_a_lag_that_is_too_short_is_found_in_the_load_times(shop, late, enough):
    # 200 rows of four weeks that end a week before the lag, some of them loaded after two and a half days.
    shop.change(f"""INSERT INTO purchases
        SELECT 'u0', TIMESTAMP '2026-01-20 08:00',
            TIMESTAMP '2026-01-20 09:00' + IF(i < {late}, 60, 0) * INTERVAL 1 HOUR, 1
        FROM range(200) AS r (i)""")  # noqa: S608
    with connect(shop.warehouse) as source:
        (found,) = read_night(shop.experiment, AS_OF, source, shop.results).exposure["delays"]
    assert found == {"source": "purchases", "lag_days": 1, "rows": 200, "late_share": late / 200, "enough_days": enough,
                     # All other rows came after one hour; 5 or 5.5 % of 200 after two days and a half.
                     "p50_days": 1, "p95_days": enough, "p99_days": 3}  # fmt: skip


def test_the_report_says_that_a_lag_is_too_short(shop):
    shop.change("""INSERT INTO purchases
        SELECT 'u0', TIMESTAMP '2026-01-20 08:00', TIMESTAMP '2026-01-25 08:30', 1 FROM range(200) AS r (i)""")
    said = " ".join((shop.run() / "report.txt").read_text().split())
    assert "Lag too short: at least 100% of the rows of purchases come after the lag of 1 day; 6 days would do." in said


def test_units_add_up_from_exposed_to_matured_to_valued(shop):
    shop.change("DELETE FROM page_loads WHERE unit_id = 'u0'")
    with connect(shop.warehouse) as source:
        night = read_night(shop.experiment, dt.date(2026, 2, 6), source, shop.results)
    # On 2026-02-06 the units of 2026-02-02 are three days old: 67 pairs of 200 (0, 3, ..., 198 of 0 to 199).
    assert night.exposure["units"] == {"control": 200, "treatment": 200}
    latency = next(row for row in night.exposure["maturity"] if row["metric"] == "latency_ms")
    assert latency["matured"] == {"control": 67, "treatment": 67}
    assert latency["waiting"] == {"control": 133, "treatment": 133}
    assert latency["dropped_nulls"] == {"control": 1, "treatment": 0}
    assert latency["complete_on"] == "2026-02-08"


def test_night_knows_what_the_last_of_its_sources_had_loaded(shop):
    shop.change("UPDATE load_log SET loaded_at = TIMESTAMP '2026-02-08 05:30' "
                "WHERE source = 'page_loads' AND data_on = DATE '2026-02-07'")  # fmt: skip
    with connect(shop.warehouse) as source:
        assert read_night(shop.experiment, AS_OF, source, shop.results).exposure["known_by"] == "2026-02-08T05:30:00"


def test_without_load_log_a_night_knows_what_was_loaded_within_the_stated_hours(shop):
    shop.redefine("sources", "load_log: {table: load_log}", "loaded_within_hours: 7")
    with connect(shop.warehouse) as source:
        assert read_night(shop.experiment, AS_OF, source, shop.results).exposure["known_by"] == "2026-02-08T07:00:00"


def test_numeric_variants_are_the_text_of_the_definition(shop):
    shop.change("UPDATE exposures SET variant = IF(variant = 'control', 0, 1)",
                "ALTER TABLE exposures ALTER variant TYPE INTEGER")  # fmt: skip
    shop.redefine(
        "checkout", "variants: {control: 1, treatment: 1}\ncontrol: control", "variants: {0: 1, 1: 1}\ncontrol: '0'"
    )
    with connect(shop.warehouse) as source:
        assert read_night(shop.experiment, AS_OF, source, shop.results).exposure["units"] == {"0": 200, "1": 200}
