"""What was sent to whom: a claim before each message, turned into a receipt after it, so that no retry sends twice.

While a message is being sent, its claim is locked: another process waits and then finds the receipt. A claim with
neither lock nor receipt means that the process died while it was sending: nobody knows whether the message arrived.
The next try then says so and stops, instead of guessing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from abtest_lib import results

FOLDER = "outbox"
# Longer than a mail server or Slack is waited for.
_PATIENCE_SECONDS = 120
_PAUSE_SECONDS = 0.05


class NotSent(Exception):
    """The receiving side took no message; trying again is safe."""


class InDoubt(RuntimeError):
    """A message that may have been sent; ``path`` is its claim, ``dead`` says that whoever made it sends no more."""

    def __init__(self, text: str, path: Path, *, dead: bool) -> None:
        super().__init__(text)
        self.path, self.dead = path, dead


def send_once(
    folder: Path, *, channel: str, recipient: str, content: bytes, send: Callable[[], Mapping[str, Any] | None]
) -> bool:
    """Send a message unless this very message has been sent.

    Parameters
    ----------
    folder : Path
        What the message is about, ``<results>/<experiment>/<as_of>`` or ``<results>/<experiment>``; its ``outbox``
        keeps the claims.
    channel, recipient : str
        With the folder and the content they make the message's key.
    content : bytes
        What is said: a report that says something else is another message.
    send : callable
        Sends it, and may return what the other side answered, for the receipt. Raises NotSent when it surely was not
        taken; any other error leaves the claim.

    Returns
    -------
    bool
        False when it had been sent before.

    Raises
    ------
    NotSent
        As raised by ``send``; the claim is taken back.
    InDoubt
        If an earlier try died while sending, or another process has been sending for more than two minutes.

    Examples
    --------
    >>> import tempfile
    >>> night, sent = Path(tempfile.mkdtemp()), []
    >>> message = {"channel": "email", "recipient": "ana@example.com", "content": b"SHIP"}
    >>> [send_once(night, **message, send=lambda: sent.append(1)) for _ in range(2)], sent
    ([True, False], [1])
    """
    entry = _entry(channel, recipient, content)
    path = _path(folder, channel, recipient, content)
    with _claimed(path, {**entry, "state": "claimed"}) as claimed:
        if not claimed:
            return False
        try:
            answer = send()
        except NotSent:
            path.unlink()
            raise
        results.write_json(path, {**entry, "state": "sent", **({} if answer is None else {"answer": dict(answer)})})
    return True


def receipt(folder: Path, *, channel: str, recipient: str, content: bytes) -> dict[str, Any] | None:
    """Find the receipt of a message.

    Parameters
    ----------
    folder, channel, recipient, content
        As for `send_once`.

    Returns
    -------
    dict or None
        With ``answer`` where the other side gave one; None when it was not sent, or is in doubt.

    Raises
    ------
    OSError
        If the store cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> night, message = Path(tempfile.mkdtemp()), {"channel": "slack", "recipient": "#nights", "content": b"SHIP"}
    >>> _ = send_once(night, **message, send=lambda: {"ts": "1772000001.000100"})
    >>> receipt(night, **message)["answer"]
    {'ts': '1772000001.000100'}
    """
    entry = _read(_path(folder, channel, recipient, content))
    return entry if entry and entry.get("state") == "sent" else None


def receipts(folder: Path, *, channel: str | None = None, recipient: str | None = None) -> list[dict[str, Any]]:
    """Read all receipts of a folder.

    Parameters
    ----------
    folder : Path
        As for `send_once`.
    channel, recipient : str, optional
        Only those of this channel, to this recipient.

    Returns
    -------
    list of dict
        Claims are left out.

    Raises
    ------
    OSError
        If the store cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> receipts(Path(tempfile.mkdtemp()), channel="slack", recipient="#nights")
    []
    """
    found = [_read(path) for path in sorted((folder / FOLDER).glob("*.json"))]
    return [
        entry
        for entry in found
        if entry
        and entry.get("state") == "sent"
        and channel in (None, entry.get("channel"))
        and recipient in (None, entry.get("recipient"))
    ]


def settle(path: Path, answer: Mapping[str, Any] | None) -> None:
    """End the doubt about a message, because the other side was asked.

    Parameters
    ----------
    path : Path
        The claim, of `InDoubt`. When it is no more dead, because another process has settled it before, it is left
        alone.
    answer : mapping or None
        What the message is called there; None when it is surely not there, and may be sent again.

    Raises
    ------
    OSError
        If the store cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> claim = results.write_json(Path(tempfile.mkdtemp(), "claim.json"), {"state": "claimed"})
    >>> settle(claim, {"ts": "1772000001.000100"})
    >>> results.read_json(claim)["state"]
    'sent'
    """
    with _looked_at(path) as state:
        if state != "dead":
            return
        if answer is None:
            path.unlink()
        else:
            results.write_json(path, {**(_read(path) or {}), "state": "sent", "answer": dict(answer)})


def _entry(channel: str, recipient: str, content: bytes) -> dict[str, Any]:
    return {"channel": channel, "recipient": recipient, "content_sha256": hashlib.sha256(content).hexdigest()}


def _path(folder: Path, channel: str, recipient: str, content: bytes) -> Path:
    digest = hashlib.sha256(b"\0".join([channel.encode(), recipient.encode(), content])).hexdigest()[:24]
    return folder / FOLDER / f"{digest}.json"


@contextlib.contextmanager
def _claimed(path: Path, entry: dict[str, Any]) -> Iterator[bool]:
    """Hold the claim of a message while it is sent; False when it was sent before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", encoding="utf-8", delete=False
    ) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # before the claim has its name: it is never seen without its lock
            json.dump(entry, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            claimed = _named(file.name, path, entry)
        finally:
            os.unlink(file.name)
        yield claimed


def _named(claim: str, path: Path, entry: Mapping[str, Any]) -> bool:
    """Give a claim its name; False when there is a receipt."""
    waited = 0.0
    while True:
        try:
            os.link(claim, path)
            return True
        except FileExistsError:
            with _looked_at(path) as found:
                state = found
        if state == "sent":
            return False
        if state == "dead" or waited > _PATIENCE_SECONDS:
            raise InDoubt(_doubt(path, entry, dead=state == "dead"), path, dead=state == "dead")
        time.sleep(_PAUSE_SECONDS)
        waited += _PAUSE_SECONDS


@contextlib.contextmanager
def _looked_at(path: Path) -> Iterator[str]:
    """Find out what has become of a claim: "sent", "busy" (or just gone), or "dead", and keep it so."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "r+", encoding="utf-8"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever lets go of the lock has replaced or removed the file before.
            same = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
        except (FileNotFoundError, BlockingIOError):
            same = False
        if not same:
            yield "busy"
        else:
            yield "sent" if (_read(path) or {}).get("state") == "sent" else "dead"


def _doubt(path: Path, entry: Mapping[str, Any], *, dead: bool) -> str:
    message = f"this {entry['channel']} message to {entry['recipient']}"
    if not dead:
        return f"{path}: another process has been sending {message} for {_PATIENCE_SECONDS} seconds. Try again later."
    return (
        f"{path}: an earlier try to send {message} ended without a receipt, so it may have arrived. Ask the recipient, "
        "then delete the file to send again, or set its state to sent."
    )


def _read(path: Path) -> dict | None:
    with contextlib.suppress(ValueError, OSError):  # a claim cut off by the death of its process
        entry = json.loads(path.read_text(encoding="utf-8"))
        return entry if isinstance(entry, dict) else None
    return None
