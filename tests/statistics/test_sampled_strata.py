"""Post-stratification over strata that are a sample, against statsmodels on units, and GrowthBook."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.joint_moments import JointMoments
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.sampled_strata import (
    compare_means_over_sampled_strata,
    compare_ratios_over_sampled_strata,
)

ORACLES = Path(__file__).resolve().parents[2].parent / "shared" / "oracles"
COMPARE = {1: compare_means_over_sampled_strata, 2: compare_ratios_over_sampled_strata}


def sample(seed, outcomes, covariates, sizes=(90, 60, 40)):
    """Units with one or two outcomes and covariates that differ by stratum and variant."""
    rng = np.random.default_rng(seed)
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    treated = rng.random(stratum.size) < 0.4 + 0.1 * stratum
    x = rng.normal(size=(stratum.size, covariates)) + 0.5 * stratum[:, None]
    y = rng.gamma(2, 1, (stratum.size, outcomes)) + 3 + stratum[:, None] + 0.4 * treated[:, None]
    return y + x @ rng.uniform(0.2, 0.8, (covariates, outcomes)), treated, stratum, x


def cells_of(y, treated, stratum, x):
    columns = np.column_stack([y, x])
    return {
        f"stratum {k}": tuple(
            JointMoments.from_values(*columns[(stratum == k) & (treated == arm)].T) for arm in (False, True)
        )
        for k in np.unique(stratum)
    }


def means_of_stratum(y, treated, x, ddof):
    """Return the means of both variants' outcomes, and their covariance, from the units of a stratum."""
    arms = np.column_stack([~treated, treated]).astype(float)
    if not x.shape[1]:
        parts = [y[~treated], y[treated]]
        blocks = [np.cov(part.T, ddof=ddof).reshape(y.shape[1], -1) / len(part) for part in parts]
        zero = np.zeros_like(blocks[0])
        return np.concatenate([part.mean(axis=0) for part in parts]), np.block([[blocks[0], zero], [zero, blocks[1]]])
    fits = [OLS(column, np.column_stack([arms, x - x.mean(axis=0)])).fit() for column in y.T]
    means = np.array([fit.params[:2] for fit in fits]).T.ravel()
    slopes = np.array([fit.params[2:] for fit in fits]).T
    residuals = np.column_stack([fit.resid for fit in fits])
    residual = residuals.T @ residuals / (len(y) - 2 - y.shape[1] * x.shape[1])
    inverse = fits[0].normalized_cov_params
    sampled = np.cov(x.T).reshape(x.shape[1], -1) / len(y)
    shared = slopes.T @ sampled @ slopes + residual * np.trace(inverse[2:, 2:] @ sampled)
    return means, np.kron(inverse[:2, :2], residual) + np.kron(np.ones((2, 2)), shared)


def reference(y, treated, stratum, x, *, scale="absolute", ddof=1):
    """Return effect and error, with the gradient of the delta method by complex steps."""
    parts = [means_of_stratum(y[own], treated[own], x[own], ddof) for own in (stratum == k for k in np.unique(stratum))]
    shares = np.bincount(np.unique(stratum, return_inverse=True)[1]) / stratum.size
    levels = np.array([means for means, _ in parts])
    means = shares @ levels
    between = sum(share * np.outer(gap, gap) for share, gap in zip(shares, levels - means, strict=True)) / stratum.size
    covariance = between + sum(share**2 * part for share, (_, part) in zip(shares, parts, strict=True))

    def effect(values):
        control, treatment = values if y.shape[1] == 1 else (values[0] / values[1], values[2] / values[3])
        return (treatment - control) / (1 if scale == "absolute" else control * np.sign(control.real))

    steps = 1e-30j * np.eye(means.size)
    gradient = np.array([effect(means + step).imag / 1e-30 for step in steps])
    return float(effect(means)), float(np.sqrt(gradient @ covariance @ gradient))


def welch_df(y, treated):
    """Degrees of freedom of SciPy's Welch test of all units, on what each adds to its variant's ratio."""
    arms = [y[treated == arm] for arm in (False, True)]
    if y.shape[1] == 2:
        arms = [(arm @ [1.0, -arm[:, 0].sum() / arm[:, 1].sum()] / arm[:, 1].mean())[:, None] for arm in arms]
    return stats.ttest_ind(arms[0][:, 0], arms[1][:, 0], equal_var=False).df


# --- references


@pytest.mark.parametrize("scale", ["absolute", "relative"])
@pytest.mark.parametrize("covariates", [0, 1, 2])
@pytest.mark.parametrize("outcomes", [1, 2])
def test_effect_and_error_are_those_of_least_squares_on_units(outcomes, covariates, scale):
    y, treated, stratum, x = sample(outcomes + covariates, outcomes, covariates)
    for level in (1.0, -1.0):  # a control below zero
        values = y * np.array([level, 1.0][:outcomes])
        got = COMPARE[outcomes](cells_of(values, treated, stratum, x), scale=scale)
        want = reference(values, treated, stratum, x, scale=scale)
        assert (got.effect, got.standard_error) == pytest.approx(want, rel=1e-9)
        assert got.statistic == pytest.approx(want[0] / want[1], rel=1e-9)
        assert got.df == pytest.approx(welch_df(values, treated), rel=1e-9)
        assert (got.scale, got.strata, got.merged) == (scale, 3, ())


@pytest.mark.parametrize("outcomes", [1, 2])
def test_variances_have_the_callers_divisor(outcomes):
    y, treated, stratum, x = sample(7, outcomes, 0, sizes=(12, 9, 8))
    for ddof in (0, 1):
        got = COMPARE[outcomes](cells_of(y, treated, stratum, x), ddof=ddof)
        want = reference(y, treated, stratum, x, ddof=ddof)
        assert (got.effect, got.standard_error) == pytest.approx(want, rel=1e-9)
    default = COMPARE[outcomes](cells_of(y, treated, stratum, x))
    assert default.standard_error == got.standard_error


@pytest.mark.parametrize("outcomes", [1, 2])
@pytest.mark.parametrize(("alpha", "alternative"), [(0.05, "two-sided"), (0.2, "greater"), (0.01, "less")])
def test_interval_and_pvalue_are_students(outcomes, alpha, alternative):
    y, treated, stratum, x = sample(3, outcomes, 1)
    cells = cells_of(y, treated, stratum, x)
    tails = {"greater": stats.t.sf, "less": stats.t.cdf, "two-sided": lambda t, df: 2 * stats.t.sf(abs(t), df)}
    for df in (None, 5.5, 1):
        got = COMPARE[outcomes](cells, df=df, alpha=alpha, alternative=alternative)
        assert got.df == pytest.approx(welch_df(y, treated) if df is None else df)
        half = stats.t.isf(alpha / (2 if alternative == "two-sided" else 1), got.df) * got.standard_error
        low = -math.inf if alternative == "less" else got.effect - half
        high = math.inf if alternative == "greater" else got.effect + half
        assert got.interval == pytest.approx((low, high), rel=1e-9)
        assert got.pvalue == pytest.approx(tails[alternative](got.effect / got.standard_error, got.df), rel=1e-9)
        assert (got.confidence_level, got.alternative) == (1 - alpha, alternative)
    assert COMPARE[outcomes](cells).confidence_level == 0.95


def growthbook_strata(case):
    """Cells of a reference case whose strata GrowthBook's tests also post-stratify."""

    def moments(cell):
        return Moments.from_sums(cell["n"], cell["sum"], cell["sum_squares"])

    def pair(cell):
        if cell["type"] == "cuped":
            parts, products = (moments(cell["post"]), moments(cell["pre"])), cell["sum_post_pre"]
        else:
            parts, products = (moments(cell["numerator"]), moments(cell["denominator"])), cell["sum_num_den"]
        return CoMoments.from_sums(*parts, products)

    return {k: (pair(s["control"]), pair(s["treatment"])) for k, s in enumerate(case["inputs"]["strata"])}


@pytest.mark.parametrize(
    ("case", "scale", "effect", "error"),
    [
        ("gb.test-023-cuped", "relative", 0.11529547657147853, 0.002206093195330933),
        ("gb.test-025-cuped", "absolute", 3.7116918650826403, 0.07390409644392272),
        ("gb.test-027-ratio", "relative", 0.13371299783026003, 0.007131233706378072),
        ("gb.test-029-ratio", "absolute", 0.10008903417216031, 0.005071004003792392),
    ],
)
def test_sampled_strata_match_growthbook(case, scale, effect, error):
    # Effects and errors are those that GrowthBook's own tests of post-stratification expect of these strata
    # (packages/stats/tests/frequentist/test_post_strat.py and its port to TypeScript); given there to 1e-9 at least.
    if not ORACLES.is_dir():
        pytest.skip(f"reference cases are not at {ORACLES}")
    cases = {each["id"]: each for each in json.loads((ORACLES / "summary.json").read_text())["cases"]}
    compare = compare_means_over_sampled_strata if "cuped" in case else compare_ratios_over_sampled_strata
    got = compare(growthbook_strata(cases[case]), scale=scale)
    assert (got.effect, got.standard_error) == pytest.approx((effect, error), rel=1e-9)


# --- properties


@given(st.integers(0, 50), st.sampled_from([1, 2]), st.integers(0, 2))
def test_swapping_variants_flips_the_sign_and_order_and_names_do_not_matter(seed, outcomes, covariates):
    cells = cells_of(*sample(seed, outcomes, covariates))
    got = COMPARE[outcomes](cells)
    back = COMPARE[outcomes]({name: pair[::-1] for name, pair in cells.items()})
    turned = COMPARE[outcomes]({number: cells[name] for number, name in enumerate(reversed(list(cells)))})
    assert (back.effect, back.standard_error, back.df) == pytest.approx((-got.effect, got.standard_error, got.df))
    assert (turned.effect, turned.standard_error) == pytest.approx((got.effect, got.standard_error))


@pytest.mark.parametrize("outcomes", [1, 2])
def test_covariates_that_say_nothing_of_their_own_change_nothing(outcomes):
    y, treated, stratum, x = sample(5, outcomes, 2)
    more = np.column_stack([np.full(len(x), 7.0), x[:, 0], x[:, 0], x[:, 1], x.sum(axis=1)])
    got = COMPARE[outcomes](cells_of(y, treated, stratum, more))
    want = COMPARE[outcomes](cells_of(y, treated, stratum, x))
    assert (got.effect, got.standard_error) == pytest.approx((want.effect, want.standard_error), rel=1e-9)
    none = COMPARE[outcomes](cells_of(y, treated, stratum, more[:, :1]))
    plain = COMPARE[outcomes](cells_of(y, treated, stratum, more[:, :0]))
    assert (none.effect, none.standard_error) == pytest.approx((plain.effect, plain.standard_error), rel=1e-9)


# --- strata that cannot stand alone


@pytest.mark.parametrize("outcomes", [1, 2])
def test_a_stratum_stands_alone_with_one_unit_more_than_coefficients(outcomes):
    big = sample(11, outcomes, 2)
    coefficients = 2 + 2 * outcomes
    for units, alone in ((coefficients, False), (coefficients + 1, True)):
        y, _, _, x = sample(12, outcomes, 2, sizes=(units,))
        treated = np.arange(units) % 2 == 1
        small = cells_of(y, treated, np.zeros(units, dtype=int), x)["stratum 0"]
        got = COMPARE[outcomes]({**cells_of(*big), "small": small})
        assert (got.strata, got.merged) == ((4, ()) if alone else (3, ("small",)))
        columns = zip(big, (y, treated, np.full(units, 3 if alone else 0), x), strict=True)
        want = reference(*(np.concatenate(pair) for pair in columns))
        assert (got.effect, got.standard_error) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("outcomes", [1, 2])
def test_small_strata_without_covariates_join_the_largest_which_has_divisor_n_minus_one_then(outcomes):
    y, treated, stratum, x = sample(13, outcomes, 0, sizes=(8, 20, 9, 2, 3))
    treated[-5:] = [False, True, True, True, False]
    got = COMPARE[outcomes](cells_of(y, treated, stratum, x), ddof=0)
    # The last two have one unit of a variant, and stratum 1 is the largest.
    assert (got.strata, got.merged) == (3, ("stratum 4", "stratum 3"))
    joined = np.where(stratum > 2, 1, stratum)
    effect, _ = reference(y, treated, joined, x)
    assert got.effect == pytest.approx(effect, rel=1e-9)
    default = COMPARE[outcomes](cells_of(y, treated, stratum, x))
    own = joined == 1
    share, others = own.mean(), reference(y, treated, joined, x, ddof=0)
    assert default.standard_error == pytest.approx(reference(y, treated, joined, x)[1], rel=1e-9)
    assert others[1] < got.standard_error < default.standard_error
    if outcomes == 1:
        gain = sum(y[own & (treated == arm)].var(ddof=1) / (own & (treated == arm)).sum() for arm in (False, True))
        gain -= sum(y[own & (treated == arm)].var() / (own & (treated == arm)).sum() for arm in (False, True))
        assert got.standard_error**2 == pytest.approx(others[1] ** 2 + share**2 * gain, rel=1e-9)


def test_a_stratum_without_variance_or_with_one_unit_joins_the_largest():
    cell, flat = Moments(30, 2.0, 40.0), Moments(4, 3.0, 0.0)
    got = compare_means_over_sampled_strata({"a": (cell, cell), "b": (flat, Moments(4, 3.5, 1.0)), "c": (cell, cell)})
    assert (got.strata, got.merged) == (2, ("b",))
    few = JointMoments.from_values([1.0, 2.0, 4.0], [1.0, 3.0, 2.0], [0.0, 1.0, 0.0])
    many = JointMoments.from_values(*np.random.default_rng(1).normal(size=(3, 20)))
    got = compare_ratios_over_sampled_strata({"a": (many, many), "b": (few, JointMoments(1, few.means, few.scatter))})
    assert got.strata == 1


def test_two_units_of_each_variant_stand_alone_and_an_empty_stratum_is_not_named():
    many, two = Moments(30, 2.0, 40.0), Moments(2, 3.0, 0.5)
    got = compare_means_over_sampled_strata({"a": (many, many), "b": (two, two)})
    assert (got.strata, got.merged) == (2, ())
    empty, one = Moments(0, 0.0, 0.0), Moments(1, 3.0, 0.0)
    got = compare_means_over_sampled_strata({"c": (empty, empty), "b": (two, one), "a": (many, many)})
    assert (got.strata, got.merged) == (1, ("b",))


def test_units_of_both_variants_say_which_stratum_is_the_largest_and_which_is_named():
    many, some, few = Moments(50, 2.0, 60.0), Moments(20, 3.0, 15.0), Moments(10, 5.0, 9.0)
    one, none = Moments(1, 9.0, 0.0), Moments(0, 0.0, 0.0)
    for turn in (1, -1):  # either variant may be the larger one
        strata = {"even": (some, some), "skew": (many, few)[::turn], "odd": (one, none)[::turn]}
        got = compare_means_over_sampled_strata(strata)
        assert (got.strata, got.merged) == (2, ("odd",))
        # The unit joins the 50: their mean is (100 + 9) / 51, and 61 of all 101 units are in their stratum.
        assert got.effect == pytest.approx(turn * 61 / 101 * (5.0 - 109 / 51))


def test_a_unit_has_no_variance_though_rounding_left_one():
    many, one, two = Moments(30, 2.0, 40.0), Moments(1, 3.0, 1e-17), Moments(2, 3.0, 0.5)
    got = compare_means_over_sampled_strata({"a": (many, many), "b": (one, two), "c": (two, one)})
    assert (got.strata, got.merged) == (1, ("b", "c"))


def test_where_the_largest_cannot_stand_alone_all_strata_are_one():
    flat, some = Moments(50, 2.0, 0.0), Moments(20, 3.0, 15.0)
    pooled = Moments(70, (50 * 2.0 + 20 * 3.0) / 70, 15.0 + 50 * 20 / 70)
    got = compare_means_over_sampled_strata({"a": (flat, flat), "b": (some, some), "c": (some, some)})
    assert (got.strata, got.merged) == (1, ())
    # One more of each variant: 50 of 2 and 40 of 3.
    assert got.standard_error**2 == pytest.approx(2 * (30.0 + 50 * 40 / 90) / 89 / 90)
    both = compare_means_over_sampled_strata({"a": (flat, flat), "b": (some, some)})
    one = compare_means_over_sampled_strata({"a": (pooled, pooled)})
    assert (both.strata, both.standard_error) == (1, pytest.approx(one.standard_error))


def test_ratios_of_a_stratum_without_a_denominator_join_the_largest():
    rng = np.random.default_rng(2)
    many = CoMoments.from_values(rng.normal(5, 1, 30), rng.normal(9, 1, 30))
    nothing = CoMoments.from_values([1.0, 2.0, 4.0], [0.0, 0.0, 0.0])
    constant = CoMoments.from_values([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])  # each the same ratio
    some = CoMoments.from_values([1.0, 2.0, 4.0], [2.0, 3.0, 7.0])
    for odd in (nothing, constant):
        for pair in ((odd, some), (some, odd)):
            assert compare_ratios_over_sampled_strata({"a": (many, many), "b": pair}).merged == ("b",)
    assert compare_ratios_over_sampled_strata({"a": (many, many), "b": (some, some)}).merged == ()


# --- refusals


def cell(n, level):
    return CoMoments.from_values(np.arange(1.0, n + 1), np.full(n, level))


def test_denominators_that_come_to_nothing_are_named():
    empty, some = cell(4, 0.0), CoMoments.from_values([1.0, 2.0, 4.0, 3.0], [2.0, 3.0, 7.0, 3.0])
    assert compare_ratios_over_sampled_strata({"a": (empty, some)}).reason == (
        "of control: the denominator is zero in total"
    )
    assert compare_ratios_over_sampled_strata({"a": (some, empty)}).reason == (
        "of treatment: the denominator is zero in total"
    )
    # All units of the control add up to none, but not with the strata's shares; only the degrees of freedom need it.
    fine = cell(4, 1.0), cell(2, 1.0)
    nothing = {"a": (cell(2, 1.0), fine[0]), "b": (cell(2, -1.0), fine[1])}
    for strata in (nothing, {name: pair[::-1] for name, pair in nothing.items()}):
        assert compare_ratios_over_sampled_strata(strata).reason == "the denominator is zero in total"
        assert compare_ratios_over_sampled_strata(strata, df=9).df == 9


def test_relative_effect_needs_a_control_other_than_zero():
    zero, one = Moments(5, 0.0, 3.0), Moments(5, 1.0, 3.0)
    relative = {"scale": "relative"}
    assert compare_means_over_sampled_strata({"a": (zero, one)}, **relative).reason == "the mean of the control is zero"
    assert compare_means_over_sampled_strata({"a": (one, zero)}, **relative).effect == pytest.approx(-1.0)
    assert compare_means_over_sampled_strata({"a": (zero, one)}).effect == pytest.approx(1.0)
    none = CoMoments.from_values([-1.0, 1.0, -2.0, 2.0], [2.0, 3.0, 7.0, 3.0])
    some = CoMoments.from_values([1.0, 2.0, 4.0, 3.0], [2.0, 3.0, 7.0, 3.0])
    assert compare_ratios_over_sampled_strata({"a": (none, some)}, **relative).reason == (
        "the ratio of the control is zero"
    )


@pytest.mark.parametrize(("outcomes", "covariates", "units"), [(1, 2, 4), (1, 3, 5), (2, 1, 4), (2, 2, 4), (2, 2, 6)])
def test_as_many_coefficients_as_units_leave_no_error(outcomes, covariates, units):
    y, _, stratum, x = sample(1, outcomes, covariates, sizes=(units,))
    cells = cells_of(y, np.arange(units) % 2 == 1, stratum, x)
    assert COMPARE[outcomes](cells) == NotComputed(f"{units} units are too few for the coefficients of the covariates")


def test_a_metric_that_does_not_vary_is_not_computed():
    flat = Moments(5, 2.0, 0.0)
    got = compare_means_over_sampled_strata({"a": (flat, flat)})
    assert got == NotComputed("no value varies within or between the strata")


def test_effect_that_varies_by_rounding_alone_is_not_computed():
    # Errors of about 1e-16 of the effect: what is left of a subtraction, not of a metric.
    for level in (1.0, 1_000.0):
        low, high = (Moments(5, mean, 1e-30 * level**2) for mean in (level, 2 * level))
        for pair in ((low, high), (high, low)):
            got = compare_means_over_sampled_strata({"a": pair})
            assert got == NotComputed("no value varies within or between the strata")
    # An error without an effect is one.
    assert compare_means_over_sampled_strata({"a": (Moments(5, 1.0, 1e-31),) * 2}).standard_error > 0


@pytest.mark.parametrize("compare", COMPARE.values())
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"scale": "log"}, "scale is 'log'; it must be 'absolute' or 'relative'"),
        ({"ddof": 2}, "ddof is 2; it must be 0 or 1"),
        ({"ddof": -1}, "ddof is -1; it must be 0 or 1"),
        ({"df": 0}, "df is 0; it must be above 0"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"alternative": "more"}, "alternative is 'more'"),
    ],
)
def test_a_slip_of_the_caller_names_the_argument(compare, setting, message):
    some = CoMoments.from_values([1.0, 2.0, 4.0], [2.0, 3.0, 7.0])
    with pytest.raises(ValueError, match=message):
        compare({"a": (some, some)}, **setting)
