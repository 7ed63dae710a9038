"""Whether a treatment leaves a guardrail metric within its margin: proved safe, proved harmful, or not yet known.

A guardrail's margin is relative and points in the bad direction: for a metric that is better lower, a margin of 0.03
allows the treatment's mean up to 1.03 times the control's. Both outcomes are tests against that same bound, and both
have to be proved: absence of a significant change is never called safe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, welch_df
from abtest_lib.statistics.inference import TOO_LARGE, too_few, without_variation
from abtest_lib.statistics.intervals import NOTHING_VARIES, UNBOUNDED, fieller_interval
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.proportions import score_ratio_interval, score_ratio_z
from abtest_lib.statistics.tails import Interval, as_number, check_choices, square_root, tail_pvalue

Better = Literal["higher", "lower"]
Outcome = Literal["safe", "harmful", "not_yet"]
NOT_ABOVE_ZERO = "the mean of the control is not above zero, so a relative margin has no meaning"
NO_RATIO = "no unit of the control has the outcome"


@dataclass(frozen=True)
class GuardrailReading:
    """Say whether the treatment stays within the margin of a guardrail metric.

    Parameters
    ----------
    outcome : {"safe", "harmful", "not_yet"}
        Both tests read. On a night that may read harm only, use ``harm_outcome``.
    harmful : bool
        ``pvalue_harmful < alpha_harm``.
    pvalue_safe : float
        Of "the treatment's mean is at or beyond the bound"; small values prove it safe.
    pvalue_harmful : float
        Of "the treatment's mean is within the bound"; small values prove it harmful.
    statistic : float
        Signed so that positive is on the safe side of the bound.
    df : float or None
    relative_effect : float or NotComputed
    relative_interval : tuple of float, or NotComputed
        At confidence ``1 - 2 * alpha``: beyond the bound on neither side exactly when proved safe.
    confidence_level : float
    harm_interval : tuple of float, or NotComputed
        At confidence ``1 - 2 * alpha_harm``, to be read on any of the planned nights.
    harm_confidence_level : float
    bound : float
        Relative effect at the margin: ``margin`` where lower is better, ``-margin`` where higher is.
    margin : float
    better : {"higher", "lower"}
    method : str
    """

    outcome: Outcome
    harmful: bool
    pvalue_safe: float
    pvalue_harmful: float
    statistic: float
    df: float | None
    relative_effect: float | NotComputed
    relative_interval: Interval | NotComputed
    confidence_level: float
    harm_interval: Interval | NotComputed
    harm_confidence_level: float
    bound: float
    margin: float
    better: Better
    method: str

    @property
    def harm_outcome(self) -> Outcome:
        """The outcome of a night on which only harm is read: "harmful" or "not_yet"."""
        return "harmful" if self.harmful else "not_yet"


def non_inferiority(
    control: Moments,
    treatment: Moments,
    *,
    kind: Literal["mean", "proportion"],
    margin: float,
    better: Better,
    alpha: float = 0.025,
    alpha_harm: float = 0.025,
) -> GuardrailReading | NotComputed:
    """Test a guardrail metric against its margin, as a proportion or as a mean.

    Parameters
    ----------
    control, treatment : Moments
        Of one value a unit; 0 or 1 for a proportion.
    kind : {"mean", "proportion"}
        Every metric that is not a share of units is a mean.
    margin : float
        Largest tolerable relative change in the bad direction, at least 0; below 1 where higher is better.
    better : {"higher", "lower"}
    alpha : float, in (0, 0.5)
        One-sided error of saying "safe" of a treatment at the bound.
    alpha_harm : float, in (0, 0.5)
        One-sided error of saying "harmful", on this one reading; see ``harm_alpha``.

    Returns
    -------
    GuardrailReading or NotComputed

    Raises
    ------
    ValueError
        If an argument is not what it must be, or a proportion's values are not all 0 or 1.

    References
    ----------
    .. [1] Tamhane, Logan (2004), J. Biopharmaceutical Statistics 14(4), 843-856; the test of R's mratios,
       https://search.r-project.org/CRAN/refmans/mratios/html/ttestratio.html
    .. [2] Farrington, Manning (1990), Statistics in Medicine 9(12). doi:10.1002/sim.4780091208

    Examples
    --------
    >>> reading = non_inferiority(Moments(20_000, 180.0, 1.3e8), Moments(20_000, 181.0, 1.3e8),
    ...                           kind="mean", margin=0.03, better="lower", alpha_harm=0.0004)
    >>> reading.outcome, round(reading.relative_effect, 4)
    ('safe', 0.0056)
    """
    options = {"margin": margin, "better": better, "alpha": alpha, "alpha_harm": alpha_harm}
    if kind == "mean":
        return mean_non_inferiority(control, treatment, **options)
    if kind == "proportion":
        if not all(math.isfinite(value) for value in (control.mean, control.m2, treatment.mean, treatment.m2)):
            return NotComputed("a value of control or treatment is not a finite number")
        return proportion_non_inferiority(control.successes, control.n, treatment.successes, treatment.n, **options)
    raise ValueError(f"kind is {kind!r}; it must be 'mean' or 'proportion'.")


def mean_non_inferiority(
    control: Moments,
    treatment: Moments,
    *,
    margin: float,
    better: Better,
    alpha: float = 0.025,
    alpha_harm: float = 0.025,
) -> GuardrailReading | NotComputed:
    """Test whether a mean stays within its relative margin.

    Parameters
    ----------
    control, treatment : Moments
        Of one value a unit.
    margin, better, alpha, alpha_harm
        See ``non_inferiority``.

    Returns
    -------
    GuardrailReading or NotComputed
        NotComputed when a variant has fewer than two units, nothing varies, a value was not finite, or the control's
        mean is not above zero (a relative margin has no meaning there).

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    t = (m_t - r m_c) / √(v_t + r² v_c) with r = 1 ± margin and Welch-Satterthwaite degrees of freedom of that
    contrast. The intervals are Fieller's with the same degrees of freedom, so interval and test never disagree.

    References
    ----------
    .. [1] Tamhane, Logan (2004), J. Biopharmaceutical Statistics 14(4), 843-856; the test of R's mratios,
       https://search.r-project.org/CRAN/refmans/mratios/html/ttestratio.html
    .. [2] Hasler, Vonk, Hothorn (2008), Statistics in Medicine 27(4). doi:10.1002/sim.3052

    Examples
    --------
    >>> reading = mean_non_inferiority(Moments(400, 100.0, 399 * 900.0), Moments(400, 112.0, 399 * 900.0),
    ...                                margin=0.03, better="lower")
    >>> reading.outcome, f"{reading.pvalue_harmful:.1g}"
    ('harmful', '2e-05')
    """
    options = {"margin": margin, "better": better, "alpha": alpha, "alpha_harm": alpha_harm}
    _bound_ratio(**options)
    for name, moments in (("control", control), ("treatment", treatment)):
        if moments.n < 2:
            return NotComputed(too_few(name, moments.n))
    return estimate_non_inferiority(MeanEstimate.of_mean(control), MeanEstimate.of_mean(treatment), **options)


def estimate_non_inferiority(
    control: MeanEstimate,
    treatment: MeanEstimate,
    *,
    margin: float,
    better: Better,
    alpha: float = 0.025,
    alpha_harm: float = 0.025,
) -> GuardrailReading | NotComputed:
    """Test whether an estimate, such as a ratio of sums, stays within its relative margin.

    Parameters
    ----------
    control, treatment : MeanEstimate
        Independent of each other.
    margin, better, alpha, alpha_harm
        See ``non_inferiority``.

    Returns
    -------
    GuardrailReading or NotComputed
        NotComputed when neither estimate has any error, one is not finite, or the control's is not above zero.

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
    >>> reading = estimate_non_inferiority(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.1, 0.05, 480),
    ...                                    margin=0.1, better="lower")
    >>> reading.outcome, round(reading.pvalue_safe, 4)
    ('safe', 0.0021)
    """
    ratio = _bound_ratio(margin, better, alpha, alpha_harm)
    for name, estimate in (("control", control), ("treatment", treatment)):
        if not (math.isfinite(estimate.mean) and math.isfinite(estimate.squared_error)):
            return NotComputed(f"a value of {name} is not a finite number")
    if control.mean <= 0:
        return NotComputed(NOT_ABOVE_ZERO)
    if control.squared_error + treatment.squared_error == 0:
        return NotComputed(NOTHING_VARIES)
    statistic, df = margin_statistic(control, treatment, ratio=ratio)
    if not math.isfinite(statistic):
        return NotComputed(TOO_LARGE)
    relative_effect = (treatment.mean - control.mean) / control.mean
    levels = (alpha, alpha_harm) if alpha != alpha_harm else (alpha,)
    intervals = [fieller_interval(control, treatment, alpha=2 * level, df=df) for level in levels]
    return _reading(
        statistic,
        df,
        relative_effect=relative_effect if math.isfinite(relative_effect) else NotComputed(UNBOUNDED),
        intervals=[intervals[0], intervals[-1]],
        margin=margin,
        better=better,
        alpha=alpha,
        alpha_harm=alpha_harm,
        method="Welch t test against the relative margin; Fieller interval",
    )


def proportion_non_inferiority(
    successes_control: int,
    n_control: int,
    successes_treatment: int,
    n_treatment: int,
    *,
    margin: float,
    better: Better,
    alpha: float = 0.025,
    alpha_harm: float = 0.025,
) -> GuardrailReading | NotComputed:
    """Test whether a share of units stays within its relative margin.

    Parameters
    ----------
    successes_control, n_control, successes_treatment, n_treatment : int
    margin, better, alpha, alpha_harm
        See ``non_inferiority``.

    Returns
    -------
    GuardrailReading or NotComputed
        NotComputed when a variant has no units or nothing varies (nobody succeeded; everybody did and the margin is
        0). A control without successes has no relative effect or interval, but harm can still be proved.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    Score test of p_t = r p_c with r = 1 ± margin; the intervals are Koopman's, which invert the same test.

    References
    ----------
    .. [1] Farrington, Manning (1990), Statistics in Medicine 9(12). doi:10.1002/sim.4780091208
    .. [2] Koopman (1984), Biometrics 40(2). doi:10.2307/2531405

    Examples
    --------
    >>> reading = proportion_non_inferiority(500, 10_000, 495, 10_000, margin=0.2, better="higher")
    >>> reading.outcome, round(reading.pvalue_safe, 4)
    ('safe', 0.0003)
    """
    ratio = _bound_ratio(margin, better, alpha, alpha_harm)
    counts = (successes_control, n_control, successes_treatment, n_treatment)
    if n_control == 0 or n_treatment == 0:
        return NotComputed(f"{'control' if n_control == 0 else 'treatment'} has no units")
    # The intervals come first: they check the counts.
    levels = (alpha, alpha_harm) if alpha != alpha_harm else (alpha,)
    intervals = [score_ratio_interval(*counts, alpha=2 * level) for level in levels]
    statistic = score_ratio_z(*counts, ratio=ratio)
    if math.isnan(statistic):
        return NotComputed(without_variation(*counts))
    relative_effect: float | NotComputed
    if successes_control == 0:
        relative_effect = NotComputed(NO_RATIO)
        intervals = [relative_effect, relative_effect]
    else:
        share = successes_control / n_control
        relative_effect = (successes_treatment / n_treatment - share) / share
    return _reading(
        statistic,
        None,
        relative_effect=relative_effect,
        intervals=[intervals[0], intervals[-1]],
        margin=margin,
        better=better,
        alpha=alpha,
        alpha_harm=alpha_harm,
        method="score test against the relative margin; Koopman interval",
    )


def margin_statistic(control: MeanEstimate, treatment: MeanEstimate, *, ratio: Any) -> tuple[Any, Any]:
    """Return t and its degrees of freedom for "the treatment's mean is ``ratio`` times the control's".

    Parameters
    ----------
    control, treatment : MeanEstimate
        Of numbers or arrays.
    ratio : float or array
        ``1 + margin`` where lower is better, ``1 - margin`` where higher is.

    Returns
    -------
    tuple of float or array
        Statistic (positive when the treatment is above the bound) and degrees of freedom; nan where neither estimate
        has an error.

    References
    ----------
    .. [1] Tamhane, Logan (2004), J. Biopharmaceutical Statistics 14(4), 843-856; the test of R's mratios,
       https://search.r-project.org/CRAN/refmans/mratios/html/ttestratio.html

    Examples
    --------
    >>> statistic, df = margin_statistic(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480), ratio=1.03)
    >>> round(statistic, 3), round(df, 1)
    (0.987, 969.9)
    """
    error = square_root(as_number(treatment.squared_error + ratio * ratio * control.squared_error))
    error = (error or math.nan) if type(error) is float else np.where(error > 0, error, np.nan)
    return (treatment.mean - ratio * control.mean) / error, welch_df(control, treatment, ratio)


def proved_safe(reading: GuardrailReading, alpha: float) -> bool:
    """Tell whether a reading proves the metric within its margin at ``alpha`` (one-sided).

    Parameters
    ----------
    reading : GuardrailReading
    alpha : float, in (0, 1)

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If ``alpha`` is not in (0, 1).

    Examples
    --------
    >>> reading = proportion_non_inferiority(500, 10_000, 495, 10_000, margin=0.2, better="higher")
    >>> proved_safe(reading, 0.025), proved_safe(reading, 0.0001)
    (True, False)
    """
    check_choices(alpha, "two-sided")
    return reading.pvalue_safe < alpha


def proved_harmful(reading: GuardrailReading, alpha_harm: float) -> bool:
    """Tell whether a reading proves the metric beyond its margin at ``alpha_harm`` (one-sided).

    Parameters
    ----------
    reading : GuardrailReading
    alpha_harm : float, in (0, 1)

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If ``alpha_harm`` is not in (0, 1).

    Examples
    --------
    >>> reading = proportion_non_inferiority(500, 10_000, 350, 10_000, margin=0.1, better="higher")
    >>> proved_harmful(reading, harm_alpha(0.05, guardrails=5, treatments=1, reads=28))
    True
    """
    if not 0 < alpha_harm < 1:
        raise ValueError(f"alpha_harm is {alpha_harm}; it must be between 0 and 1.")
    return reading.pvalue_harmful < alpha_harm


def harm_alpha(alpha: float, guardrails: int, treatments: int, reads: int) -> float:
    """Return the alpha of one reading for harm, when any of them may stop an experiment.

    Parameters
    ----------
    alpha : float, in (0, 1)
        Largest probability of ever calling harmful anything that is within its margin.
    guardrails, treatments, reads : int
        Guardrail metrics, treatments compared with the control, and nights on which harm is read; each at least 1.

    Returns
    -------
    float
        ``alpha / (guardrails * treatments * reads)``.

    Raises
    ------
    ValueError
        If ``alpha`` is not in (0, 1) or a count is not a whole number of at least 1.

    References
    ----------
    .. [1] Dunn (1961), JASA 56(293). doi:10.1080/01621459.1961.10482090

    Examples
    --------
    >>> f"{harm_alpha(0.05, guardrails=5, treatments=1, reads=28):.6f}"
    '0.000357'
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    for name, count in (("guardrails", guardrails), ("treatments", treatments), ("reads", reads)):
        if not (count >= 1 and count % 1 == 0):
            raise ValueError(f"{name} is {count}; it must be a whole number, at least 1.")
    return alpha / (guardrails * treatments * reads)


def _reading(
    statistic: float,
    df: float | None,
    *,
    relative_effect: float | NotComputed,
    intervals: list[Interval | NotComputed],
    margin: float,
    better: Better,
    alpha: float,
    alpha_harm: float,
    method: str,
) -> GuardrailReading:
    safe_side = statistic if better == "higher" else -statistic
    pvalue_safe, pvalue_harmful = tail_pvalue(safe_side, "greater", df), tail_pvalue(safe_side, "less", df)
    harmful = pvalue_harmful < alpha_harm
    safe = pvalue_safe < alpha
    return GuardrailReading(
        outcome="harmful" if harmful else "safe" if safe else "not_yet",
        harmful=harmful,
        pvalue_safe=pvalue_safe,
        pvalue_harmful=pvalue_harmful,
        statistic=safe_side,
        df=df,
        relative_effect=relative_effect,
        relative_interval=intervals[0],
        confidence_level=1 - 2 * alpha,
        harm_interval=intervals[1],
        harm_confidence_level=1 - 2 * alpha_harm,
        bound=-margin if better == "higher" else margin,
        margin=margin,
        better=better,
        method=method,
    )


def _bound_ratio(margin: float, better: Better, alpha: float, alpha_harm: float) -> float:
    """Check the arguments every guardrail has and return the ratio of means at the bound."""
    if better not in ("higher", "lower"):
        raise ValueError(f"better is {better!r}; it must be 'higher' or 'lower'.")
    if not (margin >= 0 and math.isfinite(margin)) or (better == "higher" and margin >= 1):
        raise ValueError(f"margin is {margin}; it must be at least 0, and below 1 where higher is better.")
    for name, level in (("alpha", alpha), ("alpha_harm", alpha_harm)):
        if not 0 < level < 0.5:
            raise ValueError(f"{name} is {level}; it must be between 0 and 0.5.")
    return 1 - margin if better == "higher" else 1 + margin
