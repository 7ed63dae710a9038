"""The whole decision table, enumerated against the table below, which was written from docs/decision.md."""

import datetime as dt
import itertools
from pathlib import Path

import pytest

from abtest_lib.decision import results_document, verdict
from abtest_lib.definitions import load_experiment

SMALLEST, DECIDES_ON = 0.02, "2026-03-03"

RATIO = ("healthy", "broken")
CROSSOVERS = ("same", "changed")
STAGE = ("interim", "look", "final")
GUARDRAIL = ("none", "safe", "not_yet", "harmful", "not_computed")
PRIMARY = ("better", "worse", "not_shown", "not_computed")
SEGMENT = ("fine", "protected worse", "unprotected worse")
EFFECT = ("below", "above")
ANY = None

# The first row that fits gives the verdict.
VERDICTS = (
    # ratio     stage      crossovers  guardrail       primary         segment            effect   verdict
    ("broken",  ANY,       ANY,        ANY,            ANY,            ANY,               ANY,     "invalid"),
    (ANY,       "interim", ANY,        "harmful",      ANY,            ANY,               ANY,     "do_not_ship"),
    (ANY,       "interim", ANY,        ANY,            ANY,            ANY,               ANY,     "keep_running"),
    (ANY,       "final",   "changed",  ANY,            ANY,            ANY,               ANY,     "invalid"),
    (ANY,       ANY,       ANY,        "harmful",      ANY,            ANY,               ANY,     "do_not_ship"),
    (ANY,       ANY,       ANY,        ANY,            "worse",        ANY,               ANY,     "do_not_ship"),
    (ANY,       ANY,       ANY,        ANY,            ANY,            "protected worse", ANY,     "do_not_ship"),
    (ANY,       "look",    "changed",  ANY,            ANY,            ANY,               ANY,     "keep_running"),
    (ANY,       "look",    ANY,        "not_yet",      ANY,            ANY,               ANY,     "keep_running"),
    (ANY,       "final",   ANY,        "not_yet",      ANY,            ANY,               ANY,     "do_not_ship"),
    (ANY,       "look",    ANY,        "not_computed", ANY,            ANY,               ANY,     "keep_running"),
    (ANY,       "final",   ANY,        "not_computed", ANY,            ANY,               ANY,     "do_not_ship"),
    (ANY,       ANY,       ANY,        ANY,            "better",       ANY,               "above", "ship"),
    (ANY,       "look",    ANY,        ANY,            ANY,            ANY,               ANY,     "keep_running"),
    (ANY,       ANY,       ANY,        ANY,            ANY,            ANY,               ANY,     "do_not_ship"),
)  # fmt: skip

# What speaks against shipping without proving harm: waited for at a look, decided at the horizon.
LACKING = (
    ({"guardrail": "not_yet"}, "guardrail_not_proved_safe"),
    ({"primary": "not_computed"}, "not_computed"),
    ({"guardrail": "not_computed"}, "not_computed"),
    ({"primary": "not_shown"}, "no_effect_shown"),
    ({"primary": "better", "effect": "below"}, "effect_too_small"),
)

# Every row that fits gives a reason, in this order; those of the first kind of verdict only.
REASONS = {
    "invalid": (
        ({"ratio": "broken"}, "sample_ratio_mismatch"),
        ({"ratio": "healthy", "crossovers": "changed"}, "crossovers_change_result"),
    ),
    "keep_running": (
        ({"stage": "interim"}, "immature"),
        *(({"stage": "look", **fits}, code) for fits, code in LACKING),
        ({"stage": "look", "crossovers": "changed"}, "crossovers_change_result"),
    ),
    "do_not_ship": (
        ({"guardrail": "harmful"}, "guardrail_harmful"),
        *(({"stage": stage, "primary": "worse"}, "primary_worse") for stage in ("look", "final")),
        *(({"stage": stage, "segment": "protected worse"}, "segment_harmed") for stage in ("look", "final")),
        *(({"stage": "final", **fits}, code) for fits, code in LACKING),
    ),
    "ship": (({}, "primary_better"), ({"guardrail": "safe"}, "guardrails_safe")),
}

NAMES = ("ratio", "stage", "crossovers", "guardrail", "primary", "segment", "effect")
CASES = [
    dict(zip(NAMES, case, strict=True))
    for case in itertools.product(RATIO, STAGE, CROSSOVERS, GUARDRAIL, PRIMARY, SEGMENT, EFFECT)
]


def comparison(reading, *, variant="treatment", effect="above", stage="final"):
    """As a step of the night writes it."""
    if reading == "not_computed":
        return {"variant": variant, "not_computed": "because control has 1 mature units with a value"}
    sign = -1 if reading == "worse" else 1
    relative = sign * SMALLEST * (1.5 if effect == "above" else 0.5)
    return {"variant": variant, "reading": "interim" if stage == "interim" else reading, "relative_effect": relative}


def guarded(outcome, *, variant="treatment", stage="final"):
    if outcome == "not_computed":
        return comparison(outcome, variant=variant)
    return {
        "variant": variant,
        "reading": "not_shown",
        "outcome": "not_yet" if (stage, outcome) == ("interim", "safe") else outcome,
    }


def document_of(case, *, ratio=None):
    """results.json without verdicts, as far as the verdict reads it."""
    stage = case["stage"]
    worse = comparison("worse", stage=stage)
    return {
        "stage": stage,
        "experiment": {"decides_on": DECIDES_ON},
        "sample_ratio": {"healthy": case["ratio"] == "healthy", "pvalue": 1.2e-9, "alarm_below": 0.00034},
        "metrics": [
            {"metric": "conversion", "role": "primary", "better": "higher",
             "comparisons": [comparison(case["primary"], effect=case["effect"], stage=stage)]},
            {"metric": "revenue", "role": "secondary", "comparisons": [worse]},
        ],
        "guardrails": [] if case["guardrail"] == "none" else [
            {"metric": "latency", "comparisons": [guarded(case["guardrail"], stage=stage)]}],
        "segments": [
            {"metric": "conversion", "name": "platform", "value": value, "protected": protected,
             "comparisons": [worse if case["segment"] == harm else comparison("better", stage=stage)]}
            for value, protected, harm in (("ios", True, "protected worse"), ("web", False, "unprotected worse"))],
    }  # fmt: skip


def crossovers_of(case):
    other = "not_shown" if case["primary"] == "better" else "better"
    without = case["primary"] if case["crossovers"] == "same" else other
    reading = {"not_computed": None}
    return [{"metric": "conversion", "variant": "treatment", "reading": reading.get(case["primary"], case["primary"]),
             "reading_without_crossovers": reading.get(without, without)}]  # fmt: skip


def expected_of(case):
    row = next(row for row in VERDICTS if all(w in (ANY, case[n]) for n, w in zip(NAMES, row[:-1], strict=True)))
    codes = [code for fits, code in REASONS[row[-1]] if all(case[name] == value for name, value in fits.items())]
    return row[-1], codes


def codes_of(found):
    return [reason["code"] for reason in found["reasons"]]


def decided(document, crossovers=(), variant="treatment"):
    return verdict(variant, document, list(crossovers), smallest_effect=SMALLEST)


def test_every_cell_of_the_table_gives_its_verdict_and_reasons():
    wrong = []
    for case in CASES:
        found = decided(document_of(case), crossovers_of(case))
        if (found["verdict"], codes_of(found)) != expected_of(case):
            wrong.append((case, found, expected_of(case)))
    assert wrong == []


def test_the_table_reaches_every_verdict_and_every_reason():
    expected = [expected_of(case) for case in CASES]
    assert {word for word, _ in expected} == set(REASONS)
    assert {code for _, codes in expected for code in codes} == {code for rows in REASONS.values() for _, code in rows}
    assert all(codes for _, codes in expected)


def test_only_keep_running_has_a_date():
    for case in CASES:
        found = decided(document_of(case), crossovers_of(case))
        assert found["until"] == (DECIDES_ON if found["verdict"] == "keep_running" else None)


def test_ship_needs_everything():
    ships = [case for case in CASES if decided(document_of(case), crossovers_of(case))["verdict"] == "ship"]
    # The segment that is not protected may be worse; a guardrail is safe or there is none.
    assert len(ships) == 8
    assert {case["stage"] for case in ships} == {"look", "final"}
    assert {case["segment"] for case in ships} == {"fine", "unprotected worse"}
    assert {case["guardrail"] for case in ships} == {"none", "safe"}


GOOD = {"ratio": "healthy", "stage": "final", "crossovers": "same", "guardrail": "safe", "primary": "better",
        "segment": "fine", "effect": "above"}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ratio": "broken"}, {"code": "sample_ratio_mismatch", "detail": "p = 1.2e-09, alarm below 0.00034"}),
        ({"crossovers": "changed"}, {"code": "crossovers_change_result", "metric": "conversion",
                                     "detail": "better with, not_shown without units seen in two variants"}),
        ({"guardrail": "harmful"}, {"code": "guardrail_harmful", "metric": "latency"}),
        ({"guardrail": "not_yet"}, {"code": "guardrail_not_proved_safe", "metric": "latency"}),
        ({"primary": "worse"}, {"code": "primary_worse", "metric": "conversion"}),
        ({"segment": "protected worse"}, {"code": "segment_harmed", "metric": "conversion", "segment": "platform = "
                                                                                                       "ios"}),
        ({"primary": "not_shown"}, {"code": "no_effect_shown", "metric": "conversion"}),
        ({"effect": "below"}, {"code": "effect_too_small", "metric": "conversion"}),
        ({"primary": "not_computed"}, {"code": "not_computed", "metric": "conversion",
                                       "detail": "because control has 1 mature units with a value"}),
        ({"stage": "interim"}, {"code": "immature", "detail": "decides on 2026-03-03"}),
    ],
)  # fmt: skip
def test_reason_names_what_it_is_about(change, reason):
    case = {**GOOD, **change}
    assert decided(document_of(case), crossovers_of(case))["reasons"] == [reason]


def test_effect_of_exactly_the_smallest_that_matters_is_enough():
    document = document_of(GOOD)
    document["metrics"][0]["comparisons"][0]["relative_effect"] = SMALLEST
    assert decided(document)["verdict"] == "ship"


def test_better_by_getting_lower_is_measured_by_its_size():
    document = document_of(GOOD)
    document["metrics"][0]["better"] = "lower"
    document["metrics"][0]["comparisons"][0]["relative_effect"] = -SMALLEST
    assert decided(document)["verdict"] == "ship"


@pytest.mark.parametrize(("better", "estimate"), [("higher", -SMALLEST), ("lower", SMALLEST)])
def test_estimate_that_has_turned_against_a_word_that_a_look_proved_does_not_ship(better, estimate):
    document = document_of(GOOD)
    document["metrics"][0]["better"] = better
    document["metrics"][0]["comparisons"][0]["relative_effect"] = estimate
    found = decided(document)
    assert (found["verdict"], [reason["code"] for reason in found["reasons"]]) == ("do_not_ship", ["effect_too_small"])


def test_better_without_a_relative_effect_is_not_called_too_small():
    document = document_of(GOOD)
    document["metrics"][0]["comparisons"][0]["relative_effect"] = {"not_computed": "the mean of the control is zero"}
    found = decided(document)
    assert (found["verdict"], found["reasons"]) == (
        "do_not_ship",
        [{"code": "not_computed", "metric": "conversion", "detail": "the mean of the control is zero"}],
    )


def test_crossover_reading_that_cannot_be_computed_is_said_in_words():
    crossovers = [
        {"metric": "conversion", "variant": "treatment", "reading": "better", "reading_without_crossovers": None}
    ]
    (reason,) = decided(document_of(GOOD), crossovers)["reasons"]
    assert reason["detail"] == "better with, not computed without units seen in two variants"


def with_primary(*readings, effects=None):
    document = document_of(GOOD)
    document["metrics"] = [
        {
            "metric": f"m{i}",
            "role": "primary",
            "better": "higher",
            "comparisons": [comparison(reading, effect=(effects or {}).get(i, "above"))],
        }
        for i, reading in enumerate(readings)
    ]
    return document


@pytest.mark.parametrize(
    ("readings", "effects", "word", "reasons"),
    [
        (("better", "better"), {}, "ship", ["primary_better m0", "primary_better m1", "guardrails_safe"]),
        (("not_shown", "better"), {}, "ship", ["primary_better m1", "guardrails_safe"]),
        (("better", "worse"), {}, "do_not_ship", ["primary_worse m1"]),
        (("not_shown", "worse"), {}, "do_not_ship", ["primary_worse m1", "no_effect_shown m0"]),
        (("not_shown", "not_shown"), {}, "do_not_ship", ["no_effect_shown m0", "no_effect_shown m1"]),
        (("better", "not_computed"), {}, "do_not_ship", ["not_computed m1"]),
        (("better", "better"), {0: "below"}, "ship", ["primary_better m0", "primary_better m1", "guardrails_safe"]),
        (("better", "better"), {0: "below", 1: "below"}, "do_not_ship", ["effect_too_small m0", "effect_too_small m1"]),
    ],
)  # fmt: skip
def test_one_primary_metric_must_be_better_and_none_worse(readings, effects, word, reasons):
    found = decided(with_primary(*readings, effects=effects))
    named = [f"{reason['code']} {reason.get('metric', '')}".strip() for reason in found["reasons"]]
    assert (found["verdict"], named) == (word, reasons)


def test_every_guardrail_must_be_safe():
    for outcomes in itertools.product(("safe", "not_yet", "harmful"), repeat=2):
        document = document_of(GOOD)
        document["guardrails"] = [{"metric": f"g{i}", "comparisons": [guarded(o)]} for i, o in enumerate(outcomes)]
        harmful = [("guardrail_harmful", f"g{i}") for i, o in enumerate(outcomes) if o == "harmful"]
        unproved = [("guardrail_not_proved_safe", f"g{i}") for i, o in enumerate(outcomes) if o == "not_yet"]
        found = decided(document)
        assert found["verdict"] == ("ship" if outcomes == ("safe", "safe") else "do_not_ship")
        if found["verdict"] != "ship":
            assert [(reason["code"], reason["metric"]) for reason in found["reasons"]] == harmful + unproved


def test_each_treatment_is_decided_by_its_own_comparisons():
    names = [name for name in NAMES if name not in ("ratio", "stage")]
    singles = [{**GOOD, name: value} for name in names for value in {case[name] for case in CASES}]
    singles = [case for case in singles if case["guardrail"] != "none"]
    for one, other in itertools.product(singles, repeat=2):
        document, second = document_of(one), document_of(other)
        for part in ("metrics", "guardrails", "segments"):
            for row, twin in zip(document[part], second[part], strict=True):
                row["comparisons"] = [*row["comparisons"], *({**c, "variant": "short"} for c in twin["comparisons"])]
        crossovers = [*crossovers_of(one), *({**row, "variant": "short"} for row in crossovers_of(other))]
        found = [decided(document, crossovers, variant) for variant in ("treatment", "short")]
        assert [(word["verdict"], codes_of(word)) for word in found] == [expected_of(one), expected_of(other)]


def test_document_of_a_broken_split_withholds_everything():
    experiment = load_experiment(Path(__file__).parents[1] / "experiments", "support_assistant")
    ratio = {"healthy": False, "reason": "units did not fall", "pvalue": 0.0, "alarm_below": 0.001}
    document = results_document(experiment, dt.date(2026, 4, 9), "3f2a", {"units": {}, "maturity": []}, ratio, {})
    assert document["withheld"] == "units did not fall"
    assert (document["metrics"], document["guardrails"], document["segments"]) == ([], [], [])
    assert [(one["variant"], one["verdict"]) for one in document["verdicts"]] == [
        ("short_answers", "invalid"), ("long_answers", "invalid")]  # fmt: skip
