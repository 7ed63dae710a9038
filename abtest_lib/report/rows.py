"""One comparison as a row: its words, its numbers with interval and n, and the range that its bar covers."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from abtest_lib.report.numbers import (
    absolute_change,
    finite_number,
    interval_ends,
    mean_text,
    missing_reason,
    percent,
    pvalue_text,
    relative_change,
)
from abtest_lib.report.text import clean_name, count_text, long_day, plural, sentence
from abtest_lib.report.vocabulary import OUTCOMES, READINGS


def comparison_row(comparison: Mapping[str, Any], fences: Iterable[float] = ()) -> dict[str, Any]:
    """Word and format one comparison.

    Parameters
    ----------
    comparison : mapping
        Of what ``readable`` returned.
    fences : iterable of float
        Relative effects besides zero that no end of the interval may be rounded onto or over.

    Returns
    -------
    dict
        Strings; ``tag`` is what must be known besides the numbers, ``note`` the tag with n, ``missing`` the reason if
        there is no effect. ``range`` holds the bar's low end, middle and high end.

    Examples
    --------
    >>> row = comparison_row({"variant": "treatment", "not_computed": "control has no units"})
    >>> row["word"], row["missing"]
    ('not computed', 'not computed, because control has no units')
    """
    row = dict.fromkeys(
        ("name", "note", "tag", "effect", "interval", "below", "level", "side", "wait", "adjustment", "missing", "n"),
        "",
    )
    row |= {"variant": clean_name(comparison["variant"]), "range": None, "bar": [], "marks": []}
    if "withheld" in comparison:
        return row | {"sign": "⚠", "word": "withheld", "tone": "warn", "missing": "withheld: this variant is invalid"}
    if "not_computed" in comparison:
        reason = missing_reason(comparison)
        return row | {"sign": "?", "word": "not computed", "tone": "warn", "missing": reason}
    sign, word, tone = READINGS[comparison["reading"]]
    effect, interval = relative_change(comparison["relative_effect"], comparison["relative_interval"], fences)
    low, high = interval_ends(comparison["relative_interval"])
    missing = f"relative effect {effect}" if finite_number(comparison["relative_effect"]) is None else ""
    return row | {
        "sign": sign,
        "word": word,
        "tone": tone,
        "effect": "" if missing else effect,
        "interval": interval,
        "level": percent(comparison["confidence_level"]),
        "missing": missing,
        "range": None if low is None and high is None else (low, finite_number(comparison["relative_effect"]), high),
        "n": f"{count_text(comparison['n_control'] + comparison['n_treatment'])} units",
    }


def primary_row(comparison: Mapping[str, Any], metric: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, Any]:
    """Word and format one comparison of a primary metric, with its claim in a sentence.

    Parameters
    ----------
    comparison : mapping
        Of what ``readable`` returned.
    metric : mapping
        The metric that it belongs to.
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    dict
        As ``comparison_row``, with ``absolute``, ``means`` and ``claim``.

    Examples
    --------
    >>> metric = tonight["metrics"][0]
    >>> primary_row(metric["comparisons"][0], metric, tonight)["claim"]
    'Better: the whole interval is on the good side of zero.'
    """
    row = comparison_row(comparison, fences_of(night)) | {"absolute": "", "means": "", "claim": ""}
    row["variant"] = row["variant"] if night["several"] else ""
    if row["n"] == "":
        return row | {"claim": sentence(row["missing"])}
    effect, interval = absolute_change(comparison, metric)
    sides = [
        f"{clean_name(name)} {mean_text(comparison[mean], metric)} of {count_text(comparison[n])} units"
        for name, mean, n in (
            (comparison["variant"], "mean_treatment", "n_treatment"),
            (night["experiment"]["control"], "mean_control", "n_control"),
        )
    ]
    row["absolute"] = f"{effect} ({row['level']} interval {interval})"
    row["means"] = "; ".join(sides)
    # Over several looks the p-value of tonight alone proves nothing.
    alone = "" if "looks" in comparison else pvalue_text(comparison["pvalue"], night)
    row["side"] = "; ".join(filter(None, (alone, adjusted_pvalue(comparison, night))))
    row["adjustment"] = " ".join(
        filter(None, (adjustment_sentence(comparison, metric), stop_sentence(comparison, metric)))
    )
    claims = {
        "better": "Better: the whole interval is on the good side of zero.",
        "worse": "Worse: the whole interval is on the bad side of zero.",
        "interim": "Interim reading, not a decision.",
    }
    if "stopped" in comparison:
        on, word = long_day(comparison["stopped"]["on"]), comparison["reading"]
        claims[word] = f"{word.capitalize()}: proved by the look of {on}, at a level that holds over all looks."
    row["claim"] = claims.get(comparison["reading"]) or sentence(f"not shown: {no_effect_text(row, night)}")
    if row["missing"]:
        row["claim"] = sentence(row["missing"])
    return row


def guardrail_row(
    guardrail: Mapping[str, Any], comparison: Mapping[str, Any], night: Mapping[str, Any]
) -> dict[str, Any]:
    """Word and format one comparison of a guardrail.

    Parameters
    ----------
    guardrail : mapping
        With its ``margin``.
    comparison : mapping
        One of its comparisons.
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    dict
        As ``comparison_row``; ``marks`` holds the margin, ``below`` the interval that proves harm.

    Examples
    --------
    >>> guardrail = tonight["guardrails"][0]
    >>> guardrail_row(guardrail, guardrail["comparisons"][0], tonight)["word"]
    'proved safe'
    """
    margin = guardrail["margin"] if guardrail["better"] == "lower" else -guardrail["margin"]
    row = comparison_row(comparison, (margin,)) | {"name": clean_name(guardrail["title"])}
    row["tag"] = f"margin {margin_text(guardrail)}"
    row["note"] = ", ".join(filter(None, (row["tag"], row["n"])))
    if "outcome" not in comparison:
        return row
    row["sign"], row["word"], row["tone"] = OUTCOMES[comparison["outcome"]]
    row["side"] = pvalue_text(comparison.get("pvalue_safe"), night) if comparison["outcome"] != "harmful" else ""
    row["wait"] = days_left(night) if comparison["outcome"] == "not_yet" else ""
    row["marks"] = [margin]
    harm = comparison.get("harm_interval")
    if comparison["outcome"] == "harmful" and not missing_reason(harm):
        interval = relative_change(comparison["relative_effect"], harm, (margin,))[1]
        row["below"] = f"{percent(comparison['harm_confidence_level'])} interval for all planned nights: {interval}"
    return row


def days_left(night: Mapping[str, Any]) -> str:
    """Say how long it takes until what is open can be proved.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    str
        Empty from the horizon on: then nothing more will come.

    Examples
    --------
    >>> plan = {"looks": "horizon", "first_look_on": "2026-03-09", "decides_on": "2026-03-09"}
    >>> days_left({"stage": "interim", "as_of": "2026-02-27", "experiment": plan})
    '10 more days'
    """
    if night["stage"] == "final":
        return ""
    today = date.fromisoformat(night["as_of"])
    first, last = (
        (date.fromisoformat(night["experiment"][name]) - today).days for name in ("first_look_on", "decides_on")
    )
    if night["experiment"]["looks"] == "horizon":
        return plural(last, "more day")
    return f"{first} to {plural(last, 'more day')}" if first > 0 else f"at most {plural(last, 'more day')}"


def adjusted_pvalue(comparison: Mapping[str, Any], night: Mapping[str, Any]) -> str:
    """Write the p-value that is adjusted for a family of comparisons.

    Parameters
    ----------
    comparison : mapping
        Of what ``readable`` returned.
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    str
        Empty for a single comparison at a single look, and on interim nights.

    Examples
    --------
    >>> adjusted_pvalue({"pvalue_adjusted": 0.024, "family_size": 2}, tonight)
    'adjusted p = 0.024 (2 comparisons)'
    """
    family, looks = comparison.get("family_size") or 1, comparison.get("looks") or 1
    counts = [plural(count, name) for count, name in ((family, "comparison"), (looks, "look")) if count > 1]
    text = pvalue_text(comparison.get("pvalue_adjusted"), night, "adjusted p") if counts else ""
    return f"{text} ({', '.join(counts)})" if text else ""


def stop_sentence(comparison: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """Give the estimate at the look that stopped, corrected for having stopped there.

    Parameters
    ----------
    comparison : mapping
        Of what ``readable`` returned.
    metric : mapping
        The metric that it belongs to.

    Returns
    -------
    str
        Empty where no look has stopped. Its own p-value is in ``results.json``: two in one line would be read as one.

    Examples
    --------
    >>> stopped = {"on": "2026-03-09", "effect": 0.31, "effect_interval": [0.12, 0.5], "pvalue": 0.0021}
    >>> stop_sentence({"stopped": stopped, "confidence_level": 0.95}, {"kind": "mean", "unit": "USD"})
    'Corrected for stopping at the look of 9 March 2026: +0.31 USD (95% interval +0.12 to +0.50 USD).'
    """
    stopped = comparison.get("stopped")
    if not stopped:
        return ""
    effect, interval = absolute_change(stopped, metric)
    level = percent(comparison["confidence_level"])
    return f"Corrected for stopping at the look of {long_day(stopped['on'])}: {effect} ({level} interval {interval})."


def proved_before(comparison: Mapping[str, Any]) -> str:
    """Say which look proved a word that tonight's interval alone would not.

    Parameters
    ----------
    comparison : mapping
        Of what ``readable`` returned.

    Returns
    -------
    str
        Empty where tonight's interval lies on one side of zero, or no look has stopped.

    Examples
    --------
    >>> proved_before({"stopped": {"on": "2026-03-09"}, "effect_interval": [-0.1, 0.4]})
    'proved by the look of 9 March 2026'
    """
    if "stopped" not in comparison:
        return ""
    low, high = comparison["effect_interval"]
    return f"proved by the look of {long_day(comparison['stopped']['on'])}" if low <= 0 <= high else ""


def adjustment_sentence(comparison: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """Say what the adjustment for a covariate did, with the effect as it is without it.

    Parameters
    ----------
    comparison : mapping
        Of what ``readable`` returned.
    metric : mapping
        The metric that it belongs to.

    Returns
    -------
    str
        Empty for a comparison that is not adjusted.

    Examples
    --------
    >>> adjustment = {"covariate": "pre_year_spend", "variance_removed": 0.12}
    >>> adjustment |= {"unadjusted_effect": 0.31, "unadjusted_interval": [0.12, 0.5]}
    >>> adjustment_sentence({"adjustment": adjustment}, {"kind": "mean", "unit": "USD"})
    'Adjusted for pre_year_spend, which removes 12% of the variance; unadjusted +0.31 USD (+0.12 to +0.50 USD).'
    """
    adjustment = comparison.get("adjustment")
    if not adjustment:
        return ""
    unadjusted = {"effect": adjustment["unadjusted_effect"], "effect_interval": adjustment["unadjusted_interval"]}
    effect, interval = absolute_change(unadjusted, metric)
    did = _variance_change(adjustment["variance_removed"])
    return f"Adjusted for {clean_name(adjustment['covariate'])}, which {did}; unadjusted {effect} ({interval})."


def _variance_change(removed: float) -> str:
    if abs(removed) < 0.005:
        return "changes the variance by less than 1%"
    amount = "more than 99%" if 0.995 <= removed < 1 else f"{abs(removed):.0%}"
    return f"removes {amount} of the variance" if removed > 0 else f"adds {amount} to the variance"


def with_interval(row: Mapping[str, Any]) -> str:
    """Put a row's effect and interval into one phrase.

    Parameters
    ----------
    row : mapping
        Of ``comparison_row``, not missing.

    Returns
    -------
    str

    Examples
    --------
    >>> with_interval({"effect": "+4.2%", "level": "95%", "interval": "+1.7% to +6.7%"})
    '+4.2% (95% interval +1.7% to +6.7%)'
    """
    return f"{row['effect']} ({row['level']} interval {row['interval']})"


def margin_text(guardrail: Mapping[str, Any]) -> str:
    """Write a guardrail's margin with the sign of the bad direction.

    Parameters
    ----------
    guardrail : mapping
        With ``margin`` and ``better``.

    Returns
    -------
    str

    Examples
    --------
    >>> margin_text({"margin": 0.03, "better": "lower"}), margin_text({"margin": 0.03, "better": "higher"})
    ('+3%', '−3%')
    """
    return ("+" if guardrail["better"] == "lower" else "−") + percent(guardrail["margin"])


def fences_of(night: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the relative effects that a rounded interval of a primary metric must stay on its side of.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    tuple of float
        The smallest effect that matters in both directions; empty if none is declared.

    Examples
    --------
    >>> fences_of({"experiment": {"smallest_effect": 0.02}})
    (0.02, -0.02)
    """
    smallest = finite_number(night["experiment"].get("smallest_effect"))
    return () if smallest is None else (smallest, -smallest)


def smallest_text(night: Mapping[str, Any]) -> str:
    """Write the smallest effect that matters.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    str

    Raises
    ------
    KeyError
        If none is declared.

    Examples
    --------
    >>> smallest_text({"experiment": {"smallest_effect": 0.02}})
    '2%'
    """
    return percent(night["experiment"]["smallest_effect"])


def no_effect_text(row: Mapping[str, Any], night: Mapping[str, Any]) -> str:
    """Tell the absence of an effect that matters from the lack of units to see one.

    Parameters
    ----------
    row : mapping
        Of ``comparison_row``.
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    str

    Examples
    --------
    >>> no_effect_text({"range": (-0.011, 0.002, 0.015)}, {"experiment": {"smallest_effect": 0.02}})
    'any effect is smaller than 2%, the smallest that matters'
    """
    fences, (low, _, high) = fences_of(night), row["range"] or (None, None, None)
    if fences and low is not None and high is not None and -fences[0] < low and high < fences[0]:
        return f"any effect is smaller than {smallest_text(night)}, the smallest that matters"
    return "an effect, if there is one, is too small to see with this many units"
