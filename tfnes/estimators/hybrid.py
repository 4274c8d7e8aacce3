"""Natural Evolution Strategies on the encoder, back-propagation on the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfnes.errors import ConfigurationError
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.evaluation import all_finite
from tfnes.estimators.nes import NES
from tfnes.estimators.nes.fitness import Fitness
from tfnes.registration import register
from tfnes.typing import Batch, GradientEstimate, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE


@register("estimator")
class HybridNES(GradientEstimator):
    """NES for the encoder and back-propagation for the decoder, in one update.

    Given its latent the negative ELBO L(theta, phi, z) is differentiable in theta; what
    is not is the way from phi to z. So, with g the smoothed objective of `NES`,

        gradient in phi   = grad g(phi) at fixed theta, by `encoder`
        gradient in theta = mean over the sampled z of d/dtheta L(theta, phi, z)

    phi are `model.encoder_variables`, those on which the log-potentials depend; theta
    the other ones of `model.decoder_variables`. The latents are those of the update's
    evaluation at the mean, so the second line costs one pass back through the decoder
    beside it, and is unbiased for the unperturbed encoder. With
    `NES(exact_expectation=True)` it is exact. The KL is in the loss of the members,
    whatever it depends on.

    The population searches a space without the decoder's parameters, so that a smaller
    one does. Frozen layers (`trainable=False`) stay; without any theta that is
    trained this is `encoder` alone.

    Args:
      encoder: how the encoder learns.
      decoder: how the decoder learns; `"pathwise"`, by back-propagation.

    Raises:
      ConfigurationError: if an argument is not one of these.

    Example:

        >>> import keras, tensorflow as tf, tfnes
        >>> model = tfnes.models.MLP(hidden_units=8, input_size=4)
        >>> nes = tfnes.estimators.NES(population_size=8, exact_expectation=True)
        >>> hybrid = tfnes.estimators.HybridNES(encoder=nes)
        >>> model.compile(keras.optimizers.Adam(1e-3), hybrid)
        >>> batch = tf.data.Dataset.from_tensors({"image": tf.ones([2, 4])})
        >>> _ = model.fit(batch, shuffle=False, verbose=0)

    References:
      Lenc et al. 2019, "Non-differentiable supervised learning with evolution
      strategies and hybrid methods", section 3.3. Berliner et al. 2022, Algorithm 1.
    """

    def __init__(self, *, encoder: NES, decoder: str = "pathwise"):
        super().__init__()
        if not isinstance(encoder, NES):
            raise ConfigurationError(
                "HybridNES.encoder must be an NES estimator, such as "
                f"NES(population_size=8). Received: {encoder!r}."
            )
        if decoder != "pathwise":
            raise ConfigurationError(
                f"HybridNES.decoder must be 'pathwise'. Received: {decoder!r}."
            )
        self.encoder = encoder
        self.decoder = decoder

    @property
    def evaluations_per_step(self) -> int:
        return self.encoder.evaluations_per_step

    @property
    def gathers_replicas(self) -> bool:
        return self.encoder.gathers_replicas

    def build(self, model: StructuredVAE) -> None:
        if not hasattr(model, "encode"):
            raise ConfigurationError(
                f"HybridNES needs a StructuredVAE, whose encoder it tells from the "
                f"decoder. Received: {type(model).__name__}. Use NES."
            )
        self.encoder.build(model)

    def build_state(self, model: StructuredVAE) -> None:
        if model.batch_spec is not None:
            self.encoder.build_state(model, model.encoder_variables)

    def metric_names(self, model: StructuredVAE) -> Sequence[str]:
        return (*self.encoder.metric_names(model), "decoder_gradient_norm")

    def check(self) -> None:
        self.encoder.check()

    def estimate(
        self, model: StructuredVAE, batch: Batch, *, seed: Seed
    ) -> GradientEstimate:
        perturbed = model.encoder_variables
        if not perturbed:
            raise ConfigurationError(
                f"{model.name} has no trainable variables on which its log-potentials "
                "depend. Set `trainable` of the encoder to True, or use Exact or a "
                "PathwiseEstimator."
            )
        known = {id(variable) for variable in perturbed}
        decoder = [v for v in model.decoder_variables if id(v) not in known]
        made = []

        def make_fitness(*args, **kwargs) -> Fitness:
            made.append(_DifferentiatedFitness(*args, decoder=decoder, **kwargs))
            return made[-1]

        estimate = self.encoder.estimate(
            model, batch, seed=seed, variables=perturbed, make_fitness=make_fitness
        )
        gradients = made[0].gradients
        norm = tf.linalg.global_norm(gradients)
        finite = estimate.finite & all_finite(estimate.loss, [norm])
        return estimate._replace(
            gradients=[*estimate.gradients, *gradients],
            variables=[*estimate.variables, *decoder],
            metrics={
                **estimate.metrics,
                "decoder_gradient_norm": tf.where(finite, norm, 0.0),
            },
            finite=finite,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": self.decoder,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HybridNES:
        config = dict(config)
        if isinstance(config["encoder"], dict):
            config["encoder"] = keras.saving.deserialize_keras_object(config["encoder"])
        return cls(**config)


class _DifferentiatedFitness(Fitness):
    """A fitness that differentiates the decoder where it evaluates the mean.

    Attributes:
      gradients: of the mean loss of the real examples, one for each of `decoder`;
        there after `at_mean`.
    """

    gradients: list[Tensor]

    def __init__(self, *args: Any, decoder: Sequence[keras.Variable], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._decoder = list(decoder)

    def at_mean(self) -> Tensor:
        values = [variable.value for variable in self._decoder]
        # Nothing of the encoder is watched, so nothing of it is differentiated.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            losses = super().at_mean()
            loss = self.mean(losses)
        gradients = tape.gradient(
            loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        # A look-up table has a gradient of its rows.
        self.gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return losses
