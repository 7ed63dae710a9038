"""One experiment: its nights, what each said in every revision, and why there is another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abtest_lib import definitions, failures, results
from abtest_lib.definitions import Experiment
from abtest_lib.errors import DefinitionError
from abtest_lib.pages import places, store
from abtest_lib.pages.fleet import signed, verdict_words
from abtest_lib.report.readable import readable
from abtest_lib.report.text import clean_name, long_day, plural, short_day

_TEXT = 600


def view(experiments_folder: Path | str, results_folder: Path | str, key: str) -> dict[str, Any]:
    """Word the nights of an experiment.

    Parameters
    ----------
    experiments_folder, results_folder : path
        The definitions and the store.
    key : str
        The experiment.

    Returns
    -------
    dict
        What ``pages/nights.html.j2`` prints.

    Raises
    ------
    NotThere
        If there is neither a definition nor a night of it.

    Examples
    --------
    >>> said = view("experiments", night.parents[2], "one_page_checkout")
    >>> said["nights"][0]["day"], said["nights"][0]["verdicts"][0]["word"]
    ('3 Mar 2026', 'SHIP')
    """
    found = list(store.nights(results_folder, key))
    experiment, problem = _definition(experiments_folder, key)
    if not found and experiment is None and problem is None:
        raise store.NotThere(f"There is no experiment {clean_name(key)!r}: no file defines it, and it has no results.")
    rows = [_night(Path(results_folder), key, one) for one in found]
    title = experiment.title if experiment else next((row["title"] for row in rows if row["title"]), key)
    return {
        "key": key,
        "title": clean_name(title),
        "facts": _facts(experiment) if experiment else [],
        "problem": problem or "",
        "nights": rows,
        "choices": _choices(rows),
        "count": plural(len(rows), "night"),
        "links": {
            "fleet": places.fleet(),
            "compare": places.page(key, "compare"),
            "preview": places.page(key, "preview"),
            "dag": places.in_airflow(key),
        },
    }


def _definition(folder: Path | str, key: str) -> tuple[Experiment | None, str | None]:
    """The experiment, or what is wrong with it; neither when no file defines it."""
    if key not in definitions.experiment_keys(folder):
        return None, None
    try:
        return definitions.load_experiment(folder, key), None
    except DefinitionError as error:
        return None, clean_name(str(error).replace(f"{folder}/", ""), _TEXT)


def _facts(experiment: Experiment) -> list[tuple[str, str]]:
    days = f"{long_day(experiment.starts_on)} up to, not including, {long_day(experiment.ends_on)}"
    facts = {
        "Hypothesis": clean_name(experiment.hypothesis, _TEXT),
        "Owner": clean_name(experiment.owner),
        "Team": clean_name(experiment.team or ""),
        "Enrolment": days,
        "Decides on": long_day(experiment.decides_on),
    }
    return [(name, text) for name, text in facts.items() if text]


def _night(root: Path, key: str, one: store.Night) -> dict[str, Any]:
    published = {line["revision"]: line for line in results.publications(one.folder)}
    revisions = [_revision(key, one, name, published) for name in one.revisions]
    revisions.sort(key=lambda row: (not row["current"], row["revision"]))
    current = next((row for row in revisions if row["current"]), None)
    failed = failures.read(root, key, one.as_of)
    waits = store.waiting(one.folder)
    return {
        "as_of": str(one.as_of),
        "day": short_day(str(one.as_of)),
        "title": current["title"] if current else "",
        "verdicts": current["verdicts"] if current else [],
        "signed": signed(one.folder / current["revision"]) if current else "",
        "revisions": revisions,
        "others": plural(len(revisions) - 1, "other revision") if current and len(revisions) > 1 else "",
        "trouble": [_trouble(one, task, reason) for task, reason in failed.items()],
        "waiting": clean_name(store.waiting_text(waits), _TEXT) if waits and not failed else "",
        "report": places.page(key, "nights", one.as_of) if current else "",
    }


def _trouble(one: store.Night, task: str, reason: str) -> dict[str, str]:
    held = store.is_held(one.folder, task)
    sign, word, tone = ("?", "HELD", "warn") if held else ("✖", "FAILED", "bad")
    return {"sign": sign, "word": word, "tone": tone, "text": f"{clean_name(task)}: {clean_name(reason, _TEXT)}"}


def _revision(key: str, one: store.Night, name: str, published: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    try:
        document = store.read_results(one.folder / name)
        title, said, unread = document["experiment"]["title"], verdict_words(readable(document)), ""
    except (store.NotThere, LookupError, TypeError) as error:
        title, said, unread = "", [], clean_name(str(error), _TEXT)
    files = [file for file in store.FILES if (one.folder / name / file).is_file()]
    return {
        "revision": name,
        "current": name == one.current,
        "title": title,
        "verdicts": said,
        "unread": unread,
        "state": _state(name, one, published),
        "reason": clean_name((published.get(name) or {}).get("reason") or "", _TEXT),
        "files": [{"name": file, "link": places.page(key, "nights", one.as_of, name, file)} for file in files],
    }


def _state(name: str, one: store.Night, published: Mapping[str, Any]) -> str:
    if name == one.current:
        replaces = (published.get(name) or {}).get("replaces")
        return f"current, replaces {replaces}" if replaces else "current"
    return "replaced" if name in published else "not current"


def _choices(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What can be compared: the current revision of each night, then the others."""
    return [
        {
            "value": f"{row['as_of']}.{one['revision']}",
            "label": f"{row['day']}, {one['revision']}" + (" (current)" if one["current"] else ""),
            "current": one["current"],
        }
        for row in rows
        for one in row["revisions"]
    ]
