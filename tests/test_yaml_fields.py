"""Reading YAML field by field."""

import datetime as dt
from pathlib import Path

import pytest
import yaml

from abtest_lib.yaml_fields import EMAIL, MAX_BYTES, loader_for, read_mapping


@pytest.fixture
def read(tmp_path):
    """Read a text; the fields and the list that collects what is wrong with them."""

    def _read(text):
        path, problems = tmp_path / "file.yaml", []
        path.write_text(text, encoding="utf-8")
        return read_mapping(path, problems), problems

    return _read


def lines_of(problems):
    return [problem.partition("file.yaml:")[2] for problem in problems]


def test_values_of_every_kind_are_read(read):
    fields, problems = read(
        "text: a word\nflag: true\nwhole: 7\nnumber: 0.5\ndate: 2026-02-28\nmany: [a, b]\none: a\n"
        "emails: [ana@example.com]\nscalars: {status: paid, items: 2, share: 0.5, gift: true}\n"
    )
    assert fields.text("text") == "a word"
    assert fields.flag("flag", default=False) is True
    assert fields.whole("whole", least=1) == 7
    assert fields.number("number", above=0, below=1) == 0.5
    assert fields.date("date") == dt.date(2026, 2, 28)
    assert fields.references("many", {"a": 1, "b": 2}, "a letter") == ("a", "b")
    assert fields.references("one", {"a": 1}, "a letter") == ("a",)
    assert fields.emails("emails") == ("ana@example.com",)
    assert fields.scalars("scalars") == (("status", "paid"), ("items", 2), ("share", 0.5), ("gift", True))
    fields.close()
    assert problems == []


def test_absent_fields_take_their_defaults(read):
    fields, problems = read("{}")
    assert fields.text("a", default="x") == "x"
    assert fields.text("b", required=False) is None
    assert fields.flag("c", default=True) is True
    assert fields.whole("d", default=3, least=0) == 3
    assert fields.number("e", above=0, below=1, default=0.05) == 0.05
    assert (fields.emails("f"), fields.scalars("g"), fields.mappings("h"), fields.mapping("i", required=False)) == (
        (), (), [], None)  # fmt: skip
    fields.close()
    assert problems == []


def test_leap_day_is_a_date(read):
    fields, problems = read("date: 2028-02-29")
    assert (fields.date("date"), problems) == (dt.date(2028, 2, 29), [])


def test_problem_stands_at_the_line_of_its_key(read):
    fields, problems = read("# a comment\n\nfirst: 1\nlist:\n  - {a: 1}\n  - a: 2\n    b: x\n")
    items = fields.mappings("list")
    items[1].whole("b", least=0)
    assert lines_of(problems) == ["7: list[1].b is 'x'; it must be a whole number."]


def test_missing_key_stands_at_the_line_of_its_mapping(read):
    fields, problems = read("a: 1\nbelow:\n  b: 1\n")
    fields.mapping("below").text("c")
    assert lines_of(problems) == ["3: below.c is missing."]


def test_close_reports_unknown_keys_at_every_level_once(read):
    fields, problems = read("titel: a\nbelow: {ownr: b, list: [{kee: c}]}\n")
    fields.text("title", required=False)
    below = fields.mapping("below")
    below.text("owner", required=False)
    below.mappings("list")[0].text("key", required=False)
    fields.close()
    assert lines_of(problems) == [
        "1: titel is not a known key; did you mean 'title'?",
        "2: below.ownr is not a known key; did you mean 'owner'?",
        "2: below.list[0].kee is not a known key; did you mean 'key'?",
    ]


def test_second_of_two_equal_keys_is_reported_and_the_first_is_read(read):
    fields, problems = read("a: 1\nb: 2\na: 3\n")
    assert fields.whole("a", least=0) == 1
    assert lines_of(problems) == ["3: a stands twice; the first is in line 1."]


def test_optional_key_without_a_value_is_reported(read):
    fields, problems = read("slack: #channel\n")
    assert fields.text("slack", required=False) is None
    assert lines_of(problems) == [
        "1: slack has no value; give it one or leave the key out (an unquoted # begins a comment)."
    ]


@pytest.mark.parametrize("text", ["~", "null", ""])
def test_null_is_no_value_of_a_required_key(read, text):
    fields, problems = read(f"title: {text}\n")
    assert (fields.text("title"), lines_of(problems)) == (None, ["1: title is missing."])


def test_problem_with_a_line_break_stays_on_one_line(read):
    fields, problems = read('owner: "a\\nb"\n')
    fields.email("owner")
    assert lines_of(problems) == ["1: owner is 'a\\nb'; it must be an e-mail address."]


@pytest.mark.parametrize("value", ["1", "0", "yes please", "[true]"])
def test_flag_is_true_or_false_and_nothing_else(read, value):
    fields, problems = read(f"flag: {value}\n")
    assert (fields.flag("flag", default=False), len(problems)) == (False, 1)


@pytest.mark.parametrize("value", ["0", "1", "-0.1", ".inf", "-.inf", ".nan", "true", "'0.5'", "1e400"])
def test_number_must_lie_strictly_between_its_bounds(read, value):
    fields, problems = read(f"share: {value}\n")
    fields.number("share", above=0, below=1)
    assert len(problems) == 1


@pytest.mark.parametrize("value", ["3651", "-1", "1.0", "true", "'7'", "1e3", "99999999999999999999"])
def test_whole_number_must_be_whole_and_within_ten_years(read, value):
    fields, problems = read(f"days: {value}\n")
    fields.whole("days", least=0)
    assert len(problems) == 1


@pytest.mark.parametrize("address", ["ana@example.com", "a.b+c@mail.example.co.uk", "o-neill_1@example.com"])
def test_address_is_one(address):
    assert EMAIL[0].fullmatch(address)


@pytest.mark.parametrize("address", ["ana", "ana@example", "@example.com", "a b@example.com", "a@b@example.com",
                                     "ana@example.com\n", "ana@example.com, bob@example.com",
                                     "Ana <ana@example.com>"])  # fmt: skip
def test_address_is_none(address):
    assert not EMAIL[0].fullmatch(address)


def test_file_of_exactly_the_largest_size_is_read(tmp_path):
    path, problems = tmp_path / "file.yaml", []
    path.write_bytes(b"a: 1\n#" + b"x" * (MAX_BYTES - 6))
    assert read_mapping(path, problems) is not None
    assert problems == []


def test_byte_order_mark_is_no_fault(tmp_path):
    path, problems = tmp_path / "file.yaml", []
    path.write_bytes(b"\xef\xbb\xbftitle: a\n")
    assert read_mapping(path, problems).text("title") == "a"
    assert problems == []


def test_windows_line_ends_are_no_fault(tmp_path):
    path, problems = tmp_path / "file.yaml", []
    path.write_bytes(b"title: a\r\nowner: b\r\n")
    fields = read_mapping(path, problems)
    assert (fields.text("title"), fields.text("owner"), problems) == ("a", "b", [])


def test_alias_used_with_measure_is_read(read):
    fields, problems = read("a: &who ana@example.com\nb: *who\n")
    assert (fields.text("b"), problems) == ("ana@example.com", [])


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[1] / "experiments").glob("*.yaml")), ids=lambda file: file.stem
)
def test_quick_loader_finds_the_same_words_in_the_same_lines(file):
    def words(node):
        if isinstance(node, yaml.ScalarNode):
            return [(node.tag, node.value, node.start_mark.line)]
        inner = [one for child in node.value for one in (child if isinstance(child, tuple) else (child,))]
        return [(node.tag, node.start_mark.line), *(word for child in inner for word in words(child))]

    text = file.read_text()
    quick = loader_for(text)
    assert quick is not yaml.SafeLoader
    assert words(yaml.compose(text, quick)) == words(yaml.compose(text, yaml.SafeLoader))


@pytest.mark.parametrize("level", ["[", "{a: ", "- ", "? ", "a:\n" + " " * 5_000])
def test_text_that_may_be_nested_deeply_is_not_for_the_loader_in_c(level):
    assert loader_for(level * 5_000) is yaml.SafeLoader


def test_what_is_wrong_is_said_in_the_words_of_the_loader_in_python(tmp_path):
    file, problems = tmp_path / "wrong.yaml", []
    file.write_text("a: [1, 2\nb: 3\n")
    assert read_mapping(file, problems) is None
    assert problems == [f"{file}:2: is not valid YAML: expected ',' or ']', but got ':'."]
