"""Whether harm also holds with few units and skewed values, where tests for large samples call it too often.

In a small variant of a skewed metric mean and spread are often too small together, and a share of few events is far
from normal. A level of one in thousands is then missed many times over, and the first nights are such nights.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from scipy.special import betainc

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.guardrails import Better, estimate_non_inferiority, proportion_non_inferiority
from abtest_lib.statistics.moments import Moments

# Below so many expected units of the treatment with the outcome the score test errs too often at small levels.
FEW_EVENTS = 50


def harm_holds(
    control: Moments,
    treatment: Moments,
    *,
    kind: Literal["mean", "proportion"],
    margin: float,
    better: Better,
    alpha_harm: float,
) -> bool:
    """Tell whether a treatment is proved beyond a guardrail's margin by a test that few or skewed units do not fool.

    Parameters
    ----------
    control, treatment : Moments
        Of the guardrail metric; of a proportion those of zeros and ones.
    kind : {"mean", "proportion"}
    margin, better, alpha_harm
        See ``guardrails.non_inferiority``, whose harm this is to confirm.

    Returns
    -------
    bool
        False too where there is nothing to test with.

    Raises
    ------
    ValueError
        If an argument is not what it must be, or the moments of a proportion are not those of a count.

    Notes
    -----
    Mean: the test of ``guardrails.mean_non_inferiority`` with the treatment's spread taken to be at least the
    control's, which does not know how the treatment's mean came out. With equal spreads it is the same test.

    Proportion: the score test, and, while fewer than 50 units of the treatment are expected to have the outcome at the
    bound, the exact test of two Poisson counts: given their sum the treatment's is binomial with the share
    r n_t / (r n_t + n_c). It holds for rare outcomes and is cautious for common ones.

    References
    ----------
    .. [1] Przyborowski, Wilenski (1940), Biometrika 31(3-4). doi:10.1093/biomet/31.3-4.313

    Examples
    --------
    >>> control = Moments.from_values([0.0] * 1_900 + [20.0, 80.0] * 50)
    >>> none_bought = Moments.from_values([0.0] * 20)
    >>> options = {"kind": "mean", "margin": 0.1, "better": "higher", "alpha_harm": 0.001}
    >>> harm_holds(control, none_bought, **options)
    False
    >>> harm_holds(control, Moments.from_values([0.0] * 2_000), **options)
    True
    """
    options = {"margin": margin, "better": better, "alpha_harm": alpha_harm}
    if kind not in ("mean", "proportion"):
        raise ValueError(f"kind is {kind!r}; it must be 'mean' or 'proportion'.")
    if kind == "proportion":
        return _share_holds(control, treatment, **options)
    if min(control.n, treatment.n) < 2:
        return False
    own = MeanEstimate.of_mean(treatment)
    wide = replace(own, squared_error=max(own.squared_error, control.variance / treatment.n))
    reading = estimate_non_inferiority(MeanEstimate.of_mean(control), wide, **options)
    return not isinstance(reading, NotComputed) and reading.harmful


def _share_holds(control: Moments, treatment: Moments, *, margin: float, better: Better, alpha_harm: float) -> bool:
    if not all(math.isfinite(value) for value in (control.mean, control.m2, treatment.mean, treatment.m2)):
        return False
    x_control, n_control, x_treatment, n_treatment = control.successes, control.n, treatment.successes, treatment.n
    reading = proportion_non_inferiority(
        x_control, n_control, x_treatment, n_treatment, margin=margin, better=better, alpha_harm=alpha_harm
    )
    if isinstance(reading, NotComputed) or not reading.harmful:
        return False
    units = n_treatment * (1 + reading.bound)
    if units * x_control >= FEW_EVENTS * n_control:
        return True
    share = units / (units + n_control)
    if better == "lower":
        return bool(betainc(x_treatment, x_control + 1, share) < alpha_harm)
    return bool(betainc(x_control, x_treatment + 1, 1 - share) < alpha_harm)
