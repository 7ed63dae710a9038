"""Every element, attribute and style of the mail, held against what mail programs support.

The table is ``caniemail.json``: Outlook on Windows, Gmail, Apple Mail, Yahoo, Samsung and Thunderbird. What one of them
does not support stands in ``LOSSES`` with the reason why its loss does no harm, or the mail must not use it.
"""

import json
import re
from functools import cache
from pathlib import Path

import html5lib
import pytest

from tests.report.nights import CASES, night, printed, wide

TABLE = json.loads((Path(__file__).parent / "caniemail.json").read_text("utf-8"))
FEATURES = TABLE["features"]

LOSSES = {
    "css-at-media": "without it the three checks stay side by side, and the mail is light",
    "css-at-media-prefers-color-scheme": "without it the mail is light, as it is drawn without the style block",
    "css-border": "in part: no border is wider than 6 px, and all stand on tables and cells",
    "css-color-scheme": "only tells Apple Mail that dark colours are there",
    "css-display": "in part: block and none only; where it is lost the checks stay side by side",
    "css-display-none": "hides the preheader; where it is lost, max-height, font-size and colour hide it",
    "css-font-size": "in part: sizes are in px",
    "css-font-weight": "in part: bold only",
    "css-important": "in part: in the style block only, in small letters, with a space before it",
    "css-line-height": "in part: in px, with mso-line-height-rule for Outlook",
    "css-margin": "in part: no negative margin and no auto; on p, h1 to h3, lists and tables",
    "css-max-height": "hides the preheader, as display:none does",
    "css-max-width": "in part: Outlook takes the width from the table in the conditional comment",
    "css-overflow": "hides the preheader, as display:none does",
    "css-overflow-wrap": "long names break by word-wrap where this is not known",
    "css-padding": "in part: Outlook leaves it out of p and div; it stands on cells, lists and one notice",
    "css-pseudo-class-last-child": "a last column then ends 8 px earlier",
    "css-selector-adjacent-sibling": "a double line between checks on phones",
    "css-selector-chaining": "a tick keeps its light colour in the dark",
    "css-selector-class": "in part: Gmail drops the style block for other accounts; essentials are inline",
    "css-selector-descendant": "in part: as css-selector-class; rows then lose their lines, not their words",
    "css-selector-type": "in part: as css-selector-class",
    "css-table-layout": "Outlook has fixed tables always",
    "css-text-align": "in part: left only",
    "css-white-space": "a date or an option may break over two lines",
    "css-width": "in part: Outlook takes the width of cells and pictures from their attribute",
    "css-word-wrap": "long names break by overflow-wrap where this is not known",
    "html-aria-hidden": "a reader of the screen then meets empty cells",
    "html-body": "its ground is also on the table inside",
    "html-dir": "in part: ltr only, which is the default",
    "html-height": "in part: on cells and pictures, in px",
    "html-lang": "in part: only on html",
    "html-lists": "in part: neither reversed nor numbered by value",
    "html-meta-color-scheme": "only tells Apple Mail that dark colours are there",
    "html-role": "a reader of the screen then calls the layout a table",
    "html-style": "the mail reads without its style block: essentials are inline",
    "html-width": "in part: in px on pictures, in px and percent on cells",
}
# caniemail has no page on them: old as HTML 4 and CSS 1.
OLD = {
    "css": {"color", "font-family", "mso-line-height-rule", "text-size-adjust", "border-color"},
    "html": {"html", "head", "meta", "title", "tr", "td", "th", "thead", "tbody", "br", "b"},
    "attribute": {
        "bgcolor", "border", "class", "charset", "colspan", "content", "name", "scope", "src", "alt", "style", "id",
    },
}  # fmt: skip
PROPERTIES = {  # caniemail's page for a property that has none of its own
    "border-left": "css-border", "border-left-width": "css-border", "border-top-width": "css-border",
    "border-bottom": "css-border", "border-width": "css-border", "font-weight": "css-font-weight",
    "margin-top": "css-margin", "padding-left": "css-padding", "padding-right": "css-padding",
    "padding-bottom": "css-padding",
}  # fmt: skip
ELEMENTS = {
    "h1": "html-h1-h6", "h2": "html-h1-h6", "h3": "html-h1-h6", "ol": "html-lists", "ul": "html-lists",
    "li": "html-lists",
}  # fmt: skip
UNITS = {"px": "css-unit-px", "%": "css-unit-percent", "em": "css-unit-em", "rem": "css-unit-rem", "vw": "css-unit-vw"}
SELECTORS = {
    r"^[a-z0-9]+$": "css-selector-type", r"\.": "css-selector-class", r" ": "css-selector-descendant",
    r">": "css-selector-child", r"\+": "css-selector-adjacent-sibling", r"~": "css-selector-general-sibling",
    r"\[": "css-selector-attribute", r"[a-z]\.": "css-selector-chaining", r"#": "css-selector-id",
    r"\*": "css-selector-universal", r":last-child": "css-pseudo-class-last-child", r":not": "css-pseudo-class-not",
    r":hover": "css-pseudo-class-hover", r"::before": "css-pseudo-element-before",
}  # fmt: skip


@cache
def mails() -> tuple[str, ...]:
    return (*(printed(*night(case)).mail for case in CASES), printed(*wide()).mail)


def declarations(style: str) -> list[tuple[str, str]]:
    pairs = (entry.partition(":") for entry in style.split(";") if entry.strip())
    return [(name.strip().lower().removeprefix("-webkit-"), value.strip()) for name, _, value in pairs]


def features_of(document: str) -> set[str]:
    """Name caniemail's page of everything that a document uses; what has none is named as it stands."""
    tree = html5lib.parse(document, namespaceHTMLElements=False)
    found, styles = set(), []
    for node in tree.iter():
        if not isinstance(node.tag, str):
            found.add("html-comments")
            continue
        found |= _known("html", ELEMENTS.get(node.tag, f"html-{node.tag}"), node.tag)
        for name, value in node.items():
            if name != "style":
                found |= _known("attribute", f"html-{name}", name)
            if name in ("class", "name") and value == "color-scheme":
                found.add("html-meta-color-scheme")
        styles += declarations(node.get("style", ""))
    (block,) = tree.iter("style")
    for media in re.findall(r"@media ([^{]*)\{", block.text):
        found.add("css-at-media")
        found |= {"css-at-media-prefers-color-scheme"} if "prefers-color-scheme" in media else set()
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"@media[^{]*\{", "", block.text)):
        styles += declarations(body)
        for selector in (entry.strip().removeprefix("}").strip() for entry in selectors.split(",")):
            found |= {page for pattern, page in SELECTORS.items() if re.search(pattern, selector)}
            unknown = re.sub(r"::?(root|last-child)", "", selector)
            assert not re.search(r":", unknown), selector
    for name, value in styles:
        found |= _known("css", PROPERTIES.get(name, f"css-{name}"), name)
        found |= {"css-important"} if "!important" in value else set()
        found |= {"css-display-none"} if (name, value) == ("display", "none") else set()
        units = re.findall(r"(?<![#\w])[\d.]+([a-z%]+)", value)
        found |= {UNITS.get(unit, f"css-unit-{unit}") for unit in units}
    return found


def _known(kind: str, page: str, name: str) -> set[str]:
    return {page} if page in FEATURES else set() if name in OLD[kind] else {f"{kind}: {name}"}


def test_mail_uses_nothing_that_a_mail_program_lacks_without_a_reason():
    for document in mails():
        used = features_of(document)
        assert not [name for name in used if name not in FEATURES], "unknown to the table: say what it is"
        lacking = {name: FEATURES[name] for name in used if FEATURES[name].keys() & {"n", "a"}}
        assert not {name: programs for name, programs in lacking.items() if name not in LOSSES}


def test_every_reason_is_needed():
    used = set().union(*(features_of(document) for document in mails()))
    assert not LOSSES.keys() - {name for name in used if FEATURES[name].keys() & {"n", "a"}}


@pytest.mark.parametrize("program", ["outlook windows", "gmail ios", "apple-mail ios", "yahoo android",
                                     "samsung-email android", "thunderbird macos"])  # fmt: skip
def test_table_knows_the_program(program):
    assert program in TABLE["programs"]
    assert sum(program in clients for feature in FEATURES.values() for clients in feature.values()) > 20


@pytest.mark.parametrize(
    ("piece", "found"),
    [
        ("<p style='display:flex'>", "css-display"),
        ("<p style='box-shadow:1px 1px #000000'>", "css-box-shadow"),
        ("<p style='width:10vw'>", "css-unit-vw"),
        ("<video>", "html-video"),
        ("<p inert>", "attribute: inert"),
        ("<custom>", "html: custom"),
    ],
)
def test_lint_finds_what_mail_programs_lack(piece, found):
    assert found in features_of(mails()[0].replace("<h1", f"{piece}<h1"))


def test_mail_has_no_remote_or_drawn_part_and_only_plain_colours():
    for document in mails():
        assert not re.search(r"data:|<svg|<script|https?:|//|url\(|var\(|calc\(|flex|grid|@import|@font-face", document)
        assert not re.search(r"\b(rgba?|hsla?|oklch|color-mix|light-dark)\(", document)
        styles = " ".join(re.findall(r'style="([^"]*)"|<style>(.*?)</style>', document, re.DOTALL)[0])
        for name, value in re.findall(r"([a-z-]*color)\s*:\s*([^;}!]+)", styles):
            assert name == "prefers-color-scheme" or re.fullmatch(r"#[0-9a-f]{6}", value.strip()), (name, value)
        for value in re.findall(r'bgcolor="([^"]*)"', document):
            assert re.fullmatch(r"#[0-9a-f]{6}", value)


def test_pictures_have_words_size_and_ground():
    for document in mails():
        for node in html5lib.parse(document, namespaceHTMLElements=False).iter("img"):
            assert re.fullmatch(r"cid:[a-z]+", node.get("src"))
            assert len(node.get("alt")) > 20
            assert 300 <= int(node.get("width")) <= 568
            assert not node.get("height"), "Yahoo keeps it, and squeezes the picture on phones"
            assert "background-color:#ffffff" in node.get("style")
