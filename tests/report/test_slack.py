"""What Slack gets of a night: the message of the experiment and the reply of the night."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest

from abtest_lib.report import view
from abtest_lib.report.slack import plain_message, replaced, slack_messages
from demo.slack_limits import message_error

HERE = Path(__file__).parent
CASES = sorted(path.stem for path in (HERE / "cases").glob("*.json"))
CHARTS = [
    {"name": "nights", "title": "The last nights", "alt": "It moved."},
    {"name": "forest", "title": "Effects", "alt": "They differ."},
]
PICTURES = ["nights.png", "forest.png"]


def night(case):
    document = json.loads((HERE / "cases" / f"{case}.json").read_text("utf-8"))
    return document["results"], document["history"]


def said(case, **changes):
    return slack_messages(view(*night(case)) | {"charts": CHARTS} | changes)


def words(blocks):
    """Every text of blocks that a person reads, as one text with plain spaces."""
    texts = []

    def read(part):
        if isinstance(part, list):
            for entry in part:
                read(entry)
        elif isinstance(part, dict):
            texts.extend(value for key, value in part.items() if key in ("text", "alt_text") and isinstance(value, str))
            for key in ("text", "title", "elements", "rows"):
                read(part.get(key))

    for block in blocks:
        read(block)
        texts.append("\n")
    return re.sub(r"[ \u00a0]+", " ", "".join(texts))


def of_type(blocks, kind):
    return [block for block in blocks if block["type"] == kind]


def cells(blocks):
    (table,) = of_type(blocks, "table")
    return [[cell["text"] for cell in row] for row in table["rows"]]


def without_table(message):
    return [
        shown for block in message["blocks"] for shown in (message["fallback"] if block["type"] == "table" else [block])
    ]


@pytest.mark.parametrize("case", CASES)
def test_messages_keep_the_limits_with_and_without_table_and_mark(case):
    messages = said(case)
    for blocks in (
        messages["parent"]["blocks"],
        messages["night"]["blocks"],
        without_table(messages["night"]),
        replaced(messages["night"])["blocks"],
    ):
        assert message_error({"text": "x", "blocks": blocks}, files=PICTURES) == (None, [])


@pytest.mark.parametrize("case", CASES)
def test_first_message_has_verdict_action_size_and_blocker_and_is_short(case):
    results, history = night(case)
    shown = view(results, history)
    parent = said(case)["parent"]
    text = words(parent["blocks"])
    for card in shown["cards"]:
        assert f"{card['sign']} {card['word']}{card['until']}" in text or len(shown["cards"]) > 1
        assert card["action"] in text
        for fact in card["facts"]:
            assert f"{fact['label']}: {fact['lead']}" in text and fact["text"] in text
    assert shown["title"] in text and shown["stage"] in text
    assert len(text) < 400 + 400 * len(shown["cards"])


@pytest.mark.parametrize("case", CASES)
def test_reply_says_what_the_report_says_in_its_order(case):
    results, history = night(case)
    shown, text = view(results, history), words(said(case)["night"]["blocks"])
    card = shown["cards"][-1]
    order = [card["action"], card["changed"], f"Data quality: {card['checks'][0]['detail']}"]
    order += [f"Primary metric: {metric['title']}" for metric in shown["primary"]]
    order += [table["heading"] for table in shown["tables"] if table["key"] == "guardrails"]
    order += [table["heading"] for table in shown["tables"] if table["key"] == "segments" and "interim" not in
              table["heading"]]  # fmt: skip
    order += [shown["ratio"]["heading"], *shown["data"]["lines"], *shown["excluded"]]
    order += [f"{name}: {line}" for name, line in shown["promises"] if name in ("Family", "Alpha", "Freshness", "Lag")]
    order += [shown["origin"], shown["command"]]
    places = [text.find(part) for part in order]
    assert -1 not in places, order[places.index(-1)]
    assert places == sorted(places)


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_the_report(case):
    shown = view(*night(case))
    text = words(said(case)["night"]["blocks"])
    for metric in shown["primary"]:
        for row in metric["rows"]:
            parts = (row["effect"], row["interval"], row["absolute"], row["side"], row["means"], row["claim"])
            assert all(part in text for part in parts if part)
    for table in shown["tables"]:
        for row in (
            row for group in table["groups"] for row in group["rows"] if table["key"] in "guardrails secondary"
        ):
            assert all(part in text for part in (row["name"], row["word"], row["effect"], row["interval"], row["side"]))


@pytest.mark.parametrize("case", CASES)
def test_text_in_the_place_of_the_table_says_the_same(case):
    message = said(case)["night"]
    if not of_type(message["blocks"], "table"):
        assert message["fallback"] == []
        return
    text = words(message["fallback"])
    for name, change, result in cells(message["blocks"])[1:]:
        said_there = [name.partition(" ")[2], *re.findall(r"[+−]?\d[\d.,]*%?", change)]
        said_there += re.split(r"[ \u00a0]?[(,].*", result)[:1]
        assert all(part in text for part in said_there), (name, said_there)


def test_invalid_night_shows_no_effect_in_either_message():
    messages = said("invalid", charts=[])
    text = words(messages["parent"]["blocks"] + messages["night"]["blocks"] + messages["night"]["fallback"])
    assert "⚠ INVALID" in text
    assert not re.search(r"[+−]\d|\bp [=<>]", text)
    assert not of_type(messages["night"]["blocks"], "table") + of_type(messages["night"]["blocks"], "image")


def test_interim_night_has_no_pvalue_and_no_word_of_success():
    messages = said("keep_running")
    text = words(messages["parent"]["blocks"] + messages["night"]["blocks"] + messages["night"]["fallback"])
    assert not re.search(r"\bp [=<>]|proved safe|\bbetter\b", text)
    assert "Segments" not in text


def test_guardrail_that_waits_says_how_long():
    message = said("keep_running")["night"]
    assert ["… Page latency", "+0.3% (−0.3% to +0.8%)", "not yet shown safe (margin +3%), 10 more days"] in cells(
        message["blocks"]
    )
    assert "Page latency (margin +3%): not yet shown safe, 10 more days, +0.3%" in words(message["fallback"])


def test_until_when_it_runs_stands_in_the_header():
    messages = said("keep_running")
    assert messages["parent"]["blocks"][0]["text"]["text"] == "… KEEP RUNNING until 9 March 2026: One-page checkout"
    assert messages["night"]["blocks"][0]["text"]["text"].startswith("27 Feb 2026 … KEEP RUNNING until 9 March 2026: ")


def test_effect_and_blocker_are_sentences():
    assert "Blocker: None. All 3 guardrails are proved safe.\n" in words(said("ship")["parent"]["blocks"])
    assert "Effect: Withheld. It cannot be trusted tonight.\n" in words(said("invalid")["parent"]["blocks"])
    assert "Effect: +3.1% (95% interval −1.7% to +8.1%) Checkout" in words(said("keep_running")["parent"]["blocks"])
    assert "Blocker: 46,429 units wait" in words(said("keep_running")["parent"]["blocks"])


def test_each_variant_has_its_verdict_in_the_first_message():
    text = words(said("three_variants")["parent"]["blocks"])
    assert "short_form: ✔ SHIP\nRoll out short_form." in text
    assert "express_pay: ✖ DO NOT SHIP\nKeep control." in text
    assert "guest_first: ⚠ INVALID\nDo not use this night." in text


@pytest.mark.parametrize(("changed", "alarm"), [(False, False), (True, False), (False, True), (True, True)])
def test_changed_verdict_and_guardrail_alarm_are_broadcast(changed, alarm):
    message = said("ship", verdict_changed=changed, guardrail_alarm=alarm)["night"]
    assert message["broadcast"] is (changed or alarm)


def test_pictures_stand_where_the_report_has_them_and_bear_their_description():
    messages = said("do_not_ship")
    assert messages["files"] == [
        {"file": f"{chart['name']}.png", "title": chart["title"], "alt": chart["alt"]} for chart in CHARTS
    ]
    shown = [block["slack_file"]["id"] for block in of_type(messages["night"]["blocks"], "image")]
    assert shown == ["forest.png", "nights.png"]
    kinds = [block["type"] for block in messages["night"]["blocks"]]
    assert kinds.index("table") + 1 == kinds.index("image") < len(kinds) - 1 - kinds[::-1].index("image")


def test_report_that_replaces_another_says_so_on_top():
    sentence = "This report replaces revision 3f2a9c41d07b of this night: the data changed."
    blocks = said("ship", supersedes=sentence)["night"]["blocks"]
    assert words(blocks[1:2]).strip() == sentence


def test_mark_of_a_replaced_report_stands_on_top_and_keeps_the_rest():
    message = said("ship")["night"]
    marked = replaced(message)
    assert words(marked["blocks"][:1]).strip() == "⚠ Replaced by a later report of the same night."
    assert marked["blocks"][1:] == message["blocks"] and marked["fallback"] == message["fallback"]


@pytest.mark.parametrize("case", CASES)
def test_same_night_gives_the_same_bytes(case):
    assert json.dumps(said(case)) == json.dumps(said(case))


@pytest.mark.parametrize(
    "name",
    [
        "<!channel> <@U123> <http://evil.example|click>",
        "*bold* _italic_ ~struck~ `code` :tada:",
        "line\nbreak\r\nand\u2028end",
        "a & b &amp; <b>",
        "שלום",
        "x" * 200,
    ],
)
def test_names_stand_only_where_slack_prints_them_letter_by_letter(name):
    results, history = deepcopy(night("three_variants"))
    results["experiment"]["title"] = name
    for part in (*results["metrics"], *results["guardrails"]):
        part["title"] = name
    for segment in results["segments"]:
        segment["value"] = name
    messages = slack_messages(view(results, history) | {"charts": [{**CHARTS[0], "title": name, "alt": name}]})
    blocks = messages["parent"]["blocks"] + messages["night"]["blocks"] + messages["night"]["fallback"]
    assert '"mrkdwn"' not in json.dumps(blocks)
    assert message_error({"text": "x", "blocks": messages["night"]["blocks"]}, files=PICTURES) == (None, [])
    whole = re.sub(r"\s+", " ", name)
    if len(whole) <= 80:
        assert whole in words(messages["parent"]["blocks"][:1]) and whole in words(messages["night"]["fallback"])
    for message in (messages["parent"], messages["night"]):
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", message["text"])


def many(results, guardrails, segments):
    results = deepcopy(results)
    some, others = results["guardrails"][0], results["segments"]
    results["guardrails"] = [some | {"metric": f"g{n}", "title": f"Guardrail {n}"} for n in range(guardrails)]
    results["segments"] = [others[n % len(others)] | {"value": f"value {n}"} for n in range(segments)]
    return results


def test_hundred_segments_and_thirty_guardrails_fit_and_say_how_many_are_left_out():
    results, history = night("do_not_ship")
    messages = slack_messages(view(many(results, 30, 100), history) | {"charts": CHARTS})
    blocks = messages["night"]["blocks"]
    assert message_error({"text": "x", "blocks": blocks}, files=PICTURES) == (None, [])
    text = words(blocks)
    shown = len(re.findall(r"value \d+", text))
    with_claim = sum(
        row["word"] in ("better", "worse")
        for table in view(many(results, 30, 100), history)["tables"] if table["key"] == "segments"
        for group in table["groups"] for row in group["rows"]
    )  # fmt: skip
    assert shown == 12 and f"{with_claim - 12} more in the full report" in text
    assert len(cells(blocks)) == 1 + 30 + 2
    assert len(text) < 9000


def test_harm_is_the_last_to_be_left_out_of_a_long_table():
    results, history = night("do_not_ship")
    results = many(results, 90, 6)
    safe, harmful = night("do_not_ship")[0]["guardrails"][2], results["guardrails"][0]
    results["guardrails"] = [safe | {"metric": f"s{n}", "title": f"Safe {n}"} for n in range(80)] + [
        harmful | {"metric": f"h{n}", "title": f"Harmful {n}"} for n in range(10)
    ]
    message = slack_messages(view(results, history))["night"]
    names = [name for name, _, _ in cells(message["blocks"])]
    assert {f"✖ Harmful {n}" for n in range(10)} <= set(names)
    assert re.fullmatch(r"\d+ more in the full report", names[-1])
    assert "Harmful 9" in words(message["fallback"]) and names[-1] in words(message["fallback"])


def test_table_of_long_names_keeps_to_what_slack_takes_and_to_the_harm():
    results, history = night("three_variants")
    results = deepcopy(results)
    express = results["verdicts"][1]["variant"]
    for part in (*results["guardrails"], *results["metrics"]):
        part["title"] = "x" * 80
    results["guardrails"] *= 7
    text = json.dumps(results).replace(express, "y" * 80).replace("short_form", "z" * 80)
    message = slack_messages(view(json.loads(text), history))["night"]
    assert message_error({"text": "x", "blocks": message["blocks"]}, files=PICTURES) == (None, [])
    lines = cells(message["blocks"])
    assert sum(len(cell) for line in lines for cell in line) < 6200
    assert sum(name.startswith("✖") for name, _, _ in lines) == 7
    assert re.fullmatch(r"\d+ more in the full report", lines[-1][0])


def test_reply_of_too_many_blocks_ends_with_where_the_rest_stands():
    results, history = night("ship")
    results = deepcopy(results)
    (primary,) = (metric for metric in results["metrics"] if metric["role"] == "primary")
    results["metrics"] += [primary | {"metric": f"m{n}", "title": f"Metric {n}"} for n in range(60)]
    message = slack_messages(view(results, history) | {"charts": CHARTS})["night"]
    for blocks in (message["blocks"], without_table(message), replaced(message)["blocks"]):
        assert message_error({"text": "x", "blocks": blocks}, files=PICTURES) == (None, [])
    *_, more, origin = message["blocks"]
    assert words([more]).strip() == "More in the full report" and "Repeat: abtest run" in words([origin])
    assert message["fallback"] == []


def test_twenty_treatments_fit():
    results, history = night("ship")
    results = deepcopy(results)
    for entry in (*results["metrics"], *results["guardrails"], *results["segments"]):
        (comparison,) = entry["comparisons"]
        entry["comparisons"] = [comparison | {"variant": f"treatment_{n}"} for n in range(20)]
    (verdict,) = results["verdicts"]
    results["verdicts"] = [verdict | {"variant": f"treatment_{n}"} for n in range(20)]
    messages = slack_messages(view(results, history) | {"charts": CHARTS})
    for blocks in (messages["parent"]["blocks"], messages["night"]["blocks"], without_table(messages["night"])):
        assert message_error({"text": "x", "blocks": blocks}, files=PICTURES) == (None, [])
    assert "12 more variants" in words(messages["parent"]["blocks"])
    texts = [words([block]) for block in of_type(messages["night"]["blocks"], "rich_text")]
    assert max(map(len, texts)) <= 3000
    assert sum(text.endswith("\n… more in the full report\n") for text in texts) >= 1


def test_failure_is_printed_letter_by_letter_and_a_very_long_one_is_cut():
    message = plain_message("FAILED: <!channel>", "Task collect:\n*why* <@U1>\n" + "x" * 20_000)
    assert message_error(message) == (None, [])
    assert message["text"].startswith("FAILED: &lt;!channel&gt;\nTask collect:\n*why* &lt;@U1&gt;\nxxx")
    assert '"mrkdwn"' not in json.dumps(message["blocks"])
    text = words(message["blocks"])
    assert "FAILED: <!channel>" in text and "*why* <@U1>" in text and text.endswith("The rest is cut off.\n")
    assert "cut off" not in words(plain_message("FAILED", "x" * 12_000)["blocks"])
