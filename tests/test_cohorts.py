"""Which looks a plan has by a night, and which units each of them counts."""

import datetime as dt
from dataclasses import replace

import pytest
from small_shop import Shop

from abtest_lib.cohorts import arms_by_variant, looks_so_far


@pytest.fixture(scope="module")
def nightly(tmp_path_factory):
    """Enrols 2026-02-02 to 2026-02-12; conversion is mature after 3 days, latency, a guardrail, after 5."""
    experiment = Shop(tmp_path_factory.mktemp("shop")).experiment
    latency = replace(experiment.metrics["latency_ms"], lag_days=3)
    return replace(experiment, ends_on=dt.date(2026, 2, 12), looks="obrien_fleming", minimum_days=4,
                   metrics={**experiment.metrics, "latency_ms": latency})  # fmt: skip


def looks(experiment, metric, night):
    return looks_so_far(experiment, experiment.metrics[metric], dt.date(2026, 2, night))


def test_first_look_waits_for_the_slowest_metric_that_decides(nightly):
    assert nightly.first_look_on == dt.date(2026, 2, 11)
    assert nightly.decides_on == dt.date(2026, 2, 17)
    assert looks(nightly, "latency_ms", 10) == looks(nightly, "conversion", 10) == []
    (slow,), (fast,) = looks(nightly, "latency_ms", 11), looks(nightly, "conversion", 11)
    assert (slow.exposed_before, slow.share) == (dt.date(2026, 2, 6), 0.4)
    assert (fast.exposed_before, fast.share) == (dt.date(2026, 2, 8), 0.6)


def test_one_look_a_night_until_all_units_are_mature(nightly):
    found = looks(nightly, "conversion", 28)
    assert [look.night.day for look in found] == [11, 12, 13, 14, 15]
    assert [look.share for look in found] == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0])
    assert looks(nightly, "conversion", 15) == found


def test_looks_of_earlier_nights_stay_what_they_were(nightly):
    for night in range(11, 18):
        assert looks(nightly, "latency_ms", night) == looks(nightly, "latency_ms", 17)[: night - 10]


def test_metric_that_is_complete_before_the_first_look_is_tested_there_once(nightly):
    """Such as conversion beside chargebacks that take weeks: its units are all mature, and nobody may look before."""
    slow = replace(nightly.metrics["latency_ms"], lag_days=25)
    late = replace(nightly, metrics={**nightly.metrics, "latency_ms": slow})
    assert late.first_look_on == dt.date(2026, 3, 5)
    assert looks_so_far(late, late.metrics["conversion"], dt.date(2026, 3, 4)) == []
    for night in (5, 11, 31):
        (only,) = looks_so_far(late, late.metrics["conversion"], dt.date(2026, 3, night))
        assert (only.night, only.exposed_before, only.share) == (late.first_look_on, late.ends_on, 1.0)


def test_secondary_metric_slower_than_what_decides_begins_with_its_first_day(nightly):
    slow = replace(nightly.metrics["revenue_per_user"], lag_days=20)
    (first, *_, last) = looks_so_far(nightly, slow, dt.date(2026, 4, 1))
    assert (first.exposed_before, first.night, first.share) == (dt.date(2026, 2, 3), dt.date(2026, 2, 25), 0.1)
    assert (last.exposed_before, last.share) == (nightly.ends_on, 1.0)


def test_horizon_is_the_only_look_of_a_fixed_plan(nightly):
    fixed = replace(nightly, looks="horizon")
    assert looks(fixed, "conversion", 16) == []
    (only,) = looks(fixed, "conversion", 17)
    assert (only.night, only.share) == (fixed.decides_on, 1.0)


def test_variant_without_rows_has_no_units(nightly):
    row = {"metric": "conversion", "variant": "control", "n": 10, "mean": 0.5, "m2": 2.5}
    arms = arms_by_variant(nightly, nightly.metrics["conversion"], [row, {**row, "metric": "latency_ms"}])
    assert {variant: arm.n for variant, arm in arms.items()} == {"control": 10, "treatment": 0}
