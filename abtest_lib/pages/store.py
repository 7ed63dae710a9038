"""Nights, revisions and files of the store, looked up by names that came from an address.

Every name is checked before it becomes part of a path, and a path below the results that goes by a link is refused.
What is not there raises `NotThere`, whose text says what is there instead.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abtest_lib import definitions, failures, results
from abtest_lib.report.readable import readable
from abtest_lib.report.text import clean_name, listed
from abtest_lib.report.vocabulary import VERDICTS

REVISION = re.compile(r"[0-9a-f]{12}")
# What a page may hand out of a revision's folder, and as what.
FILES = {
    "report.html": "text/html; charset=utf-8",
    "results.json": "application/json",
    "report.md": "text/plain; charset=utf-8",
    "numbers.csv": "text/csv; charset=utf-8",
}
_NEAREST = 5


class NotThere(LookupError):
    """Nothing has this address; the text says what there is."""


@dataclass(frozen=True)
class Night:
    """A night of the store.

    Parameters
    ----------
    folder : Path
        ``<results>/<key>/<as_of>``.
    as_of : date
        The night.
    current : str or None
        The published revision.
    """

    folder: Path
    as_of: dt.date
    current: str | None

    @property
    def revisions(self) -> tuple[str, ...]:
        """All revisions that have a result, by name."""
        names = (path.parent.name for path in self.folder.glob("*/results.json"))
        return tuple(sorted(name for name in names if REVISION.fullmatch(name)))


def read_day(text: str) -> dt.date:
    """Read the date of an address.

    Parameters
    ----------
    text : str
        ``YYYY-MM-DD``.

    Returns
    -------
    date

    Raises
    ------
    NotThere
        If it is anything else.

    Examples
    --------
    >>> read_day("2026-03-03")
    datetime.date(2026, 3, 3)
    """
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return dt.date.fromisoformat(text)
    except ValueError:
        pass
    raise NotThere(f"{clean_name(text)!r} is not a night; a night is written as 2026-03-09.")


def nights(results_folder: Path | str, key: str, until: dt.date | None = None) -> Iterator[Night]:
    """List the nights of an experiment that left anything in the store.

    Parameters
    ----------
    results_folder : path
        The folder of all results.
    key : str
        The experiment.
    until : date, optional
        The last night that is asked for.

    Yields
    ------
    Night
        Newest first; each is looked up when it is asked for.

    Raises
    ------
    NotThere
        If the key is none, or leads out of the store.

    Examples
    --------
    >>> [str(one.as_of) for one in nights(night.parents[2], "one_page_checkout")]
    ['2026-03-03']
    """
    for folder in sorted(_experiment(results_folder, key).glob("????-??-??"), reverse=True):
        try:
            as_of = read_day(folder.name)
            if until is None or as_of <= until:
                yield _night(folder, as_of)
        except NotThere:
            continue  # a folder that is no night, or a link


def one_night(results_folder: Path | str, key: str, as_of: dt.date) -> Night:
    """Look up one night of an experiment.

    Parameters
    ----------
    results_folder : path
        The folder of all results.
    key : str
        The experiment.
    as_of : date
        The night.

    Returns
    -------
    Night

    Raises
    ------
    NotThere
        If it left nothing; the text names the nearest nights.

    Examples
    --------
    >>> one_night(night.parents[2], "one_page_checkout", dt.date(2026, 3, 3)).current == night.name
    True
    """
    folder = _experiment(results_folder, key) / as_of.isoformat()
    if not folder.is_dir():
        raise NotThere(f"{key} has no night of {as_of}. {_nearest(results_folder, key, as_of)}")
    return _night(folder, as_of)


def revision_folder(results_folder: Path | str, key: str, as_of: dt.date, revision: str | None = None) -> Path:
    """Find the folder of a revision.

    Parameters
    ----------
    results_folder : path
        The folder of all results.
    key : str
        The experiment.
    as_of : date
        The night.
    revision : str, optional
        The published one unless given.

    Returns
    -------
    Path
        Holds ``results.json``.

    Raises
    ------
    NotThere
        If there is none; the text says which there are.

    Examples
    --------
    >>> revision_folder(night.parents[2], "one_page_checkout", dt.date(2026, 3, 3)) == night.resolve()
    True
    """
    found = one_night(results_folder, key, as_of)
    name = found.current if revision is None else revision
    if name is None:
        told = _why_unpublished(results_folder, key, found) or _nearest(results_folder, key, as_of)
        raise NotThere(f"The night of {as_of} of {key} has no published report. {told}")
    if name not in found.revisions:
        there = f"There are: {', '.join(found.revisions)}." if found.revisions else "There is none."
        raise NotThere(f"The night of {as_of} of {key} has no revision {clean_name(name)!r}. {there}")
    return _inside(found.folder / name)


def read_file(results_folder: Path | str, key: str, as_of: dt.date, revision: str | None, name: str) -> bytes:
    """Read a file of a revision that a page may hand out.

    Parameters
    ----------
    results_folder : path
        The folder of all results.
    key : str
        The experiment.
    as_of : date
        The night.
    revision : str or None
        None for the published one.
    name : str
        One of `FILES`.

    Returns
    -------
    bytes

    Raises
    ------
    NotThere
        If it is not there, or is none of them.

    Examples
    --------
    >>> read_file(night.parents[2], "one_page_checkout", dt.date(2026, 3, 3), None, "report.html")[:15]
    b'<!DOCTYPE html>'
    """
    folder = revision_folder(results_folder, key, as_of, revision)
    if name not in FILES:
        raise NotThere(f"{clean_name(name)!r} is not handed out; these are: {', '.join(FILES)}.")
    path = _inside(folder / name)
    if not path.is_file():
        raise NotThere(
            f"Revision {folder.name} of the night of {as_of} of {key} has no {name}; its report is not made."
        )
    return path.read_bytes()


def read_results(folder: Path) -> dict[str, Any]:
    """Read ``results.json`` of a revision.

    Parameters
    ----------
    folder : Path
        The revision's folder.

    Returns
    -------
    dict

    Raises
    ------
    NotThere
        If it is missing or cannot be read; the text says why.

    Examples
    --------
    >>> read_results(night)["as_of"]
    '2026-03-03'
    """
    try:
        found = results.read_json(folder / "results.json")
        _ = found["as_of"], found["experiment"]["title"], [VERDICTS[one["verdict"]] for one in found["verdicts"]]
        readable(found)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotThere(f"{folder.name}/results.json cannot be read ({failures.error_text(error)}).") from None
    return found


def waiting(night: Path) -> dict[str, Any] | None:
    """Read what a night waits for.

    Parameters
    ----------
    night : Path
        ``<results>/<key>/<as_of>``.

    Returns
    -------
    dict or None
        ``since``, ``until`` and ``sources``, each with ``source`` and ``reason``; None when it does not wait.

    Examples
    --------
    >>> waiting(night.parent) is None
    True
    """
    return _mapping(night / "waiting.json", ("since", "until", "sources"))


def waiting_text(waits: Mapping[str, Any]) -> str:
    """Say what a night waits for, since when and until when.

    Parameters
    ----------
    waits : mapping
        What ``store.waiting`` returned.

    Returns
    -------
    str

    Examples
    --------
    >>> waiting_text({"since": "2026-03-09T00:05:11+00:00", "until": "2026-03-10T00:05:11+00:00",
    ...               "sources": [{"source": "purchases", "reason": "no rows of 2026-03-08"}]})
    'purchases (no rows of 2026-03-08), since 2026-03-09 00:05, until 2026-03-10 00:05 UTC'
    """
    sources = "; ".join(f"{one.get('source')} ({one.get('reason')})" for one in waits["sources"])
    since, until = (str(waits[name])[:16].replace("T", " ") for name in ("since", "until"))
    return f"{sources}, since {since}, until {until} UTC"


def is_held(night: Path, task: str) -> bool:
    """Whether a step failed because it waited long enough, and not because something broke.

    Parameters
    ----------
    night : Path
        ``<results>/<key>/<as_of>``.
    task : str
        The step.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_held(night.parent, "outcomes_ready")
    False
    """
    return bool((_mapping(night / failures.FOLDER / f"{task}.json", ("task",)) or {}).get("held"))


def previewed(results_folder: Path | str, key: str) -> dict[str, Any] | None:
    """Read the last preview of an experiment.

    Parameters
    ----------
    results_folder : path
        The folder of all results.
    key : str
        The experiment.

    Returns
    -------
    dict or None
        As ``abtest_lib.preview.write`` wrote it; None when nobody made one.

    Raises
    ------
    NotThere
        If the key is none, or leads out of the store.

    Examples
    --------
    >>> previewed(night.parents[2], "new_ranker") is None
    True
    """
    _check_key(key)
    path = _inside(_root(results_folder) / "_previews" / f"{key}.json")
    return _mapping(path, ("key", "from", "to", "nights"))


def _mapping(path: Path, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """A document that another step may be writing or removing now; one that is not whole counts as none."""
    try:
        found = results.read_json(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, Mapping) and all(key in found for key in keys) else None


def _night(folder: Path, as_of: dt.date) -> Night:
    folder = _inside(folder)
    try:
        current = (folder / results.CURRENT).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        current = None
    return Night(folder, as_of, current if current and REVISION.fullmatch(current) else None)


def _experiment(results_folder: Path | str, key: str) -> Path:
    _check_key(key)
    return _inside(_root(results_folder) / key)


def _check_key(key: str) -> None:
    if not definitions.KEY.fullmatch(key):
        raise NotThere(f"{clean_name(key)!r} is not the key of an experiment.")


def _root(results_folder: Path | str) -> Path:
    return Path(results_folder).resolve()


def _inside(path: Path) -> Path:
    """Refuse a link below the root: it may lead out of the store, or to another experiment that others may read."""
    if path.resolve() != path:
        raise NotThere(f"{path.name}: a link lies on the way to it, and pages follow none below the results.")
    return path


def _why_unpublished(results_folder: Path | str, key: str, night: Night) -> str:
    reasons = [f"{task}: {reason}" for task, reason in failures.read(results_folder, key, night.as_of).items()]
    if reasons:
        return f"What failed: {clean_name('; '.join(reasons), 800)}"
    waits = waiting(night.folder)
    return f"It waits for {clean_name(waiting_text(waits), 800)}." if waits else ""


def _nearest(results_folder: Path | str, key: str, as_of: dt.date) -> str:
    published = [one.as_of for one in nights(results_folder, key) if one.current]
    near = sorted(published, key=lambda day: abs((day - as_of).days))[:_NEAREST]
    if not near:
        return "It has no published night yet."
    return f"Its nearest published nights: {listed([str(day) for day in sorted(near)])}."
