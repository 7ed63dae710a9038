from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import test_proportions_2indep

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.guardrail_readouts import estimate_readings, mean_readings, proportion_readings
from abtest_lib.statistics.guardrails import (
    estimate_non_inferiority,
    mean_non_inferiority,
    proportion_non_inferiority,
)
from abtest_lib.statistics.inference import compare_estimates, compare_means, compare_proportions
from abtest_lib.statistics.intervals import delta_interval, fieller_interval, relative_interval, wald_interval
from abtest_lib.statistics.moment_arrays import MomentArrays, Refusals, together
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.pooled import cohens_d
from abtest_lib.statistics.proportions import newcombe_interval, score_ratio_interval, unpooled_z, wilson_interval
from abtest_lib.statistics.readouts import estimate_comparisons, mean_comparisons, proportion_comparisons
from abtest_lib.statistics.score_intervals import miettinen_nurminen_interval
from abtest_lib.statistics.tails import check_each, critical_value, tail_pvalue

test_proportions_2indep.__test__ = False

SIDES = st.sampled_from(["two-sided", "greater", "less"])
# What goes wrong in nights: no unit, one unit, nothing varies, a broken value, a mean of zero or nearly, large numbers.
AWKWARD = [
    Moments(0, 0.0, 0.0),
    Moments(1, 4.0, 0.0),
    Moments(5, 2.0, 0.0),
    Moments(5, 0.0, 0.0),
    Moments(5, 0.0, 3.0),
    Moments(9, -3.0, 7.0),
    Moments(50, 0.1, 5_000.0),
    Moments(9, math.nan, 1.0),
    Moments(9, 1.0, math.nan),
    Moments(9, math.inf, 1.0),
    Moments(2, 1e8, 0.5),
    Moments(10_000_000, 1e8, 1e7),
    Moments(9, 1e-300, 4.0),
    Moments(9, 1e-310, 0.0),
    Moments(9, 1e308, 1e308),
    Moments(9, -1e308, 1e300),
]
MEANS = st.one_of(
    st.builds(Moments, st.integers(2, 10_000), st.floats(-1_000, 1_000), st.floats(1e-3, 1e8)),
    st.sampled_from(AWKWARD),
)
AWKWARD_COUNTS = [(0, 0), (0, 1), (1, 1), (0, 50), (50, 50), (1, 1_000_000), (999_999, 1_000_000)]
COUNTS = st.one_of(
    st.tuples(st.integers(0, 5_000), st.floats(0, 1)).map(lambda c: (round(c[0] * c[1]), c[0])),
    st.sampled_from(AWKWARD_COUNTS),
)
AWKWARD_ESTIMATES = [
    (1.0, 0.0, 9), (0.0, 0.0, 9), (0.0, 1.0, 9), (math.nan, 1.0, 9), (1.0, math.inf, 9),
    (1e308, 1.0, 9), (-1e308, 1.0, 9), (1e-310, 1.0, 9), (1.0, 0.2, 9), (1.0, 0.1, 9),
]  # fmt: skip
ESTIMATES = st.one_of(
    st.tuples(st.floats(-100, 100), st.floats(1e-4, 10), st.integers(1, 10_000)),
    st.sampled_from(AWKWARD_ESTIMATES),
)
ALPHAS = st.floats(0.001, 0.4)


@st.composite
def grids(draw, cells, columns):
    """Control and treatment of two shapes that broadcast to one, as object arrays of cells."""
    rows, wide = draw(st.integers(1, 3)), draw(st.integers(1, columns))
    shape = draw(st.sampled_from([(rows, 1), (rows, wide), (1, wide)]))
    control, treatment = np.empty(shape, dtype=object), np.empty((rows, wide), dtype=object)
    for grid in (control, treatment):
        for at in np.ndindex(grid.shape):
            grid[at] = draw(cells)
    return control, treatment


def arrays(grid):
    return MomentArrays.of(grid.ravel(), grid.shape)


def columns(grid):
    return [np.vectorize(lambda cell, part=part: cell[part], otypes=[float])(grid) for part in range(len(grid.flat[0]))]


def estimates(grid):
    return MeanEstimate(*columns(grid))


def assert_same(got, want, tolerance=0.0):
    """Field by field: the same reason, or the same number (of shares within a millionth of 1, eleven digits of it)."""
    if isinstance(want, NotComputed) or isinstance(got, NotComputed):
        assert got == want
        return
    for field in fields(want):
        one, other = getattr(got, field.name), getattr(want, field.name)
        if tolerance and not isinstance(other, (NotComputed, str, type(None))):
            assert one == pytest.approx(other, rel=tolerance, abs=tolerance), field.name
        else:
            assert one == other, field.name


@given(grids(MEANS, 3), ALPHAS, SIDES, st.integers(1, 30), st.sampled_from(["fieller", "delta"]))
def test_means_in_arrays_are_means_one_by_one(grid, alpha, alternative, size, relative):
    control, treatment = grid
    options = {"alternative": alternative, "relative": relative}
    cells = mean_comparisons(arrays(control), arrays(treatment), alpha=alpha, family_size=size, **options)
    assert cells.shape == treatment.shape
    for at in np.ndindex(treatment.shape):
        arms = np.broadcast_to(control, treatment.shape)[at], treatment[at]
        assert_same(cells.at(at), compare_means(*arms, alpha=alpha / size, **options))


METHODS = {
    "test": st.sampled_from(["pooled", "unpooled"]),
    "interval": st.sampled_from(["newcombe", "miettinen-nurminen", "wald"]),
    "relative": st.sampled_from(["koopman", "fieller", "delta"]),
}


@given(grids(COUNTS, 2), ALPHAS, SIDES, st.integers(1, 30), st.fixed_dictionaries(METHODS))
@settings(max_examples=60)
def test_shares_in_arrays_are_shares_one_by_one(grid, alpha, alternative, size, methods):
    control, treatment = grid
    options = {"alternative": alternative, **methods}
    cells = proportion_comparisons(*columns(control), *columns(treatment), alpha=alpha, family_size=size, **options)
    for at in np.ndindex(treatment.shape):
        arms = *np.broadcast_to(control, treatment.shape)[at], *treatment[at]
        alone = compare_proportions(*arms, alpha=alpha / size, **options)
        assert_same(cells.at(at), alone, tolerance=1e-10)


@given(grids(ESTIMATES, 3), ALPHAS, SIDES, st.sampled_from([None, 7.0]))
def test_estimates_in_arrays_are_estimates_one_by_one(grid, alpha, alternative, df):
    control, treatment = grid
    options = {"alpha": alpha, "alternative": alternative, "df": df}
    cells = estimate_comparisons(estimates(control), estimates(treatment), **options)
    for at in np.ndindex(treatment.shape):
        arms = MeanEstimate(*np.broadcast_to(control, treatment.shape)[at]), MeanEstimate(*treatment[at])
        assert_same(cells.at(at), compare_estimates(*arms, **options))


def every_pair(cells):
    """Each cell as control of each, as two grids that broadcast."""
    grid = np.empty(len(cells), dtype=object)
    for at, cell in enumerate(cells):
        grid[at] = cell
    return grid[:, None], grid[None, :]


def assert_first_reason_is_that_of_the_whole_cell(refusals, whole):
    for at in zip(*np.nonzero(refusals[whole].codes), strict=True):
        assert {part.at(at) for part in refusals.values()} == {refusals[whole].at(at)}


@pytest.mark.parametrize("relative", ["fieller", "delta"])
def test_every_awkward_pair_of_means_and_of_estimates_is_what_it_is_alone(relative):
    control, treatment = every_pair(AWKWARD)
    cells = mean_comparisons(arrays(control), arrays(treatment), relative=relative)
    for row, column in np.ndindex(cells.shape):
        assert_same(cells.at((row, column)), compare_means(AWKWARD[row], AWKWARD[column], relative=relative))
    assert_first_reason_is_that_of_the_whole_cell(cells.refusals, "effect")
    control, treatment = every_pair(AWKWARD_ESTIMATES)
    cells = estimate_comparisons(estimates(control), estimates(treatment), relative=relative)
    for row, column in np.ndindex(cells.shape):
        arms = MeanEstimate(*AWKWARD_ESTIMATES[row]), MeanEstimate(*AWKWARD_ESTIMATES[column])
        assert_same(cells.at((row, column)), compare_estimates(*arms, relative=relative))
    assert_first_reason_is_that_of_the_whole_cell(cells.refusals, "effect")


@pytest.mark.parametrize(
    ("test", "interval", "relative"),
    [
        ("pooled", "newcombe", "koopman"),
        ("unpooled", "wald", "fieller"),
        ("pooled", "miettinen-nurminen", "delta"),
    ],
)
def test_every_awkward_pair_of_shares_is_what_it_is_alone(test, interval, relative):
    control, treatment = every_pair(AWKWARD_COUNTS)
    options = {"test": test, "interval": interval, "relative": relative}
    cells = proportion_comparisons(*columns(control), *columns(treatment), **options)
    for row, column in np.ndindex(cells.shape):
        alone = compare_proportions(*AWKWARD_COUNTS[row], *AWKWARD_COUNTS[column], **options)
        assert_same(cells.at((row, column)), alone, tolerance=1e-10)
    assert_first_reason_is_that_of_the_whole_cell(cells.refusals, "effect")
    for name in ("effect", "relative_effect", "pvalue"):
        assert np.array_equal(np.isnan(getattr(cells, name)), ~cells.refusals[name].computed)
    for name in ("effect_interval", "relative_interval"):
        for end in getattr(cells, name):
            assert np.array_equal(np.isnan(end), ~cells.refusals[name].computed)
    assert np.array_equal(np.isnan(cells.adjusted_pvalue), np.isnan(cells.statistic))
    assert np.array_equal(np.isnan(cells.standard_error), ~cells.refusals["effect"].computed)


def test_control_whose_mean_is_its_own_quantile_is_not_clearly_different_from_zero():
    # g = (quantile / mean)^2 * squared error is 1 exactly; just above 1, and just below.
    quantile = critical_value(0.05, "two-sided", 7.0)
    control = MeanEstimate(np.full(3, quantile), np.array([1.0, 1.5, 0.5]), np.full(3, 9.0))
    cells = estimate_comparisons(control, MeanEstimate(3.0, 1.0, 9.0), df=7.0)
    reasons = [cells.refusals["relative_interval"].at(at) for at in range(3)]
    assert reasons == [NotComputed("the mean of the control is not clearly different from zero")] * 2 + [None]
    assert np.isfinite(cells.effect_interval).all()


def test_alpha_and_family_may_have_more_cells_than_the_metric():
    arms, counts = (Moments(40, 5.0, 90.0), Moments(50, 6.0, 80.0)), (14, 40, 28, 50)
    nobody = Moments(0, 0.0, 0.0)
    alpha, size = np.array([0.01, 0.05, 0.2]), np.array([[1], [3]])
    cells = mean_comparisons(*(MomentArrays.of([arm], ()) for arm in arms), alpha=alpha, family_size=size)
    empty = mean_comparisons(*(MomentArrays.of([arm], ()) for arm in (nobody, arms[1])), alpha=alpha, family_size=size)
    shares = proportion_comparisons(*counts, alpha=alpha, family_size=size)
    for row, column in np.ndindex(2, 3):
        own = alpha[column] / size[row, 0]
        assert_same(cells.at((row, column)), compare_means(*arms, alpha=own))
        assert_same(empty.at((row, column)), compare_means(nobody, arms[1], alpha=own))
        assert_same(shares.at((row, column)), compare_proportions(*counts, alpha=own), tolerance=1e-10)


def test_one_comparison_alone_is_its_own_family():
    counts, arms = ([14, 12], 40, [28, 13], 50), (MomentArrays(40, [5.0, 6.0], 90.0), MomentArrays(50, 6.0, 80.0))
    estimated = MeanEstimate(np.array([5.0, 6.0]), 0.05, 40), MeanEstimate(np.array([5.5, 6.1]), 0.05, 40)
    for cells in (proportion_comparisons(*counts), mean_comparisons(*arms), estimate_comparisons(*estimated)):
        assert cells.adjusted_pvalue.tolist() == cells.pvalue.tolist()
        assert cells.confidence_level == pytest.approx(0.95)


def test_adjusted_pvalue_is_bonferronis():
    counts, arms = ([14, 12], 40, [28, 15], 50), (MomentArrays(40, [5.0, 6.0], 90.0), MomentArrays(50, 6.0, 80.0))
    for cells in (proportion_comparisons(*counts, family_size=3), mean_comparisons(*arms, family_size=3)):
        assert cells.pvalue[0] < 1 / 3 < 1 / 2 < cells.pvalue[1]
        assert cells.adjusted_pvalue.tolist() == [cells.pvalue[0] * 3, 1.0]


GUARDRAIL = {
    "margin": st.floats(0, 0.5),
    "better": st.sampled_from(["higher", "lower"]),
    "alpha": st.floats(0.001, 0.2),
    "alpha_harm": st.floats(0.001, 0.2),
}


@given(grids(MEANS, 3), st.fixed_dictionaries(GUARDRAIL))
def test_guardrails_of_means_in_arrays_are_read_as_one_by_one(grid, options):
    control, treatment = grid
    cells = mean_readings(arrays(control), arrays(treatment), **options)
    for at in np.ndindex(treatment.shape):
        arms = np.broadcast_to(control, treatment.shape)[at], treatment[at]
        alone = mean_non_inferiority(*arms, **options)
        assert_same(cells.at(at), alone)
        assert (cells.outcome[at] == "not_computed") == isinstance(alone, NotComputed)


@given(grids(ESTIMATES, 3), st.fixed_dictionaries(GUARDRAIL))
def test_guardrails_of_estimates_in_arrays_are_read_as_one_by_one(grid, options):
    control, treatment = grid
    cells = estimate_readings(estimates(control), estimates(treatment), **options)
    for at in np.ndindex(treatment.shape):
        arms = MeanEstimate(*np.broadcast_to(control, treatment.shape)[at]), MeanEstimate(*treatment[at])
        assert_same(cells.at(at), estimate_non_inferiority(*arms, **options))


@given(grids(COUNTS, 2), st.fixed_dictionaries(GUARDRAIL))
@settings(max_examples=40)
def test_guardrails_of_shares_in_arrays_are_read_as_one_by_one(grid, options):
    control, treatment = grid
    cells = proportion_readings(*columns(control), *columns(treatment), **options)
    for at in np.ndindex(treatment.shape):
        arms = *np.broadcast_to(control, treatment.shape)[at], *treatment[at]
        assert_same(cells.at(at), proportion_non_inferiority(*arms, **options), tolerance=1e-10)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_guardrail_of_every_awkward_pair_is_read_as_alone(better):
    options = {"margin": 0.5, "better": better, "alpha": 0.05}
    control, treatment = every_pair(AWKWARD)
    means = mean_readings(arrays(control), arrays(treatment), **options)
    for row, column in np.ndindex(means.shape):
        assert_same(means.at((row, column)), mean_non_inferiority(AWKWARD[row], AWKWARD[column], **options))
    control, treatment = every_pair(AWKWARD_ESTIMATES)
    estimated = estimate_readings(estimates(control), estimates(treatment), **options)
    for row, column in np.ndindex(estimated.shape):
        arms = MeanEstimate(*AWKWARD_ESTIMATES[row]), MeanEstimate(*AWKWARD_ESTIMATES[column])
        assert_same(estimated.at((row, column)), estimate_non_inferiority(*arms, **options))
    control, treatment = every_pair(AWKWARD_COUNTS)
    shares = proportion_readings(*columns(control), *columns(treatment), **options)
    for row, column in np.ndindex(shares.shape):
        alone = proportion_non_inferiority(*AWKWARD_COUNTS[row], *AWKWARD_COUNTS[column], **options)
        assert_same(shares.at((row, column)), alone, tolerance=1e-10)
    for cells in (means, estimated, shares):
        assert_first_reason_is_that_of_the_whole_cell(cells.refusals, "outcome")
        for name in ("statistic", "pvalue_safe", "pvalue_harmful"):
            assert np.array_equal(np.isnan(getattr(cells, name)), ~cells.refusals["outcome"].computed)
        assert np.array_equal(np.isnan(cells.relative_effect), ~cells.refusals["relative_effect"].computed)
        for name in ("relative_interval", "harm_interval"):
            for end in getattr(cells, name):
                assert np.array_equal(np.isnan(end), ~cells.refusals[name].computed)


def test_guardrail_interval_needs_a_control_that_is_more_than_its_quantile_from_zero():
    # g = (quantile / mean)^2 * squared error is 1 exactly, above 1, and below.
    options = {"margin": 0.1, "better": "lower", "alpha": 0.025}
    df = estimate_readings(MeanEstimate([4.0], 1.0, 9.0), MeanEstimate(3.0, 1.0, 9.0), **options).df[0]
    quantile = critical_value(0.05, "two-sided", df)
    means = quantile * np.array([1.0, 0.9, 1.1])
    cells = estimate_readings(MeanEstimate(means, 1.0, 9.0), MeanEstimate(3.0, 1.0, 9.0), **options)
    want = [NotComputed("the mean of the control is not clearly different from zero")] * 2 + [None]
    for name in ("relative_interval", "harm_interval"):
        assert [cells.refusals[name].at(at) for at in range(3)] == want


@pytest.mark.parametrize(("mean", "said", "level"), [(10.2, "safe", "alpha"), (11.9, "harmful", "alpha_harm")])
def test_pvalue_at_the_level_proves_nothing(mean, said, level):
    arms = MomentArrays(900, [10.0], 9_000.0), MomentArrays(900, mean, 9_000.0)
    options = {"margin": 0.1, "better": "lower"}
    pvalue = getattr(mean_readings(*arms, **options), {"safe": "pvalue_safe", "harmful": "pvalue_harmful"}[said])[0]
    assert 0 < pvalue < 0.025
    assert mean_readings(*arms, **options, **{level: pvalue}).outcome.tolist() == ["not_yet"]
    assert mean_readings(*arms, **options, **{level: math.nextafter(pvalue, 1.0)}).outcome.tolist() == [said]


def test_plain_numbers_are_one_cell():
    arms, counts = (Moments(40, 5.0, 90.0), Moments(50, 6.0, 80.0)), (14, 40, 28, 50)
    cells = [MomentArrays(arm.n, arm.mean, arm.m2) for arm in arms]
    estimated = [MeanEstimate.of_mean(arm) for arm in arms]
    guardrail = {"margin": 0.1, "better": "lower"}
    assert mean_comparisons(*cells).at(()) == compare_means(*arms)
    assert estimate_comparisons(*estimated).at(()) == compare_estimates(*estimated)
    assert_same(proportion_comparisons(*counts).at(()), compare_proportions(*counts), tolerance=1e-10)
    assert mean_readings(*cells, **guardrail).at(()) == mean_non_inferiority(*arms, **guardrail)
    assert estimate_readings(*estimated, **guardrail).at(()) == estimate_non_inferiority(*estimated, **guardrail)
    alone = proportion_non_inferiority(*counts, **guardrail)
    assert_same(proportion_readings(*counts, **guardrail).at(()), alone, tolerance=1e-10)


def test_each_metric_has_its_own_alpha_margin_and_direction():
    control, treatment = MomentArrays(900, [10.0, 20.0], 9_000.0), MomentArrays(900, [10.2, 19.0], 9_000.0)
    options = {"margin": [0.01, 0.02], "better": ["lower", "higher"], "alpha": [0.025, 0.05]}
    readings = mean_readings(control, treatment, **options)
    cells = mean_comparisons(control, treatment, alpha=[0.05, 0.01], family_size=[4, 2])
    for at in (0, 1):
        own = {name: values[at] for name, values in options.items()}
        assert readings.at(at) == mean_non_inferiority(control[at], treatment[at], **own)
        assert cells.at(at) == compare_means(control[at], treatment[at], alpha=(0.05 / 4, 0.01 / 2)[at])
    assert cells.adjusted_pvalue == pytest.approx(cells.pvalue * [4, 2], rel=1e-12, abs=0)


def test_pvalues_of_arrays_match_scipys_welch():
    rng = np.random.default_rng(5)
    n, mean, sd = rng.integers(2, 500, (2, 40)), rng.normal(5, 1, (2, 40)), rng.uniform(0.5, 3, (2, 40))
    cells = mean_comparisons(*(MomentArrays.from_variances(n[i], mean[i], sd[i] ** 2) for i in (0, 1)))
    reference = stats.ttest_ind_from_stats(mean[1], sd[1], n[1], mean[0], sd[0], n[0], equal_var=False)
    assert cells.statistic == pytest.approx(reference.statistic, rel=1e-10)
    assert cells.pvalue == pytest.approx(reference.pvalue, rel=1e-8, abs=0)


@given(grids(MEANS, 3), ALPHAS, st.integers(1, 30))
def test_interval_leaves_out_zero_exactly_when_the_adjusted_pvalue_is_below_alpha(grid, alpha, size):
    cells = mean_comparisons(*map(arrays, grid), alpha=alpha, family_size=size)
    close = np.abs(cells.adjusted_pvalue - alpha) < 1e-9
    shown = (cells.effect_interval[0] > 0) | (cells.effect_interval[1] < 0)
    assert np.all((shown == (cells.adjusted_pvalue < alpha)) | close)


@given(grids(MEANS, 3))
def test_a_cell_is_nan_exactly_where_it_has_a_reason(grid):
    cells = mean_comparisons(*map(arrays, grid))
    for name in ("effect", "relative_effect", "pvalue"):
        assert np.array_equal(np.isnan(getattr(cells, name)), ~cells.refusals[name].computed)
    for end in cells.relative_interval:
        assert np.array_equal(np.isnan(end), ~cells.refusals["relative_interval"].computed)


@given(grids(MEANS, 3))
def test_standardised_effect_is_cohens_d(grid):
    control, treatment = grid
    cells = mean_comparisons(arrays(control), arrays(treatment))
    for at in np.ndindex(treatment.shape):
        if cells.refusals["effect"].at(at) is None:
            want = cohens_d(np.broadcast_to(control, treatment.shape)[at], treatment[at])
            assert cells.standardised_effect[at] == pytest.approx(want, rel=1e-12, abs=0)
        else:
            assert np.isnan(cells.standardised_effect[at])


def test_reasons_are_counted():
    control = MomentArrays([0, 1, 0, 9], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 3.0])
    cells = mean_comparisons(control, MomentArrays(9, 2.0, 4.0))
    assert cells.refusals["effect"].counts() == {
        "control has 0 units; a mean needs at least 2": 2,
        "control has 1 unit; a mean needs at least 2": 1,
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MomentArrays([3, -4], 1.0, 1.0), r"n\[1\] is -4"),
        (lambda: MomentArrays([[3, 2.5]], 1.0, 1.0), r"n\[0, 1\] is 2.5; it must be a whole number"),
        (lambda: MomentArrays([3, math.nan], 1.0, 1.0), r"n\[1\] is nan"),
        (lambda: MomentArrays([3, 3], 1.0, [1.0, -1.0]), r"m2\[1\] is -1.0"),
        (lambda: MomentArrays([3, 3], ["a", "b"], 1.0), r"mean is \['a', 'b'\]; it must hold numbers"),
        (lambda: MomentArrays([3, 3], [1.0, 2.0, 3.0], 1.0), r"mean has the shape \(3,\).*must broadcast"),
        (lambda: MomentArrays.from_variances([3, 3], 1.0, [1.0, -1.0]), r"variance\[1\] is -1.0"),
        (lambda: MomentArrays.from_counts([3, 5], [4, 4]), r"successes\[1\] is 5.0; .*between 0 and n"),
        (lambda: proportion_comparisons([1, 7], 5, 1, 5), r"successes_control\[1\] is 7.0"),
        (lambda: proportion_comparisons([1, 7], 5, 1, 5), r"between 0 and n_control \(5"),
        (lambda: proportion_comparisons(1, [5, -1], 1, 5), r"n_control\[1\] is -1.0"),
        (lambda: proportion_comparisons(1, 5, [1, 9], 5), r"successes_treatment\[1\] is 9.0; .* n_treatment \(5"),
        (lambda: proportion_comparisons(1, 5, [1, 2], [5, -1]), r"n_treatment\[1\] is -1.0"),
        (lambda: proportion_comparisons([1, 2], 5, 1, 5, alpha=[0.1] * 3), r"alpha has the shape \(3,\)"),
        (lambda: mean_comparisons(*two(), alpha=[0.1] * 3), r"alpha has the shape \(3,\)"),
        (lambda: mean_comparisons(*two(), alpha=[0.1] * 3, family_size=[1, 1]), r"family_size has the shape \(2,\)"),
        (lambda: proportion_comparisons(1, 5, 1, 5, alpha=[0.05, 1.5]), r"alpha\[1\] is 1.5"),
        (lambda: mean_comparisons(*two(), alpha=[0.05, 0.0]), r"alpha\[1\] is 0.0; it must be between 0 and 1"),
        (
            lambda: mean_comparisons(*two(), family_size=[1, 0]),
            r"family_size\[1\] is 0; it must be a whole number from 1",
        ),
        (lambda: mean_comparisons(*two(), family_size=1.5), r"family_size is 1.5"),
        (lambda: mean_comparisons(*two(), alternative="larger"), "alternative is 'larger'"),
        (lambda: mean_comparisons(*two(), relative="katz"), "relative is 'katz'"),
        (lambda: mean_comparisons(two()[0], MomentArrays([3] * 3, 1.0, 1.0)), r"control has the shape \(2,\), treatm"),
        (lambda: estimate_comparisons(MeanEstimate([1.0, 2.0], [1.0, -1.0], 9), None), r"squared_error\[1\] is -1.0"),
        (
            lambda: readings(margin=[0.1, 1.0], better="higher"),
            r"margin\[1\] is 1.0; it must be at least 0, and below 1",
        ),
        (lambda: readings(margin=[0.1, -1.0]), r"margin\[1\] is -1.0; it must be at least 0, and below 1 where higher"),
        (lambda: readings(better=["lower", "up"]), r"better\[1\] is up; it must be 'higher' or 'lower'\."),
        (lambda: readings(alpha=[0.02, 0.5]), r"alpha\[1\] is 0.5; it must be between 0 and 0.5"),
        (lambda: readings(alpha=[0.02, 0.0]), r"alpha\[1\] is 0.0; it must be between 0 and 0.5"),
        (lambda: readings(alpha_harm=[0.02, 0.5]), r"alpha_harm\[1\] is 0.5"),
        (
            lambda: readings(alpha=[0.02] * 3),
            r"control\.mean has the shape \(2,\), .*treatment\.mean has .*margin has the shape \(\), alpha has the"
            r" shape \(3,\), alpha_harm has the shape \(\), better has the shape \(\)",
        ),
        (lambda: share_readings(successes_control=[1, 9]), r"successes_control\[1\] is 9.0; .* n_control \(5"),
        (lambda: share_readings(n_control=[5, -1]), r"n_control\[1\] is -1.0"),
        (lambda: share_readings(successes_treatment=[1, 9]), r"successes_treatment\[1\] is 9.0; .* n_treatment \(5"),
        (lambda: share_readings(n_treatment=[5, -1]), r"n_treatment\[1\] is -1.0"),
        (
            lambda: share_readings(successes_control=[1] * 3, n_treatment=[5, 5]),
            r"successes_control has the shape \(3,\), n_control has the shape \(\), successes_treatment has the shape"
            r" \(\), n_treatment has the shape \(2,\)",
        ),
        (lambda: compare_proportions(1, 5, 2, 5, test="exact"), "test is 'exact'; it must be one of 'pooled'"),
        (lambda: compare_proportions(1, 5, 2, 5, interval="mee"), "interval is 'mee'"),
        (lambda: compare_proportions(1, 5, 2, 5, relative="katz"), "relative is 'katz'"),
        (lambda: relative_interval(MeanEstimate(1.0, 1.0, 9), MeanEstimate(1.0, 1.0, 9), method="x"), "method is 'x'"),
        (lambda: check_each("share", np.array([[0.5], [2.0]]), lambda v: v < 1, "below 1"), r"share\[1, 0\] is 2.0"),
    ],
)
def test_callers_slip_is_named_with_its_place(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def readings(**changed):
    return mean_readings(*two(), **({"margin": 0.1, "better": "lower"} | changed))


def share_readings(**changed):
    counts = {"successes_control": 1, "n_control": 5, "successes_treatment": 1, "n_treatment": 5}
    return proportion_readings(**(counts | changed), margin=0.1, better="lower")


def two():
    return MomentArrays([9, 9], 1.0, 3.0), MomentArrays(9, [2.0, 3.0], 3.0)


def test_moments_go_into_arrays_and_come_back():
    cells = [Moments(3, 2.0, 2.0), Moments(4, 1.0, 9.0), Moments(0, 0.0, 0.0), Moments(1, 5.0, 0.0)]
    grid = MomentArrays.of(cells, (2, 2))
    assert [grid[at] for at in np.ndindex(2, 2)] == cells
    assert grid[0].shape == (2,)
    assert MomentArrays.from_counts([3, 0, 0], [12, 12, 0])[0] == Moments.from_counts(3, 12)
    assert MomentArrays.from_counts([3, 0, 0], [12, 12, 0])[2] == Moments(0, 0.0, 0.0)


def test_moments_of_one_cell_may_be_plain_numbers_and_keep_what_is_not_a_number():
    # The comparison with zero is then one bool, not an array of them; nan is neither below zero nor above it.
    assert MomentArrays(3, 2.0, 2.0)[()] == Moments(3, 2.0, 2.0)
    assert MomentArrays.from_variances(3, 2.0, 0.0).m2 == 0.0
    assert np.isnan(MomentArrays(3, 2.0, math.nan).m2)
    assert np.isnan(MomentArrays.from_variances(3, 2.0, math.nan).m2)
    for call, name in ((MomentArrays, "m2"), (MomentArrays.from_variances, "variance")):
        with pytest.raises(ValueError, match=f"{name} is -1.0; it must be at least 0"):
            call(3, 2.0, -1.0)


def test_a_slice_of_cells_is_the_cells_of_the_slice():
    cells = [Moments(3, 2.0, 2.5), Moments(4, 1.0, 9.0), Moments(5, 3.0, 7.0), Moments(6, 5.0, 8.0)]
    row = MomentArrays.of(cells, (2, 2))[1]
    assert [row[0], row[1]] == cells[2:]


def test_below_two_values_there_is_no_error_and_no_freedom():
    # Rounding may leave a spread of a single value; it is none.
    got = MomentArrays([0, 1, 2], 5.0, [0.0, 1e-9, 8.0]).estimates()
    assert got.squared_error == pytest.approx([math.nan, math.nan, 4.0], nan_ok=True)
    assert got.df == pytest.approx([math.nan, math.nan, 1.0], nan_ok=True)
    assert np.isnan(got.df).tolist() == [True, True, False]
    assert MomentArrays.from_variances([0, 1, 2], 5.0, 3.0).m2.tolist() == [0.0, 0.0, 3.0]


def test_counts_of_no_unit_and_of_one_are_moments_of_zeros_and_ones():
    n = np.array([0, 1, 1] * 300)
    successes = np.array([0, 1, 0] * 300)
    np.full(900, 7.0)  # what was in memory before has no part in it
    got = MomentArrays.from_counts(successes, n)
    assert got.mean.tolist() == [0.0, 1.0, 0.0] * 300
    assert got.m2.tolist() == [0.0] * 900


def test_refusals_keep_the_first_reason():
    assert Refusals.first((1,), {}).reasons == ("",)
    before = Refusals.first((3,), {"no units": [True, False, False]})
    after = Refusals.first((3,), {"zero": [True, True, False]}, after=before)
    assert [after.at(place) for place in range(3)] == [NotComputed("no units"), NotComputed("zero"), None]


def test_arrays_keep_their_shape_together():
    assert [part.shape for part in together(a=np.zeros((2, 1)), b=np.zeros(3))] == [(2, 3), (2, 3)]


# --- ways to compare proportions and relative effects, for programs that must be matched


@given(st.tuples(st.integers(5, 5_000), st.integers(5, 5_000), st.floats(0.1, 0.9), st.floats(0.1, 0.9)), SIDES)
def test_unpooled_z_matches_statsmodels(numbers, alternative):
    nc, nt = numbers[:2]
    xc, xt = max(1, round(nc * numbers[2])), max(1, round(nt * numbers[3]))
    names = {"two-sided": "two-sided", "greater": "larger", "less": "smaller"}
    reference = test_proportions_2indep(
        xt, nt, xc, nc, method="wald", compare="diff", alternative=names[alternative], correction=False
    )
    result = compare_proportions(xc, nc, xt, nt, test="unpooled", alternative=alternative)
    assert result.statistic == pytest.approx(reference.statistic, rel=1e-9, abs=1e-12)
    assert result.pvalue == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-300)
    assert unpooled_z([xc], nc, xt, [nt]) == pytest.approx([result.statistic])


def test_methods_of_a_comparison_of_shares_are_the_functions_of_that_name():
    counts, options = (48, 80, 56, 70), {"alpha": 0.1, "alternative": "greater"}
    arms = MeanEstimate.of_proportion(48, 80), MeanEstimate.of_proportion(56, 70)
    one = compare_proportions(*counts, interval="miettinen-nurminen", relative="fieller", **options)
    assert one.effect_interval == miettinen_nurminen_interval(*counts, **options)
    assert one.relative_interval == fieller_interval(*arms, **options)
    other = compare_proportions(*counts, test="unpooled", interval="wald", relative="delta", **options)
    assert other.effect_interval == wald_interval(*arms, **options)
    assert other.relative_interval == delta_interval(*arms, **options)
    assert other.method == "two-proportion z test (unpooled); Wald interval; delta relative interval"


def test_delta_interval_is_an_option_for_means_and_leaves_the_test_alone():
    arms = Moments(50, 10.0, 500.0), Moments(60, 11.0, 900.0)
    usual, delta = compare_means(*arms), compare_means(*arms, relative="delta")
    estimates = MeanEstimate.of_mean(arms[0]), MeanEstimate.of_mean(arms[1])
    assert delta.relative_interval == delta_interval(*estimates, df=usual.df)
    assert (delta.pvalue, delta.effect_interval) == (usual.pvalue, usual.effect_interval)
    assert delta.method == "Welch t test and interval; delta relative interval"


def test_no_interval_stands_for_one_without_width():
    still = MeanEstimate(1.0, 0.0, 9)
    for interval in (wald_interval, delta_interval, fieller_interval):
        assert isinstance(interval(still, still), NotComputed)
        many = MeanEstimate(np.ones(2), np.zeros(2), np.full(2, 9.0))
        assert np.isnan(interval(many, many)).all()
    result = compare_proportions(0, 9, 5, 5, test="unpooled", interval="wald")
    assert "nothing varies" in result.pvalue.reason
    assert isinstance(result.effect_interval, NotComputed)


@given(st.lists(COUNTS.filter(lambda c: c[1] > 0), min_size=2, max_size=6), ALPHAS, SIDES)
@settings(max_examples=50)
def test_score_intervals_of_arrays_are_those_of_plain_numbers(cells, alpha, alternative):
    control, treatment = cells[::2], cells[1::2]
    control = control[: len(treatment)]
    parts = [np.array(part) for arm in (control, treatment) for part in zip(*arm, strict=True)]
    counts = parts[0], parts[1], parts[2], parts[3]
    options = {"alpha": alpha, "alternative": alternative}
    for interval in (score_ratio_interval, newcombe_interval):
        together_low, together_high = interval(*counts, **options)
        for at, numbers in enumerate(zip(*counts, strict=True)):
            alone = interval(*map(int, numbers), **options)
            if isinstance(alone, NotComputed):
                assert math.isnan(together_low[at]) or math.isnan(together_high[at])
            else:
                assert (together_low[at], together_high[at]) == pytest.approx(alone, rel=1e-10, abs=1e-10)
    low, high = wilson_interval(counts[0], counts[1], **options)
    assert [wilson_interval(int(x), int(n), **options) for x, n in control] == list(zip(low, high, strict=True))


@given(st.floats(1e-12, 0.999), st.floats(-40, 40), st.floats(0.5, 1e6), SIDES)
def test_tails_of_arrays_are_those_of_plain_numbers(alpha, statistic, df, alternative):
    assert critical_value([alpha, 0.05], alternative, [df, 7.0])[0] == critical_value(alpha, alternative, df)
    assert tail_pvalue([statistic, 1.0], alternative, [df, 7.0])[0] == tail_pvalue(statistic, alternative, df)
