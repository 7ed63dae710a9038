"""Many guardrails at once: arrays of p-values, intervals and outcomes, each cell as ``guardrails`` reads it alone.

A cell that cannot be computed holds nan and has a reason; ``GuardrailReadings.at`` gives a cell as the reading it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from abtest_lib.statistics import intervals
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.guardrails import NO_RATIO, NOT_ABOVE_ZERO, GuardrailReading, margin_statistic
from abtest_lib.statistics.inference import TOO_LARGE, too_few, without_variation
from abtest_lib.statistics.moment_arrays import MomentArrays, Refusals, pick, together
from abtest_lib.statistics.proportions import score_ratio_interval, score_ratio_z
from abtest_lib.statistics.tails import check_counts, check_each, critical_value, tail_pvalue

Ends = tuple[np.ndarray, np.ndarray]
NOT_COMPUTED = "not_computed"


@dataclass(frozen=True, eq=False)
class GuardrailReadings:
    """Say of many cells whether the treatment stays within the margin of a guardrail metric.

    Parameters
    ----------
    outcome : array of str
        "safe", "harmful", "not_yet" or "not_computed". All arrays have one shape; numbers are nan where not computed.
    harmful : array of bool
        ``pvalue_harmful < alpha_harm``; False where not computed.
    pvalue_safe, pvalue_harmful : array
        Small values prove the cell safe, or harmful.
    statistic : array
        Signed so that positive is on the safe side of the bound.
    df : array or None
    relative_effect : array
    relative_interval : tuple of array
        At confidence ``1 - 2 * alpha``.
    confidence_level : array
    harm_interval : tuple of array
        At confidence ``1 - 2 * alpha_harm``.
    harm_confidence_level : array
    bound, margin : array
        Relative effect at the margin, and the margin.
    better : array of str
    method : str
    refusals : mapping of str to Refusals
        Why cells are nan, by "outcome" (the whole cell), "relative_effect", "relative_interval" and "harm_interval".
    """

    outcome: np.ndarray
    harmful: np.ndarray
    pvalue_safe: np.ndarray
    pvalue_harmful: np.ndarray
    statistic: np.ndarray
    df: np.ndarray | None
    relative_effect: np.ndarray
    relative_interval: Ends
    confidence_level: np.ndarray
    harm_interval: Ends
    harm_confidence_level: np.ndarray
    bound: np.ndarray
    margin: np.ndarray
    better: np.ndarray
    method: str
    refusals: Mapping[str, Refusals]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the cells."""
        return self.outcome.shape

    def at(self, index: Any) -> GuardrailReading | NotComputed:
        """Return the reading of one cell, as ``guardrails`` would.

        Examples
        --------
        >>> cells = proportion_readings([500, 0], [10_000, 0], [495, 9], 10_000, margin=0.2, better="higher")
        >>> cells.at(0).outcome, cells.at(1)
        ('safe', NotComputed(reason='control has no units'))
        """
        reasons = {name: refusals.at(index) for name, refusals in self.refusals.items()}
        if reasons["outcome"]:
            return reasons["outcome"]
        ends = {
            name: reasons[name] or tuple(pick(end, index) for end in getattr(self, name))
            for name in ("relative_interval", "harm_interval")
        }
        numbers = ("pvalue_safe", "pvalue_harmful", "statistic", "confidence_level", "harm_confidence_level", "bound",
                   "margin")  # fmt: skip
        return GuardrailReading(
            outcome=str(self.outcome[index]),
            harmful=bool(self.harmful[index]),
            df=pick(self.df, index),
            relative_effect=reasons["relative_effect"] or pick(self.relative_effect, index),
            better=str(self.better[index]),
            method=self.method,
            **ends,
            **{name: pick(getattr(self, name), index) for name in numbers},
        )


def mean_readings(
    control: MomentArrays,
    treatment: MomentArrays,
    *,
    margin: Any,
    better: Any,
    alpha: Any = 0.025,
    alpha_harm: Any = 0.025,
) -> GuardrailReadings:
    """Test many means against their relative margins at once, each as ``guardrails.mean_non_inferiority`` does.

    Parameters
    ----------
    control, treatment : MomentArrays
        Of any shapes that broadcast.
    margin : float or array
        Largest tolerable relative change in the bad direction, at least 0; below 1 where higher is better.
    better : {"higher", "lower"} or array of these
    alpha, alpha_harm : float or array, in (0, 0.5)
        One-sided errors of saying "safe" and of saying "harmful".

    Returns
    -------
    GuardrailReadings

    Raises
    ------
    ValueError
        If an argument is not what it must be or shapes do not broadcast; the message names the place.

    References
    ----------
    .. [1] Hasler, Vonk, Hothorn (2008), Statistics in Medicine 27(4). doi:10.1002/sim.3052

    Examples
    --------
    >>> control = MomentArrays([400, 400], [100.0, -2.0], 399 * 900.0)
    >>> cells = mean_readings(control, MomentArrays(400, 112.0, 399 * 900.0), margin=0.03, better="lower")
    >>> cells.outcome.tolist(), cells.refusals["outcome"].at(1).reason
    (['harmful', 'not_computed'], 'the mean of the control is not above zero, so a relative margin has no meaning')
    """
    few = {
        too_few(name, n): arm.n == n for name, arm in (("control", control), ("treatment", treatment)) for n in (0, 1)
    }
    options = {"margin": margin, "better": better, "alpha": alpha, "alpha_harm": alpha_harm}
    return _readings_of_estimates(control.estimates(), treatment.estimates(), few, **options)


def estimate_readings(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    margin: Any,
    better: Any,
    alpha: Any = 0.025,
    alpha_harm: Any = 0.025,
) -> GuardrailReadings:
    """Test many estimates against their relative margins, each as ``guardrails.estimate_non_inferiority`` does.

    Parameters
    ----------
    control, treatment : MeanEstimate
        Of arrays of any shapes that broadcast.
    margin, better, alpha, alpha_harm
        See ``mean_readings``.

    Returns
    -------
    GuardrailReadings

    Raises
    ------
    ValueError
        If an argument is not what it must be or shapes do not broadcast; the message names the place.

    References
    ----------
    .. [1] Hasler, Vonk, Hothorn (2008), Statistics in Medicine 27(4). doi:10.1002/sim.3052

    Examples
    --------
    >>> control = MeanEstimate(10.0, 0.04, 500)
    >>> treatment = MeanEstimate(np.array([10.1, 13.0]), np.array([0.05, 0.05]), np.array([480, 480]))
    >>> estimate_readings(control, treatment, margin=0.1, better="lower").outcome.tolist()
    ['safe', 'harmful']
    """
    options = {"margin": margin, "better": better, "alpha": alpha, "alpha_harm": alpha_harm}
    return _readings_of_estimates(control, treatment, {}, **options)


def proportion_readings(
    successes_control: Any,
    n_control: Any,
    successes_treatment: Any,
    n_treatment: Any,
    *,
    margin: Any,
    better: Any,
    alpha: Any = 0.025,
    alpha_harm: Any = 0.025,
) -> GuardrailReadings:
    """Test many shares of units against their relative margins, each as ``guardrails.proportion_non_inferiority`` does.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : array of int
        Of any shapes that broadcast; ``0 <= successes <= n``.
    margin, better, alpha, alpha_harm
        See ``mean_readings``.

    Returns
    -------
    GuardrailReadings

    Raises
    ------
    ValueError
        If an argument is not what it must be or shapes do not broadcast; the message names the place.

    References
    ----------
    .. [1] Farrington, Manning (1990), Statistics in Medicine 9(12). doi:10.1002/sim.4780091208
    .. [2] Koopman (1984), Biometrics 40(2). doi:10.2307/2531405

    Examples
    --------
    >>> cells = proportion_readings(500, 10_000, [495, 350], 10_000, margin=[0.2, 0.1], better="higher")
    >>> cells.outcome.tolist()
    ['safe', 'harmful']
    """
    limits = _limits(margin, better, alpha, alpha_harm)
    counts = {"successes_control": successes_control, "n_control": n_control,
              "successes_treatment": successes_treatment, "n_treatment": n_treatment}  # fmt: skip
    *counts, margin, alpha, alpha_harm, upward = together(**counts, **limits)
    check_counts(counts[0], counts[1], "successes_control", "n_control")
    check_counts(counts[2], counts[3], "successes_treatment", "n_treatment")
    ratio = np.where(upward > 0, 1 - margin, 1 + margin)
    empty = {f"{name} has no units": counts[at] == 0 for name, at in (("control", 1), ("treatment", 3))}
    # Where there is no unit, 1 of 1 stands in; the cell is blanked at the end.
    has_units = (counts[1] > 0) & (counts[3] > 0)
    xc, nc, xt, nt = (np.where(has_units, part, 1) for part in counts)
    statistic = score_ratio_z(xc, nc, xt, nt, ratio=ratio)
    still = np.isnan(statistic)
    no_outcome, all_outcomes = without_variation(0, 1, 0, 1), without_variation(1, 1, 1, 1)
    whole = Refusals.first(still.shape, {**empty, no_outcome: still & (xc == 0), all_outcomes: still})
    no_ratio = Refusals.first(still.shape, {NO_RATIO: xc == 0}, after=whole)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative_effect = (xt / nt - xc / nc) / (xc / nc)
    return _readings(
        statistic,
        None,
        relative_effect,
        [score_ratio_interval(xc, nc, xt, nt, alpha=2 * level) for level in (alpha, alpha_harm)],
        margin=margin, alpha=alpha, alpha_harm=alpha_harm, upward=upward,
        method="score test against the relative margin; Koopman interval",
        refusals={"outcome": whole, "relative_effect": no_ratio, "relative_interval": no_ratio,
                  "harm_interval": no_ratio},
    )  # fmt: skip


def _readings_of_estimates(
    control: MeanEstimate, treatment: MeanEstimate, few: Mapping[str, Any], **options: Any
) -> GuardrailReadings:
    parts = {f"{name}.{part}": getattr(arm, part) for name, arm in (("control", control), ("treatment", treatment))
             for part in ("mean", "squared_error", "df")}  # fmt: skip
    *parts, margin, alpha, alpha_harm, upward = together(**parts, **_limits(**options))
    control, treatment = MeanEstimate(*parts[:3]), MeanEstimate(*parts[3:])
    causes = {
        **few,
        **{
            f"a value of {name} is not a finite number": ~(np.isfinite(arm.mean) & np.isfinite(arm.squared_error))
            for name, arm in (("control", control), ("treatment", treatment))
        },
        NOT_ABOVE_ZERO: control.mean <= 0,
        intervals.NOTHING_VARIES: (control.squared_error == 0) & (treatment.squared_error == 0),
    }
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        statistic, df = margin_statistic(control, treatment, ratio=np.where(upward > 0, 1 - margin, 1 + margin))
        whole = Refusals.first(margin.shape, {**causes, TOO_LARGE: ~np.isfinite(statistic)})
        df = np.where(whole.computed, df, np.nan)
        quantiles = _quantiles((2 * alpha, 2 * alpha_harm), df)
        sets = [intervals.fieller_ends(control, treatment, quantile) for quantile in quantiles]
        relative_effect = (treatment.mean - control.mean) / control.mean
    too_small = {intervals.UNBOUNDED: ~np.isfinite(relative_effect)}
    refusals = {"outcome": whole, "relative_effect": Refusals.first(margin.shape, too_small, after=whole)}
    for name, (low, _, g) in zip(("relative_interval", "harm_interval"), sets, strict=True):
        causes = {intervals.UNBOUNDED: np.logical_not(g < 1), intervals.NO_WIDTH: np.isnan(low)}
        refusals[name] = Refusals.first(margin.shape, causes, after=whole)
    return _readings(
        statistic,
        df,
        relative_effect,
        [(low, high) for low, high, _ in sets],
        margin=margin, alpha=alpha, alpha_harm=alpha_harm, upward=upward, refusals=refusals,
        method="Welch t test against the relative margin; Fieller interval",
    )  # fmt: skip


def _quantiles(levels: tuple[np.ndarray, np.ndarray], df: np.ndarray) -> list[np.ndarray]:
    first = critical_value(levels[0], "two-sided", df)
    return [first, first if np.array_equal(*levels) else critical_value(levels[1], "two-sided", df)]


def _limits(margin: Any, better: Any, alpha: Any, alpha_harm: Any) -> dict[str, Any]:
    """Check the arguments every guardrail has; "higher" becomes 1 and "lower" -1."""
    check_each("better", better, lambda word: np.isin(word, ("higher", "lower")), "'higher' or 'lower'")
    upward = np.where(np.asarray(better) == "higher", 1.0, -1.0)
    margins, upward = together(margin=margin, better=upward)
    must = "at least 0, and below 1 where higher is better"
    check_each("margin", margin, lambda value: (value >= 0) & np.isfinite(value), must)
    check_each("margin", margins, lambda value: (value < 1) | (upward < 0), must)
    for name, level in (("alpha", alpha), ("alpha_harm", alpha_harm)):
        check_each(name, level, lambda value: (value > 0) & (value < 0.5), "between 0 and 0.5")
    return {"margin": margins, "alpha": alpha, "alpha_harm": alpha_harm, "better": upward}


def _readings(
    statistic: np.ndarray,
    df: np.ndarray | None,
    relative_effect: np.ndarray,
    ends: list[Ends],
    *,
    margin: np.ndarray,
    alpha: np.ndarray,
    alpha_harm: np.ndarray,
    upward: np.ndarray,
    method: str,
    refusals: Mapping[str, Refusals],
) -> GuardrailReadings:
    computed = refusals["outcome"].computed
    safe_side = np.where(computed, upward * statistic, math.nan)
    pvalue_safe, pvalue_harmful = tail_pvalue(safe_side, "greater", df), tail_pvalue(safe_side, "less", df)
    harmful, safe = pvalue_harmful < alpha_harm, pvalue_safe < alpha
    words = np.array([NOT_COMPUTED, "harmful", "safe", "not_yet"])
    codes = np.select([~computed, harmful, safe], [0, 1, 2], 3)
    blanked = {
        name: tuple(np.where(refusals[name].computed, end, math.nan) for end in pair)
        for name, pair in zip(("relative_interval", "harm_interval"), ends, strict=True)
    }
    return GuardrailReadings(
        outcome=np.asarray(words[codes]),
        harmful=harmful,
        pvalue_safe=pvalue_safe,
        pvalue_harmful=pvalue_harmful,
        statistic=safe_side,
        df=df,
        relative_effect=np.where(refusals["relative_effect"].computed, relative_effect, math.nan),
        confidence_level=1 - 2 * alpha,
        harm_confidence_level=1 - 2 * alpha_harm,
        bound=-upward * margin,
        margin=margin,
        better=np.where(upward > 0, "higher", "lower"),
        method=method,
        refusals=refusals,
        **blanked,
    )
