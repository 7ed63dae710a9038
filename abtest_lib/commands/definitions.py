"""Verbs about definitions: ``list`` and ``validate``."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from abtest_lib import definitions
from abtest_lib.commands.verb import FAILED, Verb
from abtest_lib.errors import DefinitionError


def _list(options: argparse.Namespace) -> int:
    status = 0
    for key in definitions.experiment_keys(options.experiments):
        try:
            e = definitions.load_experiment(options.experiments, key)
        except DefinitionError as error:
            print(f"{key:24} broken: {str(error).splitlines()[0]}")
            status = FAILED
        else:
            print(f"{key:24} enrols {e.starts_on} to {e.ends_on}, {_decides(e)}  {e.title}")
    return status


def _decides(experiment: definitions.Experiment) -> str:
    if experiment.looks == "horizon":
        return f"decides on {experiment.decides_on}"
    return f"looks from {experiment.first_look_on}, decides by {experiment.decides_on}"


def _validate(options: argparse.Namespace) -> int:
    problems: list[str] = []
    found: list[definitions.Experiment] = []
    keys = options.experiment or definitions.experiment_keys(options.experiments)
    if not keys:
        raise DefinitionError(f"{options.experiments}: holds no experiment; put one there, or give --experiments.")
    for key in keys:
        try:
            experiment = definitions.load_experiment(options.experiments, key)
        except DefinitionError as error:
            problems += [line for line in str(error).splitlines() if line not in problems]
        else:
            found.append(experiment)
            print(f"{key}: valid; {_decides(experiment)}")
    problems += _shared_layers(found, options.experiments)
    if not options.experiment:
        problems += _wrong_subscriptions(options.experiments)
    for problem in problems:
        print(problem, file=sys.stderr)
    return FAILED if problems else 0


def _add_experiments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", nargs="*", help="keys; all experiments if none is named")


def _shared_layers(experiments: Sequence[definitions.Experiment], folder: str) -> list[str]:
    """Experiments that enrol at the same time from the same part of a layer."""
    problems = []
    for other, one in itertools.combinations(experiments, 2):
        layers = [e.assignment.layer if e.assignment else None for e in (one, other)]
        if None in layers or layers[0].name != layers[1].name:
            continue
        start, end = max(layer.start for layer in layers), min(layer.end for layer in layers)
        if start < end and one.starts_on < other.ends_on and other.starts_on < one.ends_on:
            problems.append(
                f"{Path(folder) / one.key}.yaml: layer {layers[0].name} is taken from {start:g} to {end:g} by "
                f"{other.key} as well, which enrols at the same time; give them parts of the layer that do not overlap."
            )
    return problems


def _wrong_subscriptions(folder: str) -> list[str]:
    from abtest_lib.subscriptions import load_subscriptions

    try:
        found = load_subscriptions(folder)
    except DefinitionError as error:
        return str(error).splitlines()
    if found:
        print(f"subscriptions: valid; {len(found)} {'entry' if len(found) == 1 else 'entries'}")
    return []


LIST = Verb(
    "list",
    "list the experiments with their dates",
    "One line for each experiment of the folder: key, enrolment, when it decides, title.",
    "",
    lambda parser: None,
    _list,
)
VALIDATE = Verb(
    "validate",
    "check definitions, without a warehouse",
    "Reads sources.yaml, metrics.yaml and the experiments (all of them if none is named) and prints every problem "
    "as FILE:LINE: what is wrong and what it must be.",
    "one_page_checkout",
    _add_experiments,
    _validate,
)
