"""The command line ``abtest``: every task of the night is a verb, run by the same code as in Airflow."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence

from abtest_lib import __version__
from abtest_lib.commands import VERBS
from abtest_lib.commands.verb import FAILED, Verb, add_places
from abtest_lib.errors import DataError, DefinitionError

DESCRIPTION = """\
Nightly analysis of A/B experiments. A night is named by the date --as-of: it reads data before 00:00 UTC of that
date, so the last day of data is the day before.

A whole night by hand:            abtest run one_page_checkout --as-of 2026-03-03
The same, one step at a time:     abtest collect … ; abtest sample_ratio … ; abtest significance … ; abtest segments … ;
                                  abtest guardrails … ; abtest decide … ; abtest report …
Then, if people are to get it:    abtest deliver_email … ; abtest deliver_slack …
The digest of every team:         abtest digest --as-of 2026-03-03 --deliver
What would past nights say now?   abtest preview one_page_checkout
Past nights, without a warehouse: abtest replay one_page_checkout
"""
EPILOG = """\
environment:
  ABTEST_EXPERIMENTS   folder of the definitions          (or --experiments; default: experiments)
  ABTEST_RESULTS       folder of all results              (or --results; default: results)
  ABTEST_WAREHOUSE     path of the DuckDB file            (or --warehouse)
  ABTEST_SMTP          smtp://USER:PASSWORD@HOST:PORT?security=starttls&sender=ADDRESS
  ABTEST_SLACK_TOKEN   token of a Slack app (chat:write, files:write)

exit status: 0 done; 1 a definition, the warehouse or a delivery failed; 2 wrong use; 3 the data is not complete yet
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Parameters
    ----------
    arguments : sequence of str, optional
        The process's own by default.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SystemExit
        On wrong use, and for ``--help`` and ``--version``.

    Examples
    --------
    >>> main(["validate", "one_page_checkout", "--experiments", "experiments"])
    one_page_checkout: valid; decides on 2026-03-03
    0
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (DefinitionError, DataError, OSError, RuntimeError, ValueError) as error:
        print(f"abtest: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("abtest", description=DESCRIPTION, epilog=EPILOG, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"abtest {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        own = verbs.add_parser(verb.name, help=verb.short, description=_described(verb), epilog=EPILOG,
                               formatter_class=form)  # fmt: skip
        own.set_defaults(run=verb.run)
        verb.add_arguments(own)
        add_places(own)
    return parser


def _described(verb: Verb) -> str:
    return f"{textwrap.fill(verb.long, 110)}\n\nexample: abtest {verb.name} {verb.example}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
