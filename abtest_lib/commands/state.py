"""Verbs about what nights keep: ``verify`` and ``cost``."""

from __future__ import annotations

import argparse

from abtest_lib import definitions
from abtest_lib.commands.verb import FAILED, Verb, add_night, date, open_warehouse


def _verify(options: argparse.Namespace) -> int:
    from abtest_lib.verify import verify

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    with open_warehouse(options) as warehouse:
        found = verify(experiment, options.as_of, warehouse, options.results, metrics)
    where = f"{experiment.key}, {options.as_of}"
    if not found.problems:
        print(f"{where}: equal to the raw tables: {found.rows:,} rows of moments, the largest difference by rounding "
              f"is {found.largest_difference:.1g} of a spread")  # fmt: skip
        return 0
    for problem in found.problems[:20]:
        print(f"{where}: {problem}")
    print(f"{where}: {len(found.problems):,} differences. If rows were changed in place, read them anew: "
          f"abtest run {experiment.key} --as-of {options.as_of} --reread")  # fmt: skip
    return FAILED


def _cost(options: argparse.Namespace) -> int:
    from abtest_lib.state.store import readings

    rows = [row for row in readings(options.results) if not options.since or row["as_of"] >= str(options.since)]
    print(f"{'night':12}{'source':20}{'days':>5}{'rows':>15}{'MB':>10}{'seconds':>9}  read by")
    for as_of, source in sorted({(row["as_of"], row["source"]) for row in rows}):
        own = [row for row in rows if (row["as_of"], row["source"]) == (as_of, source)]
        days, by = len({day for row in own for day in row["days"]}), sorted({row["experiment"] for row in own})
        print(f"{as_of:12}{source:20}{days:5}{_cost_columns(own)}  {', '.join(by)}")
    print(f"{'all':12}{'':25}{_cost_columns(rows)}")
    return 0


def _cost_columns(rows: list[dict]) -> str:
    read, size, seconds = (sum(row[name] for row in rows) for name in ("rows", "bytes", "seconds"))
    return f"{read:15,}{size / 1e6:10,.1f}{seconds:9.1f}"


def _add_cost(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=date, metavar="DATE", help="the first night; default: all")


VERIFY = Verb(
    "verify",
    "compare a night with a computation from the raw tables",
    "Reads the whole history of the experiment and compares it with what nights have kept: counts must be equal, "
    "moments to the last digits. Exit status 1, and what differs, if they are not. Rows that were changed in place "
    "are read with `abtest run --reread`.",
    "one_page_checkout --as-of 2026-03-03",
    add_night,
    _verify,
)
COST = Verb(
    "cost",
    "list what nights have read of the warehouse",
    "Rows, bytes and seconds by night and source, as they were read. A source that an earlier experiment of the "
    "night has read costs the next one nothing.",
    "--since 2026-03-01",
    _add_cost,
    _cost,
)
