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

from tfnes.typing import Tensor, TensorLike

# Slices that start on a multiple of 64 bytes share memory with the vector.
_ALIGNMENT = 16


class FlatParameters:
    """The layout of some variables in one vector, for one batch.

    Dense variables come first, each padded to a multiple of 16 entries; then the
    touched rows of the tables. Noise on padding acts on nothing.

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
        self.touched = [
            (v, tf.unique(tf.concat(ids[id(v)], 0))[0])
            for v in self.variables
            if id(v) in ids
        ]
        self._offsets = []
        self.num_dense = 0
        for variable in self._dense:
            self._offsets.append(self.num_dense)
            self.num_dense += -(-_size(variable) // _ALIGNMENT) * _ALIGNMENT

    @property
    def size(self) -> int | Tensor:
        """Length of the vector; a Python int where there are no tables."""
        size = self.num_dense
        for table, ids in self.touched:
            size += tf.size(ids) * (_size(table) // table.shape[0])
        return size

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
        for table, ids in self.touched:
            size = tf.size(ids) * (_size(table) // table.shape[0])
            pieces.append(tf.fill([size], number_of[id(table)]))
        return tf.concat([tf.cast(piece, self.dtype) for piece in pieces], 0)

    def pieces(self, flat: Tensor) -> list[Tensor]:
        """Returns what of a vector belongs to each variable; touched rows of tables."""
        found = {id(variable): value for variable, value in self._split_dense(flat)}
        for table, _, rows in self._split_tables(flat):
            found[id(table)] = rows
        return [found[id(variable)] for variable in self.variables]

    def compact(self, flat: Tensor) -> Tensor:
        """Returns a vector without its padding, variable after variable."""
        return tf.concat([tf.reshape(p, [-1]) for p in self.pieces(flat)], 0)

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
        for table, ids, rows in self._split_tables(flat):
            value = tf.tensor_scatter_nd_update(
                tf.convert_to_tensor(table), ids[:, None], rows
            )
            pairs.append((table, value))
        return pairs

    def gradients(self, flat: Tensor) -> list[Tensor]:
        """Returns one dense gradient for each variable; 0 in rows not touched."""
        found = {id(variable): value for variable, value in self._split_dense(flat)}
        for table, ids, rows in self._split_tables(flat):
            found[id(table)] = tf.scatter_nd(ids[:, None], rows, table.shape)
        return [found[id(variable)] for variable in self.variables]

    def _split_dense(self, flat: Tensor) -> list[tuple[keras.Variable, Tensor]]:
        pairs = []
        for variable, offset in zip(self._dense, self._offsets, strict=True):
            piece = tf.slice(flat, [offset], [_size(variable)])
            value = tf.cast(tf.reshape(piece, variable.shape), variable.dtype)
            pairs.append((variable, value))
        return pairs

    def _split_tables(
        self, flat: Tensor
    ) -> list[tuple[keras.Variable, Tensor, Tensor]]:
        result = []
        offset = self.num_dense
        for table, ids in self.touched:
            size = tf.size(ids) * (_size(table) // table.shape[0])
            piece = tf.slice(flat, [offset], [size])
            rows = tf.reshape(piece, tf.concat([[-1], table.shape[1:]], 0))
            rows = tf.ensure_shape(rows, [None, *table.shape[1:]])
            result.append((table, ids, tf.cast(rows, table.dtype)))
            offset += size
        return result


def _size(variable: keras.Variable) -> int:
    return int(np.prod(variable.shape.as_list(), dtype=np.int64))
