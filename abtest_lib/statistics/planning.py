"""What a plan starts from and ends in: a metric before the experiment, the units it needs, the days they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.tails import check_choices, plain


@dataclass(frozen=True)
class Baseline:
    """Hold what planning needs to know of a metric before the experiment.

    Parameters
    ----------
    mean : float
        Of the metric, in its unit.
    sd : float
        Standard deviation between units of what the test averages, above 0.

    Raises
    ------
    ValueError
        If ``mean`` is not a finite number or ``sd`` is not above 0.

    Examples
    --------
    >>> baseline = Baseline(mean=14.4, sd=38.6)
    >>> round(baseline.effect(0.05), 2), round(baseline.relative_effect(0.72), 3)
    (0.72, 0.05)
    """

    mean: float
    sd: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean):
            raise ValueError(f"mean is {self.mean}; it must be a finite number.")
        check_positive("sd", self.sd)

    @classmethod
    def of_share(cls, share: float) -> Baseline:
        """Return the baseline of a share of units, with variance p (1 - p); ValueError where not between 0 and 1."""
        check_share("share", share)
        return cls(share, math.sqrt(share * (1 - share)))

    @classmethod
    def of_mean(cls, moments: Moments) -> Baseline | NotComputed:
        """Return the baseline of a mean, from past values of one a unit.

        Examples
        --------
        >>> Baseline.of_mean(Moments.from_values([1.0, 2.0, 3.0]))
        Baseline(mean=2.0, sd=1.0)
        """
        return _of_variance(moments.mean, moments.m2, moments.n)

    @classmethod
    def of_adjusted_mean(cls, values: CoMoments) -> Baseline | NotComputed:
        """Return the baseline of a mean adjusted by a covariate (CUPED): the variance times 1 - R².

        Examples
        --------
        >>> values = CoMoments.from_values([1.0, 2.0, 4.0, 5.0], [1.0, 3.0, 2.0, 4.0])
        >>> round(Baseline.of_adjusted_mean(values).sd, 3), round(Baseline.of_mean(values.outcome).sd, 3)
        (1.291, 1.826)
        """
        return _of_variance(values.outcome.mean, values.outcome.m2 - values.slope * values.comoment, values.n)

    @classmethod
    def of_ratio(cls, values: CoMoments) -> Baseline | NotComputed:
        """Return the baseline of a ratio of sums (outcome over covariate, both of the same unit), by the delta method.

        Notes
        -----
        With R = ȳ / x̄ the variance is (s_y² - 2 R s_xy + R² s_x²) / x̄².

        References
        ----------
        .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

        Examples
        --------
        >>> orders_by_sessions = CoMoments.from_values([1.0, 0.0, 2.0, 1.0], [2.0, 1.0, 3.0, 2.0])
        >>> Baseline.of_ratio(orders_by_sessions).mean
        0.5
        """
        if values.covariate.mean == 0:
            return NotComputed("the denominator of the ratio is zero")
        ratio = values.outcome.mean / values.covariate.mean
        m2 = values.outcome.m2 - 2 * ratio * values.comoment + ratio**2 * values.covariate.m2
        return _of_variance(ratio, m2 / values.covariate.mean**2, values.n)

    def adjusted(self, r_squared: float) -> Baseline:
        """Return the baseline after adjustment by a covariate that explains ``r_squared`` of the variance, in [0, 1).

        Examples
        --------
        >>> Baseline(mean=14.4, sd=40.0).adjusted(0.36)
        Baseline(mean=14.4, sd=32.0)
        """
        if not 0 <= r_squared < 1:
            raise ValueError(f"r_squared is {r_squared}; it must be at least 0 and below 1.")
        return Baseline(self.mean, self.sd * math.sqrt(1 - r_squared))

    def effect(self, relative_effect: Any) -> Any:
        """Return the effect in the metric's unit."""
        return plain(np.asarray(relative_effect) * self.mean)

    def relative_effect(self, effect: Any) -> Any:
        """Return the effect as a share of the mean; ValueError where the mean is zero."""
        if self.mean == 0:
            raise ValueError("mean is 0; an effect relative to it has no meaning.")
        return plain(np.asarray(effect) / self.mean)


@dataclass(frozen=True)
class RequiredUnits:
    """Hold how many units each variant needs.

    Parameters
    ----------
    exact_control : float or array
        Units of the control, before rounding up.
    allocation : float
        Units of a treatment for each unit of the control.
    treatments : int
        Treatments, each compared with the control.

    Examples
    --------
    >>> units = RequiredUnits(1_000.2, allocation=2.0, treatments=2)
    >>> units.control, units.treatment, units.total
    (1001, 2001, 5003)
    """

    exact_control: Any
    allocation: float = 1.0
    treatments: int = 1

    @property
    def control(self) -> Any:
        """Units of the control, rounded up."""
        return _rounded_up(self.exact_control)

    @property
    def treatment(self) -> Any:
        """Units of each treatment, rounded up."""
        return _rounded_up(self.allocation * self.exact_control)

    @property
    def total(self) -> Any:
        """Units of all variants, each rounded up."""
        return self.control + self.treatments * self.treatment

    @property
    def exact_total(self) -> Any:
        """Units of all variants, before rounding up."""
        return self.exact_control * (1 + self.treatments * self.allocation)


@dataclass(frozen=True)
class RequiredDays:
    """Hold how long an experiment takes.

    Parameters
    ----------
    enrolment_days : int
        Whole weeks during which units enter.
    window_days : int
        Days that the last unit is followed.

    Examples
    --------
    >>> RequiredDays(enrolment_days=14, window_days=7).days
    21
    """

    enrolment_days: int
    window_days: int

    @property
    def days(self) -> int:
        """Days until the last unit's window is over."""
        return self.enrolment_days + self.window_days


def required_days(units: int, *, units_per_day: float, window_days: int = 0) -> RequiredDays:
    """Return how many days it takes until ``units`` have entered, in whole weeks, and their windows are over.

    Parameters
    ----------
    units : int
        Of all variants, at least 1; ``RequiredUnits.total``.
    units_per_day : float
        New units that enter the experiment on an average day, above 0: a unit seen on two days counts once.
    window_days : int
        Days for which a unit's outcome is counted, at least 0.

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Notes
    -----
    Whole weeks, so that every weekday has the same weight.

    Examples
    --------
    >>> plan = required_days(62_462, units_per_day=5_000, window_days=7)
    >>> plan.enrolment_days, plan.days
    (14, 21)
    """
    check_positive("units", units)
    check_positive("units_per_day", units_per_day)
    if not (window_days >= 0 and window_days == math.floor(window_days)):
        raise ValueError(f"window_days is {window_days}; it must be a whole number of days, at least 0.")
    return RequiredDays(7 * math.ceil(units / units_per_day / 7 * (1 - 1e-12)), int(window_days))


def check_positive(name: str, value: Any) -> None:
    """Raise where a number, or one of an array, is not above 0 and finite.

    Examples
    --------
    >>> check_positive("sd", -1.0)
    Traceback (most recent call last):
        ...
    ValueError: sd is -1.0; it must be a number above 0.
    """
    if not np.all((np.asarray(value) > 0) & np.isfinite(value)):
        raise ValueError(f"{name} is {value}; it must be a number above 0.")


def check_share(name: str, value: Any) -> None:
    """Raise where a share of units, or one of an array, is not between 0 and 1.

    Examples
    --------
    >>> check_share("share", 5)
    Traceback (most recent call last):
        ...
    ValueError: share is 5; it must be between 0 and 1.
    """
    if not np.all((np.asarray(value) > 0) & (np.asarray(value) < 1)):
        raise ValueError(f"{name} is {value}; it must be between 0 and 1.")


def check_target(power: float, alpha: float, alternative: str) -> None:
    """Raise where ``power`` is no target: a test reaches its own ``alpha`` with no units at all.

    Examples
    --------
    >>> check_target(80, 0.05, "two-sided")
    Traceback (most recent call last):
        ...
    ValueError: power is 80; it must be above alpha (0.05) and below 1.
    """
    check_choices(alpha, alternative)
    if not alpha < power < 1:
        raise ValueError(f"power is {power}; it must be above alpha ({alpha}) and below 1.")


def check_counted(counted: str) -> None:
    """Raise where ``counted`` does not say which significant results make the power.

    Examples
    --------
    >>> check_counted("both")
    Traceback (most recent call last):
        ...
    ValueError: counted is 'both'; it must be 'effect side' or 'either side'.
    """
    if counted not in ("effect side", "either side"):
        raise ValueError(f"counted is {counted!r}; it must be 'effect side' or 'either side'.")


def check_inflation(inflation: float) -> None:
    """Raise where ``inflation`` is below 1: more looks never need fewer units at the last one.

    Examples
    --------
    >>> check_inflation(0.9)
    Traceback (most recent call last):
        ...
    ValueError: inflation is 0.9; it must be at least 1.
    """
    if not 1 <= inflation < math.inf:
        raise ValueError(f"inflation is {inflation}; it must be at least 1.")


def directed(effect: Any, alternative: str) -> np.ndarray:
    """Return an effect as positive where it lies on the side that the test looks for.

    Examples
    --------
    >>> float(directed(-0.5, "two-sided")), float(directed(-0.5, "less")), float(directed(-0.5, "greater"))
    (0.5, 0.5, -0.5)
    """
    effect = np.asarray(effect, dtype=float)
    return np.abs(effect) if alternative == "two-sided" else effect if alternative == "greater" else -effect


def check_effect(effect: Any, alternative: str, name: str = "effect") -> None:
    """Raise where no number of units suffices, as the effect is zero or on the side that the test does not look for.

    Examples
    --------
    >>> check_effect(-0.5, "greater")
    Traceback (most recent call last):
        ...
    ValueError: effect is -0.5; with alternative 'greater' it must be above 0.
    """
    distance = directed(effect, alternative)
    if not np.all((distance > 0) & np.isfinite(distance)):
        must = {"two-sided": "a number other than 0", "greater": "above 0", "less": "below 0"}[alternative]
        raise ValueError(f"{name} is {effect}; with alternative {alternative!r} it must be {must}.")


def check_relative(relative_effect: float, mean: float) -> None:
    """Raise where ``mean`` is not above 0, so that nothing is relative to it, or a mean would fall to 0 or below.

    Examples
    --------
    >>> check_relative(-1.5, 10.0)
    Traceback (most recent call last):
        ...
    ValueError: relative_effect is -1.5; it must be above -1.
    """
    check_positive("mean", mean)
    if not -1 < relative_effect < math.inf:
        raise ValueError(f"relative_effect is {relative_effect}; it must be above -1.")


def distance_from_margin(effect: float, margin: float, better: str) -> float:
    """Return how far a true effect lies on the safe side of a margin.

    Examples
    --------
    >>> distance_from_margin(0.1, 0.5, "lower"), distance_from_margin(0.1, 0.5, "higher")
    (0.4, 0.6)
    """
    check_positive("margin", margin)
    if better not in ("higher", "lower"):
        raise ValueError(f"better is {better!r}; it must be 'higher' or 'lower'.")
    distance = margin + effect if better == "higher" else margin - effect
    if not distance > 0:
        raise ValueError(f"effect is {effect}; it must lie within the margin, {margin}.")
    return distance


def _of_variance(mean: float, m2: float, n: int) -> Baseline | NotComputed:
    if n < 2:
        return NotComputed(f"a standard deviation needs at least 2 units, and there are {n}")
    if not (math.isfinite(mean) and math.isfinite(m2)):
        return NotComputed("a value is not a finite number")
    if m2 <= 0:
        return NotComputed("no value varies, or the covariate explains them all")
    return Baseline(mean, math.sqrt(m2 / (n - 1)))


def _rounded_up(units: Any) -> Any:
    # What rounding adds to a whole number is no unit.
    whole = np.ceil(np.asarray(units) * (1 - 1e-12))
    return int(whole) if whole.ndim == 0 else whole.astype(np.int64)
