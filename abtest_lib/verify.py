"""Verifies a night: is what it made of the kept partitions equal to a computation from the raw tables?"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from abtest_lib.collection import read_night, recompute_night
from abtest_lib.definitions import Experiment, Metric
from abtest_lib.quantile_bins import BOUNDS, LISTS
from abtest_lib.warehouse import Warehouse

KEYS = ("metric", "segment", "value", "variant", "crossover", "exposed_on", "covariate_known")
COUNTS = ("units", "null_rows", "denominator_null_rows", "n", "capped")
EXPOSURE = ("units", "crossovers", "cells", "outside_dates", "first_on", "last_on", "known_by", "maturity", "delays",
            "excluded", "activation", "assignment")  # fmt: skip
# Sums of a few million numbers, added in another order.
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Verified:
    """How many rows of moments were compared, by how much they differ at most, and what is not equal."""

    rows: int
    largest_difference: float
    problems: tuple[str, ...]


def verify(
    experiment: Experiment,
    as_of: dt.date,
    warehouse: Warehouse,
    results_folder: Path | str,
    catalogue: Iterable[Metric] = (),
) -> Verified:
    """Is a night out of the kept partitions equal to one out of the raw tables?

    Parameters
    ----------
    experiment : Experiment
        What to compare.
    as_of : date
        The night.
    warehouse : Warehouse
        Open for reading; its whole history of the experiment is read.
    results_folder : path
        The state lies below it.
    catalogue : iterable of Metric, optional
        As for ``pipeline.collect``.

    Returns
    -------
    Verified
        ``problems`` is empty when counts are equal and moments differ by rounding alone: by at most 1e-10 of the spread
        of a metric, which sums over the same numbers in another order stay far below.

    Raises
    ------
    DataError
        As ``collect``.

    Examples
    --------
    >>> verify(experiment, dt.date(2026, 3, 3), warehouse, results_folder).problems
    ()
    """
    kept = read_night(experiment, as_of, warehouse, results_folder, catalogue)
    raw = recompute_night(experiment, as_of, warehouse)
    problems = [f"{name} is {kept.exposure.get(name)}, raw {raw.exposure.get(name)}" for name in EXPOSURE
                if kept.exposure.get(name) != raw.exposure.get(name)]  # fmt: skip
    found, wanted = _by_cell(kept.moments), _by_cell(raw.moments)
    problems += [f"{_words(cell)} is missing" for cell in wanted if cell not in found]
    problems += [f"{_words(cell)} is there, but not in the raw tables" for cell in found if cell not in wanted]
    largest = 0.0
    for cell in wanted.keys() & found.keys():
        differences = _differences(found[cell], wanted[cell])
        largest = max([largest, *(value for value in differences.values() if math.isfinite(value))])
        problems += [f"{_words(cell)}: {name} is {found[cell].get(name)}, raw {wanted[cell].get(name)}"
                     for name, value in differences.items() if value > TOLERANCE]  # fmt: skip
    return Verified(len(wanted), largest, tuple(problems))


def _by_cell(rows: Sequence[Mapping]) -> dict[tuple, Mapping]:
    return {tuple(row.get(name) for name in KEYS): row for row in rows}


def _words(cell: tuple) -> str:
    return ", ".join(str(part) for part in cell if part is not None)


def _differences(found: Mapping, wanted: Mapping) -> dict[str, float]:
    """By column, the difference as a share of what rounding can be measured by; infinite where counts differ."""
    differences = {name: math.inf for name in COUNTS if found.get(name) != wanted.get(name)}
    n = wanted["n"]
    for prefix in ("", "covariate_", "denominator_"):
        mean, m2 = wanted.get(f"{prefix}mean"), wanted.get(f"{prefix}m2")
        if mean is None or m2 is None:
            continue
        spread = abs(mean) + math.sqrt(m2 / n) if n else 0.0
        differences |= {f"{prefix}mean": _share(found[f"{prefix}mean"], mean, spread),
                        f"{prefix}m2": _share(found[f"{prefix}m2"], m2, n * spread**2)}  # fmt: skip
    if wanted.get("comoment") is not None:
        both = [prefix for prefix in ("", "covariate_", "denominator_") if wanted.get(f"{prefix}m2") is not None]
        sizes = [wanted[f"{prefix}m2"] + n * wanted[f"{prefix}mean"] ** 2 for prefix in both]
        differences["comoment"] = _share(found["comoment"], wanted["comoment"], math.sqrt(math.prod(sizes)))
    return differences | _bin_differences(found, wanted)


def _bin_differences(found: Mapping, wanted: Mapping) -> dict[str, float]:
    """Of a quantile's bins: counts must be equal, values nearly; sums that rounding alone keeps from zero are zero."""
    (one, other) = (_near_zero_together(row) for row in (found, wanted))
    differences = {name: math.inf for name in LISTS.values() if name not in BOUNDS and one[name] != other[name]}
    if differences:
        return differences
    size = max((abs(value) for name in BOUNDS for value in other[name]), default=0.0)
    return {
        name: max(_share(left, right, size) for left, right in zip(one[name], other[name], strict=True))
        for name in BOUNDS
        if one[name]
    }


def _near_zero_together(row: Mapping) -> dict[str, list]:
    """The bins of a row, those of values that are zero but for rounding as one."""
    lists = {name: list(row.get(name) or ()) for name in LISTS.values()}
    size = TOLERANCE * max((abs(value) for name in BOUNDS for value in lists[name]), default=0.0)
    near = [max(abs(low), abs(high)) <= size for low, high in zip(*(lists[name] for name in BOUNDS), strict=True)]
    if sum(near) == 0:
        return lists
    first = near.index(True)
    together = {}
    for name, numbers in lists.items():
        tiny = [number for number, is_near in zip(numbers, near, strict=True) if is_near]
        kept = [number for number, is_near in zip(numbers, near, strict=True) if not is_near]
        counted = name not in BOUNDS and name != "quantile_bins"
        together[name] = [*kept[:first], sum(tiny) if counted else 0, *kept[first:]]
    return together


def _share(found: float | None, wanted: float, size: float) -> float:
    if found is None:
        return math.inf
    return abs(found - wanted) / size if size else (0.0 if found == wanted else math.inf)
