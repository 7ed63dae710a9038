from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.planning import Baseline, RequiredUnits, required_days

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

RNG = np.random.default_rng(20250302)
SESSIONS = 1 + RNG.poisson(4.0, 500).astype(float)
ORDERS = RNG.poisson(0.4 * SESSIONS).astype(float)


def test_adjusted_mean_has_the_spread_of_what_the_covariate_leaves():
    explained = np.corrcoef(ORDERS, SESSIONS)[0, 1] ** 2
    adjusted = Baseline.of_adjusted_mean(CoMoments.from_values(ORDERS, SESSIONS))
    plain = Baseline.of_mean(Moments.from_values(ORDERS))
    assert adjusted.sd == pytest.approx(plain.adjusted(explained).sd, rel=1e-12)
    assert plain.sd == pytest.approx(ORDERS.std(ddof=1), rel=1e-12)


def test_ratio_has_the_spread_of_its_linearised_values():
    ratio = ORDERS.mean() / SESSIONS.mean()
    baseline = Baseline.of_ratio(CoMoments.from_values(ORDERS, SESSIONS))
    assert baseline.mean == pytest.approx(ratio)
    assert baseline.sd == pytest.approx(((ORDERS - ratio * SESSIONS) / SESSIONS.mean()).std(ddof=1), rel=1e-10)


def test_relative_effect_and_effect_are_inverse():
    baseline = Baseline(14.4, 38.6)
    assert baseline.relative_effect(baseline.effect(0.05)) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="no meaning"):
        Baseline(0.0, 1.0).relative_effect(1.0)


@pytest.mark.parametrize(
    "baseline, reason",
    [
        (Baseline.of_mean(Moments.from_values([1.0])), "at least 2 units"),
        (Baseline.of_mean(Moments.from_values([1.0, 1.0])), "no value varies"),
        (Baseline.of_mean(Moments(3, np.nan, np.nan)), "finite"),
        (Baseline.of_ratio(CoMoments.from_values([1.0, 2.0], [0.0, 0.0])), "denominator"),
    ],
)
def test_metric_without_a_spread_has_no_baseline(baseline, reason):
    assert isinstance(baseline, NotComputed) and reason in baseline.reason


def test_covariate_that_explains_all_leaves_no_baseline():
    assert isinstance(Baseline.of_adjusted_mean(CoMoments.from_values([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])), NotComputed)


def test_units_are_rounded_up_by_variant_and_added():
    units = RequiredUnits(np.array([10.1, 20.0]), allocation=0.5, treatments=3)
    assert units.control.tolist() == [11, 20] and units.treatment.tolist() == [6, 10]
    assert units.total.tolist() == [29, 50]
    assert units.exact_total == pytest.approx([25.25, 50.0])


@given(st.integers(1, 10_000_000), st.floats(1.0, 1e6), st.integers(0, 60))
def test_enrolment_is_the_fewest_whole_weeks_that_hold_the_units(units, units_per_day, window_days):
    plan = required_days(units, units_per_day=units_per_day, window_days=window_days)
    assert plan.enrolment_days % 7 == 0 and plan.days == plan.enrolment_days + window_days
    assert plan.enrolment_days * units_per_day >= units * (1 - 1e-9)
    assert (plan.enrolment_days - 7) * units_per_day < units


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Baseline(1.0, 0.0), "sd is 0.0"),
        (lambda: Baseline(float("nan"), 1.0), "mean is nan"),
        (lambda: Baseline.of_share(1.0), "share is 1.0"),
        (lambda: Baseline(1.0, 1.0).adjusted(1.0), "r_squared is 1.0"),
        (lambda: required_days(0, units_per_day=5.0), "units is 0"),
        (lambda: required_days(5, units_per_day=0.0), "units_per_day is 0.0"),
        (lambda: required_days(5, units_per_day=1.0, window_days=1.5), "window_days is 1.5"),
    ],
)
def test_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
