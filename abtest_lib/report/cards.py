"""The verdict of each treatment: what to do, why, what changed, three checks, what would change it."""

from collections.abc import Mapping, Sequence
from typing import Any

from abtest_lib.report.facts import card_facts
from abtest_lib.report.numbers import signed
from abtest_lib.report.readable import comparison_of, metric_of
from abtest_lib.report.reasons import reason_text
from abtest_lib.report.rows import comparison_row, fences_of, smallest_text, with_interval
from abtest_lib.report.text import clean_name, listed, long_day, plural, sentence
from abtest_lib.report.vocabulary import ACTIONS, VERDICTS

_PRIMARY_ORDER = ("worse", "better", "interim", "not shown", "not computed", "withheld")


def verdict_card(
    verdict: Mapping[str, Any], night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Word the verdict of one treatment.

    Parameters
    ----------
    verdict : mapping
        Of ``results.json``.
    night : mapping
        What ``readable`` returned.
    earlier : sequence of mappings
        Earlier nights, oldest first, each from ``readable``.

    Returns
    -------
    dict
        Strings, three ``checks`` and the worded ``reasons``.

    Examples
    --------
    >>> shown = verdict_card(tonight["verdicts"][0], tonight, [])
    >>> shown["label"], shown["action"], shown["changed"]
    ('✔ SHIP', 'Roll out treatment.', 'This is the first report of the experiment.')
    """
    sign, word, tone = VERDICTS[verdict["verdict"]]
    until = verdict.get("until") if verdict["verdict"] == "keep_running" else None
    latest = "" if night["experiment"]["looks"] == "horizon" else " at the latest"
    until = f" until {long_day(until)}{latest}" if until else ""
    variant, control = clean_name(verdict["variant"]), clean_name(night["experiment"]["control"])
    reasons = verdict["reasons"] or _reasons_without_code(verdict)
    worded = [{"code": clean_name(entry["code"]), "text": reason_text(entry, verdict, night)} for entry in reasons]
    return {
        "variant": variant if night["several"] else "",
        "sign": sign,
        "word": word,
        "tone": tone,
        "until": until,
        "label": f"{sign} {word}{until}",
        "action": ACTIONS[verdict["verdict"]].format(variant=variant, control=control),
        "why": _why(verdict, night, worded),
        "facts": card_facts(verdict, night, worded),
        "changed": _changed(verdict, night, earlier),
        "checks": [_data_check(verdict, night), _guardrail_check(verdict, night), _primary_check(verdict, night)],
        "reasons": worded,
        "next": _next(verdict, night),
    }


def verdict_tally(cards: Sequence[Mapping[str, Any]]) -> str:
    """Count the verdicts of several treatments, in the order ship, do not ship, keep running, invalid.

    Parameters
    ----------
    cards : sequence of mappings
        Of ``verdict_card``.

    Returns
    -------
    str

    Examples
    --------
    >>> verdict_tally([{"word": "DO NOT SHIP"}, {"word": "SHIP"}])
    '✔ 1 SHIP, ✖ 1 DO NOT SHIP'
    """
    words = [card["word"] for card in cards]
    return ", ".join(f"{sign} {words.count(word)} {word}" for sign, word, _ in VERDICTS.values() if words.count(word))


def _reasons_without_code(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    code = {"invalid": "sample_ratio_mismatch", "keep_running": "immature"}.get(verdict["verdict"])
    return [{"code": code}] if code else []


def _why(verdict: Mapping[str, Any], night: Mapping[str, Any], worded: Sequence[Mapping[str, str]]) -> str:
    """Give the reasons that a reader needs to believe the verdict: the blocker first, then the primary effect."""
    texts = [entry["text"] for entry in worded]
    codes = [entry["code"] for entry in worded]
    told = {"primary_better", "primary_worse", "no_effect_shown", "effect_too_small", "not_computed"}
    if verdict["verdict"] in ("ship", "invalid"):
        return " ".join(texts[:3])
    primary = "" if told & set(codes[:2]) else _primary_sentence(verdict["variant"], night)
    if verdict["verdict"] == "keep_running":
        return " ".join(filter(None, (primary, *texts[:1])))
    return " ".join(filter(None, (*texts[:2], primary)))


def _primary_sentence(variant: str, night: Mapping[str, Any]) -> str:
    metric = metric_of(night, None)
    if metric is None:
        return ""
    row = _row_of(metric, variant, night)
    title = clean_name(metric["title"])
    if row["missing"]:
        return sentence(f"{title}: {row['missing']}")
    reading = "interim reading " if night["stage"] == "interim" else ""
    return f"{title}: {reading}{with_interval(row)}."


def _row_of(metric: Mapping[str, Any], variant: str, night: Mapping[str, Any]) -> dict[str, Any]:
    return comparison_row(comparison_of(metric["comparisons"], variant), fences_of(night))


def _next(verdict: Mapping[str, Any], night: Mapping[str, Any]) -> str:
    """Say what comes next: what to do, or what would change the verdict."""
    codes = [entry["code"] for entry in verdict["reasons"]]
    until = long_day(verdict.get("until") or night["experiment"]["decides_on"])
    if verdict["verdict"] == "invalid":
        return "Find the fault in assignment or logging, repair the data, then repeat the night."
    if verdict["verdict"] == "ship":
        if night["stage"] == "look":
            small = f"an estimate that falls below {smallest_text(night)}, " if fences_of(night) else ""
            return f"Outcomes are still to come; proved harm, {small}or corrected data would change this."
        return "Nothing to wait for: the planned horizon is over, and only corrected data would change this."
    if verdict["verdict"] == "keep_running":
        sooner = " A guardrail proved harmful would end it sooner." if night["guardrails"] else ""
        if night["experiment"]["looks"] != "horizon":
            first = long_day(night["experiment"]["first_look_on"])
            begin = f"The looks begin on {first}" if night["stage"] == "interim" else "Any night's look may decide"
            return f"{begin}; the last one is on {until}.{sooner}"
        return f"The report of {until}, when the outcomes are complete.{sooner}"
    if {"guardrail_harmful", "segment_harmed", "primary_worse"} & set(codes):
        return "Repair the variant and try it in a new experiment."
    if "not_computed" in codes:
        return "Repair the source or the definition, then repeat the night."
    return "This experiment has reached its horizon; if a smaller effect would matter, run a new one with more units."


def _changed(verdict: Mapping[str, Any], night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> str:
    """Compare verdict and primary estimate with the last report."""
    if not earlier:
        return "This is the first report of the experiment."
    last = earlier[-1]
    before = next((entry for entry in last["verdicts"] if entry["variant"] == verdict["variant"]), None)
    since = f"Since the report of {long_day(last['as_of'])}: "
    if before is None:
        return f"{since}this variant is new."
    same = before["verdict"] == verdict["verdict"]
    parts = ["verdict unchanged" if same else f"the verdict was {VERDICTS[before['verdict']][1]}"]
    parts += _moved(verdict["variant"], night, last) + _turned(verdict["variant"], night, last)
    if last["experiment"]["definition_sha256"] != night["experiment"]["definition_sha256"]:
        parts.append("the definition was changed")
    return f"{since}{'; '.join(parts)}."


def _moved(variant: str, night: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    metric = metric_of(night, None)
    if metric is None:
        return []
    past = metric_of(last, metric["metric"])
    now = _row_of(metric, variant, night)
    then = _row_of(past, variant, night) if past else now | {"effect": ""}
    if not now["effect"]:
        return []
    if not then["effect"]:
        return ["there was no estimate then"]
    title, decimals = clean_name(metric["title"]), len(now["effect"].rstrip("%").partition(".")[2])
    before = signed(100 * then["range"][1], decimals) + "%" if then["range"] else then["effect"]
    if before == now["effect"]:
        return [f"{title} stays at {before}"]
    return [f"{title} moved from {before} to {now['effect']}"]


def _turned(variant: str, night: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    """Name the guardrails that are proved now and were not in the last report."""
    before, now = (
        {entry["metric"]: comparison_of(entry["comparisons"], variant).get("outcome") for entry in one["guardrails"]}
        for one in (last, night)
    )
    titles = {entry["metric"]: clean_name(entry["title"]) for entry in night["guardrails"]}
    new = {word: [titles[metric] for metric in now if now[metric] == word != before.get(metric)]
           for word in ("harmful", "safe")}  # fmt: skip
    names = listed(new["harmful"]) if 0 < len(new["harmful"]) <= 3 else f"{len(new['harmful'])} guardrails"
    harmful = [f"{names} proved harmful now"] if new["harmful"] else []
    return harmful + ([f"{plural(len(new['safe']), 'guardrail')} proved safe now"] if new["safe"] else [])


def _check(name: str, sign: str, word: str, detail: str, tone: str) -> dict[str, str]:
    return {"name": name, "sign": sign, "word": word, "detail": detail, "tone": tone}


def _data_check(verdict: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, str]:
    if verdict["variant"] not in night["invalid"]:
        return _check("Data quality", "✔", "healthy", "units split as planned", "good")
    ratio = night["sample_ratio"]
    failed = ratio.get("healthy") is not True and ratio.get("as_assigned") is not False
    return _check("Data quality", "✖", "failed", "sample ratio" if failed else "see the reasons", "bad")


def _guardrail_check(verdict: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, str]:
    if verdict["variant"] in night["invalid"]:
        return _check("Guardrails", "⚠", "withheld", "not read", "warn")
    found = [comparison_of(entry["comparisons"], verdict["variant"]) for entry in night["guardrails"]]
    outcomes = [entry.get("outcome", "") for entry in found]
    safe, harmful, count = outcomes.count("safe"), outcomes.count("harmful"), len(outcomes)
    if not count:
        return _check("Guardrails", "–", "none", "none declared", "flat")
    if harmful:
        return _check("Guardrails", "✖", "harm", f"{harmful} of {count} proved harmful", "bad")
    if safe == count:
        return _check("Guardrails", "✔", "safe", f"{safe} of {count} proved safe", "good")
    if night["stage"] == "interim":
        return _check("Guardrails", "…", "no harm proved", f"{count} watched", "flat")
    return _check("Guardrails", "…", "open", f"{safe} of {count} proved safe", "flat")


def _primary_check(verdict: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, str]:
    if verdict["variant"] in night["invalid"]:
        return _check("Primary metric", "⚠", "withheld", "not read", "warn")
    harmed = [reason["segment"] for reason in verdict["reasons"] if reason["code"] == "segment_harmed"]
    if harmed:  # three ticks above "do not ship" would hide what blocks it
        return _check("Primary metric", "✖", "a segment loses", clean_name(harmed[0]), "bad")
    primaries = [metric for metric in night["metrics"] if metric["role"] == "primary"]
    rows = [_row_of(metric, verdict["variant"], night) for metric in primaries]
    if not rows:
        return _check("Primary metric", "?", "not computed", "no reading", "warn")
    first = min(rows, key=lambda row: _PRIMARY_ORDER.index(row["word"]))
    if len(rows) == 1:
        return _check("Primary metric", first["sign"], first["word"], first["interval"] or "see below", first["tone"])
    count = sum(row["word"] == first["word"] for row in rows)
    return _check("Primary metrics", first["sign"], first["word"], f"{count} of {len(rows)}", first["tone"])
