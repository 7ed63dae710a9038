from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, test_proportions_2indep

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.proportions import (
    newcombe_interval,
    pooled_z,
    score_ratio_interval,
    score_ratio_z,
    unpooled_z,
    wilson_interval,
)

test_proportions_2indep.__test__ = False
SIDES = ("two-sided", "greater", "less")
TABLES = [
    (155, 5_000, 190, 5_000),
    (3, 40, 9, 25),
    (17, 20, 30, 32),
    (60, 90, 11, 70),
    (1, 10_000, 6, 9_000),
    (9, 40, 1, 25),
]
EDGES = [(0, 30, 4, 25), (4, 25, 0, 30), (25, 25, 20, 30), (20, 30, 25, 25), (25, 25, 30, 30)]


def columns(tables):
    return [np.array(column) for column in zip(*tables, strict=True)]


def opened(low, high, alternative):
    return (-math.inf if alternative == "less" else low, math.inf if alternative == "greater" else high)


def quantile(alpha, alternative):
    return stats.norm.isf(alpha / 2 if alternative == "two-sided" else alpha)


@pytest.mark.parametrize("counts", TABLES)
def test_statistics_are_those_of_statsmodels(counts):
    xc, nc, xt, nt = counts
    for z, variant in ((pooled_z, "score"), (unpooled_z, "wald")):
        want = test_proportions_2indep(xt, nt, xc, nc, compare="diff", method=variant, correction=False)
        assert z(*counts) == pytest.approx(want.statistic, rel=1e-9)
    for ratio in (0.3, 0.9, 1.0, 2.5):
        want = test_proportions_2indep(xt, nt, xc, nc, value=ratio, compare="ratio", method="score", correction=False)
        assert score_ratio_z(*counts, ratio=ratio) == pytest.approx(want.statistic, rel=1e-7)
    assert score_ratio_z(*counts) == pytest.approx(pooled_z(*counts), rel=1e-12)


@pytest.mark.parametrize("alternative", SIDES)
@pytest.mark.parametrize("counts", [*TABLES, *EDGES])
def test_intervals_of_shares_and_of_their_difference_are_those_of_statsmodels(counts, alternative):
    xc, nc, xt, nt = counts
    doubled = 0.1 if alternative == "two-sided" else 0.2
    options = {"alpha": 0.1, "alternative": alternative}
    want = proportion_confint(xc, nc, alpha=doubled, method="wilson")
    assert wilson_interval(xc, nc, **options) == pytest.approx(opened(*want, alternative), rel=1e-9, abs=1e-12)
    want = confint_proportions_2indep(xt, nt, xc, nc, method="newcomb", compare="diff", alpha=doubled)
    assert newcombe_interval(*counts, **options) == pytest.approx(opened(*want, alternative), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("alternative", SIDES)
@pytest.mark.parametrize("counts", TABLES)
def test_score_interval_ends_where_the_score_of_statsmodels_is_the_quantile(counts, alternative):
    xc, nc, xt, nt = counts
    low, high = score_ratio_interval(*counts, alpha=0.1, alternative=alternative)
    q = quantile(0.1, alternative)
    assert (low == -math.inf) == (alternative == "less")
    assert (high == math.inf) == (alternative == "greater")
    for end, want in ((low, q), (high, -q)):
        if math.isfinite(end):
            at = test_proportions_2indep(
                xt, nt, xc, nc, value=1 + end, compare="ratio", method="score", correction=False
            )
            assert at.statistic == pytest.approx(want, rel=1e-7)


@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-6, 1e-12])
@pytest.mark.parametrize("counts", [*TABLES, *EDGES])
def test_score_interval_holds_the_ratios_that_its_test_does_not_reject(counts, alpha):
    xc, _, xt, _ = counts
    q = quantile(alpha, "two-sided")
    low, high = score_ratio_interval(*counts, alpha=alpha)
    if xt == 0:
        assert low == -1
    else:
        assert score_ratio_z(*counts, ratio=1 + low) == pytest.approx(q, rel=1e-9)
    if xc == 0:
        assert high == math.inf
    else:
        assert score_ratio_z(*counts, ratio=1 + high) == pytest.approx(-q, rel=1e-9)


def test_score_interval_holds_what_its_test_does_not_reject_in_tables_of_every_kind():
    # From one unit to ten million, shares from none to all, alpha down to 1e-15.
    rng = np.random.default_rng(4)
    nc, nt = (np.ceil(10 ** rng.uniform(0, 7, 4_000)) for _ in range(2))
    xc, xt = (np.round(n * 10 ** -rng.uniform(0, 7, 4_000)) for n in (nc, nt))
    xc[:1_000], xt[500:1_500] = nc[:1_000] - np.minimum(xc, nc)[:1_000], (nt - np.minimum(xt, 3))[500:1_500]
    alpha = 10 ** -rng.uniform(0.05, 15, 4_000)
    low, high = score_ratio_interval(xc, nc, xt, nt, alpha=alpha)
    q = stats.norm.isf(alpha / 2)
    nobody = (xc == 0) & (xt == 0)
    assert np.array_equal(np.isnan(low), nobody)
    assert np.array_equal(np.isnan(high), nobody)
    assert np.all(low[(xt == 0) & ~nobody] == -1)
    assert np.all(high[(xc == 0) & ~nobody] == math.inf)
    # Below a ratio of 1e-3 the end itself, ratio - 1, has no digits left to find the statistic from.
    for end, needed, want in ((low, (xt > 0) & (low > -0.999), q), (high, (xc > 0) & (high > -0.999), -q)):
        at = score_ratio_z(*(column[needed] for column in (xc, nc, xt, nt)), ratio=1 + end[needed])
        assert at == pytest.approx(want[needed], rel=1e-6, abs=1e-9)
    for place in range(0, 4_000, 40):
        counts = [float(column[place]) for column in (xc, nc, xt, nt)]
        alone = score_ratio_interval(*counts, alpha=float(alpha[place]))
        if not isinstance(alone, NotComputed):
            assert alone == pytest.approx((low[place], high[place]), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-6])
def test_share_of_none_or_all_is_in_its_interval_to_the_last_digit(alpha):
    for n in range(1, 300):
        assert wilson_interval(0, n, alpha=alpha)[0] == 0
        assert wilson_interval(n, n, alpha=alpha)[1] == 1


@pytest.mark.parametrize("alternative", SIDES)
def test_arrays_give_what_numbers_give(alternative):
    tables = [*TABLES, *EDGES]
    options = {"alpha": 0.1, "alternative": alternative}
    for function in (newcombe_interval, score_ratio_interval):
        one_by_one = np.array([function(*counts, **options) for counts in tables])
        assert np.transpose(function(*columns(tables), **options)) == pytest.approx(one_by_one, rel=1e-11, abs=1e-13)
    xc, nc, *_ = columns(tables)
    one_by_one = np.array([wilson_interval(x, n, **options) for x, n, *_ in tables])
    assert np.transpose(wilson_interval(xc, nc, **options)) == pytest.approx(one_by_one, rel=1e-13)
    for function in (pooled_z, unpooled_z, score_ratio_z):
        one_by_one = [function(*counts) for counts in tables]
        assert function(*columns(tables)) == pytest.approx(one_by_one, rel=1e-12, nan_ok=True)
    many = score_ratio_interval(155, 5_000, 190, 5_000, alpha=np.array([0.5, 1e-9]))
    for place, alpha in enumerate((0.5, 1e-9)):
        alone = score_ratio_interval(155, 5_000, 190, 5_000, alpha=alpha)
        assert [end[place] for end in many] == pytest.approx(alone, rel=1e-11)


def test_plain_numbers_give_plain_floats():
    counts = (3, 40, 9, 25)
    for function in (pooled_z, unpooled_z, score_ratio_z):
        assert type(function(*counts)) is float
    for ends in (wilson_interval(3, 40), newcombe_interval(*counts), score_ratio_interval(*counts)):
        assert [type(end) for end in ends] == [float, float]


def test_shares_without_variance_have_no_statistic():
    for counts in ((0, 30, 0, 25), (30, 30, 25, 25)):
        assert all(math.isnan(function(*counts)) for function in (pooled_z, unpooled_z, score_ratio_z))
    assert math.isnan(unpooled_z(0, 30, 25, 25))
    # Nobody of 30 against 25 of 25: pooled share 25 / 55.
    by_hand = 1 / math.sqrt(25 / 55 * 30 / 55 * (1 / 30 + 1 / 25))
    assert pooled_z(0, 30, 25, 25) == pytest.approx(by_hand, rel=1e-14)
    assert np.isnan(pooled_z(np.array([0, 1]), 30, np.array([0, 1]), 25)).tolist() == [True, False]


def test_nobody_with_the_outcome_has_no_relative_interval():
    reason = NotComputed("no unit of control or treatment has the outcome")
    assert score_ratio_interval(0, 30, 0, 25) == reason
    low, high = score_ratio_interval(np.array([0, 1, 0, 1]), 30, np.array([0, 1, 1, 0]), 25)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, False, False, False]
    assert (high[2], low[3]) == (math.inf, -1)


def test_all_of_everyone_gives_the_edge_of_wilsons_interval():
    # The score of a ratio r <= 1 is then that of one share r of n.
    low, high = score_ratio_interval(30, 30, 30, 30)
    assert low + 1 == pytest.approx(wilson_interval(30, 30)[0], rel=1e-12)
    assert high + 1 == pytest.approx(1 / wilson_interval(30, 30)[0], rel=1e-12)
    assert wilson_interval(30, 30)[1] == 1
    assert wilson_interval(0, 30)[0] == 0


def test_default_is_a_two_sided_interval_at_five_percent():
    counts = (155, 5_000, 190, 5_000)
    for function in (newcombe_interval, score_ratio_interval):
        assert function(*counts) == function(*counts, alpha=0.05, alternative="two-sided")
    assert wilson_interval(3, 40) == wilson_interval(3, 40, alpha=0.05, alternative="two-sided")


@pytest.mark.parametrize("function", [newcombe_interval, score_ratio_interval])
def test_counts_that_cannot_be_are_refused_by_name(function):
    with pytest.raises(ValueError, match=r"^successes_control is 5; .* and n_control \(4\)\.$"):
        function(5, 4, 1, 4)
    with pytest.raises(ValueError, match=r"^successes_treatment is 5; .* and n_treatment \(4\)\.$"):
        function(1, 4, 5, 4)
    with pytest.raises(ValueError, match=r"^successes is 5; .* and n \(4\)\.$"):
        wilson_interval(5, 4)
    with pytest.raises(ValueError, match=r"^alpha is 2; "):
        function(1, 4, 2, 4, alpha=2)


@pytest.mark.parametrize("function", [pooled_z, unpooled_z, score_ratio_z])
def test_table_or_ratio_that_cannot_be_is_named(function):
    with pytest.raises(ValueError, match=r"^successes_control is 5; .*n_control"):
        function(5, 4, 1, 4)
    with pytest.raises(ValueError, match=r"^successes_treatment is 5; .*n_treatment"):
        function(1, 4, 5, 4)
    for bad in (-4, math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"^n_treatment is {bad}; it must be at least 0\.$"):
            function(0, 4, 0, bad)
    for counts, name in (((0, 0, 1, 4), "n_control"), ((1, 4, 0, 0), "n_treatment")):
        with pytest.raises(ValueError, match=rf"^{name} is 0; "):
            function(*counts)
    # One unit each, one of them with the outcome: 1 over its standard error.
    want = {pooled_z: math.sqrt(2), score_ratio_z: math.sqrt(2)}.get(function, math.nan)
    assert function(0, 1, 1, 1) == pytest.approx(want, rel=1e-12, nan_ok=True)
    for ratio in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"^ratio is {ratio}; it must be above 0\.$"):
            score_ratio_z(1, 4, 2, 4, ratio=ratio)


def test_ratios_at_once_give_what_each_gives_alone():
    ratios = np.array([1e-6, 0.3, 1.0, 40.0, 1e6])
    together = score_ratio_z(20, 25, 25, 25, ratio=ratios)
    assert together == pytest.approx([score_ratio_z(20, 25, 25, 25, ratio=float(ratio)) for ratio in ratios], rel=1e-12)
    assert np.isnan(score_ratio_z(np.array([0, 25]), 25, np.array([0, 25]), 25, ratio=1.0)).all()
