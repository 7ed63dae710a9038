"""Planning a proof that a mean is not worse than the control's by more than a margin.

That of a share is in ``power_proportions``.
"""

from __future__ import annotations

from typing import Any

from abtest_lib.statistics.guardrails import Better
from abtest_lib.statistics.planning import RequiredUnits, check_relative, distance_from_margin
from abtest_lib.statistics.power import power_means, required_units_means


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
        ``sd_treatment``, ``test``, ``power``, ``allocation``, ``treatments`` or ``inflation`` of
        ``required_units_means``.

    Returns
    -------
    RequiredUnits

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the effect is at or beyond the margin.

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
        ``n_control``, ``n_treatment``, ``sd_treatment``, ``test``, ``treatments`` of ``power_means``.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

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
    .. [1] Tamhane, Logan (2004), JSPI 126(1). doi:10.1016/S0378-3758(02)00319-X

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

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> plan = {"mean": 180.0, "sd": 80.0, "better": "lower"}
    >>> round(power_guardrail_means(0.03, **plan, n_control=3_552, n_treatment=3_552), 4)
    0.8001
    """
    distance, options = _guardrail(margin, mean, sd, better, relative_effect, options)
    return power_means(distance, alpha=alpha, alternative="greater", **options)


def _guardrail(
    margin: float, mean: float, sd: float, better: Better, relative_effect: float, options: dict[str, Any]
) -> tuple[float, dict[str, Any]]:
    check_relative(relative_effect, mean)
    distance = distance_from_margin(relative_effect, margin, better) * mean
    if better == "higher" and margin >= 1:
        raise ValueError(f"margin is {margin}; it must be below 1 where higher is better.")
    ratio = 1 - margin if better == "higher" else 1 + margin
    treated = options.get("sd_treatment")
    return distance, {**options, "sd": ratio * sd, "sd_treatment": sd if treated is None else treated}
