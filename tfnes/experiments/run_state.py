"""Where a run stands while it trains: saved, restored, agreed on by all workers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping

import keras
import tensorflow as tf

from tfnes.errors import ConfigurationError
from tfnes.experiments import checkpoints, interruption
from tfnes.experiments.checkpoints import Checkpoints, Position
from tfnes.experiments.phase import Phase
from tfnes.experiments.recorder import Recorder
from tfnes.experiments.run_directory import RunDirectory
from tfnes.experiments.workers import Workers


class RunState:
    """Where a run stands, its checkpoints, its best model, and requests to stop.

    Of several workers, the chief alone reads and writes; what depends on a file, on the
    time or on a signal, it decides for all.

    Attributes:
      position: phase, epoch, update, best value, rows of the history.
      stop: whether a signal asked to stop.
      recorder: what writes the best model and the history; the chief's alone.

    Args:
      model: what is trained.
      directory: the run's.
      workers: the processes of the run.
      monitor: "split/metric", which decides what the best model is.
      monitor_mode: "max" or "min".
      checkpoint_seconds: see `tfnes.train.train`.
      checkpoint_updates: see `tfnes.train.train`.
      keep_checkpoints: see `tfnes.train.train`.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        directory: RunDirectory,
        workers: Workers,
        monitor: str,
        monitor_mode: str,
        checkpoint_seconds: float | None,
        checkpoint_updates: int | None,
        keep_checkpoints: int,
    ):
        self.position = Position()
        self.stop = interruption.StopRequest()
        self.recorder: Recorder | None = None
        self._model = model
        self._directory = directory
        self._workers = workers
        self._monitor = monitor
        self._sign = {"max": 1.0, "min": -1.0}[monitor_mode]
        self._seconds = checkpoint_seconds
        self._updates = checkpoint_updates
        self._checkpoints = Checkpoints(directory.checkpoints, keep=keep_checkpoints)
        self._path: str | None = None
        self._mark = self._saved = time.perf_counter()

    def update_done(self, num_batches: int, logs: dict) -> None:
        """Counts an update; saves when it is time, and stops when asked to."""
        position = self.position
        if position.metric_sums:
            checkpoints.restore_metric_sums(self._model, position.metric_sums)
            position.metric_sums = {}
        position.step += 1
        if position.step >= num_batches:
            return  # the end of the epoch saves
        due = self._updates and position.step % self._updates == 0
        if self._seconds is not None:
            since = time.perf_counter() - self._saved
            due = due or since >= self._seconds
        signals = self._workers.everyone(bool(due), self.stop.signal_number or 0)
        self.stop.signal_number = int(signals[:, 1].max()) or None
        if signals[0, 0] or self.stop.signal_number is not None:
            position.metric_sums = checkpoints.metric_sums(self._model, logs)
            self.save()
            position.metric_sums = {}
            self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Stops all processes if one of them got a signal, once the chief has saved."""
        signals = self._workers.everyone(self.stop.signal_number or 0)
        self.stop.signal_number = int(signals.max()) or None
        self.stop.check()

    def find(self) -> bool:
        """Takes on the position of the newest checkpoint; returns if there is one."""
        found = None
        if self._workers.is_chief:
            self._checkpoints.remove_leftovers()
            found = self._checkpoints.latest()
        self._path, position = found or (None, self.position)
        self.position = Position.from_json(self._workers.from_chief(position.to_json()))
        return bool(self._workers.everyone(found is not None)[0, 0])

    def restore(self) -> None:
        """Restores the checkpoint that `find` has found, on all workers."""
        if self._workers.is_chief:
            self._workers.alone(
                self._checkpoints.restore, self._model, self._path, self.position
            )
        self._workers.copy_from_chief(
            checkpoints.state_variables(self._model, self.position)
        )

    def save(self) -> None:
        """Writes the history, and a checkpoint of the state as it is now."""
        self.tick()
        if self.recorder:
            self._directory.check()
            self.recorder.write_history(self.position.rows)
            self._workers.alone(self._checkpoints.save, self._model, self.position)
        self._saved = time.perf_counter()

    def of_chief(self, logs: dict) -> dict:
        """Returns the chief's logs, so that all processes decide alike."""
        return json.loads(self._workers.from_chief(json.dumps(logs)))

    def tick(self) -> None:
        """Adds the time since the last call to the run's."""
        now = time.perf_counter()
        self.position.seconds += now - self._mark
        self._mark = now

    def add_row(self, phase: Phase, logs: Mapping[str, float]) -> None:
        """Adds a row to the history."""
        self.tick()
        position = self.position
        row = {"phase": phase.name, "epoch": position.epoch}
        row |= {
            "step": int(tf.convert_to_tensor(self._model.step)),
            "seconds": round(position.seconds, 2),
        }
        position.rows.append(row | {name: float(v) for name, v in logs.items()})

    def keep_if_best(self, logs: Mapping[str, float]) -> None:
        """Writes the model if the monitor says that it is the best of its phase."""
        if self._monitor not in logs:
            raise ConfigurationError(
                f"train.monitor is {self._monitor!r}, but an epoch gives "
                f"{', '.join(name for name in logs if '/' in name)}. Add the metric to "
                "train.metrics, or choose another."
            )
        value = float(logs[self._monitor])
        best = self.position.best
        if math.isnan(value) or (best is not None and self._sign * (value - best) <= 0):
            return
        self.position.best = value
        self.position.best_epoch = self.position.epoch
        self.save_best()

    def save_best(self) -> None:
        """Writes the model as the best one."""
        if self.recorder:
            self._workers.alone(self.recorder.write_best_model)

    def load_best(self) -> None:
        """Restores the best model's weights, on all workers."""
        # The count of updates goes on: noise is never used twice.
        step = int(tf.convert_to_tensor(self._model.step))
        if self._workers.is_chief:
            self._workers.alone(self._model.load_weights, self._directory.best_model)
        self._workers.copy_from_chief(
            [*self._model.weights, *self._model.estimator.variables]
        )
        self._model.step.assign(step)
