"""A fleet of experiments for the benchmarks: definitions as people write them, and the small warehouse they share."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb

USERS, UNITS = 30_000, 3_000  # units of one experiment; each user is in many
STARTED_DAYS_AGO, ENDED_DAYS_AGO = 7, 3

SOURCES = """\
exposures:
  assignments: {table: exposures, experiment: experiment_id, unit: unit_id, variant: variant, exposed_at: exposed_at,
                loaded_at: loaded_at}
outcomes:
  purchases: {table: purchases, unit: unit_id, occurred_at: occurred_at, loaded_at: loaded_at}
  page_loads: {table: page_loads, unit: unit_id, occurred_at: occurred_at, loaded_at: loaded_at}
  searches: {table: searches, unit: unit_id, occurred_at: occurred_at, loaded_at: loaded_at}
  contacts: {table: contacts, unit: unit_id, occurred_at: occurred_at, loaded_at: loaded_at}
attributes:
  customers: {table: customers, unit: unit_id}
load_log: {table: load_log, source: source, data_on: data_on, loaded_at: loaded_at}
loaded_within_hours: 6
alerts: {email: [data-oncall@example.com], slack: "#ab-alerts"}
"""
# Five of each of these four sources: share, count, sum, mean of a unit, and a ratio of sum and count.
SHARES = {"purchases": "Customers who bought", "page_loads": "Visitors", "searches": "Customers who searched",
          "contacts": "Customers who asked for help"}  # fmt: skip
METRICS = """\
{source}_share:
  title: {title}
  description: Share of exposed customers with at least one row in {source} within two days.
  owner: metrics@example.com
  kind: proportion
  source: {source}
  window_days: 2
  lag_days: 1
  better: {better}

{source}_count:
  title: {title}, how often
  description: Rows in {source} within two days, counted for each exposed customer.
  owner: metrics@example.com
  kind: count
  source: {source}
  window_days: 2
  lag_days: 1
  better: {better}

{source}_sum:
  title: {title}, in all
  description: The amounts of {source} within two days, summed for each exposed customer; no row counts as 0.
  owner: metrics@example.com
  kind: mean
  source: {source}
  value: amount
  aggregate: sum
  window_days: 2
  lag_days: 1
  better: {better}
  nulls: refuse

{source}_mean:
  title: {title}, each time
  description: Mean amount, averaged for each customer first; customers without a row are dropped.
  owner: metrics@example.com
  kind: mean
  source: {source}
  value: amount
  aggregate: mean
  window_days: 1
  lag_days: 1
  better: {better}
  nulls: drop

{source}_per_row:
  title: {title}, amount a time
  description: A ratio of two sums over customers, so its error is that of customers.
  owner: metrics@example.com
  kind: ratio
  numerator: {source}_sum
  denominator: {source}_count
  better: {better}

"""
EXPERIMENT = """\
# Laid down by a benchmark; the numbers below are as people write them.
title: Fewer steps on page {number}
hypothesis: A page with fewer steps lets more customers finish what they came for, and nobody waits longer for it.
owner: owner{owner}@example.com
team: team_{team}
starts_on: {starts_on}
ends_on: {ends_on}
variants: {{control: 1, treatment: 1}}
control: control
primary: [{primary}]
smallest_effect: 0.03
secondary:
{secondary}
guardrails:
{guardrails}
segments:
  - {{attribute: customers.country}}
  - {{attribute: customers.platform, protected: true}}
notify: {{email: [team{team}@example.com], slack: "#team-{team}"}}
"""


def write_definitions(folder: Path, count: int, tonight: dt.date) -> list[str]:
    """Write the catalogue and experiments of ten metrics that all decide on one night; return their keys."""
    folder.mkdir(parents=True)
    (folder / "sources.yaml").write_text(SOURCES)
    better = {"purchases": "higher", "searches": "higher", "page_loads": "lower", "contacts": "lower"}
    texts = [METRICS.format(source=source, title=title, better=better[source]) for source, title in SHARES.items()]
    (folder / "metrics.yaml").write_text("".join(texts))
    names = [f"{source}_{kind}" for source in SHARES for kind in ("share", "count", "sum", "mean", "per_row")]
    keys = [f"page_{number:04d}" for number in range(count)]
    for number, key in enumerate(keys):
        first = number % len(names)
        metrics = (names + names)[first : first + 10]
        text = EXPERIMENT.format(
            number=number,
            owner=number % 40,
            team=number % 20,
            starts_on=tonight - dt.timedelta(days=STARTED_DAYS_AGO),
            ends_on=tonight - dt.timedelta(days=ENDED_DAYS_AGO),
            primary=metrics[0],
            secondary="\n".join(f"  - {name}" for name in metrics[1:7]),
            guardrails="\n".join(f"  - {{metric: {name}, margin: 0.1}}" for name in metrics[7:]),
        )
        (folder / f"{key}.yaml").write_text(text)
    return keys


def write_warehouse(file: Path, keys: list[str], tonight: dt.date) -> None:
    """Write exposures, outcomes and attributes up to a night; every value is a hash of what it belongs to."""
    midnight = dt.datetime.combine(tonight, dt.time())
    start, enrolled = midnight - dt.timedelta(days=STARTED_DAYS_AGO), STARTED_DAYS_AGO - ENDED_DAYS_AGO
    with duckdb.connect(str(file)) as warehouse:
        warehouse.execute(
            """
            CREATE TABLE customers AS
            SELECT 'u' || user AS unit_id, 'country_' || hash(user, 'country') % 4 AS country,
                   'platform_' || hash(user, 'platform') % 3 AS platform
            FROM range($users) AS users(user)
            """,
            {"users": USERS},
        )
        # Turns and not chance give the variant, so that no sample ratio is an accident.
        warehouse.execute(
            """
            CREATE TABLE exposures AS
            SELECT key AS experiment_id, 'u' || (number * 7919 + unit * 11) % $users AS unit_id,
                   CASE unit % 2 WHEN 0 THEN 'control' ELSE 'treatment' END AS variant,
                   $start + to_seconds(hash(key, unit) % ($days * 86400)) AS exposed_at, exposed_at AS loaded_at
            FROM range($units) AS units(unit), (SELECT unnest($keys) AS key, unnest(range(len($keys))) AS number)
            ORDER BY exposed_at
            """,
            {"users": USERS, "units": UNITS, "start": start, "days": enrolled, "keys": keys},
        )
        for table in SHARES:
            warehouse.execute(
                f"""
                CREATE TABLE {table} AS
                SELECT 'u' || user AS unit_id, $start + to_days(CAST(day AS INTEGER))
                       + to_seconds(hash(user, day, '{table}') % 86400) AS occurred_at,
                       round(1 + hash(user, day, '{table}', 'amount') % 1000 / 100, 2) AS amount,
                       occurred_at AS loaded_at
                FROM range($users) AS users(user), range($days) AS days(day)
                WHERE hash(user, day, '{table}', 'there') % 10 < 4
                ORDER BY occurred_at
                """,  # noqa: S608
                {"users": USERS, "start": start, "days": STARTED_DAYS_AGO},
            )
        warehouse.execute(
            """
            CREATE TABLE load_log AS
            SELECT source, CAST($start AS DATE) + CAST(day AS INTEGER) AS data_on,
                   $start + to_days(CAST(day AS INTEGER) + 1) + INTERVAL 1 HOUR AS loaded_at
            FROM (SELECT unnest($sources) AS source), range($days) AS days(day)
            """,
            {"start": start, "sources": ["assignments", *SHARES], "days": STARTED_DAYS_AGO},
        )
