"""What past nights would say today: exactly what running them then publishes, and until then nothing moves."""

import copy
import datetime as dt
import json
import multiprocessing
import shutil

import pytest
from small_shop import AS_OF, KEY, Shop, content

from abtest_lib import cli, preview, results
from abtest_lib.definitions import load_catalogue
from abtest_lib.warehouse import connect

NIGHTS = [AS_OF + dt.timedelta(days=number) for number in (-2, -1, 0)]
PREVIEW = f"{preview.FOLDER}/{KEY}.json"


@pytest.fixture(scope="module")
def three_nights(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("three_nights"))
    for as_of in NIGHTS:
        shop.run(as_of)
    return shop


@pytest.fixture
def shop(three_nights, tmp_path):
    return twin(three_nights, tmp_path / "shop")


def twin(shop, folder):
    """The same shop once more: definitions, warehouse and results."""
    other = copy.copy(shop)
    other.definitions = shutil.copytree(shop.definitions, folder / "experiments")
    other.results = shutil.copytree(shop.results, folder / "results")
    # The state belongs to a warehouse by its name, so both have the same one; a test that changes it has a copy.
    return other


def own_warehouse(shop, folder):
    folder.mkdir(exist_ok=True)
    shop.warehouse = shutil.copy(shop.warehouse, folder / "shop.duckdb")


def previewed(shop, since=None, until=None, accepted=()):
    metrics = load_catalogue(shop.definitions).metrics.values()
    days = preview.nights(shop.experiment, shop.results, since, until)
    with connect(shop.warehouse) as warehouse:
        return list(preview.preview(shop.experiment, days, warehouse, shop.results, metrics, accepted))


def written(shop, **options):
    found = previewed(shop, **options)
    return results.read_json(preview.write(shop.experiment, found, shop.results))


def run(shop, days=NIGHTS):
    """As a backfill does."""
    options = ["--as-of", str(days[-1]), "--since", str(days[0]), *shop.places]
    assert cli.main(["run", KEY, *options]) == 0


def correct(shop):
    """The corrected definition: a shorter window, and an effect that is too small to matter."""
    shop.redefine("metrics", "source: purchases, window_days: 2", "source: purchases, window_days: 1")
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.9")


def without_preview(store):
    return {name: found for name, found in content(store).items() if name != PREVIEW}


def test_nothing_changes_while_definition_and_data_are_the_same(shop):
    before = content(shop.results)
    found = previewed(shop)
    assert [(one.as_of, one.lines) for one in found] == [(day, [f"{day}: same"]) for day in NIGHTS]
    assert preview.sentence(found) == "0 of 3 verdicts would change"
    assert content(shop.results) == before


def test_a_preview_moves_nothing_that_is_published(shop):
    correct(shop)
    before, cost = content(shop.results), (shop.current().parent / "cost.jsonl").read_bytes()
    written(shop)
    assert without_preview(shop.results) == before
    assert (shop.current().parent / "cost.jsonl").read_bytes() == cost
    assert results.published_nights(shop.results, KEY) == NIGHTS


def test_the_nights_come_out_as_previewed_to_the_digit(shop, tmp_path):
    own_warehouse(shop, tmp_path)
    shop.change("UPDATE purchases SET amount_usd = amount_usd * 3 WHERE unit_id = 'u1'",
                "DELETE FROM purchases WHERE substr(unit_id, 2)::INTEGER % 20 = 3",
                "UPDATE load_log SET loaded_at = loaded_at + INTERVAL 1 HOUR")  # fmt: skip
    correct(shop)
    found = previewed(shop)
    published = {day: results.read_json(shop.current(day) / "results.json") for day in NIGHTS}
    assert any(one.changes for one in found)
    assert all(one.moved for one in found)
    run(shop)
    for one in found:
        night = results.read_json(shop.current(one.as_of) / "results.json")
        assert one.document == night
        assert one.previewed == shop.current(one.as_of).name
        changed = [(words["variant"], words["before"], words["after"]) for words in one.changes]
        pairs = zip(published[one.as_of]["verdicts"], night["verdicts"], strict=True)
        assert changed == [(old["variant"], old["verdict"], new["verdict"]) for old, new in pairs
                           if old["verdict"] != new["verdict"]]  # fmt: skip
    assert [one.lines for one in previewed(shop)] == [[f"{day}: same"] for day in NIGHTS]


def test_the_nights_are_the_same_as_without_a_preview(shop, tmp_path):
    other = twin(shop, tmp_path / "other")
    for one in (shop, other):
        correct(one)
    previewed(shop)
    run(shop)
    run(other)
    assert content(shop.results) == content(other.results)


def test_a_preview_of_a_definition_that_is_dropped_again_leaves_no_trace_in_later_nights(shop, tmp_path):
    other = twin(shop, tmp_path / "other")
    as_it_is = {name: (shop.definitions / f"{name}.yaml").read_text() for name in ("metrics", KEY, "sources")}
    correct(shop)
    shop.redefine(
        "sources", "page_loads: {table: page_loads, unit", "page_loads: {look_back_days: 5, table: page_loads, unit"
    )
    shop.redefine(
        "metrics",
        "value: latency_ms, aggregate: mean",
        "value: latency_ms, where: {latency_ms: 101.0}, aggregate: mean",
    )
    assert all(one.problem is None for one in previewed(shop))
    for name, text in as_it_is.items():
        (shop.definitions / f"{name}.yaml").write_text(text)
    for one in (shop, other):
        for as_of in NIGHTS:
            shutil.rmtree(one.results / KEY / str(as_of))
        run(one)
    assert content(shop.results) == content(other.results)


def test_document_has_what_the_page_shows(shop):
    correct(shop)
    document = written(shop)
    assert {name: document[name] for name in ("key", "definition_hash", "from", "to")} == {
        "key": KEY,
        "definition_hash": shop.experiment.sha256,
        "from": "2026-02-06",
        "to": "2026-02-08",
    }
    last = document["nights"][-1]
    assert (last["as_of"], last["published"], last["problem"]) == ("2026-02-08", shop.current().name, None)
    assert last["changes"] == [{"variant": "treatment", "before": "ship", "after": "do_not_ship"}]
    (primary,) = last["primary"]
    comparison = results.read_json(shop.current() / "results.json")["metrics"][0]["comparisons"][0]
    assert primary["before"] == [comparison["relative_effect"], *comparison["relative_interval"]]
    assert (primary["variant"], primary["metric"]) == ("treatment", "conversion")
    # The same preview again gives the same bytes.
    before = content(shop.results)
    written(shop)
    assert content(shop.results) == before


def test_lines_show_verdict_and_effect_before_and_after(shop):
    correct(shop)
    first, _, last = previewed(shop)
    assert first.lines[0].endswith(" values would change")
    assert first.lines[1].startswith("  treatment, conversion: +65.0% (+7.4% to +158.5%) -> +67.5% (")
    assert last.lines[1] == "  treatment: ship -> do_not_ship"
    assert len(first.lines) == len(last.lines) == 2


def test_a_title_alone_is_another_revision_with_the_same_values(shop):
    shop.redefine(KEY, "title: Shorter checkout", "title: One page")
    (*_, last) = previewed(shop)
    assert (last.moved, last.lines) == (0, [f"{AS_OF}: same, as another revision"])


def test_rows_that_a_night_did_not_know_do_not_change_it(shop, tmp_path):
    own_warehouse(shop, tmp_path)
    shop.change("INSERT INTO purchases SELECT 'u' || i, TIMESTAMP '2026-02-05 12:00', TIMESTAMP '2026-02-20 03:00', 20 "
                "FROM range(400) AS r (i)")  # fmt: skip
    assert [one.lines for one in previewed(shop)] == [[f"{day}: same"] for day in NIGHTS]


def test_a_split_that_is_found_broken_takes_the_effect_with_it(shop, tmp_path):
    own_warehouse(shop, tmp_path)
    shop.redefine(KEY, "treatment: 1}", "treatment: 3}")
    (*_, last) = previewed(shop)
    assert last.changes == ({"variant": "treatment", "before": "ship", "after": "invalid"},)
    assert last.primary[0]["after"] is None
    assert last.lines[2].endswith(" -> none")


def test_another_primary_metric_has_no_before(shop):
    shop.redefine(KEY, "primary: [conversion]", "primary: [revenue_per_user]")
    shop.redefine(KEY, "secondary: [revenue_per_user]", "secondary: [conversion]")
    (*_, last) = previewed(shop)
    assert [(one["metric"], one["before"] is None, one["after"] is None) for one in last.primary] == [
        ("conversion", False, True),
        ("revenue_per_user", True, False),
    ]


def test_nights_that_are_not_published_would_be_new(shop):
    shutil.rmtree(shop.results / KEY / str(NIGHTS[1]))
    found = previewed(shop, since=dt.date(2026, 1, 1), until=dt.date(2026, 3, 1))
    assert [(str(one.as_of), one.published is None) for one in found] == [
        ("2026-02-03", True), ("2026-02-04", True), ("2026-02-05", True), ("2026-02-06", False), ("2026-02-07", True),
        ("2026-02-08", False),
    ]  # fmt: skip
    assert found[4].changes == ({"variant": "treatment", "before": None, "after": "keep_running"},)
    assert preview.sentence(found) == "0 of 2 verdicts would change; 4 nights would be new"
    assert [one.as_of for one in previewed(shop)] == NIGHTS


def test_a_night_that_cannot_be_computed_stops_no_other(shop, tmp_path):
    own_warehouse(shop, tmp_path)
    shop.change("DELETE FROM load_log WHERE source = 'purchases' AND data_on = DATE '2026-02-07'")
    *_, first, second, last = found = previewed(shop)
    assert (first.problem, second.problem) == (None, None)
    assert last.problem.startswith("the data is not complete: purchases: 2026-02-07 is not in the load log")
    assert last.lines == [f"{AS_OF}: cannot be computed: {last.problem}"]
    assert (last.published, last.previewed, last.changes) == (shop.current().name, None, ())
    assert preview.sentence(found) == "0 of 2 verdicts would change; 1 night cannot be computed"
    assert (
        results.read_json(preview.write(shop.experiment, found, shop.results))["nights"][2]["problem"] == last.problem
    )


def test_published_nights_after_an_end_that_was_moved_back_are_named_and_stay(shop):
    shop.redefine(KEY, "ends_on: 2026-02-05", "ends_on: 2026-02-04")
    (*_, before, last) = previewed(shop)
    assert before.problem is None
    assert last.problem == (
        "it is no night by today's definition (its nights are 2026-02-03 to 2026-02-07); what is published stays"
    )


@pytest.mark.parametrize("damage", ["{}", "half", None])
def test_published_results_that_cannot_be_read_are_a_problem_of_their_night_alone(shop, damage):
    file = shop.current(NIGHTS[1]) / "results.json"
    file.unlink() if damage is None else file.write_text(damage)
    first, second, last = previewed(shop)
    assert (first.problem, last.problem) == (None, None)
    assert second.problem.startswith(f"what is published cannot be compared: {file}: ")


def test_accepting_an_unknown_source_is_told_once_before_any_work(shop):
    shop.warehouse = shop.definitions / "gone.duckdb"
    with pytest.raises(ValueError, match="'refunds' is no outcome source of it"):
        next(preview.preview(shop.experiment, NIGHTS, None, shop.results, (), ["refunds"]))


def test_range_without_a_night_is_refused_with_the_nights_there_are(shop):
    with pytest.raises(ValueError, match="no night from 2026-05-01 to 2026-05-03; its nights are 2026-02-03 to"):
        preview.nights(shop.experiment, shop.results, dt.date(2026, 5, 1), dt.date(2026, 5, 3))
    with pytest.raises(ValueError, match="no night from 2026-02-08 to 2026-02-07"):
        preview.nights(shop.experiment, shop.results, dt.date(2026, 2, 8), dt.date(2026, 2, 7))


def test_without_a_published_night_the_range_must_be_given(shop):
    shutil.rmtree(shop.results / KEY)
    with pytest.raises(FileNotFoundError, match="holds no published night of it; give --from and --to"):
        previewed(shop)
    with pytest.raises(FileNotFoundError, match="give --from and --to"):
        previewed(shop, since=NIGHTS[0])
    assert preview.sentence(previewed(shop, since=AS_OF, until=AS_OF)) == (
        "0 of 0 verdicts would change; 1 night would be new"
    )


def preview_at_once(shop, barrier):
    barrier.wait(timeout=60)
    written(shop)


def run_at_once(shop, barrier):
    barrier.wait(timeout=60)
    run(shop)


def test_previews_beside_the_nights_that_they_are_of(shop, tmp_path):
    other = twin(shop, tmp_path / "other")
    for one in (shop, other):
        correct(one)
        shutil.rmtree(one.results / "_state")
    run(other)
    start = multiprocessing.get_context("spawn")
    barrier = start.Barrier(3)
    jobs = [start.Process(target=job, args=(shop, barrier)) for job in (preview_at_once, run_at_once, preview_at_once)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(timeout=300)
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert without_preview(shop.results) == content(other.results)
    kept = json.loads((shop.results / PREVIEW).read_text())
    assert [(night["as_of"], night["problem"]) for night in kept["nights"]] == [(str(day), None) for day in NIGHTS]
    assert [one.lines for one in previewed(shop)] == [[f"{day}: same"] for day in NIGHTS]
