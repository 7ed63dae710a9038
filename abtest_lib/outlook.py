"""How probable it is that the experiment shows its primary effect by its horizon, at the pace of its units so far."""

from __future__ import annotations

import datetime as dt
from itertools import accumulate
from math import copysign, inf, isfinite

from scipy.special import ndtri

from abtest_lib.cohorts import first_cut, looks_so_far
from abtest_lib.definitions import Experiment, Metric
from abtest_lib.readings import SPENDING, stage
from abtest_lib.statistics.progress import (
    LooksToCome,
    chances_to_conclude,
    last_look_only,
    looks_to_come,
    predicted_chances,
)

PACE_DAYS = 7  # units of the days to come: the mean of the last week's


def outlook(experiment: Experiment, as_of: dt.date, exposure: dict, metrics: list[dict]) -> list[dict]:
    """Will this experiment be able to show what it is run for?

    Parameters
    ----------
    experiment : Experiment
        Gives the plan of looks and the smallest effect that matters.
    as_of : date
        The night.
    exposure : dict
        ``exposure.json``: its units by day say how many are still to come.
    metrics : list of dict
        ``metrics`` of ``significance.json``.

    Returns
    -------
    list of dict
        One for each primary metric and treatment that is still open: ``by`` (the last look), ``units`` expected by
        then, ``smallest`` (the chance that an effect of the smallest size that matters is shown by then) and
        ``predicted`` (the chance averaged over what the looks so far say of the effect; None where none was taken, so
        that no interim night tells more than its interval). Empty from the horizon on.

    Raises
    ------
    KeyError
        If a part of the exposure is missing.

    Examples
    --------
    >>> outlook(experiment, experiment.decides_on, {}, [])
    []
    """
    if stage(experiment, as_of) == "final" or "cells" not in exposure:
        return []
    by_day = _units_by_day(experiment, as_of, exposure)
    primary = [metric for metric in metrics if metric["role"] == "primary"]
    return [
        found
        for metric in primary
        for comparison in metric["comparisons"]
        if (found := _open_comparison(experiment, experiment.metrics[metric["metric"]], as_of, by_day, comparison))
    ]


def _units_by_day(experiment: Experiment, as_of: dt.date, exposure: dict) -> list[float]:
    """Units of all variants by day of enrolment: those seen, then the pace of the last week."""
    seen = {day: sum(counts.values()) for day, counts in exposure["cells"]["day of first exposure"].items()}
    days = [experiment.starts_on + dt.timedelta(days=number) for number in range(experiment.enrolment_days)]
    known = [seen.get(str(day), 0) for day in days if day < as_of]
    pace = sum(known[-PACE_DAYS:]) / max(len(known[-PACE_DAYS:]), 1)
    return known + [pace] * (len(days) - len(known))


def _open_comparison(
    experiment: Experiment, metric: Metric, as_of: dt.date, by_day: list[float], comparison: dict
) -> dict | None:
    error = comparison.get("standard_error")
    # What an open metric will know depends on the time that units are followed, not on their number alone.
    if metric.is_open or not error or not 0 < error**2 < inf or "stopped" in comparison:
        return None
    so_far = list(accumulate(by_day))
    mature = min((as_of - experiment.starts_on).days - metric.maturity_days, experiment.enrolment_days)
    if mature < 1 or not so_far[mature - 1] or not comparison["mean_control"]:
        return None
    # Information grows with the units: tonight's standard error stands for those that are mature.
    information = [units / so_far[mature - 1] / error**2 for units in so_far]
    if not isfinite(information[-1]):
        return None
    looks, z = _looks(experiment, metric, as_of, information, comparison)
    effect = experiment.smallest_effect * abs(comparison["mean_control"])
    return {
        "metric": metric.name,
        "variant": comparison["variant"],
        "by": str(experiment.counts_until + dt.timedelta(days=metric.maturity_days)),
        "units": round(so_far[-1]),
        "smallest": chances_to_conclude(looks, effect=effect, z=z).above[-1],
        "predicted": predicted_chances(looks, z=z).above[-1] if looks.at else None,
    }


def _looks(
    experiment: Experiment, metric: Metric, as_of: dt.date, information: list[float], comparison: dict
) -> tuple[LooksToCome, float]:
    """The looks to come, and z of tonight's, positive where the treatment is better."""
    alpha = 1 - comparison["confidence_level"]
    if experiment.looks == "horizon":
        return last_look_only(0.0, information[-1:], alpha=alpha), 0.0
    taken = [(look.exposed_before - experiment.starts_on).days for look in looks_so_far(experiment, metric, as_of)]
    # A look before the first unit is none.
    cuts = [
        days
        for days in range(first_cut(experiment, metric), experiment.enrolment_days + 1)
        if information[days - 1] > 0
    ]
    found = looks_to_come(
        [information[days - 1] for days in cuts if days in taken],
        [information[days - 1] for days in cuts if days not in taken],
        spending_time=[days / experiment.enrolment_days for days in cuts],
        alpha=alpha,
        spending=SPENDING[experiment.looks],
    )
    if not taken or not isinstance(comparison["pvalue"], float):
        return found, 0.0
    z = -float(ndtri(max(comparison["pvalue"], 1e-300) / 2))
    good = comparison["effect"] if metric.better == "higher" else -comparison["effect"]
    return found, copysign(z, good)
