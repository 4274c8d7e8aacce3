"""Keras models that are built by tracing a batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnes.models.progress import Progress
from tfnes.typing import Batch


class TracedModel(keras.Model):
    """A model whose variables are those that a trace of a batch reaches.

    Building needs no values, so it happens before the first step, outside of its graph,
    also under a distribution strategy.

    Args:
      **kwargs: of `keras.Model`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._progress = Progress()

    def trace(self, batch: Batch) -> None:
        """Runs, on symbolic tensors, all that creates variables."""
        raise NotImplementedError(f"{type(self).__name__} must define trace().")

    def __call__(self, batch: Batch, *args, **kwargs):
        if not self.built:
            self.build(batch)
        self._progress.see(batch)
        return super().__call__(batch, *args, **kwargs)

    def build(self, batch: Batch) -> None:
        """Creates all variables, by tracing a batch.

        Args:
          batch: named tensors, or anything with `shape` and `dtype`; the first axis
            counts for nothing.
        """
        self._progress.see(batch)
        if self.built:
            return
        spec = tf.nest.map_structure(
            lambda value: tf.TensorSpec([None, *tuple(value.shape)[1:]], value.dtype),
            batch,
        )
        # The scope puts off the initial values until after the trace, where the
        # distribution strategy places them.
        with tf.init_scope(), keras.StatelessScope():
            tf.function(self.trace, autograph=False).get_concrete_function(spec)

    @property
    def batch_spec(self) -> dict[str, tf.TensorSpec] | None:
        """Shapes and dtypes of a batch; None before the model has seen one."""
        spec = self._progress.spec
        return None if spec is None else _tensor_specs(spec)

    @property
    def batch_size(self) -> int | None:
        """Examples of a batch of the data that `fit` was given, where known."""
        return self._progress.batch_size

    def ensure_built(self, batch: Batch) -> None:
        """Builds what is not built yet."""
        if not self.built:
            self.build(batch)
        self._progress.see(batch)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None) -> None:
        """Builds before a step is traced: a trace that builds is made twice.

        Under a strategy replicas cannot build at all, and Keras's own method would
        average a batch over the workers first, which fails for a dict.
        """
        strategy = self.distribute_strategy
        self._progress.see_data(getattr(iterator, "_distributed_dataset", None))
        if self.built and (self.optimizer is None or self.optimizer.built):
            return
        if self._distribute_strategy is None:
            # Read no batch: the data may be a generator. Else build in the trace.
            data = getattr(iterator, "_distributed_dataset", None)
            spec = getattr(data, "element_spec", data_batch)
            if spec is not None:
                self.ensure_built(self.features(spec))
            return
        if data_batch is None:
            for _, _, batches in iterator:
                data_batch = next(batches)
                break
        batch = tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0],
            self.features(data_batch),
        )
        with strategy.scope():
            self.ensure_built(batch)

    def get_build_config(self) -> dict[str, Any] | None:
        return {"batch": self._progress.spec} if self._progress.spec else None

    def build_from_config(self, config: dict[str, Any]) -> None:
        self._progress.spec = config["batch"]
        self.build(_tensor_specs(config["batch"]))

    def features(self, data: Any) -> Batch:
        """Returns the batch of what `fit` was given; Keras may wrap it as `(x,)`."""
        return keras.utils.unpack_x_y_sample_weight(data)[0]


def _tensor_specs(spec: dict[str, Any]) -> dict[str, tf.TensorSpec]:
    return {key: tf.TensorSpec(shape, dtype) for key, (shape, dtype) in spec.items()}
