from __future__ import annotations

import itertools
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.sample_ratio import sample_ratio_test
from abtest_lib.statistics.sample_ratio_drilldown import sample_ratio_drilldown

EVEN = {"control": 1, "treatment": 1}
BROWSERS = {
    "chrome": {"control": 20_050, "treatment": 19_930},
    "safari": {"control": 9_980, "treatment": 8_960},
    "firefox": {"control": 4_010, "treatment": 4_070},
}
big = st.lists(st.tuples(st.integers(2_000, 9_000), st.integers(2_000, 9_000)), min_size=3, max_size=6)


def cells(rows, variants=("control", "treatment")):
    return {f"cell_{at}": dict(zip(variants, map(int, row), strict=True)) for at, row in enumerate(rows)}


def test_pvalues_of_large_cells_match_scipy_and_statsmodels():
    found = {one.cell: one for one in sample_ratio_drilldown({"browser": BROWSERS}, EVEN, alpha=0.999).suspects}
    rows = {name: list(row.values()) for name, row in BROWSERS.items()}
    design = {name: stats.chisquare(row).pvalue for name, row in rows.items()}
    rest = {
        name: stats.chi2_contingency([row, np.sum([rows[o] for o in rows if o != name], axis=0)], correction=False)[1]
        for name, row in rows.items()
    }
    larger = [max(design[name], rest[name]) for name in rows]
    adjusted = dict(zip(rows, multipletests(larger, method="holm")[1], strict=True))
    assert found.keys() == {name for name in rows if adjusted[name] < 0.999}
    for name, one in found.items():
        assert one.pvalue_design == pytest.approx(design[name], rel=1e-9, abs=0)
        assert one.pvalue_rest == pytest.approx(rest[name], rel=1e-9, abs=0)
        assert one.pvalue_adjusted == pytest.approx(adjusted[name], rel=1e-9, abs=0)
        without = np.sum([rows[o] for o in rows if o != name], axis=0)
        assert one.pvalue_without == pytest.approx(stats.chisquare(without).pvalue, rel=1e-9, abs=0)
        assert one.share_of_units == pytest.approx(sum(rows[name]) / 67_000)
        assert one.expected == pytest.approx(dict.fromkeys(EVEN, sum(rows[name]) / 2))


def test_small_cells_are_tested_exactly():
    # Exact fractions: eight units all in the control are 2 / 2^8 of the splits of a fair coin, one of which has the
    # same probability; Fisher's p-value by SciPy.
    counts = {"rest": {"control": 10_000, "treatment": 10_010}, "tiny": {"control": 8, "treatment": 0}}
    tiny = sample_ratio_drilldown({"app": counts}, EVEN, alpha=0.05).suspects[0]
    assert tiny.cell == "tiny"
    assert tiny.pvalue_design == pytest.approx(2 / 2**8, rel=1e-9, abs=0)
    assert tiny.pvalue_rest == pytest.approx(stats.fisher_exact([[8, 0], [10_000, 10_010]]).pvalue, rel=1e-6, abs=0)


def test_five_expected_units_are_enough_for_chi_squared():
    # 10 units, 5 expected in each variant: (5² + 5²) / 5 = 10.
    counts = {"small": {"control": 10, "treatment": 0}, "rest": {"control": 10_000, "treatment": 10_010}}
    small = sample_ratio_drilldown({"app": counts}, EVEN).suspects[0]
    assert small.pvalue_design == pytest.approx(stats.chi2.sf(10, 1), rel=1e-9, abs=0)
    rest = stats.chi2_contingency([[10, 0], [10_000, 10_010]], correction=False)[1]
    assert small.pvalue_rest == pytest.approx(rest, rel=1e-9, abs=0)


def test_small_cells_of_three_variants_are_tested_exactly():
    counts = cells([(6, 0, 1), (3_000, 3_010, 2_990)], "abc")
    tiny = sample_ratio_drilldown({"app": counts}, dict.fromkeys("abc", 1), alpha=0.2).suspects[0]
    every = [(i, j, 7 - i - j) for i in range(8) for j in range(8 - i)]
    probability = stats.multinomial.pmf(every, 7, [1 / 3] * 3)
    at = stats.multinomial.pmf((6, 0, 1), 7, [1 / 3] * 3)
    assert tiny.pvalue_design == pytest.approx(probability[probability <= at * (1 + 1e-7)].sum(), rel=1e-8)
    singly = [
        stats.fisher_exact([[own, 7 - own], [other, 9_000 - other]]).pvalue
        for own, other in ((6, 3_000), (0, 3_010), (1, 2_990))
    ]
    assert tiny.pvalue_rest == pytest.approx(3 * min(singly), rel=1e-6, abs=0)


def test_an_even_tiny_cell_is_no_suspect():
    # Three times the smallest of Fisher's p-values is far above 1.
    counts = cells([(1, 1, 1), (3_000, 3_010, 2_990)], "abc")
    assert sample_ratio_drilldown({"app": counts}, dict.fromkeys("abc", 1), alpha=0.99).suspects == ()


def test_too_many_splits_are_tested_one_variant_at_a_time():
    weights = {"a": 1, "b": 1_000, "c": 1_000, "d": 1_000, "e": 1_000}
    counts = cells([(20, 495, 500, 505, 480), (5, 9_000, 9_010, 9_020, 8_990)], "abcde")
    found = sample_ratio_drilldown({"app": counts}, weights, alpha=0.05).suspects[0]
    singly = [stats.binomtest(20, 2_000, 1 / 4_001).pvalue, stats.binomtest(480, 2_000, 1_000 / 4_001).pvalue]
    assert (found.cell, found.pvalue_design) == ("cell_0", pytest.approx(5 * min(singly), rel=1e-6, abs=0))


def test_the_broken_browser_is_named_and_the_rest_is_healthy():
    found = sample_ratio_drilldown({"browser": BROWSERS}, EVEN)
    assert [(one.cell, one.healthy_without) for one in found.suspects] == [("safari", True)]
    assert [(one.dimension, one.cells) for one in found.explanations] == [("browser", ("safari",))]
    assert found.tests == 3


def test_an_even_mismatch_accuses_no_cell():
    rows = [(10_000, 9_000), (5_000, 4_500), (2_000, 1_800), (40, 36)]
    found = sample_ratio_drilldown({"browser": cells(rows)}, EVEN)
    assert found.suspects == () and found.explanations == ()


def test_the_healthy_one_of_two_cells_is_not_accused():
    found = sample_ratio_drilldown({"os": cells([(10_000, 10_020), (10_000, 9_000)])}, EVEN)
    assert [one.cell for one in found.suspects] == ["cell_1"]


def test_two_broken_days_are_explained_together():
    rows = [(1_000, 1_005), (1_000, 700), (1_000, 995), (1_010, 720), (990, 1_000)]
    found = sample_ratio_drilldown({"day": cells(rows)}, EVEN)
    assert {one.cell for one in found.suspects} == {"cell_1", "cell_3"}
    assert not any(one.healthy_without for one in found.suspects)
    assert set(found.explanations[0].cells) == {"cell_1", "cell_3"}


def test_opposite_cells_are_explained_together_although_the_whole_is_healthy():
    found = sample_ratio_drilldown({"day": cells([(1_000, 700), (700, 1_000), (1, 0)])}, EVEN)
    assert found.tests == 3
    assert [set(one.cells) for one in found.explanations] == [{"cell_0", "cell_1"}]
    # One unit is left: (1/2)² / (1/2) twice.
    assert found.explanations[0].pvalue_without == pytest.approx(stats.chi2.sf(1, 1))


def test_each_dimension_names_its_own_suspects_and_the_smallest_explanation_comes_first():
    days = cells([(20_000, 20_010), (14_040, 12_950)])
    found = sample_ratio_drilldown({"day": days, "browser": BROWSERS}, EVEN)
    assert [(one.dimension, one.cell, one.observed) for one in found.suspects] == [
        ("browser", "safari", BROWSERS["safari"]),
        ("day", "cell_1", days["cell_1"]),
    ]
    assert [(one.dimension, one.cells) for one in found.explanations] == [
        ("browser", ("safari",)),
        ("day", ("cell_1",)),
    ]
    shares = [18_940 / 67_000, 26_990 / 67_000]
    healthy = [stats.chisquare([24_060, 24_000]).pvalue, stats.chisquare([20_000, 20_010]).pvalue]
    assert [one.share_of_units for one in found.explanations] == pytest.approx(shares)
    assert [one.pvalue_without for one in found.explanations] == pytest.approx(healthy)


def test_of_cells_beyond_the_smallest_pvalue_the_larger_departure_comes_first():
    counts = cells([(50_000, 50_020), (3_000, 500), (6_000, 1_000)])
    suspects = sample_ratio_drilldown({"day": counts}, EVEN).suspects
    assert [(one.cell, one.pvalue_adjusted) for one in suspects] == [("cell_2", 0.0), ("cell_1", 0.0)]


def test_counts_may_be_decimals():
    exact = {name: {variant: Decimal(count) for variant, count in row.items()} for name, row in BROWSERS.items()}
    assert sample_ratio_drilldown({"browser": exact}, EVEN) == sample_ratio_drilldown({"browser": BROWSERS}, EVEN)


@given(big, st.sampled_from([(1, 1), (1, 2), (9, 1)]))
def test_explanation_is_the_smallest_set_of_suspects_that_helps(rows, weights):
    design = dict(zip(EVEN, weights, strict=True))
    found = sample_ratio_drilldown({"day": cells(rows)}, design, alarm_below=0.01)
    table = cells(rows)

    def healthy(removed):
        left = [table[name] for name in table if name not in removed]
        total = {variant: sum(row[variant] for row in left) for variant in EVEN}
        return bool(left) and sample_ratio_test(total, design).pvalue >= 0.01

    names = [one.cell for one in found.suspects]
    sizes = [k for k in range(1, len(names) + 1) if any(healthy(c) for c in itertools.combinations(names, k))]
    assert len(found.explanations) == bool(sizes)
    if sizes:
        assert healthy(found.explanations[0].cells) and len(found.explanations[0].cells) == min(sizes)


@given(big, st.randoms(use_true_random=False), st.floats(0.01, 100))
def test_order_of_cells_and_variants_and_scale_of_weights_do_not_matter(rows, random, scale):
    table = cells(rows)
    names = list(table)
    random.shuffle(names)
    mixed = {name: {"treatment": table[name]["treatment"], "control": table[name]["control"]} for name in names}
    one = sample_ratio_drilldown({"day": table}, EVEN)
    other = sample_ratio_drilldown({"day": mixed}, {"treatment": scale, "control": scale})
    assert {s.cell: pytest.approx(s.pvalue_adjusted, rel=1e-6, abs=0) for s in one.suspects} == {
        s.cell: s.pvalue_adjusted for s in other.suspects
    }


def test_the_stage_at_which_the_ratio_breaks_is_named():
    stages = {
        "assigned": {"control": 50_080, "treatment": 49_920},
        "exposed": {"control": 40_050, "treatment": 39_930},
        "joined": {"control": 40_020, "treatment": 39_100},
        "matured": {"control": 30_010, "treatment": 29_330},
    }
    found = sample_ratio_drilldown({}, EVEN, stages=stages)
    assert found.broken_stage == "joined"
    rows = [list(row.values()) for row in stages.values()]
    expected = [stats.chisquare(rows[0]).pvalue] + [
        stats.chi2_contingency([kept, np.subtract(came, kept)], correction=False)[1]
        for came, kept in itertools.pairwise(rows)
    ]
    assert [test.pvalue for test in found.stages] == pytest.approx(expected, rel=1e-8, abs=0)
    adjusted = multipletests(expected, method="holm")[1]
    assert [test.pvalue_adjusted for test in found.stages] == pytest.approx(adjusted.tolist(), rel=1e-8, abs=0)
    assert {test.stage: test.observed for test in found.stages} == stages
    assert found.stages[0].expected == {"control": 50_000, "treatment": 50_000}
    # 79,120 of 79,980 exposed units were joined: 40,050 * 79,120 / 79,980.
    assert found.stages[2].expected["control"] == pytest.approx(40_050 * 79_120 / 79_980)


def test_few_lost_units_are_tested_exactly():
    stages = {"assigned": {"control": 5_000, "treatment": 5_000}, "exposed": {"control": 4_999, "treatment": 4_993}}
    lost = sample_ratio_drilldown({}, EVEN, stages=stages).stages[1].pvalue
    assert lost == pytest.approx(stats.fisher_exact([[1, 7], [4_999, 4_993]]).pvalue, rel=1e-8, abs=0)


@pytest.mark.parametrize(
    ("came", "kept"), [((1, 9), (0, 9)), ((5, 5), (1, 0)), ((3, 7), (1, 7))], ids=["one came", "one stayed", "two lost"]
)
def test_a_single_unit_is_enough_to_compare(came, kept):
    stages = {"assigned": dict(zip(EVEN, came, strict=True)), "exposed": dict(zip(EVEN, kept, strict=True))}
    lost = np.subtract(came, kept)
    pvalue = sample_ratio_drilldown({}, EVEN, stages=stages).stages[1].pvalue
    assert pvalue == pytest.approx(stats.fisher_exact([kept, lost]).pvalue, rel=1e-8)


def test_a_variant_with_one_unit_in_all_cells_is_compared():
    found = sample_ratio_drilldown({"os": cells([(100, 1), (90, 0)])}, EVEN, alpha=0.999)
    assert (found.tests, found.not_compared) == (2, {})


def test_what_cannot_be_compared_says_why():
    found = sample_ratio_drilldown(
        {"os": cells([(100, 0), (90, 0)]), "app": cells([(100, 90), (0, 0)]), "day": {}},
        EVEN,
        stages={"assigned": {"control": 9, "treatment": 0}, "exposed": {"control": 9, "treatment": 0}},
    )
    assert found.not_compared["app"] == NotComputed("app has 1 cell with units; it takes 2")
    assert found.not_compared["day"] == NotComputed("day has 0 cells with units; it takes 2")
    assert "treatment has no units in any cell of os" in found.not_compared["os"].reason
    assert found.stages[1].pvalue == NotComputed("treatment had no units at the stage before")
    same = {"assigned": {"control": 9, "treatment": 9}, "exposed": {"control": 9, "treatment": 9}}
    assert sample_ratio_drilldown({}, EVEN, stages=same).stages[1].pvalue == NotComputed(
        "no unit was lost at this stage"
    )
    none = {"control": 0, "treatment": 0}
    gone = sample_ratio_drilldown({}, EVEN, stages={"assigned": same["assigned"], "exposed": none}).stages[1]
    assert gone.pvalue == NotComputed("every unit was lost at this stage")
    empty = sample_ratio_drilldown({}, EVEN, stages={"assigned": none, "exposed": none})
    assert empty.stages[1].pvalue == NotComputed("control had no units at the stage before")
    assert empty.stages[1].expected == none
    assert empty.stages[0].pvalue == NotComputed("there are no units") and empty.broken_stage is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_ratio_drilldown({}, {"a": 1}), "weights has 1 variants"),
        (lambda: sample_ratio_drilldown({}, {"a": 1, "b": 0}), r"weights\['b'\] is 0"),
        (lambda: sample_ratio_drilldown({}, EVEN, alpha=0), "alpha is 0"),
        (lambda: sample_ratio_drilldown({}, EVEN, alarm_below=1), "alarm_below is 1"),
        (lambda: sample_ratio_drilldown({"os": {"ios": {"control": 1}}}, EVEN), r"cells\['os'\]\['ios'\] has"),
        (lambda: sample_ratio_drilldown({}, EVEN, stages={"a": {"control": 1}}), r"stages\['a'\] has"),
        (lambda: sample_ratio_drilldown({"os": cells([(1.5, 2), (1, -1)])}, EVEN), "whole numbers"),
        (
            lambda: sample_ratio_drilldown(
                {}, EVEN, stages={"a": {"control": 1, "treatment": 1}, "b": {"control": 2, "treatment": 1}}
            ),
            r"stages\['b'\] is .*more units than in stages\['a'\]",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def split(rng, units, shares, lost):
    """Units by browser and by day, of which each browser's treatment loses some."""
    browsers = rng.multinomial(units, shares)
    control = rng.binomial(browsers, 0.5)
    treatment = rng.binomial(browsers - control, 1 - np.asarray(lost))
    days = np.column_stack([rng.multinomial(arm.sum(), [1 / 28] * 28) for arm in (control, treatment)])
    return {"browser": cells(np.column_stack([control, treatment])), "day": cells(days)}


@pytest.mark.slow
def test_an_even_loss_rarely_accuses_a_cell_and_a_broken_browser_is_found():
    rng = np.random.default_rng(41)
    shares = [0.45, 0.25, 0.12, 0.08, 0.06, 0.03, 0.01]
    accused = [
        bool(sample_ratio_drilldown(split(rng, 100_000, shares, [0.05] * 7), EVEN).suspects) for _ in range(1_500)
    ]
    assert np.mean(accused) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 1_500)
    found, others = [], []
    for _ in range(500):
        drilldown = sample_ratio_drilldown(split(rng, 100_000, shares, [0, 0.1, 0, 0, 0, 0, 0]), EVEN)
        named = {(one.dimension, one.cell) for one in drilldown.suspects}
        found.append(any((one.dimension, one.cells) == ("browser", ("cell_1",)) for one in drilldown.explanations))
        others.append(bool(named - {("browser", "cell_1")}))
    # Chance alone makes the six healthy browsers look broken in 1 % of the runs.
    assert np.mean(found) > 0.99 - 4 * np.sqrt(0.01 * 0.99 / 500)
    assert np.mean(others) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.slow
def test_a_false_alarm_accuses_a_cell_as_rarely_as_no_alarm():
    # Healthy splits of which only those are looked at that chance made look bad.
    rng = np.random.default_rng(42)
    accused = []
    while len(accused) < 600:
        counts = split(rng, 4_000, [0.5, 0.3, 0.15, 0.05], [0] * 4)
        total = {variant: sum(row[variant] for row in counts["browser"].values()) for variant in EVEN}
        if sample_ratio_test(total, EVEN).pvalue < 0.05:
            accused.append(bool(sample_ratio_drilldown(counts, EVEN, alarm_below=0.05).suspects))
    assert np.mean(accused) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 600)
