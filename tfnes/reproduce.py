"""Reproduces a table or a figure of Berliner et al. (2022).

From the shell (`tfnes-reproduce`, `python -m tfnes.reproduce` and `bin/reproduce` are
the same):

    bin/reproduce figure4 --scale=cpu --data_dir=DIR
    bin/reproduce figure4 --scale=cpu --data_dir=DIR --dry_run
    bin/reproduce --list

Each run has a process and a directory of its own below `--output_dir`; runs that
several studies need are made once. The same command again goes on where it stood, and
on a finished study it prints the report again.
"""

from __future__ import annotations

import pathlib
import shlex
import sys
from collections.abc import Sequence

from tfnes.errors import ConfigurationError
from tfnes.experiments import command_line

SCALES = ("paper", "cpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    flags = _parse(arguments)
    return command_line.run_program(lambda: _run(flags, arguments), debug=flags.debug)


def _parse(arguments: Sequence[str]):
    parser = command_line.new_parser(
        program="reproduce",
        description="Makes the runs of a table or a figure of the paper, and writes "
        "its report:\nNAME.json, NAME.md, and plots as PNG and SVG. The same command "
        "again goes on\nwhere it stood.",
        epilog="examples:\n"
        "  bin/reproduce --list\n"
        "  bin/reproduce figure4 --scale=cpu --data_dir=DIR\n"
        "  bin/reproduce figure4 --scale=cpu --data_dir=DIR --only=kmnist --jobs=2\n"
        "  bin/reproduce figure4 --scale=paper --data_dir=DIR --smoke",
    )
    add = parser.add_argument
    add("study", nargs="?", metavar="STUDY", help="which; --list shows them")
    add(
        "--scale",
        choices=SCALES,
        default="cpu",
        help="the paper's full setting, or one reduced to what a few cores can do "
        "(default: cpu)",
    )
    add("--data_dir", metavar="DIR", help="where the data is")
    add(
        "--output_dir",
        metavar="DIR",
        help="for runs and reports (default: runs/reproduce-SCALE)",
    )
    add("--jobs", type=int, default=1, metavar="K", help="processes at a time")
    add(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="make only runs with this in their names (*, ? and [] as in file names); "
        "may be given several times",
    )
    add(
        "--smoke",
        action="store_true",
        help="two updates of each run on a few examples, to see that all works",
    )
    add("--dry_run", action="store_true", help="show the runs and make none")
    add("--list", action="store_true", help="list the studies")
    add("--debug", action="store_true", help="show the traceback of every error")
    return parser.parse_args(arguments)


def _run(flags, arguments: Sequence[str]) -> int:
    from tfnes.experiments.interruption import Interrupted
    from tfnes.experiments.reproduce import studies
    from tfnes.experiments.reproduce.runs import Settings
    from tfnes.experiments.reproduce.study import dry_run, reproduce

    if flags.list:
        command_line.print_list(
            {name: text for name, (_, text) in sorted(studies.STUDIES.items())}
        )
        return 0
    if flags.study not in studies.STUDIES:
        raise ConfigurationError(
            f"STUDY must be one of {', '.join(sorted(studies.STUDIES))}. "
            f"Received: {flags.study}."
        )
    if flags.jobs < 1:
        raise ConfigurationError(f"--jobs must be at least 1. Received: {flags.jobs}.")
    command = shlex.join(["bin/reproduce", *arguments])
    default = f"runs/reproduce-{flags.scale}" + "-smoke" * flags.smoke
    settings = Settings(
        scale=flags.scale,
        output_dir=pathlib.Path(flags.output_dir or default),
        data_dir=flags.data_dir and str(pathlib.Path(flags.data_dir).resolve()),
        smoke=flags.smoke,
        jobs=flags.jobs,
        only=tuple(flags.only),
        command=command,
    )
    study = studies.load(flags.study)(settings)
    if flags.dry_run:
        print(dry_run(study))
        return 0
    try:
        return reproduce(study)
    except Interrupted as stop:
        print(f"\nStopped. To go on:\n  {command}", file=sys.stderr)
        return 128 + stop.signal_number


if __name__ == "__main__":
    sys.exit(main())
