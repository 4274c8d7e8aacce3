"""Codes in use, against counting by hand."""

import keras
import numpy as np
import tensorflow as tf

from tfnes.metrics import UsedCodes


def values(metric):
    return {name: float(value) for name, value in metric.result().items()}


def test_counts_over_batches_and_leaves_stray_codes_out():
    metric = UsedCodes(num_categories=4, min_share=0.1)
    for codes in ([0] * 9, [0, 1, 2, 2] + [0] * 7):
        metric.update_state({}, {"latent": tf.one_hot(codes, 4)})
    # 0: 17 of 20, 1: 1 (too few), 2: 2.
    shares = np.array([17, 1, 2]) / 20
    found = values(metric)
    assert found["used_codes"] == 2
    entropy = -np.sum(shares * np.log(shares))
    np.testing.assert_allclose(found["code_perplexity"], np.exp(entropy), rtol=1e-6)
    metric.reset_state()
    assert values(metric) == {"used_codes": 0.0, "code_perplexity": 1.0}


def test_padding_does_not_count_and_config_round_trips():
    metric = UsedCodes(num_categories=3, output="sample", name="codes")
    batch = {"lengths": tf.constant([3, 0])}
    metric.update_state(batch, {"sample": tf.one_hot([0, 1], 3)})
    assert values(metric)["used_codes"] == 1
    other = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert other.get_config() == metric.get_config()
