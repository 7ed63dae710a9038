import datetime as dt
import json
from math import ceil, sqrt

import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower

from abtest_lib import cli, definitions
from abtest_lib.cohorts import planned_shares
from abtest_lib.errors import DataError
from abtest_lib.plan import plan
from abtest_lib.plan_metrics import Aim, Past, Traffic, metric_plan
from abtest_lib.report.plan import plan_chart, plan_document, plan_text
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.inference import compare_means, compare_proportions
from abtest_lib.statistics.moments import Moments
from abtest_lib.statistics.planning_looks import looks_inflation
from abtest_lib.warehouse import connect
from tests.engines import ENGINES, copy_tables, postgresql_url, snowflake, spark  # noqa: F401
from tests.small_shop import AS_OF, Shop

DAY = dt.timedelta(days=1)


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def planned(shop, as_of=AS_OF, **options):
    with connect(shop.warehouse) as warehouse:
        return plan(shop.experiment, as_of, warehouse, **options)


def aim(experiment, name, role="primary", target=0.05):
    return Aim(experiment, experiment.metrics[name], role, target, power=0.8)


# What is read of the past.


def test_past_is_that_of_the_control_alone_and_traffic_that_of_all_variants(shop):
    found = planned(shop)
    # Of 400 units, in turn on three days, 200 are in control and 30 % of them buy (tests/small_shop.py).
    assert found.traffic == Traffic(dt.date(2026, 2, 2), (134, 134, 132))
    conversion = found.metrics[0]
    assert (conversion.metric, conversion.baseline.mean) == ("conversion", 0.3)
    assert found.planned_units == 400


def test_population_is_everybody_with_a_row_from_their_first_row_on(shop):
    # Three days of enrolment end three days before the night: 2 to 4 February.
    shop.change(
        "INSERT INTO page_loads VALUES ('x1', '2026-02-03 08:00', '2026-02-03 09:00', 100)",
        "INSERT INTO page_loads VALUES ('x1', '2026-02-04 08:00', '2026-02-04 09:00', 100)",
        "INSERT INTO page_loads VALUES ('early', '2026-02-01 08:00', '2026-02-01 09:00', 100)",
        "INSERT INTO page_loads VALUES (NULL, '2026-02-03 08:00', '2026-02-03 09:00', 100)",
    )
    found = planned(shop, population="page_loads")
    assert found.traffic == Traffic(dt.date(2026, 2, 2), (134, 135, 132))
    buyers = {"control": 60, "treatment": 100}
    assert found.metrics[0].baseline.mean == pytest.approx(sum(buyers.values()) / 401)
    assert found.of == "everybody with a row in page_loads from 2026-02-02 to before 2026-02-05"


@pytest.mark.parametrize("engine", ["postgresql", "spark", "snowflake"])
def test_population_is_the_same_on_every_engine(shop, engine, request):
    location = ENGINES[engine](request)
    copy_tables(shop.warehouse, location)
    with connect(location) as warehouse:
        there = plan(shop.experiment, AS_OF, warehouse, population="page_loads")
    here = planned(shop, population="page_loads")
    assert there.traffic == here.traffic
    for one, other in zip(there.metrics, here.metrics, strict=True):
        assert (one.baseline.mean, one.baseline.sd) == pytest.approx((other.baseline.mean, other.baseline.sd), rel=1e-9)


def test_another_experiment_lends_its_units(shop):
    text = (shop.definitions / "checkout.yaml").read_text()
    later = text.replace("2026-02-02", "2026-03-02").replace("2026-02-05", "2026-03-16")
    (shop.definitions / "second.yaml").write_text(later)
    second = definitions.load_experiment(shop.definitions, "second")
    with connect(shop.warehouse) as warehouse:
        found = plan(second, AS_OF, warehouse, like=shop.experiment)
        with pytest.raises(ValueError, match="say whose past to take: --population SOURCE"):
            plan(second, AS_OF, warehouse)
    assert found.metrics[0].baseline.mean == 0.3
    # Three days are seen; the other eleven come at their pace.
    assert found.planned_units == int(400 + 11 * 400 / 3)


def test_share_of_units_that_is_let_in_lengthens_the_enrolment_and_not_the_sample(shop):
    whole, part = planned(shop).metrics[0], planned(shop, share=0.25).metrics[0]
    assert part.units == whole.units
    assert part.days == pytest.approx(4 * whole.days, abs=7)
    assert part.power < whole.power


def test_units_without_a_value_are_counted_with_those_that_have_one(shop):
    half = Past(Moments(500, 10.0, 500 * 25.0), units=1000)
    everyone = Past(Moments(500, 10.0, 500 * 25.0), units=500)
    traffic = Traffic(dt.date(2026, 1, 1), (100,) * 7)
    needs = [metric_plan(aim(shop.experiment, "latency_ms"), past, traffic, 1.0).units for past in (half, everyone)]
    assert needs[0] == pytest.approx(2 * needs[1], abs=2)


# What follows from it.


def test_units_of_a_mean_are_those_of_statsmodels(shop):
    past, traffic = Past(Moments(1000, 20.0, 999 * 144.0), 1000), Traffic(dt.date(2026, 1, 1), (1000,) * 7)
    found = metric_plan(aim(shop.experiment, "revenue_per_user"), past, traffic, 1.0)
    n = TTestIndPower().solve_power(effect_size=20 * 0.05 / 12, alpha=0.05, power=0.8)
    assert found.units == ceil(2 * n)
    assert found.days == 7 * ceil(ceil(2 * n) / 1000 / 7)
    assert found.decided_on == shop.experiment.starts_on + (found.days + 3) * DAY


def test_units_of_a_share_follow_fleiss(shop):
    # Fleiss, Levin, Paik (2003), formula 4.14, by hand: sizes of two shares with the pooled test.
    p, q = 0.3, 0.3 * 1.05
    middle = (p + q) / 2
    n = ((1.959963985 * sqrt(2 * middle * (1 - middle)) + 0.841621234 * sqrt(p * (1 - p) + q * (1 - q))) / (q - p)) ** 2
    past = Past(Moments(1000, 0.3, 210.0), 1000)
    found = metric_plan(aim(shop.experiment, "conversion"), past, Traffic(dt.date(2026, 1, 1), (1000,) * 7), 1.0)
    assert found.units == ceil(2 * n)


def test_level_is_shared_by_primary_metrics_and_treatments_but_not_by_secondary_ones(shop):
    shop.redefine("checkout", "variants: {control: 1, treatment: 1}", "variants: {control: 2, a: 1, b: 1}")
    experiment = shop.experiment
    assert aim(experiment, "conversion").alpha == 0.025
    assert aim(experiment, "revenue_per_user", "secondary").alpha == 0.05
    assert aim(experiment, "latency_ms", "guardrail").alpha == 0.025
    assert aim(experiment, "conversion").weights == (0.5, 0.25)


def test_several_looks_cost_what_the_design_says(shop):
    shop.redefine("checkout", "smallest_effect: 0.05", "smallest_effect: 0.05\nlooks: obrien_fleming\nminimum_days: 1")
    looks, past = shop.experiment, Past(Moments(1000, 20.0, 999 * 144.0), 1000)
    traffic = Traffic(dt.date(2026, 1, 1), (1000,) * 7)
    several = metric_plan(aim(looks, "revenue_per_user"), past, traffic, 1.0)
    shop.redefine("checkout", "\nlooks: obrien_fleming\nminimum_days: 1", "")
    one = metric_plan(aim(shop.experiment, "revenue_per_user"), past, traffic, 1.0)
    assert several.units / one.units == pytest.approx(looks_inflation(planned_shares(looks)), rel=1e-3)


@pytest.mark.parametrize(
    ("metric", "role", "target"), [("conversion", "primary", 0.05), ("latency_ms", "guardrail", 0.1)]
)
def test_needed_units_have_the_wanted_power_and_show_the_target(shop, metric, role, target):
    of = aim(shop.experiment, metric, role, target)
    past = Past(Moments(1000, 0.3, 210.0) if metric == "conversion" else Moments(1000, 200.0, 1000 * 80.0**2), 1000)
    needed = metric_plan(of, past, Traffic(dt.date(2026, 1, 1), (1000,)), 1.0).units
    # A past in which the three planned days bring just these units.
    found = metric_plan(of, past, Traffic(dt.date(2026, 1, 1), (needed, 0, 0)), 1.0)
    assert found.power == pytest.approx(0.8, abs=2e-3)
    assert found.detectable == pytest.approx(target, rel=3e-3)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["conversion", "revenue_per_user"])
def test_planned_units_show_the_effect_as_often_as_planned(shop, metric):
    rng, runs = np.random.default_rng(20261123), 4000
    past = Past(
        Moments(10_000, 0.3, 2_100.0) if metric == "conversion" else Moments(10_000, 20.0, 9_999 * 144.0), 10_000
    )
    units = metric_plan(
        aim(shop.experiment, metric, target=0.1), past, Traffic(dt.date(2026, 1, 1), (1000,)), 1.0
    ).units
    n = units // 2
    shown = 0
    for _ in range(runs):
        if metric == "conversion":
            counts = rng.binomial(n, 0.3), rng.binomial(n, 0.33)
            shown += compare_proportions(counts[0], n, counts[1], n).pvalue < 0.05
        else:
            arms = [Moments.from_values(rng.gamma((mean / 12) ** 2, 144 / mean, n)) for mean in (20.0, 22.0)]
            shown += compare_means(*arms).pvalue < 0.05
    # Of 4,000 runs with power 0.8 nearly all lie within four standard errors, 0.025.
    assert shown / runs == pytest.approx(0.8, abs=0.025)


def test_traffic_goes_on_at_the_pace_of_the_last_week():
    traffic = Traffic(dt.date(2026, 1, 1), (100, 50, 50, 50, 50, 50, 50, 50))
    assert [traffic.units(days) for days in (1, 8, 10)] == [100, 450, 550]
    assert [traffic.days(units) for units in (100, 101, 450, 700)] == [7, 7, 14, 14]
    assert isinstance(Traffic(dt.date(2026, 1, 1), (5, *[0] * 7)).days(6), NotComputed)


# What is said of it.


def test_text_table_document_and_picture_hold_the_plan(shop, capsys):
    assert cli.main(["plan", "checkout", "--as-of", str(AS_OF), *shop.places]) == 0
    said = capsys.readouterr().out
    folder = shop.results / "_plans" / "checkout"
    assert said.startswith((folder / "plan.txt").read_text())
    document = json.loads((folder / "plan.json").read_text())
    found = planned(shop)
    assert document == json.loads(json.dumps(plan_document(found)))
    conversion = document["metrics"][0]
    row = next(line for line in said.splitlines() if line.startswith("Conversion "))
    assert row.split()[1:3] == ["primary", "30.0%"]
    assert f"{conversion['units']:,}" in row
    assert conversion["decided_on"] in row
    assert f"Too short for Conversion: an effect of 5% needs {conversion['units']:,} units" in said
    assert (folder / "plan.png").read_bytes() == plan_chart(found)


def test_what_cannot_be_planned_says_why(shop):
    shop.change("UPDATE purchases SET amount_usd = 0")
    revenue = planned(shop).metrics[1]
    assert revenue.units == revenue.baseline == NotComputed("no value varies, or the covariate explains them all")
    assert "Revenue: not computed, because no value varies" in plan_text(planned(shop))


def test_open_metric_is_not_planned(shop):
    shop.redefine("metrics", "value: amount_usd, window_days: 2", "value: amount_usd, window_days: open")
    assert "followed for different times" in planned(shop).metrics[1].units.reason


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"population": "page_load"},
            "'page_load' is no outcome source of its metrics; there are: purchases, page_loads",
        ),
        ({"share": 0.0}, "share is 0.0; it must be above 0 and at most 1"),
        ({"power": 0.01}, "power is 0.01; it must be above alpha"),
    ],
)
def test_wrong_options_are_refused(shop, options, said):
    with pytest.raises(ValueError, match=said):
        planned(shop, **options)


def test_past_that_is_not_loaded_is_refused(shop):
    with pytest.raises(DataError, match=r"2026-02-08 is not in the load log.* Plan as of an earlier date"):
        planned(shop, as_of=AS_OF + DAY)


def test_past_without_units_is_refused(shop):
    shop.change("DELETE FROM page_loads")
    shop.redefine("sources", "page_loads: {table: page_loads,", "page_loads: {completeness: off, table: page_loads,")
    with pytest.raises(DataError, match="no unit came from 2026-02-02 to before 2026-02-05; take another past"):
        planned(shop, population="page_loads")
