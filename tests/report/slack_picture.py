"""Take a picture of a Slack message as a client shows it, about.

Run ``python -m tests.report.slack_picture slack.json OUT.png [--width 375]`` from the top of the checkout; it needs
Chromium. Slack has no renderer to run here: fonts, sizes and spacing are those of its web client by eye, and the marks
of mrkdwn are those that reports use.
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


def _block(block: dict) -> str:
    if block["type"] == "divider":
        return "<hr>"
    if block["type"] == "context":
        return f'<div class="context">{" ".join(map(_text, block["elements"]))}</div>'
    if block["type"] == "actions":
        return "".join(f'<span class="button">{_text(button["text"])}</span> ' for button in block["elements"])
    fields = "".join(f"<div>{_text(field)}</div>" for field in block.get("fields", ()))
    fields = f'<div class="fields">{fields}</div>' if fields else ""
    return f'<div class="{block["type"]}">{_text(block["text"]) if "text" in block else ""}{fields}</div>'


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
    options = parser.parse_args()
    blocks = json.loads(options.message.read_text("utf-8"))["blocks"]
    with browser() as socket, tempfile.TemporaryDirectory() as folder:
        page_file = Path(folder, "message.html")
        page_file.write_text(_PAGE + "".join(map(_block, blocks)), "utf-8")
        asyncio.run(_take(socket, page_file, options.out, options.width))


if __name__ == "__main__":
    main()
