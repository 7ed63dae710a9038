"""A night that would read more than it may leaves out secondary metrics, the last first, and says so."""

import datetime as dt
from dataclasses import replace

import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib import results
from abtest_lib.definitions import NightLimit, load_catalogue
from abtest_lib.errors import DataError, DefinitionError
from abtest_lib.replay import replay
from abtest_lib.state.limits import left_out
from abtest_lib.state.store import readings


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.redefine("metrics", "latency_ms:", "loads:\n  {title: Page loads, kind: count, source: page_loads, "
                  "window_days: 2, lag_days: 1, better: higher}\nlatency_ms:")  # fmt: skip
    shop.redefine(KEY, "secondary: [revenue_per_user]", "secondary: [revenue_per_user, loads]")
    shop.redefine(KEY, "guardrails:\n  - {metric: latency_ms, margin: 0.1}\n", "")
    return shop


def limited(shop, **limit):
    return replace(shop.experiment, night_limit=NightLimit(**limit))


def test_the_last_secondary_metric_goes_first_and_what_decides_stays(shop):
    # 48 bytes a row of a source that was never read: 96 MB for both, 48 MB for purchases alone.
    rows = {"purchases": 1_000_000, "page_loads": 1_000_000}
    (one,) = left_out(limited(shop, megabytes=50), AS_OF, rows, [])
    assert (one["metric"], one["title"]) == ("loads", "Page loads")
    assert one["reason"] == "the night would have read about 96.0 MB, its limit is 50.0 MB"
    assert left_out(limited(shop, megabytes=97), AS_OF, rows, []) == []
    with pytest.raises(DataError, match=r"is 40.0 MB and 0.0 MB have been read; what decides needs about 48"):
        left_out(limited(shop, megabytes=40), AS_OF, rows, [])


def test_what_other_experiments_have_read_that_night_counts(shop):
    rows = {"purchases": 1_000_000, "page_loads": 1_000_000}
    read = {"as_of": str(AS_OF), "source": "searches", "rows": 1, "bytes": 30e6, "seconds": 9.0}
    assert left_out(limited(shop, megabytes=100), AS_OF, rows, [read])[0]["metric"] == "loads"
    yesterday = read | {"as_of": str(AS_OF - dt.timedelta(days=1))}
    assert left_out(limited(shop, megabytes=100), AS_OF, rows, [yesterday]) == []


def test_a_source_that_was_read_before_costs_what_it_cost_then(shop):
    read = {"as_of": "2026-02-01", "source": "page_loads", "rows": 1000, "bytes": 20_000, "seconds": 2.0}
    rows = {"purchases": 0, "page_loads": 100_000}
    assert left_out(limited(shop, seconds=199), AS_OF, rows, [read])[0]["metric"] == "loads"
    assert left_out(limited(shop, seconds=200, megabytes=2), AS_OF, rows, [read]) == []


def test_a_night_at_its_limit_says_what_it_left_out_and_decides(shop):
    shop.change("INSERT INTO page_loads SELECT 'x' || i, TIMESTAMP '2026-02-03 10:00', TIMESTAMP '2026-02-03 11:00', "
                "100 FROM range(30000) AS r (i)")  # fmt: skip
    shop.redefine("sources", "load_log:", "night_limit: {megabytes: 1}\nload_log:")
    night = shop.run()
    assert {row["source"] for row in readings(shop.results)} == {"assignments", "purchases", "customers"}
    document = results.read_json(night / "results.json")
    assert [one["metric"] for one in document["exposure"]["left_out"]] == ["loads"]
    assert [one["metric"] for one in document["metrics"]] == ["conversion", "revenue_per_user"]
    assert document["verdicts"][0]["verdict"] == "ship"
    said = " ".join((night / "report.txt").read_text().split())
    assert "Page loads was left out: the night would have read about" in said


def test_a_night_at_its_limit_is_replayed_the_same_to_the_digit(shop):
    shop.change("INSERT INTO page_loads SELECT 'x' || i, TIMESTAMP '2026-02-03 10:00', TIMESTAMP '2026-02-03 11:00', "
                "100 FROM range(30000) AS r (i)")  # fmt: skip
    shop.redefine("sources", "load_log:", "night_limit: {megabytes: 1}\nload_log:")
    shop.run()
    (one,) = replay(KEY, shop.results)
    assert (one.moved, one.problem) == ((), "")


def test_a_night_that_reads_nothing_more_leaves_nothing_out_and_is_not_refused(shop):
    # As when a night is run again, after reading more than was foreseen.
    read = {"as_of": str(AS_OF), "source": "page_loads", "rows": 1000, "bytes": 2e9, "seconds": 9.0}
    assert left_out(limited(shop, megabytes=100), AS_OF, {"purchases": 0, "page_loads": 0}, [read]) == []


def test_a_limit_that_is_none_is_refused(shop):
    shop.redefine("sources", "load_log:", "night_limit: {megabytes: 0, hours: 3}\nload_log:")
    with pytest.raises(DefinitionError) as problem:
        load_catalogue(shop.definitions)
    assert "night_limit.megabytes is 0; it must be at least 1" in str(problem.value)
    assert "night_limit.hours is not a known key" in str(problem.value)
