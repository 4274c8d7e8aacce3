"""What was perturbed in an evaluation, and its share of the gradient.

The fitness depends on noise E on a weight through U = x E alone, the noise on the
layer's output. So Eq. 6 holds with E[E | U] in the place of w = E: the same mean, less
variance (Rao-Blackwell). For one row x, U = s Z with s = |x| and Z standard normal, and
E[E | U] = x^T Z / s: the share of a use is a product of the inputs and of Z weighted by
the fitness, as in back-propagation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfnes.models.rows import LEADING
from tfnes.typing import Tensor


@dataclasses.dataclass(frozen=True)
class Kernel:
    """Some rows of a variable, `variable[start:stop]`; all of them where None."""

    variable: keras.Variable
    start: int | None = None
    stop: int | None = None

    @classmethod
    def of(cls, kernel: keras.Variable | Kernel) -> Kernel:
        """Returns `kernel`, wrapped if it is a variable."""
        return kernel if isinstance(kernel, Kernel) else cls(kernel)

    @property
    def shape(self) -> list[int]:
        shape = list(self.variable.shape)
        if shape:
            shape[0] = len(range(*slice(self.start, self.stop).indices(shape[0])))
        return shape

    def value(self, dtype: tf.DType | None = None) -> Tensor:
        """Returns the current values."""
        value = tf.convert_to_tensor(self.variable)
        if (self.start, self.stop) != (None, None):
            value = value[self.start : self.stop]
        return value if dtype is None else tf.cast(value, dtype)

    def pad(self, gradient: Tensor) -> Tensor:
        """Returns the gradient of the variable of that of its rows."""
        gradient = tf.cast(tf.reshape(gradient, self.shape), self.variable.dtype)
        if (self.start, self.stop) == (None, None):
            return gradient
        size = self.variable.shape[0]
        first, last, _ = slice(self.start, self.stop).indices(size)
        padding = [[first, size - last]] + [[0, 0]] * (gradient.shape.rank - 1)
        return tf.pad(gradient, padding)


class Coefficients(NamedTuple):
    """The coefficients of one evaluation.

    Attributes:
      each: `[B]` of the examples, or `[]` where all share one noise.
      total: `[]`, their sum: of noise that all examples share.
    """

    each: Tensor
    total: Tensor


Weighted = Sequence[tuple[Any, Coefficients]]
"""The records of one use of one layer, in several evaluations."""


@dataclasses.dataclass
class LinearRecord:
    """A result x W + b had sigma s Z added.

    Attributes:
      kernels: kernel and bias; None where it is not perturbed or not there.
      inputs: `[R, in]` x; with `function` `[B, ...]`.
      noise: `[R, out]` Z.
      scale: `[R]` 1 / s; None: `noise` is divided by s already.
      examples: the example of each row, `LEADING`, or None: of the whole batch.
      function: `(x, W) -> y` in the place of the product; no bias then.
    """

    kernels: tuple[Kernel | None, ...]
    inputs: Tensor
    noise: Tensor
    scale: Tensor | None
    examples: Any
    function: Callable[[Tensor, Tensor], Tensor] | None = None
    key: Any = None

    def cotangent(self, coefficients: Coefficients) -> Tensor:
        """Returns the weighted noise, of the shape of the result."""
        if self.examples is None:
            weights = coefficients.total
        elif self.examples is LEADING:
            weights = coefficients.each
        else:
            weights = tf.gather(coefficients.each, self.examples)
        weights = tf.cast(weights, self.noise.dtype)
        if self.scale is not None:
            weights = weights * self.scale
        if weights.shape.rank:
            ones = [1] * (self.noise.shape.rank - 1)
            weights = tf.reshape(weights, [-1, *ones])
        return weights * self.noise

    @staticmethod
    def shares(weighted: Weighted, *, same: bool) -> Iterator[tuple[Kernel, Tensor]]:
        """Yields the gradients of all evaluations together.

        Args:
          weighted: the records with their coefficients.
          same: whether x is the same in all: then one product does for all.
        """
        first = weighted[0][0]
        cotangents = [record.cotangent(c) for record, c in weighted]
        if first.function is not None:
            kernel = first.kernels[0]
            for (record, _), cotangent in zip(weighted, cotangents, strict=True):
                value = kernel.value(record.inputs.dtype)
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(value)
                    result = record.function(tf.stop_gradient(record.inputs), value)
                yield kernel, tape.gradient(result, value, output_gradients=cotangent)
            return
        if same:
            inputs, cotangent = first.inputs, tf.add_n(cotangents)
        else:
            inputs = tf.concat([record.inputs for record, _ in weighted], 0)
            cotangent = tf.concat(cotangents, 0)
        kernel, bias = first.kernels
        if kernel is not None:
            yield kernel, tf.matmul(inputs, cotangent, transpose_a=True)
        if bias is not None:
            yield bias, tf.reduce_sum(cotangent, 0)


@dataclasses.dataclass
class WeightRecord:
    """A variable had sigma times normal noise added, or rows of it where they are used.

    Attributes:
      kernel: the variable.
      noise: `[B, *shape]` or `[1, *shape]`; `[R, D]` with `places`; for low-rank noise
        the pair A `[B, in, r]`, B `[B, r, out]`.
      sigma: `[]`, what the noise was multiplied by.
      by_example: whether the first axis are the examples.
      examples: `[R]`, the example of each used row; None: the batch's.
      places: `[R]`, which rows were used.
      share: `[R]`, 1 / how often that noise was used.
    """

    kernel: Kernel
    noise: Any
    sigma: Tensor
    by_example: bool
    examples: Tensor | None = None
    places: Tensor | None = None
    share: Tensor | None = None
    key: Any = None

    @staticmethod
    def shares(weighted: Weighted, *, same: bool) -> Iterator[tuple[Kernel, Tensor]]:
        """Yields the gradients, one for each evaluation or one for the pair."""
        del same
        for record, coefficients in weighted:
            c = coefficients.each if record.by_example else coefficients.total
            c = c / tf.cast(record.sigma, c.dtype)
            if record.places is not None:
                if record.by_example:
                    c = tf.gather(c, record.examples)
                rows = (c * record.share)[:, None] * record.noise
                size = record.kernel.shape[0]
                yield (
                    record.kernel,
                    tf.math.unsorted_segment_sum(rows, record.places, size),
                )
                continue
            if isinstance(record.noise, tuple):
                left, right = record.noise
                left = left * tf.reshape(c, [-1, 1, 1])
                yield record.kernel, tf.einsum("bir,bro->io", left, right)
                continue
            flat = tf.reshape(record.noise, [tf.shape(record.noise)[0], -1])
            total = tf.linalg.matvec(flat, tf.reshape(c, [-1]), transpose_a=True)
            yield record.kernel, tf.reshape(total, record.kernel.shape)
