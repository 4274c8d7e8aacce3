"""Natural Evolution Strategies with Gaussian noise on the weights (Algorithm 1)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfnes import registration
from tfnes.checks import check_choice, check_flag, check_integer
from tfnes.errors import ConfigurationError
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.evaluation import example_index
from tfnes.estimators.nes import fitness_shaping as shapings
from tfnes.estimators.nes import noise as noises
from tfnes.estimators.nes import (  # noqa: F401 (their rules are registered)
    rules_keras,
    rules_nri,
    rules_parser,
    rules_recurrent,
)
from tfnes.estimators.nes.arguments import (
    BASELINES,
    GRANULARITIES,
    NOISES,
    WITHOUT_RULE,
    check_combination,
    check_population_size,
    check_sigma,
)
from tfnes.estimators.nes.examples import run_examples
from tfnes.estimators.nes.fitness import Fitness
from tfnes.estimators.nes.members import run_members
from tfnes.estimators.nes.memory import check_memory
from tfnes.estimators.nes.population import Population
from tfnes.estimators.nes.replicas import Replicas
from tfnes.estimators.nes.search_distribution import SearchDistribution
from tfnes.estimators.nes.update_setup import set_up_update
from tfnes.models import replication
from tfnes.structures.structure import HasEnumeration, require_ability
from tfnes.typing import Batch, GradientEstimate, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE


@registration.register("estimator")
class NES(GradientEstimator):
    """The gradient of the Gaussian-smoothed negative ELBO, from evaluations alone.

    With k(mu) the mean negative ELBO of a batch at parameters mu (Eq. 2; Eq. 38 where
    there is a KL), NES minimises what k is on average around mu,

        g(mu)      = E_{w ~ N(0, I)} [k(mu + sigma w)]             Eq. 4, of an ELBO 7
        grad g(mu) = E_{w ~ N(0, I)} [w k(mu + sigma w)] / sigma   Eq. 6, of an ELBO 8

    Algorithm 1 estimates the gradient by N evaluations u_i = k(mu + sigma w_i):

        1 / (N sigma) sum_i w_i u_i                                Algorithm 1

    Here w comes in mirrored pairs w, -w (Section 4), all u share the latent noise gamma
    of the update (one draw stands for the expectation in u), and u is z-scored,
    (u - mean(u)) / std(u), before it weights w. Within a pair the mean cancels, and
    the deviation is one number for all. So what is computed,

        1 / (N sigma std(u)) sum over pairs of (u+ - u-) w,

    is exactly the z-scored sum of Algorithm 1, in one pass over the pairs and in memory
    of the order of the parameters: (u+ - u-) w is added up, and divided at the end.

    One pair is evaluated at a time, as two evaluations of the batch: a CPU was slower
    with several side by side, and this takes the least memory. With noise for each
    example a chunk has up to four pairs, as equal as they can be, which are each
    other's baseline and enter the gradient by one matrix product. So there is nothing
    to set, and memory does not grow with N. How much an update holds is logged before
    the first one runs, and one that cannot fit is refused.

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
      sigma: standard deviation of the noise on each parameter: a number, a function
        of the number of updates done, such as a
        `keras.optimizers.schedules.LearningRateSchedule`, or a `SearchDistribution`,
        which learns it (noise on the weights only; the gradient is then the natural
        one, sigma^2 times that of g).
      noise: where the noise acts. `"weights"`: on the parameters, as in the paper.
        `"activations"`: on the outputs of layers, with the law that noise on the
        parameters gives them; the gradient takes the mean of the noise given what
        the layer saw of it, which has the same mean and less variance.
        `"low_rank"`: on the parameters, A B^T / sqrt(rank) for a matrix.
        `"log_potentials"`: on what the encoder says of the parts of the latent, with
        back-propagation through the encoder, which must be differentiable: another
        smoothing, of the loss as a function of the log-potentials.
      granularity: `"member"`: one noise for the batch. `"example"`: every example has
        noise of its own and a fitness of its own, so a small population does.
      rank: of low-rank noise.
      baseline: what losses count from, where that matters (not with noise on the
        weights): `"pair_mean"`, with a bias of O(sigma^2) behind the first layer, or
        `"leave_one_out"`, the mean of other pairs, without bias.
      without_rule: of variables of layers without a rule (`perturbation_rule`), if
        the noise is not on the weights: `"weights"` puts it there for them, one for
        the batch; `"error"`.
      noise_source: of noise on the weights,
        `"fresh"` (independent normals), `"table"` (see `NoiseTable`), or a
        `NoiseSource`.
      fitness_shaping: `"z_score"`, `"identity"` (Eq. 6 as it stands),
        `"centered_ranks"` or `"log_ranks"` (a second pass), or a `FitnessShaping`.
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
      Berliner et al. (2022), Algorithm 1, Eqs. 4-8, 38, 39, Section 4 (mirrored
      sampling). Wierstra et al. (2014), "Natural evolution strategies".
    """

    def __init__(
        self,
        *,
        population_size: int = 100,
        sigma: float | Callable[[Tensor], Tensor] | SearchDistribution = 0.1,
        noise: str = "weights",
        granularity: str = "member",
        rank: int = 1,
        baseline: str = "pair_mean",
        without_rule: str = "weights",
        noise_source: str | noises.NoiseSource = "fresh",
        fitness_shaping: str | shapings.FitnessShaping = "z_score",
        num_latent_samples: int = 1,
        exact_expectation: bool = False,
        num_shards: int = 4,
        max_empty_steps: int = 10,
    ):
        at_least_1 = functools.partial(check_integer, minimum=1)
        self.population_size = check_population_size(population_size)
        self.sigma = check_sigma(sigma)
        self.noise = check_choice("NES.noise", noise, NOISES)
        self.granularity = check_choice("NES.granularity", granularity, GRANULARITIES)
        self.rank = at_least_1("NES.rank", rank)
        self.baseline = check_choice("NES.baseline", baseline, BASELINES)
        self.without_rule = check_choice("NES.without_rule", without_rule, WITHOUT_RULE)
        self.noise_source = noises.get(noise_source)
        self.fitness_shaping = shapings.get(fitness_shaping)
        self.num_latent_samples = at_least_1(
            "NES.num_latent_samples", num_latent_samples
        )
        self.exact_expectation = check_flag("NES.exact_expectation", exact_expectation)
        self.num_shards = at_least_1("NES.num_shards", num_shards)
        self.max_empty_steps = at_least_1("NES.max_empty_steps", max_empty_steps)
        check_combination(self)
        self.evaluations_per_step = self.population_size * self.num_latent_samples

    def build(self, model: StructuredVAE) -> None:
        if self.exact_expectation:
            require_ability(
                model.structure, HasEnumeration, user="NES(exact_expectation=True)"
            )
        self.noise_source.build()

    def build_state(
        self,
        model: StructuredVAE,
        variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        if self._adaptive:
            self.sigma.build_state(
                model.elbo_variables if variables is None else variables
            )

    @property
    def variables(self) -> list[keras.Variable]:
        own = super().variables
        if self._adaptive:
            return [*own, *self.sigma.variables]
        return own

    def current_sigma(self, model: StructuredVAE) -> Tensor:
        """Returns the standard deviation of this update, `[]`; the mean one if many."""
        if self._adaptive:
            return self.sigma.mean_sigma()
        if callable(self.sigma):
            return tf.cast(self.sigma(model.step.value), tf.float32)
        return tf.constant(self.sigma, tf.float32)

    def metric_names(self, model: StructuredVAE) -> tuple[str, ...]:
        del model
        return (
            "population_mean",
            "population_std",
            "gradient_norm",
            "dropped_pairs",
            *(("sigma",) if callable(self.sigma) or self._adaptive else ()),
        )

    @property
    def _adaptive(self) -> bool:
        return isinstance(self.sigma, SearchDistribution)

    def why_skipped(self) -> str:
        return (
            "all losses of the population were NaN, infinite, or equal, or the "
            "learning rate was not finite. Expected finite losses that differ. Lower "
            f"NES.sigma (now {self.sigma}) or the learning rate, or bound the "
            "log-probabilities of the model."
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
        if self.gathers_replicas:
            replicas = Replicas(num_shards=self.num_shards)
            batch = replicas.gather_batch(batch)
        elif replication.num_replicas() > 1 and isinstance(batch, Mapping):
            size = tf.shape(tf.nest.flatten(batch)[0])[0]
            batch = {**batch, "index": example_index(batch, size)}
        fitness, perturbation = set_up_update(
            self, model, batch, variables, seed=seed, make_fitness=make_fitness
        )
        center = fitness.at_mean()
        loss = fitness.mean(center)
        if self.gathers_replicas:
            outcome = run_members(
                perturbation,
                fitness,
                center=loss,
                population=Population(self.population_size // 2, replicas=replicas),
                population_size=self.population_size,
                shaping=self.fitness_shaping,
                leave_one_out=self.baseline == "leave_one_out" or self._adaptive,
            )
        else:
            outcome = run_examples(
                perturbation,
                fitness,
                center=center,
                population_size=self.population_size,
                standardize=isinstance(self.fitness_shaping, shapings.ZScore),
                leave_one_out=self.baseline == "leave_one_out",
            )
        gradients = outcome.gradients
        norm = tf.linalg.global_norm(gradients)
        finite = (outcome.deviation > 0) & tf.math.is_finite(norm)
        metrics = {
            "population_mean": outcome.mean,
            "population_std": outcome.deviation,
            "gradient_norm": tf.where(finite, norm, 0.0),
            "dropped_pairs": outcome.dropped,
        }
        if "sigma" in self.metric_names(model):
            metrics["sigma"] = self.current_sigma(model)
        perturbation.adapt(finite)
        evaluations = self.evaluations_per_step
        check_memory(model, outcome.gradients, evaluations=evaluations)
        return GradientEstimate(
            loss=loss,
            gradients=[
                tf.where(finite, g, tf.zeros_like(g)) for g in outcome.gradients
            ],
            variables=perturbation.variables,
            metrics=metrics,
            finite=finite,
            touched=perturbation.touched,
        )

    @property
    def gathers_replicas(self) -> bool:
        """With noise of its own for each example nothing is gathered."""
        return self.granularity == "member"

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        sigma = self.sigma
        if self._adaptive or callable(sigma):
            sigma = serialize(sigma)
        return {
            "population_size": self.population_size,
            "sigma": sigma,
            "noise": self.noise,
            "granularity": self.granularity,
            "rank": self.rank,
            "baseline": self.baseline,
            "without_rule": self.without_rule,
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
        for name in ("sigma", "noise_source", "fitness_shaping"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
