"""The base class of everything that says how to learn."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfnes.errors import NonFiniteError
from tfnes.typing import Batch, GradientEstimate, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE


class GradientEstimator(tf.__internal__.tracking.AutoTrackable, abc.ABC):
    """Estimates the gradient of the mean negative ELBO of a batch.

    An estimator is given to `StructuredVAE.compile`. It holds hyper-parameters, and
    after `build` its own state as Keras variables (a moving average, a learned
    baseline), which is saved and checkpointed with the model.
    """

    evaluations_per_step: int = 1
    """Evaluations of the whole batch in one update, for throughput figures."""

    gathers_replicas: bool = False
    """True: `estimate` sees the batch of all replicas and returns the same on each.
    False: each replica estimates from its own examples, and the model adds up the
    gradients, weighted by the number of real examples."""

    max_empty_steps: int = 10
    """Updates in a row that may be skipped before training is given up."""

    _empty_steps: Any = None  # a variable, once compiled

    def build(self, model: StructuredVAE) -> None:
        """Checks that `model` has what is needed, and creates the estimator's state.

        Called once, from `compile`; the model's layers need not be built yet.

        Raises:
          UnsupportedStructureError: if the model's structure lacks an ability.
        """

    def build_state(self, model: StructuredVAE) -> None:
        """Creates the state whose shape depends on the model's variables.

        Called once these exist, before the first update and before a saved state is
        restored; called again, it leaves what there is alone.
        """

    def metric_names(self, model: StructuredVAE) -> Sequence[str]:
        """Returns the keys of `GradientEstimate.metrics`, where known in advance.

        Needed under `tf.distribute`, where no metric can be made during a step.
        """
        del model
        return ()

    @abc.abstractmethod
    def estimate(
        self, model: StructuredVAE, batch: Batch, *, seed: Seed
    ) -> GradientEstimate:
        """Returns loss, gradients and metrics for one batch.

        Args:
          model: the model; its variables hold the current parameters.
          batch: named tensors, example axis first.
          seed: `[2]` int32 key of this update.
        """

    def start_counting(self) -> None:
        """Creates the counter of skipped updates; called from `compile`."""
        if self._empty_steps is None:
            self._empty_steps = self.add_variable("empty_steps", dtype="int32")

    def count_update(self, applied: Tensor) -> None:
        """Counts updates in a row that were not applied; called in each update.

        Args:
          applied: `[]` bool, whether this update was.
        """
        self._empty_steps.assign(tf.where(applied, 0, self._empty_steps + 1))

    def check(self) -> None:
        """Raises if training cannot go on; called between updates, not in a graph.

        Raises:
          NonFiniteError: if updates keep being skipped.
        """
        empty = int(tf.convert_to_tensor(self._empty_steps))
        if empty < self.max_empty_steps:
            return
        raise NonFiniteError(
            f"{type(self).__name__} skipped {empty} updates in a row: "
            f"{self.why_skipped()}"
        )

    def why_skipped(self) -> str:
        """Returns why an update is skipped, what is expected, and what to do."""
        return (
            "the loss, a gradient or the learning rate was NaN or infinite. Expected "
            "finite numbers. Look for them in the data, lower the learning rate, or "
            "bound the log-probabilities of the model."
        )

    def add_variable(
        self,
        name: str,
        *,
        shape: Sequence[int] = (),
        dtype: str = "float32",
        initializer: str = "zeros",
    ) -> keras.Variable:
        """Returns a new variable of the estimator's own state."""
        return keras.Variable(
            keras.initializers.get(initializer),
            shape=tuple(shape),
            dtype=dtype,
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """The state, from this object's attributes, in order of the names."""
        found = []
        for _, value in sorted(vars(self).items()):
            if isinstance(value, keras.Variable):
                found.append(value)
            elif isinstance(value, (keras.layers.Layer, GradientEstimator)):
                found.extend(value.variables)
        return found

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """What of the state the model's optimizer updates (a learned baseline)."""
        return [variable for variable in self.variables if variable.trainable]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, for Keras serialisation."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GradientEstimator:
        return cls(**config)
