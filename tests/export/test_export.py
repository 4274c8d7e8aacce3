"""Exported updates, run by JAX, are the updates of TensorFlow."""

import json
import pathlib
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes import random
from tfnes.errors import ConfigurationError, DataError
from tfnes.estimators import NES

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "exported_step.py"
JAX = runpy.run_path(str(SCRIPT))


def run_in_jax(directory, updates):
    """Returns the metrics of each update, and the state after the last by path."""
    executable, part, inputs = JAX["load"](directory)
    metrics = [
        {n: np.asarray(v) for n, v in JAX["run"](executable, part, inputs).items()}
        for _ in range(updates)
    ]
    state = {
        argument["path"]: np.asarray(value)
        for argument, value in zip(part["inputs"], inputs, strict=True)
        if argument["kind"] == "state"
    }
    return metrics, state


def run_in_tensorflow(model, batch, updates, *, jit_compile):
    """The same by `update_step`."""

    @tf.function(jit_compile=jit_compile, autograph=False)
    def step(batch, seed):
        estimate = model.update_step(batch, seed=seed)
        return {model.loss_name: estimate.loss, **estimate.metrics}

    seed = random.make_seed(model.seed)
    metrics = [step(batch, seed) for _ in range(updates)]
    variables = [*model.variables, *model.optimizer.variables]
    variables += model.estimator.variables
    state = {v.path: np.asarray(v) for v in variables}
    return [{n: v.numpy() for n, v in m.items()} for m in metrics], state


def assert_same(found, expected, *, rtol, atol):
    (metrics, state), (expected_metrics, expected_state) = found, expected
    for step, (one, other) in enumerate(zip(metrics, expected_metrics, strict=True)):
        assert one.keys() == other.keys()
        for name, value in other.items():
            np.testing.assert_allclose(
                one[name], value, rtol=rtol, atol=atol, err_msg=f"{name} of {step}"
            )
    for name, value in state.items():
        np.testing.assert_allclose(
            value, expected_state[name], rtol=rtol, atol=atol, err_msg=name
        )


def small_mlp(**nes):
    keras.utils.set_random_seed(0)
    model = tfnes.models.MLP(hidden_units=5, input_size=12, num_categories=3, seed=4)
    image = tf.cast(tf.random.stateless_uniform([6, 12], [0, 1]) < 0.4, tf.float32)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.05, 5, 0.8)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01, global_clipnorm=2.0),
        NES(population_size=10, sigma=0.1, **nes),
    )
    return model, {"image": image}


def test_twenty_updates_of_a_vae_are_those_of_tensorflows_xla(tmp_path):
    model, batch = small_mlp()
    manifest = tfnes.export_step(model, batch, tmp_path)
    start = {v.path: v.numpy() for v in model.trainable_variables}
    found = run_in_jax(tmp_path, 20)
    # Running it elsewhere changed nothing here.
    for variable in model.trainable_variables:
        np.testing.assert_array_equal(variable, start[variable.path])
    expected = run_in_tensorflow(model, batch, 20, jit_compile=True)
    assert_same(found, expected, rtol=1e-4, atol=1e-5)
    _, state = found
    assert state[model.step.path] == 20
    moved = [state[path] - value for path, value in start.items()]
    assert all(np.abs(change).max() > 0.05 for change in moved)

    # The manifest on disk is the one returned, and is about these files.
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert manifest["estimator"]["config"]["population_size"] == 10
    assert manifest["evaluations_per_update"] == 10
    with np.load(tmp_path / "inputs.npz") as arrays:
        for part in ("update", "forward"):
            for argument in manifest[part]["inputs"]:
                array = arrays[argument["name"]]
                assert list(array.shape) == argument["shape"]
                assert array.dtype.name == argument["dtype"]

    # The state comes back, into a model that Keras names otherwise.
    other, _ = small_mlp()
    other(batch)
    names = {i["path"]: i["name"] for i in manifest["update"]["inputs"] if "path" in i}
    trained = {names[path]: value for path, value in state.items()}
    np.savez(tmp_path / "trained.npz", **trained)
    tfnes.export.load_state(other, tmp_path / "trained.npz")
    owners = ((model, other), (model.optimizer, other.optimizer))
    for ours, theirs in owners:
        for variable, copy in zip(ours.variables, theirs.variables, strict=True):
            assert variable is model.step or variable.path != copy.path
            np.testing.assert_allclose(copy, variable, rtol=1e-4, atol=1e-5)


def test_the_benchmark_needs_no_tensorflow(tmp_path):
    model, batch = small_mlp()
    manifest = tfnes.export_step(model, batch, tmp_path / "mlp_010")
    code = (
        "import runpy, sys\n"
        "sys.modules.update(tensorflow=None, keras=None, tfnes=None)\n"
        f"sys.argv = ['x', '--rounds=1', {str(tmp_path / 'mlp_010')!r}]\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "mlp_010" in done.stdout

    # The evaluation that it compares with is the one of a member at the mean.
    metrics, _ = run_in_jax_forward(tmp_path / "mlp_010")
    first = run_in_tensorflow(model, batch, 1, jit_compile=None)[0][0]
    np.testing.assert_allclose(metrics["neg_elbo"], first["neg_elbo"], rtol=1e-5)
    assert all(o["input"] is None for o in manifest["forward"]["outputs"])


def run_in_jax_forward(directory):
    executable, part, inputs = JAX["load"](directory, "forward")
    return JAX["run"](executable, part, inputs), inputs


def test_the_page_shows_the_loader_of_the_benchmark():
    page = (ROOT / "docs" / "export.md").read_text("utf-8")
    script = SCRIPT.read_text("utf-8")
    for name in ("load", "run"):
        start = script.index(f"def {name}(")
        assert script[start : script.index("\n\n\n", start)] in page


def test_updates_of_relational_inference(tmp_path):
    keras.utils.set_random_seed(0)
    model = tfnes.models.NRI(
        tfnes.structures.SpanningTree(), hidden_units=3, prediction_steps=1
    )
    positions = tf.random.stateless_normal([3, 4, 4, 2], [0, 1])
    batch = {"positions": tf.cumsum(0.01 * positions, axis=1)}
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9), NES(population_size=4, sigma=0.05)
    )
    tfnes.export_step(model, batch, tmp_path)
    found = run_in_jax(tmp_path, 2)
    # Not even compiled as a whole: the noise is the same.
    expected = run_in_tensorflow(model, batch, 2, jit_compile=None)
    assert_same(found, expected, rtol=1e-3, atol=1e-4)
    assert np.any(found[1][model.encoder.statistics[0].moving_mean.path] != 0)


@pytest.mark.parametrize("projective", [True, False])
def test_updates_of_a_parser(projective, tmp_path):
    vocabulary = tfnes.datasets.vocabulary.Vocabulary(
        words=["<unk>", "<root>", "a", "b", "c", "d"],
        counts=[0, 0, 3, 2, 1, 1],
        relations=["<unk>", "x"],
    )
    keras.utils.set_random_seed(0)
    model = tfnes.models.Parser(
        tfnes.structures.DependencyTree(projective=projective),
        vocabulary=vocabulary,
        embedding_size=3,
        hidden_size=2,
        num_layers=1,
        scorer_size=3,
        decoder_size=3,
    )
    batch = {
        "words": tf.constant([[2, 3, 2, 4], [4, 2, 0, 0], [0, 0, 0, 0]]),
        "lengths": tf.constant([4, 2, 0]),
    }
    model.compile(
        keras.optimizers.AdamW(0.05, weight_decay=0.1),
        NES(population_size=4, sigma=0.5),
    )
    tfnes.export_step(model, batch, tmp_path)
    before = model.encoder.embedding.numpy()
    found = run_in_jax(tmp_path, 2)
    expected = run_in_tensorflow(model, batch, 2, jit_compile=None)
    assert_same(found, expected, rtol=1e-3, atol=1e-4)
    after = found[1][model.encoder.embedding.path]
    # <unk> occurs as padding alone, d nowhere.
    np.testing.assert_array_equal(after[[0, 5]], before[[0, 5]])
    assert np.all(after[[1, 2, 3, 4]] != before[[1, 2, 3, 4]])


def vector_model(loss_of, optimizer=None, **nes):
    """A `NESModel` of one vector; its loss is the same for both examples."""
    network = keras.Sequential(
        [
            keras.Input([1]),
            keras.layers.Dense(
                3, use_bias=False, kernel_initializer=keras.initializers.Constant(0.5)
            ),
        ]
    )

    def loss(batch, seed):
        return loss_of(network(batch["x"]))

    model = tfnes.NESModel(network, loss=loss)
    model.compile(
        optimizer or keras.optimizers.Adam(0.1), NES(population_size=2, **nes)
    )
    return model, {"x": tf.ones([2, 1])}


def squares(x):
    return tf.reduce_sum(x**2, axis=1)


def test_an_update_without_finite_losses_leaves_all_as_it_was(tmp_path):
    model, batch = vector_model(lambda x: tf.reduce_sum(x, axis=1) * float("nan"))
    tfnes.export_step(model, batch, tmp_path)
    metrics, state = run_in_jax(tmp_path, 2)
    assert [m["skipped_updates"] for m in metrics] == [1, 1]
    counters = {v.path: 2 for v in [model.step, *model.estimator.variables]}
    variables = [*model.variables, *model.optimizer.variables]
    start = {v.path: v.numpy() for v in [*variables, *model.estimator.variables]}
    for path, value in state.items():
        np.testing.assert_array_equal(value, counters.get(path, start[path]))
    assert counters.keys() <= state.keys()


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, use_ema=True),
        keras.optimizers.Adam(0.1, amsgrad=True, gradient_accumulation_steps=2),
        keras.optimizers.Adafactor(0.1),
        keras.optimizers.RMSprop(0.1, momentum=0.5, centered=True, clipvalue=0.1),
        keras.optimizers.Lion(0.1),
        keras.optimizers.Ftrl(0.1),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_all_state_of_any_optimizer_comes_out(optimizer, tmp_path):
    model, batch = vector_model(squares, optimizer)
    manifest = tfnes.export_step(model, batch, tmp_path)
    part = manifest["update"]
    found = {part["inputs"][o["input"]].get("path") for o in part["outputs"][6:]}
    state = {v.path for v in [*model.variables, *optimizer.variables]}
    assert state - found == {f"{optimizer.name}/learning_rate"}


def test_noise_tables_and_constants_are_arguments(tmp_path):
    offset = tf.constant([1.0, 2.0, 3.0])
    model, batch = vector_model(
        lambda x: squares(x - offset), noise_source=tfnes.estimators.NoiseTable(size=64)
    )
    manifest = tfnes.export_step(model, batch, tmp_path)
    inputs = {i["name"]: i for i in manifest["update"]["inputs"]}
    assert inputs["state/other/0"]["path"] == "noise_table"
    assert inputs["state/other/0"]["shape"] == [64]
    assert inputs["constant/0"]["shape"] == [3]
    outputs = [o["name"] for o in manifest["update"]["outputs"]]
    assert "state/other/0" not in outputs and "constant/0" not in outputs


def test_updates_with_noise_of_each_example(tmp_path):
    model, batch = vector_model(squares)
    model.compile(
        keras.optimizers.SGD(0.1),
        NES(population_size=4, noise="activations", granularity="example"),
    )
    tfnes.export_step(model, batch, tmp_path)
    found = run_in_jax(tmp_path, 2)
    expected = run_in_tensorflow(model, batch, 2, jit_compile=None)
    assert_same(found, expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_exported_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match=r"not compiled.*compile\("):
        tfnes.export_step(tfnes.models.MLP(), {"image": tf.ones([1, 784])}, tmp_path)

    def first(scores, length):
        return np.eye(len(scores), dtype=scores.dtype)[0]

    batch = {"image": tf.ones([2, 4])}
    model = tfnes.models.MLP(
        structure=tfnes.structures.BlackBox(first), hidden_units=2, input_size=4
    )
    model.compile(keras.optimizers.SGD(), NES(population_size=2))
    with pytest.raises(ConfigurationError, match=r"Python on the host.*BlackBox"):
        tfnes.export_step(model, batch, tmp_path)

    model, batch = vector_model(
        lambda x: (
            tf.fill([2], tf.reduce_sum(tf.boolean_mask(x, x > 0)))
            + tf.cast(tf.size(tf.strings.as_string(x)), tf.float32)
        )
    )
    with pytest.raises(ConfigurationError, match="XLA cannot compile the update"):
        tfnes.export_step(model, batch, tmp_path)
    assert not list(tmp_path.iterdir())

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model, batch = vector_model(squares)
    with pytest.raises(ConfigurationError, match=r"MirroredStrategy.*outside"):
        tfnes.export_step(model, batch, tmp_path)


def test_state_of_another_model_is_refused(tmp_path):
    model, batch = vector_model(squares)
    np.savez(tmp_path / "state.npz", **{"state/model/99": np.zeros(3)})
    with pytest.raises(ConfigurationError, match="not built"):
        tfnes.export.load_state(model, tmp_path / "state.npz")
    model.build(batch)
    with pytest.raises(DataError, match=r"state/model/99 of shape \(3,\).*none"):
        tfnes.export.load_state(model, tmp_path / "state.npz")
