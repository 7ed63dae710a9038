"""A past night again, from what it kept: the same to the digit, or what moved, and never half of each."""

import copy
import datetime as dt
import json
import multiprocessing
import random
import shutil
import time

import pyarrow
import pyarrow.parquet
import pytest
from small_shop import AS_OF, KEY, Shop, content

from abtest_lib import cells, cli, cohorts, pipeline, readings, replay, results

NIGHTS = [AS_OF + dt.timedelta(days=number) for number in range(-1, 2)]


@pytest.fixture(scope="module")
def three_nights(tmp_path_factory):
    """A shop of which three nights were run, and whose warehouse is gone."""
    shop = Shop(tmp_path_factory.mktemp("three_nights"))
    shop.change("INSERT INTO load_log SELECT source, DATE '2026-02-08', TIMESTAMP '2026-02-09 03:00:00' "
                "FROM (SELECT DISTINCT source FROM load_log)")  # fmt: skip
    for as_of in NIGHTS:
        shop.run(as_of)
    shop.warehouse.unlink()
    return shop


@pytest.fixture
def shop(three_nights, tmp_path):
    shop = copy.copy(three_nights)
    shop.results = shutil.copytree(three_nights.results, tmp_path / "results")
    return shop


def replayed(shop, **options):
    return list(replay.replay(KEY, shop.results, **options))


def rewritten(shop, **options):
    return list(replay.rewrite(KEY, shop.results, **options))


def edit(night, name, change):
    document = results.read_json(night / f"{name}.json")
    change(document)
    results.write_json(night / f"{name}.json", document)


def publish_another_number(shop, as_of=AS_OF):
    """As if the published number came from a version with a fault in it."""
    night = shop.current(as_of)
    edit(night, "results", lambda document: document["metrics"][0]["comparisons"][0].update(relative_effect=0.25))
    return night


def test_nights_are_the_same_to_the_digit_without_a_warehouse(shop):
    before = content(shop.results)
    assert [(one.as_of, one.moved, one.problem) for one in replayed(shop)] == [(day, (), "") for day in NIGHTS]
    assert content(shop.results) == before


def test_a_changed_digit_is_named(shop):
    night = shop.current()
    edit(night, "results", lambda document: document["guardrails"][0]["comparisons"][0].update(n_control=199))
    publish_another_number(shop)
    (_, one, _) = replayed(shop)
    assert one.moved == ("metrics[0].comparisons[0].relative_effect", "guardrails[0].comparisons[0].n_control")
    assert (
        one.line == f"{AS_OF}: moved: metrics[0].comparisons[0].relative_effect, guardrails[0].comparisons[0].n_control"
    )


def test_only_the_first_places_are_shown():
    one = replay.Replayed(AS_OF, tuple(f"metrics[{number}]" for number in range(7)))
    assert one.line == (
        f"{AS_OF}: moved: metrics[0], metrics[1], metrics[2], metrics[3], metrics[4] and 2 more"
    )  # fmt: skip


def test_the_name_of_the_version_alone_is_no_move(shop):
    edit(shop.current(), "results", lambda document: document.update(abtest_version="0.0.9"))
    assert not any(one.moved for one in replayed(shop))


@pytest.mark.parametrize(("one", "other", "places"), [
    ({"a": 1}, {"a": 1.0}, ["a"]),
    ({"a": 0.1}, {"a": 0.1 + 1e-18}, []),
    ({"a": 0.1}, {"a": 0.30000000000000004 - 0.2}, ["a"]),
    ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, ["a.b[1].c"]),
    ({"a": [1, 2]}, {"a": [1]}, ["a"]),
    ({"a": {"b": 1}}, {"a": {"c": 1}}, ["a.b", "a.c"]),
    ({"a": True}, {"a": 1}, ["a"]),
    ({"a": None}, {"a": {"not_computed": "x"}}, ["a"]),
])  # fmt: skip
def test_differences_are_of_digits_and_of_shape(one, other, places):
    assert list(replay.differences(one, other)) == places


def test_range_of_nights_includes_both_ends(shop):
    assert [one.as_of for one in replayed(shop, since=NIGHTS[1])] == NIGHTS[1:]
    assert [one.as_of for one in replayed(shop, until=NIGHTS[1])] == NIGHTS[:2]
    assert [one.as_of for one in replayed(shop, since=NIGHTS[1], until=NIGHTS[1])] == NIGHTS[1:2]


def test_collected_night_without_a_report_is_named_and_left_alone(shop):
    (shop.current().parent / results.CURRENT).unlink()
    before = content(shop.results)
    lines = [one.line for one in replayed(shop)]
    assert lines[1] == f"{AS_OF}: was collected, but has no report yet; run the steps after collect"
    assert rewritten(shop, since=AS_OF, until=AS_OF)[0].problem
    assert content(shop.results) == before


def test_night_of_an_unknown_definition_is_a_problem_and_the_others_go_on(shop):
    edit(shop.current(), "definition", lambda document: document.pop("alpha"))
    first, second, third = replayed(shop)
    assert (first.problem, third.problem) == ("", "")
    assert second.line.startswith(f"{AS_OF}: cannot be computed from what was kept: document lacks alpha")
    before = content(shop.results / KEY / AS_OF.isoformat())
    assert [bool(one.problem) for one in rewritten(shop)] == [False, True, False]
    assert content(shop.results / KEY / AS_OF.isoformat()) == before


def test_rewriting_unmoved_nights_gives_the_same_bytes(shop):
    before = content(shop.results)
    assert [one.written for one in rewritten(shop)] == [shop.current(day) for day in NIGHTS]
    assert content(shop.results) == before


def test_rewriting_gives_a_damaged_report_back(shop):
    before = content(shop.results)
    (shop.current() / "mail.html").write_text("half a mail")
    (shop.current() / "forest.png").unlink()
    rewritten(shop)
    assert content(shop.results) == before


def test_night_with_a_broken_split_is_replayed_without_effects(shop):
    night = shop.current()
    edit(night, "exposure", lambda document: document.update(units={"control": 320, "treatment": 80}))
    (_, one, _) = rewritten(shop)
    assert "verdicts[0].verdict" in one.moved
    assert results.read_json(one.written / "results.json")["metrics"] == []
    assert not (one.written / "significance.json").exists()
    assert "not valid" in (one.written / "report.txt").read_text()


def test_moved_night_is_published_beside_the_old_one_and_says_so(shop):
    old = publish_another_number(shop)
    before = content(old)
    (_, one, _) = rewritten(shop)
    assert one.moved == ("metrics[0].comparisons[0].relative_effect",)
    assert one.written == shop.current() != old
    assert content(old) == before
    assert results.read_json(one.written / "results.json")["revision"] == one.written.name
    assert results.night_folder(shop.results, KEY, AS_OF, results.COLLECTED) == one.written
    supersedes = {"revision": old.name, "because": "it was computed again"}
    assert results.read_json(one.written / "delivery.json")["supersedes"] == supersedes
    assert f"replaces revision {old.name}" in (one.written / "report.txt").read_text()
    assert not any(one.moved for one in replayed(shop))


def test_moved_night_keeps_the_reason(shop):
    old = publish_another_number(shop)
    (_, one, _) = rewritten(shop, reason="the fault in relative effects is mended")
    assert results.publications(old.parent) == [
        {"revision": old.name, "replaces": None, "reason": None},
        {"revision": one.written.name, "replaces": old.name, "reason": "the fault in relative effects is mended"},
    ]
    assert len(results.publications(shop.current(NIGHTS[0]).parent)) == 1


def test_new_revision_of_another_version_says_which(shop):
    old = publish_another_number(shop)
    edit(old, "results", lambda document: document.update(abtest_version="0.0.9"))
    (_, one, _) = rewritten(shop)
    because = results.read_json(one.written / "delivery.json")["supersedes"]["because"]
    assert because.startswith("abtest 0.0.9 became ")


def test_later_nights_tell_of_the_number_as_it_is_now(shop):
    text = (shop.current(NIGHTS[2]) / "report.json").read_bytes()
    publish_another_number(shop)
    pipeline.report(shop.current(NIGHTS[2]))
    assert (shop.current(NIGHTS[2]) / "report.json").read_bytes() != text
    rewritten(shop)
    assert (shop.current(NIGHTS[2]) / "report.json").read_bytes() == text


def test_newer_collection_stays_the_collected_one(shop):
    publish_another_number(shop)
    newer = shop.current().parent / "0123456789ab"
    results.point(newer, results.COLLECTED)
    rewritten(shop)
    assert results.night_folder(shop.results, KEY, AS_OF, results.COLLECTED) == newer


def test_what_was_sent_is_not_touched(shop):
    ledger = shop.current().parent / "outbox"
    results.write_json(ledger / "claim.json", {"sent": True})
    before = content(ledger)
    publish_another_number(shop)
    rewritten(shop)
    assert content(ledger) == before


def test_rewriting_killed_at_any_moment_leaves_whole_nights(shop):
    """Whatever is current then is whole, and the last run ends where one run ends."""
    publish_another_number(shop)
    old = shop.current()
    dice, forked = random.Random(20260208), multiprocessing.get_context("fork")  # noqa: S311
    for _ in range(6):
        process = forked.Process(target=rewritten, args=(shop,))
        process.start()
        time.sleep(dice.uniform(0.02, 0.5))
        process.kill()
        process.join()
        for as_of in NIGHTS:
            night = shop.current(as_of)
            document = results.read_json(night / "results.json")
            assert document["revision"] == night.name
            assert results.read_json(night / "report.json")["as_of"] == str(as_of)
            assert (night / "report.html").read_text().rstrip().endswith("</html>")
    rewritten(shop)
    assert shop.current() != old
    assert not any(one.moved for one in replayed(shop))


def test_command_line_compares_and_writes(shop, capsys):
    places = shop.places[2:4]
    assert cli.main(["replay", KEY, *places]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{KEY}, {day}: the same to the digit" for day in NIGHTS]
    publish_another_number(shop)
    assert cli.main(["replay", KEY, "--from", str(AS_OF), *places]) == 1
    assert (
        capsys.readouterr().out.splitlines()[0] == f"{KEY}, {AS_OF}: moved: metrics[0].comparisons[0].relative_effect"
    )
    assert cli.main(["replay", KEY, "--write", "--to", str(AS_OF), *places]) == 0
    assert str(shop.current()) in capsys.readouterr().out
    assert cli.main(["replay", KEY, *places]) == 0


def test_unknown_experiment_is_refused_with_the_nearest_name(shop, capsys):
    assert cli.main(["replay", "chekout", *shop.places[:4]]) == 1
    error = f"abtest: {shop.definitions}: no experiment 'chekout'; did you mean 'checkout'?\n"
    assert capsys.readouterr().err == error


def test_experiment_without_a_night_is_refused(shop, capsys):
    empty = shop.results.parent / "empty"
    assert cli.main(["replay", KEY, "--experiments", str(shop.definitions), "--results", str(empty)]) == 1
    assert capsys.readouterr().err == f"abtest: {KEY}: {empty} holds no night of it; run one first.\n"


def row(variant, exposed_on, n, mean, m2, **more):
    return {"metric": "conversion", "variant": variant, "crossover": False, "exposed_on": exposed_on, "segment": None,
            "value": None, "units": n, "null_rows": 0, "n": n, "mean": mean, "m2": m2, **more}  # fmt: skip


def parquet(path, rows):
    names = dict.fromkeys(name for one in rows for name in one)
    pyarrow.parquet.write_table(pyarrow.table({name: [one.get(name) for one in rows] for name in names}), path)
    return cells.read_cells(path)


def test_days_of_a_horizon_are_added_up_by_hand(shop, tmp_path):
    """1, 2 and 3, 4, 8 in control: n 5, mean 18/5, squared deviations 94 - 18 * 18 / 5 = 29.2."""
    first, second = dt.date(2026, 2, 2), dt.date(2026, 2, 3)
    rows = [row("control", first, 2, 1.5, 0.5), row("control", second, 3, 5.0, 14.0),
            row("treatment", first, 1, 7.0, 0.0), row("treatment", second, 0, 0.0, 0.0)]  # fmt: skip
    control, treatment = cells.whole_rows(parquet(tmp_path / "moments.parquet", rows), shop.experiment)
    assert (control["variant"], control["n"], control["mean"]) == ("control", 5, 3.6)
    assert control["m2"] == pytest.approx(29.2, rel=1e-15)
    assert (treatment["variant"], treatment["n"], treatment["mean"], treatment["m2"]) == ("treatment", 1, 7.0, 0.0)
    assert "exposed_on" not in control


def test_cells_of_a_covariate_are_added_up_by_hand(shop, tmp_path):
    """Outcomes 1, 3, 5 with covariates 2, 2, 8: means 3 and 4, squared 8 and 24, products -2·-2 + 0·-2 + 2·4 = 12."""
    day, known = dt.date(2026, 2, 2), {"covariate_known": True}
    rows = [
        row("control", day, 2, 2.0, 2.0, **known, covariate_mean=2.0, covariate_m2=0.0, comoment=0.0),
        row("control", dt.date(2026, 2, 3), 1, 5.0, 0.0, **known, covariate_mean=8.0, covariate_m2=0.0, comoment=0.0),
        row("control", day, 4, 9.0, 1.0, covariate_known=False),
    ]
    found = cells.whole_rows(parquet(tmp_path / "moments.parquet", rows), shop.experiment)
    (with_one,) = [one for one in found if one["covariate_known"]]
    (without,) = [one for one in found if not one["covariate_known"]]
    numbers = [with_one[name] for name in ("n", "mean", "m2", "covariate_mean", "covariate_m2", "comoment")]
    assert numbers == pytest.approx([3, 3.0, 8.0, 4.0, 24.0, 12.0], rel=1e-15)
    assert (without["n"], without["mean"], "covariate_mean" in without) == (4, 9.0, False)


def test_order_of_the_rows_changes_no_bit(shop, tmp_path):
    dice = random.Random(7)  # noqa: S311
    days = [dt.date(2026, 2, 2) + dt.timedelta(days=number) for number in range(40)]
    rows = [row(variant, day, dice.randint(1, 9), dice.gauss(0, 1e6), dice.expovariate(1))
            for variant in ("control", "treatment") for day in days]  # fmt: skip
    expected = None
    for _ in range(5):
        dice.shuffle(rows)
        found = cells.whole_rows(parquet(tmp_path / "moments.parquet", rows), shop.experiment)
        found = sorted(found, key=lambda one: one["variant"])
        expected = expected or found
        assert found == expected


def test_added_up_rows_read_like_all_rows(shop):
    night = shop.current()
    experiment, rows = pipeline.definition(night), pyarrow.parquet.read_table(night / "moments.parquet").to_pylist()
    found = cells.read_cells(night / "moments.parquet")
    assert len(cells.whole_rows(found, experiment)) < len(cohorts.whole(rows))
    for one, other in (
        (readings.significance(experiment, AS_OF, cells.whole_rows(found, experiment)),
         readings.significance(experiment, AS_OF, rows)),
        (readings.segments(experiment, AS_OF, cells.segment_rows(found, experiment)),
         readings.segments(experiment, AS_OF, rows)),
    ):  # fmt: skip
        assert rounded(one) == rounded(other)


def rounded(value):
    return json.loads(json.dumps(value), parse_float=lambda digits: float(f"{float(digits):.12g}"))


def test_segment_value_that_only_another_metric_has_counts_in_the_family(shop, tmp_path):
    day, inside = dt.date(2026, 2, 2), {"segment": "customers.platform"}
    rows = [row(variant, day, 9, 0.5, 2.25, **inside) | {"value": "ios"} for variant in ("control", "treatment")]
    rows += [row("control", day, 9, 0.5, 2.25, **inside) | {"value": "web", "metric": "latency_ms"}]
    found = cells.segment_rows(parquet(tmp_path / "moments.parquet", rows), shop.experiment)
    by_value = {one["value"]: one for one in readings.segments(shop.experiment, AS_OF, found)}
    assert list(by_value) == ["ios", "web"]
    assert by_value["ios"]["comparisons"][0]["family_size"] == 2
    assert "not_computed" in by_value["web"]["comparisons"][0]


def test_night_without_any_mature_unit_has_no_rows(shop, tmp_path):
    found = parquet(tmp_path / "moments.parquet", [])
    assert cells.whole_rows(found, shop.experiment) == cells.segment_rows(found, shop.experiment) == []
