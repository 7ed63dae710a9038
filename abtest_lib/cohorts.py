"""The units that a night or one of its looks counts, as moments of each variant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from abtest_lib.definitions import Experiment, Metric
from abtest_lib.statistics.moments import CoMoments, Moments, merge, merge_co_moments

Arm = Moments | CoMoments


@dataclass(frozen=True)
class Look:
    """One look at a metric: the units of the first ``days`` of enrolment, once they are mature.

    Parameters
    ----------
    night : date
        The first night that could take it.
    exposed_before : date
        It counts units exposed earlier than this.
    share : float
        Of the enrolment's days, by which alpha is spent; 1 at the last look.
    """

    night: dt.date
    exposed_before: dt.date
    share: float


def looks_so_far(experiment: Experiment, metric: Metric, as_of: dt.date) -> list[Look]:
    """Which looks at a metric has the plan had by this night, whether or not the night was run?

    Parameters
    ----------
    experiment : Experiment
        Its plan of looks: the horizon alone, or one a night from ``first_look_on`` on.
    metric : Metric
        Its maturity says which units are complete.
    as_of : date
        The night.

    Returns
    -------
    list of Look
        Oldest first; the last one is tonight's, or the last of the plan. They follow from the plan and the calendar
        alone, so a night that was skipped, repeated or backfilled is the same look.

    Raises
    ------
    TypeError
        If ``as_of`` is no date.

    Examples
    --------
    >>> metric = experiment.metrics["conversion"]
    >>> [look.share for look in looks_so_far(experiment, metric, experiment.decides_on)]
    [1.0]
    """
    if experiment.looks == "horizon":
        only = Look(experiment.decides_on, experiment.ends_on, 1.0)
        return [only] if as_of >= only.night else []
    planned, matures_in = experiment.enrolment_days, dt.timedelta(days=metric.maturity_days)
    mature = (as_of - matures_in - experiment.starts_on).days
    cuts = [experiment.starts_on + dt.timedelta(days=days) for days in range(1, min(mature, planned) + 1)]
    return [
        Look(night=cut + matures_in, exposed_before=cut, share=(cut - experiment.starts_on).days / planned)
        for cut in cuts
        if cut + matures_in >= experiment.first_look_on  # nights before it test no metric, also none that is faster
    ]


def planned_shares(experiment: Experiment) -> list[float]:
    """Which share of the enrolment has each look of the whole plan reached?

    Parameters
    ----------
    experiment : Experiment
        Of a metric as slow as the slowest that decides.

    Returns
    -------
    list of float
        Increasing to 1.

    Examples
    --------
    >>> planned_shares(experiment)
    [1.0]
    """
    planned = experiment.enrolment_days
    first = planned if experiment.looks == "horizon" else experiment.minimum_days
    return [days / planned for days in range(first, planned + 1)]


def arms_by_variant(experiment: Experiment, metric: Metric, rows: Sequence[dict]) -> dict[str, Arm]:
    """Merge cells into the moments of each variant.

    Parameters
    ----------
    experiment : Experiment
        Names the variants; one without rows has no units.
    metric : Metric
        With a covariate, arms are ``CoMoments``.
    rows : sequence of dict
        Rows of ``moments.parquet``; those of other metrics are left out.

    Returns
    -------
    dict
        By variant, in the order of the definition.

    Raises
    ------
    KeyError
        If a row lacks a column.

    Examples
    --------
    >>> arms_by_variant(experiment, experiment.metrics["conversion"], [])["control"].n
    0
    """
    own = [row for row in rows if row["metric"] == metric.name]
    arms = {variant: _merged(row for row in own if row["variant"] == variant) for variant in experiment.weights}
    return arms | _with_covariate(own) if metric.covariate else arms


def _merged(rows) -> Moments:
    return merge(Moments(row["n"], row["mean"], row["m2"]) for row in rows)


def _with_covariate(rows: Sequence[dict]) -> dict[str, CoMoments]:
    """By variant; a unit without a covariate gets the mean of those with one, over all variants.

    Any constant leaves the comparison unbiased, because what is missing was missing before the exposure. It is filled
    in here and not in the warehouse, so that the cells of different days still add up.
    """
    rows = [row for row in rows if row["n"]]
    known: dict[str, list[CoMoments]] = {row["variant"]: [] for row in rows}
    unknown: dict[str, list[Moments]] = {row["variant"]: [] for row in rows}
    for row in rows:
        outcome = Moments(row["n"], row["mean"], row["m2"])
        if row["covariate_known"]:
            covariate = Moments(row["n"], row["covariate_mean"], row["covariate_m2"])
            known[row["variant"]].append(CoMoments(outcome, covariate, row["comoment"]))
        else:
            unknown[row["variant"]].append(outcome)
    fill = merge(cell.covariate for cells in known.values() for cell in cells).mean
    return {
        variant: merge_co_moments([*known[variant], CoMoments.of_constant(merge(unknown[variant]), fill)])
        for variant in known
    }
