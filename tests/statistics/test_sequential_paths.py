from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from abtest_lib.statistics.sequential_paths import LARGEST_BOUND, Paths, find_root

STARTS = [Paths.start(), Paths.start(theta=0.4), Paths.start(1.3, 0.5, theta=-0.7)]


def law(start, information):
    """Of the statistic at a look, if there were no bounds: the score grows by normal steps."""
    score, since = start.origin
    steps = information - since
    return stats.norm((score + start.theta * steps) / math.sqrt(information), math.sqrt(steps / information))


def two_looks(start, lower, upper, first, bound, second):
    """Probability of running past the first look and being above ``bound`` at the second, by quadrature over z."""
    one, step = law(start, first), second - first

    def beyond(z):
        growth = bound * math.sqrt(second) - z * math.sqrt(first) - start.theta * step
        return one.pdf(z) * stats.norm.sf(growth / math.sqrt(step))

    return integrate.quad(beyond, lower, upper, epsabs=1e-13, epsrel=1e-12, limit=200)[0]


@pytest.mark.parametrize("start", STARTS)
def test_before_any_look_the_statistic_is_normal(start):
    for information in (0.8, 2.0):
        for bound in (-1.5, 0.0, 2.2):
            assert start.above(bound, information) == pytest.approx(law(start, information).sf(bound), rel=1e-12)
            assert start.below(bound, information) == pytest.approx(law(start, information).cdf(bound), rel=1e-12)
    assert start.mass.tolist() == [1]
    assert start.mirrored == (start is STARTS[0])


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("lower", "upper"), [(-1.8, 1.8), (-0.5, 2.4), (0.2, 0.3)])
def test_two_looks_are_what_quadrature_makes_of_them(start, lower, upper):
    running = start.within(lower, upper, 0.8, 1.5)
    assert running.mass.sum() == pytest.approx(law(start, 0.8).cdf(upper) - law(start, 0.8).cdf(lower), rel=1e-10)
    for bound in (-2.0, 0.4, 1.9):
        want = two_looks(start, lower, upper, 0.8, bound, 1.5)
        assert running.above(bound, 1.5) == pytest.approx(want, rel=1e-8, abs=1e-12)
        assert running.below(bound, 1.5) == pytest.approx(running.mass.sum() - want, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("start", STARTS)
def test_bounds_are_where_the_probability_is_passed(start):
    paths = [(start, 0.8), (start.within(-1.2, 2.0, 0.8, 0.9), 0.9), (start.within(-2.0, 1.0, 0.8, 40.0), 40.0)]
    for running, information in paths:
        for share in (1e-9, 0.01, 0.5, 0.99):
            probability = share * running.mass.sum()
            upper, lower = (getattr(running, side)(probability, information) for side in ("upper_bound", "lower_bound"))
            if math.isfinite(upper):
                assert running.above(upper, information) == pytest.approx(probability, rel=1e-8)
            if math.isfinite(lower):
                assert running.below(lower, information) == pytest.approx(probability, rel=1e-8)
            assert math.isfinite(upper) == (running.above(LARGEST_BOUND, information) < probability)
            assert math.isfinite(lower) == (running.below(-LARGEST_BOUND, information) < probability)


def test_bound_that_none_or_all_pass_is_infinite():
    start = Paths.start()
    assert LARGEST_BOUND == 7
    assert start.upper_bound(0.0, 1.0) == math.inf
    assert start.lower_bound(0.0, 1.0) == -math.inf
    assert start.upper_bound(1.0, 1.0) == -math.inf
    assert start.lower_bound(1.0, 1.0) == math.inf
    # 7 belongs to 1.28e-12.
    at_the_edge = stats.norm.sf(7)
    assert start.upper_bound(at_the_edge * 0.999, 1.0) == math.inf
    assert start.lower_bound(at_the_edge * 0.999, 1.0) == -math.inf
    assert start.upper_bound(at_the_edge * 1.001, 1.0) == pytest.approx(7, abs=1e-3)
    assert start.lower_bound(at_the_edge * 1.001, 1.0) == pytest.approx(-7, abs=1e-3)


def test_bounds_in_the_wrong_order_leave_no_path():
    start = Paths.start(theta=0.4)
    nothing = start.within(1.0, 1.0, 0.8, 1.5)
    assert nothing.mass.sum() == start.within(1.0, -1.0, 0.8, 1.5).above(0.0, 1.5) == 0
    assert (nothing.information, nothing.theta, nothing.origin) == (0.8, 0.4, (0.0, 0.0))
    assert nothing.z.tolist() == [pytest.approx(0.4 * math.sqrt(0.8))]


def test_open_bounds_lose_no_path():
    for start in STARTS:
        running = start.within(-math.inf, math.inf, 0.8, 0.81)
        assert running.mass.sum() == pytest.approx(1, abs=1e-12)
        assert running.above(1.0, 0.81) == pytest.approx(law(start, 0.81).sf(1.0), rel=1e-9)


def test_half_of_the_work_gives_all_of_the_paths():
    whole = Paths(np.array([0.0]), np.array([1.0]), 0.0, 0.0, (0.0, 0.0), mirrored=False)
    half = Paths.start()
    for lower, upper, information, then in ((-2.0, 2.0, 0.3, 0.5), (-1.5, 1.5, 0.5, 1.0)):
        whole, half = (paths.within(lower, upper, information, then) for paths in (whole, half))
        assert (whole.mirrored, half.mirrored) == (False, True)
        assert half.mass == pytest.approx(whole.mass, rel=1e-13, abs=1e-16)
        assert half.z == pytest.approx(whole.z, rel=1e-13, abs=1e-15)
    assert not half.within(-1.5, 1.6, 1.0, 2.0).mirrored
    # One sided after mirrored: nothing of either half may be lost.
    assert half.within(-math.inf, 1.6, 1.0, 2.0).mass.sum() == pytest.approx(half.below(1.6, 1.0), rel=1e-10)


@pytest.mark.parametrize("unit", [1e-6, 1000.0])
def test_unit_of_information_and_a_look_soon_after_another_change_nothing(unit):
    for lower, upper in ((-1.8, 1.8), (-math.inf, 2.0)):
        running = Paths.start(theta=0.4 / math.sqrt(unit)).within(lower, upper, 0.8 * unit, 0.801 * unit)
        want = two_looks(STARTS[1], max(lower, -9), upper, 0.8, 1.7, 0.801)
        assert running.above(1.7, 0.801 * unit) == pytest.approx(want, rel=1e-6)
        again = running.within(lower, upper, 0.801 * unit, 2.0 * unit)
        assert again.mass.sum() == pytest.approx(
            running.below(upper, 0.801 * unit) - running.below(lower, 0.801 * unit)
        )


CURVES = {
    "a cubic": (lambda x: x**3 - 2 * x - 5, 2.0, 3.0),
    "a cosine": (lambda x: math.cos(x) - x, 0.0, 1.0),
    "falling, flat at one end": (lambda x: 1e-3 - (x - 1) ** 9, 1.0, 4.0),
    "steep at one end": (lambda x: math.log(x) + 20, 1e-12, 1.0),
    "a step": (lambda x: 1.0 if x > 0.3 else -1.0, 0.0, 1.0),
}


@pytest.mark.parametrize("name", CURVES)
def test_root_is_that_of_scipy(name):
    function, low, high = CURVES[name]
    want = optimize.brentq(function, low, high, xtol=1e-15, rtol=1e-15)
    for ends in ((low, high), (high, low)):
        assert find_root(function, *ends) == pytest.approx(want, abs=1e-10)
        assert find_root(function, *ends, tolerance=1e-3) == pytest.approx(want, abs=1e-3)


def test_root_is_found_in_few_steps():
    # Bisection of an interval of 1 takes 34 steps to 1e-10; interpolation must do better, and no worse on a step.
    for name, most in (("a cubic", 12), ("a cosine", 12), ("a step", 60), ("steep at one end", 45)):
        function, low, high = CURVES[name]
        asked = []
        find_root(lambda x, function=function, asked=asked: asked.append(x) or function(x), low, high)
        assert len(asked) <= most, name


def test_root_at_an_end_is_that_end():
    assert find_root(lambda x: x - 1, 1.0, 2.0) == 1
    assert find_root(lambda x: x - 2, 1.0, 2.0) == 2
    assert find_root(lambda x: x - 1.5, 1.0, 2.0) == 1.5


def test_root_needs_a_change_of_sign():
    with pytest.raises(ValueError, match=r"^function is 2\.0 at 1\.0 and 3\.0 at 2\.0; its sign must differ\.$"):
        find_root(lambda x: x + 1, 1.0, 2.0)
    with pytest.raises(ValueError, match="its sign must differ"):
        find_root(lambda x: -1e-9 * x, 1.0, 2.0)
