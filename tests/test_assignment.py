import itertools
from collections import Counter

import pytest
from scipy.stats import chi2_contingency, chisquare

from abtest_lib import cli, definitions, results
from abtest_lib.assignment import POSITIONS, Assignment, Layer, assigned_variant, assignment_sql, position
from abtest_lib.verify import verify
from abtest_lib.warehouse import connect
from tests.small_shop import AS_OF, KEY, Shop

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


# In a night.


@pytest.fixture
def assigned_shop(tmp_path):
    """A shop whose units have the variants that the assignment of its experiment gives them."""
    shop = Shop(tmp_path)
    shop.redefine(KEY, "notify:", "assignment: {salt: till, share: 0.9}\nnotify:")
    given = [
        (unit, assigned_variant(unit, Assignment("till", HALVES, 0.9)))
        for unit in (f"u{number}" for number in range(2000))
    ]
    rows = ", ".join(f"('{unit}', '{variant}')" for unit, variant in given if variant)
    shop.change(
        "DELETE FROM exposures",
        f"""INSERT INTO exposures
        SELECT 'checkout', unit, variant,
            TIMESTAMP '2026-02-02 10:00:00' + to_days((substr(unit, 2)::INTEGER % 3)::INTEGER),
            TIMESTAMP '2026-02-05 01:00:00'
        FROM (VALUES {rows}) AS given (unit, variant)""",  # noqa: S608
    )
    return shop


def read(shop):
    """The sample ratio, the exposure and the verdict of a night."""
    night = shop.run()
    document = results.read_json(night / "results.json")
    with connect(shop.warehouse) as warehouse:
        assert verify(shop.experiment, AS_OF, warehouse, shop.results).problems == ()
    return document["sample_ratio"], document["exposure"]["assignment"], document["verdicts"][0], night


def test_exposures_that_follow_the_assignment_are_healthy(assigned_shop):
    ratio, assignment, verdict, night = read(assigned_shop)
    assert (ratio["healthy"], ratio["as_assigned"], assignment["otherwise"]) == (True, True, [])
    assert verdict["verdict"] != "invalid"
    assert "units have the variant that the assignment gives." in (night / "report.txt").read_text().replace("\n", " ")


def test_treatment_that_falls_back_to_control_is_found_though_the_split_looks_healthy(assigned_shop):
    # 3 % of those who were to see the treatment saw control.
    assigned_shop.change(
        "UPDATE exposures SET variant = 'control' WHERE variant = 'treatment' AND substr(unit_id, 2)::INTEGER % 33 = 0"
    )
    ratio, assignment, verdict, night = read(assigned_shop)
    (row,) = assignment["otherwise"]
    assert (row["found"], row["assigned"]) == ("control", "treatment")
    assert row["units"] == sum(
        assigned_variant(f"u{number}", Assignment("till", HALVES, 0.9)) == "treatment" for number in range(0, 2000, 33)
    )
    assert ratio["pvalue"] > ratio["alarm_below"]
    assert (ratio["healthy"], ratio["as_assigned"]) == (False, False)
    assert (verdict["verdict"], [reason["code"] for reason in verdict["reasons"]]) == ("invalid", ["not_as_assigned"])
    said = " ".join((night / "report.txt").read_text().split())
    assert f"{row['units']} units of control are ones that the assignment gives to treatment" in said
    assert not (night / "significance.json").exists()


def test_units_that_the_share_leaves_out_are_named(assigned_shop):
    outside = next(f"u{n}" for n in range(2000) if not assigned_variant(f"u{n}", Assignment("till", HALVES, 0.9)))
    assigned_shop.change(
        f"INSERT INTO exposures VALUES ('checkout', '{outside}', 'control', '2026-02-03 10:00', '2026-02-05 01:00')"  # noqa: S608
    )
    ratio, assignment, _, _ = read(assigned_shop)
    assert assignment["otherwise"] == [{"found": "control", "assigned": None, "units": 1}]
    assert ratio["as_assigned"]  # one in some nine hundred


def test_ramp_is_no_change_of_the_plan(assigned_shop):
    before = assigned_shop.experiment
    assigned_shop.redefine(KEY, "share: 0.9", "share: 1")
    assert assigned_shop.experiment.assignment.share == 1
    assert assigned_shop.experiment.sha256 == before.sha256


def test_salt_is_the_key_unless_given(assigned_shop):
    assigned_shop.redefine(KEY, "assignment: {salt: till, share: 0.9}", "assignment: {layer: {name: web, end: 0.5}}")
    experiment = assigned_shop.experiment
    assert experiment.assignment == Assignment(KEY, {"control": 1, "treatment": 1}, 1.0, Layer("web", 0.0, 0.5))
    assert definitions.experiment_from_json(experiment.as_json()) == experiment


def test_experiments_that_share_units_of_a_layer_are_found(assigned_shop, capsys):
    text = (assigned_shop.definitions / "checkout.yaml").read_text()
    for key, layer in (("one", "{name: web, end: 0.5}"), ("two", "{name: web, start: 0.4}"), ("far", "{name: web}")):
        own = text.replace("assignment: {salt: till, share: 0.9}", f"assignment: {{layer: {layer}}}")
        own = own.replace("2026-02-0", "2026-05-0") if key == "far" else own
        (assigned_shop.definitions / f"{key}.yaml").write_text(own)
    assert cli.main(["validate", *assigned_shop.places]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{assigned_shop.definitions}/two.yaml: layer web is taken from 0.4 to 0.5 by one as well, which enrols at the "
        "same time; give them parts of the layer that do not overlap."
    ]


def test_verb_names_variants_and_prints_the_statement(assigned_shop, capsys):
    assert cli.main(["assign", "checkout", "u1", "u2", *assigned_shop.places]) == 0
    given = {unit: assigned_variant(unit, Assignment("till", HALVES, 0.9)) for unit in ("u1", "u2")}
    assert capsys.readouterr().out.splitlines() == [f"{unit}\t{variant or '-'}" for unit, variant in given.items()]
    command = ["assign", "checkout", "--sql", "postgres", "--table", "visitors", "--unit", "id", *assigned_shop.places]
    assert cli.main(command) == 0
    statement = assignment_sql(Assignment("till", HALVES, 0.9), "visitors", "id", "postgres")
    assert capsys.readouterr().out == f"{statement}\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["u1"], "checkout.yaml has no assignment"),
        (["--sql", "klingon", "--table", "t", "--unit", "u"], "klingon"),
        (["--sql", "duckdb", "--table", "t; DROP TABLE t"], "an identifier must be letters"),
    ],
)
def test_verb_refuses_what_it_cannot_do(assigned_shop, capsys, given, said):
    if given == ["u1"]:
        assigned_shop.redefine(KEY, "assignment: {salt: till, share: 0.9}\n", "")
    assert cli.main(["assign", "checkout", *given, *assigned_shop.places]) == 1
    assert said in capsys.readouterr().err
