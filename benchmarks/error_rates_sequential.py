"""Error rates of everything that is read at several looks: exact where integration gives them, else simulated.

    python benchmarks/error_rates_sequential.py [--repetitions 100000] [--seed 20260301] [--markdown]

Lines and table as ``error_rates.py`` prints them. Rows that are "reproduced" hold a figure against one that another
hand found by its own integration or simulation; their ratio is the difference over what the two may differ by.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from error_rates import ALPHA, Rate, main
from scipy.interpolate import CubicSpline
from scipy.special import ndtri

from abtest_lib.statistics.always_valid import compare_always_valid, mean_sequence, mixture_pvalue, sequence_margin
from abtest_lib.statistics.mixture_bounds import (
    bounded_mean_sequence,
    empirical_bernstein_sequence,
    predictable_bernstein_sequence,
)
from abtest_lib.statistics.quantile_sequences import quantile_sequence
from abtest_lib.statistics.sequential import crossing_probabilities, efficacy_and_harm_bounds, spending_bounds
from abtest_lib.statistics.sequential_classical import any_looks_bounds, obrien_fleming_bounds, pocock_bounds
from abtest_lib.statistics.sequential_design import futility_bounds, futility_design, sequential_design
from abtest_lib.statistics.sequential_estimates import stagewise_inference
from abtest_lib.statistics.spending import hwang_shih_decani_spending, pocock_spending, power_spending
from abtest_lib.statistics.tails import critical_value

NIGHTS = 14
FIXED80 = float(ndtri(0.975) + ndtri(0.8))
Z = critical_value(ALPHA)
EXACT = 10**12  # repetitions of a simulation with the error of the integration


@dataclass(frozen=True)
class Match(Rate):
    """One figure, and what another hand found; the two may differ by ``tolerance``."""

    tolerance: float = 0.0

    def line(self) -> dict:
        """Return the line of JSON."""
        ratio = abs(self.value - self.promised) / self.tolerance
        return {
            "name": f"reproduced: {self.name}",
            "value": round(self.value, 7),
            "unit": "as named",
            "compared_with": self.promised,
            "ratio": round(ratio, 4),
            "goal": 1.0,
            "met": ratio <= 1,
        }

    @property
    def verdict(self) -> str:
        """The last word of the table's row."""
        return "reproduced" if self.line()["met"] else "BROKEN"


def match(name: str, value: float, promised: float, tolerance: float) -> Match:
    """Return the row of a figure that another hand found, too."""
    return Match(name, float(value), promised, EXACT, tolerance=tolerance)


def evenly(looks: int) -> list[float]:
    """Return the information of equal looks."""
    return [(look + 1) / looks for look in range(looks)]


def error(upper: Sequence[float], *, sides: int = 2) -> float:
    """Return how often equal looks at these bounds err."""
    lower = [-z for z in upper] if sides == 2 else [-math.inf] * len(upper)
    return float(sum(crossing_probabilities(evenly(len(upper)), lower, upper).stopped))


def tutorial_bounds(nights: int, looks: int = 5, alpha: float = ALPHA) -> list[float]:
    """Return the tutorial's bounds of so many looks, the last one kept on all later nights."""
    return [critical_value(alpha) / math.sqrt((min(night, looks - 1) + 1) / looks) for night in range(nights)]


def rules_of_thumb(_: np.random.Generator, __: int) -> Iterator[Rate]:
    """Type I error of equal looks, by integration, against integration by another hand."""
    others = {
        (2, 0.05): (0.08311780335451788, 0.052162298311255614, 0.04280811818339015),
        (5, 0.01): (0.03274046327538355, 0.011458439685068749, 0.007209043772255076),
        (10, 0.05): (0.19335659334978617, 0.06859184488079814, 0.025282690466933676),
    }
    for (looks, alpha), wanted in others.items():
        found = (
            [critical_value(alpha)] * looks,
            tutorial_bounds(looks, looks, alpha),
            [critical_value(alpha / looks)] * looks,
        )
        for rule, upper, want in zip(("naive", "1.96/√t", "Bonferroni"), found, wanted, strict=True):
            yield match(f"type I, {looks} looks at {alpha}: {rule}", error(upper), want, 1e-6)
        options = {"alpha": alpha, "sides": 2}
        for rule, bounds in (
            ("O'Brien–Fleming", obrien_fleming_bounds(evenly(looks), **options)),
            ("Pocock", pocock_bounds(evenly(looks), **options)),
            ("Lan–DeMets", spending_bounds(evenly(looks), **options)),
        ):
            yield match(f"type I, {looks} looks at {alpha}: {rule}", error(bounds.upper), alpha, 1e-6)
    for nights, want in ((7, 0.09241229439714728), (10, 0.12385699305228084), (28, 0.21349031548225478)):
        yield match(f"type I, 1.96/√t of 5 looks read {nights} nights", error(tutorial_bounds(nights)), want, 1e-6)
    for nights, want in ((5, 0.061), (14, 0.153), (30, 0.219)):
        yield match(f"type I, 1.96/√t of 5 looks read {nights} nights", error(tutorial_bounds(nights)), want, 5e-4)
    for nights, want in ((7, 0.15001504801179488), (14, 0.19248666387316524), (28, 0.23512781728579765)):
        found = error([critical_value(0.1)] * nights, sides=1)
        yield match(f"type I, one-sided p < 0.05 on any of {nights} nights", found, want, 1e-5 * want)
    for nights, want in (
        (7, 0.00239194587397075),
        (14, 0.0035664576554936445),
        (28, 0.004958524738611892),
        (60, 0.006684012613902146),
    ):
        found = error([critical_value(0.0005)] * nights)
        yield match(f"sample ratio, χ² at 0.0005 on any of {nights} nights", found, want, 1e-5 * want)


def sequence_bounds(nights: int, planned: float = 0.25) -> list[float]:
    """Return the bounds of z of the confidence sequence, narrowest after a share of the units."""
    rho_squared = compare_always_valid(0.0, 1.0, 20_000, planned_n=20_000 * planned).rho ** 2
    units = 20_000 * np.array(evenly(nights))
    return (np.sqrt(units) * sequence_margin(units, rho_squared=rho_squared, alpha=ALPHA)).tolist()


def designed(upper: Sequence[float]) -> tuple[float, float, float]:
    """Return power, expected share of the units and inflation of 14 equal looks, with the effect of power 0.80."""
    looks = evenly(NIGHTS)
    crossing = crossing_probabilities(looks, [-z for z in upper], upper, theta=FIXED80)
    early = sum((1 - t) * stopped for t, stopped in zip(looks, crossing.stopped, strict=True))
    bounds = obrien_fleming_bounds(looks)
    design = sequential_design(type(bounds)(bounds.information, tuple(-z for z in upper), tuple(upper), bounds.spent))
    return float(sum(crossing.upper)), 1 - float(early), design.inflation


def rules_of_fourteen_nights(_: np.random.Generator, __: int) -> Iterator[Rate]:
    """Error, power, size and inflation of rules read on 14 nights, by integration."""
    kim_demets = spending_bounds(evenly(NIGHTS), spending=partial(power_spending, rho=3)).upper
    rules = {
        "Bonferroni over nights": (
            [critical_value(ALPHA / NIGHTS)] * NIGHTS,
            (0.021929590669748113, 0.545241900534871, 0.7728734048147635, 1.6198726015386595),
        ),
        "Kim–DeMets, rho 3": (
            kim_demets,
            (0.049999999999997255, 0.7804939602252019, 0.7454099867277726, 1.0496453932638157),
        ),
        "confidence sequence tuned at N/4": (
            sequence_bounds(NIGHTS),
            (0.013014620347833784, 0.46356217907992453, 0.814092184885503, 1.8219912092862462),
        ),
        "1.96/√t": (
            tutorial_bounds(NIGHTS, NIGHTS),
            (0.07212341759250399, 0.8254380361083643, 0.7234350233617761, 0.9325760627006485),
        ),
    }
    for rule, (upper, wanted) in rules.items():
        for what, value, want in zip(
            ("type I", "power", "expected share of units", "inflation for power 0.8"),
            (error(upper), *designed(upper)),
            wanted,
            strict=True,
        ):
            yield match(f"{what}, 14 nights: {rule}", value, want, 1e-5)
    for nights, type_one, power in (
        (14, 0.03510194045044916, 0.7388350130015438),
        (60, 0.04159022564966444, 0.7562387891539462),
    ):
        upper = any_looks_bounds(evenly(nights)).upper
        found = crossing_probabilities(evenly(nights), [-z for z in upper], upper, theta=FIXED80).upper
        yield match(f"type I, {nights} nights: 2.2414/√t", error(upper), type_one, 1e-6)
        yield match(f"power, {nights} nights: 2.2414/√t", float(sum(found)), power, 1e-6)


def paths(rng: np.random.Generator, repetitions: int, information: Sequence[float], theta: float) -> np.ndarray:
    """Return z at each look."""
    steps = np.diff(np.asarray(information), prepend=0.0)
    scores = np.cumsum(rng.normal(theta * steps, np.sqrt(steps), (repetitions, len(steps))), axis=1)
    return scores / np.sqrt(information)


def nightly_bounds(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Type I error and missed effects of bounds over 14 nights, and of bounds for gain and harm."""
    looks = evenly(NIGHTS)
    without, with_effect = (paths(rng, repetitions, looks, theta) for theta in (0.0, FIXED80))
    for rule, upper, used in (
        ("Lan–DeMets O'Brien–Fleming (ours)", spending_bounds(looks).upper, True),
        ("Kim–DeMets, rho 3", spending_bounds(looks, spending=partial(power_spending, rho=3)).upper, True),
        (
            "Hwang–Shih–DeCani, gamma -4",
            spending_bounds(looks, spending=partial(hwang_shih_decani_spending, gamma=-4)).upper,
            True,
        ),
        ("Lan–DeMets Pocock", spending_bounds(looks, spending=pocock_spending).upper, False),
        ("always-valid sequence", sequence_bounds(NIGHTS), False),
    ):
        ever = [float(np.mean(np.any(sign >= np.array(upper), axis=1))) for sign in (np.abs(without), with_effect)]
        yield Rate(f"type I, {NIGHTS} nights: {rule}", ever[0], ALPHA, repetitions)
        promise = 0.22 if used else 0.2
        name = f"effect of power 0.80 missed, {NIGHTS} nights: {rule}"
        yield Rate(name, 1 - ever[1], promise, repetitions, used)
        if used:
            yield Rate(f"{name}, by integration", 1 - designed(upper)[0], promise, EXACT)
    bounds = efficacy_and_harm_bounds(looks, spending_harm=pocock_spending)
    gained, harmed = np.any(without >= bounds.upper, axis=1), np.any(without <= bounds.lower, axis=1)
    yield Rate(f"a gain claimed without one, {NIGHTS} nights", float(np.mean(gained)), 0.025, repetitions)
    yield Rate(f"harm claimed without one, {NIGHTS} nights", float(np.mean(harmed)), 0.1, repetitions)


def futility(_: np.random.Generator, __: int) -> Iterator[Rate]:
    """Type I error and missed effects of five looks that also stop for futility, by integration."""
    for binding in (False, True):
        design = futility_design(evenly(5), alpha=0.025, power=0.8, spending=pocock_spending, binding=binding)
        kind = "binding" if binding else "non-binding"
        for obeyed in (True, False):
            lower = design.bounds.lower if obeyed else (-math.inf,) * 5
            found = crossing_probabilities(evenly(5), lower, design.bounds.upper)
            name = f"type I, {kind} futility bounds {'obeyed' if obeyed else 'ignored'}"
            yield Rate(name, float(sum(found.upper)), 0.025, EXACT, used=obeyed or not binding)
        found = crossing_probabilities(evenly(5), design.bounds.lower, design.bounds.upper, theta=design.drift)
        yield Rate(f"effect missed, {kind} futility bounds", float(sum(found.lower)), 0.2, EXACT)
    design = futility_design(evenly(5), alpha=0.025, power=0.8, spending=pocock_spending)
    taken = [0.12, 0.31, 0.68, 0.9, 1.0]
    bounds = futility_bounds(taken, drift=design.drift, power=0.8, spending=pocock_spending)
    for what, theta, promised in (("type I", 0.0, 0.025), ("effect missed", design.drift, 0.2)):
        found = crossing_probabilities(taken, bounds.lower, bounds.upper, theta=theta)
        share = float(sum(found.lower if theta else found.upper))
        room = 0.05 if theta else 0.0
        name = f"{what}, futility bounds at looks off plan"
        yield Rate(name, share, promised, EXACT, discreteness=room)


def off_plan(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Type I error when looks do not go as planned: late, skipped, fewer or more units than planned."""
    for case, information, times in (
        ("irregular", [0.07, 0.11, 0.4, 0.44, 0.71, 0.95, 1.0], None),
        ("10 of 14 skipped", [0.25, 0.5, 0.75, 1.0], None),
        ("ends at 0.7 of the plan, all spent", [0.2, 0.4, 0.6, 0.7], [0.2, 0.4, 0.6, 1.0]),
        ("ends at 1.3 of the plan", [0.3, 0.6, 0.9, 1.3], None),
        ("spent by days, units come late", [0.05, 0.12, 0.3, 1.0], [0.25, 0.5, 0.75, 1.0]),
        ("spent by days, units come early", [0.6, 0.9, 0.97, 1.0], [0.25, 0.5, 0.75, 1.0]),
    ):
        upper = spending_bounds(information, spending_time=times).upper
        z = np.abs(paths(rng, repetitions, information, 0.0))
        yield Rate(f"type I, off plan: {case}", float(np.mean(np.any(z >= upper, axis=1))), ALPHA, repetitions)


@dataclass(frozen=True)
class Stops:
    """Where simulated tests ended: look, z there and the effect in units of z at information 1."""

    look: np.ndarray
    z: np.ndarray
    won: np.ndarray
    theta: float


def stops(z: np.ndarray, upper: Sequence[float], theta: float) -> Stops:
    """Return where paths first passed a bound, or their last look."""
    crossed = np.abs(z) >= np.array(upper)
    ended = crossed.any(axis=1)
    look = np.where(ended, crossed.argmax(axis=1), z.shape[1] - 1)
    last = z[np.arange(len(z)), look]
    return Stops(look, last, ended & (last > 0), theta)


def estimates_after(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Bias, coverage and median of what is printed after a stop, and coverage of what is printed every night."""
    looks = np.array(evenly(NIGHTS))
    upper = np.array(spending_bounds(looks).upper)
    z = paths(rng, repetitions, looks, FIXED80)
    noise = 4 * math.sqrt(0.7 / repetitions) + 0.006
    for rule, bounds, wanted in (
        ("O'Brien–Fleming", upper, (1.1164724687430865, 1.2806448832713708, 0.9388125, 0.7835375)),
        ("p < 0.05", np.full(NIGHTS, Z), (1.4640200510751695, 1.6298026780916322, 0.9398275, 0.8712125)),
    ):
        ended = stops(z, bounds, FIXED80)
        naive = ended.z / np.sqrt(looks[ended.look]) / FIXED80
        covered = np.abs(ended.z - FIXED80 * np.sqrt(looks[ended.look])) <= Z
        found = (naive.mean(), naive[ended.won].mean(), covered.mean(), ended.won.mean())
        for what, value, want in zip(
            ("naive estimate over truth", "the same, winners alone", "coverage, naive interval", "power"),
            found,
            wanted,
            strict=True,
        ):
            yield match(f"{what}: stop by {rule}, 14 nights", float(value), want, noise)
    repeated = np.any(np.abs(z - FIXED80 * np.sqrt(looks)) > upper, axis=1)
    yield Rate("miss on any of 14 nights: repeated interval", float(repeated.mean()), ALPHA, repetitions)
    single = np.any(np.abs(z - FIXED80 * np.sqrt(looks)) > Z, axis=1)
    yield Rate("miss on any of 14 nights: interval of one night", float(single.mean()), ALPHA, repetitions, False)
    for effect, theta in (("of power 0.80", FIXED80), ("half of that", FIXED80 / 2), ("none", 0.0)):
        ended = stops(paths(rng, repetitions, looks, theta), upper, theta)
        yield from after_stop(f"effect {effect}", ended, looks, looks, upper, repetitions)
    ended = stops(z, upper, FIXED80)
    after = np.minimum(ended.look + 2, NIGHTS - 1)
    overrun = Stops(ended.look, z[np.arange(len(z)), after], ended.won, FIXED80)
    last = looks[np.minimum(np.arange(NIGHTS) + 2, NIGHTS - 1)]
    case = "two more nights of data after the stop, its look left out"
    yield from after_stop(case, overrun, looks, last, upper, repetitions, exact=False)


def after_stop(
    case: str,
    ended: Stops,
    looks: np.ndarray,
    last: np.ndarray,
    upper: np.ndarray,
    repetitions: int,
    *,
    exact: bool = True,
) -> Iterator[Rate]:
    """Misses of the stage-wise interval and how often the estimate is too high; ``last`` is the information read."""
    missed, high = 0, 0
    for look in np.unique(ended.look):
        here = ended.z[ended.look == look]
        low_end, middle, high_end = stagewise_curves(looks[:look], upper[:look], last[look], here)
        truth = ended.theta * math.sqrt(last[look])
        missed += int(np.sum((low_end > truth) | (high_end < truth)))
        high += int(np.sum(middle > truth))
    yield Rate(f"miss: stage-wise interval, {case}", missed / repetitions, ALPHA, repetitions)
    name = f"too high: median-unbiased estimate, {case}"
    if exact:
        yield match(name, high / repetitions, 0.5, 2 / math.sqrt(repetitions))
    else:
        yield Rate(name, high / repetitions, 0.5, repetitions)


def stagewise_curves(
    before: np.ndarray, upper: np.ndarray, last: float, z: np.ndarray, nodes: int = 48
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ends and middle of many stage-wise intervals, through a spline over the values of z."""
    if not len(before):
        return z - Z, z, z + Z
    grid = np.linspace(z.min(), z.max() + 1e-6, nodes)
    results = [stagewise_inference([*before, last], upper, at) for at in grid]
    columns = zip(*((r.interval[0], r.median_unbiased, r.interval[1]) for r in results), strict=True)
    return tuple(CubicSpline(grid, column)(z) for column in columns)


def always_valid_nights(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Type I error over 30 nights and misses over 14 of what needs no horizon."""
    for planned in (0.1, 0.25, 1.0):
        upper = sequence_bounds(30, planned)
        case = f"confidence sequence narrowest at {planned} of the units, by integration"
        yield Rate(f"type I, 30 nights: {case}", error(upper), ALPHA, EXACT)
        missed = 1 - designed(sequence_bounds(NIGHTS, planned))[0]
        yield Rate(f"effect of power 0.80 missed, 14 nights: {case}", missed, 0.2, EXACT, used=False)
    z = paths(rng, repetitions, evenly(30), 0.0)
    squared_errors = 1 / np.arange(1, 31)
    pvalues = mixture_pvalue(z * np.sqrt(squared_errors), squared_errors, tau_squared=0.1)
    yield Rate("type I, 30 nights: mSPRT", float(np.mean(np.any(pvalues < ALPHA, axis=1))), ALPHA, repetitions)
    repetitions = min(repetitions, 20_000)
    n = 200 * np.arange(1, 31)
    often, rare = (np.cumsum(rng.binomial(200, share, (repetitions, 30)), axis=1) / n for share in (0.1, 0.02))
    for metric, means, sds, truth, used in (
        ("share of 0.1", often, np.sqrt(often * (1 - often)), 0.1, True),
        ("share of 0.02: too few events in the first nights", rare, np.sqrt(rare * (1 - rare)), 0.02, False),
        ("exponential", *exponential_nights(rng, repetitions, 200), 1.0, True),
    ):
        low, high = mean_sequence(means, sds, n, planned_n=1_500, alpha=ALPHA)
        missed = float(np.mean(np.any((low > truth) | (high < truth), axis=1)))
        name = f"miss on any of 30 nights: sequence of a mean, 200 units a night, {metric}"
        yield Rate(name, missed, ALPHA, repetitions, used, remark="known limit")


def exponential_nights(rng: np.random.Generator, repetitions: int, nightly: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and spread after each of 30 nights of exponential values."""
    sums, squares = np.empty((repetitions, 30)), np.empty((repetitions, 30))
    for night in range(30):
        values = rng.exponential(1.0, (repetitions, nightly))
        sums[:, night], squares[:, night] = values.sum(axis=1), np.square(values).sum(axis=1)
    n = nightly * np.arange(1, 31)
    means = np.cumsum(sums, axis=1) / n
    return means, np.sqrt(np.cumsum(squares, axis=1) / n - np.square(means))


def any_sample_size(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Misses after any unit, or on any of 30 nights, of sequences that need no large sample."""
    repetitions = min(repetitions, 400)
    units, nights = 6_000, range(200, 6_001, 200)
    for share in (0.02, 0.1):
        missed: dict[str, list[bool]] = {"Hoeffding": [], "empirical Bernstein": [], "predictable Bernstein": []}
        for _ in range(repetitions):
            values = (rng.random(units) < share).astype(float)
            n = np.arange(1, units + 1)
            sequences = (
                bounded_mean_sequence(np.cumsum(values) / n, n, planned_n=1_500),
                empirical_bernstein_sequence(values, planned_variance=1_500 * share * (1 - share)),
                predictable_bernstein_sequence(values),
            )
            for (low, high), each in zip(sequences, missed.values(), strict=True):
                each.append(bool(np.any((low > share) | (high < share))))
        for name, each in missed.items():
            case = f"sequence of {name}, share of {share}"
            yield Rate(f"miss after any of 6,000 units: {case}", float(np.mean(each)), ALPHA, repetitions)
    for part in (0.5, 0.95):
        truth, outside = math.exp(ndtri(part)), 0
        for _ in range(repetitions):
            values = np.exp(rng.normal(size=units))
            ends = [quantile_sequence(values[:n], part, planned_n=1_500) for n in nights]
            outside += any(low > truth or high < truth for low, high in ends)
        name = f"miss on any of 30 nights: sequence of a quantile, {part}, log-normal, 200 units a night"
        yield Rate(name, outside / repetitions, ALPHA, repetitions)


SIMULATIONS = (
    rules_of_thumb,
    rules_of_fourteen_nights,
    nightly_bounds,
    off_plan,
    estimates_after,
    always_valid_nights,
    futility,
    any_sample_size,
)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS))
