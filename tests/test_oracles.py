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
    "cuped",
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


# GrowthBook divides the variance of a share by n and its covariance with a covariate by n - 1. A share has no covariate
# here, and as a mean all are divided by n - 1.
OTHER_CONVENTION = {"gb.gen-034-welch-cuped_prop-absolute"}

METHODS = load(ADAPTER).METHODS
CASES = json.loads((ORACLES / "summary.json").read_text())["cases"] if ORACLES.is_dir() else []
COVERED = [
    case
    for case in CASES
    if case["use"] in ("required", "optional") and case["method"] in METHODS and case["id"] not in OTHER_CONVENTION
]

pytestmark = pytest.mark.skipif(not CASES, reason=f"reference cases are not at {ORACLES}")


@pytest.mark.parametrize("case", COVERED, ids=[case["id"] for case in COVERED])
def test_reference_case_is_reproduced(case):
    reason = load(ORACLES / "check.py").run(case, METHODS, {each["id"]: each for each in CASES})
    assert reason is None, reason


def test_no_implemented_family_lost_its_cases():
    assert {case["family"] for case in COVERED if case["use"] == "required"} >= FAMILIES
    assert len([case for case in COVERED if case["use"] == "required"]) >= 50
