"""A table with a row a unit: the same night as from the events it was made of, and what is refused of it."""

import datetime as dt
import json
import math
from pathlib import Path

import duckdb
import jsonschema
import numpy as np
import pytest
import yaml
from small_shop import AS_OF, Shop

from abtest_lib import cli, pipeline, results
from abtest_lib.definitions import experiment_from_json, load_experiment
from abtest_lib.errors import DataError, DefinitionError
from abtest_lib.unit_moments import Parts
from abtest_lib.unit_tables import UnitTable
from abtest_lib.warehouse import connect
from tests.engines import ENGINES, create_table, postgresql_url, snowflake, spark  # noqa: F401

HILLSTROM = Path(__file__).resolve().parents[2] / "shared" / "data" / "hillstrom"
EXACT = {"rel": 1e-9, "abs": 0}
DECIDES_ON = dt.date(2026, 2, 5)

SOURCES = "units:\n  export: {table: customers_export, unit: customer_id, variant: arm, exposed_at: first_seen_at}\n"
METRICS = """\
conversion: {title: Conversion, kind: proportion, source: export, value: bought, better: higher}
revenue_per_user: {title: Revenue, kind: mean, source: export, value: revenue_usd, better: higher, unit: USD}
latency_ms: {title: Latency, kind: mean, source: export, value: latency_ms, nulls: drop, better: lower, unit: ms}
orders: {title: Orders, kind: count, source: export, value: orders, better: higher}
pages: {title: Pages, kind: count, source: export, value: pages, better: higher}
orders_per_page: {title: Orders a page, kind: ratio, numerator: orders, denominator: pages, better: higher}
adjusted: {title: Revenue given age, kind: mean, source: export, value: revenue_usd, covariate: export.age,
           better: higher}
"""
EXPERIMENT = """\
title: Shorter checkout
hypothesis: Fewer steps let more customers finish.
owner: ana@example.com
starts_on: 2026-02-02
ends_on: 2026-02-05
variants: {control: 1, treatment: 1}
control: control
primary: [conversion]
smallest_effect: 0.05
secondary: [revenue_per_user, orders_per_page, adjusted]
guardrails:
  - {metric: latency_ms, margin: 0.1}
segments:
  - {attribute: export.platform, protected: true}
  - {attribute: export.country}
"""
# What small_shop.py's events add up to, by hand of SQL that shares nothing with the templates.
EXPORT = """CREATE TABLE customers_export AS
SELECT e.unit_id AS customer_id, e.variant AS arm, e.exposed_at AS first_seen_at,
    e.unit_id IN (SELECT unit_id FROM purchases) AS bought,
    COALESCE((SELECT SUM(amount_usd) FROM purchases AS p WHERE p.unit_id = e.unit_id), 0) AS revenue_usd,
    (SELECT AVG(latency_ms) FROM page_loads AS l WHERE l.unit_id = e.unit_id) AS latency_ms,
    (SELECT COUNT(*) FROM purchases AS p WHERE p.unit_id = e.unit_id) AS orders,
    (SELECT COUNT(*) FROM page_loads AS l WHERE l.unit_id = e.unit_id) AS pages,
    c.platform, c.country, c.age
FROM exposures AS e LEFT JOIN customers AS c ON c.unit_id = e.unit_id"""
MORE_OF_CUSTOMERS = """CREATE OR REPLACE TABLE customers AS
SELECT *, IF(substr(unit_id, 2)::INTEGER % 3 = 0, 'DE', 'FR') AS country,
    NULLIF(20 + substr(unit_id, 2)::INTEGER % 17, 25)::DOUBLE AS age
FROM customers ORDER BY unit_id"""
# The same metrics from events.
EVENT_METRICS = """
orders: {title: Orders, kind: count, source: purchases, window_days: 2, lag_days: 1, better: higher}
pages: {title: Pages, kind: count, source: page_loads, window_days: 2, lag_days: 1, better: higher}
orders_per_page: {title: Orders a page, kind: ratio, numerator: orders, denominator: pages, better: higher}
adjusted: {title: Revenue given age, kind: mean, source: purchases, value: amount_usd, window_days: 2, lag_days: 1,
           covariate: customers.age, better: higher}
"""


class Export:
    """Definitions and a unit-level table in one folder; ``change`` puts other rows into it."""

    def __init__(self, folder):
        self.folder, self.shop = folder, Shop(folder / "shop")
        self.shop.change(MORE_OF_CUSTOMERS, EXPORT)
        self.definitions = folder / "definitions"
        self.definitions.mkdir()
        for name, text in (("sources", SOURCES), ("metrics", METRICS), ("checkout", EXPERIMENT)):
            (self.definitions / f"{name}.yaml").write_text(text, encoding="utf-8")

    def redefine(self, name, old, new):
        path = self.definitions / f"{name}.yaml"
        assert old in path.read_text("utf-8")
        path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")

    @property
    def experiment(self):
        return load_experiment(self.definitions, "checkout")

    def run(self, as_of=DECIDES_ON):
        with connect(self.shop.warehouse) as source:
            return pipeline.run(self.experiment, as_of, source, self.folder / "results")

    def refusal(self, *statements):
        """What is said when the rows have been changed."""
        self.shop.change(*statements)
        with pytest.raises(DataError) as caught:
            self.run()
        return str(caught.value).splitlines()


@pytest.fixture
def export(tmp_path):
    return Export(tmp_path)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same night from events and from a unit-level table."""
    export = Export(tmp_path_factory.mktemp("units"))
    with open(export.shop.definitions / "metrics.yaml", "a", encoding="utf-8") as file:
        file.write(EVENT_METRICS)
    export.shop.redefine("checkout", "secondary: [revenue_per_user]",
                         "secondary: [revenue_per_user, orders_per_page, adjusted]")  # fmt: skip
    export.shop.redefine("checkout", "protected: true}", "protected: true}\n  - {attribute: customers.country}")
    return export.shop.run(AS_OF), export.run()


def read(night):
    return results.read_json(night / "results.json")


def close(one, other):
    """Whether two documents are the same up to the last digits of their numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) if isinstance(one, float) else one == other


def test_results_of_a_unit_table_are_valid_under_the_schema(both):
    schema = json.loads((Path(__file__).parents[1] / "docs" / "results.schema.json").read_text())
    assert [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(read(both[1]))] == []


def test_report_of_a_unit_table_speaks_of_no_window(both):
    report = (both[1] / "report.txt").read_text("utf-8")
    assert "Conversion (as its table has it)" in report
    assert "0 days" not in report


@pytest.mark.parametrize("part", ["metrics", "heterogeneity", "verdicts"])
def test_night_of_a_unit_table_says_what_the_events_say(both, part):
    events, units = (json.loads(json.dumps(read(night)[part]).replace("customers.", "export.")) for night in both)
    assert units
    assert close(units, events)


def test_segments_of_a_unit_table_are_those_of_the_events(both):
    events, units = (read(night)["segments"] for night in both)
    assert [(row["name"], row["value"]) for row in units] == [
        ("platform", "(unknown)"), ("platform", "android"), ("platform", "ios"),
        ("country", "(unknown)"), ("country", "DE"), ("country", "FR"),
    ]  # fmt: skip
    assert close([row["comparisons"] for row in units], [row["comparisons"] for row in events])


def test_guardrails_of_a_unit_table_have_the_effects_of_the_events(both):
    (events,), (units,) = (read(night)["guardrails"] for night in both)
    for name in ("effect", "relative_effect", "n_control", "n_treatment", "outcome"):
        assert close(units["comparisons"][0][name], events["comparisons"][0][name]), name


def test_every_moment_is_that_of_the_events(both):
    import pyarrow.parquet

    events, units = (pyarrow.parquet.ParquetFile(night / "moments.parquet").read().to_pylist() for night in both)
    names = ("metric", "segment", "value", "variant", "crossover", "exposed_on", "covariate_known")

    def keyed(rows):
        rows = json.loads(json.dumps(rows, default=str).replace("customers.", "export."))
        return {tuple(row[name] for name in names): {k: v for k, v in row.items() if v is not None} for row in rows}

    events, units = keyed(events), keyed(units)
    assert units.keys() == events.keys()
    assert len(units) > 100
    assert [key for key in units if not close(units[key], events[key])] == []


def test_counts_of_exposures_are_those_of_the_events(both):
    events, units = (read(night)["exposure"] for night in both)
    for name in ("units", "crossovers", "first_on", "last_on", "outside_dates"):
        assert units[name] == events[name], name
    assert units["sources"] == [{"source": "export", "rows": 400, "rows_without_unit": 0}]


def test_definition_is_read_back_as_it_was_written(export):
    assert experiment_from_json(json.loads(json.dumps(export.experiment.as_json()))) == export.experiment
    of_events = export.shop.experiment
    document = {name: value for name, value in of_events.as_json().items() if name != "units"}
    assert experiment_from_json(document) == of_events  # written before there were unit-level tables


def test_same_data_gives_the_same_bytes(export):
    first = export.run()
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    assert export.run() == first
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before


def test_parquet_file_is_read_from_the_command_line(export, capsys):
    file = export.folder / "customers_export.parquet"
    export.shop.change(f"COPY customers_export TO '{file}'")
    places = {"--experiments": export.definitions, "--results": export.folder / "out", "--warehouse": file}
    options = [str(word) for pair in places.items() for word in pair]
    assert cli.main(["run", "checkout", "--as-of", str(DECIDES_ON), *options]) == 0
    assert "treatment: ship" in capsys.readouterr().out
    night = results.night_folder(export.folder / "out", "checkout", DECIDES_ON)
    assert close(read(night)["metrics"], read(export.run())["metrics"])


def test_parquet_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConnectionError, match=r"customers\.parquet: cannot be opened"):
        connect(tmp_path / "customers.parquet")


def test_table_without_times_is_one_cohort(export):
    export.redefine("sources", ", exposed_at: first_seen_at", "")
    night = read(export.run())
    assert (night["exposure"]["first_on"], night["exposure"]["last_on"]) == ("2026-02-02", "2026-02-02")
    assert night["exposure"]["units"] == {"control": 200, "treatment": 200}
    assert night["stage"] == "final"


def test_units_outside_the_enrolment_are_counted_and_left_out(export):
    export.shop.change(
        "INSERT INTO customers_export BY NAME SELECT 'early' AS customer_id, 'control' AS arm, true AS bought, "
        "TIMESTAMP '2026-02-01 23:59:59' AS first_seen_at, 1e6 AS revenue_usd, 1 AS orders, 1 AS pages"
    )
    night = read(export.run())
    assert night["exposure"]["outside_dates"] == 1
    assert night["exposure"]["units"] == {"control": 200, "treatment": 200}
    assert night["metrics"][1]["comparisons"][0]["mean_control"] < 100


def test_units_of_a_later_night_are_not_read(export):
    day_before = read(export.run(DECIDES_ON - dt.timedelta(days=1)))
    assert day_before["exposure"]["last_on"] == "2026-02-03"
    assert day_before["verdicts"][0]["verdict"] == "keep_running"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("INSERT INTO customers_export SELECT * FROM customers_export WHERE customer_id IN ('u7', 'u9')",
         "2 units have more than one row in 'customers_export' (u7, ...); it must hold one row a unit."),
        ("UPDATE customers_export SET customer_id = NULL WHERE customer_id = 'u7'",
         "1 row of 'customers_export' has no customer_id; every row must name its unit. Correct the export."),
        ("UPDATE customers_export SET customer_id = '' WHERE customer_id IN ('u7', 'u8')",
         "2 rows of 'customers_export' have no customer_id; every row must name its unit. Correct the export."),
        ("UPDATE customers_export SET arm = NULL WHERE customer_id = 'u7'",
         "1 row of 'customers_export' has no arm; every unit must have a variant. Correct the export."),
        ("UPDATE customers_export SET arm = 'Treatment' WHERE customer_id = 'u7'",
         "1 row of 'customers_export' has a variant that checkout.yaml does not name (Treatment); name it under "
         "variants, or correct the export."),
        ("UPDATE customers_export SET first_seen_at = NULL WHERE customer_id = 'u7'",
         "1 row of 'customers_export' has no first_seen_at; every unit must have a time, or leave exposed_at out of "
         "sources.yaml."),
        ("UPDATE customers_export SET revenue_usd = 'nan' WHERE customer_id IN ('u7', 'u9')",
         "2 rows of 'customers_export' have NaN or infinity for revenue_usd; it must be a number or null. Correct the "
         "export."),
        ("UPDATE customers_export SET age = '-infinity' WHERE customer_id = 'u7'",
         "1 row of 'customers_export' has NaN or infinity for age; it must be a number or null. Correct the export."),
        ("DELETE FROM customers_export", "'customers_export' has no units before this night; load it, or correct the "
         "dates."),
        ("UPDATE customers_export SET revenue_usd = 1e300 WHERE customer_id IN ('u7', 'u9')",
         "values of 'customers_export' are too large to take a variance of; correct the export."),
    ],
)  # fmt: skip
def test_broken_promise_is_refused_with_its_count(export, statement, said):
    assert export.refusal(statement) == [f"checkout, 2026-02-05: source export: {said}"]


def test_proportion_of_something_else_than_yes_and_no_is_refused(export):
    said = export.refusal("ALTER TABLE customers_export ALTER bought TYPE INTEGER",
                          "UPDATE customers_export SET bought = 2 WHERE customer_id IN ('u7', 'u9')")  # fmt: skip
    assert said == [
        "checkout, 2026-02-05: source export: 2 rows of 'customers_export' have neither 0 nor 1 for bought; a "
        "proportion needs a yes or no of each unit. Take kind mean, or correct the export."
    ]


def test_null_is_refused_unless_a_policy_is_declared(export):
    statement = "UPDATE customers_export SET revenue_usd = NULL WHERE customer_id IN ('u7', 'u9')"
    said = "metric revenue_per_user: 2 rows have no revenue_usd; set nulls to drop or zero, or load it."
    assert export.refusal(statement)[0] == f"checkout, 2026-02-05: {said}"
    export.redefine("metrics", "value: revenue_usd", "nulls: drop, value: revenue_usd")
    row = read(export.run())["metrics"][1]["comparisons"][0]
    assert (row["n_control"], row["n_treatment"]) == (200, 198)


def test_missing_column_is_named_before_anything_is_read(export):
    said = export.refusal("ALTER TABLE customers_export RENAME revenue_usd TO revenue")
    missing = "table 'customers_export' has no column 'revenue_usd'; did you mean 'revenue'?"
    assert said[0] == f"checkout, 2026-02-05: source export: {missing}"


def test_more_units_than_keys_may_be_held_are_counted_by_the_engine(export, monkeypatch):
    monkeypatch.setattr("abtest_lib.unit_tables.MOST_KEYS", 10)
    said = export.refusal("INSERT INTO customers_export SELECT * FROM customers_export WHERE customer_id = 'u7'")
    assert "1 units have more than one row" in said[0]


@pytest.mark.parametrize("column", ["BIGINT", "INTEGER", "UBIGINT", "SMALLINT", "DOUBLE", "UUID"])
@pytest.mark.parametrize("apart", [1, 40])
def test_repeated_units_of_any_type_are_found(export, column, apart):
    number = f"substr(customer_id, 2)::INTEGER * {apart} + 3"
    key = f"('00000000-0000-0000-0000-' || lpad(({number})::VARCHAR, 12, '0'))::UUID" if column == "UUID" else number
    export.shop.change(f"UPDATE customers_export SET customer_id = ({key})::VARCHAR",  # noqa: S608
                       f"ALTER TABLE customers_export ALTER customer_id TYPE {column}")  # fmt: skip
    with connect(export.shop.warehouse) as source:
        assert UnitTable(export.experiment, DECIDES_ON, source).plan()
    said = export.refusal("INSERT INTO customers_export SELECT * FROM customers_export LIMIT 3")
    assert "3 units have more than one row" in said[0]


@pytest.mark.parametrize(("most", "sets"), [(1, [[0], [1]]), (4096, [[0, 1]])])
def test_segments_with_few_cells_are_grouped_together_with_the_same_result(export, monkeypatch, most, sets):
    whole = read(export.run())
    monkeypatch.setattr("abtest_lib.unit_tables.MOST_CELLS", most)
    with connect(export.shop.warehouse) as source:
        assert UnitTable(export.experiment, DECIDES_ON, source).plan().sets == sets
    assert close(read(export.run())["segments"], whole["segments"])


def test_merged_cells_have_the_moments_of_their_values():
    rng = np.random.default_rng(20260301)
    values, others = rng.normal(1e9, 1, 60), rng.normal(-1e6, 3, 60)
    cells, places = np.repeat(np.arange(6), 10), np.array([0, 1, 0, 1, 1, 0])

    def moments(first, second):
        apart, other_apart = first - first.mean(), second - second.mean()
        return (len(first), first.mean(), apart @ apart, second.mean(), other_apart @ other_apart, apart @ other_apart)

    rows = [moments(values[cells == cell], others[cells == cell]) for cell in range(6)]
    merged = Parts(*map(np.array, zip(*rows, strict=True))).merged(places, 2)
    for place in (0, 1):
        here = places[cells] == place
        found = (merged.n, merged.mean, merged.m2, merged.other_mean, merged.other_m2, merged.comoment)
        assert [float(part[place]) for part in found] == pytest.approx(moments(values[here], others[here]), rel=1e-6)


SMALL = [
    # unit, variant, time, bought, revenue, latency, orders, pages, platform, country, age
    ["1", "control", "2026-02-02 10:00:00", "true", "1", "10", "1", "2", "ios", "DE", "30"],
    ["2", "control", "2026-02-02 23:59:59", "false", "3", None, "3", "10", None, "DE", "40"],
    ["3", "treatment", "2026-02-03 00:00:00", "true", "5", "30", "2", "4", "ios", "FR", None],
    ["4", "treatment", "2026-02-03 00:00:00", None, "7", "50", "0", "1", "ios", "FR", "50"],
]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_has_the_moments_worked_out_by_hand(export, engine, request):
    columns = {"customer_id": "BIGINT", "arm": "VARCHAR", "first_seen_at": "TIMESTAMP", "bought": "BOOLEAN",
               "revenue_usd": "DOUBLE", "latency_ms": "DOUBLE", "orders": "INTEGER", "pages": "INTEGER",
               "platform": "VARCHAR", "country": "VARCHAR", "age": "INTEGER"}  # fmt: skip
    location = ENGINES[engine](request)
    create_table(location, "customers_export", columns, SMALL)
    with connect(location) as warehouse:
        units, moments = UnitTable(export.experiment, DECIDES_ON, warehouse).read()
    whole = [(row["variant"], row["exposed_on"].day, row["units"]) for row in units if row["segment"] is None]
    assert whole == [("control", 2, 2), ("treatment", 3, 2)]
    rows = {(row["metric"], row["value"], row["variant"], row.get("covariate_known")): row for row in moments}
    assert rows["conversion", None, "treatment", None]["null_rows"] == 1
    found = {key: [rows[key][name] for name in ("units", "n", "mean", "m2")] for key in rows}
    assert found["conversion", None, "treatment", None] == [2, 1, 1, 0]
    assert found["revenue_per_user", None, "control", None] == pytest.approx([2, 2, 2, 2])
    assert found["revenue_per_user", "ios", "treatment", None] == pytest.approx([2, 2, 6, 2])
    assert found["revenue_per_user", "(unknown)", "control", None] == pytest.approx([1, 1, 3, 0])
    assert found["latency_ms", None, "control", None] == pytest.approx([2, 1, 10, 0])
    assert found["adjusted", None, "treatment", False] == pytest.approx([1, 1, 5, 0])
    ratio = rows["orders_per_page", "DE", "control", None]
    assert [ratio[name] for name in ("denominator_mean", "denominator_m2", "comoment")] == pytest.approx([6, 32, 8])


WRONG = yaml.safe_load(Path(__file__).with_name("wrong_unit_definitions.yaml").read_text("utf-8"))


@pytest.mark.parametrize("title", WRONG)
def test_definition_that_does_not_fit_a_unit_table_gets_its_message(export, title):
    case = WRONG[title]
    export.redefine(case["in"], case["in place of"], case["stands"])
    assert problems_of(export) == case["says"]


def problems_of(export):
    """The lines of the error, without the folder."""
    with pytest.raises(DefinitionError) as caught:
        load_experiment(export.definitions, "checkout")
    return str(caught.value).replace(f"{export.definitions}/", "").splitlines()


def test_several_looks_need_times(export):
    export.redefine("sources", ", exposed_at: first_seen_at", "")
    export.redefine("checkout", "control: control", "control: control\nlooks: pocock\nminimum_days: 1")
    assert problems_of(export) == [
        "checkout.yaml:8: looks is pocock, but 'export' has no exposed_at, so that all its units are complete at once; "
        "leave looks out, or give exposed_at in sources.yaml."
    ]


def test_metrics_of_events_and_of_a_unit_table_do_not_mix(export):
    seen = "seen: {table: seen, experiment: e, unit: u, variant: v, exposed_at: t}"
    calls = "calls: {table: calls, unit: u, occurred_at: t}"
    export.redefine("sources", "units:", f"outcomes:\n  {calls}\nexposures:\n  {seen}\nunits:")
    calls = "support_calls: {title: Calls, kind: count, source: calls, window_days: 7, better: lower}"
    export.redefine("metrics", "latency_ms: {", f"{calls}\nlatency_ms: {{")
    export.redefine("checkout", "adjusted]", "support_calls]")
    assert problems_of(export) == [
        "checkout.yaml:8: primary stands with metrics of 'export', which has one row a unit, but 'support_calls' reads "
        "'calls'; take all metrics from one of them."
    ]


def test_several_looks_at_a_unit_table_with_times(export):
    export.redefine("checkout", "control: control", "control: control\nlooks: pocock\nminimum_days: 1")
    night = read(export.run(dt.date(2026, 2, 4)))
    assert night["stage"] == "look"
    assert night["metrics"][0]["comparisons"][0]["n_control"] == 134  # of 200 pairs in turns of three days, two of them


@pytest.fixture(scope="module")
def hillstrom(tmp_path_factory):
    """Hillstrom's experiment as one Parquet file, a row a customer."""
    if not HILLSTROM.is_dir():
        pytest.skip(f"the Hillstrom data is not at {HILLSTROM}")
    folder = tmp_path_factory.mktemp("hillstrom")
    names = ("exposures", "visits", "purchases", "customers")
    tables = {name: f"read_parquet('{HILLSTROM / name}.parquet')" for name in names}
    duckdb.connect().execute(
        f"COPY (SELECT e.unit_id, e.variant, v.unit_id IS NOT NULL AS visited, COALESCE(p.amount_usd, 0) AS spend, "  # noqa: S608
        f"c.channel, c.zip_code, c.pre_year_spend FROM {tables['exposures']} AS e "
        f"LEFT JOIN {tables['visits']} AS v USING (unit_id) LEFT JOIN {tables['purchases']} AS p USING (unit_id) "
        f"LEFT JOIN {tables['customers']} AS c USING (unit_id)) TO '{folder}/mail.parquet'"
    )
    definitions = {
        "sources": {"units": {"mail": {"table": "mail", "unit": "unit_id", "variant": "variant"}}},
        "metrics": {
            "visit": {"title": "Visit", "kind": "proportion", "source": "mail", "value": "visited", "better": "higher"},
            "spend": {"title": "Spend", "kind": "mean", "source": "mail", "value": "spend", "better": "higher"},
            "spend_adjusted": {"title": "Adjusted", "kind": "mean", "source": "mail", "value": "spend",
                               "covariate": "mail.pre_year_spend", "better": "higher"},
        },
        "hillstrom": {
            "title": "E-mail", "hypothesis": "It brings customers back.", "owner": "kevin@example.com",
            "starts_on": dt.date(2008, 3, 20), "ends_on": dt.date(2008, 3, 21), "control": "no_email",
            "variants": {"no_email": 1, "mens_email": 1, "womens_email": 1}, "primary": "visit",
            "smallest_effect": 0.05, "secondary": ["spend", "spend_adjusted"],
            "segments": [{"attribute": "mail.channel"}, {"attribute": "mail.zip_code"}],
        },
    }  # fmt: skip
    for name, content in definitions.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with connect(folder / "mail.parquet") as source:
        return read(pipeline.run(load_experiment(folder, "hillstrom"), dt.date(2008, 4, 4), source, folder / "results"))


@pytest.mark.parametrize("variant", ["mens_email", "womens_email"])
def test_hillstrom_as_one_table_agrees_with_scipy_and_statsmodels(hillstrom, variant):
    expected = json.loads((HILLSTROM / "expected.json").read_text())
    want = expected["comparisons"][variant]
    got = {row["metric"]: next(one for one in row["comparisons"] if one["variant"] == variant)
           for row in hillstrom["metrics"]}  # fmt: skip
    assert hillstrom["exposure"]["units"] == expected["units"]
    assert got["visit"]["pvalue"] == pytest.approx(want["visit"]["pvalue_z_pooled"], **EXACT)
    assert got["spend"]["effect"] == pytest.approx(want["spend"]["effect"], **EXACT)
    assert got["spend"]["pvalue"] == pytest.approx(want["spend"]["pvalue_welch"], **EXACT)
    assert got["spend"]["effect_interval"] == pytest.approx(want["spend"]["ci95_welch"], **EXACT)
    assert got["spend_adjusted"]["effect"] == pytest.approx(want["spend"]["cuped_pre_year_spend"]["effect"], **EXACT)
    rows = {f"{row['name']}={row['value']}": row["comparisons"] for row in hillstrom["segments"]}
    assert rows.keys() == want["visit_segments"]["segments"].keys()
    for name, segment in want["visit_segments"]["segments"].items():
        (one,) = [one for one in rows[name] if one["variant"] == variant]
        assert [one["n_control"], one["n_treatment"]] == segment["n"]
        assert one["pvalue"] == pytest.approx(segment["pvalue_z_pooled"], **EXACT)
