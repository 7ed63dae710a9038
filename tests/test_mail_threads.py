"""Nights of one experiment are one conversation, as a mail server's THREAD command sees it (Dovecot, RFC 5256)."""

import datetime as dt
import os
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from abtest_lib.mail import Letter, SmtpServer, compose
from abtest_lib.report import view
from abtest_lib.report.files import delivery
from tests.report.nights import night

IMAP = Path("/usr/lib/dovecot/imap")
FIRST = dt.date(2026, 2, 14)
NOBODY = 65534
CONFIGURATION = """
mail_location = maildir:{folder}/mail
log_path = {folder}/log
base_dir = {folder}/run
ssl = no
first_valid_uid = 1
first_valid_gid = 1
mail_uid = {user}
mail_gid = {group}
"""
needs_dovecot = pytest.mark.skipif(
    not IMAP.exists(), reason="Dovecot is not installed; apt-get install dovecot-imapd (make test does it)"
)


def messages(key="one_page_checkout", title="One-page checkout", nights=14, verdicts=("keep_running",) * 14):
    """A mail for each night, as delivery builds it."""
    found, history = [], []
    for number, verdict in zip(range(nights), verdicts, strict=True):
        results, _ = night(verdict)
        results["as_of"] = str(FIRST + dt.timedelta(days=number))
        results["experiment"] |= {"key": key, "title": title}
        said = view(results, history)
        about = delivery(said, "")
        letter = Letter(about["subject"], f"{said['last_line']}\n", topic=key, thread=about["thread"])
        found.append(compose(letter, SmtpServer("localhost"), "ana@example.com", about=Path(key, results["as_of"])))
        history.append(results)
    return found


def threads(folder, mails, algorithm):
    """Hand mails to Dovecot in a random order; the subjects of each thread that it answers, one message each."""
    for name in ("new", "cur", "tmp"):
        (folder / "mail" / name).mkdir(parents=True)
    shuffled = random.Random(7).sample(mails, len(mails))  # noqa: S311
    for number, mail in enumerate(shuffled, start=1):
        (folder / "mail" / "new" / f"{number}.test").write_bytes(mail.as_bytes())
    # Dovecot hands no mail to root.
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    ids = {"user": NOBODY, "group": NOBODY} if user else {"user": os.getuid(), "group": os.getgid()}
    (folder / "dovecot.conf").write_text(CONFIGURATION.format(folder=folder, **ids))
    if user:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    asked = f"a SELECT INBOX\r\nb THREAD {algorithm} UTF-8 ALL\r\nc LOGOUT\r\n"
    environment = {"HOME": str(folder), "USER": "nobody", "LOGNAME": "nobody"}
    command = [IMAP, "-c", folder / "dovecot.conf"]
    done = subprocess.run(  # noqa: S603
        command, input=asked.encode(), capture_output=True, env=environment, timeout=60, check=True, **user
    )
    answer = re.search(r"^\* THREAD (.*)\r$", done.stdout.decode(), re.MULTILINE)
    assert answer, done.stdout.decode() + done.stderr.decode()
    return [sorted(shuffled[int(number) - 1]["Message-ID"] for number in one) for one in top_level(answer[1])]


def top_level(answer):
    """Split ``((1)(2))(3 4)`` into its threads, each as its numbers."""
    depth, begin = 0, 0
    for position, sign in enumerate(answer):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth == 0 and sign == ")":
            yield re.findall(r"\d+", answer[begin : position + 1])
            begin = position + 1


@pytest.fixture
def folder():
    # Not below pytest's own folder, which is closed to other users.
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)  # noqa: S103
        yield Path(name)


@needs_dovecot
@pytest.mark.parametrize("algorithm", ["REFERENCES", "REFS"])
def test_fourteen_nights_out_of_order_are_one_thread_though_its_root_never_came(folder, algorithm):
    mails = messages()
    (one,) = threads(folder, mails, algorithm)
    assert one == sorted(mail["Message-ID"] for mail in mails)
    assert len(set(one)) == 14
    assert mails[0]["References"] not in one


@needs_dovecot
@pytest.mark.parametrize("algorithm", ["REFERENCES", "REFS"])
def test_two_experiments_are_two_threads(folder, algorithm):
    first, second = messages(), messages("new_ranker", "New ranker")
    found = threads(folder, first + second, algorithm)
    assert sorted(found) == sorted(sorted(mail["Message-ID"] for mail in mails) for mails in (first, second))


@needs_dovecot
def test_without_references_each_night_would_be_a_thread(folder):
    mails = messages()
    for mail in mails:
        del mail["References"], mail["In-Reply-To"]
    assert len(threads(folder, mails, "REFS")) == 14


@needs_dovecot
def test_two_experiments_of_the_same_title_are_two_threads_by_reference(folder):
    first, second = messages(nights=3, verdicts=("ship",) * 3), messages("other", nights=3, verdicts=("ship",) * 3)
    found = threads(folder, first + second, "REFS")
    assert sorted(found) == sorted(sorted(mail["Message-ID"] for mail in mails) for mails in (first, second))


@needs_dovecot
@pytest.mark.parametrize("algorithm", ["REFERENCES", "REFS"])
def test_a_verdict_that_changes_begins_a_new_thread(folder, algorithm):
    mails = messages(verdicts=("keep_running",) * 10 + ("ship",) * 4)
    found = threads(folder, mails, algorithm)
    assert sorted(found, key=len) == [sorted(mail["Message-ID"] for mail in part) for part in (mails[10:], mails[:10])]


def test_the_subject_of_a_thread_does_not_change_and_has_no_date():
    mails = messages(verdicts=("keep_running",) * 10 + ("ship",) * 4)
    subjects = [mail["Subject"] for mail in mails]
    assert len(set(subjects[:10])) == len(set(subjects[10:])) == 1
    assert not re.search(r"\d", subjects[0] + subjects[10])


def test_a_message_says_what_it_is_to_programs_and_a_retry_says_the_same():
    first, again = messages(nights=1, verdicts=("ship",)), messages(nights=1, verdicts=("ship",))
    same = ("Message-ID", "References", "In-Reply-To", "List-Id", "Subject", "Auto-Submitted")
    assert [first[0][name] for name in same] == [again[0][name] for name in same]
    assert first[0]["List-Id"] == "<one_page_checkout.abtest.localhost>"
    assert first[0]["Auto-Submitted"] == "auto-generated"
    assert first[0]["References"] == first[0]["In-Reply-To"]


@pytest.mark.skipif(shutil.which("dovecot") is None, reason="Dovecot is not installed")
def test_dovecot_lies_where_these_tests_look_for_it():
    assert IMAP.exists()
