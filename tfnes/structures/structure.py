"""The base class of all structures, and the optional abilities as Protocols."""

from __future__ import annotations

import abc
from typing import Any, Protocol, runtime_checkable

import tensorflow as tf

from tfnes import random
from tfnes.typing import Seed, Tensor


class Structure(abc.ABC):
    """A finite set Z of discrete structures; z in Z scores <z, log_potentials>.

    A structure holds hyper-parameters only, never tensors. A latent z is the 0/1
    indicator of its parts, of the same shape `[..., *parts]` as the log-potentials;
    any number of leading batch axes is allowed. `lengths` `[...]` counts the real
    nodes of each example; parts of padding are masked before solving (they may hold
    garbage) and are 0 in every result.
    """

    parts_rank: int = 1
    """Number of trailing axes that index the parts of one structure."""

    @abc.abstractmethod
    def argmax(self, log_potentials: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Returns argmax over z in Z of <z, log_potentials>.

        Args:
          log_potentials: `[..., *parts]`, float32 or float64; -inf forbids a part.
          lengths: `[...]` int32, real nodes of each example; None: no padding.

        Returns:
          `[..., *parts]` in {0, 1}, dtype of `log_potentials`. Of several optima any
          one is returned, the same one every time.
        """

    @abc.abstractmethod
    def log_count(self, log_potentials: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Returns log |Z| of each example, `[...]` (only the shape is read)."""

    @abc.abstractmethod
    def contains(self, latent: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Returns whether each `latent` is the indicator of a z in Z, `[...]` bool."""

    def score(self, latent: Tensor, log_potentials: Tensor) -> Tensor:
        """Returns <z, log_potentials> of each example, `[...]`.

        Parts with z = 0 add 0 even where their log-potential is -inf.
        """
        axes = list(range(-self.parts_rank, 0))
        zero = tf.zeros_like(log_potentials)
        return tf.reduce_sum(
            latent * tf.where(tf.equal(latent, 0), zero, log_potentials), axis=axes
        )

    def noise(self, log_potentials: Tensor, *, seed: Seed, index: Tensor | None = None) -> Tensor:
        """Returns standard Gumbel noise, one draw per part.

        The draw of a part is a function of `seed`, of the example's `index` and of
        the part's coordinates alone: padding, chunking and the number of replicas do
        not change it.

        Args:
          log_potentials: `[B, *parts]`; only shape and dtype are read.
          seed: `[2]` int32.
          index: `[B]` int32, global index of each example; None: 0 ... B-1.
        """
        return random.gumbel(
            tf.shape(log_potentials), seed=seed, index=index, dtype=log_potentials.dtype
        )

    def perturb_and_map(
        self,
        log_potentials: Tensor,
        *,
        seed: Seed,
        lengths: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """Returns argmax over z of <z, log_potentials + Gumbel noise> (Eq. 2).

        Exact sampling from the Gibbs law for `Categorical`; for other structures the
        perturb-and-MAP law of Papandreou & Yuille (2011).
        """
        noise = self.noise(log_potentials, seed=seed, index=index)
        return self.argmax(log_potentials + noise, lengths=lengths)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, for Keras serialisation."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Structure:
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((type(self), repr(self.get_config())))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


@runtime_checkable
class HasMarginals(Protocol):
    """log Z = log sum over z of exp <z, log_potentials>, and p(part in z)."""

    def log_partition(self, log_potentials, *, lengths=None) -> Tensor: ...

    def marginals(self, log_potentials, *, lengths=None) -> Tensor: ...


@runtime_checkable
class HasSampler(Protocol):
    """Exact samples of p(z) = exp(<z, log_potentials>) / Z: `[S, ..., *parts]`."""

    def sample(self, log_potentials, *, num_samples, seed, lengths=None) -> Tensor: ...


@runtime_checkable
class HasRelaxedArgmax(Protocol):
    """A differentiable stand-in of argmax in the convex hull of Z."""

    def relaxed_argmax(self, log_potentials, *, temperature, lengths=None) -> Tensor: ...


@runtime_checkable
class HasEnumeration(Protocol):
    """All z of a small structure: `[|Z|, *parts]`, float32 numpy."""

    def enumerate(self, num_nodes): ...
