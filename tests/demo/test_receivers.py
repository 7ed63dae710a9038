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
    assert (first["channel"], first["ts"], second["ts"]) == ("#nights", "1772000001.000100", "1772000002.000100")
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
    ],
)
def test_a_block_beyond_slacks_limits_is_refused(slack, block):
    assert post_error(slack, blocks=[block]) == "invalid_blocks"
    assert slack.messages == []


def test_blocks_at_slacks_limits_pass(slack):
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "x" * 150}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2000}] * 10},
        *[section("x" * 3000)] * 46,
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
