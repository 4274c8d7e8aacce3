"""Baselines that lower the variance of score-function estimators.

A control variate turns the learning signal f of each sample into an advantage f - b,
where b does not depend on that sample, so that the mean of the estimate stays the same.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

import keras
import tensorflow as tf

from tfnes.checks import check_flag, check_integer, check_real
from tfnes.estimators.evaluation import sum_over_replicas
from tfnes.registration import register
from tfnes.typing import Tensor


class Advantage(NamedTuple):
    """What a control variate makes of the learning signal.

    Attributes:
      values: `[B, S]`, the centered signal.
      loss: `[]`, what the control variate's own parameters minimize; None: it has none.
      state: new values of its state, as `update` takes them.
    """

    values: Tensor
    loss: Tensor | None = None
    state: tuple[Tensor, ...] = ()


class ControlVariate(keras.layers.Layer, abc.ABC):
    """Centers the learning signal. State and parameters are Keras weights.

    A subclass gives `advantage`; where it has state, also `create` and `update`.
    """

    num_samples: int = 1
    """S, latents to draw for each example."""

    def create(self, model) -> None:
        """Creates the state, once; called when the model is compiled."""
        del model

    @abc.abstractmethod
    def advantage(
        self, signal: Tensor, *, weights: Tensor, features: Tensor
    ) -> Advantage:
        """Returns the centered signal.

        Args:
          signal: `[B, S]`, the loss of each sample, a constant to differentiation.
          weights: `[B]`, 1 for a real example, 0 for one of padding (signal 0).
          features: `[B, ...]`, what is known of each example without its samples: its
            log-potentials, or what `model.baseline_features(batch)` returns.
        """

    def update(self, state: tuple[Tensor, ...], *, finite: Tensor) -> None:
        """Keeps `state` of an `Advantage`, unless the update is skipped."""
        del state, finite


@register("layer")
class NoControlVariate(ControlVariate):
    """No baseline: the signal as it is."""

    def advantage(self, signal, *, weights, features):
        del weights, features
        return Advantage(signal)


@register("layer")
class BatchMean(ControlVariate):
    """The mean signal of the other examples of the batch.

        b_i = 1 / (B - 1) * sum over j != i of f_j

    An example's own signal is left out, so the estimate is unbiased. Subtracting the
    mean over all B, as Paulus et al. do, gives (1 - 1/B) times this advantage:
    `leave_one_out=False`. Padding does not count; a single example keeps its signal.

    Args:
      leave_one_out: whether an example's own signal is left out.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> baseline = tfnes.estimators.BatchMean()
        >>> baseline.advantage(tf.constant([[1.0], [3.0]]), weights=tf.ones(2),
        ...                    features=tf.ones([2, 1])).values.numpy().ravel()
        array([-2.,  2.], dtype=float32)
    """

    def __init__(self, *, leave_one_out: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.leave_one_out = check_flag("BatchMean.leave_one_out", leave_one_out)

    def advantage(self, signal, *, weights, features):
        del features
        weight = tf.cast(weights, signal.dtype)[:, None]
        total, count = sum_over_replicas(
            tf.reduce_sum(signal * weight),
            tf.reduce_sum(weight * tf.ones_like(signal)),
        )
        centered = signal - tf.math.divide_no_nan(total, count)
        if self.leave_one_out:
            factor = tf.math.divide_no_nan(count, count - 1)
            centered = tf.where(count > 1, centered * factor, signal)
        return Advantage(centered)

    def get_config(self):
        return {**super().get_config(), "leave_one_out": self.leave_one_out}


@register("layer")
class ExponentialMovingAverage(ControlVariate):
    """A moving average of the signal of past updates.

        m <- decay * m + (1 - decay) * mean(f),    b = m / (1 - decay^t)

    The average is of past updates only, so the estimate is unbiased. It is corrected
    for its start at 0 (Paulus et al. do not correct it: `correct_start=False`). The
    first update uses the mean of the other examples instead.

    Args:
      decay: in [0, 1).
      correct_start: whether the start at 0 is corrected for.

    Raises:
      ConfigurationError: if `decay` is not in [0, 1).
    """

    def __init__(self, decay: float = 0.99, *, correct_start: bool = True, **kwargs):
        super().__init__(**kwargs)
        name = type(self).__name__
        self.decay = check_real(f"{name}.decay", decay, minimum=0, below=1)
        self.correct_start = check_flag(f"{name}.correct_start", correct_start)

    def create(self, model):
        del model
        self.average = RunningMean("average", decay=self.decay)

    def advantage(self, signal, *, weights, features):
        weight = tf.cast(weights, signal.dtype)[:, None]
        total, count = sum_over_replicas(
            tf.reduce_sum(signal * weight),
            tf.reduce_sum(weight * tf.ones_like(signal)),
        )
        state = self.average.after(tf.math.divide_no_nan(total, count))
        if not self.correct_start:
            baseline = tf.cast(self.average.uncorrected, signal.dtype)
            return Advantage(signal - baseline, state=state)
        others = BatchMean().advantage(signal, weights=weights, features=features)
        baseline = tf.cast(self.average.value, signal.dtype)
        return Advantage(
            tf.where(self.average.started, signal - baseline, others.values),
            state=state,
        )

    def update(self, state, *, finite):
        self.average.assign(state, finite=finite)

    def get_config(self):
        return {
            **super().get_config(),
            "decay": self.decay,
            "correct_start": self.correct_start,
        }


@register("layer")
class LeaveOneOut(ControlVariate):
    """Several samples per example, each with the mean of the others as its baseline.

        b_s = 1 / (S - 1) * sum over r != s of f_r

    The multi-sample estimator of Table 1. The S latents of an example are folded into
    the batch axis: one evaluation of the decoder for B * S latents, one of the encoder
    for B examples.

    Args:
      num_samples: S >= 2.

    Raises:
      ConfigurationError: if `num_samples` is below 2.

    References:
      Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!", Eq. 8.
    """

    def __init__(self, num_samples: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.num_samples = check_integer(
            "LeaveOneOut.num_samples",
            num_samples,
            minimum=2,
            hint="The baseline of a sample is the mean of the others.",
        )

    def advantage(self, signal, *, weights, features):
        del weights, features
        mean = tf.reduce_mean(signal, axis=1, keepdims=True)
        factor = self.num_samples / (self.num_samples - 1)
        return Advantage((signal - mean) * factor)

    def get_config(self):
        return {**super().get_config(), "num_samples": self.num_samples}


class RunningMean(keras.layers.Layer):
    """An exponential moving average from 0, and the weight that it has gathered."""

    def __init__(self, name: str, *, decay: float):
        super().__init__(name=name)
        self.decay = decay
        self.sum, self.weight = (
            self.add_weight(
                name=part,
                shape=(),
                dtype="float32",
                initializer="zeros",
                trainable=False,
                aggregation="only_first_replica",
            )
            for part in ("sum", "weight")
        )

    @property
    def started(self) -> Tensor:
        return tf.convert_to_tensor(self.weight) > 0

    @property
    def uncorrected(self) -> Tensor:
        return tf.convert_to_tensor(self.sum)

    @property
    def value(self) -> Tensor:
        return tf.math.divide_no_nan(
            self.uncorrected, tf.convert_to_tensor(self.weight)
        )

    def after(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the state after one more observation, for `assign`."""
        observation = tf.cast(observation, tf.float32)
        return (
            self.decay * self.sum + (1 - self.decay) * observation,
            self.decay * self.weight + (1 - self.decay),
        )

    def assign(self, state: tuple[Tensor, Tensor], *, finite: Tensor) -> None:
        """Keeps `state` where `finite`."""
        for variable, value in zip((self.sum, self.weight), state, strict=True):
            # Not in a conditional: replicas must meet outside of any.
            variable.assign(tf.where(finite, value, variable))
