"""Let gbstats and tea-tasting do the tasks of readouts.py, in a Python that has them; that script calls this one.

    python benchmarks/peers.py (readouts_50k | table_20x10x3) < moments.json

On stdout one JSON object: for each program that can be imported its version, seconds and p-values.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from measure import median_seconds

Pair = tuple[tuple[int, float, float], tuple[int, float, float]]


def pairs(name: str, moments: list[Any]) -> list[Pair]:
    """Return n, mean and variance of each comparison's control and treatment."""
    n, mean, variance = moments
    if name == "readouts_50k":
        arms = [list(zip(n[at], mean[at], variance[at], strict=True)) for at in (0, 1)]
        return list(zip(*arms, strict=True))
    return [pair for rows in zip(n, mean, variance, strict=True) for cells in zip(*rows, strict=True)
            for pair in against_control(cells)]  # fmt: skip


def against_control(cells: tuple[Any, ...]) -> Iterator[Pair]:
    """Yield the control with each treatment of one cell of the table."""
    control, *treatments = zip(*cells, strict=True)
    for treatment in treatments:
        yield control, treatment


def gbstats_tests(compared: list[Pair]) -> Callable[[], list[float]]:
    """Welch's test with absolute and with relative interval, one object each."""
    from gbstats.frequentist.tests import FrequentistConfig, TwoSidedTTest
    from gbstats.models.statistics import SampleMeanStatistic

    configs = [FrequentistConfig(difference_type=kind, alpha=0.05) for kind in ("absolute", "relative")]

    def run() -> list[float]:
        found = []
        for pair in compared:
            arms = [SampleMeanStatistic(n=n, sum=n * m, sum_squares=v * (n - 1) + n * m * m) for n, m, v in pair]
            absolute, _ = (TwoSidedTTest(*arms, config).compute_result() for config in configs)
            found.append(absolute.p_value)
        return found

    return run


def gbstats_table(moments: list[Any]) -> Callable[[], list[float]]:
    """Analyse each metric with its segment as the dimension, as GrowthBook's own service calls its engine."""
    from gbstats.gbstats import process_single_metric
    from gbstats.models.settings import AnalysisSettingsForStatsEngine, MetricSettingsForStatsEngine

    names = ["control", "one", "two"]
    analysis = AnalysisSettingsForStatsEngine(
        var_names=names, var_ids=names, weights=[1 / 3] * 3, stats_engine="frequentist", difference_type="absolute"
    )
    metrics = []
    for number, cells in enumerate(zip(*moments, strict=True)):
        rows = [
            {"dimension": str(segment), "variation": name, "users": n, "count": n, "main_sum": n * m,
             "main_sum_squares": v * (n - 1) + n * m * m}
            for segment, parts in enumerate(zip(*cells, strict=True))
            for name, n, m, v in zip(names, *parts, strict=True)
        ]  # fmt: skip
        settings = MetricSettingsForStatsEngine(
            id=str(number), name=str(number), statistic_type="mean", main_metric_type="count"
        )
        metrics.append((rows, settings))

    def run() -> list[float]:
        found = []
        for rows, settings in metrics:
            result = process_single_metric(rows=rows, metric=settings, analyses=[analysis])
            # Largest segments come first there; ours keep their order.
            for dimension in sorted(result.analyses[0].dimensions, key=lambda cell: int(cell.dimension)):
                found += [variation.pValue for variation in dimension.variations[1:]]
        return found

    return run


def tea_tasting_tests(compared: list[Pair]) -> Callable[[], list[float]]:
    """Welch's test with both intervals; the relative one by the logarithm of the ratio."""
    from tea_tasting.aggr import Aggregates
    from tea_tasting.metrics import Mean

    metric = Mean("value")

    def run() -> list[float]:
        found = []
        for pair in compared:
            arms = [Aggregates(count_=n, mean_={"value": m}, var_={"value": v}) for n, m, v in pair]
            found.append(metric.analyze_aggregates(*arms).pvalue)
        return found

    return run


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    name, moments = sys.argv[1], json.load(sys.stdin)
    compared = pairs(name, moments)
    tasks = {
        "gbstats": lambda: gbstats_table(moments) if name == "table_20x10x3" else gbstats_tests(compared),
        "tea_tasting": lambda: tea_tasting_tests(compared),
    }
    answer = {}
    for program, task in tasks.items():
        try:
            run = task()
        except ImportError:
            continue
        answer[program] = {
            "version": importlib.metadata.version(program.replace("_", "-")),
            "seconds": median_seconds(run, repetitions=5),
            "pvalues": [float(pvalue) for pvalue in run()],
        }
    print(json.dumps(answer))
