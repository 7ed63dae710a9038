"""From moments to words: what a night may say, with which family and alpha."""

import datetime as dt
import math
from dataclasses import replace
from statistics import NormalDist

import pytest
from small_shop import Shop

from abtest_lib import readings
from abtest_lib.definitions import Guardrail

BEFORE, HORIZON = dt.date(2026, 2, 7), dt.date(2026, 2, 8)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return Shop(tmp_path_factory.mktemp("shop")).experiment


@pytest.fixture
def two_treatments(experiment):
    """Two treatments, two primary metrics, no segments."""
    return replace(
        experiment,
        weights={"control": 2, "short": 1, "long": 1},
        primary=("conversion", "revenue_per_user"),
        secondary=(),
        segments=(),
    )


def share(variant, successes, n=1000, *, metric="conversion", crossover=False, platform=None):
    mean = successes / n if n else 0.0
    return {"metric": metric, "variant": variant, "crossover": crossover, "exposed_on": dt.date(2026, 2, 2),
            "segment": platform and "customers.platform", "value": platform, "units": n,
            "null_rows": 0, "n": n, "mean": mean,
            "m2": n * mean * (1 - mean)}  # fmt: skip


def mean(variant, value, *, n=1000, sd=10.0, metric="latency_ms"):
    return {**share(variant, 0, n, metric=metric), "mean": value, "m2": sd**2 * (n - 1)}


def compared(experiment, rows, as_of=HORIZON, metric="conversion"):
    found = readings.significance(experiment, as_of, rows)["metrics"]
    return next(one for one in found if one["metric"] == metric)["comparisons"]


def pooled_z_pvalue(x_control, x_treatment, n=1000):
    """Two-sided, by the standard library's normal distribution."""
    pooled = (x_control + x_treatment) / (2 * n)
    z = (x_treatment - x_control) / n / math.sqrt(2 * pooled * (1 - pooled) / n)
    return 2 * NormalDist().cdf(-abs(z))


def test_horizon_is_final_and_the_night_before_is_not(experiment):
    assert experiment.decides_on == HORIZON
    assert readings.stage(experiment, HORIZON) == "final"
    assert readings.stage(experiment, HORIZON + dt.timedelta(days=30)) == "final"
    assert readings.stage(experiment, BEFORE) == "interim"


@pytest.mark.parametrize(("better", "treated", "word"),
                         [("higher", 400, "better"), ("higher", 200, "worse"), ("lower", 200, "better"),
                          ("lower", 400, "worse"), ("higher", 310, "not_shown"),
                          ("lower", 310, "not_shown")])  # fmt: skip
def test_word_follows_the_direction_of_the_metric(experiment, better, treated, word):
    metric = replace(experiment.metrics["conversion"], better=better)
    experiment = replace(experiment, metrics={**experiment.metrics, "conversion": metric})
    (one,) = compared(experiment, [share("control", 300), share("treatment", treated)])
    assert one["reading"] == word


def test_interim_night_has_estimate_and_interval_but_no_test_and_no_word(experiment):
    rows = [share("control", 300), share("treatment", 500), mean("control", 100), mean("treatment", 100)]
    (one,) = compared(experiment, rows, BEFORE)
    assert (one["pvalue"], one["pvalue_adjusted"], one["reading"]) == (None, None, "interim")
    assert one["effect"] == pytest.approx(0.2)
    assert one["effect_interval"][0] < 0.2 < one["effect_interval"][1]


def test_no_part_of_an_interim_night_says_better_worse_or_safe(experiment):
    rows = [share("control", 300), share("treatment", 500), mean("control", 100), mean("treatment", 100),
            mean("control", 20, metric="revenue_per_user"), mean("treatment", 30, metric="revenue_per_user"),
            share("control", 300, platform="ios"), share("treatment", 500, platform="ios")]  # fmt: skip
    metrics = readings.significance(experiment, BEFORE, rows)
    parts = [
        *metrics["metrics"],
        *readings.segments(experiment, BEFORE, rows),
        *readings.guardrails(experiment, BEFORE, rows),
    ]
    comparisons = [one for part in parts for one in part["comparisons"] if "not_computed" not in one]
    assert len(comparisons) == 4
    assert {one["reading"] for one in comparisons} == {"interim"}
    assert {one["pvalue"] for one in comparisons} == {None}
    assert {one.get("outcome") for one in comparisons} == {None, "not_yet"}
    assert {row["reading"] for row in metrics["crossovers"]} == {"interim"}


def test_primary_metrics_share_alpha_with_the_treatments(two_treatments):
    rows = [share("control", 300), share("short", 340), share("long", 352)]
    rows += [mean(variant, 20, metric="revenue_per_user") for variant in two_treatments.weights]
    short, long = compared(two_treatments, rows)
    assert [one["family_size"] for one in (short, long)] == [4, 4]
    assert short["confidence_level"] == pytest.approx(1 - 0.05 / 4)
    # p = 0.055 and 0.013: below 0.05 is not enough, the family's level is 0.0125.
    assert short["pvalue"] == pytest.approx(pooled_z_pvalue(300, 340), rel=1e-9)
    assert long["pvalue"] == pytest.approx(pooled_z_pvalue(300, 352), rel=1e-9)
    assert 0.0125 < long["pvalue"] < 0.05
    assert (short["reading"], long["reading"]) == ("not_shown", "not_shown")
    assert long["pvalue_adjusted"] == pytest.approx(4 * long["pvalue"])


def test_secondary_metric_is_not_corrected(experiment):
    experiment = replace(experiment, primary=("revenue_per_user",), secondary=("conversion",))
    (one,) = compared(experiment, [share("control", 300), share("treatment", 352)])
    assert (one["family_size"], one["confidence_level"], one["reading"]) == (1, 0.95, "better")
    assert one["pvalue_adjusted"] == one["pvalue"]


def test_adjusted_pvalue_is_at_most_one(two_treatments):
    (one, _) = compared(two_treatments, [share("control", 300), share("short", 305), share("long", 305)])
    assert one["pvalue_adjusted"] == 1.0


def test_segments_are_one_family_over_values_and_primary_metrics(two_treatments, experiment):
    both = replace(two_treatments, segments=experiment.segments)
    rows = [share(variant, 300, platform=platform, metric=metric)
            for variant in both.weights for platform in ("web", "ios", "(unknown)")
            for metric in both.primary]  # fmt: skip
    found = readings.segments(both, HORIZON, rows)
    assert [(row["metric"], row["value"]) for row in found] == [
        (metric, value) for metric in both.primary for value in ("(unknown)", "ios", "web")
    ]
    comparisons = [one for row in found for one in row["comparisons"]]
    assert len(comparisons) == 12
    assert {one["family_size"] for one in comparisons} == {6}
    assert {round(one["confidence_level"], 12) for one in comparisons} == {round(1 - 0.05 / 6, 12)}


def test_segment_speaks_only_of_its_own_units(experiment):
    rows = [share("control", 300, platform="ios"), share("treatment", 500, platform="ios"),
            share("control", 300, platform="web"), share("treatment", 150, platform="web")]  # fmt: skip
    found = {row["value"]: row["comparisons"][0]["reading"] for row in readings.segments(experiment, HORIZON, rows)}
    assert found == {"ios": "better", "web": "worse"}


def test_days_of_exposure_are_merged(experiment):
    rows = [share("control", 100, 400), share("control", 200, 600), share("treatment", 400)]
    (one,) = compared(experiment, rows)
    assert (one["n_control"], one["mean_control"]) == (1000, pytest.approx(0.3, rel=1e-15))
    assert one["pvalue"] == pytest.approx(pooled_z_pvalue(300, 400), rel=1e-9)


def test_safety_is_read_at_the_horizon_only(experiment):
    rows = [mean("control", 100), mean("treatment", 100)]
    before, after = (readings.guardrails(experiment, night, rows)[0]["comparisons"][0] for night in (BEFORE, HORIZON))
    assert (before["outcome"], before["pvalue_safe"]) == ("not_yet", None)
    assert (after["outcome"], after["pvalue_safe"] < 1e-9) == ("safe", True)


@pytest.mark.parametrize("night", [dt.date(2026, 2, 5), BEFORE, HORIZON])
def test_harm_is_read_on_every_night(experiment, night):
    (row,) = readings.guardrails(experiment, night, [mean("control", 100), mean("treatment", 115)])
    (one,) = row["comparisons"]
    assert one["outcome"] == "harmful"
    assert one["harm_interval"][0] > row["margin"] == 0.1


def test_worse_but_within_the_margin_is_not_harmful(experiment):
    ((one,),) = (row["comparisons"] for row in readings.guardrails(
        experiment, HORIZON, [mean("control", 100), mean("treatment", 105)]))  # fmt: skip
    assert (one["reading"], one["outcome"]) == ("worse", "safe")


def test_error_of_harm_is_split_over_guardrails_treatments_and_nights(two_treatments):
    experiment = replace(two_treatments, guardrails=(Guardrail("latency_ms", 0.1), Guardrail("conversion", 0.1)))
    assert experiment.planned_nights == 6  # 2026-02-02 to 2026-02-08
    rows = [mean(variant, 100) for variant in experiment.weights] + [
        share(variant, 300) for variant in experiment.weights
    ]
    for row in readings.guardrails(experiment, BEFORE, rows):
        for one in row["comparisons"]:
            assert one["harm_confidence_level"] == pytest.approx(1 - 2 * 0.05 / (2 * 2 * 6))


def test_harm_on_an_early_night_needs_the_shared_level(experiment):
    # z beyond the margin is about 2.0: below 0.05 on one night, not below 0.05 / 6 nights (z = 2.39).
    error = math.sqrt(10**2 / 1000 * (1 + 1.1**2))
    (row,) = readings.guardrails(experiment, BEFORE, [mean("control", 100), mean("treatment", 110 + 2.0 * error)])
    assert row["comparisons"][0]["outcome"] == "not_yet"
    (row,) = readings.guardrails(experiment, BEFORE, [mean("control", 100), mean("treatment", 110 + 2.5 * error)])
    assert row["comparisons"][0]["outcome"] == "harmful"


def test_guardrail_of_a_share_is_compared_as_counts(experiment):
    experiment = replace(experiment, guardrails=(Guardrail("conversion", 0.1),))
    (row,) = readings.guardrails(experiment, HORIZON, [share("control", 500), share("treatment", 300)])
    assert (row["comparisons"][0]["outcome"], "score test" in row["comparisons"][0]["method"]) == ("harmful", True)


@pytest.mark.parametrize(("n", "which"), [(0, "control"), (1, "control"), (0, "treatment"), (1, "treatment")])
def test_fewer_than_two_units_are_not_compared(experiment, n, which):
    other = "treatment" if which == "control" else "control"
    rows = [share(which, n, n), share(other, 300), mean(which, 100, n=max(n, 1)), mean(other, 100)]
    (one,) = compared(experiment, rows)
    assert set(one) == {"variant", "not_computed"}
    assert f"{n} mature units with a value, and at least 2 are needed" in one["not_computed"]


def test_metric_without_any_cell_is_not_computed(experiment):
    for part in (
        readings.significance(experiment, HORIZON, [])["metrics"],
        readings.guardrails(experiment, HORIZON, []),
    ):
        assert all(set(one) == {"variant", "not_computed"} for row in part for one in row["comparisons"])
    assert readings.segments(experiment, HORIZON, []) == []


def test_metric_that_does_not_vary_has_a_reason_in_place_of_the_pvalue(experiment):
    (one,) = compared(experiment, [share("control", 0), share("treatment", 0)])
    assert one["pvalue"] == one["pvalue_adjusted"] == {
        "not_computed": "no unit of control and treatment has the outcome, so nothing varies"}  # fmt: skip
    assert one["reading"] == "not_shown"


def test_crossovers_that_carry_the_effect_change_the_reading(experiment):
    rows = [share("control", 270, 900), share("treatment", 270, 900),
            share("control", 0, 100, crossover=True), share("treatment", 100, 100, crossover=True)]  # fmt: skip
    assert readings.significance(experiment, HORIZON, rows)["crossovers"] == [
        {"metric": "conversion", "variant": "treatment", "reading": "better", "reading_without_crossovers": "not_shown"}
    ]


def test_crossovers_are_compared_for_each_primary_metric_and_treatment(two_treatments):
    rows = [
        share(variant, 300, metric=metric) for variant in two_treatments.weights for metric in two_treatments.primary
    ]
    found = readings.significance(two_treatments, HORIZON, rows)["crossovers"]
    assert [(row["metric"], row["variant"]) for row in found] == [
        (metric, variant) for metric in two_treatments.primary for variant in ("short", "long")
    ]


def test_alarm_of_the_sample_ratio_is_shared_by_the_planned_nights(experiment):
    found = readings.sample_ratio(experiment, {"units": {"control": 200, "treatment": 200}})
    assert found["alarm_below"] == pytest.approx(0.01 / 6)
    assert (found["healthy"], found["pvalue"], "reason" in found) == (True, 1.0, False)


def test_sample_ratio_is_measured_against_the_designed_weights(two_treatments):
    # Chi-squared with 2 degrees of freedom: the survival function is exp(-x / 2).
    found = readings.sample_ratio(two_treatments, {"units": {"control": 500, "short": 280, "long": 220}})
    assert found["expected"] == {"control": 500, "short": 250, "long": 250}
    assert found["statistic"] == pytest.approx(2 * 30**2 / 250)
    assert found["pvalue"] == pytest.approx(math.exp(-(30**2) / 250), rel=1e-12)
    assert found["healthy"]
    broken = readings.sample_ratio(two_treatments, {"units": {"control": 500, "short": 300, "long": 200}})
    assert not broken["healthy"]
    assert broken["reason"] == "units did not fall into the variants as designed, so no difference can be trusted"


def test_order_of_cells_changes_no_digit(experiment):
    rows = [share(v, x, n) for v in experiment.weights for x, n in ((31, 107), (77, 241), (11, 59))]
    assert compared(experiment, rows) == compared(experiment, rows[::-1])


def test_swapped_variants_flip_the_word_and_keep_the_pvalue(experiment):
    (one,) = compared(experiment, [share("control", 300), share("treatment", 400)])
    (other,) = compared(experiment, [share("control", 400), share("treatment", 300)])
    assert (one["reading"], other["reading"]) == ("better", "worse")
    assert one["effect"] == pytest.approx(-other["effect"])
    assert one["pvalue"] == pytest.approx(other["pvalue"])


def test_segments_that_differ_are_told_apart_from_those_that_do_not(experiment):
    differing = [share("control", 300, platform="ios"), share("treatment", 400, platform="ios"),
                 share("control", 300, platform="web"), share("treatment", 250, platform="web")]  # fmt: skip
    alike = [row | {"mean": 0.35, "m2": 1000 * 0.35 * 0.65} if row["variant"] == "treatment" else row
             for row in differing]  # fmt: skip
    for rows, word in ((differing, True), (alike, False)):
        segments = readings.segments(experiment, HORIZON, rows)
        (found,) = readings.heterogeneity(experiment, HORIZON, segments)
        assert (found["name"], found["df"], found["differs"]) == ("platform", 1, word)
    # Two segments: Q is the squared z of the difference of their effects.
    effects = [0.1, -0.05]
    errors = [math.sqrt((0.3 * 0.7 + share * (1 - share)) / 1000) for share in (0.4, 0.25)]
    segments = readings.segments(experiment, HORIZON, differing)
    (found,) = readings.heterogeneity(experiment, HORIZON, segments)
    assert found["statistic"] == pytest.approx((effects[0] - effects[1]) ** 2 / (errors[0] ** 2 + errors[1] ** 2))
    assert found["pvalue"] == pytest.approx(2 * NormalDist().cdf(-math.sqrt(found["statistic"])), rel=1e-9)
    assert -0.05 < found["shrunken"]["web"] < found["shrunken"]["ios"] < 0.1


def test_segments_are_not_told_apart_before_the_horizon(experiment):
    rows = [share(variant, 300, platform=value) for variant in experiment.weights for value in ("ios", "web")]
    assert readings.heterogeneity(experiment, BEFORE, readings.segments(experiment, BEFORE, rows)) == []


def test_one_segment_value_cannot_differ(experiment):
    rows = [share("control", 300, platform="ios"), share("treatment", 400, platform="ios")]
    (found,) = readings.heterogeneity(experiment, HORIZON, readings.segments(experiment, HORIZON, rows))
    assert found["not_computed"]


def test_error_budget_is_what_the_levels_of_the_night_add_up_to(two_treatments):
    rows = {row["claim"]: row for row in readings.error_budget(two_treatments, [])}
    dud = rows["a dud is called better or worse"]
    assert (dud["family_size"], dud["per_comparison"], dud["promised"]) == (4, 0.0125, 0.05)
    (short, _) = compared(two_treatments, [share(variant, 300) for variant in two_treatments.weights])
    assert 1 - short["confidence_level"] == pytest.approx(dud["per_comparison"])
    harm = rows["a harmless guardrail is called harmful"]
    (guardrail,) = readings.guardrails(
        two_treatments, HORIZON, [mean(variant, 100) for variant in two_treatments.weights]
    )
    one_night = (1 - guardrail["comparisons"][0]["harm_confidence_level"]) / 2
    assert one_night * harm["looks"] == pytest.approx(harm["per_comparison"])
    assert harm["promised"] == 0.05


def test_looks_spend_the_alpha_of_one_comparison(two_treatments):
    nightly = replace(two_treatments, looks="pocock", minimum_days=1)
    dud = readings.error_budget(nightly, [])[0]
    assert (dud["looks"], dud["promised"]) == (3, 0.05)


def test_broken_split_names_the_segment_value_that_breaks_it(experiment):
    cells = {"customers.platform": {"ios": {"control": 5000, "treatment": 5010},
                                    "android": {"control": 5000, "treatment": 4200}}}  # fmt: skip
    found = readings.sample_ratio(experiment, {"units": {"control": 10_000, "treatment": 9210}, "cells": cells})
    assert not found["healthy"]
    assert [(suspect["cell"], suspect["healthy_without"]) for suspect in found["suspects"]] == [("android", True)]
    healthy = readings.sample_ratio(experiment, {"units": {"control": 5000, "treatment": 5010}, "cells": cells})
    assert "suspects" not in healthy


def test_few_units_of_a_small_variant_are_no_broken_split(experiment):
    # Binomial: 3 or more of 50 at 1 % have probability 0.0138; Pearson's test would take it for 0.0004 and alarm.
    ratio = readings.sample_ratio(
        replace(experiment, weights={"control": 99, "treatment": 1}), {"units": {"control": 47, "treatment": 3}}
    )
    assert (ratio["healthy"], round(ratio["pvalue"], 4)) == (True, 0.0138)


def test_small_treatment_without_a_buyer_is_not_harmful(experiment):
    experiment = replace(experiment, guardrails=(Guardrail("revenue_per_user", 0.1),))
    rows = [mean("control", 2.0, n=5_000, sd=15.0), mean("treatment", 0.0, n=20, sd=0.0)]
    rows = [{**row, "metric": "revenue_per_user"} for row in rows]
    (row,) = readings.guardrails(experiment, BEFORE, rows)
    assert row["comparisons"][0]["outcome"] == "not_yet"
