from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.adjusted_intervals import (
    ADJUSTMENTS,
    PROMISES,
    adjusted_alphas,
    growthbook_adjusted_interval,
)
from abtest_lib.statistics.dunnett import dunnett_alpha, dunnett_critical_value, dunnett_pvalues
from abtest_lib.statistics.inference import compare_means, compare_proportions
from abtest_lib.statistics.moments import Moments

# Ties, both ends, and values on the very steps of the procedures are drawn as often as any other.
edges = st.sampled_from([0.0, 1.0, 0.05, 0.025, 0.05 / 3, 0.0125, 0.01, 0.05 / 6, 0.1, 1e-300])
PVALUES = st.lists(st.one_of(edges, st.floats(0, 1), st.floats(0, 0.06)), min_size=1, max_size=10)


@pytest.mark.parametrize("method", ADJUSTMENTS)
@given(pvalues=PVALUES, alpha=st.sampled_from([0.05, 0.1, 0.01, 0.2]), more=st.integers(0, 4))
def test_own_pvalue_is_below_the_level_exactly_when_the_adjusted_one_is_below_alpha(method, pvalues, alpha, more):
    size = len(pvalues) + more
    levels = adjusted_alphas(pvalues, alpha, method=method, family_size=size)
    adjusted = ADJUSTMENTS[method](pvalues, size)
    assert [own < level for own, level in zip(pvalues, levels, strict=True)] == [each < alpha for each in adjusted]


STEPS = {
    "bonferroni": lambda alpha, rank, size: alpha / size,
    "holm": lambda alpha, rank, size: alpha / (size - rank + 1),
    "hochberg": lambda alpha, rank, size: alpha / (size - rank + 1),
    "hommel": lambda alpha, rank, size: alpha / (size - rank + 1),
    "benjamini_hochberg": lambda alpha, rank, size: rank * alpha / size,
    "benjamini_yekutieli": lambda alpha, rank, size: rank * alpha / size / sum(1 / k for k in range(1, size + 1)),
}


@pytest.mark.parametrize("method", ADJUSTMENTS)
@pytest.mark.parametrize("size", [9, 19, 22, 29])
def test_own_and_adjusted_pvalue_agree_within_the_rounding_of_the_step(method, size):
    # Of these sizes 0.05 / m and p * m round to different sides, either way; the step of a rank and its neighbours.
    families = []
    for rank in range(1, size + 1):
        step = STEPS[method](0.05, rank, size)
        for edge in (math.nextafter(step, 0.0), step, math.nextafter(step, 1.0)):
            families.append([0.0] * (rank - 1) + [edge] + [1.0] * (size - rank))
    families = np.array(families)
    shown = families < adjusted_alphas(families, method=method)
    assert np.array_equal(shown, ADJUSTMENTS[method](families) < 0.05)


def test_pvalues_of_few_digits_get_the_levels_of_the_numbers_they_are():
    short = np.array([[0.05 / size, 0.9] + [1.0] * 8 for size in range(1, 21)], dtype=np.float16)
    for size in (10, 13, 20):
        found = adjusted_alphas(short, family_size=size)
        assert found.tolist() == adjusted_alphas(short.astype(float), family_size=size).tolist()


@pytest.mark.parametrize("method", ADJUSTMENTS)
@given(pvalues=st.lists(st.floats(0.0001, 1), min_size=1, max_size=10), alphas=st.tuples(*[st.floats(0.01, 0.3)] * 2))
def test_levels_lie_between_the_smallest_share_and_alpha_and_grow_with_it(method, pvalues, alphas):
    low, high = sorted(alphas)
    narrow, wide = (np.array(adjusted_alphas(pvalues, alpha, method=method)) for alpha in (high, low))
    assert np.all(wide <= narrow * (1 + 1e-12))
    assert np.all(narrow <= high * (1 + 1e-12))
    share = high / len(pvalues)
    if method == "benjamini_yekutieli":
        share /= sum(1 / k for k in range(1, len(pvalues) + 1))
    assert np.all(narrow >= share * (1 - 1e-12))


@pytest.mark.parametrize("method", ADJUSTMENTS)
def test_many_families_at_once_get_what_each_gets_alone(method):
    families = np.random.default_rng(4).random((40, 3, 7)) ** 4
    together = adjusted_alphas(families, 0.1, method=method, family_size=9)
    for place in np.ndindex(40, 3):
        alone = adjusted_alphas(families[place].tolist(), 0.1, method=method, family_size=9)
        assert together[place].tolist() == pytest.approx(alone, rel=1e-12)


def test_levels_of_selected_intervals_are_those_of_the_paper():
    # Benjamini, Yekutieli (2005), procedure of section 3: R selected of m get 1 - R q / m. Four p-values below their
    # steps (0.05 / 8 * rank), four above: R = 4.
    pvalues = [0.001, 0.010, 0.012, 0.020, 0.2, 0.4, 0.6, 0.9]
    assert adjusted_alphas(pvalues, method="benjamini_hochberg") == pytest.approx([4 * 0.05 / 8] * 8)
    assert adjusted_alphas(pvalues, method="benjamini_yekutieli") == pytest.approx(
        [0.05 / 8 / (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5 + 1 / 6 + 1 / 7 + 1 / 8)] * 8
    )


@pytest.mark.parametrize(
    ("method", "pvalues", "family_size", "level"),
    [
        ("bonferroni", [0.001, 0.002, 0.4], None, 0.05 / 3),
        ("bonferroni", [0.001, 0.4], 10, 0.05 / 10),
        # Two of three are rejected: alpha / (3 - 2 + 1).
        ("holm", [0.001, 0.02, 0.4], None, 0.05 / 2),
        ("hochberg", [0.001, 0.02, 0.4], None, 0.05 / 2),
        # Simes rejects for {0.02, 0.4} (0.02 < 0.025) and for all three, and not for {0.4}: j = 1.
        ("hommel", [0.001, 0.02, 0.4], None, 0.05),
        # The second of Simes' bars, alpha itself, rejects for {0.03, 0.04}: j = 1.
        ("hommel", [0.03, 0.04], None, 0.05),
        # Simes does not reject for {0.03, 0.4} (0.03 > 0.025): j = 2.
        ("hommel", [0.001, 0.03, 0.4], None, 0.05 / 2),
        # 0.05 is not below the second bar, alpha itself, and 0.03 not below the first: j = 2.
        ("hommel", [0.03, 0.05], None, 0.05 / 2),
    ],
)
def test_levels_worked_out_by_hand(method, pvalues, family_size, level):
    levels = adjusted_alphas(pvalues, method=method, family_size=family_size)
    assert levels == pytest.approx([level] * len(pvalues), rel=1e-12)


counts = st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(60, 400), st.integers(60, 400))


@pytest.mark.parametrize("method", ADJUSTMENTS)
@settings(max_examples=25)
@given(tables=st.lists(counts, min_size=2, max_size=6))
def test_koopman_intervals_leave_out_zero_exactly_when_the_adjusted_pvalue_is_small(method, tables):
    shares = [
        (x_control, n_control, x_treatment, n_treatment) for x_control, x_treatment, n_control, n_treatment in tables
    ]
    pvalues = [compare_proportions(*table).pvalue for table in shares]
    adjusted = ADJUSTMENTS[method](pvalues)
    for table, level, pvalue in zip(shares, adjusted_alphas(pvalues, 0.1, method=method), adjusted, strict=True):
        low, high = compare_proportions(*table, alpha=level).relative_interval
        assert (low > 0 or high < 0) == (pvalue < 0.1)


@pytest.mark.parametrize("method", ADJUSTMENTS)
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@settings(max_examples=25)
@given(effects=st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=6))
def test_welch_and_fieller_intervals_leave_out_zero_exactly_when_the_adjusted_pvalue_is_small(
    method, alternative, effects
):
    control = Moments(80, 10.0, 300.0)
    arms = [Moments(40 + 7 * number, 10 + effect, 250.0) for number, effect in enumerate(effects)]
    pvalues = [compare_means(control, arm, alternative=alternative).pvalue for arm in arms]
    adjusted = ADJUSTMENTS[method](pvalues)
    for arm, level, pvalue in zip(arms, adjusted_alphas(pvalues, method=method), adjusted, strict=True):
        found = compare_means(control, arm, alpha=level, alternative=alternative)
        for low, high in (found.effect_interval, found.relative_interval):
            assert (low > 0 or high < 0) == (pvalue < 0.05)


@settings(max_examples=20)
@given(
    st.lists(st.floats(-4, 4), min_size=2, max_size=3),
    st.sampled_from([None, 12, 200]),
    st.sampled_from(["two-sided", "greater", "less"]),
)
def test_dunnetts_level_is_dual_to_its_pvalues(statistics, df, alternative):
    sizes = {"n_control": 30, "n_treatments": [20] * len(statistics), "df": df, "alternative": alternative}
    level = dunnett_alpha(0.05, **sizes)
    law = stats.norm if df is None else stats.t(df)
    tail = {"two-sided": lambda t: 2 * law.sf(abs(t)), "greater": law.sf, "less": law.cdf}[alternative]
    for statistic, pvalue in zip(statistics, dunnett_pvalues(statistics, **sizes), strict=True):
        assert (tail(statistic) < level) == (pvalue < 0.05)
    assert 0.05 / len(statistics) < level < 0.05
    critical = dunnett_critical_value(0.05, **sizes)
    assert tail(-critical if alternative == "less" else critical) == pytest.approx(level)


def test_every_method_says_what_its_intervals_promise():
    assert PROMISES.keys() == ADJUSTMENTS.keys()


def test_growthbooks_interval_is_matched():
    # GrowthBook, packages/shared and packages/back-end, git 8f1db44, run with the arguments below.
    got = growthbook_adjusted_interval(0.05, (0.01, 0.09), 0.03)
    assert got == pytest.approx((0.004841420320899015, 0.09515857967910099), rel=1e-12)
    assert growthbook_adjusted_interval(0.02, (-0.01, 0.05), 0.9999999) == (-math.inf, math.inf)
    # Its own test: a p-value at the level ends at zero.
    assert growthbook_adjusted_interval(0.1, (0.05, 0.15), 0.049999999) == pytest.approx((0.0, 0.2), abs=1e-8)
    assert growthbook_adjusted_interval(0.02, (-0.01, 0.05), 1.0) == (-math.inf, math.inf)
    # Never narrower than before, on either side.
    assert growthbook_adjusted_interval(0.1, (0.05, 0.15), 0.0) == (0.05, 0.15)
    assert growthbook_adjusted_interval(0.1, (0.05, 1.0), 0.049999999) == (0.05, 1.0)
    assert growthbook_adjusted_interval(0.1, (-1.0, 0.15), 0.049999999) == (-1.0, 0.15)
    assert growthbook_adjusted_interval(0.1, (-0.05, 0.25), 0.01) == (-0.05, 0.25)
    # Not even where it ends just where the other did.
    low, high = growthbook_adjusted_interval(0.1, (0.05, 0.15), 0.049999999)
    for kept in ((low, 0.15), (0.05, high)):
        assert growthbook_adjusted_interval(0.1, kept, 0.049999999) == kept


def test_growthbooks_interval_is_infinite_above_its_limit_only():
    at_limit = growthbook_adjusted_interval(1.0, (0.9, 1.1), 0.999999)
    half = stats.norm.isf(0.025) / stats.norm.isf(0.999999 / 2)
    assert at_limit == pytest.approx((1 - half, 1 + half), rel=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adjusted_alphas([0.1], method="sidak"), "method is 'sidak'"),
        (lambda: adjusted_alphas([0.1], 1.0), "alpha is 1.0"),
        (lambda: adjusted_alphas([1.1], 0.1), "pvalues is"),
        (lambda: adjusted_alphas([0.1, 0.2], family_size=1), "family_size is 1"),
        (lambda: growthbook_adjusted_interval(math.nan, (0.0, 0.2), 0.5), "effect is nan"),
        (lambda: growthbook_adjusted_interval(0.1, (0.0,), 0.5), "two for the interval"),
        (lambda: growthbook_adjusted_interval(0.1, (0.0, 0.2), 1.5), "pvalue_adjusted is 1.5"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
