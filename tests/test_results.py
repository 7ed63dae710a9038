"""The store of results: whole files only, revisions beside each other."""

import datetime as dt
import fcntl
import json
import math
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from abtest_lib import results

AS_OF = dt.date(2026, 3, 9)


@pytest.fixture
def night(tmp_path):
    return tmp_path / "new_ranker" / "2026-03-09" / "3f2a"


def publish(folder, day, document, revision="3f2a"):
    night = folder / "new_ranker" / day / revision
    results.write_json(night / "results.json", document)
    return results.point(night, results.CURRENT)


def test_written_file_is_read_back_with_every_digit(tmp_path):
    value = {"effect": 0.1 + 0.2, "tiny": 5e-324, "name": "Größe", "none": None, "list": [1, True, -0.0]}
    path = results.write_json(tmp_path / "a" / "b" / "effect.json", value)
    assert results.read_json(path) == value
    assert math.copysign(1, results.read_json(path)["list"][2]) == -1


def test_keys_keep_their_order_and_text_its_letters(tmp_path):
    path = results.write_json(tmp_path / "a.json", {"b": "ü", "a": 1})
    assert path.read_text(encoding="utf-8") == '{\n "b": "ü",\n "a": 1\n}\n'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_that_is_not_finite_is_refused_and_the_old_file_stays(tmp_path, value):
    path = results.write_json(tmp_path / "a.json", {"effect": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.write_json(path, {"effect": value})
    assert results.read_json(path) == {"effect": 1.0}


def test_write_that_fails_leaves_no_half_file(tmp_path):
    (tmp_path / "a.json").mkdir()  # in the way of the last move
    with pytest.raises(OSError, match=r"a\.json"):
        results.write_bytes(tmp_path / "a.json", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_reader_sees_a_whole_file_while_it_is_replaced(tmp_path):
    path = results.write_bytes(tmp_path / "a", b"0" * 100_000)

    def write(digit):
        results.write_bytes(path, digit * 100_000)

    with ThreadPoolExecutor(2) as pool:
        writes = [pool.submit(write, digit) for digit in (b"1", b"2") * 20]
        seen = [path.read_bytes() for _ in range(100)]
        assert [future.result() for future in writes] == [None] * 40
    assert {len(content) for content in seen} == {100_000}
    assert all(len(set(content)) == 1 for content in seen)


def test_results_can_be_read_by_a_web_server(tmp_path):
    assert results.write_bytes(tmp_path / "a", b"").stat().st_mode & 0o777 == 0o644


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        results.read_json(tmp_path / "gone.json")


def test_revision_is_named_by_all_that_went_in():
    names = {results.revision_name(*parts) for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"abc", b""], [])}
    assert len(names) == 5
    assert all(len(name) == 12 and set(name) <= set("0123456789abcdef") for name in names)


def test_pointer_moves_from_one_revision_to_another(night):
    folder = night.parents[2]
    assert results.night_folder(folder, "new_ranker", AS_OF) is None
    results.point(night, results.CURRENT)
    assert results.night_folder(folder, "new_ranker", AS_OF) == night
    results.point(night.parent / "9b1c", results.CURRENT)
    assert results.night_folder(folder, "new_ranker", AS_OF) == night.parent / "9b1c"


def test_collected_and_current_are_two_pointers(night):
    folder = night.parents[2]
    results.point(night, results.COLLECTED)
    assert results.night_folder(folder, "new_ranker", AS_OF) is None
    assert results.night_folder(folder, "new_ranker", AS_OF, results.COLLECTED) == night


def test_history_holds_the_published_nights_before_in_order(tmp_path, night):
    for day in ("2026-03-08", "2026-02-27", "2026-03-10", "2026-03-09"):
        publish(tmp_path, day, {"as_of": day})
    assert [document["as_of"] for document in results.history(night)] == ["2026-02-27", "2026-03-08"]


def test_history_is_of_the_same_experiment_only(tmp_path, night):
    other = tmp_path / "old_ranker" / "2026-03-08" / "3f2a"
    results.write_json(other / "results.json", {})
    results.point(other, results.CURRENT)
    assert results.history(night) == []


def test_history_takes_the_current_revision_of_a_night(tmp_path, night):
    publish(tmp_path, "2026-03-08", {"revision": "old"}, "old")
    publish(tmp_path, "2026-03-08", {"revision": "new"}, "new")
    assert results.history(night) == [{"revision": "new"}]


def test_history_leaves_out_what_was_never_published_and_what_is_no_night(tmp_path, night):
    results.write_json(tmp_path / "new_ranker" / "2026-03-07" / "3f2a" / "results.json", {})
    (tmp_path / "new_ranker" / "2026-02-30").mkdir()
    (tmp_path / "new_ranker" / "abcd-ef-gh").mkdir()
    assert results.history(night) == []


def lines(night):
    return (night.parent / results.PUBLISHED).read_text().splitlines()


def test_each_change_of_the_current_revision_is_a_line_with_its_reason(night):
    other = night.with_name("77b0")
    results.publish(night)
    results.publish(night, "a rerun that changed nothing")
    results.publish(other, "refunds were\ncounted twice")
    results.publish(night, "they were not")
    assert results.publications(night.parent) == [
        {"revision": "3f2a", "replaces": None, "reason": None},
        {"revision": "77b0", "replaces": "3f2a", "reason": "refunds were counted twice"},
        {"revision": "3f2a", "replaces": "77b0", "reason": "they were not"},
    ]
    assert len(lines(night)) == 3


def test_publishing_that_was_killed_before_the_pointer_moved_is_finished_without_a_second_line(night, monkeypatch):
    results.publish(night)
    other = night.with_name("77b0")
    with monkeypatch.context() as killed:
        killed.setattr(results.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            results.publish(other, "repaired")
    assert results.night_folder(night.parents[2], "new_ranker", AS_OF) == night
    assert [line["revision"] for line in results.publications(night.parent)] == ["3f2a"]
    assert len(lines(night)) == 2
    results.publish(other, "repaired")
    assert [line["revision"] for line in results.publications(night.parent)] == ["3f2a", "77b0"]
    assert len(lines(night)) == 2


def test_publishing_that_was_killed_and_never_finished_is_not_listed(night):
    results.publish(night)
    with open(night.parent / results.PUBLISHED, "a") as file:
        file.write(json.dumps({"revision": "dead", "replaces": "3f2a", "reason": None}) + "\n")
    results.publish(night.with_name("77b0"))
    assert [line["revision"] for line in results.publications(night.parent)] == ["3f2a", "77b0"]


def test_line_that_a_full_disk_cut_off_spoils_no_other(night):
    results.publish(night)
    with open(night.parent / results.PUBLISHED, "a") as file:
        file.write('{"revision": "77')
    results.publish(night.with_name("77b0"), "again")
    assert [line["reason"] for line in results.publications(night.parent)] == [None, "again"]


def test_publishing_waits_for_another_that_is_publishing_the_same(night):
    results.publish(night)
    other = night.with_name("77b0")
    with open(night.parent / results.PUBLISHED, "a+b") as file, ThreadPoolExecutor(1) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = pool.submit(results.publish, other, "mine")
        time.sleep(0.5)  # in which it would write, if it did not wait
        file.write(json.dumps({"revision": "77b0", "replaces": "3f2a", "reason": "theirs"}).encode() + b"\n")
        file.flush()
        results.point(other, results.CURRENT)
        fcntl.flock(file, fcntl.LOCK_UN)
        waiting.result(timeout=60)
    assert [line["reason"] for line in results.publications(night.parent)] == [None, "theirs"]
    assert len(lines(night)) == 2


def publish_at_once(night, barrier):
    for number in range(20):
        barrier.wait(timeout=60)
        results.publish(night.with_name(f"{number:04d}"), "both")


def test_two_that_publish_the_same_at_once_write_one_line(night):
    start = multiprocessing.get_context("spawn")
    barrier = start.Barrier(2)
    both = [start.Process(target=publish_at_once, args=(night, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(timeout=120)
    assert [process.exitcode for process in both] == [0, 0]
    names = [line["revision"] for line in results.publications(night.parent)]
    assert (names, len(lines(night))) == ([f"{number:04d}" for number in range(20)], 20)
