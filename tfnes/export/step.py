"""Writes the update of a compiled model as modules of XLA with a manifest."""

from __future__ import annotations

import json
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes import __version__, errors, random
from tfnes.estimators.estimator import GradientEstimator
from tfnes.export.lowering import Argument, Lowered, lower
from tfnes.files import write_atomically, write_bytes, write_text
from tfnes.models.trainable import TrainableModel
from tfnes.solvers import batching

FORMAT = 1
"""Version of the manifest; a reader should refuse one that it does not know."""


def export_step(
    model: TrainableModel, batch: Any, directory: str | pathlib.Path
) -> dict[str, Any]:
    """Saves the whole update of a compiled model for runtimes other than TensorFlow.

    The update as a pure function,

        (batch, seed, state) -> (metrics, new state),

    the state being every variable that `fit` would read: parameters, the optimizer's
    slots and counters, moving statistics, the estimator's own. It is what
    `model.update_step` does, traced once; XLA lowers it, MAP solver included, to a
    module that any PJRT runtime compiles for its own device. Written to `directory`:

    * `update.hlo`: one update;
    * `forward.hlo`: the mean loss of one evaluation of the batch, the latent noise
      given: what one member of a population computes, to compare times with;
    * `inputs.npz`: a value for each argument of both, the state as it is now;
    * `manifest.json`: the arguments, see below.

    The modules are serialized `HloModuleProto`s. Their shapes are those of `batch`, its
    padding included; for other shapes export again. The noise of a seed is that of
    TensorFlow, up to rounding. An update that NES skips (no finite losses that differ)
    leaves the state as it was, but for `step` and the count of such updates; nothing
    stops a loop outside of TensorFlow after `max_empty_steps` of them, so look at the
    metric `skipped_updates`.

    Args:
      model: compiled, with any Keras optimizer.
      batch: as the data set yields it.
      directory: is made where it does not exist.

    Returns:
      The manifest, a dict: `format`; `versions` and `platform` of the writer; `model`,
      `optimizer` and `estimator` with their settings; `evaluations_per_update`; and for
      each of `update` and `forward`

      * `file`;
      * `inputs`, in order: `name` (its key in `inputs.npz`), `shape`, `dtype`, `kind`:
        `"batch"`, `"seed"`, `"shared"` (what all members share), `"state"`, or
        `"constant"`; of state also `path`, the name of the variable in Keras;
      * `outputs`, in order: `name`, `shape`, `dtype`, `kind` (`"metric"` or `"state"`),
        and `input`: the position of the argument that it is for the next update, null
        for a metric. State that no update changes, such as a learning rate, does not
        come out. The module lets the runtime overwrite the arguments that come out.

    Raises:
      ConfigurationError: if the model is not compiled, belongs to a distribution
        strategy, calls Python on the host (as `BlackBox` structures do), or does
        anything else that XLA cannot compile.
      StorageError: if a file cannot be written.

    Example:

        >>> import tempfile, keras, tensorflow as tf, tfnes
        >>> model = tfnes.models.MLP(hidden_units=4, input_size=6, num_categories=3)
        >>> model.compile(
        ...     keras.optimizers.SGD(0.1), tfnes.estimators.NES(population_size=4))
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     manifest = tfnes.export_step(
        ...         model, {"image": tf.ones([2, 6])}, directory)
        >>> for argument in manifest["update"]["inputs"][:3]:
        ...     print(argument["kind"], argument["shape"])
        batch [2, 6]
        seed [2]
        state []
        >>> manifest["update"]["outputs"][-1]["kind"]
        'state'
    """
    _check(model)
    batch = model.features(batch)
    model.ensure_built(batch)
    variables = _named_variables(model)
    seed = random.make_seed(model.seed)
    batches, key = _Nest("batch", batch), _Nest("seed", seed)
    shared = _Nest("shared", _shared_terms(model, batch, seed))
    size = len(batches.arguments)

    def update(*values):
        estimate = model.update_step(batches.pack(values[:size]), seed=values[size])
        return {model.loss_name: estimate.loss, **estimate.metrics}

    def forward(*values):
        # What a training pass would write is dropped, as in a population.
        with keras.StatelessScope():
            loss = _mean_loss(
                model, batches.pack(values[:size]), shared.pack(values[size:])
            )
        return {model.loss_name: loss}

    lowered = {
        "update": lower(
            update,
            batches.arguments + key.arguments,
            variables=variables,
            what="the update of the model",
        ),
        "forward": lower(
            forward,
            batches.arguments + shared.arguments,
            variables=variables,
            what="the loss of the model",
        ),
    }
    manifest = _manifest(model, lowered)
    directory = pathlib.Path(directory)
    for name, computation in lowered.items():
        write_bytes(directory / f"{name}.hlo", computation.module)
    values: dict[str, Any] = {
        a.name: a.value for c in lowered.values() for a in c.inputs
    }
    write_atomically(directory / "inputs.npz", lambda name: np.savez(name, **values))
    write_text(directory / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return manifest


def load_state(model: TrainableModel, path: str | pathlib.Path) -> None:
    """Gives a model what updates outside of TensorFlow have made of its state.

    Args:
      model: compiled and built, as the one that was exported.
      path: `.npz` file with the state's arrays by the names of the manifest; what is
        not in it (and is no state) is left alone.

    Raises:
      ConfigurationError: if the model is not compiled, or not built.
      DataError: if the file has state that the model has not, or of another shape.
    """
    estimator = _check(model)
    if not model.built:
        raise errors.ConfigurationError(
            f"load_state needs a model that is built. Received: {model.name}, not "
            "built. Call model.build(batch) first."
        )
    estimator.build_state(model)
    if not model.optimizer.built:
        model.optimizer.build(model.optimized_variables)
    variables = _named_variables(model)
    with np.load(path) as arrays:
        state = {n: arrays[n] for n in arrays.files if n.startswith("state/")}
    for name, value in state.items():
        if name not in variables or tuple(variables[name].shape) != value.shape:
            had = f"shape {variables[name].shape}" if name in variables else "none"
            raise errors.DataError(
                f"{path} must hold state of this model and its optimizer. Received: "
                f"{name} of shape {value.shape}; the model has {had}. Build and "
                "compile the model as when it was exported."
            )
    for name, value in state.items():
        variables[name].assign(value)


def _check(model: TrainableModel) -> GradientEstimator:
    if not isinstance(model, TrainableModel):
        raise errors.ConfigurationError(
            f"Expected a compiled model of tfnes. Received: {type(model).__name__}."
        )
    estimator = model.require_estimator()
    if model.distribute_strategy is not tf.distribute.get_strategy() or (
        tf.distribute.has_strategy()
    ):
        raise errors.ConfigurationError(
            "The update of one device is exported. Received: a model under "
            f"{type(model.distribute_strategy).__name__}. Build and compile it outside "
            "of the strategy's scope."
        )
    return estimator


def _named_variables(model: TrainableModel) -> dict[str, keras.Variable]:
    """Returns all state of a compiled model, named by its owner and its place there.

    Not by Keras's own names, which count the layers that a process has made.
    """
    owners = {
        "model": model,
        "optimizer": model.optimizer,
        "estimator": model.estimator,
    }
    return {
        f"state/{owner}/{place}": variable
        for owner, each in owners.items()
        for place, variable in enumerate(each.variables)
    }


class _Nest:
    """A nest of tensors as arguments, named by where they are in it; None stays None.

    Args:
      kind: of the arguments.
      structure: the nest.
    """

    def __init__(self, kind: str, structure: Any):
        self._structure = structure
        found = keras.tree.flatten_with_path(structure)
        self._filled = [value is not None for _, value in found]
        self.arguments = [
            Argument("/".join([kind, *map(str, path)]), kind, np.asarray(value))
            for path, value in found
            if value is not None
        ]

    def pack(self, values: Sequence[tf.Tensor]) -> Any:
        """Returns the nest with `values` in the place of its tensors."""
        rest = iter(values)
        leaves = [next(rest) if filled else None for filled in self._filled]
        return keras.tree.pack_sequence_as(self._structure, leaves)


def _shared_terms(model: TrainableModel, batch: Any, seed: tf.Tensor) -> dict:
    """Returns what all members of a population share, the latent noise drawn."""

    @tf.function(autograph=False)
    def shared_terms(seed):
        with keras.StatelessScope():
            shared = model.shared_terms(batch, seed=seed)
            terms = model.elbo(batch, shared=shared, training=True)
            return model.share_noise(batch, terms, shared=shared)

    with batching.use_static_shapes(), batching.use_jit_compile(False):
        return shared_terms(random.fold_in(seed, model.step))


def _mean_loss(model: TrainableModel, batch: Any, shared: dict) -> tf.Tensor:
    weights = model.example_weights(batch)
    losses = model.elbo(batch, shared=shared, training=True).neg_elbo
    losses = tf.where(weights > 0, losses, tf.zeros_like(losses))
    return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.reduce_sum(weights))


def _manifest(model: TrainableModel, lowered: dict[str, Lowered]) -> dict[str, Any]:
    serialize = keras.saving.serialize_keras_object
    return {
        "format": FORMAT,
        "versions": {
            "tfnes": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "platform": "cpu" if not tf.config.list_logical_devices("GPU") else "gpu",
        "model": {
            "class_name": type(model).__name__,
            "name": model.name,
            "num_parameters": model.count_params(),
        },
        "optimizer": serialize(model.optimizer),
        "estimator": serialize(model.estimator),
        "evaluations_per_update": model.require_estimator().evaluations_per_step,
        **{
            name: {
                "file": f"{name}.hlo",
                "inputs": [
                    {
                        "name": argument.name,
                        "kind": argument.kind,
                        "shape": list(argument.value.shape),
                        "dtype": argument.value.dtype.name,
                        **({} if argument.path is None else {"path": argument.path}),
                    }
                    for argument in computation.inputs
                ],
                "outputs": computation.outputs,
            }
            for name, computation in lowered.items()
        },
    }
