"""``docs/results.schema.json`` is the published form of results.json."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from abtest_lib import definitions, pipeline, results
from abtest_lib.warehouse import connect

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = json.loads((ROOT / "docs" / "results.schema.json").read_text())


@pytest.fixture(scope="module")
def documents(demo_file, tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("results"), {}
    with connect(demo_file) as source:
        for key in definitions.experiment_keys(ROOT / "experiments"):
            experiment = definitions.load_experiment(ROOT / "experiments", key)
            as_of = min(experiment.decides_on, definitions.dt.date(2026, 3, 9))
            night = pipeline.run(experiment, as_of, source, folder)
            found[key] = results.read_json(night / "results.json")
    return found


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_night_of_the_demo_is_valid(documents):
    for key, document in documents.items():
        errors = [
            f"{key}: {e.json_path}: {e.message}" for e in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)
        ]
        assert errors == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("as_of"),
        lambda d: d.update(extra=1),
        lambda d: d["verdicts"][0].update(verdict="maybe"),
        lambda d: d["metrics"][0]["comparisons"][0].update(pvalue=1.5),
        lambda d: d["metrics"][0].update(star="*"),
        lambda d: d["metrics"][0]["comparisons"][0].update(relative_effect={"not_computed": "because nothing varies"}),
        lambda d: d.update(withheld="because"),
        lambda d: d["sample_ratio"].update(healthy=False),
    ],
)
def test_a_spoilt_document_is_not_valid(documents, spoil):
    document = copy.deepcopy(documents["one_page_checkout"])
    spoil(document)
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(document)
