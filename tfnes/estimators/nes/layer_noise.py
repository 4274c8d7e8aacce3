"""Noise on what the layers of one evaluation compute: the functions for rules.

A rule (see `rules`) rewrites a layer's call with the functions of `LayerNoise`. Each
adds sigma times the noise to the layer's result, and records what the gradient needs
once the fitness of the evaluation is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes.estimators.nes.layer_call import LayerCall
from tfnes.estimators.nes.records import Kernel, LinearRecord, WeightRecord
from tfnes.models.rows import LEADING, current_positions, current_rows
from tfnes.typing import Tensor

MOST_SHARED_POSITIONS = 8
"""Up to so many positions of one example share one noise on the weights."""

_JITTER = 1e-6


class LayerNoise(LayerCall):
    """The noise of one call of one layer.

    Args:
      evaluation: which this call is a part of.
      number: of the layer, keys the noise.
    """

    def dense(
        self,
        x: Tensor,
        kernel: keras.Variable | Kernel,
        bias: keras.Variable | None = None,
        *,
        rows: Any = LEADING,
    ) -> Tensor:
        """Returns x W + b with noise on W and b, `[..., out]` for x `[..., in]`.

        With x of rank 2 each row has noise of its own, for its example (or one noise
        for the batch); of higher rank, x `[B, ..., in]` has several positions of one
        example. See the module `rules` for which noise they share.

        Args:
          x: the inputs.
          kernel: `[in, out]`, or rows of a variable (`Kernel`).
          bias: `[out]`, or None.
          rows: as in `example_rows`; what the model declared where not given.
        """
        kernel = Kernel.of(kernel)
        y = tf.matmul(x, kernel.value(x.dtype))
        if bias is not None:
            y = tf.nn.bias_add(y, tf.cast(tf.convert_to_tensor(bias), x.dtype))
        if not self.perturbs(kernel) and not self.perturbs(bias):
            return y
        if rows is LEADING:
            rows = current_rows()
        if self._settings.rank is not None:
            noise = self._low_rank(x, kernel, bias, rows)
        elif not self.by_example:
            noise = self._of_batch(x, kernel, bias)
        elif x.shape.rank > 2 and _product(x.shape[1:-1]) <= MOST_SHARED_POSITIONS:
            noise = self._of_positions(x, kernel, bias, rows)
        else:
            flat = tf.reshape(x, [-1, x.shape[-1]])
            noise = self._of_rows(flat, kernel, bias, _repeat(rows, x))
            noise = tf.reshape(noise, tf.shape(y))
        return self._add(y, noise)

    def weight(self, variable: keras.Variable | Kernel) -> Tensor:
        """Returns a variable with direct noise, `[B, *shape]` or `[1, *shape]`.

        Each example has its own values, or all have the same: the noise of the
        definition, for vectors and small matrices.
        """
        kernel = Kernel.of(variable)
        value = kernel.value()[None]
        if not self.perturbs(kernel):
            return value
        shape = kernel.shape
        index = self._settings.index if self.by_example else tf.zeros([1], tf.int32)
        noise = self._normals(_product(shape), index=index)
        noise = tf.reshape(noise, [-1, *shape])
        sigma = self._sigma(kernel)
        self._record(WeightRecord(kernel, noise, sigma, by_example=self.by_example))
        return self._add(value, sigma * tf.cast(noise, value.dtype))

    def gather(
        self,
        table: keras.Variable,
        ids: Tensor,
        *,
        rows: Any = LEADING,
    ) -> Tensor:
        """Returns rows of a look-up table with direct noise, `[*ids.shape, D]`.

        A row that one example uses twice has the same noise at both places.

        Args:
          table: `[V, D]`.
          ids: `[B, ...]` integers.
          rows: as in `example_rows`; what the model declared where not given.
        """
        values = tf.gather(tf.convert_to_tensor(table), ids)
        if not self.perturbs(table):
            return values
        if rows is LEADING:
            rows = current_rows()
        flat = tf.reshape(tf.cast(ids, tf.int64), [-1])
        shape = [tf.size(flat), *table.shape[1:]]
        if self.by_example:
            examples = self._examples(_repeat(rows, values), ids)
            index = tf.gather(self._settings.index, examples)
        else:
            examples, index = None, tf.zeros_like(flat)
        noise = self._normals(_product(table.shape[1:]), index=index, offset=flat)
        key = flat
        if examples is not None:
            key += tf.cast(examples, tf.int64) * table.shape[0]
        # How often each key occurs, without a shape that depends on it.
        ordered = tf.sort(key)
        first, last = (
            tf.searchsorted(ordered, key, side) for side in ("left", "right")
        )
        share = 1 / tf.cast(last - first, tf.float32)
        noise = tf.reshape(noise, shape)
        self._record(
            WeightRecord(
                Kernel.of(table),
                noise,
                self._sigma(table),
                by_example=self.by_example,
                examples=examples,
                places=flat,
                share=share,
            )
        )
        noise = tf.cast(tf.reshape(noise, tf.shape(values)), values.dtype)
        return self._add(values, self._sigma(table) * noise)

    def linear_map(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        kernel: keras.Variable,
    ) -> Tensor:
        """Returns `function(x, W)`, linear in both, with noise on W.

        Every entry of the result is a sum of products of one x and one weight each.
        With noise by example, every entry of the result has noise of its own, with the
        variance that it has from noise on W (per position); else W itself has noise.

        Args:
          function: `(x, W) -> y`, y `[B, ...]`.
          x: `[B, ...]`.
          kernel: the variable W.
        """
        value = tf.cast(tf.convert_to_tensor(kernel), x.dtype)
        if not self.perturbs(kernel):
            return function(x, value)
        if not self.by_example or self._settings.rank is not None:
            return function(x, tf.cast(self.weight(kernel), x.dtype)[0])
        y = function(x, value)
        norms = tf.sqrt(function(tf.square(x), tf.ones_like(value)))
        norms *= self._sigma(kernel)
        count, positions = tf.shape(y)[0], tf.reduce_prod(tf.shape(y)[1:-1])
        noise = self._normals(
            y.shape[-1],
            index=tf.repeat(self._settings.index, positions),
            offset=tf.tile(tf.range(positions), [count]),
        )
        noise = tf.reshape(noise, tf.shape(y))
        inverse = tf.math.divide_no_nan(1.0, norms)
        record = LinearRecord(
            kernels=(Kernel.of(kernel),),
            inputs=x,
            noise=tf.cast(noise, y.dtype) * inverse,
            scale=None,
            examples=LEADING,
            function=function,
        )
        self._record(record)
        return self._add(y, norms * tf.cast(noise, y.dtype))

    def on_weights(self, layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        """Returns the layer's own call with direct noise on its weights.

        For one noise for the batch, where the rows of a product are not known at once.

        Args:
          layer: whose rule this is a part of.
          *args: of its call.
          **kwargs: of its call.
        """
        values = [(v, self.weight(v)[0]) for v in layer.trainable_variables]
        with keras.StatelessScope(values):
            return type(layer).call(layer, *args, **kwargs)

    # The forms of noise on x W -------------------------------------------------------

    def _of_rows(self, x, kernel, bias, rows) -> Tensor:
        """Each row by itself: U = |x| Z, and E[E | U] = x^T Z / |x|."""
        examples = self._examples(rows, x)
        index, offset = self._settings.index, None
        if rows is not LEADING:
            index = tf.gather(index, examples)
            offset = current_positions()
        if rows is not LEADING and offset is None:
            # Tells the rows of one example apart by their place in the batch.
            offset = tf.range(tf.shape(x)[0]) - tf.gather(_first_rows(rows), examples)
        noise = tf.cast(
            self._normals(kernel.shape[-1], index=index, offset=offset), x.dtype
        )
        deviation = self.deviation(tf.reduce_sum(tf.square(x), -1), kernel, bias)
        self.record(x, (kernel, bias), noise, deviation, rows=rows)
        return deviation[:, None] * noise

    def _of_positions(self, x, kernel, bias, rows) -> Tensor:
        """One noise on W for an example: U = L Z, E[E | U] = x^T L^-T Z."""
        x = tf.reshape(x, [-1, _product(x.shape[1:-1]), x.shape[-1]])
        positions, units = x.shape[1], kernel.shape[-1]
        examples = self._examples(rows, x)
        index = tf.gather(self._settings.index, examples)
        noise = self._normals(positions * units, index=index)
        noise = tf.cast(tf.reshape(noise, [-1, positions, units]), x.dtype)
        product, dual = self._gram(x, kernel, bias, noise)
        flat = tf.reshape(x, [-1, x.shape[-1]])
        dual = tf.reshape(dual, [-1, units])
        self.record(
            flat, (kernel, bias), dual, None, rows=tf.repeat(examples, positions)
        )
        return product

    def _of_batch(self, x, kernel, bias) -> Tensor:
        """One noise on W for the batch."""
        size, units = x.shape[-1], kernel.shape[-1]
        flat = tf.reshape(x, [-1, size])
        rows = flat.shape[0]
        if rows is None or rows > size:
            noise = 0.0
            if self.perturbs(kernel):
                noise += tf.matmul(x, self._direct(kernel, x.dtype))
            if self.perturbs(bias):
                noise += self._direct(Kernel.of(bias), x.dtype)
            return tf.broadcast_to(noise, tf.concat([tf.shape(x)[:-1], [units]], 0))
        noise = tf.cast(self._normals(units, index=tf.range(rows)), x.dtype)
        product, dual = self._gram(flat[None], kernel, bias, noise[None])
        self.record(flat, (kernel, bias), dual[0], None)
        return product[0]

    def _direct(self, kernel: Kernel, dtype) -> Tensor:
        """Returns sigma E and records it."""
        noise = self._normals(_product(kernel.shape), index=tf.zeros([1], tf.int32))
        noise = tf.reshape(noise, kernel.shape)
        sigma = self._sigma(kernel)
        self._record(WeightRecord(kernel, noise[None], sigma, by_example=False))
        return sigma * tf.cast(noise, dtype)

    def _gram(self, x, kernel, bias, noise) -> tuple[Tensor, Tensor]:
        """Returns L Z and L^-T Z with L L^T the covariance of the positions."""
        gram = tf.zeros([], x.dtype)
        if self.perturbs(kernel):
            square = tf.square(self._sigma(kernel))
            gram += square * tf.matmul(x, x, transpose_b=True)
        if self.perturbs(bias):
            gram += tf.square(self._sigma(bias))
        if not self.perturbs(kernel):
            gram += tf.zeros_like(tf.matmul(x, x, transpose_b=True))
        # A little noise of its own on each position: the factor exists whatever the
        # positions, and the estimate stays exact for what is then evaluated.
        diagonal = tf.linalg.diag_part(gram)
        more = _JITTER * tf.reduce_mean(diagonal, -1, keepdims=True) + 1e-12
        factor = tf.linalg.cholesky(tf.linalg.set_diag(gram, diagonal + more))
        dual = tf.linalg.triangular_solve(factor, noise, lower=True, adjoint=True)
        return tf.matmul(factor, noise), dual

    def _low_rank(self, x, kernel, bias, rows) -> Tensor:
        """W + sigma A B^T / sqrt(rank) with normal A, B."""
        rank, (size, units) = self._settings.rank, kernel.shape
        by_example = self.by_example
        index = self._settings.index if by_example else tf.zeros([1], tf.int32)
        result = tf.zeros([], x.dtype)
        examples = None
        if by_example and rows is not LEADING:
            examples = rows
        flat = x if x.shape.rank > 2 or not by_example else x[:, None]

        def spread(values: Tensor) -> Tensor:
            values = tf.cast(values, x.dtype)
            if not by_example:
                return values[0]
            values = values if examples is None else tf.gather(values, examples)
            middle = [1] * (flat.shape.rank - 3)
            shape = tf.shape(values)
            return tf.reshape(values, tf.concat([shape[:1], middle, shape[1:]], 0))

        if self.perturbs(kernel):
            left = self._normals(size * rank, index=index)
            left = tf.reshape(left, [-1, size, rank])
            right = self._normals(rank * units, index=index)
            right = tf.reshape(right, [-1, rank, units]) / np.sqrt(rank)
            sigma = self._sigma(kernel)
            self._record(WeightRecord(kernel, (left, right), sigma, by_example))
            product = tf.matmul(tf.matmul(flat, spread(left)), spread(right))
            product = product[:, 0] if flat.shape.rank > x.shape.rank else product
            result += sigma * product
        if self.perturbs(bias):
            noise = self._normals(units, index=index)
            sigma = self._sigma(bias)
            self._record(WeightRecord(Kernel.of(bias), noise, sigma, by_example))
            extra = spread(noise[:, None])
            extra = extra[:, 0] if flat.shape.rank > x.shape.rank else extra
            result += sigma * extra
        return result


def _product(shape: Sequence[int | None]) -> float | int:
    """Returns the number of entries; infinity where it is not known."""
    if any(extent is None for extent in shape):
        return float("inf")
    return int(np.prod(shape, dtype=np.int64))


def _repeat(rows: Any, x: Tensor) -> Any:
    """Returns the example of each row of x `[B, ..., in]` flattened to `[R, in]`."""
    if x.shape.rank == 2 or rows is None:
        return rows
    if rows is LEADING:
        rows = tf.range(tf.shape(x)[0])
    return tf.repeat(rows, tf.reduce_prod(tf.shape(x)[1:-1]))


def _first_rows(rows: Tensor) -> Tensor:
    """Returns the first row of each example, `[B]`."""
    count = tf.shape(rows)[0]
    return tf.math.unsorted_segment_min(tf.range(count), rows, tf.reduce_max(rows) + 1)
