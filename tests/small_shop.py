"""A shop small enough to be built in a moment: definitions and warehouse for tests that break one of them."""

from __future__ import annotations

import datetime as dt
import functools
import shutil
import tempfile
from pathlib import Path

import duckdb

from abtest_lib import definitions, pipeline, results
from abtest_lib.warehouse import connect

KEY, AS_OF = "checkout", dt.date(2026, 2, 8)

SOURCES = """\
exposures:
  assignments: {table: exposures, experiment: experiment_id, unit: unit_id, variant: variant, exposed_at: exposed_at,
                loaded_at: loaded_at}
outcomes:
  purchases: {table: purchases, unit: unit_id, occurred_at: occurred_at, loaded_at: loaded_at}
  page_loads: {table: page_loads, unit: unit_id, occurred_at: occurred_at, loaded_at: loaded_at}
attributes:
  customers: {table: customers, unit: unit_id}
load_log: {table: load_log}
alerts: {email: [oncall@example.com], slack: "#alerts"}
"""
METRICS = """\
conversion:
  {title: Conversion, kind: proportion, source: purchases, window_days: 2, lag_days: 1, better: higher}
revenue_per_user:
  {title: Revenue, kind: mean, source: purchases, value: amount_usd, window_days: 2, lag_days: 1, better: higher,
   unit: USD}
latency_ms:
  {title: Latency, kind: mean, source: page_loads, value: latency_ms, aggregate: mean, nulls: drop, window_days: 2,
   lag_days: 1, better: lower, unit: ms}
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
secondary: [revenue_per_user]
guardrails:
  - {metric: latency_ms, margin: 0.1}
segments:
  - {attribute: customers.platform, protected: true}
notify: {email: [team@example.com, boss@example.com], slack: "#checkout"}
"""

# 400 units in three days, 200 in each variant; 30 % of control and 50 % of treatment buy five hours later.
TABLES = (
    """CREATE TABLE exposures AS
    SELECT 'checkout' AS experiment_id, 'u' || i AS unit_id, IF(i % 2 = 0, 'control', 'treatment') AS variant,
        TIMESTAMP '2026-02-02 10:00:00' + to_days((i // 2 % 3)::INTEGER) + to_seconds(i) AS exposed_at,
        exposed_at + INTERVAL 1 HOUR AS loaded_at
    FROM range(400) AS r (i)""",
    """CREATE TABLE purchases AS
    SELECT unit_id, exposed_at + INTERVAL 5 HOUR AS occurred_at, occurred_at + INTERVAL 1 HOUR AS loaded_at,
        (20 + substr(unit_id, 2)::INTEGER % 7)::DOUBLE AS amount_usd
    FROM exposures
    WHERE substr(unit_id, 2)::INTEGER // 2 % 10 < IF(variant = 'control', 3, 5)
    ORDER BY ALL""",
    """CREATE TABLE page_loads AS
    SELECT unit_id, exposed_at + to_hours(n) AS occurred_at, occurred_at + INTERVAL 1 HOUR AS loaded_at,
        (100 + substr(unit_id, 2)::INTEGER * 37 % 23 + n)::DOUBLE AS latency_ms
    FROM exposures CROSS JOIN range(2) AS r (n)
    ORDER BY ALL""",
    """CREATE TABLE customers AS
    SELECT unit_id, IF(substr(unit_id, 2)::INTEGER // 2 % 2 = 0, 'ios', 'android') AS platform
    FROM exposures WHERE substr(unit_id, 2)::INTEGER % 50 > 1
    ORDER BY ALL""",
    """CREATE TABLE load_log AS
    SELECT source, day::DATE AS data_on, day + INTERVAL 27 HOUR AS loaded_at
    FROM unnest(['assignments', 'purchases', 'page_loads']) AS s (source),
        range(TIMESTAMP '2026-02-01', TIMESTAMP '2026-02-08', INTERVAL 1 DAY) AS d (day)
    ORDER BY ALL""",
)


class Shop:
    """Definitions, warehouse and results in one folder."""

    def __init__(self, folder: Path):
        self._lies_in(folder)
        self.definitions.mkdir(parents=True)
        for name, text in (("sources", SOURCES), ("metrics", METRICS), (KEY, EXPERIMENT)):
            (self.definitions / f"{name}.yaml").write_text(text, encoding="utf-8")
        self.warehouse.write_bytes(_warehouse())

    @classmethod
    def at(cls, folder: Path) -> Shop:
        """The one that lies in a folder already."""
        found = cls.__new__(cls)
        found._lies_in(folder)
        return found

    def copy(self, folder: Path) -> Shop:
        """Another one, as this one is now."""
        return Shop.at(shutil.copytree(self.definitions.parent, folder))

    def _lies_in(self, folder: Path) -> None:
        self.definitions, self.warehouse = folder / "experiments", folder / "shop.duckdb"
        self.results = folder / "results"

    def change(self, *statements: str) -> None:
        """Change the warehouse."""
        with duckdb.connect(str(self.warehouse)) as connection:
            for statement in statements:
                connection.execute(statement)

    def redefine(self, name: str, old: str, new: str) -> None:
        """Change a definition."""
        path = self.definitions / f"{name}.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}.yaml"
        path.write_text(text.replace(old, new), encoding="utf-8")

    @property
    def experiment(self) -> definitions.Experiment:
        """As the definitions stand now."""
        return definitions.load_experiment(self.definitions, KEY)

    def run(self, as_of: dt.date = AS_OF) -> Path:
        """Run a night; its revision."""
        with connect(self.warehouse) as source:
            return pipeline.run(self.experiment, as_of, source, self.results)

    def collect(self, as_of: dt.date = AS_OF) -> Path:
        """Run the first step of a night only; its revision."""
        with connect(self.warehouse) as source:
            return pipeline.collect(self.experiment, as_of, source, self.results)

    def current(self, as_of: dt.date = AS_OF) -> Path | None:
        """The published revision of a night."""
        return results.night_folder(self.results, KEY, as_of)

    @property
    def places(self) -> list[str]:
        """Options of the command line that lead here."""
        return [
            "--experiments",
            str(self.definitions),
            "--results",
            str(self.results),
            "--warehouse",
            str(self.warehouse),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead here."""
        return {
            "ABTEST_EXPERIMENTS": str(self.definitions),
            "ABTEST_RESULTS": str(self.results),
            "ABTEST_WAREHOUSE": str(self.warehouse),
        }


def late_shop(folder: Path) -> Shop:
    """A shop whose page loads, which only a secondary metric reads, lack the last day."""
    shop = Shop(folder)
    shop.redefine("metrics", "latency_ms:", "loads:\n  {title: Page loads, kind: count, source: page_loads, "
                  "window_days: 2, lag_days: 1, better: higher}\nlatency_ms:")  # fmt: skip
    shop.redefine(KEY, "secondary: [revenue_per_user]", "secondary: [revenue_per_user, loads]")
    shop.redefine(KEY, "guardrails:\n  - {metric: latency_ms, margin: 0.1}\n", "")
    shop.change("DELETE FROM load_log WHERE source = 'page_loads' AND data_on = DATE '2026-02-07'")
    return shop


@functools.cache
def _warehouse() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shop.duckdb")
        with duckdb.connect(str(path)) as connection:
            for statement in TABLES:
                connection.execute(statement)
        return path.read_bytes()


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes, but for what nights keep for later ones and what they cost."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_state" not in path.parts and path.name != "cost.jsonl"
    }


def run_together(folder: Path, barrier) -> None:
    """Run some nights at the same moment as other processes do."""
    shop = Shop.at(folder)
    for as_of in (dt.date(2026, 2, 6), dt.date(2026, 2, 7), AS_OF):
        barrier.wait(timeout=60)
        shop.run(as_of)
