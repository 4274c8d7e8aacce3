"""The units of work of a study, each in a process and a directory of its own."""

from __future__ import annotations

import abc
import csv
import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from tfnes.errors import RunDirectoryError
from tfnes.experiments.run_directory import RunDirectory
from tfnes.files import write_text

RESULT = "result.json"
ARGUMENTS = "arguments.json"

Result = dict[str, Any]
"""What a finished run left behind; depends on its kind."""

Results = Mapping[str, Result | None]
"""Results by the name of the run; None where a run failed or was left out."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the flags of `bin/reproduce` say.

    Attributes:
      scale: `"paper"` or `"cpu"`.
      output_dir: where runs and reports are.
      data_dir: where the data is, or None.
      smoke: whether every run is cut down to two updates.
      jobs: number of processes at a time.
      only: patterns; only runs whose name fits one of them are made.
      command: the command line, for the report.
    """

    scale: str
    output_dir: pathlib.Path
    data_dir: str | None = None
    smoke: bool = False
    jobs: int = 1
    only: tuple[str, ...] = ()
    command: str = ""

    def directory(self, run: Run) -> pathlib.Path:
        """Returns the directory of a run."""
        return self.output_dir / "runs" / run.name


@dataclasses.dataclass(frozen=True)
class Run(abc.ABC):
    """One unit of work.

    Attributes:
      name: a file name; two runs of the same name are the same run, also when they
        belong to different studies.
    """

    name: str

    limit = None
    """Seconds after which the run is stopped for good; None: never."""

    @abc.abstractmethod
    def command(self, settings: Settings) -> list[str]:
        """Returns the command of the process."""

    @abc.abstractmethod
    def load(self, directory: pathlib.Path) -> Result | None:
        """Returns the result; None where the run is not finished."""


@dataclasses.dataclass(frozen=True)
class TrainingRun(Run):
    """`bin/train` with gin files and bindings.

    The result holds `scores` (of the model that the last phase handed on, by split and
    metric), `phases` (the same of every phase), `baselines`, `best_epochs`, `seconds`,
    and `history`, the rows of `history.csv` with numbers as numbers.

    Attributes:
      gin_files: configurations.
      bindings: `NAME=VALUE`.
      seed: of the run.
      needs_data: whether `--data_dir` is handed on.
    """

    gin_files: tuple[str, ...]
    bindings: tuple[str, ...] = ()
    seed: int = 0
    needs_data: bool = False

    def command(self, settings):
        words = [sys.executable, "-m", "tfnes.train"]
        words += [f"--gin_file={name}" for name in self.gin_files]
        words += [f"--gin_param={binding}" for binding in self.bindings]
        words += [f"--seed={self.seed}", f"--output_dir={settings.directory(self)}"]
        if self.needs_data and settings.data_dir is not None:
            words.append(f"--data_dir={settings.data_dir}")
        return words + ["--smoke"] * settings.smoke

    def load(self, directory):
        run = RunDirectory(directory)
        if not run.is_finished():
            return None
        result = run.read_metrics()
        last = list(result["phases"])[-1]
        return {
            **result,
            "scores": result["phases"][last],
            "history": _read_history(run.history),
        }


@dataclasses.dataclass(frozen=True)
class FunctionRun(Run):
    """A call of a function that returns a JSON value, in a process of its own.

    Attributes:
      function: `package.module:name`.
      arguments: its keyword arguments, JSON values.
      limit: seconds after which it is given up; the result is then `{"over_limit":
        seconds}`.
    """

    function: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limit: float | None = None

    def command(self, settings):
        return [
            sys.executable,
            "-m",
            "tfnes.experiments.reproduce.worker",
            self.function,
            json.dumps(dict(self.arguments), sort_keys=True),
            str(settings.directory(self)),
        ]

    def load(self, directory):
        path = directory / RESULT
        if not path.is_file():
            return None
        self._check(directory)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunDirectoryError(
                f"{path} cannot be read ({error}). Delete it, to run it again."
            ) from None

    def give_up(self, directory: pathlib.Path) -> None:
        """Notes that the limit was passed, so that the run is not tried again."""
        write_text(directory / RESULT, json.dumps({"over_limit": self.limit}))

    def _check(self, directory: pathlib.Path) -> None:
        old = json.loads((directory / ARGUMENTS).read_text(encoding="utf-8"))
        if old["arguments"] != json.loads(json.dumps(dict(self.arguments))):
            raise RunDirectoryError(
                f"{directory} holds a result of other arguments: {old['arguments']}, "
                f"not {dict(self.arguments)}. Give another --output_dir."
            )


def _read_history(path: pathlib.Path) -> list[dict[str, Any]]:
    def number(text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text

    with open(path, encoding="utf-8", newline="") as file:
        return [
            {key: number(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]
