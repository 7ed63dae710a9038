"""Strata of units: cells of moments by stratum and variant, and what becomes of strata with too few units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.joint_moments import JointMoments, merge_joint_moments
from abtest_lib.statistics.moments import CoMoments, Moments

Cell = Moments | CoMoments | JointMoments
Pair = tuple[JointMoments, JointMoments]


@dataclass(frozen=True)
class PooledStrata:
    """Hold strata that are all large enough to compare within.

    Parameters
    ----------
    cells : tuple of (control, treatment)
    merged : tuple
        Names of the strata that were merged with others.
    """

    cells: tuple[Pair, ...]
    merged: tuple[Hashable, ...]

    @property
    def shares(self) -> np.ndarray:
        """Each stratum's share of all units of both variants."""
        sizes = np.array([control.n + treatment.n for control, treatment in self.cells], dtype=float)
        return sizes / sizes.sum()

    @property
    def arms(self) -> Pair:
        """All units of the control, and all of the treatment."""
        control, treatment = (merge_joint_moments(cells) for cells in zip(*self.cells, strict=True))
        return control, treatment


def pooled_strata(strata: Mapping[Hashable, tuple[Cell, Cell]], *, min_units: int = 2) -> PooledStrata | NotComputed:
    """Return strata of which each has enough units in both variants, merging those that have not.

    Parameters
    ----------
    strata : mapping of name to (control, treatment)
        Moments of the same columns in every cell; a cell may be empty.
    min_units : int, at least 2
        A stratum with fewer units in either variant is merged.

    Returns
    -------
    PooledStrata or NotComputed
        NotComputed when a variant has fewer than ``min_units`` units in all, or a value was not finite.

    Raises
    ------
    ValueError
        If ``min_units`` is below 2, there are no strata, or the cells have not all the same columns.

    Notes
    -----
    Strata that are too small become one stratum together; where that is still too small, it joins the largest. No unit
    is left out. Only counts decide, never outcomes.

    References
    ----------
    .. [1] Miratrix, Sekhon, Yu (2013), JRSS B 75(2), 369-396. doi:10.1111/j.1467-9868.2012.01048.x

    Examples
    --------
    >>> strata = {"web": (Moments(90, 2.0, 80.0), Moments(85, 2.1, 82.0)),
    ...           "ios": (Moments(40, 3.0, 30.0), Moments(44, 3.3, 42.0)),
    ...           "tv": (Moments(3, 4.0, 2.0), Moments(1, 5.0, 0.0)),
    ...           "car": (Moments(0, 0.0, 0.0), Moments(2, 3.0, 1.0))}
    >>> pooled = pooled_strata(strata)
    >>> [(control.n, treatment.n) for control, treatment in pooled.cells], pooled.merged
    ([(90, 85), (40, 44), (3, 3)], ('tv', 'car'))
    """
    if min_units < 2:
        raise ValueError(f"min_units is {min_units}; a variance needs at least 2 in each variant.")
    cells = {name: (_joint(control), _joint(treatment)) for name, (control, treatment) in strata.items()}
    columns = {len(arm.means) for pair in cells.values() for arm in pair}
    if len(columns) != 1:
        raise ValueError(
            f"strata hold cells of {sorted(columns)} columns; there must be strata, all of as many columns."
        )
    for index, name in enumerate(("control", "treatment")):
        n = sum(pair[index].n for pair in cells.values())
        if n < min_units:
            return NotComputed(f"{name} has {n} unit{'' if n == 1 else 's'}; at least {min_units} are needed")
        if not all(pair[index].finite for pair in cells.values()):
            return NotComputed(f"a value of {name} is not a finite number")
    small = [name for name, pair in cells.items() if min(arm.n for arm in pair) < min_units]
    large = sorted((pair for name, pair in cells.items() if name not in small), key=_units, reverse=True)
    rest = [cells[name] for name in small if _units(cells[name])]
    if rest:
        other = merged_pairs(rest)
        if min(arm.n for arm in other) >= min_units:
            large.append(other)
        else:
            large[0] = merged_pairs([large[0], other])
    merged = tuple(name for name in small if _units(cells[name]))
    return PooledStrata(tuple(large), merged)


def joint_cells(
    strata: Mapping[Hashable, tuple[Cell, Cell]], *, min_units: int = 2
) -> dict[Hashable, Pair] | NotComputed:
    """Return the strata's cells as joint moments, once it is sure that they can be compared.

    Parameters
    ----------
    strata : mapping of name to (control, treatment)
        Moments of the same columns in every cell.
    min_units : int
        That each variant needs in all.

    Returns
    -------
    dict of name to (control, treatment), or NotComputed

    Raises
    ------
    ValueError
        If there are no strata, or the cells have not all the same columns.

    References
    ----------
    .. [1] Miratrix, Sekhon, Yu (2013), JRSS B 75(2), 369-396. doi:10.1111/j.1467-9868.2012.01048.x

    Examples
    --------
    >>> joint_cells({"web": (Moments(3, 2.0, 2.0), Moments(1, 1.0, 0.0))}).reason
    'treatment has 1 unit; at least 2 are needed'
    """
    cells = {name: (_joint(control), _joint(treatment)) for name, (control, treatment) in strata.items()}
    columns = sorted({len(arm.means) for pair in cells.values() for arm in pair})
    if len(columns) != 1:
        raise ValueError(f"strata hold cells of {columns} columns; there must be strata, all of as many columns.")
    for index, name in enumerate(("control", "treatment")):
        n = sum(pair[index].n for pair in cells.values())
        if n < min_units:
            return NotComputed(f"{name} has {n} unit{'' if n == 1 else 's'}; at least {min_units} are needed")
        if not all(pair[index].finite for pair in cells.values()):
            return NotComputed(f"a value of {name} is not a finite number")
    return cells


def merged_pairs(pairs: Sequence[Pair]) -> Pair:
    """Return all units of several strata taken together, by variant.

    Parameters
    ----------
    pairs : sequence of (control, treatment)
        At least one, with units or without.

    Returns
    -------
    tuple of JointMoments
        Control, treatment.

    Raises
    ------
    ValueError
        If the cells have not all the same columns.

    References
    ----------
    .. [1] Chan, Golub, LeVeque (1983), The American Statistician 37(3). doi:10.1080/00031305.1983.10483115

    Examples
    --------
    >>> web = (JointMoments.from_values([1.0, 2.0]), JointMoments.from_values([4.0]))
    >>> ios = (JointMoments.from_values([3.0]), JointMoments.from_values([]))
    >>> [arm.n for arm in merged_pairs([web, ios])]
    [3, 1]
    """
    columns = len(pairs[0][0].means)
    empty = JointMoments(0, (0.0,) * columns, ((0.0,) * columns,) * columns)
    control, treatment = (
        merge_joint_moments(cells) if any(cell.n for cell in cells) else empty for cells in zip(*pairs, strict=True)
    )
    return control, treatment


def _joint(cell: Cell) -> JointMoments:
    return cell if isinstance(cell, JointMoments) else JointMoments.of_moments(cell)


def _units(pair: Pair) -> int:
    return pair[0].n + pair[1].n
