"""Mail and page as documents: whole, small, self-contained, and harmless whatever names hold."""

import html
import json
import re

import html5lib
import pytest

from abtest_lib.report import view
from abtest_lib.report.spreadsheet import numbers_csv
from abtest_lib.resources import folder
from tests.report.nights import CASES, VERDICTS, night, night_of, printed, slack_text, wide, with_treatments

HOSTILE = (
    "<script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %}",
    "a | b `code` *bold* [link](http://evil.example) ![x](http://evil.example/x.png)",
    "<!channel> <@U123> <http://evil.example|click>",
    "line\nbreak\r\n# heading\t\u2028end",
    "😀 emoji 👩‍🔬",
    "שלום עולם \u202eevil",
    "\"quoted\" & 'single' &lt;b&gt;",
    '=HYPERLINK("http://evil.example")',
    "x" * 200,
)
MAIL_CLIPS_AT = 102 * 1024  # Gmail cuts a longer one
EVERY_NIGHT = [("file", case, "") for case in CASES] + VERDICTS


def night_named(name: tuple[str, str, str]) -> tuple[dict, list[dict]]:
    return night(name[1]) if name[0] == "file" else night_of(*name)


def parsed(document: str):
    """Parse as a browser does; an error that a browser would repair is raised."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(document)


@pytest.mark.parametrize("name", EVERY_NIGHT, ids="-".join)
def test_mail_and_page_are_whole_and_need_nothing_from_elsewhere(name):
    rendered = printed(*night_named(name))
    for document in (rendered.mail, rendered.page):
        tree = parsed(document)
        tags = {node.tag for node in tree.iter() if isinstance(node.tag, str)}
        assert {"html", "title", "meta", "table", "h1"} <= tags
        assert not tags & {"script", "svg", "link", "iframe", "object", "form", "base"}
        assert tree.get("lang") == "en"
        for node in tree.iter():
            assert not [key for key, _ in node.items() if key.startswith("on") or key in ("srcset", "background")]
            assert re.match(r"cid:|data:image/png;base64,|#|$", node.get("src", "") + node.get("href", ""))
        assert not re.search(r"https?:|url\(|var\(|flex|display:\s*grid|@import", document)
    assert "data:" not in rendered.mail
    assert "cid:" not in rendered.page


def test_page_leads_to_each_of_its_sections():
    tree = parsed(printed(*night("three_variants")).page)
    targets = [node.get("href")[1:] for node in tree.iter("a")]
    anchors = [node.get("id") for node in tree.iter() if node.get("id")]
    assert len(targets) > 8
    assert sorted(targets) == sorted(anchors)


@pytest.mark.parametrize("case", CASES)
def test_every_row_of_a_bar_fills_the_width(case):
    rendered = printed(*night(case))
    for row in re.findall(r'font-size:0"><tr>(.*?)</tr>', rendered.mail + rendered.page):
        assert sum(int(width) for width in re.findall(r'width="(\d+)%"', row)) == 100


def test_usual_mail_is_small():
    for case in ("ship", "do_not_ship", "keep_running", "look"):
        assert len(printed(*night(case)).mail.encode()) <= 40 * 1024


def test_mail_of_100_segments_and_30_guardrails_is_small_and_its_page_whole():
    rendered = printed(*wide(segments=100, guardrails=30))
    assert len(rendered.mail.encode()) <= 90 * 1024
    assert all(f">value {number}</b>" in rendered.page for number in range(100))
    assert all(f">Guardrail {number}</b>" in rendered.page for number in range(30))
    results, history = wide(segments=100, guardrails=30)
    for entry in (*results["segments"], *results["guardrails"]):
        entry["title"] = entry["value"] = "W&" * 40
    assert len(printed(results, history).mail.encode()) <= 90 * 1024


def test_mail_of_five_treatments_is_not_clipped():
    results, history = night("ship")
    assert len(printed(with_treatments(results, 5), history).mail.encode()) < MAIL_CLIPS_AT


def test_last_line_of_the_mail_is_another_each_night():
    results, history = night("ship")
    last = []
    for revision, as_of in (
        ("3f2a9c41d07b", "2026-03-09"),
        ("aaaa9c41d07b", "2026-03-09"),
        ("3f2a9c41d07b", "2026-03-10"),
    ):
        rendered = printed(results | {"revision": revision, "as_of": as_of}, history)
        (paragraph,) = re.findall(r"<p[^>]*>([^<]*)</p>\s*</td></tr></table>\s*<!--", rendered.mail)
        assert rendered.text.splitlines()[-1] == html.unescape(paragraph)
        last.append(paragraph)
    assert last[0] == "Night of 9 March 2026, revision 3f2a9c41d07b."
    assert len(set(last)) == 3


def named(name: str) -> tuple[dict, list[dict]]:
    """Put one name at every place of a night that people choose names for."""
    results, history = night("ship")
    experiment = results["experiment"]
    experiment |= {"title": name, "hypothesis": name, "owner": name, "team": name, "control": name}
    experiment["weights"] = {name: 1, "treatment": 1}
    results["sample_ratio"] |= {"observed": {name: 1, "treatment": 1}, "expected": {name: 1.0, "treatment": 1.0}}
    results["sample_ratio"]["weights"] = {name: 1, "treatment": 1}
    results["exposure"]["units"] = {name: 148203, "treatment": 148611}
    results["exposure"]["sources"][0]["source"] = name
    for entry in (*results["metrics"], *results["guardrails"], *results["maturity"]):
        entry["title"] = name
    for entry in results["segments"]:
        entry |= {"value": name, "name": name}
    return results, history


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless(name):
    results, history = named(name)
    rendered = printed(results, history)
    report = view(results, history)
    for document in (rendered.mail, rendered.page):
        tags = {node.tag for node in parsed(document).iter()}
        assert not tags & {"script", "b>"}
    assert not {"a"} & {node.tag for node in parsed(rendered.mail).iter()}
    assert "49 " not in rendered.text.partition("SHIP")[0]
    everything = rendered.mail + rendered.page + rendered.text + rendered.markdown + numbers_csv(results)
    assert "\u202e" not in everything + json.dumps([rendered.slack, report], ensure_ascii=False)
    assert not re.search(r"[\r\n\u2028]", report["subject"] + report["preheader"] + report["thread"])
    for line in rendered.markdown.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 5, 6)
        assert not re.search(r"(?<!\\)(<\w|!\[|\]\(http|<!|://)", line)
    assert slack_text(rendered.slack["night"])


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("tone", ["good", "bad", "wait", "warn"])
def test_words_can_be_read_in_light_and_dark(tone):
    source = (folder("templates") / "macros.html.j2").read_text("utf-8")
    light, dark = source.split("@media (prefers-color-scheme: dark)")
    word, ground = re.search(rf'"{tone}": \("(#\w+)", "(#\w+)"\)', light).groups()
    dark_word = re.search(rf"\n  \.{tone} {{ color: (#\w+)", dark).group(1)
    dark_ground = re.search(rf"\.on-{tone} {{ background-color: (#\w+)", dark).group(1)
    pairs = [(word, ground), (word, "#ffffff"), ("#1c2230", ground), ("#566070", ground), ("#566070", "#ffffff")]
    pairs += [(ink, back) for ink in (dark_word, "#e8ebf0", "#a9b3c1") for back in (dark_ground, "#171c23")]
    for ink, back in pairs:
        assert contrast(ink, back) >= 4.5, (ink, back)
