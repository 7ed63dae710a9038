from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from abtest_lib.statistics.bayesian import BetaPosterior, NormalPosterior, compare_shares, read_effect
from abtest_lib.statistics.bayesian_arms import (
    read_means,
    read_shares,
    share_effect,
    share_effect_probability,
)

BETAS = st.builds(BetaPosterior, st.floats(0.5, 1e4), st.floats(0.5, 1e4))
NORMALS = st.builds(NormalPosterior, st.floats(-5, 5), st.floats(0.01, 5))
SCALES = st.sampled_from(["difference", "ratio"])


# --- references


def test_best_and_losses_of_three_shares_match_scipy():
    arms = [BetaPosterior(16, 86), BetaPosterior(23, 79), BetaPosterior(20, 90)]
    laws = [stats.beta(arm.alpha, arm.beta) for arm in arms]
    reading = read_shares(arms)
    for number, law in enumerate(laws):
        others = [other for other in laws if other is not law]

        def others_below(x, others=others):
            return math.prod(other.cdf(x) for other in others)

        best = integrate.quad(lambda x, law=law, below=others_below: law.pdf(x) * below(x), 0, 1, epsabs=1e-12)[0]
        highest = integrate.quad(lambda x, law=law, below=others_below: 1 - law.cdf(x) * below(x), 0, 1, epsabs=1e-13)[
            0
        ]
        assert reading.best_probabilities[number] == pytest.approx(best, abs=1e-10)
        assert reading.expected_losses[number] == pytest.approx(highest - law.mean(), abs=1e-10)


def test_highest_of_equal_normals_has_the_tabled_mean():
    # Expected largest of 2, 3, 4 and 5 standard normal values: 1 / sqrt(pi), 3 / (2 sqrt(pi)), 1.02938, 1.16296
    # (Harter 1961, Biometrika 48, table 1).
    for k, expected in ((2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi)), (4, 1.02938), (5, 1.16296)):
        reading = read_means([NormalPosterior(3.0, 2.0)] * k)
        assert reading.expected_losses == pytest.approx([2 * expected] * k, rel=1e-5)
        assert reading.best_probabilities == pytest.approx([1 / k] * k, abs=1e-12)


def uniform_against(treatment, *, above, scale):
    return share_effect_probability(BetaPosterior(1, 1), treatment, above=above, scale=scale)


@pytest.mark.parametrize(
    ("alpha", "beta", "size"),
    [(3e6, 7e6, 0.1), (3e6, 7e6, -0.2), (1e7, 1e2, 0.0), (1e7, 1e2, 0.3), (1e4, 1e8, -0.999)],
)
def test_uniform_control_against_a_narrow_treatment_leaves_its_mean_less_the_difference(alpha, beta, size):
    # P(t - c > d) = E(t - d) for c uniform on [0, 1], as long as t - d is in it.
    treatment = BetaPosterior(alpha, beta)
    found = uniform_against(treatment, above=size, scale="difference")
    assert found == pytest.approx(treatment.mean - size, abs=1e-13)


@pytest.mark.parametrize(
    ("alpha", "beta", "size"), [(5e6, 5e6, 99.0), (5e4, 1e7, -0.99), (3e6, 7e6, 0.0), (1e7, 1e2, 1.0)]
)
def test_uniform_control_against_a_narrow_treatment_leaves_its_mean_over_the_ratio(alpha, beta, size):
    # P(t > (1 + r) c) = E t / (1 + r) for c uniform on [0, 1], as long as that is in it.
    treatment = BetaPosterior(alpha, beta)
    found = uniform_against(treatment, above=size, scale="ratio")
    assert found == pytest.approx(treatment.mean / (1 + size), abs=1e-13)


@pytest.mark.parametrize("size", [0.2, 0.5, 0.7])
def test_difference_of_an_arcsine_and_a_uniform_share_has_its_closed_form(size):
    # E max(t - d, 0) with t = (1 - cos u) / 2 and u uniform on [0, pi]; t rises like a root at 0 and at 1.
    start = math.acos(1 - 2 * size)
    expected = ((0.5 - size) * (math.pi - start) + math.sin(start) / 2) / math.pi
    found = uniform_against(BetaPosterior(0.5, 0.5), above=size, scale="difference")
    assert found == pytest.approx(expected, abs=1e-12)
    mirrored = uniform_against(BetaPosterior(0.5, 0.5), above=-size, scale="difference")
    assert mirrored == pytest.approx(1 - expected, abs=1e-12)


@pytest.mark.parametrize("scale", ["difference", "ratio"])
def test_equal_posteriors_of_a_hundred_billion_units_are_even(scale):
    # The logarithm of a beta function of 1e11 keeps five digits only; the probability keeps them all.
    arm = BetaPosterior(1e11, 1e11)
    assert share_effect_probability(arm, arm, above=0.0, scale=scale) == pytest.approx(0.5, abs=1e-10)


@pytest.mark.parametrize("size", [-0.05, 0.0, 0.02, 0.11])
def test_probability_of_a_difference_matches_scipy(size):
    control, treatment = BetaPosterior(40, 400), BetaPosterior(60, 410)
    c, t = stats.beta(40, 400), stats.beta(60, 410)
    expected = integrate.quad(lambda x: c.pdf(x) * t.sf(x + size), 0, 1, epsabs=1e-13, limit=200)[0]
    assert share_effect_probability(control, treatment, above=size) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [-0.5, 0.0, 0.3, 2.0])
def test_probability_of_a_ratio_matches_scipy(size):
    control, treatment = BetaPosterior(40, 400), BetaPosterior(60, 410)
    c, t = stats.beta(40, 400), stats.beta(60, 410)
    expected = integrate.quad(lambda x: c.pdf(x) * t.sf(x * (1 + size)), 0, 1, epsabs=1e-15, limit=200)[0]
    found = share_effect_probability(control, treatment, above=size, scale="ratio")
    assert found == pytest.approx(expected, rel=1e-8)


def test_difference_of_uniform_shares_is_triangular():
    # c and t uniform on [0, 1]: P(t - c > d) = (1 - d)² / 2; the 97.5 % quantile is 1 - sqrt(0.05).
    uniform = BetaPosterior(1, 1)
    assert share_effect_probability(uniform, uniform, above=0.5) == pytest.approx(0.125, abs=1e-12)
    assert share_effect_probability(uniform, uniform, above=-0.5) == pytest.approx(0.875, abs=1e-12)
    effect = share_effect(uniform, uniform)
    assert effect.interval == pytest.approx((-(1 - math.sqrt(0.05)), 1 - math.sqrt(0.05)), abs=1e-10)
    # t / c has distribution r / 2 below 1 and 1 - 1 / (2 r) above.
    ratio = share_effect(uniform, uniform, scale="ratio")
    assert (ratio.median, *ratio.interval) == pytest.approx((0.0, 0.05 - 1, 20.0 - 1), abs=1e-8)
    assert (effect.scale, ratio.scale) == ("difference", "ratio")


# --- properties


@given(BETAS, BETAS)
@settings(max_examples=20)
def test_two_arms_are_read_as_a_comparison(control, treatment):
    arms, pair = read_shares([control, treatment]), compare_shares(control, treatment)
    assert arms.best_probabilities[1] == pytest.approx(pair.probability_to_beat_control, rel=1e-9, abs=1e-300)
    assert arms.expected_losses == pytest.approx(
        (pair.expected_loss_control, pair.expected_loss_treatment), rel=1e-8, abs=0
    )


@given(NORMALS, NORMALS)
@settings(max_examples=20)
def test_two_means_are_read_as_the_effect_between_them(one, other):
    arms = read_means([one, other])
    effect = read_effect(NormalPosterior(other.mean - one.mean, math.hypot(one.sd, other.sd)))
    assert arms.best_probabilities[1] == pytest.approx(effect.probability_to_beat_control, rel=1e-6, abs=1e-12)
    assert arms.expected_losses[1] == pytest.approx(effect.expected_loss_treatment, rel=1e-6, abs=1e-12)


@given(st.lists(BETAS, min_size=2, max_size=5))
@settings(max_examples=10)
def test_losses_differ_as_the_means_do_and_lower_mirrors_higher(arms):
    reading = read_shares(arms)
    assert sum(reading.best_probabilities) == pytest.approx(1)
    for arm, loss in zip(arms, reading.expected_losses, strict=True):
        assert loss + arm.mean == pytest.approx(reading.expected_losses[0] + arms[0].mean, abs=1e-9)
    failures = [BetaPosterior(arm.beta, arm.alpha) for arm in arms]
    assert read_shares(failures, better="lower").expected_losses == pytest.approx(
        reading.expected_losses, rel=1e-6, abs=0
    )


@given(st.lists(NORMALS, min_size=2, max_size=5))
@settings(max_examples=10)
def test_lowest_mean_is_the_highest_of_the_negatives(arms):
    negatives = [NormalPosterior(-arm.mean, arm.sd) for arm in arms]
    assert read_means(arms, better="lower") == read_means(negatives)


@given(BETAS, BETAS, SCALES)
@settings(max_examples=8)
def test_interval_leaves_half_of_alpha_at_each_side(control, treatment, scale):
    effect = share_effect(control, treatment, scale=scale, alpha=0.1)
    low, high = (share_effect_probability(control, treatment, above=end, scale=scale) for end in effect.interval)
    assert (low, high) == pytest.approx((0.95, 0.05), abs=1e-7)
    assert share_effect_probability(control, treatment, above=0.0, scale=scale) == pytest.approx(
        compare_shares(control, treatment).probability_to_beat_control, abs=1e-9
    )


@given(BETAS, BETAS)
@settings(max_examples=8)
def test_swapping_variants_flips_the_difference(control, treatment):
    there, back = share_effect(control, treatment), share_effect(treatment, control)
    assert there.median == pytest.approx(-back.median, abs=1e-9)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]), abs=1e-9)


def test_far_from_the_best_the_loss_keeps_its_digits():
    arms = [NormalPosterior(0.0, 1.0), NormalPosterior(30.0, 1.0), NormalPosterior(0.0, 1.0)]
    one = read_effect(NormalPosterior(30.0, math.sqrt(2))).expected_loss_treatment
    assert read_means(arms).expected_losses[1] == pytest.approx(2 * one, rel=1e-6, abs=0)


# --- refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: read_shares([BetaPosterior(1, 1)]), "at least"),
        (lambda: read_means([NormalPosterior(1, 1)]), "at least"),
        (lambda: read_shares([BetaPosterior(1, 1)] * 2, better="up"), "better is 'up'"),
        (lambda: read_means([NormalPosterior(1, 1)] * 2, better="up"), "better is 'up'"),
        (lambda: share_effect(BetaPosterior(1, 1), BetaPosterior(1, 1), scale="odds"), "scale is 'odds'"),
        (lambda: share_effect(BetaPosterior(1, 1), BetaPosterior(1, 1), alpha=2.0), "alpha is 2.0"),
        (lambda: share_effect_probability(BetaPosterior(1, 1), BetaPosterior(1, 1), above=1.0), "above is 1.0"),
        (lambda: share_effect_probability(BetaPosterior(1, 1), BetaPosterior(1, 1), above=-1.0), "above is -1.0"),
        (lambda: uniform_against(BetaPosterior(1, 1), above=-1.5, scale="ratio"), "above is -1.5"),
        (lambda: share_effect_probability(BetaPosterior(1, 1), BetaPosterior(1, 1), above=math.nan), "above is nan"),
    ],
)
def test_callers_slip_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- simulation


@pytest.mark.slow
def test_expected_loss_is_what_choosing_loses_under_the_prior():
    # Truths from the prior: what the chosen arm loses on average is what was foretold, to four standard errors.
    rng = np.random.default_rng(20260304)
    shares = rng.beta(20, 180, (120, 3))
    successes = rng.binomial(400, shares)
    lost, foretold = [], []
    for truth, counts in zip(shares, successes.tolist(), strict=True):
        arms = [BetaPosterior.of_counts(x, 400, prior_alpha=20, prior_beta=180) for x in counts]
        reading = read_shares(arms)
        lost.append(truth.max() - truth[reading.choice])
        foretold.append(min(reading.expected_losses))
    assert np.mean(lost) == pytest.approx(np.mean(foretold), abs=4 * np.std(lost) / math.sqrt(120))
