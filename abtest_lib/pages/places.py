"""The addresses of the pages, for the links between them."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

ROOT = "/abtest"
_DAG = "abtest__"


def dag_id(key: str) -> str:
    """Name the DAG of an experiment.

    Parameters
    ----------
    key : str
        The experiment; the name of a broken file may be no key.

    Returns
    -------
    str

    Examples
    --------
    >>> dag_id("one_page_checkout"), dag_id("no key")
    ('abtest__one_page_checkout', 'abtest__no_key')
    """
    return _DAG + re.sub(r"[^\w.-]", "_", key)


def key_of(dag: str) -> str | None:
    """Name the experiment of a DAG.

    Parameters
    ----------
    dag : str
        The DAG's id.

    Returns
    -------
    str or None
        None for a DAG of somebody else.

    Examples
    --------
    >>> key_of("abtest__one_page_checkout"), key_of("abtest_digest")
    ('one_page_checkout', None)
    """
    return dag.removeprefix(_DAG) if dag.startswith(_DAG) else None


def in_airflow(key: str) -> str:
    """Give the address of an experiment's DAG in Airflow.

    Parameters
    ----------
    key : str
        The experiment.

    Returns
    -------
    str
        Below Airflow's own root.

    Examples
    --------
    >>> in_airflow("one_page_checkout")
    '/dags/abtest__one_page_checkout'
    """
    return f"/dags/{quote(dag_id(key), safe='')}"


def page(key: str, *parts: object, **asked: object) -> str:
    """Give the address of a page about an experiment.

    Parameters
    ----------
    key : str
        The experiment.
    *parts : object
        What follows, such as ``"nights"`` and a date.
    **asked : object
        The query; what is None is left out.

    Returns
    -------
    str
        Below Airflow's own root.

    Examples
    --------
    >>> page("checkout", "nights", "2026-03-03")
    '/abtest/dags/abtest__checkout/nights/2026-03-03'
    >>> page("checkout", "compare", before="2026-03-02", after=None)
    '/abtest/dags/abtest__checkout/compare?before=2026-03-02'
    """
    path = "/".join(quote(str(part), safe="") for part in (dag_id(key), *parts))
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    return f"{ROOT}/dags/{path}" + (f"?{query}" if query else "")


def fleet(**asked: object) -> str:
    """Give the address of the list of experiments.

    Parameters
    ----------
    **asked : object
        The query; what is None is left out.

    Returns
    -------
    str
        Below Airflow's own root.

    Examples
    --------
    >>> fleet(team="search", as_of=None)
    '/abtest/experiments?team=search'
    """
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    return f"{ROOT}/experiments" + (f"?{query}" if query else "")
