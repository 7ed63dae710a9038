"""The store of results: ``<results>/<experiment>/<as_of>/<revision>/…``, where a new revision never touches an old one.

A revision is named by what went in (definition, data, version of the library), so the same night run twice writes the
same bytes to the same place, and two runs at once cannot harm each other.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
import tempfile
from pathlib import Path

CURRENT, COLLECTED, PUBLISHED = "current", "collected", "published.jsonl"


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file so that a reader sees either all of it or what was there before.

    Parameters
    ----------
    path : Path
        Its folder is created if need be.
    content : bytes
        The whole file.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    OSError
        If the place cannot be written.

    Examples
    --------
    >>> write_bytes(Path(tempfile.mkdtemp(), "night", "report.txt"), b"SHIP").read_text()
    'SHIP'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
    return path


def write_json(path: Path, value) -> Path:
    """Write a value as JSON: keys in order, numbers with all their digits, NaN refused.

    Parameters
    ----------
    path : Path
        Where.
    value : JSON value
        Dates are not JSON; give them as text.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    ValueError
        If a number is not finite: what cannot be computed is a reason, not a NaN.

    Examples
    --------
    >>> write_json(Path(tempfile.mkdtemp(), "effect.json"), {"effect": 0.1}).read_text()
    '{\\n "effect": 0.1\\n}\\n'
    """
    return write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path):
    """Read what ``write_json`` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    JSON value
        As written.

    Raises
    ------
    FileNotFoundError
        If an earlier step has not run; the message names the step's file.

    Examples
    --------
    >>> read_json(write_json(Path(tempfile.mkdtemp(), "n.json"), {"n": 3}))
    {'n': 3}
    """
    return json.loads(path.read_text(encoding="utf-8"))


def revision_name(*contents: bytes) -> str:
    """Name a revision by its contents.

    Parameters
    ----------
    *contents : bytes
        Definition, data and version.

    Returns
    -------
    str
        Twelve hexadecimal digits.

    Raises
    ------
    TypeError
        If something other than bytes is given.

    Examples
    --------
    >>> revision_name(b"definition", b"moments") == revision_name(b"definition", b"moments")
    True
    """
    digest = hashlib.sha256()
    for content in contents:
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:12]


def night_folder(results: Path | str, key: str, as_of: dt.date, pointer: str = CURRENT) -> Path | None:
    """Find the revision of a night that a pointer names.

    Parameters
    ----------
    results : path
        The folder of all results.
    key : str
        The experiment.
    as_of : date
        The night.
    pointer : {"current", "collected"}
        The published revision, or the one collected last.

    Returns
    -------
    Path or None
        None when there is none.

    Raises
    ------
    OSError
        If the store cannot be read.

    Examples
    --------
    >>> night_folder(tempfile.mkdtemp(), "new_ranker", dt.date(2026, 3, 9)) is None
    True
    """
    night = Path(results) / key / as_of.isoformat()
    name = _pointed(night, pointer)
    return None if name is None else night / name


def point(night: Path, pointer: str) -> Path:
    """Make ``current`` or ``collected`` name this revision.

    Parameters
    ----------
    night : Path
        A revision's folder.
    pointer : {"current", "collected"}
        Which pointer.

    Returns
    -------
    Path
        The revision's folder.

    Raises
    ------
    OSError
        If the store cannot be written.

    Examples
    --------
    >>> results = Path(tempfile.mkdtemp())
    >>> night = results / "new_ranker" / "2026-03-09" / "3f2a"
    >>> point(night, "current") == night_folder(results, "new_ranker", dt.date(2026, 3, 9))
    True
    """
    write_bytes(night.parent / pointer, f"{night.name}\n".encode())
    return night


def publish(night: Path, reason: str | None = None) -> Path:
    """Make a whole revision the current one of its night, and note which one it replaces and why.

    Parameters
    ----------
    night : Path
        A revision's folder.
    reason : str, optional
        Why somebody asked for it; a usual night has none.

    Returns
    -------
    Path
        The revision's folder.

    Raises
    ------
    OSError
        If the store cannot be written.

    Notes
    -----
    The line is written before the pointer moves, both under a lock. A process that dies in between leaves a line of a
    revision that nobody saw: its next try finds the line and adds none, and ``publications`` leaves it out until then.

    Examples
    --------
    >>> night = Path(tempfile.mkdtemp()) / "new_ranker" / "2026-03-09" / "3f2a"
    >>> [publish(night).name for _ in range(2)]
    ['3f2a', '3f2a']
    >>> publications(night.parent)
    [{'revision': '3f2a', 'replaces': None, 'reason': None}]
    """
    night.parent.mkdir(parents=True, exist_ok=True)
    with open(night.parent / PUBLISHED, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system releases it when the process ends, however it ends
        before = _pointed(night.parent, CURRENT)
        if before == night.name:
            return night
        said = {"revision": night.name, "replaces": before, "reason": " ".join((reason or "").split()) or None}
        file.seek(0)
        lines = file.read()
        if _lines(lines)[-1:] != [said]:
            cut_off = b"\n" if lines and not lines.endswith(b"\n") else b""
            os.write(file.fileno(), cut_off + json.dumps(said).encode() + b"\n")
            os.fsync(file.fileno())
        return point(night, CURRENT)


def publications(folder: Path) -> list[dict]:
    """Which revisions of a night were published, in order, and why?

    Parameters
    ----------
    folder : Path
        Of a night, ``<results>/<experiment>/<as_of>``.

    Returns
    -------
    list of dict
        ``revision``, the one that it ``replaces`` (None for the first) and the ``reason`` (None for a usual night).

    Raises
    ------
    OSError
        If the store cannot be read.

    Examples
    --------
    >>> publications(Path(tempfile.mkdtemp()))
    []
    """
    try:
        found = _lines((folder / PUBLISHED).read_bytes())
    except FileNotFoundError:
        return []
    # What came after a line tells whether its revision was current: a try that died is replaced by nobody.
    after = [*(line["replaces"] for line in found[1:]), _pointed(folder, CURRENT)]
    return [line for line, next_before in zip(found, after, strict=True) if line["revision"] == next_before]


def _lines(content: bytes) -> list[dict]:
    """The lines that are whole: one that was cut off by a full disk is no JSON."""
    found = []
    for line in content.splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict) and {"revision", "replaces", "reason"} <= set(line)]


def history(night: Path) -> list[dict]:
    """Read the published results of the nights before one, oldest first.

    Parameters
    ----------
    night : Path
        A revision's folder.

    Returns
    -------
    list of dict
        ``results.json`` of each earlier night that has a current revision.

    Raises
    ------
    OSError
        If the store cannot be read.

    Examples
    --------
    >>> history(Path(tempfile.mkdtemp(), "new_ranker", "2026-03-09", "3f2a"))
    []
    """
    experiment, as_of = night.parent.parent, dt.date.fromisoformat(night.parent.name)
    nights = [day for day in published_nights(experiment.parent, experiment.name) if day < as_of]
    folders = (night_folder(experiment.parent, experiment.name, day) for day in nights)
    return [read_json(folder / "results.json") for folder in folders if folder]


def published_nights(results: Path | str, key: str) -> list[dt.date]:
    """Which nights of an experiment have a current revision?

    Parameters
    ----------
    results : path
        The folder of all results.
    key : str
        The experiment.

    Returns
    -------
    list of date
        Oldest first.

    Raises
    ------
    OSError
        If the store cannot be read.

    Examples
    --------
    >>> published_nights(tempfile.mkdtemp(), "new_ranker")
    []
    """
    found = (_day(path.parent) for path in (Path(results) / key).glob(f"????-??-??/{CURRENT}"))
    return sorted(filter(None, found))


def _pointed(folder: Path, pointer: str) -> str | None:
    try:
        return (folder / pointer).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def _day(path: Path) -> dt.date | None:
    try:
        return dt.date.fromisoformat(path.name)
    except ValueError:
        return None
