"""A final verdict that is to be signed is told to nobody before it is. With real receivers."""

import datetime as dt
import re

import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib import by_hand, cli, digest, failures, results, sign_off
from abtest_lib.delivery import SlackEndpoint, SmtpServer, deliver_email, deliver_slack
from tests.receivers import TOKEN

EVE = AS_OF - dt.timedelta(days=1)


@pytest.fixture
def shop(tmp_path):
    """A shop whose night of 8 February ships, if somebody signs."""
    shop = Shop(tmp_path)
    shop.redefine(KEY, "notify:", "team: payments\nsign_off: {by: [ana, ben@example.com], within_hours: 2}\nnotify:")
    return shop


def server(mail):
    return SmtpServer(mail.host, mail.port, security="none")


def deliver(shop, mail, night):
    return deliver_email(night, server(mail), shop.definitions)


def standing(shop, as_of=AS_OF):
    (one,) = digest.collect(shop.definitions, shop.results, as_of, team="payments").standings
    return one


def digest_texts(shop, as_of=AS_OF):
    folder = digest.write(shop.definitions, shop.results, as_of, team="payments")
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_night_without_a_final_verdict_needs_no_signature(shop, mail):
    night = shop.run(EVE)
    assert sign_off.standing(night) is None
    assert len(deliver(shop, mail, night)) == 2


def test_experiment_that_does_not_want_it_needs_none(shop):
    shop.redefine(KEY, "sign_off: {by: [ana, ben@example.com], within_hours: 2}\n", "")
    assert sign_off.standing(shop.run()) is None


@pytest.mark.parametrize(("written", "read"), [
    ("true", ((), 12)), ("false", None), ("{by: ana}", (("ana",), 12)), ("{within_hours: 3}", ((), 3)),
])  # fmt: skip
def test_sign_off_is_switched_in_the_definition(shop, written, read):
    shop.redefine(KEY, "{by: [ana, ben@example.com], within_hours: 2}", written)
    found = shop.experiment.sign_off
    assert (found and (found.by, found.within_hours)) == read


def test_sign_off_is_no_part_of_what_the_numbers_depend_on(shop):
    with_it = shop.experiment.sha256
    shop.redefine(KEY, "sign_off: {by: [ana, ben@example.com], within_hours: 2}\n", "")
    assert shop.experiment.sha256 == with_it


def test_final_verdict_is_sent_by_no_channel_before_it_is_approved(shop, mail, chat):
    night = shop.run()
    assert sign_off.standing(night) == "awaited"
    slack = SlackEndpoint(TOKEN, base_url=chat.url)
    for send in (lambda: deliver(shop, mail, night), lambda: deliver_slack(night, slack, shop.definitions)):
        with pytest.raises(sign_off.Unsigned, match=r"abtest sign checkout --as-of 2026-02-08 --approve --by NAME"):
            send()
    assert mail.messages == []
    assert chat.messages == []
    sign_off.sign(night, "approved", "ana")
    assert deliver(shop, mail, night) == ["team@example.com", "boss@example.com"]
    assert deliver_slack(night, slack, shop.definitions) == ["#checkout"]


def test_final_verdict_is_not_sent_by_hand_either(shop, mail):
    night = shop.run()
    with pytest.raises(sign_off.Unsigned):
        by_hand.mail_report(night, server(mail), ["friend@example.com"], "just this once")
    assert mail.messages == []


def test_rejected_verdict_is_not_sent_and_says_by_whom(shop, mail):
    night = shop.run()
    sign_off.sign(night, "rejected", "ana")
    with pytest.raises(sign_off.Rejected, match="nothing is sent, because the verdict was rejected by ana on "):
        deliver(shop, mail, night)
    assert mail.messages == []


def test_last_signature_counts(shop):
    night = shop.run()
    for decision in ("rejected", "approved"):
        sign_off.sign(night, decision, "ana")
        assert sign_off.standing(night) == decision


def test_same_verdict_computed_anew_needs_no_other_signature(shop):
    first = shop.run()
    sign_off.sign(first, "approved", "ana")
    shop.redefine(KEY, "title: Shorter checkout", "title: The shorter checkout")
    second = shop.run()
    assert second != first
    assert sign_off.standing(second) == "approved"


def test_another_verdict_needs_another_signature(shop):
    sign_off.sign(shop.run(), "approved", "ana")
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.9")
    night = shop.run()
    assert results.read_json(night / "results.json")["verdicts"][0]["verdict"] == "do_not_ship"
    assert sign_off.standing(night) == "awaited"


@pytest.mark.parametrize("decision", ["approved", "rejected"])
def test_decision_holds_for_later_nights_with_the_same_verdict_and_not_for_earlier_ones(shop, decision):
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.05\nlooks: pocock\nminimum_days: 1")
    eve, last = shop.run(EVE), shop.run()
    assert digest.words(results.read_json(eve / "results.json")) == {"treatment": "ship"}
    sign_off.sign(last, decision, "ana")
    assert sign_off.standing(eve) == "awaited"
    (last / sign_off.FILE).unlink()
    sign_off.sign(eve, decision, "ana")
    assert sign_off.standing(last) == decision


def test_nobody_signs_what_needs_no_signature(shop):
    night = shop.run(EVE)
    with pytest.raises(ValueError, match="no verdict of it is final, so there is nothing to sign"):
        sign_off.sign(night, "approved", "ana")


@pytest.mark.parametrize("name", ["", "  ", "a" * 101, "ana\x1b[2J"])
def test_nobody_signs_without_a_name(shop, name):
    night = shop.run()
    with pytest.raises(ValueError, match="is no name"):
        sign_off.sign(night, "approved", name)


def test_signature_that_cannot_be_read_sends_nothing_and_tells_nothing(shop, mail):
    night = shop.run()
    sign_off.sign(night, "approved", "ana").write_text('{"decision": "appr')
    with pytest.raises(ValueError, match=r"sign_off\.json: is no signature; delete it and sign again"):
        deliver(shop, mail, night)
    assert "SHIP" not in digest_texts(shop)["digest.txt"]


def test_those_who_sign_are_asked_once_by_mail_with_effect_and_link(shop, mail):
    night = shop.run()
    link = "https://airflow.example.com/dags/abtest__checkout/runs/r/tasks/sign_off/required_actions"
    report = "https://airflow.example.com/abtest/dags/abtest__checkout/runs/r_1"
    asked = sign_off.ask(night, server(mail), link=link, report=report)
    assert asked == ["ana@example.com", "ben@example.com"]
    assert sign_off.ask(night, server(mail), link=f"{link}?again") == []
    message = mail.messages[0].message
    assert message["Subject"] == "Please sign: Shorter checkout, 8 Feb 2026: ✔ SHIP"
    text = message.get_body(("plain",)).get_content()
    assert "interval" in text
    assert link in text
    assert report in text
    shown = re.sub(r"\\(_|[^\w\s])", r"\1", sign_off.request(night, report=report).markdown)
    assert f"[The whole report]({report})" in shown
    assert "within 2 hours" in text


def test_title_is_no_markup_for_those_who_sign(shop):
    shop.redefine(KEY, "title: Shorter checkout", "title: '[click](http://x.example) <b>'")
    shop.redefine("metrics", "title: Conversion", "title: '[buy](http://x.example) <img src=x>'")
    asked = sign_off.request(shop.run())
    assert "buy" in asked.markdown
    assert not re.search(r"(?<!\\)[<\[]", asked.markdown)


def test_digest_tells_nothing_of_a_verdict_that_is_not_signed(shop):
    night = shop.run()
    for name, text in digest_texts(shop).items():
        assert "SHIP" not in text, name
        assert "66.7" not in text, name  # the effect
    text = digest_texts(shop)["digest.txt"]
    assert "? 1 AWAITS SIGN-OFF" in text
    assert "Its verdict is told when it has been signed." in text
    sign_off.sign(night, "approved", "ana")
    text = digest_texts(shop)["digest.txt"]
    assert "✔ SHIP" in text
    assert "66.7" in text


def test_digest_says_who_rejected_and_is_quiet_about_it_on_the_next_night(shop):
    sign_off.sign(shop.run(), "rejected", "ana")
    folder = digest.write(shop.definitions, shop.results, AS_OF, team="payments")
    text = " ".join((folder / "digest.txt").read_text(encoding="utf-8").split())
    assert "NOT SIGNED. Not signed: the verdict was rejected by ana on " in text
    assert "SHIP" not in text
    digest.mark_sent(folder)
    after = digest.write(shop.definitions, shop.results, AS_OF + dt.timedelta(days=1), team="payments")
    assert results.read_json(after / "delivery.json")["quiet"]


def test_digest_of_a_later_night_does_not_tell_the_unsigned_one_either(shop):
    shop.redefine(KEY, "smallest_effect: 0.05", "smallest_effect: 0.05\nlooks: pocock\nminimum_days: 1")
    shop.run(EVE)
    failures.record(shop.results, KEY, AS_OF, "collect", "no space left")
    one = standing(shop)
    assert (one.document, one.last) == (None, None)
    for name, text in digest_texts(shop).items():
        assert "SHIP" not in text, name


def test_digest_shows_that_nobody_answered_in_time(shop):
    night = shop.run()
    failures.record(shop.results, KEY, AS_OF, "sign_off", sign_off.too_late(night))
    text = " ".join(digest_texts(shop)["digest.txt"].split())
    assert "✖ NOT SENT: sign_off: checkout, 2026-02-08: nobody signed the verdict in time" in text
    assert "Its verdict is told when it has been signed." in text
    assert "SHIP" not in text


def test_verb_signs_and_delivers_after_that_only(shop, mail, capsys, monkeypatch):
    shop.run()
    monkeypatch.setenv("ABTEST_SMTP", f"smtp://{mail.host}:{mail.port}?security=none&sender=abtest@example.com")
    night = [KEY, "--as-of", str(AS_OF), *shop.places]
    assert cli.main(["deliver_email", *night]) == 1
    assert "nobody has. Sign it with: abtest sign checkout" in capsys.readouterr().err
    assert cli.main(["sign", *night, "--approve", "--by", "ana"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("checkout, 2026-02-08: the verdict was approved by ana on ")
    assert "treatment: ship" in said
    assert cli.main(["deliver_email", *night]) == 0
    assert len(mail.messages) == 2


def test_verb_says_what_is_missing(shop, capsys):
    assert cli.main(["sign", KEY, "--as-of", str(AS_OF), "--by", "ana", "--reject", *shop.places]) == 1
    assert "has no report yet; run the night first" in capsys.readouterr().err
