"""What the pages about experiments say, as plain data and as HTML, of nights that were really run."""

import datetime as dt
import json
import shutil

import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib import failures, preview, results, sign_off
from abtest_lib.pages import comparison, fleet, nights, places, previews, store
from abtest_lib.report.formats import print_html

EVE = AS_OF - dt.timedelta(days=1)
DAG = f"abtest__{KEY}"
SPLIT = "UPDATE exposures SET variant = 'treatment' WHERE substr(unit_id, 2)::INTEGER % 3 = 0"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The last two nights of an experiment of the team payments; the last has two revisions."""
    shop = Shop(tmp_path_factory.mktemp("finished"))
    shop.redefine(KEY, "owner: ana@example.com", "owner: ana@example.com\nteam: payments")
    for night in (EVE, AS_OF):
        shop.run(night)
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.9")
    shop.run(AS_OF)
    return shop


@pytest.fixture
def shop(finished, tmp_path):
    """A copy of it."""
    return finished.copy(tmp_path / "shop")


@pytest.fixture
def broken_split(tmp_path):
    """One night before the units of a variant were lost, one after."""
    shop = Shop(tmp_path / "broken")
    shop.run(EVE)
    shutil.rmtree(shop.results / "_state", ignore_errors=True)
    shop.change(SPLIT)
    shutil.rmtree(shop.results / KEY / "state", ignore_errors=True)
    shop.run(AS_OF)
    return shop


def listed(shop, **asked):
    return fleet.view(shop.definitions, shop.results, **{"allowed": [DAG], **asked})


def the_row(shop, **asked):
    (section,) = listed(shop, **asked)["sections"]
    (row,) = section["rows"]
    return section["key"], row


def printed(template, view):
    return print_html(f"pages/{template}.html.j2", view | {"base": "", "target": "_top"})


def test_list_says_verdict_health_and_night(shop):
    section, row = the_row(shop)
    assert section == "decided"
    assert (row["title"], row["team"], row["owner"]) == ("Shorter checkout", "payments", "ana@example.com")
    assert [(one["sign"], one["word"]) for one in row["verdicts"]] == [("✖", "DO NOT SHIP")]
    assert (row["health"]["word"], row["night"], row["next"]) == ("healthy", "8 Feb 2026", "")
    assert row["changed"] == "was KEEP RUNNING on 7 Feb 2026"
    assert row["links"] == {
        "nights": "/abtest/dags/abtest__checkout",
        "report": "/abtest/dags/abtest__checkout/nights/2026-02-08",
        "dag": "/dags/abtest__checkout",
    }


def test_list_of_an_earlier_night_says_what_was_known_then(shop):
    section, row = the_row(shop, as_of=EVE)
    assert section == "running"
    assert [(one["word"], one["until"]) for one in row["verdicts"]] == [("KEEP RUNNING", "until 8 Feb 2026")]
    assert row["next"] == "decides on 8 Feb 2026"


@pytest.mark.parametrize(
    ("as_of", "section", "word", "text"),
    [
        ("2026-02-02", "planned", "not started", "Its first day is 2 Feb 2026."),
        ("2026-02-06", "trouble", "LATE", "No report of the night of 6 Feb 2026; there is none yet."),
        ("2026-02-09", "ended", "ended", "Its last night was 8 Feb 2026."),
    ],
)
def test_list_says_what_is_not_there(shop, as_of, section, word, text):
    found, row = the_row(shop, as_of=dt.date.fromisoformat(as_of))
    assert (found, row["health"]["word"], row["health"]["text"]) == (section, word, text)


def test_late_night_keeps_the_last_verdict(shop):
    shutil.rmtree(shop.results / KEY / str(AS_OF))
    section, row = the_row(shop, as_of=AS_OF)
    assert (section, row["health"]["word"]) == ("trouble", "LATE")
    assert row["health"]["text"] == "No report of the night of 8 Feb 2026; the newest is of 7 Feb 2026."
    assert [one["word"] for one in row["verdicts"]] == ["KEEP RUNNING"]


def test_failed_night_names_task_and_reason(shop):
    failures.record(shop.results, KEY, AS_OF, "collect", "checkout: table 'purchases' does not exist.")
    section, row = the_row(shop)
    assert (section, row["health"]["word"]) == ("trouble", "FAILED")
    assert row["health"]["text"] == "night of 8 Feb 2026: collect: checkout: table 'purchases' does not exist."


def test_report_that_was_not_delivered_is_no_failed_analysis(shop):
    failures.record(shop.results, KEY, AS_OF, "deliver_email", "no connection")
    assert the_row(shop)[1]["health"]["word"] == "NOT DELIVERED"


def test_held_night_is_told_from_a_failed_one(shop):
    path = failures.record(shop.results, KEY, AS_OF, "outcomes_ready", "waits for purchases")
    results.write_json(path, results.read_json(path) | {"held": True})
    assert the_row(shop)[1]["health"]["word"] == "HELD"


def test_waiting_night_says_for_what_since_and_until_when(shop):
    night = shop.results / KEY / "2026-02-09"
    waits = {"since": "2026-02-09T00:05:11+00:00", "until": "2026-02-10T00:05:11+00:00",
             "sources": [{"source": "purchases", "reason": "no rows of 2026-02-08"}]}  # fmt: skip
    results.write_json(night / "waiting.json", waits)
    section, row = the_row(shop)
    assert (section, row["health"]["word"]) == ("trouble", "WAITING")
    assert row["health"]["text"] == (
        "night of 9 Feb 2026: purchases (no rows of 2026-02-08), since 2026-02-09 00:05, until 2026-02-10 00:05 UTC"
    )


def test_verdict_that_is_to_be_signed_says_who_has(shop):
    path = shop.current() / "definition.json"
    results.write_json(path, results.read_json(path) | {"sign_off": ["lead@example.com"]})
    assert the_row(shop)[1]["signed"] == "not signed yet"
    sign_off.sign(shop.current(), "approved", "lead@example.com")
    assert the_row(shop)[1]["signed"].startswith("approved by lead@example.com on ")
    said = nights.view(shop.definitions, shop.results, KEY)
    assert "approved by lead@example.com on " in printed("nights", said)
    (shop.current() / sign_off.FILE).write_text("{}")
    assert "signature cannot be read" in the_row(shop)[1]["signed"]


def test_broken_definition_names_file_and_line(shop):
    shop.redefine(KEY, "ends_on", "end_on")
    section, row = the_row(shop)
    assert (section, row["health"]["word"]) == ("trouble", "BROKEN DEFINITION")
    assert row["health"]["text"].startswith("checkout.yaml:")
    assert (row["title"], row["team"]) == ("Shorter checkout", "payments")


def test_experiment_whose_file_is_gone_is_ended(shop):
    (shop.definitions / f"{KEY}.yaml").unlink()
    section, row = the_row(shop)
    assert (section, row["title"], row["health"]["text"]) == ("ended", "Shorter checkout", "Its definition is gone.")


def test_results_of_another_version_are_a_failure_and_not_a_crash(shop):
    path = shop.current() / "results.json"
    path.write_text('{"as_of": "2026-02-08"}')
    section, row = the_row(shop)
    assert (section, row["health"]["word"]) == ("trouble", "FAILED")
    assert "results.json cannot be read (KeyError: 'experiment')" in row["health"]["text"]
    path.write_text('{"as_of": "2026-02-08", "experiment": {"title": "x"}, "verdicts": []}')
    assert the_row(shop)[1]["health"]["word"] == "FAILED"


def test_list_shows_only_what_is_allowed_and_of_the_team(shop):
    assert listed(shop, allowed=[])["sections"] == []
    assert listed(shop, team="search")["sections"] == []
    assert the_row(shop, team="payments")[1]["key"] == KEY


def test_most_urgent_comes_first(shop):
    for number, key in enumerate(("late_one", "fine")):
        shutil.copytree(shop.results / KEY, shop.results / key)
        (shop.definitions / f"{key}.yaml").write_text((shop.definitions / f"{KEY}.yaml").read_text())
        if number == 0:
            shutil.rmtree(shop.results / key / str(AS_OF))
    allowed = [places.dag_id(key) for key in (KEY, "late_one", "fine")]
    said = [(section["key"], [row["key"] for row in section["rows"]])
            for section in listed(shop, allowed=allowed)["sections"]]  # fmt: skip
    assert said == [("decided", [KEY, "fine"]), ("trouble", ["late_one"])]
    failures.record(shop.results, "fine", AS_OF, "collect", "no table")
    (_, trouble) = listed(shop, allowed=allowed)["sections"]
    assert [row["health"]["word"] for row in trouble["rows"]] == ["FAILED", "LATE"]


def test_failed_sample_ratio_is_named_and_no_effect_is_on_any_page(broken_split):
    section, row = the_row(broken_split)
    assert section == "invalid"
    assert row["health"] == {
        "sign": "⚠", "word": "sample ratio failed", "tone": "warn", "text": "Effects are withheld."
    }  # fmt: skip
    said = comparison.view(broken_split.results, KEY, (EVE, None), (AS_OF, None))
    assert said["withheld"] == "Effects of 8 Feb 2026 are withheld: the sample ratio failed."
    assert {(one["after"]["word"], one["after"]["text"]) for one in said["effects"]} == {("withheld", "")}
    assert all("%" in one["before"]["text"] for one in said["effects"])
    assert [one["word"] for one in said["ratio"]] == ["healthy", "mismatch"]


def test_nights_name_every_revision_with_its_verdict(shop):
    said = nights.view(shop.definitions, shop.results, KEY)
    assert [row["day"] for row in said["nights"]] == ["8 Feb 2026", "7 Feb 2026"]
    last = said["nights"][0]
    assert [one["word"] for one in last["verdicts"]] == ["DO NOT SHIP"]
    current, other = last["revisions"]
    assert (current["current"], current["revision"]) == (True, shop.current().name)
    assert current["state"] == f"current, replaces {other['revision']}"
    assert (other["state"], [one["word"] for one in other["verdicts"]]) == ("replaced", ["SHIP"])
    assert [file["name"] for file in current["files"]] == ["report.html", "results.json", "report.md", "numbers.csv"]
    assert len(said["choices"]) == 3


def test_reason_of_a_revision_is_shown(shop):
    lines = results.publications(shop.results / KEY / str(AS_OF))
    lines[-1]["reason"] = "margin agreed with <b>finance</b>"
    path = shop.results / KEY / str(AS_OF) / results.PUBLISHED
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = nights.view(shop.definitions, shop.results, KEY)
    assert said["nights"][0]["revisions"][0]["reason"] == "margin agreed with <b>finance</b>"
    assert "with &lt;b&gt;finance" in printed("nights", said)


def test_experiment_without_a_night_says_so(shop):
    shutil.rmtree(shop.results / KEY)
    said = nights.view(shop.definitions, shop.results, KEY)
    assert (said["title"], said["nights"]) == ("Shorter checkout", [])
    assert "No night has left anything" in printed("nights", said)
    with pytest.raises(store.NotThere, match="no experiment 'nothing'"):
        nights.view(shop.definitions, shop.results, "nothing")


def test_two_revisions_differ_in_verdict_reason_and_definition(shop):
    first, last = (line["revision"] for line in results.publications(shop.results / KEY / str(AS_OF)))
    said = comparison.view(shop.results, KEY, (AS_OF, first), (AS_OF, last))
    (verdict,) = said["verdicts"]
    assert (verdict["before"]["word"], verdict["after"]["word"], verdict["changed"]) == ("SHIP", "DO NOT SHIP", True)
    assert said["definition"] == [{"place": "smallest_effect", "before": "0.05", "after": "0.9"}]
    assert [one["code"] for one in said["gained"]] == ["effect_too_small"]
    assert "primary_better" in [one["code"] for one in said["lost"]]
    assert {one["changed"] for one in said["effects"]} == {False}
    assert [(one["before"], one["after"], one["change"]) for one in said["units"]] == [("200", "200", "±0")] * 2


def test_two_nights_show_effect_and_interval_of_each(shop):
    said = comparison.view(shop.results, KEY, (EVE, None), (AS_OF, None))
    roles = [(one["title"], one["role"]) for one in said["effects"]]
    assert roles == [("Conversion", "primary"), ("Revenue", "secondary"), ("Latency", "guardrail")]
    document = results.read_json(shop.current() / "results.json")
    effect = document["metrics"][0]["comparisons"][0]["relative_effect"]
    assert said["effects"][0]["after"]["text"].startswith(f"+{100 * effect:.1f}% (95% interval ")
    assert [one["before"]["word"] for one in said["effects"]] == ["interim", "interim", "not yet shown safe"]
    before = results.read_json(shop.current(EVE) / "results.json")["metrics"][0]["comparisons"][0]["relative_effect"]
    assert said["effects"][0]["move"].endswith(" percentage points")
    moved = float(said["effects"][0]["move"].split()[0].replace("−", "-"))
    assert moved == pytest.approx(100 * (effect - before), abs=0.06)
    assert said["effects"][0]["move"] in printed("comparison", said)


def test_a_night_compared_with_itself_differs_in_nothing(shop):
    said = comparison.view(shop.results, KEY, (AS_OF, None), (AS_OF, shop.current().name))
    assert (said["moved"], said["gained"], said["lost"], said["definition"]) == ([], [], [], [])
    assert "the same to the digit" in printed("comparison", said)


def test_preview_shows_which_verdicts_would_change(finished, shop):
    shop.redefine(KEY, "smallest_effect: 0.9", "smallest_effect: 0.05")
    from abtest_lib.warehouse import connect

    with connect(shop.warehouse) as source:
        found = list(preview.preview(shop.experiment, [EVE, AS_OF], source, shop.results))
    preview.write(shop.experiment, found, shop.results)
    said = previews.view(shop.results, KEY)
    assert (said["range"], said["tally"]) == ("7 Feb 2026 to 8 Feb 2026", "1 verdict would change.")
    (change,) = said["nights"][1]["changes"]
    assert (change["variant"], change["before"]["word"], change["after"]["word"]) == (
        "treatment", "DO NOT SHIP", "SHIP"
    )  # fmt: skip
    assert said["nights"][0]["changes"] == []
    (effect,) = said["nights"][1]["primary"]
    assert effect["before"] == effect["after"]
    assert "unchanged" in printed("previews", said)


def test_preview_withholds_effects_of_an_invalid_variant(shop):
    night = {"as_of": str(AS_OF), "published": None, "previewed": "aaaaaaaaaaaa", "problem": None, "moved": 3,
             "changes": [{"variant": "treatment", "before": None, "after": "invalid"}],
             "primary": [{"variant": "treatment", "metric": "conversion", "before": None, "after": [0.5, 0.2, 0.8]}],
             }  # fmt: skip
    document = {"key": KEY, "definition_hash": "", "from": str(AS_OF), "to": str(AS_OF), "nights": [night]}
    results.write_json(shop.results / "_previews" / f"{KEY}.json", document)
    said = previews.view(shop.results, KEY)
    assert said["nights"][0]["primary"] == [
        {"variant": "treatment", "metric": "conversion", "before": "none", "after": "withheld"}
    ]
    assert "50" not in json.dumps(said["nights"])


def test_without_a_preview_the_page_says_how_to_make_one(shop):
    text = printed("previews", previews.view(shop.results, KEY))
    assert "Nobody has made a preview" in text
    assert "abtest preview checkout" in text
    assert "abtest_adhoc" in text


@pytest.mark.parametrize("key", ["..", "../x", "a/b", "/etc", "", "A", "_digest", "a\x00b", "outbox/..", "checkout/"])
def test_keys_that_are_none_lead_nowhere(shop, key):
    for look in (
        lambda: list(store.nights(shop.results, key)),
        lambda: store.revision_folder(shop.results, key, AS_OF),
        lambda: store.previewed(shop.results, key),
    ):
        with pytest.raises(store.NotThere, match="is not the key"):
            look()


@pytest.mark.parametrize(
    "name", ["..", "../2026-02-07", "current", "AAAAAAAAAAAA", "a" * 13, "é" * 12, "1\x002345678901"]
)
def test_revisions_that_are_none_lead_nowhere(shop, name):
    with pytest.raises(store.NotThere, match="has no revision"):
        store.revision_folder(shop.results, KEY, AS_OF, name)


def test_pointer_that_somebody_wrote_by_hand_leads_nowhere(shop):
    (shop.results / KEY / str(AS_OF) / "current").write_text("../2026-02-07/x\n")
    with pytest.raises(store.NotThere, match="no published report"):
        store.revision_folder(shop.results, KEY, AS_OF)


def test_links_below_the_results_are_not_followed(shop, tmp_path):
    secret = tmp_path / "secret"
    shutil.copytree(shop.results / KEY / str(AS_OF), secret / "2026-02-03")
    shutil.copytree(shop.results / KEY, secret / "linked")
    (shop.results / "linked").symlink_to(secret / "linked")
    (shop.results / KEY / "2026-02-03").symlink_to(secret / "2026-02-03")
    revision = shop.current()
    (revision / "report.md").unlink()
    (revision / "report.md").symlink_to(secret / "linked" / str(EVE) / "current")
    assert [str(one.as_of) for one in store.nights(shop.results, KEY)] == ["2026-02-08", "2026-02-07"]
    for look in (
        lambda: list(store.nights(shop.results, "linked")),
        lambda: store.revision_folder(shop.results, KEY, dt.date(2026, 2, 3)),
        lambda: store.read_file(shop.results, KEY, AS_OF, None, "report.md"),
    ):
        with pytest.raises(store.NotThere, match="link"):
            look()


def test_results_folder_may_itself_be_a_link(shop, tmp_path):
    (tmp_path / "link").symlink_to(shop.results)
    assert store.read_file(tmp_path / "link", KEY, AS_OF, None, "results.json")


@pytest.mark.parametrize("text", ["2026-2-8", "20260208", "2026-02-30", "today", "", "2026-02-08\n", "２０２６-02-08"])
def test_only_dates_are_nights(text):
    with pytest.raises(store.NotThere, match="is not a night"):
        store.read_day(text)


def test_hostile_names_are_text_on_every_page(shop):
    hostile = "<script>alert(1)</script>"
    shop.redefine(KEY, "title: Shorter checkout", f"title: '{hostile}'")
    shop.redefine("metrics", "title: Conversion", f"title: '{hostile}'")
    for night in (EVE, AS_OF):
        shop.run(night)
    failures.record(shop.results, KEY, AS_OF, "report", hostile)
    pages = {
        "fleet": listed(shop),
        "nights": nights.view(shop.definitions, shop.results, KEY),
        "comparison": comparison.view(shop.results, KEY, (EVE, None), (AS_OF, None)),
        "previews": previews.view(shop.results, KEY),
    }
    for template, view in pages.items():
        text = printed(template, view)
        assert "<script" not in text, template
        assert template == "previews" or "&lt;script&gt;" in text, template
