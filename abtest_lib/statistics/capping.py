"""Capping: values above a high quantile count as that quantile, so that a few units do not decide a mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.inference import Comparison, compare_means
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.tails import Alternative, check_choices


@dataclass(frozen=True)
class CappedComparison:
    """Say how much a treatment moved a capped mean, and what the cap took away.

    Parameters
    ----------
    comparison : Comparison
        Of the capped means.
    cap : float
        In the metric's unit.
    removed_control, removed_treatment : float or NotComputed
        Share of the variant's mean that lay above the cap. Where they differ much, the effect is in the tail that the
        cap hides. NotComputed where the mean is not above zero.
    capped_units : int
        Of both variants.
    """

    comparison: Comparison
    cap: float
    removed_control: float | NotComputed
    removed_treatment: float | NotComputed
    capped_units: int


def pooled_cap(control: Iterable[float], treatment: Iterable[float], *, quantile: float) -> float | NotComputed:
    """Return the value at a quantile of all units, whichever variant they are in.

    Parameters
    ----------
    control, treatment : iterable of float
        One a unit.
    quantile : float, in (0, 1)
        For example 0.99.

    Returns
    -------
    float or NotComputed
        Linear between ordered values (type 7 of R). NotComputed without units, or when a value is not finite.

    Raises
    ------
    ValueError
        If ``quantile`` is not in (0, 1).

    Notes
    -----
    From both variants together: a cap of each variant's own would take away a part of the effect.

    References
    ----------
    .. [1] Hyndman, Fan (1996), The American Statistician 50(4). doi:10.1080/00031305.1996.10473566

    Examples
    --------
    >>> pooled_cap([1.0, 2.0, 3.0], [4.0, 100.0], quantile=0.75)
    4.0
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is {quantile}; it must be between 0 and 1.")
    pooled = np.concatenate([_array(control), _array(treatment)])
    if pooled.size == 0:
        return NotComputed("control and treatment have no units")
    if not np.isfinite(pooled).all():
        return NotComputed("a value of control or treatment is not a finite number")
    return float(np.quantile(pooled, quantile))


def compare_capped_means(
    control: Iterable[float],
    treatment: Iterable[float],
    *,
    quantile: float,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> CappedComparison | NotComputed:
    """Compare means with every value above a quantile of all units counted as that quantile.

    Parameters
    ----------
    control, treatment : iterable of float
        One a unit.
    quantile : float, in (0, 1)
        See ``pooled_cap``. Name it before the experiment starts.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        "greater": the treatment's capped mean is higher.

    Returns
    -------
    CappedComparison or NotComputed
        NotComputed as for ``pooled_cap`` and ``compare_means``.

    Raises
    ------
    ValueError
        If ``quantile``, ``alpha`` or ``alternative`` is not what it must be.

    References
    ----------
    .. [1] Welch (1947), Biometrika 34(1-2). doi:10.1093/biomet/34.1-2.28

    Examples
    --------
    >>> control, treatment = [1.0, 2.0, 3.0, 2.0, 1.0], [4.0, 100.0, 2.0, 3.0, 1.0]
    >>> result = compare_capped_means(control, treatment, quantile=0.875)
    >>> result.cap, round(result.removed_treatment, 3), result.capped_units
    (3.875, 0.875, 2)
    """
    check_choices(alpha, alternative)
    arms = [_array(control), _array(treatment)]
    cap = pooled_cap(*arms, quantile=quantile)
    if isinstance(cap, NotComputed):
        return cap
    moments = [Moments.from_values(np.minimum(arm, cap)) for arm in arms]
    comparison = compare_means(*moments, alpha=alpha, alternative=alternative)
    if isinstance(comparison, NotComputed):
        return comparison
    removed = [_removed(arm, capped.mean) for arm, capped in zip(arms, moments, strict=True)]
    return CappedComparison(comparison, cap, *removed, sum(int((arm > cap).sum()) for arm in arms))


def _removed(values: np.ndarray, capped_mean: float) -> float | NotComputed:
    mean = float(values.mean())
    return (mean - capped_mean) / mean if mean > 0 else NotComputed("the mean is not above zero")


def _array(values: Iterable[float]) -> np.ndarray:
    return np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=float)
