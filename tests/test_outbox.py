"""What was sent to whom: no retry sends twice, and nothing in doubt is sent again."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from abtest_lib.outbox import FOLDER, NotSent, send_once

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
    with pytest.raises(RuntimeError) as caught:
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


def test_of_two_tries_at_once_only_one_sends(tmp_path):
    barrier, sent = Barrier(8), []

    def attempt(_):
        barrier.wait(timeout=10)
        try:
            return send_once(tmp_path, **MESSAGE, send=lambda: sent.append(1))
        except RuntimeError:
            return False  # the other one is just sending

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert sent == [1]
