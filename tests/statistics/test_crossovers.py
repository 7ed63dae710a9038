from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.crossovers import crossover_shares, crossover_test
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import Moments

column = st.lists(st.floats(-20, 20).map(lambda value: round(value, 3)), min_size=2, max_size=20)
columns = st.tuples(column, column, column, column).filter(lambda groups: all(np.std(group) > 1e-2 for group in groups))


@given(columns)
def test_difference_and_its_error_match_a_regression(groups):
    # Saturated regression on the four groups; HC2 gives each mean its own variance with divisor n - 1. The contrast
    # weighs a variant's two groups by the share of its crossovers.
    y = np.concatenate(groups)
    design = np.repeat(np.eye(4), [len(group) for group in groups], axis=0)
    share_control = len(groups[1]) / (len(groups[0]) + len(groups[1]))
    share_treatment = len(groups[3]) / (len(groups[2]) + len(groups[3]))
    contrast = np.array([-share_control, share_control, share_treatment, -share_treatment])
    reference = sm.OLS(y, design).fit(cov_type="HC2").t_test(contrast)
    result = crossover_test(*(Moments.from_values(group) for group in groups))
    assert result.difference == pytest.approx(reference.effect[0], rel=1e-6, abs=1e-9)
    assert result.standard_error == pytest.approx(reference.sd[0, 0], rel=1e-6)
    first = np.mean(groups[2] + groups[3]) - np.mean(groups[0] + groups[1])
    assert result.effect_all == pytest.approx(first, rel=1e-9, abs=1e-9)
    assert result.effect_without == pytest.approx(np.mean(groups[2]) - np.mean(groups[0]), rel=1e-9, abs=1e-9)
    assert result.difference == pytest.approx(result.effect_without - result.effect_all, rel=1e-6, abs=1e-9)
    low, high = result.interval
    assert result.disagrees == (low > 0 or high < 0)


@given(columns, st.sampled_from([0.05, 0.3]))
def test_interval_and_pvalue_are_welchs_over_the_four_groups(groups, alpha):
    result = crossover_test(*(Moments.from_values(group) for group in groups), alpha=alpha)
    sizes = np.array([len(group) for group in groups])
    shares = np.repeat([sizes[1] / (sizes[0] + sizes[1]), sizes[3] / (sizes[2] + sizes[3])], 2)
    parts = shares**2 * [np.var(group, ddof=1) for group in groups] / sizes
    df = parts.sum() ** 2 / (parts**2 / (sizes - 1)).sum()
    assert result.df == pytest.approx(df, rel=1e-6)
    law = stats.t(df)
    t = result.difference / parts.sum() ** 0.5
    assert result.statistic == pytest.approx(t, rel=1e-6, abs=1e-9)
    assert result.pvalue == pytest.approx(2 * law.sf(abs(t)), rel=1e-5, abs=1e-12)
    half = law.isf(alpha / 2) * parts.sum() ** 0.5
    assert result.interval == pytest.approx((result.difference - half, result.difference + half), rel=1e-6, abs=1e-9)
    assert result.disagrees == (result.pvalue < alpha)
    error_all = sum(np.var(groups[at] + groups[at + 1], ddof=1) / (sizes[at] + sizes[at + 1]) for at in (0, 2)) ** 0.5
    assert result.shift == pytest.approx(result.difference / error_all, rel=1e-6, abs=1e-9)


@given(st.integers(2, 500), st.integers(2, 500), st.floats(0.1, 10))
def test_with_one_variance_it_is_hausmans(others, crossed, variance):
    # Hausman (1978): the variance of the difference is that of the less precise estimate less that of the other.
    arms = [Moments(n, 1.0, variance * (n - 1)) for n in (others, crossed)]
    result = crossover_test(*arms, *arms)
    assert result.standard_error**2 == pytest.approx(2 * variance * (1 / others - 1 / (others + crossed)), rel=1e-9)


@given(columns)
def test_swapping_variants_flips_the_sign(groups):
    arms = [Moments.from_values(group) for group in groups]
    one, other = crossover_test(*arms), crossover_test(arms[2], arms[3], arms[0], arms[1])
    assert (other.difference, other.shift) == (pytest.approx(-one.difference), pytest.approx(-one.shift))
    assert other.pvalue == pytest.approx(one.pvalue, rel=1e-9)


def test_one_variant_alone_may_have_crossovers():
    # Share 1/5 of the treatment: difference -(1/5)(10 - 12) = 0.4 with variance (1/25)(1 / 4 + 2 / 4) by hand.
    arms = Moments(50, 10.0, 49.0), Moments(0, 0.0, 0.0), Moments(16, 12.0, 60.0), Moments(4, 10.0, 6.0)
    result = crossover_test(*arms)
    assert result.difference == pytest.approx(0.4)
    assert result.standard_error**2 == pytest.approx((4 / 16 + 2 / 4) / 25)


def test_shares_worked_out_by_hand():
    found = crossover_shares({"a": 50, "b": 0, "c": 150}, {"a": 5, "b": 0, "c": 3})
    assert (found.crossovers, found.share) == (8, 0.04)
    assert found.share_by_variant == {"a": 0.1, "b": NotComputed("b has no units"), "c": 0.02}


def test_every_unit_may_have_crossed_over_and_two_are_enough():
    assert crossover_shares({"a": 1, "b": 3}, {"a": 1, "b": 0}).share == 0.25
    # Shares 1/2: difference (2 - 1) / 2 - (1 - 2) / 2 with variance (1/4)(1 / 2) for each of four groups of variance 1.
    pair = Moments(2, 1.0, 1.0), Moments(2, 2.0, 1.0)
    result = crossover_test(*pair, *pair[::-1])
    assert (result.difference, result.standard_error**2, result.df) == pytest.approx((1.0, 0.5, 4.0))


def test_what_cannot_be_computed_says_why():
    some, none = Moments(5, 1.0, 3.0), Moments(0, 0.0, 0.0)
    assert crossover_test(some, none, some, none) == NotComputed("no unit was seen in two variants")
    assert crossover_test(some, Moments(1, 1.0, 0.0), some, none) == NotComputed(
        "control has one crossover, whose spread is unknown"
    )
    assert crossover_test(some, some, Moments(1, 1.0, 0.0), some) == NotComputed(
        "fewer than 2 units of treatment were seen in one variant only"
    )
    for broken in (Moments(5, float("nan"), 3.0), Moments(5, 1.0, float("inf"))):
        for arms in ((some, broken, some, some), (broken, some, some, some)):
            assert crossover_test(*arms) == NotComputed("a value of control is not a finite number")
    still = Moments(5, 1.0, 0.0)
    assert crossover_test(still, still, still, still) == NotComputed(
        "no value varies in any variant that has crossovers"
    )
    assert crossover_shares({"a": 0}, {"a": 0}) == NotComputed("there are no units")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crossover_shares({"a": 1}, {"b": 1}), "same keys"),
        (lambda: crossover_shares({"a": 1}, {"a": 2}), r"crossovers\['a'\] is 2"),
        (lambda: crossover_shares({"a": 2}, {"a": 0.5}), r"crossovers\['a'\] is 0.5"),
        (lambda: crossover_shares({"a": 2}, {"a": -1}), r"crossovers\['a'\] is -1"),
        (lambda: crossover_shares({"a": -1}, {"a": 0}), r"units\['a'\] is -1"),
        (lambda: crossover_shares({"a": 1.5}, {"a": 1}), r"units\['a'\] is 1.5"),
        (lambda: crossover_test(*[Moments(5, 1.0, 3.0)] * 4, alpha=0), "alpha is 0"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_crossovers_like_all_others_disagree_as_often_as_promised():
    rng = np.random.default_rng(44)
    sizes, spreads = np.array([900, 30, 400, 50]), np.array([1.0, 2.0, 1.5, 1.0])
    called = []
    for _ in range(6_000):
        means = rng.normal([0, 0, 0.3, 0.3], spreads / np.sqrt(sizes))
        m2 = spreads**2 * rng.chisquare(sizes - 1)
        result = crossover_test(*(Moments(int(n), mean, sum_) for n, mean, sum_ in zip(sizes, means, m2, strict=True)))
        called.append(result.disagrees)
    assert np.mean(called) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 6_000))
