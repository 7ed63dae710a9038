"""Brings reports to people by e-mail and Slack, and failures to the owner. Each recipient gets each report once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Mapping
from pathlib import Path

from abtest_lib import failures, results, sign_off
from abtest_lib.definitions import Experiment, Recipients, load_catalogue, load_experiment
from abtest_lib.errors import DefinitionError
from abtest_lib.mail import Letter, SmtpServer, send_mail
from abtest_lib.outbox import receipts
from abtest_lib.pipeline import definition
from abtest_lib.publishing import alone
from abtest_lib.report.slack import plain_message
from abtest_lib.report.text import clean_name
from abtest_lib.slack_posts import SlackEndpoint, post_message, post_report
from abtest_lib.subscriptions import Addresses, recipients

__all__ = ["SlackEndpoint", "SmtpServer", "alert_owner", "deliver_email", "deliver_slack", "tell", "to_whom"]
# What a report says of itself and not of the experiment: a rerun that changes nothing else is no news.
_ABOUT_ITSELF = ("command", "folder", "last_line", "supersedes")


def to_whom(night: Path, experiments_folder: Path | str | None = None) -> Addresses:
    """Who gets a night's report?

    Parameters
    ----------
    night : Path
        A revision's folder with a report.
    experiments_folder : path, optional
        Holds ``subscriptions.yaml``; without it only the experiment's own ``notify`` counts.

    Returns
    -------
    Addresses
        E-mail addresses and Slack channels, also those that were sent another revision of the same night.

    Raises
    ------
    FileNotFoundError
        If the report has not been written.

    Examples
    --------
    >>> to_whom(night)
    Addresses(email=('payments@example.com',), slack=('#payments-experiments',))
    """
    experiment = definition(night)
    notify = experiment.notify
    told = Addresses(notify.email, (notify.slack,) if notify.slack else ())
    if experiments_folder is not None:
        told = recipients(experiment, results.read_json(night / "delivery.json"), experiments_folder)
    return Addresses(_and_before(night, "email", told.email), _and_before(night, "slack", told.slack))


def _and_before(night: Path, channel: str, told: Collection[str]) -> tuple[str, ...]:
    """Add who was sent a report of the same night before, so that nobody is left with one that was replaced."""
    before = [entry["recipient"] for entry in receipts(night.parent, channel=channel)]
    once = {recipient.casefold(): recipient for recipient in reversed([*told, *sorted(before)])}
    return tuple(dict.fromkeys(once[recipient.casefold()] for recipient in [*told, *sorted(before)]))


def deliver_email(night: Path, server: SmtpServer, experiments_folder: Path | str | None = None) -> list[str]:
    """Mail a night's report to those who get it.

    Parameters
    ----------
    night : Path
        A revision's folder with a report.
    server : SmtpServer
        Takes the mail.
    experiments_folder : path, optional
        As for `to_whom`.

    Returns
    -------
    list of str
        Who was sent the report now: not who had it already, and nobody when another revision has replaced it.

    Raises
    ------
    Unsigned
        If the verdict is to be signed before (`abtest_lib.sign_off`), and is not.
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
    if is_replaced(night):
        return []
    with alone(night.parents[1], reading=True):  # its files may be written again while it is read
        letter, told = report_letter(night), to_whom(night, experiments_folder).email
    return send_mail(night.parent, server, told, letter)


def deliver_slack(night: Path, slack: SlackEndpoint, experiments_folder: Path | str | None = None) -> list[str]:
    """Post a night's report to the Slack channels that get it.

    Parameters
    ----------
    night : Path
        A revision's folder with a report.
    slack : SlackEndpoint
        Where to post.
    experiments_folder : path, optional
        As for `to_whom`.

    Returns
    -------
    list of str
        The channels that got it now: none that had it already, and none when another revision has replaced it.

    Raises
    ------
    Unsigned
        If the verdict is to be signed before (`abtest_lib.sign_off`), and is not.
    RuntimeError
        If Slack refused the message, or an earlier try may have been sent.
    ConnectionError
        If the line broke while a message was sent, so that it may have been taken.

    Examples
    --------
    >>> deliver_slack(night, SlackEndpoint("xoxb-test", chat.url))
    ['#payments-experiments']
    """
    if is_replaced(night):
        return []
    sign_off.check(night)
    return post_report(night, slack, to_whom(night, experiments_folder).slack, news=what_it_says(night))


def report_letter(night: Path) -> Letter:
    """Make the mail of a night's report.

    Parameters
    ----------
    night : Path
        A revision's folder with a report.

    Returns
    -------
    Letter
        To nobody yet.

    Raises
    ------
    Unsigned
        If the verdict is to be signed before (`abtest_lib.sign_off`), and is not.
    FileNotFoundError
        If the report has not been written.

    Examples
    --------
    >>> report_letter(night).subject.startswith("✔ SHIP")
    True
    """
    sign_off.check(night)
    delivery = results.read_json(night / "delivery.json")
    return Letter(
        delivery["subject"],
        (night / "report.txt").read_text(encoding="utf-8"),
        (night / "mail.html").read_text(encoding="utf-8"),
        images=tuple((image["cid"], (night / image["file"]).read_bytes()) for image in delivery["images"]),
        topic=definition(night).key,
        thread=delivery["thread"],
        key=what_it_says(night),
    )


def what_it_says(night: Path) -> bytes:
    """Give what a report says of the experiment, without what it says of itself.

    Parameters
    ----------
    night : Path
        A revision's folder with a report.

    Returns
    -------
    bytes
        The same for two revisions of which the later one is no news.

    Raises
    ------
    FileNotFoundError
        If the report has not been written.

    Examples
    --------
    >>> night.name.encode() in what_it_says(night)
    False
    """
    view = results.read_json(night / "report.json")
    said = {name: value for name, value in view.items() if name not in _ABOUT_ITSELF}
    said = json.dumps(said, sort_keys=True, ensure_ascii=False)
    for itself in (view["origin"], night.name):  # wherever they are printed
        said = said.replace(itself, "")
    return said.encode()


def is_replaced(night: Path) -> bool:
    """Whether another revision of the night was published since: the later report is the one to send.

    Parameters
    ----------
    night : Path
        A revision's folder.

    Returns
    -------
    bool
        False too when nothing is published yet.

    Raises
    ------
    OSError
        If the store cannot be read.

    Examples
    --------
    >>> is_replaced(night)
    False
    """
    current = night.parent / results.CURRENT
    return current.is_file() and current.read_text(encoding="utf-8").strip() != night.name


def alert_owner(
    key: str,
    as_of: dt.date | str,
    failed: Mapping[str, str],
    *,
    experiments_folder: Path | str,
    results_folder: Path | str,
    server: SmtpServer | None,
    slack: SlackEndpoint | None,
    links: Mapping[str, str] | None = None,
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
    links : mapping of str to str, optional
        Addresses of pages, by what they show.

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
    night = Path(results_folder) / key / str(as_of)
    emails = dict.fromkeys([*([owner] if owner else []), *alerts.email])
    if not (server and emails) and not (slack and alerts.slack):
        raise RuntimeError(
            f"{key}, {as_of}: nobody can be told of the failure; set up the connection abtest_smtp or abtest_slack, "
            "and name people under alerts in sources.yaml."
        )
    is_held = failures.is_held(results_folder, key, as_of)
    subject = f"{'HELD' if is_held else 'FAILED'}: {title}, night as of {as_of}"
    text = _alert_text(key, title, str(as_of), failed, is_held=is_held)
    pages = "".join(f"{name}: {page}\n" for name, page in (links or {}).items())
    return tell(night, subject, text, emails, alerts.slack, server, slack, pages=pages)


def tell(
    folder: Path,
    subject: str,
    text: str,
    emails: Collection[str],
    channel: str | None,
    server: SmtpServer | None,
    slack: SlackEndpoint | None,
    *,
    pages: str = "",
) -> list[str]:
    """Tell people of a failure by mail and Slack, whichever is set up.

    Parameters
    ----------
    folder : Path
        What failed; its ``outbox`` keeps the receipts.
    subject, text : str
        What is said.
    emails : collection of str
        Who gets a mail.
    channel : str or None
        Where it is posted.
    server, slack : SmtpServer, SlackEndpoint or None
        None when it is not set up.
    pages : str, optional
        Lines below the text, with links: the same failure in another run is no news.

    Returns
    -------
    list of str
        Who was told now.

    Raises
    ------
    RuntimeError
        If a message was refused; a failing channel does not keep the other one silent.

    Examples
    --------
    >>> server = SmtpServer(mail.host, mail.port, security="none")
    >>> tell(results_folder, "FAILED: digest", "Task write: no space left.", ["ana@example.com"], None, server, None)
    ['ana@example.com']
    """
    told, problems = [], []
    try:
        letter = Letter(subject, text + pages, key=Letter(subject, text).said)
        told += send_mail(folder, server, emails, letter, channel="alert-email") if server else []
    except (RuntimeError, ConnectionError) as error:
        problems.append(str(error))
    try:
        message, news = plain_message(subject, text + pages), plain_message(subject, text)
        if slack and channel and post_message(folder, slack, channel, kind="alert-slack", message=message, news=news):
            told.append(channel)
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
    return clean_name(experiment.title, 200), experiment.owner, experiment.alerts


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


def _alert_text(key: str, title: str, as_of: str, failed: Mapping[str, str], *, is_held: bool) -> str:
    causes = "\n\n".join(f"Task {task}:\n{reason}" for task, reason in failed.items())
    lost = "No verdict was published for it."
    if all(task.startswith("deliver_") for task in failed):
        lost = "Its report was written, but not everybody got it."
    if set(failed) == {"sign_off"}:
        lost = "Its report was written, but it waits unsigned, and nobody was sent it."
    return (
        f"{title} ({key}): the night as of {as_of} {'is held' if is_held else 'failed'}. {lost}\n\n{causes}\n\n"
        f"To repeat it by hand: abtest run {key} --as-of {as_of}\n"
        f"In Airflow: DAG abtest__{key}; clear the failed task when the cause is mended.\n"
    )
