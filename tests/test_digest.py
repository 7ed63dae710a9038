"""The digest of a team and night: where experiments stand, what is news, that nothing is sent twice. Real receivers."""

import datetime as dt
import json
import re
import shutil
import socket

import pytest
from small_shop import AS_OF, KEY, Shop, content

from abtest_lib import cli, digest, failures, results
from abtest_lib.delivery import SlackEndpoint, SmtpServer
from abtest_lib.digest_delivery import alert_of_digest, deliver_digest_email, deliver_digest_slack
from abtest_lib.warehouse import connect
from demo.receivers import MailReceiver
from tests.receivers import TOKEN

EVE = AS_OF - dt.timedelta(days=1)
EVERYBODY = '- {email: [boss@example.com, lead@example.com], slack: ["#payments"], for: all, send: [digest]}\n'


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A shop of the team payments with its last two nights."""
    shop = Shop(tmp_path_factory.mktemp("finished"))
    shop.redefine(KEY, "owner: ana@example.com", "owner: ana@example.com\nteam: payments")
    (shop.definitions / "subscriptions.yaml").write_text(EVERYBODY)
    for night in (EVE, AS_OF):
        shop.run(night)
    return shop


@pytest.fixture
def shop(finished, tmp_path):
    """A copy of it, with nothing sent."""
    return finished.copy(tmp_path / "shop")


def collect(shop, as_of=AS_OF, team="payments", **options):
    return digest.collect(shop.definitions, shop.results, as_of, team=team, **options).standings


def write(shop, as_of=AS_OF, team="payments"):
    return digest.write(shop.definitions, shop.results, as_of, team=team)


def said(folder):
    return results.read_json(folder / "digest.json")


def headings(folder):
    return {section["key"]: [row["key"] for row in section["rows"]] for section in said(folder)["sections"]}


def by_mail(folder, shop, receiver):
    server = SmtpServer(receiver.host, receiver.port, sender="abtest@example.com", security="none", timeout=5)
    return deliver_digest_email(folder, lambda: server, shop.definitions)


def by_slack(folder, shop, receiver):
    return deliver_digest_slack(folder, lambda: SlackEndpoint(TOKEN, base_url=receiver.url), shop.definitions)


def unpublish(shop, as_of):
    (shop.results / KEY / str(as_of) / "current").unlink()


def test_night_with_a_result_is_reported_with_the_one_before(shop):
    (one,) = collect(shop)
    assert (one.state, one.night, one.problems) == ("reported", "2026-02-08", ())
    assert (one.document["as_of"], one.last["as_of"], one.since) == ("2026-02-08", "2026-02-07", "2026-02-08")


@pytest.mark.parametrize(("as_of", "listed"), [
    ("2026-02-02", 0), ("2026-02-03", 1), ("2026-02-08", 1), ("2026-02-15", 1), ("2026-02-16", 0),
])  # fmt: skip
def test_experiment_is_listed_from_its_first_night_to_a_week_after_its_last(shop, as_of, listed):
    assert len(collect(shop, dt.date.fromisoformat(as_of))) == listed


def test_experiment_that_has_ended_is_listed_as_decided_with_its_last_night(shop):
    folder = write(shop, AS_OF + dt.timedelta(days=3))
    assert headings(folder) == {"before": [KEY]}
    assert said(folder)["sections"][0]["rows"][0]["changed"] == "Its last night was 8 Feb 2026."


def test_failed_step_is_named_with_its_reason(shop):
    unpublish(shop, AS_OF)
    failures.record(shop.results, KEY, AS_OF, "collect", "checkout: table 'purchases' does not exist.")
    (one,) = collect(shop)
    assert (one.state, one.document) == ("failed", None)
    assert one.problems == (("collect", "checkout: table 'purchases' does not exist."),)
    folder = write(shop)
    assert headings(folder) == {"trouble": [KEY]}
    text = (folder / "digest.txt").read_text(encoding="utf-8")
    assert "✖ FAILED: collect: checkout: table 'purchases' does not exist." in " ".join(text.split())
    assert "Last report: KEEP RUNNING on 7 Feb 2026. Decides on 8 Feb 2026." in text


def test_night_whose_data_did_not_come_in_time_is_held_not_failed(shop):
    unpublish(shop, AS_OF)
    why = "checkout, 2026-02-08: waited since 2026-02-08 00:01 UTC and still lacks purchases."
    failures.record(shop.results, KEY, AS_OF, "outcomes_ready", f"{why}\nLoad what is missing.", held=True)
    assert collect(shop)[0].state == "held"
    folder = write(shop)
    assert headings(folder) == {"trouble": [KEY]}
    text = " ".join((folder / "digest.txt").read_text(encoding="utf-8").split())
    assert f"⚠ HELD: {why}" in text
    assert "✖ FAILED" not in text and "Load what is missing" not in text
    failures.record(shop.results, KEY, AS_OF, "collect", "no space left")
    assert collect(shop)[0].state == "failed"
    # Run again, it is held before it comes to the step that failed.
    failures.record(shop.results, KEY, AS_OF, "outcomes_ready", why, held=True)
    assert collect(shop)[0].state == "held"


def test_night_that_is_run_by_hand_is_held_no_more(shop):
    failures.record(shop.results, KEY, AS_OF, "outcomes_ready", "held", held=True)
    shop.run()
    assert collect(shop)[0].state == "reported"


def test_report_that_was_not_delivered_is_shown_with_its_verdict(shop):
    folder = write(shop, EVE)
    assert "NOT DELIVERED" not in json.dumps(said(folder))
    failures.record(shop.results, KEY, EVE, "deliver_slack", "Slack took no message to #checkout.")
    folder = write(shop, EVE)
    (section,) = said(folder)["sections"]
    (row,) = section["rows"]
    assert (section["key"], row["verdicts"][0]["word"]) == ("trouble", "KEEP RUNNING")
    assert row["trouble"][0]["word"] == "NOT DELIVERED"
    assert row["trouble"][0]["text"] == "deliver_slack: Slack took no message to #checkout."


def test_night_without_a_result_waits_and_the_warehouse_says_for_what(shop):
    unpublish(shop, AS_OF)
    assert collect(shop)[0].problems == (("", "the night has been collected, but its report is not finished"),)
    shutil.rmtree(shop.results / KEY / str(AS_OF))
    assert collect(shop)[0].problems == (("", "no report of this night has been made"),)
    with connect(shop.warehouse) as warehouse:
        complete = collect(shop, warehouse=warehouse)[0].problems
    assert complete == (("", "all sources are complete, but no report of this night has been made"),)
    shop.change("DELETE FROM load_log WHERE source = 'purchases' AND data_on = DATE '2026-02-07'")
    with connect(shop.warehouse) as warehouse:
        (one,) = collect(shop, warehouse=warehouse)
    said = "waits for purchases: 2026-02-07 is not in the load log; expected by 2026-02-08 03:00 UTC, usual 03:00"
    assert (one.state, one.problems) == ("waiting", (("", said),))
    shop.change("DROP TABLE purchases")
    with connect(shop.warehouse) as warehouse:
        ((_, reason),) = collect(shop, warehouse=warehouse)[0].problems
    assert "purchases" in reason


def test_digest_of_many_late_nights_asks_no_more_than_that_of_one(shop):
    shutil.rmtree(shop.results / KEY)
    shop.change("DELETE FROM load_log WHERE data_on = DATE '2026-02-07'")

    def statements():
        with connect(shop.warehouse) as warehouse:
            query, asked = warehouse.query, []
            warehouse.query = lambda sql, values=None: asked.append(sql) or query(sql, values)
            assert {one.state for one in collect(shop, warehouse=warehouse)} == {"waiting"}
        return asked

    alone = statements()
    for number in range(4):
        shutil.copy(shop.definitions / "checkout.yaml", shop.definitions / f"other_{number}.yaml")
    assert len(collect(shop)) == 5
    assert sorted(statements()) == sorted(alone) != []


def test_broken_definition_is_named_with_file_and_line_in_the_digest_of_its_team(shop):
    shop.redefine(KEY, "primary: [conversion]", "primry: [conversion]")
    folder = write(shop)
    (section,) = said(folder)["sections"]
    assert section["key"] == "decided"  # its night was finished before
    (row,) = section["rows"]
    assert row["trouble"][0]["word"] == "BROKEN DEFINITION"
    assert "checkout.yaml:9: primry is not a known key; did you mean 'primary'?" in row["trouble"][0]["text"]
    assert str(shop.definitions) not in json.dumps(said(folder))


def test_broken_source_is_said_once_for_all_experiments_that_it_breaks(shop):
    for number in range(7):
        shutil.copy(shop.definitions / "checkout.yaml", shop.definitions / f"other_{number}.yaml")
    shop.redefine("sources", "alerts:", "alert:")
    rows = said(write(shop, AS_OF - dt.timedelta(days=3)))["sections"][0]["rows"]
    assert [row["title"] for row in rows] == ["checkout, other_0, other_1, other_2, other_3 and 3 more"]
    assert rows[0]["trouble"][0]["text"] == "sources.yaml:10: alert is not a known key; did you mean 'alerts'?"


def test_experiments_without_a_team_have_a_digest_of_their_own(shop):
    shop.redefine(KEY, "team: payments\n", "")
    assert digest.teams(shop.definitions) == [None]
    assert collect(shop) == ()
    folder = write(shop, team=None)
    assert folder.parent.name == "_no_team"
    assert said(folder)["title"] == "Experiments of no team"


def test_results_that_cannot_be_read_are_trouble_and_not_the_end(shop):
    (shop.current() / "results.json").write_text("{")
    assert headings(write(shop)) == {"trouble": [KEY]}
    for odd in ({"verdicts": []}, [], {"as_of": "2026-02-08", "verdicts": [], "guardrails": []}):
        results.write_json(shop.current() / "results.json", odd)
        folder = write(shop)
        assert (headings(folder), said(folder)["marks"], said(folder)["quiet"]) == ({"trouble": [KEY]}, {KEY: None}, "")
    assert "cannot be read" in (write(shop) / "digest.txt").read_text(encoding="utf-8")


def test_same_night_gives_the_same_bytes_and_the_store_is_only_read(shop):
    before = content(shop.results)
    first = write(shop)
    written = content(first)
    assert sorted(written) == ["delivery.json", "digest.html", "digest.json", "digest.md", "digest.txt", "slack.json"]
    shutil.rmtree(shop.results / "_digest")
    assert content(shop.results) == before
    assert write(shop) == first
    assert content(first) == written


def test_first_digest_is_sent_and_the_next_night_without_change_is_quiet(shop, mail, chat):
    first = write(shop)
    assert by_mail(first, shop, mail) == ["boss@example.com", "lead@example.com"]
    assert by_slack(first, shop, chat) == ["#payments"]
    later = write(shop, AS_OF + dt.timedelta(days=1))
    assert said(later)["quiet"] == "every night has its result, and no verdict has changed since the last digest"
    assert (by_mail(later, shop, mail), by_slack(later, shop, chat)) == ([], [])
    assert (len(mail.messages), len(chat.messages)) == (2, 1)
    assert not (later / "sent").exists()
    assert not (later.parent / "outbox").exists()


def test_what_was_never_sent_is_still_news(shop, mail):
    by_mail(write(shop, EVE), shop, mail)
    write(shop)  # a changed verdict that reaches nobody
    assert said(write(shop, AS_OF + dt.timedelta(days=1)))["quiet"] == ""


def test_changed_verdict_is_news(shop, mail):
    by_mail(write(shop, EVE), shop, mail)
    folder = write(shop)
    assert (said(folder)["quiet"], headings(folder)) == ("", {"decided": [KEY]})
    assert said(folder)["sections"][0]["rows"][0]["changed"] == "Was KEEP RUNNING on 7 Feb 2026."


def test_night_without_a_result_is_news_on_every_night_and_so_is_its_end(shop, mail):
    for night in (EVE, AS_OF):
        unpublish(shop, night)
        folder = write(shop, night)
        assert said(folder)["quiet"] == ""
        by_mail(folder, shop, mail)
    results.point(shop.results / KEY / str(AS_OF) / said_revision(shop), "current")
    assert said(write(shop, AS_OF + dt.timedelta(days=1)))["quiet"] == ""


def said_revision(shop):
    return (shop.results / KEY / str(AS_OF) / "collected").read_text().strip()


def test_team_without_a_running_experiment_gets_nothing(shop, mail):
    folder = write(shop, AS_OF + dt.timedelta(days=30))
    assert said(folder)["quiet"] == "no experiment of the team is running or was decided in the last days"
    assert by_mail(folder, shop, mail) == []


def test_nothing_is_sent_twice(shop, mail, chat):
    for _ in range(2):
        folder = write(shop)
        by_mail(folder, shop, mail)
        by_slack(folder, shop, chat)
    assert [received.recipients for received in mail.messages] == [("boss@example.com",), ("lead@example.com",)]
    assert [message["channel"] for message in chat.messages] == ["#payments"]


def test_later_subscriber_gets_the_same_digest_alone(shop, mail):
    by_mail(write(shop), shop, mail)
    (shop.definitions / "subscriptions.yaml").write_text(EVERYBODY.replace("lead@", "zoe@"))
    assert by_mail(write(shop), shop, mail) == ["zoe@example.com"]


def test_repaired_night_is_sent_as_corrected_once_under_the_same_subject(shop, mail, chat):
    unpublish(shop, AS_OF)
    first = write(shop)
    by_mail(first, shop, mail)
    results.point(shop.results / KEY / str(AS_OF) / said_revision(shop), "current")
    second = write(shop)
    assert second != first
    assert said(second)["corrects"] == first.name
    told = "Corrected: replaces the digest of this night that was sent before. What differs: Shorter checkout."
    assert said(second)["corrected"] == told
    assert by_mail(second, shop, mail) == ["boss@example.com", "lead@example.com"]
    assert write(shop) == second
    assert by_mail(write(shop), shop, mail) == []
    for kind in ("plain", "html"):
        bodies = [received.message.get_body((kind,)).get_content() for received in mail.messages]
        assert len({re.sub(r"\s*<[^>]*>\s*", "\n", body).strip().splitlines()[-1] for body in bodies}) == 2
    subjects = {received.message["Subject"] for received in mail.messages}
    assert len(subjects) == 1 and len(mail.messages) == 4
    assert len({received.message["References"] for received in mail.messages}) == 1
    assert len({received.message["Message-ID"] for received in mail.messages}) == 4
    for name in ("html", "txt", "md"):
        assert told in " ".join((second / f"digest.{name}").read_text(encoding="utf-8").split())
    assert told in json.dumps(results.read_json(second / "slack.json"))


def test_every_night_is_a_thread_of_its_own_in_one_list_a_team(shop, mail):
    for night in (EVE, AS_OF):
        by_mail(write(shop, night), shop, mail)
    assert len({received.message["References"] for received in mail.messages}) == 2
    (name,) = {received.message["List-Id"] for received in mail.messages}
    assert name.startswith("<digest-payments.")


def test_digest_that_changes_back_corrects_the_correction(shop, mail):
    by_mail(write(shop), shop, mail)
    unpublish(shop, AS_OF)
    second = write(shop)
    by_mail(second, shop, mail)
    results.point(shop.results / KEY / str(AS_OF) / said_revision(shop), "current")
    third = write(shop)
    assert said(third)["corrects"] == second.name
    assert len(by_mail(third, shop, mail)) == 2
    assert write(shop) == third


def test_refused_recipient_is_told_and_the_others_count_as_sent(shop, tmp_path):
    with MailReceiver(tmp_path / "first", refuse={"boss@example.com"}) as receiver:
        folder = write(shop)
        with pytest.raises(RuntimeError, match=r"boss@example\.com"):
            by_mail(folder, shop, receiver)
    assert (folder / "sent").exists()
    with MailReceiver(tmp_path / "second") as receiver:
        assert by_mail(folder, shop, receiver) == ["boss@example.com"]


def test_server_that_is_gone_leaves_the_digest_unsent(shop):
    folder = write(shop)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionError):
        deliver_digest_email(folder, lambda: SmtpServer("127.0.0.1", port, security="none"), shop.definitions)
    assert not (folder / "sent").exists()


def test_nobody_subscribed_needs_no_server(shop):
    (shop.definitions / "subscriptions.yaml").unlink()
    folder = write(shop)
    assert deliver_digest_email(folder, pytest.fail, shop.definitions) == []
    assert deliver_digest_slack(folder, pytest.fail, shop.definitions) == []


def test_failure_of_the_digest_reaches_whoever_gets_alerts(shop, mail, chat):
    told = alert_of_digest(
        AS_OF, {"subscriptions": "subscriptions.yaml:1: …"}, experiments_folder=shop.definitions,
        results_folder=shop.results, server=SmtpServer(mail.host, mail.port, security="none"),
        slack=SlackEndpoint(TOKEN, base_url=chat.url),
    )  # fmt: skip
    assert told == ["oncall@example.com", "#alerts"]
    assert "Task subscriptions:\nsubscriptions.yaml:1: …" in chat.messages[0]["text"]
    with pytest.raises(RuntimeError, match="nobody can be told"):
        alert_of_digest(AS_OF, {}, experiments_folder=shop.definitions, results_folder=shop.results, server=None,
                        slack=None)  # fmt: skip


@pytest.mark.parametrize("team", ["../../etc", "R&D / Zürich", ".", "failures", "outbox", "Search", "שלום", "a" * 300])
def test_team_can_be_called_anything(shop, team):
    name = digest.slug(team)
    assert name not in ("search", "failures", "outbox") and not name.startswith(("_", "."))
    assert name.isascii() and "/" not in name and len(name) < 60
    shop.redefine(KEY, "team: payments", f"team: {json.dumps(team)}")
    folder = write(shop, team=team)
    assert folder.parents[1] == shop.results / "_digest" / str(AS_OF)
    assert headings(folder) == {"decided": [KEY]}


def test_command_line_writes_and_delivers(shop, mail, chat, monkeypatch, capsys):
    monkeypatch.setenv("ABTEST_SMTP", f"smtp://{mail.host}:{mail.port}?security=none&sender=ab@example.com")
    monkeypatch.setenv("ABTEST_SLACK_TOKEN", TOKEN)
    monkeypatch.setenv("ABTEST_SLACK_URL", chat.url)
    arguments = ["digest", "--as-of", str(AS_OF), *shop.places]
    assert cli.main(arguments) == 0
    first, path = capsys.readouterr().out.splitlines()
    assert (first, path.endswith("/digest.html")) == ("payments: news", True)
    assert mail.messages == []
    assert cli.main([*arguments, "--team", "payments", "--deliver"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "sent to boss@example.com, lead@example.com", "sent to #payments"
    ]  # fmt: skip
    assert cli.main([*arguments, "--deliver"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["nobody new to send to"] * 2
    assert cli.main([*arguments, "--team", "payment"]) == 1
    assert "no experiment is of team 'payment'; there are: payments." in capsys.readouterr().err


def test_only_teams_with_something_to_tell_are_named_for_a_night(shop, capsys):
    gone = AS_OF + dt.timedelta(days=30)
    assert (digest.teams(shop.definitions, AS_OF), digest.teams(shop.definitions, gone)) == (["payments"], [])
    assert cli.main(["digest", "--as-of", str(gone), *shop.places]) == 0
    assert capsys.readouterr().out == "2026-03-10: no experiment is running or was decided in the last days\n"
    (shop.definitions / "broken.yaml").write_text("team: search\n")
    assert digest.teams(shop.definitions, gone) == ["search"]


def test_validate_reads_the_subscriptions(shop, capsys):
    assert cli.main(["validate", *shop.places]) == 0
    assert "subscriptions: valid; 1 entry" in capsys.readouterr().out
    (shop.definitions / "subscriptions.yaml").write_text(EVERYBODY.replace("digest", "digests"))
    assert cli.main(["validate", *shop.places]) == 1
    assert "subscriptions.yaml:1: subscriptions[0].send is 'digests'" in capsys.readouterr().err
