"""Runs a benchmark by name, with its own flags.

From the shell (`tfnes-benchmark`, `python -m tfnes.benchmark` and `bin/benchmark` are
the same):

    bin/benchmark --list
    bin/benchmark nes_step --population_size=600
    bin/benchmark nes_step --help

A benchmark is a file of `benchmarks/` that parses flags; it runs in a process of its
own, and its exit status is returned.
"""

from __future__ import annotations

import ast
import difflib
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from tfnes.errors import ConfigurationError
from tfnes.experiments import command_line

_PACKAGE = pathlib.Path(__file__).resolve().parent


def benchmarks() -> dict[str, tuple[pathlib.Path, str]]:
    """Returns the file of each benchmark, and what it does in one line.

    Example:

        >>> from tfnes.benchmark import benchmarks
        >>> "nes_step" in benchmarks()
        True
    """
    found = {}
    # A checkout first; a wheel holds the files as data of the package.
    for folder in (_PACKAGE.parent / "benchmarks", _PACKAGE / "benchmarks"):
        for path in sorted(folder.glob("*.py")):
            source = path.read_text(encoding="utf-8")
            if "import argparse" in source and path.stem not in found:
                text = ast.get_docstring(ast.parse(source)) or ""
                found[path.stem] = (path, text.split("\n", 1)[0])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = command_line.new_parser(
        program="benchmark",
        description="Runs a benchmark by name. Flags after the name are its own.",
        epilog="examples:\n"
        "  bin/benchmark --list\n"
        "  bin/benchmark nes_step --help\n"
        "  bin/benchmark nes_step --population_size=600",
        usage="%(prog)s [-h] [--list] [--debug] [BENCHMARK [FLAG ...]]",
    )
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of every error"
    )
    names = [i for i, word in enumerate(arguments) if not word.startswith("-")]
    split = names[0] if names else len(arguments)
    flags = parser.parse_args(arguments[:split])
    return command_line.run_program(
        lambda: _run(flags, arguments[split:]), debug=flags.debug
    )


def _run(flags, words: Sequence[str]) -> int:
    known = benchmarks()
    if flags.list:
        command_line.print_list({name: text for name, (_, text) in known.items()})
        return 0
    if not words or words[0] not in known:
        name = words[0] if words else None
        near = difflib.get_close_matches(name or "", known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigurationError(
            f"BENCHMARK must be one of {', '.join(known)}. Received: {name}.{hint}"
        )
    # The benchmark must import the tfnes that this is.
    paths = [str(_PACKAGE.parent), os.environ.get("PYTHONPATH")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    command = [sys.executable, str(known[words[0]][0]), *words[1:]]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
