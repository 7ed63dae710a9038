"""The verb ``archive``."""

from __future__ import annotations

import argparse

from abtest_lib import definitions
from abtest_lib.commands.verb import Verb, add_experiment


def _archive(options: argparse.Namespace) -> int:
    from abtest_lib.archive import archive

    if options.experiment not in definitions.experiment_keys(options.experiments):
        print(f"{options.experiment}: has no file in {options.experiments}; it is packed without its definition")
    print(archive(options.experiment, options.results, options.experiments))
    return 0


ARCHIVE = Verb(
    "archive",
    "pack all that was published of an experiment",
    "Writes every published revision, who replaced it and why, and the definition to RESULTS/_archives/EXPERIMENT.zip. "
    "Unpacked on any machine, its folder results can be replayed without a warehouse. What was sent to whom is not in "
    "it.",
    "one_page_checkout",
    add_experiment,
    _archive,
)
