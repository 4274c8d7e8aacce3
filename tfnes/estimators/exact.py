"""The exact gradient, by enumeration of the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfnes.checks import check_integer, check_optional
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.evaluation import all_finite, example_mean
from tfnes.registration import register
from tfnes.structures.structure import HasEnumeration, require_ability
from tfnes.typing import Batch, GradientEstimate, Seed

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE


@register("estimator")
class Exact(GradientEstimator):
    """The gradient of the expected negative ELBO, without any sampling (Eq. 1).

    Back-propagates through

        sum over z in Z of q_phi(z|x) (-log p_theta(x|z)) + KL(q_phi(z|x) || p(z))

    with q_phi(z|x) = exp <z, h_phi(x)> / Z: the law of `Categorical` under
    perturb-and-MAP, the Gibbs law of other structures. Costs |Z| evaluations of the
    decoder. "UNBIASED" in Appendix B.4.

    Args:
      num_nodes: what `structure.enumerate` is asked for; None: the last axis of the
        log-potentials (the categories).

    Example:

        >>> import keras, tensorflow as tf, tfnes
        >>> model = tfnes.models.MLP(hidden_units=8, input_size=4)
        >>> model.compile(keras.optimizers.Adam(1e-3), tfnes.estimators.Exact())
        >>> batch = tf.data.Dataset.from_tensors({"image": tf.ones([2, 4])})
        >>> _ = model.fit(batch, verbose=0)

    References:
      Berliner et al. (2022), Eq. 1 and Appendix B.4.
    """

    def __init__(self, *, num_nodes: int | None = None):
        self.num_nodes = check_optional(
            "Exact.num_nodes", num_nodes, check_integer, minimum=1
        )

    def build(self, model: StructuredVAE) -> None:
        require_ability(model.structure, HasEnumeration, user="Exact")

    def estimate(
        self, model: StructuredVAE, batch: Batch, *, seed: Seed
    ) -> GradientEstimate:
        del seed
        variables = model.elbo_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            terms = model.expected_elbo(batch, num_nodes=self.num_nodes, training=True)
            loss = example_mean(terms.neg_elbo, model.example_weights(batch))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        return GradientEstimate(
            loss=loss,
            gradients=gradients,
            variables=variables,
            metrics={},
            finite=all_finite(loss, gradients),
        )

    def get_config(self) -> dict[str, Any]:
        return {"num_nodes": self.num_nodes}
