from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.heterogeneity import heterogeneity_test, random_effects, shrunken_effects

EFFECTS, ERRORS = [0.012, -0.004, 0.02, 0.001, 0.015], [0.008, 0.006, 0.01, 0.004, 0.012]
segments = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.05, 3)), min_size=2, max_size=8)


def test_q_and_i_squared_match_metafor():
    # metafor 3.8.1: rma(yi, sei = sei, method = "FE").
    result = heterogeneity_test(EFFECTS, ERRORS)
    assert result.statistic == pytest.approx(6.72153916211293, rel=1e-10)
    assert result.pvalue == pytest.approx(0.151355935103741, rel=1e-10)
    assert result.i_squared == pytest.approx(0.404898208055283, rel=1e-10)
    assert (result.pooled_effect, result.standard_error) == pytest.approx((0.00360655737704918, 0.00285310220619285))


def test_shrunken_effects_match_metafor():
    # metafor 3.8.1: blup(rma(yi, sei = sei, method = "DL")).
    result = shrunken_effects([0.031, -0.028, 0.012, 0.004], [0.009, 0.008, 0.007, 0.01])
    expected = [0.0275891232362349, -0.0245730431075649, 0.0113920498986876, 0.0040970533156557]
    assert result.effects == pytest.approx(expected, rel=1e-7)


@given(segments)
def test_centre_and_spread_match_statsmodels(pairs):
    effects, errors = zip(*pairs, strict=True)
    # It divides by zero where segments agree too well.
    with np.errstate(all="ignore"):
        reference = combine_effects(np.array(effects), np.square(errors), method_re="dl")
    fixed, spread = heterogeneity_test(effects, errors), random_effects(effects, errors)
    assert fixed.statistic == pytest.approx(reference.q, rel=1e-6, abs=1e-9)
    assert fixed.pooled_effect == pytest.approx(reference.mean_effect_fe, rel=1e-8, abs=1e-10)
    if reference.tau2 > 0:
        assert spread.tau_squared == pytest.approx(reference.tau2, rel=1e-6, abs=1e-9)
        assert spread.pooled_effect == pytest.approx(reference.mean_effect_re, rel=1e-6, abs=1e-9)
    else:
        assert spread.tau_squared == pytest.approx(0, abs=1e-12)


@given(segments)
def test_shrunken_effects_lie_between_their_own_and_the_centre(pairs):
    effects, errors = zip(*pairs, strict=True)
    centre = random_effects(effects, errors).pooled_effect
    for own, shrunken in zip(effects, shrunken_effects(effects, errors).effects, strict=True):
        assert min(own, centre) - 1e-9 <= shrunken <= max(own, centre) + 1e-9


@given(segments, st.floats(0.01, 100), st.floats(-5, 5))
def test_unit_and_origin_do_not_matter(pairs, scale, shift):
    effects, errors = (np.array(column) for column in zip(*pairs, strict=True))
    plain, other = heterogeneity_test(effects, errors), heterogeneity_test(scale * (effects + shift), scale * errors)
    assert other.pvalue == pytest.approx(plain.pvalue, rel=1e-6, abs=1e-9)


def test_intervals_of_equal_errors_are_those_of_morris():
    # Morris (1983), JASA 78(381), section 1: with equal variances V, B = (k - 3) V / S, the estimate is
    # mean + (1 - B)(y - mean) and its squared error V (1 - (k - 1) B / k) + 2 B² (y - mean)² / (k - 3).
    # Batting averages of 18 players after 45 at bats (Efron, Morris 1975), V = 0.0659² as there.
    y = np.array([400, 378, 356, 333, 311, 311, 289, 267, 244, 244, 222, 222, 222, 222, 222, 200, 178, 156]) / 1_000
    v, k = 0.0659**2, 18
    b = (k - 3) * v / np.square(y - y.mean()).sum()
    squared = v * (1 - (k - 1) / k * b) + 2 / (k - 3) * b**2 * np.square(y - y.mean())
    centre, half = y.mean() + (1 - b) * (y - y.mean()), stats.norm.isf(0.025) * np.sqrt(squared)
    got = np.array(shrunken_effects(y, [0.0659] * k).intervals)
    assert got[:, 0] == pytest.approx(centre - half, rel=1e-9)
    assert got[:, 1] == pytest.approx(centre + half, rel=1e-9)


def test_standard_errors_of_equal_segments_worked_out_by_hand():
    # Effects 0, 2, 4, 6 of variance 1: centre 3, S = 20, t² = 20 / 3 - 1 = 17/3, kept 17/20; the centre's squared error
    # is (20/3) / 4 = 5/3. So 17/20 + (3/20)² * 5/3 = 0.8875.
    result = shrunken_effects([0, 2, 4, 6], [1, 1, 1, 1])
    assert result.effects == pytest.approx((0.45, 2.15, 3.85, 5.55))
    assert result.standard_errors == pytest.approx((0.8875**0.5,) * 4)


@given(segments)
def test_intervals_hold_the_shrunken_effects_and_few_segments_have_none(pairs):
    result = shrunken_effects(*zip(*pairs, strict=True))
    if len(pairs) < 4:
        reason = f"there are {len(pairs)} segments; the spread between them takes at least 4"
        assert result.intervals == NotComputed(reason)
        return
    for effect, (low, high) in zip(result.effects, result.intervals, strict=True):
        assert low < effect < high


def test_pvalue_of_a_gross_difference_is_small_and_not_lost():
    # With two degrees of freedom the chi-squared tail is exp(-Q / 2). Effects 0, x, 2x of error 1 have Q = 2 x².
    for x, exponent in ((10.0, -100.0), (26.2, -686.44)):
        assert heterogeneity_test([0.0, x, 2 * x], [1.0, 1.0, 1.0]).pvalue == pytest.approx(
            math.exp(exponent), rel=1e-9, abs=0
        )
    assert heterogeneity_test([0.0, 37.0], [1.0, 1.0]).pvalue == pytest.approx(
        2 * stats.norm.sf(37 / 2**0.5), rel=1e-9, abs=0
    )


def test_a_large_common_effect_leaves_the_spread_as_it_is():
    small, large = heterogeneity_test([1, 2, 4], [1, 1, 1]), heterogeneity_test([1e8 + 1, 1e8 + 2, 1e8 + 4], [1, 1, 1])
    assert large.statistic == pytest.approx(small.statistic, rel=1e-6)


def test_what_cannot_be_computed_says_why():
    for function in (heterogeneity_test, random_effects, shrunken_effects):
        assert function([1.0], [0.1]) == NotComputed("there is 1 segment; it takes at least 2")
        assert function([], []) == NotComputed("there are no segments; it takes at least 2")
        assert function([1.0, 2.0], [0.1, 0.0]) == NotComputed("the standard error of a segment is zero")
        assert isinstance(function([1.0, float("nan")], [0.1, 0.1]), NotComputed)


@pytest.mark.parametrize(("errors", "message"), [([0.1], "as many as effects, 2"), ([0.1, -0.1], "at least 0")])
def test_what_cannot_be_is_refused(errors, message):
    with pytest.raises(ValueError, match=message):
        heterogeneity_test([1.0, 2.0], errors)
    with pytest.raises(ValueError, match="alpha is 1"):
        shrunken_effects([1.0, 2.0], [1.0, 1.0], alpha=1)


@pytest.mark.slow
def test_equal_segments_are_called_different_as_often_as_promised():
    rng = np.random.default_rng(14)
    errors = np.array([0.5, 1.0, 2.0, 0.8])
    called = [heterogeneity_test(0.3 + errors * rng.normal(size=4), errors).pvalue < 0.05 for _ in range(8_000)]
    assert np.mean(called) == pytest.approx(0.05, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_intervals_of_shrunken_effects_cover_on_average(spread):
    rng = np.random.default_rng(17)
    errors = np.linspace(0.5, 2, 8)
    covered, naive = [], []
    for _ in range(1_500):
        truth = rng.normal(0.3, spread, 8)
        result = shrunken_effects(truth + errors * rng.normal(size=8), errors)
        low, high = np.array(result.intervals).T
        covered.append(np.mean((low < truth) & (truth < high)))
        naive.append(np.mean(np.abs(truth - result.effects) < 1.96 * np.array(result.standard_errors)))
    noise = 4 * np.std(covered) / np.sqrt(1_500)
    # Morris's intervals are approximate; the worst of many simulated cases covers 94.5 %.
    assert 0.945 - noise < np.mean(covered)
    assert np.mean(naive) < 0.92


def test_four_segments_by_hand():
    # 0, 2, 4 and 6 with errors of 1: Q = 20 of 3 degrees of freedom; tau² = (20 - 3) / (4 - 4 / 4) = 17 / 3.
    effects, errors = [0, 2, 4, 6], [1, 1, 1, 1]
    test = heterogeneity_test(effects, errors)
    assert (test.statistic, test.df, test.pooled_effect) == pytest.approx((20, 3, 3), rel=1e-12)
    assert (test.i_squared, test.standard_error) == pytest.approx((17 / 20, 0.5), rel=1e-12)
    shrunken = shrunken_effects(effects, errors)
    assert shrunken.tau_squared == pytest.approx(17 / 3, rel=1e-12)
    # 17/20 of an effect is kept; its error has that share of its own variance, and 3/20 of the centre's error.
    kept, centre = 17 / 20, (1 + 17 / 3) / 4
    assert shrunken.effects == pytest.approx([3 + kept * (each - 3) for each in effects], rel=1e-12)
    want = np.sqrt(kept * 1.0 + (1 - kept) ** 2 * centre)
    assert shrunken.standard_errors == pytest.approx([want] * 4, rel=1e-12)
    # Errors half as large: the two terms scale alike, which a quotient in place of a product would not.
    halved = shrunken_effects([each / 2 for each in effects], [0.5] * 4)
    assert halved.standard_errors == pytest.approx([want / 2] * 4, rel=1e-12)
    assert halved.tau_squared == pytest.approx(17 / 12, rel=1e-12)


def test_segments_that_hardly_differ_are_not_heterogeneous():
    # Q = 0.5 of one degree of freedom, and Q = 0.
    assert heterogeneity_test([0.0, 1.0], [1.0, 1.0]).i_squared == 0
    assert heterogeneity_test([1.0, 1.0], [1.0, 1.0]).i_squared == 0
    small = heterogeneity_test([0.0, 1.0, 0.0, 1.0], [0.6, 0.6, 1e3, 1e3])
    assert small.statistic > 1
    assert small.i_squared == 0


@pytest.mark.parametrize("place", [0, 1])
def test_segment_that_is_not_finite_has_no_test(place):
    segments = [[0.1, 0.2, 0.3], [0.1, 0.1, 0.1]]
    segments[place][1] = float("nan")
    reason = NotComputed("the effect of a segment or its error is not finite")
    for function in (heterogeneity_test, random_effects, shrunken_effects):
        assert function(*segments) == reason
