"""The convergence theory of NES on bounded functions that need not be Lipschitz.

For k: R^d -> [0, M], continuous almost everywhere, and its Gaussian smoothing
g(mu) = E_{w ~ N(0, I)} k(mu + sigma w), these functions evaluate the bounds of Lemma 1
and Theorem 1. They hold for exact gradient descent on g, mu <- mu - eta grad g(mu).
All arguments are numbers or arrays; nothing here needs TensorFlow.

References:
  Berliner et al. (2022), section 3 and Appendix A.
"""

from __future__ import annotations

import math

from tfnes.checks import check_real


def hessian_norm_bound(*, bound: float, sigma: float) -> float:
    """Returns M / sigma^2, which the paper's Eq. 16 gives as bound of |grad^2 g|.

    Eq. 14 leaves out the second term of the Hessian of a Gaussian smoothing, which is
    E[k(mu + sigma w) (w w' - I)] / sigma^2. With it the bound still holds: for a unit
    vector s, E[k ((s'w)^2 - 1)] lies between -M E[(1 - (s'w)^2)+] and
    M E[((s'w)^2 - 1)+], and both expectations are 2 phi(1) = 0.484, phi the standard
    normal density.

    Args:
      bound: M > 0.
      sigma: of the smoothing, > 0.

    Example:

        >>> from tfnes import theory
        >>> theory.hessian_norm_bound(bound=2.0, sigma=0.5)
        8.0
    """
    _check(bound=bound, sigma=sigma)
    return bound / sigma**2


def gradient_norm_bound(*, bound: float, sigma: float, dimension: int) -> float:
    """Returns d M^2 / sigma^2, an upper bound of |grad g(mu)|^2 (Eq. 17).

    Args:
      bound: M > 0.
      sigma: of the smoothing, > 0.
      dimension: d, the number of parameters.
    """
    _check(bound=bound, sigma=sigma, dimension=dimension)
    return dimension * bound**2 / sigma**2


def curvature_bound(*, bound: float, sigma: float, dimension: int) -> float:
    """Returns d M^3 / sigma^4 of Lemma 1 (Eqs. 10, 18).

    For any mu_1, mu_2,

        grad g(mu_1)' grad^2 g(mu_2) grad g(mu_1) <= d M^3 / sigma^4.

    Args:
      bound: M > 0.
      sigma: of the smoothing, > 0.
      dimension: d, the number of parameters.
    """
    return hessian_norm_bound(bound=bound, sigma=sigma) * gradient_norm_bound(
        bound=bound, sigma=sigma, dimension=dimension
    )


def mean_gradient_bound(
    *, bound: float, sigma: float, dimension: int, num_steps: int, learning_rate: float
) -> float:
    """Returns the bound of Theorem 1 on the mean squared gradient norm (Eqs. 11, 27).

        1/T sum over t of |grad g(mu_t)|^2 <= M / (eta T) + eta d M^3 / (2 sigma^4)

    Args:
      bound: M > 0.
      sigma: of the smoothing, > 0.
      dimension: d, the number of parameters.
      num_steps: T.
      learning_rate: eta > 0.
    """
    _check(num_steps=num_steps, learning_rate=learning_rate)
    curvature = curvature_bound(bound=bound, sigma=sigma, dimension=dimension)
    return bound / (learning_rate * num_steps) + learning_rate * curvature / 2


def best_learning_rate(
    *, bound: float, sigma: float, dimension: int, num_steps: int
) -> float:
    """Returns eta* = sqrt(2 sigma^4 / (T d M^2)), which minimises Eq. 11 (Eq. 28).

    Args:
      bound: M > 0.
      sigma: of the smoothing, > 0.
      dimension: d, the number of parameters.
      num_steps: T.

    Example:

        >>> from tfnes import theory
        >>> theory.best_learning_rate(bound=1.0, sigma=1.0, dimension=2, num_steps=100)
        0.1
    """
    _check(bound=bound, sigma=sigma, dimension=dimension, num_steps=num_steps)
    return math.sqrt(2 * sigma**4 / (num_steps * dimension * bound**2))


def best_mean_gradient_bound(
    *, bound: float, sigma: float, dimension: int, num_steps: int
) -> float:
    """Returns sqrt(2 d M^4 / (T sigma^4)), Eq. 11 at eta* (Eq. 29).

    Args:
      bound: M > 0.
      sigma: of the smoothing, > 0.
      dimension: d, the number of parameters.
      num_steps: T.
    """
    _check(bound=bound, sigma=sigma, dimension=dimension, num_steps=num_steps)
    return math.sqrt(2 * dimension * bound**4 / (num_steps * sigma**4))


def num_steps(*, bound: float, sigma: float, dimension: int, delta: float) -> int:
    """Returns T = ceil(2 d M^4 / (delta^2 sigma^4)) (Eqs. 30-32).

    After so many steps with eta* there is one with |grad g(mu_t)|^2 <= delta.

    Args:
      bound: M > 0.
      sigma: of the smoothing, > 0.
      dimension: d, the number of parameters.
      delta: the squared gradient norm that is asked for, > 0.

    Example:

        >>> from tfnes import theory
        >>> theory.num_steps(bound=1.0, sigma=1.0, dimension=2, delta=0.1)
        400
    """
    _check(bound=bound, sigma=sigma, dimension=dimension, delta=delta)
    exact = 2 * dimension * bound**4 / (delta**2 * sigma**4)
    # Rounding must not add a step where the quotient is an integer.
    return math.ceil(exact * (1 - 1e-12))


def _check(**values: float) -> None:
    for name, value in values.items():
        check_real(name, value, above=0)
