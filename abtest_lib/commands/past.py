"""Verbs about nights that were published: ``preview`` and ``replay``."""

from __future__ import annotations

import argparse
from pathlib import Path

from abtest_lib import definitions
from abtest_lib.commands.verb import (
    FAILED,
    Verb,
    add_accept,
    add_mail_to,
    add_range,
    add_reason,
    add_reread,
    open_warehouse,
    print_delivered,
    reread,
)


def _preview(options: argparse.Namespace) -> int:
    from abtest_lib import by_hand, preview, settings

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    server = settings.smtp_server() if options.mail_to else None
    days = preview.nights(experiment, options.results, options.since, options.until)
    found = []
    with open_warehouse(options) as warehouse:
        reread(options, experiment, warehouse)
        accepted = options.accept_incomplete
        for one in preview.preview(experiment, days, warehouse, options.results, metrics, accepted):
            print("\n".join(f"{experiment.key}, {line}" if line[0] != " " else line for line in one.lines))
            found.append(one)
    path = preview.write(experiment, found, options.results)
    print(f"{experiment.key}: {preview.sentence(found)}\n  {path}")
    if server:
        lines = by_hand.preview_lines(experiment.key, found)
        print_delivered(by_hand.mail_preview(experiment.key, lines, server, options.mail_to, options.results))
    return 0


def _replay(options: argparse.Namespace) -> int:
    from abtest_lib import replay

    if not Path(options.results, options.experiment).is_dir():
        definitions.load_experiment(options.experiments, options.experiment)  # an unknown key gets its own message
        raise FileNotFoundError(f"{options.experiment}: {options.results} holds no night of it; run one first.")
    if options.reason and not options.write:
        raise ValueError("--reason says why nights are published anew; give it together with --write.")
    chosen = {"since": options.since, "until": options.until}
    again = replay.replay(options.experiment, options.results, **chosen)
    if options.write:
        again = replay.rewrite(options.experiment, options.results, **chosen, reason=options.reason)
    status = 0
    for one in again:
        print(f"{options.experiment}, {one.line}")
        status = FAILED if one.problem or (one.moved and not options.write) else status
    return status


def _add_preview(parser: argparse.ArgumentParser) -> None:
    add_range(parser)
    add_accept(parser)
    add_reread(parser)
    add_mail_to(parser)


def _add_replay(parser: argparse.ArgumentParser) -> None:
    add_range(parser)
    parser.add_argument("--write", action="store_true", help="write the reports anew")
    add_reason(parser)


PREVIEW = Verb(
    "preview",
    "which verdicts would a corrected definition change?",
    "Computes each night with today's definition and the data as of that night, and says what would differ from "
    "what is published: verdicts, primary effects, how many other values. Nothing is published and nothing is sent;"
    " the result is also kept in RESULTS/_previews. To publish it: abtest run … --since … --reason …, or a backfill"
    " in Airflow. Exit status 0 whatever it finds.",
    "one_page_checkout --from 2026-02-24",
    _add_preview,
    _preview,
)
REPLAY = Verb(
    "replay",
    "compute past nights again from what they kept",
    "Takes the moments that were collected, not the warehouse, and says of each published night whether it comes "
    "out the same to the digit with this version of abtest, or what moved; exit status 1 if anything did. With "
    "--write the reports are written anew: a night that moved gets a revision beside the published one and becomes "
    "current when that is whole. Nothing is sent.",
    "one_page_checkout --from 2026-02-24",
    _add_replay,
    _replay,
)
