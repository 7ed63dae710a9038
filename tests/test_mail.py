"""A message is what mail programs expect, to the byte, whatever people call their experiments."""

import hashlib
import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from pathlib import Path

import pytest

from abtest_lib.mail import Letter, SmtpServer, compose

SERVER = SmtpServer("localhost", sender="A/B tests <abtest@example.com>")
NIGHT = Path("results", "checkout", "2026-03-09")
PNG = bytes.fromhex("89504e470d0a1a0a") + hashlib.sha256(b"picture").digest() * 40
LETTER = Letter(
    "✔ SHIP: Checkout",
    "Roll out treatment.\n",
    '<p>Roll out treatment.</p><img src="cid:forest" alt="Effect"><img src="cid:nights" alt="Nights">',
    images=(("forest", PNG), ("nights", PNG[::-1])),
    topic="checkout",
    thread="2026-03-09-6ef9faa9",
)
# Title, and what a reader sees of it.
HOSTILE = {
    "script": ('<script>alert("x")</script> & co', '<script>alert("x")</script> & co'),
    "header": ("SHIP\r\nBcc: eve@example.com\r\n\r\nbody", "SHIP Bcc: eve@example.com body"),
    "controls": ("SH\0IP\x1b[31m \x85x\x7f", "SHIP[31m x"),
    "encoded line break": ("=?utf-8?q?=0D=0ABcc:_eve@example.com?=", "=\u200b?utf-8?q?=0D=0ABcc:_eve@example.com?="),
    "hidden encoded line break": ("é =\0?utf-8?q?=0ABcc:_eve?= é", "é =\u200b?utf-8?q?=0ABcc:_eve?= é"),
    "emoji": ("👩‍👩‍👧‍👦" * 20, "👩‍👩‍👧‍👦" * 20),
    "right to left": ("\u2068ניסוי תשלום\u2069 v2", "\u2068ניסוי תשלום\u2069 v2"),
    "200 letters": ("x" * 200, "x" * 200),
    "200 letters of two bytes": ("é" * 200, "é" * 200),
    "200 words": ("a ü " * 100, ("a ü " * 100).strip()),
    "address": ('"Eve" <eve@example.com>, =20; (x)', '"Eve" <eve@example.com>, =20; (x)'),
}


def headers(content):
    """Names and values as they stand in the message, folded lines joined."""
    head = content.partition(b"\r\n\r\n")[0]
    return [line.split(b": ", 1) for line in re.sub(rb"\r\n([ \t])", rb"\1", head).split(b"\r\n")]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_title_arrives_intact_in_one_header(name):
    title, seen = HOSTILE[name]
    content = compose(Letter(title, "Text"), SERVER, "ana@example.com", about=NIGHT).as_bytes(policy=policy.SMTP)
    found = headers(content)
    assert [key for key, _ in found] == [key for key, _ in headers(as_bytes(Letter("SHIP", "Text")))]
    ((_, subject),) = [header for header in found if header[0] == b"Subject"]
    assert subject.isascii()
    # Each encoded word must stand alone (RFC 2047): the old decoder of the library reads it so.
    assert str(make_header(decode_header(subject.decode()))) == seen
    assert message_from_bytes(content, policy=policy.default)["Subject"] == seen


@pytest.mark.parametrize("name", HOSTILE)
def test_lines_of_headers_are_short(name):
    content = compose(Letter(HOSTILE[name][0], "Text"), SERVER, "ana@example.com", about=NIGHT)
    head = content.as_bytes(policy=policy.SMTP).partition(b"\r\n\r\n")[0]
    assert max(len(line) for line in head.split(b"\r\n")) <= 78
    assert all(len(word) <= 75 for word in re.findall(rb"=\?utf-8\?[bq]\?[^?]*\?=", head))


def as_bytes(letter=LETTER, recipient="ana@example.com", about=NIGHT):
    return compose(letter, SERVER, recipient, about=about).as_bytes(policy=policy.SMTP)


def test_message_is_text_then_html_with_its_images():
    message = message_from_bytes(as_bytes(), policy=policy.default)
    kinds = [(part.get_content_type(), part["Content-Transfer-Encoding"]) for part in message.walk()]
    assert kinds == [
        ("multipart/alternative", None),
        ("text/plain", "quoted-printable"),
        ("multipart/related", None),
        ("text/html", "quoted-printable"),
        ("image/png", "base64"),
        ("image/png", "base64"),
    ]
    images = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert [part.get_content() for part in images] == [PNG, PNG[::-1]]
    assert [(part.get_content_disposition(), part.get_filename()) for part in images] == [
        ("inline", "forest.png"),
        ("inline", "nights.png"),
    ]


def test_each_image_that_the_page_shows_is_in_the_message_and_no_other_message_has_its_name():
    shown = []
    for recipient in ("ana@example.com", "bob@example.com"):
        message = message_from_bytes(as_bytes(recipient=recipient), policy=policy.default)
        page = message.get_body(("html",)).get_content()
        inside = [part["Content-ID"] for part in message.walk() if part["Content-ID"]]
        assert [f"<{name}>" for name in re.findall(r'src="cid:([^"]+)"', page)] == inside
        shown += inside
    assert len(set(shown)) == 4


def test_message_without_html_is_text_alone():
    message = message_from_bytes(as_bytes(Letter("FAILED: Checkout", "Task collect: é\n")), policy=policy.default)
    assert (message.get_content_type(), message.get_content()) == ("text/plain", "Task collect: é\r\n")
    assert message["References"] is message["List-Id"] is None


def test_text_is_the_same_after_its_way_whatever_its_lines_are():
    text = ".\nFrom here\n" + "x" * 3000 + "\n  two spaces behind  \n=3D\n\N{BLACK CIRCLE} né\n"
    content = as_bytes(Letter("SHIP", text, f"<p>{text}</p>"))
    assert content.isascii()
    assert max(len(line) for line in content.split(b"\r\n")) <= 78
    message = message_from_bytes(content, policy=policy.default)
    assert message.get_body(("plain",)).get_content() == text.replace("\n", "\r\n")
    assert message.get_body(("html",)).get_content() == f"<p>{text}</p>\n".replace("\n", "\r\n")


def test_date_is_all_that_differs_when_a_message_is_built_again(monkeypatch):
    first = as_bytes()
    monkeypatch.setattr("abtest_lib.mail.format_datetime", lambda _: "Mon, 09 Mar 2026 03:00:00 +0000")
    again = as_bytes()
    differ = [
        (one, other) for one, other in zip(first.split(b"\r\n"), again.split(b"\r\n"), strict=True) if one != other
    ]
    assert [other for _, other in differ] == [b"Date: Mon, 09 Mar 2026 03:00:00 +0000"]


def test_programs_are_told_that_nobody_wrote_it_and_that_nobody_waits_for_an_answer():
    found = dict(headers(as_bytes()))
    assert found[b"Auto-Submitted"] == b"auto-generated"
    assert found[b"X-Auto-Response-Suppress"] == b"DR, RN, NRN, OOF, AutoReply"
    assert found[b"List-Id"] == b"<checkout.abtest.example.com>"
    # There is no address or page that would take somebody off a list, so none is promised.
    assert not {b"List-Unsubscribe", b"List-Unsubscribe-Post", b"Precedence", b"Reply-To"} & set(found)


def test_sender_may_have_a_name_and_identifiers_have_its_domain():
    found = dict(headers(as_bytes()))
    assert found[b"From"] == b"A/B tests <abtest@example.com>"
    for name in (b"Message-ID", b"References", b"In-Reply-To"):
        assert re.fullmatch(rb"<[0-9a-f]{32}@example\.com>", found[name])


def test_sender_with_letters_of_any_language_is_ascii_on_the_wire():
    server = SmtpServer("localhost", sender='"Größe, Preis" <abtest@example.com>')
    content = compose(LETTER, server, "ana@example.com", about=NIGHT).as_bytes(policy=policy.SMTP)
    assert content.isascii()
    (sender,) = message_from_bytes(content, policy=policy.default)["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ("Größe, Preis", "abtest@example.com")


@pytest.mark.parametrize("change", [
    {"recipient": "bob@example.com"}, {"about": NIGHT.with_name("2026-03-10")},
    {"letter": Letter("SHIP", "Roll out", topic="checkout", thread="2026-03-09-6ef9faa9")},
])  # fmt: skip
def test_another_recipient_night_or_content_is_another_message_of_the_same_thread(change):
    one, other = dict(headers(as_bytes())), dict(headers(as_bytes(**change)))
    assert one[b"Message-ID"] != other[b"Message-ID"]
    assert one[b"References"] == other[b"References"] == other[b"In-Reply-To"]


@pytest.mark.parametrize("change", [{"topic": "ranker"}, {"thread": "2026-03-10-6ef9faa9"}])
def test_another_experiment_or_verdict_is_another_thread(change):
    changed = Letter(LETTER.subject, LETTER.text, **{"topic": LETTER.topic, "thread": LETTER.thread, **change})
    assert dict(headers(as_bytes()))[b"References"] != dict(headers(as_bytes(changed)))[b"References"]
