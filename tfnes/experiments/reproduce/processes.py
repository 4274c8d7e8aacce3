"""Processes of runs: `python -m MODULE ...`, with the libraries imported only once.

Importing TensorFlow takes as long as many a short run. Where the operating system can
fork safely, one process imports it, does nothing with it, and every run is a fork of
that process; elsewhere every run imports for itself.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import runpy
import shlex
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

_PRELOADED = "tfnes.experiments.reproduce.preloaded"
_CAN_FORK = sys.platform == "linux"
_CONTEXT: Any = multiprocessing.get_context("forkserver" if _CAN_FORK else "spawn")
if _CAN_FORK:
    _CONTEXT.set_forkserver_preload([_PRELOADED])


def start_process(
    command: Sequence[str], *, log: pathlib.Path, environment: Mapping[str, str]
) -> multiprocessing.process.BaseProcess:
    """Starts `python -m MODULE ...` and returns its process.

    Args:
      command: `[sys.executable, "-m", MODULE, ...]`.
      log: the file that standard output and standard error are appended to.
      environment: of the process, whole.
    """
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(command)}\n")
    process = _CONTEXT.Process(
        target=_run_module, args=(list(command), str(log), dict(environment))
    )
    main = sys.modules["__main__"]
    # The program that starts runs must not be imported again by each of them.
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
    return process


def _run_module(command: list[str], log: str, environment: dict[str, str]) -> None:
    """What the process does: it becomes what the command would have started."""
    _, _, module, *arguments = command
    with open(os.devnull, "rb") as nothing, open(log, "ab") as file:
        os.dup2(nothing.fileno(), 0)
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    paths = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[:] = paths + [path for path in sys.path if path not in paths]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
