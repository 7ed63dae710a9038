"""When a night waits for a source that is there but not whole, and what the report warns of."""

import datetime as dt

import numpy as np
import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib import cli, pipeline, preview, results
from abtest_lib.completeness import (
    DAY,
    DayCounts,
    Joined,
    LateUnits,
    collapsed,
    delay_gaps,
    expected_rows,
    held,
    join_findings,
    join_gaps,
    late,
)
from abtest_lib.definitions import Completeness, experiment_from_json
from abtest_lib.errors import DataError
from abtest_lib.warehouse import connect

MONDAY = dt.date(2026, 1, 5)
WEEK = (1000, 1100, 1050, 1000, 900, 600, 500)


def days(counts, start=MONDAY, **more):
    return [DayCounts(start + number * DAY, rows, 0, more, 3.0) for number, rows in enumerate(counts)]


def verdict(counts, rows, rules=None):
    """What is said of a day with so many rows after days with these."""
    history = days(counts)
    newest = DayCounts(MONDAY + len(counts) * DAY, rows, 0, {}, None)
    found = held("purchases", newest, history, rules or Completeness())
    return found and found.text


def test_expected_rows_follow_the_weekday_and_the_level():
    # Six Mondays of 1,000; the six days before one are 1100, 1050, 1000, 900, 600, 500: their median is 950.
    history = days(WEEK * 6)
    assert expected_rows(MONDAY + 42 * DAY, history) == (pytest.approx(1000), pytest.approx(1000**0.5), 1000)
    # Twice the level in the last week: twice the Monday.
    doubled = days((*(WEEK * 5), *(2 * rows for rows in WEEK)))
    expected, _, fewest = expected_rows(MONDAY + 42 * DAY, doubled)
    assert (expected, fewest) == (pytest.approx(2000), pytest.approx(2000))


def test_half_a_day_is_held_and_the_time_is_said():
    # 42 days from 5 January: the next is Monday, 16 February. 480 of 1,000 expected.
    assert verdict(WEEK * 6, 480) == (
        "2026-02-16 has 480 rows, 48% of the 1,000 expected; expected by 2026-02-17 03:00 UTC, usual 03:00"
    )


@pytest.mark.parametrize(("rows", "waits"), [(599, True), (600, False), (1400, False), (0, True)])
def test_a_day_is_held_below_the_least_share(rows, waits):
    assert bool(verdict(WEEK * 6, rows)) == waits


def test_a_declared_share_moves_the_bound():
    assert verdict(WEEK * 6, 480, Completeness(least_share=0.4)) is None
    assert verdict(WEEK * 6, 390, Completeness(least_share=0.4))


def test_three_earlier_weekdays_are_needed():
    # The first Monday has no days before it, so it has no level: 21 days give two Mondays that count, 28 three.
    assert verdict(WEEK * 3, 100) is None
    assert verdict(WEEK * 4, 100)


def test_a_weekday_that_was_as_low_before_is_not_held():
    low = [*WEEK * 6]
    low[14] = 450  # a holiday on the third Monday
    assert verdict(low, 480) is None
    assert verdict(low, 430)


def test_a_day_without_rows_is_held_once_seven_days_had_some():
    reason = "2026-01-12 has no rows; each of the 7 days before it has some"
    assert verdict(WEEK, 0) == f"{reason}; expected by 2026-01-13 03:00 UTC, usual 03:00"
    assert verdict(WEEK[:6], 0) is None
    assert verdict((*WEEK[:6], 0), 0) is None, "there was such a day"
    assert verdict((2, 1, 3, 1, 1, 2, 1), 0) is None, "a day without rows may be chance"


def test_few_rows_are_not_held_by_chance():
    # 9 expected: 3.5 deviations of Poisson below it are less than none.
    assert verdict([9] * 42, 1) is None
    # 100 expected: 100 - 3.5 * 10 = 65, but 0.6 of 100 are fewer.
    assert verdict([100] * 42, 60) is None
    assert verdict([100] * 42, 59)


def test_days_that_are_missing_had_no_rows():
    # Closed on weekends: those days have no line. A Monday after one is as always.
    history = [one for one in days((1000, 1000, 1000, 1000, 1000, 0, 0) * 6) if one.rows]
    newest = DayCounts(MONDAY + 42 * DAY, 1000, 0, {}, None)
    assert held("purchases", newest, history, Completeness()) is None
    saturday = DayCounts(MONDAY + 47 * DAY, 0, 0, {}, None)
    week = days((1000,) * 5, MONDAY + 42 * DAY)
    assert held("purchases", saturday, [*history, *week], Completeness()) is None


def test_a_jump_of_the_nulls_is_held():
    history = days([1000] * 10, amount_usd=20)
    newest = DayCounts(MONDAY + 10 * DAY, 1000, 0, {"amount_usd": 221}, None)
    assert held("purchases", newest, history, Completeness()).reason == (
        "2026-01-15: 22% of its 1,000 rows have no amount_usd, usually 2%"
    )
    at_most = DayCounts(MONDAY + 10 * DAY, 1000, 0, {"amount_usd": 220}, None)
    assert held("purchases", at_most, history, Completeness()) is None
    assert held("purchases", newest, history[:6], Completeness()) is None, "six days tell too little"
    few = DayCounts(MONDAY + 10 * DAY, 3, 0, {"amount_usd": 1}, None)
    assert held("purchases", few, history, Completeness()) is None, "one of three may be chance"


def test_expected_time_is_the_95th_percentile():
    # 19 days after 3 h, one after 9 h: the 19th of 20 sorted values is 3 h. With two after 9 h it is 9 h.
    hours = [3.0] * 18 + [9.0] * 2
    history = [DayCounts(MONDAY + n * DAY, 10, 0, {}, one) for n, one in enumerate(hours)]
    day = MONDAY + 20 * DAY
    assert late("p", day, history, "gone").text == "gone; expected by 2026-01-26 09:00 UTC, usual 03:00"
    assert late("p", day, history[:19], "gone").text == "gone; expected by 2026-01-26 09:00 UTC, usual 03:00"
    assert late("p", day, history[:18], "gone").text == "gone; expected by 2026-01-26 03:00 UTC, usual 03:00"
    assert late("p", day, history[:2], "gone").text == "gone"


def simulated(seed, *, level, growth=0.0, noise=0.1, dip=1.0, years=4):
    """Nights of some years after the first five weeks: holiday, held, half of the day held, whether it was tried."""
    rng = np.random.default_rng(seed)
    season = np.array(WEEK) / 1000
    found = []
    for _ in range(years):
        holidays = set(rng.choice(365, 11, replace=False)) if dip < 1 else set()
        means = [level * (1 + growth) ** (n / 7) * season[n % 7] * (dip if n in holidays else 1) for n in range(365)]
        rows = rng.poisson(means * np.exp(rng.normal(-(noise**2) / 2, noise, 365)))
        history = days([int(one) for one in rows])
        for n in range(35, 365):
            past, rules = history[n - 62 if n > 62 else 0 : n], Completeness()
            half = DayCounts(history[n].day, int(rng.binomial(history[n].rows, 0.5)), 0, {}, None)
            whole = held("s", history[n], past, rules) is not None
            found.append((n in holidays, whole, n % 5 == 0 and held("s", half, past, rules) is not None, n % 5 == 0))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "most_false", "least_caught"),
    [
        ({"level": 10_000}, 1, 0.75),
        ({"level": 10_000, "noise": 0.05}, 1, 0.99),
        ({"level": 10_000, "growth": 0.05}, 1, 0.75),
        ({"level": 10_000, "growth": -0.05}, 1, 0.75),
        ({"level": 10_000, "noise": 0.25}, 2, 0.0),
        ({"level": 100}, 8, 0.2),
        ({"level": 10_000, "dip": 0.65}, 1, 0.6),
    ],
    ids=str,
)
def test_rate_of_false_holds_and_of_halves_that_are_held(kind, most_false, least_caught):
    # 1,320 nights each; the docstring of `held` says the rates.
    found = simulated(7, **kind)
    assert sum(whole for holiday, whole, *_ in found if not holiday) <= most_false
    halves = [caught for holiday, _, caught, tried in found if tried and not holiday]
    assert np.mean(halves) >= least_caught


def test_a_cohort_without_its_rows_is_found():
    cohorts = [Joined(variant, MONDAY + n * DAY, 500, 50 if n == 3 else 200 + n) for n in range(8)
               for variant in ("control", "treatment")]  # fmt: skip
    assert collapsed(cohorts, Completeness()) == [Joined("", MONDAY + 3 * DAY, 1000, 100)]
    assert collapsed([one for one in cohorts if one.exposed_on <= MONDAY + 2 * DAY], Completeness()) == []
    few = [Joined("control", MONDAY + n * DAY, 10, 1 if n == 3 else 4) for n in range(8)]
    assert collapsed(few, Completeness()) == [], "one of ten instead of four may be chance"


def test_gaps_between_variants_are_those_of_a_chi_squared_test():
    # R: prop.test(c(60, 20), c(1000, 1000), correct = FALSE)$p.value is 5.2e-06: z = 0.04 / sqrt(0.04 * 0.96 * 0.002).
    (gap,) = delay_gaps([LateUnits("control", 1000, 20), LateUnits("treatment", 1000, 60)], "control", 0.01)
    assert (gap.variant, gap.share, gap.control_share) == ("treatment", 0.06, 0.02)
    assert gap.pvalue == pytest.approx(5.14e-6, rel=0.05)
    assert delay_gaps([LateUnits("control", 1000, 20), LateUnits("treatment", 1000, 25)], "control", 0.01) == []
    assert delay_gaps([LateUnits("control", 100, 0), LateUnits("treatment", 100, 8)], "control", 0.5) == [], "too few"


def test_gaps_of_several_treatments_share_alpha():
    day = [Joined("control", MONDAY, 1000, 500), Joined("a", MONDAY, 1000, 555), Joined("b", MONDAY, 1000, 500)]
    # z = 0.055 / sqrt(0.5275 * 0.4725 * 0.002) = 2.463: p = 0.0138.
    assert join_gaps(day, "control", 0.02) == []
    assert [gap.variant for gap in join_gaps(day, "control", 0.028)] == ["a"]


@pytest.mark.slow
def test_gaps_by_chance_are_as_rare_as_alpha():
    rng = np.random.default_rng(3)
    pairs = rng.binomial(2000, 0.1, size=(4000, 2))
    found = sum(bool(delay_gaps([LateUnits("control", 2000, int(a)), LateUnits("treatment", 2000, int(b))], "control",
                                0.05)) for a, b in pairs)  # fmt: skip
    # 200 of 4,000 expected, standard deviation 13.8.
    assert 150 <= found <= 250


@pytest.fixture
def shop(tmp_path):
    """A shop whose tables go nine weeks back: each day 48 purchases and page loads, one each half hour."""
    shop = Shop(tmp_path)
    # The last window ends with the night's last day.
    shop.redefine(KEY, "ends_on: 2026-02-05", "ends_on: 2026-02-06")
    for table in ("purchases", "page_loads"):
        shop.change(
            f"""INSERT INTO {table} SELECT 'visitor' || i,
                TIMESTAMP '2025-12-06' + to_minutes((30 * i)::INTEGER), occurred + INTERVAL 30 MINUTE, 25
            FROM range(64 * 48) AS r (i), LATERAL (SELECT TIMESTAMP '2025-12-06' + to_minutes((30 * i)::INTEGER))
                AS o (occurred)""",  # noqa: S608
            f"DELETE FROM {table} WHERE unit_id LIKE 'u%'",  # noqa: S608
        )
    shop.change("""INSERT INTO load_log SELECT source, day::DATE, day + INTERVAL 27 HOUR
        FROM unnest(['purchases', 'page_loads']) AS s (source),
            range(TIMESTAMP '2025-12-06', TIMESTAMP '2026-02-01', INTERVAL 1 DAY) AS d (day)""")
    return shop


HALF = "DELETE FROM purchases WHERE occurred_at >= TIMESTAMP '2026-02-07 11:00'"  # 22 of 48 rows are left
SAID = "purchases: 2026-02-07 has 22 rows, 46% of the 48 expected; expected by 2026-02-08 03:00 UTC, usual 03:00"


def test_half_a_day_holds_the_night_with_reason_and_time(shop):
    shop.change(HALF)
    with pytest.raises(DataError) as caught:
        shop.collect()
    assert str(caught.value) == (
        f"checkout, 2026-02-08: the data is not complete: {SAID}. Run again when it has been loaded, correct its time "
        "in load_log, or take it as it is: --accept-incomplete purchases."
    )
    assert not (shop.results / KEY).exists()


def test_a_whole_day_is_not_held_and_is_asked_once(shop):
    with connect(shop.warehouse) as warehouse:
        asked = []
        query = warehouse.query
        warehouse.query = lambda sql, values=None: asked.append(sql) or query(sql, values)
        for _ in range(2):
            assert pipeline.outcomes_ready(shop.experiment, AS_OF, warehouse, shop.results) == []
    assert sum("last_loaded_at" in sql for sql in asked) == 2, "once for each of two sources"


def test_a_held_day_is_asked_again_and_let_go_when_it_is_whole(shop):
    shop.change("CREATE TABLE rest AS FROM purchases WHERE occurred_at >= TIMESTAMP '2026-02-07 11:00'", HALF)
    with connect(shop.warehouse) as warehouse:
        (waiting,) = pipeline.outcomes_ready(shop.experiment, AS_OF, warehouse, shop.results)
    assert f"{waiting.source}: {waiting.reason}" == SAID
    shop.change("INSERT INTO purchases FROM rest")
    with connect(shop.warehouse) as warehouse:
        assert pipeline.outcomes_ready(shop.experiment, AS_OF, warehouse, shop.results) == []


def test_rows_that_came_after_the_day_was_declared_are_not_counted(shop):
    # The second half was loaded at 09:00; the loader said at 03:00 that the day was complete.
    shop.change("UPDATE purchases SET loaded_at = TIMESTAMP '2026-02-08 09:00' "
                "WHERE occurred_at >= TIMESTAMP '2026-02-07 11:00'")  # fmt: skip
    with connect(shop.warehouse) as warehouse:
        assert [one.source for one in pipeline.outcomes_ready(shop.experiment, AS_OF, warehouse)] == ["purchases"]
    shop.change("UPDATE load_log SET loaded_at = TIMESTAMP '2026-02-08 09:30' "
                "WHERE source = 'purchases' AND data_on = DATE '2026-02-07'")  # fmt: skip
    with connect(shop.warehouse) as warehouse:
        assert pipeline.outcomes_ready(shop.experiment, AS_OF, warehouse) == []


def test_completeness_off_lets_half_a_day_pass(shop):
    shop.change(HALF)
    shop.redefine("sources", "purchases: {table: purchases,", "purchases: {table: purchases, completeness: off,")
    with connect(shop.warehouse) as warehouse:
        assert pipeline.outcomes_ready(shop.experiment, AS_OF, warehouse, shop.results) == []


def test_rules_survive_the_definition_file_and_are_no_change_of_the_numbers(shop):
    plain = shop.experiment
    shop.redefine("sources", "purchases: {table: purchases,",
                  "purchases: {table: purchases, completeness: {least_share: 0.3, same_join: true},")  # fmt: skip
    shop.redefine("sources", "page_loads: {table: page_loads,", "page_loads: {table: page_loads, completeness: off,")
    found = shop.experiment
    assert found.outcomes["purchases"].completeness == Completeness(least_share=0.3, same_join=True)
    assert found.outcomes["page_loads"].completeness is None
    assert experiment_from_json(found.as_json()) == found
    assert found.sha256 == plain.sha256


def test_an_accepted_night_is_analysed_and_says_so(shop, capsys):
    shop.change(HALF)
    arguments = [KEY, "--as-of", str(AS_OF), *shop.places]
    assert cli.main(["outcomes_ready", *arguments]) == 3
    assert capsys.readouterr().out == f"checkout, 2026-02-08: waits for {SAID}\n"
    assert cli.main(["run", *arguments, "--accept-incomplete", "purchases"]) == 0
    source, _, reason = SAID.partition(": ")
    night = shop.current()
    accepted = [{"source": source, "reason": reason}]
    assert results.read_json(night / "exposure.json")["accepted"] == accepted
    said = " ".join((night / "report.txt").read_text().split())
    assert f"Analysed although purchases was not complete: {reason}." in said


def test_a_night_that_is_not_complete_is_previewed_when_it_is_accepted(shop):
    shop.change(HALF)
    experiment = shop.experiment
    with connect(shop.warehouse) as warehouse:
        (refused,) = preview.preview(experiment, [AS_OF], warehouse, shop.results)
        (accepted,) = preview.preview(experiment, [AS_OF], warehouse, shop.results, accepted=["purchases"])
    assert refused.problem.endswith("or take it as it is: --accept-incomplete purchases.")
    assert accepted.document["exposure"]["accepted"][0]["source"] == "purchases"


def test_only_a_day_that_is_there_can_be_accepted(shop, capsys):
    shop.change("DELETE FROM load_log WHERE data_on = DATE '2026-02-07' AND source = 'purchases'")
    arguments = ["collect", KEY, "--as-of", str(AS_OF), *shop.places, "--accept-incomplete"]
    assert cli.main([*arguments, "purchases"]) == 1
    assert "purchases: 2026-02-07 is not in the load log" in capsys.readouterr().err
    assert cli.main([*arguments, "purchase"]) == 1
    assert capsys.readouterr().err == (
        "abtest: checkout: 'purchase' is no outcome source of it, so it cannot be accepted as it is; there are: "
        "purchases, page_loads.\n"
    )


def latency_rows(control, treatment):
    """Moments of latency_ms on four days: units with a row, of 1,000 in each variant."""
    return [{"metric": "latency_ms", "segment": segment, "variant": variant, "exposed_on": MONDAY + n * DAY,
             "units": 1000, "n": with_row[n], "mean": 1.0}
            for n in range(4) for segment in (None, "customers.platform")
            for variant, with_row in (("control", control), ("treatment", treatment))]  # fmt: skip


def test_treatment_without_rows_is_named_where_it_should_have_them(tmp_path):
    shop = Shop(tmp_path)
    rows = latency_rows((900,) * 4, (800,) * 4)
    assert join_findings(shop.experiment, rows) == [], "without same_join this may be an effect"
    shop.redefine("sources", "page_loads: {table: page_loads,",
                  "page_loads: {table: page_loads, completeness: {same_join: true},")  # fmt: skip
    assert join_findings(shop.experiment, rows) == [
        {"kind": "join", "source": "page_loads", "metric": "latency_ms", "title": "Latency", "exposed_on": None,
         "variant": "treatment", "share": 0.8, "usual": 0.9}
    ]  # fmt: skip


def test_a_day_of_units_without_rows_is_named_for_all_variants_together(tmp_path):
    rows = latency_rows((900, 900, 100, 900), (900, 900, 300, 900))
    assert join_findings(Shop(tmp_path).experiment, rows) == [
        {"kind": "join", "source": "page_loads", "metric": "latency_ms", "title": "Latency", "exposed_on": "2026-01-07",
         "variant": None, "share": 0.2, "usual": 0.9}
    ]  # fmt: skip


def test_the_report_names_a_treatment_whose_rows_come_late(shop):
    # On 10 February every unit buys once; of 100 of 200 treated units that comes after two days, and the lag is one.
    shop.redefine("metrics", "source: purchases, window_days: 2", "source: purchases, window_days: 14")
    shop.change("""INSERT INTO load_log SELECT source, day::DATE, day + INTERVAL 27 HOUR
        FROM unnest(['assignments', 'purchases', 'page_loads']) AS s (source),
            range(TIMESTAMP '2026-02-08', TIMESTAMP '2026-02-25', INTERVAL 1 DAY) AS d (day)""",
        *(f"""INSERT INTO {table} SELECT 'visitor', day + INTERVAL 5 HOUR, day + INTERVAL 6 HOUR, 100
        FROM range(TIMESTAMP '2026-02-08', TIMESTAMP '2026-02-25', INTERVAL 1 DAY) AS d (day), range(48)"""  # noqa: S608
          for table in ("purchases", "page_loads")),
        """INSERT INTO purchases SELECT unit_id, TIMESTAMP '2026-02-10 09:00' AS occurred_at,
            occurred_at + IF(substr(unit_id, 2)::INTEGER % 4 = 1, 50, 1) * INTERVAL 1 HOUR, 25
        FROM exposures""")  # fmt: skip
    # As of 24 February the second week of the experiment is over for a week and the lag of one day.
    night = shop.run(dt.date(2026, 2, 24))
    (finding,) = results.read_json(night / "exposure.json")["joins"]
    assert finding == {"kind": "delay", "source": "purchases", "metric": "conversion", "title": "Conversion",
                       "exposed_on": None, "variant": "treatment", "share": 0.5, "usual": 0.0}  # fmt: skip
    said = " ".join((night / "report.txt").read_text().split())
    assert "Conversion: 50% of treatment's units have a row of purchases that came after the lag, 0% of" in said


def test_the_report_names_a_treatment_without_its_rows(tmp_path):
    shop = Shop(tmp_path)
    shop.redefine("sources", "page_loads: {table: page_loads,",
                  "page_loads: {table: page_loads, completeness: {same_join: true},")  # fmt: skip
    # Of 200 treated units every second loses its page loads.
    shop.change("DELETE FROM page_loads WHERE substr(unit_id, 2)::INTEGER % 4 = 1")
    said = " ".join((shop.run() / "report.txt").read_text().split())
    assert "Latency: 50% of treatment's units have a row of page_loads, 100% of control's; this is more than" in said


def test_a_day_that_can_count_for_no_unit_any_more_holds_nothing(shop):
    shop.change("DELETE FROM purchases WHERE occurred_at >= TIMESTAMP '2026-02-07 06:00'")
    assert [one.source for one in ready(shop)] == ["purchases"]
    shop.redefine(KEY, "ends_on: 2026-02-06", "ends_on: 2026-02-05")
    assert ready(shop) == []


def test_a_day_holds_that_an_open_window_still_counts(shop):
    shop.change("DELETE FROM purchases WHERE occurred_at >= TIMESTAMP '2026-02-07 06:00'")
    shop.redefine(KEY, "ends_on: 2026-02-06", "ends_on: 2026-02-05")
    shop.redefine("metrics", "value: amount_usd, window_days: 2, lag_days: 1", "value: amount_usd, window_days: open")
    assert [one.source for one in ready(shop)] == ["purchases"]
    shop.redefine("metrics", "window_days: open", "window_days: open, lag_days: 1")
    assert ready(shop) == []


def ready(shop):
    with connect(shop.warehouse) as warehouse:
        return pipeline.outcomes_ready(shop.experiment, AS_OF, warehouse)
