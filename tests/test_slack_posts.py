"""Reports reach each channel once, in one thread, whatever Slack answers. Over real HTTP, against demo's receiver."""

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from slack_sdk import WebClient

from abtest_lib import outbox, results
from abtest_lib.report import view
from abtest_lib.report.slack import slack_messages
from abtest_lib.slack_posts import SlackEndpoint, post_message, post_report
from demo.receivers import SlackReceiver
from tests.receivers import TOKEN

CASES = Path(__file__).parent / "report" / "cases"
CHARTS = [
    {"name": "forest", "title": "Effects", "alt": "Checkout conversion +4.2% (+1.7% to +6.7%)"},
    {"name": "nights", "title": "The last nights", "alt": "Checkout conversion moved from +3.9% to +4.2%"},
]
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40
CHANNEL = "#payments"


def write_night(store, document, history=(), revision="000000000001", **said):
    """Write what the step report writes for Slack."""
    shown = view(document, history) | {"charts": CHARTS} | said
    night = store / document["experiment"]["key"] / document["as_of"] / revision
    night.mkdir(parents=True)
    results.write_json(night / "slack.json", slack_messages(shown))
    for chart in CHARTS:
        (night / f"{chart['name']}.png").write_bytes(PNG + chart["name"].encode())
    return night


@pytest.fixture(scope="module")
def story():
    """Nights of one experiment, oldest first; the verdict of the last one is another."""
    case = json.loads((CASES / "do_not_ship.json").read_text("utf-8"))
    return [*case["history"][-2:], case["results"]]


@pytest.fixture
def nights(story, tmp_path):
    return [write_night(tmp_path / "results", document, story[:place]) for place, document in enumerate(story)]


@pytest.fixture
def night(nights):
    return nights[-1]


@pytest.fixture
def chat_with(tmp_path):
    """A receiver with settings of its own."""
    opened = []

    def open_one(**settings):
        opened.append(SlackReceiver(tmp_path / f"slack-{len(opened)}", token=TOKEN, **settings))
        return opened[-1].__enter__()

    yield open_one
    for receiver in opened:
        receiver.__exit__()


def endpoint_of(receiver, token=TOKEN, patience=2.0):
    return SlackEndpoint(token, base_url=receiver.url, patience=patience)


def post(night, receiver, *channels, **settings):
    return post_report(night, endpoint_of(receiver, **settings), channels or [CHANNEL])


def states(night):
    """What the outboxes of a night and its experiment hold."""
    paths = [*night.parent.glob("outbox/*.json"), *night.parent.parent.glob("outbox/*.json")]
    return sorted((entry["channel"], entry["state"]) for entry in map(results.read_json, paths))


def kinds(message):
    return [block["type"] for block in message["blocks"]]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_first_night_is_a_reply_to_the_message_of_the_experiment(nights, chat):
    assert post(nights[0], chat) == [CHANNEL]
    first, reply = chat.messages
    said = results.read_json(nights[0] / "slack.json")
    assert (first["text"], first["blocks"]) == (said["parent"]["text"], said["parent"]["blocks"])
    assert (reply["text"], reply["thread_ts"]) == (said["night"]["text"], first["ts"])
    assert "thread_ts" not in first


def test_later_nights_are_replies_and_the_first_message_says_what_the_newest_one_says(nights, chat):
    for night in nights:
        assert post(night, chat) == [CHANNEL]
    first, *replies = chat.messages
    assert first["blocks"] == results.read_json(nights[-1] / "slack.json")["parent"]["blocks"]
    assert {reply["thread_ts"] for reply in replies} == {first["ts"]}
    assert [reply["text"].partition(" 2026")[0] for reply in replies] == ["7 Mar", "8 Mar", "9 Mar"]


def test_night_that_is_posted_late_does_not_make_the_first_message_older(nights, chat):
    post(nights[-1], chat)
    shown = chat.messages[0]["blocks"]
    assert post(nights[0], chat) == [CHANNEL]
    assert chat.messages[0]["blocks"] == shown
    assert chat.messages[-1]["thread_ts"] == chat.messages[0]["ts"]


def test_second_call_posts_and_changes_nothing(nights, chat):
    for night in nights[:2]:
        post(night, chat)
    calls = len(chat.calls)
    assert post(nights[1], chat) == []
    assert len(chat.calls) == calls


def test_change_of_verdict_is_told_to_the_whole_channel(nights, chat):
    for night in nights:
        post(night, chat)
    assert [message.get("reply_broadcast") for message in chat.messages[1:]] == [False, False, True]


def test_guardrail_alarm_is_told_to_the_whole_channel(story, tmp_path, chat):
    post(write_night(tmp_path / "results", story[0], guardrail_alarm=True), chat)
    assert chat.messages[1]["reply_broadcast"] is True


def test_replaced_report_says_so_and_the_new_one_what_it_replaces(story, nights, tmp_path, chat):
    post(nights[0], chat)
    sentence = "This report replaces revision 000000000001 of this night: the data changed."
    again = write_night(tmp_path / "results", story[0], revision="000000000002", supersedes=sentence)
    assert post(again, chat) == [CHANNEL]
    _, old, new = chat.messages
    marked = old["blocks"][0]["elements"][0]["elements"][0]["text"]
    assert marked == "⚠ Replaced by a later report of the same night."
    assert old["text"].startswith("Replaced by a later report of the same night: 7 Mar 2026")
    assert kinds(old)[1:] == [kind for kind in kinds(new) if kind][:1] + kinds(new)[2:]
    assert sentence in json.dumps(new["blocks"])
    assert old["blocks"][-1] == results.read_json(nights[0] / "slack.json")["night"]["blocks"][-1]
    calls = len(chat.calls)
    assert post(again, chat) == [] and len(chat.calls) == calls


def test_report_that_says_nothing_new_is_not_posted_again(story, nights, tmp_path, chat):
    post_report(nights[0], endpoint_of(chat), [CHANNEL], news=b"+3.9%")
    again = write_night(tmp_path / "results", story[0], revision="000000000002", supersedes="It replaces that.")
    assert post_report(again, endpoint_of(chat), [CHANNEL], news=b"+3.9%") == []
    assert len(chat.messages) == 2 and "chat.update" not in chat.calls


def test_report_that_goes_back_to_what_was_replaced_is_posted_again(story, nights, tmp_path, chat):
    others = [
        write_night(tmp_path / "results", story[0], revision=f"00000000000{number}", title=f"Try {number}",
                    supersedes=f"This replaces try {number - 1}.") for number in (2, 3)
    ]  # fmt: skip
    for night, news in zip((nights[0], *others), (b"+3.9%", b"+4.0%", b"+3.9%"), strict=True):
        assert post_report(night, endpoint_of(chat), [CHANNEL], news=news) == [CHANNEL]
    first, *replies = chat.messages
    assert [reply["text"].startswith("Replaced by") for reply in replies] == [True, True, False]
    assert first["blocks"][0]["text"]["text"].endswith("Try 3")
    calls = len(chat.calls)
    assert post_report(others[-1], endpoint_of(chat), [CHANNEL], news=b"+3.9%") == []
    assert len(chat.calls) == calls


def test_message_of_an_experiment_that_a_person_deleted_and_that_has_replies_is_followed_by_a_new_one(nights, chat):
    """Slack may take replies to a deleted message; that it is gone shows when it is to be changed."""
    post(nights[0], chat)
    chat.faults["chat.update"] = ["message_not_found"]
    post(nights[1], chat)
    post(nights[2], chat)
    first, _, _, successor, reply = chat.messages
    assert "thread_ts" not in successor and reply["thread_ts"] == successor["ts"] != first["ts"]
    assert successor["blocks"] == results.read_json(nights[2] / "slack.json")["parent"]["blocks"]


def test_message_of_an_experiment_that_a_person_deleted_is_followed_by_a_new_one(nights, chat):
    post(nights[0], chat)
    chat.delete(chat.messages[0]["ts"])
    assert post(nights[1], chat) == [CHANNEL]
    assert post(nights[2], chat) == [CHANNEL]
    *_, first, second_reply, third_reply = chat.messages
    assert "thread_ts" not in first
    assert second_reply["thread_ts"] == third_reply["thread_ts"] == first["ts"]


def test_channels_do_not_depend_on_each_other(night, chat_with):
    chat = chat_with(channels={"#old": "is_archived", "#gone": "channel_not_found"})
    with pytest.raises(RuntimeError) as caught:
        post(night, chat, "#old", "#a", "#gone", "#b", "#a")
    assert [message["channel"] for message in chat.messages] == ["#a", "#a", "#b", "#b"]
    first, second = str(caught.value).splitlines()
    assert first.startswith("one_page_checkout, 2026-03-09: Slack took no message to #old: is_archived. The channel is")
    assert second.startswith("one_page_checkout, 2026-03-09: Slack took no message to #gone: channel_not_found. There")
    chat.channels.clear()
    assert post(night, chat, "#old", "#a", "#gone", "#b") == ["#old", "#gone"]


def test_two_experiments_in_one_channel_have_two_threads(story, night, tmp_path, chat):
    other = story[-1] | {"experiment": story[-1]["experiment"] | {"key": "other", "title": "Another one"}}
    post(night, chat)
    post(write_night(tmp_path / "results", other), chat)
    first, _, second, reply = chat.messages
    assert "thread_ts" not in second and reply["thread_ts"] == second["ts"] != first["ts"]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("channel_not_found", "There is no such channel, or it is private and the app is not in it: correct its name "
         "(notify.slack, alerts.slack or subscriptions.yaml), or invite the app."),
        ("not_in_channel", "Invite the app into the channel, or add the scope chat:write.public to it."),
        ("is_archived", "The channel is archived: name another one (notify.slack, alerts.slack or subscriptions.yaml), "
         "or unarchive it."),
        ("restricted_action", "The workspace does not let this app post there: ask who administers it."),
        ("token_revoked", "The token was revoked: give the connection abtest_slack the bot token of the app (xoxb-…)."),
        ("team_access_not_granted", "Slack's documentation of chat.postMessage says what that means."),
    ],
)  # fmt: skip
def test_refusal_names_channel_cause_and_remedy_and_may_be_tried_again(night, chat_with, code, remedy):
    chat = chat_with(faults={"chat.postMessage": [code]})
    with pytest.raises(RuntimeError) as caught:
        post(night, chat)
    said = f"one_page_checkout, 2026-03-09: Slack took no message to {CHANNEL}: {code}. {remedy}"
    assert str(caught.value) == said
    assert states(night) == []
    assert post(night, chat) == [CHANNEL]


def test_wrong_token_is_told_without_the_token(night, chat):
    with pytest.raises(RuntimeError, match=r"invalid_auth\. The token is not valid: give the connection abt") as caught:
        post(night, chat, token="xoxb-s3cret")  # noqa: S106
    assert "s3cret" not in str(caught.value) + repr(endpoint_of(chat, token="s3cret"))  # noqa: S106
    assert states(night) == []
    assert post(night, chat) == [CHANNEL]


def test_scope_that_is_missing_is_named(night, chat_with):
    chat = chat_with(scopes=["files:write"])
    with pytest.raises(RuntimeError, match=r"missing_scope\. Add the scope chat:write to the app and install it again"):
        post(night, chat)


def test_slack_that_is_gone_may_be_tried_again(night, chat):
    gone = SlackEndpoint(TOKEN, f"http://127.0.0.1:{free_port()}/api/")
    with pytest.raises(RuntimeError, match=r"cannot be reached .*Connection refused.*nothing was sent") as caught:
        post_report(night, gone, [CHANNEL])
    assert caught.type is RuntimeError
    assert states(night) == []
    assert post(night, chat) == [CHANNEL]


def test_busy_slack_is_waited_for(night, chat_with):
    chat = chat_with(rate_limited=2, retry_after=0)
    assert post(night, chat) == [CHANNEL]
    assert len(chat.messages) == 2


def test_slack_that_is_busy_for_too_long_is_not_waited_for(night, chat_with):
    chat = chat_with(rate_limited=1, retry_after=600)
    begun = time.monotonic()
    with pytest.raises(RuntimeError, match=r"ratelimited\. Slack takes no more messages for now: repeat the task"):
        post(night, chat)
    assert time.monotonic() - begun < 2
    assert states(night) == []


def test_pause_that_slack_asks_for_is_kept(night, chat_with):
    chat = chat_with(rate_limited=1, retry_after=1)
    begun = time.monotonic()
    post(night, chat)
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("fault", [500, 503, "internal_error", "fatal_error"])
def test_failure_of_slack_that_lost_the_report_is_told_and_the_next_try_sends_it(nights, chat, fault):
    post(nights[0], chat)
    chat.faults["chat.postMessage"] = [fault]
    with pytest.raises(RuntimeError, match=r"it is not in the channel\. Repeat the task"):
        post(nights[1], chat)
    assert len(chat.messages) == 2
    assert post(nights[1], chat) == [CHANNEL]
    assert len(chat.messages) == 3


@pytest.mark.parametrize("fault", ["taken, 500", "taken, closed"])
def test_report_that_slack_took_although_it_failed_is_found_and_not_sent_twice(nights, chat, fault):
    post(nights[0], chat)
    chat.faults["chat.postMessage"] = [fault]
    assert post(nights[1], chat) == [CHANNEL]
    assert chat.calls.count("chat.postMessage") == 3
    assert post(nights[1], chat) == []
    assert len(chat.messages) == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("taken, closed", "the connection broke while the message to #payments was sent (Remote end closed connection"),
        ("taken, 500", "it failed (500, Received a response in a non-JSON format"),
        (503, "it failed (503, service_unavailable) while the message to #payments was sent, so it may have arrived"),
        ("fatal_error", "it failed (200, fatal_error) while the message to #payments was sent, so it may have arrived"),
    ],
)
def test_doubt_that_nobody_can_settle_stays_and_stops_the_next_try(nights, chat_with, fault, said):
    chat = chat_with(scopes=["chat:write", "files:write"])
    post(nights[0], chat)
    chat.faults["chat.postMessage"] = [fault]
    with pytest.raises(ConnectionError) as caught:
        post(nights[1], chat)
    assert str(caught.value).startswith(f"Slack, {chat.url}: ") and said in str(caught.value)
    assert str(caught.value).endswith("Look in the channel before you send it again.")
    assert ("slack", "claimed") in states(nights[1])
    count = len(chat.messages)
    with pytest.raises(RuntimeError, match="ended without a receipt, so the message may be in the channel"):
        post(nights[1], chat)
    assert len(chat.messages) == count


def forget_receipt(folder, kind):
    """Leave what a process leaves that is killed between the post and its receipt."""
    (path,) = [path for path in folder.glob("outbox/*.json") if results.read_json(path)["channel"] == kind]
    entry = results.read_json(path)
    results.write_json(path, {key: entry[key] for key in entry if key != "answer"} | {"state": "claimed"})


def test_report_of_a_process_that_was_killed_after_the_post_is_found_and_may_be_replaced(story, nights, tmp_path, chat):
    post(nights[0], chat)
    forget_receipt(nights[0].parent, "slack")
    assert post(nights[0], chat) == []
    assert len(chat.messages) == 2
    assert ("slack", "claimed") not in states(nights[0])
    post(write_night(tmp_path / "results", story[0], revision="000000000002", supersedes="It replaces that."), chat)
    assert "Replaced by a later report" in json.dumps(chat.messages[1]["blocks"][0])


def test_report_of_a_process_that_was_killed_before_the_post_is_sent(nights, chat):
    post(nights[0], chat)
    forget_receipt(nights[0].parent, "slack")
    chat.delete(chat.messages[1]["ts"])
    assert post(nights[0], chat) == [CHANNEL]
    assert len(chat.messages) == 2


def test_message_of_an_experiment_is_never_posted_twice_when_its_receipt_is_lost(nights, chat):
    post(nights[0], chat)
    forget_receipt(nights[0].parent.parent, "slack-first")
    with pytest.raises(RuntimeError, match="an earlier try to post to #payments ended without a receipt"):
        post(nights[1], chat)
    assert len(chat.messages) == 2


def test_message_of_an_experiment_is_found_again_in_a_channel_that_is_named_by_its_id(nights, chat):
    post_message(nights[0], endpoint_of(chat), CHANNEL, kind="alert", message={"text": "The channel gets its id."})
    assert post(nights[0], chat, "C00000001") == ["C00000001"]
    forget_receipt(nights[0].parent.parent, "slack-first")
    assert post(nights[1], chat, "C00000001") == ["C00000001"]
    _, first, *replies = chat.messages
    assert [reply["thread_ts"] for reply in replies] == [first["ts"]] * 2


def test_app_that_sees_no_message_of_its_own_does_not_take_that_for_a_proof(nights, chat):
    WebClient(TOKEN, base_url=chat.url).chat_postMessage(channel=CHANNEL, text="Somebody else's message.")
    assert post(nights[0], chat, "C00000001") == ["C00000001"]
    forget_receipt(nights[0].parent.parent, "slack-first")
    for message in chat.messages[1:]:
        chat.delete(message["ts"])
    with pytest.raises(RuntimeError, match="ended without a receipt"):
        post(nights[1], chat, "C00000001")
    assert len(chat.messages) == 1


_POSTING = """
import sys
from pathlib import Path
from abtest_lib.slack_posts import SlackEndpoint, post_report
post_report(Path(sys.argv[1]), SlackEndpoint(sys.argv[2], base_url=sys.argv[3]), [sys.argv[4]])
"""


def test_process_that_is_killed_while_slack_answers_leaves_one_message(nights, chat):
    post(nights[0], chat)
    chat.faults["chat.postMessage"] = ["taken, held"]
    arguments = [sys.executable, "-c", _POSTING, str(nights[1]), TOKEN, chat.url, CHANNEL]
    with subprocess.Popen(arguments, cwd=Path(__file__).parents[1]) as posting:  # noqa: S603
        until = time.monotonic() + 20
        while len(chat.messages) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        posting.kill()
    assert len(chat.messages) == 3 and ("slack", "claimed") in states(nights[1])
    chat.faults["conversations.replies"] = ["missing_scope"]
    with pytest.raises(RuntimeError, match="ended without a receipt"):
        post(nights[1], chat)
    assert post(nights[1], chat) == []
    assert len(chat.messages) == 3 and ("slack", "sent") in states(nights[1])


def test_receipt_that_was_settled_by_hand_and_names_no_message_is_explained(nights, chat):
    post(nights[0], chat)
    (path,) = nights[0].parent.parent.glob("outbox/*.json")
    entry = results.read_json(path)
    results.write_json(path, {key: entry[key] for key in entry if key != "answer"})
    with pytest.raises(RuntimeError, match=r"does not say which message it is\. Delete it from"):
        post(nights[1], chat)


def test_doubt_about_a_reply_may_be_settled_by_hand(nights, chat):
    post(nights[0], chat)
    forget_receipt(nights[0].parent, "slack")
    (path,) = [path for path in nights[0].parent.glob("outbox/*.json") if results.read_json(path)["channel"] == "slack"]
    results.write_json(path, results.read_json(path) | {"state": "sent"})
    assert post(nights[0], chat) == []
    assert post(nights[1], chat) == [CHANNEL]
    assert len(chat.messages) == 3


def test_report_that_another_process_is_still_sending_is_left_to_it(nights, chat, monkeypatch):
    monkeypatch.setattr(outbox, "_PATIENCE_SECONDS", 0.2)
    post(nights[0], chat)
    chat.faults["chat.postMessage"] = ["taken, held"]
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(post, nights[1], chat)
        while len(chat.messages) < 3:
            time.sleep(0.01)
        with pytest.raises(RuntimeError, match="another process has been sending this slack message to #payments"):
            post(nights[1], chat)
        assert ("slack", "claimed") in states(nights[1])
        chat.release()
        assert other.result(timeout=10) == [CHANNEL]
    assert len(chat.messages) == 3 and post(nights[1], chat) == []


def test_of_processes_that_post_at_once_one_posts(nights, chat):
    barrier = Barrier(4)

    def attempt(_):
        barrier.wait(timeout=10)
        return post(nights[0], chat)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [[], [], [], [CHANNEL]]
    assert len(chat.messages) == 2


def test_pictures_are_uploaded_and_shown(night, chat):
    post(night, chat)
    reply = chat.messages[1]
    shown = [block for block in reply["blocks"] if block["type"] == "image"]
    assert [chat.files[block["slack_file"]["id"]] for block in shown] == [PNG + b"forest", PNG + b"nights"]
    assert [(block["title"]["text"], block["alt_text"]) for block in shown] == [
        (chart["title"], chart["alt"]) for chart in CHARTS
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"scopes": ["chat:write"]},
        {"faults": {"files.getUploadURLExternal": [500]}},
        {"faults": {"files.completeUploadExternal": ["internal_error"]}},
        {"faults": {"files.getUploadURLExternal": ["taken, closed"]}},
        {"refused": ["image"]},
    ],
)
def test_report_arrives_without_pictures_where_they_cannot_be_uploaded_or_shown(night, chat_with, settings, caplog):
    chat = chat_with(**settings)
    assert post(night, chat) == [CHANNEL]
    assert "image" not in kinds(chat.messages[1]) and "rich_text" in kinds(chat.messages[1])
    assert "posted without pictures" in caplog.text


def test_picture_that_is_not_ready_yet_is_waited_for(night, chat_with):
    chat = chat_with(slow_files=2)
    post(night, chat, patience=0.5)
    assert kinds(chat.messages[1]).count("image") == 2


def test_report_does_not_wait_for_pictures_for_ever(night, chat_with):
    chat = chat_with(slow_files=99)
    begun = time.monotonic()
    assert post(night, chat, patience=0.3) == [CHANNEL]
    assert "image" not in kinds(chat.messages[1]) and time.monotonic() - begun < 3


def test_report_without_pictures_needs_no_upload(night, chat):
    for path in night.glob("*.png"):
        path.unlink()
    post(night, chat)
    assert "image" not in kinds(chat.messages[1])
    assert set(chat.calls) == {"chat.postMessage"}


def test_workspace_that_takes_no_tables_gets_their_rows_as_text(night, chat_with):
    chat = chat_with(refused=["table"])
    assert post(night, chat) == [CHANNEL]
    blocks = chat.messages[1]["blocks"]
    assert "table" not in kinds(chat.messages[1]) and "image" in kinds(chat.messages[1])
    text = "\n".join(block["text"]["text"] for block in blocks if block["type"] == "section")
    assert (
        "✖ Page latency (margin +3%): proved harmful, +5.83% (+5.54% to +6.12%)".replace(" to ", "\u00a0to\u00a0")
        in text
    )


def test_report_whose_table_was_refused_can_be_marked_as_replaced(story, nights, tmp_path, chat_with):
    chat = chat_with(refused=["table"])
    post(nights[0], chat)
    again = write_night(tmp_path / "results", story[0], revision="000000000002", supersedes="This report replaces it.")
    post(again, chat)
    assert "Replaced by a later report" in json.dumps(chat.messages[1]["blocks"][0])


def test_blocks_that_slack_does_not_take_in_any_form_are_told_with_what_it_complains_of(night, chat_with):
    chat = chat_with(refused=["rich_text"])
    with pytest.raises(RuntimeError) as caught:
        post(night, chat)
    assert "invalid_blocks (unsupported type: rich_text [json-pointer:/blocks/1])" in str(caught.value)
    assert "please report this as a fault of abtest" in str(caught.value)
    assert states(night) == []


def test_first_message_that_may_not_be_changed_keeps_no_report_back(nights, chat, caplog):
    post(nights[0], chat)
    chat.faults["chat.update"] = ["edit_window_closed"]
    assert post(nights[1], chat) == [CHANNEL]
    assert "was not brought up to date: edit_window_closed" in caplog.text
    assert post(nights[1], chat) == []
    assert chat.messages[0]["blocks"] == results.read_json(nights[1] / "slack.json")["parent"]["blocks"]


def test_change_that_slack_failed_at_is_made_again(nights, chat):
    post(nights[0], chat)
    chat.faults["chat.update"] = [500]
    post(nights[1], chat)
    assert chat.messages[0]["blocks"] == results.read_json(nights[1] / "slack.json")["parent"]["blocks"]


def test_message_that_stands_alone_is_posted_once_for_each_kind_and_content(tmp_path, chat):
    folder, slack = tmp_path / "checkout" / "2026-03-09", endpoint_of(chat)
    said = [{"text": "FAILED: checkout"}, {"text": "FAILED: checkout"}, {"text": "Another failure"}]
    assert [post_message(folder, slack, "#alerts", kind="alert", message=text) for text in said] == [True, False, True]
    assert post_message(folder, slack, "#alerts", kind="digest", message=said[0])
    assert [message["text"] for message in chat.messages] == ["FAILED: checkout", "Another failure", "FAILED: checkout"]
    assert "blocks" not in chat.messages[0] and chat.messages[0]["mrkdwn"] is False


def test_name_that_calls_the_channel_arrives_as_text(story, tmp_path, chat):
    title = "<!channel> <http://evil.example|click> *bold* & :smile: \u202eevil"
    hostile = story[0] | {"experiment": story[0]["experiment"] | {"title": title}}
    post(write_night(tmp_path / "results", hostile), chat)
    for message in chat.messages:
        header = message["blocks"][0]["text"]
        assert header["type"] == "plain_text" and header["emoji"] is False
        assert "<!channel> <http://evil.example|click> *bold* & :smile: evil" in header["text"]
        assert "<" not in message["text"] and "&lt;!channel&gt;" in message["text"]
