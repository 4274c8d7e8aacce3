"""Every sentence once, nothing but padding beside it, the same order every time."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from tfnes.datasets import Sentence, Vocabulary
from tfnes.datasets.batching import make_dataset, permutation, plan_batches
from tfnes.errors import ConfigurationError


def corpus(lengths):
    return [
        Sentence(
            tuple(f"w{i}x{j}" for j in range(n)),
            tuple("PUNCT" if j == n - 1 else "X" for j in range(n)),
            tuple(range(n)),
            ("root", *("dep",) * (n - 1)),
        )
        for i, n in enumerate(lengths)
    ]


LENGTHS = [3, 17, 8, 9, 1, 30, 8, 2, 16, 5, 11]


@pytest.fixture(scope="module")
def encoded():
    sentences = corpus(LENGTHS)
    return Vocabulary.build(sentences).encode(sentences)


@hypothesis.given(
    lengths=strategies.lists(strategies.integers(1, 40), max_size=70),
    batch_size=strategies.integers(1, 9),
    batching=strategies.sampled_from(["bucketed", "random"]),
    shuffle=strategies.booleans(),
    drop=strategies.booleans(),
    seed=strategies.integers(-(2**40), 2**40),
)
@hypothesis.settings(deadline=None, max_examples=150)
def test_plan_is_a_partition_with_sorted_rows(
    lengths, batch_size, batching, shuffle, drop, seed
):
    lengths = np.array(lengths, int)
    plan = plan_batches(
        lengths,
        batch_size=batch_size,
        batching=batching,
        shuffle=shuffle,
        seed=seed,
        drop_remainder=drop,
    )
    n = len(lengths)
    used = plan[plan >= 0]
    assert len(set(used)) == len(used) and set(used) <= set(range(n))
    if drop:
        assert plan.shape == (n // batch_size, batch_size) and (plan >= 0).all()
    else:
        assert plan.shape == (-(-n // batch_size), batch_size) and len(used) == n
    for row in plan:
        count = (row >= 0).sum()
        assert (row[:count] >= 0).all(), "padding stands last"
        assert (np.diff(lengths[row[:count]]) <= 0).all()


def test_plan_depends_on_seed_and_epoch_alone():
    lengths = np.tile(LENGTHS, 20)

    def plan(**kwargs):
        return plan_batches(lengths, batch_size=4, shuffle=True, **kwargs).tolist()

    for batching in ("bucketed", "random"):
        first = plan(seed=3, epoch=1, batching=batching)
        assert first == plan(seed=3, epoch=1, batching=batching)
        assert first != plan(seed=3, epoch=2, batching=batching)
        assert first != plan(seed=4, epoch=1, batching=batching)
    assert plan(seed=1, epoch=0) != plan(seed=0, epoch=1)


def test_permutation_is_frozen():
    # These numbers are a promise: a resumed run must see the order it had.
    assert permutation(8, seed=1, epoch=2, stream=0).tolist() == [
        4,
        2,
        0,
        6,
        1,
        5,
        7,
        3,
    ]


def test_unshuffled_orders():
    bucketed = plan_batches(LENGTHS, batch_size=3)
    assert bucketed.reshape(-1)[: len(LENGTHS)].tolist() == [
        5, 1, 8, 10, 3, 2, 6, 9, 0, 7, 4,
    ]  # fmt: skip
    random = plan_batches(LENGTHS, batch_size=3, batching="random")
    assert [sorted(row) for row in random.tolist()] == [
        [0, 1, 2], [3, 4, 5], [6, 7, 8], [-1, 9, 10],
    ]  # fmt: skip


def test_bucketed_batches_are_padded_less_than_random_ones():
    lengths = np.random.default_rng(0).geometric(0.05, size=2000)

    def padded(batching):
        plan = plan_batches(lengths, batch_size=20, batching=batching, shuffle=True)
        return lengths[plan].max(axis=1).sum() * 20 / lengths.sum()

    assert padded("bucketed") < 1.4 < 2.5 < padded("random")


def test_dropped_remainder_is_random_not_the_shortest():
    lengths = np.arange(1, 12)
    dropped = set()
    for epoch in range(40):
        plan = plan_batches(
            lengths, batch_size=5, shuffle=True, epoch=epoch, drop_remainder=True
        )
        dropped |= set(range(11)) - set(plan.reshape(-1).tolist())
    assert len(dropped) > 8


@pytest.mark.parametrize("batching", ["bucketed", "random"])
@pytest.mark.parametrize("pad_batches", [False, True])
def test_batches_hold_the_sentences(encoded, batching, pad_batches):
    plan = plan_batches(LENGTHS, batch_size=4, batching=batching, shuffle=True, seed=1)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    seen = []
    for row, batch in zip(
        plan, make_dataset(encoded, plan, pad_batches=pad_batches), strict=True
    ):
        batch = {name: tensor.numpy() for name, tensor in batch.items()}
        rows = len(batch["index"])
        assert rows == (4 if pad_batches else (row >= 0).sum())
        width = batch["words"].shape[1]
        assert width % 8 == 0 and width - 8 < batch["lengths"][0] <= width
        for r, (i, n) in enumerate(zip(batch["index"], batch["lengths"], strict=True)):
            if i == len(LENGTHS):
                assert n == 0
            else:
                assert n == LENGTHS[i]
                seen.append(i)
            for name in ("words", "heads", "relations", "punctuation"):
                column = getattr(encoded, name)
                start = starts[i]
                assert (batch[name][r, :n] == column[start : start + n]).all()
                assert not batch[name][r, n:].any(), "padding is 0"
    assert sorted(seen) == list(range(len(LENGTHS)))


def test_types_and_static_shapes(encoded):
    plan = plan_batches(LENGTHS, batch_size=4)
    spec = make_dataset(encoded, plan, pad_batches=True).element_spec
    assert {name: (tuple(s.shape), s.dtype) for name, s in spec.items()} == {
        "words": ((4, None), tf.int32),
        "heads": ((4, None), tf.int32),
        "relations": ((4, None), tf.int32),
        "punctuation": ((4, None), tf.bool),
        "lengths": ((4,), tf.int32),
        "index": ((4,), tf.int32),
    }
    bare = make_dataset(encoded.without_trees(), plan)
    assert set(bare.element_spec) == {"words", "punctuation", "lengths", "index"}
    assert int(bare.cardinality()) == 3


def test_skip_goes_on_where_a_run_stopped(encoded):
    plan = plan_batches(LENGTHS, batch_size=2, shuffle=True, epoch=3)
    whole = [b["index"].numpy().tolist() for b in make_dataset(encoded, plan)]
    for skip in (0, 2, 5, 6):
        rest = make_dataset(encoded, plan, skip=skip)
        assert [b["index"].numpy().tolist() for b in rest] == whole[skip:]


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigurationError, match=r"batch_size must be .* at least 1"):
        plan_batches(LENGTHS, batch_size=0)
    with pytest.raises(ConfigurationError, match=r"'bucketed', 'random'.*'sorted'"):
        plan_batches(LENGTHS, batch_size=1, batching="sorted")
