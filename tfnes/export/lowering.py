"""A TensorFlow function as a module of XLA with named arguments and results.

XLA turns variables into arguments: first come the function's own, then everything that
it captured, in that order. What it assigns comes out behind the function's results, and
the module says of each such output which argument it may overwrite ("aliases"). So
nothing has to be rewritten in the functional style: the state that goes in and comes
out is read off the compiled module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfnes import errors
from tfnes.solvers import batching

_DTYPES = {
    "pred": "bool",
    "bf16": "bfloat16",
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"s{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
_ON_THE_HOST = {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


class Argument(NamedTuple):
    """What goes into a function.

    Attributes:
      name: among all arguments.
      kind: what it is for.
      value: an example of it.
      path: of a variable, as Keras names it; None otherwise.
    """

    name: str
    kind: str
    value: np.ndarray
    path: str | None = None


class Lowered(NamedTuple):
    """A function that XLA has lowered.

    Attributes:
      module: serialized `HloModuleProto`.
      inputs: all arguments, those that it captured included, in order.
      outputs: `{"name", "kind", "shape", "dtype", "input"}` of each result in order.
    """

    module: bytes
    inputs: list[Argument]
    outputs: list[dict[str, Any]]


def lower(
    function: Callable[..., dict[str, tf.Tensor]],
    arguments: Sequence[Argument],
    *,
    variables: dict[str, Any],
    what: str,
) -> Lowered:
    """Traces `function` for the shapes of `arguments` and lowers it.

    Args:
      function: takes a tensor for each argument, returns tensors by name.
      arguments: of the function.
      variables: Keras variables by the names that they shall have.
      what: the function's name in messages.

    Raises:
      ConfigurationError: if it runs Python on the host, or XLA cannot lower it.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)
    specs = [tf.TensorSpec(a.value.shape, a.value.dtype) for a in arguments]
    try:
        with batching.use_static_shapes():
            concrete = compiled.get_concrete_function(*specs)
            _refuse_host_calls(concrete, what)
            generate = compiled.experimental_get_compiler_ir(*specs)
        module, text = generate(stage="hlo_serialized"), generate(stage="hlo")
    except errors.TfnesError:
        raise
    except (tf.errors.OpError, TypeError, ValueError) as error:
        reason = str(error).strip().split("\n\n")[0][:1000]
        raise errors.ConfigurationError(
            f"XLA cannot compile {what} as a whole. Shapes may depend on shapes alone "
            "(see tfnes.solvers.batching.use_static_shapes), and every operation must "
            f"be one that XLA has. TensorFlow says: {reason}"
        ) from error
    captured = _captured(concrete, variables)
    inputs = [*arguments, *captured]
    header = text.split("\n", 1)[0]
    aliases = {
        int(output): int(parameter)
        for output, parameter in re.findall(r"\{(\d+)\}: \((\d+), \{\}", header)
    }
    parameters, results = _layout(header)
    names = sorted(concrete.structured_outputs)
    _check_layout(parameters, results, inputs=inputs, names=names, aliases=aliases)
    outputs = []
    for position, (shape, dtype) in enumerate(results):
        source = aliases.get(position)
        outputs.append(
            {
                "name": names[position] if source is None else inputs[source].name,
                "kind": "metric" if source is None else inputs[source].kind,
                "shape": shape,
                "dtype": dtype,
                "input": source,
            }
        )
    return Lowered(module, inputs, outputs)


def _refuse_host_calls(concrete, what: str) -> None:
    graph = concrete.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    found = sorted({node.op for node in nodes} & _ON_THE_HOST)
    if found:
        raise errors.ConfigurationError(
            f"{what} calls Python on the host ({', '.join(found)}), which only the "
            "process that traced it can run. Expected operations of TensorFlow alone: "
            "use a structure whose solver runs in the graph instead of BlackBox, and "
            "no tf.numpy_function or tf.py_function."
        )


def _captured(concrete, variables: dict[str, Any]) -> list[Argument]:
    """Returns what a traced function captured: variables, and constant tensors."""
    known = {id(v.value.handle): (name, v.path) for name, v in variables.items()}
    others = {id(variable.handle): variable for variable in concrete.graph.variables}
    counts = {"constant": 0, "state/other": 0}

    def numbered(kind: str) -> str:
        counts[kind] += 1
        return f"{kind}/{counts[kind] - 1}"

    result = []
    for tensor in concrete.captured_inputs:
        if tensor.dtype != tf.resource:
            result.append(Argument(numbered("constant"), "constant", tensor.numpy()))
            continue
        variable = others[id(tensor)]
        name, path = known.get(id(tensor)) or (
            numbered("state/other"),
            variable.name.split(":")[0],
        )
        result.append(Argument(name, "state", variable.numpy(), path))
    return result


def _layout(header: str) -> tuple[list, ...]:
    """Returns shape and dtype of each parameter and result that the module names."""
    layout = header.split("entry_computation_layout={", 1)[1]
    return tuple(
        [
            ([int(size) for size in sizes.split(",") if size], _DTYPES.get(dtype))
            for dtype, sizes in re.findall(r"(\w+)\[([^\]]*)\]", part)
        ]
        for part in layout.split("->", 1)
    )


def _check_layout(parameters, results, *, inputs, names, aliases) -> None:
    """Raises unless the module is what this file takes it for.

    The order of arguments is TensorFlow's, and not documented.
    """
    expected = [(list(a.value.shape), a.value.dtype.name) for a in inputs]
    own = sorted(set(range(len(results))) - set(aliases))
    if parameters != expected or own != list(range(len(names))):
        raise RuntimeError(
            f"TensorFlow {tf.__version__} lays out what goes into a compiled function "
            f"and comes out in another way than expected: {parameters} for {expected}, "
            f"own results {own} for {names}. Please report this."
        )
