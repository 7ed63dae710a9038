"""Verbs that send a night's report: ``deliver_email``, ``deliver_slack``, and ``sign`` before them."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from abtest_lib import definitions, results
from abtest_lib.commands.verb import Verb, add_mail_to, add_night, find_night, print_delivered, print_verdicts


def _deliver_email(options: argparse.Namespace) -> int:
    from abtest_lib import by_hand, delivery, settings

    if options.mail_to:
        night, server = find_night(options, results.CURRENT, "run"), settings.smtp_server()
        return print_delivered(by_hand.mail_report(night, server, options.mail_to, options.reason))
    if options.reason:
        raise ValueError("--reason stands on top of a mail by hand; give it together with --mail-to.")
    return print_delivered(_delivered(delivery.deliver_email, settings.smtp_server, options))


def _deliver_slack(options: argparse.Namespace) -> int:
    from abtest_lib import delivery, settings

    return print_delivered(_delivered(delivery.deliver_slack, settings.slack_endpoint, options))


def _delivered(deliver: Callable, server: Callable, options: argparse.Namespace) -> list[str]:
    return deliver(find_night(options, results.CURRENT, "run"), server(), options.experiments)


def _sign(options: argparse.Namespace) -> int:
    from abtest_lib import sign_off

    definitions.load_experiment(options.experiments, options.experiment)
    night = results.night_folder(options.results, options.experiment, options.as_of)
    if night is None:
        raise FileNotFoundError(f"{options.experiment}, {options.as_of}: has no report yet; run the night first.")
    sign_off.sign(night, options.decided, options.by)
    print(f"{options.experiment}, {options.as_of}: {sign_off.said(night)}")
    print_verdicts(night)
    return 0


def _add_deliver_email(parser: argparse.ArgumentParser) -> None:
    add_night(parser)
    parser.add_argument("--reason", metavar="TEXT", help="why; stands on top of a mail by hand")
    add_mail_to(parser)


def _add_sign(parser: argparse.ArgumentParser) -> None:
    add_night(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--approve", dest="decided", action="store_const", const="approved")
    what.add_argument("--reject", dest="decided", action="store_const", const="rejected")
    parser.add_argument("--by", required=True, metavar="NAME", help="who signs")


DELIVER_EMAIL = Verb(
    "deliver_email",
    "mail the current report",
    "Sends the night's current report to notify.email and to those who subscribe (subscriptions.yaml), each "
    "recipient once. With --mail-to only to the addresses given, marked as sent by hand.",
    "one_page_checkout --as-of 2026-03-03",
    _add_deliver_email,
    _deliver_email,
)
DELIVER_SLACK = Verb(
    "deliver_slack",
    "post the current report",
    "Posts the night's current report to notify.slack and the channels of subscriptions.yaml, once each.",
    "one_page_checkout --as-of 2026-03-03",
    add_night,
    _deliver_slack,
)
SIGN = Verb(
    "sign",
    "sign the verdict of a night",
    "Approves or rejects the final verdict of the night's current report, where the definition has sign_off. A "
    "final verdict that is not approved is sent to nobody; deliver_email and deliver_slack say so.",
    "one_page_checkout --as-of 2026-03-03 --approve --by ana",
    _add_sign,
    _sign,
)
