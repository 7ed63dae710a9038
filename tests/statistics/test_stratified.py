from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import StratifiedTable

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.stratified import cochran_mantel_haenszel_test, mantel_haenszel_difference

STRATA = [(155, 5_000, 190, 5_000), (101, 2_000, 95, 2_000), (28, 1_000, 40, 1_000)]
stratum = st.tuples(st.integers(4, 500), st.integers(4, 500)).flatmap(
    lambda n: st.tuples(st.integers(1, n[0] - 1), st.just(n[0]), st.integers(1, n[1] - 1), st.just(n[1]))
)


def test_test_and_odds_ratio_match_r():
    # R 4.2.2: mantelhaen.test(table, correct = FALSE).
    result = cochran_mantel_haenszel_test(STRATA)
    assert (result.statistic, result.pvalue) == pytest.approx((2.87205948440195, 0.0901294677748358), rel=1e-10)
    assert result.odds_ratio == pytest.approx(1.15062869109178, rel=1e-10)
    assert result.interval == pytest.approx((0.978160609576908, 1.35350613365656), rel=1e-9)


def test_difference_matches_metafor():
    # metafor 3.8.1: rma.mh(measure = "RD").
    result = mantel_haenszel_difference(STRATA)
    assert (result.effect, result.standard_error) == pytest.approx((0.005125, 0.00302379850880891), rel=1e-9)
    assert result.interval == pytest.approx((-0.000801536173771388, 0.0110515361737714), rel=1e-8)


@given(st.lists(stratum, min_size=1, max_size=5))
def test_any_strata_match_statsmodels(strata):
    tables = StratifiedTable([np.array([[xt, nt - xt], [xc, nc - xc]], dtype=float) for xc, nc, xt, nt in strata])
    result, reference = cochran_mantel_haenszel_test(strata), tables.test_null_odds(correction=False)
    assert result.statistic == pytest.approx(reference.statistic, rel=1e-7, abs=1e-10)
    assert result.odds_ratio == pytest.approx(tables.oddsratio_pooled, rel=1e-9)
    assert result.interval == pytest.approx(tables.oddsratio_pooled_confint(), rel=1e-7)


@given(stratum)
def test_one_stratum_has_the_plain_difference_and_its_wald_error(counts):
    xc, nc, xt, nt = counts
    pc, pt = xc / nc, xt / nt
    result = mantel_haenszel_difference([counts])
    assert result.effect == pytest.approx(pt - pc, abs=1e-12)
    if nc == nt:
        assert result.standard_error == pytest.approx(np.sqrt(pt * (1 - pt) / nt + pc * (1 - pc) / nc))


def test_empty_strata_and_missing_variants():
    assert mantel_haenszel_difference([*STRATA, (0, 0, 5, 9), (0, 0, 0, 0)]) == mantel_haenszel_difference(STRATA)
    assert mantel_haenszel_difference([(0, 0, 5, 9)]) == NotComputed("no stratum has units of both variants")
    assert isinstance(mantel_haenszel_difference([(0, 9, 0, 9)]), NotComputed)
    assert isinstance(cochran_mantel_haenszel_test([(0, 9, 0, 9)]), NotComputed)
    assert isinstance(cochran_mantel_haenszel_test([]), NotComputed)
    assert isinstance(cochran_mantel_haenszel_test([(0, 9, 4, 9)]).odds_ratio, NotComputed)


@pytest.mark.parametrize(
    ("strata", "message"), [([(5, 4, 1, 4)], r"strata\[0\] successes_control is 5"), ([(1, 4)], "four")]
)
def test_what_cannot_be_is_refused(strata, message):
    with pytest.raises(ValueError, match=message):
        cochran_mantel_haenszel_test(strata)


def test_pairs_are_mcnemars_test():
    # One unit of each variant in a stratum: six pairs for the treatment, two against it, seven that agree.
    pairs = [(0, 1, 1, 1)] * 6 + [(1, 1, 0, 1)] * 2 + [(1, 1, 1, 1)] * 3 + [(0, 1, 0, 1)] * 4
    for strata in (pairs, [*pairs, (0, 0, 0, 0), (2, 5, 0, 0), (0, 0, 1, 1), (0, 1, 0, 0)]):
        test = cochran_mantel_haenszel_test(strata)
        assert (test.statistic, test.odds_ratio) == pytest.approx(((6 - 2) ** 2 / (6 + 2), 6 / 2), rel=1e-12)
        assert mantel_haenszel_difference(strata).effect == pytest.approx(4 / 15, rel=1e-12)


def test_confidence_is_that_of_alpha():
    strata = [(155, 5_000, 190, 5_000), (101, 2_000, 95, 2_000)]
    for function in (cochran_mantel_haenszel_test, mantel_haenszel_difference):
        assert function(strata, alpha=0.2).confidence_level == 0.8
        assert function(strata) == function(strata, alpha=0.05)


def test_strata_that_say_nothing_say_why():
    reason = NotComputed("in every stratum nobody or everybody has the outcome, or a variant has no units")
    for strata in ([], [(0, 5, 0, 5)], [(2, 5, 0, 0)]):
        assert cochran_mantel_haenszel_test(strata) == reason
    for strata in ([], [(2, 5, 0, 0)], [(0, 0, 2, 5)]):
        assert mantel_haenszel_difference(strata) == NotComputed("no stratum has units of both variants")
    everybody = NotComputed("in every stratum nobody or everybody has the outcome")
    assert mantel_haenszel_difference([(0, 5, 0, 5), (5, 5, 5, 5)]) == everybody
    no_ratio = NotComputed("in no stratum are there both successes and failures to compare")
    for strata in ([(0, 5, 3, 5)], [(3, 5, 0, 5)]):
        test = cochran_mantel_haenszel_test(strata)
        assert test.odds_ratio == test.interval == no_ratio
        assert 0 < test.pvalue < 1


def test_count_that_cannot_be_is_named_with_its_stratum():
    for bad, name in (((5, 4, 1, 4), "control"), ((1, 4, 5, 4), "treatment")):
        with pytest.raises(ValueError, match=rf"^strata\[1\] successes_{name} is 5; .* and n_{name} \(4\)\.$"):
            cochran_mantel_haenszel_test([(1, 4, 1, 4), bad])
    for bad, name in (((1, 2.5, 1, 4), "control"), ((1, 4, 1, 2.5), "treatment")):
        with pytest.raises(ValueError, match=rf"^n_{name} is 2\.5; "):
            mantel_haenszel_difference([bad])
