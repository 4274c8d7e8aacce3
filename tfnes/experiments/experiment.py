"""Runs the phases of one run, from where it stands to its end."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfnes import callbacks as tfnes_callbacks
from tfnes.callbacks.split_evaluation import split_logs
from tfnes.experiments import evaluation, interruption
from tfnes.experiments.phase import Phase, check_phases
from tfnes.experiments.recorder import Recorder
from tfnes.experiments.results import RunResult
from tfnes.experiments.run_directory import RunDirectory
from tfnes.experiments.run_state import RunState
from tfnes.experiments.workers import Workers

LOGGER = logging.getLogger("tfnes")


class Experiment:
    """One run: a model, its data, and the phases of its training.

    `tfnes.train.train` describes the arguments and is the way to use this. Of several
    `workers` each runs all of it; what is read from the run directory, and what depends
    on the time or on a signal, the chief decides for all.
    """

    def __init__(
        self,
        *,
        model: keras.Model,
        dataset,
        phases: Sequence[Phase],
        directory: RunDirectory,
        workers: Workers,
        seed: int,
        metrics: Sequence[keras.metrics.Metric],
        baselines: Sequence[keras.metrics.Metric],
        monitor: str,
        monitor_mode: str,
        evaluate: Sequence[str],
        evaluation_batch_size: int,
        checkpoint_seconds: float | None,
        checkpoint_updates: int | None,
        keep_checkpoints: int,
        callbacks: Sequence[keras.callbacks.Callback],
        pictures: int,
        verbose: int | str,
    ):
        self.model = model
        self.dataset = dataset
        self.phases = list(phases)
        self.directory = directory
        self.workers = workers
        self.seed = seed
        self.metrics = list(metrics)
        self.baselines = list(baselines)
        self.evaluate = list(evaluate)
        self.evaluation_batch_size = evaluation_batch_size
        self.callbacks = list(callbacks)
        self.num_pictures = pictures
        self.verbose = verbose
        self.frozen = sorted({part for phase in phases for part in phase.frozen})
        self.state = RunState(
            model,
            directory=directory,
            workers=workers,
            monitor=monitor,
            monitor_mode=monitor_mode,
            checkpoint_seconds=checkpoint_seconds,
            checkpoint_updates=checkpoint_updates,
            keep_checkpoints=keep_checkpoints,
        )
        self.monitor_split, self.monitor_metric = check_phases(
            self.phases, dataset, monitor=monitor, evaluate=self.evaluate
        )

    def run(self) -> RunResult:
        """Trains from where the run stands; returns its results."""
        with interruption.stop_on_signals() as self.state.stop:
            self._build()
            resumes = self.state.find()
            if resumes:
                LOGGER.info("Resuming: %s.", self.state.position.describe(self.phases))
            self.baseline_scores = {
                split: evaluation.evaluate_baselines(
                    self.baselines, self._evaluation_data(split)
                )
                for split in (self.evaluate if self.baselines else ())
            }
            first = self.state.position.phase
            if first == len(self.phases):
                self._compile(self.phases[-1])
                self.state.restore()
            for index in range(first, len(self.phases)):
                self._compile(self.phases[index])
                if resumes and index == first:
                    self.state.restore()
                self._run_phase(index)
            return self._finish()

    # Before training -----------------------------------------------------------------

    def _build(self) -> None:
        self.model.adapt(self.dataset)
        data = self._evaluation_data(self.monitor_split)
        self.model.build(next(iter(data)))
        trainable = sum(math.prod(v.shape) for v in self.model.trainable_variables)
        LOGGER.info(
            "%s: %s trainable parameters.", type(self.model).__name__, f"{trainable:,}"
        )
        self.state.recorder = None
        if self.workers.is_chief:
            self.state.recorder = Recorder(
                self.directory,
                model=self.model,
                dataset=self.dataset,
                monitor_split=self.monitor_split,
                pictures=self.num_pictures,
                batch_size=self.evaluation_batch_size,
            )

    def _compile(self, phase: Phase) -> None:
        phase.set_frozen(self.model, self.frozen)
        phase.set_schedule(phase.epochs * self._num_batches(phase))
        self.model.compile(
            phase.optimizer, phase.estimator, self.metrics, seed=self.seed
        )
        # Before anything is restored into the optimizer's variables.
        phase.optimizer.build(self.model.optimized_variables)

    # Phases --------------------------------------------------------------------------

    def _run_phase(self, index: int) -> None:
        phase = self.phases[index]
        LOGGER.info(
            "\nPhase %s: %s on %s, %d examples, %d epochs of %d updates.",
            phase.name,
            type(phase.estimator).__name__,
            phase.split,
            self.dataset.num_examples(phase.split),
            phase.epochs,
            self._num_batches(phase),
        )
        position = self.state.position
        if position.starts_phase:
            trained = index > 0 or int(tf.convert_to_tensor(self.model.step)) > 0
            if trained and phase.start_is_candidate:
                self._consider_start(phase)
            # Also a state to go back to should the first epoch be interrupted.
            self.state.save()
        while position.epoch < phase.epochs and not self._has_stalled(phase):
            self._run_epoch(phase)
        self._finish_phase(phase)

    def _consider_start(self, phase: Phase) -> None:
        data = self._evaluation_data(self.monitor_split)
        scores = evaluation.evaluate_dataset(self.model, data)
        logs = self.state.of_chief(split_logs(self.monitor_split, scores))
        self.state.add_row(phase, logs)
        self.state.keep_if_best(logs)

    def _run_epoch(self, phase: Phase) -> None:
        position = self.state.position
        arguments = phase.dataset_arguments()
        data = self.dataset.get_dataset(
            phase.split,
            seed=self.seed,
            epoch=position.epoch,
            skip=position.step,
            **arguments,
        )
        updates = _Updates(self, self._num_batches(phase))
        skipped = position.step * phase.batch_size
        record = self.state.recorder.callbacks(phase) if self.state.recorder else []
        self.model.fit(
            data,
            epochs=phase.epochs,
            initial_epoch=position.epoch,
            verbose=self._fit_verbosity(),
            callbacks=[
                tfnes_callbacks.Throughput(
                    batch_size=phase.batch_size,
                    num_examples=self.dataset.num_examples(phase.split) - skipped,
                ),
                updates,
                tfnes_callbacks.SplitEvaluation(
                    [self.monitor_split], get_dataset=self._evaluation_data
                ),
                *record,
                *self.callbacks,
            ],
        )
        position.epoch += 1
        position.step = 0
        position.metric_sums = {}
        logs = self.state.of_chief({k: float(v) for k, v in updates.logs.items()})
        self.state.add_row(phase, logs)
        self.state.keep_if_best(logs)
        self.state.save()
        self.state.stop_if_asked()

    def _finish_phase(self, phase: Phase) -> None:
        position = self.state.position
        best = position.best is not None and phase.keep == "best"
        if not best:
            position.best_epoch = position.epoch
            self.state.save_best()
        elif position.best_epoch != position.epoch:
            self.state.load_best()
        scores = {
            split: evaluation.evaluate_dataset(self.model, self._evaluation_data(split))
            for split in self.evaluate
        }
        position.results[phase.name] = {
            "scores": scores,
            "best_epoch": position.best_epoch,
        }
        LOGGER.info(
            "Phase %s handed on the model of epoch %d: %s.",
            phase.name,
            position.best_epoch,
            self._summary(scores),
        )
        if self.state.recorder:
            self.state.recorder.write_scores(scores)
            if text := self.state.recorder.example():
                LOGGER.info("%s", text)
        position.phase += 1
        position.epoch = position.step = position.best_epoch = 0
        position.best = None
        self.state.save()
        self.state.stop_if_asked()

    def _finish(self) -> RunResult:
        self.state.tick()
        results = self.state.position.results
        result = RunResult(
            output_dir=self.directory.path,
            phases={name: value["scores"] for name, value in results.items()},
            baselines=self.baseline_scores,
            best_epochs={name: value["best_epoch"] for name, value in results.items()},
            seconds=round(self.state.position.seconds, 1),
        )
        if self.state.recorder:
            self.workers.alone(
                self.state.recorder.write_results, result.to_json(), self.evaluate
            )
        # Whoever ends takes the cluster down, so nobody does before the chief is done.
        self.workers.wait()
        return result

    # Helpers -------------------------------------------------------------------------

    def _evaluation_data(self, split: str):
        return self.dataset.get_dataset(split, batch_size=self.evaluation_batch_size)

    def _num_batches(self, phase: Phase) -> int:
        return self.dataset.num_batches(
            phase.split,
            batch_size=phase.batch_size,
            drop_remainder=phase.drop_remainder,
        )

    def _has_stalled(self, phase: Phase) -> bool:
        since = self.state.position.epoch - self.state.position.best_epoch
        return phase.patience is not None and since >= phase.patience

    def _fit_verbosity(self) -> int | str:
        if not self.workers.is_chief:
            return 0
        if self.verbose == "auto":
            return 1 if sys.stdout.isatty() else 2
        return self.verbose

    def _summary(self, scores: dict) -> str:
        names = [metric.name for metric in self.metrics] or ["neg_elbo"]
        return ", ".join(
            f"{split} {name} {values[name]:.4f}"
            for split, values in scores.items()
            for name in names
            if name in values
        )


class _Updates(keras.callbacks.Callback):
    """Tells the experiment of each update, and ends `fit` after one epoch."""

    def __init__(self, experiment: Experiment, num_batches: int):
        super().__init__()
        self.experiment = experiment
        self.num_batches = num_batches
        self.logs: dict = {}

    def on_train_batch_end(self, batch, logs=None):
        self.experiment.state.update_done(self.num_batches, logs or {})

    def on_epoch_end(self, epoch, logs=None):
        # Callbacks after this one add to the same dictionary.
        self.logs = logs
        self.model.stop_training = True
