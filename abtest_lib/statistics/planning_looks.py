"""What a plan with several looks costs: how many times the units of a single look."""

from __future__ import annotations

from collections.abc import Sequence

from abtest_lib.statistics.planning_checks import Family, comparison_alpha
from abtest_lib.statistics.sequential import spending_bounds
from abtest_lib.statistics.sequential_design import sequential_design
from abtest_lib.statistics.spending import Spending, obrien_fleming_spending
from abtest_lib.statistics.tails import Alternative


def looks_inflation(
    information: Sequence[float],
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    treatments: int = 1,
    family: Family = "bonferroni",
    allocation: float = 1.0,
    spending: Spending = obrien_fleming_spending,
) -> float:
    """Return how many times the units of a single look a plan with several looks needs for the same power.

    Parameters
    ----------
    information : sequence of float, k looks
        Shares of the planned information at the looks, increasing to 1.
    power : float, in (alpha, 1)
    alpha : float, in (0, 1)
        Shared by the comparisons of all treatments.
    alternative : {"two-sided", "greater", "less"}
    treatments, family, allocation
        As of ``power.required_units_means``, to which the result is passed as ``inflation``.
    spending : callable
        See ``abtest_lib.statistics.spending``.

    Returns
    -------
    float
        At least 1.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Jennison, Turnbull (1999), Group Sequential Methods, chapter 2. doi:10.1201/9780367805326

    Examples
    --------
    >>> round(looks_inflation([night / 14 for night in range(1, 15)]), 3)
    1.042
    """
    level = comparison_alpha(alpha, treatments, family=family, alternative=alternative, allocation=allocation)
    sides = 2 if alternative == "two-sided" else 1
    bounds = spending_bounds(information, alpha=level, sides=sides, spending=spending)
    return sequential_design(bounds, alpha=level, sides=sides, power=power).inflation
