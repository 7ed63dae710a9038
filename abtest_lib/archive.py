"""One file with all that was published of an experiment, to keep when its definition is removed."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from abtest_lib import definitions, publishing, results

FOLDER = "_archives"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip file knows: the same content is the same file


def archive(key: str, results_folder: Path | str, experiments_folder: Path | str) -> Path:
    """Pack every published revision of an experiment, with its ledger and its definition as it stands.

    Parameters
    ----------
    key : str
        The experiment.
    results_folder : path
        The folder of all results.
    experiments_folder : path
        Holds the definition and the shared files; an experiment whose file is gone is packed without them.

    Returns
    -------
    Path
        ``<results>/_archives/<key>.zip``. Unpacked anywhere, its folder ``results`` is a store that ``abtest replay``
        reads without a warehouse, and ``sha256sum -c SHA256SUMS`` tells whether a file was changed. What was sent to
        whom is not in it. The same store gives the same bytes.

    Raises
    ------
    FileNotFoundError
        If no night of the experiment was published.
    OSError
        If the store cannot be read or written.

    Examples
    --------
    >>> packed = archive("one_page_checkout", night.parents[2], "experiments")
    >>> packed.name, zipfile.ZipFile(packed).namelist()[:2]
    ('one_page_checkout.zip', ['SHA256SUMS', 'experiments/metrics.yaml'])
    """
    experiment, path = Path(results_folder) / key, Path(results_folder) / FOLDER / f"{key}.zip"
    if not definitions.KEY.fullmatch(key) or not results.published_nights(results_folder, key):
        raise FileNotFoundError(f"{key}: {results_folder} holds no published night of it; there is nothing to archive.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with publishing.alone(experiment, reading=True), tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            _pack({**_defined(key, Path(experiments_folder)), **_published(experiment)}, file)
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
    return path


def _defined(key: str, folder: Path) -> dict[str, Path]:
    """The experiment's file and those that all share, by their names in the archive."""
    names = [f"{key}{ending}" for ending in definitions.ENDINGS if (folder / f"{key}{ending}").is_file()]
    shared = [name for name in definitions.SHARED_FILES if names and (folder / name).is_file()]
    return {f"experiments/{name}": folder / name for name in [*names, *shared]}


def _published(experiment: Path) -> dict[str, Path]:
    """Whole revisions that were published, and the small files beside them, by their names in the archive."""
    found = [path for path in experiment.iterdir() if _is_kept(path)]
    for night in results.published_nights(experiment.parent, experiment.name):
        folder = experiment / night.isoformat()
        found += [path for path in folder.iterdir() if _is_kept(path)]
        current = (folder / results.CURRENT).read_text(encoding="utf-8").strip()
        # A store that is older than the ledger knows the current one only.
        for revision in sorted({current, *(line["revision"] for line in results.publications(folder))}):
            found += [path for path in (folder / revision).iterdir() if _is_kept(path)]
    return {f"results/{path.relative_to(experiment.parent)}": path for path in found}


def _is_kept(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.name.startswith(".")


def _pack(files: dict[str, Path], file) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(_entry("SHA256SUMS"), "".join(_sums(files)))
        for name, path in sorted(files.items()):
            packed.writestr(_entry(name), path.read_bytes())


def _sums(files: dict[str, Path]) -> Iterator[str]:
    for name, path in sorted(files.items()):
        yield f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry
