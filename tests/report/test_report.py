"""Reports of six nights, printed in every format and held against golden files.

After a wanted change: ``pytest tests/report --refresh-golden``, then read the diff of ``tests/report/golden``.
"""

import html
import json
import re
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path

import pytest

from abtest_lib.report import Rendered, render, subject, view

HERE = Path(__file__).parent
CASES = sorted(path.stem for path in (HERE / "cases").glob("*.json"))
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
VOID = {"meta", "br", "img", "hr", "link", "input"}
MAIL_CLIPS_AT = 102 * 1024


def night(case: str) -> tuple[dict, list[dict]]:
    document = json.loads((HERE / "cases" / f"{case}.json").read_text("utf-8"))
    return document["results"], document["history"]


def printed(results: dict, history: list[dict]) -> Rendered:
    return render(view(results, history))


def readable(rendered: Rendered) -> dict[str, str]:
    """Return what a person reads in each format: without tags, escapes and line breaks."""
    page = re.sub(r"<style>.*?</style>|<[^>]*>", " ", rendered.html, flags=re.DOTALL)
    blocks = [element["text"] for block in rendered.slack["blocks"] for element in elements(block)]
    texts = {
        "html": html.unescape(page),
        "text": rendered.text,
        "markdown": re.sub(r"\\([^\w\s])", r"\1", rendered.markdown).replace("**", ""),
        "slack": html.unescape(" ".join([rendered.slack["text"], *blocks])).replace("*", ""),
    }
    return {name: re.sub(r"\s+", " ", text) for name, text in texts.items()}


def elements(block: dict) -> list[dict]:
    return block["elements"] if block["type"] == "context" else [block["text"]]


def with_treatments(results: dict, count: int) -> dict:
    """Repeat the treatment of a night under other names."""
    results = deepcopy(results)
    for entry in (*results["metrics"], *results["guardrails"], *results["segments"]):
        (comparison,) = entry["comparisons"]
        entry["comparisons"] = [comparison | {"variant": f"treatment_{number}"} for number in range(count)]
    (verdict,) = results["verdicts"]
    results["verdicts"] = [verdict | {"variant": f"treatment_{number}"} for number in range(count)]
    return results


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def parsed(document: str) -> Balanced:
    parser = Balanced()
    parser.feed(document)
    parser.close()
    assert parser.open == []
    return parser


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", ["html", "txt", "md", "json"])
def test_report_is_the_golden_one(case, form, request):
    rendered = printed(*night(case))
    slack = json.dumps(rendered.slack, ensure_ascii=False, indent=1) + "\n"
    got = {"html": rendered.html, "txt": rendered.text, "md": rendered.markdown, "json": slack}[form]
    golden = HERE / "golden" / f"{case}.{form}"
    if request.config.getoption("--refresh-golden", default=False):
        golden.write_text(got, "utf-8")
    assert got == golden.read_text("utf-8")


@pytest.mark.parametrize("case", CASES)
def test_all_formats_say_the_same_verdict_and_numbers(case):
    report = view(*night(case))
    said = []
    for card in report["cards"]:
        said += [card["label"], card["action"], card["why"], card["changed"], card["next"]]
    for metric in report["primary"]:
        said += [row[part] for row in metric["rows"] for part in ("effect", "interval", "absolute", "side", "claim")]
    in_mail = []
    for table in (table for table in report["tables"] if table["key"] != "nights"):
        for row in (row for group in table["groups"] for row in group["rows"]):
            silent = table["key"] == "segments" and row["word"] in ("not shown", "interim")
            (in_mail if silent else said).extend((row["effect"], row["interval"]))
    for form, text in readable(render(report)).items():
        for words in filter(None, said if form == "slack" else said + in_mail):
            assert re.sub(r"\s+", " ", words) in text, form


@pytest.mark.parametrize(("case", "lines"), [("ship", ["ios", "DE"]), ("keep_running", [])])
def test_slack_leaves_segments_without_a_claim_to_the_mail(case, lines):
    results, history = night(case)
    sections = [
        block["text"]["text"] for block in printed(results, history).slack["blocks"] if block["type"] == "section"
    ]
    segments = [text for text in sections if text.startswith("*Segments")]
    assert len(segments) == (1 if lines else 0)
    assert re.findall(r"^\S \*(.*)\*", "".join(segments), re.MULTILINE) == lines


def test_a_run_twice_gives_the_same_bytes_and_leaves_its_input_alone():
    results, history = night("ship")
    before = deepcopy((results, history))
    assert printed(results, history) == printed(results, history)
    assert (results, history) == before


def test_invalid_night_shows_no_effect_in_any_format():
    results, history = night("invalid")
    assert history[-1]["metrics"], "the night before must have an effect that could leak"
    for form, text in readable(printed(results, history)).items():
        assert "⚠ INVALID" in text, form
        assert not re.search(r"[+−]\d", text), form
        assert not re.search(r"\bp [<=>]", text), form


def test_failed_sample_ratio_hides_effects_that_the_document_still_holds():
    results, history = night("ship")
    results["sample_ratio"]["healthy"] = False
    for text in readable(printed(results, history)).values():
        assert "⚠ INVALID" in text
        assert not re.search(r"[+−]\d", text)


def test_effect_of_one_invalid_variant_is_hidden_tonight_and_in_the_past():
    results, history = night("three_variants")
    for document in (results, *history):
        for entry in (*document["metrics"], *document["guardrails"], *document["segments"]):
            for comparison in entry["comparisons"]:
                if comparison["variant"] == "guest_first":
                    comparison |= {"relative_effect": 0.7777, "relative_interval": [0.7666, 0.7888], "effect": 0.7555}
    rendered = printed(results, history)
    for form, text in readable(rendered).items():
        assert not re.search(r"7[5678]\.\d+%|7[5678]\d\d|\+0\.7\d\d", text), form
        assert "Withheld: this variant is invalid." in text, form


def test_interim_night_has_no_pvalue_and_no_word_of_success():
    results, history = night("keep_running")
    final, _ = night("ship")
    results["metrics"] = final["metrics"]
    results["segments"] = final["segments"]
    results["guardrails"] = final["guardrails"]
    for form, text in readable(printed(results, history)).items():
        assert "interim" in text, form
        assert not re.search(r"\bp [<=>]", text), form
        assert not re.search(r"(✔|✖|:) (better|worse)|proved safe", text), form


def test_guardrail_proved_harmful_on_an_interim_night_is_said():
    results, history = night("keep_running")
    harmful, _ = night("do_not_ship")
    results["guardrails"], results["verdicts"] = harmful["guardrails"], harmful["verdicts"]
    for text in readable(printed(results, history)).values():
        assert "✖ DO NOT SHIP" in text
        assert "proved harm is decided on any night" in text
        assert not re.search(r"\bp [<=>]", text)


def test_an_effect_within_the_smallest_that_matters_is_told_from_one_not_seen():
    results, history = night("ship")
    results["verdicts"] = [{"variant": "treatment", "verdict": "do_not_ship", "until": None,
                            "reasons": [{"code": "no_effect_shown", "metric": "conversion"}]}]  # fmt: skip
    comparison = results["metrics"][0]["comparisons"][0]
    comparison |= {"reading": "not_shown", "relative_effect": 0.002, "relative_interval": [-0.011, 0.015]}
    for text in readable(printed(results, history)).values():
        assert "any effect is smaller than 2%, the smallest that matters" in text
    comparison["relative_interval"] = [-0.011, 0.021]
    for text in readable(printed(results, history)).values():
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
    for form, text in readable(printed(results, history)).items():
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
    shown = readable(printed(results, history))
    assert all(said in shown[form] for form in ("html", "text", "markdown"))
    results["metrics"][1]["role"] = "primary"
    assert all(said in text for text in readable(printed(results, history)).values())


@pytest.mark.parametrize(
    ("removed", "words"),
    [(0.4, "removes 40% of"), (0.999, "removes more than 99% of"), (0.001, "changes the variance by less"),
     (-0.02, "adds 2% to")],
)  # fmt: skip
def test_a_covariate_that_does_harm_or_nothing_is_said_to(removed, words):
    results, history = night("ship")
    results["metrics"][1]["comparisons"][0]["adjustment"]["variance_removed"] = removed
    for form in ("html", "text", "markdown"):
        assert f"which {words}" in readable(printed(results, history))[form]


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
    for text in readable(printed(results, history)).values():
        assert "djusted for" not in text


def test_unadjusted_effect_of_an_interim_night_has_no_word_of_success():
    results, history = night("ship")
    results["metrics"][1]["role"], results["stage"] = "primary", "interim"
    for form, text in readable(printed(results, history)).items():
        assert "unadjusted +0.39 USD" in text, form
        assert not re.search(r"\bp [<=>]|(✔|✖|:) (better|worse)", text), form


def test_units_of_no_known_segment_come_last_in_their_group():
    results, history = night("ship")
    results["segments"][0]["value"] = "(unknown)"
    groups = next(table for table in view(results, history)["tables"] if table["key"] == "segments")["groups"]
    assert [row["name"] for row in groups[0]["rows"]] == ["android", "web", "(unknown)"]


def test_rows_without_a_unit_are_told_by_source():
    results, history = night("ship")
    lines = view(results, history)["data"]["lines"]
    assert "Source purchases: 214 of 402,118 rows without a unit, not counted." in lines
    assert not any("page_views" in line for line in lines)
    del results["exposure"]["sources"]
    assert not any("without a unit" in line for line in view(results, history)["data"]["lines"])


def test_units_exposed_outside_the_enrolment_are_told():
    results, history = night("ship")
    assert "41 units first exposed outside the enrolment are not counted." in view(results, history)["data"]["lines"]
    results["exposure"]["outside_dates"] = 1
    assert "1 unit first exposed outside the enrolment is not counted." in view(results, history)["data"]["lines"]


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
    for text in readable(printed(results, history)).values():
        assert "the definition was changed" not in text
    plan = dict(view(results, history)["plan"])
    assert plan["Changed"] == "definition changed on the night of 7 Mar 2026 (0123456789 → 7c1e5a90b3)"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless(name):
    results, history = night("ship")
    experiment = results["experiment"]
    experiment |= {"title": name, "hypothesis": name, "owner": name, "team": name, "control": name}
    experiment["weights"] = {name: 1, "treatment": 1}
    results["sample_ratio"] |= {"observed": {name: 1, "treatment": 1}, "expected": {name: 1.0, "treatment": 1.0}}
    results["sample_ratio"]["weights"] = {name: 1, "treatment": 1}
    for entry in (*results["metrics"], *results["guardrails"], *results["maturity"]):
        entry["title"] = name
    for entry in results["segments"]:
        entry |= {"value": name, "name": name}
    rendered = printed(results, history)
    parser = parsed(rendered.html)
    assert not parser.tags & {"script", "img", "a", "b>"}
    assert "49 " not in rendered.text.partition("SHIP")[0]
    assert "\u202e" not in rendered.html + rendered.text + rendered.markdown + json.dumps(rendered.slack)
    assert "\n" not in subject(view(results, history))
    for line in rendered.markdown.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 5, 6)
        assert not re.search(r"(?<!\\)(<\w|!\[|\]\(http|<!|://)", line)
    for block in rendered.slack["blocks"]:
        for element in elements(block):
            assert element["type"] == "plain_text" or not re.search(r"<|>|&(?!amp;|lt;|gt;)", element["text"])


@pytest.mark.parametrize("case", CASES)
def test_html_is_whole_and_needs_nothing_from_elsewhere(case):
    document = printed(*night(case)).html
    parser = parsed(document)
    assert {"html", "title", "meta", "table"} <= parser.tags
    assert not parser.tags & {"script", "svg", "img", "link", "iframe", "object", "form"}
    assert not [name for name, _ in parser.attributes if name in ("src", "href", "background") or name.startswith("on")]
    assert not re.search(r"https?:|data:|url\(|var\(|flex|display:\s*grid|@import", document)
    assert ("lang", "en") in parser.attributes
    assert 'name="viewport"' in document
    assert 'name="color-scheme"' in document


@pytest.mark.parametrize("case", CASES)
def test_every_row_of_a_bar_fills_the_width(case):
    for row in re.findall(r'font-size:0"><tr>(.*?)</tr>', printed(*night(case)).html):
        assert sum(int(width) for width in re.findall(r'width="(\d+)%"', row)) == 100


def test_usual_report_is_small_and_five_treatments_are_not_clipped():
    results, history = night("ship")
    assert len(printed(results, history).html.encode()) <= 40 * 1024
    assert len(printed(with_treatments(results, 5), history).html.encode()) < MAIL_CLIPS_AT


def test_slack_message_keeps_the_limits():
    results, history = night("ship")
    results = with_treatments(results, 5)
    results["experiment"]["title"] = "<&>" * 66
    results["segments"] = [entry | {"value": f"value <&> {n}"} for n in range(40) for entry in results["segments"]]
    for payload in (printed(results, history).slack, *(printed(*night(case)).slack for case in CASES)):
        assert len(payload["blocks"]) <= 50
        for block in payload["blocks"]:
            limit = {"header": 150, "section": 3000, "context": 3000}[block["type"]]
            assert all(0 < len(element["text"]) <= limit for element in elements(block))


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("tone", ["good", "bad", "wait", "warn"])
def test_words_can_be_read_in_light_and_dark(tone):
    source = (HERE.parents[1] / "templates" / "report.html.j2").read_text("utf-8")
    light, dark = source.split("@media (prefers-color-scheme: dark)")
    word, ground = re.search(rf'"{tone}": \("(#\w+)", "(#\w+)"\)', light).groups()
    dark_word = re.search(rf"\n  \.{tone} {{ color: (#\w+)", dark).group(1)
    dark_ground = re.search(rf"\.on-{tone} {{ background-color: (#\w+)", dark).group(1)
    pairs = [(word, ground), (word, "#ffffff"), ("#1c2230", ground), ("#566070", ground), ("#566070", "#ffffff")]
    pairs += [(ink, back) for ink in (dark_word, "#e8ebf0", "#a9b3c1") for back in (dark_ground, "#171c23")]
    for ink, back in pairs:
        assert contrast(ink, back) >= 4.5, (ink, back)


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
    assert "android <b>" not in rendered.html
