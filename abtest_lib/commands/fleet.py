"""Verbs about the nights of all experiments: ``digest`` and ``late``."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from abtest_lib import results
from abtest_lib.commands.verb import NOT_READY, Verb, add_as_of, open_warehouse, print_delivered


def _digest(options: argparse.Namespace) -> int:
    from abtest_lib import digest

    teams = digest.teams(options.experiments)
    if options.team and options.team not in teams:
        raise ValueError(f"no experiment is of team '{options.team}'; there are: {', '.join(filter(None, teams))}.")
    wanted = [options.team] if options.team else [None] if options.no_team else []
    wanted = wanted or digest.teams(options.experiments, options.as_of)
    if not wanted:
        print(f"{options.as_of}: no experiment is running or was decided in the last days")
    with open_warehouse(options) if options.warehouse else contextlib.nullcontext() as warehouse:
        for team in wanted:
            folder = digest.write(options.experiments, options.results, options.as_of, team=team, warehouse=warehouse)
            quiet = results.read_json(folder / "delivery.json")["quiet"]
            print(f"{team or 'no team'}: {f'quiet: {quiet}' if quiet else 'news'}\n  {folder / 'digest.html'}")
            if options.deliver:
                _deliver_digest(folder, options.experiments)
    return 0


def _deliver_digest(folder: Path, experiments: str) -> None:
    """By each channel that is set up and subscribed to; one that fails keeps the other not back."""
    from abtest_lib import digest_delivery, settings

    problems = []
    for deliver, server in (
        (digest_delivery.deliver_digest_email, settings.smtp_server),
        (digest_delivery.deliver_digest_slack, settings.slack_endpoint),
    ):
        try:
            print_delivered(deliver(folder, server, experiments))
        except (RuntimeError, OSError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise RuntimeError("\n".join(problems))


def _late(options: argparse.Namespace) -> int:
    from abtest_lib import deadlines, settings

    places = {"experiments_folder": options.experiments, "results_folder": options.results}
    with open_warehouse(options) if options.warehouse else contextlib.nullcontext() as warehouse:
        late = deadlines.late_nights(*places.values(), options.as_of, warehouse=warehouse)
    for one in late:
        print(f"{one.key}: {'; '.join(one.reasons)}")
    if not late:
        print(f"{options.as_of}: every night is done")
    if options.deliver and late:
        server = settings.smtp_server() if os.environ.get("ABTEST_SMTP") else None
        slack = settings.slack_endpoint() if os.environ.get("ABTEST_SLACK_TOKEN") else None
        print_delivered(deadlines.tell_late(late, options.as_of, server=server, slack=slack, **places))
    return NOT_READY if late else 0


def _add_digest(parser: argparse.ArgumentParser) -> None:
    add_as_of(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--team", help="only this team; all teams unless given")
    which.add_argument("--no-team", action="store_true", help="only the experiments without a team")
    parser.add_argument("--deliver", action="store_true", help="also send it to those who subscribe to it")


def _add_late(parser: argparse.ArgumentParser) -> None:
    add_as_of(parser)
    parser.add_argument("--deliver", action="store_true", help="also tell owners and the people on call")


DIGEST = Verb(
    "digest",
    "write the digest of each team for a night",
    "One line for each experiment, the most urgent first, to RESULTS/_digest/DATE/TEAM. With --deliver it is sent "
    "to those who subscribe to it, each once; nothing is sent when nothing changed.",
    "--as-of 2026-03-03 --team payments",
    _add_digest,
    _digest,
)
LATE = Verb(
    "late",
    "which nights are not done?",
    "Prints the experiments that have neither a report nor a failure for the night, with the source that each waits"
    " for; exit status 3 if there are any. With --deliver their owners and the people under alerts in sources.yaml "
    "are told, each once a night.",
    "--as-of 2026-03-03",
    _add_late,
    _late,
)
