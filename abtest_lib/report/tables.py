"""The sections with effects: primary metrics, guardrails, secondary metrics, segments, and the nights before."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from abtest_lib.report.bars import draw_bars
from abtest_lib.report.numbers import absolute_change, missing_reason, pvalue_text
from abtest_lib.report.readable import comparison_of, metric_of, shown_comparisons, title_of
from abtest_lib.report.rows import (
    adjusted_pvalue,
    adjustment_sentence,
    comparison_row,
    fences_of,
    guardrail_row,
    primary_row,
    proved_before,
    smallest_text,
)
from abtest_lib.report.text import clean_name, listed, plural, short_day
from abtest_lib.report.vocabulary import OUTCOMES, VERDICTS

_MAIL_ROWS = {"guardrails": 8, "secondary": 8, "segments": 8, "nights": 5}
_GUARDRAIL_ORDER = ("proved harmful", "not computed", "not yet shown safe", "proved safe")
_QUIET = ("not shown", "interim")
_UNKNOWN = "(unknown)"  # sql/moments.sql: the unit has no row in the attribute table


def primary_section(metric: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, Any]:
    """Build the section of one primary metric: a block for each treatment, all bars on one scale.

    Parameters
    ----------
    metric : mapping
        One of ``night["metrics"]``.
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    dict
        ``title``, ``better``, ``rows``, the ``ends`` of the scale and a ``note`` on it.

    Examples
    --------
    >>> primary_section(tonight["metrics"][0], tonight)["better"]
    'Higher is better.'
    """
    rows = [primary_row(entry, metric, night) for entry in metric["comparisons"]]
    fences = fences_of(night)
    scale = draw_bars(rows, band=fences[0] if fences else 0.0)
    band = f"The darker band is ±{smallest_text(night)}, the smallest effect that matters." if fences and scale else ""
    cut = "Bars are cut at the ends of the scale." if "cut" in scale else ""
    return {
        "title": clean_name(metric["title"]),
        "better": f"{metric['better'].capitalize()} is better.",
        "rows": rows,
        "ends": [sign + scale[1:].partition(",")[0] for sign in ("−", "+")] if scale else [],
        "note": " ".join(filter(None, (band, cut))),
    }


def guardrail_table(night: Mapping[str, Any]) -> dict[str, Any]:
    """Build the table of guardrails.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    dict
        ``key``, ``heading``, ``note``, ``columns`` and ``groups`` of rows.

    Examples
    --------
    >>> guardrail_table(tonight)["heading"]
    'Guardrails: 2 proved safe'
    """
    rows = [
        guardrail_row(guardrail, comparison, night)
        for guardrail in night["guardrails"]
        for comparison in shown_comparisons(guardrail)
    ]
    rows.sort(key=lambda row: _GUARDRAIL_ORDER.index(row["word"]))
    scale = draw_bars(rows)
    tally = _word_tally(rows, [word for _, word, _ in OUTCOMES.values()])
    one_look = night["experiment"]["looks"] == "horizon"
    begin, earlier = ("the horizon", "") if one_look else ("the first look", ", tonight or at a look before")
    notes = (
        f"Safe: the interval stays short of the margin{earlier}. Harmful: an interval widened for every planned night "
        "lies beyond it.",
        f"Interim reading: only harm can be proved before {begin}." if night["stage"] == "interim" else "",
        "p is for staying short of the margin." if any(row["side"] for row in rows) else "",
    )
    columns = ("Guardrail", _change_column(scale), "Result")
    return _table("guardrails", f"Guardrails: {tally}", notes, columns, _by_variant(night, rows))


def secondary_table(night: Mapping[str, Any]) -> dict[str, Any]:
    """Build the table of secondary metrics.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    dict
        As ``guardrail_table``.

    Examples
    --------
    >>> secondary_table(tonight)["columns"][0]
    'Metric'
    """
    rows = []
    for metric in night["metrics"]:
        for comparison in shown_comparisons(metric) if metric["role"] == "secondary" else ():
            row = comparison_row(comparison) | {"name": clean_name(metric["title"])}
            row["note"] = ", ".join(filter(None, (f"{metric['better']} is better", row["n"])))
            if row["n"]:
                absolute = "{} ({})".format(*absolute_change(comparison, metric))
                row["below"] = "; ".join(filter(None, (absolute, proved_before(comparison))))
                row["side"] = adjusted_pvalue(comparison, night) or pvalue_text(comparison["pvalue"], night)
                row["adjustment"] = adjustment_sentence(comparison, metric)
            rows.append(row)
    scale = draw_bars(rows)
    notes = (_level_note(rows), "They do not decide.", _not_shown_note(rows))
    columns = ("Metric", _change_column(scale), "Reading")
    return _table("secondary", "Secondary metrics", notes, columns, _by_variant(night, rows))


def segment_table(night: Mapping[str, Any]) -> dict[str, Any]:
    """Build the table of segments, grouped by treatment, attribute and metric.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    dict
        As ``guardrail_table``.

    Examples
    --------
    >>> [group["label"] for group in segment_table(tonight)["groups"]]
    ['platform', 'country']
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    family = 1
    metrics = {segment["metric"] for segment in night["segments"]}
    for segment in night["segments"]:
        for comparison in shown_comparisons(segment):
            row = comparison_row(comparison) | {"name": clean_name(segment["value"])}
            row["tag"] = "protected" if segment["protected"] else ""
            row["note"] = ", ".join(filter(None, (row["tag"], row["n"])))
            row["side"] = pvalue_text(comparison.get("pvalue_adjusted"), night)
            row["below"] = proved_before(comparison)
            family = max(family, comparison.get("family_size") or 1)
            title = title_of(night, segment["metric"]) if len(metrics) > 1 else ""
            place = (row["variant"] if night["several"] else "", clean_name(segment["name"]), title)
            groups.setdefault(place, []).append(row)
    rows = [row for members in groups.values() for row in members]
    scale = draw_bars(rows)
    order = [clean_name(verdict["variant"]) if night["several"] else "" for verdict in night["verdicts"]]
    ordered = sorted(groups, key=lambda place: order.index(place[0]) if place[0] in order else len(order))
    labels = [
        {
            "label": ", ".join(filter(None, place)),
            "rows": sorted(groups[place], key=lambda row: row["name"] == _UNKNOWN),
        }
        for place in ordered
    ]
    differences = " ".join(difference_lines(night))
    notes = (
        _segment_note(night),
        differences,
        _family_note(family, rows),
        _covariate_note(night),
        _not_shown_note(rows),
    )
    columns = ("Segment", _change_column(scale), "Reading")
    return _table("segments", _segment_heading(night, rows), notes, columns, labels)


def night_tables(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Show how each primary effect moved over the last nights, tonight last.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.
    earlier : sequence of mappings
        Earlier nights, oldest first, each from ``readable``.

    Returns
    -------
    list of dict
        A table as of ``guardrail_table`` for each primary metric; none on the first night.

    Examples
    --------
    >>> night_tables(tonight, [])
    []
    """
    if not night["metrics"] or not earlier:
        return []
    primaries = [metric for metric in night["metrics"] if metric["role"] == "primary"]
    shown = [*earlier, night]
    return [_nights_of(metric, night, shown) for metric in primaries]


def _nights_of(metric: Mapping[str, Any], night: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> dict:
    rows = []
    for verdict in night["verdicts"]:
        if verdict["variant"] not in night["hidden"]:
            rows += [_night_row(metric, verdict["variant"], past) for past in shown]
    scale = draw_bars(rows)
    interim = "Interim readings are not decisions." if any(past["stage"] == "interim" for past in shown) else ""
    looks = {past["stage"] for past in shown} >= {"interim", "look"}
    wider = "Intervals of looks are wider than those of interim readings: they hold over all looks." if looks else ""
    levels = "Level: a p-value below it stops at that night's look." if any(row["side"] for row in rows) else ""
    notes = ("Every night counts the units whose outcomes were complete.", interim, wider, levels)
    heading = f"Effect over {plural(len(shown), 'night')}: {clean_name(metric['title'])}"
    columns = ("Night", _change_column(scale), "Verdict")
    return _table("nights", heading, notes, columns, _by_variant(night, rows))


def _night_row(metric: Mapping[str, Any], variant: str, past: Mapping[str, Any]) -> dict[str, Any]:
    then = metric_of(past, metric["metric"])
    entries = then["comparisons"] if then else ()
    entry = {"variant": variant, "withheld": True} if variant in past["hidden"] else comparison_of(entries, variant)
    row = comparison_row(entry)
    verdict = next((known["verdict"] for known in past["verdicts"] if known["variant"] == variant), None)
    if verdict:
        sign, word, tone = VERDICTS[verdict]
        row |= {"sign": sign, "word": word.lower(), "tone": row["tone"] if row["range"] else tone}
    if row["word"] == "invalid":
        row["missing"] = "withheld"
    row["name"] = short_day(past["as_of"])
    row["note"] = past["stage"]
    level = entry.get("level_tonight") if past["stage"] != "interim" else None
    row["side"] = "" if level is None else _level(level)
    return row


def _level(level: float) -> str:
    if not level:
        return "no stop possible"
    return "level below 0.0001" if level < 0.0001 else f"level {level:.2g}"


def _table(key: str, heading: str, notes: Iterable[str], columns: Sequence[str], groups: list) -> dict[str, Any]:
    groups = [group for group in groups if group["rows"]]
    return {
        "key": key,
        "heading": heading,
        "note": " ".join(filter(None, notes)),
        "columns": list(columns),
        "bar_note": "The double line in a bar is the margin." if key == "guardrails" else "",
        "groups": groups,
        "more": _shorten(key, groups),
    }


def _shorten(key: str, groups: Sequence[dict[str, Any]]) -> str:
    """Mark the rows that the short mail has, claims before the rest, and say what else the full report holds."""
    rows = [row for group in groups for row in group["rows"]]
    if key == "nights":  # of each variant the last nights, tonight surely
        most = max(3, _MAIL_ROWS[key] // max(len(groups), 1))
        kept = [id(row) for group in groups for row in group["rows"][-most:]]
    else:
        quiet = (*_QUIET, "proved safe")
        kept = [id(row) for row in sorted(rows, key=lambda row: row["word"] in quiet)[: _MAIL_ROWS[key]]]
    for row in rows:
        row["short"] = id(row) in kept
    left = [row for row in rows if not row["short"]]
    if not left:
        return ""
    if key == "nights":
        return f"{plural(len(left), 'more reading')} of earlier nights in the full report."
    words = _word_tally(left, list(dict.fromkeys(row["word"] for row in left)))
    return f"{len(left)} more in the full report: {words}."


def _by_variant(night: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = [clean_name(verdict["variant"]) for verdict in night["verdicts"]]
    if not night["several"]:
        return [{"label": "", "rows": list(rows)}]
    return [{"label": name, "rows": [row for row in rows if row["variant"] == name]} for name in names]


def _change_column(scale: str) -> str:
    return f"Change (interval), bar {scale}" if scale else "Change (interval)"


def _word_tally(rows: Sequence[Mapping[str, Any]], words: Sequence[str]) -> str:
    """Count the rows of each word, those that were not computed last."""
    found = [row["word"] for row in rows]
    tallied = dict.fromkeys((*words, "not computed"))
    return ", ".join(f"{found.count(word)} {word}" for word in tallied if word in found)


def _level_note(rows: Sequence[Mapping[str, Any]]) -> str:
    levels = sorted({row["level"] for row in rows if row["level"]})
    return f"Intervals at {listed(levels)}." if levels else ""


def _not_shown_note(rows: Sequence[Mapping[str, Any]]) -> str:
    if all(row["word"] != "not shown" for row in rows):
        return ""
    return "Not shown: too small to see with this many units."


def _family_note(family: int, rows: Sequence[Mapping[str, Any]]) -> str:
    levels = sorted({row["level"] for row in rows if row["level"]})
    if family == 1 or not levels:
        return _level_note(rows)
    adjusted = "Intervals and p" if any(row["side"] for row in rows) else "Intervals"
    return f"{adjusted} are Bonferroni-adjusted for {family} comparisons: intervals at {listed(levels)}."


def _covariate_note(night: Mapping[str, Any]) -> str:
    used = [comparison.get("adjustment") for segment in night["segments"] for comparison in segment["comparisons"]]
    covariates = sorted({clean_name(adjustment["covariate"]) for adjustment in used if adjustment})
    return f"Adjusted for {listed(covariates)}." if covariates else ""


def difference_lines(night: Mapping[str, Any]) -> list[str]:
    """Say for each attribute whether effects differ between its values: a claim, so it needs its test.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    list of str
        Empty before the horizon, where it is not tested.

    Examples
    --------
    >>> difference_lines(tonight)[0].startswith("The effect is not shown to differ between values of platform")
    True
    """
    sentences = []
    for entry in night["heterogeneity"]:
        if entry["variant"] in night["hidden"]:
            continue
        about = [clean_name(entry["variant"])] if night["several"] else []
        about += [title_of(night, entry["metric"])] if len(night["experiment"]["primary"]) > 1 else []
        whose = f" ({', '.join(about)})" if about else ""
        name = f"between values of {clean_name(entry['name'])}{whose}"
        if "not_computed" in entry:
            sentences.append(f"Whether the effect differs {name} was {missing_reason(entry)}.")
            continue
        verb = "differs" if entry["differs"] else "is not shown to differ"
        test = f"Cochran's Q {entry['statistic']:.2f}, {plural(entry['df'], 'degree')} of freedom"
        sentences.append(f"The effect {verb} {name}: {test}, {pvalue_text(entry['pvalue_adjusted'], night)}.")
    return sentences


def _segment_heading(night: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    if night["stage"] == "interim":
        return "Segments: interim reading"
    return f"Segments: {_word_tally(rows, ('better', 'worse', 'not shown'))}"


def _segment_note(night: Mapping[str, Any]) -> str:
    titles = {title_of(night, segment["metric"]) for segment in night["segments"]}
    effect = f"The effect on {listed(sorted(titles))} in parts of the units. " if titles else ""
    return f"{effect}Segments do not decide, except that proved harm in a protected one blocks shipping."
