"""The model base class: ELBO, and `fit`/`evaluate`/`predict` for every estimator."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.update import apply_update
from tfnes.structures.structure import Structure
from tfnes.typing import Batch, ELBOTerms, Seed, Tensor


class StructuredVAE(keras.Model):
    """A variational auto-encoder whose latent is a discrete structure.

    The loss is the negative ELBO in nats per example, minimised:

        L(theta, phi, x) = -E_{z ~ q_phi(z|x)} log p_theta(x|z) + KL(q_phi(z|x) || p(z))

    with z drawn by perturb-and-MAP (Eq. 2): the MAP structure of the encoder's
    log-potentials plus Gumbel noise. A subclass gives `encode`, `log_likelihood` and,
    unless its law is "none", `kl_divergence`; this class gives training, evaluation,
    prediction, and saving, the same for every gradient estimator.

    Args:
      structure: the set of latent structures.
      seed: every random number of a run is a function of it.
    """

    def __init__(self, structure: Structure, *, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.structure = structure
        self.seed = seed
        self.estimator: GradientEstimator | None = None
        self.step = self.add_weight(
            name="step", shape=(), dtype="int64", initializer="zeros", trainable=False
        )
        self._means: dict[str, keras.metrics.Mean] = {}
        self._user_metrics: list[keras.metrics.Metric] = []

    # What a subclass gives -------------------------------------------------------

    def adapt(self, dataset) -> None:
        """Takes sizes, vocabularies, ... from a dataset provider, before training."""

    @abc.abstractmethod
    def encode(self, batch: Batch, *, training: bool = False) -> Tensor:
        """Returns the log-potentials h_phi(x), `[B, *parts]`."""

    @abc.abstractmethod
    def log_likelihood(
        self, batch: Batch, latent: Tensor, *, training: bool = False
    ) -> Tensor:
        """Returns log p_theta(x | z) of each example, `[B]`, in nats."""

    def kl_divergence(
        self, log_potentials: Tensor, latent: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns KL(q_phi(z|x) || p(z)) of each example, `[B]`; 0 unless overridden."""
        del latent, lengths
        return tf.zeros(tf.shape(log_potentials)[:1], log_potentials.dtype)

    def touched_rows(self, batch: Batch) -> list[tuple[keras.Variable, Tensor]]:
        """Returns `(table, ids)` of look-up tables of which a batch uses few rows.

        Estimators that perturb parameters leave all other rows of `table` alone.
        """
        del batch
        return []

    @property
    def elbo_variables(self) -> list[keras.Variable]:
        """The trainable variables on which the negative ELBO depends."""
        return self.trainable_variables

    # The ELBO --------------------------------------------------------------------

    def shared_terms(self, batch: Batch, *, seed: Seed) -> dict[str, Any]:
        """Returns what all members of an NES population share on a batch.

        Here the seed of the latent noise: all members see the same Gumbel draws
        (common random numbers). A subclass adds what does not depend on perturbed
        parameters, so that it is computed once an update.
        """
        return {"latent_seed": random.fold_in(seed, int(random.Stream.LATENT_NOISE))}

    def elbo(
        self,
        batch: Batch,
        *,
        seed: Seed | None = None,
        shared: dict[str, Any] | None = None,
        training: bool = False,
    ) -> ELBOTerms:
        """Returns the ELBO of each example with one latent sample (Eq. 38).

        Args:
          batch: named tensors, example axis first.
          seed: `[2]` int32 key; needed unless `shared` is given.
          shared: what `shared_terms(batch, seed=seed)` returned.
          training: passed on to the layers.
        """
        if shared is None:
            shared = self.shared_terms(batch, seed=seed)
        lengths = batch.get("lengths")
        log_potentials = self.encode(batch, training=training)
        latent = self.structure.perturb_and_map(
            log_potentials,
            seed=shared["latent_seed"],
            lengths=lengths,
            index=batch.get("index"),
        )
        return ELBOTerms(
            log_likelihood=self.log_likelihood(batch, latent, training=training),
            kl=self.kl_divergence(log_potentials, latent, lengths=lengths),
            latent=latent,
            log_potentials=log_potentials,
        )

    def example_weights(self, batch: Batch) -> Tensor:
        """Returns `[B]` float32: 1 for a real example, 0 for one of padding."""
        if "lengths" in batch:
            return tf.cast(batch["lengths"] > 0, tf.float32)
        return tf.ones(tf.shape(next(iter(batch.values())))[:1])

    def predict_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the MAP structure of each example, without noise."""
        log_potentials = self.encode(batch, training=False)
        lengths = batch.get("lengths")
        return {"latent": self.structure.argmax(log_potentials, lengths=lengths)}

    def call(self, batch: Batch, training: bool = False) -> dict[str, Tensor]:
        del training
        return self.predict_batch(batch)

    # Keras -----------------------------------------------------------------------

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str,
        estimator: GradientEstimator,
        metrics: Sequence[keras.metrics.Metric] = (),
        *,
        seed: int | None = None,
        run_eagerly: bool = False,
    ) -> None:
        """Sets how to learn.

        The step as a whole is never compiled by XLA (the solvers are): see
        `tfnes.solvers`.

        Args:
          optimizer: any Keras optimizer.
          estimator: how to estimate the gradient of the negative ELBO.
          metrics: Keras metrics with `update_state(batch, outputs)`, where `outputs`
            is what `predict_batch` returns.
          seed: replaces the model's seed.
          run_eagerly: for debugging.
        """
        super().compile(
            optimizer=optimizer, run_eagerly=run_eagerly, jit_compile=False
        )
        if seed is not None:
            self.seed = seed
        self.estimator = estimator
        self._user_metrics = list(metrics)
        self._means = {}
        estimator.build(self)

    def train_step(self, data: Batch) -> dict[str, Tensor]:
        """One update: estimate the gradient, apply it, count."""
        seed = random.fold_in(random.make_seed(self.seed), self.step)
        estimate = self.estimator.estimate(self, data, seed=seed)
        apply_update(self.optimizer, estimate)
        self.step.assign_add(1)
        weight = tf.reduce_sum(self.example_weights(data))
        self._mean("neg_elbo").update_state(estimate.loss, sample_weight=weight)
        for name, value in estimate.metrics.items():
            self._mean(name).update_state(value)
        return {m.name: m.result() for m in self._means.values()}

    def test_step(self, data: Batch) -> dict[str, Tensor]:
        """Negative ELBO with evaluation noise, and the compiled metrics on the MAP."""
        seed = random.stream_seed(self.seed, 0, random.Stream.EVALUATION)
        terms = self.elbo(data, seed=seed)
        weights = self.example_weights(data)
        for name in ("neg_elbo", "log_likelihood", "kl"):
            self._mean(name).update_state(getattr(terms, name), sample_weight=weights)
        if self._user_metrics:
            outputs = self.predict_batch(data)
            for metric in self._user_metrics:
                metric.update_state(data, outputs)
        means = [self._means[n] for n in ("neg_elbo", "log_likelihood", "kl")]
        return {m.name: m.result() for m in [*means, *self._user_metrics]}

    def predict_step(self, data: Batch) -> dict[str, Tensor]:
        return self.predict_batch(data)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*self._means.values(), *self._user_metrics]

    def _mean(self, name: str) -> keras.metrics.Mean:
        if name not in self._means:
            self._means[name] = keras.metrics.Mean(name=name)
        return self._means[name]

    # Saving ----------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        structure = keras.saving.serialize_keras_object(self.structure)
        return {**super().get_config(), "structure": structure, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StructuredVAE:
        structure = keras.saving.deserialize_keras_object(config.pop("structure"))
        return cls(structure=structure, **config)

    def get_compile_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            "estimator": serialize(self.estimator),
            "metrics": [serialize(metric) for metric in self._user_metrics],
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        deserialize = keras.saving.deserialize_keras_object
        self.compile(
            optimizer=deserialize(config["optimizer"]),
            estimator=deserialize(config["estimator"]),
            metrics=[deserialize(metric) for metric in config["metrics"]],
        )
        if self.built:
            self.optimizer.build(self.trainable_variables)
