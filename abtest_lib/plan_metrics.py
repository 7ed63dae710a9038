"""What one metric needs: units, days, and what the planned days can show, by the tests and levels of the night."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from itertools import accumulate

from abtest_lib.cohorts import Arm, planned_shares
from abtest_lib.definitions import Experiment, Metric
from abtest_lib.readings import SPENDING
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import CoMoments
from abtest_lib.statistics.planning import Baseline, RequiredUnits, treated_share
from abtest_lib.statistics.planning_looks import looks_inflation
from abtest_lib.statistics.power import minimum_detectable_means, power_means, required_units_means
from abtest_lib.statistics.power_margin_shares import (
    power_non_inferior_proportions,
    required_units_non_inferior_proportions,
    smallest_margin_proportions,
)
from abtest_lib.statistics.power_margins import (
    power_guardrail_means,
    required_units_guardrail_means,
    smallest_margin_guardrail_means,
)
from abtest_lib.statistics.power_proportions import (
    minimum_detectable_proportions,
    power_proportions,
    required_units_proportions,
)


@dataclass(frozen=True)
class Traffic:
    """New units of a past stretch of days.

    Parameters
    ----------
    since : date
        The first day.
    by_day : tuple of int
        Units whose first exposure, or first event, of the stretch was on that day.
    """

    since: dt.date
    by_day: tuple[int, ...]

    def units(self, days: int) -> float:
        """How many units so many days bring; beyond those seen, at the pace of the last week."""
        return sum(self.by_day[:days]) + max(days - len(self.by_day), 0) * self._pace

    def days(self, units: float) -> int | NotComputed:
        """After how many whole weeks are there so many units?"""
        seen = next((n for n, total in enumerate(accumulate(self.by_day), 1) if total >= units), None)
        if seen is None and not self._pace:
            return NotComputed("the last week of the past brought no new unit")
        days = seen or len(self.by_day) + math.ceil((units - sum(self.by_day)) / self._pace)
        return 7 * math.ceil(days / 7)

    @property
    def _pace(self) -> float:
        return sum(self.by_day[-7:]) / len(self.by_day[-7:])


@dataclass(frozen=True)
class Past:
    """What a metric was: moments of the ``arm.n`` units with a value, of ``units`` that were mature."""

    arm: Arm
    units: int


@dataclass(frozen=True)
class MetricPlan:
    """What one metric needs.

    Parameters
    ----------
    metric, title, kind, role : str
    unit : str or None
    target : float
        Relative: the smallest effect that matters, or a guardrail's margin.
    baseline : Baseline or NotComputed
    units : int or NotComputed
        Of all variants.
    days : int or NotComputed
        Of enrolment, whole weeks.
    decided_on : date or NotComputed
        When the last of these units is mature.
    power : float or NotComputed
        Of showing the target with the planned enrolment.
    detectable : float or NotComputed
        The smallest relative effect, or margin, that the planned enrolment shows with the wanted power.
    curve : tuple of (int, float)
        The same by days of enrolment.
    """

    metric: str
    title: str
    kind: str
    role: str
    unit: str | None
    target: float
    baseline: Baseline | NotComputed
    units: int | NotComputed
    days: int | NotComputed
    decided_on: dt.date | NotComputed
    power: float | NotComputed
    detectable: float | NotComputed
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Aim:
    """One metric as the night will test it; ``target`` is the smallest effect that matters, or a guardrail's margin."""

    experiment: Experiment
    metric: Metric
    role: str
    target: float
    power: float

    @property
    def alpha(self) -> float:
        """Of one comparison: two-sided, of a guardrail one-sided."""
        if self.role == "guardrail":
            return self.experiment.alpha / 2
        family = len(self.experiment.primary) * len(self.experiment.treatments) if self.role == "primary" else 1
        return self.experiment.alpha / family

    @property
    def weights(self) -> tuple[float, float]:
        """Parts of all units: control's, and the smallest of a treatment's."""
        weights, total = self.experiment.weights, sum(self.experiment.weights.values())
        smallest = min(weights[name] for name in self.experiment.treatments)
        return weights[self.experiment.control] / total, smallest / total

    @property
    def inflation(self) -> float:
        """How many times the units of one look the plan of looks needs."""
        if self.experiment.looks == "horizon":
            return 1.0
        side = "greater" if self.role == "guardrail" else "two-sided"
        return looks_inflation(planned_shares(self.experiment), power=self.power, alpha=self.alpha, alternative=side,
                               spending=SPENDING[self.experiment.looks])  # fmt: skip

    @property
    def change(self) -> float:
        """The target as a relative change in the good direction."""
        return self.target if self.metric.better == "higher" else -self.target


def metric_plan(aim: Aim, past: Past, traffic: Traffic, share: float) -> MetricPlan:
    """How many units and days does a metric need, and what can the planned enrolment show?

    Parameters
    ----------
    aim : Aim
        The metric and its target.
    past : Past
        What it was.
    traffic : Traffic
        New units of the past.
    share : float
        Part of them that will be let in.

    Returns
    -------
    MetricPlan

    Examples
    --------
    >>> from abtest_lib.definitions import load_experiment
    >>> from abtest_lib.statistics.moments import Moments
    >>> one = load_experiment("experiments", "one_page_checkout")
    >>> aim = Aim(one, one.metrics["conversion"], "primary", 0.03, power=0.8)
    >>> past, traffic = Past(Moments(10_000, 0.3, 2_100.0), 10_000), Traffic(dt.date(2026, 1, 1), (2_000,) * 21)
    >>> found = metric_plan(aim, past, traffic, share=1.0)
    >>> found.units, found.days, str(found.decided_on)
    (82084, 42, '2026-03-24')
    """
    baseline, planned = _baseline(aim, past.arm), aim.experiment.enrolment_days
    if aim.metric.is_open:
        baseline = NotComputed("its units are followed for different times, so no past says what they will show")
    what = {"metric": aim.metric.name, "title": aim.metric.title, "role": aim.role, "target": aim.target,
            "unit": aim.metric.unit, "kind": aim.metric.kind, "baseline": baseline}  # fmt: skip
    if isinstance(baseline, NotComputed):
        return MetricPlan(**what, **dict.fromkeys(("units", "days", "decided_on", "power", "detectable"), baseline))
    in_all = past.units / past.arm.n  # for each unit that has a value
    units = math.ceil(_required(aim, baseline) / aim.weights[0] * aim.inflation * in_all * (1 - 1e-12))
    days = traffic.days(units / share)
    weeks = sorted({*range(7, max(2 * planned, 28) + 1, 7), planned})
    curve = {n: _detectable(aim, baseline, share * traffic.units(n) / in_all) for n in weeks}
    return MetricPlan(
        **what,
        units=units,
        days=days,
        decided_on=days
        if isinstance(days, NotComputed)
        else aim.experiment.starts_on + dt.timedelta(days=days + aim.metric.maturity_days),
        power=_power(aim, baseline, share * traffic.units(planned) / in_all),
        detectable=curve[planned],
        curve=tuple((n, value) for n, value in curve.items() if not isinstance(value, NotComputed)),
    )


def _baseline(aim: Aim, arm: Arm) -> Baseline | NotComputed:
    if isinstance(arm, NotComputed):
        return arm
    if isinstance(arm, CoMoments):
        # A guardrail's margin is a share of the control's mean: the night does not use its covariate.
        found = Baseline.of_mean(arm.outcome) if aim.role == "guardrail" else Baseline.of_adjusted_mean(arm)
    else:
        found = Baseline.of_mean(arm)
    if isinstance(found, NotComputed) or found.mean > 0:
        return found
    return NotComputed(f"the past mean is {found.mean:g}, and the target is a part of it")


def _required(aim: Aim, baseline: Baseline) -> float:
    """Units of the control for one look."""
    return _required_units(aim, baseline).exact_control


def _required_units(aim: Aim, baseline: Baseline) -> RequiredUnits:
    control, treatment = aim.weights
    plan = {"power": aim.power, "alpha": aim.alpha, "allocation": treatment / control}
    if aim.role == "guardrail" and aim.metric.is_share:
        return required_units_non_inferior_proportions(
            aim.target, share_control=baseline.mean, better=aim.metric.better, scale="ratio", **plan
        )
    if aim.role == "guardrail":
        return required_units_guardrail_means(
            aim.target, mean=baseline.mean, sd=baseline.sd, better=aim.metric.better, **plan
        )
    if aim.metric.is_share:
        return required_units_proportions(baseline.mean, _treated(aim, baseline), **plan)
    return required_units_means(baseline.effect(aim.target), sd=baseline.sd, **plan)


def _treated(aim: Aim, baseline: Baseline) -> float:
    return treated_share(baseline.mean, relative_effect=aim.change)


def _split(aim: Aim, units: float) -> dict[str, float]:
    control, treatment = aim.weights
    return {"n_control": units * control / aim.inflation, "n_treatment": units * treatment / aim.inflation}


def _detectable(aim: Aim, baseline: Baseline, units: float) -> float | NotComputed:
    """The smallest relative effect, or margin, that so many units show with the wanted power."""
    plan = {**_split(aim, units), "power": aim.power, "alpha": aim.alpha}
    if min(plan["n_control"], plan["n_treatment"]) < 2:
        return NotComputed("there are fewer than two units of a variant")
    if aim.role == "guardrail" and aim.metric.is_share:
        return smallest_margin_proportions(share_control=baseline.mean, better=aim.metric.better, scale="ratio", **plan)
    if aim.role == "guardrail":
        return smallest_margin_guardrail_means(mean=baseline.mean, sd=baseline.sd, better=aim.metric.better, **plan)
    if aim.metric.is_share:
        way = "increase" if aim.change > 0 else "decrease"
        found = minimum_detectable_proportions(baseline.mean, direction=way, **plan)
        return found if isinstance(found, NotComputed) else abs(found.relative_effect)
    return baseline.relative_effect(minimum_detectable_means(sd=baseline.sd, **plan))


def _power(aim: Aim, baseline: Baseline, units: float) -> float | NotComputed:
    """How probable it is that so many units show the target."""
    plan = {**_split(aim, units), "alpha": aim.alpha}
    if min(plan["n_control"], plan["n_treatment"]) < 2:
        return NotComputed("there are fewer than two units of a variant")
    if aim.role == "guardrail" and aim.metric.is_share:
        return power_non_inferior_proportions(aim.target, share_control=baseline.mean, better=aim.metric.better,
                                              scale="ratio", **plan)  # fmt: skip
    if aim.role == "guardrail":
        return power_guardrail_means(aim.target, mean=baseline.mean, sd=baseline.sd, better=aim.metric.better, **plan)
    if aim.metric.is_share:
        return power_proportions(baseline.mean, _treated(aim, baseline), **plan)
    return power_means(baseline.effect(aim.target), sd=baseline.sd, **plan)
