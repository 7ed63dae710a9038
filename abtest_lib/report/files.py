"""Writes the report of a night in all its forms beside its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from abtest_lib import results
from abtest_lib.report.contents import view
from abtest_lib.report.formats import render
from abtest_lib.report.spreadsheet import numbers_csv

# What of a definition decides which rows are read and how they are counted.
_READS = ("starts_on", "ends_on", "control", "weights", "primary", "secondary", "guardrails", "segments", "exposures",
          "units", "outcomes", "attributes", "metrics", "load_log", "loaded_within_hours")  # fmt: skip


def write(night: Path, document: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Path:
    """Render the report of a night and write all of its files.

    Parameters
    ----------
    night : Path
        The revision's folder.
    document : mapping
        ``results.json``.
    history : sequence of mappings
        Results of earlier nights, oldest first.

    Returns
    -------
    Path
        ``report.html``, the full page. Beside it: ``mail.html``, ``report.txt``, ``report.md``, ``report.json`` (what
        all of them print), ``numbers.csv``, ``slack.json``, ``delivery.json`` and the charts.

    Raises
    ------
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> write(night, results.read_json(night / "results.json"), []).name
    'report.html'
    """
    replaced = superseded(night)
    said = view(document, history, superseded=replaced)
    rendered = render(said)
    results.write_json(night / "report.json", said)
    results.write_bytes(night / "mail.html", rendered.mail.encode())
    results.write_bytes(night / "report.txt", rendered.text.encode())
    results.write_bytes(night / "report.md", rendered.markdown.encode())
    results.write_bytes(night / "numbers.csv", numbers_csv(document).encode())
    for stale in [path for path in night.glob("*.png") if path.stem not in rendered.images]:
        stale.unlink()
    for name, picture in rendered.images.items():
        results.write_bytes(night / f"{name}.png", picture)
    results.write_json(night / "slack.json", rendered.slack)
    results.write_json(night / "delivery.json", delivery(said, rendered.mail) | {"supersedes": replaced})
    return results.write_bytes(night / "report.html", rendered.page.encode())


def delivery(view: Mapping[str, Any], mail: str) -> dict[str, Any]:
    """Pick what the delivery of a report must know.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.
    mail : str
        As printed; it may lack charts that would make it too large.

    Returns
    -------
    dict
        ``subject``, ``preheader``, ``thread``, ``verdict_changed``, ``guardrail_alarm`` and ``images``, which the mail
        names by ``cid``.

    Examples
    --------
    >>> said = {"subject": "✔ SHIP: One-page checkout", "preheader": "", "thread": "2026-03-09-3fa2b1c0"}
    >>> delivery(said | {"verdict_changed": False, "guardrail_alarm": False, "charts": []}, "")["images"]
    []
    """
    told = {name: view[name] for name in ("subject", "preheader", "thread", "verdict_changed", "guardrail_alarm")}
    images = [
        {"cid": chart["name"], "file": f"{chart['name']}.png", "alt": chart["alt"]}
        for chart in view["charts"]
        if f'src="cid:{chart["name"]}"' in mail
    ]
    return told | {"images": images}


def superseded(night: Path) -> dict[str, str] | None:
    """Find the revision of the same night that was published before this one, and why there is another.

    Parameters
    ----------
    night : Path
        The revision's folder.

    Returns
    -------
    dict or None
        ``revision`` and ``because``; None for the first of its night. A step that runs again finds the same.

    Raises
    ------
    OSError
        If the store cannot be read.

    Examples
    --------
    >>> superseded(night) is None
    True
    """
    pointer = night.parent / results.CURRENT
    published = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None
    if published == night.name:  # this step ran before: what it found then stands in its own file
        told = night / "delivery.json"
        return results.read_json(told)["supersedes"] if told.is_file() else None
    if published is None or not (night.parent / published / "results.json").is_file():
        return None
    return {"revision": published, "because": _because(night, night.parent / published)}


def _because(night: Path, before: Path) -> str:
    one, other = (
        {name: results.read_json(folder / f"{name}.json") for name in ("definition", "exposure", "results")}
        for folder in (before, night)
    )
    definition = one["definition"] != other["definition"]
    same_reads = all(one["definition"].get(name) == other["definition"].get(name) for name in _READS)
    moments = [(folder / "moments.parquet").read_bytes() for folder in (before, night)]
    data = same_reads and (one["exposure"] != other["exposure"] or moments[0] != moments[1])
    versions = [folder["results"]["abtest_version"] for folder in (one, other)]
    causes = [
        "the definition and the data changed" if definition and data else "",
        "the definition changed" if definition and not data else "",
        "the data changed" if data and not definition else "",
        f"abtest {versions[0]} became {versions[1]}" if versions[0] != versions[1] else "",
    ]
    return "; ".join(filter(None, causes)) or "it was computed again"
