"""As much of Slack's Web API as reports need, on this machine; every message and picture is kept as a file."""

import json
import re
import threading
from collections.abc import Collection, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from demo.slack_limits import message_error

HOST = "127.0.0.1"
_FIRST_TS = 1_772_000_000
_SCOPES = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
}
_FAILURES = {503: {"ok": False, "error": "service_unavailable"}}
_JSON_FIELDS = ("blocks", "attachments", "metadata", "files")


class SlackReceiver:
    """A workspace for one ``with`` block.

    It knows ``auth.test``, ``chat.postMessage``, ``chat.update``, ``conversations.history`` and ``.replies`` and the
    upload of files, checks token, scopes and Slack's published limits, and counts ``ts``, channels and files, so that
    two equal nights leave equal files. It is not Slack: what the documentation leaves open is a guess here.

    Parameters
    ----------
    folder : Path
        Where each message is written as ``<n>-<channel>.json`` and each picture as ``<id>-<name>``; made when missing.
    token : str or None
        The only token that is accepted; None accepts any.
    rate_limited : int
        How many of the first posts are answered with 429.
    retry_after : int
        Seconds in the ``Retry-After`` of those answers.
    scopes : collection of str
        What the app may do.
    refused : collection of str
        Types of blocks that the workspace does not take.
    channels : mapping of str to str
        Channels that take no messages, and Slack's error for it.
    faults : mapping of str to list
        For a method, what its next calls come to: a status such as 500, one of Slack's error codes, or
        ``"taken, 500"``, ``"taken, closed"`` and ``"taken, held"``: the call is done, and then answered with an error,
        not at all, or not before ``release``.
    slow_files : int
        How many posts with a picture come too early after its upload.

    Attributes
    ----------
    url : str
        What a client takes as its base URL, known inside the block.
    messages : list of dict
        What stands in the channels: arguments of the post with ``channel`` (as it was named first), ``ts`` and, after
        changes, the content of the last one.
    calls : list of str
        The methods called, in order.
    files : dict
        Content of each uploaded picture by its id.

    References
    ----------
    https://docs.slack.dev/reference/methods

    Examples
    --------
    >>> import tempfile
    >>> from slack_sdk import WebClient
    >>> with tempfile.TemporaryDirectory() as folder, SlackReceiver(Path(folder)) as slack:
    ...     client = WebClient(token="xoxb-demo", base_url=slack.url)
    ...     client.chat_postMessage(channel="#nights", text="A night")["ts"]
    '1772000001.000100'
    """

    def __init__(
        self,
        folder: Path,
        *,
        token: str | None = None,
        rate_limited: int = 0,
        retry_after: int = 1,
        scopes: Collection[str] = tuple(_SCOPES.values()),
        refused: Collection[str] = (),
        channels: Mapping[str, str] | None = None,
        faults: Mapping[str, list[int | str]] | None = None,
        slow_files: int = 0,
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.files: dict[str, bytes] = {}
        self.url = ""
        self.scopes, self.refused = set(scopes), set(refused)
        self.channels, self.faults = dict(channels or {}), {name: list(then) for name, then in (faults or {}).items()}
        self._folder, self._token = folder, token
        self._rate_limited, self._retry_after, self._slow_files = rate_limited, retry_after, slow_files
        self._ids: dict[str, str] = {}
        self._uploads: dict[str, dict[str, Any]] = {}
        self._lock, self._released = threading.Lock(), threading.Event()
        self._sent = 0

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
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def delete(self, ts: str) -> None:
        """Delete a message, as a person would."""
        with self._lock:
            self.messages = [message for message in self.messages if message["ts"] != ts]

    def release(self) -> None:
        """Let go of calls that are held."""
        self._released.set()

    def answer(
        self, method: str, *, token: str | None, arguments: dict[str, Any]
    ) -> tuple[int | None, dict[str, Any] | bytes]:
        """Return the HTTP status and the answer to one call; no status closes the connection."""
        with self._lock:
            self.calls.append(method)
            fault = self.faults[method].pop(0) if self.faults.get(method) else None
            if isinstance(fault, int):
                return fault, _FAILURES.get(fault, b"<html>upstream error</html>")
            if fault and not fault.startswith("taken"):
                return 200, {"ok": False, "error": fault}
            status, answer = self._answer(method, token, arguments)
        if fault == "taken, held":
            self._released.wait(timeout=30)
        if fault in ("taken, closed", "taken, held"):
            return None, {}
        return (500, b"<html>upstream error</html>") if fault else (status, answer)

    def _answer(self, method: str, token: str | None, arguments: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not token:
            return 200, {"ok": False, "error": "not_authed"}
        if self._token is not None and token != self._token:
            return 200, {"ok": False, "error": "invalid_auth"}
        if method == "auth.test":
            return 200, {"ok": True, "url": "https://demo.slack.com/", "team": "demo", "user": "abtest", "bot_id": "B0"}
        if method not in _SCOPES:
            return 200, {"ok": False, "error": "unknown_method"}
        if _SCOPES[method] not in self.scopes:
            provided = ",".join(sorted(self.scopes))
            return 200, {"ok": False, "error": "missing_scope", "needed": _SCOPES[method], "provided": provided}
        if method == "chat.postMessage" and self._rate_limited > 0:
            self._rate_limited -= 1
            return 429, {"ok": False, "error": "ratelimited"}
        answers = {
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete,
        }
        answer = answers[method](arguments)
        return 200, {"ok": "error" not in answer, **answer}

    def upload(self, file: str, content: bytes) -> int:
        """Take the content of a file and return the HTTP status."""
        with self._lock:
            begun = self._uploads.get(file)
            if begun is None or len(content) != begun["length"]:
                return 400
            begun["content"] = content
            return 200

    def _post(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name = self._named(str(arguments.get("channel") or ""))
        if not name or name in self.channels:
            return {"error": self.channels.get(name, "channel_not_found")}
        thread = arguments.get("thread_ts")
        if thread and thread not in {told["ts"] for told in self._in(name) if "thread_ts" not in told}:
            return {"error": "thread_not_found"}
        if refusal := self._refusal(arguments):
            return refusal
        self._ids.setdefault(name, f"C{len(self._ids) + 1:08d}")
        self._sent += 1
        message = {**arguments, "channel": name, "ts": f"{_FIRST_TS + self._sent}.000100"}
        self.messages.append(message)
        self._write(self._sent, message)
        return {"channel": self._ids[name], "ts": message["ts"], "message": message}

    def _update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name = self._named(str(arguments.get("channel") or ""))
        if arguments.get("channel") not in self._ids.values():  # a name is not enough here
            return {"error": "channel_not_found"}
        changed = next((told for told in self._in(name) if told["ts"] == arguments.get("ts")), None)
        if changed is None:
            return {"error": "message_not_found"}
        if refusal := self._refusal(arguments):
            return refusal
        changed |= {part: arguments[part] for part in ("text", "blocks", "metadata") if part in arguments}
        self._write(int(changed["ts"].partition(".")[0]) - _FIRST_TS, changed)
        return {"channel": arguments["channel"], "ts": changed["ts"], "message": changed}

    def _refusal(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        error, details = message_error(arguments, files=self.files, refused=self.refused)
        if not error and self._slow_files and '"slack_file"' in json.dumps(arguments.get("blocks")):
            self._slow_files -= 1
            error, details = "invalid_blocks", ["invalid slack file [json-pointer:/blocks/0/slack_file]"]
        if not error:
            return None
        messages = [f"[ERROR] {detail}" for detail in details]
        return {"error": error, "errors": details, "response_metadata": {"messages": messages}}

    def _history(self, arguments: dict[str, Any]) -> dict[str, Any]:
        told = [told for told in self._in(self._by_id(arguments)) if "thread_ts" not in told or _broadcast(told)]
        return self._listed(arguments, list(reversed(told)))

    def _replies(self, arguments: dict[str, Any]) -> dict[str, Any]:
        first = arguments.get("ts")
        told = [told for told in self._in(self._by_id(arguments)) if first in (told["ts"], told.get("thread_ts"))]
        return self._listed(arguments, told) if told else {"error": "thread_not_found"}

    def _listed(self, arguments: dict[str, Any], told: list[dict[str, Any]]) -> dict[str, Any]:
        if not self._by_id(arguments):
            return {"error": "channel_not_found"}
        begin, most = int(arguments.get("cursor") or 0), int(arguments.get("limit") or 100)
        hidden = () if arguments.get("include_all_metadata") in (True, "1", "true") else ("metadata",)
        page = [{key: said for key, said in one.items() if key not in hidden} for one in told[begin : begin + most]]
        cursor = str(begin + most) if begin + most < len(told) else ""
        return {"messages": page, "has_more": bool(cursor), "response_metadata": {"next_cursor": cursor}}

    def _upload_url(self, arguments: dict[str, Any]) -> dict[str, Any]:
        file = f"F{len(self._uploads) + 1:08d}"
        self._uploads[file] = {"name": str(arguments["filename"]), "length": int(arguments["length"])}
        return {"file_id": file, "upload_url": self.url.removesuffix("api/") + f"upload/{file}"}

    def _complete(self, arguments: dict[str, Any]) -> dict[str, Any]:
        files = [entry["id"] for entry in arguments.get("files") or ()]
        if not files or any("content" not in self._uploads.get(file, {}) for file in files):
            return {"error": "file_not_found"}
        for file in files:
            self.files[file] = self._uploads[file]["content"]
            (self._folder / f"{file}-{Path(self._uploads[file]['name']).name}").write_bytes(self.files[file])
        return {"files": [{"id": file} for file in files]}

    def _named(self, channel: str) -> str:
        return next((name for name, number in self._ids.items() if number == channel), channel)

    def _by_id(self, arguments: dict[str, Any]) -> str:
        channel = str(arguments.get("channel") or "")
        return self._named(channel) if channel in self._ids.values() else ""

    def _in(self, name: str) -> list[dict[str, Any]]:
        return [told for told in self.messages if told["channel"] == name]

    def _write(self, number: int, message: dict[str, Any]) -> None:
        path = self._folder / f"{number}-{slug(str(message['channel']))}.json"
        path.write_text(json.dumps(message, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _SlackHandler(BaseHTTPRequestHandler):
    """Read one call, hand it to the receiver and write its answer."""

    slack: SlackReceiver
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        """Answer a call of the Web API, or take a file."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        if path.startswith("/upload/"):
            self._write(self.slack.upload(path.removeprefix("/upload/"), body), b"OK")
            return
        try:
            arguments = _arguments(body, content_type=self.headers.get_content_type())
        except ValueError:
            self._write(200, {"ok": False, "error": "invalid_json"})
            return
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        token = token.strip() if scheme == "Bearer" else None
        self._write(*self.slack.answer(path.removeprefix("/api/"), token=token, arguments=arguments))

    def _write(self, status: int | None, answer: dict[str, Any] | bytes) -> None:
        if status is None:
            self.close_connection = True
            return
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        kind = "text/html" if isinstance(answer, bytes) else "application/json"
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", str(self.slack._retry_after))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for the demo."""


def _broadcast(message: dict[str, Any]) -> bool:
    return message.get("reply_broadcast") in (True, "1", "true")


def _arguments(body: bytes, *, content_type: str) -> dict[str, Any]:
    """Return the arguments of a call; in a form, blocks and such are JSON inside a field."""
    if content_type == "application/json":
        arguments = json.loads(body or b"{}")
        if not isinstance(arguments, dict):
            raise ValueError("the body is not a JSON object")
        return arguments
    form = {name: values[-1] for name, values in parse_qs(body.decode("utf-8")).items()}
    return {name: json.loads(value) if name in _JSON_FIELDS else value for name, value in form.items()}


def slug(text: str) -> str:
    """Return text as part of a file name.

    Examples
    --------
    >>> slug("#Nights & days")
    'nights-days'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-") or "no-subject"
