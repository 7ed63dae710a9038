"""The plan of an experiment as text, and as a picture: the smallest effect that is shown against days of enrolment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from abtest_lib.plan import Plan
from abtest_lib.plan_metrics import MetricPlan
from abtest_lib.report.canvas import EDGE, INK, LINE, MUTE, RULE, SIZE, TEXTS, WIDTH, dot, png, rect, text, width
from abtest_lib.report.numbers import mean_text, percent
from abtest_lib.report.text import clean_name, count_text, listed
from abtest_lib.statistics.estimates import NotComputed

PAD, LEFT, HEIGHT = 14, 58, 150
HEAD = ("metric", "role", "past", "target", "units", "days", "decided on", "power", "shown")
LOOKS = {"horizon": "one look, at the end", "obrien_fleming": "a look each night (O'Brien-Fleming spending)",
         "pocock": "a look each night (Pocock spending)"}  # fmt: skip


def plan_text(plan: Plan) -> str:
    """Word a plan as plain text.

    Parameters
    ----------
    plan : Plan
        Of ``abtest_lib.plan``.

    Returns
    -------
    str
        Whose past, the plan as it stands, a table with a row for each metric, and what does not fit.

    Examples
    --------
    >>> from abtest_lib.plan import plan
    >>> said = plan_text(plan(experiment, experiment.decides_on, warehouse))
    >>> said.splitlines()[0]
    'One-page checkout (one_page_checkout), planned as of 2026-03-03'
    """
    days, seen = plan.planned_days, sum(plan.traffic.by_day)
    price = f", {plan.inflation:.3f} times the units of one look" if plan.inflation > 1 else ""
    lines = [
        f"{clean_name(plan.title)} ({plan.key}), planned as of {plan.as_of}",
        f"Past:    {plan.of}: {count_text(seen)} units in {len(plan.traffic.by_day)} days",
        f"Planned: {days} days of enrolment, about {count_text(plan.planned_units)} units"
        + (f" ({percent(plan.share)} of all)" if plan.share < 1 else ""),
        f"Tested:  {LOOKS[plan.looks]}{price}; power {percent(plan.power)}",
        "",
        *_table([HEAD, *(_row(one) for one in plan.metrics)]),
        "",
        "units and days are what the target needs; power and shown are those of the planned days.",
        *_reasons(plan),
        *_lacking(plan),
    ]
    return "\n".join(lines) + "\n"


def plan_document(plan: Plan) -> dict:
    """Give a plan as plain values for ``plan.json``.

    Parameters
    ----------
    plan : Plan
        Of ``abtest_lib.plan``.

    Returns
    -------
    dict
        Dates as text; what was not computed is ``{"not_computed": reason}``.

    Examples
    --------
    >>> from abtest_lib.plan import plan
    >>> plan_document(plan(experiment, experiment.decides_on, warehouse))["metrics"][0]["days"]
    63
    """
    return _plain(asdict(plan) | {"metrics": [_fields(one) for one in plan.metrics]})


def plan_chart(plan: Plan) -> bytes:
    """Draw the smallest effect that each primary metric and guardrail shows against the days of enrolment.

    Parameters
    ----------
    plan : Plan
        Of ``abtest_lib.plan``.

    Returns
    -------
    bytes
        PNG; the same bytes for the same plan.

    Examples
    --------
    >>> from abtest_lib.plan import plan
    >>> plan_chart(plan(experiment, experiment.decides_on, warehouse))[:4]
    b'\\x89PNG'
    """
    parts, y = [text(PAD, PAD + SIZE, "Smallest effect shown, by days of enrolment", weight="bold")], PAD + 2 * LINE
    for one in plan.metrics:
        if one.role != "secondary" and len(one.curve) > 1:
            y = _panel(parts, one, plan.planned_days, y)
    parts.append(dot(PAD + 5, y + SIZE - 4, 4, INK, INK))
    parts.append(text(PAD + 16, y + SIZE, f"the planned {plan.planned_days} days", colour=MUTE))
    parts.append(rect(PAD + 170, y + SIZE - 5, 14, 2, TEXTS["good"]))
    parts.append(text(PAD + 190, y + SIZE, f"target (power {percent(plan.power)})", colour=MUTE))
    return png(parts, round(y + LINE + PAD))


def _panel(parts: list[str], one: MetricPlan, planned: int, top: float) -> float:
    parts.append(text(PAD, top + SIZE, f"{clean_name(one.title, 40)} ({one.role})"))
    top += LINE + 6
    values = [value for _, value in one.curve]
    high, last = 1.05 * max(*values, one.target), one.curve[-1][0]
    for value in (0.0, one.target, max(values)):
        at = top + HEIGHT * (1 - value / high)
        is_target = value == one.target
        parts.append(
            rect(LEFT, at - 1, WIDTH - PAD - LEFT, 2 if is_target else 1, TEXTS["good"] if is_target else RULE)
        )
        parts.append(text(LEFT - 6, at + 4.5, percent(value), colour=MUTE, anchor="end"))
    for days, value in one.curve:
        x, y = LEFT + (WIDTH - PAD - LEFT - 8) * days / last, top + HEIGHT * (1 - value / high)
        filled = INK if days == planned else "#ffffff"
        parts.append(dot(x, y, 4, INK if days == planned else EDGE, filled))
        if days in (one.curve[0][0], planned, last):
            half = width(f"{days}", "normal") / 2
            parts.append(
                text(min(x, WIDTH - PAD - half), top + HEIGHT + SIZE + 3, f"{days}", colour=MUTE, anchor="middle")
            )
    return top + HEIGHT + LINE + 12


def _row(one: MetricPlan) -> tuple[str, ...]:
    sign = "margin " if one.role == "guardrail" else ""
    past = (
        "-"
        if isinstance(one.baseline, NotComputed)
        else mean_text(one.baseline.mean, {"kind": one.kind, "unit": one.unit})
    )
    shown = (one.units, one.days, one.decided_on, one.power, one.detectable)
    if isinstance(one.baseline, NotComputed):
        return (clean_name(one.title, 30), one.role, past, f"{sign}{percent(one.target)}", *("-" for _ in shown))
    words = [count_text, str, str, _chance, percent]
    said = ("-" if isinstance(value, NotComputed) else word(value) for word, value in zip(words, shown, strict=True))
    return (clean_name(one.title, 30), one.role, past, f"{sign}{percent(one.target)}", *said)


def _chance(power: float) -> str:
    return "> 99%" if power > 0.99 else f"{power:.0%}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = 2  # names are read from the left, numbers compared from the right
    return ["  ".join(cell.ljust(wide[n]) if n < left else cell.rjust(wide[n]) for n, cell in enumerate(row)).rstrip()
            for row in rows]  # fmt: skip


def _reasons(plan: Plan) -> list[str]:
    """Why a number is missing, once for each metric."""
    found = []
    for one in plan.metrics:
        missing = next(
            (value for value in (one.baseline, one.days, one.detectable) if isinstance(value, NotComputed)), None
        )
        if missing:
            found.append(f"{clean_name(one.title)}: not computed, because {missing.reason}.")
    return found


def _lacking(plan: Plan) -> list[str]:
    """What the planned days are too short for, of the metrics that decide."""
    deciding = [one for one in plan.metrics if one.role != "secondary"]
    short = [one for one in deciding if not isinstance(one.units, NotComputed) and one.units > plan.planned_units]
    if short:
        return [f"Too short for {clean_name(one.title)}: {_asked(one)} needs {count_text(one.units)} units"
                + (f", {one.days} days" if not isinstance(one.days, NotComputed) else "") + "."
                for one in short]  # fmt: skip
    known = [clean_name(one.title) for one in deciding if not isinstance(one.units, NotComputed)]
    return [f"The planned days are enough for {listed(known)}."] if known else []


def _asked(one: MetricPlan) -> str:
    what = "a margin of" if one.role == "guardrail" else "an effect of"
    return f"{what} {percent(one.target)}"


def _fields(one: MetricPlan) -> dict:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def _plain(value):
    if isinstance(value, NotComputed):
        return {"not_computed": value.reason}
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if hasattr(value, "isoformat") else value
