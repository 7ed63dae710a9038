"""The layout of the charts: where each mark and each word of ``chart_data`` lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from abtest_lib.report.canvas import (
    BAND,
    EDGE,
    FILLS,
    INK,
    LINE,
    MUTE,
    RULE,
    SIZE,
    TEXTS,
    WIDTH,
    arrow,
    chosen,
    dot,
    estimate,
    png,
    rect,
    text,
    width,
)

PAD = 14
# The forest: text on the left, scale on the right.
PLOT_LEFT, PLOT_RIGHT = 228, WIDTH - PAD
# The nights: words of the scale on the left.
NIGHTS_LEFT, NIGHTS_RIGHT = 58, WIDTH - PAD - 4
NIGHTS_HEIGHT = 170


def draw(chart: Mapping[str, Any]) -> bytes:
    """Draw a chart.

    Parameters
    ----------
    chart : mapping
        One of ``chart_data``.

    Returns
    -------
    bytes
        PNG without a transparent pixel, two pixels for each CSS pixel; the same bytes for the same chart.

    Raises
    ------
    KeyError
        If the chart lacks a value.

    Examples
    --------
    >>> from abtest_lib.report.charts import chart_data
    >>> draw(chart_data(tonight, [])[0])[:4]
    b'\\x89PNG'
    """
    return png(*_LAYOUTS[chart["name"]](chart))


def size(chart: Mapping[str, Any]) -> tuple[int, int]:
    """Return the width and height of a chart in CSS pixels.

    Parameters
    ----------
    chart : mapping
        One of ``chart_data``, with or without its size.

    Returns
    -------
    tuple of int

    Raises
    ------
    KeyError
        If the chart lacks a value.

    Examples
    --------
    >>> from abtest_lib.report.charts import chart_data
    >>> chart = chart_data(tonight, [])[0]
    >>> size(chart) == (chart["width"], chart["height"])
    True
    """
    return WIDTH, _LAYOUTS[chart["name"]](chart)[1]


def _forest(chart: Mapping[str, Any]) -> tuple[list[str], int]:
    parts: list[str] = []
    y, top, shaded = PAD, PAD + LINE + 6, 0
    parts.append(text(PLOT_RIGHT, y + SIZE, chart["scale"], colour=MUTE, anchor="end"))
    for number, group in enumerate(chart["groups"]):
        y += 6 if number else 0
        parts.append(text(PAD, y + SIZE, group["label"], colour=MUTE))
        y += LINE + 6
        if number:
            parts.append(rect(PAD, y - 3, WIDTH - 2 * PAD, 1, RULE))
        above = ""
        for row in group["rows"]:
            y = _forest_row(parts, row, y, chart["limit"], titled=row["metric"] != above or not row["variant"])
            above = row["metric"]
        shaded = y if group["role"] == "primary" else shaded
    parts = [*_grid(chart, top, y, shaded), *parts]
    for x, words, anchor in zip(
        (PLOT_LEFT, _across(0.0, 1.0), PLOT_RIGHT), chart["ends"], ("start", "middle", "end"), strict=True
    ):
        parts.append(text(x, y + 4 + SIZE, words, colour=MUTE, anchor=anchor))
    y += LINE + 8
    for note in chart["notes"]:
        parts.append(text(PAD, y + SIZE, note, colour=MUTE))
        y += LINE
    return parts, y + PAD - 4


def _grid(chart: Mapping[str, Any], top: float, bottom: float, shaded: float) -> list[str]:
    """The zero line through all rows, and the effects too small to matter behind those of the primary metrics."""
    lines = [rect(_across(0.0, 1.0) - 0.5, top, 1, bottom - top, INK)]
    if not chart["band"] or not shaded:
        return lines
    low, high = (_across(side * chart["band"], chart["limit"]) for side in (-1, 1))
    edges = [rect(edge - 0.5, top, 1, shaded - top, EDGE) for edge in (low, high)]
    return [rect(low, top, high - low, shaded - top, BAND), *edges, *lines]


def _forest_row(parts: list[str], row: Mapping[str, Any], y: float, limit: float, *, titled: bool) -> float:
    """Add one row, its words left and its bar right; return where the next one begins."""
    space = PLOT_LEFT - PAD - 10
    baseline = y + SIZE
    if titled:
        parts.append(chosen(PAD, baseline, row["name"], row["metric"], space, weight="bold"))
        baseline += LINE
    if row["variant"]:
        parts.append(chosen(PAD, baseline, row["variant"], "", space))
        baseline += LINE
    if row["effect"]:
        said = estimate(PAD, baseline, row["effect"], row["interval"], space)
        baseline += LINE * len(said)
        parts += said
    elif row["word"] != "not computed":
        parts.append(text(PAD, baseline, "no relative effect", colour=MUTE))
        baseline += LINE
    parts.append(text(PAD, baseline, f"{row['sign']} {row['word']}", colour=TEXTS[row["tone"]], weight="bold"))
    if row["range"]:
        parts += _bar(row, y + LINE, limit)
        if row["mark"] is not None:
            parts += _margin(row, y + LINE, limit)
    return max(baseline + LINE - SIZE + 8, y + (3 * LINE + 4 if row["mark_text"] and row["range"] else 0))


def _bar(row: Mapping[str, Any], middle: float, limit: float) -> list[str]:
    low, best, high = row["range"]
    fill = FILLS[row["tone"]]
    start = PLOT_LEFT if low is None else _across(low, limit)
    end = PLOT_RIGHT if high is None else _across(high, limit)
    parts = [rect(start, middle - 5, max(end - start, 1), 10, fill)]
    if low is None or low < -limit:
        parts.append(arrow(PLOT_LEFT, middle, -8, 0, fill))
    if high is None or high > limit:
        parts.append(arrow(PLOT_RIGHT, middle, 8, 0, fill))
    if best is not None and abs(best) <= limit:
        parts.append(rect(_across(best, limit) - 1, middle - 8, 2, 16, INK))
    return parts


def _margin(row: Mapping[str, Any], middle: float, limit: float) -> list[str]:
    """The margin as a double line, with its words below and inside the scale."""
    at = _across(row["mark"], limit)
    half = width(row["mark_text"], "normal") / 2
    words = min(max(at, PLOT_LEFT + half), PLOT_RIGHT - half)
    return [
        rect(words - half - 2, middle + 12, 2 * half + 4, LINE, "#ffffff"),
        text(words, middle + 12 + SIZE, row["mark_text"], colour=TEXTS["bad"], anchor="middle"),
        *(rect(at + side, middle - 10, 1.5, 21, TEXTS["bad"]) for side in (-2.25, 0.75)),
    ]


def _across(value: float, limit: float) -> float:
    """Where a relative effect lies on the forest's scale; beyond it, at its end."""
    share = min(1.0, max(-1.0, value / limit))
    return (PLOT_LEFT + PLOT_RIGHT) / 2 + share * (PLOT_RIGHT - PLOT_LEFT) / 2


def _nights(chart: Mapping[str, Any]) -> tuple[list[str], int]:
    parts: list[str] = []
    y: float = PAD
    for panel in chart["panels"]:
        y = _panel_head(parts, panel, y)
        y = _panel(parts, panel, y) + 12
    y = _legend(parts, chart["legend"], y)
    for note in chart["notes"]:
        parts.append(text(PAD, y + SIZE, note, colour=MUTE))
        y += LINE
    return parts, round(y + PAD - 4)


def _panel_head(parts: list[str], panel: Mapping[str, Any], y: float) -> float:
    space = WIDTH - 2 * PAD
    parts.append(chosen(PAD, y + SIZE, panel["name"], panel["metric"], space, weight="bold"))
    y += LINE
    if panel["variant"]:
        parts.append(chosen(PAD, y + SIZE, panel["variant"], "", space))
        y += LINE
    word = f"{panel['sign']} {panel['word']}"
    parts.append(text(WIDTH - PAD, y + SIZE, word, colour=TEXTS[panel["tone"]], weight="bold", anchor="end"))
    if panel["effect"]:
        said = estimate(PAD, y + SIZE, panel["effect"], panel["interval"], space - width(word, "bold") - 12)
        parts += said
        y += LINE * (len(said) - 1)
    return y + LINE * (2 if panel["stopped"] else 1) + 12


def _panel(parts: list[str], panel: Mapping[str, Any], top: float) -> float:
    for value, words in panel["ticks"]:
        at = _up(value, panel, top)
        parts.append(rect(NIGHTS_LEFT, at - 0.5, NIGHTS_RIGHT - NIGHTS_LEFT, 1, RULE if value else INK))
        parts.append(text(NIGHTS_LEFT - 6, at + 4.5, words, colour=MUTE, anchor="end"))
    points = panel["points"]
    step = (NIGHTS_RIGHT - NIGHTS_LEFT) / len(points)
    places = [NIGHTS_LEFT + step * (number + 0.5) for number in range(len(points))]
    for point, place in zip(points, places, strict=True):
        parts += _bounds(point, place, step, panel, top)
        parts += _night(point, place, step, panel, top)
    if panel["stopped"]:
        parts += _stop(panel, places, top)
    parts += _days(points, places, top + NIGHTS_HEIGHT + 4 + SIZE)
    return top + NIGHTS_HEIGHT + 4 + LINE


def _night(point: Mapping[str, Any], place: float, step: float, panel: Mapping[str, Any], top: float) -> list[str]:
    """One night: its interval as a line, its estimate filled where it could decide and hollow where it could not."""
    if point["effect"] is None:
        return [text(place, _up(0.0, panel, top) - 5, "?", colour=MUTE, anchor="middle")]
    interim = point["stage"] == "interim"
    stroke, thick = (EDGE, 2) if interim else (INK, 3)
    low = panel["low"] if point["low"] is None else max(point["low"], panel["low"])
    high = panel["high"] if point["high"] is None else min(point["high"], panel["high"])
    upper, lower = _up(high, panel, top), _up(low, panel, top)
    parts = [rect(place - thick / 2, upper, thick, lower - upper, stroke)]
    if high == panel["high"]:
        parts.append(arrow(place, upper, 0, -min(5, step / 2), stroke))
    if low == panel["low"]:
        parts.append(arrow(place, lower, 0, min(5, step / 2), stroke))
    inside = "#ffffff" if interim else INK
    return [*parts, dot(place, _up(point["effect"], panel, top), min(4.0, step / 2.6), stroke, inside)]


def _bounds(point: Mapping[str, Any], place: float, step: float, panel: Mapping[str, Any], top: float) -> list[str]:
    """What the estimate must cross at a look, on both sides of zero."""
    half = min(step / 2 - 0.5, 9)
    values = (point["boundary"], -point["boundary"]) if point["boundary"] else ()
    return [
        rect(place - half, _up(value, panel, top) - 1.5, 2 * half, 3, TEXTS["bad"])
        for value in values
        if panel["low"] <= value <= panel["high"]
    ]


def _stop(panel: Mapping[str, Any], places: list[float], top: float) -> list[str]:
    at = next(place for place, point in zip(places, panel["points"], strict=True) if point["as_of"] == panel["stopped"])
    words, colour = panel["stopped_text"], TEXTS[panel["tone"]]
    half = width(words, "bold") / 2
    middle = min(max(at, PAD + half), WIDTH - PAD - half)
    dashes = [rect(at - 0.5, top + 6 * number, 1, 3, colour) for number in range(NIGHTS_HEIGHT // 6)]
    return [*dashes, text(middle, top - 7, words, colour=colour, weight="bold", anchor="middle")]


def _days(points: list[Mapping[str, Any]], places: list[float], baseline: float) -> list[str]:
    """Dates under the nights, tonight's surely, and as many before as have room."""
    parts, free = [], float(WIDTH)
    for point, place in zip(reversed(points), reversed(places), strict=True):
        half = width(point["day"], "normal") / 2
        middle = min(place, WIDTH - PAD / 2 - half)
        if middle + half + 10 <= free:
            parts.append(text(middle, baseline, point["day"], colour=MUTE, anchor="middle"))
            parts.append(rect(place - 0.5, baseline - SIZE - 2, 1, 3, MUTE))
            free = middle - half
    return parts


def _legend(parts: list[str], entries: Sequence[Sequence[str]], y: float) -> float:
    x = float(PAD)
    for kind, words in entries:
        wide = 19 + width(words, "normal")
        if x > PAD and x + wide > WIDTH - PAD:
            x, y = float(PAD), y + LINE
        middle = y + SIZE - 4.5
        if kind == "boundary":
            parts.append(rect(x, middle - 1.5, 14, 3, TEXTS["bad"]))
        elif kind == "missing":
            parts.append(text(x + 6, y + SIZE, "?", colour=MUTE, anchor="middle"))
        else:
            parts.append(dot(x + 6, middle, 4, *((EDGE, "#ffffff") if kind == "interim" else (INK, INK))))
        parts.append(text(x + 19, y + SIZE, words, colour=MUTE))
        x += wide + 16
    return y + LINE + 2


def _up(value: float, panel: Mapping[str, Any], top: float) -> float:
    """Where a relative effect lies on the scale of a panel."""
    return top + NIGHTS_HEIGHT * (1 - (value - panel["low"]) / (panel["high"] - panel["low"]))


_LAYOUTS = {"forest": _forest, "nights": _nights}
