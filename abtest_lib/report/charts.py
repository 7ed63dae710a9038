"""The two charts of a report: what they show, as plain values; ``drawing`` makes pictures of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import ndtri

from abtest_lib.report.drawing import draw, size
from abtest_lib.report.numbers import finite_number, interval_ends, percent, relative_change, signed
from abtest_lib.report.readable import comparison_of, metric_of, shown_comparisons
from abtest_lib.report.rows import comparison_row, fences_of, guardrail_row, margin_text, smallest_text
from abtest_lib.report.text import clean_name, listed, plural, sentence, short_day

__all__ = ["chart_data", "draw"]

_ROWS = 4  # of each section: the picture must fit on a phone's screen
_ROWS_OF_SEVERAL = 3
_PANELS = 3
_NIGHTS = 30
_LIMITS = tuple(step * 10.0**power for power in range(-4, 6) for step in (1, 1.5, 2, 3, 4, 5, 6, 8))
_STEPS = tuple(step * 10.0**power for power in range(-5, 307) for step in (1, 2, 5))  # control near 0 goes far
_LOUD = ("bad", "good", "warn", "flat")
_GUARDRAILS = ("bad", "warn", "flat", "good")


def chart_data(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Say what the charts of a night show.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.
    earlier : sequence of mappings
        Earlier nights, oldest first, each from ``readable`` with the variants hidden that are hidden tonight.

    Returns
    -------
    list of dict
        ``forest`` (all effects of tonight) and ``nights`` (primary effects so far), each with ``name``, ``title``,
        ``alt``, ``width`` and ``height`` in CSS pixels, and the values that ``draw`` draws. A chart without any
        effect is left out, and so is ``nights`` on the first night.

    Examples
    --------
    >>> [chart["name"] for chart in chart_data(tonight, [])]
    ['forest']
    >>> chart_data(tonight, [])[0]["groups"][0]["rows"][0]["word"]
    'better'
    """
    charts = [chart for chart in (_forest(night), _nights(night, earlier)) if chart]
    for chart in charts:
        chart["width"], chart["height"] = size(chart)
    return charts


def _forest(night: Mapping[str, Any]) -> dict[str, Any] | None:
    sections = {
        "primary": _metric_rows(night, "primary"),
        "guardrails": sorted(_guardrail_rows(night), key=lambda row: _GUARDRAILS.index(row["tone"])),
        "secondary": sorted(_metric_rows(night, "secondary"), key=lambda row: _LOUD.index(row["tone"])),
    }
    most = _ROWS_OF_SEVERAL if night["several"] else _ROWS
    groups = [
        {"role": role, "label": _label(role, rows), "rows": rows[:most]} for role, rows in sections.items() if rows
    ]
    shown = [row for group in groups for row in group["rows"]]
    if not any(row["range"] for row in shown):
        return None
    band = max(fences_of(night), default=0.0) if sections["primary"] else 0.0
    limit = _limit(shown, band)
    left = sum(len(rows) for rows in sections.values()) - len(shown)
    levels = sorted({row["level"] for row in shown if row["level"]})
    notes = (
        f"Intervals at {listed(levels)}.",
        f"Shaded: ±{smallest_text(night)}, the smallest effect that matters." if band else "",
        f"{left} more in the full report." if left else "",
    )
    return {
        "name": "forest",
        "title": "Effects of tonight with their intervals, on one scale",
        "alt": " ".join(filter(None, (*_forest_said(groups, sections), notes[0], notes[2]))),
        "scale": "change from control",
        "limit": limit,
        "band": band,
        "ends": [f"−{percent(limit)}", "0", f"+{percent(limit)}"],
        "groups": groups,
        "notes": [note for note in notes if note],
    }


def _label(role: str, rows: Sequence[Mapping[str, Any]]) -> str:
    several = len({row["metric"] for row in rows}) > 1
    return {"guardrails": "Guardrails"}.get(role) or f"{role.capitalize()} {'metrics' if several else 'metric'}"


def _metric_rows(night: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    fences = fences_of(night) if role == "primary" else ()
    return [
        _row(comparison_row(comparison, fences), metric, night)
        for metric in night["metrics"]
        if metric["role"] == role
        for comparison in shown_comparisons(metric)
    ]


def _guardrail_rows(night: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for guardrail in night["guardrails"]:
        for comparison in shown_comparisons(guardrail):
            row = _row(guardrail_row(guardrail, comparison, night), guardrail, night)
            margin = guardrail["margin"] if guardrail["better"] == "lower" else -guardrail["margin"]
            rows.append(row | {"mark": margin, "mark_text": f"margin {margin_text(guardrail)}"})
    return rows


def _row(row: Mapping[str, Any], metric: Mapping[str, Any], night: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": clean_name(metric["title"]),
        "metric": clean_name(metric["metric"]),
        "variant": row["variant"] if night["several"] else "",
        "effect": row["effect"],
        "interval": row["interval"] if row["effect"] else "",
        "level": row["level"] if row["range"] else "",
        "sign": row["sign"],
        "word": row["word"],
        "tone": row["tone"],
        "range": list(row["range"]) if row["range"] else None,
        "mark": None,
        "mark_text": "",
    }


def _limit(rows: Sequence[Mapping[str, Any]], band: float) -> float:
    """The end of the scale: wide intervals are cut there, so that one of them does not flatten all others."""
    reach = sorted(max(abs(end) for end in row["range"] if end is not None) for row in rows if row["range"])
    marks = [abs(row["mark"]) for row in rows if row["mark"] is not None]
    wanted = max(min(reach[-1], 2 * reach[len(reach) // 2]), band, *marks) * 1.05
    return next((limit for limit in _LIMITS if limit >= wanted), _LIMITS[-1])


def _forest_said(groups: Sequence[Mapping[str, Any]], sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The primary effects in full, and of the rest how many have which word."""
    said = ["Effects with their intervals, on one scale."]
    for group in groups:
        if group["role"] == "primary":
            said += [_said(row) for row in group["rows"]]
            continue
        words = [row["word"] for row in sections[group["role"]]]
        tally = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        said.append(f"{group['label']}: {tally}.")
    return said


def _said(row: Mapping[str, Any]) -> str:
    name = f"{row['name']} ({row['variant']})" if row["variant"] else row["name"]
    return f"{name}: {_effect(row)}{row['word']}."


def _effect(row: Mapping[str, Any]) -> str:
    return f"{row['effect']} ({row['interval']}), " if row["effect"] else ""


def _nights(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    shown = [*earlier[-(_NIGHTS - 1) :], night]
    panels = [
        panel
        for metric in night["metrics"]
        if metric["role"] == "primary"
        for comparison in shown_comparisons(metric)
        if (panel := _panel(metric, comparison, night, shown))
    ]
    if not panels:
        return None
    left = len(panels) - _PANELS
    panels = panels[:_PANELS]
    notes = (
        f"The last {len(shown)} of {plural(len(earlier) + 1, 'night')}." if len(earlier) >= _NIGHTS else "",
        f"{plural(left, 'more effect')} in the full report." if left > 0 else "",
    )
    return {
        "name": "nights",
        "title": "The effect so far, night by night",
        "alt": " ".join((*(_panel_said(panel) for panel in panels), *filter(None, notes))),
        "panels": panels,
        "legend": _legend([point for panel in panels for point in panel["points"]]),
        "notes": [note for note in notes if note],
    }


def _legend(points: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    stages = {point["stage"] for point in points if point["effect"] is not None}
    decides = [words for stage, words in (("look", "look"), ("final", "final reading")) if stage in stages]
    bounds = any(point["boundary"] for point in points)
    entries = [
        ["interim", "interim reading"] if "interim" in stages else None,
        ["decides", ", ".join(decides)] if decides else None,
        ["boundary", "boundary of a look"] if bounds else None,
        ["missing", "no valid reading"] if any(point["effect"] is None for point in points) else None,
    ]
    return [entry for entry in entries if entry]


def _panel(
    metric: Mapping[str, Any],
    tonight: Mapping[str, Any],
    night: Mapping[str, Any],
    shown: Sequence[Mapping[str, Any]],
) -> dict[str, Any] | None:
    points = [_point(metric, tonight["variant"], past) for past in shown]
    if sum(point["effect"] is not None for point in points) < 2:
        return None
    row = _row(comparison_row(tonight, fences_of(night)), metric, night)
    stopped = tonight.get("stopped", {}).get("on") if night["stage"] != "interim" else None
    low, high = _span(points)
    return {name: row[name] for name in ("name", "metric", "variant", "effect", "interval", "sign", "word", "tone")} | {
        "points": points,
        "low": low,
        "high": high,
        "ticks": _ticks(low, high),
        "stopped": stopped if any(point["as_of"] == stopped for point in points) else None,
        "stopped_text": f"{row['sign']} {row['word']} at the look of {_day(stopped)}" if stopped else "",
    }


def _point(metric: Mapping[str, Any], variant: str, past: Mapping[str, Any]) -> dict[str, Any]:
    then = metric_of(past, metric["metric"])
    entry = comparison_of(then["comparisons"], variant) if then else {}
    low, high = interval_ends(entry.get("relative_interval"))
    return {
        "as_of": past["as_of"],
        "day": _day(past["as_of"]),
        "stage": past["stage"],
        "effect": finite_number(entry.get("relative_effect")),
        "low": low,
        "high": high,
        "boundary": _boundary(entry) if past["stage"] != "interim" else None,
    }


def _boundary(entry: Mapping[str, Any]) -> float | None:
    """How far from zero the relative effect must be at this look for a claim; None where no look can make one."""
    level, error = entry.get("level_tonight"), finite_number(entry.get("standard_error"))
    effect, mean = finite_number(entry.get("effect")), finite_number(entry.get("mean_control"))
    relative = finite_number(entry.get("relative_effect"))
    if not level or error is None or relative is None:
        return None
    if effect and relative:
        base = abs(effect / relative)
    elif mean:
        base = abs(mean)
    else:
        return None
    return float(-ndtri(level / 2) * error / base)


def _span(points: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The ends of the scale: zero, every estimate and tonight's interval are on it; wider ones may be cut."""
    effects = [point["effect"] for point in points if point["effect"] is not None]
    last = next(point for point in reversed(points) if point["effect"] is not None)
    edge = last["boundary"] or 0.0
    must = [0.0, *effects, *(end for end in (last["low"], last["high"]) if end is not None), edge, -edge]
    every = [end for point in points for end in (point["low"], point["high"]) if end is not None]
    every += [side * point["boundary"] for point in points if point["boundary"] for side in (-1, 1)]
    room = 0.4 * (max(must) - min(must))
    low = min(min(must), max(min([*must, *every]), min(must) - room))
    high = max(max(must), min(max([*must, *every]), max(must) + room))
    pad = 0.04 * (high - low) or 0.01
    return low - pad, high + pad


def _ticks(low: float, high: float) -> list[list[Any]]:
    """Round values of the scale with their words."""
    step = next((step for step in _STEPS if (high - low) / step <= 5), _STEPS[-1])
    decimals = max(0, -math.floor(math.log10(step * 100) + 1e-9))
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    return [[step * number, f"{signed(step * number * 100, decimals)}%" if number else "0"] for number in numbers]


def _day(as_of: str) -> str:
    """A date without its year, which the report has in many places."""
    return short_day(as_of).rpartition(" ")[0]


def _panel_said(panel: Mapping[str, Any]) -> str:
    first = next(point for point in panel["points"] if point["effect"] is not None)
    last = panel["points"][-1]
    whose = f"{panel['name']} ({panel['variant']})" if panel["variant"] else panel["name"]
    begin, interval = relative_change(first["effect"], [first["low"], first["high"]])
    edge = f" The boundary of that look is ±{last['boundary']:.1%}." if last["boundary"] else ""
    stop = panel["stopped_text"].partition(" ")[2] if panel["stopped"] else ""
    return (
        f"{whose} over {plural(len(panel['points']), 'night')}: {begin} ({interval}) on {first['day']}; "
        f"on {last['day']} {_effect(panel)}{panel['word']}.{edge}{' ' if stop else ''}{sentence(stop)}"
    )
