from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import test_proportions_2indep

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.guardrails import (
    estimate_non_inferiority,
    harm_alpha,
    margin_statistic,
    mean_non_inferiority,
    non_inferiority,
    proportion_non_inferiority,
    proved_harmful,
    proved_safe,
)
from abtest_lib.statistics.inference import compare_means, compare_proportions
from abtest_lib.statistics.intervals import fieller_interval
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.proportions import score_ratio_interval

test_proportions_2indep.__test__ = False
MEANS = st.builds(Moments, st.integers(2, 5_000), st.floats(1, 100), st.floats(0.1, 1e6))
COUNTS = st.tuples(st.integers(5, 5_000), st.integers(5, 5_000), st.floats(0, 1), st.floats(0, 1)).map(
    lambda c: (round(c[0] * c[2]), c[0], round(c[1] * c[3]), c[1])
)
MARGINS = st.floats(0.001, 0.5)
LEVELS = st.floats(0.001, 0.2)
ERROR_RATES = Path(__file__).resolve().parents[2] / "benchmarks" / "error_rates.py"
SIDES = st.sampled_from(["higher", "lower"])


def simulations():
    spec = importlib.util.spec_from_file_location("error_rates", ERROR_RATES)
    module = importlib.util.module_from_spec(spec)
    sys.modules["error_rates"] = module
    spec.loader.exec_module(module)
    return module


@given(MEANS, MEANS, MARGINS, SIDES)
def test_mean_test_is_welch_on_a_rescaled_control(control, treatment, margin, better):
    # Multiplying every control value by the bound turns the ratio hypothesis into Welch's of equal means.
    ratio = 1 - margin if better == "higher" else 1 + margin
    reading = mean_non_inferiority(control, treatment, margin=margin, better=better)
    want = stats.ttest_ind_from_stats(
        treatment.mean, math.sqrt(treatment.variance), treatment.n,
        control.mean * ratio, math.sqrt(control.variance) * ratio, control.n,
        equal_var=False, alternative="greater" if better == "higher" else "less",
    )  # fmt: skip
    assert reading.pvalue_safe == pytest.approx(want.pvalue, rel=1e-6, abs=1e-250)
    assert abs(reading.statistic) == pytest.approx(abs(want.statistic), rel=1e-9, abs=1e-12)


@given(COUNTS, MARGINS, SIDES)
def test_proportion_test_matches_statsmodels_score_test_of_a_ratio(counts, margin, better):
    xc, nc, xt, nt = counts
    assume(0 < xc < nc and 0 < xt < nt)
    reading = proportion_non_inferiority(*counts, margin=margin, better=better)
    want = test_proportions_2indep(
        xt, nt, xc, nc, value=1 + reading.bound, compare="ratio", method="score", correction=False,
        alternative="larger" if better == "higher" else "smaller",
    )  # fmt: skip
    assert reading.pvalue_safe == pytest.approx(want.pvalue, rel=1e-5, abs=1e-12)


def test_farrington_manning_null_shares_maximise_the_likelihood():
    # The restricted estimate is found here by brute force: z = contrast / error at the best shares on a fine grid.
    xc, nc, xt, nt, ratio = 155, 5_000, 190, 5_000, 1.1
    share = np.linspace(0.02, 0.05, 3_000_001)
    likelihood = stats.binom.logpmf(xc, nc, share) + stats.binom.logpmf(xt, nt, ratio * share)
    best = share[np.argmax(likelihood)]
    error = math.sqrt(ratio * best * (1 - ratio * best) / nt + ratio**2 * best * (1 - best) / nc)
    reading = proportion_non_inferiority(xc, nc, xt, nt, margin=0.1, better="lower")
    assert reading.statistic == pytest.approx(-(xt / nt - ratio * xc / nc) / error, rel=1e-6)


@given(MEANS, MEANS, MARGINS, LEVELS, LEVELS, SIDES)
def test_intervals_of_means_say_what_the_tests_say(control, treatment, margin, alpha, alpha_harm, better):
    reading = mean_non_inferiority(control, treatment, margin=margin, better=better, alpha=alpha, alpha_harm=alpha_harm)
    assert_intervals_agree(reading, alpha, alpha_harm)


@given(COUNTS, MARGINS, LEVELS, LEVELS, SIDES)
def test_intervals_of_proportions_say_what_the_tests_say(counts, margin, alpha, alpha_harm, better):
    reading = proportion_non_inferiority(*counts, margin=margin, better=better, alpha=alpha, alpha_harm=alpha_harm)
    assume(not isinstance(reading, NotComputed))
    assert_intervals_agree(reading, alpha, alpha_harm)


def assert_intervals_agree(reading, alpha, alpha_harm):
    sign = 1 if reading.better == "higher" else -1
    for interval, level, pvalue, side in (
        (reading.relative_interval, alpha, reading.pvalue_safe, sign),
        (reading.harm_interval, alpha_harm, reading.pvalue_harmful, -sign),
    ):
        if isinstance(interval, NotComputed) or math.isclose(pvalue, level, rel_tol=1e-6):
            continue
        beyond = interval[0] > reading.bound if side > 0 else interval[1] < reading.bound
        assert beyond == (pvalue < level)


@given(MEANS, MEANS, MARGINS, MARGINS, SIDES)
def test_wider_margin_makes_safe_likelier_and_harm_less_likely(control, treatment, one, other, better):
    # Fieller's set must be bounded: with a control mean near zero a wider margin only adds noise.
    assume(not isinstance(compare_means(control, treatment, alpha=0.4).relative_interval, NotComputed))
    narrow, wide = (
        mean_non_inferiority(control, treatment, margin=margin, better=better) for margin in sorted((one, other))
    )
    assume(narrow.statistic * wide.statistic >= 0 and control.n > 30 and treatment.n > 30)
    if not isinstance(narrow.relative_interval, NotComputed) and narrow.outcome == "safe":
        assert wide.outcome == "safe"
    if not isinstance(wide.relative_interval, NotComputed) and wide.outcome == "harmful":
        assert narrow.outcome == "harmful"


@given(MEANS, MEANS, SIDES)
def test_without_a_margin_it_is_the_one_sided_comparison(control, treatment, better):
    reading = mean_non_inferiority(control, treatment, margin=0.0, better=better)
    side = {"higher": "greater", "lower": "less"}[better]
    assert reading.pvalue_safe == pytest.approx(
        compare_means(control, treatment, alternative=side).pvalue, rel=1e-9, abs=1e-300
    )
    shares = proportion_non_inferiority(155, 5_000, 190, 4_000, margin=0.0, better=better)
    pooled = compare_proportions(155, 5_000, 190, 4_000, alternative=side)
    assert shares.pvalue_safe == pytest.approx(pooled.pvalue, rel=1e-9)


@given(MEANS, MEANS, MARGINS, SIDES)
def test_safe_and_harmful_exclude_each_other(control, treatment, margin, better):
    reading = mean_non_inferiority(control, treatment, margin=margin, better=better)
    assert not (proved_safe(reading, 0.5 - 1e-9) and proved_harmful(reading, 0.5 - 1e-9))
    assert reading.pvalue_safe + reading.pvalue_harmful == pytest.approx(1)
    assert reading.harmful == (reading.outcome == "harmful") == (reading.harm_outcome == "harmful")


def test_direction_of_better_decides_which_change_is_harm():
    control, higher = Moments(5_000, 100.0, 5_000 * 400.0), Moments(5_000, 110.0, 5_000 * 400.0)
    outcomes = {
        (name, better): mean_non_inferiority(control, treatment, margin=0.03, better=better).outcome
        for name, treatment in (("up", higher), ("same", control))
        for better in ("higher", "lower")
    }
    assert outcomes == {
        ("up", "higher"): "safe",
        ("up", "lower"): "harmful",
        ("same", "higher"): "safe",
        ("same", "lower"): "safe",
    }
    few = Moments(50, 100.0, 50 * 400.0)
    assert mean_non_inferiority(few, few, margin=0.03, better="lower").outcome == "not_yet"


def test_both_kinds_go_through_one_door():
    control, treatment = Moments.from_counts(500, 10_000), Moments.from_counts(495, 10_000)
    options = {"margin": 0.2, "better": "higher", "alpha_harm": 0.001}
    assert non_inferiority(control, treatment, kind="proportion", **options) == proportion_non_inferiority(
        500, 10_000, 495, 10_000, **options
    )
    assert non_inferiority(control, treatment, kind="mean", **options) == mean_non_inferiority(
        control, treatment, **options
    )
    with pytest.raises(ValueError, match="kind is 'ratio'"):
        non_inferiority(control, treatment, kind="ratio", **options)


def test_harm_is_proved_where_the_control_never_had_the_event():
    # A crash that only the treatment has is no reason to be silent, though it is infinitely many times more.
    reading = proportion_non_inferiority(0, 10_000, 60, 10_000, margin=0.1, better="lower", alpha_harm=1e-4)
    assert reading.outcome == "harmful"
    assert isinstance(reading.relative_effect, NotComputed)
    assert isinstance(reading.harm_interval, NotComputed)


@pytest.mark.parametrize(
    ("control", "treatment", "reason"),
    [
        (Moments(1, 1.0, 0.0), Moments(9, 1.0, 1.0), "control has 1 unit;"),
        (Moments(9, 0.0, 5.0), Moments(9, 1.0, 1.0), "not above zero"),
        (Moments(9, -4.0, 5.0), Moments(9, 1.0, 1.0), "not above zero"),
        (Moments(9, 1.0, 0.0), Moments(9, 1.0, 0.0), "no value varies"),
        (Moments(9, 1.0, 1.0), Moments(9, math.nan, math.nan), "treatment is not a finite number"),
    ],
)
def test_mean_that_cannot_be_tested_says_why(control, treatment, reason):
    assert reason in non_inferiority(control, treatment, kind="mean", margin=0.03, better="lower").reason


def test_proportion_that_cannot_be_tested_says_why():
    options = {"margin": 0.03, "better": "lower"}
    assert proportion_non_inferiority(0, 0, 1, 9, **options) == NotComputed("control has no units")
    assert "nothing varies" in proportion_non_inferiority(0, 9, 0, 9, **options).reason
    assert "nothing varies" in proportion_non_inferiority(9, 9, 9, 9, margin=0.0, better="lower").reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin": -0.1}, "margin is -0.1"),
        ({"margin": 1.0, "better": "higher"}, "margin is 1.0"),
        ({"margin": math.nan}, "margin is nan"),
        ({"better": "up"}, "better is 'up'"),
        ({"alpha": 0.5}, "alpha is 0.5"),
        ({"alpha_harm": 0.0}, "alpha_harm is 0.0"),
    ],
)
def test_callers_slip_is_named(change, message):
    options = {"margin": 0.03, "better": "lower"} | change
    with pytest.raises(ValueError, match=message):
        non_inferiority(Moments(9, 1.0, 1.0), Moments(9, 1.0, 1.0), kind="mean", **options)


@given(LEVELS, st.integers(1, 9), st.integers(1, 5), st.integers(1, 60))
def test_harm_error_is_split_evenly(alpha, guardrails, treatments, reads):
    level = harm_alpha(alpha, guardrails=guardrails, treatments=treatments, reads=reads)
    assert level * guardrails * treatments * reads == pytest.approx(alpha)


def test_harm_error_needs_something_to_be_split_over():
    with pytest.raises(ValueError, match="reads is 0"):
        harm_alpha(0.05, guardrails=1, treatments=1, reads=0)
    with pytest.raises(ValueError, match="alpha is 0"):
        harm_alpha(0, guardrails=1, treatments=1, reads=1)


def test_statistic_broadcasts_over_nights():
    nights = np.array([100.0, 200.0, 400.0])
    control, treatment = (MeanEstimate(np.full(3, mean), 25 / nights, nights - 1) for mean in (10.0, 10.5))
    statistic, df = margin_statistic(control, treatment, ratio=1.03)
    for i, n in enumerate(nights):
        alone = margin_statistic(MeanEstimate(10.0, 25 / n, n - 1), MeanEstimate(10.5, 25 / n, n - 1), ratio=1.03)
        assert (statistic[i], df[i]) == pytest.approx(alone)


ARMS = MeanEstimate(10.0, 0.04, 50), MeanEstimate(10.1, 0.05, 48)


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("kind", ["mean", "proportion"])
def test_reading_holds_what_was_asked_for(kind, better):
    options = {"margin": 0.1, "better": better, "alpha": 0.05, "alpha_harm": 0.01}
    sign, ratio = (1, 0.9) if better == "higher" else (-1, 1.1)
    if kind == "mean":
        control, treatment = Moments(30, 10.0, 29 * 1.2), Moments(25, 10.1, 24 * 1.25)
        arms = [MeanEstimate.of_mean(moments) for moments in (control, treatment)]
        reading = mean_non_inferiority(control, treatment, **options)
        assert reading == estimate_non_inferiority(*arms, **options)
        error = math.sqrt(0.05 + ratio**2 * 0.04)
        df = error**4 / (0.05**2 / 24 + (ratio**2 * 0.04) ** 2 / 29)
        t, law = sign * (10.1 - ratio * 10) / error, stats.t(df)
        intervals = [fieller_interval(*arms, alpha=level, df=reading.df) for level in (0.1, 0.02)]
        assert (reading.df, reading.relative_effect) == pytest.approx((df, 0.01), rel=1e-9)
    else:
        control, treatment = Moments.from_counts(155, 5_000), Moments.from_counts(150, 4_500)
        reading = proportion_non_inferiority(155, 5_000, 150, 4_500, **options)
        want = test_proportions_2indep(
            150, 4_500, 155, 5_000, value=ratio, compare="ratio", method="score", correction=False
        )
        t, law = sign * want.statistic, stats.norm()
        intervals = [score_ratio_interval(155, 5_000, 150, 4_500, alpha=level) for level in (0.1, 0.02)]
        assert reading.df is None
        assert reading.relative_effect == pytest.approx((150 / 4_500) / (155 / 5_000) - 1, rel=1e-12)
    assert reading == non_inferiority(control, treatment, kind=kind, **options)
    assert (reading.statistic, reading.pvalue_safe, reading.pvalue_harmful) == pytest.approx(
        (t, law.sf(t), law.cdf(t)), rel=1e-7
    )
    assert [reading.relative_interval, reading.harm_interval] == intervals
    assert (reading.confidence_level, reading.harm_confidence_level) == (0.9, 0.98)
    assert (reading.bound, reading.margin, reading.better) == (-sign * 0.1, 0.1, better)
    assert {"mean": "Fieller", "proportion": "Koopman"}[kind] in reading.method


def test_both_errors_are_a_fortieth_where_none_is_named():
    options = {"margin": 0.1, "better": "higher"}
    both = options | {"alpha": 0.025, "alpha_harm": 0.025}
    assert estimate_non_inferiority(*ARMS, **options) == estimate_non_inferiority(*ARMS, **both)
    assert proportion_non_inferiority(15, 90, 20, 80, **options) == proportion_non_inferiority(15, 90, 20, 80, **both)
    moments = Moments(30, 10.0, 29 * 1.2), Moments(25, 10.1, 24 * 1.25)
    assert mean_non_inferiority(*moments, **options) == mean_non_inferiority(*moments, **both)
    assert non_inferiority(*moments, kind="mean", **options) == non_inferiority(*moments, kind="mean", **both)


def test_outcomes_are_those_of_the_two_pvalues_and_harm_goes_first():
    reading = estimate_non_inferiority(*ARMS, margin=0.03, better="lower")
    safe, harmful = reading.pvalue_safe, reading.pvalue_harmful
    assert (reading.outcome, reading.harmful) == ("not_yet", False)
    options = {"margin": 0.03, "better": "lower"}
    named = estimate_non_inferiority(*ARMS, **options, alpha=safe * 1.01)
    assert (named.outcome, named.harm_outcome, named.harmful) == ("safe", "not_yet", False)
    # A p-value that equals alpha proves nothing.
    assert estimate_non_inferiority(*ARMS, **options, alpha=safe).outcome == "not_yet"
    worse = {"margin": 0.0, "better": "lower"}
    harmful = estimate_non_inferiority(*ARMS, **worse).pvalue_harmful
    assert estimate_non_inferiority(*ARMS, **worse, alpha_harm=harmful).outcome == "not_yet"
    named = estimate_non_inferiority(*ARMS, **worse, alpha_harm=harmful * 1.01)
    assert (named.outcome, named.harm_outcome, named.harmful) == ("harmful", "harmful", True)
    assert (proved_harmful(named, harmful), proved_harmful(named, harmful * 1.01)) == (False, True)
    assert (proved_safe(reading, safe), proved_safe(reading, safe * 1.01)) == (False, True)


def test_level_that_cannot_be_is_named():
    reading = estimate_non_inferiority(*ARMS, margin=0.03, better="lower")
    for bad in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=rf"^alpha is {bad}; it must be between 0 and 1\.$"):
            proved_safe(reading, bad)
        with pytest.raises(ValueError, match=rf"^alpha_harm is {bad}; it must be between 0 and 1\.$"):
            proved_harmful(reading, bad)
        with pytest.raises(ValueError, match=rf"^alpha is {bad}; it must be between 0 and 1\.$"):
            harm_alpha(bad, guardrails=1, treatments=1, reads=1)
    assert proved_safe(reading, 0.9) == (reading.pvalue_safe < 0.9)
    assert proved_harmful(reading, 0.9) == (reading.pvalue_harmful < 0.9)
    for name in ("guardrails", "treatments", "reads"):
        for bad in (0, 1.5, math.nan):
            with pytest.raises(ValueError, match=rf"^{name} is {bad}; it must be a whole number, at least 1\.$"):
                harm_alpha(0.05, **({"guardrails": 1, "treatments": 1, "reads": 1} | {name: bad}))
    assert harm_alpha(0.05, guardrails=1, treatments=1, reads=1) == 0.05
    for name in ("alpha", "alpha_harm"):
        for bad in (0.0, 0.5, math.nan):
            with pytest.raises(ValueError, match=rf"^{name} is {bad}; it must be between 0 and 0\.5\.$"):
                estimate_non_inferiority(*ARMS, **({"margin": 0.03, "better": "lower"} | {name: bad}))


def test_margin_that_cannot_be_is_named():
    for better, bad in (("lower", -0.01), ("lower", math.inf), ("higher", 1.0), ("higher", 1.5), ("lower", math.nan)):
        for call in (
            lambda **options: estimate_non_inferiority(*ARMS, **options),
            lambda **options: mean_non_inferiority(Moments(1, 1.0, 0.0), Moments(9, 1.0, 1.0), **options),
            lambda **options: proportion_non_inferiority(0, 0, 1, 9, **options),
        ):
            with pytest.raises(ValueError, match=rf"^margin is {bad}; "):
                call(margin=bad, better=better)
    assert estimate_non_inferiority(*ARMS, margin=1.5, better="lower").bound == 1.5
    assert estimate_non_inferiority(*ARMS, margin=0.99, better="higher").bound == -0.99


def test_estimate_that_cannot_be_tested_says_why():
    options = {"margin": 0.03, "better": "lower"}
    good, still = MeanEstimate(2.0, 0.1, 9), MeanEstimate(2.0, 0.0, 9)
    for bad in (MeanEstimate(math.inf, 0.1, 9), MeanEstimate(2.0, math.nan, 9)):
        control, treatment = (
            NotComputed(f"a value of {arm} is not a finite number") for arm in ("control", "treatment")
        )
        assert estimate_non_inferiority(bad, good, **options) == control
        assert estimate_non_inferiority(good, bad, **options) == treatment
    assert "not above zero" in estimate_non_inferiority(MeanEstimate(0.0, 0.1, 9), good, **options).reason
    assert estimate_non_inferiority(MeanEstimate(0.5, 0.1, 9), good, **options).relative_effect == 3
    assert estimate_non_inferiority(still, still, **options) == NotComputed("no value varies in control or treatment")
    assert estimate_non_inferiority(still, good, **options).margin == 0.03
    few = NotComputed("treatment has 0 units; a mean needs at least 2")
    assert mean_non_inferiority(Moments(2, 1.0, 0.5), Moments(0, 0.0, 0.0), **options) == few
    assert mean_non_inferiority(Moments(2, 1.0, 0.5), Moments(2, 1.0, 0.5), **options).statistic > 0
    broken = NotComputed("a value of control or treatment is not a finite number")
    shares = Moments.from_counts(3, 9)
    for bad in (Moments(9, math.nan, 1.0), Moments(9, 0.5, math.nan)):
        assert non_inferiority(bad, shares, kind="proportion", **options) == broken
        assert non_inferiority(shares, bad, kind="proportion", **options) == broken
    assert proportion_non_inferiority(1, 9, 0, 0, **options) == NotComputed("treatment has no units")
    assert proportion_non_inferiority(0, 1, 1, 1, **options).df is None
    none = proportion_non_inferiority(0, 90, 6, 90, **options)
    no_ratio = NotComputed("no unit of the control has the outcome")
    assert none.relative_effect == none.relative_interval == none.harm_interval == no_ratio


def test_guardrail_too_large_for_a_number_says_so():
    options = {"margin": 0.9, "better": "lower"}
    huge, small = MeanEstimate(1.5e308, 0.1, 9), MeanEstimate(-1.5e308, 0.1, 9)
    reason = NotComputed("the numbers are too large to compute with")
    assert estimate_non_inferiority(huge, small, **options) == reason
    reading = estimate_non_inferiority(MeanEstimate(1e-300, 0.1, 9), MeanEstimate(1e300, 0.1, 9), **options)
    assert reading.relative_effect == NotComputed("the mean of the control is not clearly different from zero")
    assert reading.outcome == "harmful"


def test_statistic_without_any_error_is_no_number():
    still = MeanEstimate(2.0, 0.0, 9)
    assert math.isnan(margin_statistic(still, still, ratio=1.1)[0])
    both = MeanEstimate(np.array([2.0, 2.0]), np.array([0.0, 0.1]), 9)
    assert np.isnan(margin_statistic(both, both, ratio=1.1)[0]).tolist() == [True, False]
    tiny = MeanEstimate(np.full(1, 2.0), np.full(1, 1e-9), 9)
    assert np.isfinite(margin_statistic(tiny, tiny, ratio=1.1)[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("simulation", ["guardrail_nights", "safe_at_margin"])
def test_promised_error_rates_are_held(simulation):
    # Over 28 nights and five guardrails with no effect, and with every effect exactly at its margin.
    rates = list(getattr(simulations(), simulation)(np.random.default_rng([17, len(simulation)]), 4_000))
    assert any(rate.used for rate in rates)
    for rate in rates:
        assert rate.line()["met"] is not False, rate
