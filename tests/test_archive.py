"""What is kept of an experiment when it is over: all that was published, in one file that can be replayed."""

import hashlib
import zipfile

import pytest
from small_shop import AS_OF, KEY, Shop

from abtest_lib import cli, results
from abtest_lib.archive import archive


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.run()
    return shop


def packed(shop):
    return archive(KEY, shop.results, shop.definitions)


def unpacked(path, folder):
    with zipfile.ZipFile(path) as file:
        file.extractall(folder)
    return folder


def test_unpacked_archive_replays_to_the_digit_without_a_warehouse(shop, tmp_path, capsys):
    place = unpacked(packed(shop), tmp_path / "elsewhere")
    shop.warehouse.unlink()
    assert cli.main(["replay", KEY, "--results", str(place / "results"), "--experiments", str(place / "none")]) == 0
    assert capsys.readouterr().out == f"{KEY}, {AS_OF}: the same to the digit\n"


def test_archive_names_the_digest_of_every_file(shop, tmp_path):
    place = unpacked(packed(shop), tmp_path / "elsewhere")
    sums = dict(reversed(line.split("  ")) for line in (place / "SHA256SUMS").read_text().splitlines())
    files = {str(path.relative_to(place)): path for path in place.rglob("*") if path.is_file()}
    del files["SHA256SUMS"]
    assert sums == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_archive_holds_definition_and_every_published_revision(shop):
    first = shop.current()
    shop.redefine(KEY, "title: Shorter checkout", "title: The shorter checkout")
    shop.run()
    (shop.results / KEY / str(AS_OF) / "0123456789ab").mkdir()
    (shop.results / KEY / str(AS_OF) / "0123456789ab" / "definition.json").write_text("{}")
    with zipfile.ZipFile(packed(shop)) as file:
        names = file.namelist()
        definition = file.read(f"experiments/{KEY}.yaml").decode()
    revisions = {
        name.split("/")[3] for name in names if name.startswith(f"results/{KEY}/{AS_OF}/") and name.count("/") > 3
    }
    assert first != shop.current()
    assert revisions == {first.name, shop.current().name}
    assert "title: The shorter checkout" in definition
    assert f"results/{KEY}/{AS_OF}/published.jsonl" in names


def test_store_without_a_ledger_is_archived_by_its_current_revisions(shop):
    (shop.results / KEY / str(AS_OF) / results.PUBLISHED).unlink()
    with zipfile.ZipFile(packed(shop)) as file:
        assert f"results/{KEY}/{AS_OF}/{shop.current().name}/results.json" in file.namelist()


def test_same_store_is_the_same_archive(shop):
    first = packed(shop).read_bytes()
    assert packed(shop).read_bytes() == first


def test_neither_recipients_nor_what_links_point_to_is_in_the_archive(shop, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("not to be copied")
    (shop.current() / "linked.json").symlink_to(secret)
    outbox = shop.results / KEY / "outbox"
    outbox.mkdir(exist_ok=True)
    (outbox / "sent.json").write_text("boss@example.com")
    with zipfile.ZipFile(packed(shop)) as file:
        names = file.namelist()
    assert not [name for name in names if "outbox" in name or "linked" in name]


def test_experiment_whose_file_is_gone_is_archived_without_it(shop, capsys):
    (shop.definitions / f"{KEY}.yaml").unlink()
    assert cli.main(["archive", KEY, "--results", str(shop.results), "--experiments", str(shop.definitions)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{KEY}: has no file in {shop.definitions}; it is packed without its definition"
    with zipfile.ZipFile(said[1]) as file:
        assert not [name for name in file.namelist() if name.startswith("experiments/")]


@pytest.mark.parametrize("key", ["chekout", "../checkout", "_digest"])
def test_unknown_experiment_is_refused(shop, key, capsys):
    assert cli.main(["archive", key, "--results", str(shop.results), "--experiments", str(shop.definitions)]) == 1
    assert f"{key}: {shop.results} holds no published night of it" in capsys.readouterr().err
