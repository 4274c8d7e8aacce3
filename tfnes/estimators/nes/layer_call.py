"""One call of one layer with noise: what is drawn, and the record of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.estimators.nes.records import Kernel, LinearRecord
from tfnes.models.rows import LEADING, current_rows
from tfnes.typing import Seed, Tensor


@dataclasses.dataclass
class Settings:
    """What all evaluations of one update have in common.

    Attributes:
      seed: `[2]` int32 key of the noise.
      index: `[B]` integer key of each example; None: one noise for the batch.
      sigma: gives the standard deviation of a variable's noise, `[]`.
      perturbed: the `id` of each perturbed variable.
      rank: of low-rank noise; None: noise on the layers' outputs.
    """

    seed: Seed
    index: Tensor | None
    sigma: Callable[[keras.Variable], Tensor]
    perturbed: set[int]
    rank: int | None = None


@dataclasses.dataclass
class Evaluation:
    """One evaluation of the model, mu + sigma w or mu - sigma w.

    Attributes:
      settings: of the update.
      pair: `[]` int32, keys the noise.
      sign: 1 or -1.
      draws: the noise drawn so far, by key; both evaluations of a pair share it.
      records: what was perturbed.
      sources: operations whose results differ between evaluations.
      calls: how often each layer was called so far.
    """

    settings: Settings
    pair: Tensor
    sign: int
    draws: dict[Any, Any]
    records: list[Any] = dataclasses.field(default_factory=list)
    sources: set[Any] = dataclasses.field(default_factory=set)
    calls: dict[int, int] = dataclasses.field(default_factory=dict)


class LayerCall:
    """Draws the noise of one call of one layer, and records what was perturbed.

    Args:
      evaluation: which this call is a part of.
      number: of the layer, keys the noise.
    """

    def __init__(self, evaluation: Evaluation, *, number: int):
        self._evaluation = evaluation
        self._settings = evaluation.settings
        self._number = number
        self._call = evaluation.calls.get(number, 0)
        evaluation.calls[number] = self._call + 1
        self._uses = 0

    @property
    def by_example(self) -> bool:
        """Whether each example has noise of its own here."""
        return self._settings.index is not None and current_rows() is not None

    def perturbs(self, variable: keras.Variable | Kernel | None) -> bool:
        """Whether `variable` is one of the perturbed."""
        variable = variable.variable if isinstance(variable, Kernel) else variable
        return variable is not None and id(variable) in self._settings.perturbed

    def normals(
        self,
        size: int,
        *,
        rows: Any = LEADING,
        offset: Tensor | None = None,
    ) -> Tensor:
        """Returns N(0, 1) numbers `[R, size]`, the same in both evaluations of a pair.

        Each row has its own, for noise by example.

        Args:
          size: numbers of each row.
          rows: `[R]`, the example of each row, or `LEADING`.
          offset: `[R]`, tells rows of one example apart.
        """
        index = self._settings.index
        if rows is not LEADING:
            index = tf.gather(index, rows)
        return self._normals(size, index=index, offset=offset)

    def deviation(
        self,
        squares: Tensor,
        kernel: keras.Variable | Kernel | None,
        bias: keras.Variable | None = None,
    ) -> Tensor:
        """Returns the deviation of x W + b from noise, for |x|^2 `squares`."""
        variance = tf.zeros_like(squares)
        if self.perturbs(kernel):
            variance += tf.square(self._sigma(Kernel.of(kernel))) * squares
        if self.perturbs(bias):
            variance += tf.square(self._sigma(bias))
        return tf.sqrt(variance)

    def record(
        self,
        x: Tensor,
        kernels: Sequence[Kernel | keras.Variable | None],
        noise: Tensor,
        deviation: Tensor | None,
        *,
        rows: Any = LEADING,
    ) -> None:
        """Records that a result had `sign * deviation * noise` added.

        Args:
          x: `[R, in]`, what the kernel multiplied.
          kernels: kernel and bias.
          noise: `[R, out]`.
          deviation: `[R]`; None: `noise` is divided by it already.
          rows: the example of each row.
        """
        kernels = tuple(
            Kernel.of(k) if k is not None and self.perturbs(k) else None
            for k in kernels
        )
        scale = None
        if deviation is not None:
            scale = tf.math.divide_no_nan(1.0, deviation)
        self._record(
            LinearRecord(
                kernels=kernels,
                inputs=x,
                noise=noise,
                scale=scale,
                examples=rows if self.by_example else None,
            )
        )

    @property
    def sign(self) -> int:
        """1, or -1 in the mirrored evaluation."""
        return self._evaluation.sign

    def source(self, *tensors: Tensor) -> None:
        """Marks tensors that hold noise, where a rule adds it by itself."""
        for tensor in tensors:
            self._evaluation.sources.add(tensor.op if hasattr(tensor, "graph") else 0)

    # For subclasses -------------------------------------------------------------------

    def _sigma(self, variable: keras.Variable | Kernel) -> Tensor:
        variable = variable.variable if isinstance(variable, Kernel) else variable
        return self._settings.sigma(variable)

    def _examples(self, rows: Any, x: Tensor) -> Tensor:
        """Returns the example of each row of x, `[R]`."""
        count = tf.size(self._settings.index)
        if rows is not LEADING:
            return rows
        tf.debugging.assert_equal(
            tf.shape(x)[0],
            count,
            "NES with noise for each example takes the first axis of a layer's input "
            "for the example axis. Declare other rows by tfnes.models.example_rows.",
        )
        return tf.range(count)

    def _normals(self, size: int, *, index: Tensor, offset: Tensor | None = None):
        self._uses += 1
        key = (self._number, self._call, self._uses)
        graph = tf.compat.v1.get_default_graph() if not tf.executing_eagerly() else None
        draws = self._evaluation.draws
        if (key, graph) not in draws:
            draws[key, graph] = random.normal_rows(
                size,
                seed=self._settings.seed,
                stream=[
                    self._number,
                    64 * self._call + self._uses,
                    self._evaluation.pair,
                ],
                index=index,
                offset=offset,
            )
        return draws[key, graph]

    def _add(self, value: Tensor, noise: Tensor) -> Tensor:
        self.source(noise)
        return value + noise if self.sign > 0 else value - noise

    def _record(self, record: Any) -> None:
        record.key = (self._number, self._call, len(self._evaluation.records))
        self._evaluation.records.append(record)
