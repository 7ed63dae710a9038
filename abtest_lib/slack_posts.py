"""Posts to Slack: one message for each experiment and channel, the nights as replies below it, each of them once.

What Slack answered (channel and ``ts``) stands in the receipts of the outbox, where the next night finds its thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from abtest_lib import outbox, results
from abtest_lib.outbox import InDoubt, NotSent
from abtest_lib.slack_calls import GONE, Channel, Refused, SlackEndpoint, Unclear

__all__ = ["SlackEndpoint", "post_message", "post_report"]

_LOG = logging.getLogger(__name__)
_NIGHT, _FIRST, _SHOWN, _REPLACED = "slack", "slack-first", "slack-shown", "slack-replaced"


def post_report(
    night: Path, slack: SlackEndpoint, channels: Collection[str], *, news: bytes | None = None
) -> list[str]:
    """Post a night's report to Slack channels, below the experiment's message there.

    Parameters
    ----------
    night : Path
        A revision's folder with ``slack.json``.
    slack : SlackEndpoint
        Where to post.
    channels : collection of str
        Names or ids; one that fails does not keep the others silent.
    news : bytes, optional
        What the report says of the experiment; a channel whose last report of the night says the same gets no other.
        Without it every other word is news.

    Returns
    -------
    list of str
        The channels that got it now.

    Raises
    ------
    RuntimeError
        If a channel took no message, or an earlier try may have been taken.
    ConnectionError
        If the line broke while a message was sent, so that it may have been taken.

    Examples
    --------
    >>> import shutil
    >>> copied = shutil.copytree(night, results_folder / "checkout" / night.parent.name / night.name)
    >>> for _ in range(2):
    ...     post_report(copied, SlackEndpoint("xoxb-test", chat.url), ["#payments-experiments"])
    ['#payments-experiments']
    []
    """
    posted: list[str] = []
    problems: list[Exception] = []
    for name in channels:
        try:
            if _Report(night, Channel(slack, name), news).deliver():
                posted.append(name)
        except (RuntimeError, ConnectionError) as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise RuntimeError("\n".join(map(str, problems)))
    return posted


def post_message(
    folder: Path,
    slack: SlackEndpoint,
    channel: str,
    *,
    kind: str,
    message: Mapping[str, Any],
    news: Mapping[str, Any] | None = None,
) -> bool:
    """Post a message that stands alone, once.

    Parameters
    ----------
    folder : Path
        What it is about; its ``outbox`` keeps the receipt.
    slack : SlackEndpoint
        Where to post.
    channel : str
        Name or id.
    kind : str
        With channel and content it makes the message's key in the outbox.
    message : mapping
        ``text`` and, if there are any, ``blocks`` and the ``fallback`` that stands in for a table.
    news : mapping, optional
        What makes it another message than the last one; default the message.

    Returns
    -------
    bool
        False when it had been posted before.

    Raises
    ------
    RuntimeError
        If Slack took no message, or an earlier try may have been taken.
    ConnectionError
        If the line broke while the message was sent, so that it may have been taken.

    Examples
    --------
    >>> said = {"text": "FAILED: One-page checkout"}
    >>> for _ in range(2):
    ...     post_message(results_folder, SlackEndpoint("xoxb-test", chat.url), "#alerts", kind="alert", message=said)
    True
    False
    """
    target = Channel(slack, channel)
    about = f"{folder.parent.name}, {folder.name}"
    content = _bytes(message if news is None else news)
    return _once(folder, target, kind, content, lambda key: target.post(message, key=key), about=about)


class _Report:
    """A night's report on its way to one channel."""

    def __init__(self, night: Path, channel: Channel, news: bytes | None) -> None:
        self.channel = channel
        self.folder, self.experiment = night.parent, night.parent.parent
        self.about = f"{self.experiment.name}, {self.folder.name}"
        said = results.read_json(night / "slack.json")
        self.parent, self.reply = said["parent"], said["night"]
        self.news = hashlib.sha256(_bytes(self.reply) if news is None else news).hexdigest()
        pictures = ((night / entry["file"], entry["title"], entry["alt"]) for entry in said["files"])
        self.pictures = [picture for picture in pictures if picture[0].is_file()]
        self.count, self.begun = 0, False

    def deliver(self) -> bool:
        first = self._first() or self._begin()
        try:
            posted = self._post_reply(first["ts"])
        except _ThreadGone:
            first = self._begin()
            posted = self._post_reply(first["ts"])
        replies = self._replies()
        self._mark_replaced(replies[:-1])
        if replies:  # a receipt that somebody wrote by hand does not say which message it is
            self._show(first, replies[-1])
        return posted

    def _first(self) -> Mapping[str, Any] | None:
        """Find the experiment's message in the channel; one that was deleted in Slack has a successor."""
        found, self.count = None, 0
        while entry := self._receipt(self.experiment, _FIRST, str(self.count + 1).encode()):
            if not entry.get("answer"):
                raise RuntimeError(
                    f"{self.about}: the receipt of the experiment's message in {self.channel.name} does not say which "
                    f"message it is. Delete it from {self.experiment / outbox.FOLDER}, and a new one is posted."
                )
            found, self.count = entry["answer"], self.count + 1
        if found:
            self.channel.id = found["channel"]
        return found

    def _begin(self) -> Mapping[str, Any]:
        """Post the experiment's message, the first one or the successor of the one that was found."""
        number = str(self.count + 1).encode()
        self.begun = _once(self.experiment, self.channel, _FIRST, number,
                           lambda key: self.channel.post(self.parent, key=key), about=self.about)  # fmt: skip
        first = self._first()
        if first is None:
            raise RuntimeError(f"{self.about}: the experiment's message in {self.channel.name} has lost its receipt.")
        return first

    def _post_reply(self, first: str) -> bool:
        """Post the report, unless the last one of the night says the same; what was said before that does not count."""
        last = next(reversed(self._replies()), None)
        if last and last["news"] == self.news:
            return False

        def send(key: str) -> dict[str, Any]:
            return self.channel.post(self.reply, key=key, thread=first, pictures=self.pictures)

        content = f"{self.news} after {last['ts'] if last else 'none'}".encode()
        return _once(self.folder, self.channel, _NIGHT, content, send, about=self.about, thread=first,
                     kept={"news": self.news, "said": self.reply})  # fmt: skip

    def _replies(self) -> list[Mapping[str, Any]]:
        """Give what was posted of this night, oldest first."""
        entries = outbox.receipts(self.folder, channel=_NIGHT, recipient=self.channel.name)
        return sorted((entry["answer"] for entry in entries if "answer" in entry), key=lambda answer: answer["ts"])

    def _mark_replaced(self, earlier: Collection[Mapping[str, Any]]) -> None:
        """Say on earlier reports of the same night that they were replaced."""
        from abtest_lib.report.slack import replaced

        for answer in earlier:
            self._change(_REPLACED, answer["ts"].encode(), answer, replaced(answer["said"]))

    def _show(self, first: Mapping[str, Any], last: Mapping[str, Any]) -> None:
        """Let the experiment's message say what its newest night says."""
        for folder in self.experiment.iterdir():
            later = folder.name > self.folder.name
            if later and outbox.receipts(folder, channel=_NIGHT, recipient=self.channel.name):
                return
        shown = _bytes([first["ts"], last["ts"]])
        if self.begun:
            self._note(_SHOWN, shown)
            return
        try:
            self._change(_SHOWN, shown, first, self.parent)
        except _ThreadGone:
            self._begin()

    def _change(self, kind: str, content: bytes, answer: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        """Change a message once; that it could not be changed keeps no report back."""
        if self._receipt(self.folder, kind, content):
            return
        try:
            self.channel.update(said, answer)
        except (Refused, Unclear) as error:
            if kind == _SHOWN and isinstance(error, Refused) and error.code in GONE:
                raise _ThreadGone from error
            _LOG.warning("%s: a message in %s was not brought up to date: %s", self.about, self.channel.name, error)
            return
        self._note(kind, content)

    def _note(self, kind: str, content: bytes) -> None:
        """Write a receipt of what was done and may be done again."""
        try:
            outbox.send_once(self.folder, channel=kind, recipient=self.channel.name, content=content, send=lambda: {})
        except InDoubt as doubt:  # of a process that died right here
            outbox.settle(doubt.path, {})

    def _receipt(self, folder: Path, kind: str, content: bytes) -> Mapping[str, Any] | None:
        return outbox.receipt(folder, channel=kind, recipient=self.channel.name, content=content)


class _ThreadGone(Exception):
    """The experiment's message is no more in the channel."""


def _once(
    folder: Path,
    channel: Channel,
    kind: str,
    content: bytes,
    send: Callable[[str], Mapping[str, Any]],
    *,
    about: str,
    thread: str | None = None,
    kept: Mapping[str, Any] | None = None,
) -> bool:
    """Send what was not sent; what a process left in doubt is looked for in the channel. Receipts have ``kept`` too."""
    place = "/".join(folder.parts[-2:]).encode()
    key = hashlib.sha256(b"\0".join([place, kind.encode(), channel.name.encode(), content])).hexdigest()[:32]

    def sent() -> dict[str, Any]:
        return {**_answer(channel, send, key, thread), **(kept or {})}

    while True:
        try:
            return outbox.send_once(folder, channel=kind, recipient=channel.name, content=content, send=sent)
        except InDoubt as doubt:
            if not doubt.dead:
                raise RuntimeError(f"{about}: {doubt}") from doubt
            found = channel.find(key, thread)
            if found is None:
                raise RuntimeError(
                    f"{about}: an earlier try to post to {channel.name} ended without a receipt, so the message may be "
                    f"in the channel. Delete it if it is there, then delete {doubt.path} and repeat the task. Where "
                    "the app has the scope channels:history and the channel is named by its id, abtest looks itself."
                ) from doubt
            outbox.settle(doubt.path, {**found, **(kept or {})} if found else None)
            if found:
                return False
        except NotSent as error:
            if thread and isinstance(error, Refused) and error.code in GONE:
                raise _ThreadGone from error
            raise RuntimeError(f"{about}: Slack took no message to {channel.name}: {error}") from error
        except Unclear as error:
            raise ConnectionError(f"{error}. Look in the channel before you send it again.") from error


def _answer(
    channel: Channel, send: Callable[[str], Mapping[str, Any]], key: str, thread: str | None
) -> Mapping[str, Any]:
    """Send; when it is not clear whether Slack took it, look into the channel."""
    try:
        return send(key)
    except Unclear as error:
        found = channel.find(key, thread)
        if found is None:
            raise
        if not found:
            raise NotSent(f"{error}, but it is not in the channel. Repeat the task.") from error
        return found


def _bytes(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
