"""The process of a `FunctionRun`: calls one function and writes down what it returns.

python -m tfnes.experiments.reproduce.worker MODULE:NAME ARGUMENTS DIRECTORY
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
import time
from collections.abc import Sequence

from tfnes.errors import RunDirectoryError
from tfnes.experiments import command_line
from tfnes.experiments.reproduce.runs import ARGUMENTS, RESULT
from tfnes.files import write_text


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    function, text, directory = sys.argv[1:] if arguments is None else arguments
    return command_line.run_program(
        lambda: _call(function, json.loads(text), pathlib.Path(directory))
    )


def _call(function: str, arguments: dict, directory: pathlib.Path) -> None:
    wanted = {"function": function, "arguments": arguments}
    path = directory / ARGUMENTS
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != wanted:
        raise RunDirectoryError(
            f"{directory} was begun with other arguments. Give another --output_dir."
        )
    write_text(path, json.dumps(wanted, indent=2))
    module, _, name = function.partition(":")
    start = time.perf_counter()
    result = getattr(importlib.import_module(module), name)(**arguments)
    seconds = round(time.perf_counter() - start, 2)
    write_text(directory / RESULT, json.dumps({**result, "seconds": seconds}, indent=2))


if __name__ == "__main__":
    sys.exit(main())
