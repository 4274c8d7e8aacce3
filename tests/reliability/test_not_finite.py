"""Numbers that are not finite: refused with their place, or survived with a metric.

By every estimator a batch with a NaN changes nothing and is counted; a model whose
weights are NaN ends, and the message names them.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.errors import ConfigurationError, DataError, NonFiniteError
from tfnes.estimators import (
    NES,
    NVIL,
    REINFORCE,
    BatchMean,
    Exact,
    ExponentialMovingAverage,
    GumbelSoftmax,
    HybridNES,
    LeaveOneOut,
    PerturbAndParse,
    SeparableSigma,
    SparseMAP,
    StochasticSoftmax,
    Supervised,
)
from tfnes.models.nri_encoder import BatchStatistics

pytestmark = pytest.mark.reliability

EXAMPLE_WISE = {"population_size": 4, "granularity": "example"}
ESTIMATORS = {
    "NES": lambda: NES(population_size=4),
    "NVIL": NVIL,
    "StochasticSoftmax": StochasticSoftmax,
    "Supervised": Supervised,
    "NES, fast": lambda: NES(noise="activations", **EXAMPLE_WISE),
    "NES, ranks": lambda: NES(population_size=4, fitness_shaping="centered_ranks"),
    "NES, learned": lambda: NES(population_size=4, sigma=SeparableSigma()),
    "HybridNES": lambda: HybridNES(encoder=NES(population_size=4)),
    "HybridNES, potentials": lambda: HybridNES(
        encoder=NES(noise="log_potentials", **EXAMPLE_WISE)
    ),
    "HybridNES, twice": lambda: HybridNES(
        encoder=NES(population_size=4), decoder=NES(population_size=4)
    ),
    "REINFORCE": lambda: REINFORCE(control_variate=BatchMean()),
    "REINFORCE, average": lambda: REINFORCE(control_variate=ExponentialMovingAverage()),
    "REINFORCE, samples": lambda: REINFORCE(control_variate=LeaveOneOut(2)),
    "GumbelSoftmax": GumbelSoftmax,
    "PerturbAndParse": PerturbAndParse,
    "SparseMAP": SparseMAP,
    "Exact": Exact,
}
QUICK = ("NES", "NVIL", "StochasticSoftmax", "Supervised")
SIZE = 5


class Classifier(tfnes.models.MLP):
    """An MLP whose code has labels, so that `Supervised` can be used."""

    def supervised_loss(self, batch, *, seed):
        del seed
        loss = keras.losses.sparse_categorical_crossentropy(
            batch["label"], self.encode(batch, training=True), from_logits=True
        )
        return {"loss": loss}


def data(*, bad=None, times=1):
    image = np.random.default_rng(0).integers(0, 2, [8, SIZE]).astype(np.float32)
    if bad is not None:
        image[2, 3] = bad
    batch = {"image": image, "label": np.arange(8, dtype=np.int32) % 3}
    return tf.data.Dataset.from_tensors(batch).repeat(times)


def state(model):
    variables = [
        *model.trainable_variables,
        *model.optimizer.variables,
        *(v for v in model.estimator.variables if v.name != "empty_steps"),
    ]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def skipped(history):
    return history.history["skipped_updates"][-1]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.thorough)
        for name in ESTIMATORS
    ],
)
def test_a_bad_batch_changes_nothing_and_bad_weights_end_it(name, without_xla):
    keras.utils.set_random_seed(0)
    model = Classifier(hidden_units=4, num_categories=3, input_size=SIZE)
    model.compile(keras.optimizers.Adam(0.01), ESTIMATORS[name]())
    assert skipped(model.fit(data(), verbose=0)) == 0
    for bad in (float("nan"), float("inf")):
        before = state(model)
        assert skipped(model.fit(data(bad=bad), verbose=0)) == 1
        for old, new in zip(before, state(model), strict=True):
            np.testing.assert_array_equal(old, new)
    # A good batch moves it again, and the count of skipped ones starts over.
    assert skipped(model.fit(data(), verbose=0)) == 0
    assert any((a != b).any() for a, b in zip(before, state(model), strict=True))
    assert model.estimator._empty_steps == 0
    before = state(model)
    with pytest.raises(NonFiniteError, match="skipped 10 updates in a row"):
        model.fit(data(bad=float("nan"), times=20), verbose=0)
    assert model.step == 4 + 10
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)
    kernel = model.encoder.layers[0].kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(NonFiniteError, match=f"^{kernel.path}: NaN"):
        model.fit(data(), verbose=0)
    assert model.step == 14


class Broken(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that is not finite at the third update that is made."""

    def __call__(self, step):
        return tf.where(step == 2, float("inf"), 0.01)

    def get_config(self):
        return {}


def test_learning_rates(without_xla):
    model = Classifier(hidden_units=4, num_categories=3, input_size=SIZE)
    for rate in (float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match="learning_rate must be a finite"):
            model.compile(keras.optimizers.SGD(rate), Exact())
    model.compile(keras.optimizers.Adam(Broken()), Exact())
    with pytest.raises(NonFiniteError, match="learning rate"):
        model.fit(data(times=20), verbose=0)
    assert model.optimizer.iterations == 2
    assert all(np.isfinite(variable).all() for variable in model.variables)


def test_statistics_of_a_bad_batch_are_not_kept():
    layer = BatchStatistics()
    inputs = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    layer(inputs, training=True)
    before = [variable.numpy() for variable in layer.variables]
    inputs[2, 1] = np.nan
    layer(inputs, training=True)
    assert all(np.isfinite(variable).all() for variable in layer.variables)
    # The other columns are those of a batch like any other.
    for old, new in zip(before[2:], layer.variables[2:], strict=True):
        assert (old != new)[[0, 2]].all()


def layouts(**changes):
    arrays = {}
    for name in ("train", "valid", "test"):
        arrays[f"positions_{name}"] = np.zeros([2, 4, 3, 2], np.float32)
        arrays[f"edges_{name}"] = np.array([[1, 1, 0], [0, 1, 1]], np.uint8)
    return arrays | changes


def test_files_of_layouts(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **layouts())
    assert tfnes.datasets.GraphLayout(path=path).num_examples("train") == 2
    positions = np.zeros([2, 4, 3, 2])
    positions[1, 2, 0, 1] = np.nan
    wrong = {
        r"positions_valid\[1, 2, 0, 1\] must be finite": {"positions_valid": positions},
        r"edges_test\[0, 2\] must be 0 or 1": {"edges_test": np.array([[0, 1, 7]] * 2)},
        "holds no example|at least 2": {"positions_train": positions[:0]},
        # An array of objects is a pickle, which could run code.
        "Object arrays cannot be loaded": {"edges_train": np.array([{}, None])},
        "must hold numbers": {"edges_train": np.array(["a"])},
    }
    for message, change in wrong.items():
        np.savez(path, **layouts(**change))
        with pytest.raises(DataError, match=message) as error:
            tfnes.datasets.GraphLayout(path=path)
        assert str(error.value).startswith(str(path))
    for content in (b"", b"PK\x03\x04", path.read_bytes()[:-40]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            tfnes.datasets.GraphLayout(path=path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_vectors(bad):
    vocabulary = tfnes.datasets.DemoTreebank(vector_dimension=0).vocabulary
    with pytest.raises(DataError, match=r"vectors\[4, 1\] must be finite"):
        vectors = np.zeros([5, 2], np.float32)
        vectors[4, 1] = bad
        vocabulary.with_vectors(["a", "b"], vectors)
