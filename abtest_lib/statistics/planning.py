"""What a plan starts from and ends in: a metric before the experiment, the units it needs, the days they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import Better
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.planning_checks import check_share
from abtest_lib.statistics.tails import check_positive, plain


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
        check_positive(self.sd, "sd")

    @classmethod
    def of_share(cls, share: float) -> Baseline:
        """Return the baseline of a share of units, with variance p (1 - p); ValueError where not between 0 and 1."""
        check_share(share, "share")
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

    @classmethod
    def of_count(cls, rate: float, *, dispersion: float = 1.0) -> Baseline:
        """Return the baseline of a count per unit, with variance ``dispersion * rate`` (1: Poisson).

        Parameters
        ----------
        rate : float
            Mean count per unit, above 0.
        dispersion : float
            Variance over mean, above 0; counts of a product are rarely Poisson, so take it from past values.

        Raises
        ------
        ValueError
            If an argument is not above 0.

        Examples
        --------
        >>> Baseline.of_count(4.0), Baseline.of_count(4.0, dispersion=4.0).sd
        (Baseline(mean=4.0, sd=2.0), 4.0)
        """
        check_positive(rate, "rate")
        check_positive(dispersion, "dispersion")
        return cls(float(rate), math.sqrt(rate * dispersion))

    @classmethod
    def of_standard_error(cls, value: float, standard_error: float, n: int) -> Baseline:
        """Return the baseline of any statistic whose error falls with the root of the units, such as a quantile.

        Parameters
        ----------
        value, standard_error : float
            Of the statistic in past data, as from ``quantiles``; the error above 0.
        n : int
            Units in these data, at least 2.

        Raises
        ------
        ValueError
            If an argument is not what it must be.

        Notes
        -----
        sd = standard error · √n, which for a quantile is √(q (1 - q)) over the density at it.

        References
        ----------
        .. [1] Deng, Knoblich, Lu (2018), KDD. doi:10.1145/3219819.3219919

        Examples
        --------
        >>> Baseline.of_standard_error(380.0, 4.0, 2_500)
        Baseline(mean=380.0, sd=200.0)
        """
        check_positive(standard_error, "standard_error")
        if not 2 <= n < math.inf:
            raise ValueError(f"n is {n}; it must be at least 2.")
        return cls(float(value), standard_error * math.sqrt(n))

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

    Raises
    ------
    ValueError
        If ``exact_control`` is negative or not finite, ``allocation`` is not above 0 or ``treatments`` is below 1.

    Examples
    --------
    >>> units = RequiredUnits(1_000.2, allocation=2.0, treatments=2)
    >>> units.control, units.treatment, units.total
    (1001, 2001, 5003)
    """

    exact_control: Any
    allocation: float = 1.0
    treatments: int = 1

    def __post_init__(self) -> None:
        if not np.all((np.asarray(self.exact_control) >= 0) & np.isfinite(self.exact_control)):
            raise ValueError(f"exact_control is {self.exact_control}; it must be a number, at least 0.")
        check_positive(self.allocation, "allocation")
        if not (self.treatments >= 1 and self.treatments % 1 == 0):
            raise ValueError(f"treatments is {self.treatments}; it must be a whole number, at least 1.")

    @classmethod
    def of_total(cls, total: Any, *, variants: int = 2, allocation: float = 1.0) -> RequiredUnits:
        """Return how a given number of units is split.

        Parameters
        ----------
        total : float or array
            Units of all variants, above 0.
        variants : int
            The control counted in, at least 2.
        allocation : float
            Units of a treatment for each unit of the control, above 0.

        Raises
        ------
        ValueError
            If an argument is not what it must be.

        Examples
        --------
        >>> split = RequiredUnits.of_total(10_000, variants=3, allocation=0.5)
        >>> split.exact_control, split.exact_treatment
        (5000.0, 2500.0)
        """
        check_positive(total, "total")
        check_positive(allocation, "allocation")
        if variants < 2:
            raise ValueError(f"variants is {variants}; it must be at least 2.")
        return cls(plain(np.asarray(total) / (1 + (variants - 1) * allocation)), allocation, variants - 1)

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
    def exact_treatment(self) -> Any:
        """Units of each treatment, before rounding up."""
        return self.allocation * self.exact_control

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

    Returns
    -------
    RequiredDays

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
    check_positive(units, "units")
    check_positive(units_per_day, "units_per_day")
    if not (window_days >= 0 and window_days % 1 == 0):
        raise ValueError(f"window_days is {window_days}; it must be a whole number of days, at least 0.")
    return RequiredDays(7 * math.ceil(units / units_per_day / 7 * (1 - 1e-12)), int(window_days))


def units_by_day(days: Any, *, units_per_day: float, window_days: int = 0, enrolment_days: float = math.inf) -> Any:
    """Return how many units have entered and have their windows over after so many days.

    Parameters
    ----------
    days : float or array
        Days since the start, at least 0.
    units_per_day : float
        New units on an average day, above 0.
    window_days : int
        Days for which a unit's outcome is counted, at least 0.
    enrolment_days : float
        Days during which units enter; default no end.

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> units_by_day([7, 14, 21, 28], units_per_day=5_000, window_days=7, enrolment_days=14)
    array([    0., 35000., 70000., 70000.])
    """
    check_positive(units_per_day, "units_per_day")
    if not (np.all(np.asarray(days) >= 0) and np.all(np.isfinite(days))):
        raise ValueError(f"days is {days}; it must be at least 0.")
    if not 0 <= window_days < math.inf:
        raise ValueError(f"window_days is {window_days}; it must be at least 0.")
    if not enrolment_days > 0:
        raise ValueError(f"enrolment_days is {enrolment_days}; it must be above 0.")
    return plain(units_per_day * np.clip(np.asarray(days, dtype=float) - window_days, 0.0, enrolment_days))


def treated_share(share: Any, *, effect: Any = None, relative_effect: Any = None) -> Any:
    """Return the share of units that a treatment makes of the control's.

    Parameters
    ----------
    share : float or array, in (0, 1)
        Of the control.
    effect, relative_effect : float or array
        One of the two: added to the share, or a part of it.

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If not exactly one effect is given, or it leads out of the shares between 0 and 1.

    Examples
    --------
    >>> round(treated_share(0.05, effect=-0.01), 4), round(treated_share(0.05, relative_effect=0.1), 4)
    (0.04, 0.055)
    """
    check_share(share, "share")
    if (effect is None) == (relative_effect is None):
        raise ValueError(f"effect is {effect} and relative_effect {relative_effect}; exactly one must be given.")
    base = np.asarray(share, dtype=float)
    treated = base + effect if relative_effect is None else base * (1 + np.asarray(relative_effect, dtype=float))
    check_share(treated, "the treatment's share")
    return plain(treated)


def margin_of_change(change: float) -> tuple[float, Better]:
    """Return the margin, and which way of the metric is good, of the worst change that is tolerated.

    Parameters
    ----------
    change : float
        Not 0: negative where a fall is bad, positive where a rise is.

    Returns
    -------
    tuple of float and {"higher", "lower"}

    Raises
    ------
    ValueError
        If ``change`` is 0 or not finite.

    Examples
    --------
    >>> margin_of_change(-0.4), margin_of_change(0.005)
    ((0.4, 'higher'), (0.005, 'lower'))
    """
    if change == 0 or not math.isfinite(change):
        raise ValueError(f"change is {change}; it must be a number other than 0.")
    return abs(change), "higher" if change < 0 else "lower"


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
