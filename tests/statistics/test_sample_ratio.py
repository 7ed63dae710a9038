from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaincc

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.sample_ratio import (
    alarm_level,
    exact_sample_ratio_pvalue,
    sample_ratio_pvalue,
    sample_ratio_test,
)


def test_statistic_matches_r():
    # R 4.2.2: chisq.test(c(821588, 815482), p = c(.5, .5)); Kohavi, Tang, Xu (2020), Trustworthy Online Controlled
    # Experiments, p. 45 prints p = 1.8e-6. Fifteen digits printed, hence 1e-12.
    result = sample_ratio_test({"control": 821_588, "treatment": 815_482}, {"control": 1, "treatment": 1})
    assert result.statistic == pytest.approx(22.7743688418944, rel=1e-12)
    assert result.pvalue == pytest.approx(1.82179287261919e-06, rel=1e-12)
    assert result.df == 1


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 9)), min_size=2, max_size=6))
def test_any_number_of_variants_matches_scipy(arms):
    observed = {f"variant_{i}": count for i, (count, _) in enumerate(arms)}
    weights = {f"variant_{i}": weight for i, (_, weight) in enumerate(arms)}
    if sum(observed.values()) == 0:
        return
    result = sample_ratio_test(observed, weights)
    reference = stats.chisquare(list(observed.values()), list(result.expected.values()))
    assert result.statistic == pytest.approx(reference.statistic, rel=1e-9, abs=1e-12)
    assert result.pvalue == pytest.approx(reference.pvalue, rel=1e-7, abs=1e-300)
    assert sum(result.expected.values()) == pytest.approx(sum(observed.values()))


@given(st.permutations(["control", "red", "blue"]), st.floats(0.001, 1000))
def test_order_of_variants_and_scale_of_weights_do_not_matter(names, scale):
    observed = {"control": 1_034, "red": 968, "blue": 998}
    weights = {"control": 2, "red": 1, "blue": 1}
    plain = sample_ratio_test(observed, weights)
    other = sample_ratio_test({n: observed[n] for n in names}, {n: weights[n] * scale for n in reversed(names)})
    assert other.statistic == pytest.approx(plain.statistic, rel=1e-9)


def test_pvalue_of_a_gross_mismatch_is_small_and_not_lost():
    # mpmath-free check: chi-squared with 1 df is a squared normal, so p = erfc(sqrt(x / 2)); x = 900 gives 1.0e-197.
    result = sample_ratio_test({"control": 515_000, "treatment": 485_000}, {"control": 1, "treatment": 1})
    assert result.statistic == pytest.approx(900)
    assert result.pvalue == pytest.approx(2 * stats.norm.sf(30), rel=1e-9, abs=0)


@pytest.mark.parametrize(
    ("observed", "weights", "message"),
    [
        ({"a": 1, "b": 1}, {"a": 1, "c": 1}, "same keys"),
        ({"a": 1}, {"a": 1}, "needs at least 2"),
        ({"a": 1, "b": 1}, {"a": 1, "b": 0}, r"weights\['b'\] is 0"),
        ({"a": 1, "b": 1}, {"a": 1, "b": float("nan")}, r"weights\['b'\] is nan"),
        ({"a": -1, "b": 1}, {"a": 1, "b": 1}, r"observed\['a'\] is -1"),
        ({"a": 1.5, "b": 1}, {"a": 1, "b": 1}, r"observed\['a'\] is 1.5"),
        ({"a": 0, "b": 0}, {"a": 1, "b": 1}, "no units is no evidence"),
    ],
)
def test_what_cannot_be_tested_is_refused(observed, weights, message):
    with pytest.raises(ValueError, match=message):
        sample_ratio_test(observed, weights)


@pytest.mark.parametrize(("reads", "level"), [(0, 0.01), (10, 0.0), (10, 1.0)])
def test_alarm_level_needs_reads_and_a_rate(reads, level):
    with pytest.raises(ValueError, match=r"planned_reads is|false_alarm is"):
        alarm_level(reads, level)


@pytest.mark.slow
@pytest.mark.parametrize("nights", [7, 28])
def test_healthy_experiment_raises_a_false_alarm_in_at_most_one_percent(nights):
    repetitions = 40_000
    rng = np.random.default_rng(28)
    units = np.cumsum(rng.multinomial(3_000, [0.5, 0.25, 0.25], (repetitions, nights)), axis=1)
    expected = 3_000 * np.arange(1, nights + 1)[:, None] * np.array([0.5, 0.25, 0.25])
    pvalue = gammaincc(1, np.sum((units - expected) ** 2 / expected, axis=2) / 2)
    sampled = sample_ratio_test(dict(enumerate(units[0, -1].tolist())), {0: 2, 1: 1, 2: 1})
    assert sampled.pvalue == pytest.approx(pvalue[0, -1], rel=1e-9)
    assert np.mean(np.any(pvalue < alarm_level(nights), axis=1)) <= 0.01 + 4 * np.sqrt(0.01 * 0.99 / repetitions)


@pytest.mark.slow
def test_repeated_two_arm_rate_matches_numerical_integration():
    # Independent numerical integration (equal nightly increments): 0.0005 read on 28 nights alarms in 0.0049585.
    repetitions = 100_000
    rng = np.random.default_rng(29)
    paths = np.cumsum(rng.standard_normal((repetitions, 28)), axis=1) / np.sqrt(np.arange(1, 29))
    rate = np.mean(np.any(gammaincc(0.5, paths**2 / 2) < 0.0005, axis=1))
    assert rate == pytest.approx(0.0049585, abs=4 * np.sqrt(0.005 / repetitions))


def test_exact_pvalue_matches_r():
    # R 4.2.2: binom.test(11, 15).
    got = exact_sample_ratio_pvalue({"control": 11, "treatment": 4}, {"control": 1, "treatment": 1})
    assert got == pytest.approx(0.11846923828125, rel=1e-12)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 9))
def test_exact_pvalue_of_two_variants_matches_scipy(control, treatment, weight):
    if control + treatment:
        got = exact_sample_ratio_pvalue({"a": control, "b": treatment}, {"a": weight, "b": 10 - weight})
        reference = stats.binomtest(control, control + treatment, weight / 10).pvalue
        assert got == pytest.approx(reference, rel=1e-7, abs=0)


@given(st.lists(st.integers(0, 6), min_size=3, max_size=3))
def test_exact_pvalue_of_three_variants_sums_what_is_no_more_likely(counts):
    n, shares = sum(counts), [0.5, 0.3, 0.2]
    if n:
        every = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
        probability = stats.multinomial.pmf(every, n, shares)
        observed = stats.multinomial.pmf(counts, n, shares)
        got = exact_sample_ratio_pvalue(dict(zip("abc", counts, strict=True)), dict(zip("abc", shares, strict=True)))
        assert got == pytest.approx(probability[probability <= observed * (1 + 1e-7)].sum(), rel=1e-8)


def test_exact_pvalue_of_too_many_splits_says_why():
    got = exact_sample_ratio_pvalue(dict.fromkeys("abcd", 1_000), dict.fromkeys("abcd", 1))
    assert isinstance(got, NotComputed) and "possible splits" in got.reason


@pytest.mark.parametrize(("observed", "splits"), [((500_000, 500_000), "1,000,001"), ((471, 471, 471), "1,000,405")])
def test_exact_test_lists_up_to_a_million_splits(observed, splits):
    # n units fall into two variants in n + 1 ways, into three in (n + 1)(n + 2) / 2: 1,415 * 1,414 / 2 for 1,413 units.
    counts = {str(place): count for place, count in enumerate(observed)}
    weights = dict.fromkeys(counts, 1)
    found = exact_sample_ratio_pvalue(counts, weights)
    assert isinstance(found, NotComputed)
    assert splits in found.reason
    # One unit less: exactly a million splits, or 998,991. A split as even as it can be is the likeliest of all.
    assert exact_sample_ratio_pvalue(counts | {"0": observed[0] - 1}, weights) == pytest.approx(1)


def test_alarm_level_of_one_read_is_the_false_alarm_itself():
    assert alarm_level(planned_reads=1, false_alarm=0.02) == 0.02
    assert alarm_level(planned_reads=3, false_alarm=0.03) == pytest.approx(0.01)


@pytest.mark.parametrize(("control", "treatment"), [(46, 4), (50, 0), (480, 14), (20, 2)])
def test_few_expected_units_take_the_exact_binomial_test(control, treatment):
    observed = {"control": control, "treatment": treatment}
    want = stats.binomtest(treatment, control + treatment, 0.01).pvalue
    assert sample_ratio_pvalue(observed, {"control": 99, "treatment": 1}) == pytest.approx(want, rel=1e-9)


def test_enough_expected_units_take_the_chi_squared_test():
    observed, weights = {"control": 480, "treatment": 20}, {"control": 99, "treatment": 1}
    assert sample_ratio_pvalue(observed, weights) == sample_ratio_test(observed, weights).pvalue


def test_too_many_splits_take_each_variant_against_the_others():
    # Four variants of 300 units have 4.6 million splits.
    observed = {"control": 285, "a": 9, "b": 3, "c": 3}
    want = 4 * stats.binomtest(9, 300, 0.01).pvalue
    assert sample_ratio_pvalue(observed, {"control": 97, "a": 1, "b": 1, "c": 1}) == pytest.approx(want, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("per_night", "share"), [(20, 0.01), (50, 0.01), (20, 0.05)])
def test_healthy_split_of_few_units_is_hardly_ever_stopped(per_night, share):
    """At most 1 % over 28 nights; Pearson's test alone stops 0.032 of the first of these."""
    rng = np.random.default_rng(20260301)
    level, weights = alarm_level(28), {"control": 1 - share, "treatment": share}
    counts = rng.binomial(per_night, share, (2_000, 28)).cumsum(axis=1)
    nights = per_night * np.arange(1, 29)

    @cache
    def alarm(treatment, units):
        return sample_ratio_pvalue({"control": units - treatment, "treatment": treatment}, weights) < level

    stopped = sum(any(alarm(*at) for at in zip(row.tolist(), nights.tolist(), strict=True)) for row in counts)
    assert stopped <= 0.01 * 2_000


def test_too_many_units_for_any_exact_test_leave_the_chi_squared():
    observed, weights = {"a": 20_000_000, "b": 20_000_100, "c": 9}, {"a": 1, "b": 1, "c": 1e-7}
    expected = [sum(observed.values()) * weight / 2.0000001 for weight in weights.values()]
    assert min(expected) < 5
    statistic = sum((seen - due) ** 2 / due for seen, due in zip(observed.values(), expected, strict=True))
    assert sample_ratio_pvalue(observed, weights) == pytest.approx(stats.chi2.sf(statistic, 2), rel=1e-6, abs=0)
