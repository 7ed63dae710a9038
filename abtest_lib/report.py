"""Tell people what one night of an experiment means.

``view`` words every verdict and formats every number once; ``render`` prints that one view as HTML, text, Markdown and
Slack. Slack blocks are built here and not by a template: their limits count characters of the finished strings, and
JSON written by a text template breaks on the first quotation mark in a name.
"""

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from math import ceil, isfinite, log10
from typing import Any

import jinja2

from abtest_lib.resources import folder

_VERDICTS = {
    "ship": ("✔", "SHIP", "good"),
    "do_not_ship": ("✖", "DO NOT SHIP", "bad"),
    "keep_running": ("…", "KEEP RUNNING", "wait"),
    "invalid": ("⚠", "INVALID", "warn"),
}
_READINGS = {
    "better": ("✔", "better", "good"),
    "worse": ("✖", "worse", "bad"),
    "not_shown": ("–", "not shown", "flat"),
    "interim": ("…", "interim", "flat"),
}
_OUTCOMES = {
    "safe": ("✔", "proved safe", "good"),
    "harmful": ("✖", "proved harmful", "bad"),
    "not_yet": ("…", "not yet shown safe", "flat"),
}
_PRIMARY_ORDER = ("worse", "better", "interim", "not shown", "not computed", "withheld")
_ACTIONS = {
    "ship": "Roll out {variant}.",
    "do_not_ship": "Keep {control}.",
    "keep_running": "Change nothing yet.",
    "invalid": "Do not use this night.",
}
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_SCALES = tuple(step * 10.0**power for power in range(-4, 6) for step in (1, 1.5, 2, 3, 5))
_NIGHTS = 14
_NIGHT_ROWS = 20
_NO_INTERVAL = (None, None)
_SLACK_SECTION, _SLACK_HEADER, _SLACK_BLOCKS, _SLACK_FALLBACK = 3000, 150, 50, 300


@dataclass(frozen=True)
class Rendered:
    """One report in the four formats it is delivered in."""

    html: str
    text: str
    markdown: str
    slack: dict[str, Any]


def view(results: Mapping[str, Any], history: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Word and format everything the report of one night says.

    Parameters
    ----------
    results : mapping
        A ``results.json`` document, schema version 1.
    history : sequence of mappings
        Such documents of earlier nights of the same experiment, oldest first;
        documents of the same or a later night are left out.

    Returns
    -------
    dict
        Plain strings, lists and bars. No effect of a variant whose verdict is
        invalid is in it, and no p-value of an interim night.

    Raises
    ------
    KeyError
        If the document lacks a key of the schema.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> case = json.loads(Path("tests/report/cases/ship.json").read_text("utf-8"))
    >>> report = view(case["results"], case["history"])
    >>> report["cards"][0]["label"], report["cards"][0]["checks"][2]["detail"]
    ('✔ SHIP', '+1.7% to +6.7%')
    """
    night = _readable(results, frozenset())
    earlier = [_readable(past, night["hidden"]) for past in history if past["as_of"] < results["as_of"]]
    experiment, last_day = night["experiment"], date.fromisoformat(night["as_of"]) - timedelta(days=1)
    cards = [_card(verdict, night, earlier) for verdict in night["verdicts"]]
    report = {
        "key": _name(experiment["key"]),
        "title": _name(experiment["title"], 200),
        "as_of": night["as_of"],
        "kicker": f"Experiment {_name(experiment['key'])}, data through {_day(last_day)} (UTC)",
        "stage": _stage(night),
        "cards": cards,
        "tally": _tally(cards) if len(cards) > 1 else "",
        "withheld": _withheld(night),
        "primary": [_primary(metric, night) for metric in night["metrics"] if metric["role"] == "primary"],
        "tables": [
            table
            for table in (_guardrails(night), _secondary(night), _segments(night), *_nights(night, earlier))
            if table["groups"]
        ],
        "ratio": _ratio(night),
        "data": _data(night),
        "plan": _plan(night, earlier),
        "method": _method(night),
        "origin": _origin(night),
        "command": f"abtest run {_name(experiment['key'])} --as-of {night['as_of']}",
    }
    return report | {"subject": subject(report), "preheader": preheader(report)}


def subject(view: Mapping[str, Any]) -> str:
    """Say the verdict and the experiment in one line for a mail's subject.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.

    Returns
    -------
    str
        One line of at most about 130 characters.

    Examples
    --------
    >>> subject({"title": "One-page checkout", "cards": [{"label": "✔ SHIP"}], "tally": ""})
    '✔ SHIP: One-page checkout'
    """
    lead = view["cards"][0]["label"] if len(view["cards"]) == 1 else view["tally"]
    return f"{lead}: {_name(view['title'])}"


def preheader(view: Mapping[str, Any]) -> str:
    """Say what to do and why in the line that mail programs show after the subject.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.

    Returns
    -------
    str
        The first sentences of each variant's verdict, at most 200 characters.

    Examples
    --------
    >>> preheader({"cards": [{"action": "Keep control.", "why": "Orders is worse: −3.1%.", "variant": ""}]})
    'Keep control. Orders is worse: −3.1%.'
    """
    parts = (" ".join(filter(None, (card["variant"], card["action"], card["why"]))) for card in view["cards"])
    return _cut(" ".join(parts), 200)


def render(view: Mapping[str, Any]) -> Rendered:
    """Print one view as HTML, text, Markdown and Slack message.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.

    Returns
    -------
    Rendered
        Three documents that end in a line break, and a Slack payload with
        ``text`` (the fallback) and ``blocks``.

    Raises
    ------
    jinja2.UndefinedError
        If the view lacks a value that a template prints.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> import abtest_lib.report as report
    >>> case = json.loads(Path("tests/report/cases/invalid.json").read_text("utf-8"))
    >>> rendered = render(report.view(case["results"], case["history"]))
    >>> rendered.slack["text"]
    '⚠ INVALID: One-page checkout'
    """
    html = _templates("html").get_template("report.html.j2").render(view=view)
    return Rendered(
        html=re.sub(r"\n\s*", "\n", html).strip() + "\n",
        text=_squeeze(_templates("text").get_template("report.txt.j2").render(view=view)),
        markdown=_squeeze(_templates("markdown").get_template("report.md.j2").render(view=view)),
        slack=_slack(view),
    )


@cache
def _templates(language: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=language == "html",  # noqa: S701 (text is no markup, and Markdown has its own escaping)
        finalize=_markdown if language == "markdown" else None,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["wrapped"] = _wrapped
    return environment


def _wrapped(text: str, indent: int = 0) -> str:
    """Break a paragraph into lines, but never between p and its value."""
    held = re.sub(r"\bp ([<>=]) (?=\d)", "p\u00a0\\1\u00a0", text)
    lines = textwrap.wrap(held, 76 - indent, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines).replace("\u00a0", " ")


def _squeeze(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n"


def _markdown(value: Any) -> str:
    text = re.sub(r"([\\`*\[\]|~#{}!])", r"\\\1", str(value))
    text = re.sub(r"<(?=\S)|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
    text = text.replace("://", r"\://").replace("www.", r"www\.")
    return re.sub(r"&(?=#?\w+;)", r"\&", text)


def _name(text: Any, limit: int = 80) -> str:
    """Make a name that someone chose harmless in a line of ours: no breaks, no controls, no spill of direction."""
    spaced = re.sub(r"\s+", " ", str(text)).strip()
    kept = "".join(sign for sign in spaced if unicodedata.category(sign) not in ("Cc", "Cf", "Cs") or sign == "\u200d")
    if len(kept) > limit:
        kept = f"{kept[: limit - limit // 3 - 1]}…{kept[-(limit // 3) :]}"
    if any(unicodedata.bidirectional(sign) in ("R", "AL", "AN") for sign in kept):
        return f"\u2068{kept}\u2069"
    return kept


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _day(day: date | str) -> str:
    day = date.fromisoformat(day) if isinstance(day, str) else day
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _short_day(day: str) -> str:
    read = date.fromisoformat(day)
    return f"{read.day} {_MONTHS[read.month - 1][:3]} {read.year}"


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _plural(number: int, one: str, many: str | None = None) -> str:
    return f"{_count(number)} {one if number == 1 else many or one + 's'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def _reason_missing(value: Any) -> str:
    """Return the reason why a value was not computed, or "" if it was."""
    if value is None:
        return "not computed: the results give no reason"
    if isinstance(value, Mapping) and "not_computed" in value:
        reason = _name(value["not_computed"], 300).rstrip(".")
        return f"not computed, {reason}" if reason.startswith("because") else f"not computed: {reason}"
    if isinstance(value, float) and not isfinite(value):
        return "not computed: the value is not finite"
    return ""


def _number(value: Any) -> float | None:
    return None if value is None or isinstance(value, Mapping) or not isfinite(value) else float(value)


def _range(value: Any) -> tuple[float | None, float | None]:
    return _NO_INTERVAL if value is None or isinstance(value, Mapping) else (_number(value[0]), _number(value[1]))


def _signed(value: float, decimals: int) -> str:
    digits = f"{abs(value):,.{decimals}f}"
    if not float(digits.replace(",", "")):
        return digits
    return ("+" if value > 0 else "−") + digits


def _decimals(numbers: Iterable[float | None], fences: Iterable[float], least: int) -> int:
    """Return how many decimals show the width of an interval and on which side of each fence its ends lie."""
    known = [number for number in numbers if number is not None]
    width = max(known) - min(known) if len(known) > 1 else max(abs(known[0]), 0.0)
    decimals = max(least, ceil(-log10(width)) + 1) if width > 0 else least
    decimals = 0 if width >= 200 else min(decimals, 6)
    while decimals < 6 and any(
        number != fence and round(number, decimals) == round(fence, decimals) for number in known for fence in fences
    ):
        decimals += 1
    return decimals


def _estimate(
    value: Any, interval: Any, *, scale: float, suffix: str, least: int = 0, fences: Iterable[float] = (0.0,)
) -> tuple[str, str]:
    """Format an effect and its interval with the same decimals; a missing one becomes its reason."""
    number, (low, high) = _number(value), _range(interval)
    known = [entry * scale for entry in (number, low, high) if entry is not None]
    if not known:
        return _reason_missing(value), _reason_missing(interval)
    decimals = _decimals(known, [fence * scale for fence in fences], least)
    text = {entry: _signed(entry * scale, decimals) for entry in (number, low, high) if entry is not None}
    effect = _reason_missing(value) if number is None else text[number] + suffix
    inner = suffix if suffix == "%" else ""
    if low is None and high is None:
        return effect, _reason_missing(interval)
    if low is None:
        return effect, f"at most {text[high]}{suffix}"
    if high is None:
        return effect, f"at least {text[low]}{suffix}"
    return effect, f"{text[low]}{inner} to {text[high]}{suffix}"


def _relative(value: Any, interval: Any, fences: Iterable[float] = ()) -> tuple[str, str]:
    return _estimate(value, interval, scale=100, suffix="%", least=1, fences=(0.0, *fences))


def _absolute(comparison: Mapping[str, Any], metric: Mapping[str, Any]) -> tuple[str, str]:
    share = metric["kind"] in ("proportion", "retention")
    suffix = " pp" if share else _unit(metric)
    return _estimate(
        comparison["effect"], comparison["effect_interval"], scale=100 if share else 1, suffix=suffix, least=int(share)
    )


def _unit(metric: Mapping[str, Any]) -> str:
    if metric.get("unit"):
        return f" {_name(metric['unit'], 20)}"
    return " per unit" if metric["kind"] == "count" else ""


def _mean(value: Any, metric: Mapping[str, Any]) -> str:
    if _reason_missing(value):
        return _reason_missing(value)
    share = metric["kind"] in ("proportion", "retention")
    number = float(value) * (100 if share else 1)
    wanted = 3 if share else 4
    decimals = max(0, wanted - 1 - int(log10(abs(number)) // 1)) if number else 1
    digits = f"{abs(number):,.{min(decimals, 8)}f}"
    return ("−" if number < 0 else "") + digits + ("%" if share else _unit(metric))


def _percent(fraction: float) -> str:
    """Format a designed share, margin or level as short as it is exact: 0.03 is 3%."""
    decimals = 2
    while decimals < 6 and fraction != 1 and round(100 * fraction, decimals) == 100:
        decimals += 1
    digits = f"{100 * abs(fraction):.{decimals}f}".rstrip("0").rstrip(".")
    return ("−" if fraction < 0 else "") + digits + "%"


def _probability(value: float, alpha: float | None = None) -> str:
    if value < 0.001:
        return "< 0.001"
    if value > 0.99:
        return "> 0.99"
    digits = 2
    while digits < 5 and alpha is not None and value != alpha and float(f"{value:.{digits}g}") == alpha:
        digits += 1
    text = f"{value:#.{digits}g}"
    return f"= {text}"


def _pvalue(value: Any, night: Mapping[str, Any], label: str = "p") -> str:
    number = _number(value)
    if number is None or night["stage"] != "final":
        return ""
    return f"{label} {_probability(number, night['experiment']['alpha'])}"


def _readable(results: Mapping[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    """Copy the results without what they may not claim: effects of an invalid variant, words of an interim night."""
    night = deepcopy(dict(results))
    ratio_failed = night["sample_ratio"].get("healthy") is not True or bool(night.get("withheld"))
    for verdict in night["verdicts"]:
        if ratio_failed and verdict["verdict"] != "invalid":
            verdict |= {"verdict": "invalid", "reasons": []}
    invalid = {verdict["variant"] for verdict in night["verdicts"] if verdict["verdict"] == "invalid"}
    everyone = {verdict["variant"] for verdict in night["verdicts"]}
    night["invalid"] = frozenset(invalid)
    night["hidden"] = hidden | invalid
    night["several"] = len(everyone) > 1
    if everyone <= night["hidden"]:
        night |= {"metrics": [], "guardrails": [], "segments": []}
    for metric in (*night["metrics"], *night["guardrails"], *night["segments"]):
        metric["comparisons"] = [_claimable(entry, night) for entry in metric["comparisons"]]
    return night


def _claimable(comparison: dict[str, Any], night: Mapping[str, Any]) -> dict[str, Any]:
    if comparison["variant"] in night["hidden"]:
        return {"variant": comparison["variant"], "withheld": True}
    if night["stage"] != "final" and "not_computed" not in comparison:
        silent = {"pvalue": None, "pvalue_adjusted": None, "reading": "interim"}
        safe = comparison.get("outcome") == "safe"
        return comparison | silent | ({"outcome": "not_yet", "pvalue_safe": None} if safe else {})
    return comparison


def _comparison(entries: Sequence[Mapping[str, Any]], variant: str) -> Mapping[str, Any]:
    for entry in entries:
        if entry["variant"] == variant:
            return entry
    return {"variant": variant, "not_computed": "the results hold no comparison for this variant"}


def _find(night: Mapping[str, Any], metric: Any) -> Mapping[str, Any] | None:
    """Return the metric or guardrail of that name, or without a name the first primary metric."""
    everything = (*night["metrics"], *night["guardrails"])
    if metric is None:
        return next((entry for entry in everything if entry.get("role") == "primary"), None)
    return next((entry for entry in everything if entry["metric"] == metric), None)


def _guardrail(night: Mapping[str, Any], metric: Any) -> Mapping[str, Any] | None:
    return next((entry for entry in night["guardrails"] if entry["metric"] == metric), None)


def _title(night: Mapping[str, Any], metric: Any) -> str:
    found = next((entry for entry in night["maturity"] if entry["metric"] == metric), None) or _find(night, metric)
    return _name(found["title"] if found else metric or "the primary metric")


def _row(comparison: Mapping[str, Any], fences: Iterable[float] = ()) -> dict[str, Any]:
    """Format one comparison: words, numbers with their interval and n, and the range for its bar."""
    row = {"variant": _name(comparison["variant"]), "name": "", "note": "", "effect": "", "interval": "", "below": ""}
    row |= {"level": "", "side": "", "missing": "", "range": None, "bar": [], "n": "", "marks": []}
    if "withheld" in comparison:
        return row | {"sign": "⚠", "word": "withheld", "tone": "warn", "missing": "withheld: this variant is invalid"}
    if "not_computed" in comparison:
        reason = _reason_missing(comparison)
        return row | {"sign": "?", "word": "not computed", "tone": "warn", "missing": reason}
    sign, word, tone = _READINGS[comparison["reading"]]
    effect, interval = _relative(comparison["relative_effect"], comparison["relative_interval"], fences)
    low, high = _range(comparison["relative_interval"])
    missing = effect if _number(comparison["relative_effect"]) is None else ""
    return row | {
        "sign": sign,
        "word": word,
        "tone": tone,
        "effect": "" if missing else effect,
        "interval": interval,
        "level": _percent(comparison["confidence_level"]),
        "missing": missing,
        "range": None if low is None and high is None else (low, _number(comparison["relative_effect"]), high),
        "n": f"{_count(comparison['n_control'] + comparison['n_treatment'])} units",
    }


def _draw(rows: Sequence[dict[str, Any]], *, band: float = 0.0) -> str:
    """Put a bar on every row, all on one scale, and return the words for the scale."""
    ranges = [row["range"] for row in rows if row["range"]]
    if not ranges:
        return ""
    reach = sorted(
        max(abs(end) for end in (*entry, *row["marks"]) if end is not None) for row in rows if (entry := row["range"])
    )
    wanted = max(min(reach[-1], 1.5 * reach[len(reach) // 2]), band) * 1.08
    limit = next((scale for scale in _SCALES if scale >= wanted), _SCALES[-1])
    for row in rows:
        row["bar"] = _bar(row, limit, band) if row["range"] else []
    return f"±{_percent(limit)}" + (", cut there" if reach[-1] > limit else "")


def _bar(row: Mapping[str, Any], limit: float, band: float) -> list[tuple[int, str, str]]:
    """Cut the scale from -limit to +limit into cells: width in percent, colour class, tick at the left edge."""

    def place(value: float | None, otherwise: int) -> int:
        return otherwise if value is None else min(100, max(0, round(50 + 50 * value / limit)))

    low, estimate, high = row["range"]
    start, end = place(low, 0), place(high, 100)
    if start == end:
        start, end = (start - 1, end) if start == 100 else (start, end + 1)
    ticks = {50: "zero"} | {place(mark, 50): "mark" for mark in row["marks"]}
    middle = place(estimate, start)
    if start < middle < end:
        ticks.setdefault(middle, "best")
    near, far = place(-band, 50), place(band, 50)
    edges = sorted({0, start, end, near, far, 100, *ticks})
    cells: list[tuple[int, str, str]] = []
    for left, right in pairwise(edges):
        inside = "bar-" + row["tone"] if start <= left and right <= end else ""
        track = "band" if near <= left and right <= far else "track"
        fill, tick = inside or track, ticks.get(left, "")
        if cells and cells[-1][1] == fill and not tick:
            cells[-1] = (cells[-1][0] + right - left, fill, cells[-1][2])
        else:
            cells.append((right - left, fill, tick))
    return cells


def _stage(night: Mapping[str, Any]) -> str:
    decides_on = _day(night["experiment"]["decides_on"])
    if night["stage"] == "final":
        return f"Final reading: the planned horizon, {decides_on}, is reached."
    if any(verdict["verdict"] == "do_not_ship" for verdict in night["verdicts"]):
        return f"Interim reading: proved harm is decided on any night, everything else on {decides_on}."
    return f"Interim reading, not a decision. The decision is due on {decides_on}."


def _withheld(night: Mapping[str, Any]) -> str:
    if not {verdict["variant"] for verdict in night["verdicts"]} <= night["invalid"]:
        return ""
    return (
        "The data of this night is not valid, so an effect computed from it would say nothing about the variants. "
        "No effect is shown in any channel until the fault is repaired and the night is repeated."
    )


def _tally(cards: Sequence[Mapping[str, Any]]) -> str:
    """Count the verdicts of several treatments, in the order ship, do not ship, keep running, invalid."""
    words = [card["word"] for card in cards]
    return ", ".join(f"{sign} {words.count(word)} {word}" for sign, word, _ in _VERDICTS.values() if words.count(word))


def _card(verdict: Mapping[str, Any], night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sign, word, tone = _VERDICTS[verdict["verdict"]]
    until = f" until {_day(verdict['until'])}" if verdict["verdict"] == "keep_running" and verdict.get("until") else ""
    variant, control = _name(verdict["variant"]), _name(night["experiment"]["control"])
    reasons = verdict["reasons"] or _reasons_without_code(verdict)
    worded = [{"code": _name(entry["code"]), "text": _reason(entry, verdict, night)} for entry in reasons]
    return {
        "variant": variant if night["several"] else "",
        "sign": sign,
        "word": word,
        "tone": tone,
        "until": until,
        "label": f"{sign} {word}{until}",
        "action": _ACTIONS[verdict["verdict"]].format(variant=variant, control=control),
        "why": _why(verdict, night, worded),
        "changed": _changed(verdict, night, earlier),
        "checks": [_data_check(verdict, night), _guardrail_check(verdict, night), _primary_check(verdict, night)],
        "reasons": worded,
        "next": _next(verdict, night),
    }


def _reasons_without_code(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    code = {"invalid": "sample_ratio_mismatch", "keep_running": "immature"}.get(verdict["verdict"])
    return [{"code": code}] if code else []


def _why(verdict: Mapping[str, Any], night: Mapping[str, Any], worded: Sequence[Mapping[str, str]]) -> str:
    """Give the reasons that a reader needs to believe the verdict: the blocker first, then the primary effect."""
    texts = [entry["text"] for entry in worded]
    codes = [entry["code"] for entry in worded]
    told = {"primary_better", "primary_worse", "no_effect_shown", "effect_too_small", "not_computed"}
    if verdict["verdict"] in ("ship", "invalid"):
        return " ".join(texts[:3])
    primary = "" if told & set(codes[:2]) else _primary_sentence(verdict["variant"], night)
    if verdict["verdict"] == "keep_running" and night["stage"] != "final":
        return " ".join(filter(None, (primary, *texts[:1])))
    return " ".join(filter(None, (*texts[:2], primary)))


def _primary_sentence(variant: str, night: Mapping[str, Any]) -> str:
    metric = _find(night, None)
    if metric is None:
        return ""
    row = _row(_comparison(metric["comparisons"], variant), _fences(night))
    title = _name(metric["title"])
    if row["missing"]:
        return _sentence(f"{title}: {row['missing']}")
    reading = "interim reading " if night["stage"] != "final" else ""
    return f"{title}: {reading}{_with_interval(row)}."


def _with_interval(row: Mapping[str, Any]) -> str:
    return f"{row['effect']} ({row['level']} interval {row['interval']})"


def _fences(night: Mapping[str, Any]) -> tuple[float, ...]:
    smallest = _number(night["experiment"].get("smallest_effect"))
    return () if smallest is None else (smallest, -smallest)


def _reason(reason: Mapping[str, Any], verdict: Mapping[str, Any], night: Mapping[str, Any]) -> str:
    """Word one reason of a verdict from the numbers of the night."""
    code, variant = reason["code"], verdict["variant"]
    if code == "sample_ratio_mismatch":
        return _mismatch(night)
    if code == "crossovers_change_result":
        seen = _count(sum(night["exposure"]["crossovers"].values()))
        return f"{seen} units saw more than one variant, and the result depends on how they are counted."
    if verdict["verdict"] == "invalid":
        return f"The data of this night failed a check ({_name(code)})."
    if code == "immature":
        return _waiting(night, verdict)
    if code == "segment_harmed":
        return _segment_reason(reason, variant, night)
    if code == "guardrails_safe":
        return _all_safe(night)
    if code.startswith("guardrail_"):
        return _guardrail_reason(reason, variant, night)
    if code in ("primary_worse", "primary_better", "effect_too_small", "no_effect_shown"):
        return _primary_reason(reason, variant, night)
    if code == "not_computed":
        missing = _reason_missing({"not_computed": reason.get("detail") or "the results give no reason"})
        return f"{_title(night, reason.get('metric'))} was {missing}."
    detail = _sentence(_name(reason.get("detail") or "", 300))
    where = f"{_title(night, reason['metric'])}: " if reason.get("metric") else ""
    return where + (detail or _sentence(code.replace("_", " ")))


def _mismatch(night: Mapping[str, Any]) -> str:
    ratio = night["sample_ratio"]
    if _reason_missing(ratio):
        return _sentence(f"The sample ratio was {_reason_missing(ratio)}")
    if ratio.get("healthy") is True:
        return "The data of this night failed a check."
    gaps = {name: seen - ratio["expected"][name] for name, seen in ratio["observed"].items()}
    name = max(gaps, key=lambda variant: (abs(gaps[variant]), variant != night["experiment"]["control"]))
    more = "more" if gaps[name] > 0 else "fewer"
    return (
        f"The variants did not get the planned share of units: {_name(name)} has {_count(abs(gaps[name]))} {more} than "
        f"the {_count(ratio['expected'][name])} expected, which chance does not explain."
    )


def _waiting(night: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    slowest = max(night["maturity"], key=lambda entry: entry["complete_on"], default=None)
    waiting = sum(slowest["waiting"].values()) if slowest else 0
    if not waiting:
        return f"Outcomes are complete on {_day(verdict.get('until') or night['experiment']['decides_on'])}."
    title, complete_on = _name(slowest["title"]), _day(slowest["complete_on"])
    return f"{_plural(waiting, 'unit waits', 'units wait')} for outcomes of {title}, complete on {complete_on}."


def _segment_entry(reason: Mapping[str, Any], night: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = reason.get("segment")
    if isinstance(wanted, Mapping):
        wanted = f"{wanted.get('attribute')}={wanted.get('value')}"
    for entry in night["segments"]:
        value = entry["value"]
        names = {f"{head}{sign}{value}" for head in (entry["name"], entry["attribute"]) for sign in ("=", " = ", ": ")}
        if str(wanted) in names | {str(value)} and reason.get("metric") in (None, entry["metric"]):
            return entry
    return None


def _segment_reason(reason: Mapping[str, Any], variant: str, night: Mapping[str, Any]) -> str:
    entry = _segment_entry(reason, night)
    title = _title(night, reason.get("metric") or (entry or {}).get("metric"))
    if entry is None:
        return f"{title} is worse in the protected segment {_name(reason.get('segment'))}."
    row = _row(_comparison(entry["comparisons"], variant))
    place = f"{_name(entry['name'])} = {_name(entry['value'])}"
    if row["missing"]:
        return _sentence(f"{title} in the protected segment {place}: {row['missing']}")
    return f"{title} is worse in the protected segment {place}: {_with_interval(row)}."


def _all_safe(night: Mapping[str, Any]) -> str:
    count = len(night["guardrails"])
    if not count:
        return "No guardrail is declared."
    all_of_them = {1: "The guardrail is", 2: "Both guardrails are"}.get(count, f"All {count} guardrails are")
    return f"{all_of_them} proved safe."


def _guardrail_reason(reason: Mapping[str, Any], variant: str, night: Mapping[str, Any]) -> str:
    guardrail, title = _guardrail(night, reason.get("metric")), _title(night, reason.get("metric"))
    harmful = reason["code"] == "guardrail_harmful"
    plain = f"{title} is proved harmful." if harmful else f"{title} is not yet shown safe."
    if guardrail is None:
        return plain
    row = _guardrail_row(guardrail, _comparison(guardrail["comparisons"], variant), night)
    if row["missing"]:
        return _sentence(f"{title}: {row['missing']}")
    if harmful:
        return f"{title} is proved harmful: {_with_interval(row)}, beyond the margin of {_margin(guardrail)}."
    return f"{title} is not yet shown safe: {_with_interval(row)}, margin {_margin(guardrail)}."


def _primary_reason(reason: Mapping[str, Any], variant: str, night: Mapping[str, Any]) -> str:
    metric = _find(night, reason.get("metric"))
    title = _title(night, metric["metric"] if metric else reason.get("metric"))
    if metric is None:
        return _sentence(f"{title}: {reason['code'].replace('_', ' ')}")
    row = _row(_comparison(metric["comparisons"], variant), _fences(night))
    if row["missing"]:
        return _sentence(f"{title}: {row['missing']}")
    if night["stage"] != "final":
        return f"{title}: interim reading {_with_interval(row)}."
    numbers = _with_interval(row)
    if reason["code"] == "effect_too_small":
        return f"{title} is better by {numbers}, less than {_smallest(night)}, the smallest effect that matters."
    if reason["code"] == "no_effect_shown":
        return f"{title}: {numbers}; {_no_effect(row, night)}."
    return f"{title} is {'worse' if reason['code'] == 'primary_worse' else 'better'}: {numbers}."


def _smallest(night: Mapping[str, Any]) -> str:
    return _percent(night["experiment"]["smallest_effect"])


def _no_effect(row: Mapping[str, Any], night: Mapping[str, Any]) -> str:
    """Tell the absence of an effect that matters from the lack of units to see one."""
    fences, (low, _, high) = _fences(night), row["range"] or (None, None, None)
    if fences and low is not None and high is not None and -fences[0] < low and high < fences[0]:
        return f"any effect is smaller than {_smallest(night)}, the smallest that matters"
    return "an effect, if there is one, is too small to see with this many units"


def _next(verdict: Mapping[str, Any], night: Mapping[str, Any]) -> str:
    """Say what would change the verdict."""
    codes = [entry["code"] for entry in verdict["reasons"]]
    until = _day(verdict.get("until") or night["experiment"]["decides_on"])
    if verdict["verdict"] == "invalid":
        return "Find the fault in assignment or logging, repair the data, then repeat the night."
    if verdict["verdict"] == "ship":
        return "Only corrected data; the planned horizon is over."
    if verdict["verdict"] == "keep_running":
        sooner = " A guardrail proved harmful would end it sooner." if night["guardrails"] else ""
        return f"The report of {until}, when the outcomes are complete.{sooner}"
    if {"guardrail_harmful", "segment_harmed", "primary_worse"} & set(codes):
        return "A repaired variant, in a new experiment."
    if "not_computed" in codes:
        return "A repair of the source or the definition, then a repeat of the night."
    return "A new experiment with more units, if a smaller effect would matter; this one has reached its horizon."


def _changed(verdict: Mapping[str, Any], night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> str:
    """Compare verdict and primary estimate with the last report."""
    if not earlier:
        return "This is the first report of the experiment."
    last = earlier[-1]
    before = next((entry for entry in last["verdicts"] if entry["variant"] == verdict["variant"]), None)
    since = f"Since the report of {_day(last['as_of'])}: "
    if before is None:
        return f"{since}this variant is new."
    same = before["verdict"] == verdict["verdict"]
    parts = ["verdict unchanged" if same else f"the verdict was {_VERDICTS[before['verdict']][1]}"]
    parts += _moved(verdict["variant"], night, last)
    if last["experiment"]["definition_sha256"] != night["experiment"]["definition_sha256"]:
        parts.append("the definition was changed")
    return f"{since}{'; '.join(parts)}."


def _moved(variant: str, night: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    metric = _find(night, None)
    if metric is None:
        return []
    past = _find(last, metric["metric"])
    now = _row(_comparison(metric["comparisons"], variant), _fences(night))
    then = _row(_comparison(past["comparisons"], variant), _fences(night)) if past else now | {"effect": ""}
    if not now["effect"]:
        return []
    if not then["effect"]:
        return ["no effect was shown then"]
    title, decimals = _name(metric["title"]), len(now["effect"].rstrip("%").partition(".")[2])
    before = _signed(100 * then["range"][1], decimals) + "%" if then["range"] else then["effect"]
    if before == now["effect"]:
        return [f"{title} stays at {before}"]
    return [f"{title} moved from {before} to {now['effect']}"]


def _check(name: str, sign: str, word: str, detail: str, tone: str) -> dict[str, str]:
    return {"name": name, "sign": sign, "word": word, "detail": detail, "tone": tone}


def _data_check(verdict: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, str]:
    if verdict["variant"] not in night["invalid"]:
        return _check("Data quality", "✔", "healthy", "units split as planned", "good")
    failed = night["sample_ratio"].get("healthy") is not True
    return _check("Data quality", "✖", "failed", "sample ratio" if failed else "see the reasons", "bad")


def _guardrail_check(verdict: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, str]:
    if verdict["variant"] in night["invalid"]:
        return _check("Guardrails", "⚠", "withheld", "not read", "warn")
    found = [_comparison(entry["comparisons"], verdict["variant"]) for entry in night["guardrails"]]
    outcomes = [entry.get("outcome", "") for entry in found]
    safe, harmful, count = outcomes.count("safe"), outcomes.count("harmful"), len(outcomes)
    if not count:
        return _check("Guardrails", "–", "none", "none declared", "flat")
    if harmful:
        return _check("Guardrails", "✖", "harm", f"{harmful} of {count} proved harmful", "bad")
    if safe == count:
        return _check("Guardrails", "✔", "safe", f"{safe} of {count} proved safe", "good")
    if night["stage"] != "final":
        return _check("Guardrails", "…", "no harm proved", f"{count} watched", "flat")
    return _check("Guardrails", "…", "open", f"{safe} of {count} proved safe", "flat")


def _primary_check(verdict: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, str]:
    if verdict["variant"] in night["invalid"]:
        return _check("Primary metric", "⚠", "withheld", "not read", "warn")
    primaries = [metric for metric in night["metrics"] if metric["role"] == "primary"]
    rows = [_row(_comparison(metric["comparisons"], verdict["variant"]), _fences(night)) for metric in primaries]
    if not rows:
        return _check("Primary metric", "?", "not computed", "no reading", "warn")
    first = min(rows, key=lambda row: _PRIMARY_ORDER.index(row["word"]))
    if len(rows) == 1:
        return _check("Primary metric", first["sign"], first["word"], first["interval"] or "see below", first["tone"])
    count = sum(row["word"] == first["word"] for row in rows)
    return _check("Primary metrics", first["sign"], first["word"], f"{count} of {len(rows)}", first["tone"])


def _primary(metric: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, Any]:
    """Build the section of one primary metric: a block for each treatment, all bars on one scale."""
    rows = [_primary_row(entry, metric, night) for entry in metric["comparisons"]]
    fences = _fences(night)
    scale = _draw(rows, band=fences[0] if fences else 0.0)
    band = f"The darker band is ±{_smallest(night)}, the smallest effect that matters." if fences and scale else ""
    cut = "Bars are cut at the ends of the scale." if "cut" in scale else ""
    return {
        "title": _name(metric["title"]),
        "better": f"{metric['better'].capitalize()} is better.",
        "rows": rows,
        "ends": [sign + scale[1:].partition(",")[0] for sign in ("−", "+")] if scale else [],
        "note": " ".join(filter(None, (band, cut))),
    }


def _primary_row(comparison: Mapping[str, Any], metric: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, Any]:
    row = _row(comparison, _fences(night)) | {"absolute": "", "means": "", "claim": ""}
    row["variant"] = row["variant"] if night["several"] else ""
    if row["n"] == "":
        return row | {"claim": _sentence(row["missing"])}
    effect, interval = _absolute(comparison, metric)
    sides = [
        f"{_name(name)} {_mean(comparison['mean_' + key], metric)} of {_count(comparison['n_' + key])} units"
        for key, name in (("treatment", comparison["variant"]), ("control", night["experiment"]["control"]))
    ]
    row["absolute"] = f"{effect} ({row['level']} interval {interval})"
    row["means"] = "; ".join(sides)
    row["side"] = "; ".join(filter(None, (_pvalue(comparison["pvalue"], night), _adjusted(comparison, night))))
    claims = {
        "better": "Better: the whole interval is on the good side of zero.",
        "worse": "Worse: the whole interval is on the bad side of zero.",
        "interim": "Interim reading, not a decision.",
    }
    row["claim"] = claims.get(comparison["reading"]) or _sentence(f"not shown: {_no_effect(row, night)}")
    if row["missing"]:
        row["claim"] = _sentence(f"the relative effect is {row['missing']}")
    return row


def _adjusted(comparison: Mapping[str, Any], night: Mapping[str, Any]) -> str:
    family = comparison.get("family_size") or 1
    text = _pvalue(comparison.get("pvalue_adjusted"), night, "adjusted p") if family > 1 else ""
    return f"{text} ({family} comparisons)" if text else ""


def _table(key: str, heading: str, notes: Iterable[str], columns: Sequence[str], groups: list) -> dict[str, Any]:
    return {
        "key": key,
        "heading": heading,
        "note": " ".join(filter(None, notes)),
        "columns": list(columns),
        "bar_note": "The double line in a bar is the margin." if key == "guardrails" else "",
        "groups": [group for group in groups if group["rows"]],
    }


def _change_column(scale: str) -> str:
    return f"Change (interval), bar {scale}" if scale else "Change (interval)"


def _shown(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Leave out the variants whose effects are withheld: the verdict and the primary metric say so once."""
    return [comparison for comparison in entry["comparisons"] if "withheld" not in comparison]


def _by_variant(night: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = [_name(verdict["variant"]) for verdict in night["verdicts"]]
    if not night["several"]:
        return [{"label": "", "rows": list(rows)}]
    return [{"label": name, "rows": [row for row in rows if row["variant"] == name]} for name in names]


def _margin(guardrail: Mapping[str, Any]) -> str:
    return ("+" if guardrail["better"] == "lower" else "−") + _percent(guardrail["margin"])


def _guardrail_row(
    guardrail: Mapping[str, Any], comparison: Mapping[str, Any], night: Mapping[str, Any]
) -> dict[str, Any]:
    margin = guardrail["margin"] if guardrail["better"] == "lower" else -guardrail["margin"]
    row = _row(comparison, (margin,)) | {"name": _name(guardrail["title"])}
    row["note"] = f"margin {_margin(guardrail)}" + (f", {row['n']}" if row["n"] else "")
    if "outcome" not in comparison:
        return row
    row["sign"], row["word"], row["tone"] = _OUTCOMES[comparison["outcome"]]
    row["side"] = _pvalue(comparison.get("pvalue_safe"), night) if comparison["outcome"] != "harmful" else ""
    row["marks"] = [margin]
    harm = comparison.get("harm_interval")
    if comparison["outcome"] == "harmful" and not _reason_missing(harm):
        interval = _relative(comparison["relative_effect"], harm, (margin,))[1]
        row["below"] = f"{_percent(comparison['harm_confidence_level'])} interval for all planned nights: {interval}"
    return row


def _word_tally(rows: Sequence[Mapping[str, Any]], words: Sequence[str]) -> str:
    """Count the rows of each word, those that were not computed last."""
    found = [row["word"] for row in rows]
    return ", ".join(f"{found.count(word)} {word}" for word in (*words, "not computed") if word in found)


def _guardrails(night: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        _guardrail_row(guardrail, comparison, night)
        for guardrail in night["guardrails"]
        for comparison in _shown(guardrail)
    ]
    scale = _draw(rows)
    tally = _word_tally(rows, [word for _, word, _ in _OUTCOMES.values()])
    notes = (
        "Safe: the interval stays short of the margin. Harmful: an interval widened for every planned night lies "
        "beyond it.",
        "Interim reading: only harm can be proved before the horizon." if night["stage"] != "final" else "",
        "p is for staying short of the margin." if any(row["side"] for row in rows) else "",
    )
    columns = ("Guardrail", _change_column(scale), "Result")
    return _table("guardrails", f"Guardrails: {tally}", notes, columns, _by_variant(night, rows))


def _secondary(night: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for metric in night["metrics"]:
        for comparison in _shown(metric) if metric["role"] == "secondary" else ():
            row = _row(comparison) | {"name": _name(metric["title"])}
            row["note"] = ", ".join(filter(None, (f"{metric['better']} is better", row["n"])))
            if row["n"]:
                row["below"] = "{} ({})".format(*_absolute(comparison, metric))
                row["side"] = _adjusted(comparison, night) or _pvalue(comparison["pvalue"], night)
            rows.append(row)
    scale = _draw(rows)
    notes = (_level_note(rows), "They do not decide.", _not_shown_note(rows))
    columns = ("Metric", _change_column(scale), "Reading")
    return _table("secondary", "Secondary metrics", notes, columns, _by_variant(night, rows))


def _level_note(rows: Sequence[Mapping[str, Any]]) -> str:
    levels = sorted({row["level"] for row in rows if row["level"]})
    return f"Intervals at {_listed(levels)}." if levels else ""


def _not_shown_note(rows: Sequence[Mapping[str, Any]]) -> str:
    if all(row["word"] != "not shown" for row in rows):
        return ""
    return "Not shown: too small to see with this many units."


def _segments(night: Mapping[str, Any]) -> dict[str, Any]:
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    family = 1
    metrics = {segment["metric"] for segment in night["segments"]}
    for segment in night["segments"]:
        for comparison in _shown(segment):
            row = _row(comparison) | {"name": _name(segment["value"])}
            row["note"] = ", ".join(filter(None, ("protected" if segment["protected"] else "", row["n"])))
            row["side"] = _pvalue(comparison.get("pvalue_adjusted"), night)
            family = max(family, comparison.get("family_size") or 1)
            title = _title(night, segment["metric"]) if len(metrics) > 1 else ""
            place = (row["variant"] if night["several"] else "", _name(segment["name"]), title)
            groups.setdefault(place, []).append(row)
    rows = [row for members in groups.values() for row in members]
    scale = _draw(rows)
    order = [_name(verdict["variant"]) if night["several"] else "" for verdict in night["verdicts"]]
    ordered = sorted(groups, key=lambda place: order.index(place[0]) if place[0] in order else len(order))
    labels = [{"label": ", ".join(filter(None, place)), "rows": groups[place]} for place in ordered]
    notes = (_segment_note(night), _family_note(family, rows), _not_shown_note(rows))
    columns = ("Segment", _change_column(scale), "Reading")
    return _table("segments", _segment_heading(night, rows), notes, columns, labels)


def _family_note(family: int, rows: Sequence[Mapping[str, Any]]) -> str:
    levels = sorted({row["level"] for row in rows if row["level"]})
    if family == 1 or not levels:
        return _level_note(rows)
    adjusted = "Intervals and p" if any(row["side"] for row in rows) else "Intervals"
    return f"{adjusted} are Bonferroni-adjusted for {family} comparisons: intervals at {_listed(levels)}."


def _segment_heading(night: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    if night["stage"] != "final":
        return "Segments: interim reading"
    return f"Segments: {_word_tally(rows, ('better', 'worse', 'not shown'))}"


def _segment_note(night: Mapping[str, Any]) -> str:
    titles = {_title(night, segment["metric"]) for segment in night["segments"]}
    effect = f"The effect on {_listed(sorted(titles))} in parts of the units. " if titles else ""
    return f"{effect}Segments do not decide, except that proved harm in a protected one blocks shipping."


def _nights(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Show how each primary effect moved over the last nights, tonight last."""
    if not night["metrics"] or not earlier:
        return []
    primaries = [metric for metric in night["metrics"] if metric["role"] == "primary"]
    blocks = len(primaries) * len(night["verdicts"])
    shown = [*earlier, night][-max(5, min(_NIGHTS, _NIGHT_ROWS // max(blocks, 1))) :]
    return [_nights_of(metric, night, shown) for metric in primaries]


def _nights_of(metric: Mapping[str, Any], night: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> dict:
    rows = []
    for verdict in night["verdicts"]:
        if verdict["variant"] not in night["hidden"]:
            rows += [_night_row(metric, verdict["variant"], past) for past in shown]
    scale = _draw(rows)
    notes = ("Every night counts the units whose outcomes were complete.", "Interim readings are not decisions.")
    heading = f"The last {_plural(len(shown), 'night')}: {_name(metric['title'])}"
    columns = ("Night", _change_column(scale), "Verdict")
    return _table("nights", heading, notes, columns, _by_variant(night, rows))


def _night_row(metric: Mapping[str, Any], variant: str, past: Mapping[str, Any]) -> dict[str, Any]:
    then = _find(past, metric["metric"])
    entries = then["comparisons"] if then else ()
    entry = {"variant": variant, "withheld": True} if variant in past["hidden"] else _comparison(entries, variant)
    row = _row(entry)
    verdict = next((known["verdict"] for known in past["verdicts"] if known["variant"] == variant), None)
    if verdict:
        sign, word, tone = _VERDICTS[verdict]
        row |= {"sign": sign, "word": word.lower(), "tone": row["tone"] if row["range"] else tone}
    if row["word"] == "invalid":
        row["missing"] = "withheld"
    row["name"] = _short_day(past["as_of"])
    row["note"] = "final" if past["stage"] == "final" else "interim"
    return row


def _ratio(night: Mapping[str, Any]) -> dict[str, Any]:
    ratio = night["sample_ratio"]
    if _reason_missing(ratio):
        missing = _sentence(_reason_missing(ratio))
        return {"heading": "Sample ratio: not computed", "note": missing, "rows": [], "columns": []}
    healthy = ratio["healthy"] is True
    total = sum(ratio["weights"].values())
    rows = [
        [_name(name), _percent(weight / total), _count(ratio["expected"][name]), _count(ratio["observed"][name])]
        for name, weight in ratio["weights"].items()
    ]
    statistic, probability = _number(ratio["statistic"]), _number(ratio["pvalue"])
    note = _reason_missing(ratio["pvalue"])
    if statistic is not None and probability is not None:
        chance = f"{probability:.2g}" if probability < 0.99 else "above 0.99"
        note = (
            f"Chi-squared {statistic:,.2f}, {_plural(ratio['df'], 'degree')} of freedom: by chance alone a split at "
            f"least this uneven has probability {chance}; the alarm is below {ratio['alarm_below']:.2g}"
        )
    return {
        "heading": "Sample ratio: " + ("✔ healthy" if healthy else "✖ mismatch"),
        "note": _sentence(note),
        "columns": ["Variant", "Planned", "Expected", "Observed"],
        "rows": rows,
    }


def _data(night: Mapping[str, Any]) -> dict[str, Any]:
    """Say which units were counted, which wait and which were left out."""
    exposure = night["exposure"]
    units, mixed = sum(exposure["units"].values()), sum(exposure["crossovers"].values())
    lines = [f"{_plural(units, 'exposed unit')} ({_per_variant(exposure['units'])})."]
    if exposure.get("first_on") and exposure.get("last_on"):
        lines.append(f"First exposures from {_day(exposure['first_on'])} to {_day(exposure['last_on'])}.")
    if mixed:
        share = f", {_share(mixed / units)} of all" if units else ""
        lines.append(f"{_plural(mixed, 'unit')} saw two variants ({_per_variant(exposure['crossovers'])}{share}).")
    else:
        lines.append("No unit saw two variants.")
    if exposure["outside_dates"]:
        lines.append(f"{_plural(exposure['outside_dates'], 'exposure')} outside the enrolment dates not counted.")
    rows, nulls = [], []
    for entry in night["maturity"]:
        dropped = sum(entry["dropped_nulls"].values())
        title = _name(entry["title"])
        if dropped:
            nulls.append(f"{title}: {_plural(dropped, 'null')} dropped ({_per_variant(entry['dropped_nulls'])}).")
        counted = _count(sum(entry["matured"].values()))
        window = f"{_days(entry)} after exposure"
        rows.append([title, window, counted, _count(sum(entry["waiting"].values())), _short_day(entry["complete_on"])])
    return {"lines": lines + nulls, "columns": ["Metric", "Counted", "Waiting", "Complete on"], "rows": rows}


def _share(fraction: float) -> str:
    return "under 0.01%" if 0 < fraction < 0.0001 else _percent(fraction)


def _days(entry: Mapping[str, Any]) -> str:
    start, end = entry["delay_days"], entry["delay_days"] + entry["window_days"]
    window = f"{start} to {end} days" if start else _plural(end, "day")
    return window + (f" and {_plural(entry['lag_days'], 'day')} of lag" if entry["lag_days"] else "")


def _per_variant(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_name(name)} {_count(count)}" for name, count in counts.items())


def _plan(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    experiment = night["experiment"]
    last = date.fromisoformat(experiment["ends_on"]) - timedelta(days=1)
    weights = ", ".join(f"{_name(name)} {weight:g}" for name, weight in experiment["weights"].items())
    team = f", {_name(experiment['team'])}" if experiment.get("team") else ""
    rows = [
        ["Hypothesis", _name(experiment["hypothesis"], 400)],
        ["Enrolment", f"{_day(experiment['starts_on'])} to {_day(last)}"],
        ["Decision due", _day(experiment["decides_on"])],
        ["Primary", _listed([_title(night, metric) for metric in experiment["primary"]])],
        ["Smallest effect", f"{_smallest(night)}, the smallest that matters" if _fences(night) else "none declared"],
        ["Alpha", f"{experiment['alpha']:g}"],
        ["Weights", weights],
        ["Owner", _name(experiment["owner"]) + team],
    ]
    changes = _definition_changes(night, earlier)
    return rows + ([["Changed", changes]] if changes else [])


def _definition_changes(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> str:
    nights = [*earlier, night]
    changes = [
        f"{_short_day(after['as_of'])} ({_hash(before)} → {_hash(after)})"
        for before, after in pairwise(nights)
        if before["experiment"]["definition_sha256"] != after["experiment"]["definition_sha256"]
    ]
    return f"definition changed on the night of {_listed(changes)}" if changes else ""


def _hash(night: Mapping[str, Any]) -> str:
    return _name(night["experiment"]["definition_sha256"])[:10]


def _method(night: Mapping[str, Any]) -> list[str]:
    used: dict[str, list[str]] = {}
    for metric in (*night["metrics"], *night["guardrails"]):
        for comparison in metric["comparisons"]:
            if comparison.get("method"):
                titles = used.setdefault(_name(comparison["method"], 200), [])
                titles += [_name(metric["title"])] if _name(metric["title"]) not in titles else []
    lines = [f"{_listed(titles)}: {_sentence(method)}" for method, titles in used.items()]
    lines.append("A unit counts once its whole window has passed; the verdict waits for the planned horizon.")
    return lines


def _origin(night: Mapping[str, Any]) -> str:
    return (
        f"Definition {_hash(night)}, revision {_name(night['revision'], 20)}, "
        f"abtest {_name(night['abtest_version'], 20)}"
    )


def _mrkdwn(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _slack(view: Mapping[str, Any]) -> dict[str, Any]:
    """Build the short message: verdicts, checks, primary metric, guardrails, segments that have a word to say."""
    blocks = [{"type": "header", "text": _plain(view["subject"], _SLACK_HEADER)}]
    blocks.append(_context(f"{view['kicker']}. {view['stage']}"))
    for card in view["cards"]:
        blocks += _slack_card(card)
    if view["withheld"]:
        blocks.append(_section(_mrkdwn(view["withheld"])))
    for metric in view["primary"]:
        lines = [f"*Primary metric: {_mrkdwn(metric['title'])}*"]
        blocks.append(_section("\n".join(lines + [_slack_primary(row) for row in metric["rows"]])))
    for table in view["tables"]:
        if table["key"] != "nights":
            blocks.append(_section(_slack_table(table)))
    blocks = blocks[: _SLACK_BLOCKS - 1]
    blocks.append(_context(f"{view['ratio']['heading']}. {view['origin']}. Repeat: {view['command']}"))
    return {"text": _mrkdwn(_cut(view["subject"], _SLACK_FALLBACK)), "blocks": blocks}


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": _cut(text, limit), "emoji": False}


def _section(mrkdwn: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _whole_lines(mrkdwn), "verbatim": True}}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_plain(text, _SLACK_SECTION)]}


def _whole_lines(mrkdwn: str) -> str:
    """Keep what fits into a section, and never half a line: an entity cut in two would print wrong."""
    kept, size = [], 0
    for line in mrkdwn.split("\n"):
        size += len(line) + 1
        if size > _SLACK_SECTION - 40:
            return "\n".join([*kept, "… more in the mail"])
        kept.append(line)
    return "\n".join(kept)


def _slack_card(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    name = f"{_mrkdwn(card['variant'])}: " if card["variant"] else ""
    checks = "   ".join(f"{check['sign']} {check['name']}: {check['detail']}" for check in card["checks"])
    text = f"*{name}{_mrkdwn(card['label'])}*\n*{_mrkdwn(card['action'])}* {_mrkdwn(card['why'])}"
    return [_section(text), _context(f"{checks}\n{card['changed']}\nWhat would change it: {card['next']}")]


def _slack_primary(row: Mapping[str, Any]) -> str:
    name = f"{row['variant']}: " if row["variant"] else ""
    if not row["effect"]:
        return _mrkdwn(f"{name}{row['sign']} {row['claim']}")
    numbers = f"{row['effect']} ({row['level']} interval {row['interval']}), absolute {row['absolute']}"
    side = f", {row['side']}" if row["side"] else ""
    return _mrkdwn(f"{name}{row['sign']} {numbers}{side}. {row['means']}. {row['claim']}")


def _slack_table(table: Mapping[str, Any]) -> str:
    lines = [f"*{_mrkdwn(table['heading'])}*"]
    for group in table["groups"]:
        lines += [f"_{_mrkdwn(group['label'])}_"] if group["label"] else []
        for row in group["rows"]:
            numbers = row["missing"] or f"{row['effect']} ({row['interval']})"
            tail = ", ".join(filter(None, (row["side"], row["note"])))
            lines.append(_mrkdwn(f"{row['sign']} {row['name']}: {row['word']}, {numbers}{', ' + tail if tail else ''}"))
    return "\n".join(lines)
