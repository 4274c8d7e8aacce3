"""The perturbed parameters of a model as one flat vector.

One vector means one noise draw and one accumulator for all variables. Of a look-up
table only the rows that the batch touches are in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes.solvers import batching
from tfnes.typing import Tensor, TensorLike

# Slices that start on a multiple of 64 bytes share memory with the vector.
_ALIGNMENT = 16


class FlatParameters:
    """The layout of some variables in one vector, for one batch.

    Dense variables come first, each padded to a multiple of 16 entries; then the
    touched rows of the tables, in order of first appearance. Noise on padding acts on
    nothing. Where shapes must be static (`tfnes.solvers.batching.use_static_shapes`),
    there are as many rows of a table as ids: the touched ones, then padding.

    Args:
      variables: the variables to perturb.
      touched: `(table, ids)`, ids of any shape, repeats allowed; of `variables` that
        are named here only these rows are in the vector.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        touched: Sequence[tuple[keras.Variable, Tensor]] = (),
    ):
        self.variables = list(variables)
        self.dtype = tf.as_dtype(np.result_type(*(v.dtype for v in self.variables)))
        known = {id(variable) for variable in self.variables}
        ids: dict[int, list[Tensor]] = {}
        for table, rows in touched:
            if id(table) in known:
                ids.setdefault(id(table), []).append(tf.reshape(rows, [-1]))
        self._dense = [v for v in self.variables if id(v) not in ids]
        self._rows = [
            _TouchedRows(v, tf.concat(ids[id(v)], 0))
            for v in self.variables
            if id(v) in ids
        ]
        self.touched = [(rows.table, rows.ids) for rows in self._rows]
        self._offsets = []
        self.num_dense = 0
        for variable in self._dense:
            self._offsets.append(self.num_dense)
            self.num_dense += -(-_size(variable) // _ALIGNMENT) * _ALIGNMENT

    @property
    def size(self) -> int | Tensor:
        """Length of the vector; a Python int where there are no tables."""
        return self.num_dense + sum(rows.size for rows in self._rows)

    def values(self) -> Tensor:
        """Returns the current values as one vector."""
        return self.flatten(self.variables)

    def flatten(self, values: Sequence[TensorLike]) -> Tensor:
        """Returns one vector of values of the variables' shapes, padded by 0."""
        value_of = self._by_variable(values)
        pieces = []
        for variable in self._dense:
            size = _size(variable)
            flat = tf.reshape(tf.cast(value_of[id(variable)], self.dtype), [size])
            pieces += [flat, tf.zeros([-size % _ALIGNMENT], self.dtype)]
        for table, ids in self.touched:
            rows = tf.gather(tf.convert_to_tensor(value_of[id(table)]), ids)
            pieces.append(tf.reshape(tf.cast(rows, self.dtype), [-1]))
        return tf.concat(pieces, 0)

    def fill(self, numbers: Sequence[Tensor]) -> Tensor:
        """Returns a vector that holds one number, `[]`, for all of each variable."""
        number_of = self._by_variable(numbers)
        pieces = []
        for variable in self._dense:
            size = -(-_size(variable) // _ALIGNMENT) * _ALIGNMENT
            pieces.append(tf.fill([size], number_of[id(variable)]))
        for rows in self._rows:
            pieces.append(tf.fill([rows.size], number_of[id(rows.table)]))
        return tf.concat([tf.cast(piece, self.dtype) for piece in pieces], 0)

    def means(self, flat: Tensor) -> list[Tensor]:
        """Returns the mean of what belongs to each variable, `[]`, without padding."""
        means = {id(v): tf.reduce_mean(value) for v, value in self._split_dense(flat)}
        for rows, values in self._split_tables(flat):
            means[id(rows.table)] = rows.mean(values)
        return [means[id(variable)] for variable in self.variables]

    def compact(self, flat: Tensor) -> Tensor:
        """Returns a vector without its padding, variable after variable."""
        found = {id(variable): value for variable, value in self._split_dense(flat)}
        for rows, values in self._split_tables(flat):
            found[id(rows.table)] = values
        pieces = [tf.reshape(found[id(v)], [-1]) for v in self.variables]
        return tf.concat(pieces, 0)

    def expand(self, compact: Tensor) -> Tensor:
        """Undoes `compact`, where there are no tables."""
        sizes = [_size(variable) for variable in self.variables]
        parts = tf.split(compact, sizes)
        return self.flatten(
            [
                tf.reshape(part, variable.shape)
                for part, variable in zip(parts, self.variables, strict=True)
            ]
        )

    def _by_variable(self, values: Sequence[Any]) -> dict[int, Any]:
        pairs = zip(self.variables, values, strict=True)
        return {id(variable): value for variable, value in pairs}

    def assignments(self, flat: Tensor) -> list[tuple[keras.Variable, Tensor]]:
        """Returns `(variable, value)` pairs for `keras.StatelessScope`."""
        pairs = self._split_dense(flat)
        for rows, values in self._split_tables(flat):
            old = tf.convert_to_tensor(rows.table)
            pairs.append((rows.table, rows.put(values, old)))
        return pairs

    def gradients(self, flat: Tensor) -> list[Tensor]:
        """Returns one dense gradient for each variable; 0 in rows not touched."""
        found = {id(variable): value for variable, value in self._split_dense(flat)}
        for rows, values in self._split_tables(flat):
            none = tf.zeros(rows.table.shape, values.dtype)
            found[id(rows.table)] = rows.put(values, none)
        return [found[id(variable)] for variable in self.variables]

    def _split_dense(self, flat: Tensor) -> list[tuple[keras.Variable, Tensor]]:
        pairs = []
        for variable, offset in zip(self._dense, self._offsets, strict=True):
            piece = tf.slice(flat, [offset], [_size(variable)])
            value = tf.cast(tf.reshape(piece, variable.shape), variable.dtype)
            pairs.append((variable, value))
        return pairs

    def _split_tables(self, flat: Tensor) -> list[tuple[_TouchedRows, Tensor]]:
        result = []
        offset = self.num_dense
        for rows in self._rows:
            shape = rows.table.shape[1:]
            values = tf.slice(flat, [offset], [rows.size])
            values = tf.reshape(values, tf.concat([[-1], shape], 0))
            values = tf.ensure_shape(values, [rows.ids.shape[0], *shape])
            result.append((rows, tf.cast(values, rows.table.dtype)))
            offset += rows.size
        return result


class _TouchedRows:
    """The rows of a table that a batch touches, each once.

    Args:
      table: `[V, ...]`.
      ids: `[n]`, repeats allowed.
    """

    def __init__(self, table: keras.Variable, ids: Tensor):
        self.table = table
        self._places = None
        if batching.static_shapes():
            self.ids, self._places = _distinct(ids, table.shape[0])
            # `ids` and what belongs to them go on with padding.
            self._count = tf.reduce_max(self._places) + 1
        else:
            self.ids = tf.unique(ids)[0]

    @property
    def size(self) -> int | Tensor:
        """Numbers in these rows."""
        row_size = _size(self.table) // self.table.shape[0]
        return batching.dimension(self.ids, 0) * row_size

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean of `values` of these rows, `[]`."""
        if self._places is None:
            return tf.reduce_mean(values)
        each = tf.reduce_mean(values, list(range(1, values.shape.rank)))
        each = tf.where(tf.range(tf.size(each)) < self._count, each, 0)
        return tf.reduce_sum(each) / tf.cast(self._count, each.dtype)

    def put(self, values: Tensor, into: Tensor) -> Tensor:
        """Returns `into` `[V, ...]` with these rows replaced by `values`."""
        if self._places is None:
            return tf.tensor_scatter_nd_update(into, self.ids[:, None], values)
        touched = tf.reshape(self._places >= 0, [-1] + [1] * (into.shape.rank - 1))
        return tf.where(touched, tf.gather(values, tf.maximum(self._places, 0)), into)


def _distinct(ids: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Returns distinct ids in order of first appearance, in a shape that is static.

    Args:
      ids: `[n]`.
      num_rows: V, more than each of `ids`.

    Returns:
      `[n]`, the distinct ids, then the first one again and again; and `[V]` int32, the
      place of each row of the table among them, -1 where it has none.
    """
    size = ids.shape[0]
    position = tf.range(size)
    first = tf.math.unsorted_segment_min(position, ids, num_rows)
    is_first = tf.gather(first, ids) == position
    rank = tf.cumsum(tf.cast(is_first, tf.int32)) - 1
    # A negative segment is left out.
    distinct = tf.math.unsorted_segment_sum(ids, tf.where(is_first, rank, -1), size)
    distinct = tf.where(position <= rank[-1], distinct, ids[0])
    place = tf.gather(rank, tf.minimum(first, size - 1))
    return distinct, tf.where(first < size, place, -1)


def _size(variable: keras.Variable) -> int:
    return int(np.prod(variable.shape.as_list(), dtype=np.int64))
