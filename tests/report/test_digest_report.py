"""The digest in its formats: the same in each, small, harmless, urgent first, and no effect of an invalid variant."""

import datetime as dt
import html
import json
import re
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from abtest_lib.digest import Standing, TeamNight
from abtest_lib.report.digest import SECTIONS, correction, render, view
from tests.report.nights import VERDICTS, night_of
from tests.report.test_mail_lint import FEATURES, LOSSES, features_of
from tests.report.test_report_words import FORBIDDEN, LABELS, PVALUE, SUCCESS

CASES = Path(__file__).parent / "cases"
AS_OF = dt.date(2026, 3, 9)
HOSTILE = (
    "<script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %}",
    "a | b `code` *bold* [link](http://evil.example) ![x](http://evil.example/x.png)",
    "<!channel> <@U123> <http://evil.example|click>",
    "line\nbreak\r\n# heading\t\u2028end",
    "😀 emoji 👩‍🔬",
    "שלום עולם \u202eevil",
    "\"quoted\" & 'single' &lt;b&gt;",
    "x" * 200,
)


def document(case):
    return json.loads((CASES / f"{case}.json").read_text("utf-8"))["results"]


def standing(case, *, last="keep_running", key=None, **changes):
    """An experiment on the night of a case, with the verdict ``last`` on the night before."""
    tonight = document(case)
    before = deepcopy(tonight)
    before["as_of"] = str(dt.date.fromisoformat(tonight["as_of"]) - dt.timedelta(days=1))
    for verdict in before["verdicts"]:
        verdict["verdict"] = last
    return Standing(
        key or case, f"Title of {key or case}", "reported", tonight["as_of"], tonight, before if last else None,
        tonight["as_of"], tonight["experiment"]["decides_on"], **changes,
    )  # fmt: skip


def trouble(key, state="failed", text="collect broke", step="collect"):
    return Standing(key, f"Title of {key}", state, str(AS_OF), problems=((step, text),), decides_on="2026-03-20")


HELD = (
    "late, 2026-03-09: waited since 2026-03-09 00:01 UTC, for 24 h, and still lacks purchases "
    "(2026-03-08 is not in the load log; expected by 2026-03-09 03:00 UTC, usual 03:00)."
)


def said_of(*standings, team="search", as_of=None):
    nights = [one.night for one in standings]
    as_of = as_of or (dt.date.fromisoformat(max(nights)) if nights else AS_OF)
    return view(TeamNight(team, as_of, tuple(replace(one, night=str(as_of)) for one in standings)))


def everything():
    return said_of(
        standing("keep_running"),
        standing("ship", last="ship", key="stands"),
        standing("invalid"),
        trouble("gone"),
        trouble("late", "held", f"{HELD}\nLoad what is missing.", "outcomes_ready"),
        standing("ship"),
        standing("do_not_ship", last="ship"),
    )  # fmt: skip


def texts(rendered):
    page = re.sub(r"<style>.*?</style>|<[^>]*>", " ", rendered.html, flags=re.DOTALL)
    blocks = [part["text"] for block in rendered.slack["blocks"] for part in parts(block)]
    found = {"html": html.unescape(page), "text": rendered.text, "slack": " ".join(blocks),
             "markdown": re.sub(r"\\([^\w\s])", r"\1", rendered.markdown).replace("**", "")}  # fmt: skip
    return {name: re.sub(r"\s+", " ", text) for name, text in found.items()}


def parts(block):
    if block["type"] == "rich_text":
        return [part for section in block["elements"] for part in section["elements"]]
    return block["elements"] if block["type"] == "context" else [block["text"]]


@pytest.mark.parametrize("form", ["html", "txt", "md", "slack.json", "json"])
def test_digest_is_the_golden_one(form, request):
    report = everything()
    rendered = render(report)
    printed = {"html": rendered.html, "txt": rendered.text, "md": rendered.markdown}
    for name, value in (("slack.json", rendered.slack), ("json", report)):
        printed[name] = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    golden = Path(__file__).parent / "golden" / f"digest.{form}"
    if request.config.getoption("--refresh-golden", default=False):
        golden.write_text(printed[form], "utf-8")
    assert printed[form] == golden.read_text("utf-8")


def test_sections_stand_in_the_order_of_who_needs_a_decision():
    report = everything()
    assert [section["key"] for section in report["sections"]] == ["decided", "invalid", "trouble", "before", "running"]
    assert {row["key"] for row in report["sections"][0]["rows"]} == {"ship", "do_not_ship"}
    assert list(SECTIONS) == ["decided", "unsigned", "invalid", "trouble", "alarm", "before", "running"]


def test_all_formats_say_the_same_verdicts_reasons_and_dates():
    report = everything()
    rows = [row for section in report["sections"] for row in section["rows"]]
    assert len(rows) == 7
    for name, text in texts(render(report)).items():
        places = [text.index(row["title"]) for row in rows]
        assert places == sorted(places), name
        for row in rows:
            said = [verdict[part] for verdict in row["verdicts"] for part in ("label", "text")]
            said += [one[part] for one in row["trouble"] for part in ("sign", "word", "text")]
            for words in (*said, row["changed"], row["next"], report["tally"], report["kicker"]):
                assert re.sub(r"\s+", " ", words) in text, (name, words)


def test_decided_experiment_has_size_with_interval_and_what_it_was_before():
    (row,) = said_of(standing("ship"))["sections"][0]["rows"]
    (verdict,) = row["verdicts"]
    assert verdict["label"] == "✔ SHIP"
    assert re.search(r"Roll out \w+\. .* is better: \+[\d.]+% \(95% interval \+[\d.]+% to \+[\d.]+%\)", verdict["text"])
    assert row["changed"].startswith("Was KEEP RUNNING on ")


def test_running_experiment_has_an_interim_reading_and_no_word_of_success():
    report = said_of(standing("keep_running"))
    (row,) = report["sections"][0]["rows"]
    assert ": interim reading " in row["verdicts"][0]["text"]
    assert row["changed"] == "Verdict unchanged."
    assert not re.search(r"\b(better|worse|significant|winner|p [<=])", json.dumps(row))


def test_invalid_experiment_shows_no_effect_in_any_format():
    broken = standing("ship")
    broken.document["sample_ratio"] |= {"healthy": False}
    for name, text in texts(render(said_of(broken))).items():
        assert "⚠ INVALID" in text, name
        assert not re.search(r"[+−]\d|interval \W?\d|better|SHIP", text.replace("the interval of", "")), (name, text)


@pytest.mark.parametrize("case", VERDICTS, ids="-".join)
def test_no_digest_says_what_is_not_proved(case):
    (stage, verdict, _), (tonight, history) = case, night_of(*case)
    last = [past for past in history if past["as_of"] < tonight["as_of"]][-1]
    one = Standing("one", "One", "reported", tonight["as_of"], tonight, last, tonight["as_of"], "2026-03-26")
    report = said_of(one)
    for form, text in (texts(render(report)) | {"json": json.dumps(report, ensure_ascii=False)}).items():
        assert LABELS[verdict] in text, form
        assert not FORBIDDEN.search(text), (form, FORBIDDEN.search(text))
        assert not PVALUE.search(text), form
        if stage == "interim":
            assert not SUCCESS.search(text), form
        if verdict == "invalid":
            assert not re.search(r"[+−]\d", text), form
        elif case[2] != "not_computed":
            assert re.search(r"[+−]?[\d.]+% \([\d.]+% interval ", text), form


def test_newly_harmed_guardrail_of_a_decided_experiment_is_an_alarm():
    tonight = standing("do_not_ship", last="do_not_ship")
    harmed = next(g for g in tonight.document["guardrails"] if g["comparisons"][0]["outcome"] == "harmful")
    assert said_of(tonight)["sections"][0]["key"] == "before"
    past = next(g for g in tonight.last["guardrails"] if g["metric"] == harmed["metric"])
    past["comparisons"][0]["outcome"] = "not_yet"
    assert said_of(tonight)["sections"][0]["key"] == "alarm"


def test_first_report_says_so_and_a_first_verdict_is_decided_tonight():
    assert said_of(standing("ship", last=None))["sections"][0]["key"] == "decided"
    first = said_of(standing("keep_running", last=None))["sections"][0]
    assert (first["key"], first["rows"][0]["changed"]) == ("running", "First report.")


def test_verdict_that_is_taken_back_is_among_the_changes():
    section = said_of(standing("keep_running", last="ship"))["sections"][0]
    assert section["key"] == "decided"
    assert section["rows"][0]["changed"].startswith("Was SHIP on ")


def test_changed_definition_is_told():
    tonight = standing("keep_running")
    tonight.last["experiment"]["definition_sha256"] = "0" * 64
    assert said_of(tonight)["sections"][0]["rows"][0]["changed"] == "Verdict unchanged. The definition was changed."


def test_several_treatments_have_a_line_each():
    tonight = standing("ship")
    (verdict,) = tonight.document["verdicts"]
    tonight.document["verdicts"] = [verdict | {"variant": name} for name in ("blue", "green")]
    for entry in (*tonight.document["metrics"], *tonight.document["guardrails"], *tonight.document["segments"]):
        (one,) = entry["comparisons"]
        entry["comparisons"] = [one | {"variant": name} for name in ("blue", "green")]
    report = said_of(tonight)
    assert report["tally"] == "✔ 2 SHIP"
    for name, text in texts(render(report)).items():
        assert re.search(r"blue: ✔ SHIP.* green: ✔ SHIP", text), name


def test_running_experiments_are_ordered_by_the_night_that_decides():
    standings = [standing("keep_running", key=key) for key in ("late", "soon")]
    standings[0].document["verdicts"][0]["until"] = "2026-12-24"
    rows = said_of(*standings)["sections"][0]["rows"]
    assert [row["key"] for row in rows] == ["soon", "late"]


def test_row_that_cannot_be_worded_is_trouble_and_leaves_the_others():
    broken = standing("ship", key="odd")
    broken.document["metrics"] = [{"role": "primary"}]
    report = said_of(broken, standing("ship"))
    assert [section["key"] for section in report["sections"]] == ["decided", "trouble"]
    assert "cannot be read" in report["sections"][1]["rows"][0]["trouble"][0]["text"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless(name):
    tonight = replace(standing("ship"), title=name)
    experiment = tonight.document["experiment"]
    experiment |= {"title": name, "control": name, "weights": {name: 1, "treatment": 1}}
    for entry in (*tonight.document["metrics"], *tonight.document["guardrails"], *tonight.document["maturity"]):
        entry["title"] = name
    report = said_of(tonight, replace(trouble("gone", text=name, step=name), title=name), team=name)
    rendered = render(report)
    tags = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.add(tag)
    parser.feed(rendered.html)
    assert not tags & {"script", "img", "a", "b>"}
    everything = rendered.html + rendered.text + rendered.markdown + json.dumps(rendered.slack, ensure_ascii=False)
    assert "\u202e" not in everything and "\u2028" not in everything
    assert not re.search(r"[\r\n]", report["subject"] + report["preheader"])
    for line in rendered.markdown.splitlines():
        assert not re.search(r"(?<!\\)(<\w|!\[|\]\(http|<!|://)", line)
    for block in rendered.slack["blocks"]:
        assert {part["type"] for part in parts(block)} <= {"plain_text", "text"}
    assert not re.search(r"[<>]", rendered.slack["text"])


def fleet(count):
    kinds = [
        *[standing("keep_running")] * 12, standing("ship"), standing("do_not_ship"), standing("ship", last="ship"),
        standing("do_not_ship", last="do_not_ship"), standing("invalid"), trouble("gone"), *[standing("look")] * 2,
    ]  # fmt: skip
    numbered = [kinds[number % len(kinds)] for number in range(count)]
    return [replace(one, key=f"e{n}", title=f"Checkout with {n} steps") for n, one in enumerate(numbered)]


def test_a_hundred_experiments_fit_into_a_mail_of_40_kb():
    report = said_of(*fleet(100))
    assert sum(len(section["rows"]) for section in report["sections"]) == 100
    assert report["more"] == ""
    assert len(render(report).html.encode()) <= 40 * 1024


def test_more_than_fit_are_counted_and_the_urgent_ones_are_kept():
    for name in ("<&>" * 66, "大" * 80):
        hostile = [replace(one, title=name) for one in fleet(240)]
        assert len(render(said_of(*hostile)).html.encode()) <= 40 * 1024
    report = said_of(*fleet(240))
    rendered = render(report)
    assert len(rendered.html.encode()) <= 40 * 1024
    assert re.match(r"\d+ more experiments are not shown here: .*… \d+ KEEP RUNNING", report["more"])
    assert [section["key"] for section in report["sections"]][:3] == ["decided", "invalid", "trouble"]
    assert all(report["more"] in text for text in texts(rendered).values())


def test_slack_message_keeps_the_limits():
    for report in (said_of(*fleet(240)), everything(), said_of()):
        blocks = render(report).slack["blocks"]
        assert len(blocks) <= 50
        for block in blocks:
            found = parts(block)
            limit = {"header": 150, "context": 2000, "rich_text": 3000}[block["type"]]
            assert 0 < sum(len(part["text"]) for part in found) <= limit
            assert all(part["text"] for part in found)


def test_html_is_whole_and_needs_nothing_from_elsewhere():
    document = render(everything()).html
    assert not re.search(r"<(script|svg|img|link|iframe|a)\b|https?:|data:|url\(|var\(|flex|display:\s*grid", document)
    assert 'name="color-scheme"' in document and 'name="viewport"' in document
    for tag in ("table", "tr", "td", "p", "b", "span", "h2"):
        assert len(re.findall(rf"<{tag}[ >]", document)) == document.count(f"</{tag}>"), tag


def test_mail_uses_nothing_that_a_mail_program_lacks_without_a_reason():
    used = features_of(render(everything()).html) | features_of(render(said_of()).html)
    assert not [name for name in used if name not in FEATURES]
    assert not [name for name in used if FEATURES[name].keys() & {"n", "a"} and name not in LOSSES]


def test_night_without_experiments_says_so():
    report = said_of()
    assert (report["tally"], report["preheader"]) == ("", "No experiment is running.")
    assert all("No experiment is running." in text for name, text in texts(render(report)).items() if name != "slack")


def test_correction_names_experiments_that_came_went_or_differ():
    before, now = said_of(standing("ship"), trouble("gone")), said_of(standing("ship", last="ship"), trouble("new"))
    assert correction(before, now) == (
        "Corrected: replaces the digest of this night that was sent before. What differs: Title of new, Title of ship "
        "and Title of gone."
    )


def test_same_night_is_printed_the_same():
    assert render(everything()) == render(everything())
