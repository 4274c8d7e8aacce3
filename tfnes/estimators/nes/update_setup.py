"""What one update of `NES` evaluates, and the noise of its members."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from tfnes.estimators.evaluation import example_index
from tfnes.estimators.nes.activation_noise import ActivationNoise
from tfnes.estimators.nes.adaptive_noise import AdaptiveNoise
from tfnes.estimators.nes.fitness import Fitness
from tfnes.estimators.nes.perturbation import Perturbation, WeightNoise
from tfnes.estimators.nes.potential_noise import PotentialNoise
from tfnes.estimators.nes.search_distribution import SearchDistribution
from tfnes.typing import Batch, Seed

if TYPE_CHECKING:
    from tfnes.estimators.nes.nes import NES
    from tfnes.models.structured_vae import StructuredVAE


def set_up_update(
    nes: NES,
    model: StructuredVAE,
    batch: Batch,
    variables: Sequence[keras.Variable],
    *,
    seed: Seed,
    make_fitness: Callable[..., Fitness] = Fitness,
) -> tuple[Fitness, Perturbation]:
    """Returns what evaluates the members, and the noise where `nes.noise` says.

    Evaluate the mean after this: where the noise is on the log-potentials, all is
    evaluated at these.

    Args:
      nes: with `build` called.
      model: its variables hold the mean.
      batch: named tensors, example axis first.
      variables: what is perturbed.
      seed: `[2]` int32 key of the update.
      make_fitness: makes what evaluates the members.
    """
    fitness = make_fitness(
        model,
        batch,
        seed=seed,
        num_latent_samples=nes.num_latent_samples,
        exact_expectation=nes.exact_expectation,
    )
    return fitness, _perturbation(nes, fitness, variables, seed)


def _perturbation(
    nes: NES, fitness: Fitness, variables: Sequence[keras.Variable], seed: Seed
) -> Perturbation:
    sigma, source = nes.sigma, nes.noise_source
    if isinstance(sigma, SearchDistribution):
        with tf.init_scope():
            sigma.build_state(variables)
        return AdaptiveNoise(
            fitness, variables, source=source, seed=seed, distribution=sigma
        )
    if callable(sigma):
        sigma = nes.current_sigma(fitness.model)
    if nes.noise == "weights":
        return WeightNoise(fitness, variables, source=source, seed=seed, sigma=sigma)
    index = None
    if nes.granularity == "example":
        batch = fitness.batch
        index = example_index(
            batch if isinstance(batch, Mapping) else {}, tf.size(fitness.weights)
        )
    if nes.noise == "log_potentials":
        return PotentialNoise(fitness, variables, seed=seed, sigma=sigma, index=index)
    return ActivationNoise(
        fitness,
        variables,
        source=source,
        seed=seed,
        sigma=sigma,
        index=index,
        rank=nes.rank if nes.noise == "low_rank" else None,
        without_rule=nes.without_rule,
    )
