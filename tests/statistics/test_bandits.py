from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abtest_lib.statistics.bandits import (
    adaptive_estimate,
    best_mean_probabilities,
    best_share_probabilities,
    draw_arms,
    epsilon_greedy_allocation,
    past_means,
    regret_against_even_split,
    thompson_allocation,
)
from abtest_lib.statistics.bayesian import BetaPosterior, NormalPosterior, compare_shares, read_effect
from abtest_lib.statistics.estimates import NotComputed

BETAS = st.lists(st.builds(BetaPosterior, st.floats(0.5, 1e4), st.floats(0.5, 1e4)), min_size=2, max_size=5)
NORMALS = st.lists(st.builds(NormalPosterior, st.floats(-5, 5), st.floats(0.01, 5)), min_size=2, max_size=5)
SHARES = st.lists(st.floats(0.01, 1), min_size=2, max_size=6).map(lambda parts: [part / sum(parts) for part in parts])


# --- references


def test_normal_probabilities_match_quadrature():
    # scipy.integrate.quad by another hand (1e-7): four arms of mean 1 and standard deviations 0.1 to 0.4.
    arms = [NormalPosterior(1.0, sd) for sd in (0.1, 0.2, 0.3, 0.4)]
    expected = [0.15104952500873048, 0.21900883673502006, 0.28717951643063333, 0.34276212182561605]
    assert best_mean_probabilities(arms) == pytest.approx(expected, abs=1e-7)


def test_three_uniform_and_one_certain_arm_match_the_closed_form():
    # P(Beta(3, 1) beats two uniforms) is the integral of 3 x**2 * x**2, which is 3/5.
    assert best_share_probabilities([BetaPosterior(3, 1), BetaPosterior(1, 1), BetaPosterior(1, 1)]) == pytest.approx(
        [0.6, 0.2, 0.2], abs=1e-12
    )


def test_uniform_weighting_with_an_even_split_is_the_mean_of_scores_worked_by_hand():
    # Arms at 1/2, predictions 0: scores are 2 * reward where played, else 0; arm 0 (2, 0, 4, 0), arm 1 (0, 6, 0, 2).
    # Means 1.5 and 2; squared deviations sum to 11 and 24; of the difference's scores -2, 6, -4, 2 about 0.5 to 59.
    result = adaptive_estimate(
        [1.0, 3.0, 2.0, 1.0], [0, 1, 0, 1], np.full((4, 2), 0.5), np.zeros((4, 2)), weighting="uniform"
    )
    assert result.means == pytest.approx((1.5, 2.0))
    assert result.standard_errors == pytest.approx((math.sqrt(11) / 4, math.sqrt(24) / 4))
    assert result.differences == pytest.approx((0.5,))
    assert result.difference_errors == pytest.approx((math.sqrt(59) / 4,))


def test_constant_weighting_equals_the_uniform_one_when_the_split_never_moves():
    rng = np.random.default_rng(1)
    history = (rng.normal(size=50), np.arange(50) % 2, np.tile([0.3, 0.7], (50, 1)), np.zeros((50, 2)))
    constant, uniform = (adaptive_estimate(*history, weighting=each) for each in ("constant", "uniform"))
    assert constant.means == pytest.approx(uniform.means)
    assert constant.difference_errors == pytest.approx(uniform.difference_errors)


# --- properties


@given(BETAS)
def test_share_probabilities_sum_to_one(posteriors):
    probabilities = best_share_probabilities(posteriors)
    assert math.fsum(probabilities) == pytest.approx(1, abs=1e-12)
    assert min(probabilities) >= 0


@given(NORMALS)
def test_mean_probabilities_sum_to_one_and_follow_their_arms(posteriors):
    probabilities = best_mean_probabilities(posteriors)
    assert math.fsum(probabilities) == pytest.approx(1, abs=1e-12)
    assert best_mean_probabilities(posteriors[::-1])[::-1] == pytest.approx(probabilities, abs=1e-9)


@given(st.builds(BetaPosterior, st.floats(0.5, 1e4), st.floats(0.5, 1e4)), st.floats(0.5, 1e4))
def test_two_shares_agree_with_the_comparison_of_two(control, alpha):
    treatment = BetaPosterior(alpha, control.beta)
    expected = compare_shares(control, treatment).probability_to_beat_control
    assert best_share_probabilities([control, treatment])[1] == pytest.approx(expected, abs=1e-12)


@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(-5, 5), st.floats(0.01, 5))
def test_two_means_agree_with_the_normal_difference(mean_a, sd_a, mean_b, sd_b):
    expected = read_effect(NormalPosterior(mean_b - mean_a, math.hypot(sd_a, sd_b))).probability_to_beat_control
    found = best_mean_probabilities([NormalPosterior(mean_a, sd_a), NormalPosterior(mean_b, sd_b)])[1]
    assert found == pytest.approx(expected, abs=1e-9)


@given(SHARES, st.floats(0.001, 1))
def test_thompson_allocation_keeps_the_floor_and_sums_to_one(shares, part):
    floor = part / len(shares)
    allocation = thompson_allocation(shares, floor=floor)
    assert math.fsum(allocation) == pytest.approx(1, abs=1e-9)
    assert min(allocation) >= floor


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(0, 1), st.floats(0.001, 1), st.integers(0, 99))
def test_epsilon_greedy_keeps_the_floor_sums_to_one_and_repeats_with_its_seed(means, epsilon, part, seed):
    options = {"epsilon": epsilon, "floor": part / len(means), "seed": seed}
    allocation = epsilon_greedy_allocation(means, **options)
    assert math.fsum(allocation) == pytest.approx(1, abs=1e-9)
    assert min(allocation) >= options["floor"]
    assert allocation == epsilon_greedy_allocation(means, **options)
    assert means[int(np.argmax(allocation))] == max(means) or max(allocation) == pytest.approx(min(allocation))


def test_seed_decides_between_equal_arms_and_only_there():
    tied = {epsilon_greedy_allocation([1, 1], epsilon=0.1, floor=0.01, seed=seed)[0] > 0.5 for seed in range(20)}
    clear = {tuple(epsilon_greedy_allocation([1, 2], epsilon=0.1, floor=0.01, seed=seed)) for seed in range(20)}
    assert tied == {True, False}
    assert len(clear) == 1


def test_drawn_arms_repeat_with_their_seed_and_follow_the_allocation():
    arms = draw_arms([0.2, 0.8], 10_000, seed=7)
    assert np.array_equal(arms, draw_arms([0.2, 0.8], 10_000, seed=7))
    assert not np.array_equal(arms, draw_arms([0.2, 0.8], 10_000, seed=8))
    assert arms.mean() == pytest.approx(0.8, abs=4 * 0.4 / 100)


@given(st.lists(st.tuples(st.integers(0, 1_000), st.floats(0, 5)), min_size=2, max_size=6))
def test_regret_is_never_negative_and_an_even_split_saves_nothing(arms):
    units, means = zip(*arms, strict=True)
    assert regret_against_even_split(units, means).regret >= 0
    assert regret_against_even_split([10] * len(means), means).saved == pytest.approx(0, abs=1e-9)


def test_past_means_never_look_at_the_same_night():
    found = past_means([1.0, 0.0, 1.0, 0.0, 1.0], [0, 0, 1, 0, 0], [1, 1, 2, 2, 3], arm_count=2)
    assert found.tolist() == [[0, 0], [0, 0], [0.5, 0], [0.5, 0], [1 / 3, 1]]


# --- refusals


def test_arm_never_played_is_not_computed():
    result = adaptive_estimate([1.0, 2.0], [0, 0], np.full((2, 2), 0.5), np.zeros((2, 2)))
    assert result == NotComputed("arm 1 was never played")


def test_arm_without_any_spread_is_not_computed():
    result = adaptive_estimate([0.0, 0.0, 1.0, 2.0], [0, 0, 1, 1], np.full((4, 2), 0.5), np.zeros((4, 2)))
    assert result == NotComputed("the rewards of arm 0 do not vary")


HALVES = [[0.5, 0.5]] * 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_share_probabilities([BetaPosterior(1, 1)]), "posteriors has 1 arm;"),
        (lambda: thompson_allocation([0.5, 0.6], floor=0.1), "sum to 1"),
        (lambda: thompson_allocation([0.5, 0.5], floor=0.6), "floor is 0.6"),
        (lambda: thompson_allocation([0.5, 0.5], floor=0.0), "floor is 0.0"),
        (lambda: epsilon_greedy_allocation([1, 2], epsilon=2, floor=0.1, seed=1), "epsilon is 2"),
        (lambda: epsilon_greedy_allocation([1, math.nan], epsilon=0.1, floor=0.1, seed=1), "must be finite"),
        (lambda: draw_arms([0.5, 0.5], -1, seed=1), "units is -1"),
        (lambda: regret_against_even_split([1], [1.0, 2.0]), "one count for each"),
        (lambda: regret_against_even_split([1, -1], [1.0, 2.0]), "at least 0"),
        (lambda: past_means([1.0, 2.0], [0, 1], [2, 1], arm_count=2), "never fall"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 2], HALVES, HALVES), "from 0 to 1"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], [[1.0, 0.0]] * 2, HALVES), "above 0"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], HALVES, [[0.5, math.nan]] * 2), "predictions must be finite"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], HALVES, HALVES, weighting="best"), "weighting is 'best'"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], HALVES, HALVES, weighting="two-point", decay=1), "decay is 1"),
    ],
)
def test_callers_slip_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- simulation


def run_bandit(truths, nights, units, seed):
    # Thompson's split each night from beta posteriors with a floor of 0.1; returns what adaptive_estimate needs.
    rng, count = np.random.default_rng(seed), len(truths)
    successes, played = np.zeros(count), np.zeros(count)
    history = {"rewards": [], "arms": [], "nights": [], "probabilities": []}
    for night in range(nights):
        posteriors = [BetaPosterior(1 + s, 1 + n - s) for s, n in zip(successes, played, strict=True)]
        split = thompson_allocation(best_share_probabilities(posteriors), floor=0.1)
        arms = draw_arms(split, units, seed=int(rng.integers(1 << 31)))
        rewards = (rng.random(units) < np.asarray(truths)[arms]).astype(float)
        successes += np.bincount(arms, rewards, minlength=count)
        played += np.bincount(arms, minlength=count)
        for name, value in (("rewards", rewards), ("arms", arms), ("nights", [night] * units)):
            history[name].extend(value)
        history["probabilities"].extend([split] * units)
    return history, played


@pytest.mark.slow
def test_adaptive_interval_covers_and_the_bandit_saves_regret():
    # 100 bandits of 10 nights with 100 units: shares 0.3 and 0.4. Four standard errors below 0.95.
    truths, covered, saved = (0.3, 0.4), [], []
    for seed in range(100):
        history, played = run_bandit(truths, 10, 100, seed)
        guesses = past_means(history["rewards"], history["arms"], history["nights"], arm_count=2)
        result = adaptive_estimate(history["rewards"], history["arms"], history["probabilities"], guesses)
        low, high = result.difference_intervals[0]
        covered.append(low <= 0.1 <= high)
        saved.append(regret_against_even_split(played, truths).saved)
    assert np.mean(covered) > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 100)
    assert np.mean(saved) > 0
    assert run_bandit(truths, 2, 50, seed=3)[0] == run_bandit(truths, 2, 50, seed=3)[0]
