from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.exact import clopper_pearson_interval, fisher_pvalue

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

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
    assert fisher_pvalue(*table, alternative=alternative) == pytest.approx(reference, rel=1e-8)


@given(tables)
def test_swapping_variants_keeps_fishers_pvalue(table):
    xc, nc, xt, nt = table
    assert fisher_pvalue(xt, nt, xc, nc) == pytest.approx(fisher_pvalue(*table), rel=1e-9)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_interval_matches_scipy(pair):
    x, n = pair
    reference = stats.binomtest(x, n).proportion_ci(method="exact")
    assert clopper_pearson_interval(x, n) == pytest.approx((reference.low, reference.high), rel=1e-8, abs=1e-12)


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
        (lambda: clopper_pearson_interval(0, 0), "n is 0"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
