"""What was sent to whom: no retry sends twice, and nothing in doubt is sent again."""

import json
import multiprocessing
import os
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from abtest_lib import outbox
from abtest_lib.outbox import FOLDER, InDoubt, NotSent, receipt, receipts, send_once, settle

MESSAGE = {"channel": "email", "recipient": "ana@example.com", "content": b"SHIP"}


def entries(night):
    return [json.loads(path.read_text()) for path in sorted((night / FOLDER).glob("*.json"))]


def test_message_is_sent_once(tmp_path):
    sent = []
    assert [send_once(tmp_path, **MESSAGE, send=lambda: sent.append(1)) for _ in range(3)] == [True, False, False]
    assert sent == [1]


@pytest.mark.parametrize("change", [{"channel": "slack"}, {"recipient": "bob@example.com"}, {"content": b"SHIP IT"}])
def test_another_channel_recipient_or_content_is_another_message(tmp_path, change):
    sent = []
    for message in (MESSAGE, {**MESSAGE, **change}):
        assert send_once(tmp_path, **message, send=lambda: sent.append(1))
    assert sent == [1, 1]


def test_nights_do_not_know_of_each_other(tmp_path):
    assert [send_once(tmp_path / night, **MESSAGE, send=lambda: None) for night in ("2026-03-08", "2026-03-09")] == [
        True,
        True,
    ]


def test_receipt_says_to_whom_and_what_but_not_the_content(tmp_path):
    send_once(tmp_path, **MESSAGE, send=lambda: None)
    (entry,) = entries(tmp_path)
    digest = "39e1775d82d2eb9cf0d2862d6e2d59c5b7a1e85c543d89a8fe0594b51115f427"  # printf SHIP | sha256sum
    assert entry == {"channel": "email", "recipient": "ana@example.com", "content_sha256": digest, "state": "sent"}


def test_message_is_claimed_while_it_is_sent(tmp_path):
    seen = []
    send_once(tmp_path, **MESSAGE, send=lambda: seen.extend(entry["state"] for entry in entries(tmp_path)))
    assert seen == ["claimed"]


def refuse():
    raise NotSent("550 no such mailbox")


def test_refused_message_may_be_tried_again(tmp_path):
    with pytest.raises(NotSent, match="550 no such mailbox"):
        send_once(tmp_path, **MESSAGE, send=refuse)
    assert entries(tmp_path) == []
    assert send_once(tmp_path, **MESSAGE, send=lambda: None)


def break_off():
    raise ConnectionError("the line broke")


def test_message_in_doubt_is_not_sent_again(tmp_path):
    with pytest.raises(ConnectionError):
        send_once(tmp_path, **MESSAGE, send=break_off)
    with pytest.raises(InDoubt) as caught:
        send_once(tmp_path, **MESSAGE, send=lambda: pytest.fail("sent although in doubt"))
    (path,) = (tmp_path / FOLDER).iterdir()
    assert str(caught.value) == (
        f"{path}: an earlier try to send this email message to ana@example.com ended without a receipt, so it may have "
        "arrived. Ask the recipient, then delete the file to send again, or set its state to sent."
    )


def test_doubt_is_settled_by_setting_the_state_or_deleting_the_file(tmp_path):
    with pytest.raises(ConnectionError):
        send_once(tmp_path, **MESSAGE, send=break_off)
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_text(path.read_text().replace("claimed", "sent"))
    assert not send_once(tmp_path, **MESSAGE, send=lambda: pytest.fail("sent although settled"))
    path.unlink()
    assert send_once(tmp_path, **MESSAGE, send=lambda: None)


@pytest.mark.parametrize("cut_off", [b"", b'{"channel": "em', b"\xff", b"[]"])
def test_claim_that_was_cut_off_is_a_doubt(tmp_path, cut_off):
    with pytest.raises(ConnectionError):
        send_once(tmp_path, **MESSAGE, send=break_off)
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_bytes(cut_off)
    with pytest.raises(RuntimeError, match="ended without a receipt"):
        send_once(tmp_path, **MESSAGE, send=lambda: pytest.fail("sent although in doubt"))


def test_receipt_keeps_what_the_other_side_answered(tmp_path):
    assert receipt(tmp_path, **MESSAGE) is None
    send_once(tmp_path, **MESSAGE, send=lambda: {"ts": "1772000001.000100"})
    assert receipt(tmp_path, **MESSAGE)["answer"] == {"ts": "1772000001.000100"}


def test_receipts_are_found_by_channel_and_recipient_and_claims_are_none(tmp_path):
    for change in ({}, {"recipient": "bob@example.com"}, {"channel": "slack"}):
        send_once(tmp_path, **{**MESSAGE, **change}, send=lambda: {})
    with pytest.raises(ConnectionError):
        send_once(tmp_path, **{**MESSAGE, "content": b"STOP"}, send=break_off)
    (found,) = receipts(tmp_path, channel="email", recipient="ana@example.com")
    assert found["content_sha256"] == "39e1775d82d2eb9cf0d2862d6e2d59c5b7a1e85c543d89a8fe0594b51115f427"
    assert len(receipts(tmp_path)) == 3


@pytest.mark.parametrize(("answer", "sends"), [({"ts": "1772000001.000100"}, False), (None, True)])
def test_doubt_is_settled_by_what_the_other_side_knows(tmp_path, answer, sends):
    with pytest.raises(ConnectionError):
        send_once(tmp_path, **MESSAGE, send=break_off)
    with pytest.raises(InDoubt) as caught:
        send_once(tmp_path, **MESSAGE, send=lambda: None)
    settle(caught.value.path, answer)
    assert (receipt(tmp_path, **MESSAGE) or {}).get("answer") == answer
    assert send_once(tmp_path, **MESSAGE, send=lambda: None) is sends


def test_of_two_retries_after_a_death_the_second_does_not_take_back_what_the_first_is_sending(tmp_path):
    with pytest.raises(ConnectionError):
        send_once(tmp_path, **MESSAGE, send=break_off)
    with pytest.raises(InDoubt) as caught:
        send_once(tmp_path, **MESSAGE, send=lambda: None)
    settle(caught.value.path, None)
    assert send_once(tmp_path, **MESSAGE, send=lambda: settle(caught.value.path, None))
    settle(caught.value.path, None)
    assert not send_once(tmp_path, **MESSAGE, send=lambda: pytest.fail("sent twice"))


def test_an_outbox_holds_nothing_but_receipts_that_everybody_may_read(tmp_path):
    send_once(tmp_path, **MESSAGE, send=lambda: None)
    send_once(tmp_path, **MESSAGE, send=lambda: None)
    (path,) = (tmp_path / FOLDER).iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_of_eight_tries_at_once_one_sends_and_the_others_wait_for_its_receipt(tmp_path):
    barrier, sent = Barrier(8), []

    def attempt(_):
        barrier.wait(timeout=10)
        return send_once(tmp_path, **MESSAGE, send=lambda: sent.append(time.sleep(0.2)))

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [False] * 7 + [True]
    assert len(sent) == 1


def test_who_waits_sends_when_the_other_try_was_refused(tmp_path):
    barrier, tries = Barrier(2), []

    def refuse_the_first():
        tries.append(1)
        time.sleep(0.2)
        if len(tries) == 1:
            refuse()

    def attempt(_):
        barrier.wait(timeout=10)
        try:
            return send_once(tmp_path, **MESSAGE, send=refuse_the_first)
        except NotSent:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(attempt, range(2))) == {"refused", True}
    assert len(tries) == 2


def test_who_waits_too_long_says_so_and_leaves_the_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "_PATIENCE_SECONDS", 0.1)
    caught = []

    def another():
        with pytest.raises(InDoubt, match="another process has been sending this email message"):
            send_once(tmp_path, **MESSAGE, send=lambda: pytest.fail("sent although another is sending"))
        caught.append(1)

    assert send_once(tmp_path, **MESSAGE, send=another)
    assert caught


SPAWN = multiprocessing.get_context("spawn")


def note_and(folder, what):
    """Send by adding a line to a file, as a server takes a message, and then wait or die."""
    with open(folder / "server", "a", encoding="utf-8") as file:
        file.write("taken\n")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)


def attempt_in_a_process(folder, what, barrier, answers):
    barrier.wait(timeout=60)
    answers.put(send_once(folder, **MESSAGE, send=lambda: note_and(folder, what)))


def processes(folder, what, number):
    barrier, answers = SPAWN.Barrier(number), SPAWN.SimpleQueue()
    running = [SPAWN.Process(target=attempt_in_a_process, args=(folder, what, barrier, answers)) for _ in range(number)]
    for process in running:
        process.start()
    for process in running:
        process.join(timeout=60)
    codes = [process.exitcode for process in running]
    return codes, sorted(answers.get() for code in codes if code == 0)


def test_of_two_processes_at_once_one_sends_and_both_end_well(tmp_path):
    assert processes(tmp_path, "wait", 2) == ([0, 0], [False, True])
    assert (tmp_path / "server").read_text() == "taken\n"


def test_process_that_is_killed_between_claim_and_receipt_leaves_a_doubt(tmp_path):
    assert processes(tmp_path, "die", 1) == ([-signal.SIGKILL], [])
    with pytest.raises(InDoubt, match="ended without a receipt, so it may have arrived"):
        send_once(tmp_path, **MESSAGE, send=lambda: note_and(tmp_path, "wait"))
    assert (tmp_path / "server").read_text() == "taken\n"
    assert [entry["state"] for entry in entries(tmp_path)] == ["claimed"]
