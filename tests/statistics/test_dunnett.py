from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from abtest_lib.statistics.dunnett import dunnett_critical_value, dunnett_pvalues, dunnett_test
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import Moments

# multcomp::recovery, the example of the vignette of R's multcomp: minutes to recover under four blankets.
RECOVERY = {
    "b0": [15, 13, 12, 16, 16, 17, 13, 13, 16, 17, 17, 19, 17, 15, 13, 12, 16, 10, 17, 12],
    "b1": [13, 16, 9],
    "b2": [5, 8, 9],
    "b3": [14, 16, 16, 12, 7, 12, 13, 13, 9, 16, 13, 18, 13, 12, 13],
}


@pytest.mark.parametrize(("k", "df", "printed"), [(2, 20, 2.38), (3, None, 2.35), (4, 30, 2.58)])
def test_critical_values_match_dunnetts_table(k, df, printed):
    # Dunnett (1964), Biometrics 20(3), two-sided table of 0.05, two decimals.
    assert dunnett_critical_value(0.05, n_control=10, n_treatments=[10] * k, df=df) == pytest.approx(
        printed, abs=0.0051
    )


def test_comparisons_match_multcomp():
    # multcomp 1.4.22: glht(aov(minutes ~ blanket), mcp(blanket = "Dunnett")); random quadrature, three digits.
    moments = {name: Moments.from_values(values) for name, values in RECOVERY.items()}
    result = dunnett_test(moments.pop("b0"), moments)
    assert [one.statistic for one in result.values()] == pytest.approx([-1.33018511, -4.65564789, -1.88372287])
    assert [one.pvalue for one in result.values()] == pytest.approx([0.455912, 0.000118, 0.181976], abs=2e-5)
    assert [one.interval[0] for one in result.values()] == pytest.approx([-6.12411, -11.45745, -3.86829], abs=1e-3)
    assert [one.interval[1] for one in result.values()] == pytest.approx([1.85744, -3.47589, 0.53496], abs=2e-3)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_pvalues_match_scipy(alternative):
    # scipy.stats.dunnett, quasi-Monte Carlo, good to about 1e-4.
    treatments = {name: values for name, values in RECOVERY.items() if name != "b0"}
    reference = stats.dunnett(*treatments.values(), control=RECOVERY["b0"], alternative=alternative, random_state=1)
    moments = {name: Moments.from_values(values) for name, values in treatments.items()}
    result = dunnett_test(Moments.from_values(RECOVERY["b0"]), moments, alternative=alternative)
    assert [one.pvalue for one in result.values()] == pytest.approx(reference.pvalue, abs=1e-3)


@settings(max_examples=40)
@given(st.floats(0.01, 30), st.sampled_from([None, 1, 4, 37, 900]), st.floats(0.05, 20))
def test_one_treatment_is_a_plain_test(size, df, ratio):
    reference = 2 * (stats.norm.sf(size) if df is None else stats.t.sf(size, df))
    got = dunnett_pvalues([size], n_control=1, n_treatments=[ratio], df=df)[0]
    assert got == pytest.approx(reference, rel=1e-7, abs=1e-15)


def test_two_treatments_match_the_bivariate_normal():
    # scipy.stats.multivariate_normal, exact in two dimensions: correlation 0.5, both below 2.
    reference = 1 - stats.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]]).cdf([2, 2])
    got = dunnett_pvalues([2, 2], n_control=5, n_treatments=[5, 5], alternative="greater")
    assert got == pytest.approx([reference, reference], rel=1e-8)


def test_interval_is_dual_to_the_pvalue_and_narrower_than_bonferronis():
    control = Moments(60, 10.0, 240.0)
    for effect in np.linspace(0.5, 1.5, 6):
        result = dunnett_test(control, {"red": Moments(50, 10 + effect, 200.0), "blue": Moments(40, 10.1, 160.0)})
        assert (result["red"].pvalue < 0.05) == (result["red"].interval[0] > 0)
        assert stats.t.isf(0.025, 147) < result["red"].critical < stats.t.isf(0.0125, 147)


@given(st.lists(st.floats(-6, 6), min_size=2, max_size=3))
def test_adjusted_pvalues_lie_between_plain_and_bonferroni(statistics):
    got = dunnett_pvalues(statistics, n_control=30, n_treatments=[20] * len(statistics), df=50)
    for value, statistic in zip(got, statistics, strict=True):
        plain = 2 * stats.t.sf(abs(statistic), 50)
        assert plain - 1e-12 <= value <= min(1, len(statistics) * plain) + 1e-12


def test_what_cannot_be_computed_says_why():
    one = {"red": Moments(5, 1.0, 3.0)}
    assert dunnett_test(Moments(0, 0.0, 0.0), one) == NotComputed("control has no units")
    assert isinstance(dunnett_test(Moments(5, 1.0, 0.0), {"red": Moments(5, 1.0, 0.0)}), NotComputed)
    assert isinstance(dunnett_test(Moments(1, 1.0, 0.0), {"red": Moments(1, 2.0, 0.0)}), NotComputed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dunnett_pvalues([1, 2], n_control=3, n_treatments=[3]), "statistics has 2 values"),
        (lambda: dunnett_pvalues([float("nan")], n_control=3, n_treatments=[3]), "finite numbers"),
        (lambda: dunnett_pvalues([1], n_control=0, n_treatments=[3]), "n_control is 0"),
        (lambda: dunnett_critical_value(0.05, n_control=1, n_treatments=[]), "n_treatments is"),
        (lambda: dunnett_critical_value(0.05, n_control=1, n_treatments=[1], df=0), "df is 0"),
        (lambda: dunnett_test(Moments(5, 1.0, 3.0), {}), "treatments is empty"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_any_of_three_treatments_passes_as_often_as_promised():
    rng = np.random.default_rng(15)
    critical = dunnett_critical_value(0.05, n_control=8, n_treatments=[4, 8, 16], df=32)
    means = rng.normal(size=(20_000, 4)) / np.sqrt([8, 4, 8, 16])
    spread = np.sqrt(rng.chisquare(32, 20_000) / 32)
    t = (means[:, 1:] - means[:, :1]) / np.sqrt(1 / 8 + 1 / np.array([4, 8, 16])) / spread[:, None]
    # Four standard errors of the simulation are 0.006.
    assert np.mean(np.abs(t).max(axis=1) > critical) == pytest.approx(0.05, abs=0.0065)
