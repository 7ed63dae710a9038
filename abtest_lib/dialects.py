"""The statements of ``sql/``, written for DuckDB, in the words of another engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache


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
def _parsed(sql: str):
    import sqlglot

    try:
        return sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise ValueError(f"sql cannot be parsed: {error}") from error


def _raising():
    from sqlglot import ErrorLevel

    return ErrorLevel.RAISE
