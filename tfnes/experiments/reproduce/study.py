"""What a table or a figure of the paper is here, and the program that makes one."""

from __future__ import annotations

import abc
import dataclasses
import shlex
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from tfnes.experiments.reproduce.report import Report, write_report
from tfnes.experiments.reproduce.runner import Runner
from tfnes.experiments.reproduce.runs import Results, Run, Settings

T = TypeVar("T")


class Study(abc.ABC):
    """A table or a figure: runs, a rule for further runs, and a report.

    Attributes:
      name: of the command and of the report's files.
      title: of the report.
      search: how `more_runs` chooses, in a sentence; "" where all runs are known.

    Args:
      settings: of the program.
    """

    name: str
    title: str
    search: str = ""

    def __init__(self, settings: Settings):
        self.settings = settings

    def runs(self) -> list[Run]:
        """Returns the runs that are needed whatever comes out.

        By default those that `more_runs` asks for when there are no results.
        """
        return self.more_runs({})

    def more_runs(self, results: Results) -> list[Run]:
        """Returns the runs that the results so far ask for; none when it is done.

        Called again after each round, with the results of all runs that were asked for.
        Runs that were asked for before may be among them.
        """
        del results
        return []

    @abc.abstractmethod
    def report(self, results: Results) -> Report:
        """Returns the tables and figures of what there is."""


def scale_of(scales: Mapping[str, T], settings: Settings, **smoke: Any) -> T:
    """Returns the sizes that the flags ask for; a smoke run has one seed, one rate.

    Args:
      scales: data classes with `seeds` and `learning_rates`, by `--scale`.
      settings: of the program.
      **smoke: what else is different in a smoke run.
    """
    scale: Any = scales[settings.scale]
    if not settings.smoke:
        return scale
    return dataclasses.replace(
        scale,
        seeds=scale.seeds[:1],
        learning_rates=scale.learning_rates[:1],
        **smoke,
    )


def reproduce(study: Study) -> int:
    """Makes a study's runs and writes its report; returns the exit status.

    It is 1 where a run failed; what there is was reported nevertheless.
    """
    settings = study.settings
    runner = Runner(settings)
    runs = study.runs()
    while todo := [run for run in runs if run.name not in runner.results]:
        runner.run_all(todo)
        runs = study.more_runs(runner.results)
    results = runner.results
    seconds = sum(r.get("seconds", 0.0) for r in results.values() if r is not None)
    text = write_report(
        study.report(results),
        name=study.name,
        title=study.title,
        settings=settings,
        seconds=seconds,
        incomplete=[name for name, result in results.items() if result is None],
    )
    print(f"\n{text}\nreport: {settings.output_dir / study.name}.md and .json")
    if runner.left_out:
        print(f"--only left out {len(runner.left_out)} runs that are not there yet")
    for name, reason in runner.failed.items():
        print(f"FAILED {name}: {reason}", file=sys.stderr)
    if runner.failed:
        print(
            f"{len(runner.failed)} of {len(results)} runs failed; the same command "
            "tries them again.",
            file=sys.stderr,
        )
    return 1 if runner.failed else 0


def dry_run(study: Study) -> str:
    """Returns what `reproduce` would do: the commands, and how it would go on."""
    lines = []
    # Rows may share runs.
    for run in {run.name: run for run in study.runs()}.values():
        directory = study.settings.directory(run)
        state = "done" if run.load(directory) is not None else "to do"
        lines.append(f"{run.name} ({state})")
        lines.append(f"  {shlex.join(run.command(study.settings))}")
    if study.search:
        lines.append(f"then: {study.search}")
    return "\n".join(lines)
