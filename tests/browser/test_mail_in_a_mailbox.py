"""A night's mail as it arrives: through SMTP into a receiver with a web page, read in a browser."""

import json

import pytest

from abtest_lib.delivery import deliver_email
from abtest_lib.mail import Letter, SmtpServer, send_mail
from tests.browser.fixtures import assert_pictures_are_seen
from tests.small_shop import KEY, Shop

HOSTILE = '<script>document.title = "taken"</script> & "quotes"\r\nBcc: eve@example.com 😀 שלום ' + "x" * 120


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def delivered(night, mailbox):
    """Deliver a night; what the receiver knows of the mails that came."""
    before = {mail["id"] for mail in mailbox.mails()}
    deliver_email(night, SmtpServer(mailbox.host, mailbox.smtp_port, sender="abtest@example.com", security="none"))
    return [mail for mail in mailbox.mails() if mail["id"] not in before]


def test_verdict_and_pictures_are_seen_in_the_mailbox(shop, mailbox, chromium):
    mails = delivered(shop.run(), mailbox)
    assert sorted(mail["to"][0]["address"] for mail in mails) == ["boss@example.com", "team@example.com"]
    assert {mail["subject"] for mail in mails} == {"✔ SHIP: Shorter checkout"}
    page, frame = mailbox.open(chromium, mails[0])
    shown = frame.locator("body").inner_text()
    assert "✔ SHIP" in shown
    assert "Roll out treatment." in shown
    assert_pictures_are_seen(page, frame)
    page.close()


def test_hostile_names_arrive_intact_and_harmless(shop, mailbox, chromium):
    shop.redefine(KEY, "title: Shorter checkout", f"title: {json.dumps(HOSTILE)}")
    (mail, _) = delivered(shop.run(), mailbox)
    assert "eve@example.com" not in json.dumps([mail["envelope"], mail.get("bcc"), mail["to"]])
    page, frame = mailbox.open(chromium, mail)
    assert page.title() != "taken"
    assert frame.locator("script").count() == 0
    heading = frame.locator("h1").inner_text().lstrip("\u2068")  # a name with Hebrew is isolated
    assert heading.startswith('<script>document.title = "taken"</script> & "quotes" Bcc: eve@example.com 😀')
    page.close()


@pytest.mark.parametrize(
    ("title", "seen"),
    [
        ("=?utf-8?q?=0D=0ABcc:_eve@example.com?=", "=\u200b?utf-8?q?=0D=0ABcc:_eve@example.com?="),
        ("<img src=x onerror=\"document.title='taken'\">", "<img src=x onerror=\"document.title='taken'\">"),
        ("ü a " * 50, ("ü a " * 50).strip()),
        ("\u2067שלום\u2069 👩‍👩‍👧‍👦" * 8, "\u2067שלום\u2069 👩‍👩‍👧‍👦" * 8),
    ],
)
def test_hostile_subjects_are_read_as_they_were_written(title, seen, mailbox, chromium, tmp_path):
    server = SmtpServer(mailbox.host, mailbox.smtp_port, sender="abtest@example.com", security="none")
    send_mail(tmp_path, server, ["ana@example.com"], Letter(title, "Text", "<h1>Night</h1>", topic="a", thread="b"))
    mail = mailbox.mails()[-1]
    assert mail["subject"] == seen
    assert "bcc" not in mail["headers"]
    page, _ = mailbox.open(chromium, mail)
    assert page.title() != "taken"
    assert page.locator("img[src=x]").count() == 0
    assert seen in page.locator("body").inner_text()
    page.close()
