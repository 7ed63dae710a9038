"""Which segment value, day or stage explains units that did not fall into variants as designed.

Asked only after the alarm of ``sample_ratio_test``; before it, looking at every cell is looking for an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.exact import fisher_pvalue
from abtest_lib.statistics.multiplicity import holm
from abtest_lib.statistics.sample_ratio import FEW_UNITS, sample_ratio_pvalue

Counts = Mapping[str, int]
# All subsets of so many suspects are tried; more at a time say that the cause is not a matter of cells.
MOST_SUSPECTS = 12


@dataclass(frozen=True)
class CellSuspect:
    """Name a cell whose split departs from the design and from that of the other cells.

    Parameters
    ----------
    dimension, cell : str
    observed : mapping of str to int
        Units by variant.
    expected : mapping of str to float
        As many units, split as designed.
    share_of_units : float
        Share of the dimension's units that the cell holds.
    pvalue_design : float
        Of "the cell is split as designed", not adjusted.
    pvalue_rest : float
        Of "the cell is split like the other cells", not adjusted.
    pvalue_adjusted : float
        The larger of the two, adjusted over everything that was looked at.
    pvalue_without : float
        Of "the other cells together are split as designed".
    healthy_without : bool
        Would no alarm have been raised without this cell?
    """

    dimension: str
    cell: str
    observed: Mapping[str, int]
    expected: Mapping[str, float]
    share_of_units: float
    pvalue_design: float
    pvalue_rest: float
    pvalue_adjusted: float
    pvalue_without: float
    healthy_without: bool


@dataclass(frozen=True)
class CellExplanation:
    """Name the fewest suspects of a dimension without which no alarm would have been raised.

    Parameters
    ----------
    dimension : str
    cells : tuple of str
    share_of_units : float
        That they hold together.
    pvalue_without : float
        Of "the other cells together are split as designed".
    """

    dimension: str
    cells: tuple[str, ...]
    share_of_units: float
    pvalue_without: float


@dataclass(frozen=True)
class StageTest:
    """Say whether one stage on the way from assignment to analysis changed the split.

    Parameters
    ----------
    stage : str
    observed : mapping of str to int
        Units by variant that reached the stage.
    expected : mapping of str to float
        The first stage's units split as designed; at later stages each variant's units of the stage before, kept at
        the same rate in all variants.
    pvalue : float or NotComputed
        NotComputed where no unit was lost, or a variant had none to lose.
    pvalue_adjusted : float or NotComputed
        Over everything that was looked at.
    """

    stage: str
    observed: Mapping[str, int]
    expected: Mapping[str, float]
    pvalue: float | NotComputed
    pvalue_adjusted: float | NotComputed


@dataclass(frozen=True)
class SampleRatioDrilldown:
    """Say where a sample-ratio mismatch comes from, as far as the counts tell.

    Parameters
    ----------
    suspects : tuple of CellSuspect
        Smallest adjusted p-value first. Empty where the mismatch is spread evenly.
    explanations : tuple of CellExplanation
        At most one a dimension, fewest units first.
    stages : tuple of StageTest
        In the order given.
    broken_stage : str or None
        The first stage at which the ratio breaks.
    not_compared : mapping of str to NotComputed
        Dimensions that could not be looked at.
    tests : int
        Number of cells and stages over which p-values are adjusted.
    """

    suspects: tuple[CellSuspect, ...]
    explanations: tuple[CellExplanation, ...]
    stages: tuple[StageTest, ...]
    broken_stage: str | None
    not_compared: Mapping[str, NotComputed]
    tests: int


def sample_ratio_drilldown(
    cells: Mapping[str, Mapping[str, Counts]],
    weights: Mapping[str, float],
    *,
    stages: Mapping[str, Counts] | None = None,
    alpha: float = 0.05,
    alarm_below: float = 0.01,
) -> SampleRatioDrilldown:
    """Find the cells and the stage that explain why units did not fall into variants as designed.

    Parameters
    ----------
    cells : mapping of str to mapping of str to mapping of str to int
        By dimension (a segment's attribute, the day of exposure), cell and variant: distinct units.
    weights : mapping of str to float
        Designed allocation, each > 0, on any common scale.
    stages : mapping of str to mapping of str to int, optional
        By stage in their order (assigned, exposed, joined, matured) and variant: units that reached it, each among
        those of the stage before.
    alpha : float, in (0, 1)
        Chance that anything is named although the mismatch is spread evenly.
    alarm_below : float, in (0, 1)
        The p-value below which the test that raised the alarm does so; decides what "healthy without" means.

    Returns
    -------
    SampleRatioDrilldown

    Raises
    ------
    ValueError
        If variants differ from those of ``weights``, a weight or count is not what it must be, a stage has more units
        than the one before, or ``alpha`` or ``alarm_below`` is not in (0, 1).

    Notes
    -----
    A cell is a suspect when it departs from the design *and* from the other cells of its dimension: the larger of the
    two p-values counts (an intersection-union test), adjusted by Holm over all cells and stages. The first alone
    would accuse every cell of an even mismatch; the second alone would accuse the healthy one of two cells. The
    alarm has looked at totals only, and given the totals the second test is as good as before it. Stages after the
    first are tests of independence of variant and being kept; their p-values do not know of the alarm, so that a
    false alarm may be blamed on a stage.

    Pearson's chi-squared; with an expectation below five the exact multinomial test, Fisher's for the second (with
    more than two variants the smallest p-value of a variant against the others, times the number of variants).

    References
    ----------
    .. [1] Fabijan et al. (2019), KDD. doi:10.1145/3292500.3330722
    .. [2] Berger (1982), Technometrics 24(4). doi:10.2307/1267823
    .. [3] Holm (1979), Scandinavian Journal of Statistics 6(2), 65-70. https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> browsers = {"chrome": {"control": 20_050, "treatment": 19_930},
    ...             "safari": {"control": 9_980, "treatment": 8_960},
    ...             "firefox": {"control": 4_010, "treatment": 4_070}}
    >>> drilldown = sample_ratio_drilldown({"browser": browsers}, {"control": 1, "treatment": 1})
    >>> [(suspect.cell, suspect.healthy_without) for suspect in drilldown.suspects]
    [('safari', True)]
    >>> drilldown.explanations[0].cells
    ('safari',)
    """
    for level, name in ((alpha, "alpha"), (alarm_below, "alarm_below")):
        if not 0 < level < 1:
            raise ValueError(f"{name} is {level}; it must be between 0 and 1.")
    shares = _shares(weights)
    tables = {dimension: _Table.of(dimension, by_cell, weights, shares) for dimension, by_cell in cells.items()}
    compared = {name: table for name, table in tables.items() if isinstance(table, _Table)}
    tested = _stage_tests(stages or {}, weights, shares)
    raw = [value for table in compared.values() for value in np.maximum(table.design, table.rest).tolist()]
    raw += [value for *_, value in tested if not isinstance(value, NotComputed)]
    adjusted = iter(holm(raw))
    suspects: list[CellSuspect] = []
    explanations: list[CellExplanation] = []
    for dimension, table in compared.items():
        own = np.array([next(adjusted) for _ in table.names])
        suspected = sorted(np.flatnonzero(own < alpha).tolist(), key=lambda at: (own[at], -table.statistics[at]))
        suspects += [table.suspect(dimension, at, own[at], shares, alarm_below) for at in suspected]
        explanation = table.explanation(dimension, suspected[:MOST_SUSPECTS], shares, alarm_below)
        explanations += [] if explanation is None else [explanation]
    stage_results = tuple(
        StageTest(stage, observed, expected, value, value if isinstance(value, NotComputed) else next(adjusted))
        for stage, observed, expected, value in tested
    )
    return SampleRatioDrilldown(
        suspects=tuple(sorted(suspects, key=lambda suspect: suspect.pvalue_adjusted)),
        explanations=tuple(sorted(explanations, key=lambda explanation: explanation.share_of_units)),
        stages=stage_results,
        broken_stage=next(
            (
                test.stage
                for test in stage_results
                if not isinstance(test.pvalue_adjusted, NotComputed) and test.pvalue_adjusted < alpha
            ),
            None,
        ),
        not_compared={name: table for name, table in tables.items() if isinstance(table, NotComputed)},
        tests=len(raw),
    )


@dataclass(frozen=True)
class _Table:
    """The cells of one dimension that have units, and the tests of all of them at once."""

    names: tuple[str, ...]
    variants: tuple[str, ...]
    counts: np.ndarray  # cells by variants
    statistics: np.ndarray  # of each cell against the design
    design: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(
        cls, dimension: str, by_cell: Mapping[str, Counts], weights: Mapping[str, float], shares: np.ndarray
    ) -> _Table | NotComputed:
        every = {name: _row(f"cells[{dimension!r}][{name!r}]", observed, weights) for name, observed in by_cell.items()}
        names = tuple(name for name, row in every.items() if row.sum() > 0)
        if len(names) < 2:
            return NotComputed(f"{dimension} has {len(names)} cell{'s' * (len(names) != 1)} with units; it takes 2")
        counts = np.array([every[name] for name in names])
        totals = counts.sum(axis=0)
        if not np.all(totals > 0):
            empty = list(weights)[int(np.argmin(totals))]
            return NotComputed(f"{empty} has no units in any cell of {dimension}, so that cells cannot be told apart")
        statistics, design = _against_design(counts, shares)
        return cls(names, tuple(weights), counts, statistics, design, _against_rest(counts))

    def suspect(self, dimension: str, at: int, adjusted: float, shares: np.ndarray, alarm_below: float) -> CellSuspect:
        units = self.counts[at].sum()
        without = float(_chi_squared(self.counts.sum(axis=0) - self.counts[at], shares)[1])
        return CellSuspect(
            dimension=dimension,
            cell=self.names[at],
            observed={name: int(count) for name, count in zip(self.variants, self.counts[at], strict=True)},
            expected=dict(zip(self.variants, (units * shares).tolist(), strict=True)),
            share_of_units=float(units / self.counts.sum()),
            pvalue_design=float(self.design[at]),
            pvalue_rest=float(self.rest[at]),
            pvalue_adjusted=float(adjusted),
            pvalue_without=without,
            healthy_without=without >= alarm_below,
        )

    def explanation(
        self, dimension: str, suspected: Sequence[int], shares: np.ndarray, alarm_below: float
    ) -> CellExplanation | None:
        """Try every subset of the suspects; of the smallest that help take the one that leaves the best rest."""
        if not suspected:
            return None
        chosen = (np.arange(1, 2 ** len(suspected))[:, None] >> np.arange(len(suspected))) & 1
        removed = chosen @ self.counts[list(suspected)]
        left = self.counts.sum(axis=0) - removed
        some = left.sum(axis=-1) > 0
        _, without = _chi_squared(np.where(some[:, None], left, 1.0), shares)
        helps = some & (without >= alarm_below)
        if not helps.any():
            return None
        sizes = np.where(helps, chosen.sum(axis=1), len(suspected) + 1)
        best = int(np.argmax(np.where(sizes == sizes.min(), without, -1.0)))
        return CellExplanation(
            dimension=dimension,
            cells=tuple(self.names[at] for at, taken in zip(suspected, chosen[best], strict=True) if taken),
            share_of_units=float(removed[best].sum() / self.counts.sum()),
            pvalue_without=float(without[best]),
        )


def _shares(weights: Mapping[str, float]) -> np.ndarray:
    if len(weights) < 2:
        raise ValueError(f"weights has {len(weights)} variants; a ratio needs at least 2.")
    for variant, weight in weights.items():
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"weights[{variant!r}] is {weight}; it must be a positive number.")
    scale = math.fsum(weights.values())
    return np.array([weight / scale for weight in weights.values()])


def _row(name: str, observed: Counts, weights: Mapping[str, float]) -> np.ndarray:
    if set(observed) != set(weights):
        raise ValueError(f"{name} has {sorted(observed)} and weights {sorted(weights)}; they must have the same keys.")
    row = np.array([observed[variant] for variant in weights], dtype=float)
    if not np.all((row >= 0) & np.isfinite(row) & (row == np.floor(row))):
        raise ValueError(f"{name} is {dict(observed)}; counts must be whole numbers of units, at least 0.")
    return row


def _chi_squared(counts: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    expected = counts.sum(axis=-1, keepdims=True) * shares
    statistic = (np.square(counts - expected) / expected).sum(axis=-1)
    return statistic, gammaincc((shares.size - 1) / 2, statistic / 2)


def _against_design(counts: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    statistics, pvalues = _chi_squared(counts, shares)
    for at in np.flatnonzero(counts.sum(axis=1) * shares.min() < FEW_UNITS):
        pvalues[at] = sample_ratio_pvalue(dict(enumerate(counts[at].tolist())), dict(enumerate(shares.tolist())))
    return statistics, pvalues


def _against_rest(counts: np.ndarray) -> np.ndarray:
    return _independence(counts, counts.sum(axis=0) - counts)


def _independence(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """P-values of "each row is split over the variants like the row of others that belongs to it"."""
    totals = rows + others
    units, rest = rows.sum(axis=-1, keepdims=True), others.sum(axis=-1, keepdims=True)
    expected = units * totals / (units + rest)
    expected_rest = totals - expected
    statistic = (np.square(rows - expected) * (1 / expected + 1 / expected_rest)).sum(axis=-1)
    pvalues = gammaincc((rows.shape[-1] - 1) / 2, statistic / 2)
    for at in np.flatnonzero(np.minimum(expected, expected_rest).min(axis=-1) < FEW_UNITS):
        row, other = rows[at].astype(int).tolist(), others[at].astype(int).tolist()
        singly = [fisher_pvalue(one, sum(row), rest, sum(other)) for one, rest in zip(row, other, strict=True)]
        pvalues[at] = singly[0] if len(singly) == 2 else min(1.0, len(singly) * min(singly))
    return pvalues


def _stage_tests(
    stages: Mapping[str, Counts], weights: Mapping[str, float], shares: np.ndarray
) -> list[tuple[str, Counts, Mapping[str, float], float | NotComputed]]:
    tested = []
    before: tuple[str, np.ndarray] | None = None
    for stage, observed in stages.items():
        row = _row(f"stages[{stage!r}]", observed, weights)
        pvalue: float | NotComputed
        if before is None:
            expected = row.sum() * shares
            pvalue = float(_against_design(row[None], shares)[1][0]) if row.sum() else NotComputed("there are no units")
        else:
            previous, came = before
            if np.any(row > came):
                raise ValueError(f"stages[{stage!r}] is {dict(observed)}; no variant can have more units than in "
                                 f"stages[{previous!r}].")  # fmt: skip
            expected = came * (row.sum() / came.sum()) if came.sum() else came
            pvalue = _stage_pvalue(row, came, list(weights))
        tested.append((stage, dict(observed), dict(zip(weights, expected.tolist(), strict=True)), pvalue))
        before = stage, row
    return tested


def _stage_pvalue(kept: np.ndarray, came: np.ndarray, variants: Sequence[str]) -> float | NotComputed:
    if not np.all(came > 0):
        return NotComputed(f"{variants[int(np.argmin(came))]} had no units at the stage before")
    if kept.sum() in (0, came.sum()):
        return NotComputed(f"{'every' if kept.sum() == 0 else 'no'} unit was lost at this stage")
    return float(_independence(kept[None], (came - kept)[None])[0])
