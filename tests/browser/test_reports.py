"""Mail and page as a browser shows them: no overflow, nothing axe finds, contrast, meaning without pictures."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.report.nights import CASES, VERDICTS, night, night_of, printed

WIDTHS = (600, 375, 320)
SCHEMES = ("light", "dark")
# A mail program gives a mail its title and landmarks; a mail brings neither.
NOT_A_PAGE = ["region", "landmark-one-main", "page-has-heading-one", "bypass"]
# What is wider than the window, and what of the text is cut by its own box.
OVERFLOW = """() => {
    const wide = [], limit = window.innerWidth, whole = document.scrollingElement.scrollWidth;
    if (whole > limit) wide.push('page ' + whole);
    for (const element of document.querySelectorAll('body *')) {
        const {left, right, width} = element.getBoundingClientRect();
        if (width && (right > limit + 0.5 || left < -0.5))
            wide.push(`${element.tagName}.${element.className} ${Math.round(left)}..${Math.round(right)}`);
    }
    return wide.slice(0, 5);
}"""
# What a reader sees before scrolling: the text whose box begins on the first screen.
FIRST_SCREEN = """() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), seen = [], range = new Range();
    while (walker.nextNode()) {
        range.selectNodeContents(walker.currentNode);
        const {top, height} = range.getBoundingClientRect();
        if (top < window.innerHeight && height > 2) seen.push(walker.currentNode.data);
    }
    return seen.join('').replace(/\\s+/g, ' ');
}"""
# The colour of every kind of mark and of the ground beside it.
MARKS = """() => [...document.querySelectorAll('[class*="bar-"]')].map(cell => {
    const ground = cell.parentElement.querySelector('.track');
    return ground && [cell.className, getComputedStyle(cell).backgroundColor, getComputedStyle(ground).backgroundColor];
}).filter(Boolean)"""


@pytest.fixture(scope="module")
def page(chromium):
    page = chromium.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def documents():
    """Every report that is looked at: mail and page of each case."""
    found = {}
    for case in CASES:
        rendered = printed(*night(case))
        found[f"{case} mail"], found[f"{case} page"] = rendered.mail, rendered.page
    return found


def names(kind):
    return [f"{case} {kind}" for case in CASES]


def shown(page, document, *, width=600, scheme="light"):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.set_content(document)


@pytest.mark.parametrize("name", names("mail") + names("page"))
def test_nothing_is_wider_than_the_window(name, documents, page):
    # Some mail programs drop a mail's style element; a page keeps its own.
    without = re.sub(r"<style>.*?</style>", "", documents[name], flags=re.DOTALL)
    for width in WIDTHS:
        for document in {documents[name], without} if name.endswith("mail") else {documents[name]}:
            shown(page, document, width=width)
            assert page.evaluate(OVERFLOW) == [], f"{width} px, {'with' if '<style>' in document else 'without'} style"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", names("mail") + names("page"))
def test_axe_finds_nothing(name, scheme, documents, page):
    shown(page, documents[name], width=375, scheme=scheme)
    options = {"resultTypes": ["violations"]}
    if name.endswith("mail"):
        options["rules"] = {rule: {"enabled": False} for rule in NOT_A_PAGE}
    found = Axe().run(page, options=options).response["violations"]
    assert [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_marks_stand_out_from_their_ground(scheme, documents, page):
    seen = set()
    for document in documents.values():
        shown(page, document, scheme=scheme)
        for kind, mark, ground in page.evaluate(MARKS):
            seen.add(kind)
            assert contrast(mark, ground) >= 3, (kind, mark, ground)
    assert {"bar-good", "bar-bad", "bar-flat"} <= seen


def contrast(one, other):
    """The contrast of two colours (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("stage", "verdict", "code"), VERDICTS)
def test_the_first_screen_says_it_without_pictures_and_colours(stage, verdict, code, page):
    """Sign and word, what to do, size and uncertainty, or why there is none, on the first screen of a phone."""
    mail = printed(*night_of(stage, verdict, code)).mail
    bare = re.sub(r"<style>.*?</style>|<img[^>]*>|(?:bg)?color[:=][^;\"]*[;\"]?", "", mail, flags=re.DOTALL)
    shown(page, bare, width=375)
    first = page.evaluate(FIRST_SCREEN)
    words = {"ship": "✔ SHIP", "do_not_ship": "✖ DO NOT SHIP", "keep_running": "… KEEP RUNNING", "invalid": "⚠ INVALID"}
    assert words[verdict] in first
    assert "Effect" in first
    assert "Blocker" in first
    size = re.search(r"[+−]\d[\d.]*% \(9\d% interval [+−]?\d", first)
    assert bool(size) == (verdict != "invalid" and code != "not_computed"), first
