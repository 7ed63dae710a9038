"""Files and locks of the state, and the embedded DuckDB that works on them."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import duckdb
import pyarrow

from abtest_lib import results
from abtest_lib.queries import PARAMETER, render

FOLDER = "_state"  # below the results; no experiment's key begins with an underscore
READINGS = "reads.jsonl"
RETIRED_SECONDS = 86_400.0
FORMAT = 1  # of the files; another number begins anew beside them


@dataclass
class Reading:
    """What a statement brought from the warehouse: days of a source, rows, bytes as Arrow, and how long it took."""

    source: str
    days: list[str] = field(default_factory=list)
    late: bool = False
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0


def readings(folder: Path | str) -> list[dict]:
    """What has been read of warehouses, in the order of reading.

    Parameters
    ----------
    folder : path
        Of all results.

    Returns
    -------
    list of dict
        ``as_of``, ``experiment`` and the fields of a ``Reading``.

    Examples
    --------
    >>> readings("no results yet")
    []
    """
    files = sorted((Path(folder) / FOLDER).glob(f"*/{READINGS}"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


class Store:
    """The state of all sources and experiments of one warehouse, in one folder.

    Parameters
    ----------
    folder : path
        Of all results; the state lies below it.
    warehouse : str
        Where the warehouse is; another one has a state of its own.
    """

    def __init__(self, folder: Path | str, warehouse: str):
        self.results = Path(folder)
        self.folder = Path(folder) / FOLDER / f"{FORMAT}-{key(warehouse)[:12]}"
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The embedded engine; one thread, so that the same files give the same digits."""
        if self._connection is None:
            spill = str(Path(tempfile.gettempdir()) / f"abtest_duckdb_{os.getuid()}")
            config = {"threads": 1, "temp_directory": spill, "memory_limit": "2GB"}
            self._connection = duckdb.connect(config=config)
            self._connection.execute("SET TimeZone = 'UTC'")
            self._connection.execute("SET enable_progress_bar = false")
        return self._connection

    def close(self) -> None:
        """End the embedded engine; the files stay."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Let one process at a time work on a record; the others wait."""
        path = self.folder / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the system releases it when the process ends, however it ends
            yield

    def read(self, name: str) -> dict | None:
        """What was written under a name last; None if nothing was."""
        try:
            return results.read_json(self.folder / f"{name}.json")
        except FileNotFoundError:
            return None

    def write(self, name: str, document: Mapping) -> None:
        """Replace what stands under a name, at once."""
        results.write_bytes(self.folder / f"{name}.json", json.dumps(document).encode())

    def note(self, reading: Reading, experiment: str, as_of: dt.date) -> None:
        """Add what was read of the warehouse to the list of all readings; a line is written whole."""
        line = {"as_of": str(as_of), "experiment": experiment, **asdict(reading), "seconds": round(reading.seconds, 3)}
        with open(self.folder / READINGS, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def forget(self, sources: Iterable[str]) -> None:
        """Drop the records of sources, in all the forms that they were defined in; the next night reads them anew."""
        for source in sources:
            for path in self.folder.glob(f"*/{source}-{'[0-9a-f]' * 12}.json"):
                if path.parent.name in ("sources", "caps"):
                    with self.lock(f"{path.parent.name}/{path.stem}"):
                        path.unlink(missing_ok=True)

    def query(self, template: str, bound: Mapping | None = None, /, **names) -> list[dict]:
        """Run a statement of ``sql/state`` on the embedded engine."""
        result = self._execute(template, bound, names)
        columns = [column[0] for column in result.description]
        return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]

    def arrow(self, template: str, bound: Mapping | None = None, /, **names) -> pyarrow.Table:
        """Run a statement of ``sql/state`` on the embedded engine; all rows as Arrow."""
        sql, used = self._bound(template, bound, names)
        return self.connection.sql(sql, params=used).to_arrow_table()

    def table(self, name: str, template: str, bound: Mapping | None = None, /, **names) -> None:
        """Hold what a statement finds as a temporary table of the embedded engine, instead of one of that name."""
        sql, used = self._bound(template, bound, names)
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}", used)

    def keep(self, template: str, bound: Mapping | None = None, /, *, split_by: str, **names) -> dict[str, Path]:
        """Write what a statement finds as Parquet, one file for each value of a column.

        Returns
        -------
        dict
            The files by the value as text. They lie in a new folder below ``new``: give them a name with ``move``, and
            remove the folder with ``discard``.
        """
        sql, used = self._bound(template, bound, names)
        folder = self.folder / "new" / uuid.uuid4().hex
        folder.parent.mkdir(parents=True, exist_ok=True)
        target = str(folder).replace("'", "''")
        try:
            self.connection.execute(
                f"COPY ({sql}) TO '{target}' (FORMAT parquet, COMPRESSION lz4_raw, WRITE_PARTITION_COLUMNS, "
                f"PARTITION_BY ({split_by}))",
                used,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return {path.parent.name.partition("=")[2]: path for path in sorted(folder.glob("*/*.parquet"))}

    def move(self, path: Path, name: str) -> str:
        """Put a new file where it stays: whole or not at all. Another process may have put the same there before."""
        target = self.folder / f"{name}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(path, target)
        return str(target.relative_to(self.folder))

    @staticmethod
    def discard(*new: Mapping[str, Path]) -> None:
        """Remove the folders that ``keep`` made, with what was not moved out of them."""
        for files in new:
            for path in files.values():
                shutil.rmtree(path.parent.parent, ignore_errors=True)

    def paths(self, names: Iterable[str]) -> list[str]:
        """Where files are that ``move`` named."""
        return [str(self.folder / name) for name in names]

    def tidy(self, name: str, used: Iterable[str], retired: Mapping[str, float]) -> dict[str, float]:
        """Remove files below a name that no record has used for a day, and what killed nights left half-written.

        A file that is used no more may still be read by another night, so it is retired first.

        Returns
        -------
        dict
            Since when each file is retired, in seconds; only tidying depends on the clock.
        """
        now, used = time.time(), set(used)
        unused = {str(path.relative_to(self.folder)) for path in (self.folder / name).glob("*.parquet")} - used
        since = {file: retired.get(file, now) for file in unused}
        for file in [file for file, moment in since.items() if moment < now - RETIRED_SECONDS]:
            (self.folder / file).unlink(missing_ok=True)
            del since[file]
        for folder in (self.folder / "new").glob("*"):
            if folder.stat().st_mtime < now - RETIRED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        return since

    def _execute(self, template: str, bound: Mapping | None, names: Mapping):
        return self.connection.execute(*self._bound(template, bound, names))

    def _bound(self, template: str, bound: Mapping | None, names: Mapping) -> tuple[str, dict]:
        sql = render(f"state/{template}", **names)
        return sql, {name: bound[name] for name in PARAMETER.findall(sql)} if bound else {}


def key(*parts: object) -> str:
    """Name something by what it is made of.

    Parameters
    ----------
    *parts : JSON values, dates or dataclasses
        In an order that means something.

    Returns
    -------
    str
        32 hexadecimal digits.

    Examples
    --------
    >>> key("purchases", 1) == key("purchases", 1) != key("purchases", "1")
    True
    """
    return hashlib.sha256(json.dumps(parts, default=repr, sort_keys=True).encode()).hexdigest()[:32]
