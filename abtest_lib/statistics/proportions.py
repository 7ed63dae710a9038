"""Two proportions from their counts: z statistics, and the score intervals of Wilson, Newcombe and Koopman.

All broadcast over arrays; plain numbers in give plain floats out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.tails import (
    Alternative,
    as_number,
    check_counts,
    check_each,
    critical_value,
    interval_ends,
    square_root,
)

NO_OUTCOME = "no unit of control or treatment has the outcome"


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

    Raises
    ------
    ValueError
        If counts are not what they must be.

    References
    ----------
    .. [1] Pearson (1900), Philosophical Magazine 50(302). doi:10.1080/14786440009463897

    Examples
    --------
    >>> round(pooled_z(155, 5_000, 190, 5_000), 4)
    1.9177
    """
    _check_tables(successes_control, n_control, successes_treatment, n_treatment)
    xc, nc, xt, nt = _numbers(successes_control, n_control, successes_treatment, n_treatment)
    total, n = xc + xt, nc + nt
    return _standardised(xt / nt - xc / nc, total * (n - total) / (n * nc * nt))


def unpooled_z(successes_control: Any, n_control: Any, successes_treatment: Any, n_treatment: Any) -> Any:
    """Return the two-proportion z statistic with each variant's own variance.

    Errs more often than ``pooled_z`` on rare events; for programs that must be matched.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int or array
        n at least 1.

    Returns
    -------
    float or array
        nan where in each variant nobody or everybody succeeded.

    Raises
    ------
    ValueError
        If counts are not what they must be.

    References
    ----------
    .. [1] Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, 3rd ed. doi:10.1002/0471445428

    Examples
    --------
    >>> round(unpooled_z(155, 5_000, 190, 5_000), 4)
    1.9181
    """
    _check_tables(successes_control, n_control, successes_treatment, n_treatment)
    xc, nc, xt, nt = _numbers(successes_control, n_control, successes_treatment, n_treatment)
    variance = xc * (nc - xc) / nc / nc / nc + xt * (nt - xt) / nt / nt / nt
    return _standardised(xt / nt - xc / nc, variance)


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

    Raises
    ------
    ValueError
        If counts or ``ratio`` are not what they must be.

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
    _check_tables(successes_control, n_control, successes_treatment, n_treatment)
    check_each("ratio", ratio, lambda value: (value > 0) & np.isfinite(value), "above 0")
    *counts, ratio = _numbers(successes_control, n_control, successes_treatment, n_treatment, ratio)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _standardised(*_score_parts(*counts, ratio, _arithmetic(ratio, *counts)))


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

    Returns
    -------
    tuple of float or array
        Lower and upper end.

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
    quantile = critical_value(alpha, alternative)
    return interval_ends(*_wilson_ends(*_numbers(successes, n, quantile)), alternative)


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
    quantile = critical_value(alpha, alternative)
    xc, nc, xt, nt, quantile = _numbers(successes_control, n_control, successes_treatment, n_treatment, quantile)
    pc, pt = xc / nc, xt / nt
    low_c, high_c = _wilson_ends(xc, nc, quantile)
    low_t, high_t = _wilson_ends(xt, nt, quantile)
    effect = pt - pc
    below = square_root((pt - low_t) * (pt - low_t) + (high_c - pc) * (high_c - pc))
    above = square_root((high_t - pt) * (high_t - pt) + (pc - low_c) * (pc - low_c))
    return interval_ends(effect - below, effect + above, alternative)


def score_ratio_interval(
    successes_control: Any,
    n_control: Any,
    successes_treatment: Any,
    n_treatment: Any,
    *,
    alpha: Any = 0.05,
    alternative: Alternative = "two-sided",
) -> Any:
    """Return Koopman's score interval of the relative effect on a proportion: what ``score_ratio_z`` does not reject.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int or array
        n at least 1.
    alpha : float or array, in (0, 1)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    tuple of float or array, or NotComputed
        Lower end -1 when the treatment has no success, upper end infinite when the control has none; NotComputed when
        neither has (nan in arrays).

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
    quantile = critical_value(alpha, alternative)
    numbers = _numbers(successes_control, n_control, successes_treatment, n_treatment, quantile)
    if all(type(number) is float for number in numbers):
        *counts, quantile = numbers
        if counts[0] == counts[2] == 0:
            return NotComputed(NO_OUTCOME)
        low = -1.0 if counts[2] == 0 else _score_root(tuple(counts), quantile, -1.0, _PLAIN) - 1
        high = math.inf if counts[0] == 0 else _score_root(tuple(counts), -quantile, 1.0, _PLAIN) - 1
        return interval_ends(low, high, alternative)
    return interval_ends(*_score_ratio_ends(*np.broadcast_arrays(*numbers)), alternative)


class _Arithmetic(NamedTuple):
    """What a formula calls on its numbers: the standard library's functions are 20 times faster on plain floats."""

    smaller: Callable
    root: Callable
    exponential: Callable
    logarithm: Callable
    choose: Callable
    every: Callable


_PLAIN = _Arithmetic(
    min, math.sqrt, math.exp, math.log, lambda condition, one, other: one if condition else other, bool
)
_ARRAYS = _Arithmetic(np.minimum, np.sqrt, np.exp, np.log, np.where, np.all)


def _arithmetic(*numbers: Any) -> _Arithmetic:
    return _PLAIN if all(type(number) is float for number in numbers) else _ARRAYS


def _check_tables(xc: Any, nc: Any, xt: Any, nt: Any) -> None:
    for name, successes, n in (("control", xc, nc), ("treatment", xt, nt)):
        # Expected counts, as of a plan, need not be whole.
        check_each(f"n_{name}", n, lambda units: (units >= 0) & np.isfinite(units), "at least 0")
        check_each(f"successes_{name}", successes, lambda count, n=n: (count >= 0) & (count <= n), f"in [0, n_{name}]")
        if np.ndim(n) == 0 and n == 0:
            raise ValueError(f"n_{name} is {n}; a share needs a unit.")


def _numbers(*values: Any) -> list[Any]:
    return [as_number(value) for value in values]


def _standardised(contrast: Any, variance: Any) -> Any:
    if type(variance) is float:
        return contrast / math.sqrt(variance) if variance > 0 else math.nan
    return contrast / np.sqrt(np.where(variance > 0, variance, np.nan))


def _score_ratio_ends(xc: Any, nc: Any, xt: Any, nt: Any, quantile: Any) -> tuple[np.ndarray, np.ndarray]:
    ends = []
    for needed, target, direction in ((xt > 0, quantile, -1.0), (xc > 0, -quantile, 1.0)):
        # Where an end needs no root, 1 of 2 against 1 of 2 stands in for counts that would have none.
        filled = tuple(np.where(needed, part, filler) for part, filler in ((xc, 1), (nc, 2), (xt, 1), (nt, 2)))
        with np.errstate(invalid="ignore", divide="ignore"):
            ends.append(_score_root(filled, target, direction, _ARRAYS) - 1)
    nobody = (xc == 0) & (xt == 0)
    low = np.where(nobody, np.nan, np.where(xt == 0, -1.0, ends[0]))
    return low, np.where(nobody, np.nan, np.where(xc == 0, np.inf, ends[1]))


def _score_parts(xc: Any, nc: Any, xt: Any, nt: Any, ratio: Any, use: _Arithmetic) -> tuple[Any, Any]:
    """Contrast of the score test and its variance."""
    control, treatment = nc + xt, ratio * (nt + xc)
    # Two roots are close where nearly everybody succeeded; the square less four times the product would lose them.
    gap = treatment - control
    root = use.root(gap * gap + 4 * ratio * (nc - xc) * (nt - xt))
    share_c = use.smaller(2 * (xc + xt) / (treatment + control + root), 1.0)
    share_t = use.smaller(ratio * share_c, 1.0)
    variance = share_t * (1 - share_t) / nt + ratio * ratio * share_c * (1 - share_c) / nc
    return xt / nt - ratio * xc / nc, variance


def _score_root(counts: tuple[Any, ...], target: Any, direction: float, use: _Arithmetic) -> Any:
    """Ratio at which the score statistic, which falls with the ratio, equals ``target``: Ridders' method."""

    def distance(log_ratio: Any) -> Any:
        contrast, variance = _score_parts(*counts, use.exponential(log_ratio), use)
        # No variance only where both shares are 1, on the estimate itself.
        varies = variance > 0
        return direction * (use.choose(varies, contrast / use.root(use.choose(varies, variance, 1.0)), 0.0) - target)

    near, far = _bracket(counts, target, direction, distance, use)
    f_near, f_far = distance(near), distance(far)
    root = near
    for _ in range(60):
        middle = (near + far) / 2
        f_middle = distance(middle)
        steepness = use.root(f_middle * f_middle - f_near * f_far)
        steepness = use.choose(steepness > 0, steepness, 1.0)
        previous, root = root, middle + (middle - near) * f_middle / steepness
        f_root = distance(root)
        for point, value in ((middle, f_middle), (root, f_root)):
            before = value > 0
            near, f_near = use.choose(before, point, near), use.choose(before, value, f_near)
            far, f_far = use.choose(before, far, point), use.choose(before, f_far, value)
        settled = 1e-14 * (1 + abs(root))
        if use.every((abs(root - previous) <= settled) | (abs(far - near) <= settled)):
            break
    return use.exponential(root)


def _bracket(
    counts: tuple[Any, ...], target: Any, direction: float, distance: Any, use: _Arithmetic
) -> tuple[Any, Any]:
    """Logarithms of two ratios with the root between them: ``distance`` is positive at the first only."""
    xc, nc, xt, nt = counts
    at_least = -use.smaller(-xc, -0.5), -use.smaller(-xt, -0.5)
    near = use.logarithm(at_least[1] / nt) - use.logarithm(at_least[0] / nc)
    error = use.root(1 / at_least[0] + 1 / at_least[1])
    step = direction * (1.25 * abs(target) + 0.1) * error
    # Where a half stands for a variant without successes, the start may lie beyond the root.
    while not use.every((found := distance(near)) > 0):
        near = use.choose(found > 0, near, near - step)
    far = near + step
    while not use.every((found := distance(far)) <= 0):
        near, far = use.choose(found <= 0, near, far), use.choose(found <= 0, far, far + 2 * (far - near))
    return near, far


def _wilson_ends(successes: Any, n: Any, quantile: Any) -> tuple[Any, Any]:
    share, square = successes / n, quantile * quantile
    centre = share + square / (2 * n)
    half = quantile * square_root(share * (1 - share) / n + square / (4 * n * n))
    shrink = 1 + square / n
    low, high = (centre - half) / shrink, (centre + half) / shrink
    choose = _arithmetic(low).choose
    return choose(successes == 0, 0.0, low), choose(successes == n, 1.0, high)
