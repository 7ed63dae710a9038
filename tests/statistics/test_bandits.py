from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

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


# Eight units over three nights, three arms: rewards, arms, and each night's allocation and predictions.
HISTORY = (
    [1.0, 0.5, 2.0, 1.5, 0.0, 3.0, 2.5, 1.0],
    [0, 1, 2, 2, 0, 2, 1, 2],
    [[0.4, 0.3, 0.3]] * 3 + [[0.2, 0.3, 0.5]] * 3 + [[0.1, 0.2, 0.7]] * 2,
    [[0.0, 0.0, 0.0]] * 3 + [[1.0, 0.5, 2.0]] * 3 + [[0.5, 0.5, 2.25]] * 2,
)


@pytest.mark.parametrize(
    ("weighting", "decay", "means", "errors", "difference_errors"),
    [
        (
            "uniform",
            0.7,
            (0.1875, 1.7708333333333335, 2.047619047619048),
            (0.6183237167940431, 1.178856518399174, 0.7621982554136132),
            (1.053846206937703, 1.4220535057145631),
        ),
        (
            "constant",
            0.7,
            (0.259059540854669, 1.5915288798606297, 1.9993654436676653),
            (0.6285534904817178, 1.0344614959028513, 0.666301578618006),
            (0.9973990143525473, 1.2404465628266184),
        ),
        (
            "two-point",
            0.7,
            (0.3708640486091441, 1.438153197252099, 1.9241991493602848),
            (0.6476002549933881, 0.9174973539040115, 0.6998538518283162),
            (1.0803633945130642, 1.1529635557138822),
        ),
        (
            "two-point",
            0.3,
            (0.3041232336836754, 1.5261073361709732, 1.9703613408330551),
            (0.6356092925410678, 0.983850617734881, 0.6801090727283787),
            (1.0309294443362005, 1.2026395740609883),
        ),
    ],
)
def test_estimates_match_the_code_of_the_paper(weighting, decay, means, errors, difference_errors):
    # github.com/gsbDBI/adaptive-confidence-intervals, adaptive_CI: aw_scores, stick_breaking of
    # twopoint_stable_var_ratio, evaluate_aipw_stats and aw_contrast_stderr on HISTORY; rounding only.
    result = adaptive_estimate(*HISTORY, weighting=weighting, decay=decay, alpha=0.1)
    assert result.means == pytest.approx(means, rel=1e-12)
    assert result.standard_errors == pytest.approx(errors, rel=1e-12)
    differences = (means[2] - means[0], means[2] - means[1])
    assert result.differences == pytest.approx(differences, rel=1e-12)
    assert result.difference_errors == pytest.approx(difference_errors, rel=1e-12)
    for found, centre, error in zip(
        result.intervals + result.difference_intervals, means + differences, errors + difference_errors, strict=True
    ):
        assert found == pytest.approx(stats.norm(centre, error).interval(0.9), rel=1e-9)
    assert (result.confidence_level, result.weighting) == (0.9, weighting)


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


def test_one_arm_alone_has_its_past_mean():
    assert past_means([1.0, 3.0, 5.0], [0, 0, 0], [1, 2, 3], arm_count=1).tolist() == [[0], [1], [2]]
    # The third arm waits for its first reward.
    assert past_means([1.0, 3.0], [0, 1], [1, 2], arm_count=3).tolist() == [[0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(("epsilon", "expected"), [(0, [0.1, 0.8, 0.1]), (1, [1 / 3] * 3)])
def test_epsilon_of_0_leaves_the_floors_and_of_1_an_even_split(epsilon, expected):
    split = epsilon_greedy_allocation([0.1, 0.3, 0.2], epsilon=epsilon, floor=0.1, seed=1)
    assert split == pytest.approx(expected, abs=1e-12)


def test_no_units_draw_no_arms():
    assert draw_arms([0.5, 0.5], 0, seed=1).tolist() == []


def test_shares_rounded_to_seven_digits_are_shares():
    thirds = [0.3333333] * 3
    assert set(draw_arms(thirds, 100, seed=1).tolist()) == {0, 1, 2}
    assert thompson_allocation(thirds, floor=0.1) == pytest.approx([1 / 3] * 3, abs=1e-6)
    rewards, arms, _, guesses = HISTORY
    rounded, even = (adaptive_estimate(rewards, arms, [[third] * 3] * 8, guesses) for third in (thirds[0], 1 / 3))
    assert rounded.means == pytest.approx(even.means, rel=1e-6)


def exact(values):
    return [exact(each) if isinstance(each, list) else Decimal(str(each)) for each in values]


def test_exact_decimals_of_a_warehouse_are_read_as_numbers():
    rewards, arms, chances, guesses = HISTORY
    assert adaptive_estimate(exact(rewards), arms, exact(chances), exact(guesses)) == adaptive_estimate(*HISTORY)
    nights = [1, 1, 1, 2, 2, 2, 3, 3]
    found, wanted = (past_means(values, arms, nights, arm_count=3) for values in (exact(rewards), rewards))
    assert found.tolist() == wanted.tolist()
    means = [0.5, 1.25]
    options = {"epsilon": 0.2, "floor": 0.05, "seed": 1}
    assert epsilon_greedy_allocation(exact(means), **options) == epsilon_greedy_allocation(means, **options)
    assert thompson_allocation(exact([0.25, 0.75]), floor=0.05) == thompson_allocation([0.25, 0.75], floor=0.05)
    units = [100, 300]
    assert regret_against_even_split(exact(units), exact(means)) == regret_against_even_split(units, means)


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
        (lambda: best_mean_probabilities([NormalPosterior(0, 1)]), "^posteriors has 1 arm;"),
        (lambda: best_mean_probabilities([]), "^posteriors has 0 arms;"),
        (lambda: thompson_allocation([0.5, 0.6], floor=0.1), "^probabilities is .* sum to 1"),
        (lambda: thompson_allocation([1.0], floor=0.1), "at least two shares"),
        (lambda: thompson_allocation([[0.5, 0.5]], floor=0.1), "at least two shares"),
        (lambda: thompson_allocation([1.5, -0.5], floor=0.1), "at least two shares"),
        (lambda: thompson_allocation([0.5, 0.5], floor=0.6), "floor is 0.6"),
        (lambda: thompson_allocation([0.5, 0.5], floor=0.0), "floor is 0.0"),
        (lambda: epsilon_greedy_allocation([1, 2], epsilon=2, floor=0.1, seed=1), "epsilon is 2"),
        (lambda: epsilon_greedy_allocation([1, math.nan], epsilon=0.1, floor=0.1, seed=1), "must be finite"),
        (lambda: epsilon_greedy_allocation([1], epsilon=0.1, floor=0.1, seed=1), "^means has 1 arm;"),
        (lambda: draw_arms([0.5, 0.6], 1, seed=1), "^allocation is "),
        (lambda: draw_arms([0.5, 0.5], -1, seed=1), "units is -1"),
        (lambda: draw_arms([0.5, 0.5], 1.5, seed=1), "units is 1.5"),
        (lambda: regret_against_even_split([1], [1.0]), "^means has 1 arm;"),
        (lambda: regret_against_even_split([1], [1.0, 2.0]), "one count for each"),
        (lambda: regret_against_even_split([1, -1], [1.0, 2.0]), "at least 0"),
        (lambda: past_means([1.0, 2.0], [0, 1], [2, 1], arm_count=2), "never fall"),
        (lambda: past_means([1.0], [0], [1], arm_count=0), "arm_count is 0"),
        (lambda: past_means([1.0], [0], [1], arm_count=1.5), "arm_count is 1.5"),
        (lambda: past_means([[1.0]], [0], [1], arm_count=2), "rewards must be a flat list"),
        (lambda: past_means([math.nan], [0], [1], arm_count=2), "rewards must be a flat list"),
        (lambda: adaptive_estimate([1.0], [0], HALVES[:1], HALVES[:1]), "rewards must be a flat list of at least two"),
        (lambda: adaptive_estimate([[1.0, 2.0]], [0, 1], HALVES, HALVES), "rewards must be a flat list of at least"),
        (lambda: adaptive_estimate([1.0, math.nan], [0, 1], HALVES, HALVES), "rewards must be a flat list of at least"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], [0.5, 0.5], HALVES), "probabilities has shape"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], HALVES * 2, HALVES * 2), "probabilities has shape"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 0], [[1.0]] * 2, [[1.0]] * 2), "probabilities has shape"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], [[0.5, 0.500005]] * 2, HALVES), "each row must sum to 1"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], [[0.5, 1.0]] * 2, HALVES), "each row must sum to 1"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 2], HALVES, HALVES), "from 0 to 1"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], [[1.0, 0.0]] * 2, HALVES), "above 0"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], HALVES, [[0.5, math.nan]] * 2), "predictions must be finite"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], HALVES, HALVES, weighting="best"), "weighting is 'best'"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], HALVES, HALVES, weighting="two-point", decay=1), "decay is 1"),
        (lambda: adaptive_estimate([1.0, 2.0], [0, 1], HALVES, HALVES, weighting="two-point", decay=0), "decay is 0"),
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
