"""What must hold of every comparison, whatever the data: one line in a table holds a function to all of it."""

from __future__ import annotations

import functools
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from abtest_lib.statistics import multiplicity
from abtest_lib.statistics.always_valid import (
    compare_always_valid,
    mixture_interval,
    mixture_pvalue,
    sequence_margin,
)
from abtest_lib.statistics.capping import compare_capped_means
from abtest_lib.statistics.checks import daily_trend, interaction_test
from abtest_lib.statistics.covariates import compare_means_with_covariates
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.exact import fisher_pvalue
from abtest_lib.statistics.guardrails import mean_non_inferiority, proportion_non_inferiority
from abtest_lib.statistics.heterogeneity import heterogeneity_test, random_effects, shrunken_effects
from abtest_lib.statistics.inference import (
    compare_adjusted_means,
    compare_means,
    compare_proportions,
    compare_relative_by_delta,
)
from abtest_lib.statistics.joint_moments import JointMoments, merge_joint_moments
from abtest_lib.statistics.mixture_bounds import normal_mixture_bound
from abtest_lib.statistics.moments import CoMoments, Moments, merge, merge_co_moments
from abtest_lib.statistics.non_inferiority import (
    farrington_manning_non_inferiority,
    miettinen_nurminen_non_inferiority,
    wald_non_inferiority,
    welch_non_inferiority,
)
from abtest_lib.statistics.pooled import student_test
from abtest_lib.statistics.proportions import newcombe_interval, score_ratio_interval
from abtest_lib.statistics.quantiles import order_statistic_interval, quantile_estimate
from abtest_lib.statistics.ratios import compare_adjusted_ratios, compare_ratios
from abtest_lib.statistics.regression import (
    compare_by_ancova,
    compare_by_clustered_regression,
    compare_by_lin_regression,
)
from abtest_lib.statistics.sample_ratio import exact_sample_ratio_pvalue, sample_ratio_test
from abtest_lib.statistics.score_intervals import (
    farrington_manning_z,
    mee_interval,
    miettinen_nurminen_interval,
    miettinen_nurminen_z,
)
from abtest_lib.statistics.sequential import spending_bounds
from abtest_lib.statistics.sequential_classical import haybittle_peto_bounds, obrien_fleming_bounds, pocock_bounds
from abtest_lib.statistics.sequential_estimates import repeated_intervals, repeated_pvalue
from abtest_lib.statistics.sequential_sample_ratio import sequential_sample_ratio_test
from abtest_lib.statistics.spending import obrien_fleming_spending, pocock_spending
from abtest_lib.statistics.tails import critical_value, tail_pvalue

few = settings(max_examples=8)

MIRRORED = {"two-sided": "two-sided", "greater": "less", "less": "greater"}
SIDES = tuple(MIRRORED)


# Rows of an arm: outcome, events (at least 1), and both before the exposure.
row = st.tuples(st.integers(0, 40), st.integers(1, 6), st.integers(0, 40), st.integers(1, 6))
arm = st.tuples(st.integers(6, 14), st.integers(0, 2**32 - 1)).map(
    lambda drawn: np.random.default_rng(drawn[1]).integers([0, 1, 0, 1], [41, 7, 41, 7], (drawn[0], 4)).astype(float)
)
level = st.sampled_from([0.001, 0.05, 0.2])


def welch(control, treatment, **options):
    return compare_means(*(Moments.from_values(rows[:, 0]) for rows in (control, treatment)), **options)


def student(control, treatment, **options):
    return student_test(*(Moments.from_values(rows[:, 0]) for rows in (control, treatment)), **options)


def cuped(control, treatment, **options):
    arms = (CoMoments.from_values(rows[:, 0], rows[:, 2]) for rows in (control, treatment))
    return compare_adjusted_means(*arms, **options)


def ratio(control, treatment, **options):
    return compare_ratios(*(CoMoments.from_values(rows[:, 0], rows[:, 1]) for rows in (control, treatment)), **options)


def adjusted_ratio(control, treatment, **options):
    return compare_adjusted_ratios(*(JointMoments.from_values(*rows.T) for rows in (control, treatment)), **options)


def several_covariates(control, treatment, **options):
    arms = (JointMoments.from_values(*rows[:, [0, 2, 3]].T) for rows in (control, treatment))
    result = compare_means_with_covariates(*arms, **options)
    return result if isinstance(result, NotComputed) else result.comparison


def ancova(control, treatment, **options):
    arms = (CoMoments.from_values(rows[:, 0], rows[:, 2]) for rows in (control, treatment))
    return compare_by_ancova(*arms, **options)


def lin(variance, control, treatment, **options):
    rows = np.vstack([control, treatment])
    treated = np.repeat([0, 1], [len(control), len(treatment)])
    return compare_by_lin_regression(rows[:, 0], treated, rows[:, 2], variance=variance, **options)


def clustered(variance, control, treatment, **options):
    arms = ((rows[:, 0], rows[:, 1]) for rows in (control, treatment))
    return compare_by_clustered_regression(*arms, variance=variance, **options)


def capped(control, treatment, **options):
    result = compare_capped_means(control[:, 0], treatment[:, 0], quantile=0.9, **options)
    return result if isinstance(result, NotComputed) else result.comparison


def always_valid(control, treatment, **options):
    fixed = welch(control, treatment)
    if isinstance(fixed, NotComputed):
        return fixed
    units = len(control) + len(treatment)
    return compare_always_valid(fixed.effect, fixed.standard_error, units, planned_n=units, **options)


# Shifting the outcome of a ratio by c means c for each event, so that the ratio moves by c.
BY_UNIT, BY_EVENT = "by unit", "by event"
COMPARISONS = {
    "Welch": (welch, BY_UNIT),
    "Student": (student, BY_UNIT),
    "CUPED": (cuped, BY_UNIT),
    "ratio": (ratio, BY_EVENT),
    "adjusted ratio": (adjusted_ratio, BY_EVENT),
    "several covariates": (several_covariates, BY_UNIT),
    "ANCOVA": (ancova, BY_UNIT),
    "Lin HC0": (functools.partial(lin, "HC0"), BY_UNIT),
    "Lin HC2": (functools.partial(lin, "HC2"), BY_UNIT),
    "Lin HC3": (functools.partial(lin, "HC3"), BY_UNIT),
    "clustered CR0": (functools.partial(clustered, "CR0"), BY_EVENT),
    "clustered CR1": (functools.partial(clustered, "CR1"), BY_EVENT),
    "clustered CR2": (functools.partial(clustered, "CR2"), BY_EVENT),
    "capped": (capped, BY_UNIT),
    "always valid": (always_valid, BY_UNIT),
}
comparisons = pytest.mark.parametrize(("compare", "shift"), COMPARISONS.values(), ids=COMPARISONS)
# One-sided sequences have no p-value that adds to one with the other side's.
FIXED = {name: row[0] for name, row in COMPARISONS.items() if name != "always valid"}
fixed_horizon = pytest.mark.parametrize("compare", FIXED.values(), ids=FIXED)


def computed(result):
    """The result, where there is one to speak of: data that leave no error say nothing."""
    assume(not isinstance(result, NotComputed))
    error = getattr(result, "standard_error", 1.0)
    assume(error > 1e-6 and not isinstance(result.pvalue, NotComputed))
    return result


def near(value, tolerance=1e-7):
    return pytest.approx(value, rel=tolerance, abs=tolerance * 1e-2)


def excludes_zero(interval):
    return not interval[0] <= 0 <= interval[1]


@comparisons
@few
@given(control=arm, treatment=arm, alpha=level)
@pytest.mark.parametrize("alternative", SIDES)
def test_swapping_the_variants_mirrors_everything(compare, shift, alternative, control, treatment, alpha):
    one = computed(compare(control, treatment, alpha=alpha, alternative=alternative))
    other = computed(compare(treatment, control, alpha=alpha, alternative=MIRRORED[alternative]))
    assert other.effect == near(-one.effect)
    assert other.effect_interval == near((-one.effect_interval[1], -one.effect_interval[0]))
    assert other.pvalue == near(one.pvalue)
    if hasattr(one, "statistic"):
        assert other.statistic == near(-one.statistic)


@comparisons
@few
@given(control=arm, treatment=arm, factor=st.sampled_from([1e-3, 0.5, 7.0, 1e4]))
def test_another_unit_scales_the_effect_and_leaves_the_evidence(compare, shift, control, treatment, factor):
    one = computed(compare(control, treatment))
    scaled = computed(compare(control * [factor, 1, 1, 1], treatment * [factor, 1, 1, 1]))
    assert scaled.effect == near(factor * one.effect)
    assert scaled.effect_interval == near(tuple(factor * end for end in one.effect_interval))
    assert scaled.pvalue == near(one.pvalue)
    if hasattr(one, "relative_interval") and not isinstance(one.relative_interval, NotComputed):
        assert scaled.relative_effect == near(one.relative_effect)
        assert scaled.relative_interval == near(one.relative_interval)


@comparisons
@few
@given(control=arm, treatment=arm, origin=st.integers(-50, 50))
def test_another_origin_leaves_the_effect(compare, shift, control, treatment, origin):
    def moved(rows):
        added = origin * (rows[:, 1] if shift == BY_EVENT else np.ones(len(rows)))
        return np.column_stack([rows[:, 0] + added, rows[:, 1:]])

    one, other = computed(compare(control, treatment)), computed(compare(moved(control), moved(treatment)))
    assert other.effect == near(one.effect)
    assert other.effect_interval == near(one.effect_interval)
    assert other.pvalue == near(one.pvalue)


@comparisons
@few
@given(control=arm, treatment=arm, alpha=level)
@pytest.mark.parametrize("alternative", SIDES)
def test_interval_excludes_zero_exactly_when_the_test_rejects(compare, shift, alternative, control, treatment, alpha):
    result = computed(compare(control, treatment, alpha=alpha, alternative=alternative))
    assume(abs(result.pvalue - alpha) > 1e-9)
    assert excludes_zero(result.effect_interval) == (result.pvalue < alpha)


@pytest.mark.parametrize("name", ["Welch", "CUPED", "ratio", "adjusted ratio", "capped"])
@few
@given(control=arm, treatment=arm, alpha=level)
def test_interval_of_fieller_excludes_zero_exactly_when_the_test_rejects(name, control, treatment, alpha):
    result = computed(FIXED[name](control, treatment, alpha=alpha))
    assume(not isinstance(result.relative_interval, NotComputed) and abs(result.pvalue - alpha) > 1e-9)
    assert excludes_zero(result.relative_interval) == (result.pvalue < alpha)


@fixed_horizon
@few
@given(control=arm, treatment=arm)
def test_both_one_sided_pvalues_add_to_one_and_the_smaller_is_half_of_the_two_sided(compare, control, treatment):
    both, up, down = (computed(compare(control, treatment, alternative=side)).pvalue for side in SIDES)
    assert up + down == near(1.0)
    assert both == near(2 * min(up, down))


@fixed_horizon
@few
@given(control=arm, treatment=arm, alpha=level)
def test_ends_of_an_interval_are_those_of_both_one_sided_ones_at_half_of_alpha(compare, control, treatment, alpha):
    both = computed(compare(control, treatment, alpha=alpha))
    up, down = (
        compare(control, treatment, alpha=alpha / 2, alternative=side).effect_interval for side in ("greater", "less")
    )
    assert both.effect_interval == near((up[0], down[1]))
    assert up[1] == math.inf and down[0] == -math.inf


@comparisons
@few
@given(control=arm, treatment=arm)
def test_smaller_alpha_gives_a_wider_interval(compare, shift, control, treatment):
    results = [computed(compare(control, treatment, alpha=alpha)).effect_interval for alpha in (0.001, 0.05, 0.5)]
    for wide, narrow in itertools.pairwise(results):
        assert wide[0] < narrow[0] and narrow[1] < wide[1]


@few
@given(control=arm, treatment=arm)
def test_swapping_variants_of_the_delta_method_inverts_the_ratio(control, treatment):
    estimates = [MeanEstimate.of_mean(Moments.from_values(rows[:, 0] + 1)) for rows in (control, treatment)]
    one, other = compare_relative_by_delta(*estimates), compare_relative_by_delta(*reversed(estimates))
    assume(not isinstance(one, NotComputed) and not isinstance(other, NotComputed))
    assert (1 + one.relative_effect) * (1 + other.relative_effect) == near(1.0)


# Shares

counts = st.tuples(st.integers(1, 400), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1)).map(
    lambda c: (round(c[0] * c[2]), c[0], round(c[1] * c[3]), c[1])
)
SHARE_INTERVALS = [newcombe_interval, mee_interval, miettinen_nurminen_interval]
MARGIN_TESTS = [wald_non_inferiority, farrington_manning_non_inferiority, miettinen_nurminen_non_inferiority]
named = {"ids": lambda function: function.__name__}


def swapped(table):
    return (*table[2:], *table[:2])


def complement(table):
    return table[1] - table[0], table[1], table[3] - table[2], table[3]


@pytest.mark.parametrize("interval", SHARE_INTERVALS, **named)
@few
@given(table=counts, alpha=level)
def test_interval_of_a_difference_of_shares_mirrors_when_variants_or_outcomes_are_swapped(interval, table, alpha):
    low, high = interval(*table, alpha=alpha)
    for other in (swapped(table), complement(table)):
        assert interval(*other, alpha=alpha) == near((-high, -low))


@few
@given(table=counts)
@pytest.mark.parametrize("alternative", SIDES)
def test_comparison_of_shares_mirrors_when_variants_or_outcomes_are_swapped(table, alternative):
    one = compare_proportions(*table, alternative=alternative)
    assume(not isinstance(one.pvalue, NotComputed))
    for other in (swapped(table), complement(table)):
        result = compare_proportions(*other, alternative=MIRRORED[alternative])
        assert (result.effect, result.statistic, result.pvalue) == near((-one.effect, -one.statistic, one.pvalue))
        exact = fisher_pvalue(*other, alternative=MIRRORED[alternative])
        assert exact == near(fisher_pvalue(*table, alternative=alternative))


@few
@given(table=counts, alpha=level)
def test_interval_of_koopman_inverts_when_variants_are_swapped_and_agrees_with_the_test(table, alpha):
    assume(table[0] > 0 and table[2] > 0)
    low, high = score_ratio_interval(*table, alpha=alpha)
    other = score_ratio_interval(*swapped(table), alpha=alpha)
    assert ((1 + low) * (1 + other[1]), (1 + high) * (1 + other[0])) == near((1.0, 1.0))
    pvalue = compare_proportions(*table, alpha=alpha).pvalue
    assume(not isinstance(pvalue, NotComputed) and abs(pvalue - alpha) > 1e-9)
    assert excludes_zero((low, high)) == (pvalue < alpha)


@pytest.mark.parametrize(
    ("interval", "score"), [(mee_interval, farrington_manning_z), (miettinen_nurminen_interval, miettinen_nurminen_z)]
)
@few
@given(table=counts, difference=st.floats(-0.9, 0.9), alpha=level)
def test_score_interval_holds_exactly_the_differences_that_its_test_does_not_reject(
    interval, score, table, difference, alpha
):
    z = score(*table, difference=difference)
    assume(not math.isnan(z) and abs(abs(z) - critical_value(alpha)) > 1e-6)
    low, high = interval(*table, alpha=alpha)
    assert (low <= difference <= high) == (abs(z) < critical_value(alpha))


@pytest.mark.parametrize("test", MARGIN_TESTS, **named)
@few
@given(table=counts, margin=st.floats(0.001, 0.5), alpha=st.sampled_from([0.005, 0.025, 0.2]))
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_test_against_a_margin_agrees_with_its_interval_and_mirrors(test, better, table, margin, alpha):
    result = test(*table, margin=margin, better=better, alpha=alpha)
    assume(not isinstance(result, NotComputed))
    worse = "lower" if better == "higher" else "higher"
    for other in (swapped(table), complement(table)):
        mirror = test(*other, margin=margin, better=worse, alpha=alpha)
        assert (mirror.effect, mirror.statistic, mirror.pvalue) == near(
            (-result.effect, -result.statistic, result.pvalue)
        )
    assume(abs(result.pvalue - alpha) > 1e-7)
    beyond = result.interval[0] > result.bound if better == "higher" else result.interval[1] < result.bound
    assert beyond == (result.pvalue < alpha) == result.non_inferior


@few
@given(control=arm, treatment=arm, margin=st.floats(0, 20), alpha=st.sampled_from([0.005, 0.025, 0.2]))
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_mean_against_a_margin_agrees_with_its_interval(better, control, treatment, margin, alpha):
    arms = [Moments.from_values(rows[:, 0]) for rows in (control, treatment)]
    result = welch_non_inferiority(*arms, margin=margin, better=better, alpha=alpha)
    assume(not isinstance(result, NotComputed) and abs(result.pvalue - alpha) > 1e-9)
    beyond = result.interval[0] > result.bound if better == "higher" else result.interval[1] < result.bound
    assert beyond == (result.pvalue < alpha)


def guardrail_of_means(control, treatment, **options):
    return mean_non_inferiority(*(Moments.from_values(rows[:, 0] + 20) for rows in (control, treatment)), **options)


def guardrail_of_shares(control, treatment, **options):
    tables = ((int((rows[:, 0] > 12).sum()) * 20 + 1, len(rows) * 20 + 1) for rows in (control, treatment))
    return proportion_non_inferiority(*(count for table in tables for count in table), **options)


@pytest.mark.parametrize("guardrail", [guardrail_of_means, guardrail_of_shares])
@few
@given(control=arm, treatment=arm, margin=st.floats(0.001, 0.6), alpha=st.sampled_from([0.005, 0.025, 0.2]))
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_guardrail_agrees_with_its_intervals(guardrail, better, control, treatment, margin, alpha):
    reading = guardrail(control, treatment, margin=margin, better=better, alpha=alpha, alpha_harm=alpha / 4)
    assume(not isinstance(reading, NotComputed) and not isinstance(reading.harm_interval, NotComputed))
    assert reading.pvalue_safe + reading.pvalue_harmful == near(1.0)
    assume(min(abs(reading.pvalue_safe - alpha), abs(reading.pvalue_harmful - alpha / 4)) > 1e-9)
    (low, high), (harm_low, harm_high) = reading.relative_interval, reading.harm_interval
    inside = low > reading.bound if better == "higher" else high < reading.bound
    outside = harm_high < reading.bound if better == "higher" else harm_low > reading.bound
    assert inside == (reading.pvalue_safe < alpha)
    assert outside == reading.harmful == (reading.pvalue_harmful < alpha / 4)


# Moments

table_of_values = st.lists(row, min_size=1, max_size=25).map(lambda rows: np.array(rows, dtype=float))


def flat(moments):
    if isinstance(moments, CoMoments):
        return [*flat(moments.outcome), *flat(moments.covariate), moments.comoment]
    if isinstance(moments, JointMoments):
        return [moments.n, *moments.means, *np.ravel(moments.scatter)]
    return [moments.n, moments.mean, moments.m2]


MERGES = {
    "Moments": (lambda rows: Moments.from_values(rows[:, 0]), merge),
    "CoMoments": (lambda rows: CoMoments.from_values(rows[:, 0], rows[:, 2]), merge_co_moments),
    "JointMoments": (lambda rows: JointMoments.from_values(*rows.T), merge_joint_moments),
}


@pytest.mark.parametrize(("of_rows", "merged"), MERGES.values(), ids=MERGES)
@few
@given(rows=table_of_values, groups=st.randoms(use_true_random=False), origin=st.sampled_from([0.0, 1e6]))
def test_merging_in_any_order_and_grouping_gives_the_moments_of_all_values(of_rows, merged, rows, groups, origin):
    rows = rows + origin
    cuts = sorted(groups.randint(0, len(rows)) for _ in range(3))
    cells = [of_rows(part) for part in np.split(rows, cuts) if len(part)]
    expected = pytest.approx(flat(of_rows(rows)), rel=1e-9, abs=1e-6)
    groups.shuffle(cells)
    at = groups.randint(0, len(cells))
    nested = [merged(part) for part in (cells[:at], cells[at:]) if part]
    assert flat(merged(cells)) == expected
    assert flat(merged(nested)) == expected


# Families

ADJUSTMENTS = [
    multiplicity.bonferroni,
    multiplicity.holm,
    multiplicity.hochberg,
    multiplicity.hommel,
    multiplicity.benjamini_hochberg,
    multiplicity.benjamini_yekutieli,
]
family = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@pytest.mark.parametrize("adjust", ADJUSTMENTS, **named)
@settings(max_examples=20)
@given(pvalues=family, order=st.randoms(use_true_random=False), more=st.integers(0, 3))
def test_adjusted_pvalues_rise_with_p_and_are_never_below_it(adjust, pvalues, order, more):
    size = len(pvalues) + more
    adjusted = adjust(pvalues, family_size=size)
    assert all(p - 1e-15 <= a <= 1 for p, a in zip(pvalues, adjusted, strict=True))
    in_order = [a for _, a in sorted(zip(pvalues, adjusted, strict=True))]
    assert all(before <= after for before, after in itertools.pairwise(in_order))
    places = list(range(len(pvalues)))
    order.shuffle(places)
    assert adjust([pvalues[at] for at in places], family_size=size) == near([adjusted[at] for at in places])


@settings(max_examples=40)
@given(pvalues=family)
def test_steps_are_never_larger_than_bonferroni_and_discovery_never_than_hochberg(pvalues):
    bonferroni, holm, hochberg, hommel, discovery, _ = (adjust(pvalues) for adjust in ADJUSTMENTS)
    for chain in zip(discovery, hommel, hochberg, holm, bonferroni, strict=True):
        assert all(small <= large + 1e-15 for small, large in itertools.pairwise(chain))


# Splits

split = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), min_size=2, max_size=3)
SPLIT_TESTS = {
    "Pearson": lambda observed, weights: sample_ratio_test(observed, weights).pvalue,
    "exact": exact_sample_ratio_pvalue,
    "sequential": lambda observed, weights: sequential_sample_ratio_test([observed], weights).pvalues[-1],
}


@pytest.mark.parametrize("test", SPLIT_TESTS.values(), ids=SPLIT_TESTS)
@few
@given(variants=split, scale=st.sampled_from([0.01, 3.0, 1e6]))
def test_sample_ratio_knows_neither_the_scale_of_weights_nor_the_order_of_variants(test, variants, scale):
    assume(sum(units for units, _ in variants) > 0)
    observed = {f"v{at}": units for at, (units, _) in enumerate(variants)}
    weights = {f"v{at}": weight for at, (_, weight) in enumerate(variants)}
    pvalue = test(observed, weights)
    assert test(observed, {name: scale * weight for name, weight in weights.items()}) == near(pvalue)
    assert test(dict(reversed(observed.items())), weights) == near(pvalue)
    assert 0 <= pvalue <= 1


# Segments and days

segments = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 3)), min_size=3, max_size=8)


@few
@given(rows=segments, scale=st.sampled_from([1e-6, 0.5, 1e5]), origin=st.floats(-5, 5))
def test_heterogeneity_knows_neither_unit_nor_origin(rows, scale, origin):
    effects, errors = zip(*rows, strict=True)
    moved = [scale * (effect + origin) for effect in effects], [scale * error for error in errors]
    one, other = heterogeneity_test(effects, errors), heterogeneity_test(*moved)
    assert (other.pvalue, other.i_squared) == near((one.pvalue, one.i_squared), 1e-5)
    assert other.statistic == near(one.statistic, 1e-5)
    one, other = random_effects(effects, errors), random_effects(*moved)
    assert other.tau_squared / scale**2 == pytest.approx(one.tau_squared, rel=1e-5, abs=1e-7)
    assert other.pooled_effect / scale == pytest.approx(one.pooled_effect + origin, rel=1e-5, abs=1e-6)
    shrunken = [effect / scale - origin for effect in shrunken_effects(*moved).effects]
    assert shrunken == pytest.approx(shrunken_effects(effects, errors).effects, rel=1e-4, abs=1e-5)


@few
@given(rows=segments, scale=st.sampled_from([1e-6, 0.5, 1e5]), origin=st.integers(-30, 30))
def test_trend_knows_neither_unit_nor_first_day_and_turns_with_time(rows, scale, origin):
    effects, errors = zip(*rows, strict=True)
    days = list(range(len(rows)))
    one = daily_trend(days, effects, errors)
    later = daily_trend(
        [day + origin for day in days], [scale * effect for effect in effects], [scale * error for error in errors]
    )
    back = daily_trend([-day for day in days], effects, errors)
    assert later.slope / scale == near(one.slope)
    assert (later.pvalue, back.pvalue) == near((one.pvalue, one.pvalue))
    assert back.statistic == near(-one.statistic)


@few
@given(cells=st.lists(st.builds(MeanEstimate, st.floats(-5, 5), st.floats(0.1, 3), st.just(9)), min_size=4, max_size=4))
def test_interaction_is_the_same_from_either_experiment_and_flips_with_one_of_them(cells):
    neither, second, first, both = cells
    one = interaction_test(neither, second, first, both)
    assert interaction_test(neither, first, second, both).effect == near(one.effect)
    flipped = interaction_test(second, neither, both, first)
    assert (flipped.effect, flipped.pvalue) == near((-one.effect, one.pvalue))


# Looks

LOOKS = [0.2, 0.5, 0.8, 1.0]
BOUNDS = {
    "O'Brien-Fleming spending": lambda alpha: spending_bounds(LOOKS, alpha=alpha).upper,
    "Pocock spending": lambda alpha: spending_bounds(LOOKS, alpha=alpha, spending=pocock_spending).upper,
    "O'Brien-Fleming": lambda alpha: obrien_fleming_bounds(LOOKS, alpha=alpha).upper,
    "Pocock": lambda alpha: pocock_bounds(LOOKS, alpha=alpha).upper,
    "Haybittle-Peto, last": lambda alpha: haybittle_peto_bounds(LOOKS, interim_z=4.5, alpha=alpha).upper[-1:],
    "confidence sequence": lambda alpha: sequence_margin(np.array([10, 1_000]), rho_squared=0.01, alpha=alpha),
    "normal mixture": lambda alpha: normal_mixture_bound(np.array([10.0, 1e4]), rho=100.0, alpha=alpha),
    "normal mixture, one side": lambda alpha: normal_mixture_bound(
        np.array([10.0, 1e4]), rho=100.0, alpha=alpha, alternative="greater"
    ),
    "mSPRT": lambda alpha: mixture_interval(0.0, np.array([0.1, 1.0]), tau_squared=1.0, alpha=alpha)[1],
}


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
def test_bounds_fall_as_alpha_grows(bounds):
    rows = [np.asarray(bounds(alpha)) for alpha in (0.001, 0.01, 0.05, 0.2)]
    for strict_bounds, lax in itertools.pairwise(rows):
        assert np.all((lax < strict_bounds) | np.isinf(strict_bounds))


@pytest.mark.parametrize("spending", [obrien_fleming_spending, pocock_spending], **named)
@settings(max_examples=8)
@given(z=st.floats(-5, 5), looks=st.integers(1, 4))
def test_repeated_interval_excludes_zero_exactly_when_the_repeated_pvalue_is_below_alpha(spending, z, looks):
    information = LOOKS[:looks]
    bounds = spending_bounds(information, alpha=0.05, spending=spending)
    interval = repeated_intervals(bounds, [0.0] * (looks - 1) + [z])[-1]
    pvalue = repeated_pvalue(information, z, spending=spending, sides=2)
    assume(abs(abs(z) - bounds.upper[-1]) > 1e-6)
    assert excludes_zero(interval) == (pvalue is not None and pvalue < 0.05)


@settings(max_examples=40)
@given(effect=st.floats(-5, 5), error=st.floats(0.01, 2), alpha=level)
def test_mixture_interval_excludes_zero_exactly_when_its_pvalue_is_at_most_alpha(effect, error, alpha):
    pvalue = mixture_pvalue(effect, error, tau_squared=0.5)
    assume(abs(pvalue - alpha) > 1e-9)
    assert excludes_zero(mixture_interval(effect, error, tau_squared=0.5, alpha=alpha)) == (pvalue < alpha)


# Quantiles

MAPS = {
    "cube": lambda values: values**3,
    "exponential": lambda values: np.exp(values / 10),
    "line": lambda v: 3 * v - 7,
}


@pytest.mark.parametrize("rising", MAPS.values(), ids=MAPS)
@few
@given(values=st.lists(st.integers(0, 60), min_size=30, max_size=60), p=st.sampled_from([0.25, 0.5, 0.8]))
def test_quantile_and_its_interval_follow_a_rising_map(rising, values, p):
    values = np.array(values, dtype=float)
    for estimate in (quantile_estimate, order_statistic_interval):
        one, mapped = estimate(values, p), estimate(rising(values), p)
        assert isinstance(one, NotComputed) == isinstance(mapped, NotComputed)
        if not isinstance(one, NotComputed):
            assert mapped.interval == tuple(float(rising(np.array(end))) for end in one.interval)
    if not isinstance(one := quantile_estimate(values, p), NotComputed):
        assert quantile_estimate(rising(values), p).quantile == float(rising(np.array(one.quantile)))


# Error rates

AT = np.array([0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9])


def null_arms(random, units):
    """Arms of skewed outcomes that a covariate predicts, with several events a unit, and no effect."""
    before = random.gamma(4.0, 2.0, units)
    events = 1.0 + random.poisson(3.0, units)
    outcome = before * random.uniform(0.5, 1.5, units) * events
    return np.column_stack([outcome, events, before, 1.0 + random.poisson(3.0, units)])


def null_shares(random, units):
    return tuple(count for _ in range(2) for count in (int(random.binomial(units, 0.4)), units))


def unequal_shares(random):
    return int(random.binomial(4_000, 0.4)), 4_000, int(random.binomial(3_000, 0.38)), 3_000


NULLS = {
    **{
        name: (lambda random, f=function: f(null_arms(random, 80), null_arms(random, 120)))
        for name, function in FIXED.items()
    },
    "z": lambda random: compare_proportions(*null_shares(random, 4_000)),
    "Farrington-Manning at the margin": lambda random: SimpleNamespace(
        pvalue=tail_pvalue(farrington_manning_z(*unequal_shares(random), difference=-0.02), "greater")
    ),
    "sample ratio": lambda random: sample_ratio_test(
        dict(zip("abc", map(int, random.multinomial(50_000, [0.5, 0.3, 0.2])), strict=True)), {"a": 5, "b": 3, "c": 2}
    ),
    "heterogeneity": lambda random: heterogeneity_test(random.normal(0.3, [1, 2, 3, 4]), [1, 2, 3, 4]),
    "interaction": lambda random: interaction_test(*(MeanEstimate(x, 0.25, 1e6) for x in random.normal(1, 0.5, 4))),
    "trend": lambda random: daily_trend(range(6), random.normal(2, [1, 2, 3, 1, 2, 3]), [1, 2, 3, 1, 2, 3]),
}


@pytest.mark.slow
@pytest.mark.parametrize("draw", NULLS.values(), ids=NULLS)
def test_pvalues_are_uniform_without_an_effect(draw):
    random = np.random.default_rng(20260301)
    repetitions = 2_500
    pvalues = np.array([draw(random).pvalue for _ in range(repetitions)])
    shares = (pvalues[:, None] <= AT).mean(axis=0)
    # Four standard errors of the simulation, and a tenth more for what is asymptotic.
    allowed = 4 * np.sqrt(AT * (1 - AT) / repetitions) + 0.1 * np.minimum(AT, 1 - AT)
    assert np.all(np.abs(shares - AT) <= allowed), shares
