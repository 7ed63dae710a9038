"""What differs between two nights of an experiment, or between two revisions of one night."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abtest_lib import failures, results
from abtest_lib.pages import places, store
from abtest_lib.pages.fleet import ratio_failed, verdict_words
from abtest_lib.replay import differences
from abtest_lib.report.numbers import finite_number, missing_reason, relative_change
from abtest_lib.report.readable import comparison_of, readable
from abtest_lib.report.reasons import reason_text
from abtest_lib.report.rows import comparison_row, fences_of, guardrail_row
from abtest_lib.report.text import clean_name, count_text, plural, short_day, shortened

_LISTED = 40
_NAMES = ("revision", "abtest_version", "as_of")
Picked = tuple[dt.date, str | None]


def read_choice(text: str) -> Picked:
    """Read which night, and which of its revisions, an address asks for.

    Parameters
    ----------
    text : str
        A date, or a date, a dot and a revision.

    Returns
    -------
    tuple of date and (str or None)
        None stands for the published revision.

    Raises
    ------
    NotThere
        If it is anything else.

    Examples
    --------
    >>> read_choice("2026-03-03.3f2a9c017be4")
    (datetime.date(2026, 3, 3), '3f2a9c017be4')
    """
    day, dot, revision = text.partition(".")
    if dot and not store.REVISION.fullmatch(revision):
        raise store.NotThere(f"{clean_name(revision)!r} is not a revision; one is written as 3f2a9c017be4.")
    return store.read_day(day), revision or None


def view(results_folder: Path | str, key: str, before: Picked, after: Picked) -> dict[str, Any]:
    """Word what differs between two revisions.

    Parameters
    ----------
    results_folder : path
        The store.
    key : str
        The experiment.
    before, after : tuple of date and (str or None)
        Of `read_choice`.

    Returns
    -------
    dict
        What ``pages/comparison.html.j2`` prints. No effect of a night whose sample ratio failed is in it.

    Raises
    ------
    NotThere
        If one of them is not there or cannot be read.

    Examples
    --------
    >>> picked = read_choice(f"2026-03-03.{night.name}")
    >>> said = view(night.parents[2], "one_page_checkout", picked, picked)
    >>> said["verdicts"][0]["changed"], said["moved"]
    (False, [])
    """
    folders = [store.revision_folder(results_folder, key, day, revision) for day, revision in (before, after)]
    documents = [store.read_results(folder) for folder in folders]
    try:
        nights = [readable(document) for document in documents]
        said = _said(nights)
        moved = [place for place in differences(*map(_findings, documents)) if place]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise store.NotThere(
            f"These results are those of another version and cannot be compared ({failures.error_text(error)})."
        ) from None
    return said | {
        "key": key,
        "title": clean_name(documents[1]["experiment"]["title"]),
        "sides": [_side(key, folder, document) for folder, document in zip(folders, documents, strict=True)],
        "withheld": _withheld(documents),
        "definition": _definition(folders),
        "moved": moved[:_LISTED],
        "count": plural(len(moved), "place"),
        "more": len(moved) - _LISTED,
        "links": {"fleet": places.fleet(), "nights": places.page(key)},
    }


def _side(key: str, folder: Path, document: Mapping[str, Any]) -> dict[str, str]:
    as_of = folder.parent.name
    return {
        "day": short_day(as_of),
        "revision": folder.name,
        "version": clean_name(document.get("abtest_version", "")),
        "report": places.page(key, "nights", as_of, folder.name),
    }


def _said(nights: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "verdicts": _verdicts(nights),
        "effects": _effects(nights, "metrics") + _effects(nights, "guardrails"),
        "units": _units(nights),
        "ratio": [_ratio(night) for night in nights],
        "gained": _reasons(nights[1], nights[0]),
        "lost": _reasons(nights[0], nights[1]),
    }


def _findings(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _NAMES}


def _withheld(documents: list[Mapping[str, Any]]) -> str:
    days = [short_day(document["as_of"]) for document in documents if ratio_failed(document)]
    if not days:
        return ""
    return f"Effects of {' and '.join(dict.fromkeys(days))} are withheld: the sample ratio failed."


def _verdicts(nights: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_variant = [
        {one["variant"]: word for one, word in zip(night["verdicts"], verdict_words(night), strict=True)}
        for night in nights
    ]
    return [
        {
            "variant": clean_name(variant),
            "before": by_variant[0].get(variant),
            "after": by_variant[1].get(variant),
            "changed": by_variant[0].get(variant) != by_variant[1].get(variant),
        }
        for variant in {**by_variant[1], **by_variant[0]}
    ]


def _effects(nights: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    """A row for each metric and treatment that either night has."""
    entries = [{entry["metric"]: entry for entry in night[part]} for night in nights]
    rows = []
    for metric in {**entries[1], **entries[0]}:
        both = [entry.get(metric) for entry in entries]
        one = both[1] or both[0]
        variants = {item["variant"]: None for entry in both if entry for item in entry["comparisons"]}
        for variant in variants:
            cells = [_cell(entry, variant, night, part) for entry, night in zip(both, nights, strict=True)]
            rows.append(
                {
                    "title": clean_name(one["title"]),
                    "role": "guardrail" if part == "guardrails" else clean_name(one["role"]),
                    "variant": clean_name(variant) if len(variants) > 1 else "",
                    "before": cells[0],
                    "after": cells[1],
                    "changed": cells[0] != cells[1],
                    "move": _move(cells),
                }
            )
    return rows


def _move(cells: list[dict[str, Any]]) -> str:
    """By how much the relative effect is another, where both nights show it."""
    before, after = (cell["relative_effect"] for cell in cells)
    if before is None or after is None or before == after:
        return ""
    return relative_change(after - before, None)[0].replace("%", " percentage points")


def _cell(entry: Mapping[str, Any] | None, variant: str, night: Mapping[str, Any], part: str) -> dict[str, Any]:
    if entry is None:
        why = "withheld" if ratio_failed(night) else "not in this night"
        return {"sign": "–", "word": why, "tone": "flat", "text": "", "relative_effect": None}
    comparison = comparison_of(entry["comparisons"], variant)
    if part == "guardrails":
        row = guardrail_row(entry, comparison, night)
    else:
        row = comparison_row(comparison, fences_of(night))
    text = row["missing"] or f"{row['effect']} ({row['level']} interval {row['interval']})"
    shown = None if row["missing"] else finite_number(comparison["relative_effect"])
    return {"sign": row["sign"], "word": row["word"], "tone": row["tone"], "text": text, "relative_effect": shown}


def _units(nights: list[dict[str, Any]]) -> list[dict[str, str]]:
    counts = [night["exposure"]["units"] for night in nights]
    rows = []
    for variant in {**counts[1], **counts[0]}:
        one, other = (found.get(variant) for found in counts)
        change = other - one if one is not None and other is not None else None
        rows.append(
            {
                "variant": clean_name(variant),
                "before": "–" if one is None else count_text(one),
                "after": "–" if other is None else count_text(other),
                "change": ""
                if change is None
                else f"{'+' if change > 0 else '−' if change else '±'}{count_text(abs(change))}",
            }
        )
    return rows


def _ratio(night: Mapping[str, Any]) -> dict[str, str]:
    ratio = night["sample_ratio"]
    if missing := missing_reason(ratio):
        return {"sign": "?", "word": "not computed", "tone": "warn", "text": missing}
    probability = finite_number(ratio.get("pvalue"))
    text = "" if probability is None else f"p = {probability:.2g}"
    if ratio.get("healthy") is not True:
        return {"sign": "✖", "word": "mismatch", "tone": "bad", "text": text}
    return {"sign": "✔", "word": "healthy", "tone": "good", "text": text}


def _reasons(of: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, str]]:
    """The reasons that one night has and the other has not, in the words of the first."""
    there = {mark for verdict in other["verdicts"] for mark, _ in _marked(verdict)}
    return [
        {
            "variant": clean_name(verdict["variant"]) if of["several"] else "",
            "code": clean_name(reason["code"]),
            "text": reason_text(reason, verdict, of),
        }
        for verdict in of["verdicts"]
        for mark, reason in _marked(verdict)
        if mark not in there
    ]


def _marked(verdict: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Mapping[str, Any]]]:
    return [
        ((verdict["variant"], *(json.dumps(reason.get(part)) for part in ("code", "metric", "segment"))), reason)
        for reason in verdict["reasons"]
    ]


def _definition(folders: list[Path]) -> list[dict[str, str]]:
    """The keys of the definition that differ, with what they were and are."""
    try:
        both = [results.read_json(folder / "definition.json") for folder in folders]
    except (OSError, ValueError):
        return [{"place": "definition.json cannot be read", "before": "", "after": ""}]
    return [
        {"place": clean_name(place, 120), "before": _value(both[0], place), "after": _value(both[1], place)}
        for place in differences(*both)
    ]


def _value(document: Any, place: str) -> str:
    """What stands at a place that ``differences`` named; names with a dot in them are not looked for."""
    for part in place.replace("[", ".[").split("."):
        try:
            document = document[int(part[1:-1])] if part.startswith("[") else document[part]
        except (LookupError, TypeError, ValueError):
            return "–"
    return shortened(clean_name(json.dumps(document, ensure_ascii=False), 160), 160)
