"""Which verdicts would change if nights were computed with today's definition and data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abtest_lib.digest import words
from abtest_lib.failures import error_text
from abtest_lib.pages import places, store
from abtest_lib.report.numbers import relative_change
from abtest_lib.report.readable import readable
from abtest_lib.report.text import clean_name, plural, short_day
from abtest_lib.report.vocabulary import VERDICTS

_TEXT = 400


def view(results_folder: Path | str, key: str) -> dict[str, Any]:
    """Word the last preview of an experiment.

    Parameters
    ----------
    results_folder : path
        The store.
    key : str
        The experiment.

    Returns
    -------
    dict
        What ``pages/previews.html.j2`` prints; ``nights`` is empty when nobody made a preview.

    Raises
    ------
    NotThere
        If the key is none, or the preview is one of another version.

    Examples
    --------
    >>> view(night.parents[2], "one_page_checkout")["how"]
    'abtest preview one_page_checkout'
    """
    found = store.previewed(results_folder, key)
    said = {
        "key": key,
        "title": f"Preview of {key}",
        "how": f"abtest preview {key}",
        "range": "",
        "tally": "",
        "nights": [],
        "links": {"fleet": places.fleet(), "nights": places.page(key), "adhoc": "/dags/abtest_adhoc"},
    }
    if found is None:
        return said
    try:
        nights = [_night(results_folder, key, one) for one in found["nights"]]
        days = f"{short_day(found['from'])} to {short_day(found['to'])}"
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise store.NotThere(
            f"The preview of {key} cannot be read ({error_text(error)}); make it again: abtest preview {key}."
        ) from None
    return said | {"range": days, "tally": _tally(nights), "nights": nights}


def _tally(nights: list[dict[str, Any]]) -> str:
    parts = [f"{plural(sum(len(one['changes']) for one in nights), 'verdict')} would change"]
    if failed := sum(bool(one["problem"]) for one in nights):
        parts.append(f"{plural(failed, 'night')} cannot be computed")
    if new := sum(one["new"] and not one["problem"] for one in nights):
        parts.append(f"{plural(new, 'night')} would be new")
    return f"{'; '.join(parts)}."


def _night(results_folder: Path | str, key: str, one: Mapping[str, Any]) -> dict[str, Any]:
    moved, invalid = one["moved"], _invalid(results_folder, key, one)
    return {
        "day": short_day(one["as_of"]),
        "report": places.page(key, "nights", one["as_of"]) if one["published"] else "",
        "new": one["published"] is None,
        "problem": clean_name(one["problem"] or "", _TEXT),
        "changes": [
            {
                "variant": clean_name(change["variant"]),
                "before": _word(change["before"]),
                "after": _word(change["after"]),
            }
            for change in one["changes"]
        ],
        "moved": f"{plural(moved, 'value')} would change" if moved else "nothing would change",
        "primary": [
            {
                "variant": clean_name(row["variant"]),
                "metric": clean_name(row["metric"]),
                "before": "withheld" if row["variant"] in invalid[0] else _effect(row["before"]),
                "after": "withheld" if row["variant"] in invalid[1] else _effect(row["after"]),
            }
            for row in one["primary"]
        ],
    }


def _invalid(results_folder: Path | str, key: str, one: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """The variants whose effects nobody may show, as published and as previewed."""
    before: dict[str, str | None] = {}
    if one["published"]:
        try:
            folder = store.revision_folder(results_folder, key, store.read_day(one["as_of"]), one["published"])
            before = dict(words(readable(store.read_results(folder))))
        except store.NotThere:
            pass  # a revision that is no more: what changed is still known
    before |= {change["variant"]: change["before"] for change in one["changes"]}
    after = before | {change["variant"]: change["after"] for change in one["changes"]}
    return ({name for name, word in before.items() if word == "invalid"},
            {name for name, word in after.items() if word == "invalid"})  # fmt: skip


def _word(verdict: str | None) -> dict[str, str]:
    sign, word, tone = VERDICTS[verdict] if verdict is not None else ("–", "none", "flat")
    return {"sign": sign, "word": word, "tone": tone}


def _effect(estimate: list[float | None] | None) -> str:
    if estimate is None:
        return "none"
    effect, interval = relative_change(estimate[0], list(estimate[1:]))
    return f"{effect} ({interval})" if any(end is not None for end in estimate[1:]) else effect
