"""Bad input: a caller's slip is a ValueError that names argument and value, bad data a NotComputed with a reason.

Every public function has arguments that are right, in EXAMPLES or in the example of its docstring; each of them is
then spoilt in turn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import doctest
import importlib
import inspect
import io
import math
import pkgutil
import re

import numpy as np
import pytest

from abtest_lib import statistics
from abtest_lib.statistics.bayesian import BetaPosterior, NormalPosterior
from abtest_lib.statistics.estimates import MeanEstimate, NotComputed
from abtest_lib.statistics.guardrails import proportion_non_inferiority
from abtest_lib.statistics.joint_moments import JointMoments
from abtest_lib.statistics.moments import CoMoments, Moments
from abtest_lib.statistics.quantiles import quantile_estimate
from abtest_lib.statistics.sequential import spending_bounds
from abtest_lib.statistics.sequential_paths import Paths
from abtest_lib.statistics.spending import pocock_spending

NAN, INF = math.nan, math.inf

CONTROL, TREATMENT = Moments(40, 10.0, 160.0), Moments(50, 11.0, 200.0)
CONTROL_PAIRS = CoMoments.from_values([9.0, 11.0, 10.0, 12.0, 8.0], [4.0, 6.0, 4.5, 7.0, 3.5])
TREATMENT_PAIRS = CoMoments.from_values([12.0, 14.0, 13.0, 11.0, 15.0], [5.0, 6.5, 6.0, 3.5, 7.5])
CONTROL_COLUMNS = JointMoments.from_values([1, 2, 4, 3], [2, 4, 6, 5], [1, 1, 3, 2], [2, 2, 4, 4])
TREATMENT_COLUMNS = JointMoments.from_values([2, 2, 5, 3], [2, 5, 6, 4], [1, 2, 3, 2], [2, 3, 4, 5])
CONTROL_ESTIMATE, TREATMENT_ESTIMATE = MeanEstimate(10.0, 0.04, 500), MeanEstimate(10.6, 0.05, 480)
CONTROL_MEDIAN, TREATMENT_MEDIAN = quantile_estimate(range(1, 101), 0.5), quantile_estimate(range(21, 121), 0.5)
TABLE = dict(successes_control=15, n_control=100, successes_treatment=25, n_treatment=120)
ESTIMATES = dict(control=CONTROL_ESTIMATE, treatment=TREATMENT_ESTIMATE)
ARMS = dict(control=CONTROL, treatment=TREATMENT)
PAIRS = dict(control=CONTROL_PAIRS, treatment=TREATMENT_PAIRS)
COLUMNS = dict(control=CONTROL_COLUMNS, treatment=TREATMENT_COLUMNS)
SPLIT = dict(observed={"control": 52, "treatment": 48}, weights={"control": 1, "treatment": 1})
LEVEL = dict(alpha=0.05, alternative="two-sided")
SEGMENTS = dict(effects=[0.01, -0.02, 0.03], standard_errors=[0.01, 0.02, 0.01])
LOOKS = [0.25, 0.5, 1.0]
BOUNDS = spending_bounds(LOOKS)
UNITS = dict(n_control=300, n_treatment=400)
EXAMPLES = {
    "always_valid.narrowest_rho_squared": dict(planned_n=1000, alpha=0.05),
    "always_valid.sequence_margin": dict(n=1000, rho_squared=0.008, alpha=0.05),
    "always_valid.mean_sequence": dict(mean=0.03, sd=0.17, n=1000, planned_n=1000, alpha=0.05),
    "always_valid.compare_always_valid": dict(effect=0.004, standard_error=0.003, n=1000, planned_n=1000, **LEVEL),
    "always_valid.mixture_log_ratio": dict(effect=0.02, squared_error=1.6e-5, tau_squared=1e-4),
    "always_valid.mixture_pvalue": dict(effect=0.02, squared_error=1.6e-5, tau_squared=1e-4),
    "always_valid.mixture_interval": dict(effect=0.02, squared_error=1.6e-5, tau_squared=1e-4, alpha=0.05),
    "always_valid.anytime_valid_t": dict(effect=0.5, standard_error=0.18, df=117, n=120, precision=1.0, alpha=0.05),
    "always_valid.running_pvalues": dict(pvalues=[0.9, 0.2]),
    "always_valid.check_units": dict(n=1, name="n"),
    "bandits.best_share_probabilities": dict(posteriors=[BetaPosterior(16, 86), BetaPosterior(23, 79)]),
    "bandits.best_mean_probabilities": dict(posteriors=[NormalPosterior(1, 0.3), NormalPosterior(1.0, 0.4)]),
    "bandits.thompson_allocation": dict(probabilities=[0.1, 0.9], floor=0.05),
    "bandits.epsilon_greedy_allocation": dict(means=[0.1, 0.3], epsilon=0.3, floor=0.05, seed=1),
    "bandits.draw_arms": dict(allocation=[0.5, 0.5], units=3, seed=1),
    "bandits.regret_against_even_split": dict(units=[100, 300], means=[1.0, 1.5]),
    "bandits.past_means": dict(rewards=[1.0, 0.0, 1.0], arms=[0, 0, 1], nights=[1, 2, 3], arm_count=2),
    "bandits.adaptive_estimate": dict(
        rewards=[1.0, 0.0, 1.0, 0.0],
        arms=[0, 1, 0, 1],
        probabilities=[[0.5, 0.5]] * 4,
        predictions=[[0.5, 0.5]] * 4,
        weighting="constant",
        decay=0.7,
        alpha=0.05,
    ),
    "bayesian.compare_shares": dict(control=BetaPosterior(16, 86), treatment=BetaPosterior(23, 79)),
    "bayesian.normal_posterior": dict(effect=0.1, standard_error=0.3, prior=NormalPosterior(0.0, 0.3)),
    "bayesian.read_effect": dict(posterior=NormalPosterior(1.0, 2.0), better="higher"),
    "bayesian.quadrature": dict(centres=[0.0], spreads=[1.0]),
    "bayesian.log_odds_mean": dict(posterior=BetaPosterior(3, 3)),
    "bayesian.log_odds_sd": dict(posterior=BetaPosterior(3, 3)),
    "bayesian.log_odds_density": dict(posterior=BetaPosterior(3, 3), log_odds=np.array(0.0)),
    "bayesian.cumulative_log_odds": dict(posterior=BetaPosterior(3, 3), log_odds=np.array(0.0)),
    "bayesian.BetaPosterior": dict(alpha=2.0, beta=3.0),
    "bayesian.BetaPosterior.of_counts": dict(successes=5, n=10, prior_alpha=1.0, prior_beta=1.0),
    "bayesian.NormalPosterior": dict(mean=0.0, sd=1.0),
    "capping.pooled_cap": dict(control=[1.0, 2.0, 3.0], treatment=[4.0, 100.0], quantile=0.75),
    "capping.compare_capped_means": dict(control=[1.0, 2.0, 3.0], treatment=[4.0, 100.0], quantile=0.75, **LEVEL),
    "checks.assignment_independence_test": dict(table=[[25, 24], [24, 25]]),
    "checks.interaction_test": dict(
        neither=CONTROL_ESTIMATE, only_second=TREATMENT_ESTIMATE, only_first=CONTROL_ESTIMATE, both=TREATMENT_ESTIMATE
    ),
    "checks.daily_trend": dict(days=[1, 2, 3, 4], effects=[0.03, 0.025, 0.021, 0.014], standard_errors=[0.002] * 4),
    "dunnett.dunnett_pvalues": dict(
        statistics=[-1.3, 2.0], n_control=20, n_treatments=[10, 15], df=37, alternative="two-sided"
    ),
    "dunnett.dunnett_critical_value": dict(
        alpha=0.05, n_control=20, n_treatments=[10, 15], df=37, alternative="two-sided"
    ),
    "dunnett.dunnett_test": dict(control=CONTROL, treatments={"a": TREATMENT, "b": TREATMENT}, **LEVEL),
    "estimates.MeanEstimate.of_mean": dict(moments=CONTROL),
    "estimates.MeanEstimate.of_proportion": dict(successes=20, n=100),
    "estimates.within_arm_theta": PAIRS,
    "estimates.adjusted_estimates": dict(**PAIRS, theta=1.0),
    "estimates.welch_df": dict(**ESTIMATES, ratio=1.0),
    "estimates.relative_standard_error": ESTIMATES,
    "estimates.log_ratio": ESTIMATES,
    "estimates.log_ratio_standard_error": ESTIMATES,
    "exact.fisher_pvalue": dict(**TABLE, alternative="two-sided"),
    "exact.clopper_pearson_interval": dict(successes=3, n=20, **LEVEL),
    "exact.no_more_likely": dict(log_probabilities=np.log([0.5, 0.3, 0.2]), observed=math.log(0.3)),
    "guardrails.non_inferiority": dict(**ARMS, kind="mean", margin=0.1, better="lower", alpha=0.025, alpha_harm=0.025),
    "guardrails.mean_non_inferiority": dict(**ARMS, margin=0.1, better="lower", alpha=0.025, alpha_harm=0.025),
    "guardrails.proportion_non_inferiority": dict(**TABLE, margin=0.1, better="lower", alpha=0.025, alpha_harm=0.025),
    "guardrails.margin_statistic": dict(**ESTIMATES, ratio=1.03),
    "guardrails.proved_safe": dict(
        reading=proportion_non_inferiority(500, 10000, 495, 10000, margin=0.2, better="higher"), alpha=0.025
    ),
    "guardrails.proved_harmful": dict(
        reading=proportion_non_inferiority(500, 10000, 495, 10000, margin=0.2, better="higher"), alpha_harm=0.025
    ),
    "guardrails.harm_alpha": dict(alpha=0.05, guardrails=5, treatments=1, reads=28),
    "harm.harm_holds": dict(**ARMS, kind="mean", margin=0.1, better="lower", alpha_harm=0.025),
    "heterogeneity.heterogeneity_test": SEGMENTS,
    "heterogeneity.random_effects": SEGMENTS,
    "heterogeneity.shrunken_effects": SEGMENTS,
    "inference.compare_proportions": dict(**TABLE, **LEVEL),
    "inference.compare_means": dict(**ARMS, **LEVEL),
    "inference.compare_adjusted_means": dict(**PAIRS, **LEVEL, theta=1.0),
    "inference.compare_estimates": dict(**ESTIMATES, **LEVEL, df=900.0),
    "inference.compare_relative_by_delta": dict(**ESTIMATES, **LEVEL, df=900.0),
    "intervals.wald_interval": dict(**ESTIMATES, **LEVEL, df=900.0),
    "intervals.fieller_interval": dict(**ESTIMATES, **LEVEL, df=900.0),
    "intervals.delta_interval": dict(**ESTIMATES, **LEVEL, df=900.0),
    "intervals.log_ratio_interval": dict(**ESTIMATES, **LEVEL, df=900.0),
    "joint_moments.JointMoments": dict(n=3, means=(2.0, 5.0), scatter=((2.0, 4.0), (4.0, 8.0))),
    "joint_moments.JointMoments.from_sums": dict(n=3, sums=[6.0, 15.0], products=[[14.0, 34.0], [34.0, 83.0]]),
    "joint_moments.merge_joint_moments": dict(cells=[CONTROL_COLUMNS, TREATMENT_COLUMNS]),
    "mixture_bounds.tuned_mixture_rho": dict(planned_variance=100.0, **LEVEL),
    "mixture_bounds.mixture_log_evidence": dict(total=60.0, variance=1000.0, rho=126.0, alternative="two-sided"),
    "mixture_bounds.normal_mixture_bound": dict(variance=1000.0, rho=126.0, **LEVEL),
    "mixture_bounds.bounded_mean_sequence": dict(mean=0.3, n=60, planned_n=60, alpha=0.05),
    "moments.Moments": dict(n=3, mean=2.0, m2=2.0),
    "moments.Moments.from_values": dict(values=[1.0, 2.0, 3.0]),
    "moments.Moments.from_counts": dict(successes=3, n=12),
    "moments.Moments.from_sums": dict(n=3, total=6.0, sum_of_squares=14.0),
    "moments.CoMoments": dict(outcome=Moments(3, 2.0, 2.0), covariate=Moments(3, 5.0, 8.0), comoment=4.0),
    "moments.CoMoments.from_values": dict(outcomes=[1.0, 2.0, 3.0], covariates=[3.0, 5.0, 7.0]),
    "moments.CoMoments.from_sums": dict(
        outcome=Moments(3, 2.0, 2.0), covariate=Moments(3, 5.0, 8.0), sum_of_products=34.0
    ),
    "moments.CoMoments.of_constant": dict(outcome=Moments(3, 2.0, 2.0), covariate=5.0),
    "moments.merge": dict(moments=[CONTROL, TREATMENT]),
    "moments.merge_co_moments": dict(co_moments=[CONTROL_PAIRS, TREATMENT_PAIRS]),
    "multiplicity.bonferroni": dict(pvalues=[0.01, 0.2], family_size=3),
    "multiplicity.bonferroni_alpha": dict(alpha=0.05, family_size=5),
    "multiplicity.holm": dict(pvalues=[0.01, 0.2], family_size=3),
    "multiplicity.hochberg": dict(pvalues=[0.01, 0.2], family_size=3),
    "multiplicity.benjamini_hochberg": dict(pvalues=[0.01, 0.2], family_size=3),
    "non_inferiority.welch_non_inferiority": dict(**ARMS, margin=1.0, better="lower", alpha=0.025),
    "non_inferiority.welch_equivalence": dict(**ARMS, low=-3.0, high=3.0, alpha=0.05),
    "non_inferiority.wald_non_inferiority": dict(**TABLE, margin=0.1, better="lower", alpha=0.025),
    "non_inferiority.farrington_manning_non_inferiority": dict(**TABLE, margin=0.1, better="lower", alpha=0.025),
    "non_inferiority.miettinen_nurminen_non_inferiority": dict(**TABLE, margin=0.1, better="lower", alpha=0.025),
    "planning.Baseline": dict(mean=1.0, sd=2.0),
    "planning.Baseline.of_share": dict(share=0.3),
    "planning.Baseline.of_mean": dict(moments=CONTROL),
    "planning.Baseline.of_adjusted_mean": dict(values=CONTROL_PAIRS),
    "planning.Baseline.of_ratio": dict(values=CONTROL_PAIRS),
    "planning.RequiredUnits": dict(exact_control=1000.2, allocation=2.0, treatments=2),
    "planning.required_days": dict(units=1000, units_per_day=50.0, window_days=7),
    "pooled.pooled_estimates": ARMS,
    "pooled.student_test": dict(**ARMS, **LEVEL),
    "pooled.student_log_ratio_interval": dict(**ARMS, **LEVEL),
    "pooled.cohens_d": ARMS,
    "pooled.hedges_g": ARMS,
    "power.power_means": dict(
        effect=0.5, **UNITS, sd=4.0, sd_treatment=5.0, test="welch", **LEVEL, treatments=2, counted="effect side"
    ),
    "power.required_units_means": dict(
        effect=0.5,
        sd=4.0,
        sd_treatment=5.0,
        test="welch",
        power=0.8,
        **LEVEL,
        allocation=2.0,
        treatments=2,
        inflation=1.1,
    ),
    "power.minimum_detectable_means": dict(
        **UNITS, sd=4.0, sd_treatment=5.0, test="welch", power=0.8, **LEVEL, treatments=2, inflation=1.1
    ),
    "power.power_relative_means": dict(relative_effect=0.01, mean=100.0, sd=40.0, **UNITS),
    "power.minimum_detectable_relative_means": dict(mean=100.0, sd=40.0, **UNITS, power=0.8, **LEVEL, treatments=2),
    "power_margins.required_units_non_inferior_means": dict(
        margin=0.4, sd=4.0, better="higher", effect=0.1, alpha=0.025
    ),
    "power_margins.power_non_inferior_means": dict(
        margin=0.4, sd=4.0, better="higher", effect=0.1, alpha=0.025, **UNITS
    ),
    "power_margins.required_units_guardrail_means": dict(
        margin=0.1, mean=100.0, sd=40.0, better="higher", relative_effect=0.01, alpha=0.025
    ),
    "power_margins.power_guardrail_means": dict(
        margin=0.1, mean=100.0, sd=40.0, better="higher", relative_effect=0.01, alpha=0.025, **UNITS
    ),
    "power_proportions.power_proportions": dict(
        share_control=0.05, share_treatment=0.06, **UNITS, test="pooled", **LEVEL, treatments=2, counted="effect side"
    ),
    "power_proportions.required_units_proportions": dict(
        share_control=0.05,
        share_treatment=0.06,
        test="pooled",
        power=0.8,
        **LEVEL,
        allocation=2.0,
        treatments=2,
        inflation=1.1,
    ),
    "power_proportions.minimum_detectable_proportions": dict(
        share_control=0.3, **UNITS, direction="increase", test="pooled", power=0.8, **LEVEL, treatments=2, inflation=1.1
    ),
    "power_margin_shares.required_units_non_inferior_proportions": dict(
        margin=0.1,
        share_control=0.3,
        better="lower",
        scale="difference",
        share_treatment=0.31,
        power=0.8,
        alpha=0.025,
        allocation=2.0,
        treatments=2,
        inflation=1.1,
    ),
    "power_margin_shares.power_non_inferior_proportions": dict(
        margin=0.1,
        share_control=0.3,
        **UNITS,
        better="lower",
        scale="difference",
        share_treatment=0.31,
        alpha=0.025,
        treatments=2,
    ),
    "proportions.pooled_z": TABLE,
    "proportions.score_ratio_z": dict(**TABLE, ratio=0.9),
    "proportions.wilson_interval": dict(successes=3, n=20, **LEVEL),
    "proportions.newcombe_interval": dict(**TABLE, **LEVEL),
    "proportions.score_ratio_interval": dict(**TABLE, **LEVEL),
    "quantiles.quantile_estimate": dict(values=[float(v) for v in range(20)], p=0.5, units=list(range(20)), alpha=0.05),
    "quantiles.order_statistic_interval": dict(values=[float(v) for v in range(20)], p=0.5, alpha=0.05),
    "quantiles.compare_quantiles": dict(control=CONTROL_MEDIAN, treatment=TREATMENT_MEDIAN, **LEVEL),
    "quantiles.bracketed_quantile_estimate": dict(
        quantile=19.67, bracket=(18.3, 20.94), p=0.5, n=1500, bracket_n=800, share_squared_error=0.0002
    ),
    "ratios.unit_totals": dict(values=[1.0, 2.0, 4.0], units=["a", "b", "a"]),
    "ratios.linearised": dict(arm=CONTROL_PAIRS),
    "ratios.linearised_with_covariate": dict(arm=CONTROL_COLUMNS),
    "ratios.ratio_estimate": dict(arm=CONTROL_PAIRS, numerator_ddof=1),
    "ratios.compare_ratios": dict(**PAIRS, **LEVEL),
    "ratios.equal_weight_theta": PAIRS,
    "ratios.adjusted_ratio_estimates": dict(**COLUMNS, theta=0.5),
    "ratios.compare_adjusted_ratios": dict(**COLUMNS, **LEVEL, theta=0.5),
    "regression.compare_by_ancova": dict(**PAIRS, **LEVEL),
    "regression.compare_by_lin_regression": dict(
        outcomes=[9.0, 11.0, 10.0, 12.0, 12.0, 14.0, 13.0, 11.5],
        treated=[0, 0, 0, 0, 1, 1, 1, 1],
        covariates=[4.0, 6.0, 4.5, 7.0, 5.0, 6.5, 6.0, 3.5],
        variance="HC2",
        **LEVEL,
    ),
    "regression.compare_by_clustered_regression": dict(
        control=([1, 0, 3, 2], [2, 1, 5, 2]), treatment=([2, 1, 4, 2], [2, 2, 5, 3]), variance="CR2", **LEVEL
    ),
    "regression.compare_adjusted_relative_by_delta": dict(**PAIRS, theta=1.0, gradient="expected", ddof=1, **LEVEL),
    "regression.with_ddof": dict(estimate=MeanEstimate(0.5, 0.04, 4), ddof=0),
    "sample_ratio.sample_ratio_test": SPLIT,
    "sample_ratio.exact_sample_ratio_pvalue": SPLIT,
    "sample_ratio.sample_ratio_pvalue": SPLIT,
    "sample_ratio.check_split": SPLIT,
    "sample_ratio.alarm_level": dict(planned_reads=20, false_alarm=0.01),
    "score_intervals.farrington_manning_z": dict(**TABLE, difference=0.1),
    "score_intervals.miettinen_nurminen_z": dict(**TABLE, difference=0.1),
    "score_intervals.mee_interval": dict(**TABLE, **LEVEL),
    "score_intervals.miettinen_nurminen_interval": dict(**TABLE, **LEVEL),
    "sequential.crossing_probabilities": dict(
        information=LOOKS, lower=[-3.0, -2.5, -2.0], upper=[3.0, 2.5, 2.0], theta=1.0
    ),
    "sequential.spending_bounds": dict(information=LOOKS, alpha=0.05, sides=2, spending_time=LOOKS),
    "sequential.efficacy_and_harm_bounds": dict(information=LOOKS, alpha_efficacy=0.025, alpha_harm=0.1),
    "sequential.checked_information": dict(information=LOOKS),
    "sequential.checked_bounds": dict(lower=[-3.0, -2.0], upper=[3.0, 2.0], looks=2),
    "sequential.one_sided_alpha": dict(alpha=0.05, sides=2),
    "sequential.planned_spending": dict(looks=LOOKS, alpha=0.025, spending=pocock_spending, spending_time=LOOKS),
    "sequential.crossing_from": dict(paths=Paths.start(), looks=LOOKS, lower=[-3.0] * 3, upper=[3.0] * 3),
    "sequential.mirrored": dict(upper=[3.0, 2.0], sides=2),
    "sequential_classical.wang_tsiatis_bounds": dict(information=LOOKS, delta=0.25, alpha=0.05, sides=2),
    "sequential_classical.obrien_fleming_bounds": dict(information=LOOKS, alpha=0.05, sides=2),
    "sequential_classical.pocock_bounds": dict(information=LOOKS, alpha=0.05, sides=2),
    "sequential_classical.haybittle_peto_bounds": dict(information=LOOKS, interim_z=3.0, alpha=0.05, sides=2),
    "sequential_design.sequential_design": dict(bounds=BOUNDS, alpha=0.05, sides=2, power=0.8),
    "sequential_design.futility_design": dict(information=LOOKS, alpha=0.025, power=0.9),
    "sequential_design.conditional_power": dict(
        information=[1.0], upper=[1.96], z=1.5, at=0.5, theta=2.0, lower=[-1.96]
    ),
    "sequential_estimates.repeated_pvalue": dict(information=LOOKS, z=2.2, sides=1),
    "sequential_estimates.repeated_pvalues": dict(information=[0.5, 1.0], statistics=[1.0, 2.2], sides=1),
    "sequential_estimates.running_minimum": dict(pvalues=[0.04, 0.2]),
    "sequential_estimates.repeated_intervals": dict(bounds=BOUNDS, statistics=[1.0, 2.2]),
    "sequential_estimates.stagewise_inference": dict(
        information=[0.25, 0.4, 0.75], upper=[4.3, 3.3], z=2.6, lower=[-4.0, -3.0], alpha=0.05
    ),
    "sequential_sample_ratio.sequential_sample_ratio_test": dict(
        nightly=[SPLIT["observed"]], weights=SPLIT["weights"], concentration=1000.0
    ),
    "spending.obrien_fleming_spending": dict(fraction=0.5, alpha=0.025),
    "spending.pocock_spending": dict(fraction=0.5, alpha=0.025),
    "spending.power_spending": dict(fraction=0.5, alpha=0.025, rho=2.0),
    "spending.hwang_shih_decani_spending": dict(fraction=0.5, alpha=0.025, gamma=-4.0),
    "stratified.cochran_mantel_haenszel_test": dict(strata=[(15, 100, 25, 120), (10, 100, 20, 100)], alpha=0.05),
    "stratified.mantel_haenszel_difference": dict(strata=[(15, 100, 25, 120), (10, 100, 20, 100)], alpha=0.05),
    "tails.critical_value": dict(**LEVEL, df=10.0),
    "tails.tail_pvalue": dict(statistic=2.0, alternative="two-sided", df=10.0),
    "tails.check_counts": dict(successes=3, n=10, successes_name="successes", n_name="n"),
}

# By name without its module: nothing that they are given can be wrong, or it is checked where it is used.
TAKES_ANYTHING = {
    "JointMoments.from_values": "a variable number of columns; see test_covariates",
    "MeanEstimate": "refuses a negative variance and keeps the rest as it came; see test_inference",
    "as_number": "any number",
    "as_ratio": "any number, or a reason",
    "covariate_adjusted_estimates": "a building block of comparisons, which check",
    "find_root": "ends of a search that its caller chose",
    "floats": "any numbers",
    "interval_ends": "ends and a side that its caller computed and checked",
    "joint_cells": "a building block of comparisons, which check",
    "merged_pairs": "a building block of comparisons, which check",
    "pick": "an index into what it is given",
    "plain": "any number",
    "residual_moments": "a building block of comparisons, which check",
    "smallest_reaching": "ends of a search that its caller chose",
    "square_root": "any number",
    "together": "a building block of comparisons, which check",
    "with_slope_error": "a building block of comparisons, which check",
}
# By name without its module: data as they came, and building blocks whose docstring says that what is not a number
# stays so; the comparisons make a reason of it.
CARRIES_NAN = {
    "CoMoments",
    "CoMoments.from_sums",
    "CoMoments.from_values",
    "CoMoments.of_constant",
    "JointMoments",
    "JointMoments.from_sums",
    "MeanEstimate.of_mean",
    "Moments",
    "Moments.from_sums",
    "Moments.from_values",
    "adjusted_estimates",
    "covariate_adjusted_estimates",
    "delta_ends",
    "directed",
    "equal_weight_theta",
    "estimate_comparisons",
    "estimate_readings",
    "fieller_ends",
    "joint_cells",
    "log_ratio",
    "log_ratio_standard_error",
    "margin_statistic",
    "mean_comparisons",
    "mean_readings",
    "merge",
    "merge_co_moments",
    "merge_joint_moments",
    "merged_pairs",
    "power_of_spread",
    "proportion_comparisons",
    "proportion_readings",
    "relative_standard_error",
    "residual_moments",
    "together",
    "unit_totals",
    "units_for_power",
    "welch_df",
    "with_ddof",
    "with_slope_error",
    "within_arm_theta",
}
# Where the message names the argument otherwise, as a pattern.
ALSO_NAMED = {
    "bandits.adaptive_estimate probabilities": "probabilities|inhomogeneous",
    "bandits.adaptive_estimate predictions": "predictions|inhomogeneous",
    "estimates.MeanEstimate.of_mean moments": "n",
    "joint_moments.JointMoments means": "scatter",
    "joint_moments.JointMoments.from_sums sums": "sums|products",
    "sequential.planned_spending spending_time": "spending_time|fraction|spending",
    "sequential.spending_bounds spending_time": "spending_time|fraction|spending",
}
# Values that a function takes though others of that name do not.
ACCEPTS = {
    "0": {"always_valid.mean_sequence sd"},
    "1": {"bayesian.BetaPosterior alpha"},
    "1.5": {"bayesian.BetaPosterior alpha"},
    "2.5": {
        "always_valid.anytime_valid_t n",
        "always_valid.check_units n",
        "always_valid.compare_always_valid n",
        "always_valid.mean_sequence n",
        "always_valid.sequence_margin n",
        "dunnett.dunnett_critical_value n_control",
        "dunnett.dunnett_pvalues n_control",
        "mixture_bounds.bounded_mean_sequence n",
        "proportions.pooled_z successes_control",
        "proportions.pooled_z n_control",
        "proportions.pooled_z successes_treatment",
        "proportions.pooled_z n_treatment",
        "proportions.score_ratio_z successes_control",
        "proportions.score_ratio_z n_control",
        "proportions.score_ratio_z successes_treatment",
        "proportions.score_ratio_z n_treatment",
    },
    "3": {"bandits.past_means arm_count"},
}

OPEN_SHARE = (0, 1, -0.5, 1.5, NAN, INF)
CLOSED_SHARE = (-0.5, 1.5, NAN, INF)
COUNT = (-1, 2.5, NAN, INF)
FROM_ONE = (-1, 0, 2.5, NAN, INF)
SIZE = (-1, 0, NAN, INF)
FINITE = NOT_FINITE = (NAN, INF, -INF)
CHOICE = ("bigger", None)
# Values that an argument may not have, by its name; "function argument" has precedence.
WRONG = {
    **dict.fromkeys(("alpha", "alpha_harm", "alpha_efficacy", "false_alarm", "power", "p", "quantile"), OPEN_SHARE),
    **dict.fromkeys(("share", "share_control", "share_treatment", "decay"), OPEN_SHARE),
    **dict.fromkeys(("epsilon",), CLOSED_SHARE),
    **dict.fromkeys(("alternative", "better", "kind", "test", "counted", "direction", "scale"), CHOICE),
    **dict.fromkeys(("gradient", "weighting"), CHOICE),
    "regression.compare_by_lin_regression variance": CHOICE,
    "regression.compare_by_clustered_regression variance": CHOICE,
    **dict.fromkeys(
        ("mixture_bounds.mixture_log_evidence variance", "mixture_bounds.normal_mixture_bound variance"), (-1, NAN)
    ),
    "quantiles.bracketed_quantile_estimate quantile": NOT_FINITE,
    **dict.fromkeys(("bandits.epsilon_greedy_allocation seed", "bandits.draw_arms seed"), ()),
    **dict.fromkeys(("moments.Moments m2", "moments.CoMoments comoment"), (-100.0,)),
    **dict.fromkeys(("moments.Moments mean", "moments.CoMoments.of_constant covariate"), ()),
    "moments.CoMoments.from_sums sum_of_products": (),
    **dict.fromkeys(("successes", "successes_control", "successes_treatment"), (*COUNT, 10**9)),
    **dict.fromkeys(("n", "n_control", "n_treatment", "window_days"), COUNT),
    **dict.fromkeys(("planned_reads", "family_size", "treatments", "guardrails", "reads", "bracket_n"), FROM_ONE),
    **dict.fromkeys(("arm_count", "sides", "ddof", "numerator_ddof", "looks"), (-1, 3, 0.5, NAN, INF)),
    **dict.fromkeys(("sd", "sd_treatment", "tau_squared", "rho", "rho_squared", "planned_n", "precision"), SIZE),
    **dict.fromkeys(("allocation", "units_per_day", "planned_variance", "concentration", "interim_z"), SIZE),
    **dict.fromkeys(("df", "at", "prior_alpha", "prior_beta"), (-1, 0, NAN)),
    **dict.fromkeys(("theta", "z", "delta", "gamma", "low", "high", "relative_effect"), FINITE),
    **dict.fromkeys(("effect", "margin"), (NAN, -INF)),
    **dict.fromkeys(("squared_error", "standard_error", "share_squared_error", "m2"), (-1, NAN, INF)),
    **dict.fromkeys(("fraction", "inflation", "floor", "r_squared"), (-1, NAN)),
}
# Arguments that are data: a fault in them may be answered by NotComputed.
DATA = {
    "effect", "standard_error", "quantile", "bracket", "values", "outcomes", "covariates", "arm", "moments",
    "control", "treatment", "treatments", "effects", "standard_errors", "days", "strata", "table", "rewards", "units",
}  # fmt: skip


def spoilt_moments(moments):
    yield Moments(0, 0.0, 0.0)
    yield from (Moments(moments.n, mean, m2) for mean, m2 in ((NAN, NAN), (INF, NAN), (moments.mean, INF), (0.0, NAN)))


def spoilt(value):
    """The same kind of data with too few units, numbers that are not finite, or no entries."""
    if isinstance(value, Moments):
        yield from spoilt_moments(value)
    elif isinstance(value, CoMoments):
        yield CoMoments(Moments(0, 0.0, 0.0), Moments(0, 0.0, 0.0), 0.0)
        yield CoMoments(Moments(value.n, NAN, NAN), value.covariate, NAN)
        yield CoMoments(value.outcome, Moments(value.n, NAN, NAN), NAN)
        yield CoMoments(value.outcome, value.covariate, NAN)
    elif isinstance(value, JointMoments):
        k = len(value.means)
        yield JointMoments(0, (0.0,) * k, ((0.0,) * k,) * k)
        yield JointMoments(value.n, (NAN,) * k, value.scatter)
        yield JointMoments(value.n, value.means, ((NAN,) * k,) * k)
    elif isinstance(value, MeanEstimate):
        yield from (MeanEstimate(value.mean, error, value.df) for error in (NAN, INF))
        yield from (MeanEstimate(mean, value.squared_error, value.df) for mean in NOT_FINITE)
    elif isinstance(value, dict):
        yield {}
        if all(isinstance(entry, (int, float)) for entry in value.values()):
            first = next(iter(value))
            yield {first: value[first]}
            yield from ({**value, first: wrong} for wrong in (-1, NAN, INF))
        else:
            yield from ({**value, name: wrong} for name in value for wrong in spoilt(value[name]))
    elif isinstance(value, (list, tuple)):
        yield type(value)()
        if value and isinstance(value[0], (int, float)):
            yield from (type(value)([wrong, *value[1:]]) for wrong in NOT_FINITE)
        elif value:
            yield from (type(value)([wrong, *value[1:]]) for wrong in spoilt(value[0]))


def modules():
    names = sorted(module.name for module in pkgutil.iter_modules(statistics.__path__))
    return [importlib.import_module(f"{statistics.__name__}.{name}") for name in names]


def callables():
    """Functions, and classes and class methods that check what they are given."""
    found = {}
    for module in modules():
        short = module.__name__.rpartition(".")[2]
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__ or name.startswith("_"):
                continue
            if inspect.isfunction(value):
                found[f"{short}.{name}"] = value
            elif inspect.isclass(value):
                if "__post_init__" in vars(value):
                    found[f"{short}.{name}"] = value
                for attribute, method in vars(value).items():
                    if isinstance(method, classmethod) and not attribute.startswith("_"):
                        found[f"{short}.{name}.{attribute}"] = getattr(value, attribute)
    return found


CALLABLES = callables()


def bare(name):
    return name.partition(".")[2]


def of_docstrings():
    """Arguments of the first call in the example of each function that has no line in EXAMPLES."""
    found = {}
    for name, function in CALLABLES.items():
        if not inspect.isfunction(function) or name in EXAMPLES or bare(name) in TAKES_ANYTHING:
            continue
        calls = []

        def recorder(*args, _function=function, _calls=calls, **options):
            bound = inspect.signature(_function).bind(*args, **options).arguments
            result = _function(*args, **options)
            spread = bound.pop("options", {})
            _calls.append({**bound, **spread})
            return result

        names = {**importlib.import_module(function.__module__).__dict__, function.__name__: recorder}
        examples = doctest.DocTestParser().get_examples(inspect.getdoc(function))
        with contextlib.redirect_stdout(io.StringIO()):
            for example in examples:
                try:
                    exec(compile(example.source, name, "single"), names)  # noqa: S102
                except ValueError:
                    continue
        found.update({name: calls[0]} if calls else {})
    return found


# Functions without a line of their own are held to giving no silent nan, those with one to the words of a refusal too.
STRICT = frozenset(EXAMPLES)
EXAMPLES = {**of_docstrings(), **EXAMPLES}


def carries_nan(name):
    return bare(name) in CARRIES_NAN


def holds_nan(value):
    if isinstance(value, np.ndarray) and value.dtype.kind != "f":
        return False
    if isinstance(value, (float, np.ndarray)):
        return bool(np.isnan(value).any())
    if dataclasses.is_dataclass(value):
        return any(holds_nan(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, dict):
        return any(map(holds_nan, value.values()))
    return isinstance(value, (list, tuple)) and any(map(holds_nan, value))


def stands_for_a_failure(result):
    """Whether a number poses as an answer: nan, or p = 1 with an interval of (0, 0)."""
    ends = [getattr(result, name, None) for name in ("interval", "effect_interval", "relative_interval")]
    return holds_nan(result) or (0.0, 0.0) in ends


def wrong_values(name, argument, value):
    # A default that stands for "as usual" is not a number to spoil.
    listed = WRONG.get(f"{name} {argument}", WRONG.get(argument))
    if isinstance(value, (str, bool)) or value is None:
        return listed if isinstance(value, str) and listed and name in STRICT else ()
    if isinstance(value, (int, float)):
        return (NAN,) if listed is None or name not in STRICT else listed
    return ()


SLIPS = [
    pytest.param(name, argument, wrong, id=f"{name}-{argument}-{wrong}")
    for name, example in EXAMPLES.items()
    for argument, value in example.items()
    for wrong in wrong_values(name, argument, value)
]
FAULTS = [
    pytest.param(name, argument, wrong, id=f"{name}-{argument}-{at}")
    for name, example in EXAMPLES.items()
    for argument, value in example.items()
    for at, wrong in enumerate(spoilt(value))
]


def refused(name, argument, error, wrong=None):
    if name not in STRICT:
        return
    message = str(error)
    words = ALSO_NAMED.get(f"{name} {argument}", ALSO_NAMED.get(argument, argument))
    assert re.search(rf"\b({words})", message), f"{name}: {argument!r} is not named in {message!r}"
    if wrong is not None and words == argument:
        assert str(wrong) in message or repr(wrong) in message, f"{name}: {wrong!r} is not in {message!r}"


def test_every_function_has_an_example_here():
    functions = {name for name, value in CALLABLES.items() if inspect.isfunction(value)}
    refusing = {name for name in functions if "Traceback" in inspect.getdoc(CALLABLES[name])}
    without = sorted(name for name in functions - set(EXAMPLES) - refusing if bare(name) not in TAKES_ANYTHING)
    assert not without, f"add to EXAMPLES or TAKES_ANYTHING: {without}"
    assert not set(EXAMPLES) - set(CALLABLES), "these are gone"


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_right(name):
    result = CALLABLES[name](**EXAMPLES[name])
    assert not isinstance(result, NotComputed)
    assert not holds_nan(result) or carries_nan(name)
    taken = inspect.signature(CALLABLES[name]).parameters
    assert set(EXAMPLES[name]) <= set(taken) or any(one.kind is one.VAR_KEYWORD for one in taken.values())


@pytest.mark.parametrize(("name", "argument", "wrong"), SLIPS)
def test_slip_is_refused_by_name_and_value(name, argument, wrong):
    if f"{name} {argument}" in ACCEPTS.get(str(wrong), ()) or (wrong == 2.5 and name.startswith("power")):
        return  # Plans take fractions of units.
    try:
        result = CALLABLES[name](**{**EXAMPLES[name], argument: wrong})
    except ValueError as error:
        refused(name, argument, error, wrong)
    else:
        if carries_nan(name):
            assert name not in STRICT or re.search("nan|finite", inspect.getdoc(CALLABLES[name]))
        elif name not in STRICT:
            assert not stands_for_a_failure(result), result
        else:
            assert isinstance(result, NotComputed) and argument in DATA, f"{name} took {argument} = {wrong}: {result}"
            assert result.reason


@pytest.mark.parametrize(("name", "argument", "wrong"), FAULTS)
def test_fault_of_the_data_is_refused_or_not_computed_with_a_reason(name, argument, wrong):
    try:
        result = CALLABLES[name](**{**EXAMPLES[name], argument: wrong})
    except ValueError as error:
        refused(name, argument, error)
    else:
        if carries_nan(name):
            stays = re.search("nan|finite", inspect.getdoc(CALLABLES[name]))
            assert stays or name not in STRICT or not holds_nan(result)
        elif isinstance(result, NotComputed):
            assert re.match(r"[^A-Z].*[^.]$", result.reason), result.reason
        else:
            assert not stands_for_a_failure(result), result
