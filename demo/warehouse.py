"""Build the demo's warehouse: one DuckDB file with eight experiments whose true effects are known.

``python -m demo.warehouse PATH`` writes it. The same code and libraries give the same rows on every machine.
Experiments that read the same outcome table run on different customers, so that each effect below is the true one.
"""

import argparse
import hashlib
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

AS_OF = date(2026, 3, 9)
FIRST_DAY = date(2026, 1, 19)
CUSTOMERS = 90_000
SEED = 2

TRUTH: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "one_page_checkout": {"treatment": ("ship", "primary_better")},
    "search_ranker_v2": {"treatment": ("do_not_ship", "guardrail_harmful")},
    "query_suggestions": {"treatment": ("ship", "primary_better")},
    "onboarding_tips": {"treatment": ("do_not_ship", "no_effect_shown")},
    "home_redesign": {"treatment": ("do_not_ship", "segment_harmed")},
    "push_prompt": {"treatment": ("invalid", "sample_ratio_mismatch")},
    "fraud_model_v3": {"treatment": ("keep_running", "immature")},
    "support_assistant": {
        "short_answers": ("ship", "primary_better"),
        "long_answers": ("do_not_ship", "no_effect_shown"),
    },
}

DAY = 86_400
HOUR = 3_600
PLATFORMS, PLATFORM_SHARES = ("android", "ios", "web"), (0.35, 0.35, 0.30)
COUNTRIES, COUNTRY_SHARES = ("US", "GB", "DE", "FR", "BR"), (0.40, 0.20, 0.16, 0.12, 0.12)
TIERS, TIER_SHARES = ("free", "plus", "business"), (0.60, 0.30, 0.10)
ANDROID = PLATFORMS.index("android")

# Hours after the event at which a late row arrives; each fits the lag_days of the metrics that read the source.
LATE_HOURS = {
    "purchases": (24, 29),
    "page_loads": (24, 29),
    "sessions": (24, 29),
    "searches": (24, 29),
    "clicks": (24, 72),
    "contacts": (24, 29),
    "surveys": (24, 72),
    "transactions": (24, 29),
}
SOURCES = ("assignments", "chargebacks", "customers", *LATE_HOURS)

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Customers:
    """All customers: one entry each, by position."""

    platform: np.ndarray
    country: np.ndarray
    tier: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class Enrolled:
    """Units of one experiment: customer number, variant by position, seconds since 1970 of the first exposure."""

    customer: np.ndarray
    variant: np.ndarray
    exposed_at: np.ndarray
    ends_at: int


@dataclass
class Rows:
    """Rows made so far, by table; each experiment adds its own."""

    parts: dict[str, list[Columns]] = field(default_factory=dict)

    def add(self, table: str, columns: Columns) -> None:
        """Keep rows of a table."""
        self.parts.setdefault(table, []).append(columns)

    def table(self, name: str) -> pa.Table:
        """Return all rows of a table."""
        parts = self.parts[name]
        return pa.table({column: np.concatenate([part[column] for part in parts]) for column in parts[0]})


def build(path: Path, *, as_of: date = AS_OF) -> None:
    """Write the warehouse as it stood six hours after the start of a date.

    Parameters
    ----------
    path : Path
        The DuckDB file; an existing one is replaced when the new one is whole.
    as_of : date
        The night. Rows loaded later are left out; a later date lets the immature experiment be decided.
    """
    rows = Rows()
    customers = _customers(_generator("customers"))
    _one_page_checkout(rows, customers)
    _home_redesign(rows, customers)
    _onboarding_tips(rows, customers)
    _push_prompt(rows, customers)
    _search_ranker_v2(rows, customers)
    _query_suggestions(rows)
    _fraud_model_v3(rows, customers)
    _support_assistant(rows, customers)

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        unfinished = Path(folder) / "warehouse.duckdb"
        with duckdb.connect(str(unfinished)) as connection:
            _write(connection, rows=rows, customers=customers, as_of=as_of)
        os.replace(unfinished, path)


def fingerprint() -> str:
    """Return the identity of this generator: its source and the libraries that its rows depend on.

    Examples
    --------
    >>> len(fingerprint())
    64
    """
    versions = f"numpy {np.__version__}, duckdb {duckdb.__version__}"
    return hashlib.sha256(Path(__file__).read_bytes() + versions.encode()).hexdigest()


def is_current(path: Path, *, as_of: date = AS_OF) -> bool:
    """Tell whether a file is what `build` would write, so that a rebuild can be skipped."""
    if not path.exists():
        return False
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            built = connection.execute("SELECT fingerprint, as_of FROM demo_build").fetchone()
    except duckdb.Error:
        return False
    return built == (fingerprint(), as_of)


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([SEED, zlib.crc32(name.encode())]))


def _seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _customers(rng: np.random.Generator) -> Customers:
    return Customers(
        platform=rng.choice(len(PLATFORMS), CUSTOMERS, p=PLATFORM_SHARES),
        country=rng.choice(len(COUNTRIES), CUSTOMERS, p=COUNTRY_SHARES),
        tier=rng.choice(len(TIERS), CUSTOMERS, p=TIER_SHARES),
        known=rng.random(CUSTOMERS) >= 0.007,
    )


def _layer(name: str, sizes: Sequence[int]) -> list[np.ndarray]:
    """Share customers out to the experiments of a layer, so that none is in two of them."""
    shuffled = _generator(f"layer {name}").permutation(CUSTOMERS)
    return np.split(shuffled[: sum(sizes)], np.cumsum(sizes)[:-1])


def _enrol(
    rng: np.random.Generator, customer: np.ndarray, *, starts_on: date, ends_on: date, weights: Sequence[int]
) -> Enrolled:
    """Draw the variant and the first exposure of each unit: many in the first days, by day, fewer at night."""
    days = np.arange((ends_on - starts_on).days)
    day_weights = np.exp(-days / 12) * np.where((days + starts_on.weekday()) % 7 >= 5, 1.25, 1.0)
    hour_weights = 1.1 + np.sin((np.arange(24) - 9) / 24 * 2 * np.pi)
    day = rng.choice(days, customer.size, p=day_weights / day_weights.sum())
    hour = rng.choice(24, customer.size, p=hour_weights / hour_weights.sum())
    second = rng.integers(0, HOUR, customer.size)
    variant = rng.choice(len(weights), customer.size, p=np.array(weights) / sum(weights))
    exposed_at = _seconds(starts_on) + day * DAY + hour * HOUR + second
    return Enrolled(customer, variant, exposed_at, _seconds(ends_on))


def _expose(
    rows: Rows, rng: np.random.Generator, enrolled: Enrolled, *, key: str, variants: Sequence[str], crossovers: int = 0
) -> None:
    """Add the exposures: the first of each unit, repeated ones of some, and a few units that saw a second variant."""
    seen_again = np.flatnonzero(rng.random(enrolled.customer.size) < 0.12)
    again_at = enrolled.exposed_at[seen_again] + rng.integers(HOUR, 6 * DAY, seen_again.size)
    in_time = again_at < enrolled.ends_at
    seen_again, again_at = seen_again[in_time], again_at[in_time]

    early = np.flatnonzero(enrolled.exposed_at < enrolled.ends_at - 4 * DAY)
    crossed = np.concatenate([early[enrolled.variant[early] == v][:crossovers] for v in range(len(variants))])
    crossed_at = enrolled.exposed_at[crossed] + rng.integers(HOUR, 3 * DAY, crossed.size)

    exposed_at = np.concatenate([enrolled.exposed_at, again_at, crossed_at])
    variant = np.concatenate(
        [enrolled.variant, enrolled.variant[seen_again], (enrolled.variant[crossed] + 1) % len(variants)]
    )
    customer = enrolled.customer
    rows.add(
        "exposures",
        {
            "experiment_id": np.full(exposed_at.size, key),
            "customer": np.concatenate([customer, customer[seen_again], customer[crossed]]),
            "variant": np.array(variants)[variant],
            "exposed_at": exposed_at,
            "loaded_at": exposed_at + rng.integers(5 * 60, 2 * HOUR, exposed_at.size),
        },
    )


def _events(
    rng: np.random.Generator, enrolled: Enrolled, *, weekly: np.ndarray | float, ratio: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw events from a week before the first exposure to two weeks after it.

    Parameters
    ----------
    weekly : ndarray or float
        Expected events a week and unit before exposure.
    ratio : ndarray or float
        What exposure multiplies that by.

    Returns
    -------
    unit : ndarray of int
        Position of the event's unit in ``enrolled``.
    occurred_at : ndarray of int
        Seconds since 1970.
    """
    size = enrolled.customer.size
    unit, offset = [], []
    for week in (-1, 0, 1):
        expected = np.broadcast_to(weekly if week < 0 else np.multiply(weekly, ratio), size)
        events = rng.poisson(expected)
        unit.append(np.repeat(np.arange(size), events))
        offset.append(rng.integers(week * 7 * DAY, (week + 1) * 7 * DAY, events.sum()))
    units = np.concatenate(unit)
    return units, enrolled.exposed_at[units] + np.concatenate(offset)


def _loaded_at(rng: np.random.Generator, occurred_at: np.ndarray, *, source: str) -> np.ndarray:
    """Draw when rows reach the warehouse: after minutes or hours, 3 % of them a day or more late."""
    low, high = LATE_HOURS[source]
    soon = rng.integers(5 * 60, 170 * 60, occurred_at.size)
    late = rng.integers(low * HOUR, high * HOUR, occurred_at.size)
    return occurred_at + np.where(rng.random(occurred_at.size) < 0.03, late, soon)


def _add_events(
    rows: Rows,
    rng: np.random.Generator,
    enrolled: Enrolled,
    events: tuple[np.ndarray, np.ndarray],
    *,
    source: str,
    values: Columns | None = None,
) -> None:
    unit, occurred_at = events
    rows.add(
        source,
        {
            "customer": enrolled.customer[unit],
            "occurred_at": occurred_at,
            "loaded_at": _loaded_at(rng, occurred_at, source=source),
            **(values or {}),
        },
    )


def _weekly(share: np.ndarray | float) -> np.ndarray:
    """Events a week with which this share of units has at least one in a week."""
    return -np.log1p(-np.asarray(share))


def _add_purchases(rows: Rows, rng: np.random.Generator, enrolled: Enrolled, *, share: np.ndarray, ratio) -> None:
    events = _events(rng, enrolled, weekly=_weekly(share), ratio=_weekly(share * ratio) / _weekly(share))
    amount_usd = np.round(np.exp(rng.normal(3.6, 0.7, events[0].size)), 2)
    _add_events(rows, rng, enrolled, events, source="purchases", values={"amount_usd": amount_usd})


def _add_latencies(
    rows: Rows, rng: np.random.Generator, enrolled: Enrolled, *, source: str, weekly, median_ms: float, ratio=1.0
) -> None:
    """Add timed rows: units differ by their device and network, and rows of a unit differ, both log-normally."""
    unit, occurred_at = _events(rng, enrolled, weekly=weekly)
    of_unit = rng.normal(np.log(median_ms), 0.3, enrolled.customer.size)
    exposed = occurred_at >= enrolled.exposed_at[unit]
    factor = np.where(exposed, np.broadcast_to(ratio, enrolled.customer.size)[unit], 1.0)
    latency_ms = np.round(np.exp(of_unit[unit] + rng.normal(0, 0.4, unit.size)) * factor)
    _add_events(rows, rng, enrolled, (unit, occurred_at), source=source, values={"latency_ms": latency_ms})


def _add_contacts(rows: Rows, rng: np.random.Generator, enrolled: Enrolled, *, share: float, reopened: float) -> None:
    events = _events(rng, enrolled, weekly=_weekly(share))
    status = np.where(rng.random(events[0].size) < reopened, "reopened", "closed")
    topic = np.array(["delivery", "payment", "account", "other"])[rng.integers(0, 4, events[0].size)]
    _add_events(rows, rng, enrolled, events, source="contacts", values={"status": status, "topic": topic})


def _one_page_checkout(rows: Rows, customers: Customers) -> None:
    """Conversion 30 % grows by 12 % everywhere; page latency and support contacts do not move."""
    rng = _generator("one_page_checkout")
    units, _ = _layer("shop", (42_000, 42_000))
    enrolled = _enrol(rng, units, starts_on=date(2026, 2, 2), ends_on=date(2026, 2, 23), weights=(1, 1))
    _expose(rows, rng, enrolled, key="one_page_checkout", variants=("control", "treatment"), crossovers=16)
    share = 0.30 * np.array([0.92, 1.0, 1.08])[customers.platform[units]]
    _add_purchases(rows, rng, enrolled, share=share, ratio=np.where(enrolled.variant == 1, 1.12, 1.0))
    _add_latencies(rows, rng, enrolled, source="page_loads", weekly=2.5, median_ms=820)
    _add_contacts(rows, rng, enrolled, share=0.12, reopened=0.2)


def _home_redesign(rows: Rows, customers: Customers) -> None:
    """Conversion grows by 28 % on iOS and the web and shrinks by 20 % on Android: a win in total."""
    rng = _generator("home_redesign")
    _, units = _layer("shop", (42_000, 42_000))
    enrolled = _enrol(rng, units, starts_on=date(2026, 2, 9), ends_on=date(2026, 2, 23), weights=(1, 1))
    _expose(rows, rng, enrolled, key="home_redesign", variants=("control", "treatment"))
    ratio = np.where(customers.platform[units] == ANDROID, 0.80, 1.28)
    share = np.full(units.size, 0.30)
    _add_purchases(rows, rng, enrolled, share=share, ratio=np.where(enrolled.variant == 1, ratio, 1.0))
    _add_latencies(rows, rng, enrolled, source="page_loads", weekly=2.5, median_ms=820)


def _onboarding_tips(rows: Rows, customers: Customers) -> None:
    """No effect at all: 60 % of the units come back in their second week in both variants."""
    rng = _generator("onboarding_tips")
    units, _ = _layer("engagement", (38_000, 50_000))
    enrolled = _enrol(rng, units, starts_on=date(2026, 2, 2), ends_on=date(2026, 2, 16), weights=(1, 1))
    _expose(rows, rng, enrolled, key="onboarding_tips", variants=("control", "treatment"))
    _add_sessions(rows, rng, enrolled, _events(rng, enrolled, weekly=_weekly(0.6)))
    _add_contacts(rows, rng, enrolled, share=0.12, reopened=0.2)


def _push_prompt(rows: Rows, customers: Customers) -> None:
    """The split is broken: one in five Android units of the treatment, 7 % of all, never reports its exposure."""
    rng = _generator("push_prompt")
    _, units = _layer("engagement", (38_000, 50_000))
    drawn = _enrol(rng, units, starts_on=date(2026, 2, 9), ends_on=date(2026, 2, 23), weights=(1, 1))
    lost = (drawn.variant == 1) & (customers.platform[units] == ANDROID) & (rng.random(units.size) < 0.20)
    enrolled = Enrolled(drawn.customer[~lost], drawn.variant[~lost], drawn.exposed_at[~lost], drawn.ends_at)
    _expose(rows, rng, enrolled, key="push_prompt", variants=("control", "treatment"))
    weekly = rng.gamma(2.0, 1.5, enrolled.customer.size)
    _add_sessions(rows, rng, enrolled, _events(rng, enrolled, weekly=weekly))


def _add_sessions(rows: Rows, rng: np.random.Generator, enrolled: Enrolled, events) -> None:
    seconds = np.round(np.exp(rng.normal(5.0, 0.8, events[0].size)))
    _add_events(rows, rng, enrolled, events, source="sessions", values={"duration_seconds": seconds})


def _search_ranker_v2(rows: Rows, customers: Customers) -> None:
    """Clicks grow by 8 %, and a search takes 12 % longer."""
    rng = _generator("search_ranker_v2")
    units, _ = _layer("search", (38_000, 30_000))
    enrolled = _enrol(rng, units, starts_on=date(2026, 2, 9), ends_on=date(2026, 2, 23), weights=(1, 1))
    _expose(rows, rng, enrolled, key="search_ranker_v2", variants=("control", "treatment"), crossovers=9)
    activity = rng.gamma(2.0, 0.5, units.size)
    treated = enrolled.variant == 1
    clicks = _events(rng, enrolled, weekly=2.4 * activity, ratio=np.where(treated, 1.08, 1.0))
    position = 1 + rng.poisson(2.0, clicks[0].size)
    _add_events(rows, rng, enrolled, clicks, source="clicks", values={"position": position})
    ratio = np.where(treated, 1.12, 1.0)
    _add_latencies(rows, rng, enrolled, source="searches", weekly=2.5 * activity, median_ms=240, ratio=ratio)


def _query_suggestions(rows: Rows) -> None:
    """Clicks grow by 6 %, enough to be proved weeks before the enrolment ends; a search takes as long as before."""
    rng = _generator("query_suggestions")
    _, units = _layer("search", (38_000, 30_000))
    enrolled = _enrol(rng, units, starts_on=date(2026, 2, 9), ends_on=date(2026, 3, 16), weights=(1, 1))
    _expose(rows, rng, enrolled, key="query_suggestions", variants=("control", "treatment"))
    activity = rng.gamma(2.0, 0.5, units.size)
    clicks = _events(rng, enrolled, weekly=2.4 * activity, ratio=np.where(enrolled.variant == 1, 1.06, 1.0))
    position = 1 + rng.poisson(2.0, clicks[0].size)
    _add_events(rows, rng, enrolled, clicks, source="clicks", values={"position": position})
    _add_latencies(rows, rng, enrolled, source="searches", weekly=2.5 * activity, median_ms=240)


def _fraud_model_v3(rows: Rows, customers: Customers) -> None:
    """Chargebacks shrink by 30 %, declined customers stay; a dispute takes two to four weeks to arrive."""
    rng = _generator("fraud_model_v3")
    (units,) = _layer("risk", (50_000,))
    enrolled = _enrol(rng, units, starts_on=date(2026, 1, 26), ends_on=date(2026, 2, 16), weights=(1, 1))
    _expose(rows, rng, enrolled, key="fraud_model_v3", variants=("control", "treatment"))
    unit, occurred_at = _events(rng, enrolled, weekly=rng.gamma(2.0, 0.7, units.size))
    amount_usd = np.round(np.exp(rng.normal(3.9, 0.9, unit.size)), 2)
    declined = rng.random(unit.size) < 0.06
    values = {"amount_usd": amount_usd, "status": np.where(declined, "declined", "approved")}
    _add_events(rows, rng, enrolled, (unit, occurred_at), source="transactions", values=values)

    stopped = (enrolled.variant[unit] == 1) & (occurred_at >= enrolled.exposed_at[unit])
    disputed = ~declined & (rng.random(unit.size) < 0.03 * np.where(stopped, 0.70, 1.0))
    rows.add(
        "chargebacks",
        {
            "customer": units[unit[disputed]],
            "occurred_at": occurred_at[disputed],
            "loaded_at": occurred_at[disputed] + rng.integers(14 * DAY, 28 * DAY, disputed.sum()),
            "amount_usd": amount_usd[disputed],
        },
    )


def _support_assistant(rows: Rows, customers: Customers) -> None:
    """Short answers raise the mean score by 8 %, long ones do nothing; half of the units have no survey."""
    rng = _generator("support_assistant")
    (units,) = _layer("support", (44_000,))
    variants = ("control", "short_answers", "long_answers")
    enrolled = _enrol(rng, units, starts_on=date(2026, 2, 2), ends_on=date(2026, 2, 23), weights=(2, 1, 1))
    _expose(rows, rng, enrolled, key="support_assistant", variants=variants)
    unit, occurred_at = _events(rng, enrolled, weekly=_weekly(0.5))
    usual, liked = np.cumsum([0.08, 0.12, 0.20, 0.32, 0.28]), np.cumsum([0.05, 0.08, 0.17, 0.34, 0.36])
    draw = rng.random(unit.size)
    pleased = (enrolled.variant[unit] == 1) & (occurred_at >= enrolled.exposed_at[unit])
    score = 1.0 + np.where(pleased, np.searchsorted(liked[:4], draw), np.searchsorted(usual[:4], draw))
    score[rng.random(unit.size) < 0.02] = np.nan
    _add_events(rows, rng, enrolled, (unit, occurred_at), source="surveys", values={"score": score})
    _add_contacts(rows, rng, enrolled, share=0.25, reopened=0.5)


TABLES = {
    "exposures": "experiment_id, {unit}, variant, {exposed_at}, {loaded_at}",
    "purchases": "{unit}, {occurred_at}, {loaded_at}, amount_usd",
    "page_loads": "{unit}, {occurred_at}, {loaded_at}, latency_ms",
    "sessions": "{unit}, {occurred_at}, {loaded_at}, CAST(duration_seconds AS INTEGER) AS duration_seconds",
    "searches": "{unit}, {occurred_at}, {loaded_at}, latency_ms",
    "clicks": "{unit}, {occurred_at}, {loaded_at}, CAST(position AS INTEGER) AS position",
    "contacts": "{unit}, {occurred_at}, {loaded_at}, topic, status",
    "surveys": "{unit}, {occurred_at}, {loaded_at}, CAST(CASE WHEN isnan(score) THEN NULL ELSE score END AS INTEGER)"
    " AS score",
    "transactions": "{unit}, {occurred_at}, {loaded_at}, amount_usd, status",
    "chargebacks": "{unit}, {occurred_at}, {loaded_at}, amount_usd",
}


def _write(connection: duckdb.DuckDBPyConnection, *, rows: Rows, customers: Customers, as_of: date) -> None:
    loaded_before = _seconds(as_of) + 6 * HOUR
    names = {"unit": "printf('c%06d', customer) AS unit_id"}
    for column in ("exposed_at", "occurred_at", "loaded_at"):
        names[column] = f"make_timestamp({column} * 1000000) AS {column}"
    for table, columns in TABLES.items():
        connection.register("made", rows.table(table))
        connection.execute(
            f"CREATE TABLE {table} AS SELECT {columns.format(**names)} FROM made"  # noqa: S608
            f" WHERE made.loaded_at < {loaded_before} ORDER BY loaded_at, unit_id"
        )
        connection.unregister("made")
    _write_customers(connection, customers)
    _write_load_log(connection, as_of=as_of)
    connection.execute("CREATE TABLE demo_build (fingerprint VARCHAR, as_of DATE)")
    connection.execute("INSERT INTO demo_build VALUES (?, ?)", [fingerprint(), as_of])


def _write_customers(connection: duckdb.DuckDBPyConnection, customers: Customers) -> None:
    known = np.flatnonzero(customers.known)
    made = pa.table(
        {
            "customer": known,
            "platform": np.array(PLATFORMS)[customers.platform[known]],
            "country": np.array(COUNTRIES)[customers.country[known]],
            "tier": np.array(TIERS)[customers.tier[known]],
        }
    )
    connection.register("made", made)
    connection.execute(
        "CREATE TABLE customers AS SELECT printf('c%06d', customer) AS unit_id, platform, country, tier FROM made"
        " ORDER BY customer"
    )
    connection.unregister("made")


def _write_load_log(connection: duckdb.DuckDBPyConnection, *, as_of: date) -> None:
    connection.execute("CREATE TABLE load_log (source VARCHAR, data_on DATE, loaded_at TIMESTAMP)")
    connection.execute(
        "INSERT INTO load_log SELECT source, CAST(day AS DATE), day + INTERVAL 27 HOUR"
        " FROM unnest(?) AS s (source), range(?::TIMESTAMP, ?::TIMESTAMP, INTERVAL 1 DAY) AS d (day)"
        " ORDER BY day, source",
        [list(SOURCES), FIRST_DAY, as_of],
    )


def main() -> None:
    """Build the warehouse at the path given on the command line."""
    parser = argparse.ArgumentParser(description="Build the demo's warehouse.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--as-of", type=date.fromisoformat, default=AS_OF, help="the night, by default %(default)s")
    arguments = parser.parse_args()
    build(arguments.path, as_of=arguments.as_of)
    print(f"{arguments.path}: the warehouse as of {arguments.as_of}")


if __name__ == "__main__":
    main()
