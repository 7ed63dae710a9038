"""Which nights are not done by their hour, and who is told of it: each person once a night, however many are late."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abtest_lib import digest, nights, results
from abtest_lib.definitions import Recipients, load_catalogue, load_experiment
from abtest_lib.delivery import tell
from abtest_lib.errors import DefinitionError
from abtest_lib.mail import SmtpServer
from abtest_lib.outbox import receipts
from abtest_lib.report.text import clean_name, plural
from abtest_lib.slack_posts import SlackEndpoint

FOLDER = "_deadlines"


@dataclass(frozen=True)
class LateNight:
    """An experiment whose night has neither a report nor a failure, and why, as far as is known."""

    key: str
    title: str
    owner: str
    reasons: tuple[str, ...]


def late_nights(
    experiments_folder: Path | str, results_folder: Path | str, as_of: dt.date, *, warehouse: Any = None
) -> list[LateNight]:
    """Which experiments have no report of a night yet?

    Parameters
    ----------
    experiments_folder, results_folder : path
        The definitions and the store.
    as_of : date
        The night.
    warehouse : Warehouse, optional
        Is asked which source is late.

    Returns
    -------
    list of LateNight
        Not those that failed or are held, of which their owners have been told, and not broken definitions.

    Raises
    ------
    DefinitionError
        If the folder of the definitions does not exist.

    Examples
    --------
    >>> import tempfile
    >>> [night.key for night in late_nights("experiments", tempfile.mkdtemp(), dt.date(2026, 3, 20))]
    ['fraud_model_v3', 'query_suggestions']
    """
    found = []
    for team in digest.teams(experiments_folder, as_of):
        night = digest.collect(experiments_folder, results_folder, as_of, team=team, warehouse=warehouse)
        for one in night.standings:
            if one.state == digest.WAITING and one.night == str(as_of):
                owner = load_experiment(experiments_folder, one.key).owner
                reasons = _reasons(Path(results_folder), one, as_of)
                found.append(LateNight(one.key, one.title, owner, reasons))
    return sorted(found, key=lambda one: one.key)


def _reasons(store: Path, standing: digest.Standing, as_of: dt.date) -> tuple[str, ...]:
    if nights.has_ended(store, standing.key, as_of):
        return ("its run has ended without a report and without a reason; look at its tasks",)
    return _wait(store, standing.key, as_of) or tuple(text for _, text in standing.problems)


def _wait(store: Path, key: str, as_of: dt.date) -> tuple[str, ...]:
    """What the task that waits says of itself; nothing while none waits."""
    try:
        wait = results.read_json(store / key / as_of.isoformat() / "waiting.json")
        since, until = (dt.datetime.fromisoformat(wait[name]).astimezone(dt.UTC) for name in ("since", "until"))
        sources = "; ".join(f"{one['source']}: {one['reason']}" for one in wait["sources"])
    except (OSError, ValueError, LookupError, TypeError):
        return ()
    return (f"waits since {since:%Y-%m-%d %H:%M} UTC, at the latest until {until:%Y-%m-%d %H:%M} UTC, for {sources}",)


def tell_late(
    late: Sequence[LateNight],
    as_of: dt.date | str,
    *,
    experiments_folder: Path | str,
    results_folder: Path | str,
    server: SmtpServer | None,
    slack: SlackEndpoint | None,
    link: Callable[[str], str | None] | None = None,
) -> list[str]:
    """Tell owners of their late nights, and whoever is under ``alerts`` in sources.yaml of all of them.

    Parameters
    ----------
    late : sequence of LateNight
        Of ``late_nights``.
    as_of : date or str
        The night.
    experiments_folder, results_folder : path
        Who is told stands in the definitions; what was sent is kept with the night.
    server, slack : SmtpServer, SlackEndpoint or None
        None when it is not set up.
    link : callable, optional
        Gives the page of an experiment.

    Returns
    -------
    list of str
        Who was told now: nobody is told twice of a night, whatever has changed since.

    Raises
    ------
    RuntimeError
        If nobody can be told, or a message was refused; the others get theirs.

    Examples
    --------
    >>> night = LateNight("checkout", "Checkout", "ana@example.com", ("waits for purchases: not loaded",))
    >>> tell_late([night], "2026-03-03", experiments_folder=experiments_folder, results_folder=results_folder,
    ...           server=SmtpServer(mail.host, mail.port, security="none"), slack=None)
    ['ana@example.com', 'data-oncall@example.com']
    """
    if not late:
        return []
    try:
        alerts = load_catalogue(experiments_folder).alerts
    except DefinitionError:
        alerts = Recipients()
    letters = _letters(late, alerts)
    if not (server and letters) and not (slack and alerts.slack):
        raise RuntimeError(
            f"{as_of}: nobody can be told which nights are late; set up the connection abtest_smtp or abtest_slack, "
            "and name people under alerts in sources.yaml."
        )
    place = Path(results_folder) / FOLDER / str(as_of)
    told, problems = [], []
    for recipient, of in letters.items():
        channel = alerts.slack if recipient == alerts.slack else None
        if receipts(place, channel="alert-slack" if channel else "alert-email", recipient=recipient):
            continue
        subject, text = _words(of, str(as_of), link)
        try:
            told += tell(place, subject, text, [] if channel else [recipient], channel, server, slack)
        except RuntimeError as error:
            problems.append(str(error))
    if problems:
        raise RuntimeError("\n".join(problems))
    return told


def _letters(late: Sequence[LateNight], alerts: Recipients) -> Mapping[str, Sequence[LateNight]]:
    """By address or channel, of which nights it is told."""
    found: dict[str, Sequence[LateNight]] = {}
    for owner in dict.fromkeys(night.owner for night in late):
        found[owner] = [night for night in late if night.owner == owner]
    return found | dict.fromkeys([*alerts.email, *([alerts.slack] if alerts.slack else [])], late)


def _words(late: Sequence[LateNight], as_of: str, link: Callable[[str], str | None] | None = None) -> tuple[str, str]:
    names = plural(len(late), "experiment")
    lines = []
    for one in late:
        page = link(one.key) if link else None
        lines.append(f"{clean_name(one.title)} ({one.key}): {'; '.join(one.reasons)}." + (f"\n{page}" if page else ""))
    return f"LATE: {names} without a report, night as of {as_of}", (
        f"The night as of {as_of} is not done:\n\n" + "\n\n".join(lines) + "\n\n"
        "Nobody needs to do anything if the reason goes away: a night that waits goes on by itself when its source is "
        "loaded. Otherwise load the source, or look at the experiment's DAG (abtest__KEY) in Airflow: is it paused, is "
        "a task queued or running for hours? This is said once.\n\n"
        f"What is late now: abtest late --as-of {as_of}\n"
    )
