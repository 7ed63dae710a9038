"""Simulated error rates of every test and interval that a report prints, and what the other ``error_rates_*`` share.

    python benchmarks/error_rates.py [--repetitions 100000] [--seed 20260301] [--markdown]

A table for people goes to stderr; on stdout one JSON object a line with ``name``, ``value``, ``unit``,
``compared_with``, ``ratio``, ``goal`` (the ratio must be at most this; null where the line shows a method that we do
not use) and ``met``. Goals leave room for four standard errors of the simulation. Of an interval ``too_low`` and
``too_high`` say in which tail it missed. ``--markdown`` prints the tables of docs/statistics.md in place of all that.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc

from abtest_lib.statistics.estimates import MeanEstimate, welch_df
from abtest_lib.statistics.guardrail_readouts import mean_readings
from abtest_lib.statistics.guardrails import harm_alpha, margin_statistic
from abtest_lib.statistics.harm import harm_holds
from abtest_lib.statistics.intervals import delta_interval, fieller_interval, wald_interval
from abtest_lib.statistics.moment_arrays import MomentArrays
from abtest_lib.statistics.proportions import newcombe_interval, pooled_z, score_ratio_z
from abtest_lib.statistics.sample_ratio import alarm_level
from abtest_lib.statistics.tails import critical_value, tail_pvalue

ALPHA = 0.05
NIGHTS = 28


@dataclass(frozen=True)
class Rate:
    """One simulated share, the share that was promised, and whether a report relies on it.

    ``discreteness`` is the room that counts of a few events need: no test of them has exactly the level asked for.
    ``floor`` is the smallest ratio to the promise that is still kept; ``tails`` are the shares of intervals that lie
    wholly below and wholly above the truth; ``remark`` stands in the table in place of "for comparison".
    """

    name: str
    value: float
    promised: float
    repetitions: int
    used: bool = True
    discreteness: float = 0.0
    floor: float = 0.0
    tails: tuple[float, float] | None = None
    remark: str = "for comparison"

    def line(self) -> dict:
        """Return the line of JSON, with room for four standard errors around the promise."""
        noise = math.sqrt((1 - self.promised) / (self.promised * self.repetitions))
        goal = 1 + self.discreteness + 4 * noise if self.used else None
        ratio = self.value / self.promised
        line = {
            "name": self.name,
            "value": round(self.value, 5),
            "unit": "share of repetitions",
            "compared_with": self.promised,
            "ratio": round(ratio, 4),
            "goal": None if goal is None else round(goal, 4),
            "met": None if goal is None else bool(self.floor <= ratio <= goal),
        }
        if self.tails:
            line |= {"too_low": round(self.tails[0], 5), "too_high": round(self.tails[1], 5)}
        return line

    @property
    def verdict(self) -> str:
        """The last word of the table's row."""
        return {True: "kept", False: "BROKEN", None: self.remark}[self.line()["met"]]


Simulation = Callable[[np.random.Generator, int], Iterator[Rate]]


def proportion(successes: np.ndarray, n: int) -> MeanEstimate:
    """Return many estimates of a proportion at once."""
    share = successes / n
    return MeanEstimate(share, share * (1 - share) / n, n - 1)


def misses(interval: tuple[np.ndarray, np.ndarray], truth: float) -> float:
    """Return the share of intervals that do not hold the truth; an interval that is not there misses nothing."""
    return sum(missed_tails(interval, truth))


def missed_tails(interval: tuple[np.ndarray, np.ndarray], truth: float) -> tuple[float, float]:
    """Return the shares of intervals that lie wholly below and wholly above the truth."""
    low, high = interval
    return float(np.mean(high < truth)), float(np.mean(low > truth))


def score_tails(statistic: np.ndarray, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the tails of an interval that leaves out the truth exactly when its test rejects the truth."""
    bound = critical_value(alpha)
    return float(np.mean(statistic < -bound)), float(np.mean(statistic > bound))


def miss(name: str, tails: tuple[float, float], repetitions: int, promised: float = ALPHA, **options) -> Rate:
    """Return the row of an interval."""
    return Rate(f"miss: {name}", sum(tails), promised, repetitions, tails=tails, **options)


def z_test(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Type I error of the pooled z test."""
    for share, n_control, n_treatment in ((0.05, 5_000, 5_000), (0.05, 9_000, 1_000), (0.005, 2_000, 2_000)):
        control, treatment = (rng.binomial(n, share, repetitions) for n in (n_control, n_treatment))
        pvalue = tail_pvalue(pooled_z(control, n_control, treatment, n_treatment))
        name = f"type I: pooled z, share {share}, n {n_control}/{n_treatment}"
        rare = 0.0 if share > 0.01 else 0.05
        yield Rate(name, float(np.mean(pvalue < ALPHA)), ALPHA, repetitions, discreteness=rare)
        low, high = newcombe_interval(control, n_control, treatment, n_treatment)
        both = (pvalue < ALPHA) & ((low > 0) | (high < 0))
        name = f"called better or worse: z and Newcombe both, share {share}, n {n_control}/{n_treatment}"
        yield Rate(name, float(np.mean(both)), ALPHA, repetitions)


def normal_arms(rng: np.random.Generator, n: int, sd: float, repetitions: int) -> MeanEstimate:
    """Return means and errors of samples of normal values, drawn from their exact distribution."""
    variance = sd**2 * rng.chisquare(n - 1, repetitions) / (n - 1)
    return MeanEstimate(rng.normal(0, sd / math.sqrt(n), repetitions), variance / n, n - 1)


def welch_test(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Type I error of Welch's t beside Student's, where the small arm has the large spread."""
    for n_control, n_treatment, ratio in ((900, 100, 2), (950, 50, 3)):
        control = normal_arms(rng, n_control, 1, repetitions)
        treatment = normal_arms(rng, n_treatment, ratio, repetitions)
        effect = treatment.mean - control.mean
        error = np.sqrt(control.squared_error + treatment.squared_error)
        pvalue = tail_pvalue(effect / error, "two-sided", welch_df(control, treatment))
        case = f"n {n_control}/{n_treatment}, sd 1:{ratio}"
        yield Rate(f"type I: Welch t, {case}", float(np.mean(pvalue < ALPHA)), ALPHA, repetitions, floor=0.9)
        df = n_control + n_treatment - 2
        pooled = (
            control.squared_error * n_control * (n_control - 1)
            + treatment.squared_error * n_treatment * (n_treatment - 1)
        ) / df
        student = tail_pvalue(effect / np.sqrt(pooled * (1 / n_control + 1 / n_treatment)), "two-sided", df)
        yield Rate(f"type I: Student t, {case}", float(np.mean(student < ALPHA)), ALPHA, repetitions, used=False)


def paired_arms(
    rng: np.random.Generator, n: int, sd: float, correlation: float, repetitions: int
) -> tuple[np.ndarray, ...]:
    """Return mean and spread of outcome and covariate, and their comoment, of many skewed samples."""
    covariate = rng.exponential(1.0, (repetitions, n))
    noise = rng.exponential(1.0, (repetitions, n)) - 1
    outcome = sd * (correlation * (covariate - 1) + math.sqrt(1 - correlation**2) * noise)
    y, x = outcome.mean(axis=1), covariate.mean(axis=1)
    dy, dx = outcome - y[:, None], covariate - x[:, None]
    return y, x, np.square(dy).sum(axis=1), np.square(dx).sum(axis=1), (dy * dx).sum(axis=1)


def adjusted_means(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Type I error and misses of means adjusted for a covariate (CUPED), on skewed values."""
    repetitions = min(repetitions, 20_000)
    for n_control, n_treatment, ratio, correlation, change in (
        (500, 500, 1.0, 0.7, 0.0),
        (900, 100, 1.0, 0.7, 0.0),
        (100, 100, 1.0, 0.7, 0.0),
        (500, 500, 1.0, 0.0, 0.0),
        (500, 500, 1.2, 0.7, 0.2),
    ):
        yc, xc, myc, mxc, cc = paired_arms(rng, n_control, 1.0, correlation, repetitions)
        yt, xt, myt, mxt, ct = paired_arms(rng, n_treatment, ratio, correlation, repetitions)
        theta = (cc + ct) / (mxc + mxt)
        centre = (n_control * xc + n_treatment * xt) / (n_control + n_treatment)
        arms = [
            MeanEstimate(level + y - theta * (x - centre), (my - 2 * theta * c + theta**2 * mx) / (n - 1) / n, n - 1)
            for level, n, y, x, my, mx, c in (
                (4, n_control, yc, xc, myc, mxc, cc),
                (4 * (1 + change), n_treatment, yt, xt, myt, mxt, ct),
            )
        ]
        df = welch_df(*arms)
        case = f"n {n_control}/{n_treatment}, correlation {correlation}" + (f", effect {change:+.0%}" if change else "")
        missed = misses(wald_interval(*arms, df=df), 4 * change)
        yield Rate(f"{'miss' if change else 'type I'}: CUPED, {case}", missed, ALPHA, repetitions)
        if change:  # without an effect Fieller leaves out the truth exactly when the test rejects
            missed = misses(fieller_interval(*arms, df=df), change)
            yield Rate(f"miss: CUPED, Fieller of the relative effect, {case}", missed, ALPHA, repetitions)


def difference_intervals(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Misses of Newcombe's interval beside Wald's on rare events."""
    for share_control, share_treatment, n in ((0.05, 0.06, 5_000), (0.005, 0.01, 1_000), (0.001, 0.001, 2_000)):
        control, treatment = (rng.binomial(n, share, repetitions) for share in (share_control, share_treatment))
        truth = share_treatment - share_control
        case = f"shares {share_control}/{share_treatment}, n {n}"
        interval = newcombe_interval(control, n, treatment, n)
        yield Rate(f"miss: Newcombe, {case}", misses(interval, truth), ALPHA, repetitions)
        interval = wald_interval(proportion(control, n), proportion(treatment, n))
        yield Rate(f"miss: Wald, {case}", misses(interval, truth), ALPHA, repetitions, used=False)


def share_ratio_intervals(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Misses of Koopman's, Fieller's and the delta interval of a relative effect on shares."""
    for share, change, n_control, n_treatment in (
        (0.005, 0.0, 2_000, 2_000),
        (0.005, 0.0, 9_000, 1_000),
        (0.05, 0.0, 9_000, 1_000),
        (0.01, 0.5, 9_000, 1_000),
    ):
        control = rng.binomial(n_control, share, repetitions)
        treatment = rng.binomial(n_treatment, share * (1 + change), repetitions)
        arms = proportion(control, n_control), proportion(treatment, n_treatment)
        case = f"share {share}, n {n_control}/{n_treatment}" + (f", effect {change:+.0%}" if change else "")
        with np.errstate(invalid="ignore", divide="ignore"):
            delta = misses(delta_interval(*arms), change)
        # The interval leaves out the truth exactly when its test rejects the truth.
        score = score_ratio_z(control, n_control, treatment, n_treatment, ratio=1 + change)
        koopman = float(np.mean(np.abs(score) > critical_value(ALPHA)))
        rare = 0.0 if share > 0.005 else 0.05
        yield Rate(f"miss: Koopman, {case}", koopman, ALPHA, repetitions, discreteness=rare)
        yield Rate(f"miss: Fieller, {case}", misses(fieller_interval(*arms), change), ALPHA, repetitions, used=False)
        yield Rate(f"miss: delta, {case}", delta, ALPHA, repetitions, used=False)


def relative_intervals(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Misses of Fieller's and the delta interval of a relative effect on a skewed metric."""
    spread, n = 1.5, 500
    repetitions = min(repetitions, 20_000)
    arms = []
    for _ in range(2):
        draws = np.concatenate(
            [np.exp(rng.normal(0, spread, (1_000, n))).reshape(-1, n) for _ in range(repetitions // 1_000)]
        )
        arms.append(MeanEstimate(draws.mean(axis=1), draws.var(axis=1, ddof=1) / n, n - 1))
    df = welch_df(*arms)
    for name, interval, used in (("Fieller", fieller_interval, True), ("delta", delta_interval, False)):
        low, high = interval(*arms, df=df)
        case = f"log-normal (sigma {spread}), n {n}"
        yield Rate(f"miss: {name}, {case}", misses((low, high), 0), ALPHA, repetitions, used)
        yield Rate(f"miss, too low: {name}, {case}", float(np.mean(high < 0)), ALPHA / 2, repetitions, used=False)
        yield Rate(f"miss, too high: {name}, {case}", float(np.mean(low > 0)), ALPHA / 2, repetitions, used=False)


def sample_ratio_nights(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Healthy experiments that ever raise the alarm over all nights, and a split of 49.5 : 50.5 that does."""
    for name, share, promised, used in (
        (f"false alarm over {NIGHTS} nights: sample ratio", 0.5, 0.01, True),
        (f"alarm over {NIGHTS} nights when the split is 49.5 : 50.5", 0.495, 1.0, False),
    ):
        treated = np.cumsum(rng.binomial(5_000, share, (repetitions, NIGHTS)), axis=1)
        units = 5_000 * np.arange(1, NIGHTS + 1)
        pvalue = gammaincc(0.5, np.square(2 * treated - units) / units / 2)
        ever = {
            "": float(np.mean(np.any(pvalue < alarm_level(NIGHTS), axis=1))),
            ", read at 0.01 every night": float(np.mean(np.any(pvalue < 0.01, axis=1))),
        }
        yield Rate(name, ever[""], promised, repetitions, used)
        if used:
            rule = ", read at 0.01 every night"
            yield Rate(name + rule, ever[rule], promised, repetitions, used=False)


def nightly_means(
    rng: np.random.Generator, repetitions: int, mean: float, *, nightly: int = 200, sd: float = 60.0
) -> MeanEstimate:
    """Return estimates of a mean after each night, as normal values accumulate."""
    nights = np.arange(1, NIGHTS + 1)
    sums = np.cumsum(rng.normal(nightly * mean, sd * math.sqrt(nightly), (repetitions, NIGHTS)), axis=1)
    # Squared deviations within nights; those between nights follow from the sums.
    n = nightly * nights
    night_means = np.diff(sums, axis=1, prepend=0) / nightly
    within = np.cumsum(sd**2 * rng.chisquare(nightly - 1, (repetitions, NIGHTS)), axis=1)
    between = nightly * (np.cumsum(np.square(night_means), axis=1) - np.square(sums / n) * nights)
    return MeanEstimate(sums / n, (within + between) / (n - 1) / n, np.broadcast_to(n - 1, sums.shape))


def guardrail_nights(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Experiments with five guardrails of which any is ever called harmful over all nights."""
    margin, guardrails, share, nightly = 0.03, 5, 0.1, 500
    level = harm_alpha(ALPHA, guardrails=guardrails, treatments=1, reads=NIGHTS)
    repetitions = min(repetitions, 20_000)
    nights = nightly * np.arange(1, NIGHTS + 1)
    for state, change in (("no effect", 0.0), ("effect exactly at the margin", margin)):
        ever, naive, ever_shares = (np.zeros(repetitions, dtype=bool) for _ in range(3))
        for _ in range(guardrails):
            arms = nightly_means(rng, repetitions, 180.0), nightly_means(rng, repetitions, 180.0 * (1 + change))
            statistic, df = margin_statistic(*arms, ratio=1 + margin)
            pvalue = tail_pvalue(statistic, "greater", df)
            ever |= np.any(pvalue < level, axis=1)
            statistic = (arms[1].mean - arms[0].mean) / np.sqrt(arms[0].squared_error + arms[1].squared_error)
            naive |= np.any(tail_pvalue(statistic, "greater") < ALPHA, axis=1)
            control, treatment = (
                np.cumsum(rng.binomial(nightly, each, (repetitions, NIGHTS)), axis=1)
                for each in (share, share * (1 + change))
            )
            statistic = score_ratio_z(control, nights, treatment, nights, ratio=1 + margin)
            ever_shares |= np.any(tail_pvalue(statistic, "greater") < level, axis=1)
        case = f"{NIGHTS} nights, {guardrails} guardrails, {state}"
        yield Rate(f"called harmful: mean, {case}", float(ever.mean()), ALPHA, repetitions)
        yield Rate(f"called harmful: share, {case}", float(ever_shares.mean()), ALPHA, repetitions)
        if change == 0:
            rule = "worse at p < 0.05 on any night"
            yield Rate(f"{rule}: mean, {case}", float(naive.mean()), ALPHA, repetitions, used=False)


def uneven_harm(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Revenue of 5 % buyers in an uneven split, no effect: any of five guardrails ever called harmful in 28 nights."""
    guardrails, repetitions = 5, min(repetitions, 400)
    level = harm_alpha(ALPHA, guardrails=guardrails, treatments=1, reads=NIGHTS)
    options = {"margin": 0.05, "better": "higher", "alpha_harm": level}
    for nightly in ((180, 20), (980, 20)):
        plain, confirmed = np.zeros(repetitions, dtype=bool), np.zeros(repetitions, dtype=bool)
        for _ in range(guardrails):
            arms = [cumulated_revenue(rng, repetitions, units) for units in nightly]
            found = mean_readings(*arms, **options).harmful
            plain |= found.any(axis=1)
            for run in np.flatnonzero(found.any(axis=1) & ~confirmed):
                confirmed[run] = any(
                    harm_holds(*(arm[run, night] for arm in arms), kind="mean", **options)
                    for night in np.flatnonzero(found[run])
                )
        case = f"{nightly[0]}/{nightly[1]} units a night"
        yield Rate(f"called harmful: t test alone, {case}", float(plain.mean()), ALPHA, repetitions, used=False)
        yield Rate(
            f"called harmful: confirmed by the wider spread, {case}", float(confirmed.mean()), ALPHA, repetitions
        )


def cumulated_revenue(rng: np.random.Generator, repetitions: int, nightly: int) -> MomentArrays:
    """Moments of all units so far on each night: 5 % buy, for log-normal amounts."""
    size = (repetitions, NIGHTS, nightly)
    values = np.where(rng.random(size) < 0.05, rng.lognormal(3.0, 1.0, size), 0.0)
    n = nightly * np.arange(1, NIGHTS + 1)
    means = values.sum(axis=2).cumsum(axis=1) / n
    m2 = np.maximum(np.square(values).sum(axis=2).cumsum(axis=1) - n * np.square(means), 0.0)
    return MomentArrays(np.broadcast_to(n, means.shape), means, m2)


def safe_at_margin(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Guardrails exactly at their margin that are called safe at the horizon."""
    n, alpha = 2_000, 0.025
    control, treatment = normal_arms(rng, n, 60, repetitions), normal_arms(rng, n // 4, 120, repetitions)
    control = MeanEstimate(control.mean + 180, control.squared_error, control.df)
    treatment = MeanEstimate(treatment.mean + 180 * 1.03, treatment.squared_error, treatment.df)
    statistic, df = margin_statistic(control, treatment, ratio=1.03)
    value = float(np.mean(tail_pvalue(statistic, "less", df) < alpha))
    yield Rate("called safe: mean at the margin, n 2000/500, sd 1:2", value, alpha, repetitions)
    for share, n_control, n_treatment in ((0.1, 5_000, 5_000), (0.02, 9_000, 1_000)):
        x_control = rng.binomial(n_control, share, repetitions)
        x_treatment = rng.binomial(n_treatment, share * 1.1, repetitions)
        statistic = score_ratio_z(x_control, n_control, x_treatment, n_treatment, ratio=1.1)
        value = float(np.mean(tail_pvalue(statistic, "less") < alpha))
        yield Rate(f"called safe: share {share} at the margin, n {n_control}/{n_treatment}", value, alpha, repetitions)


def nightly_peeks(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """A/A experiments in which a winner or loser is called: any night at p < 0.05, and at the horizon only."""
    repetitions = min(repetitions, 50_000)
    arms = nightly_means(rng, repetitions, 100.0), nightly_means(rng, repetitions, 100.0)
    error = np.sqrt(arms[0].squared_error + arms[1].squared_error)
    significant = tail_pvalue((arms[1].mean - arms[0].mean) / error, "two-sided", welch_df(*arms)) < ALPHA
    name = f"A/A called different, {NIGHTS} nights"
    yield Rate(f"{name}: p < 0.05 on any night", float(np.mean(np.any(significant, axis=1))), ALPHA, repetitions, False)
    yield Rate(f"{name}: horizon only (our plan)", float(np.mean(significant[:, -1])), ALPHA, repetitions)


SIMULATIONS: tuple[Simulation, ...] = (
    z_test,
    welch_test,
    difference_intervals,
    relative_intervals,
    sample_ratio_nights,
    guardrail_nights,
    safe_at_margin,
    nightly_peeks,
    share_ratio_intervals,
    adjusted_means,
    uneven_harm,
)


def rates(seed: int, repetitions: int, simulations: Sequence[Simulation] | None = None) -> Iterator[Rate]:
    """Yield every rate; each simulation has its own seed, so that one can be changed without the others."""
    for number, simulation in enumerate(simulations or SIMULATIONS):
        yield from simulation(np.random.default_rng([seed, number]), repetitions)


def main(
    simulations: Sequence[Simulation] | None = None,
    repetitions: int = 100_000,
    *,
    tables: Callable[[Sequence[Simulation], int, int], None] | None = None,
) -> int:
    """Print the table and the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=repetitions)
    parser.add_argument("--seed", type=int, default=20260301)
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/statistics.md instead")
    arguments = parser.parse_args()
    if arguments.markdown:
        (tables or print_markdown)(simulations or SIMULATIONS, arguments.seed, arguments.repetitions)
    else:
        print(f"{'simulated':>9} {'promised':>8}", file=sys.stderr)
        for rate in rates(arguments.seed, arguments.repetitions, simulations):
            remark = "" if rate.verdict == "kept" else f"  ({rate.verdict})"
            tails = f" ({rate.tails[0]:.4f} too low, {rate.tails[1]:.4f} too high)" if rate.tails else ""
            print(f"{rate.value:9.4f} {rate.promised:8.4f} {rate.name}{tails}{remark}", file=sys.stderr)
            print(json.dumps(rate.line()))
    print(f"{time.process_time():.0f} s of processor time", file=sys.stderr)
    return 0


def print_markdown(simulations: Sequence[Simulation], seed: int, repetitions: int) -> None:
    """Print one table for each simulation, under the first line of its docstring."""
    for number, simulation in enumerate(simulations):
        found = list(simulation(np.random.default_rng([seed, number]), repetitions))
        with_tails, prefix = any(rate.tails for rate in found), "miss: "
        first = "misses of"
        if not all(rate.name.startswith(prefix) for rate in found):
            first, prefix = "what", ""
        heads = [first, "simulated", *(["too low / too high"] if with_tails else []), "promised", ""]
        print(f"\n*{simulation.__doc__.splitlines()[0]}*\n")
        print_row(heads)
        print("|---" * len(heads) + "|")
        for rate in found:
            both = " / ".join(f"{tail:.4f}" for tail in rate.tails or ())
            middle = [f"{rate.value:.4f}", *([both] if with_tails else [])]
            print_row([rate.name.removeprefix(prefix), *middle, f"{rate.promised:.4g}", rate.verdict])


def print_row(cells: Sequence[str]) -> None:
    """Print one row of a table."""
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
