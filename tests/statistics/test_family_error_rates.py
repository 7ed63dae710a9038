from __future__ import annotations

import pytest
from benchmark_rates import broken_rates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("simulation", "repetitions"),
    [
        ("families", 10_000),
        ("family_intervals", 10_000),
        ("segment_effects", 1_000),
        ("sample_ratio_readings", 500),
        ("drilldowns", 200),
        ("pre_periods", 2_000),
        ("trust_checks", 2_000),
    ],
)
def test_promised_error_rates_are_held(simulation, repetitions):
    assert broken_rates("error_rates_families", simulation, seed=46, repetitions=repetitions) == []
