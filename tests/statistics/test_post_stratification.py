"""Post-stratification, against statsmodels on units, and every assignment of a small population."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from abtest_lib.statistics.covariates import compare_means_with_covariates, compare_ratios_with_covariates
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.inference import compare_means
from abtest_lib.statistics.joint_moments import JointMoments
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.post_stratification import (
    compare_post_stratified_means,
    compare_post_stratified_proportions,
    compare_post_stratified_ratios,
    post_stratified_estimates,
)
from abtest_lib.statistics.sampled_strata import compare_means_over_sampled_strata
from abtest_lib.statistics.strata import joint_cells, merged_pairs, pooled_strata


def sample(seed, n=240, strata=4, covariates=2):
    rng = np.random.default_rng(seed)
    stratum = rng.integers(0, strata, n)
    treated = rng.random(n) < 0.3 + 0.4 * (stratum == 1)
    x = rng.normal(size=(n, covariates)) + stratum[:, None]
    y = 10 + 5 * stratum + treated * (1 + 0.3 * stratum) + x @ np.arange(1.0, covariates + 1) + rng.gamma(2, 1, n)
    return y, treated, stratum, x


def cells_of(treated, stratum, *columns):
    return {
        int(k): tuple(
            JointMoments.from_values(*[c[(stratum == k) & (treated == arm)] for c in columns]) for arm in (False, True)
        )
        for k in np.unique(stratum)
    }


def saturated(y, treated, stratum, x=None):
    """Fit a mean a stratum and variant, and slopes in common; give the weighted effect and its HC2 error."""
    own = (stratum[:, None] == np.unique(stratum)).astype(float)
    parts = [own, own * treated[:, None]] + ([] if x is None else [x])
    fit = OLS(y, np.column_stack(parts)).fit()
    k = own.shape[1]
    weights = np.zeros(fit.params.size)
    weights[k : 2 * k] = own.mean(axis=0)
    return fit, float(weights @ fit.params), float(np.sqrt(weights @ fit.cov_HC2 @ weights))


def with_slopes(error, fit, treated, stratum, x):
    """Add what two slopes cost to an error that takes them as known, as the classical variance has it."""
    cells = [(stratum == k) & (treated == arm) for k in np.unique(stratum) for arm in (False, True)]
    spread = sum(np.cov(x[cell].T) * (cell.sum() - 1) for cell in cells)
    gap = sum(
        (stratum == k).mean() * (x[(stratum == k) & treated].mean(axis=0) - x[(stratum == k) & ~treated].mean(axis=0))
        for k in np.unique(stratum)
    )
    factor = (len(treated) - len(cells)) / fit.df_resid
    return float(np.sqrt(error**2 * factor + gap @ np.linalg.solve(spread, gap) * fit.mse_resid))


@pytest.mark.parametrize("seed", range(5))
def test_effect_and_error_are_those_of_a_saturated_regression(seed):
    y, treated, stratum, _ = sample(seed)
    _, effect, error = saturated(y, treated, stratum)
    got = compare_post_stratified_means(cells_of(treated, stratum, y))
    # With a mean for each cell a unit's leverage is 1 / n, and HC2 is the sample variance over n: the same formula.
    assert (got.comparison.effect, got.comparison.standard_error) == pytest.approx((effect, error), rel=1e-9)
    assert (got.strata, got.merged) == (4, ())
    plain = compare_means(*(Moments.from_values(y[treated == arm]) for arm in (False, True)))
    assert got.unadjusted.effect == pytest.approx(plain.effect)
    assert got.variance_removed == pytest.approx(1 - (error / plain.standard_error) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_with_covariates_it_is_the_saturated_regression_with_slopes_in_common(seed):
    y, treated, stratum, x = sample(seed)
    fit, effect, _ = saturated(y, treated, stratum, x)
    slopes = fit.params[-2:]
    _, again, error = saturated(y - x @ slopes, treated, stratum)
    got = compare_post_stratified_means(cells_of(treated, stratum, y, *x.T))
    error = with_slopes(error, fit, treated, stratum, x)
    assert got.slopes.values == pytest.approx(slopes, rel=1e-9)
    assert effect == pytest.approx(again, rel=1e-9)
    assert (got.comparison.effect, got.comparison.standard_error) == pytest.approx((effect, error), rel=1e-9)


def test_it_is_unbiased_over_all_assignments_and_so_is_its_variance_where_the_effect_is_constant():
    # Miratrix, Sekhon and Yu (2013), theorem 1 and its variance given the counts: exact, by going through every
    # assignment of 5 of 10 units that leaves two of each variant in each stratum.
    y0 = np.array([1.0, 2.0, 4.0, 9.0, 3.0, 20.0, 25.0, 21.0, 30.0, 22.0])
    stratum = np.repeat([0, 1], 5)
    estimates = {}
    for chosen in itertools.combinations(range(10), 5):
        treated = np.isin(np.arange(10), chosen)
        counts = tuple(int((treated & (stratum == k)).sum()) for k in (0, 1))
        if min(counts) < 2 or max(counts) > 3:
            continue
        got = compare_post_stratified_means(cells_of(treated, stratum, y0 + 2.5 * treated)).comparison
        estimates.setdefault(counts, []).append((got.effect, got.standard_error**2))
    assert set(estimates) == {(2, 3), (3, 2)}
    for given_counts in estimates.values():
        effects, variances = np.array(given_counts).T
        assert effects.mean() == pytest.approx(2.5, abs=1e-12)
        assert variances.mean() == pytest.approx(effects.var(), rel=1e-12)


def test_relative_effect_is_over_the_post_stratified_mean_of_the_control():
    y, treated, stratum, _ = sample(3)
    shares = np.bincount(stratum) / stratum.size
    base = sum(share * y[(stratum == k) & ~treated].mean() for k, share in enumerate(shares))
    got = compare_post_stratified_means(cells_of(treated, stratum, y)).comparison
    assert got.relative_effect == pytest.approx(got.effect / base)
    low, high = got.relative_interval
    assert (low > 0 or high < 0) == (got.pvalue < 0.05)


def test_one_stratum_is_the_comparison_without_strata():
    y, treated, stratum, x = sample(4)
    one = np.zeros_like(stratum)
    for columns in ((y,), (y, *x.T)):
        cells = cells_of(treated, one, *columns)
        plain = compare_means_with_covariates(*cells[0])
        got = compare_post_stratified_means(cells)
        assert (got.comparison.effect, got.comparison.pvalue) == pytest.approx(
            (plain.comparison.effect, plain.comparison.pvalue), rel=1e-9
        )
    ratio = cells_of(treated, one, y, np.abs(x[:, 0]) + 1, x[:, 1])
    plain = compare_ratios_with_covariates(*ratio[0]).comparison
    got = compare_post_stratified_ratios(ratio).comparison
    assert (got.effect, got.pvalue) == pytest.approx((plain.effect, plain.pvalue), rel=1e-9)


def test_degrees_of_freedom_are_welch_where_strata_are_alike():
    # Equal cells of n units: Satterthwaite adds up n - 1 over 2 K cells.
    cell = Moments(10, 3.0, 18.0)
    got = compare_post_stratified_means({k: (cell, Moments(10, 4.0, 18.0)) for k in range(5)}).comparison
    assert got.df == pytest.approx(2 * 5 * 9)
    assert got.standard_error == pytest.approx((2 * 2.0 / 50) ** 0.5)


@given(st.integers(0, 200))
def test_swapping_variants_flips_the_sign_and_order_and_names_of_strata_do_not_matter(seed):
    y, treated, stratum, x = sample(seed, n=60, strata=3)
    cells = cells_of(treated, stratum, y, *x.T)
    got = compare_post_stratified_means(cells)
    back = compare_post_stratified_means({k: pair[::-1] for k, pair in cells.items()})
    turned = compare_post_stratified_means({f"stratum {k}": cells[k] for k in reversed(list(cells))})
    if isinstance(got, NotComputed):
        assert isinstance(back, NotComputed) and isinstance(turned, NotComputed)
        return
    assert back.comparison.effect == pytest.approx(-got.comparison.effect)
    assert back.comparison.pvalue == pytest.approx(got.comparison.pvalue)
    assert turned.comparison.effect == pytest.approx(got.comparison.effect)
    assert turned.comparison.standard_error == pytest.approx(got.comparison.standard_error)


@given(st.integers(0, 100), st.floats(0.01, 100), st.integers(-1000, 1000))
def test_unit_and_origin_of_the_metric_only_scale_the_effect(seed, scale, origin):
    y, treated, stratum, _ = sample(seed, n=60, strata=3)
    got = compare_post_stratified_means(cells_of(treated, stratum, y)).comparison
    other = compare_post_stratified_means(cells_of(treated, stratum, scale * y + origin)).comparison
    assert other.effect == pytest.approx(scale * got.effect, rel=1e-6)
    assert other.pvalue == pytest.approx(got.pvalue, rel=1e-5)


def test_proportions_are_means_of_zeros_and_ones():
    got = compare_post_stratified_proportions({"a": (3, 40, 9, 50), "b": (20, 30, 18, 20)})
    values = {
        "a": (Moments.from_values([1] * 3 + [0] * 37), Moments.from_values([1] * 9 + [0] * 41)),
        "b": (Moments.from_values([1] * 20 + [0] * 10), Moments.from_values([1] * 18 + [0] * 2)),
    }
    want = compare_post_stratified_means(values)
    assert got.comparison.effect == pytest.approx(90 / 140 * (9 / 50 - 3 / 40) + 50 / 140 * (0.9 - 2 / 3))
    assert got.comparison.pvalue == pytest.approx(want.comparison.pvalue)


def ratio_sample(seed, n=400):
    rng = np.random.default_rng(seed)
    stratum, treated = rng.integers(0, 3, n), rng.random(n) < 0.5
    d0, d = rng.poisson(2 + stratum) + 1.0, rng.poisson(2 + stratum) + 1.0
    level = rng.gamma(2, 0.5 + 0.5 * stratum)
    return rng.poisson(level * d).astype(float), d, rng.poisson(level * d0).astype(float), d0, treated, stratum


def numerical_delta(function, values, covariance):
    gradient = np.empty(values.size)
    for i in range(values.size):
        step = 1e-5 * max(1.0, abs(values[i]))
        up, down = values.copy(), values.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (function(up) - function(down)) / (2 * step)
    return float(np.sqrt(gradient @ covariance @ gradient))


def test_ratio_is_that_of_post_stratified_sums_with_the_delta_method_taken_numerically():
    m, d, *_, treated, stratum = ratio_sample(1)
    shares = np.bincount(stratum) / stratum.size
    means, covariance = [], np.zeros((12, 12))
    for arm in (0, 1):
        for k in range(3):
            own = np.array([m, d])[:, (stratum == k) & (treated == arm)]
            at = len(means)
            covariance[at : at + 2, at : at + 2] = np.cov(own) / own.shape[1]
            means.extend(own.mean(axis=1))

    def effect(values):
        arms = [shares @ part for part in values.reshape(2, 3, 2)]
        return arms[1][0] / arms[1][1] - arms[0][0] / arms[0][1]

    got = compare_post_stratified_ratios(cells_of(treated, stratum, m, d)).comparison
    assert got.effect == pytest.approx(effect(np.array(means)), rel=1e-12)
    # Central differences with a step of 1e-5 are good to about 1e-10.
    assert got.standard_error == pytest.approx(numerical_delta(effect, np.array(means), covariance), rel=1e-7)


def test_ratio_with_covariates_is_least_squares_on_what_units_add():
    m, d, m0, d0, treated, stratum = ratio_sample(2)
    shares = np.bincount(stratum) / stratum.size
    adds = np.empty(m.size)
    for arm in (0, 1):
        top, bottom = (
            sum(share * column[(stratum == k) & (treated == arm)].mean() for k, share in enumerate(shares))
            for column in (m, d)
        )
        own = treated == arm
        adds[own] = top / bottom + (m[own] - top / bottom * d[own]) / bottom
    x = np.column_stack([m0, d0])
    fit, effect, _ = saturated(adds, treated, stratum, x)
    _, _, error = saturated(adds - x @ fit.params[-2:], treated, stratum)
    error = with_slopes(error, fit, treated, stratum, x)
    got = compare_post_stratified_ratios(cells_of(treated, stratum, m, d, m0, d0))
    assert (got.comparison.effect, got.comparison.standard_error) == pytest.approx((effect, error), rel=1e-9)
    assert got.variance_removed > 0.2


def test_ratio_takes_a_stratum_without_any_denominator():
    cells = {
        "buyers": (CoMoments.from_values([1, 2, 4], [1, 2, 2]), CoMoments.from_values([2, 2, 5], [1, 1, 3])),
        "others": (CoMoments.from_values([0, 0], [0, 0]), CoMoments.from_values([0, 0], [0, 0])),
    }
    got = compare_post_stratified_ratios(cells).comparison
    assert got.effect == pytest.approx(9 / 5 - 7 / 5)


def test_small_strata_are_merged_and_named_and_no_unit_is_lost():
    strata = {
        "tiny": (Moments(1, 5.0, 0.0), Moments(0, 0.0, 0.0)),
        "big": (Moments(50, 2.0, 60.0), Moments(60, 2.2, 70.0)),
        "one": (Moments(3, 4.0, 2.0), Moments(1, 4.5, 0.0)),
        "mid": (Moments(20, 3.0, 10.0), Moments(25, 3.1, 20.0)),
        "none": (Moments(0, 0.0, 0.0), Moments(0, 0.0, 0.0)),
    }
    pooled = pooled_strata(strata)
    assert pooled.merged == ("tiny", "one")
    # Together they have 4 and 1 units, still too few: they join the largest.
    assert [(c.n, t.n) for c, t in pooled.cells] == [(54, 61), (20, 25)]
    assert sum(c.n + t.n for c, t in pooled.cells) == sum(c.n + t.n for c, t in strata.values())
    strata["solo"] = (Moments(0, 0.0, 0.0), Moments(1, 1.0, 0.0))
    pooled = pooled_strata(strata)
    assert [(c.n, t.n) for c, t in pooled.cells] == [(50, 60), (20, 25), (4, 2)]
    got = compare_post_stratified_means(strata)
    assert (got.strata, got.merged) == (3, ("tiny", "one", "solo"))
    assert pooled_strata(strata, min_units=24).cells[0][0].n == 50


def test_what_cannot_be_computed_says_why():
    some, one = Moments(5, 1.0, 3.0), Moments(1, 1.0, 0.0)
    assert compare_post_stratified_means({"a": (one, some)}).reason == "control has 1 unit; at least 2 are needed"
    bad = Moments(3, float("nan"), 1.0)
    assert compare_post_stratified_means({"a": (some, bad)}).reason == "a value of treatment is not a finite number"
    flat = {"a": (Moments(3, 1.0, 0.0), Moments(3, 1.0, 0.0)), "b": (Moments(3, 2.0, 0.0), Moments(3, 2.0, 0.0))}
    assert compare_post_stratified_means(flat).reason == "no value varies within the strata"
    same = {"a": (Moments(3, 1.0, 0.0), Moments(3, 1.0, 0.0))}
    assert compare_post_stratified_means(same).reason == "no value varies in control or treatment"
    empty = CoMoments.from_values([1.0, 2.0], [0.0, 0.0])
    assert (
        compare_post_stratified_ratios({"a": (empty, empty)}).reason == "of control: the denominator is zero in total"
    )
    exact = CoMoments.from_values([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert compare_post_stratified_means({"a": (exact, exact)}).reason == (
        "the covariate leaves no variance in control or treatment"
    )
    wide = JointMoments.from_values([1.0, 2.0, 4.0], [1.0, 3.0, 2.0], [0.0, 1.0, 0.0])
    assert "2 covariates have 6 units" in compare_post_stratified_means({"a": (wide, wide)}).reason


@pytest.mark.parametrize(("alpha", "alternative"), [(0.2, "greater"), (0.01, "less"), (0.1, "two-sided")])
def test_options_reach_the_tests_with_and_without_strata(alpha, alternative):
    options = {"alpha": alpha, "alternative": alternative}
    m, d, m0, _, treated, stratum = ratio_sample(5)
    one = np.zeros_like(stratum)
    plain = compare_ratios_with_covariates(*cells_of(treated, one, m, d)[0], **options).comparison
    got = compare_post_stratified_ratios(cells_of(treated, stratum, m, d), **options)
    ends = t_interval(got.comparison, **options)
    assert got.comparison.effect_interval == pytest.approx(ends)
    assert got.unadjusted.effect_interval == pytest.approx(plain.effect_interval)
    assert got.unadjusted.pvalue == pytest.approx(plain.pvalue)
    assert got.comparison.method.startswith("post-stratified delta method")
    with_one = compare_post_stratified_ratios(cells_of(treated, stratum, m, d, m0)).comparison
    assert with_one.method.startswith("covariate-adjusted, post-stratified delta method")
    counts = {"a": (30, 90, 44, 80), "b": (5, 20, 9, 30)}
    shares = compare_post_stratified_proportions(counts, **options).comparison
    assert shares.method.startswith("post-stratified Welch t")
    assert shares.effect_interval == pytest.approx(t_interval(shares, **options))
    tails = {"greater": stats.t.sf, "less": stats.t.cdf, "two-sided": lambda t, df: 2 * stats.t.sf(abs(t), df)}
    for each in (got.comparison, shares):
        assert each.pvalue == pytest.approx(tails[alternative](each.effect / each.standard_error, each.df))


def t_interval(result, alpha, alternative):
    """Effect plus and minus SciPy's quantile of t times the error; one end is infinite when one-sided."""
    half = stats.t.isf(alpha / (2 if alternative == "two-sided" else 1), result.df) * result.standard_error
    low = -np.inf if alternative == "less" else result.effect - half
    return low, np.inf if alternative == "greater" else result.effect + half


@pytest.mark.parametrize("compare", [compare_post_stratified_means, compare_post_stratified_ratios])
def test_smallest_stratum_is_the_callers_choice(compare):
    rng = np.random.default_rng(6)

    def cell(n):
        return CoMoments.from_values(rng.normal(5, 1, n), rng.normal(9, 1, n))

    strata = {"big": (cell(40), cell(50)), "mid": (cell(20), cell(21)), "small": (cell(5), cell(30))}
    assert compare(strata).merged == ()
    assert compare(strata, min_units=6).merged == ("small",)
    counts = {"big": (10, 40, 20, 50), "small": (2, 5, 9, 30)}
    assert compare_post_stratified_proportions(counts).merged == ()
    # Two units have a variance, and are enough if the caller says nothing.
    assert compare_post_stratified_proportions({**counts, "two": (1, 2, 1, 2)}).merged == ()
    assert compare_post_stratified_proportions(counts, min_units=6).merged == ("small",)


@pytest.mark.parametrize("flat", [0, 1])
def test_one_variant_without_spread_within_strata_leaves_the_error_of_the_other(flat):
    some, none = Moments(10, 3.0, 18.0), Moments(8, 4.0, 0.0)
    pair = (some, none) if flat else (none, some)
    got = compare_post_stratified_means({"a": pair, "b": pair}).comparison
    # Two strata of half the units each: the variance of one mean of ten, over two.
    assert got.standard_error**2 == pytest.approx(18.0 / 9 / 10 / 2)
    # The variant without spread has its own degrees of freedom, 2 * 7, but no part in Satterthwaite's.
    assert got.df == pytest.approx(2 * 9)


def test_relative_effect_is_over_the_control_at_the_covariates_of_each_stratum():
    y, treated, stratum, x = sample(7)
    got = compare_post_stratified_means(cells_of(treated, stratum, y, *x.T))
    rest, base = y - x @ got.slopes.values, 0.0
    for k in np.unique(stratum):
        own = stratum == k
        base += own.mean() * (rest[own & ~treated].mean() + x[own].mean(axis=0) @ got.slopes.values)
    assert got.comparison.relative_effect == pytest.approx(got.comparison.effect / base)


def test_units_of_both_variants_count_towards_those_that_slopes_need():
    rng = np.random.default_rng(8)
    many, few = (JointMoments.from_values(*rng.normal(5, 1, (3, n))) for n in (15, 6))
    for pair in ((many, few), (few, many)):
        assert compare_post_stratified_means({"a": pair}).slopes.dropped == ()
    assert "2 covariates have 12 units" in compare_post_stratified_means({"a": (few, few)}).reason


def test_strata_without_any_spread_have_an_estimate_without_error():
    strata = pooled_strata({"a": (Moments(5, 1.0, 0.0), Moments(3, 2.0, 0.0)), "b": (Moments(6, 4.0, 0.0),) * 2})
    shares = (8 / 20, 12 / 20)
    control, treatment = post_stratified_estimates(strata)
    assert (control.squared_error, control.df, treatment.df) == (0.0, 4 + 5, 2 + 5)
    assert control.mean == pytest.approx(shares[0] * 1.0 + shares[1] * 4.0)
    assert treatment.mean == pytest.approx(shares[0] * 2.0 + shares[1] * 4.0)


def test_denominators_of_both_signs_that_come_to_nothing_are_named():
    def cell(n, level):
        return CoMoments.from_values(np.arange(1.0, n + 1), np.full(n, level))

    fine = cell(4, 1.0), cell(2, 1.0)
    # All units of the control add up to zero, but not with the strata's shares of all units ...
    nothing = {"a": (cell(2, 1.0), fine[0]), "b": (cell(2, -1.0), fine[1])}
    # ... and the other way round.
    balanced = {"a": (cell(3, 1.0), cell(2, 1.0)), "b": (cell(2, -1.0), cell(3, 1.0))}
    for strata in (nothing, balanced):
        assert compare_post_stratified_ratios(strata).reason == "of control: the denominator is zero in total"
        back = {name: pair[::-1] for name, pair in strata.items()}
        assert compare_post_stratified_ratios(back).reason == "of treatment: the denominator is zero in total"


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((6, 5, 1, 5), r"strata\['a'\] successes_control is 6; .* between 0 and n_control \(5\)"),
        ((1, 5, 6, 5), r"strata\['a'\] successes_treatment is 6; .* between 0 and n_treatment \(5\)"),
        ((0, -1, 1, 5), "n_control is -1"),
        ((1, 5, 0, 1.5), "n_treatment is 1.5"),
    ],
)
def test_counts_that_cannot_be_are_named_with_their_stratum(counts, words):
    with pytest.raises(ValueError, match=words):
        compare_post_stratified_proportions({"a": counts})


@pytest.mark.parametrize("cells", [pooled_strata, joint_cells])
def test_cells_of_too_few_units_or_broken_values_name_the_variant(cells):
    none, one, two = Moments(0, 0.0, 0.0), Moments(1, 1.0, 0.0), Moments(2, 1.0, 0.5)
    assert cells({"a": (none, two)}).reason == "control has 0 units; at least 2 are needed"
    assert cells({"a": (two, one), "b": (none, none)}).reason == "treatment has 1 unit; at least 2 are needed"
    assert cells({"a": (Moments(2, float("inf"), 1.0), two)}).reason == "a value of control is not a finite number"
    assert not isinstance(cells({"a": (two, two)}), NotComputed)
    # What the strata have together counts.
    assert not isinstance(cells({"a": (one, two), "b": (one, none)}), NotComputed)


def test_strata_without_a_unit_of_a_variant_have_none_of_it_together():
    none, some = JointMoments.from_values([], []), JointMoments.from_values([1.0, 2.0], [4.0, 6.0])
    assert merged_pairs([(none, some), (none, none)]) == (JointMoments(0, (0.0, 0.0), ((0.0, 0.0),) * 2), some)


def test_a_slip_of_the_caller_names_the_argument():
    some = Moments(5, 1.0, 3.0)
    with pytest.raises(ValueError, match="min_units is 1"):
        pooled_strata({"a": (some, some)}, min_units=1)
    with pytest.raises(ValueError, match=r"cells of \[\] columns"):
        compare_post_stratified_means({})
    with pytest.raises(ValueError, match=r"cells of \[1, 2\] columns"):
        joint_cells({"a": (some, CoMoments.from_values([1.0], [2.0]))})
    with pytest.raises(ValueError, match=r"strata\['a'\] is \(1, 2, 3\)"):
        compare_post_stratified_proportions({"a": (1, 2, 3)})
    with pytest.raises(ValueError, match=r"strata\['a'\] successes_treatment is 9"):
        compare_post_stratified_proportions({"a": (1, 5, 9, 5)})
    with pytest.raises(ValueError, match="arm has 1 column"):
        compare_post_stratified_ratios({"a": (some, some)})
    with pytest.raises(ValueError, match="alternative is 'more'"):
        compare_post_stratified_means({"a": (some, some)}, alternative="more")
    with pytest.raises(ValueError, match="slopes has 1"):
        post_stratified_estimates(pooled_strata({"a": (some, some)}), slopes=[1.0])


@pytest.mark.parametrize("seed", range(3))
def test_sampled_strata_add_what_the_effects_differ_by(seed):
    y, treated, stratum, _ = sample(seed)
    cells = cells_of(treated, stratum, y)
    given_shares = compare_post_stratified_means(cells).comparison
    fit, effect, _ = saturated(y, treated, stratum)
    shares = np.bincount(stratum) / stratum.size
    between = shares @ (fit.params[4:8] - effect) ** 2 / y.size
    got = compare_means_over_sampled_strata(cells)
    assert got.effect == pytest.approx(given_shares.effect)
    assert got.standard_error**2 == pytest.approx(given_shares.standard_error**2 + between, rel=1e-9)
    assert compare_means_over_sampled_strata(cells, scale="relative").effect == pytest.approx(
        given_shares.relative_effect
    )


@pytest.mark.slow
def test_post_stratified_test_errs_as_often_as_promised_with_many_strata_and_a_rare_one():
    rng, wrong, repetitions = np.random.default_rng(20260301), 0, 1_000
    shares = np.r_[0.004, np.full(19, 0.996 / 19)]
    level = rng.normal(0, 2, 20)
    for _ in range(repetitions):
        stratum = rng.choice(20, 600, p=shares)
        treated = np.arange(600) % 2 == 1
        x = rng.exponential(1, (1, 600))
        y = level[stratum] + x.sum(axis=0) + rng.exponential(1, 600)
        wrong += compare_post_stratified_means(cells_of(treated, stratum, y, *x)).comparison.pvalue < 0.05
    # Four standard errors of the simulation around 0.05.
    assert wrong / repetitions == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / repetitions) ** 0.5)
