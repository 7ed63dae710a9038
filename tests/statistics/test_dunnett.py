from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from abtest_lib.statistics.dunnett import dunnett_alpha, dunnett_critical_value, dunnett_pvalues, dunnett_test
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


@pytest.mark.parametrize(
    ("k", "alpha", "printed"),
    [(2, 0.05, 1.92), (3, 0.05, 2.06), (4, 0.05, 2.16), (2, 0.01, 2.56), (3, 0.01, 2.68), (4, 0.01, 2.77)],
)
@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_one_sided_critical_values_match_dunnetts_table(k, alpha, printed, alternative):
    # Dunnett (1955), JASA 50(272), tables 1a and 1b, last rows (variance known), two decimals.
    sizes = {"n_control": 10, "n_treatments": [10] * k}
    critical = dunnett_critical_value(alpha, **sizes, alternative=alternative)
    assert critical == pytest.approx(printed, abs=0.0051)


def by_trapezes(size, *, n_control, n_treatments, df, two_sided):
    # The integral of Dunnett (1955) by the plainest rule, over the control's mean and the logarithm of s.
    z = np.linspace(-9, 9, 301)
    masses = stats.norm.pdf(z)
    s, s_masses = np.array([1.0]), np.array([1.0])
    if df is not None:
        logs = np.linspace(*np.log(stats.chi2(df).isf([1 - 1e-16, 1e-17]) / df) / 2, 301)
        s = np.exp(logs)
        s_masses = 2 * df * s**2 * stats.chi2.pdf(df * s**2, df)
    within = np.ones((s.size, z.size))
    for n in n_treatments:
        loading, rest = math.sqrt(n / (n + n_control)), math.sqrt(n_control / (n + n_control))
        within *= special.ndtr((loading * z + size * s[:, None]) / rest) - (
            special.ndtr((loading * z - size * s[:, None]) / rest) if two_sided else 0.0
        )
    return s_masses @ (1 - within) @ masses / s_masses.sum() / masses.sum()


@pytest.mark.parametrize(
    ("size", "n_control", "n_treatments", "df"),
    [
        (2.5, 20, [3, 3, 15], 37),
        (10.0, 5, [5, 9], 6),
        (4.5, 10, [10, 10, 10], None),
        (1.0, 8, [4, 16], 12),
        (2.2, 30, [10, 20], 4.5),
        (4.0, 7, [5, 6, 7, 8], 60),
        (0.05, 10, [20, 30], 10),
        (1.5, 1, [40, 40], None),
        (2.8, 50, [40, 60, 80], 2_000),
    ],
)
def test_pvalues_are_dunnetts_integral(size, n_control, n_treatments, df):
    # Rounding: about a hundred thousand terms below 1.
    sizes = {"n_control": n_control, "n_treatments": n_treatments, "df": df}
    others = [0.0] * (len(n_treatments) - 1)
    both = dunnett_pvalues([size, *others], **sizes)
    assert both == pytest.approx([by_trapezes(size, **sizes, two_sided=True)] + [1.0] * len(others), abs=1e-11)
    assert dunnett_pvalues([-size, *others], **sizes) == both
    for value in (size, -size / 4):
        above = by_trapezes(value, **sizes, two_sided=False)
        assert dunnett_pvalues([value, *others], **sizes, alternative="greater")[0] == pytest.approx(above, abs=1e-11)
        assert dunnett_pvalues([-value, *others], **sizes, alternative="less")[0] == pytest.approx(above, abs=1e-11)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize(
    ("alpha", "n_control", "n_treatments", "df"),
    [
        (0.05, 20, [3, 3, 15], 37),
        (1e-4, 5, [5, 9], 30),
        (0.01, 7, [5, 6, 7, 8], None),
        (1e-6, 10, [30, 30], None),
        (0.1, 4, [9], 12),
    ],
)
def test_statistic_at_the_critical_value_has_a_pvalue_of_alpha(alpha, n_control, n_treatments, df, alternative):
    sizes = {"n_control": n_control, "n_treatments": n_treatments, "df": df, "alternative": alternative}
    critical = dunnett_critical_value(alpha, **sizes)
    sign = -1 if alternative == "less" else 1
    pvalues = dunnett_pvalues([sign * critical] * len(n_treatments), **sizes)
    assert pvalues == pytest.approx([alpha] * len(n_treatments), rel=1e-8, abs=0)
    law = stats.norm if df is None else stats.t(df)
    plain = law.sf(critical) * (2 if alternative == "two-sided" else 1)
    assert dunnett_alpha(alpha, **sizes) == pytest.approx(plain, rel=1e-9, abs=0)


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
    intervals = reference.confidence_interval(0.95)
    assert [one.interval[0] for one in result.values()] == pytest.approx(intervals.low, abs=5e-3)
    assert [one.interval[1] for one in result.values()] == pytest.approx(intervals.high, abs=5e-3)
    # 20 + 3 + 3 + 15 values less four means.
    assert {one.df for one in result.values()} == {37}
    means = [np.mean(values) - np.mean(RECOVERY["b0"]) for values in treatments.values()]
    assert [one.effect for one in result.values()] == pytest.approx(means)
    critical = dunnett_critical_value(0.05, n_control=20, n_treatments=[3, 3, 15], df=37, alternative=alternative)
    assert {one.critical for one in result.values()} == {critical}


@settings(max_examples=40)
@given(st.floats(0.01, 30), st.sampled_from([None, 1, 4, 37, 900]), st.floats(0.05, 20))
def test_one_treatment_is_a_plain_test(size, df, ratio):
    reference = 2 * (stats.norm.sf(size) if df is None else stats.t.sf(size, df))
    got = dunnett_pvalues([size], n_control=1, n_treatments=[ratio], df=df)[0]
    assert got == pytest.approx(reference, rel=1e-7, abs=1e-15)


@pytest.mark.parametrize(("size", "n_control", "n_treatments"), [(2, 5, [5, 5]), (1.5, 1, [400, 900])])
def test_two_treatments_match_the_bivariate_normal(size, n_control, n_treatments):
    # scipy.stats.multivariate_normal, exact in two dimensions: both below a size, their correlation by their sizes.
    r = math.prod(math.sqrt(n / (n + n_control)) for n in n_treatments)
    reference = 1 - stats.multivariate_normal([0, 0], [[1, r], [r, 1]]).cdf([size, size])
    got = dunnett_pvalues([size] * 2, n_control=n_control, n_treatments=n_treatments, alternative="greater")
    assert got == pytest.approx([reference, reference], rel=1e-8)


@pytest.mark.parametrize("size", [8.0, 15.0, 26.0, 37.0, 60.0])
def test_far_out_pvalues_still_lie_between_plain_and_bonferroni(size):
    got = dunnett_pvalues([size, -size], n_control=3, n_treatments=[2, 4], df=100)
    plain = 2 * stats.t.sf(size, 100)
    assert min(got) >= plain * (1 - 1e-9)
    assert max(got) <= 2 * plain * (1 + 1e-9)


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


def test_one_unit_more_than_variants_is_enough():
    # By hand: the control's two values give the variance, 2, with one degree of freedom.
    result = dunnett_test(Moments(2, 1.0, 2.0), {"red": Moments(1, 4.0, 0.0)})["red"]
    assert (result.effect, result.df, result.statistic) == pytest.approx((3.0, 1, 3 / math.sqrt(3)))
    # Student's t with one degree of freedom is Cauchy's distribution.
    assert result.pvalue == pytest.approx(2 * stats.cauchy.sf(math.sqrt(3)), rel=1e-9)


def test_exact_decimals_of_a_warehouse_are_read_as_numbers():
    exact = dunnett_pvalues([Decimal("2.5"), Decimal(1)], n_control=20, n_treatments=[Decimal(3), Decimal(15)], df=37)
    assert exact == dunnett_pvalues([2.5, 1.0], n_control=20, n_treatments=[3, 15], df=37)


ONE = Moments(5, 1.0, 3.0)


@pytest.mark.parametrize(
    ("control", "red", "reason"),
    [
        (Moments(0, 0.0, 0.0), ONE, "control has no units"),
        (ONE, Moments(0, 0.0, 0.0), "red has no units"),
        (Moments(5, math.nan, 3.0), ONE, "a value of control is not a finite number"),
        (ONE, Moments(5, 1.0, math.inf), "a value of red is not a finite number"),
        (Moments(5, 1.0, 0.0), Moments(5, 1.0, 0.0), "no value varies in any variant"),
        (Moments(1, 1.0, 0.0), Moments(1, 2.0, 0.0), "there are no more units than variants"),
    ],
)
def test_what_cannot_be_computed_says_why(control, red, reason):
    assert dunnett_test(control, {"red": red}) == NotComputed(reason)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dunnett_pvalues([1, 2], n_control=3, n_treatments=[3]), "statistics has 2 values"),
        (lambda: dunnett_pvalues([float("nan")], n_control=3, n_treatments=[3]), "finite numbers"),
        (lambda: dunnett_pvalues([1], n_control=0, n_treatments=[3]), "n_control is 0"),
        (lambda: dunnett_pvalues([1], n_control=3, n_treatments=[3], alternative="more"), "alternative is 'more'"),
        (lambda: dunnett_pvalues([1], n_control=3, n_treatments=[3], df=0.5), "df is 0.5; it must be at least 1"),
        (lambda: dunnett_pvalues([1], n_control=math.inf, n_treatments=[3]), "n_control is inf"),
        (lambda: dunnett_critical_value(0.0, n_control=1, n_treatments=[1]), "alpha is 0.0"),
        (lambda: dunnett_critical_value(0.05, n_control=1, n_treatments=[]), "n_treatments is"),
        (lambda: dunnett_critical_value(0.05, n_control=1, n_treatments=[1, 0]), "n_treatments is"),
        (lambda: dunnett_critical_value(0.05, n_control=1, n_treatments=[1, math.inf]), "n_treatments is"),
        (lambda: dunnett_critical_value(0.05, n_control=1, n_treatments=[[1, 1]]), "n_treatments is"),
        (lambda: dunnett_critical_value(0.05, n_control=1, n_treatments=[1], df=math.nan), "df is nan"),
        (
            lambda: dunnett_critical_value(0.05, n_control=1, n_treatments=[1], df=0.5),
            "df is 0.5; it must be at least 1",
        ),
        (lambda: dunnett_test(ONE, {"red": ONE}, alpha=1.0), "alpha is 1.0"),
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
