"""What may be shown of a night, and how to look it up.

Everything the report prints goes through ``readable`` first, so an effect that must be withheld cannot slip into one of
the formats.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from abtest_lib.report.text import clean_name


def readable(results: Mapping[str, Any], *, hidden: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Copy the results without what they may not claim: effects of an invalid variant, words of an interim night.

    Parameters
    ----------
    results : mapping
        A ``results.json`` document.
    hidden : frozenset of str
        Variants whose effects are to be left out besides the invalid ones.

    Returns
    -------
    dict
        The document with ``invalid`` and ``hidden`` (sets of variants) and ``several`` (more than one treatment).

    Raises
    ------
    KeyError
        If the document lacks a key of the schema.

    Examples
    --------
    >>> readable(document)["hidden"]
    frozenset()
    >>> broken = document | {"sample_ratio": {"healthy": False}}
    >>> readable(broken)["metrics"], readable(broken)["verdicts"][0]["verdict"]
    ([], 'invalid')
    """
    # What is kept is shared with the results: a report reads all nights before it, and copying them cost most of it.
    night = dict(results)
    ratio_failed = night["sample_ratio"].get("healthy") is not True or bool(night.get("withheld"))
    if ratio_failed:
        night["verdicts"] = [
            verdict if verdict["verdict"] == "invalid" else verdict | {"verdict": "invalid", "reasons": []}
            for verdict in night["verdicts"]
        ]
    invalid = {verdict["variant"] for verdict in night["verdicts"] if verdict["verdict"] == "invalid"}
    everyone = {verdict["variant"] for verdict in night["verdicts"]}
    night["invalid"] = frozenset(invalid)
    night["hidden"] = hidden | invalid
    night["several"] = len(everyone) > 1
    if everyone <= night["hidden"]:
        night |= {"metrics": [], "guardrails": [], "segments": [], "heterogeneity": [], "outlook": []}
    for part in ("metrics", "guardrails", "segments"):
        night[part] = [
            entry | {"comparisons": [_claimable(one, night) for one in entry["comparisons"]]} for entry in night[part]
        ]
    return night


def _claimable(comparison: dict[str, Any], night: Mapping[str, Any]) -> dict[str, Any]:
    if comparison["variant"] in night["hidden"]:
        return {"variant": comparison["variant"], "withheld": True}
    if night["stage"] == "interim" and "not_computed" not in comparison:
        silent = {"pvalue": None, "pvalue_adjusted": None, "reading": "interim"}
        if "outcome" in comparison:
            silent["pvalue_safe"] = None
        safe = comparison.get("outcome") == "safe"
        return comparison | silent | ({"outcome": "not_yet"} if safe else {})
    return comparison


def withheld_note(night: Mapping[str, Any]) -> str:
    """Say why no effect is shown, if none is.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    str
        Empty if the effects of a variant are shown.

    Examples
    --------
    >>> withheld_note(tonight)
    ''
    """
    if not {verdict["variant"] for verdict in night["verdicts"]} <= night["invalid"]:
        return ""
    return (
        "The data of this night is not valid, so an effect computed from it would say nothing about the variants. "
        "Every channel withholds it until the fault is repaired and the night is repeated."
    )


def shown_comparisons(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Leave out the variants whose effects are withheld: the verdict and the primary metric say so once.

    Parameters
    ----------
    entry : mapping
        A metric, guardrail or segment of what ``readable`` returned.

    Returns
    -------
    list of mapping

    Examples
    --------
    >>> shown_comparisons({"comparisons": [{"variant": "red", "withheld": True}, {"variant": "blue"}]})
    [{'variant': 'blue'}]
    """
    return [comparison for comparison in entry["comparisons"] if "withheld" not in comparison]


def comparison_of(entries: Sequence[Mapping[str, Any]], variant: str) -> Mapping[str, Any]:
    """Look up the comparison of one variant.

    Parameters
    ----------
    entries : sequence of mappings
        The ``comparisons`` of a metric, guardrail or segment.
    variant : str

    Returns
    -------
    mapping
        One that was not computed if there is none for the variant.

    Examples
    --------
    >>> comparison_of([], "treatment")["not_computed"]
    'the results hold no comparison for this variant'
    """
    for entry in entries:
        if entry["variant"] == variant:
            return entry
    return {"variant": variant, "not_computed": "the results hold no comparison for this variant"}


def metric_of(night: Mapping[str, Any], metric: Any) -> Mapping[str, Any] | None:
    """Look up a metric or guardrail.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.
    metric : str or None
        Its name; None stands for the first primary metric.

    Returns
    -------
    mapping or None

    Examples
    --------
    >>> metric_of(tonight, None)["role"], metric_of(tonight, "no_such_metric")
    ('primary', None)
    """
    everything = (*night["metrics"], *night["guardrails"])
    if metric is None:
        return next((entry for entry in everything if entry.get("role") == "primary"), None)
    return next((entry for entry in everything if entry["metric"] == metric), None)


def guardrail_of(night: Mapping[str, Any], metric: Any) -> Mapping[str, Any] | None:
    """Look up a guardrail.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.
    metric : str
        Its name.

    Returns
    -------
    mapping or None

    Examples
    --------
    >>> guardrail_of(tonight, "page_latency_ms")["better"]
    'lower'
    """
    return next((entry for entry in night["guardrails"] if entry["metric"] == metric), None)


def suspect_place(entry: Mapping[str, Any]) -> str:
    """Name the segment value or day that a broken split points to.

    Parameters
    ----------
    entry : mapping
        One of the sample ratio's ``suspects``.

    Returns
    -------
    str

    Examples
    --------
    >>> suspect_place({"dimension": "customers.platform", "cell": "android"})
    'platform = android'
    """
    return f"{clean_name(entry['dimension']).rpartition('.')[2]} = {clean_name(entry['cell'])}"


def title_of(night: Mapping[str, Any], metric: Any) -> str:
    """Look up how a metric is called in sentences.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.
    metric : str or None
        Its name.

    Returns
    -------
    str
        The name itself if the results have no title for it.

    Examples
    --------
    >>> title_of(tonight, "page_latency_ms"), title_of(tonight, "no_such_metric")
    ('Page latency', 'no_such_metric')
    """
    found = next((entry for entry in night["maturity"] if entry["metric"] == metric), None) or metric_of(night, metric)
    return clean_name(found["title"] if found else metric or "the primary metric")
