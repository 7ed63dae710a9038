"""Nights in any order, several at once, or cut off by a kill: the store ends with the same files."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from small_shop import KEY, Shop, content

from abtest_lib import publishing, replay, results

# Enrolment ends on 8 February, the last window and lag three days later: the verdict changes on the last of these.
NIGHTS = [dt.date(2026, 2, 5) + dt.timedelta(days=number) for number in range(7)]
MORE_DAYS = """INSERT INTO load_log SELECT source, day::DATE, day + INTERVAL 27 HOUR
    FROM unnest(['assignments', 'purchases', 'page_loads']) AS s (source),
        range(TIMESTAMP '2026-02-08', TIMESTAMP '2026-02-12', INTERVAL 1 DAY) AS d (day)"""


@pytest.fixture
def long_shop(tmp_path):
    return shop_of(tmp_path / "shop")


@pytest.fixture(scope="module")
def in_order(tmp_path_factory):
    """All nights one after the other."""
    shop = shop_of(tmp_path_factory.mktemp("in_order"))
    for as_of in NIGHTS:
        shop.run(as_of)
    return shop


def shop_of(folder: Path) -> Shop:
    shop = Shop(folder)
    shop.redefine(KEY, "2026-02-05", "2026-02-08")
    shop.change(MORE_DAYS)
    return shop


def run_one(folder: Path, as_of: dt.date) -> None:
    shop = Shop.at(folder)
    shop.run(as_of)


def run_four_at_a_time(shop: Shop, nights: list[dt.date]) -> None:
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        for done in [processes.submit(run_one, shop.warehouse.parent, as_of) for as_of in nights]:
            done.result()


def published(shop: Shop) -> dict[str, bytes]:
    """Every file of the revisions that people see."""
    return {
        f"{as_of}/{name}": text
        for as_of in NIGHTS
        if (night := shop.current(as_of))
        for name, text in content(night).items()
    }


def test_nights_in_reverse_end_with_the_same_files(in_order, long_shop):
    for as_of in reversed(NIGHTS):
        long_shop.run(as_of)
    assert published(long_shop) == published(in_order)


def test_nights_four_at_a_time_end_with_the_same_files(in_order, long_shop):
    run_four_at_a_time(long_shop, NIGHTS)
    assert published(long_shop) == published(in_order)


def test_nights_redone_four_at_a_time_with_a_corrected_definition_end_like_those_redone_in_order(
    in_order, tmp_path, long_shop
):
    shutil.copytree(in_order.results, long_shop.results)
    other = shop_of(tmp_path / "other")
    shutil.copytree(in_order.results, other.results)
    for shop in (long_shop, other):
        shop.redefine(KEY, "margin: 0.1", "margin: 0.2")
    for as_of in NIGHTS:
        long_shop.run(as_of)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(other.run, NIGHTS[::-1]))
    assert all(other.current(as_of) != in_order.current(as_of) for as_of in NIGHTS)
    assert published(other) == published(long_shop)


def test_a_redone_night_changes_no_number_of_another_and_no_report_where_it_is_the_same(in_order):
    before = content(in_order.results)
    stamps = written_at(in_order)
    in_order.run(NIGHTS[3])
    assert content(in_order.results) == before
    assert {name for name, at in written_at(in_order).items() if at != stamps[name]} <= {
        name for name in stamps if str(NIGHTS[3]) in name
    }


def test_a_new_night_leaves_the_reports_before_it_alone(in_order, tmp_path):
    shop = shop_of(tmp_path / "shop")
    shutil.copytree(in_order.results, shop.results)
    shutil.rmtree(shop.results / KEY / str(NIGHTS[-1]))
    stamps = written_at(shop)
    shop.run(NIGHTS[-1])
    assert {name: at for name, at in written_at(shop).items() if str(NIGHTS[-1]) not in name} == stamps
    assert published(shop) == published(in_order)


@pytest.mark.parametrize("half_written", ["report.json", "tells_of.json"])
def test_what_a_kill_left_is_healed_by_the_next_night(in_order, tmp_path, monkeypatch, half_written):
    shop = shop_of(tmp_path / "shop")
    for as_of in NIGHTS[1:4]:
        shop.run(as_of)
    kill_while_writing(shop, NIGHTS[2], half_written, lambda: shop.run(NIGHTS[0]), monkeypatch)
    assert published(shop) != {name: text for name, text in published(in_order).items() if name[:10] < str(NIGHTS[4])}
    shop.run(NIGHTS[4])
    assert published(shop) == {name: text for name, text in published(in_order).items() if name[:10] <= str(NIGHTS[4])}


def test_a_replay_of_early_nights_brings_the_later_ones_up_to_date(in_order, tmp_path):
    store = shutil.copytree(in_order.results, tmp_path / "results")
    night = results.night_folder(store, KEY, NIGHTS[-1])
    told = results.read_json(night / publishing.TELLS_OF)
    results.write_json(night / publishing.TELLS_OF, told | {str(NIGHTS[0]): "another"})
    (night / "report.html").write_text("of another history")
    list(replay.rewrite(KEY, store, until=NIGHTS[1]))
    assert (night / "report.html").read_bytes() == (in_order.current(NIGHTS[-1]) / "report.html").read_bytes()


def test_an_old_night_whose_report_cannot_be_written_keeps_no_new_one_back(in_order, tmp_path, caplog):
    shop = shop_of(tmp_path / "shop")
    shutil.copytree(in_order.results, shop.results)
    document = results.read_json(shop.current(NIGHTS[1]) / "results.json")
    results.write_json(shop.current(NIGHTS[1]) / "results.json", document | {"stage": None, "metrics": [{}]})
    shop.redefine(KEY, "margin: 0.1", "margin: 0.2")
    shop.run(NIGHTS[0])
    assert f"{NIGHTS[1]}/{shop.current(NIGHTS[1]).name}: its report cannot be written again" in caplog.text


def written_at(shop: Shop) -> dict[str, int]:
    return {str(path.relative_to(shop.results)): path.stat().st_mtime_ns for path in shop.results.rglob("report.*")}


class Killed(BaseException):
    """As a kill does, it passes by every except clause."""


def kill_while_writing(shop: Shop, as_of: dt.date, name: str, work, monkeypatch) -> None:
    """Die when a file of a night is about to be written, as its later files never are."""
    write_bytes = results.write_bytes

    def write_or_die(path, content):
        if path.parent == shop.current(as_of) and path.name == name:
            raise Killed
        return write_bytes(path, content)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(results, "write_bytes", write_or_die)
        work()


def test_a_look_is_counted_once_however_often_nights_run_and_in_whatever_order(tmp_path):
    often, once = shop_of(tmp_path / "often"), shop_of(tmp_path / "once")
    for shop in (often, once):
        shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.05\nlooks: obrien_fleming\nminimum_days: 1")
    for as_of in (NIGHTS[4], NIGHTS[2], NIGHTS[4], NIGHTS[3], NIGHTS[2]):
        often.run(as_of)
    (metric,) = (
        m for m in results.read_json(once.run(NIGHTS[4]) / "results.json")["metrics"] if m["role"] == "primary"
    )
    assert metric["comparisons"][0]["looks"] > 1
    assert (often.current(NIGHTS[4]) / "results.json").read_bytes() == (
        once.current(NIGHTS[4]) / "results.json"
    ).read_bytes()
