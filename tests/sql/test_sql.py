"""Every query of ``sql/`` on tables small enough to work out by hand, on every engine that can be started here.

A case is a folder ``<query>/<case>`` with

- ``case.yaml``: ``why``, and what differs from ``base.yaml``;
- one CSV file for each table: ``null`` is a null, ``column:TYPE`` gives a column another type than its name suggests;
- ``expected.csv``: the rows that the query must return, in its columns; lines after ``#`` show the working.
"""

import csv
import datetime as dt
from pathlib import Path

import pytest
import yaml

from abtest_lib.definitions import load_experiment
from abtest_lib.queries import NightQueries
from abtest_lib.warehouse import connect
from tests.engines import ENGINES, create_table, postgresql_url  # noqa: F401

HERE = Path(__file__).parent
SQL = HERE.parents[1] / "sql"
CASES = sorted(path.parent for path in HERE.glob("*/*/case.yaml"))
TYPES = {"data_on": "DATE", "amount_usd": "DOUBLE", "quantity": "INTEGER"}

ASK = {
    "units": lambda ask, case, e: ask.units(case["known_by"]),
    "moments": lambda ask, case, e: ask.moments(e.metrics["amount"], case["known_by"]),
    "exposure_checks": lambda ask, case, e: [ask.exposure_checks(case["known_by"])],
    "outcome_checks": lambda ask, case, e: [
        ask.outcome_checks(e.outcomes["events"], case.get("values", []), case["known_by"])
    ],
    "delays": lambda ask, case, e: [
        ask.delays(e.outcomes[case["source"]], case["lag_days"], case["longer"], case["known_by"])
    ],
    "attribute_checks": lambda ask, case, e: [flat(ask.attribute_checks(e.attributes["customers"]))],
    "load_log": lambda ask, case, e: [{"complete_at": ask.complete_at(case["source"], e.load_log)}],
    "newest_day": lambda ask, case, e: [
        {
            "rows_found": ask.rows_since_last_day(
                e.exposures if case["source"] == "assignments" else e.outcomes["events"]
            )
        }
    ],
}


def flat(row):
    """A row with the counts by column as columns of their own."""
    named = {f"not_finite_{name}": count for name, count in row["not_finite"].items()}
    return {"repeated_units": row["repeated_units"], "example": row["example"], **named}


def overlaid(base, changes):
    """The base with a case's changes laid over it."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    both = {key: overlaid(base.get(key), changes[key]) if key in changes else base[key] for key in {**base, **changes}}
    return {key: value for key, value in both.items() if value is not None}


def rows_of(path):
    """The rows of a CSV file as texts, comments left out."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(line for line in file if line.strip() and not line.startswith("#")))


def table_of(path):
    """Name, columns with types, and rows of a CSV file; null is None."""
    header, *rows = rows_of(path)
    columns = {name: kind or TYPES.get(name) or ("TIMESTAMP" if name.endswith("_at") else "VARCHAR")
               for name, _, kind in (column.partition(":") for column in header)}  # fmt: skip
    return path.stem, columns, [[None if cell == "null" else cell for cell in row] for row in rows]


def write_definitions(folder, case):
    for name, content in (
        ("sources", case["sources"]),
        ("metrics", {"amount": case["metric"], **case.get("metrics", {})}),
        ("ranker", case["experiment"]),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_experiment(folder, "ranker")


def parsed(text, like):
    """A cell of expected.csv in the type that the query returned."""
    if text == "null":
        return None
    if isinstance(like, bool):
        return {"true": True, "false": False}[text]
    if isinstance(like, dt.date | dt.datetime):
        return type(like).fromisoformat(text)
    return type(like)(text) if like is not None else text


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("folder", CASES, ids=[f"{path.parent.name}-{path.name}" for path in CASES])
def test_query_returns_the_rows_worked_out_by_hand(folder, engine, tmp_path, request):
    base = yaml.safe_load((HERE / "base.yaml").read_text(encoding="utf-8"))
    case = overlaid(base, yaml.safe_load((folder / "case.yaml").read_text(encoding="utf-8")))
    location = ENGINES[engine](request)
    for path in folder.glob("*.csv"):
        if path.stem != "expected":
            create_table(location, *table_of(path))
    experiment = write_definitions(tmp_path, case)
    with connect(location) as warehouse:
        found = ASK[folder.parent.name](NightQueries(experiment, case["as_of"], warehouse), case, experiment)
    header, *rows = rows_of(folder / "expected.csv")
    assert [list(row) for row in found] == [header] * len(rows), case["why"]
    expected = [[parsed(text, row[name]) for name, text in zip(header, cells, strict=True)]
                for cells, row in zip(rows, found, strict=True)]  # fmt: skip
    assert [list(row.values()) for row in found] == expected, case["why"]


def test_every_query_has_a_case():
    fragments = {"exposed_units"}  # part of units and moments
    assert {path.parent.name for path in CASES} == {path.stem for path in SQL.glob("*.sql")} - fragments
