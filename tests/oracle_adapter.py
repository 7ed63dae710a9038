"""Renaming, and nothing else, between reference cases and the public library: ``METHODS`` maps a case's ``method``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from abtest_lib.statistics import (
    adjusted_intervals,
    always_valid,
    bandits,
    bayesian,
    capping,
    checks,
    dunnett,
    exact,
    guardrails,
    heterogeneity,
    impact,
    inference,
    intervals,
    mixture_bounds,
    multiplicity,
    non_inferiority,
    planning,
    pooled,
    power,
    power_estimates,
    power_margin_shares,
    power_margins,
    power_proportions,
    proportions,
    quantile_sequences,
    quantiles,
    rates,
    ratios,
    regression,
    sample_ratio,
    sampled_strata,
    score_intervals,
    sequential_sample_ratio,
    stratified,
    tails,
)
from abtest_lib.statistics.estimates import (
    MeanEstimate,
    NotComputed,
    adjusted_estimates,
    log_ratio,
    log_ratio_standard_error,
    relative_standard_error,
    welch_df,
)
from abtest_lib.statistics.joint_moments import JointMoments, merge_joint_moments
from abtest_lib.statistics.moments import CoMoments, Moments, merge, merge_co_moments
from abtest_lib.statistics.sequential import (
    SequentialBounds,
    crossing_probabilities,
    efficacy_and_harm_bounds,
    spending_bounds,
)
from abtest_lib.statistics.sequential_classical import (
    any_looks_bounds,
    haybittle_peto_bounds,
    obrien_fleming_bounds,
    pocock_bounds,
    wang_tsiatis_bounds,
)
from abtest_lib.statistics.sequential_design import conditional_power, futility_design, sequential_design
from abtest_lib.statistics.sequential_estimates import (
    repeated_intervals,
    repeated_pvalues,
    running_minimum,
    stagewise_inference,
)
from abtest_lib.statistics.spending import (
    Spending,
    hwang_shih_decani_spending,
    obrien_fleming_spending,
    pocock_spending,
    power_spending,
)

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
    ddof = growthbook_ddof(cells[0]["control"]["post"])
    adjusted_arms = adjusted_estimates(*arms, theta=merge_co_moments(arms).slope)
    return growthbook_answer(inputs, *[regression.with_ddof(arm, ddof) for arm in adjusted_arms])


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


def spending_of(inputs: Inputs, name: str) -> Spending:
    return {
        "lan_demets_obf": lambda: obrien_fleming_spending,
        "asOF": lambda: obrien_fleming_spending,
        "lan_demets_pocock": lambda: pocock_spending,
        "asP": lambda: pocock_spending,
        "kim_demets_power": lambda: partial(power_spending, rho=inputs["gamma"]),
        "asKD": lambda: partial(power_spending, rho=inputs["gamma"]),
        "hwang_shih_decani": lambda: partial(hwang_shih_decani_spending, gamma=inputs["gamma"]),
        "asHSD": lambda: partial(hwang_shih_decani_spending, gamma=inputs["gamma"]),
    }[name]()


def short_spending(name: str) -> Spending:
    """ldof, ldp, hsd-4 and kd2."""
    if name.startswith("hsd"):
        return partial(hwang_shih_decani_spending, gamma=float(name[3:]))
    if name.startswith("kd"):
        return partial(power_spending, rho=float(name[2:]))
    return {"ldof": obrien_fleming_spending, "ldp": pocock_spending}[name]


def sequential_answer(bounds: SequentialBounds) -> Answer:
    return {
        "z_bounds": bounds.upper,
        "nominal_two_sided_p": bounds.nominal_pvalues,
        "cumulative_alpha_per_side": bounds.spent,
    }


def bounds_by_spending(name: str) -> Callable[[Inputs], Answer]:
    return lambda inputs: sequential_answer(
        spending_bounds(
            inputs["info_fractions"],
            alpha=inputs["alpha"],
            sides=inputs["sides"],
            spending=spending_of(inputs, name),
            spending_time=inputs.get("spending_time"),
        )
    )


def bounds_by_shape(bounds: Callable[..., SequentialBounds], *options: str) -> Callable[[Inputs], Answer]:
    return lambda inputs: sequential_answer(
        bounds(
            inputs["info_fractions"],
            alpha=inputs["alpha"],
            sides=inputs["sides"],
            **{option: inputs[option] for option in options},
        )
    )


def last_bounds(bounds: Callable[..., SequentialBounds]) -> Callable[[Inputs], Answer]:
    def constants(inputs: Inputs) -> Answer:
        looks = [[(look + 1) / count for look in range(count)] for count in inputs["K"]]
        options = {"alpha": inputs["alpha"], "sides": inputs["sides"]}
        return {"constant": [bounds(each, **options).upper[-1] for each in looks]}

    return constants


def efficacy_and_harm(inputs: Inputs) -> Answer:
    bounds = efficacy_and_harm_bounds(
        inputs["info_fractions"],
        alpha_efficacy=inputs["alpha_efficacy"],
        spending_efficacy=spending_of(inputs, inputs["spend_efficacy"]),
        alpha_harm=inputs["alpha_harm"],
        spending_harm=spending_of(inputs, inputs["spend_harm"]),
    )
    return {"z_upper": bounds.upper, "z_lower": bounds.lower}


def inflation_and_expected_size(inputs: Inputs) -> Answer:
    shape, options = inputs["design"], {"alpha": inputs["alpha"], "sides": inputs["sides"]}
    if shape in ("OF", "Pocock"):
        bounds = {"OF": obrien_fleming_bounds, "Pocock": pocock_bounds}[shape](inputs["info_fractions"], **options)
    else:
        bounds = spending_bounds(inputs["info_fractions"], spending=spending_of(inputs, shape), **options)
    design = sequential_design(bounds, power=inputs["power"], **options)
    return {
        "inflation": design.inflation,
        "drift": design.drift,
        "asn_h0": design.expected_size_without_effect,
        "asn_h1": design.expected_size_with_effect,
        "cum_power": design.cumulative_power,
    }


def alpha_and_beta_spending(inputs: Inputs) -> Answer:
    design = futility_design(
        inputs["info_fractions"],
        alpha=inputs["alpha_one_sided"],
        power=1 - inputs["beta"],
        spending=short_spending(inputs["efficacy_spending"]),
        futility_spending=short_spending(inputs["futility_spending"]),
        binding=inputs["binding"],
    )
    return {
        "z_efficacy": design.bounds.upper,
        "z_futility": design.bounds.lower,
        "inflation": design.inflation,
        "drift": design.drift,
        "asn_h0": design.expected_size_without_effect,
        "asn_h1": design.expected_size_with_effect,
    }


def stopping_probabilities(inputs: Inputs) -> Answer:
    result = crossing_probabilities(
        inputs["info_fractions"], inputs["z_lower"], inputs["z_upper"], theta=inputs["drift"]
    )
    return {"upper": result.upper, "lower": result.lower}


def any_looks(inputs: Inputs) -> Answer:
    looks = [(look + 1) / inputs["K"] for look in range(inputs["K"])]
    bounds = any_looks_bounds(looks, alpha=inputs["alpha"])
    drift = sequential_design(spending_bounds([1.0], alpha=inputs["alpha"]), alpha=inputs["alpha"], power=0.8).drift
    without = crossing_probabilities(looks, bounds.lower, bounds.upper)
    with_effect = crossing_probabilities(looks, bounds.lower, bounds.upper, theta=drift)
    return {"type_I_error": sum(without.stopped), "power_at_fixed80_effect": sum(with_effect.upper)}


def stagewise_ordering(inputs: Inputs) -> Answer:
    look, upper = inputs["stopped_at_look"], inputs["z_bounds"]
    result = stagewise_inference(
        inputs["info_fractions"][:look],
        upper[: look - 1],
        inputs["z"],
        lower=None if inputs["sides"] == 2 else [-float("inf")] * (look - 1),
        alpha=alpha(inputs),
    )
    low, high = result.interval
    return {
        "p_one_sided": result.pvalue_greater,
        "p_two_sided": result.pvalue,
        "mean_of_Z_scale": {"ci_lower": low, "median_unbiased": result.median_unbiased, "ci_upper": high},
    }


def repeated_inference(inputs: Inputs) -> Answer:
    spending = spending_of(inputs, inputs["spending"])
    bounds = spending_bounds(inputs["info_fractions"], alpha=inputs["alpha_one_sided"], sides=1, spending=spending)
    pvalues = repeated_pvalues(inputs["info_fractions"], inputs["z"], spending=spending)
    return {
        "repeated_p": pvalues,
        "sequential_p": running_minimum(pvalues),
        "rci_on_Z_scale": repeated_intervals(bounds, inputs["z"]),
    }


def conditional_powers(inputs: Inputs) -> Answer:
    information, look = inputs["information"], inputs["look"]
    upper = inputs["z_bounds"][look:]
    return {
        name: conditional_power(
            information[look:],
            upper,
            z=inputs["z"],
            at=information[look - 1],
            theta=theta,
            lower=[-z for z in upper] if inputs["sides"] == 2 else None,
        )
        for name, theta in inputs["theta"].items()
    }


SEQUENTIAL: dict[str, Callable[[Inputs], Answer]] = {
    "obrien_fleming_classical": bounds_by_shape(obrien_fleming_bounds),
    "pocock_classical": bounds_by_shape(pocock_bounds),
    "wang_tsiatis": bounds_by_shape(wang_tsiatis_bounds, "delta"),
    "haybittle_peto_adjusted_final": bounds_by_shape(haybittle_peto_bounds, "interim_z"),
    "obrien_fleming_constant_C_B": last_bounds(obrien_fleming_bounds),
    "pocock_constant_C_P": last_bounds(pocock_bounds),
    "one_sided_efficacy_plus_one_sided_harm": efficacy_and_harm,
    "inflation_factor_and_expected_sample_size": inflation_and_expected_size,
    "alpha_and_beta_spending": alpha_and_beta_spending,
    "stopping_probabilities": stopping_probabilities,
    "stagewise_ordering": stagewise_ordering,
    "repeated_p_values_and_RCI": repeated_inference,
    "conditional_power": conditional_powers,
    "constant_score_boundary_z(1-alpha/4)/sqrt(t)": any_looks,
} | {
    name: bounds_by_spending(name)
    for name in ("lan_demets_obf", "lan_demets_pocock", "kim_demets_power", "hwang_shih_decani")
}


SIDES = {1: "greater", 2: "two-sided"}


def plan_options(inputs: Inputs) -> dict[str, Any]:
    """Rename what most planning cases have in common."""
    names = {"alpha": "alpha", "alpha_one_sided": "alpha", "power": "power", "ratio": "allocation"}
    options = {ours: inputs[theirs] for theirs, ours in names.items() if theirs in inputs}
    return options | ({"alternative": SIDES[inputs["sides"]]} if "sides" in inputs else {})


def exact_units(units: planning.RequiredUnits) -> Answer:
    return {"n_per_arm": units.exact_control, "n_total": units.exact_total}


def units_of_shares(test: str, counted: str = "effect side") -> Callable[[Inputs], Answer]:
    def answer(inputs: Inputs) -> Answer:
        options = {"test": test, "counted": counted, **plan_options(inputs)}
        return exact_units(power_proportions.required_units_proportions(inputs["p1"], inputs["p2"], **options))

    return answer


def units_of_ratio_of_shares(inputs: Inputs) -> Answer:
    options = {"test": "pooled", "alternative": "less"}
    units = power_proportions.required_units_proportions(inputs["p1"], inputs["p2"], **options, **plan_options(inputs))
    return exact_units(units)


def units_of_effects_on_share(inputs: Inputs) -> Answer:
    share, options = inputs["p1"], {"test": "unpooled", **plan_options(inputs)}
    rates = planning.treated_share(share, effect=inputs["mde"])
    return {"n_per_arm": power_proportions.required_units_proportions(share, rates, **options).control}


def power_of_shares(test: str, counted: str) -> Callable[[Inputs], Answer]:
    def answer(inputs: Inputs) -> Answer:
        sizes = {
            "n_control": inputs.get("n1", inputs.get("n_per_arm")),
            "n_treatment": inputs.get("n2", inputs.get("n_per_arm")),
        }
        options = {"test": test, "counted": counted, **sizes, **plan_options(inputs)}
        return {"power": power_proportions.power_proportions(inputs["p1"], inputs["p2"], **options)}

    return answer


def detectable_share(inputs: Inputs) -> Answer:
    sizes = {"n_control": inputs["n_per_arm"], "n_treatment": inputs["n_per_arm"]}
    result = power_proportions.minimum_detectable_proportions(inputs["p1"], **sizes, **plan_options(inputs))
    return {"p2": result.share, "mde": result.effect}


def units_of_means_t(inputs: Inputs) -> Answer:
    return exact_units(
        power.required_units_means(inputs["delta"], sd=inputs["sd"], test="student", **plan_options(inputs))
    )


def units_of_means_z(inputs: Inputs) -> Answer:
    spread = {"sd": inputs["sd_control"], "sd_treatment": inputs["sd_treat"]}
    options = {"test": "z", "alternative": "greater", **spread, **plan_options(inputs)}
    return exact_units(power.required_units_means(inputs["delta"], **options))


def detectable_means_t(inputs: Inputs) -> Answer:
    sizes = {"n_control": inputs["n_per_arm"], "n_treatment": inputs["n_per_arm"]}
    options = {"sd": inputs["sd"], "test": "student", **sizes, **plan_options(inputs)}
    return {"mde": power.minimum_detectable_means(**options)}


def power_of_means_t(inputs: Inputs) -> Answer:
    sizes = {"n_control": inputs["n1"], "n_treatment": inputs["n2"]}
    options = {"sd": 1.0, "test": "student", "counted": "either side", **sizes, **plan_options(inputs)}
    return {"power": power.power_means(inputs["d"], **options)}


def units_of_means_within_margin(inputs: Inputs) -> Answer:
    margin, better = planning.margin_of_change(inputs["margin"])
    options = {"effect": inputs["true_delta"], "sd": inputs["sd"], "test": "z", **plan_options(inputs)}
    return exact_units(power_margins.required_units_non_inferior_means(margin, better=better, **options))


def units_of_shares_within_margin(inputs: Inputs) -> Answer:
    margin, better = planning.margin_of_change(inputs["margin"])
    shares = {"share_control": inputs["p_control"], "share_treatment": inputs["p_treat"]}
    options = {"better": better, **shares, **plan_options(inputs)}
    return exact_units(power_margin_shares.required_units_non_inferior_proportions(margin, **options))


def tea_tasting_baseline(inputs: Inputs) -> planning.Baseline:
    data, spec = inputs["data"], inputs["spec"]
    if "numer" in spec:
        return planning.Baseline.of_ratio(CoMoments.from_values(data[spec["numer"]], data[spec["denom"]]))
    if "covariate" in spec:
        return planning.Baseline.of_adjusted_mean(CoMoments.from_values(data[spec["value"]], data[spec["covariate"]]))
    return planning.Baseline.of_mean(Moments.from_values(data[spec["value"]]))


def tea_tasting_units(test: str) -> Callable[[Inputs], Answer]:
    def answer(inputs: Inputs) -> Answer:
        baseline, effect = tea_tasting_baseline(inputs), inputs["spec"]["rel_effect_size"]
        options = {"sd": baseline.sd, "test": test, **plan_options(inputs["spec"])}
        return {"n_obs_total": power.required_units_means(baseline.effect(effect), **options).total}

    return answer


def tea_tasting_detectable(inputs: Inputs) -> Answer:
    baseline, units = tea_tasting_baseline(inputs), planning.RequiredUnits.of_total(inputs["spec"]["n_obs"])
    sizes = {"n_control": units.exact_control, "n_treatment": units.exact_treatment}
    options = {**sizes, "sd": baseline.sd, **plan_options(inputs["spec"])}
    effect = power.minimum_detectable_means(**options)
    return {"mde_abs": effect, "mde_rel": baseline.relative_effect(effect)}


def growthbook_power(inputs: Inputs) -> Answer:
    if inputs["sequential_tuning_parameter"] is not None:
        return {}
    if inputs["type"] == "binomial":
        baseline = planning.Baseline.of_share(inputs["conversionRate"])
    else:
        baseline = planning.Baseline(inputs["mean"], inputs["standardDeviation"])
    units = planning.RequiredUnits.of_total(inputs["n_total"], variants=inputs["variations"])
    sizes = {"n_control": units.exact_control, "n_treatment": units.exact_treatment}
    options = {"mean": baseline.mean, "sd": baseline.sd, **sizes, "alpha": inputs["alpha"]}
    smallest = power.minimum_detectable_relative_means(**options, power=inputs["target_power"])
    return {
        "power": power.power_relative_means(inputs["effectSize"], counted="either side", **options),
        "mde": None if isinstance(smallest, NotComputed) else smallest,
    }


def growthbook_power_midway(inputs: Inputs) -> Answer:
    target = power_estimates.power_of_each(inputs["target_power"], inputs["num_goal_metrics"])
    options = {
        "alpha": multiplicity.bonferroni_alpha(inputs["alpha"], inputs["num_tests"]),
        "counted": "either side",
        "prior": stated_prior(inputs["prior"]),
    }
    effect, error = inputs["target_mde"], inputs["standard_error"]
    further = power_estimates.further_data(effect, error, power=target, **options)
    return {
        "scaling_factor": further,
        "converged": math.isfinite(further),
        "power_now": power_estimates.power_estimate(effect, error, **options),
        "adjusted_power_target": target,
    }


PLANNING: dict[str, Callable[[Inputs], Answer]] = {
    "n_two_proportions_pooled_null_unpooled_alt": units_of_shares("pooled"),
    "n_two_proportions_farrington_manning": units_of_shares("pooled"),
    "n_two_proportions_RR_FM": units_of_ratio_of_shares,
    "n_two_proportions_arcsine": units_of_shares("arcsine", "either side"),
    "n_two_proportions_unpooled (the seed article's formula)": units_of_effects_on_share,
    "n_two_proportions_non_inferiority_FM": units_of_shares_within_margin,
    "power_two_proportions": power_of_shares("pooled", "effect side"),
    "power_two_proportions_arcsine_unequal_n": power_of_shares("arcsine", "either side"),
    "mde_two_proportions": detectable_share,
    "n_two_means_t": units_of_means_t,
    "n_two_means_z_unequal_sd_ratio": units_of_means_z,
    "n_two_means_non_inferiority": units_of_means_within_margin,
    "mde_two_means_t": detectable_means_t,
    "power_two_means_t_unequal_n": power_of_means_t,
    "n_total_mean_metric_rel_mde": tea_tasting_units("welch"),
    "n_total_mean_metric_cuped_rel_mde": tea_tasting_units("welch"),
    "n_total_ratio_metric_rel_mde": tea_tasting_units("welch"),
    "n_total_ratio_metric_rel_mde_z": tea_tasting_units("z"),
    "n_total_ratio_metric_rel_mde_z_allocation_1_to_3": tea_tasting_units("z"),
    "mde_rel_mean_metric": tea_tasting_detectable,
    "mde_rel_ratio_metric": tea_tasting_detectable,
    "growthbook.power_frequentist": growthbook_power,
    "growthbook.mid_experiment_power": growthbook_power_midway,
}


def asymptotic_sequence(inputs: Inputs) -> Answer:
    rho_squared = always_valid.narrowest_rho_squared(inputs["t_opt"], alpha=inputs["alpha"])
    options = {"alpha": inputs["alpha"]}
    return {
        "rho2": rho_squared,
        "std_margin": always_valid.sequence_margin(inputs["n"], rho_squared=rho_squared, **options),
        "ci": always_valid.mean_sequence(
            inputs["mean"], inputs["sd"], inputs["n"], planned_n=inputs["t_opt"], **options
        ),
    }


def two_sample_sequence(inputs: Inputs) -> Answer:
    result = always_valid.compare_always_valid(
        inputs["effect"],
        math.sqrt(inputs["variance_of_effect"]),
        inputs["n_control"] + inputs["n_treat"],
        planned_n=inputs["tuning"],
        alpha=inputs["alpha"],
    )
    return {"rho": result.rho, "ci": result.effect_interval, "p_value": result.pvalue}


def mixture_test(inputs: Inputs) -> Answer:
    arguments, tau = (inputs["effect"], inputs["variance_of_effect"]), {"tau_squared": inputs["tau2"]}
    return {
        "log_likelihood_ratio": always_valid.mixture_log_ratio(*arguments, **tau),
        "p_value": always_valid.mixture_pvalue(*arguments, **tau),
        "ci": always_valid.mixture_interval(*arguments, **tau, alpha=inputs["alpha"]),
    }


def mixture_test_path(inputs: Inputs) -> Answer:
    squared_errors = [se * se for se in inputs["se"]]
    pvalues = always_valid.mixture_pvalue(inputs["effect"], squared_errors, tau_squared=inputs["tau2"])
    return {"always_valid_p": always_valid.running_pvalues(pvalues)}


def anytime_valid_regression(inputs: Inputs) -> Answer:
    return anytime_valid_answer(
        inputs, regression.compare_by_ancova(*co_moments(inputs["treat"], inputs["y"], inputs["x"]))
    )


def anytime_valid_robust_regression(inputs: Inputs) -> Answer:
    return anytime_valid_answer(
        inputs, regression.compare_by_robust_ancova(inputs["y"], inputs["treat"], inputs["x"], variance="HC2")
    )


def anytime_valid_answer(inputs: Inputs, fit: regression.RegressionEffect) -> Answer:
    options = {"n": len(inputs["y"]), "precision": inputs["g"], "alpha": inputs["alpha"]}
    pvalue, interval = always_valid.anytime_valid_t(fit.effect, fit.standard_error, df=fit.df, **options)
    return {
        "estimate": fit.effect,
        "se": fit.standard_error,
        "t": fit.statistic,
        "p_value": pvalue,
        "ci": interval,
    }


def side(inputs: Inputs) -> str:
    return "greater" if inputs["one_sided"] else "two-sided"


def mixture_rho(inputs: Inputs) -> float:
    return mixture_bounds.tuned_mixture_rho(inputs["v_opt"], alpha=inputs["alpha_opt"], alternative=side(inputs))


def mixture_bound(inputs: Inputs) -> Answer:
    rho = mixture_rho(inputs)
    options = {"rho": rho, "alpha": inputs["alpha"], "alternative": side(inputs)}
    return {"rho": rho, "bound": mixture_bounds.normal_mixture_bound(inputs["v"], **options)}


def mixture_evidence(inputs: Inputs) -> Answer:
    options = {"rho": mixture_rho(inputs), "alternative": side(inputs)}
    return {"log_e": mixture_bounds.mixture_log_evidence(inputs["s"], inputs["v"], **options)}


def bounded_sequence(inputs: Inputs) -> Answer:
    values = Moments.from_values(inputs["x"])
    low, high = mixture_bounds.bounded_mean_sequence(
        values.mean, values.n, planned_n=inputs["t_opt"], alpha=inputs["alpha"]
    )
    return {"lower": low, "upper": high}


def exponential_bound(inputs: Inputs) -> Answer:
    rho = mixture_bounds.tuned_mixture_rho(inputs["v_opt"], alpha=inputs["alpha_opt"], alternative="greater")
    options = {"rho": rho, "scale": inputs["c"], "alpha": inputs["alpha"]}
    return {"bound": mixture_bounds.gamma_exponential_bound(inputs["v"], **options)}


def empirical_bernstein(inputs: Inputs) -> Answer:
    # The other program halves alpha once for the two sides and once more.
    options = {"planned_variance": inputs["v_opt"], "alpha": inputs["alpha"] / 2}
    low, high = mixture_bounds.empirical_bernstein_sequence(inputs["x"], **options)
    return {"lower": low[-1], "upper": high[-1], "lower_at_30": low[29], "upper_at_30": high[29]}


def predictable_bernstein(inputs: Inputs) -> Answer:
    low, high = mixture_bounds.predictable_bernstein_sequence(inputs["x"], alpha=inputs["alpha"])
    return {"last_lower": low[-1], "last_upper": high[-1]}


def distribution_band(inputs: Inputs) -> Answer:
    options = {"from_n": inputs["t_min"], "alpha": inputs["alpha"]}
    return {"bound": quantile_sequences.distribution_band(inputs["t"], **options)}


def quantile_deviation(inputs: Inputs) -> Answer:
    options = {"planned_n": inputs["t_opt"], "alpha": inputs["alpha"]}
    return {"bound": quantile_sequences.quantile_deviation(inputs["quantile_p"], inputs["t"], **options)}


def beta_binomial(inputs: Inputs) -> Answer:
    prior = {"prior_alpha": inputs["prior_alpha"], "prior_beta": inputs["prior_beta"]}
    control, treatment = (
        bayesian.BetaPosterior.of_counts(inputs[f"x_{arm}"], inputs[f"n_{arm}"], **prior) for arm in "ab"
    )
    reading = bayesian.compare_shares(control, treatment)
    return {
        "prob_b_gt_a": reading.probability_to_beat_control,
        "expected_loss_choose_b": reading.expected_loss_treatment,
        "expected_loss_choose_a": reading.expected_loss_control,
        "ci95_a": control.interval(),
        "ci95_b": treatment.interval(),
    }


def mozilla_beta_posterior(inputs: Inputs) -> Answer:
    posterior = bayesian.BetaPosterior.of_counts(inputs["conversions"], inputs["n"])
    quantiles = {name: posterior.quantile(float(name)) for name in ("0.005", "0.025", "0.5", "0.975", "0.995")}
    return {"mean": posterior.mean, "median_published": None} | quantiles


def thompson_beta(inputs: Inputs) -> Answer:
    posteriors = [bayesian.BetaPosterior(*each) for each in inputs["posterior_beta"]]
    return {"prob_best": bandits.best_share_probabilities(posteriors)}


def thompson_normal(inputs: Inputs) -> Answer:
    posteriors = [bayesian.NormalPosterior(*each) for each in zip(inputs["mean"], inputs["sd"], strict=True)]
    return {"prob_best": bandits.best_mean_probabilities(posteriors)}


def adaptive_aipw(weighting: str) -> Callable[[Inputs], Answer]:
    def answer(inputs: Inputs) -> Answer:
        history = (inputs[name] for name in ("rewards", "arms", "assignment_probs", "muhat"))
        options = {"weighting": weighting, "decay": inputs["decay"], "alpha": alpha(inputs)}
        result = bandits.adaptive_estimate(*history, **options)
        return {
            "estimate": result.means,
            "se": result.standard_errors,
            "contrast_last_minus_others": result.differences,
            "contrast_se": result.difference_errors,
        }

    return answer


def growthbook_control(inputs: Inputs) -> Mapping[str, Any]:
    return (inputs.get("strata") or [inputs])[0]["control"]


def growthbook_effect(inputs: Inputs) -> Answer:
    strata = "/post_stratified" if inputs.get("post_stratify") else ""
    return METHODS[f"growthbook.welch_t/{growthbook_control(inputs)['type']}/{inputs['difference']}{strata}"](inputs)


def growthbook_control_mean(cell: Mapping[str, Any]) -> float:
    if cell["type"] == "ratio":
        arm = CoMoments.from_sums(
            *map(growthbook_moments, (cell["numerator"], cell["denominator"])), cell["sum_num_den"]
        )
        return ratios.ratio_estimate(arm).mean
    if cell["type"] == "cuped_ratio":
        parts = map(growthbook_moments, (cell["num_post"], cell["den_post"]))
        return ratios.ratio_estimate(CoMoments.from_sums(*parts, cell["sum_numpost_denpost"])).mean
    if cell["type"].startswith("quantile"):
        return cell["quantile"]
    return growthbook_estimate([cell.get("post", cell)]).mean


def growthbook_sequential(inputs: Inputs) -> Answer:
    effect = growthbook_effect(inputs)
    if "not_computed" in effect:
        return effect
    result = always_valid.compare_always_valid(
        effect["effect"],
        effect["standard_error"],
        sum(cell[arm]["n"] for cell in inputs.get("strata") or [inputs] for arm in ("control", "treatment")),
        planned_n=inputs["sequential_tuning_parameter"],
        alpha=inputs["alpha"],
        alternative=ALTERNATIVES[inputs["alternative"]],
    )
    if isinstance(result, NotComputed):
        return {"not_computed": result.reason}
    return {
        "effect": result.effect,
        "ci": result.effect_interval,
        "p_value": result.pvalue,
        "standard_error": effect["standard_error"],
    }


def stated_prior(stated: Mapping[str, Any] | None) -> bayesian.NormalPosterior | None:
    if stated is None or not stated["proper"]:
        return None
    return bayesian.NormalPosterior.of_variance(stated["mean"], stated["variance"])


def growthbook_prior(inputs: Inputs) -> bayesian.NormalPosterior | None:
    prior = stated_prior(inputs["prior"])
    if prior is None or inputs["difference"] == "relative":
        return prior
    return prior.of_absolute_effect(growthbook_control_mean(growthbook_control(inputs)))


def growthbook_bayesian(inputs: Inputs) -> Answer:
    effect = growthbook_effect(inputs)
    if "not_computed" in effect:
        return effect
    posterior = bayesian.normal_posterior(effect["effect"], effect["standard_error"], prior=growthbook_prior(inputs))
    if isinstance(posterior, NotComputed):
        return {"not_computed": posterior.reason}
    reading = bayesian.read_effect(posterior, better="lower" if inputs["inverse"] else "higher")
    return {
        "effect": posterior.mean,
        "ci": posterior.interval(inputs["alpha"]),
        "posterior_sd": posterior.sd,
        "chance_to_win": reading.probability_to_beat_control,
        "risk_control": reading.expected_loss_control,
        "risk_treatment": reading.expected_loss_treatment,
    }


AIPW = "adaptively_weighted_AIPW (Hadad et al. 2021) weights="
ALWAYS_VALID_AND_BAYESIAN: dict[str, Callable[[Inputs], Answer]] = {
    "asymptotic_confidence_sequence (Waudby-Smith et al. 2024, eq. std_conjmix_margin)": asymptotic_sequence,
    "two_sample_asymptotic_cs_GrowthBook_parameterisation": two_sample_sequence,
    "mSPRT_normal_mixture (Johari et al.)": mixture_test,
    "mSPRT always-valid p-value path (running minimum)": mixture_test_path,
    "anytime_valid_linear_model (Lindon, Ham, Tingley, Bojinov)": anytime_valid_regression,
    "anytime_valid_linear_model (Lindon, Ham, Tingley, Bojinov) HC2": anytime_valid_robust_regression,
    "normal_mixture_uniform_boundary (Howard et al. 2021)": mixture_bound,
    "normal_mixture_log_supermartingale": mixture_evidence,
    "conjugate_mixture_hoeffding_cs_bounded01": bounded_sequence,
    "conjugate_mixture_empirical_bernstein_cs_bounded01": empirical_bernstein,
    "predictable_plugin_empirical_bernstein_cs": predictable_bernstein,
    "gamma_exponential_mixture_bound": exponential_bound,
    "uniform_ECDF_band (Howard & Ramdas 2022)": distribution_band,
    "quantile_confidence_sequence_bound (Howard & Ramdas 2022 Thm 3)": quantile_deviation,
    "beta_binomial_two_arm": beta_binomial,
    "mozilla.beta_posterior": mozilla_beta_posterior,
    "thompson_probability_each_arm_is_best_beta": thompson_beta,
    "thompson_probability_each_arm_is_best_normal": thompson_normal,
    f"{AIPW}uniform": adaptive_aipw("uniform"),
    f"{AIPW}sqrt_prob_constant_allocation": adaptive_aipw("constant"),
    f"{AIPW}two_point": adaptive_aipw("two-point"),
} | {
    f"growthbook.{method}/{kind}/{difference}{tail}": function
    for method, function in (("sequential_acs", growthbook_sequential), ("bayesian_normal", growthbook_bayesian))
    for kind in ("mean", "proportion", "cuped", "ratio", "cuped_ratio", "quantile_unit", "quantile_event")
    for difference in ("absolute", "relative")
    for tail in (("", "/greater", "/lesser") if method == "sequential_acs" else ("",))
}


def arm_arrays(data: Inputs, *columns: str) -> list[list[list[float]]]:
    rows = list(zip(data["variant"], *[data[column] for column in columns], strict=True))
    return [list(zip(*[row[1:] for row in rows if row[0] == arm], strict=True)) for arm in (0, 1)]


def ratio_arms(inputs: Inputs) -> list[CoMoments]:
    return [CoMoments.from_values(inputs[f"{arm}_num"], inputs[f"{arm}_den"]) for arm in ("control", "treat")]


def delta_method_ratio_difference(inputs: Inputs) -> Answer:
    arms = ratio_arms(inputs)
    result = ratios.compare_ratios(*arms, alpha=alpha(inputs))
    control, treatment = (ratios.ratio_estimate(arm) for arm in arms)
    return {
        "ratio_control": control.mean,
        "ratio_treat": treatment.mean,
        "se_control": control.squared_error**0.5,
        "se_treat": treatment.squared_error**0.5,
        "diff": result.effect,
        "se": result.standard_error,
        "z": result.statistic,
        "p_value": tails.tail_pvalue(result.statistic),
        "ci": intervals.wald_interval(control, treatment, alpha=alpha(inputs)),
    }


def delta_method_ratio_relative_lift(inputs: Inputs) -> Answer:
    control, treatment = (ratios.ratio_estimate(arm) for arm in ratio_arms(inputs))
    result = inference.compare_relative_by_delta(control, treatment)
    return {"lift": result.relative_effect, "se": result.standard_error}


def tea_tasting_answer(control: MeanEstimate, treatment: MeanEstimate, result: inference.Comparison) -> Answer:
    df_ratio = welch_df(control, treatment, intervals.as_ratio(result.relative_effect))
    relative = intervals.log_ratio_interval(control, treatment, df=df_ratio)
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


def tea_tasting_ratio(inputs: Inputs) -> Answer:
    spec = inputs["spec"]
    arms = [CoMoments.from_values(*arm) for arm in arm_arrays(inputs["data"], spec["numer"], spec["denom"])]
    return tea_tasting_answer(*[ratios.ratio_estimate(arm) for arm in arms], ratios.compare_ratios(*arms))


def tea_tasting_adjusted_ratio(inputs: Inputs) -> Answer:
    columns = [inputs["spec"][key] for key in ("numer", "denom", "numer_covariate", "denom_covariate")]
    arms = [JointMoments.from_values(*arm) for arm in arm_arrays(inputs["data"], *columns)]
    theta = ratios.linearised_with_covariate(merge_joint_moments(arms)).slope
    estimates = ratios.adjusted_ratio_estimates(*arms, theta=theta)
    return tea_tasting_answer(*estimates, ratios.compare_adjusted_ratios(*arms, theta=theta))


def clustered(variance: str) -> Callable[[Inputs], Answer]:
    def answer(inputs: Inputs) -> Answer:
        rows = list(zip(inputs["treat"], inputs["y"], inputs["unit"], strict=True))
        arms = [ratios.unit_totals(*zip(*[row[1:] for row in rows if row[0] == arm], strict=True)) for arm in (0, 1)]
        result = regression.compare_by_clustered_regression(*arms, variance=variance)
        return {"diff": result.effect, "se": result.standard_error, "df": result.df, "p_value": result.pvalue}

    return answer


def ancova_ols(inputs: Inputs) -> Answer:
    result = regression.compare_by_ancova(*co_moments(inputs["treat"], inputs["y"], inputs["x"]))
    return {
        "diff": result.effect,
        "se": result.standard_error,
        "theta": result.theta,
        "p_value": result.pvalue,
    }


def lin_interacted(variance: str, *columns: str) -> Callable[[Inputs], Answer]:
    def answer(inputs: Inputs) -> Answer:
        covariates = list(zip(*[inputs[column] for column in columns], strict=True))
        result = regression.compare_by_lin_regression(inputs["y"], inputs["treat"], covariates, variance=variance)
        return {"diff": result.effect, "se": result.standard_error, "p_value": result.pvalue}

    return answer


def winsorize(inputs: Inputs) -> Answer:
    result = capping.compare_capped_means(inputs["control"], inputs["treat"], quantile=inputs["upper_quantile"])
    welch = result.comparison
    return {
        "cap": result.cap,
        "diff": welch.effect,
        "t": welch.statistic,
        "df": welch.df,
        "p_value": welch.pvalue,
        "ci": welch.effect_interval,
    }


def woodruff_ci(inputs: Inputs) -> Answer:
    result = quantiles.quantile_estimate(inputs["y"], inputs["p"], units=inputs.get("unit"), alpha=alpha(inputs))
    return {"q": result.quantile, "se_F": result.share_standard_error, "ci": result.interval}


def order_statistic_binomial_ci(inputs: Inputs) -> Answer:
    result = quantiles.order_statistic_interval(inputs["y"], inputs["p"], alpha=alpha(inputs))
    return {
        "lower_rank": result.lower_rank,
        "upper_rank": result.upper_rank,
        "ci": result.interval,
        "coverage": result.coverage,
    }


def quantile_difference(inputs: Inputs) -> Answer:
    control, treatment = (quantiles.quantile_estimate(inputs[arm], inputs["p"]) for arm in ("control", "treat"))
    return {"diff": quantiles.compare_quantiles(control, treatment).effect}


def clustered_quantile_effect(inputs: Inputs) -> Answer:
    control, treatment = (
        quantiles.quantile_estimate(inputs[f"{arm}_y"], inputs["p"], units=inputs[f"{arm}_unit"], alpha=alpha(inputs))
        for arm in ("control", "treat")
    )
    result = quantiles.compare_quantiles(control, treatment, alpha=alpha(inputs))
    return {
        "q_control": control.quantile,
        "q_treat": treatment.quantile,
        "ci_control": control.interval,
        "ci_treat": treatment.interval,
        "se_control": control.standard_error,
        "se_treat": treatment.standard_error,
        "se_F_control": control.share_standard_error,
        "se_F_treat": treatment.share_standard_error,
        "diff": result.effect,
        "se_diff": result.standard_error,
    }


def growthbook_ddof(cell: Mapping[str, Any]) -> int:
    return 0 if cell["type"] == "proportion" else 1


def growthbook_relative_cuped(inputs: Inputs) -> Answer:
    cells = inputs.get("strata") or [inputs]
    arms = [growthbook_co_moments([cell[arm] for cell in cells]) for arm in ("control", "treatment")]
    ddof = growthbook_ddof(cells[0]["control"]["post"])
    return growthbook_relative_answer(inputs, arms, theta=merge_co_moments(arms).slope, ddof=ddof)


def growthbook_relative_answer(inputs: Inputs, arms: list[CoMoments], **settings: Any) -> Answer:
    options = {"alpha": inputs["alpha"], "alternative": ALTERNATIVES[inputs["alternative"]]}
    result = regression.compare_adjusted_relative_by_delta(*arms, **settings, **options)
    if isinstance(result, NotComputed):
        return {"not_computed": result.reason}
    return {
        "effect": result.relative_effect,
        "ci": result.relative_interval,
        "p_value": result.pvalue,
        "standard_error": result.standard_error,
    }


def growthbook_ratio(inputs: Inputs) -> Answer:
    cells = inputs.get("strata") or [inputs]
    arms = [
        merge_co_moments(
            CoMoments.from_sums(
                growthbook_moments(cell[arm]["numerator"]),
                growthbook_moments(cell[arm]["denominator"]),
                cell[arm]["sum_num_den"],
            )
            for cell in cells
        )
        for arm in ("control", "treatment")
    ]
    ddof = growthbook_ddof(cells[0]["control"]["numerator"])
    return growthbook_estimates_answer(inputs, [ratios.ratio_estimate(arm, numerator_ddof=ddof) for arm in arms])


def growthbook_joint_moments(cell: Mapping[str, Any]) -> JointMoments:
    columns = ("num_post", "den_post", "num_pre", "den_pre")
    short = [column.replace("_", "") for column in columns]
    squares = [cell[column].get("sum_squares", cell[column]["sum"]) for column in columns]
    products = [
        [squares[i] if i == j else cell.get(f"sum_{a}_{b}", cell.get(f"sum_{b}_{a}")) for j, b in enumerate(short)]
        for i, a in enumerate(short)
    ]
    return JointMoments.from_sums(cell["n"], [cell[column]["sum"] for column in columns], products)


def growthbook_cuped_ratio(inputs: Inputs) -> Answer:
    cells = inputs.get("strata") or [inputs]
    joint = [
        merge_joint_moments(growthbook_joint_moments(cell[arm]) for cell in cells) for arm in ("control", "treatment")
    ]
    linear = [ratios.linearised_with_covariate(arm) for arm in joint]
    theta = ratios.equal_weight_theta(*linear)
    if inputs["difference"] == "relative":
        return growthbook_relative_answer(inputs, linear, theta=theta, gradient="observed")
    return growthbook_estimates_answer(inputs, list(ratios.adjusted_ratio_estimates(*joint, theta=theta)))


def growthbook_quantile_estimate(cell: Mapping[str, Any]) -> MeanEstimate | NotComputed:
    share = None
    if cell["type"] == "quantile_event":
        units = cell["n_clusters"]
        share = ratios.ratio_estimate(
            CoMoments.from_sums(
                Moments.from_sums(units, cell["sum_below"], cell["sum_below_squares"]),
                Moments.from_sums(units, cell["sum_events"], cell["sum_events_squares"]),
                cell["sum_below_events"],
            )
        )
        if isinstance(share, NotComputed):
            return share
    return quantiles.bracketed_quantile_estimate(
        cell["quantile"],
        (cell["quantile_lower"], cell["quantile_upper"]),
        p=cell["level"],
        n=cell["n"],
        bracket_n=cell["n_star"],
        share_squared_error=share and share.squared_error,
    )


def growthbook_quantile(inputs: Inputs) -> Answer:
    return growthbook_estimates_answer(
        inputs, [growthbook_quantile_estimate(inputs[arm]) for arm in ("control", "treatment")]
    )


def growthbook_estimates_answer(inputs: Inputs, arms: list[MeanEstimate | NotComputed]) -> Answer:
    for arm in arms:
        if isinstance(arm, NotComputed):
            return {"not_computed": arm.reason}
    return growthbook_answer(inputs, *arms)


RATIO_METHODS: dict[str, Callable[[Inputs], Answer]] = {
    "delta_method_ratio_difference": delta_method_ratio_difference,
    "delta_method_ratio_relative_lift": delta_method_ratio_relative_lift,
    "delta_method_ratio (t quantiles) + relative CI": tea_tasting_ratio,
    "ratio metric with covariates (CUPED for ratio)": tea_tasting_adjusted_ratio,
    "ols_cluster_robust_CR0": clustered("CR0"),
    "ols_cluster_robust_CR1": clustered("CR1"),
    "ols_cluster_robust_CR2_satterthwaite": clustered("CR2"),
    "ancova_ols": ancova_ols,
    "lin_interacted_HC0": lin_interacted("HC0", "x"),
    "lin_interacted_HC2": lin_interacted("HC2", "x"),
    "lin_interacted_HC3": lin_interacted("HC3", "x"),
    "lin_interacted_two_covariates_HC2": lin_interacted("HC2", "x", "x2"),
    "winsorize_upper_pooled_quantile_then_welch": winsorize,
    "woodruff_ci_iid": woodruff_ci,
    "woodruff_ci_clustered (= Deng/Knoblich/Lu 2018 outer CI)": woodruff_ci,
    "order_statistic_binomial_ci": order_statistic_binomial_ci,
    "quantile_regression_difference": quantile_difference,
    "clustered_quantile_treatment_effect (Woodruff/outer-CI SE per arm)": clustered_quantile_effect,
} | {
    f"growthbook.welch_t/{kind}/{difference}{side}": method
    for kind, difference, method in (
        ("cuped", "absolute", growthbook_cuped),
        ("cuped", "relative", growthbook_relative_cuped),
        ("ratio", "absolute", growthbook_ratio),
        ("ratio", "relative", growthbook_ratio),
        ("cuped_ratio", "absolute", growthbook_cuped_ratio),
        ("cuped_ratio", "relative", growthbook_cuped_ratio),
        ("quantile_unit", "absolute", growthbook_quantile),
        ("quantile_unit", "relative", growthbook_quantile),
        ("quantile_event", "absolute", growthbook_quantile),
        ("quantile_event", "relative", growthbook_quantile),
    )
    for side in ("", "/greater", "/lesser")
}


def growthbook_whole_arms(cells: list[Mapping[str, Any]]) -> list[MeanEstimate | NotComputed]:
    """Return both variants over all strata, which give GrowthBook its degrees of freedom."""
    names, kind = ("control", "treatment"), cells[0]["control"]["type"]
    if kind == "cuped":
        arms = [growthbook_co_moments([cell[arm] for cell in cells]) for arm in names]
        ddof = growthbook_ddof(cells[0]["control"]["post"])
        whole = adjusted_estimates(*arms, theta=merge_co_moments(arms).slope)
        return [regression.with_ddof(arm, ddof) for arm in whole]
    if kind == "ratio":
        pairs = [merge_co_moments(growthbook_ratio_moments(cell[arm]) for cell in cells) for arm in names]
        return [ratios.ratio_estimate(arm) for arm in pairs]
    if kind == "cuped_ratio":
        joint = [merge_joint_moments(growthbook_joint_moments(cell[arm]) for cell in cells) for arm in names]
        theta = ratios.equal_weight_theta(*[ratios.linearised_with_covariate(arm) for arm in joint])
        return list(ratios.adjusted_ratio_estimates(*joint, theta=theta))
    return [growthbook_estimate([cell[arm] for cell in cells]) for arm in names]


def growthbook_ratio_moments(cell: Mapping[str, Any]) -> CoMoments:
    parts = map(growthbook_moments, (cell["numerator"], cell["denominator"]))
    return CoMoments.from_sums(*parts, cell["sum_num_den"])


GROWTHBOOK_STRATA: dict[str, tuple[Callable[..., Any], Callable[[Mapping[str, Any]], Any], str | None]] = {
    "mean": (sampled_strata.compare_means_over_sampled_strata, growthbook_moments, None),
    "proportion": (sampled_strata.compare_means_over_sampled_strata, growthbook_moments, None),
    "cuped": (
        sampled_strata.compare_means_over_sampled_strata,
        lambda cell: growthbook_co_moments([cell]),
        "post",
    ),
    "ratio": (sampled_strata.compare_ratios_over_sampled_strata, growthbook_ratio_moments, "numerator"),
    "cuped_ratio": (sampled_strata.compare_ratios_over_sampled_strata, growthbook_joint_moments, "num_post"),
}


def growthbook_post_stratified(inputs: Inputs) -> Answer:
    cells = inputs["strata"]
    first = cells[0]["control"]
    compare, moments, column = GROWTHBOOK_STRATA[first["type"]]
    arms = growthbook_whole_arms(cells)
    for arm in arms:
        if isinstance(arm, NotComputed):
            return {"not_computed": arm.reason}
    result = compare(
        {name: (moments(cell["control"]), moments(cell["treatment"])) for name, cell in enumerate(cells)},
        scale=inputs["difference"],
        ddof=growthbook_ddof(first[column] if column else first),
        df=welch_df(*arms),
        alpha=inputs["alpha"],
        alternative=ALTERNATIVES[inputs["alternative"]],
    )
    if isinstance(result, NotComputed):
        return {"not_computed": result.reason}
    return {
        "effect": result.effect,
        "ci": result.interval,
        "p_value": result.pvalue,
        "standard_error": result.standard_error,
    }


def growthbook_scaled(method: str) -> Callable[[Inputs], Answer]:
    """Rename the answer in units of the metric per day."""
    error = "posterior_sd" if method == "bayesian_normal" else "standard_error"

    def answer(inputs: Inputs) -> Answer:
        kind = growthbook_control(inputs)["type"]
        plain = METHODS[f"growthbook.{method}/{kind}/absolute"]({**inputs, "difference": "absolute"})
        if "not_computed" in plain:
            return plain
        scaled = impact.daily_impact(
            plain["effect"],
            plain["ci"],
            plain[error],
            units=inputs["total_users"],
            traffic_share=inputs["traffic_percentage"],
            days=inputs["phase_length_days"],
        )
        if isinstance(scaled, NotComputed):
            return {"not_computed": scaled.reason}
        return {**plain, "effect": scaled.effect, "ci": scaled.interval, error: scaled.standard_error}

    return answer


STRATA_AND_IMPACT: dict[str, Callable[[Inputs], Answer]] = {
    f"growthbook.{method}/{kind}/{difference}{side}/post_stratified": function
    for method, function in (
        ("welch_t", growthbook_post_stratified),
        ("sequential_acs", growthbook_sequential),
        ("bayesian_normal", growthbook_bayesian),
    )
    for kind in GROWTHBOOK_STRATA
    for difference in ("absolute", "relative")
    for side in ("", "/greater", "/lesser")
} | {
    f"growthbook.{method}/{kind}/scaled{side}": growthbook_scaled(method)
    for method in ("welch_t", "sequential_acs", "bayesian_normal")
    for kind in ("mean", "proportion", "cuped")
    for side in ("", "/greater", "/lesser")
}


BETTER = {"higher_is_better": "higher", "lower_is_better": "lower"}


def score_interval(interval: Callable[..., Any]) -> Callable[[Inputs], Answer]:
    return lambda inputs: {"ci": interval(*counts(inputs), alpha=alpha(inputs))}


def clopper_pearson_ci(inputs: Inputs) -> Answer:
    return {"ci": exact.clopper_pearson_interval(inputs["x"], inputs["n"], alpha=alpha(inputs))}


def fisher_exact(inputs: Inputs) -> Answer:
    return {"p_value": exact.fisher_pvalue(*counts(inputs))}


def margin_options(inputs: Inputs) -> dict[str, Any]:
    # The reference gives the bound; our margin is its size, in the bad direction.
    better = BETTER[inputs["direction"]]
    return {"margin": abs(inputs["margin"]), "better": better, "alpha": inputs.get("alpha", 0.05)}


def margin_answer(result: non_inferiority.NonInferiorityTest | NotComputed) -> Answer:
    if isinstance(result, NotComputed):
        return {"not_computed": result.reason}
    return {
        "t": result.statistic,
        "z": result.statistic,
        "df": result.df,
        "p_value": result.pvalue,
        "ci_lower": result.interval[0],
        "ci_upper": result.interval[1],
        "non_inferior": result.non_inferior,
    }


def share_margin(test: Callable[..., Any]) -> Callable[[Inputs], Answer]:
    return lambda inputs: margin_answer(test(*counts(inputs), **margin_options(inputs)))


def welch_absolute_margin(inputs: Inputs) -> Answer:
    return margin_answer(non_inferiority.welch_non_inferiority(*values(inputs), **margin_options(inputs)))


def tost_welch_equivalence(inputs: Inputs) -> Answer:
    result = non_inferiority.welch_equivalence(*values(inputs), low=inputs["low"], high=inputs["high"])
    return {"p_lower": result.pvalue_low, "p_upper": result.pvalue_high, "p_value": result.pvalue}


def hedges_g(inputs: Inputs) -> Answer:
    return {"g": pooled.hedges_g(*values(inputs))}


def student_t(inputs: Inputs) -> Answer:
    result = pooled.student_test(*values(inputs), alpha=alpha(inputs))
    return {"t": result.statistic, "df": result.df, "p_value": result.pvalue, "ci": result.effect_interval}


def student_t_with_relative_ci(inputs: Inputs) -> Answer:
    data, column = inputs["data"], inputs["spec"]["value"]
    rows = list(zip(data["variant"], data[column], strict=True))
    arms = [Moments.from_values(value for variant, value in rows if variant == arm) for arm in (0, 1)]
    result, relative = pooled.student_test(*arms), pooled.student_log_ratio_interval(*arms)
    return {
        "control": arms[0].mean,
        "treatment": arms[1].mean,
        "effect_size": result.effect,
        "effect_size_ci_lower": result.effect_interval[0],
        "effect_size_ci_upper": result.effect_interval[1],
        "rel_effect_size": result.relative_effect,
        "rel_effect_size_ci_lower": relative[0],
        "rel_effect_size_ci_upper": relative[1],
        "pvalue": result.pvalue,
        "statistic": result.statistic,
    }


def exact_binomial(inputs: Inputs) -> Answer:
    shares_by_arm = dict(enumerate(inputs["expected_share"]))
    return {"p_value": sample_ratio.exact_sample_ratio_pvalue(dict(enumerate(inputs["counts"])), shares_by_arm)}


def sequential_multinomial(inputs: Inputs) -> Answer:
    result = sequential_sample_ratio.sequential_sample_ratio_test(
        [dict(enumerate(night)) for night in inputs["increments"]],
        dict(enumerate(inputs["expected_share"])),
        concentration=inputs["dirichlet_concentration"],
    )
    return {"bayes_factor": result.bayes_factors, "p_value": result.pvalues}


def dunnett_critical(inputs: Inputs) -> Answer:
    r = inputs["correlation"]
    sizes = {"n_control": 1 - r, "n_treatments": [r] * inputs["n_comparisons"], "df": inputs["df"]}
    return {"critical": dunnett.dunnett_critical_value(inputs["alpha"], **sizes)}


def dunnett_from_t(inputs: Inputs) -> Answer:
    sizes = {"n_control": inputs["n_control"], "n_treatments": inputs["n_treat"], "df": inputs["df"]}
    return {
        "adjusted_p": dunnett.dunnett_pvalues(inputs["t"], **sizes),
        "critical": dunnett.dunnett_critical_value(inputs.get("alpha", 0.05), **sizes),
    }


def dunnett_two_sided(inputs: Inputs) -> Answer:
    groups = {name: Moments.from_values(group) for name, group in inputs["groups"].items()}
    control = groups.pop(inputs["control"])
    comparisons = list(dunnett.dunnett_test(control, groups).values())
    return {
        "t": [each.statistic for each in comparisons],
        "adjusted_p": [each.pvalue for each in comparisons],
        "critical": comparisons[0].critical,
        "ci_lower": [each.interval[0] for each in comparisons],
        "ci_upper": [each.interval[1] for each in comparisons],
    }


def cochran_q(inputs: Inputs) -> Answer:
    result = heterogeneity.heterogeneity_test(inputs["effect"], inputs["se"])
    return {
        "Q": result.statistic,
        "df": result.df,
        "p_value": result.pvalue,
        "pooled": result.pooled_effect,
        "pooled_se": result.standard_error,
        "I2": 100 * result.i_squared,
    }


def dersimonian_laird(inputs: Inputs) -> Answer:
    result = heterogeneity.random_effects(inputs["effect"], inputs["se"])
    return {"tau2": result.tau_squared, "pooled": result.pooled_effect, "se": result.standard_error}


def shrunken_segments(inputs: Inputs) -> Answer:
    return {"shrunk": heterogeneity.shrunken_effects(inputs["effect"], inputs["se"]).effects}


def cochran_mantel_haenszel(inputs: Inputs) -> Answer:
    result = stratified.cochran_mantel_haenszel_test([counts(stratum) for stratum in inputs["strata"]])
    return {
        "statistic": result.statistic,
        "p_value": result.pvalue,
        "common_odds_ratio": result.odds_ratio,
        "ci": result.interval,
    }


def mantel_haenszel_risk_difference(inputs: Inputs) -> Answer:
    result = stratified.mantel_haenszel_difference([counts(stratum) for stratum in inputs["strata"]])
    return {"rd": result.effect, "se": result.standard_error, "ci": result.interval}


def assignment_independence(inputs: Inputs) -> Answer:
    result = checks.assignment_independence_test(inputs["table"])
    return {"statistic": result.statistic, "df": result.df, "p_value": result.pvalue}


def wald_interaction(inputs: Inputs) -> Answer:
    cells = zip(inputs["mean"], inputs["var"], inputs["n"], strict=True)
    result = checks.interaction_test(*(MeanEstimate(mean, var / n, n - 1) for mean, var, n in cells))
    # The reference squares z and counts one degree of freedom.
    return {
        "interaction": result.effect,
        "se": result.standard_error,
        "statistic": result.statistic**2,
        "df": 1,
        "p_value": result.pvalue,
    }


def novelty_trend(inputs: Inputs) -> Answer:
    result = checks.daily_trend(inputs["day"], inputs["effect"], inputs["se"])
    return {
        "slope": result.slope,
        "slope_se": result.slope_standard_error,
        "z": result.statistic,
        "p_value": result.pvalue,
        "intercept": result.intercept,
    }


def chisq_continuity(inputs: Inputs) -> Answer:
    result = exact.continuity_corrected_test(*counts(inputs))
    return dict(zip(("statistic", "p_value"), result, strict=True))


def poisson_conditional_exact(inputs: Inputs) -> Answer:
    # The reference divides the first rate by the second.
    (events_treatment, events_control), (exposure_treatment, exposure_control) = inputs["events"], inputs["exposure"]
    result = rates.compare_rates(events_control, exposure_control, events_treatment, exposure_treatment)
    return {"rate_ratio": result.rate_ratio, "p_value": result.pvalue, "ci": result.interval}


def growthbook_adjusted_ci(inputs: Inputs) -> Answer:
    return {
        "ci": adjusted_intervals.growthbook_adjusted_interval(
            inputs["lift"], inputs["ci"], inputs["p_adjusted"], alpha=inputs["p_threshold"]
        )
    }


MARGINS_AND_CHECKS: dict[str, Callable[[Inputs], Answer]] = {
    "mee_score_ci": score_interval(score_intervals.mee_interval),
    "miettinen_nurminen_ci": score_interval(score_intervals.miettinen_nurminen_interval),
    "clopper_pearson_ci": clopper_pearson_ci,
    "fisher_exact": fisher_exact,
    "chisq_continuity": chisq_continuity,
    "poisson_two_sample_conditional_exact": poisson_conditional_exact,
    "farrington_manning_score": share_margin(non_inferiority.farrington_manning_non_inferiority),
    "miettinen_nurminen_score": share_margin(non_inferiority.miettinen_nurminen_non_inferiority),
    "wald_unpooled_ni": share_margin(non_inferiority.wald_non_inferiority),
    "welch_absolute_margin": welch_absolute_margin,
    "welch_absolute_margin_lower_is_better": welch_absolute_margin,
    "tost_welch_equivalence": tost_welch_equivalence,
    "hedges_g": hedges_g,
    "student_t": student_t,
    "student_t + relative CI": student_t_with_relative_ci,
    "exact_binomial": exact_binomial,
    "multinomial_dirichlet_mixture (Lindon & Malek 2020/2022)": sequential_multinomial,
    "dunnett_critical_value_two_sided": dunnett_critical,
    "dunnett_two_sided_adjusted_p_from_t": dunnett_from_t,
    "dunnett_two_sided": dunnett_two_sided,
    "cochran_Q_I2": cochran_q,
    "dersimonian_laird": dersimonian_laird,
    "empirical_bayes_shrunk_segment_effects": shrunken_segments,
    "cochran_mantel_haenszel": cochran_mantel_haenszel,
    "mantel_haenszel_risk_difference": mantel_haenszel_risk_difference,
    "chisq_independence_of_assignment": assignment_independence,
    "wald_interaction_means": wald_interaction,
    "weighted_trend_of_daily_effect": novelty_trend,
}


METHODS: dict[str, Callable[[Inputs], Answer]] = {
    **MARGINS_AND_CHECKS,
    **RATIO_METHODS,
    **STRATA_AND_IMPACT,
    **ALWAYS_VALID_AND_BAYESIAN,
    **PLANNING,
    **SEQUENTIAL,
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
    "welch_ratio_margin_higher_is_better": welch_ratio_margin,
    "welch_ratio_margin_lower_is_better": welch_ratio_margin,
    "chisq_gof": chisq_gof,
    "bonferroni": adjusted(multiplicity.bonferroni, "p"),
    "holm": adjusted(multiplicity.holm, "p"),
    "hochberg": adjusted(multiplicity.hochberg, "p"),
    "hommel": adjusted(multiplicity.hommel, "p"),
    "BH": adjusted(multiplicity.benjamini_hochberg, "p"),
    "BY": adjusted(multiplicity.benjamini_yekutieli, "p"),
    "growthbook.adjusted_ci_from_adjusted_p": growthbook_adjusted_ci,
    "growthbook.holm_bonferroni": adjusted(multiplicity.holm, "p_values"),
    "growthbook.benjamini_hochberg": adjusted(multiplicity.benjamini_hochberg, "p_values"),
    "growthbook.srm_chi_square": growthbook_srm,
} | {
    f"growthbook.welch_t/{kind}/{difference}{side}": growthbook_welch
    for kind in ("mean", "proportion")
    for difference in ("absolute", "relative")
    for side in ("", "/greater", "/lesser")
}
