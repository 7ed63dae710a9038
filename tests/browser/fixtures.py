"""A browser and a mail receiver with a web page, for all tests that look at what people see."""

import contextlib
import json
import shutil
import smtplib
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MAILDEV = HERE / "node_modules" / "maildev" / "bin" / "maildev"


@pytest.fixture(scope="module")
def chromium():
    """The system's Chromium, one for a module: while Playwright runs, nothing else can start an event loop."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("Chromium is not installed; apt-get install chromium (make test does it)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass(frozen=True)
class Mailbox:
    """Where MailDev listens."""

    host: str
    smtp_port: int
    url: str

    def mails(self):
        """What has come in, as MailDev understood it, oldest first."""
        with urllib.request.urlopen(f"{self.url}/email", timeout=10) as answer:  # noqa: S310
            return json.load(answer)

    def hand_on(self, content, recipient):
        """Hand on, byte by byte, a message that another receiver took; what MailDev knows of it."""
        with smtplib.SMTP(self.host, self.smtp_port, timeout=10) as client:
            client.sendmail("abtest@example.com", [recipient], content)
        return self.mails()[-1]

    def open(self, chromium, mail):
        """The web page with one mail open, and the frame that shows its HTML."""
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{self.url}/#/email/{mail['id']}")
        frame = page.frame_locator("iframe.panel-html")
        frame.locator("h1").wait_for(timeout=20_000)
        return page, frame


def assert_pictures_are_seen(page, frame):
    """Every picture of the mail is decoded and described; there is at least one."""
    images = frame.locator("img")
    assert images.count() >= 1
    for number in range(images.count()):
        image = images.nth(number)
        image.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete", arg=image.element_handle(), timeout=20_000)
        assert image.evaluate("image => image.naturalWidth") > 300
        assert image.get_attribute("alt")


@pytest.fixture(scope="session")
def mailbox():
    """MailDev on this machine: it receives by SMTP and shows mail in a web page."""
    if not MAILDEV.exists() or shutil.which("node") is None:
        pytest.skip("MailDev is not installed; npm ci --prefix tests/browser (make test does it)")
    smtp, web = free_port(), free_port()
    command = ["node", MAILDEV, "--ip", "127.0.0.1", "--smtp", str(smtp), "--web", str(web), "--silent"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        try:
            wait_for(f"http://127.0.0.1:{web}/healthz", process)
            yield Mailbox("127.0.0.1", smtp, f"http://127.0.0.1:{web}")
        finally:
            process.terminate()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(url, process):
    for _ in range(300):
        assert process.poll() is None, "MailDev ended"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            if answer.status == 200:
                return
        time.sleep(0.1)
    pytest.fail(f"{url} did not answer")
