"""One treatment against control on one metric: what all looks so far say together, as plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtri

from abtest_lib.cohorts import Arm, Look
from abtest_lib.definitions import Metric
from abtest_lib.statistics import inference
from abtest_lib.statistics.estimates import NotComputed
from abtest_lib.statistics.guardrails import GuardrailReading, non_inferiority
from abtest_lib.statistics.harm import harm_holds
from abtest_lib.statistics.inference import Comparison
from abtest_lib.statistics.looks import difference_information, estimate_after_stop, look_levels, sequential_pvalue
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.multiplicity import bonferroni_alpha
from abtest_lib.statistics.quantile_histograms import QUANTILE_METHOD
from abtest_lib.statistics.ratios import RATIO_METHOD
from abtest_lib.statistics.spending import Spending

# Of what is not a mean, but is compared as one: of a comparison, and what stands before the method of a guardrail.
METHODS = {
    "ratio": (RATIO_METHOD, "delta method clustered on the unit"),
    "quantile": (QUANTILE_METHOD, "quantiles with outer intervals clustered on the unit"),
}


@dataclass(frozen=True)
class Read:
    """Control and treatment as one look counts them; ``look`` is None on a night that may not test."""

    look: Look | None
    control: Arm
    treatment: Arm


def compare_over_looks(
    metric: Metric, variant: str, reads: Sequence[Read], *, alpha: float, family: int, spending: Spending
) -> dict:
    """What do all looks so far say of the effect on one metric?

    Parameters
    ----------
    metric : Metric
        Its kind chooses the test, its direction the word.
    variant : str
        The treatment.
    reads : sequence of Read
        Oldest look first, tonight's last; a single one without a look on a night that may not test.
    alpha : float
        Of all comparisons of the family and all looks together.
    family : int
        Comparisons that share ``alpha`` (Bonferroni).
    spending : callable
        How alpha is spent over the looks.

    Returns
    -------
    dict
        A comparison of ``results.json``. The estimate is tonight's; its interval holds at all looks together, so it may
        be read on any night; the word is that of the first look which stopped, and stays.

    Raises
    ------
    ValueError
        If information falls from look to look.

    Examples
    --------
    >>> import datetime as dt
    >>> from abtest_lib.definitions import load_catalogue
    >>> from abtest_lib.statistics.spending import obrien_fleming_spending
    >>> metric = load_catalogue("experiments").metrics["conversion"]
    >>> look = Look(dt.date(2026, 3, 3), dt.date(2026, 2, 23), 1.0)
    >>> read = Read(look, Moments(1000, 0.10, 90.0), Moments(1000, 0.14, 120.4))
    >>> plan = {"alpha": 0.05, "family": 1, "spending": obrien_fleming_spending}
    >>> compare_over_looks(metric, "treatment", [read], **plan)["reading"]
    'better'
    """
    shared, alpha = alpha, bonferroni_alpha(alpha, family)
    tonight, reads = reads[-1], [read for read in reads if _refusal(read) is None]
    if refusal := _refusal(tonight):
        return {"variant": variant, **as_json(refusal)}
    levels = _levels(reads, alpha, 2, spending)
    found = [_compare(metric, read, level or alpha) for read, level in zip(reads, levels, strict=True)]
    last = found[-1]
    if isinstance(last, NotComputed):
        return {"variant": variant, **as_json(last)}
    words = [_word(metric, one, level) for one, level in zip(found, levels, strict=True)]
    stop = next((number for number, word in enumerate(words) if word in ("better", "worse")), None)
    over_looks = _pvalue_over_looks(reads, found, levels, spending)
    adjusted = _agreeing(over_looks * family, shared, stop) if isinstance(over_looks, float) else as_json(over_looks)
    return {
        "variant": variant,
        **_arms(tonight),
        "effect": last.effect,
        "effect_interval": list(last.effect_interval),
        "relative_effect": as_json(last.relative_effect),
        "relative_interval": as_json(last.relative_interval),
        "standard_error": last.standard_error,
        "confidence_level": 1 - alpha,
        "pvalue": as_json(last.pvalue) if levels[-1] else None,
        "pvalue_adjusted": adjusted,
        "family_size": family,
        "reading": words[-1 if stop is None else stop],
        "method": last.method,
        **_adjustment(metric, last),
        **_sequence(reads, found, levels, stop, alpha),
    }


def guardrail_over_looks(
    metric: Metric,
    variant: str,
    reads: Sequence[Read],
    *,
    margin: float,
    alpha: float,
    alpha_harm: float,
    spending: Spending,
) -> dict:
    """What do all looks so far say of a guardrail: proved safe, proved harmful, or not yet either?

    Parameters
    ----------
    metric : Metric
        Without a covariate: a margin is a share of the control's mean.
    variant : str
        The treatment.
    reads : sequence of Read
        As of ``compare_over_looks``.
    margin : float
        Relative, in the bad direction.
    alpha : float
        Two-sided; safety is proved at half of it, spent over the looks.
    alpha_harm : float
        One-sided, of one night; harm is read on every night.
    spending : callable
        How alpha is spent over the looks.

    Returns
    -------
    dict
        A comparison of ``results.json`` with ``outcome``, ``pvalue_safe`` and ``harm_interval``. Harm proved tonight
        comes before safety proved at an earlier look; it must hold with few units too (``harm_holds``).

    Raises
    ------
    ValueError
        If information falls from look to look.

    Examples
    --------
    >>> from abtest_lib.definitions import load_catalogue
    >>> from abtest_lib.statistics.spending import obrien_fleming_spending
    >>> metric = load_catalogue("experiments").metrics["conversion"]
    >>> read = Read(None, Moments(1000, 0.14, 120.4), Moments(1000, 0.04, 38.4))
    >>> guardrail_over_looks(metric, "treatment", [read], margin=0.1, alpha=0.05, alpha_harm=0.001,
    ...                      spending=obrien_fleming_spending)["outcome"]
    'harmful'
    """
    compared = compare_over_looks(metric, variant, reads, alpha=alpha, family=1, spending=spending)
    if "not_computed" in compared:
        return compared
    tonight, reads = reads[-1], [read for read in reads if _refusal(read) is None]
    levels = _levels(reads, alpha / 2, 1, spending)
    found = [
        _non_inferiority(metric, read, margin, level or alpha / 2, alpha_harm)
        for read, level in zip(reads, levels, strict=True)
    ]
    last = found[-1]
    if isinstance(last, NotComputed):
        return {"variant": variant, **as_json(last)}
    pvalues = [one.pvalue_safe if isinstance(one, GuardrailReading) else 1.0 for one in found]
    safe = any(pvalue < level for pvalue, level in zip(pvalues, levels, strict=True))
    tested = {"kind": _kind(metric), "margin": margin, "better": metric.better, "alpha_harm": alpha_harm}
    harmful = last.harmful and harm_holds(_outcome(tonight.control), _outcome(tonight.treatment), **tested)
    return {
        **compared,
        "relative_interval": as_json(last.relative_interval),
        "confidence_level": 1 - alpha,
        "outcome": "harmful" if harmful else "safe" if safe else "not_yet",
        "pvalue_safe": _over_looks(reads, pvalues, levels, 1, spending) if levels[-1] else None,
        "harm_interval": as_json(last.harm_interval),
        "harm_confidence_level": last.harm_confidence_level,
        "method": last.method,
    }


def as_json(value: Any) -> Any:
    """Return a value of the statistics as JSON has it.

    Parameters
    ----------
    value : NotComputed, tuple or plain value
        What a function of ``abtest_lib.statistics`` returned.

    Examples
    --------
    >>> as_json(NotComputed("control has no units")), as_json((0.1, 0.2))
    ({'not_computed': 'control has no units'}, [0.1, 0.2])
    """
    if isinstance(value, NotComputed):
        return {"not_computed": value.reason}
    return list(value) if isinstance(value, tuple) else value


def _refusal(read: Read) -> NotComputed | None:
    """Why a look can compare nothing: too few units, or a ratio without a denominator."""
    for name, arm in (("control", read.control), ("the treatment", read.treatment)):
        if isinstance(arm, NotComputed):
            return NotComputed(f"of {name}: {arm.reason}")
        if arm.n < 2:
            return NotComputed(f"{name} has {arm.n} mature units with a value, and at least 2 are needed")
    return None


def _levels(reads: Sequence[Read], alpha: float, sides: int, spending: Spending) -> list[float]:
    """The level of each read; 0 where it may not test."""
    if reads[-1].look is None:
        return [0.0]
    if _is_only(reads):
        return [alpha]
    return list(look_levels(_information(reads), _shares(reads), alpha=alpha, sides=sides, spending=spending))


def _shares(reads: Sequence[Read]) -> list[float]:
    return [read.look.share for read in reads]


def _is_only(reads: Sequence[Read]) -> bool:
    """Is the only look of the plan so far its last? Then nothing was spent before, and its p-value is its own."""
    return _shares(reads) == [1.0]


def _information(reads: Sequence[Read]) -> list[float]:
    """On the difference of the means, as if a unit of either arm said as much.

    Only its ratios matter, and in those the variances cancel where the arms keep their shares of the units. From units
    alone a later night gives the looks before it the levels that they had, so that what one proved stays proved.
    """
    counts = np.array([(read.control.n, read.treatment.n) for read in reads], dtype=float)
    return difference_information(counts[:, 0], counts[:, 1]).tolist()


def _pvalue_over_looks(
    reads: Sequence[Read], found: Sequence[Comparison | NotComputed], levels: Sequence[float], spending: Spending
) -> float | NotComputed | None:
    """Below alpha exactly when a look so far is below its level."""
    last = found[-1].pvalue
    if not levels[-1] or isinstance(last, NotComputed):
        return last if levels[-1] else None
    pvalues = [one.pvalue if isinstance(one, Comparison) else 1.0 for one in found]
    return _over_looks(reads, [p if isinstance(p, float) else 1.0 for p in pvalues], levels, 2, spending)


def _agreeing(pvalue: float, alpha: float, stop: int | None) -> float:
    """Below alpha exactly when a word is said: at its very edge test, interval and rounding may differ."""
    return max(alpha, min(pvalue, 1.0)) if stop is None else min(pvalue, float(np.nextafter(alpha, 0.0)))


def _over_looks(
    reads: Sequence[Read], pvalues: Sequence[float], levels: Sequence[float], sides: int, spending: Spending
) -> float:
    if _is_only(reads):
        return pvalues[0]
    return sequential_pvalue(_information(reads), pvalues, _shares(reads), sides=sides, spending=spending)


def _sequence(
    reads: Sequence[Read],
    found: Sequence[Comparison | NotComputed],
    levels: Sequence[float],
    stop: int | None,
    alpha: float,
) -> dict:
    """What a plan of several looks adds: how many there were, tonight's level, and the estimate after a stop."""
    if reads[-1].look is None or _is_only(reads):
        return {}
    entry = {"looks": len(reads), "level_tonight": levels[-1]}
    if stop is None:
        return entry
    one = found[stop]
    z = float(np.copysign(-ndtri(max(one.pvalue, 1e-300) / 2), one.effect))
    after = estimate_after_stop(_information(reads)[: stop + 1], levels[: stop + 1], z, alpha=alpha)
    # On the scale of z; times this it is on that of the effect.
    scale = one.effect / z
    return entry | {
        "stopped": {
            "on": str(reads[stop].look.night),
            "effect": after.median_unbiased * scale,
            "effect_interval": [end * scale for end in after.interval],
            "pvalue": after.pvalue,
        }
    }


def _compare(metric: Metric, read: Read, alpha: float) -> Comparison | NotComputed:
    control, treatment = read.control, read.treatment
    if isinstance(control, CoMoments) and isinstance(treatment, CoMoments):
        return inference.compare_adjusted_means(control, treatment, alpha=alpha)
    if metric.is_share:
        counts = [count for arm in (control, treatment) for count in (round(arm.n * arm.mean), arm.n)]
        return inference.compare_proportions(*counts, alpha=alpha)
    compared = inference.compare_means(control, treatment, alpha=alpha)
    if metric.kind in METHODS and isinstance(compared, Comparison):
        return replace(compared, method=METHODS[metric.kind][0])
    return compared


def _non_inferiority(
    metric: Metric, read: Read, margin: float, alpha: float, alpha_harm: float
) -> GuardrailReading | NotComputed:
    reading = non_inferiority(
        read.control,
        read.treatment,
        kind=_kind(metric),
        margin=margin,
        better=metric.better,
        alpha=alpha,
        alpha_harm=alpha_harm,
    )
    if metric.kind in METHODS and isinstance(reading, GuardrailReading):
        return replace(reading, method=f"{METHODS[metric.kind][1]}; {reading.method}")
    return reading


def _kind(metric: Metric) -> str:
    return "proportion" if metric.is_share else "mean"


def _word(metric: Metric, found: Comparison | NotComputed, level: float) -> str:
    """A word is a claim: the test and the interval must both make it."""
    if not level:
        return "interim"
    if isinstance(found, NotComputed) or isinstance(found.pvalue, NotComputed):
        return "not_shown"
    low, high = found.effect_interval
    if found.pvalue >= level or low <= 0 <= high:
        return "not_shown"
    return "better" if (low > 0) == (metric.better == "higher") else "worse"


def _adjustment(metric: Metric, found: Comparison) -> dict:
    if found.adjustment is None or metric.covariate is None:
        return {}
    return {
        "adjustment": {
            "covariate": metric.covariate.attribute,
            "theta": found.adjustment.theta,
            "variance_removed": found.adjustment.variance_removed,
            "unadjusted_effect": found.adjustment.unadjusted_effect,
            "unadjusted_interval": list(found.adjustment.unadjusted_interval),
        }
    }


def _arms(read: Read) -> dict:
    control, treatment = _outcome(read.control), _outcome(read.treatment)
    return {
        "n_control": control.n,
        "n_treatment": treatment.n,
        "mean_control": control.mean,
        "mean_treatment": treatment.mean,
    }


def _outcome(arm: Arm) -> Moments:
    return arm.outcome if isinstance(arm, CoMoments) else arm
