"""Calls of Slack's Web API for one channel: how long a busy Slack is waited for, and what its errors ask for."""

from __future__ import annotations

import http.client
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abtest_lib.outbox import NotSent

EVENT = "abtest_report"
GONE = ("message_not_found", "thread_not_found", "cannot_reply_to_message")
# Of these Slack says itself that a part of the call may have been done.
_UNCLEAR = ("internal_error", "fatal_error")
_BAD_BLOCKS = ("invalid_blocks", "invalid_blocks_format", "invalid_attachments")
_ID = re.compile(r"[CDG][A-Z0-9]{6,}")
_LOG = logging.getLogger(__name__)
_NAMES = "notify.slack, alerts.slack or subscriptions.yaml"
_AUTHORIZE = "give the connection abtest_slack the bot token of the app (xoxb-…)"
_REMEDIES = {
    "not_authed": f"There is no token: {_AUTHORIZE}.",
    "invalid_auth": f"The token is not valid: {_AUTHORIZE}.",
    "account_inactive": f"The token's app was removed: {_AUTHORIZE}.",
    "token_revoked": f"The token was revoked: {_AUTHORIZE}.",
    "token_expired": f"The token has expired: {_AUTHORIZE}.",
    "missing_scope": "Add the scope {needed} to the app and install it again.",
    "channel_not_found": "There is no such channel, or it is private and the app is not in it: correct its name "
    f"({_NAMES}), or invite the app.",
    "not_in_channel": "Invite the app into the channel, or add the scope chat:write.public to it.",
    "is_archived": f"The channel is archived: name another one ({_NAMES}), or unarchive it.",
    "restricted_action": "The workspace does not let this app post there: ask who administers it.",
    "ratelimited": "Slack takes no more messages for now: repeat the task later.",
    "cannot be reached": "Check the network and ABTEST_SLACK_URL: nothing was sent.",
}


@dataclass(frozen=True)
class SlackEndpoint:
    """A Slack app's token, the address of the Web API, and for how many seconds a busy Slack is waited for."""

    token: str = field(repr=False)
    base_url: str = "https://slack.com/api/"
    patience: float = 60


class Refused(NotSent):
    """Slack said no; nothing was posted. ``code`` is Slack's name of the reason, ``details`` what it complains of."""

    def __init__(self, code: str, details: Sequence[str] = (), needed: str = "") -> None:
        listed = f" ({'; '.join(details)})" if details else ""
        remedy = _REMEDIES.get(code, "Slack's documentation of chat.postMessage says what that means.")
        if code in _BAD_BLOCKS:
            remedy = "The message is not built as Slack wants it: please report this as a fault of abtest."
        super().__init__(f"{code}{listed}. {remedy.format(needed=needed or 'it asks for')}")
        self.code, self.details = code, tuple(details)


class Unclear(ConnectionError):
    """Nobody knows whether Slack has done what it was asked for."""


class Channel:
    """One channel of a workspace.

    Parameters
    ----------
    slack : SlackEndpoint
        The workspace.
    name : str
        Name or id. ``id`` is the name until Slack has said the id.

    Examples
    --------
    >>> channel = Channel(SlackEndpoint("xoxb-test", chat.url), "#alerts")
    >>> channel.post({"text": "FAILED: One-page checkout"}, key="0f3a")["ts"]
    '1772000001.000100'
    """

    def __init__(self, slack: SlackEndpoint, name: str) -> None:
        from slack_sdk import WebClient

        # The library's own handlers would repeat a post whose connection broke, taken or not.
        self._client = WebClient(slack.token, base_url=slack.base_url, timeout=30, retry_handlers=[])
        self._left = slack.patience
        self._url = slack.base_url
        self.name = self.id = name

    def post(
        self,
        message: Mapping[str, Any],
        *,
        key: str,
        thread: str | None = None,
        pictures: Sequence[tuple[Path, str, str]] = (),
    ) -> dict[str, Any]:
        """Post a message, if need be without its pictures and with text for its table.

        Parameters
        ----------
        message : mapping
            ``text`` and, if there are any, ``blocks``, their ``fallback`` and ``broadcast``.
        key : str
            Written into the message's metadata, by which ``find`` finds it.
        thread : str or None
            The ``ts`` of the message that this one replies to.
        pictures : sequence of (Path, str, str)
            File, title and description of what the message's image blocks show.

        Returns
        -------
        dict
            ``channel`` and ``ts`` as Slack gave them; ``files`` and ``table`` say ``update`` what was left out.

        Raises
        ------
        Refused
            If Slack took no message.
        Unclear
            If the line broke, or Slack failed, so that the message may have been taken.

        Examples
        --------
        >>> Channel(SlackEndpoint("xoxb-test", chat.url), "#alerts").post({"text": "A night"}, key="0f3a")["channel"]
        'C00000001'
        """
        files, table, tries = self._uploaded(pictures), True, 0
        metadata = {"event_type": EVENT, "event_payload": {"key": key}}
        reply = {"thread_ts": thread, "reply_broadcast": bool(message.get("broadcast"))} if thread else {}
        while True:
            content = _arranged(message, files, table)
            try:
                answer = self._call(self._client.chat_postMessage, channel=self.id, metadata=metadata, mrkdwn=False,
                                    unfurl_links=False, **content, **reply)  # fmt: skip
            except Refused as error:
                tries += 1
                files, table = self._poorer(error, message, files, table, tries)
                continue
            self.id = answer["channel"]
            return {"channel": answer["channel"], "ts": answer["ts"], "files": files, "table": table}

    def update(self, message: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Change a message.

        Parameters
        ----------
        message : mapping
            What it says now, as in ``post``.
        answer : mapping
            What ``post`` returned for it.

        Raises
        ------
        Refused
            If Slack did not change it.
        Unclear
            If the line broke, or Slack failed, three times; to do it again does no harm.

        Examples
        --------
        >>> channel = Channel(SlackEndpoint("xoxb-test", chat.url), "#alerts")
        >>> channel.update({"text": "Another night"}, channel.post({"text": "A night"}, key="0f3a"))
        >>> [message["text"] for message in chat.messages]
        ['Another night']
        """
        table, tries = answer.get("table", True), 0
        while True:
            content = _arranged(message, answer.get("files", {}), table)
            try:
                self._call(self._client.chat_update, channel=answer["channel"], ts=answer["ts"], parse="none",
                           link_names=False, **content)  # fmt: skip
                return
            except Refused as error:
                if error.code not in _BAD_BLOCKS or not table:
                    raise
                table = False
            except Unclear:
                tries += 1
                if tries == 3:
                    raise
                self._pause(tries)

    def find(self, key: str, thread: str | None) -> dict[str, Any] | None:
        """Look whether a message with this key stands in the channel, or below a message of it.

        Parameters
        ----------
        key : str
            As ``post`` was given it.
        thread : str or None
            The ``ts`` of the message that it replies to.

        Returns
        -------
        dict or None
            ``channel`` and ``ts``; empty when it is surely not there, None when Slack does not let the app look.

        Examples
        --------
        >>> channel = Channel(SlackEndpoint("xoxb-test", chat.url), "#alerts")
        >>> _ = channel.post({"text": "A night"}, key="0f3a")
        >>> channel.find("0f3a", None), channel.find("77c1", None)
        ({'channel': 'C00000001', 'ts': '1772000001.000100'}, {})
        """
        if not _ID.fullmatch(self.id):
            return None
        look = self._client.conversations_replies if thread else self._client.conversations_history
        where = {"channel": self.id, "limit": 200, "include_all_metadata": True} | ({"ts": thread} if thread else {})
        sees, cursor = False, ""
        for _ in range(10):
            try:
                answer = self._call(look, **where, **({"cursor": cursor} if cursor else {}))
            except (Refused, Unclear):
                return None
            for message in answer.get("messages", ()):
                metadata = message.get("metadata") or {}
                sees = sees or metadata.get("event_type") == EVENT
                if metadata.get("event_payload", {}).get("key") == key:
                    return {"channel": self.id, "ts": message["ts"]}
            cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return {} if sees else None  # an app that sees no metadata at all cannot tell
        return None

    def _poorer(
        self, error: Refused, message: Mapping[str, Any], files: dict[str, str], table: bool, tries: int
    ) -> tuple[dict[str, str], bool]:
        """Choose what to leave out of a message that Slack refused; raise what leaving out does not help against."""
        if error.code not in _BAD_BLOCKS:
            raise error
        pictures = any("slack" in detail and "file" in detail for detail in error.details)
        if files and pictures and tries <= 3:  # a picture that was just uploaded may not be ready yet
            self._pause(tries)
            return files, table
        if files and pictures:
            _LOG.warning("%s: posted without pictures: %s", self.name, error)
            return {}, table
        if table and _has_table(message):
            _LOG.warning("%s: posted without a table block: %s", self.name, error)
            return files, False
        if files:
            _LOG.warning("%s: posted without pictures: %s", self.name, error)
            return {}, table
        raise error

    def _pause(self, seconds: float) -> None:
        seconds = min(seconds, self._left)
        self._left -= seconds
        time.sleep(seconds)

    def _uploaded(self, pictures: Sequence[tuple[Path, str, str]]) -> dict[str, str]:
        """Upload pictures; the message arrives without them where that fails."""
        files: dict[str, str] = {}
        for path, title, alt in pictures:
            try:
                answer = self._call(self._client.files_upload_v2, filename=path.name, content=path.read_bytes(),
                                    title=title, alt_txt=alt[:1000])  # fmt: skip
            except (Refused, Unclear) as error:
                _LOG.warning("%s: posted without pictures, %s was not uploaded: %s", self.name, path.name, error)
                return {}
            files[path.name] = answer["files"][0]["id"]
        return files

    def _call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a method of the Web API, waiting where Slack asks to wait."""
        from slack_sdk.errors import SlackApiError, SlackClientError

        while True:
            try:
                return method(**arguments).data
            except SlackApiError as error:
                wait = _wait(error)
                if wait is None or wait > self._left:
                    raise self._refusal(error) from error
                self._pause(wait)
            except SlackClientError as error:
                raise Refused(str(error)) from error
            except (OSError, http.client.HTTPException) as error:
                raise self._broken(error) from error

    def _refusal(self, error: Any) -> Refused | Unclear:
        answer, status = error.response, error.response.status_code
        code = str(answer.get("error") or f"HTTP {status}")
        if status >= 500 or code in _UNCLEAR or "non-JSON" in code:
            failed = f"Slack, {self._url}: it failed ({status}, {code.splitlines()[0][:100]})"
            return Unclear(f"{failed} while the message to {self.name} was sent, so it may have arrived")
        details = answer.get("errors") or (answer.get("response_metadata") or {}).get("messages") or ()
        return Refused("ratelimited" if status == 429 else code, list(map(str, details)), str(answer.get("needed", "")))

    def _broken(self, error: Exception) -> Refused | Unclear:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ConnectionRefusedError | socket.gaierror | ssl.SSLCertVerificationError):
            return Refused("cannot be reached", [f"{self._url}: {reason}"])
        broke = f"Slack, {self._url}: the connection broke while the message to {self.name} was sent ({reason})"
        return Unclear(f"{broke}, so it may have arrived")


def _wait(error: Any) -> float | None:
    """Return the seconds that Slack asks to wait, or None if it does not."""
    if error.response.status_code != 429:
        return None
    headers = {name.lower(): value for name, value in error.response.headers.items()}
    try:
        return max(float(headers.get("retry-after", 1)), 0.05)
    except ValueError:
        return 1.0


def _has_table(message: Mapping[str, Any]) -> bool:
    return any(block["type"] == "table" for block in message.get("blocks") or ())


def _arranged(message: Mapping[str, Any], files: Mapping[str, str], table: bool) -> dict[str, Any]:
    """Put uploaded pictures into the blocks, or leave them out, and text in the place of a table that is refused."""
    blocks: list[dict[str, Any]] = []
    for block in message.get("blocks") or ():
        if block["type"] == "image" and "slack_file" in block:
            name = block["slack_file"]["id"]
            blocks += [{**block, "slack_file": {"id": files[name]}}] if name in files else []
        elif block["type"] == "table" and not table:
            blocks += message.get("fallback", ())
        else:
            blocks.append(block)
    return {"text": message["text"], **({"blocks": blocks} if blocks else {})}
