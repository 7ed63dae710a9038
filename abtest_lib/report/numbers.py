"""How numbers are printed: effects with their interval, means, shares, p-values, and what has none."""

from collections.abc import Iterable, Mapping
from math import ceil, isfinite, log10
from typing import Any

from abtest_lib.report.text import clean_name


def missing_reason(value: Any) -> str:
    """Say why a value was not computed.

    Parameters
    ----------
    value : Any
        A number or interval of ``results.json``, or its ``{"not_computed": reason}``.

    Returns
    -------
    str
        Empty if the value was computed.

    Examples
    --------
    >>> missing_reason({"not_computed": "the variance of control is zero"})
    'not computed, because the variance of control is zero'
    >>> missing_reason(0.05)
    ''
    """
    if isinstance(value, Mapping) and "not_computed" in value:
        reason = clean_name(value["not_computed"], 300)
    elif value is None:
        reason = "the results give no reason"
    elif isinstance(value, float) and not isfinite(value):
        reason = "the value is not finite"
    else:
        return ""
    return f"not computed, because {reason}"


def finite_number(value: Any) -> float | None:
    """Return a value if it is a finite number.

    Parameters
    ----------
    value : Any
        A number of ``results.json``, null, or a ``{"not_computed": reason}``.

    Returns
    -------
    float or None

    Examples
    --------
    >>> finite_number(0.05), finite_number({"not_computed": "the mean of the control is zero"})
    (0.05, None)
    """
    return None if value is None or isinstance(value, Mapping) or not isfinite(value) else float(value)


def interval_ends(value: Any) -> tuple[float | None, float | None]:
    """Return the ends of an interval; None stands for an end that is missing or infinite.

    Parameters
    ----------
    value : Any
        An interval of ``results.json``, null, or a ``{"not_computed": reason}``.

    Returns
    -------
    tuple of (float or None)

    Examples
    --------
    >>> interval_ends([0.017, 0.067]), interval_ends(None)
    ((0.017, 0.067), (None, None))
    """
    low, high = (None, None) if value is None or isinstance(value, Mapping) else value
    return finite_number(low), finite_number(high)


def signed(value: float, decimals: int) -> str:
    """Write a change with its sign; what rounds to zero has none.

    Parameters
    ----------
    value : float
    decimals : int

    Returns
    -------
    str

    Examples
    --------
    >>> signed(-1234.56, 1), signed(0.01, 1)
    ('−1,234.6', '0.0')
    """
    digits = f"{abs(value):,.{decimals}f}"
    if not float(digits.replace(",", "")):
        return digits
    return ("+" if value > 0 else "−") + digits


def _decimals(numbers: Iterable[float | None], fences: Iterable[float], least: int) -> int:
    """Return how many decimals show the width of an interval and on which side of each fence its ends lie."""
    known = [number for number in numbers if number is not None]
    width = max(known) - min(known) if len(known) > 1 else max(abs(known[0]), 0.0)
    decimals = max(least, ceil(-log10(width)) + 1) if width > 0 else least
    decimals = 0 if width >= 200 else min(decimals, 6)
    while decimals < 6 and any(
        number != fence and round(number, decimals) == round(fence, decimals) for number in known for fence in fences
    ):
        decimals += 1
    return decimals


def _estimate(
    value: Any, interval: Any, *, scale: float, suffix: str, least: int = 0, fences: Iterable[float] = (0.0,)
) -> tuple[str, str]:
    """Format an effect and its interval with the same decimals; a missing one becomes its reason."""
    number, (low, high) = finite_number(value), interval_ends(interval)
    known = [entry * scale for entry in (number, low, high) if entry is not None]
    if not known:
        return missing_reason(value), missing_reason(interval)
    decimals = _decimals(known, [fence * scale for fence in fences], least)
    text = {entry: signed(entry * scale, decimals) for entry in (number, low, high) if entry is not None}
    effect = missing_reason(value) if number is None else text[number] + suffix
    inner = suffix if suffix == "%" else ""
    if low is None and high is None:
        return effect, missing_reason(interval)
    if low is None:
        return effect, f"at most {text[high]}{suffix}"
    if high is None:
        return effect, f"at least {text[low]}{suffix}"
    return effect, f"{text[low]}{inner} to {text[high]}{suffix}"


def relative_change(value: Any, interval: Any, fences: Iterable[float] = ()) -> tuple[str, str]:
    """Write a relative effect and its interval in percent, with the same decimals.

    Parameters
    ----------
    value, interval : Any
        Fractions, of ``results.json``.
    fences : iterable of float
        Fractions besides zero that no end of the interval may be rounded onto or over.

    Returns
    -------
    tuple of str
        What is missing is replaced by its reason.

    Examples
    --------
    >>> relative_change(0.0415, [0.017, 0.0666], fences=(0.02,))
    ('+4.2%', '+1.7% to +6.7%')
    >>> relative_change(0.011, [0.0004, 0.0216])
    ('+1.10%', '+0.04% to +2.16%')
    """
    return _estimate(value, interval, scale=100, suffix="%", least=1, fences=(0.0, *fences))


def absolute_change(comparison: Mapping[str, Any], metric: Mapping[str, Any]) -> tuple[str, str]:
    """Write an effect and its interval in the metric's own unit; a difference of shares is in percentage points.

    Parameters
    ----------
    comparison : mapping
        With ``effect`` and ``effect_interval``, of ``results.json``.
    metric : mapping
        With ``kind`` and ``unit``.

    Returns
    -------
    tuple of str
        What is missing is replaced by its reason.

    Examples
    --------
    >>> absolute_change({"effect": 0.354, "effect_interval": [0.13, 0.578]}, {"kind": "mean", "unit": "USD"})
    ('+0.35 USD', '+0.13 to +0.58 USD')
    """
    share = metric["kind"] in ("proportion", "retention")
    suffix = " pp" if share else _unit(metric)
    return _estimate(
        comparison["effect"], comparison["effect_interval"], scale=100 if share else 1, suffix=suffix, least=int(share)
    )


def _unit(metric: Mapping[str, Any]) -> str:
    if metric.get("unit"):
        return f" {clean_name(metric['unit'], 20)}"
    return " per unit" if metric["kind"] == "count" else ""


def mean_text(value: Any, metric: Mapping[str, Any]) -> str:
    """Write a variant's mean with three digits if it is a share, else with four and its unit.

    Parameters
    ----------
    value : Any
        Of ``results.json``.
    metric : mapping
        With ``kind`` and ``unit``.

    Returns
    -------
    str

    Examples
    --------
    >>> mean_text(0.0821, {"kind": "proportion"}), mean_text(18.42, {"kind": "mean", "unit": "USD"})
    ('8.21%', '18.42 USD')
    """
    if missing_reason(value):
        return missing_reason(value)
    share = metric["kind"] in ("proportion", "retention")
    number = float(value) * (100 if share else 1)
    wanted = 3 if share else 4
    decimals = max(0, wanted - 1 - int(log10(abs(number)) // 1)) if number else 1
    digits = f"{abs(number):,.{min(decimals, 8)}f}"
    return ("−" if number < 0 else "") + digits + ("%" if share else _unit(metric))


def percent(fraction: float) -> str:
    """Write a designed share, margin or level as short as it is exact.

    Parameters
    ----------
    fraction : float

    Returns
    -------
    str

    Examples
    --------
    >>> percent(0.03), percent(0.95), percent(0.99999)
    ('3%', '95%', '99.999%')
    """
    decimals = 2
    while decimals < 6 and fraction != 1 and round(100 * fraction, decimals) == 100:
        decimals += 1
    digits = f"{100 * abs(fraction):.{decimals}f}".rstrip("0").rstrip(".")
    return ("−" if fraction < 0 else "") + digits + "%"


def _probability(value: float, alpha: float | None = None) -> str:
    if value < 0.001:
        return "< 0.001"
    if value > 0.99:
        return "> 0.99"
    digits = 2
    while digits < 5 and alpha is not None and value != alpha and float(f"{value:.{digits}g}") == alpha:
        digits += 1
    text = f"{value:#.{digits}g}"
    return f"= {text}"


def pvalue_text(value: Any, night: Mapping[str, Any], label: str = "p") -> str:
    """Write a p-value with two digits, or more where two would hide on which side of alpha it lies.

    Parameters
    ----------
    value : Any
        Of ``results.json``.
    night : mapping
        With ``stage`` and ``experiment.alpha``.
    label : str
        What is put before the value.

    Returns
    -------
    str
        Empty on interim nights, which have no p-value.

    Examples
    --------
    >>> final = {"stage": "final", "experiment": {"alpha": 0.05}}
    >>> pvalue_text(0.0123, final), pvalue_text(0.0499, final), pvalue_text(0.0123, final | {"stage": "interim"})
    ('p = 0.012', 'p = 0.0499', '')
    """
    number = finite_number(value)
    if number is None or night["stage"] == "interim":
        return ""
    return f"{label} {_probability(number, night['experiment']['alpha'])}"
