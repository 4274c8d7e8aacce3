"""Runs the phases of one run, from where it stands to its end."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Sequence

import gin
import keras
import tensorflow as tf

from tfnes import callbacks as tfnes_callbacks
from tfnes.callbacks.split_evaluation import split_logs
from tfnes.datasets.conllu_io import write_conllu
from tfnes.errors import ConfigurationError
from tfnes.experiments import checkpoints, evaluation, interruption, run_directory
from tfnes.experiments.checkpoints import Checkpoints, Position
from tfnes.experiments.phase import Phase
from tfnes.experiments.results import RunResult, format_seconds
from tfnes.experiments.run_directory import RunDirectory

LOGGER = logging.getLogger("tfnes")


class Experiment:
    """One run: a model, its data, and the phases of its training.

    `tfnes.train.train` describes the arguments and is the way to use this.
    """

    def __init__(
        self,
        *,
        model: keras.Model,
        dataset,
        phases: Sequence[Phase],
        directory: RunDirectory,
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
        self.seed = seed
        self.metrics = list(metrics)
        self.baselines = list(baselines)
        self.monitor = monitor
        self.sign = {"max": 1.0, "min": -1.0}[monitor_mode]
        self.evaluate = list(evaluate)
        self.evaluation_batch_size = evaluation_batch_size
        self.checkpoint_seconds = checkpoint_seconds
        self.checkpoint_updates = checkpoint_updates
        self.checkpoints = Checkpoints(directory.checkpoints, keep=keep_checkpoints)
        self.callbacks = list(callbacks)
        self.num_pictures = pictures
        self.verbose = verbose
        self.frozen = sorted({part for phase in phases for part in phase.frozen})
        self.position = Position()
        self.stop = interruption.StopRequest()
        self.mark = self.saved = time.perf_counter()
        self._check()

    def run(self) -> RunResult:
        """Trains from where the run stands; returns its results."""
        with interruption.stop_on_signals() as self.stop:
            self._build()
            found = self.checkpoints.latest()
            if found is not None:
                self.position = found[1]
                LOGGER.info("Resuming: %s.", self._where())
            self.baseline_scores = {
                split: evaluation.evaluate_baselines(
                    self.baselines, self._evaluation_data(split)
                )
                for split in (self.evaluate if self.baselines else ())
            }
            first = self.position.phase
            if first == len(self.phases):
                self._compile(self.phases[-1])
                self.checkpoints.restore(self.model, *found)
            for index in range(first, len(self.phases)):
                self._compile(self.phases[index])
                if found is not None and index == first:
                    self.checkpoints.restore(self.model, *found)
                self._run_phase(index)
            return self._finish()

    # Before training -----------------------------------------------------------------

    def _check(self) -> None:
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) < len(names):
            raise ConfigurationError(
                "train.phases must be one phase or more, each with a name of its own. "
                f"Received: {names}."
            )
        self.monitor_split, separator, self.monitor_metric = self.monitor.partition("/")
        if not separator or not self.monitor_metric:
            raise ConfigurationError(
                "train.monitor must be split/metric, for example validation/neg_elbo. "
                f"Received: {self.monitor!r}."
            )
        wanted = {
            f"Phase.split of {phase.name!r}": phase.split for phase in self.phases
        }
        wanted |= {"train.monitor": self.monitor_split}
        wanted |= {f"train.evaluate ({split})": split for split in self.evaluate}
        for argument, split in wanted.items():
            if split not in self.dataset.splits:
                raise ConfigurationError(
                    f"{argument} names the split {split!r}, but "
                    f"the dataset has {', '.join(self.dataset.splits)}."
                )

    def _build(self) -> None:
        self.model.adapt(self.dataset)
        data = self._evaluation_data(self.monitor_split)
        self.model.build(next(iter(data)))
        trainable = sum(math.prod(v.shape) for v in self.model.trainable_variables)
        LOGGER.info(
            "%s: %s trainable parameters.", type(self.model).__name__, f"{trainable:,}"
        )
        self.scalars = tfnes_callbacks.Scalars(self.directory.path)
        config = self.directory.read_config() or ""
        self.scalars.write_text("configuration", gin.markdown(config))
        if self.directory.operative_config.is_file():
            text = self.directory.operative_config.read_text(encoding="utf-8")
            self.scalars.write_text("operative_configuration", gin.markdown(text))
        self.pictures = self.predict = None
        if evaluation.predicts_trees(self.model, self.dataset):
            self.predict = evaluation.TreePredictor(
                self.model, batch_size=self.evaluation_batch_size
            )
        if self.num_pictures and self.predict is not None:
            rows = self.dataset.sentences(self.monitor_split)
            chosen = [row for row in rows if 6 <= len(row) <= 20] or rows
            self.pictures = tfnes_callbacks.TreePictures(
                chosen[: self.num_pictures],
                predict=self.predict,
                writer=self.scalars.validation_writer,
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
        position = self.position
        if position.starts_phase:
            trained = index > 0 or int(tf.convert_to_tensor(self.model.step)) > 0
            if trained and phase.start_is_candidate:
                self._consider_start(phase)
            # Also a state to go back to should the first epoch be interrupted.
            self._save()
        while position.epoch < phase.epochs and not self._has_stalled(phase):
            self._run_epoch(phase)
        self._finish_phase(phase)

    def _consider_start(self, phase: Phase) -> None:
        data = self._evaluation_data(self.monitor_split)
        scores = evaluation.evaluate_dataset(self.model, data)
        logs = split_logs(self.monitor_split, scores)
        self._add_row(phase, logs)
        self._keep_if_best(logs)

    def _run_epoch(self, phase: Phase) -> None:
        position = self.position
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
        self.scalars.prefix = f"{phase.name}/"
        extra = [self.pictures] if self.pictures is not None else []
        self.model.fit(
            data,
            epochs=phase.epochs,
            initial_epoch=position.epoch,
            shuffle=False,
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
                self.scalars,
                *extra,
                *self.callbacks,
            ],
        )
        position.epoch += 1
        position.step = 0
        position.metric_sums = {}
        self._add_row(phase, updates.logs)
        self._keep_if_best(updates.logs)
        self._save()
        self.stop.check()

    def _finish_phase(self, phase: Phase) -> None:
        position = self.position
        best = position.best is not None and phase.keep == "best"
        if not best:
            position.best_epoch = position.epoch
            self._save_best()
        elif position.best_epoch != position.epoch:
            # The count of updates goes on: noise is never used twice.
            step = int(tf.convert_to_tensor(self.model.step))
            self.model.load_weights(self.directory.best_model)
            self.model.step.assign(step)
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
        if self.pictures is not None and self.pictures.sentences:
            LOGGER.info(
                "A sentence of %s:\n%s", self.monitor_split, self.pictures.as_text()
            )
        position.phase += 1
        position.epoch = position.step = position.best_epoch = 0
        position.best = None
        self._save()
        self.stop.check()

    def _finish(self) -> RunResult:
        self._tick()
        self._write_predictions()
        results = self.position.results
        result = RunResult(
            output_dir=self.directory.path,
            phases={name: value["scores"] for name, value in results.items()},
            baselines=self.baseline_scores,
            best_epochs={name: value["best_epoch"] for name, value in results.items()},
            seconds=round(self.position.seconds, 1),
        )
        self.directory.write_json(self.directory.metrics, result.to_json())
        return result

    def _write_predictions(self) -> None:
        if self.predict is None:
            return
        for split in self.evaluate:
            sentences = self.dataset.sentences(split)
            sentences = sentences[: self.dataset.num_examples(split)]
            heads, relations = self.predict(sentences)
            path = self.directory.predictions / f"{split}.conllu"
            write_conllu(path, sentences, heads=heads, relations=relations)

    # The state -----------------------------------------------------------------------

    def update_done(self, num_batches: int, logs: dict) -> None:
        """Counts an update; saves when it is time, and stops when asked to."""
        position = self.position
        if position.metric_sums:
            checkpoints.restore_metric_sums(self.model, position.metric_sums)
            position.metric_sums = {}
        position.step += 1
        if position.step >= num_batches:
            return  # the end of the epoch saves
        due = self.checkpoint_updates and position.step % self.checkpoint_updates == 0
        if self.checkpoint_seconds is not None:
            since = time.perf_counter() - self.saved
            due = due or since >= self.checkpoint_seconds
        if due or self.stop.signal_number is not None:
            position.metric_sums = checkpoints.metric_sums(self.model, logs)
            self._save()
            position.metric_sums = {}
            self.stop.check()

    def _save(self) -> None:
        self._tick()
        self.directory.write_history(self.position.rows)
        self.checkpoints.save(self.model, self.position)
        self.saved = time.perf_counter()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.position.seconds += now - self.mark
        self.mark = now

    def _add_row(self, phase: Phase, logs: dict) -> None:
        self._tick()
        position = self.position
        row = {"phase": phase.name, "epoch": position.epoch}
        row |= {
            "step": int(tf.convert_to_tensor(self.model.step)),
            "seconds": round(position.seconds, 2),
        }
        position.rows.append(row | {name: float(v) for name, v in logs.items()})

    def _keep_if_best(self, logs: dict) -> None:
        if self.monitor not in logs:
            raise ConfigurationError(
                f"train.monitor is {self.monitor!r}, but an epoch gives "
                f"{', '.join(name for name in logs if '/' in name)}. Add the metric to "
                "train.metrics, or choose another."
            )
        value = float(logs[self.monitor])
        best = self.position.best
        if math.isnan(value) or (best is not None and self.sign * (value - best) <= 0):
            return
        self.position.best = value
        self.position.best_epoch = self.position.epoch
        self._save_best()

    def _save_best(self) -> None:
        run_directory.write_atomically(self.directory.best_model, self.model.save)

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
        since = self.position.epoch - self.position.best_epoch
        return phase.patience is not None and since >= phase.patience

    def _fit_verbosity(self) -> int | str:
        if self.verbose == "auto":
            return 1 if sys.stdout.isatty() else 2
        return self.verbose

    def _where(self) -> str:
        position = self.position
        if position.phase == len(self.phases):
            return "all phases are done"
        phase = self.phases[position.phase]
        text = f"phase {phase.name}, {position.epoch} of {phase.epochs} epochs done"
        if position.step:
            text += f", {position.step} updates of the next"
        return f"{text} ({format_seconds(position.seconds)} so far)"

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
        self.experiment.update_done(self.num_batches, logs or {})

    def on_epoch_end(self, epoch, logs=None):
        # Callbacks after this one add to the same dictionary.
        self.logs = logs
        self.model.stop_training = True
