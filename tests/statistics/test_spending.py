from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from abtest_lib.statistics.spending import (
    hwang_shih_decani_spending,
    obrien_fleming_spending,
    pocock_spending,
    power_spending,
)

FRACTIONS = [0.0, 0.1, 0.25, 0.6, 1.0]
# Each formula as printed in its paper, on the standard library and scipy.stats.
PUBLISHED = {
    "obrien_fleming": (
        obrien_fleming_spending,
        {},
        lambda t, alpha: 2 * stats.norm.sf(stats.norm.isf(alpha / 2) / math.sqrt(t)) if t else 0.0,
    ),
    "pocock": (pocock_spending, {}, lambda t, alpha: alpha * math.log(1 + (math.e - 1) * t)),
    "power": (power_spending, {"rho": 2.5}, lambda t, alpha: alpha * t**2.5),
    "hwang": (
        hwang_shih_decani_spending,
        {"gamma": -3},
        lambda t, alpha: alpha * (1 - math.exp(3 * t)) / (1 - math.exp(3)),
    ),
    "hwang_even": (hwang_shih_decani_spending, {"gamma": 0}, lambda t, alpha: alpha * t),
    "hwang_early": (
        hwang_shih_decani_spending,
        {"gamma": 1},
        lambda t, alpha: alpha * (1 - math.exp(-t)) / (1 - math.exp(-1)),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("alpha", [0.025, 0.3])
def test_alpha_is_spent_as_published(name, alpha):
    spending, shape, published = PUBLISHED[name]
    want = [published(fraction, alpha) for fraction in FRACTIONS]
    for fraction, spent in zip(FRACTIONS, want, strict=True):
        found = spending(fraction, alpha, **shape)
        assert type(found) is float
        assert found == pytest.approx(spent, rel=1e-12, abs=1e-17)
    assert spending(np.array(FRACTIONS), alpha, **shape) == pytest.approx(want, rel=1e-12, abs=1e-17)
    assert spending(1.5, alpha, **shape) == pytest.approx(alpha, rel=1e-12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_fraction_or_alpha_that_cannot_be_is_refused(name):
    spending, shape, _ = PUBLISHED[name]
    with pytest.raises(ValueError, match=r"^fraction is -0\.1; it must be at least 0\.$"):
        spending(-0.1, 0.05, **shape)
    with pytest.raises(ValueError, match=r"^fraction is \[0\.5 nan\]; "):
        spending(np.array([0.5, math.nan]), 0.05, **shape)
    for alpha in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=rf"^alpha is {alpha}; it must be between 0 and 1\.$"):
            spending(0.5, alpha, **shape)


def test_shape_that_cannot_be_is_refused():
    for rho in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"^rho is {rho}; it must be above 0\.$"):
            power_spending(0.5, 0.05, rho=rho)
    assert power_spending(0.25, 0.05, rho=0.5) == pytest.approx(0.025)
    for gamma in (math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"^gamma is {gamma}; it must be a finite number\.$"):
            hwang_shih_decani_spending(0.5, 0.05, gamma=gamma)
