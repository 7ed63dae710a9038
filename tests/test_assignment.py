import itertools
from collections import Counter

import pytest
from scipy.stats import chi2_contingency, chisquare

from abtest_lib.assignment import POSITIONS, Assignment, Layer, assigned_variant, assignment_sql, position

UNITS = [f"user-{number}" for number in range(40_000)]
HALVES = {"control": 1, "treatment": 1}
# printf 'ROLE:checkout_2026:UNIT' | md5sum | cut -c1-8; tests/sql/assigned_variants has such cases for every engine.
BY_MD5SUM = [
    ("variant", "u17", "ad2dc33d"),
    ("share", "u17", "87d97127"),
    ("variant", "u19", "0b6869ea"),
    ("variant", "ü/🙂", "84871f33"),
    ("variant", "o'neill", "f53fafd9"),
    ("variant", "9007199254740993", "0d8bdad9"),
]


def variants(assignment, units=UNITS):
    """The variant of each unit that is in."""
    found = {unit: assigned_variant(unit, assignment) for unit in units}
    return {unit: variant for unit, variant in found.items() if variant}


@pytest.mark.parametrize(("role", "unit", "digits"), BY_MD5SUM)
def test_position_is_that_of_md5sum(role, unit, digits):
    assert f"{position(role, 'checkout_2026', unit):08x}" == digits


@pytest.mark.parametrize("weights", [HALVES, {"control": 9, "treatment": 1}, {"a": 0.1, "b": 0.1, "c": 0.1}])
def test_units_fall_into_variants_as_weighted(weights):
    counts = Counter(variants(Assignment("split", weights)).values())
    expected = [len(UNITS) * weight / sum(weights.values()) for weight in weights.values()]
    assert chisquare([counts[name] for name in weights], expected).pvalue > 0.001


def test_weights_on_any_scale_are_the_same_assignment():
    assert variants(Assignment("s", {"a": 0.1, "b": 0.2})) == variants(Assignment("s", {"a": 1, "b": 2}))


def test_last_variant_reaches_the_last_position():
    assert list(Assignment("s", {"a": 0.1, "b": 0.1, "c": 0.1}).ends.values()) == [
        POSITIONS // 3,
        POSITIONS * 2 // 3,
        POSITIONS,
    ]


def test_assignments_of_two_experiments_are_independent():
    one, other = (variants(Assignment(salt, HALVES)) for salt in ("first", "second"))
    table = Counter((one[unit], other[unit]) for unit in UNITS)
    counts = [[table[a, b] for b in HALVES] for a in HALVES]
    assert chi2_contingency(counts).pvalue > 0.001


def test_who_is_let_in_says_nothing_about_the_variant():
    everyone = variants(Assignment("ramp", HALVES))
    let_in = variants(Assignment("ramp", HALVES, share=0.3))
    table = Counter((unit in let_in, everyone[unit]) for unit in UNITS)
    assert chi2_contingency([[table[is_in, name] for name in HALVES] for is_in in (True, False)]).pvalue > 0.001


def test_ramp_never_moves_a_unit_out_or_to_another_variant():
    steps = [variants(Assignment("ramp", HALVES, share=share)) for share in (0.01, 0.1, 0.35, 0.9, 1.0)]
    for before, after in itertools.pairwise(steps):
        assert before.items() <= after.items()
    assert len(steps[-1]) == len(UNITS)
    assert len(steps[1]) == pytest.approx(0.1 * len(UNITS), rel=0.05)


def test_disjoint_parts_of_a_layer_share_no_unit_and_leave_none_out():
    parts = [Layer("storefront", 0, 0.3), Layer("storefront", 0.3, 0.5), Layer("storefront", 0.5, 1)]
    found = [set(variants(Assignment(f"e{number}", HALVES, layer=part))) for number, part in enumerate(parts)]
    assert sum(map(len, found)) == len(set().union(*found)) == len(UNITS)
    assert len(found[1]) == pytest.approx(0.2 * len(UNITS), rel=0.05)


def test_layers_are_independent_of_each_other():
    one, other = (set(variants(Assignment("e", HALVES, layer=Layer(name, 0, 0.5)))) for name in ("web", "mail"))
    assert len(one & other) == pytest.approx(0.25 * len(UNITS), rel=0.05)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Assignment("a:b", HALVES), "salt is 'a:b'; it must be letters, digits, _, . and -, at most 100"),
        (lambda: Assignment("", HALVES), "salt is ''"),
        (lambda: Assignment("s", {"control": 1}), "there must be two variants at least"),
        (lambda: Assignment("s", {"control": 1, "treatment": 0}), "each with a weight above 0"),
        (lambda: Assignment("s", HALVES, share=0), "share is 0; it must be above 0 and at most 1"),
        (lambda: Assignment("s", HALVES, share=float("nan")), "share is nan; it must be above 0 and at most 1"),
        (lambda: Layer("web", 0.5, 0.5), "layer web is from 0.5 to 0.5; it must be 0 <= start < end <= 1"),
        (lambda: Layer("we'b"), 'layer is "we\'b"; it must be letters'),
        (lambda: assignment_sql(Assignment("s", HALVES), 'visitors"; DROP TABLE x', "id"), "plain|identifier"),
    ],
)
def test_wrong_assignment_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()


@pytest.mark.parametrize("dialect", ["bigquery", "databricks", "redshift", "trino"])
def test_statement_is_said_in_dialects_that_are_not_run(dialect):
    import sqlglot

    layered = Assignment("s", HALVES, share=0.5, layer=Layer("web", 0.25, 0.75))
    said = assignment_sql(layered, "shop.visitors", "id", dialect)
    assert sqlglot.parse_one(said, dialect=dialect).named_selects == ["unit_id", "variant"]
