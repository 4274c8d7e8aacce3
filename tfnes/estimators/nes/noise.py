"""Where the Gaussian noise of a population comes from."""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from tfnes import random, registration
from tfnes.checks import check_choice, check_integer, check_seed
from tfnes.errors import ConfigurationError
from tfnes.typing import Seed, Tensor


class NoiseSource(abc.ABC):
    """Gives the w ~ N(0, I) of Eq. 6 as a function of (seed of the update, pair)."""

    def build(self) -> None:  # noqa: B027
        """Prepares what is shared by all updates; nothing by default."""

    @abc.abstractmethod
    def prepare(self, size: int | Tensor, *, seed: Seed) -> Any:
        """Returns what all pairs of one update share, a nest of tensors."""

    @abc.abstractmethod
    def draw(self, prepared: Any, pair: Tensor, *, size: int | Tensor) -> Tensor:
        """Returns the noise of `pair`, `[size]` float32."""

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NoiseSource:
        return cls(**config)


@registration.register("noise")
class FreshNormals(NoiseSource):
    """Independent normals, drawn anew for every pair (`tfnes.random.normal_vector`).

    The number of a coordinate is a function of (seed, update, pair, position among
    the perturbed parameters): the same on every replica and after a restart.
    """

    def prepare(self, size, *, seed):
        return seed

    def draw(self, prepared, pair, *, size):
        if isinstance(size, int):
            return random.normal_vector(size, seed=prepared, index=pair)
        # XLA compiles one kernel for each length: few lengths, at most 1/8 too long.
        return random.normal_vector(random.round_up(size), seed=prepared, index=pair)[
            :size
        ]


@registration.register("noise")
class NoiseTable(NoiseSource):
    """Slices of one table of normals that is drawn once.

    A slice costs nothing, but is an approximation of independent noise. Limits:

    * two slices overlap with probability about 2 d / `size`, d the number of
      perturbed parameters, and then share numbers at shifted coordinates;
    * offsets are multiples of 16, so there are (`size` - d) / 16 different slices;
    * the table takes 4 `size` bytes on every device, shared by all members.

    So take `size` many times d, and compare learning curves with fresh normals.

    Args:
      size: numbers in the table.
      seed: of the table; a run's own seed moves the offsets.
    """

    def __init__(self, *, size: int = 1 << 24, seed: int = 0):
        self.size = check_integer(
            "NoiseTable.size", size, minimum=16, maximum=2**31 - 1
        )
        self.seed = check_seed("NoiseTable.seed", seed)
        self._table: tf.Variable | None = None

    def build(self):
        if self._table is None:
            with tf.init_scope():
                self._table = tf.Variable(
                    random.normal_vector(self.size, seed=random.make_seed(self.seed)),
                    trainable=False,
                    name="noise_table",
                )

    def prepare(self, size, *, seed):
        if isinstance(size, int):
            if size > self.size:
                raise ConfigurationError(
                    f"NoiseTable.size must be at least the {size} perturbed "
                    f"parameters, better many times that. Received: {self.size}. "
                    "Raise NoiseTable.size or use noise_source='fresh'."
                )
        else:
            tf.debugging.assert_less_equal(
                size, self.size, "NoiseTable.size is below the perturbed parameters."
            )
        return seed, self._table.read_value()

    def draw(self, prepared, pair, *, size):
        seed, table = prepared
        choices = (self.size - size) // 16 + 1
        bits, _ = random.threefry2x32(
            seed, tf.cast(pair, tf.uint32), tf.zeros([], tf.uint32)
        )
        offset = tf.cast(tf.cast(bits, tf.int64) % tf.cast(choices, tf.int64), tf.int32)
        return tf.slice(table, [offset * 16], [size])

    def get_config(self):
        return {"size": self.size, "seed": self.seed}


def get(source: str | NoiseSource) -> NoiseSource:
    """Returns the noise source of a name (`"fresh"`, `"table"`) or the object."""
    named = {"fresh": FreshNormals, "table": NoiseTable}
    if isinstance(source, NoiseSource):
        return source
    hint = "A NoiseSource of your own does, too."
    return named[check_choice("NES.noise_source", source, named, hint=hint)]()
