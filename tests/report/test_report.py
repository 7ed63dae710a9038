"""What the report says of a night, in every form, held against golden files.

After a wanted change: ``pytest tests/report --refresh-golden``, then read the diff of ``tests/report/golden``.
"""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest

from abtest_lib.report import view
from abtest_lib.report.spreadsheet import numbers_csv
from tests.report.nights import CASES, night, printed, readable, wide

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("case", "form"),
    [(case, form) for case in CASES for form in ("mail.html", "txt", "md", "slack.json", "csv")]
    + [("ship", "page.html"), ("invalid", "page.html")],
)
def test_report_is_the_golden_one(case, form, request):
    results, history = night(case)
    rendered = printed(results, history)
    got = {
        "mail.html": rendered.mail,
        "page.html": re.sub(r"(?<=base64,)[^\"]*", "", rendered.page),
        "txt": rendered.text,
        "md": rendered.markdown,
        "slack.json": json.dumps(rendered.slack, ensure_ascii=False, indent=1) + "\n",
        "csv": numbers_csv(results),
    }[form]
    golden = GOLDEN / f"{case}.{form}"
    if request.config.getoption("--refresh-golden", default=False):
        golden.write_text(got, "utf-8")
    assert got == golden.read_text("utf-8")


@pytest.mark.parametrize("case", CASES)
def test_all_forms_say_the_same_verdict_and_numbers(case):
    results, history = night(case)
    report, said = view(results, history), {}
    everywhere = said["everywhere"] = []
    for card in report["cards"]:
        everywhere += [card["sign"], card["word"], card["until"], card["action"], card["changed"], card["next"]]
        everywhere += [check["detail"] for check in card["checks"]]
    for metric in report["primary"]:
        parts = ("effect", "interval", "absolute", "side", "claim")
        everywhere += [row[part] for row in metric["rows"] for part in parts]
    complete = said["complete"] = []
    for table in report["tables"]:
        for row in (row for group in table["groups"] for row in group["rows"]):
            quiet = table["key"] == "segments" and row["word"] in ("not shown", "interim")
            important = row["short"] and table["key"] != "nights" and not quiet
            (everywhere if important else complete).extend((row["effect"], row["interval"], row["word"]))
    assert everywhere
    for form, text in readable(results, history).items():
        for words in filter(None, everywhere + (complete if form in ("page", "markdown", "json") else [])):
            assert re.sub(r"\s+", " ", words).strip() in text, form


def test_every_form_has_the_same_number_of_rows_with_a_claim_or_says_how_many_more():
    results, history = wide()
    (segments,) = (table for table in view(results, history)["tables"] if table["key"] == "segments")
    rows = [row for group in segments["groups"] for row in group["rows"]]
    assert len(rows) == 100
    assert sum(row["short"] for row in rows) == 8
    assert {row["word"] for row in rows if row["short"]} <= {"better", "worse"}
    left = re.fullmatch(r"92 more in the full report: (.*)\.", segments["more"])[1]
    assert sum(int(count) for count in re.findall(r"\d+", left)) == 92
    shown = readable(results, history)
    assert all(segments["more"] in shown[form] for form in ("mail", "text"))
    for form in ("page", "markdown", "json"):
        assert all(f"value {number}" in shown[form] for number in range(100))


def test_guardrails_that_are_not_safe_come_first():
    results, history = wide()
    (table,) = (table for table in view(results, history)["tables"] if table["key"] == "guardrails")
    words = [row["word"] for group in table["groups"] for row in group["rows"]]
    assert words == ["proved harmful"] * 10 + ["not yet shown safe"] * 10 + ["proved safe"] * 10


def test_a_run_twice_gives_the_same_bytes_and_leaves_its_input_alone():
    results, history = night("ship")
    before = deepcopy((results, history))
    assert printed(results, history) == printed(results, history)
    assert (results, history) == before


def test_invalid_night_shows_no_effect_in_any_format():
    results, history = night("invalid")
    assert history[-1]["metrics"], "the night before must have an effect that could leak"
    for form, text in readable(results, history).items():
        assert "⚠ INVALID" in text, form
        assert not re.search(r"[+−]\d", text), form
        assert not re.search(r"\bp [<=>]", text), form


def test_failed_sample_ratio_hides_effects_that_the_document_still_holds():
    results, history = night("ship")
    results["sample_ratio"]["healthy"] = False
    for text in readable(results, history).values():
        assert "⚠ INVALID" in text
        assert not re.search(r"[+−]\d", text)


def test_effect_of_one_invalid_variant_is_hidden_tonight_and_in_the_past():
    results, history = night("three_variants")
    for document in (results, *history):
        for entry in (*document["metrics"], *document["guardrails"], *document["segments"]):
            for comparison in entry["comparisons"]:
                if comparison["variant"] == "guest_first":
                    comparison |= {"relative_effect": 0.7777, "relative_interval": [0.7666, 0.7888], "effect": 0.7555}
    assert not re.search(r"0\.7[5678]\d\d", numbers_csv(results) + json.dumps(view(results, history)))
    for form, text in readable(results, history).items():
        assert not re.search(r"7[5678]\.\d+%|7[5678]\d\d|\+0\.7\d\d", text), form
        assert "Withheld: this variant is invalid." in text, form


def test_interim_night_has_no_pvalue_and_no_word_of_success():
    results, history = night("keep_running")
    final, _ = night("ship")
    results["metrics"] = final["metrics"]
    results["segments"] = final["segments"]
    results["guardrails"] = final["guardrails"]
    for form, text in readable(results, history).items():
        assert "interim" in text, form
        assert not re.search(r"\bp [<=>]", text), form
        assert not re.search(r"(✔|✖|:) (better|worse)|proved safe", text), form


def test_guardrail_proved_harmful_on_an_interim_night_is_said():
    results, history = night("keep_running")
    harmful, _ = night("do_not_ship")
    results["guardrails"], results["verdicts"] = harmful["guardrails"], harmful["verdicts"]
    for text in readable(results, history).values():
        assert "✖ DO NOT SHIP" in text
        assert "proved harm is decided on any night" in text
        assert not re.search(r"\bp [<=>]", text)


def test_an_effect_within_the_smallest_that_matters_is_told_from_one_not_seen():
    results, history = night("ship")
    results["verdicts"] = [{"variant": "treatment", "verdict": "do_not_ship", "until": None,
                            "reasons": [{"code": "no_effect_shown", "metric": "conversion"}]}]  # fmt: skip
    comparison = results["metrics"][0]["comparisons"][0]
    comparison |= {"reading": "not_shown", "relative_effect": 0.002, "relative_interval": [-0.011, 0.015]}
    for text in readable(results, history).values():
        assert "any effect is smaller than 2%, the smallest that matters" in text
    comparison["relative_interval"] = [-0.011, 0.021]
    for text in readable(results, history).values():
        assert "too small to see with this many units" in text
        assert "any effect is smaller" not in text


@pytest.mark.parametrize(
    ("effect", "interval", "printed_interval"),
    [
        (0.0415, [0.0172, 0.0668], "+1.7% to +6.7%"),
        (0.011, [0.0004, 0.0216], "+0.04% to +2.16%"),
        (-0.031, [-0.0412, -0.0208], "−4.1% to −2.1%"),
        (0.021, [0.01996, 0.0222], "+1.996% to +2.220%"),
        (1.5, [-0.5, 3.5], "−50% to +350%"),
    ],
)
def test_rounding_keeps_an_end_on_its_side_of_zero_and_of_the_smallest_effect(effect, interval, printed_interval):
    results, history = night("ship")
    results["metrics"][0]["comparisons"][0] |= {"relative_effect": effect, "relative_interval": interval}
    assert view(results, history)["primary"][0]["rows"][0]["interval"] == printed_interval


@pytest.mark.parametrize(
    ("pvalue", "words"),
    [(0.00002, "p < 0.001"), (0.0123, "p = 0.012"), (0.0499, "p = 0.0499"), (0.5, "p = 0.50"), (0.999, "p > 0.99")],
)
def test_pvalue_has_two_digits_unless_that_would_hide_the_side_of_alpha(pvalue, words):
    results, history = night("ship")
    results["metrics"][0]["comparisons"][0] |= {"pvalue": pvalue, "family_size": 1}
    assert view(results, history)["primary"][0]["rows"][0]["side"] == words


def test_what_was_not_computed_prints_its_reason():
    results, history = night("not_computed")
    reasons = [
        "all 148,611 treatment units lack a value of this metric",
        "no unit of control bought anything",
        "the variance of control is zero",
        "no control unit has platform = web",
    ]
    for form, text in readable(results, history).items():
        for reason in reasons:
            assert f"not computed, because {reason}" in text, form
        assert not re.search("because because|not computed:|not computed, not computed", text), form
        assert "nan" not in text.lower().split()


def test_adjusted_effect_stands_beside_the_unadjusted_one():
    results, history = night("ship")
    said = (
        "Adjusted for customers.pre_year_spend, which removes 31% of the variance; "
        "unadjusted +0.39 USD (+0.12 to +0.66 USD)."
    )
    shown = readable(results, history)
    assert all(said in shown[form] for form in ("mail", "page", "text", "markdown"))
    results["metrics"][1]["role"] = "primary"
    assert all(said in text for text in readable(results, history).values())


@pytest.mark.parametrize(
    ("removed", "words"),
    [(0.4, "removes 40% of"), (0.999, "removes more than 99% of"), (0.001, "changes the variance by less"),
     (-0.02, "adds 2% to")],
)  # fmt: skip
def test_a_covariate_that_does_harm_or_nothing_is_said_to(removed, words):
    results, history = night("ship")
    results["metrics"][1]["comparisons"][0]["adjustment"]["variance_removed"] = removed
    for form in ("mail", "page", "text", "markdown"):
        assert f"which {words}" in readable(results, history)[form]


def test_segments_of_an_adjusted_metric_name_the_covariate_once():
    results, history = night("ship")
    for segment in results["segments"]:
        segment["comparisons"][0]["adjustment"] = results["metrics"][1]["comparisons"][0]["adjustment"]
    table = next(table for table in view(results, history)["tables"] if table["key"] == "segments")
    assert table["note"].count("Adjusted for customers.pre_year_spend.") == 1


def test_unadjusted_effect_of_an_invalid_variant_is_withheld():
    results, history = night("ship")
    results["metrics"][1]["role"] = "primary"
    results["sample_ratio"]["healthy"] = False
    for text in readable(results, history).values():
        assert "djusted for" not in text


def test_unadjusted_effect_of_an_interim_night_has_no_word_of_success():
    results, history = night("ship")
    results["metrics"][1]["role"], results["stage"] = "primary", "interim"
    for form, text in readable(results, history).items():
        assert "unadjusted +0.39 USD" in text, form
        assert not re.search(r"\bp [<=>]|(✔|✖|:) (better|worse)", text), form


def test_units_of_no_known_segment_come_last_in_their_group():
    results, history = night("ship")
    results["segments"][0]["value"] = "(unknown)"
    groups = next(table for table in view(results, history)["tables"] if table["key"] == "segments")["groups"]
    assert [row["name"] for row in groups[0]["rows"]] == ["android", "web", "(unknown)"]


def test_rows_without_a_unit_are_told_by_source():
    results, history = night("ship")
    lines = view(results, history)["excluded"]
    assert "Source purchases: 214 of 402,118 rows without a unit, not counted" in " ".join(lines)
    assert not any("page_views" in line for line in lines)
    del results["exposure"]["sources"]
    assert not any("without a unit" in line for line in view(results, history)["excluded"])


def test_units_exposed_outside_the_enrolment_are_told():
    results, history = night("ship")
    assert "41 units first exposed outside the enrolment are not counted." in view(results, history)["excluded"]
    results["exposure"]["outside_dates"] = 1
    assert "1 unit first exposed outside the enrolment is not counted." in view(results, history)["excluded"]


def test_nights_that_are_not_earlier_are_left_out():
    results, history = night("ship")
    assert view(results, [*history, results]) == view(results, history)


def test_first_report_says_that_it_is_the_first():
    results, _ = night("ship")
    report = view(results)
    assert report["cards"][0]["changed"] == "This is the first report of the experiment."
    assert [table["key"] for table in report["tables"]] == ["guardrails", "secondary", "segments"]


def test_changed_definition_is_shown_with_its_night():
    results, history = night("ship")
    for past in history[:-2]:
        past["experiment"]["definition_sha256"] = "0123456789abcdef"
    for text in readable(results, history).values():
        assert "the definition was changed" not in text
    plan = dict(view(results, history)["plan"])
    assert plan["Changed"] == "definition changed on the night of 7 Mar 2026 (0123456789 → 7c1e5a90b3)"


def test_look_says_from_when_and_until_when_looks_are_and_what_a_stop_corrects():
    text = " ".join(printed(*night("look")).text.split())
    assert "A look at the experiment while it runs; the last one is on 26 March 2026." in text
    assert "Better: proved by the look of 2 March 2026, at a level that holds over all looks." in text
    assert "Corrected for stopping at the look of 2 March 2026: +" in text
    assert "Looks: 29, nightly from 26 February 2026; alpha spent after O'Brien-Fleming" in text


def test_look_shows_the_pvalue_over_all_looks_and_not_that_of_tonight():
    results, history = night("look")
    shown = view(results, history)["primary"][0]["rows"][0]["side"]
    assert shown.startswith("adjusted p = ") and shown.endswith("(12 looks)")
    tonight = results["metrics"][0]["comparisons"][0]["pvalue"]
    assert f"p = {tonight:.2g}" not in shown


def test_nights_before_the_first_look_say_when_the_looks_begin():
    _, history = night("look")
    text = " ".join(printed(history[0], []).text.split())
    assert "Interim reading, not a decision. The looks begin on 26 February 2026 and end on 26 March 2026." in text
    assert "The looks begin on 26 February 2026; the last one is on 26 March 2026." in text


def test_look_that_proves_nothing_says_that_any_night_may_decide():
    _, history = night("look")
    undecided = history[1]
    assert undecided["verdicts"][0]["verdict"] == "keep_running"
    text = " ".join(printed(undecided, []).text.split())
    assert "Any night's look may decide; the last one is on 26 March 2026." in text


def test_broken_split_says_where_to_look():
    results, history = night("invalid")
    suspect = {"dimension": "customers.platform", "cell": "android <b>",
               "observed": {"control": 5000, "treatment": 4200},
               "expected": {"control": 4600.0, "treatment": 4600.0}, "share_of_units": 0.351, "pvalue": 1e-9,
               "healthy_without": True}  # fmt: skip
    results["sample_ratio"]["suspects"] = [suspect]
    rendered = printed(results, history)
    text = " ".join(rendered.text.split())
    assert (
        "Look at platform = android <b>, 35.1% of the units: control 5,000 (4,600 expected), treatment 4,200 "
        "(4,600 expected); without it the split is as planned." in text
    )
    assert "which chance does not explain. Look first at platform = android <b>." in text
    assert "android <b>" not in rendered.mail + rendered.page


def test_sections_stand_in_the_same_order_in_every_document():
    results, history = night("ship")
    expected = (
        "Checkout conversion is better.", "Changed", "Data quality", "Primary metric: Checkout", "Guardrails: 3",
        "Secondary metrics", "Segments: 2", "Effect over", "Sample ratio:", "Data 296,814 exposed",
        "What was left out", "Reasons, in order", "Plan", "Method", "Freshness", "Repeat this night",
        "Night of 9 March 2026",
    )  # fmt: skip
    for form in ("mail", "page", "text", "markdown"):
        text = re.sub(r"[-#|]{2,}\s?|[#|] ", "", readable(results, history)[form])
        text = text[text.index("Roll out treatment.") + 1 :] if form != "page" else text
        places, start = [], 0
        for words in expected:
            place = text.find(words, start)
            assert place >= 0, (form, words)
            places.append(place)
            start = place
        assert places == sorted(places)


def test_guardrail_not_yet_safe_says_how_many_days_are_left():
    results, history = night("keep_running")
    waits = {row["wait"] for row in rows_of_table(results, history, "guardrails")}
    assert waits == {"10 more days"}
    for form in ("mail", "page", "text", "markdown", "json"):
        assert "10 more days" in readable(results, history)[form], form
    for stage, as_of, said in (
        ("interim", "2026-02-20", "6 to 34 more days"),
        ("look", "2026-03-09", "at most 17 more days"),
        ("look", "2026-03-25", "at most 1 more day"),
        ("final", "2026-03-26", ""),
    ):
        looked, _ = night("look")
        looked |= {"stage": stage, "as_of": as_of}
        looked["guardrails"][0]["comparisons"][0] |= {"outcome": "not_yet", "pvalue_safe": 0.2}
        assert [row["wait"] for row in rows_of_table(looked, [], "guardrails")] == [said]


def rows_of_table(results, history, key):
    tables = view(results, history)["tables"]
    return [row for table in tables if table["key"] == key for group in table["groups"] for row in group["rows"]]


def test_what_changed_names_a_guardrail_that_is_proved_now():
    results, history = night("do_not_ship")
    changed = view(results, history)["cards"][0]["changed"]
    assert "Page latency proved harmful now; 1 guardrail proved safe now" in changed
    tomorrow = results | {"as_of": "2026-03-10"}
    assert "proved" not in view(tomorrow, [*history, results])["cards"][0]["changed"]
    many, history = wide()
    assert "10 guardrails proved harmful now" in view(many, history)["cards"][0]["changed"]


def test_method_says_family_alpha_freshness_lag_and_revision():
    said = dict(view(*night("three_variants"))["promises"])
    assert said["Family"] == "3 primary comparisons, 1 look; Bonferroni"
    assert said["Alpha"].startswith("0.05, all of it spent, 0.0167 for each")
    assert said["Freshness"] == "what was loaded by 9 March 2026, 06:00 UTC; later rows wait"
    assert said["Revision"] == "Definition 7c1e5a90b3, revision 3f2a9c41d07b, abtest 0.1.0"
    looked = dict(view(*night("look"))["promises"])
    assert looked["Alpha"] == "0.05; 12 looks of 29 taken, and tonight's own level is 0.0031"
    assert looked["Lag"] == "up to 3 days (Clicks on results)"
    assert dict(view(*night("keep_running"))["promises"])["Alpha"] == "0.05, none of it spent yet"


def test_what_was_left_out_is_told_with_its_reason():
    assert view(*night("ship"))["excluded"] == [
        "41 units first exposed outside the enrolment are not counted.",
        "Source purchases: 214 of 402,118 rows without a unit, not counted: "
        "nobody can say which variant they belong to.",
        "Revenue per user: 810 nulls dropped (control 405, treatment 405), as its definition says.",
    ]
    results, _ = night("ship")
    results["exposure"] |= {"outside_dates": 0, "sources": []}
    for entry in results["maturity"]:
        entry["dropped_nulls"] = {"control": 0, "treatment": 0}
    assert view(results)["excluded"] == ["Nothing was left out."]


def test_test_of_heterogeneity_is_printed_with_its_statistic():
    results, history = night("ship")
    said = "Cochran's Q 3.10, 2 degrees of freedom, p = 0.21."
    assert all(said in text for text in readable(results, history).values())
    results["heterogeneity"] = [
        {"attribute": "customers.platform", "name": "platform", "metric": "conversion", "variant": "treatment",
         "not_computed": "fewer than two values have enough units"}
    ]  # fmt: skip
    (note,) = (table["note"] for table in view(results, history)["tables"] if table["key"] == "segments")
    assert "differs between values of platform was not computed, because fewer than two values" in note


def test_each_look_shows_its_own_level():
    rows = rows_of_table(*night("look"), "nights")
    assert [row["side"] for row in rows] == ["", "level below 0.0001", "level 0.00012", "level 0.0023", "level 0.0031"]
    assert {row["side"] for row in rows_of_table(*night("ship"), "nights")} == {""}


def test_mail_has_the_last_nights_and_says_how_many_more_there_are():
    results, history = night("ship")
    rows = rows_of_table(results, history, "nights")
    assert [row["name"] for row in rows if row["short"]] == [f"{day} Mar 2026" for day in range(5, 10)]
    (table,) = (table for table in view(results, history)["tables"] if table["key"] == "nights")
    assert table["more"] == "9 more readings of earlier nights in the full report."
