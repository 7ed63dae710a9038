"""How many units were seen in two variants, and whether the effect hangs on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import Moments, merge
from abtest_lib.statistics.tails import Interval, check_choices, critical_value, tail_pvalue


@dataclass(frozen=True)
class CrossoverShares:
    """Say how many units were seen in more than one variant.

    Parameters
    ----------
    crossovers : int
    share : float
        Of all units.
    share_by_variant : mapping of str to float or NotComputed
        By the variant of a unit's first exposure; NotComputed for a variant without units.
    """

    crossovers: int
    share: float
    share_by_variant: Mapping[str, float | NotComputed]


@dataclass(frozen=True)
class CrossoverTest:
    """Say whether an effect changes when units that were seen in two variants are left out.

    Parameters
    ----------
    effect_all : float
        Every unit counts for the variant of its first exposure.
    effect_without : float
        Without crossovers.
    difference : float
        ``effect_without - effect_all``.
    standard_error : float
        Of the difference; it counts that most units are in both estimates.
    interval : tuple of float
        Of the difference.
    df, statistic, pvalue : float
        Welch's t of "both estimate the same effect", two-sided.
    shift : float
        The difference in standard errors of ``effect_all``: what leaving out does to a reader's interval.
    disagrees : bool
        Is the p-value below alpha?
    """

    effect_all: float
    effect_without: float
    difference: float
    standard_error: float
    interval: Interval
    df: float
    statistic: float
    pvalue: float
    shift: float
    disagrees: bool


def crossover_shares(units: Mapping[str, int], crossovers: Mapping[str, int]) -> CrossoverShares | NotComputed:
    """Return the share of units that were seen in more than one variant.

    Parameters
    ----------
    units : mapping of str to int
        All exposed units, by the variant of the first exposure.
    crossovers : mapping of str to int, same keys
        Those of them that were seen in another variant later.

    Returns
    -------
    CrossoverShares or NotComputed
        NotComputed when there are no units.

    Raises
    ------
    ValueError
        If the keys differ, or a count is not a whole number between 0 and the variant's units.

    References
    ----------
    .. [1] Kohavi, Tang, Xu (2020), Trustworthy Online Controlled Experiments. doi:10.1017/9781108653985

    Examples
    --------
    >>> found = crossover_shares({"control": 5_000, "treatment": 4_000}, {"control": 10, "treatment": 80})
    >>> found.crossovers, found.share, found.share_by_variant
    (90, 0.01, {'control': 0.002, 'treatment': 0.02})
    """
    if set(units) != set(crossovers):
        raise ValueError(
            f"units has {sorted(units)} and crossovers {sorted(crossovers)}; they must have the same keys."
        )
    for variant, count in crossovers.items():
        n = units[variant]
        if not (n >= 0 and n % 1 == 0):
            raise ValueError(f"units[{variant!r}] is {n}; it must be a whole number of units, at least 0.")
        if not (0 <= count <= n and count % 1 == 0):
            raise ValueError(
                f"crossovers[{variant!r}] is {count}; it must be a whole number between 0 and units[{variant!r}] ({n})."
            )
    total, crossed = sum(units.values()), sum(crossovers.values())
    if total == 0:
        return NotComputed("there are no units")
    return CrossoverShares(
        crossovers=int(crossed),
        share=crossed / total,
        share_by_variant={
            variant: crossovers[variant] / n if n else NotComputed(f"{variant} has no units")
            for variant, n in units.items()
        },
    )


def crossover_test(
    control: Moments,
    control_crossovers: Moments,
    treatment: Moments,
    treatment_crossovers: Moments,
    *,
    alpha: float = 0.05,
) -> CrossoverTest | NotComputed:
    """Test whether an effect changes when units that were seen in two variants are left out.

    Parameters
    ----------
    control, control_crossovers : Moments
        Of units of the control that were seen there only, and of those that were seen in another variant later; the
        second may be empty.
    treatment, treatment_crossovers : Moments
        The same of the treatment.
    alpha : float, in (0, 1)

    Returns
    -------
    CrossoverTest or NotComputed
        NotComputed without crossovers, with one alone in a variant (its spread is unknown), with fewer than two other
        units in a variant, when a value is not finite, or nothing varies.

    Raises
    ------
    ValueError
        If ``alpha`` is not in (0, 1).

    Notes
    -----
    In a variant with n units, of which x crossed over, leaving them out moves the mean by (x / n) (mean of the others -
    mean of the crossovers), with variance (x / n)² (s² / (n - x) + s_x² / x). That is the variance of one mean plus
    that of the other less twice their covariance s² / n; to compare the two effects as if they were of different
    units would hide any disagreement. Degrees of freedom by Welch and Satterthwaite over the four groups.

    Leaving crossovers out is itself no remedy where crossing over depends on the variant: a disagreement says that the
    effect hangs on how they are counted, not which of the two is right.

    References
    ----------
    .. [1] Hausman (1978), Econometrica 46(6). doi:10.2307/1913827
    .. [2] Welch (1947), Biometrika 34(1/2). doi:10.1093/biomet/34.1-2.28

    Examples
    --------
    >>> found = crossover_test(Moments(900, 10.0, 8_100.0), Moments(100, 10.1, 950.0),
    ...                        Moments(900, 10.4, 8_000.0), Moments(100, 12.4, 1_000.0))
    >>> round(found.effect_all, 3), round(found.effect_without, 3), found.disagrees
    (0.59, 0.4, True)
    """
    check_choices(alpha, "two-sided")
    pairs = {"control": (control, control_crossovers), "treatment": (treatment, treatment_crossovers)}
    refusal = _refusal(pairs)
    if refusal:
        return refusal
    shifts, parts, alls = {}, [], {}
    for name, (others, crossed) in pairs.items():
        alls[name] = merge([others, crossed])
        share = crossed.n / alls[name].n
        shifts[name] = share * (others.mean - crossed.mean)
        if crossed.n:
            parts += [(share**2 * group.variance / group.n, group.n - 1) for group in (others, crossed)]
    difference = shifts["treatment"] - shifts["control"]
    variance = math.fsum(part for part, _ in parts)
    if variance == 0:
        return NotComputed("no value varies in any variant that has crossovers")
    error = math.sqrt(variance)
    df = 1 / math.fsum((part / variance) ** 2 / df for part, df in parts)
    half = critical_value(alpha, df=df) * error
    pvalue = tail_pvalue(difference / error, df=df)
    error_all = math.sqrt(math.fsum(moments.variance / moments.n for moments in alls.values()))
    return CrossoverTest(
        effect_all=alls["treatment"].mean - alls["control"].mean,
        effect_without=treatment.mean - control.mean,
        difference=difference,
        standard_error=error,
        interval=(difference - half, difference + half),
        df=df,
        statistic=difference / error,
        pvalue=pvalue,
        shift=difference / error_all,
        disagrees=pvalue < alpha,
    )


def _refusal(pairs: Mapping[str, tuple[Moments, Moments]]) -> NotComputed | None:
    if all(crossed.n == 0 for _, crossed in pairs.values()):
        return NotComputed("no unit was seen in two variants")
    for name, (others, crossed) in pairs.items():
        if others.n < 2:
            return NotComputed(f"fewer than 2 units of {name} were seen in one variant only")
        if crossed.n == 1:
            return NotComputed(f"{name} has one crossover, whose spread is unknown")
        if not all(math.isfinite(each) for group in (others, crossed) for each in (group.mean, group.m2)):
            return NotComputed(f"a value of {name} is not a finite number")
    return None
