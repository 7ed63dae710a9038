"""Planning a proof that a mean is not worse than the control's by more than a margin.

That of a share is in ``power_margin_shares``.
"""

from __future__ import annotations

from typing import Any

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import Better
from abtest_lib.statistics.planning import RequiredUnits
from abtest_lib.statistics.planning_checks import (
    check_better,
    check_relative,
    check_target,
    distance_from_margin,
    smallest_reaching,
)
from abtest_lib.statistics.power import minimum_detectable_means, power_means, required_units_means
from abtest_lib.statistics.tails import check_positive


def required_units_non_inferior_means(
    margin: float, *, sd: Any, better: Better, effect: float = 0.0, alpha: float = 0.025, **options: Any
) -> RequiredUnits:
    """Return how many units it takes to prove that a mean is not worse by an absolute margin.

    Parameters
    ----------
    margin : float
        Largest tolerable change in the bad direction, in the metric's unit, above 0.
    sd : float or array
        Standard deviation between units of the control, above 0.
    better : {"higher", "lower"}
    effect : float
        True difference treatment - control; must lie within the margin.
    alpha : float, in (0, 1)
        One-sided.
    **options
        ``sd_treatment``, ``test``, ``power``, ``allocation``, ``treatments``, ``family`` or ``inflation`` of
        ``required_units_means``.

    Returns
    -------
    RequiredUnits

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the effect is at or beyond the margin.

    References
    ----------
    .. [1] Julious (2004), Statistics in Medicine 23(12). doi:10.1002/sim.1783

    Examples
    --------
    >>> required_units_non_inferior_means(0.4, sd=4.0, better="higher", test="z").total
    3140
    """
    distance = distance_from_margin(effect, margin, better)
    return required_units_means(distance, sd=sd, alpha=alpha, alternative="greater", **options)


def power_non_inferior_means(
    margin: float, *, sd: Any, better: Better, effect: float = 0.0, alpha: float = 0.025, **options: Any
) -> Any:
    """Return how probable it is that a mean is proved not worse by an absolute margin.

    Parameters
    ----------
    margin, sd, better, effect, alpha
        See ``required_units_non_inferior_means``.
    **options
        ``n_control``, ``n_treatment``, ``sd_treatment``, ``test``, ``treatments``, ``family`` of ``power_means``.

    Returns
    -------
    float or array
        In [0, 1].

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Julious (2004), Statistics in Medicine 23(12). doi:10.1002/sim.1783

    Examples
    --------
    >>> round(power_non_inferior_means(0.4, sd=4.0, better="higher", n_control=1_570, n_treatment=1_570), 3)
    0.8
    """
    distance = distance_from_margin(effect, margin, better)
    return power_means(distance, sd=sd, alpha=alpha, alternative="greater", **options)


def required_units_guardrail_means(
    margin: float,
    *,
    mean: float,
    sd: float,
    better: Better,
    relative_effect: float = 0.0,
    alpha: float = 0.025,
    **options: Any,
) -> RequiredUnits:
    """Return how many units it takes to prove a mean within the relative margin of a guardrail.

    Parameters
    ----------
    margin : float
        Largest tolerable relative change in the bad direction, above 0; below 1 where higher is better.
    mean, sd : float
        Of the control, both above 0.
    better : {"higher", "lower"}
    relative_effect : float
        True relative change; must lie within the margin.
    alpha : float, in (0, 1)
        One-sided.
    **options
        See ``required_units_non_inferior_means``.

    Returns
    -------
    RequiredUnits

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the relative effect is at or beyond the margin.

    Notes
    -----
    As ``guardrails.mean_non_inferiority`` tests: m_t - r m_c with r = 1 ± margin, whose control has the standard
    deviation r times ``sd``.

    References
    ----------
    .. [1] Tamhane, Logan (2004), J. Biopharmaceutical Statistics 14(4), 843-856; the test of R's mratios,
       https://search.r-project.org/CRAN/refmans/mratios/html/ttestratio.html

    Examples
    --------
    >>> required_units_guardrail_means(0.03, mean=180.0, sd=80.0, better="lower").control
    3552
    """
    distance, options = _guardrail(margin, mean, sd, better, relative_effect, options)
    return required_units_means(distance, alpha=alpha, alternative="greater", **options)


def power_guardrail_means(
    margin: float,
    *,
    mean: float,
    sd: float,
    better: Better,
    relative_effect: float = 0.0,
    alpha: float = 0.025,
    **options: Any,
) -> Any:
    """Return how probable it is that a mean is proved within the relative margin of a guardrail.

    Parameters
    ----------
    margin, mean, sd, better, relative_effect, alpha
        See ``required_units_guardrail_means``.
    **options
        See ``power_non_inferior_means``.

    Returns
    -------
    float or array
        In [0, 1].

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Tamhane, Logan (2004), J. Biopharmaceutical Statistics 14(4), 843-856; the test of R's mratios,
       https://search.r-project.org/CRAN/refmans/mratios/html/ttestratio.html

    Examples
    --------
    >>> plan = {"mean": 180.0, "sd": 80.0, "better": "lower"}
    >>> round(power_guardrail_means(0.03, **plan, n_control=3_552, n_treatment=3_552), 4)
    0.8001
    """
    distance, options = _guardrail(margin, mean, sd, better, relative_effect, options)
    return power_means(distance, alpha=alpha, alternative="greater", **options)


def smallest_margin_means(
    *,
    n_control: float,
    n_treatment: float,
    sd: float,
    better: Better,
    effect: float = 0.0,
    power: float = 0.8,
    alpha: float = 0.025,
    **options: Any,
) -> float:
    """Return the smallest absolute margin within which so many units prove a mean with the given power.

    Parameters
    ----------
    n_control, n_treatment : float
        Units, at least 2.
    sd, better, effect
        See ``required_units_non_inferior_means``.
    power : float, in (alpha, 1)
    alpha : float, in (0, 1)
        One-sided.
    **options
        ``sd_treatment``, ``test``, ``treatments``, ``family``, ``inflation`` of ``minimum_detectable_means``.

    Returns
    -------
    float
        0 where the effect is so good that any margin is proved.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Cohen (1988), Statistical Power Analysis, 2nd ed. doi:10.4324/9780203771587

    Examples
    --------
    >>> round(smallest_margin_means(n_control=1_571, n_treatment=1_571, sd=4.0, better="higher"), 3)
    0.4
    """
    check_better(better)
    units = {"n_control": n_control, "n_treatment": n_treatment, "sd": sd}
    distance = minimum_detectable_means(**units, power=power, alpha=alpha, alternative="greater", **options)
    return max(0.0, distance - effect if better == "higher" else distance + effect)


def smallest_margin_guardrail_means(
    *,
    mean: float,
    sd: float,
    n_control: float,
    n_treatment: float,
    better: Better,
    relative_effect: float = 0.0,
    power: float = 0.8,
    alpha: float = 0.025,
    **options: Any,
) -> float | NotComputed:
    """Return the smallest relative margin of a guardrail that so many units prove with the given power.

    Parameters
    ----------
    mean, sd : float
        Of the control, both above 0.
    n_control, n_treatment : float
        Units, at least 2.
    better, relative_effect
        See ``required_units_guardrail_means``.
    power : float, in (alpha, 1)
    alpha : float, in (0, 1)
        One-sided.
    **options
        ``sd_treatment``, ``test``, ``treatments``, ``family`` of ``power_means``.

    Returns
    -------
    float or NotComputed
        NotComputed when not even a margin of 1 is proved.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    References
    ----------
    .. [1] Tamhane, Logan (2004), J. Biopharmaceutical Statistics 14(4), 843-856; the test of R's mratios,
       https://search.r-project.org/CRAN/refmans/mratios/html/ttestratio.html

    Examples
    --------
    >>> plan = {"mean": 180.0, "sd": 80.0, "better": "lower"}
    >>> round(smallest_margin_guardrail_means(**plan, n_control=3_552, n_treatment=3_552), 4)
    0.03
    """
    check_better(better)
    check_target(power, alpha, "greater")
    plan = {"mean": mean, "sd": sd, "better": better, "relative_effect": relative_effect, "alpha": alpha}
    plan |= {"n_control": n_control, "n_treatment": n_treatment, **options}
    least = max(0.0, -relative_effect if better == "higher" else relative_effect)

    def power_at(margin: float) -> float:
        return power_guardrail_means(margin, **plan)

    margin = smallest_reaching(power_at, power, least, 1 - 1e-9)
    return NotComputed("so few units do not prove even a margin of 1") if margin is None else margin


def _guardrail(
    margin: float, mean: float, sd: float, better: Better, relative_effect: float, options: dict[str, Any]
) -> tuple[float, dict[str, Any]]:
    check_relative(relative_effect, mean)
    check_positive(sd, "sd")
    distance = distance_from_margin(relative_effect, margin, better) * mean
    if better == "higher" and margin >= 1:
        raise ValueError(f"margin is {margin}; it must be below 1 where higher is better.")
    ratio = 1 - margin if better == "higher" else 1 + margin
    treated = options.get("sd_treatment")
    return distance, {**options, "sd": ratio * sd, "sd_treatment": sd if treated is None else treated}
