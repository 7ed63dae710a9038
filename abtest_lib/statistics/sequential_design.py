"""What a test read at several looks costs and gains: sample size, drift, futility bounds, conditional power.

Drift is the mean of the statistic at the end of the planned information, if no look stopped the test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from scipy.special import ndtri

from abtest_lib.statistics.sequential import (
    LEAST_STEP,
    Crossing,
    SequentialBounds,
    checked_bounds,
    checked_information,
    crossing_from,
    crossing_probabilities,
    one_sided_alpha,
    planned_spending,
)
from abtest_lib.statistics.sequential_paths import Paths, find_root
from abtest_lib.statistics.spending import Spending, obrien_fleming_spending


@dataclass(frozen=True)
class SequentialDesign:
    """Hold what a test read at several looks costs and gains against one read once.

    Parameters
    ----------
    bounds : SequentialBounds
    drift : float
        Mean of the statistic at the last look at which the test has its power.
    inflation : float
        Largest sample size, as a multiple of that of a test read once with the same alpha and power.
    expected_size_without_effect, expected_size_with_effect : float
        Mean sample size, as multiples of the same.
    cumulative_power : tuple of float, k looks
        Probability of having stopped above by each look, with the effect.

    Examples
    --------
    >>> from abtest_lib.statistics.sequential import spending_bounds
    >>> design = sequential_design(spending_bounds([0.5, 1.0]), alpha=0.05, power=0.8)
    >>> round(design.inflation, 3), round(design.cumulative_power[0], 3)
    (1.004, 0.164)
    """

    bounds: SequentialBounds
    drift: float
    inflation: float
    expected_size_without_effect: float
    expected_size_with_effect: float
    cumulative_power: tuple[float, ...]


def sequential_design(
    bounds: SequentialBounds, *, alpha: float = 0.05, sides: int = 2, power: float = 0.8
) -> SequentialDesign:
    """Return the sample size and drift at which given bounds have the wanted power.

    Parameters
    ----------
    bounds : SequentialBounds
        Up to information fraction 1.
    alpha : float, in (0, 1)
        Of all sides together; what the test read once would be read at.
    sides : {1, 2}
    power : float, in (alpha per side, 1)
        Probability of stopping above.

    Returns
    -------
    SequentialDesign

    Raises
    ------
    ValueError
        If ``alpha``, ``sides`` or ``power`` is not what it must be, or the bounds do not end at fraction 1.

    Notes
    -----
    Inflation is ``(drift / (z_alpha + z_power)) ** 2``. The expected size counts stops on either side.

    References
    ----------
    .. [1] Jennison, Turnbull (1999), Group Sequential Methods, chapter 2. doi:10.1201/9780367805326

    Examples
    --------
    >>> from abtest_lib.statistics.sequential_classical import pocock_bounds
    >>> design = sequential_design(pocock_bounds([0.2, 0.4, 0.6, 0.8, 1.0]), power=0.9)
    >>> round(design.inflation, 3), round(design.expected_size_with_effect, 3)
    (1.207, 0.685)
    """
    fixed = _fixed_drift(one_sided_alpha(alpha, sides), power)
    _check_whole(bounds.information)

    def lacking(drift: float) -> float:
        return sum(_stopping(bounds, drift).upper) - power

    return _design(bounds, find_root(lacking, 0.0, _far(lacking, fixed)), fixed)


def futility_design(
    information: Sequence[float],
    *,
    alpha: float = 0.025,
    power: float = 0.9,
    spending: Spending = obrien_fleming_spending,
    futility_spending: Spending = obrien_fleming_spending,
    binding: bool = False,
) -> SequentialDesign:
    """Return a one-sided design that also stops when there is too little hope: beta is spent like alpha.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing to 1.
    alpha : float, in (0, 1)
        One-sided.
    power : float, in (alpha, 1)
    spending, futility_spending : callable
        Of alpha, and of beta = 1 - power; see ``abtest_lib.statistics.spending``.
    binding : bool, default False
        Whether a stop for futility is always obeyed: if so, the upper bounds may be lower, and alpha is exceeded
        when it is not.

    Returns
    -------
    SequentialDesign

    Raises
    ------
    ValueError
        If information does not increase to 1, or ``alpha`` or ``power`` is not what it must be.

    Notes
    -----
    The drift is that at which both bounds meet at the last look.

    References
    ----------
    .. [1] Pampallona, Tsiatis, Kim (2001), Drug Information Journal 35(4). doi:10.1177/009286150103500408

    Examples
    --------
    >>> design = futility_design([0.5, 1.0], power=0.8)
    >>> [round(z, 3) for z in design.bounds.lower], [round(z, 3) for z in design.bounds.upper]
    ([0.559, 1.969], [2.963, 1.969])
    """
    looks = checked_information(information)
    _check_whole(looks)
    fixed = _fixed_drift(one_sided_alpha(alpha, 1), power)
    alphas = planned_spending(looks, alpha, spending)
    betas = planned_spending(looks, 1 - power, futility_spending)

    def lacking(drift: float) -> float:
        bounds = _meeting_bounds(looks, alphas, betas, drift, binding)
        return sum(_stopping(bounds, drift).upper) - power

    drift = find_root(lacking, 0.9 * fixed, _far(lacking, fixed))
    return _design(_meeting_bounds(looks, alphas, betas, drift, binding), drift, fixed)


def futility_bounds(
    information: Sequence[float],
    *,
    drift: float,
    alpha: float = 0.025,
    power: float = 0.9,
    spending: Spending = obrien_fleming_spending,
    futility_spending: Spending = obrien_fleming_spending,
    spending_time: Sequence[float] | None = None,
    binding: bool = False,
) -> SequentialBounds:
    """Return the bounds for a gain and for futility of the looks taken so far, whenever they were taken.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing from above 0. Later looks need not be known.
    drift : float, above 0
        Mean of the statistic at the planned end with the effect hoped for, from ``futility_design``.
    alpha : float, in (0, 1)
        One-sided.
    power : float, in (alpha, 1)
        That of the design; ``1 - power`` is what futility may spend.
    spending, futility_spending : callable
        See ``abtest_lib.statistics.spending``.
    spending_time : sequence of float, k looks, optional
        Fraction at which both are spent; default ``information``. The bounds meet at a look that has reached 1.
    binding : bool, default False
        As of ``futility_design``.

    Returns
    -------
    SequentialBounds

    Raises
    ------
    ValueError
        If information does not increase, or another argument is not what it must be.

    Notes
    -----
    Alpha holds whatever the drift. Power is that of the design where the looks were as planned; with less information
    than that, futility spends its error first and power is lost.

    References
    ----------
    .. [1] Pampallona, Tsiatis, Kim (2001), Drug Information Journal 35(4). doi:10.1177/009286150103500408

    Examples
    --------
    >>> design = futility_design([0.5, 1.0], power=0.8)
    >>> bounds = futility_bounds([0.4, 0.7], drift=design.drift, power=0.8)
    >>> [round(z, 3) for z in bounds.lower], [round(z, 3) for z in bounds.upper]
    ([0.101, 1.199], [3.357, 2.445])
    """
    looks = checked_information(information)
    _fixed_drift(one_sided_alpha(alpha, 1), power)
    if not 0 < drift < inf:
        raise ValueError(f"drift is {drift}; it must be above 0.")
    times = looks if spending_time is None else spending_time
    alphas = planned_spending(looks, alpha, spending, spending_time)
    betas = planned_spending(looks, 1 - power, futility_spending, spending_time)
    return _meeting_bounds(looks, alphas, betas, drift, binding, ends=times[-1] >= 1 - 1e-9)


def conditional_power(
    information: Sequence[float],
    upper: Sequence[float],
    *,
    z: float,
    at: float,
    theta: float,
    lower: Sequence[float] | None = None,
) -> float:
    """Return the probability of stopping above at a later look, given the statistic now.

    Parameters
    ----------
    information : sequence of float, k looks
        Of the looks to come, increasing from above ``at``.
    upper : sequence of float, k looks
        Bounds of z at these looks.
    z : float
        Statistic now.
    at : float, above 0
        Information now, in the unit of ``information``.
    theta : float
        Assumed effect: mean of the statistic at information 1. ``z / sqrt(at)`` is the trend so far.
    lower : sequence of float, k looks, optional
        Bounds that stop a path below; default none.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If information does not increase from above ``at``, ``at`` is not above 0, ``z`` or ``theta`` is not finite, or
        bounds are of another length.

    References
    ----------
    .. [1] Jennison, Turnbull (1999), Group Sequential Methods, chapter 10. doi:10.1201/9780367805326

    Examples
    --------
    >>> round(conditional_power([1.0], [1.96], z=1.5, at=0.5, theta=1.5 / 0.5**0.5), 3)
    0.59
    """
    looks = checked_information(information)
    if not 0 < at <= (1 - LEAST_STEP) * looks[0]:
        raise ValueError(f"at is {at}; it must be above 0 and a thousandth below the next look, {looks[0]}.")
    for name, value in (("z", z), ("theta", theta)):
        if not abs(value) < inf:
            raise ValueError(f"{name} is {value}; it must be a finite number.")
    lows, highs = checked_bounds([-inf] * len(looks) if lower is None else lower, upper, len(looks))
    return sum(crossing_from(Paths.start(z, at, theta=theta), looks, lows, highs).upper)


def _meeting_bounds(
    looks: tuple[float, ...],
    alphas: Sequence[float],
    betas: Sequence[float],
    drift: float,
    binding: bool,
    *,
    ends: bool = True,
) -> SequentialBounds:
    """Bounds that spend alpha without an effect and beta with it; where the looks end, the last two bounds meet."""
    null, planned = Paths.start(), Paths.start(theta=drift)
    lower, upper, alpha, beta = [], [], 0.0, 0.0
    for look, then, alpha_by, beta_by in zip(looks, [*looks[1:], inf], alphas, betas, strict=True):
        high = null.upper_bound(alpha_by - alpha, look)
        low = high if ends and then == inf else min(planned.lower_bound(beta_by - beta, look), high)
        alpha, beta = alpha_by if high < inf else alpha, beta_by if low > -inf else beta
        lower.append(low)
        upper.append(high)
        if then < inf:
            null = null.within(low if binding else -inf, high, look, then)
            planned = planned.within(low, high, look, then)
    return SequentialBounds(looks, tuple(lower), tuple(upper), tuple(alphas))


def _design(bounds: SequentialBounds, drift: float, fixed: float) -> SequentialDesign:
    inflation = (drift / fixed) ** 2
    with_effect = _stopping(bounds, drift)
    sizes = [inflation * _expected_fraction(bounds, stopping) for stopping in (_stopping(bounds, 0.0), with_effect)]
    return SequentialDesign(bounds, drift, inflation, *sizes, tuple(accumulate(with_effect.upper)))


def _stopping(bounds: SequentialBounds, drift: float) -> Crossing:
    return crossing_probabilities(bounds.information, bounds.lower, bounds.upper, theta=drift)


def _expected_fraction(bounds: SequentialBounds, stopping: Crossing) -> float:
    early = sum((1 - look) * stopped for look, stopped in zip(bounds.information, stopping.stopped, strict=True))
    return 1.0 - early


def _fixed_drift(alpha: float, power: float) -> float:
    if not alpha < power < 1:
        raise ValueError(f"power is {power}; it must be between the one-sided alpha ({alpha}) and 1.")
    return float(ndtri(power) - ndtri(alpha))


def _far(lacking: Callable[[float], float], fixed: float) -> float:
    """Drift that is certainly enough."""
    for far in (1.5 * fixed, 3 * fixed, 10 * fixed, 30 * fixed):
        if lacking(far) >= 0:
            return far
    raise ValueError(f"power is out of reach of these bounds, even with {far / fixed:.0f} times the effect.")


def _check_whole(looks: Sequence[float]) -> None:
    if abs(looks[-1] - 1) > 1e-9:
        raise ValueError(f"information ends at {looks[-1]}; it must end at 1.")
