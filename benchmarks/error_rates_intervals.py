"""Simulated misses, in each tail, of every interval of shares and means, and errors of the tests against a margin.

python benchmarks/error_rates_intervals.py [--repetitions 100000] [--seed 20260301] [--markdown]

Lines and table as ``error_rates.py`` prints them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import numpy as np
from error_rates import ALPHA, NIGHTS, Rate, main, miss, missed_tails, misses, normal_arms, proportion, score_tails

from abtest_lib.statistics.capping import compare_capped_means
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed, welch_df
from abtest_lib.statistics.exact import clopper_pearson_interval, fisher_pvalue
from abtest_lib.statistics.guardrails import harm_alpha, margin_statistic
from abtest_lib.statistics.intervals import delta_interval, fieller_interval, log_ratio_interval, wald_interval
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.non_inferiority import welch_equivalence
from abtest_lib.statistics.pooled import student_log_ratio_interval, student_test
from abtest_lib.statistics.proportions import newcombe_interval, score_ratio_z, wilson_interval
from abtest_lib.statistics.rates import compare_rates
from abtest_lib.statistics.score_intervals import farrington_manning_z, miettinen_nurminen_z
from abtest_lib.statistics.tails import critical_value, tail_pvalue

# Counts of a few events jump, and an interval's error with them.
RARE = 0.1


def sizes(n_control: int, n_treatment: int) -> str:
    """Say how many units there are."""
    return f"n {n_control:,}/{n_treatment:,}"


def single_shares(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Intervals of one share, averaged over shares up to a fifth above and below."""
    for share, n in ((0.5, 20), (0.05, 200), (0.01, 1_000), (0.005, 1_000)):
        truth = rng.uniform(0.8 * share, 1.2 * share, repetitions)
        successes = rng.binomial(n, truth)
        case = f"share about {share}, n {n:,}"
        yield miss(f"Wilson, {case}", missed_tails(wilson_interval(successes, n), truth), repetitions)
        tails = missed_tails(clopper_pearson_interval(successes, n), truth)
        yield miss(f"Clopper–Pearson, {case}", tails, repetitions)
        half = critical_value(ALPHA) * np.sqrt(successes / n * (1 - successes / n) / n)
        tails = missed_tails((successes / n - half, successes / n + half), truth)
        yield miss(f"Wald, {case}", tails, repetitions, used=False)


def share_differences(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Intervals of a difference of shares."""
    for share, change, n_control, n_treatment in (
        (0.5, 0.1, 50, 50),
        (0.05, 0.01, 5_000, 5_000),
        (0.01, 0.0, 1_000, 1_000),
        (0.005, 0.005, 1_000, 1_000),
        (0.02, 0.005, 9_000, 1_000),
        (0.02, 0.005, 99_000, 1_000),
    ):
        control = rng.binomial(n_control, share, repetitions)
        treatment = rng.binomial(n_treatment, share + change, repetitions)
        counts = control, n_control, treatment, n_treatment
        case = f"shares {share}/{round(share + change, 3)}, {sizes(n_control, n_treatment)}"
        rare = RARE if share * n_treatment < 50 else 0.0
        tails = missed_tails(newcombe_interval(*counts), change)
        yield miss(f"Newcombe, {case}", tails, repetitions, discreteness=rare)
        # An interval by inversion leaves out the truth exactly when its test rejects the truth.
        with np.errstate(invalid="ignore"):
            tails = score_tails(miettinen_nurminen_z(*counts, difference=change))
            yield miss(f"Miettinen–Nurminen, {case}", tails, repetitions, discreteness=rare)
            tails = score_tails(farrington_manning_z(*counts, difference=change))
            yield miss(f"Mee, {case}", tails, repetitions, discreteness=rare)
        tails = missed_tails(wald_interval(proportion(control, n_control), proportion(treatment, n_treatment)), change)
        yield miss(f"Wald, {case}", tails, repetitions, used=False)


def share_ratios(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Intervals of a relative effect on a share."""
    for share, change, n_control, n_treatment in (
        (0.005, 0.0, 1_000, 1_000),
        (0.0075, 0.2, 1_000, 1_000),
        (0.01, 0.0, 1_000, 1_000),
        (0.01, 0.5, 1_000, 1_000),
        (0.005, 0.0, 99_000, 1_000),
        (0.02, 0.2, 99_000, 1_000),
    ):
        control = rng.binomial(n_control, share, repetitions)
        treatment = rng.binomial(n_treatment, share * (1 + change), repetitions)
        arms = proportion(control, n_control), proportion(treatment, n_treatment)
        effect = f", effect {change:+.0%}" if change else ""
        case = f"share {share}, {sizes(n_control, n_treatment)}{effect}"
        tails = score_tails(score_ratio_z(control, n_control, treatment, n_treatment, ratio=1 + change))
        yield miss(f"Koopman, {case}", tails, repetitions, discreteness=RARE)
        with np.errstate(invalid="ignore", divide="ignore"):
            for name, interval in (
                ("Fieller", fieller_interval),
                ("Katz (log ratio)", log_ratio_interval),
                ("delta", delta_interval),
            ):
                tails = missed_tails(interval(*arms), change)
                yield miss(f"{name}, {case}", tails, repetitions, used=False)


def lognormal_arm(rng: np.random.Generator, n: int, sigma: float, factor: float, repetitions: int) -> MeanEstimate:
    """Return means and errors of samples of a log-normal metric with mean ``factor``."""
    means, variances = np.empty(repetitions), np.empty(repetitions)
    step = max(1, 2_000_000 // n)
    for first in range(0, repetitions, step):
        part = slice(first, min(first + step, repetitions))
        draws = np.exp(sigma * rng.standard_normal((part.stop - first, n)) - sigma**2 / 2) * factor
        means[part], variances[part] = draws.mean(axis=1), draws.var(axis=1, ddof=1)
    return MeanEstimate(means, variances / n, n - 1)


def revenue_arm(
    rng: np.random.Generator, n: int, buyers: float, sigma: float, factor: float, repetitions: int
) -> MeanEstimate:
    """Return means and errors of revenue a unit: zero of most, log-normal with mean ``factor`` of those who buy."""
    bought = rng.binomial(n, buyers, repetitions)
    total, squares = np.empty(repetitions), np.empty(repetitions)
    step = max(1, 2_000_000 // int(bought.max()))
    for first in range(0, repetitions, step):
        part = slice(first, min(first + step, repetitions))
        draws = np.exp(sigma * rng.standard_normal((part.stop - first, bought[part].max())) - sigma**2 / 2) * factor
        draws *= np.arange(draws.shape[1]) < bought[part, None]
        total[part], squares[part] = draws.sum(axis=1), np.square(draws).sum(axis=1)
    mean = total / n
    return MeanEstimate(mean, (squares - n * mean**2) / (n - 1) / n, n - 1)


def mean_rates(arms: tuple[MeanEstimate, MeanEstimate], change: float, case: str, **options: object) -> Iterator[Rate]:
    """Misses of each interval of two means of which the control's is 1."""
    df, repetitions = welch_df(*arms), np.size(arms[0].mean)
    yield miss(f"Welch, {case}", missed_tails(wald_interval(*arms, df=df), change), repetitions, **options)
    tails = missed_tails(fieller_interval(*arms, df=df), change)
    yield miss(f"Fieller, {case}", tails, repetitions, **options)
    for name, interval in (("delta", delta_interval), ("log ratio", log_ratio_interval)):
        yield miss(f"{name}, {case}", missed_tails(interval(*arms, df=df), change), repetitions, used=False)


def mean_intervals(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Intervals of the effect and the relative effect on a mean."""
    for n_control, n_treatment, sd, change in ((900, 100, 2, 0.1), (950, 50, 3, 0.0)):
        arms = normal_arms(rng, n_control, 1, repetitions), normal_arms(rng, n_treatment, sd, repetitions)
        # Means of 8: a relative effect of so many standard deviations of the control.
        scaled = [
            MeanEstimate((8 * level + arm.mean) / 8, arm.squared_error / 64, arm.df)
            for level, arm in zip((1, 1 + change), arms, strict=True)
        ]
        effect = f", effect {change:+.0%}" if change else ""
        case = f"normal, sd 1:{sd}, {sizes(n_control, n_treatment)}{effect}"
        yield from mean_rates(tuple(scaled), change, case)
    long, short = min(repetitions, 50_000), min(repetitions, 20_000)
    for sigma, n, change in ((1.5, 200, 0.0), (1.5, 500, 0.3), (2.0, 200, 0.0), (2.0, 500, 0.3)):
        arms = tuple(lognormal_arm(rng, n, sigma, factor, long) for factor in (1, 1 + change))
        effect = f", effect {change:+.0%}" if change else ""
        yield from mean_rates(arms, change, f"log-normal, sigma {sigma}, {sizes(n, n)}{effect}")
    for n_control, n_treatment, change in (
        (2_000, 2_000, 0.0),
        (2_000, 2_000, 0.2),
        (9_000, 1_000, 0.0),
        (99_000, 1_000, 0.0),
    ):
        arms = tuple(
            revenue_arm(rng, n, 0.05, 1.0, factor, short)
            for n, factor in ((n_control, 1 / 0.05), (n_treatment, (1 + change) / 0.05))
        )
        effect = f", effect {change:+.0%}" if change else ""
        case = f"revenue of 5 % buyers, {sizes(n_control, n_treatment)}{effect}"
        # Fifty buyers in the small variant are too few; see unequal_and_skewed.
        yield from mean_rates(arms, change, case, used=n_control == n_treatment, remark="known limit")


def one_sided(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """One-sided intervals, which leave one end open."""
    counts = rng.binomial(5_000, 0.02, repetitions), 5_000, rng.binomial(5_000, 0.024, repetitions), 5_000
    shares = proportion(counts[0], 5_000), proportion(counts[2], 5_000)
    means = tuple(lognormal_arm(rng, 500, 1.0, factor, min(repetitions, 50_000)) for factor in (1, 1.2))
    df = welch_df(*means)
    case = "shares 0.02/0.024, n 5,000/5,000"
    # One-sided, too: the end leaves out the truth exactly when the one-sided test rejects it.
    bound = critical_value(ALPHA, "greater")
    with_difference = miettinen_nurminen_z(*counts, difference=0.004)
    with_ratio = score_ratio_z(*counts, ratio=1.2)
    for alternative, sign in (("greater", 1), ("less", -1)):
        side = "lower end" if alternative == "greater" else "upper end"
        for name, statistic in (("Miettinen–Nurminen", with_difference), ("Koopman", with_ratio)):
            missed = float(np.mean(sign * statistic > bound))
            yield Rate(f"miss: {name}, {side}, {case}", missed, ALPHA, repetitions)
        interval = newcombe_interval(*counts, alternative=alternative)
        yield Rate(f"miss: Newcombe, {side}, {case}", misses(interval, 0.004), ALPHA, repetitions, discreteness=0.05)
        interval = wilson_interval(counts[0], 5_000, alternative=alternative)
        yield Rate(f"miss: Wilson, {side}, share 0.02, n 5,000", misses(interval, 0.02), ALPHA, repetitions, used=False)
        interval = log_ratio_interval(*shares, alternative=alternative)
        yield Rate(f"miss: Katz, {side}, {case}", misses(interval, 0.2), ALPHA, repetitions, used=False)
        for name, find, truth, used in (
            ("Welch", wald_interval, 0.2, False),
            ("Fieller", fieller_interval, 0.2, True),
            ("delta", delta_interval, 0.2, False),
        ):
            missed = misses(find(*means, alternative=alternative, df=df), truth)
            what = f"miss: {name}, {side}, log-normal, sigma 1, n 500/500, effect +20%"
            yield Rate(what, missed, ALPHA, np.size(df), used=used)


def hall_rejects(control: np.ndarray, treatment: np.ndarray) -> np.ndarray:
    """Tell where Welch's t, corrected for skewness by Hall's cubic, leaves out that the means are the same.

    References
    ----------
    .. [1] Hall (1992), JRSS B 54(1), 221-228.
    """
    parts = []
    for values in (control, treatment):
        n, deviations = values.shape[1], values - values.mean(axis=1, keepdims=True)
        parts.append((values.mean(axis=1), values.var(axis=1, ddof=1) / n, (deviations**3).mean(axis=1) / n**2))
    (mc, vc, cubes_c), (mt, vt, cubes_t) = parts
    error = np.sqrt(vc + vt)
    t, skewness = (mt - mc) / error, (cubes_t - cubes_c) / error**3
    corrected = t + skewness / 3 * t**2 + skewness**2 / 27 * t**3 + skewness / 6
    return np.abs(corrected) > critical_value(ALPHA)


def bootstrap_t_rejects(control: np.ndarray, treatment: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tell where the bootstrap-t interval (399 resamples) leaves out that the means are the same."""
    effect, squared_error = treatment.mean(axis=1) - control.mean(axis=1), 0.0
    resampled, resampled_squared_error = 0.0, 0.0
    for sign, values in ((-1, control), (1, treatment)):
        n = values.shape[1]
        # The same resamples serve all repetitions: each has them at random.
        shares = rng.multinomial(n, np.full(n, 1 / n), size=399) / n
        centred = (values - values.mean(axis=1, keepdims=True)).T
        means = shares @ centred
        resampled = resampled + sign * means
        resampled_squared_error = resampled_squared_error + (shares @ centred**2 - means**2) / (n - 1)
        squared_error = squared_error + values.var(axis=1, ddof=1) / n
    low, high = np.quantile(resampled / np.sqrt(resampled_squared_error), [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    t = effect / np.sqrt(squared_error)
    return (t < low) | (t > high)


def unequal_and_skewed(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Means of a skewed metric when one variant is small, and what corrections would make of them."""
    repetitions = min(repetitions, 10_000)
    for sigma, n_control, n_treatment in (
        (1.0, 900, 100),
        (1.0, 4_500, 500),
        (1.0, 9_900, 100),
        (1.5, 900, 100),
        (1.5, 4_500, 500),
        (1.5, 500, 500),
    ):
        rejected, hall, bootstrapped = [], [], []
        step = max(1, 4_000_000 // n_control)
        for first in range(0, repetitions, step):
            number = min(step, repetitions - first)
            control, treatment = (
                np.exp(sigma * rng.standard_normal((number, n)) - sigma**2 / 2) for n in (n_control, n_treatment)
            )
            arms = [
                MeanEstimate(values.mean(axis=1), values.var(axis=1, ddof=1) / values.shape[1], values.shape[1] - 1)
                for values in (control, treatment)
            ]
            rejected.append(fieller_interval(*arms, df=welch_df(*arms)))
            hall.append(hall_rejects(control, treatment))
            if sigma > 1 and n_control <= 900:
                bootstrapped.append(bootstrap_t_rejects(control, treatment, rng))
        interval = tuple(np.concatenate(ends) for ends in zip(*rejected, strict=True))
        case = f"log-normal, sigma {sigma}, {sizes(n_control, n_treatment)}"
        holds = n_control == n_treatment
        yield miss(f"Fieller, {case}", missed_tails(interval, 0.0), repetitions, used=holds, remark="known limit")
        missed = float(np.mean(np.concatenate(hall)))
        yield Rate(f"miss: corrected for skewness (Hall), {case}", missed, ALPHA, repetitions, used=False)
        if bootstrapped:
            missed = float(np.mean(np.concatenate(bootstrapped)))
            yield Rate(f"miss: bootstrap-t, {case}", missed, ALPHA, repetitions, used=False)


def capped_means(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Capped means of a skewed metric without an effect."""
    repetitions = min(repetitions, 10_000)
    for sigma, n_control, n_treatment, quantile in (
        (1.5, 900, 100, 0.95),
        (1.5, 900, 100, 0.99),
        (1.5, 4_500, 500, 0.99),
        (2.0, 500, 500, 0.99),
    ):
        intervals = []
        for _ in range(repetitions):
            arms = (np.exp(sigma * rng.standard_normal(n)) for n in (n_control, n_treatment))
            intervals.append(compare_capped_means(*arms, quantile=quantile).comparison.effect_interval)
        tails = missed_tails(tuple(np.transpose(intervals)), 0.0)
        case = f"capped at {quantile}, log-normal, sigma {sigma}, {sizes(n_control, n_treatment)}"
        limit = quantile > 0.95 and n_treatment < 500
        yield miss(f"Welch, {case}", tails, repetitions, used=not limit, remark="known limit")


def margins(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Treatments exactly at a margin that are called not worse than it, or equivalent."""
    alpha = 0.025
    for share, margin, n_control, n_treatment in (
        (0.1, 0.02, 2_000, 2_000),
        (0.02, 0.01, 2_000, 2_000),
        (0.02, 0.01, 9_000, 1_000),
    ):
        counts = (rng.binomial(n_control, share, repetitions), n_control,
                  rng.binomial(n_treatment, share - margin, repetitions), n_treatment)  # fmt: skip
        case = f"share {share} at {margin} below, {sizes(n_control, n_treatment)}"
        # Ten events in the small variant: the score's distribution leans, and one tail errs a fifth too often.
        limit = (share - margin) * n_treatment <= 10
        for name, statistic in (
            ("Farrington–Manning", farrington_manning_z),
            ("Miettinen–Nurminen", miettinen_nurminen_z),
        ):
            called = float(np.mean(tail_pvalue(statistic(*counts, difference=-margin), "greater") < alpha))
            what = f"called non-inferior: {name}, {case}"
            yield Rate(what, called, alpha, repetitions, used=not limit, discreteness=RARE, remark="known limit")
        arms = proportion(counts[0], n_control), proportion(counts[2], n_treatment)
        low, _ = wald_interval(*arms, alpha=alpha, alternative="greater")
        name = f"called non-inferior: Wald, {case}"
        yield Rate(name, float(np.mean(low > -margin)), alpha, repetitions, used=False)
    repetitions = min(repetitions, 20_000)
    for name, effect in (("at a bound", 1.0), ("in the middle", 0.0)):
        found = []
        for _ in range(repetitions):
            arms = [
                Moments(n, mean + rng.normal(0, sd / math.sqrt(n)), sd**2 * rng.chisquare(n - 1))
                for n, mean, sd in ((4_000, 0.0, 5.0), (2_000, effect, 7.0))
            ]
            found.append(welch_equivalence(*arms, low=-1.0, high=1.0, alpha=ALPHA).equivalent)
        promised = ALPHA if effect else 1.0
        what = f"called equivalent: two Welch tests, effect {name}, n 4,000/2,000, sd 5:7"
        yield Rate(what, float(np.mean(found)), promised, repetitions, used=effect != 0, remark="power")


def guardrail_intervals(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Intervals of guardrails: that of one reading, and the wide one of harm, which holds over all nights."""
    harm = 2 * harm_alpha(0.05, guardrails=5, treatments=1, reads=NIGHTS)
    control, treatment = (lognormal_arm(rng, 2_000, 0.8, factor, min(repetitions, 50_000)) for factor in (1, 1.03))
    # As read: degrees of freedom are those of the test against the margin.
    _, df = margin_statistic(control, treatment, ratio=1.03)
    for name, alpha in (("one reading", ALPHA), ("harm", harm)):
        tails = missed_tails(fieller_interval(control, treatment, alpha=alpha, df=df), 0.03)
        case = f"guardrail, {name}: Fieller, log-normal, sigma 0.8, n 2,000/2,000, effect +3%"
        yield miss(case, tails, np.size(df), alpha)
    for share, n_control, n_treatment in ((0.1, 5_000, 5_000), (0.02, 9_000, 1_000)):
        counts = (rng.binomial(n_control, share, repetitions), n_control,
                  rng.binomial(n_treatment, share * 1.1, repetitions), n_treatment)  # fmt: skip
        statistic = score_ratio_z(*counts, ratio=1.1)
        for name, alpha in (("one reading", ALPHA), ("harm", harm)):
            case = f"guardrail, {name}: Koopman, share {share}, {sizes(n_control, n_treatment)}, effect +10%"
            few = share * n_treatment < 500 and n_control != n_treatment
            options = {"used": False, "remark": "known limit"} if few and alpha < ALPHA else {}
            rare = 0.0 if share * n_treatment > 50 else RARE
            yield miss(case, score_tails(statistic, alpha), repetitions, alpha, discreteness=rare, **options)


def exact_methods(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Exact tests and intervals of small counts, which never err more often than promised."""
    repetitions = min(repetitions, 10_000)
    for n_control, n_treatment, share in ((20, 20, 0.3), (90, 10, 0.1), (500, 500, 0.02)):
        control, treatment = rng.binomial(n_control, share, repetitions), rng.binomial(n_treatment, share, repetitions)
        pairs = zip(control.tolist(), treatment.tolist(), strict=True)
        rejected = [fisher_pvalue(xc, n_control, xt, n_treatment) < ALPHA for xc, xt in pairs]
        name = f"type I: Fisher, share {share}, {sizes(n_control, n_treatment)}"
        yield Rate(name, float(np.mean(rejected)), ALPHA, repetitions)
    for events, ratio, hours in ((10.0, 1.0, 1.0), (100.0, 1.3, 1.0), (100.0, 1.0, 0.1)):
        counts = rng.poisson((events, events * hours * ratio), (repetitions, 2)).tolist()
        found = [compare_rates(xc, 1.0, xt, hours) for xc, xt in counts]
        computed = [one for one in found if not isinstance(one, NotComputed)]
        tails = missed_tails(tuple(np.transpose([one.interval for one in computed])), ratio)
        case = f"{events:g} and {events * hours * ratio:g} incidents expected"
        yield miss(f"ratio of rates, {case}", tails, len(computed))
        if ratio == 1:
            wrong = float(np.mean([one.pvalue < ALPHA for one in computed]))
            yield Rate(f"type I: ratio of rates, {case}", wrong, ALPHA, len(computed))


def pooled_variances(rng: np.random.Generator, repetitions: int) -> Iterator[Rate]:
    """Intervals that take the variances to be equal, which is right at an even split or with equal spread only."""
    repetitions = min(repetitions, 10_000)
    for n_control, n_treatment, sd in ((900, 100, 1.0), (900, 100, 2.0)):
        intervals, ratios = [], []
        for _ in range(repetitions):
            arms = [
                Moments(n, 8 + rng.normal(0, spread / math.sqrt(n)), spread**2 * rng.chisquare(n - 1))
                for n, spread in ((n_control, 1.0), (n_treatment, sd))
            ]
            intervals.append(student_test(*arms).effect_interval)
            ratios.append(student_log_ratio_interval(*arms))
        case = f"normal, sd 1:{sd:g}, {sizes(n_control, n_treatment)}"
        for name, found in (("Student", intervals), ("Student, log ratio", ratios)):
            tails = missed_tails(tuple(np.transpose(found)), 0.0)
            yield miss(f"{name}, {case}", tails, repetitions, used=False)


SIMULATIONS = (
    single_shares,
    share_differences,
    share_ratios,
    mean_intervals,
    one_sided,
    unequal_and_skewed,
    capped_means,
    margins,
    guardrail_intervals,
    exact_methods,
    pooled_variances,
)

if __name__ == "__main__":
    sys.exit(main(SIMULATIONS))
