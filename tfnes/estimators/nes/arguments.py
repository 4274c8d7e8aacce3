"""What arguments `NES` takes, and which of them fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfnes.checks import check_integer, check_real
from tfnes.errors import ConfigurationError
from tfnes.estimators.nes.fitness_shaping import LinearShaping
from tfnes.estimators.nes.search_distribution import SearchDistribution

if TYPE_CHECKING:
    from tfnes.estimators.nes.nes import NES

NOISES = ("weights", "activations", "low_rank", "log_potentials")
"""Where the noise may act."""

GRANULARITIES = ("member", "example")
"""What has one noise."""

BASELINES = ("pair_mean", "leave_one_out")
"""What losses count from."""

WITHOUT_RULE = ("weights", "error")
"""What becomes of variables that no rule perturbs."""


def check_population_size(size: Any) -> int:
    """Returns N; raises a `ConfigurationError` unless it is even and at least 2."""
    size = check_integer("NES.population_size", size)
    if size < 2 or size % 2:
        raise ConfigurationError(
            "NES.population_size must be even and at least 2 because samples are "
            f"mirrored. Received: {size}. Use {max(2, size + size % 2)}."
        )
    return size


def check_sigma(sigma: Any) -> Any:
    """Returns sigma: a positive number, a function or a `SearchDistribution`."""
    if isinstance(sigma, SearchDistribution) or callable(sigma):
        return sigma
    hint = "A function of the step or a SearchDistribution does, too."
    return check_real("NES.sigma", sigma, above=0, hint=hint)


def check_combination(nes: NES) -> None:
    """Raises a `ConfigurationError` if arguments do not fit together."""
    if nes.exact_expectation and nes.num_latent_samples > 1:
        raise ConfigurationError(
            "NES.exact_expectation leaves nothing to sample. Received: "
            f"num_latent_samples={nes.num_latent_samples}. Use 1."
        )
    if nes.noise == "weights" and nes.granularity == "example":
        raise ConfigurationError(
            "NES.granularity = 'example' needs noise that acts on what a layer "
            "computes. Received: noise='weights'. Use noise='log_potentials', "
            "'activations' or 'low_rank'."
        )
    if nes.noise == "log_potentials" and nes.granularity == "member":
        raise ConfigurationError(
            "NES.noise = 'log_potentials' acts on the latent of each example. "
            "Received: granularity='member'. Use granularity='example'."
        )
    if nes.baseline == "leave_one_out" and nes.population_size < 4:
        raise ConfigurationError(
            "NES.baseline = 'leave_one_out' needs another pair. Received: "
            f"population_size={nes.population_size}. Use 4 at least."
        )
    if nes.noise != "weights" and not isinstance(nes.fitness_shaping, LinearShaping):
        raise ConfigurationError(
            "NES.fitness_shaping must be 'z_score' or 'identity' unless the noise "
            f"is on the weights. Received: {type(nes.fitness_shaping).__name__} with "
            f"noise={nes.noise!r}."
        )
    if not isinstance(nes.sigma, SearchDistribution):
        return
    name = type(nes.sigma).__name__
    if nes.noise != "weights":
        raise ConfigurationError(
            f"{name} learns the scale of noise on the weights. Received: NES.noise="
            f"{nes.noise!r}. Use noise='weights', or a number or a schedule as sigma."
        )
    if nes.population_size < 4:
        raise ConfigurationError(
            f"{name} compares pairs with each other. Received: NES.population_size="
            f"{nes.population_size}. Use 4 at least."
        )
