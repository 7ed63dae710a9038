"""Which errors a report may make, how often each is allowed, and what that adds up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Kind = Literal["decision", "stop", "exploration"]
KINDS: tuple[Kind, ...] = ("decision", "stop", "exploration")


@dataclass(frozen=True)
class BudgetRow:
    """Account for one claim that a report can wrongly make.

    Parameters
    ----------
    kind : {"decision", "stop", "exploration"}
        Whether the claim decides at the horizon, may stop the experiment on the way, or decides nothing.
    claim : str
        The error, in words.
    comparisons, looks : int
        Comparisons that share the error, and the nights on which each is read.
    method : str
        How it is shared.
    per_comparison : Fraction
        Of one comparison over all of its looks.
    per_look : tuple of Fraction
        Of one comparison at each of its looks; adds up to ``per_comparison``.
    promised : Fraction
        At most so often is the claim ever made wrongly: ``comparisons`` times ``per_comparison``.
    """

    kind: Kind
    claim: str
    comparisons: int
    looks: int
    method: str
    per_comparison: Fraction
    per_look: tuple[Fraction, ...]
    promised: Fraction


@dataclass(frozen=True)
class ErrorBudget:
    """Hold all rows of the ledger; sums are exact.

    Parameters
    ----------
    rows : tuple of BudgetRow
    """

    rows: tuple[BudgetRow, ...]

    @property
    def promised_by_kind(self) -> dict[Kind, Fraction]:
        """Sum of the rows of each kind: no more often is any claim of the kind ever made wrongly."""
        return {kind: sum((row.promised for row in self.rows if row.kind == kind), Fraction(0)) for kind in KINDS}

    @property
    def promised(self) -> Fraction:
        """Sum of all rows; above 1 it promises nothing."""
        return sum((row.promised for row in self.rows), Fraction(0))

    def as_dict(self) -> dict:
        """Return plain values for JSON, with floats."""
        return {
            "rows": [
                {
                    "kind": row.kind,
                    "claim": row.claim,
                    "comparisons": row.comparisons,
                    "looks": row.looks,
                    "method": row.method,
                    "per_comparison": float(row.per_comparison),
                    "per_look": [float(level) for level in row.per_look],
                    "promised": float(row.promised),
                }
                for row in self.rows
            ],
            "promised_by_kind": {kind: float(value) for kind, value in self.promised_by_kind.items()},
            "promised": float(self.promised),
        }


def error_budget(
    *,
    alpha: float,
    primary_metrics: int,
    treatments: int,
    secondary_metrics: int = 0,
    guardrails: int = 0,
    segment_values: Sequence[int] = (),
    nights: int = 1,
    looks_spent: Sequence[float] = (1.0,),
    harm_alpha: float = 0.05,
    safety_alpha: float | None = None,
    sample_ratio_alpha: float = 0.01,
    splits: int = 1,
    checks: Mapping[str, float] | None = None,
) -> ErrorBudget:
    """Return the ledger of the error budget of one experiment.

    Parameters
    ----------
    alpha : float, in (0, 1)
        Of the primary family, and of each treatment's family of segments and of tests whether segments differ.
    primary_metrics, treatments : int
        At least 1.
    secondary_metrics, guardrails : int
        At least 0. Secondary metrics are not corrected.
    segment_values : sequence of int
        Number of values of each segment attribute, each at least 1.
    nights : int
        On which harm and the sample ratio are read, at least 1.
    looks_spent : sequence of float
        Share of its alpha that each comparison, except for harm, the sample ratio and whether segments differ, spends
        at each look; adds up to 1. Default one look.
    harm_alpha : float, in (0, 1)
        Shared by guardrails, treatments and nights.
    safety_alpha : float, in (0, 1), optional
        One-sided, of one guardrail for one treatment; default ``alpha / 2``. Not shared: a ship needs every guardrail
        safe, so that one guardrail at its margin is enough to be refused with probability 1 - safety_alpha.
    sample_ratio_alpha : float, in (0, 1)
        Shared by the nights and the splits.
    splits : int
        Groups of units whose split is tested, such as assigned, excluded and counted ones; at least 1.
    checks : mapping of str to float, optional
        Further claims, in words, that stop an experiment, with the error promised for each, as of a pre-period check.

    Returns
    -------
    ErrorBudget
        A row for each claim that this plan can make.

    Raises
    ------
    ValueError
        If an error rate is not in (0, 1), a count is too small or not whole, or ``looks_spent`` does not add up to 1.

    Notes
    -----
    Rows add up by Boole's inequality, which holds however claims depend on each other: the sum is an upper bound, and
    the rates in ``benchmarks/`` are below it. Numbers are exact fractions of the decimals given (0.05 is 1/20).

    References
    ----------
    .. [1] Dunn (1961), JASA 56(293). doi:10.1080/01621459.1961.10482090

    Examples
    --------
    >>> budget = error_budget(alpha=0.05, primary_metrics=2, treatments=1, guardrails=2, nights=28)
    >>> [(row.claim, row.comparisons, float(row.promised)) for row in budget.rows][:2]
    [('a dud is called better or worse', 2, 0.05), ('a harmful guardrail is called safe', 2, 0.05)]
    >>> {kind: float(promised) for kind, promised in budget.promised_by_kind.items()}
    {'decision': 0.1, 'stop': 0.06, 'exploration': 0.0}
    """
    _check_counts({"primary_metrics": primary_metrics, "treatments": treatments, "nights": nights, "splits": splits}, 1)
    _check_counts({"secondary_metrics": secondary_metrics, "guardrails": guardrails}, 0)
    _check_counts({f"segment_values[{at}]": count for at, count in enumerate(segment_values)}, 1)
    whole = _rate("alpha", alpha)
    safety = whole / 2 if safety_alpha is None else _rate("safety_alpha", safety_alpha)
    harm, ratio = _rate("harm_alpha", harm_alpha), _rate("sample_ratio_alpha", sample_ratio_alpha)
    spent = [_decimal(f"looks_spent[{at}]", share) for at, share in enumerate(looks_spent)]
    if any(share < 0 for share in spent) or abs(sum(spent) - 1) > Fraction(1, 10**9):
        raise ValueError(f"looks_spent is {list(looks_spent)}; shares must be at least 0 and add up to 1.")
    spent = [share / sum(spent) for share in spent]
    nightly = [Fraction(1, nights)] * nights
    primary = primary_metrics * treatments
    spending = "; alpha spending over looks" if len(spent) > 1 else ""
    claim = "a dud is called better or worse"
    rows = [_row("decision", claim, primary, whole / primary, spent, f"Bonferroni{spending}")]
    if guardrails:
        pairs = guardrails * treatments
        claim = "a harmful guardrail is called safe"
        rows.append(_row("decision", claim, pairs, safety, spent, f"each at its level{spending}"))
        rows.append(_row("stop", "a harmless guardrail is called harmful", pairs, harm / pairs, nightly, "Bonferroni"))
    rows.append(_row("stop", "a healthy split is stopped", splits, ratio / splits, nightly, "Bonferroni"))
    for claim, rate in (checks or {}).items():
        rows.append(_row("stop", claim, 1, _rate(f"checks[{claim!r}]", rate), [1], "at its level"))
    if segment_values:
        cells = sum(segment_values) * primary_metrics
        claim = "a segment is called better or worse"
        method = "Bonferroni by treatment"
        rows.append(_row("exploration", claim, cells * treatments, whole / cells, spent, f"{method}{spending}"))
        claim, tests = "equal segments are called different", len(segment_values) * primary_metrics
        rows.append(_row("exploration", claim, tests * treatments, whole / tests, [1], method))
    if secondary_metrics:
        claim = "a secondary metric is called better or worse"
        method = f"each at its level{spending}"
        rows.append(_row("exploration", claim, secondary_metrics * treatments, whole, spent, method))
    return ErrorBudget(tuple(rows))


def error_budget_table(budget: ErrorBudget) -> str:
    """Return the ledger as a table of plain text.

    Parameters
    ----------
    budget : ErrorBudget

    Returns
    -------
    str
        A line for each claim, then the sum of each kind.

    Examples
    --------
    >>> print(error_budget_table(error_budget(alpha=0.05, primary_metrics=1, treatments=2, nights=10)))
    claim                            comparisons  looks  each look  promised  method
    a dud is called better or worse            2      1      0.025      0.05  Bonferroni
    a healthy split is stopped                 1     10      0.001      0.01  Bonferroni
    sum: decision                                                       0.05
    sum: stop                                                           0.01
    """
    lines = [("claim", "comparisons", "looks", "each look", "promised", "method")]
    for row in budget.rows:
        levels = {f"{float(level):.3g}" for level in row.per_look}
        each = levels.pop() if len(levels) == 1 else "by plan"
        lines.append((row.claim, str(row.comparisons), str(row.looks), each, f"{float(row.promised):.4g}", row.method))
    lines += [
        (f"sum: {kind}", "", "", "", f"{float(value):.4g}", "")
        for kind, value in budget.promised_by_kind.items()
        if value
    ]
    widths = [max(len(line[at]) for line in lines) for at in range(6)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in (0, 5) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _row(
    kind: Kind, claim: str, comparisons: int, each: Fraction, spent: Sequence[Fraction | int], method: str
) -> BudgetRow:
    levels = tuple(each * share for share in spent)
    return BudgetRow(kind, claim, comparisons, len(spent), method, each, levels, comparisons * each)


def _check_counts(counts: Mapping[str, int], least: int) -> None:
    for name, count in counts.items():
        if not (count >= least and count % 1 == 0):
            raise ValueError(f"{name} is {count}; it must be a whole number, at least {least}.")


def _rate(name: str, value: float) -> Fraction:
    rate = _decimal(name, value)
    if not 0 < rate < 1:
        raise ValueError(f"{name} is {value}; it must be between 0 and 1.")
    return rate


def _decimal(name: str, value: float) -> Fraction:
    """The decimal that someone wrote, not the binary number nearest to it."""
    try:
        return Fraction(str(value))
    except ValueError:
        raise ValueError(f"{name} is {value}; it must be a finite number.") from None
