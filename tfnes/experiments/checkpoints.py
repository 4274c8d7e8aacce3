"""The state of a run: saved often, restored to the bit.

A checkpoint holds the weights, the optimizer's and the estimator's variables, and the
`Position`: phase, epoch, update within the epoch, best value, rows of the history. The
order of the data is a function of (seed, epoch) and all noise one of (seed, step), so
nothing else is needed.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
import re
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes.errors import RunDirectoryError
from tfnes.experiments.phase import Phase
from tfnes.experiments.results import format_seconds
from tfnes.files import storage_errors

LOGGER = logging.getLogger("tfnes")

_POSITION_KEY = "position/.ATTRIBUTES/py_state"


@dataclasses.dataclass
class Position:
    """Where a run stands.

    Attributes:
      phase: index of the phase; the number of phases once all are done.
      epoch: epochs of the phase that are done.
      step: updates of the epoch that are done.
      best: the monitor's best value in this phase, or None.
      best_epoch: the epoch of `best`; 0 is the model that the phase started from.
      rows: the rows of `history.csv`.
      results: the evaluation of the model that each phase handed on, by phase.
      metric_sums: the epoch's running sums by metric, when `step` is not 0.
      seconds: time spent in training and evaluation, all processes together.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    metric_sums: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def starts_phase(self) -> bool:
        """Whether nothing of the phase was done yet."""
        return self.epoch == 0 and self.step == 0 and self.best is None

    def describe(self, phases: Sequence[Phase]) -> str:
        """Returns the position in words."""
        if self.phase == len(phases):
            return "all phases are done"
        phase = phases[self.phase]
        text = f"phase {phase.name}, {self.epoch} of {phase.epochs} epochs done"
        if self.step:
            text += f", {self.step} updates of the next"
        return f"{text} ({format_seconds(self.seconds)} so far)"

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Position:
        return cls(**json.loads(text))


class Checkpoints:
    """Saves and restores the state of a run.

    Args:
      directory: where the checkpoints are.
      keep: how many of them to keep.
    """

    def __init__(self, directory: pathlib.Path, *, keep: int = 2):
        self.directory = directory
        self.keep = keep

    def save(self, model: keras.Model, position: Position) -> None:
        """Writes a checkpoint; the oldest goes when there are more than `keep`.

        Raises:
          StorageError: if it cannot be written; those before it are as they were.
        """
        numbers = [number for number, _ in self._listed()]
        path = self.directory / f"state-{max(numbers, default=0) + 1:06d}"
        checkpoint = _checkpoint(model, optimizer=not position.starts_phase)
        checkpoint.position = _Text(position.to_json())
        with storage_errors(path, also=(tf.errors.OpError,)):
            self.directory.mkdir(exist_ok=True)
            try:
                checkpoint.write(str(path))
            except BaseException:
                self.remove_leftovers()
                raise
        for _, path in self._listed()[: -self.keep]:
            for file in self.directory.glob(f"{path.name}.*"):
                file.unlink(missing_ok=True)

    def latest(self) -> tuple[str, Position] | None:
        """Returns path and position of the newest checkpoint that is sound.

        A damaged one is passed over, with a warning.
        """
        for _, path in reversed(self._listed()):
            try:
                return str(path), _read(str(path))
            except (tf.errors.OpError, KeyError, ValueError, RuntimeError) as error:
                LOGGER.warning(
                    "%s is damaged (%s); going back to the checkpoint before it.",
                    path.name,
                    str(error).splitlines()[0][:100],
                )
        return None

    def restore(self, model: keras.Model, path: str, position: Position) -> None:
        """Restores what `save` saved; the model must be as it was then.

        Raises:
          RunDirectoryError: if it has variables that were not saved.
        """
        checkpoint = _checkpoint(model, optimizer=not position.starts_phase)
        status = checkpoint.read(path)
        try:
            status.assert_existing_objects_matched()
        except AssertionError as error:
            missing = ", ".join(sorted(re.findall(r"path=([^,]+),", str(error))))
            raise RunDirectoryError(
                f"{path} must hold all variables of the run. Without: {missing}. Was "
                "it saved by another version of tfnes? Go on with that version, or "
                "start a new run with another --output_dir."
            ) from error
        status.expect_partial()

    def remove_leftovers(self) -> None:
        """Deletes what was written of checkpoints that were not completed."""
        complete = {path.name for _, path in self._listed()}
        for file in self.directory.glob("state-*"):
            if file.name.partition(".")[0] not in complete:
                shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)

    def _listed(self) -> list[tuple[int, pathlib.Path]]:
        # The index file is written last: where it is, the checkpoint is complete.
        found = []
        for file in self.directory.glob("state-*.index"):
            if number := re.fullmatch(r"state-(\d+)", file.stem):
                found.append((int(number.group(1)), file.with_suffix("")))
        return sorted(found)


class _Text(tf.train.experimental.PythonState):
    """Text in a checkpoint; no variable, which would be one on all workers."""

    def __init__(self, text: str):
        self.text = text

    def serialize(self) -> str:
        return self.text

    def deserialize(self, value: bytes) -> None:
        self.text = value.decode()


def state_variables(model: keras.Model, position: Position) -> list[keras.Variable]:
    """Returns all variables of which a checkpoint at `position` holds the values."""
    groups = _groups(model, optimizer=not position.starts_phase)
    return [variable for group in groups.values() for variable in group]


def metric_sums(model: keras.Model, names: Iterable[str]) -> dict[str, list[float]]:
    """Returns the sums behind the running means of the metrics of these names."""
    names = set(names)
    return {
        metric.name: [float(tf.convert_to_tensor(v)) for v in metric.variables]
        for metric in model.metrics
        if metric.name in names
    }


def restore_metric_sums(model: keras.Model, sums: dict[str, list[float]]) -> None:
    """Adds saved sums to the model's running means, after the first batch of a resume.

    The means of a new process start at 0; adding commutes, so the sums are then equal
    to the bit to those of a process that was never stopped.
    """
    for metric in model.metrics:
        values = sums.get(metric.name, ())
        for variable, value in zip(metric.variables, values, strict=False):
            # Not assign_add, which variables of several replicas do not have.
            variable.assign(tf.convert_to_tensor(variable) + value)


def _groups(model: keras.Model, *, optimizer: bool) -> dict[str, list[keras.Variable]]:
    groups = {"weights": model.weights}
    if optimizer:
        groups["optimizer"] = model.optimizer.variables
        groups["estimator"] = model.estimator.variables
    return groups


def _checkpoint(model: keras.Model, *, optimizer: bool) -> tf.train.Checkpoint:
    groups = _groups(model, optimizer=optimizer)
    # By number: names depend on what else the process made before.
    return tf.train.Checkpoint(
        **{
            group: {f"{i:04d}": variable for i, variable in enumerate(variables)}
            for group, variables in groups.items()
            if variables
        }
    )


def _read(path: str) -> Position:
    """Reads all of a checkpoint, which checks all checksums; returns its position."""
    reader = tf.train.load_checkpoint(path)
    for key in reader.get_variable_to_shape_map():
        reader.get_tensor(key)
    return Position.from_json(reader.get_tensor(_POSITION_KEY).decode())
