"""How many evaluations of the model a second training makes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tfnes.models.progress import Progress


class EvaluationRate:
    """Counts evaluations of examples, and times the calls that make them.

    An evaluation is one pass of one example through the model: NES with N = 400 makes
    400 of each example in an update. The first call, which traces the graph, counts
    only as long as there is no other one; what happens between calls (evaluation,
    checkpoints) never does.

    Args:
      progress: its mean of the loss counts the real examples of all replicas.
      loss_name: the name of that mean.
      evaluations_per_step: evaluations of each example in an update.
    """

    def __init__(
        self, progress: Progress, *, loss_name: str, evaluations_per_step: int
    ):
        self._progress = progress
        self._loss_name = loss_name
        self._evaluations = evaluations_per_step
        self._calls = 0
        self._examples = self._seconds = 0.0

    def run(self, function: Callable[[Any], Any], iterator: Any) -> Any:
        """Calls a function that makes updates, and returns what it returns."""
        before = self._count()
        start = time.perf_counter()
        result = function(iterator)
        # Reading the count waits for the updates.
        examples = self._count() - before
        seconds = time.perf_counter() - start
        self._calls += 1
        if self._calls <= 2:
            self._examples = self._seconds = 0.0
        self._examples += examples
        self._seconds += seconds
        return result

    def logs(self) -> dict[str, float]:
        """Returns `evaluations/s` over all calls, where an update makes several."""
        if self._evaluations < 2 or not self._seconds:
            return {}
        rate = self._evaluations * self._examples / self._seconds
        return {"evaluations/s": rate}

    def _count(self) -> float:
        mean = self._progress.means.get(self._loss_name)
        return 0.0 if mean is None else float(mean.count.numpy())
