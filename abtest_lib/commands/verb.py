"""What a verb of ``abtest`` is made of, and what several verbs share."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from abtest_lib import definitions, results

# 2 is wrong use, by argparse.
FAILED, NOT_READY = 1, 3


@dataclass(frozen=True)
class Verb:
    """One verb of the command line.

    Parameters
    ----------
    name : str
        As typed after ``abtest``.
    short, long : str
        What it does, for ``abtest --help`` and for its own.
    example : str
        Arguments that its help shows.
    add_arguments : callable
        Adds them to a parser; the places are added to every verb.
    run : callable
        Takes what was parsed; returns the exit status. A problem is one of the errors that ``cli.main`` prints.
    """

    name: str
    short: str
    long: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Ask for one experiment."""
    parser.add_argument("experiment", help="the experiment's key: the name of its file without .yaml")


def add_as_of(parser: argparse.ArgumentParser) -> None:
    """Ask for one night."""
    parser.add_argument("--as-of", required=True, type=date, metavar="DATE",
                        help="the night: data before 00:00 UTC of this date, such as 2026-03-03")  # fmt: skip


def add_night(parser: argparse.ArgumentParser) -> None:
    """Ask for one night of one experiment."""
    add_experiment(parser)
    add_as_of(parser)


def add_range(parser: argparse.ArgumentParser) -> None:
    """Ask for a range of nights of one experiment."""
    add_experiment(parser)
    for name, dest, word in (("--from", "since", "first"), ("--to", "until", "last")):
        parser.add_argument(name, dest=dest, type=date, metavar="DATE",
                            help=f"the {word} night; default: the {word} there is")  # fmt: skip


def add_accept(parser: argparse.ArgumentParser) -> None:
    """Let someone take a source as it is."""
    parser.add_argument("--accept-incomplete", action="append", default=[], metavar="SOURCE",
                        help="analyse although this source's last day is not whole; recorded")  # fmt: skip


def add_leave_out(parser: argparse.ArgumentParser) -> None:
    """Let someone do without a late source."""
    parser.add_argument("--leave-out-late", action="append", default=[], metavar="SOURCE",
                        help="leave out secondary metrics of this source if it is late; recorded")  # fmt: skip


def add_reread(parser: argparse.ArgumentParser) -> None:
    """Let someone read rows anew that were changed in place."""
    parser.add_argument("--reread", action="store_true",
                        help="read the experiment's sources anew: rows were changed in place")  # fmt: skip


def add_reason(parser: argparse.ArgumentParser) -> None:
    """Ask why nights are published anew."""
    parser.add_argument("--reason", metavar="TEXT",
                        help="why; kept in published.jsonl of each night that gets another revision")  # fmt: skip


def add_mail_to(parser: argparse.ArgumentParser) -> None:
    """Ask for addresses that are written to by hand."""
    parser.add_argument("--mail-to", action="append", default=[], type=address, metavar="ADDRESS",
                        help="send it by hand to this address alone; may be repeated")  # fmt: skip


def add_places(parser: argparse.ArgumentParser) -> None:
    """Ask where definitions, results and warehouse are."""
    for name, default in (("experiments", "experiments"), ("results", "results"), ("warehouse", None)):
        variable = f"ABTEST_{name.upper()}"
        parser.add_argument(f"--{name}", default=os.environ.get(variable) or default, metavar="PATH",
                            help=f"default: {variable}, else {default or 'none'}")  # fmt: skip


def date(text: str) -> dt.date:
    """A date in an argument."""
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no date; write it as 2026-03-03") from None
    if not 1990 <= date.year < 2200:
        raise argparse.ArgumentTypeError(f"{text} is no night; it must be between 1990 and 2199")
    return date


def address(text: str) -> str:
    """An address in an argument."""
    from abtest_lib.yaml_fields import EMAIL

    if not EMAIL[0].fullmatch(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no e-mail address")
    return text


def open_warehouse(options: argparse.Namespace):
    """Connect to the warehouse that was given."""
    from abtest_lib.warehouse import connect

    if not options.warehouse:
        raise ValueError("no warehouse is given; set ABTEST_WAREHOUSE or --warehouse to the path of a DuckDB file.")
    return connect(options.warehouse)


def find_night(options: argparse.Namespace, pointer: str, first: str) -> Path:
    """The folder of the revision that a pointer names; ``first`` is the verb that would make it."""
    definitions.load_experiment(options.experiments, options.experiment)  # an unknown key gets its own message
    night = results.night_folder(options.results, options.experiment, options.as_of, pointer)
    if night is None:
        raise FileNotFoundError(
            f"{options.experiment}, {options.as_of}: {options.results} holds no such night; run 'abtest {first} "
            f"{options.experiment} --as-of {options.as_of}' first."
        )
    return night


def reread(options: argparse.Namespace, experiment: definitions.Experiment, warehouse) -> None:
    """Forget what is kept of the experiment's sources, if that was asked for."""
    if options.reread:
        from abtest_lib.collection import forget_sources

        forget_sources(experiment, warehouse, options.results)


def print_verdicts(night: Path) -> None:
    """Print the verdicts of a night and where its report is."""
    from abtest_lib import decision

    document = results.read_json(night / "results.json")
    for one in document["verdicts"]:
        print(f"{document['experiment']['key']}, {document['as_of']}: {decision.one_line(one)}")
    print(f"  {night / 'report.html'}")


def print_delivered(recipients: list[str]) -> int:
    """Print who was sent something."""
    print(f"sent to {', '.join(recipients)}" if recipients else "nobody new to send to")
    return 0
