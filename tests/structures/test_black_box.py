"""A Python solver as a structure."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnes import errors, structures

pytestmark = pytest.mark.usefixtures("without_xla")


@keras.saving.register_keras_serializable(package="test_black_box")
def above_zero(scores, length):
    latent = (scores > 0).astype(scores.dtype)
    if length >= 0:
        latent[length:] = 0
    return latent


def test_runs_each_example_inside_a_graph_with_its_length():
    structure = structures.BlackBox(above_zero)
    solve = tf.function(structure.argmax, autograph=False)
    scores = tf.constant([[[1.0, -1.0, 2.0]], [[3.0, 4.0, 5.0]]])
    latent = solve(scores, lengths=tf.constant([[3], [1]]))
    np.testing.assert_array_equal(latent, [[[1, 0, 1]], [[1, 0, 0]]])
    assert latent.shape == scores.shape and latent.dtype == tf.float32


def test_wrong_shape_of_the_answer_is_reported():
    structure = structures.BlackBox(lambda scores, length: scores[:1])
    with pytest.raises(Exception, match="must return an indicator of the shape"):
        structure.argmax(tf.zeros([2, 3]))


def test_what_was_not_given_is_refused_with_the_remedy():
    structure = structures.BlackBox(above_zero)
    with pytest.raises(errors.UnsupportedStructureError, match="log_count="):
        structure.log_count(tf.zeros([3]))
    with pytest.raises(errors.UnsupportedStructureError, match="contains="):
        structure.contains(tf.zeros([3]))


def test_serialisation_keeps_a_registered_solver():
    structure = structures.BlackBox(above_zero, parts_rank=2)
    config = keras.saving.serialize_keras_object(structure)
    again = keras.saving.deserialize_keras_object(config)
    assert again == structure
    assert again.solver is above_zero and again.parts_rank == 2
