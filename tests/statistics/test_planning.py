from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.planning import (
    Baseline,
    RequiredUnits,
    margin_of_change,
    required_days,
    treated_share,
    units_by_day,
)
from abtest_lib.statistics.planning_checks import comparison_alpha
from abtest_lib.statistics.planning_looks import looks_inflation
from abtest_lib.statistics.power import minimum_detectable_means, power_means, required_units_means
from abtest_lib.statistics.power_proportions import (
    minimum_detectable_proportions,
    power_proportions,
    required_units_proportions,
)
from abtest_lib.statistics.spending import pocock_spending

RNG = np.random.default_rng(20250302)
SESSIONS = 1 + RNG.poisson(4.0, 500).astype(float)
ORDERS = RNG.poisson(0.4 * SESSIONS).astype(float)


def test_adjusted_mean_has_the_spread_of_what_the_covariate_leaves():
    explained = np.corrcoef(ORDERS, SESSIONS)[0, 1] ** 2
    adjusted = Baseline.of_adjusted_mean(CoMoments.from_values(ORDERS, SESSIONS))
    plain = Baseline.of_mean(Moments.from_values(ORDERS))
    assert adjusted.sd == pytest.approx(plain.adjusted(explained).sd, rel=1e-12)
    assert plain.sd == pytest.approx(ORDERS.std(ddof=1), rel=1e-12)


def test_ratio_has_the_spread_of_its_linearised_values():
    ratio = ORDERS.mean() / SESSIONS.mean()
    baseline = Baseline.of_ratio(CoMoments.from_values(ORDERS, SESSIONS))
    assert baseline.mean == pytest.approx(ratio)
    assert baseline.sd == pytest.approx(((ORDERS - ratio * SESSIONS) / SESSIONS.mean()).std(ddof=1), rel=1e-10)


def test_relative_effect_and_effect_are_inverse():
    baseline = Baseline(14.4, 38.6)
    assert baseline.relative_effect(baseline.effect(0.05)) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="no meaning"):
        Baseline(0.0, 1.0).relative_effect(1.0)


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: Baseline.of_mean(Moments.from_values([1.0])), "at least 2 units, and there are 1"),
        (lambda: Baseline.of_mean(Moments.from_values([1.0, 1.0])), "no value varies"),
        (lambda: Baseline.of_mean(Moments(3, np.nan, np.nan)), "finite"),
        (lambda: Baseline.of_mean(Moments(3, np.inf, 1.0)), "finite"),
        (lambda: Baseline.of_mean(Moments(3, 1.0, np.inf)), "finite"),
        (lambda: Baseline.of_ratio(CoMoments.from_values([1.0, 2.0], [0.0, 0.0])), "denominator"),
    ],
)
def test_metric_without_a_spread_has_no_baseline(make, reason):
    baseline = make()
    assert isinstance(baseline, NotComputed) and reason in baseline.reason


@given(st.floats(0.01, 0.99))
def test_share_has_the_spread_of_a_coin(share):
    baseline = Baseline.of_share(share)
    assert baseline.mean == share and baseline.sd == pytest.approx(stats.bernoulli(share).std())


def test_fewest_units_with_a_spread():
    assert Baseline.of_mean(Moments.from_values([1.0, 3.0])).sd == pytest.approx(np.sqrt(2.0))
    assert Baseline.of_standard_error(5.0, 3.0, 2).sd == pytest.approx(3.0 * np.sqrt(2.0))


def test_ratio_to_one_of_each_unit_is_the_mean():
    ratio = Baseline.of_ratio(CoMoments.from_values(ORDERS, np.ones_like(ORDERS)))
    assert ratio.mean == pytest.approx(ORDERS.mean()) and ratio.sd == pytest.approx(ORDERS.std(ddof=1))


def test_covariate_that_explains_nothing_leaves_the_baseline():
    assert Baseline(14.4, 38.6).adjusted(0.0) == Baseline(14.4, 38.6)


def test_covariate_that_explains_all_leaves_no_baseline():
    assert isinstance(Baseline.of_adjusted_mean(CoMoments.from_values([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])), NotComputed)


def test_units_are_rounded_up_by_variant_and_added():
    units = RequiredUnits(np.array([10.1, 20.0]), allocation=0.5, treatments=3)
    assert units.control.tolist() == [11, 20] and units.treatment.tolist() == [6, 10]
    assert units.total.tolist() == [29, 50]
    assert units.exact_total == pytest.approx([25.25, 50.0])
    assert units.control.dtype.kind == units.total.dtype.kind == "i"


def test_no_units_at_all_is_a_number_of_units():
    assert RequiredUnits(0.0).total == 0


def test_split_is_in_two_equal_halves_unless_told():
    split = RequiredUnits.of_total(1_000)
    assert split.control == split.treatment == 500 and split.treatments == 1


def test_units_that_fill_whole_weeks_take_these_weeks():
    plan = required_days(70_000, units_per_day=5_000)
    assert (plan.enrolment_days, plan.days) == (14, 14)
    assert required_days(70_001, units_per_day=5_000).days == 21


def test_units_of_the_first_days():
    # No unit has its window over before the window's length; enrolment may take less than a day.
    assert units_by_day([3, 7, 9], units_per_day=100, window_days=7).tolist() == [0, 0, 200]
    assert units_by_day(3, units_per_day=100) == 300
    assert units_by_day(3, units_per_day=100, enrolment_days=0.5) == 50
    # Small unsigned numbers do not wrap round.
    assert units_by_day(np.array([3], dtype=np.uint8), units_per_day=100, window_days=7).tolist() == [0]


def test_small_effect_on_a_share_of_single_precision_is_not_lost():
    share = np.float32(0.1)
    assert treated_share(share, effect=1e-9) == pytest.approx(float(share) + 1e-9, rel=1e-14)
    assert treated_share(0.1, relative_effect=np.float32(1e-9)) == pytest.approx(0.1 * (1 + 1e-9), rel=1e-14)


@given(st.integers(1, 10_000_000), st.floats(1.0, 1e6), st.integers(0, 60))
def test_enrolment_is_the_fewest_whole_weeks_that_hold_the_units(units, units_per_day, window_days):
    plan = required_days(units, units_per_day=units_per_day, window_days=window_days)
    assert plan.enrolment_days % 7 == 0 and plan.days == plan.enrolment_days + window_days
    assert plan.enrolment_days * units_per_day >= units * (1 - 1e-9)
    assert (plan.enrolment_days - 7) * units_per_day < units


def test_count_has_the_spread_of_its_distribution():
    # Variance of a Poisson count is its mean; of a negative binomial one with size 2 and mean 4 it is 4 + 4² / 2 = 12.
    assert Baseline.of_count(4.0).sd == 2.0
    assert Baseline.of_count(4.0, dispersion=3.0).sd == pytest.approx(stats.nbinom(2, 2 / 6).std())


def test_median_of_normal_values_has_the_known_spread():
    # Asymptotically sqrt(pi / 2) times the standard deviation; for a quantile sqrt(q (1 - q)) / density.
    n, density = 10_000, stats.norm.pdf(stats.norm.ppf(0.9))
    error = np.sqrt(0.9 * 0.1 / n) / density
    assert Baseline.of_standard_error(1.28, error, n).sd == pytest.approx(0.3 / density)
    median_error = np.sqrt(np.pi / 2 / n)
    assert Baseline.of_standard_error(0.0, median_error, n).sd == pytest.approx(np.sqrt(np.pi / 2))


@given(st.floats(10.0, 1e7), st.integers(2, 8), st.floats(0.1, 10.0))
def test_split_adds_up_to_the_total(total, variants, allocation):
    split = RequiredUnits.of_total(total, variants=variants, allocation=allocation)
    assert split.exact_total == pytest.approx(total)
    assert split.exact_treatment == pytest.approx(allocation * split.exact_control)
    assert split.treatments == variants - 1


@given(st.integers(1, 1_000_000), st.floats(1.0, 1e5), st.integers(0, 30))
def test_planned_days_are_enough_for_the_planned_units(units, units_per_day, window_days):
    plan = required_days(units, units_per_day=units_per_day, window_days=window_days)
    options = {"units_per_day": units_per_day, "window_days": window_days}
    reached = units_by_day(plan.days, **options, enrolment_days=plan.enrolment_days)
    assert reached >= units * (1 - 1e-9)
    assert units_by_day(window_days, **options) == 0


def test_treated_share_by_either_effect():
    assert treated_share(0.2, effect=0.01) == pytest.approx(treated_share(0.2, relative_effect=0.05))
    assert treated_share(0.2, effect=[0.01, -0.01]) == pytest.approx([0.21, 0.19])


def test_worst_tolerated_change_has_a_margin_and_a_direction():
    assert margin_of_change(-0.4) == (0.4, "higher") and margin_of_change(0.4) == (0.4, "lower")


@pytest.mark.parametrize(
    ("looks", "spending", "inflation"),
    [(14, {}, 1.0424262604057433), (5, {"spending": pocock_spending}, 1.2126259450467212), (1, {}, 1.0)],
)
def test_inflation_of_looks_matches_integration_by_another_hand(looks, spending, inflation):
    # Two-sided 0.05, power 0.8, evenly spaced looks; a composite 16-point Gauss-Legendre recursion.
    found = looks_inflation([look / looks for look in range(1, looks + 1)], **spending)
    assert found == pytest.approx(inflation, rel=2e-5)


def dunnett_level(alpha, treatments, *, sides, allocation):
    """Level of each comparison where the largest of several statistics with a common control exceeds alpha."""
    shared = 1 / (1 + 1 / allocation)

    def excess(critical):
        def below(common):
            ends = [(end - np.sqrt(shared) * common) / np.sqrt(1 - shared) for end in (critical, -critical)]
            inside = stats.norm.cdf(ends[0]) - (stats.norm.cdf(ends[1]) if sides == 2 else 0.0)
            return stats.norm.pdf(common) * inside**treatments

        return 1 - integrate.quad(below, -9, 9, epsabs=1e-12)[0] - alpha

    return sides * stats.norm.sf(optimize.brentq(excess, 0.5, 6.0, xtol=1e-12))


def inflation_of_two_looks(level, *, sides, power):
    """Two looks, at half and at the end, that spend the level evenly: by integration over the first statistic."""
    root, half = np.sqrt(0.5), level / sides / 2
    first = stats.norm.isf(half)

    def second(critical, drift):
        def density(z):
            return stats.norm.pdf(z - drift * root) * stats.norm.sf((critical - drift / 2 - root * z) / root)

        return integrate.quad(density, -first if sides == 2 else -9.0, first, epsabs=1e-12)[0]

    critical = optimize.brentq(lambda c: second(c, 0.0) - half, 0.0, 6.0, xtol=1e-12)
    drift = optimize.brentq(lambda d: stats.norm.sf(first - d * root) + second(critical, d) - power, 0.1, 9.0)
    return (drift / (stats.norm.isf(level / sides) + stats.norm.ppf(power))) ** 2


@pytest.mark.parametrize(
    ("alternative", "options"),
    [
        ("two-sided", {}),
        ("two-sided", {"alpha": 0.01, "power": 0.9}),
        ("less", {"alpha": 0.1, "power": 0.6}),
        ("greater", {"treatments": 3, "family": "dunnett", "allocation": 0.25}),
        ("two-sided", {"treatments": 3, "family": "dunnett"}),
        ("greater", {"treatments": 3}),
    ],
)
def test_inflation_of_two_looks_matches_numerical_integration(alternative, options):
    sides, treatments = 2 if alternative == "two-sided" else 1, options.get("treatments", 1)
    found = looks_inflation(
        [0.5, 1.0], alternative=alternative, spending=lambda fraction, alpha: fraction * alpha, **options
    )
    level = options.get("alpha", 0.05) / treatments
    if "family" in options:
        level = dunnett_level(0.05, treatments, sides=sides, allocation=options.get("allocation", 1.0))
    wanted = inflation_of_two_looks(level, sides=sides, power=options.get("power", 0.8))
    assert found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("treatments", "critical"), [(2, 2.21), (3, 2.35), (4, 2.44), (1, 1.96)])
def test_dunnett_family_has_the_published_critical_value(treatments, critical):
    # Dunnett (1964), Biometrics 20(3), table 2: two-sided 5 %, infinite degrees of freedom, equal groups.
    plan = {"treatments": treatments, "family": "dunnett"}
    level = comparison_alpha(0.05, **plan, alternative="two-sided", allocation=1.0)
    assert stats.norm.isf(level / 2) == pytest.approx(critical, abs=0.006)
    units = required_units_means(0.5, sd=4.0, test="z", **plan).exact_control
    assert units == pytest.approx(2 * (8 * (critical + stats.norm.isf(0.2))) ** 2, rel=0.005)


@given(st.integers(2, 6), st.floats(0.2, 5.0), st.sampled_from(["two-sided", "greater"]))
@settings(max_examples=12)
def test_dunnett_needs_fewer_units_than_bonferroni_and_keeps_the_power(treatments, allocation, alternative):
    plan = {"treatments": treatments, "allocation": allocation, "alternative": alternative}
    shares = [required_units_proportions(0.1, 0.11, **plan, family=family) for family in ("dunnett", "bonferroni")]
    assert shares[0].exact_control < shares[1].exact_control
    arms = {"n_control": shares[0].exact_control, "n_treatment": shares[0].exact_treatment}
    shared = {"treatments": treatments, "alternative": alternative, "family": "dunnett"}
    assert power_proportions(0.1, 0.11, **arms, **shared) == pytest.approx(0.8, abs=1e-6)
    assert minimum_detectable_proportions(0.1, **arms, **shared).share == pytest.approx(0.11, abs=1e-6)
    effect = minimum_detectable_means(**arms, sd=3.0, **shared)
    assert power_means(effect, **arms, sd=3.0, **shared) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Baseline(1.0, 0.0), "sd is 0.0"),
        (lambda: Baseline(float("nan"), 1.0), "mean is nan"),
        (lambda: Baseline.of_share(1.0), "share is 1.0"),
        (lambda: Baseline(1.0, 1.0).adjusted(1.0), "r_squared is 1.0"),
        (lambda: Baseline.of_count(0.0), "rate is 0.0"),
        (lambda: Baseline.of_count(1.0, dispersion=-1.0), "dispersion is -1.0"),
        (lambda: Baseline.of_standard_error(1.0, 0.0, 5), "standard_error is 0.0"),
        (lambda: Baseline.of_standard_error(1.0, 1.0, 1), "n is 1"),
        (lambda: Baseline.of_standard_error(1.0, 1.0, np.inf), "n is inf"),
        (lambda: RequiredUnits(np.inf), "exact_control is inf"),
        (lambda: RequiredUnits(-1.0), "exact_control is -1.0"),
        (lambda: RequiredUnits(1.0, allocation=0.0), "^allocation is 0.0"),
        (lambda: RequiredUnits(1.0, treatments=0), "treatments is 0"),
        (lambda: RequiredUnits(1.0, treatments=1.5), "treatments is 1.5"),
        (lambda: RequiredUnits.of_total(0), "total is 0"),
        (lambda: RequiredUnits.of_total(10, variants=1), "variants is 1"),
        (lambda: RequiredUnits.of_total(10, allocation=0.0), "allocation is 0.0"),
        (lambda: treated_share(1.0, effect=-0.5), "^share is 1.0"),
        (lambda: treated_share(0.2), "exactly one"),
        (lambda: treated_share(0.2, effect=0.1, relative_effect=0.1), "exactly one"),
        (lambda: treated_share(0.2, effect=0.9), "the treatment's share is 1.1"),
        (lambda: margin_of_change(0.0), "change is 0.0"),
        (lambda: units_by_day(-1, units_per_day=5.0), "days is -1"),
        (lambda: units_by_day(1, units_per_day=0.0), "units_per_day is 0.0"),
        (lambda: units_by_day(1, units_per_day=1.0, window_days=-1), "window_days is -1"),
        (lambda: units_by_day(1, units_per_day=1.0, window_days=np.inf), "window_days is inf"),
        (lambda: units_by_day(1, units_per_day=1.0, enrolment_days=0), "enrolment_days is 0"),
        (lambda: required_units_means(1.0, sd=1.0, family="holm"), "family is 'holm'"),
        (
            lambda: power_means(1.0, n_control=[9, 9], n_treatment=9, sd=1.0, treatments=2, family="dunnett"),
            "allocation is an array",
        ),
        (lambda: required_days(0, units_per_day=5.0), "units is 0"),
        (lambda: required_days(5, units_per_day=0.0), "units_per_day is 0.0"),
        (lambda: required_days(5, units_per_day=1.0, window_days=1.5), "window_days is 1.5"),
    ],
)
def test_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
