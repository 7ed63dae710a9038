"""A night whose sources are late: what is left out, what is never left out, and what the next run of it takes."""

import datetime as dt
import logging

import pytest
from small_shop import AS_OF, KEY, Shop, late_shop

from abtest_lib import cli, failures, pipeline, results, waits
from abtest_lib.definitions import experiment_from_json, load_catalogue
from abtest_lib.errors import DataError
from abtest_lib.maturity import next_mature_on
from abtest_lib.queries import matured_before
from abtest_lib.warehouse import connect

REASON = "its source page_loads was not complete: 2026-02-07 is not in the load log; expected by 2026-02-08 03:00 UTC"


@pytest.fixture
def shop(tmp_path):
    return late_shop(tmp_path)


def run(shop, **options):
    with connect(shop.warehouse) as warehouse:
        return pipeline.run(shop.experiment, AS_OF, warehouse, shop.results, **options)


def test_a_night_leaves_out_what_is_late_and_says_so(shop):
    night = run(shop, leave_out=["page_loads"])
    document = results.read_json(night / "results.json")
    (left,) = document["exposure"]["left_out"]
    assert (left["metric"], left["title"]) == ("loads", "Page loads")
    assert left["reason"].startswith(REASON)
    assert [one["metric"] for one in document["metrics"]] == ["conversion", "revenue_per_user"]
    assert "accepted" not in document["exposure"]
    assert document["verdicts"][0]["verdict"] == "ship"
    said = " ".join((night / "report.txt").read_text().split())
    assert "Page loads was left out: its source page_loads was not complete" in said


def test_the_same_night_takes_the_whole_when_the_data_has_come(shop, tmp_path):
    part = run(shop, leave_out=["page_loads"])
    shop.change("INSERT INTO load_log VALUES ('page_loads', DATE '2026-02-07', TIMESTAMP '2026-02-08 03:00')")
    whole = run(shop, leave_out=["page_loads"])
    document = results.read_json(whole / "results.json")
    assert "left_out" not in document["exposure"]
    assert "loads" in [one["metric"] for one in document["metrics"]]
    assert whole != part
    assert shop.current() == whole
    # The night before is in its state now; a store that knows nothing says the same to the byte.
    with connect(shop.warehouse) as warehouse:
        anew = pipeline.run(shop.experiment, AS_OF, warehouse, tmp_path / "anew")
    assert anew.name == whole.name
    assert (anew / "results.json").read_bytes() == (whole / "results.json").read_bytes()


def test_without_leave_to_do_so_nothing_is_left_out(shop):
    with pytest.raises(DataError, match=r"page_loads: 2026-02-07 is not in the load log.*--leave-out-late page_loads"):
        run(shop)


@pytest.mark.parametrize(("role", "old", "new"), [
    ("primary", "primary: [conversion]\n", "primary: [conversion, latency_ms]\n"),
    ("guardrail", "segments:", "guardrails:\n  - {metric: latency_ms, margin: 0.1}\nsegments:"),
    ("activation", "segments:", "activation: loaded\nsegments:"),
])  # fmt: skip
def test_what_decides_is_never_left_out(shop, role, old, new):
    shop.redefine("metrics", "latency_ms:", "loaded: {title: Loaded, kind: proportion, source: page_loads, "
                  "window_days: 1, better: higher}\nlatency_ms:")  # fmt: skip
    shop.redefine(KEY, old, new)
    with pytest.raises(DataError, match="page_loads: 2026-02-07 is not in the load log") as caught:
        run(shop, leave_out=["page_loads"])
    assert "--leave-out-late" not in str(caught.value)


def test_exposures_are_never_left_out(shop):
    shop.change("DELETE FROM load_log WHERE source = 'assignments' AND data_on = DATE '2026-02-07'")
    with pytest.raises(DataError, match="assignments: 2026-02-07 is not in the load log"):
        run(shop, leave_out=["page_loads"])


def test_a_source_that_the_experiment_does_not_read_cannot_be_left_out(shop):
    with pytest.raises(ValueError, match="'page_views' is no outcome source of it, so it cannot be left out"):
        run(shop, leave_out=["page_views"])


def test_by_hand_a_night_leaves_out_what_it_is_told_to(shop, capsys):
    options = ["run", KEY, "--as-of", str(AS_OF), *shop.places]
    assert cli.main(options) == cli.FAILED
    assert cli.main([*options, "--leave-out-late", "page_loads"]) == 0
    assert "ship" in capsys.readouterr().out


def test_when_late_survives_the_definition_file_and_is_no_change_of_the_numbers(shop):
    plain = shop.experiment
    shop.redefine(KEY, "secondary:", "when_late: leave_out\nsecondary:")
    assert shop.experiment.when_late == "leave_out"
    assert experiment_from_json(shop.experiment.as_json()) == shop.experiment
    assert shop.experiment.sha256 == plain.sha256
    old = {name: value for name, value in plain.as_json().items() if name != "when_late"}
    assert experiment_from_json(old) == plain


def test_a_night_that_was_collected_waits_no_more(shop):
    at = dt.datetime(2026, 2, 8, tzinfo=dt.UTC)
    path = waits.note(shop.results, KEY, AS_OF, at, at, [])
    failures.record(shop.results, KEY, AS_OF, "outcomes_ready", "held", held=True)
    with pytest.raises(DataError):
        run(shop)
    assert path.exists() and failures.is_held(shop.results, KEY, AS_OF)
    run(shop, leave_out=["page_loads"])
    assert not path.exists() and failures.read(shop.results, KEY, AS_OF) == {}


def test_columns_that_only_other_experiments_read_hold_no_night(shop):
    metrics = "coupons:\n  {title: Coupons, kind: mean, source: purchases, value: coupon_usd, window_days: 2, " \
              "better: higher}\nlatency_ms:"  # fmt: skip
    shop.redefine("metrics", "latency_ms:", metrics)
    catalogue = load_catalogue(shop.definitions).metrics.values()

    def waiting():
        with connect(shop.warehouse) as warehouse:
            found = pipeline.outcomes_ready(shop.experiment, AS_OF, warehouse, shop.results, catalogue)
        return [one.source for one in found]

    assert waiting() == ["page_loads"], "the table lacks the column of a metric that is not the experiment's"
    shop.change("ALTER TABLE purchases ADD COLUMN coupon_usd DOUBLE",
                "UPDATE purchases SET coupon_usd = 1 WHERE occurred_at < TIMESTAMP '2026-02-07'")  # fmt: skip
    assert waiting() == ["page_loads"]


@pytest.mark.parametrize("as_of", [dt.date(2026, 2, 4), dt.date(2026, 2, 5), AS_OF])
@pytest.mark.parametrize("name", ["conversion", "loads", "revenue_per_user"])
def test_the_next_mature_units_are_those_that_the_next_nights_count(tmp_path, as_of, name):
    shop = late_shop(tmp_path)
    experiment, metric = shop.experiment, shop.experiment.metrics[name]
    days = [dt.date(2026, 2, number) for number in (2, 3, 4) if dt.date(2026, 2, number) < as_of]
    found = next_mature_on(
        experiment, metric, as_of, {"cells": {"day of first exposure": dict.fromkeys(map(str, days))}}
    )

    def mature(night):
        # Units come at ten o'clock.
        ends = matured_before(experiment, metric, night)
        return sum(dt.datetime.combine(day, dt.time(10)) < ends for day in days)

    later = (as_of + dt.timedelta(days=number) for number in range(1, 30))
    assert found == next((night for night in later if mature(night) > mature(as_of)), None)


def test_the_run_says_how_many_units_are_mature_and_when_the_next_are(tmp_path, caplog):
    shop = Shop(tmp_path)
    with caplog.at_level(logging.INFO, logger="abtest_lib.pipeline"):
        shop.collect(dt.date(2026, 2, 5))
    table = caplog.text.splitlines()[1:5]
    rows = {line.split()[0]: line.split()[1:] for line in table[1:]}
    assert set(rows) == {"conversion", "revenue_per_user", "latency_ms"}
    assert table[0].split()[1:5] == ["control", "mature", "treatment", "mature"]
    *mature, waiting, night = rows["conversion"]
    # Units are first seen on the 2nd, 3rd and 4th, two at a time; those of the 2nd are mature after two days and one.
    assert (mature, waiting, night) == (["0", "0"], "400", "2026-02-06")
