"""The simulations of ``benchmarks/``, for tests that run them shorter."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def broken_rates(module, simulation, *, seed, repetitions):
    """Names of the rates that are not as promised; an error if the simulation promises nothing."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        found = getattr(importlib.import_module(module), simulation)(np.random.default_rng(seed), repetitions)
        rates = list(found)
    finally:
        sys.path.remove(str(BENCHMARKS))
    assert any(rate.used for rate in rates)
    return [rate for rate in rates if rate.line()["met"] is False]
