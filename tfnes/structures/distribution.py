"""A structure's Gibbs law as a `tfp.distributions.Distribution`.

Imported on the first call of `structure.distribution`, because TensorFlow Probability
takes a while to import.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from tfnes.structures.inference import ExactInference
from tfnes.typing import Tensor


class StructureDistribution(tfp.distributions.Distribution):
    """p(z) = exp(<z, log_potentials>) / Z over the structures z of Z.

    Samples are 0/1 indicators `[*parts]`; `mean` is the marginals, `mode` the argmax,
    `log_prob` is -inf outside of Z. `kl_divergence` of two of these is exact. Samples
    are not reparameterized.

    Args:
      structure: a structure with `log_partition`, `marginals` and `sample`.
      log_potentials: `[..., *parts]`.
      lengths: `[...]` real nodes of each example; None: no padding.
      validate_args: as for every TFP distribution.
      allow_nan_stats: as for every TFP distribution.
      name: as for every TFP distribution.
    """

    def __init__(
        self,
        structure: ExactInference,
        log_potentials: Tensor,
        lengths: Tensor | None = None,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "StructureDistribution",
    ):
        parameters = dict(locals())
        self._structure = structure
        self._log_potentials = tf.convert_to_tensor(log_potentials)
        self._lengths = None if lengths is None else tf.convert_to_tensor(lengths)
        super().__init__(
            dtype=self._log_potentials.dtype,
            reparameterization_type=tfp.distributions.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {
            "log_potentials": tfp.util.ParameterProperties(
                event_ndims=lambda self: self.structure.parts_rank
            ),
            "lengths": tfp.util.ParameterProperties(event_ndims=0),
        }

    @property
    def structure(self) -> ExactInference:
        """The structure whose members are the outcomes."""
        return self._structure

    @property
    def log_potentials(self) -> Tensor:
        """`[..., *parts]`."""
        return self._log_potentials

    @property
    def lengths(self) -> Tensor | None:
        """`[...]` real nodes, or None."""
        return self._lengths

    def _event_shape(self):
        return self._log_potentials.shape[-self.structure.parts_rank :]

    def _event_shape_tensor(self, **_):
        return tf.shape(self._log_potentials)[-self.structure.parts_rank :]

    def _batch_shape(self):
        return self._log_potentials.shape[: -self.structure.parts_rank]

    def _batch_shape_tensor(self, **_):
        return tf.shape(self._log_potentials)[: -self.structure.parts_rank]

    def _sample_n(self, n, seed=None):
        return self.structure.sample(
            self._log_potentials,
            num_samples=int(tf.get_static_value(n)),
            seed=tfp.random.sanitize_seed(seed),
            lengths=self._lengths,
        )

    def _log_prob(self, value):
        lengths = self._lengths
        if lengths is not None:
            outer = tf.shape(value)[: -self.structure.parts_rank]
            lengths = tf.broadcast_to(lengths, outer)
        inside = self.structure.contains(value, lengths=lengths)
        result = self.structure.log_prob(
            value, self._log_potentials, lengths=self._lengths
        )
        return tf.where(inside, result, -float("inf"))

    def _entropy(self):
        return self.structure.entropy(self._log_potentials, lengths=self._lengths)

    def _mean(self):
        return self.structure.marginals(self._log_potentials, lengths=self._lengths)

    def _variance(self):
        mean = self._mean()
        return mean * (1.0 - mean)

    def _mode(self):
        return self.structure.argmax(self._log_potentials, lengths=self._lengths)

    def _default_event_space_bijector(self):
        return None


@tfp.distributions.RegisterKL(StructureDistribution, StructureDistribution)
def _kl_divergence(p, q, name=None):
    if p.structure != q.structure:
        raise ValueError(
            "KL needs two laws over the same structures. Received: "
            f"{p.structure!r} and {q.structure!r}."
        )
    with tf.name_scope(name or "kl_structure"):
        return p.structure.kl_divergence(
            p.log_potentials, q.log_potentials, lengths=p.lengths
        )


def make(
    structure: ExactInference, log_potentials: Tensor, *, lengths: Tensor | None = None
) -> StructureDistribution:
    """Returns the law of `structure` with `log_potentials`."""
    return StructureDistribution(structure, log_potentials, lengths)
