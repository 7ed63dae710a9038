"""What was sent to whom: a claim before each message, turned into a receipt after it, so that no retry sends twice.

A claim without a receipt means that the process died while it was sending: nobody knows whether the message arrived.
The next try then says so and stops, instead of guessing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from abtest_lib import results

FOLDER = "outbox"


class NotSent(Exception):
    """The receiving side took no message; trying again is safe."""


def send_once(night: Path, *, channel: str, recipient: str, content: bytes, send: Callable[[], None]) -> bool:
    """Send a message unless this very message has been sent.

    Parameters
    ----------
    night : Path
        Folder of the night, ``<results>/<experiment>/<as_of>``; its ``outbox`` keeps the claims.
    channel, recipient : str
        With the night and the content they make the message's key.
    content : bytes
        What is sent: a changed report is another message.
    send : callable
        Sends it. Raises NotSent when it surely was not taken; any other error leaves the claim.

    Returns
    -------
    bool
        False when it had been sent before.

    Raises
    ------
    NotSent
        As raised by ``send``; the claim is taken back.
    RuntimeError
        If an earlier try died while sending.

    Examples
    --------
    >>> import tempfile
    >>> night, sent = Path(tempfile.mkdtemp()), []
    >>> message = {"channel": "email", "recipient": "ana@example.com", "content": b"SHIP"}
    >>> [send_once(night, **message, send=lambda: sent.append(1)) for _ in range(2)], sent
    ([True, False], [1])
    """
    digest = hashlib.sha256(b"\0".join([channel.encode(), recipient.encode(), content])).hexdigest()[:24]
    path = night / FOLDER / f"{digest}.json"
    entry = {"channel": channel, "recipient": recipient, "content_sha256": hashlib.sha256(content).hexdigest()}
    if not _claim(path, {**entry, "state": "claimed"}):
        state = _state(path)
        if state == "sent":
            return False
        raise RuntimeError(
            f"{path}: an earlier try to send this {channel} message to {recipient} ended without a receipt, so it may "
            f"have arrived. Ask the recipient, then delete the file to send again, or set its state to sent."
        )
    try:
        send()
    except NotSent:
        path.unlink()
        raise
    results.write_json(path, {**entry, "state": "sent"})
    return True


def _claim(path: Path, entry: dict) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(entry, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def _state(path: Path) -> str | None:
    with contextlib.suppress(ValueError, AttributeError, OSError):  # a claim cut off by the death of its process
        return json.loads(path.read_text(encoding="utf-8")).get("state")
    return None
