import json
import smtplib
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

from demo.receivers import MailReceiver, SlackReceiver


def mail_to(*recipients, subject="One-page checkout: ship"):
    message = EmailMessage()
    message["From"] = "abtest@example.com"
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message.set_content("Text part, with an ü.")
    message.add_alternative("<p>HTML part</p>", subtype="html")
    return message


def section(text):
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def table(rows):
    return {"type": "table", "rows": [[{"type": "raw_text", "text": cell} for cell in row] for row in rows]}


def image(**changes):
    return {"type": "image", "alt_text": "x", "image_url": "https://example.com/x.png", **changes}


@pytest.fixture
def slack(tmp_path):
    with SlackReceiver(tmp_path / "slack") as receiver:
        yield receiver


def client_of(receiver, token="xoxb-demo"):  # noqa: S107
    return WebClient(token=token, base_url=receiver.url)


def post_error(receiver, **arguments):
    with pytest.raises(SlackApiError) as caught:
        client_of(receiver).chat_postMessage(**{"channel": "#nights", "text": "A night", **arguments})
    return caught.value.response["error"]


def test_a_mail_is_kept_with_its_envelope_and_written(tmp_path):
    with MailReceiver(tmp_path) as mail, smtplib.SMTP(mail.host, mail.port) as client:
        client.send_message(mail_to("ana@example.com"), to_addrs=["ana@example.com", "bcc@example.com"])
        (received,) = mail.messages
    assert received.recipients == ("ana@example.com", "bcc@example.com")
    assert received.sender == "abtest@example.com"
    assert received.message["subject"] == "One-page checkout: ship"
    assert received.message.get_body(("plain",)).get_content().strip() == "Text part, with an ü."
    assert received.path == tmp_path / "1-one-page-checkout-ship.eml"
    assert b"HTML part" in received.path.read_bytes()


def test_a_refused_recipient_gets_550_and_the_others_their_mail(tmp_path):
    with (
        MailReceiver(tmp_path, refuse={"gone@example.com"}) as mail,
        smtplib.SMTP(mail.host, mail.port) as client,
    ):
        refused = client.send_message(mail_to("ana@example.com", "Gone@example.com"))
    assert {recipient: code for recipient, (code, _) in refused.items()} == {"Gone@example.com": 550}
    assert [received.recipients for received in mail.messages] == [("ana@example.com",)]


def test_a_mail_to_refused_recipients_only_is_not_kept(tmp_path):
    with (
        MailReceiver(tmp_path, refuse={"gone@example.com"}) as mail,
        smtplib.SMTP(mail.host, mail.port) as client,
        pytest.raises(smtplib.SMTPRecipientsRefused),
    ):
        client.send_message(mail_to("gone@example.com"))
    assert mail.messages == [] and list(tmp_path.iterdir()) == []


def test_mails_sent_at_the_same_time_are_all_kept(tmp_path):
    with MailReceiver(tmp_path) as mail:

        def send(number):
            with smtplib.SMTP(mail.host, mail.port) as client:
                client.send_message(mail_to("ana@example.com", subject=f"Night {number}"))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(send, range(12)))
    assert {received.message["subject"] for received in mail.messages} == {f"Night {n}" for n in range(12)}
    assert len(list(tmp_path.glob("*.eml"))) == 12


def test_a_closed_mail_receiver_no_longer_listens(tmp_path):
    with MailReceiver(tmp_path) as mail:
        port = mail.port
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP("127.0.0.1", port)


def test_a_slack_message_is_answered_and_written(slack, tmp_path):
    client = client_of(slack)
    assert client.auth_test()["ok"]
    first = client.chat_postMessage(channel="#nights", text="A night", blocks=[section("*ship*")])
    second = client.chat_postMessage(channel="#nights", text="Another", thread_ts=first["ts"])
    assert (first["channel"], first["ts"], second["ts"]) == ("C00000001", "1772000001.000100", "1772000002.000100")
    assert slack.messages[0]["channel"] == "#nights"
    assert slack.messages[0]["blocks"] == [section("*ship*")]
    assert slack.messages[1]["thread_ts"] == first["ts"]
    assert json.loads((tmp_path / "slack" / "1-nights.json").read_text(encoding="utf-8")) == slack.messages[0]


def test_a_form_is_read_like_json(slack):
    client_of(slack).api_call(
        "chat.postMessage", data={"channel": "#nights", "text": "A night", "blocks": json.dumps([section("*ship*")])}
    )
    assert slack.messages[0]["blocks"] == [section("*ship*")]


def test_a_missing_token_is_not_authed(slack):
    with pytest.raises(SlackApiError, match="not_authed"):
        client_of(slack, token=None).chat_postMessage(channel="#nights", text="A night")
    assert slack.messages == []


def test_a_wrong_token_is_refused(tmp_path):
    with SlackReceiver(tmp_path, token="xoxb-right") as slack:  # noqa: S106
        with pytest.raises(SlackApiError, match="invalid_auth"):
            client_of(slack, token="xoxb-wrong").chat_postMessage(channel="#nights", text="A night")  # noqa: S106
        assert client_of(slack, token="xoxb-right").chat_postMessage(channel="#nights", text="A night")["ok"]  # noqa: S106


@pytest.mark.parametrize(
    "block",
    [
        section("x" * 3001),
        section(""),
        {"type": "section"},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]},
        {"type": "header", "text": {"type": "plain_text", "text": "x" * 151}},
        {"type": "header", "text": {"type": "mrkdwn", "text": "x"}},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11},
        {"text": {"type": "mrkdwn", "text": "x"}},
        {"type": "unheard_of"},
        {"type": "rich_text"},
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": ""}]}]},
        {
            "type": "rich_text",
            "elements": [{"type": "rich_text_section", "elements": [{"type": "mrkdwn", "text": "x"}]}],
        },
        table([]),
        table([["x"]] * 101),
        table([["x"] * 21]),
        table([["x", "y"], ["x"]]),
        table([["x", ""]]),
        table([["x" * 5000, "x" * 5001]]),
        {"type": "table", "rows": [[{"type": "plain_text", "text": "x"}]]},
        image(alt_text=""),
        image(alt_text="x" * 2001),
        image(title={"type": "plain_text", "text": "x" * 2001}),
        image(title={"type": "mrkdwn", "text": "x"}),
        image(image_url="https://example.com/" + "x" * 3000),
        image(slack_file={"id": "F00000001"}),
        {"type": "image", "alt_text": "x"},
        {"type": "image", "alt_text": "x", "slack_file": {"id": "F00000001"}},
    ],
)
def test_a_block_beyond_slacks_limits_is_refused(slack, block):
    assert post_error(slack, blocks=[block]) == "invalid_blocks"
    assert slack.messages == []


def test_blocks_at_slacks_limits_pass(slack):
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "x" * 150}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2000}] * 10},
        table([["x" * 5, "y" * 5] + ["z" * 5] * 18] * 100),
        image(alt_text="x" * 2000, title={"type": "plain_text", "text": "x" * 2000}),
        *[section("x" * 3000)] * 44,
        {"type": "divider"},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 10},
    ]
    assert len(blocks) == 50
    assert client_of(slack).chat_postMessage(channel="#nights", text="A night", blocks=blocks)["ok"]
    assert post_error(slack, blocks=[*blocks, section("x")]) == "invalid_blocks"


def test_a_message_without_text_is_refused(slack):
    with pytest.raises(SlackApiError, match="no_text"):
        client_of(slack).api_call("chat.postMessage", json={"channel": "#nights"})


def test_a_rate_limited_client_may_post_after_waiting(tmp_path):
    with SlackReceiver(tmp_path, rate_limited=1, retry_after=0) as slack:
        with pytest.raises(SlackApiError) as caught:
            client_of(slack).chat_postMessage(channel="#nights", text="A night")
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "0"
        client_of(slack).chat_postMessage(channel="#nights", text="A night")
        assert len(slack.messages) == 1


def test_slacks_own_retry_handler_gets_through(tmp_path):
    with SlackReceiver(tmp_path, rate_limited=2, retry_after=0) as slack:
        client = client_of(slack)
        client.retry_handlers.append(RateLimitErrorRetryHandler(max_retry_count=2))
        assert client.chat_postMessage(channel="#nights", text="A night")["ok"]
        assert len(slack.messages) == 1


def test_two_tables_in_one_message_are_refused(slack):
    with pytest.raises(SlackApiError) as caught:
        client_of(slack).chat_postMessage(channel="#nights", text="A night", blocks=[table([["x"]])] * 2)
    answer = caught.value.response
    assert (answer["error"], answer["errors"]) == ("invalid_attachments", ["only_one_table_allowed"])


def test_a_block_that_the_workspace_does_not_take_is_named(tmp_path):
    with SlackReceiver(tmp_path, refused=["table"]) as slack, pytest.raises(SlackApiError) as caught:
        client_of(slack).chat_postMessage(channel="#nights", text="A night", blocks=[section("x"), table([["x"]])])
    assert caught.value.response["errors"] == ["unsupported type: table [json-pointer:/blocks/1]"]


def test_a_reply_needs_a_message_that_is_no_reply_in_the_same_channel(slack):
    client = client_of(slack)
    first = client.chat_postMessage(channel="#nights", text="A night")["ts"]
    reply = client.chat_postMessage(channel="#nights", text="A reply", thread_ts=first)["ts"]
    for channel, thread in (("#nights", "1.1"), ("#nights", reply), ("#others", first)):
        with pytest.raises(SlackApiError, match="thread_not_found"):
            client.chat_postMessage(channel=channel, text="A reply", thread_ts=thread)


def test_a_message_is_changed_by_the_id_of_its_channel_and_keeps_its_place(slack, tmp_path):
    client = client_of(slack)
    posted = client.chat_postMessage(channel="#nights", text="A night", blocks=[section("old")])
    client.chat_postMessage(channel="#nights", text="Another")
    client.chat_update(channel=posted["channel"], ts=posted["ts"], text="Changed", blocks=[section("new")])
    assert [message["text"] for message in slack.messages] == ["Changed", "Another"]
    assert json.loads((tmp_path / "slack" / "1-nights.json").read_text("utf-8"))["blocks"] == [section("new")]
    for channel, ts, error in (
        ("#nights", posted["ts"], "channel_not_found"),
        (posted["channel"], "1.1", "message_not_found"),
    ):
        with pytest.raises(SlackApiError, match=error):
            client.chat_update(channel=channel, ts=ts, text="Changed")


def test_history_has_first_messages_and_broadcast_replies_newest_first_and_replies_a_thread(slack):
    client = client_of(slack)
    metadata = {"event_type": "night", "event_payload": {"key": "1"}}
    first = client.chat_postMessage(channel="#nights", text="first", metadata=metadata)
    for text, loud in (("quiet", False), ("loud", True)):
        client.chat_postMessage(channel="#nights", text=text, thread_ts=first["ts"], reply_broadcast=loud)
    history = client.conversations_history(channel=first["channel"], include_all_metadata=True)["messages"]
    assert [message["text"] for message in history] == ["loud", "first"]
    assert history[1]["metadata"] == metadata
    page = client.conversations_replies(channel=first["channel"], ts=first["ts"], limit=2)
    rest = client.conversations_replies(
        channel=first["channel"], ts=first["ts"], limit=2, cursor=page["response_metadata"]["next_cursor"]
    )
    assert [message["text"] for message in [*page["messages"], *rest["messages"]]] == ["first", "quiet", "loud"]
    assert "metadata" not in page["messages"][0]


def test_an_uploaded_picture_may_be_shown(slack, tmp_path):
    client = client_of(slack)
    file = client.files_upload_v2(filename="nights.png", content=b"\x89PNG", title="Nights", alt_txt="Nights")["file"][
        "id"
    ]
    block = {"type": "image", "alt_text": "Nights", "slack_file": {"id": file}}
    assert client.chat_postMessage(channel="#nights", text="A night", blocks=[block])["ok"]
    assert slack.files == {file: b"\x89PNG"}
    assert (tmp_path / "slack" / f"{file}-nights.png").read_bytes() == b"\x89PNG"


def test_an_upload_that_was_not_completed_may_not_be_shown(slack):
    file = client_of(slack).files_getUploadURLExternal(filename="nights.png", length=4)["file_id"]
    block = {"type": "image", "alt_text": "Nights", "slack_file": {"id": file}}
    assert post_error(slack, blocks=[block]) == "invalid_blocks"
    with pytest.raises(SlackApiError, match="file_not_found"):
        client_of(slack).files_completeUploadExternal(files=[{"id": file}])


def test_a_missing_scope_is_named(tmp_path):
    with SlackReceiver(tmp_path, scopes=["chat:write"]) as slack:
        with pytest.raises(SlackApiError) as caught:
            client_of(slack).files_getUploadURLExternal(filename="nights.png", length=4)
        assert (caught.value.response["error"], caught.value.response["needed"]) == ("missing_scope", "files:write")


@pytest.mark.parametrize(("fault", "kept"), [(500, 0), ("fatal_error", 0), ("taken, 500", 1), ("taken, closed", 1)])
def test_a_fault_strikes_the_next_call_only(tmp_path, fault, kept):
    with SlackReceiver(tmp_path, faults={"chat.postMessage": [fault]}) as slack:
        client = WebClient(token="xoxb-demo", base_url=slack.url, retry_handlers=[])  # noqa: S106
        with pytest.raises((SlackApiError, OSError)):
            client.chat_postMessage(channel="#nights", text="A night")
        assert len(slack.messages) == kept
        assert client.chat_postMessage(channel="#nights", text="A night")["ok"]


def test_a_channel_that_takes_no_messages_says_why(tmp_path):
    with SlackReceiver(tmp_path, channels={"#old": "is_archived"}) as slack:
        assert post_error(slack, channel="#old") == "is_archived"
        assert client_of(slack).chat_postMessage(channel="#nights", text="A night")["ok"]
