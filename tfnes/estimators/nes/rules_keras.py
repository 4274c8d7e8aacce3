"""Rules of Keras' layers without recurrence."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfnes.estimators.nes.layer_noise import LayerNoise
from tfnes.estimators.nes.rules import perturbation_rule
from tfnes.typing import Tensor

layers = keras.layers


def _plain(layer: keras.layers.Layer) -> bool:
    """Whether the kernel is the variable itself."""
    return not getattr(layer, "lora_enabled", False) and not layer.quantization_mode


@perturbation_rule(layers.Dense, applies=_plain)
def dense(layer, noise: LayerNoise, inputs, training=None):
    """x W + b, then the activation."""
    del training
    return _activate(layer, noise.dense(inputs, layer.kernel, layer.bias))


@perturbation_rule(layers.EinsumDense, applies=_plain)
def einsum_dense(layer, noise: LayerNoise, inputs, training=None):
    """An einsum of x and W."""
    del training
    outputs = noise.linear_map(
        lambda x, kernel: tf.einsum(layer.equation, x, kernel), inputs, layer.kernel
    )
    return _activate(layer, _add_bias(noise, outputs, layer.bias))


@perturbation_rule(
    layers.Embedding,
    applies=lambda layer: _plain(layer) and layer.embeddings_constraint is None,
)
def embedding(layer, noise: LayerNoise, inputs):
    """Direct noise on the rows that are used."""
    if not inputs.dtype.is_integer:
        inputs = tf.cast(inputs, tf.int32)  # as the layer does
    return noise.gather(layer.embeddings, inputs)


@perturbation_rule(
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    applies=lambda layer: _plain(layer) and layer.padding != "causal",
)
def convolution(layer, noise: LayerNoise, inputs):
    """Each position and channel of the result has noise of its own."""
    depthwise = isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D))

    def function(x: Tensor, kernel: Tensor) -> Tensor:
        if not depthwise:
            return layer.convolution_op(x, kernel)
        return keras.ops.depthwise_conv(
            x,
            kernel,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )

    outputs = noise.linear_map(function, inputs, layer.kernel)
    last = layer.data_format == "channels_last"
    return _activate(layer, _add_bias(noise, outputs, layer.bias, last=last))


@perturbation_rule(
    layers.LayerNormalization, applies=lambda layer: _last_axis(layer.axis)
)
def layer_normalization(layer, noise: LayerNoise, inputs):
    """Direct noise on scale and offset."""
    return _normalize(layer, noise, inputs, lambda: type(layer).call(layer, inputs))


@perturbation_rule(
    layers.BatchNormalization, applies=lambda layer: _last_axis(layer.axis)
)
def batch_normalization(layer, noise: LayerNoise, inputs, training=None, mask=None):
    """Direct noise on scale and offset; the statistics are those of the evaluation."""
    return _normalize(
        layer,
        noise,
        inputs,
        lambda: type(layer).call(layer, inputs, training=training, mask=mask),
    )


def _normalize(layer, noise: LayerNoise, inputs, call) -> Tensor:
    """Runs the layer with scale 1 and offset 0, then scales by what has noise."""
    neutral = []
    if layer.gamma is not None:
        neutral.append((layer.gamma, tf.ones(layer.gamma.shape, layer.gamma.dtype)))
    if layer.beta is not None:
        neutral.append((layer.beta, tf.zeros(layer.beta.shape, layer.beta.dtype)))
    with keras.StatelessScope(neutral):
        outputs = call()
    middle = [1] * (len(outputs.shape) - 2)

    def spread(variable) -> Tensor:
        value = noise.weight(variable)
        shape = tf.concat([tf.shape(value)[:1], middle, tf.shape(value)[1:]], 0)
        return tf.cast(tf.reshape(value, shape), outputs.dtype)

    if layer.gamma is not None:
        outputs = outputs * spread(layer.gamma)
    if layer.beta is not None:
        outputs = outputs + spread(layer.beta)
    return outputs


def _last_axis(axis) -> bool:
    axes = [axis] if isinstance(axis, int) else list(axis)
    return axes == [-1]


def _add_bias(noise: LayerNoise, outputs: Tensor, bias, *, last: bool = True) -> Tensor:
    if bias is None:
        return outputs
    values = tf.cast(noise.weight(bias), outputs.dtype)
    rank = len(outputs.shape)
    own = len(bias.shape)
    if last:
        shape = [1] * (rank - 1 - own)
        shape = tf.concat([tf.shape(values)[:1], shape, tf.shape(values)[1:]], 0)
    else:
        shape = tf.concat([tf.shape(values), [1] * (rank - 1 - own)], 0)
    return outputs + tf.reshape(values, shape)


def _activate(layer, outputs: Tensor) -> Tensor:
    return outputs if layer.activation is None else layer.activation(outputs)
