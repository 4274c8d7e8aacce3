"""Trains what a gin configuration describes, or what Python gives.

From the shell (`tfnes-train`, `python -m tfnes.train` and `bin/train` are the same):

    bin/train --gin_file=gin_configs/parser_nes.gin
    bin/train --gin_file=gin_configs/parser_nes.gin --gin_param="NES.sigma=0.05" \\
        --output_dir=runs/sigma_0.05
    bin/train --python_file=my_model.py --gin_file=gin_configs/mlp_nes.gin \\
        --gin_param="train.model=@MyModel()"
    bin/train --list

From Python:

    from tfnes.train import train
    result = train(model=model, dataset=data, phases=[...], output_dir="runs/mine")
    print(result.table())

The same command again resumes the run where it stood, to the bit; on a finished run it
prints the table again.
"""

from __future__ import annotations

import contextlib
import pathlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tfnes.errors import ConfigurationError
from tfnes.experiments import command_line, configuration
from tfnes.experiments.training import train

if TYPE_CHECKING:
    from tfnes.experiments.results import RunResult

__all__ = ["main", "train"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    flags = _parse(arguments)
    return command_line.run_program(lambda: _run(flags, arguments), debug=flags.debug)


def _parse(arguments: Sequence[str]):
    parser = command_line.new_parser(
        program="train",
        description="Trains what a gin configuration describes. The same command again "
        "resumes the run;\non a finished run it prints the table again.",
        epilog="examples:\n"
        "  bin/train --gin_file=gin_configs/parser_nes.gin\n"
        "  bin/train --gin_file=gin_configs/parser_nes.gin \\\n"
        "      --gin_file=gin_configs/datasets/ud_csui_to_gsd.gin --data_dir=DIR\n"
        "  bin/train --gin_file=gin_configs/parser_nes.gin \\\n"
        '      --gin_param="NES.sigma=0.05" --output_dir=runs/sigma_0.05\n'
        "  bin/train --python_file=my_model.py --gin_file=gin_configs/mlp_nes.gin \\\n"
        '      --gin_param="train.model=@MyModel()"\n'
        "  bin/train --list",
    )
    add = parser.add_argument
    add(
        "--gin_file",
        action="append",
        default=[],
        metavar="FILE",
        help="a configuration; may be given several times, later ones override",
    )
    add(
        "--gin_param",
        action="append",
        default=[],
        metavar="BINDING",
        help='a binding such as "NES.sigma=0.05" (also --gin.NES.sigma=0.05); may be '
        "given several times",
    )
    add(
        "--python_file",
        action="append",
        default=[],
        metavar="FILE",
        help="a file of yours that registers a model, a structure, ..., which the "
        "configurations may name; it is run; may be given several times",
    )
    add(
        "--output_dir",
        metavar="DIR",
        help="the run directory (default: runs/ and the names of the configurations)",
    )
    add("--data_dir", metavar="DIR", help="where the data is; the macro DATA_DIR")
    add("--seed", type=int, metavar="N", help="the binding train.seed")
    add(
        "--smoke",
        action="store_true",
        help="two updates of each phase on a few examples, to see that all works; "
        "leaves nothing behind without --output_dir",
    )
    command_line.add_distribution_flags(parser)
    add(
        "--list",
        action="store_true",
        help="list what is registered, and configurations",
    )
    add("--debug", action="store_true", help="show the traceback of every error")
    return parser.parse_args(command_line.split_gin_arguments(arguments))


def _run(flags, arguments: Sequence[str]) -> int:
    if not flags.gin_file and not flags.gin_param and not flags.list:
        raise ConfigurationError(
            "Nothing to train: give --gin_file=gin_configs/parser_nes.gin, or another "
            "configuration (--list shows them)."
        )
    for name in flags.gin_file:
        configuration.find_config(name)
    command_line.import_tensorflow()
    from tfnes.experiments import catalog

    if flags.list:
        configuration.parse([], python_files=flags.python_file)
        print(catalog.catalog())
        return 0
    from tfnes.experiments.distribution import strategy_scope
    from tfnes.experiments.interruption import Interrupted

    scope = strategy_scope(
        flags.strategy,
        num_devices=flags.num_devices,
        worker_timeout=flags.worker_timeout,
    )
    catalog.register_all()
    bindings = list(flags.gin_param)
    if flags.seed is not None:
        bindings.append(f"train.seed = {flags.seed}")
    if flags.data_dir is not None:
        bindings.append(f"DATA_DIR = {str(flags.data_dir)!r}")
    configuration.parse(flags.gin_file, bindings, python_files=flags.python_file)
    with _output_directory(flags) as output_dir:
        try:
            result, reports = _train_in(scope, flags, output_dir)
        except Interrupted as stop:
            where = ", on all workers" if flags.strategy == "multi_worker" else ""
            print(
                f"\nStopped; the state is saved in {output_dir}. To go on{where}:\n"
                f"  {shlex.join([sys.argv[0], *arguments])}",
                file=sys.stderr,
            )
            return 128 + stop.signal_number
        if not reports:
            return 0
        print(f"\n{result.table()}")
        if flags.smoke and flags.output_dir is None:
            print("(a smoke run: removed; --output_dir keeps it)")
    return 0


def _train_in(scope, flags, output_dir: str) -> tuple[RunResult, bool]:
    """Trains; returns the results, and whether they are this process's to report."""
    import keras
    import tensorflow as tf

    from tfnes.experiments.workers import Workers

    with scope:
        workers = Workers(tf.distribute.get_strategy())
        if not workers.is_chief:
            command_line.LOGGER.setLevel("WARNING")
        # Initial weights are drawn when gin makes the model.
        keras.utils.set_random_seed(configuration.train_argument("seed", 0))
        missing = [
            name
            for name in ("model", "dataset", "phases")
            if configuration.train_argument(name, None) is None
        ]
        if missing:
            raise ConfigurationError(
                f"The configuration does not say what train.{missing[0]} is. Add a "
                f'file that does, or --gin_param="train.{missing[0]}=...".'
            )
        # Gin makes the model first, and its variables are told to all.
        with workers.watch():
            return train(output_dir=output_dir, smoke=flags.smoke), workers.is_chief


@contextlib.contextmanager
def _output_directory(flags) -> Iterator[str]:
    """Gives the run directory that the flags ask for; a smoke run's own is removed."""
    if flags.output_dir is not None:
        yield flags.output_dir
    elif flags.smoke:
        path = tempfile.mkdtemp(prefix="tfnes-smoke-")
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
    else:
        name = "-".join(pathlib.Path(name).stem for name in flags.gin_file) or "run"
        if flags.seed is not None:
            name += f"-seed{flags.seed}"
        yield str(pathlib.Path("runs", name))


if __name__ == "__main__":
    sys.exit(main())
