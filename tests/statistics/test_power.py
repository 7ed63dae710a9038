from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats
from statsmodels.stats.power import NormalIndPower, TTestIndPower

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import mean_non_inferiority
from abtest_lib.statistics.inference import compare_means
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.planning import Baseline
from abtest_lib.statistics.planning_checks import comparison_alpha
from abtest_lib.statistics.power import (
    minimum_detectable_means,
    minimum_detectable_relative_means,
    power_means,
    power_relative_means,
    required_units_means,
)
from abtest_lib.statistics.power_margins import (
    power_guardrail_means,
    power_non_inferior_means,
    required_units_guardrail_means,
    required_units_non_inferior_means,
    smallest_margin_guardrail_means,
    smallest_margin_means,
)
from abtest_lib.statistics.tails import critical_value

COUNTED = ("effect side", "either side")
TESTS = st.sampled_from(["welch", "student", "z"])
SIDES = st.sampled_from(["two-sided", "greater", "less"])
EFFECTS, SPREADS = st.floats(0.05, 2.0), st.floats(0.2, 5.0)
ALPHAS, POWERS = st.floats(0.001, 0.2), st.floats(0.3, 0.99)
ALLOCATIONS = st.floats(0.2, 5.0)


def test_required_units_of_the_t_test_match_r():
    # R 4.2.2: power.t.test(delta=.5, sd=4, power=.8)$n; its root is found to 1e-4 or so.
    assert required_units_means(0.5, sd=4.0, test="student").exact_control == pytest.approx(1005.61787131, abs=0.01)


def test_required_units_of_two_values_match_mozanalysis():
    # mozanalysis tests/frequentist_stats/test_sample_size_calc.py: effect 3, sd 2, power 0.8; the t test's before pi/3.
    units = required_units_means(3.0, sd=2.0, test="student")
    assert units.exact_control == pytest.approx(8.060294283896704, rel=1e-5)


def test_required_units_of_unequal_spreads_match_gsdesign():
    # gsDesign 3.11: nNormal(delta1=.5, sd=4, sd2=5, alpha=.025, beta=.1, ratio=2)
    plan = {"sd": 4.0, "sd_treatment": 5.0, "test": "z", "power": 0.9, "allocation": 2.0}
    assert required_units_means(0.5, **plan).exact_total == pytest.approx(3593.53868701269, rel=1e-10)


def test_required_units_of_non_inferiority_match_gsdesign():
    # gsDesign 3.11: nNormal(delta0=-.4, delta1=0, sd=4, alpha=.025, beta=.2)
    units = required_units_non_inferior_means(0.4, sd=4.0, better="higher", test="z")
    assert units.exact_total == pytest.approx(3139.55189373963, rel=1e-10)
    assert required_units_non_inferior_means(0.4, sd=4.0, better="lower", test="z") == units


@pytest.mark.parametrize("n, ratio, effect, alpha", [(20, 1.0, 0.5, 0.05), (5, 3.0, 1.2, 0.01), (4000, 0.25, 0.1, 0.2)])
@pytest.mark.parametrize(
    "alternative, theirs", [("two-sided", "two-sided"), ("greater", "larger"), ("less", "smaller")]
)
def test_power_matches_statsmodels(n, ratio, effect, alpha, alternative, theirs):
    arms = {"n_control": n, "n_treatment": n * ratio, "sd": 1.0, "alpha": alpha, "alternative": alternative}
    for test, reference in (("student", TTestIndPower()), ("z", NormalIndPower())):
        wanted = reference.power(effect, n, alpha, ratio=ratio, alternative=theirs)
        assert power_means(effect, test=test, counted="either side", **arms) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 4.0])
def test_required_units_match_statsmodels(ratio):
    # A root of statsmodels' is good to 1e-6 or so; it counts the wrong side too, which is 1e-6 of power.
    wanted = TTestIndPower().solve_power(effect_size=0.1, alpha=0.05, power=0.8, ratio=ratio)
    units = required_units_means(0.1, sd=1.0, test="student", allocation=ratio)
    assert units.exact_control == pytest.approx(wanted, rel=5e-6)


@pytest.mark.parametrize("df, shift", [(3, 0.0), (3, 2.5), (18, 4.0), (18, 40.0), (5e5, 2.8)])
def test_noncentral_t_matches_an_integral(df, shift):
    def density_times_tail(value):
        scaled = math.sqrt(value / df)
        return stats.norm.sf(stats.t.isf(0.025, df) * scaled - shift) * stats.chi2.pdf(value, df)

    spread = 12 * math.sqrt(2 * df)
    wanted, _ = integrate.quad(
        density_times_tail, max(0.0, df - spread), df + spread + 100, points=[df], limit=200, epsabs=1e-11
    )
    n = df / 2 + 1
    power = power_means(shift * math.sqrt(2 / n), n_control=n, n_treatment=n, sd=1.0, test="student")
    assert power == pytest.approx(wanted, abs=1e-7)


@given(EFFECTS, SPREADS, SPREADS, TESTS, SIDES, ALPHAS, POWERS, ALLOCATIONS, st.integers(1, 4))
def test_required_units_reach_the_power_and_one_less_does_not(
    effect, sd, sd_treatment, test, alternative, alpha, power, allocation, treatments
):
    assume(power > alpha)
    shared = {"sd": sd, "sd_treatment": None if test == "student" else sd_treatment, "test": test, "alpha": alpha}
    shared |= {"alternative": alternative, "treatments": treatments}
    effect = -effect if alternative == "less" else effect
    units = required_units_means(effect, power=power, allocation=allocation, **shared)
    assume(units.control > 3 and units.control * min(1.0, allocation) > 4)
    reached = power_means(effect, n_control=units.control, n_treatment=units.treatment, **shared)
    fewer = units.control - 1
    assert reached >= power - 1e-9
    assert power_means(effect, n_control=fewer, n_treatment=allocation * fewer, **shared) < power


@given(SPREADS, TESTS, SIDES, ALPHAS, POWERS, st.integers(3, 5_000), st.integers(3, 5_000))
def test_minimum_detectable_effect_has_the_power(sd, test, alternative, alpha, power, n_control, n_treatment):
    assume(power > alpha)
    shared = {"n_control": n_control, "n_treatment": n_treatment, "sd": sd, "test": test, "alpha": alpha}
    shared["alternative"] = alternative
    effect = minimum_detectable_means(power=power, **shared)
    assert (effect < 0) == (alternative == "less")
    assert power_means(effect, **shared) == pytest.approx(power, abs=1e-8)


@given(EFFECTS, TESTS, st.floats(1.0, 2.0), ALLOCATIONS)
def test_inflation_multiplies_units_and_the_detectable_effect_undoes_it(effect, test, inflation, allocation):
    plan = {"sd": 2.0, "test": test, "inflation": inflation}
    units = required_units_means(effect, allocation=allocation, **plan)
    fixed = required_units_means(effect, allocation=allocation, sd=2.0, test=test)
    assert units.exact_control == pytest.approx(inflation * fixed.exact_control)
    arms = {"n_control": units.exact_control, "n_treatment": allocation * units.exact_control}
    assume(min(arms.values()) / inflation > 2.001)
    assert minimum_detectable_means(**arms, **plan) == pytest.approx(effect, rel=1e-6)


@given(st.floats(-1.0, 1.0), SPREADS)
def test_swapping_variants_keeps_the_power(effect, sd):
    forth = power_means(effect, n_control=30, n_treatment=90, sd=sd, sd_treatment=1.0)
    back = power_means(-effect, n_control=90, n_treatment=30, sd=1.0, sd_treatment=sd)
    assert forth == pytest.approx(back, abs=1e-12)


def test_power_without_an_effect_is_alpha():
    arms = {"n_control": 40, "n_treatment": 60, "sd": 1.0}
    for test in ("welch", "student", "z"):
        assert power_means(0.0, test=test, counted="either side", **arms) == pytest.approx(0.05, abs=1e-9)
        assert power_means(0.0, test=test, **arms) == pytest.approx(0.025, abs=1e-9)


def test_two_units_of_each_are_the_fewest():
    found = power_means(3.0, n_control=2, n_treatment=2, sd=1.0, test="student", counted="either side")
    assert found == pytest.approx(TTestIndPower().power(3.0, 2, 0.05), abs=1e-9)


@pytest.mark.parametrize("test", ["welch", "student", "z"])
def test_small_unsigned_numbers_of_units_do_not_wrap(test):
    arms = {"n_control": np.array([200], dtype=np.uint8), "n_treatment": np.array([200], dtype=np.uint8)}
    wanted = power_means(0.3, n_control=200, n_treatment=200, sd=1.0, test=test)
    assert power_means(0.3, **arms, sd=1.0, test=test) == pytest.approx([wanted], rel=1e-12)


def test_one_sided_test_has_one_side_to_count():
    arms = {"n_control": 40, "n_treatment": 60, "sd": 1.0}
    for alternative in ("greater", "less"):
        counts = [power_means(0.1, alternative=alternative, counted=which, **arms) for which in COUNTED]
        assert counts[0] == counts[1]


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
@pytest.mark.parametrize("allocation", [0.25, 1.0])
def test_family_of_dunnett_plans_at_its_level(alternative, allocation):
    family = {"treatments": 3, "family": "dunnett"}
    level = comparison_alpha(0.05, **family, alternative=alternative, allocation=allocation)
    arms = {"n_control": 80, "n_treatment": 80 * allocation, "sd": 1.0, "alternative": alternative}
    assert power_means(0.5, **arms, **family) == pytest.approx(power_means(0.5, **arms, alpha=level), rel=1e-9)
    effects = [minimum_detectable_means(**arms, **each) for each in (family, {"alpha": level})]
    assert effects[0] == pytest.approx(effects[1], rel=1e-9)
    plan = {"sd": 1.0, "alternative": alternative, "allocation": allocation}
    units = [required_units_means(0.5, **plan, **each) for each in (family, {"alpha": level})]
    assert units[0].exact_control == pytest.approx(units[1].exact_control, rel=1e-9)


def test_normal_test_of_a_huge_effect_has_the_closed_form():
    wanted = 2 * ((stats.norm.isf(0.025) + stats.norm.isf(0.2)) / 10) ** 2
    assert required_units_means(10.0, sd=1.0, test="z").exact_control == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("test", ["welch", "z"])
def test_detectable_effect_of_unequal_spreads_has_the_power(test):
    plan = {"n_control": 20, "n_treatment": 60, "sd": [1.0, 2.0], "sd_treatment": 5.0, "test": test}
    assert power_means(minimum_detectable_means(**plan), **plan) == pytest.approx([0.8, 0.8], abs=1e-9)
    assert minimum_detectable_means(**plan | {"sd": 2.0}) == pytest.approx(minimum_detectable_means(**plan)[1])


@pytest.mark.parametrize("test", ["welch", "student"])
def test_huge_effect_needs_two_units_of_the_smaller_variant(test):
    assert required_units_means(1e4, sd=1.0, test=test).control == 2
    assert required_units_means(1e4, sd=1.0, test=test, allocation=0.5).control == 4
    assert required_units_means(1e4, sd=1.0, test=test, allocation=2.0).control == 2


@pytest.mark.parametrize("options", [{"treatments": 3}, {"treatments": 3, "family": "dunnett"}, {"alpha": 0.1}])
def test_relative_detectable_effect_is_that_of_the_level_of_a_comparison(options):
    plan = {"mean": 10.0, "sd": 4.0, "n_control": 400, "n_treatment": 800, **options}
    for alternative in ("two-sided", "greater", "less"):
        effect = minimum_detectable_relative_means(**plan, power=0.7, alternative=alternative)
        assert power_relative_means(effect, **plan, alternative=alternative) == pytest.approx(0.7, abs=1e-7)


@given(st.floats(-0.5, 2.0), st.integers(2, 500), st.integers(2, 500))
def test_relative_power_is_that_of_its_normal_statistic(relative_effect, n_control, n_treatment):
    found = power_relative_means(relative_effect, mean=10.0, sd=4.0, n_control=n_control, n_treatment=n_treatment)
    error = 0.4 * math.sqrt(1 / n_treatment + (1 + relative_effect) ** 2 / n_control)
    assert found == pytest.approx(stats.norm.cdf(abs(relative_effect) / error - stats.norm.isf(0.025)), abs=1e-12)


def test_arrays_give_what_numbers_give():
    effects, spreads = [0.2, 0.5], [1.0, 3.0]
    units = required_units_means(np.array(effects), sd=np.array(spreads))
    single = [required_units_means(effect, sd=sd) for effect, sd in zip(effects, spreads, strict=True)]
    assert units.exact_control == pytest.approx([each.exact_control for each in single], rel=1e-12)
    assert units.total.tolist() == [each.total for each in single]
    assert power_means(effects, n_control=100, n_treatment=[100, 200], sd=1.0).shape == (2,)
    assert all(isinstance(value, int) for value in (single[0].control, single[0].total))
    assert isinstance(minimum_detectable_means(n_control=9, n_treatment=9, sd=1.0), float)


def test_relative_power_and_detectable_effect_match_growthbook():
    # packages/shared/src/power at 8f1db44: a mean of 100 with sd 40, effect 1 %, 5,000 users in two variations; and a
    # rate of 0.1, effect 5 %, 50,000 users.
    mean = {"mean": 100.0, "sd": 40.0, "n_control": 2_500, "n_treatment": 2_500}
    assert power_relative_means(0.01, counted="either side", **mean) == pytest.approx(0.14222192647263082, rel=1e-7)
    assert minimum_detectable_relative_means(**mean) == pytest.approx(0.03221084647619961, rel=1e-5)
    rate = Baseline.of_share(0.1)
    share = {"mean": rate.mean, "sd": rate.sd, "n_control": 25_000, "n_treatment": 25_000}
    assert power_relative_means(0.05, counted="either side", **share) == pytest.approx(0.4433968965143925, rel=1e-7)
    assert minimum_detectable_relative_means(**share) == pytest.approx(0.07816776527626912, rel=1e-5)


@given(st.floats(0.1, 20.0), SIDES, st.integers(50, 5_000), st.integers(50, 5_000), POWERS)
def test_relative_detectable_effect_has_the_power(sd, alternative, n_control, n_treatment, power):
    plan = {"mean": 1.0, "sd": sd, "n_control": n_control, "n_treatment": n_treatment, "alternative": alternative}
    effect = minimum_detectable_relative_means(power=power, **plan)
    if isinstance(effect, NotComputed):
        # Nor by an effect beyond any that a mean can have.
        largest = -1 + 1e-9 if alternative == "less" else 1e9
        assert power_relative_means(largest, **plan) <= power
    else:
        assert power_relative_means(effect, **plan) == pytest.approx(power, abs=1e-7)


def test_relative_effect_of_a_control_that_is_hardly_known_is_not_computed():
    result = minimum_detectable_relative_means(mean=1.0, sd=20.0, n_control=100, n_treatment=100)
    assert isinstance(result, NotComputed) and result.reason.startswith("the means are known too poorly")


def test_control_known_just_too_poorly_has_no_relative_effect():
    # The needed standard errors are those of a mean of exactly 1: no increase is that many times an error above 0.
    quantile = critical_value(0.05, "two-sided") + special.ndtri(0.8)
    result = minimum_detectable_relative_means(mean=quantile, sd=4.0, n_control=16, n_treatment=50)
    assert isinstance(result, NotComputed)


@given(st.floats(0.01, 0.5), st.sampled_from(["higher", "lower"]), st.floats(-0.8, 0.8), ALLOCATIONS)
def test_required_units_prove_a_guardrail_and_one_less_does_not(margin, better, part, allocation):
    plan = {"mean": 3.0, "sd": 2.0, "better": better, "relative_effect": part * margin}
    units = required_units_guardrail_means(margin, allocation=allocation, **plan)
    assume(units.control * min(1.0, allocation) > 4)
    fewer = units.control - 1
    arms = {"n_control": units.control, "n_treatment": units.treatment}
    assert power_guardrail_means(margin, **arms, **plan) >= 0.8 - 1e-9
    assert power_guardrail_means(margin, n_control=fewer, n_treatment=allocation * fewer, **plan) < 0.8


def test_non_inferiority_power_is_that_of_the_distance_to_the_margin():
    arms = {"n_control": 300, "n_treatment": 500, "sd": 2.0, "alpha": 0.025}
    wanted = power_means(0.5, alternative="greater", **arms)
    assert power_non_inferior_means(0.4, effect=0.1, better="higher", **arms) == wanted
    assert power_non_inferior_means(0.4, effect=-0.1, better="lower", **arms) == wanted


@given(st.floats(-0.2, 0.2), st.integers(50, 50_000), st.sampled_from(["higher", "lower"]), TESTS)
@settings(max_examples=40)
def test_smallest_margin_is_the_one_proved_with_the_power(effect, n, better, test):
    plan = {"n_control": n, "n_treatment": 2 * n, "sd": 2.0, "better": better, "effect": effect, "test": test}
    margin = smallest_margin_means(**plan, power=0.9)
    if margin == 0:
        # Better than the control by so much that any margin is proved.
        assert abs(effect) > 0 and power_non_inferior_means(1e-9, **plan) >= 0.9 - 1e-9
    else:
        assert power_non_inferior_means(margin, **plan) == pytest.approx(0.9, abs=1e-6)


@given(st.floats(-0.04, 0.04), st.integers(500, 50_000), st.sampled_from(["higher", "lower"]))
@settings(max_examples=30)
def test_smallest_margin_of_a_guardrail_is_the_one_proved_with_the_power(relative_effect, n, better):
    plan = {"mean": 180.0, "sd": 80.0, "better": better, "relative_effect": relative_effect}
    plan |= {"n_control": n, "n_treatment": n}
    margin = smallest_margin_guardrail_means(**plan, power=0.9)
    reached = power_guardrail_means(margin, **plan)
    assert reached == pytest.approx(0.9, abs=1e-5) or (reached > 0.9 and margin < 1e-9)


def test_margin_that_no_such_units_prove_is_not_computed():
    plan = {"mean": 1.0, "sd": 50.0, "better": "lower", "n_control": 10, "n_treatment": 10}
    result = smallest_margin_guardrail_means(**plan)
    assert isinstance(result, NotComputed) and result.reason.startswith("so few units")
    # A margin of 1.5 would be proved, but one above 1 protects nothing.
    plan |= {"sd": 2.0, "n_control": 20, "n_treatment": 20}
    assert power_guardrail_means(1.5, **{**plan, "n_control": 200, "n_treatment": 200}) > 0.8
    assert power_guardrail_means(1.0, **plan) < 0.8
    assert isinstance(smallest_margin_guardrail_means(**plan), NotComputed)


@given(st.floats(0.01, 0.9), st.sampled_from(["higher", "lower"]), st.floats(-0.8, 0.8), st.sampled_from([None, 0.7]))
def test_guardrail_power_is_that_of_its_normal_statistic(margin, better, part, sd_treatment):
    # m_t - r m_c with r = 1 - margin or 1 + margin, of which r m_c has the error r sd / sqrt(n).
    plan = {"mean": 3.0, "sd": 2.0, "n_control": 40, "n_treatment": 90, "test": "z", "sd_treatment": sd_treatment}
    sign = -1 if better == "higher" else 1
    ratio = 1 + sign * margin
    error = math.hypot(2.0 * ratio / math.sqrt(40), (sd_treatment or 2.0) / math.sqrt(90))
    shift = sign * 3.0 * (ratio - (1 + part * margin)) / error
    found = power_guardrail_means(margin, better=better, relative_effect=part * margin, **plan)
    assert found == pytest.approx(stats.norm.cdf(shift - stats.norm.isf(0.025)), abs=1e-12)


def test_rise_of_more_than_all_may_be_tolerated_where_lower_is_better():
    found = power_guardrail_means(1.5, mean=1.0, sd=1.0, better="lower", n_control=8, n_treatment=8, test="z")
    wanted = stats.norm.cdf(1.5 / math.sqrt((2.5**2 + 1) / 8) - stats.norm.isf(0.025))
    assert found == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("options", [{"alpha": 0.1}, {"treatments": 3}, {"treatments": 3, "family": "dunnett"}])
def test_margins_are_planned_at_the_level_of_a_comparison(better, options):
    plan = {"sd": 2.0, "better": better, "sd_treatment": 3.0, **options}
    arms = {"n_control": 200, "n_treatment": 300}
    margin = smallest_margin_means(effect=0.02, power=0.7, **arms, **plan)
    assert power_non_inferior_means(margin, effect=0.02, **arms, **plan) == pytest.approx(0.7, abs=1e-7)
    units = required_units_non_inferior_means(margin, effect=0.02, power=0.7, allocation=1.5, **plan)
    assert units.exact_control == pytest.approx(200, rel=1e-6)
    plan |= {"mean": 5.0, "relative_effect": 0.02}
    margin = smallest_margin_guardrail_means(power=0.7, **arms, **plan)
    assert power_guardrail_means(margin, **arms, **plan) == pytest.approx(0.7, abs=1e-6)
    units = required_units_guardrail_means(margin, power=0.7, allocation=1.5, **plan)
    assert units.exact_control == pytest.approx(200, rel=1e-5)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_smallest_margin_of_an_effect_that_is_good_enough_is_0(better):
    good = 0.5 if better == "higher" else -0.5
    plan = {"n_control": 1_000, "n_treatment": 1_000, "sd": 1.0, "better": better}
    assert smallest_margin_means(effect=good, **plan) == 0.0
    # Without an effect it is the distance that a one-sided test at 2.5 % shows with power 0.8.
    wanted = math.sqrt(2 / 1_000) * (stats.norm.isf(0.025) + stats.norm.isf(0.2))
    assert smallest_margin_means(**plan, test="z") == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: required_units_means(0.0, sd=1.0), "effect is 0.0"),
        (lambda: required_units_means(-1.0, sd=1.0, alternative="greater"), "must be above 0"),
        (lambda: required_units_means(1.0, sd=0.0), "sd is 0.0"),
        (lambda: required_units_means(1.0, sd=1.0, power=0.04), "power is 0.04"),
        (lambda: required_units_means(1.0, sd=1.0, alpha=0.0), "alpha is 0.0"),
        (lambda: required_units_means(1.0, sd=1.0, allocation=-1.0), "allocation is -1.0"),
        (lambda: required_units_means(1.0, sd=1.0, treatments=0), "treatments is 0"),
        (lambda: required_units_means(1.0, sd=1.0, inflation=0.5), "inflation is 0.5"),
        (lambda: required_units_means(1.0, sd=1.0, test="f"), "test is 'f'"),
        (lambda: required_units_means(1.0, sd=1.0, sd_treatment=2.0, test="student"), "sd_treatment is 2.0"),
        (lambda: required_units_means(1.0, sd=1.0, sd_treatment=0.0), "sd_treatment is 0.0"),
        (lambda: power_means(1.0, n_control=9, n_treatment=1.9, sd=1.0), "n_treatment is 1.9"),
        (lambda: power_means(1.0, n_control=np.inf, n_treatment=9, sd=1.0), "n_control is inf"),
        (lambda: power_means(1.0, n_control=9, n_treatment=9, sd=1.0, alternative="both"), "alternative is 'both'"),
        (lambda: minimum_detectable_means(n_control=1, n_treatment=9, sd=1.0), "n_control is 1"),
        (lambda: minimum_detectable_means(n_control=3, n_treatment=9, sd=1.0, inflation=2.0), "n_control is 1.5"),
        (lambda: minimum_detectable_means(n_control=9, n_treatment=9, sd=1.0, inflation=0.5), "inflation is 0.5"),
        (lambda: minimum_detectable_means(n_control=9, n_treatment=9, sd=1.0, power=0.01), "power is 0.01"),
        (lambda: minimum_detectable_means(n_control=9, n_treatment=9, sd=1.0, treatments=0), "treatments is 0"),
        (
            lambda: minimum_detectable_relative_means(mean=0.0, sd=1.0, n_control=9, n_treatment=9),
            "^mean is 0.0",
        ),
        (lambda: minimum_detectable_relative_means(mean=1.0, sd=0.0, n_control=9, n_treatment=9), "^sd is 0.0"),
        (lambda: minimum_detectable_relative_means(mean=1.0, sd=1.0, n_control=1, n_treatment=9), "n_control is 1"),
        (lambda: minimum_detectable_relative_means(mean=1.0, sd=1.0, n_control=9, n_treatment=1), "n_treatment is 1"),
        (
            lambda: minimum_detectable_relative_means(mean=1.0, sd=1.0, n_control=9, n_treatment=9, power=1.0),
            "power is 1.0",
        ),
        (
            lambda: minimum_detectable_relative_means(mean=1.0, sd=1.0, n_control=9, n_treatment=9, alternative="both"),
            "alternative is 'both'",
        ),
        (lambda: power_means(np.nan, n_control=9, n_treatment=9, sd=1.0), "effect is nan"),
        (lambda: power_means(1.0, n_control=1, n_treatment=9, sd=1.0), "n_control is 1"),
        (lambda: power_means(1.0, n_control=9, n_treatment=9, sd=1.0, counted="both"), "counted is 'both'"),
        (lambda: required_units_non_inferior_means(0.4, sd=1.0, better="more"), "better is 'more'"),
        (lambda: required_units_non_inferior_means(0.4, sd=1.0, better="lower", effect=0.4), "within the margin"),
        (lambda: required_units_guardrail_means(1.0, mean=1.0, sd=1.0, better="higher"), "margin is 1.0"),
        (lambda: required_units_guardrail_means(0.1, mean=-1.0, sd=1.0, better="higher"), "mean is -1.0"),
        (lambda: required_units_guardrail_means(0.1, mean=1.0, sd=0.0, better="higher"), "^sd is 0.0"),
        (
            lambda: required_units_guardrail_means(0.1, mean=1.0, sd=1.0, better="lower", relative_effect=-1.0),
            "relative_effect is -1.0",
        ),
        (lambda: smallest_margin_means(n_control=9, n_treatment=9, sd=1.0, better="more"), "better is 'more'"),
        (
            lambda: smallest_margin_guardrail_means(mean=1.0, sd=1.0, n_control=9, n_treatment=9, better="more"),
            "better is 'more'",
        ),
        (
            lambda: smallest_margin_guardrail_means(
                mean=1.0, sd=1.0, n_control=9, n_treatment=9, better="lower", power=0.02
            ),
            "power is 0.02",
        ),
        (lambda: power_relative_means(-1.0, mean=1.0, sd=1.0, n_control=9, n_treatment=9), "relative_effect is -1.0"),
    ],
)
def test_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_planned_power_is_the_share_of_simulated_experiments_that_show_the_effect():
    rng = np.random.default_rng(11)
    units = required_units_means(0.6, sd=1.0, sd_treatment=2.0, allocation=2.0, power=0.8)
    shown = 0
    for _ in range(2_000):
        control = Moments.from_values(rng.normal(5.0, 1.0, units.control))
        treatment = Moments.from_values(rng.normal(5.6, 2.0, units.treatment))
        result = compare_means(control, treatment)
        shown += result.pvalue < 0.05 and result.effect > 0
    # Four standard errors of a share of 0.8 in 2,000.
    assert shown / 2_000 == pytest.approx(0.8, abs=0.036)


@pytest.mark.slow
def test_planned_power_of_a_guardrail_is_the_share_of_simulated_experiments_that_prove_it():
    rng = np.random.default_rng(12)
    units = required_units_guardrail_means(0.1, mean=5.0, sd=1.5, better="lower", relative_effect=0.02)
    safe = 0
    for _ in range(2_000):
        control = Moments.from_values(rng.normal(5.0, 1.5, units.control))
        treatment = Moments.from_values(rng.normal(5.1, 1.5, units.treatment))
        safe += mean_non_inferiority(control, treatment, margin=0.1, better="lower").outcome == "safe"
    assert safe / 2_000 == pytest.approx(0.8, abs=0.036)
