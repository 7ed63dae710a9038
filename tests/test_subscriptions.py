"""Subscriptions: who gets what, and what is wrong with the file, at its line."""

import dataclasses
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_shop import KEY, Shop

from abtest_lib.definitions import experiment_keys
from abtest_lib.errors import DefinitionError
from abtest_lib.subscriptions import (
    Addresses,
    digest_recipients,
    load_subscriptions,
    recipients,
    team_by_experiment,
)

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
QUIET = {"verdict_changed": False, "guardrail_alarm": False}
CHANGED, ALARM = QUIET | {"verdict_changed": True}, QUIET | {"guardrail_alarm": True}
GOOD = "- {email: [x@example.com], for: all, send: [digest]}\n"


@pytest.fixture
def shop(tmp_path):
    found = Shop(tmp_path)
    found.redefine(KEY, "owner: ana@example.com", "owner: ana@example.com\nteam: payments")
    return found


def subscribe(shop, text):
    (shop.definitions / "subscriptions.yaml").write_text(text, encoding="utf-8")


def problems_of(shop, text):
    subscribe(shop, text)
    with pytest.raises(DefinitionError) as caught:
        load_subscriptions(shop.definitions)
    return str(caught.value).replace(f"{shop.definitions}/subscriptions.yaml:", "").splitlines()


def test_subscriptions_of_the_repository_are_valid_and_no_experiment():
    assert len(load_subscriptions(EXPERIMENTS)) == 4
    assert "subscriptions" not in experiment_keys(EXPERIMENTS)


def test_without_the_file_those_whom_the_experiment_notifies_get_every_night(shop):
    assert load_subscriptions(shop.definitions) == ()
    assert recipients(shop.experiment, QUIET, shop.definitions) == Addresses(
        ("team@example.com", "boss@example.com"), ("#checkout",)
    )
    assert digest_recipients(shop.definitions, "payments") == Addresses()


@pytest.mark.parametrize(("delivery", "also"), [
    (QUIET, ("nightly@example.com",)),
    (CHANGED, ("nightly@example.com", "changes@example.com")),
    (ALARM, ("nightly@example.com", "alarms@example.com")),
    (CHANGED | {"guardrail_alarm": True}, ("nightly@example.com", "changes@example.com", "alarms@example.com")),
])  # fmt: skip
def test_each_kind_is_sent_on_its_occasion(shop, delivery, also):
    subscribe(shop, "".join(
        f"- {{email: {who}@example.com, for: {{teams: [payments]}}, send: {kind}}}\n"
        for who, kind in (("nightly", "nights"), ("changes", "verdict_changes"), ("alarms", "guardrail_alarms"),
                          ("digests", "digest"))
    ))  # fmt: skip
    found = recipients(shop.experiment, delivery, shop.definitions)
    assert found == Addresses(("team@example.com", "boss@example.com", *also), ("#checkout",))


def test_each_address_is_there_once_in_its_first_spelling_and_the_order_is_that_of_the_file(shop):
    subscribe(
        shop,
        """
- {email: [Zoe@example.com, BOSS@example.com], slack: ["#leads", "#checkout"], for: all, send: [nights]}
- {email: [adam@example.com, zoe@example.com], slack: "#a", for: {teams: [payments]}, send: [nights, verdict_changes]}
""",
    )
    assert recipients(shop.experiment, CHANGED, shop.definitions) == Addresses(
        ("team@example.com", "boss@example.com", "Zoe@example.com", "adam@example.com"), ("#checkout", "#leads", "#a")
    )


def test_other_teams_and_experiments_are_not_told(shop):
    (shop.definitions / "other.yaml").write_text("team: other\n")
    subscribe(
        shop,
        """
- {email: [a@example.com], for: {teams: [other]}, send: [nights, digest]}
- {email: [b@example.com], for: {experiments: [other]}, send: [nights]}
""",
    )
    assert recipients(shop.experiment, CHANGED, shop.definitions).email == ("team@example.com", "boss@example.com")
    assert digest_recipients(shop.definitions, "payments").email == ()
    assert digest_recipients(shop.definitions, "other").email == ("a@example.com",)


def test_digest_of_experiments_without_a_team_goes_to_those_who_subscribed_to_all(shop):
    subscribe(shop, GOOD + "- {slack: C0123456789, for: {teams: [payments]}, send: [digest]}\n")
    assert digest_recipients(shop.definitions, None) == Addresses(("x@example.com",), ())
    assert digest_recipients(shop.definitions, "payments") == Addresses(("x@example.com",), ("C0123456789",))


def test_a_night_that_was_collected_with_another_team_is_told_by_that_team(shop):
    subscribe(shop, "- {email: [a@example.com], for: {teams: [payments]}, send: nights}\n")
    moved = dataclasses.replace(shop.experiment, team="risk")
    assert "a@example.com" in recipients(shop.experiment, QUIET, shop.definitions).email
    assert "a@example.com" not in recipients(moved, QUIET, shop.definitions).email


def test_subscriptions_are_not_part_of_the_definition(shop):
    before = shop.experiment.sha256
    subscribe(shop, GOOD)
    assert shop.experiment.sha256 == before


def test_wrong_entry_is_left_out_with_a_warning_and_keeps_nobody_elses_report_back(shop, caplog):
    subscribe(
        shop, "- {email: [no address], for: all, send: nights}\n- {email: [b@example.com], for: all, send: nights}\n"
    )
    with caplog.at_level(logging.WARNING, logger="abtest_lib.subscriptions"):
        found = recipients(shop.experiment, QUIET, shop.definitions)
    assert found.email == ("team@example.com", "boss@example.com", "b@example.com")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("subscriptions.yaml:1: subscriptions[0].email has 'no address'; it must be an e-mail address. "
                         "The entry is left out.")  # fmt: skip


def test_experiment_that_was_deleted_is_told_by_validate_and_stops_no_delivery(shop, caplog):
    text = "- {email: [b@example.com], for: {experiments: [gone, checkout]}, send: nights}\n"
    assert problems_of(shop, text) == [
        "1: subscriptions[0].for.experiments is 'gone', which is not an experiment; there are: checkout."
    ]
    assert recipients(shop.experiment, QUIET, shop.definitions).email[-1] == "b@example.com"
    assert caplog.records == []


def test_all_problems_of_all_entries_are_reported_at_once(shop):
    assert problems_of(
        shop,
        """\
- email: [ana@example]
  for: {team: [payments], experiments: [chekout]}
  send: [nightly, digest]
- slack: [general, "#Leads"]
  for: everything
  send: []
  sent: digest
- for: all
  send: digest
""",
    ) == [
        "1: subscriptions[0].email has 'ana@example'; it must be an e-mail address.",
        "2: subscriptions[0].for.experiments is 'chekout', which is not an experiment; did you mean 'checkout'?",
        "3: subscriptions[0].send is 'nightly', which is not one of nights, verdict_changes, guardrail_alarms, digest; "
        "did you mean 'nights'?",
        "3: subscriptions[0].send holds digest, but a digest is of a team; name teams, or write for: all.",
        "2: subscriptions[0].for.team is not a known key; did you mean 'teams'?",
        "4: subscriptions[1].slack has 'general'; it must be a Slack channel such as '#search', in lower case.",
        "4: subscriptions[1].slack has '#Leads'; it must be a Slack channel such as '#search', in lower case.",
        "5: subscriptions[1].for must be 'all' or a mapping of keys to values.",
        "6: subscriptions[1].send is an empty list; it must hold at least one.",
        "7: subscriptions[1].sent is not a known key; did you mean 'send'?",
        "8: subscriptions[2].email and slack are missing; name at least one address or channel.",
    ]


@pytest.mark.parametrize(("text", "message"), [
    ("", "1: must be a list of mappings, each beginning with '- ' ([] when there is none)."),
    ("# nobody yet\n", "1: must be a list of mappings, each beginning with '- ' ([] when there is none)."),
    ("email: a@example.com\n", "1: must be a list of mappings, each beginning with '- ' ([] when there is none)."),
    ("\n- a@example.com\n", "2: must be a list of mappings, each beginning with '- ' ([] when there is none)."),
    ("- {email: a@example.com, for: {teams: [payment]}, send: digest}\n",
     "1: subscriptions[0].for.teams is 'payment', which is not the team of an experiment; did you mean 'payments'?"),
    ("- {email: a@example.com, for: {}, send: nights}\n",
     "1: subscriptions[0].for names neither teams nor experiments."),
    ("- {email: a@example.com, for: all}\n", "1: subscriptions[0].send is missing."),
    ("- {email: a@example.com, send: nights}\n", "1: subscriptions[0].for is missing."),
    ("- {email: a@example.com, slack: #leads\n  , for: all, send: nights}\n",
     "1: subscriptions[0].slack has no value; give it one or leave the key out (an unquoted # begins a comment)."),
    ("- {email: [a@example.com, a@example.com], for: all, send: nights}\n",
     "1: 'a@example.com' stands more than once in email; name it once."),
    ("- {email: a@example.com, for: all, send: [nights, nights]}\n",
     "1: 'nights' stands more than once in send; name it once."),
    ("- {email: a@example.com, for: all, send: nights}\n- {email: A@example.com, for: all, send: nights}\n",
     "2: subscriptions[1].send gives A@example.com the nights of all experiments a second time; the first is in "
     "line 1."),
    (2 * "- {slack: '#a', for: {teams: [payments]}, send: digest}\n",
     "2: subscriptions[1].send gives #a the digest of team payments a second time; the first is in line 1."),
])  # fmt: skip
def test_wrong_subscription_gets_its_message_at_its_line(shop, text, message):
    assert problems_of(shop, text) == [message]


def test_empty_list_subscribes_nobody(shop):
    subscribe(shop, "[]\n")
    assert load_subscriptions(shop.definitions) == ()


@pytest.mark.parametrize(("text", "team"), [
    ("team: search\n", "search"),
    ('{title: x, "team": "R&D: search # not a comment"}', "R&D: search # not a comment"),
    ("title: x\n", None),
    ("team: 7\n", None),
    ("- team: search\n", None),
    ("title: [\nteam: search # lead: ana\n", "search"),
    ("title: [\nteam: 'two words'\n", "two words"),
    ("subteam: search\ntitle: [\n", None),
    ("team: search\nstarts_on: 2026-02-30\n", "search"),
])  # fmt: skip
def test_team_is_known_of_broken_definitions_too(tmp_path, text, team):
    (tmp_path / "one.yaml").write_text(text)
    assert team_by_experiment(tmp_path) == {"one": team}


def test_notify_of_an_experiment_names_a_slack_channel(shop):
    shop.redefine(KEY, '"#checkout"', '"Checkout team"')
    with pytest.raises(DefinitionError, match=r"notify\.slack is 'Checkout team'; it must be a Slack channel such as"):
        _ = shop.experiment


def test_reading_imports_nothing_heavy():
    code = (
        "import sys, abtest_lib.subscriptions; print(sorted({'numpy', 'scipy', 'duckdb', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)  # noqa: S603
    assert done.stdout.strip() == "[]"
