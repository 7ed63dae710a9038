"""Receive the demo's mail and Slack messages on this machine; every message is kept as a file."""

import json
import re
import threading
from collections.abc import Collection
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

SLACK_FIRST_TS = 1_772_000_000
HOST = "127.0.0.1"


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
            path = self._folder / f"{len(self.messages) + 1}-{_slug(str(message['subject'] or ''))}.eml"
            path.write_bytes(content)
            self.messages.append(ReceivedMail(envelope.mail_from or "", tuple(envelope.rcpt_tos), message, path))
        return "250 OK"


class _FreePortController(Controller):
    """aiosmtpd's Controller tests itself on the port it was given; this one learns which free port it got."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class SlackReceiver:
    """As much of Slack's Web API as posting a message needs, for one ``with`` block.

    It knows ``auth.test`` and ``chat.postMessage``, checks the token and Slack's published limits of blocks, and
    gives messages a counted ``ts``, so that two equal nights leave equal files.

    Parameters
    ----------
    folder : Path
        Where each message is written as ``<n>-<channel>.json``; made when missing.
    token : str or None
        The only token that is accepted; None accepts any.
    rate_limited : int
        How many of the first posts are answered with 429.
    retry_after : int
        Seconds in the ``Retry-After`` of those answers.

    Attributes
    ----------
    url : str
        What a client takes as its base URL, known inside the block.
    messages : list of dict
        The accepted messages with ``channel``, ``text``, ``blocks`` and ``ts``, in order.

    References
    ----------
    https://docs.slack.dev/reference/block-kit/blocks and https://docs.slack.dev/reference/methods/chat.postMessage

    Examples
    --------
    >>> import tempfile
    >>> from slack_sdk import WebClient
    >>> with tempfile.TemporaryDirectory() as folder, SlackReceiver(Path(folder)) as slack:
    ...     client = WebClient(token="xoxb-demo", base_url=slack.url)
    ...     client.chat_postMessage(channel="#nights", text="A night")["ts"]
    '1772000001.000100'
    """

    def __init__(self, folder: Path, *, token: str | None = None, rate_limited: int = 0, retry_after: int = 1) -> None:
        self.messages: list[dict[str, Any]] = []
        self.url = ""
        self._folder = folder
        self._token = token
        self._rate_limited = rate_limited
        self._retry_after = retry_after
        self._lock = threading.Lock()

    def __enter__(self) -> "SlackReceiver":
        self._folder.mkdir(parents=True, exist_ok=True)
        receiver = self

        class Handler(_SlackHandler):
            slack = receiver

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://{HOST}:{self._server.server_address[1]}/api/"
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, *, token: str | None, arguments: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the answer to one call."""
        if not token:
            return 200, {"ok": False, "error": "not_authed"}
        if self._token is not None and token != self._token:
            return 200, {"ok": False, "error": "invalid_auth"}
        if method == "auth.test":
            return 200, {"ok": True, "url": "https://demo.slack.com/", "team": "demo", "user": "abtest", "bot_id": "B0"}
        if method == "chat.postMessage":
            return self._post(arguments)
        return 200, {"ok": False, "error": "unknown_method"}

    def _post(self, arguments: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            if self._rate_limited > 0:
                self._rate_limited -= 1
                return 429, {"ok": False, "error": "ratelimited"}
            error, details = _message_error(arguments)
            if error:
                return 200, {"ok": False, "error": error, "response_metadata": {"messages": details}}
            number = len(self.messages) + 1
            message = {**arguments, "ts": f"{SLACK_FIRST_TS + number}.000100"}
            path = self._folder / f"{number}-{_slug(str(arguments['channel']))}.json"
            path.write_text(json.dumps(message, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            self.messages.append(message)
            return 200, {"ok": True, "channel": message["channel"], "ts": message["ts"], "message": message}


class _SlackHandler(BaseHTTPRequestHandler):
    """Read one call, hand it to the receiver and write its answer."""

    slack: SlackReceiver
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        """Answer a call of the Web API."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            arguments = _arguments(body, content_type=self.headers.get_content_type())
        except ValueError:
            self._write(200, {"ok": False, "error": "invalid_json"})
            return
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        method = self.path.split("?")[0].removeprefix("/api/")
        token = token.strip() if scheme == "Bearer" else None
        self._write(*self.slack.answer(method, token=token, arguments=arguments))

    def _write(self, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", str(self.slack._retry_after))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for the demo."""


def _arguments(body: bytes, *, content_type: str) -> dict[str, Any]:
    """Return the arguments of a call; in a form, blocks and attachments are JSON inside a field."""
    if content_type == "application/json":
        arguments = json.loads(body or b"{}")
        if not isinstance(arguments, dict):
            raise ValueError("the body is not a JSON object")
        return arguments
    form = {name: values[-1] for name, values in parse_qs(body.decode("utf-8")).items()}
    return {name: json.loads(value) if name in ("blocks", "attachments") else value for name, value in form.items()}


def _message_error(arguments: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Return Slack's error code for a message and what it complains of."""
    if not arguments.get("channel"):
        return "channel_not_found", []
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
    problems = ["no more than 50 items allowed [json-pointer:/blocks]"] if len(blocks) > 50 else []
    for position, block in enumerate(blocks):
        problems += [f"{problem} [json-pointer:/blocks/{position}]" for problem in _block_problems(block)]
    return ("invalid_blocks", problems) if problems else (None, [])


def _block_problems(block: dict[str, Any]) -> list[str]:
    """Return what is wrong with a block by Slack's published limits; types the reports do not use pass unchecked."""
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
    if kind == "actions":
        return [] if 1 <= len(block.get("elements") or []) <= 25 else ["actions must have 1 to 25 elements"]
    return []


def _section_problems(block: dict[str, Any]) -> list[str]:
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


def _slug(text: str) -> str:
    """Return text as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-") or "no-subject"
