"""The files of a night: all of them, the same bytes again, and what they say of a revision that they replace."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from abtest_lib import results as store
from abtest_lib.mail import Letter, SmtpServer, compose
from abtest_lib.report import render, view, write
from abtest_lib.report.files import delivery
from abtest_lib.report.spreadsheet import COLUMNS, numbers_csv
from tests.report.nights import night, printed, readable, with_treatments

FILES = {"report.json", "mail.html", "report.html", "report.txt", "report.md", "numbers.csv", "slack.json",
         "delivery.json"}  # fmt: skip
KEPT = {"results.json", "definition.json", "exposure.json", "moments.parquet"}


@pytest.fixture
def results_folder(tmp_path):
    """A night of two revisions' worth of files, as ``decide`` leaves them."""
    document, _ = night("ship")
    return tmp_path, document


def revision(folder, document, name="aaaa00000001", *, definition=None, moments=b"moments"):
    path = folder / document["experiment"]["key"] / document["as_of"] / name
    store.write_json(path / "results.json", document | {"revision": name})
    reads = {"starts_on": "2026-02-09", "metrics": {"conversion": {"window_days": 14}}, "smallest_effect": 0.02}
    store.write_json(path / "definition.json", reads | (definition or {}))
    store.write_json(path / "exposure.json", document["exposure"])
    store.write_bytes(path / "moments.parquet", moments)
    return path


def reported(path, history=()):
    write(path, store.read_json(path / "results.json"), list(history))
    store.point(path, store.CURRENT)
    return {file.name: file.read_bytes() for file in path.iterdir()}


def supersedes(path):
    return json.loads((path / "delivery.json").read_text("utf-8"))["supersedes"]


def test_report_writes_every_file_and_the_charts_that_it_names(results_folder):
    folder, document = results_folder
    _, history = night("ship")
    path = revision(folder, document)
    files = reported(path, history)
    delivery = json.loads(files["delivery.json"])
    pictures = {image["file"] for image in delivery["images"]}
    assert set(files) == FILES | KEPT | pictures
    for image in delivery["images"]:
        assert files[image["file"]].startswith(b"\x89PNG")
        assert image["alt"]
        assert f'"cid:{image["cid"]}"'.encode() in files["mail.html"]
    assert files["report.html"].count(b"data:image/png;base64,") == len(pictures)
    assert json.loads(files["report.json"]) == json.loads(json.dumps(view(document | {"revision": path.name}, history)))


def test_chart_that_is_drawn_no_more_is_taken_away(results_folder):
    folder, document = results_folder
    _, history = night("ship")
    path = revision(folder, document)
    assert "nights.png" in reported(path, history)
    assert "nights.png" not in reported(path)


def test_running_the_step_again_writes_the_same_bytes(results_folder):
    folder, document = results_folder
    first = revision(folder, document)
    assert reported(first) == reported(first)
    second = revision(folder, document, "bbbb00000002", moments=b"other")
    assert reported(second) == reported(second)
    assert supersedes(second)["revision"] == first.name


def test_first_report_of_a_night_replaces_none(results_folder):
    folder, document = results_folder
    path = revision(folder, document)
    reported(path)
    assert supersedes(path) is None
    assert "replaces" not in (path / "report.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"moments": b"other"}, "the data changed"),
        ({"definition": {"smallest_effect": 0.03}}, "the definition changed"),
        ({"definition": {"smallest_effect": 0.03}, "moments": b"other"}, "the definition and the data changed"),
        ({"definition": {"starts_on": "2026-02-10"}, "moments": b"other"}, "the definition changed"),
        ({}, "it was computed again"),
    ],
)
def test_report_says_which_report_of_the_night_it_replaces_and_why(results_folder, changes, because):
    folder, document = results_folder
    first = revision(folder, document)
    before = reported(first)
    second = revision(folder, document, "bbbb00000002", **changes)
    files = reported(second)
    assert supersedes(second) == {"revision": first.name, "because": because}
    for name in ("mail.html", "report.html", "report.txt", "report.md", "report.json", "slack.json"):
        text = " ".join(files[name].decode().split())
        assert f"This report replaces revision {first.name} of this night: {because}." in text, name
    assert {file.name: file.read_bytes() for file in first.iterdir()} == before


def test_new_version_of_the_library_is_said(results_folder):
    folder, document = results_folder
    reported(revision(folder, document))
    second = revision(folder, document | {"abtest_version": "0.2.0"}, "bbbb00000002")
    reported(second)
    assert supersedes(second)["because"] == "abtest 0.1.0 became 0.2.0"


def test_revision_that_comes_back_replaces_the_one_between(results_folder):
    folder, document = results_folder
    first, second = revision(folder, document), revision(folder, document, "bbbb00000002", moments=b"other")
    for path in (first, second, first):
        reported(path)
    assert supersedes(first)["revision"] == second.name


def test_current_revision_that_is_gone_is_not_named(results_folder):
    folder, document = results_folder
    first, second = revision(folder, document), revision(folder, document, "bbbb00000002", moments=b"other")
    reported(first)
    shutil.rmtree(first)
    reported(second)
    assert supersedes(second) is None


def test_thread_and_subject_stay_until_the_verdict_changes():
    results, history = night("look")
    nights = [*history, results]
    views = [view(one, nights[:number]) for number, one in enumerate(nights)]
    verdicts = [one["verdicts"][0]["verdict"] for one in nights]
    assert verdicts == ["keep_running", "keep_running", "ship", "ship", "ship"]
    assert [said["thread"][:10] for said in views] == ["2026-02-25"] * 2 + ["2026-03-02"] * 3
    assert len({said["thread"] for said in views}) == len({said["subject"] for said in views}) == 2
    assert [said["verdict_changed"] for said in views] == [False, False, True, False, False]
    for said in views:
        assert "2026" not in said["subject"]


def test_thread_of_several_treatments_changes_with_any_of_them():
    results, history = night("three_variants")
    before = view(results, history)
    again = results | {"as_of": "2026-03-10"}
    assert view(again, [*history, results])["thread"] == before["thread"]
    again["verdicts"] = [verdict | {"verdict": "keep_running", "until": "2026-03-20"} for verdict in again["verdicts"]]
    changed = view(again, [*history, results])
    assert changed["thread"].startswith("2026-03-10-") and changed["verdict_changed"]
    again["verdicts"] = [verdict | {"verdict": "do_not_ship", "until": None} for verdict in again["verdicts"]]
    assert view(again, [*history, results])["thread"] not in (before["thread"], changed["thread"])


def test_guardrail_alarm_is_for_harm_that_is_new():
    results, history = night("do_not_ship")
    assert not [entry for past in history for entry in past["guardrails"] for one in entry["comparisons"]
                if one.get("outcome") == "harmful"]  # fmt: skip
    assert view(results, history)["guardrail_alarm"] is True
    assert view(results, [])["guardrail_alarm"] is True
    tomorrow = results | {"as_of": "2026-03-10"}
    assert view(tomorrow, [*history, results])["guardrail_alarm"] is False
    assert view(*night("ship"))["guardrail_alarm"] is False


def rows_of(results):
    return list(csv.DictReader(numbers_csv(results).splitlines()))


def test_csv_has_every_number_of_every_comparison():
    results, _ = night("ship")
    rows = rows_of(results)
    assert tuple(rows[0]) == COLUMNS
    for section, entries in (
        ("primary", [entry for entry in results["metrics"] if entry["role"] == "primary"]),
        ("secondary", [entry for entry in results["metrics"] if entry["role"] == "secondary"]),
        ("guardrail", results["guardrails"]),
        ("segment", results["segments"]),
    ):
        for entry in entries:
            (one,) = entry["comparisons"]
            place = f"{entry['name']} = {entry['value']}" if section == "segment" else ""
            wanted = (section, entry["metric"], place)
            found = {row["quantity"]: row for row in rows if (row["section"], row["metric"], row["segment"]) == wanted}
            relative, effect = found["relative_effect"], found["effect"]
            assert [float(relative[name]) for name in ("value", "low", "high")] == [
                one["relative_effect"], *one["relative_interval"]]  # fmt: skip
            assert [float(effect[name]) for name in ("value", "low", "high")] == [
                one["effect"], *one["effect_interval"]]  # fmt: skip
            assert float(relative["confidence_level"]) == one["confidence_level"]
            assert float(relative["pvalue"]) == one["pvalue"]
            assert int(relative["n_treatment"]) == one["n_treatment"]
            for name in ("mean_control", "mean_treatment", "standard_error"):
                assert float(found[name]["value"]) == one[name]
    assert [float(row["value"]) for row in rows if row["quantity"] == "margin"] == [0.03, 0.05, 0.06]
    assert [row["value"] for row in rows if row["section"] == "heterogeneity"] == ["3.1", "2", "0.355"]


def test_csv_says_how_late_rows_came():
    results, _ = night("ship")
    late = {"source": "purchases", "lag_days": 1, "rows": 900, "late_share": 0.12, "enough_days": None,
            "p50_days": 0, "p95_days": None, "p99_days": None}  # fmt: skip
    results["exposure"]["delays"] = [late]
    found = {row["quantity"]: row["value"] for row in rows_of(results) if row["section"] == "delay"}
    assert found == {"rows": "900", "lag_days": "1", "late_share": "0.12", "enough_days": "",
                     "p50_days": "0", "p95_days": "", "p99_days": ""}  # fmt: skip


def test_csv_says_why_a_number_is_missing():
    results, _ = night("not_computed")
    missing = {row["not_computed"] for row in rows_of(results)} - {""}
    assert "all 148,611 treatment units lack a value of this metric" in missing
    assert any(reason.startswith("no unit of control bought anything") for reason in missing)


def test_csv_of_an_interim_night_has_no_pvalue_of_an_effect():
    final, _ = night("ship")
    results, _ = night("keep_running")
    results["metrics"], results["guardrails"] = final["metrics"], final["guardrails"]
    rows = [row for row in rows_of(results) if row["section"] in ("primary", "secondary", "guardrail", "segment")]
    assert rows
    assert not [row for row in rows if row["pvalue"] or row["pvalue_adjusted"] or row["pvalue_safe"]]
    assert {row["reading"] for row in rows} == {"", "interim", "not_yet"}


@pytest.mark.parametrize(
    "name", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "＝1", '=HYPERLINK("x","y")']
)
def test_spreadsheet_takes_no_name_for_a_formula(name):
    results, _ = night("ship")
    results["exposure"]["sources"][0]["source"] = name
    results["metrics"][0]["metric"] = results["segments"][0]["metric"] = name
    results["metrics"][0]["unit"] = name
    results["sample_ratio"] |= {key: {name: 1, "treatment": 1} for key in ("weights", "expected", "observed")}
    cells = [cell for row in rows_of(results) for cell in row.values()]
    assert sum(name.strip() in cell for cell in cells) > 5
    for cell in cells:
        assert not cell.startswith(("=", "+", "@", "\t", "\r", "＝"))
        assert not cell.startswith("-") or float(cell) < 0


def test_view_is_plain_json():
    results, history = night("ship")
    assert json.loads(json.dumps(view(results, history), allow_nan=False)) is not None
    assert printed(results, history).mail
    assert "+4.2%" in readable(results, history)["json"]


@pytest.mark.parametrize("treatments", [1, 2, 3, 5, 8])
def test_a_whole_message_stays_small_however_many_treatments_there_are(treatments):
    results, history = night("ship")
    results, history = with_treatments(results, treatments), [with_treatments(past, treatments) for past in history]
    said = view(results, history)
    rendered = render(said)
    about = delivery(said, rendered.mail)
    shown = {image["cid"]: rendered.images[image["cid"]] for image in about["images"]}
    letter = Letter(about["subject"], rendered.text, rendered.mail, images=tuple(shown.items()), topic="k", thread="t")
    message = compose(letter, SmtpServer("localhost"), "ana@example.com", about=Path("k", "2026-03-09"))
    assert len(message.as_bytes()) <= 150_000
    assert set(re.findall(r'src="cid:(\w+)"', rendered.mail)) == set(shown)
    assert list(rendered.images) == ["forest", "nights"]
    # A chart that had no room is named, and is in the page.
    assert rendered.mail.count("drawn in the full report") == 2 - len(shown)
    assert rendered.page.count("data:image/png") == 2
    assert treatments > 1 or len(shown) == 2
