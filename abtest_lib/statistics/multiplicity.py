"""P-values and error rates of a family of tests that are read together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bonferroni(pvalues: Sequence[float], family_size: int | None = None) -> list[float]:
    """Return p-values that hold over a whole family, by Bonferroni's inequality.

    Parameters
    ----------
    pvalues : sequence of float, in [0, 1]
        The tests at hand.
    family_size : int, optional
        Tests declared in the family, when more were declared than could be computed; default ``len(pvalues)``.

    Returns
    -------
    list of float
        ``min(1, family_size * p)``, in the order given.

    Raises
    ------
    ValueError
        If a p-value is not in [0, 1] or ``family_size`` is below the number of p-values.

    References
    ----------
    .. [1] Dunn (1961), JASA 56(293). doi:10.1080/01621459.1961.10482090

    Examples
    --------
    >>> bonferroni([0.01, 0.2, 0.04])
    [0.03, 0.6000000000000001, 0.12]
    >>> bonferroni([0.01], family_size=6)
    [0.06]
    """
    values, size = _checked(pvalues, family_size)
    return np.minimum(1.0, size * values).tolist()


def bonferroni_alpha(alpha: float, family_size: int) -> float:
    """Return the alpha of one test or interval when ``family_size`` of them share ``alpha``.

    Parameters
    ----------
    alpha : float, in (0, 1)
        Error rate of the whole family.
    family_size : int
        Tests in the family, at least 1.

    Raises
    ------
    ValueError
        If ``alpha`` is not in (0, 1) or ``family_size`` is below 1.

    Examples
    --------
    >>> bonferroni_alpha(0.05, 5)
    0.01
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    if family_size < 1:
        raise ValueError(f"family_size is {family_size}; it must be at least 1.")
    return alpha / family_size


def holm(pvalues: Sequence[float], family_size: int | None = None) -> list[float]:
    """Return p-values that hold over a whole family, by Holm's step-down procedure.

    Never larger than Bonferroni's, with the same guarantee; there is no matching set of intervals.

    Parameters
    ----------
    pvalues : sequence of float, in [0, 1]
    family_size : int, optional
        Tests declared in the family; default ``len(pvalues)``. Tests that are missing count as not shown.

    Returns
    -------
    list of float
        In the order given.

    Raises
    ------
    ValueError
        If a p-value is not in [0, 1] or ``family_size`` is below the number of p-values.

    References
    ----------
    .. [1] Holm (1979), Scandinavian Journal of Statistics 6(2), 65-70. https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values, size = _checked(pvalues, family_size)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * (size - np.arange(values.size)))
    return _in_order(stepped, order)


def hochberg(pvalues: Sequence[float], family_size: int | None = None) -> list[float]:
    """Return p-values that hold over a family of tests that are not negatively dependent, by Hochberg's procedure.

    Parameters
    ----------
    pvalues : sequence of float, in [0, 1]
    family_size : int, optional
        Tests declared in the family; default ``len(pvalues)``. Tests that are missing count as p = 1.

    Returns
    -------
    list of float
        In the order given; never larger than Holm's.

    Raises
    ------
    ValueError
        If a p-value is not in [0, 1] or ``family_size`` is below the number of p-values.

    References
    ----------
    .. [1] Hochberg (1988), Biometrika 75(4). doi:10.1093/biomet/75.4.800

    Examples
    --------
    >>> hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    values, size = _checked(pvalues, family_size)
    order = np.argsort(values, kind="stable")
    stepped = values[order] * (size - np.arange(values.size))
    return _in_order(_from_the_top(stepped), order)


def benjamini_hochberg(pvalues: Sequence[float], family_size: int | None = None) -> list[float]:
    """Return p-values adjusted so that reading those below ``q`` holds the false discovery rate at ``q``.

    A weaker promise than Bonferroni's: a share ``q`` of what is read as shown may be false.

    Parameters
    ----------
    pvalues : sequence of float, in [0, 1]
    family_size : int, optional
        Tests declared in the family; default ``len(pvalues)``. Tests that are missing count as p = 1.

    Returns
    -------
    list of float
        In the order given.

    Raises
    ------
    ValueError
        If a p-value is not in [0, 1] or ``family_size`` is below the number of p-values.

    References
    ----------
    .. [1] Benjamini, Hochberg (1995), JRSS B 57(1). doi:10.1111/j.2517-6161.1995.tb02031.x

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.005])
    [0.02, 0.04, 0.04, 0.02]
    """
    values, size = _checked(pvalues, family_size)
    order = np.argsort(values, kind="stable")
    stepped = values[order] * size / np.arange(1, values.size + 1)
    return _in_order(_from_the_top(stepped), order)


def _from_the_top(stepped: np.ndarray) -> np.ndarray:
    """Running minimum from the largest p-value down; missing tests stand above them all with p = 1."""
    return np.minimum.accumulate(np.minimum(stepped, 1.0)[::-1])[::-1] if stepped.size else stepped


def _in_order(stepped: np.ndarray, order: np.ndarray) -> list[float]:
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def _checked(pvalues: Sequence[float], family_size: int | None) -> tuple[np.ndarray, int]:
    values = np.asarray(pvalues, dtype=float)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"pvalues is {pvalues!r}; it must be a flat list of numbers in [0, 1].")
    size = values.size if family_size is None else family_size
    if size < values.size:
        raise ValueError(f"family_size is {family_size}; it must be at least the number of p-values, {values.size}.")
    return values, size
