"""A mail server and a Slack of a test's own, both on this machine and real."""

import pytest

from demo.receivers import MailReceiver, SlackReceiver

TOKEN = "xoxb-test"  # noqa: S105


@pytest.fixture
def mail(tmp_path):
    """Takes mail and keeps it."""
    with MailReceiver(tmp_path / "mail") as receiver:
        yield receiver


@pytest.fixture
def chat(tmp_path):
    """Takes messages of whoever has the token, and keeps them."""
    with SlackReceiver(tmp_path / "slack", token=TOKEN) as receiver:
        yield receiver
