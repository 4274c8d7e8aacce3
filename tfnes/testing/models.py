"""A conformance suite for models: shapes, padding, saving, gradients, training."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes import estimators as tfnes_estimators
from tfnes import random
from tfnes.errors import ConfigurationError, UnsupportedStructureError
from tfnes.estimators.estimator import GradientEstimator
from tfnes.models.structured_vae import StructuredVAE
from tfnes.typing import Batch

_BATCH_SIZE = 4


def check_model(
    model: StructuredVAE,
    data: Any,
    *,
    estimators: Sequence[GradientEstimator] | None = None,
    pad_nodes: Callable[[Batch, int], Batch] | None = None,
    tolerance: float = 1e-4,
    verbose: bool = True,
) -> list[str]:
    """Checks that a model keeps the contract of `StructuredVAE`.

    * shapes: log-potentials `[B, *parts]`, latents in the structure, `[B]` terms;
    * finite numbers, the same ones for the same seed, in eager and in graph mode;
    * examples do not influence each other, and those of length 0 influence nothing;
    * padding by further nodes changes nothing (where `pad_nodes` is given);
    * a `.keras` file restores the model, its estimator and its state;
    * the gradient reaches every one of `elbo_variables`;
    * every estimator that fits the structure makes one update.

    Weights are what they were afterwards; the model is left compiled with the first
    estimator.

    Args:
      model: the model; it is adapted to `data` if that is a provider.
      data: a `DatasetProvider`, a `tf.data.Dataset` of batches, or one batch.
      estimators: what to train with; None: one of each kind that fits.
      pad_nodes: returns a batch with so many nodes of padding more.
      tolerance: relative and absolute, of float32 results.
      verbose: whether to print what was checked.

    Returns:
      one line for each check that was made or left out.

    Raises:
      AssertionError: if the model breaks the contract.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> model = tfnes.models.MLP(hidden_units=8, input_size=4)
        >>> batch = {"image": tf.constant([[0.0, 1, 0, 1], [1, 1, 0, 0]])}
        >>> lines = tfnes.testing.check_model(model, batch, verbose=False)
    """
    batch = _first_batch(model, data)
    check = _Checker(model, batch, tolerance=tolerance, verbose=verbose)
    model(batch)
    check.shapes()
    check.repeatable()
    check.independent_examples()
    check.empty_examples()
    check.padded_nodes(pad_nodes)
    fitting = _fitting(model, estimators, check)
    before = [variable.numpy() for variable in model.variables]
    for estimator in fitting:
        check.update(estimator)
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
    check.gradients()
    model.compile(keras.optimizers.SGD(1e-2), fitting[0])
    check.saving()
    return check.lines


class _Checker:
    """One model, one batch, and the lines of the report."""

    def __init__(
        self, model: StructuredVAE, batch: Batch, *, tolerance: float, verbose: bool
    ):
        size = next(iter(batch.values())).shape[0]
        # With an index of its own an example keeps its noise in other batches.
        self.batch = {"index": tf.range(size), **batch}
        self.size = size
        self.model = model
        self.tolerance = tolerance
        self.verbose = verbose
        self.lines: list[str] = []

    def passed(self, line: str) -> None:
        self.lines.append(line)
        if self.verbose:
            print(line)

    def require(self, condition: Any, message: str) -> None:
        if not condition:
            raise AssertionError(f"{type(self.model).__name__}: {message}")

    def close(self, found: Any, expected: Any, message: str) -> None:
        found, expected = np.asarray(found), np.asarray(expected)
        close = np.allclose(found, expected, rtol=self.tolerance, atol=self.tolerance)
        self.require(close, f"{message} Found {found}, expected {expected}.")

    def terms(self, batch: Batch):
        return self.model.elbo(batch, seed=random.make_seed(3))

    def shapes(self) -> None:
        structure, lengths = self.model.structure, self.batch.get("lengths")
        terms = self.terms(self.batch)
        rank = 1 + structure.parts_rank
        shape = terms.log_potentials.shape
        self.require(
            len(shape) == rank and shape[0] == self.size,
            f"encode must return [B, *parts] of rank {rank}, B = {self.size}. "
            f"Received shape {shape}.",
        )
        self.require(
            terms.latent.shape == shape,
            f"the latent has shape {terms.latent.shape}, the log-potentials {shape}.",
        )
        for name in ("log_likelihood", "kl"):
            value = getattr(terms, name)
            self.require(
                value.shape == (self.size,),
                f"{name} must have shape [B] = [{self.size}]. Received {value.shape}.",
            )
        inside = structure.contains(terms.latent, lengths=lengths)
        self.require(np.all(inside), f"a latent is not in {structure!r}.")
        real = self.model.example_weights(self.batch).numpy() > 0
        self.require(
            np.all(np.isfinite(terms.neg_elbo.numpy()[real])),
            f"the negative ELBO is not finite: {terms.neg_elbo.numpy()}.",
        )
        predicted = self.model.predict_batch(self.batch)["latent"]
        self.require(
            np.all(structure.contains(predicted, lengths=lengths)),
            f"a predicted latent is not in {structure!r}.",
        )
        self.passed(f"shapes: log-potentials {tuple(shape)}, terms finite")

    def repeatable(self) -> None:
        eager = self.terms(self.batch)
        graph = tf.function(self.terms, autograph=False)(self.batch)
        self.close(graph.neg_elbo, eager.neg_elbo, "graph and eager mode differ.")
        self.close(
            self.terms(self.batch).neg_elbo,
            eager.neg_elbo,
            "two evaluations with one seed differ; draw all noise from the seed.",
        )
        self.passed("the same numbers for the same seed, in eager and graph mode")

    def independent_examples(self) -> None:
        together = self.terms(self.batch).neg_elbo.numpy()
        for i in range(self.size):
            alone = self.terms({k: v[i : i + 1] for k, v in self.batch.items()})
            self.close(
                alone.neg_elbo[0],
                together[i],
                f"example {i} alone and in its batch differ.",
            )
        self.passed("examples do not influence each other")

    def empty_examples(self) -> None:
        if "lengths" not in self.batch:
            self.passed("left out: empty examples (the batch has no lengths)")
            return
        expected = self.terms(self.batch).neg_elbo.numpy()
        padded = {k: tf.concat([v, v[-1:]], axis=0) for k, v in self.batch.items()}
        padded["lengths"] = tf.concat(
            [self.batch["lengths"], tf.zeros_like(self.batch["lengths"][:1])], axis=0
        )
        weights = self.model.example_weights(padded).numpy()
        self.require(weights[-1] == 0, "an example of length 0 has weight.")
        found = self.terms(padded).neg_elbo.numpy()
        self.close(found[:-1], expected, "an example of length 0 changes others.")
        self.require(
            np.isfinite(found[-1]),
            "the negative ELBO of an example of length 0 is not finite; its gradient "
            "would spoil the others'.",
        )
        self.passed("examples of length 0 influence nothing")

    def padded_nodes(self, pad_nodes: Callable[[Batch, int], Batch] | None) -> None:
        if pad_nodes is None:
            self.passed("left out: padding by nodes (no pad_nodes given)")
            return
        expected = self.terms(self.batch).neg_elbo.numpy()
        found = self.terms(pad_nodes(self.batch, 3)).neg_elbo.numpy()
        self.close(found, expected, "three more nodes of padding change the ELBO.")
        self.passed("padding by nodes changes nothing")

    def update(self, estimator: GradientEstimator) -> None:
        name = type(estimator).__name__
        variables = self.model.elbo_variables
        before = [variable.numpy() for variable in variables]
        optimizer = keras.optimizers.SGD(1e-2)
        self.model.compile(optimizer, estimator, run_eagerly=True)
        logs = self.model.train_step(self.batch)
        self.require(
            np.isfinite(float(logs["neg_elbo"])),
            f"{name} gives a loss that is not finite: {float(logs['neg_elbo'])}.",
        )
        moved = [np.any(v.numpy() != b) for v, b in zip(variables, before, strict=True)]
        self.require(any(moved), f"an update by {name} changes no variable.")
        self.passed(f"one update by {name}")

    def gradients(self) -> None:
        """By REINFORCE, which needs nothing of the structure."""
        control_variate = tfnes_estimators.LeaveOneOut(2)
        estimator = tfnes_estimators.REINFORCE(control_variate=control_variate)
        estimator.build(self.model)
        variables = {id(v): v for v in self.model.elbo_variables}
        reached = set()
        for step in range(5):
            seed = random.make_seed(step)
            estimate = estimator.estimate(self.model, self.batch, seed=seed)
            pairs = zip(estimate.variables, estimate.gradients, strict=True)
            for variable, gradient in pairs:
                if gradient is None:
                    continue
                values = getattr(gradient, "values", gradient).numpy()
                self.require(
                    np.all(np.isfinite(values)),
                    f"the gradient of {variable.path} is not finite.",
                )
                if np.any(values != 0):
                    reached.add(id(variable))
        missing = [v.path for key, v in variables.items() if key not in reached]
        self.require(
            not missing,
            f"no gradient reaches {missing}. Leave variables that the negative ELBO "
            "does not depend on out of `elbo_variables`.",
        )
        self.passed(f"the gradient reaches all {len(variables)} variables")

    def saving(self) -> None:
        expected = self.terms(self.batch)
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "model.keras"
            self.model.save(path)
            restored = keras.saving.load_model(path)
        self.require(
            type(restored) is type(self.model),
            f"a {type(restored).__name__} was restored.",
        )
        self.require(
            type(restored.estimator) is type(self.model.estimator),
            "the estimator was not restored.",
        )
        found = restored.elbo(self.batch, seed=random.make_seed(3))
        self.close(found.neg_elbo, expected.neg_elbo, "the restored model differs.")
        self.require(
            restored.get_config() == self.model.get_config(),
            f"get_config changed: {self.model.get_config()} became "
            f"{restored.get_config()}.",
        )
        self.passed("a .keras file restores model and estimator")


def _first_batch(model: StructuredVAE, data: Any) -> Batch:
    if hasattr(data, "get_dataset"):
        model.adapt(data)
        data = data.get_dataset(data.splits[0], batch_size=_BATCH_SIZE)
    if isinstance(data, Mapping):
        return {key: tf.convert_to_tensor(value) for key, value in data.items()}
    if isinstance(data, tf.data.Dataset):
        return dict(next(iter(data)))
    raise ConfigurationError(
        "check_model needs a DatasetProvider, a tf.data.Dataset or a batch (a dict of "
        f"tensors). Received: {type(data).__name__}."
    )


def _fitting(
    model: StructuredVAE,
    estimators: Sequence[GradientEstimator] | None,
    check: _Checker,
) -> list[GradientEstimator]:
    """Returns the estimators to try: those given, or of all kinds those that fit."""
    if estimators is not None:
        return list(estimators)
    fitting = []
    for estimator in _one_of_each():
        try:
            estimator.build(model)
        except (UnsupportedStructureError, ConfigurationError) as error:
            check.passed(f"left out: {error}")
        else:
            fitting.append(estimator)
    return fitting


def _one_of_each() -> list[GradientEstimator]:
    e = tfnes_estimators
    return [
        e.NES(population_size=4),
        e.GumbelSoftmax(),
        e.StochasticSoftmax(),
        e.StochasticSoftmax(straight_through=True),
        e.PerturbAndParse(),
        e.SparseMAP(),
        e.REINFORCE(control_variate=e.BatchMean()),
        e.REINFORCE(control_variate=e.LeaveOneOut(2)),
        e.REINFORCE(density="structure"),
        e.NVIL(),
        e.Supervised(),
    ]
