"""The verdict of each treatment, and the document that holds a night's numbers.

The rule, first match first (docs/decision.md has it as a table):

invalid        the sample ratio failed, or the units seen in two variants change what is said
do_not_ship    on any night: a guardrail is proved harmful
keep_running   before the first look
do_not_ship    a primary metric is worse, or a protected segment is harmed
keep_running   before the horizon, while a line below still speaks against shipping
do_not_ship    at the horizon: a guardrail is not proved safe, no primary metric is better, or the one that is better
               moves less than the smallest effect that matters
ship           otherwise
"""

from __future__ import annotations

import datetime as dt

from abtest_lib import __version__
from abtest_lib.definitions import Experiment
from abtest_lib.outlook import outlook
from abtest_lib.readings import error_budget, stage

SCHEMA_VERSION = 1


def results_document(
    experiment: Experiment, as_of: dt.date, revision: str, exposure: dict, ratio: dict, read: dict
) -> dict:
    """Assemble ``results.json``, which every report is printed from.

    Parameters
    ----------
    experiment : Experiment
        As collected.
    as_of : date
        The night.
    revision : str
        Its revision.
    exposure, ratio : dict
        ``exposure.json`` and ``sample_ratio.json``.
    read : dict
        ``significance``, ``segments`` and ``guardrails``; empty when the sample ratio failed.

    Returns
    -------
    dict
        Valid under ``docs/results.schema.json``.

    Raises
    ------
    KeyError
        If a part is missing though the sample ratio is healthy.

    Examples
    --------
    >>> ratio = {"healthy": False, "reason": "of a broken split", "pvalue": 0.0, "alarm_below": 0.001}
    >>> document = results_document(experiment, dt.date(2026, 3, 9), "3f2a", {"maturity": []}, ratio, {})
    >>> document["verdicts"][0]["verdict"], document["metrics"]
    ('invalid', [])
    """
    rows = read["segments"]["segments"] if read else []
    document = {
        "schema_version": SCHEMA_VERSION,
        "abtest_version": __version__,
        "experiment": _experiment(experiment),
        "as_of": str(as_of),
        "revision": revision,
        "stage": stage(experiment, as_of),
        "exposure": {name: value for name, value in exposure.items() if name not in ("maturity", "cells")},
        "sample_ratio": ratio,
        "maturity": exposure["maturity"],
        "metrics": read["significance"]["metrics"] if read else [],
        "guardrails": read["guardrails"] if read else [],
        "segments": rows,
        "heterogeneity": read["segments"]["heterogeneity"] if read else [],
        "error_budget": error_budget(experiment, rows),
        "outlook": outlook(experiment, as_of, exposure, read["significance"]["metrics"]) if read else [],
    }
    if not ratio["healthy"]:
        document["withheld"] = ratio["reason"]
    crossovers = read["significance"]["crossovers"] if read else []
    document["verdicts"] = [
        verdict(variant, document, crossovers, smallest_effect=experiment.smallest_effect)
        for variant in experiment.treatments
    ]
    return document


def verdict(variant: str, document: dict, crossovers: list[dict], *, smallest_effect: float) -> dict:
    """Decide about one treatment.

    Parameters
    ----------
    variant : str
        The treatment.
    document : dict
        ``results.json`` without its verdicts.
    crossovers : list of dict
        The primary readings with and without units seen in two variants.
    smallest_effect : float
        Relative, the smallest that matters.

    Returns
    -------
    dict
        ``verdict`` (ship, do_not_ship, keep_running, invalid), ``until`` (a date when it is keep_running) and the
        ordered ``reasons``, each with a code and what it is about.

    Raises
    ------
    KeyError
        If the document is not whole.

    Examples
    --------
    >>> ratio = {"healthy": False, "pvalue": 1e-9, "alarm_below": 0.0004}
    >>> verdict("treatment", {"sample_ratio": ratio}, [], smallest_effect=0.02)["reasons"][0]["code"]
    'sample_ratio_mismatch'
    """
    if not document["sample_ratio"]["healthy"]:
        ratio = document["sample_ratio"]
        if ratio.get("as_assigned") is False and ratio["pvalue"] >= ratio["alarm_below"]:
            return _verdict(variant, "invalid", [{"code": "not_as_assigned", "detail": ratio["reason"]}])
        detail = f"p = {ratio['pvalue']:.2g}, alarm below {ratio['alarm_below']:.2g}"
        return _verdict(variant, "invalid", [{"code": "sample_ratio_mismatch", "detail": detail}])
    final, until = document["stage"] == "final", document["experiment"]["decides_on"]
    changed = _changed_by_crossovers(variant, crossovers)
    if final and changed:
        return _verdict(variant, "invalid", changed)
    harmful = _of_guardrails(variant, document, "harmful", "guardrail_harmful")
    if document["stage"] == "interim":
        if harmful:
            return _verdict(variant, "do_not_ship", harmful)
        return _verdict(variant, "keep_running", [{"code": "immature", "detail": f"decides on {until}"}], until)
    proved = [
        *harmful,
        *_of_metrics(variant, document, "worse", "primary_worse"),
        *_harmed_segments(variant, document),
    ]
    lacking = [
        *_of_guardrails(variant, document, "not_yet", "guardrail_not_proved_safe"),
        *_not_computed(variant, document),
        *_no_success(variant, document, smallest_effect),
    ]
    if proved or (final and lacking):
        return _verdict(variant, "do_not_ship", proved + (lacking if final else []))
    if lacking or changed:
        return _verdict(variant, "keep_running", lacking + changed, until)
    reasons = _of_metrics(variant, document, "better", "primary_better")
    return _verdict(variant, "ship", reasons + ([{"code": "guardrails_safe"}] if document["guardrails"] else []))


def one_line(verdict: dict) -> str:
    """Say a verdict in one line, for logs and the command line.

    Parameters
    ----------
    verdict : dict
        One of ``verdicts`` of ``results.json``.

    Returns
    -------
    str
        Variant, verdict, date and reason codes.

    Raises
    ------
    KeyError
        If it is no verdict.

    Examples
    --------
    >>> one_line({"variant": "treatment", "verdict": "keep_running", "until": "2026-03-23",
    ...           "reasons": [{"code": "immature"}]})
    'treatment: keep_running until 2026-03-23 (immature)'
    """
    until = f" until {verdict['until']}" if verdict["until"] else ""
    return f"{verdict['variant']}: {verdict['verdict']}{until} ({', '.join(r['code'] for r in verdict['reasons'])})"


def _verdict(variant: str, word: str, reasons: list[dict], until: str | None = None) -> dict:
    return {"variant": variant, "verdict": word, "until": until, "reasons": reasons}


def _experiment(experiment: Experiment) -> dict:
    return {
        "key": experiment.key,
        "title": experiment.title,
        "hypothesis": experiment.hypothesis,
        "owner": experiment.owner,
        "team": experiment.team,
        "starts_on": str(experiment.starts_on),
        "ends_on": str(experiment.ends_on),
        "decides_on": str(experiment.decides_on),
        "control": experiment.control,
        "weights": experiment.weights,
        "primary": list(experiment.primary),
        "smallest_effect": experiment.smallest_effect,
        "alpha": experiment.alpha,
        "looks": experiment.looks,
        "first_look_on": str(experiment.first_look_on),
        "definition_sha256": experiment.sha256,
    }


def _comparisons(variant: str, rows: list[dict]) -> list[tuple[dict, dict]]:
    return [(row, one) for row in rows for one in row["comparisons"] if one["variant"] == variant]


def _primary(variant: str, document: dict) -> list[tuple[dict, dict]]:
    return _comparisons(variant, [metric for metric in document["metrics"] if metric["role"] == "primary"])


def _changed_by_crossovers(variant: str, crossovers: list[dict]) -> list[dict]:
    return [
        {"code": "crossovers_change_result", "metric": row["metric"],
         "detail": f"{row['reading'] or 'not computed'} with, {row['reading_without_crossovers'] or 'not computed'} "
                   "without units seen in two variants"}
        for row in crossovers
        if row["variant"] == variant and row["reading"] != row["reading_without_crossovers"]
    ]  # fmt: skip


def _gain(row: dict, one: dict) -> float | dict:
    """The relative effect of tonight, above 0 on the good side, on which it need not be any more after a stop."""
    effect = one["relative_effect"]
    return -effect if isinstance(effect, float) and row["better"] == "lower" else effect


def _of_guardrails(variant: str, document: dict, outcome: str, code: str) -> list[dict]:
    rows = _comparisons(variant, document["guardrails"])
    return [{"code": code, "metric": row["metric"]} for row, one in rows if one.get("outcome") == outcome]


def _of_metrics(variant: str, document: dict, reading: str, code: str) -> list[dict]:
    rows = _primary(variant, document)
    return [{"code": code, "metric": row["metric"]} for row, one in rows if one.get("reading") == reading]


def _harmed_segments(variant: str, document: dict) -> list[dict]:
    protected = [row for row in document["segments"] if row["protected"]]
    return [
        {"code": "segment_harmed", "metric": row["metric"], "segment": f"{row['name']} = {row['value']}"}
        for row, one in _comparisons(variant, protected)
        if one.get("reading") == "worse"
    ]


def _not_computed(variant: str, document: dict) -> list[dict]:
    rows = _primary(variant, document) + _comparisons(variant, document["guardrails"])
    return [
        {"code": "not_computed", "metric": row["metric"], "detail": one["not_computed"]}
        for row, one in rows
        if "not_computed" in one
    ]


def _no_success(variant: str, document: dict, smallest_effect: float) -> list[dict]:
    rows = [(row, one) for row, one in _primary(variant, document) if "not_computed" not in one]
    better = [(row, one) for row, one in rows if one["reading"] == "better"]
    if not better:
        return [{"code": "no_effect_shown", "metric": row["metric"]} for row, one in rows if one["reading"] != "worse"]
    effects = [(row, _gain(row, one)) for row, one in better]
    if any(isinstance(effect, float) and effect >= smallest_effect for _, effect in effects):
        return []
    return [
        {"code": "not_computed", "metric": row["metric"], "detail": effect["not_computed"]}
        if isinstance(effect, dict)
        else {"code": "effect_too_small", "metric": row["metric"]}
        for row, effect in effects
    ]
