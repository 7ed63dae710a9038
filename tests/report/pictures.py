"""Take pictures of a report as mail programs show it: 600, 375 and 320 px wide, light and dark.

Run ``python -m tests.report.pictures REPORT.html OUT_DIR`` from the top of the checkout; it needs Chromium. The narrow
widths are set through the browser's device emulation, because its window is never narrower than about 500 px.
"""

import argparse
import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import websockets

WIDTHS = (600, 375, 320)
SCHEMES = ("light", "dark")


@contextmanager
def browser() -> Iterator[str]:
    """Start Chromium and yield the address of its control socket."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("pictures: Chromium is not on the PATH; it must be. Install the package chromium.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        command = [program, *options, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
        try:
            for line in process.stderr or ():
                if "DevTools listening on " in line:
                    yield line.rsplit(" ", 1)[1].strip()
                    break
        finally:
            process.terminate()
            process.wait()


class Page:
    """One tab, driven by the DevTools protocol."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket, self.number, self.session = socket, 0, ""

    async def call(self, method: str, **parameters: object) -> dict:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        await self.socket.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = json.loads(await self.socket.recv())
            if answer.get("id") == self.number:
                return answer["result"]

    async def value(self, expression: str) -> float:
        return (await self.call("Runtime.evaluate", expression=expression))["result"]["value"]


async def _take(socket: str, report: Path, out: Path, plain: bool) -> list[str]:
    said = []
    async with websockets.connect(socket, max_size=None) as connection:
        page = Page(connection)
        target = await page.call("Target.createTarget", url=report.resolve().as_uri())
        attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page.session = attached["sessionId"]
        await asyncio.sleep(0.6)
        if plain:
            await page.value("document.querySelectorAll('style').forEach(node => node.remove()); 0")
        for width in WIDTHS:
            for scheme in SCHEMES if not plain else SCHEMES[:1]:
                feature = {"name": "prefers-color-scheme", "value": scheme}
                await page.call("Emulation.setEmulatedMedia", features=[feature])
                screen = {"width": width, "height": 800, "deviceScaleFactor": 1.5, "mobile": False}
                await page.call("Emulation.setDeviceMetricsOverride", **screen)
                shot = await page.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
                path = out / f"{report.stem}_{width}_{'plain' if plain else scheme}.png"
                path.write_bytes(base64.b64decode(shot["data"]))
                spill = await page.value("document.documentElement.scrollWidth") - width
                said.append(f"{path}{f'  SPILLS {spill} px' if spill > 0 else ''}")
    return said


def main() -> None:
    """Take the pictures of the report named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.report.pictures", description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--plain", action="store_true", help="remove the style block, as some mail programs do")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with browser() as socket:
        print("\n".join(asyncio.run(_take(socket, options.report, options.out, options.plain))))


if __name__ == "__main__":
    main()
