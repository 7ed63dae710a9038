"""Many comparisons at once: arrays of effects, intervals and p-values, each cell as ``inference`` computes it alone.

A cell that cannot be computed holds nan and has a reason; ``Comparisons.at`` gives a cell as the comparison it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from abtest_lib.statistics import intervals
from abtest_lib.statistics.comparison import Comparison
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, welch_df
from abtest_lib.statistics.inference import (
    NAMES,
    TESTS,
    TOO_LARGE,
    ShareInterval,
    ShareRelativeMethod,
    ShareTest,
    check_methods,
    share_method,
    too_few,
    without_variation,
)
from abtest_lib.statistics.intervals import RelativeMethod
from abtest_lib.statistics.moment_arrays import MomentArrays, Refusals, pick, together
from abtest_lib.statistics.proportions import newcombe_interval, score_ratio_interval
from abtest_lib.statistics.score_intervals import miettinen_nurminen_interval
from abtest_lib.statistics.tails import (
    Alternative,
    check_choices,
    check_counts,
    check_each,
    critical_value,
    interval_ends,
    tail_pvalue,
)

Ends = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Say of many cells how much a treatment moved a metric and how sure that is.

    Parameters
    ----------
    effect : array
        Mean of the treatment minus mean of the control. All arrays have one shape; nan where not computed.
    effect_interval : tuple of array
        Lower and upper ends at ``confidence_level``.
    relative_effect : array
        ``effect`` over the absolute mean of the control.
    relative_interval : tuple of array
    statistic : array
    df : array or None
        None for the normal distribution.
    pvalue : array
        Of the cell alone.
    adjusted_pvalue : array
        ``pvalue`` times the size of its family, at most 1; below alpha exactly when the interval of a mean's effect
        leaves out 0.
    confidence_level : float or array
        1 - alpha / size of the family.
    alternative : {"two-sided", "greater", "less"}
    method : str
    standard_error : array
        Of the effect.
    standardised_effect : array or None
        Cohen's d: effect over the standard deviation that both variants share; None where only estimates are known.
    refusals : mapping of str to Refusals
        Why cells are nan, by "effect" (the whole cell), "effect_interval", "relative_effect", "relative_interval" and
        "pvalue" (with the statistic).
    """

    effect: np.ndarray
    effect_interval: Ends
    relative_effect: np.ndarray
    relative_interval: Ends
    statistic: np.ndarray
    df: np.ndarray | None
    pvalue: np.ndarray
    adjusted_pvalue: np.ndarray
    confidence_level: Any
    alternative: Alternative
    method: str
    standard_error: np.ndarray
    standardised_effect: np.ndarray | None
    refusals: Mapping[str, Refusals]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the cells."""
        return self.effect.shape

    def at(self, index: Any) -> Comparison | NotComputed:
        """Return the comparison of one cell, as ``inference`` would.

        Examples
        --------
        >>> cells = proportion_comparisons([155, 0], [5_000, 0], [190, 3], [5_000, 10])
        >>> round(cells.at(0).pvalue, 4), cells.at(1)
        (0.0551, NotComputed(reason='control has no units'))
        """
        reasons = {name: refusals.at(index) for name, refusals in self.refusals.items()}
        if reasons["effect"]:
            return reasons["effect"]
        return Comparison(
            effect=pick(self.effect, index),
            effect_interval=reasons["effect_interval"] or tuple(pick(end, index) for end in self.effect_interval),
            relative_effect=reasons["relative_effect"] or pick(self.relative_effect, index),
            relative_interval=reasons["relative_interval"] or tuple(pick(end, index) for end in self.relative_interval),
            statistic=reasons["pvalue"] or pick(self.statistic, index),
            df=pick(self.df, index),
            pvalue=reasons["pvalue"] or pick(self.pvalue, index),
            confidence_level=pick(self.confidence_level, index),
            alternative=self.alternative,
            method=self.method,
            standard_error=pick(self.standard_error, index),
        )


def mean_comparisons(
    control: MomentArrays,
    treatment: MomentArrays,
    *,
    alpha: Any = 0.05,
    family_size: Any = 1,
    alternative: Alternative = "two-sided",
    relative: RelativeMethod = "fieller",
) -> Comparisons:
    """Compare many means at once, each as ``inference.compare_means`` does.

    Parameters
    ----------
    control, treatment : MomentArrays
        Of any shapes that broadcast, such as (metrics, segments, 1) and (metrics, segments, treatments).
    alpha : float or array, in (0, 1)
        Of a family.
    family_size : int or array, at least 1
        Cells that share ``alpha``, by Bonferroni.
    alternative : {"two-sided", "greater", "less"}
    relative : {"fieller", "delta"}
        Method of the interval of the relative effect.

    Returns
    -------
    Comparisons

    Raises
    ------
    ValueError
        If an argument is not what it must be or shapes do not broadcast; the message names the place.

    References
    ----------
    .. [1] Welch (1947), Biometrika 34(1/2). doi:10.1093/biomet/34.1-2.28
    .. [2] Fieller (1954), JRSS B 16(2). doi:10.1111/j.2517-6161.1954.tb00159.x
    .. [3] Dunn (1961), JASA 56(293). doi:10.1080/01621459.1961.10482090

    Examples
    --------
    >>> control = MomentArrays([400, 1], [10.0, 7.0], [3_600.0, 0.0])
    >>> treatment = MomentArrays([400, 300], [10.5, 7.5], [3_600.0, 90.0])
    >>> cells = mean_comparisons(control, treatment, family_size=2)
    >>> cells.adjusted_pvalue.round(4), cells.refusals["effect"].at(1).reason
    (array([0.0376,    nan]), 'control has 1 unit; a mean needs at least 2')
    """
    (shape,) = {array.shape for array in together(control=control.n, treatment=treatment.n)}
    few = {
        too_few(name, n): arm.n == n for name, arm in (("control", control), ("treatment", treatment)) for n in (0, 1)
    }
    options = {"alpha": alpha, "family_size": family_size, "alternative": alternative, "relative": relative}
    found = _comparisons(control.estimates(), treatment.estimates(), Refusals.first(shape, few), None, **options)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        variance = (control.m2 + treatment.m2) / (control.n + treatment.n - 2)
        found["standardised_effect"] = found["effect"] / np.sqrt(variance)
    return Comparisons(**found)


def estimate_comparisons(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    alpha: Any = 0.05,
    family_size: Any = 1,
    alternative: Alternative = "two-sided",
    df: Any = None,
    relative: RelativeMethod = "fieller",
) -> Comparisons:
    """Compare many pairs of estimates at once, such as adjusted means, each as ``inference.compare_estimates`` does.

    Parameters
    ----------
    control, treatment : MeanEstimate
        Of arrays of any shapes that broadcast.
    alpha : float or array, in (0, 1)
        Of a family.
    family_size : int or array, at least 1
        Cells that share ``alpha``, by Bonferroni.
    alternative : {"two-sided", "greater", "less"}
    df : float or array, optional
        Degrees of freedom of test and intervals; default Welch-Satterthwaite's.
    relative : {"fieller", "delta"}
        Method of the interval of the relative effect.

    Returns
    -------
    Comparisons

    Raises
    ------
    ValueError
        If an argument is not what it must be or shapes do not broadcast; the message names the place.

    References
    ----------
    .. [1] Welch (1947), Biometrika 34(1/2). doi:10.1093/biomet/34.1-2.28
    .. [2] Fieller (1954), JRSS B 16(2). doi:10.1111/j.2517-6161.1954.tb00159.x

    Examples
    --------
    >>> control = MeanEstimate(np.array([10.0, 0.1]), np.array([0.04, 0.04]), np.array([500, 500]))
    >>> cells = estimate_comparisons(control, MeanEstimate(10.6, 0.05, 480))
    >>> cells.statistic.round(3), cells.refusals["relative_interval"].at(1).reason
    (array([ 2., 35.]), 'the mean of the control is not clearly different from zero')
    """
    options = {"alpha": alpha, "family_size": family_size, "alternative": alternative, "relative": relative}
    return Comparisons(**_comparisons(control, treatment, None, df, **options))


def proportion_comparisons(
    successes_control: Any,
    n_control: Any,
    successes_treatment: Any,
    n_treatment: Any,
    *,
    alpha: Any = 0.05,
    family_size: Any = 1,
    alternative: Alternative = "two-sided",
    test: ShareTest = "pooled",
    interval: ShareInterval = "newcombe",
    relative: ShareRelativeMethod = "koopman",
) -> Comparisons:
    """Compare many shares of units at once, each as ``inference.compare_proportions`` does.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : array of int
        Of any shapes that broadcast; ``0 <= successes <= n``.
    alpha : float or array, in (0, 1)
        Of a family.
    family_size : int or array, at least 1
        Cells that share ``alpha``, by Bonferroni.
    alternative : {"two-sided", "greater", "less"}
    test : {"pooled", "unpooled"}
    interval : {"newcombe", "miettinen-nurminen", "wald"}
    relative : {"koopman", "fieller", "delta"}

    Returns
    -------
    Comparisons

    Raises
    ------
    ValueError
        If an argument is not what it must be or shapes do not broadcast; the message names the place.

    References
    ----------
    .. [1] Newcombe (1998), Statistics in Medicine 17, 873-890.
       doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I
    .. [2] Koopman (1984), Biometrics 40(2). doi:10.2307/2531405

    Examples
    --------
    >>> cells = proportion_comparisons([155, 0], 5_000, [190, 0], 5_000)
    >>> cells.pvalue.round(4), cells.refusals["pvalue"].at(1).reason
    (array([0.0551,    nan]), 'no unit of control and treatment has the outcome, so nothing varies')
    """
    level = _shared(alpha, family_size, alternative)
    check_methods(test, interval, relative)
    *counts, level, size = together(
        successes_control=successes_control,
        n_control=n_control,
        successes_treatment=successes_treatment,
        n_treatment=n_treatment,
        alpha=level,
        family_size=family_size,
    )
    check_counts(counts[0], counts[1], "successes_control", "n_control")
    check_counts(counts[2], counts[3], "successes_treatment", "n_treatment")
    whole = Refusals.first(
        level.shape, {f"{name} has no units": counts[at] == 0 for name, at in (("control", 1), ("treatment", 3))}
    )
    # Where there is no unit, 1 of 1 stands in; the cell is blanked at the end.
    xc, nc, xt, nt = (np.where(whole.computed, part, 1) for part in counts)
    control, treatment = (MeanEstimate.of_proportion(*arm) for arm in ((xc, nc), (xt, nt)))
    statistic = TESTS[test](xc, nc, xt, nt)
    no_ratio = Refusals.first(level.shape, {intervals.NO_RATIO: xc == 0}, after=whole)
    options = {"alpha": level, "alternative": alternative}
    effect = treatment.mean - control.mean
    with np.errstate(invalid="ignore", divide="ignore"):
        relative_effect = effect / control.mean
    if interval == "wald":
        effect_interval = intervals.wald_interval(control, treatment, **options)
    else:
        share_interval = newcombe_interval if interval == "newcombe" else miettinen_nurminen_interval
        effect_interval = share_interval(xc, nc, xt, nt, **options)
    if relative == "koopman":
        relative_interval, causes = score_ratio_interval(xc, nc, xt, nt, **options), {intervals.NO_RATIO: xc == 0}
    else:
        ends, causes = _relative_ends(control, treatment, critical_value(level, alternative), relative)
        relative_interval = interval_ends(*ends, alternative)
    return Comparisons(
        **_blanked(
            effect=effect,
            effect_interval=effect_interval,
            relative_effect=relative_effect,
            relative_interval=relative_interval,
            statistic=statistic,
            df=None,
            pvalue=tail_pvalue(statistic, alternative),
            family_size=size,
            standard_error=np.sqrt(control.squared_error + treatment.squared_error),
            refusals={
                "effect": whole,
                "effect_interval": Refusals.first(
                    level.shape, {intervals.NOTHING_VARIES: np.isnan(sum(effect_interval))}, after=whole
                ),
                "relative_effect": no_ratio,
                "relative_interval": Refusals.first(level.shape, causes, after=whole),
                "pvalue": Refusals.first(level.shape, _without_variation(xc, xt, statistic), after=whole),
            },
        ),
        confidence_level=1 - level,
        alternative=alternative,
        method=share_method(test, interval, relative),
        standardised_effect=None,
    )


def _without_variation(xc: np.ndarray, xt: np.ndarray, statistic: np.ndarray) -> dict[str, np.ndarray]:
    still, none, none_treated = np.isnan(statistic), xc == 0, xt == 0
    return {
        without_variation(0, 1, 0, 1): still & none & none_treated,
        without_variation(1, 1, 1, 1): still & ~none & ~none_treated,
        without_variation(0, 1, 1, 1): still & (none != none_treated),
    }


def _comparisons(
    control: MeanEstimate, treatment: MeanEstimate, few: Refusals | None, df: Any, *,
    alpha: Any, family_size: Any, alternative: Alternative, relative: RelativeMethod,
) -> dict[str, Any]:  # fmt: skip
    """Fields of the comparisons of estimates; ``few`` says which cells have too few units."""
    if relative not in ("fieller", "delta"):
        raise ValueError(f"relative is {relative!r}; it must be 'fieller' or 'delta'.")
    level = _shared(alpha, family_size, alternative)
    control, treatment, level, size = _cells(control, treatment, level, family_size)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        squared_error = control.squared_error + treatment.squared_error
        whole = Refusals.first(level.shape, _causes(control, treatment, squared_error), after=few)
        df = welch_df(control, treatment) if df is None else np.broadcast_to(df, level.shape)
        df = np.where(whole.computed, df, np.nan)
        effect, standard_error = treatment.mean - control.mean, np.sqrt(squared_error)
        quantile = critical_value(level, alternative, df)
        half = quantile * standard_error
        statistic = effect / standard_error
        ends, causes = _relative_ends(control, treatment, quantile, relative)
        relative_effect = effect / np.abs(control.mean)
        no_ratio = {intervals.NO_RATIO: control.mean == 0, intervals.UNBOUNDED: ~np.isfinite(relative_effect)}
    fields = _blanked(
        effect=effect,
        effect_interval=interval_ends(effect - half, effect + half, alternative),
        relative_effect=relative_effect,
        relative_interval=interval_ends(*ends, alternative),
        statistic=statistic,
        df=df,
        pvalue=tail_pvalue(statistic, alternative, df),
        family_size=size,
        standard_error=standard_error,
        refusals={
            "effect": whole,
            "effect_interval": whole,
            "relative_effect": Refusals.first(level.shape, no_ratio, after=whole),
            "relative_interval": Refusals.first(level.shape, causes, after=whole),
            "pvalue": whole,
        },
    )
    method = f"Welch t test and interval; {NAMES[relative]} relative interval"
    return {**fields, "confidence_level": 1 - level, "alternative": alternative, "method": method,
            "standardised_effect": None}  # fmt: skip


def _shared(alpha: Any, family_size: Any, alternative: str) -> Any:
    """Alpha of one cell."""
    check_choices(alpha, alternative)
    check_each("family_size", family_size, lambda size: (size >= 1) & (np.floor(size) == size), "a whole number from 1")
    alpha, family_size = together(alpha=alpha, family_size=family_size)
    return alpha / family_size


def _cells(control: MeanEstimate, treatment: MeanEstimate, level: Any, family_size: Any) -> tuple[Any, ...]:
    parts = together(
        **{f"control.{name}": getattr(control, name) for name in ("mean", "squared_error", "df")},
        **{f"treatment.{name}": getattr(treatment, name) for name in ("mean", "squared_error", "df")},
        alpha=level,
        family_size=family_size,
    )
    return MeanEstimate(*parts[:3]), MeanEstimate(*parts[3:6]), *parts[6:]


def _causes(control: MeanEstimate, treatment: MeanEstimate, squared_error: np.ndarray) -> dict[str, np.ndarray]:
    causes = {
        f"a value of {name} is not a finite number": ~(np.isfinite(arm.mean) & np.isfinite(arm.squared_error))
        for name, arm in (("control", control), ("treatment", treatment))
    }
    too_large = ~np.isfinite(squared_error + np.abs(treatment.mean - control.mean))
    return {**causes, intervals.NOTHING_VARIES: squared_error == 0, TOO_LARGE: too_large}


def _relative_ends(
    control: MeanEstimate, treatment: MeanEstimate, quantile: np.ndarray, method: RelativeMethod
) -> tuple[Ends, dict[str, np.ndarray]]:
    if method == "fieller":
        low, high, g = intervals.fieller_ends(control, treatment, quantile)
        unbounded = np.logical_not(g < 1)
    else:
        low, high, half = intervals.delta_ends(control, treatment, quantile)
        unbounded = np.isnan(low) & (half != 0)
    causes = {intervals.NO_RATIO: control.mean == 0, intervals.UNBOUNDED: unbounded, intervals.NO_WIDTH: np.isnan(low)}
    return (low, high), causes


def _blanked(*, refusals: Mapping[str, Refusals], family_size: np.ndarray, **fields: Any) -> dict[str, Any]:
    """Fields with nan where they were refused, and the p-value adjusted for its family."""
    fields["adjusted_pvalue"] = np.minimum(fields["pvalue"] * family_size, 1.0)
    found: dict[str, Any] = {"refusals": refusals}
    for name, values in fields.items():
        computed = refusals[name if name in refusals else "effect"].computed
        if values is None:
            found[name] = None
        elif isinstance(values, tuple):
            found[name] = tuple(np.where(computed, end, math.nan) for end in values)
        else:
            found[name] = np.where(computed, values, math.nan)
    return found
