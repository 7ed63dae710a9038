"""The sections without effects: sample ratio, data, plan, method, and where the report comes from."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from abtest_lib.report.numbers import finite_number, missing_reason, percent
from abtest_lib.report.readable import suspect_place, title_of
from abtest_lib.report.rows import fences_of, smallest_text
from abtest_lib.report.text import clean_name, count_text, listed, long_day, plural, sentence, short_day

_SUSPECTS = 3
LATE_SHARE = 0.05  # of a source's rows that may come after a metric's lag


def sample_ratio_section(night: Mapping[str, Any]) -> dict[str, Any]:
    """Show whether units fell into the variants as planned.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    dict
        ``heading``, ``note``, ``columns`` and ``rows`` of strings.

    Examples
    --------
    >>> sample_ratio_section(tonight)["heading"]
    'Sample ratio: ✔ healthy'
    """
    ratio = night["sample_ratio"]
    if missing_reason(ratio):
        missing = sentence(missing_reason(ratio))
        return {"heading": "Sample ratio: not computed", "note": missing, "rows": [], "columns": []}
    healthy = ratio["healthy"] is True
    total = sum(ratio["weights"].values())
    rows = [
        [clean_name(name), percent(weight / total), *(count_text(ratio[key][name]) for key in ("expected", "observed"))]
        for name, weight in ratio["weights"].items()
    ]
    statistic, probability = finite_number(ratio["statistic"]), finite_number(ratio["pvalue"])
    note = missing_reason(ratio["pvalue"])
    if statistic is not None and probability is not None:
        chance = f"{probability:.2g}" if probability < 0.99 else "above 0.99"
        note = (
            f"Chi-squared {statistic:,.2f}, {plural(ratio['df'], 'degree')} of freedom: by chance alone a split at "
            f"least this uneven has probability {chance}; the alarm is below {ratio['alarm_below']:.2g}"
        )
    said = [*(_suspect(entry) for entry in ratio.get("suspects", ())[:_SUSPECTS]), *_otherwise(night["exposure"])]
    note = " ".join((sentence(note), *said))
    word = "✖ not as assigned" if ratio.get("as_assigned") is False else "✖ mismatch"
    return {
        "heading": "Sample ratio" + _whose(ratio) + ": " + ("✔ healthy" if healthy else word),
        "note": note,
        "columns": ["Variant", "Planned", "Expected", "Observed"],
        "rows": rows,
    }


def _otherwise(exposure: Mapping[str, Any]) -> list[str]:
    """Say how many units have another variant than the assignment gives, where that is known."""
    if not (found := exposure.get("assignment")):
        return []
    if not found["otherwise"]:
        units = plural(sum(found["checked"].values()), "unit has", "units have")
        return [f"All {units} the variant that the assignment gives."]
    said = []
    for row in found["otherwise"]:
        of = found["checked"][row["found"]]
        gives = "leaves out" if row["assigned"] is None else f"gives to {clean_name(row['assigned'])}"
        said.append(f"{plural(row['units'], 'unit')} ({_share(row['units'] / of)}) of {clean_name(row['found'])} are "
                    f"ones that the assignment {gives}.")  # fmt: skip
    return said


def _whose(ratio: Mapping[str, Any]) -> str:
    """Whose split is shown, where several are tested."""
    return f" of {ratio['of']} units" if "of" in ratio else ""


def _suspect(entry: Mapping[str, Any]) -> str:
    """Name a segment value or day that is split unlike the others."""
    without = "without it the split is as planned" if entry["healthy_without"] else "but it is not the whole cause"
    seen = ", ".join(
        f"{clean_name(name)} {count_text(count)} ({count_text(entry['expected'][name])} expected)"
        for name, count in entry["observed"].items()
    )
    return sentence(
        f"Look at {suspect_place(entry)}, {percent(round(entry['share_of_units'], 3))} of the units: {seen}; {without}"
    )


def data_section(night: Mapping[str, Any]) -> dict[str, Any]:
    """Say which units were counted and which wait.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    dict
        ``lines`` (sentences), ``columns`` and ``rows`` of strings, one for each metric.

    Examples
    --------
    >>> data_section(tonight)["columns"]
    ['Metric', 'Counted', 'Waiting', 'Complete on']
    """
    exposure = night["exposure"]
    units, mixed = sum(exposure["units"].values()), sum(exposure["crossovers"].values())
    lines = [_counted(exposure)]
    if exposure.get("first_on") and exposure.get("last_on"):
        what = "Activations" if exposure.get("activation") else "First exposures"
        lines.append(f"{what} from {long_day(exposure['first_on'])} to {long_day(exposure['last_on'])}.")
    if mixed:
        share = f", {_share(mixed / units)} of all" if units else ""
        lines.append(
            f"{plural(mixed, 'unit')} saw two variants ({_per_variant(exposure['crossovers'])}{share}); each is "
            "counted where it was first."
        )
    else:
        lines.append("No unit saw two variants.")
    lines += [_accepted(entry) for entry in exposure.get("accepted", ())]
    lines += [_left_out(entry) for entry in exposure.get("left_out", ())]
    lines += [_joins(entry) for entry in exposure.get("joins", ())]
    lines += [_late_rows(entry) for entry in exposure.get("delays", ()) if entry["late_share"] > LATE_SHARE]
    lines += _how_late(exposure.get("delays", ()))
    lines += [_open(entry) for entry in night["maturity"] if entry["window_days"] is None]
    rows, since = [], "activation" if exposure.get("activation") else "exposure"
    for entry in night["maturity"]:
        # A table with a row a unit has no windows.
        window = f"{_days(entry)} after {since}" if entry["window_days"] else "as its table has it"
        if entry["window_days"] is None:
            window = f"all until {long_day(_last_counted(entry))}"
        counted, waiting = (count_text(sum(entry[key].values())) for key in ("matured", "waiting"))
        rows.append([clean_name(entry["title"]), window, counted, waiting, short_day(entry["complete_on"])])
    return {"lines": lines, "columns": ["Metric", "Counted", "Waiting", "Complete on"], "rows": rows}


def excluded_lines(night: Mapping[str, Any]) -> list[str]:
    """Say what was left out of the numbers, and why.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    list of str
        Sentences; one that says so when nothing was left out.

    Examples
    --------
    >>> excluded_lines(tonight)[0]
    'Page latency: 3,490 nulls dropped (control 1,771, treatment 1,719), as its definition says.'
    """
    exposure, lines = night["exposure"], []
    if exposure["outside_dates"]:
        was, were = (f"first exposed outside the enrolment {verb}" for verb in ("is", "are"))
        lines.append(f"{plural(exposure['outside_dates'], f'unit {was}', f'units {were}')} not counted.")
    lines += [_excluded(entry) for entry in exposure.get("excluded", ())]
    lines += [
        f"Source {clean_name(entry['source'])}: {count_text(entry['rows_without_unit'])} of "
        f"{plural(entry['rows'], 'row')} without a unit, not counted: nobody can say which variant they belong to."
        for entry in exposure.get("sources", ())
        if entry["rows_without_unit"]
    ]
    for entry in night["maturity"]:
        if dropped := sum(entry["dropped_nulls"].values()):
            whose = _per_variant(entry["dropped_nulls"])
            title = clean_name(entry["title"])
            lines.append(f"{title}: {plural(dropped, 'null')} dropped ({whose}), as its definition says.")
        if "capped" in entry:
            lines.append(_capped(entry, night))
    waiting = [entry for entry in night["maturity"] if sum(entry["waiting"].values())]
    if waiting:
        titles = listed([clean_name(entry["title"]) for entry in waiting])
        lines.append(f"Units whose window is not over wait and are not counted yet: see {titles} above.")
    return lines or ["Nothing was left out."]


def _capped(entry: Mapping[str, Any], night: Mapping[str, Any]) -> str:
    """Say how many units count as the cap, and where a cap comes from that the definition does not give."""
    units, caps = plural(sum(entry["capped"].values()), "unit"), entry.get("caps", ())
    fixed = [cap for cap in caps if cap["cap_quantile"] is not None]
    whose = "its cap" if fixed else "the cap of its definition"
    said = [f"{clean_name(entry['title'])}: {units} above {whose} count as the cap ({_per_variant(entry['capped'])})."]
    for cap in fixed:
        side = f" of {title_of(night, cap['metric'])}" if cap["metric"] != entry["metric"] else ""
        last = date.fromisoformat(cap["before_on"]) - timedelta(days=1)
        value = f"{cap['cap']:,.6g}" if cap["cap"] < 1e6 else count_text(round(cap["cap"]))
        said.append(
            f"The cap{side} is {value}, the {cap['cap_quantile']:g} quantile of {plural(cap['units'], 'unit')} with "
            f"rows from {long_day(cap['from_on'])} to {long_day(last)}, before the experiment."
        )
    return " ".join(said)


def _late_rows(entry: Mapping[str, Any]) -> str:
    enough = (
        f"{plural(entry['enough_days'], 'day')} would do" if entry["enough_days"] else "28 days would not do either"
    )
    return (
        f"⚠ Lag too short: at least {percent(round(entry['late_share'], 3))} of the rows of "
        f"{clean_name(entry['source'])} come after the lag of {plural(entry['lag_days'], 'day')}; {enough}."
    )


def _how_late(delays: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say within how many days rows come, for each source once."""
    by_source = {entry["source"]: entry for entry in delays if "p95_days" in entry}
    said = [f"{clean_name(name)} {_within(entry)}" for name, entry in by_source.items()]
    return [f"How late rows come (half, 95%, 99% of them within): {'; '.join(said)}."] if said else []


def _within(entry: Mapping[str, Any]) -> str:
    days = [entry[name] for name in ("p50_days", "p95_days", "p99_days")]
    return ", ".join("over 28 days" if one is None else plural(one, "day") for one in days)


def _counted(exposure: Mapping[str, Any]) -> str:
    """Who is counted; where units must be activated, how many of those exposed were."""
    units = sum(exposure["units"].values())
    if not (activation := exposure.get("activation")):
        return f"{plural(units, 'exposed unit')} ({_per_variant(exposure['units'])})."
    assigned = activation["assigned"]
    total = sum(assigned.values())
    was = plural(units, "unit was", "units were")
    return (
        f"{was} activated ({_per_variant(exposure['units'])}) of {count_text(total)} exposed "
        f"({_per_variant(assigned)}): {clean_name(activation['title'])} within {plural(activation['days'], 'day')} of "
        f"the exposure. Only they are compared, and their windows begin there."
    )


def _excluded(entry: Mapping[str, Any]) -> str:
    count, name = sum(entry["units"].values()), clean_name(entry["source"])
    if not count:
        return f"Excluded by {name}: no unit."
    return f"Excluded by {name}: {plural(count, 'unit')} ({_per_variant(entry['units'])})."


def _accepted(entry: Mapping[str, Any]) -> str:
    return f"⚠ Analysed although {clean_name(entry['source'])} was not complete: {clean_name(entry['reason'], 200)}."


def _left_out(entry: Mapping[str, Any]) -> str:
    return f"⚠ {clean_name(entry['title'])} was left out: {clean_name(entry['reason'], 200)}."


def _open(entry: Mapping[str, Any]) -> str:
    return (
        f"⚠ {clean_name(entry['title'])} counts everything until {long_day(_last_counted(entry))}, so units are "
        "followed for different times; compare it with completed windows before you decide."
    )


def _last_counted(entry: Mapping[str, Any]) -> date:
    return date.fromisoformat(entry["counted_before"]) - timedelta(days=1)


def _joins(entry: Mapping[str, Any]) -> str:
    title, source, share = clean_name(entry["title"]), clean_name(entry["source"]), percent(round(entry["share"], 3))
    if entry["variant"] is None:
        return (
            f"⚠ {title}: of the units first exposed on {long_day(entry['exposed_on'])} only {share} have a row of "
            f"{source}, usually {percent(round(entry['usual'], 3))}; rows may be missing."
        )
    when = "" if entry["kind"] == "join" else " that came after the lag"
    return (
        f"⚠ {title}: {share} of {clean_name(entry['variant'])}'s units have a row of {source}{when}, "
        f"{percent(round(entry['usual'], 3))} of control's; this is more than chance."
    )


def _share(fraction: float) -> str:
    return "under 0.01%" if 0 < fraction < 0.0001 else percent(fraction)


def _days(entry: Mapping[str, Any]) -> str:
    start, end = entry["delay_days"], entry["delay_days"] + entry["window_days"]
    window = f"{start} to {end} days" if start else plural(end, "day")
    return window + (f" and {plural(entry['lag_days'], 'day')} of lag" if entry["lag_days"] else "")


def _per_variant(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{clean_name(name)} {count_text(count)}" for name, count in counts.items())


def plan_rows(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Show what was declared before the experiment, and on which nights the declaration changed.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.
    earlier : sequence of mappings
        Earlier nights, oldest first, each from ``readable``.

    Returns
    -------
    list of [str, str]

    Examples
    --------
    >>> dict(plan_rows(tonight, []))["Smallest effect"]
    '3%, the smallest that matters'
    """
    experiment = night["experiment"]
    last = date.fromisoformat(experiment["ends_on"]) - timedelta(days=1)
    weights = ", ".join(f"{clean_name(name)} {weight:g}" for name, weight in experiment["weights"].items())
    team = f", {clean_name(experiment['team'])}" if experiment.get("team") else ""
    smallest = f"{smallest_text(night)}, the smallest that matters" if fences_of(night) else "none declared"
    rows = [
        ["Hypothesis", clean_name(experiment["hypothesis"], 400)],
        ["Enrolment", f"{long_day(experiment['starts_on'])} to {long_day(last)}"],
        ["Decision due", ("" if experiment["looks"] == "horizon" else "by ") + long_day(experiment["decides_on"])],
        ["Primary", listed([title_of(night, metric) for metric in experiment["primary"]])],
        ["Smallest effect", smallest],
        ["Alpha", f"{experiment['alpha']:g}"],
        ["Looks", _looks(experiment)],
        ["Weights", weights],
        ["Owner", clean_name(experiment["owner"]) + team],
    ]
    rows += [["Outlook", text] for text in _outlook(night)]
    changes = _definition_changes(night, earlier)
    return rows + ([["Changed", changes]] if changes else [])


def _looks(experiment: Mapping[str, Any]) -> str:
    if experiment["looks"] == "horizon":
        return f"one, on {long_day(experiment['decides_on'])}"
    shape = {"obrien_fleming": "O'Brien-Fleming", "pocock": "Pocock"}[experiment["looks"]]
    first, last = (date.fromisoformat(experiment[name]) for name in ("first_look_on", "decides_on"))
    return f"{(last - first).days + 1}, nightly from {long_day(first)}; alpha spent after {shape}"


def _outlook(night: Mapping[str, Any]) -> list[str]:
    """Say whether the experiment can show what it is run for; a chance, never a direction."""
    lines = []
    for entry in night["outlook"]:
        if entry["variant"] in night["hidden"]:
            continue
        about = [title_of(night, entry["metric"])] if len(night["experiment"]["primary"]) > 1 else []
        about += [clean_name(entry["variant"])] if night["several"] else []
        text = (
            f"at the pace so far ({plural(entry['units'], 'unit')} in all) an effect of {smallest_text(night)} is "
            f"shown by {long_day(entry['by'])} with probability {_chance(entry['smallest'])}"
        )
        if entry["predicted"] is not None:
            text += f"; with what is known of the effect so far, {_chance(entry['predicted'])}"
        lines.append(sentence(": ".join(filter(None, (", ".join(about), text)))))
    return lines


def _chance(value: float) -> str:
    return "below 1%" if value < 0.01 else "above 99%" if value > 0.99 else f"{value:.0%}"


def _definition_changes(night: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> str:
    nights = [*earlier, night]
    changes = [
        f"{short_day(after['as_of'])} ({_hash(before)} → {_hash(after)})"
        for before, after in pairwise(nights)
        if before["experiment"]["definition_sha256"] != after["experiment"]["definition_sha256"]
    ]
    return f"definition changed on the night of {listed(changes)}" if changes else ""


def method_lines(night: Mapping[str, Any]) -> list[str]:
    """Say how each metric was tested.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    list of str

    Examples
    --------
    >>> method_lines(tonight)[-1]
    'A unit counts once its whole window has passed; the verdict waits for the planned horizon.'
    """
    used: dict[str, list[str]] = {}
    for metric in (*night["metrics"], *night["guardrails"]):
        for comparison in metric["comparisons"]:
            if comparison.get("method"):
                titles = used.setdefault(clean_name(comparison["method"], 200), [])
                titles += [clean_name(metric["title"])] if clean_name(metric["title"]) not in titles else []
    lines = [f"{listed(titles)}: {sentence(method)}" for method, titles in used.items()]
    counted = "A unit counts once its whole window has passed"
    if night["experiment"]["looks"] == "horizon":
        return [*lines, f"{counted}; the verdict waits for the planned horizon."]
    begin = "From the first look on, levels" if night["stage"] == "interim" else "Levels"
    lines.append(f"{counted}. {begin}, intervals and adjusted p-values hold over all looks of the plan together.")
    return lines


def method_rows(night: Mapping[str, Any]) -> list[list[str]]:
    """Show what the promises of the night rest on: families, alpha, freshness, revision.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    list of [str, str]

    Examples
    --------
    >>> [label for label, _ in method_rows(tonight)]
    ['Family', 'Alpha', 'Promise', 'Freshness', 'Lag', 'Revision']
    """
    decision = next((row for row in night["error_budget"] if row["kind"] == "decision"), None)
    rows = []
    if decision:
        family = plural(decision["family_size"], "primary comparison")
        rows.append(["Family", f"{family}, {plural(decision['looks'], 'look')}; {decision['method']}"])
        rows.append(["Alpha", _alpha(night, decision)])
    rows.append(["Promise", _promises(night)])
    if night["exposure"].get("known_by"):
        rows.append(["Freshness", f"what was loaded by {_moment(night['exposure']['known_by'])}; later rows wait"])
    lags = sorted({entry["lag_days"] for entry in night["maturity"]})
    if lags:
        each = [clean_name(row["title"]) for row in night["maturity"] if row["lag_days"] == lags[-1] and lags[-1]]
        rows.append(["Lag", f"up to {plural(lags[-1], 'day')} ({listed(each)})" if each else "none"])
    return [*rows, ["Revision", origin_line(night)]]


def _alpha(night: Mapping[str, Any], decision: Mapping[str, Any]) -> str:
    """Say how much of alpha is spent, as far as the night's own numbers tell."""
    alpha = f"{night['experiment']['alpha']:g}"
    if night["stage"] == "interim":
        return f"{alpha}, none of it spent yet"
    if night["stage"] == "final" or decision["looks"] == 1:
        each = f", {decision['per_comparison']:.3g} for each comparison" if decision["family_size"] > 1 else ""
        return f"{alpha}, all of it spent{each}"
    found = [one for metric in night["metrics"] for one in metric["comparisons"] if one.get("looks")]
    if not found:
        return alpha
    looks, level = found[0]["looks"], found[0]["level_tonight"]
    return f"{alpha}; {plural(looks, 'look')} of {decision['looks']} taken, and tonight's own level is {level:.2g}"


def _moment(text: str) -> str:
    day, _, clock = clean_name(text, 40).partition("T")
    return f"{long_day(day)}, {clock[:5]} UTC" if clock else long_day(day)


def _promises(night: Mapping[str, Any]) -> str:
    promised = [
        f"{row['claim']} {percent(min(round(row['promised'], 6), 1))}"
        for row in night["error_budget"]
        if row["kind"] != "exploration"
    ]
    return f"At most so often wrong, over all nights: {'; '.join(promised)}."


def origin_line(night: Mapping[str, Any]) -> str:
    """Name definition, revision and version, from which the same report can be made again.

    Parameters
    ----------
    night : mapping
        What ``readable`` returned.

    Returns
    -------
    str

    Examples
    --------
    >>> origin_line({"experiment": {"definition_sha256": "7c1e5a9"}, "revision": "3f2a", "abtest_version": "0.1.0"})
    'Definition 7c1e5a9, revision 3f2a, abtest 0.1.0'
    """
    return (
        f"Definition {_hash(night)}, revision {clean_name(night['revision'], 20)}, "
        f"abtest {clean_name(night['abtest_version'], 20)}"
    )


def _hash(night: Mapping[str, Any]) -> str:
    return clean_name(night["experiment"]["definition_sha256"])[:10]
