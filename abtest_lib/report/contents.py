"""What the report of one night says, in the order in which it says it."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from abtest_lib.report.background import (
    data_section,
    excluded_lines,
    method_lines,
    method_rows,
    origin_line,
    plan_rows,
    sample_ratio_section,
)
from abtest_lib.report.cards import verdict_card, verdict_tally
from abtest_lib.report.charts import chart_data
from abtest_lib.report.readable import readable, withheld_note
from abtest_lib.report.tables import guardrail_table, night_tables, primary_section, secondary_table, segment_table
from abtest_lib.report.text import clean_name, long_day, shortened
from abtest_lib.report.threads import guardrail_alarm, supersedes_sentence, thread, verdict_changed


def view(
    results: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] = (),
    *,
    superseded: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Word and format everything the report of one night says.

    Parameters
    ----------
    results : mapping
        A ``results.json`` document, schema version 1.
    history : sequence of mappings
        Such documents of earlier nights of the same experiment, oldest first;
        documents of the same or a later night are left out.
    superseded : mapping or None
        The ``revision`` of the same night that was published before, and ``because`` of what there is another one.

    Returns
    -------
    dict
        Plain strings, lists and bars. No effect of a variant whose verdict is
        invalid is in it, and no p-value of an interim night.

    Raises
    ------
    KeyError
        If the document lacks a key of the schema.

    Examples
    --------
    >>> report = view(document)
    >>> report["cards"][0]["label"], report["cards"][0]["checks"][1]["detail"]
    ('✔ SHIP', '2 of 2 proved safe')
    """
    night = readable(results)
    earlier = [readable(past, hidden=night["hidden"]) for past in history if past["as_of"] < results["as_of"]]
    experiment, last_day = night["experiment"], date.fromisoformat(night["as_of"]) - timedelta(days=1)
    cards = [verdict_card(verdict, night, earlier) for verdict in night["verdicts"]]
    tables = (guardrail_table(night), secondary_table(night), segment_table(night), *night_tables(night, earlier))
    report = {
        "key": clean_name(experiment["key"]),
        "title": clean_name(experiment["title"], 200),
        "as_of": night["as_of"],
        "kicker": f"Experiment {clean_name(experiment['key'])}, data through {long_day(last_day)} (UTC)",
        "stage": _stage(night),
        "cards": cards,
        "tally": verdict_tally(cards) if len(cards) > 1 else "",
        "withheld": withheld_note(night),
        "primary": [primary_section(metric, night) for metric in night["metrics"] if metric["role"] == "primary"],
        "tables": [table for table in tables if table["groups"]],
        "ratio": sample_ratio_section(night),
        "data": data_section(night),
        "excluded": excluded_lines(night),
        "plan": plan_rows(night, earlier),
        "method": method_lines(night),
        "promises": method_rows(night),
        "origin": origin_line(night),
        "folder": f"{clean_name(experiment['key'])}/{night['as_of']}/{clean_name(night['revision'], 20)}",
        "last_line": f"Night of {long_day(night['as_of'])}, revision {clean_name(night['revision'], 20)}.",
        "command": f"abtest run {clean_name(experiment['key'])} --as-of {night['as_of']}",
        "thread": thread(night, earlier),
        "verdict_changed": verdict_changed(night, earlier),
        "guardrail_alarm": guardrail_alarm(night, earlier),
        "supersedes": supersedes_sentence(superseded),
        "charts": chart_data(night, earlier),
    }
    return report | {"subject": subject(report), "preheader": preheader(report)}


def _stage(night: Mapping[str, Any]) -> str:
    decides_on = long_day(night["experiment"]["decides_on"])
    looks = night["experiment"]["looks"] != "horizon"
    first = long_day(night["experiment"]["first_look_on"]) if looks else None
    if night["stage"] == "final":
        return f"Final reading: the planned horizon, {decides_on}, is reached."
    if night["stage"] == "look":
        return f"A look at the experiment while it runs; the last one is on {decides_on}."
    if any(verdict["verdict"] == "do_not_ship" for verdict in night["verdicts"]):
        rest = f"on {decides_on}" if first is None else f"at the looks from {first} to {decides_on}"
        return f"Interim reading: proved harm is decided on any night, everything else {rest}."
    if first is not None:
        return f"Interim reading, not a decision. The looks begin on {first} and end on {decides_on}."
    return f"Interim reading, not a decision. The decision is due on {decides_on}."


def subject(view: Mapping[str, Any]) -> str:
    """Say the verdict and the experiment in one line for a mail's subject.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.

    Returns
    -------
    str
        One line of at most about 130 characters, the same on all nights with the same verdicts: it holds no date.

    Examples
    --------
    >>> subject({"title": "One-page checkout", "cards": [{"sign": "✔", "word": "SHIP"}], "tally": ""})
    '✔ SHIP: One-page checkout'
    """
    only = view["cards"][0]
    lead = f"{only['sign']} {only['word']}" if len(view["cards"]) == 1 else view["tally"]
    return f"{lead}: {clean_name(view['title'])}"


def preheader(view: Mapping[str, Any]) -> str:
    """Say what to do and why in the line that mail programs show after the subject.

    Parameters
    ----------
    view : mapping
        What ``view`` returned.

    Returns
    -------
    str
        The first sentences of each variant's verdict, at most 200 characters.

    Examples
    --------
    >>> preheader({"cards": [{"action": "Keep control.", "why": "Orders is worse: −3.1%.", "variant": ""}]})
    'Keep control. Orders is worse: −3.1%.'
    """
    parts = (" ".join(filter(None, (card["variant"], card["action"], card["why"]))) for card in view["cards"])
    return shortened(" ".join(parts), 200)
