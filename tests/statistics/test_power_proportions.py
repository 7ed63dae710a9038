from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import power_proportions_2indep, proportion_effectsize

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import proportion_non_inferiority
from abtest_lib.statistics.planning_checks import comparison_alpha
from abtest_lib.statistics.power_margin_shares import (
    power_non_inferior_proportions,
    required_units_non_inferior_proportions,
    smallest_margin_proportions,
)
from abtest_lib.statistics.power_proportions import (
    minimum_detectable_proportions,
    power_proportions,
    required_units_proportions,
    units_for_power,
)
from abtest_lib.statistics.proportions import score_ratio_z

TESTS = st.sampled_from(["pooled", "unpooled", "arcsine"])
SIDES = st.sampled_from(["two-sided", "greater", "less"])
SHARES, ALLOCATIONS = st.floats(0.01, 0.99), st.floats(0.2, 5.0)
ALPHAS, POWERS = st.floats(0.001, 0.2), st.floats(0.3, 0.99)


@pytest.mark.parametrize(
    "control, treatment, alpha, n",
    [(0.031, 0.033, 0.05, 121562.270382138), (0.2, 0.18, 0.01, 8985.52773403865)],
)
def test_required_units_match_r(control, treatment, alpha, n):
    # R 4.2.2: power.prop.test(p1=.031, p2=.033, power=.8)$n, power.prop.test(p1=.2, p2=.18, sig.level=.01, power=.8)$n
    assert required_units_proportions(control, treatment, alpha=alpha).exact_control == pytest.approx(n, rel=2e-6)


def test_power_and_detectable_share_match_r():
    # R 4.2.2: power.prop.test(n=20000, p1=.05, p2=.056)$power, power.prop.test(n=20000, p1=.05, power=.8)$p2
    arms = {"n_control": 20_000, "n_treatment": 20_000}
    assert power_proportions(0.05, 0.056, **arms) == pytest.approx(0.763705068424866, rel=2e-6)
    assert minimum_detectable_proportions(0.05, **arms).share == pytest.approx(0.056284241654531, rel=2e-6)


def test_required_units_of_unequal_allocation_match_gsdesign():
    # gsDesign 3.11: nBinomial(p1=.1, p2=.11, alpha=.05, sided=2, beta=.1, ratio=3)
    units = required_units_proportions(0.1, 0.11, power=0.9, allocation=3.0)
    assert units.exact_total == pytest.approx(52881.5697737871, rel=1e-9)


def test_required_units_of_non_inferiority_match_gsdesign():
    # gsDesign 3.11: nBinomial(p1=.05, p2=.05, delta0=.005, alpha=.025, beta=.2)
    units = required_units_non_inferior_proportions(0.005, share_control=0.05, better="lower")
    assert units.exact_total == pytest.approx(59739.3835538814, rel=1e-9)


def test_unpooled_units_match_the_closed_form():
    # (z(0.975) + z(0.9))² (0.1 · 0.9 + 0.11 · 0.89) / 0.01², by hand.
    units = required_units_proportions(0.1, 0.11, test="unpooled", power=0.9)
    assert units.exact_control == pytest.approx(19743.447932446925, rel=1e-10)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("control, treatment", [(0.05, 0.06), (0.3, 0.25)])
def test_power_matches_statsmodels(control, treatment, ratio):
    arms = {"n_control": 2_000, "n_treatment": 2_000 * ratio, "counted": "either side"}
    # statsmodels: prop1 = prop2 + diff has nobs1, and the pooled share its weights.
    wanted = power_proportions_2indep(control - treatment, treatment, 2_000, ratio=ratio, return_results=False)
    assert power_proportions(control, treatment, **arms) == pytest.approx(wanted, abs=1e-10)
    effect = proportion_effectsize(treatment, control)
    wanted = NormalIndPower().power(effect, 2_000, 0.05, ratio=ratio)
    assert power_proportions(control, treatment, test="arcsine", **arms) == pytest.approx(wanted, abs=1e-10)


@given(SHARES, SHARES, TESTS, SIDES, ALPHAS, POWERS, ALLOCATIONS, st.integers(1, 4))
def test_required_units_reach_the_power_and_one_less_does_not(
    control, treatment, test, alternative, alpha, power, allocation, treatments
):
    assume(power > alpha and abs(control - treatment) > 0.003)
    if (alternative == "greater") != (treatment > control) and alternative != "two-sided":
        control, treatment = treatment, control
    shared = {"test": test, "alpha": alpha, "alternative": alternative, "treatments": treatments}
    units = required_units_proportions(control, treatment, power=power, allocation=allocation, **shared)
    assume(units.control > 1)
    arms = {"n_control": units.control, "n_treatment": allocation * units.control}
    assert power_proportions(control, treatment, **arms, **shared) >= power - 1e-9
    arms = {"n_control": units.control - 1, "n_treatment": allocation * (units.control - 1)}
    assert power_proportions(control, treatment, **arms, **shared) < power


@given(
    SHARES, TESTS, st.sampled_from(["increase", "decrease"]), POWERS, st.integers(20, 50_000), st.integers(20, 50_000)
)
def test_detectable_share_has_the_power(control, test, direction, power, n_control, n_treatment):
    plan = {"n_control": n_control, "n_treatment": n_treatment, "test": test}
    result = minimum_detectable_proportions(control, direction=direction, power=power, **plan)
    assume(not isinstance(result, NotComputed))
    assert (result.effect > 0) == (direction == "increase")
    assert result.relative_effect == pytest.approx(result.share / control - 1, abs=1e-9)
    assume(1e-9 < result.share < 1 - 1e-9)
    assert power_proportions(control, result.share, **plan) == pytest.approx(power, abs=1e-6)


def test_change_that_no_share_can_make_is_not_computed():
    result = minimum_detectable_proportions(0.9, n_control=10, n_treatment=10)
    assert isinstance(result, NotComputed) and "increase" in result.reason


@given(SHARES, SHARES, TESTS)
def test_exchanging_successes_and_failures_keeps_the_units(control, treatment, test):
    assume(abs(control - treatment) > 0.003)
    units = required_units_proportions(control, treatment, test=test, allocation=2.0).exact_control
    mirrored = required_units_proportions(1 - control, 1 - treatment, test=test, allocation=2.0).exact_control
    assert units == pytest.approx(mirrored, rel=1e-9)


def test_more_treatments_share_alpha_and_add_units():
    one = required_units_proportions(0.05, 0.06, alpha=0.05 / 3)
    three = required_units_proportions(0.05, 0.06, treatments=3)
    assert three.control == one.control and three.total == 4 * one.control


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
@pytest.mark.parametrize("allocation", [0.25, 1.0])
def test_family_of_dunnett_plans_at_its_level(alternative, allocation):
    family = {"treatments": 3, "family": "dunnett"}
    level = comparison_alpha(0.05, **family, alternative=alternative, allocation=allocation)
    arms = {"n_control": 900, "n_treatment": 900 * allocation, "alternative": alternative}
    both = [power_proportions(0.1, 0.15, **arms, **each) for each in (family, {"alpha": level})]
    assert both[0] == pytest.approx(both[1], rel=1e-9)
    both = [minimum_detectable_proportions(0.1, **arms, **each).share for each in (family, {"alpha": level})]
    assert both[0] == pytest.approx(both[1], rel=1e-9)
    plan = {"alternative": alternative, "allocation": allocation}
    both = [required_units_proportions(0.1, 0.15, **plan, **each).exact_control for each in (family, {"alpha": level})]
    assert both[0] == pytest.approx(both[1], rel=1e-9)


@given(SHARES, st.floats(1.0, 2.0), ALLOCATIONS, TESTS, SIDES)
@settings(max_examples=40)
def test_inflation_multiplies_units_and_the_detectable_share_undoes_it(control, inflation, allocation, test, side):
    direction = "decrease" if side == "less" else "increase"
    treatment = control / 2 if side == "less" else (1 + control) / 2
    plan = {"test": test, "alternative": side}
    units = required_units_proportions(control, treatment, inflation=inflation, allocation=allocation, **plan)
    fixed = required_units_proportions(control, treatment, allocation=allocation, **plan)
    assert units.exact_control == pytest.approx(inflation * fixed.exact_control)
    arms = {"n_control": units.exact_control, "n_treatment": units.exact_treatment}
    found = minimum_detectable_proportions(control, **arms, inflation=inflation, direction=direction, **plan)
    assert found.share == pytest.approx(treatment, abs=1e-6)


def test_one_sided_test_has_one_side_to_count():
    arms = {"n_control": 100, "n_treatment": 150, "alternative": "greater"}
    sides = [power_proportions(0.2, 0.22, counted=each, **arms) for each in ("effect side", "either side")]
    assert sides[0] == sides[1]
    units = [
        required_units_proportions(0.2, 0.22, power=0.1, alternative="greater", counted=each).exact_control
        for each in ("effect side", "either side")
    ]
    assert units[0] == units[1]


@pytest.mark.parametrize("test", ["pooled", "unpooled", "arcsine"])
def test_units_that_count_either_side_have_that_power(test):
    # So near alpha that the wrong side counts for a fifth of the power.
    plan = {"test": test, "counted": "either side"}
    units = required_units_proportions(0.2, [0.22, 0.1], power=0.08, allocation=2.0, **plan)
    arms = {"n_control": units.exact_control, "n_treatment": units.exact_treatment}
    assert power_proportions(0.2, [0.22, 0.1], **arms, **plan) == pytest.approx([0.08, 0.08], abs=1e-9)


def test_power_near_alpha_may_need_no_units():
    # Unequal errors: with a wider true error than the statistic's the power at no units is above 0.1.
    assert units_for_power((0.1, 0.1, 1.0), 0.1, 0.05, "greater") == 0.0
    assert units_for_power((0.1, 0.5, 0.5), 0.1, 0.05, "greater") == pytest.approx(
        (5 * (stats.norm.isf(0.05) - stats.norm.isf(0.1))) ** 2
    )


@pytest.mark.parametrize("test", ["pooled", "unpooled", "arcsine"])
def test_small_unsigned_numbers_of_units_do_not_wrap(test):
    arms = {"n_control": np.array([200], dtype=np.uint8), "n_treatment": np.array([200], dtype=np.uint8)}
    wanted = power_proportions(0.3, 0.4, n_control=200, n_treatment=200, test=test)
    assert power_proportions(0.3, 0.4, **arms, test=test) == pytest.approx([wanted], rel=1e-12)


def test_shares_in_lists_are_arrays():
    found = power_proportions([0.1, 0.2], [0.12, 0.25], n_control=500, n_treatment=[500, 800])
    wanted = [
        power_proportions(0.1, 0.12, n_control=500, n_treatment=500),
        power_proportions(0.2, 0.25, n_control=500, n_treatment=800),
    ]
    assert found == pytest.approx(wanted, rel=1e-12) and isinstance(wanted[0], float)


@pytest.mark.parametrize("scale", ["difference", "ratio"])
@pytest.mark.parametrize("options", [{"alpha": 0.1}, {"treatments": 3}, {"treatments": 3, "family": "dunnett"}])
def test_margins_are_planned_at_the_level_of_a_comparison(scale, options):
    plan = {"share_control": 0.2, "better": "lower", "scale": scale, "share_treatment": 0.21}
    level = options.get("alpha", 0.025)
    if "treatments" in options:
        family = options.get("family", "bonferroni")
        level = comparison_alpha(0.025, 3, family=family, alternative="greater", allocation=1.5)
    arms = {"n_control": 2_000, "n_treatment": 3_000}
    margins = [smallest_margin_proportions(power=0.7, **arms, **plan, **each) for each in (options, {"alpha": level})]
    assert margins[0] == pytest.approx(margins[1], rel=1e-9)
    both = [power_non_inferior_proportions(margins[0], **arms, **plan, **each) for each in (options, {"alpha": level})]
    assert both == pytest.approx([0.7, 0.7], abs=1e-6)
    units = required_units_non_inferior_proportions(
        margins[0], power=0.7, allocation=1.5, inflation=1.2, **plan, **options
    )
    assert units.exact_control == pytest.approx(1.2 * 2_000, rel=1e-5)
    assert (units.allocation, units.treatments) == (1.5, options.get("treatments", 1))


@given(st.floats(0.02, 0.9), st.floats(0.02, 0.3), st.sampled_from(["higher", "lower"]), ALLOCATIONS)
def test_null_shares_of_a_ratio_are_those_of_the_score_test(control, margin, better, allocation):
    ratio = 1 - margin if better == "higher" else 1 + margin
    plan = {"share_control": control, "better": better, "scale": "ratio", "alpha": 0.025}
    n_control, n_treatment = 10**10, round(allocation * 10**10)
    assume(control * ratio < 1)
    # Half the expected experiments show it where the true statistic, at its expectation, is the critical value.
    successes = round(n_control * control), round(n_treatment * control)
    z = abs(score_ratio_z(successes[0], n_control, successes[1], n_treatment, ratio=ratio))
    scale = (stats.norm.isf(0.025) / z) ** 2
    power = power_non_inferior_proportions(margin, n_control=scale * n_control, n_treatment=scale * n_treatment, **plan)
    assert power == pytest.approx(0.5, abs=1e-6)


def score_z_of_a_difference(control, treatment, n_control, n_treatment, difference):
    def loss(share):
        arms = ((control, share, n_control), (treatment, share + difference, n_treatment))
        return -sum(n * (p * math.log(q) + (1 - p) * math.log(1 - q)) for p, q, n in arms)

    low, high = max(0.0, -difference), min(1.0, 1 - difference)
    null = optimize.minimize_scalar(loss, bounds=(low + 1e-9, high - 1e-9), options={"xatol": 1e-10}).x
    at_margin = null + difference
    error = math.sqrt(null * (1 - null) / n_control + at_margin * (1 - at_margin) / n_treatment)
    return (treatment - control - difference) / error


@given(st.floats(0.1, 0.8), st.floats(0.01, 0.09), st.sampled_from(["higher", "lower"]), ALLOCATIONS)
def test_null_shares_of_a_difference_are_most_likely_at_the_margin(control, margin, better, allocation):
    difference = -margin if better == "higher" else margin
    z = abs(score_z_of_a_difference(control, control + difference / 3, 1.0, allocation, difference))
    scale = (stats.norm.isf(0.025) / z) ** 2
    plan = {"share_control": control, "share_treatment": control + difference / 3, "better": better}
    power = power_non_inferior_proportions(margin, n_control=scale, n_treatment=scale * allocation, **plan)
    assert power == pytest.approx(0.5, abs=1e-5)


@given(st.floats(0.1, 0.8), st.floats(0.01, 0.09), st.sampled_from(["difference", "ratio"]), ALLOCATIONS, POWERS)
def test_required_units_prove_a_margin_and_one_less_does_not(control, margin, scale, allocation, power):
    plan = {"share_control": control, "better": "higher", "scale": scale}
    units = required_units_non_inferior_proportions(margin, allocation=allocation, power=power, **plan)
    assume(units.control > 1)
    reached, short = (
        power_non_inferior_proportions(margin, n_control=n, n_treatment=allocation * n, **plan)
        for n in (units.control, units.control - 1)
    )
    # One of a hundred million units more may move the power by less than this.
    assert short - 1e-9 < power < reached + 1e-9


@pytest.mark.parametrize(
    ("control", "treatment", "alpha", "n"),
    [(0.031, 0.033, 0.05, 121534.087461159), (0.2, 0.18, 0.01, 8981.36903416507)],
)
def test_required_units_that_count_either_side_match_pwr(control, treatment, alpha, n):
    # R, pwr 1.3.0: pwr.2p.test(h = ES.h(p1, p2), sig.level = alpha, power = .8)$n
    units = required_units_proportions(control, treatment, test="arcsine", alpha=alpha, counted="either side")
    assert units.exact_control == pytest.approx(n, rel=1e-6)


def test_required_units_by_unpooled_errors_match_the_closed_form():
    # mozanalysis' case of 10 % against 11 %, power 0.9, by (z_a + z_b)² (p q + p' q') / d².
    units = required_units_proportions(0.1, 0.11, power=0.9, test="unpooled")
    assert units.exact_control == pytest.approx(19743.447932446925, rel=1e-9)


@given(
    st.floats(0.02, 0.9),
    st.floats(0.9, 1.1),
    st.integers(3_000, 200_000),
    st.sampled_from(["higher", "lower"]),
    st.sampled_from(["difference", "ratio"]),
)
@settings(max_examples=40)
def test_smallest_margin_is_the_one_proved_with_the_power(control, change, n, better, scale):
    plan = {"share_control": control, "share_treatment": control * change, "better": better, "scale": scale}
    plan |= {"n_control": n, "n_treatment": n}
    margin = smallest_margin_proportions(**plan, power=0.9)
    assume(not isinstance(margin, NotComputed))
    reached = power_non_inferior_proportions(margin, **plan)
    # A treatment that is better by far proves any margin.
    assert reached == pytest.approx(0.9, abs=1e-5) or (reached > 0.9 and margin < 1e-9)


def test_smallest_margin_that_a_share_has_no_room_for_is_not_computed():
    result = smallest_margin_proportions(share_control=0.01, better="higher", n_control=50, n_treatment=50)
    assert isinstance(result, NotComputed) and "room" in result.reason


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: required_units_proportions(0.1, 0.1), "share_treatment - share_control is 0.0"),
        (lambda: required_units_proportions(0.1, 0.2, alternative="less"), "must be below 0"),
        (lambda: required_units_proportions(0.0, 0.2), "share_control is 0.0"),
        (lambda: required_units_proportions(0.1, 1.2), "share_treatment is 1.2"),
        (lambda: required_units_proportions(0.1, 0.2, test="exact"), "test is 'exact'"),
        (lambda: required_units_proportions(0.1, 0.2, power=1.0), "power is 1.0"),
        (lambda: power_proportions(0.1, 0.2, n_control=0, n_treatment=5), "n_control is 0"),
        (lambda: power_proportions(0.1, 0.2, n_control=5, n_treatment=5, counted="all"), "counted is 'all'"),
        (lambda: minimum_detectable_proportions(0.1, n_control=9, n_treatment=9, direction="up"), "direction is 'up'"),
        (
            lambda: minimum_detectable_proportions(0.1, n_control=9, n_treatment=9, alternative="less"),
            "with alternative 'less'",
        ),
        (lambda: minimum_detectable_proportions(0.0, n_control=9, n_treatment=9), "share_control is 0.0"),
        (lambda: minimum_detectable_proportions(0.1, n_control=0, n_treatment=9), "^n_control is 0"),
        (lambda: minimum_detectable_proportions(0.1, n_control=9, n_treatment=0), "^n_treatment is 0"),
        (lambda: minimum_detectable_proportions(0.1, n_control=9, n_treatment=9, power=0.01), "power is 0.01"),
        (lambda: minimum_detectable_proportions(0.1, n_control=9, n_treatment=9, inflation=0.5), "inflation is 0.5"),
        (lambda: minimum_detectable_proportions(0.1, n_control=9, n_treatment=9, test="exact"), "test is 'exact'"),
        (
            lambda: minimum_detectable_proportions(0.1, n_control=9, n_treatment=9, alternative="less"),
            "^the sign of direction is 1;",
        ),
        (
            lambda: minimum_detectable_proportions(
                0.1, n_control=9, n_treatment=9, alternative="greater", direction="decrease"
            ),
            "^the sign of direction is -1;",
        ),
        (lambda: required_units_proportions(0.1, 0.2, allocation=0.0), "^allocation is 0.0"),
        (lambda: required_units_proportions(0.1, 0.2, inflation=0.5), "inflation is 0.5"),
        (lambda: required_units_proportions(0.1, 0.2, counted="all"), "counted is 'all'"),
        (lambda: required_units_proportions(0.1, 0.1), "^share_treatment - share_control is 0.0"),
        (lambda: required_units_proportions(1.0, 0.2), "^share_control is 1.0"),
        (lambda: required_units_proportions(0.1, 0.0), "^share_treatment is 0.0"),
        (lambda: power_proportions(0.1, 0.2, n_control=0, n_treatment=5), "^n_control is 0"),
        (lambda: power_proportions(0.1, 0.2, n_control=5, n_treatment=0), "^n_treatment is 0"),
        (
            lambda: required_units_non_inferior_proportions(0.1, share_control=0.2, better="lower", allocation=0.0),
            "^allocation is 0.0",
        ),
        (
            lambda: required_units_non_inferior_proportions(0.1, share_control=0.2, better="lower", inflation=0.5),
            "inflation is 0.5",
        ),
        (
            lambda: required_units_non_inferior_proportions(1.0, share_control=0.2, better="higher", scale="ratio"),
            "margin is 1.0; it must be below 1",
        ),
        (
            lambda: required_units_non_inferior_proportions(0.2, share_control=0.2, better="higher"),
            "must not lead out",
        ),
        (
            lambda: required_units_non_inferior_proportions(0.8, share_control=0.2, better="lower"),
            "must not lead out",
        ),
        (
            lambda: smallest_margin_proportions(share_control=0.2, n_control=9, n_treatment=9, better="more"),
            "better is 'more'",
        ),
        (
            lambda: smallest_margin_proportions(
                share_control=0.2, n_control=9, n_treatment=9, better="lower", power=0.01
            ),
            "power is 0.01",
        ),
        (
            lambda: smallest_margin_proportions(share_control=0.0, n_control=9, n_treatment=9, better="lower"),
            "share_control is 0.0",
        ),
        (
            lambda: smallest_margin_proportions(share_control=0.2, n_control=9, n_treatment=0, better="lower"),
            "n_treatment is 0",
        ),
        (lambda: required_units_non_inferior_proportions(0.0, share_control=0.1, better="lower"), "margin is 0.0"),
        (lambda: required_units_non_inferior_proportions(0.2, share_control=0.1, better="higher"), "must not lead out"),
        (
            lambda: required_units_non_inferior_proportions(0.1, share_control=0.1, better="higher", scale="odds"),
            "scale is 'odds'",
        ),
    ],
)
def test_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_planned_power_is_the_share_of_simulated_experiments_that_show_the_effect():
    rng = np.random.default_rng(13)
    units = required_units_proportions(0.1, 0.12, allocation=2.0)
    control, treatment = rng.binomial(units.control, 0.1, 20_000), rng.binomial(units.treatment, 0.12, 20_000)
    shown = score_ratio_z(control, units.control, treatment, units.treatment) > stats.norm.isf(0.025)
    # Four standard errors of a share of 0.8 in 20,000.
    assert shown.mean() == pytest.approx(0.8, abs=0.0115)


@pytest.mark.slow
def test_planned_power_of_a_guardrail_is_the_share_of_simulated_experiments_that_prove_it():
    rng = np.random.default_rng(14)
    plan = {"share_control": 0.1, "better": "higher", "scale": "ratio"}
    units = required_units_non_inferior_proportions(0.1, **plan)
    n = units.control
    control, treatment = rng.binomial(n, 0.1, 20_000), rng.binomial(n, 0.1, 20_000)
    safe = score_ratio_z(control, n, treatment, n, ratio=0.9) > stats.norm.isf(0.025)
    assert safe.mean() == pytest.approx(0.8, abs=0.0115)
    reading = proportion_non_inferiority(int(control[0]), n, int(treatment[0]), n, margin=0.1, better="higher")
    assert (reading.outcome == "safe") == safe[0]
