"""What a form may ask for, and mails by hand that take nothing from the nightly ones."""

import html5lib
import pytest
from small_shop import AS_OF, KEY, Shop, content

from abtest_lib import by_hand, pipeline, results
from abtest_lib.delivery import SmtpServer, deliver_email, to_whom
from abtest_lib.errors import DataError, DefinitionError
from abtest_lib.warehouse import connect
from demo.receivers import MailReceiver

ASKED = {"experiment": KEY, "as_of": str(AS_OF)}
REASON = "purchases of u1 were a <b>test</b> & more"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("finished"))
    shop.run()
    return shop


@pytest.fixture
def shop(finished, tmp_path):
    """A shop with one finished night of which nothing was sent."""
    return finished.copy(tmp_path / "shop")


@pytest.fixture
def server(mail):
    return SmtpServer(mail.host, mail.port, sender="abtest@example.com", security="none", timeout=5)


def to(mail):
    return [recipient for received in mail.messages for recipient in received.recipients]


@pytest.mark.parametrize(("form", "message"), [
    ({"experiment": "chekout"}, "no experiment 'chekout'; did you mean 'checkout'?"),
    ({"experiment": None}, "no experiment 'None'"),
    ({"experiment": "../checkout"}, "no experiment '../checkout'"),
    ({"as_of": None}, "checkout: as_of is missing; its nights are 2026-02-03 to 2026-02-08."),
    ({"as_of": "tonight"}, "checkout: as_of is 'tonight'; it must be a date such as 2026-03-03."),
    ({"as_of": 20260208}, "checkout: as_of is '20260208'; it must be a date such as 2026-03-03."),
    ({"as_of": "2026-02-02"}, "checkout: 2026-02-02 is none of its nights; its nights are 2026-02-03 to 2026-02-08."),
    ({"as_of": "2026-02-09"}, "checkout: 2026-02-09 is none of its nights; its nights are 2026-02-03 to 2026-02-08."),
    ({"since": "2026-02-09"}, "checkout: since is 2026-02-09; it must not be later than as_of, 2026-02-08."),
    ({"since": "2026-02-06", "dry_run": False, "reason": REASON}, "checkout: since is for dry runs; several nights are "
                                                                  "published by a backfill of the experiment's DAG."),
    ({"dry_run": False}, "checkout: reason has fewer than 10 letters; a run that publishes must say why."),
    ({"dry_run": False, "reason": " a \n b      "}, "checkout: reason has fewer than 10 letters;"),
    ({"recipients": ["ana@example.com\nBcc: eve@example.com"]}, "is no e-mail address."),
    ({"accept_incomplete": ["clicks"]}, "checkout: 'clicks' is no outcome source of it, so it cannot be accepted as it "
                                        "is; there are: purchases, page_loads."),
    ({"dry-run": False}, "checkout: 'dry-run' is no field of the form; there are: experiment, as_of, since, dry_run, "
                         "reason, recipients, accept_incomplete, reread."),
])  # fmt: skip
def test_form_that_cannot_be_done_is_refused(shop, form, message):
    with pytest.raises(DefinitionError) as refused:
        by_hand.check({**ASKED, **form}, shop.definitions)
    assert message in str(refused.value)


def test_all_problems_of_a_form_are_named_together(shop):
    form = {**ASKED, "as_of": "2026-03-01", "dry_run": False, "recipients": ["ana"], "asof": "2026-02-08"}
    with pytest.raises(DefinitionError) as refused:
        by_hand.check(form, shop.definitions)
    assert [line.split(" ")[1] for line in str(refused.value).splitlines()] == [
        "'asof'", "2026-03-01", "reason", "recipients:"
    ]  # fmt: skip


@pytest.mark.parametrize("dry_run", [None, True, "false", 0])
def test_only_a_plain_no_publishes(shop, dry_run):
    by_hand.check({**ASKED, "dry_run": dry_run}, shop.definitions)  # without a reason


def test_publishing_checks_the_form_again_and_keeps_the_reason(shop):
    first = shop.current()
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.9")
    before = content(shop.results)
    with connect(shop.warehouse) as warehouse:
        places = (shop.definitions, shop.results, warehouse)
        with pytest.raises(DefinitionError, match="reason has fewer"):
            by_hand.run({**ASKED, "dry_run": False}, *places)
        assert content(shop.results) == before
        night = by_hand.run({**ASKED, "dry_run": False, "reason": REASON}, *places)
    assert night == shop.current()
    assert results.publications(night.parent)[-1] == {
        "revision": night.name, "replaces": first.name, "reason": REASON
    }  # fmt: skip


def test_dry_run_and_run_say_the_same(shop):
    shop.redefine("metrics", "source: purchases, window_days: 2", "source: purchases, window_days: 1")
    with connect(shop.warehouse) as warehouse:
        places = (shop.definitions, shop.results, warehouse)
        lines = by_hand.dry_run(ASKED, *places)
        kept = results.read_json(shop.results / "_previews" / f"{KEY}.json")["nights"][0]
        night = by_hand.run({**ASKED, "dry_run": False, "reason": REASON}, *places)
        assert by_hand.dry_run(ASKED, *places) == [f"{KEY}: 0 of 1 verdict would change", f"{AS_OF}: same"]
    assert lines[0] == f"{KEY}: 0 of 1 verdict would change"
    assert lines[1].endswith(" values would change")
    assert kept["previewed"] == night.name


def test_rows_that_were_changed_in_place_are_seen_when_they_are_read_anew(shop):
    shop.run()  # what is kept belongs to the warehouse in its new place
    shop.change("UPDATE purchases SET amount_usd = 3 * amount_usd WHERE unit_id = 'u1'")
    with connect(shop.warehouse) as warehouse:
        places = (shop.definitions, shop.results, warehouse)
        assert by_hand.dry_run(ASKED, *places)[1] == f"{AS_OF}: same"
        assert by_hand.dry_run({**ASKED, "reread": True}, *places)[1].endswith(" values would change")
        first = shop.current()
        assert by_hand.run({**ASKED, "reread": True, "dry_run": False, "reason": REASON}, *places) != first


def test_incomplete_night_is_refused_and_publishes_nothing(shop):
    shop.change("DELETE FROM load_log WHERE data_on = DATE '2026-02-06'")
    before = content(shop.results)
    with connect(shop.warehouse) as warehouse, pytest.raises(DataError, match="the data is not complete"):
        asked = {**ASKED, "as_of": "2026-02-07", "dry_run": False, "reason": REASON}
        by_hand.run(asked, shop.definitions, shop.results, warehouse)
    assert content(shop.results) == before


def test_report_by_hand_says_so_in_subject_text_and_page(shop, mail, server):
    assert by_hand.mail_report(shop.current(), server, ["eve@example.com"], REASON) == ["eve@example.com"]
    (received,) = mail.messages
    said = f"Sent by hand, not by the nightly run. Reason: {REASON}"
    assert received.message["Subject"].startswith("By hand: ✔ SHIP")
    text = received.message.get_body(("plain",)).get_content()
    assert " ".join(text.split("\r\n\r\n")[0].split()) == said
    assert "Shorter checkout" in text
    page = received.message.get_body(("html",)).get_content()
    body = html5lib.parse(page, namespaceHTMLElements=False).find("body")
    assert ["".join(one.itertext()) for one in body.findall("p")] == [said]
    assert body.find("p/b/b") is None  # the reason is text
    assert [part.get_content_type() for part in received.message.iter_parts()] == ["text/plain", "multipart/related"]


def test_report_by_hand_takes_no_nightly_mail_away_and_subscribes_nobody(shop, mail, server):
    night = shop.current()
    by_hand.mail_report(night, server, ["team@example.com", "eve@example.com"], REASON)
    assert to_whom(night).email == ("team@example.com", "boss@example.com")
    assert deliver_email(night, server) == ["team@example.com", "boss@example.com"]
    assert deliver_email(night, server) == []
    assert to(mail) == ["team@example.com", "eve@example.com", "team@example.com", "boss@example.com"]
    by_hand_id, nightly_id = (received.message["Message-ID"] for received in mail.messages[::2])
    assert by_hand_id != nightly_id


def test_report_by_hand_is_sent_once_and_again_only_when_it_says_something_else(shop, mail, server):
    night = shop.current()
    for reason in (REASON, REASON, f" {REASON}\n", "for the meeting of Monday"):
        by_hand.mail_report(night, server, ["eve@example.com"], reason)
    assert to(mail) == ["eve@example.com"] * 2


def test_report_by_hand_that_was_replaced_is_not_sent(shop, mail, server):
    night = shop.current()
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.9")
    newer = shop.run()
    assert by_hand.mail_report(night, server, ["eve@example.com"]) == []
    assert by_hand.mail_report(newer, server, ["eve@example.com"]) == ["eve@example.com"]


def test_refused_recipient_keeps_no_other_back(shop, tmp_path):
    with MailReceiver(tmp_path / "strict", refuse=["gone@example.com"]) as mail:
        server = SmtpServer(mail.host, mail.port, sender="abtest@example.com", security="none", timeout=5)
        with pytest.raises(RuntimeError, match=r"refused 1 of the recipients \(gone@example.com"):
            by_hand.mail_report(shop.current(), server, ["gone@example.com", "eve@example.com"], REASON)
        assert to(mail) == ["eve@example.com"]


def test_preview_by_mail_says_that_nothing_is_published_and_is_sent_once(shop, mail, server):
    lines = [f"{KEY}: 1 of 1 verdict would change", f"{AS_OF}: 4 values would change", "  treatment: ship -> invalid"]
    for _ in range(2):
        by_hand.mail_preview(KEY, lines, server, ["eve@example.com"], shop.results)
    (received,) = mail.messages
    assert received.message["Subject"] == f"PREVIEW, by hand: {lines[0]}"
    text = received.message.get_content()
    assert text.startswith("A preview, sent by hand. Nothing of it is published")
    assert text.splitlines()[-3:] == [lines[0], "", *lines[1:]][-3:]
    by_hand.mail_preview(KEY, [f"{KEY}: 0 of 1 verdict would change"], server, ["eve@example.com"], shop.results)
    assert len(mail.messages) == 2


def test_previews_beside_the_results_are_no_night(shop, mail, server):
    by_hand.mail_preview(KEY, [f"{KEY}: 0 of 0 verdicts would change"], server, ["eve@example.com"], shop.results)
    assert results.published_nights(shop.results, "_previews") == []
    assert results.history(shop.results / KEY / "2026-02-09" / "77b0") == [
        results.read_json(shop.current() / "results.json")
    ]
    assert pipeline.as_of(shop.current()) == AS_OF
