"""Why a step of a night failed, kept beside the night's results so that the alert can say it."""

import datetime as dt
from pathlib import Path

from abtest_lib import results
from abtest_lib.errors import DataError, DefinitionError

FOLDER = "failures"


def record(
    results_folder: Path | str,
    experiment_key: str,
    as_of: dt.date | str,
    task_id: str,
    exception: BaseException | str,
    *,
    held: bool = False,
) -> Path:
    """Keep the reason why a step failed.

    Parameters
    ----------
    results_folder : path
        Root of the results store (``ABTEST_RESULTS``).
    experiment_key : str
        The experiment whose night failed.
    as_of : date or str
        The night, ``YYYY-MM-DD``.
    task_id : str
        The step that failed, as the night names it.
    exception : BaseException or str
        What it raised, or the reason itself. The text of a `DefinitionError`
        or `DataError` is kept as it is; any other exception is preceded by
        the name of its type.
    held : bool, optional
        The step did nothing wrong: the night's data did not come in time.

    Returns
    -------
    Path
        The file written; an older record of the same step is replaced.

    Raises
    ------
    ValueError
        If a part of the path is not a plain name.
    OSError
        If the results folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> store = tempfile.mkdtemp()
    >>> record(store, "checkout", "2026-03-09", "collect", DataError("checkout: no rows")).name
    'collect.json'
    >>> read(store, "checkout", "2026-03-09")
    {'collect': 'checkout: no rows'}
    """
    path = _path(results_folder, experiment_key, as_of, task_id)
    reason = exception if isinstance(exception, str) else error_text(exception)
    return results.write_json(path, {"task": task_id, "error": reason} | ({"held": True} if held else {}))


def clear(results_folder: Path | str, experiment_key: str, as_of: dt.date | str, task_id: str) -> None:
    """Forget the reason kept for a step, because it is being run again.

    Parameters
    ----------
    results_folder, experiment_key, as_of, task_id
        As for `record`. A step without a record is left alone.

    Raises
    ------
    ValueError
        If a part of the path is not a plain name.
    OSError
        If the record cannot be removed.

    Examples
    --------
    >>> import tempfile
    >>> store = tempfile.mkdtemp()
    >>> _ = record(store, "checkout", "2026-03-09", "report", ValueError("bad"))
    >>> clear(store, "checkout", "2026-03-09", "report")
    >>> read(store, "checkout", "2026-03-09")
    {}
    """
    _path(results_folder, experiment_key, as_of, task_id).unlink(missing_ok=True)


def read(results_folder: Path | str, experiment_key: str, as_of: dt.date | str) -> dict[str, str]:
    """Which steps of a night have a failure on record, and why.

    Parameters
    ----------
    results_folder, experiment_key, as_of
        As for `record`.

    Returns
    -------
    dict of str to str
        Error text by step, in the order of the steps' names.

    Raises
    ------
    ValueError
        If a part of the path is not a plain name.

    Examples
    --------
    >>> import tempfile
    >>> store = tempfile.mkdtemp()
    >>> _ = record(store, "checkout", "2026-03-09", "report", KeyError("title"))
    >>> read(store, "checkout", "2026-03-09")
    {'report': "KeyError: 'title'"}
    >>> read(store, "checkout", "2026-03-10")
    {}
    """
    return {entry["task"]: entry["error"] for entry in _entries(results_folder, experiment_key, as_of)}


def is_held(results_folder: Path | str, experiment_key: str, as_of: dt.date | str) -> bool:
    """Whether a night lacks nothing but data that did not come in time.

    Parameters
    ----------
    results_folder, experiment_key, as_of
        As for `record`.

    Returns
    -------
    bool
        Whether that is the last failure on record: what other steps left before it is of an earlier run.

    Raises
    ------
    ValueError
        If a part of the path is not a plain name.

    Examples
    --------
    >>> import tempfile
    >>> store = tempfile.mkdtemp()
    >>> _ = record(store, "checkout", "2026-03-09", "outcomes_ready", "waits for purchases", held=True)
    >>> is_held(store, "checkout", "2026-03-09"), is_held(store, "checkout", "2026-03-10")
    (True, False)
    """
    folder = _path(results_folder, experiment_key, as_of, "any").parent
    last = max(folder.glob("[!.]*.json"), key=lambda path: path.stat().st_mtime_ns, default=None)
    return last is not None and results.read_json(last).get("held", False)


def _entries(results_folder: Path | str, experiment_key: str, as_of: dt.date | str) -> list[dict]:
    folder = _path(results_folder, experiment_key, as_of, "any").parent
    return [results.read_json(path) for path in sorted(folder.glob("[!.]*.json"))]


def error_text(exception: BaseException) -> str:
    """Say what an exception says, for a reader who has no traceback.

    Parameters
    ----------
    exception : BaseException
        Any exception.

    Returns
    -------
    str
        The message alone for the product's own errors; else with the type's name.

    Examples
    --------
    >>> error_text(DefinitionError("checkout.yaml:3: alpha is 2; it must be below 1."))
    'checkout.yaml:3: alpha is 2; it must be below 1.'
    >>> error_text(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero'
    """
    if isinstance(exception, DefinitionError | DataError):
        return str(exception)
    return f"{type(exception).__name__}: {exception}".removesuffix(": ")


def _path(results_folder: Path | str, experiment_key: str, as_of: dt.date | str, task_id: str) -> Path:
    parts = (experiment_key, str(as_of), FOLDER, f"{task_id}.json")
    for part in parts:
        if part.startswith(".") or not part.isprintable() or {"/", "\\"} & set(part):
            raise ValueError(f"{part!r} is part of a path in the results store; it must be a plain name.")
    return Path(results_folder).joinpath(*parts)
