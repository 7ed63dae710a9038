"""Whether variants differed before the exposure, which no treatment can have done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.inference import compare_means
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.multiplicity import bonferroni_alpha
from abtest_lib.statistics.tails import Interval


@dataclass(frozen=True)
class PrePeriodDifference:
    """Say whether one metric differed between treatment and control before the exposure.

    Parameters
    ----------
    effect : float
        Treatment minus control before the exposure, in the metric's unit.
    interval : tuple of float
        At ``1 - alpha``.
    relative_effect : float or NotComputed
    pvalue : float
        Two-sided, not adjusted.
    alpha : float
        Level of this comparison, its share of the false alarms.
    reading : {"differs before the exposure", "no difference seen"}
    """

    effect: float
    interval: Interval
    relative_effect: float | NotComputed
    pvalue: float
    alpha: float
    reading: Literal["differs before the exposure", "no difference seen"]

    @property
    def differs(self) -> bool:
        """Is the difference too large for chance?"""
        return self.reading == "differs before the exposure"


def pre_period_differences(
    arms: Mapping[str, tuple[Moments, Moments]], *, false_alarm: float = 0.01, family_size: int | None = None
) -> dict[str, PrePeriodDifference | NotComputed]:
    """Test for each metric whether treatment and control differed before anyone was exposed.

    Parameters
    ----------
    arms : mapping of str to tuple of Moments
        By metric, or metric and treatment: control and treatment, of the same units as in the analysis, with their
        values from a window that ended before each unit's exposure.
    false_alarm : float, in (0, 1)
        Largest probability that any comparison of a healthy experiment is said to differ.
    family_size : int, optional
        Comparisons declared, when more were declared than are at hand; default the number of ``arms``.

    Returns
    -------
    dict of str to PrePeriodDifference or NotComputed
        NotComputed as in ``compare_means``; such a comparison keeps its share of ``false_alarm``.

    Raises
    ------
    ValueError
        If there is nothing to compare, ``false_alarm`` is not in (0, 1), or ``family_size`` is too small.

    Notes
    -----
    Welch's t at the level false_alarm / family_size (Bonferroni). A difference says that assignment, exposure logging
    or the choice of units depends on the variant; the effect of the treatment then has the same bias. To see none is
    no proof: the interval says how large a difference may have been missed.

    References
    ----------
    .. [1] Fabijan et al. (2019), KDD. doi:10.1145/3292500.3330722

    Examples
    --------
    >>> spent = Moments(5_000, 20.1, 720_000.0), Moments(5_000, 18.9, 700_000.0)
    >>> found = pre_period_differences({"spent": spent, "visits": (Moments(9, 3.0, 8.0), Moments(9, 3.1, 9.0))})
    >>> [(name, one.reading) for name, one in found.items()]
    [('spent', 'differs before the exposure'), ('visits', 'no difference seen')]
    """
    if not arms:
        raise ValueError("arms is empty; it must hold at least one comparison.")
    size = len(arms) if family_size is None else family_size
    if size < len(arms):
        raise ValueError(f"family_size is {family_size}; it must be at least the number of comparisons, {len(arms)}.")
    level = bonferroni_alpha(false_alarm, size)
    return {name: _difference(control, treatment, level) for name, (control, treatment) in arms.items()}


def _difference(control: Moments, treatment: Moments, level: float) -> PrePeriodDifference | NotComputed:
    found = compare_means(control, treatment, alpha=level)
    if isinstance(found, NotComputed):
        return found
    if isinstance(found.pvalue, NotComputed):
        return found.pvalue
    return PrePeriodDifference(
        effect=found.effect,
        interval=found.effect_interval,
        relative_effect=found.relative_effect,
        pvalue=found.pvalue,
        alpha=level,
        reading="differs before the exposure" if found.pvalue < level else "no difference seen",
    )
