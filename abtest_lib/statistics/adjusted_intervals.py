"""Intervals for a family of comparisons that agree with its adjusted p-values, made from any interval at hand.

Each function here returns the alpha at which the ordinary interval of a comparison is to be computed, so that the
interval functions of means, shares, ratios or quantiles need to know nothing of families.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import ndtri

from abtest_lib.statistics.multiplicity import (
    Adjusted,
    PValues,
    benjamini_hochberg,
    benjamini_yekutieli,
    bonferroni,
    harmonic_number,
    hochberg,
    holm,
    hommel,
)
from abtest_lib.statistics.tails import Interval, check_choices

Method = Literal["bonferroni", "holm", "hochberg", "hommel", "benjamini_hochberg", "benjamini_yekutieli"]
ADJUSTMENTS = {
    function.__name__: function
    for function in (bonferroni, holm, hochberg, hommel, benjamini_hochberg, benjamini_yekutieli)
}
ONLY_DUAL = (
    "An interval leaves out zero exactly when its adjusted p-value is below alpha; the chance that any true zero of "
    "the family is left out is at most alpha. Intervals of effects that are not zero do not hold together."
)
PROMISES = {
    "bonferroni": "All intervals of the family hold together with probability 1 - alpha.",
    "holm": ONLY_DUAL,
    "hochberg": ONLY_DUAL,
    "hommel": ONLY_DUAL,
    "benjamini_hochberg": "Of the intervals that leave out zero, on average at most the share alpha miss the truth, "
    "if comparisons are independent.",
    "benjamini_yekutieli": "Of the intervals that leave out zero, on average at most the share alpha miss the truth.",
}


def adjusted_alphas(
    pvalues: PValues, alpha: float = 0.05, *, method: Method = "bonferroni", family_size: int | None = None
) -> Adjusted:
    """Return the alpha for each comparison's own interval, so that it agrees with the adjusted p-value.

    Parameters
    ----------
    pvalues : sequence or array of float, in [0, 1]
        Not adjusted; of tests that agree with the interval to be computed. The last axis of an array is the family.
    alpha : float, in (0, 1)
        Error rate of the family.
    method : {"bonferroni", "holm", "hochberg", "hommel", "benjamini_hochberg", "benjamini_yekutieli"}
    family_size : int, optional
        Tests declared in the family; default the number of p-values.

    Returns
    -------
    list of float, or array
        One for each comparison, between the share of Bonferroni (or Benjamini-Yekutieli) and ``alpha``. An interval at
        that alpha leaves out zero exactly when the p-value adjusted by ``method`` is below ``alpha``.

    Raises
    ------
    ValueError
        If a p-value is not in [0, 1], ``alpha`` not in (0, 1), ``method`` not known, or ``family_size`` is below the
        number of p-values.

    Notes
    -----
    With r of m hypotheses rejected (r at least 1), every interval gets the alpha of the last rejection:
    alpha / m (Bonferroni), alpha / (m - r + 1) (Holm, Hochberg), alpha / j with Hommel's j, r alpha / m
    (Benjamini-Hochberg), and that over 1 + 1/2 + ... + 1/m (Benjamini-Yekutieli).

    What each promises is in ``PROMISES``. Agreement with the p-value is kept by all. Only Bonferroni's intervals (and
    Dunnett's, ``dunnett_alpha``) hold together: of intervals that agree with a stepwise test and hold together only
    one-sided ones are known, and they end at zero for whatever is rejected [1]_. Those of the discovery rates control
    the share of misses among the intervals that are singled out because they leave out zero [2]_; of the others they
    promise nothing.

    References
    ----------
    .. [1] Strassburger, Bretz (2008), Statistics in Medicine 27(24). doi:10.1002/sim.3338
    .. [2] Benjamini, Yekutieli (2005), JASA 100(469). doi:10.1198/016214504000001907

    Examples
    --------
    >>> adjusted_alphas([0.01, 0.04, 0.03], method="bonferroni")
    [0.016666666666666666, 0.016666666666666666, 0.016666666666666666]
    >>> adjusted_alphas([0.001, 0.02, 0.4], method="holm")
    [0.025, 0.025, 0.025]
    >>> adjusted_alphas([0.001, 0.02, 0.4, 0.6], method="benjamini_hochberg")
    [0.025, 0.025, 0.025, 0.025]
    """
    check_choices(alpha, "two-sided")
    if method not in ADJUSTMENTS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(map(repr, ADJUSTMENTS))}.")
    adjusted = np.asarray(ADJUSTMENTS[method](pvalues, family_size))
    values = np.asarray(pvalues, dtype=float)
    size = values.shape[-1] if family_size is None else family_size
    rejected = adjusted < alpha
    last = np.maximum(rejected.sum(axis=-1, keepdims=True), 1)
    if method == "bonferroni":
        level = np.full(last.shape, alpha / max(size, 1))
    elif method in ("holm", "hochberg"):
        level = alpha / np.maximum(size - last + 1, 1)
    elif method == "hommel":
        level = alpha / _hommel_divisor(values, alpha, size)
    else:
        dependence = harmonic_number(size) if method == "benjamini_yekutieli" else 1.0
        level = last * alpha / max(size, 1) / max(dependence, 1.0)
    # A p-value at the very edge, where p * m < alpha and p < alpha / m round differently, must not tell two tales.
    above = np.nextafter(np.max(values, axis=-1, keepdims=True, where=rejected, initial=0.0), 1.0)
    below = np.min(values, axis=-1, keepdims=True, where=~rejected, initial=1.0)
    levels = np.broadcast_to(np.clip(level, above, below), values.shape).copy()
    return levels if isinstance(pvalues, np.ndarray) else levels.tolist()


def growthbook_adjusted_interval(
    effect: float, interval: Interval, pvalue_adjusted: float, *, alpha: float = 0.05
) -> Interval:
    """Return the interval that GrowthBook draws around an effect whose p-value was adjusted.

    Parameters
    ----------
    effect : float
    interval : tuple of float
        Before the adjustment; it is returned where the adjusted one would not be wider on both sides.
    pvalue_adjusted : float, in [0, 1]
    alpha : float, in (0, 1)

    Returns
    -------
    tuple of float
        Infinite where the adjusted p-value is above 0.999999.

    Raises
    ------
    ValueError
        If ``pvalue_adjusted`` is not in [0, 1] or ``alpha`` not in (0, 1).

    Notes
    -----
    To hold numbers against GrowthBook's only. Taken is the normal standard error with which the effect would have had
    the adjusted p-value, |effect| / z(1 - p/2); the interval is not of the kind that was asked for, and grows without
    limit as the effect nears zero.

    References
    ----------
    .. [1] GrowthBook, getAdjustedCI in its back end. https://github.com/growthbook/growthbook

    Examples
    --------
    >>> [round(end, 4) for end in growthbook_adjusted_interval(0.05, (0.01, 0.09), 0.03)]
    [0.0048, 0.0952]
    """
    check_choices(alpha, "two-sided")
    if len(interval) != 2 or np.isnan([effect, *interval]).any():
        raise ValueError(f"effect is {effect} and interval {interval}; they must be numbers, two for the interval.")
    if not 0 <= pvalue_adjusted <= 1:
        raise ValueError(f"pvalue_adjusted is {pvalue_adjusted}; it must be between 0 and 1.")
    if pvalue_adjusted > 0.999999:
        return -np.inf, np.inf
    half = float(ndtri(alpha / 2) * abs(effect) / ndtri(pvalue_adjusted / 2))
    wider = effect - half < interval[0] and effect + half > interval[1]
    return (effect - half, effect + half) if wider else interval


def _hommel_divisor(values: np.ndarray, alpha: float, size: int) -> np.ndarray:
    """Hommel's j: the most hypotheses of which Simes' test at ``alpha`` rejects none; 1 where it rejects them all."""
    missing = np.ones((*values.shape[:-1], size - values.shape[-1]))
    ordered = np.sort(np.concatenate([values, missing], axis=-1), axis=-1)
    divisor = np.ones((*values.shape[:-1], 1))
    for members in range(2, size + 1):
        bars = alpha * np.arange(1, members + 1) / members
        kept = np.all(ordered[..., size - members :] >= bars, axis=-1, keepdims=True)
        divisor = np.where(kept, members, divisor)
    return divisor
