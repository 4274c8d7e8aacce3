"""Predictions of positions and graphs that need no model, to print beside every score.

A run whose ELBO or F1 is no better than these has learned nothing.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnes.checks import check_real
from tfnes.metrics.edges import EdgeF1
from tfnes.metrics.means import OutputMean
from tfnes.registration import register
from tfnes.typing import Batch, Tensor


def copy_last_frame_elbo(positions: Tensor, *, variance: float = 5e-5) -> Tensor:
    """Returns the ELBO per vertex of predicting that nothing moves, without a KL.

        -1/n sum_t |x_t - x_{t-1}|^2 / (2 variance),    t = 2 ... T

    Args:
      positions: `[B, T, n, features]`.
      variance: of each coordinate.

    Returns:
      `[B]`.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import copy_last_frame_elbo
        >>> positions = tf.constant([[[[0.0]], [[3.0]], [[2.0]]]])
        >>> copy_last_frame_elbo(positions, variance=0.5).numpy()
        array([-10.], dtype=float32)
    """
    moved = tf.math.squared_difference(positions[:, 1:], positions[:, :-1])
    total = tf.reduce_sum(moved, axis=[1, 2, 3])
    return -total / (2 * variance * positions.shape[2])


def random_tree_f1(num_vertices: int) -> float:
    """Returns the expected edge F1 of a uniformly random spanning tree, 2 / n.

    It is the same for n - 1 edges drawn at random: each edge is among them with
    probability (n - 1) / E = 2 / n, whatever the gold tree is.

    Example:

        >>> from tfnes.metrics import random_tree_f1
        >>> random_tree_f1(10)
        0.2
    """
    return min(1.0, 2 / num_vertices)


@register("metric")
class CopyLastFrame(OutputMean):
    """The negative ELBO per vertex of predicting that nothing moves.

    Args:
      variance: of each coordinate.
      name: of the metric.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import CopyLastFrame
        >>> metric = CopyLastFrame(variance=0.5)
        >>> metric.update_state({"positions": tf.constant([[[[0.0]], [[3.0]]]])})
        >>> float(metric.result())
        9.0
    """

    def __init__(
        self,
        *,
        variance: float = 5e-5,
        name: str = "copy_last_frame_neg_elbo",
        **kwargs,
    ):
        kwargs.pop("output", None)
        super().__init__(output="neg_elbo", name=name, **kwargs)
        self.variance = check_real("CopyLastFrame.variance", variance, above=0)

    def update_state(self, batch: Batch, outputs: Any = None) -> None:
        del outputs
        elbo = copy_last_frame_elbo(batch["positions"], variance=self.variance)
        super().update_state(batch, {self.output_key: -elbo})

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "variance": self.variance}


@register("metric")
class RandomGraph(EdgeF1):
    """The expected edge F1 of n - 1 random edges, a tree or any others.

    Args:
      gold: the batch's key of the gold trees, `[B, E]`.
      name: of the metric.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import RandomGraph
        >>> metric = RandomGraph()
        >>> metric.update_state({"edges": tf.constant([[1.0, 1.0, 0.0]])})
        >>> round(float(metric.result()), 4)
        0.6667
    """

    def __init__(
        self, *, gold: str = "edges", name: str = "random_graph_edge_f1", **kwargs
    ):
        super().__init__(gold=gold, name=name, **kwargs)

    def update_state(self, batch: Batch, outputs: Any = None) -> None:
        del outputs
        super().update_state(batch, {})

    def _predict(self, gold, outputs):
        del outputs
        # The expected number of common edges is that of an even spread.
        num_edges = gold.shape[1]
        num_vertices = (1 + (1 + 8 * num_edges) ** 0.5) / 2
        return tf.fill(tf.shape(gold), tf.cast(2 / num_vertices, gold.dtype))
