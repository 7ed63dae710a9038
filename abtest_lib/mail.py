"""Sends mail: one message for each recipient, each of them once, in one thread for each experiment and verdict."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import smtplib
import ssl
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from email import policy
from email.header import Header
from email.headerregistry import HeaderRegistry, UniqueUnstructuredHeader
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from functools import partial
from pathlib import Path

from abtest_lib.outbox import NotSent, receipts, send_once

# Exchange's way of saying what Auto-Submitted says to others; a bounce (NDR) is wanted and not among them.
_NO_ANSWERS = "DR, RN, NRN, OOF, AutoReply"


class _Subject(UniqueUnstructuredHeader):
    """A subject as mail programs read it: the library's own way to fold loses spaces between encoded words."""

    def fold(self, *, policy: policy.Policy) -> str:
        plain = self.isascii() and len(self) < 60
        words = Header(self, "us-ascii" if plain else "utf-8", header_name=self.name, maxlinelen=76)
        return f"{self.name}: {words.encode(linesep=policy.linesep)}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("subject", _Subject)
_POLICY = policy.default.clone(header_factory=_HEADERS)


@dataclass(frozen=True)
class SmtpServer:
    """Where mail is handed in. ``security`` is "none", "starttls" or "tls"; ``timeout`` is in seconds."""

    host: str
    port: int = 25
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sender: str = "abtest@localhost"
    security: str = "starttls"
    timeout: float = 30

    @property
    def domain(self) -> str:
        """The sender's domain, of which the identifiers of messages are."""
        return parseaddr(self.sender)[1].rpartition("@")[2]


@dataclass(frozen=True)
class Letter:
    """What a mail says, before it has a recipient.

    Parameters
    ----------
    subject, text : str
        The text stands alone: it is what is read where HTML is not shown.
    page : str, optional
        The same as HTML. It shows an image as ``src="cid:NAME"``.
    images : tuple of (str, bytes)
        Names and PNGs.
    topic : str, optional
        What the mail is about, in letters, digits, ``_`` and ``-``: its List-Id, by which mailboxes are sorted.
    thread : str, optional
        Mails with the same topic and thread are shown as one conversation.
    key : bytes, optional
        What makes it another mail than the last one; default all that it says.
    after : str, optional
        Message-ID of the mail about the same that the recipient got last, when that one said something else.
    """

    subject: str
    text: str
    page: str | None = None
    images: tuple[tuple[str, bytes], ...] = ()
    topic: str | None = None
    thread: str | None = None
    key: bytes | None = None
    after: str | None = None

    @property
    def said(self) -> bytes:
        """What makes it another mail than the last one."""
        return json.dumps([self.subject, self.text, self.page]).encode() if self.key is None else self.key

    @property
    def says(self) -> str:
        """A digest of what it says."""
        return _digest(self.said)

    @property
    def content(self) -> bytes:
        """What the outbox knows the mail by: the same words are news again when others came between."""
        return json.dumps([self.says, self.after]).encode()


def send_mail(
    folder: Path, server: SmtpServer, recipients: Collection[str], letter: Letter, *, channel: str = "email"
) -> list[str]:
    """Send a letter to each recipient who has not got it.

    Parameters
    ----------
    folder : Path
        What it is about; its ``outbox`` keeps the receipts.
    server : SmtpServer
        Takes the mail.
    recipients : collection of str
        Addresses; each gets a message of its own.
    letter : Letter
        What is said.
    channel : str
        With recipient and content it makes the message's key in the outbox.

    Returns
    -------
    list of str
        Who was sent it now.

    Raises
    ------
    RuntimeError
        If a recipient was refused (the others get theirs), or an earlier try may have been sent.
    ConnectionError
        If the server cannot be reached or hangs up.

    Examples
    --------
    >>> letter = Letter("FAILED: One-page checkout", "Task collect: table 'purchases' does not exist.")
    >>> send_mail(results_folder, SmtpServer(mail.host, mail.port, security="none"), ["ana@example.com"], letter)
    ['ana@example.com']
    """
    news = [(recipient, _news(folder, channel, recipient, letter)) for recipient in recipients]
    news = [(recipient, letter) for recipient, letter in news if letter]
    if not news:
        return []
    sent, refused, unclear = [], [], []
    with _session(server) as session:
        for recipient, letter in news:
            message = compose(letter, server, recipient, about=folder)
            try:
                if send_once(folder, channel=channel, recipient=recipient, content=letter.content,
                             send=partial(_hand_in, session, server, letter, message)):  # fmt: skip
                    sent.append(recipient)
            except NotSent as error:
                refused.append(f"{recipient}: {error}")
            except RuntimeError as error:  # the doubt about one message does not keep the others back
                unclear.append(str(error))
    if refused:
        unclear.append(
            f"{folder.parent.name}, {folder.name}: {server.host} refused {len(refused)} of the recipients "
            f"({'; '.join(refused)}). Correct the address (notify.email, alerts.email, subscriptions.yaml), "
            "or ask who runs the mail server."
        )
    if unclear:
        raise RuntimeError("\n".join(unclear))
    return sent


def _news(folder: Path, channel: str, recipient: str, letter: Letter) -> Letter | None:
    """Say after which mail the letter comes; None when the recipient got nothing else since it was sent."""
    told = (entry.get("answer") or {} for entry in receipts(folder, channel=channel, recipient=recipient))
    got = [answer for answer in told if "message_id" in answer]
    followed = {answer["after"] for answer in got}
    last = [answer for answer in got if answer["message_id"] not in followed]
    if letter.says in {answer["says"] for answer in last}:
        return None
    return replace(letter, after=last[-1]["message_id"] if last else None)


def compose(letter: Letter, server: SmtpServer, recipient: str, *, about: Path) -> EmailMessage:
    """Build the message of a letter to one recipient.

    Parameters
    ----------
    letter : Letter
        What is said.
    server : SmtpServer
        Its ``sender`` is whom the mail is from.
    recipient : str
        An address.
    about : Path
        The folder that the letter is about: the same words about another night are another message.

    Returns
    -------
    EmailMessage
        Text, then HTML with its images; everything but Date is the same on every try.

    Notes
    -----
    The first message of a thread is not its root. All refer to a root that is never sent, so that they are one thread
    whichever of them arrive, and in any order (RFC 5256, THREAD=REFERENCES; a mail program shows no message for it).

    Examples
    --------
    >>> letter = Letter("SHIP: Checkout", "Roll out.", topic="checkout", thread="2026-03-09-6ef9faa9")
    >>> first, second = (
    ...     compose(letter, SmtpServer("localhost"), "ana@example.com", about=Path("results", "checkout", night))
    ...     for night in ("2026-03-09", "2026-03-10")
    ... )
    >>> first["References"] == second["References"], first["Message-ID"] == second["Message-ID"]
    (True, False)
    """
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = _one_line(letter.subject)
    message["From"] = server.sender
    message["To"] = recipient
    message["Date"] = format_datetime(dt.datetime.now(dt.UTC))
    place = "/".join(about.parts[-2:]).encode()
    digest = _digest(place, recipient.encode(), letter.content)
    message["Message-ID"] = f"<{digest}@{server.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = _NO_ANSWERS
    if letter.topic:
        message["List-Id"] = f"<{letter.topic}.abtest.{server.domain}>"
    if letter.topic and letter.thread:
        root = f"<{_digest(letter.topic.encode(), letter.thread.encode())}@{server.domain}>"
        message["In-Reply-To"] = message["References"] = root
    # Quoted-printable keeps lines short and bytes to seven bits, whatever the servers on the way can do.
    message.set_content(letter.text, cte="quoted-printable")
    if letter.page is not None:
        _add_page(message, letter, f"{digest}@{server.domain}")
    return message


def _add_page(message: EmailMessage, letter: Letter, identifier: str) -> None:
    """Add the HTML with the images that it shows; their identifiers differ from those of every other message."""
    page = letter.page
    for name, _ in letter.images:
        page = page.replace(f'src="cid:{name}"', f'src="cid:{name}.{identifier}"')
    message.add_alternative(page, subtype="html", cte="quoted-printable")
    part = message.get_payload()[-1]
    for name, png in letter.images:
        cid = f"<{name}.{identifier}>"
        part.add_related(png, "image", "png", cid=cid, disposition="inline", filename=f"{name}.png")
    # The library's boundaries are random. "=_" is in no quoted-printable and in no base64 text.
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"=_{number}_{identifier.partition('@')[0]}")


def _one_line(text: str) -> str:
    """Make a header of a text, whatever a title holds: a control character may end it and begin another."""
    line = "".join(sign for sign in " ".join(text.split()) if unicodedata.category(sign) not in ("Cc", "Cs"))
    # What looks like an encoded word is decoded by the library, line breaks too; one sign of no width prevents that.
    return line.replace("=?", "=\N{ZERO WIDTH SPACE}?")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


@contextmanager
def _session(server: SmtpServer) -> Iterator[smtplib.SMTP]:
    secure, session = ssl.create_default_context(), None
    try:
        if server.security == "tls":
            session = smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout, context=secure)
        else:
            session = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
        if server.security == "starttls":
            session.starttls(context=secure)
        if server.user:
            session.login(server.user, server.password or "")
    except OSError as error:  # also all that smtplib raises
        if session:
            session.close()
        raise ConnectionError(
            f"mail server {server.host}:{server.port}: {error}; "
            "check the connection abtest_smtp (by hand: ABTEST_SMTP)."
        ) from error
    try:
        yield session
    finally:
        with suppress(OSError):  # each message was acknowledged by itself; how the server says goodbye changes nothing
            session.quit()
        session.close()


def _hand_in(session: smtplib.SMTP, server: SmtpServer, letter: Letter, message: EmailMessage) -> dict[str, str | None]:
    """Give a message to the server; what its receipt says of it."""
    try:
        session.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        _, (code, answer) = next(iter(error.recipients.items()))
        raise NotSent(f"{code} {answer.decode('utf-8', 'replace')}") from error
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        raise NotSent(f"{error.smtp_code} {error.smtp_error!r}") from error
    except (smtplib.SMTPNotSupportedError, ValueError) as error:  # also an address that cannot stand in a header
        raise NotSent(str(error)) from error
    except OSError as error:  # smtplib's other errors too: nobody knows whether the server has taken the message
        raise ConnectionError(
            f"mail server {server.host}:{server.port}: the connection broke while the message to {message['To']} was "
            f"sent ({error}), so it may have arrived. Ask the recipient before you send it again."
        ) from error
    return {"message_id": message["Message-ID"], "after": letter.after, "says": letter.says}
