"""Planning a comparison of means: power, required units, minimum detectable effect.

Ratio metrics and adjusted means are planned here too, by the ``sd`` of their ``planning.Baseline``; shares of units in
``power_proportions``, margins in ``power_margins``. All but the relative ones broadcast over arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy.special import nctdtr, ndtr, ndtri

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, welch_df
from abtest_lib.statistics.planning import RequiredUnits
from abtest_lib.statistics.planning_checks import (
    Family,
    check_counted,
    check_effect,
    check_inflation,
    check_relative,
    check_target,
    comparison_alpha,
    directed,
)
from abtest_lib.statistics.tails import Alternative, check_positive, critical_value, plain

MeansTest = Literal["welch", "student", "z"]
Counted = Literal["effect side", "either side"]


def power_means(
    effect: Any,
    *,
    n_control: Any,
    n_treatment: Any,
    sd: Any,
    sd_treatment: Any = None,
    test: MeansTest = "welch",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    treatments: int = 1,
    family: Family = "bonferroni",
    counted: Counted = "effect side",
) -> Any:
    """Return how probable it is that an effect on a mean is shown.

    Parameters
    ----------
    effect : float or array
        True difference treatment - control, in the metric's unit; ``Baseline.effect`` of a relative one.
    n_control, n_treatment : float or array
        Units, at least 2.
    sd : float or array
        Standard deviation between units of the control, above 0.
    sd_treatment : float or array, optional
        Of the treatment; default ``sd``.
    test : {"welch", "student", "z"}
        Degrees of freedom: Welch-Satterthwaite, ``n_control + n_treatment - 2``, or none (the normal distribution).
    alpha : float, in (0, 1)
        Shared by the comparisons of all treatments.
    alternative : {"two-sided", "greater", "less"}
    treatments : int
        Treatments, each compared with the control, at least 1.
    family : {"bonferroni", "dunnett"}
        How they share ``alpha``: ``alpha / treatments`` each, or Dunnett's level, which needs fewer units.
    counted : {"effect side", "either side"}
        "effect side" does not count a significant result that points the wrong way.

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    P(T > critical value) of the noncentral t distribution with noncentrality effect / standard error. For Welch's test
    with unequal variances this is an approximation, with equal ones and equal n it is exact.

    References
    ----------
    .. [1] Cohen (1988), Statistical Power Analysis, 2nd ed. doi:10.4324/9780203771587

    Examples
    --------
    >>> round(power_means(0.5, n_control=1_006, n_treatment=1_006, sd=4.0), 4)
    0.8001
    """
    if not np.all(np.isfinite(effect)):
        raise ValueError(f"effect is {effect}; it must be a finite number.")
    check_counted(counted)
    _check_units(n_control, n_treatment)
    error, df = _error(test, n_control, n_treatment, sd, sd_treatment)
    level = comparison_alpha(
        alpha, treatments, family=family, alternative=alternative, allocation=np.divide(n_treatment, n_control)
    )
    critical = critical_value(level, alternative, df)
    shift = directed(effect, alternative) / error
    power = _beyond(shift, critical, df)
    if counted == "either side" and alternative == "two-sided":
        power = power + _beyond(-shift, critical, df)
    return plain(power)


def required_units_means(
    effect: Any,
    *,
    sd: Any,
    sd_treatment: Any = None,
    test: MeansTest = "welch",
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    allocation: float = 1.0,
    treatments: int = 1,
    family: Family = "bonferroni",
    inflation: float = 1.0,
) -> RequiredUnits:
    """Return how many units it takes to show an effect on a mean.

    Parameters
    ----------
    effect : float or array
        Difference that shall be shown, in the metric's unit, not 0; ``Baseline.effect`` of a relative one.
    sd, sd_treatment, test
        See ``power_means``.
    power : float, in (alpha, 1)
        Of each comparison.
    alpha, alternative
        See ``power_means``.
    allocation : float
        Units of a treatment for each unit of the control, above 0.
    treatments, family
        See ``power_means``.
    inflation : float
        Maximum units of a group-sequential design over those of one look, at least 1; ``looks_inflation`` has it.

    Returns
    -------
    RequiredUnits

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the effect lies on the side that the test does not look for.

    References
    ----------
    .. [1] Cohen (1988), Statistical Power Analysis, 2nd ed. doi:10.4324/9780203771587

    Examples
    --------
    >>> required_units_means(0.5, sd=4.0).control
    1006
    >>> required_units_means(0.5, sd=4.0, allocation=2.0, treatments=2, inflation=1.03).total
    4708
    """
    alpha = comparison_alpha(alpha, treatments, family=family, alternative=alternative, allocation=allocation)
    check_target(power, alpha, alternative)
    check_effect(effect, alternative)
    check_positive(allocation, "allocation")
    check_inflation(inflation)
    distance = directed(effect, alternative)
    # The error of one unit of the control and ``allocation`` of the treatment.
    error, _ = _error("z" if test == "welch" else test, 1.0, allocation, sd, sd_treatment)
    exact = np.square((critical_value(alpha, alternative) + ndtri(power)) * error / distance)
    if test != "z":

        def missing(n: np.ndarray) -> np.ndarray:
            error, df = _error(test, n, allocation * n, sd, sd_treatment)
            return _beyond(distance / error, critical_value(alpha, alternative, df), df) - power

        least = np.full_like(exact, 2 / min(1.0, allocation))
        exact = _rising_root(missing, least, np.maximum(exact, least))
    return RequiredUnits(plain(exact * inflation), allocation, treatments)


def minimum_detectable_means(
    *,
    n_control: Any,
    n_treatment: Any,
    sd: Any,
    sd_treatment: Any = None,
    test: MeansTest = "welch",
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    treatments: int = 1,
    family: Family = "bonferroni",
    inflation: float = 1.0,
) -> Any:
    """Return the smallest effect on a mean that is shown with the given power.

    Parameters
    ----------
    n_control, n_treatment, sd, sd_treatment, test
        See ``power_means``.
    power
        See ``required_units_means``.
    alpha, alternative, treatments, family
        See ``power_means``.
    inflation
        See ``required_units_means``.

    Returns
    -------
    float or array
        In the metric's unit; negative with alternative "less". ``Baseline.relative_effect`` makes it relative.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Cohen (1988), Statistical Power Analysis, 2nd ed. doi:10.4324/9780203771587

    Examples
    --------
    >>> round(minimum_detectable_means(n_control=300, n_treatment=300, sd=4.0), 4)
    0.9165
    """
    _check_units(n_control, n_treatment)
    ratio = np.divide(n_treatment, n_control)
    alpha = comparison_alpha(alpha, treatments, family=family, alternative=alternative, allocation=ratio)
    check_target(power, alpha, alternative)
    check_inflation(inflation)
    n_control, n_treatment = np.asarray(n_control) / inflation, np.asarray(n_treatment) / inflation
    _check_units(n_control, n_treatment)
    error, df = _error(test, n_control, n_treatment, sd, sd_treatment)
    shift = critical_value(alpha, alternative) + ndtri(power)
    if df is not None:
        critical = critical_value(alpha, alternative, df) + np.zeros_like(error)
        shift = _rising_root(lambda shift: _beyond(shift, critical, df) - power, np.zeros_like(critical), critical)
    return plain(shift * error * (-1 if alternative == "less" else 1))


def power_relative_means(relative_effect: float, *, mean: float, sd: float, **options: Any) -> float:
    """Return how probable it is that a relative effect is shown by a test of its delta-method statistic.

    Parameters
    ----------
    relative_effect : float
        True relative effect, above -1.
    mean, sd : float
        Of the control, above 0; ``sd`` is the treatment's too. ``Baseline.of_share`` has those of a share.
    **options
        ``n_control``, ``n_treatment``, ``alpha``, ``alternative``, ``treatments``, ``family``,
        ``counted`` of ``power_means``.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    The standard error is √(s²/n_t + (1 + δ)² s²/n_c) / m, that of ``inference.compare_relative_by_delta``. The nightly
    p-value of a relative effect is that of the difference: plan it by ``power_means``.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> round(power_relative_means(0.01, mean=100.0, sd=40.0, n_control=20_000, n_treatment=20_000), 3)
    0.701
    """
    check_relative(relative_effect, mean)
    return power_means(
        relative_effect * mean, sd=(1 + relative_effect) * np.asarray(sd), sd_treatment=sd, test="z", **options
    )


def minimum_detectable_relative_means(
    *,
    mean: float,
    sd: float,
    n_control: float,
    n_treatment: float,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    treatments: int = 1,
    family: Family = "bonferroni",
) -> float | NotComputed:
    """Return the smallest relative effect that a test of its delta-method statistic shows with the given power.

    Parameters
    ----------
    mean, sd, n_control, n_treatment
        See ``power_relative_means``.
    power : float, in (alpha, 1)
    alpha, alternative, treatments, family
        See ``power_relative_means``.

    Returns
    -------
    float or NotComputed
        An increase, but with alternative "less" a decrease; NotComputed where the means are known so poorly that
        none is shown.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> sample = {"n_control": 2_500, "n_treatment": 2_500}
    >>> round(minimum_detectable_relative_means(mean=100.0, sd=40.0, **sample), 4)
    0.0322
    """
    check_relative(0.0, mean)
    check_positive(sd, "sd")
    _check_units(n_control, n_treatment)
    ratio = np.divide(n_treatment, n_control)
    alpha = comparison_alpha(alpha, treatments, family=family, alternative=alternative, allocation=ratio)
    check_target(power, alpha, alternative)
    quantile = critical_value(alpha, alternative) + ndtri(power)
    of_control, of_treatment = (quantile * sd / mean) ** 2 / n_control, (quantile * sd / mean) ** 2 / n_treatment
    # δ² = of_treatment + (1 + δ)² of_control. An increase needs the control known well, a decrease the treatment.
    if (of_treatment if alternative == "less" else of_control) >= 1:
        return NotComputed("the means are known too poorly for such a relative effect to be shown")
    root = math.sqrt(of_control + of_treatment - of_control * of_treatment)
    if alternative == "less":
        return float(-(of_control + of_treatment) / (of_control + root))
    return float((of_control + root) / (1 - of_control))


def _beyond(shift: Any, critical: Any, df: Any) -> Any:
    """P(statistic > critical) where the effect is ``shift`` standard errors."""
    # The mirrored lower tail: nctdtr loses the upper one, and is nan for large shifts.
    return ndtr(shift - critical) if df is None else nctdtr(df, -np.asarray(shift), -np.asarray(critical))


def _error(test: str, n_control: Any, n_treatment: Any, sd: Any, sd_treatment: Any) -> tuple[Any, Any]:
    """Standard error of the difference and degrees of freedom, None for z."""
    if test not in ("welch", "student", "z"):
        raise ValueError(f"test is {test!r}; it must be 'welch', 'student' or 'z'.")
    if test == "student" and sd_treatment is not None:
        raise ValueError(f"sd_treatment is {sd_treatment}; test 'student' takes it to be that of the control.")
    sd_treatment = sd if sd_treatment is None else sd_treatment
    check_positive(sd, "sd")
    check_positive(sd_treatment, "sd_treatment")
    n_control, n_treatment = np.asarray(n_control, dtype=float), np.asarray(n_treatment, dtype=float)
    control = MeanEstimate(0.0, np.square(sd) / n_control, n_control - 1)
    treatment = MeanEstimate(0.0, np.square(sd_treatment) / n_treatment, n_treatment - 1)
    df = {"welch": welch_df, "student": lambda *_: n_control + n_treatment - 2, "z": lambda *_: None}[test]
    return np.sqrt(control.squared_error + treatment.squared_error), df(control, treatment)


def _rising_root(function: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where a rising function passes zero, at ``low`` if it is above it there; by bisection, for each of an array."""
    high = np.maximum(high, 1e-6)
    while np.any(short := function(high) < 0):
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    for _ in range(100):
        middle = (low + high) / 2
        short = function(middle) < 0
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high


def _check_units(n_control: Any, n_treatment: Any) -> None:
    for name, n in (("n_control", n_control), ("n_treatment", n_treatment)):
        if not np.all((np.asarray(n) >= 2) & np.isfinite(n)):
            raise ValueError(f"{name} is {n}; it must be at least 2.")
