from __future__ import annotations

import gc
import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from abtest_lib.statistics.multiplicity import (
    benjamini_hochberg,
    benjamini_yekutieli,
    bonferroni,
    bonferroni_alpha,
    hochberg,
    holm,
    hommel,
)

ADJUSTMENTS = {
    bonferroni: "bonferroni",
    holm: "holm",
    hochberg: "simes-hochberg",
    hommel: "hommel",
    benjamini_hochberg: "fdr_bh",
    benjamini_yekutieli: "fdr_by",
}
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


def simes_closure(pvalues: list[float]) -> list[float]:
    """Hommel's procedure by its definition: the largest of Simes' p-values of all sets that hold a hypothesis."""
    members = range(len(pvalues))
    simes = {
        chosen: min(len(chosen) * p / (rank + 1) for rank, p in enumerate(sorted(pvalues[i] for i in chosen)))
        for count in range(1, len(pvalues) + 1)
        for chosen in itertools.combinations(members, count)
    }
    return [max(value for chosen, value in simes.items() if i in chosen) for i in members]


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_hommel_is_the_closure_of_simes_tests(pvalues):
    assert hommel(pvalues) == pytest.approx(simes_closure(pvalues), abs=1e-12)


@given(PVALUES)
def test_benjamini_yekutieli_is_benjamini_hochberg_times_the_harmonic_number(pvalues):
    # As exact fractions, and by the definition: p-values below q rank / (m c(m)) for some rank at or above their own.
    size = len(pvalues)
    price = sum(Fraction(1, k) for k in range(1, size + 1))
    ordered = sorted(Fraction(p) for p in pvalues)
    steps = [ordered[k] * size * price / (k + 1) for k in range(size)]
    expected = [
        float(min(1, *[s for s, o in zip(steps, ordered, strict=True) if o >= p])) for p in map(Fraction, pvalues)
    ]
    assert benjamini_yekutieli(pvalues) == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("adjust", ADJUSTMENTS, ids=lambda adjust: adjust.__name__)
def test_many_families_at_once_get_what_each_gets_alone(adjust):
    families = np.random.default_rng(5).random((30, 4, 6)) ** 3
    together = adjust(families, family_size=8)
    assert together.shape == families.shape
    for place in np.ndindex(30, 4):
        assert together[place] == pytest.approx(adjust(families[place].tolist(), family_size=8), rel=1e-12, abs=0)


@pytest.mark.parametrize("adjust", ADJUSTMENTS, ids=lambda adjust: adjust.__name__)
def test_tiny_pvalues_are_not_lost(adjust):
    # Ten hypotheses, one of them at 1e-300: times ten, or times ten and c(10) = 7381 / 2520.
    factor = 10 * 7381 / 2520 if adjust is benjamini_yekutieli else 10
    assert adjust([1e-300] + [0.9] * 9)[0] == pytest.approx(factor * 1e-300, rel=1e-12, abs=0)


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
    steps = [adjust(pvalues) for adjust in (bonferroni, holm, hochberg, hommel, benjamini_hochberg)]
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


@pytest.mark.parametrize("adjust", ADJUSTMENTS, ids=lambda adjust: adjust.__name__)
def test_array_of_one_family_gives_what_its_list_gives(adjust):
    assert adjust(np.array(P)).tolist() == adjust(P)
    assert adjust([]) == adjust(np.empty(0)).tolist() == adjust([], family_size=3) == []
    assert isinstance(adjust(np.empty(0)), np.ndarray)
    # Whole numbers are p-values as well, and what is made of them is a float.
    assert [type(value) for value in adjust([0, 1])] == [float, float]
    assert adjust(np.array([0, 1])).dtype == float


def test_level_of_a_family_that_cannot_be_is_refused():
    for bad in (0, 1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=rf"^alpha is {bad}; "):
            bonferroni_alpha(bad, 3)
    assert bonferroni_alpha(0.3, 1) == 0.3


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
