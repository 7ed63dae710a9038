"""Where the files that travel with the library lie: SQL and report templates."""

from pathlib import Path


def folder(name: str) -> Path:
    """Find a folder of files that belong to the library.

    A wheel carries ``sql`` and ``templates`` inside the package; in a checkout
    they lie beside it.

    Parameters
    ----------
    name : str
        Name of the folder, e.g. ``"templates"``.

    Returns
    -------
    Path
        The folder, which exists.

    Raises
    ------
    ValueError
        If neither place holds a folder of that name.

    Examples
    --------
    >>> folder("templates").name
    'templates'
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise ValueError(f"{package}: {name!r} is not a folder of the library; it must be 'sql' or 'templates'.")
