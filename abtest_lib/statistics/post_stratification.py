"""Post-stratification: compare variants within strata, and put the strata together by their shares of all units.

A stratum is what was known of a unit before its exposure: country, platform, new or returning. By chance a variant has
some more units of one stratum; post-stratification takes that chance out, as a covariate does. With covariates beside
the strata it does both.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from abtest_lib.statistics.comparison import Comparison
from abtest_lib.statistics.covariates import variance_removed
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.inference import compare_estimates
from abtest_lib.statistics.joint_moments import JointMoments
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.ratios import linearised_columns
from abtest_lib.statistics.slopes import Slopes, residual_moments, with_slope_error, within_slopes
from abtest_lib.statistics.strata import Cell, Pair, PooledStrata, pooled_strata
from abtest_lib.statistics.tails import Alternative, check_choices, check_counts

Counts = tuple[int, int, int, int]


@dataclass(frozen=True)
class PostStratifiedComparison:
    """Say how much a treatment moved a metric, compared within strata, and what the strata explain.

    Parameters
    ----------
    comparison : Comparison
        With strata, and with covariates where there are some.
    unadjusted : Comparison
        Without both.
    variance_removed : float
        Share of the squared standard error of the unadjusted effect that strata and covariates took away; slightly
        below 0 where they did harm.
    strata : int
        How many were compared within.
    merged : tuple
        Strata that were too small to compare within, and were merged.
    slopes : Slopes
        Of the covariates, the same in all strata; without values where there are none.
    """

    comparison: Comparison
    unadjusted: Comparison
    variance_removed: float
    strata: int
    merged: tuple[Hashable, ...]
    slopes: Slopes


def post_stratified_estimates(
    strata: PooledStrata, *, slopes: Sequence[float] = ()
) -> tuple[MeanEstimate, MeanEstimate]:
    """Return what each variant's mean would be with the strata's shares, and the covariates, of all units.

    Parameters
    ----------
    strata : PooledStrata
        Columns: outcome, covariates.
    slopes : sequence of float, one a covariate

    Returns
    -------
    tuple of MeanEstimate
        Control, treatment. For whatever works on estimates: other intervals, margins, posteriors.

    Raises
    ------
    ValueError
        If there are not as many slopes as covariates, or a cell has fewer than two units.

    Notes
    -----
    Mean: the sum over strata of share times mean in the stratum (covariates at the stratum's mean over both variants).
    Its variance: the sum of share² s² / n, s² within stratum and variant; Satterthwaite's degrees of freedom.

    References
    ----------
    .. [1] Miratrix, Sekhon, Yu (2013), JRSS B 75(2), 369-396. doi:10.1111/j.1467-9868.2012.01048.x

    Examples
    --------
    >>> strata = pooled_strata({"web": (Moments(9, 2.0, 8.0), Moments(11, 3.0, 10.0)),
    ...                         "ios": (Moments(6, 6.0, 5.0), Moments(4, 7.0, 3.0))})
    >>> [round(arm.mean, 3) for arm in post_stratified_estimates(strata)]
    [3.333, 4.333]
    """
    at = [[_level(pair, column) for column in range(1, len(pair[0].means))] for pair in strata.cells]
    shares = strata.shares
    control, treatment = (
        _weighted(
            [residual_moments(pair[index], slopes, level) for pair, level in zip(strata.cells, at, strict=True)], shares
        )
        for index in (0, 1)
    )
    return control, treatment


def compare_post_stratified_means(
    strata: Mapping[Hashable, tuple[Cell, Cell]],
    *,
    min_units: int = 2,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> PostStratifiedComparison | NotComputed:
    """Compare means within strata, with or without covariates.

    Parameters
    ----------
    strata : mapping of name to (control, treatment)
        Moments of the metric, or its joint moments with covariates. Strata and covariates must be fixed before the
        unit's exposure.
    min_units : int, at least 2
        See ``pooled_strata``.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's mean is higher.

    Returns
    -------
    PostStratifiedComparison or NotComputed
        NotComputed as for ``pooled_strata`` and for ``covariates.compare_means_with_covariates``, and when nothing
        varies within the strata.

    Raises
    ------
    ValueError
        If ``min_units``, ``alpha`` or ``alternative`` is not what it must be, or the cells have not the same columns.

    Notes
    -----
    Effect: the sum over strata of share times the effect within the stratum, the share that of all units of both
    variants. Variance: the sum of share² (s²_t / n_t + s²_c / n_c), given how many units each stratum has in each
    variant; so the shares are those of the units at hand, taken as they are. Covariates have one slope each for all
    strata and variants. Test, intervals and Fieller's relative interval as for means; the relative effect is over the
    control's post-stratified mean.

    References
    ----------
    .. [1] Miratrix, Sekhon, Yu (2013), JRSS B 75(2), 369-396. doi:10.1111/j.1467-9868.2012.01048.x
    .. [2] Satterthwaite (1946), Biometrics Bulletin 2(6). doi:10.2307/3002019

    Examples
    --------
    >>> result = compare_post_stratified_means({
    ...     "new": (Moments(700, 4.0, 2_900.0), Moments(640, 4.3, 2_700.0)),
    ...     "loyal": (Moments(300, 20.0, 6_100.0), Moments(360, 20.4, 7_900.0))})
    >>> round(result.comparison.effect, 3), round(result.unadjusted.effect, 3), round(result.variance_removed, 3)
    (0.333, 1.296, 0.852)
    """
    check_choices(alpha, alternative)
    pooled = pooled_strata(strata, min_units=min_units)
    if isinstance(pooled, NotComputed):
        return pooled
    return _compare(pooled, pooled.arms, "post-stratified Welch t", alpha, alternative)


def compare_post_stratified_proportions(
    strata: Mapping[Hashable, Counts],
    *,
    min_units: int = 2,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> PostStratifiedComparison | NotComputed:
    """Compare the share of units that succeed within strata.

    Parameters
    ----------
    strata : mapping of name to (successes_control, n_control, successes_treatment, n_treatment)
    min_units : int, at least 2
        See ``pooled_strata``.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    PostStratifiedComparison or NotComputed
        As for ``compare_post_stratified_means``, on values 0 and 1.

    Raises
    ------
    ValueError
        If counts are not those of units and successes among them, or another argument is not what it must be.

    Notes
    -----
    A difference of shares over all units. ``stratified.mantel_haenszel_difference`` has weights of its own, which suit
    one effect common to all strata, and serves many small strata and rare events better.

    References
    ----------
    .. [1] Miratrix, Sekhon, Yu (2013), JRSS B 75(2), 369-396. doi:10.1111/j.1467-9868.2012.01048.x

    Examples
    --------
    >>> result = compare_post_stratified_proportions({"new": (155, 5_000, 190, 5_000),
    ...                                               "loyal": (301, 2_000, 295, 1_800)})
    >>> round(result.comparison.effect, 5), round(result.comparison.pvalue, 4)
    (0.00876, 0.0369)
    """
    cells = {}
    for name, stratum in strata.items():
        if len(stratum) != 4:
            raise ValueError(f"strata[{name!r}] is {stratum}; it must hold four counts.")
        check_counts(*stratum[:2], f"strata[{name!r}] successes_control", "n_control")
        check_counts(*stratum[2:], f"strata[{name!r}] successes_treatment", "n_treatment")
        cells[name] = (Moments.from_counts(*stratum[:2]), Moments.from_counts(*stratum[2:]))
    return compare_post_stratified_means(cells, min_units=min_units, alpha=alpha, alternative=alternative)


def compare_post_stratified_ratios(
    strata: Mapping[Hashable, tuple[CoMoments | JointMoments, CoMoments | JointMoments]],
    *,
    min_units: int = 2,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> PostStratifiedComparison | NotComputed:
    """Compare a ratio metric within strata, clustered on the unit, with or without covariates.

    Parameters
    ----------
    strata : mapping of name to (control, treatment)
        Co-moments of numerator (outcome) and denominator (covariate), or joint moments of numerator, denominator and
        covariates.
    min_units : int, at least 2
        See ``pooled_strata``.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    PostStratifiedComparison or NotComputed
        As for ``compare_post_stratified_means``, and NotComputed when a denominator is zero in total.

    Raises
    ------
    ValueError
        As for ``compare_post_stratified_means``, and if there are fewer than two columns.

    Notes
    -----
    A variant's ratio is its post-stratified numerator over its post-stratified denominator, not a mean of the strata's
    ratios: a stratum without any denominator takes part. It is made linear (``ratios.linearised_columns``) around that
    ratio, and from there on it is a mean.

    References
    ----------
    .. [1] Miratrix, Sekhon, Yu (2013), JRSS B 75(2), 369-396. doi:10.1111/j.1467-9868.2012.01048.x
    .. [2] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> cells = [CoMoments.from_values(*each) for each in (([1, 0, 3, 2], [2, 1, 5, 2]), ([2, 1, 4, 2], [2, 2, 5, 3]),
    ...                                                    ([3, 5, 3], [4, 5, 3]), ([2, 5, 5], [3, 5, 4]))]
    >>> result = compare_post_stratified_ratios({"web": (cells[0], cells[1]), "ios": (cells[2], cells[3])})
    >>> round(result.comparison.effect, 3), round(result.unadjusted.effect, 3)
    (0.102, 0.102)
    """
    check_choices(alpha, alternative)
    pooled = pooled_strata(strata, min_units=min_units)
    if isinstance(pooled, NotComputed):
        return pooled
    linear, plain = [], []
    for index, name in enumerate(("control", "treatment")):
        arm = [pair[index] for pair in pooled.cells]
        whole = linearised_columns(pooled.arms[index])
        numerator, denominator = (
            math.fsum(share * cell.means[column] for share, cell in zip(pooled.shares, arm, strict=True))
            for column in (0, 1)
        )
        if isinstance(whole, NotComputed) or denominator == 0:
            return NotComputed(f"of {name}: the denominator is zero in total")
        options = {"ratio": numerator / denominator, "denominator": denominator}
        linear.append([linearised_columns(cell, **options) for cell in arm])
        plain.append(whole)
    cells = PooledStrata(tuple(zip(*linear, strict=True)), pooled.merged)
    return _compare(
        cells, tuple(plain), "post-stratified delta method clustered on the unit, Welch t", alpha, alternative
    )


def _compare(
    strata: PooledStrata, plain: Pair, method: str, alpha: float, alternative: Alternative
) -> PostStratifiedComparison | NotComputed:
    options = {"alpha": alpha, "alternative": alternative}
    unadjusted = compare_estimates(
        *[MeanEstimate.of_mean(Moments(arm.n, arm.means[0], arm.scatter[0][0])) for arm in plain], **options
    )
    if isinstance(unadjusted, NotComputed):
        return unadjusted
    slopes = within_slopes([arm for pair in strata.cells for arm in pair])
    crowd = slopes.too_many(sum(pair[0].n + pair[1].n for pair in strata.cells))
    if crowd:
        return crowd
    arms = post_stratified_estimates(strata, slopes=slopes.values)
    if arms[0].squared_error + arms[1].squared_error == 0:
        return slopes.nothing_left if slopes.values else NotComputed("no value varies within the strata")
    result = compare_estimates(*_with_slope_error(arms, strata, slopes), **options)
    if isinstance(result, NotComputed):
        return result
    words = f"{'covariate-adjusted, ' if slopes.values else ''}{method}; Fieller relative interval"
    return PostStratifiedComparison(
        comparison=replace(result, method=words),
        unadjusted=unadjusted,
        variance_removed=variance_removed(result, unadjusted),
        strata=len(strata.cells),
        merged=strata.merged,
        slopes=slopes,
    )


def _with_slope_error(
    arms: tuple[MeanEstimate, MeanEstimate], strata: PooledStrata, slopes: Slopes
) -> tuple[MeanEstimate, MeanEstimate]:
    cells = [arm for pair in strata.cells for arm in pair]
    apart = [
        math.fsum(
            share * (treatment.means[column] - control.means[column])
            for share, (control, treatment) in zip(strata.shares, strata.cells, strict=True)
        )
        for column in range(1, len(cells[0].means))
    ]
    share = sum(treatment.n for _, treatment in strata.cells) / sum(cell.n for cell in cells)
    return with_slope_error(arms, cells, slopes, apart, share)


def _level(pair: Pair, column: int) -> float:
    control, treatment = pair
    share = treatment.n / (control.n + treatment.n)
    return control.means[column] + share * (treatment.means[column] - control.means[column])


def _weighted(cells: Sequence[Moments], shares: np.ndarray) -> MeanEstimate:
    mean = math.fsum(share * cell.mean for share, cell in zip(shares, cells, strict=True))
    parts = [share**2 * cell.variance / cell.n for share, cell in zip(shares, cells, strict=True)]
    total = math.fsum(parts)
    if total == 0:
        return MeanEstimate(mean, 0.0, sum(cell.n - 1 for cell in cells))
    df = 1 / math.fsum((part / total) ** 2 / (cell.n - 1) for part, cell in zip(parts, cells, strict=True))
    return MeanEstimate(mean, total, df)
