"""Whether units fell into variants as designed, and when to raise the alarm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc, gammaln

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.exact import no_more_likely

# Below five expected units Pearson's approximation is rough.
FEW_UNITS = 5
LARGEST_ENUMERATION = 1_000_000


@dataclass(frozen=True)
class SampleRatioTest:
    """Answer of ``sample_ratio_test``.

    Parameters
    ----------
    statistic : float
        Pearson's chi-squared.
    df : int
        Number of variants less one.
    pvalue : float
        In [0, 1]; small values speak against the design.
    expected : mapping of str to float
        Units each variant would have under the designed weights.
    """

    statistic: float
    df: int
    pvalue: float
    expected: Mapping[str, float]


def sample_ratio_test(observed: Mapping[str, int], weights: Mapping[str, float]) -> SampleRatioTest:
    """Test whether units fell into variants in the designed proportions.

    Parameters
    ----------
    observed : mapping of str to int, k entries
        Distinct units exposed to each variant (not events, not sessions).
    weights : mapping of str to float, same k keys
        Designed allocation, each > 0, on any common scale.

    Returns
    -------
    SampleRatioTest
        ``pvalue`` is in [0, 1]; small values speak against the design.

    Raises
    ------
    ValueError
        If the keys differ, k < 2, a weight is not positive, a count is negative or not whole, or no units were
        observed. No data is an error here, never a pass.

    Notes
    -----
    Pearson's statistic against a chi-squared distribution with k - 1 degrees of freedom. Below about five expected
    units in a variant the approximation is rough: see ``sample_ratio_pvalue``, which the night reads.

    References
    ----------
    .. [1] Fabijan et al. (2019), KDD. doi:10.1145/3292500.3330722

    Examples
    --------
    >>> result = sample_ratio_test({"control": 50_600, "treatment": 49_400},
    ...                            {"control": 1, "treatment": 1})
    >>> round(result.statistic, 1), f"{result.pvalue:.2g}"
    (14.4, '0.00015')
    """
    units = check_split(observed, weights)
    scale = math.fsum(weights.values())
    expected = {variant: units * weights[variant] / scale for variant in observed}
    statistic = math.fsum((observed[variant] - expected[variant]) ** 2 / expected[variant] for variant in observed)
    df = len(observed) - 1
    return SampleRatioTest(statistic, df, float(gammaincc(df / 2, statistic / 2)), expected)


def exact_sample_ratio_pvalue(observed: Mapping[str, int], weights: Mapping[str, float]) -> float | NotComputed:
    """Return the exact p-value of "units fell into variants as designed", for small counts.

    Parameters
    ----------
    observed : mapping of str to int, k entries
        Distinct units exposed to each variant.
    weights : mapping of str to float, same k keys
        Designed allocation, each > 0, on any common scale.

    Returns
    -------
    float or NotComputed
        Binomial for two variants, multinomial for more. NotComputed when there are more than a million possible
        splits, where ``sample_ratio_test`` is as good.

    Raises
    ------
    ValueError
        As ``sample_ratio_test``.

    Notes
    -----
    Sums the probabilities of all splits of as many units that are no more likely than the one observed.

    References
    ----------
    .. [1] Read, Cressie (1988), Goodness-of-Fit Statistics for Discrete Multivariate Data.
       doi:10.1007/978-1-4612-4578-0

    Examples
    --------
    >>> round(exact_sample_ratio_pvalue({"control": 11, "treatment": 4}, {"control": 1, "treatment": 1}), 6)
    0.118469
    """
    units = int(check_split(observed, weights))
    splits = math.comb(units + len(observed) - 1, len(observed) - 1)
    if splits > LARGEST_ENUMERATION:
        return NotComputed(f"there are {splits:,} possible splits, more than an exact test should list")
    scale = math.fsum(weights.values())
    log_shares = {variant: math.log(weights[variant] / scale) for variant in observed}
    *others, last = observed
    # One entry for each way to fill the variants so far: units left, and log probability less log(units!).
    left, log_probability = np.array([units]), np.array([0.0])
    for variant in others:
        ways = left + 1
        first = np.cumsum(ways) - ways
        count = np.arange(ways.sum()) - np.repeat(first, ways)
        log_probability = np.repeat(log_probability, ways) + count * log_shares[variant] - gammaln(count + 1)
        left = np.repeat(left, ways) - count
    log_probability += left * log_shares[last] - gammaln(left + 1)
    at = math.fsum(observed[variant] * log_shares[variant] - gammaln(observed[variant] + 1) for variant in observed)
    constant = gammaln(units + 1)
    return no_more_likely(log_probability + constant, at + constant)


def sample_ratio_pvalue(observed: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """Return the p-value of "units fell into variants as designed" that also holds on a night with few units.

    Parameters
    ----------
    observed : mapping of str to int, k entries
        Distinct units exposed to each variant.
    weights : mapping of str to float, same k keys
        Designed allocation, each > 0, on any common scale.

    Returns
    -------
    float
        Of ``sample_ratio_test``; where fewer than five units are expected in a variant, the exact one.

    Raises
    ------
    ValueError
        As ``sample_ratio_test``.

    Notes
    -----
    A variant of 1 % that is expected to have 0.5 units gets 4 or more by chance in 0.0016, which Pearson's test takes
    for 7e-7. Where there are too many splits to list, the smallest exact p-value of a variant against all others,
    times the number of variants.

    References
    ----------
    .. [1] Read, Cressie (1988), Goodness-of-Fit Statistics for Discrete Multivariate Data.
       doi:10.1007/978-1-4612-4578-0

    Examples
    --------
    >>> few = {"control": 46, "treatment": 4}, {"control": 99, "treatment": 1}
    >>> f"{sample_ratio_test(*few).pvalue:.1g}", f"{sample_ratio_pvalue(*few):.1g}"
    ('7e-07', '0.002')
    """
    test = sample_ratio_test(observed, weights)
    if min(test.expected.values()) >= FEW_UNITS:
        return test.pvalue
    exact = exact_sample_ratio_pvalue(observed, weights)
    if not isinstance(exact, NotComputed):
        return exact
    units, scale = sum(observed.values()), math.fsum(weights.values())
    singly = [
        exact_sample_ratio_pvalue(
            {"one": count, "others": units - count}, {"one": weights[name], "others": scale - weights[name]}
        )
        for name, count in observed.items()
    ]
    listed = [pvalue for pvalue in singly if not isinstance(pvalue, NotComputed)]
    return min(1.0, len(singly) * min(listed)) if len(listed) == len(singly) else test.pvalue


def check_split(observed: Mapping[str, int], weights: Mapping[str, float]) -> int:
    """Return the number of units, and raise where counts or weights cannot be those of a split.

    Parameters
    ----------
    observed : mapping of str to int
    weights : mapping of str to float

    Returns
    -------
    int
        Units of all variants.

    Raises
    ------
    ValueError
        If the keys differ, there are fewer than two, a weight is not positive, a count is negative or not whole, or no
        units were observed.

    Examples
    --------
    >>> check_split({"control": 11, "treatment": 4}, {"control": 1, "treatment": 1})
    15
    """
    if set(observed) != set(weights):
        raise ValueError(
            f"observed has {sorted(observed)} and weights {sorted(weights)}; they must have the same keys."
        )
    if len(observed) < 2:
        raise ValueError(f"observed has {len(observed)} variants; a ratio needs at least 2.")
    for variant, weight in weights.items():
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"weights[{variant!r}] is {weight}; it must be a positive number.")
    for variant, count in observed.items():
        if not (count >= 0 and count % 1 == 0):
            raise ValueError(f"observed[{variant!r}] is {count}; it must be a whole number of units, at least 0.")
    units = sum(observed.values())
    if units == 0:
        raise ValueError("observed is 0 in every variant; no units is no evidence of a healthy split.")
    return units


def alarm_level(planned_reads: int, false_alarm: float = 0.01) -> float:
    """Return the p-value below which a nightly sample-ratio test raises the alarm.

    Parameters
    ----------
    planned_reads : int
        Nights on which the test is read over the experiment's whole life, at least 1.
    false_alarm : float, in (0, 1)
        Largest probability that a healthy experiment ever raises an alarm.

    Returns
    -------
    float
        ``false_alarm / planned_reads``.

    Raises
    ------
    ValueError
        If ``planned_reads`` is below 1 or ``false_alarm`` is not in (0, 1).

    Notes
    -----
    Bonferroni's inequality over the reads. Reads of growing counts are positively dependent, so the true rate is
    lower: at 0.0005 a night, 28 nights give 0.0050 and not 0.014 (docs/statistics.md).

    References
    ----------
    .. [1] Dunn (1961), JASA 56(293). doi:10.1080/01621459.1961.10482090

    Examples
    --------
    >>> round(alarm_level(planned_reads=20), 6)
    0.0005
    """
    if not (planned_reads >= 1 and planned_reads % 1 == 0):
        raise ValueError(f"planned_reads is {planned_reads}; it must be a whole number, at least 1.")
    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm is {false_alarm}; it must be between 0 and 1.")
    return false_alarm / planned_reads
