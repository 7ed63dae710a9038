from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.intervals import (
    as_ratio,
    delta_ends,
    delta_interval,
    fieller_ends,
    fieller_interval,
    log_ratio_interval,
    relative_interval,
    wald_interval,
)
from abtest_lib.statistics.tails import critical_value

SIDES = ("two-sided", "greater", "less")
ARMS = [
    (MeanEstimate(10.0, 0.04, 30), MeanEstimate(10.6, 0.05, 25)),
    (MeanEstimate(2.0, 0.3, 12), MeanEstimate(-1.5, 0.1, 12)),
    (MeanEstimate(-4.0, 0.9, 40), MeanEstimate(-5.0, 0.2, 60)),
    (MeanEstimate(3.0, 0.0, 9), MeanEstimate(0.0, 0.25, 9)),
]
RELATIVE = {"fieller": fieller_interval, "delta": delta_interval}


def quantile(alpha, alternative, df):
    tail = alpha / 2 if alternative == "two-sided" else alpha
    return stats.norm.isf(tail) if df is None else stats.t.isf(tail, df)


def opened(low, high, alternative):
    return (-math.inf if alternative == "less" else low, math.inf if alternative == "greater" else high)


def stacked(pairs):
    """Pairs of estimates as one pair of estimates that hold arrays."""
    columns = zip(*pairs, strict=True)
    return [
        MeanEstimate(*(np.array([getattr(arm, field) for arm in arms]) for field in ("mean", "squared_error", "df")))
        for arms in columns
    ]


@pytest.mark.parametrize("df", [None, 7.5])
@pytest.mark.parametrize("alternative", SIDES)
@pytest.mark.parametrize("arms", ARMS)
def test_ends_are_those_of_the_formulas(arms, alternative, df):
    (mc, vc, _), (mt, vt, _) = ((arm.mean, arm.squared_error, arm.df) for arm in arms)
    q = quantile(0.1, alternative, df)
    options = {"alpha": 0.1, "alternative": alternative, "df": df}
    half = q * math.sqrt(vc + vt)
    assert wald_interval(*arms, **options) == pytest.approx(opened(mt - mc - half, mt - mc + half, alternative))
    # Deng, Knoblich, Lu (2018): the variance of the ratio by the delta method.
    half = q * math.sqrt(vt / mc**2 + vc * mt**2 / mc**4)
    effect = (mt - mc) / abs(mc)
    want = opened(effect - half, effect + half, alternative)
    assert delta_interval(*arms, **options) == pytest.approx(want, rel=1e-12, abs=1e-12)
    # Fieller: the ratios r with (mt - r mc)² = q² (vt + r² vc); of a negative control, r - 1 changes its sign.
    low, high = sorted(np.sign(mc) * (np.roots([mc**2 - q**2 * vc, -2 * mc * mt, mt**2 - q**2 * vt]) - 1))
    want = opened(low, high, alternative)
    assert fieller_interval(*arms, **options) == pytest.approx(want, rel=1e-10, abs=1e-12)
    for method, interval in RELATIVE.items():
        assert relative_interval(*arms, method=method, **options) == interval(*arms, **options)


@pytest.mark.parametrize("alternative", SIDES)
def test_logarithmic_ends_are_those_of_katz(alternative):
    # Katz et al. (1978): exp(log(pt / pc) ± q sqrt((1 - pc) / xc + (1 - pt) / xt)).
    q = quantile(0.1, alternative, None)
    half = q * math.sqrt((1 - 0.25) / 20 + (1 - 0.5) / 60)
    want = opened(2 * math.exp(-half) - 1, 2 * math.exp(half) - 1, alternative)
    if alternative == "less":
        want = (-math.inf, want[1])
    arms = MeanEstimate.of_proportion(20, 80), MeanEstimate.of_proportion(60, 120)
    assert log_ratio_interval(*arms, alpha=0.1, alternative=alternative) == pytest.approx(want, rel=1e-12)
    wider = log_ratio_interval(*arms, alpha=0.1, df=7.5)
    assert wider[1] == pytest.approx(2 * math.exp(half / q * stats.t.isf(0.05, 7.5)) - 1, rel=1e-12)


def test_default_is_a_two_sided_interval_at_five_percent():
    arms = ARMS[0]
    for interval in (wald_interval, fieller_interval, delta_interval, relative_interval, log_ratio_interval):
        want = interval(*arms, alpha=0.05, alternative="two-sided", df=1e12)
        assert interval(*arms) == pytest.approx(want, rel=1e-9)
        assert all(type(end) is float for end in interval(*arms))


@pytest.mark.parametrize("alternative", SIDES)
@pytest.mark.parametrize("interval", [wald_interval, fieller_interval, delta_interval])
def test_arrays_give_what_numbers_give(interval, alternative):
    still, nothing = MeanEstimate(1.0, 0.0, 5), MeanEstimate(0.0, 0.2, 5)
    broken = MeanEstimate(math.nan, 1.0, 5)
    pairs = [*ARMS, (still, still), (nothing, ARMS[0][1]), (ARMS[0][0], broken), (MeanEstimate(0.1, 1.0, 9), still)]
    options = {"alpha": 0.1, "alternative": alternative}
    lows, highs = interval(*stacked(pairs), **options)
    for pair, low, high in zip(pairs, lows, highs, strict=True):
        alone = interval(*pair, **options)
        if isinstance(alone, NotComputed):
            alone = opened(math.nan, math.nan, alternative)
        assert (low, high) == pytest.approx(alone, nan_ok=True, rel=1e-14)
    for place, pair in enumerate(ARMS):
        alone = stacked([pair])
        assert interval(*alone, **options) == ([lows[place]], [highs[place]])
    one_by_one = [interval(*pair, alpha=0.1, alternative=alternative, df=9) for pair in ARMS]
    together = interval(*stacked(ARMS), alpha=0.1, alternative=alternative, df=np.full(4, 9.0))
    assert np.transpose(together) == pytest.approx(np.array(one_by_one), rel=1e-14)


def test_array_of_logarithmic_intervals_has_no_number_where_a_mean_is_not_positive():
    good, bad = MeanEstimate(2.0, 0.1, 9), MeanEstimate(-2.0, 0.1, 9)
    pairs = [(good, good), (bad, good), (good, bad), (MeanEstimate(0.0, 0.1, 9), good)]
    low, high = log_ratio_interval(*stacked(pairs))
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True, True, True]
    assert (low[0], high[0]) == pytest.approx(log_ratio_interval(good, good), rel=1e-14)
    for pair in pairs[1:]:
        assert log_ratio_interval(*pair) == NotComputed("a logarithm needs means above zero")


@pytest.mark.parametrize(
    ("control", "treatment", "reason"),
    [
        ((0.0, 1.0), (2.0, 1.0), "the mean of the control is zero"),
        ((2.0, 1.0), (2.0, math.nan), "a mean or its error is not finite"),
        ((2.0, math.nan), (2.0, 1.0), "a mean or its error is not finite"),
        ((math.nan, 1.0), (2.0, 1.0), "a mean or its error is not finite"),
        ((2.0, 0.0), (3.0, 0.0), "the relative interval would have no width, because the treatment has no variance"),
    ],
)
def test_relative_interval_that_cannot_be_says_why(control, treatment, reason):
    arms = MeanEstimate(*control, 9), MeanEstimate(*treatment, 9)
    for interval in RELATIVE.values():
        assert interval(*arms) == NotComputed(reason)


@pytest.mark.parametrize("interval", [wald_interval, fieller_interval, delta_interval, log_ratio_interval])
def test_number_that_is_not_finite_has_no_interval(interval):
    good = MeanEstimate(2.0, 0.1, 9)
    reason = NotComputed("a mean or its error is not finite")
    for mean, squared_error in ((math.nan, 0.1), (math.inf, 0.1), (2.0, math.nan), (2.0, math.inf)):
        bad = MeanEstimate(mean, squared_error, 9)
        assert interval(bad, good) == reason
        assert interval(good, bad) == reason


def test_ratio_too_large_for_a_number_has_no_interval_in_numbers_or_arrays():
    # Of 1e300 to 1e-9, one end or both are infinite; g is far below 1.
    arms = MeanEstimate(1e-9, 1e-22, 9), MeanEstimate(1e300, 1e280, 9)
    for interval in (fieller_interval, delta_interval):
        assert interval(*arms) == NotComputed("the mean of the control is not clearly different from zero")
    for treatment in (arms[1], MeanEstimate(1.6e299, 1e290, 9)):
        alone = fieller_ends(arms[0], treatment, 2.0)
        low, high, g = fieller_ends(MeanEstimate(np.full(1, 1e-9), 1e-22, 9), treatment, 2.0)
        assert np.isnan(alone[:2]).all() and np.isnan(low).all() and np.isnan(high).all()
        assert alone[2] == g[0] == math.inf
        assert g.dtype == float


def test_treatment_of_zero_has_no_logarithm():
    assert isinstance(log_ratio_interval(MeanEstimate(2.0, 0.1, 9), MeanEstimate(0.0, 0.1, 9)), NotComputed)


def test_array_of_fieller_sets_has_no_number_where_one_is_unbounded_or_overflows():
    # g = q² v / m² of 1, 1.5 and 0.5; then a mean of 1, and one whose square overflows.
    means, errors = np.array([2.0, 2.0, 2.0, 1.0, 1e-200]), np.array([1.0, 1.5, 0.5, 0.01, 1.0])
    low, high, g = fieller_ends(MeanEstimate(means, errors, 9), MeanEstimate(np.full(5, 3.0), 0.2, 9), 2.0)
    assert g == pytest.approx([1, 1.5, 0.5, 0.04, math.inf], rel=1e-14)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, True, False, False, True]


def test_control_known_no_better_than_the_quantile_has_no_bounded_set():
    # g = q² v / m² is 1 where the mean is q standard errors from zero.
    at_the_edge = stats.norm.isf(0.025) ** -2
    far = MeanEstimate(2.0, 0.1, 9)
    reason = NotComputed("the mean of the control is not clearly different from zero")
    assert fieller_interval(MeanEstimate(1.0, at_the_edge * 1.000001, 9), far) == reason
    assert not isinstance(fieller_interval(MeanEstimate(1.0, at_the_edge * 0.999999, 9), far), NotComputed)
    assert fieller_interval(MeanEstimate(critical_value(0.05), 1.0, 9), far) == reason
    *ends, g = fieller_ends(MeanEstimate(1.0, 0.25, 9), far, 2.0)
    assert np.isnan(ends).all()
    assert g == 1


def test_ends_for_a_quantile_at_hand_are_those_of_the_intervals():
    control, treatment = ARMS[0]
    low, high, g = fieller_ends(control, treatment, stats.norm.isf(0.025))
    assert (low, high) == pytest.approx(fieller_interval(control, treatment), rel=1e-14)
    assert g == pytest.approx(stats.norm.isf(0.025) ** 2 * 0.04 / 100, rel=1e-14)
    lows, highs, gs = fieller_ends(control, treatment, np.array([1.0, 2.0]))
    assert (lows[1], highs[1], gs[1]) == pytest.approx(fieller_ends(control, treatment, 2.0), rel=1e-14, abs=0)
    assert delta_ends(control, treatment, 2.0) == pytest.approx(
        [ends[1] for ends in delta_ends(control, treatment, np.array([1.0, 2.0]))], rel=1e-14
    )
    assert math.isinf(fieller_ends(MeanEstimate(0.0, 0.1, 9), treatment, 2.0)[2])


def test_nothing_that_varies_has_no_interval():
    still = MeanEstimate(1.0, 0.0, 5)
    assert wald_interval(still, MeanEstimate(3.0, 0.0, 5)) == NotComputed("no value varies in control or treatment")
    assert isinstance(wald_interval(still, MeanEstimate(3.0, 0.1, 5)), tuple)


def test_method_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"^method is 'bootstrap'; it must be 'fieller' or 'delta'\.$"):
        relative_interval(*ARMS[0], method="bootstrap")


def test_ratio_is_one_more_than_the_relative_effect():
    reason = NotComputed("the mean of the control is zero")
    assert as_ratio(reason) is reason
    assert as_ratio(0.25) == 1.25
    assert as_ratio((-1.0, math.inf)) == (0.0, math.inf)
    assert as_ratio(np.array([0.0, 1.0])).tolist() == [1, 2]
