"""Change the statistics in small ways, one at a time, and count the changes that no test notices.

``python tests/mutation.py moments tails`` mutates those modules (all without a name) and runs the tests of each; a
second run tries only what the first left alive and what changed since. Needs ``pip install mutmut==3.8.1`` in the
environment; nothing is written but in ``--folder``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Modules whose tests are not (only) in the file that mirrors them.
TESTS = {
    "guardrail_readouts": ["readouts"],
    "mixture_bounds": ["always_valid"],
    "moment_arrays": ["readouts"],
    "planning_checks": ["planning", "power"],
    "planning_looks": ["planning"],
    "power_margin_shares": ["power_proportions"],
    "power_margins": ["power"],
    "sampled_strata": ["post_stratification"],
    "slopes": ["covariates"],
    "strata": ["post_stratification"],
}
CONFIGURATION = """
[tool.mutmut]
source_paths = ["abtest_lib"]
only_mutate = ["abtest_lib/statistics/{module}.py"]
do_not_mutate_patterns = ['\\braise \\w+\\(']
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-m", "not slow", "--tb=no", "-p", "no:unraisableexception", "-p", "no:threadexception"]
process_isolation = "forkserver"
timeout_constant = 1.0
timeout_multiplier = 6.0
on_dependency_change = "ignore"
use_git_change_detection = false
"""
# Quick tests first; a fifth of the random examples, and no search for the smallest that fails.
CONFTEST = """
import gc
import json
from pathlib import Path

import hypothesis

generate = [hypothesis.Phase.generate]
hypothesis.settings.register_profile(
    "quick", derandomize=True, deadline=None, database=None, max_examples=20, phases=generate
)
hypothesis.settings.load_profile("quick")
gc.freeze()  # what a worker inherits need not be searched again
gc.disable()


def pytest_collection_modifyitems(items):
    # It imports the library in a new interpreter, which has no mutant.
    items[:] = [item for item in items if not item.name.startswith("test_statistics_import_neither")]
    stats = Path("mutmut-stats.json")
    seconds = json.loads(stats.read_text())["duration_by_test"] if stats.exists() else {}
    items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))
"""
# The examples of the docstrings of the module, read from the unchanged source.
EXAMPLES = """
import ast
import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path("abtest_lib/statistics/{module}.py")
SOURCE = Path("..") / SOURCE if Path.cwd().name == "mutants" else SOURCE
DOCUMENTED = [
    node
    for node in ast.walk(ast.parse(SOURCE.read_text()))
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and ">>>" in (ast.get_docstring(node) or "")
]


@pytest.mark.parametrize("node", DOCUMENTED, ids=lambda node: node.name)
def test_example(node):
    names = vars(importlib.import_module("abtest_lib.statistics.{module}")).copy()
    example = doctest.DocTestParser().get_doctest(ast.get_docstring(node), names, node.name, None, None)
    assert doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(example).failed == 0
"""
KILLED, TIMEOUT = {1, 3}, {-24, 24, 36, 152, 255}
# A string with a space in it: words for people.
WORDING = re.compile(r"""(["'])(?:XX)?[^"']* [^"']*\1""")


def prepare(folder: Path, module: str) -> None:
    """Copy the tree and its tests, as this file wants them, to where mutmut may change them."""
    tests = [f"tests/statistics/test_{name}.py" for name in TESTS.get(module, [])]
    own = f"tests/statistics/test_{module}.py"
    tests = ([own] if (ROOT / own).exists() else []) + [test for test in tests if test != own]
    tests.append("tests/statistics/test_examples.py")
    shutil.rmtree(folder / "mutants" / "tests", ignore_errors=True)
    # Which test calls what is asked anew: mutmut itself asks new tests only, and a function may have a new name.
    (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    for name in ("abtest_lib", "tests/statistics"):
        shutil.rmtree(folder / name, ignore_errors=True)
        # mutmut mutates anew what is newer than its own copy, so the dates come along.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    copies = folder / "tests" / "statistics"
    (copies / "conftest.py").write_text(CONFTEST)
    (copies / "test_examples.py").write_text(EXAMPLES.format(module=module))
    text = (ROOT / "pyproject.toml").read_text() + CONFIGURATION.format(module=module, tests=json.dumps(tests))
    (folder / "pyproject.toml").write_text(text)


def mutmut(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "mutmut", *words]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout  # noqa: S603


def metadata(folder: Path, module: str) -> Path:
    return folder / "mutants" / "abtest_lib" / "statistics" / f"{module}.py.meta"


def outcomes(folder: Path, module: str) -> dict[str, int | None]:
    meta = metadata(folder, module)
    return json.loads(meta.read_text())["exit_code_by_key"] if meta.exists() else {}


def differences(folder: Path, module: str, names: list[str]) -> dict[str, str]:
    """What each mutant changes, as mutmut shows it (in one process: ``mutmut show`` takes a second each)."""
    code = (
        "import json, sys; from mutmut.mutation.diff_apply import get_diff_for_mutant as diff; "
        "names, path = json.load(sys.stdin); json.dump({name: diff(name, path=path) for name in names}, sys.stdout)"
    )
    words = json.dumps([names, f"abtest_lib/statistics/{module}.py"])
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, input=words, capture_output=True, text=True)  # noqa: S603
    return json.loads(done.stdout)


def is_wording(difference: str) -> bool:
    """Whether a mutant changes the words of a message and nothing else."""
    lines = [line for line in difference.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return len(lines) == 2 and len({WORDING.sub("''", line[1:]) for line in lines}) == 1


def forget_survivors(folder: Path, module: str) -> None:
    """Ask mutmut to try again what the last run left alive: tests may have been added."""
    meta = metadata(folder, module)
    if meta.exists():
        known = json.loads(meta.read_text())
        codes = known["exit_code_by_key"]
        known["exit_code_by_key"] = {name: code if code in KILLED else None for name, code in codes.items()}
        meta.write_text(json.dumps(known))


def run(folder: Path, module: str, processes: int) -> None:
    prepare(folder, module)
    forget_survivors(folder, module)
    (folder / "log.txt").write_text(mutmut(folder, "run", "--max-children", str(processes)))
    found = outcomes(folder, module)
    if not found or None in found.values():
        print(f"{module}: the run did not end; see {folder / 'log.txt'}")
        return
    shown = differences(folder, module, [name for name, code in found.items() if code not in KILLED | TIMEOUT])
    wording = [name for name, text in shown.items() if is_wording(text)]
    listed = [f"# {name}\n{text}" for name, text in shown.items() if name not in wording]
    (folder / "survivors.txt").write_text("\n".join(listed))
    mutants, alive = len(found) - len(wording), len(shown) - len(wording)
    killed = mutants - alive
    print(f"| {module} | {mutants} | {killed} | {alive} | {killed / mutants:.1%} | {len(wording)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "abtest-mutation")
    options = parser.parse_args()
    everything = sorted(path.stem for path in (ROOT / "abtest_lib/statistics").glob("*.py") if path.stem != "__init__")
    print("| module | mutants | killed | survived | score | wording |\n|---|---|---|---|---|---|")
    for module in options.modules or everything:
        folder = options.folder.resolve() / module
        folder.mkdir(parents=True, exist_ok=True)
        run(folder, module, options.processes)


if __name__ == "__main__":
    main()
