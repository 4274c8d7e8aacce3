"""NVIL: REINFORCE with a learned baseline and running statistics of the signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.checks import check_flag, check_integer, check_real, check_sequence
from tfnes.estimators.control_variates import Advantage, ControlVariate, RunningMean
from tfnes.estimators.evaluation import example_mean, sum_over_replicas
from tfnes.estimators.score_function import ScoreFunctionEstimator
from tfnes.registration import register
from tfnes.typing import Tensor

_PROJECTION_SEED = 20140714


@register("estimator")
class NVIL(ScoreFunctionEstimator):
    """Neural variational inference and learning: two control variates.

        advantage = (f - c - s * C_psi(x)) / max(1, v)

    c and s are the running mean and standard deviation of the signal f, v that of what
    the baseline leaves, and C_psi a small network that is trained with the model, by
    the same optimizer, to minimize ((f - c) / s - C_psi(x))^2. The running statistics
    are of past updates (the first update uses its own), so that but for the scale
    1/max(1, v) of the score's term the estimate is unbiased.

    C_psi sees a random projection of the encoder's log-potentials, standardized over
    the batch, with no gradient to the encoder; a model with a method
    `baseline_features(batch)` -> `[B, ...]` gives features of its own instead (Paulus
    et al. take the encoder's last edge features).

    Args:
      hidden_units: sizes of C_psi's hidden layers.
      decay: of the running statistics; 0.8 in Mnih & Gregor.
      normalize_variance: whether to divide by max(1, v).
      density: `"perturbed_weights"` or `"structure"`, see `ScoreFunctionEstimator`.

    Example:

        >>> import tfnes
        >>> tfnes.estimators.NVIL(hidden_units=(64,)).get_config()["hidden_units"]
        [64]

    References:
      Mnih & Gregor 2014, "Neural variational inference and learning in belief
      networks", section 2.3 and Algorithm 1; Berliner et al. 2022, Table 1.
    """

    def __init__(
        self,
        *,
        hidden_units: Sequence[int] = (128,),
        decay: float = 0.8,
        normalize_variance: bool = True,
        density: str = "perturbed_weights",
    ):
        baseline = LearnedBaseline(
            hidden_units=hidden_units,
            decay=decay,
            normalize_variance=normalize_variance,
        )
        super().__init__(control_variate=baseline, density=density)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["control_variate"]
        baseline = self.control_variate
        return {
            **config,
            "hidden_units": list(baseline.hidden_units),
            "decay": baseline.decay,
            "normalize_variance": baseline.normalize_variance,
        }


@register("layer")
class LearnedBaseline(ControlVariate):
    """The control variates of `NVIL`; see there.

    Args:
      hidden_units: sizes of the network's hidden layers.
      decay: of the running statistics, in [0, 1).
      normalize_variance: whether to divide by max(1, v).
      num_features: F, size of the random projection that the network sees.

    Raises:
      ConfigurationError: if `decay` is not in [0, 1).
    """

    def __init__(
        self,
        *,
        hidden_units: Sequence[int] = (128,),
        decay: float = 0.8,
        normalize_variance: bool = True,
        num_features: int = 64,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_units = check_sequence(
            "NVIL.hidden_units", hidden_units, check_integer, minimum=1
        )
        self.decay = check_real("NVIL.decay", decay, minimum=0, below=1)
        self.normalize_variance = check_flag(
            "NVIL.normalize_variance", normalize_variance
        )
        self.num_features = check_integer("NVIL.num_features", num_features, minimum=1)

    def create(self, model):
        del model
        self.network = keras.Sequential(
            [
                *(keras.layers.Dense(h, activation="relu") for h in self.hidden_units),
                # Starts as no baseline at all.
                keras.layers.Dense(1, kernel_initializer="zeros"),
            ],
            name="network",
        )
        self.network.build((None, self.num_features + 1))
        self.mean = RunningMean("mean", decay=self.decay)
        self.variance = RunningMean("variance", decay=self.decay)
        self.residual = RunningMean("residual_variance", decay=self.decay)

    def advantage(self, signal, *, weights, features):
        weight = tf.cast(weights, signal.dtype)[:, None]

        def batch_mean(values):
            total, count = sum_over_replicas(
                tf.reduce_sum(values * weight),
                tf.reduce_sum(weight * tf.ones_like(values)),
            )
            return tf.math.divide_no_nan(total, count)

        def now(running, observation):
            value = tf.cast(running.value, signal.dtype)
            return tf.where(running.started, value, observation)

        observed_mean = batch_mean(signal)
        mean = now(self.mean, observed_mean)
        observed_variance = batch_mean(tf.square(signal - mean))
        deviation = tf.sqrt(now(self.variance, observed_variance))
        standard = tf.math.divide_no_nan(signal - mean, deviation)
        # Standardized over the batch, whatever the scale of the log-potentials.
        projected = self._project(features)
        row = tf.cast(weights, projected.dtype)[:, None]
        total, squares, count = sum_over_replicas(
            tf.reduce_sum(projected * row, axis=0),
            tf.reduce_sum(tf.square(projected) * row, axis=0),
            tf.reduce_sum(row),
        )
        center = tf.math.divide_no_nan(total, count)
        spread = tf.math.divide_no_nan(squares, count) - tf.square(center)
        projected = (projected - center) * tf.math.rsqrt(tf.maximum(spread, 1e-8))
        prediction = self.network(projected)
        prediction = tf.cast(prediction, signal.dtype)
        errors = tf.reduce_mean(tf.square(standard - prediction), axis=1)
        left = signal - mean - deviation * tf.stop_gradient(prediction)
        observed_residual = batch_mean(tf.square(left))
        if self.normalize_variance:
            residual = now(self.residual, observed_residual)
            left /= tf.maximum(tf.sqrt(residual), 1)
        return Advantage(
            left,
            loss=example_mean(errors, weights),
            state=(
                *self.mean.after(observed_mean),
                *self.variance.after(observed_variance),
                *self.residual.after(observed_residual),
            ),
        )

    def update(self, state, *, finite):
        self.mean.assign(state[:2], finite=finite)
        self.variance.assign(state[2:4], finite=finite)
        self.residual.assign(state[4:], finite=finite)

    def _project(self, features: Tensor) -> Tensor:
        """Returns `[B, num_features + 1]`: a fixed random projection, and the energy.

        The weight of a feature depends on its coordinates alone, so the number of nodes
        that a batch is padded to changes nothing.
        """
        features = tf.cast(features, tf.float32)
        shape = tf.shape(features)
        signs = random.uniform(
            tf.concat([[self.num_features], shape[1:]], 0),
            seed=random.make_seed(_PROJECTION_SEED),
        )
        signs = tf.reshape(tf.where(signs < 0.5, -1.0, 1.0), [self.num_features, -1])
        flat = tf.reshape(features, [shape[0], tf.shape(signs)[1]])
        used = tf.reduce_sum(tf.cast(flat != 0, tf.float32), axis=1, keepdims=True)
        scale = tf.math.rsqrt(tf.maximum(used, 1.0))
        energy = tf.reduce_sum(tf.square(flat), axis=1, keepdims=True)
        projected = tf.matmul(flat, signs, transpose_b=True) * scale
        return tf.concat([projected, tf.sqrt(energy) * scale], axis=1)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "decay": self.decay,
            "normalize_variance": self.normalize_variance,
            "num_features": self.num_features,
        }
