"""Natural Evolution Strategies with Gaussian noise on the weights (Algorithm 1)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfnes import registration
from tfnes.errors import ConfigurationError, NonFiniteError
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.nes import fitness_shaping as shapings
from tfnes.estimators.nes import noise as noises
from tfnes.estimators.nes.fitness import Fitness
from tfnes.estimators.nes.parameters import FlatParameters
from tfnes.estimators.nes.perturbation import WeightNoise
from tfnes.estimators.nes.population import Population
from tfnes.estimators.nes.replicas import Replicas
from tfnes.structures.structure import HasEnumeration, require_ability
from tfnes.typing import Batch, GradientEstimate, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE

_LOG = logging.getLogger(__name__)


@registration.register("estimator")
class NES(GradientEstimator):
    """The gradient of the Gaussian-smoothed negative ELBO, from evaluations alone.

    With k(mu) the mean negative ELBO of a batch, NES minimises (Eq. 4, 7)

        g(mu)      = E_{w ~ N(0, I)} [k(mu + sigma w)]
        grad g(mu) = E_{w ~ N(0, I)} [w k(mu + sigma w)] / sigma

    (Eq. 6, 8), estimated by N evaluations in mirrored pairs mu + sigma w, mu - sigma w
    that share the latent noise gamma of the update. With z-scored losses the mean
    cancels within a pair and the deviation is one number, so that

        gradient = 1 / (N sigma std(u)) sum over pairs of (u+ - u-) w

    takes one pass over the pairs and memory of the order of the parameters.

    Perturbed are `model.elbo_variables`; of the look-up tables of
    `model.touched_rows(batch)` only the rows that the batch touches, the others and
    their optimizer slots stay as they are. State that is not trained (the moving
    statistics of batch normalisation, random generators) is never perturbed: members
    run in training mode, normalise by the batch's own statistics, and what they would
    write is dropped; one evaluation at the mean, which also gives the loss that is
    shown, then advances that state once an update.

    A pair with a loss that is not finite is dropped, both signs. Where no pair is
    left or all losses are equal the update is skipped, and parameters and optimizer
    stay as they were.

    Args:
      population_size: N, evaluations in an update, both signs counted; even.
      sigma: standard deviation of the noise on each parameter.
      noise_source: `"fresh"` (independent normals), `"table"` (see `NoiseTable`), or a
        `NoiseSource`.
      fitness_shaping: `"z_score"`, `"identity"` (Eq. 6 as it stands),
        `"centered_ranks"` (a second pass), or a `FitnessShaping`.
      num_latent_samples: latent draws gamma over which each evaluation averages.
      exact_expectation: each evaluation sums over all latents instead of drawing
        (Algorithm 1's expectation over gamma); for structures with few latents.
      num_shards: the sum over pairs is formed in this many parts, so that results are
        the same, bit for bit, on any number of replicas that divides it.
      max_empty_steps: skipped updates in a row after which training is given up.

    Raises:
      ConfigurationError: if an argument is out of range.

    Example:

        >>> import tfnes
        >>> tfnes.estimators.NES(population_size=300, sigma=0.1).evaluations_per_step
        300

    References:
      Berliner et al. (2022), Algorithm 1, Eqs. 4-8, 39. Wierstra et al. (2014).
    """

    gathers_replicas = True

    def __init__(
        self,
        *,
        population_size: int = 100,
        sigma: float = 0.1,
        noise_source: str | noises.NoiseSource = "fresh",
        fitness_shaping: str | shapings.FitnessShaping = "z_score",
        num_latent_samples: int = 1,
        exact_expectation: bool = False,
        num_shards: int = 4,
        max_empty_steps: int = 10,
    ):
        if population_size < 2 or population_size % 2:
            near = max(2, population_size + population_size % 2)
            raise ConfigurationError(
                "NES.population_size must be even and at least 2 because samples are "
                f"mirrored. Received: {population_size}. Use {near}."
            )
        if not 0 < sigma < float("inf"):
            raise ConfigurationError(
                f"NES.sigma must be positive and finite. Received: {sigma}."
            )
        for name, value in (
            ("num_latent_samples", num_latent_samples),
            ("num_shards", num_shards),
            ("max_empty_steps", max_empty_steps),
        ):
            if value < 1:
                raise ConfigurationError(
                    f"NES.{name} must be at least 1. Received: {value}."
                )
        if exact_expectation and num_latent_samples > 1:
            raise ConfigurationError(
                "NES.exact_expectation leaves nothing to sample. Received: "
                f"num_latent_samples={num_latent_samples}. Use 1."
            )
        self.population_size = population_size
        self.sigma = sigma
        self.noise_source = noises.get(noise_source)
        self.fitness_shaping = shapings.get(fitness_shaping)
        self.num_latent_samples = num_latent_samples
        self.exact_expectation = exact_expectation
        self.num_shards = num_shards
        self.max_empty_steps = max_empty_steps
        self.evaluations_per_step = population_size * num_latent_samples
        self._empty_steps: keras.Variable | None = None

    def build(self, model: StructuredVAE) -> None:
        if self.exact_expectation:
            require_ability(
                model.structure, HasEnumeration, user="NES(exact_expectation=True)"
            )
        self.noise_source.build()
        if self._empty_steps is None:
            self._empty_steps = self.add_variable("empty_steps", dtype="int32")

    def metric_names(self, model: StructuredVAE) -> tuple[str, ...]:
        del model
        return (
            "population_mean",
            "population_std",
            "gradient_norm",
            "dropped_pairs",
            "skipped_updates",
        )

    def check(self) -> None:
        empty = int(self._empty_steps.numpy())
        if empty >= self.max_empty_steps:
            raise NonFiniteError(
                f"NES skipped {empty} updates in a row: all losses of the population "
                "were NaN, infinite, or equal. Expected finite losses that differ. "
                f"Lower NES.sigma (now {self.sigma}) or the learning rate, or bound "
                "the log-probabilities of the model."
            )

    def estimate(
        self,
        model: StructuredVAE,
        batch: Batch,
        *,
        seed: Seed,
        variables: Sequence[keras.Variable] | None = None,
        make_fitness: Callable[..., Fitness] = Fitness,
    ) -> GradientEstimate:
        """Returns loss, gradients and metrics for one batch.

        Args:
          model: the model; its variables hold the current parameters.
          batch: named tensors, example axis first.
          seed: `[2]` int32 key of this update.
          variables: what is perturbed; None: `model.elbo_variables`.
          make_fitness: makes what evaluates the members.
        """
        variables = model.elbo_variables if variables is None else list(variables)
        if not variables:
            raise ConfigurationError(
                f"{model.name} has no trainable variables on which its ELBO depends. "
                "Set `trainable` of some layer to True."
            )
        device = tf.convert_to_tensor(variables[0]).device
        replicas = Replicas(num_shards=self.num_shards, device=device)
        batch = replicas.gather_batch(batch)
        fitness = make_fitness(
            model,
            batch,
            seed=seed,
            num_latent_samples=self.num_latent_samples,
            exact_expectation=self.exact_expectation,
        )
        loss = fitness.mean(fitness.at_mean())
        perturbation = WeightNoise(
            fitness,
            variables,
            source=self.noise_source,
            seed=seed,
            sigma=self.sigma,
        )
        self._log_memory(model, perturbation.parameters)
        population = Population(self.population_size // 2, replicas=replicas)
        linear = self.fitness_shaping.linear

        def one_pair(pair: Tensor, total: Any) -> tuple[Tensor, Any]:
            """Returns the losses of a pair, and `total` with its share added."""
            each, contribution = perturbation.evaluate(pair)
            losses = tf.stack([fitness.mean(each[0]), fitness.mean(each[1])])
            if linear:
                half = 0.5 * _difference(losses)
                total = tf.nest.map_structure(tf.add, total, contribution(half, half))
            return losses, total

        like = perturbation.zeros() if linear else tf.zeros([1])
        losses, total = population.run(one_pair, like=like)
        keep = tf.reduce_all(tf.math.is_finite(losses), axis=1)
        losses = tf.where(keep[:, None], losses, 0.0)
        scale = tf.math.divide_no_nan(0.5, tf.reduce_sum(tf.cast(keep, tf.float32)))
        if linear:
            scale *= self.fitness_shaping.scale(losses, keep)
        else:
            coefficients = self.fitness_shaping.coefficients(losses, keep)

            def again(pair: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
                share = perturbation.again(pair, coefficients[pair])
                return tf.zeros([2]), total + share

            total = population.run(again, like=perturbation.zeros())[1]
        total = tf.nest.map_structure(lambda t: t * tf.cast(scale, t.dtype), total)
        gradients = perturbation.gradients(total)
        center, deviation = shapings.moments(losses, keep)
        norm = tf.linalg.global_norm(gradients)
        finite = (deviation > 0) & tf.math.is_finite(norm)
        self._empty_steps.assign(tf.where(finite, 0, self._empty_steps + 1))
        return GradientEstimate(
            loss=loss,
            gradients=[tf.where(finite, g, tf.zeros_like(g)) for g in gradients],
            variables=perturbation.variables,
            metrics={
                "population_mean": center,
                "population_std": deviation,
                "gradient_norm": tf.where(finite, norm, 0.0),
                "dropped_pairs": 1 - tf.reduce_mean(tf.cast(keep, tf.float32)),
                "skipped_updates": 1 - tf.cast(finite, tf.float32),
            },
            finite=finite,
            touched=perturbation.touched,
        )

    def _log_memory(self, model: StructuredVAE, parameters: FlatParameters) -> None:
        # The mean, the noise, a perturbed copy, its parts, and the accumulators.
        megabytes = 6 * parameters.num_dense * parameters.dtype.size / 2**20
        _LOG.info(
            "NES on %s: %d dense parameters and touched rows of %d tables, %d "
            "evaluations an update; about %.0f MB beside the model, whatever the "
            "population.",
            model.name,
            parameters.num_dense,
            len(parameters.touched),
            self.evaluations_per_step,
            megabytes,
        )

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "population_size": self.population_size,
            "sigma": self.sigma,
            "noise_source": serialize(self.noise_source),
            "fitness_shaping": serialize(self.fitness_shaping),
            "num_latent_samples": self.num_latent_samples,
            "exact_expectation": self.exact_expectation,
            "num_shards": self.num_shards,
            "max_empty_steps": self.max_empty_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NES:
        config = dict(config)
        for name in ("noise_source", "fitness_shaping"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def _difference(losses: Tensor) -> Tensor:
    """Returns u+ - u-, 0 where one of them is not finite."""
    finite = tf.reduce_all(tf.math.is_finite(losses))
    return tf.where(finite, losses[0] - losses[1], 0.0)
