from __future__ import annotations

import numpy as np
import pytest
from benchmark_rates import broken_rates
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.exact import clopper_pearson_interval, continuity_corrected_test, fisher_pvalue

tables = st.tuples(st.integers(1, 60), st.integers(1, 60)).flatmap(
    lambda n: st.tuples(st.integers(0, n[0]), st.just(n[0]), st.integers(0, n[1]), st.just(n[1]))
)


def test_fisher_matches_r():
    # R 4.2.2: fisher.test(rbind(c(56, 14), c(48, 32))).
    assert fisher_pvalue(56, 70, 48, 80) == pytest.approx(0.0125211297492092, rel=1e-10)


@given(tables, st.sampled_from(["two-sided", "greater", "less"]))
def test_fisher_matches_scipy(table, alternative):
    xc, nc, xt, nt = table
    reference = stats.fisher_exact([[xt, nt - xt], [xc, nc - xc]], alternative=alternative).pvalue
    assert fisher_pvalue(*table, alternative=alternative) == pytest.approx(reference, rel=1e-8, abs=0)


@given(tables)
def test_swapping_variants_keeps_fishers_pvalue(table):
    xc, nc, xt, nt = table
    assert fisher_pvalue(xt, nt, xc, nc) == pytest.approx(fisher_pvalue(*table), rel=1e-9, abs=0)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_interval_matches_scipy(pair):
    x, n = pair
    reference = stats.binomtest(x, n).proportion_ci(method="exact")
    assert clopper_pearson_interval(x, n) == pytest.approx((reference.low, reference.high), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(
    ("table", "statistic", "pvalue"),
    [
        ((155, 5_000, 190, 5_000), 3.47045534715811, 0.0624741108837994),
        ((3, 10_000, 12, 10_000), 4.26986906846802, 0.0387939195772646),
        ((0, 20, 5, 20), 3.65714285714286, 0.05582929463924),
    ],
)
def test_continuity_correction_matches_r(table, statistic, pvalue):
    # R 4.2.2: prop.test(c(x_treatment, x_control), c(n_treatment, n_control), correct = TRUE).
    assert continuity_corrected_test(*table) == pytest.approx((statistic, pvalue), rel=1e-10)


@given(tables)
def test_continuity_correction_matches_scipy_and_is_never_below_the_plain_test(table):
    xc, nc, xt, nt = table
    if xc + xt in (0, nc + nt):
        assert isinstance(continuity_corrected_test(*table), NotComputed)
        return
    rows = [[xc, nc - xc], [xt, nt - xt]]
    reference = stats.chi2_contingency(rows, correction=True)
    got = continuity_corrected_test(*table)
    assert got == pytest.approx((reference.statistic, reference.pvalue), rel=1e-8, abs=1e-12)
    assert got[1] >= stats.chi2_contingency(rows, correction=False).pvalue - 1e-12


def test_exact_interval_broadcasts():
    # R 4.2.2: binom.test(0, 20), binom.test(1, 29).
    low, high = clopper_pearson_interval([0, 1], [20, 29])
    assert low == pytest.approx([0, 0.000872646883579923], rel=1e-9)
    assert high == pytest.approx([0.168433470983085, 0.177644295488723], rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fisher_pvalue(5, 4, 1, 4), "successes_control is 5"),
        (lambda: fisher_pvalue(0, 0, 1, 4), "n_control is 0"),
        (lambda: fisher_pvalue(0, 2, 1, 4, alternative="more"), "alternative is 'more'"),
        (lambda: continuity_corrected_test(0, 2, 0, 0), "n_treatment is 0"),
        (lambda: clopper_pearson_interval(0, 0), "n is 0"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(st.integers(1, 60), st.floats(0.001, 0.999))
def test_exact_interval_covers_at_least_as_often_as_promised(n, share):
    outcomes = np.arange(n + 1)
    low, high = clopper_pearson_interval(outcomes, n)
    probability = stats.binom.pmf(outcomes, n, share)
    assert probability[(low <= share) & (share <= high)].sum() >= 0.95 - 1e-9
    for alternative in ("greater", "less"):
        low, high = clopper_pearson_interval(outcomes, n, alternative=alternative)
        assert probability[(low <= share) & (share <= high)].sum() >= 0.95 - 1e-9


@pytest.mark.parametrize(("n_control", "n_treatment"), [(12, 12), (20, 5)])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_fisher_never_errs_more_often_than_promised(n_control, n_treatment, share):
    # Every outcome with its probability.
    error = sum(
        stats.binom.pmf(xc, n_control, share) * stats.binom.pmf(xt, n_treatment, share)
        for xc in range(n_control + 1)
        for xt in range(n_treatment + 1)
        if fisher_pvalue(xc, n_control, xt, n_treatment) < 0.05
    )
    assert error <= 0.05


@pytest.mark.slow
def test_promised_error_rates_are_held():
    assert broken_rates("error_rates_intervals", "single_shares", seed=35, repetitions=20_000) == []


@pytest.mark.parametrize("alternative", ["greater", "less"])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_one_sided_exact_interval_matches_scipy(alternative, alpha):
    for x, n in ((0, 9), (4, 9), (9, 9)):
        result = stats.binomtest(x, n, alternative=alternative).proportion_ci(1 - alpha, method="exact")
        low, high = clopper_pearson_interval(x, n, alpha=alpha, alternative=alternative)
        want = (result.low, np.inf) if alternative == "greater" else (-np.inf, result.high)
        assert (low, high) == pytest.approx(want, rel=1e-9)


def test_counts_that_cannot_be_are_refused_by_name():
    with pytest.raises(ValueError, match=r"^successes is 5; .* and n \(4\)\.$"):
        clopper_pearson_interval(5, 4)
    with pytest.raises(ValueError, match=r"^n is 2\.5; "):
        clopper_pearson_interval(1, 2.5)
    for call in (fisher_pvalue, continuity_corrected_test):
        with pytest.raises(ValueError, match=r"^successes_control is 5; .* and n_control \(4\)\.$"):
            call(5, 4, 1, 4)
        with pytest.raises(ValueError, match=r"^n_treatment is 2\.5; "):
            call(1, 4, 1, 2.5)


@pytest.mark.parametrize(("successes", "word"), [(0, "no"), (1, "every")])
def test_table_without_variation_has_no_corrected_test(successes, word):
    reason = f"{word} unit of control and treatment has the outcome, so nothing varies"
    assert continuity_corrected_test(9 * successes, 9, 7 * successes, 7) == NotComputed(reason)
