"""SparseMAP: a sparse relaxation that asks nothing but a MAP solver."""

from __future__ import annotations

import tensorflow as tf

from tfnes.checks import check_integer
from tfnes.estimators.pathwise import PathwiseEstimator, Temperature
from tfnes.registration import register
from tfnes.solvers.active_set import sparsemap


@register("estimator")
class SparseMAP(PathwiseEstimator):
    """Back-propagates through the Euclidean projection onto conv(Z).

        z = argmin over m in conv(Z) of |m - (h_phi(x) + gamma) / t|^2
          = argmax over m in conv(Z) of <m, h + gamma> - t/2 * |m|^2

    The result mixes few structures, found by the active-set method with one call of the
    structure's `argmax` an iteration, so every structure will do. The gradient takes
    the active set as fixed; it is 0 where a single structure is active.

    Args:
      temperature: t > 0, or a schedule; the authors use 1.
      straight_through: decodes the hard sample, differentiates the relaxed one.
      max_iterations: calls of the solver after the first one; where they do not suffice
        the projection is onto the structures found so far. The authors use 10.

    Raises:
      ConfigurationError: if `max_iterations` is below 1.

    Example:

        >>> import tfnes
        >>> tfnes.estimators.SparseMAP(max_iterations=20).get_config()["max_iterations"]
        20

    References:
      Niculae et al. 2018, "SparseMAP: differentiable sparse structured inference",
      Eq. 5 and section 3; Berliner et al. 2022, section 4.2 and Table 2.
    """

    def __init__(
        self,
        *,
        temperature: Temperature = 1.0,
        straight_through: bool = False,
        max_iterations: int = 10,
    ):
        super().__init__(temperature=temperature, straight_through=straight_through)
        self.max_iterations = check_integer(
            "SparseMAP.max_iterations", max_iterations, minimum=1
        )

    def relax(self, model, log_potentials, noise, lengths, *, seed):
        temperature = tf.cast(self.current_temperature(model), noise.dtype)
        return sparsemap(
            (log_potentials + noise) / temperature,
            argmax=model.structure.argmax,
            parts_rank=model.structure.parts_rank,
            max_iterations=self.max_iterations,
            lengths=lengths,
        )

    def get_config(self):
        return {**super().get_config(), "max_iterations": self.max_iterations}
