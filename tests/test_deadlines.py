"""Nights that end, and nights that are not done by their hour. With real receivers."""

import datetime as dt
import os
import threading

import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib import cli, digest, failures, nights, results
from abtest_lib.deadlines import late_nights, tell_late
from abtest_lib.delivery import SlackEndpoint, SmtpServer
from abtest_lib.warehouse import connect
from demo.receivers import MailReceiver
from tests.receivers import TOKEN

ONCALL = "oncall@example.com"


@pytest.fixture
def shop(tmp_path):
    """Four experiments: two of ana, one of ben, one broken; sources are loaded up to the night of 8 February."""
    shop = Shop(tmp_path)
    text = (shop.definitions / "checkout.yaml").read_text()
    for key, owner in (("cart", "ana"), ("search", "ben"), ("typo", "cleo")):
        own = text.replace("ana@example.com", f"{owner}@example.com").replace("title: Shorter", f"title: {key} of")
        (shop.definitions / f"{key}.yaml").write_text(
            own.replace("hypothesis:", "hypotesis:") if key == "typo" else own
        )
    return shop


def ended(shop, key, as_of=AS_OF):
    return nights.end(shop.definitions, shop.results, key, as_of)


def expected(shop, as_of=AS_OF):
    return nights.expected(shop.definitions, shop.results, as_of)


def late(shop):
    with connect(shop.warehouse) as warehouse:
        return late_nights(shop.definitions, shop.results, AS_OF, warehouse=warehouse)


def tell(shop, mail, chat, found):
    server = SmtpServer(mail.host, mail.port, security="none") if mail else None
    slack = SlackEndpoint(TOKEN, chat.url) if chat else None
    return tell_late(found, AS_OF, experiments_folder=shop.definitions, results_folder=shop.results, server=server,
                     slack=slack)  # fmt: skip


def text_to(mail, recipient):
    (message,) = (one.message for one in mail.messages if recipient in one.recipients)
    return message["Subject"], message.get_body(("plain",)).get_content()


# Nights that end.


def test_the_last_night_to_end_is_told_so_whichever_it_is(shop):
    assert [ended(shop, key) for key in ("search", "typo", KEY, "cart")] == [False, False, False, True]


def test_whoever_was_the_last_is_so_again_when_its_task_is_tried_again(shop):
    for key in ("search", "typo", KEY, "cart"):
        ended(shop, key)
    assert ended(shop, "cart")


def test_after_the_digest_nobody_is_the_last_one(shop):
    for key in ("search", "typo", KEY):
        ended(shop, key)
    digest.write(shop.definitions, shop.results, AS_OF, team=None)
    assert not ended(shop, "cart")


def test_markers_of_old_nights_are_forgotten(shop):
    ended(shop, KEY)
    assert nights.has_ended(shop.results, KEY, AS_OF)
    ended(shop, KEY, AS_OF + dt.timedelta(days=nights.KEPT_DAYS))
    assert nights.has_ended(shop.results, KEY, AS_OF)
    ended(shop, KEY, AS_OF + dt.timedelta(days=nights.KEPT_DAYS + 1))
    assert not nights.has_ended(shop.results, KEY, AS_OF)


def test_expected_list_that_was_cut_off_is_made_anew(shop):
    whole = expected(shop)
    path = shop.results / nights.FOLDER / str(AS_OF) / "expected.json"
    path.write_text('{"definitions": "')
    assert expected(shop) == whole


def test_each_night_has_its_own_end(shop):
    for key in ("search", "typo", KEY):
        ended(shop, key)
    assert not ended(shop, "cart", AS_OF - dt.timedelta(days=1))
    assert ended(shop, "cart")


def test_experiments_that_have_no_night_are_not_waited_for(shop):
    for key, start, end in (("search", "2026-02-08", "2026-02-12"), ("cart", "2026-01-02", "2026-01-05")):
        shop.redefine(key, "starts_on: 2026-02-02", f"starts_on: {start}")
        shop.redefine(key, "ends_on: 2026-02-05", f"ends_on: {end}")
    # The first night of search is that of 9 February; cart decided on 8 January.
    assert expected(shop) == [KEY, "typo"]
    assert expected(shop, AS_OF + dt.timedelta(days=1)) == ["search", "typo"]
    assert [ended(shop, "typo"), ended(shop, KEY)] == [False, True]


def test_a_definition_that_is_added_or_mended_is_noticed(shop):
    assert expected(shop) == ["cart", KEY, "search", "typo"]
    (shop.definitions / "typo.yaml").unlink()
    assert expected(shop) == ["cart", KEY, "search"]


def test_definitions_are_read_once_a_night(shop):
    expected(shop)
    # The same size and time, another content: whoever read it again would miss a night.
    path = shop.definitions / "search.yaml"
    before, text = path.stat(), path.read_text()
    path.write_text(text.replace("2026-02-0", "2027-02-0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert expected(shop) == ["cart", KEY, "search", "typo"]


def test_of_two_that_end_at_once_one_at_least_is_the_last(shop):
    for key in ("typo", KEY):
        ended(shop, key)
    found, barrier = [], threading.Barrier(2)

    def end(key):
        barrier.wait(timeout=30)
        found.append(ended(shop, key))

    threads = [threading.Thread(target=end, args=[key]) for key in ("cart", "search")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert any(found)


# Nights that are late.


def test_nights_without_report_and_failure_are_late_with_their_reason(shop):
    shop.run()
    failures.record(shop.results, "cart", AS_OF, "collect", ValueError("told already"))
    shop.change("DELETE FROM load_log WHERE source = 'purchases' AND data_on = '2026-02-07'")
    (one,) = late(shop)
    assert (one.key, one.owner) == ("search", "ben@example.com")
    assert one.reasons[0].startswith("waits for purchases: 2026-02-07 is not in the load log")


def test_night_that_waits_says_for_what_since_when_and_until_when(shop):
    wait = {"since": "2026-02-08T00:00:05+00:00", "until": "2026-02-09T00:00:05+00:00",
            "sources": [{"source": "purchases", "reason": "2026-02-07 is not in the load log"}]}  # fmt: skip
    results.write_json(shop.results / KEY / str(AS_OF) / "waiting.json", wait)
    reasons = {one.key: one.reasons for one in late_nights(shop.definitions, shop.results, AS_OF)}
    assert reasons[KEY] == (
        "waits since 2026-02-08 00:00 UTC, at the latest until 2026-02-09 00:00 UTC, "
        "for purchases: 2026-02-07 is not in the load log",
    )
    assert reasons["search"] == ("no report of this night has been made",)


def test_night_that_ended_without_a_word_says_so(shop):
    ended(shop, KEY)
    reasons = {one.key: one.reasons for one in late_nights(shop.definitions, shop.results, AS_OF)}
    assert reasons[KEY] == ("its run has ended without a report and without a reason; look at its tasks",)


def test_night_of_before_is_not_late_tonight(shop):
    # The last night of all of them was that of 8 February.
    assert late_nights(shop.definitions, shop.results, AS_OF + dt.timedelta(days=1)) == []


def test_message_links_to_the_experiment(shop, mail, chat):
    server = SmtpServer(mail.host, mail.port, security="none")
    tell_late(late(shop), AS_OF, experiments_folder=shop.definitions, results_folder=shop.results, server=server,
              slack=None, link=lambda key: f"https://airflow.example.com/dags/abtest__{key}")  # fmt: skip
    assert "https://airflow.example.com/dags/abtest__search" in text_to(mail, "ben@example.com")[1]


def test_each_owner_gets_one_message_and_the_people_on_call_one_with_all(shop, mail, chat):
    shop.change("DELETE FROM load_log WHERE data_on = '2026-02-07'")
    told = tell(shop, mail, chat, late(shop))
    assert told == ["ana@example.com", "ben@example.com", ONCALL, "#alerts"]
    subject, text = text_to(mail, "ana@example.com")
    assert subject == "LATE: 2 experiments without a report, night as of 2026-02-08"
    assert "(checkout): waits for" in text
    assert "(cart): waits for" in text
    assert "search" not in text
    assert "(search)" in text_to(mail, "ben@example.com")[1]
    subject, text = text_to(mail, ONCALL)
    assert subject.startswith("LATE: 3 experiments")
    (posted,) = chat.messages
    assert posted["channel"] == "#alerts"


def test_nobody_is_told_twice_of_a_night_although_it_has_changed(shop, mail, chat):
    shop.change("DELETE FROM load_log WHERE data_on = '2026-02-07'")
    tell(shop, mail, chat, late(shop))
    failures.record(shop.results, "search", AS_OF, "collect", ValueError("now it failed"))
    assert tell(shop, mail, chat, late(shop)) == []
    assert len(mail.messages) == 3


def test_who_was_refused_is_tried_again_and_alone(shop, mail, chat, tmp_path):
    found = late(shop)
    with (
        MailReceiver(tmp_path / "strict", refuse=["ben@example.com"]) as strict,
        pytest.raises(RuntimeError, match=r"ben@example\.com"),
    ):
        tell(shop, strict, chat, found)
    assert tell(shop, mail, chat, found) == ["ben@example.com"]


def test_without_any_server_the_task_says_what_to_set_up(shop):
    with pytest.raises(RuntimeError, match="set up the connection abtest_smtp or abtest_slack"):
        tell(shop, None, None, late(shop))


def test_verb_prints_what_is_late_and_tells_when_asked(shop, mail, capsys, monkeypatch):
    monkeypatch.setenv("ABTEST_SMTP", f"smtp://{mail.host}:{mail.port}?security=none&sender=abtest@example.com")
    monkeypatch.delenv("ABTEST_SLACK_TOKEN", raising=False)
    command = ["late", "--as-of", str(AS_OF), *shop.places]
    assert cli.main(command) == 3
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["cart", "checkout", "search"]
    assert mail.messages == []
    assert cli.main([*command, "--deliver"]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == f"sent to ana@example.com, ben@example.com, {ONCALL}"


def test_verb_says_when_every_night_is_done(shop, capsys):
    for key in ("cart", "search"):
        (shop.definitions / f"{key}.yaml").unlink()
    shop.run()
    assert cli.main(["late", "--as-of", str(AS_OF), *shop.places]) == 0
    assert capsys.readouterr().out == "2026-02-08: every night is done\n"
