"""Every public name of the statistics says what it answers, takes, returns, refuses, and where it comes from."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
import types

import pytest

from abtest_lib import statistics

SECTIONS = ("Parameters", "Returns", "Yields", "Raises", "Notes", "References", "Examples", "See Also")
SOURCE = re.compile(r"doi:10\.\d{4,}/\S+|https://\S+|ISBN[ -][\d-]{10,}|arXiv:\d{4}\.\d{4,5}")

# No method of statistics: nothing to cite but a definition, a check or a conversion. By name without its module.
NOTHING_TO_CITE = {
    "as_number": "conversion",
    "as_ratio": "conversion",
    "bin_numbers": "rounding of a logarithm",
    "counted_looks": "counts",
    "critical_value": "quantile of the normal or Student's distribution",
    "cumulative_log_odds": "distribution function of a log odds",
    "directed": "sign of an effect",
    "distance_from_margin": "subtraction",
    "draw_arms": "random draw",
    "error_budget_table": "layout",
    "floats": "conversion",
    "interval_ends": "opens one end",
    "log_odds_density": "density of a log odds",
    "log_odds_mean": "mean of a log odds",
    "log_odds_sd": "standard deviation of a log odds",
    "log_ratio": "logarithm",
    "margin_of_change": "multiplication",
    "merge_histograms": "sums",
    "mirrored": "sign",
    "one_sided_alpha": "division",
    "pick": "choice",
    "plain": "conversion",
    "power_of_each": "root of a probability",
    "proved_harmful": "comparison of a p-value and a level",
    "proved_safe": "comparison of a p-value and a level",
    "quadrature": "Gauss-Legendre rule on marks",
    "required_days": "division",
    "share_method": "name of a method",
    "smallest_reaching": "bisection",
    "square_root": "conversion",
    "tail_pvalue": "tail of the normal or Student's distribution",
    "together": "stacks arrays",
    "too_few": "reason",
    "treated_share": "multiplication",
    "unit_totals": "sums",
    "units_by_day": "sums",
    "with_ddof": "division",
    "without_variation": "reason",
}


def modules() -> list[types.ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(statistics.__path__))
    return [importlib.import_module(f"{statistics.__name__}.{name}") for name in names]


def public() -> dict[str, object]:
    """Functions and classes that a module of the statistics defines and does not keep to itself."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            of_module = getattr(value, "__module__", None) == module.__name__
            if of_module and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                found[f"{module.__name__.rpartition('.')[2]}.{name}"] = value
    return found


PUBLIC = public()
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
METHODS = {
    f"{name}.{attribute}": value
    for name, owner in CLASSES.items()
    for attribute, value in vars(owner).items()
    if not attribute.startswith("_") and isinstance(value, (classmethod, property, types.FunctionType))
}


def sections(name: str, value: object) -> dict[str, list[str]]:
    """Lines of each section of a docstring, those before the first one under ''."""
    text = inspect.getdoc(value)
    assert text, f"{name} has no docstring"
    lines, found, at = text.splitlines(), {"": []}, ""
    for line, under in zip(lines, [*lines[1:], ""], strict=True):
        if under and set(under) == {"-"} and len(under) == len(line):
            assert line in SECTIONS, f"{name}: section {line!r} is not one of numpydoc's"
            at = line
            found[at] = []
        elif not (line and set(line) == {"-"}):
            found[at].append(line)
    return found


def documented(name: str, value: object) -> list[str]:
    """Names in a docstring's Parameters, in order."""
    entries = [line for line in sections(name, value).get("Parameters", []) if line and not line.startswith(" ")]
    return [each.strip().lstrip("*") for line in entries for each in line.split(" : ")[0].split(",")]


def taken(value: object) -> list[str]:
    if inspect.isclass(value):
        if dataclasses.is_dataclass(value):
            return [field.name for field in dataclasses.fields(value)]
        return [name for name in inspect.signature(value).parameters if name != "self"]
    return list(inspect.signature(value).parameters)


@functools.cache
def refusals(function: types.FunctionType) -> bool:
    """Whether a ``raise ValueError`` is in a function or in one of this package that it calls."""
    return _refuses(function, set())


def _refuses(function: types.FunctionType, seen: set[object]) -> bool:
    if function in seen:
        return False
    seen.add(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc and "ValueError" in ast.unparse(node.exc):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = function.__globals__.get(node.func.id)
            ours = inspect.isfunction(called) and called.__module__.startswith(statistics.__name__)
            if ours and _refuses(called, seen):
                return True
    return False


@pytest.mark.parametrize("name", [*PUBLIC, *METHODS])
def test_first_line_says_in_a_sentence_which_question_is_answered(name):
    value = {**PUBLIC, **METHODS}[name]
    text = inspect.getdoc(value)
    assert text, f"{name} has no docstring"
    first, *rest = text.splitlines()
    assert re.match(r"[A-Z].*[.?]$", first) or "Error" in first, f"{name}: {first!r} is no sentence"
    assert not rest or rest[0] == "", f"{name}: the first line must stand alone"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_is_documented_under_its_name(name):
    value = PUBLIC[name]
    # Sorted: an entry may put together what the signature has apart.
    assert sorted(documented(name, value)) == sorted(taken(value))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_returns_is_documented(name):
    function = FUNCTIONS[name]
    returned = inspect.signature(function).return_annotation
    if returned in (None, "None"):
        assert "Returns" not in sections(name, function)
    else:
        assert "Returns" in sections(name, function), f"{name} returns {returned}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_refused_arguments_are_documented(name):
    raises = "\n".join(sections(name, FUNCTIONS[name]).get("Raises", []))
    if refusals(FUNCTIONS[name]):
        assert "ValueError" in raises, f"{name} can raise ValueError"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_an_example_that_runs(name):
    function = FUNCTIONS[name]
    assert doctest.DocTestParser().get_examples("\n".join(sections(name, function).get("Examples", [])))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_method_names_its_source(name):
    bare = name.partition(".")[2]
    if bare in NOTHING_TO_CITE or bare.startswith(("check_", "checked_")):
        return
    assert "References" in sections(name, FUNCTIONS[name]), f"{name} cites nothing and is not in NOTHING_TO_CITE"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_reference_can_be_looked_up(name):
    lines = sections(name, PUBLIC[name]).get("References", [])
    entries = re.split(r"^\.\. \[\d+\] ", "\n".join(lines), flags=re.MULTILINE)[1:]
    assert "References" not in sections(name, PUBLIC[name]) or entries
    for entry in entries:
        assert SOURCE.search(entry), f"{name}: no DOI, ISBN or address in {entry!r}"
