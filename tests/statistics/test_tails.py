from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from abtest_lib.statistics.tails import (
    as_number,
    check_choices,
    check_counts,
    check_each,
    check_positive,
    critical_value,
    floats,
    interval_ends,
    plain,
    square_root,
    tail_pvalue,
)


@pytest.mark.parametrize("df", [None, 3.0, 47.5])
def test_critical_values_are_the_quantiles_of_scipy(df):
    law = stats.norm() if df is None else stats.t(df)
    for alpha in (0.001, 0.05, 0.4):
        assert critical_value(alpha, df=df) == pytest.approx(law.isf(alpha / 2), rel=1e-12)
        for side in ("greater", "less"):
            assert critical_value(alpha, side, df) == pytest.approx(law.isf(alpha), rel=1e-12)
    assert critical_value(0.5, "greater", df) == 0


@pytest.mark.parametrize("df", [None, 3.0, 47.5])
@pytest.mark.parametrize("statistic", [-7.5, -1.2, 0.0, 0.3, 4.0])
def test_pvalues_are_the_tails_of_scipy(statistic, df):
    law = stats.norm() if df is None else stats.t(df)
    assert tail_pvalue(statistic, "greater", df) == pytest.approx(law.sf(statistic), rel=1e-12)
    assert tail_pvalue(statistic, "less", df) == pytest.approx(law.cdf(statistic), rel=1e-12, abs=0)
    assert tail_pvalue(statistic, df=df) == pytest.approx(2 * law.sf(abs(statistic)), rel=1e-12, abs=0)


def test_plain_numbers_give_plain_floats_and_arrays_give_arrays():
    for number in (2, 2.0, np.float64(2.0), np.array(2.0)):
        for found in (tail_pvalue(number), tail_pvalue(number, "less"), as_number(number), plain(number)):
            assert type(found) is float
    assert type(critical_value(0.05)) is type(critical_value(np.float64(0.05), df=4)) is float
    for found in (
        tail_pvalue([1, 2]),
        tail_pvalue([1, 2], "greater"),
        as_number([1, 2]),
        critical_value(np.ones(2) / 9),
    ):
        assert found.shape == (2,)
        assert found.dtype == float
    assert tail_pvalue([1, 2], df=[3, 30]) == pytest.approx([tail_pvalue(1, df=3), tail_pvalue(2, df=30)], rel=1e-15)


@pytest.mark.parametrize("df", [0.5, 1.0, 1.5, 2.5])
@pytest.mark.parametrize("statistic", [1e90, 1e101, 1e118])
def test_t_tails_far_out_follow_their_power_law(statistic, df):
    # The density of Student's t tends to c * t**-(df + 1) with this c; the integral of that is c / df * t**-df.
    c = math.gamma((df + 1) / 2) / (math.sqrt(df * math.pi) * math.gamma(df / 2)) * df ** ((df + 1) / 2)
    expected = math.exp(math.log(c / df) - df * math.log(statistic))
    assert tail_pvalue(statistic, "greater", df) == pytest.approx(expected, rel=1e-11, abs=0)
    assert tail_pvalue([statistic, 0.0, -math.inf], "greater", df) == pytest.approx(
        [expected, 0.5, 1.0], rel=1e-11, abs=0
    )


def test_no_pvalue_is_above_one_and_none_is_lost_far_out():
    # Mills' ratio: (1 - 1 / x**2) phi(x) / x < P(Z > x) < phi(x) / x.
    mills = 2 * math.exp(-(37**2) / 2) / math.sqrt(2 * math.pi) / 37
    assert mills * (1 - 37**-2) < tail_pvalue(37.0) < mills
    assert tail_pvalue(0.0) == 1
    assert tail_pvalue([0.0, -0.0]).tolist() == [1, 1]


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_alpha_outside_its_range_is_refused(bad):
    with pytest.raises(ValueError, match=rf"^alpha is {bad}; it must be between 0 and 1\.$"):
        critical_value(bad)
    with pytest.raises(ValueError, match=rf"^alpha\[1\] is {bad}; it must be between 0 and 1\.$"):
        check_choices(np.array([0.5, bad]), "less")


def test_unknown_sides_are_refused():
    for function, value in ((critical_value, 0.05), (tail_pvalue, 1.0)):
        with pytest.raises(ValueError, match=r"^alternative is 'both'; it must be 'two-sided', 'greater' or 'less'\.$"):
            function(value, "both")


def test_degrees_of_freedom_must_be_above_zero():
    for bad in (0, 0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=rf"^df is {bad}; it must be above 0\.$"):
            tail_pvalue(1.0, df=bad)
        with pytest.raises(ValueError, match=rf"^df is {bad}; it must be above 0\.$"):
            critical_value(0.05, df=bad)
    with pytest.raises(ValueError, match=r"^df\[1\] is 0\.0; it must be above 0\.$"):
        critical_value(0.05, df=np.array([1.0, 0.0]))
    # Student's t with one degree of freedom is Cauchy's: P(|t| > 1) is a half.
    assert tail_pvalue(1.0, df=1) == pytest.approx(0.5, rel=1e-12)
    assert tail_pvalue(1.0, df=0.5) == pytest.approx(2 * stats.t.sf(1, 0.5), rel=1e-9)


def test_cells_without_a_number_stay_so_in_an_array_alone():
    assert np.isnan(critical_value(0.05, df=np.array([math.nan, 5.0]))).tolist() == [True, False]
    assert np.isnan(tail_pvalue(np.array([math.nan, 5.0]))).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"^statistic is nan; it must be a number\.$"):
        tail_pvalue(math.nan)


def test_open_end_is_infinite_in_numbers_and_arrays():
    assert interval_ends(1, 2, "two-sided") == (1.0, 2.0)
    assert interval_ends(1, 2, "greater") == (1.0, math.inf)
    assert interval_ends(1, 2, "less") == (-math.inf, 2.0)
    low, high = np.array([1, 2]), np.array([3, 4])
    assert [end.tolist() for end in interval_ends(low, high, "two-sided")] == [[1, 2], [3, 4]]
    assert [end.tolist() for end in interval_ends(low, high, "greater")] == [[1, 2], [math.inf] * 2]
    assert [end.tolist() for end in interval_ends(low, high, "less")] == [[-math.inf] * 2, [3, 4]]


@pytest.mark.parametrize("bad", [0, -2.0, math.inf, math.nan])
def test_number_that_is_not_positive_and_finite_is_refused(bad):
    for value in (bad, [1.0, bad]):
        with pytest.raises(ValueError, match=r"^sd is .*; it must be a number above 0\.$"):
            check_positive(value, "sd")
    assert check_positive([1e-300, 1e300], "sd") is check_positive(0.5, "sd") is None


@pytest.mark.parametrize(
    ("successes", "n", "message"),
    [
        (-1, 3, "x is -1; it must be a whole number between 0 and m (3)."),
        (4, 3, "x is 4; it must be a whole number between 0 and m (3)."),
        (0.5, 3, "x is 0.5; it must be a whole number between 0 and m (3)."),
        (0, -1, "m is -1; it must be a whole number of units, at least 0."),
        (0, math.inf, "m is inf; it must be a whole number of units, at least 0."),
        (0, 2.5, "m is 2.5; it must be a whole number of units, at least 0."),
        ([1, 4], 3, "x[1] is 4; it must be a whole number between 0 and m (3)."),
        ([[1, 4]], [3, 3], "x[0, 1] is 4; it must be a whole number between 0 and m (3)."),
        ([0, 0], [3, -3], "m[1] is -3; it must be a whole number of units, at least 0."),
    ],
)
def test_counts_that_cannot_be_are_refused(successes, n, message):
    with pytest.raises(ValueError) as caught:
        check_counts(successes, n, "x", "m")
    assert str(caught.value) == message


def test_counts_that_can_be_pass():
    for successes, n in ((0, 0), (3, 3), (0, 3), (3.0, 3.0), ([0, 3], 3), (2, [2, 9])):
        assert check_counts(successes, n, "x", "m") is None


def test_message_names_the_first_value_that_is_not_as_it_must_be():
    with pytest.raises(ValueError, match=r"^margin\[1, 0\] is -1; it must be at least 0\.$"):
        check_each("margin", [[1, 2], [-1, -2]], lambda margin: margin >= 0, "at least 0")
    with pytest.raises(ValueError, match=r"^margin is -1\.5; it must be at least 0\.$"):
        check_each("margin", -1.5, lambda margin: margin >= 0, "at least 0")


def test_numbers_and_arrays_become_floats():
    assert [value.tolist() for value in floats(3, [1, 2])] == [3.0, [1.0, 2.0]]
    assert all(value.dtype == float for value in floats(3, [1, 2]))
    assert type(square_root(9.0)) is float
    assert square_root(9.0) == 3
    assert square_root(np.array([4, 9])).tolist() == [2, 3]
