"""Arguments that make no sense are refused by this library, and say what does.

Whatever a constructor or a function is given, it takes it or raises one of
`tfnes.errors`: no error from the inside of NumPy, Keras or TensorFlow.
"""

import inspect

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.errors import ConfigurationError, TfnesError
from tfnes.experiments import Phase, catalog
from tfnes.registration import KINDS
from tfnes.train import train

pytestmark = pytest.mark.reliability

catalog.register_all()

NAN, INF = float("nan"), float("inf")
VALUES = [-1, 0, 1.5, NAN, INF, "x", "", None, [], (), {}, [0], [1.5], ["x"], True]
VALUES += [2**70, np.zeros(2), np.array("x"), object(), b"x", 1j, tf.constant(1.5)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Arguments, by class, for those that cannot be made without."""
    nes = tfnes.estimators.NES
    data = tfnes.datasets.DemoTreebank(
        **dict.fromkeys(("source_train", "source_dev", "source_test"), 4),
        **dict.fromkeys(("target_train", "target_dev", "target_test"), 4),
    )
    files = data.write_conllu(tmp_path_factory.mktemp("treebanks"))
    tree = tfnes.structures.DependencyTree()
    return {
        "Subset": {"k": 2},
        "LinearChain": {"num_states": 2},
        "BlackBox": {"solver": lambda log_potentials, lengths: log_potentials},
        "HybridNES": {"encoder": nes()},
        "Parser": {"structure": tree, "vocabulary": data.vocabulary},
        "TreebankAdaptation": {
            "source": {"train": files["source_train"]},
            "target": {"train": files["target_train"]},
        },
        "GraphLayout": {"num_train": 2},
        "Phase": {
            "name": "fit",
            "estimator": nes(),
            "optimizer": keras.optimizers.SGD(),
        },
        "SmoothingGap": {"dataset": data},
        "PackedLSTM": {"units": 2},
        "PairScorer": {"units": 2},
        "TreeDecoder": {"units": 2, "vocabulary_size": 3},
    }


def classes():
    """Every public class that is registered."""
    public = {
        name
        for package in (tfnes.estimators, tfnes.models.layers)
        for name in package.__all__
    }
    for kind in KINDS:
        for cls in tfnes.registered(kind).values():
            if not cls.__module__.startswith("tfnes."):
                continue
            if kind != "layer" or cls.__name__ in public:
                yield cls


def parameters(function):
    """Names of its own arguments; what Keras names is Keras's."""
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and (function is Phase or parameter.name not in ("name", "dataset"))
    ]


def complaints(function, arguments, name):
    """Returns what is wrong with how a function takes the values, by the value."""
    wrong = {}
    for value in VALUES:
        try:
            function(**{**arguments, name: value})
        except TfnesError as error:
            if not str(error).strip():
                wrong[repr(value)] = "an empty message"
        except Exception as error:
            wrong[repr(value)] = f"{type(error).__name__}: {error}"
    return wrong


@pytest.mark.parametrize("cls", list(classes()), ids=lambda cls: cls.__name__)
def test_constructors(cls, sound):
    wrong = {
        name: found
        for name in parameters(cls)
        if (found := complaints(cls, sound.get(cls.__name__, {}), name))
    }
    assert not wrong


def data():
    return tfnes.datasets.GraphLayout(num_train=2, num_validation=1, num_test=1)


def model():
    return tfnes.models.NRI(hidden_units=2)


def network():
    return keras.Sequential([keras.layers.Dense(1)])


FUNCTIONS = {
    "NESModel": (tfnes.NESModel, {"network": network(), "loss": lambda batch, seed: 0}),
    "get_dataset": (data().get_dataset, {"split": "train", "batch_size": 1}),
    "compile": (
        lambda **kwargs: model().compile(keras.optimizers.SGD(), **kwargs),
        {"estimator": tfnes.estimators.NES(), "seed": None},
    ),
    "top_k": (tfnes.solvers.top_k, {"log_potentials": tf.zeros([3]), "k": 1}),
    "subset_marginals": (
        tfnes.solvers.subset_marginals,
        {"log_potentials": tf.zeros([3]), "k": 1},
    ),
    "sample_chains": (
        tfnes.solvers.sample_chains,
        {"log_potentials": tf.zeros([2, 2, 2]), "num_samples": 1, "seed": [0, 0]},
    ),
    "sinkhorn": (tfnes.solvers.sinkhorn, {"log_potentials": tf.zeros([2, 2])}),
    "gradient_norm_bound": (
        tfnes.theory.gradient_norm_bound,
        {"bound": 1.0, "sigma": 0.1, "dimension": 2},
    ),
}
OWN = {
    "get_dataset": (
        ["split", "batch_size", "shuffle", "seed", "epoch", "skip", "drop_remainder"]
    ),
    "compile": ["estimator", "seed"],
    "top_k": ["k"],
    "subset_marginals": ["k"],
    "sample_chains": ["num_samples"],
    "sinkhorn": ["num_iterations"],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, without_xla):
    function, arguments = FUNCTIONS[name]
    names = OWN.get(name) or parameters(function)
    wrong = {each: complaints(function, arguments, each) for each in names}
    assert not {each: found for each, found in wrong.items() if found}


def test_train(tmp_path):
    """All is refused before anything is written."""
    gin.clear_config()  # what other tests have read
    phase = Phase(
        "fit",
        estimator=tfnes.estimators.NES(population_size=2),
        optimizer=keras.optimizers.SGD(),
        epochs=1,
    )
    arguments = {"model": model(), "dataset": data(), "phases": [phase]}
    arguments["output_dir"] = tmp_path / "run"
    refused = {
        "model": VALUES,
        "phases": VALUES,
        "seed": [-1, 1.5, "x", None, 2**40],
        "monitor": [3, "", "x", "x/y", None],
        "monitor_mode": [3, "x", None],
        "evaluate": [3, "test", ["x"], [3]],
        "evaluation_batch_size": [0, 1.5, "x", None],
        "checkpoint_seconds": [-1, NAN, "x"],
        "checkpoint_updates": [0, 1.5, "x"],
        "keep_checkpoints": [0, 1.5, "x", None],
        "pictures": [-1, 1.5, "x", None],
        "smoke": [1, "x", None],
        "metrics": [3, [3], "x"],
        "baselines": [3, [3], "x"],
        "callbacks": [3, [3], "x"],
        "verbose": ["x", None, -1],
        "dataset": [3, None, "x"],
        "output_dir": [3, None, ""],
    }
    for name, values in refused.items():
        for value in values:
            with pytest.raises(ConfigurationError, match=name):
                train(**{**arguments, name: value})
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_taken_and_become_plain():
    estimator = tfnes.estimators.NES(
        population_size=np.int64(4), sigma=np.array(0.5, np.float32)
    )
    assert estimator.population_size == 4 and type(estimator.population_size) is int
    assert estimator.sigma == 0.5 and type(estimator.sigma) is float
    assert type(tfnes.structures.Subset(np.uint8(2)).k) is int
    hidden = tfnes.estimators.NVIL(hidden_units=np.array([3, 2]))
    assert hidden.get_config()["hidden_units"] in ((3, 2), [3, 2])
