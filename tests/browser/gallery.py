"""Pictures of every verdict for ``docs/reports``: ``make gallery``, or ``python -m tests.browser.gallery``.

Mail at the width of a phone and of a desktop, light and dark, the first screen of each and one whole; made from the
nights in ``tests/report/cases``. Needs the system's Chromium.
"""

import io
import re
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.report.nights import CASES, night, printed

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reports"
SCREENS = {"phone": (375, 780), "desktop": (760, 780)}
SCHEMES = ("light", "dark")
TITLES = {
    "ship": "SHIP: proved better, every guardrail proved safe",
    "do_not_ship": "DO NOT SHIP: a guardrail is proved harmful",
    "keep_running": "KEEP RUNNING: outcomes are not complete",
    "invalid": "INVALID: the split is broken, no effect is shown",
    "look": "SHIP at a look, before the planned end",
    "not_computed": "A metric that could not be computed",
    "three_variants": "Two treatments, two verdicts",
}


def main() -> int:
    """Take the pictures and write the index."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        print("gallery: Chromium is not on the PATH; install the package chromium.", file=sys.stderr)
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for case in CASES:
            mail = with_pictures(printed(*night(case)))
            for name, (width, height) in SCREENS.items():
                for scheme in SCHEMES:
                    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                    page.set_content(mail)
                    save(page.screenshot(), f"{case}_{name}_{scheme}")
                    if (case, name, scheme) == ("ship", "phone", "light"):
                        save(page.screenshot(full_page=True), f"{case}_whole")
                    page.close()
        browser.close()
    (FOLDER / "README.md").write_text(index(), encoding="utf-8")
    return 0


def with_pictures(rendered) -> str:
    """The mail with its pictures in it, as a mail program puts them there."""
    import base64

    def data(found: re.Match) -> str:
        return f'src="data:image/png;base64,{base64.b64encode(rendered.images[found[1]]).decode()}"'

    return re.sub(r'src="cid:(\w+)"', data, rendered.mail)


def save(png: bytes, name: str) -> None:
    """Write a picture in at most 64 colours: text stays sharp, and the folder small."""
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(FOLDER / f"{name}.png", optimize=True)


def index() -> str:
    """The page that shows them."""
    lines = [
        "# Reports",
        "",
        "The first screen of the mail of each verdict, on a phone and on a desktop, light and dark; made by",
        "`make gallery` from the nights in `tests/report/cases`. [One mail as a whole](ship_whole.png).",
        "What the report says, and why in this order: [report.md](../report.md).",
    ]
    for case in sorted(CASES, key=list(TITLES).index):
        lines += ["", f"## {TITLES[case]}", ""]
        for name in SCREENS:
            lines.append(" ".join(f"![{case}, {name}, {scheme}]({case}_{name}_{scheme}.png)" for scheme in SCHEMES))
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
