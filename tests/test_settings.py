"""Settings from the environment."""

import pytest

from abtest_lib.delivery import SlackEndpoint, SmtpServer
from abtest_lib.settings import slack_endpoint, smtp_server

MAIL = "mail.example.com"


def smtp(address):
    return smtp_server({"ABTEST_SMTP": address})


@pytest.mark.parametrize(
    ("address", "server"),
    [
        (f"smtp://{MAIL}", SmtpServer(MAIL, 587, sender=f"abtest@{MAIL}", security="starttls")),
        (f"smtp://{MAIL}:25?security=none", SmtpServer(MAIL, 25, sender=f"abtest@{MAIL}", security="none")),
        (f"smtp://{MAIL}?security=tls", SmtpServer(MAIL, 465, sender=f"abtest@{MAIL}", security="tls")),
        (f"smtp://ana:pw@{MAIL}?sender=ab@example.com", SmtpServer(MAIL, 587, "ana", "pw", "ab@example.com")),
        (
            f"smtp://ana%40example.com:p%40%3A%2F@{MAIL}",
            SmtpServer(MAIL, 587, "ana@example.com", "p@:/", f"abtest@{MAIL}"),
        ),
        (f"smtp://ana@{MAIL}", SmtpServer(MAIL, 587, "ana", None, f"abtest@{MAIL}")),
        ("smtp://[::1]:2525?security=none", SmtpServer("::1", 2525, sender="abtest@::1", security="none")),
    ],
)
def test_address_of_a_mail_server_is_read(address, server):
    assert smtp(address) == server


@pytest.mark.parametrize(
    "address",
    ["", "mail.example.com", "http://mail.example.com", "smtp://", "smtp://:25", "smtp://mail.example.com?security=ssl",
     "smtp://mail.example.com?secutity=tls", "smtp://mail.example.com:port", "smtp://mail.example.com:99999", "smtp://[::1"],
)  # fmt: skip
def test_address_that_is_none_gets_one_message(address):
    with pytest.raises(ValueError) as caught:
        smtp(address)
    assert str(caught.value) == (
        "ABTEST_SMTP is not set to a mail server; it must be "
        "smtp://USER:PASSWORD@HOST:PORT?security=starttls&sender=ADDRESS "
        "(user and password may be left out; security is none, starttls or tls; write '@', ':' and '/' in a password "
        "as "
        "%40, %3A and %2F)."
    )


def test_half_of_a_password_is_never_quoted():
    with pytest.raises(ValueError) as caught:
        smtp("smtp://ana:s3cret/half@mail.example.com:587")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_environment_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setenv("ABTEST_SMTP", f"smtp://{MAIL}")
    monkeypatch.setenv("ABTEST_SLACK_TOKEN", "xoxb-1")
    assert smtp_server().host == MAIL
    assert slack_endpoint().token == "xoxb-1"  # noqa: S105


def test_slack_is_the_real_one_unless_another_is_named():
    assert slack_endpoint({"ABTEST_SLACK_TOKEN": "x"}) == SlackEndpoint("x", "https://slack.com/api/")
    assert slack_endpoint({"ABTEST_SLACK_TOKEN": "x", "ABTEST_SLACK_URL": ""}) == SlackEndpoint(
        "x", "https://slack.com/api/"
    )
    local = {"ABTEST_SLACK_TOKEN": "x", "ABTEST_SLACK_URL": "http://127.0.0.1:1/api/"}
    assert slack_endpoint(local) == SlackEndpoint("x", "http://127.0.0.1:1/api/")


@pytest.mark.parametrize("environment", [{}, {"ABTEST_SLACK_TOKEN": ""}])
def test_missing_token_is_told(environment):
    with pytest.raises(ValueError) as caught:
        slack_endpoint(environment)
    assert (
        str(caught.value)
        == "ABTEST_SLACK_TOKEN is not set; it must be the token of a Slack app (chat:write, files:write)."
    )
