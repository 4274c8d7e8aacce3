"""The perturbed parameters of a model as one flat vector.

One vector means one noise draw and one accumulator for all variables. Of a look-up
table only the rows that the batch touches are in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfnes.typing import Tensor

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
        pieces = []
        for variable in self._dense:
            size = _size(variable)
            flat = tf.reshape(tf.cast(variable, self.dtype), [size])
            pieces += [flat, tf.zeros([-size % _ALIGNMENT], self.dtype)]
        for table, ids in self.touched:
            rows = tf.gather(tf.convert_to_tensor(table), ids)
            pieces.append(tf.reshape(tf.cast(rows, self.dtype), [-1]))
        return tf.concat(pieces, 0)

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
