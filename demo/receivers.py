"""Receive the demo's mail and Slack messages on this machine; every message is kept as a file."""

import threading
from collections.abc import Collection
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from demo.slack_receiver import HOST, SlackReceiver, slug

__all__ = ["MailReceiver", "ReceivedMail", "SlackReceiver"]


@dataclass(frozen=True)
class ReceivedMail:
    """A message and the envelope it came in; a recipient in Bcc is only in the envelope."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    path: Path


class MailReceiver:
    """An SMTP server for one ``with`` block.

    Parameters
    ----------
    folder : Path
        Where each message is written as ``<n>-<subject>.eml``; made when missing.
    refuse : collection of str
        Recipients that get a 550.

    Attributes
    ----------
    host, port : str, int
        Where it listens; the port is a free one.
    messages : list of ReceivedMail
        What came in, in order.

    Examples
    --------
    >>> import smtplib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder, MailReceiver(Path(folder)) as mail:
    ...     with smtplib.SMTP(mail.host, mail.port) as client:
    ...         _ = client.sendmail("from@example.com", ["to@example.com"], "Subject: A night\\r\\n\\r\\nText")
    ...     [(received.recipients, received.path.name) for received in mail.messages]
    [(('to@example.com',), '1-a-night.eml')]
    """

    def __init__(self, folder: Path, *, refuse: Collection[str] = ()) -> None:
        self.messages: list[ReceivedMail] = []
        self.host = HOST
        self.port = 0
        self._folder = folder
        self._refuse = {recipient.lower() for recipient in refuse}
        self._lock = threading.Lock()

    def __enter__(self) -> "MailReceiver":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._controller = _FreePortController(self, hostname=HOST, port=0, ready_timeout=10)
        self._controller.start()
        self.port = self._controller.port
        return self

    def __exit__(self, *exception: object) -> None:
        self._controller.stop()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept or refuse a recipient (called by aiosmtpd)."""
        if address.lower() in self._refuse:
            return "550 5.1.1 No such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep a message (called by aiosmtpd)."""
        content = envelope.original_content or b""
        message = message_from_bytes(content, policy=policy.default)
        with self._lock:
            path = self._folder / f"{len(self.messages) + 1}-{slug(str(message['subject'] or ''))}.eml"
            path.write_bytes(content)
            self.messages.append(ReceivedMail(envelope.mail_from or "", tuple(envelope.rcpt_tos), message, path))
        return "250 OK"


class _FreePortController(Controller):
    """aiosmtpd's Controller tests itself on the port it was given; this one learns which free port it got."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()
