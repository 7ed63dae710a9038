from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from abtest_lib.statistics.estimates import (
    MeanEstimate,
    adjusted_estimates,
    log_ratio,
    log_ratio_standard_error,
    relative_standard_error,
    welch_df,
    within_arm_theta,
)
from abtest_lib.statistics.moments import CoMoments, Moments

CONTROL = [(4.0, 3.0), (7.5, 8.5), (1.5, 1.0), (2.0, 2.5), (6.0, 4.5)]
TREATMENT = [(9.0, 4.0), (5.5, 1.0), (12.0, 9.5), (7.0, 2.0)]


def paired(rows):
    return CoMoments.from_values(*zip(*rows, strict=True))


def test_estimate_of_a_mean_is_that_of_scipy():
    values = [4.0, 7.5, 1.5, 2.0, 6.0]
    found = MeanEstimate.of_mean(Moments.from_values(values))
    assert (found.mean, found.df) == (4.2, 4)
    assert found.squared_error == pytest.approx(stats.sem(values) ** 2, rel=1e-14)
    with pytest.raises(ValueError, match="n is 1"):
        MeanEstimate.of_mean(Moments(1, 3.0, 0.0))


def test_estimate_of_a_proportion_is_that_of_the_textbook():
    # p (1 - p) / n: 0.75 * 0.25 / 8.
    assert MeanEstimate.of_proportion(6, 8) == MeanEstimate(0.75, 0.0234375, 7)
    assert MeanEstimate.of_proportion(1, 1) == MeanEstimate(1.0, 0.0, 0)
    with pytest.raises(ValueError, match=r"^successes is 3; it must be a whole number between 0 and n \(2\)\.$"):
        MeanEstimate.of_proportion(3, 2)
    with pytest.raises(ValueError, match=r"^n is 2\.5; "):
        MeanEstimate.of_proportion(1, 2.5)
    with pytest.raises(ValueError, match=r"^n is 0; it must be at least 1; a share needs a unit\.$"):
        MeanEstimate.of_proportion(0, 0)


def test_negative_squared_error_is_refused_and_what_is_not_finite_is_kept():
    message = r"^squared_error is -1(\.0)?; it must be at least 0, as a variance is\.$"
    for bad in (-1.0, -1):
        with pytest.raises(ValueError, match=message):
            MeanEstimate(1.0, bad, 3)
    with pytest.raises(ValueError, match=r"^squared_error\[1\] is -1\.0; "):
        MeanEstimate(1.0, np.array([0.0, -1.0]), 3)
    assert MeanEstimate(1.0, 0.0, 3).squared_error == 0
    assert math.isnan(MeanEstimate(1.0, math.nan, 3).squared_error)


def test_adjusted_means_are_those_of_a_regression():
    rows = [(y, x, 0.0) for y, x in CONTROL] + [(y, x, 1.0) for y, x in TREATMENT]
    y, x, treated = map(np.array, zip(*rows, strict=True))
    fit = OLS(y, np.column_stack([np.ones(len(y)), treated, x - x.mean()])).fit()
    arms = paired(CONTROL), paired(TREATMENT)
    theta = within_arm_theta(*arms)
    assert theta == pytest.approx(fit.params[2], rel=1e-12)
    control, treatment = adjusted_estimates(*arms, theta=theta)
    assert control.mean == pytest.approx(fit.params[0], rel=1e-12)
    assert treatment.mean == pytest.approx(fit.params[0] + fit.params[1], rel=1e-12)


@pytest.mark.parametrize("theta", [0.0, 0.7, -1.3])
def test_adjusted_errors_are_those_of_the_residuals(theta):
    for arm, rows in zip(
        adjusted_estimates(paired(CONTROL), paired(TREATMENT), theta=theta), (CONTROL, TREATMENT), strict=True
    ):
        assert arm.squared_error == pytest.approx(stats.sem([y - theta * x for y, x in rows]) ** 2, rel=1e-12)
        assert arm.df == len(rows) - 1


@pytest.mark.parametrize("slope", [0.1, 1000.1, 7e-7])
def test_rounding_of_large_or_small_outcomes_is_no_error(slope):
    values = [1.0, 2.0, 4.0, 8.7, 3.3]
    arms = paired([(slope * x, x) for x in values]), paired([(slope * x + slope, x) for x in values[1:]])
    assert [arm.squared_error for arm in adjusted_estimates(*arms, theta=slope)] == [0, 0]


def test_covariate_that_explains_all_leaves_no_error():
    control, treatment = [(0.1 * x, x) for x in (1.0, 2.0, 4.0)], [(0.1 * x + 5, x) for x in (0.3, 7.0, 11.0)]
    for arm in adjusted_estimates(paired(control), paired(treatment), theta=0.1):
        assert arm.squared_error == 0
    # A thousandth of a millionth of the spread is not rounding.
    noisy = [(0.1 * x + noise, x) for x, noise in ((1.0, 0.0), (2.0, 1e-5), (4.0, 0.0))]
    assert adjusted_estimates(paired(noisy), paired(treatment), theta=0.1)[0].squared_error > 0


def test_slope_is_of_the_variant_whose_covariate_varies():
    constant = CoMoments.of_constant(Moments.from_values([1.0, 5.0]), 3.0)
    arm = paired(CONTROL)
    assert within_arm_theta(constant, arm) == within_arm_theta(arm, constant) == arm.slope
    assert within_arm_theta(constant, constant) == 0


def test_adjustment_needs_two_units_and_a_finite_slope():
    one, arm = paired(CONTROL[:1]), paired(TREATMENT)
    two = paired(CONTROL[:2])
    with pytest.raises(ValueError, match=r"^control\.n is 1; a mean needs at least 2 units\.$"):
        adjusted_estimates(one, arm, theta=1.0)
    with pytest.raises(ValueError, match=r"^treatment\.n is 1; a mean needs at least 2 units\.$"):
        adjusted_estimates(arm, one, theta=1.0)
    with pytest.raises(ValueError, match=r"^theta is inf; it must be a finite number\.$"):
        adjusted_estimates(two, arm, theta=math.inf)
    assert adjusted_estimates(two, arm, theta=1.0)[0].df == 1


@pytest.mark.parametrize("place", range(5))
def test_value_that_is_not_finite_spreads_to_its_arm(place):
    # Not finite: the outcome's mean or m2, the covariate's mean or m2, or the co-moment.
    numbers = [5.0, 4.0, 3.0, 2.0, 1.0]
    numbers[place] = math.nan
    y, yy, x, xx, xy = numbers
    broken = CoMoments(Moments(4, y, yy), Moments(4, x, xx), xy)
    control, treatment = adjusted_estimates(broken, paired(TREATMENT), theta=math.nan)
    assert not (math.isfinite(control.mean) and math.isfinite(control.squared_error))
    assert math.isnan(treatment.mean)
    assert math.isnan(adjusted_estimates(paired(TREATMENT), broken, theta=math.nan)[0].mean)


def test_degrees_of_freedom_are_those_of_welch_in_scipy():
    control, treatment = [4.0, 7.5, 1.5, 2.0, 6.0], [9.0, 5.5, 12.0, 7.0]
    arms = [MeanEstimate.of_mean(Moments.from_values(values)) for values in (control, treatment)]
    assert welch_df(*arms) == pytest.approx(stats.ttest_ind(treatment, control, equal_var=False).df, rel=1e-12)
    # treatment - ratio * control is the plain difference from a control in other units.
    scaled = stats.ttest_ind(treatment, [1.25 * value for value in control], equal_var=False).df
    assert welch_df(*arms, ratio=1.25) == pytest.approx(scaled, rel=1e-12)
    assert type(welch_df(*arms)) is float
    assert math.isnan(welch_df(MeanEstimate(1.0, 0.0, 3), MeanEstimate(1.0, 0.0, 3)))
    assert welch_df(MeanEstimate(1.0, 0.1, 0), MeanEstimate(1.0, 0.1, 3)) == 0
    both = welch_df(
        MeanEstimate(np.ones(2), np.array([0.0, arms[0].squared_error]), 4),
        MeanEstimate(np.ones(2), np.array([0.0, arms[1].squared_error]), 3),
    )
    assert both == pytest.approx([math.nan, welch_df(*arms)], nan_ok=True, rel=1e-14)


def test_errors_of_ratios_are_those_of_the_gradient():
    # Delta method by hand: gradient of f(c, t) times the errors, f = t / c - 1 and f = log(t / c).
    control, treatment = MeanEstimate(-4.0, 0.09, 50), MeanEstimate(-5.0, 0.16, 60)
    by_hand = math.sqrt(0.16 / 4**2 + 0.09 * (5 / 4**2) ** 2)
    assert relative_standard_error(control, treatment) == pytest.approx(by_hand, rel=1e-14)
    control, treatment = MeanEstimate(4.0, 0.09, 50), MeanEstimate(5.0, 0.16, 60)
    assert relative_standard_error(control, treatment) == pytest.approx(by_hand, rel=1e-14)
    assert log_ratio(control, treatment) == pytest.approx(math.log(1.25), rel=1e-14)
    assert log_ratio_standard_error(control, treatment) == pytest.approx(math.hypot(0.3 / 4, 0.4 / 5), rel=1e-14)
    control, treatment = MeanEstimate(np.array([4.0, 4.0]), 0.09, 50), MeanEstimate(np.array([5, -5]), 0.16, 60)
    assert relative_standard_error(control, treatment) == pytest.approx([by_hand] * 2, rel=1e-14)
    assert log_ratio_standard_error(control, treatment) == pytest.approx([math.hypot(0.3 / 4, 0.4 / 5)] * 2, rel=1e-14)
    several = log_ratio(MeanEstimate(np.array([4.0, 0.4]), 0.09, 50), MeanEstimate(np.array([5.0, 0.1]), 0.16, 60))
    assert several == pytest.approx(np.log([1.25, 0.25]), rel=1e-14)
    small = MeanEstimate(0.4, 0.09, 50), MeanEstimate(0.1, 0.16, 60)
    assert log_ratio(*small) == pytest.approx(math.log(0.25), rel=1e-14)
    for function in (relative_standard_error, log_ratio_standard_error, log_ratio):
        assert type(function(MeanEstimate(4.0, 0.09, 50), MeanEstimate(5.0, 0.16, 60))) is float


def test_mean_of_zero_is_refused_in_a_plain_number():
    zero, some = MeanEstimate(0.0, 0.1, 5), MeanEstimate(2.0, 0.1, 5)
    relative = r"^{}\.mean is 0\.0; nothing is relative to a mean of zero\.$"
    for function in (relative_standard_error, log_ratio_standard_error):
        with pytest.raises(ValueError, match=relative.format("control")):
            function(zero, some)
    with pytest.raises(ValueError, match=relative.format("treatment")):
        log_ratio_standard_error(some, zero)
    assert relative_standard_error(some, zero) == pytest.approx(math.sqrt(0.1) / 2, rel=1e-14)
    for arms, name in (((zero, some), "control"), ((some, zero), "treatment")):
        with pytest.raises(ValueError, match=rf"^{name}\.mean is 0\.0; a logarithm needs means above zero\.$"):
            log_ratio(*arms)
    with pytest.raises(ValueError, match=r"^control\.mean is -2\.0; "):
        log_ratio(MeanEstimate(-2.0, 0.1, 5), MeanEstimate(-2.0, 0.1, 5))
