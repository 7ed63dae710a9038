"""The charts: their marks lie where the numbers are, names stay in their place, and nothing invalid is in them."""

import hashlib
import io
import itertools
import json
import subprocess
import sys
from copy import deepcopy

import pytest
from PIL import Image
from scipy.stats import norm

from abtest_lib.report import canvas, drawing
from abtest_lib.report.charts import chart_data, draw
from abtest_lib.report.readable import readable
from tests.report.nights import CASES, VERDICTS, night, night_of

HOSTILE = {
    "markup": '<script>alert("1")</script>&#0;]]><!-- \' -->',
    "wide": "W" * 200,
    "right to left": "שיעור ההמרה של דף התשלום " * 6,
    "emoji": "Checkout 😀👩‍👩‍👧🏳️‍🌈" * 8,
    "piled": "e" + "\u0301\u0489\u0330" * 60,
    "no letters": "\uffff\ufffe\ud800",
    "not in the font": "结账转化率",
}


def charts_of(case):
    results, history = night(case) if isinstance(case, str) else case
    tonight = readable(results)
    earlier = [readable(past, hidden=tonight["hidden"]) for past in history if past["as_of"] < results["as_of"]]
    return {chart["name"]: chart for chart in chart_data(tonight, earlier)}


def pixels(chart):
    return Image.open(io.BytesIO(draw(chart))).convert("RGB")


def colour(code):
    return tuple(int(code[at : at + 2], 16) for at in (1, 3, 5))


def bars(picture):
    """Each bar of a forest from top to bottom: fill, left and right end in pixels; letters are not as high."""
    left = 2 * drawing.PLOT_LEFT - 20
    fills = {colour(code) for code in drawing.FILLS.values()}
    found, last = [], None
    for y in range(picture.height):
        hits = [x for x in range(left, picture.width) if picture.getpixel((x, y)) in fills]
        filled = hits and len(hits) + 10 >= 0.7 * (hits[-1] - hits[0])  # the mark of the estimate lies on it
        now = picture.getpixel((hits[0], y)) if filled else None
        if now and now == last:
            fill, start, end, height = found[-1]
            found[-1] = (fill, min(start, hits[0]), max(end, hits[-1] + 1), height + 1)
        elif now:
            found.append((now, hits[0], hits[-1] + 1, 1))
        last = now
    return [(fill, start, end) for fill, start, end, height in found if height >= 20]


@pytest.mark.parametrize("case", ["ship", "do_not_ship", "keep_running", "three_variants", "look"])
def test_ends_of_forest_bars_are_where_the_numbers_are(case):
    chart = charts_of(case)["forest"]
    rows = [row for group in chart["groups"] for row in group["rows"] if row["range"]]
    drawn = bars(pixels(chart))
    assert len(drawn) == len(rows) > 1
    middle, half = drawing.PLOT_LEFT + drawing.PLOT_RIGHT, drawing.PLOT_RIGHT - drawing.PLOT_LEFT
    for row, (fill, left, right) in zip(rows, drawn, strict=True):
        assert fill == colour(drawing.FILLS[row["tone"]])
        low, _, high = row["range"]
        assert left == pytest.approx(middle + half * low / chart["limit"], abs=2), row["name"]
        assert right == pytest.approx(middle + half * high / chart["limit"], abs=2), row["name"]


def test_interval_beyond_the_scale_is_cut_with_a_point():
    results, history = night("ship")
    guardrail = results["guardrails"][1]["comparisons"][0]
    guardrail["relative_interval"] = [-0.9, None]
    chart = charts_of((results, history))["forest"]
    assert chart["limit"] < 0.9
    row = next(row for row in chart["groups"][1]["rows"] if row["range"][0] == -0.9)
    place = [row["range"] for row in chart["groups"][1]["rows"]].index(row["range"])
    _, left, right = bars(pixels(chart))[1 + place]
    assert left < 2 * drawing.PLOT_LEFT
    assert right > 2 * drawing.PLOT_RIGHT


def scale_of(picture, panel):
    """Read the scale off the picture: the long lines are its ticks."""
    left, right = 2 * drawing.NIGHTS_LEFT + 2, 2 * drawing.NIGHTS_RIGHT - 2
    lines = []
    for y in range(picture.height):
        row = [picture.getpixel((x, y)) for x in range(left, right)]
        if max(row.count(colour(drawing.RULE)), row.count(colour(drawing.INK))) > 0.3 * len(row):
            lines.append(y)
    middles = [y for y in lines if y - 1 not in lines]
    assert len(middles) == len(panel["ticks"]) > 1
    values = sorted((value for value, _ in panel["ticks"]), reverse=True)
    slope = (middles[-1] - middles[0]) / (values[-1] - values[0])
    return lambda value: middles[0] + slope * (value - values[0]) + 1


@pytest.mark.parametrize("case", ["ship", "look", "keep_running"])
def test_ends_of_intervals_over_the_nights_are_where_the_numbers_are(case):
    chart = charts_of(case)["nights"]
    (panel,) = chart["panels"]
    picture, points = pixels(chart), panel["points"]
    place = scale_of(picture, panel)
    step = 2 * (drawing.NIGHTS_RIGHT - drawing.NIGHTS_LEFT) / len(points)
    for number, point in enumerate(points):
        if point["as_of"] == panel["stopped"]:
            continue  # the line of the stop runs along it
        x = round(2 * drawing.NIGHTS_LEFT + step * (number + 0.5)) - 1
        stroke = colour(drawing.EDGE if point["stage"] == "interim" else drawing.INK)
        zero = range(round(place(0)) - 4, round(place(0)) + 4)
        hits = [
            y
            for y in range(round(place(panel["high"])), round(place(panel["low"])))
            if picture.getpixel((x, y)) == stroke
        ]
        outside = [y for y in hits if y not in zero]
        if panel["low"] < point["low"] and abs(place(point["low"]) - place(0)) > 6:
            assert max(outside) + 1 == pytest.approx(place(point["low"]), abs=2), point["day"]
        if point["high"] < panel["high"]:
            assert min(outside) == pytest.approx(place(point["high"]), abs=2), point["day"]


def test_boundary_is_what_the_test_of_that_look_crosses():
    results, history = night("look")
    (panel,) = charts_of("look")["nights"]["panels"]
    looks = 0
    for document, point in zip([*history, results], panel["points"], strict=True):
        comparison = document["metrics"][0]["comparisons"][0]
        if document["stage"] == "interim":
            assert point["boundary"] is None
            continue
        looks += 1
        bound = norm.isf(comparison["level_tonight"] / 2) * comparison["standard_error"] / comparison["mean_control"]
        assert point["boundary"] == pytest.approx(bound, rel=1e-3)
        assert (abs(point["effect"]) > point["boundary"]) is (comparison["pvalue"] < comparison["level_tonight"])
    assert looks == 4
    assert panel["stopped"] == "2026-03-02"
    assert panel["stopped_text"] == "✔ better at the look of 2 Mar"


def test_boundaries_are_drawn_where_they_are():
    chart = charts_of("look")["nights"]
    (panel,) = chart["panels"]
    picture = pixels(chart)
    place = scale_of(picture, panel)
    step = 2 * (drawing.NIGHTS_RIGHT - drawing.NIGHTS_LEFT) / len(panel["points"])
    for number, point in enumerate(panel["points"]):
        x = round(2 * drawing.NIGHTS_LEFT + step * (number + 0.5)) + 14
        red = [y for y in range(picture.height - 80) if picture.getpixel((x, y)) == colour(drawing.TEXTS["bad"])]
        sides = [side * point["boundary"] for side in (1, -1)] if point["boundary"] else []
        for value in sides:
            if panel["low"] <= value <= panel["high"]:
                assert any(abs(y - place(value)) <= 3 for y in red), (point["day"], value)
        assert bool(red) is any(panel["low"] <= value <= panel["high"] for value in sides)


def test_look_that_cannot_stop_has_no_boundary():
    results, history = night("look")
    history[1]["metrics"][0]["comparisons"][0]["level_tonight"] = 0.0
    (panel,) = charts_of((results, history))["nights"]["panels"]
    assert panel["points"][1]["boundary"] is None
    assert panel["points"][2]["boundary"]


@pytest.mark.parametrize("case", CASES)
def test_picture_is_opaque_small_and_as_large_as_it_says(case):
    for chart in charts_of(case).values():
        png = draw(chart)
        with Image.open(io.BytesIO(png)) as picture:
            assert picture.mode == "P"
            assert "transparency" not in picture.info
            assert picture.size == (2 * chart["width"], 2 * chart["height"])
            assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert len(png) < 45_000
        assert chart["width"] <= 568
        assert chart["height"] <= 750


def test_words_are_large_enough_on_a_phone():
    assert min(canvas.SIZE, canvas._SMALLEST) * 375 / canvas.WIDTH >= 11


def luminance(code):
    parts = [part / 255 for part in colour(code)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_words_and_marks():
    for code in (canvas.INK, canvas.MUTE, *canvas.TEXTS.values()):
        assert contrast(code, "#ffffff") >= 4.5
    for code in (canvas.INK, canvas.EDGE, *canvas.FILLS.values(), canvas.TEXTS["bad"]):
        assert contrast(code, "#ffffff") >= 3
    for code in canvas.FILLS.values():
        assert contrast(code, canvas.BAND) >= 3
        assert contrast(code, canvas.INK) >= 2.5


def test_every_bar_has_a_sign_and_a_word():
    for case in CASES:
        for chart in charts_of(case).values():
            rows = [row for group in chart.get("groups", ()) for row in group["rows"]]
            for row in (*rows, *chart.get("panels", ())):
                assert row["sign"]
                assert row["word"]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("which", ["forest", "nights"])
def test_hostile_name_changes_nothing_outside_of_its_line(which, name):
    """The same chart with a plain name is the same picture but for the box of the name."""
    plain, hostile = (deepcopy(night("ship")) for _ in range(2))
    for results, title in ((plain[0], "Plain"), (hostile[0], name)):
        results["metrics"][0]["title"] = title
    one, other = (charts_of(case)[which] for case in (plain, hostile))
    assert (one["width"], one["height"]) == (other["width"], other["height"])
    first, second = pixels(one), pixels(other)
    top = canvas.LINE + 6 if which == "forest" else 0
    right = drawing.PLOT_LEFT - 10 if which == "forest" else canvas.WIDTH - drawing.PAD
    box = (2 * drawing.PAD, 2 * (drawing.PAD + top), 2 * right, 2 * (drawing.PAD + top + canvas.LINE))
    for picture in (first, second):
        picture.paste((255, 255, 255), box)
    assert first.tobytes() == second.tobytes()


def test_hostile_variant_is_drawn_in_its_line():
    results, history = night("three_variants")
    text = json.dumps([results, history]).replace('"short_form"', json.dumps(HOSTILE["markup"]))
    charts = charts_of(json.loads(text))
    assert set(charts) == {"forest", "nights"}
    for chart in charts.values():
        with Image.open(io.BytesIO(draw(chart))) as picture:
            assert picture.size == (2 * chart["width"], 2 * chart["height"])


def test_name_that_the_font_lacks_gives_way_to_the_key_of_the_metric():
    assert ">clicks<" in canvas.chosen(0, 20, HOSTILE["not in the font"], "clicks", 200)
    assert ">Café<" in canvas.chosen(0, 20, "Café", "clicks", 200)


def test_name_that_is_too_wide_loses_its_end():
    assert "W…<" in canvas.chosen(0, 20, "W" * 80, "", 200)


def test_long_numbers_stay_in_their_column():
    results, history = night("ship")
    comparison = results["metrics"][0]["comparisons"][0]
    comparison |= {"relative_effect": 123.45, "relative_interval": [-999.9, 99999.9]}
    forest = charts_of((results, history))["forest"]
    picture = pixels(forest)
    gap = range(2 * drawing.PLOT_LEFT - 18, 2 * drawing.PLOT_LEFT - 17)
    first_row = range(2 * (drawing.PAD + canvas.LINE + 20), 2 * (drawing.PAD + 4 * canvas.LINE + 20))
    assert all(picture.getpixel((x, y)) == (255, 255, 255) for x, y in itertools.product(gap, first_row))


def test_invalid_night_has_no_chart():
    assert charts_of("invalid") == {}
    for stage, verdict, code in VERDICTS:
        if verdict == "invalid":
            assert charts_of(night_of(stage, verdict, code)) == {}


def test_invalid_variant_is_in_no_chart_not_even_of_earlier_nights():
    results, history = night("three_variants")
    (hidden,) = (verdict["variant"] for verdict in results["verdicts"] if verdict["verdict"] == "invalid")
    shown = charts_of("three_variants")
    text = json.dumps(shown)
    assert hidden not in text
    effects = [
        comparison["relative_effect"]
        for past in history
        for comparison in past["metrics"][0]["comparisons"]
        if comparison["variant"] == hidden and "relative_effect" in comparison
    ]
    assert effects
    assert not any(str(effect) in text for effect in effects)


def test_interim_night_has_no_word_of_success():
    for stage, verdict, code in VERDICTS:
        if stage != "interim":
            continue
        for chart in charts_of(night_of(stage, verdict, code)).values():
            assert not any(word in json.dumps(chart) for word in ("better", "proved safe", "boundary of a look"))


def test_interim_night_has_neither_boundary_nor_stop():
    results, history = night("look")
    for document in (results, history[0]):
        document["stage"] = "interim"
        document["metrics"][0]["comparisons"][0]["level_tonight"] = 0.01
    (panel,) = charts_of((results, history))["nights"]["panels"]
    assert [bool(point["boundary"]) for point in panel["points"]] == [False, True, True, True, False]
    assert panel["stopped"] is None
    assert panel["stopped_text"] == ""
    assert panel["word"] == "interim"


def test_first_night_has_no_chart_of_the_nights():
    results, _ = night("ship")
    assert set(charts_of((results, []))) == {"forest"}


def test_many_guardrails_are_capped_and_the_rest_is_counted():
    results, history = night("do_not_ship")
    results["guardrails"] = [deepcopy(results["guardrails"][0]) for _ in range(30)]
    chart = charts_of((results, history))["forest"]
    shown = sum(len(group["rows"]) for group in chart["groups"])
    assert chart["notes"][-1] == f"{30 + 3 - shown} more in the full report."
    assert chart["alt"].endswith(chart["notes"][-1])
    assert chart["height"] <= 750


def test_harmful_guardrail_comes_first():
    rows = charts_of("do_not_ship")["forest"]["groups"][1]["rows"]
    assert [row["word"] for row in rows] == ["proved harmful", "not yet shown safe", "proved safe"]


def test_long_history_keeps_thirty_nights_and_dates_that_do_not_collide():
    results, history = night("ship")
    days = [f"2026-01-{day:02d}" for day in range(1, 32)]
    history = [deepcopy(history[0]) | {"as_of": day} for day in days] + history
    chart = charts_of((results, history))["nights"]
    (panel,) = chart["panels"]
    assert len(panel["points"]) == 30
    assert panel["points"][-1]["as_of"] == results["as_of"]
    assert chart["notes"] == [f"The last 30 of {len(history) + 1} nights."]
    picture = pixels(chart)
    line = 2 * (drawing.PAD + 2 * canvas.LINE + 12 + drawing.NIGHTS_HEIGHT + 4)
    inked = [
        x
        for x in range(picture.width)
        if any(picture.getpixel((x, y)) != (255, 255, 255) for y in range(line + 6, line + 2 * canvas.SIZE))
    ]
    starts = [x for before, x in itertools.pairwise([-99, *inked]) if x - before > 14]
    ends = [before for before, x in itertools.pairwise([*inked, 9999]) if x - before > 14]
    widest = 2 * max(canvas.width(point["day"], "normal") for point in panel["points"])
    assert len(starts) >= 4
    assert all(end - start <= widest for start, end in zip(starts, ends, strict=True))


def test_alt_says_the_numbers_of_the_picture():
    charts = charts_of("look")
    (panel,) = charts["nights"]["panels"]
    assert panel["effect"] in charts["forest"]["alt"]
    for said in (panel["effect"], panel["interval"], "25 Feb", "9 Mar", "±3.7%", "Better at the look of 2 Mar."):
        assert said in charts["nights"]["alt"]


def test_night_without_effect_is_a_gap():
    results, history = night("not_computed")
    (panel,) = charts_of((results, history))["nights"]["panels"]
    assert panel["points"][-1]["effect"] is None
    assert panel["word"] == "not computed"
    legend = charts_of((results, history))["nights"]["legend"]
    assert legend == [["interim", "interim reading"], ["missing", "no valid reading"]]
    assert charts_of((results, history))["nights"]["alt"].endswith("on 9 Mar not computed.")


def test_earlier_night_that_was_invalid_is_a_gap_and_its_numbers_are_nowhere():
    results, history = night("ship")
    history[3]["sample_ratio"]["healthy"] = False
    hidden = history[3]["metrics"][0]["comparisons"][0]["relative_effect"]
    chart = charts_of((results, history))["nights"]
    assert chart["panels"][0]["points"][3]["effect"] is None
    assert str(hidden) not in json.dumps(chart)


def test_several_primary_metrics_have_a_panel_each():
    results, history = night("ship")
    for document in (results, *history):
        second = deepcopy(document["metrics"][0]) | {"metric": "orders", "title": "Orders"}
        document["metrics"].append(second)
    charts = charts_of((results, history))
    assert [panel["name"] for panel in charts["nights"]["panels"]] == ["Checkout conversion", "Orders"]
    assert charts["forest"]["groups"][0]["label"] == "Primary metrics"


def test_another_process_draws_the_same_bytes():
    here = [hashlib.sha256(draw(chart)).hexdigest() for chart in charts_of("look").values()]
    program = (
        "import hashlib; from tests.report.test_charts import charts_of, draw\n"
        "for chart in charts_of('look').values(): print(hashlib.sha256(draw(chart)).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == here


@pytest.mark.parametrize("size", [1e4, 1e9, 1e15, 1e100])
def test_effect_on_a_control_near_zero_has_few_tick_marks(size):
    results, history = night("ship")
    comparison = results["metrics"][0]["comparisons"][0]
    comparison |= {"relative_effect": size, "relative_interval": [-size, 2 * size]}
    nights = charts_of((results, history))["nights"]
    assert 2 <= len(nights["panels"][0]["ticks"]) <= 6
    assert pixels(nights).size == (2 * nights["width"], 2 * nights["height"])
