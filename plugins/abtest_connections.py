"""Where the product finds its folders, its warehouse and its servers: environment variables and Airflow connections."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

if TYPE_CHECKING:
    from abtest_lib.delivery import SlackEndpoint, SmtpServer

Server = TypeVar("Server")
log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parent.parent
SMTP_CONNECTION = "abtest_smtp"
SLACK_CONNECTION = "abtest_slack"
WAREHOUSE_CONNECTION = "abtest_warehouse"

HOW_TO_CREATE = {
    SMTP_CONNECTION: (
        "airflow connections add abtest_smtp --conn-type smtp --conn-host smtp.example.com --conn-port 587 "
        '--conn-login LOGIN --conn-password PASSWORD --conn-extra \'{"from_email": "abtest@example.com"}\''
    ),
    SLACK_CONNECTION: "airflow connections add abtest_slack --conn-type slack --conn-password xoxb-TOKEN",
    WAREHOUSE_CONNECTION: (
        "airflow connections add abtest_warehouse --conn-type snowflake --conn-login LOGIN --conn-password PASSWORD "
        '--conn-schema PUBLIC --conn-extra \'{"account": "ACCOUNT", "database": "DATABASE", "warehouse": "WAREHOUSE"}\''
    ),
}


class MissingConnection(Exception):
    """A connection the night needs does not exist, or lacks a field; the message says how to create it."""


def experiments_folder() -> Path:
    """Give the folder of the definitions: ``ABTEST_EXPERIMENTS``, else the repository's."""
    return Path(os.environ.get("ABTEST_EXPERIMENTS") or REPOSITORY / "experiments")


def results_folder() -> Path:
    """Give the root of the results store: ``ABTEST_RESULTS``, else ``results`` in the repository."""
    return Path(os.environ.get("ABTEST_RESULTS") or REPOSITORY / "results")


def warehouse_url() -> str:
    """Give the warehouse: the connection ``abtest_warehouse``, else ``ABTEST_WAREHOUSE``.

    A connection of type postgres is a server, with login and password; of type spark a cluster, or with no host this
    machine, and a folder as its schema; of type spark_connect a server with a token as its password; of type snowflake
    an account. Any other names as its host a DuckDB file, or whatever ``abtest_lib.warehouse.connect`` opens.

    Raises
    ------
    MissingConnection
        If neither names a warehouse.
    """
    try:
        found = Connection.get(WAREHOUSE_CONNECTION)
    except AirflowNotFoundException:
        found = None
    if found and found.conn_type in ("postgres", "postgresql"):
        return found.get_uri()
    if found and found.conn_type in ("spark", "spark_connect"):
        return _spark_url(found)
    if found and found.conn_type == "snowflake":
        return _snowflake_url(found)
    # A path given as a URI (duckdb:///data/w.duckdb) arrives as the schema, one given as JSON as the host.
    path = found and (found.host or (f"/{found.schema}" if found.schema else None))
    path = path or os.environ.get("ABTEST_WAREHOUSE")
    if not path:
        raise MissingConnection(
            "No warehouse is named. Set ABTEST_WAREHOUSE to the path of the DuckDB file, or create the connection: "
            "airflow connections add abtest_warehouse --conn-type generic --conn-host /data/warehouse.duckdb, or "
            "--conn-type postgres with host, schema (the database), login and password. Spark and Snowflake: "
            "docs/deploy.md."
        )
    return path


def _spark_url(found: Connection) -> str:
    # The names of Airflow's own Spark connections, whose host may begin with the scheme.
    place = (found.host or "").rpartition("://")[2] + (f":{found.port}" if found.port else "")
    if found.conn_type == "spark":
        return f"spark://{place}/{(found.schema or '').lstrip('/')}"
    given = {"user_id": found.login, "token": found.password, "use_ssl": found.extra_dejson.get("use_ssl")}
    options = ";".join(f"{name}={quote(str(value), safe='')}" for name, value in given.items() if value)
    return f"sc://{place}/;{options}" if options else f"sc://{place}"


def _snowflake_url(found: Connection) -> str:
    # The names of Airflow's own Snowflake connection; whatever else its extra has goes to the connector as it is.
    extra = {name.removeprefix("extra__snowflake__"): value for name, value in found.extra_dejson.items() if value}
    account, database = extra.pop("account", found.host), extra.pop("database", None)
    if not account or not database:
        raise MissingConnection(_incomplete(WAREHOUSE_CONNECTION, "extra.account and extra.database"))
    login = ":".join(quote(part, safe="") for part in (found.login, found.password) if part)
    place = "/".join(quote(part, safe="") for part in (database, found.schema) if part)
    return f"snowflake://{login}@{account}/{place}?{urlencode(extra)}"


def smtp_server() -> SmtpServer:
    """Give the mail server of the connection ``abtest_smtp``.

    Raises
    ------
    MissingConnection
        If the connection does not exist, has no host, or names no sender.
    """
    from abtest_lib.delivery import SmtpServer

    found = _connection(SMTP_CONNECTION)
    extra = found.extra_dejson
    sender = extra.get("from_email") or (found.login if "@" in (found.login or "") else None)
    if not found.host or not sender:
        raise MissingConnection(_incomplete(SMTP_CONNECTION, "a host, and extra.from_email as the sender"))
    # The names and defaults of Airflow's own smtp connection: TLS from the first byte unless disable_ssl,
    # and STARTTLS unless disable_tls.
    default = "tls" if found.port == 465 else "starttls"
    security = "none" if _yes(extra.get("disable_tls")) else default
    if "disable_ssl" in extra and not _yes(extra["disable_ssl"]):
        security = "tls"
    return SmtpServer(
        host=found.host,
        port=found.port or (465 if security == "tls" else 587),
        user=found.login or None,
        password=found.password or None,
        sender=sender,
        security=security,
        timeout=float(extra.get("timeout", 30)),
    )


def slack_endpoint() -> SlackEndpoint:
    """Give the Slack workspace of the connection ``abtest_slack``.

    Raises
    ------
    MissingConnection
        If the connection does not exist or has no token.
    """
    from abtest_lib.delivery import SlackEndpoint

    found = _connection(SLACK_CONNECTION)
    if not found.password:
        raise MissingConnection(_incomplete(SLACK_CONNECTION, "a bot token as its password"))
    base_url = found.extra_dejson.get("base_url")
    return SlackEndpoint(token=found.password, base_url=base_url) if base_url else SlackEndpoint(token=found.password)


def if_connected(server: Callable[[], Server]) -> Server | None:
    """Give a server, or None when its connection is not set up, for a message that any one channel may carry."""
    try:
        return server()
    except MissingConnection as problem:
        log.warning("%s", problem)
        return None


@contextmanager
def warehouse_if_connected() -> Iterator[object | None]:
    """Open the warehouse, or give None: whoever only wants to say which source is late can do without."""
    from abtest_lib.warehouse import connect

    try:
        opened = connect(warehouse_url())
    except (MissingConnection, OSError, ValueError) as problem:
        log.warning("%s", problem)
        opened = None
    if opened is None:
        yield None
        return
    with opened as warehouse:
        yield warehouse


def _connection(connection_id: str) -> Connection:
    try:
        return Connection.get(connection_id)
    except AirflowNotFoundException:
        raise MissingConnection(
            f"The Airflow connection {connection_id!r} does not exist; the night needs it to deliver. Create it in the "
            f"UI (Admin, Connections) or with: {HOW_TO_CREATE[connection_id]}"
        ) from None


def _incomplete(connection_id: str, needs: str) -> str:
    return (
        f"The Airflow connection {connection_id!r} is incomplete; it must have {needs}. "
        f"For example: {HOW_TO_CREATE[connection_id]}"
    )


def _yes(value: object) -> bool:
    return str(value).strip().lower() in {"1", "true", "yes", "on"}
