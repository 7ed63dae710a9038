from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import NormalIndPower

from abtest_lib.statistics.bayesian import NormalPosterior, normal_posterior
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.power_estimates import further_data, information_needed, power_estimate, power_of_each
from abtest_lib.statistics.progress import chances_to_conclude, last_look_only
from abtest_lib.statistics.tails import critical_value

COUNTED = ("effect side", "either side")
SIDES = st.sampled_from(["two-sided", "greater", "less"])


@pytest.mark.parametrize(
    "error, effect, power, prior, now, further",
    [
        (0.03238577401591682, 0.05, 0.8, None, 0.33890640263074, 2.2928466796875),
        (0.030706739454894928, 0.03, 0.8944271909999159, NormalPosterior(0.0, 0.1), 0.14280180395060516, 9.85546875),
        (0.0917978959857732, 0.05, 0.8, None, None, 25.45703125),
    ],
)
def test_power_and_further_data_match_growthbook(error, effect, power, prior, now, further):
    # GrowthBook's engine, git 8f1db44, MidExperimentPower; its search stops at a thousandth of the factor.
    options = {"counted": "either side", "prior": prior}
    if now is not None:
        assert power_estimate(effect, error, **options) == pytest.approx(now, rel=1e-8)
    assert further_data(effect, error, power=power, **options) == pytest.approx(further, rel=1e-3)


@pytest.mark.parametrize(
    "effect, n, prior, power",
    [(0.05, 4_000, None, 0.14069392453081447), (0.05, 40_000, NormalPosterior(0, 0.3), 0.786718514369212)],
)
def test_power_of_a_relative_effect_matches_growthbook(effect, n, prior, power):
    # GrowthBook's planning page (git 8f1db44): mean 10, sd 25, n per variant, credible interval of 95 %.
    error = 2.5 * sqrt(1 / n + (1 + effect) ** 2 / n)
    assert power_estimate(effect, error, counted="either side", prior=prior) == pytest.approx(power, rel=1e-6)


@given(st.floats(0.1, 3.0), st.integers(20, 500), st.sampled_from([("two-sided", "two-sided"), ("greater", "larger")]))
@settings(max_examples=30)
def test_power_matches_statsmodels(effect, n, sides):
    ours, theirs = sides
    wanted = NormalIndPower().power(effect, n, 0.05, 1.0, theirs)
    found = power_estimate(effect, sqrt(2 / n), alternative=ours, counted="either side")
    assert found == pytest.approx(wanted, rel=1e-9)


def test_power_of_a_credible_interval_is_the_share_of_estimates_whose_interval_leaves_out_0():
    prior, error, effect = NormalPosterior(0.02, 0.05), 0.04, 0.06
    estimates = np.random.default_rng(20260301).normal(effect, error, 20_000)
    shown = [normal_posterior(float(each), error, prior=prior).interval()[0] > 0 for each in estimates]
    assert power_estimate(effect, error, prior=prior) == pytest.approx(np.mean(shown), abs=0.014)


def test_swapping_variants_keeps_the_power():
    prior, mirrored = NormalPosterior(0.02, 0.05), NormalPosterior(-0.02, 0.05)
    for side, other in (("two-sided", "two-sided"), ("greater", "less")):
        found = power_estimate(0.06, 0.04, alternative=side, prior=prior)
        assert power_estimate(-0.06, 0.04, alternative=other, prior=mirrored) == pytest.approx(found, rel=1e-12)


@given(st.floats(0.02, 2.0), st.floats(0.3, 0.99), SIDES)
@settings(max_examples=40)
def test_further_data_reach_the_power(effect, power, alternative):
    effect = -effect if alternative == "less" else effect
    more = further_data(effect, 0.5, power=power, alternative=alternative)
    reached = power_estimate(effect, 0.5 / sqrt(1 + more), alternative=alternative)
    assert reached >= power - 1e-9 and (more == 0 or reached == pytest.approx(power, abs=1e-8))


@given(st.floats(1.0, 500.0), st.floats(-2.5, 1.9), st.floats(0.05, 0.5), st.floats(0.5, 0.99))
@settings(max_examples=60)
def test_information_needed_has_the_conditional_power(at, z, effect, power):
    needed = information_needed(at=at, z=z, effect=effect, power=power)
    if needed <= at * (1 + 2e-3):
        return
    looks = last_look_only(at, [needed])
    assert chances_to_conclude(looks, effect=effect, z=z).above[-1] == pytest.approx(power, abs=1e-6)


def test_information_needed_from_the_start_is_the_classical_plan():
    units = NormalIndPower().solve_power(0.1, power=0.8, alpha=0.05)
    # The smaller tail counts for statsmodels.
    assert information_needed(at=0.0, z=0.0, effect=0.1) == pytest.approx(units / 2, rel=1e-5)
    assert information_needed(at=0.0, z=0.0, effect=-0.1) == pytest.approx(units / 2, rel=1e-5)


def test_information_needed_where_nothing_is_needed_or_nothing_helps():
    assert information_needed(at=50.0, z=2.2, effect=0.1) == 50.0
    assert isinstance(information_needed(at=50.0, z=1.0, effect=0.0), NotComputed)
    assert isinstance(information_needed(at=50.0, z=1.0, effect=-0.1, alternative="greater"), NotComputed)


@given(st.floats(1.0, 300.0), st.floats(-2.0, 1.9), st.floats(0.05, 0.5), st.floats(0.01, 0.2))
@settings(max_examples=40)
def test_swapping_variants_keeps_the_information_needed(at, z, effect, alpha):
    plan = {"at": at, "alpha": alpha}
    two_sided = information_needed(z=z, effect=effect, **plan)
    assert information_needed(z=-z, effect=-effect, **plan) == two_sided
    greater = information_needed(z=z, effect=effect, alternative="greater", **plan)
    assert information_needed(z=-z, effect=-effect, alternative="less", **plan) == greater
    assert greater == information_needed(z=z, effect=effect, at=at, alpha=2 * alpha)


def test_information_needed_at_the_edges():
    # An even chance needs the statistic expected to be the critical value; one at the critical value needs no more.
    critical = stats.norm.isf(0.025)
    assert information_needed(at=0.0, z=0.0, effect=0.2, power=0.5) == pytest.approx((critical / 0.2) ** 2)
    assert information_needed(at=9.0, z=critical_value(0.05), effect=0.2) == 9.0
    assert isinstance(information_needed(at=9.0, z=critical_value(0.05), effect=0.2), float)
    assert information_needed(at=9.0, z=2.0, effect=-0.2, alternative="greater") == 9.0
    assert information_needed(at=9.0, z=2.0, effect=0.0) == 9.0
    # Before any data there is no statistic.
    assert information_needed(at=0.0, z=3.0, effect=0.2) == information_needed(at=0.0, z=0.0, effect=0.2)
    result = information_needed(at=9.0, z=0.0, effect=0.0)
    assert isinstance(result, NotComputed) and result.reason.startswith("the assumed effect does not lead")


def test_side_that_counts_does_not_matter_where_there_is_one():
    for alternative in ("greater", "less"):
        found = [power_estimate(0.3, 0.4, alternative=alternative, counted=each) for each in COUNTED]
        assert found[0] == found[1]


@given(st.floats(-3.0, 3.0), st.floats(0.1, 3.0), st.floats(-1.0, 1.0), st.floats(0.1, 3.0), SIDES)
@settings(max_examples=60)
def test_power_with_a_prior_is_that_of_the_posterior_mean(effect, error, mean, sd, alternative):
    # The posterior's mean, as the estimate varies, is normal: compared with its critical value on the effect's side.
    share = sd**2 / (sd**2 + error**2)
    critical = stats.norm.isf(0.05 if alternative != "two-sided" else 0.025) * error * sqrt(share)
    posterior = stats.norm(share * effect + (1 - share) * mean, share * error)
    below = alternative == "less" or (alternative == "two-sided" and effect < 0)
    wanted, other = posterior.cdf(-critical), posterior.sf(critical)
    if not below:
        wanted, other = other, wanted
    prior = NormalPosterior(mean, sd)
    assert power_estimate(effect, error, alternative=alternative, prior=prior) == pytest.approx(wanted, abs=1e-12)
    if alternative == "two-sided":
        found = power_estimate(effect, error, counted="either side", prior=prior)
        assert found == pytest.approx(wanted + other, abs=1e-12)


def test_arrays_give_what_numbers_give():
    single = [power_estimate(effect, error) for effect, error in ((1.0, 0.5), (-2.0, 0.7))]
    assert all(isinstance(each, float) for each in single)
    assert power_estimate([1.0, -2.0], [0.5, 0.7]) == pytest.approx(single, rel=1e-12)
    unsigned = power_estimate(np.array([2], dtype=np.uint8), np.array([1], dtype=np.uint8), counted="either side")
    assert unsigned == pytest.approx([power_estimate(2.0, 1.0, counted="either side")], rel=1e-12)


@given(st.sampled_from([0.01, 0.1]), st.floats(0.05, 1.0), st.sampled_from([None, NormalPosterior(0.1, 0.4)]))
@settings(max_examples=30)
def test_further_data_reach_the_power_that_is_asked_for(alpha, effect, prior):
    options = {"alpha": alpha, "counted": "either side", "prior": prior}
    more = further_data(effect, 0.5, power=0.7, **options)
    assert more >= 0
    if more > 0:
        assert power_estimate(effect, 0.5 / sqrt(1 + more), **options) == pytest.approx(0.7, abs=1e-8)
    else:
        assert power_estimate(effect, 0.5, **options) >= 0.7


def test_all_of_several_metrics_need_the_root_of_the_power():
    assert power_of_each(0.8, 2) ** 2 == pytest.approx(0.8)
    assert power_of_each(0.8, 1) == 0.8


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: power_estimate(np.nan, 1.0), "effect is nan"),
        (lambda: power_estimate(1.0, 0.0), "standard_error is 0.0"),
        (lambda: power_estimate(1.0, 1.0, counted="all"), "counted is 'all'"),
        (lambda: further_data(0.0, 1.0), "effect is 0.0"),
        (lambda: further_data(-1.0, 1.0, alternative="greater"), "effect is -1.0"),
        (lambda: further_data(1.0, 1.0, power=80), "power is 80"),
        (lambda: power_estimate([1.0, np.inf], 1.0), "effect is"),
        (lambda: power_estimate(1.0, 1.0, alternative="both"), "alternative is 'both'"),
        (lambda: further_data(1.0, 0.0), "^standard_error is 0.0"),
        (lambda: further_data(1.0, 1.0, alternative="both"), "alternative is 'both'"),
        (lambda: power_of_each(0.0, 2), "power is 0.0"),
        (lambda: power_of_each(0.8, 1.5), "metrics is 1.5"),
        (lambda: information_needed(at=inf, z=0.0, effect=1.0), "at is inf"),
        (lambda: information_needed(at=1.0, z=0.0, effect=inf), "effect inf"),
        (lambda: information_needed(at=1.0, z=0.0, effect=1.0, power=1.0), "power is 1.0"),
        (lambda: information_needed(at=1.0, z=0.0, effect=1.0, alternative="both"), "alternative is 'both'"),
        (lambda: power_of_each(1.0, 2), "power is 1.0"),
        (lambda: power_of_each(0.8, 0), "metrics is 0"),
        (lambda: information_needed(at=-1.0, z=0.0, effect=1.0), "at is -1.0"),
        (lambda: information_needed(at=1.0, z=inf, effect=1.0), "z inf"),
        (lambda: information_needed(at=1.0, z=0.0, effect=1.0, power=0.3), "power is 0.3"),
    ],
)
def test_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
