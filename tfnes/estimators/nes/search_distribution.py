"""Search distributions that learn their own scale: SNES, one sigma a layer, xNES.

The noise of `NES` is N(0, sigma^2 I) with a sigma that is given. Here it is
N(0, A A^T) with a factor A that follows the natural gradient of the expected fitness,
from the same mirrored evaluations that move the mean.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes.checks import check_integer, check_optional, check_real
from tfnes.errors import ConfigurationError
from tfnes.estimators.nes.parameters import FlatParameters
from tfnes.registration import register
from tfnes.typing import Tensor


class SearchDistribution(tf.__internal__.tracking.AutoTrackable, abc.ABC):
    """A Gaussian whose scale is learned; given to `NES` in the place of `sigma`.

    With w ~ N(0, I) the members are mu + A w and mu - A w. With shaped losses s, the
    mean of a pair's two counted from that of the other pairs, the natural gradients are

        of mu    A * 1/N sum over members of s w
        of A     1/N sum over members of s (w w^T - I), or what of it A has

    so a subclass says what A is and what of w w^T - I it uses (`statistic`). NES gives
    the first line to the optimizer: `SGD(learning_rate=1.0)` makes the update of the
    papers, Adam is told the same direction in another unit. The second line moves A
    at once, by `learning_rate` / 2 on a logarithmic scale.

    The noise must be on the weights. A skipped update leaves A as it is, a pair that is
    not finite counts in neither line. The state is kept by the estimator, and saved and
    restored with it.

    Args:
      sigma: standard deviation at the start.
      learning_rate: of the scale; None: the papers' default for so many parameters.
      min_sigma: the standard deviation stays above it.
      max_sigma: and below this.

    Raises:
      ConfigurationError: if an argument is out of range.
    """

    def __init__(
        self,
        *,
        sigma: float = 0.1,
        learning_rate: float | None = None,
        min_sigma: float = 1e-4,
        max_sigma: float = 10.0,
    ):
        name = type(self).__name__
        self.learning_rate = check_optional(
            f"{name}.learning_rate", learning_rate, check_real, above=0
        )
        self.min_sigma = check_real(f"{name}.min_sigma", min_sigma, above=0)
        self.max_sigma = check_real(
            f"{name}.max_sigma", max_sigma, minimum=self.min_sigma
        )
        self.sigma = check_real(
            f"{name}.sigma",
            sigma,
            minimum=self.min_sigma,
            maximum=self.max_sigma,
            hint="The bounds are min_sigma and max_sigma.",
        )
        self._owners: list[int] | None = None
        self._log_sigma: list[keras.Variable] = []

    # What a subclass gives -----------------------------------------------------------

    @abc.abstractmethod
    def default_learning_rate(self, size: int) -> float:
        """Returns the papers' learning rate for `size` parameters."""

    @abc.abstractmethod
    def create(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the state for these variables."""

    @abc.abstractmethod
    def transform(self, vector: Tensor, parameters: FlatParameters) -> Tensor:
        """Returns A times a flat vector."""

    @abc.abstractmethod
    def statistic(self, draw: Tensor, parameters: FlatParameters) -> list[Tensor]:
        """Returns what A uses of w w^T - I."""

    @abc.abstractmethod
    def adapt(
        self, total: list[Tensor], parameters: FlatParameters, *, finite: Tensor
    ) -> None:
        """Moves A.

        Args:
          total: 1/N times the sum of shaped losses times `statistic`.
          parameters: the layout of the update.
          finite: where False, nothing changes.
        """

    # What all share ------------------------------------------------------------------

    def build_state(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the state once; afterwards it must be for the same variables.

        Raises:
          ConfigurationError: if it is for others.
        """
        owners = [id(variable) for variable in variables]
        if self._owners is None:
            self._rate = self.learning_rate or self.default_learning_rate(
                sum(math.prod(variable.shape) for variable in variables)
            )
            self.create(variables)
            self._owners = owners
        elif self._owners != owners:
            raise ConfigurationError(
                f"{type(self).__name__} has learned the scale of "
                f"{len(self._owners)} variables, and now {len(owners)} others are "
                "perturbed. Make a new one for another model, or for another choice of "
                "what is trainable."
            )

    @property
    def variables(self) -> list[keras.Variable]:
        """The state."""
        return list(self._log_sigma)

    def mean_sigma(self) -> Tensor:
        """Returns the geometric mean of the standard deviations, `[]`."""
        logs = [tf.reduce_mean(tf.cast(v, tf.float32)) for v in self._log_sigma]
        sizes = [float(math.prod(v.shape)) for v in self._log_sigma]
        weighted = [log * size for log, size in zip(logs, sizes, strict=True)]
        return tf.exp(tf.add_n(weighted) / sum(sizes))

    def _add_log_sigma(self, shape: Sequence[int], dtype: str) -> None:
        self._log_sigma.append(
            _state(math.log(self.sigma), shape=shape, dtype=dtype, name="log_sigma")
        )

    def _move(self, variable: keras.Variable, change: Tensor, finite: Tensor) -> None:
        """Adds to a logarithm of sigma, within the bounds."""
        value = tf.clip_by_value(
            variable + tf.cast(change, variable.dtype),
            math.log(self.min_sigma),
            math.log(self.max_sigma),
        )
        variable.assign(tf.where(finite, value, variable))

    def get_config(self) -> dict[str, Any]:
        return {
            "sigma": self.sigma,
            "learning_rate": self.learning_rate,
            "min_sigma": self.min_sigma,
            "max_sigma": self.max_sigma,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SearchDistribution:
        return cls(**config)


@register("search_distribution")
class SeparableSigma(SearchDistribution):
    """A sigma for each parameter: SNES.

        log sigma_i <- log sigma_i - rate/2 * 1/N sum of s (w_i^2 - 1)

    Memory of the order of the parameters, one pass. Of look-up tables only the rows
    that a batch touches move. The default rate is (3 + log d) / (5 sqrt(d)).

    Example:

        >>> import tfnes
        >>> tfnes.estimators.NES(sigma=tfnes.estimators.SeparableSigma(sigma=0.1))
        ... # doctest: +ELLIPSIS
        <tfnes.estimators.nes.nes.NES object at ...>

    References:
      Wierstra et al. 2014, "Natural evolution strategies", Algorithm 6 and Table 1.
    """

    def default_learning_rate(self, size):
        return (3 + math.log(size)) / (5 * math.sqrt(size))

    def create(self, variables):
        for variable in variables:
            self._add_log_sigma(variable.shape, variable.dtype)

    def transform(self, vector, parameters):
        return tf.exp(parameters.flatten(self._log_sigma)) * vector

    def statistic(self, draw, parameters):
        return [tf.square(draw) - 1]

    def adapt(self, total, parameters, *, finite):
        changes = parameters.gradients(-0.5 * self._rate * total[0])
        for variable, change in zip(self._log_sigma, changes, strict=True):
            self._move(variable, change, finite)


@register("search_distribution")
class LayerSigma(SearchDistribution):
    """A sigma for each variable of the model: `SeparableSigma` with tied entries.

        log sigma_v <- log sigma_v - rate/2 * 1/N sum of s m,
        m = mean over the entries i of v of (w_i^2 - 1),

    which is the natural gradient of a sigma that the entries of v share. One number a
    variable is kept, in one pass. The mean over many entries has little noise, so the
    default rate is 1.

    References:
      Wierstra et al. 2014, "Natural evolution strategies", section 3.5.
    """

    def default_learning_rate(self, size):
        del size
        return 1.0

    def create(self, variables):
        for variable in variables:
            self._add_log_sigma((), variable.dtype)

    def transform(self, vector, parameters):
        sigmas = [tf.exp(tf.convert_to_tensor(log)) for log in self._log_sigma]
        return parameters.fill(sigmas) * vector

    def statistic(self, draw, parameters):
        return [mean - 1 for mean in parameters.means(tf.square(draw))]

    def adapt(self, total, parameters, *, finite):
        for variable, value in zip(self._log_sigma, total, strict=True):
            self._move(variable, -0.5 * self._rate * value, finite)


@register("search_distribution")
class FullCovariance(SearchDistribution):
    """Any covariance sigma^2 B B^T: xNES, for models of few parameters.

    With M = 1/N sum of s (w w^T - I) over d parameters and T = trace(M) / d,

        log sigma <- log sigma - rate/2 T
        B <- B expm(-rate/2 (M - T I))

    It needs d^2 numbers, d^2 operations a member and d^3 an update. Look-up tables of
    which a batch touches some rows only cannot be perturbed. The default rate is
    (9 + 3 log d) / (5 d sqrt(d)). The bounds are those of sigma.

    Args:
      max_size: the most parameters that it is made for.
      **kwargs: of `SearchDistribution`.

    Raises:
      ConfigurationError: when there are more parameters, or tables.

    References:
      Glasmachers et al. 2010, "Exponential natural evolution strategies". Wierstra et
      al. 2014, Algorithm 5 and Table 1 (with B of the members, mu + sigma B w).
    """

    def __init__(self, *, max_size: int = 1000, **kwargs):
        super().__init__(**kwargs)
        self.max_size = check_integer(
            f"{type(self).__name__}.max_size", max_size, minimum=1
        )

    def default_learning_rate(self, size):
        return (9 + 3 * math.log(size)) / (5 * size * math.sqrt(size))

    def create(self, variables):
        size = sum(math.prod(variable.shape) for variable in variables)
        if size > self.max_size:
            raise ConfigurationError(
                f"FullCovariance.max_size is {self.max_size}, and {size} parameters "
                f"are perturbed: their covariance has {size**2:,} numbers. Use "
                "SeparableSigma or LayerSigma, or freeze layers."
            )
        dtype = variables[0].dtype
        self._add_log_sigma((), dtype)
        self._factor = _state(tf.eye(size), shape=(size, size), dtype=dtype, name="B")

    @property
    def variables(self):
        return [*self._log_sigma, self._factor] if self._log_sigma else []

    def transform(self, vector, parameters):
        if parameters.touched:
            tables = ", ".join(table.path for table, _ in parameters.touched)
            raise ConfigurationError(
                f"FullCovariance perturbs all of a variable, and of {tables} a batch "
                "touches some rows. Use SeparableSigma or LayerSigma."
            )
        sigma = tf.exp(tf.convert_to_tensor(self._log_sigma[0]))
        moved = sigma * tf.linalg.matvec(self._factor, parameters.compact(vector))
        return parameters.expand(moved)

    def statistic(self, draw, parameters):
        w = parameters.compact(draw)
        return [w[:, None] * w - tf.eye(tf.size(w), dtype=w.dtype)]

    def adapt(self, total, parameters, *, finite):
        (matrix,) = total
        size = matrix.shape[0]
        scale = tf.linalg.trace(matrix) / size
        shape = matrix - scale * tf.eye(size, dtype=matrix.dtype)
        # Symmetric but for rounding.
        shape = 0.5 * (shape + tf.transpose(shape))
        shape = tf.where(finite, shape, tf.zeros_like(shape))
        moved = tf.matmul(self._factor, tf.linalg.expm(-0.5 * self._rate * shape))
        self._factor.assign(tf.where(finite, moved, self._factor))
        self._move(self._log_sigma[0], -0.5 * self._rate * scale, finite)

    def get_config(self):
        return {**super().get_config(), "max_size": self.max_size}


def _state(value, *, shape: Sequence[int], dtype: str, name: str) -> keras.Variable:
    def initializer(shape, dtype):
        return tf.broadcast_to(tf.cast(value, dtype), shape)

    return keras.Variable(
        initializer,
        shape=tuple(shape),
        dtype=dtype,
        trainable=False,
        aggregation="only_first_replica",
        name=name,
    )
