"""Reading YAML field by field: types are checked, unknown keys found, every problem is kept with file and line."""

from __future__ import annotations

import datetime as dt
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

MAX_BYTES = 1_000_000
MAX_NODES = 100_000  # aliases can make a small file huge
MAX_DEPTH = 5_000
COLUMN = (re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), "a column name (letters, digits and _)")
TABLE = (re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}"), "a table name, with schema if need be")
NAME = (re.compile(r"[a-z][a-z0-9_]*"), "a name of a-z, 0-9 and _, a letter first")
VARIANT = (re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\- ]{0,62}"), "a short name of letters, digits, space, '_', '-' and '.'")
EMAIL = (re.compile(r"[^@\s,;<>\"']+@[^@\s,;<>\"']+\.[^@\s,;<>\"']+"), "an e-mail address")
PERSON = (re.compile(r"[A-Za-z0-9._+@-]{1,100}"), "the name of an Airflow user, or an e-mail address")
CHANNEL = (re.compile(r"#(?:[^\WA-Z]|-){1,80}|[CG][A-Z0-9]{8,20}"), "a Slack channel such as '#search', in lower case")


def read_mapping(path: Path, problems: list[str]) -> Fields | None:
    """Read a YAML file whose top level is a mapping; what is wrong goes to ``problems``.

    Parameters
    ----------
    path : Path
        The file.
    problems : list of str
        Receives one ``file:line: …`` for each problem, also of the fields read later.

    Returns
    -------
    Fields or None
        None when the file cannot be read at all.

    Raises
    ------
    Nothing; problems are collected.

    Examples
    --------
    >>> problems = []
    >>> read_mapping(Path("missing.yaml"), problems), problems
    (None, ['missing.yaml: does not exist; create it.'])
    """
    node = _read_node(path, problems)
    if isinstance(node, yaml.MappingNode):
        return Fields(node, "", path, problems)
    if node is not _UNREADABLE:
        problems.append(f"{path}:1: must be a mapping of keys to values.")
    return None


def read_list(path: Path, problems: list[str]) -> list[Fields]:
    """Read a YAML file whose top level is a list of mappings; what is wrong goes to ``problems``.

    Parameters
    ----------
    path : Path
        The file.
    problems : list of str
        Receives one ``file:line: …`` for each problem, also of the fields read later.

    Returns
    -------
    list of Fields
        The mappings, named after the file: ``subscriptions[0]``, ``subscriptions[1]``, …

    Raises
    ------
    Nothing; problems are collected.

    Examples
    --------
    >>> problems = []
    >>> read_list(Path("missing.yaml"), problems), problems
    ([], ['missing.yaml: does not exist; create it.'])
    """
    node = _read_node(path, problems)
    if node is _UNREADABLE:
        return []
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(i, yaml.MappingNode) for i in node.value):
        line = node.start_mark.line + 1 if node is not None else 1
        problems.append(f"{path}:{line}: must be a list of mappings, each beginning with '- ' ([] when there is none).")
        return []
    return [Fields(item, f"{path.stem}[{number}]", path, problems) for number, item in enumerate(node.value)]


def loader_for(text: str) -> type:
    """Choose between the two safe loaders of YAML for a text that anybody may have written.

    Parameters
    ----------
    text : str
        Of a file.

    Returns
    -------
    type
        The loader in C, seven times as fast, unless the text may be nested very deeply: that one would take the
        memory of the machine and end the process, where the one in Python raises a ``RecursionError``.

    Examples
    --------
    >>> loader_for("[" * 50_000)
    <class 'yaml.loader.SafeLoader'>
    """
    # Each level of a block begins further right than the one around it, or is a list at the column of its key.
    deepest = text.count("[") + text.count("{") + 2 * max(map(len, text.splitlines()), default=0)
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader) if deepest < MAX_DEPTH else yaml.SafeLoader


def _compose(text: str) -> yaml.Node | None:
    loader = loader_for(text)
    try:
        return yaml.compose(text, Loader=loader)
    except yaml.YAMLError:
        if loader is yaml.SafeLoader:
            raise
        return yaml.compose(text, Loader=yaml.SafeLoader)  # it says better what is wrong


_UNREADABLE = object()


def _read_node(path: Path, problems: list[str]):
    """The top node of a file, None when it is empty; ``_UNREADABLE`` when a problem was reported."""
    if not path.exists():
        problems.append(f"{path}: does not exist; create it.")
        return _UNREADABLE
    if path.stat().st_size > MAX_BYTES:
        problems.append(f"{path}: is larger than {MAX_BYTES:,} bytes; a definition is a short text.")
        return _UNREADABLE
    try:
        node = _compose(path.read_text(encoding="utf-8"))
        if node is not None:
            _count(node, MAX_NODES)
    except UnicodeDecodeError:
        problems.append(f"{path}: is not UTF-8; save it as UTF-8.")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problems.append(f"{where}: is not valid YAML: {error.problem or error.context}.")
    except yaml.YAMLError as error:
        problems.append(f"{path}: is not valid YAML: {' '.join(str(error).split())}.")
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror}); it must be a file that you may read.")
    except (RecursionError, OverflowError):
        problems.append(f"{path}: is nested or aliased too deeply; a definition is a short text.")
    else:
        return node
    return _UNREADABLE


def _count(node: yaml.Node, left: int) -> int:
    left -= 1
    if left < 0:
        raise OverflowError
    children = node.value if not isinstance(node, yaml.ScalarNode) else ()
    for child in children:
        for one in child if isinstance(child, tuple) else (child,):
            left = _count(one, left)
    return left


def _scalar(node: yaml.Node):
    """The value of a scalar node; ValueError for one that is no value of its kind, such as 2026-02-30."""
    constructor = yaml.constructor.SafeConstructor()
    return constructor.construct_object(node, deep=True)


def _shown(value) -> str:
    """A value as YAML would write it, for a message."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


class Fields:
    """One mapping of a YAML file. Keys that nobody asked for are reported by ``close``."""

    def __init__(self, node: yaml.MappingNode, path: str, file: Path, problems: list[str]):
        self._file, self._path, self._problems, self._line = file, path, problems, node.start_mark.line + 1
        self._nodes: dict[str, yaml.Node] = {}
        self._lines: dict[str, int] = {}
        self._known: list[str] = []
        self._opened: list[Fields] = []
        for key_node, value_node in node.value:
            key, line = str(getattr(key_node, "value", "")), key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(line, f"{self._path or 'the file'} has a key that is no word; every key must be one")
            elif key in self._nodes:
                self._report(line, f"{self._name(key)} stands twice; the first is in line {self._lines[key]}")
            else:
                self._nodes[key], self._lines[key] = value_node, line

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _report(self, line: int, text: str) -> None:
        text = text.replace("\n", "\\n")  # one problem, one line
        self._problems.append(f"{self._file}:{line}: {text}{'' if text.endswith('?') else '.'}")

    def problem(self, key: str, text: str) -> None:
        """Report what is wrong with a key: ``text`` continues the key's name."""
        self._report(self._lines.get(key, self._line), f"{self._name(key)} {text}")

    def refuse(self, key: str, text: str) -> None:
        """Report a key that must not stand here: ``text`` continues the key's name."""
        if key in self._nodes:
            self._known.append(key)
            self.problem(key, text)

    def peek(self, key: str) -> str | None:
        """The word of a key that is read later; None when there is none."""
        return getattr(self._nodes.get(key), "value", None)

    def close(self) -> None:
        """Report the keys that were never asked for, here and in every mapping opened from here."""
        for key in self._nodes:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(self._known)}"
                self.problem(key, f"is not a known key; {hint}")
        for opened in self._opened:
            opened.close()

    @property
    def line(self) -> int:
        """Where the mapping begins."""
        return self._line

    def check_name(self, name: str) -> None:
        """Report a mapping whose own name is not one."""
        if not NAME[0].fullmatch(name):
            self._report(self._line, f"'{name}' must be {NAME[1]}")

    def check_once(self, where: str, names: Iterable[str | None]) -> None:
        """Report names that stand more than once."""
        names = [name for name in names if name]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._report(self._line, f"'{name}' stands more than once in {where}; name it once")

    def items(self) -> Iterator[tuple[str, Fields]]:
        """All keys with the mappings below them."""
        for key in self._nodes:
            if (found := self.mapping(key)) is not None:
                yield key, found

    def _node(self, key: str, required: bool) -> yaml.Node | None:
        if key not in self._known:
            self._known.append(key)
        node = self._nodes.get(key)
        if node is not None and node.tag != "tag:yaml.org,2002:null":
            return node
        if required:
            self.problem(key, "is missing")
        elif node is not None:
            self.problem(key, "has no value; give it one or leave the key out (an unquoted # begins a comment)")
        return None

    def _value(self, key: str, required: bool):
        node = self._node(key, required)
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode):
            self.problem(key, "is a list or mapping; it must be one value")
            return None
        try:
            return _scalar(node)
        except (ValueError, yaml.YAMLError):
            self.problem(key, f"is {node.value or node.tag}, which is no valid value of its kind")
            return None

    def text(self, key: str, *, form=None, default: str | None = None, required: bool = True) -> str | None:
        """A text, of the given form if any."""
        value = self._value(key, required and default is None)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            self.problem(key, f"is {_shown(value)}; it must be a text (put it in quotes)")
            return None
        if form and not form[0].fullmatch(value):
            self.problem(key, f"is '{value}'; it must be {form[1]}")
            return None
        return value

    def email(self, key: str) -> str | None:
        """One e-mail address."""
        return self.text(key, form=EMAIL)

    def emails(self, key: str) -> tuple[str, ...]:
        """A list of e-mail addresses, or one."""
        return tuple(address for address in self._texts(key, required=False) if self._is(key, address, EMAIL))

    def channels(self, key: str) -> tuple[str, ...]:
        """A list of Slack channels, or one."""
        return tuple(channel for channel in self._texts(key, required=False) if self._is(key, channel, CHANNEL))

    def people(self, key: str) -> tuple[str, ...]:
        """A list of users' names or addresses, or one."""
        return tuple(person for person in self._texts(key, required=False) if self._is(key, person, PERSON))

    def names(self, key: str, names: Iterable[str] | None, what: str) -> tuple[str, ...]:
        """One or several names, which must be among ``names`` unless that is None; an absent key has none."""
        if names is None:
            return tuple(self._texts(key, required=False))
        return self.references(key, dict.fromkeys(names), what)

    def choices(self, key: str, choices: tuple[str, ...]) -> tuple[str, ...]:
        """One or several of the given words."""
        names = dict.fromkeys(choices)
        return self.references(key, names, f"one of {', '.join(choices)}", required=True)

    def _is(self, key: str, text: str, form) -> bool:
        if form[0].fullmatch(text):
            return True
        self.problem(key, f"has '{text}'; it must be {form[1]}")
        return False

    def _texts(self, key: str, required: bool) -> list[str]:
        node = self._node(key, required)
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node] if node is not None else []
        texts = [item.value for item in nodes if isinstance(item, yaml.ScalarNode) and item.value.strip()]
        if len(texts) < len(nodes):
            self.problem(key, "must be a text or a list of texts")
        elif required and node is not None and not nodes:
            self.problem(key, "is an empty list; it must hold at least one")
        return texts

    def choice(self, key: str, choices: tuple[str, ...], *, default: str | None = None) -> str | None:
        """One of the given words."""
        value = self.text(key, default=default)
        if value is None or value in choices:
            return value
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        self.problem(key, f"is '{value}'; it must be one of {', '.join(choices)}{hint}")
        return None

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._value(key, False)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem(key, f"is {_shown(value)}; it must be true or false")
        return default

    def whole(self, key: str, *, least: int, default: int | None = None) -> int:
        """A whole number, at least ``least``."""
        value = self._value(key, default is None)
        if value is None:
            return least if default is None else default
        if isinstance(value, bool) or not isinstance(value, int):
            self.problem(key, f"is {_shown(value)}; it must be a whole number")
        elif value < least:
            self.problem(key, f"is {value}; it must be at least {least}")
        elif value > 3650:
            self.problem(key, f"is {value}; it must be at most 3650")
        else:
            return value
        return least

    def whole_or_word(self, key: str, word: str, *, least: int) -> int | None:
        """A whole number, at least ``least``, or the one word, which is None."""
        node = self._nodes.get(key)
        if getattr(node, "tag", None) != "tag:yaml.org,2002:str":
            return self.whole(key, least=least)
        if self.text(key) == word:
            return None
        self.problem(key, f"is '{node.value}'; it must be a whole number, or {word}")
        return least

    def number(self, key: str, *, above: float, below: float, default: float | None = None) -> float:
        """A finite number strictly between two others."""
        value = self._value(key, default is None)
        if value is None:
            return math.nan if default is None else default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.problem(key, f"is {_shown(value)}; it must be a number")
        elif not above < value < below:
            hint = " (shares are fractions)" if below < 1e10 else ""
            self.problem(key, f"is {value}; it must be above {above:g} and below {below:g}{hint}")
        return value

    def fraction(self, key: str, *, default: float, above_zero: bool = False) -> float:
        """A number from 0, or from above it, to 1; the default where it is none."""
        value = self._value(key, False)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.problem(key, f"is {_shown(value)}; it must be a number")
        elif not 0 <= value <= 1 or (above_zero and value == 0):
            self.problem(key, f"is {value}; it must be {'above 0 and at most 1' if above_zero else 'from 0 to 1'}")
        else:
            return value
        return default

    def date(self, key: str) -> dt.date | None:
        """A calendar date without a time."""
        value = self._value(key, True)
        if value is None:
            return None
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            self.problem(key, f"is {_shown(value)}; it must be a date such as 2026-02-02, without quotes")
        elif not 1970 <= value.year < 2200:
            self.problem(key, f"is {value}; it must be between 1970 and 2199")
        else:
            return value
        return None

    def scalars(self, key: str) -> tuple[tuple[str, str | int | float | bool], ...]:
        """A mapping of column names to plain values."""
        found = self.mapping(key, required=False)
        if found is None:
            return ()
        pairs = []
        for column in found._nodes:
            value = found._value(column, True)
            if not COLUMN[0].fullmatch(column):
                found.problem(column, f"must be {COLUMN[1]}")
            elif isinstance(value, (str, int, float)):
                pairs.append((column, value))
            elif value is not None:
                found.problem(column, f"is {_shown(value)}; it must be a text, number, true or false")
        return tuple(pairs)

    def weights(self, key: str) -> dict[str, float]:
        """Two or more variants with their designed weights."""
        found = self.mapping(key)
        if found is None:
            return {}
        weights = {name: found.number(name, above=0, below=1e9) for name in list(found._nodes)}
        for name in weights:
            found._is(name, name, VARIANT)
        if len(weights) < 2:
            self.problem(key, f"has {len(weights)} variant; an experiment needs at least two")
        return weights

    def reference(
        self, key: str, names: Mapping, what: str, *, default: str | None = None, required: bool = True
    ) -> str | None:
        """A name that must be one of ``names``."""
        value = self.text(key, default=default, required=required)
        return value if value is None or self._refers(key, value, names, what) else None

    def references(self, key: str, names: Mapping, what: str, *, required: bool = False) -> tuple[str, ...]:
        """One or several names that must be among ``names``."""
        return tuple(v for v in self._texts(key, required) if self._refers(key, v, names, what))

    def _refers(self, key: str, value: str, names: Mapping, what: str) -> bool:
        if value in names:
            return True
        near = difflib.get_close_matches(value, list(names), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(names) or 'none'}"
        self.problem(key, f"is '{value}', which is not {what}; {hint}")
        return False

    def mapping(self, key: str, *, required: bool = True) -> Fields | None:
        """The mapping below a key."""
        node = self._node(key, required)
        if node is None:
            return None
        if not isinstance(node, yaml.MappingNode):
            self.problem(key, "must be a mapping of keys to values")
            return None
        return self._open(node, self._name(key))

    def word_or_mapping(self, key: str, word: str) -> str | Fields | None:
        """Either the one word, or the mapping below a key."""
        node = self._node(key, True)
        if node is None:
            return None
        if isinstance(node, yaml.MappingNode):
            return self._open(node, self._name(key))
        if isinstance(node, yaml.ScalarNode) and node.value == word:
            return word
        self.problem(key, f"must be '{word}' or a mapping of keys to values")
        return None

    def flag_or_mapping(self, key: str) -> bool | Fields:
        """True or false, false unless given, or the mapping below a key."""
        if isinstance(self._nodes.get(key), yaml.MappingNode):
            return self._open(self._node(key, False), self._name(key))
        return self.flag(key, default=False)

    def number_or_mapping(self, key: str, *, above: float, below: float) -> float | Fields | None:
        """Either a number strictly between two others, or the mapping below a key."""
        node = self._node(key, True)
        if isinstance(node, yaml.MappingNode):
            return self._open(node, self._name(key))
        if isinstance(node, yaml.ScalarNode):
            return self.number(key, above=above, below=below)
        if node is not None:
            self.problem(key, "must be a number or a mapping of keys to values")
        return None

    def named_mappings(self, key: str, *, required: bool = True) -> list[tuple[str, Fields]]:
        """The mappings below a key, each with its own name."""
        found = self.mapping(key, required=required)
        pairs = list(found.items()) if found else []
        for name, below in pairs:
            below.check_name(name)
        return pairs

    def mappings(self, key: str) -> list[Fields]:
        """A list of mappings; an absent key is an empty list."""
        node = self._node(key, False)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode) or not all(isinstance(i, yaml.MappingNode) for i in node.value):
            self.problem(key, "must be a list of mappings, each item beginning with '- '")
            return []
        return [self._open(item, f"{self._name(key)}[{number}]") for number, item in enumerate(node.value)]

    def _open(self, node: yaml.MappingNode, path: str) -> Fields:
        opened = Fields(node, path, self._file, self._problems)
        self._opened.append(opened)
        return opened
