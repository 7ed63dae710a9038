"""The command line: verbs, exit status, and what is said where."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_shop import AS_OF, KEY, Shop, content

from abtest_lib import cli, results
from demo.receivers import MailReceiver, SlackReceiver

NIGHT = ["--as-of", str(AS_OF)]
NAMES = [verb.name for verb in cli.VERBS]
STEPS = ("sample_ratio", "significance", "segments", "guardrails", "decide", "report")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    found = Shop(tmp_path)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("ABTEST_SMTP", "ABTEST_SLACK_TOKEN", "ABTEST_SLACK_URL"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def abtest(shop, capsys):
    """Run a verb; its status, and the lines it wrote to stdout and stderr."""

    def run(*arguments):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


@pytest.mark.parametrize("verb", cli.VERBS, ids=lambda verb: verb.name)
def test_every_verb_explains_itself(abtest, verb):
    status, out, err = abtest(verb.name, "--help")
    text = "\n".join(out)
    assert (status, err) == (0, [])
    assert text.startswith(f"usage: abtest {verb.name} ")
    assert verb.long.split(".")[0].split()[0] in text
    assert "exit status: 0 done; 1" in text


def test_help_names_every_verb(abtest):
    status, out, _ = abtest("--help")
    assert status == 0
    assert all(any(line.split()[:1] == [name] for line in out) for name in NAMES)


def test_every_step_of_the_night_is_a_verb():
    from abtest_lib import pipeline

    assert {*pipeline.STEPS, "outcomes_ready", "deliver_email", "deliver_slack"} <= set(NAMES)


def test_version_is_printed(abtest):
    assert abtest("--version") == (0, ["abtest 0.1.0"], [])


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "abtest: error: the following arguments are required: VERB"),
    (["analyse"], "abtest: error: argument VERB: invalid choice: 'analyse'"),
    (["run"], "abtest run: error: the following arguments are required: experiment, --as-of"),
    (["run", KEY], "abtest run: error: the following arguments are required: --as-of"),
    (["run", KEY, "--as-of", "2026-02-30"], "abtest run: error: argument --as-of: '2026-02-30' is no date; write it "
                                            "as 2026-03-03"),
    (["run", KEY, "--as-of", "yesterday"], "abtest run: error: argument --as-of: 'yesterday' is no date; write it as "
                                           "2026-03-03"),
    (["run", KEY, "--as-of", "0001-01-01"], "abtest run: error: argument --as-of: 0001-01-01 is no night; it must be "
                                            "between 1990 and 2199"),
    (["run", KEY, "--as-of", "9999-12-31"], "abtest run: error: argument --as-of: 9999-12-31 is no night; it must be "
                                            "between 1990 and 2199"),
    (["list", KEY], "abtest: error: unrecognized arguments: checkout"),
])  # fmt: skip
def test_wrong_use_is_status_2(abtest, arguments, message):
    status, out, err = abtest(*arguments)
    assert (status, out) == (2, [])
    assert err[-1].startswith(message)


def test_list_shows_dates_and_titles(abtest):
    assert abtest("list") == (
        0,
        ["checkout                 enrols 2026-02-02 to 2026-02-05, decides on 2026-02-08  Shorter checkout"],
        [],
    )


def test_list_shows_the_good_ones_beside_a_broken_one(shop, abtest):
    (shop.definitions / "alone.yaml").write_text("title: Alone\n")
    status, out, err = abtest("list")
    assert (status, err, len(out)) == (1, [], 2)
    assert out[0].startswith(f"alone                    broken: {shop.definitions}/alone.yaml:1: variants is missing.")
    assert out[1].startswith("checkout                 enrols")


def test_validate_accepts_good_definitions(abtest):
    assert abtest("validate") == (0, ["checkout: valid; decides on 2026-02-08"], [])
    assert abtest("validate", KEY) == (0, ["checkout: valid; decides on 2026-02-08"], [])


def test_validate_shows_every_problem_and_goes_on(shop, abtest):
    (shop.definitions / "alone.yaml").write_text("title: [\n")
    (shop.definitions / "early.yaml").write_text(
        (shop.definitions / "checkout.yaml").read_text().replace("02-05", "02-01")
    )
    assert abtest("validate") == (
        1,
        ["checkout: valid; decides on 2026-02-08"],
        [f"{shop.definitions}/alone.yaml:2: is not valid YAML: expected the node content, but found '<stream end>'.",
         f"{shop.definitions}/early.yaml:5: ends_on is 2026-02-01; it must be later than starts_on, 2026-02-02."],
    )  # fmt: skip


def test_validate_says_a_problem_of_the_shared_files_once(shop, abtest):
    (shop.definitions / "second.yaml").write_text((shop.definitions / "checkout.yaml").read_text())
    shop.redefine("metrics", "better: lower", "better: less")
    status, out, err = abtest("validate")
    assert (status, out) == (1, [])
    assert err == [f"{shop.definitions}/metrics.yaml:8: latency_ms.better is 'less'; it must be one of higher, lower."]


def test_validate_of_an_empty_folder_is_a_failure(tmp_path, abtest):
    (tmp_path / "empty").mkdir()
    assert abtest("validate", "--experiments", tmp_path / "empty") == (
        1, [], [f"abtest: {tmp_path}/empty: holds no experiment; put one there, or give --experiments."])  # fmt: skip


def test_validate_and_list_need_no_warehouse(shop, abtest):
    shop.warehouse.unlink()
    assert abtest("validate")[0] == abtest("list")[0] == 0


WITHOUT_ONE_EXPERIMENT_AND_NIGHT = {"list", "validate", "assign", "digest", "late", "replay", "preview", "cost",
                                        "archive"}  # fmt: skip


@pytest.mark.parametrize("verb", sorted({*NAMES} - WITHOUT_ONE_EXPERIMENT_AND_NIGHT))
def test_unknown_experiment_is_status_1_with_the_nearest_name(shop, abtest, verb):
    more = ["--approve", "--by", "ana"] if verb == "sign" else []
    assert abtest(verb, "chekout", *NIGHT, *more) == (
        1, [], [f"abtest: {shop.definitions}: no experiment 'chekout'; did you mean 'checkout'?"])  # fmt: skip


@pytest.mark.parametrize("verb", [*STEPS, "deliver_email", "deliver_slack"])
def test_step_before_its_night_says_what_to_run_first(shop, abtest, verb):
    first = "run" if verb.startswith("deliver") else "collect"
    assert abtest(verb, KEY, *NIGHT) == (
        1,
        [],
        [
            f"abtest: checkout, 2026-02-08: {shop.results} holds no such night; run 'abtest {first} checkout --as-of "
            f"2026-02-08' first."
        ],
    )


def test_step_out_of_turn_names_the_missing_file(abtest):
    abtest("collect", KEY, *NIGHT)
    status, out, (message,) = abtest("report", KEY, *NIGHT)
    assert (status, out) == (1, [])
    assert "results.json" in message


def test_ready_night_is_status_0(abtest):
    assert abtest("outcomes_ready", KEY, *NIGHT) == (0, ["checkout, 2026-02-08: all sources are complete"], [])


def test_night_that_waits_is_status_3_and_collect_status_1(abtest):
    assert abtest("outcomes_ready", KEY, "--as-of", "2026-02-09") == (
        3,
        [f"checkout, 2026-02-09: waits for {source}: 2026-02-08 is not in the load log; expected by 2026-02-09 03:00 "
         "UTC, usual 03:00" for source in ("assignments", "purchases", "page_loads")],
        [],
    )  # fmt: skip
    status, out, err = abtest("collect", KEY, "--as-of", "2026-02-09")
    assert (status, out) == (1, [])
    assert err[0].startswith("abtest: checkout, 2026-02-09: the data is not complete: assignments: 2026-02-08")


def test_run_prints_the_verdict_and_the_report(shop, abtest):
    status, out, err = abtest("run", KEY, *NIGHT)
    assert (status, err) == (0, [])
    assert out == [
        "checkout, 2026-02-08: treatment: ship (primary_better, guardrails_safe)",
        f"  {shop.current()}/report.html",
    ]


def test_run_since_runs_every_night_up_to_the_last(shop, abtest):
    status, out, _ = abtest("run", KEY, *NIGHT, "--since", "2026-02-06")
    assert status == 0
    assert [line.split(":")[0] for line in out[::2]] == [f"checkout, 2026-02-0{day}" for day in (6, 7, 8)]
    assert "treatment: keep_running until 2026-02-08 (immature)" in out[0]


def test_reason_is_kept_with_the_revision_that_it_is_for(shop, abtest):
    abtest("run", KEY, *NIGHT)
    first = shop.current()
    shop.change("DELETE FROM purchases WHERE unit_id = 'u1'",
                "UPDATE load_log SET loaded_at = loaded_at + INTERVAL 1 HOUR")  # fmt: skip
    assert abtest("run", KEY, *NIGHT, "--reread", "--reason", "u1 is a test account")[0] == 0
    assert shop.current() != first
    assert results.publications(first.parent) == [
        {"revision": first.name, "replaces": None, "reason": None},
        {"revision": shop.current().name, "replaces": first.name, "reason": "u1 is a test account"},
    ]


def test_reason_without_writing_is_refused(abtest):
    abtest("run", KEY, *NIGHT)
    assert abtest("replay", KEY, "--reason", "a correction of the method") == (
        1, [], ["abtest: --reason says why nights are published anew; give it together with --write."])  # fmt: skip


def test_run_since_a_later_night_is_refused(abtest):
    assert abtest("run", KEY, *NIGHT, "--since", "2026-02-09") == (
        1, [], ["abtest: --since is 2026-02-09; it must not be later than --as-of, 2026-02-08."])  # fmt: skip


def test_preview_says_what_would_change_and_publishes_nothing(shop, abtest):
    abtest("run", KEY, *NIGHT, "--since", "2026-02-07")
    published = [shop.current(), content(shop.current())]
    assert abtest("preview", KEY)[:2] == (0, [
        "checkout, 2026-02-07: same",
        "checkout, 2026-02-08: same",
        "checkout: 0 of 2 verdicts would change",
        f"  {shop.results}/_previews/checkout.json",
    ])  # fmt: skip
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.9")
    status, out, err = abtest("preview", KEY, "--from", "2026-02-08", "--to", "2026-02-09")
    assert (status, err) == (0, [])
    assert out[0].startswith("checkout, 2026-02-08: ")
    assert out[1:3] == ["  treatment: ship -> do_not_ship", "checkout: 1 of 1 verdict would change"]
    assert [shop.current(), content(shop.current())] == published


def test_preview_goes_on_after_a_night_that_cannot_be_computed_with_status_0(shop, abtest):
    abtest("run", KEY, *NIGHT)
    shop.change("DELETE FROM load_log WHERE data_on = DATE '2026-02-06'")
    status, out, _ = abtest("preview", KEY, "--from", "2026-02-06")
    assert status == 0
    assert out[3].startswith("checkout, 2026-02-07: cannot be computed: the data is not complete: assignments: 2026-0")
    assert out[-2] == "checkout: 0 of 1 verdict would change; 1 night would be new; 1 night cannot be computed"


def test_preview_sees_rows_that_were_changed_in_place_when_they_are_read_anew(shop, abtest):
    abtest("run", KEY, *NIGHT)
    shop.change("UPDATE purchases SET amount_usd = 3 * amount_usd WHERE unit_id = 'u1'")
    assert abtest("preview", KEY)[1][0] == "checkout, 2026-02-08: same"
    assert abtest("preview", KEY, "--reread")[1][0].endswith(" values would change")


@pytest.mark.parametrize(("options", "message"), [
    ([], "abtest: checkout: {results} holds no published night of it; give --from and --to."),
    (["--from", "2026-02-09", "--to", "2026-02-07"], "abtest: checkout: no night from 2026-02-09 to 2026-02-07; its "
                                                     "nights are 2026-02-03 to 2026-02-08."),
    (["--from", "2026-02-07", "--to", "2026-02-08", "--accept-incomplete", "clicks"],
     "abtest: checkout: 'clicks' is no outcome source of it, so it cannot be accepted as it is; there are: purchases, "
     "page_loads."),
])  # fmt: skip
def test_preview_of_nothing_is_refused(shop, abtest, options, message):
    assert abtest("preview", KEY, *options) == (1, [], [message.format(results=shop.results)])
    assert not (shop.results / "_previews").exists()


@pytest.mark.parametrize("verb", ["preview", "replay"])
def test_range_of_an_unknown_experiment_is_status_1(shop, abtest, verb):
    message = f"abtest: {shop.definitions}: no experiment 'chekout'; did you mean 'checkout'?"
    assert abtest(verb, "chekout", "--from", "2026-02-08") == (1, [], [message])


def test_steps_of_a_broken_split_say_that_they_withhold(shop, abtest):
    shop.change("DELETE FROM exposures WHERE variant = 'treatment' AND substr(unit_id, 2)::INTEGER > 200")
    for verb in ("collect", "sample_ratio"):
        assert abtest(verb, KEY, *NIGHT)[0] == 0
    for verb in ("significance", "segments", "guardrails"):
        assert abtest(verb, KEY, *NIGHT) == (
            0,
            ["checkout, 2026-02-08: withheld, because units did not fall into the variants as designed, so no "
             "difference "
             "can be trusted"],
            [],
        )  # fmt: skip


def test_no_warehouse_given_is_told(abtest, monkeypatch):
    monkeypatch.delenv("ABTEST_WAREHOUSE")
    assert abtest("run", KEY, *NIGHT) == (
        1,
        [],
        ["abtest: no warehouse is given; set ABTEST_WAREHOUSE or --warehouse to the path of a DuckDB file."],
    )


@pytest.mark.parametrize(("place", "value", "message"), [
    ("--warehouse", "gone.duckdb", "abtest: warehouse gone.duckdb: cannot be opened (IO Error: Cannot open database"),
    ("--warehouse", "mysql://warehouse/analytics", "abtest: location begins with 'mysql://'; it must be a DuckDB "
                                                   "file, or begin with postgresql://, snowflake://, spark:// or sc://."),
    ("--results", "/dev/null/results", "abtest: [Errno 20] Not a directory: '/dev/null/results/"),
    ("--experiments", "/dev/null", "abtest: /dev/null: is not a folder; set ABTEST_EXPERIMENTS to the folder of the "
                                   "definitions."),
])  # fmt: skip
def test_place_that_is_none_is_status_1_without_a_traceback(abtest, place, value, message):
    status, out, err = abtest("run", KEY, *NIGHT, place, value)
    assert (status, out) == (1, [])
    assert err[0].startswith(message)
    assert not any("Traceback" in line for line in err)


def test_delivery_without_settings_names_the_variable(abtest):
    abtest("run", KEY, *NIGHT)
    assert abtest("deliver_email", KEY, *NIGHT)[2][0].startswith("abtest: ABTEST_SMTP is not set to a mail server; ")
    assert abtest("deliver_slack", KEY, *NIGHT)[2] == [
        "abtest: ABTEST_SLACK_TOKEN is not set; it must be the token of a Slack app (chat:write, files:write)."
    ]


def test_delivery_says_who_got_it_and_the_second_time_nobody(abtest, tmp_path, monkeypatch):
    abtest("run", KEY, *NIGHT)
    with MailReceiver(tmp_path / "mail") as mail, SlackReceiver(tmp_path / "slack") as chat:
        monkeypatch.setenv("ABTEST_SMTP", f"smtp://{mail.host}:{mail.port}?security=none")
        monkeypatch.setenv("ABTEST_SLACK_TOKEN", "xoxb-test")
        monkeypatch.setenv("ABTEST_SLACK_URL", chat.url)
        assert abtest("deliver_email", KEY, *NIGHT) == (0, ["sent to team@example.com, boss@example.com"], [])
        assert abtest("deliver_slack", KEY, *NIGHT) == (0, ["sent to #checkout"], [])
        assert abtest("deliver_email", KEY, *NIGHT) == (0, ["nobody new to send to"], [])
        assert abtest("deliver_slack", KEY, *NIGHT) == (0, ["nobody new to send to"], [])


def test_mail_by_hand_goes_to_those_named_and_the_nightly_one_still_to_its_own(abtest, tmp_path, monkeypatch):
    abtest("run", KEY, *NIGHT)
    with MailReceiver(tmp_path / "mail") as mail:
        monkeypatch.setenv("ABTEST_SMTP", f"smtp://{mail.host}:{mail.port}?security=none")
        by_hand = ["deliver_email", KEY, *NIGHT, "--mail-to", "boss@example.com", "--mail-to", "eve@example.com"]
        assert abtest(*by_hand, "--reason", "for Monday") == (0, ["sent to boss@example.com, eve@example.com"], [])
        assert abtest("deliver_email", KEY, *NIGHT) == (0, ["sent to team@example.com, boss@example.com"], [])
        assert abtest("preview", KEY, "--mail-to", "eve@example.com")[1][-1] == "sent to eve@example.com"
        subjects = [received.message["Subject"] for received in mail.messages]
    assert [subject.partition(":")[0] for subject in subjects] == [
        "By hand",
        "By hand",
        "✔ SHIP",
        "✔ SHIP",
        "PREVIEW, by hand",
    ]


@pytest.mark.parametrize(("arguments", "status", "message"), [
    (["deliver_email", KEY, *NIGHT, "--reason", "x"], 1, "abtest: --reason stands on top of a mail by hand; give it "
                                                         "together with --mail-to."),
    (["preview", KEY, "--mail-to", "ana"], 2, "abtest preview: error: argument --mail-to: 'ana' is no e-mail address"),
    (["preview", KEY, "--mail-to", "ana@example.com"], 1, "abtest: ABTEST_SMTP is not set to a mail server; "),
])  # fmt: skip
def test_wrong_mail_by_hand_is_told_before_any_work(shop, abtest, arguments, status, message):
    abtest("run", KEY, *NIGHT)
    found, out, err = abtest(*arguments)
    assert (found, out) == (status, [])
    assert err[-1].startswith(message)
    assert not (shop.results / "_previews").exists()


def test_installed_command_is_this_one(shop):
    command = Path(sys.executable).with_name("abtest")
    found = subprocess.run([command, "validate"], capture_output=True, text=True, check=False)  # noqa: S603
    assert (found.returncode, found.stdout, found.stderr) == (0, "checkout: valid; decides on 2026-02-08\n", "")
