"""The values of a quantile metric by bin, as rows of moments hold them: six lists beside the moments of a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from abtest_lib.definitions import Metric

if TYPE_CHECKING:
    import numpy as np

    from abtest_lib.statistics.quantile_histograms import QuantileHistogram

# Of a row of sql/bins_of_values.sql, and under what name a row of moments holds the list.
LISTS = {
    "bin_number": "quantile_bins",
    "events": "quantile_events",
    "ranks": "quantile_ranks",
    "sizes": "quantile_sizes",
    "lowest": "quantile_lowest",
    "highest": "quantile_highest",
}
BOUNDS = ("quantile_lowest", "quantile_highest")


def with_bins(metric: Metric, rows: Sequence[dict], bins: Sequence[Mapping]) -> list[dict]:
    """Put the bins of a metric into its rows of moments.

    Parameters
    ----------
    metric : Metric
        A quantile.
    rows : sequence of dict
        Rows of ``moments.parquet``, also of other metrics and of segments, which stay as they are.
    bins : sequence of mapping
        Rows of ``bins_of_values.sql``, in order of their bins.

    Returns
    -------
    list of dict
        A row of the metric over all units with a value has the lists of ``LISTS``.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> p95 = SimpleNamespace(name="p95")
    >>> row = {"metric": "p95", "segment": None, "variant": "control", "crossover": False, "exposed_on": 1}
    >>> cell = {"variant": "control", "crossover": False, "exposed_on": 1}
    >>> one = {"bin_number": 150000, "events": 2, "ranks": 4, "sizes": 4, "lowest": 1.0, "highest": 1.004}
    >>> with_bins(p95, [row], [{**cell, **one}])[0]["quantile_highest"]
    [1.004]
    """
    cells: dict[tuple, list[Mapping]] = {}
    for one in bins:
        cells.setdefault(_cell(one), []).append(one)
    found = []
    for row in rows:
        own = cells.get(_cell(row), []) if row["metric"] == metric.name and row["segment"] is None else []
        # -0.0 and 0.0 are equal, and which of them an engine calls the lowest is chance.
        lists = {name: [one[column] + 0.0 if name in BOUNDS else one[column] for one in own]
                 for column, name in LISTS.items() if own}  # fmt: skip
        found.append({**row, **lists})
    return found


def histograms(rows: Sequence[Mapping]) -> list[QuantileHistogram]:
    """Read the bins of rows of moments.

    Parameters
    ----------
    rows : sequence of mapping
        Of a quantile metric; those without bins, where no unit has a value, are left out.

    Returns
    -------
    list of QuantileHistogram
        One a row.

    Examples
    --------
    >>> histograms([{"quantile_bins": None}])
    []
    """
    import numpy as np

    from abtest_lib.statistics.quantile_histograms import QuantileHistogram

    return [
        QuantileHistogram(*(np.asarray(row[name], float if name in BOUNDS else np.int64) for name in LISTS.values()))
        for row in rows
        if row.get("quantile_bins") is not None
    ]


def as_lists(histogram: QuantileHistogram) -> dict[str, np.ndarray]:
    """Name the columns of a histogram as a row of moments does.

    Parameters
    ----------
    histogram : QuantileHistogram
        Of a cell.

    Returns
    -------
    dict
        What ``histograms`` reads.

    Examples
    --------
    >>> from abtest_lib.statistics.quantile_histograms import QuantileHistogram
    >>> as_lists(QuantileHistogram.from_values([0.0, 0.0]))["quantile_events"].tolist()
    [2]
    """
    from abtest_lib.statistics.quantile_histograms import COLUMNS

    return {name: getattr(histogram, column) for name, column in zip(LISTS.values(), COLUMNS, strict=True)}


def _cell(row: Mapping) -> tuple:
    return row["variant"], row["crossover"], row["exposed_on"]
