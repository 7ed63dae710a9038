"""A covariate's whole way: definition, warehouse, moments, reading; against a regression on the units themselves."""

import datetime as dt

import duckdb
import numpy as np
import pyarrow.parquet
import pytest
from statsmodels.regression.linear_model import OLS

from abtest_lib import definitions, pipeline, readings, results, warehouse
from abtest_lib.errors import DataError, DefinitionError

SOURCES = """
exposures:
  assignments: {table: exposures, experiment: experiment_id, unit: unit_id, variant: variant, exposed_at: exposed_at}
outcomes:
  purchases: {table: purchases, unit: unit_id, occurred_at: occurred_at}
attributes:
  customers: {table: customers, unit: unit_id}
  history: {table: history, unit: unit_id}
load_log: {table: load_log}
"""
METRIC = "{title: Spend, kind: mean, source: purchases, value: usd, window_days: 1, better: higher"
METRICS = f"""
spend: {METRIC}, covariate: history.spend_before}}
plain: {METRIC}}}
guarded: {METRIC}, covariate: history.spend_before}}
"""
EXPERIMENT = """
title: Offers
hypothesis: Offers raise the spend.
owner: ana@example.com
starts_on: 2026-02-02
ends_on: 2026-02-05
variants: {control: 1, treatment: 1}
primary: spend
smallest_effect: 0.01
secondary: [plain]
guardrails: [{metric: guarded, margin: 0.5}]
segments: [{attribute: customers.platform}]
"""
AS_OF = dt.date(2026, 2, 6)


@pytest.fixture
def folder(tmp_path):
    for name, text in (("sources", SOURCES), ("metrics", METRICS), ("offers", EXPERIMENT)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.fixture
def units():
    """Unit, treated, day, platform, spend, and the spend before, which a third of the units lack."""
    rng = np.random.default_rng(4)
    before = np.round(rng.exponential(20, 600), 2)
    spend = np.round(0.6 * before + rng.exponential(10, 600) + 3 * (np.arange(600) % 2), 2)
    known = rng.random(600) > 1 / 3
    return [
        (f"u{i}", i % 2, i % 3, ("ios", "web")[i % 5 > 2], spend[i], before[i] if known[i] else None)
        for i in range(600)
    ]


@pytest.fixture
def file(tmp_path, units):
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE units (unit TEXT, treated INT, day INT, platform TEXT, usd DOUBLE, spent DOUBLE)"
        )
        connection.executemany("INSERT INTO units VALUES (?, ?, ?, ?, ?, ?)", units)
        connection.execute("""
            CREATE TABLE exposures AS SELECT 'offers' AS experiment_id, unit AS unit_id,
                CASE treated WHEN 1 THEN 'treatment' ELSE 'control' END AS variant,
                TIMESTAMP '2026-02-02 10:00' + INTERVAL 1 DAY * day AS exposed_at FROM units;
            CREATE TABLE purchases AS SELECT unit_id, usd, exposed_at + INTERVAL 1 HOUR AS occurred_at
                FROM exposures INNER JOIN units ON unit = unit_id;
            CREATE TABLE customers AS SELECT unit AS unit_id, platform FROM units;
            -- Half of the units without the covariate have no row, half have a row without a value.
            CREATE TABLE history AS SELECT unit AS unit_id, spent AS spend_before FROM units
                WHERE spent IS NOT NULL OR day = 1;
            CREATE TABLE load_log AS SELECT UNNEST(['assignments', 'purchases']) AS source,
                DATE '2026-02-05' AS data_on, TIMESTAMP '2026-02-06 03:00' AS loaded_at;
        """)
    return path


@pytest.fixture
def night(folder, file):
    experiment = definitions.load_experiment(folder, "offers")
    with warehouse.connect(file) as source:
        return pipeline.run(experiment, AS_OF, source, folder / "results")


def filled(units):
    known = [unit[5] for unit in units if unit[5] is not None]
    covariate = np.array([np.mean(known) if unit[5] is None else unit[5] for unit in units])
    return np.array([unit[4] for unit in units]), np.array([unit[1] for unit in units], float), covariate


def regression(units):
    """Effect and theta of ordinary least squares on variant and covariate, gaps filled with the mean of the rest."""
    outcome, treated, covariate = filled(units)
    fit = OLS(outcome, np.column_stack([np.ones(len(units)), treated, covariate])).fit()
    return fit.params[1], fit.params[2]


def primary(night):
    return results.read_json(night / "results.json")["metrics"][0]["comparisons"][0]


def test_adjusted_effect_is_that_of_a_regression_with_gaps_filled(night, units):
    got = primary(night)
    # Sums of 600 values in another order: the last digits differ.
    assert (got["effect"], got["adjustment"]["theta"]) == pytest.approx(regression(units), rel=1e-10)
    assert got["adjustment"]["covariate"] == "history.spend_before"
    assert 0.2 < got["adjustment"]["variance_removed"] < 1
    assert "CUPED" in got["method"]


def test_units_without_a_covariate_keep_their_outcome(night):
    document = results.read_json(night / "results.json")
    adjusted, plain = (metric["comparisons"][0] for metric in document["metrics"])
    assert (adjusted["n_control"], adjusted["n_treatment"]) == (300, 300)
    assert adjusted["mean_control"] == pytest.approx(plain["mean_control"], rel=1e-12)
    assert adjusted["adjustment"]["unadjusted_effect"] == pytest.approx(plain["effect"], rel=1e-12)
    assert adjusted["adjustment"]["unadjusted_interval"] == pytest.approx(plain["effect_interval"], rel=1e-12)
    assert "adjustment" not in plain


def test_segment_is_adjusted_within_itself(night, units):
    rows = results.read_json(night / "results.json")["segments"]
    assert [row["value"] for row in rows] == ["ios", "web"]
    for row in rows:
        got = row["comparisons"][0]
        want = regression([unit for unit in units if unit[3] == row["value"]])
        assert (got["effect"], got["adjustment"]["theta"]) == pytest.approx(want, rel=1e-10)


def test_guardrail_is_not_adjusted(night):
    document = results.read_json(night / "results.json")
    guardrail, plain = document["guardrails"][0]["comparisons"][0], document["metrics"][1]["comparisons"][0]
    assert "adjustment" not in guardrail
    assert guardrail["effect"] == pytest.approx(plain["effect"], rel=1e-12)


def test_covariate_that_nobody_has_adjusts_nothing(folder, file):
    with duckdb.connect(str(file)) as connection:
        connection.execute("DELETE FROM history")
    with warehouse.connect(file) as source:
        got = primary(pipeline.run(definitions.load_experiment(folder, "offers"), AS_OF, source, folder / "results"))
    assert (got["adjustment"]["theta"], got["adjustment"]["variance_removed"]) == (0, 0)
    assert got["effect_interval"] == got["adjustment"]["unadjusted_interval"]


def test_cells_of_days_add_up_to_one_night(night, units):
    moments = pyarrow.parquet.read_table(night / "moments.parquet").to_pylist()
    days = {row["exposed_on"] for row in moments if row["metric"] == "spend"}
    assert len(days) == 3
    one_day = [row for row in moments if row["exposed_on"] == min(days)]
    got = readings.significance(pipeline.definition(night), AS_OF, one_day)["metrics"][0]["comparisons"][0]
    assert got["effect"] == pytest.approx(regression([unit for unit in units if unit[2] == 0])[0], rel=1e-10)


def test_covariate_comes_back_from_the_nights_definition(folder):
    experiment = definitions.load_experiment(folder, "offers")
    assert experiment.metrics["spend"].covariate.attribute == "history.spend_before"
    assert list(experiment.attributes) == ["customers", "history"]
    assert definitions.experiment_from_json(experiment.as_json()) == experiment


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("covariate: spend_before", "metrics.yaml:2: .*covariate is 'spend_before'; it must be SOURCE.COLUMN"),
        ("covariate: unknown.spend", "metrics.yaml:2: .*covariate is 'unknown.spend'; it must be SOURCE.COLUMN"),
        ("kind: retention, covariate: history.spend_before", "must stand with kind mean or count, not retention"),
        ("kind: proportion, covariate: history.spend_before", "must stand with kind mean or count, not proportion"),
    ],
)
def test_covariate_that_cannot_be_is_refused(folder, line, message):
    kind = "" if line.startswith("kind") else "kind: count, "
    metric = f"\nspend: {{title: Spend, {kind}{line}, source: purchases, window_days: 1, better: higher}}\n"
    (folder / "metrics.yaml").write_text(metric)
    with pytest.raises(DefinitionError, match=message):
        definitions.load_catalogue(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            "ALTER TABLE history RENAME spend_before TO spent_before",
            "no column 'spend_before'; did you mean 'spent_before'",
        ),
        (
            "UPDATE history SET spend_before = 'NaN' WHERE unit_id = 'u1'",
            "1 rows of 'history' have a spend_before that is NaN",
        ),
        ("INSERT INTO history VALUES ('u1', 3)", "1 units have more than one row in 'history'"),
    ],
)
def test_broken_covariate_stops_the_night(folder, file, spoil, message):
    with duckdb.connect(str(file)) as connection:
        connection.execute("DELETE FROM history WHERE unit_id = 'u1'")
        connection.execute("INSERT INTO history VALUES ('u1', 2)")
        connection.execute(spoil)
    with warehouse.connect(file) as source, pytest.raises(DataError, match=message):
        pipeline.run(definitions.load_experiment(folder, "offers"), AS_OF, source, folder / "results")
