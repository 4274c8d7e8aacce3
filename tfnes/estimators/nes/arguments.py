"""What arguments of `NES` fit together."""

from __future__ import annotations

from typing import Any

from tfnes.errors import ConfigurationError
from tfnes.estimators.nes.fitness_shaping import FitnessShaping, LinearShaping
from tfnes.estimators.nes.search_distribution import check_sigma

NOISES = ("weights", "activations", "low_rank", "log_potentials")
"""Where the noise may act."""


def check_arguments(
    *,
    population_size: int,
    sigma: Any,
    noise: str,
    granularity: str,
    rank: int,
    baseline: str,
    without_rule: str,
    shaping: FitnessShaping,
    num_latent_samples: int,
    exact_expectation: bool,
    num_shards: int,
    max_empty_steps: int,
) -> None:
    """Raises a `ConfigurationError` if `NES` cannot work with these arguments."""
    if population_size < 2 or population_size % 2:
        near = max(2, population_size + population_size % 2)
        raise ConfigurationError(
            "NES.population_size must be even and at least 2 because samples are "
            f"mirrored. Received: {population_size}. Use {near}."
        )
    check_sigma(sigma, noise=noise, population_size=population_size)
    for name, value in (
        ("rank", rank),
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
    for name, value, choices in (
        ("noise", noise, NOISES),
        ("granularity", granularity, ("member", "example")),
        ("baseline", baseline, ("pair_mean", "leave_one_out")),
        ("without_rule", without_rule, ("weights", "error")),
    ):
        if value not in choices:
            raise ConfigurationError(
                f"NES.{name} must be one of {choices}. Received: {value!r}."
            )
    if noise == "weights" and granularity == "example":
        raise ConfigurationError(
            "NES.granularity = 'example' needs noise that acts on what a layer "
            "computes. Received: noise='weights'. Use noise='log_potentials', "
            "'activations' or 'low_rank'."
        )
    if noise == "log_potentials" and granularity == "member":
        raise ConfigurationError(
            "NES.noise = 'log_potentials' acts on the latent of each example. "
            "Received: granularity='member'. Use granularity='example'."
        )
    if baseline == "leave_one_out" and population_size < 4:
        raise ConfigurationError(
            "NES.baseline = 'leave_one_out' needs another pair. Received: "
            f"population_size={population_size}. Use 4 at least."
        )
    if noise != "weights" and not isinstance(shaping, LinearShaping):
        raise ConfigurationError(
            "NES.fitness_shaping must be 'z_score' or 'identity' unless the noise "
            f"is on the weights. Received: {type(shaping).__name__} with "
            f"noise={noise!r}."
        )
