from __future__ import annotations

import math
from functools import partial

import pytest
from scipy import integrate, stats

from abtest_lib.statistics.sequential_classical import (
    any_looks_bounds,
    haybittle_peto_bounds,
    obrien_fleming_bounds,
    pocock_bounds,
    wang_tsiatis_bounds,
)

SHAPES = {
    "obrien_fleming": (obrien_fleming_bounds, 0.0),
    "pocock": (pocock_bounds, 0.5),
    "wang_tsiatis": (partial(wang_tsiatis_bounds, delta=0.3), 0.3),
}


def spent(first, bounds, sides):
    """Error rate of the upper side over looks at ``first`` and at 1, by quadrature over the first statistic."""
    one, two = bounds

    def above(z):
        return stats.norm.pdf(z) * stats.norm.sf((two - z * math.sqrt(first)) / math.sqrt(1 - first))

    lowest = -one if sides == 2 else -math.inf
    return stats.norm.sf(one) + integrate.quad(above, lowest, one, epsabs=1e-12, epsrel=1e-12)[0]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("alpha", "sides"), [(0.05, 2), (0.01, 1), (0.3, 2)])
def test_shape_spends_its_alpha(name, alpha, sides):
    bounds, delta = SHAPES[name]
    (alone,) = bounds([1.0], alpha=alpha, sides=sides).upper
    assert alone == pytest.approx(stats.norm.isf(alpha / sides), abs=1e-8)
    found = bounds([0.4, 1.0], alpha=alpha, sides=sides)
    assert found.upper[0] == pytest.approx(found.upper[1] * 0.4 ** (delta - 0.5), rel=1e-12)
    assert found.lower == tuple(-z if sides == 2 else -math.inf for z in found.upper)
    assert found.information == (0.4, 1.0)
    assert spent(0.4, found.upper, sides) == pytest.approx(alpha / sides, abs=1e-9)
    assert found.spent == pytest.approx((stats.norm.sf(found.upper[0]), alpha / sides), abs=1e-9)
    assert bounds([0.4, 1.0]) == bounds([0.4, 1.0], alpha=0.05, sides=2)


@pytest.mark.parametrize("sides", [1, 2])
def test_high_bound_of_the_interim_looks_leaves_the_rest_to_the_last(sides):
    # A low bound and a large alpha, so that paths below the lower one are missed.
    found = haybittle_peto_bounds([0.4, 1.0], interim_z=0.9, alpha=0.3 * sides, sides=sides)
    assert found.upper[0] == 0.9
    assert spent(0.4, found.upper, sides) == pytest.approx(0.3, abs=1e-9)
    assert found.spent[-1] == pytest.approx(0.3, abs=1e-9)
    assert haybittle_peto_bounds([0.4, 1.0]) == haybittle_peto_bounds([0.4, 1.0], interim_z=3.0, alpha=0.05, sides=2)
    assert haybittle_peto_bounds([1.0]).upper[0] == pytest.approx(stats.norm.isf(0.025), abs=1e-8)


def test_bound_above_seven_cannot_stop_and_seven_can():
    assert obrien_fleming_bounds([0.01, 1.0]).upper[0] == math.inf
    assert haybittle_peto_bounds([0.5, 1.0], interim_z=7.0).upper[0] == 7
    assert haybittle_peto_bounds([0.5, 1.0], interim_z=7.1).upper[0] == math.inf


@pytest.mark.parametrize("sides", [1, 2])
def test_bounds_for_any_looks_are_levys(sides):
    found = any_looks_bounds([0.25, 0.6], alpha=0.1, sides=sides)
    constant = stats.norm.isf(0.1 / sides / 2)
    assert found.upper == pytest.approx((2 * constant, constant / math.sqrt(0.6)), rel=1e-12)
    assert found.lower == tuple(-z if sides == 2 else -math.inf for z in found.upper)
    assert any_looks_bounds([0.25, 1.0]) == any_looks_bounds([0.25, 1.0], alpha=0.05, sides=2)


def test_what_cannot_be_is_named():
    with pytest.raises(ValueError, match=r"^alpha is 0\.5; it must be below 0\.5 per side\.$"):
        pocock_bounds([1.0], alpha=0.5, sides=1)
    for delta in (math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"^delta is {delta}; it must be a finite number\.$"):
            wang_tsiatis_bounds([1.0], delta=delta)
    for interim_z in (0, -3.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"^interim_z is {interim_z}; it must be above 0\.$"):
            haybittle_peto_bounds([0.5, 1.0], interim_z=interim_z)
    with pytest.raises(ValueError, match=r"^interim_z is 1\.0, which spends 0\.159 of 0\.025 per side; raise it\.$"):
        haybittle_peto_bounds([0.5, 1.0], interim_z=1.0)
    for planned in (pocock_bounds, haybittle_peto_bounds):
        for end in (0.9, 1.1):
            with pytest.raises(ValueError, match=rf"^information is \[0\.5, {end}\]; it must increase to 1\.$"):
                planned([0.5, end])
        assert planned([0.5, 1 + 1e-10]).upper == pytest.approx(planned([0.5, 1.0]).upper, abs=1e-6)
    with pytest.raises(ValueError, match=r"^information is \[0\.5, 1\.1\]; it must increase to at most 1\.$"):
        any_looks_bounds([0.5, 1.1])
