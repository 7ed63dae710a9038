"""From moments to what the night may say: each statistic with its family, alpha and word, as plain JSON values."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from abtest_lib.cohorts import arms_by_variant, looks_so_far, merged_days, planned_shares, whole
from abtest_lib.comparisons import Read, as_json, compare_over_looks, guardrail_over_looks
from abtest_lib.definitions import Experiment, Guardrail, Metric, Segment
from abtest_lib.statistics import error_budget as ledger
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import harm_alpha
from abtest_lib.statistics.heterogeneity import heterogeneity_test, shrunken_effects
from abtest_lib.statistics.sample_ratio import alarm_level, sample_ratio_pvalue, sample_ratio_test
from abtest_lib.statistics.sample_ratio_drilldown import sample_ratio_drilldown
from abtest_lib.statistics.spending import obrien_fleming_spending, pocock_spending

SPENDING = {  # the horizon is one look, where every function has spent all
    "horizon": obrien_fleming_spending,
    "obrien_fleming": obrien_fleming_spending,
    "pocock": pocock_spending,
}
ALL_UNITS_ONLY = "quantiles are read over all units only"
HARM_ALPHA = 0.05  # of ever calling a guardrail harmful that is not, over all of its reads
SPLIT_ALPHA = 0.01  # of ever stopping a healthy split, over all nights
MOST_OTHERWISE = 0.01  # of a variant's units that may have another variant than the assignment gives
BROKEN_SPLITS = {
    "assigned": "units did not fall into the variants as designed, so no difference can be trusted",
    "excluded": "more units of one variant are excluded than the design says, so what is left depends on the variant",
    "counted": "the units left after exclusion and activation are not split as designed, although those before are, so "
    "what is compared are no equal groups",
}

NOT_AS_ASSIGNED = (
    "more than one in a hundred units of a variant have another variant than the assignment gives, so who is in which "
    "group is not chance"
)


def stage(experiment: Experiment, as_of: dt.date) -> str:
    """What may this night say of effects?

    Parameters
    ----------
    experiment : Experiment
        Gives the plan of looks and the horizon.
    as_of : date
        The night.

    Returns
    -------
    {"interim", "look", "final"}
        interim: nothing is tested. look: tested at the level that the plan of looks has for this night. final: the
        horizon is reached.

    Raises
    ------
    TypeError
        If ``as_of`` is no date.

    Examples
    --------
    >>> stage(experiment, experiment.decides_on), stage(experiment, experiment.starts_on)
    ('final', 'interim')
    """
    if as_of >= experiment.decides_on:
        return "final"
    return "look" if as_of >= experiment.first_look_on else "interim"


def sample_ratio(experiment: Experiment, exposure: dict) -> dict:
    """Did units fall into the variants as designed?

    Where units are excluded or must be activated, those assigned, excluded and counted are tested each, and share the
    error: what is left must not depend on the variant.

    Parameters
    ----------
    experiment : Experiment
        Gives the designed weights and the number of nights on which this is read.
    exposure : dict
        ``exposure.json``.

    Returns
    -------
    dict
        ``healthy`` with the test of the counted units, or the first that failed; ``splits``, where there are several;
        when not healthy ``reason``, and ``suspects``, the segment values and days that depart from the design and from
        the others.

    Raises
    ------
    ValueError
        If no units were observed.

    Examples
    --------
    >>> sample_ratio(experiment, {"units": {"control": 600, "treatment": 400}})["healthy"]
    False
    """
    splits = _splits(exposure)
    level = alarm_level(max(experiment.planned_nights, 1), SPLIT_ALPHA / _split_count(experiment))
    pvalues = {of: sample_ratio_pvalue(units, experiment.weights) for of, units in splits.items()}
    broken = next((of for of, pvalue in pvalues.items() if pvalue < level), None)
    shown = broken or "counted"
    test = sample_ratio_test(splits[shown], experiment.weights)
    document = {
        "healthy": broken is None,
        "statistic": test.statistic,
        "df": test.df,
        "pvalue": pvalues[shown],
        "alarm_below": level,
        "observed": splits[shown],
        "expected": dict(test.expected),
        "weights": experiment.weights,
    }
    if _split_count(experiment) > 1:
        document |= {"of": shown, "splits": [{"of": of, "observed": splits[of], "pvalue": pvalue}
                                             for of, pvalue in pvalues.items()]}  # fmt: skip
    if broken:
        document["reason"] = BROKEN_SPLITS[broken if len(splits) > 1 else "assigned"]
        cells = exposure.get("cells", {}) if broken == "counted" else {}
        document["suspects"] = _suspects(cells, experiment.weights, level)
    return document | _as_assigned(exposure, document)


def _as_assigned(exposure: dict, document: dict) -> dict:
    """Whether units have the variants that the assignment gives them, where that is known.

    A unit that was to get the treatment and was shown control, because the treatment failed for it, moves to the other
    group for a reason, and the sample ratio need not show it.
    """
    if "assignment" not in exposure:
        return {}
    otherwise = Counter()
    for row in exposure["assignment"]["otherwise"]:
        otherwise[row["found"]] += row["units"]
    checked = exposure["assignment"]["checked"]
    wrong = [name for name, units in otherwise.items() if units > MOST_OTHERWISE * checked[name]]
    if not wrong:
        return {"as_assigned": True}
    reason = document.get("reason", NOT_AS_ASSIGNED)
    return {"as_assigned": False, "healthy": False, "reason": reason, "suspects": document.get("suspects", [])}


def _splits(exposure: dict) -> dict[str, dict[str, int]]:
    """The groups of units whose split is tested, by the order in which a fault of one explains the next."""
    activation, excluded = exposure.get("activation"), Counter()
    for entry in exposure.get("excluded", ()):
        excluded.update(entry["units"])
    return {
        **({"assigned": activation["assigned"]} if activation else {}),
        **({"excluded": dict(excluded)} if excluded.total() else {}),
        "counted": exposure["units"],
    }


def _split_count(experiment: Experiment) -> int:
    return 1 + bool(experiment.exclusions) + (experiment.activation is not None)


def _suspects(cells: dict, weights: dict[str, float], level: float) -> list[dict]:
    found = sample_ratio_drilldown(cells, weights, alarm_below=level).suspects if cells else ()
    return [
        {
            "dimension": suspect.dimension,
            "cell": suspect.cell,
            "observed": dict(suspect.observed),
            "expected": dict(suspect.expected),
            "share_of_units": suspect.share_of_units,
            "pvalue": suspect.pvalue_adjusted,
            "healthy_without": bool(suspect.healthy_without),
        }
        for suspect in found
    ]


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
    moments = whole(moments)
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
    rows: dict[tuple[str, str], list[dict]] = {}
    for row in moments:
        if row["segment"] is not None:
            rows.setdefault((row["segment"], row["value"]), []).append(row)
    cells = [
        (segment, value)
        for segment in experiment.segments
        for value in sorted(value for attribute, value in rows if attribute == segment.attribute)
    ]
    family = len(cells) * len(experiment.primary)
    return [
        _segment(experiment, segment, value, name, family, rows[segment.attribute, value], as_of)
        for name in experiment.primary
        for segment, value in cells
    ]


def heterogeneity(experiment: Experiment, as_of: dt.date, segments: list[dict]) -> list[dict]:
    """Does the effect differ between the values of a segment, by more than chance?

    Parameters
    ----------
    experiment : Experiment
        The family is all its segment attributes times its primary metrics, for each treatment.
    as_of : date
        Tested once, at the horizon.
    segments : list of dict
        What ``segments`` returned.

    Returns
    -------
    list of dict
        One for each attribute, primary metric and treatment; empty before the horizon.

    Raises
    ------
    KeyError
        If a row lacks a key.

    Examples
    --------
    >>> rows = segments(experiment, experiment.decides_on, moments)
    >>> [row["differs"] for row in heterogeneity(experiment, experiment.decides_on, rows)]
    [False, False]
    """
    if stage(experiment, as_of) != "final":
        return []
    # Quantiles count in the family, as they do in that of the segments, but there is nothing to test.
    places = list(dict.fromkeys((row["attribute"], row["name"], row["metric"]) for row in segments))
    return [
        _heterogeneity(experiment, place, variant, segments, family=len(places))
        for place in places
        if experiment.metrics[place[2]].kind != "quantile"
        for variant in experiment.treatments
    ]


def _heterogeneity(
    experiment: Experiment, place: tuple[str, str, str], variant: str, segments: list[dict], *, family: int
) -> dict:
    found = {
        row["value"]: one
        for row in segments
        for one in row["comparisons"]
        if (row["attribute"], row["name"], row["metric"]) == place and one["variant"] == variant and "effect" in one
    }
    effects = [one["effect"] for one in found.values()]
    errors = [one["standard_error"] for one in found.values()]
    test = heterogeneity_test(effects, errors)
    named = {**dict(zip(("attribute", "name", "metric"), place, strict=True)), "variant": variant}
    if isinstance(test, NotComputed):
        return {**named, "not_computed": test.reason}
    shrunken = shrunken_effects(effects, errors)
    adjusted = min(1.0, test.pvalue * family)
    return {
        **named,
        "statistic": test.statistic,
        "df": test.df,
        "pvalue": test.pvalue,
        "pvalue_adjusted": adjusted,
        "differs": adjusted < experiment.alpha,
        "i_squared": test.i_squared,
        "shrunken": {} if isinstance(shrunken, NotComputed) else dict(zip(found, shrunken.effects, strict=True)),
    }


def error_budget(experiment: Experiment, segments: list[dict]) -> list[dict]:
    """How often may each wrong claim be made, over all nights of the experiment?

    Parameters
    ----------
    experiment : Experiment
        Gives families, levels and the plan of looks.
    segments : list of dict
        What ``segments`` returned; their number is the size of the family of segments.

    Returns
    -------
    list of dict
        A row for each claim that a report can wrongly make.

    Raises
    ------
    ValueError
        If the experiment is not whole.

    Examples
    --------
    >>> [(row["claim"], row["promised"]) for row in error_budget(experiment, [])][0]
    ('a dud is called better or worse', 0.05)
    """
    values = Counter((row["attribute"], row["metric"]) for row in segments)
    spent = [0.0, *(SPENDING[experiment.looks](look, experiment.alpha / 2) for look in planned_shares(experiment))]
    budget = ledger.error_budget(
        alpha=experiment.alpha,
        primary_metrics=len(experiment.primary),
        treatments=len(experiment.treatments),
        secondary_metrics=len(experiment.secondary),
        guardrails=len(experiment.guardrails),
        segment_values=[count for (_, metric), count in values.items() if metric == experiment.primary[0]],
        nights=max(experiment.planned_nights, 1),
        looks_spent=[(after - before) / spent[-1] for before, after in pairwise(spent)],
        harm_alpha=HARM_ALPHA,
        sample_ratio_alpha=SPLIT_ALPHA,
        splits=_split_count(experiment),
    )
    return [
        {"kind": row.kind, "claim": row.claim, "family_size": row.comparisons, "looks": row.looks, "method": row.method,
         "per_comparison": float(row.per_comparison), "promised": float(row.promised)}
        for row in budget.rows
    ]  # fmt: skip


def guardrails(experiment: Experiment, as_of: dt.date, moments: list[dict]) -> list[dict]:
    """Is each guardrail proved safe, proved harmful, or not yet either?

    Parameters
    ----------
    experiment : Experiment
        Safety is read at the looks of its plan, harm on every night, its error shared by all nights, guardrails and
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
    moments = whole(moments)
    return [_guardrail(experiment, guardrail, as_of, moments) for guardrail in experiment.guardrails]


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
        "comparisons": _comparisons(experiment, experiment.metrics[name], family, moments, as_of)
        if experiment.metrics[name].kind != "quantile"
        else [{"variant": variant, **as_json(NotComputed(ALL_UNITS_ONLY))} for variant in experiment.treatments],
    }


def _described(metric: Metric) -> dict:
    return {"metric": metric.name, "title": metric.title, "kind": metric.kind, "better": metric.better,
            "unit": metric.unit}  # fmt: skip


def _comparisons(
    experiment: Experiment, metric: Metric, family: int, moments: Sequence[dict], as_of: dt.date
) -> list[dict]:
    reads, spending = _reads(experiment, metric, moments, as_of), SPENDING[experiment.looks]
    return [
        compare_over_looks(metric, variant, reads[variant], alpha=experiment.alpha, family=family, spending=spending)
        for variant in experiment.treatments
    ]


def _guardrail(experiment: Experiment, guardrail: Guardrail, as_of: dt.date, moments: Sequence[dict]) -> dict:
    # A margin is a share of the control's mean, so a guardrail's covariate, if any, is not used.
    metric = replace(experiment.metrics[guardrail.metric], covariate=None)
    for_harm = harm_alpha(
        HARM_ALPHA,
        guardrails=len(experiment.guardrails),
        treatments=len(experiment.treatments),
        reads=max(experiment.planned_nights, 1),
    )
    reads = _reads(experiment, metric, moments, as_of)
    return {
        **_described(metric),
        "margin": guardrail.margin,
        "comparisons": [
            guardrail_over_looks(metric, variant, reads[variant], margin=guardrail.margin, alpha=experiment.alpha,
                                 alpha_harm=for_harm, spending=SPENDING[experiment.looks])
            for variant in experiment.treatments
        ],
    }  # fmt: skip


def _reads(experiment: Experiment, metric: Metric, moments: Sequence[dict], as_of: dt.date) -> dict[str, list[Read]]:
    """By treatment: the looks so far, the last one with every unit of tonight; one without a look when none is due."""
    own = [row for row in moments if row["metric"] == metric.name]
    looks = looks_so_far(experiment, metric, as_of)
    days = merged_days(metric, own) if len(looks) > 1 else []
    before = [[row for row in days if row["exposed_on"] < look.exposed_before] for look in looks[:-1]]
    arms = [arms_by_variant(experiment, metric, rows) for rows in (*before, own)]
    return {
        variant: [
            Read(look, cut[experiment.control], cut[variant]) for look, cut in zip(looks or [None], arms, strict=True)
        ]
        for variant in experiment.treatments
    }
