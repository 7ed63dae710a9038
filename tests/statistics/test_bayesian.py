from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import betaln

from abtest_lib.statistics.bayesian import (
    BetaPosterior,
    NormalPosterior,
    compare_shares,
    cumulative_log_odds,
    normal_posterior,
    quadrature,
    read_effect,
)
from abtest_lib.statistics.estimates import NotComputed

BETAS = st.builds(BetaPosterior, st.floats(0.5, 1e5), st.floats(0.5, 1e5))
NORMALS = st.builds(NormalPosterior, st.floats(-5, 5), st.floats(0.01, 5))


def probability_by_sum(control, treatment):
    # Evan Miller (2014), "Formulas for Bayesian A/B testing", equation 6: exact for whole alphas.
    terms = [
        betaln(control.alpha + i, control.beta + treatment.beta)
        - math.log(treatment.beta + i)
        - betaln(1 + i, treatment.beta)
        - betaln(control.alpha, control.beta)
        for i in range(int(treatment.alpha))
    ]
    return math.fsum(np.exp(terms))


# --- references


def test_posterior_interval_matches_the_book():
    # Gelman et al. (2013), section 2.4: 437 girls of 980 births, uniform prior, mean 0.446, interval [0.415, 0.477].
    posterior = BetaPosterior.of_counts(437, 980)
    assert posterior.mean == pytest.approx(0.446, abs=5e-4)
    assert posterior.interval() == pytest.approx((0.415, 0.477), abs=5e-4)


@pytest.mark.parametrize(
    "counts", [((1, 1), (1, 1)), ((3, 40), (7, 36)), ((165, 4_837), (156, 4_846)), ((2, 9), (900, 3))]
)
def test_probability_to_beat_equals_the_exact_sum(counts):
    # 1e-10: what is lost when logarithms of large beta functions are subtracted in the sum.
    control, treatment = (BetaPosterior(*each) for each in counts)
    reading = compare_shares(control, treatment)
    assert reading.probability_to_beat_control == pytest.approx(probability_by_sum(control, treatment), rel=1e-10)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((50, 2, 3, 60), 1.7707481686471196195e-28),
        ((450, 450, 40, 860), 2.0118719617772535418e-118),
        ((1500, 1500, 400, 2600), 7.046468934664375466e-215),
        ((1200, 300, 301, 1200), 1.4587721764868302729e-253),
        ((1, 1001, 1, 1), 0.99900199600798403194),
    ],
)
def test_far_tail_of_the_probability_to_beat_keeps_its_digits(counts, expected):
    # The exact sum of test_probability_to_beat_equals_the_exact_sum in mpmath 1.4 with 40 digits (loggamma).
    reading = compare_shares(BetaPosterior(*counts[:2]), BetaPosterior(*counts[2:]))
    assert reading.probability_to_beat_control == pytest.approx(expected, rel=1e-11, abs=0)


def test_ten_million_units_are_read_as_by_scipy():
    # 1e-7: the logarithm of a beta function of ten millions keeps nine digits, in SciPy's density, too.
    control, treatment = BetaPosterior.of_counts(1_000_000, 10_000_000), BetaPosterior.of_counts(1_000_500, 10_000_000)
    c, t = (stats.beta(arm.alpha, arm.beta) for arm in (control, treatment))
    reach = (0.0988, 0.1012)
    better = integrate.quad(lambda x: t.pdf(x) * c.cdf(x), *reach, epsabs=1e-12, limit=400)[0]
    lost = integrate.quad(lambda x: t.cdf(x) * c.sf(x), *reach, epsabs=1e-16, limit=400)[0]
    reading = compare_shares(control, treatment)
    assert reading.probability_to_beat_control == pytest.approx(better, rel=1e-7)
    assert reading.expected_loss_treatment == pytest.approx(lost, rel=1e-7, abs=0)


@pytest.mark.parametrize("score", [-37.0, -20.0, -8.0])
def test_far_tail_of_an_effect_is_its_survival_function(score):
    reading = read_effect(NormalPosterior(score, 1.0))
    assert reading.probability_to_beat_control == pytest.approx(stats.norm.sf(-score), rel=1e-12, abs=0)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (0, 5_000), (5_000, 5_000), (0, 10_000_000)])
def test_counts_at_the_edge_have_a_reading(successes, n):
    reading = compare_shares(BetaPosterior.of_counts(successes, n), BetaPosterior.of_counts(successes, n))
    assert reading.probability_to_beat_control == pytest.approx(0.5, abs=1e-12)
    low, high = BetaPosterior.of_counts(successes, n).interval()
    assert 0 <= low < high <= 1


def test_losses_agree_with_two_dimensional_quadrature():
    # scipy.integrate.dblquad with scipy.stats.beta densities, to 1e-9.
    control, treatment = BetaPosterior(12, 90), BetaPosterior(18, 85)
    c, t = stats.beta(control.alpha, control.beta), stats.beta(treatment.alpha, treatment.beta)

    def lost(worse, better):
        return integrate.dblquad(lambda x, y: (y - x) * worse.pdf(x) * better.pdf(y), 0, 0.6, 0, lambda y: y)[0]

    reading = compare_shares(control, treatment)
    assert reading.expected_loss_treatment == pytest.approx(lost(t, c), abs=1e-8)
    assert reading.expected_loss_control == pytest.approx(lost(c, t), abs=1e-8)


@pytest.mark.parametrize(("score", "expected"), [(0.0, 0.3989422804014327), (1.0, 1.0833154705876864)])
def test_expected_excess_of_a_normal_matches_its_table(score, expected):
    # The unit normal loss integral of inventory tables: 0.3989 at 0 and 0.0833 at 1; the other side is 1 more.
    assert read_effect(NormalPosterior(score, 1.0)).expected_loss_control == pytest.approx(expected, rel=1e-9)


def test_posterior_with_prior_matches_growthbook():
    # GrowthBook's engine, commit 8f1db44: prior N(0, 0.09) on the relative effect 0.0809 with standard error 0.0337.
    prior = NormalPosterior(0.0, 0.3)
    posterior = normal_posterior(0.08094821328911578, 0.03368838803957106, prior=prior)
    reading = read_effect(posterior)
    assert (posterior.mean, posterior.sd) == pytest.approx((0.07994016120467744, 0.03347796932143041), rel=1e-9)
    assert posterior.interval() == pytest.approx((0.01432454705913698, 0.14555577535021788), rel=1e-8)
    assert reading.probability_to_beat_control == pytest.approx(0.9915262282726719, rel=1e-9)
    assert reading.expected_loss_control == pytest.approx(0.08003462819611865, rel=1e-8)
    assert reading.expected_loss_treatment == pytest.approx(9.446699144120935e-05, rel=1e-7)


def test_far_tail_of_the_loss_keeps_its_digits():
    # Asymptotic series of the normal loss integral: density(z) / z**2 * (1 - 3/z**2 + 15/z**4 - 105/z**6); z = 30.
    series = stats.norm.pdf(30) / 900 * (1 - 3 / 900 + 15 / 900**2 - 105 / 900**3)
    assert read_effect(NormalPosterior(30.0, 1.0)).expected_loss_treatment == pytest.approx(series, rel=1e-8, abs=0)


def test_uninformed_shares_at_the_edge_of_nothing_are_even():
    # Jeffreys' prior alone: infinite density at 0 and 1, and P(better) is one half by symmetry.
    reading = compare_shares(BetaPosterior(0.5, 0.5), BetaPosterior(0.5, 0.5))
    assert reading.probability_to_beat_control == pytest.approx(0.5, abs=1e-12)
    # E max(c - t, 0) = 2 / pi**2 for two arcsine variables on [0, 1].
    assert reading.expected_loss_control == pytest.approx(2 / math.pi**2, rel=1e-9)


@pytest.mark.parametrize(("few", "many"), [(1e3, 1e6), (1e2, 1e7), (1e5, 1e9)])
def test_narrow_shares_far_apart_lose_the_difference_of_their_means(few, many):
    # Almost all of 0 to 1 lies between them, and the integral of it is exact: E max(t - c, 0) = E t - E c.
    control, treatment = BetaPosterior(few, many), BetaPosterior(many, few)
    reading = compare_shares(control, treatment)
    assert reading.expected_loss_control == pytest.approx(treatment.mean - control.mean, abs=1e-13)


def test_log_odds_of_a_uniform_share_are_logistic_at_whole_numbers_too():
    found = cumulative_log_odds(BetaPosterior(1, 1), np.arange(-3, 4))
    assert found == pytest.approx(stats.logistic.cdf(np.arange(-3, 4)), rel=1e-14)


def test_estimate_without_a_prior_is_the_posterior():
    assert normal_posterior(0.1, 0.3) == NormalPosterior(0.1, 0.3)


def test_quantiles_of_a_share_reach_from_0_to_1():
    posterior = BetaPosterior(3, 1)
    # The distribution function is the cube.
    assert [posterior.quantile(chance) for chance in (0, 0.125, 1)] == pytest.approx([0, 0.5, 1], abs=1e-14)


# --- properties


@given(BETAS, BETAS)
def test_swapping_arms_gives_the_complement(one, other):
    there, back = compare_shares(one, other), compare_shares(other, one)
    assert there.probability_to_beat_control + back.probability_to_beat_control == pytest.approx(1, abs=1e-12)
    assert there.expected_loss_treatment == pytest.approx(back.expected_loss_control, rel=1e-9, abs=1e-14)


@given(BETAS, BETAS)
def test_difference_of_losses_is_the_difference_of_means(control, treatment):
    reading = compare_shares(control, treatment)
    difference = reading.expected_loss_control - reading.expected_loss_treatment
    assert difference == pytest.approx(treatment.mean - control.mean, abs=1e-10)


@given(NORMALS)
def test_lower_is_better_mirrors_higher(posterior):
    mirrored = NormalPosterior(-posterior.mean, posterior.sd)
    assert read_effect(posterior, better="lower") == read_effect(mirrored)


@given(NORMALS, st.floats(0.01, 5), st.floats(-5, 5))
def test_posterior_lies_between_prior_and_estimate_and_is_surer_than_both(prior, error, effect):
    posterior = normal_posterior(effect, error, prior=prior)
    low, high = sorted((prior.mean, effect))
    assert low - 1e-9 <= posterior.mean <= high + 1e-9
    assert posterior.sd <= min(prior.sd, error)


@given(NORMALS, st.floats(0.01, 5), st.floats(-5, 5), st.floats(0.01, 100))
def test_scale_of_the_effect_does_not_change_the_probability(prior, error, effect, factor):
    one = read_effect(normal_posterior(effect, error, prior=prior))
    other = read_effect(normal_posterior(effect * factor, error * factor, prior=prior.scaled(factor)))
    assert one.probability_to_beat_control == pytest.approx(other.probability_to_beat_control, rel=1e-6, abs=1e-12)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(1e-3, 10)), min_size=1, max_size=4))
def test_quadrature_integrates_each_density_to_one(arms):
    nodes, weights = quadrature(*zip(*arms, strict=True))
    for centre, spread in arms:
        assert weights @ stats.norm.pdf(nodes, centre, spread) == pytest.approx(1, abs=1e-11)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(1e-3, 10)), min_size=1, max_size=4))
def test_nodes_of_the_quadrature_rise_and_its_weights_add_up_to_their_reach(arms):
    nodes, weights = quadrature(*zip(*arms, strict=True))
    # Two marks that are one but for rounding give nodes that are.
    assert np.diff(nodes).min() >= -1e-13
    assert weights.sum() == pytest.approx(nodes[-1] - nodes[0], rel=0.01)


def test_quadrature_reads_exact_decimals_as_numbers():
    nodes, weights = quadrature([Decimal("0.5"), Decimal(2)], [Decimal("0.25"), Decimal(1)])
    plain = quadrature([0.5, 2.0], [0.25, 1.0])
    assert np.array_equal(nodes, plain[0])
    assert np.array_equal(weights, plain[1])


def test_belief_about_a_relative_effect_is_carried_to_the_absolute_one():
    belief = NormalPosterior.of_variance(0.02, 0.09)
    assert belief.sd == pytest.approx(0.3)
    for mean in (50.0, -50.0):
        carried = belief.of_absolute_effect(mean)
        assert (carried.mean, carried.sd) == pytest.approx((1.0, 15.0))


# --- refusals


def test_effect_without_error_is_not_computed():
    assert normal_posterior(0.0, 0.0) == NotComputed("the effect has no error to measure it against")
    for effect, error in ((math.inf, 1.0), (0.0, math.nan)):
        assert normal_posterior(effect, error) == NotComputed("the effect or its standard error is not finite")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BetaPosterior(0.0, 1.0), "alpha is 0.0"),
        (lambda: BetaPosterior(1.0, math.inf), "^beta is inf"),
        (lambda: BetaPosterior.of_counts(3, 2), "successes is 3"),
        (lambda: BetaPosterior.of_counts(1, -2), "(^| )n is -2"),
        (lambda: BetaPosterior.of_counts(1, 2, prior_alpha=-1.0), "^prior_alpha is -1.0"),
        (lambda: BetaPosterior.of_counts(1, 2, prior_beta=0.0), "prior_beta is 0.0"),
        (lambda: BetaPosterior(1.0, 1.0).quantile(1.5), "probability is 1.5"),
        (lambda: NormalPosterior(0.0, 0.0), "sd is 0.0"),
        (lambda: NormalPosterior.of_variance(0.0, 0.0), "variance is 0.0"),
        (lambda: NormalPosterior(math.nan, 1.0), "mean is nan"),
        (lambda: NormalPosterior(1.0, 1.0).scaled(0.0), "factor is 0.0"),
        (lambda: NormalPosterior(1.0, 1.0).scaled(-2.0), "factor is -2.0"),
        (lambda: NormalPosterior(1.0, 1.0).scaled(math.inf), "factor is inf"),
        (lambda: quadrature([], []), "centres is "),
        (lambda: quadrature([math.inf], [1.0]), "centres is "),
        (lambda: quadrature([[0.0]], [[1.0]]), "centres is "),
        (lambda: quadrature([0.0], [1.0, 1.0]), "spreads is "),
        (lambda: quadrature([0.0], [0.0]), "spreads is "),
        (lambda: quadrature([0.0], [-1.0]), "spreads is "),
        (lambda: quadrature([0.0], [math.inf]), "spreads is "),
        (lambda: read_effect(NormalPosterior(0.0, 1.0), better="up"), "better is 'up'"),
    ],
)
def test_callers_slip_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- simulation


@pytest.mark.slow
def test_posterior_intervals_cover_and_probabilities_are_calibrated_under_the_prior():
    # 4,000 truths drawn from the prior: intervals hold 95 % of them; where readings are near 0.8 (of the first 300),
    # the treatment is better as often as they say on average. Four standard errors.
    rng = np.random.default_rng(20260303)
    shares = rng.beta(4, 36, (4_000, 2))
    successes = rng.binomial(300, shares)
    posteriors = [[BetaPosterior(4.0 + x, 36.0 + 300 - x) for x in pair] for pair in successes.tolist()]
    low, high = np.array([control.interval() for control, _ in posteriors]).T
    assert np.mean((low <= shares[:, 0]) & (shares[:, 0] <= high)) == pytest.approx(
        0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4_000)
    )
    said = np.array([compare_shares(*pair).probability_to_beat_control for pair in posteriors[:300]])
    better = (shares[:, 1] > shares[:, 0])[:300]
    near = (said > 0.7) & (said < 0.9)
    assert better[near].mean() == pytest.approx(said[near].mean(), abs=4 * math.sqrt(0.16 / near.sum()))
