"""What metrics need to know of each unit: sums over windows of its outcomes, shared where they are the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from abtest_lib.definitions import Metric


@dataclass(frozen=True)
class Measure:
    """Rows, values and their sum over the rows that pass a filter; ``number`` is its place in its window."""

    number: int
    value: str | None
    where: tuple[tuple[str, str | int | float | bool], ...]


@dataclass
class Window:
    """The days after its exposure in which a unit's rows of one source count; an open one ends for all on one day."""

    name: str
    source: str
    delay_days: int
    window_days: int | None
    until: dt.date | None = None
    measures: list[Measure] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """One side of a metric: a metric that is no ratio, and where its sums are."""

    metric: Metric
    window: Window
    measure: Measure


@dataclass(frozen=True)
class Column:
    """A metric of the plan with its parts, two for a ratio; ``number`` ends the names of its columns."""

    number: int
    metric: Metric
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Plan:
    """What one statement computes; ``values`` are parameters."""

    windows: tuple[Window, ...]
    columns: tuple[Column, ...]

    @property
    def values(self) -> dict[str, str | int | float | bool | None]:
        """The values of all filters and caps, and the ends of open windows, by the name of their parameter."""
        caps = {f"cap_{column.number}_{number}": part.metric.cap for column in self.columns
                for number, part in enumerate(column.parts) if part.metric.cap is not None}  # fmt: skip
        ends = {f"until_{window.name}": dt.datetime.combine(window.until, dt.time())
                for window in self.windows if window.until}  # fmt: skip
        filters = {
            parameter(window, measure, number): value
            for window in self.windows
            for measure in window.measures
            for number, (_, value) in enumerate(measure.where)
        }
        return caps | ends | filters


def parameter(window: Window, measure: Measure, number: int) -> str:
    """Name the parameter of one condition of a measure's filter.

    Parameters
    ----------
    window : Window
        Its name is part of the parameter's.
    measure : Measure
        Of that window.
    number : int
        The condition's place.

    Returns
    -------
    str
        Without ``$``.

    Examples
    --------
    >>> parameter(Window("window_0", "purchases", 0, 7), Measure(1, None, (("status", "paid"),)), 0)
    'where_window_0_1_0'
    """
    return f"where_{window.name}_{measure.number}_{number}"


def plan(metrics: Iterable[Metric], open_until: Callable[[int], dt.date] | None = None) -> Plan:
    """Which windows and sums do these metrics need? Those that several of them need are there once.

    Parameters
    ----------
    metrics : iterable of Metric
        In the order of their columns.
    open_until : callable, optional
        Of the lag, the day on which open windows end.

    Returns
    -------
    Plan
        Windows by source, delay and length.

    Raises
    ------
    AttributeError
        If one of them is no metric.
    TypeError
        If one of them is open, and nobody says until when.

    Examples
    --------
    >>> from abtest_lib.definitions import load_catalogue
    >>> metrics = load_catalogue("experiments").metrics
    >>> shared = plan([metrics["conversion"], metrics["orders_per_user"], metrics["revenue_per_user"]])
    >>> [(window.source, [measure.value for measure in window.measures]) for window in shared.windows]
    [('purchases', [None, 'amount_usd'])]
    """
    windows: dict[tuple, Window] = {}
    columns = []
    for number, metric in enumerate(metrics):
        parts = tuple(_part(part, windows, open_until) for part in metric.parts)
        columns.append(Column(number, metric, parts))
    return Plan(tuple(windows.values()), tuple(columns))


def _part(metric: Metric, windows: dict[tuple, Window], open_until: Callable[[int], dt.date] | None) -> Part:
    until = open_until(metric.lag_days) if metric.is_open else None
    key = (metric.source, metric.delay_days, metric.window_days, until)
    window = windows.setdefault(key, Window(f"window_{len(windows)}", *key))
    value = None if metric.is_share or metric.kind == "count" else metric.value
    for measure in window.measures:
        if (measure.value, measure.where) == (value, metric.where):
            return Part(metric, window, measure)
    window.measures.append(Measure(len(window.measures), value, metric.where))
    return Part(metric, window, window.measures[-1])
