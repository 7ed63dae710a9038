"""The verb ``assign``."""

from __future__ import annotations

import argparse
from pathlib import Path

from abtest_lib import definitions
from abtest_lib.commands.verb import Verb, add_experiment
from abtest_lib.errors import DefinitionError


def _assign(options: argparse.Namespace) -> int:
    from abtest_lib.assignment import assigned_variant, assignment_sql

    assignment = definitions.load_experiment(options.experiments, options.experiment).assignment
    if assignment is None:
        raise DefinitionError(f"{Path(options.experiments) / options.experiment}.yaml has no assignment; give it one.")
    if options.sql:
        print(assignment_sql(assignment, options.table, options.unit, options.sql))
    for unit in options.units:
        print(f"{unit}\t{assigned_variant(unit, assignment) or '-'}")
    return 0


def _add_assign(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    parser.add_argument("units", nargs="*", help="ids of units")
    parser.add_argument("--sql", metavar="DIALECT", help="duckdb, postgres, spark, snowflake, bigquery, ...")
    parser.add_argument("--table", default="visitors", help="with --sql: the table of the units")
    parser.add_argument("--unit", default="unit_id", metavar="COLUMN", help="with --sql: the column of their ids")


ASSIGN = Verb(
    "assign",
    "which variant do units get?",
    "Prints the variant of each unit named, '-' for one that is not in the experiment, or with --sql the statement "
    "that assigns the units of a table, for the experiment's assignment (docs/assignment.md).",
    "one_page_checkout u17 u18",
    _add_assign,
    _assign,
)
