"""A real experiment (K. Hillstrom, 2008) through the whole night, against SciPy and statsmodels in expected.json."""

import datetime as dt
import json
from pathlib import Path

import duckdb
import pytest

from abtest_lib import definitions, pipeline, results, warehouse

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "hillstrom"
TABLES = ("exposures", "visits", "purchases", "customers")
EXACT = {"rel": 1e-9, "abs": 0}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the Hillstrom data is not at {DATA}")


@pytest.fixture(scope="module")
def expected():
    return json.loads((DATA / "expected.json").read_text())


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hillstrom")
    with duckdb.connect(str(folder / "mail.duckdb")) as connection:
        for table in TABLES:
            connection.execute(
                f"CREATE TABLE {table} AS SELECT * FROM read_parquet($file)",  # noqa: S608
                {"file": str(DATA / f"{table}.parquet")},
            )
        # Nothing happens after the two weeks, so only a load log can say that the last day is complete.
        connection.execute("CREATE TABLE load_log AS SELECT UNNEST(['sends', 'visits', 'purchases']) AS source, "
                           "DATE '2008-04-03' AS data_on, TIMESTAMP '2008-04-04 03:00' AS loaded_at")  # fmt: skip
    experiment = definitions.load_experiment(Path(__file__).parent / "experiments", "hillstrom_email")
    with warehouse.connect(folder / "mail.duckdb") as source:
        return pipeline.run(experiment, dt.date(2008, 4, 4), source, folder / "results")


@pytest.fixture(scope="module")
def document(night):
    return results.read_json(night / "results.json")


def comparison(document, metric, variant):
    rows = next(row for row in document["metrics"] if row["metric"] == metric)
    return next(one for one in rows["comparisons"] if one["variant"] == variant)


def test_units_and_sample_ratio_agree(document, expected):
    assert document["exposure"]["units"] == expected["units"]
    assert document["sample_ratio"]["statistic"] == pytest.approx(expected["sample_ratio"]["statistic"], **EXACT)
    assert document["sample_ratio"]["pvalue"] == pytest.approx(expected["sample_ratio"]["pvalue"], **EXACT)


@pytest.mark.parametrize("variant", ["mens_email", "womens_email"])
@pytest.mark.parametrize("metric", ["visit", "conversion"])
def test_proportions_agree(night, document, expected, metric, variant):
    want = expected["comparisons"][variant][metric]
    got = comparison(document, metric, variant)
    assert (got["n_control"], got["n_treatment"]) == (want["n_control"], want["n_treatment"])
    assert got["mean_treatment"] * got["n_treatment"] == pytest.approx(want["successes_treatment"], **EXACT)
    assert got["effect"] == pytest.approx(want["effect"], **EXACT)
    assert got["pvalue"] == pytest.approx(want["pvalue_z_pooled"], **EXACT)
    if metric == "conversion":  # secondary: the interval is at 95 %, that of the primary is Bonferroni-wide
        assert got["effect_interval"] == pytest.approx(want["ci95_newcombe"], **EXACT)


@pytest.mark.parametrize("variant", ["mens_email", "womens_email"])
@pytest.mark.parametrize(("metric", "share"), [("visits", "visit"), ("purchases", "conversion")])
def test_shares_compared_as_means_agree(document, expected, metric, share, variant):
    want = expected["comparisons"][variant][share]
    got = comparison(document, metric, variant)
    assert got["pvalue"] == pytest.approx(want["pvalue_welch"], **EXACT)
    assert got["effect_interval"] == pytest.approx(want["ci95_welch"], **EXACT)


@pytest.mark.parametrize("variant", ["mens_email", "womens_email"])
def test_spend_agrees(document, expected, variant):
    want = expected["comparisons"][variant]["spend"]
    got = comparison(document, "spend", variant)
    assert got["mean_control"] == pytest.approx(want["mean_control"], **EXACT)
    assert got["mean_treatment"] == pytest.approx(want["mean_treatment"], **EXACT)
    assert got["effect"] == pytest.approx(want["effect"], **EXACT)
    assert got["pvalue"] == pytest.approx(want["pvalue_welch"], **EXACT)
    assert got["effect_interval"] == pytest.approx(want["ci95_welch"], **EXACT)


@pytest.mark.parametrize("variant", ["mens_email", "womens_email"])
def test_spend_adjusted_for_last_years_agrees(document, expected, variant):
    want = expected["comparisons"][variant]["spend"]
    got = comparison(document, "spend_adjusted", variant)
    adjustment = got["adjustment"]
    assert adjustment["covariate"] == "customers.pre_year_spend"
    assert adjustment["theta"] == pytest.approx(want["cuped_pre_year_spend"]["theta_within_arm"], **EXACT)
    assert got["effect"] == pytest.approx(want["cuped_pre_year_spend"]["effect"], **EXACT)
    assert adjustment["unadjusted_effect"] == pytest.approx(want["effect"], **EXACT)
    assert adjustment["unadjusted_interval"] == pytest.approx(want["ci95_welch"], **EXACT)
    assert got["mean_control"] == pytest.approx(want["mean_control"], **EXACT)
    assert "CUPED" in got["method"]


def test_only_a_metric_with_a_covariate_has_an_adjustment(document):
    with_one = {row["metric"] for row in document["metrics"] for one in row["comparisons"] if "adjustment" in one}
    assert with_one == {"spend_adjusted"}


@pytest.mark.parametrize("variant", ["mens_email", "womens_email"])
def test_segments_agree(document, expected, variant):
    want = expected["comparisons"][variant]["visit_segments"]
    rows = {f"{row['name']}={row['value']}": row for row in document["segments"]}
    assert rows.keys() == want["segments"].keys()
    for name, segment in want["segments"].items():
        got = next(one for one in rows[name]["comparisons"] if one["variant"] == variant)
        assert got["family_size"] == want["family_size"]
        assert [got["n_control"], got["n_treatment"]] == segment["n"]
        assert got["effect"] == pytest.approx(segment["effect"], **EXACT)
        assert got["pvalue"] == pytest.approx(segment["pvalue_z_pooled"], **EXACT)
        assert got["pvalue_adjusted"] == pytest.approx(segment["pvalue_bonferroni"], **EXACT)


def test_a_window_of_thirteen_days_holds_no_outcome(document):
    got = comparison(document, "visit_too_early", "mens_email")
    assert (got["mean_control"], got["mean_treatment"]) == (0, 0)
    assert "not_computed" in got["pvalue"]


def test_both_e_mails_ship(document):
    assert [one["verdict"] for one in document["verdicts"]] == ["ship", "ship"]
