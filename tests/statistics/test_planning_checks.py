from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics import planning_checks as checks

SIDES = {"alternative": "two-sided", "allocation": 1.0}


@given(st.floats(0.001, 0.2), st.sampled_from(["bonferroni", "dunnett"]))
def test_one_treatment_has_all_of_alpha(alpha, family):
    assert checks.comparison_alpha(alpha, 1, family=family, **SIDES) == alpha


@given(st.floats(0.001, 0.2), st.integers(1, 20))
def test_bonferroni_divides_alpha(alpha, treatments):
    assert checks.comparison_alpha(alpha, treatments, family="bonferroni", **SIDES) == alpha / treatments


@pytest.mark.parametrize(("alternative", "allocation"), [("greater", 1.0), ("two-sided", 0.25)])
def test_dunnett_level_is_that_of_the_largest_of_correlated_normals(alternative, allocation):
    # P(no statistic beyond the level), by the multivariate normal distribution of another library.
    plan = {"family": "dunnett", "alternative": alternative, "allocation": allocation}
    level = checks.comparison_alpha(0.05, 2, **plan)
    # Each difference has the variance 1 + 1 / allocation, of which the control's 1 is shared.
    shared = 1 / (1 + 1 / allocation)
    critical = stats.norm.isf(level / 2 if alternative == "two-sided" else level)
    lower = np.full(2, -critical if alternative == "two-sided" else -np.inf)
    joint = stats.multivariate_normal(cov=[[1.0, shared], [shared, 1.0]])
    assert joint.cdf(np.full(2, critical), lower_limit=lower) == pytest.approx(0.95, abs=1e-5)


@pytest.mark.parametrize(
    ("effect", "alternative"), [(0.1, "greater"), (-0.1, "less"), (0.1, "two-sided"), ([-0.1, 0.1], "two-sided")]
)
def test_effect_on_the_side_that_is_looked_for_passes(effect, alternative):
    checks.check_effect(effect, alternative)
    assert np.all(checks.directed(effect, alternative) == 0.1)


def test_side_of_an_effect_in_unsigned_numbers_does_not_wrap():
    assert checks.directed(np.uint8(1), "less") == -1.0


def test_values_next_to_a_limit_pass():
    checks.check_share([1e-9, 1 - 1e-9], "share")
    checks.check_target(0.0501, 0.05, "greater")
    checks.check_inflation(1)
    checks.check_relative(-0.999, 1e-9)
    for counted in ("effect side", "either side"):
        checks.check_counted(counted)
    for better in ("higher", "lower"):
        checks.check_better(better)


@given(st.floats(0.01, 10.0), st.floats(-0.99, 5.0))
def test_distance_grows_with_a_good_effect_and_is_mirrored(margin, part):
    distance = checks.distance_from_margin(part * margin, margin, "higher")
    assert distance == pytest.approx(margin * (1 + part))
    assert checks.distance_from_margin(-part * margin, margin, "lower") == distance


@given(st.floats(0.0, 1.0), st.floats(-3.0, 0.0))
def test_smallest_reaching_inverts_a_rising_power(power, low):
    found = checks.smallest_reaching(lambda x: x**3, power, low, 1.0)
    # The cube of what is just below does not reach it: to the last digits of a float.
    assert found**3 >= power and (found - 1e-14) ** 3 < power


def test_smallest_reaching_may_be_the_end_itself_or_missing():
    assert checks.smallest_reaching(lambda x: x, 1.0, 0.0, 1.0) == 1.0
    assert checks.smallest_reaching(lambda x: x, 1.0, 0.0, 0.999) is None
    # A step, as a power of whole units is: the first place on it.
    assert checks.smallest_reaching(lambda x: float(x >= 3.0), 1.0, 0.0, 8.0) == 3.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checks.comparison_alpha(0.05, 0, family="dunnett", **SIDES), "treatments is 0;"),
        (lambda: checks.comparison_alpha(0.05, 1.5, family="bonferroni", **SIDES), "treatments is 1.5"),
        (lambda: checks.comparison_alpha(1.0, 2, family="bonferroni", **SIDES), "alpha is 1.0"),
        (lambda: checks.comparison_alpha(0.05, 1, family="holm", **SIDES), "family is 'holm'"),
        (
            lambda: checks.comparison_alpha(0.05, 2, family="dunnett", alternative="two-sided", allocation=[1.0]),
            "allocation is an array",
        ),
        (
            lambda: checks.comparison_alpha(0.05, 2, family="dunnett", alternative="both", allocation=1.0),
            "alternative is 'both'",
        ),
        (lambda: checks.check_share(0.0, "rate"), "rate is 0.0"),
        (lambda: checks.check_share([0.5, 1.0], "rate"), "rate is"),
        (lambda: checks.check_share(math.nan, "rate"), "rate is nan"),
        (lambda: checks.check_target(0.05, 0.05, "less"), "power is 0.05"),
        (lambda: checks.check_target(1.0, 0.05, "less"), "power is 1.0"),
        (lambda: checks.check_target(0.8, 0.0, "less"), "alpha is 0.0"),
        (lambda: checks.check_target(0.8, 0.05, "both"), "alternative is 'both'"),
        (lambda: checks.check_inflation(math.inf), "inflation is inf"),
        (lambda: checks.check_inflation(math.nan), "inflation is nan"),
        (lambda: checks.check_effect(0.0, "two-sided", "gain"), "^gain is 0.0; .* a number other than 0"),
        (lambda: checks.check_effect(math.inf, "two-sided"), "^effect is inf"),
        (lambda: checks.check_effect([0.1, -0.1], "greater"), "must be above 0"),
        (lambda: checks.check_effect(0.0, "less"), "must be below 0"),
        (lambda: checks.check_effect(0.1, "both"), "alternative is 'both'"),
        (lambda: checks.check_relative(-1.0, 1.0), "relative_effect is -1.0"),
        (lambda: checks.check_relative(math.inf, 1.0), "relative_effect is inf"),
        (lambda: checks.check_relative(0.1, 0.0), "^mean is 0.0"),
        (lambda: checks.distance_from_margin(0.0, 0.0, "higher"), "^margin is 0.0"),
        (lambda: checks.distance_from_margin(0.0, 0.1, "up"), "better is 'up'"),
        (lambda: checks.distance_from_margin(0.5, 0.5, "lower"), "effect is 0.5"),
        (lambda: checks.distance_from_margin(-0.5, 0.5, "higher"), "effect is -0.5"),
    ],
)
def test_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
