"""Brings the digest of a team and night to those who subscribe to it, and failures of it to whoever gets alerts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from abtest_lib import results
from abtest_lib.definitions import Recipients, load_catalogue
from abtest_lib.delivery import tell
from abtest_lib.digest import FOLDER, mark_sent
from abtest_lib.errors import DefinitionError
from abtest_lib.mail import Letter, SmtpServer, send_mail
from abtest_lib.outbox import receipts
from abtest_lib.slack_posts import SlackEndpoint, post_message
from abtest_lib.subscriptions import digest_recipients


def deliver_digest_email(folder: Path, server: Callable[[], SmtpServer], experiments_folder: Path | str) -> list[str]:
    """Mail a digest to those who subscribe to it.

    Parameters
    ----------
    folder : Path
        A revision's folder, of `abtest_lib.digest.write`.
    server : callable
        Gives the mail server; asked only when there is something to send.
    experiments_folder : path
        Holds ``subscriptions.yaml``.

    Returns
    -------
    list of str
        Who was sent the digest now; nobody when it is quiet.

    Raises
    ------
    RuntimeError
        If a recipient was refused (the others get theirs), or an earlier try may have been sent.
    ConnectionError
        If the server cannot be reached or hangs up.

    Examples
    --------
    >>> from abtest_lib.digest import write
    >>> folder = write(experiments_folder, results_folder, dt.date(2026, 3, 3), team="search")
    >>> server = SmtpServer(mail.host, mail.port, security="none")
    >>> deliver_digest_email(folder, lambda: server, experiments_folder)
    ['product-leads@example.com']
    """
    delivery, document = (results.read_json(folder / f"{name}.json") for name in ("delivery", "digest"))
    to = digest_recipients(experiments_folder, document["of_team"]).email
    if delivery["quiet"] or not to:
        return []
    text, page = ((folder / f"digest.{name}").read_text(encoding="utf-8") for name in ("txt", "html"))
    with _marked_when_sent(folder):
        topic = f"digest-{folder.parent.name}"
        letter = Letter(delivery["subject"], text, page, topic=topic, thread=delivery["thread"])
        return send_mail(folder.parent, server(), to, letter)


def deliver_digest_slack(folder: Path, slack: Callable[[], SlackEndpoint], experiments_folder: Path | str) -> list[str]:
    """Post a digest to the channels that subscribe to it.

    Parameters
    ----------
    folder : Path
        A revision's folder, of `abtest_lib.digest.write`.
    slack : callable
        Gives where to post; asked only when there is something to send.
    experiments_folder : path
        Holds ``subscriptions.yaml``.

    Returns
    -------
    list of str
        The channels it was posted to now; none when it is quiet.

    Raises
    ------
    RuntimeError
        If Slack refused a message (the other channels get theirs), or an earlier try may have been sent.

    Examples
    --------
    >>> from abtest_lib.digest import write
    >>> folder = write(experiments_folder, results_folder, dt.date(2026, 3, 3), team="search")
    >>> slack = SlackEndpoint("xoxb-test", chat.url)
    >>> deliver_digest_slack(folder, lambda: slack, experiments_folder)
    ['#search-experiments']
    """
    delivery, document = (results.read_json(folder / f"{name}.json") for name in ("delivery", "digest"))
    to = digest_recipients(experiments_folder, document["of_team"]).slack
    if delivery["quiet"] or not to:
        return []
    message, endpoint = results.read_json(folder / "slack.json"), slack()
    posted, problems = [], []
    with _marked_when_sent(folder):
        for channel in to:
            try:
                if post_message(folder.parent, endpoint, channel, kind="slack", message=message):
                    posted.append(channel)
            except (RuntimeError, ConnectionError) as error:
                problems.append(str(error))
    if problems:
        raise RuntimeError("\n".join(problems))
    return posted


@contextmanager
def _marked_when_sent(folder: Path) -> Iterator[None]:
    """Remember the digest as sent if somebody got it, also when somebody else was refused."""
    before = _receipts(folder)
    try:
        yield
    finally:
        if _receipts(folder) > before:
            mark_sent(folder)


def _receipts(folder: Path) -> int:
    return len(receipts(folder.parent))


def alert_of_digest(
    as_of: dt.date | str,
    failed: Mapping[str, str],
    *,
    experiments_folder: Path | str,
    results_folder: Path | str,
    server: SmtpServer | None,
    slack: SlackEndpoint | None,
) -> list[str]:
    """Tell whoever is under ``alerts`` in sources.yaml which digest failed, and why.

    Parameters
    ----------
    as_of : date or str
        The night.
    failed : mapping of str to str
        Task and the text of its error.
    experiments_folder, results_folder : path
        Who is told stands in the definitions; what was sent is kept beside the digests.
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
    >>> alert_of_digest("2026-03-03", {"subscriptions": "subscriptions.yaml:3: …"},
    ...                 experiments_folder=experiments_folder, results_folder=results_folder,
    ...                 server=SmtpServer(mail.host, mail.port, security="none"), slack=None)
    ['data-oncall@example.com']
    """
    try:
        alerts = load_catalogue(experiments_folder).alerts
    except DefinitionError:
        alerts = Recipients()
    if not (server and alerts.email) and not (slack and alerts.slack):
        raise RuntimeError(
            f"digest, {as_of}: nobody can be told of the failure; set up the connection abtest_smtp or abtest_slack, "
            "and name people under alerts in sources.yaml."
        )
    subject = f"FAILED: digest of the night as of {as_of}"
    causes = "\n\n".join(f"Task {task}:\n{reason}" for task, reason in failed.items())
    text = (
        f"{causes}\n\nBy hand: abtest digest --as-of {as_of} --deliver\nIn Airflow: clear the task of abtest_digest.\n"
    )
    place = Path(results_folder) / FOLDER / str(as_of)
    return tell(place, subject, text, alerts.email, alerts.slack, server, slack)
