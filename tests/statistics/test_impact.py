"""Effects per day."""

from __future__ import annotations

import math

import pytest

from abtest_lib.statistics.impact import daily_impact


def test_impact_is_the_effect_times_the_units_of_a_day():
    # 10,100 units in 14 days at a fifth of the traffic are 3,607.14 a day.
    got = daily_impact(2.0, (1.0, math.inf), 0.5, units=10_100, traffic_share=0.2, days=14)
    assert got.units_per_day == pytest.approx(10_100 / 2.8)
    assert (got.effect, got.standard_error) == pytest.approx((2 * got.units_per_day, 0.5 * got.units_per_day))
    assert got.interval == (pytest.approx(got.units_per_day), math.inf)


def test_what_cannot_be_computed_says_why():
    options = {"traffic_share": 1.0, "days": 7}
    assert daily_impact(1.0, (0.0, 2.0), 0.5, units=0, **options).reason == "the experiment has no units"
    for effect, interval in (
        (math.nan, (0.0, 2.0)),
        (math.inf, (0.0, 2.0)),
        (1.0, (math.nan, 2.0)),
        (1.0, (0.0, math.nan)),
    ):
        got = daily_impact(effect, interval, 0.5, units=9, **options)
        assert got.reason == "the effect is not a finite number"


def test_edges_of_the_arguments_are_allowed():
    # One unit in half a day are two a day; an effect without error has none per day either.
    got = daily_impact(3.0, (-math.inf, 3.0), 0.0, units=1, traffic_share=1.0, days=0.5)
    assert (got.effect, got.interval, got.standard_error, got.units_per_day) == (6.0, (-math.inf, 6.0), 0.0, 2.0)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("traffic_share", 0),
        ("traffic_share", 1.01),
        ("traffic_share", 20),
        ("days", 0),
        ("days", math.inf),
        ("units", -1),
        ("units", 2.5),
        ("standard_error", -1.0),
        ("standard_error", math.nan),
    ],
)
def test_a_slip_of_the_caller_names_the_argument(argument, value):
    options = {"standard_error": 0.5, "units": 9, "traffic_share": 1.0, "days": 7} | {argument: value}
    with pytest.raises(ValueError, match=f"{argument} is {value}"):
        daily_impact(1.0, (0.0, 2.0), **options)
