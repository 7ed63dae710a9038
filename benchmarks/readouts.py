"""How long many comparisons at once take, beside GrowthBook's engine and tea-tasting, and a boundary of 60 looks.

    python benchmarks/readouts.py [readouts_50k | table_20x10x3 | boundary_60_looks]

The other programs are measured in the same run where they can be imported: by this Python, or by those that the
environment variable ``BENCH_PEERS`` names, with colons between; gbstats 0.8 and tea-tasting 1.14 need an environment
each. They compute a comparison at a time, so of the 50,000 they do 1,000 and their time is taken 50 times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import median_seconds, report, wanted

from abtest_lib.statistics.guardrail_readouts import mean_readings
from abtest_lib.statistics.moment_arrays import MomentArrays
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.readouts import Comparisons, mean_comparisons
from abtest_lib.statistics.sequential import spending_bounds

BENCHMARKS = ("readouts_50k", "table_20x10x3", "boundary_60_looks")
CELLS, SAMPLE = 50_000, 1_000
TABLE = (20, 10, 3)
PEERS = {"gbstats": "GrowthBook's gbstats", "tea_tasting": "tea-tasting"}


def arms(shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Return n, mean and sample variance of cells as a night has them."""
    rng = np.random.default_rng(20260301)
    return rng.integers(500, 50_000, shape), rng.normal(100, 2, shape), rng.gamma(4, 200, shape)


def readouts_50k() -> None:
    """Welch, interval, relative interval, p-value and non-inferiority of 50,000 pairs of moments."""
    control, treatment = (MomentArrays.from_variances(*(part[at] for part in arms((2, CELLS)))) for at in (0, 1))

    def read() -> Comparisons:
        mean_readings(control, treatment, margin=0.03, better="lower", alpha_harm=0.05 / 28)
        return mean_comparisons(control, treatment)

    seconds = median_seconds(read)
    report("readouts_50k", seconds, "s", compared_with="the limit of 0.5 s", reference=0.5, goal=1.0)
    sample = [part[:, :SAMPLE].tolist() for part in arms((2, CELLS))]
    compare_with_peers("readouts_50k", seconds, "s", sample, read().pvalue[:SAMPLE], CELLS / SAMPLE)


def table_20x10x3() -> None:
    """20 metrics, 10 values of a segment, two treatments and a control: 400 comparisons, Bonferroni by metric."""
    n, mean, variance = arms(TABLE)
    cells = [
        Moments(int(n[at]), float(mean[at]), float(variance[at] * (n[at] - 1))) for at in np.ndindex(*TABLE)
    ]  # as the night merges them

    def table() -> list[Any]:
        grid = MomentArrays.of(cells, TABLE)
        found = mean_comparisons(grid[..., :1], grid[..., 1:], family_size=20)
        return [(found.at(at), found.adjusted_pvalue[at]) for at in np.ndindex(found.shape)]

    seconds = median_seconds(table)
    report("table_20x10x3", 1_000 * seconds, "ms", compared_with="the limit of 20 ms", reference=20, goal=1.0)
    pvalues = np.array([comparison.pvalue for comparison, _ in table()])
    moments = [part.tolist() for part in (n, mean, variance)]
    compare_with_peers("table_20x10x3", 1_000 * seconds, "ms", moments, pvalues, 1_000)


def boundary_60_looks() -> None:
    """Bounds of 60 looks by O'Brien-Fleming spending."""
    information = [look / 60 for look in range(1, 61)]
    seconds = median_seconds(lambda: spending_bounds(information))
    report("boundary_60_looks", 1_000 * seconds, "ms", compared_with="the limit of 50 ms", reference=50, goal=1.0)


def compare_with_peers(
    name: str, value: float, unit: str, moments: list[Any], pvalues: np.ndarray, units_per_second: float
) -> None:
    """Report our time beside each program's that is there, after its p-values were held against ours."""
    found: dict[str, Any] = {}
    for python in os.environ.get("BENCH_PEERS", sys.executable).split(os.pathsep):
        command = [python, str(Path(__file__).with_name("peers.py")), name]
        run = subprocess.run(command, input=json.dumps(moments), capture_output=True, text=True, check=False)  # noqa: S603
        if run.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{run.stderr}")
        found |= json.loads(run.stdout)
    for peer, title in PEERS.items():
        if peer not in found:
            print(f"{name}: {title} is not installed", file=sys.stderr)
            continue
        apart = float(np.max(np.abs(np.array(found[peer]["pvalues"]) - pvalues)))
        if apart > 1e-8:
            raise SystemExit(f"{name}: p-values of {title} differ from ours by {apart:.2g}; they must be the same.")
        reference = found[peer]["seconds"] * units_per_second
        report(
            f"{name}_vs_{peer}",
            value,
            unit,
            compared_with=f"{title} {found[peer]['version']} in the same run, {reference:.3g} {unit}",
            reference=reference,
            goal=0.1,
        )


if __name__ == "__main__":
    print("     value unit  ratio", file=sys.stderr)
    for benchmark in wanted(BENCHMARKS):
        {"readouts_50k": readouts_50k, "table_20x10x3": table_20x10x3, "boundary_60_looks": boundary_60_looks}[
            benchmark
        ]()
