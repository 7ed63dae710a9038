import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import duckdb
import pytest
import yaml

from demo import warehouse

ROOT = Path(__file__).parents[2]
EVENTS = ("purchases", "page_loads", "sessions", "searches", "clicks", "contacts", "surveys", "transactions")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "warehouse.duckdb"
    warehouse.build(path)
    return path


@pytest.fixture(scope="module")
def connection(built):
    with duckdb.connect(str(built), read_only=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def sources():
    return yaml.safe_load((ROOT / "experiments" / "sources.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def experiments():
    files = [
        path
        for path in (ROOT / "experiments").glob("*.yaml")
        if path.stem not in ("sources", "metrics", "subscriptions")
    ]
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}


def one(connection, query, *values):
    return connection.execute(query, list(values)).fetchone()[0]


def tables_of(connection):
    return [name for (name,) in connection.execute("SHOW TABLES").fetchall()]


def content_of(path):
    with duckdb.connect(str(path), read_only=True) as connection:
        return {
            table: connection.execute(
                f"SELECT count(*), bit_xor(hash(t)), sum(hash(t)) FROM {table} AS t"  # noqa: S608
            ).fetchone()
            for table in tables_of(connection)
        }


def test_two_builds_in_two_processes_have_equal_content(built, tmp_path):
    again = tmp_path / "again.duckdb"
    subprocess.run([sys.executable, "-m", "demo.warehouse", again], cwd=ROOT, check=True, capture_output=True)  # noqa: S603
    assert content_of(again) == content_of(built)


def test_a_build_leaves_one_file_and_is_current(built):
    assert [path.name for path in built.parent.iterdir()] == ["warehouse.duckdb"]
    assert warehouse.is_current(built)
    assert not warehouse.is_current(built, as_of=date(2026, 3, 10))
    assert not warehouse.is_current(built.parent / "missing.duckdb")


def test_a_file_that_is_no_warehouse_is_not_current(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    path.write_text("not a database")
    assert not warehouse.is_current(path)


def test_the_file_is_small(built):
    assert built.stat().st_size < 60e6


def test_every_declared_table_and_column_is_there(connection, sources):
    declared = [
        *sources["exposures"].values(),
        *sources["outcomes"].values(),
        *sources["attributes"].values(),
        sources["load_log"],
    ]
    for source in declared:
        columns = {row[0] for row in connection.execute(f"DESCRIBE {source['table']}").fetchall()}
        assert {column for name, column in source.items() if name != "table"} <= columns


def test_every_metric_reads_a_column_that_is_there(connection, sources):
    metrics = yaml.safe_load((ROOT / "experiments" / "metrics.yaml").read_text(encoding="utf-8"))
    for metric in (metric for metric in metrics.values() if metric["kind"] != "ratio"):
        table = sources["outcomes"][metric["source"]]["table"]
        columns = {row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()}
        assert {metric.get("value", "unit_id"), *metric.get("where", {})} <= columns


def test_times_are_timestamps_without_zone(connection):
    kinds = connection.execute(
        "SELECT DISTINCT data_type FROM information_schema.columns WHERE column_name LIKE '%\\_at' ESCAPE '\\'"
    ).fetchall()
    assert kinds == [("TIMESTAMP",)]


@pytest.mark.parametrize("table", EVENTS)
def test_some_rows_are_late_and_fit_the_lag_of_every_metric(connection, table):
    metrics = yaml.safe_load((ROOT / "experiments" / "metrics.yaml").read_text(encoding="utf-8"))
    shortest_lag = min(metric.get("lag_days", 0) for metric in metrics.values() if metric.get("source") == table)
    late = one(connection, f"SELECT avg((loaded_at >= occurred_at + INTERVAL 1 DAY)::INT) FROM {table}")  # noqa: S608
    longest = one(connection, f"SELECT max(epoch(loaded_at - occurred_at)) / 3600 FROM {table}")  # noqa: S608
    assert 0.01 < late < 0.05
    assert longest <= 24 * shortest_lag + 6


def test_a_dispute_arrives_two_to_four_weeks_after_its_transaction(connection):
    first, last = connection.execute(
        "SELECT min(epoch(loaded_at - occurred_at)) / 86400, max(epoch(loaded_at - occurred_at)) / 86400"
        " FROM chargebacks"
    ).fetchone()
    assert 14 <= first < last <= 28


@pytest.mark.parametrize("table", ("exposures", *EVENTS, "chargebacks"))
def test_nothing_is_loaded_after_the_night_or_before_it_happened(connection, table):
    happened = "exposed_at" if table == "exposures" else "occurred_at"
    last, shortest = connection.execute(
        f"SELECT max(loaded_at), min(epoch(loaded_at - {happened})) FROM {table}"  # noqa: S608
    ).fetchone()
    assert last < datetime(2026, 3, 9, 6)
    assert shortest > 0


def test_the_load_log_is_complete_for_every_source(connection, sources):
    names = {*sources["exposures"], *sources["outcomes"], *sources["attributes"]}
    logged = connection.execute(
        "SELECT source, min(data_on), max(data_on), count(DISTINCT data_on), count(*),"
        " min(epoch(loaded_at - data_on)), max(epoch(loaded_at - data_on)) FROM load_log GROUP BY source"
    ).fetchall()
    assert {row[0] for row in logged} == names
    day_and_three_hours = 27 * 3600
    assert {row[1:] for row in logged} == {
        (date(2026, 1, 19), date(2026, 3, 8), 49, 49, day_and_three_hours, day_and_three_hours)
    }


def test_each_experiment_enrols_its_variants_in_its_dates(connection, experiments):
    for key, experiment in experiments.items():
        first, last, variants = connection.execute(
            "SELECT min(exposed_at), max(exposed_at), list(DISTINCT variant) FROM exposures WHERE experiment_id = ?",
            [key],
        ).fetchone()
        assert experiment["starts_on"] == first.date()
        assert last < datetime.combine(experiment["ends_on"], datetime.min.time())
        assert set(variants) == set(experiment["variants"])


def test_crossovers_are_few_and_on_both_sides(connection):
    crossed = connection.execute(
        "SELECT experiment_id, first_variant, count(*) FROM ("
        " SELECT experiment_id, unit_id, arg_min(variant, exposed_at) AS first_variant FROM exposures"
        " GROUP BY ALL HAVING count(DISTINCT variant) > 1"
        ") GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert crossed == [
        ("one_page_checkout", "control", 16),
        ("one_page_checkout", "treatment", 16),
        ("search_ranker_v2", "control", 9),
        ("search_ranker_v2", "treatment", 9),
    ]


def test_units_are_exposed_again_have_events_before_and_sometimes_no_attributes(connection):
    again = one(connection, "SELECT 1 - count(DISTINCT (experiment_id, unit_id)) / count(*) FROM exposures")
    before = one(
        connection,
        "SELECT count(*) FROM searches AS s JOIN exposures AS e ON e.unit_id = s.unit_id"
        " WHERE e.experiment_id = 'search_ranker_v2' AND s.occurred_at < e.exposed_at",
    )
    unknown = one(
        connection,
        "SELECT avg((c.unit_id IS NULL)::INT) FROM exposures AS e LEFT JOIN customers AS c ON c.unit_id = e.unit_id",
    )
    assert 0.02 < again < 0.15
    assert before > 1_000
    assert 0 < unknown < 0.02


def test_experiments_that_read_the_same_events_share_no_unit(connection):
    pairs = [("one_page_checkout", "home_redesign"), ("onboarding_tips", "push_prompt")]
    for pair in pairs:
        shared = one(
            connection,
            "SELECT count(*) FROM (SELECT unit_id FROM exposures WHERE experiment_id IN (?, ?)"
            " GROUP BY unit_id HAVING count(DISTINCT experiment_id) > 1)",
            *pair,
        )
        assert shared == 0


def test_the_truth_is_stated_for_every_treatment(experiments):
    treatments = {key: set(one["variants"]) - {one["control"]} for key, one in experiments.items()}
    assert {key: set(verdicts) for key, verdicts in warehouse.TRUTH.items()} == treatments


def test_all_but_two_experiments_are_at_their_horizon_on_the_night(experiments):
    metrics = yaml.safe_load((ROOT / "experiments" / "metrics.yaml").read_text(encoding="utf-8"))
    waiting = set()
    for key, experiment in experiments.items():
        names = [*experiment["primary"], *(one["metric"] for one in experiment.get("guardrails", []))]
        days = [
            metrics[name].get("delay_days", 0) + metrics[name]["window_days"] + metrics[name].get("lag_days", 0)
            for name in names
        ]
        if (warehouse.AS_OF - experiment["ends_on"]).days < max(days):
            waiting.add(key)
    assert waiting == {"fraud_model_v3", "query_suggestions"}
