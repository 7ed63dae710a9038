"""Where every experiment of a team stands on a night, read from the definitions and the store of results.

The digest is a function of the definitions, the store and the night (and of the warehouse, where one is given to say
which source is late). ``report.digest`` words it; here it is collected, compared with what was sent, and written to
``<results>/_digest/<as_of>/<team>/<revision>/``. No key of an experiment begins with ``_``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abtest_lib import failures, results, sign_off
from abtest_lib.definitions import Experiment, load_catalogue, load_experiment
from abtest_lib.errors import DataError, DefinitionError
from abtest_lib.subscriptions import team_by_experiment

FOLDER = "_digest"
LISTED_DAYS = 7  # a decision stays in the digest this long after the last night
_SENT = "sent"
REPORTED, FAILED, HELD, WAITING, BROKEN = "reported", "failed", "held", "waiting", "broken"


@dataclass(frozen=True)
class Standing:
    """One experiment on a night.

    ``document`` is ``results.json`` of its last night up to then, ``last`` that of the report before; ``since`` is the
    night from which the verdicts are the same; ``problems`` are pairs of a step and what was wrong with it. While
    ``unsigned`` says why, nothing of the document may be told.
    """

    key: str
    title: str
    state: str
    night: str
    document: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    since: str | None = None
    decides_on: str | None = None
    problems: tuple[tuple[str, str], ...] = ()
    unsigned: str = ""


@dataclass(frozen=True)
class TeamNight:
    """The experiments of a team (None: those without one) on a night."""

    team: str | None
    as_of: dt.date
    standings: tuple[Standing, ...]


def teams(experiments_folder: Path | str, as_of: dt.date | None = None) -> list[str | None]:
    """Name the teams that have experiments; None stands for the experiments without a team.

    Parameters
    ----------
    experiments_folder : path
        The folder of the definitions.
    as_of : date, optional
        Only the teams that have something in the digest of this night; broken definitions are something.

    Returns
    -------
    list of (str or None)
        Sorted, None last.

    Raises
    ------
    DefinitionError
        If the folder does not exist.

    Examples
    --------
    >>> teams("experiments")
    ['growth', 'payments', 'risk', 'search', 'storefront', 'support']
    >>> teams("experiments", dt.date(2026, 3, 14))
    ['risk', 'search', 'support']
    """
    of = team_by_experiment(experiments_folder)
    found = {team for key, team in of.items() if as_of is None or _is_listed(Path(experiments_folder), key, as_of)}
    return sorted(found, key=lambda team: (team is None, team or ""))


def _is_listed(folder: Path, key: str, as_of: dt.date) -> bool:
    try:
        return _is_of_night(load_experiment(folder, key), as_of)
    except DefinitionError:
        return True


def _is_of_night(experiment: Experiment, as_of: dt.date) -> bool:
    return experiment.starts_on < as_of <= experiment.decides_on + dt.timedelta(days=LISTED_DAYS)


def collect(
    experiments_folder: Path | str,
    results_folder: Path | str,
    as_of: dt.date,
    *,
    team: str | None,
    warehouse: Any = None,
) -> TeamNight:
    """Find out where each experiment of a team stands on a night.

    Parameters
    ----------
    experiments_folder, results_folder : path
        The definitions and the store.
    as_of : date
        The night.
    team : str or None
        None for the experiments without a team.
    warehouse : Warehouse, optional
        Is asked which source is late, for nights that have no result and no failure.

    Returns
    -------
    TeamNight
        Experiments that have not started, or ended more than `LISTED_DAYS` days ago, are left out.

    Raises
    ------
    DefinitionError
        If the folder of the definitions does not exist.

    Examples
    --------
    >>> night = collect("experiments", "results", dt.date(2026, 3, 3), team="payments")
    >>> [(one.key, one.state, one.problems) for one in night.standings]
    [('one_page_checkout', 'waiting', (('', 'no report of this night has been made'),))]
    """
    folder, store = Path(experiments_folder), Path(results_folder)
    keys = [key for key, of in team_by_experiment(folder).items() if of == team]
    if warehouse is not None:
        from abtest_lib.source_watch import AnsweredWarehouse

        # Late experiments wait for the same few sources: each is asked about once.
        opened, warehouse = warehouse, AnsweredWarehouse(lambda: contextlib.nullcontext(opened))
    found = (_standing(folder, store, key, as_of, warehouse) for key in keys)
    return TeamNight(team, as_of, tuple(one for one in found if one))


def _standing(folder: Path, store: Path, key: str, as_of: dt.date, warehouse: Any) -> Standing | None:
    try:
        experiment = load_experiment(folder, key)
    except DefinitionError as error:
        lines = str(error).replace(f"{folder}/", "").splitlines()
        revision = results.night_folder(store, key, as_of)
        document, unread = _document(revision)
        problems = tuple(("definition", line) for line in lines) + unread
        unsigned = _unsigned(revision) if document else ""
        return Standing(key, key, BROKEN, str(as_of), document, problems=problems, unsigned=unsigned)
    if not _is_of_night(experiment, as_of):
        return None
    return _of_night(folder, store, experiment, min(as_of, experiment.decides_on), warehouse)


def _of_night(folder: Path, store: Path, experiment: Experiment, night: dt.date, warehouse: Any) -> Standing:
    revision = results.night_folder(store, experiment.key, night)
    document, unread = _document(revision)
    failed = tuple(failures.read(store, experiment.key, night).items()) + unread
    earlier = _earlier(store, experiment, night)
    last, since = _last_and_since(document, earlier)
    state = FAILED if failed else REPORTED
    if failed and not unread and failures.is_held(store, experiment.key, night):
        state = HELD
    if document is None and not failed:
        state, failed = WAITING, _waiting(folder, store, experiment, night, warehouse)
    return Standing(experiment.key, experiment.title, state, str(night), document, last, since,
                    str(experiment.decides_on), failed, _unsigned(revision) if document else "")  # fmt: skip


def _document(folder: Path | None) -> tuple[dict | None, tuple[tuple[str, str], ...]]:
    if folder is None:
        return None, ()
    try:
        document = results.read_json(folder / "results.json")
        _ = document["as_of"], words(document), harmed(document)
    except (OSError, ValueError, LookupError, TypeError) as error:
        return None, (("results", f"{folder.name}/results.json cannot be read ({failures.error_text(error)})"),)
    return document, ()


def _unsigned(revision: Path) -> str:
    """Why a verdict may not be told; empty if it may."""
    try:
        stands = sign_off.standing(revision)
        if stands == sign_off.REJECTED:
            return f"Not signed: {sign_off.said(revision)}."
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"Whether its verdict is signed cannot be read ({failures.error_text(error)})."
    return "Its verdict is told when it has been signed." if stands == sign_off.AWAITED else ""


def _earlier(store: Path, experiment: Experiment, before: dt.date) -> Iterator[dict]:
    """The published results of the nights before one, latest first, read as they are asked for."""
    for days in range(1, (before - experiment.starts_on).days):
        revision = results.night_folder(store, experiment.key, before - dt.timedelta(days=days))
        document, _ = _document(revision)
        if document and not _unsigned(revision):
            yield document


def _last_and_since(document: dict | None, earlier: Iterator[dict]) -> tuple[dict | None, str | None]:
    """The report before, and the first of the nights on end that had the verdicts of this one."""
    last = next(earlier, None)
    if document is None:
        return last, None
    since, past, verdicts = document["as_of"], last, words(document)
    while past and words(past) == verdicts:
        since = past["as_of"]
        # Of those that still run nobody asks since when, and they are most of the nights to be read.
        past = next(earlier, None) if set(verdicts.values()) != {"keep_running"} else None
    return last, since


def _waiting(
    folder: Path, store: Path, experiment: Experiment, night: dt.date, warehouse: Any
) -> tuple[tuple[str, str], ...]:
    if results.night_folder(store, experiment.key, night, results.COLLECTED):
        return (("", "the night has been collected, but its report is not finished"),)
    if warehouse is None:
        return (("", "no report of this night has been made"),)
    from abtest_lib import pipeline

    try:
        metrics = load_catalogue(folder).metrics.values()
        late = pipeline.outcomes_ready(experiment, night, warehouse, store, metrics)
    except (DataError, OSError) as error:
        return (("", str(error)),)
    if late:
        return tuple(("", f"waits for {one.source}: {one.reason}") for one in late)
    return (("", "all sources are complete, but no report of this night has been made"),)


def words(document: Mapping[str, Any]) -> dict[str, str]:
    """Name the verdict of each treatment.

    Parameters
    ----------
    document : mapping
        ``results.json``.

    Returns
    -------
    dict of str to str
        Verdict by variant.

    Examples
    --------
    >>> words({"verdicts": [{"variant": "treatment", "verdict": "ship"}]})
    {'treatment': 'ship'}
    """
    return {verdict["variant"]: verdict["verdict"] for verdict in document["verdicts"]}


def harmed(document: Mapping[str, Any]) -> list[list[str]]:
    """Name the guardrails that are proved harmful.

    Parameters
    ----------
    document : mapping
        ``results.json``.

    Returns
    -------
    list of list of str
        Metric and variant of each.

    Examples
    --------
    >>> comparison = {"variant": "treatment", "outcome": "harmful"}
    >>> harmed({"guardrails": [{"metric": "latency", "comparisons": [comparison]}]})
    [['latency', 'treatment']]
    """
    return [
        [guardrail["metric"], one["variant"]]
        for guardrail in document["guardrails"]
        for one in guardrail["comparisons"]
        if one.get("outcome") == "harmful"
    ]


def write(
    experiments_folder: Path | str,
    results_folder: Path | str,
    as_of: dt.date,
    *,
    team: str | None,
    warehouse: Any = None,
) -> Path:
    """Write the digest of a team and night in all its forms, and make it the current one.

    Parameters
    ----------
    experiments_folder, results_folder, as_of, team, warehouse
        As for `collect`.

    Returns
    -------
    Path
        The revision's folder. If what was sent for this night says the same, that is the revision; if it says something
        else, the new revision says that it corrects it.

    Raises
    ------
    DefinitionError
        If the folder of the definitions does not exist.
    OSError
        If the store cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = write("experiments", tempfile.mkdtemp(), dt.date(2026, 3, 3), team="payments")
    >>> sorted(path.name for path in folder.iterdir())
    ['delivery.json', 'digest.html', 'digest.json', 'digest.md', 'digest.txt', 'slack.json']
    """
    from abtest_lib.report import digest as wording

    night = collect(experiments_folder, results_folder, as_of, team=team, warehouse=warehouse)
    place = Path(results_folder) / FOLDER / as_of.isoformat() / slug(team)
    said = wording.view(night)
    fingerprint = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    sent = _last_sent(place)
    before = results.read_json(sent / "digest.json") if sent else None
    if before and before["fingerprint"] == fingerprint:
        return results.point(sent, results.CURRENT)
    said["corrected"] = wording.correction(before, said) if before else ""
    # The last line differs in every message, or mail programs fold it away as quoted.
    said["origin"] += f", version {fingerprint[:8]}"
    kept = _marks(night, said)
    earlier = _sent_before(Path(results_folder), as_of, team)
    quiet = "" if before else _quiet(kept, earlier and earlier["marks"])
    corrects = sent.name if sent else None
    folder = place / results.revision_name(fingerprint.encode(), str(corrects).encode())
    document = {
        **said,
        "of_team": team,
        "quiet": quiet,
        "marks": kept,
        "fingerprint": fingerprint,
        "corrects": corrects,
    }
    _write_files(folder, document, wording.render(said))
    return results.point(folder, results.CURRENT)


def _write_files(folder: Path, document: dict, rendered: Any) -> None:
    results.write_json(folder / "digest.json", document)
    for name, text in (("html", rendered.html), ("txt", rendered.text), ("md", rendered.markdown)):
        results.write_bytes(folder / f"digest.{name}", text.encode())
    results.write_json(folder / "slack.json", rendered.slack)
    # One thread a night: what corrects a digest stands below it, and every night begins with a line of its own.
    delivery = {name: document[name] for name in ("subject", "preheader", "quiet", "corrects")}
    results.write_json(folder / "delivery.json", {**delivery, "thread": document["as_of"], "images": []})


def _marks(night: TeamNight, said: Mapping[str, Any]) -> dict[str, Any]:
    """What makes news when it differs: verdicts, and guardrails proved harmful; None where there is trouble."""
    troubled = {row["key"] for section in said["sections"] for row in section["rows"] if row["trouble"]}
    return {
        one.key: _mark(one) if one.state == REPORTED and one.key not in troubled else None for one in night.standings
    }


def _mark(standing: Standing) -> dict[str, Any]:
    if standing.unsigned:
        return {"unsigned": standing.unsigned}
    return {"verdicts": words(standing.document), "harmed": harmed(standing.document)}


def _quiet(marks: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """Why there is nothing to send; empty if there is. A night without its result is news on every night."""
    if not marks:
        return "no experiment of the team is running or was decided in the last days"
    if None in marks.values() or before is None or any(before.get(key) != mark for key, mark in marks.items()):
        return ""
    return "every night has its result, and no verdict has changed since the last digest"


def mark_sent(folder: Path) -> None:
    """Remember that somebody was sent this digest.

    Parameters
    ----------
    folder : Path
        The revision's folder.

    Raises
    ------
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> mark_sent(Path(tempfile.mkdtemp()))
    """
    results.write_bytes(folder / _SENT, b"")


def _last_sent(place: Path) -> Path | None:
    """Of one night, the revision that was sent and that no other sent one corrects."""
    sent = sorted(path.parent for path in place.glob(f"*/{_SENT}"))
    corrected = {results.read_json(folder / "digest.json")["corrects"] for folder in sent}
    return next((folder for folder in sent if folder.name not in corrected), None)


def _sent_before(store: Path, as_of: dt.date, team: str | None) -> dict | None:
    """The last digest of the team that was sent for an earlier night."""
    nights = sorted((store / FOLDER).glob(f"????-??-??/{slug(team)}"), reverse=True)
    for place in nights:
        if place.parent.name < as_of.isoformat() and (sent := _last_sent(place)):
            return results.read_json(sent / "digest.json")
    return None


def slug(team: str | None) -> str:
    """Write a team's name as the name of a folder.

    Parameters
    ----------
    team : str or None
        None for the experiments without a team.

    Returns
    -------
    str
        Different for different teams; a plain name stays as it is.

    Examples
    --------
    >>> slug("search"), slug("R&D / Zürich"), slug(None)
    ('search', 'r-d-z-rich-a39c5232', '_no_team')
    """
    if team is None:
        return "_no_team"
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", team) and team not in (failures.FOLDER, "outbox"):
        return team
    plain = re.sub(r"[^a-z0-9]+", "-", team.lower()).strip("-")[:40]
    return f"{plain}-{hashlib.sha256(team.encode()).hexdigest()[:8]}".strip("-")
