from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from abtest_lib.statistics.bayesian import NormalPosterior
from abtest_lib.statistics.progress import (
    ConcludingChances,
    LooksToCome,
    chances_to_conclude,
    last_look_only,
    looks_to_come,
    predicted_chances,
    progress,
)
from abtest_lib.statistics.spending import pocock_spending

TAKEN, TO_COME = [180.0, 420.0], [650.0, 700.0, 1_000.0]
Z, EFFECT = 1.4, 0.085


def running(mean, covariance, lower, upper):
    """Return the probability of being within all bounds, by SciPy's multivariate normal."""
    normal = stats.multivariate_normal(mean, covariance, maxpts=2_000_000, abseps=1e-8, releps=1e-8, seed=3)
    return normal.cdf(upper, lower_limit=lower)


def ahead(looks, z, effect):
    """Return mean and covariance of z at the looks to come, given z now."""
    times, at = np.array(looks.information), looks.at
    mean = (z * sqrt(at) + effect * (times - at)) / np.sqrt(times)
    covariance = (np.minimum.outer(times, times) - at) / np.sqrt(np.multiply.outer(times, times))
    return mean, covariance


@pytest.mark.parametrize(
    "effect, expected",
    [(0.990983422887579, 0.12619492669020282), (0.0, 0.022661211312477572), (3.24151555008465, 0.7915541741975431)],
)
def test_conditional_power_matches_integration_by_another_hand(effect, expected):
    # Lan-DeMets O'Brien-Fleming, K = 4, one-sided 0.025, power 0.9, z = 0.5 at look 1, for the trend so far, no effect
    # and the planned effect: gsDesign calls it gsCP. By a composite 16-point Gauss-Legendre recursion by another hand.
    looks = LooksToCome(
        at=0.254570003941174,
        information=(0.509140007882349, 0.763710011823523, 1.0182800157647),
        lower=(-inf,) * 3,
        upper=(2.96313159176907, 2.35904428613076, 2.01409014576215),
    )
    chances = chances_to_conclude(looks, effect=effect, z=0.5)
    assert chances.above[-1] == pytest.approx(expected, abs=1e-6)
    assert chances.below[-1] == 0


@pytest.mark.parametrize("sides", [1, 2])
def test_chances_by_each_look_match_a_multivariate_normal(sides):
    looks = looks_to_come(TAKEN, TO_COME, sides=sides)
    mean, covariance = ahead(looks, Z, EFFECT)
    found = chances_to_conclude(looks, effect=EFFECT, z=Z).either
    for k in range(1, 4):
        wanted = 1 - running(mean[:k], covariance[:k, :k], looks.lower[:k], looks.upper[:k])
        assert found[k] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("prior", [None, NormalPosterior(0.03, 0.05)])
def test_predicted_chances_by_each_look_match_a_multivariate_normal(prior, sides):
    looks = looks_to_come(TAKEN, TO_COME, sides=sides, spending=pocock_spending)
    weight = 0.0 if prior is None else prior.sd**-2
    variance = 1 / (weight + looks.at)
    centre = (Z * sqrt(looks.at) + (0.0 if prior is None else prior.mean * weight)) * variance
    mean, covariance = ahead(looks, Z, centre)
    growth = (np.array(looks.information) - looks.at) / np.sqrt(looks.information)
    covariance = covariance + variance * np.multiply.outer(growth, growth)
    found = predicted_chances(looks, z=Z, prior=prior).either
    for k in range(1, 4):
        wanted = 1 - running(mean[:k], covariance[:k, :k], looks.lower[:k], looks.upper[:k])
        assert found[k] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("information", "upper"),
    [
        ((110.0, 300.0, 303.0), (9.0, 9.0, 0.0)),
        ((300.0, 301.0, 302.0, 303.0), (9.0, 9.0, 0.0, 9.0)),
        ((300.0, 301.0, 302.0, 303.0), (9.0, 9.0, 9.0, 0.0)),
    ],
)
def test_a_bound_that_is_near_is_reached_from_a_look_whose_own_bound_is_far(information, upper):
    looks = LooksToCome(at=100.0, information=information, lower=(-inf,) * len(upper), upper=upper)
    # The bounds of 9 are out of reach, so that z at the look with the bound of 0 decides: its sum of scores is above 0.
    near = information[upper.index(0.0)]
    wanted = stats.norm.cdf(0.25 / sqrt(1 / 100 - 1 / near))
    assert predicted_chances(looks, z=2.5).above[-1] == pytest.approx(wanted, abs=1e-9)


def test_looks_that_cannot_conclude_add_nothing():
    looks = LooksToCome(at=100.0, information=(200.0, 300.0), lower=(-inf, -inf), upper=(1.0, inf))
    wanted = stats.norm.sf((sqrt(200) / 200 - 0.05) / sqrt(1 / 100 - 1 / 200))
    assert predicted_chances(looks, z=0.5).above == pytest.approx((0.0, wanted, wanted), abs=1e-12)


def test_without_a_statistic_neither_side_is_ahead():
    looks = looks_to_come(TAKEN, TO_COME)
    for chances in (chances_to_conclude(looks, effect=0.0), predicted_chances(looks)):
        assert chances.above == pytest.approx(chances.below, abs=1e-12)
        assert chances.above[-1] > 0


def test_predicted_chances_are_the_average_over_the_posterior():
    looks = looks_to_come(TAKEN, TO_COME)
    centre, sd = Z / sqrt(looks.at), 1 / sqrt(looks.at)
    found = predicted_chances(looks, z=Z)
    for look in range(1, 4):

        def weighted(effect, look=look):
            return chances_to_conclude(looks, effect=effect, z=Z).above[look] * stats.norm.pdf(effect, centre, sd)

        wanted = integrate.quad(weighted, centre - 8 * sd, centre + 8 * sd, epsabs=1e-9)[0]
        assert found.above[look] == pytest.approx(wanted, abs=1e-8)


def test_fixed_horizon_has_the_closed_forms():
    looks, critical = last_look_only(400.0, [500.0, 1_000.0], sides=1, alpha=0.025), stats.norm.isf(0.025)
    conditional = chances_to_conclude(looks, effect=EFFECT, z=Z)
    score = Z * sqrt(400.0) + EFFECT * 600.0
    assert conditional.above == (0, 0, pytest.approx(stats.norm.sf((critical * sqrt(1_000.0) - score) / sqrt(600.0))))
    # Spiegelhalter, Freedman, Blackburn (1986): Phi((z - c sqrt(t)) / sqrt(1 - t)) without a prior.
    predicted = predicted_chances(looks, z=Z).above[-1]
    assert predicted == pytest.approx(stats.norm.cdf((Z - critical * sqrt(0.4)) / sqrt(0.6)), rel=1e-12)


def test_before_the_first_look_chances_are_the_power_of_the_plan():
    # Pocock-type spending, two-sided 0.05, power 0.8, five looks: drift and cumulative power by a composite 16-point
    # Gauss-Legendre recursion by another hand.
    power = [0.14496292053634746, 0.3469379822448072, 0.537511593510611, 0.6896265775171553, 0.8]
    looks = looks_to_come([], [0.2, 0.4, 0.6, 0.8, 1.0], spending=pocock_spending)
    assert chances_to_conclude(looks, effect=3.0850859316108394).above[1:] == pytest.approx(power, abs=2e-5)
    single = last_look_only(0.0, [1_000.0])
    effect = (stats.norm.isf(0.025) + stats.norm.isf(0.2)) / sqrt(1_000.0)
    assert chances_to_conclude(single, effect=effect).above[-1] == pytest.approx(0.8, rel=1e-12)


def test_sharp_prior_predicts_as_if_the_effect_were_known():
    looks = looks_to_come(TAKEN, TO_COME)
    predicted = predicted_chances(looks, z=Z, prior=NormalPosterior(EFFECT, 1e-5))
    assert predicted.above == pytest.approx(chances_to_conclude(looks, effect=EFFECT, z=Z).above, abs=1e-6)


@pytest.mark.parametrize(("z", "above", "below"), [(2.5, 1.0, 0.0), (-2.5, 0.0, 1.0), (1.0, 0.0, 0.0)])
def test_at_the_end_of_the_plan_chances_are_0_or_1(z, above, below):
    looks = looks_to_come([200.0, 400.0], [])
    for chances in (chances_to_conclude(looks, effect=0.1, z=z), predicted_chances(looks, z=z)):
        assert (chances.above, chances.below) == ((above,), (below,))
        assert chances.looks_until(0.8) == (0 if above + below else None)


def test_a_bound_that_is_passed_tonight_has_concluded():
    looks = looks_to_come([400.0], [600.0, 1_000.0])
    assert chances_to_conclude(looks, effect=0.0, z=5.0).above == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("z", "above", "below"), [(2.0, 1.0, 0.0), (-2.0, 0.0, 1.0)])
def test_a_bound_that_is_met_tonight_has_concluded(z, above, below):
    looks = LooksToCome(100.0, (200.0,), (-1.9,), (1.9,), lower_now=-2.0, upper_now=2.0)
    chances = chances_to_conclude(looks, effect=0.0, z=z)
    assert (chances.above, chances.below) == ((above,) * 2, (below,) * 2)


@pytest.mark.parametrize(("sides", "critical"), [(1, stats.norm.isf(0.01)), (2, stats.norm.isf(0.005))])
def test_a_single_look_is_an_ordinary_test_and_a_statistic_before_it_plays_no_part(sides, critical):
    looks = looks_to_come([], [100.0], alpha=0.01, sides=sides)
    assert looks.upper == pytest.approx((critical,))
    assert looks.lower == pytest.approx((-critical,) if sides == 2 else (-inf,))
    assert (looks.lower_now, looks.upper_now) == (-inf, inf)
    wanted = (0.0, pytest.approx(stats.norm.sf(critical - 2.0)))
    assert chances_to_conclude(looks, effect=0.2, z=5.0).above == wanted
    assert chances_to_conclude(looks, effect=0.2).above == wanted


def test_looks_on_the_same_data_are_left_out():
    assert looks_to_come([180.0, 180.0, 420.0], TO_COME) == looks_to_come(TAKEN, TO_COME)


def test_spending_by_days_does_not_need_the_planned_information():
    shares = [0.2, 0.4, 0.6, 0.8, 1.0]
    by_days = looks_to_come(TAKEN, TO_COME, spending_time=shares)
    more = looks_to_come([2 * look for look in TAKEN], [2 * look for look in TO_COME], spending_time=shares)
    assert by_days.upper == pytest.approx(more.upper)


@given(st.floats(-2, 2), st.floats(-0.2, 0.2), st.floats(0.01, 100.0), st.sampled_from([1, 2]))
@settings(max_examples=40)
def test_chances_rise_mirror_and_know_no_unit(z, effect, unit, sides):
    looks = looks_to_come(TAKEN, TO_COME, sides=sides)
    for view in (lambda looks, z, effect: chances_to_conclude(looks, effect=effect, z=z), predicted):
        chances = view(looks, z, effect)
        assert all(np.diff(chances.above) >= 0) and all(np.diff(chances.below) >= 0)
        assert 0 <= chances.either[-1] <= 1 + 1e-12
        if sides == 2:
            assert view(looks, -z, -effect).below == pytest.approx(chances.above, abs=1e-10)
        scaled = looks_to_come([unit**2 * look for look in TAKEN], [unit**2 * look for look in TO_COME], sides=sides)
        assert view(scaled, z, effect / unit).above == pytest.approx(chances.above, abs=1e-9)


def predicted(looks, z, effect):
    return predicted_chances(looks, z=z)


def test_forecast_of_a_promising_night_lies_between_the_two_extremes():
    looks = looks_to_come([250.0], [500.0, 750.0, 1_000.0])
    view = progress(looks, z=2.0, smallest_effect=0.08)
    assert view.smallest.above[-1] < view.predicted.above[-1] < view.observed.above[-1]


def test_days_until_80_percent_are_those_at_which_the_chance_reaches_it():
    looks = looks_to_come([100.0], [100.0 * night for night in range(2, 15)])
    chances = chances_to_conclude(looks, effect=0.1, z=1.2)
    nights = chances.looks_until(0.8)
    assert chances.either[nights] >= 0.8 > chances.either[nights - 1]


def test_forecast_believes_a_sharp_prior():
    looks, known = looks_to_come(TAKEN, TO_COME), NormalPosterior(EFFECT, 1e-5)
    view = progress(looks, z=Z, smallest_effect=EFFECT, prior=known)
    assert view.predicted.above == pytest.approx(view.smallest.above, abs=1e-6)


def test_a_chance_that_is_just_reached_counts():
    chances = ConcludingChances(above=(0.0, 0.5, 0.8, 1.0), below=(0.0,) * 4)
    assert (chances.looks_until(), chances.looks_until(1)) == (2, 3)
    with pytest.raises(ValueError, match="probability is 0; it must be above 0"):
        chances.looks_until(0)


@pytest.mark.slow
@pytest.mark.parametrize("sides", [1, 2])
def test_simulated_nights_conclude_as_often_as_foretold(sides):
    rng, repetitions = np.random.default_rng(20260301), 100_000
    nights = np.cumsum([200.0, 90, 40, 110, 80, 60, 120, 75, 30])[1:]
    looks = looks_to_come([60.0, 130.0, 200.0], nights, sides=sides)
    z = 1.1
    known = np.full(repetitions, 0.1)
    drawn = rng.normal(z / sqrt(looks.at), 1 / sqrt(looks.at), repetitions)
    for effects, chances in (
        (known, chances_to_conclude(looks, effect=0.1, z=z)),
        (drawn, predicted_chances(looks, z=z)),
    ):
        score, before = np.full(repetitions, z * sqrt(looks.at)), looks.at
        above, below = np.zeros(repetitions, dtype=bool), np.zeros(repetitions, dtype=bool)
        for k, look in enumerate(looks.information):
            score += rng.normal(effects * (look - before), sqrt(look - before))
            before, free = look, ~(above | below)
            above |= free & (score / sqrt(look) >= looks.upper[k])
            below |= free & (score / sqrt(look) <= looks.lower[k])
            for seen, foretold in ((above.mean(), chances.above[k + 1]), (below.mean(), chances.below[k + 1])):
                assert abs(seen - foretold) < 4 * sqrt(max(foretold * (1 - foretold), 1e-5) / repetitions)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: LooksToCome(-1.0, (1.0,), (-2.0,), (2.0,)), "at is -1.0"),
        (lambda: LooksToCome(inf, (), (), ()), "at is inf"),
        (lambda: LooksToCome(2.0, (1.0,), (-2.0,), (2.0,)), "increase"),
        (lambda: LooksToCome(0.5, (1.0,), (), (2.0,)), "lower has 0"),
        (lambda: looks_to_come([1.0], [2.0], spending_time=[1.0]), "spending_time has 1"),
        (lambda: last_look_only(1.0, []), "to_come is empty"),
        (lambda: last_look_only(1.0, [2.0], sides=3), "sides is 3"),
        (lambda: chances_to_conclude(looks_to_come([1.0], [2.0]), effect=np.nan, z=1.0), "effect is nan"),
        (lambda: chances_to_conclude(looks_to_come([1.0], [2.0]), effect=1.0, z=inf), "z is inf"),
        (lambda: predicted_chances(looks_to_come([], [1.0])), "prior is None"),
        (lambda: progress(looks_to_come([], [1.0]), z=0.0, smallest_effect=1.0), "looks.at is 0.0"),
        (
            lambda: chances_to_conclude(looks_to_come([1.0], [2.0]), effect=1.0, z=0.0).looks_until(2),
            "probability is 2",
        ),
    ],
)
def test_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
