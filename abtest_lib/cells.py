"""The moments that a night keeps, read back for what comes after: only the rows that a step takes, added up by column.

A file holds a row for each day of exposure, so that any look can be taken again. An experiment that looks once needs
no days, and a row of Python's costs more than the reading of its numbers.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from abtest_lib.definitions import Experiment
from abtest_lib.quantile_bins import BOUNDS, LISTS, as_lists, histograms

if TYPE_CHECKING:
    import pyarrow

_KEYS = ("metric", "segment", "value", "variant", "crossover", "covariate_known")
_TEXTS, _FLAGS, _DAY = _KEYS[:4], _KEYS[4:], "exposed_on"
_LISTS = frozenset(LISTS.values())
_EPOCH = dt.date(1970, 1, 1)
_OTHERS = ("covariate", "denominator")
_NUMBERS = ("n", "mean", "m2", *(f"{other}_{what}" for other in _OTHERS for what in ("mean", "m2")), "comoment")


@dataclass(frozen=True)
class Cells:
    """The moments of a night, by column.

    Parameters
    ----------
    codes, words : dict
        Of each column that rows are grouped by: a number a row, -1 where there is no word, and what it stands for.
    numbers : dict
        The other columns, NaN where there is no number.
    has : dict
        Whether a row has moments of a covariate, or of a denominator.
    lists : dict
        The bins of quantiles, if any: where each row's begin and end, and the numbers of all rows.
    """

    codes: dict[str, np.ndarray]
    words: dict[str, list | dict]
    numbers: dict[str, np.ndarray]
    has: dict[str, np.ndarray]
    lists: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def read_cells(path: Path) -> Cells:
    """Read the moments of a night.

    Parameters
    ----------
    path : Path
        ``moments.parquet``.

    Returns
    -------
    Cells
        Its rows are those of the file.

    Raises
    ------
    FileNotFoundError
        If ``collect`` has not run.

    Examples
    --------
    >>> read_cells(night / "moments.parquet").words["variant"]
    ['control', 'treatment']
    """
    import pyarrow.parquet

    texts = [name for name in pyarrow.parquet.read_schema(path).names if name in _TEXTS]
    table = pyarrow.parquet.ParquetFile(path, read_dictionary=texts).read(use_threads=False)
    codes: dict[str, np.ndarray] = {
        key: np.full(table.num_rows, -1, np.int32) for key in ("segment", "value", "metric")
    }
    words: dict[str, list | dict] = {key: [] for key in _KEYS}
    numbers, has, lists = {"n": np.zeros(table.num_rows, np.int64)}, {}, {}
    for name, column in ((name, table[name].combine_chunks()) for name in table.column_names):
        if column.null_count == len(column):
            continue  # no row has one, so the file does not say of what type they would be
        if name in _FLAGS:
            codes[name], words[name] = np.where(_present(column), _bits(column, 1), -1), [False, True]
        elif name in _TEXTS:
            codes[name] = np.where(_present(column.indices), _buffer(column.indices, np.int32), -1)
            words[name] = column.dictionary.to_pylist()
        elif name == _DAY:
            codes[name] = _buffer(column, np.int32)
            words[name] = {day: _EPOCH + dt.timedelta(day) for day in np.unique(codes[name]).tolist()}
        elif name in _NUMBERS:
            values = _buffer(column, np.int64 if name == "n" else np.float64)
            numbers[name] = np.where(_present(column), values, np.nan) if column.null_count else values
            has[name.removesuffix("_mean")] = _present(column)
        elif name in _LISTS:
            kind = np.float64 if name in BOUNDS else np.int64
            ends = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
            lists[name] = (ends, _buffer(column.values, kind))
    return Cells(codes, words, numbers, {name: has[name] for name in _OTHERS if name in has}, lists)


def _buffer(column: pyarrow.Array, kind: type) -> np.ndarray:
    """The numbers as they lie in memory: to_numpy would import pandas, which costs more than all the rest."""
    return np.frombuffer(column.buffers()[1], kind)[column.offset : column.offset + len(column)]


def _bits(column: pyarrow.Array, number: int) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(column.buffers()[number], np.uint8), bitorder="little")
    return bits[column.offset : column.offset + len(column)].astype(np.int32)


def _present(column: pyarrow.Array) -> np.ndarray:
    return _bits(column, 0) == 1 if column.null_count else np.ones(len(column), bool)


def whole_rows(cells: Cells, experiment: Experiment) -> list[dict]:
    """The rows that count all units once, as ``readings.significance`` and ``readings.guardrails`` take them.

    Parameters
    ----------
    cells : Cells
        What ``read_cells`` returned.
    experiment : Experiment
        Where it looks once, at its horizon, the days of exposure are added up.

    Returns
    -------
    list of dict
        Rows of ``moments.parquet`` without ``units`` and ``null_rows``; added up they have no ``exposed_on``.

    Examples
    --------
    >>> rows = whole_rows(read_cells(night / "moments.parquet"), experiment)
    >>> sum(row["n"] for row in rows if row["metric"] == "conversion")
    42000
    """
    return _added_up(cells, cells.codes["segment"] < 0, _keys(experiment))


def segment_rows(cells: Cells, experiment: Experiment) -> list[dict]:
    """The rows of the segments, as ``readings.segments`` takes them.

    Parameters
    ----------
    cells : Cells
        What ``read_cells`` returned.
    experiment : Experiment
        Its primary metrics are compared; of the others only the segment values count.

    Returns
    -------
    list of dict
        As ``whole_rows``, but units seen in two variants are added to the others.

    Examples
    --------
    >>> rows = segment_rows(read_cells(night / "moments.parquet"), experiment)
    >>> sorted({row["value"] for row in rows if row["segment"] == "customers.platform"})
    ['(unknown)', 'android', 'ios', 'web']
    """
    inside = cells.codes["segment"] >= 0
    wanted = [number for number, name in enumerate(cells.words["metric"]) if name in experiment.primary]
    primary = np.isin(cells.codes["metric"], wanted)
    rows = _added_up(cells, inside & primary, [key for key in _keys(experiment) if key != "crossover"])
    known = {(row["segment"], row["value"]) for row in rows}
    # A value of which no primary metric has a unit yet still counts in the family of segments.
    values = set(zip(*(cells.codes[key][inside].tolist() for key in ("segment", "value")), strict=True))
    named = [(cells.words["segment"][segment], cells.words["value"][value]) for segment, value in sorted(values)]
    return rows + [{"metric": None, "segment": s, "value": v} for s, v in named if (s, v) not in known]


def _keys(experiment: Experiment) -> tuple[str, ...]:
    """What rows are told apart by: a look counts the units of some days, the only one of a horizon those of all."""
    return _KEYS if experiment.looks == "horizon" else (*_KEYS, _DAY)


def _added_up(cells: Cells, wanted: np.ndarray, keys: Sequence[str]) -> list[dict]:
    """Merge the rows that are equal in their keys, as ``moments.merge`` does: their order changes no bit."""
    keys = [key for key in keys if key in cells.codes]
    places = np.flatnonzero(wanted & (cells.numbers["n"] > 0))
    order = places[np.lexsort([cells.codes[key][places] for key in reversed(keys)])]
    codes = np.array([cells.codes[key][order] for key in keys])
    differs = (codes[:, 1:] != codes[:, :-1]).any(axis=0)
    bounds = [0, *(np.flatnonzero(differs) + 1).tolist(), len(order)] if len(order) else []
    columns = {name: values[order] for name, values in cells.numbers.items()}
    has = {name: cells.has[name][order] for name in cells.has}
    rows = []
    for start, end in pairwise(bounds):
        named = {key: _word(cells, key, code) for key, code in zip(keys, codes[:, start].tolist(), strict=True)}
        part = {name: values[start:end] for name, values in columns.items()}
        rows.append(named | _merged(part, [name for name in has if has[name][start]]))
        if cells.lists:
            rows[-1] |= _bins(cells, order[start:end].tolist())
    return rows


def _bins(cells: Cells, places: list[int]) -> dict[str, np.ndarray]:
    """The bins of some rows added up; nothing where they are no quantile's."""
    from abtest_lib.statistics.quantile_histograms import merge_histograms

    found = histograms([{name: values[ends[place] : ends[place + 1]] for name, (ends, values) in cells.lists.items()}
                        for place in places if _held(cells, place)])  # fmt: skip
    return as_lists(merge_histograms(found)) if found else {}


def _held(cells: Cells, place: int) -> bool:
    ends, _ = cells.lists["quantile_bins"]
    return bool(ends[place + 1] > ends[place])


def _word(cells: Cells, key: str, code: int) -> str | bool | dt.date | None:
    return cells.words[key][code] if code >= 0 else None


def _merged(cells: dict[str, np.ndarray], others: list[str]) -> dict:
    """Moments of the cells together: of the outcome, and of the second variable that they have."""
    n, mean = cells["n"], cells["mean"]
    row = dict(zip(("n", "mean", "m2"), _moments(n, mean, cells["m2"]), strict=True))
    for other in others:
        second = cells[f"{other}_mean"]
        _, both, spread = _moments(n, second, cells[f"{other}_m2"])
        row |= {f"{other}_mean": both, f"{other}_m2": spread}
        row["comoment"] = _comoment(n, mean - row["mean"], second - both, cells["comoment"])
    return row


def _moments(n: np.ndarray, mean: np.ndarray, m2: np.ndarray) -> tuple[int, float, float]:
    if len(n) == 1:
        return int(n[0]), float(mean[0]), float(m2[0])
    total = int(n.sum())
    if not (np.isfinite(mean).all() and np.isfinite(m2).all()):
        return total, math.nan, math.nan
    origin = float(mean.min())
    middle = origin + math.fsum((n * (mean - origin)).tolist()) / total
    return total, middle, math.fsum(m2.tolist()) + math.fsum((n * (mean - middle) ** 2).tolist())


def _comoment(n: np.ndarray, outcome: np.ndarray, other: np.ndarray, comoment: np.ndarray) -> float:
    """Of deviations from the means of all cells."""
    if len(n) == 1:
        return float(comoment[0])
    if not (np.isfinite(outcome).all() and np.isfinite(other).all() and np.isfinite(comoment).all()):
        return math.nan
    return math.fsum(comoment.tolist()) + math.fsum((n * outcome * other).tolist())
