"""Which variables a function of a model depends on, found by a trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes.typing import Tensor


def dependent_variables(
    function: Callable[..., Tensor],
    variables: Sequence[keras.Variable],
    inputs: Sequence[Any],
) -> tuple[list[keras.Variable], tf.TensorSpec]:
    """Returns the variables that can change what `function` returns.

    The function is traced with a placeholder for every variable, and the graph is
    searched backwards from the result: what is read for something else does not count,
    what has no gradient does. Nothing is evaluated, and the model stays as it is.

    Args:
      function: takes tensors like `inputs`, returns one tensor.
      variables: the variables to look for.
      inputs: nests of `tf.TensorSpec`.

    Returns:
      those of `variables` on which the result depends, in their order; and the shape
      and dtype of the result.

    Example:

        >>> import keras, tensorflow as tf
        >>> from tfnes.models.dependencies import dependent_variables
        >>> a, b = keras.Variable(1.0, name="a"), keras.Variable(2.0, name="b")
        >>> def function(x):
        ...     unused = b * x
        ...     return tf.round(a * x)
        >>> found, _ = dependent_variables(function, [a, b], [tf.TensorSpec([2])])
        >>> [variable.name for variable in found]
        ['a']
    """
    variables = list(variables)
    values = [tf.TensorSpec(v.shape, tf.as_dtype(v.dtype)) for v in variables]
    found = {}

    def run(inputs, values):
        scope = keras.StatelessScope(list(zip(variables, values, strict=True)))
        with scope:
            result = tf.convert_to_tensor(function(*inputs))
        found["spec"] = tf.TensorSpec(result.shape, result.dtype)
        found["reached"] = _ancestors(result)
        found["values"] = [value.op.name for value in values]
        return result

    with tf.init_scope():
        tf.function(run, autograph=False).get_concrete_function(list(inputs), values)
    dependent = [
        variable
        for variable, name in zip(variables, found["values"], strict=True)
        if name in found["reached"]
    ]
    return dependent, found["spec"]


def _ancestors(tensor: Tensor) -> set[str]:
    """Returns the names of the operations that `tensor` is computed from."""
    seen = set()
    waiting = [tensor.op]
    while waiting:
        op = waiting.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        waiting.extend(value.op for value in op.inputs)
    return seen
