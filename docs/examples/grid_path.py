"""A structure of one's own: monotone paths through a square grid."""

import math

import numpy as np
import tensorflow as tf

import tfnes


@tfnes.register("structure", package="examples")
class GridPath(tfnes.structures.Structure):
    """Paths from the first to the last cell of a grid, each step to the right or down.

    Parts are the cells, `[n, n]`; `lengths` is the side of the real grid in the upper
    left corner. The best path comes from best[i, j] = w[i, j] + max(best[i-1, j],
    best[i, j-1]), in O(n^2); of equally good ones the one that came from above is
    taken.
    """

    parts_rank = 2

    def argmax(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        size = tf.shape(log_potentials)[-1]
        scores = tf.reshape(log_potentials, [-1, size, size])
        side = self._sides(log_potentials, lengths)
        real = tf.sequence_mask(side, size)
        real = real[:, :, None] & real[:, None, :]
        lowest = scores.dtype.min
        scores = tf.where(real & (scores > lowest), scores, lowest)
        path = _trace_back(_best_scores(scores, size), side, size)
        return tf.reshape(tf.cast(path, scores.dtype), tf.shape(log_potentials))

    def log_count(self, log_potentials, *, lengths=None):
        side = tf.cast(self._sides(log_potentials, lengths), log_potentials.dtype)
        steps = tf.maximum(side - 1, 0)
        count = tf.math.lgamma(2 * steps + 1) - 2 * tf.math.lgamma(steps + 1)
        return tf.reshape(count, tf.shape(log_potentials)[:-2])

    def contains(self, latent, *, lengths=None):
        latent = tf.convert_to_tensor(latent)
        best = self.argmax(2 * latent - 1, lengths=lengths)
        return tf.reduce_all(tf.equal(best, latent), axis=[-2, -1])

    def enumerate(self, num_nodes):
        paths = [
            bits
            for bits in range(2 ** max(2 * num_nodes - 2, 0))
            if bits.bit_count() == num_nodes - 1 or num_nodes < 2
        ]
        latents = np.zeros([len(paths), num_nodes, num_nodes], np.float32)
        for latent, bits in zip(latents, paths, strict=True):
            row = column = 0
            for step in range(2 * num_nodes - 1):
                latent[row, column] = 1
                down = bits >> step & 1
                row, column = row + down, column + 1 - down
        return latents

    def _sides(self, log_potentials, lengths):
        batch = tf.shape(log_potentials)[:-2]
        if lengths is None:
            lengths = tf.fill(batch, tf.shape(log_potentials)[-1])
        return tf.reshape(tf.broadcast_to(lengths, batch), [-1])


def _best_scores(scores, size):
    """Returns best[i, j] of each example, `[B, n, n]`: one more diagonal a round."""
    lowest = scores.dtype.min
    corner = tf.one_hot(0, size * size, True, False, dtype=tf.bool)
    corner = tf.reshape(corner, [size, size])

    def further(step, best):
        above = tf.pad(best[:, :-1], [[0, 0], [1, 0], [0, 0]], constant_values=lowest)
        left = tf.pad(best[:, :, :-1], [[0, 0], [0, 0], [1, 0]], constant_values=lowest)
        before = tf.where(corner, 0.0, tf.maximum(above, left))
        return step + 1, tf.maximum(scores + before, lowest)

    rounds = tf.maximum(2 * size - 1, 0)
    start = tf.fill(tf.shape(scores), lowest)
    return tf.while_loop(lambda step, _: step < rounds, further, (0, start))[1]


def _trace_back(best, side, size):
    """Returns the cells of the best path, `[B, n, n]` bool."""

    def back(row, column, cells):
        here = tf.one_hot(row, size)[:, :, None] * tf.one_hot(column, size)[:, None]
        up = tf.gather_nd(best, _cell(row - 1, column), batch_dims=1)
        left = tf.gather_nd(best, _cell(row, column - 1), batch_dims=1)
        go_up = (row > 0) & ((column <= 0) | (up >= left))
        done = (row <= 0) & (column <= 0)
        above = tf.where(done, -1, tf.where(go_up, row - 1, row))
        before = tf.where(done, -1, tf.where(go_up, column, column - 1))
        return above, before, cells | (here > 0)

    start = (side - 1, side - 1, tf.zeros(tf.shape(best), tf.bool))
    return tf.while_loop(lambda row, *_: tf.reduce_any(row >= 0), back, start)[2]


def _cell(row, column):
    return tf.stack([tf.maximum(row, 0), tf.maximum(column, 0)], axis=1)


def number_of_paths(size: int) -> int:
    """Returns how many paths a grid of this size has."""
    return math.comb(2 * size - 2, size - 1)
