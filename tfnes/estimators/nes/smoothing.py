"""How far the Gaussian-smoothed loss g is from the loss k that it smooths (Eq. 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import keras
import tensorflow as tf

from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.estimators.nes import noise as noises
from tfnes.estimators.nes.parameters import FlatParameters
from tfnes.typing import Batch, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE


class SmoothedLoss(NamedTuple):
    """k and g of each example.

    Attributes:
      loss: `[B]`, k(mu).
      smoothed: `[B]`, the estimate of g(mu).
      error: `[B]`, standard error of that estimate.
    """

    loss: Tensor
    smoothed: Tensor
    error: Tensor


def smoothed_loss(
    model: StructuredVAE,
    batch: Batch,
    *,
    sigma: float,
    num_perturbations: int = 1000,
    loss: str = "neg_elbo",
    seed: Seed,
    noise: str | noises.NoiseSource = "fresh",
) -> SmoothedLoss:
    """Returns k and an estimate of g(mu) = E_w [k(mu + sigma w)] for each example.

    The perturbations come in mirrored pairs, whose terms of first order in sigma
    cancel: the estimate has the same mean as one of independent perturbations, and far
    less noise where k is nearly linear. Latent noise, where the loss has any, is the
    same in all evaluations.

    Args:
      model: a built model; its parameters are mu.
      batch: named tensors, example axis first.
      sigma: of the noise on each of `model.elbo_variables`.
      num_perturbations: evaluations, both signs counted; even.
      loss: one of `model.test_names`.
      seed: `[2]` int32 key.
      noise: as of `NES`.

    Raises:
      ConfigurationError: if an argument is out of range.

    References:
      Berliner et al. (2022), Appendix B.2, Figure 3 (left).
    """
    if num_perturbations < 4 or num_perturbations % 2:
        raise ConfigurationError(
            "smoothed_loss.num_perturbations must be even and at least 4 because "
            f"perturbations are mirrored. Received: {num_perturbations}."
        )
    if loss not in model.test_names:
        raise ConfigurationError(
            f"smoothed_loss.loss must be one of {', '.join(model.test_names)}. "
            f"Received: {loss!r}."
        )
    source = noises.get(noise)
    source.build()
    parameters = FlatParameters(model.elbo_variables, model.touched_rows(batch))
    mean = parameters.values()
    noise_seed = random.fold_in(seed, int(random.Stream.PARAMETER_NOISE))
    prepared = source.prepare(parameters.size, seed=noise_seed)

    def evaluate() -> Tensor:
        return tf.cast(model.test_losses(batch, seed=seed)[loss], tf.float32)

    def at(flat: Tensor) -> Tensor:
        with keras.StatelessScope(parameters.assignments(flat)):
            return evaluate()

    center = evaluate()
    num_pairs = num_perturbations // 2

    def body(pair: Tensor, total: Tensor, squares: Tensor):
        step = sigma * tf.cast(
            source.draw(prepared, pair, size=parameters.size), mean.dtype
        )
        # As differences from k, so that the squares do not cancel.
        change = (at(mean + step) + at(mean - step)) / 2 - center
        return pair + 1, total + change, squares + change**2

    zero = tf.zeros_like(center)
    _, total, squares = tf.while_loop(
        lambda pair, *_: pair < num_pairs,
        body,
        (tf.constant(0), zero, zero),
        parallel_iterations=1,
    )
    change = total / num_pairs
    variance = tf.maximum(squares / num_pairs - change**2, 0.0)
    return SmoothedLoss(
        loss=center,
        smoothed=center + change,
        error=tf.sqrt(variance / (num_pairs - 1)),
    )
