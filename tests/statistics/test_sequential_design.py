from __future__ import annotations

import math

import pytest
from scipy import optimize, stats

from abtest_lib.statistics.sequential import SequentialBounds, spending_bounds
from abtest_lib.statistics.sequential_classical import pocock_bounds
from abtest_lib.statistics.sequential_design import (
    conditional_power,
    futility_bounds,
    futility_design,
    sequential_design,
)
from abtest_lib.statistics.spending import obrien_fleming_spending, pocock_spending

INF = math.inf
FIXED90 = stats.norm.ppf(0.975) + stats.norm.ppf(0.9)


def region(drift, first, low, high, second):
    """Probability of a first statistic within bounds and a second one above ``second``, by SciPy's bivariate normal."""
    correlation = math.sqrt(first)
    law = stats.multivariate_normal([drift * correlation, drift], [[1, correlation], [correlation, 1]])
    inside = stats.norm.cdf(high - drift * correlation) - stats.norm.cdf(low - drift * correlation)
    below = law.cdf([high, second]) - (law.cdf([low, second]) if math.isfinite(low) else 0.0)
    return inside - below


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_design_has_the_power_and_the_size_that_its_bounds_give(power, sides):
    bounds = spending_bounds([0.4, 1.0], alpha=0.05, sides=sides, spending=pocock_spending)
    design = sequential_design(bounds, alpha=0.05, sides=sides, power=power)
    (low, _), (high, last) = bounds.lower, bounds.upper
    early = stats.norm.sf(high - design.drift * math.sqrt(0.4))
    assert early + region(design.drift, 0.4, low, high, last) == pytest.approx(power, abs=1e-7)
    assert design.cumulative_power == pytest.approx((early, power), abs=1e-7)
    fixed = stats.norm.isf(0.05 / sides) + stats.norm.ppf(power)
    assert design.inflation == pytest.approx((design.drift / fixed) ** 2, rel=1e-10)
    assert design.bounds == bounds
    for drift, size in ((0.0, design.expected_size_without_effect), (design.drift, design.expected_size_with_effect)):
        shift = drift * math.sqrt(0.4)
        stopped = stats.norm.sf(high - shift) + stats.norm.cdf(low - shift)
        assert size == pytest.approx(design.inflation * (1 - 0.6 * stopped), rel=1e-8)
    named = sequential_design(pocock_bounds([0.5, 1.0]), alpha=0.05, sides=2, power=0.8)
    assert sequential_design(pocock_bounds([0.5, 1.0])) == named


def test_test_read_once_is_the_fixed_one():
    design = sequential_design(spending_bounds([1.0]), power=0.9)
    assert (design.drift, design.inflation) == pytest.approx((FIXED90, 1.0), rel=1e-8)
    assert (design.expected_size_without_effect, design.expected_size_with_effect) == pytest.approx((1, 1), rel=1e-8)
    design = futility_design([1.0])
    assert (design.drift, design.inflation) == pytest.approx((FIXED90, 1.0), rel=1e-8)
    assert design.bounds.lower == design.bounds.upper == pytest.approx((stats.norm.isf(0.025),), abs=1e-8)


@pytest.mark.parametrize("binding", [False, True])
def test_futility_spends_beta_and_the_bounds_meet(binding):
    options = {"alpha": 0.05, "power": 0.8, "spending": pocock_spending, "binding": binding}
    design = futility_design([0.4, 1.0], futility_spending=obrien_fleming_spending, **options)
    (low, last_low), (high, last) = design.bounds.lower, design.bounds.upper
    assert last_low == last
    assert stats.norm.sf(high) == pytest.approx(pocock_spending(0.4, 0.05), abs=1e-10)
    assert stats.norm.cdf(low - design.drift * math.sqrt(0.4)) == pytest.approx(
        obrien_fleming_spending(0.4, 0.2), abs=1e-7
    )
    heeded = low if binding else -INF
    assert stats.norm.sf(high) + region(0.0, 0.4, heeded, high, last) == pytest.approx(0.05, abs=1e-7)
    early = stats.norm.sf(high - design.drift * math.sqrt(0.4))
    assert early + region(design.drift, 0.4, low, high, last) == pytest.approx(0.8, abs=1e-7)
    assert design.bounds.spent == pytest.approx((pocock_spending(0.4, 0.05), 0.05))
    assert futility_bounds([0.4, 1.0], drift=design.drift, **options) == design.bounds


def test_defaults_are_those_that_are_named():
    named = {"alpha": 0.025, "power": 0.9, "spending": obrien_fleming_spending, "binding": False}
    named["futility_spending"] = obrien_fleming_spending
    assert futility_design([0.4, 1.0]) == futility_design([0.4, 1.0], **named)
    assert futility_bounds([0.4, 0.8], drift=3.3) == futility_bounds([0.4, 0.8], drift=3.3, **named)


def test_futility_bounds_meet_where_the_spending_time_ends():
    options = {"drift": 3.2, "power": 0.8, "spending": pocock_spending}
    early = futility_bounds([0.4, 0.7], **options)
    ended = futility_bounds([0.4, 0.7], spending_time=[0.4, 1.0], **options)
    assert early.lower[-1] < early.upper[-1]
    assert ended.lower[-1] == ended.upper[-1]
    assert ended.spent == pytest.approx((pocock_spending(0.4, 0.025), 0.025))
    assert futility_bounds([0.3, 0.6, 0.9], spending_time=[0.3, 0.6, 1.0], **options).lower[-1] == pytest.approx(
        futility_bounds([0.3, 0.6, 0.9], spending_time=[0.3, 0.6, 1.0], **options).upper[-1]
    )
    # Alpha and beta are both spent by the time that is given, whatever the information.
    slow = futility_bounds([0.4, 0.7], spending_time=[0.2, 0.5], **options)
    assert slow.upper[0] == pytest.approx(stats.norm.isf(pocock_spending(0.2, 0.025)), abs=1e-8)
    beta = stats.norm.ppf(obrien_fleming_spending(0.2, 0.2))
    assert slow.lower[0] == pytest.approx(3.2 * math.sqrt(0.4) + beta, abs=1e-8)
    # A small effect hoped for: its bound for futility is that of beta alone.
    low = futility_bounds([0.4], drift=0.5, power=0.8)
    assert low.lower[0] == pytest.approx(
        0.5 * math.sqrt(0.4) + stats.norm.ppf(obrien_fleming_spending(0.4, 0.2)), abs=1e-8
    )
    # Where both could be passed, the upper one goes first.
    crossed = futility_bounds([0.9, 0.95], drift=8.0, power=0.8)
    assert all(low <= high for low, high in zip(crossed.lower, crossed.upper, strict=True))


@pytest.mark.parametrize(("lower", "low"), [(None, -INF), ([-0.5, -1.0], -0.5)])
def test_conditional_power_is_that_of_the_increments(lower, low):
    # From z = 1.2 at 0.3 the scores at 0.6 and 1 are normal; theta is a drift by information.
    z, at, theta, first, last = 1.2, 0.3, 2.0, 2.5, 2.1
    score = z * math.sqrt(at)
    means = [score + theta * (look - at) for look in (0.6, 1.0)]
    law = stats.multivariate_normal(means, [[0.3, 0.3], [0.3, 0.7]])
    high, second, floor = first * math.sqrt(0.6), last, low * math.sqrt(0.6)
    spread = math.sqrt(0.3)
    inside = stats.norm.cdf((high - means[0]) / spread) - stats.norm.cdf((floor - means[0]) / spread)
    below = law.cdf([high, second]) - (law.cdf([floor, second]) if math.isfinite(floor) else 0.0)
    want = stats.norm.sf((high - means[0]) / spread) + inside - below
    found = conditional_power([0.6, 1.0], [first, last], z=z, at=at, theta=theta, lower=lower)
    assert found == pytest.approx(want, abs=1e-6)


def test_drift_is_found_however_much_the_bounds_cost():
    # One bound of b at the end asks for the drift b + quantile of the power: up to 30 times that of the fixed test.
    fixed = stats.norm.isf(0.025) + stats.norm.ppf(0.8)
    for bound in (1.96, 5.0, 20.0, 60.0):
        bounds = SequentialBounds((1.0,), (-INF,), (bound,), (0.0,))
        assert sequential_design(bounds).drift == pytest.approx(bound + stats.norm.ppf(0.8), rel=1e-7)
    assert bound + stats.norm.ppf(0.8) < 30 * fixed
    with pytest.raises(ValueError, match=r"^power is out of reach of these bounds, even with 30 times the effect\.$"):
        sequential_design(SequentialBounds((1.0,), (-INF,), (INF,), (0.0,)))


def test_power_at_the_end_is_a_root_of_the_tail():
    bounds = spending_bounds([1.0], alpha=0.1)
    drift = optimize.brentq(lambda d: stats.norm.sf(bounds.upper[0] - d) - 0.7, 0, 9)
    assert sequential_design(bounds, alpha=0.1, power=0.7).drift == pytest.approx(drift, rel=1e-8)


def test_what_cannot_be_is_named():
    bounds = spending_bounds([1.0])
    for power in (0.025, 1.0, 0.0, math.nan):
        message = rf"^power is {power}; it must be between the one-sided alpha \(0\.025\) and 1\.$"
        for call in (
            lambda power: sequential_design(bounds, power=power),
            lambda power: futility_design([1.0], power=power),
            lambda power: futility_bounds([1.0], drift=3.0, power=power),
        ):
            with pytest.raises(ValueError, match=message):
                call(power)
    for end in (0.9, 1.1):
        for call in (lambda end: sequential_design(spending_bounds([end])), lambda end: futility_design([end])):
            with pytest.raises(ValueError, match=rf"^information ends at {end}; it must end at 1\.$"):
                call(end)
    for drift in (0.0, -1.0, INF, math.nan):
        with pytest.raises(ValueError, match=rf"^drift is {drift}; it must be above 0\.$"):
            futility_bounds([1.0], drift=drift)
    for at in (0.0, -0.1, 0.4996, 0.6, math.nan):
        with pytest.raises(ValueError, match=rf"^at is {at}; it must be above 0 and a thousandth below the next look"):
            conditional_power([0.5], [2.0], z=1.0, at=at, theta=1.0)
    assert 0 < conditional_power([0.5], [2.0], z=1.0, at=0.4994, theta=1.0) < 1
    for name in ("z", "theta"):
        with pytest.raises(ValueError, match=rf"^{name} is inf; it must be a finite number\.$"):
            conditional_power([0.5], [2.0], **({"z": 1.0, "at": 0.2, "theta": 1.0} | {name: INF}))
