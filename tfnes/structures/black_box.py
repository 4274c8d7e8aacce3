"""Any solver written in Python, as a structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes import errors, registration
from tfnes.checks import check_function, check_integer, check_optional
from tfnes.structures.structure import Structure


@registration.register("structure")
class BlackBox(Structure):
    """The structures that a Python function finds, `[..., *parts]`.

    The solver runs on the host, one example after the other, outside of the graph
    (`tf.numpy_function`): not on an accelerator, not under XLA, and a saved graph needs
    the Python process that made it. NES and the other estimators that only evaluate
    need no more than this. Ties, roots and the cost are what the solver makes of them;
    it should return the same structure every time.

    Args:
      solver: function of the scores of one example, numpy `[*parts]`, and its length
        (an int, -1 where no lengths are given); it returns the 0/1 indicator of the
        best structure. Register it (`keras.saving.register_keras_serializable`) to save
        a model that has it.
      parts_rank: number of part axes.
      contains: function of one latent, numpy `[*parts]`, and its length to whether it
        is a structure; None: `contains` raises.
      log_count: function of the shape of one example and its length to log |Z|;
        None: `log_count` raises.

    Example:

        >>> import numpy as np, tensorflow as tf, tfnes
        >>> def positive(scores, length):
        ...     return scores > 0
        >>> structure = tfnes.structures.BlackBox(positive)
        >>> structure.argmax(tf.constant([0.5, -1.0])).numpy()
        array([1., 0.], dtype=float32)
    """

    def __init__(
        self,
        solver: Callable[[np.ndarray, int], np.ndarray],
        *,
        parts_rank: int = 1,
        contains: Callable[[np.ndarray, int], bool] | None = None,
        log_count: Callable[[tuple[int, ...], int], float] | None = None,
    ):
        self.solver = check_function(
            "BlackBox.solver",
            solver,
            expected="a function of (scores, length) that returns 0s and 1s",
        )
        self.parts_rank = check_integer("BlackBox.parts_rank", parts_rank, minimum=1)
        self._contains = check_optional("BlackBox.contains", contains, check_function)
        self._log_count = check_optional(
            "BlackBox.log_count", log_count, check_function
        )

    def argmax(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)

        def solve(scores, lengths):
            rows = scores.reshape(-1, *scores.shape[scores.ndim - self.parts_rank :])
            result = np.zeros_like(rows)
            for row, length in enumerate(lengths.reshape(-1)):
                result[row] = self._indicator(rows[row], int(length))
            return result.reshape(scores.shape)

        latent = self._on_host(solve, log_potentials, lengths, log_potentials.dtype)
        return tf.ensure_shape(tf.stop_gradient(latent), log_potentials.shape)

    def log_count(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        self._require(self._log_count, "log_count")

        def count(scores, lengths):
            parts = scores.shape[scores.ndim - self.parts_rank :]
            each = [self._log_count(parts, int(length)) for length in lengths.flat]
            return np.array(each, scores.dtype).reshape(lengths.shape)

        result = self._on_host(count, log_potentials, lengths, log_potentials.dtype)
        return tf.ensure_shape(result, log_potentials.shape[: -self.parts_rank])

    def contains(self, latent, *, lengths=None):
        latent = tf.convert_to_tensor(latent)
        self._require(self._contains, "contains")

        def check(latent, lengths):
            rows = latent.reshape(-1, *latent.shape[latent.ndim - self.parts_rank :])
            pairs = zip(rows, lengths.reshape(-1), strict=True)
            each = [self._contains(row, int(length)) for row, length in pairs]
            return np.array(each, np.bool_).reshape(lengths.shape)

        result = self._on_host(check, latent, lengths, tf.bool)
        return tf.ensure_shape(result, latent.shape[: -self.parts_rank])

    def get_config(self) -> dict[str, Any]:
        functions = {
            "solver": self.solver,
            "contains": self._contains,
            "log_count": self._log_count,
        }
        return {
            name: None if value is None else keras.saving.serialize_keras_object(value)
            for name, value in functions.items()
        } | {"parts_rank": self.parts_rank}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BlackBox:
        config = dict(config)
        for name in ("solver", "contains", "log_count"):
            if config[name] is not None:
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)

    def _on_host(self, function, tensor, lengths, dtype):
        if lengths is None:
            lengths = tf.fill(tf.shape(tensor)[: -self.parts_rank], -1)
        lengths = tf.broadcast_to(lengths, tf.shape(tensor)[: -self.parts_rank])
        return tf.numpy_function(function, [tensor, lengths], dtype)

    def _indicator(self, scores: np.ndarray, length: int) -> np.ndarray:
        latent = np.asarray(self.solver(scores, length))
        if latent.shape != scores.shape:
            raise errors.DataError(
                f"The solver of {self!r} must return an indicator of the shape of the "
                f"scores, {scores.shape}. Received: {latent.shape}."
            )
        return latent

    def _require(self, function: Callable | None, name: str) -> None:
        if function is None:
            raise errors.UnsupportedStructureError(
                f"BlackBox was not told how to answer {name}. Give the argument "
                f"{name}=... to the constructor."
            )

    def __repr__(self) -> str:
        name = getattr(self.solver, "__name__", repr(self.solver))
        return f"BlackBox(solver={name}, parts_rank={self.parts_rank})"
