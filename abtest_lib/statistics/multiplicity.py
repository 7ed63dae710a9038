"""P-values and error rates of a family of tests that are read together.

A flat list of p-values gives a list back, an array an array; the family is the last axis of an array, so that many
families are adjusted at once. ``adjusted_intervals`` has the intervals that go with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PValues = Sequence[float] | np.ndarray
Adjusted = list[float] | np.ndarray


def bonferroni(pvalues: PValues, family_size: int | None = None) -> Adjusted:
    """Return p-values that hold over a whole family, by Bonferroni's inequality.

    Parameters
    ----------
    pvalues : sequence or array of float, in [0, 1]
        The tests at hand.
    family_size : int, optional
        Tests declared in the family, when more were declared than could be computed; default the number of p-values.

    Returns
    -------
    list of float, or array
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
    return _like(pvalues, np.minimum(1.0, size * values))


def bonferroni_alpha(alpha: float, family_size: int) -> float:
    """Return the alpha of one test or interval when ``family_size`` of them share ``alpha``.

    Parameters
    ----------
    alpha : float, in (0, 1)
        Error rate of the whole family.
    family_size : int
        Tests in the family, at least 1.

    Returns
    -------
    float
        ``alpha / family_size``.

    Raises
    ------
    ValueError
        If ``alpha`` is not in (0, 1) or ``family_size`` is not a whole number of at least 1.

    References
    ----------
    .. [1] Dunn (1961), JASA 56(293). doi:10.1080/01621459.1961.10482090

    Examples
    --------
    >>> bonferroni_alpha(0.05, 5)
    0.01
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    if not (family_size >= 1 and family_size % 1 == 0):
        raise ValueError(f"family_size is {family_size}; it must be a whole number, at least 1.")
    return alpha / family_size


def holm(pvalues: PValues, family_size: int | None = None) -> Adjusted:
    """Return p-values that hold over a whole family, by Holm's step-down procedure.

    Never larger than Bonferroni's, with the same guarantee for the p-values; see ``adjusted_alphas`` for the intervals.

    Parameters
    ----------
    pvalues : sequence or array of float, in [0, 1]
    family_size : int, optional
        Tests declared in the family; default the number of p-values. Tests that are missing count as not shown.

    Returns
    -------
    list of float, or array
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
    order = np.argsort(values, axis=-1, kind="stable")
    stepped = np.take_along_axis(values, order, -1) * (size - np.arange(values.shape[-1]))
    return _in_order(pvalues, np.maximum.accumulate(stepped, axis=-1), order)


def hochberg(pvalues: PValues, family_size: int | None = None) -> Adjusted:
    """Return p-values that hold over a family of tests that are not negatively dependent, by Hochberg's procedure.

    Parameters
    ----------
    pvalues : sequence or array of float, in [0, 1]
    family_size : int, optional
        Tests declared in the family; default the number of p-values. Tests that are missing count as p = 1.

    Returns
    -------
    list of float, or array
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
    order = np.argsort(values, axis=-1, kind="stable")
    stepped = np.take_along_axis(values, order, -1) * (size - np.arange(values.shape[-1]))
    return _in_order(pvalues, _from_the_top(stepped), order)


def benjamini_hochberg(pvalues: PValues, family_size: int | None = None) -> Adjusted:
    """Return p-values adjusted so that reading those below ``q`` holds the false discovery rate at ``q``.

    A weaker promise than Bonferroni's: a share ``q`` of what is read as shown may be false.

    Parameters
    ----------
    pvalues : sequence or array of float, in [0, 1]
    family_size : int, optional
        Tests declared in the family; default the number of p-values. Tests that are missing count as p = 1.

    Returns
    -------
    list of float, or array
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
    return _step_up(pvalues, values, size)


def benjamini_yekutieli(pvalues: PValues, family_size: int | None = None) -> Adjusted:
    """Return p-values adjusted for the false discovery rate, however the tests depend on each other.

    Larger than ``benjamini_hochberg``'s by the factor 1 + 1/2 + ... + 1/m, which is 2.9 in a family of ten.

    Parameters
    ----------
    pvalues : sequence or array of float, in [0, 1]
    family_size : int, optional
        Tests declared in the family; default the number of p-values. Tests that are missing count as p = 1.

    Returns
    -------
    list of float, or array
        In the order given.

    Raises
    ------
    ValueError
        If a p-value is not in [0, 1] or ``family_size`` is below the number of p-values.

    References
    ----------
    .. [1] Benjamini, Yekutieli (2001), Annals of Statistics 29(4). doi:10.1214/aos/1013699998

    Examples
    --------
    >>> [round(pvalue, 4) for pvalue in benjamini_yekutieli([0.01, 0.04, 0.03, 0.005])]
    [0.0417, 0.0833, 0.0833, 0.0417]
    """
    values, size = _checked(pvalues, family_size)
    return _step_up(pvalues, values, size * harmonic_number(size))


def hommel(pvalues: PValues, family_size: int | None = None) -> Adjusted:
    """Return p-values that hold over a family of tests that are not negatively dependent, by Hommel's procedure.

    Never larger than Hochberg's, under the same condition: that Simes' inequality holds.

    Parameters
    ----------
    pvalues : sequence or array of float, in [0, 1]
    family_size : int, optional
        Tests declared in the family; default the number of p-values. Tests that are missing count as p = 1.

    Returns
    -------
    list of float, or array
        In the order given.

    Raises
    ------
    ValueError
        If a p-value is not in [0, 1] or ``family_size`` is below the number of p-values.

    References
    ----------
    .. [1] Hommel (1988), Biometrika 75(2). doi:10.1093/biomet/75.2.383
    .. [2] Wright (1992), Biometrics 48(4). doi:10.2307/2532694

    Examples
    --------
    >>> hommel([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    values, size = _checked(pvalues, family_size)
    count = values.shape[-1]
    if size == 0:
        return _like(pvalues, values)
    missing = np.ones((*values.shape[:-1], size - count))
    whole = np.concatenate([values, missing], axis=-1)
    order = np.argsort(whole, axis=-1, kind="stable")
    ordered = np.take_along_axis(whole, order, -1)
    adjusted = np.array(ordered)
    # Simes' test of every set of tests that has `members` of them; Wright's algorithm needs only these.
    for members in range(size, 1, -1):
        first, last = ordered[..., : size - members + 1], ordered[..., size - members + 1 :]
        simes = (members * last / np.arange(2, members + 1)).min(axis=-1, keepdims=True)
        largest = np.minimum(members * first, simes)
        adjusted[..., : size - members + 1] = np.maximum(adjusted[..., : size - members + 1], largest)
        adjusted[..., size - members + 1 :] = np.maximum(adjusted[..., size - members + 1 :], largest[..., -1:])
    placed = np.empty_like(adjusted)
    np.put_along_axis(placed, order, np.minimum(adjusted, 1.0), -1)
    return _like(pvalues, placed[..., :count])


def harmonic_number(size: int) -> float:
    """Return 1 + 1/2 + ... + 1/size, the price of a false discovery rate under any dependence.

    Parameters
    ----------
    size : int
        At least 0.

    Returns
    -------
    float
        0.0 of no tests.

    References
    ----------
    .. [1] Benjamini, Yekutieli (2001), Annals of Statistics 29(4). doi:10.1214/aos/1013699998

    Examples
    --------
    >>> harmonic_number(4)
    2.083333333333333
    """
    return float((1.0 / np.arange(1, size + 1)).sum())


def _step_up(pvalues: PValues, values: np.ndarray, factor: float) -> Adjusted:
    order = np.argsort(values, axis=-1, kind="stable")
    stepped = np.take_along_axis(values, order, -1) * factor / np.arange(1, values.shape[-1] + 1)
    return _in_order(pvalues, _from_the_top(stepped), order)


def _from_the_top(stepped: np.ndarray) -> np.ndarray:
    """Running minimum from the largest p-value down; missing tests stand above them all with p = 1."""
    return np.minimum.accumulate(np.minimum(stepped, 1.0)[..., ::-1], axis=-1)[..., ::-1]


def _in_order(pvalues: PValues, stepped: np.ndarray, order: np.ndarray) -> Adjusted:
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), -1)
    return _like(pvalues, adjusted)


def _like(pvalues: PValues, adjusted: np.ndarray) -> Adjusted:
    return adjusted if isinstance(pvalues, np.ndarray) else adjusted.tolist()


def _checked(pvalues: PValues, family_size: int | None) -> tuple[np.ndarray, int]:
    values = np.asarray(pvalues, dtype=float)
    flat = values.ndim >= 1 if isinstance(pvalues, np.ndarray) else values.ndim == 1
    if not flat or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"pvalues is {pvalues!r}; it must be a flat list, or an array, of numbers in [0, 1].")
    count = values.shape[-1]
    size = count if family_size is None else family_size
    if not (size >= count and size % 1 == 0):
        raise ValueError(
            f"family_size is {family_size}; it must be a whole number, at least that of the p-values, {count}."
        )
    return values, size
