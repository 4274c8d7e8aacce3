"""How much memory an update takes, from its graph, before it runs for the first time.

A tensor is held from the operation that makes it to the last one that reads it. So the
operations of a graph, in the order in which they were made, say how many bytes are
held at once; a loop holds what one turn of it holds, however many turns it takes, which
is why the size of the population does not count.
"""

from __future__ import annotations

import logging
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfnes.errors import ConfigurationError
from tfnes.solvers import batching

if TYPE_CHECKING:
    from tfnes.models.trainable import TrainableModel

_LOG = logging.getLogger(__name__)

# Their result is, or may be, the memory of their first input.
_VIEWS = frozenset(
    {"Bitcast", "EnsureShape", "ExpandDims", "Identity", "PlaceholderWithDefault"}
    | {"Reshape", "Slice", "Squeeze", "StopGradient"}
)
# They write into an input that nobody reads any more.
_IN_PLACE = frozenset(
    {"Add", "AddN", "AddV2", "BiasAdd", "DivNoNan", "Maximum", "Minimum", "Mul"}
    | {"RealDiv", "Select", "SelectV2", "SquaredDifference", "Sub"}
    | {"Abs", "Cos", "Elu", "Exp", "Log", "Log1p", "Neg", "Relu", "Rsqrt", "Sigmoid"}
    | {"Sin", "Softmax", "Softplus", "Sqrt", "Square", "Tanh", "TensorScatterUpdate"}
    | {"BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift"}
    | {"LogicalAnd", "LogicalNot", "LogicalOr"}
)
# Inputs, and variables as they are.
_ELSEWHERE = ("Placeholder", "ReadVariable")
# Operations that run graphs, and the attributes that name these.
_FUNCTIONS = {
    "If": ("then_branch", "else_branch"),
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
    "StatelessIf": ("then_branch", "else_branch"),
    "StatelessWhile": ("body", "cond"),
    "While": ("body", "cond"),
}
_END = 1 << 60

FACTOR = 2
"""What an update holds differs from the estimate by less than this factor."""


def check_memory(
    model: TrainableModel, gradients: Sequence[tf.Tensor], *, evaluations: int
) -> None:
    """Logs what an update holds, and refuses one that cannot fit, before it runs.

    Between what is free and `FACTOR` times that it warns, as the estimate may be wrong
    by such a factor.

    Args:
      model: its data's batch size stands for a first axis of unknown extent.
      gradients: the result; all operations of the update are in their graph. Without a
        graph (eagerly) nothing is said.
      evaluations: of the batch in an update.

    Raises:
      ConfigurationError: if the machine, without a GPU, has much less memory left.
    """
    graph = getattr(gradients[0], "graph", None)
    if graph is None or batching.static_shapes():  # what is exported runs elsewhere
        return
    needed, complete = peak_bytes(graph, gradients, batch_size=model.batch_size)
    _LOG.info(
        "NES on %s: %d evaluations an update, which holds %s %.0f MB beside the "
        "variables, whatever the population size.",
        model.name,
        evaluations,
        "about" if complete else "(by shapes that are known) at least",
        needed / 1e6,
    )
    left = available_bytes()
    if left is None or needed <= left or tf.config.list_physical_devices("GPU"):
        return
    message = (
        f"An update of {model.name} by NES holds about {needed / 1e9:.1f} GB beside "
        f"the variables. Expected that this fits into the {left / 1e9:.1f} GB of "
        "memory that are left. Use smaller batches or layers, or set `trainable` of "
        "some layers to False. NES.population_size makes no difference."
    )
    if needed > FACTOR * left:
        raise ConfigurationError(message)
    _LOG.warning("%s", message)


def peak_bytes(
    graph: tf.Graph, results: Sequence[tf.Tensor], *, batch_size: int | None
) -> tuple[int, bool]:
    """Returns the most bytes that the tensors of a graph hold at once.

    Variables and inputs do not count. In the tests what is measured is this within
    `FACTOR`.

    Args:
      graph: its operations, in the order in which they were made.
      results: are held to the end.
      batch_size: stands for the unknown extent of a tensor, or the first of several.

    Returns:
      The bytes, and whether all extents were known; one that is not counts as 1.
    """
    sizes = _Sizes(batch_size)
    ends = {value.ref() for value in results}
    return _peak(graph.get_operations(), sizes, ends=ends, known={}), sizes.complete


def available_bytes() -> int | None:
    """Returns how much memory this process may still take; None where nobody says.

    Linux says what the machine has left, and of a container what its limit leaves.
    """
    left = []
    try:
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                left.append(1024 * int(line.split()[1]))
        group = pathlib.Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            for line in (group / "memory.stat").read_text().splitlines():
                if line.startswith("file "):  # files that are kept, and given up
                    used -= int(line.split()[1])
            left.append(int(limit) - used)
    except OSError:
        pass
    return min(left) if left else None


class _Sizes:
    """Bytes of tensors.

    Args:
      batch_size: stands for the unknown extent, or the first of several.

    Attributes:
      complete: False once an extent was not known.
    """

    def __init__(self, batch_size: int | None):
        self._batch_size = batch_size
        self.complete = True

    def __call__(self, tensor: tf.Tensor) -> int:
        if tensor.dtype in (tf.resource, tf.variant, tf.string):
            return 0
        if tensor.shape.rank is None:
            self.complete = False
            return tensor.dtype.size
        size = tensor.dtype.size * math.prod(n for n in tensor.shape if n is not None)
        unknown = tensor.shape.as_list().count(None)
        if unknown and self._batch_size is not None:
            size *= self._batch_size
            unknown -= 1
        self.complete &= not unknown
        return size


def _peak(
    operations: Sequence[tf.Operation],
    sizes: _Sizes,
    *,
    ends: set[Any],
    known: dict[int, int],
) -> int:
    """Returns the most bytes that are held at once.

    Args:
      operations: in the order in which they run.
      sizes: bytes of tensors.
      ends: results, held to the end.
      known: peaks of the graphs of functions by their ids, added to.
    """
    owner: dict[Any, Any] = {}  # of views: the tensor whose memory it is
    last: dict[Any, int] = {}
    for number, operation in enumerate(operations):
        for value in operation.inputs:
            key = owner.get(value.ref(), value.ref())
            last[key] = max(last.get(key, 0), number)
        for value, source in _views(operation):
            owner[value.ref()] = owner.get(source.ref(), source.ref())
        for value in operation.outputs:
            if value.ref() in ends:
                last[owner.get(value.ref(), value.ref())] = _END

    held: dict[Any, int] = {}
    now = most = 0
    for number, operation in enumerate(operations):
        inner = max((_inside(f, sizes, known) for f in _called(operation)), default=0)
        most = max(most, now + inner)
        gone = [
            key
            for key in {owner.get(v.ref(), v.ref()) for v in operation.inputs}
            if last[key] == number and key in held
        ]
        for value in operation.outputs:
            if value.ref() in owner or operation.type.startswith(_ELSEWHERE):
                continue
            size = sizes(value)
            if operation.type in _IN_PLACE:
                for key in gone:
                    if held[key] == size:
                        gone.remove(key)
                        now -= held.pop(key)
                        break
            held[value.ref()] = size
            now += size
        most = max(most, now)
        for key in gone:
            now -= held.pop(key)
        for value in operation.outputs:
            if value.ref() not in last:
                now -= held.pop(value.ref(), 0)
    return most


def _views(operation: tf.Operation) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Returns the results that are memory of an input, each with that input."""
    if operation.type in _VIEWS and operation.inputs:
        return [(operation.outputs[0], operation.inputs[0])]
    pairs = []
    bodies = _called(operation) if operation.type.endswith("While") else []
    # What every turn of a loop hands on as it is.
    for number, value in enumerate(bodies[0].outputs if bodies else []):
        while value.op.type == "Identity":
            value = value.op.inputs[0]
        if value is bodies[0].inputs[number]:
            pairs.append((operation.outputs[number], operation.inputs[number]))
    return pairs


def _called(operation: tf.Operation) -> list[Any]:
    """Returns the graphs that an operation runs."""
    # No public call gives the graph of a function.
    functions = [
        operation.graph._get_function(operation.get_attr(name).name)
        for name in _FUNCTIONS.get(operation.type, ())
    ]
    return [each.graph for each in functions if hasattr(each, "graph")]


def _inside(graph: Any, sizes: _Sizes, known: dict[int, int]) -> int:
    if id(graph) not in known:
        ends = {value.ref() for value in graph.outputs}
        operations = graph.get_operations()
        known[id(graph)] = _peak(operations, sizes, ends=ends, known=known)
    return known[id(graph)]
