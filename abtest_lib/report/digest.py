"""What the digest of a team and night says: a line for each experiment, the most urgent first, in one view."""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abtest_lib.digest import BROKEN, FAILED, HELD, REPORTED, Standing, TeamNight, harmed, words
from abtest_lib.report.cards import verdict_card, verdict_tally
from abtest_lib.report.formats import print_html, print_markdown, print_text
from abtest_lib.report.readable import comparison_of, metric_of, readable
from abtest_lib.report.rows import comparison_row, fences_of, with_interval
from abtest_lib.report.text import clean_name, listed, long_day, plural, sentence, short_day, shortened
from abtest_lib.report.vocabulary import VERDICTS

LISTED_ROWS = 100
SLACK_ROWS = 40
_MAIL_BYTES = 35_000  # of the rows; with the rest a mail stays below 40 KB
_WHY, _TROUBLE, _SLACK_TEXT = 300, 300, 2900
SECTIONS = {
    "decided": ("Decided or changed tonight", "The verdict differs from the last report, or is the first."),
    "unsigned": ("To be signed", "These teams sign a final verdict before it is told."),
    "invalid": ("Invalid", "Repair the data, then repeat the night. Until then, effects are withheld."),
    "trouble": ("Failed or held", "What follows kept a night from its report, or a report from its readers."),
    "alarm": ("A guardrail is newly proved harmful", "Decided before, but harm was proved since the last report."),
    "before": ("Decided before", "Verdicts that stand since an earlier night."),
    "running": ("Keep running", "Ordered by the night that decides. Interim readings prove nothing yet."),
}
_TROUBLE_WORDS = {
    BROKEN: ("✖", "BROKEN DEFINITION", "bad"),
    FAILED: ("✖", "FAILED", "bad"),
    HELD: ("⚠", "HELD", "warn"),
}
UNSIGNED = "AWAITS SIGN-OFF"
_WAITING = ("?", "WAITING", "warn")


@dataclass(frozen=True)
class RenderedDigest:
    """One digest in the four formats it is delivered in."""

    html: str
    text: str
    markdown: str
    slack: dict[str, Any]


def view(night: TeamNight) -> dict[str, Any]:
    """Word and format everything that a digest says.

    Parameters
    ----------
    night : TeamNight
        Of `abtest_lib.digest.collect`.

    Returns
    -------
    dict
        Plain strings and lists. No effect of a variant whose verdict is invalid is in it.

    Examples
    --------
    >>> standing = Standing("checkout", "Checkout", "reported", document["as_of"], document, since=document["as_of"])
    >>> said = view(TeamNight("payments", dt.date(2026, 3, 3), (standing,)))
    >>> said["tally"], said["sections"][0]["heading"]
    ('✔ 1 SHIP', 'Decided or changed tonight')
    """
    rows = _merged([_row(standing, night.as_of) for standing in night.standings])
    rows = sorted(rows, key=lambda row: (list(SECTIONS).index(row["section"]), row["order"], row["title"], row["key"]))
    for row in rows:
        del row["order"]
    shown, more = _fitting(rows)
    sections = [
        {"key": key, "heading": heading, "note": note, "rows": [row for row in shown if row["section"] == key]}
        for key, (heading, note) in SECTIONS.items()
    ]
    name = f"team {clean_name(night.team, 60)}" if night.team is not None else "no team"
    last_day = night.as_of - dt.timedelta(days=1)
    said = {
        "schema_version": 1,
        "team": night.team if night.team is None else clean_name(night.team, 60),
        "as_of": night.as_of.isoformat(),
        "title": f"Experiments of {name}",
        "kicker": f"Digest of the night of {long_day(night.as_of)}, data through {long_day(last_day)} (UTC)",
        "tally": _tally(rows),
        "sections": [section for section in sections if section["rows"]],
        "more": _more(more),
        "corrected": "",
        "command": _command(night),
    }
    subject = f"{said['title']}: digest of {short_day(said['as_of'])}"
    return said | {"subject": subject, "preheader": _preheader(said), "origin": subject}


def _fitting(rows: Sequence[dict[str, Any]]) -> tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]]:
    """The rows that a mail holds without being clipped, and the less urgent ones that it does not."""
    size = 0
    for number, row in enumerate(rows):
        lines = [(one.get("variant", ""), one.get("label") or one["word"], one["text"])
                 for one in (*row["verdicts"], *row["trouble"])]  # fmt: skip
        texts = (row["title"], row["changed"], row["next"], *(text for line in lines for text in line))
        size += 80 + 60 * len(lines) + len(html.escape("".join(texts)).encode())
        if number == LISTED_ROWS or size > _MAIL_BYTES:
            return rows[:number], rows[number:]
    return rows, []


def _command(night: TeamNight) -> str:
    """How to make it again; the shell is given a team's name only where that needs no quotes."""
    plain = night.team is not None and re.fullmatch(r"[\w.-]+", night.team)
    return f"abtest digest --as-of {night.as_of}" + (f" --team {night.team}" if plain else "")


def _row(standing: Standing, as_of: dt.date) -> dict[str, Any]:
    row = {
        "key": clean_name(standing.key),
        "title": clean_name(standing.title),
        "section": "trouble",
        "order": "",
        "verdicts": [],
        "changed": "",
        "next": "",
        "trouble": [],
    }
    row["trouble"] = [_trouble(standing, as_of)] if standing.state != REPORTED else []
    if standing.unsigned:
        row |= {"section": "unsigned", "verdicts": [_unsigned(standing)]}
        row["changed"] = _last_report(standing.last) if standing.last else ""
    elif standing.document is not None:
        try:
            row |= _reported(standing, ended=standing.night < as_of.isoformat())
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            reason = f"its results are those of another version and cannot be read ({type(error).__name__}: {error})"
            problem = {"sign": "✖", "word": "FAILED", "tone": "bad", "text": sentence(clean_name(reason, _TROUBLE))}
            row["trouble"] = [*row["trouble"], problem]
    elif standing.last is not None:
        row["changed"] = _last_report(standing.last)
    if standing.document is None and standing.decides_on:
        row["next"] = f"Decides on {short_day(standing.decides_on)}."
    if row["trouble"] and row["section"] != "decided":
        row["section"] = "trouble"
    return row


def _reported(standing: Standing, *, ended: bool) -> dict[str, Any]:
    night = readable(standing.document)
    last = readable(standing.last, hidden=night["hidden"]) if standing.last else None
    verdicts = night["verdicts"]
    now = {verdict["variant"]: verdict["verdict"] for verdict in verdicts}
    cards = [verdict_card(verdict, night, [last] if last else []) for verdict in verdicts]
    return {
        "section": section_of(now, night, night if ended else last),
        "order": min((verdict.get("until") or "" for verdict in verdicts), default=""),
        "verdicts": [_verdict(card, verdict, night) for card, verdict in zip(cards, verdicts, strict=True)],
        "changed": _ended(night) if ended else _changed(now, night, last, standing.since),
        "next": _next(now, night),
    }


def _unsigned(standing: Standing) -> dict[str, str]:
    """What stands in the place of the verdicts: neither they nor an effect."""
    word = "NOT SIGNED" if standing.unsigned.startswith("Not signed") else UNSIGNED
    said = {"variant": "", "sign": "?", "word": word, "until": "", "tone": "warn", "label": f"? {word}"}
    return said | {"text": sentence(clean_name(standing.unsigned, _TROUBLE))}


def _verdict(card: Mapping[str, Any], verdict: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, str]:
    kept = {name: card[name] for name in ("variant", "sign", "word", "until", "tone", "label")}
    text = f"{card['action']} {card['why']}"
    if verdict["verdict"] == "keep_running":
        # That nothing is to be done yet, and until when units wait, is what the verdict says already.
        reasons = [] if night["stage"] == "interim" else [entry["text"] for entry in card["reasons"][:1]]
        text = " ".join([_primary(verdict["variant"], night), *reasons])
    return kept | {"text": shortened(text.strip(), _WHY)}


def _primary(variant: str, night: Mapping[str, Any]) -> str:
    metric = metric_of(night, None)
    if metric is None:
        return ""
    row = comparison_row(comparison_of(metric["comparisons"], variant), fences_of(night))
    said = row["missing"] or f"{'interim reading ' * (night['stage'] == 'interim')}{with_interval(row)}"
    return f"{clean_name(metric['title'])}: {said}."


def section_of(now: Mapping[str, str], night: Mapping[str, Any], last: Mapping[str, Any] | None) -> str:
    """Sort a night's report into one of `SECTIONS`.

    Parameters
    ----------
    now : mapping of str to str
        Verdict by variant.
    night : mapping
        What ``readable`` returned.
    last : mapping or None
        The report before; the night itself where nothing may count as new.

    Returns
    -------
    str
        Its key.

    Examples
    --------
    >>> now = {"treatment": "ship"}
    >>> section_of(now, document, None), section_of(now, document, document)
    ('decided', 'before')
    """
    before = words(last) if last else {}
    changed = [verdict for variant, verdict in now.items() if before.get(variant) != verdict]
    decided = {"ship", "do_not_ship"}
    if decided & set(changed):
        return "decided"
    if "invalid" in now.values():
        return "invalid"
    if changed and last:
        return "decided"
    if last and any(harm not in harmed(last) for harm in harmed(night)):
        return "alarm"
    return "before" if set(now.values()) <= decided else "running"


def _ended(night: Mapping[str, Any]) -> str:
    return f"Its last night was {short_day(night['as_of'])}."


def _changed(
    now: Mapping[str, str], night: Mapping[str, Any], last: Mapping[str, Any] | None, since: str | None
) -> str:
    if last is None:
        return "First report."
    before, parts = words(last), []
    if before == now:
        still = since and since < night["as_of"] and set(now.values()) != {"keep_running"}
        parts.append(f"Unchanged since {short_day(since)}." if still else "Verdict unchanged.")
    else:
        parts.append(_last_report(last, "Was"))
    if last["experiment"]["definition_sha256"] != night["experiment"]["definition_sha256"]:
        parts.append("The definition was changed.")
    return " ".join(parts)


def _last_report(last: Mapping[str, Any], lead: str = "Last report:") -> str:
    cards = [{"word": VERDICTS[verdict][1]} for verdict in words(last).values()]
    said = cards[0]["word"] if len(cards) == 1 else verdict_tally(cards)
    return f"{lead} {said} on {short_day(last['as_of'])}."


def _next(now: Mapping[str, str], night: Mapping[str, Any]) -> str:
    """The next date; that of a treatment that keeps running stands in its label already."""
    decides_on, experiment = night["experiment"]["decides_on"], night["experiment"]
    if night["as_of"] >= decides_on:
        return ""
    if night["stage"] == "interim" and experiment["looks"] != "horizon":
        return f"Looks begin on {short_day(experiment['first_look_on'])}."
    if "keep_running" in now.values():
        return ""
    word = "Decides on" if "invalid" in now.values() else "Its nights go on to"
    return f"{word} {short_day(decides_on)}."


def _trouble(standing: Standing, as_of: dt.date) -> dict[str, str]:
    sign, word, tone = _TROUBLE_WORDS.get(standing.state, _WAITING)
    steps = {step for step, _ in standing.problems}
    if standing.state == FAILED and standing.document is not None and all(s.startswith("deliver_") for s in steps):
        word = "NOT DELIVERED"
    if standing.state == FAILED and steps == {"sign_off"}:
        word = "NOT SENT"
    # Of a night that is held the first line is why; what to do is in the alert.
    problems = [(step, text.split("\n")[0] if standing.state == HELD else text) for step, text in standing.problems]
    day = "" if standing.night == as_of.isoformat() else f"night of {short_day(standing.night)}: "
    texts = [
        (f"{clean_name(step)}: " if step and standing.state == FAILED else "") + clean_name(text, _TROUBLE).rstrip(".")
        for step, text in problems[:3]
    ]
    more = f"; {plural(len(problems) - 3, 'more problem')}" if len(problems) > 3 else ""
    return {"sign": sign, "word": word, "tone": tone, "text": _ended_with_stop(f"{day}{'; '.join(texts)}{more}")}


def _ended_with_stop(text: str) -> str:
    """End a text with a full stop; its first letter stays, because it may begin with the name of a file or a step."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _merged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say a broken definition once, though it breaks many experiments: that of a source breaks them all."""
    merged: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        alike = row["trouble"][0]["text"] if row["trouble"] and not row["verdicts"] and not row["next"] else None
        merged.setdefault((alike, None if alike else row["key"]), []).append(row)
    return [_one_of(group) for group in merged.values()]


def _one_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if len(rows) == 1:
        return rows[0]
    return rows[0] | {"title": _named([row["title"] for row in rows], 5)}


def _named(titles: Sequence[str], most: int) -> str:
    return listed([*titles[:most], *([f"{len(titles) - most} more"] if len(titles) > most else [])])


def _tally(rows: Iterable[Mapping[str, Any]]) -> str:
    """Count the experiments: verdicts first, then those without one."""
    rows = list(rows)
    cards = [verdict for row in rows for verdict in row["verdicts"]]
    without = sum(not row["verdicts"] for row in rows)
    parts = [tally] if (tally := verdict_tally(cards)) else []
    for word in (UNSIGNED, "NOT SIGNED"):
        if number := sum(card["word"] == word for card in cards):
            parts.append(f"? {number} {word}")
    return ", ".join([*parts, f"? {without} WITHOUT A RESULT"] if without else parts)


def _more(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    return f"{plural(len(rows), 'more experiment is', 'more experiments are')} not shown here: {_tally(rows)}."


def _preheader(said: Mapping[str, Any]) -> str:
    parts = [
        f"{section['heading']}: {_named([row['title'] for row in section['rows']], 3)}" for section in said["sections"]
    ]
    return shortened(". ".join(parts) + "." if parts else "No experiment is running.", 200)


def correction(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what a digest corrects in the one of the same night that was sent before.

    Parameters
    ----------
    before, now : mapping
        What ``view`` returned, then and now.

    Returns
    -------
    str
        Names the experiments whose line differs.

    Examples
    --------
    >>> row = {"key": "checkout", "title": "Checkout", "changed": "First report."}
    >>> then, now = ({"sections": [{"rows": [row | {"next": day}]}]} for day in ("9 Mar 2026", "10 Mar 2026"))
    >>> correction(then, now)
    'Corrected: replaces the digest of this night that was sent before. What differs: Checkout.'
    """
    then, today = ({row["key"]: row for section in one["sections"] for row in section["rows"]} for one in (before, now))
    keys = [key for key in {**today, **then} if today.get(key) != then.get(key)]
    titles = [(today.get(key) or then[key])["title"] for key in keys]
    differs = f" What differs: {_named(titles, 5)}." if titles else ""
    return f"Corrected: replaces the digest of this night that was sent before.{differs}"


def render(said: Mapping[str, Any]) -> RenderedDigest:
    """Print a digest as HTML, text, Markdown and Slack message.

    Parameters
    ----------
    said : mapping
        What ``view`` returned.

    Returns
    -------
    RenderedDigest
        Three documents that end in a line break, and a Slack payload with ``text`` and ``blocks``.

    Raises
    ------
    jinja2.UndefinedError
        If the view lacks a value that a template prints.

    Examples
    --------
    >>> render(view(TeamNight(None, dt.date(2026, 3, 3), ()))).slack["text"]
    'Experiments of no team: digest of 3 Mar 2026. No experiment is running.'
    """
    return RenderedDigest(
        html=print_html("digest.html.j2", said),
        text=print_text("digest.txt.j2", said),
        markdown=print_markdown("digest.md.j2", said),
        slack=_slack(said),
    )


def _slack(said: Mapping[str, Any]) -> dict[str, Any]:
    """Build the message of rich text, which Slack prints letter by letter: no name can become a link or call anyone."""
    head = list(filter(None, (said["kicker"], said["tally"], said["corrected"])))
    blocks = [_header(said["subject"]), _context("\n".join(head))]
    left = SLACK_ROWS
    for section in said["sections"]:
        lines = [_slack_line(row) for row in section["rows"][: max(left, 0)]]
        left -= len(section["rows"])
        if lines:
            blocks += [_header(section["heading"]), *_rich(lines)]
    hidden = f"{plural(-left, 'more experiment')} in the mail." if left < 0 else ""
    end = _context("\n".join(filter(None, (hidden, said["more"], said["command"]))))
    text = shortened(f"{said['subject']}. {said['preheader']}", 300)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": text, "blocks": [*blocks[:49], end]}


def _slack_line(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts = [_bold(row["title"])]
    for verdict in row["verdicts"]:
        variant = f"{verdict['variant']}: " if verdict["variant"] else ""
        parts += [_text(f"\n{variant}"), _bold(verdict["label"]), _text(f" {verdict['text']}")]
    for one in row["trouble"]:
        parts += [_bold(f"\n{one['sign']} {one['word']}"), _text(f" {one['text']}")]
    end = " ".join(filter(None, (row["changed"], row["next"])))
    return [*parts, _text(f"\n{end}")] if end else parts


def _rich(lines: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Put whole rows, an empty line apart, into as few blocks as hold them."""
    blocks: list[list[dict[str, Any]]] = [[]]
    for line in lines:
        if blocks[-1] and sum(len(part["text"]) for part in (*blocks[-1], *line)) > _SLACK_TEXT:
            blocks.append([])
        blocks[-1] += [*([_text("\n\n")] if blocks[-1] else []), *line]
    return [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": parts}]} for parts in blocks]


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": _plain(text, 150)}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _bold(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "style": {"bold": True}}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_plain(text, 2000)]}


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": shortened(text, limit), "emoji": False}
