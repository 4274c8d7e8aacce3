"""Makes runs: each in a process, several at a time, skipping what is done."""

from __future__ import annotations

import collections
import fnmatch
import os
import pathlib
import signal
import sys
import time
from collections.abc import Sequence

import tfnes
from tfnes.errors import TfnesError
from tfnes.experiments.interruption import Interrupted, StopRequest, stop_on_signals
from tfnes.experiments.reproduce.processes import start_process
from tfnes.experiments.reproduce.runs import FunctionRun, Result, Run, Settings
from tfnes.experiments.results import format_seconds

_POLL_SECONDS = 0.1
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


class Runner:
    """Makes runs and remembers how each ended.

    A finished run is not made again; one that was stopped goes on where it stood; one
    that fails is reported, and the others go on.

    Args:
      settings: of the program.

    Attributes:
      results: of all runs that were asked for, by name; None where there is none.
      failed: names of the runs that failed in this process, with the reason.
      left_out: names that `settings.only` left out.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.results: dict[str, Result | None] = {}
        self.failed: dict[str, str] = {}
        self.left_out: list[str] = []
        self._count = self._total = 0

    def run_all(self, runs: Sequence[Run]) -> None:
        """Makes all runs that are not finished.

        Raises:
          Interrupted: when a signal asked to stop; the processes were told too.
        """
        waiting: collections.deque[Run] = collections.deque()
        for run in runs:
            if run.name in self.results:
                continue
            self.results[run.name] = result = self._load(run)
            if result is None and run.name not in self.failed:
                if self._is_wanted(run):
                    waiting.append(run)
                else:
                    self.left_out.append(run.name)
        self._total += len(waiting)
        active: list[_Process] = []
        with stop_on_signals() as stop:
            try:
                while waiting or active:
                    while waiting and len(active) < self.settings.jobs:
                        active.append(self._start(waiting.popleft()))
                    self._wait(active, stop)
            finally:
                for process in active:
                    process.kill()

    def _wait(self, active: list[_Process], stop: StopRequest) -> None:
        time.sleep(_POLL_SECONDS)
        if stop.signal_number is not None:
            for process in active:
                process.finish(stop.signal_number)
            raise Interrupted(stop.signal_number)
        for process in [p for p in active if p.has_ended()]:
            active.remove(process)
            self._note(process)

    def _start(self, run: Run) -> _Process:
        self._count += 1
        process = _Process(run, self.settings, number=self._count)
        print(f"{self._place(process)} {run.name}: started", flush=True)
        return process

    def _note(self, process: _Process) -> None:
        run = process.run
        text = format_seconds(process.seconds)
        result = self._load(run)
        self.results[run.name] = result
        if result is not None:
            over = " (over the limit)" if "over_limit" in result else ""
            print(
                f"{self._place(process)} {run.name}: done in {text}{over}", flush=True
            )
            return
        reason = self.failed.setdefault(run.name, process.reason())
        print(
            f"{self._place(process)} {run.name}: FAILED after {text}: {reason} "
            f"(log: {process.log})",
            file=sys.stderr,
            flush=True,
        )

    def _load(self, run: Run) -> Result | None:
        try:
            return run.load(self.settings.directory(run))
        except (TfnesError, OSError, ValueError) as error:
            self.failed[run.name] = str(error)
            print(f"{run.name}: {error}", file=sys.stderr)
            return None

    def _is_wanted(self, run: Run) -> bool:
        only = self.settings.only
        return not only or any(fnmatch.fnmatch(run.name, f"*{p}*") for p in only)

    def _place(self, process: _Process) -> str:
        return f"[{process.number}/{self._total}]"


class _Process:
    """A run's process; what it writes goes to a log."""

    def __init__(self, run: Run, settings: Settings, *, number: int):
        self.run = run
        self.number = number
        self.directory = settings.directory(run)
        self.log = settings.output_dir / "logs" / f"{run.name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.start = time.monotonic()
        self.seconds = 0.0
        self.process = start_process(
            run.command(settings),
            log=self.log,
            environment=_environment(settings.jobs),
        )

    def has_ended(self) -> bool:
        self.seconds = time.monotonic() - self.start
        if not self.process.is_alive():
            return True
        limit = self.run.limit
        if limit is not None and self.seconds > limit:
            self.kill()
            if isinstance(self.run, FunctionRun):
                self.run.give_up(self.directory)
            return True
        return False

    def finish(self, number: int) -> None:
        """Hands on a signal, and waits until the state is saved."""
        if self.process.is_alive():
            # A second signal would stop it before that.
            if not _reached_all(number):
                os.kill(self.process.pid, number)
            self.process.join()

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def reason(self) -> str:
        status = self.process.exitcode or 0
        if status < 0:
            return f"ended by {signal.Signals(-status).name}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"exit status {status}: {last.strip()[:200]}"


def _reached_all(number: int) -> bool:
    """Returns whether a signal came from the terminal, which sends it to children."""
    if number != signal.SIGINT or not hasattr(os, "ctermid"):
        return False
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _environment(jobs: int) -> dict[str, str]:
    """Returns the environment of a process: it finds us, and shares the cores."""
    environment = dict(os.environ)
    package = str(pathlib.Path(tfnes.__file__).parents[1])
    paths = [package, environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if jobs > 1:
        for name in _THREADS:
            environment.setdefault(name, str(max(1, (os.cpu_count() or 1) // jobs)))
    return environment
