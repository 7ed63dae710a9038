from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.pre_period import pre_period_differences

values = st.lists(st.floats(-50, 50).map(lambda value: round(value, 3)), min_size=3, max_size=30).filter(
    lambda column: len(set(column)) > 1
)


@given(values, values, st.integers(1, 20))
def test_test_and_interval_match_scipy(control, treatment, family):
    found = pre_period_differences(
        {"spent": (Moments.from_values(control), Moments.from_values(treatment))}, family_size=family
    )["spent"]
    reference = stats.ttest_ind(treatment, control, equal_var=False)
    interval = reference.confidence_interval(1 - 0.01 / family)
    assert found.pvalue == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-300)
    assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)
    assert found.alpha == pytest.approx(0.01 / family)
    effect = np.mean(treatment) - np.mean(control)
    assert found.effect == pytest.approx(effect, abs=1e-9)
    if abs(np.mean(control)) > 0.01:
        assert found.relative_effect == pytest.approx(effect / abs(np.mean(control)), abs=1e-6)
    # Duality of reading, p-value and interval.
    assert found.differs == (found.pvalue < 0.01 / family) == (not interval.low <= 0 <= interval.high)


def test_swapping_variants_flips_the_sign_and_keeps_the_reading():
    arms = Moments(5_000, 20.1, 720_000.0), Moments(5_000, 18.9, 700_000.0)
    one, other = (pre_period_differences({"spent": pair})["spent"] for pair in (arms, arms[::-1]))
    assert other.effect == -one.effect and other.pvalue == one.pvalue and other.reading == one.reading
    assert one.reading == "differs before the exposure"


def test_a_metric_that_cannot_be_compared_keeps_its_share():
    arms = {"spent": (Moments(90, 1.0, 8.0), Moments(90, 1.1, 9.0)), "constant": (Moments(90, 1.0, 0.0),) * 2}
    found = pre_period_differences(arms)
    assert isinstance(found["constant"], NotComputed)
    assert found["spent"].alpha == 0.005 and found["spent"].reading == "no difference seen"


@pytest.mark.parametrize(
    ("arms", "options", "message"),
    [
        ({}, {}, "arms is empty"),
        ({"a": (Moments(3, 1.0, 1.0),) * 2}, {"false_alarm": 0}, "alpha is 0"),
        (dict.fromkeys("ab", (Moments(3, 1.0, 1.0),) * 2), {"family_size": 1}, "family_size is 1"),
        ({"a": (Moments(3, 1.0, 1.0),) * 2}, {"family_size": 0}, "family_size is 0"),
    ],
)
def test_what_cannot_be_is_refused(arms, options, message):
    with pytest.raises(ValueError, match=message):
        pre_period_differences(arms, **options)


@pytest.mark.slow
def test_a_healthy_experiment_is_said_to_differ_in_at_most_one_percent_and_a_biased_one_is_found():
    rng = np.random.default_rng(43)
    false, found = [], []
    for _ in range(3_000):
        arms = {
            name: tuple(Moments(n, mean, 9.0 * chi) for n, mean, chi in zip((400, 200), means, chis, strict=True))
            for name, means, chis in zip(
                "abcde",
                rng.normal(0, 3 / np.sqrt([400, 200]), (5, 2)),
                rng.chisquare([399, 199], (5, 2)),
                strict=True,
            )
        }
        false.append(any(one.differs for one in pre_period_differences(arms).values()))
        control, treatment = arms["a"]
        # Five standard errors of the difference.
        moved = Moments(200, treatment.mean + 5 * 3 * np.sqrt(1 / 400 + 1 / 200), treatment.m2)
        found.append(pre_period_differences(arms | {"a": (control, moved)})["a"].differs)
    assert np.mean(false) <= 0.01 + 4 * np.sqrt(0.01 * 0.99 / 3_000)
    # Power of a z test at 0.002, five standard errors away.
    assert np.mean(found) == pytest.approx(stats.norm.sf(stats.norm.isf(0.001) - 5), abs=0.02)
