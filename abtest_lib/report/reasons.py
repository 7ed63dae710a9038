"""The sentence of each reason for a verdict, worded from the numbers of the night."""

from collections.abc import Mapping
from typing import Any

from abtest_lib.report.numbers import missing_reason
from abtest_lib.report.readable import comparison_of, guardrail_of, metric_of, suspect_place, title_of
from abtest_lib.report.rows import (
    comparison_row,
    fences_of,
    guardrail_row,
    margin_text,
    no_effect_text,
    proved_before,
    smallest_text,
    with_interval,
)
from abtest_lib.report.text import clean_name, count_text, long_day, plural, sentence


def reason_text(reason: Mapping[str, Any], verdict: Mapping[str, Any], night: Mapping[str, Any]) -> str:
    """Word one reason of a verdict from the numbers of the night.

    Parameters
    ----------
    reason : mapping
        With its ``code`` and, as the code needs them, ``metric``, ``segment`` and ``detail``.
    verdict : mapping
        The verdict that it belongs to.
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    str
        A sentence. A code that is not known is printed with its detail.

    Examples
    --------
    >>> reason_text({"code": "guardrails_safe"}, tonight["verdicts"][0], tonight)
    'Both guardrails are proved safe.'
    """
    code, variant = reason["code"], verdict["variant"]
    if code == "sample_ratio_mismatch":
        return _mismatch(night)
    if code == "not_as_assigned":
        return _not_as_assigned(night["exposure"]["assignment"])
    if code == "crossovers_change_result":
        seen = count_text(sum(night["exposure"]["crossovers"].values()))
        return f"{seen} units saw more than one variant, and the result depends on how they are counted."
    if verdict["verdict"] == "invalid":
        return f"The data of this night failed a check ({clean_name(code)})."
    if code == "immature":
        return _waiting(night, verdict)
    if code == "segment_harmed":
        return _segment_reason(reason, variant, night)
    if code == "guardrails_safe":
        return _all_safe(night)
    if code.startswith("guardrail_"):
        return _guardrail_reason(reason, variant, night)
    if code in ("primary_worse", "primary_better", "effect_too_small", "no_effect_shown"):
        return _primary_reason(reason, variant, night)
    if code == "not_computed":
        missing = missing_reason({"not_computed": reason.get("detail") or "the results give no reason"})
        return f"{title_of(night, reason.get('metric'))} was {missing}."
    detail = sentence(clean_name(reason.get("detail") or "", 300))
    where = f"{title_of(night, reason['metric'])}: " if reason.get("metric") else ""
    return where + (detail or sentence(code.replace("_", " ")))


def _mismatch(night: Mapping[str, Any]) -> str:
    ratio = night["sample_ratio"]
    if missing_reason(ratio):
        return sentence(f"The sample ratio was {missing_reason(ratio)}")
    if ratio.get("healthy") is True:
        return "The data of this night failed a check."
    gaps = {name: seen - ratio["expected"][name] for name, seen in ratio["observed"].items()}
    name = max(gaps, key=lambda variant: (abs(gaps[variant]), variant != night["experiment"]["control"]))
    gap = f"{count_text(abs(gaps[name]))} {'more' if gaps[name] > 0 else 'fewer'}"
    of = {"excluded": "excluded units", "counted": "counted units"}.get(ratio.get("of", ""), "units")
    return (
        f"The variants did not get the planned share of {of}: {clean_name(name)} has {gap} than "
        f"the {count_text(ratio['expected'][name])} expected, which chance does not explain."
        + "".join(f" Look first at {suspect_place(entry)}." for entry in ratio.get("suspects", ())[:1])
    )


def _not_as_assigned(found: Mapping[str, Any]) -> str:
    worst = max(found["otherwise"], key=lambda row: row["units"] / found["checked"][row["found"]])
    gives = "leaves out" if worst["assigned"] is None else f"gives to {clean_name(worst['assigned'])}"
    return (
        f"{plural(worst['units'], 'unit')} of {clean_name(worst['found'])} are ones that the assignment {gives}, so it "
        "is not chance who is in which group. Look for a treatment that falls back to control where it fails."
    )


def _waiting(night: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    slowest = max(night["maturity"], key=lambda entry: entry["complete_on"], default=None)
    waiting = sum(slowest["waiting"].values()) if slowest else 0
    if not waiting:
        return f"Outcomes are complete on {long_day(verdict.get('until') or night['experiment']['decides_on'])}."
    title, complete_on = clean_name(slowest["title"]), long_day(slowest["complete_on"])
    return f"{plural(waiting, 'unit waits', 'units wait')} for outcomes of {title}, complete on {complete_on}."


def _segment_reason(reason: Mapping[str, Any], variant: str, night: Mapping[str, Any]) -> str:
    entry = _segment_entry(reason, night)
    title = title_of(night, reason.get("metric") or (entry or {}).get("metric"))
    if entry is None:
        return f"{title} is worse in the protected segment {clean_name(reason.get('segment'))}."
    comparison = comparison_of(entry["comparisons"], variant)
    row = comparison_row(comparison)
    place = f"{clean_name(entry['name'])} = {clean_name(entry['value'])}"
    if row["missing"]:
        return sentence(f"{title} in the protected segment {place}: {row['missing']}")
    numbers = ", ".join(filter(None, (with_interval(row), proved_before(comparison))))
    return f"{title} is worse in the protected segment {place}: {numbers}."


def _segment_entry(reason: Mapping[str, Any], night: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = reason.get("segment")
    if isinstance(wanted, Mapping):
        wanted = f"{wanted.get('attribute')}={wanted.get('value')}"
    for entry in night["segments"]:
        value = entry["value"]
        names = {f"{head}{sign}{value}" for head in (entry["name"], entry["attribute"]) for sign in ("=", " = ", ": ")}
        if str(wanted) in names | {str(value)} and reason.get("metric") in (None, entry["metric"]):
            return entry
    return None


def _all_safe(night: Mapping[str, Any]) -> str:
    count = len(night["guardrails"])
    if not count:
        return "No guardrail is declared."
    all_of_them = {1: "The guardrail is", 2: "Both guardrails are"}.get(count, f"All {count} guardrails are")
    return f"{all_of_them} proved safe."


def _guardrail_reason(reason: Mapping[str, Any], variant: str, night: Mapping[str, Any]) -> str:
    guardrail, title = guardrail_of(night, reason.get("metric")), title_of(night, reason.get("metric"))
    harmful = reason["code"] == "guardrail_harmful"
    plain = f"{title} is proved harmful." if harmful else f"{title} is not yet shown safe."
    if guardrail is None:
        return plain
    row = guardrail_row(guardrail, comparison_of(guardrail["comparisons"], variant), night)
    if row["missing"]:
        return sentence(f"{title}: {row['missing']}")
    if harmful:
        return f"{title} is proved harmful: {with_interval(row)}, beyond the margin of {margin_text(guardrail)}."
    return f"{title} is not yet shown safe: {with_interval(row)}, margin {margin_text(guardrail)}."


def _primary_reason(reason: Mapping[str, Any], variant: str, night: Mapping[str, Any]) -> str:
    metric = metric_of(night, reason.get("metric"))
    title = title_of(night, metric["metric"] if metric else reason.get("metric"))
    if metric is None:
        return sentence(f"{title}: {reason['code'].replace('_', ' ')}")
    comparison = comparison_of(metric["comparisons"], variant)
    row = comparison_row(comparison, fences_of(night))
    if row["missing"]:
        return sentence(f"{title}: {row['missing']}")
    if night["stage"] == "interim":
        return f"{title}: interim reading {with_interval(row)}."
    numbers = ", ".join(filter(None, (with_interval(row), proved_before(comparison))))
    if reason["code"] == "effect_too_small":
        return f"{title} is better: {numbers}; the estimate is below {smallest_text(night)}, the smallest that matters."
    if reason["code"] == "no_effect_shown":
        return f"{title}: {numbers}; {no_effect_text(row, night)}."
    return f"{title} is {'worse' if reason['code'] == 'primary_worse' else 'better'}: {numbers}."
