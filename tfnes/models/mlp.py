"""The unstructured VAE of Appendix B: images with one categorical latent."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tfnes import registration
from tfnes.checks import check_integer, check_optional, check_real
from tfnes.models.rows import example_rows, examples_differ
from tfnes.models.structured_vae import StructuredVAE
from tfnes.structures import Categorical
from tfnes.structures.structure import Structure
from tfnes.typing import Batch, Tensor


@registration.register("model")
class MLP(StructuredVAE):
    """Encoder x - h - K and decoder K - h - x with ReLU, on binary images.

    The latent is one of K categories, the KL to the uniform prior is analytic,

        KL(q || p) = sum_k q_k log(K q_k),   q = softmax(h_phi(x)),

    and the likelihood is Bernoulli for each pixel. A batch has `image`, `[B, ...]` in
    {0, 1}. With so few latents the decoder has K different inputs: it is evaluated on
    these alone, once for the whole batch, unless a relaxed latent is given.

    `evaluate` shows the ELBO in three forms: `neg_elbo` with one sampled latent,
    `expected_neg_elbo` with the exact expectation over q, `argmax_neg_elbo` with the
    likeliest latent in place of a sample (the form of the authors' code; it takes the
    KL of q and the likelihood of a code that q may not choose, so it is no bound).

    Args:
      structure: the latent; None: `Categorical()`.
      hidden_units: h.
      num_categories: K.
      input_size: pixels of an image.
      log_prob_bound: M of Appendix B.3: in training, the probability of a pixel is
        held within [exp(-M), 1 - exp(-M)]; None: no bound.
      **kwargs: of `StructuredVAE`.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> model = tfnes.models.MLP(hidden_units=8, input_size=4)
        >>> model({"image": tf.ones([2, 4])})["latent"].shape
        TensorShape([2, 10])

    References:
      Berliner et al. (2022), Appendix B, Figures 3 and 4.
    """

    test_names: tuple[str, ...] = (
        *StructuredVAE.test_names,
        "expected_neg_elbo",
        "argmax_neg_elbo",
    )

    def __init__(
        self,
        *,
        structure: Structure | None = None,
        hidden_units: int = 300,
        num_categories: int = 10,
        input_size: int = 784,
        log_prob_bound: float | None = None,
        **kwargs,
    ):
        super().__init__(Categorical() if structure is None else structure, **kwargs)
        self.hidden_units = check_integer("MLP.hidden_units", hidden_units, minimum=1)
        self.num_categories = check_integer(
            "MLP.num_categories", num_categories, minimum=1
        )
        self.input_size = check_integer("MLP.input_size", input_size, minimum=1)
        self.log_prob_bound = check_optional(
            "MLP.log_prob_bound", log_prob_bound, check_real, above=0
        )
        self.encoder = keras.Sequential(
            [
                _dense(self.input_size, self.hidden_units, "relu"),
                _dense(self.hidden_units, self.num_categories),
            ],
            name="encoder",
        )
        self.decoder = keras.Sequential(
            [
                _dense(self.num_categories, self.hidden_units, "relu"),
                _dense(self.hidden_units, self.input_size),
            ],
            name="decoder",
        )

    def encode(self, batch, *, training=False):
        return self.encoder(self._pixels(batch), training=training)

    def log_likelihood(self, batch, latent, *, training=False):
        logits = self.decoder(latent, training=training)
        on, off = self._log_probs(logits, training)
        pixels = self._pixels(batch)
        return tf.reduce_sum(pixels * on + (1 - pixels) * off, axis=-1)

    def log_likelihoods(self, batch, latents, *, training=False):
        with example_rows(None):  # the codes are the same for all examples
            logits = self.decoder(latents, training=training)
        on, off = self._log_probs(logits, training)
        # sum over pixels of x on + (1 - x) off, for all latents in one product.
        return tf.matmul(
            self._pixels(batch), on - off, transpose_b=True
        ) + tf.reduce_sum(off, axis=-1)

    def kl_divergence(self, log_potentials, latent, *, lengths=None):
        del latent, lengths
        log_q = tf.nn.log_softmax(log_potentials)
        return tf.reduce_sum(
            tf.exp(log_q) * (log_q + math.log(self.num_categories)), axis=-1
        )

    def hard_log_likelihood(self, batch, latent, *, training=False):
        """`log_likelihood` of one-hot latents: K evaluations of the decoder, not B.

        With noise of their own the examples have no such evaluations in common.
        """
        if examples_differ():
            return self.log_likelihood(batch, latent, training=training)
        codes = tf.eye(self.num_categories, dtype=latent.dtype)
        each = self.log_likelihoods(batch, codes, training=training)
        return tf.reduce_sum(latent * each, axis=-1)

    def test_losses(self, batch, *, seed):
        log_potentials = self.encode(batch)
        codes = tf.eye(self.num_categories, dtype=log_potentials.dtype)
        each = self.log_likelihoods(batch, codes)
        shared = self.shared_terms(batch, seed=seed)
        sample = self.sample_latent(batch, log_potentials, shared=shared)
        kl = self.kl_divergence(log_potentials, sample)
        log_likelihood = tf.reduce_sum(sample * each, axis=-1)
        expected = tf.reduce_sum(tf.nn.softmax(log_potentials) * each, axis=-1)
        likeliest = tf.reduce_sum(self.structure.argmax(log_potentials) * each, axis=-1)
        return {
            "neg_elbo": kl - log_likelihood,
            "log_likelihood": log_likelihood,
            "kl": kl,
            "expected_neg_elbo": kl - expected,
            "argmax_neg_elbo": kl - likeliest,
        }

    def _pixels(self, batch: Batch) -> Tensor:
        image = tf.cast(batch["image"], self.compute_dtype)
        return tf.reshape(image, [-1, self.input_size])

    def _log_probs(self, logits: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Returns log p(pixel = 1) and log p(pixel = 0)."""
        on, off = -tf.nn.softplus(-logits), -tf.nn.softplus(logits)
        if training and self.log_prob_bound is not None:
            low = -self.log_prob_bound
            high = math.log1p(-math.exp(low))
            on, off = tf.clip_by_value(on, low, high), tf.clip_by_value(off, low, high)
        return on, off

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "num_categories": self.num_categories,
            "input_size": self.input_size,
            "log_prob_bound": self.log_prob_bound,
        }


def _dense(inputs: int, units: int, activation: str | None = None):
    """A dense layer with the authors' initial law, U(+-1/sqrt(inputs)) throughout."""
    limit = 1 / math.sqrt(inputs)

    def law():
        return keras.initializers.RandomUniform(-limit, limit)

    return keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=law(),
        bias_initializer=law(),
    )
