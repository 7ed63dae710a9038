"""The bars beside the numbers: intervals on one scale, as table cells, because mail programs show no drawings."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from abtest_lib.report.numbers import percent

_SCALES = tuple(step * 10.0**power for power in range(-4, 6) for step in (1, 1.5, 2, 3, 5))


def draw_bars(rows: Sequence[dict[str, Any]], *, band: float = 0.0) -> str:
    """Put a bar on every row, all on one scale, and return the words for the scale.

    Parameters
    ----------
    rows : sequence of dict
        Of ``comparison_row``. Each gets ``bar``: cells of width in percent, colour class and tick at the left edge.
    band : float
        Relative effects within ±band lie on darker ground.

    Returns
    -------
    str
        Empty if no row has a range.

    Examples
    --------
    >>> rows = [{"range": (-0.01, 0.0, 0.01), "marks": [], "tone": "flat"}]
    >>> draw_bars(rows), rows[0]["bar"][:2]
    ('±1.5%', [(17, 'track', ''), (33, 'bar-flat', '')])
    """
    ranges = [row["range"] for row in rows if row["range"]]
    if not ranges:
        return ""
    reach = sorted(
        max(abs(end) for end in (*entry, *row["marks"]) if end is not None) for row in rows if (entry := row["range"])
    )
    wanted = max(min(reach[-1], 1.5 * reach[len(reach) // 2]), band) * 1.08
    limit = next((scale for scale in _SCALES if scale >= wanted), _SCALES[-1])
    for row in rows:
        row["bar"] = _bar(row, limit, band) if row["range"] else []
    return f"±{percent(limit)}" + (", cut there" if reach[-1] > limit else "")


def _bar(row: Mapping[str, Any], limit: float, band: float) -> list[tuple[int, str, str]]:
    """Cut the scale from -limit to +limit into cells: width in percent, colour class, tick at the left edge."""

    def place(value: float | None, otherwise: int) -> int:
        return otherwise if value is None else min(100, max(0, round(50 + 50 * value / limit)))

    low, estimate, high = row["range"]
    start, end = place(low, 0), place(high, 100)
    if start == end:
        start, end = (start - 1, end) if start == 100 else (start, end + 1)
    ticks = {50: "zero"} | {place(mark, 50): "mark" for mark in row["marks"]}
    middle = place(estimate, start)
    if start < middle < end:
        ticks.setdefault(middle, "best")
    near, far = place(-band, 50), place(band, 50)
    edges = sorted({0, start, end, near, far, 100, *ticks})
    cells: list[tuple[int, str, str]] = []
    for left, right in pairwise(edges):
        inside = "bar-" + row["tone"] if start <= left and right <= end else ""
        track = "band" if near <= left and right <= far else "track"
        fill, tick = inside or track, ticks.get(left, "")
        if cells and cells[-1][1] == fill and not tick:
            cells[-1] = (cells[-1][0] + right - left, fill, cells[-1][2])
        else:
            cells.append((right - left, fill, tick))
    return cells
