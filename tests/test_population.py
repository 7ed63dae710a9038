"""Who is counted: units that lists exclude, units that must be activated, and attributes as of the exposure."""

import datetime as dt
import random

import duckdb
import pytest
from small_shop import AS_OF, KEY, Shop
from test_state import (
    CHANGES,
    DECLARED,
    NIGHTS,
    a_time,
    checked,
    killed_at,
)

from abtest_lib import results
from abtest_lib.errors import DataError
from tests.engines import ENGINES, copy_tables, postgresql_url, snowflake, spark  # noqa: F401

OPENED = """
opened:
  {title: Opened the cart, kind: proportion, source: cart_views, where: {step: open}, window_days: 2, lag_days: 1,
   better: higher}
"""


@pytest.fixture
def shop(tmp_path):
    """A shop with bots, staff, customers whose plan changes, and carts that two of three units open a while later."""
    shop = Shop(tmp_path)
    sources = (shop.definitions / "sources.yaml").read_text()
    sources = sources.replace("unit: unit_id}\nload_log", "unit: unit_id, known_from: valid_from}\nload_log")
    columns = "table: cart_views, unit: unit_id, occurred_at: occurred_at, loaded_at: loaded_at"
    sources = sources.replace("attributes:", f"  cart_views: {{{columns}}}\nattributes:")
    sources += "exclusions:\n  bots: {table: bots, unit: unit_id}\n  staff: {table: staff, unit: id}\n"
    (shop.definitions / "sources.yaml").write_text(sources)
    (shop.definitions / "metrics.yaml").write_text((shop.definitions / "metrics.yaml").read_text() + OPENED)
    shop.redefine(KEY, "notify:", "exclude: [bots, staff]\nactivation: opened\nnotify:")
    shop.redefine("metrics", "aggregate: mean, nulls: drop, window_days: 2",
                  "aggregate: mean, nulls: drop, window_days: 2, covariate: customers.age")  # fmt: skip
    shop.change(
        """CREATE TABLE cart_views AS
        SELECT unit_id, exposed_at + to_hours((substr(unit_id, 2)::INTEGER % 50 - 5)::INTEGER) AS occurred_at,
            occurred_at + INTERVAL 1 HOUR AS loaded_at,
            IF(substr(unit_id, 2)::INTEGER // 6 % 3 = 0, 'view', 'open') AS step
        FROM exposures ORDER BY ALL""",
        "ALTER TABLE page_loads ADD COLUMN slow BOOLEAN",
        "CREATE TABLE bots AS SELECT unnest(['u7', 'u8', 'u8', 'u11', 'nobody', NULL]) AS unit_id",
        "CREATE TABLE staff AS SELECT unnest(['u8', 'u20', 'u21']) AS id",
        "ALTER TABLE customers ADD COLUMN valid_from TIMESTAMP",
        "UPDATE customers SET valid_from = TIMESTAMP '2026-01-01'",
        "ALTER TABLE customers ADD COLUMN age INTEGER",
        "UPDATE customers SET age = 20 + substr(unit_id, 2)::INTEGER % 37",
        "INSERT INTO customers SELECT unit_id, 'web', valid_from + INTERVAL 33 DAY + INTERVAL 12 HOUR, age + 1 "
        "FROM customers WHERE substr(unit_id, 2)::INTEGER % 5 = 0",
        "INSERT INTO load_log SELECT 'cart_views', data_on, loaded_at FROM load_log WHERE source = 'purchases'",
    )
    return shop


def opened_late(rng):
    unit, hours = f"u{rng.randrange(400)}", rng.choice((1, 3, 20, 30, 60))
    return [f"INSERT INTO cart_views SELECT '{unit}', moment, moment + INTERVAL {hours} HOUR, 'open' "
            f"FROM (SELECT {a_time(rng)} AS moment)"]  # fmt: skip


def opened_never(rng):
    return [f"DELETE FROM cart_views WHERE unit_id = 'u{rng.randrange(400)}'"]


def another_bot(rng):
    return [f"INSERT INTO bots VALUES ('u{rng.randrange(400)}')"]


def no_bot_any_more(rng):
    return [f"DELETE FROM bots WHERE hash(unit_id) % 3 = {rng.randrange(3)}"]


def another_plan(rng):
    """A row of the history that may lie before or after the unit's exposure."""
    unit, place = f"u{rng.randrange(400)}", rng.choice(("ios", "web"))
    return [f"INSERT INTO customers SELECT '{unit}', '{place}', moment, 30 FROM (SELECT {a_time(rng)} AS moment) "
            f"WHERE NOT EXISTS (SELECT 1 FROM customers WHERE unit_id = '{unit}' AND valid_from = moment)"]  # fmt: skip


ALL = (*(change for change in CHANGES if change.__name__ != "moved_segment"), opened_late, opened_late, opened_never,
       another_bot, no_bot_any_more, another_plan)  # fmt: skip
LOGGED = DECLARED.replace("'page_loads'", "'page_loads', 'cart_views'")


@pytest.mark.parametrize("seed", range(8))
def test_random_changes_and_nights_in_any_order_are_equal_to_recomputation(shop, seed):
    rng, rows = random.Random(seed), 0
    for _ in range(5):
        changes = [rng.choice(ALL)(rng) for _ in range(rng.randrange(5))]
        shop.change(*(statement for change in changes for statement in change), LOGGED)
        rows += checked(shop, rng.choice(NIGHTS))
    assert rows + checked(shop) > 70


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "duckdb"])
def test_other_engines_are_read_to_the_same_moments(shop, engine, request):
    location = ENGINES[engine](request)
    copy_tables(shop.warehouse, location)
    assert checked(shop, AS_OF, location) > 0


@pytest.mark.parametrize("number", [9, 14, 18])
def test_a_night_that_was_killed_leaves_a_state_that_the_next_one_completes(shop, number):
    checked(shop, NIGHTS[2])
    shop.change(*opened_late(random.Random(number)), *another_bot(random.Random(number)), LOGGED)
    assert killed_at(shop, number) == 9
    checked(shop)


def test_who_is_counted_is_what_the_raw_tables_say(shop):
    """The same written once more, by hand: exposed within the enrolment, on no list, opened within two days."""
    shop.change("INSERT INTO exposures SELECT 'checkout', 'early', 'control', TIMESTAMP '2026-02-01 10:00', "
                "TIMESTAMP '2026-02-01 11:00'")  # fmt: skip
    exposure = results.read_json(shop.collect() / "exposure.json")
    with duckdb.connect(str(shop.warehouse), read_only=True) as source:
        counted = dict(source.execute("""
            SELECT variant, COUNT(*) FROM exposures
            WHERE exposed_at >= TIMESTAMP '2026-02-02' AND unit_id NOT IN ('u7', 'u8', 'u11', 'u20', 'u21')
                AND EXISTS (SELECT 1 FROM cart_views v WHERE v.unit_id = exposures.unit_id AND step = 'open'
                    AND v.occurred_at >= exposed_at AND v.occurred_at < exposed_at + INTERVAL 2 DAY)
            GROUP BY variant""").fetchall())  # fmt: skip
    assert exposure["units"] == counted
    assert exposure["excluded"] == [{"source": "bots", "units": {"control": 1, "treatment": 2}},
                                    {"source": "staff", "units": {"control": 1, "treatment": 1}}]  # fmt: skip
    assert exposure["activation"]["assigned"] == {"control": 198, "treatment": 197}
    assert exposure["outside_dates"] == 1


def test_the_plan_waits_for_the_last_activation(shop):
    # Enrolment ends on 5 February; opened by 7 February, two days of window and one of lag after that.
    assert shop.experiment.decides_on == dt.date(2026, 2, 10)
    assert shop.experiment.enrolment_days == 5


def test_the_report_says_who_was_left_out(shop):
    night = shop.run()
    said = " ".join((night / "report.txt").read_text().split())
    exposure = results.read_json(night / "exposure.json")
    control, treatment = exposure["units"].values()
    assert (f"{control + treatment} units were activated (control {control}, treatment {treatment}) of 395 exposed "
            "(control 198, treatment 197): Opened the cart within 2 days of the exposure.") in said  # fmt: skip
    assert "Excluded by bots: 3 units (control 1, treatment 2)." in said
    assert "Sample ratio of counted units: ✔ healthy" in said


@pytest.mark.parametrize(
    ("statement", "of", "words"),
    [
        ("DELETE FROM exposures WHERE variant = 'treatment' AND hash(unit_id) % 3 = 0", "assigned", "share of units:"),
        (
            "INSERT INTO bots SELECT unit_id FROM exposures WHERE variant = 'treatment' AND hash(unit_id) % 4 = 0",
            "excluded",
            "share of excluded units: treatment has",
        ),
        (
            "DELETE FROM cart_views WHERE hash(unit_id) % 2 = 0 AND unit_id IN "
            "(SELECT unit_id FROM exposures WHERE variant = 'treatment')",
            "counted",
            "share of counted units: treatment has",
        ),
    ],
)
def test_what_is_left_must_not_depend_on_the_variant(shop, statement, of, words):
    shop.change(statement)
    night = shop.run()
    document = results.read_json(night / "results.json")
    assert (document["sample_ratio"]["healthy"], document["sample_ratio"]["of"]) == (False, of)
    assert document["verdicts"][0]["verdict"] == "invalid" and document["metrics"] == []
    assert words in " ".join((night / "report.txt").read_text().split())


def test_a_night_that_knows_no_exposure_yet_says_so_when_a_later_one_has_read_them(shop):
    shop.change("UPDATE exposures SET loaded_at = TIMESTAMP '2026-02-07 12:00'")
    checked(shop)
    with pytest.raises(DataError, match="no unit was first exposed between"):
        shop.collect(dt.date(2026, 2, 6))


def test_a_unit_that_changes_its_plan_after_its_exposure_stays_in_its_segment(shop):
    before = shop.collect()
    shop.change("INSERT INTO customers SELECT unit_id, 'moved', TIMESTAMP '2026-02-04 23:00', 99 FROM exposures")
    cells = results.read_json(shop.collect() / "exposure.json")["cells"]["customers.platform"]
    assert cells == results.read_json(before / "exposure.json")["cells"]["customers.platform"]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("INSERT INTO customers SELECT * FROM customers WHERE unit_id = 'u3'",
         "1 units have more than one row from the same valid_from in 'customers' (u3, ...)"),
        ("INSERT INTO customers VALUES ('u3', 'ios', NULL, 3)", "1 rows of 'customers' have no valid_from"),
        ("DELETE FROM cart_views", "of 400 exposed units none is counted: 5 are excluded; of the others none did what "
         "activation asks for (opened)"),
        ("DROP TABLE bots", "source bots: table 'bots' does not exist"),
        ("ALTER TABLE staff RENAME id TO staff_id", "table 'staff' has no column 'id'"),
    ],
)  # fmt: skip
def test_tables_that_break_a_promise_are_named(shop, statement, says):
    shop.change(statement)
    with pytest.raises(DataError) as error:
        shop.collect()
    assert says in str(error.value)
