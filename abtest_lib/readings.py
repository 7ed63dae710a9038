"""From moments to what the night may say: each statistic with its family, alpha and word, as plain JSON values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from abtest_lib.definitions import Experiment, Guardrail, Metric, Segment
from abtest_lib.statistics import inference
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import harm_alpha, non_inferiority
from abtest_lib.statistics.inference import Comparison
from abtest_lib.statistics.moments import CoMoments, Moments, merge, merge_co_moments
from abtest_lib.statistics.multiplicity import bonferroni_alpha
from abtest_lib.statistics.sample_ratio import alarm_level, sample_ratio_test

HARM_ALPHA = 0.05  # of ever calling a guardrail harmful that is not, over all of its reads


def is_final(experiment: Experiment, as_of: dt.date) -> bool:
    """Has the fixed horizon been reached, so that effects may be tested?

    Parameters
    ----------
    experiment : Experiment
        Gives the horizon.
    as_of : date
        The night.

    Returns
    -------
    bool
        False on interim nights.

    Raises
    ------
    TypeError
        If ``as_of`` is no date.

    Examples
    --------
    >>> is_final(experiment, experiment.decides_on)
    True
    """
    return as_of >= experiment.decides_on


def sample_ratio(experiment: Experiment, exposure: dict) -> dict:
    """Did units fall into the variants as designed?

    Parameters
    ----------
    experiment : Experiment
        Gives the designed weights and the number of nights on which this is read.
    exposure : dict
        ``exposure.json``.

    Returns
    -------
    dict
        ``healthy`` with the test; ``reason`` when not healthy.

    Raises
    ------
    ValueError
        If no units were observed.

    Examples
    --------
    >>> sample_ratio(experiment, {"units": {"control": 600, "treatment": 400}})["healthy"]
    False
    """
    test = sample_ratio_test(exposure["units"], experiment.weights)
    level = alarm_level(max(experiment.planned_nights, 1))
    document = {
        "healthy": test.pvalue >= level,
        "statistic": test.statistic,
        "df": test.df,
        "pvalue": test.pvalue,
        "alarm_below": level,
        "observed": exposure["units"],
        "expected": dict(test.expected),
        "weights": experiment.weights,
    }
    if not document["healthy"]:
        document["reason"] = "units did not fall into the variants as designed, so no difference can be trusted"
    return document


def significance(experiment: Experiment, as_of: dt.date, moments: list[dict]) -> dict:
    """How do treatments compare with control on primary and secondary metrics?

    Parameters
    ----------
    experiment : Experiment
        Primary metrics share alpha among themselves and the treatments (Bonferroni); secondary ones do not decide and
        are not corrected.
    as_of : date
        On interim nights nothing is tested.
    moments : list of dict
        Rows of ``moments.parquet``.

    Returns
    -------
    dict
        ``metrics``, and under ``crossovers`` the treatments' primary readings without units seen in two variants.

    Raises
    ------
    ValueError
        If the moments are not of this experiment.

    Examples
    --------
    >>> significance(experiment, experiment.decides_on, moments)["metrics"][0]["comparisons"][0]["reading"]
    'better'
    """
    family = len(experiment.primary) * len(experiment.treatments)
    metrics = [
        _metric(experiment, experiment.metrics[name], role, size, moments, as_of)
        for role, names, size in (("primary", experiment.primary, family), ("secondary", experiment.secondary, 1))
        for name in names
    ]
    loyal = [row for row in moments if not row["crossover"]]
    without = [
        _metric(experiment, experiment.metrics[name], "primary", family, loyal, as_of) for name in experiment.primary
    ]
    crossovers = [
        {"metric": metric["metric"], "variant": one["variant"], "reading": all_units.get("reading"),
         "reading_without_crossovers": one.get("reading")}
        for metric, with_all in zip(without, metrics, strict=False)
        for one, all_units in zip(metric["comparisons"], with_all["comparisons"], strict=True)
    ]  # fmt: skip
    return {"metrics": metrics, "crossovers": crossovers}


def segments(experiment: Experiment, as_of: dt.date, moments: list[dict]) -> list[dict]:
    """How do treatments compare with control within each segment value, on the primary metrics?

    Parameters
    ----------
    experiment : Experiment
        The family is all its segment values times its primary metrics, for each treatment.
    as_of : date
        On interim nights nothing is tested.
    moments : list of dict
        Rows of ``moments.parquet``.

    Returns
    -------
    list of dict
        In the order of the definition, values in alphabetical order.

    Raises
    ------
    ValueError
        If the moments are not of this experiment.

    Examples
    --------
    >>> [row["value"] for row in segments(experiment, experiment.decides_on, moments)][:4]
    ['(unknown)', 'android', 'ios', 'web']
    """
    cells = [
        (number, segment, value)
        for number, segment in enumerate(experiment.segments)
        for value in sorted({row[f"segment_{number}"] for row in moments})
    ]
    family = len(cells) * len(experiment.primary)
    rows = {
        (number, value): [row for row in moments if row[f"segment_{number}"] == value] for number, _, value in cells
    }
    return [
        _segment(experiment, segment, value, name, family, rows[number, value], as_of)
        for name in experiment.primary
        for number, segment, value in cells
    ]


def guardrails(experiment: Experiment, as_of: dt.date, moments: list[dict]) -> list[dict]:
    """Is each guardrail proved safe, proved harmful, or not yet either?

    Parameters
    ----------
    experiment : Experiment
        Safety is read once, at the horizon; harm on every night, its error shared by all nights, guardrails and
        treatments.
    as_of : date
        The night.
    moments : list of dict
        Rows of ``moments.parquet``.

    Returns
    -------
    list of dict
        One for each guardrail with one comparison for each treatment.

    Raises
    ------
    ValueError
        If the moments are not of this experiment.

    Examples
    --------
    >>> guardrails(experiment, experiment.decides_on, moments)[0]["comparisons"][0]["outcome"]
    'safe'
    """
    return [_guardrail(experiment, guardrail, as_of, moments) for guardrail in experiment.guardrails]


def _moments_of(moments: Sequence[dict], metric: str, variant: str) -> Moments:
    rows = [row for row in moments if row["metric"] == metric and row["variant"] == variant]
    return merge(Moments(row["n"], row["mean"], row["m2"]) for row in rows)


def _co_moments_of(moments: Sequence[dict], metric: str) -> dict[str, CoMoments]:
    """By variant; a unit without a covariate gets the mean of those with one, over all variants.

    Any constant leaves the comparison unbiased, because what is missing was missing before the exposure. It is filled
    in here and not in the warehouse, so that the cells of different days still add up.
    """
    rows = [row for row in moments if row["metric"] == metric and row["n"]]
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


def _compare(
    metric: Metric, control: Moments | CoMoments, treatment: Moments | CoMoments, alpha: float
) -> Comparison | NotComputed:
    if isinstance(control, CoMoments) and isinstance(treatment, CoMoments):
        return inference.compare_adjusted_means(control, treatment, alpha=alpha)
    if metric.is_share:
        counts = [count for arm in (control, treatment) for count in (round(arm.n * arm.mean), arm.n)]
        return inference.compare_proportions(*counts, alpha=alpha)
    return inference.compare_means(control, treatment, alpha=alpha)


def _metric(
    experiment: Experiment, metric: Metric, role: str, family: int, moments: Sequence[dict], as_of: dt.date
) -> dict:
    return {**_described(metric), "role": role, "comparisons": _comparisons(experiment, metric, family, moments, as_of)}


def _segment(
    experiment: Experiment,
    segment: Segment,
    value: str,
    name: str,
    family: int,
    moments: Sequence[dict],
    as_of: dt.date,
) -> dict:
    return {
        "attribute": segment.attribute,
        "name": segment.column,
        "value": value,
        "protected": segment.protected,
        **_described(experiment.metrics[name]),
        "comparisons": _comparisons(experiment, experiment.metrics[name], family, moments, as_of),
    }


def _described(metric: Metric) -> dict:
    return {"metric": metric.name, "title": metric.title, "kind": metric.kind, "better": metric.better,
            "unit": metric.unit}  # fmt: skip


def _comparisons(
    experiment: Experiment, metric: Metric, family: int, moments: Sequence[dict], as_of: dt.date
) -> list[dict]:
    arms = {variant: _moments_of(moments, metric.name, variant) for variant in experiment.weights}
    if metric.covariate:
        arms |= _co_moments_of(moments, metric.name)
    control, final = arms[experiment.control], is_final(experiment, as_of)
    alpha = bonferroni_alpha(experiment.alpha, family)
    return [
        _comparison(metric, variant, control, arms[variant], alpha, family, final) for variant in experiment.treatments
    ]


def _comparison(
    metric: Metric,
    variant: str,
    control: Moments | CoMoments,
    treatment: Moments | CoMoments,
    alpha: float,
    family: int,
    final: bool,
) -> dict:
    found = _unless_empty(control, treatment, lambda: _compare(metric, control, treatment, alpha))
    if isinstance(found, NotComputed):
        return {"variant": variant, **_plain(found)}
    pvalue = found.pvalue if final else None
    adjusted = min(1.0, pvalue * family) if isinstance(pvalue, float) else _plain(pvalue)
    return {
        "variant": variant,
        **_arms(control, treatment),
        "effect": found.effect,
        "effect_interval": list(found.effect_interval),
        "relative_effect": _plain(found.relative_effect),
        "relative_interval": _plain(found.relative_interval),
        "confidence_level": found.confidence_level,
        "pvalue": _plain(pvalue),
        "pvalue_adjusted": adjusted,
        "family_size": family,
        "reading": _reading(metric, found, alpha) if final else "interim",
        "method": found.method,
        **_adjustment(metric, found),
    }


def _adjustment(metric: Metric, found: Comparison) -> dict:
    if found.adjustment is None or metric.covariate is None:
        return {}
    return {
        "adjustment": {
            "covariate": metric.covariate.attribute,
            "theta": found.adjustment.theta,
            "variance_removed": found.adjustment.variance_removed,
            "unadjusted_effect": found.adjustment.unadjusted_effect,
            "unadjusted_interval": list(found.adjustment.unadjusted_interval),
        }
    }


def _unless_empty(control: Moments | CoMoments, treatment: Moments | CoMoments, compute: Callable):
    for name, arm in (("control", control), ("the treatment", treatment)):
        if arm.n < 2:
            return NotComputed(f"{name} has {arm.n} mature units with a value, and at least 2 are needed")
    return compute()


def _reading(metric: Metric, found: Comparison, alpha: float) -> str:
    """A word is a claim: the test and the interval must both make it."""
    low, high = found.effect_interval
    if isinstance(found.pvalue, NotComputed) or found.pvalue >= alpha or low <= 0 <= high:
        return "not_shown"
    return "better" if (low > 0) == (metric.better == "higher") else "worse"


def _guardrail(experiment: Experiment, guardrail: Guardrail, as_of: dt.date, moments: Sequence[dict]) -> dict:
    metric = experiment.metrics[guardrail.metric]
    # A margin is a share of the control's mean, so a guardrail's covariate, if any, is not used.
    control = _moments_of(moments, metric.name, experiment.control)
    return {
        **_described(metric),
        "margin": guardrail.margin,
        "comparisons": [
            _guardrail_comparison(experiment, guardrail, variant, control,
                                  _moments_of(moments, metric.name, variant), is_final(experiment, as_of))
            for variant in experiment.treatments
        ],
    }  # fmt: skip


def _guardrail_comparison(
    experiment: Experiment, guardrail: Guardrail, variant: str, control: Moments, treatment: Moments, final: bool
) -> dict:
    metric = experiment.metrics[guardrail.metric]
    for_harm = harm_alpha(
        HARM_ALPHA,
        guardrails=len(experiment.guardrails),
        treatments=len(experiment.treatments),
        reads=max(experiment.planned_nights, 1),
    )
    compared = _comparison(metric, variant, control, treatment, experiment.alpha, 1, final)
    found = _unless_empty(
        control,
        treatment,
        lambda: non_inferiority(
            control,
            treatment,
            kind="proportion" if metric.is_share else "mean",
            margin=guardrail.margin,
            better=metric.better,
            alpha=experiment.alpha / 2,
            alpha_harm=for_harm,
        ),
    )
    if "not_computed" in compared or isinstance(found, NotComputed):
        return {"variant": variant, **(compared if "not_computed" in compared else _plain(found))}
    return {
        **compared,
        "relative_interval": _plain(found.relative_interval),
        "confidence_level": found.confidence_level,
        "outcome": found.outcome if final else found.harm_outcome,
        "pvalue_safe": found.pvalue_safe if final else None,
        "harm_interval": _plain(found.harm_interval),
        "harm_confidence_level": found.harm_confidence_level,
        "method": found.method,
    }


def _arms(control: Moments | CoMoments, treatment: Moments | CoMoments) -> dict:
    control, treatment = (arm.outcome if isinstance(arm, CoMoments) else arm for arm in (control, treatment))
    return {
        "n_control": control.n,
        "n_treatment": treatment.n,
        "mean_control": control.mean,
        "mean_treatment": treatment.mean,
    }


def _plain(value):
    if isinstance(value, NotComputed):
        return {"not_computed": value.reason}
    return list(value) if isinstance(value, tuple) else value
