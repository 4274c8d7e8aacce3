"""The base class of all structures, and the optional abilities as Protocols."""

from __future__ import annotations

import abc
from typing import Any, Protocol, runtime_checkable

import tensorflow as tf

from tfnes import errors, random, registration
from tfnes.typing import Seed, Tensor


class Structure(abc.ABC):
    """A finite set Z of discrete structures; z in Z scores <z, log_potentials>.

    A structure holds hyper-parameters only, never tensors. A latent z is the 0/1
    indicator of its parts, of the same shape `[..., *parts]` as the log-potentials;
    any number of leading batch axes is allowed. `lengths` `[...]` counts the real
    nodes of each example; parts of padding are masked before solving (they may hold
    garbage) and are 0 in every result. An example without any real node has one
    structure, the empty one.
    """

    parts_rank: int = 1
    """Number of trailing axes that index the parts of one structure."""

    @abc.abstractmethod
    def argmax(
        self, log_potentials: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns argmax over z in Z of <z, log_potentials>.

        Args:
          log_potentials: `[..., *parts]`, float32 or float64; -inf forbids a part.
          lengths: `[...]` int32, real nodes of each example; None: no padding.

        Returns:
          `[..., *parts]` in {0, 1}, dtype of `log_potentials`. Of several optima any
          one is returned, the same one every time. Where every structure has a
          forbidden part, or a log-potential is NaN, some z is returned; `validate`
          tells.
        """

    @abc.abstractmethod
    def log_count(
        self, log_potentials: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns log |Z| of each example, `[...]` (only the shape is read)."""

    @abc.abstractmethod
    def contains(self, latent: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Returns whether each `latent` is the indicator of a z in Z, `[...]` bool."""

    def score(self, latent: Tensor, log_potentials: Tensor) -> Tensor:
        """Returns <z, log_potentials> of each example, `[...]`.

        Parts with z = 0 add 0 even where their log-potential is -inf or NaN.
        """
        axes = list(range(-self.parts_rank, 0))
        zero = tf.zeros_like(log_potentials)
        return tf.reduce_sum(
            latent * tf.where(tf.equal(latent, 0), zero, log_potentials), axis=axes
        )

    def noise(
        self, log_potentials: Tensor, *, seed: Seed, index: Tensor | None = None
    ) -> Tensor:
        """Returns standard Gumbel noise, one draw per part.

        The draw of a part is a function of `seed`, of the example's `index` and of
        the part's coordinates alone: padding, chunking and the number of replicas do
        not change it.

        Args:
          log_potentials: `[..., *parts]`; only shape and dtype are read.
          seed: `[2]` int32.
          index: `[...]` int32, global index of each example; None: 0, 1, ... in
            row-major order of the leading axes.
        """
        shape = tf.shape(log_potentials)
        parts = shape[log_potentials.shape.rank - self.parts_rank :]
        if index is not None:
            index = tf.reshape(index, [-1])
        noise = random.gumbel(
            tf.concat([[tf.reduce_prod(shape[: -self.parts_rank])], parts], 0),
            seed=seed,
            index=index,
            dtype=log_potentials.dtype,
        )
        return tf.reshape(noise, shape)

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

    def predict(
        self, log_potentials: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns `argmax` after checking that there is a finite optimum.

        What the prediction of every model calls; it costs one solve, and a second one
        only where some number is NaN or +inf. Training calls `argmax`, which does not
        look. Padding is not looked at.

        Raises:
          tf.errors.InvalidArgumentError: see `validate`.
        """
        log_potentials = tf.convert_to_tensor(log_potentials)
        latent = self.argmax(log_potentials, lengths=lengths)
        finite = self.has_finite_optimum(latent, log_potentials, lengths=lengths)
        return self.require_finite_optimum(latent, finite)

    def validate(
        self, log_potentials: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns `log_potentials` once they are known to have a finite optimum.

        It solves, so it is meant for debugging, outside the hot path; to validate what
        is solved anyway use `predict`. Padding is not looked at.

        Raises:
          tf.errors.InvalidArgumentError: where the best structure has a score that is
            NaN or infinite: a NaN or +inf among the log-potentials, or forbidden parts
            (-inf) that leave no structure.
        """
        log_potentials = tf.convert_to_tensor(log_potentials)
        latent = self.argmax(log_potentials, lengths=lengths)
        finite = self.has_finite_optimum(latent, log_potentials, lengths=lengths)
        return self.require_finite_optimum(log_potentials, finite)

    def has_finite_optimum(
        self, latent: Tensor, log_potentials: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns whether each example has a best structure of finite score, `[...]`.

        Args:
          latent: `[..., *parts]`, what `argmax` returned.
          log_potentials: `[..., *parts]`, what it was given.
          lengths: `[...]` int32, real nodes of each example; None: no padding.
        """
        log_potentials = tf.convert_to_tensor(log_potentials)
        axes = list(range(-self.parts_rank, 0))
        # Forbidden parts show in the score of the optimum. Solvers read NaN as
        # forbidden, so a second solve makes NaN and +inf win: only real parts can.
        finite = tf.math.is_finite(self.score(latent, log_potentials))
        odd = tf.math.is_nan(log_potentials) | (log_potentials == float("inf"))

        def without_odd() -> Tensor:
            odd_first = tf.where(odd, tf.constant(1e30, log_potentials.dtype), 0.0)
            chosen = odd & (self.argmax(odd_first, lengths=lengths) > 0)
            return finite & ~tf.reduce_any(chosen, axis=axes)

        return tf.cond(tf.reduce_any(odd), without_odd, lambda: finite)

    def require_finite_optimum(self, tensor: Tensor, finite: Tensor) -> Tensor:
        """Returns `tensor` once all examples are known to have a finite optimum.

        Args:
          tensor: any tensor.
          finite: `[...]` bool, see `has_finite_optimum`.

        Raises:
          tf.errors.InvalidArgumentError: unless all are; it names the examples.
        """
        message = (
            f"{self!r} has no finite optimum: log_potentials hold NaN or +inf, or "
            "their forbidden parts (-inf) leave no structure. Mask or mend these "
            "examples (flat index over the leading axes):"
        )
        examples = tf.where(tf.reshape(~finite, [-1]))[:, 0]
        check = tf.debugging.Assert(
            tf.reduce_all(finite), [message, examples], summarize=20
        )
        with tf.control_dependencies([] if check is None else [check]):
            return tf.identity(tensor)

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

    def relaxed_argmax(
        self, log_potentials, *, temperature, lengths=None
    ) -> Tensor: ...


@runtime_checkable
class HasEnumeration(Protocol):
    """All z of a small structure: `[|Z|, *parts]`, float32 numpy."""

    def enumerate(self, num_nodes): ...


_ABILITIES: dict[type, str] = {
    HasMarginals: "marginals",
    HasSampler: "exact sampling",
    HasRelaxedArgmax: "a relaxed argmax",
    HasEnumeration: "enumeration",
}


def require_ability(structure: Structure, ability: type, *, user: str) -> None:
    """Checks that `structure` has `ability`, one of the Protocols of this module.

    Args:
      structure: the structure that is asked.
      ability: `HasMarginals`, `HasSampler`, `HasRelaxedArgmax` or `HasEnumeration`.
      user: who needs it, for the message.

    Raises:
      UnsupportedStructureError: if it has not; the message lists the ones that have.

    Example:

        >>> from tfnes import structures
        >>> structures.require_ability(
        ...     structures.Categorical(), structures.HasMarginals, user="a test")
    """
    if isinstance(structure, ability):
        return
    able = [
        name
        for name, cls in registration.registered("structure").items()
        if issubclass(cls, ability)
    ]
    name = _ABILITIES.get(ability, ability.__name__)
    raise errors.UnsupportedStructureError(
        f"{user} needs {name}; {structure!r} has none. "
        f"Structures with {name}: {', '.join(able) or 'none'}."
    )
