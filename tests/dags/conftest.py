"""A small warehouse and a folder of definitions for the tests that run Airflow."""

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
STARTS_ON = dt.date(2026, 3, 2)
# Enrolment ends on 4 March and the metric's window is a day: the night of 5 March, with the data of the 4th, decides.
DATA_ON = dt.date(2026, 3, 4)
AS_OF = dt.date(2026, 3, 5)
# Of the experiment "tonight" the deciding night is the one that the scheduler starts by itself, now.
TODAY = dt.datetime.now(dt.UTC).date()

# Airflow reads these when it is first imported, in this process and in every one that it starts.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="abtest-airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(REPOSITORY / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(REPOSITORY / "plugins")
os.environ["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] = "False"
sys.path.append(str(REPOSITORY / "plugins"))

SOURCES = """\
exposures:
  assignments: {table: exposures, experiment: experiment_id, unit: unit_id, variant: variant, exposed_at: exposed_at}
outcomes:
  purchases: {table: purchases, unit: unit_id, occurred_at: occurred_at}
  refunds: {table: refunds, unit: unit_id, occurred_at: occurred_at}
  todays: {table: todays_purchases, unit: unit_id, occurred_at: occurred_at}
attributes:
  customers: {table: customers, unit: unit_id}
alerts: {email: [oncall@example.com], slack: "#alerts"}
"""
METRICS = """\
conversion: {title: Conversion, description: Bought at least once., owner: metrics@example.com,
  kind: proportion, source: purchases, window_days: 1, better: higher, nulls: zero}
bought: {title: Conversion, kind: proportion, source: todays, window_days: 1, better: higher}
refunded: {title: Refunds, description: Asked for the money back., owner: metrics@example.com,
  kind: proportion, source: refunds, window_days: 1, better: lower, nulls: zero}
"""
EXPERIMENT = """\
title: {title}
hypothesis: Fewer steps let more <b>visitors</b> finish | their order.
owner: {owner}
team: payments
starts_on: 2026-03-02
ends_on: 2026-03-04
variants: {{control: 1, treatment: 1}}
control: control
primary: {primary}
smallest_effect: 0.02
secondary: []
guardrails: []
segments:
  - {{attribute: customers.platform}}
notify: {{email: [{key}@example.com], slack: "#{key}"}}
"""


@pytest.fixture(scope="module")
def definitions_folder(tmp_path_factory):
    """A good experiment, one that lost units of a variant, one that reads a table that is not there, one misspelt."""
    folder = tmp_path_factory.mktemp("experiments")
    (folder / "sources.yaml").write_text(SOURCES)
    (folder / "metrics.yaml").write_text(METRICS)
    (folder / "subscriptions.yaml").write_text("- {email: [digest@example.com], for: all, send: digest}\n")
    for key, owner, primary in (
        ("checkout", "ana@example.com", "conversion"),
        ("banner", "dee@example.com", "conversion"),
        ("refund_flow", "ben@example.com", "refunded"),
        ("typo", "cleo@example.com", "conversion"),
        ("tonight", "tom@example.com", "bought"),
    ):
        text = EXPERIMENT.format(title=key.title(), owner=owner, primary=primary, key=key)
        text = text.replace("ends_on", "end_on") if key == "typo" else text
        # Every experiment gets as many units a variant; for this one that is far from the design.
        text = text.replace("treatment: 1}", "treatment: 3}") if key == "banner" else text
        if key == "tonight":
            text = text.replace("2026-03-02", str(TODAY - dt.timedelta(days=3)))
            text = text.replace("2026-03-04", str(TODAY - dt.timedelta(days=1)))
            text += "sign_off: {by: [admin], within_hours: 1}\n"
        (folder / f"{key}.yaml").write_text(text)
    return folder


@pytest.fixture
def small_warehouse(tmp_path):
    return write_warehouse(tmp_path / "warehouse.duckdb")


@pytest.fixture(scope="module")
def module_warehouse(tmp_path_factory):
    return write_warehouse(tmp_path_factory.mktemp("warehouse") / "warehouse.duckdb")


def write_warehouse(path: Path) -> Path:
    """Write 400 units a variant; every fourth of control and every second of treatment buys three hours later."""
    with duckdb.connect(str(path)) as warehouse:
        warehouse.execute(
            """
            CREATE TABLE exposures AS
            SELECT key AS experiment_id, prefix || i AS unit_id,
                   CASE i % 2 WHEN 0 THEN 'control' ELSE 'treatment' END AS variant,
                   starts_at + INTERVAL (i * 3) MINUTE AS exposed_at
            FROM range(800) AS units(i), (VALUES
                ('checkout', 'u', TIMESTAMP '2026-03-02'), ('banner', 'u', TIMESTAMP '2026-03-02'),
                ('refund_flow', 'u', TIMESTAMP '2026-03-02'), ('tonight', 't', $today - INTERVAL 3 DAY)
            ) AS experiments(key, prefix, starts_at)
            """,
            {"today": dt.datetime.combine(TODAY, dt.time())},
        )
        for table, experiment, last in (
            ("purchases", "checkout", dt.datetime(2026, 3, 4, 12)),
            ("todays_purchases", "tonight", dt.datetime.combine(TODAY, dt.time()) - dt.timedelta(hours=12)),
        ):
            warehouse.execute(
                f"""
                CREATE TABLE {table} AS
                SELECT unit_id, exposed_at + INTERVAL 3 HOUR AS occurred_at FROM exposures
                WHERE experiment_id = $experiment
                  AND CAST(substr(unit_id, 2) AS INTEGER) // 2 % (CASE variant WHEN 'control' THEN 4 ELSE 2 END) = 0
                UNION ALL
                SELECT 'visitor', $last
                """,  # noqa: S608
                {"experiment": experiment, "last": last},
            )
        warehouse.execute(
            """
            CREATE TABLE customers AS
            SELECT UNNEST(['u' || i, 't' || i]) AS unit_id,
                   CASE i // 2 % 2 WHEN 0 THEN 'ios' ELSE 'android' END AS platform
            FROM range(800) AS units(i)
            """
        )
    return path


@pytest.fixture(scope="session")
def described():
    """Parse the DAG folder in a fresh process, as the dag-processor does, and describe what came out."""

    def describe(folder: Path, **env: str) -> dict:
        done = subprocess.run(  # noqa: S603
            [sys.executable, Path(__file__).with_name("describe_dags.py")],
            env={**os.environ, "ABTEST_EXPERIMENTS": str(folder), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return describe
