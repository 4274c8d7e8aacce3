"""The decoder of Neural Relational Inference: how the next positions come about."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes.registration import register
from tfnes.solvers import batching
from tfnes.typing import Tensor

_CHUNK_FLOATS = 2**22


@register("layer")
class InteractionDecoder(keras.layers.Layer):
    """An interaction network with two edge types, 0 = "no edge" and 1 = "edge".

    From positions x of one time to those of the next, with ReLU layers throughout:

        m_jk = (1 - z_jk) g_0([x_j, x_k]) + z_jk g_1([x_j, x_k])
        y_k = x_k + f([x_k, sum_{j != k} m_jk])

    g_0 and g_1 have two layers, f has three (the last one linear). Both types send
    messages, or with `skip_first` edges alone: g_0 = 0, there are no such weights.
    Weights and biases start uniform within 1 / sqrt(inputs).

    The first layer of g_t is applied to vertices and added up over pairs. For a hard
    latent with a known number of edges, each message is computed for its own type
    alone, which halves the work; a relaxed latent needs both types.

    Args:
      hidden_units: width of all layers.
      skip_first: "no edge" sends no message, as in the code of Kipf et al. and an
        option in that of Paulus et al.

    References:
      Kipf et al. 2018, "Neural relational inference for interacting systems", Eqs.
      9-12. Paulus et al. 2020, appendix.
    """

    def __init__(self, *, hidden_units: int = 256, skip_first: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.hidden_units = hidden_units
        self.skip_first = skip_first

    @property
    def edge_types(self) -> tuple[int, ...]:
        """The types that send messages."""
        return (1,) if self.skip_first else (0, 1)

    def build(self, positions_shape):
        features, h = positions_shape[-1], self.hidden_units
        self.messages = [
            (
                *self._linear(f"message_{edge_type}_first", 2 * features, h),
                *self._linear(f"message_{edge_type}_second", h, h),
            )
            for edge_type in self.edge_types
        ]
        self.output_layers = [
            self._linear("output_1", features + h, h),
            self._linear("output_2", h, h),
            self._linear("output_3", h, features),
        ]

    def _linear(self, name: str, inputs: int, units: int):
        limit = 1 / math.sqrt(inputs)
        return tuple(
            self.add_weight(
                name=f"{name}_{part}",
                shape=shape,
                initializer=keras.initializers.RandomUniform(-limit, limit),
            )
            for part, shape in (("kernel", (inputs, units)), ("bias", (units,)))
        )

    def call(
        self,
        positions: Tensor,
        latent: Tensor,
        prediction_steps: int = 1,
        num_edges: int | None = None,
    ) -> Tensor:
        """Returns sum |x_t - y_t|^2 over t = 1 ... T - 1 and vertices, `[B]`.

        Args:
          positions: `[B, T, n, features]`.
          latent: `[B, E]`, in [0, 1].
          prediction_steps: the decoder sees the true positions every so many steps,
            and its own predictions in between.
          num_edges: for latents in {0, 1}, the number of ones in each; None: any
            latent, differentiable in it.
        """
        _, timesteps, n, _ = positions.shape
        starts = -(-(timesteps - 1) // prediction_steps)
        # Blocks of examples whose messages stay in the cache (and in the memory).
        floats = max(1, starts * n * (n - 1) * self.hidden_units)
        block = max(1, _CHUNK_FLOATS // floats)
        network = _Network(self, n=n, num_edges=num_edges)

        def errors(rows: slice) -> Tensor:
            return network.rollout_errors(
                positions[rows], latent[rows], prediction_steps=prediction_steps
            )

        static_size = positions.shape[0]
        if batching.static_shapes() or (
            static_size is not None and static_size <= block
        ):
            return errors(slice(None))
        size = tf.shape(positions)[0]
        results = tf.TensorArray(
            positions.dtype, (size + block - 1) // block, infer_shape=False
        )

        def body(i, results):
            rows = slice(i * block, tf.minimum((i + 1) * block, size))
            return i + 1, results.write(i, errors(rows))

        _, results = tf.while_loop(
            lambda i, _: i * block < size,
            body,
            (tf.constant(0), results),
            parallel_iterations=1,
        )
        return tf.ensure_shape(results.concat(), [static_size])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "skip_first": self.skip_first,
        }


class _Network:
    """The decoder's functions for n vertices, weights laid out once a call.

    Rows of vertices are in the order (start, example, vertex): time steps that fewer
    starts reach use a prefix of them.
    """

    def __init__(self, decoder: InteractionDecoder, *, n: int, num_edges: int | None):
        self._n = n
        self._h = decoder.hidden_units
        self._num_edges = num_edges
        self._edge_types = decoder.edge_types
        kernels, biases = [], []
        for kernel, bias, _, _ in decoder.messages:
            sender, receiver = tf.split(tf.convert_to_tensor(kernel), 2, axis=0)
            kernels += [sender, receiver]
            biases += [tf.zeros_like(bias), tf.convert_to_tensor(bias)]
        self._first = tf.concat(kernels, axis=1), tf.concat(biases, axis=0)
        self._second = [
            (tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))
            for _, _, kernel, bias in decoder.messages
        ]
        self._output = [
            (tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))
            for kernel, bias in decoder.output_layers
        ]

    def rollout_errors(
        self, positions: Tensor, latent: Tensor, *, prediction_steps: int
    ) -> Tensor:
        """Returns the squared error of each example, `[B]`."""
        timesteps, features = positions.shape[1], positions.shape[3]
        frames = tf.transpose(positions, [1, 0, 2, 3])
        x = frames[: timesteps - 1 : prediction_steps]
        aggregate = self._aggregator(latent, num_starts=x.shape[0])
        total = 0.0
        for step in range(1, min(prediction_steps, timesteps - 1) + 1):
            target = frames[step::prediction_steps]
            # Starts whose rollout would go past the last frame are dropped.
            x = x[: target.shape[0]]
            rows = tf.reshape(x, [-1, features])
            incoming = aggregate(self._project(rows), target.shape[0])
            x = tf.reshape(self._move(rows, incoming), tf.shape(target))
            x = tf.ensure_shape(x, target.shape)
            total += tf.reduce_sum(tf.math.squared_difference(x, target), [0, 2, 3])
        return total

    def _project(self, rows: Tensor) -> list[Tensor]:
        """Returns sender and receiver of each type that sends, `[R, h]` each."""
        parts = 2 * len(self._edge_types)
        return tf.split(_linear_layer(rows, *self._first), parts, axis=1)

    def _move(self, rows: Tensor, incoming: Tensor) -> Tensor:
        (kernel, bias), second, third = self._output
        features = rows.shape[1]
        hidden = tf.matmul(rows, kernel[:features]) + tf.matmul(
            incoming, kernel[features:]
        )
        hidden = tf.nn.relu(tf.nn.bias_add(hidden, bias))
        return rows + _linear_layer(_relu_layer(hidden, *second), *third)

    def _aggregator(self, latent: Tensor, *, num_starts: int):
        """Returns `(projections, num_starts) -> summed incoming messages [R, h]`."""
        if self._num_edges is None:
            return self._weighted(latent)
        return self._routed(latent, num_starts)

    def _weighted(self, latent: Tensor):
        """Messages of both types, weighted: differentiable in the latent."""
        n, h = self._n, self._h
        numbers, off_diagonal = _edge_matrix(n)
        edge = tf.reshape(tf.gather(latent, numbers, axis=1), [1, -1, n, n])
        # One row for each receiver, so that the sum over senders is a product.
        weights = [
            tf.expand_dims(weight * off_diagonal, 3) for weight in (1 - edge, edge)
        ]

        def aggregate(projections: list[Tensor], num_starts: int) -> Tensor:
            total = 0.0
            for number, edge_type in enumerate(self._edge_types):
                sender, receiver = projections[2 * number : 2 * number + 2]
                sender = tf.reshape(sender, [-1, 1, n, h])
                pairs = tf.nn.relu(sender + tf.reshape(receiver, [-1, n, 1, h]))
                messages = _relu_layer(
                    tf.reshape(pairs, [-1, h]), *self._second[number]
                )
                messages = tf.reshape(messages, [num_starts, -1, n, n, h])
                total += tf.matmul(weights[edge_type], messages)
            return tf.reshape(total, [-1, h])

        return aggregate

    def _routed(self, latent: Tensor, num_starts: int):
        """Each message of its own type alone; the latent is read as 0 or 1."""
        n = self._n
        i, j = (index.astype(np.int32) for index in np.triu_indices(n, k=1))
        order = tf.argsort(latent, axis=1, direction="DESCENDING", stable=True)
        size = tf.shape(latent)[0]
        first_row = n * tf.reshape(tf.range(num_starts * size), [num_starts, size, 1])
        routes = []
        by_type = order[:, self._num_edges :], order[:, : self._num_edges]
        for edge_type in self._edge_types:
            chosen = by_type[edge_type]
            low, high = tf.gather(i, chosen), tf.gather(j, chosen)
            routes.append(
                (
                    first_row + tf.concat([low, high], axis=1),
                    first_row + tf.concat([high, low], axis=1),
                )
            )

        def aggregate(projections: list[Tensor], num_starts: int) -> Tensor:
            total = 0.0
            for number, (senders, receivers) in enumerate(routes):
                senders = tf.reshape(senders[:num_starts], [-1])
                receivers = tf.reshape(receivers[:num_starts], [-1])
                pairs = tf.gather(projections[2 * number], senders)
                pairs += tf.gather(projections[2 * number + 1], receivers)
                messages = _relu_layer(tf.nn.relu(pairs), *self._second[number])
                total += tf.math.unsorted_segment_sum(
                    messages, receivers, num_starts * size * n
                )
            return total

        return aggregate


def _edge_matrix(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number of each edge, `[n * n]`, and 1 off the diagonal, `[n, n]`."""
    rows, columns = np.triu_indices(n, k=1)
    numbers = np.zeros([n, n], np.int32)
    numbers[rows, columns] = numbers[columns, rows] = np.arange(len(rows))
    return numbers.reshape(-1), 1 - np.eye(n, dtype=np.float32)


def _linear_layer(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def _relu_layer(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    # In this form TensorFlow fuses the three operations.
    return tf.nn.relu(_linear_layer(x, kernel, bias))
