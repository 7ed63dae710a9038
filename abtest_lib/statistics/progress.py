"""Power as the test goes: how probable it is, with the data of tonight, that the experiment concludes by a coming look.

Information is one over the squared standard error, in the metric's unit; an effect is in that unit, so that at
information I the statistic has mean ``effect * sqrt(I)``. For a guardrail the effect is the distance from the margin,
on the safe side, and z is the statistic against the margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf, isfinite, sqrt

from abtest_lib.statistics.bayesian import NormalPosterior
from abtest_lib.statistics.looks import counted_looks
from abtest_lib.statistics.sequential import (
    Crossing,
    checked_bounds,
    checked_information,
    crossing_from,
    mirrored,
    spending_bounds,
)
from abtest_lib.statistics.sequential_paths import Paths
from abtest_lib.statistics.spending import Spending, obrien_fleming_spending
from abtest_lib.statistics.tails import check_positive, critical_value


@dataclass(frozen=True)
class LooksToCome:
    """Hold the looks that an experiment has still to come, and what the statistic must pass at each.

    Parameters
    ----------
    at : float
        Information at the last look taken; 0 before the first.
    information : tuple of float, k looks
        At the looks to come, increasing from above ``at``.
    lower, upper : tuple of float, k looks
        Bounds of z; infinite where a look cannot conclude on that side.
    lower_now, upper_now : float
        Bounds at the last look taken.

    Raises
    ------
    ValueError
        If information does not increase from ``at``, or bounds are of another length or in the wrong order.

    Examples
    --------
    >>> LooksToCome(at=50.0, information=(100.0,), lower=(-1.96,), upper=(1.96,)).information
    (100.0,)
    """

    at: float
    information: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    lower_now: float = -inf
    upper_now: float = inf

    def __post_init__(self) -> None:
        if not 0 <= self.at < inf:
            raise ValueError(f"at is {self.at}; it must be at least 0 and finite.")
        if self.information:
            checked_information([self.at, *self.information] if self.at else self.information)
        checked_bounds(self.lower, self.upper, len(self.information))


@dataclass(frozen=True)
class ConcludingChances:
    """Hold how probable it is that an experiment has concluded by each coming look.

    Parameters
    ----------
    above, below : tuple of float, k + 1 entries
        Probability of having passed the upper or the lower bound by now (0 or 1), and by each of the k looks to come.

    Examples
    --------
    >>> chances = ConcludingChances(above=(0.0, 0.5, 0.75), below=(0.0, 0.0, 0.125))
    >>> chances.either, chances.looks_until(0.7), chances.looks_until(0.9)
    ((0.0, 0.5, 0.875), 2, None)
    """

    above: tuple[float, ...]
    below: tuple[float, ...]

    @property
    def either(self) -> tuple[float, ...]:
        """Probability of having concluded on either side by now and by each look to come."""
        return tuple(up + down for up, down in zip(self.above, self.below, strict=True))

    def looks_until(self, probability: float = 0.8) -> int | None:
        """Return how many more looks it takes until concluding is that probable: 0 is now, None not in this plan."""
        if not 0 < probability <= 1:
            raise ValueError(f"probability is {probability}; it must be above 0 and at most 1.")
        return next((look for look, chance in enumerate(self.either) if chance >= probability), None)


@dataclass(frozen=True)
class Progress:
    """Say how probable it is that an experiment concludes by each coming look, under three views of the effect.

    Parameters
    ----------
    observed : ConcludingChances
        If the truth is the effect seen so far: too bold on either side while the data are few.
    smallest : ConcludingChances
        If the truth is the smallest effect that matters: says whether waiting can pay.
    predicted : ConcludingChances
        Averaged over what is known of the effect so far: the honest forecast.
    """

    observed: ConcludingChances
    smallest: ConcludingChances
    predicted: ConcludingChances


def looks_to_come(
    taken: Sequence[float],
    to_come: Sequence[float],
    *,
    spending_time: Sequence[float] | None = None,
    alpha: float = 0.05,
    sides: int = 2,
    spending: Spending = obrien_fleming_spending,
) -> LooksToCome:
    """Return the bounds of the looks to come, after those that were taken, for a plan that spends alpha.

    Parameters
    ----------
    taken : sequence of float
        Information at the looks taken, in the order of the data; empty before the first.
    to_come : sequence of float
        Information expected at the looks to come; the last one is the last that is planned.
    spending_time : sequence of float, optional
        Share of the plan reached at each look, taken and to come; default the share of the last look's information.
    alpha, sides, spending
        See ``sequential.spending_bounds``.

    Returns
    -------
    LooksToCome
        Looks that add less than a thousandth to the one before are left out.

    Raises
    ------
    ValueError
        If there is no look, information is not above 0 or falls, or an argument of ``spending_bounds`` is not what it
        must be.

    References
    ----------
    .. [1] Lan, DeMets (1983), Biometrika 70(3). doi:10.1093/biomet/70.3.659

    Examples
    --------
    >>> looks = looks_to_come([250, 500], [750, 1_000])
    >>> [round(z, 4) for z in looks.upper], looks.at
    ([2.359, 2.0141], 500.0)
    """
    information = [float(look) for look in (*taken, *to_come)]
    kept = sorted(set(counted_looks(information)))
    times = [look / information[-1] for look in information] if spending_time is None else list(spending_time)
    if len(times) != len(information):
        raise ValueError(
            f"spending_time has {len(times)} entries; it must have one for each look ({len(information)})."
        )
    bounds = spending_bounds(
        [information[look] for look in kept],
        alpha=alpha,
        sides=sides,
        spending=spending,
        spending_time=[times[look] for look in kept],
    )
    past = sum(look < len(taken) for look in kept)
    return LooksToCome(
        at=bounds.information[past - 1] if past else 0.0,
        information=bounds.information[past:],
        lower=bounds.lower[past:],
        upper=bounds.upper[past:],
        lower_now=bounds.lower[past - 1] if past else -inf,
        upper_now=bounds.upper[past - 1] if past else inf,
    )


def last_look_only(at: float, to_come: Sequence[float], *, alpha: float = 0.05, sides: int = 2) -> LooksToCome:
    """Return the looks of a plan with a fixed horizon, in which the last look alone concludes.

    Parameters
    ----------
    at : float
        Information so far; 0 before the first look.
    to_come : sequence of float
        Information expected at the looks to come, of which the last is the horizon.
    alpha : float, in (0, 1)
        Of the test at the horizon.
    sides : {1, 2}
        1 concludes above only.

    Returns
    -------
    LooksToCome

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Lan, Wittes (1988), Biometrics 44(2). doi:10.2307/2531870

    Examples
    --------
    >>> [round(z, 2) for z in last_look_only(500.0, [750.0, 1_000.0]).upper]
    [inf, 1.96]
    """
    if sides not in (1, 2):
        raise ValueError(f"sides is {sides!r}; it must be 1 or 2.")
    information = tuple(float(look) for look in to_come)
    if not information:
        raise ValueError("to_come is empty; it must have the look at the horizon.")
    upper = [inf] * (len(information) - 1) + [critical_value(alpha, "two-sided" if sides == 2 else "greater")]
    return LooksToCome(float(at), information, mirrored(upper, sides), tuple(upper))


def chances_to_conclude(looks: LooksToCome, *, effect: float, z: float = 0.0) -> ConcludingChances:
    """Return how probable it is to conclude by each coming look, if this is the true effect.

    Parameters
    ----------
    looks : LooksToCome
    effect : float
        Assumed true effect. At the last look the chance is the conditional power.
    z : float
        Statistic at the last look taken; without one it plays no part, and the chances are those of the plan.

    Returns
    -------
    ConcludingChances

    Raises
    ------
    ValueError
        If ``effect`` or ``z`` is not finite.

    Notes
    -----
    The density of z among experiments still running is integrated from look to look, as for the bounds.

    References
    ----------
    .. [1] Jennison, Turnbull (1999), Group Sequential Methods, chapter 10. doi:10.1201/9780367805326

    Examples
    --------
    >>> looks = looks_to_come([100.0], [200.0, 300.0, 400.0])
    >>> [round(chance, 3) for chance in chances_to_conclude(looks, effect=0.15, z=1.5).above]
    [0.0, 0.117, 0.618, 0.88]
    """
    z = _checked_statistic(looks, z)
    if not isfinite(effect):
        raise ValueError(f"effect is {effect}; it must be a finite number.")
    if concluded := _concluded(looks, z):
        return concluded
    start = Paths.start(z, looks.at, theta=float(effect))
    return _cumulated(crossing_from(start, looks.information, looks.lower, looks.upper))


def predicted_chances(looks: LooksToCome, *, z: float = 0.0, prior: NormalPosterior | None = None) -> ConcludingChances:
    """Return how probable it is to conclude by each coming look, averaged over what is known of the effect.

    Parameters
    ----------
    looks : LooksToCome
    z : float
        Statistic at the last look taken.
    prior : NormalPosterior, optional
        What was believed of the effect before the experiment; default nothing. Needed before the first look.

    Returns
    -------
    ConcludingChances
        At the last look, the predictive power.

    Raises
    ------
    ValueError
        If ``z`` is not finite, or no look was taken and there is no prior.

    Notes
    -----
    Seen from tonight, the mean of the posterior moves in independent normal steps, whose variances are what the
    posterior's loses: a statistic without drift at information 1 / P - 1 / P_k, with P the precision of the posterior
    tonight and P_k that at look k. So one recursion does, and no average over effects is taken.

    References
    ----------
    .. [1] Spiegelhalter, Freedman, Blackburn (1986), Controlled Clinical Trials 7(1).
       doi:10.1016/0197-2456(86)90003-6

    Examples
    --------
    >>> looks = looks_to_come([100.0], [200.0, 300.0, 400.0])
    >>> [round(chance, 3) for chance in predicted_chances(looks, z=1.5).above]
    [0.0, 0.2, 0.569, 0.723]
    """
    z = _checked_statistic(looks, z)
    if prior is None and looks.at == 0:
        raise ValueError("prior is None; before the first look something must be believed of the effect.")
    if concluded := _concluded(looks, z):
        return concluded
    prior_precision = 0.0 if prior is None else prior.sd**-2
    prior_score = 0.0 if prior is None else prior.mean * prior_precision
    precision = prior_precision + looks.at
    mean = (prior_score + z * sqrt(looks.at)) / precision
    steps = [1 / precision - 1 / (prior_precision + look) for look in looks.information]

    def moved(bounds: Sequence[float]) -> list[float]:
        at_looks = zip(bounds, looks.information, steps, strict=True)
        return [
            bound
            if bound in (inf, -inf)
            else ((prior_score + bound * sqrt(look)) / (prior_precision + look) - mean) / sqrt(step)
            for bound, look, step in at_looks
        ]

    lower, upper = moved(looks.lower), moved(looks.upper)
    if any(bound > -inf for bound in lower):
        return _cumulated(crossing_from(Paths.start(), steps, lower, upper))
    crossing = crossing_from(Paths.start(), steps, _hopeless(steps, upper), upper)
    return _cumulated(Crossing((0.0,) * len(steps), crossing.upper))


def progress(looks: LooksToCome, *, z: float, smallest_effect: float, prior: NormalPosterior | None = None) -> Progress:
    """Return how probable it is to conclude by each coming look, under three views of the effect.

    Parameters
    ----------
    looks : LooksToCome
        At least one look was taken.
    z : float
        Statistic at the last look taken.
    smallest_effect : float
        Smallest effect that matters, on the side that is hoped for; of a guardrail its distance from the margin, which
        is the margin itself where nothing changes.
    prior : NormalPosterior, optional
        See ``predicted_chances``.

    Returns
    -------
    Progress

    Raises
    ------
    ValueError
        If no look was taken, or an argument is not what it must be.

    References
    ----------
    .. [1] Spiegelhalter, Freedman, Blackburn (1986), Controlled Clinical Trials 7(1).
       doi:10.1016/0197-2456(86)90003-6

    Examples
    --------
    >>> looks = looks_to_come([100.0], [200.0, 300.0, 400.0])
    >>> view = progress(looks, z=1.5, smallest_effect=0.1)
    >>> [round(chances.above[-1], 2) for chances in (view.observed, view.smallest, view.predicted)]
    [0.88, 0.62, 0.72]
    """
    check_positive(looks.at, "looks.at")
    return Progress(
        observed=chances_to_conclude(looks, effect=z / sqrt(looks.at), z=z),
        smallest=chances_to_conclude(looks, effect=smallest_effect, z=z),
        predicted=predicted_chances(looks, z=z, prior=prior),
    )


def _checked_statistic(looks: LooksToCome, z: float) -> float:
    if not isfinite(z):
        raise ValueError(f"z is {z}; it must be finite.")
    return float(z) if looks.at else 0.0


def _concluded(looks: LooksToCome, z: float) -> ConcludingChances | None:
    """Return certainty where tonight's statistic is past its bound, or no look is left."""
    above, below = float(z >= looks.upper_now), float(z <= looks.lower_now)
    if not (above or below) and looks.information:
        return None
    entries = len(looks.information) + 1
    return ConcludingChances((above,) * entries, (below,) * entries)


def _hopeless(steps: Sequence[float], upper: Sequence[float]) -> list[float]:
    """Return z at each look from which no later upper bound is reached: with less than 1e-16, so nobody follows it."""
    lower = [-inf] * len(steps)
    nearest = inf
    for look in range(len(steps) - 2, -1, -1):
        nearest = min(nearest, upper[look + 1] * sqrt(steps[look + 1]))
        if nearest < inf:
            lower[look] = (nearest - 8.5 * sqrt(steps[-1] - steps[look])) / sqrt(steps[look])
    return lower


def _cumulated(crossing: Crossing) -> ConcludingChances:
    return ConcludingChances(*((0.0, *accumulate(side)) for side in (crossing.upper, crossing.lower)))
