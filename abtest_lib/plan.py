"""The plan of an experiment before it starts: the units and days it needs, from what the warehouse tells of the past.

Baseline, variance and traffic are those of real units in a past stretch of days as long as the planned enrolment: the
control of an experiment, or everybody who has a row in an outcome source. They are read by the statements of the night.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from dataclasses import dataclass, replace

from abtest_lib.cohorts import arms_by_variant, whole
from abtest_lib.collection import read_past
from abtest_lib.definitions import Experiment, ExposureSource
from abtest_lib.errors import DataError
from abtest_lib.plan_metrics import Aim, MetricPlan, Past, Traffic, metric_plan
from abtest_lib.warehouse import Warehouse

DAY = dt.timedelta(days=1)
EVERYONE = "everyone"


@dataclass(frozen=True)
class Plan:
    """The whole plan. ``of`` says in words whose past it was made of; ``inflation`` is the price of several looks."""

    key: str
    title: str
    as_of: dt.date
    of: str
    traffic: Traffic
    share: float
    power: float
    looks: str
    inflation: float
    planned_days: int
    planned_units: int
    metrics: tuple[MetricPlan, ...]


def plan(
    experiment: Experiment,
    as_of: dt.date,
    warehouse: Warehouse,
    *,
    population: str | None = None,
    like: Experiment | None = None,
    share: float = 1.0,
    power: float = 0.8,
) -> Plan:
    """How many units and days does an experiment need, and what can it show in the days that it has?

    Parameters
    ----------
    experiment : Experiment
        As it is to run.
    as_of : date
        Data before 00:00 UTC of this date is read; the stretch of days that is looked at is the last one whose units
        are mature for every metric.
    warehouse : Warehouse
        Open for reading.
    population : str, optional
        An outcome source: whoever has a row in it, from the first row of the stretch on.
    like : Experiment, optional
        Its control, from its first day on. Default, without ``population``, the experiment itself.
    share : float, in (0, 1]
        Part of the units that will be let in.
    power : float
        Wanted of each comparison.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If an argument is not what it must be, or nothing says whose past to take.
    DataError
        If a table is missing, a source is not complete, or there is no unit.

    Notes
    -----
    Levels are those of the night: a primary metric's is divided by primary metrics times treatments, a guardrail is
    proved at half of alpha. The treatment with the smallest weight is planned. Several looks need ``inflation`` times
    the units of one, by the shares of the enrolment at which they are taken.

    Examples
    --------
    >>> found = plan(experiment, experiment.decides_on, warehouse, power=0.8)
    >>> found.metrics[0].metric, found.metrics[0].target
    ('conversion', 0.03)
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must be above 0 and at most 1.")
    past, of = _past(experiment, as_of, population, like)
    traffic, found = _read(past, as_of, warehouse)
    margins = {guardrail.metric: guardrail.margin for guardrail in experiment.guardrails}
    roles = {"primary": experiment.primary, "secondary": experiment.secondary, "guardrail": tuple(margins)}
    aims = [
        Aim(experiment, experiment.metrics[name], role, margins.get(name, experiment.smallest_effect), power)
        for role, names in roles.items()
        for name in names
    ]
    days = experiment.enrolment_days
    return Plan(
        key=experiment.key,
        title=experiment.title,
        as_of=as_of,
        of=of,
        traffic=traffic,
        share=share,
        power=power,
        looks=experiment.looks,
        inflation=aims[0].inflation,
        planned_days=days,
        planned_units=math.floor(share * traffic.units(days)),
        metrics=tuple(metric_plan(aim, found[aim.metric.name], traffic, share) for aim in aims),
    )


def _past(
    experiment: Experiment, as_of: dt.date, population: str | None, like: Experiment | None
) -> tuple[Experiment, str]:
    """The experiment as if it had run on a past population, in one variant; and whose past that is."""
    if experiment.units:
        raise ValueError(f"{experiment.key}: its metrics read a table with one row a unit, which tells of no traffic; "
                         "plan with metrics of outcome sources.")  # fmt: skip
    slowest = max(metric.maturity_days + metric.is_open for metric in experiment.metrics.values())
    if population is None:
        other = like or experiment
        past = replace(experiment, key=other.key, exposures=other.exposures, starts_on=other.starts_on,
                       ends_on=min(other.ends_on, as_of - slowest * DAY), segments=(), control=other.control,
                       weights={other.control: 1.0})  # fmt: skip
        if past.ends_on <= past.starts_on:
            raise ValueError(
                f"{experiment.key}: {other.key} has no unit by {as_of} that has been followed for {slowest} days; "
                f"say whose past to take: --population SOURCE ({', '.join(experiment.outcomes)}), or --like EXPERIMENT."
            )
        return past, f"the control of {other.key}, enrolled from {past.starts_on} to before {past.ends_on}"
    if population not in experiment.outcomes:
        raise ValueError(f"{experiment.key}: '{population}' is no outcome source of its metrics; there are: "
                         f"{', '.join(experiment.outcomes)}.")  # fmt: skip
    source = experiment.outcomes[population]
    ends_on = as_of - slowest * DAY
    starts_on = ends_on - experiment.enrolment_days * DAY
    exposures = ExposureSource(source.name, source.table, None, source.unit, None, source.occurred_at, source.loaded_at)
    past = replace(experiment, exposures=exposures, starts_on=starts_on, ends_on=ends_on, segments=(), control=EVERYONE,
                   weights={EVERYONE: 1.0})  # fmt: skip
    return past, f"everybody with a row in {population} from {starts_on} to before {ends_on}"


def _read(past: Experiment, as_of: dt.date, warehouse: Warehouse) -> tuple[Traffic, dict[str, Past]]:
    from abtest_lib.pipeline import outcomes_ready

    if late := outcomes_ready(past, as_of, warehouse):
        said = "; ".join(f"{one.source}: {one.reason}" for one in late)
        raise DataError(f"{past.key}, {as_of}: the data is not complete: {said}. Plan as of an earlier date.")
    units, moments = read_past(past, as_of, warehouse)
    inside = [row for row in whole(units) if row["in_dates"]]
    if not inside:
        raise DataError(
            f"{past.key}, {as_of}: no unit came from {past.starts_on} to before {past.ends_on}; take another past "
            "(--population, --like, --as-of)."
        )
    new = Counter()
    for row in inside:
        new[row["exposed_on"]] += row["units"]
    days = (past.starts_on + dt.timedelta(days=n) for n in range((past.ends_on - past.starts_on).days))
    return Traffic(past.starts_on, tuple(new[day] for day in days)), _pasts(past, whole(moments))


def _pasts(past: Experiment, moments: list[dict]) -> dict[str, Past]:
    found = {}
    for name, metric in past.metrics.items():
        own = [row for row in moments if row["metric"] == name and row["variant"] == past.control]
        found[name] = Past(arms_by_variant(past, metric, own)[past.control], sum(row["units"] for row in own))
    return found
