"""What a night's report is to the reports before it: the same thread or a new one, an alarm, a replacement."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from abtest_lib.report.text import clean_name


def thread(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> str:
    """Name the thread of a night: the same for all nights since the verdicts last changed.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.
    earlier : sequence of mappings
        Earlier nights, oldest first, each from ``readable``.

    Returns
    -------
    str
        The first of these nights, and eight hexadecimal digits for the verdicts; no name that people chose is in it.

    Examples
    --------
    >>> token = thread(tonight, [])
    >>> token.startswith(tonight["as_of"]), len(token)
    (True, 19)
    """
    verdicts, since = _verdicts(night), night["as_of"]
    for past in reversed(earlier):
        if _verdicts(past) != verdicts:
            break
        since = past["as_of"]
    digest = hashlib.sha256(json.dumps(sorted(verdicts.items())).encode()).hexdigest()
    return f"{since}-{digest[:8]}"


def verdict_changed(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the verdict of some variant differs from that of the last report.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.
    earlier : sequence of mappings
        Earlier nights, oldest first, each from ``readable``.

    Returns
    -------
    bool
        False for the first report.

    Examples
    --------
    >>> verdict_changed(tonight, []), verdict_changed(tonight, [tonight])
    (False, False)
    """
    return bool(earlier) and _verdicts(night) != _verdicts(earlier[-1])


def guardrail_alarm(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a guardrail is proved harmful that was not in the last report.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.
    earlier : sequence of mappings
        Earlier nights, oldest first, each from ``readable``.

    Returns
    -------
    bool

    Examples
    --------
    >>> guardrail_alarm(tonight, [])
    False
    """
    return bool(_harmful(night) - (_harmful(earlier[-1]) if earlier else set()))


def supersedes_sentence(superseded: Mapping[str, str] | None) -> str:
    """Say which report of the same night this one replaces, and why.

    Parameters
    ----------
    superseded : mapping or None
        The ``revision`` that was published before, and ``because`` of what there is another one.

    Returns
    -------
    str
        Empty if none was.

    Examples
    --------
    >>> supersedes_sentence({"revision": "3f2a9c41d07b", "because": "the data changed"})
    'This report replaces revision 3f2a9c41d07b of this night: the data changed.'
    """
    if not superseded:
        return ""
    return (
        f"This report replaces revision {clean_name(superseded['revision'], 20)} of this night: "
        f"{clean_name(superseded['because'], 200)}."
    )


def _verdicts(night: Mapping[str, Any]) -> dict[str, str]:
    return {verdict["variant"]: verdict["verdict"] for verdict in night["verdicts"]}


def _harmful(night: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {
        (guardrail["metric"], comparison["variant"])
        for guardrail in night["guardrails"]
        for comparison in guardrail["comparisons"]
        if comparison.get("outcome") == "harmful"
    }
