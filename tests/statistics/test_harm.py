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
