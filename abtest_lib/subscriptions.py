"""Who gets what: ``subscriptions.yaml``, beside ``notify`` of each experiment.

Only YAML and the standard library are imported. A wrong entry is left out with a warning when something is delivered,
so that one slip in a file that all teams share keeps nobody's report back; ``abtest validate`` and the task
``subscriptions`` of the digest's DAG report it as an error.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from abtest_lib.definitions import SUBSCRIPTIONS_FILE, Experiment, experiment_keys
from abtest_lib.errors import DefinitionError
from abtest_lib.yaml_fields import Fields, loader_for, read_list

log = logging.getLogger(__name__)

NIGHTS, VERDICT_CHANGES, GUARDRAIL_ALARMS, DIGEST = KINDS = ("nights", "verdict_changes", "guardrail_alarms", "digest")
_TEAM = re.compile(r"team[ \t]*:[ \t]*(.+)")


@dataclass(frozen=True)
class Addresses:
    """Where one message goes: e-mail addresses and Slack channels, each once."""

    email: tuple[str, ...] = ()
    slack: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subscription:
    """One entry of the file: who, of what (``everything``, or ``teams`` and ``experiments``), and what is sent."""

    email: tuple[str, ...]
    slack: tuple[str, ...]
    everything: bool
    teams: tuple[str, ...]
    experiments: tuple[str, ...]
    send: tuple[str, ...]

    def is_about(self, key: str, team: str | None) -> bool:
        """Whether an experiment is among those subscribed to."""
        return self.everything or key in self.experiments or (team is not None and team in self.teams)


def load_subscriptions(folder: Path | str) -> tuple[Subscription, ...]:
    """Read ``subscriptions.yaml`` and check it against the experiments of the folder.

    Parameters
    ----------
    folder : path
        The folder of the definitions.

    Returns
    -------
    tuple of Subscription
        As written; empty when there is no such file.

    Raises
    ------
    DefinitionError
        With every problem, ``file:line: …`` a line; names of teams and experiments that do not exist are problems.

    Examples
    --------
    >>> [entry.send for entry in load_subscriptions("experiments")][0]
    ('digest',)
    """
    keys = experiment_keys(folder)
    teams = {team: None for team in team_by_experiment(folder).values() if team}
    found, problems = _read(Path(folder), keys, teams)
    if problems:
        raise DefinitionError("\n".join(problems))
    return found


def recipients(experiment: Experiment, delivery: Mapping, experiments_folder: Path | str) -> Addresses:
    """Who gets tonight's report of an experiment?

    Parameters
    ----------
    experiment : Experiment
        As collected: its key, its team, and whom it notifies itself.
    delivery : mapping
        ``delivery.json`` of the night: ``verdict_changed`` and ``guardrail_alarm``.
    experiments_folder : path
        Today's subscriptions count, also for a night of the past.

    Returns
    -------
    Addresses
        First ``notify`` of the experiment, then the subscriptions in the order of the file.

    Raises
    ------
    DefinitionError
        If the folder does not exist.

    Examples
    --------
    >>> from abtest_lib.definitions import load_experiment
    >>> checkout = load_experiment("experiments", "one_page_checkout")
    >>> recipients(checkout, {"verdict_changed": False, "guardrail_alarm": False}, "experiments").email
    ('payments@example.com',)
    >>> recipients(checkout, {"verdict_changed": True, "guardrail_alarm": False}, "experiments").email
    ('payments@example.com', 'product-leads@example.com')
    """
    occasions = {NIGHTS: True, VERDICT_CHANGES: delivery["verdict_changed"],
                 GUARDRAIL_ALARMS: delivery["guardrail_alarm"]}  # fmt: skip
    sent = {kind for kind, now in occasions.items() if now}
    told = [entry for entry in _readable(experiments_folder) if entry.is_about(experiment.key, experiment.team)]
    own = experiment.notify
    return _addresses(own.email, [own.slack] if own.slack else [], (e for e in told if sent & set(e.send)))


def digest_recipients(experiments_folder: Path | str, team: str | None) -> Addresses:
    """Who gets the digest of a team?

    Parameters
    ----------
    experiments_folder : path
        The folder of the definitions.
    team : str or None
        None is the digest of the experiments without a team; it goes to those who subscribed to all.

    Returns
    -------
    Addresses
        In the order of the file.

    Raises
    ------
    DefinitionError
        If the folder does not exist.

    Examples
    --------
    >>> digest_recipients("experiments", "search").slack
    ('#search-experiments',)
    """
    told = (e for e in _readable(experiments_folder) if DIGEST in e.send and (e.everything or team in e.teams))
    return _addresses((), (), told)


def team_by_experiment(folder: Path | str) -> dict[str, str | None]:
    """To which team does each experiment belong? Also of a file that is no valid definition, as far as it tells.

    Parameters
    ----------
    folder : path
        The folder of the definitions.

    Returns
    -------
    dict of str to (str or None)
        Team by experiment, in the order of the keys.

    Raises
    ------
    DefinitionError
        If the folder does not exist.

    Examples
    --------
    >>> team_by_experiment("experiments")["one_page_checkout"]
    'payments'
    """
    return {key: _team(Path(folder), key) for key in experiment_keys(folder)}


def _team(folder: Path, key: str) -> str | None:
    path = folder / f"{key}.yaml"
    try:
        text = (path if path.exists() else folder / f"{key}.yml").read_bytes()[:1_000_000].decode("utf-8", "replace")
        found = yaml.load(text, loader_for(text))  # noqa: S506 (both are safe loaders)
        team = found.get("team") if isinstance(found, Mapping) else None
    except OSError:
        return None
    except (yaml.YAMLError, RecursionError, ValueError):
        line = re.search(rf"^{_TEAM.pattern}", text, flags=re.MULTILINE)
        team = line and line[1].partition(" #")[0].strip(" \t\"'")
    return team if isinstance(team, str) and team.strip() else None


def _readable(folder: Path | str) -> tuple[Subscription, ...]:
    """The entries without problems; names that do not exist (an experiment that was deleted) are none here."""
    found, problems = _read(Path(folder), None, None)
    for problem in problems:
        log.warning("%s The entry is left out.", problem)
    return found


def _read(
    folder: Path, keys: Iterable[str] | None, teams: Iterable[str] | None
) -> tuple[tuple[Subscription, ...], list[str]]:
    path, problems, entries = folder / SUBSCRIPTIONS_FILE, [], []
    if not path.exists():
        return (), []
    seen: dict[tuple, int] = {}
    for found in read_list(path, problems):
        before = len(problems)
        entry = _subscription(found, keys, teams)
        found.close()
        _check_once(entry, found, seen)
        if len(problems) == before:
            entries.append(entry)
    return tuple(entries), problems


def _subscription(found: Fields, keys: Iterable[str] | None, teams: Iterable[str] | None) -> Subscription:
    email, slack = found.emails("email"), found.channels("slack")
    if "email" not in found and "slack" not in found:
        found.problem("email", "and slack are missing; name at least one address or channel")
    scope = found.word_or_mapping("for", "all")
    named: dict[str, tuple[str, ...]] = {"teams": (), "experiments": ()}
    if isinstance(scope, Fields):
        named["teams"] = scope.names("teams", teams, "the team of an experiment")
        named["experiments"] = scope.names("experiments", keys, "an experiment")
        if "teams" not in scope and "experiments" not in scope:
            found.problem("for", "names neither teams nor experiments")
    send = found.choices("send", KINDS)
    if DIGEST in send and isinstance(scope, Fields) and "teams" not in scope:
        found.problem("send", "holds digest, but a digest is of a team; name teams, or write for: all")
    return Subscription(email, slack, scope == "all", named["teams"], named["experiments"], send)


def _check_once(entry: Subscription, found: Fields, seen: dict[tuple, int]) -> None:
    """Report what stands twice: the same message to the same recipient, here or in an earlier entry."""
    for key in ("email", "slack", "send"):
        found.check_once(key, getattr(entry, key))
    for key in ("teams", "experiments"):
        found.check_once(f"for.{key}", getattr(entry, key))
    for who, what, kind in dict.fromkeys(_messages(entry)):
        first = seen.setdefault((who.casefold(), what, kind), found.line)
        if first != found.line:
            found.problem("send", f"gives {who} the {kind} of {what} a second time; the first is in line {first}")


def _messages(entry: Subscription) -> Iterator[tuple[str, str, str]]:
    about = ["all experiments"] if entry.everything else []
    about += [f"team {team}" for team in entry.teams] + [f"experiment {key}" for key in entry.experiments]
    for who in (*entry.email, *entry.slack):
        for what in about:
            for kind in entry.send:
                yield who, what, kind


def _addresses(email: Iterable[str], slack: Iterable[str], entries: Iterable[Subscription]) -> Addresses:
    emails, channels = list(email), list(slack)
    for entry in entries:
        emails += entry.email
        channels += entry.slack
    # Mailboxes differ in their letters' case nowhere that matters: one person, one mail.
    once = {address.casefold(): address for address in reversed(emails)}
    return Addresses(tuple(dict.fromkeys(once[a.casefold()] for a in emails)), tuple(dict.fromkeys(channels)))
