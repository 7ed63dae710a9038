"""The verb ``plan``."""

from __future__ import annotations

import argparse
from pathlib import Path

from abtest_lib import definitions, results
from abtest_lib.commands.verb import Verb, add_night, open_warehouse


def _plan(options: argparse.Namespace) -> int:
    from abtest_lib.plan import plan
    from abtest_lib.report import plan as printed

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    like = options.like and definitions.load_experiment(options.experiments, options.like)
    past = {"population": options.population, "like": like, "share": options.share, "power": options.power}
    with open_warehouse(options) as warehouse:
        found = plan(experiment, options.as_of, warehouse, **past)
    folder, said = Path(options.results) / "_plans" / experiment.key, printed.plan_text(found)
    results.write_bytes(folder / "plan.txt", said.encode())
    results.write_json(folder / "plan.json", printed.plan_document(found))
    results.write_bytes(folder / "plan.png", printed.plan_chart(found))
    print(f"{said}\n  {folder / 'plan.png'}")
    return 0


def _add_plan(parser: argparse.ArgumentParser) -> None:
    add_night(parser)
    past = parser.add_mutually_exclusive_group()
    past.add_argument("--population", metavar="SOURCE", help="an outcome source: everybody with a row in it")
    past.add_argument("--like", metavar="EXPERIMENT", help="another experiment: its control")
    parser.add_argument("--share", type=float, default=1.0, help="part of the units that is let in; default: 1")
    parser.add_argument("--power", type=float, default=0.8, help="wanted of each comparison; default: 0.8")


PLAN = Verb(
    "plan",
    "how many units and days does an experiment need?",
    "Reads mean, variance and new units a day from the warehouse, and says what the smallest effect that matters "
    "and each guardrail need, and what the planned days can show, by the tests of the night. The past is the "
    "control of the experiment itself, of another one (--like), or everybody with a row in an outcome source "
    "(--population). Writes plan.txt, plan.json and plan.png to RESULTS/_plans/EXPERIMENT.",
    "one_page_checkout --as-of 2026-03-03",
    _add_plan,
    _plan,
)
