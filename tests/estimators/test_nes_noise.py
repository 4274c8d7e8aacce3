import numpy as np
import pytest
import tensorflow as tf
from black_box import estimate, make_model, mean_gradient

from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.estimators import NES, FreshNormals, NoiseTable
from tfnes.random import round_up

SEED = random.make_seed(4)


def test_fresh_normals_do_not_depend_on_how_long_the_vector_is():
    source = FreshNormals()
    prepared = source.prepare(100, seed=SEED)
    fixed = source.draw(prepared, tf.constant(3), size=100)

    @tf.function(autograph=False)
    def dynamic(size):
        return source.draw(prepared, tf.constant(3), size=size)

    for size in (1, 64, 100):
        np.testing.assert_allclose(dynamic(tf.constant(size)), fixed[:size], rtol=1e-6)


def test_rounding_of_lengths_wastes_little_and_takes_few_values():
    sizes = np.arange(1, 5000)
    rounded = tf.map_fn(round_up, tf.constant(sizes[::7], tf.int32)).numpy()
    assert np.all(rounded >= sizes[::7])
    assert np.all(rounded <= np.maximum(sizes[::7] * 1.126, 9))
    assert len(set(rounded)) < 85


def test_table_slices_are_aligned_and_move_with_seed_and_pair():
    table = NoiseTable(size=1 << 12)
    table.build()
    values = table._table.numpy()

    def offset(seed, pair):
        prepared = table.prepare(100, seed=random.make_seed(seed))
        draw = table.draw(prepared, tf.constant(pair), size=100).numpy()
        starts = np.flatnonzero(values[: values.size - 99] == draw[0])
        (start,) = [s for s in starts if np.array_equal(values[s : s + 100], draw)]
        return start

    offsets = [offset(seed, pair) for seed in range(8) for pair in range(8)]
    assert all(o % 16 == 0 for o in offsets)
    assert len(set(offsets)) > 40
    assert offset(3, 5) == offset(3, 5)
    assert max(offsets) > 2500 and min(offsets) < 1500


def test_a_table_that_is_too_small_is_an_error():
    model = make_model(tf.reduce_sum, np.zeros(100, np.float32))
    nes = NES(population_size=4, noise_source=NoiseTable(size=64))
    with pytest.raises(ConfigurationError, match=r"at least the 112.*Received: 64"):
        estimate(nes, model, 0)
    with pytest.raises(ConfigurationError, match=r"at least 16.*Received: 3"):
        NoiseTable(size=3)


def test_gradient_from_the_table_is_right_on_average():
    start = np.array([0.7, -0.4, 0.2], np.float32)
    model = make_model(lambda x: tf.reduce_sum(x**3), start)
    nes = NES(
        population_size=60, sigma=0.5, noise_source="table", fitness_shaping="identity"
    )
    mean, error = mean_gradient(nes, model, repeats=60)
    expected = 3 * start**2 + 3 * 0.25
    assert np.all(np.abs(mean - expected) < 4 * error)
