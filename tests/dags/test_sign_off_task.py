"""The task that asks for a signature, but for the asking itself, which tests/dags/test_night.py sees in Airflow."""

import datetime as dt
from types import SimpleNamespace

import pytest
from abtest_sign_off import SignOffOperator
from airflow.sdk.exceptions import AirflowFailException

from abtest_lib import definitions, failures, pipeline, sign_off
from abtest_lib.warehouse import connect

AS_OF, EVE = dt.date(2026, 3, 5), dt.date(2026, 3, 4)


@pytest.fixture
def shop(monkeypatch, definitions_folder, small_warehouse, tmp_path):
    """The checkout of the other tests, signed by whoever may."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    for name in ("sources", "metrics", "checkout"):
        (folder / f"{name}.yaml").write_text((definitions_folder / f"{name}.yaml").read_text())
    with open(folder / "checkout.yaml", "a") as file:
        file.write("sign_off: true\n")
    monkeypatch.setenv("ABTEST_RESULTS", str(tmp_path / "results"))
    experiment = definitions.load_experiment(folder, "checkout")

    def run(as_of):
        with connect(small_warehouse) as warehouse:
            return pipeline.run(experiment, as_of, warehouse, tmp_path / "results")

    return SimpleNamespace(run=run, experiment=experiment, results=tmp_path / "results")


def task(shop, night):
    made = SignOffOperator(
        task_id="sign_off", experiment_key="checkout", night=str(night), sign_off=shop.experiment.sign_off
    )
    made.as_of = night.parent.name
    return made


def run(run_type="scheduled", *, deliver=False):
    ended = dt.datetime(2026, 3, 5, tzinfo=dt.UTC)
    started = {"start_date": ended + dt.timedelta(minutes=1), "clear_number": 0}
    return {
        "dag_run": SimpleNamespace(run_type=run_type, dag_id="abtest__checkout", run_id="r", **started),
        "params": {"deliver": deliver},
        "data_interval_end": ended,
    }


def answer(option, by="ana"):
    return {"chosen_options": [option], "params_input": {}, "responded_at": dt.datetime.now(dt.UTC),
            "responded_by_user": {"id": by, "name": by}}  # fmt: skip


TIMEOUT = {"error": "The response timeout has passed.", "error_type": "timeout"}


def test_interim_night_passes_without_a_question(shop):
    assert task(shop, shop.run(EVE)).execute(run()) == "Nothing is asked: no verdict is final."


def test_backfill_that_sends_nothing_asks_nothing(shop):
    assert task(shop, shop.run(AS_OF)).execute(run("backfill")) == "Nothing is asked: this backfill sends nothing."


@pytest.mark.parametrize("decision", ["approved", "rejected"])
def test_verdict_that_was_signed_before_is_not_asked_for_again(shop, decision):
    night = shop.run(AS_OF)
    sign_off.sign(night, decision, "ana")
    assert task(shop, night).execute(run()).startswith(f"the verdict was {decision} by ana on ")


def test_question_that_cannot_be_mailed_fails_with_its_reason_on_record(shop, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ABTEST_SMTP", '{"conn_type": "smtp"}')
    night = shop.run(AS_OF)
    with pytest.raises(Exception, match="'abtest_smtp' is incomplete"):
        task(shop, night).execute(run("backfill", deliver=True))
    assert "'abtest_smtp' is incomplete" in failures.read(shop.results, "checkout", AS_OF)["sign_off"]


@pytest.mark.parametrize(("option", "decision"), [("Approve", "approved"), ("Reject", "rejected")])
def test_answer_is_kept_with_who_gave_it(shop, option, decision):
    night = shop.run(AS_OF)
    task(shop, night).execute_complete(run(), answer(option))
    assert sign_off.standing(night) == decision
    assert sign_off.signature(night)["by"] == "ana"


def test_no_answer_in_time_fails_at_once_and_says_what_to_do(shop):
    night = shop.run(AS_OF)
    with pytest.raises(AirflowFailException, match="nobody signed the verdict in time") as caught:
        task(shop, night).execute_complete(run(), TIMEOUT)
    assert failures.read(shop.results, "checkout", AS_OF) == {"sign_off": str(caught.value)}
    assert sign_off.standing(night) == "awaited"


def test_answer_by_hand_while_the_task_waits_counts(shop):
    night = shop.run(AS_OF)
    sign_off.sign(night, "approved", "ana")
    assert "approved by ana" in task(shop, night).execute_complete(run(), TIMEOUT)


def test_task_waits_as_long_as_the_definition_says(shop):
    made = task(shop, shop.run(EVE))
    assert made.response_timeout == dt.timedelta(hours=12)
    assert made.defaults is None  # no answer is no approval
