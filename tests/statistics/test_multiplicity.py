from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from abtest_lib.statistics.multiplicity import benjamini_hochberg, bonferroni, bonferroni_alpha, hochberg, holm

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

ADJUSTMENTS = {bonferroni: "bonferroni", holm: "holm", hochberg: "simes-hochberg", benjamini_hochberg: "fdr_bh"}
PVALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)

# R 4.2: p <- c(0.0001, 0.012, 0.0121, 0.02, 0.041, 0.049, 0.3, 0.9); p.adjust(p, method). Printed to 4-6 digits.
P = [0.0001, 0.012, 0.0121, 0.02, 0.041, 0.049, 0.3, 0.9]
R = {
    bonferroni: [0.0008, 0.096, 0.0968, 0.16, 0.328, 0.392, 1.0, 1.0],
    holm: [0.0008, 0.084, 0.084, 0.1, 0.164, 0.164, 0.6, 0.9],
    hochberg: [0.0008, 0.0726, 0.0726, 0.1, 0.147, 0.147, 0.6, 0.9],
    benjamini_hochberg: [0.0008, 0.0322667, 0.0322667, 0.04, 0.0653333, 0.0653333, 0.3428571, 0.9],
}


@pytest.fixture(scope="module", autouse=True)
def _small_heap():
    # Statsmodels' Holm collects garbage at every call; over the heap of a whole test run that takes 0.2 s each time.
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("adjust", R, ids=lambda adjust: adjust.__name__)
def test_adjusted_pvalues_match_published_ones(adjust):
    assert adjust(P) == pytest.approx(R[adjust], abs=1e-7)


@pytest.mark.parametrize("adjust", ADJUSTMENTS, ids=lambda adjust: adjust.__name__)
@given(pvalues=PVALUES)
def test_adjusted_pvalues_match_statsmodels(adjust, pvalues):
    assert adjust(pvalues) == pytest.approx(multipletests(pvalues, method=ADJUSTMENTS[adjust])[1], abs=1e-12)


@pytest.mark.parametrize("adjust", ADJUSTMENTS, ids=lambda adjust: adjust.__name__)
@given(pvalues=PVALUES, more=st.integers(0, 5))
def test_adjusting_raises_and_keeps_the_order(adjust, pvalues, more):
    adjusted = np.array(adjust(pvalues, family_size=len(pvalues) + more))
    assert np.all(adjusted >= np.array(pvalues) * (1 - 1e-15))
    assert np.all(adjusted <= 1)
    assert np.all(np.diff(adjusted[np.argsort(pvalues, kind="stable")]) >= 0)


@pytest.mark.parametrize("adjust", ADJUSTMENTS, ids=lambda adjust: adjust.__name__)
@given(pvalues=PVALUES, more=st.integers(0, 5))
def test_tests_that_could_not_be_computed_count_as_p_of_one(adjust, pvalues, more):
    whole = adjust([*pvalues, *[1.0] * more])[: len(pvalues)]
    assert adjust(pvalues, family_size=len(pvalues) + more) == pytest.approx(whole, abs=1e-12)


@given(PVALUES)
def test_holm_hochberg_and_discovery_rate_are_ordered(pvalues):
    steps = [adjust(pvalues) for adjust in (bonferroni, holm, hochberg, benjamini_hochberg)]
    for wide, narrow in itertools.pairwise(steps):
        assert np.all(np.array(narrow) <= np.array(wide) + 1e-12)


@given(st.floats(0.0001, 0.5), st.integers(1, 50), st.floats(0, 1))
def test_adjusted_pvalue_is_below_alpha_when_the_raw_one_is_below_its_share(alpha, size, pvalue):
    share = bonferroni_alpha(alpha, size)
    if abs(pvalue - share) > 1e-12:
        assert (bonferroni([pvalue], size)[0] < alpha) == (pvalue < share)


@pytest.mark.parametrize("pvalues", [[1.2], [-0.1], [float("nan")], [[0.1]]])
def test_what_is_no_pvalue_is_refused(pvalues):
    with pytest.raises(ValueError, match="pvalues is"):
        holm(pvalues)


def test_family_smaller_than_its_tests_is_refused():
    with pytest.raises(ValueError, match="family_size is 1"):
        bonferroni([0.1, 0.2], family_size=1)
    with pytest.raises(ValueError, match="family_size is 0"):
        bonferroni_alpha(0.05, 0)
    with pytest.raises(ValueError, match="alpha is 2"):
        bonferroni_alpha(2, 3)


@pytest.mark.slow
def test_family_of_true_hypotheses_is_rarely_called():
    # Independent tests are the worst case of Bonferroni and of Holm: 1 - (1 - 0.05 / 6) ** 6 = 0.049.
    families = np.random.default_rng(11).random((20_000, 6))
    called = np.mean([min(holm(list(family))) < 0.05 for family in families])
    assert called == pytest.approx(1 - (1 - 0.05 / 6) ** 6, abs=4 * np.sqrt(0.049 * 0.951 / 20_000))


@pytest.mark.slow
def test_share_of_false_discoveries_is_held():
    rng = np.random.default_rng(12)
    false_share = []
    for _ in range(3_000):
        pvalues = np.concatenate([rng.random(15), rng.random(5) ** 8])
        found = np.array(benjamini_hochberg(list(pvalues))) < 0.1
        false_share.append(found[:15].sum() / max(found.sum(), 1))
    # 15 of 20 hypotheses are true, so the procedure holds 0.75 * 0.1.
    assert np.mean(false_share) == pytest.approx(0.075, abs=4 * np.std(false_share) / np.sqrt(3_000))
