"""Renaming, and nothing else, between reference cases and the public library: ``METHODS`` maps a case's ``method``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from abtest_lib import guardrails, inference, intervals, multiplicity, proportions, sample_ratio, tails
from abtest_lib.estimates import (
    MeanEstimate,
    NotComputed,
    adjusted_estimates,
    log_ratio,
    log_ratio_standard_error,
    relative_standard_error,
    welch_df,
)
from abtest_lib.moments import CoMoments, Moments, merge, merge_co_moments

Inputs = Mapping[str, Any]
Answer = Mapping[str, Any]
ALTERNATIVES = {"two-sided": "two-sided", "greater": "greater", "lesser": "less"}
DIRECTIONS = {"higher_is_better": "greater", "lower_is_better": "less"}


def counts(inputs: Inputs) -> tuple[int, int, int, int]:
    return inputs["x_control"], inputs["n_control"], inputs["x_treat"], inputs["n_treat"]


def shares(inputs: Inputs) -> tuple[MeanEstimate, MeanEstimate]:
    return (
        MeanEstimate.of_proportion(inputs["x_control"], inputs["n_control"]),
        MeanEstimate.of_proportion(inputs["x_treat"], inputs["n_treat"]),
    )


def values(inputs: Inputs) -> tuple[Moments, Moments]:
    return Moments.from_values(inputs["control"]), Moments.from_values(inputs["treat"])


def estimates(inputs: Inputs) -> tuple[MeanEstimate, MeanEstimate]:
    control, treatment = values(inputs)
    return MeanEstimate.of_mean(control), MeanEstimate.of_mean(treatment)


def alpha(inputs: Inputs) -> float:
    return 1 - inputs["conf"]


def z_pooled(inputs: Inputs) -> Answer:
    result = inference.compare_proportions(*counts(inputs), alpha=alpha(inputs))
    return {"diff": result.effect, "z": result.statistic, "p_value": result.pvalue}


def wald_unpooled_ci(inputs: Inputs) -> Answer:
    return {"ci": intervals.wald_interval(*shares(inputs), alpha=alpha(inputs))}


def newcombe_hybrid_score_ci(inputs: Inputs) -> Answer:
    return {"ci": proportions.newcombe_interval(*counts(inputs), alpha=alpha(inputs))}


def wilson_ci(inputs: Inputs) -> Answer:
    return {"ci": proportions.wilson_interval(inputs["x"], inputs["n"], alpha=alpha(inputs))}


def log_rr_delta_ci(inputs: Inputs) -> Answer:
    result = inference.compare_proportions(*counts(inputs), alpha=alpha(inputs))
    return {
        "rr": intervals.as_ratio(result.relative_effect),
        "se_log": log_ratio_standard_error(*shares(inputs)),
        "ci": intervals.as_ratio(intervals.log_ratio_interval(*shares(inputs), alpha=alpha(inputs))),
    }


def rr_score_ci_koopman(inputs: Inputs) -> Answer:
    return {"ci": intervals.as_ratio(proportions.score_ratio_interval(*counts(inputs), alpha=alpha(inputs)))}


def welch_t(inputs: Inputs) -> Answer:
    result = inference.compare_means(*values(inputs), alpha=alpha(inputs))
    return {
        "diff": result.effect,
        "t": result.statistic,
        "df": result.df,
        "p_value": result.pvalue,
        "ci": result.effect_interval,
        "se": result.standard_error,
    }


def welch_t_one_sided_greater(inputs: Inputs) -> Answer:
    result = inference.compare_means(*values(inputs), alpha=alpha(inputs), alternative="greater")
    return {"p_value": result.pvalue, "ci_lower": result.effect_interval[0]}


def fieller_ci_welch_df(inputs: Inputs) -> Answer:
    control, treatment = estimates(inputs)
    result = inference.compare_means(*values(inputs), alpha=alpha(inputs))
    ratio = intervals.as_ratio(result.relative_effect)
    df = welch_df(control, treatment, ratio)
    interval = intervals.fieller_interval(control, treatment, alpha=alpha(inputs), df=df)
    normal = intervals.fieller_interval(control, treatment, alpha=alpha(inputs))
    return {
        "ratio": ratio,
        "df": result.df,
        "df_ci": df,
        "ci": intervals.as_ratio(interval),
        "ci_normal": intervals.as_ratio(normal),
    }


def delta_relative_lift(inputs: Inputs) -> Answer:
    control, treatment = estimates(inputs)
    return {
        "lift": inference.compare_relative_by_delta(control, treatment).relative_effect,
        "se": relative_standard_error(control, treatment),
        "ci": intervals.delta_interval(control, treatment, alpha=alpha(inputs)),
    }


def log_delta_relative_lift(inputs: Inputs) -> Answer:
    control, treatment = estimates(inputs)
    return {
        "log_ratio": log_ratio(control, treatment),
        "se": log_ratio_standard_error(control, treatment),
        "ci": intervals.log_ratio_interval(control, treatment, alpha=alpha(inputs)),
    }


def welch_t_with_relative_ci(inputs: Inputs) -> Answer:
    data, column = inputs["data"], inputs["spec"]["value"]
    rows = list(zip(data["variant"], data[column], strict=True))
    moments = [Moments.from_values(value for variant, value in rows if variant == arm) for arm in (0, 1)]
    result = inference.compare_means(*moments)
    control, treatment = (MeanEstimate.of_mean(arm) for arm in moments)
    df = welch_df(control, treatment, intervals.as_ratio(result.relative_effect))
    relative = intervals.log_ratio_interval(control, treatment, df=df)
    return {
        "control": control.mean,
        "treatment": treatment.mean,
        "effect_size": result.effect,
        "effect_size_ci_lower": result.effect_interval[0],
        "effect_size_ci_upper": result.effect_interval[1],
        "rel_effect_size": result.relative_effect,
        "rel_effect_size_ci_lower": relative[0],
        "rel_effect_size_ci_upper": relative[1],
        "pvalue": result.pvalue,
        "statistic": result.statistic,
    }


def co_moments(arms: list[int], outcomes: list[float], covariates: list[float]) -> list[CoMoments]:
    rows = list(zip(arms, outcomes, covariates, strict=True))
    return [CoMoments.from_values(*zip(*[row[1:] for row in rows if row[0] == arm], strict=True)) for arm in (0, 1)]


def adjusted_welch(result: inference.Comparison) -> Answer:
    return {
        "theta": result.adjustment.theta,
        "diff": result.effect,
        "se": result.standard_error,
        "t": result.statistic,
        "df": result.df,
        "p_value": result.pvalue,
        "ci": result.effect_interval,
    }


def cuped_within(inputs: Inputs) -> Answer:
    return adjusted_welch(inference.compare_adjusted_means(*co_moments(inputs["treat"], inputs["y"], inputs["x"])))


def cuped_overall(inputs: Inputs) -> Answer:
    arms = co_moments(inputs["treat"], inputs["y"], inputs["x"])
    return adjusted_welch(inference.compare_adjusted_means(*arms, theta=merge_co_moments(arms).slope))


def tea_tasting_cuped(inputs: Inputs) -> Answer:
    data, spec = inputs["data"], inputs["spec"]
    arms = co_moments(data["variant"], data[spec["value"]], data[spec["covariate"]])
    theta = merge_co_moments(arms).slope
    control, treatment = adjusted_estimates(*arms, theta=theta)
    result = inference.compare_adjusted_means(*arms, theta=theta)
    students = spec.get("use_t", True)
    df = welch_df(control, treatment) if students else None
    df_ratio = welch_df(control, treatment, intervals.as_ratio(result.relative_effect)) if students else None
    interval = intervals.wald_interval(control, treatment, df=df)
    relative = intervals.log_ratio_interval(control, treatment, df=df_ratio)
    return {
        "control": control.mean,
        "treatment": treatment.mean,
        "effect_size": result.effect,
        "effect_size_ci_lower": interval[0],
        "effect_size_ci_upper": interval[1],
        "rel_effect_size": result.relative_effect,
        "rel_effect_size_ci_lower": relative[0],
        "rel_effect_size_ci_upper": relative[1],
        "pvalue": tails.tail_pvalue(result.statistic, df=df),
        "statistic": result.statistic,
    }


def welch_ratio_margin(inputs: Inputs) -> Answer:
    statistic, df = guardrails.margin_statistic(*estimates(inputs), ratio=inputs["ratio_margin"])
    pvalue = tails.tail_pvalue(statistic, DIRECTIONS[inputs["direction"]], df)
    return {"t": statistic, "df": df, "p_value": pvalue}


def chisq_gof(inputs: Inputs) -> Answer:
    result = sample_ratio.sample_ratio_test(
        dict(enumerate(inputs["counts"])), dict(enumerate(inputs["expected_share"]))
    )
    return {"statistic": result.statistic, "df": result.df, "p_value": result.pvalue}


def growthbook_srm(inputs: Inputs) -> Answer:
    result = sample_ratio.sample_ratio_test(dict(enumerate(inputs["users"])), dict(enumerate(inputs["weights"])))
    return {"srm_p_value": result.pvalue}


def adjusted(adjust: Callable[[list[float]], list[float]], key: str) -> Callable[[Inputs], Answer]:
    return lambda inputs: {"adjusted": adjust(inputs[key])}


def growthbook_estimate(cells: list[Mapping[str, Any]]) -> MeanEstimate:
    if cells[0]["type"] == "proportion":
        return MeanEstimate.of_proportion(sum(cell["sum"] for cell in cells), sum(cell["n"] for cell in cells))
    return MeanEstimate.of_mean(merge(Moments.from_sums(cell["n"], cell["sum"], cell["sum_squares"]) for cell in cells))


def growthbook_moments(cell: Mapping[str, Any]) -> Moments:
    if cell["type"] == "proportion":
        return Moments.from_counts(cell["sum"], cell["n"])
    return Moments.from_sums(cell["n"], cell["sum"], cell["sum_squares"])


def growthbook_co_moments(cells: list[Mapping[str, Any]]) -> CoMoments:
    return merge_co_moments(
        CoMoments.from_sums(growthbook_moments(cell["post"]), growthbook_moments(cell["pre"]), cell["sum_post_pre"])
        for cell in cells
    )


def growthbook_cuped(inputs: Inputs) -> Answer:
    cells = inputs.get("strata") or [inputs]
    arms = [growthbook_co_moments([cell[arm] for cell in cells]) for arm in ("control", "treatment")]
    theta = merge_co_moments(arms).slope
    return growthbook_answer(inputs, *adjusted_estimates(*arms, theta=theta))


def growthbook_welch(inputs: Inputs) -> Answer:
    cells = inputs.get("strata") or [inputs]
    control, treatment = (growthbook_estimate([cell[arm] for cell in cells]) for arm in ("control", "treatment"))
    return growthbook_answer(inputs, control, treatment)


def growthbook_answer(inputs: Inputs, control: MeanEstimate, treatment: MeanEstimate) -> Answer:
    options = {"alpha": inputs["alpha"], "alternative": ALTERNATIVES[inputs["alternative"]]}
    if inputs["difference"] == "relative":
        result = inference.compare_relative_by_delta(control, treatment, **options)
        effect, interval = "relative_effect", "relative_interval"
    else:
        result = inference.compare_estimates(control, treatment, **options)
        effect, interval = "effect", "effect_interval"
    if isinstance(result, NotComputed):
        return {"not_computed": result.reason}
    return {
        "effect": getattr(result, effect),
        "ci": getattr(result, interval),
        "p_value": result.pvalue,
        "standard_error": result.standard_error,
    }


METHODS: dict[str, Callable[[Inputs], Answer]] = {
    "z_pooled": z_pooled,
    "wald_unpooled_ci": wald_unpooled_ci,
    "newcombe_hybrid_score_ci": newcombe_hybrid_score_ci,
    "wilson_ci": wilson_ci,
    "log_rr_delta_ci": log_rr_delta_ci,
    "rr_score_ci_koopman": rr_score_ci_koopman,
    "welch_t": welch_t,
    "welch_t_one_sided_greater": welch_t_one_sided_greater,
    "welch_t + relative CI": welch_t_with_relative_ci,
    "fieller_ci_welch_df": fieller_ci_welch_df,
    "delta_relative_lift": delta_relative_lift,
    "log_delta_relative_lift": log_delta_relative_lift,
    "cuped_theta_within_arm_pooled_then_welch": cuped_within,
    "cuped_theta_overall_then_welch": cuped_overall,
    "tea_tasting Mean with covariate (CUPED, Welch t)": tea_tasting_cuped,
    "tea_tasting Mean with covariate, normal quantiles": tea_tasting_cuped,
    "growthbook.welch_t/cuped/absolute": growthbook_cuped,
    "welch_ratio_margin_higher_is_better": welch_ratio_margin,
    "welch_ratio_margin_lower_is_better": welch_ratio_margin,
    "chisq_gof": chisq_gof,
    "bonferroni": adjusted(multiplicity.bonferroni, "p"),
    "holm": adjusted(multiplicity.holm, "p"),
    "hochberg": adjusted(multiplicity.hochberg, "p"),
    "BH": adjusted(multiplicity.benjamini_hochberg, "p"),
    "growthbook.holm_bonferroni": adjusted(multiplicity.holm, "p_values"),
    "growthbook.benjamini_hochberg": adjusted(multiplicity.benjamini_hochberg, "p_values"),
    "growthbook.srm_chi_square": growthbook_srm,
} | {
    f"growthbook.welch_t/{kind}/{difference}{side}": growthbook_welch
    for kind in ("mean", "proportion")
    for difference in ("absolute", "relative")
    for side in ("", "/greater", "/lesser")
}
