"""The initial laws of the Kiperwasser-Goldberg parser that Keras lacks."""

from __future__ import annotations

import math

import keras

from tfnes.registration import register


@register("layer")
class DimensionUniform(keras.initializers.Initializer):
    """U(-sqrt(3 / D), sqrt(3 / D)): variance 1 / D, with D the last axis.

    Args:
      seed: integer seed of this draw; None: another draw every time.
    """

    def __init__(self, *, seed: int | None = None):
        self.seed = seed

    def __call__(self, shape, dtype=None, **kwargs):
        limit = math.sqrt(3.0 / shape[-1])
        return keras.initializers.RandomUniform(-limit, limit, seed=self.seed)(
            shape, dtype
        )

    def get_config(self):
        return {"seed": self.seed}


@register("layer")
class StackedGlorot(keras.initializers.Initializer):
    """Glorot-uniform draws of several `[in, out]` matrices kept in one variable.

    The four gates of an LSTM count as one matrix of 4 * units outputs; the directions
    of a bidirectional LSTM count each for itself.

    Args:
      blocks: number of matrices; they lie side by side along the last axis.
      seed: integer seed of this draw; None: another draw every time.
    """

    def __init__(self, *, blocks: int = 1, seed: int | None = None):
        self.blocks = blocks
        self.seed = seed

    def __call__(self, shape, dtype=None, **kwargs):
        limit = math.sqrt(6.0 / (shape[-2] + shape[-1] // self.blocks))
        return keras.initializers.RandomUniform(-limit, limit, seed=self.seed)(
            shape, dtype
        )

    def get_config(self):
        return {"blocks": self.blocks, "seed": self.seed}


@register("layer")
class LSTMBias(keras.initializers.Initializer):
    """0 for the gates i, c, o and `forget` for the gate f (order i, f, c, o).

    Args:
      forget: the forget gate's bias; 1.0 is the authors' 0.5 in each of two biases.
    """

    def __init__(self, *, forget: float = 1.0):
        self.forget = forget

    def __call__(self, shape, dtype=None, **kwargs):
        units = shape[-1] // 4
        gates = [0.0] * units + [self.forget] * units + [0.0] * (2 * units)
        return keras.ops.broadcast_to(keras.ops.convert_to_tensor(gates, dtype), shape)

    def get_config(self):
        return {"forget": self.forget}
