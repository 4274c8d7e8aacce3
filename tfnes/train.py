"""Trains what a gin configuration describes, or what Python gives.

From the shell (`tfnes-train`, `python -m tfnes.train` and `bin/train` are the same):

    bin/train --gin_file=gin_configs/parser_nes.gin
    bin/train --gin_file=gin_configs/parser_nes.gin --gin_param="NES.sigma=0.05" \\
        --output_dir=runs/sigma_0.05
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
from typing import TYPE_CHECKING, Any

import gin

from tfnes.errors import ConfigurationError
from tfnes.experiments import command_line, configuration

if TYPE_CHECKING:
    import keras

    from tfnes.experiments.phase import Phase
    from tfnes.experiments.results import RunResult


@gin.configurable(module="tfnes")
def train(
    *,
    model: keras.Model,
    dataset: Any,
    phases: Sequence[Phase],
    output_dir: str,
    seed: int = 0,
    metrics: Sequence[keras.metrics.Metric] = (),
    baselines: Sequence[keras.metrics.Metric] = (),
    monitor: str = "validation/neg_elbo",
    monitor_mode: str = "min",
    evaluate: Sequence[str] = ("validation", "test"),
    evaluation_batch_size: int = 64,
    checkpoint_seconds: float | None = 300.0,
    checkpoint_updates: int | None = None,
    keep_checkpoints: int = 2,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    pictures: int = 2,
    smoke: bool = False,
    verbose: int | str = "auto",
) -> RunResult:
    """Runs phases of training one after another, and evaluates what each hands on.

    Everything is kept in `output_dir` (see `tfnes.experiments.run_directory`). If it
    holds an unfinished run of the same arguments, that run goes on. Each epoch is one
    `model.fit`, so Keras callbacks see as many `on_train_begin` as epochs.

    Args:
      model: a compiled or uncompiled `StructuredVAE`; `adapt(dataset)` is called first.
      dataset: a `tfnes.datasets.DatasetProvider`.
      phases: at least one.
      output_dir: the run directory.
      seed: every random number of the run is a function of it, but for the initial
        weights of a model that was made before.
      metrics: what `evaluate` computes beside the ELBO.
      baselines: metrics that look at the batch alone; shown in the table.
      monitor: "split/metric", evaluated after each epoch; decides which model is best.
      monitor_mode: "max" or "min".
      evaluate: splits that are evaluated at the end of each phase.
      evaluation_batch_size: examples in a batch of evaluation.
      checkpoint_seconds: within an epoch, save the state so often; None: do not.
      checkpoint_updates: within an epoch, save the state every so many updates.
      keep_checkpoints: number of states to keep; the older ones serve if the newest is
        damaged.
      callbacks: further Keras callbacks.
      pictures: number of sentences to draw after each epoch.
      smoke: run two updates of each phase on a few examples, to see that all works.
      verbose: of `fit`; "auto": a progress bar in a terminal, else a line an epoch.

    Returns:
      the results; also in `output_dir/metrics.json`.

    Raises:
      ConfigurationError: if an argument cannot be used.
      RunDirectoryError: if `output_dir` holds something else.
      DataError, MissingDataError: if data is wrong or missing.
    """
    from tfnes.experiments import environment
    from tfnes.experiments.experiment import Experiment
    from tfnes.experiments.results import RunResult
    from tfnes.experiments.run_directory import RunDirectory, write_text
    from tfnes.experiments.smoke import SmokeProvider

    if monitor_mode not in ("max", "min"):
        raise ConfigurationError(
            f"train.monitor_mode must be 'max' or 'min'. Received: {monitor_mode!r}."
        )
    phases = list(phases)
    config = configuration.describe(
        {"model": model, "dataset": dataset, "phases": phases, "seed": seed},
        smoke=smoke,
    )
    if smoke:
        dataset = SmokeProvider(dataset)
        for phase in phases:
            phase.epochs = 1
    directory = RunDirectory(output_dir)
    experiment = Experiment(
        model=model,
        dataset=dataset,
        phases=phases,
        directory=directory,
        seed=seed,
        metrics=metrics,
        baselines=baselines,
        monitor=monitor,
        monitor_mode=monitor_mode,
        evaluate=evaluate,
        evaluation_batch_size=evaluation_batch_size,
        checkpoint_seconds=checkpoint_seconds,
        checkpoint_updates=checkpoint_updates,
        keep_checkpoints=keep_checkpoints,
        callbacks=callbacks,
        pictures=pictures,
        verbose=verbose,
    )
    directory.open(config)
    try:
        if directory.is_finished():
            command_line.LOGGER.info("%s: this run is finished.", directory.path)
            return RunResult.from_json(directory.read_metrics(), directory.path)
        directory.remove_leftovers()
        command_line.LOGGER.info("%s", dataset.describe())
        environment.record(directory, dataset)
        configuration.warn_of_unused_bindings()
        write_text(directory.operative_config, gin.operative_config_str())
        return experiment.run()
    finally:
        directory.close()


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
        print(catalog.catalog())
        return 0
    from tfnes.experiments.distribution import strategy_scope
    from tfnes.experiments.interruption import Interrupted

    scope = strategy_scope(flags.strategy, num_devices=flags.num_devices)
    catalog.register_all()
    bindings = list(flags.gin_param)
    if flags.seed is not None:
        bindings.append(f"train.seed = {flags.seed}")
    if flags.data_dir is not None:
        bindings.append(f"DATA_DIR = {str(flags.data_dir)!r}")
    configuration.parse(flags.gin_file, bindings)
    with _output_directory(flags) as output_dir:
        try:
            result = _train_in(scope, flags, output_dir)
        except Interrupted as stop:
            print(
                f"\nStopped; the state is saved in {output_dir}. To go on:\n"
                f"  {shlex.join([sys.argv[0], *arguments])}",
                file=sys.stderr,
            )
            return 128 + stop.signal_number
        print(f"\n{result.table()}")
        if flags.smoke and flags.output_dir is None:
            print("(a smoke run: removed; --output_dir keeps it)")
    return 0


def _train_in(scope, flags, output_dir: str) -> RunResult:
    import keras

    with scope:
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
        return train(output_dir=output_dir, smoke=flags.smoke)


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
    # Not this module, which is `__main__`, but the one that everybody imports.
    from tfnes.train import main as _main

    sys.exit(_main())
