"""The command line ``abtest``: every task of the night is a verb, run by the same code as in Airflow."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import itertools
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from abtest_lib import __version__, definitions, results
from abtest_lib.errors import DataError, DefinitionError

FAILED, WRONG_USE, NOT_READY = 1, 2, 3

DESCRIPTION = """\
Nightly analysis of A/B experiments. A night is named by the date --as-of: it reads data before 00:00 UTC of that
date, so the last day of data is the day before.

A whole night by hand:            abtest run one_page_checkout --as-of 2026-03-03
The same, one step at a time:     abtest collect … ; abtest sample_ratio … ; abtest significance … ; abtest segments … ;
                                  abtest guardrails … ; abtest decide … ; abtest report …
Then, if people are to get it:    abtest deliver_email … ; abtest deliver_slack …
The digest of every team:         abtest digest --as-of 2026-03-03 --deliver
What would past nights say now?   abtest preview one_page_checkout
Past nights, without a warehouse: abtest replay one_page_checkout
"""
EPILOG = """\
environment:
  ABTEST_EXPERIMENTS   folder of the definitions          (or --experiments; default: experiments)
  ABTEST_RESULTS       folder of all results              (or --results; default: results)
  ABTEST_WAREHOUSE     path of the DuckDB file            (or --warehouse)
  ABTEST_SMTP          smtp://USER:PASSWORD@HOST:PORT?security=starttls&sender=ADDRESS
  ABTEST_SLACK_TOKEN   token of a Slack app (chat:write, files:write)

exit status: 0 done; 1 a definition, the warehouse or a delivery failed; 2 wrong use; 3 the data is not complete yet
"""

VERBS = {
    "list": ("list the experiments with their dates",
             "One line for each experiment of the folder: key, enrolment, when it decides, title."),
    "validate": ("check definitions, without a warehouse",
                 "Reads sources.yaml, metrics.yaml and the experiments (all of them if none is named) and prints every "
                 "problem as FILE:LINE: what is wrong and what it must be."),
    "plan": ("how many units and days does an experiment need?",
             "Reads mean, variance and new units a day from the warehouse, and says what the smallest effect that "
             "matters and each guardrail need, and what the planned days can show, by the tests of the night. The past "
             "is the control of the experiment itself, of another one (--like), or everybody with a row in an outcome "
             "source (--population). Writes plan.txt, plan.json and plan.png to RESULTS/_plans/EXPERIMENT."),
    "run": ("run a whole night: collect to report",
            "Runs all steps of one night, and with --since also the nights before it. Nothing is sent. A night that is "
            "there already with the same definition and data is written again with the same bytes."),
    "outcomes_ready": ("are all sources complete for the night?",
                       "Prints the sources that are not complete for the last day of data; exit status 3 if there are "
                       "any."),
    "collect": ("read exposures and outcomes from the warehouse",
                "Checks the data, reads counts and moments of mature units, and opens the night's revision. Writes "
                "definition.json, exposure.json and moments.parquet."),
    "sample_ratio": ("did units fall into the variants as designed?",
                     "Chi-squared test of the units against the designed weights. Writes sample_ratio.json."),
    "significance": ("compare primary and secondary metrics",
                     "Effect, interval and, at the horizon, p-value of each treatment. Writes significance.json."),
    "segments": ("compare within segments, Bonferroni-corrected",
                 "The primary metrics within each value of each segment. Writes segments.json."),
    "guardrails": ("test guardrails against their margins",
                   "Safe, harmful, or not yet either, for each guardrail and treatment. Writes guardrails.json."),
    "decide": ("give each treatment its verdict", "Writes results.json, which holds every number of the night."),
    "report": ("write the report", "Writes the mail, the full page, text, Markdown, Slack message, charts and all "
                                   "numbers, and makes this revision the current one of its night."),
    "deliver_email": ("mail the current report", "Sends the night's current report to notify.email and to those who "
                                                 "subscribe (subscriptions.yaml), each recipient once. With --mail-to "
                                                 "only to the addresses given, marked as sent by hand."),
    "deliver_slack": ("post the current report", "Posts the night's current report to notify.slack and the channels of "
                                                 "subscriptions.yaml, once each."),
    "digest": ("write the digest of each team for a night",
               "One line for each experiment, the most urgent first, to RESULTS/_digest/DATE/TEAM. With --deliver it "
               "is sent to those who subscribe to it, each once; nothing is sent when nothing changed."),
    "preview": ("which verdicts would a corrected definition change?",
                "Computes each night with today's definition and the data as of that night, and says what would differ "
                "from what is published: verdicts, primary effects, how many other values. Nothing is published and "
                "nothing is sent; the result is also kept in RESULTS/_previews. To publish it: abtest run … --since … "
                "--reason …, or a backfill in Airflow. Exit status 0 whatever it finds."),
    "sign": ("sign the verdict of a night",
             "Approves or rejects the final verdict of the night's current report, where the definition has sign_off. "
             "A final verdict that is not approved is sent to nobody; deliver_email and deliver_slack say so."),
    "late": ("which nights are not done?",
             "Prints the experiments that have neither a report nor a failure for the night, with the source that each "
             "waits for; exit status 3 if there are any. With --deliver their owners and the people under alerts in "
             "sources.yaml are told, each once a night."),
    "replay": ("compute past nights again from what they kept",
               "Takes the moments that were collected, not the warehouse, and says of each published night whether it "
               "comes out the same to the digit with this version of abtest, or what moved; exit status 1 if anything "
               "did. With --write the reports are written anew: a night that moved gets a revision beside the "
               "published one and becomes current when that is whole. Nothing is sent."),
    "assign": ("which variant do units get?",
               "Prints the variant of each unit named, '-' for one that is not in the experiment, or with --sql the "
               "statement that assigns the units of a table, for the experiment's assignment (docs/assignment.md)."),
    "verify": ("compare a night with a computation from the raw tables",
               "Reads the whole history of the experiment and compares it with what nights have kept: counts must be "
               "equal, moments to the last digits. Exit status 1, and what differs, if they are not. Rows that were "
               "changed in place are read with `abtest run --reread`."),
    "cost": ("list what nights have read of the warehouse",
             "Rows, bytes and seconds by night and source, as they were read. A source that an earlier experiment of "
             "the night has read costs the next one nothing."),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Parameters
    ----------
    arguments : sequence of str, optional
        The process's own by default.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SystemExit
        On wrong use, and for ``--help`` and ``--version``.

    Examples
    --------
    >>> main(["validate", "one_page_checkout", "--experiments", "experiments"])
    one_page_checkout: valid; decides on 2026-03-03
    0
    """
    options = _parser().parse_args(arguments)
    try:
        return options.verb(options)
    except (DefinitionError, DataError, OSError, RuntimeError, ValueError) as error:
        print(f"abtest: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("abtest", description=DESCRIPTION, epilog=EPILOG, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"abtest {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, (short, long) in VERBS.items():
        given = {"list": "", "validate": " one_page_checkout", "digest": " --as-of 2026-03-03 --team payments",
                 "late": " --as-of 2026-03-03",
                 "sign": " one_page_checkout --as-of 2026-03-03 --approve --by ana",
                 "assign": " one_page_checkout u17 u18", "replay": " one_page_checkout --from 2026-02-24",
                 "preview": " one_page_checkout --from 2026-02-24", "cost": " --since 2026-03-01"}  # fmt: skip
        given = given.get(name, " one_page_checkout --as-of 2026-03-03")
        description = f"{textwrap.fill(long, 110)}\n\nexample: abtest {name}{given}"
        verb = verbs.add_parser(name, help=short, description=description, epilog=EPILOG, formatter_class=form)
        verb.set_defaults(verb=_VERBS.get(name) or _night_step(name))
        if name == "validate":
            verb.add_argument("experiment", nargs="*", help="keys; all experiments if none is named")
        elif name == "cost":
            verb.add_argument("--since", type=_date, metavar="DATE", help="the first night; default: all")
        elif name != "list":
            if name not in ("digest", "late"):
                verb.add_argument("experiment", help="the experiment's key: the name of its file without .yaml")
            if name in ("replay", "preview"):
                _add_range(verb)
            elif name == "assign":
                _add_assign(verb)
            else:
                verb.add_argument("--as-of", required=True, type=_date, metavar="DATE",
                                  help="the night: data before 00:00 UTC of this date, such as 2026-03-03")  # fmt: skip
        if name == "sign":
            _add_sign(verb)
        if name == "late":
            verb.add_argument("--deliver", action="store_true", help="also tell owners and the people on call")
        if name == "digest":
            which = verb.add_mutually_exclusive_group()
            which.add_argument("--team", help="only this team; all teams unless given")
            which.add_argument("--no-team", action="store_true", help="only the experiments without a team")
            verb.add_argument("--deliver", action="store_true", help="also send it to those who subscribe to it")
        if name == "plan":
            _add_plan(verb)
        _add_choices(name, verb)
        _add_places(verb)
    return parser


def _add_assign(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("units", nargs="*", help="ids of units")
    verb.add_argument("--sql", metavar="DIALECT", help="duckdb, postgres, spark, snowflake, bigquery, ...")
    verb.add_argument("--table", default="visitors", help="with --sql: the table of the units")
    verb.add_argument("--unit", default="unit_id", metavar="COLUMN", help="with --sql: the column of their ids")


def _add_plan(verb: argparse.ArgumentParser) -> None:
    past = verb.add_mutually_exclusive_group()
    past.add_argument("--population", metavar="SOURCE", help="an outcome source: everybody with a row in it")
    past.add_argument("--like", metavar="EXPERIMENT", help="another experiment: its control")
    verb.add_argument("--share", type=float, default=1.0, help="part of the units that is let in; default: 1")
    verb.add_argument("--power", type=float, default=0.8, help="wanted of each comparison; default: 0.8")


def _add_sign(verb: argparse.ArgumentParser) -> None:
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("--approve", dest="decided", action="store_const", const="approved")
    what.add_argument("--reject", dest="decided", action="store_const", const="rejected")
    verb.add_argument("--by", required=True, metavar="NAME", help="who signs")


def _add_choices(name: str, verb: argparse.ArgumentParser) -> None:
    if name in ("run", "collect", "outcomes_ready", "preview"):
        verb.add_argument("--accept-incomplete", action="append", default=[], metavar="SOURCE",
                          help="analyse although this source's last day is not whole; recorded")  # fmt: skip
    if name in ("run", "collect"):
        verb.add_argument("--leave-out-late", action="append", default=[], metavar="SOURCE",
                          help="leave out secondary metrics of this source if it is late; recorded")  # fmt: skip
    if name in ("run", "collect", "preview"):
        verb.add_argument("--reread", action="store_true",
                          help="read the experiment's sources anew: rows were changed in place")  # fmt: skip
    if name == "run":
        verb.add_argument("--since", type=_date, metavar="DATE", help="also run the nights from this date on")
    if name == "replay":
        verb.add_argument("--write", action="store_true", help="write the reports anew")
    if name in ("run", "replay"):
        verb.add_argument("--reason", metavar="TEXT",
                          help="why; kept in published.jsonl of each night that gets another revision")  # fmt: skip
    if name == "deliver_email":
        verb.add_argument("--reason", metavar="TEXT", help="why; stands on top of a mail by hand")
    if name in ("preview", "deliver_email"):
        verb.add_argument("--mail-to", action="append", default=[], type=_address, metavar="ADDRESS",
                          help="send it by hand to this address alone; may be repeated")  # fmt: skip


def _add_range(verb: argparse.ArgumentParser) -> None:
    for name, dest, word in (("--from", "since", "first"), ("--to", "until", "last")):
        verb.add_argument(name, dest=dest, type=_date, metavar="DATE",
                          help=f"the {word} night; default: the {word} there is")  # fmt: skip


def _add_places(verb: argparse.ArgumentParser) -> None:
    for name, default in (("experiments", "experiments"), ("results", "results"), ("warehouse", None)):
        variable = f"ABTEST_{name.upper()}"
        verb.add_argument(f"--{name}", default=os.environ.get(variable) or default, metavar="PATH",
                          help=f"default: {variable}, else {default or 'none'}")  # fmt: skip


def _date(text: str) -> dt.date:
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no date; write it as 2026-03-03") from None
    if not 1990 <= date.year < 2200:
        raise argparse.ArgumentTypeError(f"{text} is no night; it must be between 1990 and 2199")
    return date


def _address(text: str) -> str:
    from abtest_lib.yaml_fields import EMAIL

    if not EMAIL[0].fullmatch(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no e-mail address")
    return text


def _list(options: argparse.Namespace) -> int:
    status = 0
    for key in definitions.experiment_keys(options.experiments):
        try:
            e = definitions.load_experiment(options.experiments, key)
        except DefinitionError as error:
            print(f"{key:24} broken: {str(error).splitlines()[0]}")
            status = FAILED
        else:
            print(f"{key:24} enrols {e.starts_on} to {e.ends_on}, {_decides(e)}  {e.title}")
    return status


def _decides(experiment: definitions.Experiment) -> str:
    if experiment.looks == "horizon":
        return f"decides on {experiment.decides_on}"
    return f"looks from {experiment.first_look_on}, decides by {experiment.decides_on}"


def _validate(options: argparse.Namespace) -> int:
    problems: list[str] = []
    found: list[definitions.Experiment] = []
    keys = options.experiment or definitions.experiment_keys(options.experiments)
    if not keys:
        raise DefinitionError(f"{options.experiments}: holds no experiment; put one there, or give --experiments.")
    for key in keys:
        try:
            experiment = definitions.load_experiment(options.experiments, key)
        except DefinitionError as error:
            problems += [line for line in str(error).splitlines() if line not in problems]
        else:
            found.append(experiment)
            print(f"{key}: valid; {_decides(experiment)}")
    problems += _shared_layers(found, options.experiments)
    if not options.experiment:
        problems += _wrong_subscriptions(options.experiments)
    for problem in problems:
        print(problem, file=sys.stderr)
    return FAILED if problems else 0


def _shared_layers(experiments: Sequence[definitions.Experiment], folder: str) -> list[str]:
    """Experiments that enrol at the same time from the same part of a layer."""
    problems = []
    for other, one in itertools.combinations(experiments, 2):
        layers = [e.assignment.layer if e.assignment else None for e in (one, other)]
        if None in layers or layers[0].name != layers[1].name:
            continue
        start, end = max(layer.start for layer in layers), min(layer.end for layer in layers)
        if start < end and one.starts_on < other.ends_on and other.starts_on < one.ends_on:
            problems.append(
                f"{Path(folder) / one.key}.yaml: layer {layers[0].name} is taken from {start:g} to {end:g} by "
                f"{other.key} as well, which enrols at the same time; give them parts of the layer that do not overlap."
            )
    return problems


def _wrong_subscriptions(folder: str) -> list[str]:
    from abtest_lib.subscriptions import load_subscriptions

    try:
        found = load_subscriptions(folder)
    except DefinitionError as error:
        return str(error).splitlines()
    if found:
        print(f"subscriptions: valid; {len(found)} {'entry' if len(found) == 1 else 'entries'}")
    return []


def _run(options: argparse.Namespace) -> int:
    from abtest_lib import pipeline

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    first = options.since or options.as_of
    if first > options.as_of:
        raise ValueError(f"--since is {first}; it must not be later than --as-of, {options.as_of}.")
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    with _warehouse(options) as warehouse:
        _reread(options, experiment, warehouse)
        for number in range((options.as_of - first).days + 1):
            day = first + dt.timedelta(days=number)
            accepted, reason = options.accept_incomplete, options.reason
            night = pipeline.run(experiment, day, warehouse, options.results, metrics, accepted, reason,
                                 options.leave_out_late)  # fmt: skip
            _print_verdicts(night)
    return 0


def _assign(options: argparse.Namespace) -> int:
    from abtest_lib.assignment import assigned_variant, assignment_sql

    assignment = definitions.load_experiment(options.experiments, options.experiment).assignment
    if assignment is None:
        raise DefinitionError(f"{Path(options.experiments) / options.experiment}.yaml has no assignment; give it one.")
    if options.sql:
        print(assignment_sql(assignment, options.table, options.unit, options.sql))
    for unit in options.units:
        print(f"{unit}\t{assigned_variant(unit, assignment) or '-'}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from abtest_lib.plan import plan
    from abtest_lib.report import plan as printed

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    like = options.like and definitions.load_experiment(options.experiments, options.like)
    past = {"population": options.population, "like": like, "share": options.share, "power": options.power}
    with _warehouse(options) as warehouse:
        found = plan(experiment, options.as_of, warehouse, **past)
    folder, said = Path(options.results) / "_plans" / experiment.key, printed.plan_text(found)
    results.write_bytes(folder / "plan.txt", said.encode())
    results.write_json(folder / "plan.json", printed.plan_document(found))
    results.write_bytes(folder / "plan.png", printed.plan_chart(found))
    print(f"{said}\n  {folder / 'plan.png'}")
    return 0


def _print_verdicts(night: Path) -> None:
    from abtest_lib import decision

    document = results.read_json(night / "results.json")
    for one in document["verdicts"]:
        print(f"{document['experiment']['key']}, {document['as_of']}: {decision.one_line(one)}")
    print(f"  {night / 'report.html'}")


def _outcomes_ready(options: argparse.Namespace) -> int:
    from abtest_lib import pipeline

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    with _warehouse(options) as warehouse:
        waiting = pipeline.outcomes_ready(experiment, options.as_of, warehouse, options.results, metrics)
    waiting = pipeline.blocking(experiment, waiting, options.accept_incomplete)
    for one in waiting:
        print(f"{experiment.key}, {options.as_of}: waits for {one.source}: {one.reason}")
    if not waiting:
        print(f"{experiment.key}, {options.as_of}: all sources are complete")
    return NOT_READY if waiting else 0


def _collect(options: argparse.Namespace) -> int:
    from abtest_lib import pipeline

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    with _warehouse(options) as warehouse:
        _reread(options, experiment, warehouse)
        print(pipeline.collect(experiment, options.as_of, warehouse, options.results, metrics,
                               options.accept_incomplete, options.leave_out_late))  # fmt: skip
    return 0


def _reread(options: argparse.Namespace, experiment: definitions.Experiment, warehouse) -> None:
    if options.reread:
        from abtest_lib.collection import forget_sources

        forget_sources(experiment, warehouse, options.results)


def _verify(options: argparse.Namespace) -> int:
    from abtest_lib.verify import verify

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    with _warehouse(options) as warehouse:
        found = verify(experiment, options.as_of, warehouse, options.results, metrics)
    where = f"{experiment.key}, {options.as_of}"
    if not found.problems:
        print(f"{where}: equal to the raw tables: {found.rows:,} rows of moments, the largest difference by rounding "
              f"is {found.largest_difference:.1g} of a spread")  # fmt: skip
        return 0
    for problem in found.problems[:20]:
        print(f"{where}: {problem}")
    print(f"{where}: {len(found.problems):,} differences. If rows were changed in place, read them anew: "
          f"abtest run {experiment.key} --as-of {options.as_of} --reread")  # fmt: skip
    return FAILED


def _cost(options: argparse.Namespace) -> int:
    from abtest_lib.state.store import readings

    rows = [row for row in readings(options.results) if not options.since or row["as_of"] >= str(options.since)]
    print(f"{'night':12}{'source':20}{'days':>5}{'rows':>15}{'MB':>10}{'seconds':>9}  read by")
    for as_of, source in sorted({(row["as_of"], row["source"]) for row in rows}):
        own = [row for row in rows if (row["as_of"], row["source"]) == (as_of, source)]
        days, by = len({day for row in own for day in row["days"]}), sorted({row["experiment"] for row in own})
        print(f"{as_of:12}{source:20}{days:5}{_cost_columns(own)}  {', '.join(by)}")
    print(f"{'all':12}{'':25}{_cost_columns(rows)}")
    return 0


def _cost_columns(rows: list[dict]) -> str:
    read, size, seconds = (sum(row[name] for row in rows) for name in ("rows", "bytes", "seconds"))
    return f"{read:15,}{size / 1e6:10,.1f}{seconds:9.1f}"


def _warehouse(options: argparse.Namespace):
    from abtest_lib.warehouse import connect

    if not options.warehouse:
        raise ValueError("no warehouse is given; set ABTEST_WAREHOUSE or --warehouse to the path of a DuckDB file.")
    return connect(options.warehouse)


def _night(options: argparse.Namespace, pointer: str, first: str) -> Path:
    definitions.load_experiment(options.experiments, options.experiment)  # an unknown key gets its own message
    night = results.night_folder(options.results, options.experiment, options.as_of, pointer)
    if night is None:
        raise FileNotFoundError(
            f"{options.experiment}, {options.as_of}: {options.results} holds no such night; run 'abtest {first} "
            f"{options.experiment} --as-of {options.as_of}' first."
        )
    return night


def _night_step(name: str) -> Callable[[argparse.Namespace], int]:
    def step(options: argparse.Namespace) -> int:
        from abtest_lib import pipeline

        try:
            print(getattr(pipeline, name)(_night(options, results.COLLECTED, "collect")))
        except pipeline.Withheld as reason:
            print(reason)
        return 0

    return step


def _deliver_email(options: argparse.Namespace) -> int:
    from abtest_lib import by_hand, delivery, settings

    if options.mail_to:
        night, server = _night(options, results.CURRENT, "run"), settings.smtp_server()
        return _print_delivered(by_hand.mail_report(night, server, options.mail_to, options.reason))
    if options.reason:
        raise ValueError("--reason stands on top of a mail by hand; give it together with --mail-to.")
    return _print_delivered(_delivered(delivery.deliver_email, settings.smtp_server, options))


def _deliver_slack(options: argparse.Namespace) -> int:
    from abtest_lib import delivery, settings

    return _print_delivered(_delivered(delivery.deliver_slack, settings.slack_endpoint, options))


def _delivered(deliver: Callable, server: Callable, options: argparse.Namespace) -> list[str]:
    return deliver(_night(options, results.CURRENT, "run"), server(), options.experiments)


def _digest(options: argparse.Namespace) -> int:
    from abtest_lib import digest

    teams = digest.teams(options.experiments)
    if options.team and options.team not in teams:
        raise ValueError(f"no experiment is of team '{options.team}'; there are: {', '.join(filter(None, teams))}.")
    wanted = [options.team] if options.team else [None] if options.no_team else []
    wanted = wanted or digest.teams(options.experiments, options.as_of)
    if not wanted:
        print(f"{options.as_of}: no experiment is running or was decided in the last days")
    with _warehouse(options) if options.warehouse else contextlib.nullcontext() as warehouse:
        for team in wanted:
            folder = digest.write(options.experiments, options.results, options.as_of, team=team, warehouse=warehouse)
            quiet = results.read_json(folder / "delivery.json")["quiet"]
            print(f"{team or 'no team'}: {f'quiet: {quiet}' if quiet else 'news'}\n  {folder / 'digest.html'}")
            if options.deliver:
                _deliver_digest(folder, options.experiments)
    return 0


def _preview(options: argparse.Namespace) -> int:
    from abtest_lib import by_hand, preview, settings

    experiment = definitions.load_experiment(options.experiments, options.experiment)
    metrics = definitions.load_catalogue(options.experiments).metrics.values()
    server = settings.smtp_server() if options.mail_to else None
    days = preview.nights(experiment, options.results, options.since, options.until)
    found = []
    with _warehouse(options) as warehouse:
        _reread(options, experiment, warehouse)
        accepted = options.accept_incomplete
        for one in preview.preview(experiment, days, warehouse, options.results, metrics, accepted):
            print("\n".join(f"{experiment.key}, {line}" if line[0] != " " else line for line in one.lines))
            found.append(one)
    path = preview.write(experiment, found, options.results)
    print(f"{experiment.key}: {preview.sentence(found)}\n  {path}")
    if server:
        lines = by_hand.preview_lines(experiment.key, found)
        _print_delivered(by_hand.mail_preview(experiment.key, lines, server, options.mail_to, options.results))
    return 0


def _sign(options: argparse.Namespace) -> int:
    from abtest_lib import sign_off

    definitions.load_experiment(options.experiments, options.experiment)
    night = results.night_folder(options.results, options.experiment, options.as_of)
    if night is None:
        raise FileNotFoundError(f"{options.experiment}, {options.as_of}: has no report yet; run the night first.")
    sign_off.sign(night, options.decided, options.by)
    print(f"{options.experiment}, {options.as_of}: {sign_off.said(night)}")
    _print_verdicts(night)
    return 0


def _late(options: argparse.Namespace) -> int:
    from abtest_lib import deadlines, settings

    places = {"experiments_folder": options.experiments, "results_folder": options.results}
    with _warehouse(options) if options.warehouse else contextlib.nullcontext() as warehouse:
        late = deadlines.late_nights(*places.values(), options.as_of, warehouse=warehouse)
    for one in late:
        print(f"{one.key}: {'; '.join(one.reasons)}")
    if not late:
        print(f"{options.as_of}: every night is done")
    if options.deliver and late:
        server = settings.smtp_server() if os.environ.get("ABTEST_SMTP") else None
        slack = settings.slack_endpoint() if os.environ.get("ABTEST_SLACK_TOKEN") else None
        _print_delivered(deadlines.tell_late(late, options.as_of, server=server, slack=slack, **places))
    return NOT_READY if late else 0


def _replay(options: argparse.Namespace) -> int:
    from abtest_lib import replay

    if not Path(options.results, options.experiment).is_dir():
        definitions.load_experiment(options.experiments, options.experiment)  # an unknown key gets its own message
        raise FileNotFoundError(f"{options.experiment}: {options.results} holds no night of it; run one first.")
    if options.reason and not options.write:
        raise ValueError("--reason says why nights are published anew; give it together with --write.")
    chosen = {"since": options.since, "until": options.until}
    again = replay.replay(options.experiment, options.results, **chosen)
    if options.write:
        again = replay.rewrite(options.experiment, options.results, **chosen, reason=options.reason)
    status = 0
    for one in again:
        print(f"{options.experiment}, {one.line}")
        status = FAILED if one.problem or (one.moved and not options.write) else status
    return status


def _deliver_digest(folder: Path, experiments: str) -> None:
    """By each channel that is set up and subscribed to; one that fails keeps the other not back."""
    from abtest_lib import digest_delivery, settings

    problems = []
    for deliver, server in (
        (digest_delivery.deliver_digest_email, settings.smtp_server),
        (digest_delivery.deliver_digest_slack, settings.slack_endpoint),
    ):
        try:
            _print_delivered(deliver(folder, server, experiments))
        except (RuntimeError, OSError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise RuntimeError("\n".join(problems))


def _print_delivered(recipients: list[str]) -> int:
    print(f"sent to {', '.join(recipients)}" if recipients else "nobody new to send to")
    return 0


_VERBS = {
    "assign": _assign,
    "list": _list,
    "validate": _validate,
    "run": _run,
    "plan": _plan,
    "outcomes_ready": _outcomes_ready,
    "collect": _collect,
    "deliver_email": _deliver_email,
    "deliver_slack": _deliver_slack,
    "digest": _digest,
    "preview": _preview,
    "sign": _sign,
    "late": _late,
    "replay": _replay,
    "verify": _verify,
    "cost": _cost,
}

if __name__ == "__main__":
    sys.exit(main())
