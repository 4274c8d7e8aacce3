"""Keras models that learn by a gradient estimator: steps and saving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.checks import check_instance, check_seed
from tfnes.errors import ConfigurationError
from tfnes.models import replication
from tfnes.models.building import TracedModel
from tfnes.models.rate import EvaluationRate
from tfnes.models.update import apply_update, check_finite, check_learning_rate
from tfnes.solvers.batching import use_jit_compile
from tfnes.typing import Batch, GradientEstimate, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.estimators.estimator import GradientEstimator


class TrainableModel(TracedModel):
    """A model with `fit`, `evaluate` and `predict` for every gradient estimator.

    A subclass says what is evaluated (`test_losses`), what is predicted
    (`predict_batch`), and what a trace must reach for all variables to exist (`trace`).
    A batch is a dict of named tensors, example axis first.

    Args:
      seed: every random number of a run is a function of it.
      **kwargs: of `keras.Model` (`name`, `dtype`, `trainable`).
    """

    loss_name = "neg_elbo"
    """Name of the loss among the metrics."""

    test_names: tuple[str, ...] = ("neg_elbo",)
    """Keys of `test_losses`."""

    def __init__(self, *, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.seed = check_seed(f"{type(self).__name__}.seed", seed)
        self.estimator: GradientEstimator | None = None
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self._rate: EvaluationRate | None = None

    # What a subclass gives -----------------------------------------------------------

    def trace(self, batch: Batch) -> None:
        """Runs, on symbolic tensors, all that creates variables."""
        self.test_losses(batch, seed=random.make_seed(0))
        self.predict_batch(batch)

    def test_losses(self, batch: Batch, *, seed: Seed) -> dict[str, Tensor]:
        """Returns what `evaluate` averages, `[B]` each, by the names `test_names`."""
        raise NotImplementedError(f"{type(self).__name__} must define test_losses().")

    def predict_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Returns what `predict` returns and metrics see, example axis first."""
        raise NotImplementedError(f"{type(self).__name__} must define predict_batch().")

    def example_weights(self, batch: Batch) -> Tensor:
        """Returns `[B]` float32: 1 for a real example, 0 for one of padding."""
        if isinstance(batch, dict) and "lengths" in batch:
            return tf.cast(batch["lengths"] > 0, tf.float32)
        return tf.ones(tf.shape(tf.nest.flatten(batch)[0])[:1])

    def call(self, batch: Batch, training: bool = False) -> dict[str, Tensor]:
        del training
        return self.predict_batch(batch)

    def ensure_built(self, batch: Batch) -> None:
        super().ensure_built(batch)
        with tf.init_scope():
            if self.estimator is not None:
                self.estimator.build_state(self)
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.optimized_variables)

    @property
    def optimized_variables(self) -> list[keras.Variable]:
        """What the optimizer knows: trainable variables, and the estimator's."""
        own = [] if self.estimator is None else self.estimator.trainable_variables
        return [*self.trainable_variables, *own]

    def require_estimator(self) -> GradientEstimator:
        """Returns the estimator.

        Raises:
          ConfigurationError: if the model is not compiled.
        """
        if self.estimator is None:
            raise ConfigurationError(
                f"{self.name} is not compiled. Call compile(optimizer, estimator), for "
                "example compile(keras.optimizers.Adam(1e-3), tfnes.estimators.NES())."
            )
        return self.estimator

    # Keras ---------------------------------------------------------------------------

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str,
        estimator: GradientEstimator,
        metrics: Sequence[keras.metrics.Metric] = (),
        *,
        seed: int | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """Sets how to learn.

        The step as a whole is never compiled by XLA (the solvers are).

        Args:
          optimizer: any Keras optimizer.
          estimator: how to estimate the gradient of the negative ELBO.
          metrics: Keras metrics with `update_state(batch, outputs)`, where `outputs`
            is what `predict_batch` returns; computed by `evaluate`.
          seed: replaces the model's seed.
          run_eagerly: for debugging.
          steps_per_execution: updates that run in one call of the graph.

        Raises:
          ConfigurationError: if the learning rate is not a finite number.
        """
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=False,
        )
        check_learning_rate(self.optimizer)
        if seed is not None:
            self.seed = check_seed("compile.seed", seed)
        from tfnes.estimators.estimator import GradientEstimator

        check_instance(
            "compile.estimator",
            estimator,
            GradientEstimator,
            expected="an estimator, such as tfnes.estimators.NES()",
        )
        estimator.build(self)
        estimator.start_counting()
        if self.built:
            estimator.build_state(self)
        self.estimator = estimator
        self._progress.compile(
            train=[self.loss_name, *estimator.metric_names(self), "skipped_updates"],
            test=self.test_names,
            metrics=metrics,
        )

    def fit(self, x: Any = None, *args, shuffle: bool | None = None, **kwargs):
        """Trains, as `keras.Model.fit`.

        Args:
          x: a `tf.data.Dataset` of batches, or whatever else Keras takes.
          *args: of `keras.Model.fit`.
          shuffle: arrays are shuffled unless it is False; a `Dataset` is left as it is.
          **kwargs: of `keras.Model.fit`.

        Returns:
          a `keras.callbacks.History`.
        """
        if shuffle is None:
            # Keras warns where it is True, its default, and cannot be followed.
            shuffle = not isinstance(x, tf.data.Dataset)
        return super().fit(x, *args, shuffle=shuffle, **kwargs)

    def train_step(self, data: Batch) -> dict[str, Tensor]:
        """One update, and what is shown of it."""
        batch = self.features(data)
        self.ensure_built(batch)
        estimate = self.update_step(batch, seed=random.make_seed(self.seed))
        weight = tf.reduce_sum(self.example_weights(batch))
        progress = self._progress
        for name, (total, count) in self._sums(estimate, weight).items():
            progress.update(name, total, count)
        progress.names["train"] = [self.loss_name, *estimate.metrics]
        return replication.shape_logs(progress.results("train"))

    def update_step(self, batch: Batch, *, seed: Seed) -> GradientEstimate:
        """One update: estimates the gradient, applies it, counts.

        A function of the batch, the seed and the variables, and of nothing else;
        `tfnes.export_step` saves it as that.

        Args:
          batch: named tensors, example axis first.
          seed: `[2]` int32 key of the run; `step` is folded in here.

        Returns:
          The estimate that was applied; its metrics say by `skipped_updates`, 0 or
          1, whether it was not finite and so was left out.
        """
        seed = random.fold_in(seed, self.step)
        estimator = self.require_estimator()
        estimate = estimator.estimate(self, batch, seed=seed)
        applied = apply_update(
            self.optimizer,
            estimate,
            weight=tf.reduce_sum(self.example_weights(batch)),
            reduced=estimator.gathers_replicas,
        )
        estimator.count_update(applied)
        self.step.assign_add(1)
        skipped = 1 - tf.cast(applied, tf.float32)
        return estimate._replace(
            metrics={**estimate.metrics, "skipped_updates": skipped}
        )

    def _sums(
        self, estimate: GradientEstimate, weight: Tensor
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Returns weighted sum and weight of loss and metrics, over all replicas."""
        names = [self.loss_name, *estimate.metrics]
        loss = tf.cast(estimate.loss, tf.float32)
        if self.require_estimator().gathers_replicas:
            (count,) = self._sum_replicas([weight])
            totals = [loss * count, *estimate.metrics.values()]
        else:
            # An update counts once, on however many replicas, so that a run may go on
            # with another number of them.
            share = 1 / replication.num_replicas()
            metrics = [
                tf.cast(v, tf.float32) * share for v in estimate.metrics.values()
            ]
            sums = [weight, loss * weight, *metrics]
            count, *totals = self._sum_replicas(sums)
        counts = [count, *[tf.ones([])] * len(estimate.metrics)]
        return dict(zip(names, zip(totals, counts, strict=True), strict=True))

    def _sum_replicas(self, values: list[Tensor]) -> list[Tensor]:
        """Returns scalars summed over the replicas, in their order."""
        if replication.num_replicas() == 1:
            return values
        stacked = tf.stack([tf.cast(value, tf.float32) for value in values])
        (total,) = replication.sum_in_order([stacked])
        return tf.unstack(total)

    def test_step(self, data: Batch) -> dict[str, Tensor]:
        """The mean test losses, and the compiled metrics on the prediction.

        The solvers in it are not compiled by XLA: a pass over a few batches, each of
        another shape, takes far less time than the compilation of these shapes.
        """
        batch = replication.with_index(self.features(data))
        self.ensure_built(batch)
        seed = random.stream_seed(self.seed, 0, random.Stream.EVALUATION)
        with use_jit_compile(False):
            losses = self.test_losses(batch, seed=seed)
            outputs = self.predict_batch(batch) if self._progress.metrics else {}
        weights = self.example_weights(batch)
        sums = [tf.reduce_sum(weights)]
        for name in self.test_names:
            # A selection, not a product: padding may hold NaN.
            values = tf.where(weights > 0, tf.cast(losses[name], tf.float32), 0.0)
            sums.append(tf.reduce_sum(values * weights))
        count, *totals = self._sum_replicas(sums)
        for name, total in zip(self.test_names, totals, strict=True):
            self._progress.update(name, total, count)
        for metric in self._progress.metrics:
            metric.update_state(batch, outputs)
        return replication.shape_logs(self._progress.results("test"))

    def predict_step(self, data: Batch) -> dict[str, Tensor]:
        batch = self.features(data)
        self.ensure_built(batch)
        with use_jit_compile(False):
            return self.predict_batch(batch)

    def make_train_function(self, force: bool = False):
        # Some kernels make 0 of NaN, so the loss need not show it.
        check_finite(self.variables)
        if self.train_function is None or force:
            super().make_train_function(force)
            run, estimator = self.train_function, self.require_estimator()
            self._rate = rate = EvaluationRate(
                self._progress,
                loss_name=self.loss_name,
                evaluations_per_step=estimator.evaluations_per_step,
            )

            def run_and_check(iterator):
                self._progress.mode = "train"
                logs = rate.run(run, iterator)
                estimator.check()
                return {**logs, **rate.logs()}

            self.train_function = run_and_check
        return self.train_function

    def make_test_function(self, force: bool = False):
        if self.test_function is None or force:
            super().make_test_function(force)
            run = self.test_function

            def run_in_mode(iterator):
                self._progress.mode = "test"
                return run(iterator)

            self.test_function = run_in_mode
        return self.test_function

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*self._progress.means.values(), *self._progress.metrics]

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns the metrics of the latest kind of step (training or test)."""
        results = self._progress.results(self._progress.mode)
        if self._progress.mode == "train" and self._rate is not None:
            results |= self._rate.logs()
        return results

    # Saving --------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}

    def get_compile_config(self) -> dict[str, Any] | None:
        if self.estimator is None:
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            "estimator": serialize(self.estimator),
            "metrics": [serialize(metric) for metric in self._progress.metrics],
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        deserialize = keras.saving.deserialize_keras_object
        self.compile(
            optimizer=deserialize(config["optimizer"]),
            estimator=deserialize(config["estimator"]),
            metrics=[deserialize(metric) for metric in config["metrics"]],
        )
        if self.built:
            self.optimizer.build(self.optimized_variables)

    def save_own_variables(self, store: dict[str, Any]) -> None:
        for name, variable in self._own_variables().items():
            store[name] = keras.ops.convert_to_numpy(variable)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        """Restores by name; the estimator's state only where it is compiled in."""
        for name, variable in self._own_variables().items():
            if name in store:
                variable.assign(store[name][()])

    def _own_variables(self) -> dict[str, keras.Variable]:
        own = self._trainable_variables + self._non_trainable_variables
        state = self.estimator.variables if self.estimator is not None else []
        return {
            **{str(i): variable for i, variable in enumerate(own)},
            **{f"estimator_{i}": variable for i, variable in enumerate(state)},
        }
