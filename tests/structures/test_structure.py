"""The base class: noise, validation, abilities, generic inference."""

import numpy as np
import pytest
import tensorflow as tf

from tfnes import errors, random, structures

pytestmark = pytest.mark.usefixtures("without_xla")

SEED = random.make_seed(3)


def test_noise_is_keyed_by_example_and_part_not_by_extent():
    structure = structures.Categorical()
    wide = structure.noise(tf.zeros([4, 7]), seed=SEED)
    narrow = structure.noise(tf.zeros([2, 5]), seed=SEED, index=[1, 3])
    np.testing.assert_allclose(narrow, wide.numpy()[[1, 3], :5], rtol=1e-6)


def test_noise_of_an_edge_does_not_depend_on_the_number_of_vertices():
    structure = structures.SpanningTree()
    narrow = structure.noise(tf.zeros([2, 10]), seed=SEED).numpy()  # 5 vertices
    wide = structure.noise(tf.zeros([2, 28]), seed=SEED).numpy()  # 8
    assert len(np.unique(wide)) == 56
    j = np.triu_indices(8, 1)[1]
    np.testing.assert_allclose(wide[:, j < 5], narrow, rtol=1e-6)
    # So a padded graph is perturbed as it is without padding.
    scores = np.random.default_rng(0).normal(size=[2, 10]).astype(np.float32)
    padded = np.full([2, 28], np.nan, np.float32)
    padded[:, j < 5] = scores
    small = structure.perturb_and_map(scores, seed=SEED)
    large = structure.perturb_and_map(padded, seed=SEED, lengths=tf.constant([5, 5]))
    np.testing.assert_array_equal(large.numpy()[:, j < 5], small)


@pytest.mark.parametrize("bits", [0, 0xFFFFFFFF])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_gumbel_noise_is_finite_where_all_random_bits_are_equal(
    monkeypatch, bits, dtype
):
    def threefry(seed, x0, x1, *, rounds=20):
        word = tf.zeros_like(x0 + x1) + tf.constant(bits, tf.uint32)
        return word, word

    monkeypatch.setattr(random, "threefry2x32", threefry)
    u = random.uniform([2, 9], seed=SEED, dtype=dtype).numpy()
    assert np.all((u > 0) & (u < 1))
    expected = -np.log(-np.log(u.astype(np.float64)))
    for jit in (None, False, True):
        draw = random.gumbel
        if jit is not None:
            draw = tf.function(draw, jit_compile=jit, autograph=False)
        noise = draw([2, 9], seed=SEED, dtype=dtype)
        np.testing.assert_allclose(noise, expected, rtol=1e-5)


def test_noise_takes_any_leading_axes():
    structure = structures.SpanningTree()
    flat = structure.noise(tf.zeros([6, 3]), seed=SEED)
    grid = structure.noise(tf.zeros([2, 3, 3]), seed=SEED)
    one = structure.noise(tf.zeros([3]), seed=SEED)
    np.testing.assert_allclose(tf.reshape(grid, [6, 3]), flat, rtol=1e-6)
    # The logarithm's last bit may depend on where an element falls in a vector.
    np.testing.assert_allclose(one, flat[0], rtol=1e-6)


def test_perturb_and_map_samples_a_categorical_exactly():
    scores = tf.constant([0.0, 1.0, 2.0])
    many = tf.tile(scores[None], [20000, 1])
    counts = tf.reduce_sum(
        structures.Categorical().perturb_and_map(many, seed=SEED), axis=0
    ).numpy()
    expected = 20000 * tf.nn.softmax(scores).numpy()
    assert ((counts - expected) ** 2 / expected).sum() < 16.0  # 2 degrees of freedom


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_validate_names_the_bad_examples_also_in_a_graph(bad):
    structure = structures.SpanningTree()
    scores = np.zeros([4, 3], np.float32)
    scores[2] = bad
    found = r"(?s)no finite optimum.*\n2"
    with pytest.raises(tf.errors.InvalidArgumentError, match=found):
        structure.validate(scores)
    validate = tf.function(lambda x: structure.validate(x) + 0.0, autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no finite optimum"):
        validate(tf.constant(scores))


def test_validate_ignores_padding_and_single_forbidden_parts():
    scores = np.zeros([2, 3], np.float32)
    scores[0, 1:] = np.nan
    scores[1, 0] = -np.inf
    result = structures.SpanningTree().validate(scores, lengths=tf.constant([2, 3]))
    np.testing.assert_array_equal(result, scores)


def test_predict_is_argmax_where_there_is_an_optimum_and_an_error_elsewhere():
    structure = structures.DependencyTree()
    scores = np.random.default_rng(0).normal(size=[3, 4, 4]).astype(np.float32)
    scores[1, 3] = scores[1, :, 3] = np.nan  # padding
    lengths = tf.constant([3, 2, 3])
    expected = structure.argmax(scores, lengths=lengths)
    predict = tf.function(structure.predict, autograph=False)
    for solve in (structure.predict, predict):
        found = solve(tf.constant(scores), lengths=lengths)
        np.testing.assert_array_equal(found, expected)
        for bad in (np.nan, np.inf, -np.inf):
            broken = scores.copy()
            broken[2, :, 1] = bad
            with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)no fin.*2"):
                solve(tf.constant(broken), lengths=lengths)


def test_missing_ability_lists_the_structures_that_have_it():
    with pytest.raises(errors.UnsupportedStructureError) as caught:
        structures.require_ability(
            structures.Matching(), structures.HasMarginals, user="StochasticSoftmax"
        )
    message = str(caught.value)
    assert message.startswith("StochasticSoftmax needs marginals; Matching(")
    assert "SpanningTree" in message and "Categorical" in message
    assert "BlackBox" not in message


@pytest.mark.parametrize("ability", ["HasMarginals", "HasSampler", "HasEnumeration"])
def test_present_ability_passes(ability):
    structures.require_ability(
        structures.Subset(k=2), getattr(structures, ability), user="a test"
    )


def test_equality_and_hash_follow_the_configuration():
    assert structures.Subset(k=2) == structures.Subset(k=2)
    assert hash(structures.Subset(k=2)) == hash(structures.Subset(k=2))
    assert structures.Subset(k=2) != structures.Subset(k=3)
    assert structures.Categorical() != structures.SpanningTree()
    assert repr(structures.Subset(k=2)) == "Subset(k=2)"


@pytest.mark.parametrize(
    "build",
    [
        lambda: structures.Subset(k=-1),
        lambda: structures.LinearChain(num_states=0),
        lambda: structures.Matching(num_iterations=0),
        lambda: structures.BlackBox("not a function"),
    ],
)
def test_wrong_arguments_are_configuration_errors(build):
    with pytest.raises(errors.ConfigurationError):
        build()


def test_entropy_stays_right_where_scores_are_large():
    # Two equal best trees of three: H = log 2, with log Z near 2e6.
    scores = tf.constant([1e6, 1e6, 1e6 - 50.0])
    entropy = structures.SpanningTree().entropy(scores[None] + tf.constant([[0.0]]))
    np.testing.assert_allclose(entropy, [0.0], atol=1e-4)
    ties = tf.constant([[1e6, 0.0, 0.0]])
    np.testing.assert_allclose(
        structures.SpanningTree().entropy(ties), [np.log(2)], rtol=1e-6
    )


def test_kl_of_a_law_with_itself_is_zero_and_infinite_without_support():
    structure = structures.Categorical()
    scores = tf.constant([[0.3, -2.0, 1.0]])
    np.testing.assert_allclose(structure.kl_divergence(scores, scores), [0], atol=1e-7)
    other = tf.constant([[0.0, -np.inf, 0.0]])
    assert np.isposinf(structure.kl_divergence(scores, other).numpy()[0])
    assert np.isfinite(structure.kl_divergence(other, scores).numpy()[0])


def test_entropy_gradient_is_minus_hessian_times_potentials():
    structure = structures.SpanningTree()
    scores = tf.constant(np.random.default_rng(0).normal(size=[2, 6]))
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = tf.reduce_sum(structure.entropy(scores))
    gradient = tape.gradient(total, scores).numpy()
    step = 1e-5
    for part in range(6):
        move = step * np.eye(6)[part]
        numeric = structure.entropy(scores + move) - structure.entropy(scores - move)
        np.testing.assert_allclose(numeric / (2 * step), gradient[:, part], atol=1e-8)
