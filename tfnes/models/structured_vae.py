"""The model base class: ELBO, and `fit`/`evaluate`/`predict` for every estimator."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes import random
from tfnes.checks import check_instance
from tfnes.errors import ConfigurationError
from tfnes.models.dependencies import dependent_variables
from tfnes.models.trainable import TrainableModel
from tfnes.structures.structure import Structure
from tfnes.typing import Batch, ELBOTerms, Seed, Tensor


class StructuredVAE(TrainableModel):
    """A variational auto-encoder whose latent is a discrete structure.

    The loss is the negative ELBO in nats per example, minimised:

        L(theta, phi, x) = -E_{z ~ q_phi(z|x)} log p_theta(x|z) + KL(q_phi(z|x) || p(z))

    with z drawn by perturb-and-MAP (Eq. 2): the MAP structure of the encoder's
    log-potentials plus Gumbel noise. A subclass gives `encode`, `log_likelihood` and,
    unless its law is "none", `kl_divergence`; this class gives training, evaluation,
    prediction, and saving, the same for every gradient estimator.

    A batch is a dict of named tensors, example axis first. Where it has `lengths`,
    examples of length 0 are padding and count nowhere; where it has `index` (the
    global example index), latent noise is keyed by it.

    Args:
      structure: the set of latent structures.
      seed: every random number of a run is a function of it.
      **kwargs: of `keras.Model` (`name`, `dtype`, `trainable`).
    """

    test_names: tuple[str, ...] = ("neg_elbo", "log_likelihood", "kl")

    def __init__(self, structure: Structure, *, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.structure = check_instance(
            f"{type(self).__name__}.structure",
            structure,
            Structure,
            expected="a Structure, such as tfnes.structures.Categorical()",
        )

    # What a subclass gives -----------------------------------------------------------

    def adapt(self, dataset) -> None:
        """Takes sizes, vocabularies, ... from a dataset provider, before training."""

    def encode(self, batch: Batch, *, training: bool = False) -> Tensor:
        """Returns the log-potentials h_phi(x), `[B, *parts]`."""
        raise NotImplementedError(f"{type(self).__name__} must define encode().")

    def log_likelihood(
        self, batch: Batch, latent: Tensor, *, training: bool = False
    ) -> Tensor:
        """Returns log p_theta(x | z) of each example, `[B]`, in nats."""
        raise NotImplementedError(
            f"{type(self).__name__} must define log_likelihood()."
        )

    def hard_log_likelihood(
        self, batch: Batch, latent: Tensor, *, training: bool = False
    ) -> Tensor:
        """Returns `log_likelihood` of latents in {0, 1}, `[B]`.

        A subclass overrides it where such latents have a faster way, which need not be
        differentiable in them.
        """
        return self.log_likelihood(batch, latent, training=training)

    def log_likelihoods(
        self, batch: Batch, latents: Tensor, *, training: bool = False
    ) -> Tensor:
        """Returns log p_theta(x | z) of each example and each z of `latents`.

        Args:
          batch: named tensors, B examples.
          latents: `[M, *parts]`, the same for all examples.
          training: passed on to the layers.

        Returns:
          `[B, M]`. By default one evaluation of `log_likelihood` for each latent.
        """
        size = tf.shape(next(iter(batch.values())))[0]

        def one(latent: Tensor) -> Tensor:
            shape = tf.concat([[size], tf.shape(latent)], 0)
            latent = tf.broadcast_to(latent, shape)
            return self.log_likelihood(batch, latent, training=training)

        return tf.stack([one(latents[i]) for i in range(latents.shape[0])], axis=1)

    def kl_divergence(
        self, log_potentials: Tensor, latent: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns KL(q_phi(z|x) || p(z)) of each example, `[B]`; by default 0."""
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

    @property
    def encoder_variables(self) -> list[keras.Variable]:
        """Those of `elbo_variables` on which the log-potentials depend.

        Like `decoder_variables` found by a trace, whether there is a gradient or not;
        known once the model has seen a batch.
        """
        return self._which("encoder")

    @property
    def decoder_variables(self) -> list[keras.Variable]:
        """Those on which the ELBO depends at given log-potentials and latent.

        What log p(x|z) reads, and the parameters of a prior where the KL has some. A
        variable that the encoder reads too (tied weights) is in both lists.
        """
        return self._which("decoder")

    def _which(self, part: str) -> list[keras.Variable]:
        spec = self.batch_spec
        if spec is None:
            raise ConfigurationError(
                f"{self.name}.{part}_variables are found by a trace, which needs the "
                "shapes of a batch, and the model has seen none yet. Call "
                "model.build(batch) before."
            )
        every = self.variables
        known = self._progress.dependencies
        if known is None or known["all"] != [id(variable) for variable in every]:
            self._progress.dependencies = known = self._trace_dependencies(spec)
        return [v for v in self.elbo_variables if id(v) in known[part]]

    def _trace_dependencies(self, spec: Batch) -> dict[str, Any]:
        def elbo(batch, log_potentials, latent):
            lengths = batch.get("lengths")
            kl = self.kl_divergence(log_potentials, latent, lengths=lengths)
            return kl - self.log_likelihood(batch, latent, training=True)

        every = self.variables
        encoder, potentials = dependent_variables(
            lambda batch: self.encode(batch, training=True), every, [spec]
        )
        decoder, _ = dependent_variables(elbo, every, [spec, potentials, potentials])
        return {
            "all": [id(variable) for variable in every],
            "encoder": {id(variable) for variable in encoder},
            "decoder": {id(variable) for variable in decoder},
        }

    # The ELBO ------------------------------------------------------------------------

    def shared_terms(self, batch: Batch, *, seed: Seed) -> dict[str, Any]:
        """Returns what all members of an NES population share on a batch.

        Here the seed of the latent noise: all members see the same Gumbel draws
        (common random numbers). A subclass adds what does not depend on perturbed
        parameters, so that it is computed once an update.
        """
        del batch
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
        log_potentials = self.encode(batch, training=training)
        return self.elbo_at(batch, log_potentials, shared=shared, training=training)

    def elbo_at(
        self,
        batch: Batch,
        log_potentials: Tensor,
        *,
        shared: dict[str, Any],
        training: bool = False,
    ) -> ELBOTerms:
        """Returns the ELBO at given log-potentials, with one latent sample.

        A subclass with an `elbo` of its own that does more than call this on what
        `encode` returns overrides it, too.

        Args:
          batch: named tensors, example axis first.
          log_potentials: `[B, *parts]`.
          shared: what `shared_terms` returned.
          training: passed on to the layers.
        """
        latent = self.sample_latent(batch, log_potentials, shared=shared)
        lengths = batch.get("lengths")
        return ELBOTerms(
            log_likelihood=self.hard_log_likelihood(batch, latent, training=training),
            kl=self.kl_divergence(log_potentials, latent, lengths=lengths),
            latent=latent,
            log_potentials=log_potentials,
        )

    def expected_elbo(
        self, batch: Batch, *, num_nodes: int | None = None, training: bool = False
    ) -> ELBOTerms:
        """Returns the ELBO of each example, exact over the latents (Eq. 1).

        The law is q(z|x) = exp <z, h(x)> / Z, a sum over all of Z.

        Args:
          batch: named tensors, example axis first; without padding.
          num_nodes: what `structure.enumerate` is asked for; None: the last axis of
            the log-potentials (the categories).
          training: passed on to the layers.

        Returns:
          The terms; `latent` is the mean of z.
        """
        return self.expected_elbo_at(
            batch,
            self.encode(batch, training=training),
            num_nodes=num_nodes,
            training=training,
        )

    def expected_elbo_at(
        self,
        batch: Batch,
        log_potentials: Tensor,
        *,
        num_nodes: int | None = None,
        shared: dict[str, Any] | None = None,
        training: bool = False,
    ) -> ELBOTerms:
        """As `expected_elbo`, at given log-potentials.

        Args:
          batch: named tensors, example axis first; without padding.
          log_potentials: `[B, *parts]`.
          num_nodes: what `structure.enumerate` is asked for.
          shared: keeps the likelihoods of all latents, for further calls with the same
            batch and decoder.
          training: passed on to the layers.
        """
        size = log_potentials.shape[-1] if num_nodes is None else num_nodes
        latents = self.structure.enumerate(size)
        shared = {} if shared is None else shared
        if "log_likelihoods" not in shared:
            shared["log_likelihoods"] = self.log_likelihoods(
                batch, tf.constant(latents, log_potentials.dtype), training=training
            )
        each = shared["log_likelihoods"]
        count, parts = len(latents), int(np.prod(latents.shape[1:]))
        flat = tf.constant(latents.reshape(count, parts), log_potentials.dtype)
        scores = tf.reshape(log_potentials, [-1, parts])
        q = tf.nn.softmax(tf.matmul(scores, flat, transpose_b=True))

        def kl(latent: np.ndarray) -> Tensor:
            latent = tf.zeros_like(log_potentials) + latent
            return self.kl_divergence(log_potentials, latent)

        kls = tf.stack([kl(latent) for latent in latents], axis=1)
        mean = tf.reshape(tf.matmul(q, flat), tf.shape(log_potentials))
        return ELBOTerms(
            log_likelihood=tf.reduce_sum(q * each, axis=1),
            kl=tf.reduce_sum(q * kls, axis=1),
            latent=mean,
            log_potentials=log_potentials,
        )

    def sample_latent(
        self, batch: Batch, log_potentials: Tensor, *, shared: dict[str, Any]
    ) -> Tensor:
        """Returns z by perturb-and-MAP (Eq. 2), `[B, *parts]`.

        The noise is `shared["latent_noise"]` where it was drawn before (by
        `share_noise`), else it is drawn from `shared["latent_seed"]`.
        """
        lengths = batch.get("lengths")
        if "latent_noise" in shared:
            perturbed = log_potentials + shared["latent_noise"]
            return self.structure.argmax(perturbed, lengths=lengths)
        return self.structure.perturb_and_map(
            log_potentials,
            seed=shared["latent_seed"],
            lengths=lengths,
            index=batch.get("index"),
        )

    def share_noise(
        self, batch: Batch, terms: ELBOTerms, *, shared: dict[str, Any]
    ) -> dict[str, Any]:
        """Returns `shared` with the latent noise drawn, so that it is drawn once.

        Args:
          batch: named tensors, example axis first.
          terms: of an evaluation with `shared`; tells the shape of the noise.
          shared: what `shared_terms` returned.
        """
        own = type(self.structure).perturb_and_map is not Structure.perturb_and_map
        if own or "latent_seed" not in shared:
            return shared
        noise = self.structure.noise(
            terms.log_potentials,
            seed=shared["latent_seed"],
            index=batch.get("index"),
        )
        return {**shared, "latent_noise": noise}

    def share_decoder(self, batch: Batch, *, shared: dict[str, Any]) -> dict[str, Any]:
        """Returns `shared` with what evaluations with one decoder have in common.

        A subclass adds what does not depend on the latent.

        Args:
          batch: named tensors, example axis first.
          shared: what `shared_terms` or `share_noise` returned.
        """
        del batch
        return shared

    def predict_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the MAP structure of each example, without noise.

        It reports log-potentials that have none (NaN, or too much forbidden), see
        `Structure.predict`.
        """
        log_potentials = self.encode(batch, training=False)
        lengths = batch.get("lengths")
        return {"latent": self.structure.predict(log_potentials, lengths=lengths)}

    # What `TrainableModel` needs -----------------------------------------------------

    def trace(self, batch: Batch) -> None:
        self.elbo(batch, seed=random.make_seed(0), training=True)
        self.predict_batch(batch)

    def test_losses(self, batch: Batch, *, seed: Seed) -> dict[str, Tensor]:
        terms = self.elbo(batch, seed=seed)
        return {name: getattr(terms, name) for name in self.test_names}

    def get_config(self) -> dict[str, Any]:
        structure = keras.saving.serialize_keras_object(self.structure)
        return {**super().get_config(), "structure": structure}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StructuredVAE:
        config = dict(config)
        structure = config.pop("structure")
        if isinstance(structure, dict):
            structure = keras.saving.deserialize_keras_object(structure)
        return cls(structure=structure, **config)
