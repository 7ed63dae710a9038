from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from benchmark_rates import broken_rates
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import xlogy

from abtest_lib.statistics.proportions import pooled_z
from abtest_lib.statistics.score_intervals import (
    farrington_manning_z,
    mee_interval,
    miettinen_nurminen_interval,
    miettinen_nurminen_z,
)

counts = st.tuples(st.integers(1, 3_000), st.integers(1, 3_000)).flatmap(
    lambda n: st.tuples(st.integers(0, n[0]), st.just(n[0]), st.integers(0, n[1]), st.just(n[1]))
)


def score_by_brute_force(xc, nc, xt, nt, difference):
    def minus_log_likelihood(share):
        other = share + difference
        return -(xlogy(xc, share) + xlogy(nc - xc, 1 - share) + xlogy(xt, other) + xlogy(nt - xt, 1 - other))

    bounds = (max(0.0, -difference), min(1.0, 1 - difference))
    share = minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
    other = share + difference
    variance = other * (1 - other) / nt + share * (1 - share) / nc
    return (xt / nt - xc / nc - difference) / np.sqrt(variance)


def test_intervals_match_newcombes_table():
    # Newcombe (1998), Statistics in Medicine 17, table II, 56/70 against 48/80: methods 5 (Mee) and 6 (Miettinen-
    # Nurminen), with four digits.
    assert mee_interval(48, 80, 56, 70) == pytest.approx((0.0533, 0.3377), abs=6e-5)
    assert miettinen_nurminen_interval(48, 80, 56, 70) == pytest.approx((0.0528, 0.3382), abs=6e-5)


def test_intervals_of_rare_events_match_ratesci():
    # ratesci 1.1.0, scoreci(12, 10000, 3, 10000, skew = FALSE, bcf = FALSE / TRUE); it iterates to 1e-8.
    assert mee_interval(3, 10_000, 12, 10_000) == pytest.approx((0.0001629438, 0.0018297124), abs=1e-7)
    assert miettinen_nurminen_interval(3, 10_000, 12, 10_000) == pytest.approx((0.0001629231, 0.001829741), abs=1e-7)


def test_statistic_at_a_margin_matches_gsdesign():
    # gsDesign 3.11, testBinomial(x1 = 190, x2 = 155, n1 = n2 = 5000, delta0 = -0.005, adj = 0 / 1).
    assert farrington_manning_z(155, 5_000, 190, 5_000, difference=-0.005) == pytest.approx(3.26894614385515, rel=1e-9)
    assert miettinen_nurminen_z(155, 5_000, 190, 5_000, difference=-0.005) == pytest.approx(3.26878269246157, rel=1e-9)


@given(counts, st.floats(-0.9, 0.9))
def test_restricted_shares_maximise_the_likelihood(four, difference):
    if abs(difference) < 1e-4:
        return
    # The search stops within 1e-8 of the share, and at an end of its range the statistic moves with the root of that.
    expected = score_by_brute_force(*four, difference)
    assert farrington_manning_z(*four, difference=difference) == pytest.approx(expected, rel=2e-3, abs=1e-5)


@given(counts)
def test_without_a_difference_the_statistic_is_the_pooled_z(four):
    if 0 < four[0] + four[2] < four[1] + four[3]:
        assert farrington_manning_z(*four) == pytest.approx(pooled_z(*four), rel=1e-9, abs=1e-12)


@given(counts, st.sampled_from([0.05, 0.3]))
def test_interval_ends_where_the_test_turns(four, alpha):
    low, high = mee_interval(*four, alpha=alpha)
    effect = four[2] / four[3] - four[0] / four[1]
    assert -1 <= low <= effect + 1e-12 and effect - 1e-12 <= high <= 1
    quantile = {0.05: 1.959963984540054, 0.3: 1.0364333894937898}[alpha]
    for end, value in ((low, quantile), (high, -quantile)):
        if 1e-6 < abs(end) < 1 - 1e-6:
            assert farrington_manning_z(*four, difference=end) == pytest.approx(value, rel=1e-5)


@settings(max_examples=40)
@given(counts)
def test_swapping_variants_mirrors_the_interval(four):
    xc, nc, xt, nt = four
    if nc + nt > 2:
        low, high = miettinen_nurminen_interval(xc, nc, xt, nt)
        assert miettinen_nurminen_interval(xt, nt, xc, nc) == pytest.approx((-high, -low), abs=1e-9)


def test_arrays_broadcast_and_one_sided_ends_are_open():
    low, high = mee_interval([0, 3], [20, 10_000], [5, 12], [20, 10_000])
    assert low == pytest.approx([0.0695076788, 0.0001629438], abs=1e-6)
    assert high == pytest.approx([0.4687008776, 0.0018297124], abs=1e-6)
    assert mee_interval(3, 100, 5, 100, alpha=0.025, alternative="greater")[1] == np.inf
    assert mee_interval(3, 100, 5, 100, alpha=0.025, alternative="greater")[0] == mee_interval(3, 100, 5, 100)[0]


def test_nobody_succeeded_gives_an_interval_around_zero_and_no_statistic():
    low, high = mee_interval(0, 50, 0, 50)
    assert low == pytest.approx(-high) and high > 0.05
    assert np.isnan(farrington_manning_z(0, 50, 0, 50))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mee_interval(5, 4, 1, 4), "successes_control is 5"),
        (lambda: mee_interval(0, 0, 1, 4), "n_control is 0"),
        (lambda: mee_interval(1, 4, 1, 4, alpha=2), "alpha is 2"),
        (lambda: farrington_manning_z(1, 4, 1, 4, difference=1.0), r"difference is 1\.0"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_interval_of_rare_events_covers_as_promised():
    rng = np.random.default_rng(11)
    xc, xt = rng.binomial(2_000, 0.005, 20_000), rng.binomial(2_000, 0.008, 20_000)
    low, high = miettinen_nurminen_interval(xc, 2_000, xt, 2_000)
    # Counts jump; four standard errors of the simulation are 0.006.
    assert np.mean((low <= 0.003) & (high >= 0.003)) == pytest.approx(0.95, abs=0.01)


@pytest.mark.slow
def test_promised_error_rates_are_held():
    assert broken_rates("error_rates_intervals", "share_differences", seed=34, repetitions=20_000) == []


@pytest.mark.parametrize(("n_control", "n_treatment"), [(40, 40), (60, 20)])
@pytest.mark.parametrize("interval", [mee_interval, miettinen_nurminen_interval])
def test_summed_over_all_outcomes_the_interval_covers_as_promised(interval, n_control, n_treatment):
    # No simulation: every outcome of two binomials with its probability (scipy.stats.binom).
    xc, xt = np.meshgrid(np.arange(n_control + 1), np.arange(n_treatment + 1), indexing="ij")
    low, high = interval(xc, n_control, xt, n_treatment)
    covered = []
    for share_control in (0.1, 0.3, 0.5):
        for share_treatment in (0.15, 0.4, 0.6):
            truth = share_treatment - share_control
            probability = np.outer(
                stats.binom.pmf(np.arange(n_control + 1), n_control, share_control),
                stats.binom.pmf(np.arange(n_treatment + 1), n_treatment, share_treatment),
            )
            covered.append(float(probability[(low <= truth) & (truth <= high)].sum()))
    # Counts jump, so single cells lie on either side of 0.95 and their mean is close to it.
    assert np.mean(covered) == pytest.approx(0.95, abs=0.006)
    assert min(covered) > 0.93


def restricted_share_to_forty_digits(xc, nc, xt, nt, difference):
    """Where the derivative of the likelihood, which falls as the control's share grows, is zero: by bisection."""
    d = Decimal(difference)

    def slope(share):
        return xc / share - (nc - xc) / (1 - share) + xt / (share + d) - (nt - xt) / (1 - share - d)

    low, high = max(Decimal(0), -d), min(Decimal(1), 1 - d)
    for _ in range(150):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return low


@pytest.mark.parametrize("difference", [-0.3, -2e-6, 3e-9, 1e-5, 0.02, 0.3])
@pytest.mark.parametrize(
    "table",
    [
        (3, 10_000_000, 9, 10_000_000),
        (1, 2_000_000, 2, 500),
        (40, 90, 60, 70),
        (499_990, 500_000, 299_999, 300_000),
        (5, 50_000_000, 30_000_000, 40_000_000),
    ],
)
def test_score_statistic_holds_its_digits_on_rare_events_and_many_units(table, difference):
    xc, nc, xt, nt = map(Decimal, table)
    with localcontext(prec=40):
        d = Decimal(difference)
        share = restricted_share_to_forty_digits(xc, nc, xt, nt, difference)
        variance = (share + d) * (1 - share - d) / nt + share * (1 - share) / nc
        want = (xt / nt - xc / nc - d) / variance.sqrt()
        corrected = want / ((nc + nt) / (nc + nt - 1)).sqrt()
    # Where nearly everybody succeeds, 1 - share keeps ten digits and the statistic six or seven.
    assert farrington_manning_z(*table, difference=difference) == pytest.approx(float(want), rel=1e-6)
    assert miettinen_nurminen_z(*table, difference=difference) == pytest.approx(float(corrected), rel=1e-6)


def test_difference_is_none_where_none_is_named():
    for statistic in (farrington_manning_z, miettinen_nurminen_z):
        assert statistic(40, 90, 60, 70) == statistic(40, 90, 60, 70, difference=0.0)
        for bad in (1.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match=rf"^difference is {bad}; it must be between -1 and 1\.$"):
                statistic(40, 90, 60, 70, difference=bad)


def test_impossible_table_is_named_by_its_variant():
    for table, name in (((5, 4, 1, 4), "control"), ((1, 4, 5, 4), "treatment")):
        with pytest.raises(ValueError, match=rf"^successes_{name} is 5; .* and n_{name} \(4\)\.$"):
            mee_interval(*table)
    with pytest.raises(ValueError, match=r"^n_treatment is 2\.5; "):
        mee_interval(1, 4, 1, 2.5)
    with pytest.raises(ValueError, match=r"^n_treatment is 0; a share needs at least 1 unit\.$"):
        mee_interval(1, 4, 0, 0)
