"""Settings from the environment, for the command line; in Airflow the connections come first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from abtest_lib.delivery import SlackEndpoint, SmtpServer

SECURITY = ("none", "starttls", "tls")


def smtp_server(environment: Mapping[str, str] = os.environ) -> SmtpServer:
    """Read where mail is handed in from ABTEST_SMTP.

    Parameters
    ----------
    environment : mapping, optional
        ``ABTEST_SMTP`` is ``smtp://user:password@host:port?security=starttls&sender=abtest@example.com``.

    Returns
    -------
    SmtpServer
        Ready for ``delivery.deliver_email``.

    Raises
    ------
    ValueError
        If it is not set, or no such address.

    Examples
    --------
    >>> smtp_server({"ABTEST_SMTP": "smtp://ana:s%3Acret@mail.example.com:587?sender=ab@example.com"})
    SmtpServer(host='mail.example.com', port=587, user='ana', sender='ab@example.com', security='starttls', timeout=30)
    """
    address = environment.get("ABTEST_SMTP", "")
    wrong = ValueError(
        "ABTEST_SMTP is not set to a mail server; it must be smtp://USER:PASSWORD@HOST:PORT?security=starttls&"
        "sender=ADDRESS (user and password may be left out; security is none, starttls or tls; write '@', ':' and '/' "
        "in a password as %40, %3A and %2F)."
    )
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:  # its own message may quote half of the password
        raise wrong from None
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    security, sender = options.pop("security", "starttls"), options.pop("sender", None)
    if parts.scheme != "smtp" or not parts.hostname or security not in SECURITY or options:
        raise wrong
    return SmtpServer(
        host=parts.hostname,
        port=port or (465 if security == "tls" else 587),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        sender=sender or f"abtest@{parts.hostname}",
        security=security,
    )


def slack_endpoint(environment: Mapping[str, str] = os.environ) -> SlackEndpoint:
    """Read the Slack token from ABTEST_SLACK_TOKEN, and the address of the API from ABTEST_SLACK_URL if it is set.

    Parameters
    ----------
    environment : mapping, optional
        The process's by default.

    Returns
    -------
    SlackEndpoint
        Ready for ``delivery.deliver_slack``.

    Raises
    ------
    ValueError
        If no token is set.

    Examples
    --------
    >>> slack_endpoint({"ABTEST_SLACK_TOKEN": "xoxb-1"}).base_url
    'https://slack.com/api/'
    """
    if not environment.get("ABTEST_SLACK_TOKEN"):
        raise ValueError(
            "ABTEST_SLACK_TOKEN is not set; it must be the token of a Slack app (chat:write, files:write)."
        )
    address = environment.get("ABTEST_SLACK_URL")
    return SlackEndpoint(environment["ABTEST_SLACK_TOKEN"], **({"base_url": address} if address else {}))
