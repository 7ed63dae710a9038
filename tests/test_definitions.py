"""Definitions that are wrong: each gets its message at its line, all problems at once, and never a traceback."""

import datetime as dt
import json
import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml
from small_shop import KEY, Shop

from abtest_lib.definitions import experiment_from_json, experiment_keys, load_catalogue, load_experiment
from abtest_lib.errors import DefinitionError

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def problems_of(shop, key=KEY):
    """The lines of the error, without the folder."""
    with pytest.raises(DefinitionError) as caught:
        load_experiment(shop.definitions, key)
    return str(caught.value).replace(f"{shop.definitions}/", "").splitlines()


WRONG = [
    pytest.param(name, *case.values(), id=f"{name}-{title}")
    for name, cases in yaml.safe_load((Path(__file__).parent / "wrong_definitions.yaml").read_text("utf-8")).items()
    for title, case in cases.items()
]


@pytest.mark.parametrize(("name", "old", "new", "messages"), WRONG)
def test_wrong_definition_gets_its_message_at_its_line(shop, name, old, new, messages):
    shop.redefine(name, old, new)
    assert problems_of(shop) == messages


def test_all_problems_of_all_files_are_reported_at_once(shop):
    shop.redefine("sources", "alerts:", "alert:")
    shop.redefine("metrics", "better: lower", "better: less")
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 50\nprimry: x")
    shop.redefine(KEY, "starts_on: 2026-02-02", "starts_on: 2026-02-30")
    assert problems_of(shop) == [
        "metrics.yaml:8: latency_ms.better is 'less'; it must be one of higher, lower.",
        "sources.yaml:10: alert is not a known key; did you mean 'alerts'?",
        "checkout.yaml:4: starts_on is 2026-02-30, which is no valid value of its kind.",
        "checkout.yaml:9: smallest_effect is 50; it must be above 0 and below 10 (shares are fractions).",
        "checkout.yaml:10: primry is not a known key; did you mean 'primary'?",
    ]


@pytest.mark.parametrize(("text", "message"), [
    (b"", "checkout.yaml:1: must be a mapping of keys to values."),
    (b"# only a comment\n", "checkout.yaml:1: must be a mapping of keys to values."),
    (b"- title: list\n", "checkout.yaml:1: must be a mapping of keys to values."),
    (b"just a text", "checkout.yaml:1: must be a mapping of keys to values."),
    ("title: Größe".encode("latin-1"), "checkout.yaml: is not UTF-8; save it as UTF-8."),
    ("title: a".encode("utf-16"), "checkout.yaml: is not UTF-8; save it as UTF-8."),
    (b"#" * 1_000_001, "checkout.yaml: is larger than 1,000,000 bytes; a definition is a short text."),
    (b"[" * 50_000, "checkout.yaml: is nested or aliased too deeply; a definition is a short text."),
    (b"a: " + b"{a: " * 5_000, "checkout.yaml: is nested or aliased too deeply; a definition is a short text."),
    (b"- " * 5_000 + b"x", "checkout.yaml: is nested or aliased too deeply; a definition is a short text."),
    (b"? " * 2_000 + b"x", "checkout.yaml: is nested or aliased too deeply; a definition is a short text."),
    (b"a: &a [*a]\n", "checkout.yaml: is nested or aliased too deeply; a definition is a short text."),
    (b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c, *%c, *%c]\n" % (n, n, *[n - 1] * 4) for n in b"bcdefghijkl"),
     "checkout.yaml: is nested or aliased too deeply; a definition is a short text."),
], ids=["empty", "comment", "list", "text", "Latin-1", "UTF-16", "large", "deep", "deep mappings",
        "deep lists", "deep keys", "endless alias", "alias bomb",
        ])  # fmt: skip
def test_file_that_is_no_definition_gets_its_message(shop, text, message):
    (shop.definitions / "checkout.yaml").write_bytes(text)
    assert problems_of(shop) == [message]


def test_control_character_is_no_yaml(shop):
    (shop.definitions / "checkout.yaml").write_bytes(b"title: a\x00b\n")
    (problem,) = problems_of(shop)
    assert problem.startswith("checkout.yaml: is not valid YAML: unacceptable character #x0000")


def test_folder_in_place_of_a_file_gets_a_message(shop):
    (shop.definitions / "checkout.yaml").unlink()
    (shop.definitions / "checkout.yaml").mkdir()
    assert problems_of(shop) == ["checkout.yaml: cannot be read (Is a directory); it must be a file that you may read."]


@pytest.mark.parametrize("name", ["sources", "metrics"])
def test_missing_shared_file_is_named(shop, name):
    (shop.definitions / f"{name}.yaml").unlink()
    assert problems_of(shop) == [f"{name}.yaml: does not exist; create it."]


def test_unknown_experiment_gets_the_nearest_name(shop):
    assert problems_of(shop, "chekout") == [f"{shop.definitions}: no experiment 'chekout'; did you mean 'checkout'?"]


def test_unknown_experiment_without_a_near_name_gets_all_names(shop):
    assert problems_of(shop, "x") == [f"{shop.definitions}: no experiment 'x'; there are: checkout."]


def test_path_in_place_of_a_key_is_unknown(shop):
    assert "no experiment '../checkout'" in problems_of(shop, "../checkout")[0]


def test_missing_folder_names_the_setting(tmp_path):
    with pytest.raises(DefinitionError) as caught:
        experiment_keys(tmp_path / "gone")
    assert str(caught.value) == (
        f"{tmp_path}/gone: is not a folder; set ABTEST_EXPERIMENTS to the folder of the definitions."
    )


def test_yml_is_told_to_be_renamed(shop):
    (shop.definitions / "ranker.yml").write_text("title: x")
    assert experiment_keys(shop.definitions) == ["checkout", "ranker"]
    assert problems_of(shop, "ranker") == ["ranker.yml: ends in .yml; rename it to ranker.yaml."]


def test_file_name_that_is_no_key_is_told_so(shop):
    os.rename(shop.definitions / "checkout.yaml", shop.definitions / "Check-Out.yaml")
    assert problems_of(shop, "Check-Out") == [
        "Check-Out.yaml:1: 'Check-Out' is not a valid key; name the file with a-z, 0-9 and _, a letter first."
    ]


def test_broken_file_does_not_stop_the_others(shop):
    (shop.definitions / "broken.yaml").write_bytes(b"\xff")
    assert load_experiment(shop.definitions, KEY).key == KEY


def test_corrected_file_is_read_anew(shop):
    shop.redefine("metrics", "better: lower", "better: less")
    assert len(problems_of(shop)) == 1
    shop.redefine("metrics", "better: less", "better: lower")
    assert load_experiment(shop.definitions, KEY).metrics["latency_ms"].better == "lower"


def test_catalogue_alone_reports_its_problems(shop):
    shop.redefine("sources", "alerts:", "alert:")
    with pytest.raises(DefinitionError, match="alert is not a known key"):
        load_catalogue(shop.definitions)


def test_every_definition_of_the_repository_is_valid():
    keys = experiment_keys(EXPERIMENTS)
    assert [load_experiment(EXPERIMENTS, key).key for key in keys] == keys
    assert len(keys) == 8


def test_horizon_waits_for_the_longest_of_primary_and_guardrails_only(shop):
    assert shop.experiment.decides_on == dt.date(2026, 2, 8)
    shop.redefine("metrics", "value: amount_usd, window_days: 2", "value: amount_usd, window_days: 90")
    assert shop.experiment.decides_on == dt.date(2026, 2, 8)  # revenue is secondary
    shop.redefine("metrics", "nulls: drop, window_days: 2", "nulls: drop, delay_days: 3, window_days: 4")
    assert shop.experiment.decides_on == dt.date(2026, 2, 13)
    assert shop.experiment.planned_nights == 11


def test_defaults_are_those_of_the_documentation(shop):
    experiment = shop.experiment
    assert (experiment.alpha, experiment.team, experiment.loaded_within_hours) == (0.05, None, 24)
    conversion = experiment.metrics["conversion"]
    assert (conversion.delay_days, conversion.nulls, conversion.aggregate, conversion.where) == (0, "refuse", "sum", ())


def test_experiment_survives_its_own_json(shop):
    shop.redefine("metrics", "kind: proportion", "kind: proportion, where: {status: paid, gift: false, items: 2}")
    experiment = shop.experiment
    assert experiment_from_json(json.loads(json.dumps(experiment.as_json()))) == experiment


def test_json_of_another_version_is_told_so(shop):
    document = shop.experiment.as_json()
    del document["alpha"], document["weights"]
    with pytest.raises(ValueError, match="document lacks alpha, weights; it was written by another version"):
        experiment_from_json(document)


@pytest.mark.parametrize(("old", "new", "same"), [
    ("title: Shorter checkout", "title: Better checkout", True),
    ("owner: ana@example.com", "owner: bob@example.com", True),
    ("boss@example.com", "chief@example.com", True),
    ("smallest_effect: 0.05", "smallest_effect: 0.06", False),
    ("margin: 0.1", "margin: 0.2", False),
    ("ends_on: 2026-02-05", "ends_on: 2026-02-06", False),
])  # fmt: skip
def test_fingerprint_is_of_what_the_numbers_depend_on(shop, old, new, same):
    before = shop.experiment.sha256
    shop.redefine(KEY, old, new)
    assert (shop.experiment.sha256 == before) is same


def test_definition_cannot_be_changed_by_accident(shop):
    with pytest.raises(FrozenInstanceError):
        shop.experiment.alpha = 0.5
