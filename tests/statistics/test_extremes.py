"""Huge and tiny numbers: far tails, counts at their ends, means that dwarf their spread, and lopsided splits.

Values marked mpmath come from its 60 digits, in an environment of its own, by the textbook formula at the exact input::

    python -m venv /tmp/mp && /tmp/mp/bin/pip install mpmath==1.3.0
    /tmp/mp/bin/python -c "from mpmath import *; mp.dps = 60; print(nstr(ncdf(-37), 17))"

with ``ncdf(-z)`` for a normal tail, ``betainc(df/2, 0.5, 0, df/(df + t*t), regularized=True) / 2`` for one of
Student's t, ``gammainc(df/2, q/2, inf, regularized=True)`` for one of chi-squared, and restricted shares by bisection
of the score equation. The tolerance, 1e-10, is what a rounding of the statistic in its last digit does to a p-value of
1e-300.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import gammaincc

from abtest_lib.statistics.always_valid import anytime_valid_t, compare_always_valid, mixture_pvalue
from abtest_lib.statistics.checks import assignment_independence_test, daily_trend, interaction_test
from abtest_lib.statistics.covariates import compare_means_with_covariates
from abtest_lib.statistics.dunnett import dunnett_pvalues
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.exact import clopper_pearson_interval, fisher_pvalue
from abtest_lib.statistics.guardrails import mean_non_inferiority, proportion_non_inferiority
from abtest_lib.statistics.heterogeneity import heterogeneity_test
from abtest_lib.statistics.inference import compare_adjusted_means, compare_means, compare_proportions
from abtest_lib.statistics.joint_moments import JointMoments
from abtest_lib.statistics.moments import CoMoments, Moments, merge
from abtest_lib.statistics.multiplicity import bonferroni
from abtest_lib.statistics.non_inferiority import (
    farrington_manning_non_inferiority,
    miettinen_nurminen_non_inferiority,
    wald_non_inferiority,
    welch_equivalence,
    welch_non_inferiority,
)
from abtest_lib.statistics.pooled import student_test
from abtest_lib.statistics.power import power_means, required_units_means
from abtest_lib.statistics.power_proportions import power_proportions, required_units_proportions
from abtest_lib.statistics.proportions import newcombe_interval, score_ratio_interval, wilson_interval
from abtest_lib.statistics.ratios import compare_ratios
from abtest_lib.statistics.sample_ratio import exact_sample_ratio_pvalue, sample_ratio_test
from abtest_lib.statistics.score_intervals import mee_interval, miettinen_nurminen_interval
from abtest_lib.statistics.sequential_sample_ratio import sequential_sample_ratio_test
from abtest_lib.statistics.stratified import cochran_mantel_haenszel_test
from abtest_lib.statistics.tails import critical_value, tail_pvalue

BILLION = 10**9
MARGIN = {"margin": 0.03, "better": "lower"}
EVEN = {"control": 1, "treatment": 1}
COSTS = Moments(1_000, 100.0, 999 * 400.0), Moments(1_000, 68.0, 999 * 400.0)
CLICKS = {"control": 500_000, "treatment": 535_000}
SHARES = (5_000, 100_000, 2_700, 100_000)
THOUSANDTH = {"margin": 0.005, "better": "lower"}


def of_constant(moments: Moments) -> CoMoments:
    """The moments as a ratio's numerator over a denominator that is 1 for every unit."""
    return CoMoments.of_constant(moments, 1.0)


FAR = [
    # name, p-value, mpmath
    ("normal tail", lambda: tail_pvalue(37.0), 1.1451142445049154e-299),
    ("normal tail, one side", lambda: tail_pvalue(20.0, "greater"), 2.7536241186062337e-89),
    ("t tail, 1 df", lambda: tail_pvalue(1e6, "greater", 1.0), 3.1830988618368457e-7),
    ("t tail, 3 df", lambda: tail_pvalue(1e50, "greater", 3.0), 1.1026577908435838e-150),
    ("t tail, 5 df", lambda: tail_pvalue(1e60, "greater", 5.0), 9.4901672455623632e-300),
    ("t tail, 12.5 df", lambda: tail_pvalue(1e20, "greater", 12.5), 7.9335204603064685e-245),
    ("t tail, 30 df", lambda: tail_pvalue(1e10, "greater", 30.0), 1.0364534652562067e-279),
    ("t tail, 98 df", lambda: tail_pvalue(-5000.0, "less", 98.0), 4.732862115717963e-267),
    ("t tail, 1e6 df", lambda: tail_pvalue(37.0, "greater", 1e6), 9.1498654309011315e-300),
    ("t tail, 1e9 df", lambda: tail_pvalue(37.0, "greater", 1e9), 5.7282584287775696e-300),
    (
        "Welch, unlike spreads",
        lambda: compare_means(Moments(500, 0.0, 499.0), Moments(400, 2.25, 399 * 1.5)).pvalue,
        2.5425499670421748e-129,
    ),
    (
        "Welch, a million units",
        lambda: compare_means(Moments(10**6, 10.0, 1e6), Moments(10**6, 10.05, 2e6)).pvalue,
        3.3661509311212717e-183,
    ),
    (
        "Welch, ten million to ten",
        lambda: compare_means(Moments(10**7, 1.0, 1e7), Moments(10, 9.0, 9.0)).pvalue,
        1.1330183644926067e-9,
    ),
    (
        "Welch, mean 1e8 and spread 1",
        lambda: compare_means(Moments(2_000, 1e8, 1999.0), Moments(2_000, 1e8 + 1.25, 1999.0)).pvalue,
        9.4955800924301726e-289,
    ),
    (
        "CUPED with a constant covariate",
        lambda: (
            compare_adjusted_means(
                of_constant(Moments(2_000, 1e8, 1999.0)), of_constant(Moments(2_000, 1e8 + 1.25, 1999.0))
            ).pvalue
        ),
        9.4955800924301726e-289,
    ),
    (
        "ratio with one event a unit",
        lambda: (
            compare_ratios(of_constant(Moments(500, 0.0, 499.0)), of_constant(Moments(400, 2.25, 399 * 1.5))).pvalue
        ),
        2.5425499670421748e-129,
    ),
    (
        "Student",
        lambda: student_test(Moments(50, 0.0, 49.0), Moments(50, 1000.0, 49.0)).pvalue,
        2 * 4.732862115717963e-267,
    ),
    ("guardrail mean", lambda: mean_non_inferiority(*COSTS, **MARGIN).pvalue_safe, 8.7719010302510811e-244),
    (
        "guardrail share",
        lambda: proportion_non_inferiority(50_000, 10**6, 42_000, 10**6, **MARGIN).pvalue_safe,
        2.012405415627501e-219,
    ),
    (
        "absolute margin, mean",
        lambda: welch_non_inferiority(*COSTS, margin=5.0, better="lower").pvalue,
        4.9700446628553636e-271,
    ),
    (
        "equivalence",
        lambda: welch_equivalence(*COSTS, low=-500.0, high=5.0).pvalue,
        4.9700446628553636e-271,
    ),
    ("absolute margin, Wald", lambda: wald_non_inferiority(*SHARES, **THOUSANDTH).pvalue, 2.0627198502305206e-233),
    (
        "Farrington-Manning",
        lambda: farrington_manning_non_inferiority(*SHARES, **THOUSANDTH).pvalue,
        7.7979777228764895e-228,
    ),
    (
        "Miettinen-Nurminen",
        lambda: miettinen_nurminen_non_inferiority(*SHARES, **THOUSANDTH).pvalue,
        7.8182414186674274e-228,
    ),
    ("z, rare", lambda: compare_proportions(1_000, 10**6, 3_000, 10**6).pvalue, 6.586689926786918e-220),
    ("z, none of a billion", lambda: compare_proportions(0, BILLION, 1_300, BILLION).pvalue, 1.1298949955341597e-284),
    (
        "z, a third of a billion",
        lambda: compare_proportions(3 * 10**8, BILLION, 300_700_000, BILLION).pvalue,
        1.5791521264741474e-255,
    ),
    ("z, ten million to five", lambda: compare_proportions(4_500, 10**7, 0, 5).pvalue, 0.96215869113833696),
    ("sample ratio", lambda: sample_ratio_test(CLICKS, EVEN).pvalue, 2.2644177241024786e-259),
    (
        "sample ratio, billions",
        lambda: sample_ratio_test({"control": BILLION, "treatment": BILLION + 1_600_000}, EVEN).pvalue,
        4.1868021067769586e-280,
    ),
    (
        "sample ratio, a thousand to one",
        lambda: sample_ratio_test({"control": 10**7, "treatment": 9_250}, {"control": 1_000, "treatment": 1}).pvalue,
        6.5527597795728543e-14,
    ),
    (
        "sample ratio, a million to one",
        lambda: sample_ratio_test({"control": 10**7, "treatment": 9}, {"control": 10**6, "treatment": 1}).pvalue,
        0.75182974204928417,
    ),
    (
        "heterogeneity",
        lambda: heterogeneity_test([0.1, -0.5, 0.4], [0.02, 0.02, 0.02]).pvalue,
        9.8945717198470043e-229,
    ),
    (
        "independence of assignments",
        lambda: assignment_independence_test([[60_000, 40_000], [40_000, 32_600]]).pvalue,
        2.9629565010497439e-92,
    ),
    (
        "Mantel-Haenszel",
        lambda: cochran_mantel_haenszel_test([(20_000, 100_000, 26_000, 100_000)]).pvalue,
        4.9668350940193945e-223,
    ),
    (
        "interaction",
        lambda: interaction_test(*[MeanEstimate(mean, 0.25, 1e9) for mean in (0.0, 0.0, 0.0, 30.0)]).pvalue,
        9.8134278542963741e-198,
    ),
    (
        "trend",
        lambda: daily_trend([-1, 0, 1], [-30.0, 0.0, 30.0], [math.sqrt(2.0)] * 3).pvalue,
        9.8134278542963741e-198,
    ),
    ("mSPRT", lambda: mixture_pvalue(0.11, 1.6e-5, tau_squared=1e-4), 7.2991386889698182e-142),
    ("confidence sequence", lambda: compare_always_valid(36.0, 1.0, 10**6).pvalue, 2.2637329205889519e-280),
    ("anytime-valid t", lambda: anytime_valid_t(38.0, 1.0, df=9_998, n=10_000)[0], 1.3080275447675351e-291),
    (
        "Dunnett, one treatment",
        lambda: dunnett_pvalues([40.0], n_control=20, n_treatments=[12], df=30)[0],
        1.3726045194406403e-27,
    ),
]


@pytest.mark.parametrize(("pvalue", "expected"), [row[1:] for row in FAR], ids=[row[0] for row in FAR])
def test_far_tail_is_that_of_mpmath(pvalue, expected):
    assert pvalue() == pytest.approx(expected, rel=1e-10, abs=0)


@pytest.mark.parametrize(
    ("df", "statistic", "expected"),
    # mpmath
    [(1, 1300.0, 1.1303728441492742e-284), (4, 1400.0, 6.9116332571755994e-302), (9, 1450.0, 1.2137748924679884e-306)],
)
def test_tail_of_chi_squared_is_that_of_mpmath(df, statistic, expected):
    assert gammaincc(df / 2, statistic / 2) == pytest.approx(expected, rel=1e-12, abs=0)


def test_fisher_is_exact_where_the_tables_are_as_far_apart_as_can_be():
    exact = Fraction(2, math.comb(600, 300))
    assert fisher_pvalue(0, 300, 300, 300) == pytest.approx(float(exact), rel=1e-11, abs=0)


def test_exact_sample_ratio_is_exact_where_one_variant_got_no_unit():
    pvalue = exact_sample_ratio_pvalue({"control": 900, "treatment": 0}, EVEN)
    assert pvalue == pytest.approx(2.0 * 2.0**-900, rel=1e-11, abs=0)


def test_family_of_tiny_pvalues_keeps_its_digits():
    assert bonferroni([1e-300, 3e-280]) == [2e-300, 6e-280]


@pytest.mark.parametrize("treatments", [[12], [12, 12], [3, 50, 400]])
@pytest.mark.parametrize(("size", "df"), [(12.0, 60), (25.0, 500), (36.0, None), (40.0, 30)])
def test_dunnett_in_the_far_tail_lies_between_one_comparison_and_bonferroni(treatments, size, df):
    for alternative in ("two-sided", "greater"):
        pvalue = dunnett_pvalues(
            [size] * len(treatments), n_control=20, n_treatments=treatments, df=df, alternative=alternative
        )[0]
        one = tail_pvalue(size, alternative, df)
        assert one * (1 - 1e-9) <= pvalue <= len(treatments) * one * (1 + 1e-9)


def test_dunnett_with_enormous_degrees_of_freedom_is_that_of_known_variance():
    known = dunnett_pvalues([2.5, 4.0], n_control=1, n_treatments=[1, 1])
    assert dunnett_pvalues([2.5, 4.0], n_control=1, n_treatments=[1, 1], df=1e9) == pytest.approx(known, rel=1e-6)


TABLES = [
    (successes_control, n_control, successes_treatment, n_treatment)
    for n_control, n_treatment in ((1, 1), (20, 30), (10**7, 10), (BILLION, BILLION))
    for successes_control, successes_treatment in itertools.product(
        *[sorted({0, 1, n - 1, n}) for n in (n_control, n_treatment)]
    )
]
LEVELS = (0.5, 0.05, 1e-10)
INTERVALS = [newcombe_interval, mee_interval, miettinen_nurminen_interval, score_ratio_interval]


@pytest.mark.parametrize("interval", INTERVALS, ids=lambda function: function.__name__)
def test_interval_holds_the_estimate_at_the_ends_of_counts(interval):
    for counts in TABLES:
        widths = []
        for alpha in LEVELS:
            ends = interval(*counts, alpha=alpha)
            if isinstance(ends, NotComputed):
                assert counts[0] == counts[2] == 0
                continue
            control, treatment = counts[0] / counts[1], counts[2] / counts[3]
            relative = interval is score_ratio_interval
            if relative and counts[0] == 0:
                assert ends[1] == math.inf
            else:
                estimate = treatment / control - 1 if relative else treatment - control
                slack = 1e-9 * max(1.0, abs(estimate))
                assert ends[0] - slack <= estimate <= ends[1] + slack, (counts, alpha)
            widths.append(ends)
        for wide, narrow in itertools.pairwise(reversed(widths)):
            assert wide[0] <= narrow[0] + 1e-12 and narrow[1] <= wide[1] + 1e-12, counts


@pytest.mark.parametrize("n", [20, 10**5, BILLION])
@pytest.mark.parametrize("alpha", [0.05, 1e-10])
def test_interval_of_koopman_has_its_closed_form_where_everybody_succeeded(n, alpha):
    # With shares 1 and 1 the statistic of a ratio r below 1 is the root of n (1 - r) / r.
    reach = critical_value(alpha) ** 2 / n
    low, high = score_ratio_interval(n, n, n, n, alpha=alpha)
    assert (low, high) == pytest.approx((-reach / (1 + reach), reach), rel=1e-6, abs=0)


@pytest.mark.parametrize(
    "interval", [wilson_interval, clopper_pearson_interval], ids=lambda function: function.__name__
)
@pytest.mark.parametrize("n", [1, 2, 20, BILLION])
def test_interval_of_one_share_holds_it_at_the_ends_of_counts(interval, n):
    for successes in sorted({0, 1, n - 1, n}):
        for alpha in (*LEVELS, 1e-20):
            low, high = interval(successes, n, alpha=alpha)
            assert 0 <= low <= successes / n <= high <= 1
            assert (low == 0) == (successes == 0)
            assert (high == 1) == (successes == n) or 1 - high < 1e-15


def test_intervals_of_one_share_are_those_of_mpmath_for_one_in_a_billion():
    # mpmath: Wilson's formula at the quantile 6.4669510872405162; root of the binomial tail for Clopper and Pearson.
    assert wilson_interval(1, BILLION, alpha=1e-10) == pytest.approx(
        (2.2831767189265481e-11, 4.379862276489498e-8), rel=1e-8, abs=0
    )
    assert clopper_pearson_interval(1, BILLION, alpha=1e-10) == pytest.approx(
        (5.000000000125e-20, 2.7053096799358041e-8), rel=1e-8, abs=0
    )


def test_exact_interval_mirrors_to_the_last_digit_of_a_tiny_alpha():
    low, _ = clopper_pearson_interval(3, 40, alpha=1e-15)
    _, high = clopper_pearson_interval(37, 40, alpha=1e-15)
    assert 1 - high == pytest.approx(low, rel=1e-6, abs=0)


@pytest.mark.parametrize("counts", TABLES)
def test_comparison_of_shares_gives_numbers_or_reasons_at_the_ends_of_counts(counts):
    result = compare_proportions(*counts)
    assert math.isfinite(result.effect) and all(map(math.isfinite, result.effect_interval))
    same_end = counts[0] + counts[2] in (0, counts[1] + counts[3])
    assert isinstance(result.pvalue, NotComputed) == same_end
    if not same_end:
        assert 0 <= result.pvalue <= 1
    assert isinstance(result.relative_effect, NotComputed) == (counts[0] == 0)


@pytest.mark.parametrize("spread", [1e-150, 1e-8, 1.0, 1e8, 1e150])
def test_unit_of_a_mean_does_not_matter_however_tiny_or_huge(spread):
    usual = compare_means(Moments(400, 10.0, 399.0 * 4), Moments(500, 10.3, 499.0 * 9))
    scaled = compare_means(
        Moments(400, 10.0 * spread, 399.0 * (2 * spread) ** 2), Moments(500, 10.3 * spread, 499.0 * (3 * spread) ** 2)
    )
    assert scaled.pvalue == pytest.approx(usual.pvalue, rel=1e-9, abs=0)
    assert scaled.relative_interval == pytest.approx(usual.relative_interval, rel=1e-9)
    assert [end / spread for end in scaled.effect_interval] == pytest.approx(list(usual.effect_interval), rel=1e-9)


@pytest.mark.parametrize("origin", [0.0, 1e8, -1e8, 1e12])
def test_moments_of_values_far_from_zero_are_exact(origin):
    # Quarters and halves are whole in binary, so that the exact answer is that of fractions.
    values = [origin + step / 4 for step in (0, 1, 5, 2, 8, 3)]
    exact_mean = sum(map(Fraction, values)) / len(values)
    exact_m2 = sum((Fraction(value) - exact_mean) ** 2 for value in values)
    whole = Moments.from_values(values)
    cells = merge([Moments.from_values(values[:2]), Moments.from_values(values[2:5]), Moments.from_values(values[5:])])
    for moments in (whole, cells):
        assert moments.mean == pytest.approx(float(exact_mean), rel=1e-15)
        assert moments.m2 == pytest.approx(float(exact_m2), rel=1e-6 if abs(origin) > 1e9 else 1e-9)


def test_spread_of_1e_minus_8_beside_a_mean_of_1e8_is_not_computed_or_right():
    # Doubles near 1e8 lie 1.5e-8 apart: values cannot show such a spread, moments can.
    control, treatment = Moments(1_000, 1e8, 999 * 1e-16), Moments(1_000, 1e8 + 2.0**-23, 999 * 1e-16)
    result = compare_means(control, treatment)
    assert result.effect == 2.0**-23
    assert result.standard_error == pytest.approx(1e-8 * math.sqrt(2 / 1_000), rel=1e-12, abs=0)
    assert isinstance(compare_means(Moments.from_values([1e8] * 5), Moments.from_values([1e8] * 5)), NotComputed)


@pytest.mark.parametrize("alpha", [1e-10, 1e-100, 0.05, 0.5])
@pytest.mark.parametrize("df", [None, 1.0, 5.5, 1e9])
def test_critical_value_has_its_alpha_beyond_it(alpha, df):
    for alternative in ("two-sided", "greater"):
        assert tail_pvalue(critical_value(alpha, alternative, df), alternative, df) == pytest.approx(
            alpha, rel=1e-8, abs=0
        )


@pytest.mark.parametrize(
    ("units", "more", "expected"),
    # mpmath
    [(500_000, 38_000, 5.5622177854780205e-299), (BILLION, 1_600_000, 8.4289019045879382e-276)],
)
def test_sequential_sample_ratio_of_billions_keeps_six_digits_of_its_logarithm(units, more, expected):
    # Log-gammas of 2e9 are near 4e10; what is left of their difference is 1e-6 wide.
    pvalue = sequential_sample_ratio_test([{"control": units, "treatment": units + more}], EVEN).pvalues[0]
    assert math.log(pvalue) == pytest.approx(math.log(expected), abs=1e-4)


@pytest.mark.parametrize("effect", [1e-6, 1e-3, 10.0])
def test_plans_of_tiny_and_huge_effects_keep_their_power(effect):
    units = required_units_means(effect, sd=1.0, power=0.8)
    n = max(2.0, units.exact_control)
    assert power_means(effect, n_control=n, n_treatment=n, sd=1.0) == pytest.approx(0.8, abs=1e-6) or n < 3


@pytest.mark.parametrize(("control", "treatment"), [(1e-6, 1.1e-6), (0.5, 0.5001), (0.999999, 0.9999995)])
def test_plans_of_rare_and_common_shares_keep_their_power(control, treatment):
    n = required_units_proportions(control, treatment).exact_control
    assert power_proportions(control, treatment, n_control=n, n_treatment=n) == pytest.approx(0.8, abs=1e-9)


def test_power_is_a_probability_where_the_effect_is_a_thousand_errors():
    powers = power_means(np.array([-1e3, 0.0, 1e3, 1e6]), n_control=5, n_treatment=5, sd=1.0)
    assert np.isfinite(powers).all() and ((powers >= 0) & (powers <= 1)).all()
    assert powers[2] == powers[3] == 1


@pytest.mark.parametrize("values", [[1e200, 2.0, 3.0], [1e308, 1e308, 1.0], [1.0, 2.0, math.inf]])
def test_sums_that_overflow_are_not_computed_and_warn_of_nothing(values):
    fine = [1.0, 2.0, 4.0]
    reason = "a value of control is not a finite number"
    assert compare_means(Moments.from_values(values), Moments.from_values(fine)).reason == reason
    pair = [CoMoments.from_values(values, fine), CoMoments.from_values(fine, fine[::-1])]
    assert isinstance(compare_adjusted_means(*pair), NotComputed)
    joint = [JointMoments.from_values(values, fine), JointMoments.from_values(fine, fine[::-1])]
    assert compare_means_with_covariates(*joint).reason == reason
