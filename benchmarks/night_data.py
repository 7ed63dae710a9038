"""A warehouse of events for the benchmarks of nights: large, seeded, the same on every machine.

Every value is a hash of what it belongs to, so a warehouse of fewer days holds the same rows as one of more, as far as
they were loaded by then. Tables lie in the order of loading, as a nightly loader leaves them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

STARTS_ON = dt.date(2026, 3, 2)
ENROLMENT_DAYS = 56
HISTORY_DAYS = 7  # of events before the first exposure
LATE_DAYS = (1, 2, 3)
AGED = "aged"

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
alerts: {email: [oncall@example.com]}
"""
# Of each metric that an experiment names, one with a window of a week and one of two.
METRIC = {
    "conversion": "kind: proportion, source: purchases, lag_days: 1, better: higher",
    "orders": "kind: count, source: purchases, lag_days: 2, better: higher",
    "revenue": "kind: mean, source: purchases, value: amount, covariate: customers.spent_before, lag_days: 3, "
    "better: higher",
    "spend": "kind: mean, source: purchases, value: amount, lag_days: 2, better: higher",
    "latency": "kind: mean, source: page_loads, value: latency_ms, aggregate: mean, nulls: drop, lag_days: 1, "
    "better: lower",
    "page_views": "kind: count, source: page_loads, lag_days: 1, better: higher",
    "errors": "kind: proportion, source: page_loads, where: {status: failed}, lag_days: 1, better: lower",
    "waiting": "kind: mean, source: page_loads, value: latency_ms, nulls: zero, lag_days: 2, better: lower",
}
RATIOS = {"order_value": ("spend", "orders", "higher"), "page_time": ("waiting", "page_views", "lower")}
WINDOWS = (7, 14)
EXPERIMENT = """\
title: {key}
hypothesis: It changes nothing.
owner: ana@example.com
starts_on: {starts_on}
ends_on: {ends_on}
variants: {{control: 1, treatment: 1}}
control: control
primary: [{primary}]
smallest_effect: 0.02
secondary: [{secondary}]
guardrails:
  - {{metric: {guardrail}, margin: 0.05}}
segments:
  - {{attribute: customers.platform}}
  - {{attribute: customers.country}}
"""


@dataclass(frozen=True)
class Size:
    """How much there is: units, rows a day of each outcome source, and the experiments that all units are in."""

    units: int = 1_000_000
    purchases: int = 200_000
    page_loads: int = 500_000
    experiments: tuple[str, ...] = (AGED,)


def as_of(age: int) -> dt.date:
    """Return the night that has so many days of exposures."""
    return STARTS_ON + dt.timedelta(days=age)


def write_definitions(folder: Path, experiments: Sequence[str], ends_on: dt.date | None = None) -> Path:
    """Write sources, metrics and experiments as YAML; each of many experiments has its own choice of five metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = [
        f"{name}_{days}: {{title: {name}, window_days: {days}, owner: ana@example.com, {text}}}"
        for days in WINDOWS
        for name, text in METRIC.items()
    ]
    metrics += [
        f"{name}_{days}: {{title: {name}, kind: ratio, numerator: {top}_{days}, denominator: {bottom}_{days}, "
        f"better: {better}, owner: ana@example.com}}"
        for days in WINDOWS
        for name, (top, bottom, better) in RATIOS.items()
    ]
    (folder / "sources.yaml").write_text(SOURCES)
    (folder / "metrics.yaml").write_text("\n".join(metrics))
    for number, key in enumerate(experiments):
        chosen = ["conversion_7", "orders_7", "revenue_7", "latency_7", "order_value_7"]
        if key != AGED:
            names = [f"{name}_{WINDOWS[number % 2]}" for name in (*METRIC, *RATIOS)]
            chosen = [names[(number // 2 + step) % len(names)] for step in (0, 2, 3, 5, 7)]
        (folder / f"{key}.yaml").write_text(
            EXPERIMENT.format(key=key, starts_on=STARTS_ON, ends_on=ends_on or as_of(ENROLMENT_DAYS), primary=chosen[0],
                              secondary=", ".join(chosen[1:4]), guardrail=chosen[4])
        )  # fmt: skip
    return folder


def load(path: Path, size: Size, until: int, after: int | None = None, *, memory: str = "6GB") -> Path:
    """Load what the loader had loaded by the night of an age, into a warehouse that has all of an earlier night's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"memory_limit": memory, "temp_directory": str(path.with_suffix(".spill"))}
    first = STARTS_ON - dt.timedelta(days=HISTORY_DAYS)
    loaded_after = first if after is None else as_of(after)
    with duckdb.connect(str(path), config=settings) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(MACROS)
        if after is None:
            connection.execute(TABLES)
            connection.execute(CUSTOMERS, {"units": size.units})
        for number in range(1, (as_of(until) - loaded_after).days + 1):
            loaded_on = loaded_after + dt.timedelta(days=number)
            for late in (0, *LATE_DAYS):
                day = loaded_on - dt.timedelta(days=1 + late)
                if day >= first:
                    _load_outcomes(connection, size, day, loaded_on, late)
            connection.execute(LOAD_LOG, {"loaded_on": loaded_on})
        connection.execute(
            EXPOSURES, {"keys": list(size.experiments), "days": ENROLMENT_DAYS, "units": size.units,
                        "starts_on": STARTS_ON, "loaded_after": loaded_after, "as_of": as_of(until)}
        )  # fmt: skip
        connection.execute("CHECKPOINT")
    return path


def _load_outcomes(
    connection: duckdb.DuckDBPyConnection, size: Size, day: dt.date, loaded_on: dt.date, late: int
) -> None:
    """Insert the rows of a day that come so many days late: one in three hundred of each number of days."""
    given = {"day": day, "loaded_on": loaded_on, "units": size.units}
    for statement, rows in ((PURCHASES, size.purchases), (PAGE_LOADS, size.page_loads)):
        first, last = _late_rows(rows, late)
        connection.execute(statement, given | {"first": first, "last": last})


def _late_rows(rows: int, late: int) -> tuple[int, int]:
    in_time, each = rows - len(LATE_DAYS) * (rows // 300), rows // 300
    return (0, in_time) if late == 0 else (in_time + (late - 1) * each, in_time + late * each)


MACROS = """\
CREATE OR REPLACE TEMP MACRO chance(a, b, c) AS (hash(a, b, c) >> 11) / 9007199254740992.0;
"""
TABLES = """\
CREATE TABLE exposures (experiment_id VARCHAR, unit_id VARCHAR, variant VARCHAR, exposed_at TIMESTAMP,
    loaded_at TIMESTAMP);
CREATE TABLE purchases (unit_id VARCHAR, occurred_at TIMESTAMP, amount DOUBLE, loaded_at TIMESTAMP);
CREATE TABLE page_loads (unit_id VARCHAR, occurred_at TIMESTAMP, latency_ms DOUBLE, status VARCHAR,
    loaded_at TIMESTAMP);
CREATE TABLE customers (unit_id VARCHAR, platform VARCHAR, country VARCHAR, spent_before DOUBLE);
CREATE TABLE load_log (source VARCHAR, data_on DATE, loaded_at TIMESTAMP);
"""
# One customer in fifty has no country, one in a hundred no covariate, and one in a hundred no row at all.
CUSTOMERS = """\
INSERT INTO customers
SELECT
    'u' || i,
    ['ios', 'android', 'web', 'web', 'android'][1 + (hash(i, 'platform') % 5)::INTEGER],
    IF(hash(i, 'gap') % 50 = 0, NULL, 'country ' || floor(20 * chance(i, 'country', 0) ^ 2)::INTEGER),
    IF(hash(i, 'spent') % 100 = 0, NULL, 30 * power(1 - chance(i, 'spent', 1), -0.4))
FROM range($units) AS r (i)
WHERE hash(i, 'row') % 100 > 0
"""
PURCHASES = """\
INSERT INTO purchases
SELECT
    'u' || (hash(i, $day, 'purchase') % $units),
    $day::TIMESTAMP + to_microseconds((86400000000 * chance(i, $day, 'bought at'))::BIGINT),
    10 * power(1 - chance(i, $day, 'amount'), -0.4),
    $loaded_on::TIMESTAMP + INTERVAL 2 HOUR
FROM range($first, $last) AS r (i)
"""
PAGE_LOADS = """\
INSERT INTO page_loads
SELECT
    'u' || (hash(i, $day, 'page') % $units),
    $day::TIMESTAMP + to_microseconds((86400000000 * chance(i, $day, 'loaded at'))::BIGINT),
    IF(hash(i, $day, 'lost') % 200 = 0, NULL, 120 - 300 * ln(1 - chance(i, $day, 'latency'))),
    IF(hash(i, $day, 'status') % 50 = 0, 'failed', 'ok'),
    $loaded_on::TIMESTAMP + INTERVAL 2 HOUR
FROM range($first, $last) AS r (i)
"""
# Units come evenly over the enrolment. One in twenty is exposed again some days later, and one in four hundred then
# sees the other variant.
EXPOSURES = """\
INSERT INTO exposures
WITH first_exposures AS (
    SELECT
        key,
        i,
        $days * chance(i, key, 'exposed') AS came,
        hash(i, key, 'variant') % 2 AS arm,
        hash(i, key, 'again') % 400 AS again,
        1 + (hash(i, key, 'days') % 7)::INTEGER AS later
    FROM unnest($keys) AS k (key)
    CROSS JOIN range($units) AS r (i)
),
all_exposures AS (
    SELECT key, i, came, arm, 0 AS repetition FROM first_exposures
    UNION ALL
    SELECT key, i, came + later, IF(again = 0, 1 - arm, arm), 1 FROM first_exposures WHERE again < 20
),
timed_exposures AS (
    SELECT
        key,
        i,
        arm,
        $starts_on::TIMESTAMP + to_microseconds((86400000000 * came)::BIGINT) AS exposed_at,
        CASE hash(i, key, repetition) % 300 WHEN 0 THEN 1 WHEN 1 THEN 2 WHEN 2 THEN 3 ELSE 0 END AS late
    FROM all_exposures
)
SELECT
    key,
    'u' || i,
    IF(arm = 0, 'control', 'treatment'),
    exposed_at,
    (exposed_at::DATE + 1 + late)::TIMESTAMP + INTERVAL 2 HOUR AS loaded_at
FROM timed_exposures
WHERE exposed_at::DATE + 1 + late > $loaded_after
    AND exposed_at::DATE + 1 + late <= $as_of
ORDER BY loaded_at, exposed_at, key, i
"""
LOAD_LOG = """\
INSERT INTO load_log
SELECT source, $loaded_on::DATE - 1, $loaded_on::TIMESTAMP + INTERVAL 3 HOUR
FROM unnest(['assignments', 'purchases', 'page_loads']) AS s (source)
"""
# The moments of the experiment AGED from the raw tables, each read once; a unit's sums are held once for all groups.
_MOMENTS = """\
SELECT
    {segment} AS segment,
    variant,
    crossover,
    exposed_on,
    COUNT(*) AS n_conversion_7,
    AVG((orders > 0)::INTEGER) AS mean_conversion_7,
    VAR_POP((orders > 0)::INTEGER) * COUNT(*) AS m2_conversion_7,
    COUNT(*) FILTER (WHERE nine) AS n_orders_7,
    AVG(orders) FILTER (WHERE nine) AS mean_orders_7,
    VAR_POP(orders) FILTER (WHERE nine) * COUNT(*) FILTER (WHERE nine) AS m2_orders_7,
    COUNT(*) FILTER (WHERE ten) AS n_revenue_7,
    AVG(spent) FILTER (WHERE ten) AS mean_revenue_7,
    AVG(spent) FILTER (WHERE ten AND before IS NOT NULL) AS known_mean_revenue_7,
    VAR_POP(spent) FILTER (WHERE ten AND before IS NOT NULL) AS known_variance_revenue_7,
    AVG(before) FILTER (WHERE ten) AS covariate_mean_revenue_7,
    VAR_POP(before) FILTER (WHERE ten) AS covariate_variance_revenue_7,
    COVAR_POP(spent, before) FILTER (WHERE ten) AS covariance_revenue_7,
    VAR_POP(spent) FILTER (WHERE ten AND before IS NULL) AS unknown_variance_revenue_7,
    SUM(lost) AS null_rows_latency_7,
    COUNT(latency) AS n_latency_7,
    AVG(latency) AS mean_latency_7,
    VAR_POP(latency) * COUNT(latency) AS m2_latency_7,
    COUNT(*) FILTER (WHERE nine) AS n_order_value_7,
    AVG(spent) FILTER (WHERE nine) AS mean_order_value_7,
    VAR_POP(spent) FILTER (WHERE nine) AS variance_order_value_7,
    COVAR_POP(spent, orders) FILTER (WHERE nine) AS covariance_order_value_7
FROM unit_values
GROUP BY ALL
"""
BY_HAND_SQL = """\
WITH known_exposures AS (
    SELECT unit_id, variant, exposed_at
    FROM exposures
    WHERE experiment_id = $experiment AND exposed_at < $as_of AND loaded_at <= $known_by
),
exposed_units AS (
    SELECT
        unit_id,
        ARG_MIN(variant, exposed_at) AS variant,
        MIN(exposed_at) AS exposed_at,
        MIN(variant) <> MAX(variant) AS crossover
    FROM known_exposures
    GROUP BY unit_id
),
cells AS (
    SELECT
        unit_id,
        variant,
        exposed_at,
        crossover,
        COALESCE(platform, '(unknown)') AS platform,
        COALESCE(country, '(unknown)') AS country,
        spent_before AS before
    FROM exposed_units
    LEFT JOIN customers USING (unit_id)
    WHERE exposed_at >= $starts_at AND exposed_at < $as_of - INTERVAL 8 DAY
),
bought AS (
    SELECT unit_id, COUNT(*) AS orders, SUM(amount) AS spent
    FROM cells
    INNER JOIN purchases USING (unit_id)
    WHERE occurred_at >= exposed_at AND occurred_at < exposed_at + INTERVAL 7 DAY
        AND occurred_at >= $starts_at AND loaded_at <= $known_by
    GROUP BY unit_id
),
viewed AS (
    SELECT unit_id, SUM(latency_ms) / COUNT(latency_ms) AS latency, COUNT(*) - COUNT(latency_ms) AS lost
    FROM cells
    INNER JOIN page_loads USING (unit_id)
    WHERE occurred_at >= exposed_at AND occurred_at < exposed_at + INTERVAL 7 DAY
        AND occurred_at >= $starts_at AND loaded_at <= $known_by
    GROUP BY unit_id
),
unit_values AS MATERIALIZED (
    SELECT
        variant,
        crossover,
        exposed_at::DATE AS exposed_on,
        platform,
        country,
        before,
        exposed_at < $as_of - INTERVAL 9 DAY AS nine,
        exposed_at < $as_of - INTERVAL 10 DAY AS ten,
        COALESCE(orders, 0)::DOUBLE AS orders,
        COALESCE(spent, 0)::DOUBLE AS spent,
        latency,
        lost
    FROM cells
    LEFT JOIN bought USING (unit_id)
    LEFT JOIN viewed USING (unit_id)
)
""" + "UNION ALL\n".join(_MOMENTS.format(segment=segment) for segment in ("NULL::VARCHAR", "platform", "country"))  # noqa: S608
