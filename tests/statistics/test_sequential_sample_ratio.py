from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.sequential_sample_ratio import sequential_sample_ratio_test

EVEN = {"control": 1, "treatment": 1}
nights = st.lists(st.fixed_dictionaries({"control": st.integers(1, 500), "treatment": st.integers(1, 500)}), min_size=1)


def test_pvalues_match_the_authors_program():
    # Optimizely's ssrm-test 0.1.5 and savvi 0.3.1 agree to 1e-9.
    increments = [(100, 905), (95, 890), (130, 880), (140, 860)]
    result = sequential_sample_ratio_test(
        [{"control": c, "treatment": t} for c, t in increments], {"control": 0.1, "treatment": 0.9}, concentration=1_000
    )
    expected = [0.707201103929362, 0.5990831150651145, 1.1409397619651687, 39.07323996690416]
    assert result.bayes_factors == pytest.approx(expected, rel=1e-8)
    assert result.pvalues == pytest.approx((1.0, 1.0, 0.876470461751274, 0.025592963389957438), rel=1e-8)


@given(st.integers(0, 200), st.integers(1, 200), st.floats(1, 1e4))
def test_two_variants_match_the_beta_binomial_of_scipy(control, treatment, concentration):
    result = sequential_sample_ratio_test(
        [{"control": control, "treatment": treatment}], EVEN, concentration=concentration
    )
    n = control + treatment
    reference = stats.betabinom.logpmf(control, n, concentration / 2, concentration / 2)
    reference -= stats.binom.logpmf(control, n, 0.5)
    assert result.log_bayes_factors[0] == pytest.approx(reference, rel=1e-6, abs=1e-6)


def test_three_variants_match_both_programs():
    # Optimizely's ssrm-test 0.1.5 and savvi 0.3.1 agree to 1e-9.
    increments = [(330, 340, 335), (700, 650, 660), (690, 600, 655)]
    result = sequential_sample_ratio_test(
        [dict(zip("abc", night, strict=True)) for night in increments], dict.fromkeys("abc", 1), concentration=300
    )
    expected = [0.2430839165490827, 0.13863619405328725, 0.6358459171078734]
    assert result.bayes_factors == pytest.approx(expected, rel=1e-8)
    assert result.pvalues == (1.0, 1.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 9)), min_size=2, max_size=5), st.floats(1, 1e4))
def test_any_number_of_variants_and_weights_match_the_dirichlet_multinomial_of_scipy(arms, concentration):
    counts, weights = (np.array(column) for column in zip(*arms, strict=True))
    if counts.sum() == 0:
        return
    shares = weights / weights.sum()
    result = sequential_sample_ratio_test(
        [dict(enumerate(counts.tolist()))], dict(enumerate(weights.tolist())), concentration=concentration
    )
    reference = stats.dirichlet_multinomial.logpmf(counts, concentration * shares, counts.sum())
    reference -= stats.multinomial.logpmf(counts, counts.sum(), shares)
    assert result.log_bayes_factors[0] == pytest.approx(reference, rel=1e-6, abs=1e-6)


@given(nights, st.permutations(["control", "treatment"]), st.floats(0.01, 100))
def test_order_of_variants_and_scale_of_weights_do_not_matter(increments, names, scale):
    plain = sequential_sample_ratio_test(increments, {"control": 1, "treatment": 3})
    mixed = [{name: night[name] for name in names} for night in increments]
    other = sequential_sample_ratio_test(mixed, {"treatment": 3 * scale, "control": scale})
    assert other.log_bayes_factors == pytest.approx(plain.log_bayes_factors, rel=1e-7, abs=1e-7)


@given(nights)
def test_pvalues_never_rise_and_do_not_depend_on_the_days_within(increments):
    result = sequential_sample_ratio_test(increments, EVEN)
    assert all(later <= earlier for earlier, later in zip(result.pvalues, result.pvalues[1:], strict=False))
    at_once = {name: sum(night[name] for night in increments) for name in EVEN}
    whole = sequential_sample_ratio_test([at_once], EVEN)
    assert whole.log_bayes_factors[0] == pytest.approx(result.log_bayes_factors[-1], rel=1e-9, abs=1e-9)


def test_a_gross_mismatch_is_infinite_odds_and_no_overflow():
    result = sequential_sample_ratio_test([{"control": 515_000, "treatment": 15_000}], EVEN)
    assert result.bayes_factors == (math.inf,) and result.log_bayes_factors[0] > 1e4
    assert result.pvalues[0] < 1e-300


@pytest.mark.parametrize(
    ("increments", "weights", "options", "message"),
    [
        ([], EVEN, {}, "nightly is empty"),
        ([{"control": 1}], EVEN, {}, "same keys"),
        ([{"control": 1, "treatment": -1}], EVEN, {}, "is -1"),
        ([{"control": 0, "treatment": 0}], EVEN, {}, "observed is 0 in every variant"),
        ([{"control": 1, "treatment": 1}], {"control": 0, "treatment": 1}, {}, "is 0; it must be a positive"),
        ([{"control": 1, "treatment": 1}], EVEN, {"concentration": 0}, "concentration is 0"),
    ],
)
def test_what_cannot_be_is_refused(increments, weights, options, message):
    with pytest.raises(ValueError, match=message):
        sequential_sample_ratio_test(increments, weights, **options)


@pytest.mark.slow
def test_a_healthy_split_read_every_night_rarely_raises_the_alarm():
    rng = np.random.default_rng(13)
    alarms = 0
    for _ in range(1_000):
        control = rng.binomial(500, 0.5, 28)
        increments = [{"control": int(c), "treatment": 500 - int(c)} for c in control]
        alarms += sequential_sample_ratio_test(increments, EVEN, concentration=1_000).pvalues[-1] < 0.05
    # The bound is for reading without end; 28 nights use part of it.
    assert 0.002 < alarms / 1_000 < 0.05


@pytest.mark.parametrize("bad", [-1, 1.5, float("nan")])
def test_count_of_a_later_night_that_cannot_be_is_named(bad):
    nights = [{"control": 5, "treatment": 5}, {"control": 5, "treatment": bad}]
    with pytest.raises(ValueError, match=rf"^nightly\['treatment'\] is {bad}; it must be a whole number of units"):
        sequential_sample_ratio_test(nights, {"control": 1, "treatment": 1})


def test_concentration_is_ten_thousand_where_none_is_named():
    nights, weights = [{"control": 700, "treatment": 600}], {"control": 1, "treatment": 1}
    found = sequential_sample_ratio_test(nights, weights)
    assert found == sequential_sample_ratio_test(nights, weights, concentration=10_000.0)
    assert found.concentration == 10_000
    assert found != sequential_sample_ratio_test(nights, weights, concentration=10_001.0)
