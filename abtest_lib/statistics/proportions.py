"""Two proportions from their counts: z statistics, and the score intervals of Wilson, Newcombe and Koopman.

All but ``score_ratio_interval`` broadcast over arrays; plain numbers in give plain floats out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import (
    Alternative,
    Interval,
    check_counts,
    critical_value,
    floats,
    interval_ends,
    plain,
)


def pooled_z(successes_control: Any, n_control: Any, successes_treatment: Any, n_treatment: Any) -> Any:
    """Return the two-proportion z statistic with pooled variance.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int or array
        n at least 1.

    Returns
    -------
    float or array
        nan where nobody or everybody succeeded; ``compare_proportions`` turns that into a reason.

    Examples
    --------
    >>> round(pooled_z(155, 5_000, 190, 5_000), 4)
    1.9177
    """
    xc, nc, xt, nt = floats(successes_control, n_control, successes_treatment, n_treatment)
    total, n = xc + xt, nc + nt
    variance = total * (n - total) / (n * nc * nt)
    with np.errstate(invalid="ignore", divide="ignore"):
        return plain(np.where(variance > 0, (xt / nt - xc / nc) / np.sqrt(variance), np.nan))


def score_ratio_z(
    successes_control: Any, n_control: Any, successes_treatment: Any, n_treatment: Any, *, ratio: Any = 1.0
) -> Any:
    """Return the score statistic for "the treatment's share is ``ratio`` times the control's".

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int or array
        n at least 1.
    ratio : float or array, > 0
        Ratio of shares under the hypothesis; with 1 the statistic is the pooled z.

    Returns
    -------
    float or array
        Positive when the treatment's share is above ``ratio`` times the control's; nan where nobody succeeded (and
        with a ratio of 1 where everybody did).

    Notes
    -----
    (p_t - r p_c) over its standard error at the maximum-likelihood shares under p_t = r p_c.

    References
    ----------
    .. [1] Koopman (1984), Biometrics 40(2). doi:10.2307/2531405
    .. [2] Farrington, Manning (1990), Statistics in Medicine 9(12). doi:10.1002/sim.4780091208

    Examples
    --------
    >>> round(score_ratio_z(155, 5_000, 190, 5_000, ratio=0.9), 4)
    2.9169
    """
    xc, nc, xt, nt = floats(successes_control, n_control, successes_treatment, n_treatment)
    ratio = np.asarray(ratio, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        contrast, variance = _score_parts(xc, nc, xt, nt, ratio, smaller=np.minimum, root=np.sqrt)
        return plain(np.where(variance > 0, contrast / np.sqrt(variance), np.nan))


def wilson_interval(
    successes: Any, n: Any, *, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> tuple[Any, Any]:
    """Return Wilson's score interval of one proportion.

    Parameters
    ----------
    successes, n : int or array
        ``0 <= successes <= n``, n at least 1.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Raises
    ------
    ValueError
        If counts, ``alpha`` or ``alternative`` are not what they must be.

    References
    ----------
    .. [1] Wilson (1927), JASA 22(158). doi:10.1080/01621459.1927.10502953

    Examples
    --------
    >>> [round(end, 4) for end in wilson_interval(0, 20)]
    [0.0, 0.1611]
    """
    check_counts(successes, n, "successes", "n")
    low, high = _wilson_ends(np.asarray(successes, float), np.asarray(n, float), critical_value(alpha, alternative))
    return interval_ends(low, high, alternative)


def newcombe_interval(
    successes_control: Any,
    n_control: Any,
    successes_treatment: Any,
    n_treatment: Any,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> tuple[Any, Any]:
    """Return Newcombe's hybrid score interval of a difference of proportions, which holds on rare events.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int or array
        n at least 1.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    tuple of float or array
        Lower and upper end of treatment minus control.

    Raises
    ------
    ValueError
        If counts, ``alpha`` or ``alternative`` are not what they must be.

    References
    ----------
    .. [1] Newcombe (1998), Statistics in Medicine 17, 873-890, method 10.
       doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I

    Examples
    --------
    >>> [round(end, 4) for end in newcombe_interval(48, 80, 56, 70)]
    [0.0524, 0.3339]
    """
    check_counts(successes_control, n_control, "successes_control", "n_control")
    check_counts(successes_treatment, n_treatment, "successes_treatment", "n_treatment")
    xc, nc, xt, nt = floats(successes_control, n_control, successes_treatment, n_treatment)
    quantile = critical_value(alpha, alternative)
    pc, pt = xc / nc, xt / nt
    low_c, high_c = _wilson_ends(xc, nc, quantile)
    low_t, high_t = _wilson_ends(xt, nt, quantile)
    effect = pt - pc
    return interval_ends(
        effect - np.hypot(pt - low_t, high_c - pc), effect + np.hypot(high_t - pt, pc - low_c), alternative
    )


def score_ratio_interval(
    successes_control: int,
    n_control: int,
    successes_treatment: int,
    n_treatment: int,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> Interval | NotComputed:
    """Return Koopman's score interval of the relative effect on a proportion: what ``score_ratio_z`` does not reject.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int
        n at least 1.
    alpha : float, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    tuple of float, or NotComputed
        Lower end -1 when the treatment has no success, upper end infinite when the control has none; NotComputed when
        neither has.

    Raises
    ------
    ValueError
        If counts, ``alpha`` or ``alternative`` are not what they must be.

    References
    ----------
    .. [1] Koopman (1984), Biometrics 40(2). doi:10.2307/2531405

    Examples
    --------
    >>> [round(end, 4) for end in score_ratio_interval(155, 5_000, 190, 5_000)]
    [-0.0045, 0.5095]
    """
    check_counts(successes_control, n_control, "successes_control", "n_control")
    check_counts(successes_treatment, n_treatment, "successes_treatment", "n_treatment")
    quantile = float(critical_value(alpha, alternative))
    if successes_control == 0 and successes_treatment == 0:
        return NotComputed("no unit of control or treatment has the outcome")
    counts = (int(successes_control), int(n_control), int(successes_treatment), int(n_treatment))
    low = -1.0 if successes_treatment == 0 else _score_root(counts, quantile, -1.0) - 1
    high = math.inf if successes_control == 0 else _score_root(counts, -quantile, 1.0) - 1
    return interval_ends(low, high, alternative)


def _score_parts(xc: Any, nc: Any, xt: Any, nt: Any, ratio: Any, *, smaller: Any, root: Any) -> tuple[Any, Any]:
    """Contrast of the score test and its variance; with ``min`` and ``math.sqrt`` 30 times faster on plain numbers."""
    successes, units = xc + xt, nc + nt
    b = nt * ratio + xt + nc + xc * ratio
    # Nothing under the root is negative but by rounding.
    share_c = smaller(2 * successes / (b + root(abs(b * b - 4 * units * ratio * successes))), 1.0)
    share_t = smaller(ratio * share_c, 1.0)
    variance = share_t * (1 - share_t) / nt + ratio * ratio * share_c * (1 - share_c) / nc
    return xt / nt - ratio * xc / nc, variance


def _score_root(counts: tuple[int, int, int, int], target: float, direction: float) -> float:
    """Ratio at which the score statistic, which falls with the ratio, equals ``target``."""

    def distance(log_ratio: float) -> float:
        contrast, variance = _score_parts(*counts, math.exp(log_ratio), smaller=min, root=math.sqrt)
        # No variance only where both shares are 1, on the estimate itself.
        return direction * ((contrast / math.sqrt(variance) if variance > 0 else 0.0) - target)

    control, n_control, treatment, n_treatment = counts
    near = math.log(max(treatment, 0.5) / n_treatment) - math.log(max(control, 0.5) / n_control)
    step = direction * 0.1
    # Where a half stands for a variant without successes, the start may lie beyond the root.
    while distance(near) < 0:
        near, step = near - step, step * 2
    far = near + step
    while distance(far) > 0:
        near, step = far, step * 2
        far += step
    while abs(far - near) > 1e-14 * max(1.0, abs(near)):
        middle = (near + far) / 2
        if distance(middle) > 0:
            near = middle
        else:
            far = middle
    return math.exp((near + far) / 2)


def _wilson_ends(successes: np.ndarray, n: np.ndarray, quantile: Any) -> tuple[np.ndarray, np.ndarray]:
    share, square = successes / n, np.square(quantile)
    centre = share + square / (2 * n)
    half = quantile * np.sqrt(share * (1 - share) / n + square / (4 * n * n))
    shrink = 1 + square / n
    low = np.where(successes == 0, 0.0, (centre - half) / shrink)
    return low, np.where(successes == n, 1.0, (centre + half) / shrink)
