"""What Slack refuses in a message, by its published limits.

References
----------
https://docs.slack.dev/reference/block-kit/blocks and https://docs.slack.dev/reference/methods/chat.postMessage
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

# Block types that reports do not use; Slack knows more about them than this receiver.
_UNCHECKED = ("divider", "actions", "video", "file", "markdown")


def message_error(
    arguments: Mapping[str, Any], *, files: Collection[str] = (), refused: Collection[str] = ()
) -> tuple[str | None, list[str]]:
    """Return Slack's error code for a message and what it complains of.

    Parameters
    ----------
    arguments : mapping
        Of ``chat.postMessage`` or ``chat.update``.
    files : collection of str
        Ids of the pictures that image blocks may show.
    refused : collection of str
        Types of blocks that this workspace does not take.

    Returns
    -------
    str or None, list of str
        None and nothing if the message may be posted.

    Examples
    --------
    >>> message_error({"text": "A night"})
    (None, [])
    >>> message_error({"text": "A night", "blocks": [{"type": "section"}]})
    ('invalid_blocks', ['section must have text or fields [json-pointer:/blocks/0]'])
    """
    blocks = arguments.get("blocks") or []
    if isinstance(blocks, str):
        try:
            blocks = json.loads(blocks)
        except ValueError:
            return "invalid_blocks_format", []
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return "invalid_blocks_format", []
    if not blocks and not arguments.get("text") and not arguments.get("attachments"):
        return "no_text", []
    if len(str(arguments.get("text") or "")) > 40_000:
        return "msg_too_long", []
    if sum(block.get("type") == "table" for block in blocks) > 1:
        return "invalid_attachments", ["only_one_table_allowed"]
    problems = ["no more than 50 items allowed [json-pointer:/blocks]"] if len(blocks) > 50 else []
    for position, block in enumerate(blocks):
        found = [f"unsupported type: {block['type']}"] if block.get("type") in refused else _problems(block, files)
        place = f"/blocks/{position}" + ("/slack_file" if "invalid slack file" in found else "")
        problems += [f"{problem} [json-pointer:{place}]" for problem in found]
    return ("invalid_blocks", problems) if problems else (None, [])


def _problems(block: Mapping[str, Any], files: Collection[str]) -> list[str]:
    kind = block.get("type")
    if not kind:
        return ["missing required field: type"]
    if len(str(block.get("block_id") or "")) > 255:
        return ["block_id must be at most 255 characters"]
    if kind == "section":
        return _section_problems(block)
    if kind == "header":
        return _text_problems(block.get("text"), longest=150, kinds=("plain_text",))
    if kind == "context":
        elements = block.get("elements") or []
        problems = [] if 1 <= len(elements) <= 10 else ["context must have 1 to 10 elements"]
        texts = [element for element in elements if element.get("type") != "image"]
        return problems + [problem for text in texts for problem in _text_problems(text, longest=3000)]
    if kind == "rich_text":
        return _rich_text_problems(block)
    if kind == "table":
        return _table_problems(block)
    if kind == "image":
        return _image_problems(block, files)
    return [] if kind in _UNCHECKED else [f"unsupported type: {kind}"]


def _section_problems(block: Mapping[str, Any]) -> list[str]:
    fields = block.get("fields") or []
    if "text" not in block and not fields:
        return ["section must have text or fields"]
    problems = _text_problems(block["text"], longest=3000) if "text" in block else []
    if len(fields) > 10:
        problems.append("section must have at most 10 fields")
    return problems + [problem for text in fields for problem in _text_problems(text, longest=2000)]


def _text_problems(text: object, *, longest: int, kinds: Collection[str] = ("mrkdwn", "plain_text")) -> list[str]:
    if not isinstance(text, dict) or text.get("type") not in kinds:
        return [f"text must be an object of type {' or '.join(kinds)}"]
    length = len(str(text.get("text") or ""))
    return [] if 1 <= length <= longest else [f"text must have 1 to {longest} characters"]


def _rich_text_problems(block: Mapping[str, Any]) -> list[str]:
    sections = block.get("elements")
    if not isinstance(sections, list) or not sections:
        return ["missing required field: elements"]
    problems = []
    for section in sections:
        if section.get("type") != "rich_text_section":
            problems.append(f"unsupported element: {section.get('type')}")
        for element in section.get("elements") or [{}]:
            if element.get("type") != "text":
                problems.append(f"unsupported element: {element.get('type')}")
            elif not element.get("text"):
                problems.append("must be more than 0 characters")
            problems += [] if set(element) <= {"type", "text", "style"} else ["unknown property of a text"]
    return problems


def _table_problems(block: Mapping[str, Any]) -> list[str]:
    rows = block.get("rows")
    if not isinstance(rows, list) or not 1 <= len(rows) <= 100:
        return ["rows must have 1 to 100 items"]
    problems = [] if all(1 <= len(row) <= 20 for row in rows) else ["a row must have 1 to 20 cells"]
    problems += [] if len({len(row) for row in rows}) == 1 else ["all rows must have the same number of cells"]
    problems += [] if len(block.get("column_settings") or []) <= 20 else ["column_settings: at most 20 items"]
    cells = [cell for row in rows for cell in row]
    for cell in cells:
        if cell.get("type") == "rich_text":
            problems += _rich_text_problems(cell)
        elif cell.get("type") != "raw_text":
            problems.append("failed to match any allowed schemas")
        elif not cell.get("text"):
            problems.append("must be more than 0 characters")
    if sum(len(json.dumps(cell)) if "elements" in cell else len(cell.get("text") or "") for cell in cells) > 10_000:
        problems.append("a table must have at most 10000 characters")
    return problems


def _image_problems(block: Mapping[str, Any], files: Collection[str]) -> list[str]:
    problems = [] if 1 <= len(str(block.get("alt_text") or "")) <= 2000 else ["alt_text must have 1 to 2000 characters"]
    if "title" in block:
        problems += _text_problems(block["title"], longest=2000, kinds=("plain_text",))
    if ("image_url" in block) == ("slack_file" in block):
        return [*problems, "one of image_url and slack_file is required"]
    if len(str(block.get("image_url") or "")) > 3000:
        problems.append("image_url must be at most 3000 characters")
    shown = block.get("slack_file")
    if shown is not None and shown.get("id") not in files:
        problems.append("invalid slack file")
    return problems
