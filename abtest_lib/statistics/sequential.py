"""Bounds of a test that is read at several looks, so that its error rate holds over all of them.

Exact in the sense of normal statistics with independent increments: recursive numerical integration, no simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isinf

import numpy as np

from abtest_lib.statistics.sequential_paths import Paths
from abtest_lib.statistics.spending import Spending, obrien_fleming_spending
from abtest_lib.statistics.tails import tail_pvalue

LEAST_STEP = 1e-3


@dataclass(frozen=True)
class SequentialBounds:
    """Hold what the statistic must pass at each look.

    Parameters
    ----------
    information : tuple of float, k looks
        Fraction of the planned information at each look.
    lower, upper : tuple of float
        Bounds of z; infinite where a look cannot stop on that side.
    spent : tuple of float
        Error rate of the upper side spent by each look: by plan where bounds come from a spending function, else as the
        bounds spend it.

    Examples
    --------
    >>> bounds = spending_bounds([0.5, 1.0])
    >>> [round(z, 3) for z in bounds.upper], [round(p, 4) for p in bounds.nominal_pvalues]
    ([2.963, 1.969], [0.0031, 0.049])
    """

    information: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    spent: tuple[float, ...]

    @property
    def nominal_pvalues(self) -> tuple[float | None, ...]:
        """Two-sided p-value of a statistic at each upper bound; None where the look cannot stop."""
        return tuple(None if isinf(z) else tail_pvalue(z) for z in self.upper)


@dataclass(frozen=True)
class Crossing:
    """Hold with which probability a test stops at each look, on each side.

    Parameters
    ----------
    lower, upper : tuple of float, k looks
        Probability of stopping at exactly that look.

    Examples
    --------
    >>> Crossing(lower=(0.0, 0.1), upper=(0.2, 0.3)).stopped
    (0.2, 0.4)
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @property
    def stopped(self) -> tuple[float, ...]:
        """Probability of stopping at each look, on either side."""
        return tuple(low + high for low, high in zip(self.lower, self.upper, strict=True))


def crossing_probabilities(
    information: Sequence[float], lower: Sequence[float], upper: Sequence[float], *, theta: float = 0.0
) -> Crossing:
    """Return with which probability a test stops at each look, above or below.

    Parameters
    ----------
    information : sequence of float, k looks
        Increasing, above 0; as fractions, or in any unit that ``theta`` is in.
    lower, upper : sequence of float, k looks
        Bounds of z, ``lower <= upper``; infinite where a look cannot stop on that side.
    theta : float
        Effect in units of the statistic at information 1, where its mean is ``theta``; 0 without an effect.

    Returns
    -------
    Crossing

    Raises
    ------
    ValueError
        If information does not increase from above 0, ``theta`` is not finite, or bounds are of another length or in
        the wrong order.

    Notes
    -----
    At look k the statistic has mean ``theta sqrt(I_k)`` and variance 1; looks j < k correlate by ``sqrt(I_j / I_k)``.

    References
    ----------
    .. [1] Armitage, McPherson, Rowe (1969), JRSS A 132(2). doi:10.2307/2343787

    Examples
    --------
    >>> looks = [0.2, 0.4, 0.6, 0.8, 1.0]
    >>> naive = crossing_probabilities(looks, [-1.96] * 5, [1.96] * 5)
    >>> round(sum(naive.stopped), 3)
    0.142
    """
    looks = checked_information(information)
    lows, highs = checked_bounds(lower, upper, len(looks))
    if not abs(theta) < inf:
        raise ValueError(f"theta is {theta}; it must be a finite number.")
    return crossing_from(Paths.start(theta=theta), looks, lows, highs)


def spending_bounds(
    information: Sequence[float],
    *,
    alpha: float = 0.05,
    sides: int = 2,
    spending: Spending = obrien_fleming_spending,
    spending_time: Sequence[float] | None = None,
) -> SequentialBounds:
    """Return the bounds at which looks taken so far spend alpha as planned, whenever they were taken.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing from above 0. Later looks need not be known.
    alpha : float, in (0, 1)
        Of all sides together.
    sides : {1, 2}
        Two sides spend half of ``alpha`` each and have symmetric bounds; one side stops above only.
    spending : callable
        Function of fraction and alpha of one side; see ``abtest_lib.statistics.spending``.
    spending_time : sequence of float, k looks, optional
        Fraction at which alpha is spent, such as the share of the days; default ``information``.

    Returns
    -------
    SequentialBounds

    Raises
    ------
    ValueError
        If information does not increase from above 0, ``alpha`` or ``sides`` is not what it must be, or the spending
        function spends less as time goes on.

    Notes
    -----
    A look whose bound would be above 7 has an infinite one, and what it would have spent is left to the next look.
    A last look beyond fraction 1 spends what is left; looks after it have nothing to spend. One that ends the test
    short of it does so with ``spending_time`` 1, if what ended it was not the effect seen.

    References
    ----------
    .. [1] Lan, DeMets (1983), Biometrika 70(3). doi:10.1093/biomet/70.3.659

    Examples
    --------
    >>> bounds = spending_bounds([0.25, 0.5, 0.75, 1.0])
    >>> [round(z, 4) for z in bounds.upper]
    [4.3326, 2.9631, 2.359, 2.0141]

    Enrolment ended at 70 % of the plan:

    >>> [round(z, 4) for z in spending_bounds([0.25, 0.5, 0.7], spending_time=[0.25, 0.5, 1.0]).upper]
    [4.3326, 2.9631, 1.9622]
    """
    looks = checked_information(information)
    spent = planned_spending(looks, one_sided_alpha(alpha, sides), spending, spending_time)
    upper, running, used = [], Paths.start(), 0.0
    for look, total, then in zip(looks, spent, [*looks[1:], inf], strict=True):
        bound = running.upper_bound(total - used, look)
        used = used if isinf(bound) else total
        upper.append(bound)
        if then < inf:
            running = running.within(-bound if sides == 2 else -inf, bound, look, then)
    return SequentialBounds(looks, mirrored(upper, sides), tuple(upper), spent)


def efficacy_and_harm_bounds(
    information: Sequence[float],
    *,
    alpha_efficacy: float = 0.025,
    spending_efficacy: Spending = obrien_fleming_spending,
    alpha_harm: float = 0.1,
    spending_harm: Spending = obrien_fleming_spending,
) -> SequentialBounds:
    """Return an upper bound for a gain and a lower one for harm, each with its own one-sided error rate.

    Parameters
    ----------
    information : sequence of float, k looks
        Fractions of the planned information, increasing from above 0.
    alpha_efficacy : float, in (0, 1)
        One-sided, of the upper bound by itself.
    spending_efficacy : callable
        Function of fraction and alpha; see ``abtest_lib.statistics.spending``.
    alpha_harm : float, in (0, 1)
        One-sided, of the lower bound by itself.
    spending_harm : callable
        As ``spending_efficacy``, of the lower bound.

    Returns
    -------
    SequentialBounds
        Each bound holds its error rate whether or not the other is heeded; ``spent`` is of the upper one.

    Raises
    ------
    ValueError
        As ``spending_bounds``.

    References
    ----------
    .. [1] Lan, DeMets (1983), Biometrika 70(3). doi:10.1093/biomet/70.3.659

    Examples
    --------
    >>> from abtest_lib.statistics.spending import pocock_spending
    >>> bounds = efficacy_and_harm_bounds([0.5, 1.0], spending_harm=pocock_spending)
    >>> [round(z, 3) for z in bounds.upper], [round(z, 3) for z in bounds.lower]
    ([2.963, 1.969], [-1.538, -1.516])
    """
    for name, alpha in (("alpha_efficacy", alpha_efficacy), ("alpha_harm", alpha_harm)):
        if not 0 < alpha < 1:
            raise ValueError(f"{name} is {alpha}; it must be between 0 and 1.")
    efficacy = spending_bounds(information, alpha=alpha_efficacy, sides=1, spending=spending_efficacy)
    harm = spending_bounds(information, alpha=alpha_harm, sides=1, spending=spending_harm)
    return SequentialBounds(efficacy.information, tuple(-z for z in harm.upper), efficacy.upper, efficacy.spent)


def checked_information(information: Sequence[float]) -> tuple[float, ...]:
    """Return information as floats, or raise where looks are not in order.

    Parameters
    ----------
    information : sequence of float
        Must have at least one entry, be finite and increase from above 0, each time by at least a thousandth: a look
        that adds less is no look of its own.

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> checked_information([0.5, 0.25])
    Traceback (most recent call last):
        ...
    ValueError: information is [0.5, 0.25]; it must be finite and increase from above 0.
    """
    looks = tuple(float(look) for look in information)
    if not looks or not all(then > look for look, then in pairwise((0.0, *looks))) or isinf(looks[-1]):
        raise ValueError(f"information is {list(information)}; it must be finite and increase from above 0.")
    for look, then in pairwise(looks):
        if then - look < LEAST_STEP * then:
            raise ValueError(f"information has {look} before {then}; a look must add a thousandth. Leave one out.")
    return looks


def checked_bounds(lower: Sequence[float], upper: Sequence[float], looks: int) -> tuple[list[float], list[float]]:
    """Return bounds as floats, or raise where they do not go with the looks or are in the wrong order.

    Parameters
    ----------
    lower, upper : sequence of float
        Must have ``looks`` entries, none of ``lower`` above that of ``upper``.
    looks : int

    Returns
    -------
    tuple of two lists of float
        Lower and upper bounds.

    Raises
    ------
    ValueError
        If it is not so.

    Examples
    --------
    >>> checked_bounds([-2.0], [2.0, 2.0], 2)
    Traceback (most recent call last):
        ...
    ValueError: lower has 1 entry, upper 2; both must have one for each of the looks (2).
    """
    lows, highs = [float(z) for z in lower], [float(z) for z in upper]
    if not len(lows) == len(highs) == looks:
        entries = f"{len(lows)} entr{'y' if len(lows) == 1 else 'ies'}"
        raise ValueError(
            f"lower has {entries}, upper {len(highs)}; both must have one for each of the looks ({looks})."
        )
    if not all(low <= high for low, high in zip(lows, highs, strict=True)):
        raise ValueError(f"lower is {lows} and upper {highs}; lower must not be above upper.")
    return lows, highs


def one_sided_alpha(alpha: float, sides: int) -> float:
    """Return the alpha of one side.

    Parameters
    ----------
    alpha : float, in (0, 1)
    sides : {1, 2}

    Returns
    -------
    float
        ``alpha / sides``.

    Raises
    ------
    ValueError
        If ``alpha`` is not in (0, 1) or ``sides`` is neither 1 nor 2.

    Examples
    --------
    >>> one_sided_alpha(0.05, 2)
    0.025
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    if sides not in (1, 2):
        raise ValueError(f"sides is {sides!r}; it must be 1 or 2.")
    return alpha / sides


def planned_spending(
    looks: Sequence[float], alpha: float, spending: Spending, spending_time: Sequence[float] | None = None
) -> tuple[float, ...]:
    """Return what a spending function allows to be spent by each look.

    Parameters
    ----------
    looks : sequence of float
        Fractions of the planned information.
    alpha : float, in (0, 1)
        Of one side.
    spending : callable
    spending_time : sequence of float, optional
        Fraction at which alpha is spent; default ``looks``.

    Returns
    -------
    tuple of float
        One a look, never falling.

    Raises
    ------
    ValueError
        If ``spending_time`` is of another length or the function spends less as time goes on.

    References
    ----------
    .. [1] Lan, DeMets (1983), Biometrika 70(3). doi:10.1093/biomet/70.3.659

    Examples
    --------
    >>> from abtest_lib.statistics.spending import pocock_spending
    >>> [round(spent, 4) for spent in planned_spending([0.5, 1.0], 0.025, pocock_spending)]
    [0.0155, 0.025]
    """
    times = looks if spending_time is None else spending_time
    if len(times) != len(looks):
        raise ValueError(
            f"spending_time has {len(times)} entries; it must have one for each of the looks ({len(looks)})."
        )
    spent = tuple(float(total) for total in np.atleast_1d(spending(np.asarray(times, dtype=float), alpha)))
    if not all(0 <= before <= total for before, total in pairwise((0.0, *spent))):
        raise ValueError(f"spending gives {list(spent)}; it must not fall from look to look.")
    return spent


def crossing_from(paths: Paths, looks: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> Crossing:
    """Return with which probability paths that are where ``paths`` says stop at each later look.

    Parameters
    ----------
    paths : Paths
        Before the first of ``looks``.
    looks : sequence of float
        Information.
    lower, upper : sequence of float
        Bounds of z at these looks.

    Returns
    -------
    Crossing

    Raises
    ------
    ValueError
        If bounds are of another length or not numbers, or information is not finite and above 0.

    References
    ----------
    .. [1] Armitage, McPherson, Rowe (1969), JRSS A 132(2). doi:10.2307/2343787

    Examples
    --------
    >>> from abtest_lib.statistics.sequential_paths import Paths
    >>> later = crossing_from(Paths.start(1.5, 0.5), [1.0], [-1.96], [1.96])
    >>> round(later.upper[0], 4)
    0.1017
    """
    for name, bounds in (("lower", lower), ("upper", upper)):
        if len(bounds) != len(looks) or any(z != z for z in bounds):
            raise ValueError(f"{name} is {list(bounds)}; it must hold a number for each of the looks ({len(looks)}).")
    if not all(0 < look < inf for look in looks):
        raise ValueError(f"looks is {list(looks)}; information must be finite and above 0.")
    below, above = [], []
    for look, then, low, high in zip(looks, [*looks[1:], inf], lower, upper, strict=True):
        below.append(paths.below(low, look))
        above.append(paths.above(high, look))
        if then < inf:
            paths = paths.within(low, high, look, then)
    return Crossing(tuple(below), tuple(above))


def mirrored(upper: Sequence[float], sides: int) -> tuple[float, ...]:
    """Return the lower bounds that go with upper ones: their mirror image, or none where one side is tested.

    Parameters
    ----------
    upper : sequence of float
    sides : {1, 2}

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError
        If ``sides`` is neither 1 nor 2, or a bound is not a number.

    Examples
    --------
    >>> mirrored([3.0, 2.0], 2), mirrored([3.0, 2.0], 1)
    ((-3.0, -2.0), (-inf, -inf))
    """
    one_sided_alpha(0.5, sides)
    if any(z != z for z in upper):
        raise ValueError(f"upper is {list(upper)}; bounds must be numbers.")
    return tuple(-z if sides == 2 else -inf for z in upper)
