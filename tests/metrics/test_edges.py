"""EdgeF1 and OutputMean."""

import keras
import numpy as np
import tensorflow as tf

from tfnes.metrics import EdgeF1, OutputMean


def test_edge_f1_is_a_mean_over_examples():
    metric = EdgeF1(gold="edges")
    gold = tf.constant([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0] * 4])
    latent = tf.constant([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0] * 4])
    # 1, then precision 1 and recall 1/3, then nothing to find.
    metric.update_state({"edges": gold}, {"latent": latent})
    np.testing.assert_allclose(metric.result(), (1 + 0.5 + 1) / 3)
    metric.update_state({"edges": gold[:1]}, {"latent": 1 - latent[:1]})
    np.testing.assert_allclose(metric.result(), (1 + 0.5 + 1 + 0) / 4)


def test_rows_of_padding_do_not_count():
    batch = {"edges": tf.ones([2, 3]), "lengths": tf.constant([3, 0])}
    metric = EdgeF1()
    metric.update_state(batch, {"latent": tf.constant([[1.0, 1.0, 1.0], [0.0] * 3])})
    assert float(metric.result()) == 1.0
    mean = OutputMean(output="loss")
    mean.update_state(batch, {"loss": tf.constant([2.0, 50.0])})
    mean.update_state(batch, {"loss": tf.constant([5.0, 50.0])})
    assert float(mean.result()) == 3.5


def test_metrics_serialise():
    for metric in (EdgeF1(gold="g", name="f"), OutputMean(output="loss")):
        config = keras.saving.serialize_keras_object(metric)
        twin = keras.saving.deserialize_keras_object(config)
        assert twin.get_config() == metric.get_config()
        assert twin.name == metric.name
