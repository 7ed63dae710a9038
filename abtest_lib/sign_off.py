"""Some teams sign a final verdict before it is told: who has to, who has, and what may be told until then.

A verdict is final when it is to ship or not to ship. What was decided lies in ``<revision>/sign_off.json`` and holds
for later revisions and nights with the same verdicts: nobody is asked twice for the same answer.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abtest_lib import results
from abtest_lib.mail import Letter, SmtpServer, send_mail
from abtest_lib.yaml_fields import EMAIL

FILE = "sign_off.json"
APPROVED, REJECTED, AWAITED = "approved", "rejected", "awaited"
_REVISION = "[0-9a-f]" * 12  # beside them a folder keeps failures by task, and one task is called sign_off
FINAL = frozenset({"ship", "do_not_ship"})


@dataclass(frozen=True)
class Request:
    """What those who sign are shown: as text for a mail, as Markdown for Airflow."""

    subject: str
    text: str
    markdown: str


class Unsigned(RuntimeError):
    """A final verdict that nobody may be sent yet."""


class Rejected(Unsigned):
    """A final verdict that somebody has refused to sign."""


def standing(night: Path) -> str | None:
    """Where does a night's verdict stand with those who sign?

    Parameters
    ----------
    night : Path
        A revision's folder with ``results.json``.

    Returns
    -------
    {"awaited", "approved", "rejected"} or None
        None when nobody has to sign: the team does not want it, or no verdict is final.

    Raises
    ------
    FileNotFoundError
        If ``decide`` has not run.
    ValueError
        If a file of the night or a signature cannot be read.

    Examples
    --------
    >>> standing(night) is None  # no sign_off in its definition
    True
    """
    if not FINAL.intersection(_verdicts(night).values()) or not results.read_json(night / "definition.json").get(
        "sign_off"
    ):
        return None
    found = signature(night)
    return found["decision"] if found else AWAITED


def signature(night: Path) -> dict[str, Any] | None:
    """Find the decision that holds for a night's verdicts.

    Parameters
    ----------
    night : Path
        A revision's folder with ``results.json``.

    Returns
    -------
    dict or None
        ``decision``, ``by`` and ``at``: the last one made about the same verdicts, on this night or an earlier one.

    Raises
    ------
    FileNotFoundError
        If ``decide`` has not run.
    ValueError
        If a signature cannot be read.

    Examples
    --------
    >>> signature(night) is None
    True
    """
    verdicts, found = _verdicts(night), []
    for path in night.parent.parent.glob(f"????-??-??/{_REVISION}/{FILE}"):
        as_of = path.parent.parent.name
        if as_of <= night.parent.name and _verdicts(path.parent) == verdicts:
            found.append((as_of, _read(path)))
    return max(found, key=lambda one: (one[0], one[1]["at"]))[1] if found else None


def check(night: Path) -> None:
    """Refuse to tell a verdict that is to be signed and is not.

    Parameters
    ----------
    night : Path
        A revision's folder with ``results.json``.

    Raises
    ------
    Unsigned
        If nobody has signed it.
    Rejected
        If somebody has refused to.

    Examples
    --------
    >>> check(night)
    """
    stands = standing(night)
    if stands == AWAITED:
        raise Unsigned(
            f"{_name(night)}: the verdict is to be signed before it is sent, and nobody has. Sign it with: "
            f"{_command(night)}"
        )
    if stands == REJECTED:
        raise Rejected(f"{_name(night)}: nothing is sent, because {said(night)}. To change that: {_command(night)}")


def said(night: Path) -> str:
    """Say in a few words who has decided what; empty when nobody has.

    Parameters
    ----------
    night : Path
        A revision's folder with ``results.json``.

    Returns
    -------
    str

    Examples
    --------
    >>> said(night)
    ''
    """
    found = signature(night)
    return f"the verdict was {found['decision']} by {found['by']} on {found['at'][:10]}" if found else ""


def too_late(night: Path) -> str:
    """Say that nobody answered in time, and what to do.

    Parameters
    ----------
    night : Path
        A revision's folder.

    Returns
    -------
    str

    Examples
    --------
    >>> print(too_late(Path("results/checkout/2026-03-03/0c8f6e2b9d41")))
    checkout, 2026-03-03: nobody signed the verdict in time, so nobody was sent it. Clear the task sign_off to ask \
again; or sign it and deliver by hand: abtest sign checkout --as-of 2026-03-03 --approve --by NAME
    """
    return (
        f"{_name(night)}: nobody signed the verdict in time, so nobody was sent it. Clear the task sign_off to ask "
        f"again; or sign it and deliver by hand: {_command(night)}"
    )


def sign(night: Path, decision: str, by: str) -> Path:
    """Sign a night's verdict, or refuse to.

    Parameters
    ----------
    night : Path
        A revision's folder with ``results.json``.
    decision : {"approved", "rejected"}
        It replaces one that was made before.
    by : str
        Who decides.

    Returns
    -------
    Path
        ``sign_off.json``.

    Raises
    ------
    ValueError
        If there is nothing to sign, or ``by`` is no name.

    Examples
    --------
    >>> sign(night, "approved", "ana")
    Traceback (most recent call last):
    ValueError: one_page_checkout, 2026-03-03: its definition has no sign_off, so there is nothing to sign.
    """
    name = " ".join(by.split())
    if not name or len(name) > 100 or not name.isprintable():
        raise ValueError(f"{_name(night)}: {by!r} is no name; say who decides, in at most 100 letters.")
    if decision not in (APPROVED, REJECTED):
        raise ValueError(f"{_name(night)}: '{decision}' is no decision; it must be {APPROVED} or {REJECTED}.")
    if standing(night) is None:
        why = "no verdict of it is final"
        if not results.read_json(night / "definition.json").get("sign_off"):
            why = "its definition has no sign_off"
        raise ValueError(f"{_name(night)}: {why}, so there is nothing to sign.")
    at = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return results.write_json(night / FILE, {"decision": decision, "by": name, "at": at})


def request(night: Path, *, link: str | None = None, report: str | None = None) -> Request:
    """Word what is to be signed: the verdict, and the effect with its interval.

    Parameters
    ----------
    night : Path
        A revision's folder with a report.
    link, report : str, optional
        Where it can be signed, and where the whole report is.

    Returns
    -------
    Request
        Names in it are cleaned, and nothing in its Markdown is markup but the template's own.

    Raises
    ------
    FileNotFoundError
        If the report has not been written.

    Examples
    --------
    >>> asked = request(night)
    >>> asked.subject
    'Please sign: One-page checkout, 3 Mar 2026: ✔ SHIP'
    >>> "Conversion" in asked.text, "95%" in asked.text
    (True, True)
    """
    from abtest_lib.report.formats import print_markdown, print_text
    from abtest_lib.report.text import plural, short_day

    wanted = results.read_json(night / "definition.json").get("sign_off") or {}
    view = results.read_json(night / "report.json")
    hours = plural(wanted.get("within_hours", 0), "hour")
    view |= {"link": link or "", "report": report or "", "approve": _command(night), "hours": hours}
    word = view["tally"] or view["cards"][0]["label"]
    subject = f"Please sign: {view['title']}, {short_day(view['as_of'])}: {word}"
    return Request(subject, print_text("sign_off.txt.j2", view), print_markdown("sign_off.md.j2", view))


def ask(night: Path, server: SmtpServer, *, link: str | None = None, report: str | None = None) -> list[str]:
    """Mail those who sign that a verdict waits for them.

    Parameters
    ----------
    night : Path
        A revision's folder with a report.
    server : SmtpServer
        Takes the mail.
    link, report : str, optional
        Where it can be signed, and where the whole report is.

    Returns
    -------
    list of str
        Who was asked now: the owner and the addresses under ``sign_off.by``, each once for the same request.

    Raises
    ------
    RuntimeError
        If a recipient was refused (the others get theirs), or an earlier try may have been sent.
    ConnectionError
        If the server cannot be reached or hangs up.

    Examples
    --------
    >>> ask(night, SmtpServer(mail.host, mail.port, security="none"))
    ['ana@example.com']
    """
    definition = results.read_json(night / "definition.json")
    by = (definition.get("sign_off") or {}).get("by", ())
    emails = dict.fromkeys([definition["owner"], *(name for name in by if EMAIL[0].fullmatch(name))])
    asked, plain = request(night, link=link, report=report), request(night)
    # Where it is answered makes no other request of it.
    letter = Letter(asked.subject, asked.text, key=Letter(plain.subject, plain.text).said)
    return send_mail(night.parent, server, list(emails), letter, channel="sign-off-email")


def _verdicts(night: Path) -> dict[str, str]:
    document = results.read_json(night / "results.json")
    return {one["variant"]: one["verdict"] for one in document["verdicts"]}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = results.read_json(path)
        if found["decision"] in (APPROVED, REJECTED) and isinstance(found["by"], str) and found["at"][:10]:
            return found
    except (ValueError, LookupError, TypeError):
        pass
    raise ValueError(f"{path}: is no signature; delete it and sign again.")


def _name(night: Path) -> str:
    return f"{night.parent.parent.name}, {night.parent.name}"


def _command(night: Path) -> str:
    return f"abtest sign {night.parent.parent.name} --as-of {night.parent.name} --approve --by NAME"
