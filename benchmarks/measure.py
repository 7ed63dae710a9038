"""What the benchmarks of time share: a median, a line of JSON on stdout and a row for people on stderr."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any


def median_seconds(function: Callable[[], Any], *, repetitions: int = 7) -> float:
    """Return the median processor time of a call, after one that is not counted.

    What is measured does not wait for anything, and the time on the wall would count other programs too.
    """
    function()
    taken = []
    for _ in range(repetitions):
        start = time.process_time()
        function()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def wanted(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the benchmarks that the command line names, or all of them."""
    asked = tuple(sys.argv[1:])
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise SystemExit(f"benchmark is {unknown[0]!r}; it must be one of {', '.join(names)}.")
    return asked or names


def report(name: str, value: float, unit: str, *, compared_with: str, reference: float, goal: float | None) -> None:
    """Print one measurement; the ratio of ``value`` to ``reference`` must be at most ``goal``."""
    ratio = value / reference
    met = None if goal is None else ratio <= goal
    line = {"name": name, "value": float(f"{value:.4g}"), "unit": unit, "compared_with": compared_with,
            "ratio": float(f"{ratio:.4g}"), "goal": goal, "met": met}  # fmt: skip
    print(json.dumps(line), flush=True)
    remark = {True: "", False: "  BROKEN", None: "  (for comparison)"}[met]
    print(f"{value:10.4g} {unit:3} {ratio:8.3g} of {compared_with}: {name}{remark}", file=sys.stderr, flush=True)
