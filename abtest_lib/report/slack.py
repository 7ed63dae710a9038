"""The two Slack messages of a night: the experiment's first message, which stays, and the night's reply below it.

Blocks are built here and not by a template: their limits count characters of the finished strings, and JSON written by
a text template breaks on the first quotation mark in a name. Text that holds names stands in ``rich_text``,
``plain_text`` and ``raw_text``, which Slack prints letter by letter: no name can turn bold, become a link or call the
channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from abtest_lib.report.text import pvalues_held, short_day, shortened

_SECTION, _HEADER, _BLOCKS, _TEXT, _ALT, _PIECE = 3000, 150, 50, 300, 2000, 2500
# Slack: 100 rows, and 10,000 characters in all cells. A phone gets less; the rest stands in the full report.
_TABLE_ROWS, _TABLE_CHARACTERS, _CARDS, _SEGMENT_ROWS = 40, 6000, 8, 12
_MORE = "more in the full report"
_REPLACED = "Replaced by a later report of the same night"


def slack_messages(view: Mapping[str, Any]) -> dict[str, Any]:
    """Build what Slack gets of a night: the message of the experiment, the reply of the night, and its pictures.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.

    Returns
    -------
    dict
        ``parent`` and ``night`` have ``text`` (what a notification shows) and ``blocks`` of Slack's Block Kit, within
        its limits. ``night`` also has ``fallback``, the blocks that stand in for its table where a workspace takes
        none, and ``broadcast``: whether the whole channel hears of it. ``files`` names the pictures; until a picture
        is uploaded, its image block has the file's name for an id.

    Raises
    ------
    KeyError
        If the view lacks something.

    Examples
    --------
    >>> from abtest_lib.report import view
    >>> messages = slack_messages(view(document))
    >>> messages["parent"]["text"][:45], messages["night"]["blocks"][0]["text"]["text"]
    ('✔ SHIP: One-page checkout. Roll out treatment', '3 Mar 2026 ✔ SHIP: One-page checkout')
    """
    files = [{"file": f"{chart['name']}.png", "title": chart["title"], "alt": chart["alt"]} for chart in view["charts"]]
    return {"parent": _parent(view), "night": _night(view, files), "files": files}


def replaced(message: Mapping[str, Any]) -> dict[str, Any]:
    """Mark the report of a night as replaced by a later one of the same night.

    Parameters
    ----------
    message : mapping
        The ``night`` of ``slack_messages``.

    Returns
    -------
    dict
        The message with a line about that on top.

    Examples
    --------
    >>> replaced({"text": "9 Mar 2026 ✔ SHIP: One-page checkout", "blocks": []})["text"]
    'Replaced by a later report of the same night: 9 Mar 2026 ✔ SHIP: One-page checkout'
    """
    text = f"{_REPLACED}: {message['text']}" if message["text"] else f"{_REPLACED}."
    return {**message, "text": text, "blocks": [_rich([[_bold(f"⚠ {_REPLACED}.")]]), *message["blocks"]]}


def plain_message(heading: str, text: str) -> dict[str, Any]:
    r"""Build a message of a heading and a text that Slack prints letter by letter, as for a failure.

    Parameters
    ----------
    heading : str
        One line.
    text : str
        Lines of any length; of a very long text the beginning is kept, of any text a notification shows the beginning.

    Returns
    -------
    dict
        ``text`` and ``blocks``.

    Examples
    --------
    >>> message = plain_message("FAILED: A & B", "Task collect: <!channel>")
    >>> message["text"], message["blocks"][1]["text"]["text"]
    ('FAILED: A &amp; B\nTask collect: &lt;!channel&gt;', 'Task collect: <!channel>')
    """
    parts = [text[begin : begin + _SECTION].strip("\n") for begin in range(0, min(len(text), 4 * _SECTION), _SECTION)]
    sections = [{"type": "section", "text": _plain(part, _SECTION)} for part in parts if part]
    more = [_context(["The rest is cut off."])] if len(text) > 4 * _SECTION else []
    return {"text": _escaped(shortened(f"{heading}\n{text}", _TEXT)), "blocks": [_header(heading), *sections, *more]}


def _parent(view: Mapping[str, Any]) -> dict[str, Any]:
    """Say verdict, what to do, size and blocker, and when to look again."""
    blocks = [_header(_headline(view))]
    blocks += [_rich(_verdict(card)) for card in view["cards"][:_CARDS]]
    left = len(view["cards"]) - _CARDS
    lines = [f"{left} more variants in the full report." if left > 0 else "", view["stage"], view["kicker"]]
    blocks.append(_context([*lines, "Each night's report is a reply to this message."]))
    return {"text": _notification(_headline(view), view), "blocks": blocks}


def _night(view: Mapping[str, Any], files: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Say what the report says, in its order, as far as a phone can show it."""
    pictures = {entry["file"]: _image(entry) for entry in files}
    headline = f"{short_day(view['as_of'])} {_headline(view)}"
    blocks = [_header(headline)]
    if view["supersedes"]:
        blocks.append(_rich([[_bold(view["supersedes"])]]))
    blocks.append(_context([view["kicker"], view["stage"]]))
    for card in view["cards"][:_CARDS]:
        blocks += [_rich(_verdict(card)), _context(_standing(card))]
    if view["withheld"]:
        blocks.append(_rich([[view["withheld"]]]))
    blocks += [_rich(_primary(metric)) for metric in view["primary"]]
    tables = [table for table in view["tables"] if table["key"] in ("guardrails", "secondary")]
    table, fallback = _table(tables), _table_as_text(tables)
    blocks += [_rich(_table_heading(tables)), table] if table else []
    blocks += [pictures[name] for name in ("forest.png",) if name in pictures]
    for segments in (table for table in view["tables"] if table["key"] == "segments" and _claims(table)):
        blocks += [_rich(_segment_lines(segments)), _context([segments["note"]])]
    blocks += [pictures[name] for name in pictures if name != "forest.png"]
    blocks = _fitting(blocks, _BLOCKS - len(fallback) - 2)
    blocks.append(_context(_origin(view)))
    return {
        "text": _notification(headline, view),
        "blocks": blocks,
        "fallback": fallback if table in blocks else [],
        "broadcast": bool(view["verdict_changed"] or view["guardrail_alarm"]),
    }


def _headline(view: Mapping[str, Any]) -> str:
    """Give the verdicts, until when they hold, and the experiment."""
    (card, *others) = view["cards"]
    verdicts = view["tally"] if others else f"{card['sign']} {card['word']}{card['until']}"
    return f"{verdicts}: {view['title']}"


def _notification(headline: str, view: Mapping[str, Any]) -> str:
    """Say the most in a few words."""
    return _escaped(shortened(f"{headline}. {view['preheader']}", _TEXT))


def _escaped(text: str) -> str:
    """Make a text harmless in which Slack reads marks: nothing in it calls the channel or is a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _verdict(card: Mapping[str, Any]) -> list[list[str | dict[str, Any]]]:
    """Say what to do, how large the effect is, and what stands in the way; a single label is in the header already."""
    label = [[_bold(f"{card['variant']}: {card['sign']} {card['word']}{card['until']}")]] if card["variant"] else []
    return [*label, [_bold(card["action"])], *map(_fact, card["facts"])]


def _fact(fact: Mapping[str, str]) -> list[str | dict[str, Any]]:
    return [f"{fact['label']}: ", _bold(fact["lead"]), f" {fact['text']}" if fact["lead"] else fact["text"]]


def _standing(card: Mapping[str, Any]) -> list[str]:
    checks = [f"{check['sign']} {check['name']}: {check['detail']}" for check in card["checks"]]
    return [card["changed"], *checks, f"Next: {card['next']}"]


def _primary(metric: Mapping[str, Any]) -> list[list[str | dict[str, Any]]]:
    lines: list[list[str | dict[str, Any]]] = [[_bold(f"Primary metric: {metric['title']}")]]
    for row in metric["rows"]:
        name = [_bold(row["variant"]), ": "] if row["variant"] else []
        if not row["effect"]:
            lines.append([*name, f"{row['sign']} {row['claim']}"])
            continue
        lines.append(
            [*name, f"{row['sign']} ", _bold(row["effect"]), f" ({row['level']} interval {_held(row['interval'])})"]
        )
        absolute = ", ".join(filter(None, (f"Absolute {row['absolute']}", pvalues_held(row["side"]))))
        lines += [[text] for text in (row["claim"], absolute, row["means"], row["adjustment"]) if text]
    return lines


def _table_heading(tables: Sequence[Mapping[str, Any]]) -> list[list[str | dict[str, Any]]]:
    headings = {table["key"]: table["heading"] for table in tables}
    others = "Secondary metrics, which do not decide"
    if "guardrails" not in headings:
        return [[_bold(others)]]
    return [[_bold(headings["guardrails"])], *([[f"{others}, stand below them."]] if "secondary" in headings else [])]


def _claims(table: Mapping[str, Any]) -> bool:
    """Whether the message has the segments: not before they have a reading."""
    return {row["word"] for group in table["groups"] for row in group["rows"]} != {"interim"}


def _segment_lines(table: Mapping[str, Any]) -> list[list[str | dict[str, Any]]]:
    """Give the segments with a claim; how many have none stands in the heading."""
    lines: list[list[str | dict[str, Any]]] = [[_bold(table["heading"])]]
    shown, left = 0, 0
    for group in table["groups"]:
        rows = [row for row in group["rows"] if row["word"] not in ("not shown", "interim")]
        kept = rows[: max(_SEGMENT_ROWS - shown, 0)]
        shown, left = shown + len(kept), left + len(rows) - len(kept)
        lines += [[group["label"]]] if group["label"] and kept else []
        lines += [[f"{row['sign']} ", _bold(row["name"]), f"{_tag(row)}: {_reading(row)}"] for row in kept]
    return lines + ([[f"{left} {_MORE}"]] if left else [])


def _reading(row: Mapping[str, Any]) -> str:
    numbers = row["below"] if row["missing"] else f"{row['effect']} ({_held(row['interval'])})"
    word = "" if row["missing"].startswith(row["word"]) else row["word"]
    return ", ".join(filter(None, (word, row["wait"], numbers, pvalues_held(row["side"]), row["missing"])))


def _tag(row: Mapping[str, Any]) -> str:
    return f" ({row['tag']})" if row["tag"] else ""


def _rows(tables: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, Mapping[str, Any]]], int]:
    """Give the rows of tables with their groups, and how many were left out; harm is left out last."""
    rows = [(group["label"], row) for table in tables for group in table["groups"] for row in group["rows"]]
    order = sorted(range(len(rows)), key=lambda place: (rows[place][1]["tone"] not in ("bad", "warn"), place))
    kept, size = [], 0
    for place in order[:_TABLE_ROWS]:
        size += sum(map(len, _cells(*rows[place])))
        if size > _TABLE_CHARACTERS:
            break
        kept.append(place)
    return [rows[place] for place in sorted(kept)], len(rows) - len(kept)


def _cells(label: str, row: Mapping[str, Any]) -> tuple[str, str, str]:
    name = f"{row['sign']} {label + ': ' if label else ''}{row['name']}"
    change = row["below"] if row["missing"] else f"{row['effect']} ({row['interval']})"
    word = "" if row["missing"].startswith(row["word"]) else row["word"] + _tag(row)
    return name, change, ", ".join(filter(None, (word, row["wait"], pvalues_held(row["side"]), row["missing"])))


def _table(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Put guardrails and secondary metrics into one table, as a message can hold only one."""
    rows, left = _rows(tables)
    if not rows:
        return None
    lines = [("Metric", "Change (interval)", "Result"), *(_cells(*row) for row in rows)]
    lines += [(f"{left} {_MORE}", "", "")] if left else []
    cells = [[{"type": "raw_text", "text": cell or "–"} for cell in line] for line in lines]
    return {"type": "table", "column_settings": [{"is_wrapped": True}] * 3, "rows": cells}


def _table_as_text(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the same rows as sections, for a workspace that takes no table."""
    rows, left = _rows(tables)
    lines = [
        f"{row['sign']} {label + ': ' if label else ''}{row['name']}{_tag(row)}: {_reading(row)}" for label, row in rows
    ]
    lines += [f"{left} {_MORE}"] if left else []
    sections, held = [], ""
    for line in lines:
        if held and len(held) + len(line) + 1 > _SECTION:
            sections.append(held)
            held = ""
        held = f"{held}\n{line}" if held else shortened(line, _SECTION)
    return [{"type": "section", "text": _plain(text, _SECTION)} for text in [*sections, held] if text]


def _origin(view: Mapping[str, Any]) -> list[str]:
    rows = (*(row for row in view["plan"] if row[0] == "Changed"), *view["promises"])
    rests_on = [f"{name}: {text}" for name, text in rows if name in ("Changed", "Family", "Alpha", "Freshness", "Lag")]
    data = [view["ratio"]["heading"], *view["data"]["lines"], *view["excluded"]]
    return [*data, *rests_on, view["origin"], f"Repeat: {view['command']}"]


def _held(interval: str) -> str:
    """Keep an interval on one line."""
    return interval.replace(" ", "\u00a0")


def _fitting(blocks: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Keep as many blocks as a message may have, and say so when that is not all."""
    if len(blocks) <= most:
        return list(blocks)
    return [*blocks[: most - 1], _context([_MORE.capitalize()])]


def _bold(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "style": {"bold": True}}


def _rich(lines: Iterable[Sequence[str | dict[str, Any]]]) -> dict[str, Any]:
    """Make a block of lines, each of plain and bold pieces; never half a line, and no more than a section holds."""
    elements, size = [], 0
    for line in lines:
        pieces = [dict(piece) if isinstance(piece, Mapping) else {"type": "text", "text": piece} for piece in line]
        pieces = [{**piece, "text": shortened(piece["text"], _PIECE)} for piece in pieces if piece["text"]]
        size += sum(len(piece["text"]) for piece in pieces) + 1
        if size > _SECTION - 40:
            elements.append({"type": "text", "text": f"\n… {_MORE}"})
            break
        elements += [{"type": "text", "text": "\n"}, *pieces] if elements else pieces
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": _plain(text, _HEADER)}


def _context(lines: Iterable[str]) -> dict[str, Any]:
    return {"type": "context", "elements": [_plain("\n".join(filter(None, lines)), _SECTION)]}


def _image(entry: Mapping[str, str]) -> dict[str, Any]:
    alt, title = shortened(entry["alt"], _ALT), _plain(entry["title"], _ALT)
    return {"type": "image", "slack_file": {"id": entry["file"]}, "alt_text": alt, "title": title}


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": shortened(text, limit), "emoji": False}
