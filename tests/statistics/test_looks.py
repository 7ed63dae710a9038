"""Levels of looks: against gsDesign's bounds, and the promises that make any night's reading safe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.looks import (
    counted_looks,
    difference_information,
    estimate_after_stop,
    look_levels,
    sequential_pvalue,
)
from abtest_lib.statistics.sequential_estimates import repeated_pvalues, stagewise_inference
from abtest_lib.statistics.spending import obrien_fleming_spending, pocock_spending

# R> gsDesign(k=4, test.type=2, alpha=0.025, sfu=sfLDOF, timing=c(.25,.5,.75,1))$upper$bound
GSDESIGN_QUARTERS = (4.332634, 2.963132, 2.359044, 2.014090)

plans = st.lists(st.floats(0.02, 1.0), min_size=1, max_size=8).map(
    lambda steps: [round(float(share), 6) for share in np.cumsum(steps) / np.sum(steps)]
)


def test_levels_are_those_of_gsdesign():
    levels = look_levels([0.25, 0.5, 0.75, 1.0], [0.25, 0.5, 0.75, 1.0])
    assert levels == pytest.approx([2 * stats.norm.sf(z) for z in GSDESIGN_QUARTERS], rel=1e-4)


def test_one_look_at_the_end_has_the_whole_alpha():
    assert look_levels([812.0], [1.0], alpha=0.05)[0] == pytest.approx(0.05, abs=1e-12)
    assert look_levels([812.0], [1.0], alpha=0.025, sides=1)[0] == pytest.approx(0.025, abs=1e-12)


def test_unit_of_information_does_not_matter():
    shares = [0.2, 0.5, 1.0]
    assert look_levels([3e5, 7e5, 9e5], shares) == pytest.approx(look_levels([0.3, 0.7, 0.9], shares), rel=1e-9)


def test_same_cut_read_again_is_the_same_look():
    once = look_levels([500, 1000, 2000], [0.25, 0.5, 1.0])
    thrice = look_levels([500, 1000, 1000, 1000, 2000], [0.25, 0.5, 0.5, 0.5, 1.0])
    assert thrice == pytest.approx([once[0], once[1], once[1], once[1], once[2]], rel=1e-12)


def test_skipped_look_leaves_its_share_to_the_next():
    information, shares = [500, 1000, 1500, 2000], [0.25, 0.5, 0.75, 1.0]
    whole = look_levels(information, shares, spending=pocock_spending)
    skipped = look_levels(information[2:], shares[2:], spending=pocock_spending)
    assert skipped[0] > whole[2]
    assert skipped[0] == pytest.approx(2 * float(pocock_spending(0.75, 0.025)), rel=1e-9)


def test_looks_to_come_do_not_change_those_that_were_taken():
    information, shares = [300, 700, 1500, 2000], [0.2, 0.4, 0.8, 1.0]
    for taken in range(1, 4):
        assert look_levels(information[:taken], shares[:taken]) == look_levels(information, shares)[:taken]


def test_number_of_units_that_came_does_not_change_what_is_spent():
    """More or fewer units than anybody expected: the last look still spends the rest of alpha, and no more."""
    shares = [0.25, 0.5, 0.75, 1.0]
    rng = np.random.default_rng(5)
    for last in (50.0, 2000.0):
        information = np.array([100.0, 400.0, 420.0, 420.0 + last])
        levels = np.array(look_levels(list(information), shares))
        steps = rng.standard_normal((200_000, 4)) * np.sqrt(np.diff(information, prepend=0.0))
        pvalues = 2 * stats.norm.sf(np.abs(np.cumsum(steps, axis=1) / np.sqrt(information)))
        assert (pvalues < levels).any(axis=1).mean() == pytest.approx(0.05, abs=0.002)


@settings(max_examples=25, deadline=None)
@given(shares=plans, seed=st.integers(0, 1000), alpha=st.sampled_from([0.01, 0.05, 0.2]))
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("spending", [obrien_fleming_spending, pocock_spending])
def test_pvalue_is_below_alpha_exactly_when_a_look_stops(shares, seed, alpha, sides, spending):
    rng = np.random.default_rng(seed)
    information = list(np.array(shares) * 1000)
    pvalues = list(rng.uniform(0, 0.2, len(shares)))
    levels = look_levels(information, shares, alpha=alpha, sides=sides, spending=spending)
    margin = max((level - p) / alpha for p, level in zip(pvalues, levels, strict=True))
    found = sequential_pvalue(information, pvalues, shares, sides=sides, spending=spending)
    if abs(margin) > 1e-4:  # at the very edge the root's own tolerance decides
        assert (found < alpha) == (margin > 0)


def test_pvalue_is_the_smallest_repeated_one_where_time_is_information():
    information, z = [0.3, 0.6, 1.0], [1.2, 2.6, 2.2]
    repeated = [value for value in repeated_pvalues(information, z, sides=2) if value is not None]
    found = sequential_pvalue(information, list(2 * stats.norm.sf(z)), information)
    assert found == pytest.approx(min(repeated), rel=1e-6)


def test_estimate_after_stop_is_that_of_stagewise_ordering():
    levels = look_levels([1000, 1000, 2000, 4000], [0.25, 0.25, 0.5, 1.0])
    found = estimate_after_stop([1000, 1000, 2000], levels[:3], 3.2)
    assert found == stagewise_inference([1000.0, 2000.0], [-stats.norm.ppf(levels[0] / 2)], 3.2)


def test_estimate_before_any_level_could_be_passed_is_the_plain_one():
    found = estimate_after_stop([1000, 2000], [0.0, 0.003], 3.4)
    assert found.median_unbiased == pytest.approx(3.4, abs=1e-6)
    assert found.interval == pytest.approx((3.4 - 1.959964, 3.4 + 1.959964), abs=1e-5)


def test_information_is_one_over_the_squared_error_of_a_difference():
    assert difference_information(100, 400, variance_control=9.0, variance_treatment=4.0) == pytest.approx(1 / 0.1)
    assert difference_information([100, 200], [100, 200]) == pytest.approx([50.0, 100.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: difference_information(0, 10), "n_control is 0"),
        (lambda: difference_information(10, [5, 0]), "n_treatment is"),
        (lambda: difference_information(10, 10, variance_control=0.0), "variance_control is 0.0"),
        (lambda: counted_looks([]), "information is"),
        (lambda: counted_looks([10.0, float("nan")]), "information is"),
        (lambda: look_levels([1.0, 2.0], [0.5]), "spending_time has 1 entries"),
        (lambda: look_levels([2.0, 1.0], [0.5, 1.0]), "information is .* never fall"),
        (lambda: look_levels([1.0, 2.0], [0.5, 0.4]), "spending"),
        (lambda: look_levels([1.0], [1.0], alpha=0.0), "alpha is 0.0"),
        (lambda: sequential_pvalue([1.0], [1.5], [1.0]), "pvalues is"),
        (lambda: sequential_pvalue([1.0], [float("nan")], [1.0]), "pvalues is"),
    ],
)
def test_wrong_argument_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_one_look_at_the_end_keeps_its_pvalue():
    for pvalue in (0.003, 0.03, 0.6):
        assert sequential_pvalue([500], [pvalue], [1.0]) == pytest.approx(pvalue, rel=1e-4)
    assert sequential_pvalue([500], [1.0], [1.0]) == sequential_pvalue([100, 500], [1.0, 1.0], [0.2, 1.0]) == 1
    # Beyond bounds of 7, which belong to 2.56e-12 on both sides, nothing is told apart.
    assert 0 < sequential_pvalue([500], [0.0], [1.0]) < 2.6e-12
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"^pvalues is .*; it must have one in \[0, 1\] for each look \(1\)\.$"):
            sequential_pvalue([500], [bad], [1.0])


def test_information_of_one_unit_each_is_that_of_their_variances():
    assert difference_information(1, 1, variance_control=2.0, variance_treatment=6.0) == pytest.approx(1 / 8)
    for n, name in (((0, 1), "n_control"), ((1, 0), "n_treatment")):
        with pytest.raises(ValueError, match=rf"^{name} is 0; it must be at least 1 at every look\.$"):
            difference_information(*n)
    for name in ("variance_control", "variance_treatment"):
        with pytest.raises(ValueError, match=rf"^{name} is 0\.0; it must be above 0\.$"):
            difference_information(1, 1, **{name: 0.0})


def test_estimate_after_the_third_look_knows_both_looks_before_it():
    found = estimate_after_stop([1000, 2000, 4000], [0.001, 0.02, 0.03], 2.3, alpha=0.2)
    before = [stats.norm.isf(0.0005), stats.norm.isf(0.01)]
    want = stagewise_inference([1000, 2000, 4000], before, 2.3, alpha=0.2)
    assert (found.pvalue, *found.interval) == pytest.approx((want.pvalue, *want.interval), rel=1e-9)


@pytest.mark.parametrize("bad", [[], [0.0, 1.0], [-1.0, 2.0], [1.0, float("inf")], [float("nan")], [2.0, 1.0]])
def test_information_that_is_not_above_zero_finite_and_in_order_is_refused(bad):
    with pytest.raises(ValueError, match=r"^information is "):
        counted_looks(bad)
