"""The list of experiments: what each says and how it does on a night, the most urgent first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from abtest_lib import definitions, failures, sign_off
from abtest_lib.definitions import Experiment
from abtest_lib.digest import LISTED_DAYS, words
from abtest_lib.errors import DefinitionError
from abtest_lib.pages import places, store
from abtest_lib.report.digest import SECTIONS as OF_THE_DIGEST
from abtest_lib.report.digest import section_of
from abtest_lib.report.readable import readable
from abtest_lib.report.text import clean_name, long_day, plural, short_day
from abtest_lib.report.vocabulary import VERDICTS
from abtest_lib.subscriptions import team_by_experiment

DAY = dt.timedelta(days=1)
SECTIONS = {
    **{name: heading for name, (heading, _) in OF_THE_DIGEST.items()},
    "trouble": "Failed, held, late or waiting",
    "planned": "Not started",
    "ended": "Ended",
}
_TEXT = 400


@dataclass(frozen=True)
class _Found:
    """What the store has of an experiment up to a night."""

    newest: dt.date | None  # of the nights that left anything
    published: dt.date | None = None
    document: dict[str, Any] | None = None
    signed: str = ""
    last: dict[str, Any] | None = None
    unread: str = ""


def view(
    experiments_folder: Path | str,
    results_folder: Path | str,
    *,
    allowed: Collection[str],
    team: str | None = None,
    as_of: dt.date | None = None,
) -> dict[str, Any]:
    """Word where every experiment stands.

    Parameters
    ----------
    experiments_folder, results_folder : path
        The definitions and the store.
    allowed : collection of str
        The ids of the DAGs that the reader may see.
    team : str, optional
        Only the experiments of this team; empty stands for those without one.
    as_of : date, optional
        The night; the newest one in the store unless given.

    Returns
    -------
    dict
        What ``pages/fleet.html.j2`` prints.

    Raises
    ------
    DefinitionError
        If the folder of the definitions does not exist.

    Examples
    --------
    >>> said = view("experiments", night.parents[2], allowed=["abtest__one_page_checkout"])
    >>> [(row["title"], row["health"]["word"]) for section in said["sections"] for row in section["rows"]]
    [('One-page checkout', 'healthy')]
    """
    folder, root = Path(experiments_folder), Path(results_folder)
    keys = [key for key in _keys(folder, root) if places.dag_id(key) in allowed]
    night = as_of or max(filter(None, (_newest(root, key) for key in keys)), default=None)
    rows = [_row(folder, root, key, night) for key in keys]
    names = sorted({row["team"] for row in rows}, key=lambda name: (name == "", name))
    rows = [row for row in rows if team is None or row["team"] == team]
    order = {name: number for number, name in enumerate(SECTIONS)}
    rows.sort(key=lambda row: (order[row["section"]], row["order"], row["title"], row["key"]))
    sections = [
        {"key": name, "heading": heading, "rows": [row for row in rows if row["section"] == name]}
        for name, heading in SECTIONS.items()
    ]
    return {
        "title": "Experiments",
        "kicker": f"Night of {long_day(night)}, data through {long_day(night - DAY)} (UTC)" if night else "",
        "as_of": str(night) if night else "",
        "picked": as_of is not None,
        "team": team,
        "teams": [{"name": name, "label": clean_name(name, 60) or "no team"} for name in names],
        "count": plural(len(rows), "experiment"),
        "sections": [section for section in sections if section["rows"]],
        "self": places.fleet(),
    }


def _keys(folder: Path, root: Path) -> list[str]:
    """Those with a definition, and those of the store whose definition is gone."""
    stored = [path.name for path in root.glob("*") if definitions.KEY.fullmatch(path.name)]
    return sorted({*definitions.experiment_keys(folder), *stored})


def _newest(root: Path, key: str) -> dt.date | None:
    try:
        return next((one.as_of for one in store.nights(root, key)), None)
    except store.NotThere:
        return None


def _row(folder: Path, root: Path, key: str, night: dt.date | None) -> dict[str, Any]:
    experiment, problem, team = _defined(folder, key, _stamp(folder, key))
    found = _found(root, key, night)
    known = (found.document or {}).get("experiment", {})
    said = _said(found)
    health, section = _health(root, key, experiment, problem, found, night)
    return {
        "key": clean_name(key),
        "title": clean_name(experiment.title if experiment else known.get("title", key)),
        "team": (experiment.team if experiment else known.get("team", team)) or "",
        "owner": clean_name(experiment.owner if experiment else known.get("owner", "")),
        "verdicts": said["verdicts"],
        "changed": said["changed"] if not section else "",
        "signed": found.signed,
        "health": health,
        "section": section or said["section"],
        "order": _order(health) if section else said["order"],
        "night": short_day(str(found.published)) if found.published else "",
        "next": _next(experiment, found, night),
        "links": _links(key, found),
    }


@lru_cache(maxsize=2000)
def _defined(folder: Path, key: str, stamp: tuple) -> tuple[Experiment | None, str, str | None]:
    """An experiment, or what is wrong with its definition and the team that it names; nothing if it has no file.

    Kept while its files are the same: reading the definitions is most of the work of a list.
    """
    if stamp[:2] == (None, None):
        return None, "", None
    try:
        return definitions.load_experiment(folder, key), "", None
    except DefinitionError as error:
        return None, str(error).replace(f"{folder}/", ""), team_by_experiment(folder).get(key)


def _stamp(folder: Path, key: str) -> tuple:
    """What changes when a file of a definition does."""
    stamps = []
    for name in (f"{key}.yaml", f"{key}.yml", *definitions.SHARED_FILES):
        try:
            found = (folder / name).stat()
            stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
        except OSError:
            stamps.append(None)
    return tuple(stamps)


def _found(root: Path, key: str, night: dt.date | None) -> _Found:
    newest = first = unread = None
    try:
        for one in store.nights(root, key, until=night):
            newest = newest or one.as_of
            if one.current is None:
                continue
            try:
                document = store.read_results(one.folder / one.current)
            except store.NotThere as reason:
                # Of the published nights only what the newest says is asked for, so only its fault is trouble.
                unread = unread or (str(reason) if first is None else None)
                continue
            if first is not None:
                return _Found(newest, *first, document, unread or "")
            first = one.as_of, document, signed(one.folder / one.current)
    except store.NotThere:
        return _Found(None)
    return _Found(newest, *(first or (None, None, "")), None, unread or "")


def _said(found: _Found) -> dict[str, Any]:
    """The verdicts of the last report, in the words that the report has."""
    if found.document is None:
        return {"verdicts": [], "changed": "", "section": "trouble", "order": ""}
    night = readable(found.document)
    last = readable(found.last, hidden=night["hidden"]) if found.last else None
    now, before = words(night), words(last) if last else {}
    old = [VERDICTS[before[variant]][1] for variant in now if variant in before and before[variant] != now[variant]]
    changed = f"was {', '.join(dict.fromkeys(old))} on {short_day(last['as_of'])}" if old and last else ""
    return {
        "verdicts": verdict_words(night),
        "changed": changed,
        "section": section_of(now, night, last),
        "order": min((one.get("until") or "" for one in night["verdicts"]), default=""),
    }


def verdict_words(night: Mapping[str, Any]) -> list[dict[str, str]]:
    """Word the verdicts of a night, briefly.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    list of dict
        ``sign``, ``word``, ``tone``, ``until``, and ``variant`` where there are several treatments.

    Examples
    --------
    >>> [one["word"] for one in verdict_words(readable(store.read_results(night)))]
    ['SHIP']
    """
    found = []
    for one in night["verdicts"]:
        sign, word, tone = VERDICTS[one["verdict"]]
        until = one.get("until") if one["verdict"] == "keep_running" else None
        variant = clean_name(one["variant"]) if night["several"] else ""
        found.append({"sign": sign, "word": word, "tone": tone, "variant": variant,
                      "until": f"until {short_day(until)}" if until else ""})  # fmt: skip
    return found


def signed(revision: Path) -> str:
    """Say where a verdict stands with those who sign it.

    Parameters
    ----------
    revision : Path
        The revision's folder.

    Returns
    -------
    str
        Empty when nobody has to sign.

    Examples
    --------
    >>> signed(night)
    ''
    """
    try:
        if sign_off.standing(revision) == sign_off.AWAITED:
            return "not signed yet"
        found = sign_off.signature(revision) if sign_off.standing(revision) else None
    except (OSError, ValueError, LookupError, TypeError) as error:
        return clean_name(f"signature cannot be read ({failures.error_text(error)})", _TEXT)
    return f"{found['decision']} by {clean_name(found['by'])} on {short_day(found['at'][:10])}" if found else ""


def _health(
    root: Path, key: str, experiment: Experiment | None, problem: str, found: _Found, night: dt.date | None
) -> tuple[dict[str, str], str]:
    """How its nights do, and the section where that decides it; empty where the verdict does."""
    if experiment is None and not problem:
        return _state("–", "ended", "flat", "Its definition is gone."), "ended"
    if problem:
        lines = problem.splitlines()
        more = f" ({plural(len(lines) - 1, 'more problem')})" if lines[1:] else ""
        return _state("✖", "BROKEN DEFINITION", "bad", lines[0] + more), "trouble"
    if found.unread:
        return _state("✖", "FAILED", "bad", found.unread), "trouble"
    if state := _in_trouble(root, key, found):
        return state, "trouble"
    if night is None or night <= experiment.starts_on:
        return _state(
            "–", "not started", "flat", f"Its first day is {short_day(str(experiment.starts_on))}."
        ), "planned"
    expected = min(night, experiment.decides_on)
    if found.published is None or found.published < expected:
        return _state("?", "LATE", "warn", _late(found, expected)), "trouble"
    ended = f"Its last night was {short_day(str(expected))}." if night > experiment.decides_on else ""
    if ratio_failed(found.document):
        old = night > experiment.decides_on + DAY * LISTED_DAYS
        return _state("⚠", "sample ratio failed", "warn", f"Effects are withheld. {ended}"), "ended" if old else ""
    if ended:
        return _state("–", "ended", "flat", ended), "ended"
    return _state("✔", "healthy", "good", ""), ""


def ratio_failed(document: Mapping[str, Any]) -> bool:
    """Whether the effects of a night are withheld.

    Parameters
    ----------
    document : mapping
        ``results.json``.

    Returns
    -------
    bool

    Examples
    --------
    >>> ratio_failed({"sample_ratio": {"healthy": True}})
    False
    """
    return document["sample_ratio"].get("healthy") is not True or bool(document.get("withheld"))


def _in_trouble(root: Path, key: str, found: _Found) -> dict[str, str] | None:
    """Of the newest night that left anything: what failed in it, or what it waits for."""
    if found.newest is None:
        return None
    day = f"night of {short_day(str(found.newest))}"
    folder = root / key / found.newest.isoformat()
    failed = failures.read(root, key, found.newest)
    if failed:
        texts = "; ".join(f"{task}: {reason}" for task, reason in failed.items())
        held = all(store.is_held(folder, task) for task in failed)
        sent = all(task.startswith("deliver_") for task in failed)
        word = "HELD" if held else "NOT DELIVERED" if sent else "FAILED"
        return _state("?" if held else "✖", word, "warn" if held else "bad", f"{day}: {texts}")
    if waits := store.waiting(folder):
        return _state("?", "WAITING", "warn", f"{day}: {store.waiting_text(waits)}")
    return None


def _late(found: _Found, expected: dt.date) -> str:
    there = f"the newest is of {short_day(str(found.published))}" if found.published else "there is none yet"
    return f"No report of the night of {short_day(str(expected))}; {there}."


def _state(sign: str, word: str, tone: str, text: str) -> dict[str, str]:
    return {"sign": sign, "word": word, "tone": tone, "text": clean_name(text, _TEXT)}


def _order(health: Mapping[str, str]) -> str:
    """Within a section that health decides: what is broken, then what is overdue, then what still waits."""
    return "2" if health["word"] == "WAITING" else "0" if health["tone"] == "bad" else "1"


def _next(experiment: Experiment | None, found: _Found, night: dt.date | None) -> str:
    if experiment is None:
        return ""
    on = night or experiment.starts_on
    if on <= experiment.starts_on:
        return f"first night {short_day(str(experiment.starts_on + DAY))}"
    if on >= experiment.decides_on:
        return ""
    decided = found.document and set(words(found.document).values()) <= {"ship", "do_not_ship"}
    decides = f"{'nights go on to' if decided else 'decides on'} {short_day(str(experiment.decides_on))}"
    if on < experiment.first_look_on < experiment.decides_on:
        return f"looks from {short_day(str(experiment.first_look_on))}, {decides}"
    return decides


def _links(key: str, found: _Found) -> dict[str, str]:
    return {
        "nights": places.page(key),
        "report": places.page(key, "nights", found.published) if found.document else "",
        "dag": places.in_airflow(key),
    }
