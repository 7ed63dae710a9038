"""A ratio's whole way: definition, warehouse, moments, reading; against a regression on the events themselves."""

import math

import duckdb
import numpy as np
import pytest
from scipy import stats
from small_shop import AS_OF, KEY, Shop
from statsmodels.regression.linear_model import OLS

from abtest_lib import definitions, pipeline, results
from abtest_lib.errors import DataError, DefinitionError
from abtest_lib.warehouse import connect

# Page loads of the two days after the exposure.
EVENTS = """
    SELECT variant, unit_id, latency_ms, platform
    FROM page_loads JOIN exposures USING (unit_id) LEFT JOIN customers USING (unit_id)
    WHERE occurred_at >= exposed_at AND occurred_at < exposed_at + INTERVAL 2 DAY
    ORDER BY unit_id, occurred_at"""
SIDES = """
waited_ms:
  {title: Waited, kind: mean, source: page_loads, value: latency_ms, window_days: 2, lag_days: 1, better: lower,
   nulls: drop}
loads: {title: Page loads, kind: count, source: page_loads, window_days: 1, lag_days: 2, better: higher}
ms_per_load: {title: Wait per page load, kind: ratio, numerator: waited_ms, denominator: loads, better: lower, unit: ms}
"""


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    # A number of loads that differs between units, and to which the latency is related.
    shop.change("DELETE FROM page_loads WHERE hash(unit_id || occurred_at::VARCHAR) % 3 = 0 AND latency_ms > 105")
    path = shop.definitions / "metrics.yaml"
    path.write_text(path.read_text() + SIDES)
    shop.redefine(KEY, "secondary: [revenue_per_user]", "secondary: [ms_per_load]")
    shop.redefine(KEY, "{metric: latency_ms, margin: 0.1}", "{metric: revenue_per_user, margin: 0.5}")
    return shop


def clustered(shop, variant):
    """Mean over events and its squared error, robust to clusters of the same unit, by statsmodels."""
    with duckdb.connect(str(shop.warehouse), read_only=True) as source:
        rows = [row for row in source.execute(EVENTS).fetchall() if row[0] == variant]
        (exposed,) = source.execute("SELECT COUNT(*) FROM exposures WHERE variant = ?", [variant]).fetchone()
    values = np.array([row[2] for row in rows])
    _, groups = np.unique([row[1] for row in rows], return_inverse=True)
    fit = OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    # Units without an event add 0 to the spread, but they are units.
    return float(fit.params[0]), float(fit.bse[0]) ** 2 * exposed / (exposed - 1), exposed


def comparison(shop, kind="significance", title="Wait per page load"):
    night = shop.run()
    found = results.read_json(night / f"{kind}.json")
    metrics = found["metrics"] if kind == "significance" else found
    return next(metric for metric in metrics if metric["title"] == title)["comparisons"][0]


def test_a_ratio_is_the_mean_over_events_with_the_error_of_clusters(shop):
    # Both windows are of two days here, as in EVENTS.
    shop.redefine("metrics", "window_days: 1, lag_days: 2", "window_days: 2, lag_days: 1")
    one = comparison(shop)
    (control, error_control, n_control), (treatment, error_treatment, n_treatment) = (
        clustered(shop, name) for name in ("control", "treatment")
    )
    assert (one["n_control"], one["n_treatment"]) == (n_control, n_treatment) == (200, 200)
    assert one["mean_control"] == pytest.approx(control, rel=1e-12)
    assert one["effect"] == pytest.approx(treatment - control, rel=1e-9)
    assert one["standard_error"] == pytest.approx(math.sqrt(error_control + error_treatment), rel=1e-9)
    assert one["relative_effect"] == pytest.approx(treatment / control - 1, rel=1e-9)
    df = (error_control + error_treatment) ** 2 / sum(e**2 / 199 for e in (error_control, error_treatment))
    expected = 2 * stats.t.sf(abs(treatment - control) / math.sqrt(error_control + error_treatment), df)
    assert one["pvalue"] == pytest.approx(expected, rel=1e-7)
    assert one["method"].startswith("delta method clustered on the unit")


def test_a_ratio_waits_for_the_side_that_matures_later(shop):
    shop.redefine("metrics", "window_days: 1, lag_days: 2", "window_days: 3, lag_days: 2")
    metric = shop.experiment.metrics["ms_per_load"]
    assert (metric.window_days, metric.lag_days, metric.maturity_days) == (3, 2, 5)
    assert shop.experiment.decides_on == shop.experiment.ends_on + (AS_OF - shop.experiment.ends_on)
    maturity = results.read_json(shop.run() / "exposure.json")["maturity"]
    (waiting,) = [sum(row["waiting"].values()) for row in maturity if row["metric"] == "ms_per_load"]
    assert waiting > 0


def test_a_ratio_may_be_primary_guardrail_and_looked_at_every_night(shop):
    shop.redefine(KEY, "primary: [conversion]", "primary: [ms_per_load]")
    shop.redefine(KEY, "secondary: [ms_per_load]", "looks: pocock\nminimum_days: 1")
    night = shop.run()
    document = results.read_json(night / "results.json")
    (one,) = document["metrics"][0]["comparisons"]
    assert one["looks"] == 3
    segments = {row["value"] for row in document["segments"] if row["metric"] == "ms_per_load"}
    assert segments == {"(unknown)", "android", "ios"}
    shop.redefine(KEY, "primary: [ms_per_load]", "primary: [conversion]")
    shop.redefine(KEY, "{metric: revenue_per_user, margin: 0.5}", "{metric: ms_per_load, margin: 0.5}")
    guarded = comparison(shop, "guardrails")
    assert guarded["outcome"] == "safe"
    assert "clustered on the unit" in guarded["method"]


def test_a_ratio_without_a_denominator_is_not_computed_and_says_so(shop):
    shop.change("DELETE FROM page_loads WHERE unit_id IN (SELECT unit_id FROM exposures WHERE variant = 'treatment')")
    assert comparison(shop)["not_computed"] == "of the treatment: the denominator is zero in total"


def test_rows_without_a_value_on_either_side_are_refused_unless_declared(shop):
    shop.redefine("metrics", "value: latency_ms, window_days: 2, lag_days: 1, better: lower,\n   nulls: drop}\nloads",
                  "value: latency_ms, window_days: 2, lag_days: 1, better: lower}\nloads")  # fmt: skip
    shop.change("UPDATE page_loads SET latency_ms = NULL WHERE unit_id = 'u4'")
    with connect(shop.warehouse) as warehouse, pytest.raises(DataError, match="metric waited_ms: 2 rows have no"):
        pipeline.collect(shop.experiment, AS_OF, warehouse, shop.results)


def test_a_ratio_keeps_its_sides_in_the_definition_of_the_night(shop):
    experiment = shop.experiment
    assert definitions.experiment_from_json(experiment.as_json()) == experiment
    assert set(experiment.outcomes) == {"purchases", "page_loads"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("numerator: waited_ms", "numerator: waitd_ms",
         "ms_per_load.numerator is 'waitd_ms', which is not a metric of metrics.yaml that counts or adds up; did you "
         "mean 'waited_ms'?"),
        ("numerator: waited_ms", "numerator: latency_ms", "'latency_ms', which is not a metric of metrics.yaml that "
         "counts or adds up;"),
        ("numerator: waited_ms", "numerator: ms_per_load", "'ms_per_load', which is not a metric of metrics.yaml that "
         "counts or adds up;"),
        ("numerator: waited_ms", "numerator: loads", "denominator is 'loads', the numerator too; their ratio is"),
        ("numerator: waited_ms, ", "", "ms_per_load.numerator is missing."),
        ("denominator: loads, ", "denominator: loads, window_days: 2, ", "ms_per_load.window_days is not a known key"),
    ],
)  # fmt: skip
def test_a_wrong_ratio_is_refused_at_its_line(shop, old, new, says):
    shop.redefine("metrics", old, new)
    with pytest.raises(DefinitionError) as problem:
        definitions.load_experiment(shop.definitions, KEY)
    (line,) = str(problem.value).splitlines()
    assert says in line
    assert "metrics.yaml:1" in line or "metrics.yaml:2" in line
