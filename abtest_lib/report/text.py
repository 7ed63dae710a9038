"""Names that someone chose, dates and English: the small parts of every sentence."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def clean_name(text: Any, limit: int = 80) -> str:
    """Make a name that someone chose harmless in a line of ours: no breaks, no controls, no spill of direction.

    Parameters
    ----------
    text : Any
        The name; what is no string is printed.
    limit : int
        Characters to keep; a longer name loses its middle.

    Returns
    -------
    str
        One line. A name with letters that run from right to left is isolated.

    Examples
    --------
    >>> clean_name("One-page\\ncheckout"), clean_name("a" * 9, 6)
    ('One-page checkout', 'aaa…aa')
    """
    return _cleaned(str(text), limit)


@lru_cache(maxsize=4096)  # a report names the same few things in thousands of cells
def _cleaned(text: str, limit: int) -> str:
    spaced = re.sub(r"\s+", " ", text).strip()
    kept = "".join(sign for sign in spaced if unicodedata.category(sign) not in ("Cc", "Cf", "Cs") or sign == "\u200d")
    if len(kept) > limit:
        kept = f"{kept[: limit - limit // 3 - 1]}…{kept[-(limit // 3) :]}"
    if any(unicodedata.bidirectional(sign) in ("R", "AL", "AN") for sign in kept):
        return f"\u2068{kept}\u2069"
    return kept


def shortened(text: str, limit: int) -> str:
    """Cut the end off a text that is too long.

    Parameters
    ----------
    text : str
    limit : int
        Most characters, at least 1.

    Returns
    -------
    str
        With an ellipsis where something was cut.

    Examples
    --------
    >>> shortened("Keep control.", 8)
    'Keep co…'
    """
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def long_day(day: date | str) -> str:
    """Write a date in full, as sentences have it.

    Parameters
    ----------
    day : date or str
        A string is ``YYYY-MM-DD``.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the string is no date.

    Examples
    --------
    >>> long_day("2026-03-09")
    '9 March 2026'
    """
    day = date.fromisoformat(day) if isinstance(day, str) else day
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def short_day(day: str) -> str:
    """Write a date as tables have it.

    Parameters
    ----------
    day : str
        ``YYYY-MM-DD``.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the string is no date.

    Examples
    --------
    >>> short_day("2026-03-09")
    '9 Mar 2026'
    """
    read = date.fromisoformat(day)
    return f"{read.day} {_MONTHS[read.month - 1][:3]} {read.year}"


def count_text(number: float) -> str:
    """Write a whole number with its thousands apart.

    Parameters
    ----------
    number : float

    Returns
    -------
    str

    Examples
    --------
    >>> count_text(296_814)
    '296,814'
    """
    return f"{number:,.0f}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun.

    Parameters
    ----------
    number : int
    one, many : str
        The noun for 1 and for other numbers; ``many`` is ``one`` with an s unless given.

    Returns
    -------
    str

    Examples
    --------
    >>> plural(1, "night"), plural(1_200, "unit waits", "units wait")
    ('1 night', '1,200 units wait')
    """
    return f"{count_text(number)} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """Join names with commas and "and".

    Parameters
    ----------
    names : sequence of str
        At least one.

    Returns
    -------
    str

    Raises
    ------
    IndexError
        If there is no name.

    Examples
    --------
    >>> listed(["conversion", "revenue", "latency"])
    'conversion, revenue and latency'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def sentence(text: str) -> str:
    """Make a sentence of a phrase: a capital first, a full stop last.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        Empty for an empty phrase.

    Examples
    --------
    >>> sentence("not computed, because the mean of the control is zero")
    'Not computed, because the mean of the control is zero.'
    """
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def pvalues_held(text: str) -> str:
    """Keep each p-value of a text on one line, by spaces that do not break.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> pvalues_held("p = 0.012 (2 comparisons)")
    'p\\xa0=\\xa00.012 (2 comparisons)'
    """
    return re.sub(r"\bp ([<>=]) (?=\d)", "p\u00a0\\1\u00a0", text)
