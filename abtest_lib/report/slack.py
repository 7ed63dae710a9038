"""The Slack message.

Its blocks are built here and not by a template: their limits count characters of the finished strings, and JSON written
by a text template breaks on the first quotation mark in a name.
"""

from collections.abc import Mapping
from typing import Any

from abtest_lib.report.text import pvalues_held, shortened

_SECTION, _HEADER, _BLOCKS, _FALLBACK = 3000, 150, 50, 300


def slack_message(view: Mapping[str, Any]) -> dict[str, Any]:
    """Build the short message: verdicts, checks, primary metric, guardrails, secondary metrics, segments with a claim.

    It is read on phones, so numbers of units and segments without a claim are left to the mail.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.

    Returns
    -------
    dict
        ``text`` (the fallback of notifications) and ``blocks`` of Slack's Block Kit, within its limits.

    Examples
    --------
    >>> from abtest_lib.report import view
    >>> slack_message(view(document))["blocks"][0]["type"]
    'header'
    """
    blocks = [{"type": "header", "text": _plain(view["subject"], _HEADER)}]
    blocks.append(_context(f"{view['kicker']}\n{view['stage']}"))
    for card in view["cards"]:
        blocks += _slack_card(card)
    if view["withheld"]:
        blocks.append(_section(_mrkdwn(view["withheld"])))
    for metric in view["primary"]:
        rows = "\n\n".join(_slack_primary(row) for row in metric["rows"])
        blocks.append(_section(f"*Primary metric: {_mrkdwn(metric['title'])}*\n{rows}"))
    blocks += [_section(_slack_table(table)) for table in view["tables"] if _claims(table)]
    blocks = blocks[: _BLOCKS - 1]
    blocks.append(_context(f"{view['ratio']['heading']}\n{view['origin']}\nRepeat: {view['command']}"))
    return {"text": _mrkdwn(shortened(view["subject"], _FALLBACK)), "blocks": blocks}


def _slack_card(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say a verdict; its label stands in the header already if it is the only one."""
    label = f"*{_mrkdwn(card['variant'])}: {_mrkdwn(card['label'])}*\n" if card["variant"] else ""
    checks = [f"{check['sign']} {check['name']}: {check['detail']}" for check in card["checks"]]
    text = f"{label}*{_mrkdwn(card['action'])}* {_mrkdwn(card['why'])}"
    return [_section(text), _context("\n".join([*checks, card["changed"], f"What would change it: {card['next']}"]))]


def _slack_primary(row: Mapping[str, Any]) -> str:
    name = f"*{_mrkdwn(row['variant'])}*: " if row["variant"] else ""
    if not row["effect"]:
        return name + _mrkdwn(f"{row['sign']} {row['claim']}")
    lines = (
        f"{row['sign']} {row['effect']} ({row['level']} interval {_held(row['interval'])})",
        row["claim"],
        ", ".join(filter(None, (f"Absolute {row['absolute']}", pvalues_held(row["side"])))),
        row["means"],
        row["adjustment"],
    )
    return name + _mrkdwn("\n".join(filter(None, lines)))


def _claims(table: Mapping[str, Any]) -> bool:
    """Whether the message has the table: not the earlier nights, and not segments that have no reading yet."""
    words = {row["word"] for group in table["groups"] for row in group["rows"]}
    return table["key"] != "nights" and not (table["key"] == "segments" and words == {"interim"})


def _slack_table(table: Mapping[str, Any]) -> str:
    silent = ("not shown", "interim") if table["key"] == "segments" else ()
    lines = [f"*{_mrkdwn(table['heading'])}*"]
    for group in table["groups"]:
        rows = [row for row in group["rows"] if row["word"] not in silent]
        lines += [f"_{_mrkdwn(group['label'])}_"] if group["label"] and rows else []
        lines += [_slack_row(row) for row in rows]
    return "\n".join(lines)


def _slack_row(row: Mapping[str, Any]) -> str:
    numbers = row["below"] if row["missing"] else f"{row['effect']} ({_held(row['interval'])})"
    word = "" if row["missing"].startswith(row["word"]) else row["word"]
    words = ", ".join(filter(None, (word, numbers, pvalues_held(row["side"]), row["missing"])))
    tag = f" ({_mrkdwn(row['tag'])})" if row["tag"] else ""
    return f"{row['sign']} *{_mrkdwn(row['name'])}*{tag}: {_mrkdwn(words)}"


def _held(interval: str) -> str:
    """Keep an interval on one line."""
    return interval.replace(" ", "\u00a0")


def _section(mrkdwn: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _whole_lines(mrkdwn), "verbatim": True}}


def _whole_lines(mrkdwn: str) -> str:
    """Keep what fits into a section, and never half a line: an entity cut in two would print wrong."""
    kept, size = [], 0
    for line in mrkdwn.split("\n"):
        size += len(line) + 1
        if size > _SECTION - 40:
            return "\n".join([*kept, "… more in the mail"])
        kept.append(line)
    return "\n".join(kept)


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_plain(text, _SECTION)]}


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": shortened(text, limit), "emoji": False}


def _mrkdwn(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
