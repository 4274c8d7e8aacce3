import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfnes import random

# Salmon et al. 2011, the reference implementation's kat_vectors, threefry2x32.
VECTORS = {
    20: [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        (
            (0x243F6A88, 0x85A308D3),
            (0x13198A2E, 0x03707344),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
    13: [((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731))],
}


@pytest.mark.parametrize("rounds", sorted(VECTORS))
def test_threefry_gives_the_published_words(rounds):
    for counter, key, expected in VECTORS[rounds]:
        seed = tf.bitcast(tf.constant(key, tf.uint32), tf.int32)
        x0, x1 = (tf.constant(word, tf.uint32) for word in counter)
        words = random.threefry2x32(seed, x0, x1, rounds=rounds)
        assert tuple(int(word) for word in words) == expected


def test_uniform_depends_on_key_and_coordinates_alone():
    seed = random.make_seed(3)
    full = random.uniform([5, 4, 3], seed=seed)
    index = tf.constant([4, 1])
    part = random.uniform([2, 2, 3], seed=seed, index=index)
    np.testing.assert_array_equal(part, full.numpy()[[4, 1], :2])
    assert np.min(full) > 0 and np.max(full) < 1


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_same_bits_eager_graph_and_xla(dtype):
    seed = random.make_seed(11)

    def draw():
        return random.uniform([7, 5], seed=seed, dtype=dtype)

    eager = draw()
    np.testing.assert_array_equal(tf.function(draw)(), eager)
    np.testing.assert_array_equal(tf.function(draw, jit_compile=True)(), eager)


def test_gumbel_has_its_law():
    draws = random.gumbel([400, 50], seed=random.make_seed(1)).numpy().reshape(-1)
    assert stats.kstest(draws, "gumbel_r").pvalue > 1e-3


def test_keys_of_streams_differ():
    keys = {
        tuple(random.stream_seed(seed, step, stream).numpy())
        for seed in (0, 1, 2**40)
        for step in (0, 1)
        for stream in random.Stream
    }
    assert len(keys) == 3 * 2 * len(random.Stream)


def test_normal_vector_has_its_law():
    draws = random.normal_vector(400_000, seed=random.make_seed(5)).numpy()
    assert stats.kstest(draws, "norm").pvalue > 1e-3
    draws = draws.astype(np.float64)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = np.sqrt(variance / draws.size)
        assert abs(np.mean(draws**power) - moment) < 4 * error
    # Tails: 4 standard deviations happen about 25 times.
    assert 5 < np.sum(np.abs(draws) > 4) < 60


def test_normal_vector_is_independent_along_positions_and_indices():
    seed = random.make_seed(8)
    a, b = (random.normal_vector(100_000, seed=seed, index=i).numpy() for i in (0, 1))
    c = random.normal_vector(100_000, seed=random.make_seed(9)).numpy()
    limit = 4.5 / np.sqrt(a.size)
    pairs = [(a, b), (a, c), (a[1:], a[:-1]), (a[16:], a[:-16]), (a**2, b**2)]
    for x, y in pairs:
        assert abs(np.corrcoef(x, y)[0, 1]) < limit


def test_normal_vector_is_a_function_of_seed_index_and_position():
    seed = random.make_seed(2)
    long = random.normal_vector(1000, seed=seed, index=7)
    short = random.normal_vector(64, seed=seed, index=7)
    np.testing.assert_allclose(short, long[:64], rtol=1e-6)

    @tf.function
    def in_a_loop():
        def body(i, draws):
            draw = random.normal_vector(1000, seed=seed, index=i)
            return i + 1, draws.write(i, draw)

        draws = tf.TensorArray(tf.float32, 9)
        _, draws = tf.while_loop(lambda i, _: i < 9, body, (0, draws))
        return draws.stack()

    np.testing.assert_array_equal(in_a_loop()[7], long)


def test_shapes_of_too_many_axes_are_an_error():
    with pytest.raises(ValueError, match="rank 1 to 4"):
        random.uniform([1, 1, 1, 1, 1], seed=random.make_seed(0))
