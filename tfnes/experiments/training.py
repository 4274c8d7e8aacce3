"""One run of training, described by gin or given from Python."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gin

from tfnes.checks import (
    check_choice,
    check_flag,
    check_instance,
    check_integer,
    check_optional,
    check_path,
    check_real,
    check_sequence,
    check_text,
)
from tfnes.experiments import configuration

if TYPE_CHECKING:
    import keras

    from tfnes.experiments.phase import Phase
    from tfnes.experiments.results import RunResult

LOGGER = logging.getLogger("tfnes")


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
      pictures: number of sentences or graphs to draw after each epoch; 0: no histograms
        either.
      smoke: run two updates of each phase on a few examples, to see that all works.
      verbose: of `fit`; "auto": a progress bar in a terminal, else a line an epoch.

    Returns:
      the results; also in `output_dir/metrics.json`.

    Raises:
      ConfigurationError: if an argument cannot be used.
      RunDirectoryError: if `output_dir` holds something else.
      DataError, MissingDataError: if data is wrong or missing.
      WorkerLostError: if another process of the model's distribution strategy is gone.
    """
    import keras

    from tfnes.datasets import DatasetProvider
    from tfnes.experiments import environment
    from tfnes.experiments.experiment import Experiment
    from tfnes.experiments.phase import Phase
    from tfnes.experiments.results import RunResult
    from tfnes.experiments.run_directory import RunDirectory
    from tfnes.experiments.smoke import SmokeProvider
    from tfnes.experiments.unused_bindings import warn_of_unused_bindings
    from tfnes.experiments.workers import Workers
    from tfnes.files import write_text
    from tfnes.models.trainable import TrainableModel

    check_instance(
        "train.model",
        model,
        TrainableModel,
        expected="a model with an estimator, such as tfnes.models.Parser()",
    )
    check_instance(
        "train.dataset", dataset, DatasetProvider, expected="a DatasetProvider"
    )

    def each(name: str, values: Any, kind: type) -> list:
        check = functools.partial(
            check_instance, kind=kind, expected=f"a {kind.__name__}"
        )
        return list(check_sequence(f"train.{name}", values, check))

    phases = each("phases", phases, Phase)
    metrics = each("metrics", metrics, keras.metrics.Metric)
    baselines = each("baselines", baselines, keras.metrics.Metric)
    callbacks = each("callbacks", callbacks, keras.callbacks.Callback)
    check_path("train.output_dir", output_dir)
    # Keras, which draws the initial weights, takes no larger seed.
    seed = check_integer("train.seed", seed, minimum=0, maximum=2**32 - 1)
    check_text("train.monitor", monitor)
    check_choice("train.monitor_mode", monitor_mode, ("max", "min"))
    evaluate = check_sequence("train.evaluate", evaluate, check_text)
    positive = functools.partial(check_integer, minimum=1)
    positive("train.evaluation_batch_size", evaluation_batch_size)
    positive("train.keep_checkpoints", keep_checkpoints)
    check_optional("train.checkpoint_updates", checkpoint_updates, positive)
    check_optional(
        "train.checkpoint_seconds", checkpoint_seconds, check_real, minimum=0
    )
    check_integer("train.pictures", pictures, minimum=0)
    check_flag("train.smoke", smoke)
    if verbose != "auto":
        check_integer("train.verbose", verbose, minimum=0, maximum=2)
    config = configuration.describe(
        {"model": model, "dataset": dataset, "phases": phases, "seed": seed},
        smoke=smoke,
    )
    if smoke:
        dataset = SmokeProvider(dataset)
        for phase in phases:
            phase.epochs = 1
    directory = RunDirectory(output_dir)
    workers = Workers(model.distribute_strategy)
    experiment = Experiment(
        model=model,
        dataset=dataset,
        phases=phases,
        directory=directory,
        workers=workers,
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
    with workers.watch(), contextlib.closing(directory):
        workers.require_same(
            json.dumps(environment.versions(), indent=0), what="set of versions"
        )
        workers.require_same(config, what="configuration")
        if workers.is_chief:
            directory.open(config)
        results = "null"
        if workers.is_chief and directory.is_finished():
            LOGGER.info("%s: this run is finished.", directory.path)
            results = json.dumps(directory.read_metrics())
        results = json.loads(workers.from_chief(results))
        if results is not None:
            return RunResult.from_json(results, directory.path)
        LOGGER.info("%s", dataset.describe())
        workers.require_same(environment.digest(dataset), what="data set")
        if workers.is_chief:
            directory.remove_leftovers()
            environment.record(directory, dataset)
            warn_of_unused_bindings()
            write_text(directory.operative_config, gin.operative_config_str())
        return experiment.run()
