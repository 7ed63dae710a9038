"""The form for runs by hand: what it refuses, a dry run that publishes nothing, a run that does, and their mails."""

from pathlib import Path

import pytest

from abtest_lib import results
from demo.airflow_local import connections
from demo.receivers import MailReceiver, SlackReceiver
from tests.small_shop import AS_OF, KEY, Shop, content

REPOSITORY = Path(__file__).resolve().parents[2]
# Of Airflow's own test server, which runs the tasks here, and of how it reads plugins/.airflowignore.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient` is deprecated"),
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern"),
]
NIGHT = {"experiment": KEY, "as_of": str(AS_OF)}
REASON = "purchases of u1 were a test"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A shop, a mailbox, and an Airflow that has no process of its own."""
    from airflow.utils.db import initdb

    folder = tmp_path_factory.mktemp("adhoc")
    shop = Shop(folder)
    with MailReceiver(folder / "mail") as mail, SlackReceiver(folder / "slack") as slack:
        env = {
            **shop.environment,
            **connections(mail, slack),
            "ABTEST_RETRY_SECONDS": "0",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            initdb()
            yield shop, mail


@pytest.fixture
def dag(places):
    """Read anew each time: a run in this process leaves its form in the DAG."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(REPOSITORY / "dags" / "abtest_adhoc.py"))
    assert bag.import_errors == {}
    return bag.dags["abtest_adhoc"]


@pytest.fixture
def shop(places):
    """The night is published with the definition as it was; then the definition is corrected."""
    shop, _ = places
    if not shop.current():
        shop.run()
        shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.9")
    return shop


@pytest.fixture
def trigger(dag, shop):
    """Trigger a run with a form; its state, and the states of its tasks."""

    def run(**form):
        ended = dag.test(run_conf={**NIGHT, **form})
        return str(ended.state), {task.task_id: str(task.state) for task in ended.get_task_instances()}

    return run


@pytest.fixture
def new_mails(places):
    """Mails that have come since the test began."""
    _, mail = places
    before = len(mail.messages)
    return lambda: [received for received in mail.messages[before:]]


@pytest.mark.parametrize(("form", "message"), [
    ({"experiment": None}, "None is not of type 'string'"),
    ({"experiment": "chekout"}, "'chekout' is not one of"),
    ({"experiment": "../checkout"}, "is not one of"),
    ({"as_of": None}, "None is not of type 'string'"),
    ({"as_of": "yesterday"}, "'yesterday' is not a 'date'"),
    ({"as_of": "2026-02-30"}, "'2026-02-30' is not a 'date'"),
    ({"since": "2026-2-1"}, "'2026-2-1' is not a 'date'"),
    ({"dry_run": "no"}, "'no' is not of type 'boolean'"),
    ({"dry_run": False, "reason": "again"}, "'again' is too short"),
    ({"reason": "x" * 501}, "is too long"),
    ({"recipients": "ana@example.com"}, "is not of type 'null', 'array'"),
    ({"recipients": ["ana"]}, "'ana' does not match"),
    ({"recipients": ["ana@example.com, ben@example.com"]}, "does not match"),
    ({"recipients": ["ana@example.com"] * 2}, "has non-unique elements"),
    ({"accept_incomplete": [1]}, "1 is not of type 'string'"),
])  # fmt: skip
def test_form_refuses_before_there_is_a_run(dag, form, message):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match=message):
        dag.test(run_conf={**NIGHT, **form})


@pytest.mark.parametrize(("form", "message"), [
    ({"as_of": "2026-05-01"}, "checkout: 2026-05-01 is none of its nights; its nights are 2026-02-03 to 2026-02-08."),
    ({"dry_run": False}, "checkout: reason has fewer than 10 letters; a run that publishes must say why."),
    ({"dryrun": False}, "checkout: 'dryrun' is no field of the form; there are: experiment, as_of, since, dry_run, "),
])  # fmt: skip
def test_check_refuses_before_any_work(trigger, shop, form, message, capsys):
    before = content(shop.results)
    assert trigger(**form) == (
        "failed",
        {"check": "failed", "dry_run": "upstream_failed", "publish": "upstream_failed", "deliver": "upstream_failed"},
    )
    assert f"DefinitionError: {message}" in capsys.readouterr().out
    assert content(shop.results) == before


def test_dry_run_keeps_the_preview_and_changes_nothing_else(trigger, shop, new_mails):
    before = content(shop.results)
    assert trigger(since="2026-02-07") == (
        "success",
        {"check": "success", "dry_run": "success", "publish": "skipped", "deliver": "skipped"},
    )
    after = content(shop.results)
    assert set(after) - set(before) == {f"_previews/{KEY}.json"}
    assert {name: after[name] for name in before} == before
    kept = results.read_json(shop.results / "_previews" / f"{KEY}.json")
    assert [night["as_of"] for night in kept["nights"]] == ["2026-02-07", "2026-02-08"]
    assert kept["nights"][1]["changes"] == [{"variant": "treatment", "before": "ship", "after": "do_not_ship"}]
    assert new_mails() == []


def test_dry_run_is_mailed_as_a_preview_to_those_named_once(trigger, shop, new_mails):
    for _ in range(2):
        assert trigger(recipients=["boss@example.com"])[1]["deliver"] == "success"
    (mail,) = new_mails()
    assert mail.recipients == ("boss@example.com",)
    assert mail.message["Subject"] == "PREVIEW, by hand: checkout: 1 of 1 verdict would change"
    text = mail.message.get_content()
    assert text.startswith("A preview, sent by hand. Nothing of it is published")
    assert "  treatment: ship -> do_not_ship" in text


def test_run_is_published_with_its_reason_and_mailed_to_those_named_alone(trigger, shop, new_mails):
    first = shop.current()
    form = {"dry_run": False, "reason": REASON, "recipients": ["dee@example.com", "eve@example.com"]}
    assert trigger(**form) == (
        "success",
        {"check": "success", "dry_run": "skipped", "publish": "success", "deliver": "success"},
    )
    night = shop.current()
    assert night != first
    assert results.publications(night.parent)[-1] == {
        "revision": night.name, "replaces": first.name, "reason": REASON
    }  # fmt: skip
    mails = new_mails()
    assert [mail.recipients for mail in mails] == [("dee@example.com",), ("eve@example.com",)]
    assert mails[0].message["Subject"].startswith("By hand: ✖ DO NOT SHIP")
    # Again, as after a clear: nothing is sent twice, and no line is added.
    assert trigger(**form)[0] == "success"
    assert (len(new_mails()), len(results.publications(night.parent))) == (2, 2)


def test_night_that_cannot_be_computed_is_red_and_publishes_nothing(trigger, shop, new_mails):
    shop.change("CREATE TABLE kept AS FROM load_log", "DELETE FROM load_log WHERE data_on = DATE '2026-02-06'")
    before = content(shop.results)
    try:
        state, tasks = trigger(as_of="2026-02-07", dry_run=False, reason=REASON, recipients=["dee@example.com"])
    finally:
        shop.change("DELETE FROM load_log", "INSERT INTO load_log FROM kept", "DROP TABLE kept")
    assert (state, tasks["publish"], tasks["deliver"]) == ("failed", "failed", "upstream_failed")
    assert (content(shop.results), new_mails()) == (before, [])


def test_form_has_a_field_for_each_parameter_and_cannot_be_taken_for_a_night(dag):
    schemas = {name: dag.params.get_param(name).schema for name in dag.params}
    assert schemas["experiment"]["enum"] == [KEY]
    assert (schemas["as_of"]["format"], schemas["dry_run"]["type"]) == ("date", "boolean")
    assert dag.params.get_param("dry_run").value is True
    assert dag.params.get_param("recipients").value == []
    assert all({"title", "description_md"} <= set(schema) for schema in schemas.values())
    assert {kind.value for kind in dag.allowed_run_types} == {"manual"}
    assert not dag.dag_id.startswith("abtest__")
    assert (dag.max_active_runs, sorted(dag.tags)) == (4, ["abtest", "by hand"])
