"""Every query of ``sql/`` on tables small enough to work out by hand, on every engine that can be started here.

A case is a folder ``<query>/<case>`` with

- ``case.yaml``: ``why``, and what differs from ``base.yaml``;
- one CSV file for each table: ``null`` is a null, ``column:TYPE`` gives a column another type than its name suggests;
- ``expected.csv``: the rows that the query must return, in its columns; lines after ``#`` show the working.
"""

import csv
import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from abtest_lib.assignment import Assignment, Layer, assignment_sql
from abtest_lib.definitions import AttributeSource, load_experiment
from abtest_lib.queries import Days, NightQueries
from abtest_lib.unit_tables import UnitTable
from abtest_lib.warehouse import connect
from tests.engines import ENGINES, create_table, number, postgresql_url, snowflake, spark  # noqa: F401

HERE = Path(__file__).parent
SQL = HERE.parents[1] / "sql"
CASES = sorted(path.parent for path in HERE.glob("*/*/case.yaml"))
TYPES = {"data_on": "DATE", "amount_usd": "DOUBLE", "quantity": "INTEGER"}

ASK = {
    "units": lambda ask, case, e: ask.units(known(case, e)),
    "assigned_units": lambda ask, case, e: ask.assigned_units(known(case, e)),
    "moments": lambda ask, case, e: ask.moments([e.metrics["amount"]], known(case, e)),
    "quantile_bins": lambda ask, case, e: ask.quantile_bins(e.metrics["amount"], known(case, e)),
    "exposure_checks": lambda ask, case, e: [ask.exposure_checks(case["known_by"])],
    "outcome_checks": lambda ask, case, e: [
        ask.outcome_checks(e.outcomes["events"], case.get("values", []), case["known_by"])
    ],
    "delays": lambda ask, case, e: [
        flat_lags(row)
        for row in ask.delays(e.outcomes[case["source"]], case["lags"], case["start"], case["end"], case["known_by"])
    ],
    "day_counts": lambda ask, case, e: [
        flat_nulls(row)
        for row in ask.day_counts(
            e.outcomes[case["source"]], case["columns"], case["start"], case["end"], case["known_by"]
        )
    ],
    "changed_days": lambda ask, case, e: changed_days(ask, case, e),
    "outcome_rows": lambda ask, case, e: (
        ask.outcome_rows(e.outcomes["events"], case["values"], case["filters"], days(case)).read_all().to_pylist()
    ),
    "exposure_rows": lambda ask, case, e: ask.exposure_rows(e.exposures, days(case)).read_all().to_pylist(),
    "day_rows": lambda ask, case, e: [
        {"day": day, "rows_found": count}
        for day, count in ask.day_rows(e.outcomes["events"], "occurred_at", days(case)).items()
    ],
    "attribute_rows": lambda ask, case, e: (
        ask.attribute_rows(
            AttributeSource("customers", "customers", "unit_id", case.get("known_from")),
            case["segments"],
            case["covariates"],
        )
        .read_all()
        .to_pylist()
    ),
    "cap_quantiles": lambda ask, case, e: (
        ask.cap_quantiles(e.outcomes["events"], [e.metrics[name] for name in case["asked"]], case["known_by"])
        .read_all()
        .to_pylist()
    ),
    "assigned_variants": lambda ask, case, e: ask._warehouse.query(
        assignment_sql(assignment(case["assignment"]), "visitors", "unit_id"), {}
    ),
    "assigned_otherwise": lambda ask, case, e: ask.assigned_otherwise(assignment(case["assignment"]), known(case, e)),
    "load_log_days": lambda ask, case, e: ask.declared(case["source"]),
    "attribute_checks": lambda ask, case, e: [flat(ask.attribute_checks(e.attributes["customers"]))],
    "unit_table_counts": lambda ask, case, e: unit_table(ask, case, e).ask(
        "unit_table_counts", values=case["values"], texts=case["texts"]
    ),
    "unit_table_rows": lambda ask, case, e: unit_table(ask, case, e).ask(
        "unit_table_rows", columns=case["columns"], rows=case["rows"]
    ),
    "unit_table_repeats": lambda ask, case, e: unit_table(ask, case, e).ask("unit_table_repeats"),
    "unit_table_faults": lambda ask, case, e: unit_table(ask, case, e).ask(
        "unit_table_faults", numbers=case["numbers"]
    ),
    "unit_table_cells": lambda ask, case, e: unit_cells(unit_table(ask, case, e), case["sets"]),
    "load_log": lambda ask, case, e: [{"complete_at": ask.complete_at(case["source"], e.load_log)}],
    "newest_day": lambda ask, case, e: [
        {
            "rows_found": ask.rows_since_last_day(
                e.exposures if case["source"] == "assignments" else e.outcomes["events"]
            )
        }
    ],
}


def known(case, experiment):
    """By source, what a case's night knows."""
    return dict.fromkeys([experiment.exposures.name, *experiment.outcomes], case["known_by"])


def unit_table(ask, case, experiment):
    """The unit-level table of a case."""
    return UnitTable(experiment, case["as_of"], ask._warehouse)


def unit_cells(table, sets):
    """The cells of a case's sets of segments."""
    return table.cell_rows(replace(table.plan(), sets=sets))


def assignment(given):
    """The assignment of a case."""
    layer = Layer(**given["layer"]) if "layer" in given else None
    return Assignment(**{**given, "layer": layer})


def days(case):
    """The days of a case."""
    return Days(case["start"], case["end"], case["known_by"], case.get("seen_by"))


def flat_lags(row):
    """A row with the counts by lag as columns of their own."""
    late = {f"late_{lag}": count for lag, count in row["late"].items()}
    return {name: value for name, value in row.items() if name != "late"} | late


def flat_nulls(row):
    """A row with the nulls by column as columns of their own, before the load time."""
    counts = {name: row[name] for name in ("day", "rows", "rows_without_unit")}
    return counts | row["nulls"] | {"last_loaded_at": row["last_loaded_at"]}


def changed_days(ask, case, experiment):
    """The rows of a case, those of an outcome source without the experiment; without a day last."""
    of_outcomes = case["source"] == "events"
    source = experiment.outcomes["events"] if of_outcomes else experiment.exposures
    time = source.occurred_at if of_outcomes else source.exposed_at
    rows = ask.changed_days(source, time, case)
    if of_outcomes:
        assert {row.pop("experiment") for row in rows} == {None}
    return sorted(rows, key=lambda row: (row.get("experiment", ""), row["day"] or dt.date.max, row["rows_found"]))


def flat(row):
    """A row with the counts by column as columns of their own."""
    named = {f"not_finite_{name}": count for name, count in row["not_finite"].items()}
    return {name: row[name] for name in ("repeated_units", "example", "null_times") if name in row} | named


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


def parsed(text, like, engine):
    """A cell of expected.csv in the type that the query returned."""
    if text == "null":
        return None
    if isinstance(like, list):
        return [parsed(one, like[0], engine) for one in text.split()]
    if isinstance(like, float):
        return number(engine, text)
    if isinstance(like, bool):
        return {"true": True, "false": False}[text]
    if isinstance(like, dt.date | dt.datetime):
        return type(like).fromisoformat(text)
    return type(like)(text) if like is not None else text


# What the emulator of Snowflake gets wrong, and Snowflake not: a null time becomes 1970, COUNT_IF of no row a null.
EMULATED_WRONGLY = (
    "load_log/day_is_missing",
    "day_counts/without_load_time",
    "exposure_checks/nothing_of_the_experiment",
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("folder", CASES, ids=[f"{path.parent.name}-{path.name}" for path in CASES])
def test_query_returns_the_rows_worked_out_by_hand(folder, engine, tmp_path, request):
    if engine == "snowflake" and f"{folder.parent.name}/{folder.name}" in EMULATED_WRONGLY:
        request.applymarker(pytest.mark.xfail(strict=True, reason="a fault of the emulator"))
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
    expected = [[parsed(text, row[name], engine) for name, text in zip(header, cells, strict=True)]
                for cells, row in zip(rows, found, strict=True)]  # fmt: skip
    assert [list(row.values()) for row in found] == expected, case["why"]


def test_every_query_has_a_case():
    parts_of_moments = {"exposed_units", "units_in_cells", "unit_cells"}
    fragments = parts_of_moments | {"unit_events", "bins_of_values", "assignment"}
    assert {path.parent.name for path in CASES} == {path.stem for path in SQL.glob("*.sql")} - fragments
