"""Power that plans promise against the power that simulated experiments have.

    python benchmarks/error_rates_planning.py [--repetitions 100000] [--seed 20260301] [--markdown]

Lines and table as ``error_rates.py`` prints them. A plan is kept where the share of experiments that show the effect is
within four standard errors of the simulation, and the little that is named, of what was promised.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import numpy as np
from error_rates import ALPHA, Rate, main, normal_arms

from abtest_lib.statistics.estimates import MeanEstimate, welch_df
from abtest_lib.statistics.guardrails import margin_statistic
from abtest_lib.statistics.moments import CoMoments
from abtest_lib.statistics.planning import Baseline
from abtest_lib.statistics.planning_checks import comparison_alpha
from abtest_lib.statistics.planning_looks import looks_inflation
from abtest_lib.statistics.power import minimum_detectable_means, required_units_means
from abtest_lib.statistics.power_margin_shares import required_units_non_inferior_proportions
from abtest_lib.statistics.power_margins import required_units_guardrail_means, required_units_non_inferior_means
from abtest_lib.statistics.power_proportions import minimum_detectable_proportions, required_units_proportions
from abtest_lib.statistics.progress import chances_to_conclude, looks_to_come, predicted_chances
from abtest_lib.statistics.proportions import pooled_z, score_ratio_z
from abtest_lib.statistics.sequential import spending_bounds
from abtest_lib.statistics.tails import critical_value

POWER = 0.8
LOOKS = 14


def achieved(name: str, shown: np.ndarray, promised: float = POWER, room: float = 0.005) -> Rate:
    """Return the row of a plan: kept between four standard errors, and a little room, below and above."""
    noise = 4 * math.sqrt((1 - promised) / (promised * shown.size))
    return Rate(
        f"power: {name}", float(np.mean(shown)), promised, shown.size, discreteness=room, floor=1 - room - noise
    )


def beyond(control: MeanEstimate, treatment: MeanEstimate, alpha: float) -> np.ndarray:
    """Return which experiments show by Welch's test that the treatment is higher."""
    error = np.sqrt(control.squared_error + treatment.squared_error)
    critical = critical_value(alpha, "two-sided", welch_df(control, treatment))
    return (treatment.mean - control.mean) / error > critical


def shifted(estimate: MeanEstimate, mean: float) -> MeanEstimate:
    """Return the estimate of a mean that is higher."""
    return MeanEstimate(estimate.mean + mean, estimate.squared_error, estimate.df)


def proportions(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Planned and achieved power of shares: required units, and the smallest effect that given units show."""
    z = critical_value(ALPHA)
    for share, treated, allocation in ((0.05, 0.055, 1.0), (0.05, 0.045, 0.25), (0.3, 0.31, 1.0), (0.005, 0.007, 1.0)):
        units = required_units_proportions(share, treated, allocation=allocation, power=POWER)
        n, m = units.control, units.treatment
        statistic = pooled_z(rng.binomial(n, share, repetitions), n, rng.binomial(m, treated, repetitions), m)
        yield achieved(f"share {share} to {treated}, n {n}/{m}", statistic * (1 if treated > share else -1) > z)
    for n, m in ((20_000, 20_000), (40_000, 5_000)):
        treated = minimum_detectable_proportions(0.05, n_control=n, n_treatment=m, power=POWER).share
        statistic = pooled_z(rng.binomial(n, 0.05, repetitions), n, rng.binomial(m, treated, repetitions), m)
        yield achieved(f"smallest effect on a share, 0.05 to {treated:.4f}, n {n}/{m}", statistic > z)


def means(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Planned and achieved power of means: required units, and the smallest effect that given units show."""
    for effect, sd, sd_treatment, allocation in ((1.0, 4.0, 4.0, 1.0), (2.0, 4.0, 6.0, 0.5), (4.0, 4.0, 4.0, 1.0)):
        spread = {"sd": sd, "sd_treatment": sd_treatment}
        units = required_units_means(effect, **spread, allocation=allocation, power=POWER)
        control = normal_arms(rng, units.control, sd, repetitions)
        treatment = shifted(normal_arms(rng, units.treatment, sd_treatment, repetitions), effect)
        name = f"mean, {effect:g} of sd {sd:g}/{sd_treatment:g}, n {units.control}/{units.treatment}"
        yield achieved(name, beyond(control, treatment, ALPHA))
    effect = minimum_detectable_means(n_control=300, n_treatment=600, sd=4.0, power=POWER)
    control = normal_arms(rng, 300, 4.0, repetitions)
    treatment = shifted(normal_arms(rng, 600, 4.0, repetitions), effect)
    yield achieved(f"smallest effect on a mean, {effect:.3f} of sd 4, n 300/600", beyond(control, treatment, ALPHA))


def counts_and_ratios(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Planned and achieved power of counts and of a ratio of sums, from a baseline of past values."""
    repetitions = min(repetitions, 20_000)
    # Counts: negative binomial of mean 2 and variance 6.
    baseline, treated = Baseline.of_count(2.0, dispersion=3.0), Baseline.of_count(2.2, dispersion=3.2)
    units = required_units_means(baseline.effect(0.1), sd=baseline.sd, sd_treatment=treated.sd, power=POWER).control
    arms = []
    for rate in (2.0, 2.2):
        values = rng.negative_binomial(1.0, 1 / (1 + rate), (repetitions, units)).astype(np.float32)
        arms.append(MeanEstimate(values.mean(axis=1), values.var(axis=1, ddof=1) / units, units - 1))
    yield achieved(f"count, 2 to 2.2, variance 6 to 7.04, n {units}", beyond(*arms, ALPHA), room=0.02)
    # Orders over sessions; sessions differ between units, and the ratio is planned from past units.
    past = 1 + rng.poisson(3.0, 200_000)
    spreads = []
    for rate in (0.2, 0.22):
        orders = rng.binomial(past, rate).astype(float)
        spreads.append(Baseline.of_ratio(CoMoments.from_values(orders, past.astype(float))).sd)
    units = required_units_means(0.02, sd=spreads[0], sd_treatment=spreads[1], power=POWER).control
    arms = []
    for rate in (0.2, 0.22):
        sessions = 1 + rng.poisson(3.0, (repetitions, units))
        orders = rng.binomial(sessions, rate)
        ratio = orders.sum(axis=1) / sessions.sum(axis=1)
        residual = (orders - ratio[:, None] * sessions) / sessions.mean(axis=1, keepdims=True)
        arms.append(MeanEstimate(ratio, residual.var(axis=1, ddof=1) / units, units - 1))
    yield achieved(f"ratio of sums, 0.2 to 0.22, n {units}", beyond(*arms, ALPHA), room=0.02)


def margins(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Planned and achieved power of proofs that a metric is within its margin."""
    alpha = 0.025
    z = critical_value(alpha, "greater")
    units = required_units_non_inferior_means(0.4, sd=4.0, better="higher", effect=-0.1, power=POWER)
    control = normal_arms(rng, units.control, 4.0, repetitions)
    treatment = shifted(normal_arms(rng, units.treatment, 4.0, repetitions), -0.1 + 0.4)
    name = f"mean within an absolute margin of 0.4, true -0.1, n {units.control}"
    yield achieved(name, beyond(control, treatment, 2 * alpha))
    units = required_units_guardrail_means(0.03, mean=180.0, sd=80.0, better="lower", allocation=0.5, power=POWER)
    arms = [shifted(normal_arms(rng, n, 80.0, repetitions), 180.0) for n in (units.control, units.treatment)]
    statistic, df = margin_statistic(*arms, ratio=1.03)
    shown = -statistic > critical_value(alpha, "greater", df)
    yield achieved(f"guardrail, mean within 3 %, n {units.control}/{units.treatment}", shown)
    for share, margin, better in ((0.05, 0.1, "lower"), (0.3, 0.02, "higher")):
        plan = {"share_control": share, "better": better, "scale": "ratio", "power": POWER}
        n = required_units_non_inferior_proportions(margin, **plan).control
        control, treatment = (rng.binomial(n, share, repetitions) for _ in range(2))
        sign = 1 if better == "higher" else -1
        statistic = sign * score_ratio_z(control, n, treatment, n, ratio=1 - sign * margin)
        yield achieved(f"guardrail, share {share} within {margin:.0%}, n {n}", statistic > z)


def several_treatments(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Planned and achieved power of each comparison of three treatments, and the error of the family."""
    for family in ("bonferroni", "dunnett"):
        plan = {"treatments": 3, "family": family}
        units = required_units_proportions(0.1, 0.11, **plan, power=POWER)
        level = comparison_alpha(ALPHA, **plan, alternative="two-sided", allocation=1.0)
        n, critical = units.control, critical_value(level)
        control = rng.binomial(n, 0.1, repetitions)
        shown = pooled_z(control, n, rng.binomial(n, 0.11, repetitions), n) > critical
        yield achieved(f"share 0.1 to 0.11, one of 3 treatments, {family}, n {n}", shown)
        any_shown = np.zeros(repetitions, dtype=bool)
        for _ in range(3):
            any_shown |= np.abs(pooled_z(control, n, rng.binomial(n, 0.1, repetitions), n)) > critical
        name = f"type I: any of 3 treatments, {family}, n {n}"
        yield Rate(name, float(np.mean(any_shown)), ALPHA, repetitions)


def nightly_looks(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Planned and achieved power over 14 nightly looks, and the chances foretold on the way."""
    shares = [(look + 1) / LOOKS for look in range(LOOKS)]
    bounds = spending_bounds(shares, alpha=ALPHA)
    units = required_units_proportions(0.05, 0.055, power=POWER, inflation=looks_inflation(shares, power=POWER))
    nightly = math.ceil(units.control / LOOKS)
    n = nightly * np.arange(1, LOOKS + 1)
    for effect, promised in ((0.005, POWER), (0.0, ALPHA)):
        arms = [
            np.cumsum(rng.binomial(nightly, share, (repetitions, LOOKS)), axis=1) for share in (0.05, 0.05 + effect)
        ]
        z = pooled_z(arms[0], n, arms[1], n)
        if effect:
            first = np.argmax(np.abs(z) > bounds.upper, axis=1)
            shown = (np.abs(z) > bounds.upper).any(axis=1) & (np.take_along_axis(z, first[:, None], 1)[:, 0] > 0)
            yield achieved(f"share 0.05 to 0.055 over {LOOKS} looks, n {n[-1]}", shown, promised)
        else:
            any_shown = (np.abs(z) > bounds.upper).any(axis=1)
            yield Rate(f"type I: {LOOKS} looks, n {n[-1]}", float(any_shown.mean()), ALPHA, repetitions)
    yield from foretold(rng, repetitions)


def foretold(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Yield the share concluded by later nights, of experiments that stand at z = 1.5 after night 5."""
    information = 100.0 * np.arange(1, LOOKS + 1)
    looks, z = looks_to_come(information[:5], information[5:]), 1.5
    observed = z / math.sqrt(looks.at)
    drawn = rng.normal(observed, 1 / math.sqrt(looks.at), repetitions)
    for name, effects, chances in (
        ("if the effect is that observed", observed, chances_to_conclude(looks, effect=observed, z=z)),
        ("over what is known of the effect", drawn, predicted_chances(looks, z=z)),
    ):
        steps = rng.normal(100.0 * np.asarray(effects)[..., None], 10.0, (repetitions, LOOKS - 5))
        paths = (z * math.sqrt(looks.at) + np.cumsum(steps, axis=1)) / np.sqrt(looks.information)
        ever = np.logical_or.accumulate(np.abs(paths) > looks.upper, axis=1)
        for night in (8, 10, 14):
            what = f"concluded by night {night} from z = 1.5 on night 5, {name}"
            yield achieved(what, ever[:, night - 6], chances.either[night - 5], room=0.0)


SIMULATIONS = (proportions, means, counts_and_ratios, margins, several_treatments, nightly_looks)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS))
