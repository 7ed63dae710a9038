import datetime as dt
import os
from pathlib import Path

import pytest

from abtest_lib import definitions

REPOSITORY = Path(__file__).resolve().parents[2]
UPSTREAM = {
    "outcomes_ready": set(),
    "collect": {"outcomes_ready"},
    "sample_ratio": {"collect"},
    "significance": {"sample_ratio"},
    "segments": {"sample_ratio"},
    "guardrails": {"sample_ratio"},
    "decide": {"significance", "segments", "guardrails"},
    "report": {"decide"},
    "deliver_email": {"report"},
    "deliver_slack": {"report"},
}
# The DAGs that are there whatever the experiments are.
OTHERS = ("abtest_adhoc", "abtest_deadline", "abtest_digest")


@pytest.fixture(scope="module")
def ours(described):
    return described(REPOSITORY / "experiments")


@pytest.fixture(scope="module")
def mixed(described, definitions_folder):
    return described(definitions_folder, ABTEST_RETRY_SECONDS="3")


def test_every_experiment_of_the_repository_has_its_dag(ours):
    keys = definitions.experiment_keys(REPOSITORY / "experiments")
    assert ours["errors"] == {}
    assert sorted(ours["dags"]) == [*(f"abtest__{key}" for key in keys), *OTHERS]


def test_parsing_imports_no_heavy_library(ours):
    assert ours["imported"] == []


def test_a_night_has_the_steps_in_order(mixed):
    tasks = mixed["dags"]["abtest__checkout"]["tasks"]
    assert set(tasks) == {*UPSTREAM, "alert_owner"}
    for step, before in UPSTREAM.items():
        assert set(tasks[step]["upstream"]) == before, step
    # When these have ended, however they did, so has everything before them.
    ends = {"significance", "segments", "guardrails", "deliver_email", "deliver_slack"}
    assert set(tasks["alert_owner"]["upstream"]) == ends


def test_decide_runs_after_withheld_analyses_but_not_after_failed_ones(mixed):
    tasks = mixed["dags"]["abtest__checkout"]["tasks"]
    assert tasks["decide"]["rule"] == "none_failed"
    assert {tasks[step]["rule"] for step in UPSTREAM if step != "decide"} == {"all_success"}


def test_alert_waits_for_all_tasks_and_has_no_say_in_the_state_of_the_run(mixed):
    alert = mixed["dags"]["abtest__checkout"]["tasks"]["alert_owner"]
    assert alert["teardown"]
    assert alert["rule"] == "all_done_setup_success"


def test_nights_run_from_the_first_day_of_data_to_the_deciding_night(mixed):
    dag = mixed["dags"]["abtest__checkout"]
    assert dag["timetable"] == "NightsTimetable"
    # The interval [4 March, 5 March) is the night as of 5 March = decides_on; runs are dated by their start.
    assert dt.datetime.fromisoformat(dag["start"]) == dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
    assert dt.datetime.fromisoformat(dag["end"]) == dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
    assert not dag["catchup"]
    assert dag["max_active_runs"] == 1
    assert dag["dagrun_hours"] == 48


def test_manual_runs_are_left_to_the_timetable_to_refuse(mixed):
    assert mixed["dags"]["abtest__checkout"]["allowed_run_types"] == ["backfill", "manual", "scheduled"]
    assert {mixed["dags"][f"abtest__{key}"]["timetable"] for key in ("checkout", "typo")} == {
        "NightsTimetable",
        "DataDaysTimetable",
    }


def test_every_task_is_retried_except_after_errors_that_would_come_again(mixed):
    for task_id, task in mixed["dags"]["abtest__checkout"]["tasks"].items():
        assert task["retries"] == 2
        assert task["retry_seconds"] == 3
        assert task["fails_at_once"] == ["abtest_lib.errors.DefinitionError,abtest_lib.errors.DataError"]
        assert task["minutes"] == (None if task_id == "outcomes_ready" else 20)
        assert task["owner"] == "ana@example.com"
        assert task["from_trigger"] == (task_id == "outcomes_ready")


def test_a_backfill_delivers_nothing_unless_asked(mixed):
    assert mixed["dags"]["abtest__checkout"]["params"] == {
        "deliver": False,
        "accept_incomplete": [],
        "reason": None,
    }


def test_documentation_shows_the_analysts_words_as_text(mixed):
    dag = mixed["dags"]["abtest__checkout"]
    assert "&lt;b&gt;visitors&lt;/b&gt; finish \\| their order." in dag["doc"]
    assert "2026-03-05" in dag["doc"]
    assert dag["tags"] == ["abtest", "ana@example.com", "payments"]


def test_documentation_holds_the_runbook_for_whoever_finds_a_red_task(mixed):
    doc = mixed["dags"]["abtest__checkout"]["doc"]
    for task_id in ("outcomes_ready", "definition", "collect", "deliver_*", "alert_owner"):
        assert f"``{task_id}``" in doc.partition("A task is red")[2]
    assert "Run a past night again" in doc
    assert "ABTEST_WAREHOUSE" not in doc


def test_a_broken_file_becomes_one_failing_dag_and_hides_no_other(mixed):
    assert mixed["errors"] == {}
    keys = ("banner", "checkout", "refund_flow", "tonight", "typo")
    assert sorted(mixed["dags"]) == [*(f"abtest__{key}" for key in keys), *OTHERS]
    broken = mixed["dags"]["abtest__typo"]
    assert set(broken["tasks"]) == {"definition", "alert_owner"}
    assert "broken" in broken["tags"]
    assert "typo.yaml" in broken["doc"]


@pytest.mark.parametrize("name", ["sources.yaml", "metrics.yaml"])
def test_a_broken_catalogue_breaks_every_experiment_visibly(described, tmp_path, definitions_folder, name):
    for path in definitions_folder.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text() if path.name != name else "- not: [a, mapping")
    found = described(tmp_path)
    assert found["errors"] == {}
    for name in ("deadline", "digest"):
        assert found["dags"].pop(f"abtest_{name}")["tags"] == ["abtest", name]
    assert found["dags"].pop("abtest_adhoc")["tags"] == ["abtest", "by hand"]
    assert len(found["dags"]) == 5
    assert all("broken" in dag["tags"] for dag in found["dags"].values())


def test_a_task_parses_only_its_own_dag(described, definitions_folder):
    found = described(definitions_folder, _AIRFLOW_PARSING_CONTEXT_DAG_ID="abtest__checkout")
    # The other DAGs are in files of their own, which a task of an experiment does not read.
    assert sorted(found["dags"]) == ["abtest__checkout", *OTHERS]


def test_a_removed_experiment_keeps_its_tasks_while_a_run_may_be_under_way(described, definitions_folder, tmp_path):
    for key, days_ago in (("checkout", 0), ("removed", 2), ("forgotten", 4), ("_digest", 0), ("no key", 0)):
        folder = tmp_path / key
        folder.mkdir()
        written = dt.datetime.now() - dt.timedelta(days=days_ago)
        os.utime(folder, (written.timestamp(), written.timestamp()))
    found = described(definitions_folder, ABTEST_RESULTS=str(tmp_path))["dags"]
    gone = {dag_id: dag for dag_id, dag in found.items() if "gone" in dag["tags"]}
    assert list(gone) == ["abtest__removed"]
    assert set(gone["abtest__removed"]["tasks"]) == {*UPSTREAM, "alert_owner"}
    assert gone["abtest__removed"]["end"].startswith("2020-01-01")  # nothing is scheduled
    assert "gone" not in found["abtest__checkout"]["tags"]


def test_a_task_of_a_removed_experiment_finds_its_dag(described, definitions_folder):
    found = described(definitions_folder, _AIRFLOW_PARSING_CONTEXT_DAG_ID="abtest__removed")
    assert sorted(found["dags"]) == ["abtest__removed", *OTHERS]


def test_tasks_that_ask_the_warehouse_share_its_pool(mixed):
    ours = ("abtest__checkout", "abtest_digest", "abtest_deadline", "abtest_adhoc")
    pools = {task_id: task["pool"] for dag_id in ours for task_id, task in mixed["dags"][dag_id]["tasks"].items()}
    asking = {"collect", "digest.write", "tell_late", "dry_run", "publish"}
    assert {task_id for task_id, pool in pools.items() if pool == "abtest_warehouse"} == asking
    assert {pool for task_id, pool in pools.items() if task_id not in asking} == {"default_pool"}


def test_nights_under_way_come_before_new_ones_and_what_has_its_hour_before_both(mixed):
    night = {task_id: task["priority"] for task_id, task in mixed["dags"]["abtest__checkout"]["tasks"].items()}
    assert night["outcomes_ready"] < night["collect"] < night["sample_ratio"] < night["report"] < night["alert_owner"]
    hours = (
        mixed["dags"]["abtest_digest"]["tasks"]["digest.write"],
        mixed["dags"]["abtest_deadline"]["tasks"]["tell_late"],
    )
    assert min(task["priority"] for task in hours) > max(night.values())


def test_no_task_carries_a_copy_of_what_the_form_asks(mixed):
    # Airflow validates each copy while it serialises: of 1,000 experiments that took two thirds of the time.
    for dag_id in ("abtest__checkout", "abtest__typo"):
        assert "deliver" in mixed["dags"][dag_id]["params"]
        assert {tuple(task["params"]) for task in mixed["dags"][dag_id]["tasks"].values()} == {()}


def test_catalogue_is_read_once_for_all_experiments(described, tmp_path, definitions_folder):
    for name in ("sources.yaml", "metrics.yaml"):
        (tmp_path / name).write_text((definitions_folder / name).read_text())
    keys = [f"checkout_{number}" for number in range(50)]
    for key in keys:
        (tmp_path / f"{key}.yaml").write_text((definitions_folder / "checkout.yaml").read_text())
    found = described(tmp_path)
    assert sum(dag_id.startswith("abtest__") for dag_id in found["dags"]) == 50
    assert found["read"] == {f"{name}.yaml": 1 for name in ("sources", "metrics", *keys)}


def test_task_reads_its_own_definition_alone(described, definitions_folder):
    found = described(definitions_folder, _AIRFLOW_PARSING_CONTEXT_DAG_ID="abtest__checkout")
    assert found["read"] == {"sources.yaml": 1, "metrics.yaml": 1, "checkout.yaml": 1}


def test_digest_is_written_for_each_team_and_each_channel_waits_only_for_that(mixed):
    tasks = mixed["dags"]["abtest_digest"]["tasks"]
    assert {name: set(task["upstream"]) for name, task in tasks.items()} == {
        "subscriptions": set(),
        "teams": set(),
        "digest.write": {"teams"},
        "digest.deliver_email": {"teams", "digest.write"},
        "digest.deliver_slack": {"teams", "digest.write"},
        "alert": {"subscriptions", "digest.deliver_email", "digest.deliver_slack"},
    }
    assert tasks["alert"]["teardown"]
    assert {(task["retries"], task["minutes"]) for task in tasks.values()} == {(2, 20)}


def test_digest_follows_the_nights_one_at_a_time_and_delivers_no_backfill_unless_asked(mixed):
    dag = mixed["dags"]["abtest_digest"]
    assert (dag["timetable"], dag["catchup"], dag["max_active_runs"]) == ("AssetOrTimeSchedule", False, 1)
    assert dag["params"] == {"deliver": False}
    assert dag["allowed_run_types"] == ["asset_triggered", "backfill", "manual", "scheduled"]


@pytest.mark.parametrize("name", ["ABTEST_DIGEST_HOUR", "ABTEST_DEADLINE_HOUR"])
def test_wrong_hour_is_told_and_keeps_no_experiment_back(described, definitions_folder, name):
    found = described(definitions_folder, **{name: "24"})
    (error,) = found["errors"].values()
    assert f"{name} is '24'; it must be an hour from 0 to 23 (UTC)." in error
    assert sum(dag_id.startswith("abtest__") for dag_id in found["dags"]) == 5


def test_deadline_is_no_matter_of_backfills_and_manual_runs(mixed):
    dag = mixed["dags"]["abtest_deadline"]
    assert (dag["timetable"], dag["catchup"], dag["max_active_runs"]) == ("CronDataIntervalTimetable", False, 1)
    assert dag["allowed_run_types"] == ["scheduled"]
    assert {(name, task["retries"]) for name, task in dag["tasks"].items()} == {("tell_late", 2)}


def test_verdict_is_signed_between_report_and_delivery_where_the_definition_says_so(mixed):
    tasks = mixed["dags"]["abtest__tonight"]["tasks"]
    assert tasks["sign_off"]["upstream"] == ["report"]
    assert tasks["deliver_email"]["upstream"] == tasks["deliver_slack"]["upstream"] == ["sign_off"]
    assert tasks["sign_off"]["rule"] == tasks["deliver_email"]["rule"] == "all_success"
    assert (tasks["sign_off"]["owner"], tasks["sign_off"]["retries"]) == ("tom@example.com", 2)
