"""Results that other programs gave for the same inputs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ORACLES = Path(__file__).resolve().parents[1].parent / "shared" / "oracles"
ADAPTER = Path(__file__).with_name("oracle_adapter.py")
FAMILIES = {
    "growthbook.p_value_adjustment",
    "growthbook.srm",
    "growthbook.welch_t",
    "multiplicity",
    "non_inferiority",
    "one_proportion",
    "relative_lift",
    "srm",
    "two_means",
    "two_proportions",
}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


METHODS = load(ADAPTER).METHODS
CASES = json.loads((ORACLES / "summary.json").read_text())["cases"] if ORACLES.is_dir() else []
COVERED = [case for case in CASES if case["use"] in ("required", "optional") and case["method"] in METHODS]

pytestmark = pytest.mark.skipif(not CASES, reason=f"reference cases are not at {ORACLES}")


@pytest.mark.parametrize("case", COVERED, ids=[case["id"] for case in COVERED])
def test_reference_case_is_reproduced(case):
    reason = load(ORACLES / "check.py").run(case, METHODS, {each["id"]: each for each in CASES})
    assert reason is None, reason


def test_no_implemented_family_lost_its_cases():
    assert {case["family"] for case in COVERED if case["use"] == "required"} >= FAMILIES
    assert len([case for case in COVERED if case["use"] == "required"]) >= 50
