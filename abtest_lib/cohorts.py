"""The units that a night or one of its looks counts, as moments of each variant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from abtest_lib.definitions import Experiment, Metric
from abtest_lib.quantile_bins import as_lists, histograms
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import CoMoments, Moments, merge, merge_co_moments
from abtest_lib.statistics.quantile_histograms import merge_histograms, quantile_arm
from abtest_lib.statistics.ratios import linearised

Arm = Moments | CoMoments | NotComputed


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
        alone, so a night that was skipped, repeated or backfilled is the same look. An open metric, whose units are
        followed for different times, is read at the horizon alone.

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
    if experiment.looks == "horizon" or metric.is_open:
        only = Look(experiment.decides_on, experiment.counts_until, 1.0)
        return [only] if as_of >= only.night else []
    planned, matures_in = experiment.enrolment_days, dt.timedelta(days=metric.maturity_days)
    first, mature = first_cut(experiment, metric), (as_of - matures_in - experiment.starts_on).days
    cuts = [experiment.starts_on + dt.timedelta(days=days) for days in range(first, min(mature, planned) + 1)]
    # Nights before the first look test no metric, also none that was complete long before it.
    looks = [
        Look(max(cut + matures_in, experiment.first_look_on), cut, (cut - experiment.starts_on).days / planned)
        for cut in cuts
    ]
    return [look for look in looks if look.night <= as_of]


def first_cut(experiment: Experiment, metric: Metric) -> int:
    """How many days of units does the first look at a metric count?

    Parameters
    ----------
    experiment : Experiment
        With a plan of several looks.
    metric : Metric
        One that matures faster than what decides has more days by then, at most all; a slower one begins with one.

    Returns
    -------
    int
        Days of enrolment.

    Examples
    --------
    >>> first_cut(experiment, experiment.metrics["conversion"])
    21
    """
    mature = (experiment.first_look_on - experiment.starts_on).days - metric.maturity_days
    return max(1, min(mature, experiment.enrolment_days))


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
        With a covariate, arms are ``CoMoments``. Of a ratio, they are the moments of what each unit adds to it, or
        NotComputed where the denominator is zero; of a quantile see ``quantile_histograms.quantile_arm``.
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
    if metric.kind == "ratio":
        return {variant: _ratio([row for row in own if row["variant"] == variant]) for variant in experiment.weights}
    if metric.kind == "quantile":
        return {variant: _quantile(metric, [row for row in own if row["variant"] == variant])
                for variant in experiment.weights}  # fmt: skip
    arms = {variant: _merged(row for row in own if row["variant"] == variant) for variant in experiment.weights}
    return arms | _with_covariate(own) if metric.covariate else arms


def whole(rows: Sequence[dict]) -> list[dict]:
    """The rows that count all units once, without those of the segments.

    Parameters
    ----------
    rows : sequence of dict
        Rows of ``moments.parquet``; the rows of each segment add up to those without one.

    Returns
    -------
    list of dict
        In the same order.

    Raises
    ------
    KeyError
        If a row lacks its segment.

    Examples
    --------
    >>> whole([{"segment": None, "n": 3}, {"segment": "customers.platform", "n": 2}])
    [{'segment': None, 'n': 3}]
    """
    return [row for row in rows if row["segment"] is None]


def merged_days(metric: Metric, rows: Sequence[dict]) -> list[dict]:
    """Merge the cells of each day and variant, so that many looks need not go through all cells.

    Parameters
    ----------
    metric : Metric
        With a covariate, units with and without one stay apart; a ratio keeps both sides.
    rows : sequence of dict
        Rows of ``moments.parquet`` of this metric.

    Returns
    -------
    list of dict
        Rows that ``arms_by_variant`` can read; without segments, and without cells in which no unit has a value.

    Raises
    ------
    KeyError
        If a row lacks a column.

    Examples
    --------
    >>> cell = {"metric": "conversion", "variant": "control", "exposed_on": dt.date(2026, 2, 9)}
    >>> cells = [{**cell, "n": 2, "mean": 0.5, "m2": 0.5}, {**cell, "n": 2, "mean": 1.0, "m2": 0.0}]
    >>> [(row["n"], row["mean"], row["m2"]) for row in merged_days(experiment.metrics["conversion"], cells)]
    [(4, 0.75, 0.75)]
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["n"]:
            known = metric.kind == "ratio" or (metric.covariate is not None and row["covariate_known"])
            groups.setdefault((row["exposed_on"], row["variant"], known), []).append(row)
    other = "denominator" if metric.kind == "ratio" else "covariate"
    days = []
    for (exposed_on, variant, known), cells in groups.items():
        outcome, second = _merged(cells), {}
        if metric.kind == "quantile":
            second = as_lists(merge_histograms(histograms(cells)))
        if known:
            both = merge_co_moments([_co_moments(cell, other) for cell in cells])
            second = {f"{other}_mean": both.covariate.mean, f"{other}_m2": both.covariate.m2,
                      "comoment": both.comoment}  # fmt: skip
        days.append({"metric": metric.name, "variant": variant, "exposed_on": exposed_on, "n": outcome.n,
                     "mean": outcome.mean, "m2": outcome.m2, "covariate_known": known, **second})  # fmt: skip
    return days


def _co_moments(row: dict, other: str = "covariate") -> CoMoments:
    """The moments of a cell together with those of its covariate, or of its denominator."""
    both = Moments(row["n"], row[f"{other}_mean"], row[f"{other}_m2"])
    return CoMoments(Moments(row["n"], row["mean"], row["m2"]), both, row["comoment"])


def _ratio(rows: Sequence[dict]) -> Moments | NotComputed:
    cells = [_co_moments(row, "denominator") for row in rows if row["n"]]
    return linearised(merge_co_moments(cells)) if cells else Moments(0, 0.0, 0.0)


def _quantile(metric: Metric, rows: Sequence[dict]) -> Moments | NotComputed:
    return quantile_arm(merge_histograms(histograms(rows)), metric.quantile, units=sum(row["n"] for row in rows))


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
        if row["covariate_known"]:
            known[row["variant"]].append(_co_moments(row))
        else:
            unknown[row["variant"]].append(Moments(row["n"], row["mean"], row["m2"]))
    fill = merge(cell.covariate for cells in known.values() for cell in cells).mean
    return {
        variant: merge_co_moments([*known[variant], CoMoments.of_constant(merge(unknown[variant]), fill)])
        for variant in known
    }
