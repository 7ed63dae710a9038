from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[1] / "benchmarks" / "run.py"


def run(name):
    return subprocess.run([sys.executable, str(RUN), name], capture_output=True, text=True, check=False)  # noqa: S603


def test_one_benchmark_by_its_name_is_a_line_of_json():
    found = run("boundary_60_looks")
    (line,) = map(json.loads, found.stdout.splitlines())
    assert list(line) == ["name", "value", "unit", "compared_with", "ratio", "goal", "met"]
    assert line["name"] == "boundary_60_looks"
    assert line["met"] is (line["ratio"] <= line["goal"])
    assert "boundary_60_looks" in found.stderr


def test_unknown_benchmark_is_refused_with_the_names_there_are():
    found = run("boundary_60_look")
    assert found.returncode == 2
    assert found.stdout == ""
    for name in ("readouts_50k", "table_20x10x3", "error_rates"):
        assert name in found.stderr
