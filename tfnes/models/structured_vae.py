"""The model base class: ELBO, and `fit`/`evaluate`/`predict` for every estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.models.update import apply_update
from tfnes.structures.structure import Structure
from tfnes.typing import Batch, ELBOTerms, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.estimators.estimator import GradientEstimator


class StructuredVAE(keras.Model):
    """A variational auto-encoder whose latent is a discrete structure.

    The loss is the negative ELBO in nats per example, minimised:

        L(theta, phi, x) = -E_{z ~ q_phi(z|x)} log p_theta(x|z) + KL(q_phi(z|x) || p(z))

    with z drawn by perturb-and-MAP (Eq. 2): the MAP structure of the encoder's
    log-potentials plus Gumbel noise. A subclass gives `encode`, `log_likelihood` and,
    unless its law is "none", `kl_divergence`; this class gives training, evaluation,
    prediction, and saving, the same for every gradient estimator.

    A batch is a dict of named tensors, example axis first. Where it has `lengths`,
    examples of length 0 are padding and count nowhere; where it has `index` (the
    global example index), latent noise is keyed by it.

    Args:
      structure: the set of latent structures.
      seed: every random number of a run is a function of it.
      **kwargs: of `keras.Model` (`name`, `dtype`, `trainable`).
    """

    def __init__(self, structure: Structure, *, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.structure = structure
        self.seed = seed
        self.estimator: GradientEstimator | None = None
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self._progress = _Progress()

    # What a subclass gives -----------------------------------------------------------

    def adapt(self, dataset) -> None:
        """Takes sizes, vocabularies, ... from a dataset provider, before training."""

    def encode(self, batch: Batch, *, training: bool = False) -> Tensor:
        """Returns the log-potentials h_phi(x), `[B, *parts]`."""
        raise NotImplementedError(f"{type(self).__name__} must define encode().")

    def log_likelihood(
        self, batch: Batch, latent: Tensor, *, training: bool = False
    ) -> Tensor:
        """Returns log p_theta(x | z) of each example, `[B]`, in nats."""
        raise NotImplementedError(
            f"{type(self).__name__} must define log_likelihood()."
        )

    def log_likelihoods(
        self, batch: Batch, latents: Tensor, *, training: bool = False
    ) -> Tensor:
        """Returns log p_theta(x | z) of each example and each z of `latents`.

        Args:
          batch: named tensors, B examples.
          latents: `[M, *parts]`, the same for all examples.
          training: passed on to the layers.

        Returns:
          `[B, M]`. By default one evaluation of `log_likelihood` for each latent.
        """
        size = tf.shape(next(iter(batch.values())))[0]

        def one(latent: Tensor) -> Tensor:
            shape = tf.concat([[size], tf.shape(latent)], 0)
            latent = tf.broadcast_to(latent, shape)
            return self.log_likelihood(batch, latent, training=training)

        return tf.stack([one(latents[i]) for i in range(latents.shape[0])], axis=1)

    def kl_divergence(
        self, log_potentials: Tensor, latent: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns KL(q_phi(z|x) || p(z)) of each example, `[B]`; by default 0."""
        del latent, lengths
        return tf.zeros(tf.shape(log_potentials)[:1], log_potentials.dtype)

    def touched_rows(self, batch: Batch) -> list[tuple[keras.Variable, Tensor]]:
        """Returns `(table, ids)` of look-up tables of which a batch uses few rows.

        Estimators that perturb parameters leave all other rows of `table` alone.
        """
        del batch
        return []

    @property
    def elbo_variables(self) -> list[keras.Variable]:
        """The trainable variables on which the negative ELBO depends."""
        return self.trainable_variables

    @property
    def optimized_variables(self) -> list[keras.Variable]:
        """What the optimizer knows: trainable variables, and the estimator's."""
        own = [] if self.estimator is None else self.estimator.trainable_variables
        return [*self.trainable_variables, *own]

    # The ELBO ------------------------------------------------------------------------

    def shared_terms(self, batch: Batch, *, seed: Seed) -> dict[str, Any]:
        """Returns what all members of an NES population share on a batch.

        Here the seed of the latent noise: all members see the same Gumbel draws
        (common random numbers). A subclass adds what does not depend on perturbed
        parameters, so that it is computed once an update.
        """
        del batch
        return {"latent_seed": random.fold_in(seed, int(random.Stream.LATENT_NOISE))}

    def elbo(
        self,
        batch: Batch,
        *,
        seed: Seed | None = None,
        shared: dict[str, Any] | None = None,
        training: bool = False,
    ) -> ELBOTerms:
        """Returns the ELBO of each example with one latent sample (Eq. 38).

        Args:
          batch: named tensors, example axis first.
          seed: `[2]` int32 key; needed unless `shared` is given.
          shared: what `shared_terms(batch, seed=seed)` returned.
          training: passed on to the layers.
        """
        if shared is None:
            shared = self.shared_terms(batch, seed=seed)
        lengths = batch.get("lengths")
        log_potentials = self.encode(batch, training=training)
        latent = self.sample_latent(batch, log_potentials, shared=shared)
        return ELBOTerms(
            log_likelihood=self.log_likelihood(batch, latent, training=training),
            kl=self.kl_divergence(log_potentials, latent, lengths=lengths),
            latent=latent,
            log_potentials=log_potentials,
        )

    def sample_latent(
        self, batch: Batch, log_potentials: Tensor, *, shared: dict[str, Any]
    ) -> Tensor:
        """Returns z by perturb-and-MAP (Eq. 2), `[B, *parts]`.

        The noise is `shared["latent_noise"]` where it was drawn before (by
        `share_noise`), else it is drawn from `shared["latent_seed"]`.
        """
        lengths = batch.get("lengths")
        if "latent_noise" in shared:
            perturbed = log_potentials + shared["latent_noise"]
            return self.structure.argmax(perturbed, lengths=lengths)
        return self.structure.perturb_and_map(
            log_potentials,
            seed=shared["latent_seed"],
            lengths=lengths,
            index=batch.get("index"),
        )

    def share_noise(
        self, batch: Batch, terms: ELBOTerms, *, shared: dict[str, Any]
    ) -> dict[str, Any]:
        """Returns `shared` with the latent noise drawn, so that it is drawn once.

        Args:
          batch: named tensors, example axis first.
          terms: of an evaluation with `shared`; tells the shape of the noise.
          shared: what `shared_terms` returned.
        """
        own = type(self.structure).perturb_and_map is not Structure.perturb_and_map
        if own or "latent_seed" not in shared:
            return shared
        noise = self.structure.noise(
            terms.log_potentials,
            seed=shared["latent_seed"],
            index=batch.get("index"),
        )
        return {**shared, "latent_noise": noise}

    def example_weights(self, batch: Batch) -> Tensor:
        """Returns `[B]` float32: 1 for a real example, 0 for one of padding."""
        if "lengths" in batch:
            return tf.cast(batch["lengths"] > 0, tf.float32)
        return tf.ones(tf.shape(next(iter(batch.values())))[:1])

    def predict_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the MAP structure of each example, without noise."""
        log_potentials = self.encode(batch, training=False)
        lengths = batch.get("lengths")
        return {"latent": self.structure.argmax(log_potentials, lengths=lengths)}

    def call(self, batch: Batch, training: bool = False) -> dict[str, Tensor]:
        del training
        return self.predict_batch(batch)

    # Building ------------------------------------------------------------------------

    def __call__(self, batch: Batch, *args, **kwargs):
        if not self.built:
            self.build(batch)
        return super().__call__(batch, *args, **kwargs)

    def build(self, batch: Batch) -> None:
        """Creates all variables, by tracing the ELBO and the prediction of a batch.

        Args:
          batch: named tensors, or anything with `shape` and `dtype`; the first axis
            counts for nothing.
        """
        spec = {
            key: tf.TensorSpec([None, *tuple(value.shape)[1:]], value.dtype)
            for key, value in batch.items()
        }
        self._progress.spec = {
            key: ([None, *value.shape.as_list()[1:]], value.dtype.name)
            for key, value in spec.items()
        }

        def everything(batch):
            self.elbo(batch, seed=random.make_seed(0), training=True)
            self.predict_batch(batch)

        # The scope puts off the initial values until after the trace, where the
        # distribution strategy places them.
        with tf.init_scope(), keras.StatelessScope():
            tf.function(everything, autograph=False).get_concrete_function(spec)

    def _ensure_built(self, batch: Batch) -> None:
        if not self.built:
            self.build(batch)
        if self.optimizer is not None and not self.optimizer.built:
            with tf.init_scope():
                self.optimizer.build(self.optimized_variables)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None) -> None:
        """Builds under a strategy, before replicas are traced.

        Keras's own would average a batch over the workers first, which fails for a
        batch that is a dict.
        """
        strategy = self.distribute_strategy
        done = self.built and (self.optimizer is None or self.optimizer.built)
        if done or self._distribute_strategy is None:
            return
        if data_batch is None:
            for _, _, batches in iterator:
                data_batch = next(batches)
                break
        batch = {
            key: strategy.experimental_local_results(value)[0]
            for key, value in _features(data_batch).items()
        }
        with strategy.scope():
            self._ensure_built(batch)

    def get_build_config(self) -> dict[str, Any] | None:
        return {"batch": self._progress.spec} if self._progress.spec else None

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build(
            {
                key: tf.TensorSpec(shape, dtype)
                for key, (shape, dtype) in config["batch"].items()
            }
        )

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
        """
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=False,
        )
        if seed is not None:
            self.seed = seed
        estimator.build(self)
        self.estimator = estimator
        names = ["neg_elbo", "log_likelihood", "kl", *estimator.metric_names(self)]
        self._progress.compile(names, metrics)

    def train_step(self, data: Batch) -> dict[str, Tensor]:
        """One update: estimate the gradient, apply it, count."""
        batch = _features(data)
        self._ensure_built(batch)
        seed = random.fold_in(random.make_seed(self.seed), self.step)
        estimate = self.estimator.estimate(self, batch, seed=seed)
        weight = tf.reduce_sum(self.example_weights(batch))
        apply_update(
            self.optimizer,
            estimate,
            weight=weight,
            reduced=self.estimator.gathers_replicas,
        )
        self.step.assign_add(1)
        progress = self._progress
        progress.update("neg_elbo", estimate.loss, weight)
        for name, value in estimate.metrics.items():
            progress.update(name, value)
        progress.names["train"] = ["neg_elbo", *estimate.metrics]
        return _logs(progress.results("train"))

    def test_step(self, data: Batch) -> dict[str, Tensor]:
        """Negative ELBO with evaluation noise, and the compiled metrics on the MAP."""
        batch = _with_index(_features(data))
        self._ensure_built(batch)
        seed = random.stream_seed(self.seed, 0, random.Stream.EVALUATION)
        terms = self.elbo(batch, seed=seed)
        weights = self.example_weights(batch)
        for name in self._progress.names["test"]:
            value = tf.where(weights > 0, getattr(terms, name), 0.0)
            self._progress.update(name, value, weights)
        if self._progress.metrics:
            outputs = self.predict_batch(batch)
            for metric in self._progress.metrics:
                metric.update_state(batch, outputs)
        return _logs(self._progress.results("test"))

    def predict_step(self, data: Batch) -> dict[str, Tensor]:
        batch = _features(data)
        self._ensure_built(batch)
        return self.predict_batch(batch)

    def make_train_function(self, force: bool = False):
        if self.train_function is None or force:
            super().make_train_function(force)
            run = self.train_function

            def run_and_check(iterator):
                self._progress.mode = "train"
                logs = run(iterator)
                self.estimator.check()
                return logs

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
        return self._progress.results(self._progress.mode)

    # Saving --------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        structure = keras.saving.serialize_keras_object(self.structure)
        return {**super().get_config(), "structure": structure, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StructuredVAE:
        structure = config.pop("structure")
        if isinstance(structure, dict):
            structure = keras.saving.deserialize_keras_object(structure)
        return cls(structure=structure, **config)

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
                variable.assign(store[name])

    def _own_variables(self) -> dict[str, keras.Variable]:
        own = self._trainable_variables + self._non_trainable_variables
        state = self.estimator.variables if self.estimator is not None else []
        return {
            **{str(i): variable for i, variable in enumerate(own)},
            **{f"estimator_{i}": variable for i, variable in enumerate(state)},
        }


class _Progress:
    """Running means and metrics; a plain object, so that they are not saved."""

    def __init__(self):
        self.spec: dict[str, Any] | None = None
        self.means: dict[str, keras.metrics.Mean] = {}
        self.metrics: list[keras.metrics.Metric] = []
        self.mode = "train"
        self.names = {"train": [], "test": ["neg_elbo", "log_likelihood", "kl"]}

    def compile(self, names, metrics) -> None:
        self.means = {name: keras.metrics.Mean(name=name) for name in names}
        self.metrics = list(metrics)
        self.names["train"] = []
        for metric in self.metrics:
            if not isinstance(metric, keras.metrics.Metric):
                raise ConfigurationError(
                    "metrics must be keras.metrics.Metric objects with "
                    f"update_state(batch, outputs). Received: {metric!r}."
                )

    def update(self, name: str, value: Tensor, weight: Tensor | None = None) -> None:
        if name not in self.means:
            with tf.init_scope():
                self.means[name] = keras.metrics.Mean(name=name)
        self.means[name].update_state(value, sample_weight=weight)

    def results(self, mode: str) -> dict[str, Tensor]:
        metrics = [self.means[name] for name in self.names[mode]]
        if mode == "test":
            metrics += self.metrics
        results = {}
        for metric in metrics:
            value = metric.result()
            results.update(value if isinstance(value, dict) else {metric.name: value})
        return results


def _features(data) -> Batch:
    """Returns the dict of features, also where Keras wraps it as `(x,)`."""
    return keras.utils.unpack_x_y_sample_weight(data)[0]


def _with_index(batch: Batch) -> Batch:
    """Gives the examples of several replicas the positions of the whole batch."""
    replica = tf.distribute.get_replica_context()
    if "index" in batch or replica is None or replica.num_replicas_in_sync == 1:
        return batch
    size = tf.shape(next(iter(batch.values())))[0]
    sizes = replica.all_gather(size[None], axis=0)
    before = tf.reduce_sum(sizes[: replica.replica_id_in_sync_group])
    return {**batch, "index": before + tf.range(size)}


def _logs(results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Shapes a step's results as Keras reduces them over replicas."""
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return {name: tf.reshape(value, [1]) for name, value in results.items()}
    return results
