from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.meta_analysis import combine_effects

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.heterogeneity import heterogeneity_test, random_effects, shrunken_effects

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

EFFECTS, ERRORS = [0.012, -0.004, 0.02, 0.001, 0.015], [0.008, 0.006, 0.01, 0.004, 0.012]
segments = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.05, 3)), min_size=2, max_size=8)


def test_q_and_i_squared_match_metafor():
    # metafor 3.8.1: rma(yi, sei = sei, method = "FE").
    result = heterogeneity_test(EFFECTS, ERRORS)
    assert result.statistic == pytest.approx(6.72153916211293, rel=1e-10)
    assert result.pvalue == pytest.approx(0.151355935103741, rel=1e-10)
    assert result.i_squared == pytest.approx(0.404898208055283, rel=1e-10)
    assert (result.pooled_effect, result.standard_error) == pytest.approx((0.00360655737704918, 0.00285310220619285))


def test_shrunken_effects_match_metafor():
    # metafor 3.8.1: blup(rma(yi, sei = sei, method = "DL")).
    result = shrunken_effects([0.031, -0.028, 0.012, 0.004], [0.009, 0.008, 0.007, 0.01])
    expected = [0.0275891232362349, -0.0245730431075649, 0.0113920498986876, 0.0040970533156557]
    assert result.effects == pytest.approx(expected, rel=1e-7)


@given(segments)
def test_centre_and_spread_match_statsmodels(pairs):
    effects, errors = zip(*pairs, strict=True)
    # It divides by zero where segments agree too well.
    with np.errstate(all="ignore"):
        reference = combine_effects(np.array(effects), np.square(errors), method_re="dl")
    fixed, spread = heterogeneity_test(effects, errors), random_effects(effects, errors)
    assert fixed.statistic == pytest.approx(reference.q, rel=1e-6, abs=1e-9)
    assert fixed.pooled_effect == pytest.approx(reference.mean_effect_fe, rel=1e-8, abs=1e-10)
    if reference.tau2 > 0:
        assert spread.tau_squared == pytest.approx(reference.tau2, rel=1e-6, abs=1e-9)
        assert spread.pooled_effect == pytest.approx(reference.mean_effect_re, rel=1e-6, abs=1e-9)
    else:
        assert spread.tau_squared == pytest.approx(0, abs=1e-12)


@given(segments)
def test_shrunken_effects_lie_between_their_own_and_the_centre(pairs):
    effects, errors = zip(*pairs, strict=True)
    centre = random_effects(effects, errors).pooled_effect
    for own, shrunken in zip(effects, shrunken_effects(effects, errors).effects, strict=True):
        assert min(own, centre) - 1e-9 <= shrunken <= max(own, centre) + 1e-9


@given(segments, st.floats(0.01, 100), st.floats(-5, 5))
def test_unit_and_origin_do_not_matter(pairs, scale, shift):
    effects, errors = (np.array(column) for column in zip(*pairs, strict=True))
    plain, other = heterogeneity_test(effects, errors), heterogeneity_test(scale * (effects + shift), scale * errors)
    assert other.pvalue == pytest.approx(plain.pvalue, rel=1e-6, abs=1e-9)


def test_what_cannot_be_computed_says_why():
    for function in (heterogeneity_test, random_effects, shrunken_effects):
        assert function([1.0], [0.1]) == NotComputed("there is 1 segment; it takes at least 2")
        assert function([1.0, 2.0], [0.1, 0.0]) == NotComputed("the standard error of a segment is zero")
        assert isinstance(function([1.0, float("nan")], [0.1, 0.1]), NotComputed)


@pytest.mark.parametrize(("errors", "message"), [([0.1], "as many as effects, 2"), ([0.1, -0.1], "at least 0")])
def test_what_cannot_be_is_refused(errors, message):
    with pytest.raises(ValueError, match=message):
        heterogeneity_test([1.0, 2.0], errors)


@pytest.mark.slow
def test_equal_segments_are_called_different_as_often_as_promised():
    rng = np.random.default_rng(14)
    errors = np.array([0.5, 1.0, 2.0, 0.8])
    called = [heterogeneity_test(0.3 + errors * rng.normal(size=4), errors).pvalue < 0.05 for _ in range(8_000)]
    assert np.mean(called) == pytest.approx(0.05, abs=0.01)
