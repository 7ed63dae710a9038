"""The simulation of the whole rule can say every word, so that a rate of zero means what it says."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
BETTER = {"conversion": 0.5, "revenue": 0.3, "visits": 0.3}


@pytest.fixture(scope="module")
def whole_rule():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("whole_rule")
    finally:
        sys.path.remove(str(BENCHMARKS))


def said(whole_rule, effects, looks="horizon"):
    return whole_rule.words_of(whole_rule.experiment_with(looks), effects, np.random.default_rng(41))


@pytest.mark.slow
def test_large_effect_within_the_margins_ships(whole_rule):
    words = said(whole_rule, BETTER)
    assert {"ship", "primary better", "safe"} <= words
    assert words & {"harmful", "mismatch", "crossovers", "primary worse", "segment worse"} == set()


@pytest.mark.slow
def test_large_effect_far_beyond_a_margin_is_harmful_and_does_not_ship(whole_rule):
    words = said(whole_rule, {**BETTER, "latency_ms": 0.3})
    assert "harmful" in words
    assert "ship" not in words


@pytest.mark.slow
def test_large_loss_is_worse_in_its_segments_too(whole_rule):
    words = said(whole_rule, {name: -effect for name, effect in BETTER.items()})
    assert {"primary worse", "segment worse"} <= words
    assert "ship" not in words


@pytest.mark.slow
def test_broken_split_is_a_mismatch_and_says_nothing_else(whole_rule):
    experiment = whole_rule.experiment_with("horizon")
    rows = whole_rule.cells(experiment, BETTER, np.random.default_rng(42))
    # The units of one treatment reach the warehouse from one platform only.
    lost = [row for row in rows if row["variant"] == "short" and row["value"] not in (None, "ios")]
    ios = [
        {**row, "segment": None, "value": None} for row in rows if row["variant"] == "short" and row["value"] == "ios"
    ]
    broken = [row for row in rows if row["variant"] != "short" or (row["segment"] and row not in lost)] + ios
    document = whole_rule.document_of(experiment, experiment.decides_on, broken)
    assert set(whole_rule.words(document)) == {"mismatch"}
