"""Reports reach each recipient once, failures reach the owner, and nothing is lost or guessed. With real receivers."""

import json
import multiprocessing
import re
import shutil
import signal
import socket
import threading
from contextlib import contextmanager

import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib import failures, results
from abtest_lib.delivery import SlackEndpoint, SmtpServer, alert_owner, deliver_email, deliver_slack
from abtest_lib.mail import Letter, compose
from abtest_lib.report import render, view
from demo.receivers import MailReceiver
from tests.receivers import TOKEN
from tests.report import nights

RECIPIENTS = ["team@example.com", "boss@example.com"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A shop with one finished night."""
    shop = Shop(tmp_path_factory.mktemp("finished"))
    shop.run()
    return shop


@pytest.fixture
def shop(finished, tmp_path):
    """A copy of it, with nothing sent."""
    return finished.copy(tmp_path / "shop")


@pytest.fixture
def night(shop):
    return shop.current()


def server_of(receiver, **changes):
    return SmtpServer(**{"host": receiver.host, "port": receiver.port, "sender": "abtest@example.com",
                         "security": "none", "timeout": 5, **changes})  # fmt: skip


def endpoint_of(receiver, token=TOKEN):
    return SlackEndpoint(token, base_url=receiver.url)


def claims(night):
    return [json.loads(path.read_text())["state"] for path in sorted((night.parent / "outbox").glob("*.json"))]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def server_that_hangs_up(*answers):
    """A server that gives these answers, one for each line it reads, and then closes the connection."""

    def serve(listener):
        for _ in range(2):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                for answer in answers:
                    stream.write(answer)
                    stream.flush()
                    if not stream.readline():
                        break

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=10)


def test_each_recipient_gets_a_mail_of_their_own_with_text_and_html(night, mail):
    assert deliver_email(night, server_of(mail)) == RECIPIENTS
    assert [received.recipients for received in mail.messages] == [(recipient,) for recipient in RECIPIENTS]
    for received, recipient in zip(mail.messages, RECIPIENTS, strict=True):
        message = received.message
        assert (message["To"], message["From"], message["Auto-Submitted"]) == (
            recipient,
            "abtest@example.com",
            "auto-generated",
        )
        assert message["Subject"] == results.read_json(night / "delivery.json")["subject"]
        assert message.get_content_type() == "multipart/alternative"
        text, page = message.iter_parts()
        assert (text.get_content_type(), page.get_content_type()) == ("text/plain", "multipart/related")
        for kind, name in (("plain", "report.txt"), ("html", "mail.html")):
            content = re.sub(r'src="cid:(\w+)\.[^"]*"', r'src="cid:\1"', message.get_body((kind,)).get_content())
            assert content.split() == (night / name).read_text(encoding="utf-8").split()


def test_pictures_lie_in_the_mail_beside_the_page_that_shows_them(night, mail):
    deliver_email(night, server_of(mail))
    message, images = mail.messages[0].message, results.read_json(night / "delivery.json")["images"]
    assert images
    page = message.get_body(("html",))
    inside = {part["Content-ID"]: part for part in message.walk() if part.get_content_type() == "image/png"}
    shown = re.findall(r'src="cid:([^"]*)"', page.get_content())
    assert [f"<{cid}>" for cid in shown] == list(inside)
    for image, part in zip(images, inside.values(), strict=True):
        assert part.get_content_disposition() == "inline"
        assert part.get_content() == (night / image["file"]).read_bytes()


def test_a_message_is_seven_bits_in_short_lines_and_not_too_large(night, mail):
    deliver_email(night, server_of(mail))
    content = mail.messages[0].path.read_bytes()
    assert content.isascii()
    assert max(len(line) for line in content.split(b"\r\n")) <= 998
    assert len(content) <= 150_000


def test_second_call_sends_nothing(night, mail):
    deliver_email(night, server_of(mail))
    assert deliver_email(night, server_of(mail)) == []
    assert len(mail.messages) == 2


def test_changed_report_is_sent_again_and_says_what_it_replaces(shop, night, mail):
    deliver_email(night, server_of(mail))
    shop.change("DELETE FROM purchases WHERE unit_id = 'u1'")
    second = shop.run()
    assert second != night
    assert deliver_email(second, server_of(mail)) == RECIPIENTS
    before, after = (mail.messages[number].message for number in (0, 2))
    assert before["References"] == after["References"]
    assert before["Message-ID"] != after["Message-ID"]
    replaced = f"This report replaces revision {night.name} of this night"
    assert replaced in " ".join(after.get_body(("plain",)).get_content().split())
    assert replaced not in " ".join(before.get_body(("plain",)).get_content().split())


def test_same_report_of_a_new_revision_is_not_sent_again(shop, night, mail, chat):
    deliver_email(night, server_of(mail))
    deliver_slack(night, endpoint_of(chat))
    # Another definition, and so another revision, that says nothing else.
    shop.redefine("sources", "#alerts", "#oncall")
    second = shop.run()
    assert second != night
    assert deliver_email(second, server_of(mail)) == []
    assert deliver_slack(second, endpoint_of(chat)) == []


def test_subscribers_get_it_too_when_what_they_wait_for_happens(shop, night, mail, chat):
    (shop.definitions / "subscriptions.yaml").write_text("""
- {email: [every@example.com], slack: "#every", for: all, send: [nights]}
- {email: [changes@example.com, team@example.com], for: {experiments: [checkout]}, send: [verdict_changes]}
""")
    assert deliver_email(night, server_of(mail), shop.definitions) == [*RECIPIENTS, "every@example.com"]
    assert deliver_slack(night, endpoint_of(chat), shop.definitions) == ["#checkout", "#every"]


def test_two_recipients_get_different_message_ids_and_a_retry_would_repeat_them(night, tmp_path):
    ids = []
    for attempt in ("one", "two"):
        with MailReceiver(tmp_path / attempt) as receiver:
            deliver_email(night, server_of(receiver))
            ids.append([received.message["Message-ID"] for received in receiver.messages])
        shutil.rmtree(night.parent / "outbox")
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_refused_recipient_does_not_keep_the_others_back_and_is_tried_again_alone(night, tmp_path):
    with MailReceiver(tmp_path / "first", refuse={"team@example.com"}) as receiver:
        with pytest.raises(RuntimeError) as caught:
            deliver_email(night, server_of(receiver))
        assert [received.recipients for received in receiver.messages] == [("boss@example.com",)]
    assert str(caught.value) == (
        "checkout, 2026-02-08: 127.0.0.1 refused 1 of the recipients (team@example.com: 550 5.1.1 No such mailbox "
        "here). "
        "Correct the address (notify.email, alerts.email, subscriptions.yaml), "
        "or ask who runs the mail server."
    )
    with MailReceiver(tmp_path / "second") as receiver:
        assert deliver_email(night, server_of(receiver)) == ["team@example.com"]
        assert deliver_email(night, server_of(receiver)) == []


def test_server_that_is_gone_is_a_connection_error_and_nothing_is_claimed(night, mail):
    port = free_port()
    with pytest.raises(ConnectionError) as caught:
        deliver_email(night, SmtpServer("127.0.0.1", port, security="none"))
    assert str(caught.value) == (
        f"mail server 127.0.0.1:{port}: [Errno 111] Connection refused; "
        "check the connection abtest_smtp (by hand: ABTEST_SMTP)."
    )
    assert claims(night) == []
    assert deliver_email(night, server_of(mail)) == RECIPIENTS


def test_server_without_the_encryption_that_is_asked_for_gets_nothing(night, mail):
    with pytest.raises(ConnectionError, match="STARTTLS extension not supported by server"):
        deliver_email(night, server_of(mail, security="starttls"))
    assert (mail.messages, claims(night)) == ([], [])


def test_login_that_the_server_does_not_offer_is_a_connection_error_without_the_password(night, mail):
    with pytest.raises(ConnectionError) as caught:
        deliver_email(night, server_of(mail, user="ana", password="s3cret"))  # noqa: S106
    assert "s3cret" not in str(caught.value)
    assert claims(night) == []


def test_passwords_and_tokens_are_not_printed():
    assert "s3cret" not in repr(SmtpServer("h", password="s3cret")) + repr(SlackEndpoint("s3cret"))  # noqa: S106


def test_line_that_breaks_while_sending_leaves_a_doubt_that_does_not_keep_the_others_back(night, mail):
    lines = (b"220 ready\r\n", b"250 hello\r\n", b"250 sender\r\n", b"250 recipient\r\n")
    with server_that_hangs_up(*lines) as port, pytest.raises(ConnectionError) as caught:
        deliver_email(night, SmtpServer("127.0.0.1", port, security="none", timeout=5))
    assert str(caught.value).startswith(f"mail server 127.0.0.1:{port}: the connection broke while the message to "
                                        "team@example.com was sent (")  # fmt: skip
    assert claims(night) == ["claimed"]
    with pytest.raises(RuntimeError, match=r"to team@example\.com ended without a receipt, so it may have arrived"):
        deliver_email(night, server_of(mail))
    assert [received.recipients for received in mail.messages] == [("boss@example.com",)]


def test_experiment_without_recipients_needs_no_server(shop):
    shop.redefine(KEY, 'notify: {email: [team@example.com, boss@example.com], slack: "#checkout"}\n', "")
    night = shop.run()
    assert deliver_email(night, SmtpServer("127.0.0.1", free_port(), security="none")) == []
    assert deliver_slack(night, SlackEndpoint(TOKEN, f"http://127.0.0.1:{free_port()}/api/")) == []


def with_subject(night, subject):
    delivery = results.read_json(night / "delivery.json")
    results.write_json(night / "delivery.json", delivery | {"subject": subject})


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\x0b", "\u2028", "\x85", "\r"])
def test_line_break_in_a_title_cannot_add_a_header(night, mail, line_break):
    with_subject(night, f"SHIP{line_break}Bcc: eve@example.com")
    deliver_email(night, server_of(mail))
    for received in mail.messages:
        assert received.message["Subject"] == "SHIP Bcc: eve@example.com"
        assert received.message["Bcc"] is None
        assert "eve@example.com" not in received.recipients


def test_title_with_a_line_break_goes_from_the_definition_to_one_subject_line(shop, mail):
    shop.redefine(KEY, "title: Shorter checkout", 'title: "Shorter\\nBcc: eve@example.com\\n\\ncheckout"')
    deliver_email(shop.run(), server_of(mail))
    assert {received.message["Bcc"] for received in mail.messages} == {None}
    assert all("Shorter Bcc: eve@example.com checkout" in received.message["Subject"] for received in mail.messages)


def test_letters_of_all_languages_arrive(night, mail):
    with_subject(night, "Größe – 大きさ ✓")
    (night / "report.txt").write_text("Größe – 大きさ ✓\n", encoding="utf-8")
    deliver_email(night, server_of(mail))
    message = mail.messages[0].message
    assert message["Subject"] == "Größe – 大きさ ✓"
    assert message.get_body(("plain",)).get_content().strip() == "Größe – 大きさ ✓"


FAILED = {"collect": "checkout, 2026-02-08: source purchases: table 'purchases' does not exist."}


def alert(shop, mail=None, chat=None, failed=FAILED, key=KEY):
    return alert_owner(key, AS_OF, failed, experiments_folder=shop.definitions, results_folder=shop.results,
                       server=mail and server_of(mail), slack=chat and endpoint_of(chat))  # fmt: skip


def test_owner_and_on_call_hear_what_failed_why_and_what_to_do(shop, mail, chat):
    assert alert(shop, mail, chat) == ["ana@example.com", "oncall@example.com", "#alerts"]
    message = mail.messages[0].message
    assert message["Subject"] == "FAILED: Shorter checkout, night as of 2026-02-08"
    assert message.get_content().replace("\r\n", "\n") == (
        "Shorter checkout (checkout): the night as of 2026-02-08 failed. No verdict was published for it.\n\n"
        "Task collect:\ncheckout, 2026-02-08: source purchases: table 'purchases' does not exist.\n\n"
        "To repeat it by hand: abtest run checkout --as-of 2026-02-08\n"
        "In Airflow: DAG abtest__checkout; clear the failed task when the cause is mended.\n"
    )
    assert chat.messages[0]["text"].startswith("FAILED: Shorter checkout, night as of 2026-02-08\n")


def test_night_that_only_lacks_data_is_called_held(shop, mail):
    why = "checkout, 2026-02-08: waited since 2026-02-08 00:01 UTC and still lacks purchases.\nLoad what is missing."
    failures.record(shop.results, KEY, AS_OF, "outcomes_ready", why, held=True)
    alert(shop, mail, failed={"outcomes_ready": why})
    message = mail.messages[0].message
    assert message["Subject"] == "HELD: Shorter checkout, night as of 2026-02-08"
    text = message.get_content().replace("\r\n", "\n")
    assert "the night as of 2026-02-08 is held. No verdict was published for it." in text
    assert f"Task outcomes_ready:\n{why}\n" in text


def test_failed_delivery_is_not_called_a_lost_verdict(shop, mail):
    alert(shop, mail, failed={"deliver_slack": "Slack took no message to #checkout."})
    text = mail.messages[0].message.get_content()
    assert "Its report was written, but not everybody got it." in text
    assert "No verdict" not in text


def test_same_failure_is_told_once_and_another_one_anew(shop, mail, chat):
    alert(shop, mail, chat)
    assert alert(shop, mail, chat) == []
    assert alert(shop, mail, chat, {"report": "disk full"}) == ["ana@example.com", "oncall@example.com", "#alerts"]


@pytest.mark.parametrize("breaks", ["experiment", "sources", "gone"])
def test_broken_definitions_do_not_keep_the_failure_secret(shop, mail, breaks):
    if breaks == "experiment":
        shop.redefine(KEY, "primary: [conversion]", "primary: [conversion")
        expected = ["ana@example.com", "oncall@example.com"]
    elif breaks == "sources":
        shop.redefine("sources", "alerts:", "alert:")
        expected = ["ana@example.com"]
    else:
        (shop.definitions / "checkout.yaml").unlink()
        expected = ["oncall@example.com"]
    assert alert(shop, mail) == expected
    assert mail.messages[0].message["Subject"] == "FAILED: checkout, night as of 2026-02-08"


def test_failure_that_nobody_can_be_told_is_an_error(shop):
    with pytest.raises(RuntimeError) as caught:
        alert(shop)
    assert str(caught.value) == (
        "checkout, 2026-02-08: nobody can be told of the failure; set up the connection abtest_smtp or abtest_slack, "
        "and "
        "name people under alerts in sources.yaml."
    )


def test_mail_server_that_is_gone_does_not_silence_slack(shop, chat):
    port = free_port()
    with pytest.raises(RuntimeError, match=f"mail server 127.0.0.1:{port}"):
        alert_owner(KEY, AS_OF, FAILED, experiments_folder=shop.definitions, results_folder=shop.results,
                    server=SmtpServer("127.0.0.1", port, security="none"), slack=endpoint_of(chat))  # fmt: skip
    assert len(chat.messages) == 1


@pytest.mark.parametrize("kind", ["refused", "gone"])
def test_slack_that_fails_does_not_silence_the_mail(shop, mail, chat, kind):
    endpoint = (
        endpoint_of(chat, "wrong") if kind == "refused" else SlackEndpoint(TOKEN, f"http://127.0.0.1:{free_port()}/")
    )
    with pytest.raises(RuntimeError, match="Slack took no message to #alerts"):
        alert_owner(KEY, AS_OF, FAILED, experiments_folder=shop.definitions, results_folder=shop.results,
                    server=server_of(mail), slack=endpoint)  # fmt: skip
    assert len(mail.messages) == 2


def test_alert_leads_to_the_log_and_the_same_failure_of_another_run_is_no_news(shop, mail, chat):
    told = [
        alert_owner(KEY, AS_OF, FAILED, experiments_folder=shop.definitions, results_folder=shop.results,
                    server=server_of(mail), slack=endpoint_of(chat),
                    links={"Log of collect": f"https://airflow.example.com/dags/abtest__checkout/runs/{run}/tasks/collect"})
        for run in ("scheduled__1", "backfill__1")
    ]  # fmt: skip
    assert told == [["ana@example.com", "oncall@example.com", "#alerts"], []]
    page = "Log of collect: https://airflow.example.com/dags/abtest__checkout/runs/scheduled__1/tasks/collect"
    assert page in mail.messages[0].message.get_content()
    assert any(page in json.dumps(block) for block in chat.messages[0]["blocks"])


def test_error_text_cannot_call_a_whole_channel(shop, chat):
    alert(shop, None, chat, {"collect": "variant '<!channel>' & <@U123>"})
    assert "variant '&lt;!channel&gt;' &amp; &lt;@U123&gt;" in chat.messages[0]["text"]


def test_alert_is_kept_beside_the_night_and_not_in_a_revision(shop, mail):
    alert(shop, mail)
    assert len(list((shop.results / KEY / str(AS_OF) / "outbox").iterdir())) == 2


LATE = "INSERT INTO purchases SELECT unit_id, exposed_at + INTERVAL 6 HOUR, exposed_at + INTERVAL 7 HOUR, 30 FROM " \
       "exposures WHERE unit_id = 'u198'"  # fmt: skip


def test_data_that_changes_and_changes_back_are_three_mails_in_one_thread(shop, night, mail):
    deliver_email(night, server_of(mail))
    shop.change(LATE)
    changed = shop.run()
    assert deliver_email(changed, server_of(mail)) == RECIPIENTS
    # The loader says that it has put the days right.
    shop.change("DELETE FROM purchases WHERE unit_id = 'u198'",
                "INSERT INTO load_log SELECT source, data_on, TIMESTAMP '2026-02-09 04:00' FROM load_log")  # fmt: skip
    again = shop.run()
    assert again == night
    assert deliver_email(again, server_of(mail)) == RECIPIENTS
    assert deliver_email(again, server_of(mail)) == []
    team = [received.message for received in mail.messages if received.recipients == ("team@example.com",)]
    assert len({message["Message-ID"] for message in team}) == 3
    assert len({message["References"] for message in team}) == 1
    says = " ".join(team[2].get_body(("plain",)).get_content().split())
    assert f"This report replaces revision {changed.name} of this night: the data changed." in says


def test_report_that_another_one_has_replaced_is_not_sent(shop, night, mail, chat):
    shop.change(LATE)
    current = shop.run()
    assert deliver_email(night, server_of(mail)) == deliver_slack(night, endpoint_of(chat)) == []
    assert mail.messages == chat.messages == []
    assert deliver_email(current, server_of(mail)) == RECIPIENTS


def test_who_got_a_report_that_was_replaced_gets_the_one_that_replaces_it(shop, night, mail, chat):
    results.write_json(night / "delivery.json", results.read_json(night / "delivery.json") | {"verdict_changed": True})
    (shop.definitions / "subscriptions.yaml").write_text(
        "- {email: [leads@example.com, Team@example.com], slack: '#leads', for: all, send: [verdict_changes]}\n"
    )
    assert deliver_email(night, server_of(mail), shop.definitions) == [*RECIPIENTS, "leads@example.com"]
    assert deliver_slack(night, endpoint_of(chat), shop.definitions) == ["#checkout", "#leads"]
    shop.change(LATE)
    corrected = shop.run()
    assert not results.read_json(corrected / "delivery.json")["verdict_changed"]
    assert deliver_email(corrected, server_of(mail), shop.definitions) == [*RECIPIENTS, "leads@example.com"]
    assert deliver_slack(corrected, endpoint_of(chat), shop.definitions) == ["#checkout", "#leads"]


@pytest.mark.parametrize("sender", ["abtest@größe.example", "Größe, Preis <abtest@example.com>"])
def test_sender_that_the_server_cannot_take_is_told_and_leaves_no_doubt(night, sender):
    lines = (b"220 ready\r\n", b"250 hello\r\n", b"221 bye\r\n")
    with server_that_hangs_up(*lines) as port, pytest.raises(RuntimeError, match="refused 2 of the recipients"):
        deliver_email(night, SmtpServer("127.0.0.1", port, sender=sender, security="none", timeout=5))
    assert claims(night) == []


def test_rerun_of_a_night_that_everybody_has_needs_no_server(night, mail):
    deliver_email(night, server_of(mail))
    assert deliver_email(night, SmtpServer("127.0.0.1", free_port(), security="none")) == []


def test_receipt_says_which_message_the_recipient_got(night, mail):
    deliver_email(night, server_of(mail))
    kept = [results.read_json(path) for path in (night.parent / "outbox").glob("*.json")]
    got = {received.recipients[0]: received.message["Message-ID"] for received in mail.messages}
    assert {entry["recipient"]: entry["answer"]["message_id"] for entry in kept} == got


def deliver_in_a_process(night, port):
    deliver_email(night, SmtpServer("127.0.0.1", port, security="none", timeout=60))


@contextmanager
def server_that_takes_a_message_and_says_nothing():
    """Its port, and an event that is set once the whole message is there."""
    taken, over = threading.Event(), threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            for answer in (b"220 ready", b"250 hello", b"250 sender", b"250 recipient", b"354 go on"):
                stream.write(answer + b"\r\n")
                stream.flush()
                stream.readline()
            while stream.readline() != b".\r\n":
                pass
            taken.set()
            over.wait(timeout=60)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], taken
        over.set()
        thread.join(timeout=10)


def test_process_that_is_killed_after_the_server_took_the_message_sends_it_no_second_time(night, mail):
    with server_that_takes_a_message_and_says_nothing() as (port, taken):
        process = multiprocessing.get_context("spawn").Process(target=deliver_in_a_process, args=(night, port))
        process.start()
        assert taken.wait(timeout=60)
        process.kill()
        process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"to team@example\.com ended without a receipt, so it may have arrived"):
            deliver_email(night, server_of(mail))
    assert [received.recipients for received in mail.messages] == [("boss@example.com",)]


def test_two_processes_at_once_send_each_mail_once(night, mail):
    spawn = multiprocessing.get_context("spawn")
    running = [spawn.Process(target=deliver_in_a_process, args=(night, mail.port)) for _ in range(2)]
    for process in running:
        process.start()
    for process in running:
        process.join(timeout=60)
    assert [process.exitcode for process in running] == [0, 0]
    assert sorted(received.recipients[0] for received in mail.messages) == sorted(RECIPIENTS)


def test_title_that_looks_like_an_encoded_header_is_none_in_reports_and_alerts(shop, mail):
    shop.redefine(KEY, "title: Shorter checkout", 'title: "=?utf-8?q?=0D=0ABcc:_eve@example.com?= \\e[31m"')
    deliver_email(shop.run(), server_of(mail))
    alert(shop, mail)
    for received in mail.messages:
        content = received.path.read_bytes().partition(b"\r\n\r\n")[0]
        assert not re.search(rb"^Bcc", content, re.MULTILINE)
        assert "eve@example.com" in received.message["Subject"]
        assert "\x1b" not in received.message["Subject"] + received.message.get_body(("plain",)).get_content()


@pytest.mark.parametrize("which", ["three variants", "100 segments and 30 guardrails"])
def test_largest_messages_are_at_most_150_kilobytes(which, tmp_path):
    document, history = nights.night("three_variants") if which == "three variants" else nights.wide(100, 30)
    rendered = render(view(document, history))
    letter = Letter("SHIP", rendered.text, rendered.mail, images=tuple(rendered.images.items()), topic="checkout")
    content = compose(letter, SmtpServer("localhost"), "ana@example.com", about=tmp_path).as_bytes()
    assert len(rendered.images) >= 1
    assert len(content) <= 150_000
