"""Power from an effect and its standard error: what more data would show, while an experiment runs.

The standard error is that of tonight, so the spread of the metric is measured and not assumed.
"""

from __future__ import annotations

from math import inf, isfinite, sqrt
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from abtest_lib.statistics.bayesian import NormalPosterior
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.planning_checks import check_counted, check_target, directed
from abtest_lib.statistics.power import Counted
from abtest_lib.statistics.sequential_paths import find_root
from abtest_lib.statistics.tails import Alternative, check_positive, critical_value, plain


def power_estimate(
    effect: Any,
    standard_error: Any,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    counted: Counted = "effect side",
    prior: NormalPosterior | None = None,
) -> Any:
    """Return how probable it is that an effect is shown by an estimate with this standard error.

    Parameters
    ----------
    effect, standard_error : float or array
        True effect and the error of its estimate, on the same scale, absolute or relative; the error above 0.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
    counted : {"effect side", "either side"}
        See ``power.power_means``.
    prior : NormalPosterior, optional
        If given, the effect is shown where the credible interval of the posterior leaves out 0.

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    With prior N(m, v) and squared error s², w = v / (v + s²): the posterior's mean, w d + (1 - w) m, is compared with
    the critical value times its standard deviation, s √w. Without a prior w is 1.

    References
    ----------
    .. [1] Spiegelhalter, Abrams, Myles (2004), Bayesian Approaches to Clinical Trials, chapter 6.
       doi:10.1002/0470092602

    Examples
    --------
    >>> round(power_estimate(2.8, 1.0), 3), round(power_estimate(2.8, 1.0, prior=NormalPosterior(0.0, 2.0)), 3)
    (0.8, 0.729)
    """
    if not np.all(np.isfinite(effect)):
        raise ValueError(f"effect is {effect}; it must be a finite number.")
    check_positive(standard_error, "standard_error")
    check_counted(counted)
    critical = critical_value(alpha, alternative)
    effect, error = np.asarray(effect, dtype=float), np.asarray(standard_error, dtype=float)
    # The estimate must pass ``-shift + critical * error / sqrt(weight)``.
    shift, weight = np.zeros_like(error), np.ones_like(error)
    if prior is not None:
        weight = prior.sd**2 / (prior.sd**2 + np.square(error))
        shift = (1 - weight) / weight * prior.mean
    side = np.where(effect < 0, -1.0, 1.0) if alternative == "two-sided" else -1.0 if alternative == "less" else 1.0
    power = ndtr((directed(effect, alternative) + side * shift) / error - critical / np.sqrt(weight))
    if counted == "either side" and alternative == "two-sided":
        power = power + ndtr(-(np.abs(effect) + side * shift) / error - critical / np.sqrt(weight))
    return plain(power)


def further_data(
    effect: float,
    standard_error: float,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    counted: Counted = "effect side",
    prior: NormalPosterior | None = None,
) -> float:
    """Return how much more data is needed to show an effect, as a multiple of those so far.

    Parameters
    ----------
    effect : float
        Smallest effect that shall be shown, not 0.
    standard_error : float
        Of the estimate so far, above 0.
    power, alpha, alternative, counted, prior
        See ``power_estimate``; ``power`` must be above ``alpha``.

    Returns
    -------
    float
        0 where those so far are enough; 1 where as many again are needed. The estimate so far plays no part: see
        ``information_needed`` for a forecast from it.

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the effect is 0 or on the side that the test does not look for.

    References
    ----------
    .. [1] Spiegelhalter, Abrams, Myles (2004), Bayesian Approaches to Clinical Trials, chapter 6.
       doi:10.1002/0470092602

    Examples
    --------
    >>> round(further_data(0.05, 0.0324), 2)
    2.3
    """
    check_target(power, alpha, alternative)
    check_positive(standard_error, "standard_error")
    if not directed(effect, alternative) > 0:
        raise ValueError(f"effect is {effect}; it must be on the side that alternative {alternative!r} looks for.")
    options = {"alpha": alpha, "alternative": alternative, "counted": counted, "prior": prior}

    def lacking(log_multiple: float) -> float:
        return float(power_estimate(effect, standard_error * np.exp(-log_multiple / 2), **options)) - power

    if lacking(0.0) >= 0:
        return 0.0
    far = 1.0
    while lacking(far) < 0:
        far *= 2
    return float(np.expm1(find_root(lacking, 0.0, far)))


def power_of_each(power: float, metrics: int) -> float:
    """Return the power that each of several independent metrics needs so that all of them are shown.

    Parameters
    ----------
    power : float, in (0, 1)
        Probability that all are shown.
    metrics : int, at least 1

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    ``power ** (1 / metrics)``; metrics that go together need less.

    Examples
    --------
    >>> round(power_of_each(0.8, 2), 4)
    0.8944
    """
    if not 0 < power < 1:
        raise ValueError(f"power is {power}; it must be between 0 and 1.")
    if not (metrics >= 1 and metrics % 1 == 0):
        raise ValueError(f"metrics is {metrics}; it must be a whole number, at least 1.")
    return power ** (1 / metrics)


def information_needed(
    *,
    at: float,
    z: float,
    effect: float,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> float | NotComputed:
    """Return the information at which one last test is passed with the given probability, from where it is tonight.

    Parameters
    ----------
    at : float
        Information so far, at least 0.
    z : float
        Statistic so far; 0 where ``at`` is 0.
    effect : float
        Assumed true effect, not 0.
    power : float, in [0.5, 1)
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}
        Two-sided looks on the side of ``effect``.

    Returns
    -------
    float or NotComputed
        ``at`` where the statistic is past the critical value; with ``at`` 0 that of a classical plan. In days: the
        units are in proportion. NotComputed when the assumed effect is 0 or on the other side.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Lan, Wittes (1988), Biometrics 44(2). doi:10.2307/2531870

    Examples
    --------
    >>> round(information_needed(at=0.0, z=0.0, effect=0.1), 1)
    784.9
    >>> round(information_needed(at=400.0, z=1.0, effect=0.1), 1)
    1049.4
    """
    critical = critical_value(alpha, alternative)
    if not (0 <= at < inf and isfinite(z) and isfinite(effect)):
        raise ValueError(f"at is {at}, z {z} and effect {effect}; they must be finite, and at must not be below 0.")
    if not 0.5 <= power < 1:
        raise ValueError(f"power is {power}; it must be at least 0.5 and below 1.")
    sign = -1 if alternative == "less" or (alternative == "two-sided" and effect < 0) else 1
    score, hoped, quantile = sign * z * sqrt(at), sign * effect, float(ndtri(power))
    if at > 0 and sign * z >= critical:
        return float(at)
    if hoped <= 0:
        return NotComputed("the assumed effect does not lead to the conclusion that is asked for")

    def lacking(more: float) -> float:
        return score + hoped * more - critical * sqrt(at + more) - quantile * sqrt(more)

    far = ((critical + quantile) / hoped) ** 2
    if at == 0:
        return far
    # Convex and below 0 at the start: it passes 0 once.
    far = max(far, at)
    while lacking(far) < 0:
        far *= 2
    return float(at + find_root(lacking, 0.0, far, tolerance=1e-12 * far))
