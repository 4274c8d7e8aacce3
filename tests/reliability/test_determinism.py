"""The same seed gives the same bits: twice, in a graph or not, stopped or not.

NES after a stop: `tests/experiments/test_resume.py`, too; on more devices:
`tests/estimators/test_nes_replicas.py`; on more workers:
`tests/experiments/test_workers.py`; a run that is killed: `test_kills.py`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.estimators import NES, HybridNES, StochasticSoftmax

pytestmark = pytest.mark.reliability

BY_EXAMPLE = {"population_size": 4, "granularity": "example"}
FORMS = {
    "NES": lambda: NES(population_size=4),
    "StochasticSoftmax": lambda: StochasticSoftmax(temperature=0.5),
    "HybridNES": lambda: HybridNES(encoder=NES(population_size=4)),
    "HybridNES, potentials": lambda: HybridNES(
        encoder=NES(noise="log_potentials", **BY_EXAMPLE)
    ),
}
forms = pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            make, id=name, marks=[pytest.mark.thorough] if "NES" in name else []
        )
        for name, make in FORMS.items()
    ],
)
SIZE = 5


def batches(start=0, stop=6):
    image = np.random.default_rng(0).integers(0, 2, [48, SIZE]).astype(np.float32)
    data = {"image": image, "index": np.arange(48, dtype=np.int32)}
    return tf.data.Dataset.from_tensor_slices(data).batch(8).take(stop).skip(start)


def train(make, *, eagerly=False, stop=6):
    keras.utils.set_random_seed(0)
    model = tfnes.models.MLP(hidden_units=4, num_categories=3, input_size=SIZE)
    model.compile(keras.optimizers.Adam(0.05), make(), run_eagerly=eagerly)
    model.fit(batches(stop=stop), verbose=0)
    return model


def assert_same(model, other):
    for mine, its in (
        (model.variables, other.variables),
        (model.optimizer.variables, other.optimizer.variables),
        (model.estimator.variables, other.estimator.variables),
    ):
        for a, b in zip(mine, its, strict=True):
            np.testing.assert_array_equal(a, b)


@forms
def test_twice_without_a_graph_and_after_a_stop(make, without_xla, tmp_path):
    model = train(make)
    assert_same(train(make), model)
    if make is not FORMS["HybridNES, potentials"]:  # TensorFlow rewrites its graph.
        assert_same(train(make, eagerly=True), model)
    train(make, stop=3).save(tmp_path / "half.keras")
    second = keras.saving.load_model(tmp_path / "half.keras")
    second.fit(batches(start=3), verbose=0)
    assert_same(second, model)
