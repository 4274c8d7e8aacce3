"""Neural Relational Inference with a structured latent graph (Section 4.1)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnes import random
from tfnes.checks import check_choice, check_flag, check_integer, check_real
from tfnes.models.nri_decoder import InteractionDecoder
from tfnes.models.nri_encoder import NRIEncoder
from tfnes.models.structured_vae import StructuredVAE
from tfnes.registration import register
from tfnes.structures import SpanningTree, Structure, Subset
from tfnes.typing import Batch, Tensor

KL_LAWS = ("gumbel", "perturb_and_map", "none")


@register("model")
class NRI(StructuredVAE):
    """Infers who interacts with whom from trajectories of n vertices.

    A batch has `positions` `[B, T, n, features]`; the latent z `[B, E]` says which
    undirected edges there are. The encoder gives one log-potential h_e for each edge,
    the decoder predicts the next positions y from the last ones and z, and

        log p(x | z) = -1/n sum_t |x_t - y_t|^2 / (2 variance),    t = 2 ... T

    without the constant of the normal density. The decoder is told the true positions
    every `prediction_steps` steps. All terms are divided by n, so that the ELBO is *per
    vertex*, as Paulus et al. report it.

    The KL is a named choice:

    * `"gumbel"`: between the laws of the perturbed parts, KL(Gumbel(h_e) || Gumbel(0))
      = h_e + exp(-h_e) - 1, over *directed* edges (each edge counts twice), over n;
    * `"perturb_and_map"`: (<z, h> + log |Z|) / n (Eqs. 37-38);
    * `"none"`.

    In training, batch normalization uses the batch's statistics and advances the
    moving ones, which are not trained and never perturbed; evaluation uses those.

    Args:
      structure: the latent graphs; `SpanningTree()`, or `Subset(n - 1)` of the edges.
      hidden_units: width of encoder and decoder.
      prediction_steps: steps between two true positions in training.
      evaluation_prediction_steps: the same in evaluation.
      variance: of each predicted coordinate.
      kl: `"gumbel"`, `"perturb_and_map"` or `"none"`.
      skip_first: "no edge" sends no message in the decoder; else both types do.
      **kwargs: of `StructuredVAE`.

    Raises:
      ConfigurationError: if an argument is out of range.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> model = tfnes.models.NRI(tfnes.structures.SpanningTree(), hidden_units=8)
        >>> output = model({"positions": tf.random.normal([2, 10, 5, 2])})
        >>> tf.reduce_sum(output["latent"], axis=1).numpy()
        array([4., 4.], dtype=float32)

    References:
      Kipf et al. 2018, "Neural relational inference for interacting systems". Paulus
      et al. 2020, "Gradient estimation with stochastic softmax tricks". Berliner et
      al. 2022, section 4.1.
    """

    def __init__(
        self,
        structure: Structure | None = None,
        *,
        hidden_units: int = 256,
        prediction_steps: int = 3,
        evaluation_prediction_steps: int = 1,
        variance: float = 5e-5,
        kl: str = "gumbel",
        skip_first: bool = False,
        **kwargs,
    ):
        super().__init__(SpanningTree() if structure is None else structure, **kwargs)
        self.hidden_units = check_integer("NRI.hidden_units", hidden_units, minimum=1)
        self.prediction_steps = check_integer(
            "NRI.prediction_steps", prediction_steps, minimum=1
        )
        self.evaluation_prediction_steps = check_integer(
            "NRI.evaluation_prediction_steps", evaluation_prediction_steps, minimum=1
        )
        self.variance = check_real("NRI.variance", variance, above=0)
        self.kl = check_choice("NRI.kl", kl, KL_LAWS)
        self.skip_first = check_flag("NRI.skip_first", skip_first)
        self.encoder = NRIEncoder(hidden_units=self.hidden_units, name="encoder")
        self.decoder = InteractionDecoder(
            hidden_units=self.hidden_units, skip_first=self.skip_first, name="decoder"
        )

    def encode(self, batch, *, training=False):
        return self.encoder(self._positions(batch), training=training)

    def log_likelihood(self, batch, latent, *, training=False):
        return self._log_likelihood(batch, latent, training=training)

    def hard_log_likelihood(
        self, batch: Batch, latent: Tensor, *, training: bool = False
    ) -> Tensor:
        """Returns `log_likelihood` of latents in {0, 1}, not differentiable in them.

        Where the structure fixes the number of edges it takes half the time.
        """
        return self._log_likelihood(
            batch, latent, training=training, num_edges=self._num_edges(batch)
        )

    def _log_likelihood(
        self,
        batch: Batch,
        latent: Tensor,
        *,
        training: bool,
        num_edges: int | None = None,
    ) -> Tensor:
        positions = self._positions(batch)
        steps = self.prediction_steps if training else self.evaluation_prediction_steps
        errors = self.decoder(
            positions, latent, prediction_steps=steps, num_edges=num_edges
        )
        return errors * (-0.5 / (self.variance * positions.shape[2]))

    def kl_divergence(self, log_potentials, latent, *, lengths=None):
        if self.kl == "none":
            return super().kl_divergence(log_potentials, latent, lengths=lengths)
        num_vertices = round((1 + (1 + 8 * log_potentials.shape[1]) ** 0.5) / 2)
        if self.kl == "gumbel":
            each = log_potentials + tf.exp(-log_potentials) - 1
            return tf.reduce_sum(each, axis=1) * (2 / num_vertices)
        energy = self.structure.score(latent, log_potentials)
        return (energy + self.structure.log_count(log_potentials)) / num_vertices

    def predict_batch(self, batch):
        """Returns `latent`, the MAP graph, and `sample`, the one of the ELBO."""
        log_potentials = self.encode(batch, training=False)
        seed = random.stream_seed(self.seed, 0, random.Stream.EVALUATION)
        sample = self.sample_latent(
            batch, log_potentials, shared=self.shared_terms(batch, seed=seed)
        )
        return {"latent": self.structure.predict(log_potentials), "sample": sample}

    def _positions(self, batch: Batch) -> Tensor:
        return tf.cast(batch["positions"], self.compute_dtype)

    def _num_edges(self, batch: Batch) -> int | None:
        """Returns how many edges every latent graph has; None where they differ."""
        n = batch["positions"].shape[2]
        if isinstance(self.structure, SpanningTree):
            return n - 1
        if isinstance(self.structure, Subset):
            return min(self.structure.k, n * (n - 1) // 2)
        return None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "prediction_steps": self.prediction_steps,
            "evaluation_prediction_steps": self.evaluation_prediction_steps,
            "variance": self.variance,
            "kl": self.kl,
            "skip_first": self.skip_first,
        }
