"""What is left out of a parser's inputs in training."""

import numpy as np
import pytest
import tensorflow as tf

from tfnes import random
from tfnes.datasets import DemoTreebank
from tfnes.models.parser_inputs import drop_words

SEED = random.make_seed(3)


@pytest.fixture(scope="module")
def data():
    return DemoTreebank(
        source_train=24, source_dev=8, source_test=4, target_train=8, target_dev=4
    )


@pytest.fixture(scope="module")
def batch(data):
    dataset = data.get_dataset("source_train", batch_size=5, batching="random")
    return next(iter(dataset))


def test_word_dropout_is_a_function_of_seed_and_example(data, batch):
    size = len(data.vocabulary.words)
    rates = np.full(size, 0.5, np.float32)
    many = {k: tf.repeat(v[:1], 400, axis=0) for k, v in batch.items()}
    many["index"] = tf.range(400)
    dropped = drop_words(many, rates=rates, external_rate=0.3, seed=SEED)
    again = drop_words(many, rates=rates, external_rate=0.3, seed=SEED)
    np.testing.assert_array_equal(dropped["words"], again["words"])
    rows = {key: tf.gather(value, [7, 3]) for key, value in many.items()}
    part = drop_words(rows, rates=rates, external_rate=0.3, seed=SEED)
    np.testing.assert_array_equal(part["words"], tf.gather(dropped["words"], [7, 3]))
    length = int(batch["lengths"][0])
    lost = (dropped["words"] != many["words"]).numpy()[:, :length]
    np.testing.assert_allclose(lost.mean(), 0.5, atol=0.03)
    known = (many["external"] > 0).numpy()[:, :length]
    lost_external = (dropped["external"] != many["external"]).numpy()[:, :length]
    assert not (lost_external & ~lost).any()
    np.testing.assert_allclose(lost_external[lost & known].mean(), 0.3, atol=0.03)


def test_dropped_words_become_their_signatures(batch):
    batch = {**batch, "unknown": batch["words"] + 7}
    dropped = drop_words(batch, rates=np.ones(999), external_rate=0.0, seed=SEED)
    np.testing.assert_array_equal(dropped["words"], batch["unknown"])
    kept = drop_words(batch, rates=np.zeros(999), external_rate=0.0, seed=SEED)
    np.testing.assert_array_equal(kept["words"], batch["words"])
