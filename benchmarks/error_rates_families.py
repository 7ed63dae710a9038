"""Simulated error rates of families, segments, the sample ratio and its drill-down, and the checks of trust.

python benchmarks/error_rates_families.py [--repetitions 100000] [--seed 20260301] [--markdown]

Lines and table as ``error_rates.py`` prints them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import numpy as np
from error_rates import ALPHA, NIGHTS, Rate, main
from scipy.special import gammaincc

from abtest_lib.statistics.adjusted_intervals import ADJUSTMENTS, adjusted_alphas
from abtest_lib.statistics.checks import daily_trend, interaction_test, share_interaction_test
from abtest_lib.statistics.crossovers import crossover_test
from abtest_lib.statistics.dunnett import dunnett_critical_value
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.heterogeneity import heterogeneity_test, shrunken_effects
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.pre_period import pre_period_differences
from abtest_lib.statistics.sample_ratio import alarm_level, sample_ratio_test
from abtest_lib.statistics.sample_ratio_drilldown import sample_ratio_drilldown
from abtest_lib.statistics.sequential_sample_ratio import sequential_sample_ratio_test
from abtest_lib.statistics.tails import critical_value, tail_pvalue

FAMILY = 10
NAMES = {
    "bonferroni": "Bonferroni",
    "holm": "Holm",
    "hochberg": "Hochberg",
    "hommel": "Hommel",
    "benjamini_hochberg": "Benjamini–Hochberg",
    "benjamini_yekutieli": "Benjamini–Yekutieli",
}
FAMILYWISE = ("bonferroni", "holm", "hochberg", "hommel")
DISCOVERY = ("benjamini_hochberg", "benjamini_yekutieli")
EVEN = {"control": 1, "treatment": 1}


def statistics(rng: np.random.Generator, repetitions: int, truth: np.ndarray, shared: bool) -> np.ndarray:
    """Return z statistics of a family, independent or against one shared control of the same size."""
    noise = rng.normal(size=(repetitions, truth.size))
    if shared:
        noise = (noise + rng.normal(size=(repetitions, 1))) / math.sqrt(2)
    return truth + noise


def families(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Families of ten comparisons: any true null rejected, and the share of rejections that are false."""
    critical = dunnett_critical_value(ALPHA, n_control=1, n_treatments=[1] * FAMILY)
    for wrong in (0, 2):
        truth = np.array([3.0] * wrong + [0.0] * (FAMILY - wrong))
        for shared in (False, True):
            z = statistics(rng, repetitions, truth, shared)
            pvalues = tail_pvalue(z)
            case = f"{FAMILY - wrong} of {FAMILY} without effect, {'one control for all' if shared else 'independent'}"
            rejected = {method: adjust(pvalues) < ALPHA for method, adjust in ADJUSTMENTS.items()}
            for method in FAMILYWISE:
                value = float(rejected[method][:, wrong:].any(axis=1).mean())
                yield Rate(f"any false: {NAMES[method]}, {case}", value, ALPHA, repetitions)
            if shared:
                value = float((np.abs(z[:, wrong:]) > critical).any(axis=1).mean())
                yield Rate(f"any false: Dunnett, {case}", value, ALPHA, repetitions)
            value = float((pvalues[:, wrong:] < ALPHA).any(axis=1).mean())
            yield Rate(f"any false: p < 0.05, not corrected, {case}", value, ALPHA, repetitions, used=False)
            for method in DISCOVERY:
                false, all_ = rejected[method][:, wrong:].sum(axis=1), rejected[method].sum(axis=1)
                value = float((false / np.maximum(all_, 1)).mean())
                yield Rate(f"false among the called: {NAMES[method]}, {case}", value, ALPHA, repetitions)


def family_intervals(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Intervals of ten comparisons that agree with the adjusted p-values: what they promise, and what they do not."""
    repetitions = min(repetitions, 50_000)
    critical = dunnett_critical_value(ALPHA, n_control=1, n_treatments=[1] * FAMILY)
    for case, truth in (
        ("two effects of 3 errors", np.array([3.0] * 2 + [0.0] * 8)),
        ("effects from 0 to 4.5 errors", np.linspace(0, 4.5, FAMILY)),
    ):
        z = statistics(rng, repetitions, truth, shared=False)
        for method, name in NAMES.items():
            levels = adjusted_alphas(tail_pvalue(z), ALPHA, method=method)
            bound = -critical_of(levels)
            missed, zero_out = np.abs(z - truth) > bound, np.abs(z) > bound
            together = float(missed.any(axis=1).mean())
            yield Rate(
                f"any interval misses: {name}, {case}", together, ALPHA, repetitions, used=method == "bonferroni"
            )
            if method in DISCOVERY:
                share = (missed & zero_out).sum(axis=1) / np.maximum(zero_out.sum(axis=1), 1)
                name = f"misses among intervals without zero: {name}, {case}"
                yield Rate(name, float(share.mean()), ALPHA, repetitions)
        z = statistics(rng, repetitions, truth, shared=True)
        missed = (np.abs(z - truth) > critical).any(axis=1)
        yield Rate(
            f"any interval misses: Dunnett, one control for all, {case}", float(missed.mean()), ALPHA, repetitions
        )


def critical_of(levels: np.ndarray) -> np.ndarray:
    """Return lower critical values of many two-sided levels at once."""
    from scipy.special import ndtri

    return ndtri(levels / 2)


def segment_effects(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Segments: equal effects called different, and misses of intervals of shrunken effects."""
    repetitions = min(repetitions, 20_000)
    for count in (3, 10):
        errors = np.linspace(0.5, 2, count)
        pvalues = [heterogeneity_test(errors * rng.normal(size=count), errors).pvalue for _ in range(repetitions)]
        value = float(np.mean(np.array(pvalues) < ALPHA))
        yield Rate(f"type I: Cochran's Q, {count} segments", value, ALPHA, repetitions)
    for units in (20, 200):
        pvalues = []
        for _ in range(repetitions):
            variances = rng.chisquare(units - 1, (10, 2)) / (units - 1) / units
            effects = rng.normal(0, math.sqrt(2 / units), 10)
            pvalues.append(heterogeneity_test(effects, np.sqrt(variances.sum(axis=1))).pvalue)
        value = float(np.mean(np.array(pvalues) < ALPHA))
        case = f"10 segments of {units} units a variant, errors estimated"
        options = {"discreteness": 0.1} if units > 100 else {"used": False, "remark": "known limit"}
        yield Rate(f"type I: Cochran's Q, {case}", value, ALPHA, repetitions, **options)
    for count in (4, 8, 20):
        for spread in (0.5, 2.0):
            errors = np.linspace(0.5, 2, count)
            missed, plain = [], []
            for _ in range(repetitions // 4):
                truth = rng.normal(0.3, spread, count)
                found = shrunken_effects(truth + errors * rng.normal(size=count), errors)
                low, high = np.array(found.intervals).T
                missed.append(np.mean((truth < low) | (truth > high)))
                away = np.abs(truth - found.effects) / found.standard_errors
                plain.append(np.mean(away > critical_value(ALPHA)))
            case = f"{count} segments, effects spread {spread}, errors 0.5 to 2"
            name = f"miss: shrunken effects, {case}"
            yield Rate(name, float(np.mean(missed)), ALPHA, repetitions // 4 * count, discreteness=0.1)
            name = f"miss: shrunken effect ± 1.96 errors, {case}"
            yield Rate(name, float(np.mean(plain)), ALPHA, repetitions // 4 * count, used=False)


def sample_ratio_readings(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Sample ratio read on 28 nights: healthy splits that ever alarm, and a split of 49.5 : 50.5 that does."""
    nightly = 5_000
    for share, promised, what in ((0.5, 0.01, "false alarm"), (0.495, 1.0, "alarm when the split is 49.5 : 50.5")):
        treated = rng.binomial(nightly, share, (repetitions, NIGHTS))
        units = nightly * np.arange(1, NIGHTS + 1)
        pvalue = gammaincc(0.5, np.square(2 * np.cumsum(treated, axis=1) - units) / units / 2)
        used = promised < 1
        name = f"{what}, {NIGHTS} nights of {nightly:,} units: "
        value = float((pvalue < alarm_level(NIGHTS)).any(axis=1).mean())
        yield Rate(name + "chi-squared at 0.01 / nights", value, promised, repetitions, used)
        for concentration in (1_000, 10_000, 100_000):
            few = min(repetitions, 5_000)
            alarms = [
                sequential_sample_ratio_test(
                    [{"control": nightly - x, "treatment": x} for x in path], EVEN, concentration=concentration
                ).pvalues[-1]
                < 0.01
                for path in treated[:few].tolist()
            ]
            case = f"sequential multinomial at 0.01, concentration {concentration:,}"
            yield Rate(name + case, float(np.mean(alarms)), promised, few, used)


def cells_of(rows: np.ndarray) -> dict[str, dict[str, int]]:
    """Return counts by cell and variant."""
    return {f"{at}": {"control": int(c), "treatment": int(t)} for at, (c, t) in enumerate(rows)}


def mismatch(rng: np.random.Generator, units: int, shares: list[float], lost: list[float]) -> dict:
    """Draw units by browser and by day of which each browser's treatment loses some."""
    browsers = rng.multinomial(units, shares)
    control = rng.binomial(browsers, 0.5)
    treatment = rng.binomial(browsers - control, 1 - np.array(lost))
    days = np.column_stack([rng.multinomial(arm.sum(), [1 / NIGHTS] * NIGHTS) for arm in (control, treatment)])
    return {"browser": cells_of(np.column_stack([control, treatment])), "day": cells_of(days)}


def drilldowns(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Drill-down over 7 browsers and 28 days: cells named without a cause, and a broken browser that is found."""
    repetitions = min(repetitions, 4_000)
    shares = [0.45, 0.25, 0.12, 0.08, 0.06, 0.03, 0.01]
    level = alarm_level(NIGHTS)
    for loss in (0.03, 0.1):
        named = [
            bool(sample_ratio_drilldown(mismatch(rng, 100_000, shares, [loss] * 7), EVEN, alarm_below=level).suspects)
            for _ in range(repetitions)
        ]
        name = f"any cell named: treatment loses {loss:.0%} everywhere"
        yield Rate(name, float(np.mean(named)), ALPHA, repetitions)
    named = []
    while len(named) < repetitions:
        counts = mismatch(rng, 10_000, shares, [0.0] * 7)
        total = {variant: sum(cell[variant] for cell in counts["browser"].values()) for variant in EVEN}
        if sample_ratio_test(total, EVEN).pvalue < 0.05:
            named.append(bool(sample_ratio_drilldown(counts, EVEN, alarm_below=0.05).suspects))
    yield Rate("any cell named: after an alarm by chance alone", float(np.mean(named)), ALPHA, repetitions)
    for broken, size in ((1, "25 %"), (3, "8 %")):
        lost = [0.1 if at == broken else 0.0 for at in range(7)]
        found, others = [], []
        for _ in range(repetitions):
            drilldown = sample_ratio_drilldown(mismatch(rng, 100_000, shares, lost), EVEN, alarm_below=level)
            culprits = {(one.dimension, one.cell) for one in drilldown.suspects}
            found.append(("browser", str(broken)) in culprits)
            others.append(bool(culprits - {("browser", str(broken))}))
        case = f"a browser with {size} of 100,000 units loses 10 % of its treatment"
        yield Rate(f"found: {case}", float(np.mean(found)), 1.0, repetitions, used=False)
        yield Rate(f"another cell named: {case}", float(np.mean(others)), ALPHA, repetitions)


def pre_periods(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Pre-period check at 0.01: healthy experiments said to differ in any of their metrics."""
    repetitions = min(repetitions, 20_000)
    for metrics in (1, 5, 20):
        differs = []
        for _ in range(repetitions // metrics):
            means, spreads = rng.normal(0, 1, (metrics, 2)), rng.chisquare([1_999, 499], (metrics, 2))
            arms = {
                f"{at}": (Moments(2_000, a / math.sqrt(2_000), va), Moments(500, b / math.sqrt(500), vb))
                for at, ((a, b), (va, vb)) in enumerate(zip(means.tolist(), spreads.tolist(), strict=True))
            }
            differs.append(any(one.differs for one in pre_period_differences(arms).values()))
        name = f"said to differ before the exposure: any of {metrics}, n 2,000/500"
        yield Rate(name, float(np.mean(differs)), 0.01, len(differs))
    for n_control, n_treatment, used in ((5_000, 5_000, True), (9_000, 1_000, False)):
        differs = []
        for _ in range(repetitions // 4):
            control, treatment = (np.exp(rng.normal(0, 1.5, n)) for n in (n_control, n_treatment))
            arms = {"spent": (Moments.from_values(control), Moments.from_values(treatment))}
            differs.append(pre_period_differences(arms)["spent"].differs)
        name = f"said to differ before the exposure: log-normal (sigma 1.5), n {n_control:,}/{n_treatment:,}"
        remark = "known limit"
        yield Rate(name, float(np.mean(differs)), 0.01, len(differs), used, remark=remark)


def trust_checks(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Interactions, crossovers and trends that are not there."""
    repetitions = min(repetitions, 20_000)
    for share, sizes in ((0.05, (25_000,) * 4), (0.005, (2_000,) * 4), (0.005, (9_000, 9_000, 1_000, 1_000)),
                         (0.005, (8_100, 900, 900, 100))):  # fmt: skip
        counts = rng.binomial(sizes, share, (repetitions, 4)).tolist()
        found = [share_interaction_test(*zip(each, sizes, strict=True)) for each in counts]
        called = [not isinstance(one, NotComputed) and one.pvalue < ALPHA for one in found]
        case = f"share {share}, n {'/'.join(f'{n:,}' for n in sizes)}"
        yield Rate(f"type I: interaction, {case}", float(np.mean(called)), ALPHA, repetitions)
        if sizes[-1] == 100:
            plain = [
                interaction_test(*(MeanEstimate.of_proportion(x, n) for x, n in zip(each, sizes, strict=True)))
                for each in counts
            ]
            value = float(np.mean([one.pvalue < ALPHA for one in plain]))
            yield Rate(f"type I: interaction without the refusal, {case}", value, ALPHA, repetitions, used=False)
    sizes, spreads = np.array([9_000, 90, 1_000, 40]), np.array([1.0, 2.0, 1.0, 1.5])
    means = rng.normal(0, spreads / np.sqrt(sizes), (repetitions, 4)).tolist()
    squares = (spreads**2 * rng.chisquare(sizes - 1, (repetitions, 4))).tolist()
    called = [
        crossover_test(*(Moments(int(n), mean, m2) for n, mean, m2 in zip(sizes, *each, strict=True))).disagrees
        for each in zip(means, squares, strict=True)
    ]
    name = "type I: with and without crossovers, 9,000 + 90 and 1,000 + 40 units"
    yield Rate(name, float(np.mean(called)), ALPHA, repetitions)
    errors = np.linspace(0.004, 0.008, NIGHTS)
    called = [daily_trend(range(NIGHTS), rng.normal(0.02, errors), errors).pvalue < ALPHA for _ in range(repetitions)]
    yield Rate(f"type I: trend over {NIGHTS} days", float(np.mean(called)), ALPHA, repetitions)


SIMULATIONS = (
    families,
    family_intervals,
    segment_effects,
    sample_ratio_readings,
    drilldowns,
    pre_periods,
    trust_checks,
)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS))
