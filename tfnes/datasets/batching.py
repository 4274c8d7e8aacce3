"""Batches of sentences: planned by NumPy, cut out in the graph by tf.data.

A plan says, for one epoch, which sentences stand in which batch. It is a pure function
of the sentence lengths, the seed and the epoch, so a run that is resumed sees the
batches that it would have seen. Making a batch is one gather from one integer matrix,
without Python.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfnes.checks import check_choice, check_flag, check_integer, check_seed
from tfnes.datasets.vocabulary import EncodedSentences
from tfnes.typing import Batch

BATCHINGS = ("bucketed", "random")
LENGTH_MULTIPLE = 8
_POOL_BATCHES = 16


def plan_batches(
    lengths: np.ndarray,
    *,
    batch_size: int,
    batching: str = "bucketed",
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    drop_remainder: bool = False,
) -> np.ndarray:
    """Returns which sentences stand in which batch.

    `"bucketed"` puts sentences of similar length together, so that little is padded.
    With `shuffle` it permutes all, cuts pools of 16 batches, sorts each pool by
    length, cuts it into batches and permutes these; without, it sorts everything, the
    longest first. `"random"` cuts the permuted corpus (without `shuffle`: the corpus in
    its order) into batches.

    Args:
      lengths: `[N]` words of each sentence.
      batch_size: sentences in a batch.
      batching: `"bucketed"` or `"random"`.
      shuffle: whether the order depends on `seed` and `epoch`.
      seed: integer.
      epoch: integer.
      drop_remainder: whether N mod `batch_size` sentences (with `shuffle` random ones,
        else the last of the corpus) are left out, instead of making a smaller batch.

    Returns:
      `[num_batches, batch_size]` int32 indices, in each row by decreasing length; -1
      fills the smaller batch.

    Example:

        >>> import numpy as np
        >>> from tfnes.datasets.batching import plan_batches
        >>> plan_batches(np.array([3, 9, 5, 4, 8]), batch_size=2).tolist()
        [[1, 4], [2, 3], [0, -1]]
    """
    batch_size = check_integer("batch_size", batch_size, minimum=1)
    check_choice("batching", batching, BATCHINGS)
    shuffle = check_flag("shuffle", shuffle)
    drop_remainder = check_flag("drop_remainder", drop_remainder)
    seed, epoch = check_seed("seed", seed), check_seed("epoch", epoch)
    lengths = np.asarray(lengths)
    order = np.arange(len(lengths))
    if shuffle:
        order = permutation(len(lengths), seed=seed, epoch=epoch, stream=0)
    if drop_remainder:
        order = order[: len(order) - len(order) % batch_size]
    if batching == "bucketed":
        pool = _POOL_BATCHES * batch_size if shuffle else max(len(order), 1)
        pools = [order[i : i + pool] for i in range(0, len(order), pool)]
        pools = [p[np.argsort(-lengths[p], kind="stable")] for p in pools]
        order = np.concatenate([order[:0], *pools])
    padded = np.full(-(-len(order) // batch_size) * batch_size, -1, np.int32)
    padded[: len(order)] = order
    plan = padded.reshape(-1, batch_size)
    if batching == "bucketed" and shuffle:
        plan = plan[permutation(len(plan), seed=seed, epoch=epoch, stream=1)]
    row_lengths = np.where(plan < 0, -1, lengths[plan] if len(lengths) else plan)
    ranks = np.argsort(-row_lengths, axis=1, kind="stable")
    return np.take_along_axis(plan, ranks, axis=1)


def make_dataset(
    encoded: EncodedSentences,
    plan: np.ndarray,
    *,
    skip: int = 0,
    pad_batches: bool = False,
) -> tf.data.Dataset:
    """Returns the batches of `plan` as dictionaries of tensors.

    The keys are `words`, `unknown` (with signatures), `external` (with external
    vectors), `heads` and `relations` (with trees), `punctuation`, each `[B, L]`, and
    `lengths`, `index`, each `[B]`. L is the longest length of the batch, rounded up to
    a multiple of 8; padding is 0. `index` is the number of the sentence in `encoded`; N
    in padding rows.

    Args:
      encoded: N sentences.
      plan: `[num_batches, batch_size]`, from `plan_batches`.
      skip: batches at the start that are left out (and never made).
      pad_batches: whether the smaller batch is filled with sentences of length 0, so
        that B is always `batch_size`.
    """
    skip = check_integer("skip", skip, minimum=0)
    features = {"words": encoded.words}
    if encoded.unknown is not None:
        features["unknown"] = encoded.unknown
    if encoded.external is not None:
        features["external"] = encoded.external
    if encoded.heads is not None and encoded.relations is not None:
        features["heads"] = encoded.heads
        features["relations"] = encoded.relations
    features["punctuation"] = encoded.punctuation
    num_sentences, batch_size = len(encoded.lengths), plan.shape[1]
    lengths = np.append(encoded.lengths, np.int32(0))
    starts = np.concatenate([[0], np.cumsum(encoded.lengths)])
    rows = np.where(plan < 0, num_sentences, plan)
    longest = lengths[rows].max(axis=1, initial=1)
    widths = -(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    full = bool(pad_batches or (plan >= 0).all())
    counts = (plan >= 0).sum(axis=1)
    with tf.device("cpu"):
        # Padding reads position 0; the appended row makes it exist in an empty text.
        table = tf.constant(
            np.stack([np.append(column, 0) for column in features.values()], axis=1),
            tf.int32,
        )
        starts = tf.constant(starts, tf.int32)
        lengths = tf.constant(lengths, tf.int32)
        batches = tf.data.Dataset.from_tensor_slices(
            (
                rows[skip:].astype(np.int32),
                counts[skip:].astype(np.int32),
                widths[skip:].astype(np.int32),
            )
        )

    def cut(ids, count, width):
        if not full:
            ids = ids[:count]
        length = tf.gather(lengths, ids)
        columns = tf.range(width)[None, :]
        inside = columns < length[:, None]
        positions = tf.where(inside, tf.gather(starts, ids)[:, None] + columns, 0)
        values = tf.gather(table, positions) * tf.cast(inside, tf.int32)[:, :, None]
        batch = dict(zip(features, tf.unstack(values, axis=2), strict=True))
        batch["punctuation"] = tf.cast(batch["punctuation"], tf.bool)
        batch["lengths"] = length
        batch["index"] = ids
        if full:
            for tensor in batch.values():
                tensor.set_shape([batch_size] + [None] * (tensor.shape.rank - 1))
        return batch

    return cut_batches(batches, cut)


def cut_batches(plan: tf.data.Dataset, cut: Callable[..., Batch]) -> tf.data.Dataset:
    """Returns `cut` of each element of `plan`, two batches ahead of who reads them.

    tf.data's tuning is off: there is nothing to tune, and its thread, which sleeps for
    up to 5 seconds at a time once it has run that long, would hold up the end of every
    epoch until it wakes.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    batches = plan.map(cut, num_parallel_calls=2, deterministic=True)
    return batches.prefetch(2).with_options(options)


def permutation(size: int, *, seed: int, epoch: int, stream: int) -> np.ndarray:
    """Returns a permutation of 0 ... size - 1, the same with every NumPy version.

    Philox is a fixed function of key and counter; sorting its raw bits, unlike
    `Generator.permutation`, is not subject to NumPy's freedom to improve algorithms.
    """
    mask = 2**64 - 1
    # As arrays: NumPy would make floats of a list of large integers, and round.
    key = np.array([int(seed) & mask, int(epoch) & mask], np.uint64)
    counter = np.array([0, 0, 0, stream], np.uint64)
    bits = np.random.Philox(key=key, counter=counter)
    return np.argsort(bits.random_raw(size), kind="stable")
