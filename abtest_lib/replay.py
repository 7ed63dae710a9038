"""Past nights again, from what they kept: what this version of the library makes of the moments that were collected.

Nothing is asked of a warehouse. A night whose numbers come out otherwise can be published anew: as another revision
beside the first, which stays as it was known on its day.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from abtest_lib import __version__, cells, decision, pipeline, publishing, readings, results

KEPT = ("definition.json", "exposure.json", "moments.parquet")
_SHOWN = 5


@dataclass(frozen=True)
class Replayed:
    """A night that was computed again.

    Parameters
    ----------
    as_of : date
        The night.
    moved : tuple of str
        Where ``results.json`` has another value than the published one, such as ``metrics[0].comparisons[0].effect``;
        empty when it is the same to the digit.
    problem : str
        Why it could not be computed; empty otherwise.
    written : Path or None
        The revision that now holds the night, where that was asked for.
    """

    as_of: dt.date
    moved: tuple[str, ...] = ()
    problem: str = ""
    written: Path | None = None

    @property
    def line(self) -> str:
        """The night in one line."""
        if self.problem:
            return f"{self.as_of}: {self.problem}"
        more = f" and {len(self.moved) - _SHOWN} more" if len(self.moved) > _SHOWN else ""
        text = f"moved: {', '.join(self.moved[:_SHOWN])}{more}" if self.moved else "the same to the digit"
        return f"{self.as_of}: {text}" + (f"; written to {self.written}" if self.written else "")


def replay(
    key: str, results_folder: Path | str, *, since: dt.date | None = None, until: dt.date | None = None
) -> Iterator[Replayed]:
    """Compute published nights again and say what moved; nothing is written.

    Parameters
    ----------
    key : str
        The experiment.
    results_folder : path
        The folder of all results.
    since, until : date, optional
        The first and the last night; all unless given.

    Yields
    ------
    Replayed
        One for each collected night, oldest first.

    Raises
    ------
    OSError
        If the store cannot be read.

    Examples
    --------
    >>> [one.line for one in replay("one_page_checkout", night.parents[2])]
    ['2026-03-03: the same to the digit']
    """
    for as_of in _nights(key, results_folder, since, until):
        found = results.night_folder(results_folder, key, as_of)
        yield _unpublished(as_of) if found is None else _compared(found)[0]


def rewrite(
    key: str,
    results_folder: Path | str,
    *,
    since: dt.date | None = None,
    until: dt.date | None = None,
    reason: str | None = None,
) -> Iterator[Replayed]:
    """Compute published nights again and write their reports anew; nothing is sent.

    A night whose numbers are the same keeps its revision and gets its report again, file by file. One whose numbers
    moved gets another revision, and becomes current when that is whole: killed at any moment, a night is either the old
    one or the new one, and a second run finishes what is left.

    Parameters
    ----------
    key : str
        The experiment.
    results_folder : path
        The folder of all results.
    since, until : date, optional
        The first and the last night; all unless given.
    reason : str, optional
        Why the nights that moved are published anew.

    Yields
    ------
    Replayed
        One for each collected night, oldest first: a report tells of the nights before it.

    Raises
    ------
    OSError
        If the store cannot be read or written.

    Examples
    --------
    >>> import shutil
    >>> store = shutil.copytree(night.parents[2], results_folder / "copy")
    >>> [one.written.name == night.name for one in rewrite("one_page_checkout", store)]
    [True]
    """
    experiment, written = Path(results_folder) / key, False
    for as_of in _nights(key, results_folder, since, until):
        found = results.night_folder(results_folder, key, as_of)
        if found is None:
            yield _unpublished(as_of)
            continue
        compared, documents = _compared(found)
        target = _new_revision(found, documents) if compared.moved else found
        if not compared.problem:
            with publishing.alone(experiment):
                publishing.write_report(target)
                _publish(target, found, reason)
            compared, written = replace(compared, written=target), True
        yield compared
    if written:
        with publishing.alone(experiment):
            publishing.settle(experiment)  # the reports of the nights after these


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Name the places in which two documents differ.

    Parameters
    ----------
    one, other : JSON value
        Numbers are the same when all their digits are.
    where : str
        The place of both in a larger document.

    Yields
    ------
    str
        Such as ``metrics[0].effect``; of a list of another length the list, of a key that only one has the key.

    Examples
    --------
    >>> list(differences({"n": [1, 2], "mean": 0.1}, {"n": [1, 3], "mean": 0.1}))
    ['n[1]']
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            place = f"{where}.{name}" if where else name
            if name in one and name in other:
                yield from differences(one[name], other[name], place)
            else:
                yield place
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{where}[{number}]")
    elif type(one) is not type(other) or one != other:
        yield where


def _nights(key: str, results_folder: Path | str, since: dt.date | None, until: dt.date | None) -> list[dt.date]:
    pointers = (Path(results_folder) / key).glob("????-??-??/*")
    named = {path.parent.name for path in pointers if path.name in (results.COLLECTED, results.CURRENT)}
    days = sorted(map(dt.date.fromisoformat, named))
    return [day for day in days if (since is None or day >= since) and (until is None or day <= until)]


def _unpublished(as_of: dt.date) -> Replayed:
    return Replayed(as_of, problem="was collected, but has no report yet; run the steps after collect")


def _compared(night: Path) -> tuple[Replayed, dict[str, Any]]:
    """The night as computed now beside the published one, and the documents of its steps."""
    as_of = pipeline.as_of(night)
    published = results.read_json(night / "results.json")
    try:
        documents = _documents(night)
    except (ValueError, KeyError, TypeError) as error:
        return Replayed(as_of, problem=f"cannot be computed from what was kept: {error}"), {}
    computed = documents["results"] | {"abtest_version": published["abtest_version"]}
    return Replayed(as_of, tuple(differences(published, computed))), documents


def _documents(night: Path) -> dict[str, Any]:
    """What the steps from ``sample_ratio`` to ``decide`` write, by the name of the file, as JSON would give it back."""
    experiment, day = pipeline.definition(night), pipeline.as_of(night)
    exposure = results.read_json(night / "exposure.json")
    ratio = readings.sample_ratio(experiment, exposure)
    documents: dict[str, Any] = {"sample_ratio": ratio}
    if ratio["healthy"]:
        found = cells.read_cells(night / "moments.parquet")
        kept = pipeline.as_read(night)
        whole = cells.whole_rows(found, kept)
        by_segment = readings.segments(experiment, day, cells.segment_rows(found, experiment))
        documents["significance"] = readings.significance(kept, day, whole)
        documents["segments"] = {
            "segments": by_segment, "heterogeneity": readings.heterogeneity(experiment, day, by_segment)
        }  # fmt: skip
        documents["guardrails"] = readings.guardrails(kept, day, whole)
    read = {name: document for name, document in documents.items() if name != "sample_ratio"}
    document = decision.results_document(experiment, day, night.name, exposure, ratio, read)
    return {**documents, "results": json.loads(json.dumps(document, allow_nan=False))}


def _publish(target: Path, before: Path, reason: str | None) -> None:
    """Make a whole revision the current one, and the collected one where that is the one it came from."""
    if (
        results.night_folder(before.parents[2], before.parents[1].name, pipeline.as_of(before), results.COLLECTED)
        == before
    ):
        results.point(target, results.COLLECTED)
    results.publish(target, reason)


def _new_revision(night: Path, documents: Mapping[str, Any]) -> Path:
    """Lay the night down beside itself, named by what went in and by what came out."""
    came_out = json.dumps({**documents["results"], "revision": ""}, sort_keys=True).encode()
    kept = [(night / name).read_bytes() for name in KEPT]
    target = night.parent / results.revision_name(__version__.encode(), night.parent.name.encode(), *kept, came_out)
    for name, content in zip(KEPT, kept, strict=True):
        results.write_bytes(target / name, content)
    for name, document in documents.items():
        own = document | {"revision": target.name} if name == "results" else document
        results.write_json(target / f"{name}.json", own)
    return target
