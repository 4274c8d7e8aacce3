"""REINFORCE with a choice of control variates."""

from __future__ import annotations

from tfnes.estimators.score_function import ScoreFunctionEstimator
from tfnes.registration import register


@register("estimator")
class REINFORCE(ScoreFunctionEstimator):
    """The score-function estimator of Table 1.

        (f - b) * d log q_phi / d phi,    f = -log p_theta(x | z)

    with the density of the perturbed weights (Eq. 3) or of the structure (Eq. 1), see
    `ScoreFunctionEstimator`. Table 1's rows are `BatchMean()`, *Batch*;
    `ExponentialMovingAverage()`, *EMA*; `LeaveOneOut(r)`, *Multi-sample*.

    Args:
      control_variate: `BatchMean`, `ExponentialMovingAverage`, `LeaveOneOut`, or one of
        one's own; None: no baseline.
      density: `"perturbed_weights"` or `"structure"`.

    Example:

        >>> import keras, tensorflow as tf, tfnes
        >>> from tfnes.estimators import LeaveOneOut, REINFORCE
        >>> model = tfnes.models.MLP(hidden_units=8, input_size=4)
        >>> model.compile(keras.optimizers.Adam(),
        ...               REINFORCE(control_variate=LeaveOneOut(4)))
        >>> data = tf.data.Dataset.from_tensors({"image": tf.ones([2, 4])})
        >>> _ = model.fit(data, verbose=0)

    References:
      Williams 1992, "Simple statistical gradient-following algorithms"; Berliner et al.
      2022, Eqs. 1 and 3, section 4.1.
    """
