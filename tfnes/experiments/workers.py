"""The processes that share one run, and what they tell each other.

Under `tf.distribute.MultiWorkerMirroredStrategy` the same program runs in several
processes, on one machine or on several. The first one, the chief, alone reads and
writes the run directory, so that nobody else needs to see it; the others get from the
chief what they need of it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes.errors import ConfigurationError, WorkerLostError
from tfnes.typing import Tensor

# What TensorFlow raises where a peer of a collective operation is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Workers:
    """The processes of one run; without a cluster, this one alone.

    All of them have to call the same methods in the same order: a method that tells
    something waits until every process has come to it.

    Args:
      strategy: what the model was made under.

    Attributes:
      index: the number of this process; the chief is 0.
      addresses: where the processes are, by their numbers; empty without a cluster.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.experiments import Workers
        >>> workers = Workers(tf.distribute.get_strategy())
        >>> workers.count, workers.is_chief, workers.from_chief("alone")
        (1, True, 'alone')
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._total = tf.function(
            self._trace_total, autograph=False, reduce_retracing=True
        )
        self.index = 0
        self.addresses: list[str] = []
        self._tasks: list[tuple[str, int]] = []
        resolver = strategy.cluster_resolver
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            cluster = resolver.cluster_spec().as_dict()
            for job in ("chief", "worker"):
                for number, address in enumerate(cluster.get(job, ())):
                    self._tasks.append((job, number))
                    self.addresses.append(address)
            if self._tasks:
                task = (resolver.task_type, resolver.task_id)
                self.index = self._tasks.index(task)

    @property
    def count(self) -> int:
        """Number of processes."""
        return max(1, len(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that reads and writes the run directory."""
        return self.index == 0

    def alone(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a function that the other processes do not call; returns its result.

        It runs in a thread, where the strategy's scope does not hold: in the scope even
        a new variable is told to all, and Keras makes some when it saves a model.
        """
        if self.count == 1:
            return function(*args)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *args).result()

    # Telling -------------------------------------------------------------------------

    def from_chief(self, text: str) -> str:
        """Returns what the chief gives; what the others give counts for nothing."""
        if self.count == 1:
            return text
        data = np.frombuffer(text.encode() if self.is_chief else b"", np.uint8)
        size = int(self._sum(np.array([len(data)], np.int64))[0])
        padded = np.zeros(size, np.int32)
        padded[: len(data)] = data
        return self._sum(padded).numpy().astype(np.uint8).tobytes().decode()

    def everyone(self, *values: int) -> np.ndarray:
        """Returns the values of all processes, `[count, len(values)]`."""
        table = np.zeros([self.count, len(values)], np.int64)
        table[self.index] = values
        return table if self.count == 1 else self._sum(table).numpy()

    def wait(self) -> None:
        """Waits until all processes have come here."""
        self.everyone(0)

    def copy_from_chief(self, variables: Sequence[keras.Variable]) -> None:
        """Gives the variables of all processes the chief's values, bit for bit."""
        if self.count == 1:
            return
        by_dtype: dict[str, list[keras.Variable]] = {}
        for variable in variables:
            by_dtype.setdefault(variable.dtype, []).append(variable)
        for dtype, group in by_dtype.items():
            numbers = [tf.reshape(_as_integers(v), [-1]) for v in group]
            flat = tf.concat(numbers, 0)
            flat = self._sum(flat if self.is_chief else tf.zeros_like(flat))
            for variable, piece in zip(
                group, tf.split(flat, [tf.size(n) for n in numbers]), strict=True
            ):
                value = _from_integers(piece, tf.as_dtype(dtype))
                variable.assign(tf.reshape(value, variable.shape))

    def require_same(self, text: str, *, what: str) -> None:
        """Checks that all processes give the text that the chief gives.

        Raises:
          ConfigurationError: on all processes, if they do not.
        """
        if self.count == 1:
            return
        theirs = self.from_chief(text)
        differs = np.flatnonzero(self.everyone(int(text != theirs))[:, 0])
        if not differs.size:
            return
        message = (
            f"Workers {differs.tolist()} have another {what} than worker 0. All "
            "workers of a run must be started with the same command, and see the same "
            "data."
        )
        if text != theirs:
            lines = difflib.unified_diff(
                theirs.splitlines(), text.splitlines(), "worker 0", "here", n=0
            )
            shown = [line.rstrip() for line in lines if not line.startswith("@@")]
            message = "\n  ".join([f"{message} The difference:", *shown])
        raise ConfigurationError(message)

    # Failure -------------------------------------------------------------------------

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Says clearly that another process is gone, where TensorFlow finds it so.

        Raises:
          WorkerLostError: in the block, if a process of the cluster cannot be reached.
        """
        try:
            yield
        except _LOST as error:
            if self.count == 1:
                raise
            raise WorkerLostError(self._describe(str(error))) from error

    def _describe(self, text: str) -> str:
        found = re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", text)
        tasks = {(job, int(number)) for job, number in found}
        named = {i for i, task in enumerate(self._tasks) if task in tasks}
        others = sorted(named - {self.index})
        if not others and self.count == 2:
            others = [1 - self.index]
        names = [f"worker {i} ({self.addresses[i]})" for i in others]
        who = " and ".join(names) or "another worker"
        return (
            f"{who[0].upper()}{who[1:]} is gone: it ended, it hangs, or it cannot be "
            f"reached, so worker {self.index} of {self.count} cannot go on. See its "
            "own output for why. Then start all workers again with the same commands: "
            "the run goes on from its last checkpoint."
        )

    # Collective operations -----------------------------------------------------------

    def _sum(self, values: Tensor) -> Tensor:
        return self._total(tf.convert_to_tensor(values))

    def _trace_total(self, values: Tensor) -> Tensor:
        """Returns integers summed over processes; one replica of each contributes."""
        strategy = self._strategy
        devices = len(strategy.extended.worker_devices)

        def replica(values: Tensor) -> Tensor:
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % devices == 0
            mine = tf.where(first, values, tf.zeros_like(values))
            return context.all_reduce("sum", mine)

        result = strategy.run(replica, args=(values,))
        return strategy.experimental_local_results(result)[0]


def _as_integers(variable: keras.Variable) -> Tensor:
    """Returns the bits of a variable as integers that can be summed."""
    value = tf.convert_to_tensor(variable)
    if value.dtype.size == 8:
        return tf.bitcast(value, tf.int64)
    if value.dtype.size == 4:
        return tf.bitcast(value, tf.int32)
    if value.dtype.is_floating:
        value = tf.bitcast(value, tf.int16)
    return tf.cast(value, tf.int32)


def _from_integers(value: Tensor, dtype: tf.DType) -> Tensor:
    if dtype.size >= 4:
        return tf.bitcast(value, dtype)
    if dtype.is_floating:
        return tf.bitcast(tf.cast(value, tf.int16), dtype)
    return tf.cast(value, dtype)
