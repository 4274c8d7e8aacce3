"""The base of estimators that weight the score of the sampled latent by its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.checks import check_choice, check_instance
from tfnes.estimators.control_variates import ControlVariate, NoControlVariate
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.evaluation import (
    all_finite,
    example_index,
    example_mean,
    latent_noise,
    latent_seed,
    possible_parts,
    repeat_examples,
)
from tfnes.structures.structure import HasMarginals, HasSampler, require_ability
from tfnes.typing import Batch, GradientEstimate, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE

DENSITIES = ("perturbed_weights", "structure")


class ScoreFunctionEstimator(GradientEstimator):
    """The score-function (REINFORCE) family, with one control variate.

    The gradient of E[L], L(theta, phi, z) = -f_theta(x, z) + KL, is estimated by the
    mean over samples z of

        (f - b) * d log q_phi / d phi  +  d L / d(theta, phi) at fixed z,

    where f is L without what does not depend on z (an analytic KL is differentiated
    exactly), and b the control variate's baseline. It needs no gradient through the
    latent or the solver. q_phi is the density of one of

    * `"perturbed_weights"` (Eq. 3): of the weights w = h_phi(x) + gamma, whose MAP is
      z. Each part adds d/dh log Gumbel(w; h) = 1 - exp(h - w). For every structure; z
      has the law of `perturb_and_map`, as in evaluation. Parts in no structure are left
      out.
    * `"structure"` (Eq. 1): q(z|x) = exp(<z, h>) / Z with z drawn from it exactly. The
      score is z - marginals(h): less variance, since it is the mean of the other one
      given z (for `Categorical`, where both laws are the same). Needs marginals and an
      exact sampler; for other structures than `Categorical` the law is not the one of
      `perturb_and_map`.

    Args:
      control_variate: what to subtract; None: nothing.
      density: `"perturbed_weights"` or `"structure"`.

    Raises:
      ConfigurationError: if an argument is not one of these.
    """

    def __init__(
        self,
        *,
        control_variate: ControlVariate | None = None,
        density: str = "perturbed_weights",
    ):
        super().__init__()
        name = type(self).__name__
        if control_variate is None:
            control_variate = NoControlVariate()
        self.control_variate = check_instance(
            f"{name}.control_variate",
            control_variate,
            ControlVariate,
            expected="a ControlVariate, such as BatchMean(), or None",
        )
        self.density = check_choice(f"{name}.density", density, DENSITIES)

    @property
    def evaluations_per_step(self) -> int:
        return self.control_variate.num_samples

    def build(self, model: StructuredVAE) -> None:
        if self.density == "structure":
            user = f"{type(self).__name__}(density='structure')"
            require_ability(model.structure, HasMarginals, user=user)
            require_ability(model.structure, HasSampler, user=user)
        if not self.control_variate.built:
            self.control_variate.create(model)
            self.control_variate.built = True

    def metric_names(self, model: StructuredVAE) -> Sequence[str]:
        del model
        names = ["log_likelihood", "kl", "advantage_std"]
        if self.control_variate.trainable_variables:
            names.append("baseline_loss")
        return names

    def estimate(
        self, model: StructuredVAE, batch: Batch, *, seed: Seed
    ) -> GradientEstimate:
        samples = self.control_variate.num_samples
        variables = list(model.elbo_variables)
        own = list(self.control_variate.trainable_variables)
        values = [variable.value for variable in [*variables, *own]]
        weights = model.example_weights(batch)
        copies = repeat_examples(batch, samples)
        lengths = copies.get("lengths")
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            encoded = model.encode(batch, training=True)
            log_potentials = _repeat(encoded, samples)
            with tape.stop_recording():
                latent, score = self._sample(
                    model, batch, log_potentials, lengths, seed=seed
                )
            log_likelihood = model.hard_log_likelihood(copies, latent, training=True)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(latent)
                kl = model.kl_divergence(log_potentials, latent, lengths=lengths)
            neg_elbo = kl - log_likelihood
            signal = -log_likelihood if inner.gradient(kl, latent) is None else neg_elbo
            real = tf.cast(weights, signal.dtype)[:, None] > 0
            signal = tf.reshape(tf.stop_gradient(signal), [-1, samples])
            signal = tf.where(real, signal, tf.zeros_like(signal))
            advantage = self.control_variate.advantage(
                signal,
                weights=weights,
                features=_features(model, batch, encoded),
            )
            objective = _mean(neg_elbo, weights, samples)
            if advantage.loss is not None:
                objective += tf.cast(advantage.loss, objective.dtype)
        # d/dh of the surrogate, the mean of advantage * log q, without forming log q.
        share = tf.math.divide_no_nan(
            tf.cast(weights, signal.dtype),
            samples * tf.reduce_sum(tf.cast(weights, signal.dtype)),
        )
        factor = tf.where(real, advantage.values, tf.zeros_like(signal))
        factor = tf.reshape(factor * share[:, None], [-1])
        upstream = score * tf.reshape(
            factor, tf.concat([[-1], tf.ones([tf.rank(score) - 1], tf.int32)], 0)
        )
        gradients = tape.gradient(
            [log_potentials, objective],
            values,
            output_gradients=[upstream, tf.ones_like(objective)],
        )
        loss = _mean(neg_elbo, weights, samples)
        finite = all_finite(loss, gradients)
        self.control_variate.update(advantage.state, finite=finite)
        metrics = {
            "log_likelihood": _mean(log_likelihood, weights, samples),
            "kl": _mean(kl, weights, samples),
            "advantage_std": _deviation(advantage.values, weights),
        }
        if own:
            metrics["baseline_loss"] = advantage.loss
        return GradientEstimate(
            loss=loss,
            gradients=gradients,
            variables=[*variables, *own],
            metrics=metrics,
            finite=finite,
        )

    def _sample(
        self,
        model: StructuredVAE,
        batch: Batch,
        log_potentials: Tensor,
        lengths: Tensor | None,
        *,
        seed: Seed,
    ) -> tuple[Tensor, Tensor]:
        """Returns z and d log q / dh at it, both `[B * S, *parts]`."""
        structure = model.structure
        samples = self.control_variate.num_samples
        if self.density == "perturbed_weights":
            noise = latent_noise(
                structure, batch, log_potentials, seed=seed, num_samples=samples
            )
            latent = structure.argmax(log_potentials + noise, lengths=lengths)
            possible = possible_parts(structure, log_potentials, lengths=lengths)
            return latent, tf.where(possible, 1 - tf.exp(-noise), 0)
        # Samplers key their draws by position, so replicas need keys of their own.
        first = example_index(batch, tf.shape(log_potentials)[0] // samples)[:1]
        seed = random.fold_in(latent_seed(seed), tf.reduce_sum(first))
        latent = structure.sample(
            log_potentials, num_samples=1, seed=seed, lengths=lengths
        )[0]
        return latent, latent - structure.marginals(log_potentials, lengths=lengths)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "control_variate": keras.saving.serialize_keras_object(
                self.control_variate
            ),
            "density": self.density,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ScoreFunctionEstimator:
        config = dict(config)
        if isinstance(config.get("control_variate"), dict):
            config["control_variate"] = keras.saving.deserialize_keras_object(
                config["control_variate"]
            )
        return cls(**config)


def _repeat(values: Tensor, samples: int) -> Tensor:
    return values if samples == 1 else tf.repeat(values, samples, axis=0)


def _mean(values: Tensor, weights: Tensor, samples: int) -> Tensor:
    """Returns the mean of `[B * S]` over samples and real examples."""
    values = tf.reshape(values, [-1, samples])
    return example_mean(tf.reduce_mean(values, axis=1), weights)


def _deviation(advantage: Tensor, weights: Tensor) -> Tensor:
    samples = advantage.shape[1]
    flat = tf.reshape(advantage, [-1])
    repeated = tf.repeat(weights, samples)
    mean = example_mean(flat, repeated)
    return tf.sqrt(example_mean(tf.square(flat - mean), repeated))


def _features(model: StructuredVAE, batch: Batch, log_potentials: Tensor) -> Tensor:
    """Returns what a learned baseline sees of each example, `[B, ...]`."""
    features = getattr(model, "baseline_features", None)
    if features is not None:
        return tf.stop_gradient(features(batch))
    possible = possible_parts(
        model.structure, log_potentials, lengths=batch.get("lengths")
    )
    return tf.where(possible, tf.stop_gradient(log_potentials), 0)
