"""A night is a function of definition, data and date; it is published whole or not at all."""

import datetime as dt
import json
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from small_shop import AS_OF, KEY, Shop, content, run_together

from abtest_lib import cli, definitions, pipeline, readings, results
from abtest_lib.errors import DataError
from abtest_lib.warehouse import connect
from demo import warehouse as demo_warehouse

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
LATE_PURCHASE = """INSERT INTO purchases
    SELECT unit_id, exposed_at + INTERVAL 6 HOUR, TIMESTAMP '{loaded_at}', 30 FROM exposures WHERE unit_id = 'u198'"""
REPORTS = ("report.html", "mail.html", "report.json", "report.txt", "report.md", "numbers.csv", "slack.json",
           "delivery.json", "tells_of.json")  # fmt: skip
CHARTS = ("forest.png", "nights.png")  # the second from the second night on


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture(scope="module")
def demo_nights(demo_file, tmp_path_factory):
    """The last night of every experiment of the demo."""
    folder, nights = tmp_path_factory.mktemp("demo_nights"), {}
    with connect(demo_file) as source:
        for key in definitions.experiment_keys(EXPERIMENTS):
            experiment = definitions.load_experiment(EXPERIMENTS, key)
            as_of = min(experiment.decides_on, demo_warehouse.AS_OF)
            nights[key] = pipeline.run(experiment, as_of, source, folder)
    return nights


def abtest(shop, *arguments, **environment):
    """Run the command line in a process of its own."""
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "abtest_lib.cli", *arguments],
        env={**os.environ, **shop.environment, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_good_night_ships_with_all_its_files(shop):
    night = shop.run()
    (verdict,) = results.read_json(night / "results.json")["verdicts"]
    assert (verdict["verdict"], [reason["code"] for reason in verdict["reasons"]]) == (
        "ship", ["primary_better", "guardrails_safe"])  # fmt: skip
    assert set(content(night)) == {
        "definition.json", "exposure.json", "moments.parquet", "sample_ratio.json", "significance.json",
        "segments.json", "guardrails.json", "results.json", "forest.png", *REPORTS,
    }  # fmt: skip


def test_same_night_twice_is_the_same_revision_with_the_same_bytes(shop):
    first = shop.run()
    before = content(shop.results)
    assert shop.run() == first
    assert content(shop.results) == before


def test_same_night_in_two_places_has_the_same_bytes(tmp_path):
    one, other = Shop(tmp_path / "one"), Shop(tmp_path / "other")
    one.run()
    other.run()
    assert content(one.results) == content(other.results)


def test_rows_of_a_later_night_do_not_change_an_earlier_one(shop):
    first = shop.run()
    before = content(first)
    # Loaded a second after the load log declared the night's last source complete.
    shop.change(LATE_PURCHASE.format(loaded_at="2026-02-08 03:00:01"))
    assert shop.run() == first
    assert content(first) == before


def test_restated_rows_make_a_new_revision_beside_the_old_one(shop):
    first = shop.run()
    before = content(first)
    shop.change(
        LATE_PURCHASE.format(loaded_at="2026-02-08 02:00:00"),
        # The loader says that it has put the day right.
        "INSERT INTO load_log SELECT 'purchases', occurred_at::DATE, TIMESTAMP '2026-02-09 04:00' FROM purchases "
        "WHERE loaded_at = TIMESTAMP '2026-02-08 02:00:00'",
    )
    second = shop.run()
    assert second != first
    assert second.parent == first.parent
    assert content(first) == before
    assert shop.current() == second


def test_changed_definition_makes_a_new_revision(shop):
    first = shop.run()
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.9")
    second = shop.run()
    assert second != first
    assert results.read_json(second / "results.json")["verdicts"][0]["reasons"][0]["code"] == "effect_too_small"


def test_steps_read_the_definition_of_the_night_and_not_that_of_today(shop):
    night = shop.collect()
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.9")
    for step in pipeline.STEPS[1:]:
        getattr(pipeline, step)(night)
    assert results.read_json(night / "results.json")["verdicts"][0]["verdict"] == "ship"


def test_current_moves_only_when_the_report_is_written(shop):
    old = shop.run()
    shop.change(LATE_PURCHASE.format(loaded_at="2026-02-08 02:00:00"))
    new = shop.collect()
    for step in pipeline.STEPS[1:-1]:
        getattr(pipeline, step)(new)
        assert shop.current() == old
    pipeline.report(new)
    assert shop.current() == new


@pytest.mark.parametrize("done", range(1, len(pipeline.STEPS)))
def test_night_that_died_between_two_steps_leaves_the_old_one_and_is_completed_by_a_rerun(shop, done):
    old = shop.run()
    before = content(old)
    shop.change(LATE_PURCHASE.format(loaded_at="2026-02-08 02:00:00"))
    dead = shop.collect()
    for step in pipeline.STEPS[1:done]:
        getattr(pipeline, step)(dead)
    assert shop.current() == old
    assert content(old) == before
    assert shop.run() == dead == shop.current()
    assert set(content(dead)) == set(before)
    assert content(old) == before


def test_file_that_was_cut_off_while_it_was_written_is_never_read(shop):
    night = shop.run()
    before = content(night)
    (night / ".results.json.x7f3").write_bytes(b'{"verdicts": [{"verdict": "sh')
    shop.run()
    after = content(night)
    del after[".results.json.x7f3"]
    assert after == before


@pytest.mark.parametrize("step", pipeline.STEPS[1:])
def test_step_out_of_turn_names_the_file_that_is_missing(tmp_path, step):
    night = tmp_path / KEY / str(AS_OF) / "0c8f6e2b9d41"
    with pytest.raises(FileNotFoundError) as caught:
        getattr(pipeline, step)(night)
    assert str(night) in str(caught.value)


def test_two_processes_may_run_the_same_night_at_once(tmp_path):
    shop, alone = Shop(tmp_path / "together"), Shop(tmp_path / "alone")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=run_together, args=(tmp_path / "together", barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for as_of in (dt.date(2026, 2, 6), dt.date(2026, 2, 7), AS_OF):
        alone.run(as_of)
    assert content(shop.results) == content(alone.results)


def test_run_equals_its_steps_through_the_command_line_byte_for_byte(tmp_path, capsys):
    whole, stepwise = Shop(tmp_path / "whole"), Shop(tmp_path / "stepwise")
    assert cli.main(["run", KEY, "--as-of", str(AS_OF), *whole.places]) == 0
    for verb in pipeline.STEPS:
        assert cli.main([verb, KEY, "--as-of", str(AS_OF), *stepwise.places]) == 0
    assert content(stepwise.results) == content(whole.results)
    assert capsys.readouterr().err == ""


def test_other_time_zone_locale_and_hash_seed_give_the_same_bytes(tmp_path):
    here, there = Shop(tmp_path / "here"), Shop(tmp_path / "there")
    here.run()
    abtest(there, "run", KEY, "--as-of", str(AS_OF), TZ="Pacific/Auckland", LC_ALL="C", PYTHONHASHSEED="7")
    assert content(there.results) == content(here.results)


def test_no_module_of_the_night_reads_the_clock():
    # A mail and a signature have their date, and files that no night uses go after a day; no number knows the time.
    package = Path(pipeline.__file__).parent
    reads = re.compile(r"\bnow\(|\btoday\(|time\.time|utcnow|localtime", re.IGNORECASE)
    guilty = [path.name for path in sorted(package.rglob("*.py")) if reads.search(path.read_text(encoding="utf-8"))]
    assert guilty == ["mail.py", "sign_off.py", "store.py"]


def test_reordered_definition_files_do_not_change_the_numbers(tmp_path):
    one, other = Shop(tmp_path / "one"), Shop(tmp_path / "other")
    text = (other.definitions / "metrics.yaml").read_text(encoding="utf-8")
    conversion, rest = text.split("revenue_per_user:")
    (other.definitions / "metrics.yaml").write_text(f"revenue_per_user:{rest}{conversion}", encoding="utf-8")
    assert one.run().name == other.run().name


def test_history_feeds_the_report_and_not_the_results(tmp_path):
    with_past, without = Shop(tmp_path / "with"), Shop(tmp_path / "without")
    with_past.run(dt.date(2026, 2, 6))
    with_past.run(dt.date(2026, 2, 7))
    one, other = with_past.run(), without.run()
    changed = {name for name, file in content(one).items() if file != content(other).get(name)}
    assert one.name == other.name
    assert changed <= {*REPORTS, *CHARTS}
    assert changed


def test_night_of_an_earlier_date_does_not_see_a_later_one(tmp_path):
    backfilled, alone = Shop(tmp_path / "backfilled"), Shop(tmp_path / "alone")
    backfilled.run()
    assert content(backfilled.run(dt.date(2026, 2, 7))) == content(alone.run(dt.date(2026, 2, 7)))


def test_interim_night_says_until_when_to_wait(shop):
    (verdict,) = results.read_json(shop.run(dt.date(2026, 2, 7)) / "results.json")["verdicts"]
    assert (verdict["verdict"], verdict["until"]) == ("keep_running", "2026-02-08")


def test_night_without_a_mature_unit_is_interim_and_computes_nothing(shop):
    document = results.read_json(shop.run(dt.date(2026, 2, 4)) / "results.json")
    assert document["verdicts"][0]["verdict"] == "keep_running"
    assert [set(one) for metric in document["metrics"] for one in metric["comparisons"]] == [
        {"variant", "not_computed"}
    ] * 2


def test_few_units_of_whom_one_crossed_over_are_no_reason_for_invalid(shop):
    # Two units a variant on the first night that has any; without the crossover one variant has a single unit.
    shop.change(
        "DELETE FROM exposures WHERE unit_id NOT IN ('u0', 'u1', 'u6', 'u7')",
        "INSERT INTO exposures SELECT experiment_id, unit_id, 'treatment', exposed_at + INTERVAL 1 HOUR, "
        "loaded_at + INTERVAL 1 HOUR FROM exposures WHERE unit_id = 'u0'",
    )
    (verdict,) = results.read_json(shop.run(dt.date(2026, 2, 6)) / "results.json")["verdicts"]
    assert (verdict["verdict"], verdict["reasons"][0]["code"]) == ("keep_running", "immature")


def test_withheld_steps_write_nothing(shop):
    shop.change("DELETE FROM exposures WHERE variant = 'treatment' AND substr(unit_id, 2)::INTEGER > 200")
    night = shop.collect()
    pipeline.sample_ratio(night)
    for step in (pipeline.significance, pipeline.segments, pipeline.guardrails):
        with pytest.raises(pipeline.Withheld, match="checkout, 2026-02-08: withheld, because units did not fall"):
            step(night)
    pipeline.decide(night)
    document = results.read_json(night / "results.json")
    assert (document["metrics"], document["guardrails"], document["segments"]) == ([], [], [])
    assert not {"significance.json", "segments.json", "guardrails.json"} & set(content(night))


def test_every_verdict_of_the_demo_is_the_true_one(demo_nights):
    found = {
        key: {one["variant"]: (one["verdict"], one["reasons"][0]["code"]) for one in document["verdicts"]}
        for key, document in ((key, results.read_json(night / "results.json")) for key, night in demo_nights.items())
    }
    assert found == {key: dict(truth) for key, truth in demo_warehouse.TRUTH.items()}


def keys_of(value):
    if isinstance(value, dict):
        return set(value) | {key for below in value.values() for key in keys_of(below)}
    return {key for below in value for key in keys_of(below)} if isinstance(value, list) else set()


def test_broken_split_shows_no_effect_in_any_channel(demo_nights, demo_file, tmp_path):
    night = demo_nights["push_prompt"]
    document = results.read_json(night / "results.json")
    effects = {"effect", "relative_effect", "effect_interval", "relative_interval", "mean_control", "mean_treatment",
               "pvalue_adjusted", "comparisons"}  # fmt: skip
    assert not effects & keys_of(document)
    # The same night as if the split were whole: none of its numbers may stand in what was published.
    assert printed_effects(night) == set()


def test_search_for_effects_finds_those_of_a_healthy_night(demo_nights):
    assert printed_effects(demo_nights["onboarding_tips"]) >= {"results.json", "report.html", "report.txt", "report.md"}


def printed_effects(night):
    """The files of a night in which a mean, an effect or a bound of its first primary metric stands."""
    experiment, moments = pipeline.definition(night), pyarrow.parquet.read_table(night / "moments.parquet").to_pylist()
    metric = readings.significance(experiment, pipeline.as_of(night), moments)["metrics"][0]
    numbers = _as_printed(metric["comparisons"][0])
    pattern = re.compile(rf"(?<![\d.])({'|'.join(re.escape(number) for number in sorted(numbers))})")
    files = (*REPORTS, "results.json")
    return {name for name in files if pattern.search((night / name).read_text(encoding="utf-8"))}


def _as_printed(comparison):
    """With at least 3 digits, so that no date or count matches."""
    single = [comparison[name] for name in ("mean_control", "mean_treatment", "effect", "relative_effect")]
    values = [*single, *comparison["effect_interval"], *comparison["relative_interval"]]
    printed = {f"{abs(v):.{digits}f}" for v in values for digits in (3, 4, 5)}
    printed |= {f"{100 * abs(v):.{digits}f}" for v in values for digits in (1, 2, 3)}
    return {text for text in printed if len(text.replace(".", "").lstrip("0")) >= 3}


def test_results_hold_no_number_that_is_not_finite(demo_nights):
    def refuse(word):
        raise AssertionError(f"{word} in results.json")

    for night in demo_nights.values():
        json.loads((night / "results.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_no_temporary_file_is_left_behind(demo_nights):
    assert [name for night in demo_nights.values() for name in content(night.parent) if "/." in f"/{name}"] == []


@pytest.mark.parametrize("as_of", [dt.date(2026, 2, 2), dt.date(2026, 1, 20)])
def test_a_night_before_the_first_one_is_refused_at_once_and_the_first_one_named(shop, as_of):
    with connect(shop.warehouse) as source, pytest.raises(DataError) as refused:
        pipeline.outcomes_ready(shop.experiment, as_of, source, shop.results)
    assert str(refused.value) == (
        f"checkout, {as_of}: is before the first night. starts_on is 2026-02-02, so its first night is as of "
        "2026-02-03, with the data of 2026-02-02. Ask for later nights, or correct it."
    )


def test_a_night_before_the_first_exposure_says_that_there_is_none_yet(shop):
    shop.change("UPDATE exposures SET exposed_at = exposed_at + INTERVAL 1 DAY, loaded_at = loaded_at + INTERVAL 1 DAY")
    with pytest.raises(DataError, match=r"has no exposures of 'checkout' before this night; check that the experiment"):
        shop.run(dt.date(2026, 2, 3))
    assert shop.run(dt.date(2026, 2, 4)).is_dir()


def test_an_end_moved_back_makes_later_nights_final_readings_and_keeps_what_was_published(shop):
    shop.redefine("checkout", "ends_on: 2026-02-05", "ends_on: 2026-02-06")
    shop.run(dt.date(2026, 2, 7))
    before = shop.run(AS_OF)
    assert results.read_json(before / "results.json")["stage"] == "interim"
    shop.redefine("checkout", "ends_on: 2026-02-06", "ends_on: 2026-02-04")  # now decided on the 7th
    kept = content(before)
    again = shop.run(AS_OF)
    document = results.read_json(again / "results.json")
    assert (document["stage"], document["experiment"]["decides_on"]) == ("final", "2026-02-07")
    assert (again != before, content(before)) == (True, kept)
    assert f"replaces revision {before.name} of this night: the definition" in " ".join(
        (again / "report.txt").read_text().split()
    )
