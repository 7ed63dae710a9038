"""The statements of ``sql/``, written for DuckDB, in the words of another engine."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from functools import lru_cache

_MARK = re.compile(r":parameter_([a-z0-9_]+)")


def translate(sql: str, dialect: str) -> str:
    """Put a statement into another engine's dialect; named parameters become those of the engine.

    Parameters
    ----------
    sql : str
        In DuckDB's dialect, with named parameters such as ``$as_of``.
    dialect : str
        A dialect of sqlglot, such as ``postgres``, ``spark``, ``bigquery`` or ``snowflake``.

    Returns
    -------
    str
        One statement.

    Raises
    ------
    ValueError
        If the statement cannot be said in that dialect.

    References
    ----------
    https://sqlglot.com

    Examples
    --------
    >>> print(translate("SELECT CAST(amount AS DOUBLE) AS amount FROM orders WHERE paid_at < $as_of", "postgres"))
    SELECT CAST(amount AS DOUBLE PRECISION) AS amount FROM orders WHERE paid_at < %(as_of)s
    """
    return _translated(sql, dialect)


def numbered(sql: str, dialect: str, values: Mapping) -> tuple[str, list]:
    """Put a statement into another engine's dialect with parameters ``$1``, ``$2``, … and their values in that order.

    Parameters
    ----------
    sql : str
        In DuckDB's dialect, with named parameters.
    dialect : str
        A dialect of sqlglot that numbers its parameters.
    values : mapping
        By name; those that the statement does not use are left out.

    Returns
    -------
    tuple of str and list
        The statement and its values.

    Raises
    ------
    ValueError
        If the statement cannot be said in that dialect.
    KeyError
        If a parameter has no value.

    Examples
    --------
    >>> numbered("SELECT 1 FROM orders WHERE paid_at < $as_of AND unit = $unit", "postgres", {"unit": "u1", "as_of": 2})
    ('SELECT 1 FROM orders WHERE paid_at < $1 AND unit = $2', [2, 'u1'])
    """
    text, names = _numbered(sql, dialect)
    return text, [values[name] for name in names]


def named(sql: str, dialect: str, values: Mapping) -> tuple[str, dict]:
    """Put a statement into another engine's dialect with named parameters, days and moments bound as texts.

    A client may shift a moment without a zone by the time zone of its process; as a text that the statement casts, it
    stays what it is.

    Parameters
    ----------
    sql : str
        In DuckDB's dialect, with named parameters.
    dialect : str
        A dialect of sqlglot that names its parameters.
    values : mapping
        By name; moments without a zone are in UTC.

    Returns
    -------
    tuple of str and dict
        The statement and its values.

    Raises
    ------
    ValueError
        If the statement cannot be said in that dialect.

    Examples
    --------
    >>> named("SELECT 1 FROM orders WHERE paid_at < $as_of", "spark", {"as_of": dt.datetime(2026, 2, 8)})
    ('SELECT 1 FROM orders WHERE paid_at < CAST(:as_of AS TIMESTAMP_NTZ)', {'as_of': '2026-02-08T00:00:00'})
    """
    casts, texts = _as_texts(values)
    return _with_casts(sql, dialect, casts), texts


def folded(sql: str, dialect: str, values: Mapping) -> tuple[str, list, list[str]]:
    """Put a statement into the dialect of an engine that keeps names in capitals, with parameters ``?`` in their order.

    Parameters
    ----------
    sql : str
        In DuckDB's dialect, with named parameters.
    dialect : str
        A dialect of sqlglot, ``snowflake``.
    values : mapping
        By name; days and moments, which are without a zone in UTC, are bound as texts that the statement casts.

    Returns
    -------
    tuple of str, list and list of str
        The statement, its values, and the names of its columns as the statement says them.

    Raises
    ------
    ValueError
        If the statement cannot be said in that dialect.
    KeyError
        If a parameter has no value.

    Examples
    --------
    >>> folded('SELECT "Day" AS day FROM orders WHERE paid_at < $as_of', "snowflake", {"as_of": dt.date(2026, 2, 8)})
    ('SELECT "DAY" AS "DAY" FROM "ORDERS" WHERE "PAID_AT" < CAST(? AS DATE)', ['2026-02-08'], ['day'])
    """
    casts, texts = _as_texts(values)
    text, parameters, names = _folded(sql, dialect, casts)
    return text, [texts[name] for name in parameters], list(names)


def tables_in(sql: str) -> list[str]:
    """Name the tables that a statement reads, and its common table expressions.

    Parameters
    ----------
    sql : str
        In DuckDB's dialect.

    Returns
    -------
    list of str
        Each once, with its schema if it has one.

    Raises
    ------
    ValueError
        If it is no statement.

    Examples
    --------
    >>> tables_in('SELECT 1 FROM "shop"."orders" INNER JOIN customers ON TRUE')
    ['shop.orders', 'customers']
    """
    from sqlglot import exp

    found = (".".join(part.name for part in table.parts) for table in _parsed(sql).find_all(exp.Table, bfs=False))
    return list(dict.fromkeys(found))


def is_query(sql: str) -> bool:
    """Does a statement only read?

    Parameters
    ----------
    sql : str
        In DuckDB's dialect.

    Returns
    -------
    bool
        False for whatever changes a table.

    Raises
    ------
    ValueError
        If it is no statement.

    Examples
    --------
    >>> is_query("SELECT 1 AS one"), is_query("DELETE FROM orders")
    (True, False)
    """
    from sqlglot import exp

    return isinstance(_parsed(sql), exp.Query)


def _as_texts(values: Mapping) -> tuple[tuple[tuple[str, str], ...], dict]:
    """The casts that days and moments need as texts, by name in order, and all values with those texts."""
    casts, texts = {}, dict(values)
    for name, value in values.items():
        if isinstance(value, dt.datetime):
            if value.tzinfo:
                value = value.astimezone(dt.UTC).replace(tzinfo=None)
            casts[name], texts[name] = "TIMESTAMPNTZ", value.isoformat()
        elif isinstance(value, dt.date):
            casts[name], texts[name] = "DATE", value.isoformat()
    return tuple(sorted(casts.items())), texts


@lru_cache(maxsize=256)
def _translated(sql: str, dialect: str) -> str:
    return _parsed(sql).sql(dialect=dialect, unsupported_level=_raising())


@lru_cache(maxsize=256)
def _numbered(sql: str, dialect: str) -> tuple[str, list[str]]:
    from sqlglot import exp

    tree = _parsed(sql).copy()
    names: list[str] = []
    for parameter in list(tree.find_all(exp.Parameter, exp.Placeholder, bfs=False)):
        name = parameter.name
        if name not in names:
            names.append(name)
        parameter.replace(exp.Parameter(this=exp.Literal.number(names.index(name) + 1)))
    return tree.sql(dialect=dialect, unsupported_level=_raising()), names


@lru_cache(maxsize=256)
def _folded(sql: str, dialect: str, kinds: tuple[tuple[str, str], ...]) -> tuple[str, list[str], list[str]]:
    from sqlglot import exp

    tree, casts = _parsed(sql).copy(), dict(kinds)
    names = tree.named_selects
    for cast in list(tree.find_all(exp.Cast)):
        # Of a time with a zone a plain cast would keep the clock of that zone; the session's zone is UTC.
        if cast.to.this == exp.DataType.Type.TIMESTAMP and isinstance(cast.this, exp.Column):
            cast.set("this", exp.cast(cast.this.copy(), "TIMESTAMPLTZ"))
            cast.set("to", exp.DataType.build("TIMESTAMPNTZ"))
    for identifier in tree.find_all(exp.Identifier):
        identifier.set("this", identifier.name.upper())
        identifier.set("quoted", True)
    for parameter in list(tree.find_all(exp.Parameter, exp.Placeholder)):
        name = parameter.name.lower()
        mark = exp.Placeholder(this=f"parameter_{name}")
        parameter.replace(exp.cast(mark, casts[name]) if name in casts else mark)
    text = tree.sql(dialect=dialect, unsupported_level=_raising())
    # A dialect may move its words about, so the order is that of the text.
    return _MARK.sub("?", text), _MARK.findall(text), names


@lru_cache(maxsize=256)
def _with_casts(sql: str, dialect: str, casts: tuple[tuple[str, str], ...]) -> str:
    from sqlglot import exp

    tree, kinds = _parsed(sql).copy(), dict(casts)
    for parameter in list(tree.find_all(exp.Parameter, exp.Placeholder)):
        if kind := kinds.get(parameter.name):
            parameter.replace(exp.cast(parameter.copy(), kind))
    return tree.sql(dialect=dialect, unsupported_level=_raising())


@lru_cache(maxsize=256)
def _parsed(sql: str):
    import sqlglot

    try:
        return sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise ValueError(f"sql cannot be parsed: {error}") from error


def _raising():
    from sqlglot import ErrorLevel

    return ErrorLevel.RAISE
