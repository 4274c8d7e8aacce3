"""Linear chains: the best sequence of states, sums over all of them, exact samples.

Potentials are `[..., n, C, C]` `[position, previous state, state]`; position 0 has no
previous state and reads row 0 only. Every solver takes n steps of O(C^2).

References:
  Viterbi (1967), Error bounds for convolutional codes and an asymptotically optimum
  decoding algorithm.
  Rabiner (1989), A tutorial on hidden Markov models: forward-backward.
"""

from __future__ import annotations

import tensorflow as tf

from tfnes import random
from tfnes.checks import check_integer
from tfnes.solvers import batching
from tfnes.typing import Seed, Tensor

_FORBIDDEN = -1e30


def viterbi(log_potentials: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Returns the best sequence of states, `[..., n]` int32, -1 in padding.

    Ties go to the lowest state, from the last position backwards. -inf forbids a
    transition (NaN is read as -inf).

    Args:
      log_potentials: `[..., n, C, C]` `[position, previous state, state]`, float32 or
        float64; at position 0 only row 0 is read.
      lengths: `[...]` positions of each chain; None: n.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> scores = tf.constant([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [3.0, 2.0]]])
        >>> tfnes.solvers.viterbi(scores).numpy()
        array([1, 0], dtype=int32)
    """
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    return unflatten(_viterbi(tf.stop_gradient(flat), sizes))


def log_partition(log_potentials: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Returns log of the sum over sequences of exp(their score), `[...]`.

    Arguments as for `viterbi`; 0 for no positions, -inf where no sequence is allowed.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> round(float(tf.exp(tfnes.solvers.chain_log_partition(tf.zeros([3, 2, 2])))))
        8
    """
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    return unflatten(_log_partition(flat, sizes))


def marginals(log_potentials: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Returns p(transition), `[..., n, C, C]`; each real position sums to 1.

    It is the gradient of `log_partition`: backward after forward.
    """
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    with tf.GradientTape() as tape:
        tape.watch(flat)
        total = _log_partition(flat, sizes)
    return unflatten(tf.clip_by_value(tape.gradient(total, flat), 0.0, 1.0))


def sample(
    log_potentials: Tensor,
    *,
    num_samples: int,
    seed: Seed,
    lengths: Tensor | None = None,
) -> Tensor:
    """Returns `[num_samples, ..., n]` int32 exact samples of the states, -1 in padding.

    Forward sums, then states drawn backwards.
    """
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    states = _sample(flat, sizes, random.make_seed(seed), num_samples=num_samples)
    return batching.samples_first(unflatten(states), -2)


def to_parts(states: Tensor, *, num_states: int | Tensor, dtype: tf.DType) -> Tensor:
    """Returns the `[..., n, C, C]` indicator of `[..., n]` states."""
    start = tf.zeros_like(states[..., :1])
    previous = tf.concat([start, states], axis=-1)[..., :-1]
    state = tf.one_hot(states, num_states, dtype=dtype)
    return (
        tf.one_hot(previous, num_states, dtype=dtype)[..., None] * state[..., None, :]
    )


def _flatten(log_potentials, lengths):
    log_potentials = tf.convert_to_tensor(log_potentials)
    positions = log_potentials.shape[-3]
    positions = tf.shape(log_potentials)[-3] if positions is None else positions
    return batching.flatten(
        log_potentials, lengths, parts_rank=3, full_length=positions
    )


def _forward(flat: Tensor, lengths: Tensor, combine) -> Tensor:
    """Returns `[n + 1, B, C]`: for each position and state, `combine` over pasts.

    Padded positions copy the one before, so the last entry is that of the last word.
    """
    first = tf.where(tf.range(tf.shape(flat)[-1]) == 0, 0.0, _FORBIDDEN)
    first = tf.broadcast_to(
        tf.cast(first, flat.dtype), [tf.shape(flat)[0], tf.shape(flat)[-1]]
    )
    positions = tf.shape(flat)[1]

    def step(past, item):
        position, scores = item
        new = tf.maximum(combine(past[:, :, None] + scores), 2 * _FORBIDDEN)
        return tf.where((position < lengths)[:, None], new, past)

    tables = tf.scan(
        step, (tf.range(positions), tf.transpose(flat, [1, 0, 2, 3])), initializer=first
    )
    return tf.concat([first[None], tables], axis=0)


def _masked(flat: Tensor, lengths: Tensor) -> Tensor:
    """Returns finite scores; padding and NaN are forbidden."""
    real = tf.range(tf.shape(flat)[1]) < lengths[:, None]
    allowed = real[..., None, None] & (flat > _FORBIDDEN)
    return tf.where(allowed, flat, _FORBIDDEN)


@batching.compiled
def _viterbi(flat: Tensor, lengths: Tensor) -> Tensor:
    flat = _masked(flat, lengths)
    tables = _forward(flat, lengths, lambda x: tf.reduce_max(x, axis=1))
    positions = tf.shape(flat)[1]
    rows = tf.shape(flat)[0]

    def body(position, following, states):
        # The state is the best past of the state that follows; at the end, the best.
        to_next = tf.gather(
            flat[:, tf.minimum(position + 1, positions - 1)],
            tf.maximum(following, 0),
            axis=2,
            batch_dims=1,
        )
        last = (position == lengths - 1)[:, None]
        scores = tables[position + 1] + tf.where(last, tf.zeros_like(to_next), to_next)
        state = tf.argmax(scores, axis=-1, output_type=tf.int32)
        state = tf.where(position < lengths, state, -1)
        return position - 1, state, states.write(position, state)

    states = tf.TensorArray(tf.int32, positions, element_shape=[flat.shape[0]])
    _, _, states = tf.while_loop(
        lambda position, *_: position >= 0,
        body,
        (positions - 1, tf.fill([rows], -1), states),
        maximum_iterations=positions,
    )
    return tf.transpose(states.stack())


@tf.function(autograph=False, reduce_retracing=True)
def _log_partition(flat: Tensor, lengths: Tensor) -> Tensor:
    tables = _forward(
        _masked(flat, lengths), lengths, lambda x: tf.reduce_logsumexp(x, axis=1)
    )
    total = tf.reduce_logsumexp(tables[-1], axis=-1)
    return tf.where(total > 0.1 * _FORBIDDEN, total, -float("inf"))


@batching.compiled
def _sample(flat: Tensor, lengths: Tensor, seed: Tensor, *, num_samples: int) -> Tensor:
    flat = _masked(flat, lengths)
    tables = _forward(flat, lengths, lambda x: tf.reduce_logsumexp(x, axis=1))
    positions = tf.shape(flat)[1]
    shape = [tf.shape(flat)[0], num_samples, tf.shape(flat)[-1]]

    def body(position, following, states):
        incoming = tf.linalg.matrix_transpose(
            flat[:, tf.minimum(position + 1, positions - 1)]
        )
        to_next = tf.gather(incoming, tf.maximum(following, 0), axis=1, batch_dims=1)
        last = (position == lengths - 1)[:, None, None]
        logits = tables[position + 1][:, None] + tf.where(
            last, tf.zeros_like(to_next), to_next
        )
        noise = random.gumbel(
            shape, seed=random.fold_in(seed, position), dtype=flat.dtype
        )
        state = tf.argmax(logits + noise, axis=-1, output_type=tf.int32)
        state = tf.where((position < lengths)[:, None], state, -1)
        state = tf.ensure_shape(state, shape_of_one)
        return position - 1, state, states.write(position, state)

    shape_of_one = [flat.shape[0], num_samples]
    states = tf.TensorArray(tf.int32, positions, element_shape=shape_of_one)
    _, _, states = tf.while_loop(
        lambda position, *_: position >= 0,
        body,
        (positions - 1, tf.ensure_shape(tf.fill(shape[:2], -1), shape_of_one), states),
        maximum_iterations=positions,
    )
    return tf.transpose(states.stack(), [1, 2, 0])
