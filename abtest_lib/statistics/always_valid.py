"""Intervals and p-values that hold at every look, however many there are and whenever one stops.

A *confidence sequence* covers the truth on all nights at once with probability ``1 - alpha``; no number of looks and no
last night is agreed beforehand. The price is width: about 1.5 times that of an interval for one night.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import lambertw

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import (
    Alternative,
    Interval,
    check_choices,
    check_each,
    check_positive,
    floats,
    interval_ends,
    plain,
)


@dataclass(frozen=True)
class AlwaysValidComparison:
    """Say how much a treatment moved a metric, with an interval and a p-value that hold at every look.

    Parameters
    ----------
    effect : float
    effect_interval : tuple of float
        One element of a confidence sequence; one end is infinite under a one-sided alternative.
    pvalue : float
        At most ``alpha`` exactly when the interval leaves out 0. One-sided it is never above 0.5, which stands for
        no evidence at all.
    rho : float
        Width of the mixture, which sets where the sequence is narrowest.
    confidence_level : float
    alternative : {"two-sided", "greater", "less"}
    """

    effect: float
    effect_interval: Interval
    pvalue: float
    rho: float
    confidence_level: float
    alternative: Alternative


def narrowest_rho_squared(planned_n: float, *, alpha: float) -> float:
    """Return the rho squared that makes a two-sided confidence sequence narrowest after ``planned_n`` units.

    Parameters
    ----------
    planned_n : float
        Units, at least 1.
    alpha : float, in (0, 1)

    Returns
    -------
    float
        Above 0.

    Raises
    ------
    ValueError
        If ``planned_n`` or ``alpha`` is not what it must be.

    Notes
    -----
    Setting the derivative of the width to zero leaves ``x = log((x + 1) / alpha**2)`` for ``x = planned_n * rho**2``,
    solved by the lower branch of Lambert's W.

    References
    ----------
    .. [1] Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), Ann. Statist. 52(6). doi:10.1214/24-AOS2408

    Examples
    --------
    >>> round(narrowest_rho_squared(1_000, alpha=0.05), 6)
    0.008212
    """
    check_choices(alpha, "two-sided")
    check_units(planned_n, "planned_n")
    return float((-lambertw(-np.square(alpha) * math.exp(-1), -1).real - 1) / planned_n)


def sequence_margin(n: Any, *, rho_squared: float, alpha: float = 0.05) -> Any:
    """Return half the width of a two-sided confidence sequence for a mean, in standard deviations.

    Parameters
    ----------
    n : float or array
        Units so far, at least 1.
    rho_squared : float
        Above 0; ``narrowest_rho_squared`` picks it. One value for the whole life of a sequence.
    alpha : float, in (0, 1)

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), Ann. Statist. 52(6). doi:10.1214/24-AOS2408

    Examples
    --------
    >>> round(sequence_margin(1_000, rho_squared=0.0082), 5)
    0.09598
    """
    check_choices(alpha, "two-sided")
    check_units(n, "n")
    check_positive(rho_squared, "rho_squared")
    (units,) = floats(n)
    spread = units * rho_squared
    return plain(np.sqrt((spread + 1) / (units * spread) * (np.log1p(spread) - 2 * math.log(alpha))))


def mean_sequence(mean: Any, sd: Any, n: Any, *, planned_n: float, alpha: float = 0.05) -> tuple[Any, Any]:
    """Return the asymptotic confidence sequence of a mean, for one look or for all.

    Parameters
    ----------
    mean, sd : float or array
        Of the units so far; ``sd`` at least 0.
    n : float or array
        Units so far.
    planned_n : float
        Units at which the sequence shall be narrowest; fixed before the first look.
    alpha : float, in (0, 1)

    Returns
    -------
    tuple of float or array
        Lower and upper ends.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), Ann. Statist. 52(6). doi:10.1214/24-AOS2408

    Examples
    --------
    >>> [round(end, 4) for end in mean_sequence(0.031, 0.173, 1_000, planned_n=1_000)]
    [0.0144, 0.0476]
    """
    check_each("mean", mean, np.isfinite, "a finite number")
    check_each("sd", sd, lambda value: (value >= 0) & np.isfinite(value), "at least 0")
    rho_squared = narrowest_rho_squared(planned_n, alpha=alpha)
    margin = np.asarray(sd) * sequence_margin(n, rho_squared=rho_squared, alpha=alpha)
    return plain(np.asarray(mean) - margin), plain(np.asarray(mean) + margin)


def compare_always_valid(
    effect: float,
    standard_error: float,
    n: float,
    *,
    planned_n: float = 5_000,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> AlwaysValidComparison | NotComputed:
    """Compare two variants so that the answer holds at every look.

    Parameters
    ----------
    effect : float
        Absolute or relative.
    standard_error : float
        Of ``effect`` tonight.
    n : float
        Units of both variants tonight, at least 2.
    planned_n : float
        Units of both variants at which the sequence shall be narrowest; fixed before the first look.
    alpha : float, in (0, 1)
        Below 0.5 under a one-sided alternative.
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    AlwaysValidComparison or NotComputed
        NotComputed when the effect has no error or is not finite.

    Raises
    ------
    ValueError
        If ``n``, ``planned_n``, ``alpha`` or ``alternative`` is not what it must be.

    Notes
    -----
    GrowthBook's parameterisation, to be compared with it: ``n`` counts both variants, rho squared is
    ``(-2 log a + log(1 - 2 log a)) / planned_n`` with ``a = alpha`` two-sided and ``2 * alpha`` one-sided, and
    one-sided p-values end at 0.5. That rho is close to the best, not quite the best; any rho is valid.

    References
    ----------
    .. [1] Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2023), arXiv:2103.06476v7, equations 9, 134, 155, 161.
       doi:10.48550/arXiv.2103.06476

    Examples
    --------
    >>> result = compare_always_valid(0.004, 0.00303, 10_000)
    >>> [round(end, 4) for end in result.effect_interval], result.pvalue
    ([-0.0053, 0.0133], 1.0)
    """
    check_choices(alpha, alternative)
    check_units(n, "n")
    check_units(planned_n, "planned_n")
    level = alpha if alternative == "two-sided" else 2 * alpha
    if level >= 1:
        raise ValueError(f"alpha is {alpha}; it must be below 0.5 under a one-sided alternative.")
    refusal = _refusal(effect, standard_error)
    if refusal:
        return refusal
    rho_squared = (-2 * math.log(level) + math.log1p(-2 * math.log(level))) / planned_n
    spread = n * rho_squared
    crossing = math.sqrt(spread + 1) / level
    threshold = math.log(crossing) if alternative == "two-sided" else math.log1p(crossing)
    margin = standard_error * math.sqrt(2 * (spread + 1) / spread * threshold)
    return AlwaysValidComparison(
        effect=effect,
        effect_interval=interval_ends(effect - margin, effect + margin, alternative),
        pvalue=_sequence_pvalue(effect / standard_error, spread, alternative),
        rho=math.sqrt(rho_squared),
        confidence_level=1 - alpha,
        alternative=alternative,
    )


def mixture_log_ratio(effect: Any, squared_error: Any, *, tau_squared: float) -> Any:
    """Return the log of the mixture likelihood ratio against no effect (mSPRT with a normal mixture).

    Parameters
    ----------
    effect : float or array
    squared_error : float or array
        Variance of ``effect``, above 0.
    tau_squared : float
        Variance of the effects that the test is tuned to find, above 0; fixed before the first look.

    Returns
    -------
    float or array
        Above ``-log(alpha)`` where the mSPRT rejects at ``alpha``.

    Raises
    ------
    ValueError
        If ``squared_error`` or ``tau_squared`` is not above 0.

    References
    ----------
    .. [1] Johari, Koomen, Pekelis, Walsh (2022), Oper. Res. 70(3). doi:10.1287/opre.2021.2135

    Examples
    --------
    >>> round(mixture_log_ratio(0.02, 1.6e-5, tau_squared=1e-4), 4)
    9.7854
    """
    check_positive(squared_error, "squared_error")
    check_positive(tau_squared, "tau_squared")
    check_each("effect", effect, np.isfinite, "a finite number")
    value, error = floats(effect, squared_error)
    return plain(
        np.square(value) * tau_squared / (2 * error * (error + tau_squared)) - np.log1p(tau_squared / error) / 2
    )


def mixture_pvalue(effect: Any, squared_error: Any, *, tau_squared: float) -> Any:
    """Return tonight's p-value of the mSPRT; over nights take ``running_pvalues``.

    Parameters
    ----------
    effect, squared_error : float or array
    tau_squared : float
        As for ``mixture_log_ratio``.

    Returns
    -------
    float or array
        In [0, 1].

    Raises
    ------
    ValueError
        If ``squared_error`` or ``tau_squared`` is not above 0.

    References
    ----------
    .. [1] Johari, Koomen, Pekelis, Walsh (2022), Oper. Res. 70(3). doi:10.1287/opre.2021.2135

    Examples
    --------
    >>> round(mixture_pvalue(0.004, 3.24e-6, tau_squared=9e-6), 4)
    0.3163
    """
    return plain(
        np.exp(np.minimum(0.0, -np.asarray(mixture_log_ratio(effect, squared_error, tau_squared=tau_squared))))
    )


def mixture_interval(effect: Any, squared_error: Any, *, tau_squared: float, alpha: float = 0.05) -> tuple[Any, Any]:
    """Return the effects that the mSPRT does not reject tonight.

    Parameters
    ----------
    effect, squared_error : float or array
    tau_squared : float
        As for ``mixture_log_ratio``.
    alpha : float, in (0, 1)

    Returns
    -------
    tuple of float or array
        Lower and upper ends.

    Raises
    ------
    ValueError
        If ``alpha`` is not in (0, 1), or ``squared_error`` or ``tau_squared`` is not above 0.

    References
    ----------
    .. [1] Johari, Koomen, Pekelis, Walsh (2022), Oper. Res. 70(3). doi:10.1287/opre.2021.2135

    Examples
    --------
    >>> [round(end, 5) for end in mixture_interval(0.004, 3.24e-6, tau_squared=9e-6)]
    [-0.00168, 0.00968]
    """
    check_choices(alpha, "two-sided")
    check_positive(squared_error, "squared_error")
    check_positive(tau_squared, "tau_squared")
    check_each("effect", effect, np.isfinite, "a finite number")
    value, error = floats(effect, squared_error)
    threshold = np.log1p(tau_squared / error) / 2 - math.log(alpha)
    margin = np.sqrt(2 * error * (error + tau_squared) / tau_squared * threshold)
    return plain(value - margin), plain(value + margin)


def anytime_valid_t(
    effect: float, standard_error: float, *, df: float, n: float, precision: float = 1.0, alpha: float = 0.05
) -> tuple[float, Interval] | NotComputed:
    """Return p-value and interval, valid at every look, of a coefficient of a regression.

    Parameters
    ----------
    effect, standard_error : float
        Of the coefficient, as least squares gives them tonight.
    df : float
        Residual degrees of freedom, above 0.
    n : float
        Units in the regression, at least 1.
    precision : float
        Of the mixture, above 0; small for small effects, and fixed before the first look.
    alpha : float, in (0, 1)

    Returns
    -------
    tuple of float and tuple of float, or NotComputed
        The interval is infinite where no effect could yet be rejected. NotComputed when the effect has no error or
        is not finite.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Lindon, Ham, Tingley, Bojinov (2022), arXiv:2210.08589. doi:10.48550/arXiv.2210.08589

    Examples
    --------
    >>> pvalue, interval = anytime_valid_t(0.50027, 0.18352, df=117, n=120)
    >>> round(pvalue, 3), [round(end, 3) for end in interval]
    (0.3, [-0.117, 1.117])
    """
    check_choices(alpha, "two-sided")
    check_units(n, "n")
    check_positive(df, "df")
    check_positive(precision, "precision")
    refusal = _refusal(effect, standard_error)
    if refusal:
        return refusal
    share = precision / (precision + n)
    squared = (effect / standard_error) ** 2 / df
    evidence = math.log(share) / 2 + (df + 1) / 2 * (math.log1p(squared) - math.log1p(share * squared))
    growth = math.expm1((-2 * math.log(alpha) - math.log(share)) / (df + 1))
    room = 1 - share * (1 + growth)
    margin = standard_error * math.sqrt(df * growth / room) if room > 0 else math.inf
    return math.exp(min(0.0, -evidence)), (effect - margin, effect + margin)


def running_pvalues(pvalues: Sequence[float]) -> list[float]:
    """Return the smallest always-valid p-value up to each night, which is valid too and never rises.

    Parameters
    ----------
    pvalues : sequence of float, in [0, 1]
        One per night, each always-valid. Ordinary p-values do not become valid by this; they become worse.

    Returns
    -------
    list of float
        One a night, never rising.

    Raises
    ------
    ValueError
        If a p-value is not in [0, 1].

    References
    ----------
    .. [1] Johari, Koomen, Pekelis, Walsh (2022), Oper. Res. 70(3). doi:10.1287/opre.2021.2135

    Examples
    --------
    >>> running_pvalues([0.9, 0.2, 0.4])
    [0.9, 0.2, 0.2]
    """
    values = np.asarray(pvalues, dtype=float)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"pvalues is {pvalues!r}; it must be a flat list of numbers in [0, 1].")
    return np.minimum.accumulate(values).tolist()


def _refusal(effect: float, standard_error: float) -> NotComputed | None:
    if not (math.isfinite(effect) and math.isfinite(standard_error)):
        return NotComputed("the effect or its standard error is not finite")
    if not standard_error > 0:
        return NotComputed("the effect has no error to measure it against")
    return None


def _sequence_pvalue(statistic: float, spread: float, alternative: Alternative) -> float:
    exponent = statistic * statistic * spread / (2 * (spread + 1))
    if alternative == "two-sided":
        return math.exp(min(0.0, math.log1p(spread) / 2 - exponent))
    toward = statistic if alternative == "greater" else -statistic
    if toward <= 0:
        return 0.5
    # log(exp(x) - 1) that neither overflows nor loses small x
    log_excess = exponent + math.log(-math.expm1(-exponent)) if exponent > 0 else -math.inf
    return min(0.5, math.exp(min(0.0, math.log1p(spread) / 2 - math.log(2) - log_excess)))


def check_units(n: Any, name: str) -> None:
    """Raise ValueError unless a number of units, or each of them, is finite and at least 1.

    Parameters
    ----------
    n : float or array
    name : str
        What the message calls it.

    Raises
    ------
    ValueError
        If ``n`` is below 1 or not finite.

    Examples
    --------
    >>> check_units(0, "n")
    Traceback (most recent call last):
        ...
    ValueError: n is 0; it must be at least 1 unit.
    """
    if not np.all(np.isfinite(n) & (np.asarray(n) >= 1)):
        raise ValueError(f"{name} is {n}; it must be at least 1 unit.")
