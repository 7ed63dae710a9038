"""Brings reports to people by e-mail and Slack, and failures to the owner. Each recipient gets each report once."""

from __future__ import annotations

import datetime as dt
import hashlib
import html
import json
import smtplib
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from abtest_lib import results
from abtest_lib.definitions import Experiment, Recipients, load_catalogue, load_experiment
from abtest_lib.errors import DefinitionError
from abtest_lib.outbox import NotSent, send_once
from abtest_lib.pipeline import definition


@dataclass(frozen=True)
class SmtpServer:
    """Where mail is handed in. ``security`` is "none", "starttls" or "tls"; ``timeout`` is in seconds."""

    host: str
    port: int = 25
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sender: str = "abtest@localhost"
    security: str = "starttls"
    timeout: float = 30


@dataclass(frozen=True)
class SlackEndpoint:
    """A Slack app's token, and the address of the Web API."""

    token: str = field(repr=False)
    base_url: str = "https://slack.com/api/"


def deliver_email(night: Path, server: SmtpServer) -> list[str]:
    """Mail a night's report to the experiment's recipients.

    Parameters
    ----------
    night : Path
        A revision's folder with a report.
    server : SmtpServer
        Takes the mail.

    Returns
    -------
    list of str
        Who was sent the report now; who had it already is left out.

    Raises
    ------
    RuntimeError
        If a recipient was refused (the others get theirs), or an earlier try may have been sent.
    ConnectionError
        If the server cannot be reached or hangs up.

    Examples
    --------
    >>> deliver_email(night, SmtpServer(mail.host, mail.port, security="none"))
    ['payments@example.com']
    >>> deliver_email(night, SmtpServer(mail.host, mail.port, security="none"))
    []
    """
    experiment = definition(night)
    parts = {name: (night / f"report.{name}").read_text(encoding="utf-8") for name in ("txt", "html")}
    subject = results.read_json(night / "mail.json")["subject"]
    return _mail(night.parent, server, experiment.notify.email, "email", subject, parts["txt"], parts["html"])


def deliver_slack(night: Path, slack: SlackEndpoint) -> list[str]:
    """Post a night's report to the experiment's Slack channel.

    Parameters
    ----------
    night : Path
        A revision's folder with a report.
    slack : SlackEndpoint
        Where to post.

    Returns
    -------
    list of str
        The channel, or nothing when it had the report already or none is named.

    Raises
    ------
    RuntimeError
        If Slack refused the message, or an earlier try may have been sent.

    Examples
    --------
    >>> deliver_slack(night, SlackEndpoint("xoxb-test", chat.url))
    ['#payments-experiments']
    """
    message = results.read_json(night / "slack.json")
    return _post(night.parent, slack, definition(night).notify.slack, "slack", message["text"], message["blocks"])


def alert_owner(
    key: str,
    as_of: dt.date | str,
    failed: Mapping[str, str],
    *,
    experiments_folder: Path | str,
    results_folder: Path | str,
    server: SmtpServer | None,
    slack: SlackEndpoint | None,
) -> list[str]:
    """Tell the owner, and whoever is under ``alerts`` in sources.yaml, what failed, why, and what to do.

    Parameters
    ----------
    key : str
        The experiment.
    as_of : date or str
        The night.
    failed : mapping of str to str
        Task and the text of its error.
    experiments_folder, results_folder : path
        Who is told stands in the definitions; what was sent is kept beside the results.
    server : SmtpServer or None
        None when e-mail is not set up.
    slack : SlackEndpoint or None
        None when Slack is not set up.

    Returns
    -------
    list of str
        Who was told now.

    Raises
    ------
    RuntimeError
        If nobody can be told, or a message was refused; a failing channel does not keep the other one silent.

    Examples
    --------
    >>> alert_owner("one_page_checkout", "2026-03-03", {"collect": "table 'purchases' does not exist."},
    ...             experiments_folder=experiments_folder, results_folder=results_folder,
    ...             server=SmtpServer(mail.host, mail.port, security="none"), slack=None)
    ['ana@example.com', 'data-oncall@example.com']
    """
    title, owner, alerts = _who(key, Path(experiments_folder))
    subject = f"FAILED: {title}, night as of {as_of}"
    text = _alert_text(key, title, str(as_of), failed)
    slack_text = html.escape(f"*{subject}*\n{text}", quote=False)  # no title or error can call <!channel>
    night = Path(results_folder) / key / str(as_of)
    told, problems = [], []
    emails = dict.fromkeys([*([owner] if owner else []), *alerts.email])
    if not (server and emails) and not (slack and alerts.slack):
        raise RuntimeError(
            f"{key}, {as_of}: nobody can be told of the failure; set up the connection abtest_smtp or abtest_slack, "
            "and name people under alerts in sources.yaml."
        )
    for channel in (
        lambda: _mail(night, server, emails, "alert-email", subject, text, None) if server else [],
        lambda: _post(night, slack, alerts.slack, "alert-slack", slack_text, None) if slack else [],
    ):
        try:
            told += channel()
        except (RuntimeError, ConnectionError) as error:
            problems.append(str(error))
    if problems:
        raise RuntimeError("\n".join(problems))
    return told


def _who(key: str, folder: Path) -> tuple[str, str | None, Recipients]:
    """Title, owner and alert recipients, as far as broken definitions still tell."""
    try:
        experiment: Experiment = load_experiment(folder, key)
    except DefinitionError:
        try:
            alerts = load_catalogue(folder).alerts
        except DefinitionError:
            alerts = Recipients()
        return key, _owner_of_broken(folder / f"{key}.yaml"), alerts
    return experiment.title, experiment.owner, experiment.alerts


def _owner_of_broken(path: Path) -> str | None:
    """The owner's line of a file that is no valid definition."""
    if not path.is_file():
        return None
    from abtest_lib.yaml_fields import EMAIL

    for line in path.read_bytes()[:1_000_000].decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name == "owner" and EMAIL[0].fullmatch(owner := value.partition("#")[0].strip(" \"'")):
            return owner
    return None


def _alert_text(key: str, title: str, as_of: str, failed: Mapping[str, str]) -> str:
    causes = "\n\n".join(f"Task {task}:\n{reason}" for task, reason in failed.items())
    lost = "No verdict was published for it."
    if all(task.startswith("deliver_") for task in failed):
        lost = "Its report was written, but not everybody got it."
    return (
        f"{title} ({key}): the night as of {as_of} failed. {lost}\n\n{causes}\n\n"
        f"To repeat it by hand: abtest run {key} --as-of {as_of}\n"
        f"In Airflow: DAG abtest__{key}; clear the failed task when the cause is mended.\n"
    )


def _mail(
    night: Path,
    server: SmtpServer,
    recipients: Collection[str],
    channel: str,
    subject: str,
    text: str,
    page: str | None,
) -> list[str]:
    if not recipients:
        return []
    content = json.dumps([subject, text, page]).encode()
    sent, refused, unclear = [], [], []
    with _session(server) as session:
        for recipient in recipients:
            message = _message(server.sender, recipient, subject, text, page, content)
            try:
                if send_once(night, channel=channel, recipient=recipient, content=content,
                             send=lambda message=message: _hand_in(session, message, server)):  # fmt: skip
                    sent.append(recipient)
            except NotSent as error:
                refused.append(f"{recipient}: {error}")
            except RuntimeError as error:  # the doubt about one message does not keep the others back
                unclear.append(str(error))
    if refused:
        unclear.append(
            f"{night.parent.name}, {night.name}: {server.host} refused {len(refused)} of the recipients "
            f"({'; '.join(refused)}). Correct notify.email, or ask who runs the mail server."
        )
    if unclear:
        raise RuntimeError("\n".join(unclear))
    return sent


def _message(sender: str, recipient: str, subject: str, text: str, page: str | None, content: bytes) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = " ".join(subject.split())  # a header is one line, whatever a title holds
    message["From"] = sender
    message["To"] = recipient
    message["Date"] = format_datetime(dt.datetime.now(dt.UTC))
    digest = hashlib.sha256(recipient.encode() + b"\0" + content).hexdigest()[:32]
    message["Message-ID"] = f"<{digest}@{sender.rpartition('@')[2].rstrip('>')}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    if page:
        message.add_alternative(page, subtype="html")
    return message


@contextmanager
def _session(server: SmtpServer) -> Iterator[smtplib.SMTP]:
    secure, session = ssl.create_default_context(), None
    try:
        if server.security == "tls":
            session = smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout, context=secure)
        else:
            session = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
        if server.security == "starttls":
            session.starttls(context=secure)
        if server.user:
            session.login(server.user, server.password or "")
    except OSError as error:  # also all that smtplib raises
        if session:
            session.close()
        raise ConnectionError(
            f"mail server {server.host}:{server.port}: {error}; "
            "check the connection abtest_smtp (by hand: ABTEST_SMTP)."
        ) from error
    try:
        yield session
    finally:
        with suppress(OSError):  # each message was acknowledged by itself; how the server says goodbye changes nothing
            session.quit()
        session.close()


def _hand_in(session: smtplib.SMTP, message: EmailMessage, server: SmtpServer) -> None:
    try:
        session.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        _, (code, answer) = next(iter(error.recipients.items()))
        raise NotSent(f"{code} {answer.decode('utf-8', 'replace')}") from error
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        raise NotSent(f"{error.smtp_code} {error.smtp_error!r}") from error
    except smtplib.SMTPNotSupportedError as error:
        raise NotSent(str(error)) from error
    except OSError as error:  # smtplib's other errors too: nobody knows whether the server has taken the message
        raise ConnectionError(
            f"mail server {server.host}:{server.port}: the connection broke while the message to {message['To']} was "
            f"sent ({error}), so it may have arrived. Ask the recipient before you send it again."
        ) from error


def _post(
    night: Path, slack: SlackEndpoint, channel: str | None, kind: str, text: str, blocks: list | None
) -> list[str]:
    from urllib.error import URLError

    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError
    from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

    if not channel:
        return []
    client = WebClient(slack.token, base_url=slack.base_url, timeout=30)
    client.retry_handlers.append(RateLimitErrorRetryHandler(max_retry_count=2))

    def send() -> None:
        try:
            client.chat_postMessage(channel=channel, text=text, blocks=blocks, unfurl_links=False)
        except SlackApiError as error:
            raise NotSent(error.response.get("error", error.response.status_code)) from error
        except OSError as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, ConnectionRefusedError | socket.gaierror):
                raise NotSent(f"{slack.base_url} cannot be reached ({reason})") from error
            raise ConnectionError(
                f"Slack, {slack.base_url}: the connection broke while the message to {channel} was sent ({reason}), so "
                "it may have arrived. Look in the channel before you send it again."
            ) from error

    try:
        content = json.dumps([text, blocks]).encode()
        return [channel] if send_once(night, channel=kind, recipient=channel, content=content, send=send) else []
    except NotSent as error:
        raise RuntimeError(
            f"{night.parent.name}, {night.name}: Slack took no message to {channel}: {error}. Check notify.slack, "
            "that the app is in the channel, and the token of the connection abtest_slack."
        ) from error
