"""`check_structure` sees what is wrong with a structure."""

import numpy as np
import pytest
import tensorflow as tf

from tfnes import structures, testing

pytestmark = pytest.mark.usefixtures("without_xla")


class Greedy(structures.Subset):
    """Always the first k parts."""

    def argmax(self, log_potentials, *, lengths=None):
        return super().argmax(tf.zeros_like(log_potentials), lengths=lengths)


class PaddingLeaks(structures.Categorical):
    def argmax(self, log_potentials, *, lengths=None):
        return super().argmax(log_potentials)


class ForgetsForbidden(structures.Categorical):
    """Reads -inf as 0 where there is padding."""

    def argmax(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        if lengths is not None:
            lost = tf.where(log_potentials < -1e30, 0.0, log_potentials)
            return super().argmax(lost, lengths=lengths)
        return super().argmax(log_potentials)


class Careless(structures.Categorical):
    """Finds every optimum finite."""

    def has_finite_optimum(self, latent, log_potentials, *, lengths=None):
        return tf.ones(tf.shape(log_potentials)[:-1], tf.bool)


class Miscounted(structures.Subset):
    def log_count(self, log_potentials, *, lengths=None):
        return super().log_count(log_potentials, lengths=lengths) + 0.1


class Generous(structures.Categorical):
    def contains(self, latent, *, lengths=None):
        return tf.reduce_all((latent == 0) | (latent == 1), axis=-1)


class Overflowing(structures.Categorical):
    def log_partition(self, log_potentials, *, lengths=None):
        return tf.math.log(tf.reduce_sum(tf.exp(log_potentials), -1))


class WrongSampler(structures.Categorical):
    def sample(self, log_potentials, *, num_samples, seed, lengths=None):
        flat = tf.zeros_like(tf.convert_to_tensor(log_potentials))
        return super().sample(flat, num_samples=num_samples, seed=seed, lengths=lengths)


class Unkeyed(structures.Categorical):
    def noise(self, log_potentials, *, seed, index=None):
        return super().noise(log_potentials, seed=seed)


class Forgetful(structures.Subset):
    def get_config(self):
        return {"k": 1}


class Unlisted(structures.BlackBox):
    pass


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (Greedy(k=2), "argmax is not optimal"),
        (PaddingLeaks(), "lengths = 0|left the set|other parts"),
        (ForgetsForbidden(), "lengths = .* of 3, forbidden parts: argmax"),
        (Careless(), "validate did not report NaN"),
        (Miscounted(k=2), "log_count differs"),
        (Generous(), "contains differs"),
        (Overflowing(), "log_partition|lengths"),
        (WrongSampler(), "samples do not follow the law"),
        (Unkeyed(), "keyed by index"),
        (Unlisted(lambda scores, length: scores), "enumerate"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_fault_is_found(structure, message):
    import keras

    keras.saving.register_keras_serializable(package="faulty")(type(structure))
    with pytest.raises(AssertionError, match=message):
        testing.check_structure(structure, num_nodes=3, jit_compile=False)


def test_lost_configuration_is_found():
    import keras

    keras.saving.register_keras_serializable(package="faulty")(Forgetful)
    with pytest.raises(AssertionError, match="not equal to its copy"):
        structure = Forgetful(k=1)
        structure.k = 1
        structure.get_config = lambda: {"k": 2}
        testing.check_structure(structure, num_nodes=3, jit_compile=False)


def test_a_right_structure_passes_with_other_sizes():
    testing.check_structure(
        structures.Categorical(), num_nodes=3, batch_size=4, seed=7, jit_compile=False
    )
    assert np.isfinite(structures.Categorical().log_count(tf.zeros([3])))
