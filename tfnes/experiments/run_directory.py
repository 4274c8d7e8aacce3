"""The files of one run. Each appears under its name only when it is complete.

config.gin             what was asked for; a run goes on only with the same
operative_config.gin   every value in effect, defaults included
environment.json       versions, machine, command, data
history.csv            one row an epoch
train/ validation/     TensorBoard
checkpoints/           the state to resume from
best.keras             the best model so far
predictions/           the final model's trees, one file a split
metrics.json           results; written last, so a run that has it is finished
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from tfnes.errors import RunDirectoryError, StorageError
from tfnes.files import LEFTOVER, remove_leftovers, storage_errors, write_text

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]


class RunDirectory:
    """The directory of one run.

    Args:
      path: the directory; made by `open` if it does not exist.

    Example:

        >>> import tempfile
        >>> from tfnes.experiments import RunDirectory
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = RunDirectory(f"{folder}/run")
        ...     run.open("train.seed = 1\\n")
        ...     run.is_finished()
        False
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.gin"
        self.operative_config = self.path / "operative_config.gin"
        self.environment = self.path / "environment.json"
        self.history = self.path / "history.csv"
        self.checkpoints = self.path / "checkpoints"
        self.best_model = self.path / "best.keras"
        self.predictions = self.path / "predictions"
        self.metrics = self.path / "metrics.json"
        self._lock: TextIO | None = None

    def open(self, config: str) -> None:
        """Makes the directory, or checks that it holds a run of the same `config`.

        Raises:
          RunDirectoryError: if it holds something else, a run of another configuration
            (the message shows the difference), or a run that is going on. Nothing in
            it is changed then.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(
                f"{self.path} is a file. Give another --output_dir for the run."
            )
        old = self.read_config()
        if old is None and self.path.is_dir() and self._foreign_files():
            raise RunDirectoryError(
                f"{self.path} is not empty and not a run directory (it has no "
                f"config.gin, but {self._foreign_files()[0]}). Give another "
                "--output_dir; nothing was changed."
            )
        if old is not None and old != config:
            raise RunDirectoryError(
                f"{self.path} holds a run of another configuration:\n"
                f"{_difference(old, config)}\n"
                "Give another --output_dir, or the old settings to go on with that "
                "run; nothing was changed."
            )
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._acquire()
        if old is None:
            write_text(self.config, config)

    def close(self) -> None:
        """Lets other processes use the directory."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read_config(self) -> str | None:
        """Returns what `config.gin` holds, or None where there is none."""
        try:
            return self.config.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def is_finished(self) -> bool:
        """Returns whether the run came to its end."""
        return self.metrics.is_file()

    def read_metrics(self) -> dict[str, Any]:
        """Returns what `metrics.json` holds.

        Raises:
          RunDirectoryError: if the file is damaged.
        """
        return _read_json(self.metrics)

    def read_environment(self) -> dict[str, Any]:
        """Returns what `environment.json` holds; empty where there is none."""
        return _read_json(self.environment) if self.environment.is_file() else {}

    def write_json(self, path: pathlib.Path, value: Mapping[str, Any]) -> None:
        """Writes a JSON file of this directory."""
        text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False)
        write_text(path, text + "\n")

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes all rows of `history.csv`, one column for each key of any row."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.history, buffer.getvalue())

    def remove_leftovers(self) -> None:
        """Deletes temporary files that a killed process left behind."""
        remove_leftovers(self.path)

    def check(self) -> None:
        """Raises `StorageError` if the directory has gone since it was opened."""
        if not self.config.is_file():
            raise StorageError(
                f"{self.path} has gone, or its config.gin, while the run went on. "
                "Nothing more is written. If it was moved, give its new place as "
                "--output_dir, and the run goes on from its last checkpoint."
            )

    def _foreign_files(self) -> list[str]:
        return sorted(
            path.name
            for path in self.path.iterdir()
            if path.name != ".lock" and not path.name.startswith(LEFTOVER)
        )

    def _acquire(self) -> None:
        if fcntl is None or self._lock is not None:
            return
        # The lock goes with the process: a killed run does not keep it.
        self._lock = open(self.path / ".lock", "a")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise RunDirectoryError(
                f"{self.path} is in use by another process. Wait for it, or give "
                "another --output_dir."
            ) from None


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(
            f"{path}: cannot be read ({error}). Delete it; the run will then be "
            "evaluated again from its checkpoint."
        ) from None


def _difference(old: str, new: str) -> str:
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "the run", "asked for now", lineterm="", n=0
    )
    return "\n".join(f"  {line}" for line in lines if not line.startswith("@@"))
