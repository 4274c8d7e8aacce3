import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.estimators import REINFORCE, GumbelSoftmax, StochasticSoftmax
from tfnes.structures import Categorical
from tfnes.testing import check_model

IMAGES = {"image": tf.constant(np.random.default_rng(0).integers(0, 2, (3, 6)))}


def make(**methods):
    """A subclass of MLP with some methods replaced."""
    cls = type("Changed", (tfnes.models.MLP,), methods)
    return cls(hidden_units=4, input_size=6)


def check(model, **options):
    return check_model(
        model, IMAGES, estimators=[GumbelSoftmax()], verbose=False, **options
    )


def test_a_good_model_passes_with_every_estimator(capsys):
    model = tfnes.models.MLP(hidden_units=4, input_size=6)
    model(IMAGES)
    before = [variable.numpy() for variable in model.trainable_variables]
    lines = check_model(model, IMAGES)
    assert capsys.readouterr().out.splitlines() == lines
    tried = [line for line in lines if line.startswith("one update by")]
    assert len(tried) == 10
    assert any("left out: Supervised" in line for line in lines)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_datasets_serve_as_data():
    dataset = tf.data.Dataset.from_tensor_slices(IMAGES).batch(2)
    model = tfnes.models.MLP(hidden_units=4, input_size=6)
    check_model(model, dataset, estimators=[REINFORCE()], verbose=False)
    with pytest.raises(tfnes.errors.ConfigurationError, match="Received: int"):
        check_model(model, 3)


def base(name):
    return getattr(tfnes.models.MLP, name)


def leaky(self, batch, *, training=False):
    h = base("encode")(self, batch, training=training)
    return h + tf.reduce_mean(h, axis=0)


def random(self, batch, *, training=False):
    return base("encode")(self, batch) + tf.random.normal([10])


def infinite(self, log_potentials, latent, *, lengths=None):
    return tf.math.log(0.0 * latent[:, 0])


def blocked(self, batch, *, training=False):
    return tf.stop_gradient(base("encode")(self, batch))


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("encode", leaky, "alone and in its batch differ"),
        ("encode", random, "differ"),
        ("encode", blocked, "no gradient reaches"),
        ("kl_divergence", infinite, "not finite"),
        ("get_config", lambda self: {"name": self.name}, "restored|config"),
    ],
)
def test_what_is_wrong_is_found(name, method, message):
    with pytest.raises((AssertionError, TypeError), match=message):
        check(make(**{name: method}))


class Ragged(tfnes.models.StructuredVAE):
    """A choice among `lengths` numbers; `mask=False` lets padding matter."""

    def __init__(self, structure=None, *, mask=True, **kwargs):
        super().__init__(structure or Categorical(), **kwargs)
        self.mask = mask
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        self.shift = self.add_weight(name="shift", shape=(), initializer="ones")

    def encode(self, batch, *, training=False):
        return self.scale * batch["x"]

    def log_likelihood(self, batch, latent, *, training=False):
        counted = latent if self.mask else latent + 0.1
        return -tf.reduce_sum(tf.square(batch["x"] - self.shift) * counted, axis=1)

    def get_config(self):
        return {**super().get_config(), "mask": self.mask}


keras.saving.register_keras_serializable("tests")(Ragged)


def pad_numbers(batch, amount):
    garbage = tf.fill([batch["x"].shape[0], amount], 7.0)
    return {**batch, "x": tf.concat([batch["x"], garbage], axis=1)}


RAGGED = {
    "x": tf.constant(np.random.default_rng(0).normal(size=(3, 4)), tf.float32),
    "lengths": tf.constant([4, 3, 2]),
}


def test_padding_is_checked():
    lines = check_model(
        Ragged(),
        RAGGED,
        estimators=[StochasticSoftmax(), REINFORCE()],
        pad_nodes=pad_numbers,
        verbose=False,
    )
    assert "padding by nodes changes nothing" in lines
    assert "examples of length 0 influence nothing" in lines
    with pytest.raises(AssertionError, match="three more nodes of padding"):
        check_model(
            Ragged(mask=False),
            RAGGED,
            estimators=[REINFORCE()],
            pad_nodes=pad_numbers,
            verbose=False,
        )
