"""Which experiments have ended tonight: whoever ends last starts the digest before its hour.

Each scheduled night leaves a marker below ``<results>/_nights/<as_of>/`` when it has ended, well or badly. The list of
those that are expected lies beside the markers, because hundreds of tasks ask for it and it takes seconds to make.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from pathlib import Path

from abtest_lib import digest, results
from abtest_lib.definitions import experiment_keys, load_experiment
from abtest_lib.errors import DefinitionError

FOLDER = "_nights"
KEPT_DAYS = 14
_EXPECTED, _ENDED = "expected.json", ".ended"


def end(experiments_folder: Path | str, results_folder: Path | str, key: str, as_of: dt.date) -> bool:
    """Note that an experiment's night has ended, and say whether the digest can start now.

    Parameters
    ----------
    experiments_folder, results_folder : path
        The definitions and the store.
    key : str
        The experiment.
    as_of : date
        Its night.

    Returns
    -------
    bool
        Whether every experiment that is expected on this night has ended, and no digest of it has been written. When
        the last two end at once, it is true for at least one of them.

    Raises
    ------
    DefinitionError
        If the folder of the definitions does not exist.
    OSError
        If the store cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> store, night = tempfile.mkdtemp(), dt.date(2026, 3, 14)
    >>> [end("experiments", store, key, night) for key in expected("experiments", store, night)]
    [False, True]
    """
    place = Path(results_folder) / FOLDER / as_of.isoformat()
    results.write_bytes(place / f"{key}{_ENDED}", b"")
    ended = {path.name.removesuffix(_ENDED) for path in place.glob(f"*{_ENDED}")}
    if not ended.issuperset(expected(experiments_folder, results_folder, as_of)):
        return False
    return not any((Path(results_folder) / digest.FOLDER / as_of.isoformat()).glob(f"*/{results.CURRENT}"))


def expected(experiments_folder: Path | str, results_folder: Path | str, as_of: dt.date) -> list[str]:
    """Name the experiments that have a scheduled run on a night.

    Parameters
    ----------
    experiments_folder, results_folder : path
        The definitions, and the store that keeps the answer until a definition changes.
    as_of : date
        The night.

    Returns
    -------
    list of str
        Also those whose definition is broken: their night fails, and has ended then.

    Raises
    ------
    DefinitionError
        If the folder of the definitions does not exist.
    OSError
        If the store cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> expected("experiments", tempfile.mkdtemp(), dt.date(2026, 3, 14))
    ['fraud_model_v3', 'query_suggestions']
    """
    folder = Path(experiments_folder)
    nights = Path(results_folder) / FOLDER
    path = nights / as_of.isoformat() / _EXPECTED
    fingerprint = _fingerprint(folder)
    try:
        kept = results.read_json(path)
        if kept["definitions"] == fingerprint:
            return kept["keys"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        pass  # not made yet, or not by this version: it is made anew
    keys = [key for key in experiment_keys(folder) if _runs(folder, key, as_of)]
    results.write_json(path, {"definitions": fingerprint, "keys": keys})
    _forget(nights, as_of - dt.timedelta(days=KEPT_DAYS))
    return keys


def has_ended(results_folder: Path | str, key: str, as_of: dt.date) -> bool:
    """Whether the scheduled run of an experiment's night has come to its end.

    Parameters
    ----------
    results_folder : path
        The store.
    key : str
        The experiment.
    as_of : date
        The night, of the last `KEPT_DAYS` days.

    Returns
    -------
    bool
        False also for a night that was run by hand or by a backfill only.

    Examples
    --------
    >>> has_ended("results", "one_page_checkout", dt.date(2026, 3, 3))
    False
    """
    return (Path(results_folder) / FOLDER / as_of.isoformat() / f"{key}{_ENDED}").exists()


def _runs(folder: Path, key: str, as_of: dt.date) -> bool:
    try:
        experiment = load_experiment(folder, key)
    except DefinitionError:
        return True
    return experiment.starts_on < as_of <= experiment.decides_on


def _fingerprint(folder: Path) -> str:
    """Changes when a definition does, without reading any."""
    files = sorted(path for ending in ("*.yaml", "*.yml") for path in folder.glob(ending))
    stamps = [(path.name, (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files]
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()


def _forget(nights: Path, before: dt.date) -> None:
    for place in nights.glob("????-??-??"):
        if place.name < before.isoformat():
            shutil.rmtree(place, ignore_errors=True)  # another task may be forgetting it, too
