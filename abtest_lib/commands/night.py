"""A night by hand: ``run``, and each of its steps."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable

from abtest_lib import definitions, results
from abtest_lib.commands.verb import (
    NOT_READY,
    Verb,
    add_accept,
    add_leave_out,
    add_night,
    add_reason,
    add_reread,
    date,
    find_night,
    open_warehouse,
    print_verdicts,
    reread,
)


def _run(options: argparse.Namespace) -> int:
    from abtest_lib import pipeline

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    first = options.since or options.as_of
    if first > options.as_of:
        raise ValueError(f"--since is {first}; it must not be later than --as-of, {options.as_of}.")
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    with open_warehouse(options) as warehouse:
        reread(options, experiment, warehouse)
        for number in range((options.as_of - first).days + 1):
            day = first + dt.timedelta(days=number)
            accepted, reason = options.accept_incomplete, options.reason
            night = pipeline.run(experiment, day, warehouse, options.results, metrics, accepted, reason,
                                 options.leave_out_late)  # fmt: skip
            print_verdicts(night)
    return 0


def _outcomes_ready(options: argparse.Namespace) -> int:
    from abtest_lib import pipeline

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    with open_warehouse(options) as warehouse:
        waiting = pipeline.outcomes_ready(experiment, options.as_of, warehouse, options.results, metrics)
    waiting = pipeline.blocking(experiment, waiting, options.accept_incomplete)
    for one in waiting:
        print(f"{experiment.key}, {options.as_of}: waits for {one.source}: {one.reason}")
    if not waiting:
        print(f"{experiment.key}, {options.as_of}: all sources are complete")
    return NOT_READY if waiting else 0


def _collect(options: argparse.Namespace) -> int:
    from abtest_lib import pipeline

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    with open_warehouse(options) as warehouse:
        reread(options, experiment, warehouse)
        print(pipeline.collect(experiment, options.as_of, warehouse, options.results, metrics,
                               options.accept_incomplete, options.leave_out_late))  # fmt: skip
    return 0


def _night_step(name: str) -> Callable[[argparse.Namespace], int]:
    def step(options: argparse.Namespace) -> int:
        from abtest_lib import pipeline

        try:
            print(getattr(pipeline, name)(find_night(options, results.COLLECTED, "collect")))
        except pipeline.Withheld as reason:
            print(reason)
        return 0

    return step


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_collect(parser)
    parser.add_argument("--since", type=date, metavar="DATE", help="also run the nights from this date on")
    add_reason(parser)


def _add_outcomes_ready(parser: argparse.ArgumentParser) -> None:
    add_night(parser)
    add_accept(parser)


def _add_collect(parser: argparse.ArgumentParser) -> None:
    add_night(parser)
    add_accept(parser)
    add_leave_out(parser)
    add_reread(parser)


RUN = Verb(
    "run",
    "run a whole night: collect to report",
    "Runs all steps of one night, and with --since also the nights before it. Nothing is sent. A night that is "
    "there already with the same definition and data is written again with the same bytes.",
    "one_page_checkout --as-of 2026-03-03",
    _add_run,
    _run,
)
OUTCOMES_READY = Verb(
    "outcomes_ready",
    "are all sources complete for the night?",
    "Prints the sources that are not complete for the last day of data; exit status 3 if there are any.",
    "one_page_checkout --as-of 2026-03-03",
    _add_outcomes_ready,
    _outcomes_ready,
)
COLLECT = Verb(
    "collect",
    "read exposures and outcomes from the warehouse",
    "Checks the data, reads counts and moments of mature units, and opens the night's revision. Writes "
    "definition.json, exposure.json and moments.parquet.",
    "one_page_checkout --as-of 2026-03-03",
    _add_collect,
    _collect,
)
SAMPLE_RATIO = Verb(
    "sample_ratio",
    "did units fall into the variants as designed?",
    "Chi-squared test of the units against the designed weights. Writes sample_ratio.json.",
    "one_page_checkout --as-of 2026-03-03",
    add_night,
    _night_step("sample_ratio"),
)
SIGNIFICANCE = Verb(
    "significance",
    "compare primary and secondary metrics",
    "Effect, interval and, at the horizon, p-value of each treatment. Writes significance.json.",
    "one_page_checkout --as-of 2026-03-03",
    add_night,
    _night_step("significance"),
)
SEGMENTS = Verb(
    "segments",
    "compare within segments, Bonferroni-corrected",
    "The primary metrics within each value of each segment. Writes segments.json.",
    "one_page_checkout --as-of 2026-03-03",
    add_night,
    _night_step("segments"),
)
GUARDRAILS = Verb(
    "guardrails",
    "test guardrails against their margins",
    "Safe, harmful, or not yet either, for each guardrail and treatment. Writes guardrails.json.",
    "one_page_checkout --as-of 2026-03-03",
    add_night,
    _night_step("guardrails"),
)
DECIDE = Verb(
    "decide",
    "give each treatment its verdict",
    "Writes results.json, which holds every number of the night.",
    "one_page_checkout --as-of 2026-03-03",
    add_night,
    _night_step("decide"),
)
REPORT = Verb(
    "report",
    "write the report",
    "Writes the mail, the full page, text, Markdown, Slack message, charts and all numbers, and makes this revision"
    " the current one of its night.",
    "one_page_checkout --as-of 2026-03-03",
    add_night,
    _night_step("report"),
)
