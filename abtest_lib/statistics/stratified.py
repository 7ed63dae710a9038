"""Effect on a proportion over several strata at once, by Mantel and Haenszel's weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import Interval, check_counts, critical_value, tail_pvalue

Counts = tuple[int, int, int, int]


@dataclass(frozen=True)
class StratifiedTest:
    """Say whether a treatment moves a proportion, and its odds ratio common to all strata.

    Parameters
    ----------
    statistic : float
        Cochran, Mantel and Haenszel's chi-squared with 1 degree of freedom, without continuity correction.
    pvalue : float
        Two-sided.
    odds_ratio : float or NotComputed
        Odds of the treatment over those of the control.
    interval : tuple of float, or NotComputed
        Of the odds ratio.
    confidence_level : float
    """

    statistic: float
    pvalue: float
    odds_ratio: float | NotComputed
    interval: Interval | NotComputed
    confidence_level: float


@dataclass(frozen=True)
class StratifiedDifference:
    """Hold the difference of proportions common to all strata.

    Parameters
    ----------
    effect : float
        Treatment minus control.
    standard_error : float
    interval : tuple of float
    confidence_level : float
    """

    effect: float
    standard_error: float
    interval: Interval
    confidence_level: float


def cochran_mantel_haenszel_test(strata: Sequence[Counts], *, alpha: float = 0.05) -> StratifiedTest | NotComputed:
    """Test whether a treatment moves a proportion, comparing units only within their stratum.

    Parameters
    ----------
    strata : sequence of (successes_control, n_control, successes_treatment, n_treatment)
    alpha : float, in (0, 1)
        Of the odds ratio's interval.

    Returns
    -------
    StratifiedTest or NotComputed
        NotComputed when in every stratum nobody or everybody succeeded, or a variant has no units.

    Raises
    ------
    ValueError
        If counts or ``alpha`` are not what they must be.

    References
    ----------
    .. [1] Mantel, Haenszel (1959), JNCI 22(4). doi:10.1093/jnci/22.4.719
    .. [2] Robins, Breslow, Greenland (1986), Biometrics 42(2). doi:10.2307/2531052

    Examples
    --------
    >>> test = cochran_mantel_haenszel_test([(155, 5_000, 190, 5_000), (101, 2_000, 95, 2_000), (28, 1_000, 40, 1_000)])
    >>> round(test.statistic, 3), round(test.pvalue, 3), round(test.odds_ratio, 3)
    (2.872, 0.09, 1.151)
    """
    quantile = critical_value(alpha)
    xc, nc, xt, nt = _checked(strata)
    n, total = nc + nt, xc + xt
    variance = float((nc * nt * total * (n - total) / (n * n * np.maximum(n - 1, 1))).sum()) if n.size else 0.0
    if variance == 0:
        return NotComputed("in every stratum nobody or everybody has the outcome, or a variant has no units")
    excess = float((xt - nt * total / n).sum())
    statistic = excess / math.sqrt(variance)
    for_treatment, for_control = xt * (nc - xc) / n, xc * (nt - xt) / n
    agreeing, opposing = float(for_treatment.sum()), float(for_control.sum())
    ratio: float | NotComputed = NotComputed("in no stratum are there both successes and failures to compare")
    interval: Interval | NotComputed = ratio
    if agreeing > 0 and opposing > 0:
        p, q = (xt + nc - xc) / n, (xc + nt - xt) / n
        log_variance = float(
            (p * for_treatment).sum() / (2 * agreeing**2)
            + (p * for_control + q * for_treatment).sum() / (2 * agreeing * opposing)
            + (q * for_control).sum() / (2 * opposing**2)
        )
        ratio, half = agreeing / opposing, quantile * math.sqrt(log_variance)
        interval = (ratio * math.exp(-half), ratio * math.exp(half))
    return StratifiedTest(statistic**2, tail_pvalue(statistic), ratio, interval, 1 - alpha)


def mantel_haenszel_difference(strata: Sequence[Counts], *, alpha: float = 0.05) -> StratifiedDifference | NotComputed:
    """Return the difference of proportions common to all strata.

    Parameters
    ----------
    strata : sequence of (successes_control, n_control, successes_treatment, n_treatment)
        Strata in which a variant has no units have no weight.
    alpha : float, in (0, 1)

    Returns
    -------
    StratifiedDifference or NotComputed
        NotComputed when no stratum has units of both variants, or nothing varies.

    Raises
    ------
    ValueError
        If counts or ``alpha`` are not what they must be.

    Notes
    -----
    Strata are weighted by n_c n_t / (n_c + n_t); the variance is Sato's, right for many small strata too.

    References
    ----------
    .. [1] Greenland, Robins (1985), Biometrics 41(1). doi:10.2307/2530643
       The variance: Sato, Greenland, Robins (1989), Biometrics 45(4), 1323-1324.

    Examples
    --------
    >>> one = mantel_haenszel_difference([(155, 5_000, 190, 5_000), (101, 2_000, 95, 2_000), (28, 1_000, 40, 1_000)])
    >>> round(one.effect, 6), round(one.standard_error, 6)
    (0.005125, 0.003024)
    """
    quantile = critical_value(alpha)
    xc, nc, xt, nt = _checked(strata)
    both = (nc > 0) & (nt > 0)
    if not both.any():
        return NotComputed("no stratum has units of both variants")
    xc, nc, xt, nt = (counts[both] for counts in (xc, nc, xt, nt))
    n = nc + nt
    weight = float((nc * nt / n).sum())
    effect = float(((xt * nc - xc * nt) / n).sum()) / weight
    p = (np.square(nt) * xc - np.square(nc) * xt + nc * nt * (nc - nt) / 2) / np.square(n)
    q = (xt * (nc - xc) + xc * (nt - xt)) / (2 * n)
    variance = (effect * float(p.sum()) + float(q.sum())) / weight**2
    if not variance > 0:
        return NotComputed("in every stratum nobody or everybody has the outcome")
    error = math.sqrt(variance)
    return StratifiedDifference(effect, error, (effect - quantile * error, effect + quantile * error), 1 - alpha)


def _checked(strata: Sequence[Counts]) -> np.ndarray:
    for at, stratum in enumerate(strata):
        if len(stratum) != 4:
            raise ValueError(f"strata[{at}] is {stratum}; it must hold four counts.")
        check_counts(*stratum[:2], f"strata[{at}] successes_control", "n_control")
        check_counts(*stratum[2:], f"strata[{at}] successes_treatment", "n_treatment")
    # Empty strata say nothing.
    kept = [stratum for stratum in strata if stratum[1] + stratum[3] > 0]
    return np.asarray(kept, dtype=float).reshape(-1, 4).T
