"""Whether two experiments disturb each other, and whether an effect wears off.

``pre_period`` and ``crossovers`` have the other checks of whether a result may be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.tails import check_counts, tail_pvalue

Counts = tuple[int, int]
FEWEST_OUTCOMES = 5


@dataclass(frozen=True)
class IndependenceTest:
    """Say whether two experiments were assigned independently.

    Parameters
    ----------
    statistic : float
        Pearson's chi-squared.
    df : int
    pvalue : float
        Of "the variant in one experiment says nothing about the variant in the other".
    """

    statistic: float
    df: int
    pvalue: float


@dataclass(frozen=True)
class InteractionTest:
    """Say whether the effect of one experiment differs between the variants of another.

    Parameters
    ----------
    effect : float
        Effect of the one among the other's treatment, minus that among its control; in the metric's unit.
    standard_error : float
    statistic : float
        z.
    pvalue : float
        Two-sided.
    """

    effect: float
    standard_error: float
    statistic: float
    pvalue: float


@dataclass(frozen=True)
class DailyTrend:
    """Say whether an effect changes from day to day.

    Parameters
    ----------
    slope, slope_standard_error : float
        Change of the effect in a day, in the effect's unit.
    statistic : float
        z; its sign is that of the slope.
    pvalue : float
        Two-sided.
    intercept : float
        Effect on the line at day 0.
    """

    slope: float
    slope_standard_error: float
    statistic: float
    pvalue: float
    intercept: float


def assignment_independence_test(table: Sequence[Sequence[int]]) -> IndependenceTest | NotComputed:
    """Test whether two overlapping experiments were assigned independently.

    Parameters
    ----------
    table : sequence of sequence of int
        Units by variant of one experiment (rows) and of the other (columns); at least two of each.

    Returns
    -------
    IndependenceTest or NotComputed
        NotComputed when a variant of either experiment has no units.

    Raises
    ------
    ValueError
        If the table is not a rectangle of at least 2 by 2, or a count is negative or not whole.

    References
    ----------
    .. [1] Pearson (1900), Philosophical Magazine 50(302). doi:10.1080/14786440009463897

    Examples
    --------
    >>> test = assignment_independence_test([[25_110, 24_875], [24_930, 25_085]])
    >>> round(test.statistic, 3), round(test.pvalue, 3)
    (1.521, 0.217)
    """
    rows = [list(row) for row in table]
    if len(rows) < 2 or len(rows[0]) < 2 or len({len(row) for row in rows}) != 1:
        raise ValueError(f"table is {rows}; it must have at least 2 rows of as many columns, at least 2.")
    counts = np.asarray(rows, dtype=float)
    if not np.all((counts >= 0) & np.isfinite(counts) & (counts == np.floor(counts))):
        raise ValueError(f"table is {rows}; counts must be whole numbers, at least 0.")
    in_row, in_column = counts.sum(axis=1), counts.sum(axis=0)
    if not (np.all(in_row > 0) and np.all(in_column > 0)):
        return NotComputed("a variant of one of the experiments has no units")
    expected = np.outer(in_row, in_column) / counts.sum()
    statistic = float((np.square(counts - expected) / expected).sum())
    df = (in_row.size - 1) * (in_column.size - 1)
    return IndependenceTest(statistic, df, float(gammaincc(df / 2, statistic / 2)))


def interaction_test(
    neither: MeanEstimate, only_second: MeanEstimate, only_first: MeanEstimate, both: MeanEstimate
) -> InteractionTest | NotComputed:
    """Test whether the effect of one experiment depends on the variant of another, by Wald's test.

    Parameters
    ----------
    neither, only_second, only_first, both : MeanEstimate
        Of the units that are in the treatment of neither experiment, of one, or of both.

    Returns
    -------
    InteractionTest or NotComputed
        NotComputed when a number is not finite, or nothing varies.

    Raises
    ------
    ValueError
        If a squared error is negative.

    Notes
    -----
    (both - only_first) - (only_second - neither) over the root of the four squared errors' sum.

    References
    ----------
    .. [1] Wald (1943), Transactions of the AMS 54(3). doi:10.1090/S0002-9947-1943-0012401-3

    Examples
    --------
    >>> shares = [MeanEstimate.of_proportion(x, 25_000) for x in (1_250, 1_325, 1_312, 1_295)]
    >>> test = interaction_test(*shares)
    >>> round(test.effect, 5), round(test.pvalue, 3)
    (-0.00368, 0.189)
    """
    cells = (neither, only_second, only_first, both)
    if not all(math.isfinite(cell.mean) and math.isfinite(cell.squared_error) for cell in cells):
        return NotComputed("a mean or its error is not finite")
    if any(cell.squared_error < 0 for cell in cells):
        raise ValueError(f"squared_error is {min(cell.squared_error for cell in cells)}; it must be at least 0.")
    effect = (both.mean - only_first.mean) - (only_second.mean - neither.mean)
    variance = math.fsum(cell.squared_error for cell in cells)
    if variance == 0:
        return NotComputed("no value varies in any of the four groups")
    error = math.sqrt(variance)
    return InteractionTest(effect, error, effect / error, tail_pvalue(effect / error))


def share_interaction_test(
    neither: Counts, only_second: Counts, only_first: Counts, both: Counts
) -> InteractionTest | NotComputed:
    """Test whether the effect of one experiment on a share depends on the variant of another.

    Parameters
    ----------
    neither, only_second, only_first, both : tuple of int
        Units with the outcome, and all units, that are in the treatment of neither experiment, of one, or of both.

    Returns
    -------
    InteractionTest or NotComputed
        ``effect`` is in points: a fraction. NotComputed when fewer than five units with the outcome, or without it,
        would be in the smallest group at the share of all four together.

    Raises
    ------
    ValueError
        If a count is not a whole number between 0 and the group's units.

    Notes
    -----
    As ``interaction_test``, each share with its own variance p (1 - p) / n. Where a group has hardly any outcome its
    variance is taken for nearly nothing: with half an outcome expected in the smallest group, 15 % of the tests
    without an interaction have p < 0.05; with five, 5 % (docs/statistics.md). Hence the refusal. An interaction in
    points is another one than in ratios: where both experiments raise a share by a tenth, there is one in points.

    References
    ----------
    .. [1] Wald (1943), Transactions of the AMS 54(3). doi:10.1090/S0002-9947-1943-0012401-3

    Examples
    --------
    >>> test = share_interaction_test((1_250, 25_000), (1_325, 25_000), (1_312, 25_000), (1_295, 25_000))
    >>> round(test.effect, 5), round(test.pvalue, 3)
    (-0.00368, 0.189)
    """
    groups = {"neither": neither, "only_second": only_second, "only_first": only_first, "both": both}
    for name, (successes, n) in groups.items():
        check_counts(successes, n, f"{name}[0]", f"{name}[1]")
    successes, units = (sum(counts) for counts in zip(*groups.values(), strict=True))
    smallest = min(n for _, n in groups.values())
    if smallest == 0:
        return NotComputed("one of the four groups has no units")
    expected = smallest * min(successes, units - successes) / units
    if expected < FEWEST_OUTCOMES:
        return NotComputed(
            f"with the common share the smallest of the four groups would have {expected:.1f} units with the outcome, "
            f"or without it; it takes {FEWEST_OUTCOMES}"
        )
    return interaction_test(*(MeanEstimate.of_proportion(successes, n) for successes, n in groups.values()))


def daily_trend(
    days: Sequence[float], effects: Sequence[float], standard_errors: Sequence[float]
) -> DailyTrend | NotComputed:
    """Test whether the effect changes with the day, as novelty that wears off or a habit that is learned.

    Parameters
    ----------
    days : sequence of float
        Number of each day, or days since a unit's exposure.
    effects, standard_errors : sequence of float
        Effect of each day's own units, and its error. Effects must be independent: daily, not cumulated.

    Returns
    -------
    DailyTrend or NotComputed
        NotComputed with fewer than three days, days that are all the same, an error of 0, or a number that is not
        finite.

    Raises
    ------
    ValueError
        If the lengths differ or an error is negative.

    Notes
    -----
    Least squares weighted by 1 / error², with the errors taken as known.

    References
    ----------
    .. [1] Cochran (1937), Supplement to JRSS 4(1). doi:10.2307/2984123

    Examples
    --------
    >>> trend = daily_trend([1, 2, 3, 4], [0.030, 0.025, 0.021, 0.014], [0.002, 0.002, 0.002, 0.002])
    >>> round(trend.slope, 5), f"{trend.pvalue:.1g}"
    (-0.0052, '6e-09')
    """
    at, values, errors = (np.asarray(sequence, dtype=float) for sequence in (days, effects, standard_errors))
    if at.ndim != 1 or not at.shape == values.shape == errors.shape:
        raise ValueError(f"days has {at.size} values, effects {values.size} and standard_errors {errors.size}; "
                         f"they must have the same number.")  # fmt: skip
    if np.any(errors < 0):
        raise ValueError(f"standard_errors is {errors.tolist()}; a standard error must be at least 0.")
    if at.size < 3:
        return NotComputed(f"there are effects of {at.size} days; a trend needs at least 3")
    if not np.all(np.isfinite([at, values, errors])):
        return NotComputed("the effect of a day or its error is not finite")
    variances = np.square(errors)
    if np.any(variances < np.finfo(float).tiny):
        return NotComputed("the standard error of a day is zero")
    weights = variances.min() / variances
    centre = float((weights * at).sum() / weights.sum())
    spread = float((weights * np.square(at - centre)).sum())
    if at.min() == at.max() or spread == 0:
        return NotComputed("all effects are of the same day")
    slope = float((weights * (at - centre) * values).sum() / spread)
    error = math.sqrt(variances.min() / spread)
    intercept = float((weights * values).sum() / weights.sum()) - slope * centre
    return DailyTrend(slope, error, slope / error, tail_pvalue(slope / error), intercept)
