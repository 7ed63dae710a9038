from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abtest_lib.statistics.error_budget import error_budget, error_budget_table
from abtest_lib.statistics.guardrails import harm_alpha
from abtest_lib.statistics.multiplicity import bonferroni_alpha
from abtest_lib.statistics.sample_ratio import alarm_level

plans = st.fixed_dictionaries(
    {
        "alpha": st.sampled_from([0.05, 0.1, 0.01]),
        "primary_metrics": st.integers(1, 5),
        "treatments": st.integers(1, 4),
        "secondary_metrics": st.integers(0, 9),
        "guardrails": st.integers(0, 6),
        "segment_values": st.lists(st.integers(1, 12), max_size=4),
        "nights": st.integers(1, 60),
    }
)


def rows(budget):
    return {row.claim: row for row in budget.rows}


def test_a_plan_worked_out_by_hand():
    # Two primary metrics, three treatments: 6 comparisons at 1/20 / 6. Four guardrails: 12 pairs, harm at
    # 1/20 / 12 / 28 a night, safe at 1/40 each. Segments of 3 and 4 values: 14 cells and 4 tests a treatment.
    plan = {
        "alpha": 0.05,
        "primary_metrics": 2,
        "treatments": 3,
        "guardrails": 4,
        "segment_values": [3, 4],
        "nights": 28,
    }
    budget = error_budget(**plan, secondary_metrics=2, checks={"a pre-period difference is seen": 0.01})
    found = {claim: (row.comparisons, row.per_look[0], row.promised) for claim, row in rows(budget).items()}
    assert found == {
        "a dud is called better or worse": (6, Fraction(1, 120), Fraction(1, 20)),
        "a harmful guardrail is called safe": (12, Fraction(1, 40), Fraction(3, 10)),
        "a harmless guardrail is called harmful": (12, Fraction(1, 6_720), Fraction(1, 20)),
        "a healthy split is stopped": (1, Fraction(1, 2_800), Fraction(1, 100)),
        "a pre-period difference is seen": (1, Fraction(1, 100), Fraction(1, 100)),
        "a segment is called better or worse": (42, Fraction(1, 280), Fraction(3, 20)),
        "equal segments are called different": (12, Fraction(1, 80), Fraction(3, 20)),
        "a secondary metric is called better or worse": (6, Fraction(1, 20), Fraction(3, 10)),
    }
    assert budget.promised_by_kind == {
        "decision": Fraction(7, 20), "stop": Fraction(7, 100), "exploration": Fraction(12, 20)
    }  # fmt: skip
    assert budget.promised == Fraction(102, 100)


def test_the_least_plan_as_plain_values():
    # One comparison at 1/20 and the split at 1/100, one look each.
    dud, split = (
        {
            "kind": kind,
            "claim": claim,
            "comparisons": 1,
            "looks": 1,
            "method": "Bonferroni",
            "per_comparison": level,
            "per_look": [level],
            "promised": level,
        }
        for kind, claim, level in (
            ("decision", "a dud is called better or worse", 0.05),
            ("stop", "a healthy split is stopped", 0.01),
        )
    )
    assert error_budget(alpha=0.05, primary_metrics=1, treatments=1).as_dict() == {
        "rows": [dud, split],
        "promised_by_kind": {"decision": 0.05, "stop": 0.01, "exploration": 0.0},
        "promised": 0.06,
    }


def test_each_claim_says_how_its_error_is_shared():
    budget = error_budget(
        alpha=0.05,
        primary_metrics=1,
        treatments=1,
        secondary_metrics=1,
        guardrails=1,
        segment_values=[2],
        looks_spent=[0.5, 0.5],
        checks={"x": 0.01},
    )
    looks = "; alpha spending over looks"
    assert [(row.kind, row.claim, row.method) for row in budget.rows] == [
        ("decision", "a dud is called better or worse", f"Bonferroni{looks}"),
        ("decision", "a harmful guardrail is called safe", f"each at its level{looks}"),
        ("stop", "a harmless guardrail is called harmful", "Bonferroni"),
        ("stop", "a healthy split is stopped", "Bonferroni"),
        ("stop", "x", "at its level"),
        ("exploration", "a segment is called better or worse", f"Bonferroni by treatment{looks}"),
        ("exploration", "equal segments are called different", "Bonferroni by treatment"),
        ("exploration", "a secondary metric is called better or worse", f"each at its level{looks}"),
    ]


def test_shares_of_looks_may_be_rounded_at_the_ninth_place():
    plan = {"alpha": 0.05, "primary_metrics": 1, "treatments": 1}
    row = error_budget(**plan, looks_spent=[0.5, 0.499999999]).rows[0]
    assert sum(row.per_look) == row.per_comparison == Fraction(1, 20)
    assert row.per_look[0] == Fraction(1, 20) * Fraction(500_000_000, 999_999_999)
    with pytest.raises(ValueError, match="add up to 1"):
        error_budget(**plan, looks_spent=[0.5, 0.499999998])


@given(plans)
def test_levels_are_those_that_the_tests_use(plan):
    found = rows(error_budget(**plan))
    primary = found["a dud is called better or worse"]
    comparisons = plan["primary_metrics"] * plan["treatments"]
    assert float(primary.per_look[0]) == pytest.approx(bonferroni_alpha(plan["alpha"], comparisons), rel=1e-15)
    split = found["a healthy split is stopped"]
    assert float(split.per_look[0]) == pytest.approx(alarm_level(plan["nights"]), rel=1e-15)
    if plan["guardrails"]:
        harm = found["a harmless guardrail is called harmful"]
        level = harm_alpha(0.05, plan["guardrails"], plan["treatments"], plan["nights"])
        assert float(harm.per_look[-1]) == pytest.approx(level, rel=1e-15)


@given(plans, st.lists(st.integers(0, 20), min_size=1, max_size=9).filter(any))
def test_the_ledger_adds_up_exactly(plan, looks):
    total = sum(looks)
    budget = error_budget(**plan, looks_spent=[Fraction(look, total) for look in looks])
    for row in budget.rows:
        assert sum(row.per_look) == row.per_comparison and len(row.per_look) == row.looks
        assert row.comparisons * row.per_comparison == row.promised
    assert sum(budget.promised_by_kind.values()) == sum(row.promised for row in budget.rows) == budget.promised
    by_kind = budget.as_dict()["promised_by_kind"]
    assert by_kind["decision"] == pytest.approx(plan["alpha"] * (1 + plan["guardrails"] * plan["treatments"] / 2))


@given(plans)
def test_the_table_has_a_line_for_each_claim_and_for_each_kind(plan):
    budget = error_budget(**plan)
    lines = error_budget_table(budget).splitlines()
    kinds = [kind for kind, value in budget.promised_by_kind.items() if value]
    assert len(lines) == 1 + len(budget.rows) + len(kinds)
    assert all(any(line.startswith(row.claim) for line in lines) for row in budget.rows)


def test_looks_by_plan_are_shown_as_such():
    budget = error_budget(alpha=0.05, primary_metrics=1, treatments=1, looks_spent=[0.1, 0.2, 0.7])
    assert [float(level) for level in budget.rows[0].per_look] == pytest.approx([0.005, 0.01, 0.035])
    safe = error_budget(alpha=0.05, primary_metrics=1, treatments=1, guardrails=1, looks_spent=[0.2, 0.8]).rows[1]
    assert [float(level) for level in safe.per_look] == pytest.approx([0.005, 0.02])
    assert [re.split(" {2,}", line) for line in error_budget_table(budget).splitlines()][1] == [
        "a dud is called better or worse", "1", "3", "by plan", "0.05", "Bonferroni; alpha spending over looks"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0}, "alpha is 0"),
        ({"alpha": 1}, "alpha is 1"),
        ({"primary_metrics": 0}, "^primary_metrics is 0"),
        ({"secondary_metrics": -1}, "^secondary_metrics is -1"),
        ({"harm_alpha": 1}, "^harm_alpha is 1"),
        ({"sample_ratio_alpha": 0}, "^sample_ratio_alpha is 0"),
        ({"looks_spent": [1.0, float("nan")]}, r"looks_spent\[1\] is nan"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"treatments": 0}, "treatments is 0"),
        ({"guardrails": -1}, "guardrails is -1"),
        ({"nights": 1.5}, "nights is 1.5"),
        ({"segment_values": [3, 0]}, r"segment_values\[1\] is 0"),
        ({"looks_spent": [0.5, 0.4]}, "add up to 1"),
        ({"looks_spent": [1.5, -0.5]}, "at least 0"),
        ({"safety_alpha": 1.0}, "safety_alpha is 1.0"),
        ({"checks": {"x": 2}}, r"checks\['x'\] is 2"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        error_budget(**{"alpha": 0.05, "primary_metrics": 1, "treatments": 1} | change)
