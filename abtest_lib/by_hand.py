"""Runs by hand: what a form may ask for, a preview or one night of it, and mails that say they were sent by hand.

A mail by hand has receipts of its own (channel ``by-hand``): it takes no nightly mail away and subscribes nobody.
"""

from __future__ import annotations

import datetime as dt
import html
import json
import logging
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from abtest_lib import pipeline, preview
from abtest_lib.collection import forget_sources
from abtest_lib.definitions import Experiment, load_catalogue, load_experiment
from abtest_lib.delivery import is_replaced, report_letter, what_it_says
from abtest_lib.errors import DefinitionError
from abtest_lib.mail import Letter, SmtpServer, send_mail
from abtest_lib.report.text import clean_name
from abtest_lib.warehouse import Warehouse
from abtest_lib.yaml_fields import EMAIL

log = logging.getLogger(__name__)  # Airflow shows it in the log of the task

CHANNEL = "by-hand"
FIELDS = ("experiment", "as_of", "since", "dry_run", "reason", "recipients", "accept_incomplete", "reread")
LEAST_REASON = 10  # letters


def check(asked: Mapping[str, Any], experiments_folder: Path | str) -> Experiment:
    """Refuse a form that cannot be done, with every problem, before any work.

    Parameters
    ----------
    asked : mapping
        ``experiment``, ``as_of`` and, where given, ``since`` (the first night of a dry run), ``dry_run`` (True unless
        given), ``reason``, ``recipients``, ``accept_incomplete``, and ``reread`` (rows were changed in place).
    experiments_folder : path
        The folder of the definitions.

    Returns
    -------
    Experiment
        That it is about.

    Raises
    ------
    DefinitionError
        If there is no such experiment, its definition is wrong, or the form asks for something that cannot be.

    Examples
    --------
    >>> check({"experiment": "one_page_checkout", "as_of": "2026-03-03"}, experiments_folder).key
    'one_page_checkout'
    >>> check({"experiment": "one_page_checkout", "as_of": "2026-03-04"}, experiments_folder)
    Traceback (most recent call last):
    abtest_lib.errors.DefinitionError: one_page_checkout: 2026-03-04 is none of its nights; its nights are ...
    """
    experiment = load_experiment(experiments_folder, str(asked.get("experiment")))
    problems = [f"'{name}' is no field of the form; there are: {', '.join(FIELDS)}." for name in asked
                if name not in FIELDS]  # fmt: skip
    problems += _wrong_dates(experiment, asked)
    if not _is_dry(asked) and len(_reason(asked) or "") < LEAST_REASON:
        problems.append(f"reason has fewer than {LEAST_REASON} letters; a run that publishes must say why.")
    problems += [f"recipients: '{one}' is no e-mail address." for one in asked.get("recipients") or ()
                 if not EMAIL[0].fullmatch(one)]  # fmt: skip
    try:
        pipeline.blocking(experiment, (), asked.get("accept_incomplete") or ())
    except ValueError as error:
        problems.append(str(error).removeprefix(f"{experiment.key}: "))
    if problems:
        raise DefinitionError("\n".join(f"{experiment.key}: {problem}" for problem in problems))
    return experiment


def _wrong_dates(experiment: Experiment, asked: Mapping[str, Any]) -> list[str]:
    problems, dates = [], {}
    for name in ("as_of", "since"):
        try:
            dates[name] = dt.date.fromisoformat(asked[name]) if asked.get(name) else None
        except (TypeError, ValueError):
            problems.append(f"{name} is '{asked[name]}'; it must be a date such as 2026-03-03.")
    if problems:
        return problems
    as_of, since = dates["as_of"], dates["since"]
    if as_of is None:
        return [f"as_of is missing; {preview.its_nights(experiment)}."]
    if not preview.is_night(experiment, as_of):
        problems.append(f"{as_of} is none of its nights; {preview.its_nights(experiment)}.")
    if since and since > as_of:
        problems.append(f"since is {since}; it must not be later than as_of, {as_of}.")
    if since and not _is_dry(asked):
        problems.append("since is for dry runs; several nights are published by a backfill of the experiment's DAG.")
    return problems


def run(
    asked: Mapping[str, Any], experiments_folder: Path | str, results_folder: Path | str, warehouse: Warehouse
) -> Path:
    """Run and publish the night that a form asks for.

    Parameters
    ----------
    asked : mapping
        As for ``check``.
    experiments_folder, results_folder : path
        Definitions, and the folder of all results.
    warehouse : Warehouse
        Open for reading.

    Returns
    -------
    Path
        The revision's folder.

    Raises
    ------
    DefinitionError, DataError
        As ``check`` and ``pipeline.collect``.

    Examples
    --------
    >>> asked = {"experiment": "one_page_checkout", "as_of": "2026-03-03", "dry_run": False,
    ...          "reason": "purchases were repaired"}
    >>> run(asked, experiments_folder, results_folder, warehouse).parent.name
    '2026-03-03'
    """
    experiment = check(asked, experiments_folder)
    metrics = load_catalogue(experiments_folder).metrics.values()
    as_of, accepted = dt.date.fromisoformat(asked["as_of"]), asked.get("accept_incomplete") or ()
    if asked.get("reread"):
        forget_sources(experiment, warehouse, results_folder)
    return pipeline.run(experiment, as_of, warehouse, results_folder, metrics, accepted, _reason(asked))


def dry_run(
    asked: Mapping[str, Any], experiments_folder: Path | str, results_folder: Path | str, warehouse: Warehouse
) -> list[str]:
    """Preview the nights that a form asks for, and keep the preview for the pages.

    Parameters
    ----------
    asked, experiments_folder, results_folder, warehouse
        As for ``run``.

    Returns
    -------
    list of str
        What would change: how many verdicts, then the nights.

    Raises
    ------
    DefinitionError
        As ``check``.

    Examples
    --------
    >>> dry_run({"experiment": "one_page_checkout", "as_of": "2026-03-03"}, experiments_folder, night.parents[2],
    ...         warehouse)
    ['one_page_checkout: 0 of 1 verdict would change', '2026-03-03: same']
    """
    experiment = check(asked, experiments_folder)
    metrics = load_catalogue(experiments_folder).metrics.values()
    as_of = dt.date.fromisoformat(asked["as_of"])
    since = dt.date.fromisoformat(asked["since"]) if asked.get("since") else as_of
    days, found = preview.nights(experiment, results_folder, since, as_of), []
    accepted = asked.get("accept_incomplete") or ()
    if asked.get("reread"):
        forget_sources(experiment, warehouse, results_folder)
    for one in preview.preview(experiment, days, warehouse, results_folder, metrics, accepted):
        log.info("%s", "\n".join(one.lines))
        found.append(one)
    preview.write(experiment, found, results_folder)
    log.info("%s", preview.sentence(found))
    return preview_lines(experiment.key, found)


def preview_lines(key: str, found: Sequence[preview.PreviewedNight]) -> list[str]:
    """Say what would change: how many verdicts, then night by night.

    Parameters
    ----------
    key : str
        The experiment.
    found : sequence of PreviewedNight
        All nights.

    Returns
    -------
    list of str
        The first line stands alone.

    Examples
    --------
    >>> preview_lines("new_ranker", [preview.PreviewedNight(dt.date(2026, 3, 9), "3f2a", "3f2a", verdicts=1)])
    ['new_ranker: 0 of 1 verdict would change', '2026-03-09: same']
    """
    return [f"{key}: {preview.sentence(found)}", *(line for one in found for line in one.lines)]


def mail_report(night: Path, server: SmtpServer, recipients: Collection[str], reason: str | None = None) -> list[str]:
    """Mail a night's report to the people that somebody named.

    Parameters
    ----------
    night : Path
        A revision's folder with a report.
    server : SmtpServer
        Takes the mail.
    recipients : collection of str
        These and nobody else.
    reason : str, optional
        Stands on top of the report.

    Returns
    -------
    list of str
        Who was sent it now: not who had it by hand already, and nobody when another revision has replaced it.

    Raises
    ------
    RuntimeError, ConnectionError
        As ``send_mail``.

    Examples
    --------
    >>> mail_report(night, SmtpServer(mail.host, mail.port, security="none"), ["boss@example.com"], "asked for it")
    ['boss@example.com']
    """
    if is_replaced(night):
        return []
    why = " ".join((reason or "").split())
    said = "Sent by hand, not by the nightly run." + (f" Reason: {why}" if why else "")
    letter = report_letter(night)
    marked = Letter(
        f"By hand: {letter.subject}",
        f"{textwrap.fill(said, 76)}\n\n{letter.text}",
        _on_top(letter.page, said),
        letter.images,
        letter.topic,
        letter.thread,
        key=json.dumps([CHANNEL, said, what_it_says(night).decode()]).encode(),
    )
    return send_mail(night.parent, server, recipients, marked, channel=CHANNEL)


def mail_preview(
    key: str, lines: Sequence[str], server: SmtpServer, recipients: Collection[str], results_folder: Path | str
) -> list[str]:
    """Mail a preview to the people that somebody named.

    Parameters
    ----------
    key : str
        The experiment.
    lines : sequence of str
        What ``dry_run`` returned.
    server : SmtpServer
        Takes the mail.
    recipients : collection of str
        These and nobody else.
    results_folder : path
        The folder of all results; receipts are kept beside the preview.

    Returns
    -------
    list of str
        Who was sent it now: not who had the same already.

    Raises
    ------
    RuntimeError, ConnectionError
        As ``send_mail``.

    Examples
    --------
    >>> server = SmtpServer(mail.host, mail.port, security="none")
    >>> lines = ["one_page_checkout: 0 of 1 verdict would change", "2026-03-03: same"]
    >>> mail_preview("one_page_checkout", lines, server, ["boss@example.com"], results_folder)
    ['boss@example.com']
    """
    first, *nights = (clean_name(line, 500) if line[:1] != " " else f"  {clean_name(line, 500)}" for line in lines)
    text = (
        "A preview, sent by hand. Nothing of it is published: the reports that were sent before still hold.\n\n"
        + "\n".join([first, "", *nights, ""])
    )
    letter = Letter(f"PREVIEW, by hand: {first}", text, topic=key)
    return send_mail(Path(results_folder) / preview.FOLDER / key, server, recipients, letter, channel=CHANNEL)


def _is_dry(asked: Mapping[str, Any]) -> bool:
    return asked.get("dry_run") is not False


def _reason(asked: Mapping[str, Any]) -> str | None:
    return " ".join((asked.get("reason") or "").split()) or None


def _on_top(page: str | None, said: str) -> str | None:
    """The page with a line above its card; the first table after the body's begin holds the card."""
    if page is None:
        return None
    line = (
        '<p class="on-warn warn" style="margin:0;padding:8px 16px;background-color:#fff3d6;color:#6f4400;'
        "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:13px;line-height:18px;\">"
        f"<b>{html.escape(said)}</b></p>\n"
    )
    before, table, after = page.partition('<table role="presentation"')
    return before + line + table + after
