"""Deterministic assignment: which variant a unit gets is a function of its id, computed alike in Python and in SQL.

A unit's *position* is the first 32 bits of an MD5 digest, because every engine has MD5 over UTF-8 text and gives it as
the same hexadecimal digits. A unit has three positions, independent of each other: in the layer (which experiments may
have it), in the share (whether it is let in), and among the variants. Eight such digits compare as text as they do as
numbers, so a statement needs no arithmetic.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

POSITIONS = 2**32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Layer:
    """The part of a layer that an experiment has; experiments with disjoint parts share no unit.

    Parameters
    ----------
    name : str
        Letters, digits, ``_``, ``.`` and ``-``.
    start, end : float
        Fractions of the layer's units, ``0 <= start < end <= 1``; the start is included, the end is not.
    """

    name: str
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no part of a layer."""
        _check_name("layer", self.name)
        if not 0 <= self.start < self.end <= 1:
            raise ValueError(f"layer {self.name} is from {self.start} to {self.end}; it must be 0 <= start < end <= 1")


@dataclass(frozen=True)
class Assignment:
    """How the units of an experiment get their variants.

    Parameters
    ----------
    salt : str
        What makes this experiment's assignment independent of every other's. Letters, digits, ``_``, ``.`` and ``-``;
        another salt is another assignment.
    weights : mapping of str to float
        Variants in order with their designed allocation, each above 0, on any common scale. Another order, or other
        weights, move units between variants.
    share : float
        Fraction of units that are let in, in (0, 1]. It may be raised at any time: who is in stays in, with its
        variant.
    layer : Layer, optional
        Without it every unit may be in the experiment.
    """

    salt: str
    weights: Mapping[str, float]
    share: float = 1.0
    layer: Layer | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be assigned."""
        _check_name("salt", self.salt)
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; it must be above 0 and at most 1")
        _ = self.ends

    @cached_property
    def ends(self) -> dict[str, int]:
        """Where the positions of each variant end; a start is included, an end is not."""
        return _ends(self.weights)


def position(role: str, salt: str, unit: str) -> int:
    """Where does a unit stand among all positions?

    Parameters
    ----------
    role : str
        ``layer``, ``share`` or ``variant``.
    salt : str
        Of the experiment, or the name of the layer; it has no colon.
    unit : str
        The unit's id as text. A number has the digits that the warehouse prints.

    Returns
    -------
    int
        From 0 to ``POSITIONS - 1``.

    Notes
    -----
    The first eight hexadecimal digits of the MD5 digest of ``role:salt:unit`` in UTF-8.

    Examples
    --------
    The same by coreutils: ``printf 'variant:checkout_2026:u17' | md5sum | cut -c1-8``.

    >>> f"{position('variant', 'checkout_2026', 'u17'):08x}"
    'ad2dc33d'
    """
    digest = hashlib.md5(f"{role}:{salt}:{unit}".encode(), usedforsecurity=False)
    return int.from_bytes(digest.digest()[:4], "big")


def assigned_variant(unit: str, assignment: Assignment) -> str | None:
    """Which variant does a unit get?

    Parameters
    ----------
    unit : str
        The unit's id as text.
    assignment : Assignment
        Of the experiment.

    Returns
    -------
    str or None
        None when the unit is not in the experiment.

    Examples
    --------
    >>> half = Assignment("checkout_2026", {"control": 1, "treatment": 1})
    >>> [assigned_variant(unit, half) for unit in ("u17", "u18", "u19")]
    ['treatment', 'treatment', 'control']
    """
    layer = assignment.layer
    if layer and not _place(layer.start) <= position("layer", layer.name, unit) < _place(layer.end):
        return None
    if position("share", assignment.salt, unit) >= _place(assignment.share):
        return None
    place = position("variant", assignment.salt, unit)
    return next(name for name, end in assignment.ends.items() if place < end)


def assignment_sql(assignment: Assignment, table: str, unit: str, dialect: str = "duckdb") -> str:
    """Say the assignment as a statement that a serving side or an analyst can run.

    Parameters
    ----------
    assignment : Assignment
        Of the experiment.
    table, unit : str
        A table and its column with the units' ids.
    dialect : str
        A dialect of sqlglot: ``duckdb``, ``postgres``, ``spark``, ``snowflake``, ``bigquery``, …

    Returns
    -------
    str
        Gives ``unit_id`` and ``variant`` of every unit of the table that is in the experiment.

    Raises
    ------
    ValueError
        If table or column are no plain names.

    Examples
    --------
    >>> half = Assignment("checkout_2026", {"control": 1, "treatment": 1})
    >>> print(assignment_sql(half, "customers", "customer_id").splitlines()[0])
    WITH positions AS (
    """
    from abtest_lib.dialects import translate
    from abtest_lib.queries import render

    sql = render("assigned_variants", table=table, unit=unit, assignment=sql_names(assignment))
    return sql if dialect == "duckdb" else translate(sql, dialect)


def sql_names(assignment: Assignment) -> dict[str, Any]:
    """Name what ``sql/assignment.sql`` writes of an assignment.

    Parameters
    ----------
    assignment : Assignment
        Of the experiment.

    Returns
    -------
    dict
        Positions as eight hexadecimal digits, None for the end of all.

    Examples
    --------
    >>> sql_names(Assignment("checkout_2026", {"control": 1, "treatment": 1}))["variants"]
    [('control', '80000000'), ('treatment', None)]
    """
    layer = assignment.layer
    return {
        "salt": assignment.salt,
        "variants": [(name, _digits(end)) for name, end in assignment.ends.items()],
        "share_end": _digits(_place(assignment.share)),
        "layer": layer and layer.name,
        "layer_start": layer and _digits(_place(layer.start)),
        "layer_end": layer and _digits(_place(layer.end)),
    }


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{what} is {name!r}; it must be letters, digits, _, . and -, at most 100 of them")


def _ends(weights: Mapping[str, float]) -> dict[str, int]:
    """Where each variant's positions end, the last one at the end of all."""
    if len(weights) < 2 or not all(weight > 0 for weight in weights.values()):
        raise ValueError(
            f"weights are {dict(weights)}; there must be two variants at least, each with a weight above 0"
        )
    # Fractions of the decimal numbers that people write: three weights of 0.1 make thirds to the last position.
    exact = {name: Fraction(str(weight)) for name, weight in weights.items()}
    total, reached, ends = sum(exact.values()), Fraction(0), {}
    for name, weight in exact.items():
        reached += weight
        ends[name] = math.floor(reached / total * POSITIONS)
    return ends


def _place(fraction: float) -> int:
    return math.floor(Fraction(str(fraction)) * POSITIONS)


def _digits(place: int) -> str | None:
    """A position as eight hexadecimal digits; None for the end of all, which has nine."""
    return None if place == POSITIONS else f"{place:08x}"
