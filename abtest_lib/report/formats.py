"""One view printed as HTML, text, Markdown and Slack message; the templates lie in ``templates/``."""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from abtest_lib.report.slack import slack_message
from abtest_lib.report.text import pvalues_held
from abtest_lib.resources import folder


@dataclass(frozen=True)
class Rendered:
    """One report in the four formats it is delivered in."""

    html: str
    text: str
    markdown: str
    slack: dict[str, Any]


def render(view: Mapping[str, Any]) -> Rendered:
    """Print one view as HTML, text, Markdown and Slack message.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.

    Returns
    -------
    Rendered
        Three documents that end in a line break, and a Slack payload with
        ``text`` (the fallback) and ``blocks``.

    Raises
    ------
    jinja2.UndefinedError
        If the view lacks a value that a template prints.

    Examples
    --------
    >>> from abtest_lib.report import view
    >>> rendered = render(view(document))
    >>> rendered.slack["text"]
    '✔ SHIP: One-page checkout'
    """
    html = _templates("html").get_template("report.html.j2").render(view=view)
    return Rendered(
        html=re.sub(r"\n\s*", "\n", html).strip() + "\n",
        text=_squeeze(_templates("text").get_template("report.txt.j2").render(view=view)),
        markdown=_squeeze(_templates("markdown").get_template("report.md.j2").render(view=view)),
        slack=slack_message(view),
    )


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
