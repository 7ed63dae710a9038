"""Writes the report of a night in all its forms beside its results."""

from __future__ import annotations

from pathlib import Path

from abtest_lib import results
from abtest_lib.report.contents import subject, view
from abtest_lib.report.formats import render


def write(night: Path, document: dict, history: list[dict]) -> Path:
    """Render the report and write ``report.html``, ``.txt``, ``.md`` and ``slack.json``.

    Parameters
    ----------
    night : Path
        The revision's folder.
    document : dict
        ``results.json``.
    history : list of dict
        Results of earlier nights, oldest first.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> write(night, results.read_json(night / "results.json"), []).name
    'report.html'
    """
    said = view(document, history)
    rendered = render(said)
    results.write_bytes(night / "report.txt", rendered.text.encode())
    results.write_bytes(night / "report.md", rendered.markdown.encode())
    results.write_json(night / "slack.json", rendered.slack)
    results.write_json(night / "mail.json", {"subject": subject(said)})
    return results.write_bytes(night / "report.html", rendered.html.encode())
