"""How each class of layers is evaluated with noise: the registry.

A rule is the layer's call, written with the functions of `LayerNoise` in the place of
those that use a variable:

    @perturbation_rule(keras.layers.Dense)
    def dense(layer, noise, inputs):
        return layer.activation(noise.dense(inputs, layer.kernel, layer.bias))

While NES evaluates a model, the call of every layer of that class runs the rule. It
must equal the layer's call where the noise is 0. A rule covers the variables of the
layer itself, or with `sublayers=True` also those of the layers in it, whose own rules
then have no part. A subclass uses the rule of its parent unless it has its own or
another `call`.

What the noise of a layer is that an example passes through several times:

* `x W` on x `[B, ..., in]` with at most eight positions, and look-up tables: one noise
  on W for each example. The law of the fitness is that of noise on the weights.
* `x W` with more positions, or a number not known, convolutions, `EinsumDense`,
  recurrent layers: each position has noise of its own. This smooths otherwise; the
  limit sigma -> 0 is the same. One noise for the batch is on the weights there.
* vectors (biases, scales of normalization): one noise for each example.
* a layer that is called several times: the noise of each call is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from tfnes.errors import ConfigurationError


class Rule(NamedTuple):
    """A registered rule.

    Attributes:
      function: `(layer, noise, *args, **kwargs) -> outputs`.
      method: the method of the layer that it stands for.
      sublayers: whether it covers the variables of the layers in the layer.
      applies: whether it holds for a layer with these settings.
    """

    function: Callable[..., Any]
    method: str
    sublayers: bool
    applies: Callable[[keras.layers.Layer], bool]


_RULES: dict[type, list[Rule]] = {}


def perturbation_rule(
    *classes: type,
    method: str = "call",
    sublayers: bool = False,
    applies: Callable[[Any], bool] = lambda layer: True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers the decorated function as the rule of layer classes.

    Args:
      *classes: of layers.
      method: what the rule stands for; a layer may have rules for several methods.
      sublayers: whether the rule covers the variables of layers in the layer.
      applies: tells whether the rule holds for a layer; noise is on the weights of
        the others.

    Raises:
      ConfigurationError: if something else than a layer class is given.

    Example:

        >>> import keras, tensorflow as tf, tfnes
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.scale = self.add_weight(shape=(shape[-1],))
        ...     def call(self, inputs):
        ...         return inputs * self.scale
        >>> @tfnes.estimators.perturbation_rule(Scale)
        ... def scale(layer, noise, inputs):
        ...     return inputs * noise.weight(layer.scale)
    """
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, keras.layers.Layer)):
            raise ConfigurationError(
                f"perturbation_rule needs classes of Keras layers. Received: {each!r}."
            )

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for each in classes:
            rules = [r for r in _RULES.get(each, []) if r.method != method]
            _RULES[each] = [*rules, Rule(function, method, sublayers, applies)]
        return function

    return register


def rules_of(layer: keras.layers.Layer) -> list[Rule]:
    """Returns the rules that hold for a layer, an empty list if there are none."""
    kind = type(layer)
    for parent in kind.__mro__:
        rules = _RULES.get(parent)
        if rules is None:
            continue
        # A subclass that computes something else needs a rule of its own.
        same = all(
            getattr(kind, rule.method) is getattr(parent, rule.method) for rule in rules
        )
        return rules if same and all(rule.applies(layer) for rule in rules) else []
    return []
