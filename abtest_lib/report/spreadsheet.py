"""Every number of a night as CSV, one row a number, for those who go on calculating."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from abtest_lib.report.numbers import finite_number, interval_ends, missing_reason
from abtest_lib.report.readable import readable
from abtest_lib.report.text import clean_name

COLUMNS = (
    "experiment", "as_of", "revision", "section", "metric", "variant", "segment", "quantity", "value", "low", "high",
    "confidence_level", "pvalue", "pvalue_adjusted", "pvalue_safe", "reading", "unit", "n_control", "n_treatment",
    "not_computed",
)  # fmt: skip
# A spreadsheet takes a cell that begins like this for a formula, and some take the wide forms for them too.
_FORMULA = tuple("=+-@＝＋－＠")


def numbers_csv(results: Mapping[str, Any]) -> str:
    """List every number of a night, without those that may not be shown.

    Parameters
    ----------
    results : mapping
        A ``results.json`` document.

    Returns
    -------
    str
        CSV with a head. A p-value stands on the row of its effect or statistic. Nothing of an invalid variant is in it.

    Raises
    ------
    KeyError
        If the document lacks a key of the schema.

    Examples
    --------
    >>> rows = list(csv.DictReader(numbers_csv(document).splitlines()))
    >>> [row["low"] != "" for row in rows if row["section"] == "primary" and row["quantity"] == "relative_effect"]
    [True]
    """
    night = readable(results)
    head = {"experiment": night["experiment"]["key"], "as_of": night["as_of"], "revision": night["revision"]}
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in (head | row).items()} for row in _rows(night))
    return file.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return "" if value is None else value
    text = clean_name(value, 400)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _rows(night: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from _split_rows(night)
    yield from _unit_rows(night)
    for metric in night["metrics"]:
        yield from _metric_rows(metric["role"], metric)
    for guardrail in night["guardrails"]:
        named = {"section": "guardrail", "metric": guardrail["metric"]}
        yield named | {"quantity": "margin", "value": guardrail["margin"], "unit": "fraction"}
        yield from _metric_rows("guardrail", guardrail)
    for segment in night["segments"]:
        place = f"{segment['name']} = {segment['value']}"
        for row in _metric_rows("segment", segment):
            yield row | {"segment": place}
    yield from _difference_rows(night)
    for entry in night["error_budget"]:
        named = {"section": "error_budget", "metric": entry["claim"]}
        yield from (named | {"quantity": name, "value": entry[name]} for name in ("per_comparison", "promised"))
        yield from (named | {"quantity": name, "value": entry[name]} for name in ("family_size", "looks"))
    for entry in night["outlook"]:
        if entry["variant"] not in night["hidden"]:
            named = {"section": "outlook", "metric": entry["metric"], "variant": entry["variant"]}
            yield from (named | {"quantity": name, "value": entry[name]} for name in ("units", "smallest", "predicted"))


def _split_rows(night: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    ratio = night["sample_ratio"]
    if "weights" not in ratio:
        yield {"section": "sample_ratio", "quantity": "chi_squared", **_missing(ratio)}
        return
    for quantity in ("weights", "expected", "observed"):
        for variant, value in ratio[quantity].items():
            yield {"section": "sample_ratio", "variant": variant, "quantity": quantity, "value": value}
    number = {"value": finite_number(ratio["statistic"]), "pvalue": finite_number(ratio["pvalue"])}
    yield {"section": "sample_ratio", "quantity": "chi_squared", **number, **_missing(ratio["pvalue"])}
    yield {"section": "sample_ratio", "quantity": "df", "value": ratio["df"]}
    yield {"section": "sample_ratio", "quantity": "alarm_below", "value": ratio["alarm_below"]}


def _unit_rows(night: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    exposure = night["exposure"]
    for quantity in ("units", "crossovers"):
        for variant, count in exposure[quantity].items():
            yield {"section": "exposure", "variant": variant, "quantity": quantity, "value": count}
    yield {"section": "exposure", "quantity": "outside_dates", "value": exposure["outside_dates"]}
    for source in exposure.get("sources", ()):
        named = {"section": "source", "metric": source["source"]}
        yield from (named | {"quantity": name, "value": source[name]} for name in ("rows", "rows_without_unit"))
    for delay in exposure.get("delays", ()):
        named = {"section": "delay", "metric": delay["source"]}
        quantities = ("rows", "lag_days", "late_share", "enough_days", "p50_days", "p95_days", "p99_days")
        yield from (named | {"quantity": name, "value": delay[name]} for name in quantities if name in delay)
    for entry in night["maturity"]:
        for quantity in ("matured", "waiting", "dropped_nulls"):
            for variant, count in entry[quantity].items():
                yield {"section": "maturity", "metric": entry["metric"], "variant": variant, "quantity": quantity,
                       "value": count}  # fmt: skip


def _metric_rows(section: str, metric: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for comparison in metric["comparisons"]:
        if "withheld" in comparison:
            continue
        named = {"section": section, "metric": metric["metric"], "variant": comparison["variant"]}
        if "not_computed" in comparison:
            yield named | {"quantity": "relative_effect"} | _missing(comparison)
            continue
        counts = {"n_control": comparison["n_control"], "n_treatment": comparison["n_treatment"]}
        for row in _comparison_rows(comparison, metric["unit"] or _unit(metric["kind"])):
            yield named | row | counts


def _unit(kind: str) -> str:
    return "fraction" if kind in ("proportion", "retention") else "per unit" if kind == "count" else ""


def _comparison_rows(comparison: Mapping[str, Any], unit: str) -> Iterator[dict[str, Any]]:
    tests = {name: finite_number(comparison.get(name)) for name in ("pvalue", "pvalue_adjusted", "pvalue_safe")}
    tests["reading"] = comparison.get("outcome", comparison["reading"])
    level = comparison["confidence_level"]
    for name in ("mean_control", "mean_treatment"):
        yield {"quantity": name, "unit": unit, **_number(comparison[name])}
    absolute = _number(comparison["effect"], comparison["effect_interval"], level)
    yield {"quantity": "effect", "unit": unit, **tests, **absolute}
    relative = _number(comparison["relative_effect"], comparison["relative_interval"], level)
    yield {"quantity": "relative_effect", "unit": "fraction", **tests, **relative}
    if "standard_error" in comparison:
        yield {"quantity": "standard_error", "unit": unit, **_number(comparison["standard_error"])}
    if "harm_interval" in comparison:
        harm = _number(comparison["relative_effect"], comparison["harm_interval"], comparison["harm_confidence_level"])
        yield {"quantity": "relative_effect_for_harm", "unit": "fraction", **harm}
    if "looks" in comparison:
        yield {"quantity": "looks", **_number(comparison["looks"])}
        yield {"quantity": "level_tonight", **_number(comparison["level_tonight"])}
    if "stopped" in comparison:
        stopped = comparison["stopped"]
        corrected = _number(stopped["effect"], stopped["effect_interval"], level) | {"pvalue": stopped["pvalue"]}
        yield {"quantity": f"effect_corrected_for_stopping_{stopped['on']}", "unit": unit, **corrected}
    if adjustment := comparison.get("adjustment"):
        unadjusted = _number(adjustment["unadjusted_effect"], adjustment["unadjusted_interval"], level)
        yield {"quantity": "unadjusted_effect", "unit": unit, **unadjusted}
        yield {"quantity": "variance_removed", "unit": "fraction", **_number(adjustment["variance_removed"])}


def _difference_rows(night: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in night["heterogeneity"]:
        if entry["variant"] in night["hidden"]:
            continue
        row = {"section": "heterogeneity", "metric": entry["metric"], "variant": entry["variant"],
               "segment": entry["name"], "quantity": "cochran_q"}  # fmt: skip
        if "not_computed" in entry:
            yield row | _missing(entry)
            continue
        tests = {name: entry[name] for name in ("pvalue", "pvalue_adjusted")}
        yield row | {"value": entry["statistic"]} | tests
        yield row | {"quantity": "df", "value": entry["df"]}
        yield row | {"quantity": "i_squared", "value": entry["i_squared"], "unit": "fraction"}


def _number(value: Any, interval: Any = None, level: float | None = None) -> dict[str, Any]:
    row = {"value": finite_number(value), **_missing(value)}
    if level is None:
        return row
    low, high = interval_ends(interval)
    missing = row["not_computed"] or _missing(interval)["not_computed"]
    return row | {"low": low, "high": high, "confidence_level": level, "not_computed": missing}


def _missing(value: Any) -> dict[str, str]:
    return {"not_computed": missing_reason(value).removeprefix("not computed, because ")}
