"""The base of estimators that differentiate through a relaxed latent."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.checks import check_flag, check_real
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.evaluation import (
    all_finite,
    example_mean,
    latent_noise,
)
from tfnes.typing import Batch, GradientEstimate, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE

Temperature = float | Callable[[Tensor], Tensor]


class PathwiseEstimator(GradientEstimator):
    """Back-propagates through a relaxation of the perturbed argmax.

    The MAP of Eq. 2, argmax over z in Z of <z, h + gamma>, gives way to a
    differentiable point of Z's convex hull, and the gradient is that of

        E_gamma [ -f_theta(x, relax(h_phi(x) + gamma)) + KL ],    gamma ~ Gumbel(0).

    It is biased for the hard objective; the bias goes to 0 with the temperature while
    the variance grows. A subclass gives `relax` and no more.

    The `loss` is the negative ELBO of the *hard* sample argmax <z, h + gamma>, by one
    more evaluation of the decoder, so that methods can be compared; the objective that
    is differentiated is the metric `relaxed_neg_elbo`.

    Args:
      temperature: t > 0, a number or a function of the number of updates done, such as
        a `keras.optimizers.schedules.LearningRateSchedule` or `AnnealedTemperature`.
      straight_through: evaluates the decoder on the hard sample and differentiates as
        if it were the relaxed one (Bengio et al. 2013; Jang et al. 2017, section 2.2).

    Raises:
      ConfigurationError: if a constant temperature is not positive.
    """

    def __init__(
        self, *, temperature: Temperature = 1.0, straight_through: bool = False
    ):
        super().__init__()
        name = type(self).__name__
        if not callable(temperature):
            temperature = check_real(f"{name}.temperature", temperature, above=0)
        self.temperature = temperature
        self.straight_through = check_flag(f"{name}.straight_through", straight_through)

    @abc.abstractmethod
    def relax(
        self,
        model: StructuredVAE,
        log_potentials: Tensor,
        noise: Tensor,
        lengths: Tensor | None,
        *,
        seed: Seed,
    ) -> Tensor:
        """Returns a differentiable stand-in of argmax <z, log_potentials + noise>.

        Args:
          model: gives `structure`, and `step` for `current_temperature`.
          log_potentials: `[B, *parts]`.
          noise: `[B, *parts]`, Gumbel(0, 1).
          lengths: `[B]` real nodes, or None.
          seed: `[2]` int32 key of this update, for relaxations that draw more noise.

        Returns:
          `[B, *parts]` in [0, 1], 0 in padding.
        """

    def current_temperature(self, model: StructuredVAE) -> Tensor:
        """Returns the temperature of this update, `[]`."""
        if callable(self.temperature):
            return tf.cast(self.temperature(model.step.value), tf.float32)
        return tf.constant(self.temperature, tf.float32)

    def metric_names(self, model: StructuredVAE) -> Sequence[str]:
        del model
        names = ["log_likelihood", "kl", "temperature"]
        return names if self.straight_through else [*names, "relaxed_neg_elbo"]

    def estimate(
        self, model: StructuredVAE, batch: Batch, *, seed: Seed
    ) -> GradientEstimate:
        structure, lengths = model.structure, batch.get("lengths")
        variables = list(model.elbo_variables)
        weights = model.example_weights(batch)
        values = [variable.value for variable in variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            log_potentials = model.encode(batch, training=True)
            noise = latent_noise(structure, batch, log_potentials, seed=seed)
            with tape.stop_recording():
                hard = structure.argmax(log_potentials + noise, lengths=lengths)
            latent = self.relax(
                model,
                log_potentials,
                noise,
                lengths,
                seed=random.fold_in(seed, int(random.Stream.SAMPLING)),
            )
            if self.straight_through:
                latent = _forward_backward(hard, latent)
            log_likelihood = model.log_likelihood(batch, latent, training=True)
            kl = model.kl_divergence(log_potentials, latent, lengths=lengths)
            objective = example_mean(kl - log_likelihood, weights)
        gradients = tape.gradient(objective, values)
        metrics = {"temperature": self.current_temperature(model)}
        if not self.straight_through:
            metrics["relaxed_neg_elbo"] = objective
            log_likelihood = model.hard_log_likelihood(batch, hard, training=True)
            kl = model.kl_divergence(log_potentials, hard, lengths=lengths)
        loss = example_mean(kl - log_likelihood, weights)
        metrics["log_likelihood"] = example_mean(log_likelihood, weights)
        metrics["kl"] = example_mean(kl, weights)
        return GradientEstimate(
            loss=loss,
            gradients=gradients,
            variables=variables,
            metrics=metrics,
            finite=all_finite(loss, gradients),
        )

    def get_config(self) -> dict[str, Any]:
        temperature = self.temperature
        if callable(temperature):
            temperature = keras.saving.serialize_keras_object(temperature)
        return {
            **super().get_config(),
            "temperature": temperature,
            "straight_through": self.straight_through,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PathwiseEstimator:
        config = dict(config)
        if isinstance(config.get("temperature"), dict):
            config["temperature"] = keras.saving.deserialize_keras_object(
                config["temperature"]
            )
        return cls(**config)


def _forward_backward(hard: Tensor, relaxed: Tensor) -> Tensor:
    """Returns exactly `hard`, with the gradient of `relaxed`.

    The usual relaxed + stop_gradient(hard - relaxed) is 0 or 1 up to rounding only.
    """

    @tf.custom_gradient
    def swap(relaxed):
        del relaxed
        return tf.identity(hard), lambda upstream: upstream

    return swap(relaxed)
