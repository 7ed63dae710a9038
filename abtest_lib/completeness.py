"""Completeness: is a source whole for a day, do its rows join the units of every variant, and how late do they come?

Rules over counts alone; ``abtest_lib.day_counts`` reads them. When a source is held the night waits, because a number
made of half a day would be wrong.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from abtest_lib.definitions import Completeness, Experiment, Metric

DAY = dt.timedelta(days=1)
WEEKS = 8
LEVEL_DAYS = 6  # before a day: its level, which the other days of the week share
LEAST_WEEKDAYS = 3
LEAST_DAYS = 7  # with rows, from which a day without any is odd on its own
LEAST_LEVEL = 10  # rows a day, below which a day without any may be chance
FAR = 3.5  # standard deviations: about 1 in 4,000 on a normal day, by this rule alone
NORMAL = 1.4826  # of a median absolute deviation, to a standard deviation


@dataclass(frozen=True)
class DayCounts:
    """What one source holds of one UTC day, as it was known when that day was complete.

    ``nulls`` are rows without a value by column, ``hours_late`` hours from the end of the day until it was complete.
    """

    day: dt.date
    rows: int
    rows_without_unit: int
    nulls: Mapping[str, int]
    hours_late: float | None


@dataclass(frozen=True)
class Hold:
    """Why a source is not taken as complete for a day, and when days of it are complete as a rule (UTC)."""

    source: str
    reason: str
    usual_at: dt.datetime | None
    expected_by: dt.datetime | None

    @property
    def text(self) -> str:
        """Reason and expected time in one line."""
        if self.expected_by is None or self.usual_at is None:
            return self.reason
        same_day = self.usual_at.date() == self.expected_by.date()
        usual = f"{self.usual_at:%H:%M}" if same_day else f"{self.usual_at:%Y-%m-%d %H:%M}"
        return f"{self.reason}; expected by {self.expected_by:%Y-%m-%d %H:%M} UTC, usual {usual}"


@dataclass(frozen=True)
class Joined:
    """Matured units of a variant first exposed on a day, and those of them with an outcome row."""

    variant: str
    exposed_on: dt.date
    units: int
    joined: int


@dataclass(frozen=True)
class LateUnits:
    """Units of a variant with an outcome row, and those of them with one that came after the lag."""

    variant: str
    units: int
    late: int


@dataclass(frozen=True)
class Gap:
    """A treatment whose share differs from control's beyond chance."""

    variant: str
    share: float
    control_share: float
    pvalue: float


def held(source: str, day: DayCounts, history: Sequence[DayCounts], rules: Completeness) -> Hold | None:
    """Is a source that claims to be complete for a day so unlike its past that the night should wait?

    Parameters
    ----------
    source : str
        Name of the source.
    day : DayCounts
        The newest day.
    history : sequence of DayCounts
        Earlier days, up to nine weeks, in any order; a day between them that is missing had no rows.
    rules : Completeness
        ``least_share`` of the expected rows, ``most_nulls`` above the usual share of nulls.

    Returns
    -------
    Hold or None
        None when nothing is odd, or when the history is too short to tell: fewer than three earlier days of the same
        weekday with four days before them.

    Notes
    -----
    A day's count is divided by its level, the median of the six days before it, so that growth does not matter. The
    median of these ratios over up to eight earlier days of the same weekday, times the day's own level, is what is
    expected. Rows are too few when they are below ``least_share`` of it, and below every one of these earlier days,
    and more than 3.5 standard deviations below. The deviation is the larger of Poisson's and of the median absolute
    deviation of all days from their own weekday. A day without any row is also held when each of at least seven
    earlier days had some, ten or more as a rule.

    In simulation (``tests/test_completeness.py``; a weekly season, 1,320 nights each) no whole day is held at 10,000
    rows a day with noise of 5 to 25 %, nor with growth or loss of 5 % a week; one at 100 rows a day. A day of which
    half is missing is held always with noise of 5 %, in 86 to 89 of 100 cases with 10 %, in 30 at 100 rows a day and
    hardly ever with noise of 25 %. Of holidays at 65 % of their level one in five is held, at 40 % three in four:
    ``least_share`` is to be lower for a source that holidays empty.

    Examples
    --------
    >>> past = [DayCounts(dt.date(2026, 1, 1) + n * DAY, 1000 + n, 0, {}, 3.0) for n in range(40)]
    >>> found = held("purchases", DayCounts(dt.date(2026, 2, 10), 480, 0, {}, 3.0), past, Completeness())
    >>> print(found.text)
    2026-02-10 has 480 rows, 46% of the 1,040 expected; expected by 2026-02-11 03:00 UTC, usual 03:00
    """
    reason = _too_few(day, history, rules) or _too_many_nulls(day, history, rules)
    return late(source, day.day, history, reason) if reason else None


def late(source: str, day: dt.date, history: Sequence[DayCounts], reason: str) -> Hold:
    """When is a day of a source complete as a rule?

    Parameters
    ----------
    source : str
        Name of the source.
    day : date
        The day that is not complete.
    history : sequence of DayCounts
        Earlier days.
    reason : str
        Why it is not.

    Returns
    -------
    Hold
        Usual is the median of ``hours_late``, expected the 95th percentile (of its sorted values, the next larger
        one); without times where fewer than three days tell.

    Examples
    --------
    >>> past = [DayCounts(dt.date(2026, 2, n), 10, 0, {}, hours) for n, hours in enumerate((3.0, 3.5, 5.0), 1)]
    >>> late("purchases", dt.date(2026, 2, 4), past, "2026-02-04 is not in the load log").text
    '2026-02-04 is not in the load log; expected by 2026-02-05 05:00 UTC, usual 03:30'
    """
    hours = sorted(one.hours_late for one in history if one.hours_late is not None)
    if len(hours) < LEAST_WEEKDAYS:
        return Hold(source, reason, None, None)
    end = dt.datetime.combine(day + DAY, dt.time())
    usual, most = median(hours), hours[math.ceil(0.95 * len(hours)) - 1]
    return Hold(source, reason, end + dt.timedelta(hours=usual), end + dt.timedelta(hours=most))


def expected_rows(day: dt.date, history: Sequence[DayCounts]) -> tuple[float, float, float] | None:
    """How many rows does a source have on a day like this?

    Parameters
    ----------
    day : date
        Its own rows are not looked at.
    history : sequence of DayCounts
        Earlier days.

    Returns
    -------
    tuple of float or None
        Rows expected, their standard deviation, and the fewest that an earlier day of this weekday had at the level of
        today; None with fewer than three such days.

    Examples
    --------
    >>> past = [DayCounts(dt.date(2026, 1, 1) + n * DAY, 400, 0, {}, None) for n in range(40)]
    >>> expected_rows(dt.date(2026, 2, 10), past)
    (400.0, 20.0, 400.0)
    """
    counts = _counts(day, history)
    level = _level(day, counts)
    if not level:
        return None
    ratios = {one: rows / before for one, rows in counts.items() if (before := _level(one, counts))}
    by_weekday = [[ratios[one] for one in ratios if one.weekday() == weekday] for weekday in range(7)]
    same = by_weekday[day.weekday()]
    if len(same) < LEAST_WEEKDAYS:
        return None
    expected = median(same) * level
    usual = [(found, median(found)) for found in by_weekday if len(found) >= LEAST_WEEKDAYS]
    residuals = [abs(ratio / middle - 1) for found, middle in usual if middle for ratio in found]
    # A weekday's own median is made of its few days, so they lie too close to it.
    small = math.sqrt(len(same) / (len(same) - 1))
    spread = NORMAL * median(residuals) * small if residuals else 0.0
    return expected, max(spread * expected, math.sqrt(expected)), min(same) * level


def _counts(day: dt.date, history: Sequence[DayCounts]) -> dict[dt.date, int]:
    """Rows by day, days without any filled in, for the weeks that are compared and the level of the first."""
    since = day - 7 * WEEKS * DAY - LEVEL_DAYS * DAY
    found = {one.day: one.rows for one in history if since <= one.day < day}
    if not found:
        return {}
    first = min(found)
    return {one: found.get(one, 0) for one in (first + n * DAY for n in range((day - first).days))}


def _level(day: dt.date, counts: Mapping[dt.date, int]) -> float | None:
    before = [counts[one] for n in range(1, LEVEL_DAYS + 1) if (one := day - n * DAY) in counts]
    return median(before) if len(before) >= 4 else None


def _too_few(day: DayCounts, history: Sequence[DayCounts], rules: Completeness) -> str | None:
    rows = list(_counts(day.day, history).values())
    if not day.rows and len(rows) >= LEAST_DAYS and min(rows) and median(rows) >= LEAST_LEVEL:
        return f"{day.day} has no rows; each of the {len(rows)} days before it has some"
    found = expected_rows(day.day, history)
    if found is None:
        return None
    expected, deviation, fewest = found
    if day.rows < min(rules.least_share * expected, fewest) and day.rows < expected - FAR * deviation:
        return f"{day.day} has {day.rows:,} rows, {day.rows / expected:.0%} of the {expected:,.0f} expected"
    return None


def _too_many_nulls(day: DayCounts, history: Sequence[DayCounts], rules: Completeness) -> str | None:
    earlier = [one for one in history if one.rows and one.day < day.day]
    if len(earlier) < LEAST_DAYS or not day.rows:
        return None
    for column, nulls in day.nulls.items():
        shares = [one.nulls[column] / one.rows for one in earlier if column in one.nulls]
        if len(shares) < LEAST_DAYS:
            continue
        share, usual = nulls / day.rows, median(shares)
        chance = math.sqrt(max(usual * (1 - usual), 1 / day.rows) / day.rows)
        if share > max(usual + rules.most_nulls, max(shares)) and share > usual + FAR * chance:
            return f"{day.day}: {share:.0%} of its {day.rows:,} rows have no {column}, usually {usual:.0%}"
    return None


def collapsed(cohorts: Sequence[Joined], rules: Completeness) -> list[Joined]:
    """On which days of first exposure do far fewer units have an outcome row than on the others?

    Parameters
    ----------
    cohorts : sequence of Joined
        Variants are added up, so that no effect shows.
    rules : Completeness
        ``least_join_share`` of the usual share of units with a row.

    Returns
    -------
    list of Joined
        Those days by date, ``variant`` empty: below ``least_join_share`` of the median, and more than 3.5 standard
        deviations below it. None with fewer than four days.

    Examples
    --------
    >>> days = [Joined("control", dt.date(2026, 2, n), 1000, 60 if n == 7 else 300) for n in range(1, 9)]
    >>> [(str(one.exposed_on), one.joined) for one in collapsed(days, Completeness())]
    [('2026-02-07', 60)]
    """
    days = _by_day(cohorts)
    if len(days) <= LEAST_WEEKDAYS:
        return []
    usual = median(one.joined / one.units for one in days)
    return [one for one in days
            if one.joined < rules.least_join_share * usual * one.units
            and one.joined < one.units * usual - FAR * math.sqrt(one.units * usual * (1 - usual))]  # fmt: skip


def _by_day(cohorts: Sequence[Joined]) -> list[Joined]:
    days = []
    for day in sorted({one.exposed_on for one in cohorts}):
        own = [one for one in cohorts if one.exposed_on == day]
        days.append(Joined("", day, sum(one.units for one in own), sum(one.joined for one in own)))
    return [one for one in days if one.units]


def join_gaps(cohorts: Sequence[Joined], control: str, alpha: float) -> list[Gap]:
    """Which treatments have another share of units with an outcome row than control?

    Parameters
    ----------
    cohorts : sequence of Joined
        All days.
    control : str
        The variant that the others are compared with.
    alpha : float
        Chance of a false gap, over all treatments together.

    Returns
    -------
    list of Gap
        Only of a source where a treatment cannot change whether a unit has rows, or this is an effect.

    Examples
    --------
    >>> day = dt.date(2026, 2, 2)
    >>> rows = [Joined("control", day, 1000, 900), Joined("treatment", day, 1000, 800)]
    >>> [(gap.share, gap.control_share) for gap in join_gaps(rows, "control", 0.01)]
    [(0.8, 0.9)]
    """
    totals: dict[str, tuple[int, int]] = {}
    for one in cohorts:
        units, joined = totals.get(one.variant, (0, 0))
        totals[one.variant] = units + one.units, joined + one.joined
    return _gaps(totals, control, alpha)


def delay_gaps(found: Sequence[LateUnits], control: str, alpha: float) -> list[Gap]:
    """Of which treatments do rows come late more or less often than of control?

    Parameters
    ----------
    found : sequence of LateUnits
        One for each variant. Units are counted, because the rows of one unit often come together.
    control : str
        The variant that the others are compared with.
    alpha : float
        Chance of a false gap, over all treatments together.

    Returns
    -------
    list of Gap
        A treatment whose rows come later looks worse until they are in.

    Examples
    --------
    >>> found = [LateUnits("control", 1000, 20), LateUnits("treatment", 1000, 60)]
    >>> [(gap.share, gap.control_share) for gap in delay_gaps(found, "control", 0.01)]
    [(0.06, 0.02)]
    """
    return _gaps({one.variant: (one.units, one.late) for one in found}, control, alpha)


def _gaps(totals: Mapping[str, tuple[int, int]], control: str, alpha: float) -> list[Gap]:
    """Chi-squared tests of two shares, one degree of freedom, each at its part of alpha (Bonferroni)."""
    treatments = [name for name in totals if name != control]
    base, base_hits = totals.get(control, (0, 0))
    gaps = []
    for name in treatments:
        units, hits = totals[name]
        pooled = (hits + base_hits) / (units + base) if units and base else 0.0
        # Fewer than five expected either way: the test would not keep its level.
        if min(units, base) * min(pooled, 1 - pooled) < 5:
            continue
        difference = hits / units - base_hits / base
        z = difference / math.sqrt(pooled * (1 - pooled) * (1 / units + 1 / base))
        pvalue = math.erfc(abs(z) / math.sqrt(2))
        if pvalue < alpha / len(treatments):
            gaps.append(Gap(name, hits / units, base_hits / base, pvalue))
    return gaps


def join_findings(experiment: Experiment, moments: Sequence[Mapping]) -> list[dict]:
    """Which metrics lack the rows of their source for some units, beyond chance?

    Parameters
    ----------
    experiment : Experiment
        Its outcome sources say what is looked for.
    moments : sequence of mapping
        Rows of ``moments.parquet`` of matured units; those of all units are taken.

    Returns
    -------
    list of dict
        Of ``joins`` in ``exposure.json``: days on which a share collapsed, and where ``same_join`` is declared,
        treatments whose share is not control's (1 % over all planned nights).

    Notes
    -----
    Only a metric that says which units have a row can tell: a share, or a mean of each unit's rows.

    Examples
    --------
    >>> join_findings(experiment, moments)
    []
    """
    found = []
    for metric in experiment.metrics.values():
        rules = experiment.outcomes[metric.source].completeness if metric.source in experiment.outcomes else None
        cohorts = _joined(metric, moments) if rules else []
        head = {"kind": "join", "source": metric.source, "metric": metric.name, "title": metric.title}
        shares = [one.joined / one.units for one in _by_day(cohorts)]
        for one in collapsed(cohorts, rules) if rules else []:
            found.append({**head, "exposed_on": str(one.exposed_on), "variant": None, "share": one.joined / one.units,
                          "usual": median(shares)})  # fmt: skip
        if rules and rules.same_join:
            for gap in join_gaps(cohorts, experiment.control, 0.01 / experiment.planned_nights):
                found.append({**head, "exposed_on": None, "variant": gap.variant, "share": gap.share,
                              "usual": gap.control_share})  # fmt: skip
    return found


def _joined(metric: Metric, moments: Sequence[Mapping]) -> list[Joined]:
    """Units with a row by variant and day; none for a metric that cannot tell."""
    counted: dict[tuple[str, dt.date], tuple[int, int]] = {}
    if not (metric.is_share or (metric.kind == "mean" and metric.aggregate == "mean" and metric.nulls == "drop")):
        return []
    if metric.is_open:  # units that were exposed later have had less time for a row
        return []
    for row in moments:
        if row["metric"] != metric.name or row["segment"] is not None:
            continue
        own = row["variant"], row["exposed_on"]
        units, joined = counted.get(own, (0, 0))
        with_row = round(row["mean"] * row["n"]) if metric.is_share and row["n"] else row["n"]
        counted[own] = units + row["units"], joined + with_row
    return [Joined(*own, *counts) for own, counts in sorted(counted.items())]
