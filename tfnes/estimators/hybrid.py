"""Natural Evolution Strategies on the encoder, back-propagation on the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.checks import check_instance
from tfnes.errors import ConfigurationError
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.evaluation import all_finite
from tfnes.estimators.nes import NES
from tfnes.estimators.nes.fitness import Fitness
from tfnes.registration import register
from tfnes.typing import Batch, ELBOTerms, GradientEstimate, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE

_DECODER = 1
"""Tells the decoder's key from the encoder's."""


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

    With an NES as `decoder` nothing is differentiated, and two populations search:
    one phi at fixed theta, the other theta at fixed log-potentials and latents. The
    encoder's may take `exact_expectation`, at a cost that does not depend on the
    decoder's noise; the decoder's evaluates the decoder alone.

    The population searches a space without the decoder's parameters, so that a smaller
    one does. Frozen layers (`trainable=False`) stay; without any theta that is
    trained this is `encoder` alone.

    Args:
      encoder: how the encoder learns.
      decoder: how the decoder learns; `"pathwise"`, by back-propagation, or an NES of
        the encoder's granularity.

    Raises:
      ConfigurationError: if an argument is not one of these.

    Example:

        >>> import keras, tensorflow as tf, tfnes
        >>> model = tfnes.models.MLP(hidden_units=8, input_size=4)
        >>> nes = tfnes.estimators.NES(population_size=8, exact_expectation=True)
        >>> hybrid = tfnes.estimators.HybridNES(encoder=nes)
        >>> model.compile(keras.optimizers.Adam(1e-3), hybrid)
        >>> batch = tf.data.Dataset.from_tensors({"image": tf.ones([2, 4])})
        >>> _ = model.fit(batch, verbose=0)

    References:
      Lenc et al. 2019, "Non-differentiable supervised learning with evolution
      strategies and hybrid methods", section 3.3. Berliner et al. 2022, Algorithm 1.
    """

    def __init__(self, *, encoder: NES, decoder: str | NES = "pathwise"):
        super().__init__()
        check_instance(
            "HybridNES.encoder",
            encoder,
            NES,
            expected="an NES estimator, such as NES(population_size=8)",
        )
        if not isinstance(decoder, str) or decoder != "pathwise":
            check_instance(
                "HybridNES.decoder",
                decoder,
                NES,
                expected="'pathwise' or an NES estimator",
            )
            if decoder.exact_expectation:
                raise ConfigurationError(
                    "HybridNES.decoder searches at given latents. Received: an NES "
                    "with exact_expectation=True. Leave that to HybridNES.encoder."
                )
            if decoder.granularity != encoder.granularity:
                raise ConfigurationError(
                    "HybridNES.encoder and decoder must have one granularity. "
                    f"Received: {encoder.granularity!r}, {decoder.granularity!r}."
                )
        self.encoder = encoder
        self.decoder = decoder

    @property
    def evaluations_per_step(self) -> int:
        own = self.encoder.evaluations_per_step
        if isinstance(self.decoder, NES):
            own += self.decoder.evaluations_per_step
        return own

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
        if isinstance(self.decoder, NES):
            self.decoder.build(model)

    def build_state(self, model: StructuredVAE) -> None:
        if model.batch_spec is not None:
            self.encoder.build_state(model, model.encoder_variables)

    def metric_names(self, model: StructuredVAE) -> Sequence[str]:
        return (*self.encoder.metric_names(model), "decoder_gradient_norm")

    @property
    def max_empty_steps(self) -> int:
        """That of `encoder`."""
        return self.encoder.max_empty_steps

    def why_skipped(self) -> str:
        return self.encoder.why_skipped()

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
        if isinstance(self.decoder, NES) and decoder:
            return self._search_both(model, batch, seed, perturbed, decoder)
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

    def _search_both(
        self,
        model: StructuredVAE,
        batch: Batch,
        seed: Seed,
        encoder: list[keras.Variable],
        decoder: list[keras.Variable],
    ) -> GradientEstimate:
        first = self.encoder.estimate(model, batch, seed=seed, variables=encoder)
        second = self.decoder.estimate(
            model,
            batch,
            seed=random.fold_in(seed, _DECODER),
            variables=decoder,
            make_fitness=_GivenLatents,
        )
        return first._replace(
            gradients=[*first.gradients, *second.gradients],
            variables=[*first.variables, *second.variables],
            metrics={
                **first.metrics,
                "decoder_gradient_norm": second.metrics["gradient_norm"],
            },
            finite=first.finite & second.finite,
            touched=[*first.touched, *second.touched],
        )

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        decoder = self.decoder
        return {
            "encoder": serialize(self.encoder),
            "decoder": serialize(decoder) if isinstance(decoder, NES) else decoder,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HybridNES:
        config = dict(config)
        for part in ("encoder", "decoder"):
            if isinstance(config.get(part), dict):
                config[part] = keras.saving.deserialize_keras_object(config[part])
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
        self.share_decoder()
        return losses


class _GivenLatents(Fitness):
    """The negative ELBO at log-potentials and latents of the evaluation at the mean."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._terms_at_mean: list[ELBOTerms] = []

    def at_mean(self) -> Tensor:
        losses = super().at_mean()
        self._shared = [{"terms": terms} for terms in self._terms_at_mean]
        return losses

    def _terms(self, shared: dict[str, Any]) -> ELBOTerms:
        if "terms" not in shared:
            terms = super()._terms(shared)
            self._terms_at_mean.append(terms)
            return terms
        terms = shared["terms"]
        lengths = self.batch.get("lengths")
        potentials, latent = terms.log_potentials, terms.latent
        return terms._replace(
            log_likelihood=self.model.hard_log_likelihood(
                self.batch, latent, training=True
            ),
            kl=self.model.kl_divergence(potentials, latent, lengths=lengths),
        )
