"""The two lines below a verdict for a reader in a hurry: how large is the effect, and what stands in the way?"""

from collections.abc import Mapping, Sequence
from typing import Any

from abtest_lib.report.readable import comparison_of, metric_of, title_of
from abtest_lib.report.rows import comparison_row, fences_of, no_effect_text, proved_before, smallest_text
from abtest_lib.report.text import clean_name, plural, sentence

_ABOUT_PRIMARY = ("primary_better", "primary_worse", "no_effect_shown", "effect_too_small", "not_computed")
_REASONS = 2


def card_facts(
    verdict: Mapping[str, Any], night: Mapping[str, Any], worded: Sequence[Mapping[str, str]]
) -> list[dict[str, str]]:
    """Answer how large the effect of a treatment is, and what blocks it.

    Parameters
    ----------
    verdict : mapping
        Of ``results.json``.
    night : mapping
        What ``readable`` returned.
    worded : sequence of mappings
        Its reasons in order: ``code`` and ``text``.

    Returns
    -------
    list of dict
        "Effect" and "Blocker", each with ``label``, ``lead`` (what stands out) and ``text``.

    Examples
    --------
    >>> reasons = [{"code": "primary_better", "text": ""}, {"code": "guardrails_safe", "text": "Both are safe."}]
    >>> [(fact["label"], fact["lead"]) for fact in card_facts(tonight["verdicts"][0], tonight, reasons)]
    [('Effect', '+13.7%'), ('Blocker', 'None.')]
    """
    if verdict["verdict"] == "invalid":
        return [_fact("Effect", "Withheld.", "It cannot be trusted tonight."), _blocker(worded)]
    metric = _decisive_metric(verdict, night)
    if metric is None:
        return [_fact("Effect", "Not computed.", ""), _blocker(worded)]
    effect = _effect(metric, verdict["variant"], night, worded)
    if verdict["verdict"] == "ship":
        safe = [entry["text"] for entry in worded if entry["code"] == "guardrails_safe"]
        return [effect, _fact("Blocker", "None.", " ".join(safe))]
    reasons = verdict["reasons"] or worded
    short = [_without_numbers(*entry, metric, night) for entry in zip(worded, reasons, strict=True)]
    return [effect, _blocker(short)]


def _decisive_metric(verdict: Mapping[str, Any], night: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the primary metric that the first reasons are about, or else the first one."""
    for reason in verdict["reasons"][:_REASONS]:
        metric = metric_of(night, reason.get("metric")) if reason["code"] in _ABOUT_PRIMARY else None
        if metric and metric.get("role") == "primary":
            return metric
    return metric_of(night, None)


def _effect(
    metric: Mapping[str, Any], variant: str, night: Mapping[str, Any], worded: Sequence[Mapping[str, str]]
) -> dict[str, str]:
    comparison, title = comparison_of(metric["comparisons"], variant), clean_name(metric["title"])
    row = comparison_row(comparison, fences_of(night))
    if row["missing"]:
        told = any(entry["code"] == "not_computed" and title in entry["text"] for entry in worded[:_REASONS])
        return _fact("Effect", "Not computed.", "") if told else _fact("Effect", "", f"{title}: {row['missing']}.")
    numbers = f"({row['level']} interval {row['interval']})"
    if row["word"] in ("better", "worse"):
        claim = ", ".join(filter(None, (f"{title} is {row['word']}", proved_before(comparison))))
    elif night["stage"] == "interim":
        claim = f"{title}, interim reading"
    else:
        claim = f"{title}: {no_effect_text(row, night)}"
    return _fact("Effect", row["effect"], f"{numbers} {sentence(claim)}")


def _blocker(worded: Sequence[Mapping[str, str]]) -> dict[str, str]:
    more = len(worded) - _REASONS
    rest = [f"And {plural(more, 'more reason')} below."] if more > 0 else []
    text = " ".join([*dict.fromkeys(entry["text"] for entry in worded[:_REASONS]), *rest])
    lead, colon, numbers = text.partition(": ")
    return _fact("Blocker", f"{lead}:", numbers) if colon and len(lead) < 80 else _fact("Blocker", "", text)


def _without_numbers(
    worded: Mapping[str, str], reason: Mapping[str, Any], metric: Mapping[str, Any], night: Mapping[str, Any]
) -> dict[str, str]:
    """Name the blocker of the metric in the line above without repeating its numbers."""
    title = title_of(night, reason.get("metric"))
    short = {"no_effect_shown": f"No gain in {title} is proved.", "primary_worse": f"{title} is proved worse."}
    if fences_of(night):
        small = f"The estimate of {title} is below {smallest_text(night)}, the smallest that matters."
        short["effect_too_small"] = small
    same = reason.get("metric") in (None, metric["metric"])
    return {"code": worded["code"], "text": short.get(worded["code"], worded["text"]) if same else worded["text"]}


def _fact(label: str, lead: str, text: str) -> dict[str, str]:
    return {"label": label, "lead": lead, "text": text}
