"""Rows as an Arrow table without ``pyarrow.array``, which imports pandas where it is installed: 0.2 s of every task."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow

_EPOCH = dt.date(1970, 1, 1)


def table(rows: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    """Turn rows into columns.

    Parameters
    ----------
    rows : sequence of mapping
        Texts, whole and other numbers, yes or no, dates, lists of numbers; a key that a row lacks is null there.

    Returns
    -------
    pyarrow.Table
        Columns in the order in which the rows first name them; one without any value has the type null.

    Raises
    ------
    TypeError
        If a column holds values of several kinds, or of another one.

    Examples
    --------
    >>> table([{"metric": "revenue", "n": 3}, {"metric": "orders", "n": 2, "mean": 0.5}]).to_pylist()
    [{'metric': 'revenue', 'n': 3, 'mean': None}, {'metric': 'orders', 'n': 2, 'mean': 0.5}]
    """
    import pyarrow

    names = dict.fromkeys(name for row in rows for name in row)
    return pyarrow.Table.from_arrays([_column(name, [row.get(name) for row in rows]) for name in names], list(names))


def _column(name: str, values: list) -> pyarrow.Array:
    import pyarrow

    present = np.array([value is not None for value in values])
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pyarrow.nulls(len(values))
    if kinds == {list}:
        return _lists(name, values)
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1 or not kinds <= {str, bool, int, float, dt.date}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise TypeError(f"{name} holds {names}; it must be all texts, numbers, yes or no, or dates.")
    kind, buffers = _buffers(kinds.pop(), values)
    known = None if present.all() else np.packbits(present, bitorder="little")
    parts = [buffer if buffer is None else pyarrow.py_buffer(buffer) for buffer in (known, *buffers)]
    return pyarrow.Array.from_buffers(kind, len(values), parts, int(len(values) - present.sum()))


def _lists(name: str, values: list) -> pyarrow.Array:
    import pyarrow

    present = np.array([value is not None for value in values])
    below = _column(name, [number for value in values for number in value or ()])
    ends = np.cumsum([0, *(len(value or ()) for value in values)], dtype=np.int32)
    known = None if present.all() else pyarrow.py_buffer(np.packbits(present, bitorder="little"))
    kind, nulls = pyarrow.list_(below.type), int(len(values) - present.sum())
    return pyarrow.Array.from_buffers(kind, len(values), [known, pyarrow.py_buffer(ends)], nulls, children=[below])


def _buffers(kind: type, values: list) -> tuple[pyarrow.DataType, list]:
    """Arrow's type and memory of values of one kind; what is null has any value there."""
    import pyarrow

    if kind is str:
        texts = [(value or "").encode() for value in values]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        return pyarrow.string(), [ends, b"".join(texts)]
    if kind is bool:
        return pyarrow.bool_(), [np.packbits([bool(value) for value in values], bitorder="little")]
    if kind is dt.date:
        days = [(value - _EPOCH).days if value else 0 for value in values]
        return pyarrow.date32(), [np.array(days, dtype=np.int32)]
    numbers = [0 if value is None else value for value in values]
    if kind is int:
        return pyarrow.int64(), [np.array(numbers, dtype=np.int64)]
    return pyarrow.float64(), [np.array(numbers, dtype=np.float64)]
