from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from abtest_lib.statistics.always_valid import (
    anytime_valid_t,
    compare_always_valid,
    mean_sequence,
    mixture_interval,
    mixture_log_ratio,
    mixture_pvalue,
    narrowest_rho_squared,
    running_pvalues,
    sequence_margin,
)
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.mixture_bounds import (
    bounded_mean_sequence,
    empirical_bernstein_sequence,
    gamma_exponential_bound,
    mixture_log_evidence,
    normal_mixture_bound,
    predictable_bernstein_sequence,
    tuned_mixture_rho,
)
from abtest_lib.statistics.tails import critical_value

SIDES = ("two-sided", "greater", "less")
EFFECTS = st.floats(-2, 2)
ERRORS = st.floats(0.01, 1)
UNITS = st.integers(2, 1_000_000)
ALPHAS = st.floats(0.001, 0.4)
SIXTY = [
    0.167, 0.502, 0.414, 0.302, 0.229, 0.22, 0.1, 0.097, 0.194, 0.205, 0.066, 0.292, 0.335, 0.13, 0.516, 0.108,
    0.239, 0.232, 0.552, 0.531, 0.484, 0.106, 0.305, 0.058, 0.258, 0.278, 0.199, 0.133, 0.17, 0.114, 0.425,
    0.313, 0.29, 0.279, 0.41, 0.359, 0.674, 0.309, 0.531, 0.192, 0.501, 0.324, 0.313, 0.216, 0.126, 0.116,
    0.151, 0.276, 0.7, 0.751, 0.373, 0.406, 0.481, 0.329, 0.268, 0.344, 0.606, 0.562, 0.156, 0.104,
]  # fmt: skip


# --- references


def test_narrowest_rho_agrees_with_a_numerical_search():
    # scipy.optimize.minimize_scalar over log rho squared; its own accuracy is about 1e-6.
    found = optimize.minimize_scalar(
        lambda log_rho: sequence_margin(5_000, rho_squared=math.exp(log_rho), alpha=0.01), bounds=(-12, 0)
    )
    assert narrowest_rho_squared(5_000, alpha=0.01) == pytest.approx(math.exp(found.x), rel=1e-3)


@given(ALPHAS)
def test_narrowest_rho_after_one_unit_solves_its_equation(alpha):
    # Waudby-Smith et al. (2024): x = log((x + 1) / alpha^2) for x = planned_n rho^2.
    x = narrowest_rho_squared(1, alpha=alpha)
    assert x == pytest.approx(math.log((x + 1) / alpha**2), rel=1e-9)


def test_sequence_of_a_mean_matches_the_authors_formula_at_another_level():
    # Reference case avl.asymptotic_cs.3, formula of WannabeSmith/drconfseq checked by mpmath's mixture integral.
    ends = mean_sequence(-0.003, 0.25, 100_000, planned_n=5_000, alpha=0.01)
    assert ends == pytest.approx((-0.0060349138894915996, 3.491388949159943e-05), rel=1e-8)


def test_values_that_do_not_vary_leave_a_sequence_without_width():
    assert mean_sequence(0.1, 0.0, 10, planned_n=10) == (0.1, 0.1)


def test_margin_is_where_the_mixture_of_likelihood_ratios_is_one_over_alpha():
    # scipy.integrate.quad of the likelihood ratio of a sum of n values over N(0, rho squared), at the margin.
    n, rho_squared, alpha = 400, 0.004, 0.05
    total = n * sequence_margin(n, rho_squared=rho_squared, alpha=alpha)

    def mixed(mean):
        return math.exp(mean * total - n * mean * mean / 2) * stats.norm.pdf(mean, scale=math.sqrt(rho_squared))

    assert integrate.quad(mixed, -1, 1, points=[0, 0.2])[0] == pytest.approx(1 / alpha, rel=1e-7)


def test_two_sample_sequence_matches_growthbook():
    # GrowthBook's engine, commit 8f1db44, SequentialTwoSidedTTest with tuning parameter 20000 on 10000 + 10000 units.
    result = compare_always_valid(2.842524, 0.7706660621876658, 20_000, planned_n=20_000)
    assert result.effect_interval == pytest.approx((0.5033914394701298, 5.181656560529865), rel=1e-8)
    assert result.pvalue == pytest.approx(0.007112527552034159, rel=1e-8)
    assert result.rho == pytest.approx(0.01992003338568684, rel=1e-8)


def test_one_sided_sequence_matches_growthbook():
    # The same engine, SequentialOneSidedTreatmentGreaterTTest; its p-value is a bisection good to about 2e-4.
    result = compare_always_valid(0.23437666666666668, 0.12983081254184736, 6_461, alternative="greater")
    assert result.effect_interval == pytest.approx((-0.12656844172804982, math.inf), rel=1e-8)
    assert result.pvalue == pytest.approx(0.46316491943359384, abs=5e-4)


def test_comparison_says_what_it_was_asked():
    result = compare_always_valid(0.2, 0.1, 500, alpha=0.1, alternative="less")
    assert (result.effect, result.confidence_level, result.alternative) == (0.2, 0.9, "less")


@pytest.mark.parametrize(("n", "alpha"), [(500, 0.29), (1_000, 0.41), (10_000, 0.49)])
def test_one_sided_interval_at_the_level_of_its_pvalue_touches_zero(n, alpha):
    # rho is the same where planned_n is to its tuning as before.
    def tuning(level):
        return -2 * math.log(2 * level) + math.log1p(-2 * math.log(2 * level))

    result = compare_always_valid(2.0, 1.0, n, planned_n=1_000, alpha=alpha, alternative="greater")
    planned = 1_000 * tuning(result.pvalue) / tuning(alpha)
    again = compare_always_valid(2.0, 1.0, n, planned_n=planned, alpha=result.pvalue, alternative="greater")
    assert again.rho == pytest.approx(result.rho, rel=1e-12)
    assert again.effect_interval == (pytest.approx(0.0, abs=1e-9), math.inf)
    assert again.pvalue == pytest.approx(result.pvalue, rel=1e-12)


def test_no_evidence_is_a_pvalue_of_one_or_one_sided_of_a_half():
    assert mixture_pvalue(0.0, 0.01, tau_squared=1.0) == 1.0
    assert anytime_valid_t(0.0, 0.1, df=10, n=12)[0] == 1.0
    for effect, side in ((-3.0, "greater"), (0.0, "greater"), (3.0, "less"), (0.01, "greater"), (-0.01, "less")):
        assert compare_always_valid(effect, 1.0, 1_000, alternative=side).pvalue == 0.5


def test_mixture_ratio_agrees_with_quadrature():
    # scipy.integrate.quad of the normal likelihood ratio over N(0, tau squared).
    effect, squared_error, tau_squared = 0.02, 1.6e-5, 1e-4

    def mixed(truth):
        ratio = math.exp((effect * truth - truth * truth / 2) / squared_error)
        return ratio * stats.norm.pdf(truth, scale=math.sqrt(tau_squared))

    value = integrate.quad(mixed, -0.1, 0.1, points=[0, 0.017], limit=200)[0]
    assert mixture_log_ratio(effect, squared_error, tau_squared=tau_squared) == pytest.approx(math.log(value), rel=1e-8)


def test_one_sided_bound_agrees_with_quadrature():
    # scipy.integrate.quad over the half normal with precision rho: at the bound the mixture is 1 / alpha.
    variance, rho, alpha = 100.0, 30.0, 0.05
    total = normal_mixture_bound(variance, rho=rho, alpha=alpha, alternative="greater")

    def mixed(rate):
        return math.exp(rate * total - rate * rate * variance / 2) * 2 * stats.norm.pdf(rate, scale=rho**-0.5)

    assert integrate.quad(mixed, 0, 5, points=[0.2, 0.4])[0] == pytest.approx(1 / alpha, rel=1e-7)


@pytest.mark.parametrize(("variance", "rho", "scale"), [(100.0, 30.0, 1.0), (5.0, 2.0, 1.0), (50.0, 20.0, 0.5)])
def test_exponential_bound_agrees_with_quadrature(variance, rho, scale):
    # scipy.integrate.quad of exp(rate s - psi(rate) v), psi(rate) = (-log(1 - c rate) - c rate) / c^2, where
    # 1 - c rate has a gamma distribution with shape and rate rho / c^2, cut off at 1: at the bound it is 1 / alpha.
    total, shape = gamma_exponential_bound(variance, rho=rho, scale=scale, alpha=0.05), rho / scale**2
    prior = stats.gamma(shape, scale=1 / shape)

    def mixed(left):
        rate = (1 - left) / scale
        psi = (-math.log(left) - (1 - left)) / scale**2
        return math.exp(rate * total - psi * variance) * prior.pdf(left) / prior.cdf(1)

    assert integrate.quad(mixed, 0, 1, points=[0.3, 0.6, 0.9], limit=200)[0] == pytest.approx(20.0, rel=1e-7)


def test_exponential_bound_matches_the_authors_package():
    # confseq 0.0.11, gamma_exponential_mixture_bound(100, 0.05, 100, 1, 0.05).
    rho = tuned_mixture_rho(100.0, alpha=0.05, alternative="greater")
    assert gamma_exponential_bound(100.0, rho=rho) == pytest.approx(30.238129620079235, rel=1e-9)


@pytest.mark.parametrize(
    ("variance", "scale", "alpha", "planned", "bound"),
    [
        (1.0, 1.0, 0.05, 100.0, 10.67212849070347),
        (50.0, 0.5, 0.1, 50.0, 18.4622982705946),
        (400.0, 2.0, 0.05, 1_000.0, 61.74414337269809),
        (10.0, 3.0, 0.05, 30.0, 17.21649473584876),
        (250.0, 1.0, 0.001, 250.0, 69.7309124410026),
    ],
)
def test_exponential_bound_of_other_tails_and_levels_matches_the_authors_header(variance, scale, alpha, planned, bound):
    # confseq 0.0.11, uniform_boundaries.h: gamma_exponential_mixture_bound(variance, alpha, planned, scale, 0.05); its
    # bisection stops at 40 bits.
    rho = tuned_mixture_rho(planned, alpha=0.05, alternative="greater")
    assert gamma_exponential_bound(variance, rho=rho, scale=scale, alpha=alpha) == pytest.approx(bound, rel=1e-10)


@pytest.mark.parametrize(
    ("variance", "side", "bound", "far", "near"),
    [
        (1.0, "two-sided", 34.21649971814133, 14.16864990552987, 6.294981949970376),
        (100.0, "two-sided", 47.04921483294095, 7.672287380283035, 3.247618448755901),
        (2_500.0, "two-sided", 179.3357268277863, -0.8329946850889608, -1.213801183091451),
        (1.0, "greater", 35.29719238381949, 12.01029442892014, -1.465447586074768),
        (100.0, "greater", 46.3268851876137, 7.424451476661816, -1.505528013167501),
        (2_500.0, "greater", 168.2320982051522, -0.1714012547665159, -1.936288223345587),
    ],
)
def test_normal_bound_and_evidence_match_the_authors_header(variance, side, bound, far, near):
    # The same header: normal_mixture_bound(variance, 0.01, 1000, 0.05, one_sided), and normal_log_mixture of sums of 60
    # and -40.
    rho = tuned_mixture_rho(1_000.0, alpha=0.05, alternative=side)
    assert normal_mixture_bound(variance, rho=rho, alpha=0.01, alternative=side) == pytest.approx(bound, rel=1e-10)
    assert mixture_log_evidence(60.0, variance, rho=rho, alternative=side) == pytest.approx(far, rel=1e-10)
    assert mixture_log_evidence(-40.0, variance, rho=rho, alternative=side) == pytest.approx(near, rel=1e-10)
    if side == "greater":
        evidence = mixture_log_evidence(np.array([-60.0, 40.0]), variance, rho=rho, alternative="less")
        assert evidence == pytest.approx([far, near], rel=1e-10)


def test_hoeffdings_sequence_matches_the_authors_header_and_stays_within_zero_and_one():
    # conjmix_hoeffding_twosided_cs has normal_mixture_bound(50, 0.01, 250, 0.01, false) / 200 = 0.1365537910871215.
    low, high = bounded_mean_sequence(np.array([0.0, 0.5, 0.95, 1.0]), 200, planned_n=1_000, alpha=0.01)
    assert low == pytest.approx([0.0, 0.3634462089128785, 0.8134462089128784, 0.8634462089128785], rel=1e-10)
    assert high == pytest.approx([0.1365537910871215, 0.6365537910871215, 1.0, 1.0], rel=1e-10)


def test_bernstein_sequences_match_the_authors_package():
    # confseq 0.0.11 on the values of reference case avl.empbern_cs: conjmix_empbern_twosided_cs(x, 3.0, 0.05), which
    # halves alpha once for the two sides and once more, and predmix_empbern_twosided_cs(x, 0.05).
    low, high = empirical_bernstein_sequence(SIXTY, planned_variance=3.0, alpha=0.025)
    assert (low[-1], high[-1]) == pytest.approx((0.1599417882868201, 0.4540915450465133), rel=1e-8)
    assert (low[29], high[29]) == pytest.approx((0.013123534594334213, 0.48927646540566583), rel=1e-8)
    low, high = predictable_bernstein_sequence(SIXTY)
    assert (low[-1], high[-1]) == pytest.approx((0.17207362039971022, 0.44624758034205403), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "alpha", "at", "ends"),
    [
        # Each value has the weight 1/2 ...
        ([0.4, 0.6, 0.45] * 20, 0.2, 19, (0.24804443163884068, 0.7258185119723582)),
        ([0.4, 0.6, 0.45] * 20, 0.2, 59, (0.4024769102850623, 0.5654774042520037)),
        # ... and, where values vary much, less from about the twentieth on.
        ([0.0, 1.0] * 60, 0.05, 19, (0.012929001436275456, 1.0)),
        ([0.0, 1.0] * 60, 0.05, 59, (0.26877918430308445, 0.7356346756531397)),
        ([0.0, 1.0] * 60, 0.05, 119, (0.3380806465353873, 0.6632941619250169)),
        ([0.0, 0.0, 1.0, 0.9] * 25, 0.3, 9, (0.0, 0.9061345596299102)),
        ([0.0, 0.0, 1.0, 0.9] * 25, 0.3, 99, (0.3486322155567719, 0.5987079028106419)),
    ],
)
def test_predictable_sequence_matches_the_authors_package(values, alpha, at, ends):
    # confseq 0.0.11, predmix_empbern_twosided_cs(values, alpha), which is NumPy too.
    low, high = predictable_bernstein_sequence(values, alpha=alpha)
    assert (low[at], high[at]) == pytest.approx(ends, rel=1e-12)


def test_regression_coefficient_matches_the_authors_package():
    # R package avlm (michaellindon/avlm, commit e4d98c5), av(lm(y ~ treat + x), g = 1) on 120 units: t = 2.726, df 117.
    pvalue, interval = anytime_valid_t(0.500271670869678, 0.183521513068174, df=117, n=120)
    assert pvalue == pytest.approx(0.299951224026803, rel=1e-9)
    assert interval == pytest.approx((-0.116708014799525, 1.11725135653888), rel=1e-9)


# --- properties


@given(EFFECTS, ERRORS, st.integers(3, 10_000), st.floats(0.01, 100), ALPHAS)
def test_coefficients_interval_and_pvalue_agree(effect, error, df, precision, alpha):
    pvalue, (low, high) = anytime_valid_t(effect, error, df=df, n=df + 3, precision=precision, alpha=alpha)
    if min(abs(low), abs(high)) > 1e-9:
        assert (low > 0 or high < 0) == (pvalue < alpha)


@given(EFFECTS, ERRORS, UNITS, ALPHAS, st.sampled_from(SIDES))
def test_interval_leaves_out_zero_exactly_when_the_pvalue_is_below_alpha(effect, error, n, alpha, side):
    result = compare_always_valid(effect, error, n, alpha=alpha, alternative=side)
    low, high = result.effect_interval
    nearest = min(abs(low), abs(high))
    if nearest > 1e-9:
        assert (low > 0 or high < 0) == (result.pvalue < alpha)


@given(EFFECTS, ERRORS, UNITS)
def test_swapping_variants_flips_the_sign(effect, error, n):
    one = compare_always_valid(effect, error, n, alternative="greater")
    other = compare_always_valid(-effect, error, n, alternative="less")
    assert other.effect_interval == pytest.approx((-one.effect_interval[1], -one.effect_interval[0]))
    assert other.pvalue == one.pvalue


@given(EFFECTS, ERRORS, UNITS, ALPHAS)
def test_sequence_is_wider_than_the_interval_of_one_night(effect, error, n, alpha):
    low, high = compare_always_valid(effect, error, n, alpha=alpha).effect_interval
    assert high - low > 2 * critical_value(alpha) * error


@given(EFFECTS, ERRORS, st.floats(0.001, 1), ALPHAS)
def test_mixture_interval_and_test_agree(effect, error, tau_squared, alpha):
    low, high = mixture_interval(effect, error**2, tau_squared=tau_squared, alpha=alpha)
    if min(abs(low), abs(high)) > 1e-9:
        assert (low > 0 or high < 0) == (mixture_pvalue(effect, error**2, tau_squared=tau_squared) < alpha)


@given(st.floats(1, 1e5), st.floats(1, 1e4), ALPHAS)
def test_one_sided_bound_is_below_the_two_sided_one_and_above_that_of_twice_alpha(variance, rho, alpha):
    one = normal_mixture_bound(variance, rho=rho, alpha=alpha, alternative="greater")
    assert one <= normal_mixture_bound(variance, rho=rho, alpha=alpha)
    assert mixture_log_evidence(one, variance, rho=rho, alternative="greater") == pytest.approx(-math.log(alpha))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), ALPHAS)
def test_bernstein_sequences_of_mirrored_values_are_mirrored_and_hold_the_mean(values, alpha):
    mirrored = [1 - value for value in values]
    means = np.cumsum(values) / np.arange(1, len(values) + 1)
    low, high = empirical_bernstein_sequence(values, planned_variance=2.0, alpha=alpha)
    other_low, other_high = empirical_bernstein_sequence(mirrored, planned_variance=2.0, alpha=alpha)
    assert np.all((low <= means + 1e-12) & (means <= high + 1e-12))
    assert 1 - other_high == pytest.approx(low, abs=1e-9)
    assert 1 - other_low == pytest.approx(high, abs=1e-9)
    low, high = predictable_bernstein_sequence(values, alpha=alpha)
    other_low, other_high = predictable_bernstein_sequence(mirrored, alpha=alpha)
    assert 1 - other_high == pytest.approx(low, abs=1e-9)
    assert 1 - other_low == pytest.approx(high, abs=1e-9)


@given(st.floats(0, 1e5), st.floats(1, 1e4), ALPHAS)
def test_exponential_bound_is_above_the_normal_one_and_comes_down_to_it_as_the_tail_gets_light(variance, rho, alpha):
    normal = normal_mixture_bound(variance, rho=rho, alpha=alpha, alternative="greater")
    assert gamma_exponential_bound(variance, rho=rho, alpha=alpha) >= normal
    light = gamma_exponential_bound(variance, rho=rho, alpha=alpha, scale=0.01)
    assert light == pytest.approx(normal, rel=0.05)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_running_pvalues_never_rise(pvalues):
    running = running_pvalues(pvalues)
    assert running == sorted(running, reverse=True)
    assert running[-1] == min(pvalues)


def test_running_pvalues_of_whole_numbers_are_floats():
    assert [type(pvalue) for pvalue in running_pvalues([1, 0])] == [float, float]


@given(st.floats(-1e6, 1e6), st.integers(1, 4), st.integers(6, 20))
def test_too_few_units_for_a_coefficient_reject_nothing_whatever_its_size(effect, df, n):
    # The evidence has a limit: (share)^(-df / 2), which is below 1 / alpha here.
    pvalue, interval = anytime_valid_t(effect, 0.1, df=df, n=n, precision=40.0, alpha=0.05)
    assert interval == (-math.inf, math.inf)
    assert pvalue > 0.05


def test_sequence_of_many_looks_equals_each_look_alone():
    looks = np.array([100, 1_000, 10_000])
    lows, highs = mean_sequence([0.1, 0.2, 0.3], 1.0, looks, planned_n=1_000)
    each = [mean_sequence(mean, 1.0, n, planned_n=1_000) for mean, n in zip((0.1, 0.2, 0.3), looks, strict=True)]
    assert list(zip(lows, highs, strict=True)) == each


def test_strong_evidence_keeps_its_digits():
    assert 0 < compare_always_valid(1.0, 0.03, 10_000).pvalue < 1e-100
    assert compare_always_valid(100.0, 0.01, 10_000, alternative="greater").pvalue == 0.0


# --- refusals


def test_effect_without_error_is_not_computed():
    none = NotComputed("the effect has no error to measure it against")
    assert compare_always_valid(0.0, 0.0, 100) == anytime_valid_t(0.1, 0.0, df=10, n=12) == none
    broken = NotComputed("the effect or its standard error is not finite")
    assert compare_always_valid(math.nan, 0.1, 100) == compare_always_valid(0.1, math.inf, 100) == broken


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: narrowest_rho_squared(0, alpha=0.05), "planned_n is 0; it must be at least 1 unit"),
        (lambda: sequence_margin(0, rho_squared=1.0), "n is 0; it must be at least 1 unit"),
        (lambda: sequence_margin(9, rho_squared=0.0), "rho_squared is 0.0; it must be a number above 0"),
        (lambda: mean_sequence(math.nan, 1.0, 9, planned_n=9), "mean is nan; it must be a finite number"),
        (lambda: mean_sequence(0.1, -1.0, 10, planned_n=10), "sd is -1.0; it must be at least 0"),
        (lambda: mean_sequence(0.1, math.inf, 10, planned_n=10), "sd is inf; it must be at least 0"),
        (lambda: compare_always_valid(0.1, 0.1, 0), "n is 0; it must be at least 1 unit"),
        (lambda: compare_always_valid(0.1, 0.1, 10, planned_n=0), "planned_n is 0; it must be at least 1 unit"),
        (
            lambda: compare_always_valid(0.1, 0.1, 10, alpha=0.5, alternative="less"),
            "alpha is 0.5; it must be below 0.5 under a one-sided alternative",
        ),
        (lambda: compare_always_valid(0.1, 0.1, 10, alpha=0.6, alternative="less"), "below 0.5"),
        (lambda: mixture_pvalue(0.1, 0.0, tau_squared=1.0), "squared_error is 0.0; it must be a number above 0"),
        (lambda: mixture_pvalue(0.1, 1.0, tau_squared=-1.0), "tau_squared is -1.0; it must be a number above 0"),
        (lambda: mixture_pvalue(math.inf, 1.0, tau_squared=1.0), "effect is inf; it must be a finite number"),
        (lambda: mixture_interval(0.1, 0.0, tau_squared=1.0), "squared_error is 0.0; it must be a number above 0"),
        (lambda: mixture_interval(0.1, 1.0, tau_squared=0.0), "tau_squared is 0.0; it must be a number above 0"),
        (lambda: mixture_interval(math.nan, 1.0, tau_squared=1.0), "effect is nan; it must be a finite number"),
        (lambda: anytime_valid_t(0.1, 0.1, df=0, n=12), "df is 0; it must be a number above 0"),
        (lambda: anytime_valid_t(0.1, 0.1, df=9, n=0), "n is 0; it must be at least 1 unit"),
        (lambda: anytime_valid_t(0.1, 0.1, df=9, n=12, precision=0.0), "precision is 0.0; it must be a number above 0"),
        (lambda: running_pvalues([1.2]), "in \\[0, 1\\]"),
        (lambda: mixture_log_evidence(1.0, 1.0, rho=0.0), "rho is 0.0; it must be a number above 0"),
        (lambda: mixture_log_evidence(math.nan, 1.0, rho=1.0), "total is nan; it must be a finite number"),
        (lambda: mixture_log_evidence(1.0, -1.0, rho=1.0), "variance is -1.0; it must be at least 0"),
        (lambda: normal_mixture_bound(1.0, rho=0.0), "rho is 0.0; it must be a number above 0"),
        (lambda: normal_mixture_bound(math.inf, rho=1.0), "variance is inf; it must be at least 0"),
        (lambda: gamma_exponential_bound(1.0, rho=0.0), "rho is 0.0; it must be a number above 0"),
        (lambda: gamma_exponential_bound(1.0, rho=1.0, scale=0.0), "scale is 0.0; it must be a number above 0"),
        (lambda: gamma_exponential_bound(math.nan, rho=1.0), "variance is nan; it must be at least 0"),
        (lambda: gamma_exponential_bound(-0.5, rho=1.0), "variance is -0.5; it must be at least 0"),
        (lambda: empirical_bernstein_sequence([0.2, 1.2], planned_variance=1.0), "between 0 and 1"),
        (lambda: empirical_bernstein_sequence([0.2], planned_variance=0.0), "planned_variance is 0.0; it must be a"),
        (lambda: empirical_bernstein_sequence([0.2], planned_variance=1.0, alpha=1.5), "alpha is 1.5"),
        (lambda: predictable_bernstein_sequence([]), "flat list"),
        (lambda: predictable_bernstein_sequence([0.2], alpha=0.0), "alpha is 0.0"),
        (lambda: bounded_mean_sequence(1.2, 10, planned_n=10), "mean is 1.2; it must be between 0 and 1"),
        (lambda: bounded_mean_sequence(0.2, 0, planned_n=10), "n is 0; it must be at least 1 unit"),
        (lambda: bounded_mean_sequence(0.2, 10, planned_n=0), "planned_n is 0; it must be at least 1 unit"),
        (lambda: tuned_mixture_rho(-1.0, alpha=0.05), "planned_variance is -1.0; it must be a number above 0"),
        (
            lambda: tuned_mixture_rho(1.0, alpha=0.5, alternative="less"),
            "alpha is 0.5; it must be below 0.5 under a one-sided alternative",
        ),
        (lambda: tuned_mixture_rho(1.0, alpha=0.6, alternative="greater"), "below 0.5"),
    ],
)
def test_callers_slip_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- simulations


def nightly_statistics(repetitions, nights, drift, seed):
    steps = np.random.default_rng(seed).normal(drift / math.sqrt(nights), 1.0, (repetitions, nights))
    return np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, nights + 1))


@pytest.mark.slow
def test_sequence_covers_at_all_of_28_nights():
    # 4,000 experiments of skewed rewards (exponential, mean 1), 100 units a night.
    rng = np.random.default_rng(20260301)
    nightly = rng.exponential(1.0, (4_000, 28, 100))
    n = 100 * np.arange(1, 29)
    means = np.cumsum(nightly.sum(axis=2), axis=1) / n
    sds = np.sqrt(np.cumsum((nightly**2).sum(axis=2), axis=1) / n - means**2)
    low, high = mean_sequence(means, sds, n, planned_n=700)
    one_night = critical_value(0.05) * sds / np.sqrt(n)
    assert np.mean(np.any((low > 1) | (high < 1), axis=1)) < 0.05
    assert np.mean(np.any(np.abs(means - 1) > one_night, axis=1)) > 0.2


@pytest.mark.slow
def test_bernstein_sequences_cover_a_rare_share_at_every_unit():
    # 150 experiments of 1,000 units, share 0.05, read after each of them; Hoeffding's sequence is wider at the end.
    rng = np.random.default_rng(20260304)
    missed, widths = np.zeros((150, 2), dtype=bool), []
    for repetition in range(150):
        values = (rng.random(1_000) < 0.05).astype(float)
        for column, (low, high) in enumerate(
            (empirical_bernstein_sequence(values, planned_variance=25.0), predictable_bernstein_sequence(values))
        ):
            missed[repetition, column] = np.any((low > 0.05) | (high < 0.05))
            widths.append(high[-1] - low[-1])
    assert np.all(missed.mean(axis=0) <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 150))
    low, high = bounded_mean_sequence(0.05, 1_000, planned_n=500)
    assert max(widths) < high - low


@pytest.mark.slow
@pytest.mark.parametrize(("drift", "share"), [(0.0, 0.013014620347833784), (1.959964 + 0.841621, 0.46356217907992453)])
def test_rejections_over_14_nights_match_numerical_integration(drift, share):
    # Exact recursive integration by another hand: sequence tuned to a quarter of the final units, 14 looks; without an
    # effect, and with one that a single test at the end would find in 80 %. Four standard errors of 20,000 repetitions.
    statistics = nightly_statistics(20_000, 14, drift, seed=20260302)
    rho_squared = compare_always_valid(0.0, 1.0, 20_000, planned_n=5_000).rho ** 2
    units = 20_000 * np.arange(1, 15) / 14
    limit = np.sqrt(units) * sequence_margin(units, rho_squared=rho_squared)
    rejected = np.mean(np.any(np.abs(statistics) > limit, axis=1))
    assert rejected == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 20_000))
