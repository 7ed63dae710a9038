from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import inf, isinf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from abtest_lib.statistics.sequential import (
    Crossing,
    SequentialBounds,
    checked_bounds,
    checked_information,
    crossing_from,
    crossing_probabilities,
    efficacy_and_harm_bounds,
    mirrored,
    one_sided_alpha,
    planned_spending,
    spending_bounds,
)
from abtest_lib.statistics.sequential_classical import (
    any_looks_bounds,
    haybittle_peto_bounds,
    obrien_fleming_bounds,
    pocock_bounds,
    wang_tsiatis_bounds,
)
from abtest_lib.statistics.sequential_design import (
    conditional_power,
    futility_bounds,
    futility_design,
    sequential_design,
)
from abtest_lib.statistics.sequential_estimates import (
    repeated_intervals,
    repeated_pvalue,
    repeated_pvalues,
    running_minimum,
    stagewise_inference,
)
from abtest_lib.statistics.sequential_paths import Paths, find_root
from abtest_lib.statistics.spending import (
    hwang_shih_decani_spending,
    obrien_fleming_spending,
    pocock_spending,
    power_spending,
)

SPENDINGS = (
    obrien_fleming_spending,
    pocock_spending,
    partial(power_spending, rho=3),
    partial(hwang_shih_decani_spending, gamma=-4),
)
LOOKS = st.lists(st.integers(2, 39), min_size=1, max_size=5, unique=True).map(
    lambda looks: [look / 40 for look in sorted(looks)] + [1.0]
)
ALPHAS = st.floats(0.001, 0.3)
FIXED80 = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)


def evenly(count):
    return [(look + 1) / count for look in range(count)]


def stopping(information, upper, *, theta=0.0, sides=2):
    lower = [-z for z in upper] if sides == 2 else [-inf] * len(upper)
    return crossing_probabilities(information, lower, upper, theta=theta)


def type_one_error(information, upper, *, sides=2):
    return sum(stopping(information, upper, sides=sides).stopped)


# --- references


@pytest.mark.parametrize(
    ("bounds", "constants"),
    # Jennison, Turnbull (1999), tables 2.1 and 2.3, alpha 0.05, K = 1, ..., 10 (three decimals printed).
    [
        (pocock_bounds, [1.960, 2.178, 2.289, 2.361, 2.413, 2.453, 2.485, 2.512, 2.535, 2.555]),
        (obrien_fleming_bounds, [1.960, 1.977, 2.004, 2.024, 2.040, 2.053, 2.063, 2.072, 2.080, 2.087]),
    ],
)
def test_classical_constants_match_the_published_tables(bounds, constants):
    got = [bounds(evenly(count)).upper[-1] for count in range(1, 11)]
    assert got == pytest.approx(constants, abs=5.1e-4)


@pytest.mark.parametrize(
    ("looks", "published"),
    # Armitage, McPherson, Rowe (1969), table 2: repeated tests at 0.05 (three decimals printed).
    [(1, 0.050), (2, 0.083), (3, 0.107), (4, 0.126), (5, 0.142), (10, 0.193), (20, 0.248), (50, 0.320)],
)
def test_naive_peeking_errs_as_often_as_published(looks, published):
    assert type_one_error(evenly(looks), [stats.norm.ppf(0.975)] * looks) == pytest.approx(published, abs=5.1e-4)


@pytest.mark.parametrize(
    ("looks", "alpha", "naive", "tutorial", "bonferroni"),
    # Reference cases oc.typeI.*: numerical integration by another hand (tolerance 1e-6). The tutorial's bound is
    # the fixed z over sqrt(t).
    [
        (2, 0.05, 0.08311780335451788, 0.052162298311255614, 0.04280811818339015),
        (5, 0.01, 0.03274046327538355, 0.011458439685068749, 0.007209043772255076),
        (10, 0.05, 0.19335659334978617, 0.06859184488079814, 0.025282690466933676),
    ],
)
def test_rules_of_thumb_err_as_often_as_integration_by_another_hand_says(looks, alpha, naive, tutorial, bonferroni):
    times, z = evenly(looks), stats.norm.isf(alpha / 2)
    assert type_one_error(times, [z] * looks) == pytest.approx(naive, abs=1e-6)
    assert type_one_error(times, [z / sqrt(t) for t in times]) == pytest.approx(tutorial, abs=1e-6)
    assert type_one_error(times, [stats.norm.isf(alpha / looks / 2)] * looks) == pytest.approx(bonferroni, abs=1e-6)


@pytest.mark.parametrize(
    ("nights", "error"), [(7, 0.09241229439714728), (10, 0.12385699305228084), (28, 0.21349031548225478)]
)
def test_bounds_of_five_looks_read_every_night_err_as_the_other_hand_says(nights, error):
    # Reference cases oc.seed_runner.*: 1.96 / sqrt(t) of five looks, the fifth bound kept from the fifth night on.
    five = [stats.norm.ppf(0.975) / sqrt(t) for t in evenly(5)]
    upper = [five[min(night, 4)] for night in range(nights)]
    assert type_one_error(evenly(nights), upper) == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize(("nights", "error"), [(7, 0.15001504801179488), (14, 0.19248666387316524)])
def test_one_sided_peeking_errs_as_the_other_hand_says(nights, error):
    # Reference case oc.guardrail_naive_one_sided_nightly.
    upper = [stats.norm.ppf(0.95)] * nights
    assert type_one_error(evenly(nights), upper, sides=1) == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize(
    ("looks", "error", "power"),
    # Reference cases oc.levy_constant.*: 2.2414 / sqrt(t), valid for any looks; power of the upper side. Tolerance of
    # the other hand's integration.
    [(14, 0.03510194045044916, 0.7388350130015438), (60, 0.04159022564966444, 0.7562387891539462)],
)
def test_levys_bound_errs_and_detects_as_the_other_hand_says(looks, error, power):
    upper = any_looks_bounds(evenly(looks)).upper
    assert upper[-1] == pytest.approx(2.241402727604945, abs=1e-12)
    assert type_one_error(evenly(looks), upper) == pytest.approx(error, abs=1e-6)
    assert sum(stopping(evenly(looks), upper, theta=FIXED80).upper) == pytest.approx(power, abs=1e-5)


def test_power_spending_over_fourteen_nights_costs_what_the_other_hand_says():
    # Reference case oc.nightly14.Kim-DeMets_rho=3.
    bounds = spending_bounds(evenly(14), spending=partial(power_spending, rho=3))
    with_effect = crossing_probabilities(bounds.information, bounds.lower, bounds.upper, theta=FIXED80)
    early = sum((1 - t) * stopped for t, stopped in zip(evenly(14), with_effect.stopped, strict=True))
    assert sum(with_effect.upper) == pytest.approx(0.7804939602252019, abs=1e-5)
    assert 1 - early == pytest.approx(0.7454099867277726, abs=1e-5)
    assert sequential_design(bounds).inflation == pytest.approx(1.0496453932638157, abs=1e-5)


@pytest.mark.parametrize("theta", [0.0, 1.5, -3.0])
def test_crossing_matches_the_multivariate_normal_distribution(theta):
    # SciPy's Genz integration of the probability of staying within all bounds, error about 1e-6.
    looks, lower, upper = np.array([0.2, 0.5, 0.9]), [-1.0, -0.5, -3.0], [2.5, 2.0, 1.8]
    covariance = np.sqrt(np.minimum.outer(looks, looks) / np.maximum.outer(looks, looks))
    inside = stats.multivariate_normal(theta * np.sqrt(looks), covariance, abseps=1e-8, releps=1e-8, seed=1)
    want = inside.cdf(upper, lower_limit=lower)
    assert 1 - sum(crossing_probabilities(looks, lower, upper, theta=theta).stopped) == pytest.approx(want, abs=1e-5)


def test_second_look_matches_adaptive_quadrature():
    bounds = spending_bounds([0.3, 1.0])

    def then_above(z):
        return stats.norm.pdf(z) * stats.norm.sf((bounds.upper[1] - sqrt(0.3) * z) / sqrt(0.7))

    want, _ = integrate.quad(then_above, bounds.lower[0], bounds.upper[0], epsabs=1e-13)
    assert want == pytest.approx(0.025 - bounds.spent[0], abs=1e-12)


def test_looks_in_quick_succession_are_integrated_as_exactly_as_others():
    looks = [0.5, 0.5006, 0.5012, 1.0]
    lower, upper = [-2.0, -2.0, -2.0, -2.0], [2.0, 2.0, 2.0, 2.0]
    covariance = np.sqrt(np.minimum.outer(looks, looks) / np.maximum.outer(looks, looks))
    want = stats.multivariate_normal(np.zeros(4), covariance, abseps=1e-7, releps=1e-7, seed=1).cdf(
        upper, lower_limit=lower
    )
    assert 1 - sum(crossing_probabilities(looks, lower, upper).stopped) == pytest.approx(want, abs=2e-5)


# --- properties


@given(LOOKS, ALPHAS, st.sampled_from(SPENDINGS), st.sampled_from([1, 2]))
def test_bounds_spend_alpha_as_planned(looks, alpha, spending, sides):
    bounds = spending_bounds(looks, alpha=alpha, sides=sides, spending=spending)
    used = np.cumsum(crossing_probabilities(looks, bounds.lower, bounds.upper).upper)
    finite = [look for look, z in enumerate(bounds.upper) if not isinf(z)]
    assert used[finite] == pytest.approx(np.array(bounds.spent)[finite], abs=1e-11)
    assert bounds.spent[-1] == pytest.approx(alpha / sides)


@given(LOOKS, ALPHAS, st.floats(-0.5, 0.5), st.sampled_from([1, 2]))
def test_fixed_shapes_spend_alpha(looks, alpha, delta, sides):
    bounds = wang_tsiatis_bounds(looks, delta=delta, alpha=alpha, sides=sides)
    assert type_one_error(looks, bounds.upper, sides=sides) == pytest.approx(alpha, abs=1e-8)


@given(LOOKS, ALPHAS, st.sampled_from([1, 2]))
def test_bounds_for_any_looks_spend_less_than_alpha(looks, alpha, sides):
    bounds = any_looks_bounds(looks, alpha=alpha, sides=sides)
    assert type_one_error(looks, bounds.upper, sides=sides) < alpha
    for look, bound in zip(looks, bounds.upper, strict=True):
        assert isinf(bound) or bound * sqrt(look) == pytest.approx(bounds.upper[-1])


@given(LOOKS, ALPHAS, st.sampled_from(SPENDINGS))
def test_a_later_look_does_not_move_the_bounds_before_it(looks, alpha, spending):
    whole = spending_bounds(looks, alpha=alpha, spending=spending)
    for count in range(1, len(looks)):
        assert spending_bounds(looks[:count], alpha=alpha, spending=spending).upper == whole.upper[:count]


@given(LOOKS, st.floats(0.5, 1.9), ALPHAS)
def test_a_test_that_ends_short_of_the_plan_or_beyond_it_spends_alpha(looks, reached, alpha):
    information = [reached * look for look in looks]
    bounds = spending_bounds(information, alpha=alpha, spending_time=[*looks[:-1], 1.0])
    assert type_one_error(information, bounds.upper) == pytest.approx(alpha, abs=1e-10)


@given(LOOKS, st.floats(-0.1, 0.1))
def test_halved_work_of_symmetric_paths_gives_what_all_of_it_gives(looks, shift):
    # A drift of 1e-300 changes nothing but that the paths no longer count as symmetric.
    upper = [2.0 + shift * look for look in looks]
    half = stopping(looks, upper)
    assert half.upper == pytest.approx(stopping(looks, upper, theta=1e-300).upper, abs=1e-14)
    assert half.upper == pytest.approx(half.lower, abs=1e-14)


@given(LOOKS, st.floats(-4, 4))
def test_swapping_the_variants_swaps_the_sides(looks, theta):
    bounds = efficacy_and_harm_bounds(looks)
    forth = crossing_probabilities(looks, bounds.lower, bounds.upper, theta=theta)
    back = crossing_probabilities(looks, [-z for z in bounds.upper], [-z for z in bounds.lower], theta=-theta)
    assert forth.upper == pytest.approx(back.lower, abs=1e-12)
    assert forth.lower == pytest.approx(back.upper, abs=1e-12)


@given(LOOKS, st.floats(0.01, 1e6), st.floats(-3, 3))
def test_the_unit_of_information_does_not_matter(looks, unit, theta):
    bounds = pocock_bounds(looks)
    want = stopping(looks, bounds.upper, theta=theta)
    got = stopping([unit * look for look in looks], bounds.upper, theta=theta / sqrt(unit))
    assert got.upper == pytest.approx(want.upper, abs=1e-11)


@given(st.sampled_from(SPENDINGS), ALPHAS)
def test_spending_grows_from_nothing_to_alpha_and_stays(spending, alpha):
    spent = spending(np.linspace(0, 1, 50), alpha)
    assert spent[0] == 0
    assert np.all(np.diff(spent) >= 0)
    assert spending(1.0, alpha) == pytest.approx(alpha)
    assert spending(1.7, alpha) == pytest.approx(alpha)


@given(st.floats(0.1, 1), ALPHAS)
def test_even_spending_is_the_limit_of_both_families(fraction, alpha):
    assert power_spending(fraction, alpha, rho=1) == pytest.approx(fraction * alpha)
    assert hwang_shih_decani_spending(fraction, alpha, gamma=0) == pytest.approx(fraction * alpha)
    assert hwang_shih_decani_spending(fraction, alpha, gamma=1e-9) == pytest.approx(fraction * alpha)


@settings(max_examples=25)
@given(LOOKS, st.floats(1.0, 5.0), st.sampled_from([1, 2]), st.sampled_from([0.01, 0.05, 0.2]))
def test_repeated_pvalue_is_below_alpha_exactly_when_the_bound_is_passed(looks, z, sides, alpha):
    pvalue = repeated_pvalue(looks, z, spending=pocock_spending, sides=sides)
    bounds = spending_bounds(looks, alpha=alpha, sides=sides, spending=pocock_spending)
    assert (pvalue <= alpha) == (z >= bounds.upper[-1])


@given(LOOKS, st.floats(-6, 6))
def test_repeated_interval_leaves_out_zero_exactly_when_a_bound_is_passed(looks, z):
    bounds = spending_bounds(looks)
    for (low, high), bound in zip(repeated_intervals(bounds, [z] * len(looks)), bounds.upper, strict=True):
        assert (low > 0 or high < 0) == (abs(z) > bound)


@settings(max_examples=25)
@given(LOOKS, st.floats(-5, 5))
def test_stagewise_interval_leaves_out_zero_exactly_when_p_is_below_alpha(looks, z):
    upper = spending_bounds(looks).upper[:-1]
    result = stagewise_inference(looks, upper, z)
    low, high = result.interval
    assert (low > 0 or high < 0) == (result.pvalue < 0.05)
    assert low < result.median_unbiased < high


@settings(max_examples=25)
@given(LOOKS, st.floats(0, 5))
def test_stagewise_inference_flips_with_the_sign(looks, z):
    upper = pocock_bounds(looks).upper[:-1]
    up, down = stagewise_inference(looks, upper, z), stagewise_inference(looks, upper, -z)
    assert up.pvalue == pytest.approx(down.pvalue, rel=1e-8)
    assert up.median_unbiased == pytest.approx(-down.median_unbiased, abs=1e-7)
    assert up.interval == pytest.approx([-end for end in reversed(down.interval)], abs=1e-7)


@given(LOOKS)
def test_stagewise_pvalue_at_the_last_bound_is_alpha(looks):
    upper = spending_bounds(looks).upper
    assert stagewise_inference(looks, upper[:-1], upper[-1]).pvalue == pytest.approx(0.05, abs=1e-10)


@given(st.floats(-5, 5))
def test_one_look_is_the_ordinary_test(z):
    result = stagewise_inference([1.0], [], z)
    assert result.pvalue == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-10)
    assert result.median_unbiased == pytest.approx(z, abs=1e-7)
    assert result.interval == pytest.approx((z - 1.959963985, z + 1.959963985), abs=1e-7)


def test_median_unbiased_estimate_of_an_early_stop_is_below_the_naive_one():
    upper = pocock_bounds(evenly(4)).upper
    assert stagewise_inference(evenly(4)[:3], upper[:2], 2.7).median_unbiased < 2.7


@given(LOOKS, st.floats(0.0, 3.0))
def test_conditional_powers_average_to_power(looks, theta):
    upper = pocock_bounds(looks).upper
    first, later = looks[0], looks[1:]
    nodes, weights = np.polynomial.legendre.leggauss(40)
    low, high = theta * sqrt(first) - 8, upper[0]
    z = (high + low) / 2 + (high - low) / 2 * nodes
    density = stats.norm.pdf(z - theta * sqrt(first)) * weights * (high - low) / 2
    later_power = [conditional_power(later, upper[1:], z=each, at=first, theta=theta) for each in z]
    want = crossing_probabilities(looks, [-inf] * len(looks), upper, theta=theta)
    assert density @ later_power == pytest.approx(sum(want.upper[1:]), abs=1e-5)


@settings(max_examples=20)
@given(LOOKS, st.sampled_from([0.8, 0.9]), st.booleans())
def test_futility_bounds_meet_and_spend_beta(looks, power, binding):
    design = futility_design(looks, power=power, spending=pocock_spending, binding=binding)
    bounds = design.bounds
    crossing = crossing_probabilities(looks, bounds.lower, bounds.upper, theta=design.drift)
    assert bounds.lower[-1] == bounds.upper[-1]
    assert sum(crossing.lower) == pytest.approx(1 - power, abs=1e-8)
    lower = bounds.lower if binding else [-inf] * len(looks)
    assert sum(crossing_probabilities(looks, lower, bounds.upper).upper) == pytest.approx(0.025, abs=1e-8)


@settings(max_examples=20)
@given(LOOKS, st.sampled_from([0.8, 0.9]), st.booleans())
def test_futility_bounds_of_looks_as_planned_are_those_of_the_design(looks, power, binding):
    options = {"power": power, "spending": pocock_spending, "binding": binding}
    design = futility_design(looks, **options)
    bounds = futility_bounds(looks, drift=design.drift, **options)
    assert bounds == design.bounds
    if len(looks) > 1:
        before = futility_bounds(looks[:-1], drift=design.drift, **options)
        assert before.lower == bounds.lower[:-1]
        assert before.upper == bounds.upper[:-1]


@settings(max_examples=20)
@given(LOOKS, st.floats(1.0, 5.0), st.booleans())
def test_futility_bounds_off_plan_hold_alpha_and_spend_beta_as_they_may(looks, drift, binding):
    spending = partial(hwang_shih_decani_spending, gamma=-2)
    options = {"drift": drift, "power": 0.8, "futility_spending": spending, "binding": binding}
    bounds = futility_bounds(looks, spending=pocock_spending, **options)
    lower = bounds.lower if binding else [-inf] * len(looks)
    assert sum(crossing_probabilities(looks, lower, bounds.upper).upper) <= 0.025 + 1e-9
    lost = np.cumsum(crossing_probabilities(looks, bounds.lower, bounds.upper, theta=drift).lower)[:-1]
    assert np.all(lost <= spending(np.array(looks[:-1]), 0.2) + 1e-9)


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (lambda x: x**3 - 2, 0.0, 2.0),
        (lambda x: np.exp(-x) - 1e-6, 0.0, 50.0),
        (lambda x: min(x - 0.3, 5 * x - 1.5, 40.0), -30.0, 30.0),
        (lambda x: np.sign(x - 0.125), -1.0, 1.0),
        (lambda x: x, -1.0, 0.0),
        (lambda x: -x, 0.0, 1.0),
    ],
)
def test_roots_are_those_that_brents_method_finds(function, low, high):
    # scipy.optimize.brentq with its smallest tolerance.
    want = optimize.brentq(function, low, high, xtol=1e-13)
    assert find_root(function, low, high) == pytest.approx(want, abs=2e-10)


def test_a_bound_of_seven_or_more_cannot_stop_and_leaves_its_alpha_to_the_next_look():
    early, alone = spending_bounds([0.05, 0.5, 1.0]), spending_bounds([0.5, 1.0])
    assert early.upper[0] == inf
    assert early.lower[0] == -inf
    assert early.nominal_pvalues[0] is None
    assert early.upper[1:] == pytest.approx(alone.upper, abs=1e-9)
    assert repeated_intervals(early, [1.0]) == ((-inf, inf),)


def test_a_last_look_beyond_the_plan_spends_what_is_left():
    bounds = spending_bounds([0.5, 1.1])
    assert bounds.spent[-1] == pytest.approx(0.025)
    assert type_one_error([0.5, 1.1], bounds.upper) == pytest.approx(0.05, abs=1e-10)
    assert spending_bounds([0.5, 1.1, 1.2]).upper[-1] == inf


def test_sixty_looks_hold_alpha():
    bounds = spending_bounds(evenly(60))
    assert type_one_error(evenly(60), bounds.upper) == pytest.approx(0.05, abs=1e-11)
    assert all(then < now for now, then in pairwise(z for z in bounds.upper if z < inf))


def test_repeated_pvalue_that_no_alpha_reaches_is_none():
    pvalues = repeated_pvalues([0.2, 1.0], [0.2, 2.5], spending=partial(hwang_shih_decani_spending, gamma=-4))
    assert pvalues[0] is None
    assert running_minimum(pvalues) == pvalues


# --- what callers may get wrong


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spending_bounds([]), "information is"),
        (lambda: spending_bounds([0.5, 0.5]), "information is"),
        (lambda: spending_bounds([0.5, 0.5001]), "thousandth"),
        (lambda: spending_bounds([0.5, float("nan")]), "information is"),
        (lambda: spending_bounds([0.5], alpha=1.0), "alpha is 1.0"),
        (lambda: spending_bounds([0.5], sides=3), "sides is 3"),
        (lambda: spending_bounds([0.5, 1.0], spending_time=[1.0]), "spending_time has 1"),
        (lambda: spending_bounds([0.5, 1.0], spending_time=[1.0, 0.5]), "must not fall"),
        (lambda: spending_bounds([0.5], spending=partial(power_spending, rho=0)), "rho is 0"),
        (lambda: hwang_shih_decani_spending(0.5, 0.05, gamma=inf), "gamma is inf"),
        (lambda: obrien_fleming_spending(-0.1, 0.05), "fraction is -0.1"),
        (lambda: pocock_spending(0.1, 1.5), "alpha is 1.5"),
        (lambda: pocock_bounds([0.5, 0.9]), "must increase to 1"),
        (lambda: pocock_bounds([1.0], alpha=0.6, sides=1), "below 0.5 per side"),
        (lambda: any_looks_bounds([0.5, 1.2]), "must increase to at most 1"),
        (lambda: any_looks_bounds([0.5], alpha=0.0), "alpha is 0.0"),
        (lambda: haybittle_peto_bounds([0.5, 1.0], interim_z=1.0), "interim_z is 1.0"),
        (lambda: haybittle_peto_bounds([0.5, 1.0], interim_z=-1.0), "interim_z is -1.0"),
        (lambda: crossing_probabilities([1.0], [2.0], [1.0]), "lower must not be above upper"),
        (lambda: crossing_probabilities([1.0], [float("nan")], [1.0]), "lower must not be above upper"),
        (lambda: checked_bounds([1.0], [], 1), "must have one for each"),
        (lambda: sequential_design(spending_bounds([0.5, 0.9])), "must end at 1"),
        (lambda: sequential_design(spending_bounds([1.0]), power=0.01), "power is 0.01"),
        (lambda: futility_design([0.5, 0.9]), "must end at 1"),
        (lambda: futility_bounds([0.5], drift=0.0), "drift is 0.0"),
        (lambda: futility_bounds([0.5], drift=3.0, power=1.0), "power is 1.0"),
        (lambda: futility_bounds([0.5], drift=3.0, spending_time=[0.5, 1.0]), "spending_time has 2"),
        (lambda: conditional_power([0.5], [2.0], z=1.0, at=0.6, theta=1.0), "at is 0.6"),
        (lambda: repeated_pvalues([0.5], [1.0, 2.0]), "statistics has 2"),
        (lambda: repeated_pvalues([0.5], [inf]), "must be finite"),
        (lambda: repeated_pvalues([0.5], [1.0], sides=0), "sides is 0"),
        (lambda: repeated_intervals(spending_bounds([0.5]), [1.0, 2.0]), "statistics has 2"),
        (lambda: stagewise_inference([0.5], [], float("nan")), "z is nan"),
        (lambda: stagewise_inference([0.5], [2.0], 1.0), "must have one for each"),
        (lambda: find_root(lambda x: x * x + 1, 0.0, 1.0), "its sign must differ"),
    ],
)
def test_a_slip_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("bad", [[], [0.0, 1.0], [-0.1], [0.5, 0.4], [0.5, float("nan")], [0.5, inf]])
def test_information_must_increase_and_be_finite(bad):
    with pytest.raises(ValueError, match=r"^information is .*; it must be finite and increase from above 0\.$"):
        checked_information(bad)


def test_look_that_adds_a_thousandth_is_a_look():
    assert checked_information([1, 2, 1000]) == (1.0, 2.0, 1000.0)
    assert checked_information([0.9989, 1.0]) == (0.9989, 1.0)
    assert checked_information([1998.0, 2000.0]) == (1998.0, 2000.0)
    for close in ([0.9991, 1.0], [1998.1, 2000.0], [0.2, 0.5, 0.5004]):
        with pytest.raises(ValueError, match=rf"^information has {close[-2]} before {close[-1]}; a look must add"):
            checked_information(close)


def test_bounds_go_with_their_looks():
    assert checked_bounds([1, -inf], [1, inf], 2) == ([1.0, -inf], [1.0, inf])
    for lower, upper, entries in (
        ([1.0], [2.0, 2.0], "1 entry, upper 2"),
        ([1.0, 1.0], [2.0, 2.0], "2 entries, upper 2"),
    ):
        with pytest.raises(
            ValueError, match=rf"^lower has {entries}; both must have one for each of the looks \(3\)\.$"
        ):
            checked_bounds(lower, upper, 3)
    paths = Paths.start()
    for lower, upper, name in (([1.0], [2.0, 2.0], "lower"), ([1.0, 1.0], [2.0, float("nan")], "upper")):
        with pytest.raises(ValueError, match=rf"^{name} is .*; it must hold a number for each of the looks \(2\)\.$"):
            crossing_from(paths, [0.5, 1.0], lower, upper)
    for looks in ([0.0], [inf], [-1.0]):
        with pytest.raises(ValueError, match=r"^looks is \[.*\]; information must be finite and above 0\.$"):
            crossing_from(paths, looks, [-1.0], [1.0])
    with pytest.raises(ValueError, match=r"^theta is inf; it must be a finite number\.$"):
        crossing_probabilities([1.0], [-1.0], [1.0], theta=inf)


def test_sides_and_alpha_are_what_they_must_be():
    assert (one_sided_alpha(0.3, 1), one_sided_alpha(0.3, 2)) == (0.3, 0.15)
    assert mirrored([3.0, inf], 2) == (-3.0, -inf)
    assert mirrored([3.0, 2.0], 1) == (-inf, -inf)
    for alpha in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"^alpha is {alpha}; it must be between 0 and 1\.$"):
            one_sided_alpha(alpha, 1)
        for name in ("alpha_efficacy", "alpha_harm"):
            with pytest.raises(ValueError, match=rf"^{name} is {alpha}; it must be between 0 and 1\.$"):
                efficacy_and_harm_bounds([1.0], **{name: alpha})
    for sides in (0, 3):
        with pytest.raises(ValueError, match=rf"^sides is {sides}; it must be 1 or 2\.$"):
            mirrored([1.0], sides)
    with pytest.raises(ValueError, match=r"^upper is \[nan\]; bounds must be numbers\.$"):
        mirrored([float("nan")], 2)


def test_spending_may_rest_and_never_falls():
    assert planned_spending([0.5, 1.0], 0.05, lambda t, alpha: alpha + 0 * t) == (0.05, 0.05)
    assert planned_spending([0.5], 0.05, lambda t, alpha: 0.0) == (0.0,)
    assert planned_spending([0.5, 0.7], 0.04, pocock_spending, [0.25, 1.0]) == pytest.approx(
        pocock_spending(np.array([0.25, 1.0]), 0.04)
    )
    for wrong in (lambda t, alpha: -alpha * t, lambda t, alpha: alpha * (1 - t)):
        with pytest.raises(ValueError, match=r"^spending gives \[.*\]; it must not fall from look to look\.$"):
            planned_spending([0.5, 1.0], 0.05, wrong)


def test_bounds_for_gain_and_harm_are_one_sided_bounds():
    # With one look each is the quantile of its own alpha.
    bounds = efficacy_and_harm_bounds([1.0], alpha_efficacy=0.03, alpha_harm=0.2)
    assert (bounds.upper[0], bounds.lower[0]) == pytest.approx((stats.norm.isf(0.03), -stats.norm.isf(0.2)), abs=1e-8)
    default = efficacy_and_harm_bounds([1.0])
    assert (default.upper[0], default.lower[0]) == pytest.approx(
        (stats.norm.isf(0.025), -stats.norm.isf(0.1)), abs=1e-8
    )
    looks = [0.4, 1.0]
    bounds = efficacy_and_harm_bounds(looks, spending_efficacy=pocock_spending, spending_harm=pocock_spending)
    gain = spending_bounds(looks, alpha=0.025, sides=1, spending=pocock_spending)
    harm = spending_bounds(looks, alpha=0.1, sides=1, spending=pocock_spending)
    assert (bounds.information, bounds.upper, bounds.spent) == (gain.information, gain.upper, gain.spent)
    assert bounds.lower == tuple(-z for z in harm.upper)


def test_nominal_pvalue_is_two_sided_and_none_where_a_look_cannot_stop():
    bounds = SequentialBounds((0.5, 1.0), (-inf, -2.0), (inf, 2.0), (0.0, 0.02))
    assert bounds.nominal_pvalues == (None, pytest.approx(2 * stats.norm.sf(2.0), rel=1e-12))
    assert Crossing((0.1, 0.0), (0.2, 0.3)).stopped == pytest.approx((0.3, 0.3))


# --- simulations


def simulated_paths(repetitions, looks, *, theta, seed):
    steps = np.random.default_rng(seed).normal(theta / looks, 1 / sqrt(looks), (repetitions, looks))
    return steps.cumsum(axis=1) / np.sqrt(evenly(looks))


@pytest.mark.slow
def test_simulated_error_rate_and_bias_of_winners_are_those_of_the_other_hand():
    # Reference case oc.stopping_bias.LDOF.eff80: 400,000 simulated paths, tolerance 0.006.
    upper = np.array(spending_bounds(evenly(14)).upper)
    without = simulated_paths(100_000, 14, theta=0.0, seed=20260301)
    assert np.mean(np.any(np.abs(without) >= upper, axis=1)) == pytest.approx(0.05, abs=4 * sqrt(0.05 * 0.95 / 1e5))
    z = simulated_paths(100_000, 14, theta=FIXED80, seed=20260302)
    crossed = z >= upper
    won = crossed.any(axis=1)
    look = crossed.argmax(axis=1)[won]
    naive = z[won, look] / np.sqrt(np.array(evenly(14))[look]) / FIXED80
    assert naive.mean() == pytest.approx(1.2806448832713708, abs=0.012)
    assert won.mean() == pytest.approx(0.7835375, abs=0.006)


@pytest.mark.slow
def test_simulated_intervals_after_stopping_cover_and_the_estimate_is_median_unbiased():
    looks, theta, repetitions = evenly(3), 2.5, 400
    upper = pocock_bounds(looks).upper
    covered, below, repeated = 0, 0, 0
    for path in simulated_paths(repetitions, 3, theta=theta, seed=20260303):
        ended = next((look for look in range(3) if abs(path[look]) >= upper[look]), 2)
        result = stagewise_inference(looks[: ended + 1], upper[:ended], path[ended])
        truth = theta * sqrt(looks[ended])
        covered += result.interval[0] <= truth <= result.interval[1]
        below += result.median_unbiased < truth
        repeated += bool(np.all(np.abs(path - theta * np.sqrt(looks)) <= upper))
    assert covered / repetitions == pytest.approx(0.95, abs=4 * sqrt(0.95 * 0.05 / repetitions))
    assert repeated / repetitions == pytest.approx(0.95, abs=4 * sqrt(0.95 * 0.05 / repetitions))
    assert below / repetitions == pytest.approx(0.5, abs=4 * 0.5 / sqrt(repetitions))
