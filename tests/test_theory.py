"""The bounds of section 3 against a bounded function with a jump.

k(x) = M [a'x > 0] is not Lipschitz; with |a| = 1 its smoothing is known:
g(mu) = M Phi(a'mu / sigma), so grad g = M phi(t) / sigma a, t = a'mu / sigma,
and grad^2 g = -M t phi(t) / sigma^2 a a'.
"""

import numpy as np
import pytest
from scipy import stats

from tfnes import theory
from tfnes.errors import ConfigurationError

BOUND, SIGMA, DIMENSION = 3.0, 0.4, 5
DIRECTION = np.ones(DIMENSION) / np.sqrt(DIMENSION)


def gradient(mu):
    t = DIRECTION @ mu / SIGMA
    return BOUND * stats.norm.pdf(t) / SIGMA * DIRECTION


def hessian(mu):
    t = DIRECTION @ mu / SIGMA
    scale = -BOUND * t * stats.norm.pdf(t) / SIGMA**2
    return scale * np.outer(DIRECTION, DIRECTION)


def points():
    generator = np.random.default_rng(0)
    return generator.normal(size=(200, DIMENSION)) * SIGMA


def test_bounds_of_lemma_1_hold():
    arguments = {"bound": BOUND, "sigma": SIGMA}
    hessians = [np.linalg.norm(hessian(mu), 2) for mu in points()]
    assert max(hessians) <= theory.hessian_norm_bound(**arguments)
    gradients = [np.sum(gradient(mu) ** 2) for mu in points()]
    arguments["dimension"] = DIMENSION
    assert max(gradients) <= theory.gradient_norm_bound(**arguments)
    forms = [
        gradient(one) @ hessian(two) @ gradient(one)
        for one, two in zip(points(), points()[::-1], strict=True)
    ]
    assert max(forms) <= theory.curvature_bound(**arguments)
    assert theory.curvature_bound(**arguments) == pytest.approx(
        DIMENSION * BOUND**3 / SIGMA**4
    )


def test_hessian_bound_holds_for_the_worst_bounded_function():
    # k = M where (s'w)^2 > 1, else 0, maximizes s' grad^2 g s: 2 phi(1) M / sigma^2.
    # Numerically: E k (w^2 - 1) / sigma^2 in one dimension.
    w = np.linspace(-10, 10, 200_001)
    k = BOUND * (w**2 > 1)
    worst = np.trapezoid(k * (w**2 - 1) * stats.norm.pdf(w), w) / SIGMA**2
    assert worst == pytest.approx(2 * stats.norm.pdf(1) * BOUND / SIGMA**2, rel=1e-3)
    assert worst <= theory.hessian_norm_bound(bound=BOUND, sigma=SIGMA)


@pytest.mark.parametrize("num_steps", [10, 1000])
def test_gradient_descent_keeps_the_promise_of_theorem_1(num_steps):
    shared = {
        "bound": BOUND,
        "sigma": SIGMA,
        "dimension": DIMENSION,
        "num_steps": num_steps,
    }
    rate = theory.best_learning_rate(**shared)
    mu, norms = 0.5 * SIGMA * DIRECTION, []
    for _ in range(num_steps):
        norms.append(np.sum(gradient(mu) ** 2))
        mu = mu - rate * gradient(mu)
    best = theory.best_mean_gradient_bound(**shared)
    assert np.mean(norms) <= best
    assert best == pytest.approx(
        theory.mean_gradient_bound(learning_rate=rate, **shared)
    )
    for factor in (0.7, 1.4):
        other = theory.mean_gradient_bound(learning_rate=factor * rate, **shared)
        assert other > best


def test_number_of_steps_is_enough_and_the_least():
    shared = {"bound": BOUND, "sigma": SIGMA, "dimension": DIMENSION}
    delta = 2.0
    steps = theory.num_steps(delta=delta, **shared)
    assert theory.best_mean_gradient_bound(num_steps=steps, **shared) <= delta
    assert theory.best_mean_gradient_bound(num_steps=steps - 1, **shared) > delta
    mu = 0.5 * SIGMA * DIRECTION
    rate = theory.best_learning_rate(num_steps=steps, **shared)
    norms = []
    for _ in range(steps):
        norms.append(np.sum(gradient(mu) ** 2))
        mu = mu - rate * gradient(mu)
    assert min(norms) <= delta


def test_bad_arguments_name_themselves():
    with pytest.raises(ConfigurationError, match=r"sigma must be a finite number.*0.0"):
        theory.curvature_bound(bound=1.0, sigma=0.0, dimension=2)
