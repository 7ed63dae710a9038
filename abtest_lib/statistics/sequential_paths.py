"""Where the paths of a statistic that has not yet crossed a bound are: the recursion behind group-sequential bounds.

At information I the statistic is ``Z = S / sqrt(I)``, and S grows by independent normal steps of mean ``theta dI`` and
variance ``dI``. The density of Z among paths still running is carried from look to look by integration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil, inf, log, pi, sqrt

import numpy as np
from scipy.special import ndtr, ndtri

# A bound above 7 belongs to an alpha below 1.3e-12, which is no longer told from the error of the integration.
LARGEST_BOUND = 7.0
_REACH = 8.5
_NODES = 20
_PANEL = 8.0


@dataclass(frozen=True)
class Paths:
    """Hold where the paths still running are at one look.

    Parameters
    ----------
    z : array
        Values of the statistic: nodes of the integration.
    mass : array
        Probability that each node stands for; they sum to the probability of still running.
    information : float
        At this look.
    theta : float
        Mean growth of the score per unit of information; 0 without an effect.
    origin : tuple of float
        Score and information from which all paths started.
    mirrored : bool
        Whether each node has its mirror image with the same mass, so that half of the work is enough.

    Notes
    -----
    Twenty Gauss-Legendre nodes on panels of at most eight standard deviations of the step to or from the look: the same
    recursion as on the grid of [2]_, with an error below 1e-11 instead of 1e-6.

    References
    ----------
    .. [1] Armitage, McPherson, Rowe (1969), JRSS A 132(2). doi:10.2307/2343787
    .. [2] Jennison, Turnbull (1999), Group Sequential Methods, chapter 19. doi:10.1201/9780367805326

    Examples
    --------
    >>> running = Paths.start().within(-1.96, 1.96, 0.5, 1.0)
    >>> float(round(running.mass.sum(), 3)), round(2 * running.above(1.96, 1.0), 3)
    (0.95, 0.033)
    """

    z: np.ndarray
    mass: np.ndarray
    information: float
    theta: float
    origin: tuple[float, float]
    mirrored: bool = False

    @classmethod
    def start(cls, z: float = 0.0, information: float = 0.0, *, theta: float = 0.0) -> Paths:
        """Return all paths at one point: before any look, or at a known ``z`` at ``information``."""
        origin = (z * sqrt(information), information)
        return cls(np.array([z], dtype=float), np.array([1.0]), information, theta, origin, z == theta == 0)

    def above(self, bound: float, information: float) -> float:
        """Return the probability of running until the look at ``information`` and being above ``bound`` there."""
        return float(self.mass @ ndtr(-self._standardised(bound, information)))

    def below(self, bound: float, information: float) -> float:
        """Return the probability of running until the look at ``information`` and being below ``bound`` there."""
        return float(self.mass @ ndtr(self._standardised(bound, information)))

    def upper_bound(self, probability: float, information: float) -> float:
        """Return the bound that is passed upwards with ``probability``; infinite where that asks for more than 7."""
        if not probability > self.above(LARGEST_BOUND, information):
            return inf
        return self._bound(probability, information, 1) if probability < self.mass.sum() else -inf

    def lower_bound(self, probability: float, information: float) -> float:
        """Return the bound that is passed downwards with ``probability``; infinite where that asks for less than -7."""
        if not probability > self.below(-LARGEST_BOUND, information):
            return -inf
        return self._bound(probability, information, -1) if probability < self.mass.sum() else inf

    def within(self, lower: float, upper: float, information: float, then: float) -> Paths:
        """Return the paths between two bounds at the look at ``information``, to be carried on to that at ``then``."""
        mean, spread = self._free(information)
        low, high = max(lower, mean - _REACH * spread), min(upper, mean + _REACH * spread)
        if not low < high:
            return Paths(np.array([mean]), np.array([0.0]), information, self.theta, self.origin)
        step = information - self.information
        finest = sqrt(min(step, then - information) / information)
        z, weights = _panels(low, high, ceil((high - low) / (_PANEL * finest)))
        mirrored = self.mirrored and lower == -upper
        computed = z[len(z) // 2 :] if mirrored else z
        standardised = self._standardised(computed[:, None], information)
        density = np.exp(-0.5 * standardised * standardised) @ self.mass * sqrt(information / (2 * pi * step))
        if mirrored:
            density = np.concatenate([density[::-1], density])
        return Paths(z, weights * density, information, self.theta, self.origin, mirrored)

    def _free(self, information: float) -> tuple[float, float]:
        """Mean and standard deviation of the statistic if there were no bounds."""
        score, since = self.origin
        mean = (score + self.theta * (information - since)) / sqrt(information)
        return mean, sqrt((information - since) / information)

    def _standardised(self, z: float | np.ndarray, information: float) -> np.ndarray:
        step = information - self.information
        start = self.z * sqrt(self.information / step) + self.theta * sqrt(step)
        return z * sqrt(information / step) - start

    def _beyond(self, probability: float, information: float, side: int) -> float:
        """Bound that is passed with less than ``probability``: nearer of two, by what is known without the density."""
        mean, spread = self._free(information)
        free = mean - side * spread * float(ndtri(probability))
        step = information - self.information
        furthest = side * float(np.max(side * self.z)) * sqrt(self.information) + self.theta * step
        nearest = (furthest - side * sqrt(step) * float(ndtri(probability / self.mass.sum()))) / sqrt(information)
        return side * min(side * free, side * nearest)

    def _bound(self, probability: float, information: float, side: int) -> float:
        """Newton's method on the logarithm of the tail, which is concave: from beyond the bound it steps one way."""
        scale = sqrt(information / (2 * pi * (information - self.information)))
        bound = self._beyond(probability, information, side)
        for _ in range(100):
            standardised = self._standardised(bound, information)
            tail = float(self.mass @ ndtr(-side * standardised))
            density = float(self.mass @ np.exp(-0.5 * standardised * standardised)) * scale
            move = side * tail / density * log(tail / probability)
            bound += move
            if abs(move) < 1e-9:
                break
        return bound


def find_root(function: Callable[[float], float], low: float, high: float, *, tolerance: float = 1e-10) -> float:
    """Return where a continuous function changes sign between ``low`` and ``high``, by Chandrupatla's method.

    Parameters
    ----------
    function : callable
    low, high : float
        Where its signs differ.
    tolerance : float
        On the argument.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the function has the same sign at both ends.

    Notes
    -----
    Inverse quadratic interpolation where the last three points allow it, else bisection.

    References
    ----------
    .. [1] Chandrupatla (1997), Advances in Engineering Software 28(3). doi:10.1016/S0965-9978(96)00051-8

    Examples
    --------
    >>> round(find_root(lambda x: x * x - 2, 0.0, 2.0), 8)
    1.41421356
    """
    last, at_last, other, at_other = low, function(low), high, function(high)
    if at_last * at_other > 0:
        raise ValueError(f"function is {at_last} at {low} and {at_other} at {high}; its sign must differ.")
    if at_last == 0 or at_other == 0:
        return last if at_last == 0 else other
    share = 0.5
    for _ in range(100):
        new = last + share * (other - last)
        at_new = function(new)
        if (at_new > 0) == (at_last > 0):
            third, at_third = last, at_last
        else:
            third, at_third, other, at_other = other, at_other, last, at_last
        last, at_last = new, at_new
        best = last if abs(at_last) < abs(at_other) else other
        least = tolerance / abs(other - last)
        if least > 0.5 or at_last == 0:
            break
        along, rise = (last - other) / (third - other), (at_last - at_other) / (at_third - at_other)
        share = 0.5
        if 1 - sqrt(1 - along) < rise < sqrt(along):
            share = at_last / (at_other - at_last) * at_third / (at_other - at_third) + (third - last) / (
                other - last
            ) * at_last / (at_third - at_last) * at_other / (at_third - at_other)
        share = min(max(share, least), 1 - least)
    return best


@cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(_NODES)


def _panels(low: float, high: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = _legendre()
    half = (high - low) / count / 2
    centres = low + half * (2 * np.arange(count) + 1)
    return (centres[:, None] + half * nodes).ravel(), np.tile(half * weights, count)
