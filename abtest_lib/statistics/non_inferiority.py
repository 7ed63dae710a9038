"""Tests against an absolute margin: not worse by more than it (non-inferiority), or within two of them (equivalence).

The margin is in the metric's unit and points in the bad direction: where lower is better, 20 allows the treatment's
mean up to the control's plus 20. Guardrails of the nightly rule have a relative margin; see ``guardrails``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, welch_df
from abtest_lib.statistics.intervals import wald_interval
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.score_intervals import (
    farrington_manning_z,
    mee_interval,
    miettinen_nurminen_interval,
    miettinen_nurminen_z,
)
from abtest_lib.statistics.tails import Alternative, Interval, check_choices, check_counts, tail_pvalue

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class NonInferiorityTest:
    """Say whether a treatment is worse than the control by less than a margin.

    Parameters
    ----------
    effect : float
        Treatment minus control, in the metric's unit.
    statistic : float
        z or t of the effect less the bound.
    df : float or None
        Degrees of freedom; None for the normal distribution.
    pvalue : float
        Of "the treatment is worse by the margin or more"; small values prove non-inferiority.
    interval : tuple of float
        One-sided, open in the good direction: beyond the bound exactly when ``pvalue`` is below ``alpha``.
    bound : float
        Effect at the margin: ``-margin`` where higher is better, ``margin`` where lower is.
    alpha : float
    better : {"higher", "lower"}
    method : str
    """

    effect: float
    statistic: float
    df: float | None
    pvalue: float
    interval: Interval
    bound: float
    alpha: float
    better: Better
    method: str

    @property
    def non_inferior(self) -> bool:
        """Whether ``pvalue`` is below ``alpha``."""
        return self.pvalue < self.alpha


@dataclass(frozen=True)
class EquivalenceTest:
    """Say whether an effect lies between two bounds.

    Parameters
    ----------
    effect : float
        Treatment minus control, in the metric's unit.
    pvalue_low, pvalue_high : float
        Of "the effect is at or below ``low``" and of "at or above ``high``".
    pvalue : float
        The larger of both; small values prove equivalence.
    df : float
    interval : tuple of float
        At confidence ``1 - 2 * alpha``: within the bounds exactly when ``pvalue`` is below ``alpha``.
    low, high, alpha : float
    """

    effect: float
    pvalue_low: float
    pvalue_high: float
    pvalue: float
    df: float
    interval: Interval
    low: float
    high: float
    alpha: float

    @property
    def equivalent(self) -> bool:
        """Whether ``pvalue`` is below ``alpha``."""
        return self.pvalue < self.alpha


def welch_non_inferiority(
    control: Moments, treatment: Moments, *, margin: float, better: Better, alpha: float = 0.025
) -> NonInferiorityTest | NotComputed:
    """Test whether a mean is worse by less than an absolute margin, by Welch's t.

    Parameters
    ----------
    control, treatment : Moments
        Of one value a unit.
    margin : float
        Largest tolerable change in the bad direction, in the metric's unit, at least 0.
    better : {"higher", "lower"}
    alpha : float, in (0, 1)
        One-sided error of "non-inferior" for an effect at the bound.

    Returns
    -------
    NonInferiorityTest or NotComputed
        NotComputed when a variant has fewer than two units, a value is not finite, or nothing varies.

    Raises
    ------
    ValueError
        If ``margin``, ``better`` or ``alpha`` is not what it must be.

    References
    ----------
    .. [1] Welch (1947), Biometrika 34(1-2). doi:10.1093/biomet/34.1-2.28

    Examples
    --------
    >>> test = welch_non_inferiority(Moments(400, 200.0, 3.6e5), Moments(400, 203.0, 3.6e5), margin=20, better="lower")
    >>> test.non_inferior, round(test.interval[1], 2)
    (True, 7.17)
    """
    bound, alternative = _bound(margin, better, alpha)
    estimates = _mean_estimates(control, treatment)
    if isinstance(estimates, NotComputed):
        return estimates
    df = welch_df(*estimates)
    statistic = _wald_statistic(*estimates, bound)
    return NonInferiorityTest(
        effect=treatment.mean - control.mean,
        statistic=statistic,
        df=df,
        pvalue=tail_pvalue(statistic, alternative, df),
        interval=wald_interval(*estimates, alpha=alpha, alternative=alternative, df=df),
        bound=bound,
        alpha=alpha,
        better=better,
        method="Welch t test against the absolute margin",
    )


def welch_equivalence(
    control: Moments, treatment: Moments, *, low: float, high: float, alpha: float = 0.05
) -> EquivalenceTest | NotComputed:
    """Test whether the effect on a mean lies between two bounds, by two one-sided Welch t tests.

    Parameters
    ----------
    control, treatment : Moments
        Of one value a unit.
    low, high : float
        Bounds of treatment minus control, in the metric's unit, ``low < high``.
    alpha : float, in (0, 0.5)
        Error of "equivalent" for an effect at a bound.

    Returns
    -------
    EquivalenceTest or NotComputed
        NotComputed when a variant has fewer than two units, a value is not finite, or nothing varies.

    Raises
    ------
    ValueError
        If ``low`` is not below ``high`` or ``alpha`` is not in (0, 0.5).

    References
    ----------
    .. [1] Schuirmann (1987), J. Pharmacokinetics and Biopharmaceutics 15(6). doi:10.1007/BF01068419

    Examples
    --------
    >>> test = welch_equivalence(Moments(400, 200.0, 3.6e5), Moments(400, 203.0, 3.6e5), low=-10, high=10)
    >>> test.equivalent, round(test.pvalue, 5)
    (True, 0.00051)
    """
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"low is {low} and high is {high}; low must be below high, and both finite.")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 0.5.")
    estimates = _mean_estimates(control, treatment)
    if isinstance(estimates, NotComputed):
        return estimates
    df = welch_df(*estimates)
    pvalue_low = tail_pvalue(_wald_statistic(*estimates, low), "greater", df)
    pvalue_high = tail_pvalue(_wald_statistic(*estimates, high), "less", df)
    return EquivalenceTest(
        effect=treatment.mean - control.mean,
        pvalue_low=pvalue_low,
        pvalue_high=pvalue_high,
        pvalue=max(pvalue_low, pvalue_high),
        df=df,
        interval=wald_interval(*estimates, alpha=2 * alpha, df=df),
        low=low,
        high=high,
        alpha=alpha,
    )


def wald_non_inferiority(
    successes_control: int,
    n_control: int,
    successes_treatment: int,
    n_treatment: int,
    *,
    margin: float,
    better: Better,
    alpha: float = 0.025,
) -> NonInferiorityTest | NotComputed:
    """Test whether a share of units is worse by less than a margin, by the plain z statistic with unpooled variance.

    Errs more often than promised on rare events; ``miettinen_nurminen_non_inferiority`` does not.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int
    margin : float, in [0, 1)
        A difference of shares.
    better : {"higher", "lower"}
    alpha : float, in (0, 1)

    Returns
    -------
    NonInferiorityTest or NotComputed
        NotComputed when a variant has no units, or nobody or everybody succeeded in both.

    Raises
    ------
    ValueError
        If counts, ``margin``, ``better`` or ``alpha`` are not what they must be.

    References
    ----------
    .. [1] Blackwelder (1982), Controlled Clinical Trials 3(4). doi:10.1016/0197-2456(82)90024-1

    Examples
    --------
    >>> test = wald_non_inferiority(155, 5_000, 190, 5_000, margin=0.005, better="higher")
    >>> round(test.statistic, 4), test.non_inferior
    (3.2881, True)
    """
    counts = (successes_control, n_control, successes_treatment, n_treatment)
    bound, alternative = _share_bound(counts, margin, better, alpha)
    if min(n_control, n_treatment) == 0:
        return NotComputed(f"{'control' if n_control == 0 else 'treatment'} has no units")
    estimates = MeanEstimate.of_proportion(*counts[:2]), MeanEstimate.of_proportion(*counts[2:])
    if estimates[0].squared_error + estimates[1].squared_error == 0:
        return NotComputed("in each variant nobody or everybody has the outcome")
    statistic = _wald_statistic(*estimates, bound)
    return NonInferiorityTest(
        effect=estimates[1].mean - estimates[0].mean,
        statistic=statistic,
        df=None,
        pvalue=tail_pvalue(statistic, alternative),
        interval=wald_interval(*estimates, alpha=alpha, alternative=alternative),
        bound=bound,
        alpha=alpha,
        better=better,
        method="z test against the absolute margin, variance not pooled",
    )


def farrington_manning_non_inferiority(
    successes_control: int,
    n_control: int,
    successes_treatment: int,
    n_treatment: int,
    *,
    margin: float,
    better: Better,
    alpha: float = 0.025,
) -> NonInferiorityTest | NotComputed:
    """Test whether a share of units is worse by less than a margin, by Farrington and Manning's score statistic.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment, margin, better, alpha
        See ``wald_non_inferiority``.

    Returns
    -------
    NonInferiorityTest or NotComputed
        The interval is Mee's. NotComputed when a variant has no units, or the margin is 0 and nobody or everybody
        succeeded.

    Raises
    ------
    ValueError
        If counts, ``margin``, ``better`` or ``alpha`` are not what they must be.

    References
    ----------
    .. [1] Farrington, Manning (1990), Statistics in Medicine 9(12). doi:10.1002/sim.4780091208

    Examples
    --------
    >>> test = farrington_manning_non_inferiority(155, 5_000, 190, 5_000, margin=0.005, better="higher")
    >>> round(test.statistic, 5), f"{test.pvalue:.2g}"
    (3.26895, '0.00054')
    """
    counts = (successes_control, n_control, successes_treatment, n_treatment)
    method = "Farrington-Manning score test; Mee interval"
    return _score_test(counts, farrington_manning_z, mee_interval, margin, better, alpha, method)


def miettinen_nurminen_non_inferiority(
    successes_control: int,
    n_control: int,
    successes_treatment: int,
    n_treatment: int,
    *,
    margin: float,
    better: Better,
    alpha: float = 0.025,
) -> NonInferiorityTest | NotComputed:
    """Test whether a share of units is worse by less than a margin, by Miettinen and Nurminen's score statistic.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment, margin, better, alpha
        See ``wald_non_inferiority``.

    Returns
    -------
    NonInferiorityTest or NotComputed
        NotComputed when a variant has no units, or the margin is 0 and nobody or everybody succeeded.

    Raises
    ------
    ValueError
        If counts, ``margin``, ``better`` or ``alpha`` are not what they must be.

    References
    ----------
    .. [1] Miettinen, Nurminen (1985), Statistics in Medicine 4(2). doi:10.1002/sim.4780040211

    Examples
    --------
    >>> test = miettinen_nurminen_non_inferiority(155, 5_000, 190, 5_000, margin=0.005, better="lower")
    >>> test.non_inferior, round(test.pvalue, 3)
    (False, 0.708)
    """
    counts = (successes_control, n_control, successes_treatment, n_treatment)
    method = "Miettinen-Nurminen score test and interval"
    return _score_test(counts, miettinen_nurminen_z, miettinen_nurminen_interval, margin, better, alpha, method)


def _score_test(
    counts: tuple[int, int, int, int],
    score: Callable[..., Any],
    interval: Callable[..., Any],
    margin: float,
    better: Better,
    alpha: float,
    method: str,
) -> NonInferiorityTest | NotComputed:
    bound, alternative = _share_bound(counts, margin, better, alpha)
    successes_control, n_control, successes_treatment, n_treatment = counts
    if min(n_control, n_treatment) == 0:
        return NotComputed(f"{'control' if n_control == 0 else 'treatment'} has no units")
    statistic = score(*counts, difference=bound)
    if math.isnan(statistic):
        return NotComputed("nobody or everybody has the outcome and the margin is 0")
    return NonInferiorityTest(
        effect=successes_treatment / n_treatment - successes_control / n_control,
        statistic=statistic,
        df=None,
        pvalue=tail_pvalue(statistic, alternative),
        interval=interval(*counts, alpha=alpha, alternative=alternative),
        bound=bound,
        alpha=alpha,
        better=better,
        method=method,
    )


def _bound(margin: float, better: Better, alpha: float) -> tuple[float, Alternative]:
    if better not in ("higher", "lower"):
        raise ValueError(f"better is {better!r}; it must be 'higher' or 'lower'.")
    if not (margin >= 0 and math.isfinite(margin)):
        raise ValueError(f"margin is {margin}; it must be at least 0, in the bad direction.")
    alternative: Alternative = "greater" if better == "higher" else "less"
    check_choices(alpha, alternative)
    return (-margin if better == "higher" else margin), alternative


def _share_bound(
    counts: tuple[int, int, int, int], margin: float, better: Better, alpha: float
) -> tuple[float, Alternative]:
    check_counts(*counts[:2], "successes_control", "n_control")
    check_counts(*counts[2:], "successes_treatment", "n_treatment")
    if not margin < 1:
        raise ValueError(f"margin is {margin}; a difference of shares must be below 1.")
    return _bound(margin, better, alpha)


def _mean_estimates(control: Moments, treatment: Moments) -> tuple[MeanEstimate, MeanEstimate] | NotComputed:
    for name, moments in (("control", control), ("treatment", treatment)):
        if moments.n < 2:
            return NotComputed(f"{name} has {moments.n} unit{'' if moments.n == 1 else 's'}; a mean needs at least 2")
        if not (math.isfinite(moments.mean) and math.isfinite(moments.m2)):
            return NotComputed(f"a value of {name} is not a finite number")
    if control.m2 + treatment.m2 == 0:
        return NotComputed("no value varies in control or treatment")
    return MeanEstimate.of_mean(control), MeanEstimate.of_mean(treatment)


def _wald_statistic(control: MeanEstimate, treatment: MeanEstimate, bound: float) -> float:
    contrast = treatment.mean - control.mean - bound
    return contrast / math.sqrt(control.squared_error + treatment.squared_error)
