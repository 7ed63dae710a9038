"""Words are claims: what no report says, whatever its verdict, stage and reason."""

import csv
import json
import re

import pytest

from abtest_lib.report import view
from abtest_lib.report.files import delivery
from abtest_lib.report.spreadsheet import numbers_csv
from tests.report.nights import CASES, FORMS, VERDICTS, night, night_of, printed, readable

# What sounds like a result and is none, or claims more than was proved.
FORBIDDEN = re.compile(
    r"\bno effect\b|\bnull effect|\btrend|significan|\bmarginal|\balmost\b|\bnearly\b|\bborderline|\bpromising"
    r"|\bdirectional|\bwinner|\bwinning|\bwon\b|\bloser|\bconfirm|\bclearly\b|\bhighly\b|\bsuggests?\b|\bapproach(es|ing)\b"
    r"|\buplift|\blift\b|\bfailed to reach|\bguarantee|\bconfidence that\b|★|☆|⭐|🏆|\*\s?\*\s?\*",
    re.IGNORECASE,
)
SUCCESS = re.compile(r"(✔|✖|:|,) (better|worse)\b|proved safe|(?<!igher )(?<!ower )\bis (better|worse)\b")
LABELS = {"ship": "✔ SHIP", "do_not_ship": "✖ DO NOT SHIP", "keep_running": "… KEEP RUNNING", "invalid": "⚠ INVALID"}
PVALUE = re.compile(r"\bp [<>=] ?\d")


def said_of(results: dict, history: list) -> dict[str, str]:
    """Every form that people read, and what delivery says in headers and file names."""
    return readable(results, history) | {
        "headers": json.dumps(delivery(view(results, history), printed(results, history).mail), ensure_ascii=False),
    }


@pytest.mark.parametrize("case", VERDICTS, ids="-".join)
def test_no_night_says_what_is_not_proved(case):
    stage, verdict, _ = case
    texts = said_of(*night_of(*case))
    for form, text in texts.items():
        assert not FORBIDDEN.search(text), (form, FORBIDDEN.search(text))
        assert LABELS[verdict] in text, form
    if stage == "interim":
        for form, text in texts.items():
            assert not PVALUE.search(text), form
            assert not SUCCESS.search(text), form


@pytest.mark.parametrize("case", CASES)
def test_no_night_of_the_files_says_what_is_not_proved(case):
    for form, text in said_of(*night(case)).items():
        assert not FORBIDDEN.search(text), (form, FORBIDDEN.search(text))


@pytest.mark.parametrize(
    "phrase",
    ["no effect", "a strong trend", "significant at 5%", "marginally better", "almost there", "***", "winner", "★★★"],
)
def test_search_for_such_words_finds_them(phrase):
    results, history = night("ship")
    results["experiment"]["title"] = phrase
    assert all(FORBIDDEN.search(text) for form, text in said_of(results, history).items() if form != "markdown")


@pytest.mark.parametrize("case", [case for case in VERDICTS if case[1] == "invalid"], ids="-".join)
def test_invalid_night_shows_no_effect_in_any_form(case):
    results, history = night_of(*case)
    assert results["metrics"] and history[-1]["metrics"], "there must be effects that could leak"
    everything = said_of(results, history) | {"csv": numbers_csv(results)}
    everything["report.json"] = json.dumps(view(results, history), ensure_ascii=False)
    for form, text in everything.items():
        assert not re.search(r"[+−]\d", text), form
        assert not PVALUE.search(text), form
        if form != "headers":
            assert not _effects_of(results, history) & set(re.findall(r"\d+\.\d{3,}", text)), form
    assert printed(results, history).images == {}
    sections = {row["section"] for row in csv.DictReader(everything["csv"].splitlines())}
    assert sections == {"sample_ratio", "exposure", "source", "maturity", "error_budget"}


def _effects_of(results: dict, history: list) -> set[str]:
    """The numbers of every comparison, as JSON writes them."""
    names = ("mean_control", "mean_treatment", "effect", "relative_effect")
    found = set()
    for document in (results, *history):
        for entry in (*document["metrics"], *document["guardrails"], *document["segments"]):
            for one in entry["comparisons"]:
                values = [one[name] for name in names if isinstance(one.get(name), float)]
                values += [end for name in ("effect_interval", "relative_interval") for end in one.get(name, ())]
                found |= {json.dumps(abs(value)) for value in values}
    return {text for text in found if re.fullmatch(r"\d+\.\d{3,}", text)}


@pytest.mark.parametrize("name", [*(("file", case, "") for case in CASES), *VERDICTS], ids="-".join)
def test_no_pvalue_stands_without_effect_and_interval_on_its_row(name):
    results, history = night(name[1]) if name[0] == "file" else night_of(*name)
    report = view(results, history)
    rows = [row for metric in report["primary"] for row in metric["rows"]]
    rows += [row for table in report["tables"] for group in table["groups"] for row in group["rows"]]
    for row in rows:
        shown = f"{row['effect']} ({row['interval']}) {row['below']} {row.get('absolute', '')}"
        assert not PVALUE.search(row.get("side", "")) or re.search(r"[+−]?\d.* \(.* to .*\)", shown), row
    lines = printed(results, history).markdown.splitlines()
    for line in (line for line in lines if PVALUE.search(line) and line.startswith("|")):
        assert re.search(r"[+−]?\d.* \([^)]* to [^)]*\)", line), line


@pytest.mark.parametrize("case", VERDICTS, ids="-".join)
def test_every_state_is_a_sign_and_a_word_and_not_only_a_colour(case):
    report = view(*night_of(*case))
    states = [*report["cards"], *(check for card in report["cards"] for check in card["checks"])]
    states += [row for metric in report["primary"] for row in metric["rows"]]
    states += [row for table in report["tables"] for group in table["groups"] for row in group["rows"]]
    for state in states:
        assert state["sign"] and state["word"], state


@pytest.mark.parametrize("case", [case for case in VERDICTS if case[1] != "invalid"], ids="-".join)
def test_first_lines_say_verdict_size_uncertainty_and_blocker(case):
    _, verdict, code = case
    (card,) = view(*night_of(*case))["cards"]
    effect, blocker = card["facts"]
    assert (effect["label"], blocker["label"]) == ("Effect", "Blocker")
    if code == "not_computed":
        assert effect["lead"] == "Not computed."
    else:
        assert re.match(r"[+−]\d", effect["lead"])
        assert re.match(r"\(\d+(\.\d+)?% interval .* to .*\) ", effect["text"])
    assert (blocker["lead"] == "None.") == (verdict == "ship")
    assert blocker["lead"] or blocker["text"]


def test_an_effect_is_called_small_only_when_its_interval_says_so():
    results, history = night_of("final", "do_not_ship", "no_effect_shown")
    comparison = results["metrics"][0]["comparisons"][0]
    for interval, small in (([-0.011, 0.015], True), ([-0.011, 0.0201], False), ([-0.0201, 0.011], False)):
        comparison |= {"relative_effect": 0.002, "relative_interval": interval}
        for form, text in readable(results, history).items():
            assert ("any effect is smaller than 2%, the smallest that matters" in text) is small, form


def test_forms_are_those_of_the_helper():
    assert tuple(readable(*night("ship"))) == FORMS


@pytest.mark.parametrize("case", [case for case in VERDICTS if case[1] == "invalid"], ids="-".join)
def test_first_lines_of_an_invalid_night_withhold_the_effect(case):
    (card,) = view(*night_of(*case))["cards"]
    effect, blocker = card["facts"]
    assert (effect["lead"], effect["text"]) == ("Withheld.", "It cannot be trusted tonight.")
    assert blocker["lead"] or blocker["text"]


def test_effect_in_the_first_lines_is_that_of_the_metric_which_decides():
    results, history = night("ship")
    second = results["metrics"][1]
    second["role"] = "primary"
    results["experiment"]["primary"].append(second["metric"])
    results["verdicts"][0]["reasons"][0]["metric"] = second["metric"]
    (card,) = view(results, history)["cards"]
    assert card["facts"][0]["lead"] == "+1.9%"
    assert card["facts"][0]["text"].endswith("Revenue per user is better.")


def test_blocker_of_another_metric_keeps_its_numbers():
    results, history = night_of("final", "do_not_ship", "primary_worse")
    second = results["metrics"][1]
    second["role"] = "primary"
    results["verdicts"][0]["reasons"].append({"code": "no_effect_shown", "metric": second["metric"]})
    (card,) = view(results, history)["cards"]
    blocker = card["facts"][1]
    said = f"{blocker['lead']} {blocker['text']}"
    assert "Checkout conversion is proved worse." in said
    assert "+1.9% (95% interval +0.7% to +3.2%)" in said
