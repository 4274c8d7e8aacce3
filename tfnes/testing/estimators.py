"""A check of gradient estimators against the exact gradient of a small model."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfnes.errors import ConfigurationError
from tfnes.estimators.estimator import GradientEstimator
from tfnes.structures import Categorical
from tfnes.structures.structure import HasEnumeration, Structure, require_ability
from tfnes.testing.exact_laws import LAWS
from tfnes.testing.moments import update_moments
from tfnes.testing.small_vae import SmallVAE
from tfnes.typing import Tensor

_MOST_STRUCTURES = 50


@dataclasses.dataclass(frozen=True)
class EstimatorReport:
    """What `check_estimator` has found of one estimator.

    Attributes:
      title: estimator, structure, law.
      exact: `[d]`, the exact gradient, all variables one after another.
      mean: `[d]`, the mean estimate.
      standard_error: `[d]`, of the mean.
      variance: trace of the covariance of one estimate.
      loss: mean of the reported loss.
      loss_error: standard error of `loss`.
      exact_loss: the expected negative ELBO of a hard sample.
    """

    title: str
    exact: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray
    variance: float
    loss: float
    loss_error: float
    exact_loss: float

    @property
    def bias(self) -> float:
        """|mean - exact| / |exact|, noise included."""
        return float(_norm(self.mean - self.exact) / _norm(self.exact))

    @property
    def noise(self) -> float:
        """What `bias` would be without any bias, about."""
        return float(_norm(self.standard_error) / _norm(self.exact))

    @property
    def net_bias(self) -> float:
        """`bias` without the share that the noise has in it."""
        return float(np.sqrt(max(self.bias**2 - self.noise**2, 0)))

    @property
    def deviation(self) -> float:
        """The largest |mean - exact| of a coordinate, in standard errors."""
        # Coordinates without variance may differ by rounding.
        rounding = 1e-5 * np.abs(self.exact).max() + 1e-7
        errors = np.maximum(np.abs(self.mean - self.exact) - rounding, 0)
        return float((errors / np.maximum(self.standard_error, 1e-12)).max())

    def __str__(self) -> str:
        return (
            f"{self.title}: relative bias {self.bias:.4f} (noise {self.noise:.4f}), "
            f"largest deviation {self.deviation:.2f} standard errors, "
            f"variance {self.variance:.4g}, loss {self.loss:.4f} "
            f"(exact {self.exact_loss:.4f}, standard error {self.loss_error:.4f})"
        )


def check_estimator(
    estimator: GradientEstimator,
    *,
    structure: Structure | None = None,
    num_nodes: int | None = None,
    limit: Sequence[GradientEstimator] = (),
    max_bias: float = 0.0,
    up_to_scale: bool = False,
    law: str | None = None,
    kl: str = "perturb_and_map",
    num_updates: int = 2000,
    batch_size: int = 4,
    num_standard_errors: float = 4.0,
    seed: int = 0,
    verbose: bool = True,
) -> list[EstimatorReport]:
    """Compares the mean of many estimates with the exact gradient.

    The model is a small VAE with a linear encoder and a linear Gaussian decoder whose
    latents can be enumerated: the exact gradient is that of the sum over z of
    p(z|x) * (-log p(x|z) + KL), with p the law that the estimator samples.

    An unbiased estimator's mean must lie within `num_standard_errors` of it in every
    coordinate. A biased one is given with `limit`, estimators that approach the limit
    in which its bias goes (temperature, sigma -> 0): the bias must not grow along them
    beyond noise, and only the last must agree. The loss of that one must have the
    expected negative ELBO of a hard sample as its mean.

    Args:
      estimator: the estimator; its own state is created and changed.
      structure: one with `enumerate`; None: `Categorical()`.
      num_nodes: size of the structure; None: the largest up to 10 with at most 50
        members (10 categories, spanning trees of 4 vertices).
      limit: further estimators, ever closer to the limit.
      max_bias: relative bias that is allowed beside noise. With 0 each coordinate is
        compared, otherwise the gradient as a whole, with half as much allowance for
        noise.
      up_to_scale: whether a positive factor for each variable is free (estimators that
        standardize the loss).
      law: `"perturb_and_map"` (Eq. 2) or `"gibbs"` (Eq. 1); None: what the estimator's
        `density` says, else the former.
      kl: KL of the model: `"perturb_and_map"` (Eq. 37), `"gumbel"` or `"none"`.
      num_updates: estimates to average.
      batch_size: examples of the batch.
      num_standard_errors: how far a mean may lie off.
      seed: of the model, the data and the estimates.
      verbose: whether to print the reports.

    Returns:
      one report for each estimator, with bias and variance.

    Raises:
      AssertionError: if the estimator does not agree; the message holds the report.

    Example:

        >>> import tfnes
        >>> reports = tfnes.testing.check_estimator(
        ...     tfnes.estimators.REINFORCE(), num_updates=500, verbose=False)
        >>> reports[0].deviation < 4
        True
    """
    structure = Categorical() if structure is None else structure
    require_ability(structure, HasEnumeration, user="check_estimator")
    latents = _enumerate(structure, num_nodes)
    estimators = [estimator, *limit]
    reports = []
    for each in estimators:
        chosen = law or (
            "gibbs"
            if getattr(each, "density", "") == "structure"
            else "perturb_and_map"
        )
        if chosen not in LAWS:
            raise ConfigurationError(
                f"law must be one of {sorted(LAWS)}. Received: {chosen!r}."
            )
        model = SmallVAE(structure, latents, kl=kl, seed=seed)
        report = _measure(
            each,
            model,
            batch=model.batch(batch_size),
            law=chosen,
            num_updates=num_updates,
            up_to_scale=up_to_scale,
            seed=seed,
        )
        reports.append(report)
        if verbose:
            print(report)
    _judge(reports, max_bias=max_bias, allowed=num_standard_errors)
    return reports


def _enumerate(structure: Structure, num_nodes: int | None) -> np.ndarray:
    if num_nodes is not None:
        return structure.enumerate(num_nodes)
    best = structure.enumerate(1)
    for nodes in range(2, 11):
        latents = structure.enumerate(nodes)
        if len(latents) > _MOST_STRUCTURES:
            break
        best = latents
    return best


def _measure(
    estimator: GradientEstimator,
    model: SmallVAE,
    *,
    batch: dict[str, Tensor],
    law: str,
    num_updates: int,
    up_to_scale: bool,
    seed: int,
) -> EstimatorReport:
    model.build(batch)
    model.compile(keras.optimizers.SGD(), estimator)
    variables = list(model.elbo_variables)
    with tf.GradientTape() as tape:
        exact_loss = model.expected_neg_elbo(batch, law)
    exact = tape.gradient(exact_loss, [v.value for v in variables])
    mean, variance = update_moments(
        estimator, model, batch, num_updates=num_updates, seed=seed
    )
    error = np.sqrt(variance / (num_updates - 1))
    scale = np.ones_like(mean[1:])
    flat_exact = np.concatenate([np.ravel(g) for g in exact]).astype(np.float64)
    if up_to_scale:
        scale = _scales(
            mean[1:], flat_exact, [int(np.prod(v.shape)) for v in variables]
        )
    return EstimatorReport(
        title=f"{_describe(estimator)} on {model.structure!r} ({law})",
        exact=flat_exact,
        mean=mean[1:] / scale,
        standard_error=error[1:] / scale,
        variance=float((variance[1:] / scale**2).sum()),
        loss=float(mean[0]),
        loss_error=float(error[0]),
        exact_loss=float(exact_loss),
    )


def _scales(mean: np.ndarray, exact: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Returns the factor of each variable that fits best, for each coordinate."""
    ends = np.cumsum(sizes)[:-1]
    parts = zip(np.split(mean, ends), np.split(exact, ends), strict=True)
    factors = [max(float(m @ e / max(e @ e, 1e-30)), 1e-12) for m, e in parts]
    return np.repeat(factors, sizes)


def _describe(estimator: GradientEstimator) -> str:
    simple = {
        key: value
        for key, value in estimator.get_config().items()
        if isinstance(value, (int, float, str))
    }
    arguments = ", ".join(f"{key}={value!r}" for key, value in simple.items())
    return f"{type(estimator).__name__}({arguments})"


def _judge(reports: list[EstimatorReport], *, max_bias: float, allowed: float) -> None:
    for earlier, later in itertools.pairwise(reports):
        noise = allowed / 2 * max(earlier.noise, later.noise)
        if later.net_bias > earlier.net_bias + noise:
            raise AssertionError(
                f"The bias grows towards the limit.\n{earlier}\n{later}"
            )
    last = reports[-1]
    if max_bias and last.net_bias > max_bias + allowed / 2 * last.noise:
        raise AssertionError(f"The relative bias is above {max_bias}.\n{last}")
    if not max_bias and last.deviation > allowed:
        raise AssertionError(
            f"The mean is more than {allowed} standard errors off.\n{last}\n"
            f"mean {last.mean}\nexact {last.exact}"
        )
    slack = max_bias * abs(last.exact_loss) + allowed * last.loss_error + 1e-5
    if abs(last.loss - last.exact_loss) > slack:
        raise AssertionError(
            f"The loss is not the negative ELBO of hard samples.\n{last}"
        )


def _norm(values: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.square(values))))
