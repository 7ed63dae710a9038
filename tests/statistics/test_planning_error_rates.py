from __future__ import annotations

import pytest
from benchmark_rates import broken_rates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("simulation", "repetitions"),
    [
        ("proportions", 20_000),
        ("means", 20_000),
        ("counts_and_ratios", 800),
        ("margins", 20_000),
        ("several_treatments", 20_000),
        ("nightly_looks", 10_000),
    ],
)
def test_planned_power_is_achieved(simulation, repetitions):
    assert broken_rates("error_rates_planning", simulation, seed=47, repetitions=repetitions) == []


@pytest.mark.slow
@pytest.mark.parametrize(("simulation", "repetitions"), [("many_units", 25), ("regret", 40)])
def test_bandits_cover_and_save(simulation, repetitions):
    assert broken_rates("error_rates_bandits", simulation, seed=48, repetitions=repetitions) == []
