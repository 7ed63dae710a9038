"""Harm that holds with few and skewed units."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.guardrails import harm_alpha, mean_non_inferiority, proportion_non_inferiority
from abtest_lib.statistics.harm import harm_holds
from abtest_lib.statistics.moments import Moments

LEVEL = harm_alpha(0.05, guardrails=5, treatments=1, reads=28)


def holds(control, treatment, kind="mean", margin=0.05, better="higher", alpha_harm=LEVEL):
    return harm_holds(control, treatment, kind=kind, margin=margin, better=better, alpha_harm=alpha_harm)


def test_treatment_without_a_buyer_is_no_harm_while_a_buyer_may_still_come():
    control = Moments.from_values([0.0] * 1_900 + [20.0, 80.0] * 50)
    nobody = Moments.from_values([0.0] * 20)
    assert mean_non_inferiority(control, nobody, margin=0.05, better="higher", alpha_harm=LEVEL).harmful
    assert not holds(control, nobody)


@pytest.mark.parametrize(("shift", "want"), [(3.2, False), (3.6, True)])
def test_mean_with_the_spread_of_the_control_is_the_plain_test(shift, want):
    # Level 0.000357 is z = 3.38; with 100,000 units a variant t is z.
    error = math.sqrt(100.0 / 100_000 * (1 + 1.05**2))
    control = Moments(100_000, 100.0, 99_999 * 100.0)
    treatment = Moments(100_000, 105.0 + shift * error, 99_999 * 100.0)
    assert holds(control, treatment, better="lower") is want


@given(
    st.integers(0, 60), st.integers(0, 40), st.sampled_from([400, 2_000]), st.sampled_from([40, 400]),
    st.sampled_from(["higher", "lower"]),
)  # fmt: skip
def test_few_events_take_the_binomial_tail_beside_the_score_test(
    x_control, x_treatment, n_control, n_treatment, better
):
    ratio = 1.1 if better == "lower" else 0.9
    score = proportion_non_inferiority(
        x_control, n_control, x_treatment, n_treatment, margin=0.1, better=better, alpha_harm=0.01
    )
    share = ratio * n_treatment / (ratio * n_treatment + n_control)
    given_total = stats.binom(x_control + x_treatment, share)
    tail = given_total.sf(x_treatment - 1) if better == "lower" else given_total.cdf(x_treatment)
    few = ratio * n_treatment * x_control < 50 * n_control
    want = bool(getattr(score, "harmful", False) and (tail < 0.01 or not few))
    arms = Moments.from_counts(x_control, n_control), Moments.from_counts(x_treatment, n_treatment)
    assert holds(*arms, "proportion", margin=0.1, better=better, alpha_harm=0.01) is want


@pytest.mark.parametrize(
    ("better", "n_control", "n_treatment", "few"),
    [("lower", 400, 400, 39), ("lower", 2_000, 400, 199), ("higher", 400, 400, 66), ("higher", 1_000, 250, 266)],
)
def test_exact_test_is_asked_below_fifty_expected_events_and_not_from_there(better, n_control, n_treatment, few):
    # With the margin 0.25 so many successes of the control are the last that expect fewer than 50 of the treatment;
    # 40 of 400 and 200 of 2,000 expect 50 exactly.
    ratio = 1.25 if better == "lower" else 0.75
    asked = {}
    for x_control in (few - 20, few, few + 1):
        total = x_control * ratio * n_treatment / n_control
        assert (total < 50) is (x_control <= few)
        shares = {}
        for x_treatment in range(round(total / 3), min(round(total * 2), n_treatment)):
            score = proportion_non_inferiority(
                x_control, n_control, x_treatment, n_treatment, margin=0.25, better=better, alpha_harm=0.01
            )
            share = ratio * n_treatment / (ratio * n_treatment + n_control)
            given_total = stats.binom(x_control + x_treatment, share)
            tail = given_total.sf(x_treatment - 1) if better == "lower" else given_total.cdf(x_treatment)
            arms = Moments.from_counts(x_control, n_control), Moments.from_counts(x_treatment, n_treatment)
            found = holds(*arms, "proportion", margin=0.25, better=better, alpha_harm=0.01)
            assert found is (score.harmful and (x_control > few or bool(tail < 0.01))), (x_control, x_treatment)
            shares[x_treatment] = score.harmful and tail >= 0.01
        asked[x_control] = any(shares.values())
    assert all(asked.values())  # the two tests differ somewhere, so the choice between them shows


@pytest.mark.parametrize(("better", "x_control", "x_treatment"), [("lower", 0, 8), ("higher", 8, 0)])
def test_tail_of_eight_coins_must_be_below_the_level(better, x_control, x_treatment):
    # Of eight events all fall to one of two equal variants with chance 1 / 2**8.
    arms = Moments.from_counts(x_control, 1_000), Moments.from_counts(x_treatment, 1_000)
    assert not holds(*arms, "proportion", margin=0.0, better=better, alpha_harm=2**-8)
    assert holds(*arms, "proportion", margin=0.0, better=better, alpha_harm=2**-8 * (1 + 1e-9))


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_share_on_the_safe_side_is_never_harm(better):
    none, some = Moments.from_counts(0, 40), Moments.from_counts(12, 40)
    arms = (none, some) if better == "higher" else (some, none)
    assert not holds(*arms, "proportion", margin=0.0, better=better, alpha_harm=0.49)


@pytest.mark.parametrize("broken", [Moments(5, math.nan, 1.0), Moments(5, 0.5, math.inf)])
def test_broken_share_proves_nothing(broken):
    fine = Moments.from_counts(2, 5)
    assert not holds(broken, fine, "proportion")
    assert not holds(fine, broken, "proportion")


def test_two_units_of_each_can_prove_harm():
    arms = Moments.from_values([10.0, 10.001]), Moments.from_values([1.0, 1.001])
    assert mean_non_inferiority(*arms, margin=0.05, better="higher", alpha_harm=0.01).harmful
    assert holds(*arms, alpha_harm=0.01)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_units_prove_nothing(n):
    assert not holds(Moments.from_values([5.0] * n), Moments.from_values([1.0, 2.0]))
    assert not holds(Moments.from_values([5.0, 6.0]), Moments.from_values([1.0] * n))


def test_kind_must_be_known():
    with pytest.raises(ValueError, match="kind is 'ratio'"):
        holds(Moments(5, 1.0, 1.0), Moments(5, 1.0, 1.0), kind="ratio")


@pytest.mark.slow
@pytest.mark.parametrize(("per_night", "share"), [(20, 0.1), (20, 0.02)])
def test_revenue_without_an_effect_is_hardly_ever_called_harmful_in_a_small_variant(per_night, share):
    """Five guardrails of 28 nights may err in 0.05 together, one in 0.01; the plain test does in 0.15 and 0.4."""
    rng = np.random.default_rng(20260301)
    wrong = plain = 0
    for _ in range(200):
        arms = []
        for n in (round(per_night * (1 - share) / share), per_night):
            values = np.where(rng.random((28, n)) < 0.05, rng.lognormal(3, 1, (28, n)), 0.0)
            arms.append([Moments.from_values(values[:night].ravel()) for night in range(1, 29)])
        nights = [
            (pair, mean_non_inferiority(*pair, margin=0.05, better="higher", alpha_harm=LEVEL))
            for pair in zip(*arms, strict=True)
        ]
        called = [pair for pair, reading in nights if getattr(reading, "harmful", False)]
        plain += bool(called)
        wrong += any(holds(*pair) for pair in called)
    assert wrong <= 0.01 * 200 + 4 * math.sqrt(0.01 * 0.99 * 200)
    assert plain > 0.05 * 200
