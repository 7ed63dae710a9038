"""What is known of each variant's mean before variants are compared: the estimate, its error, degrees of freedom.

``MeanEstimate`` holds numbers or arrays, and what is computed from it broadcasts over them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from abtest_lib.statistics.moments import CoMoments, Moments, merge
from abtest_lib.statistics.tails import check_counts, check_each, plain, square_root


@dataclass(frozen=True)
class NotComputed:
    """Stand in the place of a value that cannot be computed, and say why.

    Parameters
    ----------
    reason : str
        Completes the sentence "not computed, because ...".

    Examples
    --------
    >>> NotComputed("control has no units").reason
    'control has no units'
    """

    reason: str


@dataclass(frozen=True)
class MeanEstimate:
    """Hold what a comparison needs to know of one variant: its mean and how well it is known.

    Parameters
    ----------
    mean : float or array
        In the metric's unit.
    squared_error : float or array
        Variance of ``mean``, at least 0.
    df : float or array
        Degrees of freedom of ``squared_error``.

    Raises
    ------
    ValueError
        If ``squared_error`` is negative. What is not finite is kept; the comparisons answer ``NotComputed`` to it.

    Examples
    --------
    >>> MeanEstimate.of_proportion(20, 100)
    MeanEstimate(mean=0.2, squared_error=0.0016, df=99)
    """

    mean: float
    squared_error: float
    df: float

    def __post_init__(self) -> None:
        if type(self.squared_error) is not float or self.squared_error < 0:
            check_each(
                "squared_error",
                self.squared_error,
                lambda value: np.logical_not(value < 0),
                "at least 0, as a variance is",
            )

    @classmethod
    def of_mean(cls, moments: Moments) -> MeanEstimate:
        """Return the estimate of a mean, with the sample variance over n and nan kept; ValueError below two."""
        return cls(moments.mean, moments.variance / moments.n, moments.n - 1)

    @classmethod
    def of_proportion(cls, successes: int, n: int) -> MeanEstimate:
        """Return the estimate of a proportion p, with variance p (1 - p) / n; ValueError for counts that cannot be."""
        check_counts(successes, n, "successes", "n")
        check_each("n", n, lambda units: units >= 1, "at least 1; a share needs a unit")
        share = successes / n
        return cls(share, successes * (n - successes) / n / n / n, n - 1)


def within_arm_theta(control: CoMoments, treatment: CoMoments) -> float:
    """Return the slope of the outcome on the covariate within variants, the same for both.

    Parameters
    ----------
    control, treatment : CoMoments

    Returns
    -------
    float
        0 where the covariate is constant in both variants, nan where a value was not finite. An effect of the treatment
        does not touch it, as it would the slope over all units.

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413

    Examples
    --------
    >>> within_arm_theta(CoMoments.from_values([1, 2], [1, 3]), CoMoments.from_values([6, 9], [2, 4]))
    1.0
    """
    if not (control.covariate_varies or treatment.covariate_varies):
        return 0.0
    return (control.comoment + treatment.comoment) / (control.covariate.m2 + treatment.covariate.m2)


def adjusted_estimates(control: CoMoments, treatment: CoMoments, *, theta: float) -> tuple[MeanEstimate, MeanEstimate]:
    """Return what each variant's mean would be with the covariate's mean over both variants.

    Parameters
    ----------
    control, treatment : CoMoments
        At least two units each.
    theta : float
        Outcome per unit of the covariate.

    Returns
    -------
    tuple of MeanEstimate
        Control, treatment; errors are those of the residuals y - theta x. nan where a value was not finite.

    Raises
    ------
    ValueError
        If a variant has fewer than two units or ``theta`` is not finite.

    References
    ----------
    .. [1] Deng, Xu, Kohavi, Walker (2013), WSDM. doi:10.1145/2433396.2433413

    Examples
    --------
    >>> arms = CoMoments.from_values([1, 2], [1, 3]), CoMoments.from_values([6, 9], [2, 4])
    >>> [arm.mean for arm in adjusted_estimates(*arms, theta=1.0)]
    [2.0, 7.0]
    """
    for name, arm in (("control", control), ("treatment", treatment)):
        if arm.n < 2:
            raise ValueError(f"{name}.n is {arm.n}; a mean needs at least 2 units.")
    if _finite(control, treatment) and not math.isfinite(theta):
        raise ValueError(f"theta is {theta}; it must be a finite number.")
    at = merge([control.covariate, treatment.covariate]).mean
    return _adjusted_estimate(control, theta, at), _adjusted_estimate(treatment, theta, at)


def welch_df(control: MeanEstimate, treatment: MeanEstimate, ratio: Any = 1.0) -> Any:
    """Return Welch-Satterthwaite degrees of freedom of ``treatment - ratio * control``.

    Parameters
    ----------
    control, treatment : MeanEstimate
    ratio : float or array
        1 for a plain difference; ``1 + margin`` for a test against a relative margin.

    Returns
    -------
    float or array
        nan where neither estimate has an error, or one is not finite.

    References
    ----------
    .. [1] Tamhane, Logan (2004), J. Biopharmaceutical Statistics 14(4), 843-856; the test of R's mratios,
       https://search.r-project.org/CRAN/refmans/mratios/html/ttestratio.html

    Examples
    --------
    >>> round(welch_df(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480)), 1)
    963.3
    """
    scaled = np.square(ratio) * control.squared_error
    total = treatment.squared_error + scaled
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = np.square(treatment.squared_error / total) / treatment.df + np.square(scaled / total) / control.df
        return plain(1 / parts)


def relative_standard_error(control: MeanEstimate, treatment: MeanEstimate) -> Any:
    """Return the standard error of the relative effect by the delta method.

    Parameters
    ----------
    control, treatment : MeanEstimate
        The control's mean must not be zero.

    Returns
    -------
    float or array
        As a fraction of the control's mean; nan where a mean or its error is not finite.

    Raises
    ------
    ValueError
        If the mean of the control is the plain number zero.

    References
    ----------
    .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

    Examples
    --------
    >>> round(relative_standard_error(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480)), 4)
    0.0308
    """
    _refuse_zero(control=control.mean)
    ratio = treatment.mean / control.mean
    contrast = treatment.squared_error + ratio * ratio * control.squared_error
    return plain(square_root(contrast) / abs(control.mean))


def log_ratio(control: MeanEstimate, treatment: MeanEstimate) -> Any:
    """Return the logarithm of the ratio of means.

    Parameters
    ----------
    control, treatment : MeanEstimate
        Both means above zero.

    Returns
    -------
    float or array
        nan where a mean is nan, infinite where one is.

    Raises
    ------
    ValueError
        If a mean is a plain number that is zero or below.

    Examples
    --------
    >>> round(log_ratio(MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480)), 4)
    0.0583
    """
    for name, mean in (("control", control.mean), ("treatment", treatment.mean)):
        if np.ndim(mean) == 0 and mean <= 0:
            raise ValueError(f"{name}.mean is {mean}; a logarithm needs means above zero.")
    with np.errstate(invalid="ignore", divide="ignore"):
        return plain(np.log(np.divide(treatment.mean, control.mean)))


def log_ratio_standard_error(control: MeanEstimate, treatment: MeanEstimate) -> Any:
    """Return the standard error of the logarithm of the ratio of means, by the delta method.

    Parameters
    ----------
    control, treatment : MeanEstimate
        Neither mean may be zero.

    Returns
    -------
    float or array
        nan where a mean or its error is not finite.

    Raises
    ------
    ValueError
        If a mean is the plain number zero.

    References
    ----------
    .. [1] Katz, Baptista, Azen, Pike (1978), Biometrics 34(3). doi:10.2307/2530610

    Examples
    --------
    >>> control, treatment = MeanEstimate.of_proportion(155, 5_000), MeanEstimate.of_proportion(190, 5_000)
    >>> round(log_ratio_standard_error(control, treatment), 4)
    0.1064
    """
    _refuse_zero(control=control.mean, treatment=treatment.mean)
    return plain(
        np.sqrt(control.squared_error / np.square(control.mean) + treatment.squared_error / np.square(treatment.mean))
    )


def _finite(*arms: CoMoments) -> bool:
    values = [(arm.outcome.mean, arm.outcome.m2, arm.covariate.mean, arm.covariate.m2, arm.comoment) for arm in arms]
    return all(math.isfinite(value) for row in values for value in row)


def _refuse_zero(**means: Any) -> None:
    for name, mean in means.items():
        if np.ndim(mean) == 0 and mean == 0:
            raise ValueError(f"{name}.mean is {mean}; nothing is relative to a mean of zero.")


def _adjusted_estimate(arm: CoMoments, theta: float, at: float) -> MeanEstimate:
    explained = 2 * theta * arm.comoment - theta * theta * arm.covariate.m2
    residual = arm.outcome.m2 - explained
    # What rounding leaves of a residual that is zero is no variance.
    if residual < 1e-13 * arm.outcome.m2:
        residual = 0.0
    return MeanEstimate.of_mean(Moments(arm.n, arm.outcome.mean - theta * (arm.covariate.mean - at), residual))
