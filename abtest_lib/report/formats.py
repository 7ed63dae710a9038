"""One view printed as mail, page, text, Markdown and Slack messages; the templates lie in ``templates/``."""

import base64
import quopri
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from abtest_lib.report.drawing import draw
from abtest_lib.report.slack import slack_messages
from abtest_lib.report.text import pvalues_held
from abtest_lib.resources import folder

# A whole message: programs and gateways cut or hold back what is larger, and phones load it on the way.
MESSAGE_BYTES = 150_000
_HEADERS_BYTES = 4_000  # of the message and of its parts


@dataclass(frozen=True)
class Rendered:
    """One report in all the forms it is delivered in; ``images`` are the charts as PNG, by name.

    The mail has those charts that leave it small enough; the page has all.
    """

    mail: str
    page: str
    text: str
    markdown: str
    slack: dict[str, Any]
    images: dict[str, bytes]


def render(view: Mapping[str, Any]) -> Rendered:
    """Print one view as mail, page, text, Markdown and Slack messages, and draw its charts.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.

    Returns
    -------
    Rendered
        Four documents that end in a line break, the Slack messages, and the charts as PNG.

    Raises
    ------
    jinja2.UndefinedError
        If the view lacks a value that a template prints.

    Examples
    --------
    >>> from abtest_lib.report import view
    >>> rendered = render(view(document))
    >>> rendered.text.splitlines()[0], "✔ SHIP" in rendered.mail
    ('One-page checkout', True)
    """
    images = {chart["name"]: draw(chart) for chart in view["charts"]}
    text = print_text("report.txt.j2", view)
    return Rendered(
        mail=_mail(view, images, text),
        page=print_html("page.html.j2", view, images),
        text=text,
        markdown=print_markdown("report.md.j2", view),
        slack=slack_messages(view),
        images=images,
    )


def _mail(view: Mapping[str, Any], images: Mapping[str, bytes], text: str) -> str:
    """Print the mail with as many of its charts as leave the message small, the first ones first."""
    mail = print_html("mail.html.j2", view, images)
    room = MESSAGE_BYTES - _HEADERS_BYTES - sum(len(quopri.encodestring(part.encode())) for part in (mail, text))
    fitting = {}
    for name, picture in images.items():
        size = len(base64.encodebytes(picture))
        if size <= room:
            fitting[name], room = picture, room - size
    return mail if len(fitting) == len(images) else print_html("mail.html.j2", view, fitting)


def print_html(template: str, view: Mapping[str, Any], images: Mapping[str, bytes] | None = None) -> str:
    """Print a view by a template of HTML; what it prints is escaped.

    Parameters
    ----------
    template : str
        A file of ``templates/``.
    view : mapping
        What the template prints.
    images : mapping of str to bytes, optional
        Pictures (PNG) that the template puts inside, by name.

    Returns
    -------
    str
        Ends in a line break.

    Raises
    ------
    jinja2.UndefinedError
        If the view lacks a value that the template prints.

    Examples
    --------
    >>> from abtest_lib.report import view
    >>> print_html("mail.html.j2", view(document))[:15]
    '<!DOCTYPE html>'
    """
    inside = {name: base64.b64encode(picture).decode("ascii") for name, picture in (images or {}).items()}
    html = _templates("html").get_template(template).render(view=view, images=inside)
    return re.sub(r"\n\s*", "\n", html).strip() + "\n"


def print_text(template: str, view: Mapping[str, Any]) -> str:
    """Print a view by a template of plain text.

    Parameters
    ----------
    template : str
        A file of ``templates/``.
    view : mapping
        What the template prints.

    Returns
    -------
    str
        Ends in a line break.

    Raises
    ------
    jinja2.UndefinedError
        If the view lacks a value that the template prints.

    Examples
    --------
    >>> from abtest_lib.report import view
    >>> print_text("report.txt.j2", view(document)).splitlines()[0]
    'One-page checkout'
    """
    return _squeeze(_templates("text").get_template(template).render(view=view))


def print_markdown(template: str, view: Mapping[str, Any]) -> str:
    """Print a view by a template of Markdown; what it prints is escaped.

    Parameters
    ----------
    template : str
        A file of ``templates/``.
    view : mapping
        What the template prints.

    Returns
    -------
    str
        Ends in a line break.

    Raises
    ------
    jinja2.UndefinedError
        If the view lacks a value that the template prints.

    Examples
    --------
    >>> from abtest_lib.report import view
    >>> print_markdown("report.md.j2", view(document)).splitlines()[0]
    '# One-page checkout'
    """
    return _squeeze(_templates("markdown").get_template(template).render(view=view))


@cache
def _templates(language: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=language == "html",  # noqa: S701 (text is no markup, and Markdown has its own escaping)
        finalize=_markdown if language == "markdown" else None,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["wrapped"] = _wrapped
    return environment


def _wrapped(text: str, indent: int = 0) -> str:
    """Break a paragraph into lines, but never between p and its value."""
    lines = textwrap.wrap(pvalues_held(text), 76 - indent, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines).replace("\u00a0", " ")


def _squeeze(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n"


def _markdown(value: Any) -> str:
    text = re.sub(r"([\\`*\[\]|~#{}!])", r"\\\1", str(value))
    text = re.sub(r"<(?=\S)|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)
    text = text.replace("://", r"\://").replace("www.", r"www\.")
    return re.sub(r"&(?=#?\w+;)", r"\&", text)
