"""Run a whole Airflow on this machine and stop it without a trace: ``python -m demo.airflow_local``.

One process per component, all bound to 127.0.0.1, SQLite and LocalExecutor. ``airflow standalone`` is not used because
it leaves its children behind when it is told to stop.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
DEMO = REPOSITORY / ".demo"
HOST = "127.0.0.1"
USER = "admin"
FINISHED = {"success", "failed"}

# A supervisor that is killed cannot stop anything: this process sees its pipe close and does it instead. Asking the
# kernel to signal the components is not enough, because a scheduler that ends amid a task can wait for ever.
GUARD = """\
import contextlib, os, signal, sys, time
groups = []
for line in sys.stdin:
    if line == "done\\n":
        sys.exit()
    groups.append(int(line))
for number, pause in ((signal.SIGTERM, 15), (signal.SIGKILL, 0)):
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, number) if pause else os.killpg(group, number)
    time.sleep(pause)
"""


class LocalAirflowError(Exception):
    """Airflow did not start, died, or refused a request; the message holds the end of the log or the answer.

    Parameters
    ----------
    message : str
        The text.
    status : int, optional
        HTTP status, when it is an answer.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class LocalAirflow:
    """A running Airflow, between ``with`` and its end.

    Parameters
    ----------
    home : Path
        AIRFLOW_HOME: database, keys, logs. Used again, it keeps runs, users and keys.
    env : mapping of str to str, optional
        Environment of every component, before which the caller's own ``AIRFLOW_*`` variables are forgotten: settings
        of the product, connections (``AIRFLOW_CONN_…``), or ``AIRFLOW__…`` options that differ from those here.
    port : int, optional
        Port of the UI and API; default: a free one.
    timeout : float
        Seconds that a start may take.

    Examples
    --------
    ``with LocalAirflow(Path("/tmp/home"), {"ABTEST_WAREHOUSE": "shop.duckdb"}) as airflow: print(airflow.url)``
    """

    def __init__(
        self, home: Path | str, env: Mapping[str, str] | None = None, port: int | None = None, *, timeout: float = 180
    ) -> None:
        self.home = Path(home).resolve()
        self.port = port or _free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.username = USER
        self.timeout = timeout
        self._extra = dict(env or {})
        self._processes: dict[str, subprocess.Popen] = {}
        self._guard: subprocess.Popen | None = None
        self._token: str | None = None

    def __enter__(self) -> LocalAirflow:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        deadline = time.monotonic() + self.timeout
        for folder in (self.home, self.home / "config", self.home / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        self.password = self._kept("password", lambda: secrets.token_urlsafe(12))
        _write_private(self.home / "passwords.json", json.dumps({USER: self.password}))
        shutil.copy(REPOSITORY / "config" / "airflow_local_settings.py", self.home / "config")
        self._environment = self._environment_of_components()
        self._guard = subprocess.Popen(  # noqa: S603
            [sys.executable, "-S", "-c", GUARD], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        # The API server takes longest and needs no table until it is asked something: it starts beside the migration.
        self._run("api-server")
        self._migrate(deadline)
        self._run("dag-processor")
        self._run("triggerer", "--skip-serve-logs")
        # A task that starts before the API answers fails, so the scheduler comes last.
        self._await(deadline, "the API", lambda: self._get("/api/v2/version", token=False) is not None)
        self._run("scheduler", "--skip-serve-logs")
        self._await(deadline, "all components", self._healthy)

    def _environment_of_components(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_")) and name != "AIRFLOW_HOME"
        }
        own = {
            "AIRFLOW_HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__FERNET_KEY": self._kept("fernet_key", _fernet_key),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": self._kept("api_secret", lambda: secrets.token_hex(32)),
            "AIRFLOW__API_AUTH__JWT_SECRET": self._kept("jwt_secret", lambda: secrets.token_hex(32)),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._database(60),
            "AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs" / "tasks"),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            # In time on the wall: on a busy machine a thousand definitions take longer than Airflow's 30 and 50 s.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "180",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "240",
            # Else runs that wait for data starve a backfill (apache/airflow 72730).
            "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "500",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            # A scheduler that needs longer than this for one round takes itself for dead and stops its own tasks.
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "300",
            # The end of a failed or skipped task is noticed at the next heartbeat only.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        return {**inherited, **own, **self._extra}

    def _database(self, lock_seconds: int) -> str:
        """Give the database with the time that a component waits for another one's lock.

        SQLite's own five seconds are too few for the triggerer, which dies of "database is locked". The API server,
        though, must give up soon: the lock may be held by another of its own requests, which it keeps from going on
        while it waits. Whoever asked it tries again.
        """
        return f"sqlite:///{self.home / 'airflow.db'}?timeout={lock_seconds}"

    def _migrate(self, deadline: float) -> None:
        """Create or upgrade the database, unless this version of Airflow has done so before."""
        done, wanted = self.home / "airflow.db.version", version("apache-airflow")
        if (self.home / "airflow.db").exists() and done.exists() and done.read_text() == wanted:
            return
        process = self._run("db", "migrate")
        self._await(deadline, "the database", lambda: process.poll() is not None)
        if process.returncode:
            raise LocalAirflowError(f"airflow db migrate failed ({process.returncode}):\n{self._tail('db')}")
        del self._processes["db"]
        done.write_text(wanted)

    def _run(self, *command: str) -> subprocess.Popen:
        name = command[0]
        database = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
        own = {database: self._database(2)} if name == "api-server" and database not in self._extra else {}
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "airflow", *command],
                env={**self._environment, **own},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                # Ctrl-C in the terminal is for the supervisor alone; it stops the components in order.
                start_new_session=True,
            )
        self._processes[name] = process
        self._guard.stdin.write(f"{process.pid}\n")
        self._guard.stdin.flush()
        return process

    def process(self, component: str) -> subprocess.Popen:
        """Give the process of a component, such as ``api-server``."""
        return self._processes[component]

    def second_scheduler(self) -> None:
        """Start another scheduler on the same database, which must be a server's."""
        self._processes["first scheduler"] = self._processes.pop("scheduler")
        self._run("scheduler", "--skip-serve-logs")

    def command(self, *arguments: str, timeout: float = 180) -> str:
        """Run ``airflow …`` as an operator of this Airflow would, and give what it prints.

        Raises
        ------
        subprocess.CalledProcessError
            If it fails.
        """
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "airflow", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
        )
        return done.stdout

    def stop(self) -> None:
        """Stop every component and wait for it; kill what has not ended after 15 seconds."""
        running = [process for process in self._processes.values() if process.poll() is None]
        for process in running:
            # The component alone, not its group: workers that are signalled too leave the scheduler hanging.
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 15
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()
        if self._guard:
            self._guard.communicate("done\n")
            self._guard = None

    def restart(self, component: str, env: Mapping[str, str] | None = None) -> None:
        """Stop one component and start it again, as an upgrade does.

        Parameters
        ----------
        component : str
            ``triggerer``, ``dag-processor``, ``scheduler`` or ``api-server``.
        env : mapping of str to str, optional
            Settings that it gets from now on.

        Raises
        ------
        LocalAirflowError
            If it does not run.
        """
        self.check()
        process = self._processes.pop(component)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._environment = {**self._environment, **(env or {})}
        self._run(*process.args[3:])

    def processes(self) -> dict[str, int]:
        """Give the number of each component's process."""
        return {name: process.pid for name, process in self._processes.items()}

    def check(self) -> None:
        """Raise if a component has died.

        Raises
        ------
        LocalAirflowError
            With the end of its log.
        """
        for name, process in self._processes.items():
            if name != "db" and process.poll() is not None:
                raise LocalAirflowError(f"airflow {name} ended with {process.returncode}:\n{self._tail(name)}")

    def _await(self, deadline: float, what: str, ready: Any, pause: float = 0.25) -> None:
        while True:
            self.check()
            if ready():
                return
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- {name}\n{self._tail(name)}" for name in self._processes)
                raise LocalAirflowError(f"{what} did not get ready in time.\n{tails}")
            time.sleep(pause)

    def _tail(self, name: str, lines: int = 30) -> str:
        text = (self.home / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _kept(self, name: str, make: Any) -> str:
        """Read a secret of this home, made and kept on first use, readable for its owner alone."""
        path = self.home / "secrets" / name
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _write_private(path, make())
        return path.read_text(encoding="ascii")

    def _healthy(self) -> bool:
        found = self._get("/api/v2/monitor/health", token=False) or {}
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all((found.get(part) or {}).get("status") == "healthy" for part in parts)

    def _get(self, path: str, *, token: bool) -> Any:
        try:
            return self.request("GET", path) if token else _json(urllib.request.Request(self.url + path))  # noqa: S310
        except (OSError, LocalAirflowError):
            return None

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the REST API, signed in as `username`.

        Parameters
        ----------
        method : str
            ``GET``, ``POST``, ``PATCH``, …
        path : str
            From ``/api/v2/…``.
        body : optional
            Sent as JSON.

        Returns
        -------
        object
            The answer, from JSON.

        Raises
        ------
        LocalAirflowError
            If the answer is an error.
        """
        if not self._token:
            login = {"username": self.username, "password": self.password}
            self._token = _json(_request(f"{self.url}/auth/token", "POST", login))["access_token"]
        tries = 5 if method == "GET" else 1  # on SQLite the API now and then gives up; a question can be asked again
        while True:
            tries -= 1
            request = _request(self.url + path, method, body)
            request.add_header("Authorization", f"Bearer {self._token}")
            try:
                return _json(request)
            except urllib.error.HTTPError as error:
                if tries and error.code >= 500:
                    continue
                answer = error.read().decode(errors="replace")
                raise LocalAirflowError(f"{method} {path}: {error.code} {answer}", status=error.code) from error
            except OSError as error:
                if not tries:
                    raise LocalAirflowError(f"{method} {path}: {error}") from error

    def wait_for_dags(self, *dag_ids: str, timeout: float = 60) -> None:
        """Wait until Airflow has read these DAGs."""
        wanted = set(dag_ids)
        self._await(time.monotonic() + timeout, f"{sorted(wanted)}", lambda: wanted <= set(self.dag_ids()))

    def dag_ids(self) -> list[str]:
        """Name the DAGs that Airflow has read."""
        return [dag["dag_id"] for dag in self.request("GET", "/api/v2/dags?limit=1000")["dags"]]

    def import_errors(self) -> list[dict]:
        """Give the DAG files that could not be read."""
        return self.request("GET", "/api/v2/importErrors")["import_errors"]

    def backfill(
        self,
        dag_id: str,
        data_on: dt.date,
        conf: Mapping[str, Any] | None = None,
        *,
        until: dt.date | None = None,
        max_active_runs: int = 1,
        reprocess: str = "completed",
    ) -> int:
        """Run the nights of one day of data, or of a range of days, again or for the first time.

        Parameters
        ----------
        dag_id : str
            The DAG.
        data_on : date
            Day of data; the night is as of the next day.
        conf : mapping, optional
            Values for the form, such as ``{"deliver": True}``.
        until : date, optional
            Last day of data; default: the same day.
        max_active_runs : int
            Nights at a time.
        reprocess : {"none", "failed", "completed"}
            Which nights that have run before run again: none, those that failed, all.

        Returns
        -------
        int
            The backfill's id.

        Raises
        ------
        LocalAirflowError
            If Airflow refuses it.
        """
        body = {
            "dag_id": dag_id,
            "from_date": f"{data_on}T00:00:00Z",
            "to_date": f"{until or data_on}T00:00:00Z",
            "dag_run_conf": dict(conf or {}),
            "reprocess_behavior": reprocess,
            "max_active_runs": max_active_runs,
        }
        # On SQLite a backfill that meets another writer is answered 500 or 503, its runs undone, not always itself; one
        # that ended a moment ago counts as running (409) for up to 30 s more. Both are closed, then asked again.
        for _ in range(30):
            try:
                return self.request("POST", "/api/v2/backfills", body)["id"]
            except LocalAirflowError as error:
                if error.status is not None and error.status < 500 and error.status != 409:
                    raise
            time.sleep(0.5)
            if (running := self._running_backfill(dag_id, str(data_on))) is not None:
                return running
        raise LocalAirflowError(f"{dag_id}: another backfill was running, or the database locked, 30 times.")

    def _running_backfill(self, dag_id: str, data_on: str) -> int | None:
        """Give the backfill of that day whose answer was lost, if it is under way; close those that have ended."""
        at_work = any(run["state"] not in FINISHED for run in self.runs(dag_id).values())
        found = self.request("GET", f"/api/v2/backfills?dag_id={dag_id}&limit=1000")["backfills"]
        for backfill in (one for one in found if one["completed_at"] is None):
            if not at_work:
                with contextlib.suppress(LocalAirflowError):  # locked again: the next round sees it
                    self.request("PUT", f"/api/v2/backfills/{backfill['id']}/cancel")
            elif backfill["from_date"].startswith(data_on):
                return backfill["id"]
        return None

    def runs(self, dag_id: str) -> dict[str, dict]:
        """Give a DAG's runs by the day of their data; those that an asset started have none."""
        found = self.request("GET", f"/api/v2/dags/{dag_id}/dagRuns?limit=1000")["dag_runs"]
        return {run["data_interval_start"][:10]: run for run in found if run["data_interval_start"]}

    def asset_runs(self, dag_id: str) -> list[dict]:
        """Give the runs of a DAG that an asset started, the first one first."""
        found = self.request("GET", f"/api/v2/dags/{dag_id}/dagRuns?run_type=asset_triggered&order_by=run_after")
        return found["dag_runs"]

    def wait(self, dag_id: str, data_on: dt.date, timeout: float = 120) -> dict:
        """Wait until the night of a day of data has ended.

        Parameters
        ----------
        dag_id : str
            The DAG.
        data_on : date
            Day of data.
        timeout : float
            Seconds.

        Returns
        -------
        dict
            The run, with ``state`` and ``dag_run_id``.

        Raises
        ------
        LocalAirflowError
            If a component dies or the time is over.
        """

        def ended() -> bool:
            return self.runs(dag_id).get(str(data_on), {}).get("state") in FINISHED

        self._await(time.monotonic() + timeout, f"{dag_id}, data of {data_on}", ended, pause=0.5)
        return self.runs(dag_id)[str(data_on)]

    def wait_until(self, what: str, ready: Callable[[], bool], timeout: float = 180) -> None:
        """Wait until something has happened; what is its name in the error if it has not."""
        self._await(time.monotonic() + timeout, what, ready, pause=0.5)

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Give the state of each task of a run."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id)}/taskInstances?limit=100"
        return {task["task_id"]: task["state"] for task in self.request("GET", path)["task_instances"]}

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """Give the text of a task's log, as the UI shows it."""
        run = urllib.parse.quote(run_id)
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/logs/{try_number}"
        lines = self.request("GET", path)["content"]
        return "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)


def _request(url: str, method: str, body: Any) -> urllib.request.Request:
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310


def _json(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read() or "null")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return found.getsockname()[1]


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def main() -> None:
    """Keep Airflow up with the demo's warehouse, results and mailbox until Ctrl-C or SIGTERM."""
    from demo import warehouse
    from demo.receivers import MailReceiver, SlackReceiver

    if "ABTEST_WAREHOUSE" not in os.environ and not warehouse.is_current(DEMO / "warehouse.duckdb"):
        DEMO.mkdir(exist_ok=True)
        warehouse.build(DEMO / "warehouse.duckdb")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        with MailReceiver(DEMO / "mail") as mail, SlackReceiver(DEMO / "slack") as slack:
            print("Airflow starts, this takes about 20 seconds …", flush=True)
            with LocalAirflow(DEMO / "airflow", _demo_environment(mail, slack)) as airflow:
                print(f"Airflow: {airflow.url}   user: {airflow.username}   password: {airflow.password}")
                print(f"Messages arrive in {DEMO / 'mail'} and {DEMO / 'slack'}. Ctrl-C stops everything.", flush=True)
                while True:
                    airflow.check()
                    time.sleep(1)
    except KeyboardInterrupt:
        print("Stopped.")


def _demo_environment(mail: Any, slack: Any) -> dict[str, str]:
    return {
        "ABTEST_EXPERIMENTS": os.environ.get("ABTEST_EXPERIMENTS", str(REPOSITORY / "experiments")),
        "ABTEST_RESULTS": os.environ.get("ABTEST_RESULTS", str(DEMO / "results")),
        "ABTEST_WAREHOUSE": os.environ.get("ABTEST_WAREHOUSE", str(DEMO / "warehouse.duckdb")),
        **connections(mail, slack),
    }


def connections(mail: Any, slack: Any) -> dict[str, str]:
    """Give the product's Airflow connections to a local mailbox and a local Slack, as environment variables."""
    smtp = {
        "conn_type": "smtp",
        "host": mail.host,
        "port": mail.port,
        "extra": {"from_email": "abtest@example.com", "disable_tls": True, "disable_ssl": True},
    }
    chat = {
        "conn_type": "slack",
        "password": "local",
        "extra": {"base_url": slack.url},
    }
    return {"AIRFLOW_CONN_ABTEST_SMTP": json.dumps(smtp), "AIRFLOW_CONN_ABTEST_SLACK": json.dumps(chat)}


if __name__ == "__main__":
    main()
