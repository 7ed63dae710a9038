"""What the examples in docstrings and the tests share: the demo's warehouse, and one night of it."""

import datetime as dt
from pathlib import Path

import hypothesis
import pytest

from abtest_lib import definitions, pipeline, results
from abtest_lib.report.readable import readable
from abtest_lib.warehouse import connect
from demo import warehouse as demo_warehouse
from demo.receivers import MailReceiver, SlackReceiver

# The same examples on every machine: a run that fails can be repeated, and one that passed stays passed.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")

# One browser, one mailbox, mail and Slack for the tests of every folder.
pytest_plugins = ("tests.browser.fixtures", "tests.receivers")

EXPERIMENTS = Path(__file__).parent / "experiments"
NIGHTLY = (
    "archive",
    "pipeline",
    "collection",
    "completeness",
    "delivery",
    "mail",
    "digest_delivery",
    "sign_off",
    "deadlines",
    "decision",
    "readings",
    "cohorts",
    "cells",
    "caps",
    "day_counts",
    "source_watch",
    "maturity",
    "limits",
    "totals",
    "verify",
    "replay",
    "preview",
    "by_hand",
    "publishing",
    "outlook",
    "plan",
    "slack_calls",
    "slack_posts",
)


@pytest.fixture(scope="session")
def demo_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("warehouse") / "demo.duckdb"
    demo_warehouse.build(path)
    return path


@pytest.fixture(scope="session")
def checkout_night(demo_file, tmp_path_factory):
    """The last night of one_page_checkout: its folder in a store of results."""
    experiment = definitions.load_experiment(EXPERIMENTS, "one_page_checkout")
    with connect(demo_file) as source:
        return pipeline.run(experiment, experiment.decides_on, source, tmp_path_factory.mktemp("results"))


@pytest.fixture(autouse=True)
def _examples(request, doctest_namespace, tmp_path, monkeypatch):
    """Names that examples use without introducing them."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    monkeypatch.chdir(EXPERIMENTS.parent)
    module = Path(request.node.dtest.filename)
    if module.stem in NIGHTLY:
        yield from _night_names(request, doctest_namespace, tmp_path)
    else:
        if module.parent.name in ("report", "pages"):
            doctest_namespace.update(_report_names(request.getfixturevalue("checkout_night")))
        yield


def _report_names(night):
    document = results.read_json(night / "results.json")
    return {"night": night, "document": document, "tonight": readable(document)}


def _night_names(request, names, tmp_path):
    night = request.getfixturevalue("checkout_night")
    with (
        connect(request.getfixturevalue("demo_file")) as source,
        MailReceiver(tmp_path / "mail") as mail,
        SlackReceiver(tmp_path / "slack") as chat,
    ):
        import pyarrow.parquet

        names.update(
            night=night,
            experiment=pipeline.definition(night),
            moments=pyarrow.parquet.ParquetFile(night / "moments.parquet").read().to_pylist(),
            warehouse=source,
            experiments_folder=EXPERIMENTS,
            results_folder=tmp_path,
            mail=mail,
            chat=chat,
            dt=dt,
        )
        yield
