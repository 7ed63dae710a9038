"""What nights would say today: computed with today's definition and data, compared with what is published.

Nothing is published: each night is laid down in a folder of its own that goes when it has been compared, and no pointer
moves. What nights keep of the sources (``abtest_lib.state``) is used and added to, so the nights that are run
afterwards read nothing again and come out the same to the digit.
"""

from __future__ import annotations

import datetime as dt
import math
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abtest_lib import pipeline, results
from abtest_lib.definitions import Experiment, Metric
from abtest_lib.errors import DataError
from abtest_lib.failures import error_text
from abtest_lib.replay import differences
from abtest_lib.warehouse import Warehouse

FOLDER = "_previews"  # below the results; no experiment's key begins with an underscore
DAY = dt.timedelta(days=1)
# What names a document and its definition, and is no finding.
_NAMES = ("revision", "abtest_version", "experiment")


@dataclass(frozen=True)
class PreviewedNight:
    """A night as it is published and as it would be.

    Parameters
    ----------
    as_of : date
        The night.
    published, previewed : str or None
        Revisions; None when there is none, or it cannot be computed.
    problem : str or None
        Why it cannot be computed.
    verdicts : int
        Published verdicts that were compared.
    changes : tuple of dict
        ``variant``, ``before`` and ``after`` where the verdict would be another; None where there is none.
    moved : int
        Places of ``results.json`` that would have another value.
    primary : tuple of dict
        ``variant``, ``metric``, ``before`` and ``after``: relative effect and the ends of its interval, fractions.
    document : dict or None
        ``results.json`` as it would be.
    """

    as_of: dt.date
    published: str | None = None
    previewed: str | None = None
    problem: str | None = None
    verdicts: int = 0
    changes: tuple[dict, ...] = ()
    moved: int = 0
    primary: tuple[dict, ...] = ()
    document: dict | None = field(default=None, repr=False)

    @property
    def lines(self) -> list[str]:
        """What would change, for people."""
        changes = [f"  {one['variant']}: {_word(one['before'])} -> {_word(one['after'])}" for one in self.changes]
        primary = [f"  {one['variant']}, {one['metric']}: {_effect(one['before'])} -> {_effect(one['after'])}"
                   for one in self.primary if one["before"] != one["after"]]  # fmt: skip
        return [f"{self.as_of}: {self._head}", *changes, *primary]

    @property
    def _head(self) -> str:
        if self.problem:
            return f"cannot be computed: {self.problem}"
        if self.published is None:
            return "would be new"
        if self.moved:
            return f"{self.moved} {'value' if self.moved == 1 else 'values'} would change"
        return "same" if self.published == self.previewed else "same, as another revision"


def nights(
    experiment: Experiment, results_folder: Path | str, since: dt.date | None = None, until: dt.date | None = None
) -> list[dt.date]:
    """Which nights does a preview compute?

    Parameters
    ----------
    experiment : Experiment
        Its dates say which nights it has.
    results_folder : path
        The folder of all results.
    since, until : date, optional
        The first and the last night; unless given, the first and the newest published one.

    Returns
    -------
    list of date
        All nights of the range, published or not, and those published ones that are no nights by today's definition.

    Raises
    ------
    ValueError
        If the range holds no night.
    FileNotFoundError
        If nothing is published and the range is not given.

    Examples
    --------
    >>> nights(experiment, night.parents[2])
    [datetime.date(2026, 3, 3)]
    """
    published = results.published_nights(results_folder, experiment.key)
    if not published and (since is None or until is None):
        raise FileNotFoundError(
            f"{experiment.key}: {results_folder} holds no published night of it; give --from and --to."
        )
    first, last = since or published[0], until or published[-1]
    own = [first + DAY * number for number in range((last - first).days + 1)]
    found = [day for day in own if day in published or is_night(experiment, day)]
    if not found:
        raise ValueError(f"{experiment.key}: no night from {first} to {last}; {its_nights(experiment)}.")
    return found


def is_night(experiment: Experiment, as_of: dt.date) -> bool:
    """Whether an experiment has a report as of a date: from the day after its first to the day that decides.

    Parameters
    ----------
    experiment : Experiment
        Gives the dates.
    as_of : date
        The night.

    Returns
    -------
    bool
        The nights that Airflow runs by itself.

    Examples
    --------
    >>> [is_night(experiment, day) for day in (experiment.starts_on, experiment.decides_on)]
    [False, True]
    """
    return experiment.starts_on < as_of <= experiment.decides_on


def its_nights(experiment: Experiment) -> str:
    """Say which nights an experiment has.

    Parameters
    ----------
    experiment : Experiment
        Gives the dates.

    Returns
    -------
    str
        For a message.

    Examples
    --------
    >>> its_nights(experiment)
    'its nights are 2026-02-03 to 2026-03-03'
    """
    return f"its nights are {experiment.starts_on + DAY} to {experiment.decides_on}"


def preview(
    experiment: Experiment,
    days: Iterable[dt.date],
    warehouse: Warehouse,
    results_folder: Path | str,
    catalogue: Iterable[Metric] = (),
    accepted: Collection[str] = (),
) -> Iterator[PreviewedNight]:
    """Compute nights with today's definition and the data as of each, and compare them with what is published.

    Parameters
    ----------
    experiment : Experiment
        As it is defined today.
    days : iterable of date
        The nights.
    warehouse : Warehouse
        Open for reading.
    results_folder : path
        Holds what is published. Only the state of the sources is added to.
    catalogue, accepted
        As for ``pipeline.collect``.

    Yields
    ------
    PreviewedNight
        One for each night, in their order; one that cannot be computed stops no other.

    Raises
    ------
    ValueError
        If an accepted source is none of the experiment's.
    OSError
        If the warehouse or the store cannot be read.

    Examples
    --------
    >>> for one in preview(experiment, [dt.date(2026, 3, 3)], warehouse, night.parents[2]):
    ...     print(*one.lines)
    2026-03-03: same
    """
    pipeline.blocking(experiment, (), accepted)  # a wrong name is the caller's slip, and not one of each night
    metrics = list(catalogue)
    for as_of in days:
        found = results.night_folder(results_folder, experiment.key, as_of)
        published = found and found.name
        if not is_night(experiment, as_of):
            problem = f"it is no night by today's definition ({its_nights(experiment)}); what is published stays"
            yield PreviewedNight(as_of, published, problem=problem)
            continue
        try:
            before = found and _published(found)
            after = _computed(experiment, as_of, warehouse, results_folder, metrics, accepted)
            compared = _compared(as_of, before, after)
        except (DataError, ValueError, KeyError, TypeError) as error:
            problem = error_text(error).replace(f"{experiment.key}, {as_of}: ", "")
            compared = PreviewedNight(as_of, published, problem=problem)
        yield compared


def _published(night: Path) -> dict[str, Any]:
    try:
        document = results.read_json(night / "results.json")
        _verdicts(document)
        _effects(document)
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise DataError(
            f"what is published cannot be compared: {night / 'results.json'}: {error_text(error)}. Run the night again."
        ) from None
    return document


def _computed(
    experiment: Experiment,
    as_of: dt.date,
    warehouse: Warehouse,
    results_folder: Path | str,
    catalogue: Iterable[Metric],
    accepted: Collection[str],
) -> dict[str, Any]:
    """``results.json`` of a night, by the same steps as every night."""
    with tempfile.TemporaryDirectory(prefix="abtest_preview_") as aside:
        night, _ = pipeline.collect_into(Path(aside), experiment, as_of, warehouse, results_folder, catalogue, accepted)
        return results.read_json(pipeline.analyse(night))


def _compared(as_of: dt.date, before: Mapping[str, Any] | None, after: dict[str, Any]) -> PreviewedNight:
    words, new_words = _verdicts(before), _verdicts(after)
    effects, new_effects = _effects(before), _effects(after)
    changes = [
        {"variant": variant, "before": words.get(variant), "after": new_words.get(variant)}
        for variant in {**words, **new_words}
        if words.get(variant) != new_words.get(variant)
    ]
    primary = [
        {"variant": variant, "metric": metric, "before": effects.get(place), "after": new_effects.get(place)}
        for place in {**effects, **new_effects}
        for variant, metric in [place]
    ]
    return PreviewedNight(
        as_of,
        before and before["revision"],
        after["revision"],
        verdicts=len(words),
        changes=tuple(changes),
        moved=len(list(differences(_findings(before), _findings(after)))) if before else 0,
        primary=tuple(primary),
        document=after,
    )


def _findings(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _NAMES}


def _verdicts(document: Mapping[str, Any] | None) -> dict[str, str]:
    return {one["variant"]: one["verdict"] for one in document["verdicts"]} if document is not None else {}


def _effects(document: Mapping[str, Any] | None) -> dict[tuple[str, str], list[float | None] | None]:
    rows = [row for row in document["metrics"] if row["role"] == "primary"] if document is not None else []
    return {(one["variant"], row["metric"]): _relative(one) for row in rows for one in row["comparisons"]}


def _relative(comparison: Mapping[str, Any]) -> list[float | None] | None:
    """Relative effect and the ends of its interval; an end that is open is None."""
    effect, interval = comparison.get("relative_effect"), comparison.get("relative_interval")
    if not isinstance(effect, float):
        return None
    ends = interval if isinstance(interval, list) else (None, None)
    return [effect, *(end if isinstance(end, float) and math.isfinite(end) else None for end in ends)]


def sentence(found: Sequence[PreviewedNight]) -> str:
    """How many verdicts would change, in one sentence.

    Parameters
    ----------
    found : sequence of PreviewedNight
        All nights of the preview.

    Returns
    -------
    str
        Without a full stop.

    Examples
    --------
    >>> ship = {"variant": "treatment", "before": "ship", "after": "keep_running"}
    >>> new = PreviewedNight(dt.date(2026, 3, 5), previewed="77b0")
    >>> one = PreviewedNight(dt.date(2026, 3, 4), "3f2a", "9c01", verdicts=2, changes=(ship,))
    >>> sentence([one, new])
    '1 of 2 verdicts would change; 1 night would be new'
    """
    computed = [one for one in found if not one.problem]
    changed = sum(len(one.changes) for one in computed if one.published)
    verdicts = sum(one.verdicts for one in computed)
    parts = [f"{changed} of {verdicts} {'verdict' if verdicts == 1 else 'verdicts'} would change"]
    if new := sum(one.published is None for one in computed):
        parts.append(f"{new} {'night' if new == 1 else 'nights'} would be new")
    if failed := len(found) - len(computed):
        parts.append(f"{failed} {'night' if failed == 1 else 'nights'} cannot be computed")
    return "; ".join(parts)


def write(experiment: Experiment, found: Sequence[PreviewedNight], results_folder: Path | str) -> Path:
    """Keep a preview where the pages in Airflow find it, instead of the experiment's last one.

    Parameters
    ----------
    experiment : Experiment
        As it was previewed.
    found : sequence of PreviewedNight
        All nights, oldest first; at least one.
    results_folder : path
        The folder of all results.

    Returns
    -------
    Path
        ``<results>/_previews/<key>.json``.

    Raises
    ------
    OSError
        If the store cannot be written.

    Examples
    --------
    >>> write(experiment, [PreviewedNight(dt.date(2026, 3, 3), "3f2a", "3f2a")], results_folder).name
    'one_page_checkout.json'
    """
    document = {
        "key": experiment.key,
        "definition_hash": experiment.sha256,
        "from": str(found[0].as_of),
        "to": str(found[-1].as_of),
        "nights": [
            {
                "as_of": str(one.as_of),
                "published": one.published,
                "previewed": one.previewed,
                "problem": one.problem,
                "changes": list(one.changes),
                "moved": one.moved,
                "primary": list(one.primary),
            }
            for one in found
        ],
    }
    return results.write_json(Path(results_folder) / FOLDER / f"{experiment.key}.json", document)


def _word(verdict: str | None) -> str:
    return verdict or "none"


def _effect(estimate: Sequence[float | None] | None) -> str:
    from abtest_lib.report.numbers import relative_change

    if estimate is None:
        return "none"
    effect, interval = relative_change(estimate[0], list(estimate[1:]))
    return f"{effect} ({interval})" if any(end is not None for end in estimate[1:]) else effect
