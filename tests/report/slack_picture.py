"""Take a picture of a night's Slack messages as a client shows them, about: the experiment's message, then the reply.

Run ``python -m tests.report.slack_picture slack.json OUT.png [--width 375] [--plain]`` from the top of the checkout; it
needs Chromium. Slack has no renderer to run here: fonts, sizes and spacing are those of its clients by eye, and the
marks of mrkdwn are those that reports use. Pictures are taken from the folder of ``slack.json``.
"""

import argparse
import asyncio
import base64
import html
import json
import re
import tempfile
from pathlib import Path

import websockets

from tests.report.pictures import Page, browser

_PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>
body { margin: 0; padding: 8px 16px 16px 60px; font: 15px/22px Lato, 'Noto Sans', Arial, sans-serif; color: #1d1c1d;
  overflow-wrap: break-word; position: relative; }
body::before { content: ""; position: absolute; left: 14px; top: 12px; width: 36px; height: 36px; border-radius: 6px;
  background: #28456f; }
.from { font-weight: 900; }
.app { font-size: 10px; background: #ddd; border-radius: 2px; padding: 1px 3px; color: #616061; }
.header { font-size: 18px; font-weight: 900; line-height: 24px; margin: 8px 0; }
.section { margin: 4px 0 8px; }
.fields { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
.context { font-size: 13px; line-height: 18px; color: #616061; margin: 4px 0 8px; }
.button { display: inline-block; border: 1px solid #bbb; border-radius: 4px; padding: 4px 12px; font-weight: 700; }
.rich_text { margin: 4px 0 8px; white-space: pre-wrap; }
.image img { display: block; max-width: 100%; border-radius: 8px; margin: 4px 0; }
.image .title { font-size: 15px; font-weight: 700; }
.table { overflow-x: auto; margin: 4px 0 8px; border: 1px solid #ddd; border-radius: 8px; }
.table table { border-collapse: collapse; font-size: 13px; line-height: 18px; }
.table td { border: 1px solid #ddd; padding: 4px 8px; vertical-align: top; min-width: 84px; }
.table tr:first-child td { font-weight: 700; background: #f8f8f8; }
.reply { margin-top: 16px; padding-top: 8px; border-top: 1px solid #ddd; }
hr { border: 0; border-top: 1px solid #ddd; margin: 12px 0; }
code { font: 12px/18px Menlo, Consolas, monospace; color: #c01343; background: #f6f6f6; border: 1px solid #ddd;
  border-radius: 3px; padding: 1px 3px; }
pre { font: 12px/18px Menlo, Consolas, monospace; background: #f6f6f6; border: 1px solid #ddd; border-radius: 4px;
  padding: 8px; margin: 4px 0; white-space: pre-wrap; }
</style><div><span class="from">abtest</span> <span class="app">APP</span></div>"""
_MARKS = {r"\*": "b", "_": "i", "~": "s", "`": "code"}


def _text(element: dict) -> str:
    """Return the HTML of a text object; Slack's own escapes are the same three as HTML's."""
    if element["type"] == "plain_text":
        return html.escape(element["text"]).replace("\n", "<br>")
    text = re.sub(r"```\n?(.*?)```", lambda block: f"<pre>{block[1]}</pre>", element["text"], flags=re.DOTALL)
    for mark, tag in _MARKS.items():
        text = re.sub(rf"(?<![\w{mark}]){mark}(?=\S)([^\n]+?)(?<=\S){mark}(?!\w)", rf"<{tag}>\1</{tag}>", text)
    text = re.sub(r"<(https?:[^|>]+)\|([^>]+)>", r'<a href="\1">\2</a>', text)
    return re.sub(r"\n(?!<pre>)(?![^<]*</pre>)", "<br>", text)


def _rich(block: dict) -> str:
    elements = [element for section in block["elements"] for element in section["elements"]]
    bold = [bool(element.get("style", {}).get("bold")) for element in elements]
    texts = [html.escape(element["text"]) for element in elements]
    return "".join(f"<b>{text}</b>" if strong else text for text, strong in zip(texts, bold, strict=True))


def _table(block: dict) -> str:
    cells = [[html.escape(cell["text"]) for cell in row] for row in block["rows"]]
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
    return f"<table>{rows}</table>"


def _image(block: dict, folder: Path) -> str:
    path = folder / Path(block["slack_file"]["id"]).name
    alt = html.escape(block["alt_text"])
    picture = f'<img src="{path.as_uri()}" alt="{alt}">' if path.is_file() else f"<i>[{alt}]</i>"
    return f'<div class="title">{_text(block["title"])}</div>{picture}'


def _block(block: dict, folder: Path) -> str:
    if block["type"] == "divider":
        return "<hr>"
    if block["type"] == "context":
        return f'<div class="context">{" ".join(map(_text, block["elements"]))}</div>'
    if block["type"] == "actions":
        return "".join(f'<span class="button">{_text(button["text"])}</span> ' for button in block["elements"])
    inside = {"rich_text": _rich, "table": _table, "image": lambda image: _image(image, folder)}.get(block["type"])
    if inside:
        return f'<div class="{block["type"]}">{inside(block)}</div>'
    fields = "".join(f"<div>{_text(field)}</div>" for field in block.get("fields", ()))
    fields = f'<div class="fields">{fields}</div>' if fields else ""
    return f'<div class="{block["type"]}">{_text(block["text"]) if "text" in block else ""}{fields}</div>'


def page(messages: dict, folder: Path, *, plain: bool = False) -> str:
    """Return the HTML of a message, or of an experiment's message and the reply below it; plain has text for tables."""
    told = [messages["parent"], messages["night"]] if "night" in messages else [messages]
    parts = []
    for number, message in enumerate(told):
        blocks = [
            shown
            for block in message["blocks"]
            for shown in (message["fallback"] if plain and block["type"] == "table" else [block])
            if not (plain and block["type"] == "image")
        ]
        content = "".join(_block(block, folder) for block in blocks)
        parts.append(f'<div class="{"reply" if number else "first"}">{content}</div>')
    return _PAGE + "".join(parts)


async def _take(socket: str, page_file: Path, out: Path, width: int) -> None:
    async with websockets.connect(socket, max_size=None) as connection:
        page = Page(connection)
        target = await page.call("Target.createTarget", url=page_file.as_uri())
        page.session = (await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True))[
            "sessionId"
        ]
        await asyncio.sleep(0.4)
        screen = {"width": width, "height": 400, "deviceScaleFactor": 1.5, "mobile": False}
        await page.call("Emulation.setDeviceMetricsOverride", **screen)
        shot = await page.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        out.write_bytes(base64.b64decode(shot["data"]))


def main() -> None:
    """Take the picture of the message named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.report.slack_picture", description=__doc__)
    parser.add_argument("message", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=375, help="in px; 375 is a phone, 640 a window")
    parser.add_argument("--plain", action="store_true", help="as posted where neither tables nor pictures are taken")
    options = parser.parse_args()
    messages = json.loads(options.message.read_text("utf-8"))
    with browser() as socket, tempfile.TemporaryDirectory() as folder:
        page_file = Path(folder, "message.html")
        page_file.write_text(page(messages, options.message.resolve().parent, plain=options.plain), "utf-8")
        asyncio.run(_take(socket, page_file, options.out, options.width))


if __name__ == "__main__":
    main()
