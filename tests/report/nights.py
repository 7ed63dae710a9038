"""The nights that the report's tests print: seven as files, and one for each verdict, stage and reason made of them."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path

from abtest_lib.report import Rendered, render, view

HERE = Path(__file__).parent
CASES = sorted(path.stem for path in (HERE / "cases").glob("*.json"))
FORMS = ("mail", "page", "text", "markdown", "slack", "json")

# stage, verdict, code of the first reason: every combination that the rule of decision.py can give.
VERDICTS = [
    ("interim", "keep_running", "immature"),
    ("interim", "do_not_ship", "guardrail_harmful"),
    ("interim", "invalid", "sample_ratio_mismatch"),
    ("look", "ship", "primary_better"),
    ("look", "do_not_ship", "guardrail_harmful"),
    ("look", "do_not_ship", "primary_worse"),
    ("look", "do_not_ship", "segment_harmed"),
    ("look", "keep_running", "guardrail_not_proved_safe"),
    ("look", "keep_running", "not_computed"),
    ("look", "keep_running", "no_effect_shown"),
    ("look", "keep_running", "effect_too_small"),
    ("look", "keep_running", "crossovers_change_result"),
    ("look", "invalid", "sample_ratio_mismatch"),
    ("final", "ship", "primary_better"),
    ("final", "do_not_ship", "guardrail_harmful"),
    ("final", "do_not_ship", "primary_worse"),
    ("final", "do_not_ship", "segment_harmed"),
    ("final", "do_not_ship", "guardrail_not_proved_safe"),
    ("final", "do_not_ship", "not_computed"),
    ("final", "do_not_ship", "no_effect_shown"),
    ("final", "do_not_ship", "effect_too_small"),
    ("final", "invalid", "sample_ratio_mismatch"),
    ("final", "invalid", "crossovers_change_result"),
]
_EFFECTS = {
    "primary_better": ("better", 0.0415, [0.017013, 0.066591]),
    "primary_worse": ("worse", -0.0415, [-0.066591, -0.017013]),
    "no_effect_shown": ("not_shown", 0.0103, [-0.01612, 0.03731]),
    "effect_too_small": ("better", 0.0121, [0.00312, 0.02143]),
}


def night(case: str) -> tuple[dict, list[dict]]:
    """Read one of the nights that are files: its results, and those of the nights before it."""
    document = _case(case)
    return deepcopy(document["results"]), deepcopy(document["history"])


@cache
def _case(case: str) -> dict:
    return json.loads((HERE / "cases" / f"{case}.json").read_text("utf-8"))


def night_of(stage: str, verdict: str, code: str) -> tuple[dict, list[dict]]:
    """Make the night of one verdict for one reason."""
    results, history = night("look" if stage == "look" else "ship")
    results["stage"] = stage
    reason = {"code": code}
    (primary,) = (metric for metric in results["metrics"] if metric["role"] == "primary")
    comparison = primary["comparisons"][0]
    if stage == "interim":
        results["as_of"] = "2026-02-27"
        history = [past | {"stage": "interim"} for past in history if past["as_of"] < "2026-02-27"]
    if code in _EFFECTS:
        word, effect, interval = _EFFECTS[code]
        comparison |= {"reading": word, "relative_effect": effect, "relative_interval": interval}
        comparison |= {"effect": effect / 10, "effect_interval": [end / 10 for end in interval]}
        if word == "not_shown":
            comparison.pop("stopped", None)
        reason["metric"] = primary["metric"]
    elif code.startswith("guardrail_"):
        reason["metric"] = _guardrail(results["guardrails"][0], "harmful" if code == "guardrail_harmful" else "not_yet")
    elif code == "not_computed":
        detail = "the variance of control is zero"
        primary["comparisons"] = [{"variant": "treatment", "not_computed": detail}]
        reason |= {"metric": primary["metric"], "detail": detail}
    elif code == "segment_harmed":
        reason |= _segment(results, primary)
    elif code == "crossovers_change_result":
        results["exposure"]["crossovers"] = {"control": 402, "treatment": 391}
        reason |= {"metric": primary["metric"], "detail": "better with, not_shown without units seen in two variants"}
    elif code == "sample_ratio_mismatch":
        broken, _ = night("invalid")
        results |= {name: broken[name] for name in ("sample_ratio", "withheld") if name in broken}
    until = results["experiment"]["decides_on"] if verdict == "keep_running" else None
    reasons = [reason, *([{"code": "guardrails_safe"}] if verdict == "ship" else [])]
    results["verdicts"] = [{"variant": "treatment", "verdict": verdict, "until": until, "reasons": reasons}]
    return results, history


def _guardrail(guardrail: dict, outcome: str) -> str:
    comparison = guardrail["comparisons"][0]
    high = guardrail["margin"] * (3 if outcome == "harmful" else 1.4)
    low = guardrail["margin"] * (1.5 if outcome == "harmful" else -0.5)
    comparison |= {"outcome": outcome, "relative_effect": (low + high) / 2, "relative_interval": [low, high]}
    comparison |= {
        "pvalue_safe": 0.31,
        "harm_interval": [low * 0.9 if outcome == "harmful" else low - 0.02, high + 0.02],
    }
    return guardrail["metric"]


def _segment(results: dict, primary: dict) -> dict:
    if not results["segments"]:
        named = {name: primary[name] for name in ("metric", "title", "kind", "better", "unit")}
        place = {"attribute": "customers.platform", "name": "platform", "value": "web", "protected": True}
        results["segments"] = [place | named | {"comparisons": [deepcopy(primary["comparisons"][0])]}]
    segment = results["segments"][0]
    segment["comparisons"][0].pop("stopped", None)
    segment["comparisons"][0] |= {"reading": "worse", "relative_effect": -0.08, "relative_interval": [-0.14, -0.02]}
    segment["comparisons"][0] |= {"effect": -0.008, "effect_interval": [-0.014, -0.002]}
    return {"metric": primary["metric"], "segment": f"{segment['name']} = {segment['value']}"}


def wide(segments: int = 100, guardrails: int = 30) -> tuple[dict, list[dict]]:
    """Make a night with many segments and guardrails, some of each with a claim."""
    results, history = night("do_not_ship")
    pattern, first = results["guardrails"], results["segments"]
    results["guardrails"] = [
        deepcopy(pattern[number % len(pattern)]) | {"metric": f"guardrail_{number}", "title": f"Guardrail {number}"}
        for number in range(guardrails)
    ]
    results["segments"] = [
        deepcopy(first[number % len(first)])
        | {
            "value": f"value {number}",
            "name": f"attribute_{number % 4}",
            "attribute": f"customers.attribute_{number % 4}",
        }
        for number in range(segments)
    ]
    return results, history


def with_treatments(results: dict, count: int) -> dict:
    """Repeat the treatment of a night under other names."""
    results = deepcopy(results)
    for entry in (*results["metrics"], *results["guardrails"], *results["segments"]):
        (comparison,) = entry["comparisons"]
        entry["comparisons"] = [comparison | {"variant": f"treatment_{number}"} for number in range(count)]
    (verdict,) = results["verdicts"]
    results["verdicts"] = [verdict | {"variant": f"treatment_{number}"} for number in range(count)]
    return results


def printed(results: dict, history: Sequence[Mapping]) -> Rendered:
    """Print a night in every form."""
    return render(view(results, history))


def readable(results: dict, history: Sequence[Mapping] = ()) -> dict[str, str]:
    """Return what a person reads in each form: without tags, escapes and line breaks."""
    said = view(results, history)
    rendered = render(said)
    texts = {
        "mail": _without_tags(rendered.mail),
        "page": _without_tags(rendered.page),
        "text": rendered.text,
        "markdown": re.sub(r"\\([^\w\s])", r"\1", rendered.markdown).replace("**", ""),
        "slack": f"{slack_text(rendered.slack['parent'])} {slack_text(rendered.slack['night'])}",
        "json": " ".join(strings(said)),
    }
    return {form: re.sub(r"\s+", " ", text) for form, text in texts.items()}


def _without_tags(document: str) -> str:
    return html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", document, flags=re.DOTALL))


def slack_text(node: object) -> str:
    """Return the text of a Slack message as it is read, with its fallback."""
    if isinstance(node, Mapping):
        text = node.get("text")
        if isinstance(text, str):
            shown = html.unescape(text) if node.get("type") == "mrkdwn" else text
            return " ".join(filter(None, (shown, *(slack_text(part) for name, part in node.items() if name != "text"))))
        joined = "" if node.get("type") == "rich_text_section" else " "
        return joined.join(filter(None, (_joined(part, joined) for part in node.values())))
    return _joined(node, " ")


def _joined(node: object, between: str) -> str:
    if isinstance(node, Mapping):
        return slack_text(node)
    return (
        between.join(slack_text(part) for part in node)
        if isinstance(node, Sequence) and not isinstance(node, str)
        else ""
    )


def strings(node: object) -> list[str]:
    """Return every string of a JSON value, keys left out."""
    if isinstance(node, str):
        return [node]
    parts = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
    return [text for part in parts for text in strings(part)]
