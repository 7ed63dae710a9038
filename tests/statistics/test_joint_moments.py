from __future__ import annotations

import math

import numpy as np
import pytest

from abtest_lib.statistics.joint_moments import JointMoments, merge_joint_moments
from abtest_lib.statistics.moments import CoMoments

COLUMNS = [4.0, 7.5, 1.5, 2.0, 6.0], [3.0, 8.5, 1.0, 2.5, 4.5], [1.0, 0.0, 0.0, 1.0, 1.0]


def same(one, other):
    assert one.n == other.n
    assert one.means == pytest.approx(other.means, rel=1e-12)
    assert np.array(one.scatter) == pytest.approx(np.array(other.scatter), rel=1e-12, abs=1e-12)


def test_moments_of_columns_are_those_of_numpy():
    found = JointMoments.from_values(*COLUMNS)
    assert (found.n, found.means) == (5, pytest.approx(np.mean(COLUMNS, axis=1)))
    assert np.array(found.scatter) == pytest.approx(4 * np.cov(COLUMNS), rel=1e-12)
    assert JointMoments.from_values(*map(iter, COLUMNS)) == found
    single = [np.array(column, dtype=np.float32) + np.float32(0.1) for column in COLUMNS]
    assert JointMoments.from_values(*single) == JointMoments.from_values(*(each.astype(float) for each in single))


def test_one_column_or_a_pair_come_from_their_moments():
    pair = CoMoments.from_values(*COLUMNS[:2])
    same(JointMoments.of_moments(pair), JointMoments.from_values(*COLUMNS[:2]))
    same(JointMoments.of_moments(pair.outcome), JointMoments.from_values(COLUMNS[0]))


def test_sums_of_products_give_the_moments_of_the_columns():
    matrix = np.array(COLUMNS)
    same(JointMoments.from_sums(5, matrix.sum(axis=1), matrix @ matrix.T), JointMoments.from_values(*COLUMNS))
    assert JointMoments.from_sums(1, [3.0], [[9.0]]) == JointMoments(1, (3.0,), ((0.0,),))


def test_cells_add_up_to_the_whole():
    cells = [JointMoments.from_values(*(column[part] for column in COLUMNS)) for part in (slice(2), slice(2, 5))]
    same(merge_joint_moments(cells), JointMoments.from_values(*COLUMNS))
    empty = JointMoments.from_values([], [], [])
    assert merge_joint_moments([empty, cells[1]]) == cells[1]
    with pytest.raises(ValueError, match=r"^cells is without units; at least one cell must have some\.$"):
        merge_joint_moments([empty])


def test_no_units_have_zeros_alone():
    assert JointMoments.from_values([], []) == JointMoments(0, (0.0, 0.0), ((0.0, 0.0), (0.0, 0.0)))
    assert JointMoments(0, (0.0,), ((0.0,),)).n == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_sums_that_are_not_finite_leave_the_count_alone(bad):
    for sums, products in (([bad, 1.0], [[1.0, 1.0], [1.0, 1.0]]), ([1.0, 1.0], [[1.0, bad], [bad, 1.0]])):
        found = JointMoments.from_sums(3, sums, products)
        assert (found.n, type(found.n), len(found.means)) == (3, int, 2)
        assert np.isnan(found.means).all()
        assert np.shape(found.scatter) == (2, 2)
        assert np.isnan(found.scatter).all()
        assert not found.finite
    assert JointMoments.from_values(*COLUMNS).finite


def test_what_cannot_be_is_named():
    for n in (-1, 1.5, math.nan):
        with pytest.raises(ValueError, match=rf"^n is {n}; it must be a whole number, at least 0\.$"):
            JointMoments(n, (1.0,), ((1.0,),))
    for n in (0, 1.5):
        with pytest.raises(ValueError, match=rf"^n is {n}; it must be a whole number, at least 1\.$"):
            JointMoments.from_sums(n, [1.0], [[1.0]])
    with pytest.raises(ValueError, match=r"^scatter is .*; it must have 1 rows of 1\.$"):
        JointMoments(2, (1.0,), ((1.0, 2.0),))
    with pytest.raises(ValueError, match=r"^columns\[1\] has 1 values; it must have as many as the first, 2\.$"):
        JointMoments.from_values([1.0, 2.0], [1.0])
    for products in ([[1.0]], [[1.0, 1.0], [1.0]], [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]):
        with pytest.raises(ValueError, match=r"^products is .*; it must have 2 rows of 2, as sums has entries\.$"):
            JointMoments.from_sums(2, [1.0, 1.0], products)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_sums_that_contradict_each_other_are_refused(scale):
    # Two values that add up to 2 have squares of at least 2; a thousandth less is a contradiction, rounding is not.
    with pytest.raises(ValueError, match=r"^products\[0\]\[0\] is .*; with n = 2 and a sum of .* it must be at least "):
        JointMoments.from_sums(2, [2 * scale], [[1.998 * scale**2]])
    rounded = JointMoments.from_sums(2, [2 * scale], [[2 * scale**2 * (1 - 1e-12)]])
    assert rounded.scatter == ((0.0,),)
