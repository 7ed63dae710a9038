"""Whether units fell into variants as designed, tested after every night with one error rate for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from abtest_lib.statistics.sample_ratio import check_split

LARGEST_LOG = 709.0


@dataclass(frozen=True)
class SequentialSampleRatioTest:
    """Answer of ``sequential_sample_ratio_test``, one entry a night.

    Parameters
    ----------
    log_bayes_factors : tuple of float
        Natural logarithm of the odds against the designed split, on the counts so far.
    pvalues : tuple of float
        Valid on any night, however the night was chosen; never rising.
    concentration : float
    """

    log_bayes_factors: tuple[float, ...]
    pvalues: tuple[float, ...]
    concentration: float

    @property
    def bayes_factors(self) -> tuple[float, ...]:
        """The odds themselves; infinite beyond 1e307."""
        return tuple(math.exp(value) if value < LARGEST_LOG else math.inf for value in self.log_bayes_factors)


def sequential_sample_ratio_test(
    nightly: Sequence[Mapping[str, int]], weights: Mapping[str, float], *, concentration: float = 10_000.0
) -> SequentialSampleRatioTest:
    """Test after each night whether units fell into variants in the designed proportions.

    Parameters
    ----------
    nightly : sequence of mapping of str to int, k entries each
        New units of each night by variant; at least one night, and units in the first.
    weights : mapping of str to float, same k keys
        Designed allocation, each > 0, on any common scale.
    concentration : float, > 0
        How close to the design the splits are that the test looks for; the larger, the closer.

    Returns
    -------
    SequentialSampleRatioTest

    Raises
    ------
    ValueError
        If there is no night, keys differ, a count or weight is not what it must be, or ``concentration`` is not
        positive.

    Notes
    -----
    The likelihood of the counts under shares drawn from a Dirichlet distribution around the design, over that under
    the design, is a martingale under the design; by Ville's inequality it ever exceeds 1 / alpha with probability at
    most alpha. The p-value is the smallest inverse so far, at most 1.

    References
    ----------
    .. [1] Lindon, Malek (2022), NeurIPS. doi:10.48550/arXiv.2011.03567

    Examples
    --------
    >>> nights = [{"control": 100, "treatment": 905}, {"control": 95, "treatment": 890},
    ...           {"control": 130, "treatment": 880}, {"control": 140, "treatment": 860}]
    >>> test = sequential_sample_ratio_test(nights, {"control": 1, "treatment": 9}, concentration=1_000)
    >>> [round(pvalue, 3) for pvalue in test.pvalues]
    [1.0, 1.0, 0.876, 0.026]
    """
    if not (concentration > 0 and math.isfinite(concentration)):
        raise ValueError(f"concentration is {concentration}; it must be a positive number.")
    if not nightly:
        raise ValueError("nightly is empty; it must hold at least one night.")
    for night in nightly:
        if set(night) != set(weights):
            raise ValueError(
                f"nightly has {sorted(night)} and weights {sorted(weights)}; they must have the same keys."
            )
        for variant, count in night.items():
            if not (count >= 0 and count % 1 == 0):
                raise ValueError(f"nightly[{variant!r}] is {count}; it must be a whole number of units, at least 0.")
    check_split(nightly[0], weights)
    totals = np.cumsum([[night[variant] for variant in weights] for night in nightly], axis=0, dtype=float)
    scale = math.fsum(weights.values())
    shares = np.array([weight / scale for weight in weights.values()])
    log_bayes_factors = _log_bayes_factors(totals, shares, concentration)
    pvalues = np.exp(-np.maximum.accumulate(np.maximum(log_bayes_factors, 0.0)))
    return SequentialSampleRatioTest(tuple(log_bayes_factors.tolist()), tuple(pvalues.tolist()), concentration)


def _log_bayes_factors(totals: np.ndarray, shares: np.ndarray, concentration: float) -> np.ndarray:
    prior = concentration * shares
    by_variant = gammaln(prior + totals) - gammaln(prior) - totals * np.log(shares)
    return by_variant.sum(axis=-1) + gammaln(concentration) - gammaln(concentration + totals.sum(axis=-1))
